//! How payloads reach players: one trait, a form per network.
//!
//! In: payloads for links. Out: what arrived, as [`Incoming`].
//! *Invariant:* a form hands out only payloads of links whose ticket it has checked; bytes are otherwise untouched.
//! *Invariant:* time comes as an argument; no form reads a clock.
//! Start reading at [`Transport`].

pub mod kernel_drops;
pub mod memory;
mod shield;
pub mod udp;
pub mod websocket;

use std::time::Duration;

use astro_shared::wire::message::CloseReason;
use astro_shared::wire::{CLIENT_PACKETS_BURST, CLIENT_PACKETS_PER_S};

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
    /// The other end cannot keep up with its snapshots: it should get fewer.
    Slow(LinkId),
    /// It keeps up again: it may get as many as it asked for.
    Steady(LinkId),
    /// Fewer did not help: it should be told and closed.
    TooSlow(LinkId),
    /// The other end sends more than any client does: it should be told and closed. Said once.
    Flooding(LinkId),
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

    /// Ends a link; a network that can say why says so. No [`Incoming::Disconnected`] follows.
    fn disconnect(&mut self, link: LinkId, reason: CloseReason);

    /// Lets out what was held back and returns the counts since the last call.
    fn flush(&mut self, now: Duration) -> Traffic;

    /// Where a new link would best go, and how many more fit; `None` when full.
    fn vacancy(&self) -> Option<Vacancy>;

    /// Places taken, by links that are connected and by those that were promised.
    fn taken(&self) -> usize;

    /// Keeps a place for a link that was promised to a player; gone after its ticket's time.
    fn reserve(&mut self, vacancy: Vacancy, link: LinkId);

    /// Gives back a place whose ticket was not used in time, was used on another transport, or opens nothing. Whoever
    /// is connected by that ticket is sent away.
    fn release(&mut self, link: LinkId);
}

/// A free place on a transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vacancy {
    /// Which of the transport's sockets.
    pub lane: usize,
    /// The address that a connect token must name; `None` where players need none.
    pub address: Option<std::net::SocketAddr>,
}

/// Packets of a link that are refused for being too many, after which it is closed. Honest clients have none: what a
/// stalled server or network held back fits into the allowance.
const PACKETS_REFUSED_MAX: u32 = CLIENT_PACKETS_BURST;

/// How many packets a link may still send: a token bucket of [`CLIENT_PACKETS_PER_S`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    left: f64,
    counted: Duration,
}

impl Allowance {
    pub fn new(now: Duration) -> Allowance {
        Allowance { left: f64::from(CLIENT_PACKETS_BURST), counted: now }
    }

    /// Counts one packet; false when the allowance is used up.
    pub fn take(&mut self, now: Duration) -> bool {
        let passed = now.saturating_sub(self.counted).as_secs_f64();
        self.counted = now;
        self.left = (self.left + passed * f64::from(CLIENT_PACKETS_PER_S)).min(f64::from(CLIENT_PACKETS_BURST));
        let may = self.left >= 1.0;
        if may {
            self.left -= 1.0;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_may_catch_up_three_seconds_at_once_and_then_ninety_a_second() {
        let mut allowance = Allowance::new(Duration::ZERO);
        let allowed = |allowance: &mut Allowance, now| (0..1000).filter(|_| allowance.take(now)).count();
        assert_eq!(allowed(&mut allowance, Duration::ZERO), 270);
        assert_eq!(allowed(&mut allowance, Duration::from_secs(1)), 90);
        assert_eq!(allowed(&mut allowance, Duration::from_secs(60)), 270, "it saves up no more than that");
    }
}
