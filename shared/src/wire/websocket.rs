//! What travels over a WebSocket: the first frame, the packets in every later one, the codes that end it, the limits.
//!
//! In and out: bytes of binary frames. A client's first frame is a [`Hello`]; each frame after it, either way, holds
//! one or more packets, `u16 LE length` and then what UDP would carry inside netcode: a hot datagram or a renet packet.
//! *Invariant:* decoding arbitrary bytes never panics, and a frame is refused whole or taken whole.
//! *Invariant:* a close code, once released, keeps its meaning.
//! Start reading at [`Hello`] and [`packets`]; [`CLOSE_CODES`] is the list that the protocol's description prints.

use super::{CONTROL_CHANNEL_BYTES_MAX, DATAGRAM_BYTES_MAX, WireError};

/// Where the upgrade is asked for, on the HTTP port.
pub const PATH: &str = "/v1/play";
/// First byte of a [`Hello`].
pub const KIND_HELLO: u8 = 0x01;
pub const TICKET_BYTES: usize = 16;
/// Kind, fingerprint, ticket.
pub const HELLO_BYTES: usize = 1 + 8 + TICKET_BYTES;

/// From the upgrade to a [`Hello`], in seconds; then the socket is closed with 4001.
pub const HELLO_WITHIN_S: u64 = 5;
/// Life of a ticket, in seconds.
pub const TICKET_TTL_S: u64 = 15;
/// Sockets that have not shown a ticket yet, in all and per address. More of one address are refused before the upgrade; more
/// in all take the place of one that idles, or are refused when none does.
pub const SOCKETS_WAITING_MAX: usize = 64;
pub const SOCKETS_WAITING_PER_ADDRESS_MAX: usize = 8;

/// A frame from a client at most. Honest ones stay under 200 bytes.
pub const CLIENT_FRAME_BYTES_MAX: usize = 4 * 1024;
/// A packet at most: what fits into a netcode datagram.
pub const PACKET_BYTES_MAX: usize = 1300;
/// Frames of one client that the server holds unread; above it the socket is not read from.
pub const FRAMES_IN_FLIGHT_MAX: u32 = 64;

/// Control packets that wait for a client that does not read: so many, or so many bytes, and it is closed with 4008.
pub const CONTROL_PACKETS_WAITING_MAX: usize = 64;
pub const CONTROL_BYTES_WAITING_MAX: usize = CONTROL_CHANNEL_BYTES_MAX;
/// A frame from the server at most. All control packets that may wait and a snapshot need half of it.
pub const SERVER_FRAME_BYTES_MAX: usize = 128 * 1024;
/// Snapshots that a newer one overtook within one second; above it the client gets [`SLOW_SNAPSHOTS_PER_S`].
pub const SUPERSEDED_PER_S_MAX: u32 = 3;
pub const SLOW_SNAPSHOTS_PER_S: u8 = 15;
/// Seconds in a row without one overtaken after which such a client gets as many as it asked for again.
pub const STEADY_S: u32 = 10;
/// No frame could be handed to the client's connection for so many seconds: closed with 4008.
pub const STALLED_S_MAX: u64 = 5;
/// Seconds in a row in which more than half of a slowed client's snapshots were overtaken: closed with 4008.
pub const STARVED_S_MAX: u32 = 10;

const _: () = assert!(
    SERVER_FRAME_BYTES_MAX >= CONTROL_BYTES_WAITING_MAX + 2 * CONTROL_PACKETS_WAITING_MAX + 2 + DATAGRAM_BYTES_MAX,
    "what may wait fits into one frame"
);

pub const CLOSE_MATCH_OVER: u16 = 4000;
pub const CLOSE_NO_HELLO: u16 = 4001;
pub const CLOSE_TICKET: u16 = 4002;
pub const CLOSE_OUTDATED: u16 = 4003;
pub const CLOSE_REPLACED: u16 = 4004;
pub const CLOSE_SILENT: u16 = 4005;
pub const CLOSE_MISBEHAVED: u16 = 4006;
pub const CLOSE_VOIDED: u16 = 4007;
pub const CLOSE_TOO_SLOW: u16 = 4008;
pub const CLOSE_SHUTTING_DOWN: u16 = 4009;
pub const CLOSE_LEFT: u16 = 4010;

/// Every code that the server ends a WebSocket with: code, name (also the text of the close frame), meaning.
pub const CLOSE_CODES: [(u16, &str, &str); 11] = [
    (CLOSE_MATCH_OVER, "match_over", "the match is over; the result came before"),
    (CLOSE_NO_HELLO, "no_hello", "no valid hello came within five seconds"),
    (CLOSE_TICKET, "ticket", "the ticket is unknown, used or expired"),
    (CLOSE_OUTDATED, "outdated", "client and server do not speak the same wire"),
    (CLOSE_REPLACED, "replaced", "a newer connection took the seat"),
    (CLOSE_SILENT, "silent", "nothing was heard for five seconds"),
    (CLOSE_MISBEHAVED, "misbehaved", "the client sent what no client sends"),
    (CLOSE_VOIDED, "voided", "the match ended without a result, or the server made a mistake"),
    (CLOSE_TOO_SLOW, "too_slow", "the connection does not carry what the client must get"),
    (CLOSE_SHUTTING_DOWN, "shutting_down", "the server is shutting down"),
    (CLOSE_LEFT, "left", "the client left"),
];

/// The name of a close code; empty for codes that are not ours.
pub fn close_name(code: u16) -> &'static str {
    CLOSE_CODES.iter().find(|(known, ..)| *known == code).map_or("", |(_, name, _)| name)
}

/// The client's first frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Of the client's wire and grid.
    pub fingerprint: u64,
    /// Good for one connection.
    pub ticket: [u8; TICKET_BYTES],
}

