//! The server's end of connections: routing what arrives, the control channel, and closing with a reason.
//!
//! In: [`Incoming`] from every transport. Out: inputs in seats' queues; control messages; closed links.
//! *Invariant:* hot datagrams are looked at only after the client's `Ready`.
//! Start reading at [`receive`].

mod control;

use std::collections::HashMap;
use std::time::Duration;

use astro_shared::sim::state::State;
use astro_shared::sim::units::{Seat, TICKS_PER_SECOND, Tick};
use astro_shared::wire::filter::{RenetProgress, check_renet};
use astro_shared::wire::input::InputDatagram;
use astro_shared::wire::message::{CloseReason, Place, ToClient, ToServer};
use astro_shared::wire::websocket::SLOW_SNAPSHOTS_PER_S;
use astro_shared::wire::{CLIENT_MESSAGE_BYTES_MAX, CONTROL_CHANNEL, fingerprint, is_hot};
use bevy_ecs::prelude::*;
use bevy_ecs::system::SystemParam;
use bevy_renet::RenetServer;

use super::crew::{Crew, Owner};
use super::matches::{Hosted, Stage};
use super::replicate::EventRing;
use super::shard::{Counters, Now, Transports};
use super::watch::{HotRefused, Watchers};
use crate::hosts::Hold;
use crate::transport::{Incoming, LinkId};
pub(super) use control::poll_control;
use control::{GOODBYES, send_control};
pub use control::{RESEND_AFTER, control_config};

/// Ticks between two snapshots of a link that wants or can take few: 15 a second.
pub(super) const SNAPSHOT_EVERY_TICKS_MAX: u32 = TICKS_PER_SECOND / SLOW_SNAPSHOTS_PER_S as u32;
/// Hot datagrams that do not decode, after which a link is closed. Honest clients send none.
pub const BAD_DATAGRAMS_MAX: u32 = 64;

/// Hot state of a link, kept with its seat, or with the spectators of a match.
#[derive(Debug)]
pub struct SeatLink {
    pub id: LinkId,
    pub transport: usize,
    /// The client has said `Ready`.
    pub ready: bool,
    /// Ticks between two snapshots as the client asked for: 1, 2 or 4.
    pub snapshot_every_ticks: u32,
    /// It cannot keep up with that, and gets the fewest there are.
    pub slowed: bool,
    /// Newest snapshot that the client says it has.
    pub acknowledged: Tick,
    /// Tick of the newest snapshot sent; an acknowledgement beyond it is a lie.
    pub sent: Tick,
    /// Tick of the last snapshot with the long hash.
    pub long_hash_at: Option<Tick>,
    /// The player came back and is still to be told what happened since this tick.
    pub missed_since: Option<Tick>,
}

impl SeatLink {
    pub fn new(id: LinkId, transport: usize) -> SeatLink {
        SeatLink {
            id,
            transport,
            ready: false,
            snapshot_every_ticks: 2,
            slowed: false,
            acknowledged: Tick(0),
            sent: Tick(0),
            long_hash_at: None,
            missed_since: None,
        }
    }

    /// Whether the snapshot of `tick` is to carry the whole hash: one a second does.
    pub fn take_long_hash(&mut self, tick: Tick) -> bool {
        let due = self.long_hash_at.is_none_or(|at| tick.since(at) >= TICKS_PER_SECOND);
        if due {
            self.long_hash_at = Some(tick);
        }
        due
    }

    /// Ticks between two snapshots.
    pub fn every_ticks(&self) -> u32 {
        if self.slowed { SNAPSHOT_EVERY_TICKS_MAX } else { self.snapshot_every_ticks }
    }
}

/// What a link is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A seat of a match.
    Seat(Entity, Seat),
    /// A place among these [`Watchers`].
    Watchers(Entity),
}

