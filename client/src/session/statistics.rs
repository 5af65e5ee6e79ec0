//! What a session counts, and a histogram of bounded size for times.
//!
//! In: durations and counts. Out: sums, differences and quantiles of them.
//! *Invariant:* fixed size, never allocates; sessions can be added up and windows taken by subtraction.
//! Start reading at [`Statistics`].

use std::time::Duration;

/// Buckets per doubling: a quantile is right within 1/16.
const STEPS: u32 = 16;
const STEPS_BITS: u32 = STEPS.ilog2();
/// Times are counted in units of 2^5 µs, so that the smallest buckets are 32 µs wide.
const UNIT_BITS: u32 = 5;
/// Doublings above the linear part: up to 2^(5 + 4 + 14) µs, 8 seconds and more.
const DOUBLINGS: u32 = 14;
const BUCKETS: usize = ((DOUBLINGS + 1) * STEPS) as usize;

/// A histogram of durations up to 8 s in buckets that grow with the value; longer ones count in the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    counts: [u32; BUCKETS],
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { counts: [0; BUCKETS] }
    }
}

impl Histogram {
    pub fn record(&mut self, time: Duration) {
        self.counts[bucket(time)] += 1;
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| u64::from(*count)).sum()
    }

    /// The time that a share of `quantile` (0 to 1) does not exceed; `None` when nothing was recorded.
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        let count = self.count();
        let rank = ((count as f64 * quantile).ceil() as u64).max(1);
        let mut below = 0;
        let found = self.counts.iter().position(|inside| {
            below += u64::from(*inside);
            below >= rank
        });
        found.filter(|_| count > 0).map(upper_bound)
    }

    /// Counts what `other` counted as well.
    pub fn add(&mut self, other: &Histogram) {
        self.zip(other, |count, other| *count += other);
    }

    fn zip(&mut self, other: &Histogram, change: impl Fn(&mut u32, u32)) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, other)| change(count, *other));
    }
}

fn bucket(time: Duration) -> usize {
    let units = (time.as_micros() >> UNIT_BITS).min(u128::from(u32::MAX)) as u32;
    // The first doubling's worth of values is linear; above, the top bits below the leading one choose the step.
    let doublings = (units >> STEPS_BITS).checked_ilog2().map_or(0, |leading| leading + 1);
    let step = if doublings == 0 { units } else { (units >> (doublings - 1)) - STEPS };
    ((doublings * STEPS + step) as usize).min(BUCKETS - 1)
}

fn upper_bound(bucket: usize) -> Duration {
    let (doublings, step) = (bucket as u32 / STEPS, bucket as u32 % STEPS);
    let units = if doublings == 0 { step + 1 } else { (STEPS + step + 1) << (doublings - 1) };
    Duration::from_micros(u64::from(units) << UNIT_BITS)
}

/// Everything a session counts. Bytes are UDP payload, headers below that not included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Snapshots applied.
    pub snapshots: u64,
    /// Snapshots older than the view, or against a baseline that is not known.
    pub snapshots_unusable: u64,
    /// Applied snapshots whose hash was not the hash of the client's own World.
    pub state_mismatches: u64,
    pub datagrams_down: u64,
    pub bytes_down: u64,
    pub datagrams_up: u64,
    pub bytes_up: u64,
    /// Datagrams that the filter or a decoder refused.
    pub datagrams_refused: u64,
    /// Snapshots that reported inputs in time, and too late.
    pub margins_in_time: u64,
    pub margins_late: u64,
    /// Sessions that were told that the server is going down.
    pub shutdown_notices: u64,
    /// From sampling an input to the first snapshot that says the server has it.
    pub input_to_ack: Histogram,
    /// Of the snapshots applied; `age.rs` says how it is measured.
    pub snapshot_age: Histogram,
}

impl Statistics {
    /// Counts what `other` counted as well.
    pub fn add(&mut self, other: &Statistics) {
        self.combine(other, |a, b| *a += b, |a, b| *a += b);
    }

    /// Leaves what was counted since `earlier`, a former state of this.
    pub fn subtract(&mut self, earlier: &Statistics) {
        self.combine(earlier, |a, b| *a = a.saturating_sub(b), |a, b| *a = a.saturating_sub(b));
    }

    fn combine(&mut self, other: &Statistics, wide: impl Fn(&mut u64, u64), narrow: impl Fn(&mut u32, u32)) {
        wide(&mut self.snapshots, other.snapshots);
        wide(&mut self.snapshots_unusable, other.snapshots_unusable);
        wide(&mut self.state_mismatches, other.state_mismatches);
        wide(&mut self.datagrams_down, other.datagrams_down);
        wide(&mut self.bytes_down, other.bytes_down);
        wide(&mut self.datagrams_up, other.datagrams_up);
        wide(&mut self.bytes_up, other.bytes_up);
        wide(&mut self.datagrams_refused, other.datagrams_refused);
        wide(&mut self.margins_in_time, other.margins_in_time);
        wide(&mut self.margins_late, other.margins_late);
        wide(&mut self.shutdown_notices, other.shutdown_notices);
        self.input_to_ack.zip(&other.input_to_ack, &narrow);
        self.snapshot_age.zip(&other.snapshot_age, &narrow);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_lies_within_a_sixteenth_below_its_buckets_bound() {
        for micros in (0..2000).chain((2000..8_000_000).step_by(997)) {
            let time = Duration::from_micros(micros);
            let bound = upper_bound(bucket(time));
            assert!(
                bound > time && bound - time <= (time / 16).max(Duration::from_micros(32)),
                "{time:?} in {bound:?}"
            );
        }
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_windows_and_sums_agree() {
        let mut all = Statistics::default();
        assert_eq!(all.input_to_ack.quantile(0.5), None);
        (1..=100).for_each(|ms| all.input_to_ack.record(Duration::from_millis(ms)));
        let median = all.input_to_ack.quantile(0.5).unwrap().as_secs_f64();
        assert!((0.050..0.054).contains(&median), "{median}");
        let earlier = all.clone();
        all.snapshots = 7;
        (0..300).for_each(|_| all.input_to_ack.record(Duration::from_millis(500)));
        all.subtract(&earlier);
        assert_eq!((all.snapshots, all.input_to_ack.count()), (7, 300));
        all.add(&earlier);
        assert_eq!(all.input_to_ack.count(), 400);
    }
}
