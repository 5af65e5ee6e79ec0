//! Save, load, view and hash over the tables of a match, in one stable order.
//!
//! In: a match's [`State`]. Out: bytes, views, hashes; and, for the wire, a walk over the tables.
//! *Invariant:* [`State::walk`] and [`State::fill`] are the only two lists of all tables; a test compares them.
//! *Invariant:* who may see a field stands in its `state!` block, who may see a mine in [`MatchRef::sighted`].
//! Start reading at [`Shape`].

use bevy_ecs::prelude::*;

use super::event::Event;
use super::fields::{Audience, Field, Fields, Visible};
use super::list::FixedList;
use super::rng::Hasher;
use super::state::{Events, MINES_MAX, Mine, Setup, State};
use super::units::{POSITION_PER_UNIT, Seat};

/// How many rows a table has, and how they travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One row.
    One,
    /// A row per seat, each its owner's.
    PerSeat,
    /// Some rows; everyone gets them all.
    List,
    /// Some rows, sent as the events that begin and end them; listed when there is nothing to go on from.
    ByEvent,
    /// Some rows; each audience gets those it sees.
    Sighted,
}

/// Takes the tables of a match one after the other.
pub trait Walk {
    fn table<T: Fields>(&mut self, shape: Shape, rows: &[T]);
}

/// Gives rows to the tables of a match one after the other.
pub trait Fill {
    type Error;
    /// Fills every row of a table whose length is known.
    ///
    /// # Errors
    /// The filler's own.
    fn rows<T: Fields>(&mut self, shape: Shape, rows: &mut [T]) -> Result<(), Self::Error>;
    /// Fills a list, length and all; it is empty before.
    ///
    /// # Errors
    /// The filler's own.
    fn list<T: Fields, const N: usize>(&mut self, shape: Shape, list: &mut FixedList<T, N>) -> Result<(), Self::Error>;
}

impl State {
    /// Every table in order.
    #[inline]
    pub fn walk(&self, seats: u8, walker: &mut impl Walk) {
        let seats = usize::from(seats);
        walker.table(Shape::One, std::slice::from_ref(&self.round));
        walker.table(Shape::PerSeat, &self.ships[..seats]);
        walker.table(Shape::PerSeat, &self.scores[..seats]);
        walker.table(Shape::ByEvent, &self.bullets);
        walker.table(Shape::List, &self.asteroids);
        walker.table(Shape::List, &self.pads);
        walker.table(Shape::List, &self.homing);
        walker.table(Shape::List, &self.bombs);
        walker.table(Shape::Sighted, &self.mines);
    }

    /// The same tables in the same order, to be filled.
    ///
    /// # Errors
    /// Those of the filler.
    pub fn fill<F: Fill>(&mut self, seats: u8, filler: &mut F) -> Result<(), F::Error> {
        let seats = usize::from(seats);
        filler.rows(Shape::One, std::slice::from_mut(&mut self.round))?;
        filler.rows(Shape::PerSeat, &mut self.ships[..seats])?;
        filler.rows(Shape::PerSeat, &mut self.scores[..seats])?;
        filler.list(Shape::ByEvent, &mut self.bullets)?;
        filler.list(Shape::List, &mut self.asteroids)?;
        filler.list(Shape::List, &mut self.pads)?;
        filler.list(Shape::List, &mut self.homing)?;
        filler.list(Shape::List, &mut self.bombs)?;
        filler.list(Shape::Sighted, &mut self.mines)
    }
}

/// Borrowed state of one match, however it was looked up. Its tables are reached as if they were its own.
#[derive(Clone, Copy)]
pub struct MatchRef<'a> {
    pub setup: &'a Setup,
    pub state: &'a State,
    pub events: &'a Events,
}

/// The query that [`MatchRef`] is made from.
pub type MatchParts = (&'static Setup, &'static State, &'static Events);

impl<'a> From<(&'a Setup, &'a State, &'a Events)> for MatchRef<'a> {
    fn from((setup, state, events): (&'a Setup, &'a State, &'a Events)) -> Self {
        MatchRef { setup, state, events }
    }
}

impl std::ops::Deref for MatchRef<'_> {
    type Target = State;
    fn deref(&self) -> &State {
        self.state
    }
}

/// What one audience knows of a match at one tick. Fields it may not see are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    pub audience: Audience,
    pub seats: u8,
    pub state: State,
}

impl View {
    /// The view of a match of which nothing is known yet.
    pub fn empty(audience: Audience, seats: u8) -> View {
        View { audience, seats, state: State::default() }
    }

