//! The server's side of a load figure: two readings of its metrics page, and what happened between them.
//!
//! In: OpenMetrics text. Out: a [`ServerReport`].
//! *Invariant:* a metric that is missing is an error that names it, never a zero that looks like a good figure.
//! Start reading at [`ServerReport::between`].

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::report::rounded;

/// The page lacks a metric, or holds something that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server's metrics page has no `{0}`")]
pub struct Missing(pub &'static str);

/// One reading: every sample by name, each with its labels.
#[derive(Clone, Debug, Default)]
pub struct Page {
    samples: HashMap<String, Vec<(Labels, f64)>>,
}

type Labels = Vec<(String, String)>;

/// What the server did over a window.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServerReport {
    /// CPU time of the whole process.
    pub cpu_us_per_client_s: f64,
    pub tick_wall_ms: TickTimes,
    pub tick_cpu_ms: TickTimes,
    /// Of the slowest shard.
    pub ticks_per_s: f64,
    /// Payload as the transports count it: datagrams, over WebSocket frames.
    pub bytes_in_per_s: f64,
    pub bytes_out_per_s: f64,
    pub datagrams_in_per_s: f64,
    pub datagrams_out_per_s: f64,
    pub late_ticks: u64,
    pub skipped_ticks: u64,
    pub rss_bytes: u64,
    pub shards: usize,
}

/// Quantiles over all ticks of all shards.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TickTimes {
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

impl Page {
    /// Reads a page; lines that are no samples are skipped.
    pub fn parse(text: &str) -> Page {
        let mut page = Page::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some((name, labels, value)) = parse_sample(line) {
                page.samples.entry(name.to_owned()).or_default().push((labels, value));
            }
        }
        page
    }

    fn samples(&self, name: &'static str) -> Result<&[(Labels, f64)], Missing> {
        self.samples.get(name).map(Vec::as_slice).ok_or(Missing(name))
    }

    /// Over all labels.
    fn sum(&self, name: &'static str) -> Result<f64, Missing> {
        Ok(self.samples(name)?.iter().map(|(_, value)| value).sum())
    }

    fn by_label(&self, name: &'static str, label: &str) -> Result<BTreeMap<String, f64>, Missing> {
        let samples = self.samples(name)?.iter();
        Ok(samples.filter_map(|(labels, value)| Some((label_of(labels, label)?.to_owned(), *value))).collect())
    }

    /// Upper bounds in seconds with counts at or below, over all other labels, in ascending order.
    fn buckets(&self, name: &'static str) -> Result<Vec<(f64, f64)>, Missing> {
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for (labels, count) in self.samples(name)? {
            let bound = label_of(labels, "le").and_then(parse_number).ok_or(Missing(name))?;
            match buckets.iter_mut().find(|(known, _)| *known == bound) {
                Some((_, sum)) => *sum += count,
                None => buckets.push((bound, *count)),
            }
        }
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        Ok(buckets)
    }
}

/// `name{label="value",…} number`, a timestamp behind it ignored.
fn parse_sample(line: &str) -> Option<(&str, Labels, f64)> {
    let name_end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"")?;
            let end = closing_quote(after)?;
            labels.push((label.to_owned(), after[..end].to_owned()));
            rest = after[end + 1..].trim_start_matches(',');
        }
        rest = &rest[1..];
    }
    Some((name, labels, parse_number(rest.split_whitespace().next()?)?))
}

/// The first quote that no backslash stands before.
fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let found = (c == '"' && !escaped).then_some(at);
        escaped = c == '\\' && !escaped;
        found
    })
}

fn parse_number(text: &str) -> Option<f64> {
    if text == "+Inf" { Some(f64::INFINITY) } else { text.parse().ok() }
}

fn label_of<'a>(labels: &'a Labels, name: &str) -> Option<&'a str> {
    labels.iter().find(|(label, _)| label == name).map(|(_, value)| value.as_str())
}

