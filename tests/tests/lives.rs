//! Promise: pods, further lives, and ships that come back, as the mode and the rules say.

use std::sync::Arc;

use astro_shared::sim::event::{Event, Weapon};
use astro_shared::sim::input::Input;
use astro_shared::sim::modes::Mode;
use astro_shared::sim::round::Phase;
use astro_shared::sim::rules::{Ruleset, RulesetText};
use astro_shared::sim::units::{Seat, Tick};
use astro_tests::dice::each_seed;
use astro_tests::pilots::rules_with;
use astro_tests::scene::Scene;

fn with_pods(edit: impl FnOnce(&mut RulesetText)) -> Arc<Ruleset> {
    rules_with("classic", |text| {
        text.rules.pod.enabled = true;
        edit(text);
    })
}

/// Ships in a row, far apart, nobody in anybody's way.
fn row(count: u8, rules: &Arc<Ruleset>) -> Scene {
    let mut scene = Scene::live(count, rules);
    (0..count).for_each(|seat| scene.place(seat, 200 + 300 * i32::from(seat), 450, 90));
    scene
}

/// Has `by` shoot `victim` down; what happened.
fn shoot_down(scene: &mut Scene, by: u8, victim: u8) -> Vec<(Tick, Event)> {
    scene.edit_ship(victim, |ship| (ship.hull, ship.guard_ticks) = (1, 0));
    let ship = scene.ship(victim);
    let below = ship.y - scene.rules().radius - 256;
    scene.shoot_from(by, ship.x, below, astro_tests::scene::heading(90));
    scene.play(2)
}

/// Broken by a kill that waits for the pod, by a pod without a clock, or one that ends the round.
#[test]
fn a_destroyed_ship_leaves_a_pod_that_becomes_a_ship_again() {
    let rules = with_pods(|_| {});
    let mut scene = row(2, &rules);
    let happened = shoot_down(&mut scene, 0, 1);
    assert!(happened.iter().any(|(_, event)| matches!(event, Event::ShipDestroyed { victim: Seat(1), .. })));
    assert_eq!(scene.score(0).kills, 1, "the ship counts at once");
    let pod = scene.ship(1);
    assert!(pod.pod && !pod.alive && scene.round().phase == Phase::Live);
    let wait = u32::from(pod.return_ticks);
    let happened = scene.play(wait - 1);
    assert!(happened.is_empty() && scene.ship(1).pod);
    let returned = scene.tick();
    assert_eq!(returned, [Event::ShipReturned { seat: Seat(1), rescuer: None }]);
    let ship = scene.ship(1);
    assert!(ship.alive && !ship.pod && ship.hull == rules.hull && ship.guard_ticks > 0);
    assert_eq!(ship.at(), pod.at(), "where the pod was");
}

/// Broken by a pod that bears a shot, that its own mates destroy, or a second kill for it.
#[test]
fn a_pod_that_an_enemy_shoots_is_gone_and_is_no_second_kill() {
    let mut scene = row(3, &with_pods(|_| {}));
    shoot_down(&mut scene, 0, 1);
    let pod = scene.ship(1);
    scene.shoot_from(2, pod.x, pod.y - 20 * 256, astro_tests::scene::heading(90));
    let happened = scene.play(4);
    let gone = Event::PodDestroyed { victim: Seat(1), by: Some(Seat(2)), weapon: Weapon::Gun };
    assert!(happened.iter().any(|(_, event)| *event == gone), "{happened:?}");
    assert!(!scene.ship(1).is_out() && scene.ship(1).return_ticks == 0);
    assert_eq!((scene.score(2).kills, scene.score(1).deaths), (0, 1));
}

/// Broken by a hull that passes through a pod.
#[test]
fn a_pod_that_an_enemys_hull_touches_is_gone() {
    let mut scene = row(3, &with_pods(|_| {}));
    shoot_down(&mut scene, 0, 1);
    let pod = scene.ship(1);
    scene.edit_ship(0, |ship| (ship.x, ship.y, ship.vx, ship.vy) = (pod.x - 20 * 256, pod.y, 0, 0));
    let happened = scene.play(2);
    let gone = Event::PodDestroyed { victim: Seat(1), by: Some(Seat(0)), weapon: Weapon::Ram };
    assert!(happened.iter().any(|(_, event)| *event == gone), "{happened:?}");
}

