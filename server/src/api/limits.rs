//! How much strangers may ask: seats by rate, seats nobody has taken up yet, requests at once.
//!
//! In: who asks, and when. Out: a [`Pass`] to carry along, or a [`Refusal`] that says which limit and for how long.
//! *Invariant:* whoever keeps below the limits of an address is refused only when everybody together is too many.
//! *Invariant:* memory is bounded: at most [`NETWORKS_MAX`] networks are told apart; the rest share one allowance.
//! *Invariant:* time is an argument, and a refusal costs a lock and a lookup.
//! Written here instead of taken from a crate: it is one comparison, with the clock and the bound on memory outside.
//! Start reading at [`Joins::admit`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Api;
use super::error::ApiError;
use super::peer::{Network, Peer, TrustedProxy};
use crate::hosts::Hold;

/// Networks told apart at once. More than can have joined within a ticket's life at the default rate for all.
pub(super) const NETWORKS_MAX: usize = 32 * 1024;
/// Between two sweeps for networks that have nothing outstanding and their whole allowance back.
pub(super) const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// When to ask again after a refusal that ends when others get on.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Limits on what strangers may ask of the service. All are settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// HTTP connections at once; each has a buffer of up to 16 KiB.
    pub connections_max: usize,
    /// Of these from one address. 128: a class of 30 behind one address whose browsers open four each.
    pub connections_per_address: usize,
    /// Joins (quickplay, tickets, watch) that an address may make at once. 200: a hundred bots from one machine
    /// with their next matches, or everybody in a school's computer rooms.
    pub joins_burst_per_address: u32,
    /// How fast that allowance comes back.
    pub joins_per_minute_per_address: u32,
    /// Tickets of one address that may be unused at a time; and, together with these, the free seats of matches that
    /// it has opened and nobody has come to yet. So this is what one address can keep from others without playing, a
    /// twelfth of a shard. 128: a class of 30 that opens a match of four each, or a hundred bots that fill theirs.
    pub joins_outstanding_per_address: u32,
    /// Joins of everybody together, at once and per second: what a shard opens and claims without a late tick.
    pub joins_burst: u32,
    pub joins_per_second: u32,
    /// Joins that may wait for a shard's answer at a time.
    pub joins_in_flight_max: usize,
    /// Whose forwarding header is believed.
    pub trusted_proxies: Vec<TrustedProxy>,
    /// Lifts the limits per address, and no others: a load test comes from one.
    pub load_test: bool,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: 1024,
            connections_per_address: 128,
            joins_burst_per_address: 200,
            joins_per_minute_per_address: 120,
            joins_outstanding_per_address: 128,
            joins_burst: 2000,
            joins_per_second: 1000,
            joins_in_flight_max: 512,
            trusted_proxies: Vec::new(),
            load_test: false,
        }
    }
}

impl Limits {
    /// Of the operations listener: it serves a scraper, a dashboard and a few terminals, on connections of its own.
    pub fn of_operators() -> Limits {
        Limits { connections_max: 64, connections_per_address: 64, ..Limits::default() }
    }
}

/// Which limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "{network} has asked for too many seats: the limit for one address is {burst} at once and then \
         {per_minute} a minute (joins_per_minute_per_address)"
    )]
    JoinsOfAddress { network: Network, burst: u32, per_minute: u32, wait: Duration },
    #[error(
        "{network} has {most} tickets that nobody has used yet, or that many seats with the free ones of matches \
         that it opened and nobody has come to, the limit for one address (joins_outstanding_per_address); connect \
         with them, or wait until they expire"
    )]
    OutstandingOfAddress { network: Network, most: u32 },
    #[error(
        "{network} reads too much: the limit for one address is {burst} requests for matches, running matches and \
         replays at once, and then {per_second} a second"
    )]
    ReadsOfAddress { network: Network, burst: u32, per_second: u32, wait: Duration },
    #[error("more people are joining than this server takes at a time (joins_per_second)")]
    Joins { wait: Duration },
    #[error("more joins are waiting for an answer than this server takes at a time (joins_in_flight_max)")]
    JoinsInFlight,
    #[error("your address has more requests under way than it may have connections (connections_per_address)")]
    ConnectionsOfAddress,
    #[error("more requests are under way than this server takes connections (connections_max)")]
    Connections,
}

