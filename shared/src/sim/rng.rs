//! Randomness without state: a pure function of seed, purpose and tick; and the mixing behind every hash.
//!
//! *Invariant:* nothing here remembers; asking twice gives the same answer, so saves need no generator state.

/// What a random number is for. Numbers for different purposes are unrelated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Which spawn point each seat starts from this round.
    Spawn = 1,
    /// A pilot's hesitation and aim error.
    Pilot = 2,
    /// Where asteroids begin and which way their pieces fly.
    Asteroid = 3,
    /// Which power-up comes next on a pad.
    Pad = 4,
}

/// 64 random bits for `(seed, purpose, tick, salt)`; `salt` tells apart numbers of one purpose in one tick.
pub fn random(seed: u64, purpose: Purpose, tick: u32, salt: u32) -> u64 {
    let mut hash = Hasher::new(seed);
    hash.add(purpose as u32);
    hash.add(tick);
    hash.add(salt);
    hash.finish()
}

/// A 64-bit mixing hash: not cryptographic, equal on every machine, a few cycles per value.
///
/// Detects differences between honest machines and bugs; a cheat who could forge it would still only
/// be lying to himself, because the server never trusts a hash from a client.
#[derive(Clone, Copy, Debug)]
pub struct Hasher(u64);

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher {
    pub fn new(seed: u64) -> Self {
        Hasher(seed ^ 0x2545_f491_4f6c_dd1d)
    }

    #[inline]
    pub fn add(&mut self, value: u32) {
        self.0 = (self.0.rotate_left(23) ^ u64::from(value)).wrapping_mul(MULTIPLIER);
    }

    pub fn add_u64(&mut self, value: u64) {
        self.add(value as u32);
        self.add((value >> 32) as u32);
    }

    pub fn add_bytes(&mut self, bytes: &[u8]) {
        self.add(bytes.len() as u32);
        for chunk in bytes.chunks(4) {
            let mut word = [0u8; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            self.add(u32::from_le_bytes(word));
        }
    }

    /// The hash of everything added so far, well mixed (any bits may be taken from it).
    pub fn finish(self) -> u64 {
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_argument_changes_the_number() {
        let base = random(1, Purpose::Spawn, 2, 3);
        assert_eq!(base, random(1, Purpose::Spawn, 2, 3));
        for other in [
            random(2, Purpose::Spawn, 2, 3),
            random(1, Purpose::Pilot, 2, 3),
            random(1, Purpose::Spawn, 3, 3),
            random(1, Purpose::Spawn, 2, 4),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn one_flipped_bit_anywhere_changes_the_hash() {
        let values: Vec<u32> = (0..40u32).map(|i| i.wrapping_mul(2_654_435_761)).collect();
        let hash = |values: &[u32]| {
            let mut h = Hasher::new(0);
            values.iter().for_each(|v| h.add(*v));
            h.finish()
        };
        let base = hash(&values);
        for index in 0..values.len() {
            for bit in 0..32 {
                let mut flipped = values.clone();
                flipped[index] ^= 1 << bit;
                assert_ne!(hash(&flipped), base);
            }
        }
    }
}
