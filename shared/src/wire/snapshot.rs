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
use crate::sim::fields::{Audience, Fields};
use crate::sim::list::FixedList;
use crate::sim::rules::BULLETS_MAX;
use crate::sim::state::{Bullet, Event, MatchRef, Round, Score, Ship, View};
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

/// Longest head: kind, flags, input tick, margin, hash, and the private fields of one ship (30 bits).
pub const HEAD_BYTES_MAX: usize = 1 + 1 + 4 + 1 + 4 + 4;
/// Longest body, in bytes, for the static check below.
const BODY_BYTES_MAX: usize = {
    let ships = SEATS_MAX * (bits_of(Ship::TABLE) + bits_of(Score::TABLE));
    let bullets = BULLETS_MAX * bits_of(Bullet::TABLE);
    let events = EVENTS_MAX * (EVENT_HEAD_BITS + bits_of(Bullet::TABLE));
    let list = if bullets > events { bullets } else { events };
    (4 + 1 + 8 + bits_of(Round::TABLE) + ships + 8 + list).div_ceil(8)
};
const _: () = assert!(HEAD_BYTES_MAX + BODY_BYTES_MAX <= DATAGRAM_BYTES_MAX, "the largest snapshot fits one datagram");

/// Ticks since the baseline (8) and kind (3).
const EVENT_HEAD_BITS: usize = 11;

const fn bits_of(table: &[crate::sim::fields::Field]) -> usize {
    let mut bits = 0;
    let mut index = 0;
    while index < table.len() {
        bits += table[index].bits as usize;
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
    put_own(&mut writer, &state.ships.0[seat.index()]);
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

/// The rows of one tick, wherever they are kept: in a match, or in a snapshot decoded again.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    pub round: &'a Round,
    /// One per seat.
    pub ships: &'a [Ship],
    /// One per seat.
    pub scores: &'a [Score],
    pub bullets: &'a [Bullet],
}

impl<'a> From<&MatchRef<'a>> for Rows<'a> {
    fn from(state: &MatchRef<'a>) -> Self {
        let seats = usize::from(state.setup.seats);
        Rows {
            round: state.round,
            ships: &state.ships.0[..seats],
            scores: &state.scores.0[..seats],
            bullets: &state.bullets.0,
        }
    }
}

impl<'a> From<&'a Decoded> for Rows<'a> {
    fn from(decoded: &'a Decoded) -> Self {
        let Decoded { round, bullets, .. } = decoded;
        let seats = usize::from(decoded.seats);
        Rows { round, ships: &decoded.ships[..seats], scores: &decoded.scores[..seats], bullets }
    }
}

/// Appends the body that everyone in a match with this baseline shares. `events` are those after the baseline.
pub fn encode_body<'r, 'e>(
    rows: impl Into<Rows<'r>>,
    baseline: Baseline,
    events: impl Iterator<Item = &'e (Tick, Event)>,
    out: &mut Vec<u8>,
) {
    let rows = rows.into();
    let mut writer = BitWriter::new(out);
    writer.put(rows.ships.len() as u32, 4);
    writer.put_row(rows.round, Audience::Public, None);
    rows.ships.iter().for_each(|ship| writer.put_row(ship, Audience::Public, None));
    rows.scores.iter().for_each(|score| writer.put_row(score, Audience::Public, None));
    match baseline {
        Baseline::Absolute => {
            writer.put(0, 1);
            writer.put(rows.bullets.len() as u32, 8);
            rows.bullets.iter().for_each(|bullet| writer.put_row(bullet, Audience::Public, None));
        }
        Baseline::After(tick) => {
            writer.put(1, 1);
            writer.put(rows.round.tick.since(tick), 8);
            let events: FixedEvents = events.copied().collect();
            writer.put(events.0.len() as u32, 8);
            events.0.iter().for_each(|(at, event)| put_event(&mut writer, at.since(tick), event));
        }
    }
    writer.finish();
}

/// Events collected without a heap allocation, cut at [`EVENTS_MAX`] (callers go absolute before that).
struct FixedEvents(FixedList<(Tick, Event), EVENTS_MAX>);

impl FromIterator<(Tick, Event)> for FixedEvents {
    fn from_iter<I: IntoIterator<Item = (Tick, Event)>>(events: I) -> Self {
        let mut list = FixedList::default();
        for event in events {
            if !list.push(event) {
                break;
            }
        }
        FixedEvents(list)
    }
}

fn put_own(writer: &mut BitWriter<'_>, ship: &Ship) {
    ship.each(|field, value| {
        if field.visible == crate::sim::fields::Visible::Owner {
            writer.put(value, field.bits);
        }
    });
}

