//! The datagram that goes down: what one audience may know of one tick.
//!
//! Two parts, so that the larger one is encoded once per match and baseline and shared by all its seats:
//! - *head*, per client: kind, flags, newest input tick received, how early it was, view hash, own private fields;
//!   a spectator's has only kind, flags and view hash;
//! - *body*, shared: round, ships, scores, then either every live bullet (absolute) or the events since the baseline.
//!
//! Both are whole bytes. Fields, widths and who may see them come from the `state!` tables.
//! *Invariant:* bullets travel as spawn events, repeated until acknowledged; an absolute snapshot lists the live ones.
//! *Invariant:* a body holds what everyone may see and nothing else, whatever rows it is made of.
//! *Invariant:* a snapshot is never applied over a view older than its baseline: [`Decoded::apply`] refuses.
//! Start reading at [`Head`], [`encode_body`] and [`decode`].

use super::bits::{BitReader, BitWriter};
use super::{DATAGRAM_BYTES_MAX, KIND_SNAPSHOT, WireError};
use crate::sim::arena::PADS_MAX;
use crate::sim::event::{EVENT_KIND_BITS, Event, Medal, Weapon};
use crate::sim::fields::{Audience, Field, Fields, Visible, any_rare};
use crate::sim::items::Item;
use crate::sim::list::FixedList;
use crate::sim::rules::{BULLETS_MAX, Ruleset};
use crate::sim::state::{
    ASTEROIDS_MAX, Asteroid, BOMBS_MAX, Bomb, Bullet, HOMING_MAX, Homing, MINES_MAX, Mine, Pad, Round, Score, Ship,
    State,
};
use crate::sim::tables::{Fill, MatchRef, Shape, View, Walk};
use crate::sim::units::{SEATS_MAX, SEATS_MIN, Seat, Tick};

/// Events in one snapshot at most; with more since the baseline, the snapshot is absolute.
pub const EVENTS_MAX: usize = 48;
/// Ticks between a snapshot and its baseline at most (8 bits).
pub const BASELINE_AGE_MAX: u32 = 255;

/// What the receiver must already have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Baseline {
    /// Nothing: live bullets are listed.
    Absolute,
    /// The snapshot of this tick or a later one: events after it are listed.
    After(Tick),
}

/// What a snapshot reports as margin when no input has come since the one before. Spectators, who send none, are
/// told nothing and read this.
pub const NO_MARGIN: i8 = -128;

/// The part of a snapshot that differs from client to client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Newest tick for which an input has arrived; `Tick(0)` before the first, and for spectators.
    pub input_newest: Tick,
    /// How many ticks before its use the latest input arrived: negative when too late; or [`NO_MARGIN`].
    pub input_margin_ticks: i8,
    /// Hash of what the receiver's audience sees, taken from the server's components.
    pub view_hash: u32,
    /// Whether all 32 bits of the hash travel (once a second) or the low 16.
    pub hash_long: bool,
}

/// Width of the length of every list but that of bullets and events.
const LIST_BITS: u8 = 4;
const _: () = assert!(ASTEROIDS_MAX < 16 && PADS_MAX < 16 && HOMING_MAX < 16 && BOMBS_MAX < 16 && MINES_MAX < 16);

/// Longest head: kind; flags, input tick, margin, hash, the private fields of one ship, and the mines in sight.
pub const HEAD_BYTES_MAX: usize = 1
    + (1 + 32
        + 8
        + 32
        + bits_of(Ship::TABLE, Visible::Owner)
        + bits_of(Score::TABLE, Visible::Owner)
        + LIST_BITS as usize
        + MINES_MAX * bits_of(Mine::TABLE, Visible::Everyone))
    .div_ceil(8);
/// Longest body, in bytes, for the static check below.
const BODY_BYTES_MAX: usize = {
    let everyone = Visible::Everyone;
    let ships = SEATS_MAX * (bits_of(Ship::TABLE, everyone) + bits_of(Score::TABLE, everyone));
    let lists = 4 * LIST_BITS as usize
        + ASTEROIDS_MAX * bits_of(Asteroid::TABLE, everyone)
        + PADS_MAX * bits_of(Pad::TABLE, everyone)
        + HOMING_MAX * bits_of(Homing::TABLE, everyone)
        + BOMBS_MAX * bits_of(Bomb::TABLE, everyone);
    let bullets = BULLETS_MAX * bits_of(Bullet::TABLE, everyone);
    let events = EVENTS_MAX * (EVENT_HEAD_BITS + bits_of(Bullet::TABLE, everyone));
    let longer = if bullets > events { bullets } else { events };
    (4 + bits_of(Round::TABLE, everyone) + ships + lists + 1 + 8 + 8 + longer).div_ceil(8)
};
const _: () = assert!(HEAD_BYTES_MAX + BODY_BYTES_MAX <= DATAGRAM_BYTES_MAX, "the largest snapshot fits one datagram");

