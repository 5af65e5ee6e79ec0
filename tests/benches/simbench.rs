//! `cargo simbench [-- --json FILE]`: what a tick of 1, 100, 1,000 and 4,000 matches costs.
//!
//! Matches of 4 ships, all in live play, at different moments of it, flown by pilots that think every third tick. The
//! rules are the standard ones but for hulls that hold: a fight of pilots is over within two seconds, here it goes on,
//! so every tick measured has all four ships and their bullets in it, which is more than a real match has.
//! Method: fleets of all sizes live side by side; after a warm-up, rounds visit every size in turn (up, then down), and
//! in each visit the two parts of a tick are timed apart; a row is the median over its rounds. Wall time of one thread.
//! Out: a table with the aims and whether they are met, and JSON rows. No assertion on time: machines differ.
//! Start reading at [`main`].

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use astro_shared::sim::MatchKey;
use astro_shared::sim::round::Phase;
use astro_shared::sim::rules::Ruleset;
use astro_shared::sim::state::Ships;
use astro_tests::pilots::{Fleet, START_TICKS_MAX, rules_with};
use serde::Serialize;

const SIZES: [usize; 4] = [1, 100, 1000, 4000];
const SEATS: u8 = 4;
/// Rounds over all sizes; the median of this many visits is a row.
const ROUNDS: usize = 15;
/// Match-ticks timed in one visit, about: long enough for the clock.
const MATCH_TICKS_PER_VISIT: usize = 12_000;
/// Ticks in one visit at least, so that every pilot thinks equally often, and at most.
const TICKS_PER_VISIT: (usize, usize) = (6, 1200);
/// Ticks between the last countdown and the first measurement, so that fights are in full swing.
const WARM_UP_TICKS: u32 = 300;

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
struct Row {
    matches: usize,
    us_per_match_tick: f64,
    pilots_us_per_match_tick: f64,
    bullets_per_match: f64,
    bytes_per_match: u64,
}

/// Hits that a hull holds here: the most there can be. Mended between visits.
const HULL: u8 = 127;

/// The standard rules with hulls that hold and rounds of ten minutes.
fn lasting() -> Arc<Ruleset> {
    rules_with("standard", |text| {
        (text.rules.ship.hull, text.rules.gun.damage) = (HULL, 1);
        (text.rules.round_ms_max, text.rules.play_ms_max) = (600_000, 3_600_000);
    })
}

/// A fleet of one size in live play, and what was measured of it.
struct Bench {
    fleet: Fleet,
    keys: Vec<MatchKey>,
    bytes_per_match: u64,
    sim_us: Vec<f64>,
    pilots_us: Vec<f64>,
    bullets: Vec<f64>,
}

impl Bench {
    /// Opens `matches` matches, which start at different ticks, and plays all into their first round.
    fn new(matches: usize, rules: &Arc<Ruleset>) -> Bench {
        let before = resident_bytes();
        let (sim_us, pilots_us, bullets) = (Vec::new(), Vec::new(), Vec::new());
        let (fleet, keys) = (Fleet::new(), Vec::new());
        let mut bench = Bench { fleet, keys, bytes_per_match: 0, sim_us, pilots_us, bullets };
        bench.keys.extend((0..matches as u64).map(|seed| bench.fleet.open(seed, SEATS, rules)));
        bench.fleet.play(START_TICKS_MAX + rules.countdown_ticks + WARM_UP_TICKS);
        bench.bytes_per_match = resident_bytes().saturating_sub(before) / matches as u64;
        bench
    }

