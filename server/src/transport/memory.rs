//! In-process transport: payloads through queues, for tests in virtual time and for players in the same process.
//!
//! In and out: byte vectors. There is no handshake: whoever holds the other end and a reserved link id is connected.
//! A link may be given a bad network ([`MemoryNetwork::condition`]), as datagrams or as a stream, a conditioner each way.
//! *Invariant:* queues are bounded; what does not fit is dropped, as a network would.
//! *Invariant:* time comes as an argument; equal calls in equal order give equal payloads at equal times.
//! Start reading at [`MemoryNetwork`].

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use astro_shared::link::{Conditioner, Faults, Profile};
use astro_shared::wire::is_hot;
use astro_shared::wire::message::CloseReason;

use super::{Incoming, LinkId, Network, Traffic, Transport, Vacancy};

/// Payloads that one direction of one link may hold.
const QUEUE_MAX: usize = 256;

#[derive(Default)]
struct Wires {
    up: VecDeque<(LinkId, Up)>,
    down: HashMap<LinkId, VecDeque<Vec<u8>>>,
    connected: HashSet<LinkId>,
    closed: HashSet<LinkId>,
    /// Links with a bad network, by id: they are read in this order.
    paths: BTreeMap<u64, Path>,
    /// Of paths that are gone.
    past: Faults,
}

enum Up {
    Connect,
    Payload(Vec<u8>),
    Disconnect,
}

/// The two directions of a link with a bad network.
struct Path {
    up: Conditioner,
    down: Conditioner,
    /// The newest snapshot, while the stream that should carry it is full. `None` on datagrams.
    slot: Option<Vec<u8>>,
    latest_wins: bool,
}

/// How a bad network carries a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// Like UDP.
    Datagrams,
    /// Like TCP. With `latest_wins` a snapshot that finds the stream's window full waits in a slot, where a newer one takes
    /// its place; without, it joins the queue.
    Stream { latest_wins: bool },
}

/// The server's end.
pub struct MemoryTransport {
    wires: Arc<Mutex<Wires>>,
    reserved: HashSet<LinkId>,
    traffic: Traffic,
    /// Of the last [`Transport::receive`]: when what is sent now leaves.
    now: Duration,
}

/// The clients' end; cheap to clone.
#[derive(Clone)]
pub struct MemoryNetwork {
    wires: Arc<Mutex<Wires>>,
}

impl MemoryTransport {
    pub fn new() -> (MemoryTransport, MemoryNetwork) {
        let wires = Arc::<Mutex<Wires>>::default();
        let transport = MemoryTransport {
            wires: wires.clone(),
            reserved: HashSet::new(),
            traffic: Traffic::default(),
            now: Duration::ZERO,
        };
        (transport, MemoryNetwork { wires })
    }
}

fn lock(wires: &Mutex<Wires>) -> MutexGuard<'_, Wires> {
    wires.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryNetwork {
    /// Gives a link a bad network from now on: `profile` each way, with faults that follow from `seed`.
    pub fn condition(&self, link: LinkId, carrier: Carrier, profile: Profile, seed: u64) {
        let make = |seed| match carrier {
            Carrier::Datagrams => Conditioner::datagrams(profile, seed),
            Carrier::Stream { .. } => Conditioner::stream(profile, seed),
        };
        let latest_wins = carrier == Carrier::Stream { latest_wins: true };
        let path = Path { up: make(seed), down: make(!seed), slot: None, latest_wins };
        let mut wires = lock(&self.wires);
        if let Some(former) = wires.paths.insert(link.0, path) {
            former.faults().into_iter().for_each(|faults| wires.past.add(faults));
        }
    }

    /// What was done so far to the payloads of all conditioned links, both ways.
    pub fn faults(&self) -> Faults {
        let wires = lock(&self.wires);
        let mut all = wires.past;
        wires.paths.values().flat_map(Path::faults).for_each(|faults| all.add(faults));
        all
    }

    pub fn connect(&self, link: LinkId) {
        lock(&self.wires).up.push_back((link, Up::Connect));
    }

    pub fn disconnect(&self, link: LinkId) {
        lock(&self.wires).up.push_back((link, Up::Disconnect));
    }

    /// Sends a payload up; dropped when the server is too far behind.
    pub fn send(&self, link: LinkId, now: Duration, payload: &[u8]) {
        let mut wires = lock(&self.wires);
        if let Some(path) = wires.paths.get_mut(&link.0) {
            path.up.send(now, payload);
        } else if wires.up.len() < QUEUE_MAX * (1 + wires.down.len()) {
            wires.up.push_back((link, Up::Payload(payload.to_vec())));
        }
    }

    /// The next payload that has come down.
    pub fn receive(&self, link: LinkId, now: Duration) -> Option<Vec<u8>> {
        let mut wires = lock(&self.wires);
        match wires.paths.get_mut(&link.0) {
            Some(path) => path.down.receive(now),
            None => wires.down.get_mut(&link)?.pop_front(),
        }
    }

    /// Links that the server holds open.
    pub fn connected(&self) -> usize {
        lock(&self.wires).connected.len()
    }

    /// Whether the server has ended the link.
    pub fn is_closed(&self, link: LinkId) -> bool {
        lock(&self.wires).closed.contains(&link)
    }
}

