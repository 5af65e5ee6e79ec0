//! The directory of role `all`: a map in this process.
//!
//! In and out: as [`super::Directory`].
//! *Invariant:* the lock is held for one map operation, never across anything that waits.
//! Its size is bounded by the matches that the shards admit.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use astro_shared::sim::units::MatchId;

use super::MatchCard;

/// See [`super::Directory::Memory`].
#[derive(Debug, Default)]
pub struct MemoryDirectory {
    entries: Mutex<HashMap<MatchId, Entry>>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    shard: usize,
    card: Option<MatchCard>,
}

impl MemoryDirectory {
    pub(super) fn insert(&self, match_id: MatchId, shard: usize) {
        self.lock().insert(match_id, Entry { shard, card: None });
    }

    pub(super) fn shard_of(&self, match_id: MatchId) -> Option<usize> {
        self.lock().get(&match_id).map(|entry| entry.shard)
    }

    pub(super) fn pin(&self, match_id: MatchId, card: MatchCard) {
        if let Some(entry) = self.lock().get_mut(&match_id) {
            entry.card = Some(card);
        }
    }

    pub(super) fn card(&self, match_id: MatchId) -> Option<MatchCard> {
        self.lock().get(&match_id)?.card
    }

    pub(super) fn remove(&self, match_id: MatchId) {
        self.lock().remove(&match_id);
    }

    /// A panic elsewhere cannot leave a single map operation half done, so a poisoned lock is still sound.
    fn lock(&self) -> MutexGuard<'_, HashMap<MatchId, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_pinned_only_while_the_match_runs() {
        let directory = MemoryDirectory::default();
        let (id, card) = (MatchId(7), MatchCard { seats: 4, rules_hash: 9 });
        directory.pin(id, card);
        assert_eq!((directory.shard_of(id), directory.card(id)), (None, None));
        directory.insert(id, 3);
        assert_eq!((directory.shard_of(id), directory.card(id)), (Some(3), None));
        directory.pin(id, card);
        assert_eq!(directory.card(id), Some(card));
        directory.remove(id);
        directory.pin(id, card);
        assert_eq!((directory.shard_of(id), directory.card(id)), (None, None));
    }
}
