//! Spectators: links without a seat, and what they are sent of a match some time after it was.
//!
//! In: a match's rows, events, roster and result; spectators' acknowledgements. Out: snapshots and control messages,
//! each as late as the match's order says.
//! *Invariant:* nothing younger than the delay leaves: no state, event, roster or result, and not the end of the match
//! either. Only a match that is ended without a result, and a server that stops, tell their spectators at once.
//! *Invariant:* a match nobody has asked to watch records nothing. Recording begins with the first ticket, so the
//! first spectator waits for his first picture as long as the delay.
//! *Invariant:* nothing in a match waits for its spectators or counts them: [`Watchers`] are an entity of their own,
//! which outlives the match by what is still to be shown.
//! *Invariant:* spectators are at most [`WatchLimits`], unused tickets included, whoever asks.
//! Start reading at [`Watchers`], then [`record`] and [`show`].

mod history;

use std::time::Duration;

use astro_shared::sim::fields::Audience;
use astro_shared::sim::round::Phase;
use astro_shared::sim::tables::{MatchParts, MatchRef};
use astro_shared::sim::units::{MatchId, TICKS_PER_SECOND, Tick};
use astro_shared::wire::KIND_INPUT;
use astro_shared::wire::acknowledge::Acknowledge;
use astro_shared::wire::message::{CloseReason, Place, ToClient};
use astro_shared::wire::snapshot::{self, Baseline, Decoded, Rows};
use bevy_ecs::prelude::*;
use bevy_renet::RenetServer;
use rand::Rng;

use super::crew::{CLAIM_TTL, CLOSE_LINK_AFTER, Crew};
use super::link::{Destination, Links, Promise, SNAPSHOT_EVERY_TICKS_MAX, SeatLink};
use super::matches::{AFTERGLOW, Chance, Hosted, Matches, Stage};
use super::placement::ShardLimits;
use super::record::result_message;
use super::replicate::Bodies;
use super::shard::{Counters, Now, Transports};
use crate::hosts::{Hold, HostError};
use crate::transport::LinkId;
use history::{History, RECORD_EVERY_TICKS};

/// The longest delay. What has not been shown yet is kept in memory, some 5 KiB for each second of a match of four.
pub const DELAY_MAX: Duration = Duration::from_secs(120);
/// A match that nobody watches any more is recorded for this long, for those who come back.
const IDLE_AFTER: Duration = Duration::from_secs(15);
/// How long spectators may look at a result before their links are closed.
const AFTERGLOW_TICKS: u32 = AFTERGLOW.as_secs() as u32 * TICKS_PER_SECOND;

/// How many may watch.
#[derive(Resource, Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchLimits {
    /// Of one match.
    pub per_match: usize,
    /// On one shard. These places are kept from players, and players' places from spectators.
    pub per_shard: usize,
}

impl WatchLimits {
    /// Limits for a shard with so many places for links: spectators get those that no seat can need, and a quarter at
    /// most.
    pub fn new(limits: &ShardLimits, places: usize) -> WatchLimits {
        let per_shard = places.saturating_sub(limits.seats_per_shard).min(places / 4);
        WatchLimits { per_match: limits.spectators_per_match, per_shard }
    }
}

/// A spectator's place, promised to whoever shows the ticket.
#[derive(Clone, Debug)]
pub struct WatchReservation {
    pub link: LinkId,
    /// What a connect token must name.
    pub address: std::net::SocketAddr,
    pub delay: Duration,
}

/// One spectator.
#[derive(Debug)]
pub struct Watcher {
    pub link: SeatLink,
    pub heard: Duration,
}

/// The spectators of one match, and the past that they are shown.
#[derive(Component, Debug)]
pub struct Watchers {
    /// The match, while it runs.
    of: Option<Entity>,
    match_id: MatchId,
    rules_hash: u64,
    seats: u8,
    stagger: u32,
    /// Newest tick of the match; goes on after its end, so that what was recorded becomes due.
    clock: Tick,
    history: History,
    pub links: Vec<Watcher>,
    /// As told last, for those who come later.
    roster: Option<ToClient>,
    result: Option<ToClient>,
    /// Somebody watched or held a ticket.
    wanted: Duration,
    /// When spectators have seen everything: a tick of `clock`.
    over_at: Option<Tick>,
}

/// Why a spectator's hot datagram is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HotRefused {
    NotReady,
    /// Does not decode, or acknowledges what was never sent.
    Malformed,
    /// Wants to fly.
    Input,
}

