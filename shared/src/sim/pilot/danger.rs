//! What is about to hit the ship, and a manoeuvre that it misses.
//!
//! In: a scene and a wish. Out: the wish, or the best of a few manoeuvres when the wish would end badly.
//! A [`Threat`] is something that moves in a straight line for a while; the own ship's path under a manoeuvre is sampled
//! every few ticks, and each threat costs by how closely it passes. With nothing near, this costs a look at each bullet.
//! *Invariant:* nothing is a threat before it has been visible for the pilot's reaction time.
//! Start reading at [`averted`].

use super::geometry::{Vector, cross, dot, over, rough_length, squared, sum};
use super::scene::{QUARTER_TURN, Scene, UNIT, per_tick};
use super::wish::Wish;
use crate::sim::items::Item;
use crate::sim::list::FixedList;
use crate::sim::units::{ADVANCE_SHIFT, SINE_ONE, TURN_MAX, along};

/// How far ahead a pilot looks; a shot across its range takes longer, but by then much else has happened.
const HORIZON_TICKS: i32 = 36;
/// Ticks between two samples of the own path.
const STEP_TICKS: i32 = 3;
const STEPS: usize = (HORIZON_TICKS / STEP_TICKS) as usize;
/// Threats weighed at once at most; the first ones in the order of their lists.
const THREATS_MAX: usize = 8;
/// What passes farther away than this, if the ship flies on as it does, is no threat.
const WIDE: i32 = 110 * UNIT;
/// What a sure hit costs, and what a turn away from the wish costs at most.
const HIT_COST: i32 = 1000;
const DEVIATION_COST: i32 = 60;
/// A manoeuvre is preferred to the wish only if it is better by this.
const WORTH_IT: i32 = 120;

/// A manoeuvre: by how much to turn, and with what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manoeuvre {
    off_steps: i32,
    thrust: bool,
    dash: bool,
}

const fn manoeuvre(off_steps: i32, thrust: bool, dash: bool) -> Manoeuvre {
    Manoeuvre { off_steps, thrust, dash }
}

/// What may come to a pilot's mind; a worse one thinks of the first few only.
pub(super) const MANOEUVRES: [Manoeuvre; 9] = [
    manoeuvre(0, true, false),
    manoeuvre(0, false, false),
    manoeuvre(QUARTER_TURN, true, false),
    manoeuvre(-QUARTER_TURN, true, false),
    manoeuvre(0, true, true),
    manoeuvre(2 * QUARTER_TURN - 1, true, false),
    manoeuvre(QUARTER_TURN / 2, true, true),
    manoeuvre(-QUARTER_TURN / 2, true, true),
    manoeuvre(QUARTER_TURN / 3, true, false),
];

/// What a threat does to a ship that comes near.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    /// Flies past in this direction, faster than ships; hits when the ship is in its line as it passes.
    #[default]
    Shot,
    /// Hits whatever is within its radius.
    Body,
    /// A beam along this direction, at one moment.
    Beam,
}

/// Something that hurts, relative to where the own ship is now.
#[derive(Clone, Copy, Debug, Default)]
struct Threat {
    kind: Kind,
    at: Vector,
    /// Position steps per tick.
    velocity: Vector,
    /// Unit vector, in 1/32768.
    direction: Vector,
    /// Sum of both radii.
    reach: i32,
    from_tick: i32,
    until_tick: i32,
    /// Share of [`HIT_COST`] in 1/256.
    weight: i32,
}

type Threats = FixedList<Threat, THREATS_MAX>;
type Path = [Vector; STEPS + 1];

