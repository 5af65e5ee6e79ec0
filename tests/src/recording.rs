//! Makes the recorded matches of `tests/recorded`: once, and again only when there is a mode or preset to add.
//!
//! In: the number of a match. Out: the match, recorded from a real one while it was played.
//! Seats go round from 2 to 8; rules are the presets or drawn from the whole range that files may have; seats are
//! flown by pilots, by dice that know every input there is, or by both.
//! Start reading at [`record`].

use std::sync::Arc;

use astro_recorded::{RecordedMatch, TICKS};
use astro_shared::assets::{ARENAS, RULES};
use astro_shared::sim;
use astro_shared::sim::arena::{
    ArenaText, DiscText, Edge, GateText, LayoutText, PADS_MAX, PlaceText, SMALL_SEATS_MAX, SpawnText, WallText,
    WellText,
};
use astro_shared::sim::input::Input;
use astro_shared::sim::items::Item;
use astro_shared::sim::modes::Mode;
use astro_shared::sim::rules::{Ruleset, RulesetText, parse};
use astro_shared::sim::units::{SEATS_MAX, SEATS_MIN, Tick};

use crate::dice::Dice;
use crate::pilots::{Fleet, rules, text_of};

/// How many matches are recorded.
pub const MATCHES: usize = 100;
/// A run of the dice's inputs lasts up to this many ticks.
const HOLD_TICKS_MAX: i64 = 40;

/// Plays and records the match of that number.
pub fn record(number: usize) -> RecordedMatch {
    let mut dice = Dice::new(number as u64);
    let ruleset = ruleset(number, &mut dice);
    let possible = |seats: &u8| ruleset.mode.check_seats(*seats).is_ok();
    let possible: Vec<u8> = (SEATS_MIN as u8..=SEATS_MAX as u8).filter(possible).collect();
    let seats = possible[number % possible.len()];
    // One match in three is flown by pilots alone, one by dice alone, one by both in turn.
    let by_dice = |seat: usize| match number % 3 {
        0 => false,
        1 => true,
        _ => seat.is_multiple_of(2),
    };
    let mut fleet = Fleet::new();
    let key = fleet.open(dice.bits(), seats, &ruleset);
    let mut recorded = RecordedMatch {
        ruleset: ruleset.to_text(),
        seed: fleet.state(key).setup.seed,
        seats,
        start_tick: 0,
        inputs: vec![Vec::new(); usize::from(seats)],
    };
    let mut held = [(Input::NEUTRAL, 0); SEATS_MAX];
    for tick in 1..=TICKS {
        fleet.think();
        let mut inputs = fleet.inputs(key);
        for (seat, column) in recorded.inputs.iter_mut().enumerate() {
            if by_dice(seat) {
                inputs.seats[seat] = roll(&mut held[seat], &mut dice);
            }
            column.push(inputs.seats[seat]);
        }
        if inputs.start {
            recorded.start_tick = tick;
        }
        sim::set_inputs(&mut fleet.world, key, inputs);
        fleet.tick();
        assert_eq!(fleet.state(key).round.tick, Tick(tick));
    }
    recorded
}

/// What the dice hold down: anything, for a while.
fn roll(held: &mut (Input, i64), dice: &mut Dice) -> Input {
    if held.1 == 0 {
        let input = Input::new(dice.step(-15..16) as i8, dice.percent(60), dice.percent(50));
        *held = (input.with_dash(dice.percent(50)), dice.within(1..HOLD_TICKS_MAX));
    }
    held.1 -= 1;
    held.0
}

/// Presets and arenas in turn, and between them rules that nobody would write but anybody may.
fn ruleset(number: usize, dice: &mut Dice) -> Arc<Ruleset> {
    if !number.is_multiple_of(3) {
        let legal = |_| Ruleset::new(drawn(dice), "drawn rules", "drawn arena").ok();
        return (0..1000).find_map(legal).map(Arc::new).expect("one in a thousand draws is legal");
    }
    let preset = number / 3;
    let (file, _) = RULES[preset % RULES.len()];
    let mut text = text_of(&rules(file.trim_start_matches("rules/").trim_end_matches(".ron")));
    // Turned by one whenever the presets begin again, so that they meet other arenas.
    let (file, arena) = ARENAS[(preset + preset / RULES.len()) % ARENAS.len()];
    text.arena = parse(file, arena).expect("a built-in arena");
    text.rules.arena = text.arena.name.clone();
    Ruleset::new(text, "preset", file).map(Arc::new).expect("a built-in preset in a built-in arena")
}

