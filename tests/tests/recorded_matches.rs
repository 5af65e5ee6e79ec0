//! Promise: a hundred recorded minutes play as they did when they were recorded; `tests/determinism` holds other builds to it.
//!
//! `UPDATE_GOLDEN=1` writes `hashes.txt` anew, for a change of the sim that is meant (it raises `SIM_VERSION`).
//! `RECORD_MATCHES=1` records new inputs: only when a mode or a preset came that no match has.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;

use astro_recorded::{CHECKPOINT_TICKS, RecordedMatch, TICKS, matches, pack, unpack};
use astro_shared::assets::{ARENAS, RULES};
use astro_shared::sim::event::Event;
use astro_shared::sim::input::Input;
use astro_shared::sim::round::Phase;
use astro_shared::sim::rules::Ruleset;
use astro_shared::sim::units::Tick;
use astro_shared::sim::{self, SIM_VERSION, SimPlugin};
use astro_tests::recording::{MATCHES, record};

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("recorded").join(name)
}

fn asked_for(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| value == "1")
}

/// One line of `hashes.txt`: for every checkpoint and for the end, the sum of the hashes of the ticks since the one before,
/// its low 32 bits. A sum, so that a difference that is gone by the checkpoint still shows.
fn line(number: usize, hashes: &[u64]) -> String {
    let mut line = format!("match {number}:");
    for ticks in hashes.chunks(CHECKPOINT_TICKS as usize) {
        let sum = ticks.iter().fold(0u32, |sum, hash| sum.wrapping_add(*hash as u32));
        write!(line, " {sum:08x}").expect("a string takes text");
    }
    line
}

/// Between which ticks a line first differs from the recorded one.
fn first_difference(now: &str, golden: &str) -> Option<String> {
    let at = now.split(' ').zip(golden.split(' ')).skip(2).position(|(now, golden)| now != golden)?;
    let to = (at as u32 + 1) * CHECKPOINT_TICKS;
    Some(format!("between ticks {} and {}", to - CHECKPOINT_TICKS + 1, to.min(TICKS)))
}

/// Broken by any change of behaviour, by a compiler that rounds otherwise, by state that a hash leaves out today.
#[test]
fn a_hundred_recorded_matches_of_3600_ticks_come_out_as_recorded() {
    let mut now = format!("sim version {SIM_VERSION}\n");
    for (number, recorded) in matches().iter().enumerate() {
        let hashes = recorded.hashes().expect("rules that are still rules");
        assert_eq!(hashes.len(), TICKS as usize);
        writeln!(now, "{}", line(number, &hashes)).expect("a string takes text");
    }
    if asked_for("UPDATE_GOLDEN") {
        std::fs::write(file("hashes.txt"), &now).expect("the golden file can be written");
        return;
    }
    let golden = std::fs::read_to_string(file("hashes.txt")).expect("hashes.txt");
    assert_eq!(now.lines().count(), golden.lines().count(), "another number of matches");
    for (now, golden) in now.lines().zip(golden.lines()) {
        let name = now.split(':').next().unwrap_or_default();
        let where_it_differs = first_difference(now, golden).unwrap_or_default();
        assert_eq!(now, golden, "{name} differs first {where_it_differs}; if that is meant, run with UPDATE_GOLDEN=1");
    }
}

/// What the recorded matches have in them.
#[derive(Default)]
struct Coverage {
    seats: BTreeSet<u8>,
    presets: BTreeSet<(String, String)>,
    inputs: BTreeSet<u8>,
    events: BTreeSet<&'static str>,
    phases: BTreeSet<u8>,
    rounds: u32,
    hits: u32,
}

impl Coverage {
    fn add(&mut self, recorded: &RecordedMatch) {
        let ruleset = Ruleset::from_text("inputs.bin", &recorded.ruleset).expect("rules");
        self.seats.insert(recorded.seats);
        self.presets.insert((ruleset.name().to_owned(), ruleset.arena_name().to_owned()));
        self.inputs.extend(recorded.inputs.iter().flatten().map(|input| input.bits()));
        let mut world = SimPlugin::world();
        let key = sim::open(&mut world, recorded.seed, recorded.seats, ruleset);
        for tick in 1..=TICKS {
            sim::set_inputs(&mut world, key, recorded.inputs_at(Tick(tick)));
            sim::tick(&mut world);
            let state = sim::get(&world, key).expect("the match");
            self.phases.insert(state.round.phase as u8);
            for event in &state.events.0 {
                self.events.insert(Event::KINDS[event.kind() as usize].name);
                self.rounds += u32::from(matches!(event, Event::RoundStarted { .. }));
                self.hits += u32::from(matches!(event, Event::ShipHit { .. }));
            }
        }
    }
}

/// Broken by a preset (so by a mode) or arena that no recorded match has: then it is time for `RECORD_MATCHES=1`.
#[test]
fn the_recorded_matches_have_every_preset_arena_seat_count_input_event_and_phase() {
    let mut coverage = Coverage::default();
    let all = matches();
    assert_eq!(all.len(), MATCHES);
    all.iter().for_each(|recorded| coverage.add(recorded));
    assert_eq!(coverage.seats, (2..=8).collect());
    // Every pair of them is what the thousand drawn matches of `tests/determinism` are for.
    let stem = |file: &str| file.split(['/', '.']).nth(1).unwrap_or_default().to_owned();
    for (rules, _) in RULES {
        assert!(coverage.presets.iter().any(|(preset, _)| *preset == stem(rules)), "{rules}");
    }
    for (arena, _) in ARENAS {
        assert!(coverage.presets.iter().any(|(_, played)| *played == stem(arena)), "{arena}");
    }
    assert!(coverage.presets.contains(&("drawn".into(), "drawn".into())));
    let every_input: BTreeSet<u8> = (0..=255).filter(|bits| Input::from_bits(*bits).is_some()).collect();
    assert_eq!(coverage.inputs, every_input);
    let kinds: BTreeSet<&str> = Event::KINDS.iter().map(|kind| kind.name).collect();
    assert_eq!(coverage.events, kinds);
    assert_eq!(coverage.phases, Phase::ALL.map(|phase| phase as u8).into());
    println!("{} rounds, {} hits", coverage.rounds, coverage.hits);
    assert!(coverage.rounds > 250 && coverage.hits > 2000, "{} rounds, {} hits", coverage.rounds, coverage.hits);
}

/// Broken by a recorder that writes what was not applied, or a file that reads back otherwise.
#[test]
fn a_match_that_is_recorded_now_reads_back_as_it_was_played() {
    if asked_for("RECORD_MATCHES") {
        let all: Vec<_> = (0..MATCHES).map(record).collect();
        std::fs::write(file("inputs.bin"), pack(&all)).expect("the inputs can be written");
        return;
    }
    let some: Vec<_> = (0..6).map(record).collect();
    assert_eq!(unpack(&pack(&some)).as_ref(), Some(&some));
    for recorded in &some {
        assert!(recorded.inputs.iter().all(|column| column.len() == TICKS as usize) && recorded.start_tick > 0);
    }
    let file = pack(&some);
    assert_eq!(unpack(&file[..file.len() / 2]), None);
}
