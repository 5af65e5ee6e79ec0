//! A parcel: what one link is to get next, as one frame. Filled by the shard, merged wherever it has to wait.
//!
//! In: payloads, newer parcels. Out: the frame; how many snapshots a newer one overtook.
//! *Invariant:* a parcel holds one snapshot, the newest, and control packets within the limits of `wire::websocket`,
//! however long it waits. (Measuring may queue snapshots instead, see [`SnapshotQueue::All`]; those are bounded too.)
//! *Invariant:* control packets keep their order and are never dropped in silence.
//! Start reading at [`Parcel::put`] and [`Parcel::absorb`].

use std::fmt;

use astro_shared::wire::is_hot;
use astro_shared::wire::websocket::{CONTROL_BYTES_WAITING_MAX, CONTROL_PACKETS_WAITING_MAX, put_packet};

use crate::transport::LinkId;

/// Bytes of snapshots that may wait where they queue: a minute of them.
const QUEUED_SNAPSHOT_BYTES_MAX: usize = 32 * 1024;

/// What happens to a snapshot that cannot leave before the next one comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SnapshotQueue {
    /// It is dropped: a client never waits for what is already old.
    #[default]
    Latest,
    /// It is sent as well, as any stream would. Only for measuring what dropping is worth.
    All,
}

impl fmt::Display for SnapshotQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SnapshotQueue::Latest => "latest",
            SnapshotQueue::All => "all",
        })
    }
}

/// See the module.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parcel {
    pub link: LinkId,
    /// Framed, in order.
    control: Vec<u8>,
    control_packets: usize,
    /// Framed; one, unless snapshots queue.
    snapshot: Vec<u8>,
    /// After all that the socket is closed with this code.
    pub close: Option<u16>,
}

/// What became of what was put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Merged {
    /// Snapshots that left unsent.
    pub superseded: u64,
    /// More waits than may; something was left out.
    pub overflow: bool,
}

impl Parcel {
    pub fn new(link: LinkId) -> Parcel {
        Parcel { link, control: Vec::new(), control_packets: 0, snapshot: Vec::new(), close: None }
    }

    /// Adds a payload.
    pub fn put(&mut self, payload: &[u8], queue: SnapshotQueue) -> Merged {
        if is_hot(payload) {
            let mut framed = Vec::with_capacity(2 + payload.len());
            put_packet(&mut framed, payload);
            return self.put_snapshot(framed, queue);
        }
        let overflow = self.control_packets + 1 > CONTROL_PACKETS_WAITING_MAX
            || self.control.len() + payload.len() > CONTROL_BYTES_WAITING_MAX;
        if !overflow {
            put_packet(&mut self.control, payload);
            self.control_packets += 1;
        }
        Merged { superseded: 0, overflow }
    }

    fn put_snapshot(&mut self, framed: Vec<u8>, queue: SnapshotQueue) -> Merged {
        let waits = !self.snapshot.is_empty();
        match queue {
            SnapshotQueue::All if waits => {
                let overflow = self.snapshot.len() + framed.len() > QUEUED_SNAPSHOT_BYTES_MAX;
                if !overflow {
                    self.snapshot.extend_from_slice(&framed);
                }
                Merged { superseded: 0, overflow }
            }
            _ => {
                self.snapshot = framed;
                Merged { superseded: u64::from(waits), overflow: false }
            }
        }
    }

    /// Adds everything of a newer parcel of the same link.
    pub fn absorb(&mut self, newer: Parcel, queue: SnapshotQueue) -> Merged {
        let mut merged = Merged { superseded: 0, overflow: false };
        if !newer.snapshot.is_empty() {
            merged = self.put_snapshot(newer.snapshot, queue);
        }
        self.close = self.close.or(newer.close);
        if self.control.is_empty() {
            (self.control, self.control_packets) = (newer.control, newer.control_packets);
            return merged;
        }
        merged.overflow |= self.control_packets + newer.control_packets > CONTROL_PACKETS_WAITING_MAX
            || self.control.len() + newer.control.len() > CONTROL_BYTES_WAITING_MAX;
        // The last word may be one too many: it says why the link ends.
        if !merged.overflow || newer.close.is_some() {
            self.control.extend_from_slice(&newer.control);
            self.control_packets += newer.control_packets;
        }
        merged
    }