    /// Times some ticks: pilots and sim apart.
    fn visit(&mut self) {
        let matches = self.keys.len();
        let ticks = MATCH_TICKS_PER_VISIT.div_ceil(matches).clamp(TICKS_PER_VISIT.0, TICKS_PER_VISIT.1);
        let (mut sim, mut pilots) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..ticks {
            let begin = Instant::now();
            self.fleet.think();
            let thought = Instant::now();
            self.fleet.tick();
            pilots += thought - begin;
            sim += thought.elapsed();
        }
        black_box(&self.fleet.world);
        let per_match_tick = |time: Duration| time.as_secs_f64() * 1e6 / (ticks * matches) as f64;
        self.sim_us.push(per_match_tick(sim));
        self.pilots_us.push(per_match_tick(pilots));
        let bullets: usize = self.keys.iter().map(|key| self.fleet.state(*key).bullets.0.len()).sum();
        self.bullets.push(bullets as f64 / matches as f64);
        let live = self.keys.iter().filter(|key| self.fleet.state(**key).round.phase == Phase::Live).count();
        assert_eq!(live, matches, "a fight that should go on is over");
        self.mend_hulls();
    }

    /// Between visits, so that nobody ever dies.
    fn mend_hulls(&mut self) {
        for key in &self.keys {
            let mut ships = self.fleet.world.get_mut::<Ships>(key.entity()).expect("a match of this fleet");
            ships.0.iter_mut().take(usize::from(SEATS)).for_each(|ship| ship.hull = HULL);
        }
    }

    /// Forgets what was measured so far.
    fn forget(&mut self) {
        self.sim_us.clear();
        self.pilots_us.clear();
        self.bullets.clear();
    }

    fn row(&self) -> Row {
        Row {
            matches: self.keys.len(),
            us_per_match_tick: rounded(median(&self.sim_us)),
            pilots_us_per_match_tick: rounded(median(&self.pilots_us)),
            bullets_per_match: rounded(self.bullets.iter().sum::<f64>() / self.bullets.len() as f64),
            bytes_per_match: self.bytes_per_match,
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
    println!(
        "\nbytes/match: growth of resident memory while the fleet was opened and played, divided by its matches; a"
    );
    println!("single match pays for its world, its schedule and whole pages, so the aim counts from 100 on");
}

fn print_aims(rows: &[Row]) {
    let of = |matches: usize| rows.iter().find(|row| row.matches == matches);
    let (Some(few), Some(many), Some(most)) = (of(100), of(1000), of(4000)) else { return };
    let verdict = |met: bool| if met { "met" } else { "NOT met" };
    let flat = most.us_per_match_tick / few.us_per_match_tick;
    println!("\nflat: sim at 4,000 costs {flat:.2} times 100 (aim 1.30): {}", verdict(flat <= 1.3));
    println!("      pilots {:.2} times", most.pilots_us_per_match_tick / few.pilots_us_per_match_tick);
    println!("sim at 1,000: {} µs (aim 2): {}", many.us_per_match_tick, verdict(many.us_per_match_tick <= 2.0));
    let pilots = many.pilots_us_per_match_tick;
    println!("pilots at 1,000: {pilots} µs (aim 4): {}", verdict(pilots <= 4.0));
    let bytes = [few, many, most].map(|row| row.bytes_per_match).into_iter().max().unwrap_or_default();
    println!("memory: {bytes} bytes a match (aim 32,768): {}", verdict(bytes < 32 * 1024));
}

fn measure(rules: &Arc<Ruleset>) -> Vec<Row> {
    let mut benches: Vec<Bench> = SIZES.map(|matches| Bench::new(matches, rules)).into();
    for round in 0..=ROUNDS {
        let mut order: Vec<&mut Bench> = benches.iter_mut().collect();
        if round % 2 == 1 {
            order.reverse();
        }
        order.into_iter().for_each(Bench::visit);
        // The first round only warms caches and branch predictors.
        if round == 0 {
            benches.iter_mut().for_each(Bench::forget);
        }
    }
    benches.iter().map(Bench::row).collect()
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
    println!("{SEATS} ships, standard rules with lasting hulls, median of {ROUNDS} rounds");
    let rows = measure(&lasting());
    print_table(&rows);
    print_aims(&rows);
    if let Some(file) = file {
        let text = serde_json::to_string_pretty(&rows).unwrap_or_default();
        if let Err(error) = std::fs::write(&file, text + "\n") {
            eprintln!("simbench: {file}: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
