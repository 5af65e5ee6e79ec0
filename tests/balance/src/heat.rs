//! Where ships are destroyed, as a heat map in SVG.

use std::fmt::Write as _;

use astro_shared::sim::arena::{Arena, ArenaText, Size, svg};
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

    /// The arena with its cells beneath, the hottest one opaque.
    pub fn svg(&self, arena: &ArenaText, seats: u8) -> String {
        svg::draw(arena, Size::of(seats), &self.cells())
    }

    /// The cells in arena units, `y` upward.
    fn cells(&self) -> String {
        let most = self.cells.iter().copied().max().unwrap_or(0).max(1);
        let mut cells = String::from("<g fill=\"#ff5030\">");
        for (index, count) in self.cells.iter().enumerate().filter(|(_, count)| **count > 0) {
            let (x, y) = ((index % self.columns) as i32 * CELL, (index / self.columns) as i32 * CELL);
            let opacity = f64::from(*count) / f64::from(most);
            let _ = write!(
                cells,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{CELL}\" height=\"{CELL}\" fill-opacity=\"{opacity:.2}\">\
                 <title>{count}</title></rect>"
            );
        }
        cells + "</g>"
    }
}
