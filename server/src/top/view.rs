//! What `top` shows, as lines of text.
//!
//! In: two readings. Out: lines; rates and quantiles are of the time between the readings.
//! *Invariant:* what a server does not tell is a dash, never a zero.
//! Start reading at [`draw`].

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use astro_shared::openmetrics::Page;

use crate::hosts::{MatchReport, ShardReport};

/// What was asked of a server at one moment.
pub struct Reading {
    pub at: Instant,
    pub page: Page,
    pub shards: Vec<ShardReport>,
    pub matches: Vec<MatchReport>,
}

/// Two readings and the time between.
struct Span<'a> {
    before: &'a Reading,
    after: &'a Reading,
    seconds: f64,
}

/// The whole page, without colours, so that it can also be piped.
pub fn draw(base: &str, before: &Reading, after: &Reading) -> Vec<String> {
    let seconds = after.at.saturating_duration_since(before.at).as_secs_f64().max(1e-3);
    let span = Span { before, after, seconds };
    let mut lines = vec![span.title(base), String::new()];
    lines.extend(span.shards());
    lines.push(String::new());
    lines.extend(span.totals());
    lines.push(String::new());
    lines.extend(span.matches());
    lines
}

impl Span<'_> {
    /// Per second, over all samples with these labels.
    fn rate(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let (before, after) = (self.before.page.sum(name, labels)?, self.after.page.sum(name, labels)?);
        // A server that was started again counts from zero.
        Some((after - before).max(0.0) / self.seconds)
    }

    fn now(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.after.page.sum(name, labels)
    }

    fn quantile(&self, name: &str, labels: &[(&str, &str)], quantile: f64) -> Option<f64> {
        let earlier = self.before.page.buckets(name, labels)?;
        self.after.page.buckets(name, labels)?.since(&earlier).quantile(quantile)
    }

    fn title(&self, base: &str) -> String {
        let version = self.after.page.values("astro_build_info", "version").into_iter().next().unwrap_or("-");
        let unix_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let up = self.now("astro_process_start_time_seconds", &[]).map(|started| duration((unix_s - started) as u64));
        format!("Astro Party {version} at {base}, up {}; q ends", up.unwrap_or("-".into()))
    }

    fn shards(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "{:>5} {:>8} {:>8} {:>6} {:>8} {:>6} {:>6} {:>9} {:>9} {:>9} {:>9} {:>7} {:>6}",
            "shard",
            "playing",
            "filling",
            "demo",
            "players",
            "udp",
            "ws",
            "watching",
            "p50 ms",
            "p99 ms",
            "max ms",
            "late/s",
            "CPU %"
        )];
        lines.extend(self.after.shards.iter().map(|shard| self.shard(shard)));
        lines
    }

    fn shard(&self, shard: &ShardReport) -> String {
        let number = shard.shard.to_string();
        let own = [("shard", number.as_str())];
        let with = |label, value| [own[0], (label, value)];
        let wall = "astro_tick_wall_seconds";
        let max = self.now("astro_tick_wall_seconds_max", &with("window", "10s"));
        format!(
            "{:>5} {:>8} {:>8} {:>6} {:>8} {:>6} {:>6} {:>9} {:>9} {:>9} {:>9} {:>7} {:>6}{}",
            number,
            shard.matches.playing + shard.matches.finishing,
            shard.matches.filling,
            shard.matches.demo,
            shard.players,
            whole(self.now("astro_links", &with("transport", "udp"))),
            whole(self.now("astro_links", &with("transport", "websocket"))),
            whole(self.now("astro_spectators", &own)),
            ms(self.quantile(wall, &own, 0.50)),
            ms(self.quantile(wall, &own, 0.99)),
            ms(max),
            number_of(self.rate("astro_late_ticks_total", &own), 1),
            percent(self.rate("astro_shard_cpu_seconds_total", &own)),
            if shard.stuck { "  STUCK" } else { "" },
        )
    }

    fn totals(&self) -> Vec<String> {
        let rate = |name| self.rate(name, &[]);
        let causes: Vec<String> = self.late_causes();
        vec![
            format!(
                "ticks    {} /s   skipped {} /s   late since the start: {}",
                number_of(rate("astro_ticks_total"), 0),
                number_of(rate("astro_skipped_ticks_total"), 0),
                if causes.is_empty() { "none".into() } else { causes.join(", ") },
            ),
            format!(
                "network  in {} /s in {} datagrams   out {} /s in {}   dropped {} /s   round trip p50 {} ms, p99 {} ms",
                bytes(rate("astro_bytes_in_total")),
                number_of(rate("astro_datagrams_in_total"), 0),
                bytes(rate("astro_bytes_out_total")),
                number_of(rate("astro_datagrams_out_total"), 0),
                number_of(Some(rate("astro_datagrams_dropped_total").unwrap_or(0.0)), 0),
                ms(self.quantile("astro_round_trip_seconds", &[], 0.50)),
                ms(self.quantile("astro_round_trip_seconds", &[], 0.99)),
            ),
            format!(
                "results  {} stored   {} on their way   {} conflicting   {} matches void   spool {}",
                whole(self.now("astro_results_stored_total", &[])),
                whole(self.now("astro_spool_depth", &[])),
                whole(self.now("astro_results_conflicting_total", &[])),
                whole(self.now("astro_matches_voided_total", &[]).or(Some(0.0))),
                if self.now("astro_spool_healthy", &[]) == Some(0.0) { "CANNOT WRITE" } else { "healthy" },
            ),
            format!(
                "process  CPU {} %   memory {}   {} files   {} HTTP requests/s on {} connections   {} panics",
                percent(rate("astro_process_cpu_seconds_total")),
                bytes(self.now("astro_process_resident_memory_bytes", &[])),
                whole(self.now("astro_process_open_fds", &[])),
                number_of(rate("astro_http_requests_total"), 1),
                whole(self.now("astro_http_connections", &[])),
                whole(self.now("astro_shard_panics_total", &[])),
            ),
        ]
    }

    fn late_causes(&self) -> Vec<String> {
        let name = "astro_late_ticks_total";
        let causes = self.after.page.values(name, "cause").into_iter();
        let count = |cause| self.now(name, &[("cause", cause)]).filter(|count| *count > 0.0);
        causes.filter_map(|cause| count(cause).map(|count| format!("{count:.0} {}", cause.replace('_', " ")))).collect()
    }

    fn matches(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "{:<36} {:>5} {:<9} {:<12} {:>7} {:>5} {:>5} {:>7} {:>8}",
            "oldest matches", "shard", "state", "rules", "players", "seats", "round", "tick", "age"
        )];
        lines.extend(self.after.matches.iter().map(|running| {
            format!(
                "{:<36} {:>5} {:<9} {:<12} {:>7} {:>5} {:>5} {:>7} {:>8}",
                running.match_id,
                running.shard,
                running.state,
                running.rules,
                running.players,
                running.seats,
                running.round,
                running.tick,
                duration(running.age_s),
            )
        }));
        lines
    }
}

