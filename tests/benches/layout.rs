//! Which data layout should a shard use for many small matches in one `bevy_ecs` world?
//!
//! Three layouts play the same reduced game, tick by tick, and must agree on every 64-bit state hash:
//!
//! * `a: all entities`: a match, each ship and each bullet is an entity. What one thing does alone runs
//!   flat over the tables; what interacts is gathered into reused dense rows per match, sorted by `Id`,
//!   resolved there and written back. Bullets are spawned and despawned in one place per tick.
//! * `b: bullets in match`: ships are entities as in (a); bullets are a fixed-capacity component of the
//!   match entity.
//! * `c: all in match`: ships and bullets are fixed-capacity components of the match entity. Nothing is
//!   gathered, because a match is already one row.
//!
//! The rules (section "Rules") are plain functions over plain structs and are shared, so a difference in
//! time is a difference in layout. Each layout is a single-threaded chained `Schedule` of several systems
//! with separate components, as a real game would have, so each pays its honest share of ECS cost.
//!
//! Run with `cargo bench --bench layout` on a quiet machine; `-- --quick` only checks the promises.
//! The promises asserted before anything is timed:
//!
//! 1. the three layouts agree on the hash and on the saved bytes of every match;
//! 2. a match alone hashes the same as the same match among many;
//! 3. save, load into another world (of another layout too), continue = continue.

#![forbid(unsafe_code)]
// Queries are spelled out where they are used: the list of columns a system touches is the subject here.
#![allow(clippy::type_complexity)]

use std::borrow::Borrow;
use std::hint::black_box;
use std::mem::{size_of, take};
use std::time::{Duration, Instant};

use bevy_ecs::prelude::*;
use bevy_ecs::schedule::SingleThreadedExecutor;

// ------------------------------------------------------------------------------------------------
// Rules: the game, with no ECS in it
// ------------------------------------------------------------------------------------------------

const SHIPS: usize = 4;
/// Live bullets of one match. A seat can have `MAGAZINE` + one per `RELOAD` begun within `FLIGHT_TICKS`,
/// which is 8; a dead ship stays dead longer than its bullets fly, so a refill on respawn adds none.
const BULLETS: usize = 32;
const EVENTS: usize = 64;
/// Events of one tick: a shot per ship, a hit per bullet, a kill per ship.
const OUTBOX: usize = SHIPS + BULLETS + SHIPS;

/// The field, in sixteenths of a unit; it wraps on both axes.
const WIDTH: i32 = 25_600;
const HEIGHT: i32 = 14_400;
const HULL_RADIUS: i32 = 16 * 16;
/// Q16 units per tick squared, along the heading.
const THRUST: i32 = 5_000;
/// Q16 units per tick.
const MUZZLE: i32 = 12 << 16;
const TURN: u16 = 700;
const MAGAZINE: u8 = 3;
const RELOAD: u8 = 18;
const COOLDOWN: u8 = 6;
const FLIGHT_TICKS: u32 = 75;
const HIT_POINTS: i16 = 4;
const DEAD_TICKS: u16 = 90;
const ROUND_TICKS: u32 = 3_600;

/// The match itself. `tick` is the match's own: matches of one world were opened at different times.
#[derive(Component, Clone, Copy, Default)]
struct Clock {
    seed: u64,
    tick: u32,
    round: u16,
    next_bullet: u16,
}

/// Where a ship is, where it was one tick ago (for swept tests), and its velocity in Q16 units per tick.
#[derive(Component, Clone, Copy, Default)]
struct Body {
    x: i32,
    y: i32,
    old_x: i32,
    old_y: i32,
    vx: i32,
    vy: i32,
    heading: u16,
}

#[derive(Component, Clone, Copy, Default)]
struct Gun {
    rounds: u8,
    reload: u8,
    cooldown: u8,
    /// Set by `steer` for this tick: a bullet leaves the muzzle once ships have moved and collided.
    fired: bool,
}

#[derive(Component, Clone, Copy, Default)]
struct Hull {
    hp: i16,
    /// Ticks until respawn; 0 is alive.
    dead: u16,
    kills: u16,
    deaths: u16,
}

/// Stands for the player: the stream of inputs of one seat of one match.
#[derive(Component, Clone, Copy, Default)]
struct Pilot(u64);

/// A bullet never changes after its birth: where it is follows from these five numbers.
#[derive(Component, Clone, Copy, Default)]
struct Flight {
    x: i32,
    y: i32,
    vx: i32,
    vy: i32,
    born: u32,
}

#[derive(Component, Clone, Copy, Default)]
struct Owner(u8);

/// Seat of a ship, serial number of a bullet. Serial numbers wrap; live ones are few and distinct.
#[derive(Component, Clone, Copy, Default)]
struct Id(u16);

/// A bullet as the rules see it.
#[derive(Clone, Copy, Default)]
struct Shot {
    flight: Flight,
    id: Id,
    owner: Owner,
}

#[derive(Clone, Copy, Default)]
struct Event {
    tick: u32,
    kind: u8,
    seat: u8,
    other: u16,
}

const SPAWN: u8 = 1;
const HIT: u8 = 2;
const KILL: u8 = 3;

/// Events of the running tick, in the order they happened.
#[derive(Component)]
struct Outbox {
    len: u8,
    events: [Event; OUTBOX],
}

/// The last `EVENTS` events of a match, for clients that missed a packet.
#[derive(Component, Clone)]
struct Ring {
    total: u32,
    events: [Event; EVENTS],
}

/// Live bullets of a match, oldest first, hence sorted by `Id`. (Component of the match in (b) and (c).)
#[derive(Component, Clone)]
struct Bullets {
    len: u8,
    shots: [Shot; BULLETS],
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            len: 0,
            events: [Event::default(); OUTBOX],
        }
    }
}

impl Outbox {
    fn push(&mut self, event: Event) {
        self.events[usize::from(self.len)] = event;
        self.len += 1;
    }
}

impl Default for Ring {
    fn default() -> Self {
        Self {
            total: 0,
            events: [Event::default(); EVENTS],
        }
    }
}

impl Ring {
    fn push(&mut self, event: Event) {
        self.events[self.total as usize % EVENTS] = event;
        self.total += 1;
    }

    /// Oldest first.
    fn iter(&self) -> impl Iterator<Item = &Event> {
        let first = self.total.saturating_sub(EVENTS as u32);
        (first..self.total).map(|n| &self.events[n as usize % EVENTS])
    }
}

impl Default for Bullets {
    fn default() -> Self {
        Self {
            len: 0,
            shots: [Shot::default(); BULLETS],
        }
    }
}

impl Bullets {
    fn live(&self) -> &[Shot] {
        &self.shots[..usize::from(self.len)]
    }

    fn push(&mut self, shot: Shot) {
        self.shots[usize::from(self.len)] = shot;
        self.len += 1;
    }

    /// Takes out the slots whose bit is set and keeps the order of the rest.
    fn remove(&mut self, spent: u32) {
        let first = spent.trailing_zeros() as usize;
        let mut kept = first;
        for slot in first..usize::from(self.len) {
            if spent >> slot & 1 == 0 {
                self.shots[kept] = self.shots[slot];
                kept += 1;
            }
        }
        self.len = kept as u8;
    }
}

