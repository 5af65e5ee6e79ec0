//! What a shard counts: its ticks, matches, links and traffic.
//!
//! In: calls from the shard's thread. Out: metrics with the shard's number, and whether it still ticks.
//! *Invariant:* what a shard pays per tick is some dozens of relaxed atomics, well under a microsecond; never a lock
//! but for reasons, which are counted first and looked up once per tick.
//! Start reading at [`ShardMetrics`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use nix::time::ClockId;
use nix::unistd::gettid;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::declare::{ByReason, Each, Label, OfShard, Reading, Row, help, label, shard_metrics};
use super::histogram::{Histogram, RoundTripTicks, SnapshotBytes, Tally};
use super::ticks::{SlidingMax, TickTime, Window};
use super::{STALE_AFTER, set_seconds};

label! {
    /// Why a tick began late.
    LateCause is "cause":
    /// The shard's own work took longer than a period.
    OwnWork = "own_work",
    /// The thread did not get the CPU in time: the machine, or other threads.
    WokenLate = "woken_late",
    /// The process or the machine stood still for [`PAUSE`] or longer.
    Pause = "pause",
}

/// Standing still for this long is no matter of scheduling: a stopped process, a moved or sleeping machine.
pub const PAUSE: Duration = Duration::from_millis(250);

label! {
    /// What a match is at.
    MatchState is "state":
    /// Waiting for players, or for pilots to take the free seats.
    Filling = "filling",
    Playing = "playing",
    /// Over, its record on the way to disk, or its players looking at the result.
    Finishing = "finishing",
    /// Flown by pilots for show, whatever it is at.
    Demo = "demo",
}

/// Matches by what they are at, counted within a tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MatchCounts([u32; MatchState::ALL.len()]);

impl MatchCounts {
    pub fn add(&mut self, state: MatchState) {
        self.0[state.place()] += 1;
    }
}

label! {
    /// How a link reaches its player.
    Network is "transport":
    Udp = "udp",
    WebSocket = "websocket",
    /// In-process, for tests.
    Memory = "memory",
}

label! {
    /// What waits for a thread.
    Queue is "queue":
    /// Commands from the service for the shard.
    Commands = "commands",
    /// Finished matches for the thread that makes records of them.
    Records = "records",
}

// Counters get `_total` behind their names, everything `astro_` before.
shard_metrics! {
    /// Time from the beginning to the end of a tick.
    tick_wall_seconds: Histogram<TickTime>,
    /// CPU time that the shard's thread spent in a tick.
    tick_cpu_seconds: Histogram<TickTime>,
    /// Longest tick of the window, exact.
    tick_wall_seconds_max: Each<Window, Reading>,
    /// Most CPU time of a tick of the window, exact.
    tick_cpu_seconds_max: Each<Window, Reading>,
    /// Ticks played.
    ticks: Counter,
    /// Ticks begun more than one period after their deadline. A tick that is late only because the ones before it were
    /// has their cause.
    late_ticks: Each<LateCause, Counter>,
    /// Ticks that were never played because the shard dropped pace.
    skipped_ticks: Counter,
    /// CPU time of the shard's thread since its first tick.
    shard_cpu_seconds: Counter<f64>,
    /// Times a panic ended the shard's App and the matches in it.
    shard_panics: Counter,
    /// Matches here.
    matches: Each<MatchState, Gauge>,
    /// Matches played to their end, demo matches excluded.
    matches_finished: Counter,
    /// Matches ended without a result, demo matches excluded, by the reason that players were told.
    matches_voided: ByReason,
    /// Players' and spectators' connections.
    links: Each<Network, Gauge>,
    /// Connections ended, by the reason that the other end was told.
    links_closed: ByReason,
    /// Connections that took back a seat.
    rejoins: Each<Network, Counter>,
    /// Connections that only watch; also counted as links.
    spectators: Gauge,
    /// Datagrams received; over WebSocket, frames.
    datagrams_in: Each<Network, Counter>,
    /// Datagrams sent; over WebSocket, frames.
    datagrams_out: Each<Network, Counter>,
    /// Payload bytes received.
    bytes_in: Each<Network, Counter>,
    /// Payload bytes sent.
    bytes_out: Each<Network, Counter>,
    /// Datagrams not taken or not sent; `kernel` are those that the system dropped before the program saw them: refused by
    /// the packet filter that is up during a flood of strangers, or without room in the socket's buffer.
    datagrams_dropped: ByReason,
    /// Snapshots made.
    snapshots: Counter,
    /// Sizes of snapshots before sealing.
    snapshot_bytes: Histogram<SnapshotBytes>,
    /// Snapshots over WebSocket that a newer one replaced before they could be sent.
    snapshots_superseded: Counter,
    /// From the tick of a snapshot to the tick in which a player first acknowledged it. Includes what the player's next
    /// input waited for, up to 33 ms, and is exact to a tick.
    round_trip_seconds: Histogram<RoundTripTicks>,
    /// What waits for a thread of this shard.
    queue_depth: Each<Queue, Gauge>,
}

