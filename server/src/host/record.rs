//! From played ticks to a record in the spool.
//!
//! In: the inputs applied and the state after each tick. Out: at the end, one [`MatchRecord`] for the spool: with result and
//! replay, or, of a match that was ended, with neither and the reason.
//! *Invariant:* no file is touched and nothing compressed on a tick's thread: records are made on a thread of their own,
//! and the spool's thread writes them and answers when they are safe.
//! *Invariant:* whatever a seat flew is recorded, whoever flew it.
//! Start reading at [`record_ticks`].

use std::sync::mpsc;
use std::time::Duration;

use astro_shared::replay::{Finished, Recorder, ReplayResult, ReplaySeat};
use astro_shared::sim::round::Phase;
use astro_shared::sim::state::Inputs;
use astro_shared::sim::tables::{MatchParts, MatchRef};
use astro_shared::sim::units::Seat;
use astro_shared::sim::{self, MatchKey};
use astro_shared::wire::message::{ResultSeat, ToClient};
use bevy_ecs::prelude::*;

use super::crew::{Crew, Occupant, SeatCrew};
use super::matches::{Command, Hosted, Stage};
use super::shard::{Counters, Now};
use super::spool::{Announced, OnSynced, Spool};
use crate::hosts::{MatchRecord, SeatRecord};
use crate::priority::yield_to_shards;
use crate::telemetry::{Queue, ShardMetrics};

/// What the store keeps of a reason.
const VOID_REASON_CHARS_MAX: usize = 64;

/// The recorder of a match that will be stored.
#[derive(Component)]
pub struct Recording(pub Recorder);

/// A finished match on its way to the spool: still to be made into a record, which takes too long for a tick.
struct Draft {
    record: MatchRecord,
    /// `None` for a match without a result.
    replay: Option<Finished>,
    on_synced: OnSynced,
    /// The spool's promise to wait for it.
    announced: Announced,
}

/// Where finished matches go, and how the answer comes back.
#[derive(Resource)]
pub struct RecordSink {
    spool: Spool,
    /// At most one draft per match, so bounded by the matches of the shard.
    drafts: mpsc::Sender<Draft>,
    /// Likewise.
    recorded: mpsc::Sender<Command>,
    metrics: ShardMetrics,
}

impl RecordSink {
    /// Starts the thread that makes records; it ends with the sink.
    ///
    /// # Panics
    /// When the system gives no thread; a shard without one could never finish a match.
    pub fn start(spool: Spool, recorded: mpsc::Sender<Command>, metrics: ShardMetrics) -> RecordSink {
        let (drafts, waiting) = mpsc::channel::<Draft>();
        let (counted, archive_in) = (metrics.clone(), spool.clone());
        let write = move || {
            yield_to_shards();
            for draft in waiting {
                archive(&archive_in, draft);
                counted.unqueued(Queue::Records, 1);
            }
        };
        std::thread::Builder::new().name("records".into()).spawn(write).expect("a thread for making records");
        RecordSink { spool, drafts, recorded, metrics }
    }

    fn send(&self, record: MatchRecord, replay: Option<Finished>, on_synced: OnSynced) {
        let announced = self.spool.announce();
        self.metrics.queued(Queue::Records);
        let sent = self.drafts.send(Draft { record, replay, on_synced, announced });
        assert!(sent.is_ok(), "the thread that makes records ends only with its sink");
    }
}

/// Compresses the replay and hands the record to the spool, as often as that takes.
fn archive(spool: &Spool, draft: Draft) {
    let replay = draft.replay.map(|replay| replay.encode()).unwrap_or_default();
    let record = MatchRecord { replay, ..draft.record };
    if record.void.is_none() {
        note_finished(&record);
    }
    let mut next = spool.append(record, draft.on_synced);
    while let Err(refused) = next {
        // The spool's queue is full: its disk hangs. Nothing is lost by waiting here.
        std::thread::sleep(Duration::from_millis(50));
        next = spool.append(refused.record, refused.on_synced);
    }
    drop(draft.announced);
}

fn note_finished(record: &MatchRecord) {
    let MatchRecord { match_id, mode, rules, ticks, rounds, winner, seats, replay, .. } = record;
    let players = seats.iter().filter(|seat| !seat.pilot).count();
    let replay_bytes = replay.len();
    tracing::info!(%match_id, mode, rules, players, ticks, rounds, winner, replay_bytes, "match finished");
}

