//! Promise: a saved match goes on as if nothing had happened, and a view holds exactly what its audience may see.

use std::sync::Arc;

use astro_shared::sim::fields::{Audience, Fields, Visible};
use astro_shared::sim::rules::Ruleset;
use astro_shared::sim::state::Inputs;
use astro_shared::sim::tables::{Shape, View, Walk};
use astro_shared::sim::units::{Seat, Tick};
use astro_shared::sim::{self, MatchKey, SimPlugin};
use astro_tests::dice::{Dice, each_seed};
use astro_tests::pilots::{Fleet, rules};
use bevy_ecs::prelude::World;

/// A match flown by pilots up to a random tick, others beside it.
fn a_match_somewhere(seed: u64, dice: &mut Dice) -> (Fleet, MatchKey, Arc<Ruleset>) {
    let rules = rules(dice.pick(&["standard", "sprint", "classic"]));
    let seats = dice.within(2..9) as u8;
    let mut fleet = Fleet::new();
    fleet.open(seed + 1000, 4, &rules);
    let key = fleet.open(seed, seats, &rules);
    fleet.open(seed + 2000, 3, &rules);
    fleet.play(dice.within(0..1500) as u32);
    (fleet, key, rules)
}

/// A world with only this match, as it was opened.
fn fresh_world(fleet: &Fleet, key: MatchKey, rules: &Arc<Ruleset>) -> (World, MatchKey) {
    let setup = fleet.state(key).setup;
    let mut world = SimPlugin::world();
    let copy = sim::open(&mut world, setup.seed, setup.seats, rules.clone());
    (world, copy)
}

/// Plays on with the inputs recorded before; a hash for every tick.
fn replayed(world: &mut World, key: MatchKey, inputs: &[Inputs]) -> Vec<u64> {
    let mut play = |inputs: &Inputs| {
        sim::set_inputs(world, key, *inputs);
        sim::tick(world);
        sim::hash(world, key).expect("the match")
    };
    inputs.iter().map(&mut play).collect()
}

/// Broken by any field that is missing from the table, or by any that a tick reads and a save leaves out.
#[test]
fn save_load_continue_equals_continuing_in_the_same_world_and_in_a_fresh_one() {
    each_seed(60, |seed, dice| {
        let (mut fleet, key, rules) = a_match_somewhere(seed, dice);
        let save = sim::save(&fleet.world, key).expect("the match");
        let saved_hash = fleet.hash(key);
        let (mut inputs, mut hashes) = (Vec::new(), Vec::new());
        for _ in 0..dice.within(1..300) {
            fleet.play(1);
            inputs.push(fleet.inputs(key));
            hashes.push(fleet.hash(key));
        }

        let (mut world, copy) = fresh_world(&fleet, key, &rules);
        sim::load(&mut world, copy, &save).expect("loads into a fresh world");
        assert_eq!(sim::hash(&world, copy), Some(saved_hash));
        assert_eq!(sim::save(&world, copy).as_ref(), Some(&save), "saving again gives the same bytes");
        assert_eq!(replayed(&mut world, copy, &inputs), hashes, "in a fresh world");

        sim::load(&mut fleet.world, key, &save).expect("loads over its own future");
        assert_eq!(replayed(&mut fleet.world, key, &inputs), hashes, "in the same world");
    });
}

/// Every audience of a match.
fn audiences(seats: u8) -> Vec<Audience> {
    Seat::first(seats).map(Audience::Seat).chain([Audience::Public]).collect()
}

/// Asserts that a row shows nothing it should not; counts what of the owner's it does show.
fn assert_hides<T: Fields>(row: &T, audience: Audience, owner: Option<Seat>, own_seen: &mut u32) {
    row.each(|field, value| {
        let own = field.visible == Visible::Owner && owner.map(Audience::Seat) == Some(audience);
        if field.visible != Visible::Everyone && !own {
            assert_eq!(value, 0, "{}.{} of {owner:?} is shown to {audience:?}", T::NAME, field.name);
        }
        *own_seen += u32::from(own && value != 0);
    });
}

/// Every table of a view, whatever tables there are.
struct Hides<'a>(Audience, &'a mut u32);

impl Walk for Hides<'_> {
    fn table<T: Fields>(&mut self, shape: Shape, rows: &[T]) {
        for (index, row) in rows.iter().enumerate() {
            let owner = (shape == Shape::PerSeat).then_some(Seat(index as u8));
            assert_hides(row, self.0, owner, self.1);
        }
    }
}

fn assert_view_hides(view: &View, own_seen: &mut u32) {
    view.state.walk(view.seats, &mut Hides(view.audience, own_seen));
}

