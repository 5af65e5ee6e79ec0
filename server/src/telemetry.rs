//! What operators see: logs, metrics and traces.
//!
//! In: counts and times from shards, spool and service. Out: log lines on stderr, and `/metrics` as OpenMetrics text.
//! *Invariant:* what a shard pays per tick is some dozens of relaxed atomics, well under a microsecond; nothing slow.
//! *Invariant:* a metric is declared in one place: the field's name is its name, the doc comment its help.
//! Start reading at [`Metrics`], then [`shard`]; [`declare`] has the machinery, [`table`] what operators read.

mod declare;
mod histogram;
mod logs;
mod outlet;
mod shard;
pub mod table;
mod ticks;
pub mod traces;

use std::sync::atomic::Ordering;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::time::ClockId;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

pub use declare::Row;
use declare::{Declared, LabelNames, Reading, help, process_metrics};
use histogram::{Histogram, RequestTime};
pub use histogram::{RoundTripTicks, SnapshotBytes, Tally};
#[cfg(test)]
pub(crate) use logs::log_filter;
pub use logs::{LineLimit, STRANGER_LINES_PER_S, STRANGERS, start_logging, stranger_line};
pub use shard::{LateCause, MatchCounts, MatchState, Network, PAUSE, Queue, ShardMetrics};
pub use traces::{Traces, TracesError};

/// A shard that has not begun a tick for this long is stuck: 60 periods. Three periods (50 ms), which is when players
/// begin to feel it, would restart a server over one slow disk or a moved machine, and with it every match.
pub const STALE_AFTER: Duration = Duration::from_secs(1);
/// What `/metrics` answers with.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Which program this is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Build {
    pub version: &'static str,
    pub commit: &'static str,
    pub sim_version: u32,
}

impl LabelNames for Build {
    const NAMES: &'static [&'static str] = &["version", "commit", "sim_version"];
}

/// A request as it is counted. The route is a template such as `/v1/matches/{id}`, never a path: paths are strangers'.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabel {
    pub route: String,
    pub method: &'static str,
    /// `none` when nobody waited for the answer any more.
    pub status: String,
}

impl LabelNames for RequestLabel {
    const NAMES: &'static [&'static str] = &["route", "method", "status"];
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

impl LabelNames for ReasonLabel {
    const NAMES: &'static [&'static str] = &["reason"];
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabel {
    route: String,
    method: &'static str,
}

impl LabelNames for RouteLabel {
    const NAMES: &'static [&'static str] = &["route", "method"];
}

process_metrics! {
    /// Always 1; the labels say which program this is.
    build_info: Family<Build, Gauge>,
    /// Unix time at which the process began.
    process_start_time_seconds: Reading,
    /// CPU time of the whole process.
    process_cpu_seconds: Counter<f64>,
    /// Memory that the process holds.
    process_resident_memory_bytes: Gauge,
    /// File descriptors that the process holds.
    process_open_fds: Gauge,
    /// Finished matches on disk or on their way there, not yet stored.
    spool_depth: Gauge,
    /// 1 while the spool can write, 0 when no new matches are taken because it cannot.
    spool_healthy: Gauge,
    /// Results stored by this process; one delivered twice counts twice.
    results_stored: Counter,
    /// Results set aside in the table match_conflicts because their match is stored with another one, those of earlier
    /// runs included. Anything above 0 wants a person.
    results_conflicting: Gauge,
    /// Results that were in the spool and cannot be read again; each damaged range that the start found counts as one.
    /// Anything above 0 wants a person.
    results_lost: Counter,
    /// HTTP requests, on either listener.
    http_requests: Family<RequestLabel, Counter>,
    /// From the head of a request to the head of its answer.
    http_request_seconds: Family<RouteLabel, Histogram<RequestTime>>,
    /// Requests and connections refused or closed by a limit.
    http_refused: Family<ReasonLabel, Counter>,
    /// Connections over HTTP.
    http_connections: Gauge,
    /// 1 when the limits per address are lifted for a load test. Anything above 0 in production wants a person.
    load_test: Gauge,
    /// Log lines not written because strangers caused too many.
    log_lines_suppressed: Counter,
    /// Log lines lost because whoever reads them does not keep up.
    log_lines_lost: Counter,
}

/// What the spool says about itself when asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpoolState {
    pub healthy: bool,
    pub depth: usize,
    /// Since the start.
    pub lost: u64,
}

type SpoolProbe = Box<dyn Fn() -> SpoolState + Send + Sync>;

/// Shards, and what the kernel has dropped of theirs since the last call.
type KernelProbe = Box<dyn FnMut() -> Vec<(usize, u64)> + Send>;

