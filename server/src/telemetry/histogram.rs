//! Distributions that a shard's thread can afford to keep.
//!
//! In: one value at a time, or a tick's worth of them. Out: a histogram for the page.
//! The library's own histogram takes a lock and a linear search; these are atomics.
//! *Invariant:* `observe` never waits and never allocates.
//! Start reading at [`Histogram`]; [`Tally`] is for what happens many times in a tick.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// The buckets of a histogram, in the integers that are counted.
pub(super) trait Scale: std::fmt::Debug + Send + Sync + 'static {
    /// Upper bounds, ascending; above the last one comes one more bucket.
    fn bounds() -> &'static [u64];
    /// Of the integers in one of the unit that the metric's name ends with.
    const PER_UNIT: f64;
}

/// How often which values came. Clones share the counts.
pub(super) struct Histogram<S>(Arc<Counts>, PhantomData<S>);

#[derive(Debug)]
struct Counts {
    /// The last one is for everything above the largest bound.
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl<S> Clone for Histogram<S> {
    fn clone(&self) -> Self {
        Histogram(Arc::clone(&self.0), PhantomData)
    }
}

impl<S: Scale> std::fmt::Debug for Histogram<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl<S: Scale> Default for Histogram<S> {
    fn default() -> Self {
        let buckets = (0..=S::bounds().len()).map(|_| AtomicU64::new(0)).collect();
        Histogram(Arc::new(Counts { buckets, sum: AtomicU64::new(0) }), PhantomData)
    }
}

fn bucket_of<S: Scale>(value: u64) -> usize {
    S::bounds().partition_point(|bound| *bound < value)
}

impl<S: Scale> Histogram<S> {
    pub fn observe(&self, value: u64) {
        self.0.buckets[bucket_of::<S>(value)].fetch_add(1, Ordering::Relaxed);
        self.0.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// For scales that count nanoseconds.
    pub fn observe_time(&self, time: Duration) {
        self.observe(time.as_nanos() as u64);
    }

    /// Adds a tally and empties it.
    pub fn absorb(&self, tally: &mut Tally<S>) {
        if tally.sum == 0 && tally.buckets.iter().all(|count| *count == 0) {
            return;
        }
        for (total, count) in self.0.buckets.iter().zip(&mut tally.buckets) {
            let count = std::mem::take(count);
            if count > 0 {
                total.fetch_add(u64::from(count), Ordering::Relaxed);
            }
        }
        self.0.sum.fetch_add(std::mem::take(&mut tally.sum), Ordering::Relaxed);
    }

    #[cfg(test)]
    pub fn count(&self, bucket: usize) -> u64 {
        self.0.buckets[bucket].load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub fn sum(&self) -> u64 {
        self.0.sum.load(Ordering::Relaxed)
    }
}

impl<S: Scale> EncodeMetric for Histogram<S> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let bounds = S::bounds().iter().map(|bound| *bound as f64 / S::PER_UNIT).chain([f64::INFINITY]);
        let counts = self.0.buckets.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = self.0.sum.load(Ordering::Relaxed) as f64 / S::PER_UNIT;
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl<S> TypedMetric for Histogram<S> {
    const TYPE: MetricType = MetricType::Histogram;
}

/// Values of one tick, counted without atomics by the thread that ticks.
#[derive(Debug)]
pub struct Tally<S> {
    buckets: Vec<u32>,
    sum: u64,
    scale: PhantomData<S>,
}

#[expect(private_bounds, reason = "scales are this module's business; a tally is passed around as a whole")]
impl<S: Scale> Tally<S> {
    pub fn observe(&mut self, value: u64) {
        self.buckets[bucket_of::<S>(value)] += 1;
        self.sum += value;
    }
}

impl<S: Scale> Default for Tally<S> {
    fn default() -> Self {
        Tally { buckets: vec![0; S::bounds().len() + 1], sum: 0, scale: PhantomData }
    }
}

/// Sizes of snapshots, in bytes.
#[derive(Debug)]
pub struct SnapshotBytes;

impl Scale for SnapshotBytes {
    fn bounds() -> &'static [u64] {
        // Up to the 1,150 bytes that a hot datagram may have; honest ones are mostly below 128.
        &[32, 48, 64, 80, 96, 128, 160, 192, 256, 384, 512, 768, 1024, 1150]
    }
    const PER_UNIT: f64 = 1.0;
}

/// Round trips, in ticks of a sixtieth of a second; the page has seconds.
#[derive(Debug)]
pub struct RoundTripTicks;

impl Scale for RoundTripTicks {
    fn bounds() -> &'static [u64] {
        &[1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 18, 24, 30, 45, 60, 120]
    }
    const PER_UNIT: f64 = 60.0;
}

/// Times of HTTP requests, in nanoseconds.
#[derive(Debug)]
pub(super) struct RequestTime;

impl Scale for RequestTime {
    fn bounds() -> &'static [u64] {
        const MS: u64 = 1_000_000;
        &[MS, 2 * MS, 5 * MS, 10 * MS, 20 * MS, 50 * MS, 100 * MS, 200 * MS, 500 * MS, 1000 * MS, 2000 * MS, 5000 * MS]
    }
    const PER_UNIT: f64 = 1e9;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_counted_in_the_bucket_whose_bounds_enclose_it() {
        let sizes = Histogram::<SnapshotBytes>::default();
        [32, 33, 1150, 1151].into_iter().for_each(|bytes| sizes.observe(bytes));
        assert_eq!([0, 1, 13, 14].map(|bucket| sizes.count(bucket)), [1, 1, 1, 1]);
        assert_eq!(sizes.sum(), 32 + 33 + 1150 + 1151);
    }

    #[test]
    fn a_tally_is_added_once() {
        let (sizes, mut tally) = (Histogram::<SnapshotBytes>::default(), Tally::<SnapshotBytes>::default());
        tally.observe(60);
        tally.observe(61);
        sizes.absorb(&mut tally);
        sizes.absorb(&mut tally);
        assert_eq!((sizes.count(2), sizes.sum()), (2, 121));
    }
}
