//! The load generator: thousands of real clients in one process, and a report of what they met.
//!
//! In: options, a server's HTTP address. Out: a progress line, a report, an exit code.
//! One thread drives every session at 60 Hz; a few others do the blocking HTTP. Order of things:
//! [`options`] → [`conductor`] (what happens when) → [`fleet`] (the sessions and their sockets), [`ledger`]
//! (which match got how far), [`joins`] and [`workers`] over [`service`](crate::service) (HTTP) → [`window`], [`metrics`] and [`report`].
//! Between sessions and sockets may stand a bad [`network`]; connections may be lost on purpose ([`outages`]).
//! With `--profile` the bots are none of that: see [`attack`].
//! *Invariant:* a bot is a player like any other: it joins by HTTP and knows what its session decoded.
//! Start reading at [`conductor::run`].

pub mod attack;
pub mod bot;
pub mod conductor;
pub mod fleet;
pub mod joins;
pub mod ledger;
pub mod metrics;
pub mod network;
pub mod options;
pub mod outages;
pub mod progress;
pub mod report;
pub mod window;
pub mod workers;
