//! `Fleet`: a world of matches in which pilots fly every seat, played by ticks.
//!
//! In: seeds, seats, rules. Out: states after each tick. The same calls as a shard makes, without links.
//! *Invariant:* pilots see what a player would: the view of their own seat, never the state itself.
//! *Invariant:* [`Fleet::think`] and [`Fleet::tick`] are apart, so that a bench can time each alone.
//! Start reading at [`Fleet::play`].

use std::sync::Arc;

use astro_shared::assets;
use astro_shared::sim::event::Event;
use astro_shared::sim::fields::Audience;
use astro_shared::sim::input::Input;
use astro_shared::sim::pilot::{self, Skill};
use astro_shared::sim::round::Phase;
use astro_shared::sim::rules::{self, AssetError, Ruleset, RulesetText};
use astro_shared::sim::state::Inputs;
use astro_shared::sim::tables::{MatchParts, MatchRef};
use astro_shared::sim::units::{SEATS_MAX, Seat, Tick};
use astro_shared::sim::{self, MatchKey, SimPlugin};
use bevy_ecs::prelude::*;

use crate::dice::Dice;

/// Ticks after which a match that has not ended is taken for endless: an hour.
const ENDLESS_TICKS: u32 = 60 * 60 * 60;

/// Ticks within which a match starts after it was opened: two seconds.
pub const START_TICKS_MAX: u32 = 120;

/// A built-in preset.
pub fn rules(name: &str) -> Arc<Ruleset> {
    assets::ruleset(name).expect("a built-in preset of that name")
}

/// A built-in preset with some rules changed.
pub fn rules_with(name: &str, edit: impl FnOnce(&mut RulesetText)) -> Arc<Ruleset> {
    edited(name, edit).expect("legal rules")
}

/// A built-in preset with some rules changed; `None` when the result is not legal.
pub fn try_rules_with(name: &str, edit: impl FnOnce(&mut RulesetText)) -> Option<Arc<Ruleset>> {
    edited(name, edit).ok()
}

fn edited(name: &str, edit: impl FnOnce(&mut RulesetText)) -> Result<Arc<Ruleset>, AssetError> {
    let mut text = text_of(&rules(name));
    edit(&mut text);
    Ruleset::new(text, "edited rules", "edited arena").map(Arc::new)
}

/// A ruleset as it was written.
pub fn text_of(ruleset: &Ruleset) -> RulesetText {
    rules::parse("ruleset", &ruleset.to_text()).expect("a ruleset reads its own text")
}

/// What the pilots of one match hold down, and when they begin.
#[derive(Component, Default)]
struct Cockpits {
    held: [Input; SEATS_MAX],
    start_at: Tick,
}

/// A world of matches flown by pilots.
pub struct Fleet {
    pub world: World,
    cockpits: QueryState<(&'static mut Cockpits, &'static mut Inputs, MatchParts)>,
}

impl Default for Fleet {
    fn default() -> Self {
        Fleet::new()
    }
}

impl Fleet {
    pub fn new() -> Fleet {
        let mut world = SimPlugin::world();
        let cockpits = world.query();
        Fleet { world, cockpits }
    }

    /// Opens a match that starts within [`START_TICKS_MAX`].
    ///
    /// When depends on the seed, as on a host it depends on the players: pilots know no seed, so matches that
    /// all started in the same tick would all go the same way.
    pub fn open(&mut self, seed: u64, seats: u8, ruleset: &Arc<Ruleset>) -> MatchKey {
        let key = sim::open(&mut self.world, seed, seats, ruleset.clone());
        let start_at = Tick(1 + Dice::new(seed).below(START_TICKS_MAX as usize) as u32);
        self.world.entity_mut(key.entity()).insert(Cockpits { start_at, ..Cockpits::default() });
        key
    }

    pub fn close(&mut self, key: MatchKey) {
        sim::close(&mut self.world, key);
    }

    /// Every pilot whose turn it is looks and thinks; what all of them hold becomes the next tick's inputs.
    pub fn think(&mut self) {
        for (mut cockpits, mut inputs, parts) in self.cockpits.iter_mut(&mut self.world) {
            let state = MatchRef::from(parts);
            let next = state.round.tick.plus(1);
            inputs.start = next == cockpits.start_at;
            for seat in Seat::first(state.setup.seats) {
                if pilot::thinks(seat, Skill::Regular, next) {
                    let view = state.view(Audience::Seat(seat));
                    let input = pilot::think(&view, &state.setup.ruleset, seat, Skill::Regular, next);
                    cockpits.held[seat.index()] = input;
                }
                inputs.seats[seat.index()] = cockpits.held[seat.index()];
            }
        }
    }

    /// One tick of every match.
    pub fn tick(&mut self) {
        sim::tick(&mut self.world);
    }

    pub fn play(&mut self, ticks: u32) {
        for _ in 0..ticks {
            self.think();
            self.tick();
        }
    }

    /// Plays until the match of `key` is over; everything that happened in it, with its tick.
    pub fn play_out(&mut self, key: MatchKey) -> Vec<(Tick, Event)> {
        let mut happened = Vec::new();
        while !self.is_over(key) {
            self.play(1);
            let state = self.state(key);
            happened.extend(state.events.0.iter().map(|event| (state.round.tick, *event)));
            assert!(state.round.tick.0 < ENDLESS_TICKS, "a match that never ends");
        }
        happened
    }

    pub fn state(&self, key: MatchKey) -> MatchRef<'_> {
        sim::get(&self.world, key).expect("an open match")
    }

    /// What the newest tick applied to a match.
    pub fn inputs(&self, key: MatchKey) -> Inputs {
        *self.world.get::<Inputs>(key.entity()).expect("an open match")
    }

    pub fn hash(&self, key: MatchKey) -> u64 {
        self.state(key).hash()
    }

    pub fn is_over(&self, key: MatchKey) -> bool {
        self.state(key).round.phase == Phase::MatchOver
    }
}
