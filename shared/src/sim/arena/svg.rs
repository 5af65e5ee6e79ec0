//! Draws an arena as SVG, for whoever makes one or looks at what happens in one.
//!
//! In: a document that has passed its checks, and what to lay beneath, for instance a heat map. Out: SVG text.
//! *Invariant:* equal documents make equal text, digit for digit: integers only, and the sine of the sim.
//! Lengths are arena units; `y` points up as in the sim, in what lies beneath too.
//! Start reading at [`draw`] and [`field`].

use std::fmt::Write as _;

use super::{ArenaText, DiscText, Edge, GateText, LayoutText, PlaceText, Size, Spawn, SpawnText, WallText, WellText};
use crate::sim::units::along;

/// Around the field; holds the title above and the rim.
const MARGIN: u32 = 60;
/// Below the field.
const LEGEND: u32 = 70;
/// From the middle of a ship to its nose. Drawn a little larger than it flies, so that it can be seen.
const NOSE: i32 = 26;

const STYLE: &str = "\
text{font:24px system-ui,sans-serif;fill:#aab6d8}.title{font-size:32px;fill:#fff}.small{font-size:18px}\
.mid{text-anchor:middle;dominant-baseline:central}\
.space{fill:#0b1020}.grid{stroke:#18203c;stroke-width:2;fill:none}\
.wrap{fill:none;stroke:#5f6fa8;stroke-width:4;stroke-dasharray:18 12}.rim{fill:none;stroke:#9fb4ff;stroke-width:10}\
.wall{fill:#4a5a92;stroke:#9fb4ff;stroke-width:3}.gate{fill:url(#hatch);stroke:#ffb454;stroke-width:3}\
.pillar{fill:#3d4c80;stroke:#9fb4ff;stroke-width:3}.rock{fill:#6b5d52;stroke:#c9b6a5;stroke-width:2}\
.well{fill:url(#well);stroke:#b48cff;stroke-width:2;stroke-dasharray:4 8}.core{fill:#b48cff}\
.zone{fill:#ffd75e;fill-opacity:.1;stroke:#ffd75e;stroke-width:3;stroke-dasharray:12 8}\
.pad{fill:#0b1020;stroke:#58e08c;stroke-width:4}.ship{fill:#ff6b81;stroke:#fff;stroke-width:2}\
.even{fill:#4fc3f7}";

const DEFINITIONS: &str = "\
<defs><pattern id=\"hatch\" width=\"16\" height=\"16\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
<rect width=\"16\" height=\"16\" fill=\"#2a2233\"/><rect width=\"7\" height=\"16\" fill=\"#ffb454\"/></pattern>\
<radialGradient id=\"well\"><stop offset=\"0\" stop-color=\"#b48cff\" stop-opacity=\".55\"/>\
<stop offset=\"1\" stop-color=\"#b48cff\" stop-opacity=\".02\"/></radialGradient></defs>";

/// One layout with its legend; `underlay` is SVG in arena units that is drawn first, `y` upward.
pub fn draw(arena: &ArenaText, size: Size, underlay: &str) -> String {
    let layout = arena.layout(size);
    document(panel_width(layout), panel_height(layout), &panel(arena, size, underlay))
}

/// Both layouts beside each other.
pub fn draw_both(arena: &ArenaText) -> String {
    let (small, large) = (&arena.small, &arena.large);
    let aside = panel_width(small);
    let panels = format!(
        "{}<g transform=\"translate({aside} 0)\">{}</g>",
        panel(arena, Size::Small, ""),
        panel(arena, Size::Large, "")
    );
    document(aside + panel_width(large), panel_height(small).max(panel_height(large)), &panels)
}

fn panel_width(layout: &LayoutText) -> u32 {
    layout.width + 2 * MARGIN
}

fn panel_height(layout: &LayoutText) -> u32 {
    layout.height + 2 * MARGIN + LEGEND
}

fn document(width: u32, height: u32, content: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{}\" height=\"{}\">\
         <style>{STYLE}</style>{DEFINITIONS}<rect width=\"{width}\" height=\"{height}\" fill=\"#05070f\"/>{content}</svg>\n",
        width / 2,
        height / 2
    )
}