/// Ticks since the baseline (8) and kind.
const EVENT_HEAD_BITS: usize = 8 + EVENT_KIND_BITS as usize;

/// Of one row, with rare fields and the bit before them.
const fn bits_of(table: &[Field], visible: Visible) -> usize {
    let mut bits = (any_rare(table) && matches!(visible, Visible::Everyone)) as usize;
    let mut index = 0;
    while index < table.len() {
        if table[index].visible as u8 == visible as u8 {
            bits += table[index].bits as usize;
        }
        index += 1;
    }
    bits
}

/// Appends the head for the player of `seat`.
pub fn encode_head(head: &Head, state: &MatchRef<'_>, seat: Seat, out: &mut Vec<u8>) {
    out.push(KIND_SNAPSHOT);
    let mut writer = BitWriter::new(out);
    writer.put(u32::from(head.hash_long), 1);
    writer.put(head.input_newest.0, 32);
    writer.put(head.input_margin_ticks as u8 as u32, 8);
    writer.put(head.view_hash, if head.hash_long { 32 } else { 16 });
    put_own(&mut writer, &state.ships[seat.index()]);
    let mines = state.sighted(Audience::Seat(seat));
    writer.put(mines.len() as u32, LIST_BITS);
    mines.iter().for_each(|mine| writer.put_row(mine, Audience::Public, None));
    writer.finish();
}

/// Appends the head for a spectator: `hash` is that of what everyone may see.
pub fn encode_public_head(hash: u32, hash_long: bool, out: &mut Vec<u8>) {
    out.push(KIND_SNAPSHOT);
    let mut writer = BitWriter::new(out);
    writer.put(u32::from(hash_long), 1);
    writer.put(hash, if hash_long { 32 } else { 16 });
    writer.finish();
}

/// The tables of one tick, wherever they are kept: in a match, or in a snapshot decoded again.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    pub seats: u8,
    pub state: &'a State,
}

impl<'a> From<&MatchRef<'a>> for Rows<'a> {
    fn from(state: &MatchRef<'a>) -> Self {
        Rows { seats: state.setup.seats, state: state.state }
    }
}

impl<'a> From<&'a Decoded> for Rows<'a> {
    fn from(decoded: &'a Decoded) -> Self {
        Rows { seats: decoded.seats, state: &decoded.state }
    }
}

/// Appends the body that everyone in a match with this baseline shares. `events` are those after the baseline.
pub fn encode_body<'r, 'e>(
    rows: impl Into<Rows<'r>>,
    baseline: Baseline,
    events: impl Iterator<Item = &'e (Tick, Event)>,
    out: &mut Vec<u8>,
) {
    let Rows { seats, state } = rows.into();
    let mut writer = BitWriter::new(out);
    writer.put(seats.into(), 4);
    state.walk(seats, &mut PutTables { writer: &mut writer });
    match baseline {
        Baseline::Absolute => {
            writer.put(0, 1);
            writer.put(state.bullets.len() as u32, 8);
            state.bullets.iter().for_each(|bullet| writer.put_row(bullet, Audience::Public, None));
        }
        Baseline::After(tick) => {
            writer.put(1, 1);
            writer.put(state.round.tick.since(tick), 8);
            // Cut without a heap allocation; callers go absolute before that.
            let events: FixedList<(Tick, Event), EVENTS_MAX> = events.copied().collect();
            writer.put(events.len() as u32, 8);
            events.iter().for_each(|(at, event)| put_event(&mut writer, at.since(tick), event));
        }
    }
    writer.finish();
}

/// Writes what of each table is for everyone; bullets and mines go their own ways.
struct PutTables<'w, 'b> {
    writer: &'w mut BitWriter<'b>,
}

