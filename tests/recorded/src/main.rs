//! `recorded-matches FILE`: plays the recorded matches and writes what came of them.
//!
//! Out: one full hash per match and tick, as little-endian 64-bit numbers, match after match.

use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(file) = std::env::args_os().nth(1) else {
        eprintln!("usage: recorded-matches FILE");
        return ExitCode::FAILURE;
    };
    let mut hashes = Vec::new();
    for (number, recorded) in astro_recorded::matches().iter().enumerate() {
        match recorded.hashes() {
            Ok(played) => hashes.extend(played.iter().flat_map(|hash| hash.to_le_bytes())),
            Err(error) => {
                eprintln!("match {number}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    match std::fs::write(&file, hashes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", file.display());
            ExitCode::FAILURE
        }
    }
}
