//! Promise: each mode decides rounds and matches as its page says, and refuses what makes no sense in it.

use std::sync::Arc;

use astro_shared::sim::arena::DiscText;
use astro_shared::sim::event::{Event, Medal};
use astro_shared::sim::modes::Mode;
use astro_shared::sim::round::Phase;
use astro_shared::sim::rules::{Ruleset, RulesetText};
use astro_shared::sim::units::{Seat, TICKS_PER_SECOND, VELOCITY_PER_UNIT};
use astro_tests::pilots::{rules_with, try_rules_with};
use astro_tests::scene::Scene;

fn in_mode(mode: Mode, edit: impl FnOnce(&mut RulesetText)) -> Arc<Ruleset> {
    rules_with("classic", |text| {
        text.rules.mode = mode;
        edit(text);
    })
}

fn row(count: u8, rules: &Arc<Ruleset>) -> Scene {
    let mut scene = Scene::live(count, rules);
    (0..count).for_each(|seat| scene.place(seat, 150 + 180 * i32::from(seat), 450, 90));
    scene
}

/// Has `by` shoot `victim` down; what happened.
fn shoot_down(scene: &mut Scene, by: u8, victim: u8) -> Vec<Event> {
    scene.edit_ship(victim, |ship| (ship.hull, ship.guard_ticks) = (1, 0));
    let ship = scene.ship(victim);
    scene.shoot_from(by, ship.x, ship.y - scene.rules().radius - 256, astro_tests::scene::heading(90));
    scene.play(2).into_iter().map(|(_, event)| event).collect()
}

/// Broken by a round that ends at another number of kills, or for another.
#[test]
fn deathmatch_goes_to_the_first_with_so_many_kills() {
    let rules = in_mode(Mode::Deathmatch, |text| (text.rules.score_target, text.rules.ship.return_ms) = (3, 100));
    let mut scene = row(2, &rules);
    for kill in 1..=3 {
        let events = shoot_down(&mut scene, 1, 0);
        assert_eq!(events.contains(&Event::RoundWon { winner: Seat(1) }), kill == 3);
        assert_eq!(scene.score(1).points, kill);
        if kill < 3 {
            scene.play(u32::from(rules.return_ticks) + 1);
            assert!(scene.ship(0).alive, "it comes back");
        }
    }
    assert_eq!(scene.round().phase, Phase::RoundOver);
}

/// Broken by time that runs out for nobody, or by a draw where somebody leads.
#[test]
fn deathmatch_out_of_time_goes_to_who_leads_and_equals_draw() {
    for (kills, expected) in [(1, Event::RoundWon { winner: Seat(0) }), (0, Event::RoundDrawn {})] {
        let rules = in_mode(Mode::Deathmatch, |text| text.rules.round_ms_max = 2000);
        let mut scene = row(2, &rules);
        for _ in 0..kills {
            shoot_down(&mut scene, 0, 1);
        }
        let happened = scene.play_until(Phase::RoundOver);
        assert_eq!(happened.last().map(|(_, event)| *event), Some(expected));
    }
}

/// Broken by mates who hurt each other, or by a round that goes on when one side is gone.
#[test]
fn teams_are_even_against_odd_spare_each_other_and_win_together() {
    let mut scene = row(4, &in_mode(Mode::Teams, |_| {}));
    let (mate, whole) = (scene.ship(2), scene.ship(2).hull);
    scene.shoot_from(0, mate.x, mate.y - scene.rules().radius - 256, astro_tests::scene::heading(90));
    scene.play(3);
    assert_eq!(scene.ship(2).hull, whole, "it flew through");
    assert_eq!(scene.bullets().len(), 1);
    shoot_down(&mut scene, 0, 1);
    assert_eq!(scene.round().phase, Phase::Live);
    let events = shoot_down(&mut scene, 2, 3);
    assert!(events.contains(&Event::RoundWon { winner: Seat(0) }), "{events:?}");
    let won: Vec<u8> = (0..4).map(|seat| scene.score(seat).rounds_won).collect();
    assert_eq!(won, [1, 0, 1, 0]);
}