impl Path {
    fn faults(&self) -> [&Faults; 2] {
        [self.up.faults(), self.down.faults()]
    }

    /// Sends down; false when it was dropped, or took the place of one that was waiting.
    fn send(&mut self, now: Duration, payload: &[u8]) -> bool {
        if self.latest_wins && is_hot(payload) && self.down.is_full() {
            return self.slot.replace(payload.to_vec()).is_none();
        }
        self.down.send(now, payload)
    }

    /// Lets out the snapshot that waits, when there is room.
    fn flush(&mut self, now: Duration) {
        if !self.down.is_full()
            && let Some(waiting) = self.slot.take()
        {
            self.down.send(now, &waiting);
        }
    }
}

impl Wires {
    /// What has come through the conditioners by `now`, behind what needs none.
    fn take_arrived(&mut self, now: Duration) -> VecDeque<(LinkId, Up)> {
        let mut arrived = std::mem::take(&mut self.up);
        for (link, path) in &mut self.paths {
            while let Some(payload) = path.up.receive(now) {
                arrived.push_back((LinkId(*link), Up::Payload(payload)));
            }
        }
        arrived
    }

    /// Forgets the paths of links that have ended and have nothing under way.
    fn forget_ended(&mut self) {
        let Wires { paths, closed, past, .. } = self;
        paths.retain(|link, path| {
            let keep = !closed.contains(&LinkId(*link)) || path.up.under_way() + path.down.under_way() > 0;
            if !keep {
                path.faults().into_iter().for_each(|faults| past.add(faults));
            }
            keep
        });
    }
}

impl Transport for MemoryTransport {
    fn network(&self) -> Network {
        Network::Memory
    }

    fn receive(&mut self, now: Duration, take: &mut dyn FnMut(Incoming<'_>)) {
        self.now = now;
        let arrived = lock(&self.wires).take_arrived(now);
        for (link, up) in arrived {
            // Not held over `take`, which may send.
            let connected = lock(&self.wires).connected.contains(&link);
            match up {
                Up::Connect if self.reserved.remove(&link) => {
                    lock(&self.wires).connected.insert(link);
                    take(Incoming::Connected(link));
                }
                Up::Payload(payload) if connected => {
                    self.traffic.received_datagrams += 1;
                    self.traffic.received_bytes += payload.len() as u64;
                    take(Incoming::Payload(link, &payload));
                }
                Up::Disconnect if connected => {
                    lock(&self.wires).connected.remove(&link);
                    take(Incoming::Disconnected(link));
                }
                _ => self.traffic.drop_one("not_connected"),
            }
        }
    }

    fn send(&mut self, link: LinkId, payload: &[u8]) {
        let mut wires = lock(&self.wires);
        let sent = match wires.paths.get_mut(&link.0) {
            Some(path) => path.send(self.now, payload),
            None => {
                let queue = wires.down.entry(link).or_default();
                let room = queue.len() < QUEUE_MAX;
                if room {
                    queue.push_back(payload.to_vec());
                }
                room
            }
        };
        if sent {
            self.traffic.sent_datagrams += 1;
            self.traffic.sent_bytes += payload.len() as u64;
        } else {
            self.traffic.drop_one("send_full");
        }
    }

    fn disconnect(&mut self, link: LinkId, _reason: CloseReason) {
        self.reserved.remove(&link);
        let mut wires = lock(&self.wires);
        wires.connected.remove(&link);
        wires.closed.insert(link);
    }

    fn flush(&mut self, now: Duration) -> Traffic {
        let mut wires = lock(&self.wires);
        wires.paths.values_mut().for_each(|path| path.flush(now));
        wires.forget_ended();
        drop(wires);
        std::mem::take(&mut self.traffic)
    }

    fn vacancy(&self) -> Option<Vacancy> {
        Some(Vacancy { lane: 0, address: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))) })
    }

    fn taken(&self) -> usize {
        self.reserved.len() + lock(&self.wires).connected.len()
    }

    fn reserve(&mut self, _vacancy: Vacancy, link: LinkId) {
        self.reserved.insert(link);
    }

    fn release(&mut self, link: LinkId) {
        self.disconnect(link, CloseReason::Replaced);
    }
}
