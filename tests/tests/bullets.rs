//! Promise: nothing tunnels. The swept test in integers agrees with tiny steps in floating point.

use std::sync::Arc;

use astro_shared::sim::bullets::{TICK_END, time_of_impact};
use astro_shared::sim::event::Event;
use astro_shared::sim::input::Input;
use astro_shared::sim::round::Phase;
use astro_shared::sim::rules::Ruleset;
use astro_shared::sim::state::{Bullet, Ship};
use astro_shared::sim::units::{POSITION_PER_UNIT, SEATS_MAX, Seat, Tick, shortest};
use astro_tests::dice::{Dice, each_seed};
use astro_tests::pilots::{rules, rules_with};
use astro_tests::scene::Scene;

/// Steps into which the reference divides a tick.
const FINE_STEPS: u32 = 1000;

/// Square of the distance from the origin after `share` of a tick.
fn squared_distance(from: (i32, i32), path: (i32, i32), share: f64) -> f64 {
    let at = |from: i32, path: i32| f64::from(from) + f64::from(path) * share;
    at(from.0, path.0).powi(2) + at(from.1, path.1).powi(2)
}

/// Least distance up to `share` of a tick, looked for step by step; infinite when there is no step before it.
fn least_distance(from: (i32, i32), path: (i32, i32), share: f64) -> f64 {
    let steps = 0..=(share * f64::from(FINE_STEPS)) as u32;
    let squared = steps.map(|step| squared_distance(from, path, f64::from(step) / f64::from(FINE_STEPS)));
    squared.fold(f64::INFINITY, f64::min).sqrt()
}

/// A hull and a point near it, moving against each other at up to the highest legal speeds.
fn encounter(dice: &mut Dice) -> ((i32, i32), (i32, i32), i32) {
    let unit = POSITION_PER_UNIT;
    let radius = dice.step(4 * unit..60 * unit + 1);
    // 1,800 units/s of a bullet and 16 units a tick of a ship that was bumped twice.
    let fastest = dice.pick(&[unit, 8 * unit, 46 * unit]);
    let path = (dice.step(-fastest..fastest + 1), dice.step(-fastest..fastest + 1));
    let reach = radius + 2 * unit;
    // So that most pairs meet: a point near the hull, seen from where the path begins.
    let share = f64::from(dice.step(0..1001)) / 1000.0;
    let back = |near: i32, path: i32| near - (f64::from(path) * share) as i32;
    let near = (dice.step(-reach..reach + 1), dice.step(-reach..reach + 1));
    ((back(near.0, path.0), back(near.1, path.1)), path, radius)
}

/// Broken by testing only where a bullet is at the end of a tick, and by any overflow at legal speeds.
#[test]
fn the_swept_test_agrees_with_a_thousand_steps_per_tick() {
    let (mut hits, mut misses) = (0, 0);
    let all = each_seed(200_000, |_, dice| {
        let (from, path, radius) = encounter(dice);
        match time_of_impact(from, path, radius) {
            Some(time) => {
                let share = f64::from(time) / f64::from(TICK_END);
                let touches = squared_distance(from, path, share).sqrt();
                assert!(share <= 1.0, "at {share}");
                assert!(touches <= f64::from(radius) + 1.0, "{from:?} {path:?}: {touches} from a hull of {radius}");
                // When it begins inside, it is hit at once; else it cannot have been inside any earlier.
                let earlier = if time == 0 { f64::INFINITY } else { least_distance(from, path, share) };
                assert!(earlier >= f64::from(radius) - 1.0, "{from:?} {path:?}: was inside before");
                hits += 1;
            }
            None => {
                let least = least_distance(from, path, 1.0);
                assert!(least >= f64::from(radius) - 1.0, "{from:?} {path:?} comes to {least}, hull is {radius}");
                misses += 1;
            }
        }
    });
    println!("{hits} hits, {misses} misses");
    assert!(!all || hits > 10_000 && misses > 10_000, "both must have been tried: {hits} hits, {misses} misses");
}

/// Small fast ships that never die, with as fast bullets as the rules allow.
fn extremes() -> Arc<Ruleset> {
    rules_with("classic", |text| {
        (text.rules.ship.radius, text.rules.ship.hull, text.rules.gun.damage) = (4.0, 127, 1);
        (text.rules.ship.top_speed, text.rules.ship.thrust) = (480.0, 2000.0);
        (text.rules.gun.bullet_speed, text.rules.gun.bullet_life_ms) = (1800.0, 1500);
        let arena = &mut text.arena.large;
        (arena.width, arena.height) = (700, 700);
        (arena.pads, arena.zone) = (Vec::new(), None);
        for (index, spawn) in arena.spawns.iter_mut().enumerate() {
            (spawn.x, spawn.y) = (index as u32 % 3 * 200, index as u32 / 3 * 200);
        }
    })
}

