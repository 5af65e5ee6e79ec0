//! How old a snapshot is when it is applied, without a clock shared with the server.
//!
//! In: the tick of a snapshot and when it came. Out: its age.
//! The server takes one tick every 1/60 s, so the snapshots of a session that met no delay arrive on a straight line
//! over their ticks. That line is put through the earliest arrival known; a snapshot's age is how far behind it comes:
//! `arrival − tick / 60 s − min over the session of (arrival − tick / 60 s)`.
//! What the best snapshot of the session needed (half a round trip) is therefore not counted; what a queue, a loss or
//! a busy end adds, is. Time that a server skips counts as age from then on: its players do see an older world.
//! *Invariant:* never negative, and zero for the earliest arrival.
//! Start reading at [`ArrivalLine::age`].

use std::time::Duration;

use astro_shared::sim::units::{TICKS_PER_SECOND, Tick};

/// The line of the earliest arrivals of one session.
#[derive(Clone, Copy, Debug, Default)]
pub struct ArrivalLine {
    /// Smallest arrival minus tick time so far, in nanoseconds.
    earliest: Option<i128>,
}

impl ArrivalLine {
    /// The age of the snapshot of `tick` that came at `now`; may move the line.
    pub fn age(&mut self, tick: Tick, now: Duration) -> Duration {
        let tick_time = i128::from(tick.0) * 1_000_000_000 / i128::from(TICKS_PER_SECOND);
        let offset = now.as_nanos() as i128 - tick_time;
        let earliest = self.earliest.map_or(offset, |known| known.min(offset));
        self.earliest = Some(earliest);
        Duration::from_nanos((offset - earliest) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_is_the_delay_beyond_the_best_arrival_and_never_negative() {
        let mut line = ArrivalLine::default();
        let ms = Duration::from_millis;
        let mut age = |tick: u32, at_ms: u64| line.age(Tick(tick), ms(at_ms)).as_millis();
        // 60 ticks are a second; the path takes 30 ms at best.
        assert_eq!(age(600, 10_050), 0, "the first one is all that is known");
        assert_eq!(age(660, 11_030), 0, "a better one moves the line");
        assert_eq!(age(720, 12_050), 20);
        assert_eq!(age(780, 13_230), 200);
        assert_eq!(age(840, 14_030), 0);
    }
}
