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

/// Widths of the shards' columns: 79 characters in all, 33 up to the CPU's share.
const SHARD_WIDTHS: [usize; 13] = [5, 6, 6, 6, 5, 4, 4, 4, 7, 4, 4, 5, 6];
/// Room for the names of totals, and what stands between their parts.
const NAME_WIDTH: usize = 9;
const GAP: &str = "   ";

/// The whole page, without colours, so that it can also be piped. `width` is that of the terminal in characters: totals
/// are wrapped to it; tables are not, their last columns may be cut.
pub fn draw(base: &str, before: &Reading, after: &Reading, width: usize) -> Vec<String> {
    let seconds = after.at.saturating_duration_since(before.at).as_secs_f64().max(1e-3);
    let span = Span { before, after, seconds };
    let mut lines = vec![span.title(base), String::new()];
    lines.extend(span.shards());
    lines.push(String::new());
    lines.extend(span.totals().into_iter().flat_map(|total| total.lines(width)));
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
        let mut lines = vec![columns([
            "shard", "p99 ms", "max ms", "late/s", "CPU %", "play", "fill", "demo", "players", "udp", "ws", "watch",
            "p50 ms",
        ])];
        lines.extend(self.after.shards.iter().map(|shard| self.shard(shard)));
        lines
    }

    fn shard(&self, shard: &ShardReport) -> String {
        let number = shard.shard.to_string();
        let own = [("shard", number.as_str())];
        let with = |label, value| [own[0], (label, value)];
        let wall = "astro_tick_wall_seconds";
        let max = self.now("astro_tick_wall_seconds_max", &with("window", "10s"));
        // A shard that does not tick has no quantile to show.
        let p99 = if shard.stuck { "STUCK".into() } else { ms(self.quantile(wall, &own, 0.99)) };
        columns([
            &number,
            &p99,
            &ms(max),
            &number_of(self.rate("astro_late_ticks_total", &own), 1),
            &percent(self.rate("astro_shard_cpu_seconds_total", &own)),
            &(shard.matches.playing + shard.matches.finishing).to_string(),
            &shard.matches.filling.to_string(),
            &shard.matches.demo.to_string(),
            &shard.players.to_string(),
            &whole(self.now("astro_links", &with("transport", "udp"))),
            &whole(self.now("astro_links", &with("transport", "websocket"))),
            &whole(self.now("astro_spectators", &own)),
            &ms(self.quantile(wall, &own, 0.50)),
        ])
    }

    fn totals(&self) -> Vec<Total> {
        vec![self.ticks(), self.network(), self.results(), self.process()]
    }

    fn rate_of_all(&self, name: &str, decimals: usize) -> String {
        number_of(self.rate(name, &[]), decimals)
    }

    fn now_of_all(&self, name: &str) -> String {
        whole(self.now(name, &[]))
    }

    fn ticks(&self) -> Total {
        let causes = self.late_causes();
        let causes = if causes.is_empty() { "none".into() } else { causes.join(", ") };
        let parts = vec![
            format!("{} /s", self.rate_of_all("astro_ticks_total", 0)),
            format!("skipped {} /s", self.rate_of_all("astro_skipped_ticks_total", 0)),
            format!("late since the start: {causes}"),
        ];
        Total { name: "ticks", parts }
    }

    fn network(&self) -> Total {
        let round_trip = |quantile| ms(self.quantile("astro_round_trip_seconds", &[], quantile));
        let traffic = |bytes_name, datagrams_name| {
            format!("{} /s in {}", bytes(self.rate(bytes_name, &[])), self.rate_of_all(datagrams_name, 0))
        };
        let dropped = self.rate("astro_datagrams_dropped_total", &[]).unwrap_or(0.0);
        let parts = vec![
            format!("in {} datagrams", traffic("astro_bytes_in_total", "astro_datagrams_in_total")),
            format!("out {}", traffic("astro_bytes_out_total", "astro_datagrams_out_total")),
            format!("dropped {dropped:.0} /s"),
            format!("round trip p50 {} ms, p99 {} ms", round_trip(0.50), round_trip(0.99)),
        ];
        Total { name: "network", parts }
    }

    fn results(&self) -> Total {
        let is_healthy = self.now("astro_spool_healthy", &[]) != Some(0.0);
        let parts = vec![
            format!("{} stored", self.now_of_all("astro_results_stored_total")),
            format!("{} on their way", self.now_of_all("astro_spool_depth")),
            format!("spool {}", if is_healthy { "healthy" } else { "CANNOT WRITE" }),
            format!("{} conflicting", self.now_of_all("astro_results_conflicting")),
            format!("{} lost", self.now_of_all("astro_results_lost_total")),
            format!("{} matches void", whole(self.now("astro_matches_voided_total", &[]).or(Some(0.0)))),
        ];
        Total { name: "results", parts }
    }

    fn process(&self) -> Total {
        let parts = vec![
            format!("CPU {} %", percent(self.rate("astro_process_cpu_seconds_total", &[]))),
            format!("memory {}", bytes(self.now("astro_process_resident_memory_bytes", &[]))),
            format!("{} panics", self.now_of_all("astro_shard_panics_total")),
            format!("{} files", self.now_of_all("astro_process_open_fds")),
            format!(
                "{} HTTP requests/s on {} connections",
                self.rate_of_all("astro_http_requests_total", 1),
                self.now_of_all("astro_http_connections")
            ),
        ];
        Total { name: "process", parts }
    }

    fn late_causes(&self) -> Vec<String> {
        let name = "astro_late_ticks_total";
        let causes = self.after.page.values(name, "cause").into_iter();
        let count = |cause| self.now(name, &[("cause", cause)]).filter(|count| *count > 0.0);
        causes.filter_map(|cause| count(cause).map(|count| format!("{count:.0} {}", cause.replace('_', " ")))).collect()
    }

    fn matches(&self) -> Vec<String> {
        let line =
            |id: &str, shard: &str, age: &str, state: &str, seats: &str, rules: &str, round: &str, tick: &str| {
                format!("{id:<36} {shard:>5} {age:>7} {state:<9} {seats:>5} {rules:<12} {round:>5} {tick:>7}")
            };
        let mut lines = vec![line("oldest matches", "shard", "age", "state", "seats", "rules", "round", "tick")];
        lines.extend(self.after.matches.iter().map(|running| {
            let seats = format!("{}/{}", running.players, running.seats);
            let (shard, age) = (running.shard.to_string(), duration(running.age_s));
            let (round, tick) = (running.round.to_string(), running.tick.to_string());
            line(&running.match_id.to_string(), &shard, &age, &running.state, &seats, &running.rules, &round, &tick)
        }));
        lines
    }
}

