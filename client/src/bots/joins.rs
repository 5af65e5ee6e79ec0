//! Seats still to be asked for: so many requests at a time, and none while the service says wait.
//!
//! In: jobs, what became of them, time. Out: the next job to give to the workers; counts of refusals for the report.
//! A service that is full or limits an address says so once to each request under way, not to a thousand bots.
//! *Invariant:* a refusal with a wait holds back every request, so at most [`AT_A_TIME`] are refused per wait.
//! *Invariant:* every job that was queued ends up joined, failed or called off, once.
//! Start reading at [`Joins::poll`] and [`Joins::on_refused`].

use std::collections::VecDeque;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use serde::Serialize;

use super::workers::{JoinJob, WORKERS};
use crate::service::ServiceError;

/// Requests for seats under way: each worker has one and finds the next one waiting.
pub const AT_A_TIME: usize = 2 * WORKERS;
/// A request that gets no answer is repeated so often, this far apart.
const ATTEMPTS: u32 = 5;
const RETRY: Duration = Duration::from_secs(1);
/// Kinds of refusals that are told apart; what comes beyond counts with the last one.
const REFUSALS_MAX: usize = 8;

/// Requests for seats: waiting, under way, and what became of those that are over.
#[derive(Debug, Default)]
pub struct Joins {
    /// As many as there are bots at most.
    waiting: VecDeque<JoinJob>,
    /// Repeats of requests without an answer: when, and which.
    later: Vec<(Duration, JoinJob)>,
    under_way: usize,
    /// Nothing is asked for before this.
    held_until: Duration,
    pub succeeded: u64,
    pub deferred: u64,
    pub failed: u64,
    refusals: Vec<Refusal>,
    /// What a person should hear now: one line for each kind of refusal.
    complaints: Vec<String>,
}

/// Refusals of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    pub code: String,
    /// The first one's message: later ones may differ in numbers.
    pub message: String,
    pub count: u64,
    /// What to do about it; null when nothing is known.
    pub advice: Option<&'static str>,
}

/// What follows from a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The seat will be asked for again.
    Again,
    Never,
}

impl Joins {
    pub fn queue(&mut self, job: JoinJob) {
        self.waiting.push_back(job);
    }

    /// The next request to make, if one may be made now.
    pub fn poll(&mut self, now: Duration) -> Option<JoinJob> {
        let waiting = &mut self.waiting;
        waiting.extend(self.later.extract_if(.., |(due, _)| *due <= now).map(|(_, job)| job));
        if now < self.held_until || self.under_way >= AT_A_TIME {
            return None;
        }
        let job = waiting.pop_front()?;
        self.under_way += 1;
        Some(job)
    }

    pub fn on_joined(&mut self) {
        self.under_way -= 1;
        self.succeeded += 1;
    }

    /// Takes a refusal; `wanted` says whether the seat is still wanted.
    pub fn on_refused(&mut self, job: JoinJob, error: &ServiceError, wanted: bool, now: Duration) -> Next {
        self.under_way -= 1;
        self.count(error);
        let lost = matches!(error, ServiceError::Unreachable { .. }) && job.attempt < ATTEMPTS;
        match error.retry_after() {
            Some(wait) if wanted => {
                self.held_until = self.held_until.max(now + wait);
                self.waiting.push_front(job);
            }
            None if wanted && lost => self.later.push((now + RETRY, JoinJob { attempt: job.attempt + 1, ..job })),
            _ => {
                self.failed += u64::from(wanted);
                return Next::Never;
            }
        }
        self.deferred += 1;
        Next::Again
    }

    /// The next line that a person should read.
    pub fn poll_complaint(&mut self) -> Option<String> {
        self.complaints.pop()
    }

    /// Forgets the requests that were not made yet; those under way come back.
    pub fn call_off(&mut self) -> Vec<JoinJob> {
        self.waiting.drain(..).chain(self.later.drain(..).map(|(_, job)| job)).collect()
    }

    /// The most frequent first.
    pub fn refusals(&self) -> Vec<Refusal> {
        let mut refusals = self.refusals.clone();
        refusals.sort_by_key(|refusal| std::cmp::Reverse(refusal.count));
        refusals
    }

