//! Matches drawn by seed over all presets and arenas: half of their seats fly at random, half are pilots.
//!
//! In: a seed. Out: a match, and one hash over its state after every tick.
//! *Invariant:* everything follows from the seed; what is drawn changes when presets, arenas or pilots do, so these
//! hashes are compared between builds and between worlds, and never kept.
//! Start reading at [`Drawn::of`].

use std::sync::Arc;

use astro_shared::assets::{ARENAS, RULES};
use astro_shared::sim::arena::ArenaText;
use astro_shared::sim::fields::Audience;
use astro_shared::sim::input::Input;
use astro_shared::sim::items::Item;
use astro_shared::sim::pilot::{self, Skill};
use astro_shared::sim::rng::Hasher;
use astro_shared::sim::rules::{RulesText, Ruleset, RulesetText, parse};
use astro_shared::sim::state::Inputs;
use astro_shared::sim::units::{SEATS_MAX, SEATS_MIN, Seat, Tick};
use astro_shared::sim::{self, MatchKey, SimPlugin};
use bevy_ecs::world::World;

/// Length of every drawn match: 20 seconds, of which most are live.
pub const DRAWN_TICKS: u32 = 1200;
/// A random input is held this long.
const HELD_TICKS: u32 = 8;

/// A match that a seed has drawn.
#[derive(Clone, Debug)]
pub struct Drawn {
    pub seed: u64,
    pub seats: u8,
    pub ruleset: Arc<Ruleset>,
    held: [Input; SEATS_MAX],
}

fn draw(seed: u64, what: u32, below: usize) -> usize {
    let mut hasher = Hasher::new(seed);
    hasher.add(what);
    (hasher.finish() % below as u64) as usize
}

impl Drawn {
    /// Rules, arena and seats of this seed. Every preset meets every arena.
    ///
    /// # Panics
    /// When a built-in document is not what it should be, which tests would have seen.
    pub fn of(seed: u64) -> Drawn {
        let (file, rules) = RULES[draw(seed, 1, RULES.len())];
        let (arena_file, arena) = ARENAS[draw(seed, 2, ARENAS.len())];
        let mut rules: RulesText = parse(file, rules).expect("a built-in preset");
        let arena: ArenaText = parse(arena_file, arena).expect("a built-in arena");
        rules.arena.clone_from(&arena.name);
        (rules.countdown_ms, rules.items.first_ms) = (500, 1500);
        if draw(seed, 3, 2) == 0 {
            rules.items.allowed = Item::ALL[1..].to_vec();
            rules.pod.enabled = true;
        }
        let mode = rules.mode;
        let possible: Vec<u8> =
            (SEATS_MIN as u8..=SEATS_MAX as u8).filter(|seats| mode.check_seats(*seats).is_ok()).collect();
        let seats = possible[draw(seed, 4, possible.len())];
        let ruleset = Ruleset::new(RulesetText { rules, arena }, file, arena_file).expect("a preset in any arena");
        Drawn { seed, seats, ruleset: Arc::new(ruleset), held: Default::default() }
    }

    pub fn open(&self, world: &mut World) -> MatchKey {
        sim::open(world, self.seed, self.seats, self.ruleset.clone())
    }

    /// Sets what the next tick of the match applies.
    pub fn fly(&mut self, world: &mut World, key: MatchKey) {
        let Some(state) = sim::get(world, key) else { return };
        let next = state.round.tick.plus(1);
        for seat in Seat::first(self.seats) {
            let pilot = draw(self.seed, 8 + u32::from(seat.0), 2) == 0;
            if pilot && pilot::thinks(seat, Skill::Regular, next) {
                let view = state.view(Audience::Seat(seat));
                self.held[seat.index()] = pilot::think(&view, &self.ruleset, seat, Skill::Regular, next);
            } else if !pilot && next.0.is_multiple_of(HELD_TICKS) {
                let bits = draw(self.seed, next.0 << 3 | u32::from(seat.0), 256) as u8;
                self.held[seat.index()] = Input::from_bits(bits).unwrap_or_default();
            }
        }
        let inputs = Inputs { seats: self.held, start: next == Tick(2) };
        sim::set_inputs(world, key, inputs);
    }

    /// Plays the match alone; a hash over the state after each of its ticks.
    pub fn hash(mut self) -> u64 {
        let mut world = SimPlugin::world();
        let key = self.open(&mut world);
        let mut hasher = Hasher::new(self.seed);
        for _ in 0..DRAWN_TICKS {
            self.fly(&mut world, key);
            sim::tick(&mut world);
            hasher.add_u64(sim::hash(&world, key).unwrap_or_default());
        }
        hasher.finish()
    }
}
