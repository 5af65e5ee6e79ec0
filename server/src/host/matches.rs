//! The matches of a shard: opening, claims, start, end, and what each seat flies.
//!
//! In: commands from the service side, time, queued inputs. Out: sim inputs; matches that end.
//! *Invariant:* a match leaves its world in one place ([`close`]), with its links, its directory entry and its counts.
//! *Invariant:* demo matches are flown by pilots alone, are neither recorded nor stored, and end at once on a drain.
//! Start reading at [`Command`], then [`advance`].

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use astro_shared::replay::Recorder;
use astro_shared::sim::fields::Audience;
use astro_shared::sim::pilot::{self, Skill};
use astro_shared::sim::round::Phase;
use astro_shared::sim::state::{Inputs, Round, State};
use astro_shared::sim::tables::{MatchParts, MatchRef};
use astro_shared::sim::units::{MatchId, Seat};
use astro_shared::sim::{self, MatchKey};
use astro_shared::wire::message::{CloseReason, ToClient};
use bevy_ecs::prelude::*;
use bevy_renet::RenetServer;
use rand::Rng;
use rand::rngs::StdRng;
use tokio::sync::oneshot;

use super::capsule::BlackBox;
use super::crew::{CLAIM_TTL, Crew, Occupant, Presence};
use super::link::{Destination, Links, Promise};
use super::placement::MatchPlace;
use super::record::{Recording, hand_over_void, result_message};
use super::replicate::EventRing;
use super::report;
use super::shard::{Counters, Now, ShardStatus, Transports};
use super::watch::{self, WatchReservation};
use crate::directory::{Directory, MatchCard, Standing};
use crate::hosts::{Claim, Hold, HostError, MatchOrder, MatchReport, SeatSecret, VOID_SHUTDOWN};
use crate::telemetry::{MatchCounts, MatchState};
use crate::transport::LinkId;

/// Matches of one shard at most.
pub const MATCHES_MAX: usize = 4096;
/// A match nobody has claimed a seat of, or that all have left, is closed after this long; one to which nobody came
/// before the claims were over, at once.
const UNCLAIMED_TTL: Duration = Duration::from_secs(20);
/// How long players may look at a finished match before their links are closed.
pub(super) const AFTERGLOW: Duration = Duration::from_secs(3);
/// How well pilots fly on a host: a player who has found the keys should win.
const PILOT_SKILL: Skill = Skill::Regular;
/// Pause between two demo matches.
const DEMO_PAUSE: Duration = Duration::from_secs(3);

/// What the service side may ask of a shard. Every command with an answer gets one.
pub enum Command {
    Open {
        order: MatchOrder,
        place: MatchPlace,
        reply: oneshot::Sender<Result<(), HostError>>,
    },
    Claim {
        match_id: MatchId,
        claim: Claim,
        hold: Hold,
        reply: oneshot::Sender<Result<Reservation, HostError>>,
    },
    Watch {
        match_id: MatchId,
        hold: Hold,
        reply: oneshot::Sender<Result<WatchReservation, HostError>>,
    },
    Void {
        match_id: MatchId,
        reason: String,
        reply: oneshot::Sender<Result<(), HostError>>,
    },
    /// The record of this match is durable; players may see the result.
    Recorded {
        match_id: MatchId,
    },
    /// The oldest running matches, for operators.
    List {
        limit: usize,
        reply: oneshot::Sender<Result<Vec<MatchReport>, HostError>>,
    },
    /// No new matches; demos and matches that have not begun end now, players are told how long the others may go on.
    Drain {
        until: Duration,
    },
    /// Everything ends now, without results but for those on their way to the disk.
    VoidAll,
    /// Runs between two ticks with the shard's World in hand.
    Inspect(Box<dyn FnOnce(&mut World) + Send>),
}

/// A seat promised to whoever shows the ticket.
#[derive(Clone, Debug)]
pub struct Reservation {
    pub seat: Seat,
    pub secret: SeatSecret,
    pub link: LinkId,
    /// What a connect token must name.
    pub address: std::net::SocketAddr,
    pub seats_free: u8,
}

