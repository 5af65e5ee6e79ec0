//! Rulesets that were made for single matches, by hash.
//!
//! In: rulesets. Out: the same, to everybody who asks by hash.
//! *Invariant:* one that a match uses is never forgotten; of the others only the newest few are kept, so strangers who think
//! of ever new rules use up no memory.
//! *Invariant:* equal rules are one ruleset, however often they are asked for.
//! Start reading at [`Variants::remember`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use astro_shared::sim::rules::Ruleset;

/// Rulesets that no match uses and that are remembered all the same: players of a match that has just ended may still
/// ask. A ruleset has about 20 KiB.
const UNUSED_MAX: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Variants(Mutex<Shelf>);

#[derive(Debug, Default)]
struct Shelf {
    by_hash: HashMap<u64, Kept>,
    /// Counts uses, to tell which is the oldest.
    uses: u64,
}

#[derive(Debug)]
struct Kept {
    ruleset: Arc<Ruleset>,
    last_use: u64,
}

impl Kept {
    /// Whether anybody but the shelf holds it: a match, or a request that is about to open one.
    fn in_use(&self) -> bool {
        Arc::strong_count(&self.ruleset) > 1
    }
}

impl Variants {
    pub fn find(&self, hash: u64) -> Option<Arc<Ruleset>> {
        self.lock().used(hash)
    }

    /// The one that is equal to `made` from now on: this, or the same made earlier.
    pub fn remember(&self, made: Ruleset) -> Arc<Ruleset> {
        let (mut shelf, hash) = (self.lock(), made.hash());
        if let Some(known) = shelf.used(hash) {
            return known;
        }
        shelf.forget_oldest();
        let (ruleset, last_use) = (Arc::new(made), shelf.uses);
        shelf.by_hash.insert(hash, Kept { ruleset: Arc::clone(&ruleset), last_use });
        ruleset
    }

    /// Every change under this lock leaves the shelf sound at each step.
    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn used(&mut self, hash: u64) -> Option<Arc<Ruleset>> {
        self.uses += 1;
        let kept = self.by_hash.get_mut(&hash)?;
        kept.last_use = self.uses;
        Some(Arc::clone(&kept.ruleset))
    }

    /// Makes room for one more that nobody uses yet.
    fn forget_oldest(&mut self) {
        // Matches bound how many are in use, so this much is cheap to ask for.
        if self.by_hash.len() < UNUSED_MAX {
            return;
        }
        let unused = self.by_hash.iter().filter(|(_, kept)| !kept.in_use());
        let mut unused: Vec<(u64, u64)> = unused.map(|(hash, kept)| (kept.last_use, *hash)).collect();
        unused.sort_unstable();
        let too_many = (unused.len() + 1).saturating_sub(UNUSED_MAX);
        for (_, hash) in &unused[..too_many] {
            self.by_hash.remove(hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use astro_shared::sim::rules::Overrides;

    use super::*;

    /// A ruleset unlike those of other numbers.
    fn made(number: u32) -> Ruleset {
        let rules = astro_shared::assets::ruleset("sprint").unwrap();
        let (reload_ms, damage) = (Some(200 + 17 * (number % 200)), Some(1 + (number / 200) as u8));
        rules.with(&Overrides { reload_ms, damage, ammunition: Some(1), ..Overrides::default() }, None).unwrap()
    }

    /// Broken by forgetting what a match uses, by keeping everything, or by forgetting the newest first.
    #[test]
    fn what_is_used_stays_and_of_the_rest_the_newest() {
        let variants = Variants::default();
        let used = variants.remember(made(0));
        let first = variants.remember(made(1)).hash();
        let second = variants.remember(made(2)).hash();
        for number in 3..UNUSED_MAX as u32 + 1 {
            variants.remember(made(number));
        }
        assert!(variants.find(first).is_some());
        for number in 1000..1002 {
            variants.remember(made(number));
        }
        assert_eq!(variants.lock().by_hash.len(), UNUSED_MAX + 1);
        assert_eq!(variants.find(used.hash()).as_ref(), Some(&used));
        assert!(variants.find(first).is_some(), "it was asked for in between");
        assert!(variants.find(second).is_none());
    }

    /// Broken by two rulesets of one hash: matches would be told apart that are the same.
    #[test]
    fn equal_rules_are_one_ruleset() {
        let variants = Variants::default();
        let (one, other) = (variants.remember(made(5)), variants.remember(made(5)));
        assert!(Arc::ptr_eq(&one, &other));
    }
}
