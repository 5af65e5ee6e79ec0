//! Homing shot: flies at a steady speed and turns towards the nearest enemy before it, so far as it can turn.
//!
//! *Invariant:* it is replicated as it is, since its path hangs on what others do; at most [`HOMING_MAX`] at once.
//!
//! [`HOMING_MAX`]: crate::sim::state::HOMING_MAX

use serde::{Deserialize, Serialize};

use super::{ItemRules, ItemsGrid};
use crate::sim::bullets::time_of_impact;
use crate::sim::event::Weapon;
use crate::sim::game::{Game, Wound};
use crate::sim::rules::bounds::Bounds;
use crate::sim::rules::{per_tick, rounded, ticks};
use crate::sim::ships::hull_radius;
use crate::sim::state::Homing as Shot;
use crate::sim::units::{ANGLE_STEPS, Angle, POSITION_PER_UNIT, Seat, TICKS_PER_SECOND, advance, along};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HomingText {
    pub speed: f32,
    pub turn_degrees_per_s: f32,
    pub life_ms: u32,
    pub damage: u8,
}

impl Default for HomingText {
    fn default() -> Self {
        HomingText { speed: 380.0, turn_degrees_per_s: 130.0, life_ms: 3500, damage: 70 }
    }
}

pub(super) fn check(bounds: &mut Bounds<'_>, text: &HomingText) {
    bounds.within("items.homing.speed", text.speed, 60.0, 900.0);
    bounds.within("items.homing.turn_degrees_per_s", text.turn_degrees_per_s, 10.0, 720.0);
    bounds.within("items.homing.life_ms", text.life_ms, 200, 10_000);
    bounds.within("items.homing.damage", text.damage, 1, 127);
}

#[derive(Clone, Debug, PartialEq)]
pub struct HomingGrid {
    /// Velocity steps per tick.
    pub speed: i32,
    /// Angle steps per tick.
    pub turn: i32,
    pub life_ticks: u32,
    pub damage: u8,
}

impl HomingGrid {
    pub(super) fn new(text: &HomingText) -> HomingGrid {
        let turn = text.turn_degrees_per_s * f32::from(ANGLE_STEPS) / (360.0 * TICKS_PER_SECOND as f32);
        HomingGrid {
            speed: per_tick(text.speed),
            turn: rounded(turn).max(1),
            life_ticks: ticks(text.life_ms),
            damage: text.damage,
        }
    }
}

pub(super) struct Homing;

impl ItemRules for Homing {
    fn charges(&self, _: &ItemsGrid) -> u8 {
        1
    }

    fn used(&self, game: &mut Game<'_>, seat: Seat) -> bool {
        let ship = game.state.ships[seat.index()];
        let muzzle = game.rules.radius + POSITION_PER_UNIT;
        let (x, y) =
            game.arena.placed(ship.x + along(muzzle, ship.angle.cos()), ship.y + along(muzzle, ship.angle.sin()));
        let spent = game.state.round.tick.plus(game.rules.items.homing.life_ticks);
        game.state.homing.push(Shot { owner: seat, x, y, angle: ship.angle, spent })
    }
}

/// Turns and flies every homing shot; those that meet a hull or a solid, or have flown long enough, are gone.
pub(super) fn fly(game: &mut Game<'_>) {
    if game.state.homing.is_empty() {
        return;
    }
    let (mut shots, tick) = (game.state.homing, game.state.round.tick);
    for shot in shots.iter_mut() {
        if tick >= shot.spent {
            continue;
        }
        shot.angle = turned(game, shot);
        let speed = game.rules.items.homing.speed;
        let path = (advance(along(speed, shot.angle.cos()), tick), advance(along(speed, shot.angle.sin()), tick));
        let from = (shot.x, shot.y);
        (shot.x, shot.y) = game.arena.placed(shot.x + path.0, shot.y + path.1);
        if game.arena.first_solid(from, path, tick).is_some() {
            shot.spent = tick;
        }
        if let Some((time, victim)) = first_hull(game, shot.owner, from, path) {
            shot.spent = tick;
            let (by, amount) = (Some(shot.owner), game.rules.items.homing.damage);
            game.wound(Wound { time, victim, by, amount, weapon: Weapon::Homing, ..Wound::default() });
            let score = &mut game.state.scores[shot.owner.index()];
            score.hits = score.hits.saturating_add(1);
        }
    }
    shots.retain(|shot| tick < shot.spent);
    game.state.homing = shots;
}

/// The shot's heading after this tick's turn towards the nearest enemy in the half circle before it.
fn turned(game: &Game<'_>, shot: &Shot) -> Angle {
    let ahead = |(dx, dy): (i32, i32)| {
        i64::from(dx) * i64::from(shot.angle.cos()) + i64::from(dy) * i64::from(shot.angle.sin()) > 0
    };
    let ways = game.seats().filter(|seat| game.setup.hurts(shot.owner, *seat)).filter_map(|seat| {
        let ship = &game.state.ships[seat.index()];
        ship.is_out().then(|| game.arena.way((shot.x, shot.y), ship.at()))
    });
    let nearest = ways.filter(|way| ahead(*way)).min_by_key(|(dx, dy)| i64::from(*dx).pow(2) + i64::from(*dy).pow(2));
    let Some((dx, dy)) = nearest else { return shot.angle };
    let turn = game.rules.items.homing.turn;
    shot.angle.turned(shot.angle.to(Angle::of(dx, dy)).clamp(-turn, turn))
}

/// The enemy hull that a shot on its way meets first in this tick; equal times go to the lower seat.
fn first_hull(game: &Game<'_>, owner: Seat, from: (i32, i32), path: (i32, i32)) -> Option<(u32, Seat)> {
    if !game.is_live() {
        return None;
    }
    let mut first: Option<(u32, Seat)> = None;
    for seat in game.seats().filter(|seat| game.setup.hurts(owner, *seat)) {
        let ship = &game.state.ships[seat.index()];
        if !ship.is_out() {
            continue;
        }
        let start = game.scratch.start[seat.index()];
        let moved = game.arena.way(start, ship.at());
        let radius = hull_radius(ship, game.rules);
        let apart = game.arena.way(start, from);
        if let Some(time) = time_of_impact(apart, (path.0 - moved.0, path.1 - moved.1), radius)
            && first.is_none_or(|(earlier, _)| time < earlier)
        {
            first = Some((time, seat));
        }
    }
    first
}
