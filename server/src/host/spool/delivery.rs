//! The spool's delivery: takes records from disk to the service until each is stored.
//!
//! In: entries that the writer has synced. Out: calls of [`Results::deliver`], then marks.
//! *Invariant:* a record that the service refuses for ever does not hold up the others: after a failure the
//! batch shrinks to one record, and the one that fails goes to the end of the queue.
//! Start reading at [`run`].

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::{error, warn};

use super::{Entry, Shared, lock, segment};
use crate::hosts::{MatchRecord, Results};
use crate::records::{self, BATCH_BYTES_MAX, BATCH_RECORDS_MAX};

/// Delivers for ever.
pub(super) async fn run(shared: Arc<Shared>, results: Arc<dyn Results>) {
    let mut batch_records_max = BATCH_RECORDS_MAX;
    let mut pause = shared.limits.retry_min;
    loop {
        let batch = next_batch(&shared, batch_records_max).await;
        if batch.records.is_empty() {
            continue;
        }
        let count = batch.records.len();
        match results.deliver(batch.records).await {
            Ok(()) => {
                shared.mark_delivered(batch.entries);
                batch_records_max = (batch_records_max * 2).min(BATCH_RECORDS_MAX);
                pause = shared.limits.retry_min;
            }
            Err(error) => {
                warn!(%error, records = count, waiting = *shared.depth.borrow(), "results stay in the spool");
                shared.put_back(batch.entries);
                batch_records_max = 1;
                tokio::time::sleep(pause).await;
                pause = next_pause(pause, shared.limits.retry_max);
            }
        }
    }
}

fn next_pause(pause: Duration, most: Duration) -> Duration {
    (pause * 2).min(most)
}

struct Batch {
    entries: Vec<Entry>,
    records: Vec<MatchRecord>,
}

/// Waits for entries and reads their records from disk.
async fn next_batch(shared: &Arc<Shared>, records_max: usize) -> Batch {
    loop {
        // A wake-up that comes between the look and the wait is kept by `Notify`.
        let entries = shared.take_ready(records_max);
        if entries.is_empty() {
            shared.synced.notified().await;
            continue;
        }
        let reader = Arc::clone(shared);
        let read = tokio::task::spawn_blocking(move || read_batch(&reader, entries)).await;
        // A blocking task fails only when the program ends.
        if let Ok(batch) = read {
            return batch;
        }
    }
}

fn read_batch(shared: &Shared, entries: Vec<Entry>) -> Batch {
    let mut batch = Batch { entries: Vec::new(), records: Vec::new() };
    let mut bytes = 0;
    let mut rest = entries.into_iter();
    for entry in rest.by_ref() {
        let Some((record, length)) = read_record(&shared.folder, entry) else {
            shared.lost.fetch_add(1, Ordering::Relaxed);
            shared.give_up(1);
            continue;
        };
        bytes += length;
        batch.entries.push(entry);
        batch.records.push(record);
        if bytes >= BATCH_BYTES_MAX {
            break;
        }
    }
    shared.put_first(rest);
    batch
}

/// `None`, and an alarm, when the record cannot be read; its file is then never deleted.
fn read_record(folder: &Path, entry: Entry) -> Option<(MatchRecord, usize)> {
    let file = segment::path_of(folder, entry.at.segment);
    let body = segment::read_body(folder, entry.at)
        .inspect_err(|error| error!(%error, match_id = %entry.match_id, file = %file.display(), "a spooled result is unreadable"))
        .ok()?;
    let record = records::decode(&body)
        .inspect_err(|error| error!(%error, match_id = %entry.match_id, file = %file.display(), "a spooled result is unreadable"))
        .ok()?;
    Some((record, body.len()))
}

impl Shared {
    fn take_ready(&self, most: usize) -> Vec<Entry> {
        let mut ready = lock(&self.ready);
        let count = ready.len().min(most);
        ready.drain(..count).collect()
    }

    fn put_first(&self, entries: impl DoubleEndedIterator<Item = Entry>) {
        let mut ready = lock(&self.ready);
        entries.rev().for_each(|entry| ready.push_front(entry));
    }

    fn put_back(&self, entries: Vec<Entry>) {
        lock(&self.ready).extend(entries);
    }

    fn mark_delivered(&self, entries: Vec<Entry>) {
        let count = entries.len();
        lock(&self.inbox).delivered.extend(entries);
        self.work.notify_all();
        self.give_up(count);
    }

    /// These records are no longer waited for.
    fn give_up(&self, count: usize) {
        self.depth.send_modify(|depth| *depth -= count);
    }
}
