//! A shard: one thread, one headless Bevy `App`, many matches.
//!
//! In: commands, the network, the clock (read here and handed on as an argument). Out: ticks.
//! Order of a tick, spelled once in [`build`]: Receive → Input → Tick → Record → Replicate → Send.
//! *Invariant:* nothing asynchronous runs on a shard's thread, and nothing on it waits but the pacing.
//! *Invariant:* an `App` in which a system panicked is dropped and never updated again; a fresh one takes its place (`wreck`).
//! *Invariant:* a late shard first catches up, at most [`CATCH_UP_TICKS_MAX`] ticks; beyond that it drops pace, counted and logged.
//! Start reading at [`run`], then [`build`].

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use astro_shared::sim::{self, SimPlugin, units::TICKS_PER_SECOND};
use bevy_app::App;
use bevy_ecs::prelude::*;
use bevy_ecs::schedule::{ScheduleLabel, SingleThreadedExecutor};
use bevy_renet::renet::RenetServer as RenetCore;
use bevy_renet::{RenetReceive, RenetSend, RenetServer};
use nix::time::ClockId;
use rand::rngs::StdRng;
use tokio::sync::oneshot;

use super::capsule;
use super::link::{self, Links, control_config};
use super::matches::{self, Chance, Command, Matches};
use super::panics;
use super::placement::MatchPlace;
pub use super::placement::ShardStatus;
use super::record::{self, RecordSink};
use super::replicate;
use super::spool::Spool;
use super::watch::{self, WatchLimits, Watchers};
use super::wreck;
use crate::directory::Directory;
use crate::hosts::MatchOrder;
use crate::priority::claim_shard_priority;
use crate::telemetry::{LateCause, PAUSE, Queue, RoundTripTicks, ShardMetrics, SnapshotBytes, Tally};
use crate::transport::{LinkId, Traffic, Transport, Vacancy};

/// Length of a tick.
pub const PERIOD: Duration = Duration::from_nanos(1_000_000_000 / TICKS_PER_SECOND as u64);
/// Ticks that a late shard may play back to back before it drops pace. 5 ticks are 83 ms: less than players' input buffers plus a blink.
pub const CATCH_UP_TICKS_MAX: u32 = 5;
/// Commands that may wait for a shard; more are answered as unresponsive.
pub const COMMANDS_MAX: usize = 1024;
/// Commands carried out in one tick; a burst of joins spreads over ticks instead of making one late.
const COMMANDS_PER_TICK_MAX: usize = 64;
/// A shard that panics before it has played this many ticks does not get its demo matches back: they may be what makes
/// it panic.
const DEMOS_TRUSTED_AFTER_TICKS: u32 = 2 * TICKS_PER_SECOND;
/// Between two complaints about dropped pace.
const COMPLAIN_EVERY: Duration = Duration::from_secs(1);

/// The shard's tick.
#[derive(ScheduleLabel, Clone, Debug, PartialEq, Eq, Hash)]
pub struct ShardTick;

/// The parts of a tick, in order.
#[derive(SystemSet, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ShardSet {
    /// Datagrams in, control messages out of them.
    Receive,
    /// Lives of matches; what each seat flies.
    Input,
    /// The sim's own chain.
    Tick,
    Record,
    Replicate,
    /// Control messages and datagrams out.
    Send,
}

/// Unix time of the current tick's beginning. The only clock that systems see.
#[derive(Resource, Clone, Copy, Debug)]
pub struct Now(pub Duration);

/// Every network of this shard.
#[derive(Resource)]
pub struct Transports(pub Vec<Box<dyn Transport>>);

impl Transports {
    /// A place for one link on every transport; `None` when any of them is full.
    pub fn vacancies(&self) -> Option<Vec<Vacancy>> {
        self.0.iter().map(|transport| transport.vacancy()).collect()
    }

    /// Keeps the places for the link that was promised.
    pub fn reserve(&mut self, vacancies: &[Vacancy], link: LinkId) {
        self.0.iter_mut().zip(vacancies).for_each(|(transport, vacancy)| transport.reserve(*vacancy, link));
    }

    /// Gives the places of a promised link back.
    pub fn release(&mut self, link: LinkId) {
        self.0.iter_mut().for_each(|transport| transport.release(link));
    }

