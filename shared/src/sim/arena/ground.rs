//! How bodies and bullets meet what stands still: edges, walls, closed gates, pillars.
//!
//! In: a circle with a velocity, or the path of a point within one tick. Out: the circle outside of every solid,
//! turned back by its normal; or the first solid that the point meets.
//! *Invariant:* a body is inside the arena afterwards, whatever it was before.
//! *Invariant:* no solid is thinner than the longest step plus a hull, so nothing passes through one ([`super::check`]).
//! Start reading at [`Arena::keep_out`] and [`Arena::first_solid`].

use super::{Arena, Disc, Edge, Wall};
use crate::sim::bullets::{TICK_END, time_of_impact};
use crate::sim::units::{ANGLE_STEPS, Angle, Tick, along};

const HALF_TURN: i32 = ANGLE_STEPS as i32 / 2;

/// A circle that moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Body {
    pub x: i32,
    pub y: i32,
    pub vx: i32,
    pub vy: i32,
    /// Position steps.
    pub radius: i32,
    /// Share of its speed towards a solid that it keeps when it is turned back, in 1/256.
    pub bounce_q8: i32,
}

impl Body {
    /// Moves it by `depth` along `(nx, ny)` of length `length`, and turns back what of its velocity goes against it.
    fn pushed(&mut self, (nx, ny): (i64, i64), length: i64, depth: i64) {
        let length = length.max(1);
        // Rounded away from the solid, so that it does not stay stuck.
        let push = |n: i64| ((n * depth) / length + n.signum()) as i32;
        self.x += push(nx);
        self.y += push(ny);
        let against = i64::from(self.vx) * nx + i64::from(self.vy) * ny;
        if against < 0 {
            let kept = 256 + i64::from(self.bounce_q8);
            let squared = length * length;
            self.vx -= (against * nx / squared * kept / 256) as i32;
            self.vy -= (against * ny / squared * kept / 256) as i32;
        }
    }
}

/// What a bullet met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Met {
    /// In 1/65536 of the tick.
    pub time: u32,
    /// Where the bullet goes on from, clear of the solid.
    pub at: (i32, i32),
    pub turn: Turn,
}

/// How a bullet's heading changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Off a side that faces left or right.
    Sideways,
    /// Off a side that faces up or down.
    Upright,
    /// Off a round side whose outward normal has this angle.
    Round(Angle),
    /// It is inside of something that closed around it.
    Stuck,
}

impl Turn {
    /// The new heading; `None` when there is none.
    pub fn applied(self, heading: Angle) -> Option<Angle> {
        let old = i32::from(heading.0);
        match self {
            Turn::Sideways => Some(Angle(0).turned(HALF_TURN - old)),
            Turn::Upright => Some(Angle(0).turned(-old)),
            Turn::Round(normal) => Some(Angle(0).turned(2 * i32::from(normal.0) + HALF_TURN - old)),
            Turn::Stuck => None,
        }
    }
}

impl Arena {
    /// Pushes a body out of every solid and into the arena.
    pub fn keep_out(&self, body: &mut Body, tick: Tick) {
        if !self.walls.is_empty() || !self.gates.is_empty() || !self.pillars.is_empty() {
            // Twice: out of one solid may be into the next.
            for _ in 0..2 {
                self.solid_walls(tick).for_each(|wall| self.out_of_wall(wall, body));
                self.pillars.iter().for_each(|pillar| self.out_of_disc(pillar, body));
            }
        }
        if self.edge == Edge::Wall {
            (body.x, body.vx) = turned_back(body.x, body.vx, body.radius, self.width, body.bounce_q8);
            (body.y, body.vy) = turned_back(body.y, body.vy, body.radius, self.height, body.bounce_q8);
        }
        (body.x, body.y) = self.placed(body.x, body.y);
    }

    fn out_of_wall(&self, wall: &Wall, body: &mut Body) {
        let (dx, dy) = self.way((wall.x, wall.y), (body.x, body.y));
        let (outside_x, outside_y) = (dx.abs() - wall.half_width, dy.abs() - wall.half_height);
        if outside_x >= body.radius || outside_y >= body.radius {
            return;
        }
        let side = |d: i32| if d < 0 { -1 } else { 1 };
        if outside_x <= 0 || outside_y <= 0 {
            // Beside a flat side, or inside: out by the nearest side.
            if outside_x > outside_y {
                body.pushed((side(dx), 0), 1, i64::from(body.radius - outside_x));
            } else {
                body.pushed((0, side(dy)), 1, i64::from(body.radius - outside_y));
            }
            return;
        }
        let (nx, ny) = (side(dx) * i64::from(outside_x), side(dy) * i64::from(outside_y));
        let squared = nx * nx + ny * ny;
        if squared < i64::from(body.radius).pow(2) {
            let distance = squared.isqrt();
            body.pushed((nx, ny), distance, i64::from(body.radius) - distance);
        }
    }

    fn out_of_disc(&self, disc: &Disc, body: &mut Body) {
        let (dx, dy) = self.way((disc.x, disc.y), (body.x, body.y));
        let reach = i64::from(disc.radius + body.radius);
        let squared = i64::from(dx).pow(2) + i64::from(dy).pow(2);
        if squared < reach * reach {
            let normal = if squared == 0 { (1, 0) } else { (i64::from(dx), i64::from(dy)) };
            let distance = squared.isqrt().max(1);
            body.pushed(normal, distance, reach - distance);
        }
    }

