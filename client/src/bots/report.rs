//! What a run found, for a person and for a program.
//!
//! In: counts and times of a run. Out: an aligned text, and a JSON object with the same figures.
//! *Invariant:* a figure that could not be measured is absent or null, never a zero.
//! Start reading at [`Report`].

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use astro_shared::sim::units::MatchId;
use serde::Serialize;

use super::fleet::Tally;
use super::joins::Refusal;
use super::metrics::ServerReport;
use super::outages::RejoinReport;
use super::window::Counted;
use crate::net::Transport;
use crate::session::Histogram;

/// With their core busier than this, the bots may themselves be what was measured.
pub const BUSY_SHARE_MAX: f64 = 0.85;

/// Everything that a run found. Per-client rates are per second that a client was really connected.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Bots that play at a time, as asked for.
    pub clients: u32,
    pub clients_connected_max: u32,
    /// Sessions begun in all.
    pub sessions: u64,
    pub matches_started: u64,
    pub matches_finished: u64,
    pub results_confirmed: u64,
    /// Results that bots were told differently, or that were stored otherwise than told.
    pub results_contradicted: u64,
    /// From asking for a seat over HTTP to the server's welcome over UDP or WebSocket.
    pub join_ms: Quantiles,
    /// Requests for seats that were repeated later (the server was full or gone), and that failed for good.
    pub joins_deferred: u64,
    pub joins_failed: u64,
    /// What the service refused, by kind.
    pub refusals: Vec<Refusal>,
    /// From the moment that the first matches were all in, to when no more were started.
    pub window_s: f64,
    #[serde(flatten)]
    pub rates: Rates,
    pub input_to_ack_ms: Quantiles,
    /// How much later than the best one of its session a snapshot came, by ticks (`session/age.rs`). Arrivals are
    /// read 240 times a second, so it is right within 4 ms.
    pub snapshot_age_ms: Quantiles,
    /// Share of snapshots that reported inputs as too late.
    pub inputs_late_share: Option<f64>,
    /// Bots that lost their connection and came back; null when none was meant to.
    pub rejoins: Option<RejoinReport>,
    /// What the bots' bad network did to packets, by kind; null when there was none.
    pub network_faults: Option<BTreeMap<&'static str, u64>>,
    /// By what the bots connected over.
    pub transports: BTreeMap<&'static str, TransportReport>,
    /// Of the whole run.
    pub state_mismatches: u64,
    pub datagrams_refused: u64,
    pub datagrams_unsent: u64,
    pub disconnects: BTreeMap<&'static str, u64>,
    /// Sessions that were told that the server is going down.
    pub shutdown_notices: u64,
    /// Matches whose result a bot was told.
    #[serde(skip)]
    pub told: Vec<MatchId>,
    /// CPU time over wall time in the window: the whole process, and the thread that drives the bots.
    pub bots_cpu_share: Option<f64>,
    pub bots_main_cpu_share: Option<f64>,
    /// Share of the process's own deadlines that it missed by more than 4 ms: it was too busy, or others were.
    pub bots_slots_late_share: Option<f64>,
    /// The bots' own core was too busy for the other figures to mean anything.
    pub void: bool,
    pub server: Option<ServerReport>,
    /// Why there are no figures of the server.
    pub server_missing: Option<String>,
    pub interrupted: bool,
}

/// The bots of one transport, in the window.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TransportReport {
    pub clients_connected_max: u32,
    /// Of the whole run, and so the join times.
    pub sessions: u64,
    pub join_ms: Quantiles,
    #[serde(flatten)]
    pub rates: Rates,
    pub input_to_ack_ms: Quantiles,
    pub snapshot_age_ms: Quantiles,
}

impl TransportReport {
    pub fn of(tally: &Tally, window: Option<&Counted>) -> TransportReport {
        let nothing = Counted::default();
        let statistics = &window.unwrap_or(&nothing).statistics;
        TransportReport {
            clients_connected_max: tally.connected_max,
            sessions: tally.sessions,
            join_ms: Quantiles::of(&tally.join_times),
            rates: window.map(Rates::of).unwrap_or_default(),
            input_to_ack_ms: Quantiles::of(&statistics.input_to_ack),
            snapshot_age_ms: Quantiles::of(&statistics.snapshot_age),
        }
    }
}

/// Per client and second; `None` when nothing was measured. Over UDP datagrams and their payload; over WebSocket
/// frames and their bytes, headers included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rates {
    pub snapshots_per_client_s: Option<f64>,
    pub bytes_down_per_client_s: Option<f64>,
    pub bytes_up_per_client_s: Option<f64>,
    pub datagrams_down_per_client_s: Option<f64>,
    pub datagrams_up_per_client_s: Option<f64>,
}

