//! The load generator: plays matches with thousands of real clients. `bots --help` says how.
//!
//! In: the command line, Ctrl-C. Out: a report on standard output, an exit code (see the help).
//! *Invariant:* the first Ctrl-C lets every bot say goodbye and prints what was measured; the second ends at once.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use astro_client::bots::conductor;
use astro_client::bots::options::Options;
use astro_client::bots::service::ServiceError;
use nix::sys::signal::{SigSet, Signal};

const MISSING_RESULTS: u8 = 1;
const NOT_STARTED: u8 = 2;
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let options = match Options::read(std::env::args_os()) {
        Ok(options) => options,
        // Help goes to standard output with exit code 0, mistakes to standard error with 2.
        Err(error) => error.exit(),
    };
    let report = match conductor::run(&options, &watch_interrupts()) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("bots: {error}");
            if matches!(error, ServiceError::Unreachable { .. }) {
                eprintln!(
                    "bots: `cargo run --release` in another terminal starts a server; --server names another one"
                );
            }
            return ExitCode::from(NOT_STARTED);
        }
    };
    // The file first: a closed pipe must not cost it.
    if let Some(path) = &options.json {
        let json = serde_json::to_string_pretty(&report).unwrap_or_default();
        if let Err(error) = std::fs::write(path, json + "\n") {
            eprintln!("bots: {}: {error}", path.display());
            return ExitCode::from(NOT_STARTED);
        }
    }
    let _ = std::io::stdout().write_all(report.to_string().as_bytes());
    match (report.interrupted, report.all_confirmed()) {
        (true, _) => ExitCode::from(INTERRUPTED),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::from(MISSING_RESULTS),
    }
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
