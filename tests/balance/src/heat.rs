//! Where ships are destroyed, as a heat map in SVG.

use std::fmt::Write;

use astro_shared::sim::arena::Arena;
use astro_shared::sim::units::POSITION_PER_UNIT;

/// Side of a cell, in arena units.
const CELL: i32 = 25;

/// Counts per cell of one arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heat {
    columns: usize,
    rows: usize,
    cells: Vec<u32>,
}

impl Heat {
    pub fn of(arena: &Arena) -> Heat {
        let count = |size: i32| ((size / POSITION_PER_UNIT + CELL - 1) / CELL) as usize;
        let (columns, rows) = (count(arena.width), count(arena.height));
        Heat { columns, rows, cells: vec![0; columns * rows] }
    }

    /// Counts one at a place in position steps.
    pub fn add(&mut self, (x, y): (i32, i32)) {
        let cell = |at: i32, count: usize| ((at / POSITION_PER_UNIT / CELL).max(0) as usize).min(count - 1);
        let (column, row) = (cell(x, self.columns), cell(y, self.rows));
        self.cells[row * self.columns + column] += 1;
    }

    pub fn join(&mut self, other: &Heat) {
        self.cells.iter_mut().zip(&other.cells).for_each(|(own, other)| *own += other);
    }

    /// The arena with its cells, the hottest one opaque. The y axis points up, as in the game.
    pub fn svg(&self, arena: &Arena, title: &str) -> String {
        let (width, height) = (arena.width / POSITION_PER_UNIT, arena.height / POSITION_PER_UNIT);
        let most = self.cells.iter().copied().max().unwrap_or(0).max(1);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\">\n\
             <title>{title}</title>\n<rect width=\"{width}\" height=\"{height}\" fill=\"#0b0e1a\"/>\n"
        );
        for (index, count) in self.cells.iter().enumerate().filter(|(_, count)| **count > 0) {
            let (column, row) = ((index % self.columns) as i32, (index / self.columns) as i32);
            let (x, y, opacity) = (column * CELL, height - (row + 1) * CELL, f64::from(*count) / f64::from(most));
            let _ = writeln!(
                svg,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{CELL}\" height=\"{CELL}\" fill=\"#ff5030\" \
                 fill-opacity=\"{opacity:.2}\"><title>{count}</title></rect>"
            );
        }
        svg.push_str(&outline(arena, height));
        svg.push_str("</svg>\n");
        svg
    }
}

/// What stands in the arena, over the cells.
fn outline(arena: &Arena, height: i32) -> String {
    let units = |steps: i32| steps / POSITION_PER_UNIT;
    let mut svg = String::from("<g fill=\"none\" stroke=\"#9fb4ff\" stroke-width=\"3\">\n");
    let _ = writeln!(svg, "<rect width=\"{}\" height=\"{height}\"/>", units(arena.width));
    for wall in arena.walls.iter().chain(arena.gates.iter().map(|gate| &gate.wall)) {
        let (half_width, half_height) = (units(wall.half_width), units(wall.half_height));
        let (x, y) = (units(wall.x) - half_width, height - units(wall.y) - half_height);
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\"/>",
            2 * half_width,
            2 * half_height
        );
    }
    let spawns = arena.spawns.iter().map(|spawn| (spawn.x, spawn.y, 6 * POSITION_PER_UNIT));
    let pillars = arena.pillars.iter().map(|pillar| (pillar.x, pillar.y, pillar.radius));
    for (x, y, radius) in pillars.chain(spawns) {
        let _ = writeln!(svg, "<circle cx=\"{}\" cy=\"{}\" r=\"{}\"/>", units(x), height - units(y), units(radius));
    }
    svg.push_str("</g>\n");
    svg
}
