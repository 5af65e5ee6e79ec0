//! Promise: each power-up does what its page says, no more; and who may not know of one does not.

use std::sync::Arc;

use astro_shared::sim::event::{Event, Weapon};
use astro_shared::sim::fields::Audience;
use astro_shared::sim::input::Input;
use astro_shared::sim::items::Item;
use astro_shared::sim::rules::{Ruleset, RulesetText};
use astro_shared::sim::state::Pad;
use astro_shared::sim::units::{POSITION_PER_UNIT, Seat, Tick};
use astro_tests::pilots::rules_with;
use astro_tests::scene::Scene;

const UNIT: i32 = POSITION_PER_UNIT;

/// The plain game with every power-up.
fn with_items(edit: impl FnOnce(&mut RulesetText)) -> Arc<Ruleset> {
    rules_with("classic", |text| {
        text.rules.items.allowed = Item::ALL[1..].to_vec();
        edit(text);
    })
}

/// Two ships 400 units apart, looking at each other; the left one carries `item`.
fn armed(item: Item) -> Scene {
    let rules = with_items(|text| text.rules.items.first_ms = 600_000);
    let mut scene = Scene::live(2, &rules);
    scene.place(0, 600, 450, 0);
    scene.place(1, 1000, 450, 180);
    scene.edit_ship(0, |ship| (ship.item, ship.charges) = (item, 1));
    scene
}

fn fire() -> Input {
    Input::new(0, false, true)
}

/// Fires once: holds the button for one tick.
fn trigger(scene: &mut Scene) -> Vec<Event> {
    scene.hold(0, fire());
    let events = scene.tick();
    scene.hold(0, Input::NEUTRAL);
    events
}

/// Broken by an item that lies there before it was shown, that is shown too late, or that two ships get.
#[test]
fn an_item_is_shown_before_it_can_be_taken_and_taken_by_one() {
    let rules = with_items(|text| text.rules.items.allowed = vec![Item::Laser]);
    let (first, warning) = (rules.items.first_ticks, rules.items.warning_ticks);
    let mut scene = Scene::live(2, &rules);
    let went_live = scene.tick_now();
    let pad = rules.arena(2).pads[0];
    // Both ships stand on the pad, in nobody's way.
    for seat in 0..2 {
        scene.edit_ship(seat, |ship| (ship.x, ship.y) = (pad.0, pad.1 + (i32::from(seat) * 40 - 20) * UNIT));
    }
    let (mut shown, mut taken) = (None, Vec::new());
    for _ in 0..first + 60 {
        for event in scene.tick() {
            if let Event::ItemTaken { seat, item } = event {
                taken.push((scene.tick_now(), seat, item));
            }
        }
        let lies: Pad = scene.state().pads[0];
        if lies.item == Item::Laser && shown.is_none() {
            shown = Some(scene.tick_now());
            assert_eq!(lies.ready, scene.tick_now().plus(warning));
        }
    }
    assert_eq!(shown, Some(went_live.plus(first - warning)));
    let lucky = (went_live.0 + first) % 2;
    assert_eq!(taken, [(went_live.plus(first), Seat(lucky as u8), Item::Laser)]);
    assert_eq!((scene.ship(lucky as u8).item, scene.ship(1 - lucky as u8).item), (Item::Laser, Item::None));
}

/// Broken by a choice that a player could foretell, or that depends on anything but seed, pad and tick.
#[test]
fn what_appears_differs_by_seed_and_is_equal_for_the_same_one() {
    let rules = with_items(|text| (text.rules.items.first_ms, text.rules.items.warning_ms) = (0, 0));
    let appears = |seed: u64| {
        let mut world = astro_shared::sim::SimPlugin::world();
        let key = astro_shared::sim::open(&mut world, seed, 2, rules.clone());
        let mut inputs = astro_shared::sim::state::Inputs { start: true, ..Default::default() };
        loop {
            astro_shared::sim::set_inputs(&mut world, key, inputs);
            astro_shared::sim::tick(&mut world);
            inputs.start = false;
            let item = astro_shared::sim::get(&world, key).expect("the match").pads[0].item;
            if item != Item::None {
                return item;
            }
        }
    };
    let items: std::collections::BTreeSet<Item> = (0..64).map(appears).collect();
    assert_eq!(items.len(), 7, "all of them appear: {items:?}");
    assert!((0..8).all(|seed| appears(seed) == appears(seed)));
}

