//! Which shard a new match goes to, and when there is no room for it.
//!
//! In: what each shard has and costs. Out: the shard with the least to do, or none.
//! *Invariant:* a match counts from the moment it is ordered, so a burst spreads, and neither seats nor matches of
//! a shard ever exceed their limits. It counts as long as its [`MatchPlace`] lives, wherever a panic leaves that.
//! *Invariant:* a shard whose mean tick is over the budget, or would be once all that is ordered plays, gets nothing.
//! Start reading at [`place`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::shard::PERIOD;
use crate::telemetry::STALE_AFTER;

/// CPU time per seat and tick that a seat is expected to cost at least, until it shows in the mean: what a thousand
/// players have been measured to cost on a core at 2.6 GHz, HTTP included.
const SEAT_NS_MIN: u64 = 5_000;
/// Mean seats from which on a shard's own cost per seat says more than what it spends on no seat at all.
const SEATS_MEASURED_MIN: u64 = 64;
/// Ticks over which means are taken: a weight of one in so many, eight and a half seconds.
const MEAN_TICKS: u64 = 512;

/// Limits of every shard. All are settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardLimits {
    pub matches_per_shard: usize,
    /// Seats, each of which may have a player's link. A shard's sockets hold 2,048; what is left of them is for
    /// spectators, up to a quarter.
    pub seats_per_shard: usize,
    pub spectators_per_match: usize,
    /// Share of the period that the mean tick may take.
    pub tick_budget_percent: u32,
}

impl Default for ShardLimits {
    fn default() -> ShardLimits {
        ShardLimits {
            matches_per_shard: 1024,
            seats_per_shard: 1536,
            spectators_per_match: 16,
            tick_budget_percent: 60,
        }
    }
}

impl ShardLimits {
    fn budget_ns(&self) -> u64 {
        PERIOD.as_nanos() as u64 * u64::from(self.tick_budget_percent) / 100
    }
}

/// What placement knows of a shard; written by the shard, and by whoever orders matches.
#[derive(Debug, Default)]
pub struct ShardStatus {
    /// Of all matches, from the moment they are ordered, demo matches included.
    seats: AtomicI64,
    matches: AtomicI64,
    /// Seats held by people.
    pub players: AtomicUsize,
    pub links: AtomicUsize,
    /// Mean thread CPU time of a tick in nanoseconds, and mean seats, both times [`MEAN_TICKS`]: so the integer
    /// division loses nothing.
    tick_mean_scaled: AtomicU64,
    seats_mean_scaled: AtomicU64,
    /// On the shard's clock; 0 before the first tick.
    ticked_ms: AtomicU64,
    /// No new matches; outlives the shard's `App`.
    draining: AtomicBool,
}

/// A match's place on a shard, from its order to its end; given back when dropped.
#[derive(Debug)]
pub struct MatchPlace {
    status: Arc<ShardStatus>,
    seats: u8,
}

impl MatchPlace {
    /// Counts a match that is ordered. Whoever decided that there is room must still be the only one deciding.
    pub fn reserve(status: &Arc<ShardStatus>, seats: u8) -> MatchPlace {
        status.reserve(seats);
        MatchPlace { status: Arc::clone(status), seats }
    }
}

impl Drop for MatchPlace {
    fn drop(&mut self) {
        self.status.release(self.seats);
    }
}

impl ShardStatus {
    fn reserve(&self, seats: u8) {
        self.seats.fetch_add(i64::from(seats), Ordering::Relaxed);
        self.matches.fetch_add(1, Ordering::Relaxed);
    }

    fn release(&self, seats: u8) {
        self.seats.fetch_sub(i64::from(seats), Ordering::Relaxed);
        self.matches.fetch_sub(1, Ordering::Relaxed);
    }

    /// From now on the shard opens no matches.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// A tick that began at `now` is over. Only the shard's own thread calls this.
    pub fn note_tick(&self, now: Duration, cpu: Duration) {
        let note = |mean_scaled: &AtomicU64, value: u64| {
            let scaled = mean_scaled.load(Ordering::Relaxed);
            mean_scaled.store(scaled - scaled / MEAN_TICKS + value, Ordering::Relaxed);
        };
        note(&self.tick_mean_scaled, cpu.as_nanos() as u64);
        note(&self.seats_mean_scaled, self.seats.load(Ordering::Relaxed).max(0) as u64);
        self.ticked_ms.store(now.as_millis() as u64, Ordering::Relaxed);
    }

