//! Bullets: firing, flight in closed form between bounces, and the swept test.
//!
//! In: ships with inputs, bullets by their spawn data. Out: new bullets, hits.
//! *Invariant:* a bullet's whole path follows from its spawn data, the rules and the arena, so any tick can be computed.
//! *Invariant:* bullet and hull are tested along their whole relative path within a tick: nothing tunnels.
//! Start reading at [`Bullet::step`] and [`time_of_impact`].

use super::arena::Arena;
use super::asteroids;
use super::event::{Event, Weapon};
use super::game::{Game, Wound};
use super::items::{self, Item};
use super::list::FixedList;
use super::rules::{BULLETS_MAX, Ruleset};
use super::ships::hull_radius;
use super::state::{Bullet, Ship};
use super::units::{ADVANCE_SHIFT, POSITION_PER_UNIT, Seat, Tick, along};

/// A shot counter is 13 bits, above the 3 bits of the owner's seat.
const SHOT_COUNTER_MASK: u16 = 0x1fff;

/// End of a tick, as a time of impact: times are in 1/65536 of a tick.
pub const TICK_END: u32 = 1 << 16;

/// A bullet's way through one tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flight {
    pub from: (i32, i32),
    pub path: (i32, i32),
    /// It ends in this tick, whatever it meets: a solid that it cannot bounce off, or its time.
    pub spent: bool,
}

impl Bullet {
    /// Where the bullet is at `tick`, if it meets nothing after its newest bounce.
    pub fn position(&self, tick: Tick, rules: &Ruleset, arena: &Arena) -> (i32, i32) {
        let (dx, dy) = self.flown(i64::from(self.age(tick)) - i64::from(self.leg), rules);
        arena.placed(self.x + dx, self.y + dy)
    }

    /// The way along the present straight after `ticks` of it.
    fn flown(&self, ticks: i64, rules: &Ruleset) -> (i32, i32) {
        let along = |direction| ((i64::from(along(rules.bullet_speed, direction)) * ticks) >> ADVANCE_SHIFT) as i32;
        (along(self.angle.cos()), along(self.angle.sin()))
    }

    /// Flies through `tick`, bouncing at most once; `None` in the tick in which it was fired.
    ///
    /// The client runs this over the bullets it knows, tick by tick, and so has the server's list.
    pub fn step(&mut self, tick: Tick, rules: &Ruleset, arena: &Arena) -> Option<Flight> {
        let age = self.age(tick);
        if age == 0 {
            return None;
        }
        let ticks = i64::from(age) - i64::from(self.leg);
        let (before, after) = (self.flown(ticks - 1, rules), self.flown(ticks, rules));
        let from = arena.placed(self.x + before.0, self.y + before.1);
        let path = (after.0 - before.0, after.1 - before.1);
        let mut flight = Flight { from, path, spent: age >= rules.bullet_life_ticks };
        let met = if arena.has_solids() { arena.first_solid(from, path, tick) } else { None };
        if let Some(met) = met {
            flight.path = arena.way(from, met.at);
            match met.turn.applied(self.angle).filter(|_| self.bounces < arena.ricochets) {
                Some(angle) => {
                    let (x, y) = met.at;
                    *self = Bullet { x, y, angle, leg: age as u8, bounces: self.bounces + 1, ..*self };
                }
                None => flight.spent = true,
            }
        }
        Some(flight)
    }
}

/// Reloads magazines and fires guns or power-ups, in seat order.
pub(super) fn fire_guns(game: &mut Game<'_>) {
    if !game.is_live() {
        return;
    }
    for seat in game.alive() {
        let ship = &mut game.state.ships[seat.index()];
        reload(ship, game.rules);
        if !ship.input.fire() || ship.cooldown_ticks > 0 || ship.windup_ticks > 0 {
            continue;
        }
        if ship.item != Item::None {
            let carried = *ship;
            items::use_item(game, seat);
            if game.state.ships[seat.index()] != carried {
                game.state.ships[seat.index()].guard_ticks = 0;
                continue;
            }
        }
        let ship = &mut game.state.ships[seat.index()];
        if ship.ammunition > 0 && bullets_free(game, seat) > 0 {
            spend_round(&mut game.state.ships[seat.index()], game.rules);
            launch(game, seat, 0);
        }
    }
}

