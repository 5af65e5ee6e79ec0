//! Who hosts what: match id → shard and card, and the list of matches that strangers may watch.
//!
//! In: the host tells of matches opened, begun, changed and ended. Out: lookups, the list.
//! *Invariant:* holds running matches only; what is finished is in the store.
//! *Invariant:* a match stands in the list only while it is in the directory, and only if its card allows that.
//! *Invariant:* no order of calls leaves an entry behind once [`Directory::remove`] was called.
//! Start reading at [`Directory`].

mod memory;

use std::sync::Arc;

use astro_shared::sim::units::MatchId;

use crate::hosts::MatchOrder;
use memory::MemoryDirectory;

/// The directory, wherever it is kept. Cheap to ask: a lock and a lookup, no waiting.
#[derive(Debug)]
pub enum Directory {
    /// In this process; forgets everything with it, as the matches do.
    Memory(MemoryDirectory),
}

/// What the service needs to know of a match while it runs. Never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchCard {
    pub seats: u8,
    pub mode: &'static str,
    pub rules: String,
    pub rules_hash: u64,
    pub demo: bool,
    /// Whether strangers may find it.
    pub listed: bool,
}

impl MatchCard {
    /// The card of a match to be opened.
    pub fn of(order: &MatchOrder) -> MatchCard {
        let MatchOrder { seats, demo, listed, ruleset, .. } = order;
        MatchCard {
            seats: *seats,
            mode: ruleset.mode.name(),
            rules: ruleset.name().into(),
            rules_hash: ruleset.hash(),
            demo: *demo,
            listed: *listed,
        }
    }
}

/// How a match stands that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Seats held by people.
    pub players: u8,
    pub spectators: u8,
    /// Unix time in milliseconds of the first countdown.
    pub started_ms: u64,
}

/// A match in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub match_id: MatchId,
    pub card: Arc<MatchCard>,
    pub standing: Standing,
}

impl Directory {
    /// An empty directory in this process.
    pub fn in_memory() -> Directory {
        Directory::Memory(MemoryDirectory::default())
    }

    /// A match has been opened on `shard`.
    pub fn insert(&self, match_id: MatchId, shard: usize, card: MatchCard) {
        match self {
            Directory::Memory(memory) => memory.insert(match_id, shard, card),
        }
    }

    /// The shard that runs the match; `None` when none does.
    pub fn shard_of(&self, match_id: MatchId) -> Option<usize> {
        match self {
            Directory::Memory(memory) => memory.shard_of(match_id),
        }
    }

    /// The card of a running match.
    pub fn card(&self, match_id: MatchId) -> Option<Arc<MatchCard>> {
        match self {
            Directory::Memory(memory) => memory.card(match_id),
        }
    }

    /// How a match stands; `None` takes it off the list. Ignored when it has just ended or is not to be listed.
    pub fn note(&self, match_id: MatchId, standing: Option<Standing>) {
        match self {
            Directory::Memory(memory) => memory.note(match_id, standing),
        }
    }

    /// Matches that strangers may watch, newest first, at most `limit`.
    pub fn running(&self, limit: usize) -> Vec<Listed> {
        match self {
            Directory::Memory(memory) => memory.running(limit),
        }
    }

    /// The match has ended.
    pub fn remove(&self, match_id: MatchId) {
        match self {
            Directory::Memory(memory) => memory.remove(match_id),
        }
    }
}
