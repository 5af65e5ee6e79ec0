//! The inputs a session has sampled: what is still to be repeated, and when the next datagram may leave.
//!
//! In: one input per client tick, what the server has confirmed, time. Out: input datagrams, and how long
//! each input took to be confirmed.
//! *Invariant:* a datagram repeats every unconfirmed input, at most [`INPUTS_MAX`], and no tick without an input.
//! *Invariant:* at most [`DATAGRAMS_PER_S_MAX`] datagrams leave in any second.
//! Start reading at [`InputQueue::sample`] and [`InputQueue::poll_datagram`].

use std::time::Duration;

use astro_shared::sim::input::Input;
use astro_shared::sim::units::{TICKS_PER_SECOND, Tick};
use astro_shared::wire::input::{INPUTS_MAX, InputDatagram};

/// Datagrams in a steady state.
const DATAGRAMS_PER_S: u32 = 30;
/// Datagrams in any one second: the bucket's burst and a second of its refill.
pub const DATAGRAMS_PER_S_MAX: u32 = 40;
/// Edges that may follow each other at once; a fourth in the same instant waits for the bucket.
const BURST: f64 = 4.0;
const REFILL_PER_S: f64 = DATAGRAMS_PER_S_MAX as f64 - BURST;
/// Ticks between two datagrams in a steady state.
const SEND_EVERY_TICKS: u32 = TICKS_PER_SECOND / DATAGRAMS_PER_S;
/// Samples whose time is remembered: over a second. Confirmations that take longer are not measured.
const SAMPLES: usize = 64;

/// Inputs by tick, newest last.
pub struct InputQueue {
    /// By tick modulo [`SAMPLES`].
    inputs: [Input; SAMPLES],
    sampled_at: [Duration; SAMPLES],
    /// `Tick(0)` before the first sample.
    newest: Tick,
    /// First tick of the unbroken run that ends at `newest`; one later while that run is empty.
    first: Tick,
    /// Newest tick that the server has an input for.
    confirmed: Tick,
    /// A button changed since the last datagram.
    edge: bool,
    /// Samples since the last datagram.
    unsent: u32,
    bucket: f64,
    refilled: Duration,
}

impl InputQueue {
    pub fn new(now: Duration) -> InputQueue {
        InputQueue {
            inputs: [Input::NEUTRAL; SAMPLES],
            sampled_at: [Duration::ZERO; SAMPLES],
            newest: Tick(0),
            first: Tick(0),
            confirmed: Tick(0),
            edge: false,
            unsent: 0,
            bucket: BURST,
            refilled: now,
        }
    }

    /// The newest tick with an input; `Tick(0)` before the first.
    pub fn newest(&self) -> Tick {
        self.newest
    }

    /// The tick that the next sample is for, when the clock shows `clock`; `None` when it is sampled already.
    pub fn next(&self, clock: Tick) -> Option<Tick> {
        if clock <= self.newest {
            return None;
        }
        // After a jump or a stall: what is too old for one datagram would never be sent anyway.
        let gap = clock.since(self.newest) > INPUTS_MAX as u32;
        Some(if self.newest == Tick(0) || gap { clock } else { self.newest.plus(1) })
    }

    /// Notes the input for `tick`, which [`InputQueue::next`] named.
    pub fn sample(&mut self, tick: Tick, input: Input, now: Duration) {
        let before = self.input(self.newest);
        if tick != self.newest.plus(1) || self.newest == Tick(0) {
            self.first = tick;
        }
        self.newest = tick;
        self.inputs[tick.0 as usize % SAMPLES] = input;
        self.sampled_at[tick.0 as usize % SAMPLES] = now;
        self.edge |= input.button_edge(before);
        self.unsent += 1;
    }

    /// The clock has jumped back to `clock`: later ticks will be sampled again. The server keeps the newest word.
    pub fn rewind(&mut self, clock: Tick) {
        if self.newest > clock {
            (self.newest, self.first) = (clock, clock.plus(1));
            self.confirmed = self.confirmed.min(clock);
            (self.unsent, self.edge) = (0, false);
        }
    }

