//! Promise: a recorded match verifies, and the slightest change is found, with its tick.

use astro_shared::replay::{CHECKPOINT_TICKS, Finished, Recorder, Replay, ReplayError, ReplayResult, Verdict};
use astro_shared::sim::MatchKey;
use astro_shared::sim::SIM_VERSION;
use astro_shared::sim::input::Input;
use astro_shared::sim::state::Inputs;
use astro_shared::sim::units::{MatchId, Seat, TICKS_PER_SECOND, Tick};
use astro_tests::dice::{Dice, each_seed};
use astro_tests::pilots::{Fleet, rules};
use astro_tests::replay_file::{repacked, unpacked};

/// A match flown by pilots to its end, recorded; and what was applied in every tick.
fn recorded(seed: u64, seats: u8, preset: &str) -> (Finished, Vec<Inputs>) {
    let mut fleet = Fleet::new();
    // Seats that are taken a while after the match was opened, as on a real host.
    let key: MatchKey = fleet.open(seed, seats, &rules(preset));
    let mut recorder = Recorder::new(seats);
    Seat::first(seats).for_each(|seat| recorder.crew(seat, &format!("pilot {seat}"), true));
    let mut applied = Vec::new();
    while !fleet.is_over(key) {
        fleet.play(1);
        applied.push(fleet.inputs(key));
        recorder.tick(&fleet.inputs(key), &fleet.state(key));
    }
    (recorder.finish(MatchId(u128::from(seed)), 1_700_000_000_000, &fleet.state(key)), applied)
}

fn read(finished: &Finished) -> Replay {
    Replay::read(&finished.encode()).expect("an honest file")
}

/// Broken by an input that is recorded a tick too early or late, or by anything random that is not in the file.
#[test]
fn a_recorded_match_verifies_and_reads_back_the_inputs_that_were_applied() {
    each_seed(20, |seed, dice| {
        let seats = dice.within(2..9) as u8;
        let (finished, applied) = recorded(seed, seats, dice.pick(&["sprint", "standard", "classic"]));
        let replay = read(&finished);
        assert_eq!(replay.header, finished.header);
        assert_eq!(replay.header.ticks as usize, applied.len());
        for (index, inputs) in applied.iter().enumerate() {
            assert_eq!(replay.inputs_at(Tick(index as u32 + 1)), *inputs, "tick {}", index + 1);
        }
        assert_eq!(replay.verify(), Verdict::Equal);
    });
}

/// The input with one bit flipped, such that it is still an input.
fn with_flipped_bit(input: Input, dice: &mut Dice) -> Input {
    loop {
        if let Some(flipped) = Input::from_bits(input.bits() ^ 1 << dice.below(8)) {
            return flipped;
        }
    }
}

/// Broken by checks that are further apart than a tick, or by inputs that are no part of the hash.
#[test]
fn one_flipped_input_bit_is_found_and_its_tick_named() {
    let matches: Vec<Replay> = (0..8).map(|seed| read(&recorded(seed, 2 + seed as u8 % 4, "sprint").0)).collect();
    each_seed(300, |seed, dice| {
        let mut replay = matches[seed as usize % matches.len()].clone();
        let tick = Tick(dice.within(1..i64::from(replay.header.ticks) + 1) as u32);
        let seat = Seat(dice.below(usize::from(replay.header.seats)) as u8);
        let before = replay.inputs_at(tick).seats[seat.index()];
        replay.set_input(tick, seat, with_flipped_bit(before, dice));
        match replay.verify() {
            Verdict::Differs { tick: found, seen_at, .. } => {
                assert_eq!(found, tick, "seat {seat}, {before:?}");
                assert!(seen_at >= tick);
            }
            other => panic!("{other:?} for a flipped bit in tick {tick}"),
        }
    });
}

/// Broken by column checks that name a neighbour, or none.
#[test]
fn the_fields_that_differ_are_named() {
    let mut replay = read(&recorded(3, 2, "classic").0);
    // A checkpoint after the first countdown, long before the end.
    let checkpoint = Tick(CHECKPOINT_TICKS * 6);
    let flown = replay.inputs_at(checkpoint).seats[0];
    replay.set_input(checkpoint, Seat(0), Input::new(flown.turn() as i8, !flown.thrust(), flown.fire()));
    let Verdict::Differs { tick, seen_at, fields } = replay.verify() else { panic!("unseen") };
    assert_eq!((tick, seen_at), (checkpoint, checkpoint));
    assert!(fields.contains(&"ship.input".to_owned()), "{fields:?}");
    assert!(fields.iter().all(|field| field.starts_with("ship.")), "one thrust moves one ship: {fields:?}");
}