    /// Gives the places back on all transports but the one that the link came by.
    pub fn release_elsewhere(&mut self, link: LinkId, came_by: usize) {
        let others = self.0.iter_mut().enumerate().filter(|(index, _)| *index != came_by);
        others.for_each(|(_, transport)| transport.release(link));
    }
}

/// Counts of one tick, moved to the metrics at its end.
#[derive(Resource, Default)]
pub struct Counters {
    traffic: Traffic,
    snapshots: u64,
    snapshot_bytes: Tally<SnapshotBytes>,
    round_trips: Tally<RoundTripTicks>,
    pub finished: u64,
    voided: Reasons,
    closed: Reasons,
    /// The transport of each.
    rejoins: Vec<usize>,
}

/// Few reasons, counted within a tick.
type Reasons = Vec<(&'static str, u64)>;

impl Counters {
    pub fn drop_one(&mut self, reason: &'static str) {
        self.traffic.drop_one(reason);
    }

    pub fn snapshot(&mut self, bytes: usize) {
        self.snapshots += 1;
        self.snapshot_bytes.observe(bytes as u64);
    }

    pub fn round_trip(&mut self, ticks: u32) {
        self.round_trips.observe(u64::from(ticks));
    }

    /// A player came back over the transport of this index.
    pub fn rejoined(&mut self, transport: usize) {
        self.rejoins.push(transport);
    }

    pub fn voided(&mut self, reason: &'static str) {
        count(&mut self.voided, reason);
    }

    pub fn closed(&mut self, reason: &'static str) {
        count(&mut self.closed, reason);
    }

    /// Moves what has ended to the metrics; also what an `App` does that has no further tick.
    fn move_ends(&mut self, metrics: &ShardMetrics) {
        self.voided.drain(..).for_each(|(reason, count)| metrics.matches_voided(reason, count));
        self.closed.drain(..).for_each(|(reason, count)| metrics.links_closed(reason, count));
    }
}

fn count(reasons: &mut Reasons, reason: &'static str) {
    match reasons.iter_mut().find(|(known, _)| *known == reason) {
        Some((_, count)) => *count += 1,
        None => reasons.push((reason, 1)),
    }
}

#[derive(Resource, Clone)]
struct MetricsOut(ShardMetrics);

/// What a shard's `App` is made of.
pub struct ShardParts {
    pub index: usize,
    pub directory: Arc<Directory>,
    pub status: Arc<ShardStatus>,
    pub metrics: ShardMetrics,
    pub spool: Spool,
    pub recorded: mpsc::Sender<Command>,
    pub transports: Vec<Box<dyn Transport>>,
    /// For seeds, secrets and link ids.
    pub chance: StdRng,
    pub watch: WatchLimits,
}

/// Builds the shard's `App`: every plugin, every set, in the order of a tick.
pub fn build(parts: ShardParts, now: Duration) -> App {
    let mut app = App::empty();
    let mut schedule = Schedule::new(ShardTick);
    schedule.set_executor(SingleThreadedExecutor::new());
    app.add_schedule(schedule);
    app.main_mut().update_schedule = Some(ShardTick.intern());
    app.add_plugins(SimPlugin);

    app.insert_resource(Now(now))
        .insert_resource(Transports(parts.transports))
        .insert_resource(Links::new())
        .insert_resource(Counters::default())
        .insert_resource(Chance(parts.chance))
        .insert_resource(parts.watch)
        .insert_resource(Matches::new(parts.index, parts.directory, parts.status))
        .insert_resource(RecordSink::start(parts.spool, parts.recorded, parts.metrics.clone()))
        .insert_resource(RenetServer(RenetCore::new(control_config())))
        .insert_resource(MetricsOut(parts.metrics));

    app.configure_sets(
        ShardTick,
        (ShardSet::Receive, ShardSet::Input, ShardSet::Tick, ShardSet::Record, ShardSet::Replicate, ShardSet::Send)
            .chain(),
    );
    app.configure_sets(ShardTick, (RenetReceive.in_set(ShardSet::Receive), RenetSend.in_set(ShardSet::Send)));
    app.add_systems(
        ShardTick,
        (
            link::receive.in_set(RenetReceive),
            (watch::advance, matches::advance, matches::gather_inputs, capsule::note_inputs)
                .chain()
                .in_set(ShardSet::Input),
            sim::tick.in_set(ShardSet::Tick),
            (record::record_ticks, replicate::keep_events, watch::record).chain().in_set(ShardSet::Record),
            (replicate::replicate, watch::show).chain().in_set(ShardSet::Replicate),
            (matches::send_rosters, watch::tell, link::poll_control).chain().in_set(RenetSend),
            (link::close_links, flush).chain().in_set(ShardSet::Send).after(RenetSend),
        ),
    );
    app
}

/// Lets datagrams out and moves the tick's counts to the metrics.
fn flush(
    now: Res<Now>,
    mut transports: ResMut<Transports>,
    mut counters: ResMut<Counters>,
    matches: Res<Matches>,
    links: Res<Links>,
    metrics: Res<MetricsOut>,
    watched: Query<&Watchers>,
) {
    let metrics = &metrics.0;
    for (index, transport) in transports.0.iter_mut().enumerate() {
        let (network, traffic) = (transport.network(), transport.flush(now.0));
        metrics.received(network, traffic.received_datagrams, traffic.received_bytes);
        metrics.sent(network, traffic.sent_datagrams, traffic.sent_bytes);
        metrics.superseded(traffic.superseded);
        metrics.set_links(network, links.count_of(index));
        traffic.dropped.iter().for_each(|(reason, count)| metrics.dropped(reason, *count));
    }
    let counted = &mut *counters;
    counted.traffic.dropped.drain(..).for_each(|(reason, count)| metrics.dropped(reason, count));
    counted.move_ends(metrics);
    metrics.snapshots(std::mem::take(&mut counted.snapshots), &mut counted.snapshot_bytes);
    metrics.round_trips(&mut counted.round_trips);
    (0..std::mem::take(&mut counted.finished)).for_each(|_| metrics.match_finished());
    metrics.set_matches(matches.counts);
    let networks = counted.rejoins.drain(..).filter_map(|index| Some(transports.0.get(index)?.network()));
    networks.for_each(|network| metrics.rejoined(network));
    metrics.set_spectators(watched.iter().map(|watchers| watchers.links.len()).sum());
    matches.status.links.store(links.count(), Ordering::Relaxed);
}

/// Plays one tick of an `App` at time `now`, commands first. What tests drive in virtual time.
pub fn update(app: &mut App, now: Duration, commands: impl IntoIterator<Item = Command>) {
    app.world_mut().resource_mut::<Now>().0 = now;
    commands.into_iter().for_each(|each| command(app, now, each));
    app.update();
}

/// Carries out one command between two ticks.
pub fn command(app: &mut App, now: Duration, command: Command) {
    app.world_mut().resource_mut::<Now>().0 = now;
    matches::handle_command(app.world_mut(), command);
}

/// Unix time, moving with a clock that never jumps.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    unix_at_start: Duration,
    start: Instant,
}