/// Where a link leads.
struct Route {
    to: Destination,
    transport: usize,
    progress: RenetProgress,
    bad_datagrams: u32,
    /// Something was queued, or messages came that want an acknowledgement.
    poll_now: bool,
    /// Next look at whether everything is acknowledged; `None` when it is.
    poll_at: Option<Duration>,
}

/// A link that was promised and not used yet; every transport keeps a place for it.
pub struct Promise {
    pub to: Destination,
    /// Whose the seat must still be when the ticket is shown; `None` for spectators.
    pub owner: Option<Owner>,
    pub until: Duration,
    /// The service counts unused tickets by it.
    pub _hold: Hold,
}

/// All links of a shard.
#[derive(Resource)]
pub struct Links {
    /// Of this build; computed once, because it hashes a sample of every message.
    fingerprint: u64,
    routes: HashMap<LinkId, Route>,
    /// Routes by transport.
    counts: Vec<usize>,
    promised: HashMap<LinkId, Promise>,
    closing: Vec<(LinkId, CloseReason)>,
    /// When the server will be gone; what newcomers must be told, too.
    shutdown_at: Option<Duration>,
    clock: Duration,
    ticket_sweep: Duration,
}

impl Links {
    #[expect(clippy::new_without_default, reason = "the fingerprint is work, which a default should not be")]
    pub fn new() -> Links {
        Links {
            fingerprint: fingerprint(),
            routes: HashMap::new(),
            counts: Vec::new(),
            promised: HashMap::new(),
            closing: Vec::new(),
            shutdown_at: None,
            clock: Duration::ZERO,
            ticket_sweep: Duration::ZERO,
        }
    }

    pub fn count(&self) -> usize {
        self.routes.len()
    }

    /// Links over the transport of that number.
    pub fn count_of(&self, transport: usize) -> usize {
        self.counts.get(transport).copied().unwrap_or(0)
    }

    fn add(&mut self, link: LinkId, route: Route) {
        if self.counts.len() <= route.transport {
            self.counts.resize(route.transport + 1, 0);
        }
        self.counts[route.transport] += 1;
        self.routes.insert(link, route);
    }

    fn remove(&mut self, link: LinkId) -> Option<Route> {
        let route = self.routes.remove(&link)?;
        self.counts[route.transport] -= 1;
        Some(route)
    }

    /// Remembers for whom a ticket was minted. One ticket per seat counts: an older one is worth nothing from now
    /// on, and its places, whose link is returned, must be given back.
    pub fn promise(&mut self, link: LinkId, promise: Promise) -> Option<LinkId> {
        let same_seat = |older: &Promise| older.to == promise.to && matches!(older.to, Destination::Seat(..));
        let older = self.promised.iter().find(|(_, older)| same_seat(older));
        let older = older.map(|(link, _)| *link);
        if let Some(link) = older {
            self.promised.remove(&link);
        }
        self.promised.insert(link, promise);
        older
    }

    /// Spectators' tickets that nobody has used: for these [`Watchers`], or for all.
    pub fn promised_to_watch(&self, watchers: Option<Entity>) -> usize {
        let wanted = |promise: &&Promise| match promise.to {
            Destination::Seat(..) => false,
            Destination::Watchers(entity) => watchers.is_none_or(|watchers| watchers == entity),
        };
        self.promised.values().filter(wanted).count()
    }

    /// Whether every transport keeps exactly the places of its links and of the tickets nobody has used.
    fn add_up(&self, transports: &Transports) -> bool {
        let places = |index| self.promised.len() + self.count_of(index);
        transports.0.iter().enumerate().all(|(index, transport)| transport.taken() == places(index))
    }

    /// Asks for a link to be closed at the end of this tick, with a reason the client is told.
    pub fn close(&mut self, link: LinkId, reason: CloseReason) {
        self.closing.push((link, reason));
    }

    /// The same for all of them.
    pub fn close_all(&mut self, reason: CloseReason) {
        self.closing.extend(self.routes.keys().map(|link| (*link, reason)));
    }