/// Broken by friendly fire that does nothing, or whose kills are credited.
#[test]
fn friendly_fire_hurts_mates_and_is_no_kill() {
    let mut scene = row(4, &in_mode(Mode::Teams, |text| text.rules.friendly_fire = true));
    shoot_down(&mut scene, 0, 2);
    assert!(!scene.ship(2).alive);
    assert_eq!((scene.score(0).kills, scene.score(2).deaths), (0, 1));
}

/// Broken by a zone that counts for two, for who is outside, or in another mode.
#[test]
fn king_counts_time_alone_in_the_zone() {
    let king = |mode| {
        in_mode(mode, |text| {
            text.arena.small.zone = Some(DiscText { x: 800, y: 450, radius: 100 });
            text.rules.score_target = 2;
        })
    };
    let mut scene = row(2, &king(Mode::King));
    scene.place(0, 800, 450, 0);
    scene.place(1, 100, 100, 0);
    scene.play(30);
    assert_eq!((scene.score(0).points, scene.score(1).points, scene.round().holder), (30, 0, 1));
    scene.place(1, 840, 450, 0);
    scene.play(10);
    assert_eq!((scene.score(0).points, scene.round().holder), (30, 0), "contested");
    scene.place(1, 100, 100, 0);
    let happened = scene.play(2 * TICKS_PER_SECOND - 30);
    assert_eq!(happened.last().map(|(_, event)| *event), Some(Event::RoundWon { winner: Seat(0) }));
    let mut other = row(2, &king(Mode::Deathmatch));
    other.place(0, 800, 450, 0);
    other.play(30);
    assert_eq!(other.score(0).points, 0);
}

