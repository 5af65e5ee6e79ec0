//! Bytes that no honest client sends: random, and of the right shape with one thing wrong.
//!
//! In: a seed. Out: datagrams, payloads, frames.
//! The cases N1 to N6 are those of `shared/src/wire/filter.rs`.
//! Start reading at [`Junk`].

use astro_shared::wire::filter::REQUEST_BYTES;
use astro_shared::wire::{KIND_INPUT, KIND_SNAPSHOT};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Longest datagram that loopback and real paths both carry whole.
const DATAGRAM_BYTES_MAX: usize = 1400;

/// A seeded source of junk.
pub struct Junk(StdRng);

impl Junk {
    pub fn new(seed: u64) -> Junk {
        Junk(StdRng::seed_from_u64(seed))
    }

    pub fn bytes(&mut self, bytes_max: usize) -> Vec<u8> {
        let mut bytes = vec![0; self.0.random_range(1..=bytes_max)];
        self.0.fill(&mut bytes[..]);
        bytes
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0.random_range(0..bound)
    }

    /// A whole datagram: random, a header that stock code panics on, or a request that means nothing.
    pub fn datagram(&mut self) -> Vec<u8> {
        let mut bytes = self.bytes(DATAGRAM_BYTES_MAX);
        match self.0.random_range(0..6) {
            // N1: nine to fifteen sequence bytes.
            0 => bytes[0] = 5 | self.0.random_range(9..=15) << 4,
            // N2: long enough to be looked at, too short for what it says.
            1 => {
                bytes.resize(self.0.random_range(18..25), 3);
                bytes[0] = 5 | 8 << 4;
            }
            // N3: a sequence at the end of its range.
            2 => {
                bytes.resize(60, 0xff);
                bytes[..9].fill(0xff);
                bytes[0] = 5 | 8 << 4;
            }
            3 => {
                bytes.resize(REQUEST_BYTES, 7);
                bytes[0] = 0;
            }
            // The shape of a response to a challenge.
            4 => {
                bytes.resize(325 + 1, 9);
                bytes[0] = 3 | 1 << 4;
            }
            _ => {}
        }
        bytes
    }

    /// A datagram that looks like a connected player's, or like nothing.
    pub fn like_a_player(&mut self) -> Vec<u8> {
        let mut bytes = self.bytes(120);
        bytes.resize(bytes.len().max(30), 7);
        if self.0.random() {
            bytes[0] = 5 | self.0.random_range(1..=4) << 4;
        }
        bytes
    }

    /// A connection request with all that everybody knows: version, protocol and an expiry to come. Every fourth one has
    /// the nonce of the given token as well; what is sealed is junk.
    pub fn like_a_request(&mut self, token: &[u8]) -> Vec<u8> {
        // A token begins with its client id; between protocol and expiry it says when it was made.
        const EXPIRY_AT: usize = 8 + 13 + 8 + 8;
        const NONCE_AT: usize = EXPIRY_AT + 8;
        const FAR_AHEAD_S: u64 = 3600;
        let expiry = token[EXPIRY_AT..NONCE_AT].try_into().map_or(u64::MAX, u64::from_le_bytes);
        let mut request = vec![0];
        request.extend_from_slice(&token[8..EXPIRY_AT - 8]);
        request.extend_from_slice(&expiry.saturating_add(FAR_AHEAD_S).to_le_bytes());
        let sealed_at = request.len() + 24;
        request.extend_from_slice(&token[NONCE_AT..NONCE_AT + 24]);
        request.resize(REQUEST_BYTES, 0);
        let junk_from = if self.0.random_range(0..4) == 0 { sealed_at } else { sealed_at - 24 };
        self.0.fill(&mut request[junk_from..]);
        request
    }

    /// A payload as it would lie inside netcode or a frame.
    pub fn payload(&mut self) -> Vec<u8> {
        let mut bytes = self.bytes(1200);
        bytes[0] = match self.0.random_range(0..4) {
            0 => KIND_INPUT,
            1 => KIND_SNAPSHOT,
            2 => self.0.random_range(0..=4),
            _ => self.0.random(),
        };
        bytes
    }
}

/// A number as renet writes it, in its longest form.
fn put_varint(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&(value | 0xc000_0000_0000_0000).to_be_bytes());
}

/// A renet slice packet: kind 2 is reliable, 3 unreliable.
fn slice(kind: u8, sequence: u64, message: u64, index: u64, count: u64) -> Vec<u8> {
    const SLICE_BYTES: usize = 1200;
    let mut packet = vec![kind];
    put_varint(&mut packet, sequence);
    packet.push(0);
    for value in [message, index, count, SLICE_BYTES as u64] {
        put_varint(&mut packet, value);
    }
    packet.resize(packet.len() + SLICE_BYTES, 7);
    packet
}

/// A renet packet with one reliable message of that id.
fn message(sequence: u64, id: u64, bytes: &[u8]) -> Vec<u8> {
    let mut packet = vec![0];
    put_varint(&mut packet, sequence);
    packet.extend([0, 0, 1]);
    put_varint(&mut packet, id);
    put_varint(&mut packet, bytes.len() as u64);
    packet.extend_from_slice(bytes);
    packet
}

/// N4: a slice beyond its count.
pub fn slice_beyond_count(kind: u8) -> Vec<Vec<u8>> {
    vec![slice(kind, 1, 0, 9, 2)]
}

/// N5: slices of one message that disagree on how many there are.
pub fn slices_that_disagree() -> Vec<Vec<u8>> {
    vec![slice(2, 1, 0, 0, 2), slice(2, 2, 0, 1, 900_000), slice(2, 3, 1, 0, 900_000)]
}

/// N6: messages of no length, the first one withheld.
pub fn empty_messages() -> Vec<Vec<u8>> {
    (0..200).map(|number| message(number, 5 + number, &[])).collect()
}

/// N6: messages far ahead of the next one, to be kept until it comes.
pub fn messages_with_a_gap() -> Vec<Vec<u8>> {
    (0..200).map(|number| message(number, 1_000 + number, &[1; 40])).collect()
}