/// One shard's metrics, for its thread. Cheap to clone, cheap to call.
#[derive(Clone)]
pub struct ShardMetrics {
    pub(super) shard: usize,
    handles: Handles,
    own: Arc<ShardOwn>,
}

/// What a shard's metrics hold beside the registered ones.
#[derive(Debug)]
struct ShardOwn {
    wall_max: SlidingMax,
    cpu_max: SlidingMax,
    /// Of the shard's clock, in milliseconds; 0 before the first tick.
    stamp_ms: AtomicU64,
    thread: OnceLock<ShardClocks>,
    started: Instant,
}

/// How the shard's clocks can be read from elsewhere; learnt at its first tick.
#[derive(Debug)]
struct ShardClocks {
    /// What its clock said and what ours said at that moment.
    stamp_ms: u64,
    at: Instant,
    cpu: ClockId,
}

impl ShardMetrics {
    pub(super) fn new(families: &Families, shard: usize) -> ShardMetrics {
        let own = ShardOwn {
            wall_max: SlidingMax::default(),
            cpu_max: SlidingMax::default(),
            stamp_ms: AtomicU64::new(0),
            thread: OnceLock::new(),
            started: Instant::now(),
        };
        ShardMetrics { shard, handles: families.shard(shard), own: Arc::new(own) }
    }

    /// A tick begins. `now_ms` is of any clock that never jumps; always from the thread that ticks.
    pub fn stamp(&self, now_ms: u64) {
        self.own.thread.get_or_init(|| ShardClocks { stamp_ms: now_ms, at: Instant::now(), cpu: thread_cpu_clock() });
        self.own.stamp_ms.store(now_ms, Ordering::Relaxed);
    }

    /// A tick is over; it belongs to the second of the last stamp.
    pub fn tick(&self, wall: Duration, cpu: Duration) {
        self.handles.ticks.inc();
        self.handles.tick_wall_seconds.observe_time(wall);
        self.handles.tick_cpu_seconds.observe_time(cpu);
        let now_ms = self.own.stamp_ms.load(Ordering::Relaxed);
        self.own.wall_max.observe(wall, now_ms);
        self.own.cpu_max.observe(cpu, now_ms);
    }

    /// A tick begins more than one period after its deadline.
    pub fn late(&self, cause: LateCause) {
        self.handles.late_ticks[cause].inc();
    }

    /// Ticks that will not be played.
    pub fn skipped(&self, ticks: u64) {
        self.handles.skipped_ticks.inc_by(ticks);
    }

    /// A panic has ended the shard's `App`; its matches are gone.
    pub fn panicked(&self) {
        self.handles.shard_panics.inc();
    }

    pub fn set_matches(&self, counts: MatchCounts) {
        for state in MatchState::ALL {
            self.handles.matches[*state].set(i64::from(counts.0[state.place()]));
        }
    }

    /// Matches of that state as last set.
    pub fn matches(&self, state: MatchState) -> u32 {
        self.handles.matches[state].get() as u32
    }

    pub fn match_finished(&self) {
        self.handles.matches_finished.inc();
    }

    /// Matches ended without a result since the last call.
    pub fn matches_voided(&self, reason: &'static str, count: u64) {
        self.handles.matches_voided.add(reason, count);
    }

