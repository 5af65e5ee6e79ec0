//! What is odd about an arena although it is legal: unfair spawn points, traps, places that nobody reaches.
//!
//! In: a document that has passed its checks. Out: sentences for whoever makes arenas, and what a layout looks like turned.
//! *Invariant:* no match asks for any of this: it costs a few milliseconds.
//! Start reading at [`oddities`].

use std::collections::VecDeque;

use super::{ArenaText, Edge, LayoutText, Size, SpawnText, WallText};

/// A gap between solids that is narrower holds a standard hull (16 units radius) fast instead of letting it through.
const GAP_MIN: u32 = 40;
/// Side of a cell and radius of the hull with which reachable places are searched, in units.
const CELL: u32 = 16;

/// Everything odd about both layouts; the field comes first in each sentence.
pub fn oddities(arena: &ArenaText) -> Vec<String> {
    let mut odd = Vec::new();
    for size in Size::ALL {
        let (layout, name) = (arena.layout(size), size.name());
        let mut say = |field: &str, what: String| odd.push(format!("{name}.{field} {what}"));
        unfair_spawns(layout, arena.edge, &mut say);
        narrow_gaps(layout, arena.edge, &mut say);
        unreachable(layout, arena.edge, &mut say);
        missing(layout, &mut say);
    }
    let bare = |layout: &LayoutText| layout.walls.is_empty() && layout.gates.is_empty() && layout.pillars.is_empty();
    if arena.ricochets > 0 && arena.edge == Edge::Wrap && bare(&arena.small) && bare(&arena.large) {
        odd.push("ricochets has no use: there is nothing that a shot could bounce off".into());
    }
    odd
}

fn missing(layout: &LayoutText, say: &mut impl FnMut(&str, String)) {
    if layout.pads.is_empty() {
        say("pads", "is empty: no power-ups here".into());
    }
    if layout.zone.is_none() {
        say("zone", "is missing: `king` cannot be played here".into());
    }
}

// ---- fairness ----

/// One way of laying a rectangle over itself: first `x` and `y` change places (squares only), then flips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symmetry {
    pub swap: bool,
    pub flip_x: bool,
    pub flip_y: bool,
}

/// Something that stands in an arena: kind, place, and what else it consists of.
type Fixture = (u8, (u32, u32), [u32; 5]);

impl Symmetry {
    fn all() -> impl Iterator<Item = Symmetry> {
        (0..8u8).map(|bits| Symmetry { swap: bits & 4 != 0, flip_x: bits & 2 != 0, flip_y: bits & 1 != 0 })
    }

    fn place(self, layout: &LayoutText, edge: Edge, (x, y): (u32, u32)) -> (u32, u32) {
        let (x, y) = if self.swap { (y, x) } else { (x, y) };
        let flipped = |at: u32, size: u32, flip: bool| match (flip, edge) {
            (false, _) => at,
            (true, Edge::Wall) => size - at,
            (true, Edge::Wrap) => (size - at) % size,
        };
        (flipped(x, layout.width, self.flip_x), flipped(y, layout.height, self.flip_y))
    }

    /// Where a spawn point comes to lie.
    pub fn spawn(self, layout: &LayoutText, edge: Edge, spawn: SpawnText) -> SpawnText {
        let (x, y) = self.place(layout, edge, (spawn.x, spawn.y));
        let mut heading = spawn.heading_degrees as i32;
        heading = if self.swap { 90 - heading } else { heading };
        heading = if self.flip_x { 180 - heading } else { heading };
        heading = if self.flip_y { -heading } else { heading };
        SpawnText { x, y, heading_degrees: heading.rem_euclid(360) as u32 }
    }

    fn fixture(self, layout: &LayoutText, edge: Edge, (kind, at, mut parts): Fixture) -> Fixture {
        // Only rectangles have two sides; they come first among the parts.
        if self.swap {
            parts.swap(0, 1);
        }
        (kind, self.place(layout, edge, at), parts)
    }
}