    /// Takes the frame out; `None` when there is nothing to send.
    pub fn take_frame(&mut self) -> Option<Vec<u8>> {
        let mut frame = std::mem::take(&mut self.control);
        let snapshot = std::mem::take(&mut self.snapshot);
        self.control_packets = 0;
        if frame.is_empty() {
            frame = snapshot;
        } else {
            frame.extend_from_slice(&snapshot);
        }
        (!frame.is_empty()).then_some(frame)
    }
}

#[cfg(test)]
mod tests {
    use astro_shared::wire::websocket::packets;

    use super::*;

    const LATEST: SnapshotQueue = SnapshotQueue::Latest;
    const NOTHING: Merged = Merged { superseded: 0, overflow: false };

    fn parcel(payloads: &[&[u8]]) -> Parcel {
        let mut parcel = Parcel::new(LinkId(1));
        payloads.iter().for_each(|payload| _ = parcel.put(payload, LATEST));
        parcel
    }

    fn frame(parcel: &mut Parcel) -> Vec<Vec<u8>> {
        let frame = parcel.take_frame().unwrap_or_default();
        packets(&frame).map(|packets| packets.map(<[u8]>::to_vec).collect()).unwrap_or_default()
    }

    #[test]
    fn a_newer_snapshot_overtakes_an_older_one_and_control_keeps_its_order() {
        let mut first = parcel(&[&[0x80, 1], &[0, 1]]);
        assert_eq!(first.put(&[0x80, 2], LATEST), Merged { superseded: 1, overflow: false });
        assert_eq!(first.absorb(parcel(&[&[0, 2], &[0x80, 3]]), LATEST), Merged { superseded: 1, overflow: false });
        assert_eq!(first.absorb(parcel(&[&[0, 3]]), LATEST), NOTHING);
        assert_eq!(frame(&mut first), [&[0, 1][..], &[0, 2], &[0, 3], &[0x80, 3]]);
        assert_eq!(first.take_frame(), None);
    }

    #[test]
    fn snapshots_queue_only_for_measuring_and_within_a_limit() {
        let mut first = parcel(&[&[0x80, 1]]);
        assert_eq!(first.put(&[0x80, 2], SnapshotQueue::All), NOTHING);
        assert_eq!(frame(&mut first), [[0x80, 1], [0x80, 2]]);
        let snapshot = [0x80; 1000];
        let put = (0..).map(|_| first.put(&snapshot, SnapshotQueue::All)).take_while(|merged| !merged.overflow).count();
        assert_eq!(put, QUEUED_SNAPSHOT_BYTES_MAX / 1002);
    }

    #[test]
    fn control_packets_that_pile_up_are_told_of_and_the_last_word_still_fits() {
        let mut waiting = parcel(&[]);
        let put = (0..).take_while(|_| waiting.put(&[4, 0], LATEST) == NOTHING).count();
        assert_eq!(put, CONTROL_PACKETS_WAITING_MAX);
        let mut large = parcel(&[]);
        let put = (0..).take_while(|_| large.put(&[0; 1200], LATEST) == NOTHING).count();
        assert_eq!(put, CONTROL_BYTES_WAITING_MAX / 1202);
        assert!(waiting.absorb(parcel(&[&[4, 1]]), LATEST).overflow);
        let mut last = parcel(&[&[0, 9]]);
        last.close = Some(4008);
        waiting.absorb(last, LATEST);
        assert_eq!((waiting.close, frame(&mut waiting).len()), (Some(4008), CONTROL_PACKETS_WAITING_MAX + 1));
    }
}
