//! The datagram that goes up: inputs for the newest ticks, and which snapshot has arrived.
//!
//! Layout, little endian: kind 1 B, acknowledged snapshot tick 4 B (0 = none yet), newest tick 4 B,
//! count 1 B, then one byte an input from the oldest to the newest.
//! *Invariant:* repeats what the server has not confirmed, at most [`INPUTS_MAX`] ticks: two datagrams in
//! a row may be lost without a hole, at the cost of a few bytes.

use super::{KIND_INPUT, WireError};
use crate::sim::input::Input;
use crate::sim::units::Tick;

/// Inputs in one datagram at most.
pub const INPUTS_MAX: usize = 12;
const HEADER_BYTES: usize = 10;
/// Length of the longest input datagram.
pub const INPUT_BYTES_MAX: usize = HEADER_BYTES + INPUTS_MAX;

/// What one input datagram says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputDatagram {
    /// Tick of the newest snapshot decoded; `Tick(0)` before the first.
    pub acknowledged: Tick,
    /// Tick that the last input is for.
    pub newest: Tick,
    inputs: [Input; INPUTS_MAX],
    count: u8,
}

impl InputDatagram {
    /// `inputs` end at tick `newest`; only the last [`INPUTS_MAX`] are kept.
    pub fn new(acknowledged: Tick, newest: Tick, inputs: &[Input]) -> InputDatagram {
        let kept = &inputs[inputs.len().saturating_sub(INPUTS_MAX)..];
        let mut all = [Input::NEUTRAL; INPUTS_MAX];
        all[..kept.len()].copy_from_slice(kept);
        InputDatagram { acknowledged, newest, inputs: all, count: kept.len() as u8 }
    }

    /// Every input with its tick, oldest first.
    pub fn inputs(&self) -> impl Iterator<Item = (Tick, Input)> + '_ {
        let first = self.newest.0 - u32::from(self.count.saturating_sub(1));
        // Not `zip(first..)`: an open range would overflow behind the last possible tick.
        self.inputs[..usize::from(self.count)]
            .iter()
            .enumerate()
            .map(move |(i, input)| (Tick(first + i as u32), *input))
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(KIND_INPUT);
        out.extend_from_slice(&self.acknowledged.0.to_le_bytes());
        out.extend_from_slice(&self.newest.0.to_le_bytes());
        out.push(self.count);
        out.extend(self.inputs[..usize::from(self.count)].iter().map(|input| input.bits()));
    }

    /// # Errors
    /// What is wrong with the bytes.
    pub fn decode(bytes: &[u8]) -> Result<InputDatagram, WireError> {
        let (header, inputs) = bytes.split_at_checked(HEADER_BYTES).ok_or(WireError::Truncated)?;
        if header[0] != KIND_INPUT {
            return Err(WireError::Kind);
        }
        let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let (acknowledged, newest, count) = (Tick(number(1)), Tick(number(5)), usize::from(header[9]));
        // An input for tick 0 would be for a tick that no match ever plays.
        if count == 0 || count > INPUTS_MAX || newest.0 < count as u32 {
            return Err(WireError::Range);
        }
        if inputs.len() != count {
            return Err(if inputs.len() < count { WireError::Truncated } else { WireError::Trailing });
        }
        let mut all = [Input::NEUTRAL; INPUTS_MAX];
        for (slot, bits) in all.iter_mut().zip(inputs) {
            *slot = Input::from_bits(*bits).ok_or(WireError::Range)?;
        }
        Ok(InputDatagram { acknowledged, newest, inputs: all, count: count as u8 })
    }
}

/// A sample for fingerprint and golden test.
pub fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let inputs = [Input::new(-15, true, false), Input::new(15, false, true), Input::NEUTRAL];
    let mut bytes = Vec::new();
    InputDatagram::new(Tick(1000), Tick(1010), &inputs).encode(&mut bytes);
    vec![("InputDatagram", bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_twelve_inputs_travel_with_their_ticks() {
        let inputs: Vec<Input> = (0..20).map(|turn| Input::new(turn - 10, false, turn % 2 == 0)).collect();
        let datagram = InputDatagram::new(Tick(90), Tick(100), &inputs);
        let mut bytes = Vec::new();
        datagram.encode(&mut bytes);
        assert_eq!(bytes.len(), INPUT_BYTES_MAX);
        let decoded = InputDatagram::decode(&bytes).unwrap();
        assert_eq!(decoded, datagram);
        let received: Vec<_> = decoded.inputs().collect();
        assert_eq!(received.first(), Some(&(Tick(89), inputs[8])));
        assert_eq!(received.last(), Some(&(Tick(100), inputs[19])));
    }

    #[test]
    fn what_no_client_sends_is_refused() {
        let mut good = Vec::new();
        InputDatagram::new(Tick(0), Tick(5), &[Input::NEUTRAL; 3]).encode(&mut good);
        assert!(InputDatagram::decode(&good).is_ok());
        let with = |at: usize, value: u8| {
            let mut bad = good.clone();
            bad[at] = value;
            InputDatagram::decode(&bad)
        };
        assert_eq!(with(0, 0x80), Err(WireError::Kind));
        assert_eq!(with(9, 0), Err(WireError::Range));
        assert_eq!(with(9, 13), Err(WireError::Range));
        assert_eq!(with(9, 4), Err(WireError::Truncated));
        assert_eq!(with(9, 2), Err(WireError::Trailing));
        assert_eq!(with(5, 2), Err(WireError::Range));
        assert_eq!(with(10, 0x90), Err(WireError::Range));
        assert_eq!(with(10, 0x10), Err(WireError::Range));
    }
}