    /// The shard as placement sees it at `now`.
    pub fn load(&self, now: Duration) -> Load {
        let ticked_ms = self.ticked_ms.load(Ordering::Relaxed);
        let silent = Duration::from_millis((now.as_millis() as u64).saturating_sub(ticked_ms));
        Load {
            seats: self.seats.load(Ordering::Relaxed).max(0) as u64,
            matches: self.matches.load(Ordering::Relaxed).max(0) as u64,
            tick_mean_ns: self.tick_mean_scaled.load(Ordering::Relaxed) / MEAN_TICKS,
            seats_mean: self.seats_mean_scaled.load(Ordering::Relaxed) / MEAN_TICKS,
            is_stuck: ticked_ms > 0 && silent > STALE_AFTER,
        }
    }
}

/// A shard at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    pub seats: u64,
    pub matches: u64,
    pub tick_mean_ns: u64,
    /// Of the same ticks.
    pub seats_mean: u64,
    /// Has not ticked for a while: an order would only wait.
    pub is_stuck: bool,
}

impl Load {
    /// What a seat costs per tick: as measured here, once there are enough to tell.
    fn seat_ns(&self) -> u64 {
        let measured = if self.seats_mean < SEATS_MEASURED_MIN { 0 } else { self.tick_mean_ns / self.seats_mean };
        measured.max(SEAT_NS_MIN)
    }

    /// The mean tick once it shows everything that is ordered, and `more` seats.
    fn expected_ns(&self, more: u64) -> u64 {
        let (ordered, shown) = (self.seats + more, self.seats_mean);
        let difference = ordered.abs_diff(shown) * self.seat_ns();
        if ordered >= shown { self.tick_mean_ns + difference } else { self.tick_mean_ns.saturating_sub(difference) }
    }

    fn has_room(&self, seats: u64, limits: &ShardLimits) -> bool {
        !self.is_stuck
            && self.matches < limits.matches_per_shard as u64
            && self.seats + seats <= limits.seats_per_shard as u64
            && self.tick_mean_ns.max(self.expected_ns(seats)) <= limits.budget_ns()
    }
}

