//! The load generator: plays matches with thousands of real clients. `bots --help` says how.
//!
//! In: the command line, Ctrl-C. Out: a report on standard output, an exit code (see the help).
//! *Invariant:* the first Ctrl-C lets every bot say goodbye and prints what was measured; the second ends at once.

use std::fmt::Display;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use astro_client::bots::attack::{self, Profile};
use astro_client::bots::conductor;
use astro_client::bots::options::Options;
use nix::sys::signal::{SigSet, Signal};
use serde::Serialize;

const MISSING_RESULTS: u8 = 1;
const NOT_DEALT_WITH: u8 = 1;
const NOT_STARTED: u8 = 2;
const NOT_WRITTEN: u8 = 3;
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let options = match Options::read(std::env::args_os()) {
        Ok(options) => options,
        // Help goes to standard output with exit code 0, mistakes to standard error with 2.
        Err(error) => error.exit(),
    };
    let interrupted = watch_interrupts();
    // Before anything is played: a run whose report cannot be kept need not begin.
    let (Some(json), Some(told)) = (Page::open(options.json.as_deref()), Page::open(options.told.as_deref())) else {
        return ExitCode::from(NOT_STARTED);
    };
    match options.profile {
        Some(profile) => attack(&options, profile, json, &interrupted),
        None => play(&options, json, told, &interrupted),
    }
}

fn play(options: &Options, json: Page, told: Page, interrupted: &AtomicBool) -> ExitCode {
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
    let ids: String = report.told.iter().map(|id| format!("{id}\n")).collect();
    if !(publish(&report, json) & told.write(&ids)) {
        return ExitCode::from(NOT_WRITTEN);
    }
    match (report.interrupted, report.all_confirmed()) {
        (true, _) => ExitCode::from(INTERRUPTED),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::from(MISSING_RESULTS),
    }
}

fn attack(options: &Options, profile: Profile, json: Page, interrupted: &AtomicBool) -> ExitCode {
    let report = match attack::run(options, profile, interrupted) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("bots: {error}");
            return ExitCode::from(NOT_STARTED);
        }
    };
    if !publish(&report, json) {
        return ExitCode::from(NOT_WRITTEN);
    }
    match (interrupted.load(Ordering::Relaxed), report.dealt_with) {
        (true, _) => ExitCode::from(INTERRUPTED),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::from(NOT_DEALT_WITH),
    }
}

/// A file that was asked for, empty until it is written; or none.
struct Page(Option<(PathBuf, File)>);

impl Page {
    /// `None`, and why on standard error, when it cannot be made.
    fn open(path: Option<&Path>) -> Option<Page> {
        let Some(path) = path else { return Some(Page(None)) };
        let file = File::create(path).inspect_err(|error| eprintln!("bots: {}: {error}", path.display())).ok()?;
        Some(Page(Some((path.to_owned(), file))))
    }

    /// False, and why on standard error, when that could not be done.
    fn write(self, text: &str) -> bool {
        let Some((path, mut file)) = self.0 else { return true };
        let written = file.write_all(text.as_bytes());
        if let Err(error) = &written {
            eprintln!("bots: {}: {error}", path.display());
        }
        written.is_ok()
    }
}

/// Writes the report to the file that was asked for and to standard output; false when the file could not be written.
fn publish(report: &(impl Serialize + Display), json: Page) -> bool {
    // The file first: a closed pipe must not cost it. And the other one in any case: it may be all that is left.
    let written = json.write(&(serde_json::to_string_pretty(report).unwrap_or_default() + "\n"));
    let _ = std::io::stdout().write_all(report.to_string().as_bytes());
    written
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
