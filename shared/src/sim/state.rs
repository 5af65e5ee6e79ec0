//! The state of a match: every row there is, field by field.
//!
//! A match is one entity and its state one component; ships, scores, bullets and the rest are lists of fixed capacity
//! inside it. Why not an entity per ship and bullet: measured, see ARCHITECTURE.md, "Layout of a match".
//! *Invariant:* every field of state stands in a `state!` block, so nothing can be missed by save, view or hash.
//! *Invariant:* no `Entity`, pointer or clock in sim state.
//! Adding a field: one line here. Adding a table: its row and its list here, its place in [`super::tables`].
//! Start reading at [`State`].

use std::sync::Arc;

use bevy_ecs::prelude::*;

use super::arena::{Arena, PADS_MAX};
use super::event::Event;
use super::fields::{FieldValue, state};
use super::input::Input;
use super::items::Item;
use super::list::FixedList;
use super::round::Phase;
use super::rules::{BULLETS_MAX, Ruleset};
use super::units::{Angle, SEATS_MAX, Seat, Tick};

/// Asteroids in one match at most. Pieces that find no room are not made.
pub const ASTEROIDS_MAX: usize = 10;
/// Homing shots in flight at most.
pub const HOMING_MAX: usize = 4;
/// Gravity bombs at work at most.
pub const BOMBS_MAX: usize = 4;
/// Mines laid at most.
pub const MINES_MAX: usize = 12;

state! {
    /// Where a match is in time, and what belongs to nobody.
    pub struct Round as "round" {
        tick: Tick, 32 bits, Everyone;
        phase: Phase, 3 bits, Everyone;
        /// When the phase ends on its own; zero while waiting and when all is over.
        phase_ends: Tick, 32 bits, Everyone;
        /// Rounds begun so far.
        number: u8, 8 bits, Everyone;
        /// Winner of the last ended round, or of the match once it is over: seat + 1, or 0 for a draw. Of a side: its
        /// lowest seat.
        winner: u8, 4 bits, Everyone;
        /// Who alone stands in the zone: seat + 1 of the side's lowest, or 0.
        holder: u8, 4 bits, Everyone;
        draws_in_a_row: u8, 4 bits, Nobody;
        /// Ticks of live play over all rounds.
        live_ticks: u32, 20 bits, Nobody;
        /// Asteroids made so far, modulo 256: names the next one.
        asteroids_made: u8, 8 bits, Nobody;
        /// Ships destroyed in this round.
        destroyed: u8, 8 bits, Nobody;
    }
}

state! {
    /// One seat's ship, or what is left of it: a pod, or nothing.
    pub struct Ship as "ship" {
        x: i32, 20 bits, Everyone;
        y: i32, 20 bits, Everyone;
        vx: i32, 21 bits, Everyone;
        vy: i32, 21 bits, Everyone;
        angle: Angle, 12 bits, Everyone;
        /// It is a ship.
        alive: bool, 1 bits, Everyone;
        hull: u8, 7 bits, Everyone;
        /// The input applied in this tick: flames for the eye, a starting point for prediction.
        input: Input, 8 bits, Everyone;
        /// It is a pod.
        pod: bool, 1 bits, Everyone, rare;
        /// Ticks until it is a ship again; zero while it is one, and when it will be none in this round.
        return_ticks: u16, 10 bits, Everyone, rare;
        /// Further ships after this one.
        lives: u8, 4 bits, Everyone, rare;
        /// Ticks during which nothing hurts it.
        guard_ticks: u8, 8 bits, Everyone, rare;
        /// Ticks of the present dash.
        dash_ticks: u8, 5 bits, Everyone, rare;
        /// The power-up it carries, and how often it may still be used.
        item: Item, 4 bits, Everyone, rare;
        charges: u8, 3 bits, Everyone, rare;
        /// Hits that its shield still takes.
        shield: u8, 2 bits, Everyone, rare;
        overdrive_ticks: u16, 10 bits, Everyone, rare;
        /// Ticks until its laser fires.
        windup_ticks: u8, 6 bits, Everyone, rare;
        ammunition: u8, 3 bits, Owner;
        /// Ticks until the next shot is in the magazine; zero when it is full.
        reload_ticks: u8, 8 bits, Owner;
        /// Ticks until the gun may fire again.
        cooldown_ticks: u8, 6 bits, Owner;
        /// Ticks until it may dash again.
        dash_wait_ticks: u16, 10 bits, Owner;
        /// Shots fired in this match, modulo 8192: names the next bullet.
        shots: u16, 13 bits, Owner;
    }
}

