//! What is odd, in arenas made odd; nothing, in those built in.

use super::*;
use crate::sim::arena::{DiscText, PlaceText, WellText};
use crate::sim::rules::parse;

fn arena(name: &str) -> ArenaText {
    let text = crate::assets::arena(name).unwrap();
    parse(name, text).unwrap()
}

/// Broken by any built-in arena with a trap, an unequal spawn point, or without pad or zone.
#[test]
fn built_in_arenas_have_nothing_odd() {
    for (file, text) in crate::assets::ARENAS {
        assert_eq!(oddities(&parse(file, text).unwrap()), Vec::<String>::new(), "{file}");
    }
}

/// Broken by leaving out one of the things that are looked for.
#[test]
fn each_oddity_is_told_with_its_field() {
    let told = |name: &str, edit: &dyn Fn(&mut ArenaText)| {
        let mut arena = arena(name);
        edit(&mut arena);
        oddities(&arena).join("\n")
    };
    assert!(told("open", &|a| a.small.spawns[1].heading_degrees += 9).contains("small.spawns[1] is no mirror image"));
    assert!(told("open", &|a| a.large.spawns[5].x += 20).contains("large.spawns[5] is not worth the same"));
    assert!(told("open", &|a| a.small.pads.clear()).contains("small.pads is empty"));
    assert!(told("open", &|a| a.large.zone = None).contains("large.zone is missing"));
    assert!(told("open", &|a| a.ricochets = 2).contains("ricochets has no use"));
    let well = WellText { x: 800, y: 450, radius: 900, pull: 10 };
    assert!(told("open", &|a| a.small.wells.push(well)).contains("small.spawns[3] lies in the pull of wells[0]"));
    let beside = DiscText { x: 800, y: 450, radius: 200 };
    let two = [beside, DiscText { x: 1221, ..beside }];
    let gap = told("open", &|a| a.small.pillars.extend(two));
    assert!(gap.contains("small.pillars[1] leaves a gap of 21 units to pillars[0]"), "{gap}");
    let corner = WallText { x: 60, y: 450, width: 80, height: 80 };
    let rim = told("cage", &|a| a.small.walls.push(corner));
    assert!(rim.contains("leaves a gap of 20 units to the edge"), "{rim}");
}

/// Broken by gates that count as walls, or by a search that goes through walls or over an edge that is one.
#[test]
fn a_place_behind_walls_is_not_reached_and_one_behind_a_gate_is() {
    let mut closed = arena("gates");
    assert!(oddities(&closed).is_empty());
    let gates: Vec<WallText> = closed.small.gates.drain(..).map(|gate| gate.wall).collect();
    closed.small.walls.extend(gates);
    let odd = oddities(&closed).join("\n");
    assert!(odd.contains("small.pads[0] cannot be reached"), "{odd}");
    assert!(odd.contains("small.spawns[1] cannot be reached"), "{odd}");
    assert!(!odd.contains("small.spawns[2] cannot"), "{odd}");
}

/// Broken by a symmetry that forgets what it turns.
#[test]
fn a_layout_fits_over_itself_as_often_as_it_should() {
    let open = arena("open");
    assert_eq!(symmetries(&open.small, open.edge).len(), 4);
    assert_eq!(symmetries(&open.large, open.edge).len(), 8);
    let mut lopsided = open.small;
    lopsided.pads = vec![PlaceText { x: 100, y: 450 }];
    assert_eq!(symmetries(&lopsided, open.edge).len(), 2);
    lopsided.pads = vec![PlaceText { x: 100, y: 100 }];
    assert_eq!(symmetries(&lopsided, open.edge).len(), 1);
}
