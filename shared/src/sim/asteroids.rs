//! Asteroids: where they begin, how they drift and collide, and how they break.
//!
//! In: the arena's count, seed, shots, hulls. Out: rocks on the grid, wounds of ships that met one too fast.
//! *Invariant:* collisions keep momentum up to a grid step and never add energy; a break makes at most two of the next
//! smaller size, and none when the list is full.
//! Start reading at [`drift`].

use super::arena::Arena;
use super::arena::ground::Body;
use super::event::{Event, Weapon};
use super::game::{Game, Wound};
use super::rng::{Purpose, random};
use super::ships::{VELOCITY_MAX, hull_radius, pulled};
use super::state::{Asteroid, Setup, State};
use super::units::{ANGLE_STEPS, Angle, POSITION_PER_UNIT, Seat, Tick, advance, along};

/// By size, in arena units.
const RADIUS_UNITS: [i32; 3] = [14, 26, 44];
/// By size; a ship weighs [`SHIP_MASS`].
const MASS: [i64; 3] = [1, 3, 9];
const SHIP_MASS: i64 = 2;
/// Size of those that a round begins with.
const LARGE: u8 = 2;
/// Fastest that a rock drifts: what its field holds.
const ROCK_VELOCITY_MAX: i32 = (1 << 19) - 1;
/// From a spawn point to the rim of a rock at the start of a round, at least.
const CLEAR_OF_SPAWNS: i64 = 120 * POSITION_PER_UNIT as i64;
/// Places tried for one rock; in a crowded arena the last one is taken.
const PLACES_TRIED: u32 = 16;

impl Asteroid {
    /// Position steps.
    pub fn radius(&self) -> i32 {
        RADIUS_UNITS[usize::from(self.size.min(LARGE))] * POSITION_PER_UNIT
    }

    fn mass(&self) -> i64 {
        MASS[usize::from(self.size.min(LARGE))]
    }

    /// Where it was a tick ago, had it met nothing.
    pub(super) fn before(&self, tick: Tick, arena: &Arena) -> (i32, i32) {
        arena.placed(self.x - advance(self.vx, tick), self.y - advance(self.vy, tick))
    }
}

/// Puts the arena's rocks out for a new round.
pub(super) fn scatter(setup: &Setup, state: &mut State) {
    state.asteroids.clear();
    let (arena, number) = (setup.arena(), u32::from(state.round.number));
    for rock in 0..u32::from(arena.asteroids) {
        let draw = |what: u32| random(setup.seed, Purpose::Asteroid, number, rock * 64 + what);
        let mut place = (0, 0);
        for attempt in 0..PLACES_TRIED {
            let (x, y) = (draw(2 * attempt), draw(2 * attempt + 1));
            place = ((x % arena.width as u64) as i32, (y % arena.height as u64) as i32);
            let radius = i64::from(RADIUS_UNITS[usize::from(LARGE)] * POSITION_PER_UNIT);
            let clear = arena.spawns.iter().all(|spawn| {
                let (dx, dy) = arena.way(place, (spawn.x, spawn.y));
                i64::from(dx).pow(2) + i64::from(dy).pow(2) >= (CLEAR_OF_SPAWNS + radius).pow(2)
            });
            if clear {
                break;
            }
        }
        let heading = Angle((draw(40) % u64::from(ANGLE_STEPS)) as u16);
        // Between half and all of the fastest.
        let speed = (i64::from(setup.ruleset.asteroid_speed) * (128 + (draw(41) % 128) as i64) / 256) as i32;
        let id = state.round.asteroids_made;
        state.round.asteroids_made = id.wrapping_add(1);
        let (vx, vy) = (along(speed, heading.cos()), along(speed, heading.sin()));
        let _ = state.asteroids.push(Asteroid { id, x: place.0, y: place.1, vx, vy, size: LARGE, hits: 0 });
    }
}