impl Refusal {
    /// As metrics name it.
    pub fn name(&self) -> &'static str {
        match self {
            Refusal::JoinsOfAddress { .. } => "joins_per_address",
            Refusal::OutstandingOfAddress { .. } => "joins_outstanding_per_address",
            Refusal::ReadsOfAddress { .. } => "reads_per_address",
            Refusal::Joins { .. } => "joins",
            Refusal::JoinsInFlight => "joins_in_flight",
            Refusal::ConnectionsOfAddress => "connections_per_address",
            Refusal::Connections => "connections",
        }
    }

    /// Whether it is this address that is too much, not everybody.
    pub fn is_of_address(&self) -> bool {
        use Refusal as R;
        matches!(
            self,
            R::JoinsOfAddress { .. }
                | R::OutstandingOfAddress { .. }
                | R::ReadsOfAddress { .. }
                | R::ConnectionsOfAddress
        )
    }

    /// When to ask again, in whole seconds, at least one.
    pub fn retry_after_s(&self) -> u64 {
        let wait = match self {
            Refusal::JoinsOfAddress { wait, .. } | Refusal::ReadsOfAddress { wait, .. } | Refusal::Joins { wait } => {
                *wait
            }
            _ => ASK_AGAIN_AFTER,
        };
        wait.as_millis().div_ceil(1000).clamp(1, 3600) as u64
    }
}

/// A rate with a burst (the generic cell rate algorithm): all there is to remember is when the allowance is whole again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// What one costs.
    each: Duration,
    /// The whole allowance.
    burst: Duration,
}

impl Rate {
    pub fn new(burst: u32, count: u32, per: Duration) -> Rate {
        let each = per / count.max(1);
        Rate { each, burst: each * burst.max(1) }
    }

    /// Takes one out of an allowance, or says how long to wait for it.
    pub fn take(&self, whole_again: &mut Instant, now: Instant) -> Result<(), Duration> {
        let after = (*whole_again).max(now) + self.each;
        match after.saturating_duration_since(now).checked_sub(self.burst) {
            None | Some(Duration::ZERO) => {
                *whole_again = after;
                Ok(())
            }
            Some(wait) => Err(wait),
        }
    }
}

/// Who may ask for a seat now.
pub struct Joins {
    limits: Limits,
    of_address: Rate,
    of_all: Rate,
    in_flight: Arc<Semaphore>,
    known: Mutex<Known>,
}

struct Known {
    /// Bounded by [`NETWORKS_MAX`].
    networks: HashMap<Network, Asker>,
    swept: Instant,
    /// When everybody's common allowance is whole again.
    whole_again: Instant,
}

/// What is remembered of a network.
struct Asker {
    whole_again: Instant,
    outstanding: Arc<Outstanding>,
}

impl Asker {
    fn is_forgettable(&self, now: Instant) -> bool {
        self.whole_again <= now && Arc::strong_count(&self.outstanding) == 1
    }
}

/// What an address has asked for and nobody has taken up yet.
#[derive(Default)]
struct Outstanding {
    tickets: AtomicU32,
    /// Seats that it keeps from others: those its tickets are for, and the free ones of matches that it opened and
    /// nobody has come to.
    seats: AtomicU32,
}

/// Counts one unused ticket while it lives.
struct UnusedTicket {
    of: Arc<Outstanding>,
    /// 1 from when there is a seat for it.
    seats: AtomicU32,
}

impl Drop for UnusedTicket {
    fn drop(&mut self) {
        self.of.tickets.fetch_sub(1, Ordering::Relaxed);
        self.of.seats.fetch_sub(*self.seats.get_mut(), Ordering::Relaxed);
    }
}

/// Counts the free seats of a match against whoever opened it, as long as nobody has come to play.
pub struct IdleSeats {
    of: Arc<Outstanding>,
    seats: AtomicU32,
}

impl IdleSeats {
    /// Somebody has a ticket for one of them, which counts instead.
    fn give_one(&self) {
        let given = self.seats.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |seats| seats.checked_sub(1));
        self.of.seats.fetch_sub(u32::from(given.is_ok()), Ordering::Relaxed);
    }
}

impl Drop for IdleSeats {
    fn drop(&mut self) {
        self.of.seats.fetch_sub(*self.seats.get_mut(), Ordering::Relaxed);
    }
}

/// The right to ask a host for a seat; the hold goes with the claim. An extractor that goes before the body's.
pub struct Pass {
    pub hold: Hold,
    /// `None`: whoever asks has no limit of his own.
    account: Option<Account>,
}

