//! `cargo simbench [-- --json FILE]`: what a tick of 1, 100, 1,000 and 4,000 matches costs.
//!
//! Matches of 4 ships under the heaviest rules there are ([`heaviest`]), at different moments of live rounds, flown by
//! pilots that think every third tick. A round of pilots may last a second or two, so such moments are saved, and loaded
//! again before every few ticks that are timed. Every size is given the same moments in each visit, some at a time: the same work, and no branch
//! predictor can learn the fights of a small fleet by heart.
//! Method: rounds visit every size in turn (up, then down); in each visit the two parts of a tick are timed apart, in
//! many short samples; a row is the median of its samples. Wall time of one thread.
//! Then the same moments step by step: each step of a tick as a schedule of its own, timed over all matches, so that what
//! each costs stands in a table. The clock is read once more per step; the sum is a little above the whole.
//! Out: tables with the aims and whether they are met, and JSON rows. No assertion on time: machines differ.
//! Start reading at [`main`].

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use astro_shared::assets::ARENAS;
use astro_shared::sim::arena::{ArenaText, Edge};
use astro_shared::sim::event::Event;
use astro_shared::sim::items::Item;
use astro_shared::sim::round::Phase;
use astro_shared::sim::rules::{self, Ruleset};
use astro_shared::sim::state::Events;
use astro_shared::sim::{self, MatchKey, SimPlugin};
use astro_tests::pilots::{Fleet, START_TICKS_MAX, rules_with};
use serde::Serialize;

const SIZES: [usize; 4] = [1, 100, 1000, 4000];
const SEATS: u8 = 4;
/// Rounds over all sizes.
const ROUNDS: usize = 31;
/// Match-ticks in one sample, or one tick of a larger fleet. Under a millisecond, so that on a busy machine most samples
/// are not interrupted; a row is their median.
const MATCH_TICKS_PER_SAMPLE: usize = 600;
/// Moments of live play, all of which every visit plays on; a multiple of every size.
const MOMENTS: usize = 4000;
/// Ticks timed after each load: every pilot thinks twice, and hardly a round ends.
const TICKS_PER_LOAD: usize = 6;
/// Sizes of the table of steps: one match is all clock.
const STEP_SIZES: [usize; 3] = [100, 1000, 4000];
/// Rounds over the moments for the table of steps.
const STEP_ROUNDS: usize = 7;
/// Ticks into a round at which a match is saved, first and last.
const SAVED_AT: (u32, u32) = (10, 70);

const _: () = assert!(MOMENTS.is_multiple_of(SIZES[1]) && MOMENTS.is_multiple_of(SIZES[2]) && MOMENTS == SIZES[3]);

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
struct Row {
    matches: usize,
    us_per_match_tick: f64,
    pilots_us_per_match_tick: f64,
    bullets_per_match: f64,
    bytes_per_match: u64,
}

/// Everything that a tick can have to do: the game as it is meant, every power-up soon and often, in the arena with the
/// most to meet.
fn heaviest() -> Arc<Ruleset> {
    let things = |arena: &ArenaText| {
        let small = &arena.small;
        let solids = small.walls.len() + small.gates.len() + small.pillars.len() + small.wells.len();
        // Rocks meet everything, ships included.
        solids + 3 * usize::from(small.asteroids) + usize::from(arena.edge == Edge::Wall)
    };
    let arenas = ARENAS.iter().map(|(file, text)| rules::parse::<ArenaText>(file, text).expect("a built-in arena"));
    let arena = arenas.max_by_key(things).expect("there are arenas");
    rules_with("standard", |text| {
        text.rules.items.allowed = Item::ALL[1..].to_vec();
        (text.rules.items.first_ms, text.rules.items.every_ms, text.rules.items.warning_ms) = (0, 500, 0);
        text.rules.pod.enabled = true;
        text.rules.arena.clone_from(&arena.name);
        text.arena = arena;
    })
}

