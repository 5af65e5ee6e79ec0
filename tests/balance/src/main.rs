//! `cargo balance`: plays thousands of pilot matches and prints how they went.
//!
//! Figures go to standard output, progress to standard error; nothing is written before a plan is played to its end, so
//! Ctrl-C leaves no half files.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use astro_balance::options::Options;
use astro_balance::play::{Plan, play};
use astro_balance::report;
use astro_balance::tally::Tally;
use clap::Parser;

fn main() -> ExitCode {
    // A leading `--` of one's own is accepted: cargo passes it on.
    let options =
        Options::parse_from(std::env::args().enumerate().filter(|(at, a)| *at != 1 || a != "--").map(|x| x.1));
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("balance: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    let plans = options.plans()?;
    if let Some(folder) = &options.out {
        std::fs::create_dir_all(folder).map_err(|error| format!("--out: {}: {error}", folder.display()))?;
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = options.threads.unwrap_or(cores);
    for plan in &plans {
        let begun = std::time::Instant::now();
        let tally = play(plan, threads, &|done| show_progress(plan, done));
        end_progress();
        let speed = tally.ticks as f64 / begun.elapsed().as_secs_f64();
        eprintln!("{} matches in {:.1?}, {speed:.0} match-ticks/s", plan.matches, begun.elapsed());
        say(&format!("{}\n", report::text(plan, &tally)))?;
        if let Some(folder) = &options.out {
            write_heat(folder, plan, &tally)?;
        }
    }
    Ok(())
}

/// Standard output that is closed early (`| head`) is no error.
fn say(text: &str) -> Result<(), String> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.to_string()),
        _ => Ok(()),
    }
}

fn show_progress(plan: &Plan, done: u32) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{}: {done} of {}", report::title(plan), plan.matches);
    }
}

fn end_progress() {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
}

fn write_heat(folder: &Path, plan: &Plan, tally: &Tally) -> Result<(), String> {
    let name = format!("{}-{}-{}.svg", plan.rules.mode.name(), plan.rules.arena_name(), plan.seats);
    let path = folder.join(name);
    std::fs::write(&path, tally.heat.svg(&plan.arena, plan.seats))
        .map_err(|error| format!("--out: {}: {error}", path.display()))?;
    eprintln!("{}", path.display());
    Ok(())
}
