//! Promise: asteroids drift, collide, hurt who meets them too fast, stop bullets, and break into pieces.

use std::sync::Arc;

use astro_shared::sim::event::{Event, Weapon};
use astro_shared::sim::rules::{Ruleset, RulesetText};
use astro_shared::sim::state::{ASTEROIDS_MAX, Asteroid};
use astro_shared::sim::units::{POSITION_PER_UNIT, Seat, VELOCITY_PER_UNIT};
use astro_tests::dice::each_seed;
use astro_tests::pilots::rules_with;
use astro_tests::scene::Scene;

const UNIT: i32 = POSITION_PER_UNIT;

fn rocky(asteroids: u8, edit: impl FnOnce(&mut RulesetText)) -> Arc<Ruleset> {
    rules_with("classic", |text| {
        text.arena.small.asteroids = asteroids;
        edit(text);
    })
}

/// Puts exactly these rocks into the arena.
fn put(scene: &mut Scene, rocks: &[Asteroid]) {
    scene.edit(|state| state.asteroids = rocks.iter().copied().collect());
}

fn rock(id: u8, x: i32, y: i32, size: u8) -> Asteroid {
    Asteroid { id, x: x * UNIT, y: y * UNIT, size, ..Asteroid::default() }
}

/// Broken by rocks on spawn points, or by the same rocks in every match.
#[test]
fn rounds_begin_with_the_arenas_rocks_clear_of_every_spawn_point() {
    let rules = rocky(5, |_| {});
    let scattered = |seed: u64| {
        let mut world = astro_shared::sim::SimPlugin::world();
        let key = astro_shared::sim::open(&mut world, seed, 4, rules.clone());
        astro_shared::sim::get(&world, key).expect("the match").asteroids
    };
    let mut all = Vec::new();
    for seed in 0..100 {
        let rocks = scattered(seed);
        assert_eq!(rocks.len(), 5);
        for (rock, spawn) in rocks.iter().flat_map(|rock| rules.arena(4).spawns.iter().map(move |spawn| (rock, spawn)))
        {
            let (dx, dy) = rules.arena(4).way((rock.x, rock.y), (spawn.x, spawn.y));
            let away = (i64::from(dx).pow(2) + i64::from(dy).pow(2)).isqrt() as i32;
            assert!(away > rock.radius() + 100 * UNIT, "seed {seed}: {} units", away / UNIT);
        }
        all.push(rocks);
    }
    assert!(all.windows(2).all(|pair| pair[0] != pair[1]));
}

/// Broken by a collision that makes speed out of nothing, or by rocks that leave the arena.
#[test]
fn rocks_that_collide_keep_momentum_and_gain_no_energy() {
    each_seed(300, |_, dice| {
        let mut scene = Scene::live(2, &rocky(0, |_| {}));
        scene.place(0, 60, 860, 0);
        scene.place(1, 1540, 860, 0);
        let mut rocks = Vec::new();
        for id in 0..6 {
            let mut one = rock(id, 300 + 150 * i32::from(id), 200 + dice.step(0..150), dice.step(0..3) as u8);
            (one.vx, one.vy) = (dice.step(-150_000..150_001), dice.step(-150_000..150_001));
            rocks.push(one);
        }
        put(&mut scene, &rocks);
        const MASS: [i64; 3] = [1, 3, 9];
        let sums = |scene: &Scene| {
            scene.state().asteroids.iter().fold((0, 0, 0), |(x, y, e), rock| {
                let (m, vx, vy) = (MASS[usize::from(rock.size)], i64::from(rock.vx), i64::from(rock.vy));
                (x + m * vx, y + m * vy, e + m * (vx * vx + vy * vy))
            })
        };
        let mut before = sums(&scene);
        // Not so long that a rock could reach a ship.
        for _ in 0..70 {
            scene.tick();
            let now = sums(&scene);
            assert!((now.0 - before.0).abs() <= 64 && (now.1 - before.1).abs() <= 64, "{before:?} became {now:?}");
            assert!(now.2 <= before.2 + before.2 / 100_000 + 1_000_000, "{before:?} became {now:?}");
            before = now;
            assert!(scene.state().asteroids.iter().all(|rock| scene.rules().arena(2).contains(rock.x, rock.y)));
        }
    });
}

