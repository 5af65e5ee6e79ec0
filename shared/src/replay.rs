//! Replays: a whole match as its setup, the inputs applied, and checks of the state they led to.
//!
//! In: at each tick, the inputs applied and the state after. Out: a file; and from a file, a verdict.
//! *Invariant:* inputs are recorded whatever their source, so verifying never runs a pilot.
//! *Invariant:* a file of another sim version is said to be of another version, never to differ.
//! Layout: [`MAGIC`], a checksum, then one deflated body of a RON header and five columns (see [`Finished::encode`]).
//! Start reading at [`Recorder`] and [`verify`].

use std::sync::Arc;

use bevy_ecs::world::World;
use serde::{Deserialize, Serialize};

use crate::sim::event::Event;
use crate::sim::input::Input;
use crate::sim::rng::Hasher;
use crate::sim::rules::Ruleset;
use crate::sim::state::Inputs;
use crate::sim::tables::MatchRef;
use crate::sim::units::{MatchId, SEATS_MAX, SEATS_MIN, Seat, Tick};
use crate::sim::{self, MatchKey, SIM_VERSION, SimPlugin};

/// First bytes of a replay file; the last of them is the version of this layout.
pub const MAGIC: [u8; 8] = *b"ASTRORP\x01";
/// Ticks between two full checks.
pub const CHECKPOINT_TICKS: u32 = 64;
/// A replay holds no more ticks than this: two hours.
pub const TICKS_MAX: u32 = 2 * 3600 * sim::units::TICKS_PER_SECOND;
/// A replay file inflates to no more than this. Two hours of eight seats changing input every tick fit.
const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What a replay says about itself; RON inside the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    pub sim_version: u32,
    pub match_id: MatchId,
    pub seed: u64,
    pub seats: u8,
    /// [`Ruleset::to_text`]: everything the sim needs besides the seed.
    pub ruleset: String,
    pub started_ms: u64,
    pub ticks: u32,
    /// Who flew which seat, in order of time.
    pub crew: Vec<CrewChange>,
    pub result: ReplayResult,
}

/// The one field that a header of every version has.
#[derive(Deserialize)]
struct Version {
    sim_version: u32,
}

/// From `tick` on, `seat` was flown by this player or pilot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrewChange {
    pub tick: u32,
    pub seat: u8,
    pub name: String,
    pub pilot: bool,
}

/// Tallies at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayResult {
    /// `None`: equal standings at the top.
    pub winner: Option<u8>,
    pub seats: Vec<ReplaySeat>,
}

/// One seat's tally.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplaySeat {
    pub placement: u8,
    pub rounds_won: u8,
    pub kills: u16,
    pub deaths: u16,
    pub assists: u8,
    pub shots: u16,
    pub hits: u16,
    pub survival_ticks: u32,
    pub streak_longest: u8,
}

impl ReplayResult {
    /// The tallies of a match that is over.
    pub fn of(state: &MatchRef<'_>) -> ReplayResult {
        let seat = |seat: Seat| {
            let score = &state.scores[seat.index()];
            ReplaySeat {
                placement: score.placement,
                rounds_won: score.rounds_won,
                kills: score.kills,
                deaths: score.deaths,
                assists: score.assists,
                shots: score.shots,
                hits: score.hits,
                survival_ticks: score.survival_ticks,
                streak_longest: score.streak_longest,
            }
        };
        ReplayResult {
            winner: state.round.winner.checked_sub(1),
            seats: Seat::first(state.setup.seats).map(seat).collect(),
        }
    }
}

/// Collects one match while it is played. Grows by about 3 bytes a tick plus 2 per change of an input.
#[derive(Clone, Debug)]
pub struct Recorder {
    ticks: u32,
    seats: u8,
    start_tick: u32,
    /// Per seat, runs of equal inputs: input byte, then length as a varint.
    runs: [Vec<u8>; SEATS_MAX],
    open_run: [(Input, u32); SEATS_MAX],
    /// 16 bits of the full hash after each tick.
    tick_checks: Vec<u8>,
    /// Every [`CHECKPOINT_TICKS`]: the full hash, then 8 bits per column of the field table.
    checkpoints: Vec<u8>,
    crew: Vec<CrewChange>,
}

