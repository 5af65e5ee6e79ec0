//! In-process transport: payloads through queues, for tests in virtual time and for players in the same process.
//!
//! In and out: byte vectors. There is no handshake: whoever holds the other end and a reserved link id is connected.
//! *Invariant:* queues are bounded; what does not fit is dropped, as a network would.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Incoming, LinkId, Traffic, Transport, Vacancy};

/// Payloads that one direction of one link may hold.
const QUEUE_MAX: usize = 256;

#[derive(Default)]
struct Wires {
    up: VecDeque<(LinkId, Up)>,
    down: HashMap<LinkId, VecDeque<Vec<u8>>>,
    closed: HashSet<LinkId>,
}

enum Up {
    Connect,
    Payload(Vec<u8>),
    Disconnect,
}

/// The server's end.
pub struct MemoryTransport {
    wires: Arc<Mutex<Wires>>,
    reserved: HashSet<LinkId>,
    connected: HashSet<LinkId>,
    traffic: Traffic,
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
            connected: HashSet::new(),
            traffic: Traffic::default(),
        };
        (transport, MemoryNetwork { wires })
    }
}

impl MemoryNetwork {
    fn with<T>(&self, change: impl FnOnce(&mut Wires) -> T) -> T {
        change(&mut self.wires.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn connect(&self, link: LinkId) {
        self.with(|wires| wires.up.push_back((link, Up::Connect)));
    }

    pub fn disconnect(&self, link: LinkId) {
        self.with(|wires| wires.up.push_back((link, Up::Disconnect)));
    }

    /// Sends a payload up; dropped when the server is too far behind.
    pub fn send(&self, link: LinkId, payload: &[u8]) {
        self.with(|wires| {
            if wires.up.len() < QUEUE_MAX * (1 + wires.down.len()) {
                wires.up.push_back((link, Up::Payload(payload.to_vec())));
            }
        });
    }

    /// The next payload that came down.
    pub fn receive(&self, link: LinkId) -> Option<Vec<u8>> {
        self.with(|wires| wires.down.get_mut(&link)?.pop_front())
    }

    /// Whether the server has ended the link.
    pub fn is_closed(&self, link: LinkId) -> bool {
        self.with(|wires| wires.closed.contains(&link))
    }
}

impl Transport for MemoryTransport {
    fn receive(&mut self, _now: Duration, take: &mut dyn FnMut(Incoming<'_>)) {
        let arrived = std::mem::take(&mut self.wires.lock().unwrap_or_else(PoisonError::into_inner).up);
        for (link, up) in arrived {
            match up {
                Up::Connect if self.reserved.remove(&link) => {
                    self.connected.insert(link);
                    take(Incoming::Connected(link));
                }
                Up::Payload(payload) if self.connected.contains(&link) => {
                    self.traffic.received_datagrams += 1;
                    self.traffic.received_bytes += payload.len() as u64;
                    take(Incoming::Payload(link, &payload));
                }
                Up::Disconnect if self.connected.remove(&link) => take(Incoming::Disconnected(link)),
                _ => self.traffic.drop_one("not_connected"),
            }
        }
    }

    fn send(&mut self, link: LinkId, payload: &[u8]) {
        let mut wires = self.wires.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = wires.down.entry(link).or_default();
        if queue.len() < QUEUE_MAX {
            queue.push_back(payload.to_vec());
            self.traffic.sent_datagrams += 1;
            self.traffic.sent_bytes += payload.len() as u64;
        } else {
            self.traffic.drop_one("send_full");
        }
    }

    fn disconnect(&mut self, link: LinkId) {
        self.reserved.remove(&link);
        self.connected.remove(&link);
        self.wires.lock().unwrap_or_else(PoisonError::into_inner).closed.insert(link);
    }

    fn flush(&mut self, _now: Duration) -> Traffic {
        std::mem::take(&mut self.traffic)
    }

    fn vacancy(&self) -> Option<Vacancy> {
        Some(Vacancy { lane: 0, address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)) })
    }

    fn reserve(&mut self, _vacancy: Vacancy, link: LinkId) {
        self.reserved.insert(link);
    }

    fn release(&mut self, link: LinkId) {
        self.disconnect(link);
    }
}