/// SplitMix64's finaliser: inputs, spawn points and churn are all drawn from it.
fn mix(mut z: u64) -> u64 {
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

fn pilot(seed: u64, seat: usize) -> Pilot {
    Pilot(mix(
        seed ^ (seat as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    ))
}

/// Sine in Q15 of an angle of 65,536 steps per turn: a parabola, exact in integers on every machine.
fn sine(angle: u16) -> i32 {
    let x = i32::from(angle as i16);
    (x * (32_768 - x.abs())) >> 13
}

fn cosine(angle: u16) -> i32 {
    sine(angle.wrapping_add(16_384))
}

/// Grid steps a Q16 velocity makes in a tick. Telescopes over ticks, so nothing is carried and nothing lost.
fn step(v: i32, tick: u32) -> i32 {
    let (v, k) = (i64::from(v), i64::from(tick & 4_095));
    (((v * (k + 1)) >> 12) - ((v * k) >> 12)) as i32
}

/// The shorter way round between two places on the field, given their difference.
fn shortest(difference: i32, size: i32) -> i32 {
    if difference >= size / 2 {
        difference - size
    } else if difference < -size / 2 {
        difference + size
    } else {
        difference
    }
}

impl Shot {
    /// Position at an age, not wrapped: callers take differences.
    fn at(&self, age: u32) -> (i32, i32) {
        let along = |v: i32| ((i64::from(v) * i64::from(age)) >> 12) as i32;
        (
            self.flight.x + along(self.flight.vx),
            self.flight.y + along(self.flight.vy),
        )
    }

    /// Sorts live bullets oldest first, whatever the wrap of serial numbers.
    fn order(&self, clock: &Clock) -> u16 {
        self.id.0.wrapping_sub(clock.next_bullet)
    }
}

/// One ship's input for one tick: turn, thrust, drag, reload and the decision to fire.
fn steer(tick: u32, pilot: Pilot, body: &mut Body, gun: &mut Gun, hull: &Hull) {
    gun.fired = false;
    if hull.dead > 0 {
        return;
    }
    let input = mix(pilot.0 ^ u64::from(tick));
    match input & 3 {
        0 => body.heading = body.heading.wrapping_add(TURN),
        1 => body.heading = body.heading.wrapping_sub(TURN),
        _ => {}
    }
    body.vx -= body.vx / 64;
    body.vy -= body.vy / 64;
    if input & 4 != 0 {
        body.vx += (cosine(body.heading) * THRUST) >> 15;
        body.vy += (sine(body.heading) * THRUST) >> 15;
    }
    gun.cooldown = gun.cooldown.saturating_sub(1);
    if gun.rounds < MAGAZINE {
        gun.reload += 1;
        if gun.reload == RELOAD {
            gun.reload = 0;
            gun.rounds += 1;
        }
    }
    if input & 24 == 0 && gun.rounds > 0 && gun.cooldown == 0 {
        gun.rounds -= 1;
        gun.cooldown = COOLDOWN;
        gun.fired = true;
    }
}

fn advance(tick: u32, body: &mut Body, hull: &Hull) {
    (body.old_x, body.old_y) = (body.x, body.y);
    if hull.dead == 0 {
        body.x = (body.x + step(body.vx, tick)).rem_euclid(WIDTH);
        body.y = (body.y + step(body.vy, tick)).rem_euclid(HEIGHT);
    }
}

/// Elastic collisions of equal masses, pairs in seat order. Returns the seats that changed, as bits.
fn collide(bodies: &mut [Body; SHIPS], hulls: &[Hull; SHIPS]) -> u8 {
    let mut changed = 0;
    for first in 0..SHIPS {
        for second in first + 1..SHIPS {
            if hulls[first].dead > 0 || hulls[second].dead > 0 {
                continue;
            }
            let (a, b) = (bodies[first], bodies[second]);
            let dx = i64::from(shortest(b.x - a.x, WIDTH));
            let dy = i64::from(shortest(b.y - a.y, HEIGHT));
            let apart = dx * dx + dy * dy;
            if apart == 0 || apart >= i64::from(4 * HULL_RADIUS * HULL_RADIUS) {
                continue;
            }
            let closing = i64::from(b.vx - a.vx) * dx + i64::from(b.vy - a.vy) * dy;
            if closing >= 0 {
                continue;
            }
            let (jx, jy) = ((dx * closing / apart) as i32, (dy * closing / apart) as i32);
            bodies[first].vx += jx;
            bodies[first].vy += jy;
            bodies[second].vx -= jx;
            bodies[second].vy -= jy;
            changed |= 1 << first | 1 << second;
        }
    }
    changed
}

/// The bullets that leave their muzzles this tick, in seat order. They are first tested next tick.
fn fire(
    clock: &mut Clock,
    bodies: &[Body; SHIPS],
    guns: &[Gun; SHIPS],
    outbox: &mut Outbox,
    mut spawn: impl FnMut(Shot),
) {
    for (seat, (body, _)) in bodies
        .iter()
        .zip(guns)
        .enumerate()
        .filter(|(_, (_, gun))| gun.fired)
    {
        let (cos, sin) = (cosine(body.heading), sine(body.heading));
        let id = Id(clock.next_bullet);
        clock.next_bullet = clock.next_bullet.wrapping_add(1);
        spawn(Shot {
            flight: Flight {
                x: (body.x + ((cos * HULL_RADIUS) >> 15)).rem_euclid(WIDTH),
                y: (body.y + ((sin * HULL_RADIUS) >> 15)).rem_euclid(HEIGHT),
                vx: body.vx + ((i64::from(cos) * i64::from(MUZZLE)) >> 15) as i32,
                vy: body.vy + ((i64::from(sin) * i64::from(MUZZLE)) >> 15) as i32,
                born: clock.tick,
            },
            id,
            owner: Owner(seat as u8),
        });
        outbox.push(Event {
            tick: clock.tick,
            kind: SPAWN,
            seat: seat as u8,
            other: id.0,
        });
    }
}

/// When in this tick (Q16) a point that moves by `(dx, dy)` relative to a hull enters it, if it does.
fn time_of_impact((px, py): (i32, i32), (dx, dy): (i32, i32)) -> Option<u64> {
    if px.abs() > HULL_RADIUS + dx.abs() || py.abs() > HULL_RADIUS + dy.abs() {
        return None;
    }
    let (px, py, dx, dy) = (i64::from(px), i64::from(py), i64::from(dx), i64::from(dy));
    let outside = px * px + py * py - i64::from(HULL_RADIUS * HULL_RADIUS);
    if outside <= 0 {
        return Some(0);
    }
    let (speed, approach) = (dx * dx + dy * dy, px * dx + py * dy);
    let root = approach * approach - speed * outside;
    if approach >= 0 || root < 0 {
        return None;
    }
    let time = ((-approach - root.isqrt()) << 16) / speed;
    (time <= 1 << 16).then_some(time as u64)
}

struct HitOutcome {
    /// Slots of `shots` that are gone: they hit, or their flight is over.
    spent: u32,
    /// Seats whose hull changed.
    changed: u8,
}

/// Sweeps every bullet against every hull, then lets contacts happen in order of time, then bullet, then seat.
fn resolve<S: Borrow<Shot>>(
    clock: &Clock,
    bodies: &[Body; SHIPS],
    hulls: &mut [Hull; SHIPS],
    shots: &[S],
    outbox: &mut Outbox,
    contacts: &mut Vec<u64>,
) -> HitOutcome {
    let mut outcome = HitOutcome {
        spent: 0,
        changed: 0,
    };
    contacts.clear();
    for (slot, shot) in shots.iter().map(Borrow::borrow).enumerate() {
        let age = clock.tick - shot.flight.born;
        if age == 0 {
            continue;
        }
        if age >= FLIGHT_TICKS {
            outcome.spent |= 1 << slot;
        }
        let (old, new) = (shot.at(age - 1), shot.at(age));
        let flown = (new.0 - old.0, new.1 - old.1);
        let old = (old.0.rem_euclid(WIDTH), old.1.rem_euclid(HEIGHT));
        for (seat, body) in bodies.iter().enumerate() {
            if hulls[seat].dead > 0 || usize::from(shot.owner.0) == seat {
                continue;
            }
            let from = (
                shortest(old.0 - body.old_x, WIDTH),
                shortest(old.1 - body.old_y, HEIGHT),
            );
            let by = (
                flown.0 - shortest(body.x - body.old_x, WIDTH),
                flown.1 - shortest(body.y - body.old_y, HEIGHT),
            );
            if let Some(time) = time_of_impact(from, by) {
                let order = u64::from(shot.order(clock));
                contacts.push(time << 32 | order << 16 | (slot as u64) << 8 | seat as u64);
            }
        }
    }
    contacts.sort_unstable();
    let mut landed = 0_u32;
    for contact in contacts.iter() {
        let (slot, seat) = ((contact >> 8 & 0xff) as usize, (contact & 0xff) as usize);
        if landed >> slot & 1 == 1 || hulls[seat].dead > 0 {
            continue;
        }
        landed |= 1 << slot;
        outcome.changed |= 1 << seat;
        let shot: &Shot = shots[slot].borrow();
        outbox.push(Event {
            tick: clock.tick,
            kind: HIT,
            seat: seat as u8,
            other: shot.id.0,
        });
        hulls[seat].hp -= 1;
        if hulls[seat].hp == 0 {
            hulls[seat].dead = DEAD_TICKS;
            hulls[seat].deaths += 1;
            hulls[usize::from(shot.owner.0)].kills += 1;
            outcome.changed |= 1 << shot.owner.0;
            outbox.push(Event {
                tick: clock.tick,
                kind: KILL,
                seat: seat as u8,
                other: shot.owner.0.into(),
            });
        }
    }
    outcome.spent |= landed;
    outcome
}

/// Puts a ship on the field at rest, at a place drawn from its pilot and the tick.
fn enter(tick: u32, pilot: Pilot, body: &mut Body, gun: &mut Gun, hull: &mut Hull) {
    let place = mix(pilot.0 ^ u64::from(tick) << 32 ^ 0x5eed);
    let (x, y) = (
        (place as u32 >> 8) as i32 % WIDTH,
        (place >> 40) as i32 % HEIGHT,
    );
    *body = Body {
        x,
        y,
        old_x: x,
        old_y: y,
        vx: 0,
        vy: 0,
        heading: place as u16,
    };
    *gun = Gun {
        rounds: MAGAZINE,
        ..Gun::default()
    };
    hull.hp = HIT_POINTS;
    hull.dead = 0;
}

/// True when the ship must `enter` again. Split so that a living ship's columns are not written.
fn count_down(hull: &mut Hull) -> bool {
    hull.dead -= 1;
    hull.dead == 0
}

fn count_up(clock: &mut Clock) {
    clock.tick += 1;
    if clock.tick.is_multiple_of(ROUND_TICKS) {
        clock.round += 1;
    }
}

fn record(outbox: &mut Outbox, ring: &mut Ring) {
    for event in &outbox.events[..usize::from(outbox.len)] {
        ring.push(*event);
    }
    outbox.len = 0;
}

// ------------------------------------------------------------------------------------------------
// State of one match as words: hash, save, load
// ------------------------------------------------------------------------------------------------

/// A whole match by value: what a load yields and what an opened match starts from.
struct Match {
    clock: Clock,
    bodies: [Body; SHIPS],
    guns: [Gun; SHIPS],
    hulls: [Hull; SHIPS],
    bullets: Bullets,
    ring: Ring,
}

/// A whole match by reference, wherever its layout keeps it; ships by seat, bullets by `Id`.
struct View<'a, S> {
    clock: &'a Clock,
    bodies: &'a [Body; SHIPS],
    guns: &'a [Gun; SHIPS],
    hulls: &'a [Hull; SHIPS],
    shots: &'a [S],
    ring: &'a Ring,
}

fn pair(low: i32, high: i32) -> u64 {
    u64::from(low as u32) | u64::from(high as u32) << 32
}

fn unpair(word: u64) -> (i32, i32) {
    (word as u32 as i32, (word >> 32) as u32 as i32)
}

fn quad(parts: [u16; 4]) -> u64 {
    parts
        .iter()
        .rev()
        .fold(0, |word, part| word << 16 | u64::from(*part))
}

fn unquad(word: u64) -> [u16; 4] {
    [
        word as u16,
        (word >> 16) as u16,
        (word >> 32) as u16,
        (word >> 48) as u16,
    ]
}

impl<S: Borrow<Shot>> View<'_, S> {
    /// The one definition of "the whole state"; hash and save differ only in what they do with the words.
    fn words(&self, mut put: impl FnMut(u64)) {
        let clock = self.clock;
        put(clock.seed);
        put(u64::from(clock.tick)
            | u64::from(clock.round) << 32
            | u64::from(clock.next_bullet) << 48);
        for ((body, gun), hull) in self.bodies.iter().zip(self.guns).zip(self.hulls) {
            put(pair(body.x, body.y));
            put(pair(body.old_x, body.old_y));
            put(pair(body.vx, body.vy));
            let gun = u32::from_le_bytes([gun.rounds, gun.reload, gun.cooldown, gun.fired.into()]);
            put(u64::from(body.heading) | u64::from(gun) << 32);
            put(quad([hull.hp as u16, hull.dead, hull.kills, hull.deaths]));
        }
        put(self.shots.len() as u64 | u64::from(self.ring.total) << 32);
        for shot in self.shots.iter().map(Borrow::borrow) {
            let flight = &shot.flight;
            put(pair(flight.x, flight.y));
            put(pair(flight.vx, flight.vy));
            put(u64::from(flight.born)
                | u64::from(shot.id.0) << 32
                | u64::from(shot.owner.0) << 48);
        }
        for event in self.ring.iter() {
            let (kind, seat) = (u64::from(event.kind), u64::from(event.seat));
            put(u64::from(event.tick) | kind << 32 | seat << 40 | u64::from(event.other) << 48);
        }
    }

    fn hash(&self) -> u64 {
        let mut hash = 0x9e37_79b9_7f4a_7c15_u64;
        self.words(|word| hash = (hash.rotate_left(23) ^ word).wrapping_mul(0xd6e8_feb8_6659_fd93));
        mix(hash)
    }

    fn save(&self, bytes: &mut Vec<u8>) {
        bytes.clear();
        self.words(|word| bytes.extend_from_slice(&word.to_le_bytes()));
    }
}