/// Broken by a shield that lets a hit through, takes more hits than it says, or stays for ever.
#[test]
fn a_shield_takes_its_hits_whole_and_no_more() {
    let mut scene = armed(Item::None);
    let whole = scene.ship(1).hull;
    scene.edit_ship(1, |ship| ship.shield = 2);
    for left in [1, 0] {
        scene.shoot(0, 970, 450, 0);
        scene.play(3);
        assert_eq!((scene.ship(1).shield, scene.ship(1).hull), (left, whole));
    }
    scene.shoot(0, 970, 450, 0);
    scene.play(3);
    assert_eq!(scene.ship(1).hull, whole - scene.rules().damage);
}

/// Broken by one bullet too few, a lopsided fan, or a volley that takes more than one round of the magazine.
#[test]
fn a_triple_shot_is_one_round_and_three_bullets_in_a_fan() {
    let mut scene = armed(Item::Triple);
    let before = scene.ship(0).ammunition;
    let events = trigger(&mut scene);
    let turns: Vec<i32> = scene.bullets().iter().map(|bullet| scene.ship(0).angle.to(bullet.angle)).collect();
    let spread = scene.rules().items.triple.spread;
    assert_eq!(turns, [0, spread, -spread]);
    assert_eq!(scene.ship(0).ammunition, before - 1);
    assert_eq!(scene.score(0).shots, 3);
    assert!(events.contains(&Event::ItemUsed { seat: Seat(0), item: Item::Triple }));
    assert_eq!(scene.ship(0).item, Item::None, "the charge is gone");
}

/// Broken by a mine that goes off before it is armed, for its owner, twice, or not at all.
#[test]
fn a_mine_waits_until_armed_spares_its_owner_and_goes_off_once() {
    let mut scene = armed(Item::Mine);
    trigger(&mut scene);
    let mine = scene.state().mines[0];
    assert_eq!(mine.owner, Seat(0));
    let spot = (mine.at().0 / UNIT, mine.at().1 / UNIT);
    assert!(spot.0 < 600, "behind the ship");
    let whole = scene.ship(1).hull;
    scene.place(1, spot.0 + 35, spot.1 + 20, 0);
    scene.place(0, 1400, 100, 0);
    scene.play(10);
    assert_eq!((scene.state().mines.len(), scene.ship(1).hull), (1, whole), "not armed yet");
    scene.place(1, 300, 200, 0);
    scene.place(0, spot.0 + 5, spot.1, 0);
    scene.play(scene.rules().items.mine.arm_ticks);
    assert_eq!(scene.state().mines.len(), 1, "its owner may lie on it");
    scene.place(0, 1400, 100, 0);
    scene.place(1, spot.0 + 40, spot.1, 0);
    let events = scene.tick();
    assert!(events.iter().any(|event| matches!(event, Event::MineExploded { owner: Seat(0), .. })), "{events:?}");
    assert_eq!((scene.state().mines.len(), scene.ship(1).hull), (0, whole - scene.rules().items.mine.damage));
}

/// Broken by a mine in the view, the hash or the bytes of somebody who may not know of it.
#[test]
fn a_mine_is_hidden_from_enemies_beyond_its_sight_and_from_the_public() {
    let (mut with, mut without) = (armed(Item::Mine), armed(Item::None));
    for scene in [&mut with, &mut without] {
        trigger(scene);
        // The shot that the other one fired instead, and what each knows of the own gun, are not what is compared.
        scene.edit(|state| state.bullets.clear());
        scene.place(1, 1400, 800, 0);
        scene.tick();
    }
    let mine = with.state().mines[0];
    let far = |scene: &Scene| scene.state().view(Audience::Seat(Seat(1))).mines;
    assert!(far(&with).is_empty() && with.state().view(Audience::Public).mines.is_empty());
    assert_eq!(with.state().view(Audience::Seat(Seat(0))).mines.len(), 1, "its owner sees it");
    let hash = |scene: &Scene, audience| {
        let state = scene.state();
        state.view_hash(state.public_hash(), audience)
    };
    // The same match without the mine, made equal in all else: nothing that the enemy gets differs.
    let whole = *with.state().state;
    without.edit(|state| {
        *state = whole;
        state.mines.clear();
    });
    for audience in [Audience::Seat(Seat(1)), Audience::Public] {
        assert_eq!(hash(&with, audience), hash(&without, audience));
    }
    assert_ne!(hash(&with, Audience::Seat(Seat(0))), hash(&without, Audience::Seat(Seat(0))));
    let near = mine.at().0 / UNIT + with.rules().items.mine.sight / UNIT - 5;
    with.place(1, near, mine.at().1 / UNIT, 0);
    assert_eq!(far(&with).len(), 1, "from near it is seen");
}