impl Walk for PutTables<'_, '_> {
    #[inline]
    fn table<T: Fields>(&mut self, shape: Shape, rows: &[T]) {
        match shape {
            Shape::One | Shape::PerSeat => {}
            Shape::List => self.writer.put(rows.len() as u32, LIST_BITS),
            Shape::ByEvent | Shape::Sighted => return,
        }
        rows.iter().for_each(|row| self.writer.put_row(row, Audience::Public, None));
    }
}

/// The other way round.
struct TakeTables<'r, 'b> {
    reader: &'r mut BitReader<'b>,
}

impl Fill for TakeTables<'_, '_> {
    type Error = WireError;

    fn rows<T: Fields>(&mut self, _: Shape, rows: &mut [T]) -> Result<(), WireError> {
        for row in rows {
            *row = self.reader.take_row(Audience::Public, None)?;
        }
        Ok(())
    }

    fn list<T: Fields, const N: usize>(&mut self, shape: Shape, list: &mut FixedList<T, N>) -> Result<(), WireError> {
        if shape == Shape::List { take_list(self.reader, LIST_BITS, list) } else { Ok(()) }
    }
}

fn take_list<T: Fields, const N: usize>(
    reader: &mut BitReader<'_>,
    bits: u8,
    list: &mut FixedList<T, N>,
) -> Result<(), WireError> {
    for _ in 0..reader.take(bits)? {
        if !list.push(reader.take_row(Audience::Public, None)?) {
            return Err(WireError::Range);
        }
    }
    Ok(())
}

fn put_own(writer: &mut BitWriter<'_>, ship: &Ship) {
    ship.each(|field, value| {
        if field.visible == crate::sim::fields::Visible::Owner {
            writer.put(value, field.bits);
        }
    });
}

fn take_own(reader: &mut BitReader<'_>, ship: &mut Ship) -> Result<(), WireError> {
    ship.fill(|field| match (field.visible == Visible::Owner, field.signed) {
        (false, _) => Ok(0),
        (true, false) => reader.take(field.bits),
        (true, true) => reader.take_signed(field.bits),
    })
}

/// `ship` with the private fields of `own`.
fn with_own(ship: &Ship, own: &Ship) -> Ship {
    let (mut values, mut count) = ([0u32; 32], 0);
    own.each(|_, value| {
        values[count] = value;
        count += 1;
    });
    let mut index = 0;
    ship.each(|field, value| {
        if field.visible != Visible::Owner {
            values[index] = value;
        }
        index += 1;
    });
    let (mut whole, mut next) = (Ship::default(), 0);
    let filled: Result<(), std::convert::Infallible> = whole.fill(|_| {
        next += 1;
        Ok(values[next - 1])
    });
    filled.unwrap_or_else(|never| match never {});
    whole
}

fn put_event(writer: &mut BitWriter<'_>, after_ticks: u32, event: &Event) {
    writer.put(after_ticks, 8);
    writer.put(event.kind(), EVENT_KIND_BITS);
    event.put(&mut |value, bits| writer.put(value, bits));
}

fn take_event(reader: &mut BitReader<'_>, baseline: Tick) -> Result<(Tick, Event), WireError> {
    let tick = baseline.plus(reader.take(8)?);
    let kind = reader.take(EVENT_KIND_BITS)?;
    let event = Event::take(kind, &mut |field: &'static Field| {
        if field.signed { reader.take_signed(field.bits) } else { reader.take(field.bits) }
    })?;
    event.map(|event| (tick, event)).ok_or(WireError::Range)
}

/// A snapshot as it came: still to be applied over what the receiver knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    pub head: Head,
    pub baseline: Baseline,
    pub seats: u8,
    /// Bullets only with [`Baseline::Absolute`].
    pub state: State,
    /// Events after the baseline, in order; only with [`Baseline::After`].
    pub events: FixedList<(Tick, Event), EVENTS_MAX>,
}