    /// The server has the input for `tick`: `measure` is told how long each newly confirmed one took.
    pub fn on_confirmed(&mut self, tick: Tick, now: Duration, mut measure: impl FnMut(Duration)) {
        let oldest = self.first.max(Tick(self.newest.0.saturating_sub(SAMPLES as u32 - 1)));
        let from = self.confirmed.plus(1).max(oldest);
        for confirmed in from.0..=tick.min(self.newest).0 {
            measure(now.saturating_sub(self.sampled_at[confirmed as usize % SAMPLES]));
        }
        self.confirmed = self.confirmed.max(tick);
    }

    /// The next datagram, if one may and should leave now.
    pub fn poll_datagram(&mut self, acknowledged: Tick, now: Duration) -> Option<InputDatagram> {
        let due = self.unsent >= SEND_EVERY_TICKS || self.edge;
        if !due || !self.take_from_bucket(now) {
            return None;
        }
        (self.unsent, self.edge) = (0, false);
        Some(self.datagram(acknowledged))
    }

    fn datagram(&self, acknowledged: Tick) -> InputDatagram {
        let repeated = Tick(self.newest.0.saturating_sub(INPUTS_MAX as u32 - 1)).max(self.first);
        let from = self.confirmed.plus(1).clamp(repeated, self.newest);
        let mut run = [Input::NEUTRAL; INPUTS_MAX];
        let count = self.newest.since(from) as usize + 1;
        for (slot, tick) in run[..count].iter_mut().zip(from.0..) {
            *slot = self.input(Tick(tick));
        }
        InputDatagram::new(acknowledged, self.newest, &run[..count])
    }

    fn input(&self, tick: Tick) -> Input {
        self.inputs[tick.0 as usize % SAMPLES]
    }

