//! How payloads reach players: one trait, a form per network.
//!
//! In: payloads for links. Out: what arrived, as [`Incoming`].
//! *Invariant:* a form hands out only payloads of links whose ticket it has checked; bytes are otherwise untouched.
//! *Invariant:* time comes as an argument; no form reads a clock.
//! Start reading at [`Transport`].

pub mod memory;
pub mod udp;

use std::time::Duration;

pub use crate::telemetry::Network;

/// Names the server's end of one connection within a shard, whatever its transport. Random, so that
/// knowing one says nothing about another; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkId(pub u64);

/// What a transport hands in.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A ticket for this link was accepted.
    Connected(LinkId),
    /// One payload: a hot datagram or a renet packet.
    Payload(LinkId, &'a [u8]),
    /// The other end is gone, by its own word or by the transport's timeout.
    Disconnected(LinkId),
}

/// Counts since the last [`Transport::flush`], for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub received_datagrams: u64,
    pub received_bytes: u64,
    pub sent_datagrams: u64,
    pub sent_bytes: u64,
    /// Snapshots that a newer one replaced before they were sent.
    pub superseded: u64,
    /// Reason and count.
    pub dropped: Vec<(&'static str, u64)>,
}

impl Traffic {
    pub fn drop_one(&mut self, reason: &'static str) {
        match self.dropped.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += 1,
            None => self.dropped.push((reason, 1)),
        }
    }
}

/// One network's way to carry payloads.
pub trait Transport: Send + Sync {
    /// Which kind of network this is, for metrics.
    fn network(&self) -> Network;

    /// Hands everything that has arrived to `take`, within a bound per call.
    fn receive(&mut self, now: Duration, take: &mut dyn FnMut(Incoming<'_>));

    /// Sends one payload, or drops it when the link is gone or its network is full.
    fn send(&mut self, link: LinkId, payload: &[u8]);

    /// Ends a link. No [`Incoming::Disconnected`] follows.
    fn disconnect(&mut self, link: LinkId);

    /// Lets out what was held back and returns the counts since the last call.
    fn flush(&mut self, now: Duration) -> Traffic;

    /// Where a new link would best go, and how many more fit; `None` when full.
    fn vacancy(&self) -> Option<Vacancy>;

    /// Keeps a place for a link that was promised to a player; gone after its ticket's time.
    fn reserve(&mut self, vacancy: Vacancy, link: LinkId);

    /// Gives back a place whose ticket was not used in time.
    fn release(&mut self, link: LinkId);
}

/// A free place on a transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vacancy {
    /// Which of the transport's sockets.
    pub lane: usize,
    /// The address that a connect token must name.
    pub address: std::net::SocketAddr,
}