/// Decodes a snapshot that was addressed to `audience`: a seat, or everyone.
///
/// # Errors
/// What is wrong with the bytes.
pub fn decode(bytes: &[u8], audience: impl Into<Audience>) -> Result<Decoded, WireError> {
    if bytes.len() > DATAGRAM_BYTES_MAX {
        return Err(WireError::TooLong);
    }
    let (kind, rest) = bytes.split_first().ok_or(WireError::Truncated)?;
    if *kind != KIND_SNAPSHOT {
        return Err(WireError::Kind);
    }
    let mut reader = BitReader::new(rest);
    let Audience::Seat(seat) = audience.into() else {
        let head = take_public_head(&mut reader)?;
        let decoded = take_body(&mut reader, head)?;
        reader.finish()?;
        return Ok(decoded);
    };
    let (mut own, mut mines) = (Ship::default(), FixedList::default());
    let head = take_head(&mut reader, &mut own, &mut mines)?;
    let mut decoded = take_body(&mut reader, head)?;
    reader.finish()?;
    let seats = usize::from(decoded.seats);
    let ship = decoded.state.ships[..seats].get_mut(seat.index()).ok_or(WireError::Range)?;
    *ship = with_own(ship, &own);
    decoded.state.mines = mines;
    Ok(decoded)
}

fn take_head(
    reader: &mut BitReader<'_>,
    own: &mut Ship,
    mines: &mut FixedList<Mine, MINES_MAX>,
) -> Result<Head, WireError> {
    let hash_long = reader.take(1)? == 1;
    let head = Head {
        hash_long,
        input_newest: Tick(reader.take(32)?),
        input_margin_ticks: reader.take(8)? as u8 as i8,
        view_hash: reader.take(if hash_long { 32 } else { 16 })?,
    };
    take_own(reader, own)?;
    take_list(reader, LIST_BITS, mines)?;
    reader.align()?;
    Ok(head)
}

fn take_public_head(reader: &mut BitReader<'_>) -> Result<Head, WireError> {
    let hash_long = reader.take(1)? == 1;
    let view_hash = reader.take(if hash_long { 32 } else { 16 })?;
    reader.align()?;
    Ok(Head { input_newest: Tick(0), input_margin_ticks: NO_MARGIN, view_hash, hash_long })
}

fn take_body(reader: &mut BitReader<'_>, head: Head) -> Result<Decoded, WireError> {
    let seats = reader.take(4)? as u8;
    if !(SEATS_MIN..=SEATS_MAX).contains(&usize::from(seats)) {
        return Err(WireError::Range);
    }
    let (mut state, mut events) = (State::default(), FixedList::default());
    state.fill(seats, &mut TakeTables { reader })?;
    let mut baseline = Baseline::Absolute;
    if reader.take(1)? == 0 {
        take_list(reader, 8, &mut state.bullets)?;
    } else {
        let age = reader.take(8)?;
        let since = Tick(state.round.tick.0.checked_sub(age).ok_or(WireError::Range)?);
        baseline = Baseline::After(since);
        for _ in 0..reader.take(8)? {
            if !events.push(take_event(reader, since)?) {
                return Err(WireError::Range);
            }
        }
    }
    Ok(Decoded { head, baseline, seats, state, events })
}

/// Why a decoded snapshot was not applied; not an error of the sender, only of luck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotApplied {
    /// The view is as new or newer.
    Stale,
    /// The view is older than the baseline.
    NoBaseline,
}

impl Decoded {
    pub fn tick(&self) -> Tick {
        self.state.round.tick
    }

    /// Makes the next view out of `known` and this snapshot.
    ///
    /// # Errors
    /// When the snapshot cannot be used with what is known; `known` is unchanged.
    pub fn apply(&self, known: &mut View, rules: &Ruleset) -> Result<(), NotApplied> {
        if known.round.tick >= self.tick() && known.round.tick != Tick(0) {
            return Err(NotApplied::Stale);
        }
        let bullets = match self.baseline {
            Baseline::Absolute => self.state.bullets,
            Baseline::After(tick) if known.round.tick < tick || known.round.tick == Tick(0) => {
                return Err(NotApplied::NoBaseline);
            }
            Baseline::After(_) => self.flown(known, rules),
        };
        known.seats = self.seats;
        known.state = State { bullets, ..self.state };
        Ok(())
    }