/// Figures of the whole server about one thing.
struct Total {
    name: &'static str,
    parts: Vec<String>,
}

impl Total {
    /// In as few lines as the width allows; no part is broken.
    fn lines(self, width: usize) -> Vec<String> {
        let mut lines = vec![format!("{:<w$}", self.name, w = NAME_WIDTH)];
        for part in self.parts {
            let last = lines.last_mut().filter(|last| last.chars().count() + GAP.len() + part.chars().count() <= width);
            match last {
                Some(last) if last.len() == NAME_WIDTH => last.push_str(&part),
                Some(last) => *last += &format!("{GAP}{part}"),
                None => lines.push(format!("{:w$}{part}", "", w = NAME_WIDTH)),
            }
        }
        lines
    }
}

/// A row of the shards' table. What an operator looks for first stands first: a narrow terminal cuts the rest.
fn columns(cells: [&str; SHARD_WIDTHS.len()]) -> String {
    let padded = cells.iter().zip(SHARD_WIDTHS).map(|(cell, width)| format!("{cell:>width$}"));
    padded.collect::<Vec<_>>().join(" ")
}

fn number_of(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.decimals$}"))
}

fn whole(value: Option<f64>) -> String {
    number_of(value, 0)
}

/// In six characters up to a quarter of an hour.
fn ms(seconds: Option<f64>) -> String {
    let ms = seconds.map(|seconds| seconds * 1e3);
    number_of(ms, if ms.is_some_and(|ms| ms >= 999.995) { 0 } else { 2 })
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

    use astro_shared::sim::units::MatchId;

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
        let lines = draw("http://x", &before, &reading(&metrics, now + Duration::from_secs(2)), usize::MAX);
        let shard = row(&lines, "1 ");
        assert_eq!(shard[5..12], ["8", "2", "3", "28", "20", "0", "0"]);
        let p99: f64 = shard[1].parse().unwrap();
        assert!((1.3..1.7).contains(&p99), "not the second of before: {p99}");
        assert_eq!((shard[0].as_str(), shard[3].as_str()), ("1", "2.0"), "late ticks a second");
        assert_eq!(row(&lines, "ticks")[1], "60");
        assert!(lines.iter().any(|line| line.contains("late since the start: 4 pause")), "{lines:#?}");
        assert!(lines.iter().any(|line| line.contains("in 2.0 KiB /s in 300 datagrams")), "{lines:#?}");
    }

    #[test]
    fn what_a_server_does_not_tell_is_a_dash() {
        let now = Instant::now();
        let empty = || Reading { at: now, page: Page::default(), shards: Vec::new(), matches: Vec::new() };
        let lines = draw("http://x", &empty(), &empty(), usize::MAX);
        assert_eq!(row(&lines, "results")[1], "-");
        assert!(lines[0].starts_with("Astro Party - at http://x, up -"), "{}", lines[0]);
    }

    /// Two readings of a busy server with a stuck shard, one hour apart in its life.
    fn busy() -> [Reading; 2] {
        let metrics = Metrics::new();
        let stuck = metrics.shard(1);
        let now = Instant::now();
        let before = reading(&metrics, now);
        for cause in [LateCause::OwnWork, LateCause::WokenLate, LateCause::Pause] {
            (0..20).for_each(|_| stuck.late(cause));
        }
        stuck.stamp(1_700_000_000_000);
        stuck.tick(Duration::from_secs(12), Duration::from_secs(1));
        stuck.received(Network::Udp, 1_000_000, 1 << 30);
        let mut after = reading(&metrics, now + Duration::from_secs(1));
        after.shards[0].stuck = true;
        after.matches = vec![MatchReport {
            match_id: MatchId(u128::MAX),
            shard: 1,
            state: "finishing".into(),
            mode: "last_ship".into(),
            rules: "standard".into(),
            seats: 8,
            players: 8,
            links: 8,
            tick: 300_000,
            round: 12,
            age_s: 86_399,
        }];
        [before, after]
    }

    /// Broken by a column that grew: what an operator is woken up for must be on the smallest screens.
    #[test]
    fn what_matters_fits_on_small_screens() {
        let [before, after] = busy();
        for (width, whole_tables) in [(80, true), (40, false)] {
            let lines = draw("http://127.0.0.1:9090", &before, &after, width);
            assert!(lines.len() <= 24, "{width}: {lines:#?}");
            let cut = |line: &String| line.chars().take(width).collect::<String>();
            let heading = cut(&lines[2]);
            for column in ["shard", "p99 ms", "max ms", "late/s", "CPU %", "play"] {
                assert!(heading.contains(column), "{width}: no {column} in {heading:?}");
            }
            let shard = cut(&lines[3]);
            assert!(shard.contains("STUCK") && shard.contains("12000") && shard.contains("60.0"), "{width}: {shard:?}");
            let matches = lines.iter().position(|line| line.starts_with("oldest")).unwrap();
            for line in &lines[4..matches] {
                // A part is not broken, and the longest are wider than half a screen.
                assert!(width < 80 || line.chars().count() <= width, "{width}: {line:?}");
            }
            if whole_tables {
                assert!(lines[2].len() < width, "{:?}", lines[2]);
                assert!(cut(&lines[matches + 1]).contains(" finishing   8/8 standard"), "{lines:#?}");
            }
        }
    }

    #[test]
    fn durations_and_sizes_are_short() {
        assert_eq!([5, 65, 7260, 90_000].map(duration), ["5 s", "1:05", "2:01 h", "1 d 1 h"]);
        assert_eq!([0.0, 1536.0, 3e9].map(|size| bytes(Some(size))), ["0 B", "1.5 KiB", "2.8 GiB"]);
    }
}