fn take_own(reader: &mut BitReader<'_>, ship: &mut Ship) -> Result<(), WireError> {
    let (mut values, mut count) = ([0u32; 32], 0);
    ship.each(|_, value| {
        values[count] = value;
        count += 1;
    });
    let mut index = 0;
    ship.fill(|field| {
        index += 1;
        if field.visible == crate::sim::fields::Visible::Owner {
            reader.take(field.bits)
        } else {
            Ok(values[index - 1])
        }
    })
}

fn put_event(writer: &mut BitWriter<'_>, after_ticks: u32, event: &Event) {
    writer.put(after_ticks, 8);
    let mut put = |kind: u32, fields: &[(u32, u8)]| {
        writer.put(kind, 3);
        fields.iter().for_each(|(value, bits)| writer.put(*value, *bits));
    };
    match event {
        Event::ShotFired { bullet } => {
            put(0, &[]);
            writer.put_row(bullet, Audience::Public, None);
        }
        Event::ShipHit { bullet, victim } => put(1, &[(u32::from(*bullet), 16), (u32::from(victim.0), 3)]),
        Event::ShipDestroyed { victim, by, assists } => {
            put(2, &[(u32::from(victim.0), 3), (u32::from(by.0), 3), (u32::from(*assists), 8)]);
        }
        Event::RoundStarted { number } => put(3, &[(u32::from(*number), 8)]),
        Event::RoundWon { winner } => put(4, &[(u32::from(winner.0), 3)]),
        Event::RoundDrawn => put(5, &[]),
        Event::MatchWon { winner } => put(6, &[(winner.map_or(0, |seat| u32::from(seat.0) + 1), 4)]),
    }
}

fn take_event(reader: &mut BitReader<'_>, baseline: Tick) -> Result<(Tick, Event), WireError> {
    let tick = baseline.plus(reader.take(8)?);
    let event = match reader.take(3)? {
        0 => Event::ShotFired { bullet: reader.take_row(Audience::Public, None)? },
        1 => Event::ShipHit { bullet: reader.take(16)? as u16, victim: Seat(reader.take(3)? as u8) },
        2 => Event::ShipDestroyed {
            victim: Seat(reader.take(3)? as u8),
            by: Seat(reader.take(3)? as u8),
            assists: reader.take(8)? as u8,
        },
        3 => Event::RoundStarted { number: reader.take(8)? as u8 },
        4 => Event::RoundWon { winner: Seat(reader.take(3)? as u8) },
        5 => Event::RoundDrawn,
        6 => match reader.take(4)? {
            0 => Event::MatchWon { winner: None },
            seat @ 1..=8 => Event::MatchWon { winner: Some(Seat(seat as u8 - 1)) },
            _ => return Err(WireError::Range),
        },
        _ => return Err(WireError::Range),
    };
    Ok((tick, event))
}

/// A snapshot as it came: still to be applied over what the receiver knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    pub head: Head,
    pub baseline: Baseline,
    pub seats: u8,
    pub round: Round,
    pub ships: [Ship; SEATS_MAX],
    pub scores: [Score; SEATS_MAX],
    /// Live bullets; only with [`Baseline::Absolute`].
    pub bullets: FixedList<Bullet, BULLETS_MAX>,
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
    let mut own = Ship::default();
    let head = take_head(&mut reader, &mut own)?;
    let mut decoded = take_body(&mut reader, head)?;
    reader.finish()?;
    let ship = decoded.ships.get_mut(seat.index()).filter(|_| seat.0 < decoded.seats).ok_or(WireError::Range)?;
    ship.ammunition = own.ammunition;
    ship.reload_ticks = own.reload_ticks;
    ship.cooldown_ticks = own.cooldown_ticks;
    ship.shots = own.shots;
    Ok(decoded)
}

fn take_head(reader: &mut BitReader<'_>, own: &mut Ship) -> Result<Head, WireError> {
    let hash_long = reader.take(1)? == 1;
    let head = Head {
        hash_long,
        input_newest: Tick(reader.take(32)?),
        input_margin_ticks: reader.take(8)? as u8 as i8,
        view_hash: reader.take(if hash_long { 32 } else { 16 })?,
    };
    take_own(reader, own)?;
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
    let mut decoded = Decoded {
        head,
        baseline: Baseline::Absolute,
        seats,
        round: take_round(reader)?,
        ships: [Ship::default(); SEATS_MAX],
        scores: [Score::default(); SEATS_MAX],
        bullets: FixedList::default(),
        events: FixedList::default(),
    };
    for index in 0..usize::from(seats) {
        decoded.ships[index] = reader.take_row(Audience::Public, None)?;
    }
    for index in 0..usize::from(seats) {
        decoded.scores[index] = reader.take_row(Audience::Public, None)?;
    }
    if reader.take(1)? == 0 {
        for _ in 0..reader.take(8)? {
            if !decoded.bullets.push(reader.take_row(Audience::Public, None)?) {
                return Err(WireError::Range);
            }
        }
    } else {
        let age = reader.take(8)?;
        let baseline = Tick(decoded.round.tick.0.checked_sub(age).ok_or(WireError::Range)?);
        decoded.baseline = Baseline::After(baseline);
        for _ in 0..reader.take(8)? {
            if !decoded.events.push(take_event(reader, baseline)?) {
                return Err(WireError::Range);
            }
        }
    }
    Ok(decoded)
}

