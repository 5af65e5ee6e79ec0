//! Promise: every match flown by pilots ends by its rules, and its books balance in every tick.

use std::collections::HashSet;

use astro_shared::sim::MatchKey;
use astro_shared::sim::event::Event;
use astro_shared::sim::round::Phase;
use astro_shared::sim::state::Score;
use astro_shared::sim::units::{SEATS_MAX, Seat, TICKS_PER_SECOND, Tick};
use astro_tests::dice::each_seed;
use astro_tests::pilots::{Fleet, rules};

fn scores(fleet: &Fleet, key: MatchKey) -> Vec<Score> {
    let state = fleet.state(key);
    state.scores[..usize::from(state.setup.seats)].to_vec()
}

/// Adds up the events of a match as a spectator would.
fn tallied(happened: &[(Tick, Event)]) -> [Score; SEATS_MAX] {
    let mut tally = [Score::default(); SEATS_MAX];
    for (_, event) in happened {
        match event {
            Event::ShotFired { bullet } => tally[bullet.owner().index()].shots += 1,
            Event::ShipHit { bullet, .. } => tally[usize::from(bullet & 7)].hits += 1,
            Event::ShipDestroyed { victim, by, assists } => {
                tally[victim.index()].deaths += 1;
                tally[by.index()].kills += 1;
                let helped = Seat::first(SEATS_MAX as u8).filter(|seat| assists & seat.bit() != 0);
                helped.for_each(|seat| tally[seat.index()].assists += 1);
            }
            Event::RoundWon { winner } => tally[winner.index()].rounds_won += 1,
            Event::RoundStarted { .. } | Event::RoundDrawn | Event::MatchWon { .. } => {}
        }
    }
    tally
}

/// Asserts what must hold of any finished match.
fn assert_books_balance(fleet: &Fleet, key: MatchKey, happened: &[(Tick, Event)]) {
    let (scores, tally) = (scores(fleet, key), tallied(happened));
    for (seat, (score, told)) in scores.iter().zip(&tally).enumerate() {
        let counted = |s: &Score| (s.kills, s.deaths, s.assists, s.shots, s.hits, s.rounds_won);
        assert_eq!(counted(score), counted(told), "seat {seat}: tallies are what the events say");
        assert!(score.hits <= score.shots && score.streak_longest <= score.kills, "seat {seat}: {score:?}");
    }
    let sum = |of: fn(&Score) -> u8| scores.iter().map(|score| u32::from(of(score))).sum::<u32>();
    assert_eq!(sum(|score| score.kills), sum(|score| score.deaths), "kills credited are deaths");

    // Places follow from rounds won, then kills; a winner stands alone at the top.
    let standing = |score: &Score| (score.rounds_won, score.kills);
    for score in &scores {
        let better = scores.iter().filter(|other| standing(other) > standing(score)).count();
        assert_eq!(usize::from(score.placement), better + 1);
    }
    let firsts: Vec<u8> = (0..scores.len() as u8).filter(|seat| scores[usize::from(*seat)].placement == 1).collect();
    let winner = if let [alone] = firsts[..] { Some(Seat(alone)) } else { None };
    assert_eq!(happened.last().map(|(_, event)| *event), Some(Event::MatchWon { winner }));
}

/// Broken by any rule that can leave a match open, and by a tally that misses an event.
#[test]
fn two_hundred_sprint_matches_of_pilots_end_within_15_seconds_of_play_and_balance() {
    let mut ways = HashSet::new();
    let all = each_seed(200, |seed, dice| {
        let mut fleet = Fleet::new();
        let key = fleet.open(seed, dice.pick(&[2, 4, 8]), &rules("sprint"));
        let happened = fleet.play_out(key);
        let live_ticks = fleet.state(key).round.live_ticks;
        assert!(live_ticks <= 15 * TICKS_PER_SECOND, "{live_ticks} ticks of play");
        assert_books_balance(&fleet, key, &happened);
        ways.insert(scores(&fleet, key).iter().map(|score| score.survival_ticks).collect::<Vec<_>>());
    });
    // Otherwise it was one match two hundred times.
    assert!(!all || ways.len() > 100, "only {} different matches", ways.len());
}

/// Broken by a pilot too weak to finish, and by anything that goes wrong only in later rounds.
#[test]
fn standard_matches_of_pilots_end_by_first_to_five_within_8_minutes_and_balance() {
    let (mut finished, mut minutes) = (0, 0.0);
    let all = each_seed(24, |seed, dice| {
        let mut fleet = Fleet::new();
        let key = fleet.open(seed, dice.pick(&[2, 4, 8]), &rules("standard"));
        let happened = fleet.play_out(key);
        assert_books_balance(&fleet, key, &happened);
        finished += u32::from(scores(&fleet, key).iter().any(|score| score.rounds_won == 5));
        minutes += f64::from(fleet.state(key).round.tick.0) / 3600.0;
    });
    println!("{finished} of 24 were won by five rounds, {:.1} minutes each", minutes / 24.0);
    assert!(!all || finished >= 22, "pilots win their matches: {finished} of 24");
}

/// Broken by a phase that jumps, a tally that falls, or a round that begins unevenly.
#[test]
fn in_every_tick_phases_step_as_allowed_and_deaths_equal_kills() {
    each_seed(12, |seed, dice| {
        let mut fleet = Fleet::new();
        let key = fleet.open(seed, dice.within(2..9) as u8, &rules(dice.pick(&["standard", "sprint"])));
        let (mut phase, mut before) = (Phase::Waiting, scores(&fleet, key));
        while !fleet.is_over(key) && fleet.state(key).round.tick < Tick(6000) {
            fleet.play(1);
            let state = fleet.state(key);
            let now = state.round.phase;
            assert!(now == phase || phase.may_become(now), "{phase:?} to {now:?}");
            phase = now;
            let after = scores(&fleet, key);
            let sum = |of: fn(&Score) -> u8| after.iter().map(|score| u32::from(of(score))).sum::<u32>();
            assert_eq!(sum(|score| score.kills), sum(|score| score.deaths));
            for (then, now) in before.iter().zip(&after) {
                assert!(
                    now.kills >= then.kills && now.shots >= then.shots && now.survival_ticks >= then.survival_ticks
                );
            }
            before = after;
        }
    });
}
