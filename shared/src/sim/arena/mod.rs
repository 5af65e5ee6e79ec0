//! Where a match is fought: edges, walls, pillars, gates, wells, pads, as data.
//!
//! In: an arena document with a layout for 2 to 4 seats and one for 5 to 8. Out: an [`Arena`] on the grid.
//! *Invariant:* an `Arena` that exists has passed every check, so systems never re-check a place.
//! *Invariant:* nothing here changes during a match; what a gate does follows from the tick.
//! Start reading at [`Arena`]; how bodies and bullets meet its solids is in [`ground`], how it is
//! drawn in [`svg`], what may be odd about it in [`survey`].

pub mod check;
pub mod ground;
pub mod survey;
pub mod svg;

use serde::{Deserialize, Serialize};

use super::units::{
    ANGLE_STEPS, Angle, POSITION_PER_UNIT, SEATS_MAX, SEATS_MIN, TICKS_PER_SECOND, Tick, VELOCITY_PER_UNIT, shortest,
    wrapped,
};

/// Seats for which an arena's small layout is made; more take the large one.
pub const SMALL_SEATS_MAX: u8 = 4;
/// Pads of one arena at most; each is a row in every snapshot.
pub const PADS_MAX: usize = 4;
/// Walls, gates, pillars and wells of one arena at most, each; bounds the work of a tick.
pub const SOLIDS_MAX: usize = 16;

/// An arena as written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArenaText {
    pub name: String,
    pub edge: Edge,
    /// How often a bullet bounces off walls, pillars and gates before it is spent.
    pub ricochets: u8,
    /// For 2 to 4 seats.
    pub small: LayoutText,
    /// For 5 to 8 seats.
    pub large: LayoutText,
}

/// One size of an arena as written. Lengths in arena units, times in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayoutText {
    pub width: u32,
    pub height: u32,
    pub spawns: Vec<SpawnText>,
    #[serde(default)]
    pub walls: Vec<WallText>,
    #[serde(default)]
    pub gates: Vec<GateText>,
    #[serde(default)]
    pub pillars: Vec<DiscText>,
    #[serde(default)]
    pub wells: Vec<WellText>,
    /// Where power-ups appear.
    #[serde(default)]
    pub pads: Vec<PlaceText>,
    /// Large asteroids at the start of a round.
    #[serde(default)]
    pub asteroids: u8,
    /// What `king` is about.
    #[serde(default)]
    pub zone: Option<DiscText>,
}

/// Which of an arena's two layouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    Small,
    Large,
}

impl Size {
    pub const ALL: [Size; 2] = [Size::Small, Size::Large];

    /// Where that many seats fight.
    pub fn of(seats: u8) -> Size {
        if seats <= SMALL_SEATS_MAX { Size::Small } else { Size::Large }
    }

    /// Its field in an arena document.
    pub fn name(self) -> &'static str {
        match self {
            Size::Small => "small",
            Size::Large => "large",
        }
    }

    /// For how many seats it is; as many as the last have spawn points.
    pub fn seats(self) -> std::ops::RangeInclusive<u8> {
        match self {
            Size::Small => SEATS_MIN as u8..=SMALL_SEATS_MAX,
            Size::Large => SMALL_SEATS_MAX + 1..=SEATS_MAX as u8,
        }
    }
}

impl ArenaText {
    pub fn layout(&self, size: Size) -> &LayoutText {
        match size {
            Size::Small => &self.small,
            Size::Large => &self.large,
        }
    }
}

/// What the rim of an arena does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edge {
    /// What leaves on one side comes in on the other.
    Wrap,
    /// It is a wall.
    Wall,
}

/// Where a ship starts and where it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpawnText {
    pub x: u32,
    pub y: u32,
    pub heading_degrees: u32,
}

/// An upright rectangle; `x` and `y` are its middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WallText {
    pub x: u32,
    pub y: u32,
    pub width: u32,
    pub height: u32,
}

/// A wall that comes and goes: open first, then closed, over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateText {
    pub wall: WallText,
    pub open_ms: u32,
    pub closed_ms: u32,
    /// How far into that cycle a match begins.
    pub offset_ms: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiscText {
    pub x: u32,
    pub y: u32,
    pub radius: u32,
}

/// Pulls what flies within `radius` towards its middle, there with `pull` units/s², less with distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WellText {
    pub x: u32,
    pub y: u32,
    pub radius: u32,
    pub pull: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlaceText {
    pub x: u32,
    pub y: u32,
}

/// A spawn point in grid steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spawn {
    pub x: i32,
    pub y: i32,
    pub angle: Angle,
}

/// An upright rectangle by its middle and half its sides, in position steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wall {
    pub x: i32,
    pub y: i32,
    pub half_width: i32,
    pub half_height: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    pub wall: Wall,
    pub open_ticks: u32,
    pub closed_ticks: u32,
    pub offset_ticks: u32,
}

