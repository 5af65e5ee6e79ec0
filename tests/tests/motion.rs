//! Promise: motion on the grid feels like motion in the plane (decision 4).
//!
//! Compared with the ideal in floating point, which the sim itself never uses.

use std::sync::Arc;

use astro_shared::sim::input::Input;
use astro_shared::sim::round::Phase;
use astro_shared::sim::rules::Ruleset;
use astro_shared::sim::ships::VELOCITY_MAX;
use astro_shared::sim::units::{ANGLE_STEPS, Angle, POSITION_PER_UNIT, TICKS_PER_SECOND, VELOCITY_PER_UNIT, shortest};
use astro_tests::dice::{Dice, each_seed};
use astro_tests::pilots::{Fleet, rules, rules_with, text_of};
use astro_tests::scene::Scene;

/// A speed in units/s as velocity steps per tick.
fn velocity(units_per_s: f64) -> f64 {
    units_per_s * f64::from(VELOCITY_PER_UNIT) / f64::from(TICKS_PER_SECOND)
}

fn set_velocity(scene: &mut Scene, seat: u8, units_per_s: f64, radians: f64) {
    let speed = velocity(units_per_s);
    scene.edit_ship(seat, |ship| {
        ship.vx = (speed * radians.cos()).round() as i32;
        ship.vy = (speed * radians.sin()).round() as i32;
    });
}

fn frictionless() -> Arc<Ruleset> {
    rules_with("classic", |text| text.rules.ship.drag_per_s = 0.0)
}

/// Two ships far apart; seat 0 in the middle of the arena.
fn open_space(rules: &Arc<Ruleset>) -> Scene {
    let mut scene = Scene::live(2, rules);
    scene.place(0, 800, 450, 0);
    scene.place(1, 1590, 890, 0);
    scene
}

/// Lets seat 0 drift for a second at 5 units/s in every whole degree; at the end it must have gone
/// `distance_units` and be at `speed_units_per_s`.
fn drift_keeps_course(rules: &Arc<Ruleset>, distance_units: f64, speed_units_per_s: f64) {
    let mut scene = open_space(rules);
    let (mut worst_degrees, mut worst_share) = (0f64, 0f64);
    for degrees in 0..360u32 {
        // Each second here starts at another phase of the position grid.
        scene.edit_round(|round| (round.phase_ends, round.live_ticks) = (round.tick.plus(1000), 0));
        scene.place(0, 800, 450, 0);
        let from = scene.ship(0);
        let radians = f64::from(degrees).to_radians();
        set_velocity(&mut scene, 0, 5.0, radians);
        scene.play(TICKS_PER_SECOND);
        let to = scene.ship(0);
        let (dx, dy) = (f64::from(to.x - from.x), f64::from(to.y - from.y));
        let off = (dy.atan2(dx) - radians).sin().asin().to_degrees().abs();
        let share = (f64::from(to.vx).hypot(f64::from(to.vy)) / velocity(speed_units_per_s) - 1.0).abs();
        let distance_steps = distance_units * f64::from(POSITION_PER_UNIT);
        // A place is only known to a step: that much is the eye's error, not the ship's.
        let astray_steps = (dx.hypot(dy) - distance_steps).abs();
        assert!(off <= 2.0, "{degrees} degrees: off course by {off:.2} degrees");
        assert!(share <= 0.03, "{degrees} degrees: speed is off by {:.1} %", share * 100.0);
        assert!(astray_steps <= 0.03 * distance_steps + 1.0, "{degrees} degrees: {astray_steps:.1} steps astray");
        (worst_degrees, worst_share) = (worst_degrees.max(off), worst_share.max(share));
    }
    println!("worst course {worst_degrees:.2} degrees, worst speed {:.2} %", worst_share * 100.0);
}

/// Broken by a coarser velocity grid: at 1/256 unit a step already bends a drift by more than 2 degrees.
#[test]
fn a_drift_of_5_units_a_second_without_drag_keeps_course_and_speed_in_every_heading() {
    drift_keeps_course(&frictionless(), 5.0, 5.0);
}

