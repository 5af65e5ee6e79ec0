//! The network conditioner: one direction of a bad network, seeded, in whatever time its owner lives in.
//!
//! In: packets and when they are sent. Out: packets and when they arrive, if they do; a count of every fault.
//! Two forms: *datagrams* (lost, late, doubled, out of order) and an *ordered stream* as TCP gives it (nothing lost or
//! out of order, but what is lost comes a retransmission later, and everything behind it waits).
//! *Invariant:* no clock, socket or thread; the same seed and the same calls give the same faults, byte for byte, on
//! every machine (integers decide, never floats).
//! *Invariant:* at most [`PACKETS_MAX`] packets and [`BYTES_MAX`] bytes are under way; what exceeds that is dropped and
//! counted.
//! A packet meets, in this order: the bottleneck and its queue (`rate_kbit_s`), loss, doubling, delay.
//! Start reading at [`Profile`], then [`Conditioner::send`].

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

/// Packets under way at most.
pub const PACKETS_MAX: usize = 4096;
/// Bytes under way at most: half a second of 16 Mbit/s.
pub const BYTES_MAX: usize = 1 << 20;
/// What a packet weighs at the bottleneck beyond its payload: IPv4 and UDP headers.
const HEADER_BYTES: usize = 28;
/// The bottleneck's queue: a packet that would wait longer than this is dropped, as small routers do.
pub const QUEUE_MAX: Duration = Duration::from_millis(250);
/// How long a reordered packet is held back; at 30 packets a second one or two overtake it.
pub const REORDER_HOLD: Duration = Duration::from_millis(50);
/// Time in which an idle network may go from good to bad or back once, and how often at most between two packets.
const BURST_STEP: Duration = Duration::from_millis(33);
const BURST_STEPS_MAX: u128 = 100;
/// Linux's least retransmission timeout is this much more than the round trip.
const RETRANSMIT_MIN: Duration = Duration::from_millis(200);
/// A stream's packet gets through at the latest after so many losses; the timeout has doubled as often.
const RETRANSMITS_MAX: u32 = 6;
/// Packets of a stream under way when [`Conditioner::is_full`] says so: Linux's initial congestion window, which a
/// stream as thin as ours has no cause to grow beyond.
pub const STREAM_WINDOW: usize = 10;

/// A share of packets, in parts of a million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u32);

impl Share {
    pub const NONE: Share = Share(0);
    const WHOLE: u32 = 1_000_000;

    /// `percent` is cut to 0 to 100.
    pub fn percent(percent: f64) -> Share {
        Share((percent.clamp(0.0, 100.0) * f64::from(Share::WHOLE / 100)).round() as u32)
    }

    pub fn as_percent(self) -> f64 {
        f64::from(self.0) / f64::from(Share::WHOLE / 100)
    }
}

/// Loss in runs (Gilbert–Elliott: a good state, and a bad one in which everything is lost). The state may change with
/// each packet, and while nothing is sent as if 30 packets a second were: a burst does not outlast a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bursts {
    /// Of all packets, how many are lost in bursts.
    pub share: Share,
    /// Packets lost in one burst, on average (geometric); at least 1.
    pub length_mean: u16,
}

impl Bursts {
    pub const NONE: Bursts = Bursts { share: Share::NONE, length_mean: 1 };

    fn ends(self) -> Share {
        Share(Share::WHOLE / u32::from(self.length_mean.max(1)))
    }

    /// Chosen so that in the long run the bad state has its share: share = begins / (begins + ends).
    fn begins(self) -> Share {
        let (share, ends) = (u64::from(self.share.0), u64::from(self.ends().0));
        let good = u64::from(Share::WHOLE).saturating_sub(share).max(1);
        Share((share * ends / good).min(u64::from(Share::WHOLE)) as u32)
    }
}

/// What a network does to packets. Each direction has a conditioner of its own, with the same profile or another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Half of it is the least one-way delay.
    pub rtt_ms: u32,
    /// Further delay per packet, one way: half-normal with this as sigma. The mean is 0.8 of it, one packet in twenty has
    /// more than twice as much, none over six times. Drawn for each packet alone, so datagrams overtake each other when
    /// it exceeds the time between them.
    pub jitter_ms: u32,
    /// Loss of each packet alone, outside bursts.
    pub loss: Share,
    pub bursts: Bursts,
    /// Packets that arrive twice, each copy with a delay of its own.
    pub duplicate: Share,
    /// Packets held back by [`REORDER_HOLD`].
    pub reorder: Share,
    /// Bits of the narrowest place on the way, headers included; 0 for no limit.
    pub rate_kbit_s: u32,
}

