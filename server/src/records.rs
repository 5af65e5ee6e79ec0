//! A match record as bytes: what lies in the spool, what a host posts to the service, what the store hashes.
//!
//! In: a [`MatchRecord`]. Out: its body, and back. A body is a version byte, the length of a JSON header
//! (u32, little-endian), the header (everything but the replay), then the replay file as it is.
//! *Invariant:* equal records have equal bodies, so a body's hash tells a repeated delivery from a contradiction.
//! *Invariant:* decoding allocates no more than a small multiple of the bytes it was given.
//! Start reading at [`encode`].

use sha2::{Digest, Sha256};

use crate::hosts::MatchRecord;

/// Layout of a body. A reader refuses others than these two; raise both when the header loses or renames a field. A
/// number that may grow larger (kills and deaths went from 8 to 16 bits) is written as it was, so it raises neither.
const VERSION: u8 = 1;
/// Of a match that ended without a result. Not the same number, since older programs know only results and would store
/// this as one.
const VOID_VERSION: u8 = 2;
/// Version byte and header length.
const PREFIX_BYTES: usize = 5;
/// A body at most. An hour of eight seats is about 3 MB before compression; four times that is a mistake of ours.
pub const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Records that travel or are stored together at most; bounds memory and the length of a transaction.
pub const BATCH_RECORDS_MAX: usize = 32;
/// Bytes that travel together at most, one record always being allowed.
pub const BATCH_BYTES_MAX: usize = BODY_BYTES_MAX;

/// These bytes are not a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("the record has version {0}, this program reads {VERSION} and {VOID_VERSION}")]
    Version(u8),
    #[error("the record ends early")]
    Truncated,
    #[error("more than {BATCH_RECORDS_MAX} records at once")]
    TooMany,
    #[error("the record's header is damaged: {0}")]
    Header(String),
}

/// The body of a record.
pub fn encode(record: &MatchRecord) -> Vec<u8> {
    let header = MatchRecord { replay: Vec::new(), ..record.clone() };
    // Strings, integers and lists of them always serialize; an empty header would be refused by `decode`.
    let header = serde_json::to_vec(&header).unwrap_or_default();
    let mut body = Vec::with_capacity(PREFIX_BYTES + header.len() + record.replay.len());
    body.push(if record.void.is_some() { VOID_VERSION } else { VERSION });
    body.extend_from_slice(&(header.len() as u32).to_le_bytes());
    body.extend_from_slice(&header);
    body.extend_from_slice(&record.replay);
    body
}

/// Reads a body.
///
/// # Errors
/// When it is not one, or one of another version.
pub fn decode(body: &[u8]) -> Result<MatchRecord, RecordError> {
    let (version, rest) = body.split_first().ok_or(RecordError::Truncated)?;
    if ![VERSION, VOID_VERSION].contains(version) {
        return Err(RecordError::Version(*version));
    }
    let (header, replay) = split_prefixed(rest)?;
    let mut record: MatchRecord =
        serde_json::from_slice(header).map_err(|error| RecordError::Header(error.to_string()))?;
    record.replay = replay.to_vec();
    Ok(record)
}

/// SHA-256 of a body: the same record delivered twice has the same.
pub fn body_sha256(body: &[u8]) -> [u8; 32] {
    Sha256::digest(body).into()
}

/// Several records as one request body: each with its length (u32, little-endian) before it.
pub fn encode_batch(records: &[MatchRecord]) -> Vec<u8> {
    let mut batch = Vec::new();
    for body in records.iter().map(encode) {
        batch.extend_from_slice(&(body.len() as u32).to_le_bytes());
        batch.extend_from_slice(&body);
    }
    batch
}

/// Reads what [`encode_batch`] wrote.
///
/// # Errors
/// When any record is damaged or there are too many.
pub fn decode_batch(mut batch: &[u8]) -> Result<Vec<MatchRecord>, RecordError> {
    let mut records = Vec::new();
    while !batch.is_empty() {
        if records.len() == BATCH_RECORDS_MAX {
            return Err(RecordError::TooMany);
        }
        let (body, rest) = split_prefixed(batch)?;
        records.push(decode(body)?);
        batch = rest;
    }
    Ok(records)
}

/// Splits off the bytes whose length stands before them.
fn split_prefixed(bytes: &[u8]) -> Result<(&[u8], &[u8]), RecordError> {
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or(RecordError::Truncated)?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or(RecordError::Truncated)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::hosts::SeatRecord;
    use astro_shared::sim::units::MatchId;

    /// A finished match of two seats, told apart by its number.
    pub(crate) fn record(number: u128) -> MatchRecord {
        let seat = |name: &str, placement| SeatRecord {
            name: name.into(),
            pilot: placement == 2,
            left: false,
            placement: Some(placement),
            rounds_won: 2 - placement,
            kills: 3,
            deaths: 1,
            assists: 0,
            shots: 300,
            hits: 12,
            survival_ticks: 70_000,
            streak_longest: 2,
        };
        MatchRecord {
            match_id: MatchId(number),
            mode: "last_ship".into(),
            rules: "sprint".into(),
            rules_hash: u64::MAX - 1,
            arena: "open".into(),
            started_ms: 1_700_000_000_000 + number as u64,
            ended_ms: 1_700_000_015_000 + number as u64,
            ticks: 900,
            rounds: 1,
            winner: Some(0),
            void: None,
            seats: vec![seat("Żółw \"quoted\"", 1), seat("pilot", 2)],
            replay: (0..200u32).map(|byte| (byte as u128 * 31 + number) as u8).collect(),
        }
    }

    /// The same match, ended without a result.
    pub(crate) fn void_record(number: u128) -> MatchRecord {
        let mut void =
            MatchRecord { void: Some("server shutdown".into()), winner: None, replay: Vec::new(), ..record(number) };
        void.seats.iter_mut().for_each(|seat| seat.placement = None);
        void
    }

    #[test]
    fn a_match_without_a_result_has_a_version_of_its_own_and_one_with_a_result_is_as_ever() {
        let (result, void) = (encode(&record(5)), encode(&void_record(5)));
        assert_eq!((result[0], void[0]), (1, 2));
        assert_eq!(decode(&void), Ok(void_record(5)));
        // What programs wrote before there were voids: spools of that time are read, and repeated deliveries match.
        assert_eq!(body_sha256(&result)[..4], [0x40, 0xed, 0x15, 0x70]);
    }

    #[test]
    fn records_come_back_and_equal_ones_have_equal_bodies() {
        let body = encode(&record(5));
        assert_eq!(decode(&body), Ok(record(5)));
        assert_eq!(body, encode(&record(5)));
        let mut other = record(5);
        other.seats[1].hits += 1;
        assert_ne!(body_sha256(&body), body_sha256(&encode(&other)));
        let batch = [record(1), record(2)];
        assert_eq!(decode_batch(&encode_batch(&batch)), Ok(batch.to_vec()));
    }

    #[test]
    fn damaged_bodies_are_refused_with_a_reason() {
        let body = encode(&record(5));
        assert_eq!(decode(&[]), Err(RecordError::Truncated));
        assert_eq!(decode(&body[..20]), Err(RecordError::Truncated));
        assert_eq!(decode(&[&[9], &body[1..]].concat()), Err(RecordError::Version(9)));
        assert!(matches!(decode(&[1, 2, 0, 0, 0, b'{', b'}']), Err(RecordError::Header(_))));
        let many = encode_batch(&vec![record(1); BATCH_RECORDS_MAX + 1]);
        assert_eq!(decode_batch(&many), Err(RecordError::TooMany));
    }
}