    /// The first solid that a point meets on its way `path` from `from` within `tick`; of equal times, the first in the
    /// order edges, walls, gates, pillars.
    pub fn first_solid(&self, from: (i32, i32), path: (i32, i32), tick: Tick) -> Option<Met> {
        let mut first: Option<Met> = None;
        let mut take = |met: Option<Met>| {
            if let Some(met) = met
                && first.is_none_or(|earlier| met.time < earlier.time)
            {
                first = Some(met);
            }
        };
        if self.edge == Edge::Wall {
            take(self.edge_met(from, path));
        }
        self.solid_walls(tick).for_each(|wall| take(self.wall_met(wall, from, path)));
        self.pillars.iter().for_each(|pillar| take(self.disc_met(pillar, from, path)));
        first
    }

    fn edge_met(&self, from: (i32, i32), path: (i32, i32)) -> Option<Met> {
        let time = |from: i32, path: i32, size: i32| {
            let room = if path < 0 { from } else { size - 1 - from };
            (path.abs() > room).then(|| ((i64::from(room.max(0)) << 16) / i64::from(path.abs())) as u32)
        };
        let (x, y) = (time(from.0, path.0, self.width), time(from.1, path.1, self.height));
        let at = |time: u32| {
            let (x, y) = after(from, path, time);
            (x.clamp(0, self.width - 1), y.clamp(0, self.height - 1))
        };
        match (x, y) {
            (Some(x), y) if y.is_none_or(|y| x <= y) => Some(Met { time: x, at: at(x), turn: Turn::Sideways }),
            (_, Some(y)) => Some(Met { time: y, at: at(y), turn: Turn::Upright }),
            _ => None,
        }
    }

    fn wall_met(&self, wall: &Wall, from: (i32, i32), path: (i32, i32)) -> Option<Met> {
        let (fx, fy) = self.way((wall.x, wall.y), from);
        // Out of reach along one axis: settles nearly every pair.
        if fx.abs() > wall.half_width + path.0.abs() || fy.abs() > wall.half_height + path.1.abs() {
            return None;
        }
        let (x_in, x_out) = crossing(fx, path.0, wall.half_width)?;
        let (y_in, y_out) = crossing(fy, path.1, wall.half_height)?;
        let (enter, leave) = (x_in.max(y_in), x_out.min(y_out));
        if enter > leave || leave < 0 || enter > i64::from(TICK_END) {
            return None;
        }
        if enter < 0 {
            return Some(Met { time: 0, at: from, turn: Turn::Stuck });
        }
        let (x, y) = after((fx, fy), path, enter as u32);
        let (x, y, turn) = if x_in >= y_in {
            (if path.0 > 0 { -wall.half_width - 1 } else { wall.half_width + 1 }, y, Turn::Sideways)
        } else {
            (x, if path.1 > 0 { -wall.half_height - 1 } else { wall.half_height + 1 }, Turn::Upright)
        };
        Some(Met { time: enter as u32, at: self.placed(wall.x + x, wall.y + y), turn })
    }

    fn disc_met(&self, disc: &Disc, from: (i32, i32), path: (i32, i32)) -> Option<Met> {
        let apart = self.way((disc.x, disc.y), from);
        let time = time_of_impact(apart, path, disc.radius)?;
        let (x, y) = after(apart, path, time);
        let normal = Angle::of(x, y);
        // Two steps clear of the side: the sine table is that rough.
        let clear = disc.radius + 2 + (disc.radius >> 12);
        let at = self.placed(disc.x + along(clear, normal.cos()), disc.y + along(clear, normal.sin()));
        Some(Met { time, at, turn: Turn::Round(normal) })
    }
}

/// A coordinate brought back between two walls, and its velocity turned back.
fn turned_back(at: i32, velocity: i32, radius: i32, size: i32, bounce_q8: i32) -> (i32, i32) {
    let (low, high) = (radius, size - 1 - radius);
    let back = -(i64::from(velocity) * i64::from(bounce_q8) / 256) as i32;
    if at < low {
        (low, if velocity < 0 { back } else { velocity })
    } else if at > high {
        (high, if velocity > 0 { back } else { velocity })
    } else {
        (at, velocity)
    }
}

/// When a coordinate is within ±`half`, as times of entering and leaving; `None`: never.
fn crossing(from: i32, path: i32, half: i32) -> Option<(i64, i64)> {
    let (from, path, half) = (i64::from(from), i64::from(path), i64::from(half));
    if path == 0 {
        return (from.abs() <= half).then_some((i64::MIN, i64::MAX));
    }
    let (one, other) = (((-half - from) << 16) / path, ((half - from) << 16) / path);
    Some((one.min(other), one.max(other)))
}

/// Where a point is at `time` (1/65536 of a tick) on its way.
fn after(from: (i32, i32), path: (i32, i32), time: u32) -> (i32, i32) {
    let part = |path: i32| ((i64::from(path) * i64::from(time)) >> 16) as i32;
    (from.0 + part(path.0), from.1 + part(path.1))
}
