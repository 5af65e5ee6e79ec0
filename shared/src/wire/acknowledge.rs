//! The datagram that goes up from a spectator: which snapshot has arrived. Players say it with their inputs.
//!
//! Layout, little endian: kind 1 B, tick 4 B. Tick 0 says "I have nothing usable" and asks for an absolute snapshot;
//! it also is the sign of life of a spectator who has not been sent anything yet.
//! *Invariant:* a server takes it from spectators only; from a seat it is a bad datagram like any other.

use super::{KIND_ACKNOWLEDGE, WireError};
use crate::sim::units::Tick;

/// Length of every acknowledgement.
pub const ACKNOWLEDGE_BYTES: usize = 5;

/// Tick of the newest snapshot decoded; `Tick(0)` for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledge(pub Tick);

impl Acknowledge {
    pub fn encode(self, out: &mut Vec<u8>) {
        out.push(KIND_ACKNOWLEDGE);
        out.extend_from_slice(&self.0.0.to_le_bytes());
    }

    /// # Errors
    /// What is wrong with the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Acknowledge, WireError> {
        let (kind, tick) = bytes.split_first().ok_or(WireError::Truncated)?;
        if *kind != KIND_ACKNOWLEDGE {
            return Err(WireError::Kind);
        }
        let (tick, rest) = tick.split_first_chunk().ok_or(WireError::Truncated)?;
        if rest.is_empty() { Ok(Acknowledge(Tick(u32::from_le_bytes(*tick)))) } else { Err(WireError::Trailing) }
    }
}

/// A sample for fingerprint and golden test.
pub fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let mut bytes = Vec::new();
    Acknowledge(Tick(1000)).encode(&mut bytes);
    vec![("Acknowledge", bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_is_its_kind_and_four_bytes_and_nothing_else() {
        let mut bytes = Vec::new();
        Acknowledge(Tick(0x0102_0304)).encode(&mut bytes);
        assert_eq!(bytes, [0x82, 4, 3, 2, 1]);
        assert_eq!(Acknowledge::decode(&bytes), Ok(Acknowledge(Tick(0x0102_0304))));
        assert_eq!(Acknowledge::decode(&bytes[..4]), Err(WireError::Truncated));
        assert_eq!(Acknowledge::decode(&[0x82, 4, 3, 2, 1, 0]), Err(WireError::Trailing));
        assert_eq!(Acknowledge::decode(&[0x81, 4, 3, 2, 1]), Err(WireError::Kind));
    }
}
