//! What the wasm32 module offers to whoever loads it: four functions over plain numbers.
//!
//! In: the number of a match. Out: the hash after each of its ticks. No pointer, no memory of ours in others' hands.
//! A panic traps, as everything does that aborts on wasm32.
//! Start reading at [`play`].
#![expect(unsafe_code, reason = "the names of exports; there is no unsafe block")]

use std::sync::{LazyLock, Mutex, PoisonError};

use crate::RecordedMatch;
use crate::drawn::Drawn;

static MATCHES: LazyLock<Vec<RecordedMatch>> = LazyLock::new(crate::matches);
/// Hashes of the match played last.
static PLAYED: Mutex<Vec<u64>> = Mutex::new(Vec::new());

/// How many matches there are.
#[unsafe(no_mangle)]
pub extern "C" fn matches() -> u32 {
    MATCHES.len() as u32
}

/// Plays a match; how many ticks it had.
#[unsafe(no_mangle)]
pub extern "C" fn play(number: u32) -> u32 {
    let hashes = MATCHES[number as usize].hashes().expect("the recorded rules are rules");
    let ticks = hashes.len() as u32;
    *PLAYED.lock().unwrap_or_else(PoisonError::into_inner) = hashes;
    ticks
}

/// The hash of the match that this seed draws.
#[unsafe(no_mangle)]
pub extern "C" fn drawn(seed: u32) -> u64 {
    Drawn::of(u64::from(seed)).hash()
}

/// The hash after a tick (from 1 on) of the match played last.
#[unsafe(no_mangle)]
pub extern "C" fn hash_after(tick: u32) -> u64 {
    PLAYED.lock().unwrap_or_else(PoisonError::into_inner)[tick as usize - 1]
}
