//! Snapshots: what each link is sent of the tick just played.
//!
//! In: state, the events since each link's acknowledged snapshot. Out: one datagram per link that is due.
//! *Invariant:* the shared part is encoded once per match and baseline; per link only the head is new.
//! *Invariant:* the view hash is taken from components, before any encoding.
//! *Invariant:* when the events since a baseline are not all in the ring, the snapshot is absolute.
//! Start reading at [`replicate`].

use std::collections::VecDeque;
use std::ops::Range;

use astro_shared::sim::event::Event;
use astro_shared::sim::fields::Audience;
use astro_shared::sim::tables::{MatchParts, MatchRef};
use astro_shared::sim::units::{Seat, Tick};
use astro_shared::wire::MISSED_EVENTS_MAX;
use astro_shared::wire::message::{Missed, MissedEvent, ToClient};
use astro_shared::wire::snapshot::{self, BASELINE_AGE_MAX, Baseline, EVENTS_MAX, Head, Rows};
use bevy_ecs::prelude::*;

use super::crew::{Crew, SeatCrew};
use super::matches::Hosted;
use super::shard::{Counters, Transports};

/// Events kept per match: more than any baseline that can still be used needs in a heavy fight.
const RING_EVENTS: usize = 128;

/// The newest events of a match with their ticks.
#[derive(Component, Debug)]
pub struct EventRing {
    room: usize,
    events: VecDeque<(Tick, Event)>,
    /// Events up to this tick are no longer all here.
    lost_through: Tick,
    /// Those worth telling somebody who comes back, at most [`MISSED_EVENTS_MAX`]; and up to when they are not all here.
    lasting: VecDeque<MissedEvent>,
    lasting_lost_through: Tick,
}

impl Default for EventRing {
    fn default() -> Self {
        EventRing::with_room(RING_EVENTS)
    }
}

impl EventRing {
    /// A ring of at most `room` events; it grows with what is in it.
    pub(super) fn with_room(room: usize) -> EventRing {
        EventRing {
            room,
            events: VecDeque::new(),
            lost_through: Tick(0),
            lasting: VecDeque::new(),
            lasting_lost_through: Tick(0),
        }
    }

    pub(super) fn push(&mut self, tick: Tick, event: Event) {
        if self.events.len() == self.room
            && let Some((oldest, _)) = self.events.pop_front()
        {
            self.lost_through = oldest;
        }
        self.events.push_back((tick, event));
        let Some(what) = Missed::of(&event) else { return };
        if self.lasting.len() == MISSED_EVENTS_MAX
            && let Some(oldest) = self.lasting.pop_front()
        {
            self.lasting_lost_through = oldest.tick;
        }
        self.lasting.push_back(MissedEvent { tick, what });
    }

    /// What a player is told who knows everything up to `since` and gets snapshots again from `through` on.
    pub(super) fn missed(&self, since: Tick, through: Tick) -> ToClient {
        let events = self.lasting.iter().filter(|event| event.tick > since && event.tick <= through);
        let complete = since >= self.lasting_lost_through;
        ToClient::Missed { since_tick: since, through_tick: through, events: events.copied().collect(), complete }
    }

    /// Events after one tick up to another, oldest first.
    fn between(&self, after: Tick, through: Tick) -> impl Iterator<Item = &(Tick, Event)> {
        let first = self.events.partition_point(|(at, _)| *at <= after);
        let end = self.events.partition_point(|(at, _)| *at <= through);
        self.events.range(first..end.max(first))
    }

    /// The best baseline for a client that has the snapshot of `acknowledged` and is to have that of `shown`.
    pub(super) fn baseline(&self, acknowledged: Tick, shown: Tick) -> Baseline {
        let usable = acknowledged != Tick(0)
            && acknowledged >= self.lost_through
            && shown.since(acknowledged) <= BASELINE_AGE_MAX
            && self.between(acknowledged, shown).count() <= EVENTS_MAX;
        if usable { Baseline::After(acknowledged) } else { Baseline::Absolute }
    }

    /// Drops events up to `tick`, which no baseline needs any more.
    pub(super) fn forget(&mut self, tick: Tick) {
        while self.events.pop_front_if(|(at, _)| *at <= tick).is_some() {}
        self.lost_through = self.lost_through.max(tick);
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.events.capacity() * size_of::<(Tick, Event)>()
    }
}

/// Keeps the newest tick's events for snapshots to come.
pub(super) fn keep_events(mut matches: Query<(&mut EventRing, MatchParts)>) {
    for (mut ring, parts) in &mut matches {
        let state = MatchRef::from(parts);
        for event in &state.events.0 {
            ring.push(state.round.tick, *event);
        }
    }
}

/// Bodies encoded of one match and tick, by baseline; reused memory.
#[derive(Default)]
pub(super) struct Bodies {
    known: Vec<(Baseline, Range<usize>)>,
    bytes: Vec<u8>,
}

impl Bodies {
    /// Forgets the bodies of another match or tick.
    pub fn clear(&mut self) {
        self.known.clear();
        self.bytes.clear();
    }

