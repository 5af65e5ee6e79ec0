//! The state of a match: its components, and save, load, view and hash over them in one stable order.
//!
//! A match is one entity; ships, scores and bullets are lists of fixed capacity inside it. Why not an
//! entity per ship and bullet: measured, see ARCHITECTURE.md, "Layout of a match".
//! In: components. Out: bytes, views, hashes.
//! *Invariant:* every field of state stands in a `state!` block, so nothing can be missed by save, view or hash.
//! *Invariant:* no `Entity`, pointer or clock in sim state.
//! Start reading at [`Ship`].

use std::sync::Arc;

use bevy_ecs::prelude::*;

use super::fields::{Audience, Field, FieldValue, Fields, Visible, state};
use super::list::FixedList;
use super::rng::Hasher;
use super::round::Phase;
use super::rules::{BULLETS_MAX, Ruleset};
use super::units::{Angle, SEATS_MAX, Seat, TURN_MAX, Tick};

/// What one player wants in one tick: 5 signed bits of turn, thrust, fire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Input(u8);

const THRUST: u8 = 1 << 5;
const FIRE: u8 = 1 << 6;

impl Input {
    /// Nothing pressed.
    pub const NEUTRAL: Input = Input(0);

    /// `turn` is clamped to ±15, positive is counter-clockwise.
    pub fn new(turn: i8, thrust: bool, fire: bool) -> Input {
        let turn = turn.clamp(-TURN_MAX, TURN_MAX) as u8 & 0x1f;
        Input(turn | if thrust { THRUST } else { 0 } | if fire { FIRE } else { 0 })
    }

    /// The input with these bits; `None` for bits no honest client makes (bit 7, a turn of -16).
    pub fn from_bits(bits: u8) -> Option<Input> {
        (bits & 0x80 == 0 && bits & 0x1f != 0x10).then_some(Input(bits))
    }

    pub fn bits(self) -> u8 {
        self.0
    }

    /// -15 to 15.
    pub fn turn(self) -> i32 {
        (i32::from(self.0 & 0x1f) << 27 >> 27).max(-i32::from(TURN_MAX))
    }

    pub fn thrust(self) -> bool {
        self.0 & THRUST != 0
    }

    pub fn fire(self) -> bool {
        self.0 & FIRE != 0
    }

    /// Whether a button (not the turn) differs: such a change is sent at once.
    pub fn button_edge(self, before: Input) -> bool {
        (self.0 ^ before.0) & (THRUST | FIRE) != 0
    }
}

impl FieldValue for Input {
    const SIGNED: bool = false;
    fn to_raw(self) -> u32 {
        u32::from(self.0)
    }
    fn from_raw(raw: u32) -> Self {
        Input(raw as u8 & 0x7f)
    }
}

state! {
    /// Where a match is in time.
    #[derive(Component)]
    pub struct Round as "round" {
        tick: Tick, 32 bits, Everyone;
        phase: Phase, 3 bits, Everyone;
        /// When the phase ends on its own; zero while waiting and when all is over.
        phase_ends: Tick, 32 bits, Everyone;
        /// Rounds begun so far.
        number: u8, 8 bits, Everyone;
        /// Winner of the last ended round, or of the match once it is over: seat + 1, or 0 for a draw.
        winner: u8, 4 bits, Everyone;
        draws_in_a_row: u8, 4 bits, Nobody;
        /// Ticks of live play over all rounds.
        live_ticks: u32, 20 bits, Nobody;
    }
}

state! {
    /// One seat's ship.
    pub struct Ship as "ship" {
        x: i32, 20 bits, Everyone;
        y: i32, 20 bits, Everyone;
        vx: i32, 21 bits, Everyone;
        vy: i32, 21 bits, Everyone;
        angle: Angle, 12 bits, Everyone;
        alive: bool, 1 bits, Everyone;
        hull: u8, 7 bits, Everyone;
        /// The input applied in this tick: flames for the eye, a starting point for prediction.
        input: Input, 7 bits, Everyone;
        ammunition: u8, 3 bits, Owner;
        /// Ticks until the next shot is in the magazine; zero when it is full.
        reload_ticks: u8, 8 bits, Owner;
        /// Ticks until the gun may fire again.
        cooldown_ticks: u8, 6 bits, Owner;
        /// Shots fired in this match, modulo 8192: names the next bullet.
        shots: u16, 13 bits, Owner;
    }
}

