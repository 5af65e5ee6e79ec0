//! The player's end of a match: session, networking, brains for bots, and the load generator made of them.
//!
//! In: a server's HTTP address. Out: matches played.
//! *Invariant:* knows `shared` and never the server's code.
//! *Invariant:* `session` and `brain` are pure (no clock, socket or thread); `service`, `net`, `player` and `bots` are not.
//! Start reading at [`service`] (how a seat is won) and [`player`] (how it is played); `client/examples/bot.rs` uses both.
//! Inside at [`session`]; for the load generator at [`bots`].

pub mod bots;
pub mod brain;
pub mod net;
pub mod player;
pub mod service;
pub mod session;