/// Saves of as many matches, each at a moment of its own in a live round.
fn live_moments(rules: &Arc<Ruleset>) -> Vec<Vec<u8>> {
    let mut fleet = Fleet::new();
    let keys: Vec<MatchKey> = (0..MOMENTS as u64).map(|seed| fleet.open(seed, SEATS, rules)).collect();
    let mut saves = vec![None; MOMENTS];
    while saves.iter().any(Option::is_none) {
        fleet.play(1);
        for (index, save) in saves.iter_mut().enumerate().filter(|(_, save)| save.is_none()) {
            let state = fleet.state(keys[index]);
            let moment = SAVED_AT.0 + index as u32 % (SAVED_AT.1 - SAVED_AT.0);
            let left_ticks = state.round.phase_ends.since(state.round.tick);
            if state.round.phase == Phase::Live && rules.round_ticks_max - left_ticks == moment {
                *save = Some(state.save());
            }
        }
    }
    saves.into_iter().flatten().collect()
}

/// What one step of a tick costs in fleets of each size.
#[derive(Clone, Debug, Serialize)]
struct StepRow {
    step: &'static str,
    /// Nanoseconds per match-tick, by [`STEP_SIZES`].
    ns_per_match_tick: [f64; STEP_SIZES.len()],
}

/// What the file given by `--json` holds.
#[derive(Clone, Debug, Serialize)]
struct Report {
    sizes: Vec<Row>,
    steps: Vec<StepRow>,
}

/// A fleet of one size, and what was measured of it.
struct Bench {
    fleet: Fleet,
    keys: Vec<MatchKey>,
    /// What the kernel gave for this fleet, its world included.
    resident_bytes: u64,
    sim_us: Vec<f64>,
    pilots_us: Vec<f64>,
    bullets: Vec<f64>,
}

impl Bench {
    fn new(count: usize, rules: &Arc<Ruleset>) -> Bench {
        let before = resident_bytes();
        let mut fleet = Fleet::new();
        let keys = (0..count as u64).map(|seed| fleet.open(seed, SEATS, rules)).collect();
        // Into the first fights, so that every match has grown what it needs.
        fleet.play(START_TICKS_MAX + rules.countdown_ticks + SAVED_AT.1);
        let resident_bytes = resident_bytes().saturating_sub(before);
        let (sim_us, pilots_us, bullets) = (Vec::new(), Vec::new(), Vec::new());
        Bench { fleet, keys, resident_bytes, sim_us, pilots_us, bullets }
    }

    /// Plays all moments on for some ticks, as many at a time as there are matches; times pilots and sim apart.
    fn visit(&mut self, moments: &[Vec<u8>]) {
        let (mut sim, mut pilots, mut match_ticks, mut bullets) = (Duration::ZERO, Duration::ZERO, 0, 0);
        for some in moments.chunks(self.keys.len()) {
            for (key, save) in self.keys.iter().zip(some) {
                sim::load(&mut self.fleet.world, *key, save).expect("a save of the same setup");
            }
            for _ in 0..TICKS_PER_LOAD {
                let begin = Instant::now();
                self.fleet.think();
                let thought = Instant::now();
                self.fleet.tick();
                pilots += thought - begin;
                sim += thought.elapsed();
                match_ticks += self.keys.len();
                if match_ticks >= MATCH_TICKS_PER_SAMPLE {
                    let per_match_tick = |time: Duration| time.as_secs_f64() * 1e6 / match_ticks as f64;
                    self.sim_us.push(per_match_tick(sim));
                    self.pilots_us.push(per_match_tick(pilots));
                    (sim, pilots, match_ticks) = (Duration::ZERO, Duration::ZERO, 0);
                }
            }
            bullets += self.keys.iter().map(|key| self.fleet.state(*key).bullets.len()).sum::<usize>();
        }
        self.bullets.push(bullets as f64 / moments.len() as f64);
    }

    /// Forgets what was measured so far.
    fn forget(&mut self) {
        self.sim_us.clear();
        self.pilots_us.clear();
        self.bullets.clear();
    }