/// The wish, or what is better when something is about to hit.
pub(super) fn averted(scene: &Scene<'_>, wish: Wish) -> Wish {
    let manoeuvres = &MANOEUVRES[..scene.limits.manoeuvres];
    if manoeuvres.is_empty() || scene.own.guard_ticks > HORIZON_TICKS as u8 {
        return wish;
    }
    let threats = threats(scene);
    if threats.is_empty() {
        return wish;
    }
    let wished = Manoeuvre { off_steps: wish.off_steps, thrust: wish.thrust, dash: wish.dash };
    let as_wished = cost(scene, &wished, &threats);
    if as_wished < WORTH_IT {
        return wish;
    }
    let mut best = (as_wished - WORTH_IT, wished);
    for manoeuvre in manoeuvres {
        if manoeuvre.dash && !scene.can_dash() {
            continue;
        }
        let away = (manoeuvre.off_steps - wish.off_steps).abs().min(QUARTER_TURN);
        let cost = cost(scene, manoeuvre, &threats) + DEVIATION_COST * away / QUARTER_TURN;
        if cost < best.0 {
            best = (cost, *manoeuvre);
        }
    }
    let Manoeuvre { off_steps, thrust, dash } = best.1;
    // A shot that was to leave at once still may, if the heading stays.
    let fire = wish.fire && (off_steps - wish.off_steps).abs() < QUARTER_TURN / 16;
    Wish { off_steps, thrust, dash, fire }
}

/// What all threats together cost on the way that a manoeuvre leads.
fn cost(scene: &Scene<'_>, manoeuvre: &Manoeuvre, threats: &Threats) -> i32 {
    let path = path(scene, manoeuvre);
    threats.iter().map(|threat| threat.cost(&path)).sum()
}

/// Where the own ship will be, relative to where it is, every [`STEP_TICKS`].
fn path(scene: &Scene<'_>, manoeuvre: &Manoeuvre) -> Path {
    let (thrust, top) = scene.power();
    let (thrust, top) = ((thrust * STEP_TICKS) >> 4, top >> ADVANCE_SHIFT);
    let turn_max = scene.rules.turn_per_input_q8 * i32::from(TURN_MAX) / 256 * STEP_TICKS;
    let dash_steps = i32::from(scene.rules.dash.ticks) / STEP_TICKS;
    let dash_speed = scene.rules.dash.speed >> ADVANCE_SHIFT;
    let (mut angle, mut off) = (scene.own.angle, manoeuvre.off_steps);
    // 1/16 of position steps, so that a weak thrust is not lost.
    let (mut vx, mut vy) = (scene.own.vx >> (ADVANCE_SHIFT - 4), scene.own.vy >> (ADVANCE_SHIFT - 4));
    let mut path = [(0, 0); STEPS + 1];
    for step in 0..STEPS {
        let turn = off.clamp(-turn_max, turn_max);
        (angle, off) = (angle.turned(turn), off - turn);
        if manoeuvre.dash && (step as i32) < dash_steps {
            (vx, vy) = (along(dash_speed << 4, angle.cos()), along(dash_speed << 4, angle.sin()));
        } else {
            if manoeuvre.thrust {
                (vx, vy) = (vx + along(thrust >> 4, angle.cos()), vy + along(thrust >> 4, angle.sin()));
            }
            let speed = rough_length((vx >> 4, vy >> 4));
            if speed > top {
                (vx, vy) = ((vx >> 4) * top / speed << 4, (vy >> 4) * top / speed << 4);
            }
        }
        path[step + 1] = (path[step].0 + (vx * STEP_TICKS >> 4), path[step].1 + (vy * STEP_TICKS >> 4));
    }
    path
}

impl Threat {
    fn cost(&self, path: &Path) -> i32 {
        let (from, until) = (self.from_tick / STEP_TICKS, (self.until_tick / STEP_TICKS).min(STEPS as i32));
        let miss = match self.kind {
            Kind::Shot => self.closest_pass(path, from, until),
            Kind::Body => self.closest(path, from, until),
            Kind::Beam => self.beside(path, until),
        };
        // A hit costs all, a pass at twice the reach nothing.
        let part = (2 * self.reach - miss).clamp(0, self.reach) / (self.reach >> 6).max(1);
        let graded = if miss < self.reach { HIT_COST - (miss.max(0) >> 6).min(200) } else { HIT_COST / 4 * part / 64 };
        graded * self.weight / 256
    }