/// Moves every rock, lets rocks meet each other and what stands still.
pub(super) fn drift(game: &mut Game<'_>) {
    if game.state.asteroids.is_empty() || !game.flies() {
        return;
    }
    let tick = game.state.round.tick;
    for rock in game.state.asteroids.iter_mut() {
        for well in &game.arena.wells {
            let (ax, ay) = pulled(game.arena, well, (rock.x, rock.y));
            (rock.vx, rock.vy) = (rock.vx + ax / 2, rock.vy + ay / 2);
        }
        rock.x += advance(rock.vx, tick);
        rock.y += advance(rock.vy, tick);
        keep_out(rock, game.arena, tick);
    }
    let count = game.state.asteroids.len();
    for first in 0..count {
        for second in first + 1..count {
            let (before, after) = game.state.asteroids.split_at_mut(second);
            let (one, other) = (&mut before[first], &mut after[0]);
            let reach = i64::from(one.radius() + other.radius());
            let way = game.arena.way((one.x, one.y), (other.x, other.y));
            let (m, n) = (one.mass(), other.mass());
            let (mut a, mut b) = (Mover::of_rock(one, m), Mover::of_rock(other, n));
            if collide(&mut a, &mut b, way, reach).is_some() {
                a.into_rock(one, game.arena);
                b.into_rock(other, game.arena);
            }
        }
    }
}

fn keep_out(rock: &mut Asteroid, arena: &Arena, tick: Tick) {
    let radius = rock.radius();
    let mut body = Body { x: rock.x, y: rock.y, vx: rock.vx, vy: rock.vy, radius, bounce_q8: 256 };
    arena.keep_out(&mut body, tick);
    (rock.x, rock.y) = (body.x, body.y);
    rock.vx = body.vx.clamp(-ROCK_VELOCITY_MAX, ROCK_VELOCITY_MAX);
    rock.vy = body.vy.clamp(-ROCK_VELOCITY_MAX, ROCK_VELOCITY_MAX);
}

/// Lets ships and pods meet rocks: both are pushed, and who was too fast is hurt.
pub(super) fn meet_ships(game: &mut Game<'_>) {
    if game.state.asteroids.is_empty() || !game.flies() {
        return;
    }
    for seat in game.seats() {
        for index in 0..game.state.asteroids.len() {
            meet(game, seat, index);
        }
    }
}

fn meet(game: &mut Game<'_>, seat: Seat, index: usize) {
    let ship = game.state.ships[seat.index()];
    if !ship.is_out() {
        return;
    }
    let rock = &mut game.state.asteroids[index];
    let reach = i64::from(rock.radius() + hull_radius(&ship, game.rules));
    let way = game.arena.way(ship.at(), (rock.x, rock.y));
    let mut a = Mover { x: ship.x, y: ship.y, vx: ship.vx, vy: ship.vy, mass: SHIP_MASS };
    let mut b = Mover::of_rock(rock, rock.mass());
    let Some(speed) = collide(&mut a, &mut b, way, reach) else { return };
    b.into_rock(rock, game.arena);
    let ship = &mut game.state.ships[seat.index()];
    (ship.x, ship.y) = game.arena.placed(a.x, a.y);
    (ship.vx, ship.vy) = (a.vx.clamp(-VELOCITY_MAX, VELOCITY_MAX), a.vy.clamp(-VELOCITY_MAX, VELOCITY_MAX));
    let damage = game.rules.asteroid_damage;
    if speed >= i64::from(game.rules.bump_speed) && damage > 0 && game.is_live() {
        game.wound(Wound { victim: seat, amount: damage, weapon: Weapon::Asteroid, ..Wound::default() });
    }
}

/// A shot has met the rock at `index`.
pub(super) fn struck(game: &mut Game<'_>, index: usize) {
    let rock = &mut game.state.asteroids[index];
    // Those that are broken stay in their place until the tick's shots are dealt with, so that indexes hold.
    rock.hits = (rock.hits + 1).min(7);
}