impl ServerReport {
    /// What happened from `before` to `after`, `seconds` apart, while clients were connected for `client_seconds` in all.
    ///
    /// # Errors
    /// The first metric that is missing.
    pub fn between(before: &Page, after: &Page, seconds: f64, client_seconds: f64) -> Result<ServerReport, Missing> {
        let change = |name| Ok(after.sum(name)? - before.sum(name)?);
        let rate = |name| change(name).map(|count: f64| rounded(count / seconds, 1));
        let shards_before = before.by_label("astro_ticks_total", "shard")?;
        let shards_after = after.by_label("astro_ticks_total", "shard")?;
        let rates = shards_after.iter().map(|(shard, ticks)| {
            let earlier = shards_before.get(shard).copied().unwrap_or(0.0);
            (ticks - earlier) / seconds
        });
        let cpu_us = change("astro_process_cpu_seconds_total")? * 1e6;
        Ok(ServerReport {
            cpu_us_per_client_s: rounded(cpu_us / client_seconds.max(f64::MIN_POSITIVE), 1),
            tick_wall_ms: TickTimes::between(
                before.buckets("astro_tick_wall_seconds_bucket")?,
                after.buckets("astro_tick_wall_seconds_bucket")?,
                exact_max(after, "astro_tick_wall_seconds_max"),
            ),
            tick_cpu_ms: TickTimes::between(
                before.buckets("astro_tick_cpu_seconds_bucket")?,
                after.buckets("astro_tick_cpu_seconds_bucket")?,
                exact_max(after, "astro_tick_cpu_seconds_max"),
            ),
            ticks_per_s: rounded(rates.fold(f64::INFINITY, f64::min), 2),
            bytes_in_per_s: rate("astro_bytes_in_total")?,
            bytes_out_per_s: rate("astro_bytes_out_total")?,
            datagrams_in_per_s: rate("astro_datagrams_in_total")?,
            datagrams_out_per_s: rate("astro_datagrams_out_total")?,
            late_ticks: change("astro_late_ticks_total")? as u64,
            skipped_ticks: change("astro_skipped_ticks_total")? as u64,
            rss_bytes: after.sum("astro_process_resident_memory_bytes")? as u64,
            shards: shards_after.len(),
        })
    }
}

/// The server's exact maximum of the last minute, over all shards.
fn exact_max(page: &Page, name: &'static str) -> Option<f64> {
    let samples = page.samples(name).ok()?.iter().filter(|(labels, _)| label_of(labels, "window") == Some("60s"));
    samples.map(|(_, value)| *value).reduce(f64::max)
}

impl TickTimes {
    fn between(before: Vec<(f64, f64)>, after: Vec<(f64, f64)>, exact_max: Option<f64>) -> TickTimes {
        let earlier = |bound: f64| before.iter().find(|(known, _)| *known == bound).map_or(0.0, |(_, count)| *count);
        let buckets: Vec<(f64, f64)> = after.iter().map(|(bound, count)| (*bound, count - earlier(*bound))).collect();
        let ms = |seconds: f64| rounded(seconds * 1e3, 3);
        TickTimes {
            p50: ms(quantile(&buckets, 0.50)),
            p99: ms(quantile(&buckets, 0.99)),
            max: ms(largest(&buckets, exact_max)),
        }
    }
}

/// Linear inside the bucket that the quantile falls into. `buckets` are cumulative.
fn quantile(buckets: &[(f64, f64)], quantile: f64) -> f64 {
    let rank = buckets.last().map_or(0.0, |(_, count)| count * quantile);
    let (mut bound_below, mut count_below) = (0.0, 0.0);
    for (bound, count) in buckets {
        if *count >= rank && *count > count_below {
            let share = (rank - count_below) / (count - count_below);
            return if bound.is_finite() { bound_below + (bound - bound_below) * share } else { bound_below };
        }
        (bound_below, count_below) = (*bound, *count);
    }
    0.0
}