    /// Tells everybody that the server will be gone at a time, and from now on everybody who comes back.
    pub fn announce_shutdown(&mut self, renet: &mut RenetServer, at: Duration, now: Duration) {
        self.shutdown_at = Some(at);
        let links: Vec<LinkId> = self.routes.keys().copied().collect();
        links.into_iter().for_each(|link| self.tell_of_shutdown(renet, link, now));
    }

    fn tell_of_shutdown(&mut self, renet: &mut RenetServer, link: LinkId, now: Duration) {
        let Some(at) = self.shutdown_at else { return };
        let left = at.saturating_sub(now).as_secs_f64().ceil();
        self.tell(renet, link, &ToClient::ShuttingDown { seconds_left: left as u32 });
    }

    /// Queues a control message; a client that lets 64 KiB pile up is closed.
    pub fn tell(&mut self, renet: &mut RenetServer, link: LinkId, message: &ToClient) {
        let Some(route) = self.routes.get_mut(&link) else { return };
        let Ok(bytes) = message.encode() else {
            debug_assert!(false, "a control message above its limit: {message:?}");
            return;
        };
        if renet.can_send_message(link.0, CONTROL_CHANNEL, bytes.len()) {
            renet.send_message(link.0, CONTROL_CHANNEL, bytes);
            route.poll_now = true;
        } else {
            self.closing.push((link, CloseReason::Misbehaved));
        }
    }
}

/// What links lead to.
#[derive(SystemParam)]
pub(super) struct Places<'w, 's> {
    matches: Query<'w, 's, (&'static mut Crew, &'static Hosted, &'static State, &'static EventRing)>,
    watched: Query<'w, 's, &'static mut Watchers>,
}

impl Places<'_, '_> {
    /// The link is gone; what it led to stays.
    fn remove(&mut self, link: LinkId, from: Destination) {
        match from {
            Destination::Seat(entity, seat) => {
                if let Ok((mut crew, ..)) = self.matches.get_mut(entity)
                    && let Some(seat) = crew.seat_mut(seat)
                {
                    seat.link.take_if(|held| held.id == link);
                }
            }
            Destination::Watchers(entity) => {
                self.watched.get_mut(entity).into_iter().for_each(|mut watchers| watchers.remove(link));
            }
        }
    }
}

/// Takes in everything that has arrived on every transport.
pub(super) fn receive(
    now: Res<Now>,
    mut transports: ResMut<Transports>,
    mut links: ResMut<Links>,
    mut renet: ResMut<RenetServer>,
    mut counters: ResMut<Counters>,
    mut places: Places<'_, '_>,
) {
    let mut receiver = Receiver {
        now: now.0,
        links: &mut links,
        renet: &mut renet,
        counters: &mut counters,
        places: &mut places,
        transport: 0,
        connected: Vec::new(),
        unknown: Vec::new(),
    };
    for index in 0..transports.0.len() {
        receiver.transport = index;
        transports.0[index].receive(now.0, &mut |incoming| receiver.take(incoming));
        for link in receiver.unknown.drain(..) {
            // Nothing will come of it over any transport, unless it is connected by another one.
            if receiver.links.routes.contains_key(&link) {
                transports.0[index].release(link);
            } else {
                transports.release(link);
            }
        }
        // A ticket is good for one connection over any transport: the others need not keep a place any more.
        for link in receiver.connected.drain(..) {
            transports.release_elsewhere(link, index);
        }
    }
}

struct Receiver<'a, 'w, 's> {
    now: Duration,
    links: &'a mut Links,
    renet: &'a mut RenetServer,
    counters: &'a mut Counters,
    places: &'a mut Places<'w, 's>,
    /// Which transport is being received from.
    transport: usize,
    /// Links that took their places just now.
    connected: Vec<LinkId>,
    /// Links that showed a ticket already used or given up.
    unknown: Vec<LinkId>,
}