state! {
    /// One seat's tally.
    pub struct Score as "score" {
        rounds_won: u8, 4 bits, Everyone;
        kills: u8, 8 bits, Everyone;
        deaths: u8, 8 bits, Everyone;
        assists: u8, 8 bits, Nobody;
        shots: u16, 16 bits, Nobody;
        hits: u16, 16 bits, Nobody;
        survival_ticks: u32, 20 bits, Nobody;
        /// Kills since the last death, and the most there ever were.
        streak: u8, 8 bits, Nobody;
        streak_longest: u8, 8 bits, Nobody;
        /// Bit per seat that damaged this ship in its present life.
        hurt_by: u8, 8 bits, Nobody;
        /// 1 is best; zero until the match is over.
        placement: u8, 4 bits, Nobody;
    }
}

state! {
    /// A shot in flight. Its path is closed form, so spawn data is all there is.
    pub struct Bullet as "bullet" {
        /// Owner's seat in the low 3 bits, the owner's shot counter above.
        id: u16, 16 bits, Everyone;
        /// Low 16 bits of the tick in which it was fired.
        born: u16, 16 bits, Everyone;
        x: i32, 20 bits, Everyone;
        y: i32, 20 bits, Everyone;
        angle: Angle, 12 bits, Everyone;
    }
}

/// What a match was opened with; never changes.
#[derive(Component, Clone, Debug)]
pub struct Setup {
    pub seed: u64,
    /// 2 to 8.
    pub seats: u8,
    pub ruleset: Arc<Ruleset>,
}

#[derive(Component, Clone, Copy, Debug, Default)]
pub struct Ships(pub [Ship; SEATS_MAX]);

#[derive(Component, Clone, Copy, Debug, Default)]
pub struct Scores(pub [Score; SEATS_MAX]);

/// In order of firing (tick, then seat).
#[derive(Component, Clone, Copy, Debug, Default)]
pub struct Bullets(pub FixedList<Bullet, BULLETS_MAX>);

/// What the next tick applies. Not state: whoever drives the sim sets it before each tick.
#[derive(Component, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    pub seats: [Input; SEATS_MAX],
    /// Ends `Waiting`: everyone is here.
    pub start: bool,
}

/// Position of each ship at the start of the tick; scratch for swept tests.
#[derive(Component, Clone, Copy, Debug, Default)]
pub(super) struct TickStart(pub [(i32, i32); SEATS_MAX]);

/// What happened in the newest tick, in order. Output, not state.
#[derive(Component, Clone, Debug, Default)]
pub struct Events(pub Vec<Event>);

/// Something that happened, for feeds, statistics and the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Event {
    ShotFired {
        bullet: Bullet,
    },
    /// `bullet` is gone; its low bits say whose it was.
    ShipHit {
        bullet: u16,
        victim: Seat,
    },
    /// `assists` has a bit per seat that had damaged the ship in this life, the killer's not among them.
    ShipDestroyed {
        victim: Seat,
        by: Seat,
        assists: u8,
    },
    /// Ships stand at their spawn points, all bullets are gone.
    RoundStarted {
        number: u8,
    },
    RoundWon {
        winner: Seat,
    },
    #[default]
    RoundDrawn,
    /// `None`: equal standings at the top.
    MatchWon {
        winner: Option<Seat>,
    },
}

impl Bullet {
    pub fn owner(&self) -> Seat {
        Seat(self.id as u8 & 7)
    }

    /// Ticks of flight at `tick`.
    pub fn age(&self, tick: Tick) -> u16 {
        (tick.0 as u16).wrapping_sub(self.born)
    }
}

impl Input {
    /// The same buttons held by nobody: what a seat flies when nothing has come for too long.
    pub fn is_neutral(self) -> bool {
        self == Input::NEUTRAL
    }
}

/// Borrowed state of one match, however it was looked up.
#[derive(Clone, Copy)]
pub struct MatchRef<'a> {
    pub setup: &'a Setup,
    pub round: &'a Round,
    pub ships: &'a Ships,
    pub scores: &'a Scores,
    pub bullets: &'a Bullets,
    pub events: &'a Events,
}

/// The query that [`MatchRef`] is made from.
pub type MatchParts =
    (&'static Setup, &'static Round, &'static Ships, &'static Scores, &'static Bullets, &'static Events);

impl<'a> From<(&'a Setup, &'a Round, &'a Ships, &'a Scores, &'a Bullets, &'a Events)> for MatchRef<'a> {
    fn from(
        (setup, round, ships, scores, bullets, events): (
            &'a Setup,
            &'a Round,
            &'a Ships,
            &'a Scores,
            &'a Bullets,
            &'a Events,
        ),
    ) -> Self {
        MatchRef { setup, round, ships, scores, bullets, events }
    }
}

