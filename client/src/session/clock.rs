//! The session's tick clock: runs ahead of the server just enough that inputs arrive in time.
//!
//! In: time, the tick of the first snapshot, and how early the server says inputs arrive. Out: the client tick.
//! *Invariant:* between jumps the clock runs at 60 ticks/s ± 2 %, and never backwards; jumps go either way.
//! *Invariant:* a report about inputs sampled before a jump moves nothing after it.
//! *Invariant:* a server that reports nothing for a second makes the clock start anew, so no state is a dead end.
//! Start reading at [`TickClock::on_margin`].

use std::time::Duration;

use astro_shared::sim::units::{TICKS_PER_SECOND, Tick};

/// How many ticks before its use an input should arrive. Inputs leave in pairs (30 datagrams a second), so the older
/// one of a pair arrives one tick later than the report says; the other tick is for jitter.
pub const MARGIN_TARGET_TICKS: f64 = 2.0;
/// Where the clock starts, ahead of the first snapshot: right for round trips of about two ticks; the first
/// report says what is right for this one.
const START_AHEAD_TICKS: f64 = 4.0;
/// The clock runs at most this much faster or slower: 1.2 ticks a second, too little to feel.
pub const RATE_MAX: f64 = 0.02;
/// Steering begins when the smoothed margin is further off than this, and ends within the second value.
const STEER_FROM_TICKS: f64 = 1.0;
const STEER_UNTIL_TICKS: f64 = 0.25;
/// A margin further off is not steered to (10 ticks would take 8 s) but jumped to.
const JUMP_FROM_TICKS: f64 = 10.0;
/// The same for the first report, before anything is flown.
const FIRST_JUMP_FROM_TICKS: f64 = 3.0;
/// A server that refuses our inputs as too far ahead reports no margin at all. After this long without one the
/// clock starts again from the newest snapshot.
const RESTART_AFTER: Duration = Duration::from_secs(1);
/// Share of a new report in the smoothed margin. Inputs that come too late hurt, so bad news count more:
/// with jitter the clock settles so that the early part of the spread is in time.
const SMOOTHING_LATER: f64 = 0.25;
const SMOOTHING_EARLIER: f64 = 1.0 / 16.0;

/// A running clock.
#[derive(Clone, Debug)]
pub struct TickClock {
    /// The clock showed `anchor_ticks` at `anchor_time` and runs at `1 + rate` since.
    anchor_time: Duration,
    anchor_ticks: f64,
    rate: f64,
    /// Smoothed margin; `None` until the first report after a jump.
    margin_ticks: Option<f64>,
    settled: bool,
    /// Reports count once they are about this tick or a later one.
    trusted_from: Tick,
    /// Of the newest report, or of the start.
    reported_at: Duration,
}

impl TickClock {
    /// Starts with the first snapshot, taken at server tick `server`.
    pub fn start(server: Tick, now: Duration) -> TickClock {
        TickClock {
            anchor_time: now,
            anchor_ticks: f64::from(server.0) + START_AHEAD_TICKS,
            rate: 0.0,
            margin_ticks: None,
            settled: false,
            trusted_from: Tick(0),
            reported_at: now,
        }
    }

    /// The newest tick that has begun.
    pub fn tick(&self, now: Duration) -> Tick {
        Tick(self.position(now) as u32)
    }

    /// How much faster than real time the clock runs, ± [`RATE_MAX`].
    #[cfg(test)]
    fn rate(&self) -> f64 {
        self.rate
    }

    fn position(&self, now: Duration) -> f64 {
        let passed = now.saturating_sub(self.anchor_time).as_secs_f64();
        self.anchor_ticks + passed * f64::from(TICKS_PER_SECOND) * (1.0 + self.rate)
    }

    /// Takes a report: the input of tick `about` and those before it arrived `margin_ticks` before their use.
    /// `sampled` is the newest tick that an input was sampled for.
    pub fn on_margin(&mut self, margin_ticks: i8, about: Tick, sampled: Tick, now: Duration) {
        self.reported_at = now;
        if about < self.trusted_from {
            return;
        }
        let reported = f64::from(margin_ticks);
        let off = MARGIN_TARGET_TICKS - reported;
        let jump_from = if self.settled { JUMP_FROM_TICKS } else { FIRST_JUMP_FROM_TICKS };
        self.settled = true;
        if off.abs() > jump_from {
            self.jump(off, sampled, now);
        } else {
            self.steer(reported, now);
        }
    }

