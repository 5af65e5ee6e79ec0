//! What operators are told of the matches of a shard.
//!
//! In: the shard's World, between two ticks. Out: a list, oldest match first.
//! *Invariant:* costs a microsecond or so for ten matches and is asked for by operators only.
//! Start reading at [`oldest`].

use astro_shared::sim::state::{Setup, State};
use bevy_ecs::prelude::*;

use super::crew::Crew;
use super::matches::{Hosted, Matches};
use super::shard::Now;
use crate::hosts::MatchReport;

/// The matches that were opened first, at most `limit`.
pub(super) fn oldest(world: &mut World, limit: usize) -> Vec<MatchReport> {
    let mut query = world.query::<(Entity, &Hosted)>();
    let mut ages: Vec<_> = query.iter(world).map(|(entity, hosted)| (hosted.opened, entity)).collect();
    if ages.len() > limit {
        ages.select_nth_unstable(limit);
        ages.truncate(limit);
    }
    ages.sort_unstable();
    ages.into_iter().filter_map(|(_, entity)| report(world, entity)).collect()
}

fn report(world: &World, entity: Entity) -> Option<MatchReport> {
    let (hosted, crew) = (world.get::<Hosted>(entity)?, world.get::<Crew>(entity)?);
    let (round, setup) = (&world.get::<State>(entity)?.round, world.get::<Setup>(entity)?);
    Some(MatchReport {
        match_id: hosted.order.match_id,
        shard: world.resource::<Matches>().index,
        state: hosted.state().name().into(),
        mode: setup.ruleset.mode.name().into(),
        rules: setup.ruleset.name().into(),
        seats: hosted.order.seats,
        players: crew.players() as u8,
        links: crew.seats.iter().filter(|seat| seat.link.is_some()).count() as u8,
        tick: round.tick.0,
        round: round.number,
        age_s: world.resource::<Now>().0.saturating_sub(hosted.opened).as_secs(),
    })
}