/// What one audience knows of a match at one tick. Fields it may not see are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    pub audience: Audience,
    pub seats: u8,
    pub round: Round,
    pub ships: [Ship; SEATS_MAX],
    pub scores: [Score; SEATS_MAX],
    pub bullets: FixedList<Bullet, BULLETS_MAX>,
}

impl View {
    /// The view of a match of which nothing is known yet.
    pub fn empty(audience: Audience, seats: u8) -> View {
        View {
            audience,
            seats,
            round: Round::default(),
            ships: [Ship::default(); SEATS_MAX],
            scores: [Score::default(); SEATS_MAX],
            bullets: FixedList::default(),
        }
    }

    /// Whether every value is one that a match with this setup can have. A view from a stranger must pass before it is loaded.
    pub fn fits(&self, setup: &Setup) -> bool {
        let inside = |x: i32, y: i32| (0..setup.ruleset.width).contains(&x) && (0..setup.ruleset.height).contains(&y);
        self.seats == setup.seats
            && self.ships[..usize::from(self.seats)].iter().all(|ship| inside(ship.x, ship.y))
            && self.bullets.iter().all(|bullet| inside(bullet.x, bullet.y) && bullet.owner().0 < setup.seats)
            && self.round.winner <= setup.seats
    }
}

impl MatchRef<'_> {
    /// What `audience` may see, as one value.
    pub fn view(&self, audience: Audience) -> View {
        let mut view = View::empty(audience, self.setup.seats);
        view.round = self.round.seen_by(audience, None);
        for seat in Seat::first(self.setup.seats) {
            let index = seat.index();
            view.ships[index] = self.ships.0[index].seen_by(audience, Some(seat));
            view.scores[index] = self.scores.0[index].seen_by(audience, Some(seat));
        }
        // Bullets have no hidden fields; the table says so and a test holds it.
        view.bullets = self.bullets.0;
        view
    }

    /// Hash of what everyone may see. [`MatchRef::view_hash`] builds on it, so one pass serves all seats.
    pub fn public_hash(&self) -> Hasher {
        let mut hasher = Hasher::new(0);
        self.hash_rows(&mut hasher, |visible| visible == Visible::Everyone);
        hasher
    }

    /// Hash of what `audience` receives, from components. `public` is [`MatchRef::public_hash`] of the same state.
    pub fn view_hash(&self, public: Hasher, audience: Audience) -> u32 {
        let mut hasher = public;
        if let Audience::Seat(seat) = audience {
            let mut own = |field: &Field, value| {
                if field.visible == Visible::Owner {
                    hasher.add(value);
                }
            };
            self.ships.0[seat.index()].each(&mut own);
            self.scores.0[seat.index()].each(&mut own);
        }
        hasher.finish() as u32
    }

    /// Hash of everything: for replays and for comparing two sims.
    pub fn hash(&self) -> u64 {
        let mut hasher = Hasher::new(0);
        self.hash_rows(&mut hasher, |_| true);
        hasher.finish()
    }

    #[inline]
    fn hash_rows(&self, hasher: &mut Hasher, seen: impl Fn(Visible) -> bool) {
        let seats = usize::from(self.setup.seats);
        let mut add = |field: &Field, value| {
            if seen(field.visible) {
                hasher.add(value);
            }
        };
        self.round.each(&mut add);
        self.ships.0[..seats].iter().for_each(|row| row.each(&mut add));
        self.scores.0[..seats].iter().for_each(|row| row.each(&mut add));
        self.bullets.0.iter().for_each(|row| row.each(&mut add));
        hasher.add(self.bullets.0.len() as u32);
    }

    /// A hash per column of the table, for naming what differs: `(row name, field name, hash)`.
    pub fn column_hashes(&self) -> Vec<(&'static str, &'static str, u64)> {
        let seats = usize::from(self.setup.seats);
        let mut columns = Vec::new();
        columns_of(&mut columns, std::slice::from_ref(self.round));
        columns_of(&mut columns, &self.ships.0[..seats]);
        columns_of(&mut columns, &self.scores.0[..seats]);
        columns_of(&mut columns, &self.bullets.0);
        columns
    }

    /// All state as bytes, in table order, each field in whole bytes.
    pub fn save(&self) -> Vec<u8> {
        let seats = usize::from(self.setup.seats);
        let mut out = Vec::with_capacity(1024);
        out.push(self.setup.seats);
        out.push(self.bullets.0.len() as u8);
        save_rows(&mut out, std::slice::from_ref(self.round));
        save_rows(&mut out, &self.ships.0[..seats]);
        save_rows(&mut out, &self.scores.0[..seats]);
        save_rows(&mut out, &self.bullets.0);
        out
    }
}