/// The shard for a match of so many seats: of those with room, the one with the least to do.
pub fn place(shards: &[Load], seats: u8, limits: &ShardLimits) -> Option<usize> {
    let seats = u64::from(seats);
    let open = shards.iter().enumerate().filter(|(_, shard)| shard.has_room(seats, limits));
    open.min_by_key(|(_, shard)| (shard.expected_ns(seats), shard.seats)).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    const BUDGET_NS: u64 = 9_999_999;

    /// Shards in virtual time, each with what a seat really costs there.
    struct Town {
        shards: Vec<(ShardStatus, u64)>,
        limits: ShardLimits,
        now: Duration,
    }

    impl Town {
        fn new(seat_ns: &[u64]) -> Town {
            let shards = seat_ns.iter().map(|ns| (ShardStatus::default(), *ns)).collect();
            Town { shards, limits: ShardLimits::default(), now: Duration::from_secs(1000) }
        }

        fn order(&self, seats: u8) -> Option<usize> {
            let loads: Vec<Load> = self.shards.iter().map(|(status, _)| status.load(self.now)).collect();
            let shard = place(&loads, seats, &self.limits)?;
            self.shards[shard].0.reserve(seats);
            Some(shard)
        }

        /// Orders until there is no room; answers how many matches each shard got.
        fn order_all(&self, seats: u8) -> Vec<u64> {
            let before = self.matches();
            while self.order(seats).is_some() {}
            self.matches().iter().zip(before).map(|(after, before)| after - before).collect()
        }

        fn matches(&self) -> Vec<u64> {
            self.shards.iter().map(|(status, _)| status.load(self.now).matches).collect()
        }

        fn cost_ns(&self, shard: usize) -> u64 {
            let (status, seat_ns) = &self.shards[shard];
            50_000 + status.load(self.now).seats * seat_ns
        }

        fn tick(&mut self, ticks: u32) {
            for _ in 0..ticks {
                self.now += PERIOD;
                for shard in 0..self.shards.len() {
                    self.shards[shard].0.note_tick(self.now, Duration::from_nanos(self.cost_ns(shard)));
                }
            }
        }
    }

    #[test]
    fn a_burst_spreads_before_any_shard_has_played_a_tick_of_it() {
        let town = Town::new(&[3_000; 3]);
        for _ in 0..300 {
            town.order(4).unwrap();
        }
        assert_eq!(town.matches(), [100, 100, 100]);
    }

    #[test]
    fn seats_and_matches_never_exceed_their_limits() {
        let mut town = Town::new(&[1_000; 3]);
        town.limits.tick_budget_percent = 100;
        assert_eq!(town.order_all(8), [192, 192, 192], "1,536 seats");
        assert_eq!(town.order(2), None);
        let mut town = Town::new(&[1_000; 3]);
        town.limits.matches_per_shard = 7;
        assert_eq!(town.order_all(2), [7, 7, 7]);
        town.shards[1].0.release(2);
        assert_eq!((town.order(8), town.order(2)), (Some(1), None));
    }

    #[test]
    fn a_burst_does_not_overshoot_the_budget_before_the_mean_shows_it() {
        let mut town = Town::new(&[5_000; 2]);
        town.limits.seats_per_shard = 100_000;
        town.limits.matches_per_shard = 100_000;
        assert_eq!(town.order_all(4), [499, 499], "60 % of a period at 5 µs a seat");
        for _ in 0..600 {
            town.tick(1);
            town.order_all(4);
            (0..2).for_each(|shard| assert!(town.cost_ns(shard) <= BUDGET_NS + 60_000));
        }
    }

    #[test]
    fn a_shard_is_filled_by_what_its_own_seats_cost() {
        let mut town = Town::new(&[5_000, 20_000]);
        town.limits.seats_per_shard = 2048;
        for _ in 0..50 {
            town.order(4).unwrap();
        }
        town.tick(60 * 30);
        town.order_all(4);
        assert!(town.cost_ns(1) <= BUDGET_NS + 500_000, "{} µs", town.cost_ns(1) / 1000);
        assert!(town.cost_ns(1) >= BUDGET_NS * 9 / 10 && town.cost_ns(0) >= BUDGET_NS * 9 / 10);
        assert!(town.matches()[0] > 3 * town.matches()[1]);
    }

    #[test]
    fn a_slow_shard_gets_nothing_until_its_mean_is_below_the_budget_again() {
        let mut town = Town::new(&[1_000, 1_000]);
        for _ in 0..600 {
            town.tick(1);
            town.shards[0].0.note_tick(town.now, Duration::from_millis(30));
        }
        let has_room = |town: &Town| town.shards[0].0.load(town.now).has_room(4, &town.limits);
        assert!(!has_room(&town));
        assert!((0..20).all(|_| town.order(4) == Some(1)));
        town.tick(60 * 20);
        assert!(has_room(&town));
        town.tick(60 * 40);
        assert_eq!(town.order(4), Some(0), "by now it has less to do than the other");
    }

    #[test]
    fn a_shard_that_does_not_tick_gets_nothing() {
        let mut town = Town::new(&[1_000, 1_000]);
        town.tick(1);
        for _ in 0..90 {
            town.now += PERIOD;
            town.shards[1].0.note_tick(town.now, Duration::from_micros(100));
        }
        assert!((0..20).all(|_| town.order(2) == Some(1)));
        town.tick(1);
        assert_eq!(town.order(2), Some(0));
    }

    #[test]
    fn whatever_comes_and_goes_no_limit_is_passed_and_room_is_found_while_there_is_some() {
        for seed in 0..20 {
            let mut dice = StdRng::seed_from_u64(seed);
            let mut town = Town::new(&[2_000, 5_000, 5_000]);
            town.limits =
                ShardLimits { matches_per_shard: 300, seats_per_shard: 1000, tick_budget_percent: 50, ..town.limits };
            let mut running: Vec<(usize, u8)> = Vec::new();
            for _ in 0..600 {
                for _ in 0..dice.random_range(0..40) {
                    let seats = dice.random_range(2..=8);
                    match town.order(seats) {
                        Some(shard) => running.push((shard, seats)),
                        None => (0..3).for_each(|shard| {
                            let load = town.shards[shard].0.load(town.now);
                            assert!(!load.has_room(u64::from(seats), &town.limits), "seed {seed}: {load:?}");
                        }),
                    }
                }
                for (shard, seats) in running.extract_if(.., |_| dice.random_range(0..100) == 0) {
                    town.shards[shard].0.release(seats);
                }
                town.tick(dice.random_range(0..30));
                for (shard, (status, _)) in town.shards.iter().enumerate() {
                    let load = status.load(town.now);
                    assert!(load.matches <= 300 && load.seats <= 1000, "seed {seed}: {load:?}");
                    assert!(town.cost_ns(shard) <= PERIOD.as_nanos() as u64 / 2 + 100_000, "seed {seed}: {load:?}");
                }
            }
            running.drain(..).for_each(|(shard, seats)| town.shards[shard].0.release(seats));
            assert_eq!(town.matches(), [0, 0, 0]);
        }
    }
}