    /// Whether every value is one that a match with this setup can have. A view from a stranger must pass before it is loaded.
    pub fn fits(&self, setup: &Setup) -> bool {
        let arena = setup.arena();
        let inside = |x: i32, y: i32| arena.contains(x, y);
        let units = |x: u16, y: u16| arena.contains(i32::from(x) * POSITION_PER_UNIT, i32::from(y) * POSITION_PER_UNIT);
        let seated = |seat: Seat| seat.0 < setup.seats;
        self.seats == setup.seats
            && self.round.winner <= setup.seats
            && self.round.holder <= setup.seats
            && self.pads.len() == arena.pads.len()
            && self.ships[..usize::from(self.seats)].iter().all(|ship| inside(ship.x, ship.y))
            && self.bullets.iter().all(|bullet| inside(bullet.x, bullet.y) && seated(bullet.owner()))
            && self.asteroids.iter().all(|rock| inside(rock.x, rock.y) && rock.size <= 2)
            && self.homing.iter().all(|shot| inside(shot.x, shot.y) && seated(shot.owner))
            && self.bombs.iter().all(|bomb| units(bomb.x, bomb.y) && seated(bomb.owner))
            && self.mines.iter().all(|mine| units(mine.x, mine.y) && seated(mine.owner))
    }
}

impl std::ops::Deref for View {
    type Target = State;
    fn deref(&self) -> &State {
        &self.state
    }
}

impl std::ops::DerefMut for View {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl<'a> MatchRef<'a> {
    /// What happened in the newest tick, in order.
    pub fn happened(&self) -> &'a [Event] {
        &self.events.0
    }

    /// The mines that `audience` sees: a player those of the own side, and others' within sight of the own ship. The
    /// public sees none.
    pub fn sighted(&self, audience: Audience) -> FixedList<Mine, MINES_MAX> {
        let mut seen = self.state.mines;
        if seen.is_empty() {
            return seen;
        }
        match audience {
            Audience::Everything => {}
            Audience::Public => seen.clear(),
            Audience::Seat(seat) => {
                let (ship, arena) = (&self.state.ships[seat.index()], self.setup.arena());
                let sight = i64::from(self.setup.ruleset.items.mine.sight);
                let side = self.setup.side(seat);
                seen.retain(|mine| {
                    let (dx, dy) = arena.way(ship.at(), mine.at());
                    self.setup.side(mine.owner) == side
                        || (ship.is_out() && i64::from(dx).pow(2) + i64::from(dy).pow(2) <= sight * sight)
                });
            }
        }
        seen
    }

    /// What `audience` may see, as one value.
    pub fn view(&self, audience: Audience) -> View {
        let mut view = View { audience, seats: self.setup.seats, state: *self.state };
        view.state.round = self.state.round.seen_by(audience, None);
        for seat in Seat::first(self.setup.seats) {
            let index = seat.index();
            view.state.ships[index] = self.state.ships[index].seen_by(audience, Some(seat));
            view.state.scores[index] = self.state.scores[index].seen_by(audience, Some(seat));
        }
        // Lists have no hidden fields, mines excepted; their tables say so and a test holds it.
        view.state.mines = seen_rows(&self.sighted(audience), audience);
        view
    }

    /// Hash of what everyone may see. [`MatchRef::view_hash`] builds on it, so one pass serves all seats.
    pub fn public_hash(&self) -> Hasher {
        let mut walker = HashWalk { hasher: Hasher::new(0), public: true };
        self.state.walk(self.setup.seats, &mut walker);
        walker.hasher
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
            self.state.ships[seat.index()].each(&mut own);
            self.state.scores[seat.index()].each(&mut own);
            // Even when there are none: whether others lie unseen must not show in the hash.
            let mut walker = HashWalk { hasher, public: true };
            walker.rows(&self.sighted(audience));
            hasher = walker.hasher;
        }
        hasher.finish() as u32
    }

    /// Hash of everything: for replays and for comparing two sims.
    pub fn hash(&self) -> u64 {
        let mut walker = HashWalk { hasher: Hasher::new(0), public: false };
        self.state.walk(self.setup.seats, &mut walker);
        walker.hasher.finish()
    }

    /// A hash per column of the tables, for naming what differs: `(row name, field name, hash)`.
    pub fn column_hashes(&self) -> Vec<(&'static str, &'static str, u64)> {
        let mut columns = Columns(Vec::new());
        self.state.walk(self.setup.seats, &mut columns);
        columns.0
    }

    /// All state as bytes, in table order, each field in whole bytes.
    pub fn save(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        out.push(self.setup.seats);
        let mut writer = SaveWalk(out);
        self.state.walk(self.setup.seats, &mut writer);
        writer.0
    }
}

fn seen_rows<T: Fields, const N: usize>(rows: &FixedList<T, N>, audience: Audience) -> FixedList<T, N> {
    let mut seen = FixedList::default();
    for row in rows.iter() {
        // As many as there were, so there is room.
        let _ = seen.push(row.seen_by(audience, None));
    }
    seen
}

struct HashWalk {
    hasher: Hasher,
    public: bool,
}

impl HashWalk {
    #[inline]
    fn rows<T: Fields>(&mut self, rows: &[T]) {
        for row in rows {
            row.each(|field, value| {
                if !self.public || field.visible == Visible::Everyone {
                    self.hasher.add(value);
                }
            });
        }
        // Lengths too, so that a row of zeros is not nothing.
        self.hasher.add(rows.len() as u32);
    }
}