impl Rates {
    pub fn of(counted: &Counted) -> Rates {
        let Counted { statistics, carried, client_seconds } = counted;
        let rate =
            |count: u64, decimals| (*client_seconds > 0.0).then(|| rounded(count as f64 / client_seconds, decimals));
        Rates {
            snapshots_per_client_s: rate(statistics.snapshots, 2),
            bytes_down_per_client_s: rate(carried.bytes_down, 1),
            bytes_up_per_client_s: rate(carried.bytes_up, 1),
            datagrams_down_per_client_s: rate(carried.datagrams_down, 2),
            datagrams_up_per_client_s: rate(carried.datagrams_up, 2),
        }
    }
}

/// Milliseconds; `None` when nothing was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Quantiles {
    pub p50: Option<f64>,
    pub p99: Option<f64>,
}

impl Quantiles {
    pub fn of(times: &Histogram) -> Quantiles {
        let ms = |quantile| times.quantile(quantile).map(|time| rounded(time.as_secs_f64() * 1e3, 2));
        Quantiles { p50: ms(0.50), p99: ms(0.99) }
    }
}

/// `value` to that many decimals.
pub fn rounded(value: f64, decimals: i32) -> f64 {
    let scale = 10f64.powi(decimals);
    (value * scale).round() / scale
}

impl Report {
    /// Whether every match that began has a stored result that is the one its players were told.
    pub fn all_confirmed(&self) -> bool {
        self.matches_started > 0 && self.results_confirmed == self.matches_started
    }
}

impl TransportReport {
    fn write(&self, f: &mut Formatter<'_>, name: &str) -> fmt::Result {
        let (p50, p99) = (figure(self.join_ms.p50, 1), figure(self.join_ms.p99, 1));
        let TransportReport { clients_connected_max, sessions, .. } = self;
        writeln!(
            f,
            "{name:<11} at most {clients_connected_max} connected   {sessions} sessions   joins p50 {p50} ms   p99 {p99} ms"
        )?;
        let Rates { bytes_down_per_client_s, datagrams_down_per_client_s, .. } = self.rates;
        let Rates { bytes_up_per_client_s, datagrams_up_per_client_s, .. } = self.rates;
        let unit = if name == Transport::Udp.name() { "datagrams" } else { "frames" };
        for (name, bytes, datagrams) in [
            ("down", bytes_down_per_client_s, datagrams_down_per_client_s),
            ("up", bytes_up_per_client_s, datagrams_up_per_client_s),
        ] {
            let (bytes, datagrams) = (figure(bytes, 0), figure(datagrams, 1));
            writeln!(f, "  {name:<9} {bytes} B/s and {datagrams} {unit}/s per client")?;
        }
        let (p50, p99) = (figure(self.snapshot_age_ms.p50, 1), figure(self.snapshot_age_ms.p99, 1));
        writeln!(f, "  age       p50 {p50} ms   p99 {p99} ms")
    }
}

/// A figure, or a dash.
fn figure(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.decimals$}"))
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.write_matches(f)?;
        self.write_clients(f)?;
        self.write_server(f)?;
        if self.void {
            writeln!(
                f,
                "VOID        the bots' own core was over {:.0} % busy: figures of this run say nothing about the server",
                BUSY_SHARE_MAX * 100.0
            )?;
        }
        let verdict = match (self.interrupted, self.all_confirmed()) {
            (true, _) => "interrupted".into(),
            (false, true) => "every started match has its result stored".into(),
            (false, false) => {
                let missing = self.matches_started.saturating_sub(self.results_confirmed);
                if self.matches_started == 0 {
                    "no match started".into()
                } else {
                    format!("{missing} results are missing")
                }
            }
        };
        writeln!(f, "verdict     {verdict}")
    }
}

impl Report {
    fn write_matches(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Report { matches_started, matches_finished, results_confirmed, results_contradicted, .. } = self;
        writeln!(
            f,
            "matches     {matches_started} started   {matches_finished} finished   {results_confirmed} results confirmed   \
             {results_contradicted} contradicted"
        )?;
        let Report { clients, clients_connected_max, sessions, .. } = self;
        writeln!(
            f,
            "clients     {clients} at a time (at most {clients_connected_max} connected)   {sessions} sessions"
        )?;
        let (p50, p99) = (figure(self.join_ms.p50, 1), figure(self.join_ms.p99, 1));
        let Report { joins_deferred, joins_failed, .. } = self;
        writeln!(f, "joins       p50 {p50} ms   p99 {p99} ms   {joins_deferred} put off   {joins_failed} failed")?;
        for refusal in &self.refusals {
            writeln!(f, "refused     {} times {refusal}", refusal.count)?;
        }
        writeln!(f, "window      {:.1} s", self.window_s)
    }

