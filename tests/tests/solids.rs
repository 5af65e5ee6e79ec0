//! Promise: what stands still stands: no hull passes a wall, a pillar or a closed gate, nothing leaves the arena, and
//! bullets bounce as light does, as often as the arena says.

use std::sync::Arc;

use astro_shared::sim::arena::{DiscText, Edge, GateText, LayoutText, WallText, WellText};
use astro_shared::sim::input::Input;
use astro_shared::sim::rules::Ruleset;
use astro_shared::sim::units::{ANGLE_STEPS, Angle, POSITION_PER_UNIT, VELOCITY_PER_UNIT};
use astro_tests::dice::each_seed;
use astro_tests::pilots::rules_with;
use astro_tests::scene::Scene;

const UNIT: i32 = POSITION_PER_UNIT;

/// The plain game in an arena of walls with something in it.
fn walled(ricochets: u8, furnish: impl FnOnce(&mut LayoutText)) -> Arc<Ruleset> {
    rules_with("classic", |text| {
        (text.arena.edge, text.arena.ricochets) = (Edge::Wall, ricochets);
        let layout = &mut text.arena.small;
        layout.pads.clear();
        for (spawn, (x, y)) in layout.spawns.iter_mut().zip([(200, 200), (200, 700), (1400, 200), (1400, 700)]) {
            (spawn.x, spawn.y) = (x, y);
        }
        furnish(layout);
    })
}

fn wall(x: u32, y: u32, width: u32, height: u32) -> WallText {
    WallText { x, y, width, height }
}

/// A wall of several pieces from the lower edge to the upper one: there is no way around.
fn barrier(layout: &mut LayoutText) {
    layout.walls = vec![wall(800, 220, 32, 440), wall(800, 640, 32, 440), wall(800, 850, 32, 100)];
}

/// Broken by testing hulls only where a tick ends behind a wall, and by pushing one out on the far side.
#[test]
fn no_hull_passes_a_barrier_or_leaves_the_arena_whatever_pushes_it() {
    each_seed(60, |_, dice| {
        let rules = walled(0, barrier);
        let mut scene = Scene::live(2, &rules);
        let (left, right) = (dice.step(100..760), dice.step(840..1500));
        scene.place(0, left, dice.step(50..850), 0);
        scene.place(1, right, dice.step(50..850), 180);
        for _ in 0..40 {
            for seat in 0..2 {
                let turn = dice.step(-15..16) as i8;
                scene.hold(seat, Input::new(turn, dice.percent(50), false));
                if dice.percent(33) {
                    // As a chain of bumps could: the fastest that a velocity can be.
                    let (vx, vy) =
                        (dice.step(-16 * VELOCITY_PER_UNIT + 1..16 * VELOCITY_PER_UNIT), dice.step(-500_000..500_001));
                    scene.edit_ship(seat, |ship| (ship.vx, ship.vy) = (vx, vy));
                }
            }
            scene.play(5);
            let (one, other) = (scene.ship(0), scene.ship(1));
            let radius = scene.rules().radius;
            assert!(one.x + radius <= 784 * UNIT + UNIT, "the left ship is at {}", one.x / UNIT);
            assert!(other.x - radius >= 816 * UNIT - UNIT, "the right ship is at {}", other.x / UNIT);
            for ship in [one, other] {
                assert!((radius..900 * UNIT - radius).contains(&ship.y), "{}", ship.y / UNIT);
            }
        }
    });
}

/// Broken by a bounce that adds speed.
#[test]
fn a_wall_takes_speed_and_never_gives_any() {
    each_seed(200, |_, dice| {
        let rules = walled(0, |layout| layout.pillars = vec![DiscText { x: 800, y: 450, radius: 90 }]);
        let mut scene = Scene::live(2, &rules);
        scene.place(0, dice.step(100..1500), dice.step(100..800), 0);
        let speed = scene.rules().top_speed;
        let heading = Angle(dice.step(0..i32::from(ANGLE_STEPS)) as u16);
        scene.edit_ship(0, |ship| {
            ship.vx = (i64::from(speed) * i64::from(heading.cos()) / 32_768) as i32;
            ship.vy = (i64::from(speed) * i64::from(heading.sin()) / 32_768) as i32;
        });
        let energy = |scene: &Scene| i64::from(scene.ship(0).vx).pow(2) + i64::from(scene.ship(0).vy).pow(2);
        let mut before = energy(&scene);
        for _ in 0..200 {
            scene.tick();
            let now = energy(&scene);
            assert!(now <= before + 1024, "{before} became {now}");
            before = now;
        }
    });
}

