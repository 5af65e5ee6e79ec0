//! Who flies each seat of a match: players with their queued inputs, pilots, and what happens when a player falls silent.
//!
//! In: claims, inputs by tick, signs of life. Out: one input per seat and tick; seats given up.
//! *Invariant:* a seat changes hands only here, and every change marks the roster for sending.
//! *Invariant:* an input queue is 64 ticks, whatever a client sends.
//! Start reading at [`SeatCrew::next_input`] and [`SeatCrew::presence`].

use std::time::Duration;

use astro_shared::sim::input::Input;
use astro_shared::sim::units::{Seat, Tick};
use astro_shared::wire::input::InputDatagram;
use astro_shared::wire::message::{RosterSeat, ToClient};
use astro_shared::wire::websocket::TICKET_TTL_S;
use bevy_ecs::prelude::*;
use sha2::{Digest, Sha256};

use super::link::SeatLink;
use crate::hosts::SeatSecret;

/// Ticks without a new input during which the last one is repeated; then the ship coasts.
pub const REPEAT_INPUT_TICKS: u32 = 6;
/// Silence after which a pilot flies.
pub const PILOT_AFTER: Duration = Duration::from_millis(1500);
/// Silence after which the link is closed; the seat stays.
pub const CLOSE_LINK_AFTER: Duration = Duration::from_secs(5);
/// Silence after which the seat is given up for good.
pub const GIVE_UP_AFTER: Duration = Duration::from_secs(30);
/// How long a seat is kept for a ticket that nobody has used yet. Also the life of the ticket.
pub const CLAIM_TTL: Duration = Duration::from_secs(TICKET_TTL_S);
/// Inputs further ahead than this are refused: no clock runs that fast.
pub const AHEAD_TICKS_MAX: u32 = 32;
const QUEUE_TICKS: usize = 64;

const _: () = assert!(AHEAD_TICKS_MAX < QUEUE_TICKS as u32, "an accepted input never overwrites an unused one");

/// All seats of one match.
#[derive(Component, Debug)]
pub struct Crew {
    pub seats: Vec<SeatCrew>,
    /// The roster must be sent again.
    pub roster_changed: bool,
}

/// Who a seat belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occupant {
    Free,
    /// A player, connected or not.
    Player,
    Pilot,
}

/// One seat.
#[derive(Debug)]
pub struct SeatCrew {
    pub occupant: Occupant,
    pub name: String,
    secret_sha256: Option<[u8; 32]>,
    /// The one live link; never two.
    pub link: Option<SeatLink>,
    pub queue: InputQueue,
    last_input: Input,
    missing_ticks: u32,
    pub pilot_input: Input,
    /// Newest snapshot that any link of this player acknowledged; `None` before the first link.
    pub seen: Option<Tick>,
    /// When anything last came from the player; the time of the claim before that.
    pub heard: Duration,
    /// Whether a pilot flew the newest tick.
    pub piloted: bool,
    /// The player gave the seat up or lost it.
    pub left: bool,
    /// Name and piloted, as last written to the record.
    pub recorded: Option<(String, bool)>,
}

/// A player's claim to a seat, as a ticket carries it: the hash of the seat's secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner([u8; 32]);

/// What silence asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Here,
    /// The link must be closed.
    CloseLink,
    /// The seat was given up just now; its link, if any, must be closed.
    GivenUp,
}

impl Crew {
    pub fn new(seats: u8) -> Crew {
        Crew { seats: (0..seats).map(|_| SeatCrew::free()).collect(), roster_changed: false }
    }

    /// What everyone may know of who flies.
    pub fn roster(&self) -> ToClient {
        let seat = |seat: &SeatCrew| RosterSeat { name: seat.name.clone(), pilot: seat.occupant == Occupant::Pilot };
        ToClient::Roster { seats: self.seats.iter().map(seat).collect() }
    }

    pub fn seat_mut(&mut self, seat: Seat) -> Option<&mut SeatCrew> {
        self.seats.get_mut(seat.index())
    }

    pub fn free_seats(&self) -> u8 {
        self.seats.iter().filter(|seat| seat.occupant == Occupant::Free).count() as u8
    }

    pub fn players(&self) -> usize {
        self.seats.iter().filter(|seat| seat.occupant == Occupant::Player).count()
    }

    /// Gives the first free seat to a new player.
    pub fn join(&mut self, name: &str, secret: &SeatSecret, now: Duration) -> Option<Seat> {
        let index = self.seats.iter().position(|seat| seat.occupant == Occupant::Free)?;
        self.seats[index] = SeatCrew {
            occupant: Occupant::Player,
            name: name.into(),
            secret_sha256: Some(digest(secret)),
            heard: now,
            ..SeatCrew::free()
        };
        self.roster_changed = true;
        Some(Seat(index as u8))
    }

    /// The seat that a secret belongs to, while it is still the player's.
    pub fn seat_of(&self, secret: &SeatSecret) -> Option<Seat> {
        let wanted = Some(digest(secret));
        let index = self.seats.iter().position(|seat| seat.secret_sha256 == wanted)?;
        Some(Seat(index as u8))
    }

