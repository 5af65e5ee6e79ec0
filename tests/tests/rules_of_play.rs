//! Promise: the rules of play, situation by situation: magazine, recoil, hits, deaths, rounds, phases, verdicts.

use std::sync::Arc;

use astro_shared::sim::event::{Event, Medal, Weapon};
use astro_shared::sim::input::Input;
use astro_shared::sim::round::Phase;
use astro_shared::sim::rules::{BULLETS_PER_SEAT_MAX, Ruleset};
use astro_shared::sim::state::Round;
use astro_shared::sim::units::{Seat, Tick, along};
use astro_tests::pilots::{rules, rules_with, try_rules_with};
use astro_tests::scene::Scene;

const FIRE: bool = true;

fn fire() -> Input {
    Input::new(0, false, FIRE)
}

/// `count` ships in a row, 200 units apart, looking right; nobody is in anybody's way.
fn lined_up(count: u8, rules: &Arc<Ruleset>) -> Scene {
    let mut scene = Scene::live(count, rules);
    (0..count).for_each(|seat| scene.place(seat, 150 + 200 * i32::from(seat), 450, 90));
    scene
}

/// Ticks of the shots among these events, counted from `since`.
fn shots(happened: &[(Tick, Event)], since: Tick) -> Vec<u32> {
    let shot = |(tick, event): &(Tick, Event)| matches!(event, Event::ShotFired { .. }).then(|| tick.since(since));
    happened.iter().filter_map(shot).collect()
}

fn without_shots(happened: &[(Tick, Event)]) -> Vec<Event> {
    let other = happened.iter().filter(|(_, event)| !matches!(event, Event::ShotFired { .. }));
    other.map(|(_, event)| *event).collect()
}

/// A ship that fell to a gun.
fn destroyed(victim: u8, by: u8, assists: u8) -> Event {
    Event::ShipDestroyed { victim: Seat(victim), by: Some(Seat(by)), weapon: Weapon::Gun, assists }
}

fn last_destroyed(events: &[Event]) -> Option<Event> {
    events.iter().rfind(|event| matches!(event, Event::ShipDestroyed { .. })).copied()
}

/// Puts a bullet of `by` so near below ship `victim` that it hits in the next tick; a lesser `gap` hits earlier in it.
fn point_blank(scene: &mut Scene, by: u8, victim: u8, gap_units: i32) -> u16 {
    let ship = scene.ship(victim);
    let rules = scene.rules();
    let unit = astro_shared::sim::units::POSITION_PER_UNIT;
    scene.shoot_from(by, ship.x, ship.y - rules.radius - gap_units * unit, astro_tests::scene::heading(90)).id
}

// ---- the gun ----

/// Broken by a reload that restarts with every shot, refills all at once, or counts a tick too few or too many.
#[test]
fn a_magazine_of_three_empties_at_the_guns_pace_and_reloads_one_by_one() {
    let mut scene = lined_up(2, &rules("classic"));
    let since = scene.tick_now();
    scene.hold(0, fire());
    let happened = scene.play(170);
    // 180 ms between shots are 11 ticks, 900 ms of reloading 54; the reload begins with the first shot.
    assert_eq!(shots(&happened, since), [1, 12, 23, 55, 109, 163]);
    assert_eq!(scene.score(0).shots, 6);

    let mut scene = lined_up(2, &rules("classic"));
    let since = scene.tick_now();
    scene.hold(0, fire());
    scene.play(23);
    scene.hold(0, Input::NEUTRAL);
    assert_eq!(scene.ship(0).ammunition, 0);
    for (at, ammunition) in [(54, 0), (55, 1), (108, 1), (109, 2), (162, 2), (163, 3), (300, 3)] {
        scene.play(at - scene.tick_now().since(since));
        assert_eq!(scene.ship(0).ammunition, ammunition, "{at} ticks after the first shot could be fired");
    }
    assert_eq!(scene.ship(0).reload_ticks, 0, "a full magazine reloads nothing");
}