impl Gate {
    pub fn is_closed(&self, tick: Tick) -> bool {
        tick.0.wrapping_add(self.offset_ticks) % (self.open_ticks + self.closed_ticks) >= self.open_ticks
    }
}

/// A circle, in position steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disc {
    pub x: i32,
    pub y: i32,
    pub radius: i32,
}

/// A place that pulls; `pull` in velocity steps per tick, at its middle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pull {
    pub x: i32,
    pub y: i32,
    pub radius: i32,
    pub pull: i32,
}

/// One size of an arena on the grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Arena {
    pub edge: Edge,
    pub ricochets: u8,
    /// Position steps.
    pub width: i32,
    pub height: i32,
    pub spawns: Vec<Spawn>,
    pub walls: Vec<Wall>,
    pub gates: Vec<Gate>,
    pub pillars: Vec<Disc>,
    pub wells: Vec<Pull>,
    pub pads: Vec<(i32, i32)>,
    pub asteroids: u8,
    pub zone: Option<Disc>,
}

impl Arena {
    /// Of a layout that has passed [`check::check_arena`].
    pub(super) fn new(text: &ArenaText, layout: &LayoutText) -> Arena {
        let pull = |well: &WellText| Pull {
            x: steps(well.x),
            y: steps(well.y),
            radius: steps(well.radius),
            pull: (well.pull as i32 * VELOCITY_PER_UNIT / TICKS_PER_SECOND as i32) / TICKS_PER_SECOND as i32,
        };
        Arena {
            edge: text.edge,
            ricochets: text.ricochets,
            width: steps(layout.width),
            height: steps(layout.height),
            spawns: layout.spawns.iter().map(Spawn::from_text).collect(),
            walls: layout.walls.iter().map(Wall::from_text).collect(),
            gates: layout.gates.iter().map(Gate::from_text).collect(),
            pillars: layout.pillars.iter().map(Disc::from_text).collect(),
            wells: layout.wells.iter().map(pull).collect(),
            pads: layout.pads.iter().map(|pad| (steps(pad.x), steps(pad.y))).collect(),
            asteroids: layout.asteroids,
            zone: layout.zone.as_ref().map(Disc::from_text),
        }
    }

    /// A point brought into the arena: around a wrapping edge, or back to a wall.
    #[inline]
    pub fn placed(&self, x: i32, y: i32) -> (i32, i32) {
        match self.edge {
            Edge::Wrap => (wrapped(x, self.width), wrapped(y, self.height)),
            Edge::Wall => (x.clamp(0, self.width - 1), y.clamp(0, self.height - 1)),
        }
    }

    /// The shortest way from one point to another.
    #[inline]
    pub fn way(&self, from: (i32, i32), to: (i32, i32)) -> (i32, i32) {
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        match self.edge {
            Edge::Wrap => (shortest(dx, self.width), shortest(dy, self.height)),
            Edge::Wall => (dx, dy),
        }
    }

    pub fn contains(&self, x: i32, y: i32) -> bool {
        (0..self.width).contains(&x) && (0..self.height).contains(&y)
    }

    /// Whether anything but a wrapping edge can be in the way.
    pub fn has_solids(&self) -> bool {
        self.edge == Edge::Wall || !(self.walls.is_empty() && self.gates.is_empty() && self.pillars.is_empty())
    }

    /// Every rectangle that is solid in `tick`: walls, then closed gates.
    pub fn solid_walls(&self, tick: Tick) -> impl Iterator<Item = &Wall> {
        self.walls.iter().chain(self.gates.iter().filter(move |gate| gate.is_closed(tick)).map(|gate| &gate.wall))
    }
}

impl Spawn {
    fn from_text(text: &SpawnText) -> Spawn {
        Spawn {
            x: steps(text.x),
            y: steps(text.y),
            // To the nearest step, so that mirrored headings stay mirrored.
            angle: Angle(((text.heading_degrees * u32::from(ANGLE_STEPS) + 180) / 360) as u16),
        }
    }
}

impl Wall {
    fn from_text(text: &WallText) -> Wall {
        let half = |side: u32| side as i32 * POSITION_PER_UNIT / 2;
        Wall { x: steps(text.x), y: steps(text.y), half_width: half(text.width), half_height: half(text.height) }
    }
}

impl Gate {
    fn from_text(text: &GateText) -> Gate {
        let ticks = |ms: u32| (ms * TICKS_PER_SECOND + 500) / 1000;
        Gate {
            wall: Wall::from_text(&text.wall),
            open_ticks: ticks(text.open_ms),
            closed_ticks: ticks(text.closed_ms),
            offset_ticks: ticks(text.offset_ms),
        }
    }
}

impl Disc {
    fn from_text(text: &DiscText) -> Disc {
        Disc { x: steps(text.x), y: steps(text.y), radius: steps(text.radius) }
    }
}

fn steps(units: u32) -> i32 {
    units as i32 * POSITION_PER_UNIT
}