/// Rules and an arena from the whole range that files may have, in rounds short enough to see several in a minute.
fn drawn(dice: &mut Dice) -> RulesetText {
    let mut text = text_of(&rules("classic"));
    let (rules, arena) = (&mut text.rules, &mut text.arena);
    (rules.name, rules.rounds_to_win) = ("drawn".into(), dice.within(3..16) as u8);
    rules.mode = dice.pick(Mode::ALL);
    rules.draws_in_a_row_max = dice.within(5..16) as u8;
    rules.countdown_ms = dice.within(50..1000) as u32;
    rules.round_ms_max = dice.within(4_000..40_000) as u32;
    rules.round_over_ms = dice.within(50..1000) as u32;
    rules.play_ms_max = 120_000;
    (rules.score_target, rules.friendly_fire) = (dice.within(1..12) as u16, dice.percent(30));
    // Fractions that no power of two divides, so that a parser or a multiplication that rounds otherwise shows.
    let mut between = |low: f32, high: f32| low + (high - low) * (dice.bits() >> 40) as f32 / (1 << 24) as f32;
    rules.ship.radius = between(4.0, 60.0);
    rules.ship.turn_degrees_per_s = between(90.0, 1440.0);
    rules.ship.thrust = between(10.0, 2000.0);
    rules.ship.top_speed = between(20.0, 480.0);
    rules.ship.drag_per_s = between(0.0, 10.0).min(between(0.0, 10.0));
    rules.gun.bullet_speed = between(60.0, 1800.0);
    rules.gun.recoil = between(0.0, 120.0);
    (rules.dash.speed, rules.bump.speed) = (between(0.0, 900.0), between(10.0, 600.0));
    rules.asteroid.speed = between(0.0, 200.0);
    rules.ship.hull = dice.within(1..128) as u8;
    rules.gun.magazine = dice.within(1..8) as u8;
    rules.gun.reload_ms = dice.within(50..4001) as u32;
    rules.gun.cooldown_ms = dice.within(17..1001) as u32;
    rules.gun.bullet_life_ms = dice.within(100..4001) as u32;
    rules.gun.damage = dice.within(1..128) as u8;
    (rules.ship.lives, rules.ship.return_ms) = (dice.within(1..4) as u8, dice.within(100..2000) as u32);
    (rules.pod.enabled, rules.pod.ms) = (dice.percent(50), dice.within(100..5000) as u32);
    (rules.bump.damage, rules.asteroid.damage) = (dice.within(0..60) as u8, dice.within(0..60) as u8);
    rules.sudden_death.after_ms = if rules.mode.returns() { 0 } else { dice.pick(&[0, 2000, 10_000]) };
    rules.items.allowed = if dice.percent(80) { Item::ALL[1..].to_vec() } else { Vec::new() };
    (rules.items.first_ms, rules.items.every_ms, rules.items.warning_ms) = (500, 1000, 200);
    *arena = drawn_arena(dice);
    rules.arena = arena.name.clone();
    text
}

fn drawn_arena(dice: &mut Dice) -> ArenaText {
    ArenaText {
        name: "drawn".into(),
        edge: dice.pick(&[Edge::Wrap, Edge::Wall]),
        ricochets: dice.below(4) as u8,
        small: drawn_layout(dice, usize::from(SMALL_SEATS_MAX)),
        large: drawn_layout(dice, SEATS_MAX),
    }
}

/// Anything anywhere, but for walls, gates and pillars, which keep to the right half: spawn points and pads are left.
fn drawn_layout(dice: &mut Dice, spawns: usize) -> LayoutText {
    let (width, height) = (dice.within(1000..2048) as u32, dice.within(800..2048) as u32);
    let left = |dice: &mut Dice| {
        let (x, y) = (dice.within(64..i64::from(width / 2) - 64), dice.within(64..i64::from(height) - 64));
        (x as u32, y as u32)
    };
    let right = |dice: &mut Dice| {
        let (x, y) = (dice.within(i64::from(width / 2) + 128..i64::from(width) - 192), dice.below(height as usize));
        (x as u32, y as u32)
    };
    let wall = |dice: &mut Dice| {
        let ((x, y), sides) = (right(dice), [(); 2].map(|()| dice.within(32..120) as u32));
        WallText { x, y, width: sides[0], height: sides[1] }
    };
    let disc = |(x, y), radius| DiscText { x, y, radius };
    LayoutText {
        width,
        height,
        spawns: (0..spawns)
            .map(|_| left(dice))
            .map(|(x, y)| SpawnText { x, y, heading_degrees: (x * 7 + y) % 360 })
            .collect(),
        walls: (0..dice.below(3)).map(|_| wall(dice)).collect(),
        gates: (0..dice.below(3))
            .map(|_| GateText {
                wall: wall(dice),
                open_ms: 1500,
                closed_ms: dice.within(500..4000) as u32,
                offset_ms: 0,
            })
            .collect(),
        pillars: (0..dice.below(3)).map(|_| disc(right(dice), dice.within(16..60) as u32)).collect(),
        wells: (0..dice.below(2))
            .map(|_| left(dice))
            .map(|(x, y)| WellText { x, y, radius: 50 + x / 2, pull: 1 + y / 3 })
            .collect(),
        pads: (0..dice.below(PADS_MAX + 1)).map(|_| left(dice)).map(|(x, y)| PlaceText { x, y }).collect(),
        asteroids: dice.below(6) as u8,
        zone: dice.percent(70).then(|| disc(left(dice), dice.within(40..300) as u32)),
    }
}