/// Broken by recoil along the old heading, in the wrong direction, or of another size than the rules say.
#[test]
fn a_shot_kicks_the_ship_backward_along_its_heading() {
    let rules = rules_with("classic", |text| text.rules.ship.drag_per_s = 0.0);
    for degrees in 0..360 {
        let mut scene = lined_up(2, &rules);
        scene.place(0, 800, 450, degrees);
        scene.hold(0, fire());
        scene.tick();
        let ship = scene.ship(0);
        let kick = (-along(rules.recoil, ship.angle.cos()), -along(rules.recoil, ship.angle.sin()));
        assert_eq!((ship.vx, ship.vy), kick, "{degrees} degrees");
    }
}

/// Broken by a bullet that takes its ship's velocity, lives a tick too long, or is born elsewhere than said.
#[test]
fn a_shot_is_told_with_its_bullet_which_flies_for_its_lifetime_and_no_longer() {
    let mut scene = lined_up(2, &rules("classic"));
    scene.hold(0, fire());
    let events = scene.tick();
    scene.hold(0, Input::NEUTRAL);
    let bullets = scene.bullets();
    assert_eq!(events, [Event::ShotFired { bullet: bullets[0] }]);
    assert_eq!((bullets[0].owner(), bullets[0].born), (Seat(0), scene.tick_now().0 as u16));
    let life = u32::from(scene.rules().bullet_life_ticks);
    scene.play(life - 1);
    assert_eq!(scene.bullets(), bullets, "still in flight");
    scene.play(1);
    assert_eq!(scene.bullets(), []);
}

/// Broken by a bound in `Ruleset` that counts a shot too few, and by any list that swallows a shot.
#[test]
fn no_seat_ever_has_more_bullets_in_flight_than_the_bound_even_with_rules_at_their_limits() {
    let (mut legal, mut fullest) = (0, 0);
    for magazine in 1..=7 {
        for (reload_ms, cooldown_ms) in
            [(50, 17), (50, 283), (50, 300), (250, 17), (400, 150), (600, 17), (1000, 500), (4000, 17)]
        {
            for life_ms in [100, 500, 1000, 2000, 3000, 4000] {
                let rules = try_rules_with("classic", |text| {
                    (text.rules.gun.magazine, text.rules.gun.reload_ms) = (magazine, reload_ms);
                    (text.rules.gun.cooldown_ms, text.rules.gun.bullet_life_ms) = (cooldown_ms, life_ms);
                    // Slow bullets that do little: the ships live, the sky fills.
                    (text.rules.gun.bullet_speed, text.rules.gun.damage, text.rules.ship.hull) = (60.0, 1, 127);
                });
                let Some(rules) = rules else { continue };
                legal += 1;
                fullest = fullest.max(most_bullets_of_a_seat(&rules));
            }
        }
    }
    println!("{legal} legal guns, at most {fullest} bullets of a seat");
    assert!(legal > 100, "only {legal} of the guns tried are legal");
    assert_eq!(fullest, BULLETS_PER_SEAT_MAX as usize, "the bound is reached, so it is tested");
}

/// Eight ships hold the trigger for ten seconds; the largest number of bullets one of them had in flight.
fn most_bullets_of_a_seat(rules: &Arc<Ruleset>) -> usize {
    let mut scene = Scene::live(8, rules);
    (0..8).for_each(|seat| scene.hold(seat, fire()));
    let (mut most, mut told) = (0, [0u16; 8]);
    for _ in 0..600 {
        for event in scene.tick() {
            if let Event::ShotFired { bullet } = event {
                told[bullet.owner().index()] += 1;
            }
        }
        for seat in 0..8u8 {
            let alive = scene.bullets().iter().filter(|bullet| bullet.owner().0 == seat).count();
            assert!(alive <= BULLETS_PER_SEAT_MAX as usize, "{alive} bullets of seat {seat}");
            assert_eq!(scene.ship(seat).shots, told[usize::from(seat)], "every shot is in the sky and told");
            most = most.max(alive);
        }
    }
    most
}

// ---- hits and deaths ----

