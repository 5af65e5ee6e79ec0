//! WebSockets, for browsers and whoever cannot use UDP: payloads in frames, over the HTTP port.
//!
//! Two halves. The *shard half* is here: a [`Transport`] on the shard's thread, which knows links and payloads but no
//! socket. The *async half* is [`Gate`]: tickets, sockets on their way in, and a mailbox per socket, which the service
//! empties (`api::play`). Between them lie two queues per shard: frames up, and one batch of parcels a tick down.
//! *Invariant:* the shard's thread waits for nothing here, and wakes the async side at most once per tick.
//! *Invariant:* while the async side is behind, the batch is kept and merged; it holds at most one parcel per link.
//! *Invariant:* one `receive` takes a bounded number of frames; a link that floods it is closed.
//! *Invariant:* each packet is fenced: a panic costs that packet, not the shard.
//! *Invariant:* an end of the shard half, by a panic or by a stop, closes every socket that it had.
//! Start reading at [`WebSocketTransport::on_up`] and [`WebSocketTransport::send`]; then `gate`.

mod gate;
mod mailbox;
mod pace;
mod parcel;

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use astro_shared::wire::message::CloseReason;
use astro_shared::wire::websocket::{CLOSE_TICKET, packets};
use tokio::sync::mpsc::Sender;

use super::{Allowance, Incoming, LinkId, Network, PACKETS_REFUSED_MAX, Traffic, Transport, Vacancy};
use crate::telemetry::stranger_line;
pub use gate::{Connection, Dismissed, Gate, Offered, Refused, SocketLimits, Visitor};
use parcel::Parcel;
pub use parcel::SnapshotQueue;

/// Frames of all links that may wait for a shard; each link has its own limit besides. Above it sockets are not read.
const FRAMES_WAITING_MAX: usize = 4096;
/// Batches between the halves: one on its way, and room for the last one.
const BATCHES_WAITING_MAX: usize = 2;

/// What the sockets hand to their shard.
#[derive(Debug)]
enum Up {
    /// A ticket was shown. The counter says how many frames of this link wait.
    Connected(LinkId, Arc<AtomicU32>),
    /// A frame that splits into packets.
    Frame(LinkId, Vec<u8>),
    Closed(LinkId),
    Slow(LinkId),
    Steady(LinkId),
    TooSlow(LinkId),
}

/// What the sockets of a shard have done since it last asked.
#[derive(Debug, Default)]
struct Tallies {
    frames: AtomicU64,
    bytes: AtomicU64,
    superseded: AtomicU64,
}

/// The shard half; see the module.
pub struct WebSocketTransport {
    // Before `down`: who finds the way up closed has had its mailbox closed or will have.
    /// A mutex only because a receiver may not be shared between threads and a transport must; it is never locked.
    up: Mutex<Receiver<Up>>,
    down: Sender<Vec<Parcel>>,
    tallies: Arc<Tallies>,
    queue: SnapshotQueue,
    links_max: usize,
    reserved: HashSet<LinkId>,
    links: HashMap<LinkId, Link>,
    /// Of this tick, and of those before it that the async side had no time for.
    batch: Vec<Parcel>,
    /// Links for which too much waits; reported at the next receive.
    overflowing: Vec<LinkId>,
    traffic: Traffic,
}

struct Link {
    allowance: Allowance,
    refused: u32,
    in_flight: Arc<AtomicU32>,
    /// Where in the batch its parcel is, when that parcel is this link's.
    parcel: usize,
}

impl WebSocketTransport {
    fn new(
        (up, down): (Receiver<Up>, Sender<Vec<Parcel>>),
        tallies: Arc<Tallies>,
        queue: SnapshotQueue,
        links_max: usize,
    ) -> WebSocketTransport {
        WebSocketTransport {
            up: Mutex::new(up),
            down,
            tallies,
            queue,
            links_max,
            reserved: HashSet::new(),
            links: HashMap::new(),
            batch: Vec::new(),
            overflowing: Vec::new(),
            traffic: Traffic::default(),
        }
    }

