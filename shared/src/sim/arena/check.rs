//! What an arena document must keep to, field by field.
//!
//! *Invariant:* a stranger's document costs no more than its size: lists are counted before anything is compared.

use super::{ArenaText, Edge, LayoutText, PADS_MAX, SMALL_SEATS_MAX, SOLIDS_MAX, WallText};
use crate::sim::rules::AssetError;
use crate::sim::rules::bounds::Bounds;
use crate::sim::units::SEATS_MAX;

/// Solids are no thinner: a body that a chain of bumps makes as fast as it goes (16 units a tick) still meets them.
const THICKNESS_MIN: u32 = 32;
/// From a spawn point or a pad to the nearest solid, in units: the largest hull fits.
const CLEARANCE: u32 = 64;
/// Between two spawn points, in units.
const SPAWNS_APART: u32 = 128;
/// Large asteroids of one arena at most: split into their smallest pieces they still fit the list, or nearly.
const ASTEROIDS_MAX: u8 = 5;

/// Checks both layouts.
///
/// # Errors
/// The first field out of bounds.
pub fn check_arena(arena: &ArenaText, file: &str) -> Result<(), AssetError> {
    let mut bounds = Bounds::of(file);
    bounds.name("name", &arena.name);
    bounds.within("ricochets", arena.ricochets, 0, 3);
    bounds.end()?;
    check_layout(&arena.small, "small", usize::from(SMALL_SEATS_MAX), arena.edge, file)?;
    check_layout(&arena.large, "large", SEATS_MAX, arena.edge, file)
}

fn check_layout(layout: &LayoutText, name: &str, spawns: usize, edge: Edge, file: &str) -> Result<(), AssetError> {
    let mut bounds = Bounds::of(file);
    let field = |inner: &str| format!("{name}.{inner}");
    // 2,047 units keep a coordinate within its 20 signed bits on the wire.
    bounds.within(&field("width"), layout.width, 400, 2047);
    bounds.within(&field("height"), layout.height, 400, 2047);
    bounds.within(&field("asteroids"), layout.asteroids, 0, ASTEROIDS_MAX);
    if layout.spawns.len() != spawns {
        bounds.refuse(&field("spawns"), format!("has {} points, must have {spawns}", layout.spawns.len()));
    }
    let lists = [
        ("walls", layout.walls.len(), SOLIDS_MAX),
        ("gates", layout.gates.len(), SOLIDS_MAX),
        ("pillars", layout.pillars.len(), SOLIDS_MAX),
        ("wells", layout.wells.len(), PADS_MAX),
        ("pads", layout.pads.len(), PADS_MAX),
    ];
    for (list, length, most) in lists {
        if length > most {
            bounds.refuse(&field(list), format!("has {length} entries, at most {most} are supported"));
        }
    }
    // What follows compares lists with each other; a stranger's may have a million entries.
    bounds.end()?;
    let mut bounds = Bounds::of(file);
    check_shapes(&mut bounds, layout, name);
    bounds.end()?;
    let mut bounds = Bounds::of(file);
    if edge == Edge::Wall {
        check_rim(&mut bounds, layout, name);
    }
    check_places(&mut bounds, layout, name, edge);
    bounds.end()
}

/// Sizes and places, each on its own.
fn check_shapes(bounds: &mut Bounds<'_>, layout: &LayoutText, name: &str) {
    let mut inside = |field: String, x: u32, y: u32| {
        bounds.within(&format!("{field}.x"), x, 0, layout.width - 1);
        bounds.within(&format!("{field}.y"), y, 0, layout.height - 1);
    };
    let at = |list: &str, index: usize| format!("{name}.{list}[{index}]");
    for (i, spawn) in layout.spawns.iter().enumerate() {
        inside(at("spawns", i), spawn.x, spawn.y);
    }
    for (i, pad) in layout.pads.iter().enumerate() {
        inside(at("pads", i), pad.x, pad.y);
    }
    let walls = layout.walls.iter().enumerate().map(|(i, wall)| (at("walls", i), wall));
    let gates = layout.gates.iter().enumerate().map(|(i, gate)| (at("gates", i) + ".wall", &gate.wall));
    let rectangles: Vec<(String, &WallText)> = walls.chain(gates).collect();
    for (field, wall) in &rectangles {
        inside(field.clone(), wall.x, wall.y);
    }
    for (i, disc) in layout.pillars.iter().enumerate() {
        inside(at("pillars", i), disc.x, disc.y);
    }
    for (i, well) in layout.wells.iter().enumerate() {
        inside(at("wells", i), well.x, well.y);
    }
    if let Some(zone) = &layout.zone {
        inside(format!("{name}.zone"), zone.x, zone.y);
        bounds.within(&format!("{name}.zone.radius"), zone.radius, 40, 600);
    }
    for (i, spawn) in layout.spawns.iter().enumerate() {
        bounds.within(&(at("spawns", i) + ".heading_degrees"), spawn.heading_degrees, 0, 359);
    }
    for (field, wall) in &rectangles {
        bounds.within(&format!("{field}.width"), wall.width, THICKNESS_MIN, layout.width / 2);
        bounds.within(&format!("{field}.height"), wall.height, THICKNESS_MIN, layout.height / 2);
    }
    for (i, gate) in layout.gates.iter().enumerate() {
        bounds.within(&(at("gates", i) + ".open_ms"), gate.open_ms, 500, 60_000);
        bounds.within(&(at("gates", i) + ".closed_ms"), gate.closed_ms, 500, 60_000);
        bounds.within(&(at("gates", i) + ".offset_ms"), gate.offset_ms, 0, 120_000);
    }
    for (i, disc) in layout.pillars.iter().enumerate() {
        // Beyond a quarter of a side, the way around a wrapping edge would be through itself.
        let most = (layout.width.min(layout.height) / 4).min(400);
        bounds.within(&(at("pillars", i) + ".radius"), disc.radius, THICKNESS_MIN / 2, most);
    }
    for (i, well) in layout.wells.iter().enumerate() {
        bounds.within(&(at("wells", i) + ".radius"), well.radius, 50, 1000);
        bounds.within(&(at("wells", i) + ".pull"), well.pull, 1, 1000);
    }
}