/// Broken by a view that forgets a visible field, or by a `view_hash` that covers others than a view does.
#[test]
fn a_view_loaded_elsewhere_has_the_view_hash_of_the_state_it_was_taken_from() {
    each_seed(60, |seed, dice| {
        let (mut fleet, key, rules) = a_match_somewhere(seed, dice);
        let (mut world, copy) = fresh_world(&fleet, key, &rules);
        for _ in 0..5 {
            fleet.play(dice.within(1..60) as u32);
            for audience in audiences(fleet.state(key).setup.seats) {
                let view = sim::view(&fleet.world, key, audience).expect("the match");
                sim::load_view(&mut world, copy, &view).expect("a true view loads");
                assert_eq!(sim::view(&world, copy, audience), Some(view), "{audience:?}");
                let hash = sim::view_hash(&fleet.world, key, audience);
                assert_eq!(sim::view_hash(&world, copy, audience), hash, "{audience:?}");
            }
        }
    });
}

/// Broken by `seen_by` or `view` handing out a field marked `Owner` or `Nobody`.
#[test]
fn a_view_hides_what_is_hidden_and_the_private_fields_of_others() {
    let mut own_seen = 0;
    let all = each_seed(60, |seed, dice| {
        let (fleet, key, _) = a_match_somewhere(seed, dice);
        for audience in audiences(fleet.state(key).setup.seats) {
            let view = sim::view(&fleet.world, key, audience).expect("the match");
            assert_view_hides(&view, &mut own_seen);
        }
    });
    // Otherwise a view that hides everything would pass.
    assert!(!all || own_seen > 100, "seats saw {own_seen} private fields of their own");
}

/// Two matches that differ only in what is hidden look alike to everyone; one that differs in plain sight to nobody.
/// Broken by a `view_hash` that covers a hidden field: clients could then never agree with the server.
#[test]
fn a_hidden_difference_changes_the_hash_but_no_view_hash() {
    use astro_shared::sim::state::{Mine, State};
    let mut fleet = Fleet::new();
    let key = fleet.open(1, 4, &rules("classic"));
    fleet.play(400);
    let hashes = |fleet: &Fleet| -> Vec<u32> {
        let view_hash = |audience| sim::view_hash(&fleet.world, key, audience).expect("the match");
        audiences(4).into_iter().map(view_hash).collect()
    };
    let (before, views) = (fleet.hash(key), hashes(&fleet));
    fleet.world.get_mut::<State>(key.entity()).expect("state").scores[2].shots += 1;
    assert_ne!(fleet.hash(key), before);
    assert_eq!(hashes(&fleet), views);

    fleet.world.get_mut::<State>(key.entity()).expect("state").ships[2].cooldown_ticks ^= 1;
    let changed: Vec<bool> = hashes(&fleet).iter().zip(&views).map(|(now, then)| now != then).collect();
    assert_eq!(changed, [false, false, true, false, false], "a private field concerns its owner alone");

    let views = hashes(&fleet);
    fleet.world.get_mut::<State>(key.entity()).expect("state").ships[2].x ^= 1;
    assert!(hashes(&fleet).iter().zip(&views).all(|(now, then)| now != then), "a public one concerns everyone");

    // A mine beyond the sight of all others concerns the one who laid it; its last moment not even that one.
    let mut state = fleet.world.get_mut::<State>(key.entity()).expect("state");
    for (index, ship) in state.ships.iter_mut().enumerate().take(4) {
        (ship.x, ship.y) = (index as i32 * 300 * 256, 0);
    }
    let views = hashes(&fleet);
    let mine = Mine { owner: Seat(1), x: 800, y: 450, ..Mine::default() };
    assert!(fleet.world.get_mut::<State>(key.entity()).expect("state").mines.push(mine));
    let changed: Vec<bool> = hashes(&fleet).iter().zip(&views).map(|(now, then)| now != then).collect();
    assert_eq!(changed, [false, true, false, false, false]);
    let views = hashes(&fleet);
    fleet.world.get_mut::<State>(key.entity()).expect("state").mines[0].spent = Tick(9);
    assert_eq!(hashes(&fleet), views);
}

/// Broken by a load that writes before it has checked.
#[test]
fn a_save_that_does_not_fit_is_refused_and_changes_nothing() {
    let mut fleet = Fleet::new();
    let key = fleet.open(1, 4, &rules("standard"));
    let other = fleet.open(1, 3, &rules("standard"));
    fleet.play(500);
    let before = fleet.hash(key);
    let save = sim::save(&fleet.world, key).expect("the match");
    let foreign = sim::save(&fleet.world, other).expect("the match");
    assert!(sim::load(&mut fleet.world, key, &foreign).is_err(), "another number of seats");
    for length in 0..save.len() {
        assert!(sim::load(&mut fleet.world, key, &save[..length]).is_err(), "cut to {length} bytes");
    }
    let longer = [save.as_slice(), &[0]].concat();
    assert!(sim::load(&mut fleet.world, key, &longer).is_err(), "a byte too many");
    assert_eq!(fleet.hash(key), before);
}