/// Where the seats of a [`Pass`] are counted.
struct Account {
    ticket: Arc<UnusedTicket>,
    network: Network,
    most: u32,
}

impl Account {
    /// Counts the ticket's seat and `more`. Whatever the limit, an address may keep what it asks for at first.
    fn keep(&self, more: u32, may_pass: bool) -> Result<(), Refusal> {
        let UnusedTicket { of, seats } = &*self.ticket;
        // A second try: the match of the first one had begun.
        let own = 1 - seats.load(Ordering::Relaxed);
        let kept = of.seats.load(Ordering::Relaxed) + own - 1;
        if kept > 0 && kept + 1 + more > self.most && !may_pass {
            return Err(Refusal::OutstandingOfAddress { network: self.network, most: self.most });
        }
        seats.store(1, Ordering::Relaxed);
        of.seats.fetch_add(own + more, Ordering::Relaxed);
        Ok(())
    }
}

impl Pass {
    /// Counts the seats of a match that is about to be opened for this pass.
    ///
    /// # Errors
    /// The address keeps too many already.
    pub fn open(&self, seats: u8) -> Result<Option<Arc<IdleSeats>>, Refusal> {
        let Some(account) = &self.account else { return Ok(None) };
        let free = u32::from(seats) - 1;
        account.keep(free, false)?;
        Ok(Some(Arc::new(IdleSeats { of: Arc::clone(&account.ticket.of), seats: AtomicU32::new(free) })))
    }

    /// Takes one of the free seats of a match. Those of a match that its own address opened are counted already.
    ///
    /// # Errors
    /// The address keeps too many already.
    pub fn join(&self, idle: Option<&IdleSeats>) -> Result<(), Refusal> {
        if let Some(account) = &self.account {
            let is_own = idle.is_some_and(|idle| Arc::ptr_eq(&idle.of, &account.ticket.of));
            account.keep(0, is_own)?;
        }
        idle.into_iter().for_each(IdleSeats::give_one);
        Ok(())
    }
}