    /// How far from the ship the shot is when it passes it; far away if it does not.
    fn closest_pass(&self, path: &Path, from: i32, until: i32) -> i32 {
        let mut closest = i32::MAX / 4;
        let mut before: Option<(i64, i64)> = None;
        for step in from..=until {
            let shot = sum(self.at, over(self.velocity, step * STEP_TICKS));
            let apart = (path[step as usize].0 - shot.0, path[step as usize].1 - shot.1);
            let (ahead, beside) = (dot(apart, self.direction), cross(apart, self.direction));
            if let Some((ahead_before, beside_before)) = before
                && ahead_before > 0
                && ahead <= 0
            {
                // Between the two samples; where in between hardly matters for a shot.
                closest = closest.min((((beside + beside_before) / 2).abs() / i64::from(SINE_ONE)) as i32);
            }
            before = Some((ahead, beside));
        }
        // It ends before the ship, but only just.
        if let Some((ahead, beside)) = before
            && ahead > 0
            && ahead < i64::from(self.reach) * i64::from(SINE_ONE)
        {
            closest = closest.min((beside.abs() / i64::from(SINE_ONE)) as i32);
        }
        closest
    }

    fn closest(&self, path: &Path, from: i32, until: i32) -> i32 {
        let apart = (from..=until).map(|step| {
            let body = sum(self.at, over(self.velocity, step * STEP_TICKS));
            squared((path[step as usize].0 - body.0, path[step as usize].1 - body.1))
        });
        apart.min().map_or(i32::MAX / 4, |squared| squared.isqrt() as i32)
    }

    /// How far from the beam the ship is when it comes.
    fn beside(&self, path: &Path, step: i32) -> i32 {
        let muzzle = sum(self.at, over(self.velocity, step * STEP_TICKS));
        let apart = (path[step as usize].0 - muzzle.0, path[step as usize].1 - muzzle.1);
        if dot(apart, self.direction) <= 0 {
            return i32::MAX / 4;
        }
        (cross(apart, self.direction).abs() / i64::from(SINE_ONE)) as i32
    }
}

/// Everything that could hit within the horizon.
fn threats(scene: &Scene<'_>) -> Threats {
    let mut threats = Threats::default();
    shots(scene, &mut threats);
    beams(scene, &mut threats);
    mines(scene, &mut threats);
    rocks(scene, &mut threats);
    threats
}

fn own_radius(scene: &Scene<'_>) -> i32 {
    if scene.own.alive { scene.rules.radius } else { scene.rules.pod.radius }
}

/// Bullets and homing shots.
fn shots(scene: &Scene<'_>, threats: &mut Threats) {
    let life = i32::from(scene.rules.bullet_life_ticks);
    let reach = own_radius(scene) + 2 * UNIT;
    for bullet in scene.view.bullets.iter().filter(|bullet| scene.is_hurt_by(bullet.owner())) {
        let age = i32::from(bullet.age(scene.now));
        let until_tick = (life - age).min(HORIZON_TICKS);
        if age < scene.limits.reaction_ticks || until_tick <= 0 {
            continue;
        }
        let at = scene.way_to(bullet.position(scene.now, scene.rules, scene.arena));
        let direction = (bullet.angle.cos(), bullet.angle.sin());
        let velocity = (along(scene.bullet_speed(), direction.0), along(scene.bullet_speed(), direction.1));
        let shot = Threat { kind: Kind::Shot, at, velocity, direction, reach, from_tick: 0, until_tick, weight: 256 };
        if scene.limits.ricochets && scene.arena.has_solids() {
            bounced(scene, shot, bullet.bounces, threats);
        } else if comes_near(scene, &shot) {
            let _ = threats.push(shot);
        }
    }
    for shot in scene.view.homing.iter().filter(|shot| scene.is_hurt_by(shot.owner)) {
        let at = scene.way_to((shot.x, shot.y));
        let direction = (shot.angle.cos(), shot.angle.sin());
        let speed = scene.rules.items.homing.speed >> ADVANCE_SHIFT;
        let velocity = (along(speed, direction.0), along(speed, direction.1));
        let until_tick = (shot.spent.since(scene.now) as i32).min(HORIZON_TICKS);
        let reach = 2 * reach;
        let shot = Threat { kind: Kind::Shot, at, velocity, direction, reach, from_tick: 0, until_tick, weight: 256 };
        if comes_near(scene, &shot) {
            let _ = threats.push(shot);
        }
    }
}

