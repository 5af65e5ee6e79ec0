//! When to fire, and what: the gun, or the power-up that is carried.
//!
//! Start reading at [`trigger`].

use super::aim::{self, Aim};
use super::geometry::rough_length;
use super::scene::{QUARTER_TURN, Scene, UNIT};
use super::wish::Wish;
use crate::sim::items::Item;
use crate::sim::state::Ship;

/// A fifteenth of a turn: what counts as ahead for what need not be aimed closely.
const AHEAD_STEPS: i32 = QUARTER_TURN * 4 / 15;

/// How to point at `target` with what the ship would fire now.
pub(super) fn aim(scene: &Scene<'_>, target: &Ship) -> Aim {
    match scene.own.item {
        Item::Laser if scene.own.windup_ticks > 0 => Aim::after(scene, target, i32::from(scene.own.windup_ticks)),
        Item::Laser => Aim::after(scene, target, i32::from(scene.rules.items.laser.windup_ticks)),
        Item::Homing => Aim::at(scene, target, (scene.rules.items.homing.speed >> 8).max(1)),
        _ => Aim::at(scene, target, scene.bullet_speed()),
    }
}

/// Whether something can be fired about now.
pub(super) fn is_loaded(scene: &Scene<'_>) -> bool {
    let own = scene.own;
    let needs_round = matches!(own.item, Item::None | Item::Triple);
    (own.ammunition > 0 || !needs_round) && u32::from(own.cooldown_ticks) <= scene.limits.think_every_ticks
}

/// Whether a shot that flies so long is worth it: the fewer rounds, the surer it must be.
pub(super) fn is_in_range(scene: &Scene<'_>, aim: &Aim) -> bool {
    let (laser, homing) = (&scene.rules.items.laser, &scene.rules.items.homing);
    match scene.own.item {
        Item::Laser => rough_length(aim.way) < laser.reach * 7 / 8,
        Item::Homing => aim.flight_ticks < homing.life_ticks as i32 / 2,
        Item::GravityBomb => rough_length(aim.way) < 350 * UNIT,
        _ => {
            let rounds = i32::from(scene.own.ammunition).min(3);
            let worth = scene.limits.range_ticks * (rounds + 3) / 6;
            aim.flight_ticks <= worth.min(i32::from(scene.rules.bullet_life_ticks) * 7 / 8)
        }
    }
}

/// Whether to pull the trigger with `wish` under way, when the shot should go along `aim`.
pub(super) fn trigger(scene: &Scene<'_>, wish: &Wish, aim: &Aim, target: &Ship) -> bool {
    let off = wish.off_at_trigger(scene).abs();
    let tolerance = aim.hull_steps * 3 / 4;
    // What is still guarded when the shot arrives is not worth it.
    if i32::from(target.guard_ticks) > aim.flight_ticks {
        return false;
    }
    let aligned = match scene.own.item {
        Item::Mine => return is_mine_wanted(scene, aim),
        Item::Laser => off <= AHEAD_STEPS / 2,
        Item::Homing => off <= AHEAD_STEPS,
        Item::GravityBomb => off <= AHEAD_STEPS,
        Item::Triple => off <= tolerance + scene.rules.items.triple.spread / 2,
        _ => off <= tolerance.max(4),
    };
    aligned && !aim::is_blocked_by_bodies(scene, aim.way)
}

/// A mine goes down where an enemy is near: behind it, it is a trap; before it, the gun is wanted back.
fn is_mine_wanted(scene: &Scene<'_>, aim: &Aim) -> bool {
    rough_length(aim.way) < 400 * UNIT || scene.noise >> 41 & 7 == 0
}
