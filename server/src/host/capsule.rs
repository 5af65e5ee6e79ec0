//! Capsules: what is left of matches whose shard panicked, enough to play their last ticks again.
//!
//! In: every tick's inputs, a keyframe now and then; at the end a panic's message. Out: one file for the shard.
//! *Invariant:* a match costs one save every [`KEYFRAME_EVERY`] ticks and a few bytes a tick between, whatever happens.
//! *Invariant:* files are written on a thread of their own, and at most [`CAPSULES_MAX`] are kept.
//! Start reading at [`note_inputs`], then [`Capsule`].

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use astro_shared::sim::input::Input;
use astro_shared::sim::rules::Ruleset;
use astro_shared::sim::state::Inputs;
use astro_shared::sim::tables::{MatchParts, MatchRef};
use astro_shared::sim::units::MatchId;
use astro_shared::sim::{self, SIM_VERSION, SimPlugin};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bevy_ecs::prelude::*;
use serde::{Deserialize, Serialize};

use super::crew::Crew;
use super::matches::Hosted;
use crate::priority::yield_to_shards;

/// Ticks between two keyframes of a match: what has to be played again is at most about a second.
pub const KEYFRAME_EVERY: u32 = 64;
/// Files kept; the oldest go first, so that a shard that panics for ever does not fill the disk.
pub const CAPSULES_MAX: usize = 32;
/// Marks the inputs of a tick that starts the match; inputs of a seat use the seven bits below.
const START: u8 = 0x80;

/// A match's last keyframe and what was flown since.
#[derive(Component, Debug, Default)]
pub struct BlackBox {
    keyframe: Vec<u8>,
    /// Per tick one byte a seat, the first with [`START`] when the tick starts the match.
    inputs: Vec<u8>,
}

impl BlackBox {
    fn note(&mut self, inputs: &Inputs, state: &MatchRef<'_>, stagger: u32) {
        let due = state.round.tick.0.wrapping_add(stagger).is_multiple_of(KEYFRAME_EVERY);
        if due || self.keyframe.is_empty() {
            self.keyframe = state.save();
            self.inputs.clear();
        }
        let first = self.inputs.len();
        let seats = usize::from(state.setup.seats);
        self.inputs.extend(inputs.seats[..seats].iter().map(|input| input.bits()));
        if inputs.start {
            self.inputs[first] |= START;
        }
    }
}

/// Notes what the tick about to be played applies; it is the last thing known if that tick never ends.
pub(super) fn note_inputs(mut matches: Query<(&mut BlackBox, &Hosted, &Inputs, MatchParts)>) {
    for (mut black_box, hosted, inputs, parts) in &mut matches {
        black_box.note(inputs, &MatchRef::from(parts), hosted.stagger);
    }
}

/// A shard's end, as it lies on disk: JSON, so that a person can look into it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capsule {
    /// Of this file's layout.
    pub format: u32,
    pub sim_version: u32,
    pub server_version: String,
    pub commit: String,
    pub shard: usize,
    /// Unix time in milliseconds.
    pub time_ms: u64,
    /// What the panic said, and where.
    pub message: String,
    /// Rules texts by hash.
    pub rules: BTreeMap<String, String>,
    pub matches: Vec<LostMatch>,
}

/// One match of a capsule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostMatch {
    pub match_id: MatchId,
    pub demo: bool,
    pub seats: u8,
    pub seed: u64,
    pub rules_hash: String,
    /// Who flew, seat by seat; empty for a free seat.
    pub names: Vec<String>,
    /// base64 of the state that the inputs begin from.
    pub keyframe: String,
    /// base64: per tick one byte a seat. The last tick is the one that never ended.
    pub inputs: String,
}

/// The layout that this build writes and reads.
const FORMAT: u32 = 1;

/// A capsule that cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum CapsuleError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("not a capsule: {0}")]
    Json(#[from] serde_json::Error),
    #[error("a capsule of format {0}; this program reads format {FORMAT}")]
    Format(u32),
    #[error("recorded by sim version {0}; this program is version {SIM_VERSION}")]
    SimVersion(u32),
    #[error("match {0}: {1}")]
    Match(MatchId, String),
}