/// Broken by an event left out, out of order, or with another seat's name in it.
#[test]
fn a_kill_is_told_as_hit_destroyed_and_round_won_and_counts_for_everyone() {
    let mut scene = lined_up(2, &rules("classic"));
    let since = scene.round().live_ticks;
    let first = point_blank(&mut scene, 0, 1, 1);
    assert_eq!(scene.tick(), [Event::ShipHit { bullet: first, victim: Seat(1) }]);
    assert_eq!((scene.ship(1).hull, scene.ship(1).alive), (50, true));
    scene.play(9);
    let second = point_blank(&mut scene, 0, 1, 1);
    let expected = [
        Event::ShipHit { bullet: second, victim: Seat(1) },
        destroyed(1, 0, 0),
        Event::MedalWon { seat: Seat(0), medal: Medal::FirstBlood },
        Event::RoundWon { winner: Seat(0) },
    ];
    assert_eq!(scene.tick(), expected);
    assert_eq!((scene.round().phase, scene.round().winner), (Phase::RoundOver, 1));
    let (killer, victim) = (scene.score(0), scene.score(1));
    assert_eq!((killer.kills, killer.deaths, killer.hits, killer.rounds_won, killer.streak_longest), (1, 0, 2, 1, 1));
    assert_eq!((victim.kills, victim.deaths, victim.hits, victim.rounds_won, victim.streak_longest), (0, 1, 0, 0, 0));
    // Both lived through ten ticks and the killer through the eleventh, in which the other died.
    assert_eq!((killer.survival_ticks - since, victim.survival_ticks - since), (11, 10));
}

/// Broken by letting the first death of a tick take the victim's own bullet out of the sky, by first blood that goes by
/// seats instead of by time, or by a last stand of somebody who falls.
#[test]
fn two_ships_that_kill_each_other_in_one_tick_are_both_credited_and_draw_the_round() {
    let mut scene = lined_up(2, &rules("classic"));
    (0..2).for_each(|seat| scene.edit_ship(seat, |ship| ship.hull = 50));
    let early = point_blank(&mut scene, 0, 1, 1);
    let late = point_blank(&mut scene, 1, 0, 8);
    let expected = [
        Event::ShipHit { bullet: early, victim: Seat(1) },
        Event::ShipHit { bullet: late, victim: Seat(0) },
        destroyed(0, 1, 0),
        destroyed(1, 0, 0),
        Event::MedalWon { seat: Seat(0), medal: Medal::FirstBlood },
        Event::RoundDrawn {},
    ];
    assert_eq!(scene.tick(), expected);
    for seat in 0..2 {
        let score = scene.score(seat);
        assert_eq!((score.kills, score.deaths, score.rounds_won), (1, 1, 0));
        assert_eq!((score.streak, score.streak_longest), (0, 1), "the kill came before the death");
    }
    assert_eq!((scene.round().draws_in_a_row, scene.round().winner), (1, 0));
}

/// Broken by ending the round at the first death instead of after all deaths of the tick.
#[test]
fn a_mutual_kill_leaves_the_round_to_whoever_is_left() {
    let mut scene = lined_up(3, &rules("classic"));
    (0..2).for_each(|seat| scene.edit_ship(seat, |ship| ship.hull = 50));
    point_blank(&mut scene, 0, 1, 1);
    point_blank(&mut scene, 1, 0, 1);
    assert_eq!(scene.tick().last(), Some(&Event::RoundWon { winner: Seat(2) }));
}

/// Broken by stopping at the hit that breaks the hull: later hits of the tick would fly on.
#[test]
fn all_damage_of_a_tick_is_summed_before_anyone_dies() {
    let mut scene = lined_up(4, &rules("classic"));
    scene.edit_ship(0, |ship| ship.hull = 50);
    let hits = [point_blank(&mut scene, 1, 0, 1), point_blank(&mut scene, 2, 0, 2), point_blank(&mut scene, 3, 0, 3)];
    let expected = [
        Event::ShipHit { bullet: hits[0], victim: Seat(0) },
        Event::ShipHit { bullet: hits[1], victim: Seat(0) },
        Event::ShipHit { bullet: hits[2], victim: Seat(0) },
        destroyed(0, 1, 0b1100),
        Event::MedalWon { seat: Seat(1), medal: Medal::FirstBlood },
    ];
    assert_eq!(scene.tick(), expected);
    assert_eq!((scene.score(0).deaths, scene.ship(0).hull), (1, 0));
    assert_eq!([1, 2, 3].map(|seat| scene.score(seat).hits), [1, 1, 1]);
    assert_eq!(scene.bullets(), []);
}