    fn write_clients(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let snapshots = figure(self.rates.snapshots_per_client_s, 2);
        writeln!(f, "snapshots   {snapshots} per client and second   {} state mismatches", self.state_mismatches)?;
        let (p50, p99) = (figure(self.snapshot_age_ms.p50, 1), figure(self.snapshot_age_ms.p99, 1));
        writeln!(f, "age         p50 {p50} ms   p99 {p99} ms behind the earliest arrival")?;
        for (transport, report) in &self.transports {
            report.write(f, transport)?;
        }
        let (p50, p99) = (figure(self.input_to_ack_ms.p50, 1), figure(self.input_to_ack_ms.p99, 1));
        let late = figure(self.inputs_late_share.map(|share| share * 100.0), 2);
        writeln!(f, "input→ack   p50 {p50} ms   p99 {p99} ms   {late} % of reports late")?;
        if let Some(RejoinReport { asked, won, refused, too_late, told_what_they_missed, ms }) = self.rejoins {
            let (p50, p99) = (figure(ms.p50, 1), figure(ms.p99, 1));
            writeln!(
                f,
                "rejoins     {asked} asked   {won} won   {refused} refused   {too_late} too late   {told_what_they_missed} told what they missed   \
                 p50 {p50} ms   p99 {p99} ms"
            )?;
        }
        if let Some(faults) = &self.network_faults {
            let happened = faults.iter().filter(|(_, count)| **count > 0);
            let happened: Vec<String> = happened.map(|(name, count)| format!("{name} {count}")).collect();
            writeln!(f, "network     {}", happened.join("   "))?;
        }
        let reasons: Vec<String> = self.disconnects.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        let reasons = if reasons.is_empty() { "none".into() } else { reasons.join("   ") };
        writeln!(f, "disconnects {reasons}")?;
        if self.shutdown_notices > 0 {
            writeln!(f, "shutdown    told to {} sessions", self.shutdown_notices)?;
        }
        let Report { datagrams_refused, datagrams_unsent, .. } = self;
        if datagrams_refused + datagrams_unsent > 0 {
            writeln!(f, "datagrams   {datagrams_refused} refused   {datagrams_unsent} could not be sent")?;
        }
        let percent = |share: Option<f64>| figure(share.map(|share| share * 100.0), 1);
        let (process, thread) = (percent(self.bots_cpu_share), percent(self.bots_main_cpu_share));
        let late = percent(self.bots_slots_late_share);
        writeln!(
            f,
            "bots        {process} % of a core, {thread} % in the thread that flies   {late} % of its deadlines missed"
        )
    }