impl Receiver<'_, '_, '_> {
    fn take(&mut self, incoming: Incoming<'_>) {
        match incoming {
            Incoming::Connected(link) => self.on_connected(link),
            Incoming::Payload(link, payload) if is_hot(payload) => self.on_hot(link, payload),
            Incoming::Payload(link, payload) => self.on_control(link, payload),
            Incoming::Disconnected(link) if self.is_mine(link) => self.links.close(link, CloseReason::Left),
            Incoming::Disconnected(link) => self.unknown.push(link),
            Incoming::Slow(link) if self.is_mine(link) => self.on_pace(link, true),
            Incoming::Steady(link) if self.is_mine(link) => self.on_pace(link, false),
            Incoming::TooSlow(link) if self.is_mine(link) => self.links.close(link, CloseReason::TooSlow),
            Incoming::Flooding(link) if self.is_mine(link) => self.links.close(link, CloseReason::Misbehaved),
            Incoming::Slow(_) | Incoming::Steady(_) | Incoming::TooSlow(_) | Incoming::Flooding(_) => {}
        }
    }

    /// Whether a link came by the transport that is being received from.
    fn is_mine(&self, link: LinkId) -> bool {
        self.links.routes.get(&link).is_some_and(|route| route.transport == self.transport)
    }

    /// From now on the link gets the fewest snapshots there are, or again as many as it asked for.
    fn on_pace(&mut self, link: LinkId, slowed: bool) {
        match self.links.routes.get(&link).map(|route| route.to) {
            Some(Destination::Seat(entity, seat)) => {
                let Ok((mut crew, ..)) = self.places.matches.get_mut(entity) else { return };
                let held = crew.seat_mut(seat).and_then(|seat| seat.link.as_mut()).filter(|held| held.id == link);
                held.into_iter().for_each(|held| held.slowed = slowed);
            }
            Some(Destination::Watchers(entity)) => {
                self.places.watched.get_mut(entity).into_iter().for_each(|mut watchers| watchers.on_pace(link, slowed));
            }
            None => {}
        }
    }

    /// A ticket is spent: the link takes the place that was promised.
    fn on_connected(&mut self, link: LinkId) {
        let Some(promise) = self.links.promised.remove(&link) else { return self.unknown.push(link) };
        let greeting = match promise.to {
            Destination::Seat(entity, seat) => self.take_seat(link, (entity, seat), &promise),
            Destination::Watchers(entity) => {
                let watchers = self.places.watched.get_mut(entity).ok();
                watchers.map(|mut watchers| watchers.on_connected(link, self.transport, self.now))
            }
        };
        let Some(greeting) = greeting else { return self.unknown.push(link) };
        self.renet.add_connection(link.0);
        let route = Route {
            to: promise.to,
            transport: self.transport,
            progress: RenetProgress::default(),
            bad_datagrams: 0,
            poll_now: false,
            poll_at: None,
        };
        self.links.add(link, route);
        self.connected.push(link);
        greeting.iter().for_each(|message| self.links.tell(self.renet, link, message));
        self.links.tell_of_shutdown(self.renet, link, self.now);
    }

    /// The link takes its seat, and the seat's older link ends; `None` when the seat is not the player's any more.
    fn take_seat(&mut self, link: LinkId, (entity, seat): (Entity, Seat), promise: &Promise) -> Option<Vec<ToClient>> {
        let (mut crew, hosted, ..) = self.places.matches.get_mut(entity).ok()?;
        let seats = crew.seats.len() as u8;
        let owner = promise.owner.as_ref()?;
        let held = crew.seat_mut(seat).filter(|held| held.belongs_to(owner))?;
        if held.seen.is_some() {
            self.counters.rejoined(self.transport);
        }
        if let Some(old) = held.attach(SeatLink::new(link, self.transport), self.now) {
            self.links.close(old.id, CloseReason::Replaced);
        }
        crew.roster_changed = true;
        let (match_id, rules_hash) = (hosted.order.match_id, hosted.order.ruleset.hash());
        let welcome = ToClient::Welcome { match_id, place: Place::Seat(seat.0), seats, rules_hash };
        Some(std::iter::once(welcome).chain(hosted.result.clone()).collect())
    }

    fn on_hot(&mut self, link: LinkId, payload: &[u8]) {
        match self.links.routes.get(&link).map(|route| route.to) {
            Some(Destination::Seat(entity, seat)) => self.on_input(link, (entity, seat), payload),
            Some(Destination::Watchers(entity)) => self.on_acknowledgement(link, entity, payload),
            None => self.counters.drop_one("no_link"),
        }
    }

    /// A hot datagram that no honest client sends.
    fn on_bad_datagram(&mut self, link: LinkId, what: &'static str) {
        self.counters.drop_one(what);
        let Some(route) = self.links.routes.get_mut(&link) else { return };
        route.bad_datagrams += 1;
        if route.bad_datagrams == BAD_DATAGRAMS_MAX {
            self.links.close(link, CloseReason::Misbehaved);
        }
    }

    /// Hot, from a spectator: which snapshot he has.
    fn on_acknowledgement(&mut self, link: LinkId, entity: Entity, payload: &[u8]) {
        let Ok(mut watchers) = self.places.watched.get_mut(entity) else { return };
        match watchers.handle_hot(link, payload, self.now) {
            Ok(()) => {}
            Err(HotRefused::NotReady) => self.counters.drop_one("not_ready"),
            Err(HotRefused::Malformed) => self.on_bad_datagram(link, "acknowledgement"),
            Err(HotRefused::Input) => {
                self.counters.drop_one("spectators_input");
                self.links.close(link, CloseReason::Misbehaved);
            }
        }
    }

    /// Hot, from a player: inputs for the seat's queue.
    fn on_input(&mut self, link: LinkId, (entity, seat): (Entity, Seat), payload: &[u8]) {
        let Ok((mut crew, _, state, ring)) = self.places.matches.get_mut(entity) else { return };
        let Some(seat) = crew.seat_mut(seat) else { return };
        let Some(held) = seat.link.as_mut().filter(|held| held.id == link) else { return };
        if !held.ready {
            return self.counters.drop_one("not_ready");
        }
        let datagram = match InputDatagram::decode(payload) {
            Ok(datagram) if datagram.acknowledged <= held.sent => datagram,
            _ => return self.on_bad_datagram(link, "input"),
        };
        // Zero says "I have nothing usable": the next snapshot must be absolute.
        held.acknowledged = match datagram.acknowledged {
            Tick(0) => Tick(0),
            acknowledged => {
                if acknowledged > held.acknowledged {
                    // The tick that begins now is the one it has reached.
                    self.counters.round_trip(state.round.tick.plus(1).since(acknowledged));
                }
                held.acknowledged.max(acknowledged)
            }
        };
        seat.heard = self.now;
        if datagram.acknowledged != Tick(0) {
            seat.seen = seat.seen.max(Some(datagram.acknowledged));
            if let Some(since) = held.missed_since.take() {
                self.links.tell(self.renet, link, &ring.missed(since, datagram.acknowledged));
            }
        }
        if seat.queue.accept(&datagram, state.round.tick.plus(1)) > 0 {
            self.counters.drop_one("input_ahead");
        }
    }

    /// Control: through the filter into renet, and its messages out again.
    fn on_control(&mut self, link: LinkId, payload: &[u8]) {
        let Some(route) = self.links.routes.get_mut(&link) else { return self.counters.drop_one("no_link") };
        if let Err(refused) = check_renet(payload, &mut route.progress, CLIENT_MESSAGE_BYTES_MAX) {
            self.counters.drop_one(refused.name());
            return self.links.close(link, CloseReason::Misbehaved);
        }
        // Type 0 carries messages; type 4 is a bare acknowledgement and must not be answered.
        route.poll_now |= payload.first() == Some(&0);
        if self.renet.process_packet_from(payload, link.0).is_err() {
            return self.counters.drop_one("no_link");
        }
        while let Some(message) = self.renet.receive_message(link.0, CONTROL_CHANNEL) {
            if let Some(route) = self.links.routes.get_mut(&link) {
                route.progress.messages_received += 1;
            }
            match ToServer::decode(&message) {
                Ok(message) => self.on_message(link, message),
                Err(_) => {
                    self.counters.drop_one("message");
                    self.links.close(link, CloseReason::Misbehaved);
                }
            }
        }
    }

    fn on_message(&mut self, link: LinkId, message: ToServer) {
        let Some(to) = self.links.routes.get(&link).map(|route| route.to) else { return };
        if let ToServer::Ready { fingerprint, .. } = message
            && fingerprint != self.links.fingerprint
        {
            return self.links.close(link, CloseReason::Outdated);
        }
        match to {
            Destination::Seat(entity, seat) => self.on_player_message(link, (entity, seat), message),
            Destination::Watchers(entity) => self.on_spectator_message(link, entity, message),
        }
    }

    fn on_player_message(&mut self, link: LinkId, (entity, seat): (Entity, Seat), message: ToServer) {
        let Ok((mut crew, hosted, ..)) = self.places.matches.get_mut(entity) else { return };
        let filling = hosted.stage == Stage::Filling;
        let seat = crew.seat_mut(seat);
        // A link that was replaced in this very tick no longer speaks for the seat.
        let Some(seat) = seat.filter(|seat| seat.link.as_ref().is_some_and(|held| held.id == link)) else { return };
        seat.heard = self.now;
        match message {
            ToServer::Ready { snapshots_per_s, .. } => {
                if let Some(held) = seat.link.as_mut() {
                    held.ready = true;
                    held.snapshot_every_ticks = match snapshots_per_s {
                        60 => 1,
                        15 => SNAPSHOT_EVERY_TICKS_MAX,
                        _ => 2,
                    };
                }
            }
            ToServer::Leave => {
                seat.give_up(filling);
                crew.roster_changed = true;
                self.links.close(link, CloseReason::Left);
            }
        }
    }

    fn on_spectator_message(&mut self, link: LinkId, entity: Entity, message: ToServer) {
        let Ok(mut watchers) = self.places.watched.get_mut(entity) else { return };
        match message {
            ToServer::Ready { snapshots_per_s, .. } => watchers.on_ready(link, snapshots_per_s, self.now),
            ToServer::Leave => self.links.close(link, CloseReason::Left),
        }
    }
}

