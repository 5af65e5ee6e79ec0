//! Faults of every kind, each refused by the name of its field.

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