/// Broken by ordering hits by seat or by order of firing alone.
#[test]
fn of_two_bullets_in_one_tick_the_one_that_touches_first_comes_first() {
    // The later bullet breaks the hull when it takes both, the earlier one when it takes one.
    for (hull, killer, helpers) in [(50, 2, 0b010), (60, 1, 0b100)] {
        let mut scene = lined_up(3, &rules("classic"));
        scene.edit_ship(0, |ship| ship.hull = hull);
        let late = point_blank(&mut scene, 1, 0, 9);
        let early = point_blank(&mut scene, 2, 0, 2);
        let events = scene.tick();
        let order = [late, early]
            .map(|id| events.iter().position(|event| matches!(event, Event::ShipHit { bullet, .. } if *bullet == id)));
        assert!(order[1] < order[0], "{events:?}");
        assert_eq!(last_destroyed(&events), Some(destroyed(0, killer, helpers)));
    }
}

/// Broken by an unstable sort, or by a tie that goes to the lower seat.
#[test]
fn of_two_bullets_that_touch_at_the_same_time_the_one_fired_first_comes_first() {
    for (first, second) in [(1, 2), (2, 1)] {
        let mut scene = lined_up(3, &rules("classic"));
        scene.edit_ship(0, |ship| ship.hull = 50);
        point_blank(&mut scene, first, 0, 4);
        point_blank(&mut scene, second, 0, 4);
        let events = scene.tick();
        assert_eq!(last_destroyed(&events), Some(destroyed(0, first, 1 << second)));
    }
}

/// Broken by counting the killer among the helpers, or by remembering who hurt a ship in an earlier life.
#[test]
fn assists_go_to_those_who_hurt_the_ship_in_this_life() {
    let mut scene = lined_up(4, &rules("classic"));
    scene.edit_ship(0, |ship| ship.hull = 120);
    point_blank(&mut scene, 1, 0, 1);
    scene.tick();
    point_blank(&mut scene, 2, 0, 1);
    scene.tick();
    point_blank(&mut scene, 2, 0, 1);
    let events = scene.tick();
    assert_eq!(last_destroyed(&events), Some(destroyed(0, 2, 0b0010)));
    assert_eq!([1, 2, 3].map(|seat| scene.score(seat).assists), [1, 0, 0]);

    // Seat 1 hurts seat 3 in this round; in the next one only seat 2 does.
    point_blank(&mut scene, 1, 3, 1);
    scene.tick();
    scene.edit_round(|round| round.phase_ends = Tick(0));
    scene.play_until(Phase::Countdown);
    scene.play_until(Phase::Live);
    scene.edit_ship(3, |ship| ship.hull = 50);
    point_blank(&mut scene, 2, 3, 1);
    let events = scene.tick();
    assert_eq!(last_destroyed(&events), Some(destroyed(3, 2, 0)));
}

/// Broken by a streak that outlives its ship, or a longest streak that a later one shortens.
#[test]
fn a_streak_counts_kills_since_the_last_death() {
    let mut scene = lined_up(8, &rules("classic"));
    (0..8).for_each(|seat| scene.edit_ship(seat, |ship| ship.hull = 1));
    for victim in [1, 2, 3] {
        point_blank(&mut scene, 0, victim, 1);
        scene.tick();
    }
    assert_eq!((scene.score(0).streak, scene.score(0).streak_longest), (3, 3));
    point_blank(&mut scene, 4, 0, 1);
    scene.tick();
    assert_eq!((scene.score(0).streak, scene.score(0).streak_longest), (0, 3));
}