    fn count(&mut self, error: &ServiceError) {
        let ServiceError::Refused { status, code, message, .. } = error else { return };
        let same = |known: &Refusal| known.status == *status && known.code == *code;
        let full = self.refusals.len() == REFUSALS_MAX;
        let known = self.refusals.iter().position(same).or(full.then_some(REFUSALS_MAX - 1));
        match known {
            Some(index) => self.refusals[index].count += 1,
            None => {
                let (code, message, advice) = (code.clone(), message.clone(), error.advice());
                let refusal = Refusal { status: *status, code, message, count: 1, advice };
                self.complaints.push(refusal.to_string());
                self.refusals.push(refusal);
            }
        }
    }
}

impl Display for Refusal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status, self.code, self.message)?;
        self.advice.map_or(Ok(()), |advice| write!(f, " ({advice})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Transport;
    use astro_shared::api::QuickplayRequest;

    const SECOND: Duration = Duration::from_secs(1);

    fn job(group: usize) -> JoinJob {
        let (name, mode) = ("Bot".into(), "last_ship".into());
        let request = QuickplayRequest { name, mode, ..QuickplayRequest::default() };
        JoinJob { group, request, transport: Transport::Udp, attempt: 1 }
    }

    fn refused(status: u16, wait: Option<Duration>) -> ServiceError {
        let (path, code, message) = ("/v1/quickplay".into(), "rate_limited".into(), format!("slow down {wait:?}"));
        ServiceError::Refused { path, status, code, message, retry_after: wait }
    }

    fn poll_all(joins: &mut Joins, now: Duration) -> Vec<JoinJob> {
        std::iter::from_fn(|| joins.poll(now)).collect()
    }

    #[test]
    fn a_thousand_bots_told_to_wait_ask_a_few_times_and_complain_once() {
        let mut joins = Joins::default();
        (0..1000).for_each(|group| joins.queue(job(group)));
        let (mut asked, mut complaints) = (0, 0);
        for tenth in 0..100 {
            let now = SECOND / 10 * tenth;
            for job in poll_all(&mut joins, now) {
                asked += 1;
                assert_eq!(joins.on_refused(job, &refused(429, Some(SECOND * 5)), true, now), Next::Again);
            }
            complaints += std::iter::from_fn(|| joins.poll_complaint()).count();
        }
        assert_eq!((asked, complaints), (2 * AT_A_TIME, 1), "within 10 s, told to wait for 5 s");
        let refusals = joins.refusals();
        assert_eq!((refusals.len(), refusals[0].count), (1, 2 * AT_A_TIME as u64));
        assert!(refusals[0].to_string().contains("--load-test"), "{}", refusals[0]);
        assert_eq!(joins.call_off().len(), 1000, "every one of them is still known");
    }

    #[test]
    fn a_service_without_answer_is_asked_five_times_and_a_wrong_request_once() {
        let mut joins = Joins::default();
        joins.queue(job(0));
        let gone = ServiceError::Unreachable { server: "x".into(), reason: "y".into() };
        for attempt in 1..=ATTEMPTS {
            let now = SECOND * attempt;
            let job = joins.poll(now).unwrap();
            assert!(joins.poll(now).is_none());
            let next = joins.on_refused(job, &gone, true, now);
            assert_eq!(next == Next::Again, attempt < ATTEMPTS);
        }
        joins.queue(job(1));
        let wrong = joins.poll(SECOND * 20).unwrap();
        assert_eq!(joins.on_refused(wrong, &refused(400, None), true, SECOND * 20), Next::Never);
        assert_eq!((joins.failed, joins.deferred), (2, u64::from(ATTEMPTS) - 1));
        assert!(joins.poll(SECOND * 100).is_none());
    }

    #[test]
    fn after_the_window_a_refused_seat_is_not_wanted_and_not_a_failure() {
        let mut joins = Joins::default();
        joins.queue(job(0));
        let under_way = joins.poll(SECOND).unwrap();
        assert_eq!(joins.on_refused(under_way, &refused(503, Some(SECOND)), false, SECOND), Next::Never);
        assert_eq!((joins.failed, joins.call_off().len()), (0, 0));
    }
}