/// Broken by a bullet that flies through, a rock that never breaks, or pieces of the wrong size and number.
#[test]
fn shots_break_a_rock_into_two_of_the_next_size_and_the_smallest_into_nothing() {
    let mut scene = Scene::live(2, &rocky(0, |text| text.rules.asteroid.hits = 2));
    scene.place(0, 100, 800, 0);
    scene.place(1, 1500, 800, 0);
    for size in [2, 1, 0] {
        put(&mut scene, &[rock(9, 800, 300, size)]);
        let mut told = Vec::new();
        for _ in 0..2 {
            let bullet = scene.shoot(0, 740, 300, 0).id;
            let happened = scene.play(8);
            let hit = Event::AsteroidHit { bullet, asteroid: 9 };
            assert!(happened.iter().any(|(_, event)| *event == hit), "{happened:?}");
            assert!(scene.bullets().is_empty());
            told.extend(happened);
        }
        let broken = told.iter().filter(|(_, event)| *event == Event::AsteroidBroken { asteroid: 9 }).count();
        assert_eq!(broken, 1);
        let left: Vec<u8> = scene.state().asteroids.iter().map(|rock| rock.size).collect();
        assert_eq!(left, if size == 0 { vec![] } else { vec![size - 1; 2] });
        let ids: Vec<u8> = scene.state().asteroids.iter().map(|rock| rock.id).collect();
        assert!(ids.windows(2).all(|pair| pair[0] != pair[1]));
    }
}

/// Broken by a break that overflows the list.
#[test]
fn pieces_that_find_no_room_are_not_made() {
    let mut scene = Scene::live(2, &rocky(0, |text| text.rules.asteroid.hits = 1));
    scene.place(0, 100, 860, 0);
    scene.place(1, 1500, 860, 0);
    let rocks: Vec<Asteroid> = (0..ASTEROIDS_MAX as i32).map(|id| rock(id as u8, 100 + 145 * id, 300, 2)).collect();
    put(&mut scene, &rocks);
    for id in 0..ASTEROIDS_MAX as i32 {
        scene.shoot(0, 100 + 145 * id, 200, 90);
    }
    scene.play(8);
    assert_eq!(scene.state().asteroids.len(), ASTEROIDS_MAX, "all broke; as many pieces as there was room for");
    assert!(scene.state().asteroids.iter().all(|rock| rock.size == 1));
}

/// Broken by a rock that hurts at any speed or never, or by a death that is credited to somebody.
#[test]
fn a_ship_that_meets_a_rock_too_fast_is_hurt_and_nobody_is_credited() {
    let meet = |units_per_tick: i32| {
        let mut scene = Scene::live(2, &rocky(0, |text| text.rules.asteroid.damage = 30));
        scene.place(1, 1500, 860, 0);
        scene.place(0, 700, 300, 0);
        scene.edit_ship(0, |ship| (ship.vx, ship.hull) = (units_per_tick * VELOCITY_PER_UNIT, 20));
        put(&mut scene, &[rock(1, 800, 300, 2)]);
        (scene.play(40), scene)
    };
    let (slow, scene) = meet(3);
    assert!(slow.is_empty() && scene.ship(0).alive);
    assert!(scene.ship(0).vx < 0, "it bounced off");
    assert!(scene.state().asteroids[0].vx > 0, "and pushed the rock");
    let mut fast = Scene::live(2, &rocky(0, |text| (text.rules.asteroid.damage, text.rules.bump.speed) = (30, 200.0)));
    fast.place(1, 1500, 860, 0);
    fast.place(0, 700, 300, 0);
    fast.edit_ship(0, |ship| (ship.vx, ship.hull) = (5 * VELOCITY_PER_UNIT, 20));
    put(&mut fast, &[rock(1, 800, 300, 2)]);
    let happened = fast.play(40);
    let death = Event::ShipDestroyed { victim: Seat(0), by: None, weapon: Weapon::Asteroid, assists: 0 };
    assert!(happened.iter().any(|(_, event)| *event == death), "{happened:?}");
    assert_eq!((fast.score(0).deaths, fast.score(1).kills), (1, 0));
}
