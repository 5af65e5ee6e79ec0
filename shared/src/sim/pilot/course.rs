//! Where to go: into the fight, after a pick-up, to a mate's pod, into the zone, away.
//!
//! Start reading at [`fight`] (a ship) and [`flee`] (a pod).

use super::aim::{self, Aim};
use super::arms;
use super::geometry::{Vector, dot, length, over, rough_length, sum};
use super::prey;
use super::scene::{QUARTER_TURN, Scene, UNIT};
use super::wish::Wish;
use crate::sim::arena::ground::Turn;
use crate::sim::combat::closing;
use crate::sim::items::Item;
use crate::sim::state::Ship;
use crate::sim::units::{ADVANCE_SHIFT, Angle};

/// How far beside an enemy a ship with nothing to shoot steers.
const BREAK_OFF_STEPS: i32 = QUARTER_TURN;
/// Nearer than this a shooter stops closing in.
const CLOSE: i32 = 130 * UNIT;
/// Farthest pick-up that is worth a detour.
const DETOUR: i32 = 420 * UNIT;
/// How far inside the closing rim a ship wants to be.
const MARGIN: i32 = 60 * UNIT;
/// A ship looks so far ahead for what it would fly into.
const LOOK_AHEAD_TICKS: i32 = 24;

/// What a ship does.
pub(super) fn fight(scene: &Scene<'_>) -> Wish {
    if let Some(way) = back_inside(scene) {
        return with_shot(scene, go(scene, way));
    }
    let Some((_, target)) = prey::choose(scene) else {
        return errand(scene, i32::MAX).map_or_else(Wish::default, |way| go(scene, way));
    };
    let aim = arms::aim(scene, target);
    if target.pod && rough_length(aim.way) < 3 * CLOSE / 2 && aim::is_clear(scene, aim.way) {
        // Ram it, and shoot it on the way.
        let wish = go(scene, aim.way);
        return armed(scene, wish, &aim, target);
    }
    if (arms::is_loaded(scene) || scene.own.windup_ticks > 0)
        && let Some(wish) = attack(scene, &aim, target)
    {
        return wish;
    }
    if let Some(way) = errand(scene, rough_length(aim.way)) {
        return go(scene, way);
    }
    if arms::is_loaded(scene) { approach(scene, &aim, target) } else { evade(scene, &aim) }
}

/// Points at the target and shoots, when that is worth it from here.
fn attack(scene: &Scene<'_>, aim: &Aim, target: &Ship) -> Option<Wish> {
    if !arms::is_in_range(scene, aim) {
        return None;
    }
    let aim = if aim::is_clear(scene, aim.way) {
        *aim
    } else {
        aim::bank(scene, aim).filter(|_| scene.limits.ricochets && scene.own.item == Item::None)?
    };
    let off = scene.off(aim.way) + scene.unsteadiness();
    let far = rough_length(aim.way) > CLOSE;
    let wish = Wish { off_steps: off, thrust: far && off.abs() < QUARTER_TURN / 2, ..Wish::default() };
    Some(armed(scene, wish, &aim, target))
}

/// The wish with the trigger pulled, or a dash begun, if that makes sense.
fn armed(scene: &Scene<'_>, wish: Wish, aim: &Aim, target: &Ship) -> Wish {
    let fire = scene.own.windup_ticks == 0 && arms::trigger(scene, &wish, aim, target);
    Wish { fire, dash: scene.limits.dashes && is_ram_wanted(scene, &wish, target), ..wish }
}

/// A dash that takes a pod, or a ship which dies of the bump when the own one does not.
fn is_ram_wanted(scene: &Scene<'_>, wish: &Wish, target: &Ship) -> bool {
    let damage = scene.rules.bump_damage;
    let worth = target.pod || (target.hull <= damage && scene.own.hull > damage && target.shield == 0);
    let reach = (scene.rules.dash.speed >> ADVANCE_SHIFT) * i32::from(scene.rules.dash.ticks);
    let way = scene.way_to(target.at());
    worth && scene.can_dash() && wish.off_steps.abs() < QUARTER_TURN / 6 && rough_length(way) < reach
}