    /// The body with this baseline, encoded when it is not yet.
    pub fn get(&mut self, baseline: Baseline, rows: Rows<'_>, ring: &EventRing) -> &[u8] {
        let known = self.known.iter().find(|(known, _)| *known == baseline).map(|(_, range)| range.clone());
        let range = known.unwrap_or_else(|| {
            let (start, shown) = (self.bytes.len(), rows.state.round.tick);
            let since = if let Baseline::After(tick) = baseline { tick } else { shown };
            snapshot::encode_body(rows, baseline, ring.between(since, shown), &mut self.bytes);
            self.known.push((baseline, start..self.bytes.len()));
            start..self.bytes.len()
        });
        &self.bytes[range]
    }
}

/// Sends each due link its snapshot.
pub(super) fn replicate(
    mut transports: ResMut<Transports>,
    mut counters: ResMut<Counters>,
    mut matches: Query<(&Hosted, &mut Crew, &EventRing, MatchParts)>,
    (mut bodies, mut datagram): (Local<Bodies>, Local<Vec<u8>>),
) {
    for (hosted, mut crew, ring, parts) in &mut matches {
        let state = MatchRef::from(parts);
        let tick = state.round.tick;
        bodies.clear();
        let mut public_hash = None;
        for seat in Seat::first(state.setup.seats) {
            let held = &mut crew.seats[seat.index()];
            if !is_due(held, tick, hosted.stagger) {
                continue;
            }
            let hash = state.view_hash(*public_hash.get_or_insert_with(|| state.public_hash()), Audience::Seat(seat));
            let (input_newest, input_margin_ticks) = (held.queue.newest(), held.queue.take_margin());
            let Some(link) = held.link.as_mut() else { continue };
            let hash_long = link.take_long_hash(tick);
            let head = Head { input_newest, input_margin_ticks, view_hash: hash, hash_long };
            datagram.clear();
            snapshot::encode_head(&head, &state, seat, &mut datagram);
            let baseline = ring.baseline(link.acknowledged, tick);
            datagram.extend_from_slice(bodies.get(baseline, Rows::from(&state), ring));
            link.sent = tick;
            counters.snapshot(datagram.len());
            if let Some(transport) = transports.0.get_mut(link.transport) {
                transport.send(link.id, &datagram);
            }
        }
    }
}

/// Whether the seat's link gets a snapshot of this tick. Matches are spread over ticks by their stagger.
fn is_due(held: &SeatCrew, tick: Tick, stagger: u32) -> bool {
    held.link.as_ref().is_some_and(|link| link.ready && tick.0.wrapping_add(stagger).is_multiple_of(link.every_ticks()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use astro_shared::sim::event::Weapon;

    #[test]
    fn what_was_missed_is_told_exactly_and_the_longest_list_fits_one_message() {
        let mut ring = EventRing::default();
        let kill = Event::ShipDestroyed { victim: Seat(7), by: Some(Seat(0)), weapon: Weapon::Gun, assists: 0xff };
        for tick in 1..=MISSED_EVENTS_MAX as u32 {
            ring.push(Tick(tick), kill);
            ring.push(Tick(tick), Event::ShipHit { bullet: 1, victim: Seat(0) });
        }
        let told = |ring: &EventRing, since, through| match ring.missed(Tick(since), Tick(through)) {
            ToClient::Missed { events, complete, .. } => (events.iter().map(|event| event.tick.0).collect(), complete),
            other => panic!("{other:?}"),
        };
        assert_eq!(told(&ring, 83, 85), (vec![84, 85], true));
        assert_eq!(told(&ring, 88, 99), (vec![], true));
        assert_eq!(told(&ring, 0, 200), ((1..=88).collect(), true));
        let longest = ring.missed(Tick(0), Tick(u32::MAX));
        assert_eq!(ToClient::decode(&longest.encode().unwrap()), Ok(longest));
        ring.push(Tick(89), kill);
        assert_eq!(told(&ring, 0, 200), ((2..=89).collect(), false), "the first one is forgotten");
        assert_eq!(told(&ring, 1, 89), ((2..=89).collect(), true));
    }

    #[test]
    fn a_ring_that_lost_events_makes_the_next_snapshot_absolute() {
        let mut ring = EventRing::default();
        for tick in 1..=30 {
            ring.push(Tick(tick), Event::RoundDrawn {});
        }
        assert_eq!(ring.baseline(Tick(0), Tick(30)), Baseline::Absolute);
        assert_eq!(ring.baseline(Tick(10), Tick(30)), Baseline::After(Tick(10)));
        assert_eq!(ring.between(Tick(10), Tick(30)).count(), 20);
        assert_eq!(ring.between(Tick(10), Tick(12)).count(), 2, "nothing of what comes after");
        for _ in 0..RING_EVENTS {
            ring.push(Tick(31), Event::RoundDrawn {});
        }
        assert_eq!(ring.baseline(Tick(10), Tick(31)), Baseline::Absolute, "lost");
        assert_eq!(ring.baseline(Tick(30), Tick(31)), Baseline::Absolute, "too many");
        assert_eq!(ring.baseline(Tick(31), Tick(31)), Baseline::After(Tick(31)));
        assert_eq!(ring.baseline(Tick(31), Tick(31 + BASELINE_AGE_MAX + 1)), Baseline::Absolute, "too old");
    }
}
