//! Distributions of tick times that a shard's thread can afford to keep.
//!
//! In: one duration per tick. Out: a histogram whose quantiles are right to 7 %, and exact maxima of the last seconds.
//! The library's own histogram takes a lock and a linear search; these are atomics that one thread writes.
//! *Invariant:* `observe` never waits and never allocates.
//! Start reading at [`TickHistogram::observe`].

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Smallest bound of a bucket. Below it nobody needs to tell ticks apart.
const BOUND_MIN_NS: f64 = 20_000.0;
/// From bound to bound; the middle of a bucket is within 7 % of everything in it.
const BOUND_FACTOR: f64 = 1.15;
/// Bounds from 20 µs to just over 1 s.
const BOUNDS: usize = 79;

/// Windows of the maxima: their label and their length in seconds.
pub(super) const WINDOWS: [(&str, u64); 2] = [("10s", 10), ("60s", 60)];
/// Seconds that [`SlidingMax`] remembers: the longest window and the second that is not over yet.
const SECONDS: usize = 61;

static BOUNDS_NS: LazyLock<[u64; BOUNDS]> =
    LazyLock::new(|| array::from_fn(|index| (BOUND_MIN_NS * BOUND_FACTOR.powi(index as i32)) as u64));

/// How often ticks took how long. Clones share the counts.
#[derive(Clone, Debug)]
pub(super) struct TickHistogram(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    /// The last one is for everything above the largest bound.
    buckets: [AtomicU64; BOUNDS + 1],
    sum_ns: AtomicU64,
}

impl Default for TickHistogram {
    fn default() -> Self {
        TickHistogram(Arc::new(Counts { buckets: array::from_fn(|_| AtomicU64::new(0)), sum_ns: AtomicU64::new(0) }))
    }
}

impl TickHistogram {
    pub fn observe(&self, time: Duration) {
        let ns = time.as_nanos() as u64;
        let bucket = BOUNDS_NS.partition_point(|bound| *bound < ns);
        self.0.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.0.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }
}

impl EncodeMetric for TickHistogram {
    fn encode(&self, mut encoder: MetricEncoder) -> Result<(), std::fmt::Error> {
        let bounds = BOUNDS_NS.iter().map(|ns| *ns as f64 / 1e9).chain([f64::INFINITY]);
        let counts = self.0.buckets.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = self.0.sum_ns.load(Ordering::Relaxed) as f64 / 1e9;
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for TickHistogram {
    const TYPE: MetricType = MetricType::Histogram;
}

/// The longest tick of each of the last seconds: a ring with a place per second. One thread writes.
#[derive(Debug)]
pub(super) struct SlidingMax {
    second: [AtomicU64; SECONDS],
    max_ns: [AtomicU64; SECONDS],
}

impl Default for SlidingMax {
    fn default() -> Self {
        let zeros = || array::from_fn(|_| AtomicU64::new(0));
        SlidingMax { second: zeros(), max_ns: zeros() }
    }
}

impl SlidingMax {
    pub fn observe(&self, time: Duration, now_ms: u64) {
        let (second, ns) = (now_ms / 1000, time.as_nanos() as u64);
        let place = (second % SECONDS as u64) as usize;
        if self.second[place].load(Ordering::Relaxed) != second {
            // The maximum first: a reader between the two sees it under a second that is long over.
            self.max_ns[place].store(ns, Ordering::Release);
            self.second[place].store(second, Ordering::Release);
        } else if ns > self.max_ns[place].load(Ordering::Relaxed) {
            self.max_ns[place].store(ns, Ordering::Relaxed);
        }
    }

    /// The longest tick of the last whole `seconds` and of the one that has begun.
    pub fn over(&self, seconds: u64, now_ms: u64) -> Duration {
        let oldest = (now_ms / 1000).saturating_sub(seconds);
        let places = self.second.iter().zip(&self.max_ns);
        let recent = places.filter(|(second, _)| second.load(Ordering::Acquire) >= oldest);
        Duration::from_nanos(recent.map(|(_, max)| max.load(Ordering::Acquire)).max().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_reach_from_20_microseconds_to_a_second_in_steps_of_at_most_15_percent() {
        assert_eq!(BOUNDS_NS[0], 20_000);
        assert!(BOUNDS_NS[BOUNDS - 1] >= 1_000_000_000 && BOUNDS_NS[BOUNDS - 2] < 1_000_000_000);
        assert!(BOUNDS_NS.windows(2).all(|pair| pair[1] as f64 / pair[0] as f64 <= 1.1501));
    }

    #[test]
    fn a_time_is_counted_in_the_bucket_whose_bounds_enclose_it() {
        let histogram = TickHistogram::default();
        let count = |bucket: usize| histogram.0.buckets[bucket].load(Ordering::Relaxed);
        histogram.observe(Duration::from_nanos(20_000));
        histogram.observe(Duration::from_nanos(20_001));
        histogram.observe(Duration::from_secs(9));
        assert_eq!((count(0), count(1), count(BOUNDS)), (1, 1, 1));
        assert_eq!(histogram.0.sum_ns.load(Ordering::Relaxed), 9_000_040_001);
    }

    #[test]
    fn a_maximum_is_exact_and_leaves_its_windows() {
        let max = SlidingMax::default();
        let noon = 1_700_000_000_000;
        max.observe(Duration::from_micros(300), noon);
        max.observe(Duration::from_micros(900), noon + 10);
        max.observe(Duration::from_micros(500), noon + 20);
        for second in 1..=59 {
            max.observe(Duration::from_micros(100 + second), noon + second * 1000);
        }
        assert_eq!(max.over(10, noon + 9_000), Duration::from_micros(900));
        assert_eq!(max.over(10, noon + 59_000), Duration::from_micros(159));
        assert_eq!(max.over(60, noon + 59_000), Duration::from_micros(900));
        assert_eq!(max.over(60, noon + 62_000), Duration::from_micros(159));
    }
}
