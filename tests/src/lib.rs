//! What tests share: a stage in virtual time, the real program with real players, matches flown by pilots.
//!
//! *Invariant:* nothing here is needed by the programs themselves.
//! Start reading at [`stage`] (no network, no waiting) and [`service`] (the real thing).

pub mod callers;
pub mod dice;
pub mod pilots;
pub mod protocol;
pub mod recording;
pub mod replay_file;
pub mod scene;
pub mod service;
pub mod sources;
pub mod stage;
pub mod websocket;