fn columns_of<T: Fields>(columns: &mut Vec<(&'static str, &'static str, u64)>, rows: &[T]) {
    let mut hashers = vec![Hasher::new(0); T::TABLE.len()];
    for row in rows {
        let mut column = 0;
        row.each(|_, value| {
            hashers[column].add(value);
            column += 1;
        });
    }
    let named = T::TABLE.iter().zip(hashers).map(|(field, hasher)| (T::NAME, field.name, hasher.finish()));
    columns.extend(named);
}

fn bytes_of(field: &Field) -> usize {
    usize::from(field.bits).div_ceil(8)
}

fn save_rows<T: Fields>(out: &mut Vec<u8>, rows: &[T]) {
    for row in rows {
        row.each(|field, value| out.extend_from_slice(&value.to_le_bytes()[..bytes_of(field)]));
    }
}

/// A save that does not fit the match it is loaded into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    #[error("the save ends early or has bytes left over")]
    Length,
    #[error("the save is of a match with another number of seats")]
    Seats,
    #[error("the save holds more bullets than a match can")]
    Bullets,
    #[error("no such match")]
    NoMatch,
    #[error("the view holds values that this match cannot have")]
    Values,
}

/// State read back from [`MatchRef::save`].
pub(super) struct Saved {
    pub round: Round,
    pub ships: Ships,
    pub scores: Scores,
    pub bullets: Bullets,
}

impl Saved {
    pub fn read(mut bytes: &[u8], setup: &Setup) -> Result<Saved, LoadError> {
        let [seats, bullets, ..] = *bytes else { return Err(LoadError::Length) };
        bytes = &bytes[2..];
        if seats != setup.seats {
            return Err(LoadError::Seats);
        }
        let mut saved = Saved {
            round: load_row(&mut bytes)?,
            ships: Ships::default(),
            scores: Scores::default(),
            bullets: Bullets::default(),
        };
        for seat in Seat::first(seats) {
            saved.ships.0[seat.index()] = load_row(&mut bytes)?;
        }
        for seat in Seat::first(seats) {
            saved.scores.0[seat.index()] = load_row(&mut bytes)?;
        }
        for _ in 0..bullets {
            if !saved.bullets.0.push(load_row(&mut bytes)?) {
                return Err(LoadError::Bullets);
            }
        }
        if bytes.is_empty() { Ok(saved) } else { Err(LoadError::Length) }
    }
}

fn load_row<T: Fields>(bytes: &mut &[u8]) -> Result<T, LoadError> {
    let mut row = T::default();
    row.fill(|field| {
        let (head, rest) = bytes.split_at_checked(bytes_of(field)).ok_or(LoadError::Length)?;
        let mut raw = [0u8; 4];
        raw[..head.len()].copy_from_slice(head);
        *bytes = rest;
        let value = u32::from_le_bytes(raw);
        let unused = 32 - 8 * head.len() as u32;
        Ok(if field.signed { ((value << unused) as i32 >> unused) as u32 } else { value })
    })?;
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_keep_what_was_put_in() {
        for turn in -15..=15i8 {
            for (thrust, fire) in [(false, false), (true, false), (false, true), (true, true)] {
                let input = Input::new(turn, thrust, fire);
                assert_eq!((input.turn(), input.thrust(), input.fire()), (i32::from(turn), thrust, fire));
                assert_eq!(Input::from_bits(input.bits()), Some(input));
            }
        }
        assert_eq!(Input::from_bits(0x80), None);
        assert_eq!(Input::from_bits(0x10), None);
    }

    #[test]
    fn bullets_hide_nothing() {
        assert!(Bullet::TABLE.iter().all(|field| field.visible == Visible::Everyone));
    }

    #[test]
    fn a_seat_sees_its_own_magazine_and_nobody_elses() {
        let ship = Ship { ammunition: 3, hull: 90, ..Ship::default() };
        assert_eq!(ship.seen_by(Audience::Seat(Seat(1)), Some(Seat(1))).ammunition, 3);
        assert_eq!(ship.seen_by(Audience::Seat(Seat(1)), Some(Seat(2))).ammunition, 0);
        assert_eq!(ship.seen_by(Audience::Public, Some(Seat(2))).ammunition, 0);
        assert_eq!(ship.seen_by(Audience::Public, Some(Seat(2))).hull, 90);
    }
}
