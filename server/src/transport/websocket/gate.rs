//! The async half of the WebSocket transport: who may come in, and what lies between a socket and its shard.
//!
//! In: tickets from the host, sockets from the service, batches from the shards. Out: [`Connection`]s, and what waits for them.
//! *Invariant:* a ticket is looked at once: whoever shows it first has it, whether the shard then takes it or not.
//! *Invariant:* every list has a limit: tickets, sockets in all, sockets without a ticket in all and per address.
//! *Invariant:* sockets without a ticket keep nobody out: when there are too many in all, the one that has waited longest
//! of the network with the most is closed for the one that comes.
//! *Invariant:* no lock here is ever taken by a shard's thread while it ticks.
//! Start reading at [`Gate::enter`], [`Gate::admit`] and [`distribute`].

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use astro_shared::wire;
use astro_shared::wire::websocket::{
    CLOSE_NO_HELLO, CLOSE_OUTDATED, CLOSE_SHUTTING_DOWN, CLOSE_TICKET, CLOSE_TOO_SLOW, CLOSE_VOIDED,
    FRAMES_IN_FLIGHT_MAX, Hello, SOCKETS_WAITING_MAX, SOCKETS_WAITING_PER_ADDRESS_MAX, TICKET_BYTES, TICKET_TTL_S,
};
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::mailbox::Mailbox;
use super::pace::Verdict;
use super::parcel::{Parcel, SnapshotQueue};
use super::{BATCHES_WAITING_MAX, FRAMES_WAITING_MAX, Tallies, Up, WebSocketTransport};
use crate::transport::{Allowance, LinkId};

/// Tickets that are remembered at once. A shard has no place for more links; above it no ticket is given.
const TICKETS_MAX: usize = 64 * 1024;
/// Sockets in all, those included that are being closed. Shards have fewer places for links on any machine we know.
const SOCKETS_MAX: u32 = 64 * 1024;
/// A hello comes a round trip after the upgrade. Whoever takes longer than this may lose the place to somebody who comes.
const HELLO_SOON: Duration = Duration::from_secs(1);
/// How long sockets may take to close when the server stops.
const STOP_WITHIN: Duration = Duration::from_millis(1500);

/// Who may come in, and how snapshots wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketLimits {
    /// Sockets that have not shown a ticket yet, in all and per address.
    pub waiting_max: usize,
    pub waiting_per_address_max: usize,
    pub snapshot_queue: SnapshotQueue,
}

impl Default for SocketLimits {
    fn default() -> SocketLimits {
        SocketLimits {
            waiting_max: SOCKETS_WAITING_MAX,
            waiting_per_address_max: SOCKETS_WAITING_PER_ADDRESS_MAX,
            snapshot_queue: SnapshotQueue::default(),
        }
    }
}

/// Why a socket is not let in; told before the upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Too many sockets without a ticket from this address.
    Waiting,
    /// Too many sockets.
    Full,
    Stopping,
}

/// See the module.
pub struct Gate {
    limits: SocketLimits,
    fingerprint: u64,
    runtime: Handle,
    tickets: Mutex<Tickets>,
    waiting: Mutex<Waiting>,
    /// Way to each shard that runs or is being started again.
    ports: Mutex<HashMap<usize, Arc<Port>>>,
    sockets: Arc<Semaphore>,
    stop: watch::Sender<bool>,
}

/// Tickets nobody has shown yet. All live equally long, so the oldest end first.
#[derive(Default)]
struct Tickets {
    valid: HashMap<[u8; TICKET_BYTES], (usize, LinkId)>,
    by_age: VecDeque<(Instant, [u8; TICKET_BYTES])>,
}

/// Sockets that have not shown a ticket yet, by number: the oldest has the lowest.
#[derive(Default)]
struct Waiting {
    next: u64,
    sockets: HashMap<u64, WaitingSocket>,
}

struct WaitingSocket {
    address: IpAddr,
    since: Instant,
    evicted: Arc<Notify>,
}

