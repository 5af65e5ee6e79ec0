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
use super::round::Phase;
use super::rules::Ruleset;
use super::tables::View;
use super::units::{Seat, Tick};
use scene::Scene;

/// Whether the pilot of `seat` thinks in this tick.
pub fn thinks(seat: Seat, skill: Skill, tick: Tick) -> bool {
    (tick.0 + u32::from(seat.0)).is_multiple_of(skill.limits().think_every_ticks)
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