impl Hello {
    pub fn encode(&self) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        bytes[0] = KIND_HELLO;
        bytes[1..9].copy_from_slice(&self.fingerprint.to_le_bytes());
        bytes[9..].copy_from_slice(&self.ticket);
        bytes
    }

    /// # Errors
    /// What is wrong with the frame.
    pub fn decode(frame: &[u8]) -> Result<Hello, WireError> {
        let (&kind, rest) = frame.split_first().ok_or(WireError::Truncated)?;
        if kind != KIND_HELLO {
            return Err(WireError::Kind);
        }
        let (fingerprint, rest) = rest.split_first_chunk().ok_or(WireError::Truncated)?;
        let (ticket, rest) = rest.split_first_chunk().ok_or(WireError::Truncated)?;
        if !rest.is_empty() {
            return Err(WireError::Trailing);
        }
        Ok(Hello { fingerprint: u64::from_le_bytes(*fingerprint), ticket: *ticket })
    }
}

/// Appends a packet to a frame. `packet` has 1 to [`PACKET_BYTES_MAX`] bytes.
pub fn put_packet(frame: &mut Vec<u8>, packet: &[u8]) {
    debug_assert!((1..=PACKET_BYTES_MAX).contains(&packet.len()), "a packet of {} bytes", packet.len());
    frame.extend_from_slice(&(packet.len() as u16).to_le_bytes());
    frame.extend_from_slice(packet);
}

/// The packets of a frame, in order; at least one.
///
/// # Errors
/// What is wrong with the frame; nothing of it may be used then.
pub fn packets(frame: &[u8]) -> Result<Packets<'_>, WireError> {
    let mut rest = frame;
    loop {
        let (_, after) = split_packet(rest)?;
        if after.is_empty() {
            return Ok(Packets { rest: frame });
        }
        rest = after;
    }
}

/// See [`packets`].
#[derive(Clone, Debug)]
pub struct Packets<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Packets<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (packet, rest) = split_packet(self.rest).ok()?;
        self.rest = rest;
        Some(packet)
    }
}

fn split_packet(frame: &[u8]) -> Result<(&[u8], &[u8]), WireError> {
    let (length, rest) = frame.split_first_chunk().ok_or(WireError::Truncated)?;
    let length = usize::from(u16::from_le_bytes(*length));
    if length == 0 {
        return Err(WireError::Range);
    }
    if length > PACKET_BYTES_MAX {
        return Err(WireError::TooLong);
    }
    rest.split_at_checked(length).ok_or(WireError::Truncated)
}

/// A hello and a frame of two packets: the fingerprint hashes them, the golden test compares them.
pub fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let hello = Hello { fingerprint: 0x0123_4567_89ab_cdef, ticket: std::array::from_fn(|index| index as u8) };
    let mut frame = Vec::new();
    put_packet(&mut frame, &[4, 5, 6]);
    put_packet(&mut frame, &[0x80, 1]);
    vec![("websocket::Hello", hello.encode().to_vec()), ("websocket::Frame", frame)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_is_25_bytes_and_nothing_else_is_a_hello() {
        let hello = Hello { fingerprint: 0x8877_6655_4433_2211, ticket: [7; TICKET_BYTES] };
        let bytes = hello.encode();
        assert_eq!((bytes.len(), bytes[0], bytes[1], bytes[8], bytes[9]), (25, 1, 0x11, 0x88, 7));
        assert_eq!(Hello::decode(&bytes), Ok(hello));
        for length in 0..bytes.len() {
            assert_eq!(Hello::decode(&bytes[..length]), Err(WireError::Truncated), "cut at {length}");
        }
        assert_eq!(Hello::decode(&[&bytes[..], &[0]].concat()), Err(WireError::Trailing));
        assert_eq!(Hello::decode(&[2; HELLO_BYTES]), Err(WireError::Kind));
    }

    #[test]
    fn packets_come_out_as_they_went_in() {
        let mut frame = Vec::new();
        let sent = [vec![0x81, 2, 3], vec![4], vec![0; PACKET_BYTES_MAX]];
        sent.iter().for_each(|packet| put_packet(&mut frame, packet));
        assert_eq!(packets(&frame).unwrap().map(<[u8]>::to_vec).collect::<Vec<_>>(), sent);
    }

    #[test]
    fn a_frame_with_anything_wrong_is_refused_whole() {
        let mut frame = Vec::new();
        put_packet(&mut frame, &[0x81, 2, 3]);
        put_packet(&mut frame, &[4]);
        for length in (0..frame.len()).filter(|length| *length != 5) {
            assert_eq!(packets(&frame[..length]).err(), Some(WireError::Truncated), "cut at {length}");
        }
        assert_eq!(packets(&[0, 0]).err(), Some(WireError::Range), "an empty packet");
        assert_eq!(packets(&[&frame[..], &[0, 0]].concat()).err(), Some(WireError::Range));
        let long = [&(PACKET_BYTES_MAX as u16 + 1).to_le_bytes()[..], &[0; PACKET_BYTES_MAX + 1]].concat();
        assert_eq!(packets(&long).err(), Some(WireError::TooLong));
    }

    #[test]
    fn close_codes_run_from_4000_on_and_have_names_of_their_own() {
        for (index, (code, name, meaning)) in CLOSE_CODES.iter().enumerate() {
            assert_eq!(*code, 4000 + index as u16);
            assert!(!meaning.is_empty() && close_name(*code) == *name);
            assert_eq!(CLOSE_CODES.iter().filter(|(_, other, _)| other == name).count(), 1);
        }
        assert_eq!(close_name(1006), "");
    }
}