    /// Memory of one match: all its components, and the list of events, the only one of them with memory elsewhere.
    fn bytes_of(&self, key: MatchKey) -> u64 {
        let world = &self.fleet.world;
        let entity = world.entity(key.entity());
        let sizes = entity
            .archetype()
            .components()
            .iter()
            .filter_map(|id| Some(world.components().get_info(*id)?.layout().size()));
        let events = world.get::<Events>(key.entity()).map_or(0, |events| events.0.capacity() * size_of::<Event>());
        (sizes.sum::<usize>() + events) as u64
    }

    fn row(&self) -> Row {
        Row {
            matches: self.keys.len(),
            us_per_match_tick: rounded(median(&self.sim_us)),
            pilots_us_per_match_tick: rounded(median(&self.pilots_us)),
            bullets_per_match: rounded(self.bullets.iter().sum::<f64>() / self.bullets.len() as f64),
            bytes_per_match: self.keys.iter().map(|key| self.bytes_of(*key)).sum::<u64>() / self.keys.len() as u64,
        }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Memory of this process that is in use; 0 where there is no /proc.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split(": ").nth(1)).unwrap_or("unknown processor").to_owned()
}

/// Work waiting for a core over the last minute; well above 0 before the start means noisy numbers.
fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("unknown").to_owned()
}

/// `--json FILE`; a leading `--` and what cargo adds for benches are accepted and ignored.
fn json_file() -> Result<Option<String>, String> {
    let mut arguments = std::env::args().skip(1);
    let mut file = None;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--" | "--bench" => {}
            "--json" => file = Some(arguments.next().ok_or("--json wants a file name")?),
            other => return Err(format!("unknown argument {other}; usage: cargo simbench [-- --json FILE]")),
        }
    }
    Ok(file)
}

fn print_table(rows: &[Row]) {
    println!("\n| matches | sim µs/match-tick | pilots µs/match-tick | bullets/match | bytes/match |");
    println!("|---:|---:|---:|---:|---:|");
    for row in rows {
        println!(
            "| {} | {:.3} | {:.3} | {:.1} | {} |",
            row.matches,
            row.us_per_match_tick,
            row.pilots_us_per_match_tick,
            row.bullets_per_match,
            row.bytes_per_match
        );
    }
    println!("\nbytes/match: sizes of a match's components, and its list of events");
}

fn print_aims(rows: &[Row]) {
    let of = |matches: usize| rows.iter().find(|row| row.matches == matches);
    let (Some(few), Some(many), Some(most)) = (of(100), of(1000), of(4000)) else { return };
    let verdict = |met: bool| if met { "met" } else { "NOT met" };
    let flat = most.us_per_match_tick / few.us_per_match_tick;
    println!("\nflat: sim at 4,000 costs {flat:.2} times 100 (aim 1.30): {}", verdict(flat <= 1.3));
    println!("      pilots {:.2} times", most.pilots_us_per_match_tick / few.pilots_us_per_match_tick);
    println!("sim at 1,000: {} µs (aim 2.5): {}", many.us_per_match_tick, verdict(many.us_per_match_tick <= 2.5));
    let pilots = many.pilots_us_per_match_tick;
    println!("pilots at 1,000: {pilots} µs (aim 4): {}", verdict(pilots <= 4.0));
    let bytes = rows.iter().map(|row| row.bytes_per_match).max().unwrap_or_default();
    println!("memory: {bytes} bytes a match (aim 32,768): {}", verdict(bytes < 32 * 1024));
}

/// The rows, and by how much resident memory grew for each match of the largest fleet.
fn measure(rules: &Arc<Ruleset>, moments: &[Vec<u8>]) -> (Vec<Row>, u64) {
    let mut benches: Vec<Bench> = SIZES.map(|count| Bench::new(count, rules)).into();
    for round in 0..=ROUNDS {
        let mut order: Vec<&mut Bench> = benches.iter_mut().collect();
        if round % 2 == 1 {
            order.reverse();
        }
        order.into_iter().for_each(|bench| bench.visit(moments));
        // The first round only warms caches and branch predictors.
        if round == 0 {
            benches.iter_mut().for_each(Bench::forget);
        }
    }
    let resident = benches.last().map_or(0, |bench| bench.resident_bytes / bench.keys.len() as u64);
    (benches.iter().map(Bench::row).collect(), resident)
}

