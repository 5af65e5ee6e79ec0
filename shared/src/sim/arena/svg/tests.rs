//! Drawings of arenas, made and built in.

use super::*;
use crate::sim::rules::parse;

fn text() -> ArenaText {
    let (file, text) = crate::assets::ARENAS[0];
    parse(file, text).unwrap()
}

/// Broken by leaving out a shape, or by drawing it at its corner instead of its middle.
#[test]
fn everything_of_a_layout_is_drawn_where_it_is() {
    let mut arena = text();
    let layout = &mut arena.small;
    (layout.width, layout.height) = (1000, 800);
    layout.walls = vec![WallText { x: 300, y: 200, width: 100, height: 40 }];
    let wall = WallText { x: 700, y: 600, width: 40, height: 100 };
    layout.gates = vec![GateText { wall, open_ms: 2000, closed_ms: 1500, offset_ms: 0 }];
    layout.pillars = vec![DiscText { x: 500, y: 700, radius: 33 }];
    layout.wells = vec![WellText { x: 501, y: 402, radius: 222, pull: 77 }];
    layout.zone = Some(DiscText { x: 500, y: 400, radius: 111 });
    layout.asteroids = 4;
    let svg = draw(&arena, Size::Small, "<path id=\"beneath\"/>");
    for part in [
        "class=\"wall\" x=\"250\" y=\"180\" width=\"100\" height=\"40\"",
        "class=\"gate\" x=\"680\" y=\"550\" width=\"40\" height=\"100\"",
        "2 / 1.5 s",
        "class=\"pillar\" cx=\"500\" cy=\"700\" r=\"33\"",
        "class=\"well\" cx=\"501\" cy=\"402\" r=\"222\"",
        "class=\"zone\" cx=\"500\" cy=\"400\" r=\"111\"",
        "4 asteroid, scattered",
        "<path id=\"beneath\"/>",
        "matrix(1 0 0 -1 0 800)",
    ] {
        assert!(svg.contains(part), "{part} is missing in {svg}");
    }
    assert_eq!(svg.matches("class=\"ship").count(), 4);
    assert_eq!(svg.matches("class=\"pad\"").count(), arena.small.pads.len() + 1);
}

/// Broken by a tag that is not closed, in any built-in arena.
#[test]
fn drawings_are_well_formed() {
    for (file, text) in crate::assets::ARENAS {
        let svg = draw_both(&parse(file, text).unwrap());
        let mut open = Vec::new();
        for tag in svg.split('<').skip(1) {
            let (tag, _) = tag.split_once('>').unwrap_or_else(|| panic!("{file}: <{tag}"));
            let name = tag.split(' ').next().unwrap();
            match name.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop(), Some(name), "{file}"),
                None if !tag.ends_with('/') => open.push(name),
                None => {}
            }
        }
        assert!(open.is_empty(), "{file}: {open:?} stay open");
    }
}