/// Broken by hits outside `Live`, by ships that steer before it, or by bullets that survive into the next round.
#[test]
fn nobody_moves_before_the_fight_nobody_is_hurt_after_it_and_the_sky_is_clear_for_the_next() {
    let mut scene = Scene::waiting(2, &rules("classic"));
    (0..2).for_each(|seat| scene.hold(seat, Input::new(15, true, FIRE)));
    let spawned = scene.ship(0);
    scene.play(10);
    assert_eq!(scene.round().phase, Phase::Waiting);
    scene.start();
    let happened = scene.play_until(Phase::Live);
    let ship = scene.ship(0);
    assert_eq!((ship.vx, ship.vy, ship.ammunition), (0, 0, 3), "stood still");
    assert_eq!(happened, [], "and held fire");
    assert_eq!((spawned.alive, spawned.ammunition), (true, 3), "ships are there from the first tick");

    (0..2).for_each(|seat| scene.hold(seat, Input::NEUTRAL));
    scene.place(0, 400, 450, 0);
    scene.place(1, 800, 450, 0);
    scene.edit_ship(1, |ship| ship.hull = 50);
    point_blank(&mut scene, 0, 1, 1);
    scene.tick();
    assert_eq!(scene.round().phase, Phase::RoundOver);
    point_blank(&mut scene, 1, 0, 1);
    scene.hold(0, Input::new(3, true, FIRE));
    let happened = scene.play(30);
    assert_eq!(happened, [], "no hits, no shots");
    assert!(scene.ship(0).vx != 0 && scene.ship(0).hull == 100, "the winner flies on, unhurt");
    assert_eq!(scene.bullets().len(), 1);
    scene.play(scene.round().phase_ends.since(scene.tick_now()) - 1);
    scene.shoot(1, 100, 100, 0);
    assert_eq!(scene.tick(), [Event::RoundStarted { number: 2 }]);
    assert_eq!(scene.bullets(), []);
    assert!((0..2).all(|seat| scene.ship(seat).alive && scene.ship(seat).hull == 100 && scene.ship(seat).vx == 0));
}

/// Broken by a dead ship that turns, flies, fires, is hit or is bumped into.
#[test]
fn a_dead_ship_does_nothing_and_nothing_happens_to_it() {
    let mut scene = lined_up(3, &rules("classic"));
    scene.edit_ship(1, |ship| (ship.alive, ship.hull) = (false, 0));
    scene.hold(1, Input::new(15, true, FIRE));
    let dead = scene.ship(1);
    point_blank(&mut scene, 0, 1, 1);
    scene.edit_ship(2, |ship| (ship.x, ship.y) = (dead.x, dead.y));
    let happened = scene.play(20);
    assert_eq!(without_shots(&happened), [Event::ShipHit { bullet: 0, victim: Seat(2) }], "the living one is hit");
    let after = scene.ship(1);
    assert_eq!((after.x, after.y, after.angle, after.alive), (dead.x, dead.y, dead.angle, false));
    assert_eq!(scene.score(1).shots, 0);
}

// ---- rounds, phases, verdicts ----

/// Rules under which rounds pass quickly.
fn brisk() -> Arc<Ruleset> {
    rules_with("classic", |text| {
        (text.rules.countdown_ms, text.rules.round_over_ms, text.rules.round_ms_max) = (100, 100, 1000);
    })
}

/// Lets `by` destroy everyone else at once.
fn win_round(scene: &mut Scene, by: u8) {
    let seats = scene.state().setup.seats;
    for victim in (0..seats).filter(|seat| *seat != by) {
        scene.edit_ship(victim, |ship| ship.hull = 1);
        point_blank(scene, by, victim, 1);
    }
    assert_eq!(scene.tick().last(), Some(&Event::RoundWon { winner: Seat(by) }));
}

/// Ends the round by its time limit.
fn draw_round(scene: &mut Scene) {
    let happened = scene.play_until(Phase::RoundOver);
    assert_eq!(without_shots(&happened), [Event::RoundDrawn {}]);
}

/// Goes on to the next round, which must come.
fn next_round(scene: &mut Scene) {
    scene.play_until(Phase::Countdown);
    scene.play_until(Phase::Live);
    let seats = scene.state().setup.seats;
    (0..seats).for_each(|seat| scene.place(seat, 150 + 200 * i32::from(seat), 450, 90));
}

