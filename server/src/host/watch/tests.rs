//! What is kept for spectators, and how many they may be.

use astro_shared::sim::SimPlugin;
use astro_shared::sim::event::Event;
use astro_shared::sim::fields::{Fields, Visible};
use astro_shared::sim::state::{Events, Inputs, Round, Setup, State};
use astro_shared::sim::units::Seat;
use astro_shared::sim::{self};
use astro_shared::wire::message::RosterSeat;

use super::*;

fn setup() -> Setup {
    let ruleset = astro_shared::assets::ruleset("standard").unwrap();
    Setup { seed: 1, seats: 4, ruleset }
}

/// A row with every field at its most, or, of those not everyone may see, at nothing.
fn filled<T: Fields>(with_secrets: bool) -> T {
    let mut row = T::default();
    let filled: Result<(), ()> = row.fill(|field| {
        let most = u32::MAX >> (32 - u32::from(field.bits)) >> u32::from(field.signed);
        Ok(if with_secrets || field.visible == Visible::Everyone { most } else { 0 })
    });
    filled.unwrap();
    row
}

/// Everything that is kept of one tick of a match whose secrets are there, or are not.
fn kept(with_secrets: bool) -> Vec<u8> {
    let mut tables = State {
        round: Round { tick: Tick(600), ..filled(with_secrets) },
        ships: [filled(with_secrets); 8],
        scores: [filled(with_secrets); 8],
        ..State::default()
    };
    assert!(
        tables.bullets.push(filled(true)) && tables.asteroids.push(filled(true)) && tables.bombs.push(filled(true))
    );
    // The public sees no mine at all.
    assert!(!with_secrets || tables.mines.push(filled(true)));
    let (setup, events) = (setup(), Events(vec![Event::RoundStarted { number: 3 }]));
    let state = MatchRef { setup: &setup, state: &tables, events: &events };
    let mut history = History::new(0);
    history.record(&state, 0);
    let mut picture = Vec::new();
    assert!(history.take_picture(Tick(600), &mut picture));
    picture
}

/// Broken by any field that not everyone may see in what is kept, or in its hash.
#[test]
fn what_is_hidden_changes_no_byte_of_what_is_kept() {
    let (with, without) = (kept(true), kept(false));
    assert!(with.len() > 80, "{} bytes", with.len());
    assert_eq!(with, without);
}

/// A match of pilots, ticked as the shard does.
struct Fight {
    world: World,
    key: sim::MatchKey,
}

impl Fight {
    fn new(seats: u8) -> Fight {
        let mut world = SimPlugin::world();
        let key = sim::open(&mut world, 7, seats, setup().ruleset);
        Fight { world, key }
    }

    fn tick(&mut self) -> MatchRef<'_> {
        let mut inputs = Inputs { start: true, ..Inputs::default() };
        let state = sim::get(&self.world, self.key).unwrap();
        let next = state.round.tick.plus(1);
        for seat in Seat::first(state.setup.seats) {
            let view = state.view(Audience::Seat(seat));
            let skill = astro_shared::sim::pilot::Skill::Regular;
            inputs.seats[seat.index()] =
                astro_shared::sim::pilot::think(&view, &state.setup.ruleset, seat, skill, next);
        }
        sim::set_inputs(&mut self.world, self.key, inputs);
        sim::tick(&mut self.world);
        sim::get(&self.world, self.key).unwrap()
    }
}

/// Broken by a picture that is given out before its tick, twice, or changed; and by memory that grows with the match.
#[test]
fn each_picture_is_given_out_once_in_its_tick_and_memory_grows_with_the_delay_only() {
    let (mut fight, mut history) = (Fight::new(4), History::new(600));
    let (mut picture, mut pictures, mut bytes) = (Vec::new(), 0, 0);
    let mut most = 0;
    for now in 1..=6000 {
        history.record(&fight.tick(), 1);
        let Some(shown) = history.shown(Tick(now)) else { continue };
        if history.take_picture(shown, &mut picture) {
            let decoded = snapshot::decode(&picture, Audience::Public).unwrap();
            assert_eq!(decoded.tick(), Tick(now - 600));
            (pictures, bytes) = (pictures + 1, bytes + picture.len());
            assert!(!history.take_picture(shown, &mut picture), "twice");
        }
        if now == 1800 {
            most = history.memory_bytes();
        }
    }
    assert_eq!(pictures, 2700, "30 a second");
    println!("{} bytes a picture of four, {} bytes for ten seconds", bytes / pictures, history.memory_bytes());
    assert!(history.memory_bytes() <= 2 * most, "{} then {}", most, history.memory_bytes());
    assert!(history.memory_bytes() < 100 * 1024);
}

fn roster(name: &str) -> ToClient {
    ToClient::Roster { seats: vec![RosterSeat { name: name.into(), pilot: false }] }
}

/// Broken by a queue that grows with the comings and goings, or loses the last word or the result when it is full.
#[test]
fn rosters_without_end_are_told_late_at_worst_and_the_result_always() {
    let mut history = History::new(600);
    let result = ToClient::Result { winner: None, seats: Vec::new() };
    (1..=500).for_each(|tick| history.record_roster(Tick(tick), roster(&tick.to_string())));
    history.record_result(Tick(501), result.clone());
    history.record_result(Tick(502), ToClient::Result { winner: Some(1), seats: Vec::new() });
    history.record_roster(Tick(503), roster("last"));
    let mut told = Vec::new();
    for shown in 0..600 {
        while let Some(notice) = history.take_notice(Tick(shown)) {
            told.push((shown, notice));
        }
    }
    assert!(told.len() <= 65, "{} notices", told.len());
    assert!(told.contains(&(501, result)), "the first result, in its tick");
    assert_eq!(told.last(), Some(&(503, roster("last"))));
    for (shown, notice) in told.iter().filter(|(shown, _)| *shown < 501) {
        let true_then = (1..=*shown).any(|tick| *notice == roster(&tick.to_string()));
        assert!(true_then, "{notice:?} is told at {shown}");
    }
}

/// Broken by places that both players and spectators are promised.
#[test]
fn spectators_get_the_places_that_no_seat_needs_and_a_quarter_at_most() {
    let of = |seats_per_shard, places| {
        WatchLimits::new(&ShardLimits { seats_per_shard, ..ShardLimits::default() }, places).per_shard
    };
    assert_eq!((of(1536, 2048), of(1000, 2048), of(2000, 2048), of(2048, 2048), of(4000, 256)), (512, 512, 48, 0, 0));
}
