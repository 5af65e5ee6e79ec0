//! Promise: every match flown by pilots ends by its rules, and its books balance in every tick.

use std::collections::HashSet;

use astro_shared::sim::MatchKey;
use astro_shared::sim::event::{Event, Medal};
use astro_shared::sim::round::Phase;
use astro_shared::sim::state::Score;
use astro_shared::sim::units::{SEATS_MAX, Seat, TICKS_PER_SECOND, Tick};
use astro_tests::dice::each_seed;
use astro_tests::pilots::{Fleet, rules};

fn scores(fleet: &Fleet, key: MatchKey) -> Vec<Score> {
    let state = fleet.state(key);
    state.scores[..usize::from(state.setup.seats)].to_vec()
}

fn medals_of(score: &mut Score, medal: Medal) -> &mut u8 {
    match medal {
        Medal::FirstBlood => &mut score.first_blood,
        Medal::Double => &mut score.double,
        Medal::Triple => &mut score.triple,
        Medal::Rescue => &mut score.rescue,
        Medal::LongShot => &mut score.long_shot,
        Medal::LastStand => &mut score.last_stand,
    }
}

/// Adds up the events of a match as a spectator would.
fn tallied(happened: &[(Tick, Event)]) -> [Score; SEATS_MAX] {
    let mut tally = [Score::default(); SEATS_MAX];
    for (_, event) in happened {
        match event {
            Event::ShotFired { bullet } => tally[bullet.owner().index()].shots += 1,
            Event::ShipHit { bullet, .. } => tally[usize::from(bullet & 7)].hits += 1,
            Event::ShipDestroyed { victim, by, assists, .. } => {
                tally[victim.index()].deaths += 1;
                by.iter().for_each(|by| tally[by.index()].kills += 1);
                let helped = Seat::first(SEATS_MAX as u8).filter(|seat| assists & seat.bit() != 0);
                helped.for_each(|seat| tally[seat.index()].assists += 1);
            }
            Event::RoundWon { winner } => tally[winner.index()].rounds_won += 1,
            Event::MedalWon { seat, medal } => *medals_of(&mut tally[seat.index()], *medal) += 1,
            Event::ItemTaken { seat, .. } => tally[seat.index()].items += 1,
            _ => {}
        }
    }
    tally
}

/// Asserts what must hold of any finished match.
fn assert_books_balance(fleet: &Fleet, key: MatchKey, happened: &[(Tick, Event)]) {
    let (scores, tally) = (scores(fleet, key), tallied(happened));
    for (seat, (score, told)) in scores.iter().zip(&tally).enumerate() {
        let counted = |s: &Score| (s.kills, s.deaths, s.assists, s.shots, s.items, s.rounds_won);
        assert_eq!(counted(score), counted(told), "seat {seat}: tallies are what the events say");
        let medals = |s: &Score| (s.first_blood, s.double, s.triple, s.rescue, s.long_shot, s.last_stand);
        assert_eq!(medals(score), medals(told), "seat {seat}: so are medals");
        // Power-ups hit without a shot, and without an event of their own.
        assert!(score.hits >= told.hits && told.hits <= score.shots, "seat {seat}: {score:?}");
        assert!(score.items > 0 || score.hits == told.hits, "seat {seat}: {score:?}");
        assert!(u16::from(score.streak_longest) <= score.kills, "seat {seat}: {score:?}");
    }
    let sum = |of: fn(&Score) -> u16| scores.iter().map(|score| u32::from(of(score))).sum::<u32>();
    let uncredited = |event: &Event| matches!(event, Event::ShipDestroyed { by: None, .. });
    let uncredited = happened.iter().filter(|(_, event)| uncredited(event)).count() as u32;
    assert_eq!(sum(|score| score.kills) + uncredited, sum(|score| score.deaths), "kills credited are deaths");

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
fn standard_matches_of_pilots_end_by_rounds_within_8_minutes_and_balance() {
    let (mut finished, mut minutes) = (0, 0.0);
    let all = each_seed(24, |seed, dice| {
        let mut fleet = Fleet::new();
        let key = fleet.open(seed, dice.pick(&[2, 4, 8]), &rules("standard"));
        let happened = fleet.play_out(key);
        assert_books_balance(&fleet, key, &happened);
        let target = rules("standard").rounds_to_win;
        finished += u32::from(scores(&fleet, key).iter().any(|score| score.rounds_won == target));
        assert!(fleet.state(key).round.tick.0 <= 8 * 3600, "eight minutes");
        minutes += f64::from(fleet.state(key).round.tick.0) / 3600.0;
    });
    println!("{finished} of 24 were won by rounds, {:.1} minutes each", minutes / 24.0);
    assert!(!all || finished >= 22, "pilots win their matches: {finished} of 24");
}

/// Broken by a phase that jumps, a tally that falls, or a round that begins unevenly.
#[test]
fn in_every_tick_phases_step_as_allowed_and_deaths_equal_kills() {
    each_seed(12, |seed, dice| {
        let mut fleet = Fleet::new();
        let key = fleet.open(seed, dice.within(2..9) as u8, &rules(dice.pick(&["standard", "sprint", "classic"])));
        let (mut phase, mut before, mut uncredited) = (Phase::Waiting, scores(&fleet, key), 0);
        while !fleet.is_over(key) && fleet.state(key).round.tick < Tick(6000) {
            fleet.play(1);
            let state = fleet.state(key);
            let now = state.round.phase;
            assert!(now == phase || phase.may_become(now), "{phase:?} to {now:?}");
            phase = now;
            let after = scores(&fleet, key);
            let sum = |of: fn(&Score) -> u16| after.iter().map(|score| u32::from(of(score))).sum::<u32>();
            let alone = |event: &&Event| matches!(event, Event::ShipDestroyed { by: None, .. });
            uncredited += state.events.0.iter().filter(alone).count() as u32;
            assert_eq!(sum(|score| score.kills) + uncredited, sum(|score| score.deaths));
            for (then, now) in before.iter().zip(&after) {
                assert!(
                    now.kills >= then.kills && now.shots >= then.shots && now.survival_ticks >= then.survival_ticks
                );
            }
            before = after;
        }
    });
}