/// Broken by a beam without a wind-up, one that stops at a hull, or one that goes on behind a wall.
#[test]
fn a_laser_winds_up_in_sight_of_all_and_goes_through_hulls_to_the_first_solid() {
    let rules = with_items(|text| {
        text.rules.items.first_ms = 600_000;
        text.rules.items.laser.damage = 60;
        let wall = astro_shared::sim::arena::WallText { x: 1200, y: 450, width: 40, height: 100 };
        text.arena.small.walls = vec![wall];
    });
    let mut scene = Scene::live(4, &rules);
    for (seat, x) in [(0, 600), (1, 800), (2, 1000), (3, 1290)] {
        scene.place(seat, x, 450, 0);
    }
    scene.edit_ship(0, |ship| (ship.item, ship.charges) = (Item::Laser, 1));
    let events = trigger(&mut scene);
    assert_eq!(events, [], "nothing but a wind-up");
    let windup = u32::from(rules.items.laser.windup_ticks);
    assert!(scene.state().view(Audience::Seat(Seat(3))).ships[0].windup_ticks > 0, "everyone sees it");
    let happened = scene.play(windup);
    assert_eq!(happened.last().map(|(_, event)| *event), Some(Event::ItemUsed { seat: Seat(0), item: Item::Laser }));
    let hulls: Vec<u8> = (0..4).map(|seat| scene.ship(seat).hull).collect();
    assert_eq!(hulls, [100, 40, 40, 100]);
    assert_eq!(scene.ship(0).item, Item::None);
}

/// Broken by a homing shot that flies straight, turns faster than it may, or turns towards its owner.
#[test]
fn a_homing_shot_turns_towards_the_enemy_ahead_no_faster_than_it_may() {
    let mut scene = armed(Item::Homing);
    scene.place(1, 1000, 560, 0);
    trigger(&mut scene);
    let turn = scene.rules().items.homing.turn;
    let mut before = scene.state().homing[0].angle;
    let mut hit = None;
    for _ in 0..200 {
        let events = scene.tick();
        let Some(shot) = scene.state().homing.first().copied() else {
            hit = Some(events);
            break;
        };
        assert!(before.to(shot.angle).abs() <= turn);
        before = shot.angle;
    }
    assert!(hit.is_some() && scene.ship(1).hull == 100 - scene.rules().items.homing.damage, "{hit:?}");
}

/// Broken by a bomb without a pull, one that pulls for ever, or that spares somebody.
#[test]
fn a_gravity_bomb_pulls_everyone_near_it_for_its_time() {
    let mut scene = armed(Item::GravityBomb);
    scene.place(1, 900, 450, 90);
    trigger(&mut scene);
    let bomb = scene.state().bombs[0];
    assert_eq!(i32::from(bomb.x), 600 + scene.rules().items.gravity_bomb.throw / UNIT);
    scene.play(20);
    assert!(scene.ship(0).vx > 0 && scene.ship(1).vx < 0, "both fly towards it");
    scene.play(scene.rules().items.gravity_bomb.ticks);
    assert_eq!(scene.state().bombs.len(), 0);
}

/// Broken by an overdrive that ends late, makes nothing faster, or whose gun fires without ammunition.
#[test]
fn overdrive_makes_ship_and_gun_faster_for_its_time() {
    let ticks = |scene: &Scene| u32::from(scene.rules().items.overdrive.ticks);
    let mut scene = armed(Item::None);
    let overdrive = scene.rules().items.overdrive.ticks;
    scene.edit_ship(0, |ship| ship.overdrive_ticks = overdrive);
    scene.place(0, 600, 100, 0);
    scene.hold(0, Input::new(0, true, false));
    scene.play(120);
    assert!(scene.ship(0).vx > scene.rules().top_speed, "faster than a ship may be");
    scene.hold(0, Input::NEUTRAL);
    scene.play(ticks(&scene));
    assert_eq!(scene.ship(0).overdrive_ticks, 0);
    let shots = |overdrive: u16| {
        let mut scene = armed(Item::None);
        scene.place(0, 600, 100, 90);
        scene.edit_ship(0, |ship| ship.overdrive_ticks = overdrive);
        scene.hold(0, fire());
        let happened = scene.play(120);
        happened.iter().filter(|(_, event)| matches!(event, Event::ShotFired { .. })).count()
    };
    assert!(shots(400) > shots(0));
}

/// Broken by a kill that is credited to another weapon.
#[test]
fn kills_name_their_weapon() {
    let mut scene = armed(Item::Laser);
    scene.edit_ship(1, |ship| ship.hull = 10);
    trigger(&mut scene);
    let happened = scene.play(60);
    let weapon = happened.iter().find_map(|(_, event)| match event {
        Event::ShipDestroyed { weapon, by: Some(Seat(0)), victim: Seat(1), .. } => Some(*weapon),
        _ => None,
    });
    assert_eq!(weapon, Some(Weapon::Laser));
    assert!(scene.tick_now() > Tick(0));
}
