//! What travels: kinds of traffic, limits, and the fingerprint that both ends compare.
//!
//! Hot datagrams (first byte ≥ 0x80, ours): inputs (of spectators: acknowledgements) up, snapshots down; unreliable,
//! never fragmented.
//! Control messages (renet packets, first byte 0 to 4): join, roster, results; reliable.
//! *Invariant:* decoding arbitrary bytes never panics and never allocates above [`DECODE_BYTES_MAX`].
//! *Invariant:* trailing bytes are an error everywhere.
//! Start reading at the constants, then [`snapshot`] and [`input`].

pub mod acknowledge;
pub mod bits;
pub mod codec;
pub mod filter;
pub mod input;
pub mod message;
pub mod snapshot;
pub mod websocket;

use crate::sim::fields::{Field, Fields};
use crate::sim::rng::Hasher;
use crate::sim::state::State;
use crate::sim::tables::{Shape, Walk};
use crate::sim::units::{ANGLE_STEPS, POSITION_PER_UNIT, SEATS_MIN, TICKS_PER_SECOND, VELOCITY_PER_UNIT};

/// Payload of one datagram at most: fits any path with an MTU of 1,200 after netcode, UDP and IP headers.
pub const DATAGRAM_BYTES_MAX: usize = 1150;
/// A control message at most. Under renet's slice size, so no honest control message is ever sliced.
pub const MESSAGE_BYTES_MAX: usize = 1100;
/// A control message from a client at most; the longest one there is has 13 bytes.
pub const CLIENT_MESSAGE_BYTES_MAX: usize = 64;
/// Events in [`message::ToClient::Missed`] at most: as many as fit a control message (a test holds it). A match of four
/// has about 60 in all.
pub const MISSED_EVENTS_MAX: usize = 88;
/// What decoding one datagram or message may allocate at most (a view is a value; only names allocate).
pub const DECODE_BYTES_MAX: usize = 8 * 1024;

/// First byte of a snapshot.
pub const KIND_SNAPSHOT: u8 = 0x80;
/// First byte of an input datagram.
pub const KIND_INPUT: u8 = 0x81;
/// First byte of a spectator's acknowledgement.
pub const KIND_ACKNOWLEDGE: u8 = 0x82;

/// The one control channel: reliable, ordered.
pub const CONTROL_CHANNEL: u8 = 0;
/// Memory that one side of the control channel may hold. A client that lets this much pile up is closed.
pub const CONTROL_CHANNEL_BYTES_MAX: usize = 64 * 1024;

/// Packets of one client a second, over either transport; an honest one sends at most 40 inputs and a few control
/// packets. What comes beyond is dropped.
pub const CLIENT_PACKETS_PER_S: u32 = 90;
/// Packets of one client at once: what a network or a stalled server may have held back for three seconds.
pub const CLIENT_PACKETS_BURST: u32 = 3 * CLIENT_PACKETS_PER_S;

const _: () =
    assert!(MESSAGE_BYTES_MAX < 1200, "renet slices messages above 1,200 bytes, and the filter refuses slices");
const _: () = assert!(DATAGRAM_BYTES_MAX <= 1300, "netcode payload limit");

/// Something a peer sent does not decode. Says what, for a counter; never trusted further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("ends early")]
    Truncated,
    #[error("has bytes left over")]
    Trailing,
    #[error("is not of a known kind")]
    Kind,
    #[error("holds a value out of range")]
    Range,
    #[error("is longer than allowed")]
    TooLong,
}

/// Whether the first byte says that a payload is a hot datagram and not a renet packet.
pub fn is_hot(payload: &[u8]) -> bool {
    payload.first().is_some_and(|kind| *kind >= 0x80)
}

/// Hash of the wire schema and the grid. Two builds with equal fingerprints understand each other.
///
/// Derived, never maintained by hand: the field tables, the grid, and one encoded sample of every message
/// and datagram. Rules and arenas are data of a match and not part of it.
pub fn fingerprint() -> u64 {
    let mut hasher = Hasher::new(0);
    for number in [POSITION_PER_UNIT, VELOCITY_PER_UNIT, i32::from(ANGLE_STEPS), TICKS_PER_SECOND as i32] {
        hasher.add(number as u32);
    }
    State::default().walk(SEATS_MIN as u8, &mut TableNames(&mut hasher));
    for (name, bytes) in samples() {
        hasher.add_bytes(name.as_bytes());
        hasher.add_bytes(&bytes);
    }
    hasher.finish()
}

/// One of everything that travels, encoded: what the fingerprint hashes and the golden file holds.
pub fn samples() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    let datagrams = snapshot::samples().into_iter().chain(input::samples()).chain(acknowledge::samples());
    message::samples().into_iter().chain(datagrams).chain(websocket::samples())
}

struct TableNames<'a>(&'a mut Hasher);

impl Walk for TableNames<'_> {
    fn table<T: Fields>(&mut self, shape: Shape, _: &[T]) {
        self.0.add_bytes(T::NAME.as_bytes());
        self.0.add(shape as u32);
        T::TABLE.iter().for_each(|field| add_field(self.0, field));
    }
}

fn add_field(hasher: &mut Hasher, field: &Field) {
    hasher.add_bytes(field.name.as_bytes());
    let marks = u32::from(field.rare) << 5 | u32::from(field.signed) << 4 | field.visible as u32;
    hasher.add(u32::from(field.bits) << 8 | marks);
}