/// Counts the gun's clocks down by one tick.
fn reload(ship: &mut Ship, rules: &Ruleset) {
    ship.cooldown_ticks = ship.cooldown_ticks.saturating_sub(1);
    if ship.ammunition < rules.magazine {
        ship.reload_ticks = ship.reload_ticks.saturating_sub(1);
        if ship.reload_ticks == 0 {
            ship.ammunition += 1;
            ship.reload_ticks =
                if ship.ammunition < rules.magazine { gun_ticks(ship, rules, rules.reload_ticks) } else { 0 };
        }
    }
}

fn gun_ticks(ship: &Ship, rules: &Ruleset, usual: u8) -> u8 {
    if ship.overdrive_ticks > 0 { rules.items.overdrive.gun_ticks(usual) } else { usual }
}

/// How many more bullets `seat` may have in flight: its share of the list, so that nobody uses up another's.
pub(super) fn bullets_free(game: &Game<'_>, seat: Seat) -> usize {
    let share = BULLETS_MAX / usize::from(game.setup.seats);
    share.saturating_sub(game.state.bullets.iter().filter(|bullet| bullet.owner() == seat).count())
}

/// Takes one round from the magazine.
pub(super) fn spend_round(ship: &mut Ship, rules: &Ruleset) {
    if ship.ammunition == rules.magazine {
        ship.reload_ticks = gun_ticks(ship, rules, rules.reload_ticks);
    }
    ship.ammunition -= 1;
    ship.cooldown_ticks = gun_ticks(ship, rules, rules.cooldown_ticks);
    ship.guard_ticks = 0;
    super::ships::recoil(ship, rules);
}

/// Puts a bullet in flight, `turn` angle steps off the ship's heading; it flies from the next tick on.
pub(super) fn launch(game: &mut Game<'_>, seat: Seat, turn: i32) {
    let (rules, tick) = (game.rules, game.state.round.tick);
    let ship = &mut game.state.ships[seat.index()];
    let id = (ship.shots << 3) | u16::from(seat.0);
    ship.shots = (ship.shots + 1) & SHOT_COUNTER_MASK;
    let (angle, muzzle) = (ship.angle.turned(turn), rules.radius + POSITION_PER_UNIT);
    let (x, y) = game.arena.placed(ship.x + along(muzzle, angle.cos()), ship.y + along(muzzle, angle.sin()));
    let bullet = Bullet { id, born: tick.0 as u16, x, y, angle, ..Bullet::default() };
    if game.state.bullets.push(bullet) {
        let score = &mut game.state.scores[seat.index()];
        score.shots = score.shots.saturating_add(1);
        game.tell(Event::ShotFired { bullet });
    }
}

/// What a bullet met first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Target {
    #[default]
    Nothing,
    Hull(Seat),
    /// Index in the list.
    Rock(usize),
}

#[derive(Clone, Copy, Debug, Default)]
struct Hit {
    time: u32,
    bullet: u16,
    flown_ticks: u16,
    target: Target,
}

/// Flies bullets through this tick, ends those that hit or are spent, deals their wounds in order of impact.
pub(super) fn fly(game: &mut Game<'_>) {
    if game.state.bullets.is_empty() {
        return;
    }
    let (tick, live) = (game.state.round.tick, game.is_live());
    let mut hits: FixedList<Hit, BULLETS_MAX> = FixedList::default();
    let mut bullets = game.state.bullets;
    let targets = Targets::of(game, live);
    bullets.retain_mut(|bullet| {
        let Some(flight) = bullet.step(tick, game.rules, game.arena) else { return true };
        let met = targets.first_touched(game, bullet.owner(), &flight);
        if let Some((time, target)) = met {
            let _ = hits.push(Hit { time, bullet: bullet.id, flown_ticks: bullet.age(tick), target });
        }
        met.is_none() && !flight.spent
    });
    game.state.bullets = bullets;
    // Stable, so equal times keep the order of firing.
    hits.sort_by_key(|hit| hit.time);
    hits.iter().for_each(|hit| strike(game, hit));
}

fn strike(game: &mut Game<'_>, hit: &Hit) {
    let by = Seat(hit.bullet as u8 & 7);
    match hit.target {
        Target::Hull(victim) => {
            game.tell(Event::ShipHit { bullet: hit.bullet, victim });
            let (amount, flown_ticks) = (game.rules.damage, hit.flown_ticks);
            game.wound(Wound { time: hit.time, victim, by: Some(by), amount, weapon: Weapon::Gun, flown_ticks });
            let score = &mut game.state.scores[by.index()];
            score.hits = score.hits.saturating_add(1);
        }
        Target::Rock(index) => {
            let id = game.state.asteroids[index].id;
            game.tell(Event::AsteroidHit { bullet: hit.bullet, asteroid: id });
            asteroids::struck(game, index);
        }
        Target::Nothing => {}
    }
}