fn number_of(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.decimals$}"))
}

fn whole(value: Option<f64>) -> String {
    number_of(value, 0)
}

fn ms(seconds: Option<f64>) -> String {
    number_of(seconds.map(|seconds| seconds * 1e3), 2)
}

fn percent(share: Option<f64>) -> String {
    number_of(share.map(|share| share * 100.0), 1)
}

fn bytes(value: Option<f64>) -> String {
    let Some(value) = value else { return "-".into() };
    let steps = [(1u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let found = steps.iter().find(|(size, _)| value >= *size as f64);
    found.map_or_else(|| format!("{value:.0} B"), |(size, unit)| format!("{:.1} {unit}", value / *size as f64))
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{}:{:02}", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}:{:02} h", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::hosts::MatchesByState;
    use crate::telemetry::{LateCause, Metrics, Network};

    fn reading(metrics: &Metrics, at: Instant) -> Reading {
        let shard = ShardReport {
            shard: 1,
            stuck: false,
            matches: MatchesByState { playing: 7, filling: 2, finishing: 1, demo: 3 },
            seats: 40,
            players: 28,
            links: 27,
            tick_mean_us: 500,
        };
        Reading { at, page: Page::parse(&metrics.render()), shards: vec![shard], matches: Vec::new() }
    }

    fn row(lines: &[String], start: &str) -> Vec<String> {
        let line = lines.iter().find(|line| line.trim_start().starts_with(start)).expect(start);
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn rates_and_quantiles_are_of_the_time_between_two_readings() {
        let metrics = Metrics::new();
        let shard = metrics.shard(1);
        shard.tick(Duration::from_secs(1), Duration::from_secs(1));
        let now = Instant::now();
        let before = reading(&metrics, now);
        for _ in 0..120 {
            shard.tick(Duration::from_micros(1500), Duration::from_micros(700));
        }
        (0..4).for_each(|_| shard.late(LateCause::Pause));
        shard.set_links(Network::Udp, 20);
        shard.received(Network::Udp, 600, 4096);
        let lines = draw("http://x", &before, &reading(&metrics, now + Duration::from_secs(2)));
        let shard = row(&lines, "1 ");
        assert_eq!(shard[..8], ["1", "8", "2", "3", "28", "20", "0", "0"]);
        let p99: f64 = shard[9].parse().unwrap();
        assert!((1.3..1.7).contains(&p99), "not the second of before: {p99}");
        assert_eq!(shard[11], "2.0", "late ticks a second");
        assert_eq!(row(&lines, "ticks")[1], "60");
        assert!(lines.iter().any(|line| line.contains("late since the start: 4 pause")), "{lines:#?}");
        assert!(lines.iter().any(|line| line.contains("in 2.0 KiB /s in 300 datagrams")), "{lines:#?}");
    }

    #[test]
    fn what_a_server_does_not_tell_is_a_dash() {
        let now = Instant::now();
        let empty = || Reading { at: now, page: Page::default(), shards: Vec::new(), matches: Vec::new() };
        let lines = draw("http://x", &empty(), &empty());
        assert_eq!(row(&lines, "results")[1], "-");
        assert!(lines[0].starts_with("Astro Party - at http://x, up -"), "{}", lines[0]);
    }

    #[test]
    fn durations_and_sizes_are_short() {
        assert_eq!([5, 65, 7260, 90_000].map(duration), ["5 s", "1:05", "2:01 h", "1 d 1 h"]);
        assert_eq!([0.0, 1536.0, 3e9].map(|size| bytes(Some(size))), ["0 B", "1.5 KiB", "2.8 GiB"]);
    }
}
