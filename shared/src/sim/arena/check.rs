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
mod tests {
    use super::*;
    use crate::sim::arena::{DiscText, GateText, PlaceText, SpawnText, WellText};
    use crate::sim::rules::parse;

    /// Why an arena made of a built-in one is refused.
    fn refused(name: &str, edit: impl FnOnce(&mut ArenaText)) -> String {
        let mut arena: ArenaText = parse(name, crate::assets::arena(name).unwrap()).unwrap();
        edit(&mut arena);
        check_arena(&arena, "x.ron").expect_err("should be refused").to_string()
    }

    const WALL: WallText = WallText { x: 800, y: 450, width: 100, height: 100 };
    const GATE: GateText = GateText { wall: WALL, open_ms: 1000, closed_ms: 1000, offset_ms: 0 };
    const PILLAR: DiscText = DiscText { x: 800, y: 450, radius: 50 };
    const WELL: WellText = WellText { x: 800, y: 450, radius: 200, pull: 100 };
    const FAR: PlaceText = PlaceText { x: 800, y: 900 };

    /// Broken by leaving out any one of the checks, or by a message that names another field.
    #[test]
    fn a_faulty_arena_is_refused_by_the_name_of_its_field() {
        type Edit = fn(&mut ArenaText);
        let faults: [(&str, &str, Edit); 26] = [
            ("name", "must be 1 to 32", |a| a.name = "No Good".into()),
            ("ricochets", "between 0 and 3", |a| a.ricochets = 4),
            ("small.width", "between 400 and 2047", |a| a.small.width = 399),
            ("large.height", "between 400 and 2047", |a| a.large.height = 2048),
            ("small.asteroids", "between 0 and 5", |a| a.small.asteroids = 6),
            ("small.spawns", "has 3 points, must have 4", |a| _ = a.small.spawns.pop()),
            ("large.spawns", "has 9 points, must have 8", |a| a.large.spawns.push(a.large.spawns[0])),
            ("small.walls", "at most 16", |a| a.small.walls = vec![WALL; 17]),
            ("small.gates", "at most 16", |a| a.small.gates = vec![GATE; 17]),
            ("small.pillars", "at most 16", |a| a.small.pillars = vec![PILLAR; 17]),
            ("small.wells", "at most 4", |a| a.small.wells = vec![WELL; 5]),
            ("large.pads", "at most 4", |a| a.large.pads = vec![FAR; 5]),
            ("small.pads[0].y", "between 0 and 899", |a| a.small.pads = vec![FAR]),
            ("small.walls[0].width", "between 32 and 800", |a| a.small.walls = vec![WallText { width: 31, ..WALL }]),
            ("small.walls[1].height", "between 32 and 450", |a| {
                a.small.walls = vec![WALL, WallText { height: 451, ..WALL }];
            }),
            ("small.gates[0].open_ms", "between 500", |a| a.small.gates = vec![GateText { open_ms: 0, ..GATE }]),
            ("small.gates[0].wall.x", "between 0 and 1599", |a| {
                a.small.gates = vec![GateText { wall: WallText { x: 1600, ..WALL }, ..GATE }];
            }),
            ("small.pillars[0].radius", "between 16 and 225", |a| {
                a.small.pillars = vec![DiscText { radius: 226, ..PILLAR }];
            }),
            ("small.wells[0].pull", "between 1 and 1000", |a| a.small.wells = vec![WellText { pull: 0, ..WELL }]),
            ("small.zone.radius", "between 40 and 600", |a| a.small.zone = Some(DiscText { radius: 39, ..PILLAR })),
            ("small.spawns[0].heading_degrees", "between 0 and 359", |a| a.small.spawns[0].heading_degrees = 360),
            ("small.spawns[3]", "within 128 units of small.spawns[0]", |a| {
                a.small.spawns[3] = SpawnText { x: a.small.spawns[0].x + 100, ..a.small.spawns[0] };
            }),
            ("small.spawns[0]", "within 64 units of a wall or gate", |a| {
                a.small.walls = vec![WallText { x: a.small.spawns[0].x + 110, y: a.small.spawns[0].y, ..WALL }];
            }),
            ("small.pads[0]", "within 64 units of a pillar", |a| {
                a.small.pillars = vec![DiscText { x: a.small.pads[0].x, y: a.small.pads[0].y + 110, radius: 50 }];
            }),
            ("small.spawns[2]", "within 64 units of the edge", |a| {
                a.edge = Edge::Wall;
                a.small.spawns[2].x = 60;
            }),
            ("large.spawns[4]", "within 64 units of a wall or gate", |a| {
                // Across the wrapping edge.
                a.large.spawns[4] = SpawnText { x: 20, y: 800, heading_degrees: 0 };
                a.large.walls = vec![WallText { x: 1580, y: 800, width: 40, height: 40 }];
            }),
        ];
        for (field, reason, edit) in faults {
            let error = refused("open", edit);
            assert!(error.starts_with(&format!("x.ron: field `{field}`: ")), "{field}: {error}");
            assert!(error.contains(reason), "{field}: {error}");
        }
    }

    /// Broken by checking only places and no extents where the edge is a wall.
    #[test]
    fn nothing_reaches_beyond_an_edge_that_is_a_wall() {
        let wall = |x, y| WallText { x, y, width: 100, height: 100 };
        let error = refused("cage", |a| a.small.walls.push(wall(1560, 450)));
        assert_eq!(error, "x.ron: field `small.walls[4]`: reaches 10 units beyond the edge, which is a wall");
        let error = refused("cage", |a| a.large.gates.push(GateText { wall: wall(800, 20), ..GATE }));
        assert_eq!(error, "x.ron: field `large.gates[0].wall`: reaches 30 units beyond the edge, which is a wall");
        let error = refused("cage", |a| a.small.pillars.push(DiscText { x: 49, ..PILLAR }));
        assert_eq!(error, "x.ron: field `small.pillars[0]`: reaches 1 units beyond the edge, which is a wall");
        let error = refused("cage", |a| a.small.zone = Some(DiscText { radius: 500, ..PILLAR }));
        assert_eq!(error, "x.ron: field `small.zone`: reaches 50 units beyond the edge, which is a wall");
    }
}
