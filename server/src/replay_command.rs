//! `astro-server replay`: what an operator or player does with replay files and capsules.
//!
//! In: file names. Out: lines for a person, and an exit code for a script: 0 equal, 1 differs or unusable.
//! Start reading at [`verify`].

use std::fmt::Write as _;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use astro_shared::replay::{Replay, Verdict};
use astro_shared::sim::event::Event;
use astro_shared::sim::units::{Seat, TICKS_PER_SECOND, Tick};

use crate::host::capsule::{Capsule, CapsuleError, LostMatch};

/// Plays every file again and says whether each tick is as recorded.
pub fn verify(files: &[PathBuf]) -> ExitCode {
    let mut all_equal = true;
    for file in files {
        let (line, equal) = match read(file) {
            Ok(replay) => {
                let verdict = replay.verify();
                (describe(&verdict, &replay), verdict == Verdict::Equal)
            }
            Err(error) => (error, false),
        };
        print(&format!("{}: {line}\n", file.display()));
        all_equal &= equal;
    }
    if all_equal { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints what a match was, how it ended, and who destroyed whom.
pub fn show(file: &Path) -> ExitCode {
    match read(file) {
        Ok(replay) => {
            print(&summary(&replay));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}: {error}", file.display());
            ExitCode::FAILURE
        }
    }
}

/// Plays what is left of every match in a capsule, each behind a fence.
pub fn capsule(file: &Path) -> ExitCode {
    let capsule = match Capsule::read(file) {
        Ok(capsule) => capsule,
        Err(error) => {
            eprintln!("{}: {error}", file.display());
            return ExitCode::FAILURE;
        }
    };
    let Capsule { shard, server_version, commit, message, .. } = &capsule;
    print(&format!("shard {shard} of version {server_version} ({commit}): {message}\n"));
    let mut all_played = true;
    for lost in &capsule.matches {
        let (mut first, mut last) = (None, Tick(0));
        let play = || capsule.play(lost, |state| (_, last) = (first.get_or_insert(state.round.tick), state.round.tick));
        let line = match catch_unwind(AssertUnwindSafe(play)) {
            Ok(played) => {
                all_played &= played.is_ok();
                describe_lost(lost, first.unwrap_or(last), last, played)
            }
            // The panic itself has been printed.
            Err(_) => format!("{}: PANICS in tick {}", lost.match_id, last.plus(1)),
        };
        print(&format!("{line}\n"));
    }
    if all_played { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn describe_lost(lost: &LostMatch, first: Tick, last: Tick, played: Result<(), CapsuleError>) -> String {
    match played {
        Ok(()) => {
            format!("{}: ticks {first} to {last} play without a panic ({})", lost.match_id, lost.names.join(", "))
        }
        Err(error) => error.to_string(),
    }
}

/// Writes to stdout; a reader that has gone away (`| head`) is no reason to complain.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn read(file: &Path) -> Result<Replay, String> {
    let bytes = std::fs::read(file).map_err(|error| error.to_string())?;
    Replay::read(&bytes).map_err(|error| error.to_string())
}

fn describe(verdict: &Verdict, replay: &Replay) -> String {
    match verdict {
        Verdict::Equal => format!("equal ({} ticks)", replay.header.ticks),
        Verdict::ResultDiffers => {
            "every tick is equal, but the tallies in the header are not those of the match".into()
        }
        Verdict::Differs { tick, fields, .. } if fields.is_empty() => format!("differs from tick {tick} on"),
        Verdict::Differs { tick, seen_at, fields } => {
            format!("differs from tick {tick} on; at the checkpoint of tick {seen_at}: {}", fields.join(", "))
        }
    }
}

/// Everything `show` prints.
fn summary(replay: &Replay) -> String {
    let header = &replay.header;
    let mut out = String::new();
    // Writing to a string cannot fail.
    let mut line = |text: String| _ = writeln!(out, "{text}");
    line(format!("match     {}", header.match_id));
    line(format!("rules     {} in {}, {} seats", replay.ruleset.name(), replay.ruleset.arena_name(), header.seats));
    line(format!("length    {} ({} ticks)", time(Tick(header.ticks)), header.ticks));
    let winner = header.result.winner.map_or("nobody".into(), |seat| name_of(replay, Seat(seat), header.ticks));
    line(format!("winner    {winner}"));
    line(String::new());
    line(format!(
        "{:>5}  {:<16} {:>6} {:>5} {:>6} {:>7} {:>5} {:>4}",
        "place", "name", "rounds", "kills", "deaths", "assists", "shots", "hits"
    ));
    for (seat, tally) in header.result.seats.iter().enumerate() {
        let name = name_of(replay, Seat(seat as u8), header.ticks);
        line(format!(
            "{:>5}  {name:<16} {:>6} {:>5} {:>6} {:>7} {:>5} {:>4}",
            tally.placement, tally.rounds_won, tally.kills, tally.deaths, tally.assists, tally.shots, tally.hits
        ));
    }
    line(String::new());
    replay.play(|tick, event| {
        if let Some(text) = tell(replay, tick, event) {
            line(format!("{:>7}  {text}", time(tick)));
        }
    });
    out
}

/// One line of the kill list; `None` for events that are too many to list.
fn tell(replay: &Replay, tick: Tick, event: &Event) -> Option<String> {
    let name = |seat: Seat| name_of(replay, seat, tick.0);
    match event {
        Event::ShipDestroyed { victim, by, weapon, assists } => {
            let helpers: Vec<String> =
                Seat::first(replay.header.seats).filter(|seat| assists & seat.bit() != 0).map(name).collect();
            let helped = if helpers.is_empty() { String::new() } else { format!(" (with {})", helpers.join(", ")) };
            Some(match by {
                Some(by) => format!("{} destroyed {} by {}{helped}", name(*by), name(*victim), spelled(weapon.name())),
                None => format!("{} was lost to {}{helped}", name(*victim), spelled(weapon.name())),
            })
        }
        Event::PodDestroyed { victim, by, .. } => {
            let by = by.map_or(String::new(), |by| format!(" to {}", name(by)));
            Some(format!("{} lost the pod{by}", name(*victim)))
        }
        Event::ShipReturned { seat, rescuer: Some(rescuer) } => {
            Some(format!("{} fetched {}", name(*rescuer), name(*seat)))
        }
        Event::MedalWon { seat, medal } => Some(format!("{}: {}", name(*seat), spelled(medal.name()))),
        Event::SuddenDeath {} => Some("sudden death".into()),
        Event::RoundStarted { number } => Some(format!("round {number}")),
        Event::RoundWon { winner } => Some(format!("{} wins the round", name(*winner))),
        Event::RoundDrawn {} => Some("the round is drawn".into()),
        Event::MatchWon { winner } => {
            Some(winner.map_or("the match is drawn".into(), |seat| format!("{} wins the match", name(seat))))
        }
        _ => None,
    }
}

/// A name from the rules as people write it.
fn spelled(name: &str) -> String {
    name.replace('_', " ")
}

/// Who had the seat at that tick; a pilot that stands in for a player keeps the player's name.
fn name_of(replay: &Replay, seat: Seat, tick: u32) -> String {
    let mut crew = replay.header.crew.iter().filter(|change| change.seat == seat.0 && change.tick <= tick);
    // The file may come from anybody: nothing in it may speak to the terminal.
    let plain = |name: &str| name.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    crew.next_back().map_or_else(|| format!("seat {seat}"), |change| plain(&change.name))
}

/// Match time as minutes, seconds and tenths.
fn time(tick: Tick) -> String {
    let tenths = tick.0 * 10 / TICKS_PER_SECOND;
    format!("{}:{:02}.{}", tenths / 600, tenths / 10 % 60, tenths % 10)
}