/// The way to one shard.
struct Port {
    up: SyncSender<Up>,
    mailboxes: Mutex<HashMap<LinkId, Arc<Mailbox>>>,
    tallies: Arc<Tallies>,
    queue: SnapshotQueue,
}

/// A socket that has not shown a ticket yet.
pub struct Visitor {
    gate: Arc<Gate>,
    number: u64,
    evicted: Arc<Notify>,
    place: Option<OwnedSemaphorePermit>,
}

/// Why a visitor has to go before showing a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dismissed {
    /// The server stops.
    Stopping,
    /// Others need the place, which is theirs already.
    Evicted,
}

impl Dismissed {
    /// The code to close with.
    pub fn code(self) -> u16 {
        match self {
            Dismissed::Stopping => CLOSE_SHUTTING_DOWN,
            Dismissed::Evicted => CLOSE_NO_HELLO,
        }
    }
}

/// A socket's way to its shard and back.
pub struct Connection {
    link: LinkId,
    port: Arc<Port>,
    mailbox: Arc<Mailbox>,
    in_flight: Arc<AtomicU32>,
    /// Of frames that are not the shard's business: pings.
    idle_frames: Allowance,
    began: Instant,
    _place: Option<OwnedSemaphorePermit>,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    Taken,
    /// The shard has enough to do; try again, and read no more until then.
    Later,
    /// The shard is gone.
    Gone,
}

impl Gate {
    /// `runtime` runs what hands the shards' batches on.
    pub fn new(limits: SocketLimits, runtime: Handle) -> Arc<Gate> {
        Arc::new(Gate {
            limits,
            fingerprint: wire::fingerprint(),
            runtime,
            tickets: Mutex::default(),
            waiting: Mutex::default(),
            ports: Mutex::default(),
            sockets: Arc::new(Semaphore::new(SOCKETS_MAX as usize)),
            stop: watch::Sender::new(false),
        })
    }

    /// The shard half for a shard that starts, or starts again after a panic.
    pub fn open_shard(&self, shard: usize, links_max: usize) -> WebSocketTransport {
        let (up, up_queue) = sync_channel(FRAMES_WAITING_MAX);
        let (down, batches) = mpsc::channel(BATCHES_WAITING_MAX);
        let (tallies, queue) = (Arc::<Tallies>::default(), self.limits.snapshot_queue);
        let port = Arc::new(Port { up, mailboxes: Mutex::default(), tallies: tallies.clone(), queue });
        lock(&self.ports).insert(shard, port.clone());
        self.runtime.spawn(distribute(port, batches, self.stop.subscribe()));
        WebSocketTransport::new((up_queue, down), tallies, queue, links_max)
    }

    /// Makes a ticket good for a link; false when there are too many.
    pub fn register(&self, ticket: [u8; TICKET_BYTES], shard: usize, link: LinkId, now: Instant) -> bool {
        let mut tickets = lock(&self.tickets);
        tickets.forget_expired(now);
        if tickets.by_age.len() >= TICKETS_MAX {
            return false;
        }
        tickets.valid.insert(ticket, (shard, link));
        tickets.by_age.push_back((now + Duration::from_secs(TICKET_TTL_S), ticket));
        true
    }

    /// Counts a socket in that wants to be upgraded.
    ///
    /// # Errors
    /// Why it may not.
    pub fn enter(self: &Arc<Self>, address: IpAddr, now: Instant) -> Result<Visitor, Refused> {
        if *self.stop.borrow() {
            return Err(Refused::Stopping);
        }
        let place = self.sockets.clone().try_acquire_owned().map_err(|_| Refused::Full)?;
        let mut waiting = lock(&self.waiting);
        if waiting.count(|other| other == address) >= self.limits.waiting_per_address_max {
            return Err(Refused::Waiting);
        }
        if waiting.sockets.len() >= self.limits.waiting_max && !waiting.evict(now) {
            return Err(Refused::Waiting);
        }
        waiting.next += 1;
        let (number, evicted) = (waiting.next, Arc::<Notify>::default());
        waiting.sockets.insert(number, WaitingSocket { address, since: now, evicted: evicted.clone() });
        drop(waiting);
        Ok(Visitor { gate: self.clone(), number, evicted, place: Some(place) })
    }

