//! The load generator: plays matches with thousands of real clients. `bots --help` says how.
//!
//! In: the command line, Ctrl-C. Out: a report on standard output, an exit code (see the help).
//! *Invariant:* the first Ctrl-C lets every bot say goodbye and prints what was measured; the second ends at once.

use std::fmt::Display;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use astro_client::bots::attack::{self, Profile};
use astro_client::bots::conductor;
use astro_client::bots::options::Options;
use astro_client::bots::report::Report;
use nix::sys::signal::{SigSet, Signal};
use serde::Serialize;

const MISSING_RESULTS: u8 = 1;
const NOT_DEALT_WITH: u8 = 1;
const NOT_STARTED: u8 = 2;
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let options = match Options::read(std::env::args_os()) {
        Ok(options) => options,
        // Help goes to standard output with exit code 0, mistakes to standard error with 2.
        Err(error) => error.exit(),
    };
    let interrupted = watch_interrupts();
    match options.profile {
        Some(profile) => attack(&options, profile, &interrupted),
        None => play(&options, &interrupted),
    }
}

fn play(options: &Options, interrupted: &AtomicBool) -> ExitCode {
    let report = match conductor::run(options, interrupted) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("bots: {error}");
            if let Some(advice) = error.advice() {
                eprintln!("bots: {advice}");
            }
            return ExitCode::from(NOT_STARTED);
        }
    };
    if !publish(&report, options) || !list_told(&report, options) {
        return ExitCode::from(NOT_STARTED);
    }
    match (report.interrupted, report.all_confirmed()) {
        (true, _) => ExitCode::from(INTERRUPTED),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::from(MISSING_RESULTS),
    }
}

fn attack(options: &Options, profile: Profile, interrupted: &AtomicBool) -> ExitCode {
    let report = match attack::run(options, profile, interrupted) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("bots: {error}");
            return ExitCode::from(NOT_STARTED);
        }
    };
    if !publish(&report, options) {
        return ExitCode::from(NOT_STARTED);
    }
    match (interrupted.load(Ordering::Relaxed), report.dealt_with) {
        (true, _) => ExitCode::from(INTERRUPTED),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::from(NOT_DEALT_WITH),
    }
}

/// Writes the list that was asked for; false when that could not be done.
fn list_told(report: &Report, options: &Options) -> bool {
    let Some(path) = &options.told else { return true };
    let lines: String = report.told.iter().map(|id| format!("{id}\n")).collect();
    write(path, &lines)
}

/// Writes a file; false, and why on standard error, when that could not be done.
fn write(path: &Path, text: &str) -> bool {
    let written = std::fs::write(path, text);
    if let Err(error) = &written {
        eprintln!("bots: {}: {error}", path.display());
    }
    written.is_ok()
}

/// Writes the report to the file that was asked for and to standard output; false when the file could not be written.
fn publish(report: &(impl Serialize + Display), options: &Options) -> bool {
    // The file first: a closed pipe must not cost it.
    if let Some(path) = &options.json {
        let json = serde_json::to_string_pretty(report).unwrap_or_default();
        if !write(path, &(json + "\n")) {
            return false;
        }
    }
    let _ = std::io::stdout().write_all(report.to_string().as_bytes());
    true
}

/// Becomes true with the first Ctrl-C or request to terminate.
///
/// The signals are blocked before any other thread exists, so all of them reach the one that waits for them here.
fn watch_interrupts() -> Arc<AtomicBool> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    if signals.thread_block().is_ok() {
        let raised = interrupted.clone();
        std::thread::spawn(move || {
            while signals.wait().is_ok() {
                if raised.swap(true, Ordering::Relaxed) {
                    std::process::exit(i32::from(INTERRUPTED));
                }
            }
        });
    }
    interrupted
}
