//! The line that shows a run is alive, and complaints.
//!
//! In: time, the fleet, the ledger. Out: text on standard error.
//! *Invariant:* a complaint is made once, however often it has reason to be.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use super::fleet::Fleet;
use super::ledger::Ledger;

/// Different complaints in one run at most.
const COMPLAINTS_MAX: usize = 16;

/// The line that shows a run is alive, on standard error.
pub struct Progress {
    terminal: bool,
    due: Duration,
    shown: Duration,
    snapshots: u64,
    /// Complaints already made, so that a thousand equal ones are one. Bounded by [`COMPLAINTS_MAX`].
    complaints: Vec<String>,
}

impl Default for Progress {
    fn default() -> Self {
        Progress::new()
    }
}

impl Progress {
    pub fn new() -> Progress {
        let terminal = std::io::stderr().is_terminal();
        Progress { terminal, due: Duration::from_secs(1), shown: Duration::ZERO, snapshots: 0, complaints: Vec::new() }
    }

    /// Once a second on a terminal, in place; else a line every five seconds.
    pub fn show(&mut self, now: Duration, fleet: &Fleet, ledger: &Ledger) {
        if now < self.due {
            return;
        }
        let (snapshots, mismatches) = fleet.snapshots();
        let seconds = now.saturating_sub(self.shown).as_secs_f64();
        let rate = (snapshots - self.snapshots) as f64 / seconds.max(1e-9);
        let counts = ledger.counts();
        let line = format!(
            "{:>5.0} s  {} matches run, {} over  {} clients  {rate:.0} snapshots/s  {mismatches} mismatches  {} disconnects",
            now.as_secs_f64(),
            counts.started - counts.finished,
            counts.finished,
            fleet.connected(),
            fleet.disconnects().values().sum::<u64>(),
        );
        (self.shown, self.snapshots) = (now, snapshots);
        self.due = now + Duration::from_secs(if self.terminal { 1 } else { 5 });
        // Standard error that is gone is no reason to stop.
        let mut out = std::io::stderr().lock();
        let _ = if self.terminal { write!(out, "\r{line}\x1b[K") } else { writeln!(out, "{line}") };
        let _ = out.flush();
    }

    /// Says what went wrong, once.
    pub fn complain(&mut self, complaint: &str) {
        if self.complaints.len() < COMPLAINTS_MAX && !self.complaints.iter().any(|known| known == complaint) {
            self.complaints.push(complaint.to_owned());
            self.end();
            eprintln!("{complaint}");
        }
    }

    /// Leaves the progress line behind.
    pub fn end(&self) {
        if self.terminal {
            eprintln!();
        }
    }
}
