//! Connections that bots lose on purpose, and what became of coming back.
//!
//! In: time, how often. Out: when a bot loses its connection, how, and for how long; counts and times of returns.
//! *Invariant:* equal seeds make equal outages.
//! Start reading at [`Outages::poll`].

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;

use super::report::Quantiles;
use crate::session::Histogram;

/// What `--rejoin N` takes for a match: about one of the rules `sprint`.
pub const MATCH: Duration = Duration::from_secs(25);
/// Most outages are shorter than a match is shown after its end, so that the bot still hears its result...
const SHORT_MS: std::ops::Range<u64> = 100..2500;
/// ...but one in so many lasts until the server has closed the silent link.
const LONG_MS: std::ops::Range<u64> = 5500..8000;
const ONE_IN_IS_LONG: u32 = 5;

/// How a connection is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The socket is gone.
    Cut,
    /// The bot neither reads nor sends, like a machine that sleeps.
    Silence,
    /// The bot has another address all of a sudden: the old connection is alive when the new one comes.
    NewPort,
}

/// One lost connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    pub loss: Loss,
    /// When the bot asks for its seat again.
    pub back_at: Duration,
}

/// When one bot loses its connection.
pub struct Outages {
    random: StdRng,
    every: Duration,
    due: Duration,
}

impl Outages {
    /// `None` when the bot never loses it.
    pub fn new(per_match: u32, seed: u64, now: Duration) -> Option<Outages> {
        let every = MATCH.checked_div(per_match)?;
        let mut outages = Outages { random: StdRng::seed_from_u64(seed), every, due: now };
        outages.plan(now);
        Some(outages)
    }

    /// The outage that begins now, if one does.
    pub fn poll(&mut self, now: Duration) -> Option<Outage> {
        if now < self.due {
            return None;
        }
        let loss = [Loss::Cut, Loss::Silence, Loss::NewPort][self.random.random_range(0..3)];
        let range = if self.random.random_ratio(1, ONE_IN_IS_LONG) { LONG_MS } else { SHORT_MS };
        let away = if loss == Loss::NewPort { 0 } else { self.random.random_range(range) };
        let back_at = now + Duration::from_millis(away);
        self.plan(back_at);
        Some(Outage { loss, back_at })
    }

    /// The next one: half to one and a half times the mean from `now`.
    fn plan(&mut self, now: Duration) {
        self.due = now + self.every.mul_f64(self.random.random_range(0.5..1.5));
    }
}

/// What became of bots that came back.
#[derive(Clone, Debug, Default)]
pub struct Rejoins {
    /// Seats asked for again.
    pub asked: u64,
    /// Seats got again: the server has welcomed the bot.
    pub won: u64,
    pub refused: u64,
    /// The match was over by then.
    pub too_late: u64,
    /// Bots that were told what they had missed.
    pub told: u64,
    /// From asking over HTTP to the welcome.
    pub times: Histogram,
}

/// The same for the report.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RejoinReport {
    pub asked: u64,
    pub won: u64,
    pub refused: u64,
    /// The match was over by then.
    pub too_late: u64,
    pub told_what_they_missed: u64,
    pub ms: Quantiles,
}

impl RejoinReport {
    pub fn of(rejoins: &Rejoins) -> RejoinReport {
        let Rejoins { asked, won, refused, too_late, told, ref times } = *rejoins;
        RejoinReport { asked, won, refused, too_late, told_what_they_missed: told, ms: Quantiles::of(times) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outages(per_match: u32, seed: u64) -> Vec<Outage> {
        let mut outages = Outages::new(per_match, seed, Duration::ZERO).unwrap();
        (0..600_000).filter_map(|tick| outages.poll(Duration::from_millis(tick * 10))).collect()
    }

    #[test]
    fn outages_come_about_as_often_as_asked_in_every_kind_and_equal_seeds_repeat_them() {
        assert!(Outages::new(0, 1, Duration::ZERO).is_none());
        let all = outages(2, 7);
        // 6,000 s are 240 matches; the mean outage is 1.6 s, which makes them rarer.
        assert!((360..=480).contains(&all.len()), "{}", all.len());
        for loss in [Loss::Cut, Loss::Silence, Loss::NewPort] {
            assert!(all.iter().filter(|outage| outage.loss == loss).count() > all.len() / 4, "{loss:?}");
        }
        assert_eq!(all, outages(2, 7));
        assert_ne!(all, outages(2, 8));
    }
}