    fn take_from_bucket(&mut self, now: Duration) -> bool {
        let passed = now.saturating_sub(self.refilled).as_secs_f64();
        self.bucket = (self.bucket + passed * REFILL_PER_S).min(BURST);
        self.refilled = now;
        let allowed = self.bucket >= 1.0;
        self.bucket -= if allowed { 1.0 } else { 0.0 };
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRE: Input = Input::NEUTRAL;

    fn at(tick: u32) -> Duration {
        Duration::from_nanos(u64::from(tick) * 1_000_000_000 / 60)
    }

    /// Samples ticks 1 to `ticks`; every datagram with the tick in which it left. `confirm` says what the server has.
    fn fly(
        ticks: u32,
        input: impl Fn(u32) -> Input,
        confirm: impl Fn(u32) -> Option<u32>,
    ) -> Vec<(u32, InputDatagram)> {
        let mut queue = InputQueue::new(Duration::ZERO);
        let mut sent = Vec::new();
        for tick in 1..=ticks {
            assert_eq!(queue.next(Tick(tick)), Some(Tick(tick)));
            queue.sample(Tick(tick), input(tick), at(tick));
            if let Some(confirmed) = confirm(tick) {
                queue.on_confirmed(Tick(confirmed), at(tick), |_| {});
            }
            sent.extend(queue.poll_datagram(Tick(0), at(tick)).map(|datagram| (tick, datagram)));
        }
        sent
    }

    #[test]
    fn thirty_a_second_each_repeating_what_is_unconfirmed() {
        let sent = fly(600, |_| FIRE, |tick| tick.checked_sub(5));
        assert_eq!(sent.len(), 300);
        for (tick, datagram) in &sent[10..] {
            let ticks: Vec<u32> = datagram.inputs().map(|(tick, _)| tick.0).collect();
            assert_eq!(ticks, (tick - 4..=*tick).collect::<Vec<_>>());
        }
    }

    #[test]
    fn without_confirmation_twelve_are_repeated_and_no_more() {
        let sent = fly(600, |_| FIRE, |_| None);
        assert!(sent.iter().all(|(tick, datagram)| datagram.inputs().count() == 12.min(*tick as usize)));
    }

    #[test]
    fn everything_confirmed_still_sends_the_newest() {
        let sent = fly(60, |_| FIRE, |tick| Some(tick + 100));
        assert_eq!(sent.len(), 30);
        assert!(sent.iter().all(|(tick, datagram)| datagram.inputs().eq([(Tick(*tick), FIRE)])));
    }

    #[test]
    fn a_button_edge_leaves_at_once_and_a_turn_does_not() {
        let press = |tick| if tick == 41 { Input::new(0, false, true) } else { FIRE };
        let sent: Vec<u32> = fly(60, press, |_| None).iter().map(|(tick, _)| *tick).collect();
        assert!(sent.contains(&40) && sent.contains(&41) && sent.contains(&42), "{sent:?}");
        let turn = |tick| if tick == 41 { Input::new(9, false, false) } else { FIRE };
        let sent: Vec<u32> = fly(60, turn, |_| None).iter().map(|(tick, _)| *tick).collect();
        assert!(!sent.contains(&41), "{sent:?}");
    }

    #[test]
    fn drumming_on_a_button_never_exceeds_forty_a_second() {
        let sent = fly(1200, |tick| Input::new(0, tick % 2 == 0, false), |_| None);
        for window in 0..1200 {
            let count = sent.iter().filter(|(tick, _)| (window..window + 60).contains(tick)).count();
            assert!(count <= DATAGRAMS_PER_S_MAX as usize, "{count} in the second from tick {window}");
        }
        assert!(sent.len() > 20 * 34, "and uses what it may: {}", sent.len());
    }

    #[test]
    fn a_jump_ahead_starts_a_new_run_without_invented_inputs() {
        let mut queue = InputQueue::new(Duration::ZERO);
        let turned = Input::new(7, false, false);
        for tick in 1..=6 {
            queue.sample(Tick(tick), FIRE, at(tick));
        }
        assert_eq!(queue.next(Tick(40)), Some(Tick(40)));
        queue.sample(Tick(40), turned, at(7));
        let datagram = queue.poll_datagram(Tick(3), at(7)).unwrap();
        assert!(datagram.inputs().eq([(Tick(40), turned)]));
        assert_eq!(datagram.acknowledged, Tick(3));
    }

    #[test]
    fn after_a_jump_back_the_same_ticks_are_sampled_and_sent_again() {
        let mut queue = InputQueue::new(Duration::ZERO);
        let thrust = Input::new(0, true, false);
        for tick in 1..=30 {
            queue.sample(Tick(tick), Input::NEUTRAL, at(tick));
        }
        queue.on_confirmed(Tick(30), at(31), |_| {});
        queue.poll_datagram(Tick(0), at(31));
        queue.rewind(Tick(20));
        assert_eq!(queue.next(Tick(20)), None);
        assert_eq!(queue.next(Tick(21)), Some(Tick(21)));
        queue.sample(Tick(21), thrust, at(32));
        queue.sample(Tick(22), thrust, at(33));
        let datagram = queue.poll_datagram(Tick(0), at(33)).unwrap();
        assert!(datagram.inputs().eq([(Tick(21), thrust), (Tick(22), thrust)]));
    }

    #[test]
    fn confirmation_is_timed_once_per_input() {
        let mut queue = InputQueue::new(Duration::ZERO);
        let mut took = Vec::new();
        for tick in 10..=20 {
            queue.sample(Tick(tick), FIRE, at(tick));
        }
        queue.on_confirmed(Tick(12), at(22), |time| took.push(time));
        queue.on_confirmed(Tick(12), at(23), |time| took.push(time));
        queue.on_confirmed(Tick(11), at(24), |time| took.push(time));
        assert_eq!(took, [at(22) - at(10), at(22) - at(11), at(22) - at(12)]);
        queue.on_confirmed(Tick(u32::MAX), at(30), |time| took.push(time));
        assert_eq!(took.len(), 11, "what was never sampled is not measured");
    }
}
