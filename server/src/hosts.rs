//! The border between the service and the hosts: what the one may ask, what the other hands back.
//!
//! In: orders for matches, claims for seats. Out: tickets; and, the other way, records of finished matches.
//! *Invariant:* `api` knows this trait and never `host`; `host` knows [`Results`] and never a database.
//! In role `all` both are calls in one process; between processes they become HTTP.
//! Start reading at [`Hosts`].

use std::any::Any;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use astro_shared::sim::rules::Ruleset;
use astro_shared::sim::units::{MatchId, Seat};
use astro_shared::wire::websocket::TICKET_BYTES;
use serde::{Deserialize, Serialize};

/// What a call across the border answers with, later.
pub type Answer<'a, T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// A host of matches, wherever it runs.
pub trait Hosts: Send + Sync {
    /// Opens a match and keeps its seats free for claims.
    fn allocate(&self, order: MatchOrder) -> Answer<'_, (), HostError>;
    /// Reserves or gives back a seat, and mints the right to take it once. `hold` lives until that right was used
    /// or is over.
    fn ticket(&self, match_id: MatchId, claim: Claim, hold: Hold) -> Answer<'_, Ticket, HostError>;
    /// Reserves a place among a running match's spectators, and mints the right to take it once; `hold` likewise.
    fn watch(&self, match_id: MatchId, hold: Hold) -> Answer<'_, WatchTicket, HostError>;
    /// Ends a match without a result; players are told `reason`.
    fn void(&self, match_id: MatchId, reason: String) -> Answer<'_, (), HostError>;
    /// Takes no more matches and answers when none is left or `grace` is over (what is left is then void).
    fn drain(&self, grace: Duration) -> Answer<'_, (), HostError>;
    /// How the shards are, for operators. Costs no tick anything.
    fn shards(&self) -> Answer<'_, Vec<ShardReport>, HostError>;
    /// Running matches for operators, the oldest of each shard, at most `limit` a shard.
    fn running(&self, limit: usize) -> Answer<'_, Vec<MatchReport>, HostError>;
}

/// Why matches are void when the server is told to stop and they do not end in time.
pub const VOID_SHUTDOWN: &str = "server shutdown";
/// Why matches are void whose shard panicked.
pub const VOID_FAULT: &str = "server fault";

/// Where finished matches go. Idempotent: the match id is the key.
pub trait Results: Send + Sync {
    /// Stores records; an answer of `Ok` means all of them are durable.
    fn deliver(&self, records: Vec<MatchRecord>) -> Answer<'_, (), ResultsError>;
}

/// A match to open.
#[derive(Clone, Debug)]
pub struct MatchOrder {
    pub match_id: MatchId,
    /// 2 to 8.
    pub seats: u8,
    pub ruleset: Arc<Ruleset>,
    /// How long seats stay open after the first claim before pilots take the rest.
    pub fill_after: Duration,
    /// Flown by pilots only, not recorded, opened again when over.
    pub demo: bool,
    /// How long after it was spectators are shown anything; at most two minutes.
    pub spectate_delay: Duration,
    /// Whether strangers may find it among the running matches. Who knows its id may watch it either way.
    pub listed: bool,
    /// Lives as long as nobody has come to play it.
    pub unclaimed: Hold,
}

/// By what right somebody wants a seat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// A new player. The name has passed [`astro_shared::api::check_name`].
    Join { name: String },
    /// A player who already had the seat that this secret belongs to.
    Return { secret: SeatSecret },
}

/// Whatever the service wants to live exactly as long as a ticket, or a match, is unused: it counts by its end. A host drops its
/// copies, wherever it is and whatever happens to it.
#[derive(Clone, Default)]
pub struct Hold(#[expect(dead_code, reason = "only its end matters")] Option<Arc<dyn Any + Send + Sync>>);

impl Hold {
    pub fn new(held: impl Any + Send + Sync) -> Hold {
        Hold(Some(Arc::new(held)))
    }
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hold(..)")
    }
}

/// 256 random bits that give a seat back to whoever had it. Kept hashed on the host; dies with the match.
#[derive(Clone, PartialEq, Eq)]
pub struct SeatSecret(pub [u8; 32]);

