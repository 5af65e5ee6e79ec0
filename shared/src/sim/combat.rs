//! Who is hurt, who dies, who comes back, and what the phases make of it.
//!
//! In: the tick's wounds, fetched pods, clocks. Out: damage, deaths, pods, new ships, events, phases.
//! *Invariant:* wounds are ordered by time, then by order of dealing; all damage of a tick is summed before anyone
//! dies, so two ships may kill each other and both are credited.
//! *Invariant:* every death is credited to one enemy, or to nobody when none had a hand in it.
//! Start reading at [`settle`].

use super::event::{Event, Weapon};
use super::game::{Game, Wound};
use super::modes::{Contest, RoundResult};
use super::rng::{Purpose, random};
use super::round::{Phase, Transition};
use super::rules::Ruleset;
use super::state::{Round, Setup, Ship, State};
use super::tally;
use super::units::{POSITION_PER_UNIT, SEATS_MAX, Seat, Tick};
use super::{asteroids, items};

/// Ticks between two wounds of a ship outside of the closing arena.
const SUDDEN_DEATH_EVERY_TICKS: u32 = 30;
/// What the arena closes to, as a share of its sides in 1/256: a fifth.
const CLOSED_Q8: i64 = 51;
/// A ship comes back where the nearest enemy is at least this far, if it can.
const RETURN_CLEAR_OF_ENEMIES: i64 = 250 * POSITION_PER_UNIT as i64;
/// And where no bullet flies within this distance.
const RETURN_CLEAR_OF_BULLETS: i64 = 150 * POSITION_PER_UNIT as i64;

/// How a life ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Death {
    pub by: Option<Seat>,
    pub weapon: Weapon,
    pub flown_ticks: u16,
    /// When in the tick, in 1/65536.
    time: u32,
    /// The first of its round; of several in one tick the earliest, of equal ones that of the lowest seat.
    pub is_first: bool,
}

/// Sums the tick's wounds and lets ships and pods end, all at once.
pub(super) fn settle(game: &mut Game<'_>) {
    if game.scratch.wounds.is_empty() {
        return;
    }
    // Stable, so equal times keep the order of dealing.
    game.scratch.wounds.sort_by_key(|wound| wound.time);
    let wounds = game.scratch.wounds;
    let mut deaths = [None; SEATS_MAX];
    for wound in wounds.iter() {
        suffer(game, wound, &mut deaths[wound.victim.index()]);
    }
    if game.state.round.destroyed == 0
        && let Some(first) = deaths.iter_mut().flatten().min_by_key(|death| death.time)
    {
        first.is_first = true;
    }
    for victim in game.seats() {
        if let Some(death) = deaths[victim.index()] {
            end(game, victim, death);
        }
    }
    tally::end_streaks(game, &deaths);
}

/// Deals one wound; `death` becomes that of the wound that broke the hull.
fn suffer(game: &mut Game<'_>, wound: &Wound, death: &mut Option<Death>) {
    let ship = &mut game.state.ships[wound.victim.index()];
    if ship.guard_ticks > 0 || !ship.is_out() {
        return;
    }
    if ship.alive && ship.shield > 0 && wound.weapon != Weapon::SuddenDeath {
        ship.shield -= 1;
        return;
    }
    let taken = wound.amount.min(ship.hull);
    ship.hull -= taken;
    if let Some(by) = wound.by {
        game.state.scores[wound.victim.index()].hurt_by |= by.bit();
        let damage = &mut game.state.scores[by.index()].damage;
        *damage = damage.saturating_add(taken.into());
    }
    if ship.hull == 0 && death.is_none() {
        // A rock or the arena finishes what no enemy began; friends are no enemies.
        let enemy = wound.by.filter(|by| game.setup.side(*by) != game.setup.side(wound.victim));
        let (weapon, flown_ticks, time) = (wound.weapon, wound.flown_ticks, wound.time);
        *death = Some(Death { by: enemy, weapon, flown_ticks, time, is_first: false });
    }
}

/// Ends a ship, which may leave a pod, or ends the pod.
fn end(game: &mut Game<'_>, victim: Seat, death: Death) {
    let ship = &mut game.state.ships[victim.index()];
    let was_pod = ship.pod;
    let left = Ship { alive: false, pod: false, hull: 0, return_ticks: 0, ..without_effects(ship) };
    *ship = left;
    if was_pod {
        game.tell(Event::PodDestroyed { victim, by: death.by, weapon: death.weapon });
    } else {
        tally::credit(game, victim, death);
        if game.rules.pod.enabled {
            let pod = &mut game.state.ships[victim.index()];
            (pod.pod, pod.hull, pod.return_ticks) = (true, 1, game.rules.pod.ticks);
            return;
        }
    }
    next_life(game, victim);
}

/// The ship without what a life brought: power-ups, clocks, protection.
fn without_effects(ship: &Ship) -> Ship {
    Ship {
        x: ship.x,
        y: ship.y,
        vx: ship.vx,
        vy: ship.vy,
        angle: ship.angle,
        lives: ship.lives,
        shots: ship.shots,
        input: ship.input,
        ..Ship::default()
    }
}