/// Fires at whatever happens to be ahead while something else matters more.
fn with_shot(scene: &Scene<'_>, wish: Wish) -> Wish {
    let Some((_, target)) = prey::choose(scene).filter(|_| arms::is_loaded(scene)) else { return wish };
    let aim = arms::aim(scene, target);
    let pointed = Wish { off_steps: scene.off(aim.way), ..Wish::default() };
    let fire = arms::is_in_range(scene, &aim)
        && pointed.off_steps.abs() <= aim.hull_steps
        && arms::trigger(scene, &pointed, &aim, target)
        && aim::is_clear(scene, aim.way);
    Wish { fire, ..wish }
}

/// Flies towards a target that is out of range or out of sight, not in a straight line.
fn approach(scene: &Scene<'_>, aim: &Aim, target: &Ship) -> Wish {
    let weave = scene.side() * QUARTER_TURN / 5;
    let way = scene.way_to(target.at());
    let mut wish = go(scene, if aim::is_clear(scene, way) { turned(way, weave) } else { around(scene, way) });
    wish.dash = scene.limits.dashes
        && scene.can_dash()
        && wish.off_steps.abs() < QUARTER_TURN / 8
        && aim.flight_ticks > 2 * scene.limits.range_ticks;
    wish
}

/// Keeps off while the gun reloads.
fn evade(scene: &Scene<'_>, aim: &Aim) -> Wish {
    // Away when near, beside when far.
    let near = rough_length(aim.way) < 2 * CLOSE;
    let steps = if near { BREAK_OFF_STEPS * 4 / 3 } else { BREAK_OFF_STEPS * 2 / 3 };
    go(scene, turned(aim.way, scene.side() * steps))
}

/// Whatever is worth going to before the enemy `enemy` position steps away.
fn errand(scene: &Scene<'_>, enemy: i32) -> Option<Vector> {
    if let Some(way) = zone(scene) {
        return Some(way);
    }
    mates_pod(scene).or_else(|| pick_up(scene, enemy))
}

/// In `king`: to the zone, or to its middle when drifting out of it.
fn zone(scene: &Scene<'_>) -> Option<Vector> {
    let zone = scene.arena.zone.filter(|_| scene.rules.mode.counts_zone())?;
    let way = scene.way_to((zone.x, zone.y));
    let soon = sum(way, over(scene.velocity(), -20));
    (rough_length(soon) > zone.radius * 3 / 4).then_some(way)
}

/// The nearest pod of a mate that can still be reached in time.
fn mates_pod(scene: &Scene<'_>) -> Option<Vector> {
    let speed = (scene.power().1 >> ADVANCE_SHIFT).max(1);
    let pods = scene.mates().filter(|(_, ship)| ship.pod);
    let ways = pods.map(|(_, pod)| (scene.way_to(pod.at()), pod.return_ticks));
    let in_time = ways.filter(|(way, left)| rough_length(*way) / speed < i32::from(*left));
    in_time.map(|(way, _)| way).min_by_key(|way| rough_length(*way))
}

/// The nearest pick-up that is there, or will be by the time the ship is.
fn pick_up(scene: &Scene<'_>, enemy: i32) -> Option<Vector> {
    if scene.own.item != Item::None {
        return None;
    }
    let speed = (scene.power().1 >> ADVANCE_SHIFT).max(1);
    let pads = scene.view.pads.iter().zip(&scene.arena.pads).filter(|(pad, _)| pad.item != Item::None);
    let ways = pads.map(|(pad, place)| (scene.way_to(*place), pad.ready));
    let near = ways.filter(|(way, ready)| {
        let distance = rough_length(*way);
        distance < DETOUR.min(enemy) && ready.since(scene.now) as i32 <= distance / speed + 30
    });
    near.map(|(way, _)| way).min_by_key(|way| rough_length(*way))
}

