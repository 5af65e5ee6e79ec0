//! The spool's files: how a segment is written, and what can be read from one after a crash.
//!
//! In: records and marks. Out: frames; and from a file's bytes what is whole, torn or damaged.
//! A segment is [`MAGIC`], then frames. A frame is length (u32), CRC-32 of the payload (u32), payload. A payload
//! is a kind (4 bytes), then for [`KIND_RECORD`] a match id and a record's body, for [`KIND_DELIVERED`] match ids.
//! Numbers are little-endian, match ids big-endian.
//! *Invariant:* a segment is only ever appended to, by the process that made it; later ones read and delete it.
//! *Invariant:* reading believes no length and no kind before the CRC says so.
//! Start reading at [`scan`].

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use astro_shared::sim::units::MatchId;

use super::Entry;
use crate::records::BODY_BYTES_MAX;

/// First bytes of a segment; the digit is the layout's version.
pub(super) const MAGIC: [u8; 8] = *b"ASPOOL1\n";
/// Length and CRC before each payload.
const FRAME_HEAD_BYTES: usize = 8;
/// Kind and match id before each body.
const RECORD_HEAD_BYTES: usize = 4 + 16;
const PAYLOAD_BYTES_MAX: usize = RECORD_HEAD_BYTES + BODY_BYTES_MAX;
/// A record. Four bytes, so that frames can be found again behind damage.
const KIND_RECORD: [u8; 4] = *b"RECD";
/// Matches that the service has stored.
const KIND_DELIVERED: [u8; 4] = *b"DONE";

/// Where a record's frame lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    pub segment: u64,
    pub offset: u64,
}

/// The file of a segment.
pub(super) fn path_of(folder: &Path, segment: u64) -> PathBuf {
    folder.join(format!("{segment:010}.spool"))
}

/// The segments in a folder, oldest first.
pub(super) fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.strip_suffix(".spool")?.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Makes renames, new files and deletions in `folder` durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// A segment being written.
pub(super) struct Segment {
    file: File,
    pub number: u64,
    /// Written and synced.
    pub bytes: u64,
}

impl Segment {
    /// Makes the file, so that it is found after a power cut. Leaves nothing behind on failure.
    pub fn create(folder: &Path, number: u64) -> io::Result<Segment> {
        let path = path_of(folder, number);
        let file = OpenOptions::new().append(true).create_new(true).open(&path)?;
        let segment = Segment { file, number, bytes: MAGIC.len() as u64 };
        let begun = (&segment.file).write_all(&MAGIC).and_then(|()| sync_folder(folder));
        if let Err(error) = begun {
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        Ok(segment)
    }

    /// Appends whole frames and waits for the disk.
    ///
    /// # Errors
    /// The caller must not write to this segment again: after a failed sync nobody knows what the disk holds.
    pub fn append(&mut self, frames: &[u8]) -> io::Result<()> {
        (&self.file).write_all(frames)?;
        self.file.sync_data()?;
        self.bytes += frames.len() as u64;
        Ok(())
    }

    /// Tries to take back what a failed append left, to spare the next start the report.
    pub fn abandon(self) {
        let _ = self.file.set_len(self.bytes);
    }
}

/// Adds a record's frame to `frames`.
pub(super) fn push_record(frames: &mut Vec<u8>, match_id: MatchId, body: &[u8]) {
    push_frame(frames, &[&KIND_RECORD, &match_id.0.to_be_bytes(), body]);
}

/// Adds a frame to `frames` that says these matches are stored.
pub(super) fn push_delivered(frames: &mut Vec<u8>, matches: impl Iterator<Item = MatchId>) {
    let ids: Vec<u8> = matches.flat_map(|id| id.0.to_be_bytes()).collect();
    for ids in ids.chunks(64 * 1024) {
        push_frame(frames, &[&KIND_DELIVERED, ids]);
    }
}

fn push_frame(frames: &mut Vec<u8>, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    assert!(length <= PAYLOAD_BYTES_MAX, "a frame of {length} bytes could not be read back");
    let mut crc = crc32fast::Hasher::new();
    parts.iter().for_each(|part| crc.update(part));
    frames.extend_from_slice(&(length as u32).to_le_bytes());
    frames.extend_from_slice(&crc.finalize().to_le_bytes());
    parts.iter().for_each(|part| frames.extend_from_slice(part));
}

/// What one segment holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    pub records: Vec<Entry>,
    pub delivered: Vec<MatchId>,
    /// Where the last write broke off; from here to the end nothing is whole.
    pub torn_at: Option<u64>,
    /// Ranges that are not frames although frames follow them.
    pub damaged: Vec<Range<u64>>,
}

