//! What operators see: logs and metrics.
//!
//! In: counts and times from shards, spool and service. Out: log lines on stderr, and `/metrics` as OpenMetrics text.
//! *Invariant:* what a shard pays per tick is a few relaxed atomics, well under a microsecond; never a lock.
//! *Invariant:* a metric is declared in one place: the field's name is its name, the doc comment its help.
//! Start reading at [`ShardMetrics`]; [`ticks`] holds the distributions of tick times.

mod ticks;

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use nix::time::ClockId;
use nix::unistd::gettid;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tracing_subscriber::EnvFilter;

use ticks::{SlidingMax, TickHistogram};

/// A shard that has not begun a tick for this long is stuck: 60 periods.
pub const STALE_AFTER: Duration = Duration::from_secs(1);
/// What `/metrics` answers with.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Log filter when `RUST_LOG` says nothing. The two network crates log every bad datagram as an error (case N9);
/// ours are counted instead.
const LOG_FILTER: &str = "info,renetcode=off,renet=off,sqlx=warn";

/// Sends logs to stderr: for a person on a terminal, as JSON otherwise. `RUST_LOG` overrides the filter.
pub fn start_logging() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG_FILTER));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Fails only when a test has started logging before; then that stays.
    let _ = if std::io::stderr().is_terminal() { logs.try_init() } else { logs.json().try_init() };
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ShardLabel {
    shard: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WindowLabel {
    shard: usize,
    window: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DropLabel {
    shard: usize,
    reason: &'static str,
}

/// Declares metrics: `families` is one per shard label for the registry, `handles` is one shard's own.
macro_rules! shard_metrics {
    ($($(#[doc = $help:literal])+ $field:ident: $kind:ty,)*) => {
        #[derive(Clone, Debug, Default)]
        struct Families { $($field: Family<ShardLabel, $kind>,)* }

        #[derive(Clone, Debug)]
        struct Handles { $($(#[doc = $help])+ $field: $kind,)* }

        impl Families {
            fn register(registry: &mut Registry) -> Families {
                let families = Families::default();
                $(registry.register(stringify!($field), help(concat!($($help),+)), families.$field.clone());)*
                families
            }

            fn shard(&self, shard: usize) -> Handles {
                let label = ShardLabel { shard };
                Handles { $($field: self.$field.get_or_create_owned(&label),)* }
            }
        }
    };
}

/// Declares metrics of the whole process.
macro_rules! process_metrics {
    ($($(#[doc = $help:literal])+ $field:ident: $kind:ty,)*) => {
        #[derive(Clone, Debug, Default)]
        struct Process { $($(#[doc = $help])+ $field: $kind,)* }

        impl Process {
            fn register(registry: &mut Registry) -> Process {
                let process = Process::default();
                $(registry.register(stringify!($field), help(concat!($($help),+)), process.$field.clone());)*
                process
            }
        }
    };
}

// Counters get `_total` behind their names, everything `astro_` before.
shard_metrics! {
    /// Time from the beginning to the end of a tick.
    tick_wall_seconds: TickHistogram,
    /// CPU time that the shard's thread spent in a tick.
    tick_cpu_seconds: TickHistogram,
    /// Ticks played.
    ticks: Counter,
    /// Ticks begun more than one period after their deadline.
    late_ticks: Counter,
    /// Ticks that were never played because the shard dropped pace.
    skipped_ticks: Counter,
    /// Matches running, demo matches included.
    matches: Gauge,
    /// Players' connections.
    links: Gauge,
    /// Datagrams received.
    datagrams_in: Counter,
    /// Datagrams sent.
    datagrams_out: Counter,
    /// Payload bytes received.
    bytes_in: Counter,
    /// Payload bytes sent.
    bytes_out: Counter,
    /// Snapshots sent.
    snapshots: Counter,
    /// Matches played to their end, demo matches excluded.
    matches_finished: Counter,
    /// CPU time of the shard's thread since its first tick.
    shard_cpu_seconds: Counter<f64>,
}

process_metrics! {
    /// CPU time of the whole process.
    process_cpu_seconds: Counter<f64>,
    /// Memory that the process holds.
    process_resident_memory_bytes: Gauge,
    /// Finished matches on disk or on their way there, not yet stored.
    spool_depth: Gauge,
    /// 1 while the spool can write, 0 when no new matches are taken because it cannot.
    spool_healthy: Gauge,
    /// Results stored by this process; one delivered twice counts twice.
    results_stored: Counter,
    /// Results refused because the match is stored with another one. Anything above 0 wants a person.
    results_conflicting: Counter,
}

/// The help text of a doc comment; the registry adds the full stop itself.
fn help(doc: &str) -> &str {
    doc.trim().trim_end_matches('.')
}

/// What the spool says about itself when asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpoolState {
    pub healthy: bool,
    pub depth: usize,
}

type SpoolProbe = Box<dyn Fn() -> SpoolState + Send + Sync>;

/// All metrics of a process.
pub struct Metrics {
    registry: Registry,
    families: Families,
    process: Process,
    dropped: Family<DropLabel, Counter>,
    wall_max: Family<WindowLabel, Gauge<f64, AtomicU64>>,
    cpu_max: Family<WindowLabel, Gauge<f64, AtomicU64>>,
    /// Handed out so far. Bounded by the number of shards.
    shards: Mutex<Vec<ShardMetrics>>,
    spool: OnceLock<SpoolProbe>,
}

/// One shard's metrics, for its thread. Cheap to clone, cheap to call.
#[derive(Clone)]
pub struct ShardMetrics {
    shard: usize,
    handles: Handles,
    dropped: Family<DropLabel, Counter>,
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

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

impl Metrics {
    pub fn new() -> Metrics {
        let mut registry = Registry::with_prefix("astro");
        let families = Families::register(&mut registry);
        let process = Process::register(&mut registry);
        let dropped = Family::<DropLabel, Counter>::default();
        registry.register("datagrams_dropped", "Datagrams not taken or not sent, by reason", dropped.clone());
        let window = |registry: &mut Registry, name: &str, help: &str| {
            let family = Family::<WindowLabel, Gauge<f64, AtomicU64>>::default();
            registry.register(name, help, family.clone());
            family
        };
        let wall_max = window(&mut registry, "tick_wall_seconds_max", "Longest tick of the window, exact");
        let cpu_max = window(&mut registry, "tick_cpu_seconds_max", "Most CPU time of a tick of the window, exact");
        let (shards, spool) = (Mutex::default(), OnceLock::new());
        Metrics { registry, families, process, dropped, wall_max, cpu_max, shards, spool }
    }

    /// Metrics for the shard of that number; the watchdog waits for its first tick from now on.
    pub fn shard(&self, shard: usize) -> ShardMetrics {
        let own = ShardOwn {
            wall_max: SlidingMax::default(),
            cpu_max: SlidingMax::default(),
            stamp_ms: AtomicU64::new(0),
            thread: OnceLock::new(),
            started: Instant::now(),
        };
        let handles = self.families.shard(shard);
        let metrics = ShardMetrics { shard, handles, dropped: self.dropped.clone(), own: Arc::new(own) };
        let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        shards.retain(|known| known.shard != shard);
        shards.push(metrics.clone());
        metrics
    }

    /// Whom to ask about the spool. Set once, by whoever opens it.
    pub fn watch_spool(&self, probe: impl Fn() -> SpoolState + Send + Sync + 'static) {
        assert!(self.spool.set(Box::new(probe)).is_ok(), "a process has one spool");
    }

    /// Whether finished matches reach the disk. A process without a spool has nothing to worry about.
    pub fn spool_healthy(&self) -> bool {
        self.spool.get().is_none_or(|probe| probe().healthy)
    }

    /// Results have been stored.
    pub fn results_stored(&self, count: usize) {
        self.process.results_stored.inc_by(count as u64);
    }

    /// Results contradict what is stored.
    pub fn results_conflicting(&self, count: usize) {
        self.process.results_conflicting.inc_by(count as u64);
    }

    /// Whether every shard has begun a tick within [`STALE_AFTER`].
    pub fn shards_fresh(&self) -> bool {
        self.stale_shards(Instant::now()).is_empty()
    }

    /// The shards that have not begun a tick for [`STALE_AFTER`].
    pub fn stale_shards(&self, now: Instant) -> Vec<usize> {
        let shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        let stale = shards.iter().filter(|shard| shard.own.since_stamp(now) > STALE_AFTER);
        stale.map(|shard| shard.shard).collect()
    }

    /// Everything as OpenMetrics text.
    pub fn render(&self) -> String {
        self.observe(Instant::now());
        let mut page = String::new();
        // Writing to a string fails only when a metric of ours says so, and none does.
        let _ = text::encode(&mut page, &self.registry);
        page
    }

    /// Reads what is only read when somebody looks.
    fn observe(&self, now: Instant) {
        let cpu = ClockId::CLOCK_PROCESS_CPUTIME_ID.now().map(Duration::from).unwrap_or_default();
        set_seconds(&self.process.process_cpu_seconds, cpu);
        self.process.process_resident_memory_bytes.set(resident_bytes().unwrap_or(0));
        if let Some(state) = self.spool.get().map(|probe| probe()) {
            self.process.spool_depth.set(state.depth as i64);
            self.process.spool_healthy.set(i64::from(state.healthy));
        }
        for shard in self.shards.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            self.observe_shard(shard, now);
        }
    }

    fn observe_shard(&self, metrics: &ShardMetrics, now: Instant) {
        let Some(thread) = metrics.own.thread.get() else { return };
        // A thread that has ended has no clock any more; its last reading stays.
        if let Ok(cpu) = thread.cpu.now() {
            set_seconds(&metrics.handles.shard_cpu_seconds, cpu.into());
        }
        let now_ms = thread.now_ms(now);
        for (window, seconds) in ticks::WINDOWS {
            let label = WindowLabel { shard: metrics.shard, window };
            self.wall_max.get_or_create(&label).set(metrics.own.wall_max.over(seconds, now_ms).as_secs_f64());
            self.cpu_max.get_or_create(&label).set(metrics.own.cpu_max.over(seconds, now_ms).as_secs_f64());
        }
    }
}

impl ShardMetrics {
    /// A tick begins. `now_ms` is of any clock that never jumps; always from the thread that ticks.
    pub fn stamp(&self, now_ms: u64) {
        self.own.thread.get_or_init(|| ShardClocks { stamp_ms: now_ms, at: Instant::now(), cpu: thread_cpu_clock() });
        self.own.stamp_ms.store(now_ms, Ordering::Relaxed);
    }

    /// A tick is over; it belongs to the second of the last stamp.
    pub fn tick(&self, wall: Duration, cpu: Duration) {
        self.handles.ticks.inc();
        self.handles.tick_wall_seconds.observe(wall);
        self.handles.tick_cpu_seconds.observe(cpu);
        let now_ms = self.own.stamp_ms.load(Ordering::Relaxed);
        self.own.wall_max.observe(wall, now_ms);
        self.own.cpu_max.observe(cpu, now_ms);
    }

    /// A tick begins more than one period after its deadline.
    pub fn late(&self) {
        self.handles.late_ticks.inc();
    }

    /// Ticks that will not be played.
    pub fn skipped(&self, ticks: u64) {
        self.handles.skipped_ticks.inc_by(ticks);
    }

    pub fn set_matches(&self, count: usize) {
        self.handles.matches.set(count as i64);
    }

    pub fn set_links(&self, count: usize) {
        self.handles.links.set(count as i64);
    }

    pub fn received(&self, datagrams: u64, bytes: u64) {
        self.handles.datagrams_in.inc_by(datagrams);
        self.handles.bytes_in.inc_by(bytes);
    }

    pub fn sent(&self, datagrams: u64, bytes: u64) {
        self.handles.datagrams_out.inc_by(datagrams);
        self.handles.bytes_out.inc_by(bytes);
    }

    /// Datagrams dropped since the last call. Looks its counter up, so call it once per tick and reason.
    pub fn dropped(&self, reason: &'static str, count: u64) {
        if count > 0 {
            self.dropped.get_or_create(&DropLabel { shard: self.shard, reason }).inc_by(count);
        }
    }

    pub fn snapshots(&self, count: u64) {
        self.handles.snapshots.inc_by(count);
    }

    pub fn match_finished(&self) {
        self.handles.matches_finished.inc();
    }
}

impl ShardOwn {
    /// Time since the last stamp, or since the shard was announced when there was none.
    fn since_stamp(&self, now: Instant) -> Duration {
        let Some(thread) = self.thread.get() else { return now.saturating_duration_since(self.started) };
        let stamp_ms = self.stamp_ms.load(Ordering::Relaxed);
        Duration::from_millis(thread.now_ms(now).saturating_sub(stamp_ms))
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

/// Counters of the library only add; this one is read elsewhere as a whole.
fn set_seconds(counter: &Counter<f64>, seconds: Duration) {
    counter.inner().store(seconds.as_secs_f64().to_bits(), Ordering::Relaxed);
}

fn resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<i64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON_MS: u64 = 1_700_000_000_000;

    fn line<'a>(page: &'a str, start: &str) -> &'a str {
        page.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("no {start} in\n{page}"))
    }

    fn value(page: &str, start: &str) -> f64 {
        line(page, start).rsplit(' ').next().unwrap().parse().unwrap()
    }

    #[test]
    fn a_page_has_every_promised_name() {
        let metrics = Metrics::new();
        metrics.watch_spool(|| SpoolState { healthy: true, depth: 3 });
        let shard = metrics.shard(1);
        shard.stamp(NOON_MS);
        shard.tick(Duration::from_micros(1500), Duration::from_micros(700));
        shard.late();
        shard.skipped(4);
        shard.set_matches(2);
        shard.set_links(8);
        shard.received(10, 1000);
        shard.sent(20, 2000);
        shard.dropped("bad_mac", 5);
        shard.snapshots(9);
        shard.match_finished();
        metrics.results_stored(2);
        let page = metrics.render();
        for (name, expected) in [
            ("astro_ticks_total{shard=\"1\"}", 1.0),
            ("astro_tick_wall_seconds_count{shard=\"1\"}", 1.0),
            ("astro_tick_wall_seconds_sum{shard=\"1\"}", 0.0015),
            ("astro_tick_wall_seconds_max{shard=\"1\",window=\"10s\"}", 0.0015),
            ("astro_tick_cpu_seconds_max{shard=\"1\",window=\"60s\"}", 0.0007),
            ("astro_late_ticks_total{shard=\"1\"}", 1.0),
            ("astro_skipped_ticks_total{shard=\"1\"}", 4.0),
            ("astro_matches{shard=\"1\"}", 2.0),
            ("astro_links{shard=\"1\"}", 8.0),
            ("astro_datagrams_in_total{shard=\"1\"}", 10.0),
            ("astro_bytes_out_total{shard=\"1\"}", 2000.0),
            ("astro_datagrams_dropped_total{shard=\"1\",reason=\"bad_mac\"}", 5.0),
            ("astro_snapshots_total{shard=\"1\"}", 9.0),
            ("astro_matches_finished_total{shard=\"1\"}", 1.0),
            ("astro_results_stored_total", 2.0),
            ("astro_spool_depth", 3.0),
            ("astro_spool_healthy", 1.0),
        ] {
            assert_eq!(value(&page, name), expected, "{name}");
        }
        assert!(value(&page, "astro_process_cpu_seconds_total") > 0.0);
        assert!(value(&page, "astro_shard_cpu_seconds_total{shard=\"1\"}") > 0.0);
        assert!(value(&page, "astro_process_resident_memory_bytes") > 1e6);
        assert_eq!(line(&page, "# HELP astro_ticks"), "# HELP astro_ticks Ticks played.");
    }

    #[test]
    fn a_shard_that_stops_ticking_is_stale_after_a_second() {
        let metrics = Metrics::new();
        let (first, second) = (metrics.shard(0), metrics.shard(1));
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms);
        assert_eq!(metrics.stale_shards(at(900)), [0; 0]);
        assert_eq!(metrics.stale_shards(at(1100)), [0, 1]);
        first.stamp(NOON_MS);
        second.stamp(NOON_MS);
        second.stamp(NOON_MS + 5000);
        assert_eq!(metrics.stale_shards(at(900)), [0; 0]);
        assert_eq!(metrics.stale_shards(at(5900)), [0]);
        assert_eq!(metrics.stale_shards(at(6200)), [0, 1]);
    }
}