/// Where a hosted match is in its life, beyond what the sim knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Seats may be claimed.
    Filling,
    Playing,
    /// The sim is over; the record is on its way to disk.
    Recording,
    /// All is told; links close at this time.
    Over {
        close_at: Duration,
    },
}

/// The host's side of a match.
#[derive(Component, Debug)]
pub struct Hosted {
    pub order: MatchOrder,
    pub stage: Stage,
    pub opened: Duration,
    /// When pilots take the free seats; set by the first claim.
    fill_at: Option<Duration>,
    /// A player has come before the start, whether he stayed or not.
    came: bool,
    /// Tells the sim to start at its next tick.
    start: bool,
    /// Time of the first countdown.
    pub started: Duration,
    /// Spreads snapshots of different matches over ticks.
    pub stagger: u32,
    /// What players were told at the end, for those who connect after it.
    pub result: Option<ToClient>,
    /// Its spectators, an entity of their own; `None` while nobody watches.
    pub watchers: Option<Entity>,
    /// Spectators there are, for the list of running matches.
    pub spectators: u8,
    /// As last told to the directory.
    standing: Option<Standing>,
}

impl Hosted {
    /// The host's side of a match that was opened at `now`.
    fn new(order: MatchOrder, now: Duration, stagger: u32) -> Hosted {
        Hosted {
            fill_at: order.demo.then_some(now),
            came: false,
            order,
            stage: Stage::Filling,
            opened: now,
            start: false,
            started: now,
            stagger,
            result: None,
            watchers: None,
            spectators: 0,
            standing: None,
        }
    }

    /// How the match stands, for the list of those that may be watched.
    fn standing(&self, crew: &Crew) -> Option<Standing> {
        let (players, spectators) = (crew.players() as u8, self.spectators);
        let listed = self.order.listed && self.stage == Stage::Playing;
        listed.then_some(Standing { players, spectators, started_ms: self.started.as_millis() as u64 })
    }

    /// What operators are told it is at.
    pub fn state(&self) -> MatchState {
        match self.stage {
            _ if self.order.demo => MatchState::Demo,
            Stage::Filling => MatchState::Filling,
            Stage::Playing => MatchState::Playing,
            Stage::Recording | Stage::Over { .. } => MatchState::Finishing,
        }
    }

    /// Whether there is a result, on disk or on its way there.
    fn has_result(&self) -> bool {
        !self.order.demo && matches!(self.stage, Stage::Recording | Stage::Over { .. })
    }
}

/// Where seeds, secrets and link ids come from: seeded by the system, or by a test that wants the same run again.
#[derive(Resource)]
pub struct Chance(pub StdRng);

/// Matches of this shard by name, and what their upkeep needs.
#[derive(Resource)]
pub struct Matches {
    by_id: HashMap<MatchId, Running>,
    pub directory: Arc<Directory>,
    pub status: Arc<ShardStatus>,
    pub index: usize,
    opened_ever: u32,
    /// As of this tick's beginning.
    pub counts: MatchCounts,
}

struct Running {
    entity: Entity,
    _place: MatchPlace,
}

impl Matches {
    pub(super) fn entity(&self, match_id: MatchId) -> Result<Entity, HostError> {
        self.by_id.get(&match_id).map(|running| running.entity).ok_or(HostError::NoSuchMatch)
    }

    pub fn new(index: usize, directory: Arc<Directory>, status: Arc<ShardStatus>) -> Matches {
        let counts = MatchCounts::default();
        Matches { by_id: HashMap::new(), directory, status, index, opened_ever: 0, counts }
    }

    pub fn count(&self) -> usize {
        self.by_id.len()
    }

    pub fn is_draining(&self) -> bool {
        self.status.is_draining()
    }
}