/// Notes the tick just played; hands over the record of a match that is over.
pub(super) fn record_ticks(
    now: Res<Now>,
    sink: Res<RecordSink>,
    mut counters: ResMut<Counters>,
    mut matches: Query<(&mut Recording, &mut Hosted, &mut Crew, &Inputs, MatchParts)>,
) {
    for (mut recording, mut hosted, mut crew, inputs, parts) in &mut matches {
        if !matches!(hosted.stage, Stage::Filling | Stage::Playing) {
            continue;
        }
        let state = MatchRef::from(parts);
        note_crew_changes(&mut recording.0, &mut crew);
        recording.0.tick(inputs, &state);
        if state.round.phase == Phase::MatchOver {
            hosted.stage = Stage::Recording;
            let recorder = std::mem::replace(&mut recording.0, Recorder::new(hosted.order.seats));
            hand_over(&sink, &hosted, &crew, recorder, &state, now.0.as_millis() as u64);
            counters.finished += 1;
        }
    }
}

fn note_crew_changes(recorder: &mut Recorder, crew: &mut Crew) {
    for (index, seat) in crew.seats.iter_mut().enumerate() {
        let flown_by = Some((seat.name.clone(), seat.piloted));
        if seat.recorded != flown_by && seat.occupant != Occupant::Free {
            recorder.crew(Seat(index as u8), &seat.name, seat.piloted);
            seat.recorded = flown_by;
        }
    }
}

fn hand_over(sink: &RecordSink, hosted: &Hosted, crew: &Crew, recorder: Recorder, state: &MatchRef<'_>, ended_ms: u64) {
    let record = record_of(hosted, crew, state, ended_ms);
    let match_id = record.match_id;
    let replay = recorder.finish(match_id, record.started_ms, state);
    let recorded = sink.recorded.clone();
    // The shard may be gone when the disk answers; then nobody waits for the answer either.
    sink.send(record, Some(replay), Box::new(move || _ = recorded.send(Command::Recorded { match_id })));
}

/// Hands over the record of a match that ends without a result, when it is one that is recorded and has begun; whether
/// it was. Only reads, so it can be asked of the ruins of a panicked `App`, too.
pub(super) fn hand_over_void(world: &World, entity: Entity, reason: &str) -> bool {
    let (Some(sink), Some(now)) = (world.get_resource::<RecordSink>(), world.get_resource::<Now>()) else {
        return false;
    };
    let (Some(hosted), Some(crew)) = (world.get::<Hosted>(entity), world.get::<Crew>(entity)) else { return false };
    let Some(state) = sim::get(world, MatchKey::from(entity)) else { return false };
    if hosted.order.demo || hosted.stage != Stage::Playing {
        return false;
    }
    let mut record = record_of(hosted, crew, &state, now.0.as_millis() as u64);
    record.winner = None;
    record.void = Some(reason.chars().take(VOID_REASON_CHARS_MAX).collect());
    record.seats.iter_mut().for_each(|seat| seat.placement = None);
    sink.send(record, None, Box::new(|| {}));
    true
}

/// Everything but the replay.
fn record_of(hosted: &Hosted, crew: &Crew, state: &MatchRef<'_>, ended_ms: u64) -> MatchRecord {
    let ruleset = &state.setup.ruleset;
    let result = ReplayResult::of(state);
    MatchRecord {
        match_id: hosted.order.match_id,
        mode: ruleset.mode.name().into(),
        rules: ruleset.name().into(),
        rules_hash: ruleset.hash(),
        arena: ruleset.arena_name().into(),
        started_ms: hosted.started.as_millis() as u64,
        ended_ms,
        ticks: state.round.tick.0,
        rounds: state.round.number,
        winner: result.winner,
        void: None,
        seats: result.seats.iter().zip(&crew.seats).map(|(tally, seat)| seat_record(tally, seat)).collect(),
        replay: Vec::new(),
    }
}

fn seat_record(tally: &ReplaySeat, seat: &SeatCrew) -> SeatRecord {
    SeatRecord {
        name: seat.name.clone(),
        pilot: seat.occupant == Occupant::Pilot && !seat.left,
        left: seat.left,
        placement: Some(tally.placement),
        rounds_won: tally.rounds_won,
        kills: tally.kills,
        deaths: tally.deaths,
        assists: tally.assists,
        shots: tally.shots,
        hits: tally.hits,
        survival_ticks: tally.survival_ticks,
        streak_longest: tally.streak_longest,
    }
}

/// What players are told about the end.
pub fn result_message(state: &MatchRef<'_>) -> ToClient {
    let result = ReplayResult::of(state);
    let seat = |tally: &ReplaySeat| ResultSeat {
        placement: tally.placement,
        rounds_won: tally.rounds_won,
        kills: tally.kills,
        deaths: tally.deaths,
        assists: tally.assists,
        shots: tally.shots,
        hits: tally.hits,
        survival_ticks: tally.survival_ticks,
        streak_longest: tally.streak_longest,
    };
    ToClient::Result { winner: result.winner, seats: result.seats.iter().map(seat).collect() }
}