/// An edge that is a wall ends everything: nothing may reach beyond it.
fn check_rim(bounds: &mut Bounds<'_>, layout: &LayoutText, name: &str) {
    let mut reaches = |field: String, (x, y): (u32, u32), (half_width, half_height): (u32, u32)| {
        let beyond = |at: u32, half: u32, size: u32| half.saturating_sub(at).max((at + half).saturating_sub(size));
        let most = beyond(x, half_width, layout.width).max(beyond(y, half_height, layout.height));
        if most > 0 {
            bounds.refuse(&field, format!("reaches {most} units beyond the edge, which is a wall"));
        }
    };
    let walls = layout.walls.iter().enumerate().map(|(i, wall)| (format!("{name}.walls[{i}]"), wall));
    let gates = layout.gates.iter().enumerate().map(|(i, gate)| (format!("{name}.gates[{i}].wall"), &gate.wall));
    for (field, wall) in walls.chain(gates) {
        reaches(field, (wall.x, wall.y), (wall.width / 2, wall.height / 2));
    }
    let pillars = layout.pillars.iter().enumerate().map(|(i, disc)| (format!("{name}.pillars[{i}]"), disc));
    for (field, disc) in pillars.chain(layout.zone.iter().map(|zone| (format!("{name}.zone"), zone))) {
        reaches(field, (disc.x, disc.y), (disc.radius, disc.radius));
    }
}

/// Spawn points and pads, against each other and against every solid.
fn check_places(bounds: &mut Bounds<'_>, layout: &LayoutText, name: &str, edge: Edge) {
    let spawns = layout.spawns.iter().enumerate().map(|(i, p)| (format!("{name}.spawns[{i}]"), p.x, p.y));
    let pads = layout.pads.iter().enumerate().map(|(i, p)| (format!("{name}.pads[{i}]"), p.x, p.y));
    let spawns: Vec<_> = spawns.collect();
    for (index, (field, x, y)) in spawns.iter().enumerate() {
        for (other, ox, oy) in &spawns[..index] {
            let (dx, dy) = (layout.away(*x, *ox, layout.width, edge), layout.away(*y, *oy, layout.height, edge));
            if dx * dx + dy * dy < SPAWNS_APART * SPAWNS_APART {
                bounds.refuse(field, format!("is within {SPAWNS_APART} units of {other}"));
            }
        }
    }
    for (field, x, y) in spawns.into_iter().chain(pads) {
        let walls = layout.walls.iter().chain(layout.gates.iter().map(|gate| &gate.wall));
        for wall in walls {
            let dx = layout.away(x, wall.x, layout.width, edge).saturating_sub(wall.width / 2);
            let dy = layout.away(y, wall.y, layout.height, edge).saturating_sub(wall.height / 2);
            if dx * dx + dy * dy < CLEARANCE * CLEARANCE {
                bounds.refuse(&field, format!("is within {CLEARANCE} units of a wall or gate"));
            }
        }
        for pillar in &layout.pillars {
            let (dx, dy) =
                (layout.away(x, pillar.x, layout.width, edge), layout.away(y, pillar.y, layout.height, edge));
            let reach = pillar.radius + CLEARANCE;
            if dx * dx + dy * dy < reach * reach {
                bounds.refuse(&field, format!("is within {CLEARANCE} units of a pillar"));
            }
        }
        let rim = x.min(layout.width - 1 - x).min(layout.height - 1 - y).min(y);
        if edge == Edge::Wall && rim < CLEARANCE {
            bounds.refuse(&field, format!("is within {CLEARANCE} units of the edge, which is a wall"));
        }
    }
}

impl LayoutText {
    /// Distance of two coordinates along one axis.
    pub(super) fn away(&self, one: u32, other: u32, size: u32, edge: Edge) -> u32 {
        let straight = one.abs_diff(other);
        if edge == Edge::Wrap { straight.min(size - straight) } else { straight }
    }
}

#[cfg(test)]
mod tests;