impl Match {
    fn new(seed: u64) -> Self {
        let mut state = Self {
            clock: Clock {
                seed,
                ..Clock::default()
            },
            bodies: Default::default(),
            guns: Default::default(),
            hulls: Default::default(),
            bullets: Bullets::default(),
            ring: Ring::default(),
        };
        let ships = state
            .bodies
            .iter_mut()
            .zip(&mut state.guns)
            .zip(&mut state.hulls)
            .enumerate();
        for (seat, ((body, gun), hull)) in ships {
            enter(0, pilot(seed, seat), body, gun, hull);
        }
        state
    }

    /// `None` if the bytes are not what `save` writes.
    fn load(bytes: &[u8]) -> Option<Self> {
        let (words, []) = bytes.as_chunks::<8>() else {
            return None;
        };
        let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
        let mut state = Self {
            clock: Clock {
                seed: words.next()?,
                ..Clock::default()
            },
            bodies: Default::default(),
            guns: Default::default(),
            hulls: Default::default(),
            bullets: Bullets::default(),
            ring: Ring::default(),
        };
        let word = words.next()?;
        state.clock.tick = word as u32;
        (state.clock.round, state.clock.next_bullet) = ((word >> 32) as u16, (word >> 48) as u16);
        for seat in 0..SHIPS {
            let body = &mut state.bodies[seat];
            (body.x, body.y) = unpair(words.next()?);
            (body.old_x, body.old_y) = unpair(words.next()?);
            (body.vx, body.vy) = unpair(words.next()?);
            let word = words.next()?;
            body.heading = word as u16;
            let [rounds, reload, cooldown, fired] = ((word >> 32) as u32).to_le_bytes();
            state.guns[seat] = Gun {
                rounds,
                reload,
                cooldown,
                fired: fired != 0,
            };
            let [hp, dead, kills, deaths] = unquad(words.next()?);
            state.hulls[seat] = Hull {
                hp: hp as i16,
                dead,
                kills,
                deaths,
            };
        }
        let word = words.next()?;
        let (shots, total) = (word as u32 as usize, (word >> 32) as u32);
        if shots > BULLETS {
            return None;
        }
        for _ in 0..shots {
            let ((x, y), (vx, vy)) = (unpair(words.next()?), unpair(words.next()?));
            let [born_low, born_high, id, owner] = unquad(words.next()?);
            let born = u32::from(born_low) | u32::from(born_high) << 16;
            if usize::from(owner) >= SHIPS || born > state.clock.tick {
                return None;
            }
            let flight = Flight { x, y, vx, vy, born };
            state.bullets.push(Shot {
                flight,
                id: Id(id),
                owner: Owner(owner as u8),
            });
        }
        state.ring.total = total.saturating_sub(EVENTS as u32);
        while state.ring.total < total {
            let word = words.next()?;
            let [_, _, what, other] = unquad(word);
            let [kind, seat] = what.to_le_bytes();
            state.ring.push(Event {
                tick: word as u32,
                kind,
                seat,
                other,
            });
        }
        words.next().is_none().then_some(state)
    }
}

// ------------------------------------------------------------------------------------------------
// What the bench asks of a layout
// ------------------------------------------------------------------------------------------------

/// One world with its schedule. Rows name matches: a closed row is given to the next match opened.
trait Shard: Sized {
    const NAME: &'static str;
    type Shot: Borrow<Shot>;