/// The way to the middle when the arena closes in on the ship.
fn back_inside(scene: &Scene<'_>) -> Option<Vector> {
    let arena = scene.arena;
    let (half_width, half_height) = closing(&scene.view.round, scene.rules, (arena.width, arena.height))?;
    let middle = (arena.width / 2 - scene.own.x, arena.height / 2 - scene.own.y);
    let (ahead_x, ahead_y) = sum(middle, over(scene.velocity(), -20));
    let out = |way: i32, half: i32| way.abs() > (half - MARGIN).max(half / 2);
    (out(ahead_x, half_width) || out(ahead_y, half_height)).then_some(middle)
}

/// Flies along `way`: points where thrust brings the velocity to where it should be, around what is in the way.
fn go(scene: &Scene<'_>, way: Vector) -> Wish {
    let way = if scene.arena.has_solids() { around(scene, way) } else { way };
    let (_, top) = scene.power();
    let (speed, length) = (i64::from(top >> ADVANCE_SHIFT), i64::from(length(way).max(1)));
    let want = ((i64::from(way.0) * speed / length) as i32, (i64::from(way.1) * speed / length) as i32);
    let (vx, vy) = scene.velocity();
    // Sideways drift counts in full, speed along the way only when it is short of the top.
    let change = (want.0 - vx * 7 / 8, want.1 - vy * 7 / 8);
    let off_steps = scene.off(change);
    Wish { off_steps, thrust: off_steps.abs() < QUARTER_TURN * 2 / 3, ..Wish::default() }
}

/// The way, or one along the solid that the ship would run into on it.
fn around(scene: &Scene<'_>, way: Vector) -> Vector {
    if !scene.arena.has_solids() {
        return way;
    }
    let (_, top) = scene.power();
    let reach = (top >> ADVANCE_SHIFT) * LOOK_AHEAD_TICKS;
    let distance = rough_length(way).max(1);
    let seen = if distance > reach {
        let part = |way: i32| (i64::from(way) * i64::from(reach) / i64::from(distance)) as i32;
        (part(way.0), part(way.1))
    } else {
        way
    };
    let Some(met) = scene.arena.first_solid(scene.own.at(), seen, scene.now) else { return way };
    let either = |along: i32| if along.abs() > 8 * UNIT { along.signum() } else { scene.side() };
    match met.turn {
        Turn::Sideways => (-seen.0.signum() * UNIT, either(way.1) * 4 * UNIT),
        Turn::Upright => (either(way.0) * 4 * UNIT, -seen.1.signum() * UNIT),
        Turn::Round(normal) => {
            // Along the round side, whichever way is nearer to the goal, and a little away from it.
            let out = (normal.cos(), normal.sin());
            let left = (-out.1, out.0);
            let sign = if dot(left, way) >= 0 { 1 } else { -1 };
            (sign * left.0 + out.0 / 3, sign * left.1 + out.1 / 3)
        }
        Turn::Stuck => way,
    }
}

/// `way` turned by angle steps.
fn turned((x, y): Vector, steps: i32) -> Vector {
    let angle = Angle(0).turned(steps);
    let (cos, sin) = (angle.cos(), angle.sin());
    ((dot((x, -y), (cos, sin)) >> 15) as i32, (dot((x, y), (sin, cos)) >> 15) as i32)
}

/// What a pod does: away from the nearest enemy, towards a mate if one is nearer.
pub(super) fn flee(scene: &Scene<'_>) -> Wish {
    if let Some(way) = back_inside(scene) {
        return go(scene, way);
    }
    let nearest = |ways: &mut dyn Iterator<Item = Vector>| ways.min_by_key(|way| rough_length(*way));
    let enemy = nearest(&mut scene.enemies().filter(|(_, ship)| ship.alive).map(|(_, ship)| scene.way_to(ship.at())));
    let mate = nearest(&mut scene.mates().filter(|(_, ship)| ship.alive).map(|(_, ship)| scene.way_to(ship.at())));
    match (enemy, mate) {
        (enemy, Some(mate)) if enemy.is_none_or(|enemy| rough_length(mate) < rough_length(enemy)) => go(scene, mate),
        (Some((x, y)), _) => go(scene, (-x, -y)),
        (None, _) => Wish::default(),
    }
}
