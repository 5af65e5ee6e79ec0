//! How ships and pods fly: turn, thrust, dash, drag, pulls, the move itself, and hulls that meet.
//!
//! In: inputs and ships of each match. Out: ships on the grid, and wounds of those that met too fast.
//! *Invariant:* equal masses, and the same impulse is added to one ship and taken from the other, so a
//! bump keeps momentum exactly and never adds energy.
//! Start reading at [`steer`].

use super::arena::ground::Body;
use super::arena::{Arena, Pull};
use super::event::{Event, Weapon};
use super::game::{Game, Wound};
use super::items::pull_of_bombs;
use super::rules::Ruleset;
use super::state::Ship;
use super::units::{Seat, Tick, advance, along};

/// Largest velocity component that the wire carries (21 signed bits): 16 units per tick, twice the
/// highest legal top speed. Only chains of bumps in one tick come near it.
pub const VELOCITY_MAX: i32 = (1 << 20) - 1;
/// Share of its speed towards a wall that a hull keeps when it bounces off, in 1/256.
const WALL_BOUNCE_Q8: i32 = 128;

/// Applies inputs: heading first, then thrust along the new heading, dash, pulls, drag, top speed.
pub(super) fn steer(game: &mut Game<'_>) {
    let flies = game.flies();
    for seat in game.seats() {
        let input = game.inputs.seats[seat.index()];
        let ship = &mut game.state.ships[seat.index()];
        let pressed = input.dash() && !ship.input.dash();
        ship.input = input;
        if !flies || !ship.is_out() {
            continue;
        }
        ship.guard_ticks = ship.guard_ticks.saturating_sub(1);
        ship.dash_ticks = ship.dash_ticks.saturating_sub(1);
        ship.dash_wait_ticks = ship.dash_wait_ticks.saturating_sub(1);
        ship.overdrive_ticks = ship.overdrive_ticks.saturating_sub(1);
        if ship.alive && pressed && begin_dash(ship, game.rules) {
            game.events.push(Event::Dashed { seat });
        }
        fly(ship, game.rules);
    }
    pull_ships(game);
}

/// Begins a dash, if there is one and it is time for it.
fn begin_dash(ship: &mut Ship, rules: &Ruleset) -> bool {
    if rules.dash.speed == 0 || ship.dash_wait_ticks > 0 {
        return false;
    }
    (ship.dash_ticks, ship.dash_wait_ticks) = (rules.dash.ticks, rules.dash.cooldown_ticks);
    true
}

/// One tick of steering for one ship or pod.
fn fly(ship: &mut Ship, rules: &Ruleset) {
    // The division truncates toward zero, so left and right are mirror images.
    ship.angle = ship.angle.turned(ship.input.turn() * rules.turn_per_input_q8 / 256);
    let (mut thrust, mut top_speed) =
        if ship.alive { (rules.thrust, rules.top_speed) } else { (rules.pod.thrust, rules.pod.top_speed) };
    if ship.overdrive_ticks > 0 {
        let percent = rules.items.overdrive.thrust_percent;
        (thrust, top_speed) = (thrust / 100 * percent, top_speed / 100 * percent);
    }
    if ship.dash_ticks > 0 {
        // A dash is a speed, not a push: where the ship looks, whatever it flew before.
        (ship.vx, ship.vy) = (along(rules.dash.speed, ship.angle.cos()), along(rules.dash.speed, ship.angle.sin()));
        return;
    }
    if ship.input.thrust() {
        ship.vx += along(thrust, ship.angle.cos());
        ship.vy += along(thrust, ship.angle.sin());
    }
    ship.vx = dragged(ship.vx, rules.drag_keep_q16);
    ship.vy = dragged(ship.vy, rules.drag_keep_q16);
    (ship.vx, ship.vy) = limited(ship.vx, ship.vy, top_speed);
}

/// Adds what wells and gravity bombs pull with.
fn pull_ships(game: &mut Game<'_>) {
    if !game.flies() || (game.arena.wells.is_empty() && game.state.bombs.is_empty()) {
        return;
    }
    let bombs: super::list::FixedList<Pull, { super::state::BOMBS_MAX }> =
        pull_of_bombs(game.state, game.rules).collect();
    for pull in game.arena.wells.iter().chain(bombs.iter()) {
        for ship in game.state.ships[..usize::from(game.setup.seats)].iter_mut().filter(|ship| ship.is_out()) {
            let (ax, ay) = pulled(game.arena, pull, ship.at());
            ship.vx = (ship.vx + ax).clamp(-VELOCITY_MAX, VELOCITY_MAX);
            ship.vy = (ship.vy + ay).clamp(-VELOCITY_MAX, VELOCITY_MAX);
        }
    }
}