impl Clock {
    pub fn start() -> Clock {
        let unix_at_start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { unix_at_start, start: Instant::now() }
    }

    pub fn now(&self) -> Duration {
        self.unix_at_start + self.start.elapsed()
    }
}

/// What the thread needs besides the parts of the `App`.
pub struct ShardThread {
    pub index: usize,
    pub clock: Clock,
    pub commands: mpsc::Receiver<Command>,
    pub recorded: mpsc::Receiver<Command>,
    pub stop: Arc<AtomicBool>,
    pub status: Arc<ShardStatus>,
    pub metrics: ShardMetrics,
    /// Taken from the queues and not carried out yet. What a panic leaves of it is for the next `App`.
    pub waiting: VecDeque<Command>,
    /// Where capsules are kept.
    pub capsules: PathBuf,
}

/// Runs a shard until told to stop. `make` builds its `App`: once at first, and again after a panic.
pub fn run(mut thread: ShardThread, mut make: impl FnMut() -> io::Result<App>) {
    claim_shard_priority();
    panics::listen();
    let mut pacing = Pacing::new(thread.clock.now(), thread_cpu());
    let mut app = None;
    let mut ticks_played = 0;
    let mut demos = Vec::new();
    while !thread.stop.load(Ordering::Relaxed) {
        let Some(running) = app.as_mut() else {
            match make() {
                Ok(mut fresh) => {
                    ticks_played = 0;
                    demos.drain(..).for_each(|(order, place)| thread.reopen(&mut fresh, order, place));
                    app = Some(fresh);
                }
                Err(error) => {
                    tracing::error!(shard = thread.index, %error, "shard cannot open its sockets; trying again");
                    std::thread::sleep(Duration::from_millis(200));
                }
            }
            continue;
        };
        pacing.wait(&thread);
        if catch_unwind(AssertUnwindSafe(|| thread.tick(running))).is_ok() {
            ticks_played += 1;
        } else {
            let lost = thread.on_panic(running);
            let come_back = ticks_played >= DEMOS_TRUSTED_AFTER_TICKS && !thread.status.is_draining();
            // Those that come back keep their places; dropping the `App` gives back all it had.
            demos.extend(lost.into_iter().filter(|_| come_back).map(|order| {
                let place = MatchPlace::reserve(&thread.status, order.seats);
                (order, place)
            }));
            // Dropped outside any fence on purpose: a second panic here is beyond repair.
            app = None;
        }
    }
}

