//! A pilot: flies a seat by what that seat may see.
//!
//! In: a view, the rules, a seat, a skill, a tick. Out: an input.
//! *Invariant:* a pure function; it never sees hidden fields, so a pilot is no cheat.
//! *Invariant:* a pilot has no memory. What would need one (a slow reaction, a hand that errs the same way for a while) is
//! made of what can be seen: a bullet's age, the place and the time.
//! Pilots think every few ticks, staggered by seat ([`thinks`]); between, their last input is repeated.
//! A thought goes: whom ([`prey`]), where to ([`course`]), with what ([`arms`]), and not into that ([`danger`]).
//! Start reading at [`think`].

mod aim;
mod arms;
mod course;
mod danger;
mod geometry;
mod prey;
mod scene;
mod skill;
#[cfg(test)]
mod tests;
mod wish;

pub use skill::Skill;

use super::input::Input;
use super::rng::{Purpose, random};
use super::round::Phase;
use super::rules::Ruleset;
use super::tables::View;
use super::units::{Seat, Tick};
use scene::Scene;

/// Seats draw anew after so many ticks, as a shift, in which order they think: about every 4 s.
const TURNS_SHIFT: u32 = 8;

/// Whether the pilot of `seat` thinks in this tick.
///
/// Who thinks a tick before another wins most races between equals, so the order is drawn: with a fixed one, seat 1 won
/// 3.7 % more rounds of duels than its share.
pub fn thinks(seat: Seat, skill: Skill, tick: Tick) -> bool {
    let every = skill.limits().think_every_ticks;
    let drawn = random(0, Purpose::Pilot, tick.0 >> TURNS_SHIFT, u32::from(seat.0)) >> 32;
    (tick.0 + (drawn % u64::from(every)) as u32).is_multiple_of(every)
}

/// What the pilot of `seat` does from `tick` on, knowing `view`.
pub fn think(view: &View, rules: &Ruleset, seat: Seat, skill: Skill, tick: Tick) -> Input {
    let own = &view.ships[seat.index()];
    if view.round.phase != Phase::Live || !own.is_out() {
        return Input::NEUTRAL;
    }
    let scene = Scene::new(view, rules, seat, skill.limits(), tick);
    let wish = if own.pod { course::flee(&scene) } else { course::fight(&scene) };
    danger::averted(&scene, wish).input(&scene)
}
