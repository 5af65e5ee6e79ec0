//! Whether a client keeps up with what it is sent.
//!
//! In: snapshots overtaken, frames handed to the connection and taken by it, time. Out: a verdict, each once.
//! *Invariant:* pure: time is an argument.
//! *Invariant:* only what a connection did not take counts against it, not what waited for the server's own threads.
//! A client that cannot keep up gets fewer snapshots until it has missed none for [`STEADY_S`] seconds; one that takes nothing for [`STALLED_S_MAX`], or misses more than
//! half of even the fewer ones for [`STARVED_S_MAX`] seconds in a row, is told to go.
//! Start reading at [`Pace::judge`].

use std::time::{Duration, Instant};

use astro_shared::wire::websocket::{
    SLOW_SNAPSHOTS_PER_S, STALLED_S_MAX, STARVED_S_MAX, STEADY_S, SUPERSEDED_PER_S_MAX,
};

const SECOND: Duration = Duration::from_secs(1);
/// Snapshots overtaken in a second that make it a starved one.
const STARVED_SUPERSEDED: u32 = SLOW_SNAPSHOTS_PER_S as u32 / 2;

/// What should be done about a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Slow,
    /// It was slow, and keeps up again.
    Steady,
    TooSlow,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Pace {
    /// Since when the connection has not taken the last frame.
    unflushed_since: Option<Instant>,
    /// Of the newest overtaken snapshots; the oldest comes next. One more than a second may have.
    overtaken: [Option<Instant>; SUPERSEDED_PER_S_MAX as usize + 1],
    next: usize,
    /// The second that is being counted, and what it had so far.
    second: Instant,
    superseded: u32,
    /// Seconds in a row in which too many were overtaken, and in which none was.
    starved_s: u32,
    steady_s: u32,
    given: Option<Verdict>,
}

impl Pace {
    pub fn new(now: Instant) -> Pace {
        Pace {
            unflushed_since: None,
            overtaken: [None; SUPERSEDED_PER_S_MAX as usize + 1],
            next: 0,
            second: now,
            superseded: 0,
            starved_s: 0,
            steady_s: 0,
            given: None,
        }
    }

    /// A frame was handed to the connection.
    pub fn on_frame(&mut self, now: Instant) {
        self.unflushed_since.get_or_insert(now);
    }

    /// The connection has taken everything.
    pub fn on_flushed(&mut self) {
        self.unflushed_since = None;
    }

    /// Snapshots were overtaken by a newer one; control packets that pile up are as bad as anything can be.
    pub fn judge(&mut self, superseded: u64, overflow: bool, now: Instant) -> Option<Verdict> {
        // A connection that has taken all it was handed would have taken these too.
        let superseded = if self.unflushed_since.is_some() { superseded } else { 0 };
        for _ in 0..superseded {
            self.overtaken[self.next] = Some(now);
            self.next = (self.next + 1) % self.overtaken.len();
            self.superseded += 1;
        }
        self.count_seconds(now);
        let passed = |since: Instant| now.saturating_duration_since(since);
        let stalled = self.unflushed_since.is_some_and(|since| passed(since) >= SECOND * STALLED_S_MAX as u32);
        let slow = self.overtaken[self.next].is_some_and(|oldest| passed(oldest) <= SECOND);
        let verdict = if overflow || stalled || self.starved_s >= STARVED_S_MAX {
            Verdict::TooSlow
        } else if slow {
            Verdict::Slow
        } else if self.given == Some(Verdict::Slow) && self.steady_s >= STEADY_S {
            Verdict::Steady
        } else {
            return None;
        };
        let is_news = self.given != Some(Verdict::TooSlow) && self.given != Some(verdict);
        is_news.then(|| *self.given.insert(verdict))
    }

