//! Who hits whom, who dies, and what the phases make of it.
//!
//! In: bullets and ships after the move. Out: damage, deaths, tallies, events, phases.
//! *Invariant:* hits are ordered by time of impact, then by order of firing; all damage of a tick is
//! summed before anyone dies, so two ships may kill each other and both are credited.
//! *Invariant:* kills credited equal deaths, always.
//! Start reading at [`resolve_hits`].

use bevy_ecs::prelude::*;

use super::bullets::time_of_impact;
use super::modes::{Contest, RoundResult};
use super::rng::{Purpose, random};
use super::round::{Phase, Transition};
use super::rules::Ruleset;
use super::state::{Bullet, Bullets, Event, Events, Inputs, Round, Scores, Setup, Ship, Ships, TickStart};
use super::units::{SEATS_MAX, Seat, shortest};

/// One bullet touching one hull.
pub(super) struct Hit {
    time: u32,
    bullet: u16,
    victim: Seat,
}

/// Flies bullets through this tick, ends those that hit or are spent, sums damage, lets ships die together.
pub(super) fn resolve_hits(
    mut matches: Query<(&Setup, &Round, &TickStart, &mut Ships, &mut Scores, &mut Bullets, &mut Events)>,
    mut hits: Local<Vec<Hit>>,
) {
    for (setup, round, start, mut ships, mut scores, mut bullets, mut events) in &mut matches {
        if bullets.0.is_empty() {
            continue;
        }
        let rules = &*setup.ruleset;
        hits.clear();
        if round.phase == Phase::Live {
            let hulls = Hulls::moving(setup, &ships, start);
            hits.extend(bullets.0.iter().filter_map(|bullet| hulls.first_touched(bullet, round, rules)));
        }
        // Stable, so equal times keep the order of firing.
        hits.sort_by_key(|hit| hit.time);
        bullets.0.retain(|bullet| {
            bullet.age(round.tick) < rules.bullet_life_ticks && !hits.iter().any(|hit| hit.bullet == bullet.id)
        });
        if hits.is_empty() {
            continue;
        }
        let killers = damage(&hits, rules, &mut ships, &mut scores, &mut events);
        destroy(setup, &killers, &mut ships, &mut scores, &mut events);
    }
}

/// A living hull and its path through the current tick.
#[derive(Clone, Copy, Default)]
struct Hull {
    seat: Seat,
    from: (i32, i32),
    moved: (i32, i32),
}

/// The living hulls of a match.
struct Hulls {
    rows: [Hull; SEATS_MAX],
    count: usize,
}

impl Hulls {
    fn moving(setup: &Setup, ships: &Ships, start: &TickStart) -> Hulls {
        let mut hulls = Hulls { rows: Default::default(), count: 0 };
        for seat in Seat::first(setup.seats) {
            let ship = &ships.0[seat.index()];
            if ship.alive {
                let from = start.0[seat.index()];
                let moved =
                    (shortest(ship.x - from.0, setup.ruleset.width), shortest(ship.y - from.1, setup.ruleset.height));
                hulls.rows[hulls.count] = Hull { seat, from, moved };
                hulls.count += 1;
            }
        }
        hulls
    }

    /// The hull that `bullet` touches first in this tick, if any; equal times go to the lower seat.
    fn first_touched(&self, bullet: &Bullet, round: &Round, rules: &Ruleset) -> Option<Hit> {
        let age = bullet.age(round.tick);
        if age == 0 {
            return None;
        }
        let (from, to) = (bullet.position(age - 1, rules), bullet.position(age, rules));
        let flown = (shortest(to.0 - from.0, rules.width), shortest(to.1 - from.1, rules.height));
        let mut first: Option<Hit> = None;
        for hull in self.rows[..self.count].iter().filter(|hull| hull.seat != bullet.owner()) {
            let apart = (shortest(from.0 - hull.from.0, rules.width), shortest(from.1 - hull.from.1, rules.height));
            let path = (flown.0 - hull.moved.0, flown.1 - hull.moved.1);
            if let Some(time) = time_of_impact(apart, path, rules.radius)
                && first.as_ref().is_none_or(|hit| time < hit.time)
            {
                first = Some(Hit { time, bullet: bullet.id, victim: hull.seat });
            }
        }
        first
    }
}

/// Sums the damage of all hits in order. Returns, per seat that must die, whose bullet broke the hull.
fn damage(
    hits: &[Hit],
    rules: &Ruleset,
    ships: &mut Ships,
    scores: &mut Scores,
    events: &mut Events,
) -> [Option<Seat>; SEATS_MAX] {
    let mut killers = [None; SEATS_MAX];
    for hit in hits {
        let shooter = Seat(hit.bullet as u8 & 7);
        let victim = &mut ships.0[hit.victim.index()];
        if victim.hull > 0 && victim.hull <= rules.damage {
            killers[hit.victim.index()] = Some(shooter);
        }
        victim.hull = victim.hull.saturating_sub(rules.damage);
        scores.0[hit.victim.index()].hurt_by |= shooter.bit();
        scores.0[shooter.index()].hits = scores.0[shooter.index()].hits.saturating_add(1);
        events.0.push(Event::ShipHit { bullet: hit.bullet, victim: hit.victim });
    }
    killers
}

