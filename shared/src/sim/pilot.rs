//! A pilot: flies a seat by what that seat may see.
//!
//! In: a view, the rules, a seat, a skill, a tick. Out: an input.
//! *Invariant:* a pure function; it never sees hidden fields, so a pilot is no cheat.
//! Pilots think every third tick, staggered by seat ([`thinks`]); between, their last input is repeated.
//! Start reading at [`think`].

use super::arena::Arena;
use super::input::Input;
use super::rng::{Purpose, random};
use super::round::Phase;
use super::rules::Ruleset;
use super::state::Ship;
use super::tables::View;
use super::units::{ADVANCE_SHIFT, ANGLE_STEPS, SINE_ONE, Seat, Tick};

/// Ticks between two thoughts of one pilot.
pub const THINK_EVERY_TICKS: u32 = 3;

/// How far beside the target an evading pilot steers: a sixth of a turn.
const EVADE_STEPS: i32 = ANGLE_STEPS as i32 / 6;

/// How well a pilot aims; higher is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skill {
    /// Misses by up to 20 degrees.
    Rookie,
    /// Misses by up to 12 degrees.
    Regular,
}

impl Skill {
    /// Largest aim error in angle steps.
    fn error_steps(self) -> i32 {
        match self {
            Skill::Rookie => i32::from(ANGLE_STEPS) * 20 / 360,
            Skill::Regular => i32::from(ANGLE_STEPS) * 12 / 360,
        }
    }
}

/// Whether the pilot of `seat` thinks in this tick.
pub fn thinks(seat: Seat, tick: Tick) -> bool {
    (tick.0 + u32::from(seat.0)).is_multiple_of(THINK_EVERY_TICKS)
}

/// What the pilot of `seat` does, knowing `view`.
pub fn think(view: &View, rules: &Ruleset, seat: Seat, skill: Skill, tick: Tick) -> Input {
    let own = &view.ships[seat.index()];
    if view.round.phase != Phase::Live || !own.alive {
        return Input::NEUTRAL;
    }
    let Some(target) = nearest_enemy(view, rules, seat) else { return Input::NEUTRAL };
    let aim = Aim::at(own, target, rules, rules.arena(view.seats));
    // The hand is unsteady: a new error four times a second. Salted with the place, so that matches that begin in the
    // same tick do not all go the same way.
    let noise = random((own.x as u64) << 32 | own.y as u64, Purpose::Pilot, tick.0 / 15, u32::from(seat.0));
    let error = skill.error_steps();
    let unsteady = (noise % (2 * error as u64 + 1)) as i32 - error;

    let loaded = own.ammunition > 0 && own.cooldown_ticks <= THINK_EVERY_TICKS as u8;
    // Nothing to shoot with just now: break off to one side under thrust, which is what dodging amounts to.
    let evade = if noise & 0x100 == 0 { EVADE_STEPS } else { -EVADE_STEPS };
    let off = aim.off_steps + if loaded { unsteady } else { evade };

    // One thought lasts several ticks: turn only so fast that the last of them does not overshoot.
    let per_input_q8 = rules.turn_per_input_q8 * THINK_EVERY_TICKS as i32;
    let turn = (off * 256 / per_input_q8).clamp(-15, 15) as i8;

    let in_range = aim.flight_ticks * 10 < i32::from(rules.bullet_life_ticks) * 8;
    let fire = loaded && in_range && off.abs() <= aim.hull_steps.max(error / 4);
    let close = aim.flight_ticks * 10 < i32::from(rules.bullet_life_ticks) * 2;
    Input::new(turn, !loaded || !close, fire)
}

fn nearest_enemy<'a>(view: &'a View, rules: &Ruleset, seat: Seat) -> Option<&'a Ship> {
    let own = &view.ships[seat.index()];
    Seat::first(view.seats)
        .filter(|other| *other != seat)
        .map(|other| &view.ships[other.index()])
        .filter(|ship| ship.alive)
        .min_by_key(|ship| {
            let (dx, dy) = rules.arena(view.seats).way(own.at(), ship.at());
            i64::from(dx) * i64::from(dx) + i64::from(dy) * i64::from(dy)
        })
}

/// Where to point, seen from the own heading.
struct Aim {
    /// Angle from the own heading to the lead point, in steps, positive counter-clockwise.
    off_steps: i32,
    /// How long a bullet would fly.
    flight_ticks: i32,
    /// Half the angle that the target's hull fills, in steps.
    hull_steps: i32,
}

impl Aim {
    fn at(own: &Ship, target: &Ship, rules: &Ruleset, arena: &Arena) -> Aim {
        let (dx, dy) = arena.way(own.at(), target.at());
        let bullet_per_tick = (rules.bullet_speed >> ADVANCE_SHIFT).max(1);
        // Two rounds of "how long does it fly, where is the target by then".
        let (mut lx, mut ly, mut flight) = (dx, dy, 0);
        for _ in 0..2 {
            flight = length(lx, ly) / bullet_per_tick;
            lx = dx + moved(target.vx, flight);
            ly = dy + moved(target.vy, flight);
        }
        let distance = length(lx, ly).max(1);
        Aim {
            off_steps: off_heading(own, lx, ly, distance),
            flight_ticks: flight,
            hull_steps: radians_to_steps(i64::from(rules.radius) * i64::from(SINE_ONE) / i64::from(distance)),
        }
    }
}

fn moved(velocity: i32, ticks: i32) -> i32 {
    ((i64::from(velocity) * i64::from(ticks)) >> ADVANCE_SHIFT) as i32
}

fn length(x: i32, y: i32) -> i32 {
    (i64::from(x) * i64::from(x) + i64::from(y) * i64::from(y)).isqrt() as i32
}

/// Angle from the heading to `(x, y)`: exact enough near zero, where it matters, saturating behind.
fn off_heading(own: &Ship, x: i32, y: i32, distance: i32) -> i32 {
    let (cos, sin) = (i64::from(own.angle.cos()), i64::from(own.angle.sin()));
    let cross = (cos * i64::from(y) - sin * i64::from(x)) / i64::from(distance);
    let ahead = cos * i64::from(x) + sin * i64::from(y) > 0;
    let quarter = i32::from(ANGLE_STEPS) / 4;
    if ahead {
        radians_to_steps(cross)
    } else if cross >= 0 {
        2 * quarter - radians_to_steps(cross)
    } else {
        -2 * quarter - radians_to_steps(cross)
    }
}

/// Radians in 1/32768 as angle steps: 4096 / (2 pi) is about 652.
fn radians_to_steps(radians_q15: i64) -> i32 {
    (radians_q15 * 652 / i64::from(SINE_ONE)) as i32
}