fn with_result(finished: &Finished, change: impl FnOnce(&mut ReplayResult)) -> Verdict {
    let mut changed = finished.clone();
    change(&mut changed.header.result);
    read(&changed).verify()
}

/// Broken by a verifier that stops at the last tick and believes the header.
#[test]
fn any_changed_tally_is_a_result_that_differs() {
    let (finished, _) = recorded(5, 4, "sprint");
    let changes: [fn(&mut ReplayResult); 10] = [
        |result| result.winner = if result.winner == Some(1) { None } else { Some(1) },
        |result| result.seats[1].placement ^= 1,
        |result| result.seats[1].rounds_won += 1,
        |result| result.seats[2].kills += 1,
        |result| result.seats[2].deaths += 1,
        |result| result.seats[3].assists += 1,
        |result| result.seats[3].shots += 1,
        |result| result.seats[0].hits += 1,
        |result| result.seats[0].survival_ticks += 1,
        |result| result.seats[0].streak_longest += 1,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        assert_eq!(with_result(&finished, change), Verdict::ResultDiffers, "change {number}");
    }
    assert_eq!(with_result(&finished, |result| _ = result.seats.pop()), Verdict::ResultDiffers, "a seat missing");
    assert_eq!(with_result(&finished, |_| ()), Verdict::Equal);
}

/// Broken by verifying first and asking for the version later.
#[test]
fn a_replay_of_another_sim_version_is_said_to_be_that_and_never_to_differ() {
    let (mut finished, _) = recorded(6, 2, "sprint");
    finished.header.sim_version = SIM_VERSION + 1;
    // It would differ, too: the version must be looked at first.
    finished.header.seed ^= 1;
    finished.header.result = ReplayResult::default();
    let error = Replay::read(&finished.encode()).expect_err("another version");
    assert_eq!(error, ReplayError::OtherSim { recorded: SIM_VERSION + 1 });
}

/// A later version may know rules and header fields that this one does not; it must still be called another version.
/// Broken by reading the whole header before its version.
#[test]
fn a_later_version_with_another_header_is_still_said_to_be_another_version() {
    let (mut finished, _) = recorded(6, 2, "sprint");
    finished.header.sim_version = 77;
    let mut body = unpacked(&finished.encode());
    let at = body.windows(5).position(|word| word == b"crew:").expect("the header names its crew");
    body[at..at + 4].copy_from_slice(b"team");
    assert_eq!(Replay::read(&repacked(&body)).expect_err("another version"), ReplayError::OtherSim { recorded: 77 });
}

/// Broken by a ruleset that is looked up instead of contained, or by one of a changed file that is believed.
#[test]
fn a_replay_with_other_rules_or_another_seed_differs() {
    let (finished, _) = recorded(8, 4, "sprint");
    // A seed decides who starts where, and in a match of one round two seeds may agree about that.
    let differs = |seed: u64| {
        let mut other = finished.clone();
        other.header.seed = seed;
        matches!(read(&other).verify(), Verdict::Differs { .. })
    };
    assert!((100..120).any(differs), "another seed");
    let mut other = finished.clone();
    other.header.ruleset = finished.header.ruleset.replace("thrust:420.0", "thrust:421.0");
    assert_ne!(other.header.ruleset, finished.header.ruleset);
    assert!(matches!(read(&other).verify(), Verdict::Differs { .. }), "another thrust");
}

/// Broken by writing an input per tick, or checks that do not compress.
#[test]
fn a_replay_costs_about_forty_bytes_per_second_and_seat() {
    let (mut bytes, mut seat_seconds) = (0.0, 0.0);
    for seed in 0..6 {
        let (finished, applied) = recorded(seed, 4, "standard");
        bytes += finished.encode().len() as f64;
        seat_seconds += 4.0 * applied.len() as f64 / f64::from(TICKS_PER_SECOND);
    }
    let cost = bytes / seat_seconds;
    println!("{cost:.1} bytes per second and seat over {:.0} seconds of four seats", seat_seconds / 4.0);
    assert!(cost < 60.0, "{cost:.1} bytes per second and seat");
}

/// Broken by a file that is believed although a byte of it is wrong.
#[test]
fn a_damaged_byte_anywhere_in_a_file_is_refused() {
    let file = recorded(9, 4, "sprint").0.encode();
    for at in 0..file.len() {
        let mut damaged = file.clone();
        damaged[at] ^= 1 << (at % 8);
        assert!(Replay::read(&damaged).is_err(), "byte {at} of {}", file.len());
    }
}
