//! The directory of role `all`: maps in this process.
//!
//! In and out: as [`super::Directory`].
//! *Invariant:* the lock is held for one operation, never across anything that waits, and never while all matches are
//! walked through: a shard's tick may want it.
//! Its size is bounded by the matches that the shards admit.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use astro_shared::sim::units::MatchId;

use super::{Listed, MatchCard, Standing};

/// See [`super::Directory::Memory`].
#[derive(Debug, Default)]
pub struct MemoryDirectory {
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    by_id: HashMap<MatchId, Entry>,
    /// Ids begin with the time of their making, so the last is the newest.
    listed: BTreeMap<MatchId, Listed>,
}

#[derive(Debug)]
struct Entry {
    shard: usize,
    card: Arc<MatchCard>,
}

impl MemoryDirectory {
    pub(super) fn insert(&self, match_id: MatchId, shard: usize, card: MatchCard) {
        self.lock().by_id.insert(match_id, Entry { shard, card: Arc::new(card) });
    }

    pub(super) fn shard_of(&self, match_id: MatchId) -> Option<usize> {
        self.lock().by_id.get(&match_id).map(|entry| entry.shard)
    }

    pub(super) fn card(&self, match_id: MatchId) -> Option<Arc<MatchCard>> {
        self.lock().by_id.get(&match_id).map(|entry| Arc::clone(&entry.card))
    }

    pub(super) fn note(&self, match_id: MatchId, standing: Option<Standing>) {
        let entries = &mut *self.lock();
        match (standing, entries.by_id.get(&match_id)) {
            (Some(standing), Some(entry)) if entry.card.listed => {
                let card = Arc::clone(&entry.card);
                entries.listed.insert(match_id, Listed { match_id, card, standing });
            }
            _ => _ = entries.listed.remove(&match_id),
        }
    }

    pub(super) fn running(&self, limit: usize) -> Vec<Listed> {
        self.lock().listed.values().rev().take(limit).cloned().collect()
    }

    pub(super) fn remove(&self, match_id: MatchId) {
        let mut entries = self.lock();
        entries.by_id.remove(&match_id);
        entries.listed.remove(&match_id);
    }

    /// What a panic could leave half done here is an entry in one map and not in the other, which both bear.
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(listed: bool) -> MatchCard {
        MatchCard { seats: 4, mode: "last_ship", rules: "sprint".into(), rules_hash: 9, demo: false, listed }
    }

    fn standing(players: u8) -> Option<Standing> {
        Some(Standing { players, spectators: 0, started_ms: 5 })
    }

    #[test]
    fn a_match_is_known_with_its_card_only_while_it_runs() {
        let directory = MemoryDirectory::default();
        let id = MatchId(7);
        assert_eq!((directory.shard_of(id), directory.card(id)), (None, None));
        directory.insert(id, 3, card(true));
        assert_eq!(directory.shard_of(id), Some(3));
        assert_eq!(directory.card(id).as_deref(), Some(&card(true)));
        directory.remove(id);
        assert_eq!((directory.shard_of(id), directory.card(id)), (None, None));
    }

    #[test]
    fn the_list_has_begun_matches_newest_first_and_no_private_ones() {
        let directory = MemoryDirectory::default();
        for (id, listed) in [(1, true), (2, false), (3, true), (4, true)] {
            directory.insert(MatchId(id), 0, card(listed));
        }
        assert_eq!(directory.running(10), []);
        for id in [3, 1, 2] {
            directory.note(MatchId(id), standing(1));
        }
        directory.note(MatchId(1), standing(2));
        let found: Vec<_> = directory.running(10).iter().map(|m| (m.match_id.0, m.standing.players)).collect();
        assert_eq!(found, [(3, 1), (1, 2)]);
        assert_eq!(directory.running(1).len(), 1);
        directory.note(MatchId(3), None);
        directory.remove(MatchId(1));
        directory.note(MatchId(1), standing(2));
        assert_eq!(directory.running(10), [], "over, and gone");
    }
}