/// After a ship without a pod, or after the pod: the next ship, if there is one.
fn next_life(game: &mut Game<'_>, seat: Seat) {
    let ship = &mut game.state.ships[seat.index()];
    if game.rules.mode.returns() {
        ship.return_ticks = game.rules.return_ticks;
    } else if ship.lives > 0 {
        ship.lives -= 1;
        ship.return_ticks = game.rules.return_ticks;
    }
}

/// Counts down to new ships: pods where they are, others at the safest spawn point. A fetched pod is one at once.
pub(super) fn return_ships(game: &mut Game<'_>) {
    if !game.is_live() {
        return;
    }
    for seat in game.seats() {
        let ship = &mut game.state.ships[seat.index()];
        if ship.alive || ship.return_ticks == 0 {
            continue;
        }
        let rescuer = game.scratch.rescued[seat.index()].filter(|_| ship.pod);
        ship.return_ticks = if rescuer.is_some() { 0 } else { ship.return_ticks - 1 };
        if ship.return_ticks > 0 {
            continue;
        }
        if !ship.pod {
            let point = safest_spawn(game, seat);
            let (spawn, ship) = (game.arena.spawns[point], &mut game.state.ships[seat.index()]);
            (ship.x, ship.y, ship.vx, ship.vy, ship.angle) = (spawn.x, spawn.y, 0, 0, spawn.angle);
        }
        let ship = &mut game.state.ships[seat.index()];
        *ship = new_ship(ship, game.rules);
        ship.guard_ticks = game.rules.guard_ticks;
        game.state.scores[seat.index()].hurt_by = 0;
        if let Some(rescuer) = rescuer {
            tally::rescued(game, rescuer);
        }
        game.tell(Event::ShipReturned { seat, rescuer });
    }
}

/// A whole ship in the place of what is there.
fn new_ship(ship: &Ship, rules: &Ruleset) -> Ship {
    Ship { alive: true, pod: false, hull: rules.hull, ammunition: rules.magazine, ..without_effects(ship) }
}

/// The spawn point that is farthest from danger. Enemies and bullets nearer than they should be weigh most; of equally
/// safe points a random one, so that nobody can wait there.
fn safest_spawn(game: &Game<'_>, seat: Seat) -> usize {
    let tick = game.state.round.tick;
    let nearest = |point: (i32, i32), things: &mut dyn Iterator<Item = (i32, i32)>, enough: i64| {
        let squared = things.map(|thing| {
            let (dx, dy) = game.arena.way(point, thing);
            i64::from(dx).pow(2) + i64::from(dy).pow(2)
        });
        squared.min().map_or(enough, |squared| squared.isqrt().min(enough))
    };
    let danger = |index: usize| {
        let spawn = game.arena.spawns[index];
        let point = (spawn.x, spawn.y);
        let others = game.seats().filter(|other| *other != seat).map(|other| game.state.ships[other.index()]);
        let mut hulls = others.filter(Ship::is_out).map(|ship| ship.at());
        let mut bullets = game.state.bullets.iter().map(|bullet| bullet.position(tick, game.rules, game.arena));
        let mut rocks = game.state.asteroids.iter().map(|rock| (rock.x, rock.y));
        nearest(point, &mut hulls, RETURN_CLEAR_OF_ENEMIES)
            + nearest(point, &mut bullets, RETURN_CLEAR_OF_BULLETS)
            + nearest(point, &mut rocks, RETURN_CLEAR_OF_BULLETS)
    };
    let first = random(game.setup.seed, Purpose::Spawn, tick.0, u32::from(seat.0)) % game.arena.spawns.len() as u64;
    let points = game.arena.spawns.len();
    let turned = (0..points).map(|index| (index + first as usize) % points);
    turned.rev().max_by_key(|index| danger(*index)).unwrap_or(0)
}

/// Half the sides of what is left of the arena while it closes in; `None`: all of it.
pub fn closing(round: &Round, rules: &Ruleset, size: (i32, i32)) -> Option<(i32, i32)> {
    let after = rules.sudden_death.after_ticks;
    if after == 0 || round.phase != Phase::Live {
        return None;
    }
    let gone = round.tick.since(live_since(round, rules)).checked_sub(after)?;
    let share = (i64::from(gone) * 256 / i64::from(rules.sudden_death.closing_ticks)).min(256);
    let left_q8 = 256 - (256 - CLOSED_Q8) * share / 256;
    let half = |side: i32| (i64::from(side) * left_q8 / 512) as i32;
    Some((half(size.0), half(size.1)))
}

/// When the present round went live.
fn live_since(round: &Round, rules: &Ruleset) -> Tick {
    Tick(round.phase_ends.0.saturating_sub(rules.round_ticks_max))
}