/// Ends the round that is over and with it the match; the verdict, which must come at once.
fn verdict(scene: &mut Scene) -> Option<Seat> {
    let happened = scene.play(scene.rules().round_over_ticks);
    assert_eq!(scene.round().phase, Phase::MatchOver);
    match without_shots(&happened)[..] {
        [Event::MatchWon { winner }] => winner,
        ref other => panic!("{other:?} instead of a verdict"),
    }
}

/// Broken by a phase that takes a tick more or less than its rule, or one that is skipped.
#[test]
fn phases_follow_each_other_and_end_at_their_deadlines_to_the_tick() {
    let rules = rules_with("classic", |text| {
        (text.rules.countdown_ms, text.rules.round_over_ms, text.rules.round_ms_max) = (700, 300, 1500);
    });
    let mut scene = Scene::waiting(2, &rules);
    scene.play(50);
    assert_eq!((scene.round().phase, scene.round().phase_ends), (Phase::Waiting, Tick(0)));
    scene.start();
    let started = scene.tick_now();
    let mut seen = vec![(scene.round().phase, 0)];
    while scene.round().phase != Phase::MatchOver {
        let before = scene.round().phase;
        scene.tick();
        let now = scene.round();
        assert!(now.phase == before || before.may_become(now.phase), "{before:?} to {:?}", now.phase);
        if now.phase != before {
            seen.push((now.phase, scene.tick_now().since(started)));
        }
    }
    use Phase::{Countdown, Live, MatchOver, RoundOver};
    // 42, 90 and 18 ticks, three times, since a round in which nothing happens is drawn.
    let round = |begin: u32| [(Countdown, begin), (Live, begin + 42), (RoundOver, begin + 132)];
    let expected = [&round(0)[..], &round(150), &round(300), &[(MatchOver, 450)]].concat();
    assert_eq!(seen, expected);
    assert_eq!((scene.round().phase_ends, scene.round().number), (Tick(0), 3));
    let over: Round = scene.round();
    scene.play(600);
    assert_eq!(Round { tick: over.tick, ..scene.round() }, over, "over is over");
}

/// Broken by a round that goes on when time is up, or a draw that is credited to the last one standing.
#[test]
fn a_round_that_runs_out_of_time_is_drawn() {
    let mut scene = lined_up(3, &rules("classic"));
    let since = scene.tick_now();
    let happened = scene.play_until(Phase::RoundOver);
    assert_eq!(happened, [(since.plus(3600), Event::RoundDrawn {})]);
    assert_eq!([0, 1, 2].map(|seat| scene.score(seat).rounds_won), [0, 0, 0]);
}

/// Broken by a match that ends a round early or late, or whose winner is not told.
#[test]
fn the_first_to_five_rounds_wins_a_standard_match() {
    let mut scene = lined_up(4, &rules("classic"));
    for round in 1..=5 {
        win_round(&mut scene, 2);
        assert_eq!((scene.score(2).rounds_won, scene.round().number), (round, round));
        if round < 5 {
            next_round(&mut scene);
        }
    }
    assert_eq!(verdict(&mut scene), Some(Seat(2)));
    assert_eq!(scene.round().winner, 3);
    assert_eq!([0, 1, 2, 3].map(|seat| scene.score(seat).placement), [2, 2, 1, 2]);
    assert_eq!((scene.score(2).kills, scene.score(2).deaths), (15, 0));
}

/// Broken by counting draws over the whole match instead of in a row, or by another limit than the rules'.
#[test]
fn three_draws_running_end_the_match_and_a_won_round_starts_the_count_again() {
    let mut scene = lined_up(2, &brisk());
    for _ in 0..2 {
        draw_round(&mut scene);
        next_round(&mut scene);
    }
    win_round(&mut scene, 1);
    for _ in 0..2 {
        next_round(&mut scene);
        draw_round(&mut scene);
    }
    next_round(&mut scene);
    draw_round(&mut scene);
    assert_eq!(scene.round().draws_in_a_row, 3);
    assert_eq!(verdict(&mut scene), Some(Seat(1)));
}

