//! A shard: one thread, one headless Bevy `App`, many matches.
//!
//! In: commands, the network, the clock (read here and handed on as an argument). Out: ticks.
//! Order of a tick, spelled once in [`build`]: Receive → Input → Tick → Record → Replicate → Send.
//! *Invariant:* nothing asynchronous runs on a shard's thread, and nothing on it waits but the pacing.
//! *Invariant:* an `App` in which a system panicked is dropped and never updated again; a fresh one takes its place (`wreck`).
//! *Invariant:* a late shard first catches up, at most [`CATCH_UP_TICKS_MAX`] ticks; beyond that it drops pace, counted and logged.
//! Start reading at [`run`], then [`build`].

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
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
use super::record::{self, RecordSink};
use super::replicate;
use super::spool::Spool;
use super::wreck;
use crate::directory::Directory;
use crate::hosts::MatchOrder;
use crate::priority::claim_shard_priority;
use crate::telemetry::ShardMetrics;
use crate::transport::{Traffic, Transport};

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

/// Every network of this shard. The first is UDP.
#[derive(Resource)]
pub struct Transports(pub Vec<Box<dyn Transport>>);

/// Counts of one tick, moved to the metrics at its end.
#[derive(Resource, Default)]
pub struct Counters {
    traffic: Traffic,
    pub snapshots: u64,
    pub snapshot_bytes: u64,
    pub finished: u64,
}

impl Counters {
    pub fn drop_one(&mut self, reason: &'static str) {
        self.traffic.drop_one(reason);
    }
}

#[derive(Resource, Clone)]
struct MetricsOut(ShardMetrics);

/// What placement needs to know of a shard; written by the shard and by whoever allocates.
#[derive(Debug, Default)]
pub struct ShardStatus {
    /// Seats of all matches, from the moment they are ordered.
    pub seats: AtomicI64,
    /// Seats held by people.
    pub players: AtomicUsize,
    pub links: AtomicUsize,
    /// Mean thread CPU time of a tick over the last ten seconds or so, in 1/512 nanoseconds.
    tick_mean_scaled: AtomicU64,
}

impl ShardStatus {
    /// Mean thread CPU time of a tick, in nanoseconds.
    pub fn tick_mean_ns(&self) -> u64 {
        self.tick_mean_scaled.load(Ordering::Relaxed) / 512
    }

    /// Exponential mean with a weight of one in 512 ticks: about eight and a half seconds. Kept scaled by 512
    /// so that the integer division loses nothing. Only the shard's own thread writes.
    fn note_tick(&self, cpu: Duration) {
        let scaled = self.tick_mean_scaled.load(Ordering::Relaxed);
        self.tick_mean_scaled.store(scaled - scaled / 512 + cpu.as_nanos() as u64, Ordering::Relaxed);
    }
}

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
        .insert_resource(Matches::new(parts.index, parts.directory, parts.status))
        .insert_resource(RecordSink::start(parts.spool, parts.recorded))
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
            (matches::advance, matches::gather_inputs, capsule::note_inputs).chain().in_set(ShardSet::Input),
            sim::tick.in_set(ShardSet::Tick),
            (record::record_ticks, replicate::keep_events).chain().in_set(ShardSet::Record),
            replicate::replicate.in_set(ShardSet::Replicate),
            (matches::send_rosters, link::poll_control).chain().in_set(RenetSend),
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
) {
    let metrics = &metrics.0;
    for transport in &mut transports.0 {
        let traffic = transport.flush(now.0);
        metrics.received(traffic.received_datagrams, traffic.received_bytes);
        metrics.sent(traffic.sent_datagrams, traffic.sent_bytes);
        traffic.dropped.iter().for_each(|(reason, count)| metrics.dropped(reason, *count));
    }
    let counted = std::mem::take(&mut *counters);
    counted.traffic.dropped.iter().for_each(|(reason, count)| metrics.dropped(reason, *count));
    metrics.snapshots(counted.snapshots);
    (0..counted.finished).for_each(|_| metrics.match_finished());
    metrics.set_matches(matches.count());
    metrics.set_links(links.count());
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
    /// Where capsules are kept.
    pub capsules: PathBuf,
}

