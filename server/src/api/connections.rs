//! The register of open connections: who gets a place, and who loses one when there is none left.
//!
//! In: connections opened and closed, and whether each waits for its client or its client for us. Out: places.
//! *Invariant:* a new connection gets a place while any connection of the same limit waits for its client, however
//! many there are: the one that waits is closed instead. So slow and idle clients never keep anybody out.
//! *Invariant:* a request that has arrived whole is answered; its connection is not closed for another.
//! Start reading at [`Connections::admit`].

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::sync::Notify;

use super::limits::Limits;
use super::peer::Network;

/// In [`Activity::waiting_since_ms`]: a whole request is here and we owe the answer.
const WORKING: u64 = u64::MAX;

/// Whose turn it is on a connection.
pub struct Activity {
    /// On the register's clock; since when we wait for the client to send or to read. [`WORKING`] when it waits for us.
    waiting_since_ms: AtomicU64,
    epoch: Instant,
    evicted: Notify,
}

impl Activity {
    /// The client has sent a whole request.
    fn work(&self) {
        self.waiting_since_ms.store(WORKING, Ordering::Relaxed);
    }

    /// It is the client's turn: to send, or to read.
    fn wait(&self) {
        self.waiting_since_ms.store(self.epoch.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Ends when the connection has lost its place.
    pub async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

/// A place in the register; given back when dropped.
pub struct Place {
    number: u64,
    pub activity: Arc<Activity>,
    register: Arc<Connections>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.register.lock().remove(self.number);
    }
}

/// Why a connection gets no place: all of that limit have a request at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    OfAddress,
    OfAll,
}

/// What became of a new connection.
pub struct Admitted {
    pub place: Place,
    /// Another one was closed for it.
    pub evicted: bool,
}

/// All open connections.
pub struct Connections {
    max: usize,
    per_address: usize,
    epoch: Instant,
    open: Mutex<Register>,
}

#[derive(Default)]
struct Register {
    next: u64,
    /// Bounded by the limit of all.
    connections: HashMap<u64, Open>,
    /// Connections of each network that has any. Those of proxies are not counted.
    networks: HashMap<Network, usize>,
}

struct Open {
    /// `None`: a trusted proxy's, which speaks for many.
    network: Option<Network>,
    activity: Arc<Activity>,
}

impl Connections {
    pub fn new(limits: &Limits) -> Arc<Connections> {
        let per_address = if limits.load_test { usize::MAX } else { limits.connections_per_address.max(1) };
        let (max, epoch, open) = (limits.connections_max.max(1), Instant::now(), Mutex::default());
        Arc::new(Connections { max, per_address, epoch, open })
    }