    fn write_server(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(server) = &self.server else {
            let why = self.server_missing.as_deref().unwrap_or("no window was measured");
            return writeln!(f, "server      not measured: {why}");
        };
        let ServerReport { cpu_us_per_client_s, ticks_per_s, late_ticks, skipped_ticks, shards, .. } = server;
        writeln!(f, "server      {cpu_us_per_client_s:.0} µs CPU per client and second")?;
        writeln!(
            f,
            "ticks       {ticks_per_s:.2} /s on the slowest of {shards} shard(s)   {late_ticks} late   {skipped_ticks} skipped"
        )?;
        for (name, times) in [("tick wall  ", server.tick_wall_ms), ("tick CPU   ", server.tick_cpu_ms)] {
            writeln!(f, "{name} p50 {:.2} ms   p99 {:.2} ms   max {:.2} ms", times.p50, times.p99, times.max)?;
        }
        for (name, bytes, datagrams) in [
            ("out        ", server.bytes_out_per_s, server.datagrams_out_per_s),
            ("in         ", server.bytes_in_per_s, server.datagrams_in_per_s),
        ] {
            writeln!(f, "{name} {:.1} kB/s   {datagrams:.0} datagrams or frames/s", bytes / 1000.0)?;
        }
        writeln!(f, "memory      {:.1} MiB", server.rss_bytes as f64 / f64::from(1 << 20))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::bots::metrics::TickTimes;

    pub fn sample() -> Report {
        let times = TickTimes { p50: 0.5, p99: 1.25, max: 3.0 };
        let rates = Rates {
            snapshots_per_client_s: Some(30.0),
            bytes_down_per_client_s: Some(2400.0),
            bytes_up_per_client_s: Some(1500.0),
            datagrams_down_per_client_s: Some(30.1),
            datagrams_up_per_client_s: Some(31.0),
        };
        let transport = TransportReport {
            clients_connected_max: 100,
            sessions: 164,
            join_ms: Quantiles { p50: Some(12.3), p99: Some(45.6) },
            rates,
            input_to_ack_ms: Quantiles::default(),
            snapshot_age_ms: Quantiles::default(),
        };
        Report {
            clients: 100,
            clients_connected_max: 100,
            sessions: 164,
            matches_started: 41,
            matches_finished: 41,
            results_confirmed: 41,
            results_contradicted: 0,
            join_ms: Quantiles { p50: Some(12.3), p99: Some(45.6) },
            joins_deferred: 0,
            joins_failed: 0,
            refusals: vec![],
            window_s: 20.0,
            rates,
            input_to_ack_ms: Quantiles::default(),
            snapshot_age_ms: Quantiles { p50: Some(1.5), p99: Some(17.0) },
            inputs_late_share: None,
            rejoins: None,
            network_faults: None,
            transports: BTreeMap::from([("udp", transport)]),
            state_mismatches: 0,
            datagrams_refused: 0,
            datagrams_unsent: 0,
            disconnects: BTreeMap::from([("dropped", 2)]),
            shutdown_notices: 0,
            told: Vec::new(),
            bots_cpu_share: Some(0.25),
            bots_main_cpu_share: Some(0.2),
            bots_slots_late_share: Some(0.0),
            void: false,
            server: Some(ServerReport {
                cpu_us_per_client_s: 400.0,
                tick_wall_ms: times,
                tick_cpu_ms: times,
                ticks_per_s: 60.0,
                bytes_in_per_s: 4000.0,
                bytes_out_per_s: 9000.0,
                datagrams_in_per_s: 3000.0,
                datagrams_out_per_s: 3000.0,
                late_ticks: 0,
                skipped_ticks: 0,
                rss_bytes: 50 << 20,
                shards: 1,
            }),
            server_missing: None,
            interrupted: false,
        }
    }

    #[test]
    fn the_json_has_every_promised_field() {
        let json = serde_json::to_value(sample()).unwrap();
        for path in [
            "/clients",
            "/matches_started",
            "/matches_finished",
            "/results_confirmed",
            "/join_ms/p50",
            "/join_ms/p99",
            "/snapshots_per_client_s",
            "/bytes_down_per_client_s",
            "/bytes_up_per_client_s",
            "/datagrams_down_per_client_s",
            "/datagrams_up_per_client_s",
            "/snapshot_age_ms/p50",
            "/snapshot_age_ms/p99",
            "/transports/udp/clients_connected_max",
            "/transports/udp/join_ms/p99",
            "/transports/udp/bytes_up_per_client_s",
            "/transports/udp/datagrams_down_per_client_s",
            "/transports/udp/snapshot_age_ms/p99",
            "/refusals",
            "/input_to_ack_ms/p50",
            "/input_to_ack_ms/p99",
            "/state_mismatches",
            "/disconnects/dropped",
            "/bots_cpu_share",
            "/server/cpu_us_per_client_s",
            "/server/tick_wall_ms/p50",
            "/server/tick_wall_ms/p99",
            "/server/tick_wall_ms/max",
            "/server/tick_cpu_ms/max",
            "/server/ticks_per_s",
            "/server/bytes_in_per_s",
            "/server/bytes_out_per_s",
            "/server/datagrams_in_per_s",
            "/server/datagrams_out_per_s",
            "/server/late_ticks",
            "/server/rss_bytes",
        ] {
            assert!(json.pointer(path).is_some(), "{path}");
        }
    }

    #[test]
    fn the_text_says_what_is_missing_and_what_is_void() {
        let good = sample().to_string();
        assert!(good.contains("every started match has its result stored") && !good.contains("VOID"), "{good}");
        assert!(good.contains("p50 - ms"), "{good}");
        let bad = Report { results_confirmed: 39, void: true, server: None, ..sample() };
        let text = bad.to_string();
        assert!(
            text.contains("2 results are missing") && text.contains("VOID") && text.contains("not measured"),
            "{text}"
        );
        assert!(!bad.all_confirmed());
        assert!(!Report { matches_started: 0, results_confirmed: 0, ..sample() }.all_confirmed());
    }
}