/// Ends the links that were asked to end, each with its reason, and frees promises nobody used.
pub(super) fn close_links(
    now: Res<Now>,
    mut links: ResMut<Links>,
    mut renet: ResMut<RenetServer>,
    mut transports: ResMut<Transports>,
    mut counters: ResMut<Counters>,
    mut places: Places<'_, '_>,
) {
    for (link, reason) in std::mem::take(&mut links.closing) {
        links.tell(&mut renet, link, &ToClient::Closing { reason });
        let Some(route) = links.remove(link) else { continue };
        counters.closed(reason.name());
        send_control(&mut renet, &mut transports, link, route.transport, GOODBYES);
        renet.remove_connection(link.0);
        if let Some(transport) = transports.0.get_mut(route.transport) {
            transport.disconnect(link, reason);
        }
        places.remove(link, route.to);
        tracing::debug!(link = link.0, reason = reason.name(), "link closed");
    }
    if now.0.saturating_sub(links.ticket_sweep) >= Duration::from_secs(1) {
        links.ticket_sweep = now.0;
        let expired = links.promised.extract_if(|_, promise| now.0 >= promise.until);
        expired.for_each(|(link, _)| transports.release(link));
    }
    debug_assert!(links.add_up(&transports), "a transport keeps a place for nobody");
}
