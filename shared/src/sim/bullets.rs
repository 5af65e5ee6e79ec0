//! Bullets: firing, flight in closed form, and the swept test against hulls.
//!
//! In: ships with inputs, bullets by their spawn data. Out: new bullets, positions at any tick, times of impact.
//! *Invariant:* a bullet's whole path follows from its spawn data and the rules, so any tick can be computed.
//! *Invariant:* bullet and hull are tested along their whole relative path within a tick: nothing tunnels.
//! Start reading at [`Bullet::position`] and [`time_of_impact`].

use bevy_ecs::prelude::*;

use super::round::Phase;
use super::rules::Ruleset;
use super::state::{Bullet, Bullets, Event, Events, Round, Scores, Setup, Ship, Ships};
use super::units::{ADVANCE_SHIFT, POSITION_PER_UNIT, Seat, along, wrapped};

/// A shot counter is 13 bits, above the 3 bits of the owner's seat.
const SHOT_COUNTER_MASK: u16 = 0x1fff;

/// End of a tick, as a time of impact: times are in 1/65536 of a tick.
pub const TICK_END: u32 = 1 << 16;

impl Bullet {
    /// Where the bullet is after `age` ticks of flight.
    pub fn position(&self, age: u16, rules: &Ruleset) -> (i32, i32) {
        let flown =
            |direction| ((i64::from(along(rules.bullet_speed, direction)) * i64::from(age)) >> ADVANCE_SHIFT) as i32;
        (
            wrapped(self.x + flown(self.angle.cos()), rules.width),
            wrapped(self.y + flown(self.angle.sin()), rules.height),
        )
    }
}

/// Reloads magazines and fires guns, in seat order.
pub(super) fn fire_guns(mut matches: Query<(&Setup, &Round, &mut Ships, &mut Scores, &mut Bullets, &mut Events)>) {
    for (setup, round, mut ships, mut scores, mut bullets, mut events) in &mut matches {
        if round.phase != Phase::Live {
            continue;
        }
        for seat in Seat::first(setup.seats) {
            let ship = &mut ships.0[seat.index()];
            if !ship.alive {
                continue;
            }
            reload(ship, &setup.ruleset);
            if !ship.input.fire() || ship.ammunition == 0 || ship.cooldown_ticks > 0 {
                continue;
            }
            let bullet = shot(ship, seat, round, &setup.ruleset);
            // The rules bound bullets per seat so that this list cannot be full.
            if bullets.0.push(bullet) {
                scores.0[seat.index()].shots = scores.0[seat.index()].shots.saturating_add(1);
                events.0.push(Event::ShotFired { bullet });
            }
        }
    }
}

/// Counts the gun's clocks down by one tick.
fn reload(ship: &mut Ship, rules: &Ruleset) {
    ship.cooldown_ticks = ship.cooldown_ticks.saturating_sub(1);
    if ship.ammunition < rules.magazine {
        ship.reload_ticks = ship.reload_ticks.saturating_sub(1);
        if ship.reload_ticks == 0 {
            ship.ammunition += 1;
            ship.reload_ticks = if ship.ammunition < rules.magazine { rules.reload_ticks } else { 0 };
        }
    }
}

/// Takes one shot from the magazine; the bullet starts at the muzzle and flies from the next tick on.
fn shot(ship: &mut Ship, seat: Seat, round: &Round, rules: &Ruleset) -> Bullet {
    if ship.ammunition == rules.magazine {
        ship.reload_ticks = rules.reload_ticks;
    }
    ship.ammunition -= 1;
    ship.cooldown_ticks = rules.cooldown_ticks;
    let id = (ship.shots << 3) | u16::from(seat.0);
    ship.shots = (ship.shots + 1) & SHOT_COUNTER_MASK;
    super::ships::recoil(ship, rules);
    let muzzle = rules.radius + POSITION_PER_UNIT;
    Bullet {
        id,
        born: round.tick.0 as u16,
        x: wrapped(ship.x + along(muzzle, ship.angle.cos()), rules.width),
        y: wrapped(ship.y + along(muzzle, ship.angle.sin()), rules.height),
        angle: ship.angle,
    }
}

/// When, within a tick, a point first touches a circle of `radius` around the origin.
///
/// `from` is where the point is at the start of the tick relative to the circle's centre, `path` how it
/// moves relative to it during the tick; position steps. The answer is in 1/65536 of a tick.
pub fn time_of_impact(from: (i32, i32), path: (i32, i32), radius: i32) -> Option<u32> {
    // Out of reach along one axis: settles nearly every pair for a few cycles.
    if from.0.abs() > radius + path.0.abs() || from.1.abs() > radius + path.1.abs() {
        return None;
    }
    let (fx, fy, px, py) = (i64::from(from.0), i64::from(from.1), i64::from(path.0), i64::from(path.1));
    let c = fx * fx + fy * fy - i64::from(radius) * i64::from(radius);
    if c <= 0 {
        return Some(0);
    }
    let (a, b) = (px * px + py * py, fx * px + fy * py);
    // 128 bits: ships that are pushed apart in a pile move far enough in one tick to overflow 64.
    let discriminant = i128::from(b) * i128::from(b) - i128::from(a) * i128::from(c);
    if b >= 0 || discriminant < 0 {
        return None;
    }
    let time = ((-b - discriminant.isqrt() as i64) << 16) / a;
    (time <= i64::from(TICK_END)).then_some(time as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_meets_a_circle_when_the_distance_says_so() {
        assert_eq!(time_of_impact((-100, 0), (200, 0), 50), Some(TICK_END / 4));
        assert_eq!(time_of_impact((-100, 0), (49, 0), 50), None);
        assert_eq!(time_of_impact((-100, 0), (50, 0), 50), Some(TICK_END));
        assert_eq!(time_of_impact((10, 10), (0, 0), 50), Some(0));
        assert_eq!(time_of_impact((-100, 51), (200, 0), 50), None);
        assert_eq!(time_of_impact((100, 0), (200, 0), 50), None);
        assert_eq!(time_of_impact((-30_000, 0), (60_000, 0), 64), Some(((30_000 - 64) << 16) / 60_000));
    }
}