    /// Puts pilots on every free seat.
    pub fn fill_with_pilots(&mut self) {
        for (index, seat) in self.seats.iter_mut().enumerate() {
            if seat.occupant == Occupant::Free {
                *seat =
                    SeatCrew { occupant: Occupant::Pilot, name: format!("Pilot {}", index + 1), ..SeatCrew::free() };
                self.roster_changed = true;
            }
        }
    }
}

impl SeatCrew {
    fn free() -> SeatCrew {
        SeatCrew {
            occupant: Occupant::Free,
            name: String::new(),
            secret_sha256: None,
            link: None,
            queue: InputQueue::default(),
            last_input: Input::NEUTRAL,
            missing_ticks: 0,
            pilot_input: Input::NEUTRAL,
            seen: None,
            heard: Duration::ZERO,
            piloted: false,
            left: false,
            recorded: None,
        }
    }

    /// The player's input for `tick`, or `None` when a pilot must fly.
    ///
    /// Nothing arrived for this tick: the last input goes on for a moment, then the ship coasts.
    pub fn next_input(&mut self, tick: Tick, now: Duration) -> Option<Input> {
        self.piloted = self.occupant != Occupant::Player || now.saturating_sub(self.heard) >= PILOT_AFTER;
        let arrived = self.queue.take(tick);
        if self.piloted {
            return None;
        }
        match arrived {
            Some(input) => {
                self.missing_ticks = 0;
                self.last_input = input;
            }
            None => self.missing_ticks += 1,
        }
        Some(if self.missing_ticks <= REPEAT_INPUT_TICKS { self.last_input } else { Input::NEUTRAL })
    }

    /// What the silence of this seat's player asks for now. `filling`: the match has not begun.
    pub fn presence(&mut self, now: Duration, filling: bool) -> Presence {
        if self.occupant != Occupant::Player {
            return Presence::Here;
        }
        let silent = now.saturating_sub(self.heard);
        if filling && self.link.is_none() && silent >= CLAIM_TTL {
            *self = SeatCrew::free();
            return Presence::GivenUp;
        }
        if silent >= GIVE_UP_AFTER {
            self.give_up(filling);
            return Presence::GivenUp;
        }
        if silent >= CLOSE_LINK_AFTER && self.link.is_some() { Presence::CloseLink } else { Presence::Here }
    }

    /// The player will not come back: before the start the seat is free again, later a pilot keeps it.
    pub fn give_up(&mut self, filling: bool) {
        if filling {
            *self = SeatCrew::free();
        } else {
            self.occupant = Occupant::Pilot;
            self.secret_sha256 = None;
            self.left = true;
        }
    }

    /// Whether `owner` is still who the seat belongs to. A ticket is worth nothing after its player left.
    pub fn belongs_to(&self, owner: &Owner) -> bool {
        self.occupant == Occupant::Player && self.secret_sha256 == Some(owner.0)
    }

    /// Who the seat belongs to now; `None` when it is free or a pilot's.
    pub fn owner(&self) -> Option<Owner> {
        self.secret_sha256.map(Owner)
    }

    /// Takes over a new link; the caller ends the old one that is returned. A player who comes back has missed what
    /// happened since the newest snapshot acknowledged.
    pub fn attach(&mut self, mut link: SeatLink, now: Duration) -> Option<SeatLink> {
        link.missed_since = self.seen;
        self.seen.get_or_insert(Tick(0));
        self.heard = now;
        self.queue = InputQueue::default();
        self.missing_ticks = 0;
        self.last_input = Input::NEUTRAL;
        self.link.replace(link)
    }
}

/// Only the hash of a secret is kept, so that a memory dump gives no seats away.
fn digest(secret: &SeatSecret) -> [u8; 32] {
    Sha256::digest(secret.0).into()
}

/// Inputs that have arrived but not been played, by tick.
#[derive(Debug)]
pub struct InputQueue {
    slots: [(Tick, Input); QUEUE_TICKS],
    newest: Tick,
    /// Smallest margin since it was last asked for.
    margin_ticks_min: Option<i32>,
}

impl Default for InputQueue {
    fn default() -> Self {
        InputQueue { slots: [(Tick(0), Input::NEUTRAL); QUEUE_TICKS], newest: Tick(0), margin_ticks_min: None }
    }
}

impl InputQueue {
    /// Takes in a datagram at the time when `next` is the tick to be played next. Returns how many inputs were refused
    /// as too far ahead; late ones and repetitions are normal.
    pub fn accept(&mut self, datagram: &InputDatagram, next: Tick) -> u32 {
        let mut refused = 0;
        for (tick, input) in datagram.inputs().filter(|(tick, _)| *tick >= next) {
            if tick.since(next) > AHEAD_TICKS_MAX {
                refused += 1;
                continue;
            }
            self.slots[tick.0 as usize % QUEUE_TICKS] = (tick, input);
            self.newest = self.newest.max(tick);
        }
        // A clock that has run away is not steered but started again: its client notices that no margin comes any more.
        if refused == 0 {
            let margin = (i64::from(datagram.newest.0) - i64::from(next.0)).clamp(-127, 127) as i32;
            self.margin_ticks_min = Some(self.margin_ticks_min.map_or(margin, |least| least.min(margin)));
        }
        refused
    }

