//! Who yields to whom: everything that is not a shard's tick.
//!
//! *Invariant:* a shard's own thread is never niced.
//! Start reading at [`yield_to_shards`].

use std::process::{Command, Stdio};

/// Added niceness of a thread that is not a shard's: it gets about a third of a shard's share of a busy core.
const NICENESS: &str = "5";

/// Raises the calling thread's niceness; threads it makes later inherit that.
///
/// By the system's own tool, because the call itself is in no safe crate we use. A machine without it loses nothing
/// but the courtesy.
pub fn yield_to_shards() {
    let thread = nix::unistd::gettid().to_string();
    let mut renice = Command::new("renice");
    renice.args(["-n", NICENESS, "-p", &thread]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _ = renice.status();
}