impl ShardThread {
    fn tick(&mut self, app: &mut App) {
        let (began, cpu_before) = (self.clock.now(), thread_cpu());
        self.metrics.stamp(began.as_millis() as u64);
        self.waiting.extend(self.recorded.try_iter());
        let before = self.waiting.len();
        self.waiting.extend(self.commands.try_iter().take(COMMANDS_PER_TICK_MAX));
        self.metrics.unqueued(Queue::Commands, self.waiting.len() - before);
        update(app, began, std::iter::from_fn(|| self.waiting.pop_front()));
        let cpu = thread_cpu().saturating_sub(cpu_before);
        self.metrics.tick(self.clock.now().saturating_sub(began), cpu);
        self.status.note_tick(began, cpu);
    }

    /// Buries an `App`; returns the demo matches that should come back.
    fn on_panic(&self, app: &mut App) -> Vec<MatchOrder> {
        let said = panics::take();
        self.metrics.panicked();
        tracing::error!(shard = self.index, said, "a system panicked: the shard's matches end and it starts afresh");
        let demos = wreck::abandon(app, self.index, self.clock.now(), said, &self.capsules);
        if let Some(mut counters) = app.world_mut().get_resource_mut::<Counters>() {
            counters.move_ends(&self.metrics);
        }
        demos
    }

    /// Opens a match whose place is kept.
    fn reopen(&self, app: &mut App, order: MatchOrder, place: MatchPlace) {
        // The other end is kept until the answer is there: an order nobody waits for is not carried out.
        let (reply, _answer) = oneshot::channel();
        command(app, self.clock.now(), Command::Open { order, place, reply });
    }
}

fn thread_cpu() -> Duration {
    ClockId::CLOCK_THREAD_CPUTIME_ID.now().map(Duration::from).unwrap_or_default()
}

/// Absolute deadlines, one period apart.
struct Pacing {
    deadline: Duration,
    /// When the last tick began, and the thread's CPU time then.
    began: Duration,
    cpu: Duration,
    /// Why ticks are late, while they are.
    cause: Option<LateCause>,
    complained: Duration,
    skipped: u32,
}

/// What [`Pacing::begin`] found out about the tick that begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Beginning {
    late: Option<LateCause>,
    /// Ticks before this one that will never be played.
    skipped: u32,
}

impl Pacing {
    fn new(now: Duration, cpu: Duration) -> Pacing {
        Pacing { deadline: now, began: now, cpu, cause: None, complained: Duration::ZERO, skipped: 0 }
    }

    /// Waits for the next tick's deadline and sets the one after it.
    fn wait(&mut self, thread: &ShardThread) {
        let (arrived, cpu) = (thread.clock.now(), thread_cpu());
        if let Some(early) = self.deadline.checked_sub(arrived) {
            std::thread::sleep(early);
        }
        let now = thread.clock.now();
        let Beginning { late, skipped } = self.begin(arrived, cpu, now);
        if let Some(cause) = late {
            thread.metrics.late(cause);
        }
        thread.metrics.skipped(u64::from(skipped));
        self.skipped += skipped;
        if self.skipped > 0 && now.saturating_sub(self.complained) >= COMPLAIN_EVERY {
            tracing::warn!(
                shard = thread.index,
                ticks = self.skipped,
                cause = ?self.cause,
                "the shard is too slow and drops pace"
            );
            (self.complained, self.skipped) = (now, 0);
        }
    }