impl Watchers {
    fn new(of: Entity, hosted: &Hosted, clock: Tick) -> Watchers {
        let delay = hosted.order.spectate_delay.min(DELAY_MAX);
        let delay_ticks = (delay.as_millis() as u64 * u64::from(TICKS_PER_SECOND)).div_ceil(1000) as u32;
        Watchers {
            of: Some(of),
            match_id: hosted.order.match_id,
            rules_hash: hosted.order.ruleset.hash(),
            seats: hosted.order.seats,
            stagger: hosted.stagger,
            clock,
            history: History::new(delay_ticks),
            links: Vec::new(),
            roster: None,
            result: None,
            wanted: Duration::ZERO,
            over_at: None,
        }
    }

    /// A ticket is spent: the link becomes a spectator. He is told at once what the others have been told.
    pub(super) fn on_connected(&mut self, link: LinkId, transport: usize, now: Duration) -> Vec<ToClient> {
        let link = SeatLink { snapshot_every_ticks: SNAPSHOT_EVERY_TICKS_MAX, ..SeatLink::new(link, transport) };
        self.links.push(Watcher { link, heard: now });
        let place = Place::Spectator { delay_ticks: self.history.delay_ticks() };
        let Watchers { match_id, rules_hash, seats, .. } = *self;
        let welcome = ToClient::Welcome { match_id, place, seats, rules_hash };
        [Some(welcome), self.roster.clone(), self.result.clone()].into_iter().flatten().collect()
    }

    /// Notes what spectators have been told.
    fn on_told(&mut self, notice: ToClient) {
        match notice {
            ToClient::Roster { .. } => self.roster = Some(notice),
            _ => self.result = Some(notice),
        }
    }

    fn watcher_mut(&mut self, link: LinkId) -> Option<&mut Watcher> {
        self.links.iter_mut().find(|watcher| watcher.link.id == link)
    }

    /// An acknowledgement, the only hot datagram that a spectator sends.
    pub(super) fn handle_hot(&mut self, link: LinkId, payload: &[u8], now: Duration) -> Result<(), HotRefused> {
        let Some(watcher) = self.watcher_mut(link) else { return Ok(()) };
        if !watcher.link.ready {
            return Err(HotRefused::NotReady);
        }
        if payload.first() == Some(&KIND_INPUT) {
            return Err(HotRefused::Input);
        }
        let Acknowledge(tick) = Acknowledge::decode(payload).map_err(|_| HotRefused::Malformed)?;
        if tick > watcher.link.sent {
            return Err(HotRefused::Malformed);
        }
        watcher.heard = now;
        // Zero says "I have nothing usable": the next snapshot must be absolute.
        watcher.link.acknowledged = if tick == Tick(0) { tick } else { watcher.link.acknowledged.max(tick) };
        Ok(())
    }

    /// The spectator has the rules. Asked for 30 snapshots a second or more he gets 30, else 15.
    pub(super) fn on_ready(&mut self, link: LinkId, snapshots_per_s: u8, now: Duration) {
        if let Some(watcher) = self.watcher_mut(link) {
            watcher.heard = now;
            watcher.link.ready = true;
            watcher.link.snapshot_every_ticks =
                if snapshots_per_s >= 30 { RECORD_EVERY_TICKS } else { SNAPSHOT_EVERY_TICKS_MAX };
        }
    }

    /// The link cannot keep up with what it is sent, or can again.
    pub(super) fn on_pace(&mut self, link: LinkId, slowed: bool) {
        self.watcher_mut(link).into_iter().for_each(|watcher| watcher.link.slowed = slowed);
    }

    pub(super) fn remove(&mut self, link: LinkId) {
        self.links.retain(|watcher| watcher.link.id != link);
    }

    /// Bytes of memory that the past takes.
    pub fn memory_bytes(&self) -> usize {
        self.history.memory_bytes()
    }

    /// Keeps the tick that the match has just played.
    fn record(&mut self, hosted: &Hosted, crew: &Crew, state: &MatchRef<'_>) {
        self.clock = state.round.tick;
        self.history.record(state, self.stagger);
        if crew.roster_changed {
            self.history.record_roster(self.clock, crew.roster());
        }
        // Matches that are stored have their result told when it is safe; demo matches are not.
        if hosted.order.demo && state.round.phase == Phase::MatchOver {
            self.history.record_result(self.clock, result_message(state));
        }
    }

    /// The match is gone; its spectators see the rest of it, then the result.
    fn on_match_over(&mut self) {
        self.of = None;
        let told = self.history.result_at().map_or(self.clock, |at| at.plus(AFTERGLOW_TICKS).max(self.clock));
        self.over_at = Some(told.plus(self.history.delay_ticks()));
    }
}