/// The ways in which a layout without its spawn points can be laid over itself; the first is to leave it as it is.
pub fn symmetries(layout: &LayoutText, edge: Edge) -> Vec<Symmetry> {
    let mut fixtures = fixtures(layout);
    fixtures.sort_unstable();
    let fits = |symmetry: &Symmetry| {
        let mut turned: Vec<Fixture> = fixtures.iter().map(|one| symmetry.fixture(layout, edge, *one)).collect();
        turned.sort_unstable();
        turned == fixtures
    };
    let square = layout.width == layout.height;
    Symmetry::all().filter(|symmetry| square || !symmetry.swap).filter(fits).collect()
}

fn fixtures(layout: &LayoutText) -> Vec<Fixture> {
    let rectangle = |wall: &WallText| ((wall.x, wall.y), wall.width, wall.height);
    let walls = layout.walls.iter().map(|wall| {
        let (at, width, height) = rectangle(wall);
        (0, at, [width, height, 0, 0, 0])
    });
    let gates = layout.gates.iter().map(|gate| {
        let (at, width, height) = rectangle(&gate.wall);
        (1, at, [width, height, gate.open_ms, gate.closed_ms, gate.offset_ms])
    });
    // Round things have equal sides.
    let pillars = layout.pillars.iter().map(|disc| (2, (disc.x, disc.y), [disc.radius, disc.radius, 0, 0, 0]));
    let wells = layout.wells.iter().map(|well| (3, (well.x, well.y), [well.radius, well.radius, well.pull, 0, 0]));
    let pads = layout.pads.iter().map(|pad| (4, (pad.x, pad.y), [0; 5]));
    let zone = layout.zone.iter().map(|disc| (5, (disc.x, disc.y), [disc.radius, disc.radius, 0, 0, 0]));
    walls.chain(gates).chain(pillars).chain(wells).chain(pads).chain(zone).collect()
}

fn unfair_spawns(layout: &LayoutText, edge: Edge, say: &mut impl FnMut(&str, String)) {
    let symmetries = symmetries(layout, edge);
    let becomes = |symmetry: &Symmetry, one: usize, other: usize| {
        symmetry.spawn(layout, edge, layout.spawns[one]) == layout.spawns[other]
    };
    if !symmetries.iter().any(|symmetry| becomes(symmetry, 0, 1) && becomes(symmetry, 1, 0)) {
        say("spawns[1]", "is no mirror image of spawns[0]: a duel is not equal".into());
    }
    for other in 2..layout.spawns.len() {
        if !symmetries.iter().any(|symmetry| becomes(symmetry, 0, other)) {
            say(&format!("spawns[{other}]"), "is not worth the same as spawns[0] by any symmetry of the layout".into());
        }
    }
    for (index, spawn) in layout.spawns.iter().enumerate() {
        for (number, well) in layout.wells.iter().enumerate() {
            let away = |one, other, size| layout.away(one, other, size, edge);
            let (dx, dy) = (away(spawn.x, well.x, layout.width), away(spawn.y, well.y, layout.height));
            if dx * dx + dy * dy < well.radius * well.radius {
                say(&format!("spawns[{index}]"), format!("lies in the pull of wells[{number}]"));
            }
        }
    }
}

// ---- traps ----

/// A solid as a rectangle with rounded corners: walls have no radius, pillars no sides.
#[derive(Clone, Debug)]
struct Solid {
    field: String,
    at: (u32, u32),
    half: (u32, u32),
    radius: u32,
}

fn solids(layout: &LayoutText, with_gates: bool) -> Vec<Solid> {
    let rectangle = |field: String, wall: &WallText| {
        let (at, half) = ((wall.x, wall.y), (wall.width / 2, wall.height / 2));
        Solid { field, at, half, radius: 0 }
    };
    let walls = layout.walls.iter().enumerate().map(|(i, wall)| rectangle(format!("walls[{i}]"), wall));
    let gates = layout.gates.iter().enumerate().filter(|_| with_gates);
    let gates = gates.map(|(i, gate)| rectangle(format!("gates[{i}]"), &gate.wall));
    let pillars = layout.pillars.iter().enumerate().map(|(i, disc)| {
        let (at, radius) = ((disc.x, disc.y), disc.radius);
        Solid { field: format!("pillars[{i}]"), at, half: (0, 0), radius }
    });
    walls.chain(gates).chain(pillars).collect()
}