/// Ends the ships whose hull broke, all at once, and writes the tallies.
fn destroy(
    setup: &Setup,
    killers: &[Option<Seat>; SEATS_MAX],
    ships: &mut Ships,
    scores: &mut Scores,
    events: &mut Events,
) {
    for victim in Seat::first(setup.seats) {
        let Some(by) = killers[victim.index()] else { continue };
        ships.0[victim.index()].alive = false;
        let score = &mut scores.0[victim.index()];
        score.deaths = score.deaths.saturating_add(1);
        let assists = score.hurt_by & !by.bit();
        score.hurt_by = 0;
        for seat in Seat::first(setup.seats).filter(|seat| assists & seat.bit() != 0) {
            let helper = &mut scores.0[seat.index()];
            helper.assists = helper.assists.saturating_add(1);
        }
        let killer = &mut scores.0[by.index()];
        killer.kills = killer.kills.saturating_add(1);
        killer.streak = killer.streak.saturating_add(1);
        killer.streak_longest = killer.streak_longest.max(killer.streak);
        events.0.push(Event::ShipDestroyed { victim, by, assists });
    }
    // After all credits: a ship that killed and died in the same tick had its streak first.
    for victim in Seat::first(setup.seats).filter(|seat| killers[seat.index()].is_some()) {
        scores.0[victim.index()].streak = 0;
    }
}

/// Lets the phases move and does what their transitions ask for.
pub(super) fn advance_phase(
    mut matches: Query<(&Setup, &Inputs, &mut Round, &mut Ships, &mut Scores, &mut Bullets, &mut Events)>,
) {
    for (setup, inputs, mut round, mut ships, mut scores, mut bullets, mut events) in &mut matches {
        if round.phase == Phase::Live {
            for seat in Seat::first(setup.seats).filter(|seat| ships.0[seat.index()].alive) {
                scores.0[seat.index()].survival_ticks += 1;
            }
        }
        let standings = contest(setup, &ships, &scores);
        match round.step(&setup.ruleset, &standings, inputs.start) {
            Some(Transition::RoundPrepared) => {
                bullets.0.clear();
                prepare_ships(setup, round.number, &mut ships, &mut scores);
                events.0.push(Event::RoundStarted { number: round.number });
            }
            Some(Transition::RoundEnded(RoundResult::Won(winner))) => {
                scores.0[winner.index()].rounds_won += 1;
                events.0.push(Event::RoundWon { winner });
            }
            Some(Transition::RoundEnded(RoundResult::Drawn)) => events.0.push(Event::RoundDrawn),
            Some(Transition::MatchEnded(winner)) => {
                let places = setup.ruleset.mode.placements(&standings);
                for seat in Seat::first(setup.seats) {
                    scores.0[seat.index()].placement = places[seat.index()];
                }
                events.0.push(Event::MatchWon { winner });
            }
            Some(Transition::WentLive) | None => {}
        }
    }
}

/// The standings, as far as a mode may know them.
pub fn contest(setup: &Setup, ships: &Ships, scores: &Scores) -> Contest {
    let mut contest = Contest { seats: setup.seats, ..Contest::default() };
    for seat in Seat::first(setup.seats) {
        let index = seat.index();
        contest.alive |= if ships.0[index].alive { seat.bit() } else { 0 };
        contest.rounds_won[index] = scores.0[index].rounds_won;
        contest.kills[index] = scores.0[index].kills;
    }
    contest
}

/// Puts every ship on a spawn point; which seat gets which turns by a random step each round.
pub(super) fn prepare_ships(setup: &Setup, round_number: u8, ships: &mut Ships, scores: &mut Scores) {
    let rules = &*setup.ruleset;
    // Brought below 8 before it becomes a `usize`: that one has 32 bits in a browser and would be another number.
    let step = random(setup.seed, Purpose::Spawn, u32::from(round_number), 0) % u64::from(setup.seats);
    for seat in Seat::first(setup.seats) {
        let spawn = rules.spawns[(seat.index() + step as usize) % usize::from(setup.seats)];
        let ship = &mut ships.0[seat.index()];
        *ship = Ship {
            x: spawn.x,
            y: spawn.y,
            angle: spawn.angle,
            alive: true,
            hull: rules.hull,
            ammunition: rules.magazine,
            shots: ship.shots,
            input: ship.input,
            ..Ship::default()
        };
        scores.0[seat.index()].hurt_by = 0;
        scores.0[seat.index()].streak = 0;
    }
}