/// Broken by drag that rounds to a coarse grid, or that is another function than the exponential.
#[test]
fn a_drift_of_5_units_a_second_with_drag_follows_the_ideal_exponential() {
    let drag_per_s = f64::from(text_of(&rules("classic")).rules.ship.drag_per_s);
    let kept = (-drag_per_s).exp();
    drift_keeps_course(&rules("classic"), 5.0 * (1.0 - kept) / drag_per_s, 5.0 * kept);
}

/// Broken by drag that rounds to nearest: it stops slowing at a few steps per tick.
#[test]
fn drag_brings_any_drift_to_rest() {
    each_seed(60, |_, dice| {
        let mut scene = open_space(&rules("classic"));
        scene.edit_round(|round| round.phase_ends = round.tick.plus(100_000));
        let (speed, radians) = (dice.step(1..320), f64::from(dice.step(0..36_000)) / 5730.0);
        set_velocity(&mut scene, 0, f64::from(speed), radians);
        scene.play(2000);
        let ship = scene.ship(0);
        assert_eq!((ship.vx, ship.vy), (0, 0), "from {speed} units/s");
    });
}

/// Broken by a turn rate truncated to whole steps per input, which makes small inputs do nothing.
#[test]
fn every_turn_input_turns_and_equally_both_ways() {
    let slowest = rules_with("classic", |text| text.rules.ship.turn_degrees_per_s = 90.0);
    for rules in [rules("classic"), slowest] {
        let mut scene = open_space(&rules);
        let mut turned = |turn: i8| {
            scene.place(0, 800, 450, 0);
            scene.hold(0, Input::new(turn, false, false));
            scene.tick();
            shortest(i32::from(scene.ship(0).angle.0), i32::from(ANGLE_STEPS))
        };
        assert_eq!(turned(0), 0);
        for turn in 1..=15 {
            assert!(turned(turn) >= turned(turn - 1), "{turn}: never less than a smaller input");
            assert!(turned(turn) >= 1, "{turn} turns");
            assert_eq!(turned(-turn), -turned(turn), "{turn} is the mirror of -{turn}");
        }
    }
}

/// Broken by dividing by a rounded-down speed when shortening a velocity: the result is then a little too long.
#[test]
fn top_speed_is_never_exceeded_after_a_tick_of_thrust() {
    let fastest = rules_with("classic", |text| (text.rules.ship.thrust, text.rules.ship.top_speed) = (2000.0, 480.0));
    for rules in [rules("classic"), fastest] {
        let mut scene = open_space(&rules);
        each_seed(15_000, |_, dice| {
            scene.edit_round(|round| (round.phase_ends, round.live_ticks) = (round.tick.plus(1000), 0));
            scene.place(0, 800, 450, dice.below(360) as u16);
            let component = if dice.percent(50) { VELOCITY_MAX } else { rules.top_speed };
            let (vx, vy) = (dice.step(-component..component + 1), dice.step(-component..component + 1));
            scene.edit_ship(0, |ship| (ship.vx, ship.vy) = (vx, vy));
            scene.hold(0, Input::new(dice.step(-15..16) as i8, true, false));
            scene.tick();
            let ship = scene.ship(0);
            let squared = i64::from(ship.vx).pow(2) + i64::from(ship.vy).pow(2);
            let top = i64::from(rules.top_speed).pow(2);
            assert!(squared <= top, "({vx}, {vy}) became ({}, {}), too fast", ship.vx, ship.vy);
        });
    }
}

/// Twice the energy of both ships, and their momentum.
fn energy_and_momentum(scene: &Scene) -> (i64, i64, i64) {
    let (a, b) = (scene.ship(0), scene.ship(1));
    let square = |v: i32| i64::from(v).pow(2);
    let energy = square(a.vx) + square(a.vy) + square(b.vx) + square(b.vy);
    (energy, i64::from(a.vx) + i64::from(b.vx), i64::from(a.vy) + i64::from(b.vy))
}