/// Title, field, rim and legend.
fn panel(arena: &ArenaText, size: Size, underlay: &str) -> String {
    let layout = arena.layout(size);
    let (name, seats) = (&arena.name, size.seats());
    let mut panel = format!(
        "<text class=\"title\" x=\"{MARGIN}\" y=\"42\">{name}, {} to {} seats</text>",
        seats.start(),
        seats.end()
    );
    panel += &field(layout, arena.edge, size, underlay);
    let rim = match arena.edge {
        Edge::Wrap => "wrap",
        Edge::Wall => "rim",
    };
    let (width, height) = (layout.width, layout.height);
    let _ =
        write!(panel, "<rect class=\"{rim}\" x=\"{MARGIN}\" y=\"{MARGIN}\" width=\"{width}\" height=\"{height}\"/>");
    panel += &legend(arena, layout);
    panel
}

/// What lies inside the rim. A nested `svg` cuts off what reaches beyond it.
fn field(layout: &LayoutText, edge: Edge, size: Size, underlay: &str) -> String {
    let (width, height, id) = (layout.width, layout.height, size.name());
    let mut field = format!(
        "<svg x=\"{MARGIN}\" y=\"{MARGIN}\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\
         <rect class=\"space\" width=\"{width}\" height=\"{height}\"/>{}\
         <g transform=\"matrix(1 0 0 -1 0 {height})\">{underlay}<g id=\"{id}\">{}</g>",
        grid(width, height),
        fixtures(layout)
    );
    if edge == Edge::Wrap {
        // What reaches over a wrapping edge comes in on the other side.
        let (w, h) = (width as i32, height as i32);
        for (x, y) in [(w, 0), (-w, 0), (0, h), (0, -h), (w, h), (-w, h), (w, -h), (-w, -h)] {
            let _ = write!(field, "<use href=\"#{id}\" x=\"{x}\" y=\"{y}\"/>");
        }
    }
    layout.pads.iter().for_each(|pad| field += &pad_shape(pad));
    layout.spawns.iter().enumerate().for_each(|(seat, spawn)| field += &ship(seat, spawn));
    field += "</g>";
    labels(layout).for_each(|label| field += &label);
    field + "</svg>"
}

/// A line every hundred units.
fn grid(width: u32, height: u32) -> String {
    let mut path = String::new();
    (100..width).step_by(100).for_each(|x| _ = write!(path, "M{x} 0V{height}"));
    (100..height).step_by(100).for_each(|y| _ = write!(path, "M0 {y}H{width}"));
    format!("<path class=\"grid\" d=\"{path}\"/>")
}

/// Zone, wells and solids.
fn fixtures(layout: &LayoutText) -> String {
    let mut shapes = String::new();
    layout.zone.iter().for_each(|zone| shapes += &disc("zone", zone));
    for WellText { x, y, radius, .. } in &layout.wells {
        shapes += &disc("well", &DiscText { x: *x, y: *y, radius: *radius });
        shapes += &disc("core", &DiscText { x: *x, y: *y, radius: 8 });
    }
    layout.walls.iter().for_each(|wall| shapes += &rectangle("wall", wall));
    layout.gates.iter().for_each(|gate| shapes += &rectangle("gate", &gate.wall));
    layout.pillars.iter().for_each(|pillar| shapes += &disc("pillar", pillar));
    shapes
}

fn disc(class: &str, DiscText { x, y, radius }: &DiscText) -> String {
    format!("<circle class=\"{class}\" cx=\"{x}\" cy=\"{y}\" r=\"{radius}\"/>")
}

fn rectangle(class: &str, wall: &WallText) -> String {
    let WallText { x, y, width, height } = *wall;
    let (left, low) = (x as i32 - width as i32 / 2, y as i32 - height as i32 / 2);
    format!("<rect class=\"{class}\" x=\"{left}\" y=\"{low}\" width=\"{width}\" height=\"{height}\" rx=\"4\"/>")
}

fn pad_shape(PlaceText { x, y }: &PlaceText) -> String {
    format!("<path class=\"pad\" d=\"M{x} {y}m0 -20l20 20l-20 20l-20 -20z\"/>")
}