impl Solid {
    /// How far the outside of a circle at `at` is from the outside of this, both rounded rectangles; 0: they meet.
    fn gap(&self, other: &Solid, layout: &LayoutText, edge: Edge) -> u32 {
        let apart =
            |one: u32, two: u32, size: u32, halves: u32| layout.away(one, two, size, edge).saturating_sub(halves);
        let dx = apart(self.at.0, other.at.0, layout.width, self.half.0 + other.half.0);
        let dy = apart(self.at.1, other.at.1, layout.height, self.half.1 + other.half.1);
        (dx * dx + dy * dy).isqrt().saturating_sub(self.radius + other.radius)
    }

    /// To the nearest edge.
    fn gap_to_rim(&self, layout: &LayoutText) -> u32 {
        let (x, y) = (self.half.0 + self.radius, self.half.1 + self.radius);
        let across = self.at.0.min(layout.width.saturating_sub(self.at.0)).saturating_sub(x);
        across.min(self.at.1.min(layout.height.saturating_sub(self.at.1)).saturating_sub(y))
    }
}

fn narrow_gaps(layout: &LayoutText, edge: Edge, say: &mut impl FnMut(&str, String)) {
    let solids = solids(layout, true);
    let narrow = |gap: u32| (1..GAP_MIN).contains(&gap);
    for (index, solid) in solids.iter().enumerate() {
        let rim = solid.gap_to_rim(layout);
        if edge == Edge::Wall && narrow(rim) {
            say(&solid.field, format!("leaves a gap of {rim} units to the edge, too narrow for a ship"));
        }
        for other in &solids[..index] {
            let gap = solid.gap(other, layout, edge);
            if narrow(gap) {
                say(&solid.field, format!("leaves a gap of {gap} units to {}, too narrow for a ship", other.field));
            }
        }
    }
}

// ---- reach ----

fn unreachable(layout: &LayoutText, edge: Edge, say: &mut impl FnMut(&str, String)) {
    let reached = Reached::from(layout, edge, (layout.spawns[0].x, layout.spawns[0].y));
    let mut check = |field: String, x: u32, y: u32| {
        if !reached.holds((x, y)) {
            say(&field, "cannot be reached from spawns[0], with every gate open".into());
        }
    };
    layout.spawns.iter().enumerate().for_each(|(i, spawn)| check(format!("spawns[{i}]"), spawn.x, spawn.y));
    layout.pads.iter().enumerate().for_each(|(i, pad)| check(format!("pads[{i}]"), pad.x, pad.y));
}

/// Cells that a hull gets to, gates open.
struct Reached {
    columns: u32,
    cells: Vec<bool>,
}

impl Reached {
    fn from(layout: &LayoutText, edge: Edge, start: (u32, u32)) -> Reached {
        let (columns, rows) = (layout.width.div_ceil(CELL), layout.height.div_ceil(CELL));
        let solids = solids(layout, false);
        let free = |(column, row): (u32, u32)| {
            // The last column and row may reach beyond the arena.
            let middle = |cell: u32, size: u32| (cell * CELL + CELL / 2).min(size - 1);
            let at = (middle(column, layout.width), middle(row, layout.height));
            let hull = Solid { field: String::new(), at, half: (0, 0), radius: CELL };
            solids.iter().all(|solid| solid.gap(&hull, layout, edge) > 0)
        };
        let mut reached = Reached { columns, cells: vec![false; (columns * rows) as usize] };
        let mut next = VecDeque::from([(start.0 / CELL, start.1 / CELL)]);
        while let Some((column, row)) = next.pop_front() {
            let cell = &mut reached.cells[(row * columns + column) as usize];
            if *cell || !free((column, row)) {
                continue;
            }
            *cell = true;
            let on = |at: u32, count: u32, step: u32| match edge {
                Edge::Wrap => Some((at + step) % count),
                Edge::Wall => Some((at + step) % count).filter(|to| to.abs_diff(at) == 1),
            };
            next.extend([1, columns - 1].iter().filter_map(|step| Some((on(column, columns, *step)?, row))));
            next.extend([1, rows - 1].iter().filter_map(|step| Some((column, on(row, rows, *step)?))));
        }
        reached
    }

    fn holds(&self, (x, y): (u32, u32)) -> bool {
        self.cells[(y / CELL * self.columns + x / CELL) as usize]
    }
}

#[cfg(test)]
mod tests;