/// Puts two ships within each other's reach, each with any legal velocity; some glance, some meet head on.
fn crash(scene: &mut Scene, dice: &mut Dice, top_speed: i32, radius: i32) {
    scene.edit_round(|round| (round.phase_ends, round.live_ticks) = (round.tick.plus(1000), 0));
    scene.place(0, 800, 450, 0);
    scene.place(1, 800, 450, 0);
    let reach = 2 * radius;
    let top = if dice.percent(30) { 2000 } else { top_speed };
    for seat in 0..2 {
        let (speed, angle) = (dice.step(0..top + 1), Angle(dice.below(4096) as u16));
        let along = |direction: i32| (i64::from(speed) * i64::from(direction) / 32_768) as i32;
        scene.edit_ship(seat, |ship| (ship.vx, ship.vy) = (along(angle.cos()), along(angle.sin())));
    }
    let (dx, dy) = (dice.step(-reach..reach), dice.step(-reach..reach));
    scene.edit_ship(1, |ship| (ship.x, ship.y) = (ship.x + dx, ship.y + dy));
}

/// Broken by truncating the two halves of an impulse apart (momentum), or by an impulse that truncation has
/// turned away from the line between the ships (energy).
#[test]
fn a_bump_keeps_momentum_exactly_and_never_adds_energy() {
    let heavy = rules_with("classic", |text| {
        (text.rules.ship.drag_per_s, text.rules.ship.top_speed, text.rules.ship.radius) = (0.0, 480.0, 60.0);
    });
    for rules in [frictionless(), heavy] {
        let mut scene = open_space(&rules);
        let (mut bumps, mut kept) = (0, 0.0);
        let all = each_seed(20_000, |_, dice| {
            crash(&mut scene, dice, rules.top_speed, rules.radius);
            let ships = (scene.ship(0), scene.ship(1));
            let before = energy_and_momentum(&scene);
            scene.tick();
            let after = energy_and_momentum(&scene);
            assert_eq!((after.1, after.2), (before.1, before.2), "momentum of {ships:?}");
            assert!(after.0 <= before.0, "energy rose from {} to {} for {ships:?}", before.0, after.0);
            if scene.ship(0).vx != ships.0.vx {
                bumps += 1;
                kept += after.0 as f64 / before.0 as f64;
            }
        });
        println!("{bumps} bumps kept {:.5} of their energy", kept / f64::from(bumps));
        assert!(!all || bumps > 5000, "only {bumps} bumps");
        assert!(!all || kept / f64::from(bumps) > 0.99, "bumps are elastic, but for the grid");
    }
}

/// Broken by a move, a push of a bump or a muzzle that is not wrapped.
#[test]
fn ships_and_bullets_always_stay_inside_the_arena() {
    let cramped = rules_with("classic", |text| {
        let arena = &mut text.arena.large;
        (arena.width, arena.height) = (400, 400);
        (arena.pads, arena.zone) = (Vec::new(), None);
        for (index, spawn) in arena.spawns.iter_mut().enumerate() {
            (spawn.x, spawn.y) = (index as u32 % 3 * 134, index as u32 / 3 * 134);
        }
        (text.rules.ship.top_speed, text.rules.ship.thrust, text.rules.ship.radius) = (480.0, 2000.0, 60.0);
        (text.rules.gun.bullet_speed, text.rules.gun.bullet_life_ms) = (1800.0, 1100);
        (text.rules.ship.hull, text.rules.gun.damage) = (127, 1);
    });
    for rules in [rules("classic"), cramped] {
        each_seed(8, |_, dice| {
            let mut scene = Scene::live(8, &rules);
            for _ in 0..900 {
                for seat in 0..8 {
                    if dice.percent(10) {
                        scene.hold(seat, Input::new(dice.step(-15..16) as i8, dice.percent(80), dice.percent(50)));
                    }
                }
                scene.tick();
                let arena = rules.arena(8);
                let inside = |x: i32, y: i32| (0..arena.width).contains(&x) && (0..arena.height).contains(&y);
                for seat in 0..8 {
                    let ship = scene.ship(seat);
                    assert!(inside(ship.x, ship.y), "seat {seat} at ({}, {})", ship.x, ship.y);
                    assert!(ship.vx.abs() <= VELOCITY_MAX && ship.vy.abs() <= VELOCITY_MAX, "fits the wire");
                }
                for bullet in scene.bullets() {
                    let (x, y) = bullet.position(scene.tick_now(), &rules, arena);
                    assert!(inside(bullet.x, bullet.y) && inside(x, y), "bullet {bullet:?}");
                }
            }
        });
    }
}

