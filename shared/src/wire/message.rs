//! Control messages: everything reliable, in two closed enums.
//!
//! In and out through [`ToServer::decode`] and [`ToClient::encode`] (and their opposites), by `codec`.
//! *Invariant:* no message from a client is longer than [`CLIENT_MESSAGE_BYTES_MAX`]; none at all is sliced.
//! Adding a message: its variant, and its sample below (a test counts both).

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{CLIENT_MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX, MISSED_EVENTS_MAX, WireError, codec, websocket};
use crate::sim::event::Event;
use crate::sim::units::{MatchId, SEATS_MAX, Seat, Tick};

/// From a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToServer {
    /// The client has the rules and understands the wire: hot datagrams may begin.
    Ready {
        fingerprint: u64,
        /// Snapshots a second: 15, 30 or 60; anything else counts as 30.
        snapshots_per_s: u8,
    },
    /// The player leaves for good; a pilot takes over, the seat is given up.
    Leave,
}

/// From the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToClient {
    /// First message on a connection: where one is.
    Welcome { match_id: MatchId, place: Place, seats: u8, rules_hash: u64 },
    /// Who flies which seat; sent again whenever that changes.
    Roster {
        #[serde(deserialize_with = "at_most::<_, _, SEATS_MAX>")]
        seats: Vec<RosterSeat>,
    },
    /// The match is over and its record is safe on disk.
    Result {
        winner: Option<u8>,
        #[serde(deserialize_with = "at_most::<_, _, SEATS_MAX>")]
        seats: Vec<ResultSeat>,
    },
    /// The connection ends, and why. Nothing follows.
    Closing { reason: CloseReason },
    /// A player has come back to the seat: what happened meanwhile. Sent once on the new connection, when its first
    /// snapshot has been acknowledged; what happens after `through_tick` comes with the snapshots.
    Missed {
        /// The newest snapshot that a former connection had acknowledged; 0 for none. Only later events are listed.
        since_tick: Tick,
        through_tick: Tick,
        /// Oldest first, the newest [`MISSED_EVENTS_MAX`].
        #[serde(deserialize_with = "at_most::<_, _, MISSED_EVENTS_MAX>")]
        events: Vec<MissedEvent>,
        /// Whether these are all: the server remembers only so many.
        complete: bool,
    },
    /// The server will be gone in so many seconds; matches that end before are stored as ever, others end without a result.
    ShuttingDown { seconds_left: u32 },
}

/// What a connection is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// The player of this seat.
    Seat(u8),
    /// Watches without a seat, and hears and sees everything this long after it was.
    Spectator { delay_ticks: u32 },
}

/// One seat as everyone may see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterSeat {
    /// Empty while the seat is free.
    pub name: String,
    pub pilot: bool,
}

/// One seat of a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultSeat {
    pub placement: u8,
    pub rounds_won: u8,
    pub kills: u16,
    pub deaths: u16,
    pub assists: u8,
    pub shots: u16,
    pub hits: u16,
    pub survival_ticks: u32,
    pub streak_longest: u8,
}

/// An event that a player who comes back is told of, and when it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissedEvent {
    pub tick: Tick,
    pub what: Missed,
}

/// The events that still matter when they are over: deaths, rounds and the end. See [`Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Missed {
    ShipDestroyed { victim: Seat, by: Option<Seat>, assists: u8 },
    RoundStarted { number: u8 },
    RoundWon { winner: Seat },
    RoundDrawn,
    MatchWon { winner: Option<Seat> },
}

impl Missed {
    /// `None` for events that nobody needs to be told of later.
    pub fn of(event: &Event) -> Option<Missed> {
        Some(match *event {
            Event::ShipDestroyed { victim, by, assists, .. } => Missed::ShipDestroyed { victim, by, assists },
            Event::RoundStarted { number } => Missed::RoundStarted { number },
            Event::RoundWon { winner } => Missed::RoundWon { winner },
            Event::RoundDrawn {} => Missed::RoundDrawn,
            Event::MatchWon { winner } => Missed::MatchWon { winner },
            _ => return None,
        })
    }

    /// Whether every seat in it is one that a match can have.
    pub fn is_possible(&self) -> bool {
        let seat = |seat: Seat| seat.index() < SEATS_MAX;
        match *self {
            Missed::ShipDestroyed { victim, by, .. } => seat(victim) && by.is_none_or(seat),
            Missed::RoundWon { winner } => seat(winner),
            Missed::MatchWon { winner } => winner.is_none_or(seat),
            Missed::RoundStarted { .. } | Missed::RoundDrawn => true,
        }
    }
}

/// Why the server ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CloseReason {
    /// The match is over; the result came before.
    MatchOver,
    /// Nothing was heard for five seconds.
    Silent,
    /// The same seat was taken by a newer connection.
    Replaced,
    /// The player left.
    Left,
    /// Client and server do not speak the same wire.
    Outdated,
    /// The client sent what no client sends.
    Misbehaved,
    /// The match was ended without a result.
    Voided,
    /// The server is shutting down.
    ShuttingDown,
    /// The connection does not carry what the client must get.
    TooSlow,
    /// The server made a mistake that cost it this match.
    ServerFault,
}