/// The verdict and the places after three draws, with these rounds won and kills.
fn standings_decide(rounds_won: [u8; 4], kills: [u16; 4]) -> (Option<Seat>, [u8; 4]) {
    let mut scene = lined_up(4, &brisk());
    for seat in 0..4u8 {
        let index = usize::from(seat);
        scene.edit_score(seat, |score| (score.rounds_won, score.kills) = (rounds_won[index], kills[index]));
    }
    for _ in 0..2 {
        draw_round(&mut scene);
        next_round(&mut scene);
    }
    draw_round(&mut scene);
    (verdict(&mut scene), [0, 1, 2, 3].map(|seat| scene.score(seat).placement))
}

/// Broken by comparing kills first, or by naming a winner among equals.
#[test]
fn standings_decide_by_rounds_then_by_kills_and_equals_have_no_winner() {
    assert_eq!(standings_decide([2, 1, 0, 0], [0, 9, 9, 1]), (Some(Seat(0)), [1, 2, 3, 4]), "most rounds");
    assert_eq!(standings_decide([2, 2, 1, 0], [3, 5, 9, 0]), (Some(Seat(1)), [2, 1, 3, 4]), "then most kills");
    assert_eq!(standings_decide([2, 2, 1, 0], [5, 5, 9, 0]), (None, [1, 1, 3, 4]), "equals at the top");
    assert_eq!(standings_decide([0; 4], [0; 4]), (None, [1; 4]), "nobody did anything");
}

/// Broken by a match that outlasts its play time, or by counting countdowns and pauses as play.
#[test]
fn when_play_time_is_used_up_the_standings_decide() {
    let rules = rules_with("classic", |text| {
        (text.rules.play_ms_max, text.rules.countdown_ms, text.rules.round_over_ms) = (2000, 100, 100);
    });
    let mut scene = lined_up(2, &rules);
    win_round(&mut scene, 0);
    next_round(&mut scene);
    let live_before = scene.round().live_ticks;
    let since = scene.tick_now();
    draw_round(&mut scene);
    assert_eq!(scene.round().live_ticks, 120);
    assert_eq!(scene.tick_now().since(since), 120 - live_before);
    assert_eq!(verdict(&mut scene), Some(Seat(0)));
}

/// Broken by a sprint whose limit is of a round and not of all its rounds together.
#[test]
fn a_sprint_ends_within_15_seconds_of_play_even_when_its_rounds_are_drawn() {
    let mut scene = lined_up(2, &rules("sprint"));
    scene.play(400);
    (0..2).for_each(|seat| scene.edit_ship(seat, |ship| ship.hull = 1));
    point_blank(&mut scene, 0, 1, 1);
    point_blank(&mut scene, 1, 0, 1);
    assert_eq!(scene.tick().last(), Some(&Event::RoundDrawn {}), "a mutual kill");
    next_round(&mut scene);
    draw_round(&mut scene);
    assert_eq!(scene.round().live_ticks, 900);
    assert_eq!(verdict(&mut scene), None);
}

/// Broken by spawns that depend on the match's neighbours, or that never change from round to round.
#[test]
fn every_round_puts_the_seats_on_spawn_points_of_their_own() {
    let rules = brisk();
    let mut scene = Scene::live(4, &rules);
    let mut orders = std::collections::HashSet::new();
    for _ in 0..12 {
        scene.edit_round(|round| round.draws_in_a_row = 0);
        draw_round(&mut scene);
        scene.play_until(Phase::Countdown);
        let places: Vec<(i32, i32)> = (0..4).map(|seat| (scene.ship(seat).x, scene.ship(seat).y)).collect();
        let points: Vec<(i32, i32)> = rules.arena(4).spawns[..4].iter().map(|spawn| (spawn.x, spawn.y)).collect();
        assert!(places.iter().all(|place| points.contains(place)));
        assert_eq!(places.iter().collect::<std::collections::HashSet<_>>().len(), 4, "no two on one point");
        orders.insert(places);
        scene.play_until(Phase::Live);
    }
    assert!(orders.len() > 1, "who starts where changes");
}
