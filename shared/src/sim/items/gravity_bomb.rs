//! Gravity bomb: thrown ahead; for a while it pulls everything that flies near it, its owner too.

use serde::{Deserialize, Serialize};

use super::{ItemRules, ItemsGrid};
use crate::sim::arena::Pull;
use crate::sim::game::Game;
use crate::sim::rules::bounds::Bounds;
use crate::sim::rules::{Ruleset, per_tick, rounded, ticks};
use crate::sim::state::{Bomb, State};
use crate::sim::units::{POSITION_PER_UNIT, Seat, TICKS_PER_SECOND, along};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GravityBombText {
    pub ms: u32,
    pub radius: f32,
    /// Units/s² in its middle.
    pub pull: f32,
    /// How far ahead of the ship it is thrown.
    pub throw: f32,
}

impl Default for GravityBombText {
    fn default() -> Self {
        GravityBombText { ms: 3500, radius: 280.0, pull: 700.0, throw: 180.0 }
    }
}

pub(super) fn check(bounds: &mut Bounds<'_>, text: &GravityBombText) {
    bounds.within("items.gravity_bomb.ms", text.ms, 200, 15_000);
    bounds.within("items.gravity_bomb.radius", text.radius, 40.0, 600.0);
    bounds.within("items.gravity_bomb.pull", text.pull, 1.0, 2000.0);
    bounds.within("items.gravity_bomb.throw", text.throw, 0.0, 400.0);
}

#[derive(Clone, Debug, PartialEq)]
pub struct GravityBombGrid {
    pub ticks: u32,
    /// Position steps.
    pub radius: i32,
    pub throw: i32,
    /// Velocity steps per tick.
    pub pull: i32,
}

impl GravityBombGrid {
    pub(super) fn new(text: &GravityBombText) -> GravityBombGrid {
        let steps = |units: f32| rounded(units * POSITION_PER_UNIT as f32);
        GravityBombGrid {
            ticks: ticks(text.ms),
            radius: steps(text.radius),
            throw: steps(text.throw),
            pull: per_tick(text.pull / TICKS_PER_SECOND as f32),
        }
    }
}

pub(super) struct GravityBomb;

impl ItemRules for GravityBomb {
    fn charges(&self, _: &ItemsGrid) -> u8 {
        1
    }

    fn used(&self, game: &mut Game<'_>, seat: Seat) -> bool {
        let (ship, rules) = (game.state.ships[seat.index()], &game.rules.items.gravity_bomb);
        let (x, y) = game
            .arena
            .placed(ship.x + along(rules.throw, ship.angle.cos()), ship.y + along(rules.throw, ship.angle.sin()));
        game.state.bombs.push(Bomb {
            owner: seat,
            x: (x / POSITION_PER_UNIT) as u16,
            y: (y / POSITION_PER_UNIT) as u16,
            spent: game.state.round.tick.plus(rules.ticks),
        })
    }
}

pub(super) fn expire(game: &mut Game<'_>) {
    let tick = game.state.round.tick;
    game.state.bombs.retain(|bomb| tick < bomb.spent);
}

/// What the bombs at work pull with.
pub(in crate::sim) fn pull_of_bombs<'a>(state: &'a State, rules: &'a Ruleset) -> impl Iterator<Item = Pull> + 'a {
    let bomb = &rules.items.gravity_bomb;
    state.bombs.iter().map(move |at| Pull {
        x: i32::from(at.x) * POSITION_PER_UNIT,
        y: i32::from(at.y) * POSITION_PER_UNIT,
        radius: bomb.radius,
        pull: bomb.pull,
    })
}