/// Hurts whoever is outside of what is left of the arena.
pub(super) fn close_in(game: &mut Game<'_>) {
    let size = (game.arena.width, game.arena.height);
    let Some((half_width, half_height)) = closing(&game.state.round, game.rules, size) else { return };
    let since = live_since(&game.state.round, game.rules).plus(game.rules.sudden_death.after_ticks);
    let ticks = game.state.round.tick.since(since);
    if ticks == 0 {
        game.tell(Event::SuddenDeath {});
    }
    if !ticks.is_multiple_of(SUDDEN_DEATH_EVERY_TICKS) {
        return;
    }
    for victim in game.seats() {
        let ship = &game.state.ships[victim.index()];
        let outside = (ship.x - size.0 / 2).abs() > half_width || (ship.y - size.1 / 2).abs() > half_height;
        if ship.is_out() && outside {
            let amount = game.rules.sudden_death.damage;
            game.wound(Wound { victim, amount, weapon: Weapon::SuddenDeath, ..Wound::default() });
        }
    }
}

/// Counts who stands alone in the zone.
pub(super) fn hold_zone(game: &mut Game<'_>) {
    let Some(zone) = game.arena.zone.filter(|_| game.rules.mode.counts_zone() && game.is_live()) else { return };
    let inside = |seat: &Seat| {
        let (dx, dy) = game.arena.way(game.state.ships[seat.index()].at(), (zone.x, zone.y));
        i64::from(dx).pow(2) + i64::from(dy).pow(2) <= i64::from(zone.radius).pow(2)
    };
    let mut sides = game.alive().filter(inside).map(|seat| game.setup.side(seat));
    let first = sides.next();
    let holder = first.filter(|side| sides.all(|other| other == *side));
    game.state.round.holder = holder.map_or(0, |side| side.0 + 1);
    if let Some(side) = holder {
        game.state.scores[side.index()].add_point();
    }
}

/// Lets the phases move and does what their transitions ask for.
pub(super) fn advance_phase(game: &mut Game<'_>) {
    if game.is_live() {
        for seat in game.alive() {
            game.state.scores[seat.index()].survival_ticks += 1;
        }
    }
    let standings = contest(game.setup, game.state);
    match game.state.round.step(game.rules, &standings, game.inputs.start) {
        Some(Transition::RoundPrepared) => {
            prepare_round(game.setup, game.state);
            game.tell(Event::RoundStarted { number: game.state.round.number });
        }
        Some(Transition::RoundEnded(RoundResult::Won(winner))) => {
            for seat in game.seats().filter(|seat| game.setup.side(*seat) == winner) {
                game.state.scores[seat.index()].rounds_won += 1;
            }
            game.tell(Event::RoundWon { winner });
        }
        Some(Transition::RoundEnded(RoundResult::Drawn)) => game.tell(Event::RoundDrawn {}),
        Some(Transition::MatchEnded(winner)) => {
            let places = game.rules.mode.placements(&standings);
            for seat in game.seats() {
                game.state.scores[seat.index()].placement = places[seat.index()];
            }
            game.tell(Event::MatchWon { winner });
        }
        Some(Transition::WentLive) | None => {}
    }
}

/// The standings, as far as a mode may know them.
pub fn contest(setup: &Setup, state: &State) -> Contest {
    let mode = setup.ruleset.mode;
    let target = u32::from(setup.ruleset.score_target);
    let mut contest = Contest {
        seats: setup.seats,
        // The zone counts in ticks, its target is written in seconds.
        score_target: if mode.counts_zone() { target * super::units::TICKS_PER_SECOND } else { target },
        ..Contest::default()
    };
    for seat in Seat::first(setup.seats) {
        let (index, ship) = (seat.index(), &state.ships[seat.index()]);
        contest.alive |= if ship.is_out() || ship.return_ticks > 0 { seat.bit() } else { 0 };
        contest.rounds_won[index] = state.scores[index].rounds_won;
        contest.kills[index] = state.scores[index].kills;
        contest.points[index] = state.scores[index].points.into();
    }
    contest
}

/// Clears the arena and puts every ship on a spawn point; which seat gets which turns by a random step each round.
pub(super) fn prepare_round(setup: &Setup, state: &mut State) {
    let (rules, arena) = (&*setup.ruleset, setup.arena());
    state.bullets.clear();
    state.homing.clear();
    state.bombs.clear();
    state.mines.clear();
    state.round.holder = 0;
    state.round.destroyed = 0;
    asteroids::scatter(setup, state);
    let live = Tick(state.round.tick.0.max(state.round.phase_ends.0));
    items::clear_pads(state, rules, arena, live);
    // Brought below 8 before it becomes a `usize`: that one has 32 bits in a browser and would be another number.
    let number = u32::from(state.round.number);
    let step = random(setup.seed, Purpose::Spawn, number, 0) % u64::from(setup.seats);
    for seat in Seat::first(setup.seats) {
        let spawn = arena.spawns[(seat.index() + step as usize) % usize::from(setup.seats)];
        let ship = &mut state.ships[seat.index()];
        let kept = Ship { shots: ship.shots, input: ship.input, lives: rules.lives - 1, ..Ship::default() };
        *ship = new_ship(&kept, rules);
        (ship.x, ship.y, ship.angle) = (spawn.x, spawn.y, spawn.angle);
        let score = &mut state.scores[seat.index()];
        (score.hurt_by, score.streak, score.points, score.chain) = (0, 0, 0, 0);
    }
}