/// What `pull` adds in a tick to the velocity of something at `at`: most in its middle, nothing at its rim.
pub(super) fn pulled(arena: &Arena, pull: &Pull, at: (i32, i32)) -> (i32, i32) {
    let (dx, dy) = arena.way(at, (pull.x, pull.y));
    let (dx, dy, radius) = (i64::from(dx), i64::from(dy), i64::from(pull.radius));
    let squared = dx * dx + dy * dy;
    if squared >= radius * radius || squared == 0 {
        return (0, 0);
    }
    let distance = squared.isqrt().max(1);
    let strength = i64::from(pull.pull) * (radius - distance) / radius;
    ((strength * dx / distance) as i32, (strength * dy / distance) as i32)
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

/// Moves every ship and pod by its velocity, out of what stands in its way; remembers where it came from for the swept
/// tests.
pub(super) fn advance_ships(game: &mut Game<'_>) {
    let (flies, tick) = (game.flies(), game.state.round.tick);
    for seat in game.seats() {
        let ship = &mut game.state.ships[seat.index()];
        game.scratch.start[seat.index()] = ship.at();
        if flies && ship.is_out() {
            let radius = hull_radius(ship, game.rules);
            ship.x += advance(ship.vx, tick);
            ship.y += advance(ship.vy, tick);
            keep_out(ship, radius, game.arena, tick);
        }
    }
}

/// Radius of what flies there, ship or pod.
pub(super) fn hull_radius(ship: &Ship, rules: &Ruleset) -> i32 {
    if ship.alive { rules.radius } else { rules.pod.radius }
}

fn keep_out(ship: &mut Ship, radius: i32, arena: &Arena, tick: Tick) {
    let mut body = Body { x: ship.x, y: ship.y, vx: ship.vx, vy: ship.vy, radius, bounce_q8: WALL_BOUNCE_Q8 };
    arena.keep_out(&mut body, tick);
    (ship.x, ship.y, ship.vx, ship.vy) = (body.x, body.y, body.vx, body.vy);
}

/// Bumps overlapping hulls apart, pair by pair in seat order; those that came too fast are hurt, a pod is lost to any
/// enemy's hull and fetched by a mate's.
pub(super) fn collide_ships(game: &mut Game<'_>) {
    if !game.flies() {
        return;
    }
    let mut touched = false;
    for first in game.seats() {
        for second in Seat::first(game.setup.seats).skip(first.index() + 1) {
            touched |= meet(game, first, second);
        }
    }
    if touched && game.arena.has_solids() {
        for seat in game.seats() {
            let ship = &mut game.state.ships[seat.index()];
            if ship.is_out() {
                let radius = hull_radius(ship, game.rules);
                keep_out(ship, radius, game.arena, game.state.round.tick);
            }
        }
    }
}

/// Lets two seats' hulls meet, if they do.
fn meet(game: &mut Game<'_>, first: Seat, second: Seat) -> bool {
    let (one, other) = (game.state.ships[first.index()], game.state.ships[second.index()]);
    if !one.is_out() || !other.is_out() {
        return false;
    }
    let reach = i64::from(hull_radius(&one, game.rules)) + i64::from(hull_radius(&other, game.rules));
    let (dx, dy) = game.arena.way(one.at(), other.at());
    let squared = i64::from(dx).pow(2) + i64::from(dy).pow(2);
    if squared >= reach * reach {
        return false;
    }
    match (one.alive, other.alive) {
        (true, true) => {
            let speed = bump(&mut game.state.ships, (first, second), (dx, dy), reach, game.arena);
            if speed >= i64::from(game.rules.bump_speed) && game.rules.bump_damage > 0 && game.is_live() {
                ram(game, first, second, game.rules.bump_damage);
                ram(game, second, first, game.rules.bump_damage);
            }
        }
        (true, false) => meet_pod(game, first, second),
        (false, true) => meet_pod(game, second, first),
        (false, false) => {}
    }
    true
}

fn ram(game: &mut Game<'_>, by: Seat, victim: Seat, amount: u8) {
    if game.setup.hurts(by, victim) {
        game.wound(Wound { victim, by: Some(by), amount, weapon: Weapon::Ram, ..Wound::default() });
    }
}

/// A ship touches a pod: an enemy's is lost, a mate's is fetched ([`super::combat::return_ships`] sees it).
fn meet_pod(game: &mut Game<'_>, ship: Seat, pod: Seat) {
    if game.setup.side(ship) != game.setup.side(pod) {
        ram(game, ship, pod, u8::MAX);
    } else if game.is_live() {
        game.scratch.rescued[pod.index()] = Some(ship);
    }
}

/// Elastic bump of two equal circles that overlap; the speed at which they met, in velocity steps.
fn bump(ships: &mut [Ship], (first, second): (Seat, Seat), (dx, dy): (i32, i32), reach: i64, arena: &Arena) -> i64 {
    let (before, after) = ships.split_at_mut(second.index());
    let (first, second) = (&mut before[first.index()], &mut after[0]);
    let (dx, dy) = (i64::from(dx), i64::from(dy));
    let squared = dx * dx + dy * dy;
    // Two ships in exactly the same place part along the x axis.
    let (nx, ny, squared) = if squared == 0 { (1, 0, 1) } else { (dx, dy, squared) };
    let distance = squared.isqrt().max(1);
    let relative = (i64::from(second.vx - first.vx), i64::from(second.vy - first.vy));
    let closing = -(relative.0 * nx + relative.1 * ny);
    if closing > 0 {
        // Equal masses: the parts along the line between them change places.
        let (ix, iy) = impulse(relative, (nx, ny), squared);
        first.vx = (first.vx + ix).clamp(-VELOCITY_MAX, VELOCITY_MAX);
        first.vy = (first.vy + iy).clamp(-VELOCITY_MAX, VELOCITY_MAX);
        second.vx = (second.vx - ix).clamp(-VELOCITY_MAX, VELOCITY_MAX);
        second.vy = (second.vy - iy).clamp(-VELOCITY_MAX, VELOCITY_MAX);
    }
    // Half the overlap each, rounded up, so that they do not stay stuck.
    let push = (reach - distance) / 2 + 1;
    let (px, py) = ((nx * push / distance) as i32, (ny * push / distance) as i32);
    (first.x, first.y) = arena.placed(first.x - px, first.y - py);
    (second.x, second.y) = arena.placed(second.x + px, second.y + py);
    (closing / distance).max(0)
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