    /// The bullets of `known`, flown tick by tick to this snapshot's as the server flew them, with what began and ended.
    fn flown(&self, known: &View, rules: &Ruleset) -> FixedList<Bullet, BULLETS_MAX> {
        let (mut bullets, arena) = (known.bullets, rules.arena(self.seats));
        let mut events = self.events.iter().filter(|(tick, _)| *tick > known.round.tick).peekable();
        for tick in (known.round.tick.0 + 1..=self.tick().0).map(Tick) {
            bullets.retain_mut(|bullet| bullet.step(tick, rules, arena).is_none_or(|flight| !flight.spent));
            while let Some((_, event)) = events.next_if(|(at, _)| *at <= tick) {
                match event {
                    // A full list can only come from a lying server; the hash will say so.
                    Event::ShotFired { bullet } => _ = bullets.push(*bullet),
                    Event::ShipHit { bullet, .. } | Event::AsteroidHit { bullet, .. } => {
                        bullets.retain(|known| known.id != *bullet);
                    }
                    Event::RoundStarted { .. } => bullets.clear(),
                    _ => {}
                }
            }
        }
        bullets
    }
}

/// Samples for fingerprint and golden test: one absolute, one with every kind of event, and one for a spectator.
pub fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let setup = sample_setup();
    let mut state = State { round: Round { tick: Tick(510), number: 2, ..Round::default() }, ..State::default() };
    for (index, ship) in state.ships.iter_mut().enumerate().take(2) {
        let x = 1000 * (index as i32 + 1);
        *ship = Ship { x, y: 77, vx: -x, vy: 3, alive: true, hull: 50, ammunition: 2, shots: 9, ..Ship::default() };
    }
    let bullet = Bullet { id: 73, born: 500, x: 20_000, y: 10_000, ..Bullet::default() };
    // One row of everything: the lists have room.
    let _ = state.bullets.push(bullet)
        && state.asteroids.push(Asteroid { id: 3, x: 5000, y: 6000, vx: -70, size: 2, hits: 1, ..Asteroid::default() })
        && state.pads.push(Pad { item: Item::Laser, ready: Tick(600) })
        && state.homing.push(Homing { owner: Seat(1), x: 400, y: 300, spent: Tick(700), ..Homing::default() })
        && state.bombs.push(Bomb { owner: Seat(0), x: 90, y: 80, spent: Tick(650) })
        && state.mines.push(Mine { owner: Seat(1), x: 33, y: 44, armed: Tick(520), spent: Tick(900) });
    let happened = crate::sim::state::Events::default();
    let state = MatchRef { setup: &setup, state: &state, events: &happened };
    let (victim, seat) = (Seat(1), Seat(1));
    let events = [
        Event::ShotFired { bullet },
        Event::ShipHit { bullet: 73, victim },
        Event::AsteroidHit { bullet: 73, asteroid: 3 },
        Event::AsteroidBroken { asteroid: 3 },
        Event::ShipDestroyed { victim, by: Some(Seat(0)), weapon: Weapon::Homing, assists: 4 },
        Event::PodDestroyed { victim, by: None, weapon: Weapon::Asteroid },
        Event::ShipReturned { seat, rescuer: None },
        Event::Dashed { seat },
        Event::ItemTaken { seat, item: Item::Mine },
        Event::ItemUsed { seat, item: Item::Triple },
        Event::MineExploded { owner: Seat(0), x: 700, y: 300 },
        Event::MedalWon { seat, medal: Medal::LongShot },
        Event::SuddenDeath {},
        Event::RoundStarted { number: 2 },
        Event::RoundWon { winner: Seat(1) },
        Event::RoundDrawn {},
        Event::MatchWon { winner: Some(Seat(0)) },
    ]
    .map(|event| (Tick(505), event));
    let head = Head { input_newest: Tick(512), input_margin_ticks: 2, view_hash: 0x89ab_cdef, hash_long: true };
    let encode = |baseline, hash_long| {
        let mut bytes = Vec::new();
        encode_head(&Head { hash_long, ..head }, &state, Seat(1), &mut bytes);
        encode_body(&state, baseline, events.iter(), &mut bytes);
        bytes
    };
    let mut public = Vec::new();
    encode_public_head(head.view_hash, true, &mut public);
    encode_body(&state, Baseline::Absolute, events.iter(), &mut public);
    vec![
        ("Snapshot absolute", encode(Baseline::Absolute, true)),
        ("Snapshot events", encode(Baseline::After(Tick(500)), false)),
        ("Spectator's snapshot", public),
    ]
}

/// A two-seat setup with the built-in rules, for the samples only.
fn sample_setup() -> crate::sim::state::Setup {
    crate::sim::state::Setup { seed: 1, seats: 2, ruleset: crate::assets::sample_ruleset() }
}