impl std::fmt::Debug for SeatSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SeatSecret(..)")
    }
}

/// The right to take one seat once, within 15 s, over whichever transport comes first.
#[derive(Clone, Debug)]
pub struct Ticket {
    pub seat: Seat,
    pub secret: SeatSecret,
    pub access: Access,
    /// Seats of the match that are still free after this one.
    pub seats_free: u8,
}

/// What a ticket is shown by.
#[derive(Clone, Debug)]
pub struct Access {
    /// A netcode 1.02 connect token, 1,172 bytes or a little more.
    pub connect_token: Vec<u8>,
    /// Where the token leads; also inside the token.
    pub udp: SocketAddr,
    /// For the first frame of a WebSocket, instead of the connect token.
    pub websocket_ticket: [u8; TICKET_BYTES],
}

/// The right to watch a match, once, within 15 s.
#[derive(Clone, Debug)]
pub struct WatchTicket {
    pub access: Access,
    /// How long after it was anything is shown.
    pub delay: Duration,
}

/// How a shard is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardReport {
    pub shard: usize,
    /// It has not begun a tick for a second.
    pub stuck: bool,
    pub matches: MatchesByState,
    /// Seats of all matches, taken or not.
    pub seats: u64,
    /// Seats held by people.
    pub players: usize,
    /// Players' and spectators' connections.
    pub links: usize,
    /// Mean CPU time of a tick over the last ten seconds or so.
    pub tick_mean_us: u64,
}

/// Matches of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatchesByState {
    pub filling: u32,
    pub playing: u32,
    pub finishing: u32,
    pub demo: u32,
}

/// How a match is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatchReport {
    pub match_id: MatchId,
    pub shard: usize,
    /// `filling`, `playing`, `finishing` or `demo`.
    pub state: String,
    pub mode: String,
    pub rules: String,
    pub seats: u8,
    /// Seats held by people.
    pub players: u8,
    /// Players' connections; fewer than players while one is away.
    pub links: u8,
    pub tick: u32,
    pub round: u8,
    /// Since it was opened.
    pub age_s: u64,
}

/// Why a host refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    #[error("every shard is full")]
    Full,
    #[error("no such match is running")]
    NoSuchMatch,
    #[error("the match has no free seat or has already begun")]
    NoFreeSeat,
    #[error("the match has as many spectators as it may")]
    SpectatorsFull,
    #[error("the seat secret is wrong, or the seat was given up")]
    SeatLost,
    #[error("the server is shutting down")]
    Draining,
    #[error("results cannot be written to disk, so no match may begin")]
    Unwritable,
    #[error("the shard did not answer in time")]
    Unresponsive,
}

/// The service could not store results; the spool keeps them and tries again.
#[derive(Clone, Debug, thiserror::Error)]
#[error("results not stored: {0}")]
pub struct ResultsError(pub String);

/// Everything about a finished match, as it lies in the spool and goes to the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MatchRecord {
    pub match_id: MatchId,
    pub mode: String,
    pub rules: String,
    pub rules_hash: u64,
    pub arena: String,
    /// Unix time in milliseconds of the first countdown and of the end.
    pub started_ms: u64,
    pub ended_ms: u64,
    /// Length of the match in ticks, waiting included.
    pub ticks: u32,
    pub rounds: u8,
    /// `None`: equal standings at the top, or no result at all.
    pub winner: Option<u8>,
    /// Why the match ended without a result; then nobody has a placement, and there is no replay.
    /// Absent in records of matches with one, which are as they were before there was this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub void: Option<String>,
    pub seats: Vec<SeatRecord>,
    /// The replay file, byte for byte. Empty when there is none.
    pub replay: Vec<u8>,
}

/// One seat's line in a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeatRecord {
    pub name: String,
    /// A pilot from the first countdown on.
    pub pilot: bool,
    /// The player was gone at the end.
    pub left: bool,
    /// `None` in a match that ended without a result.
    pub placement: Option<u8>,
    pub rounds_won: u8,
    pub kills: u16,
    pub deaths: u16,
    pub assists: u8,
    pub shots: u16,
    pub hits: u16,
    pub survival_ticks: u32,
    pub streak_longest: u8,
}