/// Runs a shard until told to stop. `make` builds its `App`: once at first, and again after a panic.
pub fn run(mut thread: ShardThread, mut make: impl FnMut() -> io::Result<App>) {
    claim_shard_priority();
    panics::listen();
    let mut pacing = Pacing::new(thread.clock.now());
    let mut app = None;
    let mut ticks_played = 0;
    let mut demos = Vec::new();
    while !thread.stop.load(Ordering::Relaxed) {
        let Some(running) = app.as_mut() else {
            match make() {
                Ok(mut fresh) => {
                    ticks_played = 0;
                    demos.drain(..).for_each(|order| thread.reopen(&mut fresh, order));
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
            demos = thread.on_panic(running);
            if ticks_played < DEMOS_TRUSTED_AFTER_TICKS {
                demos.clear();
            }
            // Dropped outside any fence on purpose: a second panic here is beyond repair.
            app = None;
        }
    }
}

impl ShardThread {
    fn tick(&mut self, app: &mut App) {
        let (began, cpu_before) = (self.clock.now(), thread_cpu());
        self.metrics.stamp(began.as_millis() as u64);
        let waiting = self.recorded.try_iter().chain(self.commands.try_iter().take(COMMANDS_PER_TICK_MAX));
        update(app, began, waiting.collect::<Vec<_>>());
        let cpu = thread_cpu().saturating_sub(cpu_before);
        self.metrics.tick(self.clock.now().saturating_sub(began), cpu);
        self.status.note_tick(cpu);
    }

    /// Buries an `App`; returns the demo matches that should come back.
    fn on_panic(&self, app: &mut App) -> Vec<MatchOrder> {
        let said = panics::take();
        tracing::error!(shard = self.index, said, "a system panicked: the shard's matches end and it starts afresh");
        wreck::abandon(app, self.index, self.clock.now(), said, &self.capsules)
    }

    fn reopen(&self, app: &mut App, order: MatchOrder) {
        self.status.seats.fetch_add(i64::from(order.seats), Ordering::Relaxed);
        // The other end is kept until the answer is there: an order nobody waits for is not carried out.
        let (reply, _answer) = oneshot::channel();
        command(app, self.clock.now(), Command::Open { order, reply });
    }
}

fn thread_cpu() -> Duration {
    ClockId::CLOCK_THREAD_CPUTIME_ID.now().map(Duration::from).unwrap_or_default()
}

/// Absolute deadlines, one period apart.
struct Pacing {
    deadline: Duration,
    complained: Duration,
    skipped: u32,
}

impl Pacing {
    fn new(now: Duration) -> Pacing {
        Pacing { deadline: now, complained: Duration::ZERO, skipped: 0 }
    }

    /// Waits for the next tick's deadline and sets the one after it.
    fn wait(&mut self, thread: &ShardThread) {
        let now = thread.clock.now();
        if let Some(early) = self.deadline.checked_sub(now) {
            std::thread::sleep(early);
        }
        let now = thread.clock.now();
        let behind = now.saturating_sub(self.deadline);
        if behind > PERIOD {
            thread.metrics.late();
        }
        let behind_ticks = (behind.as_nanos() / PERIOD.as_nanos()) as u32;
        if behind_ticks > CATCH_UP_TICKS_MAX {
            // Too far behind to catch up without a burst that players would feel: the matches' time stands still instead.
            let skip = behind_ticks - CATCH_UP_TICKS_MAX;
            self.deadline += PERIOD * skip;
            self.skipped += skip;
            thread.metrics.skipped(u64::from(skip));
        }
        if self.skipped > 0 && now.saturating_sub(self.complained) >= COMPLAIN_EVERY {
            tracing::warn!(shard = thread.index, ticks = self.skipped, "the shard is too slow and drops pace");
            (self.complained, self.skipped) = (now, 0);
        }
        self.deadline += PERIOD;
    }
}
