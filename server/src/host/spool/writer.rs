//! The spool's writer thread: one batch, one sync, then everybody is told. It alone creates and deletes files.
//!
//! In: the inbox. Out: entries for the delivery, `on_synced` calls, files.
//! *Invariant:* a batch that fails is kept and tried again in a new segment until it is on disk or the
//! program ends; nothing overtakes it.
//! *Invariant:* a segment is deleted when every record in it is delivered and it is not the open one.
//! Start reading at [`Writer::run`]; [`recover`] is what happens before.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use astro_shared::sim::units::MatchId;
use tracing::{error, warn};

use super::segment::{self, Location, Segment, path_of, push_delivered, push_record, scan, sync_folder};
use super::{Entry, OnSynced, Shared, lock};
use crate::records;

/// Records that share one sync at most; bounds the write buffer.
const BATCH_RECORDS_MAX: usize = 64;

/// What a start found in the spool folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Records that are not stored yet and will be delivered again.
    pub undelivered: usize,
    /// Writes that a crash had broken off; nobody was told of those records.
    pub torn: Vec<TornTail>,
    /// Files with damage before their end. Never expected: a disk or a person changed them.
    pub damaged: Vec<Damage>,
}

/// Bytes cut from the end of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    pub file: PathBuf,
    pub offset: u64,
    pub bytes: u64,
}

/// A damaged segment, put aside under the name given here after its readable records were copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    pub file: PathBuf,
    pub ranges: Vec<Range<u64>>,
    /// Undelivered records that could be read.
    pub kept: usize,
}

impl fmt::Display for TornTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: cut {} bytes of a broken-off write at byte {}", self.file.display(), self.bytes, self.offset)
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage { file, ranges, kept } = self;
        write!(f, "{}: damaged at bytes {ranges:?}, put aside; {kept} readable records kept", file.display())
    }
}

/// What [`recover`] hands to the writer and the delivery.
#[derive(Default)]
pub(super) struct Recovered {
    pub entries: Vec<Entry>,
    next_segment: u64,
}

/// Reads every segment, cuts torn tails, puts damaged ones aside, deletes those that are delivered.
pub(super) fn recover(folder: &Path) -> io::Result<(Recovered, Recovery)> {
    fs::create_dir_all(folder)?;
    let numbers = segment::numbers(folder)?;
    let mut recovered = Recovered { next_segment: numbers.last().map_or(1, |last| last + 1), ..Recovered::default() };
    let mut recovery = Recovery::default();
    let mut scans = Vec::new();
    for number in numbers {
        let bytes = fs::read(path_of(folder, number))?;
        let scan = scan(number, &bytes);
        // Behind damage, a broken end is part of the evidence and stays.
        if let (Some(offset), true) = (scan.torn_at, scan.damaged.is_empty()) {
            recovery.torn.push(cut(path_of(folder, number), offset, bytes.len() as u64)?);
        }
        scans.push((number, scan));
    }
    let delivered: HashSet<MatchId> = scans.iter().flat_map(|(_, scan)| scan.delivered.iter().copied()).collect();
    for (number, mut scan) in scans {
        scan.records.retain(|entry| !delivered.contains(&entry.match_id));
        if !scan.damaged.is_empty() {
            recovery.damaged.push(put_aside(folder, number, &mut scan, &mut recovered.next_segment)?);
        } else if scan.records.is_empty() {
            fs::remove_file(path_of(folder, number))?;
        }
        recovered.entries.append(&mut scan.records);
    }
    sync_folder(folder)?;
    recovery.undelivered = recovered.entries.len();
    Ok((recovered, recovery))
}

fn cut(file: PathBuf, offset: u64, length: u64) -> io::Result<TornTail> {
    let handle = OpenOptions::new().write(true).open(&file)?;
    handle.set_len(offset)?;
    handle.sync_all()?;
    Ok(TornTail { file, offset, bytes: length - offset })
}

/// Copies the readable records of a damaged segment into a new one, then renames the old one.
fn put_aside(folder: &Path, number: u64, scan: &mut segment::Scan, next: &mut u64) -> io::Result<Damage> {
    if !scan.records.is_empty() {
        let mut copy = Segment::create(folder, *next)?;
        *next += 1;
        for entry in &mut scan.records {
            let mut frame = Vec::new();
            push_record(&mut frame, entry.match_id, &segment::read_body(folder, entry.at)?);
            entry.at = Location { segment: copy.number, offset: copy.bytes };
            copy.append(&frame)?;
        }
    }
    let file = path_of(folder, number).with_extension("spool.damaged");
    fs::rename(path_of(folder, number), &file)?;
    Ok(Damage { file, ranges: scan.damaged.clone(), kept: scan.records.len() })
}

/// The thread's own state.
pub(super) struct Writer {
    shared: Arc<Shared>,
    open: Option<Segment>,
    next_segment: u64,
    /// Records of each segment that are not delivered. A segment without an entry has none.
    undelivered: BTreeMap<u64, usize>,
}

/// What one sync will make durable.
struct Batch {
    frames: Vec<u8>,
    /// With the offset of each frame inside `frames`.
    records: Vec<(MatchId, u64, OnSynced)>,
    delivered: Vec<Entry>,
}

