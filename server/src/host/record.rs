//! From played ticks to a record in the spool.
//!
//! In: the inputs applied and the state after each tick. Out: at the end, one [`MatchRecord`] for the spool.
//! *Invariant:* no file is touched here: the spool's own thread writes, and answers when the record is safe.
//! *Invariant:* whatever a seat flew is recorded, whoever flew it.
//! Start reading at [`record_ticks`].

use std::sync::{Mutex, PoisonError, mpsc};

use astro_shared::replay::{Recorder, ReplayResult, ReplaySeat};
use astro_shared::sim::round::Phase;
use astro_shared::sim::state::{Inputs, MatchParts, MatchRef};
use astro_shared::sim::units::Seat;
use astro_shared::wire::message::{ResultSeat, ToClient};
use bevy_ecs::prelude::*;

use super::crew::{Crew, Occupant, SeatCrew};
use super::matches::{Command, Hosted, Stage};
use super::shard::{Counters, Now};
use super::spool::{Append, Spool};
use crate::hosts::{MatchRecord, SeatRecord};

/// The recorder of a match that will be stored.
#[derive(Component)]
pub struct Recording(pub Recorder);

/// Where finished records go, and how the answer comes back.
#[derive(Resource)]
pub struct RecordSink {
    pub spool: Spool,
    /// At most one message per match, so bounded by the matches of the shard.
    pub recorded: mpsc::Sender<Command>,
    /// Records that the spool had no room for; offered again every tick. At most one per match.
    /// In a lock only because resources must be `Sync`; nobody else ever takes it.
    refused: Mutex<Vec<Append>>,
}

impl RecordSink {
    pub fn new(spool: Spool, recorded: mpsc::Sender<Command>) -> RecordSink {
        RecordSink { spool, recorded, refused: Mutex::default() }
    }

    fn offer(&mut self, append: Append) {
        if let Err(refused) = self.spool.append(append.record, append.on_synced) {
            self.refused().push(*refused);
        }
    }

    fn refused(&mut self) -> &mut Vec<Append> {
        self.refused.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes the tick just played; hands over the record of a match that is over.
pub(super) fn record_ticks(
    now: Res<Now>,
    mut sink: ResMut<RecordSink>,
    mut counters: ResMut<Counters>,
    mut matches: Query<(&mut Recording, &mut Hosted, &mut Crew, &Inputs, MatchParts)>,
) {
    for append in std::mem::take(sink.refused()) {
        sink.offer(append);
    }
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
            hand_over(&mut sink, &hosted, &crew, recorder, &state, now.0.as_millis() as u64);
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

fn hand_over(
    sink: &mut RecordSink,
    hosted: &Hosted,
    crew: &Crew,
    recorder: Recorder,
    state: &MatchRef<'_>,
    ended_ms: u64,
) {
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
        replay: recorder.finish(match_id, started_ms, state),
    };
    let recorded = sink.recorded.clone();
    // The shard may be gone when the disk answers; then nobody waits for the answer either.
    sink.offer(Append { record, on_synced: Box::new(move || _ = recorded.send(Command::Recorded { match_id })) });
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