state! {
    /// One seat's tally.
    pub struct Score as "score" {
        rounds_won: u8, 4 bits, Everyone;
        kills: u16, 10 bits, Everyone;
        deaths: u16, 10 bits, Everyone;
        /// What the mode counts in this round: kills, or ticks in the zone.
        points: u16, 14 bits, Everyone, rare;
        assists: u8, 8 bits, Nobody;
        shots: u16, 16 bits, Nobody;
        hits: u16, 16 bits, Nobody;
        damage: u16, 16 bits, Nobody;
        survival_ticks: u32, 20 bits, Nobody;
        items: u8, 8 bits, Nobody;
        /// Kills since the last death, and the most there ever were.
        streak: u8, 8 bits, Nobody;
        streak_longest: u8, 8 bits, Nobody;
        /// Bit per seat that damaged this ship in its present life.
        hurt_by: u8, 8 bits, Nobody;
        /// Kills each soon after the one before, and the tick of the newest.
        chain: u8, 8 bits, Nobody;
        chain_tick: Tick, 20 bits, Nobody;
        /// 1 is best; zero until the match is over.
        placement: u8, 4 bits, Nobody;
        first_blood: u8, 6 bits, Nobody;
        double: u8, 6 bits, Nobody;
        triple: u8, 6 bits, Nobody;
        rescue: u8, 6 bits, Nobody;
        long_shot: u8, 6 bits, Nobody;
        last_stand: u8, 6 bits, Nobody;
    }
}

state! {
    /// A shot in flight. Between two bounces its path is closed form, and bounces follow from the arena, so spawn data is
    /// all that travels.
    pub struct Bullet as "bullet" {
        /// Owner's seat in the low 3 bits, the owner's shot counter above.
        id: u16, 16 bits, Everyone;
        /// Low 16 bits of the tick in which it was fired.
        born: u16, 16 bits, Everyone;
        /// Ticks from then to where the present straight of its path begins.
        leg: u8, 8 bits, Everyone;
        x: i32, 20 bits, Everyone;
        y: i32, 20 bits, Everyone;
        angle: Angle, 12 bits, Everyone;
        /// Bounces behind it.
        bounces: u8, 2 bits, Everyone;
    }
}

state! {
    /// A rock adrift.
    pub struct Asteroid as "asteroid" {
        id: u8, 8 bits, Everyone;
        x: i32, 20 bits, Everyone;
        y: i32, 20 bits, Everyone;
        vx: i32, 20 bits, Everyone;
        vy: i32, 20 bits, Everyone;
        /// 2 large, 1 middle, 0 small.
        size: u8, 2 bits, Everyone;
        /// Hits it has taken.
        hits: u8, 3 bits, Everyone;
    }
}

state! {
    /// Where power-ups appear; rows stand in the arena's order.
    pub struct Pad as "pad" {
        /// What lies here or will; nothing while that is still open.
        item: Item, 4 bits, Everyone;
        /// From this tick on it can be taken; or, with nothing here, the next is announced.
        ready: Tick, 20 bits, Everyone;
    }
}

state! {
    /// A shot that follows a ship. The one replicated projectile: its path hangs on what others do.
    pub struct Homing as "homing" {
        owner: Seat, 3 bits, Everyone;
        x: i32, 20 bits, Everyone;
        y: i32, 20 bits, Everyone;
        angle: Angle, 12 bits, Everyone;
        spent: Tick, 20 bits, Everyone;
    }
}

state! {
    /// A gravity bomb at work. Places in arena units.
    pub struct Bomb as "bomb" {
        owner: Seat, 3 bits, Everyone;
        x: u16, 11 bits, Everyone;
        y: u16, 11 bits, Everyone;
        spent: Tick, 20 bits, Everyone;
    }
}

