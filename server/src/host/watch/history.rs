//! What spectators will be shown of a match, in the order in which it becomes due.
//!
//! In: the newest tick's rows and events, rosters, the result. Out: the same of the past, by tick.
//! *Invariant:* what is kept is encoded for everyone already: no private or hidden field ever is in here.
//! *Invariant:* memory is bounded by the delay: a picture every [`RECORD_EVERY_TICKS`], [`events_max`] events and
//! [`ROSTERS_MAX`] rosters.
//! Start reading at [`History::record`].

use std::collections::VecDeque;

use astro_shared::sim::fields::Audience;
use astro_shared::sim::tables::MatchRef;
use astro_shared::sim::units::Tick;
use astro_shared::wire::message::ToClient;
use astro_shared::wire::snapshot::{self, BASELINE_AGE_MAX, Baseline};

use super::super::replicate::EventRing;

/// Ticks between two pictures: 30 a second, the most that a spectator can have.
pub const RECORD_EVERY_TICKS: u32 = 2;
/// Rosters that may wait. Honest matches have a few; where people come and go all the time, the newest takes the
/// place of the one before it: told later than it could be, never earlier.
const ROSTERS_MAX: usize = 64;

/// Events kept: one for each tick of the delay and of what baselines reach back, and some. With more, snapshots
/// become absolute.
fn events_max(delay_ticks: u32) -> usize {
    512 + delay_ticks as usize
}

/// The past of one match, as far as spectators still have it before them.
#[derive(Debug)]
pub struct History {
    delay_ticks: u32,
    /// Oldest first. Their bytes stand one after the other in `bytes`.
    pictures: VecDeque<Picture>,
    /// Each picture is an absolute snapshot for everyone, as it can be sent.
    bytes: VecDeque<u8>,
    pub events: EventRing,
    /// Who flew which seat, from that tick on.
    rosters: VecDeque<(Tick, ToClient)>,
    result: Option<(Tick, ToClient)>,
    /// When the result was known, once it is.
    result_at: Option<Tick>,
    /// Reused.
    encoded: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Picture {
    tick: Tick,
    length: usize,
}

impl History {
    pub fn new(delay_ticks: u32) -> History {
        History {
            delay_ticks,
            pictures: VecDeque::new(),
            bytes: VecDeque::new(),
            events: EventRing::with_room(events_max(delay_ticks)),
            rosters: VecDeque::new(),
            result: None,
            result_at: None,
            encoded: Vec::new(),
        }
    }

    pub fn delay_ticks(&self) -> u32 {
        self.delay_ticks
    }

    /// Keeps the tick just played. `stagger` spreads the pictures of different matches over ticks.
    pub fn record(&mut self, state: &MatchRef<'_>, stagger: u32) {
        let tick = state.round.tick;
        state.events.0.iter().for_each(|event| self.events.push(tick, *event));
        if !tick.0.wrapping_add(stagger).is_multiple_of(RECORD_EVERY_TICKS) {
            return;
        }
        let hash = state.view_hash(state.public_hash(), Audience::Public);
        self.encoded.clear();
        snapshot::encode_public_head(hash, true, &mut self.encoded);
        snapshot::encode_body(state, Baseline::Absolute, std::iter::empty(), &mut self.encoded);
        self.bytes.extend(&self.encoded);
        self.pictures.push_back(Picture { tick, length: self.encoded.len() });
    }

    /// Keeps a roster that is true from `tick` on.
    pub fn record_roster(&mut self, tick: Tick, roster: ToClient) {
        if self.rosters.len() == ROSTERS_MAX {
            self.rosters.pop_back();
        }
        self.rosters.push_back((tick, roster));
    }

    /// Keeps the result, which was known at `tick`; the first one counts.
    pub fn record_result(&mut self, tick: Tick, result: ToClient) {
        if self.result_at.is_none() {
            self.result_at = Some(tick);
            self.result = Some((tick, result));
        }
    }

    /// When the result was known, if it is.
    pub fn result_at(&self) -> Option<Tick> {
        self.result_at
    }

    /// The tick that spectators are shown at `now`; `None` while the match is younger than the delay.
    pub fn shown(&self, now: Tick) -> Option<Tick> {
        now.0.checked_sub(self.delay_ticks).map(Tick)
    }

    /// Writes the picture of `shown` and forgets it and everything before; false when none was recorded in that tick.
    pub fn take_picture(&mut self, shown: Tick, out: &mut Vec<u8>) -> bool {
        while let Some(picture) = self.pictures.pop_front_if(|picture| picture.tick <= shown) {
            let bytes = self.bytes.drain(..picture.length);
            if picture.tick == shown {
                out.clear();
                out.extend(bytes);
                self.events.forget(Tick(shown.0.saturating_sub(BASELINE_AGE_MAX + 1)));
                return true;
            }
        }
        false
    }

    /// The next roster, or the result, that is due when `shown` is.
    pub fn take_notice(&mut self, shown: Tick) -> Option<ToClient> {
        let roster = self.rosters.pop_front_if(|(tick, _)| *tick <= shown);
        let notice = roster.or_else(|| self.result.take_if(|(tick, _)| *tick <= shown));
        notice.map(|(_, message)| message)
    }

    /// Bytes held, but for the names in rosters.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.capacity()
            + self.pictures.capacity() * size_of::<Picture>()
            + self.events.memory_bytes()
            + self.rosters.capacity() * size_of::<(Tick, ToClient)>()
    }
}