impl Recorder {
    pub fn new(seats: u8) -> Recorder {
        Recorder {
            ticks: 0,
            seats,
            start_tick: 0,
            runs: Default::default(),
            open_run: [(Input::NEUTRAL, 0); SEATS_MAX],
            tick_checks: Vec::with_capacity(4096),
            checkpoints: Vec::new(),
            crew: Vec::new(),
        }
    }

    /// Notes who flies `seat` from the next tick on.
    pub fn crew(&mut self, seat: Seat, name: &str, pilot: bool) {
        self.crew.push(CrewChange { tick: self.ticks + 1, seat: seat.0, name: name.into(), pilot });
    }

    /// Notes one tick: what was applied, and the state after it.
    pub fn tick(&mut self, inputs: &Inputs, after: &MatchRef<'_>) {
        self.ticks += 1;
        if inputs.start && self.start_tick == 0 {
            self.start_tick = self.ticks;
        }
        for seat in Seat::first(self.seats) {
            let (input, run) = (inputs.seats[seat.index()], &mut self.open_run[seat.index()]);
            if run.0 != input && run.1 > 0 {
                close_run(&mut self.runs[seat.index()], run);
            }
            *run = (input, run.1 + 1);
        }
        let hash = after.hash();
        self.tick_checks.extend_from_slice(&(hash as u16).to_le_bytes());
        if self.ticks.is_multiple_of(CHECKPOINT_TICKS) {
            self.checkpoints.extend_from_slice(&hash.to_le_bytes());
            self.checkpoints.extend(after.column_hashes().iter().map(|(_, _, hash)| *hash as u8));
        }
    }

    /// Closes the book at the end of a match. Cheap; the work of making the file is in [`Finished::encode`].
    pub fn finish(mut self, match_id: MatchId, started_ms: u64, end: &MatchRef<'_>) -> Finished {
        for seat in Seat::first(self.seats) {
            close_run(&mut self.runs[seat.index()], &mut self.open_run[seat.index()]);
        }
        let header = Header {
            sim_version: SIM_VERSION,
            match_id,
            seed: end.setup.seed,
            seats: self.seats,
            ruleset: end.setup.ruleset.to_text(),
            started_ms,
            ticks: self.ticks,
            crew: std::mem::take(&mut self.crew),
            result: ReplayResult::of(end),
        };
        Finished { header, recorder: self }
    }
}

/// A recorded match, not yet a file.
#[derive(Clone, Debug)]
pub struct Finished {
    pub header: Header,
    recorder: Recorder,
}

impl Finished {
    /// The replay file. Compresses, which takes about a millisecond a minute of match: nothing for a tick's thread.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        // A struct of strings and numbers always serializes.
        put_block(&mut body, ron::to_string(&self.header).unwrap_or_default().as_bytes());
        put_varint(&mut body, u64::from(self.recorder.start_tick));
        for seat in Seat::first(self.header.seats) {
            put_block(&mut body, &self.recorder.runs[seat.index()]);
        }
        put_block(&mut body, &self.recorder.tick_checks);
        put_block(&mut body, &self.recorder.checkpoints);
        let packed = miniz_oxide::deflate::compress_to_vec(&body, 6);
        let mut file = MAGIC.to_vec();
        file.extend(checksum(&packed).to_le_bytes());
        file.extend(packed);
        file
    }
}

/// Of the deflated body: damage anywhere shows, also where a match would play the same.
fn checksum(packed: &[u8]) -> u64 {
    let mut hasher = Hasher::new(0);
    hasher.add_bytes(packed);
    hasher.finish()
}

