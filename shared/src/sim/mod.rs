//! The rules of the game: a pure simulation of many matches in one `World`.
//!
//! In: per match and tick, an input per seat and "start". Out: state, and the events of the tick.
//! *Invariant:* no clock, socket, file, thread or global; randomness by seed, purpose and tick.
//! *Invariant:* a match never reads another match's state: alone or among a thousand, the same hashes.
//! *Invariant:* server, prediction, pilots' views, bots and the replay verifier run exactly this.
//! Start reading at [`STEPS`] (the one list that orders a tick) and the doors below it.

pub mod arena;
mod asteroids;
pub mod bullets;
pub mod combat;
pub mod event;
pub mod fields;
mod game;
pub mod input;
pub mod items;
pub mod list;
pub mod modes;
pub mod pilot;
pub mod rng;
pub mod round;
pub mod rules;
pub mod ships;
mod sine;
pub mod state;
pub mod tables;
mod tally;
pub mod units;

use std::sync::Arc;

use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use bevy_ecs::schedule::{ScheduleConfigs, ScheduleLabel, SingleThreadedExecutor};
use bevy_ecs::system::ScheduleSystem;

use fields::Audience;
use game::{Game, Scratch, each};
use rules::Ruleset;
use state::{Events, Inputs, Setup, State};
use tables::{LoadError, MatchParts, MatchRef, View};

/// Version of the rules' behaviour. Raised by every change that can alter any hash; a replay of another
/// version is not verified.
pub const SIM_VERSION: u32 = 2;

/// One tick of every match in the world.
#[derive(ScheduleLabel, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SimTick;

/// Adds [`SimTick`] to an `App` (the shard's) or, through [`SimPlugin::world`], makes a bare world of it.
pub struct SimPlugin;

impl Plugin for SimPlugin {
    fn build(&self, app: &mut App) {
        app.add_schedule(Self::schedule());
    }
}

impl SimPlugin {
    /// A world of its own for whoever has no `App`: clients, bots, the verifier, tests.
    pub fn world() -> World {
        let mut world = World::new();
        world.add_schedule(Self::schedule());
        world
    }

    fn schedule() -> Schedule {
        let (first, others) = STEPS.split_first().expect("a tick has steps");
        let in_order =
            others.iter().fold(each(first.run).into_configs(), |before, step| (before, each(step.run)).chain());
        Self::single_threaded(SimTick, in_order)
    }

    /// Each step of a tick by its name, as a schedule of its own: for a bench that times them one by one.
    pub fn steps() -> impl Iterator<Item = (&'static str, Schedule)> {
        STEPS.iter().map(|step| (step.name, Self::single_threaded(SimTick, each(step.run).into_configs())))
    }

    fn single_threaded(label: impl ScheduleLabel, systems: ScheduleConfigs<ScheduleSystem>) -> Schedule {
        let mut schedule = Schedule::new(label);
        schedule.set_executor(SingleThreadedExecutor::new());
        schedule.add_systems(systems);
        schedule
    }
}

/// One step of a tick.
struct Step {
    name: &'static str,
    run: fn(&mut Game<'_>),
}

macro_rules! steps {
    ($($step:path),+ $(,)?) => { &[$(Step { name: stringify!($step), run: $step }),+] };
}

/// The one place that orders a tick.
const STEPS: &[Step] = steps![
    begin_tick,
    ships::steer,
    ships::advance_ships,
    asteroids::drift,
    ships::collide_ships,
    asteroids::meet_ships,
    items::announce_and_take,
    items::act,
    bullets::fire_guns,
    bullets::fly,
    asteroids::shatter,
    combat::close_in,
    combat::settle,
    combat::return_ships,
    combat::hold_zone,
    combat::advance_phase,
];

fn begin_tick(game: &mut Game<'_>) {
    game.state.round.tick = game.state.round.tick.plus(1);
    game.scratch.wounds.clear();
    game.scratch.rescued = Default::default();
    game.events.clear();
}

/// Names a match inside one world. Not state, never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MatchKey(Entity);

impl MatchKey {
    /// The entity, for an owner that hangs components of its own on it.
    pub fn entity(self) -> Entity {
        self.0
    }
}

impl From<Entity> for MatchKey {
    fn from(entity: Entity) -> Self {
        MatchKey(entity)
    }
}

/// Opens a match: seats filled with ships at their spawn points, phase `Waiting`, tick 0.
///
/// `seats` must be 2 to 8; anything else is our own mistake and asserts.
pub fn open(world: &mut World, seed: u64, seats: u8, ruleset: Arc<Ruleset>) -> MatchKey {
    assert!((units::SEATS_MIN..=units::SEATS_MAX).contains(&usize::from(seats)), "a match has 2 to 8 seats");
    let setup = Setup { seed, seats, ruleset };
    let mut state = State::default();
    combat::prepare_round(&setup, &mut state);
    MatchKey(world.spawn((setup, state, Inputs::default(), Scratch::default(), Events::default())).id())
}

/// Advances every match in the world by one tick, with the inputs that [`set_inputs`] left.
pub fn tick(world: &mut World) {
    world.run_schedule(SimTick);
}

/// Sets what the next tick applies to this match. Unknown matches are ignored: they have just closed.
pub fn set_inputs(world: &mut World, key: MatchKey, inputs: Inputs) {
    if let Some(mut slot) = world.get_mut::<Inputs>(key.0) {
        *slot = inputs;
    }
}

/// Borrows a match's state; `None` when there is no such match.
pub fn get(world: &World, key: MatchKey) -> Option<MatchRef<'_>> {
    let entity = world.get_entity(key.0).ok()?;
    entity.get_components::<MatchParts>().ok().map(MatchRef::from)
}

/// Everything, as bytes for [`load`].
pub fn save(world: &World, key: MatchKey) -> Option<Vec<u8>> {
    get(world, key).map(|m| m.save())
}

/// Replaces a match's state by a saved one of the same setup.
///
/// # Errors
/// When the bytes do not fit; the match is then unchanged.
pub fn load(world: &mut World, key: MatchKey, bytes: &[u8]) -> Result<(), LoadError> {
    let setup = world.get::<Setup>(key.0).ok_or(LoadError::NoMatch)?;
    let saved = tables::read_save(bytes, setup)?;
    *world.get_mut::<State>(key.0).ok_or(LoadError::NoMatch)? = saved;
    Ok(())
}

/// Hash of all state.
pub fn hash(world: &World, key: MatchKey) -> Option<u64> {
    get(world, key).map(|m| m.hash())
}

/// What `audience` may see.
pub fn view(world: &World, key: MatchKey, audience: Audience) -> Option<View> {
    get(world, key).map(|m| m.view(audience))
}

/// Replaces a match's state by what a view says; what it does not say becomes zero.
///
/// # Errors
/// When the view holds values that the match cannot have; the match is then unchanged.
pub fn load_view(world: &mut World, key: MatchKey, view: &View) -> Result<(), LoadError> {
    let setup = world.get::<Setup>(key.0).ok_or(LoadError::NoMatch)?;
    if !view.fits(setup) {
        return Err(LoadError::Values);
    }
    *world.get_mut::<State>(key.0).ok_or(LoadError::NoMatch)? = view.state;
    Ok(())
}

/// Hash of what `audience` receives.
pub fn view_hash(world: &World, key: MatchKey, audience: Audience) -> Option<u32> {
    get(world, key).map(|m| m.view_hash(m.public_hash(), audience))
}

/// Ends a match and frees its memory.
pub fn close(world: &mut World, key: MatchKey) {
    world.despawn(key.0);
}
