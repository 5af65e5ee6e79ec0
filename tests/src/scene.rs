//! `Scene`: one match, set up by hand and played tick by tick.
//!
//! In: places, velocities, bullets, inputs held. Out: what happened in each tick, and the state after it.
//! *Invariant:* only components are edited, never the way a tick is played.
//! Start reading at [`Scene::live`].

use std::sync::Arc;

use astro_shared::sim::event::Event;
use astro_shared::sim::input::Input;
use astro_shared::sim::round::Phase;
use astro_shared::sim::rules::Ruleset;
use astro_shared::sim::state::{Bullet, Inputs, Round, Score, Ship, State};
use astro_shared::sim::tables::MatchRef;
use astro_shared::sim::units::{ANGLE_STEPS, Angle, POSITION_PER_UNIT, Tick};
use astro_shared::sim::{self, MatchKey, SimPlugin};
use bevy_ecs::prelude::*;

/// One match under the hands of a test.
pub struct Scene {
    pub world: World,
    pub key: MatchKey,
    inputs: Inputs,
}

impl Scene {
    /// A match in `Waiting`.
    pub fn waiting(seats: u8, ruleset: &Arc<Ruleset>) -> Scene {
        let mut world = SimPlugin::world();
        let key = sim::open(&mut world, 7, seats, ruleset.clone());
        Scene { world, key, inputs: Inputs::default() }
    }

    /// A match whose first round has just gone live; ships rest at their spawn points.
    pub fn live(seats: u8, ruleset: &Arc<Ruleset>) -> Scene {
        let mut scene = Scene::waiting(seats, ruleset);
        scene.start();
        scene.play_until(Phase::Live);
        scene
    }

    pub fn state(&self) -> MatchRef<'_> {
        sim::get(&self.world, self.key).expect("the scene's match")
    }

    pub fn rules(&self) -> Arc<Ruleset> {
        self.state().setup.ruleset.clone()
    }

    pub fn round(&self) -> Round {
        self.state().round
    }

    pub fn tick_now(&self) -> Tick {
        self.round().tick
    }

    pub fn ship(&self, seat: u8) -> Ship {
        self.state().ships[usize::from(seat)]
    }

    pub fn score(&self, seat: u8) -> Score {
        self.state().scores[usize::from(seat)]
    }

    /// Live bullets in order of firing.
    pub fn bullets(&self) -> Vec<Bullet> {
        self.state().bullets.to_vec()
    }

    fn part<T: Component<Mutability = bevy_ecs::component::Mutable>>(&mut self) -> Mut<'_, T> {
        self.world.get_mut::<T>(self.key.entity()).expect("the scene's match")
    }

    pub fn edit_ship(&mut self, seat: u8, edit: impl FnOnce(&mut Ship)) {
        edit(&mut self.part::<State>().ships[usize::from(seat)]);
    }

    pub fn edit_score(&mut self, seat: u8, edit: impl FnOnce(&mut Score)) {
        edit(&mut self.part::<State>().scores[usize::from(seat)]);
    }

    pub fn edit_round(&mut self, edit: impl FnOnce(&mut Round)) {
        edit(&mut self.part::<State>().round);
    }

    /// Anything at all of the state.
    pub fn edit(&mut self, edit: impl FnOnce(&mut State)) {
        edit(&mut self.part::<State>());
    }

    /// Puts a ship somewhere, at rest; arena units and degrees.
    pub fn place(&mut self, seat: u8, x: i32, y: i32, heading_degrees: u16) {
        self.edit_ship(seat, |ship| {
            (ship.x, ship.y) = (x * POSITION_PER_UNIT, y * POSITION_PER_UNIT);
            (ship.vx, ship.vy) = (0, 0);
            ship.angle = heading(heading_degrees);
        });
    }

    /// Puts a bullet in flight as if it had been fired by `seat` in the tick just played; arena units and degrees.
    pub fn shoot(&mut self, seat: u8, x: i32, y: i32, heading_degrees: u16) -> Bullet {
        let (x, y) = (x * POSITION_PER_UNIT, y * POSITION_PER_UNIT);
        self.shoot_from(seat, x, y, heading(heading_degrees))
    }

    /// [`Scene::shoot`] in grid steps.
    pub fn shoot_from(&mut self, seat: u8, x: i32, y: i32, angle: Angle) -> Bullet {
        let (born, mut shots) = (self.tick_now().0 as u16, 0);
        self.edit_ship(seat, |ship| {
            shots = ship.shots;
            ship.shots += 1;
        });
        let bullet = Bullet { id: shots << 3 | u16::from(seat), born, x, y, angle, ..Bullet::default() };
        assert!(self.part::<State>().bullets.push(bullet), "room for a bullet");
        bullet
    }

    /// From now on `seat` holds this input.
    pub fn hold(&mut self, seat: u8, input: Input) {
        self.inputs.seats[usize::from(seat)] = input;
    }

    /// The next tick ends `Waiting`.
    pub fn start(&mut self) {
        self.inputs.start = true;
        self.tick();
        self.inputs.start = false;
    }

    /// Plays one tick; what happened in it.
    pub fn tick(&mut self) -> Vec<Event> {
        sim::set_inputs(&mut self.world, self.key, self.inputs);
        sim::tick(&mut self.world);
        self.state().events.0.clone()
    }

    /// Plays some ticks; what happened in them.
    pub fn play(&mut self, ticks: u32) -> Vec<(Tick, Event)> {
        let mut happened = Vec::new();
        for _ in 0..ticks {
            let events = self.tick();
            happened.extend(events.into_iter().map(|event| (self.tick_now(), event)));
        }
        happened
    }

    /// Plays until the match is in `phase`; what happened on the way.
    pub fn play_until(&mut self, phase: Phase) -> Vec<(Tick, Event)> {
        let mut happened = Vec::new();
        while self.round().phase != phase {
            happened.extend(self.play(1));
            assert!(self.tick_now().0 < 1_000_000, "{phase:?} never comes");
        }
        happened
    }
}

/// Degrees as an angle on the grid.
pub fn heading(degrees: u16) -> Angle {
    Angle((u32::from(degrees % 360) * u32::from(ANGLE_STEPS) / 360) as u16)
}
