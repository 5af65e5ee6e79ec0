//! Balance you can see: plays many pilot matches and says how they went.
//!
//! In: rules, an arena, seats, skills, a seed. Out: a table of figures and a heat map of kills per arena.
//! *Invariant:* the same plan gives the same figures, on however many threads it is played.
//! Start reading at [`play::play`], then [`tally::Tally`].

pub mod heat;
pub mod options;
pub mod play;
pub mod report;
pub mod story;
pub mod tally;