    /// The input for `tick`, if it has arrived.
    fn take(&mut self, tick: Tick) -> Option<Input> {
        let (held, input) = self.slots[tick.0 as usize % QUEUE_TICKS];
        (held == tick && tick != Tick(0)).then_some(input)
    }

    /// Newest tick for which an input arrived in time.
    pub fn newest(&self) -> Tick {
        self.newest
    }

    /// Smallest margin since the last call, in ticks; -128 when nothing arrived.
    pub fn take_margin(&mut self) -> i8 {
        self.margin_ticks_min.take().map_or(-128, |margin| margin as i8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: SeatSecret = SeatSecret([7; 32]);

    fn player() -> (Crew, Duration) {
        let mut crew = Crew::new(2);
        crew.join("Ada", &SECRET, Duration::ZERO);
        (crew, Duration::ZERO)
    }

    fn datagram(newest: u32, inputs: &[Input]) -> InputDatagram {
        InputDatagram::new(Tick(0), Tick(newest), inputs)
    }

    #[test]
    fn silence_coasts_after_six_ticks_then_a_pilot_flies_then_the_link_goes_then_the_seat() {
        let (mut crew, _) = player();
        let seat = &mut crew.seats[0];
        let turn = Input::new(9, true, false);
        seat.queue.accept(&datagram(1, &[turn]), Tick(1));
        let at = |tick: u32| Duration::from_nanos(16_666_667) * tick;
        for tick in 1..=7 {
            assert_eq!(seat.next_input(Tick(tick), at(tick)), Some(turn), "tick {tick} repeats");
        }
        assert_eq!(seat.next_input(Tick(8), at(8)), Some(Input::NEUTRAL));
        assert_eq!(seat.next_input(Tick(89), at(89)), Some(Input::NEUTRAL));
        assert_eq!(seat.next_input(Tick(91), at(91)), None, "a pilot flies");
        seat.link = Some(SeatLink::new(crate::transport::LinkId(1), 0));
        assert_eq!(seat.presence(Duration::from_millis(4999), false), Presence::Here);
        assert_eq!(seat.presence(Duration::from_millis(5000), false), Presence::CloseLink);
        seat.link = None;
        assert_eq!(seat.presence(Duration::from_millis(29_999), false), Presence::Here);
        assert_eq!(crew.seat_of(&SECRET), Some(Seat(0)));
        assert_eq!(crew.seats[0].presence(Duration::from_millis(30_000), false), Presence::GivenUp);
        assert_eq!(crew.seat_of(&SECRET), None);
        assert_eq!((crew.seats[0].occupant, crew.seats[0].left), (Occupant::Pilot, true));
    }

    #[test]
    fn a_claim_nobody_uses_frees_the_seat_before_the_start() {
        let (mut crew, _) = player();
        assert_eq!(crew.free_seats(), 1);
        assert_eq!(crew.seats[0].presence(Duration::from_millis(14_999), true), Presence::Here);
        assert_eq!(crew.seats[0].presence(Duration::from_secs(15), true), Presence::GivenUp);
        assert_eq!(crew.free_seats(), 2);
    }

    #[test]
    fn inputs_too_far_ahead_or_too_late_change_nothing() {
        let mut queue = InputQueue::default();
        let fire = Input::new(0, false, true);
        assert_eq!(queue.accept(&datagram(100 + 33, &[fire]), Tick(100)), 1);
        assert_eq!(queue.accept(&datagram(u32::MAX, &[fire]), Tick(100)), 1);
        assert_eq!((queue.newest(), queue.take_margin()), (Tick(0), -128));
        assert_eq!(queue.accept(&datagram(99, &[fire]), Tick(100)), 0);
        assert_eq!(queue.take(Tick(99)), None);
        assert_eq!((queue.newest(), queue.take_margin()), (Tick(0), -1));
        assert_eq!(queue.accept(&datagram(132, &[fire]), Tick(100)), 0);
        assert_eq!((queue.take(Tick(132)), queue.take(Tick(132 - 64))), (Some(fire), None));
    }

    #[test]
    fn a_secret_finds_its_own_seat_only() {
        let (mut crew, now) = player();
        let other = SeatSecret([8; 32]);
        assert_eq!(crew.seat_of(&other), None);
        crew.join("Grace", &other, now);
        assert_eq!((crew.seat_of(&SECRET), crew.seat_of(&other)), (Some(Seat(0)), Some(Seat(1))));
        assert_eq!(crew.join("Third", &SeatSecret([9; 32]), now), None);
    }
}
