//! Whom to go for.

use super::geometry::rough_length;
use super::scene::{Scene, UNIT};
use crate::sim::state::Ship;
use crate::sim::units::Seat;

/// How much farther away a ship seems for what speaks against it.
const GUARDED: i32 = 400 * UNIT;
const PER_SHIELD: i32 = 120 * UNIT;
/// How much nearer a pod seems: it dies of anything, and comes back whole if it does not.
const POD: i32 = 150 * UNIT;
/// How much nearer an enemy in the zone seems, in `king`.
const IN_ZONE: i32 = 250 * UNIT;

/// The enemy that is worth most trouble.
pub(super) fn choose<'a>(scene: &Scene<'a>) -> Option<(Seat, &'a Ship)> {
    // Of equals the first from the own seat on.
    scene.enemies().min_by_key(|(_, ship)| trouble(scene, ship))
}

/// How far away an enemy seems: its distance, more for a strong one.
fn trouble(scene: &Scene<'_>, ship: &Ship) -> i32 {
    let mut seems = rough_length(scene.way_to(ship.at()));
    if ship.guard_ticks > 0 {
        seems += GUARDED;
    }
    if ship.pod {
        return seems - POD;
    }
    // A ship that is nearly done for is up to a third nearer.
    seems -= seems / 3 * (i32::from(scene.rules.hull) - i32::from(ship.hull)) / i32::from(scene.rules.hull).max(1);
    seems += PER_SHIELD * i32::from(ship.shield);
    if scene.rules.mode.counts_zone()
        && let Some(zone) = scene.arena.zone
        && rough_length(scene.arena.way(ship.at(), (zone.x, zone.y))) < zone.radius
    {
        seems -= IN_ZONE;
    }
    // Mates fight together: whoever is near to a mate is the common enemy.
    let mate = scene.mates().map(|(_, mate)| rough_length(scene.arena.way(mate.at(), ship.at()))).min();
    mate.map_or(seems, |mate| seems - (300 * UNIT - mate).max(0) / 2)
}