    /// Sockets that are open, those being closed included.
    pub fn sockets(&self) -> usize {
        SOCKETS_MAX as usize - self.sockets.available_permits()
    }

    /// Those of them that have not shown a ticket yet.
    pub fn waiting(&self) -> usize {
        lock(&self.waiting).sockets.len()
    }

    /// Lets a socket in by its ticket, which is spent. The shard has the last word; it may close the connection at once.
    ///
    /// # Errors
    /// The code to close the socket with; the visitor goes on counting until it is dropped.
    pub fn admit(&self, visitor: &mut Visitor, hello: &Hello, now: Instant) -> Result<Connection, u16> {
        if hello.fingerprint != self.fingerprint {
            return Err(CLOSE_OUTDATED);
        }
        let found = {
            let mut tickets = lock(&self.tickets);
            tickets.forget_expired(now);
            tickets.valid.remove(&hello.ticket)
        };
        let (shard, link) = found.ok_or(CLOSE_TICKET)?;
        let port = lock(&self.ports).get(&shard).cloned().ok_or(CLOSE_VOIDED)?;
        let mailbox = Arc::new(Mailbox::new(link, port.queue, now));
        let in_flight = Arc::<AtomicU32>::default();
        // Before the shard knows: what it answers must find the mailbox.
        lock(&port.mailboxes).insert(link, mailbox.clone());
        let mut connection = Connection {
            link,
            port,
            mailbox,
            in_flight: in_flight.clone(),
            idle_frames: Allowance::new(Duration::ZERO),
            began: now,
            _place: None,
        };
        // Full only when the shard has stood still for long; then nobody can be let in.
        connection.port.up.try_send(Up::Connected(link, in_flight)).map_err(|_| CLOSE_VOIDED)?;
        connection._place = visitor.place.take();
        Ok(connection)
    }

    /// From now on nobody is let in, and sockets without a ticket are closed. Those with one go with their shards.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits until every socket is closed, for a moment at most. To be called after all shards have ended.
    pub async fn closed(&self) {
        let all = self.sockets.acquire_many(SOCKETS_MAX);
        if tokio::time::timeout(STOP_WITHIN, all).await.is_err() {
            tracing::warn!("some sockets did not close in time");
        }
    }
}

impl Tickets {
    fn forget_expired(&mut self, now: Instant) {
        while self.by_age.front().is_some_and(|(until, _)| *until <= now)
            && let Some((_, ticket)) = self.by_age.pop_front()
        {
            self.valid.remove(&ticket);
        }
    }
}

impl Visitor {
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Ends when the socket has to go.
    pub async fn dismissed(&self) -> Dismissed {
        let mut stop = self.gate.stop.subscribe();
        tokio::select! {
            // The sender lives in the gate that we hold.
            _ = stop.wait_for(|stop| *stop) => Dismissed::Stopping,
            () = self.evicted.notified() => Dismissed::Evicted,
        }
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        lock(&self.gate.waiting).sockets.remove(&self.number);
    }
}

impl Waiting {
    fn count(&self, of: impl Fn(IpAddr) -> bool) -> usize {
        self.sockets.values().filter(|socket| of(socket.address)).count()
    }

    /// Takes the place of the socket that has waited longest, if that is longer than [`HELLO_SOON`]; whoever means to play
    /// is through by then. Whether there was one.
    fn evict(&mut self, now: Instant) -> bool {
        let oldest = self.sockets.iter().min_by_key(|(number, _)| **number);
        let late = oldest.filter(|(_, socket)| now.saturating_duration_since(socket.since) >= HELLO_SOON);
        let Some(socket) = late.map(|(number, _)| *number).and_then(|number| self.sockets.remove(&number)) else {
            return false;
        };
        socket.evicted.notify_one();
        true
    }
}

