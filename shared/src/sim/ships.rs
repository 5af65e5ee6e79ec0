//! How ships fly: turn, thrust, drag, top speed, the move itself, and bumping into each other.
//!
//! In: inputs and ships of each match. Out: ships on the grid.
//! *Invariant:* equal masses, and the same impulse is added to one ship and taken from the other, so a
//! bump keeps momentum exactly and never adds energy.
//! Start reading at [`fly`].

use bevy_ecs::prelude::*;

use super::rules::Ruleset;
use super::state::{Inputs, Round, Setup, Ship, Ships, TickStart};
use super::units::{Seat, advance, along, shortest, wrapped};

/// Largest velocity component that the wire carries (21 signed bits): 16 units per tick, twice the
/// highest legal top speed. Only chains of bumps in one tick come near it.
pub const VELOCITY_MAX: i32 = (1 << 20) - 1;

/// Applies inputs: heading first, then thrust along the new heading, drag, top speed.
pub(super) fn apply_inputs(mut matches: Query<(&Setup, &Round, &Inputs, &mut Ships)>) {
    for (setup, round, inputs, mut ships) in &mut matches {
        for seat in Seat::first(setup.seats) {
            let ship = &mut ships.0[seat.index()];
            ship.input = inputs.seats[seat.index()];
            if ship.alive && round.phase.flies() {
                fly(ship, &setup.ruleset);
            }
        }
    }
}

/// One tick of steering for one ship.
fn fly(ship: &mut Ship, rules: &Ruleset) {
    // The division truncates toward zero, so left and right are mirror images.
    ship.angle = ship.angle.turned(ship.input.turn() * rules.turn_per_input_q8 / 256);
    if ship.input.thrust() {
        ship.vx += along(rules.thrust, ship.angle.cos());
        ship.vy += along(rules.thrust, ship.angle.sin());
    }
    ship.vx = dragged(ship.vx, rules.drag_keep_q16);
    ship.vy = dragged(ship.vy, rules.drag_keep_q16);
    (ship.vx, ship.vy) = limited(ship.vx, ship.vy, rules.top_speed);
}

/// Velocity after a tick of drag, truncated toward zero: whatever drifts comes to rest.
fn dragged(velocity: i32, keep_q16: i32) -> i32 {
    (i64::from(velocity) * i64::from(keep_q16) / 65_536) as i32
}

/// The velocity, shortened to `top_speed` when it is longer.
fn limited(vx: i32, vy: i32, top_speed: i32) -> (i32, i32) {
    let (x, y, top) = (i64::from(vx), i64::from(vy), i64::from(top_speed));
    let squared = x * x + y * y;
    if squared <= top * top {
        return (vx, vy);
    }
    // Rounded up: dividing by less than the true length would leave it a little too fast.
    let speed = squared.isqrt() + 1;
    ((x * top / speed) as i32, (y * top / speed) as i32)
}

/// Moves every flying ship by its velocity; remembers where it came from for the swept tests.
pub(super) fn move_ships(mut matches: Query<(&Setup, &Round, &mut Ships, &mut TickStart)>) {
    for (setup, round, mut ships, mut start) in &mut matches {
        let rules = &*setup.ruleset;
        for seat in Seat::first(setup.seats) {
            let ship = &mut ships.0[seat.index()];
            start.0[seat.index()] = (ship.x, ship.y);
            if ship.alive && round.phase.flies() {
                ship.x = wrapped(ship.x + advance(ship.vx, round.tick), rules.width);
                ship.y = wrapped(ship.y + advance(ship.vy, round.tick), rules.height);
            }
        }
    }
}

/// Bumps overlapping hulls apart, pair by pair in seat order.
pub(super) fn collide_ships(mut matches: Query<(&Setup, &Round, &mut Ships)>) {
    for (setup, round, mut ships) in &mut matches {
        if !round.phase.flies() {
            continue;
        }
        let ships = &mut ships.0[..usize::from(setup.seats)];
        for first in 0..ships.len() {
            let (before, after) = ships.split_at_mut(first + 1);
            let first = &mut before[first];
            for second in after {
                if first.alive && second.alive {
                    bump(first, second, &setup.ruleset);
                }
            }
        }
    }
}

/// Elastic bump of two equal circles, if they overlap.
fn bump(first: &mut Ship, second: &mut Ship, rules: &Ruleset) {
    let dx = i64::from(shortest(second.x - first.x, rules.width));
    let dy = i64::from(shortest(second.y - first.y, rules.height));
    let reach = 2 * i64::from(rules.radius);
    let squared = dx * dx + dy * dy;
    if squared >= reach * reach {
        return;
    }
    // Two ships in exactly the same place part along the x axis.
    let (nx, ny, squared) = if squared == 0 { (1, 0, 1) } else { (dx, dy, squared) };
    let relative = (i64::from(second.vx - first.vx), i64::from(second.vy - first.vy));
    if relative.0 * nx + relative.1 * ny < 0 {
        // Equal masses: the parts along the line between them change places.
        let (ix, iy) = impulse(relative, (nx, ny), squared);
        first.vx = (first.vx + ix).clamp(-VELOCITY_MAX, VELOCITY_MAX);
        first.vy = (first.vy + iy).clamp(-VELOCITY_MAX, VELOCITY_MAX);
        second.vx = (second.vx - ix).clamp(-VELOCITY_MAX, VELOCITY_MAX);
        second.vy = (second.vy - iy).clamp(-VELOCITY_MAX, VELOCITY_MAX);
    }
    let distance = squared.isqrt().max(1);
    // Half the overlap each, rounded up, so that they do not stay stuck.
    let push = (reach - distance) / 2 + 1;
    let (px, py) = ((nx * push / distance) as i32, (ny * push / distance) as i32);
    first.x = wrapped(first.x - px, rules.width);
    first.y = wrapped(first.y - py, rules.height);
    second.x = wrapped(second.x + px, rules.width);
    second.y = wrapped(second.y + py, rules.height);
}

/// The part of `relative` along the line `(nx, ny)` of length² `squared`, on the grid: what one ship gains and the other loses.
///
/// Truncation can turn it away from that line, and when two ships glance past each other fast, a turned impulse
/// adds energy. Then the next shorter whole multiple of the line is taken: exactly parallel, so energy shrinks.
fn impulse(relative: (i64, i64), (nx, ny): (i64, i64), squared: i64) -> (i32, i32) {
    let along_line = relative.0 * nx + relative.1 * ny;
    let (ix, iy) = (along_line * nx / squared, along_line * ny / squared);
    if ix * ix + iy * iy <= ix * relative.0 + iy * relative.1 {
        return (ix as i32, iy as i32);
    }
    let whole = along_line / squared;
    ((whole * nx) as i32, (whole * ny) as i32)
}

/// Kicks a ship backward for a shot along its heading.
pub(super) fn recoil(ship: &mut Ship, rules: &Ruleset) {
    ship.vx = (ship.vx - along(rules.recoil, ship.angle.cos())).clamp(-VELOCITY_MAX, VELOCITY_MAX);
    ship.vy = (ship.vy - along(rules.recoil, ship.angle.sin())).clamp(-VELOCITY_MAX, VELOCITY_MAX);
}