/// The round row, refused when its phase number is none of the phases.
fn take_round(reader: &mut BitReader<'_>) -> Result<Round, WireError> {
    let (mut row, mut canonical) = (Round::default(), true);
    let mut raw = [0u32; 32];
    let mut count = 0;
    row.fill(|field| {
        let value = if Audience::Public.sees(field.visible, None) { reader.take(field.bits)? } else { 0 };
        raw[count] = value;
        count += 1;
        Ok(value)
    })?;
    let mut index = 0;
    row.each(|_, value| {
        canonical &= value == raw[index];
        index += 1;
    });
    if canonical { Ok(row) } else { Err(WireError::Range) }
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
        self.round.tick
    }

    /// Makes the next view out of `known` and this snapshot. `bullet_life_ticks` is the rules' own.
    ///
    /// # Errors
    /// When the snapshot cannot be used with what is known; `known` is unchanged.
    pub fn apply(&self, known: &mut View, bullet_life_ticks: u16) -> Result<(), NotApplied> {
        if known.round.tick >= self.tick() && known.round.tick != Tick(0) {
            return Err(NotApplied::Stale);
        }
        match self.baseline {
            Baseline::Absolute => known.bullets = self.bullets,
            Baseline::After(tick) if known.round.tick < tick || known.round.tick == Tick(0) => {
                return Err(NotApplied::NoBaseline);
            }
            Baseline::After(_) => self.apply_events(known, bullet_life_ticks),
        }
        known.seats = self.seats;
        known.round = self.round;
        known.ships = self.ships;
        known.scores = self.scores;
        Ok(())
    }

    /// Replays the events that `known` has not seen over its bullets, then drops those that are spent.
    fn apply_events(&self, known: &mut View, bullet_life_ticks: u16) {
        let seen = known.round.tick;
        for (tick, event) in self.events.iter().filter(|(tick, _)| *tick > seen) {
            match event {
                Event::ShotFired { bullet } => {
                    // The server's list lost its spent bullets in every tick between; so must this one, or it fills up.
                    known.bullets.retain(|bullet| bullet.age(*tick) <= bullet_life_ticks);
                    // A full list can only come from a lying server; the hash will say so.
                    let _ = known.bullets.push(*bullet);
                }
                Event::ShipHit { bullet, .. } => known.bullets.retain(|b| b.id != *bullet),
                Event::RoundStarted { .. } => known.bullets.clear(),
                _ => {}
            }
        }
        let tick = self.tick();
        known.bullets.retain(|bullet| bullet.age(tick) < bullet_life_ticks);
    }
}

/// Samples for fingerprint and golden test: one absolute, one with every kind of event, and one for a spectator.
pub fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let setup = sample_setup();
    let mut ships = crate::sim::state::Ships::default();
    let mut bullets = crate::sim::state::Bullets::default();
    for (index, ship) in ships.0.iter_mut().enumerate().take(2) {
        let x = 1000 * (index as i32 + 1);
        *ship = Ship { x, y: 77, vx: -x, vy: 3, alive: true, hull: 50, ammunition: 2, shots: 9, ..Ship::default() };
    }
    let bullet = Bullet { id: 73, born: 500, x: 20_000, y: 10_000, ..Bullet::default() };
    let _ = bullets.0.push(bullet);
    let state = MatchRef {
        setup: &setup,
        round: &Round { tick: Tick(510), number: 2, ..Round::default() },
        ships: &ships,
        scores: &crate::sim::state::Scores::default(),
        bullets: &bullets,
        events: &crate::sim::state::Events::default(),
    };
    let events = [
        Event::ShotFired { bullet },
        Event::ShipHit { bullet: 73, victim: Seat(1) },
        Event::ShipDestroyed { victim: Seat(1), by: Seat(0), assists: 4 },
        Event::RoundStarted { number: 2 },
        Event::RoundWon { winner: Seat(1) },
        Event::RoundDrawn,
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