    pub fn set_links(&self, network: Network, count: usize) {
        self.handles.links[network].set(count as i64);
    }

    pub fn set_spectators(&self, count: usize) {
        self.handles.spectators.set(count as i64);
    }

    /// Links closed since the last call. Once per tick and reason.
    pub fn links_closed(&self, reason: &'static str, count: u64) {
        self.handles.links_closed.add(reason, count);
    }

    /// A link has taken back a seat that had been taken before.
    pub fn rejoined(&self, network: Network) {
        self.handles.rejoins[network].inc();
    }

    pub fn received(&self, network: Network, datagrams: u64, bytes: u64) {
        self.handles.datagrams_in[network].inc_by(datagrams);
        self.handles.bytes_in[network].inc_by(bytes);
    }

    pub fn sent(&self, network: Network, datagrams: u64, bytes: u64) {
        self.handles.datagrams_out[network].inc_by(datagrams);
        self.handles.bytes_out[network].inc_by(bytes);
    }

    /// Datagrams dropped since the last call. Once per tick and reason.
    pub fn dropped(&self, reason: &'static str, count: u64) {
        self.handles.datagrams_dropped.add(reason, count);
    }

    /// Snapshots made since the last call, with their sizes; empties the tally.
    pub fn snapshots(&self, count: u64, sizes: &mut Tally<SnapshotBytes>) {
        self.handles.snapshots.inc_by(count);
        self.handles.snapshot_bytes.absorb(sizes);
    }

    /// Snapshots that were replaced by newer ones before they could be sent.
    pub fn superseded(&self, count: u64) {
        self.handles.snapshots_superseded.inc_by(count);
    }

    /// Round trips since the last call; empties the tally.
    pub fn round_trips(&self, ticks: &mut Tally<RoundTripTicks>) {
        self.handles.round_trip_seconds.absorb(ticks);
    }

    /// Something was put into a queue; from any thread.
    pub fn queued(&self, queue: Queue) {
        self.handles.queue_depth[queue].inc();
    }

    /// Things were taken out of a queue, or turned out not to fit.
    pub fn unqueued(&self, queue: Queue, count: usize) {
        self.handles.queue_depth[queue].dec_by(count as i64);
    }

    /// Whether it has not begun a tick for [`STALE_AFTER`].
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        self.since_stamp(now) > STALE_AFTER
    }

    /// Time since the last stamp, or since the shard was announced when there was none.
    fn since_stamp(&self, now: Instant) -> Duration {
        let Some(thread) = self.own.thread.get() else { return now.saturating_duration_since(self.own.started) };
        let stamp_ms = self.own.stamp_ms.load(Ordering::Relaxed);
        Duration::from_millis(thread.now_ms(now).saturating_sub(stamp_ms))
    }

    /// Reads what is only read when somebody looks.
    pub(super) fn observe(&self, now: Instant) {
        let Some(thread) = self.own.thread.get() else { return };
        // A thread that has ended has no clock any more; its last reading stays.
        if let Ok(cpu) = thread.cpu.now() {
            set_seconds(&self.handles.shard_cpu_seconds, cpu.into());
        }
        let now_ms = thread.now_ms(now);
        for window in Window::ALL {
            let over = |max: &SlidingMax| max.over(window.seconds(), now_ms).as_secs_f64();
            self.handles.tick_wall_seconds_max[*window].set(over(&self.own.wall_max));
            self.handles.tick_cpu_seconds_max[*window].set(over(&self.own.cpu_max));
        }
    }
}

impl ShardClocks {
    /// What the shard's clock says at `now`.
    fn now_ms(&self, now: Instant) -> u64 {
        self.stamp_ms + now.saturating_duration_since(self.at).as_millis() as u64
    }
}

/// The CPU clock of the calling thread, in the form that other threads of the process can read.
fn thread_cpu_clock() -> ClockId {
    // Linux: inverted thread id, then "per thread" (4) and "scheduler time" (2); what pthread_getcpuclockid computes.
    ClockId::from_raw((!gettid().as_raw() << 3) | 6)
}
