//! From played ticks to a record in the spool.
//!
//! In: the inputs applied and the state after each tick. Out: at the end, one [`MatchRecord`] for the spool.
//! *Invariant:* no file is touched and nothing compressed on a tick's thread: records are made on a thread of their own,
//! and the spool's thread writes them and answers when they are safe.
//! *Invariant:* whatever a seat flew is recorded, whoever flew it.
//! Start reading at [`record_ticks`].

use std::sync::mpsc;
use std::time::Duration;

use astro_shared::replay::{Finished, Recorder, ReplayResult, ReplaySeat};
use astro_shared::sim::round::Phase;
use astro_shared::sim::state::{Inputs, MatchParts, MatchRef};
use astro_shared::sim::units::Seat;
use astro_shared::wire::message::{ResultSeat, ToClient};
use bevy_ecs::prelude::*;

use super::crew::{Crew, Occupant, SeatCrew};
use super::matches::{Command, Hosted, Stage};
use super::shard::{Counters, Now};
use super::spool::{OnSynced, Spool};
use crate::hosts::{MatchRecord, SeatRecord};
use crate::priority::yield_to_shards;
use crate::telemetry::{Queue, ShardMetrics};

/// The recorder of a match that will be stored.
#[derive(Component)]
pub struct Recording(pub Recorder);

/// A finished match on its way to the spool: still to be made into a record, which takes too long for a tick.
struct Draft {
    record: MatchRecord,
    replay: Finished,
    on_synced: OnSynced,
}

/// Where finished matches go, and how the answer comes back.
#[derive(Resource)]
pub struct RecordSink {
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
        let counted = metrics.clone();
        let write = move || {
            yield_to_shards();
            for draft in waiting {
                archive(&spool, draft);
                counted.unqueued(Queue::Records, 1);
            }
        };
        std::thread::Builder::new().name("records".into()).spawn(write).expect("a thread for making records");
        RecordSink { drafts, recorded, metrics }
    }
}

/// Compresses the replay and hands the record to the spool, as often as that takes.
fn archive(spool: &Spool, draft: Draft) {
    let record = MatchRecord { replay: draft.replay.encode(), ..draft.record };
    let mut next = spool.append(record, draft.on_synced);
    while let Err(refused) = next {
        // The spool's queue is full: its disk hangs. Nothing is lost by waiting here.
        std::thread::sleep(Duration::from_millis(50));
        next = spool.append(refused.record, refused.on_synced);
    }
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
    let (match_id, started_ms) = (hosted.order.match_id, hosted.started.as_millis() as u64);
    let result = ReplayResult::of(state);
    let record = MatchRecord {
        match_id,
        mode: state.setup.ruleset.mode.name().into(),
        rules: state.setup.ruleset.name().into(),
        rules_hash: state.setup.ruleset.hash(),
        arena: state.setup.ruleset.arena_name().into(),
        started_ms,
        ended_ms,
        ticks: state.round.tick.0,
        rounds: state.round.number,
        winner: result.winner,
        seats: result.seats.iter().zip(&crew.seats).map(|(tally, seat)| seat_record(tally, seat)).collect(),
        replay: Vec::new(),
    };
    let replay = recorder.finish(match_id, started_ms, state);
    let recorded = sink.recorded.clone();
    // The shard may be gone when the disk answers; then nobody waits for the answer either.
    let on_synced = Box::new(move || _ = recorded.send(Command::Recorded { match_id }));
    sink.metrics.queued(Queue::Records);
    let sent = sink.drafts.send(Draft { record, replay, on_synced });
    assert!(sent.is_ok(), "the thread that makes records ends only with its sink");
}

fn seat_record(tally: &ReplaySeat, seat: &SeatCrew) -> SeatRecord {
    SeatRecord {
        name: seat.name.clone(),
        pilot: seat.occupant == Occupant::Pilot && !seat.left,
        left: seat.left,
        placement: tally.placement,
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