impl Drop for Matches {
    /// A shard that dies takes its matches with it; nobody may be sent there any more.
    fn drop(&mut self) {
        self.by_id.keys().for_each(|match_id| self.directory.remove(*match_id));
        self.status.players.store(0, Ordering::Relaxed);
    }
}

/// Carries out one command.
pub fn handle_command(world: &mut World, command: Command) {
    // A caller that has gone away is no reason to undo anything: seats free themselves, matches close themselves.
    match command {
        // Whoever ordered it has stopped waiting: nobody would ever come.
        Command::Open { reply, .. } if reply.is_closed() => {}
        Command::Open { order, place, reply } => _ = reply.send(open(world, order, place)),
        Command::Claim { match_id, claim, hold, reply } => _ = reply.send(self::claim(world, match_id, claim, hold)),
        Command::Watch { match_id, hold, reply } => _ = reply.send(watch::claim(world, match_id, hold)),
        Command::Void { match_id, reason, reply } => _ = reply.send(void(world, match_id, &reason)),
        Command::Recorded { match_id } => publish_result(world, match_id),
        Command::List { limit, reply } => _ = reply.send(Ok(report::oldest(world, limit))),
        Command::Drain { until } => drain(world, until),
        Command::Inspect(look) => look(world),
        Command::VoidAll => void_all(world),
    }
}

fn open(world: &mut World, order: MatchOrder, place: MatchPlace) -> Result<(), HostError> {
    let now = world.resource::<Now>().0;
    // A match that no player could be given a ticket for would only lie about.
    let reachable = world.resource::<Transports>().vacancies().is_some();
    if !reachable && !order.demo {
        return Err(HostError::Full);
    }
    let mut matches = world.resource_mut::<Matches>();
    if matches.is_draining() {
        return Err(HostError::Draining);
    }
    if matches.by_id.len() >= MATCHES_MAX {
        return Err(HostError::Full);
    }
    matches.opened_ever = matches.opened_ever.wrapping_add(1);
    let (stagger, match_id, seats, demo) = (matches.opened_ever, order.match_id, order.seats, order.demo);
    let seed = world.resource_mut::<Chance>().0.random();
    let key = sim::open(world, seed, seats, order.ruleset.clone());
    let mut crew = Crew::new(seats);
    if demo {
        crew.fill_with_pilots();
    }
    let card = MatchCard::of(&order);
    let hosted = Hosted::new(order, now, stagger);
    let mut entity = world.entity_mut(key.entity());
    entity.insert((hosted, crew, EventRing::default(), BlackBox::default()));
    if !demo {
        entity.insert(Recording(Recorder::new(seats)));
    }
    let mut matches = world.resource_mut::<Matches>();
    matches.by_id.insert(match_id, Running { entity: key.entity(), _place: place });
    matches.directory.insert(match_id, matches.index, card);
    Ok(())
}

fn claim(world: &mut World, match_id: MatchId, claim: Claim, hold: Hold) -> Result<Reservation, HostError> {
    let now = world.resource::<Now>().0;
    let matches = world.resource::<Matches>();
    let joins = matches!(claim, Claim::Join { .. });
    if matches.is_draining() && joins {
        return Err(HostError::Draining);
    }
    let entity = matches.entity(match_id)?;
    let vacancies = world.resource::<Transports>().vacancies().ok_or(HostError::Full)?;
    let address = vacancies.iter().find_map(|vacancy| vacancy.address).ok_or(HostError::Full)?;
    let chance = &mut world.resource_mut::<Chance>().0;
    let (link, fresh) = (LinkId(chance.random()), SeatSecret(chance.random()));

    let mut entity_mut = world.entity_mut(entity);
    let found = entity_mut.get_components_mut::<(&mut Hosted, &mut Crew)>();
    let (mut hosted, mut crew) = found.map_err(|_| HostError::NoSuchMatch)?;
    let (seat, secret) = match claim {
        Claim::Join { name } => {
            if hosted.stage != Stage::Filling || hosted.start {
                return Err(HostError::NoFreeSeat);
            }
            let seat = crew.join(&name, &fresh, now).ok_or(HostError::NoFreeSeat)?;
            let fill_at = now + hosted.order.fill_after;
            hosted.fill_at.get_or_insert(fill_at);
            (seat, fresh)
        }
        Claim::Return { secret } => (crew.seat_of(&secret).ok_or(HostError::SeatLost)?, secret),
    };
    let seats_free = crew.free_seats();
    let owner = Some(crew.seats[seat.index()].owner().ok_or(HostError::SeatLost)?);
    let to = Destination::Seat(entity, seat);
    let promise = Promise { to, owner, until: now + CLAIM_TTL, _hold: hold };
    let older = world.resource_mut::<Links>().promise(link, promise);
    let mut transports = world.resource_mut::<Transports>();
    if let Some(older) = older {
        transports.release(older);
    }
    transports.reserve(&vacancies, link);
    Ok(Reservation { seat, secret, link, address, seats_free })
}

