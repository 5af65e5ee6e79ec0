//! What happens when: the first matches, the measured window, the wait for results, the end.
//!
//! In: options, the wish to stop. Out: a [`Report`], or why nothing could be started.
//! The one place in the load generator that reads clocks.
//! *Invariant:* every stage has a time limit, so a run ends whatever the server does.
//! Start reading at [`run`], then [`Stage`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use astro_shared::api::QuickplayRequest;
use astro_shared::openmetrics::Page;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::time::ClockId;

use super::fleet::{Fleet, FleetEvent, PHASES};
use super::joins::{Joins, Next};
use super::ledger::{Ledger, Reached};
use super::options::Options;
use super::outages::RejoinReport;
use super::progress::Progress;
use super::report::{BUSY_SHARE_MAX, Quantiles, Rates, Report, TransportReport, rounded};
use super::window::{Counted, Measured, Reading};
use super::workers::{Boarding, Done, Job, JoinJob, ReturnJob, WORKERS, Workers};
use crate::net::Transport;
use crate::service::{Service, ServiceError};

/// A part of a tick.
const SLOT: Duration = Duration::from_nanos(1_000_000_000 / (60 * PHASES as u64));
/// Slots that may be caught up with; further behind, the sessions' own clocks bridge the gap.
const SLOTS_BEHIND_MAX: u32 = PHASES;
/// The first matches must be in within this; then the window begins without those that are not.
const FILL_WITHIN: Duration = Duration::from_secs(60);
/// After Ctrl-C: time for every bot to say goodbye.
const LEAVE_WITHIN: Duration = Duration::from_millis(1500);
/// How soon an unconfirmed result is asked for again.
const CONFIRM_EVERY: Duration = Duration::from_millis(500);
/// A request for a seat held before that gets no answer, or one to wait, is repeated so often.
const RETURN_ATTEMPTS: u32 = 5;
const RETURN_RETRY: Duration = Duration::from_millis(500);
/// A reading of the metrics that takes longer is given up.
const SCRAPE_WITHIN: Duration = Duration::from_secs(10);

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The first matches fill up; ends when they are in, or at the limit.
    Filling { until: Duration },
    /// The metrics are being read, for the window's beginning.
    Opening { until: Duration },
    /// Figures count.
    Window { until: Duration },
    /// The metrics are being read, for the window's end.
    Closing { until: Duration },
    /// Nothing new is started; results are waited for.
    Draining { until: Duration },
    /// Interrupted: the bots say goodbye.
    Leaving { until: Duration },
}

impl Stage {
    /// Whether matches that end are replaced.
    fn is_starting(self) -> bool {
        matches!(self, Stage::Filling { .. } | Stage::Opening { .. } | Stage::Window { .. })
    }
}

/// Plays matches as the options say, until done or `interrupted`.
///
/// # Errors
/// When nothing could be started: no server there, another wire, no room, wrong options.
pub fn run(options: &Options, interrupted: &AtomicBool) -> Result<Report, ServiceError> {
    raise_file_limit();
    let service = Arc::new(Service::new(&options.server, WORKERS));
    service.check_version()?;
    let mut conductor = Conductor::new(options, Workers::start(service));
    for _ in 0..options.matches {
        conductor.begin_group();
    }
    for slot in 0u32.. {
        if interrupted.load(Ordering::Relaxed) {
            conductor.interrupt();
        }
        conductor.play_slot(slot % PHASES)?;
        if conductor.is_over() {
            break;
        }
        conductor.pacing.wait();
    }
    conductor.progress.end();
    Ok(conductor.report())
}

/// Absolute deadlines, one slot apart.
struct Pacing {
    deadline: Instant,
    slots: u64,
    /// Slots begun more than a slot after their deadline: this process did not get the CPU, or did too much with it.
    late: u64,
}

impl Pacing {
    /// Sleeps until the next slot.
    fn wait(&mut self) {
        self.deadline += SLOT;
        if let Some(early) = self.deadline.checked_duration_since(Instant::now()) {
            thread::sleep(early);
        }
        let behind = self.deadline.elapsed();
        self.slots += 1;
        self.late += u64::from(behind > SLOT);
        if behind > SLOT * SLOTS_BEHIND_MAX {
            self.deadline += behind;
        }
    }
}

/// Bots of servers elsewhere need a file descriptor each; the soft limit is often 1,024.
fn raise_file_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // When it cannot be raised, opening a socket will say so.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

fn cpu_time(clock: ClockId) -> Duration {
    clock.now().map(Duration::from).unwrap_or_default()
}