impl Walk for HashWalk {
    #[inline]
    fn table<T: Fields>(&mut self, shape: Shape, rows: &[T]) {
        if !(self.public && shape == Shape::Sighted) {
            self.rows(rows);
        }
    }
}

struct Columns(Vec<(&'static str, &'static str, u64)>);

impl Walk for Columns {
    fn table<T: Fields>(&mut self, _: Shape, rows: &[T]) {
        let mut hashers = vec![Hasher::new(0); T::TABLE.len()];
        for row in rows {
            let mut column = 0;
            row.each(|_, value| {
                hashers[column].add(value);
                column += 1;
            });
        }
        let named = T::TABLE.iter().zip(hashers).map(|(field, hasher)| (T::NAME, field.name, hasher.finish()));
        self.0.extend(named);
    }
}

fn bytes_of(field: &Field) -> usize {
    usize::from(field.bits).div_ceil(8)
}

struct SaveWalk(Vec<u8>);

impl Walk for SaveWalk {
    fn table<T: Fields>(&mut self, shape: Shape, rows: &[T]) {
        if !matches!(shape, Shape::One | Shape::PerSeat) {
            self.0.push(rows.len() as u8);
        }
        for row in rows {
            row.each(|field, value| self.0.extend_from_slice(&value.to_le_bytes()[..bytes_of(field)]));
        }
    }
}

/// A save that does not fit the match it is loaded into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    #[error("the save ends early or has bytes left over")]
    Length,
    #[error("the save is of a match with another number of seats")]
    Seats,
    #[error("the save holds a longer list than a match can")]
    List,
    #[error("no such match")]
    NoMatch,
    #[error("it holds values that this match cannot have")]
    Values,
}

/// Reads state back from [`MatchRef::save`].
///
/// # Errors
/// What is wrong with the bytes.
pub(super) fn read_save(bytes: &[u8], setup: &Setup) -> Result<State, LoadError> {
    let (seats, rest) = bytes.split_first().ok_or(LoadError::Length)?;
    if *seats != setup.seats {
        return Err(LoadError::Seats);
    }
    let mut reader = SaveReader(rest);
    let mut state = State::default();
    state.fill(setup.seats, &mut reader)?;
    if !reader.0.is_empty() {
        return Err(LoadError::Length);
    }
    let whole = View { audience: Audience::Everything, seats: setup.seats, state };
    if whole.fits(setup) { Ok(state) } else { Err(LoadError::Values) }
}

struct SaveReader<'a>(&'a [u8]);

impl Fill for SaveReader<'_> {
    type Error = LoadError;

    fn rows<T: Fields>(&mut self, _: Shape, rows: &mut [T]) -> Result<(), LoadError> {
        for row in rows {
            row.fill(|field| {
                let (head, rest) = self.0.split_at_checked(bytes_of(field)).ok_or(LoadError::Length)?;
                let mut raw = [0u8; 4];
                raw[..head.len()].copy_from_slice(head);
                self.0 = rest;
                let value = u32::from_le_bytes(raw);
                let unused = 32 - 8 * head.len() as u32;
                Ok(if field.signed { ((value << unused) as i32 >> unused) as u32 } else { value })
            })?;
        }
        Ok(())
    }

    fn list<T: Fields, const N: usize>(&mut self, shape: Shape, list: &mut FixedList<T, N>) -> Result<(), LoadError> {
        let (count, rest) = self.0.split_first().ok_or(LoadError::Length)?;
        self.0 = rest;
        for _ in 0..*count {
            let mut row = [T::default()];
            self.rows(shape, &mut row)?;
            if !list.push(row[0]) {
                return Err(LoadError::List);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walk_and_fill_name_the_same_tables_in_the_same_order() {
        #[derive(Default)]
        struct Names(Vec<(&'static str, Shape)>);
        impl Walk for Names {
            fn table<T: Fields>(&mut self, shape: Shape, _: &[T]) {
                self.0.push((T::NAME, shape));
            }
        }
        impl Fill for Names {
            type Error = ();
            fn rows<T: Fields>(&mut self, shape: Shape, _: &mut [T]) -> Result<(), ()> {
                self.0.push((T::NAME, shape));
                Ok(())
            }
            fn list<T: Fields, const N: usize>(&mut self, shape: Shape, _: &mut FixedList<T, N>) -> Result<(), ()> {
                self.0.push((T::NAME, shape));
                Ok(())
            }
        }
        let (mut walked, mut filled) = (Names::default(), Names::default());
        let mut state = State::default();
        state.walk(2, &mut walked);
        state.fill(2, &mut filled).unwrap();
        assert_eq!(walked.0, filled.0);
        assert_eq!(walked.0.len(), 9);
    }

    #[test]
    fn lists_hide_nothing_but_mines() {
        struct Hidden;
        impl Walk for Hidden {
            fn table<T: Fields>(&mut self, shape: Shape, _: &[T]) {
                let open = T::TABLE.iter().all(|field| field.visible == Visible::Everyone);
                assert!(open || !matches!(shape, Shape::List | Shape::ByEvent), "{}", T::NAME);
            }
        }
        State::default().walk(2, &mut Hidden);
    }
}
