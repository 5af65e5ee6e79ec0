//! What a pilot knows while it thinks one thought: its view, its own ship, its limits, its unsteady hand.
//!
//! *Invariant:* nothing is read but the view of the own seat, and the rules.
//! *Invariant:* other seats are looked at in turn from the own one on, so equal choices favour no seat over another.

use super::geometry::Vector;
use super::skill::Limits;
use crate::sim::arena::Arena;
use crate::sim::rng::{Purpose, random};
use crate::sim::rules::Ruleset;
use crate::sim::state::Ship;
use crate::sim::tables::View;
use crate::sim::units::{ADVANCE_SHIFT, ANGLE_STEPS, Angle, POSITION_PER_UNIT, Seat, Tick};

/// How long a hand errs in the same way.
const HOLD_TICKS: u32 = 15;
/// Side of the cell in which it does, as a shift of position steps: 64 units.
const HOLD_CELL_SHIFT: u32 = 14;

pub(super) const QUARTER_TURN: i32 = ANGLE_STEPS as i32 / 4;
pub(super) const UNIT: i32 = POSITION_PER_UNIT;

/// Everything that one thought is about.
pub(super) struct Scene<'a> {
    pub view: &'a View,
    pub rules: &'a Ruleset,
    pub arena: &'a Arena,
    pub seat: Seat,
    pub own: &'a Ship,
    pub limits: &'static Limits,
    /// The newest tick that the pilot has seen.
    pub now: Tick,
    /// Random, the same for some ticks and some way.
    pub noise: u64,
}

impl<'a> Scene<'a> {
    pub fn new(view: &'a View, rules: &'a Ruleset, seat: Seat, limits: &'static Limits, tick: Tick) -> Scene<'a> {
        let own = &view.ships[seat.index()];
        // Salted with the place, so that matches that begin in the same tick do not all go the same way.
        let cell = ((own.x >> HOLD_CELL_SHIFT) as u64) << 32 | (own.y >> HOLD_CELL_SHIFT) as u64;
        let noise = random(cell, Purpose::Pilot, tick.0 / HOLD_TICKS, u32::from(seat.0));
        Scene { view, rules, arena: rules.arena(view.seats), seat, own, limits, now: view.round.tick, noise }
    }

    /// The shortest way from the own ship.
    pub fn way_to(&self, at: Vector) -> Vector {
        self.arena.way(self.own.at(), at)
    }

    /// Angle steps from the own heading to `way`, -2048 to 2047, positive counter-clockwise.
    pub fn off(&self, way: Vector) -> i32 {
        self.own.angle.to(Angle::of(way.0, way.1))
    }

    /// Position steps per tick.
    pub fn velocity(&self) -> Vector {
        per_tick(self.own)
    }

    /// All other ships and pods, from the next seat on.
    pub fn others(&self) -> impl Iterator<Item = (Seat, &'a Ship)> + use<'a> {
        let (view, seat, seats) = (self.view, self.seat.0, self.view.seats);
        let others = (1..seats).map(move |step| Seat((seat + step) % seats));
        others.map(|other| (other, &view.ships[other.index()])).filter(|(_, ship)| ship.is_out())
    }

    pub fn enemies(&self) -> impl Iterator<Item = (Seat, &'a Ship)> + use<'a> {
        let (mode, side) = (self.rules.mode, self.rules.mode.side(self.seat));
        self.others().filter(move |(other, _)| mode.side(*other) != side)
    }

    pub fn mates(&self) -> impl Iterator<Item = (Seat, &'a Ship)> + use<'a> {
        let (mode, side) = (self.rules.mode, self.rules.mode.side(self.seat));
        self.others().filter(move |(other, _)| mode.side(*other) == side)
    }

    /// Whether what `by` does hurts the own ship.
    pub fn is_hurt_by(&self, by: Seat) -> bool {
        let mode = self.rules.mode;
        by != self.seat && (self.rules.friendly_fire || mode.side(by) != mode.side(self.seat))
    }

    /// Thrust per tick and top speed of the own ship, in velocity steps per tick.
    pub fn power(&self) -> (i32, i32) {
        if self.own.pod {
            return (self.rules.pod.thrust, self.rules.pod.top_speed);
        }
        let percent = if self.own.overdrive_ticks > 0 { self.rules.items.overdrive.thrust_percent } else { 100 };
        (self.rules.thrust / 100 * percent, self.rules.top_speed / 100 * percent)
    }

    /// Bullet speed in position steps per tick.
    pub fn bullet_speed(&self) -> i32 {
        (self.rules.bullet_speed >> ADVANCE_SHIFT).max(1)
    }

    /// The present error of the hand, in angle steps: small ones are more likely than large ones.
    pub fn unsteadiness(&self) -> i32 {
        let spread = self.limits.aim_error_steps + 1;
        let part = |bits: u64| ((bits & 0xffff) as i32 * spread) >> 16;
        part(self.noise) - part(self.noise >> 16)
    }

    /// A side that stays the same for some ticks: 1 or -1.
    pub fn side(&self) -> i32 {
        if self.noise & 1 << 40 == 0 { 1 } else { -1 }
    }

    pub fn can_dash(&self) -> bool {
        self.rules.dash.speed > 0 && self.own.alive && self.own.dash_wait_ticks == 0 && !self.own.input.dash()
    }
}

/// A ship's velocity in position steps per tick.
pub(super) fn per_tick(ship: &Ship) -> Vector {
    (ship.vx >> ADVANCE_SHIFT, ship.vy >> ADVANCE_SHIFT)
}
