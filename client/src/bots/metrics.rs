//! The server's side of a load figure: two readings of its metrics page, and what happened between them.
//!
//! In: OpenMetrics text. Out: a [`ServerReport`].
//! *Invariant:* a metric that is missing is an error that names it, never a zero that looks like a good figure.
//! Start reading at [`ServerReport::between`].

use astro_shared::openmetrics::{Buckets, Page};
use serde::Serialize;

use super::report::rounded;

/// The page lacks a metric, or holds something that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server's metrics page has no `{0}`")]
pub struct Missing(pub &'static str);

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

/// A metric that must be there.
fn needed<T>(name: &'static str, found: Option<T>) -> Result<T, Missing> {
    found.ok_or(Missing(name))
}

impl ServerReport {
    /// What happened from `before` to `after`, `seconds` apart, while clients were connected for `client_seconds` in all.
    ///
    /// # Errors
    /// The first metric that is missing.
    pub fn between(before: &Page, after: &Page, seconds: f64, client_seconds: f64) -> Result<ServerReport, Missing> {
        let change = |name| Ok(needed(name, after.sum(name, &[]))? - needed(name, before.sum(name, &[]))?);
        let rate = |name| change(name).map(|count: f64| rounded(count / seconds, 1));
        let shards = after.values("astro_ticks_total", "shard");
        let rates = shards.iter().map(|shard| {
            let played = |page: &Page| page.sum("astro_ticks_total", &[("shard", shard)]).unwrap_or(0.0);
            (played(after) - played(before)) / seconds
        });
        let rss = "astro_process_resident_memory_bytes";
        let cpu_us = change("astro_process_cpu_seconds_total")? * 1e6;
        Ok(ServerReport {
            cpu_us_per_client_s: rounded(cpu_us / client_seconds.max(f64::MIN_POSITIVE), 1),
            tick_wall_ms: TickTimes::between(before, after, "astro_tick_wall_seconds")?,
            tick_cpu_ms: TickTimes::between(before, after, "astro_tick_cpu_seconds")?,
            ticks_per_s: rounded(rates.fold(f64::INFINITY, f64::min), 2),
            bytes_in_per_s: rate("astro_bytes_in_total")?,
            bytes_out_per_s: rate("astro_bytes_out_total")?,
            datagrams_in_per_s: rate("astro_datagrams_in_total")?,
            datagrams_out_per_s: rate("astro_datagrams_out_total")?,
            late_ticks: change("astro_late_ticks_total")? as u64,
            skipped_ticks: change("astro_skipped_ticks_total")? as u64,
            rss_bytes: needed(rss, after.sum(rss, &[]))? as u64,
            shards: shards.len(),
        })
    }
}

/// The server's exact maximum of the last minute, over all shards.
fn exact_max(page: &Page, name: &str) -> Option<f64> {
    let name = format!("{name}_max");
    let of_shard = |shard: &str| page.sum(&name, &[("window", "60s"), ("shard", shard)]);
    page.values(&name, "shard").into_iter().filter_map(of_shard).reduce(f64::max)
}

impl TickTimes {
    fn between(before: &Page, after: &Page, name: &'static str) -> Result<TickTimes, Missing> {
        let earlier = needed(name, before.buckets(name, &[]))?;
        let buckets = needed(name, after.buckets(name, &[]))?.since(&earlier);
        let ms = |seconds: f64| rounded(seconds * 1e3, 3);
        let quantile = |quantile| ms(buckets.quantile(quantile).unwrap_or(0.0));
        let max = ms(largest(&buckets, exact_max(after, name)));
        Ok(TickTimes { p50: quantile(0.50), p99: quantile(0.99), max })
    }
}

/// The largest value: the server's exact one when it lies in the highest bucket used, else that bucket's bound.
fn largest(Buckets(buckets): &Buckets, exact: Option<f64>) -> f64 {
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