/// Least distance between a bullet and a ship over the tick that has just been played.
fn closest_pass(bullet: &Bullet, tick: Tick, before: &Ship, after: &Ship, rules: &Ruleset) -> f64 {
    let arena = rules.arena(SEATS_MAX as u8);
    let between = |from: (i32, i32), to: (i32, i32)| {
        (shortest(to.0 - from.0, arena.width), shortest(to.1 - from.1, arena.height))
    };
    let (start, end) = (bullet.position(Tick(tick.0 - 1), rules, arena), bullet.position(tick, rules, arena));
    let (flown, moved) = (between(start, end), between((before.x, before.y), (after.x, after.y)));
    let (apart, path) = (between((before.x, before.y), start), (flown.0 - moved.0, flown.1 - moved.1));
    // Most pairs are far apart all tick long; a bound is enough for them.
    let bound = f64::from(apart.0).hypot(f64::from(apart.1)) - f64::from(path.0).hypot(f64::from(path.1));
    if bound > f64::from(2 * rules.radius) { bound } else { least_distance(apart, path, 1.0) }
}

/// Plays one tick; every bullet that went through a hull must have ended in it or in another one.
fn tick_without_tunnels(scene: &mut Scene, rules: &Ruleset) -> (u32, u32) {
    let (ships, bullets) = (scene.state().ships, scene.bullets());
    let events = scene.tick();
    let after = scene.state().ships;
    let (mut hits, mut near_misses) = (0, 0);
    for bullet in &bullets {
        let age = bullet.age(scene.tick_now());
        let hit = events.iter().find_map(|event| match event {
            Event::ShipHit { bullet: id, victim } if *id == bullet.id => Some(*victim),
            _ => None,
        });
        let passes = Seat::first(SEATS_MAX as u8).filter(|seat| *seat != bullet.owner() && ships[seat.index()].alive);
        for seat in passes {
            let closest = closest_pass(bullet, scene.tick_now(), &ships[seat.index()], &after[seat.index()], rules);
            let inside = closest <= f64::from(rules.radius) - 1.0;
            assert!(!inside || hit.is_some(), "bullet {bullet:?} of age {age} went through seat {seat}");
            if hit == Some(seat) {
                assert!(closest <= f64::from(rules.radius) + 1.0, "seat {seat} was hit from {closest} steps away");
            }
            near_misses += u32::from(hit.is_none() && closest < f64::from(2 * rules.radius));
        }
        if let Some(victim) = hit {
            assert!(ships[victim.index()].alive && victim != bullet.owner());
            assert!(!scene.bullets().iter().any(|live| live.id == bullet.id), "a bullet that hit is gone");
            hits += 1;
        }
    }
    (hits, near_misses)
}

/// Broken by sweeping bullets against where hulls end up instead of along their way, or by forgetting the wrap.
#[test]
fn a_bullet_never_passes_through_a_hull() {
    let (mut hits, mut near_misses, mut all) = (0, 0, true);
    for rules in [rules("classic"), extremes()] {
        all &= each_seed(40, |_, dice| {
            let mut scene = Scene::live(8, &rules);
            while scene.round().phase == Phase::Live && scene.round().live_ticks < 600 {
                for seat in 0..8 {
                    if dice.percent(10) {
                        scene.hold(seat, Input::new(dice.step(-15..16) as i8, dice.percent(80), true));
                    }
                }
                let (hit, near_miss) = tick_without_tunnels(&mut scene, &rules);
                (hits, near_misses) = (hits + hit, near_misses + near_miss);
            }
        });
    }
    println!("{hits} hits, {near_misses} near misses");
    assert!(!all || hits > 200 && near_misses > 200, "{hits} hits, {near_misses} near misses");
}

/// A shot at point-blank range starts inside the other hull and still counts.
/// Broken by testing from a bullet's second tick on, or by a muzzle beyond the hull it should hit.
#[test]
fn a_shot_fired_into_a_touching_ship_hits_it() {
    for degrees in (0..360).step_by(10) {
        let mut scene = Scene::live(2, &rules("classic"));
        scene.place(0, 800, 450, degrees);
        let angle = scene.ship(0).angle;
        let reach = 2 * scene.rules().radius;
        let along = |direction: i32| (i64::from(reach) * i64::from(direction) / 32_768) as i32;
        scene.place(1, 800, 450, 0);
        scene.edit_ship(1, |ship| (ship.x, ship.y) = (ship.x + along(angle.cos()), ship.y + along(angle.sin())));
        scene.hold(0, Input::new(0, false, true));
        let events = [scene.tick(), scene.tick()].concat();
        assert!(
            events.iter().any(|event| matches!(event, Event::ShipHit { victim: Seat(1), .. })),
            "{degrees} degrees"
        );
    }
}