impl Connection {
    /// Hands a frame of whole packets up. It is taken out of `frame` when the shard has room for it.
    pub fn offer(&self, frame: &mut Option<Vec<u8>>) -> Offered {
        let Some(bytes) = frame.take() else { return Offered::Taken };
        if self.in_flight.load(Ordering::Relaxed) >= FRAMES_IN_FLIGHT_MAX {
            *frame = Some(bytes);
            return Offered::Later;
        }
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        match self.port.up.try_send(Up::Frame(self.link, bytes)) {
            Ok(()) => Offered::Taken,
            Err(TrySendError::Full(up)) => {
                self.in_flight.fetch_sub(1, Ordering::Relaxed);
                if let Up::Frame(_, bytes) = up {
                    *frame = Some(bytes);
                }
                Offered::Later
            }
            Err(TrySendError::Disconnected(_)) => Offered::Gone,
        }
    }

    /// Counts a frame that carries nothing; false when there are too many.
    pub fn may_idle(&mut self, now: Instant) -> bool {
        self.idle_frames.take(now.saturating_duration_since(self.began))
    }

    /// Waits until there may be a frame to send, or a code to close with.
    pub async fn changed(&self) {
        self.mailbox.changed().await;
    }

    /// Takes the frame to send, if there is one. The next one is taken when this one is flushed.
    pub fn take(&self, now: Instant) -> Option<Vec<u8>> {
        let frame = self.mailbox.take(now)?;
        self.port.tallies.frames.fetch_add(1, Ordering::Relaxed);
        self.port.tallies.bytes.fetch_add(frame.len() as u64, Ordering::Relaxed);
        Some(frame)
    }

    /// The connection has taken all that was handed to it.
    pub fn on_flushed(&self) {
        self.mailbox.on_flushed();
    }

    /// The code to close with, once there is one.
    pub fn code(&self) -> Option<u16> {
        self.mailbox.code()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        lock(&self.port.mailboxes).remove(&self.link);
        // When the shard has no room for it, it will find the link silent; when it is gone, there is nobody to tell.
        let _ = self.port.up.try_send(Up::Closed(self.link));
    }
}

/// Puts a shard's batches into the mailboxes until the shard ends; then closes what is left.
async fn distribute(port: Arc<Port>, mut batches: mpsc::Receiver<Vec<Parcel>>, stop: watch::Receiver<bool>) {
    while let Some(batch) = batches.recv().await {
        port.hand_out(batch, Instant::now());
    }
    let code = if *stop.borrow() { CLOSE_SHUTTING_DOWN } else { CLOSE_VOIDED };
    lock(&port.mailboxes).values().for_each(|mailbox| mailbox.close(code));
}

impl Port {
    fn hand_out(&self, batch: Vec<Parcel>, now: Instant) {
        let mailboxes = lock(&self.mailboxes);
        for parcel in batch {
            let link = parcel.link;
            // Without a mailbox the socket has closed by itself.
            let Some(mailbox) = mailboxes.get(&link) else { continue };
            let (superseded, verdict) = mailbox.put(parcel, now);
            if superseded > 0 {
                self.tallies.superseded.fetch_add(superseded, Ordering::Relaxed);
            }
            match verdict {
                None => {}
                // A shard without room for it sends late to everybody; that is no reason to send this one less.
                Some(Verdict::Slow) => _ = self.up.try_send(Up::Slow(link)),
                Some(Verdict::Steady) => _ = self.up.try_send(Up::Steady(link)),
                Some(Verdict::TooSlow) if self.up.try_send(Up::TooSlow(link)).is_err() => mailbox.close(CLOSE_TOO_SLOW),
                Some(Verdict::TooSlow) => {}
            }
        }
    }
}

/// Every change under these locks is one operation on a list, so a poisoned one is still sound.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
