//! The ingress filter: refuses bytes that stock parsers would panic or bloat on, before they see them.
//!
//! In: a datagram as it came from the network, or the payload inside it. Out: pass, or why not.
//! Both ends use it: a spoofed server packet would end a client just as well.
//! *Invariant:* whatever passes, `renetcode` 2.0 and `renet` 2.0 neither panic on nor store without bound.
//! *Invariant:* every honest peer's bytes pass.
//! The cases are numbered N1 to N6 as in the tests that throw them at a live server.
//! Start reading at [`check_netcode`] and [`check_renet`].

/// Why bytes were refused; a label on a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refused {
    /// Shorter or longer than any netcode packet of that type.
    Length,
    /// A netcode packet type that this side never receives.
    Type,
    /// N1: more than eight sequence bytes.
    SequenceLength,
    /// N3: a sequence so near the end of its range that adding to it overflows.
    SequenceRange,
    /// N4, N5: a slice; no honest message is long enough to be sliced.
    Slice,
    /// A renet packet that does not parse or is not of a known kind or channel.
    Renet,
    /// N6: an empty message, or one far ahead of the next expected.
    Message,
}

impl Refused {
    pub const ALL: [Refused; 7] = [
        Refused::Length,
        Refused::Type,
        Refused::SequenceLength,
        Refused::SequenceRange,
        Refused::Slice,
        Refused::Renet,
        Refused::Message,
    ];

    /// The label.
    pub fn name(self) -> &'static str {
        match self {
            Refused::Length => "length",
            Refused::Type => "type",
            Refused::SequenceLength => "sequence_length",
            Refused::SequenceRange => "sequence_range",
            Refused::Slice => "slice",
            Refused::Renet => "renet",
            Refused::Message => "message",
        }
    }
}

/// Which end of the connection is looking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Server,
    Client,
}

/// Exact length of a connection request.
pub const REQUEST_BYTES: usize = 1078;
/// Largest netcode packet: 1,300 bytes of payload, prefix, sequence, authentication code.
pub const NETCODE_BYTES_MAX: usize = 1 + 8 + 1300 + 16;
/// Reliable messages that may be ahead of the next expected one.
pub const MESSAGES_AHEAD_MAX: u64 = 64;
/// Messages in one renet packet at most.
const MESSAGES_PER_PACKET_MAX: u16 = 64;
/// Ranges in one acknowledgement at most; renet itself keeps 64.
const ACK_RANGES_MAX: u64 = 64;

/// Checks the outside of a datagram, before any decryption.
///
/// # Errors
/// Why it is refused.
pub fn check_netcode(datagram: &[u8], side: Side) -> Result<(), Refused> {
    let &[prefix, ref rest @ ..] = datagram else { return Err(Refused::Length) };
    let (kind, sequence_bytes) = (prefix & 0x0f, usize::from(prefix >> 4));
    let expected = match side {
        Side::Server => matches!(kind, 0 | 3 | 4 | 5 | 6),
        Side::Client => matches!(kind, 1 | 2 | 4 | 5 | 6),
    };
    if !expected {
        return Err(Refused::Type);
    }
    if kind == 0 {
        // Not encrypted, no sequence: its prefix is one zero byte.
        return if prefix == 0 && datagram.len() == REQUEST_BYTES { Ok(()) } else { Err(Refused::Length) };
    }
    if sequence_bytes > 8 {
        return Err(Refused::SequenceLength);
    }
    // N2: prefix, sequence and authentication code must all be there.
    if datagram.len() < 1 + sequence_bytes + 16 || datagram.len() < 18 || datagram.len() > NETCODE_BYTES_MAX {
        return Err(Refused::Length);
    }
    let mut sequence = [0u8; 8];
    sequence[..sequence_bytes].copy_from_slice(&rest[..sequence_bytes]);
    if u64::from_le_bytes(sequence) >= 1 << 62 { Err(Refused::SequenceRange) } else { Ok(()) }
}

/// What the filter remembers of one connection's renet traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RenetProgress {
    /// Reliable messages handed to the application so far; the next expected id.
    pub messages_received: u64,
    /// Highest packet sequence that passed.
    pub sequence_newest: u64,
}

/// Packets may be this far from the newest one; further away only an attacker's are.
const SEQUENCE_WINDOW: u64 = 4096;

/// Checks a renet packet, after decryption. `messages_bytes_max` bounds one message.
///
/// # Errors
/// Why it is refused; the connection should be closed, because decrypted bytes come from its owner.
pub fn check_renet(payload: &[u8], progress: &mut RenetProgress, messages_bytes_max: usize) -> Result<(), Refused> {
    let mut rest = payload;
    let kind = take_byte(&mut rest)?;
    if matches!(kind, 2 | 3) {
        return Err(Refused::Slice);
    }
    let sequence = take_varint(&mut rest)?;
    if sequence.abs_diff(progress.sequence_newest) > SEQUENCE_WINDOW {
        return Err(Refused::Renet);
    }
    match kind {
        0 => check_reliable(&mut rest, progress.messages_received, messages_bytes_max)?,
        4 => check_acknowledgement(&mut rest)?,
        _ => return Err(Refused::Renet),
    }
    if !rest.is_empty() {
        return Err(Refused::Renet);
    }
    progress.sequence_newest = progress.sequence_newest.max(sequence);
    Ok(())
}