/// A dart that points where the ship looks; even seats are one side in `teams`, odd ones the other.
fn ship(seat: usize, spawn: &SpawnText) -> String {
    let angle = Spawn::from_text(spawn).angle;
    let corner = |length: i32, turn: i32| {
        let direction = angle.turned(turn);
        (spawn.x as i32 + along(length, direction.cos()), spawn.y as i32 + along(length, direction.sin()))
    };
    let ((nx, ny), (lx, ly), (rx, ry)) = (corner(NOSE, 0), corner(NOSE, 1600), corner(NOSE, -1600));
    let class = if seat.is_multiple_of(2) { "ship even" } else { "ship" };
    format!("<path class=\"{class}\" d=\"M{nx} {ny}L{lx} {ly}L{} {}L{rx} {ry}z\"/>", spawn.x, spawn.y)
}

/// Seat numbers, gates' times and wells' strengths: text, so not upside down as the rest would be.
fn labels(layout: &LayoutText) -> impl Iterator<Item = String> {
    let label = move |x: u32, y: i32, text: String| {
        let y = layout.height as i32 - y;
        format!("<text class=\"small mid\" x=\"{x}\" y=\"{y}\">{text}</text>")
    };
    let seats = layout.spawns.iter().enumerate();
    let seats = seats.map(move |(seat, spawn)| label(spawn.x, spawn.y as i32 - NOSE - 14, seat.to_string()));
    let gates = layout.gates.iter().map(move |GateText { wall, open_ms, closed_ms, .. }| {
        let below = wall.y as i32 - wall.height as i32 / 2 - 16;
        label(wall.x, below, format!("{} / {} s", seconds(*open_ms), seconds(*closed_ms)))
    });
    let wells = layout.wells.iter().map(move |well| label(well.x, well.y as i32 - 24, format!("{}", well.pull)));
    seats.chain(gates).chain(wells)
}

/// A number of milliseconds as seconds and tenths.
fn seconds(milliseconds: u32) -> String {
    let (whole, tenths) = (milliseconds / 1000, milliseconds % 1000 / 100);
    if tenths == 0 { whole.to_string() } else { format!("{whole}.{tenths}") }
}

/// What the shapes mean: those that this layout has.
fn legend(arena: &ArenaText, layout: &LayoutText) -> String {
    let top = layout.height + 2 * MARGIN;
    let edge = match (arena.edge, arena.ricochets) {
        (Edge::Wrap, 0) => "edges wrap".to_owned(),
        (Edge::Wrap, bounces) => format!("edges wrap, shots bounce {bounces}\u{d7}"),
        (Edge::Wall, 0) => "edges are walls".to_owned(),
        (Edge::Wall, bounces) => format!("edges are walls, shots bounce {bounces}\u{d7}"),
    };
    let mut legend =
        format!("<text x=\"{MARGIN}\" y=\"{}\">{} \u{d7} {}, {edge}</text>", top - 10, layout.width, layout.height);
    let swatch =
        |class: &str| format!("<rect class=\"{class}\" x=\"0\" y=\"-22\" width=\"26\" height=\"26\" rx=\"4\"/>");
    let round = |class: &str| format!("<circle class=\"{class}\" cx=\"13\" cy=\"-9\" r=\"13\"/>");
    let entries = [
        ("wall", layout.walls.len(), swatch("wall")),
        ("gate: open / closed", layout.gates.len(), swatch("gate")),
        ("pillar", layout.pillars.len(), round("pillar")),
        ("well: pull in units/s\u{b2}", layout.wells.len(), round("well")),
        ("asteroid, scattered", usize::from(layout.asteroids), round("rock")),
        ("pad", layout.pads.len(), "<path class=\"pad\" d=\"M13 -22l13 13l-13 13l-13 -13z\"/>".to_owned()),
        ("zone of king", usize::from(layout.zone.is_some()), round("zone")),
    ];
    let mut x = MARGIN;
    for (meaning, count, sign) in entries.iter().filter(|(_, count, _)| *count > 0) {
        let text = format!("{count} {meaning}");
        let _ = write!(
            legend,
            "<g transform=\"translate({x} {})\">{sign}<text class=\"small\" x=\"36\">{text}</text></g>",
            top + 34
        );
        x += 36 + 11 * text.chars().count() as u32 + 24;
    }
    legend
}

#[cfg(test)]
mod tests;
