//! The Astro Party server: a host of matches and the service around it, in one process or several.
//!
//! *Invariant:* `host` and `api` know each other only through `hosts`.
//! Start reading at [`hosts`], then [`host`] for ticks or [`api`] for HTTP.

pub mod api;
pub mod arena_command;
pub mod assets;
pub mod config;
pub mod console;
pub mod demos;
pub mod directory;
pub mod host;
pub mod hosts;
pub mod priority;
pub mod records;
pub mod replay_command;
pub mod shutdown;
pub mod store;
pub mod telemetry;
pub mod threads;
pub mod top;
pub mod transport;