/// Ends a match without a result. One that has its result, even if that is still on its way to the disk, keeps it.
fn void(world: &mut World, match_id: MatchId, reason: &str) -> Result<(), HostError> {
    let entity = world.resource::<Matches>().entity(match_id)?;
    if world.get::<Hosted>(entity).is_some_and(Hosted::has_result) {
        return Err(HostError::NoSuchMatch);
    }
    hand_over_void(world, entity, reason);
    let why = if world.resource::<Matches>().is_draining() { CloseReason::ShuttingDown } else { CloseReason::Voided };
    note_void(world, entity, why, reason);
    close(world, entity, why);
    Ok(())
}

/// Counts and logs that a match ends without a result. Demo matches have none anyway, and nobody misses one of a match
/// that nobody waited for.
pub(super) fn note_void(world: &mut World, entity: Entity, why: CloseReason, reason: &str) {
    let (Some(hosted), Some(crew)) = (world.get::<Hosted>(entity), world.get::<Crew>(entity)) else { return };
    if hosted.order.demo || hosted.has_result() || (hosted.stage == Stage::Filling && crew.players() == 0) {
        return;
    }
    let (match_id, players) = (hosted.order.match_id, crew.players());
    tracing::info!(%match_id, players, why = why.name(), reason, "match void");
    world.resource_mut::<Counters>().voided(why.name());
}

fn void_all(world: &mut World) {
    let ids: Vec<MatchId> = world.resource::<Matches>().by_id.keys().copied().collect();
    ids.into_iter().for_each(|id| _ = void(world, id, VOID_SHUTDOWN));
    // What is left has a result. Players who know it are sent home; the others are told when the disk answers.
    let mut query = world.query::<(Entity, &Hosted)>();
    let over = query.iter(world).filter(|(_, hosted)| matches!(hosted.stage, Stage::Over { .. }));
    let over: Vec<Entity> = over.map(|(entity, _)| entity).collect();
    over.into_iter().for_each(|entity| close(world, entity, CloseReason::MatchOver));
}

fn drain(world: &mut World, until: Duration) {
    world.resource::<Matches>().status.drain();
    // Nobody waits for those who only watch.
    watch::end_all(world, CloseReason::ShuttingDown);
    let mut query = world.query::<(Entity, &Hosted)>();
    let idle = query.iter(world).filter(|(_, hosted)| hosted.order.demo || hosted.stage == Stage::Filling);
    let idle: Vec<Entity> = idle.map(|(entity, _)| entity).collect();
    for entity in idle {
        note_void(world, entity, CloseReason::ShuttingDown, VOID_SHUTDOWN);
        close(world, entity, CloseReason::ShuttingDown);
    }
    let now = world.resource::<Now>().0;
    world.resource_scope(|world, mut links: Mut<'_, Links>| {
        links.announce_shutdown(&mut world.resource_mut::<RenetServer>(), until, now);
    });
}