/// One of the joins that wait for a host's answer, while it lives.
#[derive(Debug)]
pub struct InFlight(#[expect(dead_code, reason = "only its end matters")] OwnedSemaphorePermit);

impl Joins {
    pub fn new(limits: Limits, now: Instant) -> Joins {
        Joins {
            of_address: Rate::new(
                limits.joins_burst_per_address,
                limits.joins_per_minute_per_address,
                Duration::from_secs(60),
            ),
            of_all: Rate::new(limits.joins_burst, limits.joins_per_second, Duration::from_secs(1)),
            in_flight: Arc::new(Semaphore::new(limits.joins_in_flight_max.min(Semaphore::MAX_PERMITS))),
            known: Mutex::new(Known { networks: HashMap::new(), swept: now, whole_again: now }),
            limits,
        }
    }

    /// Lets an address ask for a seat. Its own limits come first, so that nobody uses up what is everybody's
    /// beyond his own share.
    ///
    /// # Errors
    /// The first limit that is reached.
    pub fn admit(&self, address: std::net::IpAddr, now: Instant) -> Result<Pass, Refusal> {
        let mut known = self.lock();
        known.sweep(now);
        let pass = if self.limits.load_test {
            Pass { hold: Hold::default(), account: None }
        } else {
            let network = known.place_of(Network::of(address));
            let asker = known.networks.entry(network).or_insert_with(|| Asker::new(now));
            self.admit_of_address(network, asker, now)?
        };
        self.of_all.take(&mut known.whole_again, now).map_err(|wait| Refusal::Joins { wait })?;
        Ok(pass)
    }

    /// Lets a request whose body is here go on to a host. Not before: those who dribble their bodies would take the
    /// places of those who do not.
    fn begin(&self) -> Result<InFlight, Refusal> {
        Arc::clone(&self.in_flight).try_acquire_owned().map(InFlight).map_err(|_| Refusal::JoinsInFlight)
    }

    fn admit_of_address(&self, network: Network, asker: &mut Asker, now: Instant) -> Result<Pass, Refusal> {
        let most = self.limits.joins_outstanding_per_address;
        if asker.outstanding.tickets.load(Ordering::Relaxed) >= most {
            return Err(Refusal::OutstandingOfAddress { network, most });
        }
        let (burst, per_minute) = (self.limits.joins_burst_per_address, self.limits.joins_per_minute_per_address);
        let refused = |wait| Refusal::JoinsOfAddress { network, burst, per_minute, wait };
        self.of_address.take(&mut asker.whole_again, now).map_err(refused)?;
        asker.outstanding.tickets.fetch_add(1, Ordering::Relaxed);
        let ticket = Arc::new(UnusedTicket { of: Arc::clone(&asker.outstanding), seats: AtomicU32::new(0) });
        Ok(Pass { hold: Hold::new(Arc::clone(&ticket)), account: Some(Account { ticket, network, most }) })
    }

    /// A panic elsewhere cannot leave a single operation on the map half done, so a poisoned lock is still sound.
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asker {
    fn new(now: Instant) -> Asker {
        Asker { whole_again: now, outstanding: Arc::default() }
    }
}

impl Known {
    /// Forgets networks that could be met again as strangers. New ones come with joins only, so this needs no timer.
    fn sweep(&mut self, now: Instant) {
        if now.saturating_duration_since(self.swept) >= SWEEP_EVERY {
            self.swept = now;
            self.networks.retain(|_, asker| !asker.is_forgettable(now));
            self.networks.shrink_to(2 * self.networks.len());
        }
    }

    /// Where a network is counted: on its own while there is room.
    fn place_of(&self, network: Network) -> Network {
        let room = self.networks.len() < NETWORKS_MAX || self.networks.contains_key(&network);
        if room { network } else { Network::CROWD }
    }
}

impl FromRequestParts<Arc<Api>> for Pass {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        // Every request that came through a socket has a peer; see `serve`.
        let Peer(address) = *parts.extensions.get::<Peer>().ok_or(ApiError::Internal)?;
        api.joins.admit(address, Instant::now()).map_err(|refusal| api.refused(refusal))
    }
}

impl Api {
    /// One more join goes to a host.
    pub(super) fn begin_join(&self) -> Result<InFlight, ApiError> {
        self.joins.begin().map_err(|refusal| self.refused(refusal))
    }

    /// The refusal, counted.
    pub(super) fn refused(&self, refusal: Refusal) -> ApiError {
        self.parts.metrics.http_refused(refusal.name());
        ApiError::Refused(refusal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    const ADA: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));
    const GRACE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 2));

    fn joins(change: impl FnOnce(&mut Limits)) -> (Joins, Instant) {
        let mut limits = Limits { joins_outstanding_per_address: 10_000, ..Limits::default() };
        change(&mut limits);
        let now = Instant::now();
        (Joins::new(limits, now), now)
    }

    /// How many of a thousand tries are let in; none holds anything.
    fn let_in(joins: &Joins, address: IpAddr, now: Instant) -> usize {
        (0..1000).filter(|_| joins.admit(address, now).is_ok()).count()
    }

    #[test]
    fn an_address_has_its_burst_and_then_its_rate_and_others_have_their_own() {
        let (joins, start) = joins(|_| {});
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(let_in(&joins, ADA, start), 200);
        let refusal = joins.admit(ADA, start).err().unwrap();
        assert_eq!((refusal.retry_after_s(), refusal.is_of_address()), (1, true));
        assert!(refusal.to_string().starts_with("203.0.113.1 has asked for too many seats"), "{refusal}");
        assert_eq!(let_in(&joins, GRACE, start), 200);
        assert_eq!(let_in(&joins, ADA, after(10)), 20);
        assert_eq!(let_in(&joins, ADA, after(3600)), 200, "it saves up no more than its burst");
    }

    #[test]
    fn whoever_is_refused_is_told_a_time_at_which_he_is_let_in() {
        let (joins, start) = joins(|limits| limits.joins_per_minute_per_address = 7);
        let_in(&joins, ADA, start);
        let wait = joins.admit(ADA, start).err().unwrap().retry_after_s();
        assert_eq!(wait, 9);
        assert!(joins.admit(ADA, start + Duration::from_secs(wait - 1)).is_err());
        assert!(joins.admit(ADA, start + Duration::from_secs(wait)).is_ok());
    }

    #[test]
    fn tickets_that_nobody_uses_count_until_they_are_used_or_over() {
        let (joins, start) = joins(|limits| limits.joins_outstanding_per_address = 3);
        let mut holds: Vec<Hold> = (0..3).map(|_| joins.admit(ADA, start).ok().unwrap().hold).collect();
        let refusal = joins.admit(ADA, start).err().unwrap();
        assert_eq!(refusal.name(), "joins_outstanding_per_address");
        assert!(refusal.to_string().contains("203.0.113.1 has 3 tickets"), "{refusal}");
        assert!(joins.admit(GRACE, start).is_ok());
        let copy = holds[0].clone();
        holds.remove(0);
        assert!(joins.admit(ADA, start).is_err(), "a copy holds as well");
        drop(copy);
        assert!(joins.admit(ADA, start).is_ok());
    }

    #[test]
    fn whoever_opens_a_match_keeps_all_its_seats_until_others_have_tickets_for_them_or_somebody_comes() {
        let (joins, start) = joins(|limits| limits.joins_outstanding_per_address = 16);
        let admit = |address| joins.admit(address, start).ok().unwrap();
        let seats = |pass: &Pass| pass.account.as_ref().unwrap().ticket.of.seats.load(Ordering::Relaxed);
        let openers: Vec<Pass> = (0..3).map(|_| admit(ADA)).collect();
        let first = openers[0].open(8).unwrap().unwrap();
        let second = openers[1].open(7).unwrap().unwrap();
        assert_eq!(seats(&openers[2]), 15);
        assert_eq!(openers[2].open(2).err().unwrap().name(), "joins_outstanding_per_address");
        openers[2].join(Some(&first)).unwrap();
        assert_eq!(seats(&openers[2]), 15, "a seat of her own match costs her nothing more");
        let grace = admit(GRACE);
        grace.join(Some(&first)).unwrap();
        assert_eq!((seats(&openers[2]), seats(&grace)), (14, 1), "another one's ticket is that one's");
        grace.join(None).unwrap();
        assert_eq!(seats(&grace), 1, "one ticket, one seat, however often it is tried");
        drop(second);
        assert_eq!(seats(&openers[2]), 8, "somebody came");
        drop((first, openers));
        let wide = admit(ADA);
        assert_eq!(seats(&wide), 0);
        assert!(wide.open(200).is_ok(), "one match may be opened, however narrow the limit");
    }

    #[test]
    fn everybody_together_has_limits_that_a_load_test_does_not_lift() {
        let (joins, start) = joins(|limits| (limits.load_test, limits.joins_burst) = (true, 300));
        assert_eq!(let_in(&joins, ADA, start), 300);
        let refusal = joins.admit(GRACE, start).err().unwrap();
        assert_eq!((refusal.name(), refusal.is_of_address()), ("joins", false));
        assert_eq!(let_in(&joins, GRACE, start + Duration::from_millis(100)), 100);
    }

    #[test]
    fn joins_in_flight_are_bounded_and_come_back() {
        let (joins, start) = joins(|limits| limits.joins_in_flight_max = 2);
        let in_flight: Vec<InFlight> = (0..2).map(|_| joins.begin().unwrap()).collect();
        assert_eq!(joins.begin().err(), Some(Refusal::JoinsInFlight));
        assert_eq!(let_in(&joins, ADA, start), 200, "those whose bodies are still on their way take no place");
        drop(in_flight);
        assert!(joins.begin().is_ok());
    }

    #[test]
    fn a_crowd_of_networks_is_neither_kept_for_ever_nor_let_in_for_free() {
        let (joins, start) = joins(|limits| limits.joins_burst = u32::MAX / 1000);
        let address = |n: u32| IpAddr::V4((0x0a00_0000 + n).into());
        for n in 0..NETWORKS_MAX as u32 {
            joins.admit(address(n), start).ok().unwrap();
        }
        let crowd = (0..1000).filter(|n| joins.admit(address(0x10_0000 + n), start).is_ok()).count();
        assert_eq!(crowd, 200, "networks beyond the table share one allowance");
        assert!(joins.admit(address(5), start).is_ok(), "those in the table have their own");
        assert_eq!(joins.lock().networks.len(), NETWORKS_MAX + 1);
        let later = start + Duration::from_secs(2);
        let kept = joins.admit(address(7), later).ok().unwrap();
        // The one that asks, and the crowd, which has its allowance back only after 100 s.
        assert_eq!(joins.lock().networks.len(), 2);
        let _ = joins.admit(address(8), later + Duration::from_secs(200));
        assert_eq!(joins.lock().networks.len(), 2, "a ticket that is out keeps its network known");
        drop(kept);
    }
}