/// Takes away rocks that have taken enough, and puts their pieces out.
pub(super) fn shatter(game: &mut Game<'_>) {
    let hits = game.rules.asteroid_hits;
    if !game.state.asteroids.iter().any(|rock| rock.hits >= hits) {
        return;
    }
    let broken: super::list::FixedList<Asteroid, { super::state::ASTEROIDS_MAX }> =
        game.state.asteroids.iter().copied().filter(|rock| rock.hits >= hits).collect();
    game.state.asteroids.retain(|rock| rock.hits < hits);
    for rock in broken.iter() {
        game.tell(Event::AsteroidBroken { asteroid: rock.id });
        if rock.size == 0 {
            continue;
        }
        let drawn = random(game.setup.seed, Purpose::Asteroid, game.state.round.tick.0, u32::from(rock.id));
        let across = Angle((drawn % u64::from(ANGLE_STEPS)) as u16);
        for side in [1, -1] {
            let (radius, push) = (rock.radius() / 2, game.rules.asteroid_speed);
            let (cos, sin) = (side * across.cos(), side * across.sin());
            let (x, y) = game.arena.placed(rock.x + along(radius, cos), rock.y + along(radius, sin));
            let velocity =
                |v: i32, direction| (v + along(push, direction)).clamp(-ROCK_VELOCITY_MAX, ROCK_VELOCITY_MAX);
            let id = game.state.round.asteroids_made;
            let (vx, vy) = (velocity(rock.vx, cos), velocity(rock.vy, sin));
            if game.state.asteroids.push(Asteroid { id, x, y, vx, vy, size: rock.size - 1, hits: 0 }) {
                game.state.round.asteroids_made = id.wrapping_add(1);
            }
        }
    }
}

/// Something round with a mass.
struct Mover {
    x: i32,
    y: i32,
    vx: i32,
    vy: i32,
    mass: i64,
}

impl Mover {
    fn of_rock(rock: &Asteroid, mass: i64) -> Mover {
        Mover { x: rock.x, y: rock.y, vx: rock.vx, vy: rock.vy, mass }
    }

    fn into_rock(self, rock: &mut Asteroid, arena: &Arena) {
        (rock.x, rock.y) = arena.placed(self.x, self.y);
        rock.vx = self.vx.clamp(-ROCK_VELOCITY_MAX, ROCK_VELOCITY_MAX);
        rock.vy = self.vy.clamp(-ROCK_VELOCITY_MAX, ROCK_VELOCITY_MAX);
    }
}

/// Elastic collision of two circles that are `way` apart, if they are nearer than `reach`; the speed at which they met.
fn collide(first: &mut Mover, second: &mut Mover, (dx, dy): (i32, i32), reach: i64) -> Option<i64> {
    let (dx, dy) = (i64::from(dx), i64::from(dy));
    let squared = dx * dx + dy * dy;
    if squared >= reach * reach {
        return None;
    }
    let (nx, ny, squared) = if squared == 0 { (1, 0, 1) } else { (dx, dy, squared) };
    let distance = squared.isqrt().max(1);
    let closing = -(i64::from(second.vx - first.vx) * nx + i64::from(second.vy - first.vy) * ny);
    let whole = first.mass + second.mass;
    if closing > 0 {
        // 2 m1 m2 / (m1 + m2) of the closing speed changes hands; truncation takes energy, never adds any.
        let along_line = |n: i64, other: i64| (2 * closing * n / squared * other / whole) as i32;
        first.vx -= along_line(nx, second.mass);
        first.vy -= along_line(ny, second.mass);
        second.vx += along_line(nx, first.mass);
        second.vy += along_line(ny, first.mass);
    }
    let push = reach - distance + 1;
    let part = |n: i64, other: i64| (n * push / distance * other / whole + n.signum()) as i32;
    first.x -= part(nx, second.mass);
    first.y -= part(ny, second.mass);
    second.x += part(nx, first.mass);
    second.y += part(ny, first.mass);
    Some((closing / distance).max(0))
}
