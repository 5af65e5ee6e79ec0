//! One match in the hands of one step of its tick.
//!
//! A step is a plain function over [`Game`]; [`each`] makes a system of it that takes every match in turn. So a tick
//! reads as a list of steps ([`super::SimPlugin`]), and a step sees one match and cannot see another.
//! *Invariant:* [`Scratch`] lives within a tick: it is cleared at its begin and is no state.

use bevy_ecs::prelude::*;

use super::arena::Arena;
use super::event::{Event, Weapon};
use super::list::FixedList;
use super::round::Phase;
use super::rules::Ruleset;
use super::state::{Events, Inputs, Setup, State};
use super::units::{SEATS_MAX, Seat};

/// Wounds in one tick at most; further ones are not dealt. Eight ships cannot even be touched that often.
pub const WOUNDS_MAX: usize = 64;

/// Something that hurts a ship or a pod in this tick.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wound {
    /// When in the tick, in 1/65536.
    pub time: u32,
    pub victim: Seat,
    /// Whose deed it is; nobody's when a rock or the arena did it.
    pub by: Option<Seat>,
    pub amount: u8,
    pub weapon: Weapon,
    /// How far a shot had flown, in ticks.
    pub flown_ticks: u16,
}

/// What the steps of one tick tell each other.
#[derive(Component, Clone, Copy, Debug, Default)]
pub(super) struct Scratch {
    /// Position of each ship or pod at the start of the tick, for swept tests.
    pub start: [(i32, i32); SEATS_MAX],
    /// Which mate has fetched a seat's pod.
    pub rescued: [Option<Seat>; SEATS_MAX],
    /// In order of dealing.
    pub wounds: FixedList<Wound, WOUNDS_MAX>,
}

/// A match and everything a step may touch of it.
pub(super) struct Game<'a> {
    pub setup: &'a Setup,
    pub rules: &'a Ruleset,
    pub arena: &'a Arena,
    pub inputs: &'a Inputs,
    pub state: &'a mut State,
    pub scratch: &'a mut Scratch,
    pub events: &'a mut Vec<Event>,
}

impl Game<'_> {
    pub fn seats(&self) -> impl Iterator<Item = Seat> + use<> {
        Seat::first(self.setup.seats)
    }

    /// Seats with a ship.
    pub fn alive(&self) -> impl Iterator<Item = Seat> + use<> {
        let alive = self.seats().filter(|seat| self.state.ships[seat.index()].alive);
        let mask = alive.fold(0, |mask, seat| mask | seat.bit());
        self.seats().filter(move |seat| mask & seat.bit() != 0)
    }

    pub fn is_live(&self) -> bool {
        self.state.round.phase == Phase::Live
    }

    pub fn flies(&self) -> bool {
        self.state.round.phase.flies()
    }

    pub fn tell(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Hurts `wound.victim` when this tick is settled.
    pub fn wound(&mut self, wound: Wound) {
        let _ = self.scratch.wounds.push(wound);
    }
}

/// What a step needs of each match.
type Parts<'a> = (&'a Setup, &'a Inputs, &'a mut State, &'a mut Scratch, &'a mut Events);

/// A system that takes `step` to every match in turn.
pub(super) fn each(step: fn(&mut Game<'_>)) -> impl FnMut(Query<Parts<'static>>) {
    move |mut matches| {
        for (setup, inputs, state, scratch, events) in &mut matches {
            let (rules, arena) = (&*setup.ruleset, setup.arena());
            let (state, scratch, events) = (state.into_inner(), scratch.into_inner(), &mut events.into_inner().0);
            step(&mut Game { setup, rules, arena, inputs, state, scratch, events });
        }
    }
}