/// Reserves a spectator's place in a match that runs.
pub(super) fn claim(world: &mut World, match_id: MatchId, hold: Hold) -> Result<WatchReservation, HostError> {
    let now = world.resource::<Now>().0;
    let limits = *world.resource::<WatchLimits>();
    let matches = world.resource::<Matches>();
    if matches.is_draining() {
        return Err(HostError::Draining);
    }
    let of = matches.entity(match_id)?;
    let hosted = world.get::<Hosted>(of).ok_or(HostError::NoSuchMatch)?;
    if matches!(hosted.stage, Stage::Recording | Stage::Over { .. }) {
        return Err(HostError::NoSuchMatch);
    }
    let known = hosted.watchers;
    let (spectators, on_shard) = count(world, known);
    if spectators >= limits.per_match {
        return Err(HostError::SpectatorsFull);
    }
    if on_shard >= limits.per_shard {
        return Err(HostError::Full);
    }
    let vacancies = world.resource::<Transports>().vacancies().ok_or(HostError::Full)?;
    let address = vacancies.iter().find_map(|vacancy| vacancy.address).ok_or(HostError::Full)?;
    let entity = known.map_or_else(|| begin(world, of), Ok)?;
    let mut watchers = world.get_mut::<Watchers>(entity).ok_or(HostError::NoSuchMatch)?;
    watchers.wanted = now + CLAIM_TTL;
    let delay = Duration::from_secs(1) * watchers.history.delay_ticks() / TICKS_PER_SECOND;
    let link = LinkId(world.resource_mut::<Chance>().0.random());
    let to = Destination::Watchers(entity);
    world.resource_mut::<Links>().promise(link, Promise { to, owner: None, until: now + CLAIM_TTL, _hold: hold });
    world.resource_mut::<Transports>().reserve(&vacancies, link);
    Ok(WatchReservation { link, address, delay })
}

/// Spectators of one match and of the whole shard, unused tickets included.
fn count(world: &mut World, watchers: Option<Entity>) -> (usize, usize) {
    let linked: usize = world.query::<&Watchers>().iter(world).map(|watchers| watchers.links.len()).sum();
    let here = watchers.and_then(|entity| world.get::<Watchers>(entity)).map_or(0, |watchers| watchers.links.len());
    let links = world.resource::<Links>();
    (here + links.promised_to_watch(watchers), linked + links.promised_to_watch(None))
}

/// Begins to record a match.
fn begin(world: &mut World, of: Entity) -> Result<Entity, HostError> {
    let parts =
        world.get_entity(of).ok().and_then(|entity| entity.get_components::<(&Hosted, &Crew, MatchParts)>().ok());
    let (hosted, crew, parts) = parts.ok_or(HostError::NoSuchMatch)?;
    let tick = MatchRef::from(parts).round.tick;
    let mut watchers = Watchers::new(of, hosted, tick);
    // As it is now, so as of the tick that comes: the last one may have been played by others.
    watchers.history.record_roster(tick.plus(1), crew.roster());
    let entity = world.spawn(watchers).id();
    if let Some(mut hosted) = world.get_mut::<Hosted>(of) {
        hosted.watchers = Some(entity);
    }
    Ok(entity)
}

/// The result is known now.
pub(super) fn on_result(world: &mut World, watchers: Option<Entity>, result: ToClient) {
    if let Some(mut watchers) = watchers.and_then(|entity| world.get_mut::<Watchers>(entity)) {
        let next = watchers.clock.plus(1);
        watchers.history.record_result(next, result);
    }
}

/// The match leaves its world: after its end its spectators go on by themselves, else they are told why and closed.
pub(super) fn on_match_closed(world: &mut World, watchers: Option<Entity>, reason: CloseReason) {
    let Some(entity) = watchers else { return };
    if reason == CloseReason::MatchOver {
        world.get_mut::<Watchers>(entity).into_iter().for_each(|mut watchers| watchers.on_match_over());
    } else {
        end(world, entity, reason);
    }
}

/// Ends all watching on this shard.
pub(super) fn end_all(world: &mut World, reason: CloseReason) {
    let all: Vec<Entity> = world.query_filtered::<Entity, With<Watchers>>().iter(world).collect();
    all.into_iter().for_each(|entity| end(world, entity, reason));
}

