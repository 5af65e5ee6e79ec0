//! What a session tells its owner: where it is, what happened, how it ended.
//!
//! In: what the server said. Out: plain values, and names for reports.
//! Start reading at [`SessionEvent`].

use astro_shared::sim::units::{MatchId, Tick};
use astro_shared::wire::message::{CloseReason, MissedEvent, Place, ResultSeat};
use astro_shared::wire::websocket;

#[cfg(doc)]
use super::Session;

/// Where the session is, as the server said first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    pub match_id: MatchId,
    pub place: Place,
    pub seats: u8,
    pub rules_hash: u64,
}

/// What happened in the match while this player was away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissedEvents {
    /// The listed events are those after `since` and up to `through`; later ones come with the snapshots.
    pub since: Tick,
    pub through: Tick,
    /// Oldest first.
    pub events: Vec<MissedEvent>,
    /// Whether these are all there were.
    pub complete: bool,
}

/// How the match ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchResult {
    /// Seat of the winner; `None` when the top places are equal.
    pub winner: Option<u8>,
    /// In seat order.
    pub seats: Vec<ResultSeat>,
}

/// Something the owner may want to react to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    Connected,
    Welcomed(Welcome),
    /// See [`Session::roster`].
    RosterChanged,
    /// After coming back: see [`Session::missed`].
    Missed,
    /// The match is over and its record safe: see [`Session::result`].
    Result,
    /// The server is going down: see [`Session::shutdown_at`].
    ShuttingDown,
    /// The last event.
    Closed {
        reason: Ended,
    },
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ended {
    /// The server said so, and why.
    Server(CloseReason),
    /// We left.
    Left,
    /// Nothing genuine came for five seconds.
    Silent,
    /// The same, before there was a connection.
    NoAnswer,
    /// The server refused the connection.
    Denied,
    TicketExpired,
    /// The server ended the connection without a word.
    Dropped,
    /// The server's rules are not those that the session was started with.
    WrongRules,
    /// The server sent control messages that no server sends.
    Misbehaved,
}

impl Ended {
    /// What a WebSocket's close code says. Most follow a message that said the same.
    pub fn from_close_code(code: u16) -> Ended {
        match code {
            websocket::CLOSE_NO_HELLO => Ended::Denied,
            websocket::CLOSE_TICKET => Ended::TicketExpired,
            websocket::CLOSE_MATCH_OVER => Ended::Server(CloseReason::MatchOver),
            websocket::CLOSE_OUTDATED => Ended::Server(CloseReason::Outdated),
            websocket::CLOSE_REPLACED => Ended::Server(CloseReason::Replaced),
            websocket::CLOSE_SILENT => Ended::Server(CloseReason::Silent),
            websocket::CLOSE_MISBEHAVED => Ended::Server(CloseReason::Misbehaved),
            websocket::CLOSE_VOIDED => Ended::Server(CloseReason::Voided),
            websocket::CLOSE_TOO_SLOW => Ended::Server(CloseReason::TooSlow),
            websocket::CLOSE_SHUTTING_DOWN => Ended::Server(CloseReason::ShuttingDown),
            websocket::CLOSE_LEFT => Ended::Left,
            _ => Ended::Dropped,
        }
    }

    /// For reports and logs.
    pub fn name(self) -> &'static str {
        match self {
            Ended::Server(reason) => reason.name(),
            Ended::Left => "left",
            Ended::Silent => "server_silent",
            Ended::NoAnswer => "no_answer",
            Ended::Denied => "denied",
            Ended::TicketExpired => "ticket_expired",
            Ended::Dropped => "dropped",
            Ended::WrongRules => "wrong_rules",
            Ended::Misbehaved => "server_misbehaved",
        }
    }
}