    /// A tick begins at `now`, after the thread had `arrived` with that much CPU time in all. Sets the next deadline.
    fn begin(&mut self, arrived: Duration, cpu: Duration, now: Duration) -> Beginning {
        let behind = now.saturating_sub(self.deadline);
        let late = behind > PERIOD;
        // Within its period the tick before cannot have made this one late: then an older cause goes on.
        let grew = arrived < self.deadline || arrived.saturating_sub(self.began) > PERIOD;
        if !late {
            self.cause = None;
        } else if grew || self.cause.is_none() {
            self.cause = Some(self.cause_of(arrived, cpu, now));
        }
        let behind_ticks = (behind.as_nanos() / PERIOD.as_nanos()) as u32;
        // Too far behind to catch up without a burst that players would feel: the matches' time stands still instead.
        let skipped = behind_ticks.saturating_sub(CATCH_UP_TICKS_MAX);
        self.deadline += PERIOD * (skipped + 1);
        (self.began, self.cpu) = (now, cpu);
        Beginning { late: self.cause, skipped }
    }

    /// The thread worked until `arrived` and then slept until `now`; the greater part of the delay decides.
    fn cause_of(&self, arrived: Duration, cpu: Duration, now: Duration) -> LateCause {
        let worked = cpu.saturating_sub(self.cpu);
        // What passed at work without work, and the oversleeping.
        let stood_still =
            arrived.saturating_sub(self.began).saturating_sub(worked) + now.saturating_sub(self.deadline.max(arrived));
        if stood_still >= PAUSE {
            LateCause::Pause
        } else if worked > PERIOD {
            LateCause::OwnWork
        } else {
            LateCause::WokenLate
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shard's thread in virtual time.
    struct Thread {
        pacing: Pacing,
        now: Duration,
        cpu: Duration,
    }

    impl Thread {
        fn start() -> Thread {
            let now = Duration::from_secs(1000);
            let mut thread = Thread { pacing: Pacing::new(now, Duration::ZERO), now, cpu: Duration::ZERO };
            assert_eq!(thread.tick(0, 0, 0).late, None);
            thread
        }

        /// The tick takes `wall_ms`, of which `cpu_ms` are work; then the thread sleeps and wakes that long after its deadline.
        fn tick(&mut self, wall_ms: u64, cpu_ms: u64, oversleep_ms: u64) -> Beginning {
            let [wall, cpu, oversleep] = [wall_ms, cpu_ms, oversleep_ms].map(Duration::from_millis);
            let arrived = self.now + wall;
            self.cpu += cpu;
            self.now = if arrived < self.pacing.deadline { self.pacing.deadline + oversleep } else { arrived };
            self.pacing.begin(arrived, self.cpu, self.now)
        }

        fn catch_up(&mut self) {
            (0..20).for_each(|_| _ = self.tick(1, 1, 0));
            assert_eq!(self.tick(1, 1, 0).late, None);
        }
    }

    #[test]
    fn a_late_tick_is_blamed_on_what_made_it_late() {
        let mut thread = Thread::start();
        assert_eq!(thread.tick(3, 3, 2).late, None, "on time");
        assert_eq!(thread.tick(60, 58, 0).late, Some(LateCause::OwnWork));
        assert_eq!(thread.tick(1, 1, 0).late, Some(LateCause::OwnWork), "still catching up");
        thread.catch_up();
        assert_eq!(thread.tick(1, 1, 30).late, Some(LateCause::WokenLate), "overslept");
        thread.catch_up();
        assert_eq!(thread.tick(50, 2, 0).late, Some(LateCause::WokenLate), "others had the CPU");
        thread.catch_up();
        let stopped = thread.tick(1, 1, 900);
        assert_eq!((stopped.late, stopped.skipped), (Some(LateCause::Pause), 49));
        assert_eq!(thread.tick(1, 1, 0).late, Some(LateCause::Pause), "catching up");
    }

    #[test]
    fn a_shard_far_behind_catches_up_five_ticks_and_drops_the_rest() {
        let mut thread = Thread::start();
        let stopped = thread.tick(160, 1, 0);
        assert_eq!(stopped.skipped, 3, "8.6 periods behind");
        let on_time = (0..20).position(|_| thread.tick(0, 0, 0).late.is_none());
        assert_eq!(on_time, Some(4), "five ticks behind; the last of them is less than two");
    }
}