/// All metrics of a process.
pub struct Metrics {
    registry: Registry,
    families: shard::Families,
    process: Process,
    /// Handed out so far. Bounded by the number of shards.
    shards: Mutex<Vec<ShardMetrics>>,
    spool: OnceLock<SpoolProbe>,
    kernel: Mutex<Option<KernelProbe>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

impl Metrics {
    pub fn new() -> Metrics {
        let mut registry = Registry::with_prefix("astro");
        let families = shard::Families::register(&mut registry);
        let process = Process::register(&mut registry);
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        process.process_start_time_seconds.set(started.as_secs_f64());
        let (shards, spool, kernel) = (Mutex::default(), OnceLock::new(), Mutex::default());
        Metrics { registry, families, process, shards, spool, kernel }
    }

    /// Every metric there is, in the order of the page.
    pub fn rows() -> Vec<Row> {
        let mut rows = shard::Families::rows();
        rows.extend(Process::rows());
        rows
    }

    /// Says which program this is.
    pub fn set_build(&self, build: &Build) {
        self.process.build_info.get_or_create(build).set(1);
    }

    /// Metrics for the shard of that number; the watchdog waits for its first tick from now on.
    pub fn shard(&self, shard: usize) -> ShardMetrics {
        let metrics = ShardMetrics::new(&self.families, shard);
        let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        shards.retain(|known| known.shard != shard);
        shards.push(metrics.clone());
        metrics
    }

    /// Whom to ask about the spool. Set once, by whoever opens it.
    pub fn watch_spool(&self, probe: impl Fn() -> SpoolState + Send + Sync + 'static) {
        assert!(self.spool.set(Box::new(probe)).is_ok(), "a process has one spool");
    }

    /// Whom to ask what the kernel dropped before a shard could see it.
    pub fn watch_kernel(&self, probe: impl FnMut() -> Vec<(usize, u64)> + Send + 'static) {
        *self.kernel.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(probe));
    }

    /// Whether finished matches reach the disk. A process without a spool has nothing to worry about.
    pub fn spool_healthy(&self) -> bool {
        self.spool.get().is_none_or(|probe| probe().healthy)
    }

    /// Results have been stored.
    pub fn results_stored(&self, count: usize) {
        self.process.results_stored.inc_by(count as u64);
    }

    /// So many results lie set aside because they contradict what is stored.
    pub fn set_results_conflicting(&self, count: i64) {
        self.process.results_conflicting.set(count);
    }

    /// A request has been answered, or given up.
    pub fn request(&self, request: RequestLabel, time: Duration) {
        let route = RouteLabel { route: request.route.clone(), method: request.method };
        self.process.http_request_seconds.get_or_create(&route).observe_time(time);
        self.process.http_requests.get_or_create(&request).inc();
    }

    /// A request or a connection met the limit of that name.
    pub fn http_refused(&self, reason: &'static str) {
        self.process.http_refused.get_or_create(&ReasonLabel { reason }).inc();
    }

    pub fn http_connection_opened(&self) {
        self.process.http_connections.inc();
    }

    pub fn http_connection_closed(&self) {
        self.process.http_connections.dec();
    }

    pub fn set_load_test(&self, is_on: bool) {
        self.process.load_test.set(i64::from(is_on));
    }

    /// Whether every shard has begun a tick within [`STALE_AFTER`].
    pub fn shards_fresh(&self) -> bool {
        self.stale_shards(Instant::now()).is_empty()
    }