impl Writer {
    pub fn new(shared: Arc<Shared>, recovered: &Recovered) -> Writer {
        let mut undelivered = BTreeMap::new();
        for entry in &recovered.entries {
            *undelivered.entry(entry.at.segment).or_default() += 1;
        }
        Writer { shared, open: None, next_segment: recovered.next_segment, undelivered }
    }

    /// Writes batches until the spool is closed and its inbox empty.
    pub fn run(mut self) {
        crate::priority::yield_to_shards();
        while let Some(batch) = self.take_batch() {
            if !self.write_until_synced(&batch) {
                return self.give_up(&batch);
            }
            self.publish(batch);
        }
        self.close_segment();
    }

    /// Waits for work. `None` when there is none and none will come.
    fn take_batch(&self) -> Option<Batch> {
        let mut inbox = lock(&self.shared.inbox);
        while inbox.appends.is_empty() && inbox.delivered.is_empty() {
            if inbox.closed {
                return None;
            }
            inbox = self.shared.work.wait(inbox).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        let count = inbox.appends.len().min(BATCH_RECORDS_MAX);
        let appends: Vec<_> = inbox.appends.drain(..count).collect();
        let delivered = std::mem::take(&mut inbox.delivered);
        drop(inbox);
        let mut batch = Batch { frames: Vec::new(), records: Vec::with_capacity(count), delivered };
        for append in appends {
            let match_id = append.record.match_id;
            batch.records.push((match_id, batch.frames.len() as u64, append.on_synced));
            push_record(&mut batch.frames, match_id, &records::encode(&append.record));
        }
        push_delivered(&mut batch.frames, batch.delivered.iter().map(|entry| entry.match_id));
        Some(batch)
    }

    /// `false` when the spool was closed before the disk took the batch.
    fn write_until_synced(&mut self, batch: &Batch) -> bool {
        let mut pause = self.shared.limits.retry_min;
        while let Err(error) = self.write(&batch.frames) {
            self.shared.healthy.store(false, Ordering::Relaxed);
            warn!(%error, records = batch.records.len(), "the spool cannot write; no new matches until it can");
            if self.closed_within(pause) {
                return self.write(&batch.frames).is_ok();
            }
            pause = (pause * 2).min(self.shared.limits.retry_max);
        }
        self.shared.healthy.store(true, Ordering::Relaxed);
        true
    }

    /// Names everything that the disk has not taken.
    fn give_up(self, batch: &Batch) {
        let inbox = lock(&self.shared.inbox);
        let behind = inbox.appends.iter().map(|append| append.record.match_id);
        let lost: Vec<String> =
            batch.records.iter().map(|(id, ..)| *id).chain(behind).map(|id| id.to_string()).collect();
        self.shared.unwritten.fetch_add(lost.len(), Ordering::Relaxed);
        error!(
            results = lost.len(),
            matches = lost.join(" "),
            "the disk refused these results until the end; they are lost"
        );
    }

    fn write(&mut self, frames: &[u8]) -> io::Result<()> {
        if self.open.as_ref().is_some_and(|open| open.bytes >= self.shared.limits.segment_bytes) {
            self.close_segment();
        }
        let mut segment = match self.open.take() {
            Some(segment) => segment,
            None => {
                let segment = Segment::create(&self.shared.folder, self.next_segment)?;
                self.next_segment += 1;
                segment
            }
        };
        let written = segment.append(frames);
        if written.is_ok() {
            self.open = Some(segment);
        } else {
            let number = segment.number;
            segment.abandon();
            self.delete_if_delivered(number);
        }
        written
    }

    /// Sleeps for `pause` unless the spool is closed meanwhile.
    fn closed_within(&self, pause: Duration) -> bool {
        let inbox = lock(&self.shared.inbox);
        let waited = self.shared.work.wait_timeout_while(inbox, pause, |inbox| !inbox.closed);
        waited.unwrap_or_else(std::sync::PoisonError::into_inner).0.closed
    }

    /// Tells everybody about a batch that is on disk.
    fn publish(&mut self, batch: Batch) {
        self.shared.syncs.fetch_add(1, Ordering::Release);
        let Some(open) = &self.open else { return };
        let (segment, begin) = (open.number, open.bytes - batch.frames.len() as u64);
        if !batch.records.is_empty() {
            *self.undelivered.entry(segment).or_default() += batch.records.len();
        }
        let entry = |match_id, offset| Entry { match_id, at: Location { segment, offset: begin + offset } };
        lock(&self.shared.ready).extend(batch.records.iter().map(|(id, offset, _)| entry(*id, *offset)));
        self.shared.synced.notify_one();
        for (_, _, on_synced) in batch.records {
            on_synced();
        }
        for entry in batch.delivered {
            if let Some(count) = self.undelivered.get_mut(&entry.at.segment) {
                *count -= 1;
            }
            self.delete_if_delivered(entry.at.segment);
        }
    }

    fn close_segment(&mut self) {
        if let Some(segment) = self.open.take() {
            self.delete_if_delivered(segment.number);
        }
    }

    fn delete_if_delivered(&mut self, segment: u64) {
        let open = self.open.as_ref().is_some_and(|open| open.number == segment);
        if open || self.undelivered.get(&segment).is_some_and(|count| *count > 0) {
            return;
        }
        self.undelivered.remove(&segment);
        if let Err(error) = fs::remove_file(path_of(&self.shared.folder, segment)) {
            // Harmless: the next start sees that all of it is delivered and tries again.
            warn!(%error, segment, "cannot delete a delivered spool segment");
        }
    }
}