/// Broken by any rounding toward minus infinity: thrust, drag, top speed or recoil then favour left and down.
#[test]
fn opposite_headings_and_mirrored_turns_fly_mirrored_paths() {
    each_seed(60, |_, dice| {
        let rules = rules_with("classic", |text| (text.arena.small.width, text.arena.small.height) = (2000, 2000));
        let mut scene = Scene::live(4, &rules);
        let angle = Angle(dice.below(4096) as u16);
        // As flown; turned by half a turn; mirrored at the x axis. Seat 3 only keeps the round open.
        let angles = [angle, angle.turned(2048), Angle(0).turned(-i32::from(angle.0))];
        let places = [(500, 500), (1500, 1500), (500, 1500), (1900, 1000)];
        for (seat, (x, y)) in places.into_iter().enumerate() {
            scene.place(seat as u8, x, y, 0);
        }
        angles.into_iter().enumerate().for_each(|(seat, angle)| scene.edit_ship(seat as u8, |ship| ship.angle = angle));
        let from = [0, 1, 2].map(|seat| scene.ship(seat));
        let (mut turn, mut thrust) = (0, true);
        for tick in 0..150 {
            if dice.percent(10) {
                (turn, thrust) = (dice.step(-15..16) as i8, dice.percent(60));
            }
            let fire = dice.percent(10);
            scene.hold(0, Input::new(turn, thrust, fire));
            scene.hold(1, Input::new(turn, thrust, fire));
            scene.hold(2, Input::new(-turn, thrust, fire));
            scene.tick();
            assert_eq!(scene.round().phase, Phase::Live);
            let [flown, turned, mirrored] = [0, 1, 2].map(|seat| scene.ship(seat));
            assert_eq!((turned.vx, turned.vy), (-flown.vx, -flown.vy), "tick {tick}: half a turn");
            assert_eq!((mirrored.vx, mirrored.vy), (flown.vx, -flown.vy), "tick {tick}: mirror");
            let moved = |ship: usize, to: astro_shared::sim::state::Ship| (to.x - from[ship].x, to.y - from[ship].y);
            let (a, b, c) = (moved(0, flown), moved(1, turned), moved(2, mirrored));
            // A floor and the floor of its mirror image differ by a step; an eighth of a unit is never seen.
            let close = |left: i32, right: i32| (left - right).abs() <= POSITION_PER_UNIT / 8;
            assert!(close(a.0, -b.0) && close(a.1, -b.1), "tick {tick}: {a:?} and {b:?}");
            assert!(close(a.0, c.0) && close(a.1, -c.1), "tick {tick}: {a:?} and {c:?}");
        }
    });
}

/// Pilots fly the whole envelope, bumps included; nothing they do leaves the arena either.
#[test]
fn pilots_stay_inside_too() {
    let mut fleet = Fleet::new();
    let rules = rules("classic");
    let keys: Vec<_> = (0..10).map(|seed| fleet.open(seed, 8, &rules)).collect();
    for _ in 0..1200 {
        fleet.play(1);
        for key in &keys {
            let inside = |ship: &astro_shared::sim::state::Ship| {
                (0..rules.arena(8).width).contains(&ship.x) && (0..rules.arena(8).height).contains(&ship.y)
            };
            assert!(fleet.state(*key).ships.iter().all(inside));
        }
    }
}