/// The record is safe: now the players may know.
fn publish_result(world: &mut World, match_id: MatchId) {
    let now = world.resource::<Now>().0;
    let Ok(entity) = world.resource::<Matches>().entity(match_id) else { return };
    let Some(mut hosted) = world.get_mut::<Hosted>(entity) else { return };
    hosted.stage = Stage::Over { close_at: now + AFTERGLOW };
    let watchers = hosted.watchers;
    let Some(state) = sim::get(world, MatchKey::from(entity)) else { return };
    let message = result_message(&state);
    tell_all(world, entity, &message);
    if let Some(mut hosted) = world.get_mut::<Hosted>(entity) {
        hosted.result = Some(message.clone());
    }
    watch::on_result(world, watchers, message);
}

fn tell_all(world: &mut World, entity: Entity, message: &ToClient) {
    let Some(crew) = world.get::<Crew>(entity) else { return };
    let linked: Vec<LinkId> = crew.seats.iter().filter_map(|seat| Some(seat.link.as_ref()?.id)).collect();
    world.resource_scope(|world, mut links: Mut<'_, Links>| {
        let mut renet = world.resource_mut::<RenetServer>();
        linked.iter().for_each(|link| links.tell(&mut renet, *link, message));
    });
}

/// Removes a match and everything that points to it.
fn close(world: &mut World, entity: Entity, reason: CloseReason) {
    let linked: Vec<LinkId> = world
        .get::<Crew>(entity)
        .map(|crew| crew.seats.iter().filter_map(|seat| Some(seat.link.as_ref()?.id)).collect())
        .unwrap_or_default();
    let mut links = world.resource_mut::<Links>();
    linked.into_iter().for_each(|link| links.close(link, reason));
    let Some(hosted) = world.get::<Hosted>(entity) else { return };
    let (match_id, watchers) = (hosted.order.match_id, hosted.watchers);
    watch::on_match_closed(world, watchers, reason);
    let mut matches = world.resource_mut::<Matches>();
    matches.by_id.remove(&match_id);
    matches.directory.remove(match_id);
    sim::close(world, MatchKey::from(entity));
}

/// Moves every match along its life; runs before inputs are gathered.
pub(super) fn advance(world: &mut World, query: &mut QueryState<(Entity, &mut Hosted, &mut Crew, &State)>) {
    let now = world.resource::<Now>().0;
    let mut ending = Vec::new();
    let mut silent = Vec::new();
    let mut changed = Vec::new();
    let mut players = 0;
    let mut counts = MatchCounts::default();
    for (entity, mut hosted, mut crew, state) in query.iter_mut(world) {
        players += crew.players();
        counts.add(hosted.state());
        watch_silence(&mut crew, hosted.stage == Stage::Filling, now, &mut silent);
        if let Some(end) = next_stage(&mut hosted, &mut crew, &state.round, now) {
            ending.push((entity, end));
        }
        let standing = hosted.standing(&crew);
        if standing != hosted.standing {
            hosted.standing = standing;
            changed.push((hosted.order.match_id, standing));
        }
    }
    let mut matches = world.resource_mut::<Matches>();
    matches.counts = counts;
    matches.status.players.store(players, Ordering::Relaxed);
    changed.into_iter().for_each(|(match_id, standing)| matches.directory.note(match_id, standing));
    let mut links = world.resource_mut::<Links>();
    silent.into_iter().for_each(|link| links.close(link, CloseReason::Silent));
    for (entity, end) in ending {
        match end {
            End::Close => close(world, entity, CloseReason::MatchOver),
            End::Reopen(order) => {
                // Its place is not free in between: somebody else would take it too.
                let place = MatchPlace::reserve(&world.resource::<Matches>().status, order.seats);
                close(world, entity, CloseReason::MatchOver);
                // Refused when the server stops: then it is over for good.
                let _ = open(world, order, place);
            }
        }
    }
}

fn watch_silence(crew: &mut Crew, filling: bool, now: Duration, silent: &mut Vec<LinkId>) {
    for seat in &mut crew.seats {
        let link = seat.link.as_ref().map(|link| link.id);
        let presence = seat.presence(now, filling);
        if presence != Presence::Here {
            silent.extend(link);
            crew.roster_changed = true;
        }
    }
}

