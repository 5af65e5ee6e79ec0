//! The window that is measured: what was counted by its beginning and its end, and the difference.
//!
//! In: two readings. Out: figures over the time between them.
//! *Invariant:* both ends of every figure are read at the same moment, as near as HTTP allows.
//! Start reading at [`Measured::between`].

use std::thread;
use std::time::{Duration, Instant};

use super::metrics::ServerReport;
use crate::net::{Carried, Transport};
use crate::session::Statistics;
use astro_shared::openmetrics::Page;

/// What was counted for the bots of one transport, or of all.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    pub statistics: Statistics,
    pub carried: Carried,
    /// Connected clients times seconds.
    pub client_seconds: f64,
}

/// By transport, in the order of [`Transport::ALL`].
pub type ByTransport<T> = [T; Transport::ALL.len()];

impl Counted {
    pub fn sum(all: &ByTransport<Counted>) -> Counted {
        let mut sum = Counted::default();
        for counted in all {
            sum.statistics.add(&counted.statistics);
            sum.carried.add(&counted.carried);
            sum.client_seconds += counted.client_seconds;
        }
        sum
    }

    /// What was counted since `earlier`.
    fn since(&self, earlier: &Counted) -> Counted {
        let mut since = self.clone();
        since.statistics.subtract(&earlier.statistics);
        since.carried.subtract(&earlier.carried);
        since.client_seconds -= earlier.client_seconds;
        since
    }
}

/// What was counted by the beginning or the end of the window.
pub struct Reading {
    pub at: Duration,
    pub counted: ByTransport<Counted>,
    pub process_cpu: Duration,
    pub thread_cpu: Duration,
    pub slots: u64,
    pub slots_late: u64,
    /// The server's metrics and when they were read, or why not.
    pub server: Result<(Instant, Page), String>,
}

/// The difference between two readings.
pub struct Measured {
    pub seconds: f64,
    pub counted: ByTransport<Counted>,
    pub process_share: f64,
    pub thread_share: f64,
    pub slots_late_share: f64,
    pub server: Result<ServerReport, String>,
}

impl Measured {
    pub fn between(from: &Reading, to: &Reading) -> Measured {
        let seconds = to.at.saturating_sub(from.at).as_secs_f64().max(1e-9);
        let counted = std::array::from_fn(|index| to.counted[index].since(&from.counted[index]));
        let client_seconds = Counted::sum(&counted).client_seconds;
        let share = |from: Duration, to: Duration| to.saturating_sub(from).as_secs_f64() / seconds;
        let server = match (&from.server, &to.server) {
            (Ok((began, before)), Ok((ended, after))) => {
                let seconds = ended.saturating_duration_since(*began).as_secs_f64().max(1e-9);
                ServerReport::between(before, after, seconds, client_seconds).map_err(|missing| missing.to_string())
            }
            (Err(reason), _) | (_, Err(reason)) => Err(reason.clone()),
        };
        Measured {
            seconds,
            counted,
            process_share: share(from.process_cpu, to.process_cpu),
            thread_share: share(from.thread_cpu, to.thread_cpu),
            slots_late_share: (to.slots_late - from.slots_late) as f64 / (to.slots - from.slots).max(1) as f64,
            server,
        }
    }
}

impl Measured {
    /// How busy the core is that flies the bots. Pinned to one core, all threads share it.
    pub fn busiest_core_share(&self) -> f64 {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        if cores == 1 { self.process_share } else { self.thread_share }
    }
}
