//! Times of ticks: buckets in which quantiles are right to 7 %, and exact maxima of the last seconds.
//!
//! In: one duration per tick. Out: a scale for a histogram, and the longest tick of a window.
//! *Invariant:* `observe` never waits and never allocates.
//! Start reading at [`SlidingMax::observe`].

use std::array;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::declare::label;
use super::histogram::Scale;

/// Smallest bound of a bucket. Below it nobody needs to tell ticks apart.
const BOUND_MIN_NS: f64 = 20_000.0;
/// From bound to bound; the middle of a bucket is within 7 % of everything in it.
const BOUND_FACTOR: f64 = 1.15;
/// Bounds from 20 µs to just over 1 s.
const BOUNDS: usize = 79;

label! {
    /// Windows of the maxima.
    Window is "window":
    TenSeconds = "10s",
    Minute = "60s",
}

impl Window {
    pub(super) const fn seconds(self) -> u64 {
        match self {
            Window::TenSeconds => 10,
            Window::Minute => 60,
        }
    }
}

/// Seconds that [`SlidingMax`] remembers: the longest window and the second that is not over yet.
const SECONDS: usize = 61;

static BOUNDS_NS: LazyLock<[u64; BOUNDS]> =
    LazyLock::new(|| array::from_fn(|index| (BOUND_MIN_NS * BOUND_FACTOR.powi(index as i32)) as u64));

/// Times of ticks, in nanoseconds.
#[derive(Debug)]
pub(super) struct TickTime;

impl Scale for TickTime {
    fn bounds() -> &'static [u64] {
        BOUNDS_NS.as_slice()
    }
    const PER_UNIT: f64 = 1e9;
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