/// What to do with a match whose life is over.
enum End {
    Close,
    Reopen(MatchOrder),
}

fn next_stage(hosted: &mut Hosted, crew: &mut Crew, round: &Round, now: Duration) -> Option<End> {
    match hosted.stage {
        Stage::Filling if round.phase != Phase::Waiting => {
            hosted.stage = Stage::Playing;
            hosted.started = now;
        }
        Stage::Filling => {
            let everyone_is_here = crew.seats.iter().all(|seat| match seat.occupant {
                Occupant::Free => false,
                Occupant::Player => seat.link.as_ref().is_some_and(|link| link.ready),
                Occupant::Pilot => true,
            });
            let nobody = crew.players() == 0 && !hosted.order.demo;
            if nobody {
                // Nobody who had claimed a seat has come: whoever else was on the way is sent to another match.
                let in_vain = hosted.fill_at.take().is_some() && !hosted.came;
                let is_old = now.saturating_sub(hosted.opened) >= UNCLAIMED_TTL;
                return (in_vain || is_old).then_some(End::Close);
            }
            // Tickets that nobody uses start nothing: their seats free themselves, and the match closes.
            let somebody_is_here = crew.seats.iter().any(|seat| seat.link.as_ref().is_some_and(|link| link.ready));
            if somebody_is_here {
                hosted.came = true;
                hosted.order.unclaimed = Hold::default();
            }
            let in_time = hosted.order.demo || somebody_is_here;
            if everyone_is_here || (in_time && hosted.fill_at.is_some_and(|at| now >= at)) {
                crew.fill_with_pilots();
                hosted.start = true;
            }
        }
        Stage::Playing if round.phase == Phase::MatchOver && hosted.order.demo => {
            hosted.stage = Stage::Over { close_at: now + DEMO_PAUSE };
        }
        Stage::Over { close_at } => {
            // Whoever has lost the connection may yet come back to hear the result.
            let unwatched = crew.players() == 0 && crew.seats.iter().all(|seat| seat.link.is_none());
            if hosted.order.demo {
                let match_id = MatchId(uuid::Uuid::now_v7().as_u128());
                let again = MatchOrder { match_id, ..hosted.order.clone() };
                return (now >= close_at).then_some(End::Reopen(again));
            }
            return (unwatched || now >= close_at).then_some(End::Close);
        }
        Stage::Playing | Stage::Recording => {}
    }
    None
}

/// Decides what every seat flies in the next tick: the player's input, or the pilot's.
pub(super) fn gather_inputs(now: Res<Now>, mut matches: Query<(&mut Hosted, &mut Crew, &mut Inputs, MatchParts)>) {
    for (mut hosted, mut crew, mut inputs, parts) in &mut matches {
        let state = MatchRef::from(parts);
        let next = state.round.tick.plus(1);
        inputs.start = std::mem::take(&mut hosted.start);
        for seat in Seat::first(state.setup.seats) {
            let held = &mut crew.seats[seat.index()];
            inputs.seats[seat.index()] = match held.next_input(next, now.0) {
                Some(input) => input,
                None => {
                    if pilot::thinks(seat, PILOT_SKILL, next) {
                        let view = state.view(Audience::Seat(seat));
                        held.pilot_input = pilot::think(&view, &state.setup.ruleset, seat, PILOT_SKILL, next);
                    }
                    held.pilot_input
                }
            };
        }
    }
}

/// Tells everyone in a match who flies, when that has changed.
pub(super) fn send_rosters(mut links: ResMut<Links>, mut renet: ResMut<RenetServer>, mut crews: Query<&mut Crew>) {
    for mut crew in &mut crews {
        if !crew.roster_changed {
            continue;
        }
        crew.roster_changed = false;
        let message = crew.roster();
        for link in crew.seats.iter().filter_map(|seat| seat.link.as_ref()) {
            links.tell(&mut renet, link.id, &message);
        }
    }
}