    /// Gives a place to a connection from `address`; `None` for a trusted proxy, which has no limit of its own.
    ///
    /// # Errors
    /// When there is none left and none that could be taken back.
    pub fn admit(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Admitted, NoPlace> {
        let network = address.map(Network::of);
        let mut open = self.lock();
        let of_address = network.and_then(|network| open.networks.get(&network)).copied().unwrap_or(0);
        let evicted = if of_address >= self.per_address {
            open.evict(|other| other.network == network).then_some(()).ok_or(NoPlace::OfAddress)?;
            true
        } else if open.connections.len() >= self.max {
            open.evict(|_| true).then_some(()).ok_or(NoPlace::OfAll)?;
            true
        } else {
            false
        };
        let activity = Arc::new(Activity {
            waiting_since_ms: AtomicU64::new(self.epoch.elapsed().as_millis() as u64),
            epoch: self.epoch,
            evicted: Notify::new(),
        });
        let number = open.insert(Open { network, activity: Arc::clone(&activity) });
        Ok(Admitted { place: Place { number, activity, register: Arc::clone(self) }, evicted })
    }

    /// Insertions and removals cannot stop half-way, so a poisoned lock is still sound.
    fn lock(&self) -> MutexGuard<'_, Register> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Register {
    fn insert(&mut self, connection: Open) -> u64 {
        if let Some(network) = connection.network {
            *self.networks.entry(network).or_default() += 1;
        }
        self.next += 1;
        self.connections.insert(self.next, connection);
        self.next
    }

    /// Does nothing for a connection that was evicted before.
    fn remove(&mut self, number: u64) -> Option<Open> {
        let connection = self.connections.remove(&number)?;
        if let Some(network) = connection.network
            && let Some(count) = self.networks.get_mut(&network)
        {
            *count -= 1;
            if *count == 0 {
                self.networks.remove(&network);
            }
        }
        Some(connection)
    }

    /// Closes one of the connections that wait for their client: of the address with the most, the one that has
    /// waited longest. False when none of those that `may` go waits.
    fn evict(&mut self, may: impl Fn(&Open) -> bool) -> bool {
        let crowd =
            |network: Option<Network>| network.and_then(|network| self.networks.get(&network)).map_or(0, |n| *n);
        let waiting = self.connections.iter().filter(|(_, connection)| may(connection)).filter_map(|(number, one)| {
            let since_ms = one.activity.waiting_since_ms.load(Ordering::Relaxed);
            (since_ms != WORKING).then_some((crowd(one.network), std::cmp::Reverse((since_ms, *number))))
        });
        let Some((_, std::cmp::Reverse((_, number)))) = waiting.max() else { return false };
        if let Some(connection) = self.remove(number) {
            connection.activity.evicted.notify_one();
        }
        true
    }
}

/// A request's body that tells when the client has sent all of it.
pub struct Watched {
    body: Incoming,
    activity: Arc<Activity>,
}

impl Watched {
    pub fn new(body: Incoming, activity: Arc<Activity>) -> Watched {
        if body.is_end_stream() {
            activity.work();
        }
        Watched { body, activity }
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None)) || self.body.is_end_stream() {
            self.activity.work();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The client's turn begins when this ends: with the answer, or with the wish for one.
pub struct Turn(pub Arc<Activity>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register(max: usize, per_address: usize) -> Arc<Connections> {
        Connections::new(&Limits { connections_max: max, connections_per_address: per_address, ..Limits::default() })
    }

    fn ip(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    fn count(register: &Connections) -> usize {
        register.lock().connections.len()
    }

    /// Whether the connection has lost its place.
    fn is_out(register: &Connections, place: &Place) -> bool {
        !register.lock().connections.contains_key(&place.number)
    }

    #[test]
    fn the_longest_waiting_connection_of_an_address_makes_room_for_its_next() {
        let register = register(100, 3);
        let other = register.admit(ip(2)).ok().unwrap();
        let places: Vec<Place> = (0..3).map(|_| register.admit(ip(1)).ok().unwrap().place).collect();
        places[0].activity.work();
        let fourth = register.admit(ip(1)).ok().unwrap();
        assert!(fourth.evicted && is_out(&register, &places[1]));
        assert!(!is_out(&register, &places[0]), "a request at work is answered");
        assert!(!is_out(&register, &other.place), "others lose nothing");
        assert_eq!(count(&register), 4);
    }

    #[test]
    fn an_address_whose_requests_are_all_at_work_gets_no_further_place() {
        let register = register(100, 2);
        let places: Vec<Place> = (0..2).map(|_| register.admit(ip(1)).ok().unwrap().place).collect();
        places.iter().for_each(|place| place.activity.work());
        assert_eq!(register.admit(ip(1)).err(), Some(NoPlace::OfAddress));
        assert!(register.admit(ip(2)).is_ok());
        drop(Turn(Arc::clone(&places[1].activity)));
        assert!(register.admit(ip(1)).is_ok_and(|admitted| admitted.evicted));
    }

    #[test]
    fn when_all_places_are_taken_the_address_with_the_most_loses_one() {
        let register = register(10, 8);
        let lonely = register.admit(ip(1)).ok().unwrap().place;
        let proxy = register.admit(None).ok().unwrap().place;
        let crowd: Vec<Place> = (0..8).map(|_| register.admit(ip(3)).ok().unwrap().place).collect();
        let newcomers: Vec<Place> = (10..17).map(|last| register.admit(ip(last)).ok().unwrap().place).collect();
        assert_eq!(crowd.iter().filter(|place| is_out(&register, place)).count(), 7);
        assert!(!is_out(&register, &lonely) && !is_out(&register, &proxy));
        assert!(newcomers.iter().all(|place| !is_out(&register, place)));
        assert_eq!(count(&register), 10);
        register.lock().connections.values().for_each(|open| open.activity.work());
        assert_eq!(register.admit(ip(99)).err(), Some(NoPlace::OfAll));
    }

    #[test]
    fn places_come_back_once_and_addresses_are_forgotten() {
        let register = register(4, 2);
        let places: Vec<Place> = (0..40).map(|_| register.admit(ip(1)).ok().unwrap().place).collect();
        assert_eq!(count(&register), 2);
        drop(places);
        assert_eq!(count(&register), 0);
        assert!(register.lock().networks.is_empty());
    }

    #[test]
    fn proxies_have_no_limit_of_their_own() {
        let register = register(100, 2);
        let places: Vec<_> = (0..50).map(|_| register.admit(None).ok().unwrap()).collect();
        assert!(places.iter().all(|admitted| !admitted.evicted));
    }
}