/// Broken by a bounce whose angle out is not its angle in, by one bounce too many, and by a bullet that ends early.
#[test]
fn a_bullet_bounces_like_light_as_often_as_the_arena_says() {
    for (ricochets, degrees) in [(0, 30), (1, 30), (2, 75), (3, 10), (3, 200), (2, 315)] {
        let rules = walled(ricochets, |layout| layout.walls.clear());
        let rules = faster(&rules);
        let mut scene = Scene::live(2, &rules);
        scene.place(1, 60, 60, 0);
        let heading = astro_tests::scene::heading(degrees);
        scene.shoot_from(0, 800 * UNIT, 450 * UNIT, heading);
        let (mut bounces, mut angle) = (0, heading);
        while let Some(bullet) = scene.bullets().first().copied() {
            if bullet.angle != angle {
                bounces += 1;
                let (upright, sideways) =
                    (Angle(0).turned(-i32::from(angle.0)), Angle(0).turned(2048 - i32::from(angle.0)));
                assert!([upright, sideways].contains(&bullet.angle), "{angle:?} became {:?}", bullet.angle);
                assert_eq!(bullet.bounces, bounces);
                angle = bullet.angle;
            }
            scene.tick();
        }
        assert_eq!(bounces, ricochets, "at {degrees} degrees");
    }
}

/// Bullets that fly far enough to meet every wall they may, and hurt nobody.
fn faster(rules: &Arc<Ruleset>) -> Arc<Ruleset> {
    let mut text = astro_tests::pilots::text_of(rules);
    (text.rules.gun.bullet_speed, text.rules.gun.bullet_life_ms) = (1800.0, 4000);
    (text.rules.gun.magazine, text.rules.gun.reload_ms) = (1, 4000);
    Arc::new(Ruleset::new(text, "edited", "edited").expect("legal rules"))
}

/// Broken by a bullet that slips through a corner, a pillar or a thin wall at any speed.
#[test]
fn no_bullet_is_ever_inside_of_something_solid() {
    each_seed(40, |_, dice| {
        let rules = faster(&walled(3, |layout| {
            layout.walls = vec![wall(500, 450, 32, 300), wall(1100, 450, 200, 32)];
            layout.pillars = vec![DiscText { x: 800, y: 250, radius: 60 }, DiscText { x: 800, y: 650, radius: 16 }];
        }));
        let mut scene = Scene::live(2, &rules);
        scene.place(1, 60, 60, 0);
        for _ in 0..8 {
            let heading = Angle(dice.step(0..i32::from(ANGLE_STEPS)) as u16);
            scene.shoot_from(0, dice.step(560..760) * UNIT, dice.step(330..570) * UNIT, heading);
        }
        let arena = scene.rules().arena(2).clone();
        let mut flights = scene.bullets();
        while !flights.is_empty() {
            scene.tick();
            flights = scene.bullets();
            for bullet in &flights {
                let (x, y) = bullet.position(scene.tick_now(), &scene.rules(), &arena);
                for wall in &arena.walls {
                    let inside = (x - wall.x).abs() < wall.half_width - 1 && (y - wall.y).abs() < wall.half_height - 1;
                    assert!(!inside, "{} {} is in a wall", x / UNIT, y / UNIT);
                }
                for pillar in &arena.pillars {
                    let away = i64::from(x - pillar.x).pow(2) + i64::from(y - pillar.y).pow(2);
                    assert!(away >= i64::from(pillar.radius - 64).pow(2), "{} {} is in a pillar", x / UNIT, y / UNIT);
                }
            }
        }
    });
}

/// Broken by a gate that is solid while open, or open while closed, or that swallows who stands in it.
#[test]
fn a_gate_lets_through_while_open_and_pushes_out_who_stands_in_it_when_it_closes() {
    let rules = walled(0, |layout| {
        layout.walls = vec![wall(800, 175, 32, 350), wall(800, 725, 32, 350)];
        layout.gates = vec![GateText { wall: wall(800, 450, 32, 200), open_ms: 8000, closed_ms: 4000, offset_ms: 0 }];
    });
    let mut scene = Scene::live(2, &rules);
    let gate = rules.arena(2).gates[0];
    assert!(!gate.is_closed(scene.tick_now()));
    scene.place(0, 800, 450, 0);
    scene.play(2);
    assert_eq!(scene.ship(0).x, 800 * UNIT, "an open gate pushes nobody");
    while !gate.is_closed(scene.tick_now()) {
        scene.tick();
    }
    let ship = scene.ship(0);
    assert!((ship.x - 800 * UNIT).abs() >= gate.wall.half_width + rules.radius, "pushed out, to {}", ship.x / UNIT);
    scene.place(0, 760, 450, 0);
    scene.edit_ship(0, |ship| ship.vx = 3 * VELOCITY_PER_UNIT);
    scene.play(30);
    assert!(scene.ship(0).x < 800 * UNIT, "a closed gate is a wall");
}

/// Broken by a well that pushes, pulls beyond its rim, or is strongest at its rim.
#[test]
fn a_well_pulls_towards_its_middle_the_more_the_nearer() {
    let rules = walled(0, |layout| layout.wells = vec![WellText { x: 800, y: 450, radius: 400, pull: 300 }]);
    let pull_at = |x: i32| {
        let mut scene = Scene::live(2, &rules);
        scene.place(0, x, 450, 90);
        scene.tick();
        scene.ship(0).vx
    };
    assert!(pull_at(500) > 0 && pull_at(1100) < 0);
    assert!(pull_at(700) > pull_at(500), "nearer is stronger");
    assert_eq!(pull_at(390), 0, "beyond the rim");
}