    /// Closes the second that is over; several may be.
    fn count_seconds(&mut self, now: Instant) {
        if now.saturating_duration_since(self.second) < SECOND {
            return;
        }
        let starved = self.given == Some(Verdict::Slow) && self.superseded > STARVED_SUPERSEDED;
        self.starved_s = if starved { self.starved_s + 1 } else { 0 };
        self.steady_s = if self.superseded == 0 { self.steady_s + 1 } else { 0 };
        (self.second, self.superseded) = (now, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Milliseconds after some beginning.
    fn clock() -> impl Fn(u64) -> Instant {
        let start = Instant::now();
        move |ms| start + Duration::from_millis(ms)
    }

    /// Judges what happens at these times: a frame is not taken at once, and one snapshot overtaken meanwhile.
    fn overtaken(pace: &mut Pace, times: impl IntoIterator<Item = Instant>) -> Vec<Verdict> {
        let mut judge = |now| {
            pace.on_frame(now);
            let verdict = pace.judge(1, false, now);
            pace.on_flushed();
            verdict
        };
        times.into_iter().filter_map(&mut judge).collect()
    }

    /// Judges snapshots of which none is overtaken.
    fn taken(pace: &mut Pace, times: impl IntoIterator<Item = Instant>) -> Vec<Verdict> {
        times.into_iter().filter_map(|now| pace.judge(0, false, now)).collect()
    }

    #[test]
    fn more_than_three_snapshots_overtaken_within_a_second_are_too_many_for_full_speed() {
        let at = clock();
        let mut pace = Pace::new(at(0));
        assert_eq!(overtaken(&mut pace, (0..20).map(|n| at(334 * n))), [], "three a second");
        let mut pace = Pace::new(at(0));
        assert_eq!(overtaken(&mut pace, [at(900), at(1000), at(1100)]), []);
        assert_eq!(overtaken(&mut pace, [at(1900), at(1901)]), [Verdict::Slow], "across the full second, and once");
    }

    #[test]
    fn a_connection_that_takes_nothing_for_five_seconds_is_given_up() {
        let at = clock();
        let mut pace = Pace::new(at(0));
        pace.on_frame(at(0));
        pace.on_frame(at(3000));
        assert_eq!(pace.judge(0, false, at(4999)), None);
        pace.on_flushed();
        assert_eq!(pace.judge(0, false, at(9000)), None, "it took everything in between");
        pace.on_frame(at(9000));
        assert_eq!(pace.judge(0, false, at(14_000)), Some(Verdict::TooSlow));
        assert_eq!(pace.judge(0, false, at(15_000)), None, "once");
    }

    #[test]
    fn ten_starved_seconds_after_slowing_down_are_enough_and_one_good_second_forgives() {
        let at = clock();
        let mut pace = Pace::new(at(0));
        let every = |from_ms: u64, seconds: u64, ms: usize| (from_ms..from_ms + 1000 * seconds).step_by(ms).map(&at);
        assert_eq!(overtaken(&mut pace, every(0, 8, 100)), [Verdict::Slow]);
        assert_eq!(overtaken(&mut pace, every(8000, 1, 500)), []);
        assert_eq!(overtaken(&mut pace, every(9000, 10, 100)), [], "counted from the beginning");
        assert_eq!(overtaken(&mut pace, every(19_000, 2, 100)), [Verdict::TooSlow]);
    }

    #[test]
    fn ten_seconds_without_a_miss_bring_full_speed_back_and_it_may_be_lost_again() {
        let at = clock();
        let mut pace = Pace::new(at(0));
        let every = |from_ms: u64, seconds: u64, ms: usize| (from_ms..from_ms + 1000 * seconds).step_by(ms).map(&at);
        assert_eq!(taken(&mut pace, every(0, 30, 100)), [], "it was never slow");
        assert_eq!(overtaken(&mut pace, every(30_000, 1, 100)), [Verdict::Slow]);
        assert_eq!(taken(&mut pace, every(31_000, 8, 100)), []);
        assert_eq!(overtaken(&mut pace, [at(39_000)]), [], "one miss begins the count anew");
        assert_eq!(taken(&mut pace, every(39_100, 9, 100)), []);
        assert_eq!(taken(&mut pace, every(48_100, 4, 100)), [Verdict::Steady]);
        assert_eq!(overtaken(&mut pace, every(53_000, 1, 100)), [Verdict::Slow]);
    }

    #[test]
    fn what_waits_for_the_servers_own_threads_is_not_the_clients_fault() {
        let at = clock();
        let mut pace = Pace::new(at(0));
        assert_eq!((0..1000).filter_map(|n| pace.judge(5, false, at(10 * n))).count(), 0);
    }

    #[test]
    fn control_packets_that_pile_up_end_it_at_once() {
        let at = clock();
        assert_eq!(Pace::new(at(0)).judge(0, true, at(1)), Some(Verdict::TooSlow));
    }
}
