//! Where to point so that a shot meets a ship that moves, and what stands in the way.
//!
//! Start reading at [`Aim::at`].

use super::geometry::{Vector, length, over, sum};
use super::scene::{Scene, UNIT, per_tick};
use crate::sim::arena::Edge;
use crate::sim::bullets::time_of_impact;
use crate::sim::state::Ship;
use crate::sim::units::{ADVANCE_SHIFT, SINE_ONE, along};

/// A point to shoot at, seen from the own ship.
#[derive(Clone, Copy, Debug)]
pub(super) struct Aim {
    /// The way to the point at which shot and target meet.
    pub way: Vector,
    /// How long the shot flies.
    pub flight_ticks: i32,
    /// Half the angle that the target's hull fills, in steps.
    pub hull_steps: i32,
}

impl Aim {
    /// At a ship or pod, with a shot that flies `speed` position steps per tick.
    pub fn at(scene: &Scene<'_>, target: &Ship, speed: i32) -> Aim {
        let (way, velocity) = (scene.way_to(target.at()), believed_velocity(scene, target));
        let muzzle = scene.rules.radius + UNIT;
        // Two rounds of "how long does it fly, where is the target by then".
        let (mut lead, mut flight_ticks) = (way, 0);
        for _ in 0..2 {
            flight_ticks = (length(lead) - muzzle).max(0) / speed;
            lead = inside(scene, sum(way, over(velocity, flight_ticks)));
        }
        Aim::along(scene, target, lead, flight_ticks)
    }

    /// At where a ship will be after `ticks`: for a beam that takes so long to come and no time to fly.
    pub fn after(scene: &Scene<'_>, target: &Ship, ticks: i32) -> Aim {
        let own = over(scene.velocity(), -ticks);
        let lead = sum(scene.way_to(target.at()), over(believed_velocity(scene, target), ticks));
        Aim::along(scene, target, sum(lead, own), 0)
    }

    fn along(scene: &Scene<'_>, target: &Ship, way: Vector, flight_ticks: i32) -> Aim {
        let radius = if target.alive { scene.rules.radius } else { scene.rules.pod.radius };
        // Radians in 1/32768 as angle steps: 4096 / (2 pi) is about 652.
        let radians_q15 = i64::from(radius) * i64::from(SINE_ONE) / i64::from(length(way).max(radius));
        Aim { way, flight_ticks, hull_steps: (radians_q15 * 652 / i64::from(SINE_ONE)) as i32 }
    }
}

/// What the pilot takes for the target's velocity: what it was before the newest thrust, which the eye has not caught up
/// with yet.
fn believed_velocity(scene: &Scene<'_>, target: &Ship) -> Vector {
    let (vx, vy) = per_tick(target);
    if !target.input.thrust() || !target.alive {
        return (vx, vy);
    }
    let unseen = (scene.rules.thrust >> ADVANCE_SHIFT) * scene.limits.reaction_ticks / 2;
    (vx - along(unseen, target.angle.cos()), vy - along(unseen, target.angle.sin()))
}

/// A way that does not lead out of a walled arena: a ship that heads for the wall will stop there.
fn inside(scene: &Scene<'_>, (x, y): Vector) -> Vector {
    if scene.arena.edge == Edge::Wrap {
        return (x, y);
    }
    let (own, radius) = (scene.own, scene.rules.radius);
    let within = |at: i32, way: i32, size: i32| (at + way).clamp(radius, size - 1 - radius) - at;
    (within(own.x, x, scene.arena.width), within(own.y, y, scene.arena.height))
}

/// Whether nothing solid stands on the way.
pub(super) fn is_clear(scene: &Scene<'_>, way: Vector) -> bool {
    !scene.arena.has_solids() || scene.arena.first_solid(scene.own.at(), way, scene.now).is_none()
}

/// Whether a shot along `way` would hit a mate, or a rock, before it is there.
pub(super) fn is_blocked_by_bodies(scene: &Scene<'_>, way: Vector) -> bool {
    let from = scene.own.at();
    let meets = |at: Vector, radius: i32| time_of_impact(scene.arena.way(at, from), way, radius).is_some();
    let careful = scene.rules.radius * 3 / 2;
    (scene.rules.friendly_fire && scene.mates().any(|(_, mate)| meets(mate.at(), careful)))
        || scene.view.asteroids.iter().any(|rock| meets((rock.x, rock.y), rock.radius()))
}

/// The way to shoot along so that the shot comes off one side of a walled rim to the target; one side is looked at per
/// thought.
pub(super) fn bank(scene: &Scene<'_>, aim: &Aim) -> Option<Aim> {
    let arena = scene.arena;
    if arena.edge != Edge::Wall || arena.ricochets == 0 {
        return None;
    }
    let (own, (x, y)) = (scene.own, aim.way);
    let mirrored = match (scene.now.0 / scene.limits.think_every_ticks) & 3 {
        0 => (-2 * own.x - x, y),
        1 => (2 * (arena.width - 1 - own.x) - x, y),
        2 => (x, -2 * own.y - y),
        _ => (x, 2 * (arena.height - 1 - own.y) - y),
    };
    let flight_ticks = length(mirrored) / scene.bullet_speed();
    if flight_ticks > i32::from(scene.rules.bullet_life_ticks) * 3 / 4 {
        return None;
    }
    let met = arena.first_solid(own.at(), mirrored, scene.now)?;
    let on_rim = met.at.0 == 0 || met.at.1 == 0 || met.at.0 == arena.width - 1 || met.at.1 == arena.height - 1;
    let target = sum(own.at(), aim.way);
    let second = arena.way(met.at, target);
    let free = on_rim && arena.first_solid(met.at, second, scene.now).is_none();
    free.then_some(Aim { way: mirrored, flight_ticks, hull_steps: aim.hull_steps / 2 })
}