fn end(world: &mut World, entity: Entity, reason: CloseReason) {
    let Some(watchers) = world.get::<Watchers>(entity) else { return };
    let (of, links): (_, Vec<LinkId>) = (watchers.of, watchers.links.iter().map(|watcher| watcher.link.id).collect());
    let mut closing = world.resource_mut::<Links>();
    links.into_iter().for_each(|link| closing.close(link, reason));
    if let Some(mut hosted) = of.and_then(|of| world.get_mut::<Hosted>(of)) {
        (hosted.watchers, hosted.spectators) = (None, 0);
    }
    world.despawn(entity);
}

/// Closes spectators who fell silent, and ends what is over or what nobody wants to see.
pub(super) fn advance(world: &mut World, query: &mut QueryState<(Entity, &mut Watchers)>) {
    let now = world.resource::<Now>().0;
    let (mut silent, mut over, mut counts) = (Vec::new(), Vec::new(), Vec::new());
    for (entity, mut watchers) in query.iter_mut(world) {
        let gone = watchers.links.iter().filter(|w| now.saturating_sub(w.heard) >= CLOSE_LINK_AFTER);
        silent.extend(gone.map(|watcher| watcher.link.id));
        if !watchers.links.is_empty() {
            watchers.wanted = watchers.wanted.max(now);
        }
        counts.extend(watchers.of.map(|of| (of, watchers.links.len() as u8)));
        let idle = now.saturating_sub(watchers.wanted) >= IDLE_AFTER;
        if idle || watchers.over_at.is_some_and(|at| watchers.clock >= at) {
            over.push(entity);
        }
    }
    for (of, spectators) in counts {
        world.get_mut::<Hosted>(of).into_iter().for_each(|mut hosted| hosted.spectators = spectators);
    }
    let mut links = world.resource_mut::<Links>();
    silent.into_iter().for_each(|link| links.close(link, CloseReason::Silent));
    over.into_iter().for_each(|entity| end(world, entity, CloseReason::MatchOver));
}

/// Keeps the newest tick of every match that is watched.
pub(super) fn record(mut watched: Query<&mut Watchers>, matches: Query<(&Hosted, &Crew, MatchParts)>) {
    for mut watchers in &mut watched {
        match watchers.of.and_then(|of| matches.get(of).ok()) {
            Some((hosted, crew, parts)) => watchers.record(hosted, crew, &MatchRef::from(parts)),
            None => watchers.clock = watchers.clock.plus(1),
        }
    }
}

/// Sends every spectator whose turn it is the picture that is due.
pub(super) fn show(
    mut transports: ResMut<Transports>,
    mut counters: ResMut<Counters>,
    mut watched: Query<&mut Watchers>,
    (mut picture, mut datagram, mut bodies): (Local<Vec<u8>>, Local<Vec<u8>>, Local<Bodies>),
) {
    for mut watchers in &mut watched {
        let Watchers { history, links, clock, stagger, .. } = &mut *watchers;
        let Some(shown) = history.shown(*clock) else { continue };
        if !history.take_picture(shown, &mut picture) {
            continue;
        }
        let phase = shown.0.wrapping_add(*stagger);
        let due = |watcher: &&mut Watcher| watcher.link.ready && phase.is_multiple_of(watcher.link.every_ticks());
        let mut decoded: Option<Decoded> = None;
        bodies.clear();
        for Watcher { link, .. } in links.iter_mut().filter(due) {
            datagram.clear();
            match history.events.baseline(link.acknowledged, shown) {
                Baseline::Absolute => datagram.extend_from_slice(&picture),
                baseline => {
                    decoded = decoded.or_else(|| snapshot::decode(&picture, Audience::Public).ok());
                    let Some(decoded) = &decoded else { continue };
                    let hash_long = link.take_long_hash(shown);
                    snapshot::encode_public_head(decoded.head.view_hash, hash_long, &mut datagram);
                    datagram.extend_from_slice(bodies.get(baseline, Rows::from(decoded), &history.events));
                }
            }
            link.sent = shown;
            counters.snapshot(datagram.len());
            if let Some(transport) = transports.0.get_mut(link.transport) {
                transport.send(link.id, &datagram);
            }
        }
    }
}

/// Tells spectators the rosters and the result that are due.
pub(super) fn tell(mut links: ResMut<Links>, mut renet: ResMut<RenetServer>, mut watched: Query<&mut Watchers>) {
    for mut watchers in &mut watched {
        let Some(shown) = watchers.history.shown(watchers.clock) else { continue };
        while let Some(notice) = watchers.history.take_notice(shown) {
            watchers.links.iter().for_each(|watcher| links.tell(&mut renet, watcher.link.id, &notice));
            watchers.on_told(notice);
        }
    }
}

#[cfg(test)]
mod tests;
