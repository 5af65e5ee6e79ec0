//! Finished matches on disk until the service has stored them: no result is lost once it is here.
//!
//! In: records of finished matches, from any shard. Out: "it is on disk" per record, then the record itself to
//! [`Results`], as often as it takes.
//! *Invariant:* `on_synced` is called after the record survives a power cut, never before.
//! *Invariant:* a record leaves the disk only after the service said that it is stored; marks of that may be
//! lost in a crash, since delivery is idempotent.
//! *Invariant:* no call here waits for the disk or the network, except [`Spool::open`] and [`Spool::close`].
//! Start reading at [`Spool`]; then [`writer`] (the thread), [`delivery`] (the task), [`segment`] (the files).

mod delivery;
mod segment;
mod writer;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use astro_shared::sim::units::MatchId;
use tokio::sync::{Notify, watch};

use crate::hosts::{MatchRecord, Results};
use crate::records::BODY_BYTES_MAX;
use crate::threads::{Joined, joined_until};
use segment::Location;

pub use writer::{Damage, Recovery, TornTail};

/// Records that may wait for the writer. A shard that finds the queue full keeps its record and tries again
/// next tick; it takes a disk that hangs and this many matches ending meanwhile.
pub const QUEUE_RECORDS_MAX: usize = 4096;

/// How long closing waits for records that are still being made. Making one takes a millisecond or two.
const ANNOUNCED_WITHIN: Duration = Duration::from_millis(1500);

/// How long closing waits for the writer after that. A disk that takes longer for what is left has hung.
const WRITER_WITHIN: Duration = Duration::from_secs(3);

/// Called on the writer's thread once the record is on disk; must not block.
pub type OnSynced = Box<dyn FnOnce() + Send>;

/// The spool folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("spool {path}: {source}")]
pub struct SpoolError {
    pub path: PathBuf,
    pub source: io::Error,
}

/// A record on its way to the disk; what [`Spool::append`] hands back when it has no room.
pub struct Append {
    pub record: MatchRecord,
    pub on_synced: OnSynced,
}

/// A record that is still being made. While it lives the spool counts it, and closing waits for it, within
/// [`ANNOUNCED_WITHIN`]. Dropped once the record was appended.
pub struct Announced {
    spool: Spool,
}

/// A handle to the spool. Clones share it; the last one to go closes it.
#[derive(Clone)]
pub struct Spool {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// Sizes and times; tests use smaller ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// A segment that has grown past this is closed and a new one begun.
    segment_bytes: u64,
    /// First pause after a failed write or delivery; each further one is twice as long, up to `retry_max`.
    retry_min: Duration,
    retry_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            segment_bytes: 16 * 1024 * 1024,
            retry_min: Duration::from_millis(100),
            retry_max: Duration::from_secs(5),
        }
    }
}

/// What shards, writer and delivery share.
struct Shared {
    folder: PathBuf,
    limits: Limits,
    inbox: Mutex<Inbox>,
    /// Wakes the writer: the inbox has something, or was closed; and who closes: nothing is announced any more.
    work: Condvar,
    /// On disk, not delivered. One small entry for each such record, so bounded by the disk.
    ready: Mutex<VecDeque<Entry>>,
    /// Wakes the delivery: `ready` has something.
    synced: Notify,
    /// Records announced or accepted, and not yet delivered.
    depth: watch::Sender<usize>,
    healthy: AtomicBool,
    syncs: AtomicU64,
    /// Records that were on disk and cannot be read again.
    lost: AtomicU64,
    /// Records that never came to the disk.
    unwritten: AtomicUsize,
}

/// What waits for the writer.
#[derive(Default)]
struct Inbox {
    /// At most [`QUEUE_RECORDS_MAX`].
    appends: VecDeque<Append>,
    /// No more than there were entries in `ready`.
    delivered: Vec<Entry>,
    /// Records that are still being made; at most one for each match.
    announced: usize,
    closed: bool,
}

/// A record on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    match_id: MatchId,
    at: Location,
}

impl Spool {
    /// Opens the folder, makes it when it is missing, and takes up every record in it that is not delivered.
    ///
    /// # Errors
    /// When the folder cannot be read, or damage in it cannot be put aside.
    pub fn open(folder: &Path) -> Result<(Spool, Recovery), SpoolError> {
        Spool::open_with(folder, Limits::default())
    }

