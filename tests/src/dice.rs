//! Seeded chance for tests: the same seed, the same case, on every machine.
//!
//! In: a seed. Out: numbers; and on failure, the seed on stderr.
//! *Invariant:* no case depends on the clock, the machine or another case.
//! `ASTRO_SEED=n cargo test …` runs case `n` alone.
//! Start reading at [`each_seed`].

use std::ops::Range;

/// A small generator (splitmix64).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A number of the range, which must not be empty.
    pub fn within(&mut self, range: Range<i64>) -> i64 {
        range.start + (self.bits() % (range.end - range.start) as u64) as i64
    }

    /// [`Dice::within`] for grid numbers.
    pub fn step(&mut self, range: Range<i32>) -> i32 {
        self.within(i64::from(range.start)..i64::from(range.end)) as i32
    }

    /// 0 to `count` − 1.
    pub fn below(&mut self, count: usize) -> usize {
        (self.bits() % count as u64) as usize
    }

    /// True this many times in a hundred.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.bits() % 100 < percent
    }

    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.bits() as u8).collect()
    }
}

/// Says which case failed: a panic unwinds past this value.
struct Announce(u64);

impl Drop for Announce {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with seed {0}; ASTRO_SEED={0} runs this case alone", self.0);
        }
    }
}

/// Runs `case` with seeds 0 to `count` − 1, or with the one that `ASTRO_SEED` names; whether it ran them all.
pub fn each_seed(count: u64, mut case: impl FnMut(u64, &mut Dice)) -> bool {
    let only = std::env::var("ASTRO_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in only.map_or(0..count, |seed: u64| seed..seed + 1) {
        let _announce = Announce(seed);
        case(seed, &mut Dice::new(seed));
    }
    only.is_none()
}