impl Profile {
    /// Everything arrives at once.
    pub const PERFECT: Profile = Profile {
        rtt_ms: 0,
        jitter_ms: 0,
        loss: Share::NONE,
        bursts: Bursts::NONE,
        duplicate: Share::NONE,
        reorder: Share::NONE,
        rate_kbit_s: 0,
    };

    pub fn is_perfect(&self) -> bool {
        let bursts = Bursts { length_mean: 1, ..self.bursts };
        Profile { bursts, ..*self } == Profile::PERFECT
    }

    fn rtt(&self) -> Duration {
        Duration::from_millis(self.rtt_ms.into())
    }
}

impl Default for Profile {
    fn default() -> Self {
        Profile::PERFECT
    }
}

/// Declares the counters: their sum, and their names for reports.
macro_rules! faults {
    ($($(#[doc = $help:literal])+ $name:ident,)*) => {
        /// What was done to packets, counted.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Faults { $($(#[doc = $help])+ pub $name: u64,)* }

        impl Faults {
            /// Counts what `other` counted as well.
            pub fn add(&mut self, other: &Faults) {
                $(self.$name += other.$name;)*
            }

            /// Every counter with its name.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }
        }
    };
}

faults! {
    /// Packets given in.
    sent,
    /// Packets that came out, copies included.
    delivered,
    /// Lost alone. A packet of a stream counts once for each time it is lost.
    lost,
    /// Lost in bursts.
    lost_in_bursts,
    /// Bursts begun.
    bursts,
    /// Copies made.
    duplicated,
    /// Held back so that later packets overtake.
    reordered,
    /// Delayed by jitter.
    jittered,
    /// Had to wait at the bottleneck.
    queued,
    /// Dropped (a stream: refused) because the bottleneck's queue or the memory was full.
    overflowed,
    /// Packets of a stream that were sent again, once or more often.
    retransmitted,
    /// Packets of a stream that had arrived and waited for one before them.
    stalled,
}

/// Random bits (splitmix64): small, and equal on every machine.
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn happens(&mut self, share: Share) -> bool {
        share != Share::NONE && self.bits() % u64::from(Share::WHOLE) < u64::from(share.0)
    }

    /// The absolute value of a normal number with mean 0 and sigma 1, in parts of 2^16: the sum of twelve uniform
    /// numbers, less its mean. Never above 6.
    fn half_normal(&mut self) -> u64 {
        let quarter = |bits: u64| (0..4).map(|part| bits >> (16 * part) & 0xffff).sum::<u64>();
        let sum: u64 = (0..3).map(|_| quarter(self.bits())).sum();
        sum.abs_diff(12 * 0x8000)
    }
}

/// One direction of a network. See the module.
#[derive(Clone, Debug)]
pub struct Conditioner {
    profile: Profile,
    random: Random,
    /// The bad state of [`Bursts`], and when it was last looked at.
    bursting: bool,
    looked: Duration,
    /// When the bottleneck will have sent all it holds.
    busy_until: Duration,
    carrier: Carrier,
    bytes: usize,
    faults: Faults,
}

#[derive(Clone, Debug)]
enum Carrier {
    /// By arrival; the number tells apart what arrives at the same time, in the order it was sent.
    Datagrams { under_way: BTreeMap<(Duration, u64), Vec<u8>>, numbered: u64 },
    /// In the order sent. `newest`: the latest arrival of all that was received.
    Stream { under_way: VecDeque<Segment>, newest: Duration },
}

/// A packet of a stream.
#[derive(Clone, Debug)]
struct Segment {
    bytes: Vec<u8>,
    /// When it leaves next, or has left for good.
    leaves: Duration,
    /// Times that it will still be lost from `leaves` on.
    losses: u32,
    /// Was or will be lost: what got through behind it tells the sender.
    missing: bool,
    /// The retransmission timeout that runs.
    timeout: Duration,
    /// One way, once it gets through.
    delay: Duration,
}

impl Conditioner {
    /// A direction of a datagram network, like UDP.
    pub fn datagrams(profile: Profile, seed: u64) -> Conditioner {
        Conditioner::new(profile, seed, Carrier::Datagrams { under_way: BTreeMap::new(), numbered: 0 })
    }

    /// A direction of an ordered stream, like TCP: each packet given in is one segment (`TCP_NODELAY`).
    ///
    /// How a loss is repaired: the sender notices it by the acknowledgement of any segment that left later and got through,
    /// a round trip and a quarter after that one left (RACK: a quarter is the allowance for reordering); or else by its
    /// timeout, a round trip and 200 ms, which doubles each time. A retransmission may be lost too, with the mean share of
    /// both kinds of loss (a burst has passed by then), and is repaired alike. Reordering holds a segment back and all
    /// behind it; doubled segments have no effect and are not made. The congestion window is not modelled: our streams are
    /// far thinner than it.
    pub fn stream(profile: Profile, seed: u64) -> Conditioner {
        Conditioner::new(profile, seed, Carrier::Stream { under_way: VecDeque::new(), newest: Duration::ZERO })
    }

    fn new(profile: Profile, seed: u64, carrier: Carrier) -> Conditioner {
        let (random, faults) = (Random(seed), Faults::default());
        let (bursting, looked, busy_until) = (false, Duration::ZERO, Duration::ZERO);
        Conditioner { profile, random, bursting, looked, busy_until, carrier, bytes: 0, faults }
    }

    /// Changes what happens to packets from now on; those under way are not touched.
    pub fn set_profile(&mut self, profile: Profile) {
        self.profile = profile;
    }

    /// Gives a packet in. False when there is no room: a datagram is gone then, a stream's owner keeps it and tries again.
    pub fn send(&mut self, now: Duration, bytes: &[u8]) -> bool {
        self.faults.sent += 1;
        let room = self.has_room(bytes.len());
        let Some(leaves) = room.then(|| self.pass_bottleneck(now, bytes.len())).flatten() else {
            self.faults.overflowed += 1;
            return false;
        };
        match self.carrier {
            Carrier::Datagrams { .. } => self.send_datagram(leaves, bytes),
            Carrier::Stream { .. } => self.send_segment(leaves, bytes),
        }
        true
    }

    /// The next packet that has arrived by `now`.
    pub fn receive(&mut self, now: Duration) -> Option<Vec<u8>> {
        let bytes = match &mut self.carrier {
            Carrier::Datagrams { under_way, .. } => {
                under_way.first_entry().filter(|first| first.key().0 <= now)?.remove()
            }
            Carrier::Stream { under_way, newest } => {
                under_way.front_mut()?.pass(now);
                let first = under_way.pop_front_if(|first| first.losses == 0 && first.arrives() <= now)?;
                self.faults.stalled += u64::from(first.arrives() < *newest);
                *newest = first.arrives().max(*newest);
                first.bytes
            }
        };
        self.bytes -= bytes.len();
        self.faults.delivered += 1;
        Some(bytes)
    }

    /// When the next packet arrives; of a stream's lost packet not before then.
    pub fn next_arrival(&self) -> Option<Duration> {
        match &self.carrier {
            Carrier::Datagrams { under_way, .. } => under_way.first_key_value().map(|((at, _), _)| *at),
            Carrier::Stream { under_way, .. } => under_way.front().map(Segment::arrives),
        }
    }

    /// Packets under way.
    pub fn under_way(&self) -> usize {
        match &self.carrier {
            Carrier::Datagrams { under_way, .. } => under_way.len(),
            Carrier::Stream { under_way, .. } => under_way.len(),
        }
    }

    /// Whether a sender that minds the freshness of what it sends should rather wait: a stream with
    /// [`STREAM_WINDOW`] packets under way. Never so with datagrams.
    pub fn is_full(&self) -> bool {
        matches!(&self.carrier, Carrier::Stream { under_way, .. } if under_way.len() >= STREAM_WINDOW)
    }

    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.under_way() < PACKETS_MAX && self.bytes + bytes <= BYTES_MAX
    }

    /// When the packet has passed the bottleneck; `None` when the queue before it is too long.
    fn pass_bottleneck(&mut self, now: Duration, bytes: usize) -> Option<Duration> {
        if self.profile.rate_kbit_s == 0 {
            return Some(now);
        }
        let begins = self.busy_until.max(now);
        let waits = begins.saturating_sub(now);
        if waits > QUEUE_MAX {
            return None;
        }
        self.faults.queued += u64::from(!waits.is_zero());
        let bits = ((bytes + HEADER_BYTES) * 8) as u64;
        self.busy_until = begins + Duration::from_nanos(bits * 1_000_000 / u64::from(self.profile.rate_kbit_s));
        Some(self.busy_until)
    }

    fn send_datagram(&mut self, leaves: Duration, bytes: &[u8]) {
        if self.is_lost(leaves) {
            return;
        }
        let twice = self.random.happens(self.profile.duplicate);
        for copy in 0..=u64::from(twice) {
            let arrives = leaves + self.delay();
            if !self.has_room(bytes.len()) {
                self.faults.overflowed += 1;
                return;
            }
            self.faults.duplicated += copy;
            self.bytes += bytes.len();
            if let Carrier::Datagrams { under_way, numbered } = &mut self.carrier {
                *numbered += 1;
                under_way.insert((arrives, *numbered), bytes.to_vec());
            }
        }
    }

    fn send_segment(&mut self, leaves: Duration, bytes: &[u8]) {
        let (timeout, noticed) = (self.profile.rtt() + RETRANSMIT_MIN, leaves + self.profile.rtt() * 5 / 4);
        let missing = self.is_lost(leaves);
        let losses = if missing { self.further_losses() } else { 0 };
        self.faults.retransmitted += u64::from(missing);
        let delay = self.delay();
        self.bytes += bytes.len();
        let Carrier::Stream { under_way, .. } = &mut self.carrier else { return };
        if !missing {
            // This one's acknowledgement tells the sender what before it is missing.
            for earlier in under_way.iter_mut().filter(|earlier| earlier.missing) {
                earlier.pass(leaves);
                if earlier.leaves > leaves {
                    earlier.leaves = earlier.leaves.min(noticed);
                }
            }
        }
        let leaves = if missing { leaves + timeout } else { leaves };
        under_way.push_back(Segment { bytes: bytes.to_vec(), leaves, losses, missing, timeout, delay });
    }

    fn is_lost(&mut self, leaves: Duration) -> bool {
        self.change_bursting(leaves);
        if self.bursting {
            self.faults.lost_in_bursts += 1;
            return true;
        }
        let lost = self.random.happens(self.profile.loss);
        self.faults.lost += u64::from(lost);
        lost
    }

    fn change_bursting(&mut self, now: Duration) {
        let bursts = self.profile.bursts;
        if bursts.share == Share::NONE {
            self.bursting = false;
            return;
        }
        let idle = now.saturating_sub(self.looked).as_nanos() / BURST_STEP.as_nanos();
        self.looked = now;
        let before = self.bursting;
        for _ in 0..idle.clamp(1, BURST_STEPS_MAX) {
            let changes = if self.bursting { bursts.ends() } else { bursts.begins() };
            self.bursting ^= self.random.happens(changes);
        }
        self.faults.bursts += u64::from(self.bursting && !before);
    }

    /// How often the retransmissions of a lost packet will be lost.
    fn further_losses(&mut self) -> u32 {
        let mean = Share((self.profile.loss.0 + self.profile.bursts.share.0).min(Share::WHOLE));
        let further = (1..RETRANSMITS_MAX).take_while(|_| self.random.happens(mean)).count();
        self.faults.lost += further as u64;
        further as u32
    }

    /// From the bottleneck to the arrival.
    fn delay(&mut self) -> Duration {
        let mut delay = self.profile.rtt() / 2;
        if self.profile.jitter_ms > 0 {
            let nanos = (self.random.half_normal() * u64::from(self.profile.jitter_ms) * 1_000_000) >> 16;
            delay += Duration::from_nanos(nanos);
            self.faults.jittered += 1;
        }
        if self.random.happens(self.profile.reorder) {
            delay += REORDER_HOLD;
            self.faults.reordered += 1;
        }
        delay
    }
}

impl Segment {
    /// Lets those retransmissions happen, and be lost, that are due by `now`.
    fn pass(&mut self, now: Duration) {
        while self.losses > 0 && self.leaves <= now {
            self.losses -= 1;
            self.timeout *= 2;
            self.leaves += self.timeout;
        }
    }

    fn arrives(&self) -> Duration {
        self.leaves + self.delay
    }
}

#[cfg(test)]
mod tests;
