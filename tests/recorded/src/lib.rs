//! A hundred recorded matches of one minute, and what a build makes of them.
//!
//! In: `inputs.bin`, compiled in: rules, seed, seats, and the input of every seat in every tick. Out: per match, the
//! full hash of its state after each tick.
//! *Invariant:* nothing is made up here. Whoever once flew these ships, what is played are the recorded bytes, so no
//! change of a pilot or of a generator can hide a change of the sim.
//! *Invariant:* knows `shared` alone, and builds for wasm32.
//! `hashes.txt` beside the inputs holds what came of them; `tests/determinism` compares the builds with each other.
//! Beside them, matches that are drawn by seed ([`drawn`]), over all modes and arenas.
//! Start reading at [`RecordedMatch::hashes`].

pub mod drawn;
#[cfg(target_arch = "wasm32")]
mod exports;

use astro_shared::sim::input::Input;
use astro_shared::sim::rules::{AssetError, Ruleset};
use astro_shared::sim::state::Inputs;
use astro_shared::sim::units::Tick;
use astro_shared::sim::{self, SimPlugin};
use serde::{Deserialize, Serialize};

/// Length of every recorded match.
pub const TICKS: u32 = 3600;
/// `hashes.txt` has a number for every so many ticks, and one for the rest.
pub const CHECKPOINT_TICKS: u32 = 64;

/// The inputs, as [`pack`] wrote them.
const INPUTS: &[u8] = include_bytes!("../inputs.bin");
/// More than the recorded matches inflate to; a damaged file ends here.
const INFLATED_BYTES_MAX: usize = 16 << 20;
/// One run of equal inputs is at most this long; a longer one is written as several.
const RUN_TICKS_MAX: usize = u8::MAX as usize;

/// One match: everything its course follows from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedMatch {
    /// [`Ruleset::to_text`].
    pub ruleset: String,
    pub seed: u64,
    pub seats: u8,
    /// The tick whose inputs say "start".
    pub start_tick: u32,
    /// Per seat, the input of every tick.
    pub inputs: Vec<Vec<Input>>,
}

/// What stands in front of the runs.
#[derive(Serialize, Deserialize)]
struct Head {
    ruleset: String,
    seed: u64,
    seats: u8,
    start_tick: u32,
    /// Per seat, how many runs its inputs are.
    runs: Vec<u32>,
}

impl RecordedMatch {
    /// What is applied in `tick` (from 1 on).
    pub fn inputs_at(&self, tick: Tick) -> Inputs {
        let mut inputs = Inputs { start: tick.0 == self.start_tick, ..Inputs::default() };
        for (slot, column) in inputs.seats.iter_mut().zip(&self.inputs) {
            *slot = tick.0.checked_sub(1).and_then(|index| column.get(index as usize)).copied().unwrap_or_default();
        }
        inputs
    }

    /// Plays the match; the full hash of its state after each tick.
    ///
    /// # Errors
    /// When the recorded rules are no rules any more.
    pub fn hashes(&self) -> Result<Vec<u64>, AssetError> {
        let ruleset = Ruleset::from_text("inputs.bin", &self.ruleset)?;
        let mut world = SimPlugin::world();
        let key = sim::open(&mut world, self.seed, self.seats, ruleset);
        let mut play = |tick| {
            sim::set_inputs(&mut world, key, self.inputs_at(Tick(tick)));
            sim::tick(&mut world);
            sim::hash(&world, key).unwrap_or_default()
        };
        Ok((1..=TICKS).map(&mut play).collect())
    }
}

/// The recorded matches.
///
/// # Panics
/// When the compiled-in file is damaged, which a test would have seen.
pub fn matches() -> Vec<RecordedMatch> {
    unpack(INPUTS).expect("inputs.bin is what `pack` wrote")
}

/// Matches as a file: heads in RON, then every run's input, then every run's length; deflated.
pub fn pack(matches: &[RecordedMatch]) -> Vec<u8> {
    let (mut heads, mut runs) = (Vec::new(), Vec::new());
    for recorded in matches {
        let before = runs.len();
        let mut counts = Vec::new();
        for column in &recorded.inputs {
            let start = runs.len();
            let pieces = column.chunk_by(|a, b| a == b).flat_map(|run| run.chunks(RUN_TICKS_MAX));
            runs.extend(pieces.map(|run| (run[0].bits(), run.len() as u8)));
            counts.push((runs.len() - start) as u32);
        }
        debug_assert!(runs.len() >= before + recorded.inputs.len(), "a seat has at least one run");
        let RecordedMatch { ruleset, seed, seats, start_tick, .. } = recorded.clone();
        heads.push(Head { ruleset, seed, seats, start_tick, runs: counts });
    }
    // Plain structs of numbers and strings always serialize.
    let heads = ron::to_string(&heads).unwrap_or_default();
    let mut body = (heads.len() as u32).to_le_bytes().to_vec();
    body.extend(heads.as_bytes());
    body.extend(runs.iter().map(|(input, _)| input));
    body.extend(runs.iter().map(|(_, ticks)| ticks));
    miniz_oxide::deflate::compress_to_vec(&body, 10)
}

/// Reads what [`pack`] wrote; `None` when it is something else.
pub fn unpack(file: &[u8]) -> Option<Vec<RecordedMatch>> {
    let body = miniz_oxide::inflate::decompress_to_vec_with_limit(file, INFLATED_BYTES_MAX).ok()?;
    let (length, rest) = body.split_first_chunk()?;
    let (heads, runs) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    let heads: Vec<Head> = ron::from_str(std::str::from_utf8(heads).ok()?).ok()?;
    let (inputs, ticks) = runs.split_at(runs.len() / 2);
    let mut runs = inputs.iter().zip(ticks);
    let mut column = |count: &u32| -> Option<Vec<Input>> {
        let mut column = Vec::new();
        for (bits, ticks) in runs.by_ref().take(*count as usize) {
            column.resize(column.len() + usize::from(*ticks), Input::from_bits(*bits)?);
        }
        Some(column)
    };
    let mut matches = Vec::new();
    for Head { ruleset, seed, seats, start_tick, runs } in heads {
        let inputs = runs.iter().map(&mut column).collect::<Option<_>>()?;
        matches.push(RecordedMatch { ruleset, seed, seats, start_tick, inputs });
    }
    Some(matches)
}
