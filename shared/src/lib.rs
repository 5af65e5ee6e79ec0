//! What both ends of a connection agree on: the rules, the wire, replays and HTTP bodies.
//!
//! In: bytes, inputs, seeds, ticks. Out: state, events, bytes.
//! *Invariant:* no clock, socket, file, thread or global; everything builds for wasm32.
//! *Invariant:* `sim` knows nothing of `wire`; `wire` knows `sim`.
//! Start reading at [`sim`].

pub mod api;
pub mod assets;
pub mod link;
pub mod openmetrics;
pub mod replay;
pub mod sim;
pub mod wire;