impl CloseReason {
    /// For reports and logs.
    pub fn name(self) -> &'static str {
        match self {
            CloseReason::MatchOver => "match_over",
            CloseReason::Silent => "silent",
            CloseReason::Replaced => "replaced",
            CloseReason::Left => "left",
            CloseReason::Outdated => "outdated",
            CloseReason::Misbehaved => "misbehaved",
            CloseReason::Voided => "voided",
            CloseReason::ShuttingDown => "shutting_down",
            CloseReason::TooSlow => "too_slow",
            CloseReason::ServerFault => "server_fault",
        }
    }

    /// The code that ends a WebSocket for this reason; [`websocket::CLOSE_CODES`] has them all.
    pub fn websocket_code(self) -> u16 {
        match self {
            CloseReason::MatchOver => websocket::CLOSE_MATCH_OVER,
            CloseReason::Silent => websocket::CLOSE_SILENT,
            CloseReason::Replaced => websocket::CLOSE_REPLACED,
            CloseReason::Left => websocket::CLOSE_LEFT,
            CloseReason::Outdated => websocket::CLOSE_OUTDATED,
            CloseReason::Misbehaved => websocket::CLOSE_MISBEHAVED,
            CloseReason::Voided | CloseReason::ServerFault => websocket::CLOSE_VOIDED,
            CloseReason::ShuttingDown => websocket::CLOSE_SHUTTING_DOWN,
            CloseReason::TooSlow => websocket::CLOSE_TOO_SLOW,
        }
    }
}

/// A list of at most `MAX`. Not serde's own: that one makes room for as many as a length prefix claims, up to
/// a mebibyte, before it reads the first.
fn at_most<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct AtMost<T, const MAX: usize>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for AtMost<T, MAX> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {MAX} entries")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut entries = Vec::new();
            while let Some(entry) = list.next_element()? {
                if entries.len() == MAX {
                    return Err(A::Error::invalid_length(MAX + 1, &self));
                }
                entries.push(entry);
            }
            Ok(entries)
        }
    }
    deserializer.deserialize_seq(AtMost::<T, MAX>(PhantomData))
}

impl ToServer {
    /// # Errors
    /// None in practice: the variants are bounded below the limit.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        codec::encode::<CLIENT_MESSAGE_BYTES_MAX>(self)
    }

    /// # Errors
    /// What is wrong with the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        codec::decode::<_, CLIENT_MESSAGE_BYTES_MAX>(bytes)
    }
}

impl ToClient {
    /// # Errors
    /// [`WireError::TooLong`] when the names in a roster were not checked before.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        codec::encode::<MESSAGE_BYTES_MAX>(self)
    }

    /// # Errors
    /// What is wrong with the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        codec::decode::<_, MESSAGE_BYTES_MAX>(bytes)
    }
}

/// One of each message, encoded: the fingerprint hashes them, the golden test compares them.
pub fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let roster =
        vec![RosterSeat { name: "Ada".into(), pilot: false }, RosterSeat { name: "Pilot 2".into(), pilot: true }];
    let result = ResultSeat {
        placement: 1,
        rounds_won: 5,
        kills: 9,
        deaths: 3,
        assists: 2,
        shots: 300,
        hits: 21,
        survival_ticks: 70_000,
        streak_longest: 4,
    };
    let welcome = |place| ToClient::Welcome { match_id: MatchId(7), place, seats: 4, rules_hash: 9 };
    let missed = [
        Missed::RoundStarted { number: 2 },
        Missed::ShipDestroyed { victim: Seat(1), by: Some(Seat(0)), assists: 4 },
        Missed::RoundWon { winner: Seat(3) },
        Missed::RoundDrawn,
        Missed::MatchWon { winner: Some(Seat(2)) },
    ];
    let missed = missed.map(|what| MissedEvent { tick: Tick(300), what }).to_vec();
    let to_server = [
        ("ToServer::Ready", ToServer::Ready { fingerprint: 0x0123_4567_89ab_cdef, snapshots_per_s: 30 }),
        ("ToServer::Leave", ToServer::Leave),
    ];
    let to_client = [
        ("ToClient::Welcome", welcome(Place::Seat(3))),
        ("ToClient::Welcome spectator", welcome(Place::Spectator { delay_ticks: 600 })),
        ("ToClient::Roster", ToClient::Roster { seats: roster }),
        ("ToClient::Result", ToClient::Result { winner: Some(1), seats: vec![result] }),
        ("ToClient::Closing", ToClient::Closing { reason: CloseReason::ShuttingDown }),
        (
            "ToClient::Missed",
            ToClient::Missed { since_tick: Tick(90), through_tick: Tick(400), events: missed, complete: true },
        ),
        ("ToClient::ShuttingDown", ToClient::ShuttingDown { seconds_left: 300 }),
    ];
    let up = to_server.into_iter().filter_map(|(name, message)| Some((name, message.encode().ok()?)));
    let down = to_client.into_iter().filter_map(|(name, message)| Some((name, message.encode().ok()?)));
    up.chain(down).collect()
}
