//! The client's copy of its match: the newest view, loaded into a row of a sim `World` and checked by hash.
//!
//! In: decoded snapshots. Out: the view, which snapshot to acknowledge, whether the hashes agree.
//! *Invariant:* a hash is always computed from the World after `load_view`, never from the bytes that came.
//! *Invariant:* nothing is acknowledged that failed the check, so the server soon sends an absolute snapshot.
//! Start reading at [`Replica::apply`].

use std::sync::Arc;

use astro_shared::sim::fields::Audience;
use astro_shared::sim::rules::Ruleset;
use astro_shared::sim::tables::View;
use astro_shared::sim::units::Tick;
use astro_shared::sim::{self, MatchKey};
use astro_shared::wire::snapshot::{Decoded, Head, NotApplied};
use bevy_ecs::world::World;

/// What a match looks like from one seat, or to everyone.
pub struct Replica {
    audience: Audience,
    ruleset: Arc<Ruleset>,
    view: View,
    /// The row in the owner's World; opened with the first snapshot.
    row: Option<MatchKey>,
    acknowledged: Tick,
}

impl Replica {
    pub fn new(audience: Audience, seats: u8, ruleset: Arc<Ruleset>) -> Replica {
        let view = View::empty(audience, seats);
        Replica { audience, ruleset, view, row: None, acknowledged: Tick(0) }
    }

    /// A new link knows of no snapshot: the next one must be absolute. The view stays until it comes.
    pub fn begin_again(&mut self) {
        self.acknowledged = Tick(0);
    }

    pub fn audience(&self) -> Audience {
        self.audience
    }

    pub fn ruleset(&self) -> &Arc<Ruleset> {
        &self.ruleset
    }

    pub fn view(&self) -> &View {
        &self.view
    }

    /// The snapshot that the server may count on from now on; `Tick(0)` for none.
    pub fn acknowledged(&self) -> Tick {
        self.acknowledged
    }

    /// Makes the snapshot the newest view; whether its hash is that of the World.
    ///
    /// # Errors
    /// When it cannot be applied over the present view, which then stays.
    pub fn apply(&mut self, world: &mut World, snapshot: &Decoded) -> Result<bool, NotApplied> {
        snapshot.apply(&mut self.view, &self.ruleset)?;
        let matches = self.matches(world, &snapshot.head);
        // A wrong view would stay wrong under events; `Tick(0)` asks for one that lists everything.
        self.acknowledged = if matches { snapshot.tick() } else { Tick(0) };
        Ok(matches)
    }

    fn matches(&mut self, world: &mut World, head: &Head) -> bool {
        let (seats, ruleset) = (self.view.seats, &self.ruleset);
        // The seed only matters to who runs the match on; a view never needs it.
        let row = *self.row.get_or_insert_with(|| sim::open(world, 0, seats, ruleset.clone()));
        if sim::load_view(world, row, &self.view).is_err() {
            return false;
        }
        let mask = if head.hash_long { u32::MAX } else { u32::from(u16::MAX) };
        sim::view_hash(world, row, self.audience).is_some_and(|hash| hash & mask == head.view_hash & mask)
    }

    /// Gives the row back.
    pub fn release(&mut self, world: &mut World) {
        if let Some(row) = self.row.take() {
            sim::close(world, row);
        }
    }
}
