//! Laser: after a wind-up, in which the ship flies and turns, a beam to the first solid. It goes through hulls.
//!
//! *Invariant:* nobody fires a beam that the others could not see coming: the wind-up is public.

use serde::{Deserialize, Serialize};

use super::{Item, ItemRules, ItemsGrid};
use crate::sim::bullets::{TICK_END, time_of_impact};
use crate::sim::event::{Event, Weapon};
use crate::sim::game::{Game, Wound};
use crate::sim::rules::bounds::Bounds;
use crate::sim::rules::{rounded, ticks};
use crate::sim::ships::hull_radius;
use crate::sim::units::{POSITION_PER_UNIT, Seat, along};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LaserText {
    pub windup_ms: u32,
    pub reach: f32,
    /// Half the beam's width.
    pub half_width: f32,
    pub damage: u8,
}

impl Default for LaserText {
    fn default() -> Self {
        LaserText { windup_ms: 500, reach: 900.0, half_width: 5.0, damage: 100 }
    }
}

pub(super) fn check(bounds: &mut Bounds<'_>, text: &LaserText) {
    bounds.within("items.laser.windup_ms", text.windup_ms, 100, 1000);
    bounds.within("items.laser.reach", text.reach, 50.0, 2000.0);
    bounds.within("items.laser.half_width", text.half_width, 0.0, 40.0);
    bounds.within("items.laser.damage", text.damage, 1, 127);
}

#[derive(Clone, Debug, PartialEq)]
pub struct LaserGrid {
    pub windup_ticks: u8,
    /// Position steps.
    pub reach: i32,
    pub half_width: i32,
    pub damage: u8,
}

impl LaserGrid {
    pub(super) fn new(text: &LaserText) -> LaserGrid {
        let steps = |units: f32| rounded(units * POSITION_PER_UNIT as f32);
        LaserGrid {
            windup_ticks: ticks(text.windup_ms) as u8,
            reach: steps(text.reach),
            half_width: steps(text.half_width),
            damage: text.damage,
        }
    }
}

pub(super) struct Laser;

impl ItemRules for Laser {
    fn charges(&self, _: &ItemsGrid) -> u8 {
        1
    }

    /// Begins the wind-up; the charge goes with the beam.
    fn used(&self, game: &mut Game<'_>, seat: Seat) -> bool {
        let ship = &mut game.state.ships[seat.index()];
        if ship.windup_ticks == 0 {
            ship.windup_ticks = game.rules.items.laser.windup_ticks;
        }
        false
    }
}

/// Counts wind-ups down and fires those that are due.
pub(super) fn wind_up(game: &mut Game<'_>) {
    for seat in game.seats() {
        let ship = &mut game.state.ships[seat.index()];
        if ship.windup_ticks == 0 {
            continue;
        }
        ship.windup_ticks -= 1;
        if ship.windup_ticks == 0 && ship.alive && ship.item == Item::Laser {
            (ship.item, ship.charges) = (Item::None, 0);
            game.tell(Event::ItemUsed { seat, item: Item::Laser });
            if game.is_live() {
                beam(game, seat);
            }
        }
    }
}

/// The way of a beam, from the ship's middle: to the first solid, or as far as it reaches.
fn beam(game: &mut Game<'_>, seat: Seat) {
    let (ship, laser) = (game.state.ships[seat.index()], &game.rules.items.laser);
    let (from, tick) = (ship.at(), game.state.round.tick);
    let whole = (along(laser.reach, ship.angle.cos()), along(laser.reach, ship.angle.sin()));
    let end = game.arena.first_solid(from, whole, tick).map_or(TICK_END, |met| met.time);
    for victim in game.seats().filter(|victim| game.setup.hurts(seat, *victim)) {
        let other = game.state.ships[victim.index()];
        if !other.is_out() {
            continue;
        }
        let radius = hull_radius(&other, game.rules);
        let apart = game.arena.way(other.at(), from);
        let met = time_of_impact(apart, whole, radius + laser.half_width).filter(|time| *time <= end);
        if met.is_some() {
            let (by, amount) = (Some(seat), laser.damage);
            game.wound(Wound { victim, by, amount, weapon: Weapon::Laser, ..Wound::default() });
            let score = &mut game.state.scores[seat.index()];
            score.hits = score.hits.saturating_add(1);
        }
    }
}
