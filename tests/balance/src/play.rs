//! Plays many matches: batches of them in a world, a world per thread.
//!
//! In: a [`Plan`]. Out: a [`Tally`].
//! *Invariant:* a match depends on the plan and its own number only, never on its batch or thread.
//! *Invariant:* pilots see what a player would: the view of their own seat.
//! Start reading at [`play`].

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use astro_shared::sim::arena::ArenaText;
use astro_shared::sim::fields::Audience;
use astro_shared::sim::input::Input;
use astro_shared::sim::pilot::{self, Skill};
use astro_shared::sim::rules::Ruleset;
use astro_shared::sim::state::{Inputs, State};
use astro_shared::sim::tables::{MatchParts, MatchRef};
use astro_shared::sim::units::{SEATS_MAX, Seat, Tick};
use astro_shared::sim::{self, SimPlugin};
use bevy_ecs::prelude::*;

use crate::story::Story;
use crate::tally::Tally;

/// Matches of one world at a time: enough that a tick's fixed cost vanishes, few enough for the cache.
const BATCH: u32 = 64;
/// Pilots know no seed, so matches that start in the same tick on the same points would go the same way. Each has waited
/// for its players for up to this long: half an hour.
const WAITED_TICKS_MAX: u64 = 30 * 60 * 60;
/// Ticks after which a match that has not ended is taken for endless: two hours.
const ENDLESS_TICKS: u32 = 2 * 60 * 60 * 60;

/// What is to be played.
#[derive(Clone)]
pub struct Plan {
    pub rules: Arc<Ruleset>,
    /// The arena of `rules` as it was written, for drawing it.
    pub arena: ArenaText,
    pub seats: u8,
    /// Skill of each seat, in turn; with more than one they move on by a seat per match, so that none has a better place.
    pub skills: Vec<Skill>,
    pub matches: u32,
    pub seed: u64,
}

impl Plan {
    /// Who flies `seat` in match `number`, as an index of `skills`.
    pub fn skill_index(&self, number: u32, seat: Seat) -> usize {
        (number as usize + seat.index()) % self.skills.len()
    }

    fn seed_of(&self, number: u32) -> u64 {
        // Splitmix: unrelated seeds from neighbouring numbers.
        let mut x = self.seed.wrapping_add(u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
}

/// The pilots of one match and what they hold, and what has happened.
#[derive(Component)]
struct Flown {
    number: u32,
    skills: [Skill; SEATS_MAX],
    held: [Input; SEATS_MAX],
    story: Story,
    over: bool,
}

/// Plays a plan on so many threads; `progress` is told, now and then, how many matches are over.
///
/// # Panics
/// When a match never ends.
pub fn play(plan: &Plan, threads: usize, progress: &(dyn Fn(u32) + Sync)) -> Tally {
    let (next, done) = (AtomicU32::new(0), AtomicU32::new(0));
    let work = || {
        let mut tally = Tally::of(plan);
        loop {
            let first = next.fetch_add(BATCH, Ordering::Relaxed);
            if first >= plan.matches {
                return tally;
            }
            let batch = first..plan.matches.min(first + BATCH);
            let count = batch.len() as u32;
            play_batch(plan, batch, |number, story| tally.add(plan, number, story));
            progress(done.fetch_add(count, Ordering::Relaxed) + count);
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        let tallies = workers.into_iter().map(|worker| worker.join().expect("a worker panicked"));
        tallies.reduce(Tally::joined).unwrap_or_else(|| Tally::of(plan))
    })
}

/// Plays the matches with these numbers to their ends.
pub fn play_batch(plan: &Plan, numbers: Range<u32>, mut over: impl FnMut(u32, &Story)) {
    let mut world = SimPlugin::world();
    let mut left = numbers.len();
    for number in numbers {
        open(&mut world, plan, number);
    }
    let mut flown = world.query::<(&mut Flown, &mut Inputs, MatchParts)>();
    let mut ticks = 0;
    while left > 0 {
        for (mut flown, mut inputs, parts) in flown.iter_mut(&mut world) {
            if !flown.over {
                think(&mut flown, &mut inputs, MatchRef::from(parts));
            }
        }
        sim::tick(&mut world);
        for (mut flown, _, parts) in flown.iter_mut(&mut world) {
            if !flown.over && flown.story.watch(&MatchRef::from(parts)) {
                flown.over = true;
                left -= 1;
                over(flown.number, &flown.story);
            }
        }
        ticks += 1;
        assert!(ticks < ENDLESS_TICKS, "a match that never ends, seed {}", plan.seed);
    }
}

fn open(world: &mut World, plan: &Plan, number: u32) {
    let seed = plan.seed_of(number);
    let key = sim::open(world, seed, plan.seats, plan.rules.clone());
    let tick = Tick((seed % WAITED_TICKS_MAX) as u32);
    let mut entity = world.entity_mut(key.entity());
    entity.get_mut::<State>().expect("an open match has a state").round.tick = tick;
    let skills = std::array::from_fn(|seat| plan.skills[plan.skill_index(number, Seat(seat as u8))]);
    let story = Story::begun(tick);
    entity.insert(Flown { number, skills, held: [Input::NEUTRAL; SEATS_MAX], story, over: false });
}

/// Every pilot whose turn it is looks and thinks; what all of them hold becomes the next tick's inputs.
fn think(flown: &mut Flown, inputs: &mut Inputs, state: MatchRef<'_>) {
    let next = state.round.tick.plus(1);
    inputs.start = true;
    for seat in Seat::first(state.setup.seats) {
        let skill = flown.skills[seat.index()];
        if pilot::thinks(seat, skill, next) {
            let view = state.view(Audience::Seat(seat));
            flown.held[seat.index()] = pilot::think(&view, &state.setup.ruleset, seat, skill, next);
        }
        inputs.seats[seat.index()] = flown.held[seat.index()];
    }
}
