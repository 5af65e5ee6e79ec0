//! What waits for one socket, and whether the socket keeps up.
//!
//! In: parcels from the distributor. Out: one frame at a time, when the last one is flushed; a code to close with.
//! *Invariant:* while the last frame is unflushed nothing piles up: a newer snapshot overtakes the waiting one.
//! *Invariant:* one task takes out, any may put in; the lock is held for a few moves of bytes.
//! Start reading at [`Mailbox::put`] and [`Mailbox::take`].

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use super::pace::{Pace, Verdict};
use super::parcel::{Parcel, SnapshotQueue};
use crate::transport::LinkId;

/// See the module.
#[derive(Debug)]
pub(super) struct Mailbox {
    state: Mutex<State>,
    queue: SnapshotQueue,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    waiting: Parcel,
    pace: Pace,
}

impl Mailbox {
    pub fn new(link: LinkId, queue: SnapshotQueue, now: Instant) -> Mailbox {
        let state = State { waiting: Parcel::new(link), pace: Pace::new(now) };
        Mailbox { state: Mutex::new(state), queue, changed: Notify::new() }
    }

    /// Adds a parcel; answers how many snapshots were overtaken, and what should be done about the client.
    pub fn put(&self, parcel: Parcel, now: Instant) -> (u64, Option<Verdict>) {
        let (superseded, verdict) = {
            let mut state = self.lock();
            let merged = state.waiting.absorb(parcel, self.queue);
            (merged.superseded, state.pace.judge(merged.superseded, merged.overflow, now))
        };
        self.changed.notify_one();
        (superseded, verdict)
    }

    /// Asks for the socket to be closed, unless that was asked for before.
    pub fn close(&self, code: u16) {
        self.lock().waiting.close.get_or_insert(code);
        self.changed.notify_one();
    }

    /// Waits until there may be something to take, or a code to close with.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The code to close with, if there is one yet.
    pub fn code(&self) -> Option<u16> {
        self.lock().waiting.close
    }

    /// Takes the frame that waits; it counts as unflushed until [`Mailbox::on_flushed`].
    pub fn take(&self, now: Instant) -> Option<Vec<u8>> {
        let mut state = self.lock();
        let frame = state.waiting.take_frame()?;
        state.pace.on_frame(now);
        Some(frame)
    }

    /// The connection has taken the last frame.
    pub fn on_flushed(&self) {
        self.lock().pace.on_flushed();
    }

    /// Every change under this lock leaves the state sound, so a poisoned one still is.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