/// Nanoseconds per match-tick of every step, in the order of a tick: medians over rounds.
fn measure_steps(count: usize, rules: &Arc<Ruleset>, moments: &[Vec<u8>]) -> Vec<(&'static str, f64)> {
    let mut bench = Bench::new(count, rules);
    let mut steps: Vec<_> = SimPlugin::steps().map(|(name, schedule)| (name, schedule, Vec::new())).collect();
    for round in 0..=STEP_ROUNDS {
        let mut spent = vec![Duration::ZERO; steps.len()];
        for some in moments.chunks(count) {
            for (key, save) in bench.keys.iter().zip(some) {
                sim::load(&mut bench.fleet.world, *key, save).expect("a save of the same setup");
            }
            for _ in 0..TICKS_PER_LOAD {
                bench.fleet.think();
                let mut begin = Instant::now();
                for ((_, schedule, _), spent) in steps.iter_mut().zip(&mut spent) {
                    schedule.run(&mut bench.fleet.world);
                    let end = Instant::now();
                    *spent += end - begin;
                    begin = end;
                }
            }
        }
        let match_ticks = (moments.len() * TICKS_PER_LOAD) as f64;
        let samples = steps.iter_mut().zip(spent);
        // The first round only warms up.
        samples.filter(|_| round > 0).for_each(|((_, _, ns), spent)| ns.push(spent.as_secs_f64() * 1e9 / match_ticks));
    }
    steps.into_iter().map(|(name, _, samples)| (name, median(&samples))).collect()
}

fn steps_table(rules: &Arc<Ruleset>, moments: &[Vec<u8>]) -> Vec<StepRow> {
    let columns = STEP_SIZES.map(|count| measure_steps(count, rules, moments));
    let row = |index: usize| StepRow {
        step: columns[0][index].0,
        ns_per_match_tick: std::array::from_fn(|size| rounded(columns[size][index].1)),
    };
    (0..columns[0].len()).map(row).collect()
}

fn print_steps(rows: &[StepRow]) {
    println!("\n| step of a tick, ns/match-tick | {} matches | {} | {} |", STEP_SIZES[0], STEP_SIZES[1], STEP_SIZES[2]);
    println!("|---|---:|---:|---:|");
    for StepRow { step, ns_per_match_tick: [few, many, most] } in rows {
        println!("| {step} | {few:.0} | {many:.0} | {most:.0} |");
    }
    let sum = |size: usize| rows.iter().map(|row| row.ns_per_match_tick[size]).sum::<f64>();
    println!("| all | {:.0} | {:.0} | {:.0} |", sum(0), sum(1), sum(2));
}

fn main() -> ExitCode {
    let file = match json_file() {
        Ok(file) => file,
        Err(problem) => {
            eprintln!("simbench: {problem}");
            return ExitCode::FAILURE;
        }
    };
    let profile = if cfg!(debug_assertions) { "debug assertions on: no measurement" } else { "release profile" };
    println!("{}, {profile}, load average before the start {}", processor(), load_average());
    let rules = heaviest();
    let (name, arena) = (rules.name(), rules.arena_name());
    println!("{SEATS} ships, rules {name} in {arena} {:016x}, medians over {ROUNDS} rounds", rules.hash());
    let moments = live_moments(&rules);
    let (rows, resident) = measure(&rules, &moments);
    print_table(&rows);
    println!("(resident memory grew by {resident} bytes for each of the largest fleet)");
    print_aims(&rows);
    let steps = steps_table(&rules, &moments);
    print_steps(&steps);
    if let Some(file) = file {
        let text = serde_json::to_string_pretty(&Report { sizes: rows, steps }).unwrap_or_default();
        if let Err(error) = std::fs::write(&file, text + "\n") {
            eprintln!("simbench: {file}: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