    fn on_up(&mut self, up: Up, now: Duration, take: &mut dyn FnMut(Incoming<'_>)) {
        match up {
            Up::Connected(link, in_flight) if self.reserved.remove(&link) => {
                let allowance = Allowance::new(now);
                self.links.insert(link, Link { allowance, refused: 0, in_flight, parcel: 0 });
                take(Incoming::Connected(link));
            }
            // Genuine, but its place was given back: used elsewhere, or a newer one was asked for.
            Up::Connected(link, _) => {
                self.traffic.drop_one("ticket");
                self.close(link, CLOSE_TICKET);
            }
            Up::Frame(link, frame) => self.on_frame(link, &frame, now, take),
            Up::Closed(link) if self.links.remove(&link).is_some() => take(Incoming::Disconnected(link)),
            Up::Slow(link) if self.links.contains_key(&link) => take(Incoming::Slow(link)),
            Up::Steady(link) if self.links.contains_key(&link) => take(Incoming::Steady(link)),
            Up::TooSlow(link) if self.links.contains_key(&link) => take(Incoming::TooSlow(link)),
            // Closed from here while that was on its way.
            Up::Closed(_) | Up::Slow(_) | Up::Steady(_) | Up::TooSlow(_) => {}
        }
    }

    fn on_frame(&mut self, link: LinkId, frame: &[u8], now: Duration, take: &mut dyn FnMut(Incoming<'_>)) {
        self.traffic.received_datagrams += 1;
        self.traffic.received_bytes += frame.len() as u64;
        let Some(held) = self.links.get_mut(&link) else { return self.traffic.drop_one("no_link") };
        held.in_flight.fetch_sub(1, Ordering::Relaxed);
        for packet in packets(frame).into_iter().flatten() {
            if held.allowance.take(now) {
                take(Incoming::Payload(link, packet));
                continue;
            }
            self.traffic.drop_one("rate");
            held.refused += 1;
            if held.refused >= PACKETS_REFUSED_MAX {
                // The rest of the frame, and whatever comes until the host has closed it, is not even looked at.
                if held.refused == PACKETS_REFUSED_MAX {
                    take(Incoming::Flooding(link));
                }
                return;
            }
        }
    }

    /// The parcel being filled for a link.
    fn parcel(&mut self, link: LinkId) -> Option<&mut Parcel> {
        let held = self.links.get_mut(&link)?;
        if self.batch.get(held.parcel).is_none_or(|parcel| parcel.link != link) {
            held.parcel = self.batch.len();
            self.batch.push(Parcel::new(link));
        }
        self.batch.get_mut(held.parcel)
    }

    /// Sends a link away that is no link any more, or never was one.
    fn close(&mut self, link: LinkId, code: u16) {
        let mut parcel = Parcel::new(link);
        parcel.close = Some(code);
        self.batch.push(parcel);
    }
}

impl Transport for WebSocketTransport {
    fn network(&self) -> Network {
        Network::WebSocket
    }

    fn receive(&mut self, now: Duration, take: &mut dyn FnMut(Incoming<'_>)) {
        for link in std::mem::take(&mut self.overflowing) {
            if self.links.contains_key(&link) {
                take(Incoming::TooSlow(link));
            }
        }
        let mut panics = 0;
        for _ in 0..FRAMES_WAITING_MAX {
            let up = self.up.get_mut().unwrap_or_else(PoisonError::into_inner).try_recv();
            let Ok(up) = up else { break };
            // Each packet has a fence of its own: what follows it is handed in all the same.
            self.on_up(up, now, &mut |incoming| {
                panics += usize::from(catch_unwind(AssertUnwindSafe(|| take(incoming))).is_err());
            });
        }
        if panics > 0 {
            (0..panics).for_each(|_| self.traffic.drop_one("panic"));
            stranger_line!(error, panics, "what came over a WebSocket made the receive path panic; it was dropped");
        }
    }

    fn send(&mut self, link: LinkId, payload: &[u8]) {
        let queue = self.queue;
        let Some(parcel) = self.parcel(link) else { return self.traffic.drop_one("not_connected") };
        let merged = parcel.put(payload, queue);
        if merged.superseded > 0 {
            self.tallies.superseded.fetch_add(merged.superseded, Ordering::Relaxed);
        }
        if merged.overflow {
            self.traffic.drop_one("send_full");
            self.overflowing.push(link);
        }
    }

    fn disconnect(&mut self, link: LinkId, reason: CloseReason) {
        if let Some(parcel) = self.parcel(link) {
            parcel.close = Some(reason.websocket_code());
        }
        self.links.remove(&link);
    }

    fn flush(&mut self, _now: Duration) -> Traffic {
        let is_behind = self.down.capacity() < BATCHES_WAITING_MAX;
        if !self.batch.is_empty() && !is_behind {
            let room = Vec::with_capacity(self.batch.len());
            // Fails only at the end of the service, when there is nobody left to send to.
            let _ = self.down.try_send(std::mem::replace(&mut self.batch, room));
        }
        let mut traffic = std::mem::take(&mut self.traffic);
        traffic.sent_datagrams += self.tallies.frames.swap(0, Ordering::Relaxed);
        traffic.sent_bytes += self.tallies.bytes.swap(0, Ordering::Relaxed);
        traffic.superseded += self.tallies.superseded.swap(0, Ordering::Relaxed);
        traffic
    }

    fn vacancy(&self) -> Option<Vacancy> {
        (self.taken() < self.links_max).then_some(Vacancy { lane: 0, address: None })
    }

    fn taken(&self) -> usize {
        self.reserved.len() + self.links.len()
    }

    fn reserve(&mut self, _vacancy: Vacancy, link: LinkId) {
        self.reserved.insert(link);
    }

    fn release(&mut self, link: LinkId) {
        self.reserved.remove(&link);
        if self.links.remove(&link).is_some() {
            self.close(link, CLOSE_TICKET);
        }
    }
}

impl Drop for WebSocketTransport {
    /// The last words leave even when the async side is behind: there is room for one batch more than `flush` uses.
    fn drop(&mut self) {
        let _ = self.down.try_send(std::mem::take(&mut self.batch));
    }
}

#[cfg(test)]
mod tests;