impl Capsule {
    /// Collects what is left of a shard's matches. Reads components only: nothing of the dead `App` runs again.
    pub fn collect(world: &mut World, shard: usize, now: Duration, message: String) -> Capsule {
        let mut rules = BTreeMap::new();
        let mut query = world.query::<(&Hosted, &Crew, &BlackBox, MatchParts)>();
        let lost = |(hosted, crew, black_box, parts): (&Hosted, &Crew, &BlackBox, _)| {
            let state = MatchRef::from(parts);
            let rules_hash = astro_shared::api::hex(state.setup.ruleset.hash());
            rules.entry(rules_hash.clone()).or_insert_with(|| state.setup.ruleset.to_text());
            LostMatch {
                match_id: hosted.order.match_id,
                demo: hosted.order.demo,
                seats: state.setup.seats,
                seed: state.setup.seed,
                rules_hash,
                names: crew.seats.iter().map(|seat| seat.name.clone()).collect(),
                keyframe: BASE64.encode(&black_box.keyframe),
                inputs: BASE64.encode(&black_box.inputs),
            }
        };
        let matches = query.iter(world).map(lost).collect();
        Capsule {
            format: FORMAT,
            sim_version: SIM_VERSION,
            server_version: env!("CARGO_PKG_VERSION").into(),
            commit: option_env!("ASTRO_COMMIT").unwrap_or("unknown").into(),
            shard,
            time_ms: now.as_millis() as u64,
            message,
            rules,
            matches,
        }
    }

    /// Writes the capsule into `folder` without making anybody wait.
    pub fn write_later(self, folder: PathBuf) {
        let write = move || {
            yield_to_shards();
            match self.write(&folder) {
                Ok(path) => tracing::error!(capsule = %path.display(), "what is left of the shard's matches"),
                Err(error) => tracing::error!(%error, folder = %folder.display(), "the capsule could not be written"),
            }
        };
        if let Err(error) = std::thread::Builder::new().name("capsule".into()).spawn(write) {
            tracing::error!(%error, "no thread to write the capsule");
        }
    }

    fn write(&self, folder: &Path) -> io::Result<PathBuf> {
        fs::create_dir_all(folder)?;
        let path = folder.join(format!("{}-shard-{}.capsule", self.time_ms, self.shard));
        // Under another name first: half a capsule would only mislead.
        let fresh = path.with_extension("new");
        fs::write(&fresh, serde_json::to_vec_pretty(self)?)?;
        fs::rename(&fresh, &path)?;
        forget_oldest(folder)?;
        Ok(path)
    }

    /// # Errors
    /// When the file is no capsule, or one of another build's sim.
    pub fn read(path: &Path) -> Result<Capsule, CapsuleError> {
        let capsule: Capsule = serde_json::from_slice(&fs::read(path)?)?;
        match capsule {
            Capsule { format, .. } if format != FORMAT => Err(CapsuleError::Format(format)),
            Capsule { sim_version, .. } if sim_version != SIM_VERSION => Err(CapsuleError::SimVersion(sim_version)),
            capsule => Ok(capsule),
        }
    }

    /// Plays a match's last ticks again; `after` sees the state after each. Panics where the shard did, if its sim was
    /// to blame.
    ///
    /// # Errors
    /// When the match's parts do not fit together.
    pub fn play(&self, lost: &LostMatch, mut after: impl FnMut(&MatchRef<'_>)) -> Result<(), CapsuleError> {
        let wrong = |why: &str| CapsuleError::Match(lost.match_id, why.into());
        let text = self.rules.get(&lost.rules_hash).ok_or_else(|| wrong("its rules are not in the capsule"))?;
        let ruleset = Ruleset::from_text("capsule", text).map_err(|error| wrong(&error.to_string()))?;
        let seats = usize::from(lost.seats);
        if !(astro_shared::sim::units::SEATS_MIN..=astro_shared::sim::units::SEATS_MAX).contains(&seats) {
            return Err(wrong("a match has 2 to 8 seats"));
        }
        let keyframe = BASE64.decode(&lost.keyframe).map_err(|_| wrong("the keyframe is not base64"))?;
        let rows = BASE64.decode(&lost.inputs).map_err(|_| wrong("the inputs are not base64"))?;
        let mut world = SimPlugin::world();
        let key = sim::open(&mut world, lost.seed, lost.seats, ruleset);
        if !keyframe.is_empty() {
            sim::load(&mut world, key, &keyframe).map_err(|error| wrong(&error.to_string()))?;
        }
        for row in rows.chunks(seats) {
            let inputs = inputs_of(row).ok_or_else(|| wrong("an input that no client can send"))?;
            sim::set_inputs(&mut world, key, inputs);
            sim::tick(&mut world);
            after(&sim::get(&world, key).ok_or_else(|| wrong("it is gone"))?);
        }
        Ok(())
    }
}

fn inputs_of(row: &[u8]) -> Option<Inputs> {
    let mut inputs = Inputs { start: row.first().is_some_and(|first| first & START != 0), ..Inputs::default() };
    for (slot, byte) in inputs.seats.iter_mut().zip(row) {
        *slot = Input::from_bits(byte & !START)?;
    }
    Some(inputs)
}

fn forget_oldest(folder: &Path) -> io::Result<()> {
    let files = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut capsules: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|extension| extension == "capsule")).collect();
    // Names begin with the time, in as many digits for the next two centuries.
    capsules.sort();
    let surplus = capsules.len().saturating_sub(CAPSULES_MAX);
    capsules.iter().take(surplus).try_for_each(fs::remove_file)
}