/// All state of a run.
struct Conductor<'o> {
    options: &'o Options,
    /// Differs from run to run, so that bots of two runs never meet.
    run_id: u64,
    began: Instant,
    stage: Stage,
    interrupted: bool,
    workers: Workers,
    fleet: Fleet,
    ledger: Ledger,
    joins: Joins,
    /// Results and seats to ask for again: when, and how. As many as there are matches and bots at most.
    later: Vec<(Duration, Job)>,
    bots: u64,
    opening: Option<Reading>,
    closing: Option<Reading>,
    pacing: Pacing,
    progress: Progress,
}

impl<'o> Conductor<'o> {
    fn new(options: &'o Options, workers: Workers) -> Conductor<'o> {
        Conductor {
            options,
            run_id: rand::random(),
            began: Instant::now(),
            stage: Stage::Filling { until: FILL_WITHIN },
            interrupted: false,
            workers,
            fleet: Fleet::new(options),
            ledger: Ledger::default(),
            later: Vec::new(),
            bots: 0,
            joins: Joins::default(),
            opening: None,
            closing: None,
            pacing: Pacing { deadline: Instant::now(), slots: 0, late: 0 },
            progress: Progress::new(),
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Asks for the seats of one match.
    fn begin_group(&mut self) {
        let Options { seats, mode, rules, transport, .. } = self.options;
        let group = self.ledger.begin_group(*seats);
        for seat in 0..*seats {
            let request = QuickplayRequest {
                name: format!("Bot {}-{}", group % 1_000_000, seat + 1),
                mode: mode.clone(),
                seats: Some(*seats),
                rules: Some(rules.clone()),
                group: Some(format!("{:016x}-{group}", self.run_id)),
                ..QuickplayRequest::default()
            };
            self.joins.queue(JoinJob { group, request, transport: transport.of(seat), attempt: 1 });
        }
    }

    /// One part of a tick: network, sessions, HTTP, stages.
    fn play_slot(&mut self, phase: u32) -> Result<(), ServiceError> {
        let now = self.now();
        self.fleet.receive(now);
        let (ledger, workers, transport) = (&mut self.ledger, &self.workers, self.options.transport);
        self.fleet.drive(phase, now, |event| match event {
            FleetEvent::Welcomed { number } => ledger.on_welcomed(number),
            FleetEvent::Result { number, result } => ledger.on_result(number, &result),
            FleetEvent::Lost(lost) => {
                let transport = transport.after(lost.transport);
                workers.give(Job::Return(ReturnJob { lost, transport, attempt: 1 }));
            }
            FleetEvent::Closed { number, reached } => ledger.on_closed(number, reached),
        });
        while let Some(done) = self.workers.poll() {
            self.on_done(done, now)?;
        }
        self.follow_ledger();
        self.give_due_jobs(now);
        self.advance_stage(now);
        self.progress.show(now, &self.fleet, &self.ledger);
        Ok(())
    }

    /// Replaces groups that are over while that is wanted, and asks for the results of finished matches.
    fn follow_ledger(&mut self) {
        while self.ledger.poll_group_over().is_some() {
            if self.stage.is_starting() {
                self.begin_group();
            }
        }
        while let Some((index, id)) = self.ledger.poll_finished() {
            self.workers.give(Job::Confirm { index, id });
        }
    }

    fn give_due_jobs(&mut self, now: Duration) {
        let workers = &self.workers;
        while let Some(job) = self.joins.poll(now) {
            workers.give(Job::Join(job));
        }
        while let Some(complaint) = self.joins.poll_complaint() {
            self.progress.complain(&complaint);
        }
        self.later.retain(|(due, job)| {
            let wait = *due > now;
            if !wait {
                workers.give(job.clone());
            }
            wait
        });
    }

    fn on_done(&mut self, done: Done, now: Duration) -> Result<(), ServiceError> {
        match done {
            Done::Joined { job, asked, result: Ok(boarding) } => self.on_joined(&job, asked, boarding, now),
            Done::Joined { job, result: Err(error), .. } => self.on_join_refused(job, error, now)?,
            Done::Returned { job, asked, result } => self.on_returned(job, asked, result, now),
            Done::Confirmed { index, result: Ok(Some(summary)), .. } => _ = self.ledger.on_stored(index, &summary),
            Done::Confirmed { job, .. } => self.later.push((now + CONFIRM_EVERY, job)),
            Done::Scraped { at, result } => {
                let page = result.map(|text| (at, Page::parse(&text))).map_err(|error| error.to_string());
                self.on_scraped(page, now);
            }
        }
        Ok(())
    }

    fn on_joined(&mut self, job: &JoinJob, asked: Instant, boarding: Boarding, now: Duration) {
        self.joins.on_joined();
        let number = self.ledger.on_joined(job.group, boarding.joined.match_id);
        let seed = self.options.seed.wrapping_mul(1_000_003).wrapping_add(self.bots);
        self.bots += 1;
        let asked = asked.saturating_duration_since(self.began);
        if let Err(error) = self.fleet.board(boarding, number, seed, asked, now) {
            self.progress.complain(&error.to_string());
            self.joins.failed += 1;
            self.ledger.on_closed(number, Reached::default());
        }
    }

    /// Puts a bot back into its seat, or asks again when that may help.
    fn on_returned(&mut self, job: ReturnJob, asked: Instant, result: Result<Boarding, ServiceError>, now: Duration) {
        let asked = asked.saturating_duration_since(self.began);
        if matches!(result, Err(ServiceError::Refused { status: 404, .. })) {
            return self.fleet.give_up(&job.lost, true);
        }
        let error = match result {
            Ok(boarding) => match self.fleet.come_back(&job.lost, boarding, asked, now) {
                Ok(()) => return,
                Err(error) => error.to_string(),
            },
            Err(error) => match error.retry_after().or_else(|| error.is_lost().then_some(RETURN_RETRY)) {
                Some(wait) if job.attempt < RETURN_ATTEMPTS && !self.interrupted => {
                    let again = ReturnJob { attempt: job.attempt + 1, ..job };
                    return self.later.push((now + wait, Job::Return(again)));
                }
                _ => error.to_string(),
            },
        };
        self.progress.complain(&error);
        self.fleet.give_up(&job.lost, false);
    }

    /// Tries again when that may help. The very first refusal ends the run: nothing is gained by hammering.
    fn on_join_refused(&mut self, job: JoinJob, error: ServiceError, now: Duration) -> Result<(), ServiceError> {
        if self.joins.succeeded == 0 && !self.interrupted {
            return Err(error);
        }
        let group = job.group;
        let starting = self.stage.is_starting();
        if self.joins.on_refused(job, &error, starting, now) == Next::Never {
            self.ledger.on_join_failed(group);
            if starting {
                self.progress.complain(&error.to_string());
            }
        }
        Ok(())
    }

    fn advance_stage(&mut self, now: Duration) {
        match self.stage {
            Stage::Filling { until } if now >= until || self.ledger.are_in(self.options.matches as usize) => {
                self.scrape();
                self.stage = Stage::Opening { until: now + SCRAPE_WITHIN };
            }
            Stage::Window { until } if now >= until => {
                self.scrape();
                self.stage = Stage::Closing { until: now + SCRAPE_WITHIN };
                self.call_off_joins();
            }
            Stage::Opening { until } | Stage::Closing { until } if now >= until => {
                self.on_scraped(Err("/metrics took too long".into()), now);
            }
            _ => {}
        }
    }

    fn scrape(&self) {
        self.workers.give(Job::Scrape { ops: self.options.ops() });
    }

    /// Seats that would only be asked for later are not asked for any more.
    fn call_off_joins(&mut self) {
        for job in self.joins.call_off() {
            self.ledger.on_join_failed(job.group);
        }
    }

    fn on_scraped(&mut self, server: Result<(Instant, Page), String>, now: Duration) {
        let reading = Reading {
            at: now,
            counted: self.fleet.counted(),
            process_cpu: cpu_time(ClockId::CLOCK_PROCESS_CPUTIME_ID),
            thread_cpu: cpu_time(ClockId::CLOCK_THREAD_CPUTIME_ID),
            slots: self.pacing.slots,
            slots_late: self.pacing.late,
            server,
        };
        match self.stage {
            Stage::Opening { .. } => {
                self.opening = Some(reading);
                self.stage = Stage::Window { until: now + Duration::from_secs(self.options.seconds) };
            }
            Stage::Closing { .. } => {
                self.closing = Some(reading);
                self.stage = Stage::Draining { until: now + Duration::from_secs(self.options.grace) };
            }
            Stage::Leaving { .. } if self.opening.is_some() && self.closing.is_none() => self.closing = Some(reading),
            // An answer that came after its time.
            _ => {}
        }
    }

    /// Ctrl-C: everyone says goodbye, and what was measured so far is reported.
    fn interrupt(&mut self) {
        if self.interrupted {
            return;
        }
        self.interrupted = true;
        let now = self.now();
        if matches!(self.stage, Stage::Window { .. }) {
            self.scrape();
        }
        self.stage = Stage::Leaving { until: now + LEAVE_WITHIN };
        self.later.clear();
        self.call_off_joins();
        self.fleet.leave_all(now);
    }

    fn is_over(&self) -> bool {
        match self.stage {
            Stage::Leaving { until } => self.now() >= until || self.fleet.is_empty(),
            Stage::Draining { until } => {
                let counts = self.ledger.counts();
                let settled = counts.confirmed + counts.contradicted + counts.lost == counts.started;
                self.now() >= until || (self.fleet.is_empty() && self.ledger.is_settled() && settled)
            }
            _ => false,
        }
    }

    /// Of the transports that bots were sent over.
    fn transport_reports(&self, window: Option<&Measured>) -> BTreeMap<&'static str, TransportReport> {
        let used = Transport::ALL.into_iter().filter(|transport| self.fleet.tally(*transport).sessions > 0);
        let report = |transport: Transport| {
            let counted = window.map(|window| &window.counted[transport as usize]);
            (transport.name(), TransportReport::of(self.fleet.tally(transport), counted))
        };
        used.map(report).collect()
    }

    fn report(&self) -> Report {
        let counts = self.ledger.counts();
        let whole = Counted::sum(&self.fleet.counted());
        let measured = self.opening.as_ref().zip(self.closing.as_ref()).map(|(from, to)| Measured::between(from, to));
        let window = measured.as_ref();
        let inside = window.map(|window| Counted::sum(&window.counted));
        let statistics = &inside.as_ref().unwrap_or(&whole).statistics;
        let reports = statistics.margins_late + statistics.margins_in_time;
        let server = window.map(|window| window.server.clone());
        Report {
            clients: self.options.clients(),
            clients_connected_max: self.fleet.connected_max(),
            sessions: self.fleet.sessions(),
            matches_started: counts.started,
            matches_finished: counts.finished,
            results_confirmed: counts.confirmed,
            results_contradicted: counts.contradicted,
            join_ms: Quantiles::of(&self.fleet.join_times()),
            joins_deferred: self.joins.deferred,
            joins_failed: self.joins.failed,
            refusals: self.joins.refusals(),
            window_s: window.map_or(0.0, |window| rounded(window.seconds, 2)),
            rates: inside.as_ref().map(Rates::of).unwrap_or_default(),
            input_to_ack_ms: Quantiles::of(&statistics.input_to_ack),
            snapshot_age_ms: Quantiles::of(&statistics.snapshot_age),
            inputs_late_share: (reports > 0).then(|| rounded(statistics.margins_late as f64 / reports as f64, 5)),
            rejoins: (self.options.rejoin > 0).then(|| RejoinReport::of(self.fleet.rejoins())),
            network_faults: self.fleet.faults().map(|faults| faults.each().collect()),
            transports: self.transport_reports(window),
            state_mismatches: whole.statistics.state_mismatches,
            datagrams_refused: whole.statistics.datagrams_refused,
            datagrams_unsent: self.fleet.unsent(),
            disconnects: self.fleet.disconnects().clone(),
            told: self.ledger.told(),
            shutdown_notices: whole.statistics.shutdown_notices,
            bots_cpu_share: window.map(|window| rounded(window.process_share, 4)),
            bots_main_cpu_share: window.map(|window| rounded(window.thread_share, 4)),
            bots_slots_late_share: window.map(|window| rounded(window.slots_late_share, 5)),
            void: window.is_some_and(|window| window.busiest_core_share() > BUSY_SHARE_MAX),
            server: server.clone().and_then(Result::ok),
            server_missing: server.and_then(Result::err),
            interrupted: self.interrupted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::tests::{serve, version};
    use astro_shared::wire;

    fn options(server: String) -> Options {
        let line = ["bots", "--seats", "2", "--server", &server];
        Options::read(line.map(Into::into)).unwrap()
    }

    fn go() -> AtomicBool {
        AtomicBool::new(false)
    }

    #[test]
    fn no_server_another_wire_and_a_full_server_end_the_run_before_it_begins() {
        let gone = run(&options("http://127.0.0.1:1".into()), &go()).unwrap_err();
        assert!(matches!(gone, ServiceError::Unreachable { .. }), "{gone}");
        let other = run(&options(serve(vec![(200, "", version(7))])), &go()).unwrap_err();
        assert!(matches!(other, ServiceError::Outdated { .. }), "{other}");
        let full = (503, "retry-after: 1\r\n", r#"{"code":"full","detail":"every shard is full","type":"about:blank","title":"Service Unavailable","status":503}"#.to_owned());
        let server = serve(vec![(200, "", version(wire::fingerprint())), full.clone(), full]);
        let full = run(&options(server), &go()).unwrap_err();
        assert_eq!(full.to_string(), "/v1/quickplay was refused with 503 full: every shard is full");
    }

    #[test]
    fn an_interrupted_run_still_reports() {
        let server = serve(vec![(200, "", version(wire::fingerprint()))]);
        let report = run(&options(server), &AtomicBool::new(true)).unwrap();
        assert!(report.interrupted && !report.all_confirmed());
        assert_eq!((report.matches_started, report.rates.snapshots_per_client_s), (0, None));
    }
}