/// The shot up to the first solid on its way, and its path after that.
fn bounced(scene: &Scene<'_>, shot: Threat, bounces: u8, threats: &mut Threats) {
    let (from, whole) = (sum(scene.own.at(), shot.at), over(shot.velocity, shot.until_tick));
    let from = scene.arena.placed(from.0, from.1);
    let Some(met) = scene.arena.first_solid(from, whole, scene.now) else {
        if comes_near(scene, &shot) {
            let _ = threats.push(shot);
        }
        return;
    };
    let ticks = ((i64::from(met.time) * i64::from(shot.until_tick)) >> 16) as i32;
    let first = Threat { until_tick: ticks, ..shot };
    if comes_near(scene, &first) {
        let _ = threats.push(first);
    }
    let heading = crate::sim::units::Angle::of(shot.direction.0, shot.direction.1);
    let Some(angle) = met.turn.applied(heading).filter(|_| bounces < scene.arena.ricochets) else { return };
    let direction = (angle.cos(), angle.sin());
    let velocity = (along(scene.bullet_speed(), direction.0), along(scene.bullet_speed(), direction.1));
    // As if it had flown that straight from the start.
    let at = sum(scene.way_to(met.at), over(velocity, -ticks));
    let second = Threat { at, velocity, direction, from_tick: ticks, ..shot };
    if comes_near(scene, &second) {
        let _ = threats.push(second);
    }
}

/// Whether it passes at all near to where the ship will be if it flies on.
fn comes_near(scene: &Scene<'_>, threat: &Threat) -> bool {
    let (ox, oy) = scene.velocity();
    let relative = (threat.velocity.0 - ox, threat.velocity.1 - oy);
    let closing = -dot(threat.at, relative);
    let speed = i64::from(rough_length(relative).max(1));
    closing > -i64::from(threat.reach) * speed
        && closing < (i64::from(threat.until_tick) * speed + i64::from(WIDE)) * speed
        && cross(threat.at, relative).abs() < i64::from(WIDE) * speed
}

/// Lasers that wind up, where they will point if they do not turn.
fn beams(scene: &Scene<'_>, threats: &mut Threats) {
    let laser = &scene.rules.items.laser;
    for (seat, ship) in scene.others() {
        let seen = i32::from(laser.windup_ticks) - i32::from(ship.windup_ticks);
        if ship.windup_ticks == 0 || ship.item != Item::Laser || seen < scene.limits.reaction_ticks {
            continue;
        }
        let at = scene.way_to(ship.at());
        if scene.is_hurt_by(seat) && rough_length(at) < laser.reach {
            let (direction, velocity) = ((ship.angle.cos(), ship.angle.sin()), per_tick(ship));
            let reach = own_radius(scene) + laser.half_width + 12 * UNIT;
            let until_tick = i32::from(ship.windup_ticks);
            let beam =
                Threat { kind: Kind::Beam, at, velocity, direction, reach, until_tick, weight: 256, from_tick: 0 };
            let _ = threats.push(beam);
        }
    }
}

/// Mines that can be seen and are, or soon will be, armed.
fn mines(scene: &Scene<'_>, threats: &mut Threats) {
    let reach = scene.rules.items.mine.trigger + 6 * UNIT;
    for mine in scene.view.mines.iter().filter(|mine| scene.is_hurt_by(mine.owner)) {
        let at = scene.way_to(mine.at());
        if rough_length(at) < reach + 2 * WIDE && mine.armed.since(scene.now) < HORIZON_TICKS as u32 {
            let until_tick = HORIZON_TICKS;
            let _ = threats.push(Threat { kind: Kind::Body, at, reach, until_tick, weight: 200, ..Threat::default() });
        }
    }
}

/// Rocks: a nuisance when slow, dangerous when fast.
fn rocks(scene: &Scene<'_>, threats: &mut Threats) {
    for rock in scene.view.asteroids.iter() {
        let at = scene.way_to((rock.x, rock.y));
        let velocity = (rock.vx >> ADVANCE_SHIFT, rock.vy >> ADVANCE_SHIFT);
        let reach = rock.radius() + own_radius(scene) + 4 * UNIT;
        let until_tick = HORIZON_TICKS;
        let body = Threat { kind: Kind::Body, at, velocity, reach, until_tick, weight: 160, ..Threat::default() };
        if rough_length(at) < reach + 2 * WIDE && comes_near(scene, &body) {
            let _ = threats.push(body);
        }
    }
}