/// Reads a segment's bytes.
pub(super) fn scan(segment: u64, bytes: &[u8]) -> Scan {
    let mut found = Scan::default();
    // A wrong magic is damage from 0 on; the search behind it finds the frames.
    let mut offset = if bytes.starts_with(&MAGIC) { MAGIC.len() } else { 0 };
    while offset < bytes.len() {
        if let Some(payload) = frame_at(bytes, offset) {
            found.take(payload, Location { segment, offset: offset as u64 });
            offset += FRAME_HEAD_BYTES + payload.len();
        } else if let Some(next) = (offset + 1..bytes.len()).find(|next| frame_at(bytes, *next).is_some()) {
            found.damaged.push(offset as u64..next as u64);
            offset = next;
        } else {
            found.torn_at = Some(offset as u64);
            break;
        }
    }
    found
}

impl Scan {
    fn take(&mut self, payload: &[u8], at: Location) {
        if let Some(match_id) = record_head(payload) {
            self.records.push(Entry { match_id, at });
        } else {
            self.delivered.extend(payload[KIND_DELIVERED.len()..].chunks_exact(16).filter_map(match_id));
        }
    }
}

/// The payload of the whole, undamaged frame at `offset`.
fn frame_at(bytes: &[u8], offset: usize) -> Option<&[u8]> {
    let (length, rest) = bytes.get(offset..)?.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let payload = rest.get(..u32::from_le_bytes(*length) as usize)?;
    // The kind is looked at first only because it is cheap: the search behind damage asks at every byte.
    let known = record_head(payload).is_some() || payload.starts_with(&KIND_DELIVERED);
    (known && crc32fast::hash(payload) == u32::from_le_bytes(*crc)).then_some(payload)
}

fn record_head(payload: &[u8]) -> Option<MatchId> {
    let (kind, rest) = payload.split_first_chunk::<4>()?;
    if *kind == KIND_RECORD { match_id(rest.get(..16)?) } else { None }
}

fn match_id(bytes: &[u8]) -> Option<MatchId> {
    bytes.try_into().ok().map(|bytes| MatchId(u128::from_be_bytes(bytes)))
}

/// Reads one record's body back.
///
/// # Errors
/// `InvalidData` when the frame is no longer what was written there.
pub(super) fn read_body(folder: &Path, at: Location) -> io::Result<Vec<u8>> {
    let mut file = File::open(path_of(folder, at.segment))?;
    file.seek(SeekFrom::Start(at.offset))?;
    let mut head = [0; FRAME_HEAD_BYTES];
    file.read_exact(&mut head)?;
    let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
    if length > PAYLOAD_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut frame = head.to_vec();
    file.take(length as u64).read_to_end(&mut frame)?;
    let payload = frame_at(&frame, 0).filter(|payload| record_head(payload).is_some());
    payload.map(|payload| payload[RECORD_HEAD_BYTES..].to_vec()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(records: &[(u128, &[u8])]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        records.iter().for_each(|(id, body)| push_record(&mut bytes, MatchId(*id), body));
        bytes
    }

    fn ids(scan: &Scan) -> Vec<u128> {
        scan.records.iter().map(|entry| entry.match_id.0).collect()
    }

    #[test]
    fn a_whole_segment_is_read_whole() {
        let mut bytes = segment(&[(1, b"one"), (2, b""), (3, b"three")]);
        push_delivered(&mut bytes, [MatchId(1), MatchId(3)].into_iter());
        let scan = scan(7, &bytes);
        assert_eq!(ids(&scan), [1, 2, 3]);
        assert_eq!(scan.delivered, [MatchId(1), MatchId(3)]);
        assert_eq!((scan.torn_at, scan.damaged.len()), (None, 0));
    }

    #[test]
    fn a_tail_torn_at_any_byte_costs_the_last_record_only() {
        let whole = segment(&[(1, b"one"), (2, b"two")]).len();
        let bytes = segment(&[(1, b"one"), (2, b"two"), (3, b"a longer record")]);
        for length in whole..bytes.len() {
            let scan = scan(0, &bytes[..length]);
            assert_eq!(ids(&scan), [1, 2], "cut to {length}");
            assert_eq!(scan.torn_at, (length > whole).then_some(whole as u64), "cut to {length}");
        }
    }

    #[test]
    fn any_flipped_bit_is_noticed_and_costs_one_record_at_most() {
        let bytes = segment(&[(1, b"one"), (2, b"two"), (3, b"three")]);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let scan = scan(0, &flipped);
            assert!(scan.torn_at.is_some() || !scan.damaged.is_empty(), "bit {bit} unnoticed");
            assert!(scan.records.len() >= 2, "bit {bit} cost {:?}", ids(&scan));
            assert!(scan.records.iter().all(|e| (1..=3).contains(&e.match_id.0)));
        }
    }

    #[test]
    fn a_tail_of_zeros_is_torn() {
        let mut bytes = segment(&[(1, b"one")]);
        let end = bytes.len() as u64;
        bytes.resize(bytes.len() + 4096, 0);
        assert_eq!(scan(0, &bytes).torn_at, Some(end));
        assert_eq!(scan(0, &[0; 3]).torn_at, Some(0));
    }
}