    fn open_with(folder: &Path, limits: Limits) -> Result<(Spool, Recovery), SpoolError> {
        let broken = |source| SpoolError { path: folder.to_owned(), source };
        let (recovered, recovery) = writer::recover(folder).map_err(broken)?;
        let shared = Arc::new(Shared {
            folder: folder.to_owned(),
            limits,
            inbox: Mutex::default(),
            work: Condvar::new(),
            ready: Mutex::new(recovered.entries.iter().copied().collect()),
            synced: Notify::new(),
            depth: watch::Sender::new(recovered.entries.len()),
            healthy: AtomicBool::new(true),
            syncs: AtomicU64::new(0),
            lost: AtomicU64::new(recovery.damaged.iter().map(|damage| damage.ranges.len() as u64).sum()),
            unwritten: AtomicUsize::new(0),
        });
        let thread = writer::Writer::new(Arc::clone(&shared), &recovered);
        let thread = std::thread::Builder::new().name("spool".into()).spawn(move || thread.run()).map_err(broken)?;
        Ok((Spool { inner: Arc::new(Inner { shared, writer: Mutex::new(Some(thread)) }) }, recovery))
    }

    /// Says that a record will come: from now on it counts as something that must not be lost.
    pub fn announce(&self) -> Announced {
        lock(&self.inner.shared.inbox).announced += 1;
        self.inner.shared.depth.send_modify(|depth| *depth += 1);
        Announced { spool: self.clone() }
    }

    /// Hands a record to the writer. `on_synced` follows when it is on disk.
    ///
    /// # Errors
    /// Gives both back when the queue is full or closed; try again next tick.
    pub fn append(&self, record: MatchRecord, on_synced: OnSynced) -> Result<(), Box<Append>> {
        assert!(record.replay.len() < BODY_BYTES_MAX / 2, "a replay of {} bytes cannot be", record.replay.len());
        let shared = &self.inner.shared;
        let append = Append { record, on_synced };
        let mut inbox = lock(&shared.inbox);
        if inbox.closed || inbox.appends.len() >= QUEUE_RECORDS_MAX {
            return Err(Box::new(append));
        }
        shared.depth.send_modify(|depth| *depth += 1);
        inbox.appends.push_back(append);
        shared.work.notify_all();
        Ok(())
    }

    /// Whether the last write reached the disk. While not, nobody should begin a new match.
    pub fn healthy(&self) -> bool {
        self.inner.shared.healthy.load(Ordering::Relaxed)
    }

    /// Records announced or accepted, and not yet delivered.
    pub fn depth(&self) -> usize {
        *self.inner.shared.depth.borrow()
    }

    /// Records that were on disk and cannot be read again; each damaged range that the start found counts as one.
    pub fn lost(&self) -> u64 {
        self.inner.shared.lost.load(Ordering::Relaxed)
    }

    /// Records that were lost when the spool was closed, because the disk did not take them or they came too late.
    pub fn unwritten(&self) -> usize {
        self.inner.shared.unwritten.load(Ordering::Relaxed)
    }

    /// How often the disk has confirmed a batch.
    pub fn syncs(&self) -> u64 {
        self.inner.shared.syncs.load(Ordering::Acquire)
    }

    /// Delivers to `results` for as long as the returned future runs. One such future per spool.
    pub fn deliver_to(&self, results: Arc<dyn Results>) -> impl Future<Output = ()> + Send + use<> {
        delivery::run(Arc::clone(&self.inner.shared), results)
    }

    /// Waits until everything is delivered. `false` when that took longer than `timeout`; the rest stays on
    /// disk for the next start.
    pub async fn flush(&self, timeout: Duration) -> bool {
        let mut depth = self.inner.shared.depth.subscribe();
        let empty = depth.wait_for(|depth| *depth == 0);
        tokio::time::timeout(timeout, empty).await.is_ok_and(|empty| empty.is_ok())
    }

    /// Waits for announced records, writes what is waiting and ends the writer. Blocks for [`ANNOUNCED_WITHIN`] and
    /// [`WRITER_WITHIN`] at most.
    pub fn close(&self) {
        self.inner.close();
    }
}

impl Inner {
    fn close(&self) {
        // Whoever comes second has nothing to wait for: the first one closes.
        let Some(writer) = lock(&self.writer).take() else { return };
        let inbox = lock(&self.shared.inbox);
        let waited = self.shared.work.wait_timeout_while(inbox, ANNOUNCED_WITHIN, |inbox| inbox.announced > 0);
        let mut inbox = waited.unwrap_or_else(PoisonError::into_inner).0;
        if inbox.announced > 0 && !inbox.closed {
            self.shared.unwritten.fetch_add(inbox.announced, Ordering::Relaxed);
            tracing::error!(
                records = inbox.announced,
                "the spool closes before these results reached it; they are lost"
            );
        }
        inbox.closed = true;
        drop(inbox);
        self.shared.work.notify_all();
        // A writer that panicked has said so.
        if joined_until(writer, Instant::now() + WRITER_WITHIN) == Joined::Running {
            tracing::error!("the spool's disk hangs; what it has not taken is lost");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        let shared = &self.spool.inner.shared;
        lock(&shared.inbox).announced -= 1;
        shared.depth.send_modify(|depth| *depth -= 1);
        shared.work.notify_all();
    }
}

/// Every lock here guards single pushes and pops, so one poisoned by a panic is still sound.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
