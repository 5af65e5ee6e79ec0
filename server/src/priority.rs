//! Who yields to whom: shards' ticks come first, everything else after them.
//!
//! In: the calling thread. Out: its niceness, as far as the system allows.
//! *Invariant:* a shard's own thread is never niced upward; whatever shares its core yields to it.
//! Start reading at [`yield_to_shards`].

use std::process::{Command, Stdio};

/// Niceness of a thread that is not a shard's: a tenth of a shard's share of a busy core.
const SERVICE_NICENESS: &str = "10";
/// Niceness that a shard asks for; granted only to those who may (root, or a limit set by the operator).
const SHARD_NICENESS: &str = "-10";

/// Raises the calling thread's niceness; threads it makes later inherit that.
pub fn yield_to_shards() {
    renice(SERVICE_NICENESS);
}

/// Asks for a shard's priority. Refused quietly where it is not allowed: most machines have cores to spare.
pub fn claim_shard_priority() {
    renice(SHARD_NICENESS);
}

/// By the system's own tool, because the call itself is in no safe crate we use. A machine without it loses nothing
/// but the courtesy.
fn renice(niceness: &str) {
    let thread = nix::unistd::gettid().to_string();
    let mut renice = Command::new("renice");
    renice.args(["-n", niceness, "-p", &thread]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _ = renice.status();
}