fn check_reliable(rest: &mut &[u8], next: u64, messages_bytes_max: usize) -> Result<(), Refused> {
    let channel = take_byte(rest)?;
    let count = u16::from_be_bytes([take_byte(rest)?, take_byte(rest)?]);
    if channel != super::CONTROL_CHANNEL || count > MESSAGES_PER_PACKET_MAX {
        return Err(Refused::Renet);
    }
    for _ in 0..count {
        let id = take_varint(rest)?;
        let length = take_varint(rest)? as usize;
        if length == 0 || length > messages_bytes_max || id >= next + MESSAGES_AHEAD_MAX {
            return Err(Refused::Message);
        }
        *rest = rest.get(length..).ok_or(Refused::Renet)?;
    }
    Ok(())
}

fn check_acknowledgement(rest: &mut &[u8]) -> Result<(), Refused> {
    let (mut end, mut size) = (take_varint(rest)?, take_varint(rest)?);
    let remaining = take_varint(rest)?;
    if remaining > ACK_RANGES_MAX {
        return Err(Refused::Renet);
    }
    for _ in 0..remaining {
        let start = end.checked_sub(size).ok_or(Refused::Renet)?;
        let gap = take_varint(rest)?;
        size = take_varint(rest)?;
        end = start.checked_sub(gap).and_then(|end| end.checked_sub(2)).ok_or(Refused::Renet)?;
    }
    if end >= size { Ok(()) } else { Err(Refused::Renet) }
}

fn take_byte(rest: &mut &[u8]) -> Result<u8, Refused> {
    let (first, tail) = rest.split_first().ok_or(Refused::Renet)?;
    *rest = tail;
    Ok(*first)
}

/// A QUIC variable-length number: the top two bits of the first byte give the length.
fn take_varint(rest: &mut &[u8]) -> Result<u64, Refused> {
    let first = *rest.first().ok_or(Refused::Renet)?;
    let (bytes, tail) = rest.split_at_checked(1 << (first >> 6)).ok_or(Refused::Renet)?;
    *rest = tail;
    Ok(bytes[1..].iter().fold(u64::from(first & 0x3f), |value, byte| value << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(prefix: u8, length: usize) -> Vec<u8> {
        let mut bytes = vec![0x11; length];
        bytes[0] = prefix;
        bytes
    }

    #[test]
    fn the_three_header_panics_never_reach_the_parser() {
        assert_eq!(check_netcode(&sealed(0x95, 200), Side::Server), Err(Refused::SequenceLength), "N1");
        assert_eq!(check_netcode(&sealed(0x85, 24), Side::Server), Err(Refused::Length), "N2");
        let mut near_the_end = sealed(0x85, 60);
        near_the_end[1..9].copy_from_slice(&(u64::MAX - 200).to_le_bytes());
        assert_eq!(check_netcode(&near_the_end, Side::Server), Err(Refused::SequenceRange), "N3");
        assert_eq!(check_netcode(&sealed(0x25, 60), Side::Server), Ok(()));
        assert_eq!(check_netcode(&sealed(0x00, REQUEST_BYTES), Side::Server), Ok(()));
        assert_eq!(check_netcode(&sealed(0x00, REQUEST_BYTES), Side::Client), Err(Refused::Type));
        assert_eq!(check_netcode(&[], Side::Client), Err(Refused::Length));
    }

    #[test]
    fn slices_empty_messages_and_far_ids_are_refused() {
        let check = |bytes: &[u8]| check_renet(bytes, &mut RenetProgress::default(), 64);
        assert_eq!(check(&[2, 0, 0, 0, 9, 1, 1, 7]), Err(Refused::Slice), "N4");
        assert_eq!(check(&[0, 0, 0, 0, 1, 0, 0]), Err(Refused::Message), "N6: empty");
        assert_eq!(check(&[0, 0, 0, 0, 1, 0x40, 0x40, 1, 7]), Err(Refused::Message), "N6: 64 ahead");
        assert_eq!(check(&[0, 0, 0, 0, 1, 0x3f, 1, 7]), Ok(()));
        assert_eq!(check(&[0, 0, 0, 0, 0]), Ok(()), "renet flushes empty packets");
        assert_eq!(check(&[0, 0, 1, 0, 0]), Err(Refused::Renet), "unknown channel");
        assert_eq!(check(&[1, 0, 0, 0, 0]), Err(Refused::Renet), "there is no unreliable channel");
        assert_eq!(check(&[4, 0, 5, 2, 0]), Ok(()));
        assert_eq!(check(&[4, 0, 1, 2, 0]), Err(Refused::Renet), "a range from below zero");
        assert_eq!(check(&[4, 0, 5, 2, 0, 9]), Err(Refused::Renet), "left over");
        assert_eq!(check(&[4, 0x7f, 0xff, 5, 2, 0]), Err(Refused::Renet), "sequence far away");
    }
}
