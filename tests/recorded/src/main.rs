//! `recorded-matches FILE DRAWN`: plays the recorded matches and as many drawn ones, and writes what came of them.
//!
//! Out: one full hash per match and tick, as little-endian 64-bit numbers, match after match; then one hash for each of
//! the matches that the seeds from 0 on draw.

use std::process::ExitCode;

use astro_recorded::drawn::Drawn;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, drawn] = arguments.as_slice() else {
        eprintln!("usage: recorded-matches FILE DRAWN");
        return ExitCode::FAILURE;
    };
    let Ok(drawn) = drawn.parse::<u64>() else {
        eprintln!("recorded-matches: {drawn:?} is not a number of matches");
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
    hashes.extend((0..drawn).flat_map(|seed| Drawn::of(seed).hash().to_le_bytes()));
    match std::fs::write(file, hashes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{file}: {error}");
            ExitCode::FAILURE
        }
    }
}