/// Broken by a mode that takes numbers of seats it cannot be played with.
#[test]
fn modes_say_with_how_many_they_are_played() {
    let fits = |mode: Mode| (2..=8).filter(|seats| mode.check_seats(*seats).is_ok()).collect::<Vec<u8>>();
    assert_eq!(fits(Mode::Duel), [2]);
    assert_eq!(fits(Mode::Teams), [4, 6, 8]);
    assert_eq!(fits(Mode::King), [2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(Mode::Teams.check_seats(5), Err("teams is played by 4 to 8 seats, an even number".into()));
    assert_eq!(Mode::Duel.check_seats(3), Err("duel is played by 2 to 2 seats".into()));
}

/// Broken by settings that are taken although no round could end by them as meant.
#[test]
fn settings_that_make_no_sense_in_a_mode_are_refused() {
    let closing = |mode| {
        try_rules_with("classic", |text| (text.rules.mode, text.rules.sudden_death.after_ms) = (mode, 30_000)).is_some()
    };
    assert!(closing(Mode::LastShip) && closing(Mode::Teams) && closing(Mode::Duel));
    assert!(!closing(Mode::Deathmatch) && !closing(Mode::King));
}

/// Broken by an arena that closes early, late, on everyone, or on nobody; and by a death there that somebody is credited.
#[test]
fn sudden_death_hurts_who_is_outside_until_the_round_is_decided() {
    let rules = in_mode(Mode::LastShip, |text| {
        (text.rules.sudden_death.after_ms, text.rules.sudden_death.closing_ms) = (2000, 2000);
    });
    let mut scene = row(2, &rules);
    scene.place(0, 800, 450, 0);
    scene.place(1, 60, 60, 0);
    let happened = scene.play(2 * TICKS_PER_SECOND - 1);
    assert_eq!((happened.len(), scene.ship(1).hull), (0, rules.hull));
    let happened = scene.play_until(Phase::RoundOver);
    assert_eq!(happened[0].1, Event::SuddenDeath {});
    assert_eq!(happened.last().map(|(_, event)| *event), Some(Event::RoundWon { winner: Seat(0) }));
    assert_eq!((scene.ship(0).hull, scene.score(0).kills, scene.score(1).deaths), (rules.hull, 0, 1));
}

/// Broken by a medal for the wrong deed, a second first blood, or one that is told and not counted.
#[test]
fn medals_are_for_their_deeds() {
    let mut scene = row(5, &in_mode(Mode::LastShip, |_| {}));
    let medals = |events: &[Event]| -> Vec<(u8, Medal)> {
        let medal =
            |event: &Event| if let Event::MedalWon { seat, medal } = event { Some((seat.0, *medal)) } else { None };
        events.iter().filter_map(medal).collect()
    };
    assert_eq!(medals(&shoot_down(&mut scene, 0, 1)), [(0, Medal::FirstBlood)]);
    assert_eq!(medals(&shoot_down(&mut scene, 0, 2)), [(0, Medal::Double)]);
    assert_eq!(medals(&shoot_down(&mut scene, 0, 3)), [(0, Medal::Triple)]);
    let score = scene.score(0);
    assert_eq!((score.first_blood, score.double, score.triple), (1, 1, 1));
    let mut late = row(4, &in_mode(Mode::LastShip, |_| {}));
    shoot_down(&mut late, 0, 1);
    late.play(5 * TICKS_PER_SECOND);
    assert_eq!(medals(&shoot_down(&mut late, 0, 2)), [], "too late for a double");
    let mut last = row(3, &in_mode(Mode::LastShip, |_| {}));
    last.edit_ship(0, |ship| ship.hull = 20);
    assert_eq!(medals(&shoot_down(&mut last, 0, 1)), [(0, Medal::FirstBlood), (0, Medal::LastStand)]);
    let mut far = row(3, &in_mode(Mode::LastShip, |_| {}));
    far.place(1, 1100, 450, 90);
    far.place(2, 1400, 200, 90);
    far.edit_ship(1, |ship| ship.hull = 1);
    far.shoot(0, 500, 450, 0);
    let events: Vec<Event> = far.play(70).into_iter().map(|(_, event)| event).collect();
    assert_eq!(medals(&events), [(0, Medal::FirstBlood), (0, Medal::LongShot)]);
}

/// Broken by hulls that hurt at any speed, or one of two that is spared.
#[test]
fn hulls_that_meet_too_fast_hurt_each_other() {
    let rules = in_mode(Mode::LastShip, |text| (text.rules.bump.speed, text.rules.bump.damage) = (300.0, 40));
    let meet = |units_per_tick: i32| {
        let mut scene = row(2, &rules);
        scene.place(0, 700, 450, 0);
        scene.place(1, 760, 450, 180);
        scene.edit_ship(0, |ship| ship.vx = units_per_tick * VELOCITY_PER_UNIT);
        scene.edit_ship(1, |ship| ship.vx = -units_per_tick * VELOCITY_PER_UNIT);
        scene.play(10);
        (scene.ship(0).hull, scene.ship(1).hull)
    };
    assert_eq!(meet(2), (100, 100), "240 units/s");
    assert_eq!(meet(4), (60, 60), "480 units/s");
}

/// Broken by a dash without a clock, one that goes on while the button is held, or that turns.
#[test]
fn a_dash_is_short_straight_and_has_to_wait() {
    use astro_shared::sim::input::Input;
    let rules = in_mode(Mode::LastShip, |text| {
        (text.rules.dash.speed, text.rules.dash.ms, text.rules.dash.cooldown_ms) = (600.0, 150, 2000);
    });
    let mut scene = row(2, &rules);
    scene.hold(0, Input::NEUTRAL.with_dash(true));
    let happened = scene.play(100);
    let dashes = happened.iter().filter(|(_, event)| *event == Event::Dashed { seat: Seat(0) }).count();
    assert_eq!(dashes, 1, "holding the button is one dash");
    assert_eq!(scene.ship(0).dash_ticks, 0);
    scene.hold(0, Input::NEUTRAL);
    scene.tick();
    scene.hold(0, Input::NEUTRAL.with_dash(true));
    assert!(scene.play(5).is_empty(), "not yet");
    scene.hold(0, Input::NEUTRAL);
    scene.play(30);
    scene.hold(0, Input::NEUTRAL.with_dash(true));
    let before = scene.ship(0);
    assert_eq!(scene.tick(), [Event::Dashed { seat: Seat(0) }]);
    let ship = scene.ship(0);
    assert!(ship.vy > rules.top_speed && ship.vy.abs() > before.vy.abs());
}