    fn new() -> Self;
    fn open(&mut self, seed: u64) -> u32;
    fn close(&mut self, row: u32);
    fn tick(&mut self);
    fn world(&mut self) -> &mut World;
    /// The tick's systems, each in a schedule of its own, for the table of where the time goes.
    fn phases() -> Vec<(&'static str, Schedule)>;
    /// Shows every open match; what the layout must collect for that it collects once.
    fn view_all(&mut self, see: impl FnMut(u32, &View<'_, Self::Shot>));
    /// Shows one match, as a join or a desync report needs it.
    fn view_one(&mut self, row: u32, see: impl FnMut(&View<'_, Self::Shot>));
    /// Replaces the state of open matches by saved ones.
    fn load_all(&mut self, saves: &[(u32, Vec<u8>)]);
    /// Bytes of components per match, and bytes of reused scratch rows per match.
    fn footprint(bullets: usize) -> (usize, usize);
}

/// Declares the tick once, and gives it as the chained schedule that is measured and as single phases.
macro_rules! tick_of {
    ($($system:ident),+ $(,)?) => {
        fn schedule() -> Schedule {
            let mut schedule = single_threaded();
            schedule.add_systems(($($system),+).chain());
            schedule
        }

        fn phase_list() -> Vec<(&'static str, Schedule)> {
            vec![$({
                let mut schedule = single_threaded();
                schedule.add_systems($system);
                (stringify!($system), schedule)
            }),+]
        }
    };
}

fn single_threaded() -> Schedule {
    let mut schedule = Schedule::default();
    schedule.set_executor(SingleThreadedExecutor::new());
    schedule
}

/// Hands out row numbers; the last one closed is the next one opened.
#[derive(Default)]
struct RowNumbers {
    free: Vec<u32>,
    next: u32,
}

impl RowNumbers {
    fn take(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        })
    }
}

// ------------------------------------------------------------------------------------------------
// Ships as entities: what (a) and (b) share
// ------------------------------------------------------------------------------------------------

mod ships {
    use super::*;

    /// Which match an entity belongs to: the index of its dense row.
    #[derive(Component, Clone, Copy)]
    pub struct InMatch(pub u32);

    impl InMatch {
        pub fn row(self) -> usize {
            self.0 as usize
        }
    }

    pub type ShipBundle = (InMatch, Id, Pilot, Body, Gun, Hull);

    /// Per row, what a flat system or a write-back must know without going through the match entity.
    #[derive(Resource, Default)]
    pub struct Rows {
        pub numbers: RowNumbers,
        /// Copy of `Clock::tick`.
        pub tick: Vec<u32>,
        pub game: Vec<Entity>,
        pub ships: Vec<[Entity; SHIPS]>,
    }

    /// Ships gathered by row and seat; reused, never shrunk.
    #[derive(Resource, Default)]
    pub struct ShipRows {
        pub bodies: Vec<[Body; SHIPS]>,
        pub guns: Vec<[Gun; SHIPS]>,
        pub hulls: Vec<[Hull; SHIPS]>,
        /// Row and seats (as bits) to write back.
        pub changed: Vec<(u32, u8)>,
    }

    impl ShipRows {
        pub fn resize(&mut self, rows: usize) {
            self.bodies.resize(rows, Default::default());
            self.guns.resize(rows, Default::default());
            self.hulls.resize(rows, Default::default());
        }

        /// Sorted by seat without sorting: the seat is the index.
        pub fn gather<'a>(
            &mut self,
            ships: impl Iterator<Item = (&'a InMatch, &'a Id, &'a Body, &'a Gun, &'a Hull)>,
        ) {
            for (game, seat, body, gun, hull) in ships {
                let (row, seat) = (game.row(), usize::from(seat.0));
                self.bodies[row][seat] = *body;
                self.guns[row][seat] = *gun;
                self.hulls[row][seat] = *hull;
            }
        }

        pub fn mark(&mut self, row: u32, seats: u8) {
            if seats != 0 {
                self.changed.push((row, seats));
            }
        }
    }

    pub fn apply_inputs(
        rows: Res<Rows>,
        mut ships: Query<(&InMatch, &Pilot, &mut Body, &mut Gun, &Hull)>,
    ) {
        for (game, pilot, mut body, mut gun, hull) in &mut ships {
            steer(rows.tick[game.row()], *pilot, &mut body, &mut gun, hull);
        }
    }

    pub fn move_ships(rows: Res<Rows>, mut ships: Query<(&InMatch, &mut Body, &Hull)>) {
        for (game, mut body, hull) in &mut ships {
            advance(rows.tick[game.row()], &mut body, hull);
        }
    }

    pub fn gather_ships(
        mut dense: ResMut<ShipRows>,
        ships: Query<(&InMatch, &Id, &Body, &Gun, &Hull)>,
    ) {
        dense.gather(ships.iter());
    }

    pub fn collide_ships(mut dense: ResMut<ShipRows>, games: Query<&InMatch, With<Clock>>) {
        let dense = &mut *dense;
        for game in &games {
            let seats = collide(&mut dense.bodies[game.row()], &dense.hulls[game.row()]);
            dense.mark(game.0, seats);
        }
    }

    /// Few ships collide or are hit in a tick, so this looks those up instead of passing over all.
    pub fn write_back_ships(
        rows: Res<Rows>,
        mut dense: ResMut<ShipRows>,
        mut ships: Query<(&mut Body, &mut Hull)>,
    ) {
        let dense = &mut *dense;
        for (row, seats) in dense.changed.drain(..) {
            let row = row as usize;
            for seat in (0..SHIPS).filter(|seat| seats >> seat & 1 == 1) {
                if let Ok((mut body, mut hull)) = ships.get_mut(rows.ships[row][seat]) {
                    *body = dense.bodies[row][seat];
                    *hull = dense.hulls[row][seat];
                }
            }
        }
    }

    pub fn advance_round(
        mut rows: ResMut<Rows>,
        mut ships: Query<(&InMatch, &Pilot, &mut Body, &mut Gun, &mut Hull)>,
        mut games: Query<(&InMatch, &mut Clock)>,
    ) {
        let rows = &mut *rows;
        for (game, pilot, mut body, mut gun, mut hull) in &mut ships {
            if hull.dead > 0 && count_down(&mut hull) {
                enter(
                    rows.tick[game.row()],
                    *pilot,
                    &mut body,
                    &mut gun,
                    &mut hull,
                );
            }
        }
        for (game, mut clock) in &mut games {
            count_up(&mut clock);
            rows.tick[game.row()] = clock.tick;
        }
    }

    pub fn record_events(mut games: Query<(&mut Outbox, &mut Ring)>) {
        for (mut outbox, mut ring) in &mut games {
            if outbox.len > 0 {
                record(&mut outbox, &mut ring);
            }
        }
    }

    /// Spawns the ships of a new match and books its row; the caller spawned the match entity.
    pub fn book(world: &mut World, row: u32, game: Entity, state: &Match) {
        let ships = std::array::from_fn(|seat| {
            let ship: ShipBundle = (
                InMatch(row),
                Id(seat as u16),
                pilot(state.clock.seed, seat),
                state.bodies[seat],
                state.guns[seat],
                state.hulls[seat],
            );
            world.spawn(ship).id()
        });
        let mut rows = world.resource_mut::<Rows>();
        let index = row as usize;
        if index == rows.game.len() {
            rows.tick.push(0);
            rows.game.push(game);
            rows.ships.push(ships);
            world.resource_mut::<ShipRows>().resize(index + 1);
        } else {
            (rows.tick[index], rows.game[index], rows.ships[index]) = (0, game, ships);
        }
    }

    pub fn strike(world: &mut World, row: u32) {
        let mut rows = world.resource_mut::<Rows>();
        rows.numbers.free.push(row);
        let (game, ships) = (rows.game[row as usize], rows.ships[row as usize]);
        world.despawn(game);
        for ship in ships {
            world.despawn(ship);
        }
    }

    pub type PutShip = QueryState<(
        &'static mut Pilot,
        &'static mut Body,
        &'static mut Gun,
        &'static mut Hull,
    )>;

    /// Overwrites the ships of an open match and the row's tick.
    pub fn put(world: &mut World, put: &mut PutShip, row: u32, state: &Match) {
        let mut rows = world.resource_mut::<Rows>();
        rows.tick[row as usize] = state.clock.tick;
        let ships = rows.ships[row as usize];
        for (seat, ship) in ships.into_iter().enumerate() {
            let (mut key, mut body, mut gun, mut hull) =
                put.get_mut(world, ship).expect("a ship of an open match");
            *key = pilot(state.clock.seed, seat);
            (*body, *gun, *hull) = (state.bodies[seat], state.guns[seat], state.hulls[seat]);
        }
    }

    pub fn ship_bytes() -> usize {
        let columns = size_of::<InMatch>() + size_of::<Id>() + size_of::<Pilot>();
        SHIPS * (columns + size_of::<Body>() + size_of::<Gun>() + size_of::<Hull>())
    }

    pub fn row_bytes() -> usize {
        let dense = size_of::<Body>() + size_of::<Gun>() + size_of::<Hull>();
        SHIPS * (dense + size_of::<Entity>()) + size_of::<u32>() + size_of::<Entity>()
    }
}

// ------------------------------------------------------------------------------------------------
// (a) match, ships and bullets are entities
// ------------------------------------------------------------------------------------------------

mod all_entities {
    use super::ships::*;
    use super::*;

    type BulletBundle = (InMatch, Id, Owner, Flight);

    /// A bullet in its dense row, with the way back to its entity.
    #[derive(Clone, Copy)]
    pub struct Gathered {
        shot: Shot,
        entity: Entity,
    }

    impl Borrow<Shot> for Gathered {
        fn borrow(&self) -> &Shot {
            &self.shot
        }
    }

    /// Bullets gathered by row, `BULLETS` places each so that one pass over the tables is enough.
    #[derive(Resource, Default)]
    struct BulletRows {
        len: Vec<u8>,
        places: Vec<[Gathered; BULLETS]>,
    }

    impl BulletRows {
        fn resize(&mut self, rows: usize) {
            let nobody = Gathered {
                shot: Shot::default(),
                entity: Entity::PLACEHOLDER,
            };
            self.len.resize(rows, 0);
            self.places.resize(rows, [nobody; BULLETS]);
        }

        fn gather<'a>(
            &mut self,
            bullets: impl Iterator<Item = (Entity, &'a InMatch, &'a Id, &'a Owner, &'a Flight)>,
        ) {
            self.len.fill(0);
            for (entity, game, id, owner, flight) in bullets {
                let len = &mut self.len[game.row()];
                let shot = Shot {
                    flight: *flight,
                    id: *id,
                    owner: *owner,
                };
                self.places[game.row()][usize::from(*len)] = Gathered { shot, entity };
                *len += 1;
            }
        }

        /// `resolve` orders its contacts itself, so the tick would come out the same unsorted. It is
        /// sorted all the same: that table order cannot reach a rule should not hang on each rule's care.
        fn sorted(&mut self, row: usize, clock: &Clock) -> &[Gathered] {
            let bullets = &mut self.places[row][..usize::from(self.len[row])];
            bullets.sort_unstable_by_key(|bullet| bullet.shot.order(clock));
            bullets
        }
    }

    /// Entities to end and to begin, applied together once per tick.
    #[derive(Resource, Default)]
    struct Churn {
        dead: Vec<Entity>,
        born: Vec<BulletBundle>,
    }

    fn bundle(row: u32, shot: &Shot) -> BulletBundle {
        (InMatch(row), shot.id, shot.owner, shot.flight)
    }

    fn gather_bullets(
        mut dense: ResMut<BulletRows>,
        bullets: Query<(Entity, &InMatch, &Id, &Owner, &Flight)>,
    ) {
        dense.gather(bullets.iter());
    }

    fn fire_bullets(
        dense: Res<ShipRows>,
        mut churn: ResMut<Churn>,
        mut games: Query<(&InMatch, &mut Clock, &mut Outbox)>,
    ) {
        let born = &mut churn.born;
        for (game, mut clock, mut outbox) in &mut games {
            let guns = &dense.guns[game.row()];
            if guns.iter().any(|gun| gun.fired) {
                fire(
                    &mut clock,
                    &dense.bodies[game.row()],
                    guns,
                    &mut outbox,
                    |shot| {
                        born.push(bundle(game.0, &shot));
                    },
                );
            }
        }
    }

    fn resolve_hits(
        mut dense: ResMut<ShipRows>,
        mut bullets: ResMut<BulletRows>,
        mut churn: ResMut<Churn>,
        mut contacts: Local<Vec<u64>>,
        mut games: Query<(&InMatch, &Clock, &mut Outbox)>,
    ) {
        let dense = &mut *dense;
        for (game, clock, mut outbox) in &mut games {
            let row = game.row();
            let shots = bullets.sorted(row, clock);
            let (bodies, hulls) = (&dense.bodies[row], &mut dense.hulls[row]);
            let outcome = resolve(clock, bodies, hulls, shots, &mut outbox, &mut contacts);
            let spent = (0..shots.len()).filter(|slot| outcome.spent >> slot & 1 == 1);
            churn.dead.extend(spent.map(|slot| shots[slot].entity));
            dense.mark(game.0, outcome.changed);
        }
    }

    fn spawn_and_despawn(world: &mut World) {
        let Churn { mut dead, mut born } = take(&mut *world.resource_mut::<Churn>());
        for bullet in dead.drain(..) {
            world.despawn(bullet);
        }
        world.spawn_batch(born.drain(..));
        // The emptied buffers go back for the next tick.
        *world.resource_mut::<Churn>() = Churn { dead, born };
    }

    tick_of!(
        apply_inputs,
        move_ships,
        gather_ships,
        gather_bullets,
        collide_ships,
        fire_bullets,
        resolve_hits,
        write_back_ships,
        spawn_and_despawn,
        advance_round,
        record_events,
    );

    pub struct AllEntities {
        world: World,
        schedule: Schedule,
        games: QueryState<(&'static InMatch, &'static Clock, &'static Ring)>,
        ships: QueryState<(
            &'static InMatch,
            &'static Id,
            &'static Body,
            &'static Gun,
            &'static Hull,
        )>,
        bullets: QueryState<(
            Entity,
            &'static InMatch,
            &'static Id,
            &'static Owner,
            &'static Flight,
        )>,
        put_game: QueryState<(&'static mut Clock, &'static mut Ring)>,
        put_ship: PutShip,
        // Rows for views outside the tick.
        ship_rows: ShipRows,
        bullet_rows: BulletRows,
    }

    impl Shard for AllEntities {
        const NAME: &'static str = "a: all entities";
        type Shot = Gathered;

        fn new() -> Self {
            let mut world = World::new();
            world.init_resource::<Rows>();
            world.init_resource::<ShipRows>();
            world.init_resource::<BulletRows>();
            world.init_resource::<Churn>();
            Self {
                schedule: schedule(),
                games: world.query(),
                ships: world.query(),
                bullets: world.query(),
                put_game: world.query(),
                put_ship: world.query(),
                world,
                ship_rows: ShipRows::default(),
                bullet_rows: BulletRows::default(),
            }
        }

        fn open(&mut self, seed: u64) -> u32 {
            let (world, state) = (&mut self.world, Match::new(seed));
            let row = world.resource_mut::<Rows>().numbers.take();
            let game = world
                .spawn((
                    InMatch(row),
                    state.clock,
                    Outbox::default(),
                    state.ring.clone(),
                ))
                .id();
            book(world, row, game, &state);
            let rows = world.resource::<Rows>().game.len();
            world.resource_mut::<BulletRows>().resize(rows);
            self.ship_rows.resize(rows);
            self.bullet_rows.resize(rows);
            row
        }

        fn close(&mut self, row: u32) {
            strike(&mut self.world, row);
            let all = self.bullets.iter(&self.world);
            let dead: Vec<Entity> = all
                .filter(|bullet| bullet.1.0 == row)
                .map(|bullet| bullet.0)
                .collect();
            for bullet in dead {
                self.world.despawn(bullet);
            }
        }

        fn tick(&mut self) {
            self.schedule.run(&mut self.world);
        }

        fn world(&mut self) -> &mut World {
            &mut self.world
        }

        fn phases() -> Vec<(&'static str, Schedule)> {
            phase_list()
        }

        fn view_all(&mut self, mut see: impl FnMut(u32, &View<'_, Gathered>)) {
            let (ships, bullets) = (&mut self.ship_rows, &mut self.bullet_rows);
            ships.gather(self.ships.iter(&self.world));
            bullets.gather(self.bullets.iter(&self.world));
            for (game, clock, ring) in self.games.iter(&self.world) {
                let row = game.row();
                let (bodies, guns, hulls) =
                    (&ships.bodies[row], &ships.guns[row], &ships.hulls[row]);
                let shots = bullets.sorted(row, clock);
                see(
                    game.0,
                    &View {
                        clock,
                        bodies,
                        guns,
                        hulls,
                        shots,
                        ring,
                    },
                );
            }
        }

        /// Ships are booked by row; bullets are only found by passing over all bullets of the world.
        fn view_one(&mut self, row: u32, mut see: impl FnMut(&View<'_, Gathered>)) {
            let (world, index) = (&self.world, row as usize);
            let (ships, bullets) = (&mut self.ship_rows, &mut self.bullet_rows);
            let booked = world.resource::<Rows>();
            ships.gather(
                booked.ships[index]
                    .iter()
                    .filter_map(|ship| self.ships.get(world, *ship).ok()),
            );
            bullets.gather(self.bullets.iter(world).filter(|bullet| bullet.1.0 == row));
            if let Ok((_, clock, ring)) = self.games.get(world, booked.game[index]) {
                let (bodies, guns, hulls) = (
                    &ships.bodies[index],
                    &ships.guns[index],
                    &ships.hulls[index],
                );
                let shots = bullets.sorted(index, clock);
                see(&View {
                    clock,
                    bodies,
                    guns,
                    hulls,
                    shots,
                    ring,
                });
            }
        }

        fn load_all(&mut self, saves: &[(u32, Vec<u8>)]) {
            let mut loaded = vec![false; self.ship_rows.bodies.len()];
            for (row, _) in saves {
                loaded[*row as usize] = true;
            }
            let mut churn = take(&mut *self.world.resource_mut::<Churn>());
            let bullets = self
                .bullets
                .iter(&self.world)
                .filter(|bullet| loaded[bullet.1.row()]);
            churn.dead.extend(bullets.map(|bullet| bullet.0));
            for (row, bytes) in saves {
                let state = Match::load(bytes).expect("bytes of a save");
                put(&mut self.world, &mut self.put_ship, *row, &state);
                let game = self.world.resource::<Rows>().game[*row as usize];
                let (mut clock, mut ring) = self
                    .put_game
                    .get_mut(&mut self.world, game)
                    .expect("an open match");
                (*clock, *ring) = (state.clock, state.ring);
                churn
                    .born
                    .extend(state.bullets.live().iter().map(|shot| bundle(*row, shot)));
            }
            *self.world.resource_mut::<Churn>() = churn;
            spawn_and_despawn(&mut self.world);
        }

        fn footprint(bullets: usize) -> (usize, usize) {
            let game =
                size_of::<InMatch>() + size_of::<Clock>() + size_of::<Outbox>() + size_of::<Ring>();
            let bullet =
                size_of::<InMatch>() + size_of::<Id>() + size_of::<Owner>() + size_of::<Flight>();
            (
                game + ship_bytes() + bullets * bullet,
                row_bytes() + size_of::<[Gathered; BULLETS]>() + 1,
            )
        }
    }
}

// ------------------------------------------------------------------------------------------------
// (b) match and ships are entities, bullets a component of the match
// ------------------------------------------------------------------------------------------------

mod bullets_in_match {
    use super::ships::*;
    use super::*;

    fn fire_bullets(
        dense: Res<ShipRows>,
        mut games: Query<(&InMatch, &mut Clock, &mut Bullets, &mut Outbox)>,
    ) {
        for (game, mut clock, mut bullets, mut outbox) in &mut games {
            let guns = &dense.guns[game.row()];
            if guns.iter().any(|gun| gun.fired) {
                fire(
                    &mut clock,
                    &dense.bodies[game.row()],
                    guns,
                    &mut outbox,
                    |shot| bullets.push(shot),
                );
            }
        }
    }

    fn resolve_hits(
        mut dense: ResMut<ShipRows>,
        mut contacts: Local<Vec<u64>>,
        mut games: Query<(&InMatch, &Clock, &mut Bullets, &mut Outbox)>,
    ) {
        let dense = &mut *dense;
        for (game, clock, mut bullets, mut outbox) in &mut games {
            let row = game.row();
            let (bodies, hulls) = (&dense.bodies[row], &mut dense.hulls[row]);
            let outcome = resolve(
                clock,
                bodies,
                hulls,
                bullets.live(),
                &mut outbox,
                &mut contacts,
            );
            if outcome.spent != 0 {
                bullets.remove(outcome.spent);
            }
            dense.mark(game.0, outcome.changed);
        }
    }

    tick_of!(
        apply_inputs,
        move_ships,
        gather_ships,
        collide_ships,
        fire_bullets,
        resolve_hits,
        write_back_ships,
        advance_round,
        record_events,
    );

    pub struct BulletsInMatch {
        world: World,
        schedule: Schedule,
        games: QueryState<(
            &'static InMatch,
            &'static Clock,
            &'static Bullets,
            &'static Ring,
        )>,
        ships: QueryState<(
            &'static InMatch,
            &'static Id,
            &'static Body,
            &'static Gun,
            &'static Hull,
        )>,
        put_game: QueryState<(&'static mut Clock, &'static mut Bullets, &'static mut Ring)>,
        put_ship: PutShip,
        // Rows for views outside the tick.
        ship_rows: ShipRows,
    }

    impl Shard for BulletsInMatch {
        const NAME: &'static str = "b: bullets in match";
        type Shot = Shot;

        fn new() -> Self {
            let mut world = World::new();
            world.init_resource::<Rows>();
            world.init_resource::<ShipRows>();
            Self {
                schedule: schedule(),
                games: world.query(),
                ships: world.query(),
                put_game: world.query(),
                put_ship: world.query(),
                world,
                ship_rows: ShipRows::default(),
            }
        }

        fn open(&mut self, seed: u64) -> u32 {
            let (world, state) = (&mut self.world, Match::new(seed));
            let row = world.resource_mut::<Rows>().numbers.take();
            let components = (
                InMatch(row),
                state.clock,
                state.bullets.clone(),
                Outbox::default(),
                state.ring.clone(),
            );
            let game = world.spawn(components).id();
            book(world, row, game, &state);
            self.ship_rows.resize(world.resource::<Rows>().game.len());
            row
        }

        fn close(&mut self, row: u32) {
            strike(&mut self.world, row);
        }

        fn tick(&mut self) {
            self.schedule.run(&mut self.world);
        }

        fn world(&mut self) -> &mut World {
            &mut self.world
        }

        fn phases() -> Vec<(&'static str, Schedule)> {
            phase_list()
        }

        fn view_all(&mut self, mut see: impl FnMut(u32, &View<'_, Shot>)) {
            let ships = &mut self.ship_rows;
            ships.gather(self.ships.iter(&self.world));
            for (game, clock, bullets, ring) in self.games.iter(&self.world) {
                let row = game.row();
                let (bodies, guns, hulls) =
                    (&ships.bodies[row], &ships.guns[row], &ships.hulls[row]);
                see(
                    game.0,
                    &View {
                        clock,
                        bodies,
                        guns,
                        hulls,
                        shots: bullets.live(),
                        ring,
                    },
                );
            }
        }

        fn view_one(&mut self, row: u32, mut see: impl FnMut(&View<'_, Shot>)) {
            let (world, index, ships) = (&self.world, row as usize, &mut self.ship_rows);
            let booked = world.resource::<Rows>();
            ships.gather(
                booked.ships[index]
                    .iter()
                    .filter_map(|ship| self.ships.get(world, *ship).ok()),
            );
            if let Ok((_, clock, bullets, ring)) = self.games.get(world, booked.game[index]) {
                let (bodies, guns, hulls) = (
                    &ships.bodies[index],
                    &ships.guns[index],
                    &ships.hulls[index],
                );
                see(&View {
                    clock,
                    bodies,
                    guns,
                    hulls,
                    shots: bullets.live(),
                    ring,
                });
            }
        }

        fn load_all(&mut self, saves: &[(u32, Vec<u8>)]) {
            for (row, bytes) in saves {
                let state = Match::load(bytes).expect("bytes of a save");
                put(&mut self.world, &mut self.put_ship, *row, &state);
                let game = self.world.resource::<Rows>().game[*row as usize];
                let (mut clock, mut bullets, mut ring) = self
                    .put_game
                    .get_mut(&mut self.world, game)
                    .expect("an open match");
                (*clock, *bullets, *ring) = (state.clock, state.bullets, state.ring);
            }
        }

        fn footprint(_bullets: usize) -> (usize, usize) {
            let game =
                size_of::<InMatch>() + size_of::<Clock>() + size_of::<Outbox>() + size_of::<Ring>();
            (game + size_of::<Bullets>() + ship_bytes(), row_bytes())
        }
    }
}

// ------------------------------------------------------------------------------------------------
// (c) a match is one entity
// ------------------------------------------------------------------------------------------------

mod all_in_match {
    use super::*;

    #[derive(Component, Clone, Copy)]
    struct Row(u32);
    #[derive(Component)]
    struct Pilots([Pilot; SHIPS]);
    #[derive(Component)]
    struct Bodies([Body; SHIPS]);
    #[derive(Component)]
    struct Guns([Gun; SHIPS]);
    #[derive(Component)]
    struct Hulls([Hull; SHIPS]);

    fn apply_inputs(mut games: Query<(&Clock, &Pilots, &mut Bodies, &mut Guns, &Hulls)>) {
        for (clock, pilots, mut bodies, mut guns, hulls) in &mut games {
            let ships = bodies
                .0
                .iter_mut()
                .zip(&mut guns.0)
                .zip(&hulls.0)
                .zip(&pilots.0);
            for (((body, gun), hull), pilot) in ships {
                steer(clock.tick, *pilot, body, gun, hull);
            }
        }
    }

    fn move_ships(mut games: Query<(&Clock, &mut Bodies, &Hulls)>) {
        for (clock, mut bodies, hulls) in &mut games {
            for (body, hull) in bodies.0.iter_mut().zip(&hulls.0) {
                advance(clock.tick, body, hull);
            }
        }
    }

    fn collide_ships(mut games: Query<(&mut Bodies, &Hulls)>) {
        for (mut bodies, hulls) in &mut games {
            collide(&mut bodies.0, &hulls.0);
        }
    }

    fn fire_bullets(mut games: Query<(&mut Clock, &Bodies, &Guns, &mut Bullets, &mut Outbox)>) {
        for (mut clock, bodies, guns, mut bullets, mut outbox) in &mut games {
            if guns.0.iter().any(|gun| gun.fired) {
                fire(&mut clock, &bodies.0, &guns.0, &mut outbox, |shot| {
                    bullets.push(shot)
                });
            }
        }
    }

    fn resolve_hits(
        mut contacts: Local<Vec<u64>>,
        mut games: Query<(&Clock, &Bodies, &mut Hulls, &mut Bullets, &mut Outbox)>,
    ) {
        for (clock, bodies, mut hulls, mut bullets, mut outbox) in &mut games {
            let outcome = resolve(
                clock,
                &bodies.0,
                &mut hulls.0,
                bullets.live(),
                &mut outbox,
                &mut contacts,
            );
            if outcome.spent != 0 {
                bullets.remove(outcome.spent);
            }
        }
    }

    fn advance_round(mut games: Query<(&mut Clock, &Pilots, &mut Bodies, &mut Guns, &mut Hulls)>) {
        for (mut clock, pilots, mut bodies, mut guns, mut hulls) in &mut games {
            for seat in 0..SHIPS {
                if hulls.0[seat].dead > 0 && count_down(&mut hulls.0[seat]) {
                    let (body, gun) = (&mut bodies.0[seat], &mut guns.0[seat]);
                    enter(clock.tick, pilots.0[seat], body, gun, &mut hulls.0[seat]);
                }
            }
            count_up(&mut clock);
        }
    }

    fn record_events(mut games: Query<(&mut Outbox, &mut Ring)>) {
        for (mut outbox, mut ring) in &mut games {
            if outbox.len > 0 {
                record(&mut outbox, &mut ring);
            }
        }
    }

    tick_of!(
        apply_inputs,
        move_ships,
        collide_ships,
        fire_bullets,
        resolve_hits,
        advance_round,
        record_events
    );

    type GameBundle = (
        Row,
        Clock,
        Pilots,
        Bodies,
        Guns,
        Hulls,
        Bullets,
        Outbox,
        Ring,
    );

    pub struct AllInMatch {
        world: World,
        schedule: Schedule,
        numbers: RowNumbers,
        /// Entity of each row; only opening, closing, views and loads use it.
        booked: Vec<Entity>,
        games: QueryState<(
            &'static Row,
            &'static Clock,
            &'static Bodies,
            &'static Guns,
            &'static Hulls,
            &'static Bullets,
            &'static Ring,
        )>,
        put_game: QueryState<(
            &'static mut Clock,
            &'static mut Pilots,
            &'static mut Bodies,
            &'static mut Guns,
            &'static mut Hulls,
            &'static mut Bullets,
            &'static mut Ring,
        )>,
    }

    impl Shard for AllInMatch {
        const NAME: &'static str = "c: all in match";
        type Shot = Shot;

        fn new() -> Self {
            let mut world = World::new();
            Self {
                schedule: schedule(),
                numbers: RowNumbers::default(),
                booked: Vec::new(),
                games: world.query(),
                put_game: world.query(),
                world,
            }
        }

        fn open(&mut self, seed: u64) -> u32 {
            let (row, state) = (self.numbers.take(), Match::new(seed));
            let components: GameBundle = (
                Row(row),
                state.clock,
                Pilots(std::array::from_fn(|seat| pilot(seed, seat))),
                Bodies(state.bodies),
                Guns(state.guns),
                Hulls(state.hulls),
                state.bullets,
                Outbox::default(),
                state.ring,
            );
            let game = self.world.spawn(components).id();
            if row as usize == self.booked.len() {
                self.booked.push(game);
            } else {
                self.booked[row as usize] = game;
            }
            row
        }

        fn close(&mut self, row: u32) {
            self.numbers.free.push(row);
            self.world.despawn(self.booked[row as usize]);
        }

        fn tick(&mut self) {
            self.schedule.run(&mut self.world);
        }

        fn world(&mut self) -> &mut World {
            &mut self.world
        }

        fn phases() -> Vec<(&'static str, Schedule)> {
            phase_list()
        }

        fn view_all(&mut self, mut see: impl FnMut(u32, &View<'_, Shot>)) {
            for (row, clock, bodies, guns, hulls, bullets, ring) in self.games.iter(&self.world) {
                let (bodies, guns, hulls) = (&bodies.0, &guns.0, &hulls.0);
                see(
                    row.0,
                    &View {
                        clock,
                        bodies,
                        guns,
                        hulls,
                        shots: bullets.live(),
                        ring,
                    },
                );
            }
        }

        fn view_one(&mut self, row: u32, mut see: impl FnMut(&View<'_, Shot>)) {
            let game = self.booked[row as usize];
            if let Ok((_, clock, bodies, guns, hulls, bullets, ring)) =
                self.games.get(&self.world, game)
            {
                let (bodies, guns, hulls) = (&bodies.0, &guns.0, &hulls.0);
                see(&View {
                    clock,
                    bodies,
                    guns,
                    hulls,
                    shots: bullets.live(),
                    ring,
                });
            }
        }

        fn load_all(&mut self, saves: &[(u32, Vec<u8>)]) {
            for (row, bytes) in saves {
                let state = Match::load(bytes).expect("bytes of a save");
                let game = self.booked[*row as usize];
                let (mut clock, mut pilots, mut bodies, mut guns, mut hulls, mut bullets, mut ring) =
                    self.put_game
                        .get_mut(&mut self.world, game)
                        .expect("an open match");
                pilots.0 = std::array::from_fn(|seat| pilot(state.clock.seed, seat));
                (bodies.0, guns.0, hulls.0) = (state.bodies, state.guns, state.hulls);
                (*clock, *bullets, *ring) = (state.clock, state.bullets, state.ring);
            }
        }

        fn footprint(_bullets: usize) -> (usize, usize) {
            let ships =
                size_of::<Pilots>() + size_of::<Bodies>() + size_of::<Guns>() + size_of::<Hulls>();
            let game =
                size_of::<Row>() + size_of::<Clock>() + size_of::<Outbox>() + size_of::<Ring>();
            (game + ships + size_of::<Bullets>(), 0)
        }
    }
}

use all_entities::AllEntities;
use all_in_match::AllInMatch;
use bullets_in_match::BulletsInMatch;

// ------------------------------------------------------------------------------------------------
// A shard with a past
// ------------------------------------------------------------------------------------------------

/// Opens and closes matches by a fixed random order, the same for each layout.
struct Server<S> {
    shard: S,
    matches: u32,
    draws: u64,
    opened: u64,
    /// Row -> seed and the world tick at which it was opened.
    seeds: Vec<(u64, u64)>,
    ticks: u64,
}

impl<S: Shard> Server<S> {
    /// A long-running server in short: fill, play, replace a tenth at once, then a few now and then.
    fn aged(matches: u32) -> Self {
        let mut server = Self {
            shard: S::new(),
            matches,
            draws: 0,
            opened: 0,
            seeds: Vec::new(),
            ticks: 0,
        };
        for _ in 0..matches {
            server.open();
        }
        server.run(100);
        server.replace(matches.div_ceil(10));
        for _ in 0..5 {
            server.run(40);
            server.replace_few();
        }
        server.run(150);
        server
    }

    fn open(&mut self) {
        self.opened += 1;
        let seed = mix(self.opened);
        let row = self.shard.open(seed) as usize;
        if row == self.seeds.len() {
            self.seeds.push((seed, self.ticks));
        } else {
            self.seeds[row] = (seed, self.ticks);
        }
    }

    /// Closes `count` distinct matches in random order, then opens as many.
    fn replace(&mut self, count: u32) {
        let mut rows: Vec<u32> = (0..self.matches).collect();
        for _ in 0..count {
            self.draws += 1;
            let row = rows.swap_remove((mix(self.draws ^ 0xc105e) % rows.len() as u64) as usize);
            self.shard.close(row);
        }
        for _ in 0..count {
            self.open();
        }
    }

    /// One in a hundred; a match alone is left alone, or there would be no bullets to measure.
    fn replace_few(&mut self) {
        self.replace(self.matches / 100);
    }

    fn run(&mut self, ticks: u32) {
        for _ in 0..ticks {
            self.shard.tick();
        }
        self.ticks += u64::from(ticks);
    }

    fn hashes(&mut self) -> Vec<u64> {
        let mut hashes = vec![0; self.matches as usize];
        self.shard
            .view_all(|row, view| hashes[row as usize] = view.hash());
        hashes
    }

    fn saves(&mut self) -> Vec<(u32, Vec<u8>)> {
        let mut saves: Vec<(u32, Vec<u8>)> =
            (0..self.matches).map(|row| (row, Vec::new())).collect();
        self.shard
            .view_all(|row, view| view.save(&mut saves[row as usize].1));
        saves
    }

    /// Live bullets, and events so far, per match.
    fn averages(&mut self) -> (f64, f64) {
        let (mut bullets, mut events) = (0, 0);
        self.shard.view_all(|_, view| {
            bullets += view.shots.len();
            events += view.ring.total;
        });
        (
            bullets as f64 / f64::from(self.matches),
            f64::from(events) / f64::from(self.matches),
        )
    }
}

// ------------------------------------------------------------------------------------------------
// Promises
// ------------------------------------------------------------------------------------------------

fn assert_promises() {
    let mut a = Server::<AllEntities>::aged(130);
    let mut b = Server::<BulletsInMatch>::aged(130);
    let mut c = Server::<AllInMatch>::aged(130);
    for _ in 0..6 {
        let (ha, hb, hc) = (a.hashes(), b.hashes(), c.hashes());
        assert!(ha == hb && hb == hc, "the layouts play different games");
        let (sa, sb, sc) = (a.saves(), b.saves(), c.saves());
        assert!(sa == sb && sb == sc, "the layouts save different bytes");
        a.run(150);
        b.run(150);
        c.run(150);
        a.replace_few();
        b.replace_few();
        c.replace_few();
    }
    // Long enough to mean something: rounds end at 3,600 ticks, steps repeat at 4,096.
    a.run(4_200);
    b.run(4_200);
    c.run(4_200);
    let hashes = a.hashes();
    assert!(
        hashes == b.hashes() && hashes == c.hashes(),
        "the layouts drift apart"
    );
    assert!(
        hashes
            .iter()
            .collect::<std::collections::HashSet<_>>()
            .len()
            == hashes.len(),
        "matches repeat"
    );
    assert_happened(&mut c);

    assert_alone(&mut a);
    assert_alone(&mut b);
    assert_alone(&mut c);

    // Saves of one layout continue in another.
    assert_load::<AllEntities, AllEntities>(&mut a);
    assert_load::<BulletsInMatch, BulletsInMatch>(&mut b);
    assert_load::<AllInMatch, AllInMatch>(&mut c);
    assert_load::<AllEntities, AllInMatch>(&mut a);
    assert_load::<AllInMatch, BulletsInMatch>(&mut c);
    assert_load::<BulletsInMatch, AllEntities>(&mut b);
}

/// The rules were all at work: agreement on matches where nothing happens would prove little.
fn assert_happened<S: Shard>(server: &mut Server<S>) {
    let (mut hits, mut kills, mut events) = (0, 0, 0);
    server.shard.view_all(|_, view| {
        hits += view.ring.iter().filter(|event| event.kind == HIT).count();
        kills += view
            .hulls
            .iter()
            .map(|hull| u32::from(hull.kills))
            .sum::<u32>();
        events += view.ring.total;
    });
    println!("checked: 130 matches, {events} events, {kills} kills, {hits} hits still in rings");
    assert!(hits > 0 && kills > 0);
}

fn assert_alone<S: Shard>(among: &mut Server<S>) {
    let hashes = among.hashes();
    for row in (0..among.matches).step_by(13) {
        let (seed, opened_at) = among.seeds[row as usize];
        let mut alone = S::new();
        let only = alone.open(seed);
        for _ in opened_at..among.ticks {
            alone.tick();
        }
        let mut hash = 0;
        alone.view_one(only, |view| hash = view.hash());
        assert_eq!(
            hash,
            hashes[row as usize],
            "{}: a match depends on its neighbours",
            S::NAME
        );
        among.shard.view_one(row, |view| hash = view.hash());
        assert_eq!(
            hash,
            hashes[row as usize],
            "{}: one view differs from all",
            S::NAME
        );
    }
}

fn assert_load<From: Shard, Into: Shard>(from: &mut Server<From>) {
    let saves = from.saves();
    let mut into = Server::<Into>::aged(from.matches);
    into.shard.load_all(&saves);
    assert!(
        into.saves() == saves,
        "{} -> {}: a load loses state",
        From::NAME,
        Into::NAME
    );
    from.run(300);
    into.run(300);
    assert!(
        into.hashes() == from.hashes(),
        "{} -> {}: loaded matches diverge",
        From::NAME,
        Into::NAME
    );
}

// ------------------------------------------------------------------------------------------------
// Measuring
// ------------------------------------------------------------------------------------------------

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_unstable_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// Middle half of the samples, relative to the median: how far to trust it.
fn spread(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let quarter = sorted.len() / 4;
    (sorted[sorted.len() - 1 - quarter] - sorted[quarter]) / sorted[sorted.len() / 2]
}

fn micros_per(elapsed: Duration, units: u64) -> f64 {
    elapsed.as_secs_f64() * 1e6 / units as f64
}

/// One layout at one size, with its samples: microseconds per match.
struct Subject<S> {
    server: Server<S>,
    tick: Vec<f64>,
    hash: Vec<f64>,
    save: Vec<f64>,
    save_one: Vec<f64>,
    load: Vec<f64>,
}

impl<S: Shard> Subject<S> {
    fn new(matches: u32) -> Self {
        let server = Server::aged(matches);
        Self {
            server,
            tick: vec![],
            hash: vec![],
            save: vec![],
            save_one: vec![],
            load: vec![],
        }
    }

    /// Some churn and warm-up first, outside the clock.
    fn sample_ticks(&mut self, ticks: u32) {
        self.server.replace_few();
        self.server.run(ticks.div_ceil(4));
        let start = Instant::now();
        self.server.run(ticks);
        self.tick.push(micros_per(
            start.elapsed(),
            u64::from(ticks) * u64::from(self.server.matches),
        ));
    }

    fn sample_views(&mut self, passes: u32) {
        let matches = self.server.matches;
        let each = u64::from(passes) * u64::from(matches);
        let shard = &mut self.server.shard;

        let mut sum = 0_u64;
        shard.view_all(|_, view| sum ^= view.hash());
        let start = Instant::now();
        for _ in 0..passes {
            shard.view_all(|_, view| sum ^= view.hash());
        }
        self.hash.push(micros_per(start.elapsed(), each));
        black_box(sum);

        let mut bytes = Vec::with_capacity(4_096);
        let start = Instant::now();
        for _ in 0..passes {
            shard.view_all(|_, view| {
                view.save(&mut bytes);
                black_box(&bytes);
            });
        }
        self.save.push(micros_per(start.elapsed(), each));

        let singles = 200;
        let start = Instant::now();
        for single in 0..singles {
            shard.view_one((mix(single) % u64::from(matches)) as u32, |view| {
                view.save(&mut bytes);
                black_box(&bytes);
            });
        }
        self.save_one.push(micros_per(start.elapsed(), singles));
    }

    /// Last of all: loads order the tables again, which a long-running server's are not.
    fn sample_loads(&mut self, saves: &[(u32, Vec<u8>)], passes: u32) {
        self.server.shard.load_all(saves);
        let start = Instant::now();
        for _ in 0..passes {
            self.server.shard.load_all(saves);
        }
        self.load.push(micros_per(
            start.elapsed(),
            u64::from(passes) * u64::from(self.server.matches),
        ));
    }

    fn row(&self, matches: u32, bullets: f64) -> String {
        let (components, scratch) = S::footprint(bullets.round() as usize);
        format!(
            "| {} | {} | {:.3} | {:.0} % | {:.3} | {:.3} | {:.3} | {:.3} | {} + {} |",
            S::NAME,
            matches,
            median(self.tick.clone()),
            100.0 * spread(&self.tick),
            median(self.hash.clone()),
            median(self.save.clone()),
            median(self.save_one.clone()),
            median(self.load.clone()),
            components,
            scratch,
        )
    }
}

/// The three layouts take turns, so that a slow moment of the machine falls on each alike.
fn measure(matches: u32, repetitions: u32) -> Vec<String> {
    let mut a = Subject::<AllEntities>::new(matches);
    let mut b = Subject::<BulletsInMatch>::new(matches);
    let mut c = Subject::<AllInMatch>::new(matches);
    // About 200,000 match-ticks per sample, within reason at both ends.
    let ticks = (200_000 / matches).clamp(50, 20_000);
    let mut bullets = Vec::new();
    for _ in 0..repetitions {
        a.sample_ticks(ticks);
        b.sample_ticks(ticks);
        c.sample_ticks(ticks);
        bullets.push(c.server.averages().0);
    }
    let bullets = bullets.iter().sum::<f64>() / bullets.len() as f64;
    let hashes = a.server.hashes();
    assert!(
        hashes == b.server.hashes() && hashes == c.server.hashes(),
        "the measured games differ"
    );
    let digest = hashes.iter().fold(0, |digest, hash| mix(digest ^ hash));

    let passes = (20_000 / matches).max(2);
    let saves = c.server.saves();
    for _ in 0..repetitions {
        a.sample_views(passes);
        b.sample_views(passes);
        c.sample_views(passes);
    }
    for _ in 0..repetitions {
        a.sample_loads(&saves, passes);
        b.sample_loads(&saves, passes);
        c.sample_loads(&saves, passes);
    }
    let size = saves.iter().map(|save| save.1.len()).sum::<usize>() / saves.len();
    println!(
        "{matches} matches: {bullets:.1} live bullets per match, {size} bytes saved per match, \
         {ticks} ticks per sample, digest {digest:016x} in all layouts"
    );
    vec![
        a.row(matches, bullets),
        b.row(matches, bullets),
        c.row(matches, bullets),
    ]
}

/// Nanoseconds per match and system. Each system runs in its own schedule here, so the sum is a little
/// above the chained tick of the main table.
fn phases<S: Shard>(matches: u32, ticks: u32) {
    let mut server = Server::<S>::aged(matches);
    let mut phases = S::phases();
    let mut spent = vec![Duration::ZERO; phases.len()];
    for tick in 0..2 * ticks {
        for ((_, schedule), spent) in phases.iter_mut().zip(&mut spent) {
            let start = Instant::now();
            schedule.run(server.shard.world());
            if tick >= ticks {
                *spent += start.elapsed();
            }
        }
    }
    let each = f64::from(ticks) * f64::from(matches);
    let parts: Vec<String> = phases
        .iter()
        .zip(&spent)
        .map(|((name, _), spent)| format!("{name} {:.0}", spent.as_secs_f64() * 1e9 / each))
        .collect();
    println!("- {} ({matches} matches): {}", S::NAME, parts.join(", "));
}

fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = info.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':'))
            .map_or("?", |(_, value)| value.trim())
            .to_owned()
    };
    let cores = info
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "{} x {} (family {} model {}, {} MHz, cache {}), load {}",
        cores,
        field("model name"),
        field("cpu family"),
        field("model\t"),
        field("cpu MHz"),
        field("cache size"),
        load.split(' ').next().unwrap_or("?"),
    )
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let profile = if cfg!(debug_assertions) {
        "with debug assertions (do not trust times)"
    } else {
        "release"
    };
    println!("machine: {}", machine());
    println!("profile: {profile}; wall time of one thread, median of turns");
    assert_promises();
    if quick {
        return;
    }
    let mut table = Vec::new();
    for matches in [1, 100, 1_000, 4_000] {
        table.extend(measure(matches, 15));
    }
    println!();
    println!(
        "| layout | matches | us per match-tick | middle half | hash us | save us | save one alone us | load us | bytes per match (components + scratch) |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    for row in &table {
        println!("{row}");
    }
    println!("\nns per match by system:\n");
    for matches in [1_000, 4_000] {
        phases::<AllEntities>(matches, 100);
        phases::<BulletsInMatch>(matches, 100);
        phases::<AllInMatch>(matches, 100);
    }
    println!("\nmachine after: {}", machine());
}