state! {
    /// A mine. Not everyone sees it: [`super::tables`] says who. Places in arena units.
    pub struct Mine as "mine" {
        owner: Seat, 3 bits, Everyone;
        x: u16, 11 bits, Everyone;
        y: u16, 11 bits, Everyone;
        armed: Tick, 20 bits, Everyone;
        spent: Tick, 20 bits, Nobody;
    }
}

/// All that a match is, besides what it was opened with.
#[derive(Component, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub round: Round,
    pub ships: [Ship; SEATS_MAX],
    pub scores: [Score; SEATS_MAX],
    /// In order of firing (tick, then seat).
    pub bullets: FixedList<Bullet, BULLETS_MAX>,
    pub asteroids: FixedList<Asteroid, ASTEROIDS_MAX>,
    pub pads: FixedList<Pad, PADS_MAX>,
    pub homing: FixedList<Homing, HOMING_MAX>,
    pub bombs: FixedList<Bomb, BOMBS_MAX>,
    /// Of a view: those that its audience sees.
    pub mines: FixedList<Mine, MINES_MAX>,
}

/// What a match was opened with; never changes.
#[derive(Component, Clone, Debug)]
pub struct Setup {
    pub seed: u64,
    /// 2 to 8.
    pub seats: u8,
    pub ruleset: Arc<Ruleset>,
}

impl Setup {
    pub fn arena(&self) -> &Arena {
        self.ruleset.arena(self.seats)
    }

    /// The lowest seat of the side that `seat` fights for; where everyone fights alone, the seat itself.
    pub fn side(&self, seat: Seat) -> Seat {
        self.ruleset.mode.side(seat)
    }

    /// Whether what `by` does hurts `victim`.
    pub fn hurts(&self, by: Seat, victim: Seat) -> bool {
        by != victim && (self.ruleset.friendly_fire || self.side(by) != self.side(victim))
    }
}

/// What the next tick applies. Not state: whoever drives the sim sets it before each tick.
#[derive(Component, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    pub seats: [Input; SEATS_MAX],
    /// Ends `Waiting`: everyone is here.
    pub start: bool,
}

/// What happened in the newest tick, in order. Output, not state.
#[derive(Component, Clone, Debug, Default)]
pub struct Events(pub Vec<Event>);

impl Ship {
    pub fn at(&self) -> (i32, i32) {
        (self.x, self.y)
    }

    /// A ship or a pod: something that flies and can be met.
    pub fn is_out(&self) -> bool {
        self.alive || self.pod
    }
}

impl Score {
    /// Counts a point. What the field holds is more than any target: 200 seconds in the zone are 12,000 ticks.
    pub(super) fn add_point(&mut self) {
        self.points = (self.points + 1).min((1 << 14) - 1);
    }
}

impl Bullet {
    pub fn owner(&self) -> Seat {
        Seat(self.id as u8 & 7)
    }

    /// Ticks of flight at `tick`.
    pub fn age(&self, tick: Tick) -> u16 {
        (tick.0 as u16).wrapping_sub(self.born)
    }
}

impl FieldValue for Item {
    const SIGNED: bool = false;
    fn to_raw(self) -> u32 {
        self as u32
    }
    /// Numbers without an item become `None`; the view's hash notices.
    fn from_raw(raw: u32) -> Self {
        Item::ALL.get(raw as usize).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::fields::{Audience, Fields, Visible};

    #[test]
    fn bullets_hide_nothing() {
        assert!(Bullet::TABLE.iter().all(|field| field.visible == Visible::Everyone));
    }

    #[test]
    fn a_seat_sees_its_own_magazine_and_nobody_elses() {
        let ship = Ship { ammunition: 3, hull: 90, ..Ship::default() };
        assert_eq!(ship.seen_by(Audience::Seat(Seat(1)), Some(Seat(1))).ammunition, 3);
        assert_eq!(ship.seen_by(Audience::Seat(Seat(1)), Some(Seat(2))).ammunition, 0);
        assert_eq!(ship.seen_by(Audience::Public, Some(Seat(2))).ammunition, 0);
        assert_eq!(ship.seen_by(Audience::Public, Some(Seat(2))).hull, 90);
    }
}
