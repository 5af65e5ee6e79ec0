//! Who hosts what: match id → shard, and the card of a match that the HTTP side needs while it runs.
//!
//! In: the host tells of matches opened and ended, the service pins a card to those it ordered. Out: lookups.
//! *Invariant:* holds running matches only; what is finished is in the store.
//! *Invariant:* no order of calls leaves an entry behind once [`Directory::remove`] was called.
//! Start reading at [`Directory`].

mod memory;

use astro_shared::sim::units::MatchId;

use memory::MemoryDirectory;

/// The directory, wherever it is kept. Cheap to ask: a lock and a hash lookup, no waiting.
#[derive(Debug)]
pub enum Directory {
    /// In this process; forgets everything with it, as the matches do.
    Memory(MemoryDirectory),
}

/// What a returning player's ticket repeats about a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatchCard {
    pub seats: u8,
    pub rules_hash: u64,
}

impl Directory {
    /// An empty directory in this process.
    pub fn in_memory() -> Directory {
        Directory::Memory(MemoryDirectory::default())
    }

    /// A match has been opened on `shard`.
    pub fn insert(&self, match_id: MatchId, shard: usize) {
        match self {
            Directory::Memory(memory) => memory.insert(match_id, shard),
        }
    }

    /// The shard that runs the match; `None` when none does.
    pub fn shard_of(&self, match_id: MatchId) -> Option<usize> {
        match self {
            Directory::Memory(memory) => memory.shard_of(match_id),
        }
    }

    /// Pins a card to a running match. Ignored when it has just ended.
    pub fn pin(&self, match_id: MatchId, card: MatchCard) {
        match self {
            Directory::Memory(memory) => memory.pin(match_id, card),
        }
    }

    /// The card of a running match that was ordered over HTTP.
    pub fn card(&self, match_id: MatchId) -> Option<MatchCard> {
        match self {
            Directory::Memory(memory) => memory.card(match_id),
        }
    }

    /// The match has ended.
    pub fn remove(&self, match_id: MatchId) {
        match self {
            Directory::Memory(memory) => memory.remove(match_id),
        }
    }
}