/// The largest value: the server's exact one when it lies in the highest bucket used, else that bucket's bound.
fn largest(buckets: &[(f64, f64)], exact: Option<f64>) -> f64 {
    let total = buckets.last().map_or(0.0, |(_, count)| *count);
    let Some(highest) = buckets.iter().position(|(_, count)| *count >= total && total > 0.0) else { return 0.0 };
    let below = if highest == 0 { 0.0 } else { buckets[highest - 1].0 };
    let above = buckets[highest].0;
    match exact.filter(|exact| (below..=above).contains(exact)) {
        Some(exact) => exact,
        None if above.is_finite() => above,
        None => below,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(ticks: [u32; 2], cpu: f64, buckets: [u32; 4], max: &str) -> Page {
        let [fast, slow, slower, all] = buckets;
        let mut text = format!(
            "# HELP astro_ticks Ticks played.\n# TYPE astro_ticks counter\n\
             astro_ticks_total{{shard=\"0\"}} {}\nastro_ticks_total{{shard=\"1\"}} {}\n\
             astro_late_ticks_total{{shard=\"0\"}} 2\nastro_late_ticks_total{{shard=\"1\"}} 1\n\
             astro_skipped_ticks_total{{shard=\"0\"}} 0\nastro_process_cpu_seconds_total {cpu}\n\
             astro_process_resident_memory_bytes 12345678\nastro_bytes_in_total{{shard=\"0\",transport=\"udp\"}} {}\n\
             astro_bytes_out_total 7\nastro_datagrams_in_total 7\nastro_datagrams_out_total 7\nodd{{text=\"a \\\"b\\\", {{c}}\"}} 1 1700000000\n",
            ticks[0],
            ticks[1],
            ticks[0] * 10
        );
        for kind in ["wall", "cpu"] {
            for (le, count) in [("0.001", fast), ("0.002", slow), ("0.004", slower), ("+Inf", all)] {
                // Half on each shard.
                for shard in 0..2 {
                    let half = count / 2;
                    text += &format!("astro_tick_{kind}_seconds_bucket{{shard=\"{shard}\",le=\"{le}\"}} {half}\n");
                }
            }
            text += &format!("astro_tick_{kind}_seconds_max{{shard=\"0\",window=\"60s\"}} {max}\n");
            text += &format!("astro_tick_{kind}_seconds_max{{shard=\"0\",window=\"10s\"}} 9\n");
        }
        Page::parse(&(text + "# EOF\n"))
    }

    #[test]
    fn two_readings_make_a_report() {
        let before = page([100, 200], 1.0, [10, 10, 10, 10], "0");
        let after = page([700, 790], 3.0, [110, 200, 210, 210], "0.0031");
        let report = ServerReport::between(&before, &after, 10.0, 4000.0).unwrap();
        assert_eq!(report.cpu_us_per_client_s, 500.0);
        assert_eq!((report.ticks_per_s, report.late_ticks, report.rss_bytes), (59.0, 0, 12_345_678));
        assert_eq!((report.bytes_in_per_s, report.datagrams_out_per_s), (600.0, 0.0));
        assert_eq!(report.tick_wall_ms, TickTimes { p50: 1.0, p99: 3.6, max: 3.1 });
        assert_eq!(report.shards, 2);
    }

    #[test]
    fn a_maximum_from_before_the_window_is_not_taken() {
        let before = page([0, 0], 0.0, [0, 0, 0, 0], "0");
        let after = page([600, 600], 1.0, [100, 100, 100, 100], "0.0031");
        let report = ServerReport::between(&before, &after, 10.0, 10.0).unwrap();
        assert_eq!(report.tick_wall_ms.max, 1.0, "3.1 ms lies above every tick of the window");
    }

    #[test]
    fn a_missing_metric_is_named() {
        let empty = Page::parse("astro_ticks_total{shard=\"0\"} 5\n");
        let error = ServerReport::between(&empty, &empty, 1.0, 1.0).unwrap_err();
        assert_eq!(error, Missing("astro_process_cpu_seconds_total"));
    }
}