/// Broken by a mate whose touch destroys, or that brings nobody back.
#[test]
fn a_mate_who_touches_a_pod_fetches_it() {
    let rules = with_pods(|text| text.rules.mode = Mode::Teams);
    let mut scene = row(4, &rules);
    shoot_down(&mut scene, 0, 1);
    let pod = scene.ship(1);
    scene.edit_ship(3, |ship| (ship.x, ship.y, ship.vx, ship.vy) = (pod.x - 20 * 256, pod.y, 0, 0));
    let happened = scene.play(2);
    let fetched = Event::ShipReturned { seat: Seat(1), rescuer: Some(Seat(3)) };
    assert!(happened.iter().any(|(_, event)| *event == fetched), "{happened:?}");
    assert!(scene.ship(1).alive);
    assert_eq!(scene.score(3).rescue, 1);
}

/// Broken by a life too many or too few.
#[test]
fn lives_are_ships_and_the_last_one_ends_the_round() {
    let rules = rules_with("classic", |text| (text.rules.ship.lives, text.rules.ship.return_ms) = (3, 500));
    let mut scene = row(2, &rules);
    for left in [1, 0] {
        assert_eq!(scene.ship(1).lives, left + 1);
        shoot_down(&mut scene, 0, 1);
        assert!(!scene.ship(1).is_out() && scene.round().phase == Phase::Live);
        scene.play(u32::from(rules.return_ticks));
        assert!(scene.ship(1).alive);
        assert_eq!(scene.ship(1).lives, left);
    }
    shoot_down(&mut scene, 0, 1);
    assert_eq!((scene.round().phase, scene.score(0).rounds_won), (Phase::RoundOver, 1));
}

/// Broken by a ship that comes back under fire while a calmer point is free, or without its time of grace.
#[test]
fn ships_come_back_where_it_is_calm_and_nothing_hurts_them_at_first() {
    let rules = rules_with("classic", |text| text.rules.mode = Mode::Deathmatch);
    each_seed(60, |_, dice| {
        let mut scene = Scene::live(4, &rules);
        let calm = dice.step(0..4) as usize;
        let spawns = &rules.arena(4).spawns;
        // The other three sit on the other three points and shoot all the time.
        let others: Vec<usize> = (0..4).filter(|point| *point != calm).collect();
        for (seat, point) in (1..4u8).zip(&others) {
            let spawn = spawns[*point];
            scene.edit_ship(seat, |ship| {
                (ship.x, ship.y, ship.vx, ship.vy, ship.hull) = (spawn.x, spawn.y, 0, 0, 127);
            });
        }
        scene.edit_ship(0, |ship| (ship.x, ship.y) = (400 * 256, 450 * 256));
        shoot_down(&mut scene, 1, 0);
        scene.play(u32::from(rules.return_ticks));
        let ship = scene.ship(0);
        assert!(ship.alive && ship.guard_ticks > 0);
        assert_eq!(ship.at(), (spawns[calm].x, spawns[calm].y));
        let whole = ship.hull;
        scene.shoot_from(1, ship.x, ship.y - scene.rules().radius - 256, astro_tests::scene::heading(90));
        scene.play(2);
        assert_eq!(scene.ship(0).hull, whole, "under guard");
    });
}

/// Broken by a guard that lasts while its ship shoots others.
#[test]
fn who_fires_gives_up_the_guard() {
    let mut scene = row(2, &rules_with("classic", |_| {}));
    scene.edit_ship(0, |ship| ship.guard_ticks = 50);
    scene.hold(0, Input::new(0, false, true));
    scene.tick();
    assert_eq!(scene.ship(0).guard_ticks, 0);
}

/// Broken by a death that nobody and nobody's absence accounts for.
#[test]
fn kills_and_deaths_without_a_killer_are_together_all_deaths() {
    for name in ["classic", "deathmatch", "teams", "king", "standard"] {
        let rules = astro_tests::pilots::rules(name);
        let mut fleet = astro_tests::pilots::Fleet::new();
        let key = fleet.open(11, 4, &rules);
        let (mut alone, mut credited) = (0, 0);
        for (_, event) in fleet.play_out(key) {
            match event {
                Event::ShipDestroyed { by: None, .. } => alone += 1,
                Event::ShipDestroyed { by: Some(_), .. } => credited += 1,
                _ => {}
            }
        }
        let scores = fleet.state(key).scores;
        let (kills, deaths) = scores.iter().fold((0, 0), |(k, d), score| (k + score.kills, d + score.deaths));
        assert_eq!((kills, deaths), (credited, alone + credited), "{name}");
        assert!(deaths > 0, "{name}");
    }
}