/// A circle and its path through the current tick.
#[derive(Clone, Copy, Default)]
struct Circle {
    target: Target,
    from: (i32, i32),
    moved: (i32, i32),
    radius: i32,
}

/// Everything that stops a bullet.
struct Targets(FixedList<Circle, { super::units::SEATS_MAX + super::state::ASTEROIDS_MAX }>);

impl Targets {
    fn of(game: &Game<'_>, live: bool) -> Targets {
        let mut circles = FixedList::default();
        for seat in game.seats().filter(|_| live) {
            let ship = &game.state.ships[seat.index()];
            if ship.is_out() {
                let from = game.scratch.start[seat.index()];
                let (moved, radius) = (game.arena.way(from, ship.at()), hull_radius(ship, game.rules));
                let _ = circles.push(Circle { target: Target::Hull(seat), from, moved, radius });
            }
        }
        for (index, rock) in game.state.asteroids.iter().enumerate() {
            let from = rock.before(game.state.round.tick, game.arena);
            let moved = game.arena.way(from, (rock.x, rock.y));
            let _ = circles.push(Circle { target: Target::Rock(index), from, moved, radius: rock.radius() });
        }
        Targets(circles)
    }

    /// What the bullet of `owner` touches first on its way, if anything; equal times go to the first in seat order,
    /// ships before rocks.
    fn first_touched(&self, game: &Game<'_>, owner: Seat, flight: &Flight) -> Option<(u32, Target)> {
        let mut first: Option<(u32, Target)> = None;
        for circle in self.0.iter() {
            let apart = game.arena.way(circle.from, flight.from);
            let path = (flight.path.0 - circle.moved.0, flight.path.1 - circle.moved.1);
            if let Some(time) = time_of_impact(apart, path, circle.radius)
                && first.is_none_or(|(earlier, _)| time < earlier)
                && !matches!(circle.target, Target::Hull(victim) if !game.setup.hurts(owner, victim))
            {
                first = Some((time, circle.target));
            }
        }
        first
    }
}

/// When, within a tick, a point first touches a circle of `radius` around the origin.
///
/// `from` is where the point is at the start of the tick relative to the circle's centre, `path` how it
/// moves relative to it during the tick; position steps. The answer is in 1/65536 of a tick.
pub fn time_of_impact(from: (i32, i32), path: (i32, i32), radius: i32) -> Option<u32> {
    // Out of reach along one axis: settles nearly every pair for a few cycles.
    if from.0.abs() > radius + path.0.abs() || from.1.abs() > radius + path.1.abs() {
        return None;
    }
    let (fx, fy, px, py) = (i64::from(from.0), i64::from(from.1), i64::from(path.0), i64::from(path.1));
    let c = fx * fx + fy * fy - i64::from(radius) * i64::from(radius);
    if c <= 0 {
        return Some(0);
    }
    let (a, b) = (px * px + py * py, fx * px + fy * py);
    // 128 bits: ships that are pushed apart in a pile move far enough in one tick to overflow 64.
    let discriminant = i128::from(b) * i128::from(b) - i128::from(a) * i128::from(c);
    if b >= 0 || discriminant < 0 {
        return None;
    }
    let time = ((-b - discriminant.isqrt() as i64) << 16) / a;
    (time <= i64::from(TICK_END)).then_some(time as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_meets_a_circle_when_the_distance_says_so() {
        assert_eq!(time_of_impact((-100, 0), (200, 0), 50), Some(TICK_END / 4));
        assert_eq!(time_of_impact((-100, 0), (49, 0), 50), None);
        assert_eq!(time_of_impact((-100, 0), (50, 0), 50), Some(TICK_END));
        assert_eq!(time_of_impact((10, 10), (0, 0), 50), Some(0));
        assert_eq!(time_of_impact((-100, 51), (200, 0), 50), None);
        assert_eq!(time_of_impact((100, 0), (200, 0), 50), None);
        assert_eq!(time_of_impact((-30_000, 0), (60_000, 0), 64), Some(((30_000 - 64) << 16) / 60_000));
    }
}