    /// Takes a snapshot of tick `server` that came without a report.
    pub fn on_no_margin(&mut self, server: Tick, now: Duration) {
        if now.saturating_sub(self.reported_at) >= RESTART_AFTER {
            *self = TickClock::start(server, now);
        }
    }

    fn jump(&mut self, ticks: f64, sampled: Tick, now: Duration) {
        self.anchor_ticks = (self.position(now) + ticks).max(1.0);
        self.anchor_time = now;
        self.rate = 0.0;
        self.margin_ticks = None;
        self.trusted_from = sampled.max(self.tick(now)).plus(1);
    }

    fn steer(&mut self, reported: f64, now: Duration) {
        let known = self.margin_ticks.unwrap_or(reported);
        let smoothing = if reported < known { SMOOTHING_LATER } else { SMOOTHING_EARLIER };
        let margin = known + (reported - known) * smoothing;
        self.margin_ticks = Some(margin);
        let off = MARGIN_TARGET_TICKS - margin;
        let steering = self.rate != 0.0;
        let keep_on = off.abs() > if steering { STEER_UNTIL_TICKS } else { STEER_FROM_TICKS };
        let rate = if keep_on { (off * RATE_MAX / 2.0).clamp(-RATE_MAX, RATE_MAX) } else { 0.0 };
        if rate != self.rate {
            self.anchor_ticks = self.position(now);
            self.anchor_time = now;
            self.rate = rate;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// A server and a path in virtual time: inputs leave every second client tick, snapshots every second server tick.
    struct Path {
        /// Server ticks per real tick.
        pace: f64,
        one_way_ms: f64,
        /// Largest extra delay of one input datagram, drawn from a fixed sequence.
        jitter_ms: f64,
    }

    struct Outcome {
        /// Worst and best margin over the last quarter, as the server would report it.
        worst: i32,
        best: i32,
        jumps: u32,
        late_share: f64,
    }

    impl Path {
        fn run(&self, seconds: f64) -> Outcome {
            let (mut outcome, mut late, mut reports) =
                (Outcome { worst: 127, best: -128, jumps: 0, late_share: 0.0 }, 0, 0);
            let mut random = 1u32;
            let (mut up, mut down) = (VecDeque::new(), VecDeque::new());
            let mut clock: Option<TickClock> = None;
            let (mut sampled, mut newest, mut margin) = (0u32, 0u32, -128i32);
            let mut server_tick = 0;
            for step in 0..(seconds * 1000.0) as u64 {
                let (time_ms, now) = (step as f64, Duration::from_millis(step));
                while up.front().is_some_and(|(at, _)| *at <= time_ms) {
                    let (_, tick): (f64, u32) = up.pop_front().unwrap();
                    newest = newest.max(tick);
                    let early = tick as i32 - (server_tick as i32 + 1);
                    margin = if margin == -128 { early } else { margin.min(early) };
                    if time_ms > seconds * 750.0 {
                        (outcome.worst, outcome.best) = (outcome.worst.min(early), outcome.best.max(early));
                        (late, reports) = (late + u32::from(early < 0), reports + 1);
                    }
                }
                let tick = (time_ms * 0.06 * self.pace) as u32 + 1;
                if tick != server_tick {
                    server_tick = tick;
                    if tick.is_multiple_of(2) {
                        down.push_back((time_ms + self.one_way_ms, tick, newest, margin));
                        margin = -128;
                    }
                }
                while down.front().is_some_and(|(at, ..)| *at <= time_ms) {
                    let (_, tick, about, margin) = down.pop_front().unwrap();
                    let clock = clock.get_or_insert_with(|| TickClock::start(Tick(tick), now));
                    if margin != -128 {
                        let before = clock.position(now);
                        clock.on_margin(margin as i8, Tick(about), Tick(sampled), now);
                        outcome.jumps += u32::from((clock.position(now) - before).abs() > 0.5);
                    }
                    assert!(clock.rate().abs() <= RATE_MAX);
                }
                let Some(clock) = &clock else { continue };
                if clock.tick(now).0 > sampled {
                    sampled = clock.tick(now).0;
                    if sampled.is_multiple_of(2) {
                        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        let extra = self.jitter_ms * f64::from(random >> 8) / f64::from(1 << 24);
                        let at = up.back().map_or(0.0, |(at, _)| *at).max(time_ms + self.one_way_ms + extra);
                        up.push_back((at, sampled));
                    }
                }
            }
            outcome.late_share = f64::from(late) / f64::from(reports.max(1));
            outcome
        }
    }

    #[test]
    fn settles_two_ticks_ahead_on_any_steady_path() {
        for one_way_ms in [0.0, 1.0, 15.0, 50.0, 100.0, 200.0] {
            let outcome = Path { pace: 1.0, one_way_ms, jitter_ms: 0.0 }.run(8.0);
            let (worst, best) = (outcome.worst, outcome.best);
            assert!(worst >= 1 && best <= 4, "{one_way_ms} ms one way: margins {worst} to {best}");
            assert!(outcome.jumps <= 1, "{one_way_ms} ms one way: {} jumps", outcome.jumps);
        }
    }

    #[test]
    fn follows_a_server_that_runs_a_little_fast_or_slow() {
        for pace in [0.99, 0.995, 1.005, 1.01] {
            let outcome = Path { pace, one_way_ms: 30.0, jitter_ms: 0.0 }.run(20.0);
            assert!(outcome.worst >= 0 && outcome.best <= 5, "pace {pace}: {} to {}", outcome.worst, outcome.best);
            assert!(outcome.jumps <= 1, "pace {pace}: {} jumps", outcome.jumps);
        }
    }

    #[test]
    fn under_jitter_few_inputs_are_late() {
        let outcome = Path { pace: 1.0, one_way_ms: 40.0, jitter_ms: 30.0 }.run(30.0);
        assert!(outcome.late_share < 0.02, "{} of all late", outcome.late_share);
        assert!(outcome.best <= 8, "up to {} ticks early", outcome.best);
    }

    #[test]
    fn far_off_it_jumps_once_and_ignores_what_was_under_way() {
        let second = Duration::from_secs(1);
        let mut clock = TickClock::start(Tick(1000), Duration::ZERO);
        clock.on_margin(2, Tick(1004), Tick(1004), Duration::ZERO);
        assert_eq!(clock.tick(second), Tick(1064));
        clock.on_margin(-30, Tick(1060), Tick(1064), second);
        assert_eq!(clock.tick(second), Tick(1096), "32 ticks ahead");
        clock.on_margin(-30, Tick(1064), Tick(1096), second);
        assert_eq!(clock.tick(second), Tick(1096), "a report about inputs from before the jump");
        clock.on_margin(2, Tick(1097), Tick(1097), second);
        assert_eq!(clock.tick(second), Tick(1096));
    }

    #[test]
    fn without_reports_it_starts_anew_once_a_second() {
        let mut clock = TickClock::start(Tick(1000), Duration::ZERO);
        let second = Duration::from_secs(1);
        clock.on_no_margin(Tick(1010), second / 2);
        assert_eq!(clock.tick(second), Tick(1064));
        clock.on_no_margin(Tick(1010), second);
        assert_eq!(clock.tick(second), Tick(1014), "the server stood still");
        clock.on_no_margin(Tick(1050), second + second / 2);
        assert_eq!(clock.tick(second * 2), Tick(1074));
    }

    #[test]
    fn one_tick_off_is_left_alone() {
        let mut clock = TickClock::start(Tick(0), Duration::ZERO);
        for report in 0..100 {
            clock.on_margin(if report % 2 == 0 { 1 } else { 3 }, Tick(9), Tick(9), Duration::from_millis(report * 33));
            assert!(clock.rate().abs() < RATE_MAX, "no hunting");
        }
    }
}