fn close_run(out: &mut Vec<u8>, run: &mut (Input, u32)) {
    if run.1 > 0 {
        out.push(run.0.bits());
        put_varint(out, u64::from(run.1));
        run.1 = 0;
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_block(out: &mut Vec<u8>, block: &[u8]) {
    put_varint(out, block.len() as u64);
    out.extend_from_slice(block);
}

/// A file that is not a replay we can read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    #[error("not a replay file")]
    NotAReplay,
    #[error("written by another version of the file layout ({0}, this program reads {version})", version = MAGIC[7])]
    Layout(u8),
    #[error("damaged: {0}")]
    Damaged(&'static str),
    #[error("its rules are not usable: {0}")]
    Rules(#[from] sim::rules::AssetError),
    #[error("recorded by sim version {recorded}; this program is sim version {own} and cannot say whether it differs", own = SIM_VERSION)]
    OtherSim { recorded: u32 },
}

/// A replay read into memory.
#[derive(Clone, Debug)]
pub struct Replay {
    pub header: Header,
    pub ruleset: Arc<Ruleset>,
    start_tick: u32,
    /// Per seat, the input of every tick.
    inputs: Vec<Vec<Input>>,
    tick_checks: Vec<u8>,
    checkpoints: Vec<u8>,
}

impl Replay {
    /// Reads a file.
    ///
    /// # Errors
    /// Why it cannot be used. Never panics and never inflates beyond 32 MiB, whatever the bytes.
    pub fn read(file: &[u8]) -> Result<Replay, ReplayError> {
        let (magic, packed) = file.split_at_checked(MAGIC.len()).ok_or(ReplayError::NotAReplay)?;
        if magic[..7] != MAGIC[..7] {
            return Err(ReplayError::NotAReplay);
        }
        if magic[7] != MAGIC[7] {
            return Err(ReplayError::Layout(magic[7]));
        }
        let (sum, packed) = packed.split_first_chunk().ok_or(ReplayError::Damaged("ends early"))?;
        if u64::from_le_bytes(*sum) != checksum(packed) {
            return Err(ReplayError::Damaged("the checksum is another"));
        }
        let body = miniz_oxide::inflate::decompress_to_vec_with_limit(packed, BODY_BYTES_MAX)
            .map_err(|_| ReplayError::Damaged("does not inflate"))?;
        let mut rest = body.as_slice();
        let text = std::str::from_utf8(take_block(&mut rest)?).map_err(|_| ReplayError::Damaged("header"))?;
        // Alone and first: the header of another version may have fields that this one does not know.
        let Version { sim_version } = ron::from_str(text).map_err(|_| ReplayError::Damaged("header"))?;
        if sim_version != SIM_VERSION {
            return Err(ReplayError::OtherSim { recorded: sim_version });
        }
        let header: Header = ron::from_str(text).map_err(|_| ReplayError::Damaged("header"))?;
        if !(SEATS_MIN..=SEATS_MAX).contains(&usize::from(header.seats)) || header.ticks > TICKS_MAX {
            return Err(ReplayError::Damaged("header"));
        }
        let ruleset = Ruleset::from_text("replay", &header.ruleset)?;
        let start_tick = take_varint(&mut rest)? as u32;
        let mut inputs = Vec::new();
        for _ in 0..header.seats {
            inputs.push(expand_runs(take_block(&mut rest)?, header.ticks)?);
        }
        let tick_checks = take_block(&mut rest)?.to_vec();
        let checkpoints = take_block(&mut rest)?.to_vec();
        if tick_checks.len() != 2 * header.ticks as usize || !rest.is_empty() {
            return Err(ReplayError::Damaged("checks"));
        }
        Ok(Replay { header, ruleset, start_tick, inputs, tick_checks, checkpoints })
    }

    /// What was applied in `tick` (1 to `header.ticks`).
    pub fn inputs_at(&self, tick: Tick) -> Inputs {
        let mut inputs = Inputs { start: tick.0 == self.start_tick, ..Inputs::default() };
        for (slot, column) in inputs.seats.iter_mut().zip(&self.inputs) {
            *slot = tick.0.checked_sub(1).and_then(|index| column.get(index as usize)).copied().unwrap_or_default();
        }
        inputs
    }

    /// Replaces one recorded input: for tools and tests that ask "what if".
    pub fn set_input(&mut self, tick: Tick, seat: Seat, input: Input) {
        let column = self.inputs.get_mut(seat.index());
        if let Some(slot) = column.and_then(|column| column.get_mut(tick.0.checked_sub(1)? as usize)) {
            *slot = input;
        }
    }

    /// Plays the match again and hands every event to `on_event`.
    pub fn play(&self, mut on_event: impl FnMut(Tick, &Event)) -> Playback {
        let mut world = SimPlugin::world();
        let key = sim::open(&mut world, self.header.seed, self.header.seats, self.ruleset.clone());
        for tick in 1..=self.header.ticks {
            sim::set_inputs(&mut world, key, self.inputs_at(Tick(tick)));
            sim::tick(&mut world);
            if let Some(state) = sim::get(&world, key) {
                state.events.0.iter().for_each(|event| on_event(Tick(tick), event));
            }
        }
        Playback { world, key }
    }

    /// Plays the match again and compares every tick with what was recorded.
    pub fn verify(&self) -> Verdict {
        let mut world = SimPlugin::world();
        let key = sim::open(&mut world, self.header.seed, self.header.seats, self.ruleset.clone());
        let mut first_difference = None;
        for tick in 1..=self.header.ticks {
            sim::set_inputs(&mut world, key, self.inputs_at(Tick(tick)));
            sim::tick(&mut world);
            let Some(state) = sim::get(&world, key) else { break };
            if first_difference.is_none() && !self.tick_agrees(tick, &state) {
                first_difference = Some(Tick(tick));
            }
            let fields = self.checkpoint_differences(tick, &state);
            if !fields.is_empty() {
                return Verdict::Differs { tick: first_difference.unwrap_or(Tick(tick)), seen_at: Tick(tick), fields };
            }
        }
        if let Some(tick) = first_difference {
            return Verdict::Differs { tick, seen_at: tick, fields: Vec::new() };
        }
        let result = sim::get(&world, key).map(|state| ReplayResult::of(&state));
        if result.as_ref() == Some(&self.header.result) { Verdict::Equal } else { Verdict::ResultDiffers }
    }

    fn tick_agrees(&self, tick: u32, state: &MatchRef<'_>) -> bool {
        let at = 2 * (tick as usize - 1);
        self.tick_checks.get(at..at + 2) == Some(&(state.hash() as u16).to_le_bytes()[..])
    }

    /// Columns of the field table that differ from the checkpoint of this tick, if it has one.
    fn checkpoint_differences(&self, tick: u32, state: &MatchRef<'_>) -> Vec<String> {
        if !tick.is_multiple_of(CHECKPOINT_TICKS) {
            return Vec::new();
        }
        let columns = state.column_hashes();
        let bytes = 8 + columns.len();
        let at = bytes * (tick / CHECKPOINT_TICKS - 1) as usize;
        let Some(recorded) = self.checkpoints.get(at..at + bytes) else { return vec!["(checkpoint missing)".into()] };
        if recorded[..8] == state.hash().to_le_bytes() {
            return Vec::new();
        }
        let differing = columns.iter().zip(&recorded[8..]).filter(|((_, _, hash), byte)| *hash as u8 != **byte);
        let mut fields: Vec<String> = differing.map(|((row, field, _), _)| format!("{row}.{field}")).collect();
        if fields.is_empty() {
            fields.push("(state)".into());
        }
        fields
    }
}

/// A world at the end of a replayed match.
pub struct Playback {
    pub world: World,
    pub key: MatchKey,
}

/// What verifying found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every tick, every checkpoint and the result are as recorded.
    Equal,
    /// The first tick whose state is not as recorded, and the fields that differ at the next checkpoint.
    Differs { tick: Tick, seen_at: Tick, fields: Vec<String> },
    /// Every tick agrees, but the tallies in the header are not those of the match.
    ResultDiffers,
}

fn take_varint(rest: &mut &[u8]) -> Result<u64, ReplayError> {
    let mut value = 0u64;
    for shift in (0..35).step_by(7) {
        let (byte, tail) = rest.split_first().ok_or(ReplayError::Damaged("ends early"))?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(ReplayError::Damaged("number"))
}

fn take_block<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], ReplayError> {
    let length = take_varint(rest)? as usize;
    let (block, tail) = rest.split_at_checked(length).ok_or(ReplayError::Damaged("ends early"))?;
    *rest = tail;
    Ok(block)
}

fn expand_runs(mut runs: &[u8], ticks: u32) -> Result<Vec<Input>, ReplayError> {
    let mut inputs = Vec::new();
    while let Some((bits, rest)) = runs.split_first() {
        runs = rest;
        let input = Input::from_bits(*bits).ok_or(ReplayError::Damaged("input"))?;
        let length = take_varint(&mut runs)? as usize;
        if length > ticks as usize - inputs.len() {
            return Err(ReplayError::Damaged("more inputs than ticks"));
        }
        inputs.resize(inputs.len() + length, input);
    }
    if inputs.len() == ticks as usize { Ok(inputs) } else { Err(ReplayError::Damaged("fewer inputs than ticks")) }
}