    /// The shards that have not begun a tick for [`STALE_AFTER`].
    pub fn stale_shards(&self, now: Instant) -> Vec<usize> {
        let shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        let stale = shards.iter().filter(|shard| shard.is_stale(now));
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
        let open = std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as i64);
        self.process.process_open_fds.set(open);
        self.process.log_lines_lost.inner().store(outlet::lost_ever(), Ordering::Relaxed);
        self.process.log_lines_suppressed.inner().store(STRANGERS.suppressed_ever(), Ordering::Relaxed);
        if let Some(state) = self.spool.get().map(|probe| probe()) {
            self.process.spool_depth.set(state.depth as i64);
            self.process.spool_healthy.set(i64::from(state.healthy));
            self.process.results_lost.inner().store(state.lost, Ordering::Relaxed);
        }
        if let Some(probe) = &mut *self.kernel.lock().unwrap_or_else(PoisonError::into_inner) {
            self.count_kernel_drops(probe());
        }
        for shard in self.shards.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            shard.observe(now);
        }
    }

    fn count_kernel_drops(&self, drops: Vec<(usize, u64)>) {
        let shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        for (shard, count) in drops {
            let own = shards.iter().filter(|own| own.shard == shard);
            own.for_each(|own| own.dropped("kernel", count));
        }
    }
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

    /// A page on which everything has happened.
    fn full_page() -> String {
        let metrics = Metrics::new();
        metrics.watch_spool(|| SpoolState { healthy: true, depth: 3, lost: 1 });
        metrics.watch_kernel(|| vec![(1, 8), (2, 99)]);
        let shard = metrics.shard(1);
        shard.stamp(NOON_MS);
        shard.tick(Duration::from_micros(1500), Duration::from_micros(700));
        shard.late(LateCause::OwnWork);
        shard.skipped(4);
        let mut matches = MatchCounts::default();
        [MatchState::Demo, MatchState::Playing, MatchState::Playing].iter().for_each(|state| matches.add(*state));
        shard.set_matches(matches);
        shard.set_links(Network::WebSocket, 8);
        shard.received(Network::Udp, 10, 1000);
        shard.sent(Network::Udp, 20, 2000);
        shard.dropped("bad_mac", 5);
        let mut sizes = Tally::default();
        sizes.observe(90);
        shard.snapshots(9, &mut sizes);
        let mut round_trips = Tally::default();
        round_trips.observe(6);
        shard.round_trips(&mut round_trips);
        shard.match_finished();
        shard.matches_voided("shutting_down", 3);
        shard.links_closed("silent", 2);
        shard.rejoined(Network::Udp);
        shard.set_spectators(4);
        shard.superseded(7);
        shard.panicked();
        shard.queued(Queue::Commands);
        shard.queued(Queue::Commands);
        shard.unqueued(Queue::Commands, 1);
        let request = RequestLabel { route: "/v1/matches/{id}".into(), method: "GET", status: "404".into() };
        metrics.request(request, Duration::from_millis(3));
        metrics.set_build(&Build { version: "1.2.3", commit: "abc", sim_version: 4 });
        metrics.results_stored(2);
        metrics.http_refused("joins");
        metrics.render()
    }

    #[test]
    fn a_page_has_every_promised_name() {
        let page = full_page();
        for (name, expected) in [
            ("astro_ticks_total{shard=\"1\"}", 1.0),
            ("astro_tick_wall_seconds_count{shard=\"1\"}", 1.0),
            ("astro_tick_wall_seconds_sum{shard=\"1\"}", 0.0015),
            ("astro_tick_wall_seconds_max{shard=\"1\",window=\"10s\"}", 0.0015),
            ("astro_tick_cpu_seconds_max{shard=\"1\",window=\"60s\"}", 0.0007),
            ("astro_late_ticks_total{shard=\"1\",cause=\"own_work\"}", 1.0),
            ("astro_late_ticks_total{shard=\"1\",cause=\"pause\"}", 0.0),
            ("astro_skipped_ticks_total{shard=\"1\"}", 4.0),
            ("astro_matches{shard=\"1\",state=\"playing\"}", 2.0),
            ("astro_matches{shard=\"1\",state=\"filling\"}", 0.0),
            ("astro_links{shard=\"1\",transport=\"websocket\"}", 8.0),
            ("astro_datagrams_in_total{shard=\"1\",transport=\"udp\"}", 10.0),
            ("astro_bytes_out_total{shard=\"1\",transport=\"udp\"}", 2000.0),
            ("astro_datagrams_dropped_total{shard=\"1\",reason=\"bad_mac\"}", 5.0),
            ("astro_datagrams_dropped_total{shard=\"1\",reason=\"kernel\"}", 8.0),
            ("astro_snapshots_total{shard=\"1\"}", 9.0),
            ("astro_snapshot_bytes_bucket{le=\"96.0\",shard=\"1\"}", 1.0),
            ("astro_round_trip_seconds_sum{shard=\"1\"}", 0.1),
            ("astro_snapshots_superseded_total{shard=\"1\"}", 7.0),
            ("astro_matches_voided_total{shard=\"1\",reason=\"shutting_down\"}", 3.0),
            ("astro_links_closed_total{shard=\"1\",reason=\"silent\"}", 2.0),
            ("astro_rejoins_total{shard=\"1\",transport=\"udp\"}", 1.0),
            ("astro_spectators{shard=\"1\"}", 4.0),
            ("astro_shard_panics_total{shard=\"1\"}", 1.0),
            ("astro_queue_depth{shard=\"1\",queue=\"commands\"}", 1.0),
            ("astro_http_requests_total{route=\"/v1/matches/{id}\",method=\"GET\",status=\"404\"}", 1.0),
            ("astro_http_request_seconds_count{route=\"/v1/matches/{id}\",method=\"GET\"}", 1.0),
            ("astro_build_info{version=\"1.2.3\",commit=\"abc\",sim_version=\"4\"}", 1.0),
            ("astro_matches_finished_total{shard=\"1\"}", 1.0),
            ("astro_results_stored_total", 2.0),
            ("astro_results_lost_total", 1.0),
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
    fn the_table_names_what_the_page_declares_and_nothing_else() {
        let page = full_page();
        let kinds = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let declared: Vec<String> = kinds.map(str::to_owned).collect();
        let listed = Metrics::rows().into_iter().map(|row| {
            let name = row.name.strip_suffix("_total").unwrap_or(&row.name);
            format!("{name} {}", row.kind)
        });
        assert_eq!(listed.collect::<Vec<_>>(), declared);
        assert!(Metrics::rows().iter().all(|row| row.help.len() > 5 && !row.help.starts_with(char::is_lowercase)));
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
