//! Quickplay: strangers with the same wish in one match; and the way back to a seat.
//!
//! In: a wish (rules, what is changed about them, seats, group) and a name, or a seat's secret. Out: a ticket.
//! *Invariant:* a burst of joins fills matches to the last seat: a seat is counted as taken here, under one
//! short lock, before any host is asked; the asking then goes on side by side.
//! *Invariant:* the host has the last word. A match that it says is full, begun or gone leaves the list.
//! Start reading at [`Quickplay::join`].

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use astro_shared::api::{GROUP_CHARS_MAX, QuickplayRequest, TicketAnswer, TicketRequest, check_name, hex};
use astro_shared::sim::arena::ArenaText;
use astro_shared::sim::modes::Mode;
use astro_shared::sim::rules::{Overrides, Ruleset};
use astro_shared::sim::units::{MatchId, SEATS_MAX, SEATS_MIN};
use astro_shared::wire::websocket;
use axum::Json;
use axum::extract::{Path, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::Api;
use super::error::{ApiError, Checked, CheckedBody};
use super::limits::{IdleSeats, Pass, Refusal};
use crate::assets::DEFAULT_RULES;
use crate::hosts::{Claim, Hold, HostError, Hosts, MatchOrder, SeatSecret, Ticket};

/// How long a match waits for players before pilots take the rest.
pub const FILL_AFTER: Duration = Duration::from_secs(5);
/// When nobody is sent to a match any more: it has begun, give or take a tick and an answer.
const LISTED_FOR: Duration = Duration::from_secs(6);
/// Seats when the request does not say, if the mode can be played by so many.
const SEATS_DEFAULT: u8 = 4;
/// Listed matches that may turn out to be over before a join opens one of its own.
const STALE_MAX: usize = 4;
/// Wishes that are remembered at once. Above it a match is opened without being listed: its player gets
/// pilots for company, and memory stays bounded. Hosts are full long before.
const WISHES_MAX: usize = 16 * 1024;
/// From this many wishes on, those whose matches have begun are cleared away with every new match.
const SWEEP_ABOVE: usize = 64;

/// What players must agree on to meet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Wish {
    rules_hash: u64,
    seats: u8,
    group: Option<String>,
}

/// A match that still takes players, or is being opened.
#[derive(Debug)]
struct Open {
    match_id: MatchId,
    opened: Instant,
    seats_free: u8,
    /// As counted against whoever opened it, while nobody has come.
    idle: Weak<IdleSeats>,
    allocated: Arc<Allocation>,
}

/// The opening of a match.
#[derive(Debug)]
struct Allocation {
    /// Set by the first who needs it; everybody else waits for the same answer.
    answer: OnceCell<Result<(), HostError>>,
    /// Goes with the order.
    unclaimed: Mutex<Hold>,
}

/// Why somebody gets no seat.
enum Unseated {
    Refused(Refusal),
    Host(HostError),
}

impl From<HostError> for Unseated {
    fn from(error: HostError) -> Self {
        Unseated::Host(error)
    }
}

/// A seat counted as taken in a match of the list.
struct Place {
    match_id: MatchId,
    allocated: Arc<Allocation>,
}

/// The open matches of this process.
pub(super) struct Quickplay {
    hosts: Arc<dyn Hosts>,
    /// For matches that are not private.
    spectate_delay: Duration,
    /// Oldest first per wish; no list is empty.
    open: Mutex<HashMap<Wish, VecDeque<Open>>>,
}

impl Quickplay {
    pub fn new(hosts: Arc<dyn Hosts>, spectate_delay: Duration) -> Quickplay {
        Quickplay { hosts, spectate_delay, open: Mutex::default() }
    }

    /// Takes a seat in the oldest open match that fits, or opens one.
    ///
    /// Must run to its end: one that is dropped half-way leaves a seat counted that nobody takes.
    async fn join(
        &self,
        ruleset: &Arc<Ruleset>,
        wish: Wish,
        name: &str,
        pass: &Pass,
        now: Instant,
    ) -> Result<(MatchId, Ticket), Unseated> {
        for attempt in 0..=STALE_MAX {
            let place = self.take_place(&wish, now, attempt == STALE_MAX, pass).map_err(Unseated::Refused)?;
            match self.claim(&place, ruleset, &wish, name, &pass.hold).await {
                Ok(ticket) => {
                    if ticket.seats_free == 0 {
                        self.unlist(&wish, place.match_id);
                    }
                    return Ok((place.match_id, ticket));
                }
                Err(HostError::NoFreeSeat | HostError::NoSuchMatch) => self.unlist(&wish, place.match_id),
                Err(error) => {
                    self.unlist(&wish, place.match_id);
                    return Err(error.into());
                }
            }
        }
        // Even a match of our own was full at once: others were sent there, so there is more to do than room.
        Err(HostError::Full.into())
    }

    /// Counts a seat as taken: in the oldest match of the list, or as the first one of a new match.
    fn take_place(&self, wish: &Wish, now: Instant, new: bool, pass: &Pass) -> Result<Place, Refusal> {
        let mut open = self.lock();
        if let Some(list) = open.get_mut(wish) {
            list.retain(|open| open.takes_players(now));
            if let (Some(oldest), false) = (list.front_mut(), new) {
                pass.join(oldest.idle.upgrade().as_deref())?;
                let place = Place { match_id: oldest.match_id, allocated: Arc::clone(&oldest.allocated) };
                oldest.seats_free -= 1;
                list.retain(|open| open.seats_free > 0);
                drop_if_empty(&mut open, wish);
                return Ok(place);
            }
        }
        if open.len() >= SWEEP_ABOVE {
            open.retain(|_, list| list.iter().any(|open| open.takes_players(now)));
        }
        let idle = pass.open(wish.seats)?;
        let unclaimed = idle.clone().map_or_else(Hold::default, Hold::new);
        let allocated = Arc::new(Allocation { answer: OnceCell::new(), unclaimed: Mutex::new(unclaimed) });
        let place = Place { match_id: MatchId(Uuid::now_v7().as_u128()), allocated };
        if open.len() < WISHES_MAX || open.contains_key(wish) {
            let (match_id, allocated) = (place.match_id, Arc::clone(&place.allocated));
            let idle = idle.as_ref().map_or_else(Weak::new, Arc::downgrade);
            let fresh = Open { match_id, opened: now, seats_free: wish.seats - 1, idle, allocated };
            open.entry(wish.clone()).or_default().push_back(fresh);
        }
        Ok(place)
    }

    /// Has the match opened when it is not yet, then asks for a ticket.
    async fn claim(
        &self,
        place: &Place,
        ruleset: &Arc<Ruleset>,
        wish: &Wish,
        name: &str,
        hold: &Hold,
    ) -> Result<Ticket, HostError> {
        place.allocated.answer.get_or_init(|| self.allocate(place, ruleset, wish)).await.to_owned()?;
        self.hosts.ticket(place.match_id, Claim::Join { name: name.into() }, hold.clone()).await
    }

    async fn allocate(&self, place: &Place, ruleset: &Arc<Ruleset>, wish: &Wish) -> Result<(), HostError> {
        let unclaimed = std::mem::take(&mut *place.allocated.unclaimed.lock().unwrap_or_else(PoisonError::into_inner));
        // Who plays with friends may show friends what happens while it happens, and is not shown to strangers.
        let private = wish.group.is_some();
        let order = MatchOrder {
            match_id: place.match_id,
            seats: wish.seats,
            ruleset: Arc::clone(ruleset),
            fill_after: FILL_AFTER,
            demo: false,
            spectate_delay: if private { Duration::ZERO } else { self.spectate_delay },
            listed: !private,
            unclaimed,
        };
        self.hosts.allocate(order).await
    }

    fn unlist(&self, wish: &Wish, match_id: MatchId) {
        let mut open = self.lock();
        if let Some(list) = open.get_mut(wish) {
            list.retain(|open| open.match_id != match_id);
            drop_if_empty(&mut open, wish);
        }
    }

    #[cfg(test)]
    pub(super) fn open_matches(&self) -> usize {
        self.lock().values().map(VecDeque::len).sum()
    }

    /// Every change under this lock is one list operation, so a poisoned one is still sound.
    fn lock(&self) -> MutexGuard<'_, HashMap<Wish, VecDeque<Open>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn takes_players(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.opened) < LISTED_FOR
    }
}

fn drop_if_empty(open: &mut HashMap<Wish, VecDeque<Open>>, wish: &Wish) {
    if open.get(wish).is_some_and(VecDeque::is_empty) {
        open.remove(wish);
    }
}

/// Joins the oldest open match with the same wish, or opens one.
#[utoipa::path(post, path = "/v1/quickplay", tag = "play", request_body = QuickplayRequest, responses((status = 200, body = TicketAnswer)))]
pub(super) async fn post_quickplay(
    State(api): State<Arc<Api>>,
    pass: Pass,
    CheckedBody(Json(request)): CheckedBody<Json<QuickplayRequest>>,
) -> Result<Json<TicketAnswer>, ApiError> {
    check_name(&request.name)?;
    if !request.group.as_deref().is_none_or(is_group) {
        return Err(ApiError::Group);
    }
    let ruleset = api.ruleset(&request)?;
    let seats = seats(request.seats, ruleset.mode)?;
    if api.draining() {
        return Err(HostError::Draining.into());
    }
    let rules_hash = ruleset.hash();
    let (service, now) = (Arc::clone(&api), Instant::now());
    let wish = Wish { rules_hash, seats, group: request.group };
    // A task of its own: a player who hangs up must not leave a match half opened.
    let in_flight = api.begin_join()?;
    let join = async move {
        let joined = service.quickplay.join(&ruleset, wish, &request.name, &pass, now).await;
        drop(in_flight);
        joined
    };
    let joined = tokio::spawn(join).await.map_err(|_| ApiError::Internal)?;
    let (match_id, ticket) = joined.map_err(|unseated| match unseated {
        Unseated::Refused(refusal) => api.refused(refusal),
        Unseated::Host(error) => error.into(),
    })?;
    Ok(Json(api.ticket_answer(match_id, (seats, rules_hash), &ticket)))
}

/// A fresh ticket for a seat already held.
#[utoipa::path(post, path = "/v1/matches/{id}/tickets", tag = "play", params(("id" = MatchId, Path, description = "The match")),
    request_body = TicketRequest, responses((status = 200, body = TicketAnswer)))]
pub(super) async fn post_ticket(
    State(api): State<Arc<Api>>,
    pass: Pass,
    Checked(Path(match_id)): Checked<Path<MatchId>>,
    CheckedBody(Json(request)): CheckedBody<Json<TicketRequest>>,
) -> Result<Json<TicketAnswer>, ApiError> {
    let secret = BASE64.decode(request.seat_secret).ok().and_then(|bytes| bytes.try_into().ok());
    let secret = SeatSecret(secret.ok_or(ApiError::Secret)?);
    let card = api.parts.directory.card(match_id).ok_or(ApiError::UnknownMatch)?;
    let _in_flight = api.begin_join()?;
    let ticket = api.parts.hosts.ticket(match_id, Claim::Return { secret }, pass.hold.clone()).await?;
    Ok(Json(api.ticket_answer(match_id, (card.seats, card.rules_hash), &ticket)))
}

/// The seats that are asked for, or the usual number, as far as the mode can be played by so many.
fn seats(asked: Option<u8>, mode: Mode) -> Result<u8, ApiError> {
    let possible = SEATS_MIN as u8..=SEATS_MAX as u8;
    let Some(seats) = asked else {
        let usual = std::iter::once(SEATS_DEFAULT).chain(possible).find(|seats| mode.check_seats(*seats).is_ok());
        return Ok(usual.unwrap_or(SEATS_DEFAULT));
    };
    if !possible.contains(&seats) {
        return Err(ApiError::Seats(seats));
    }
    mode.check_seats(seats).map_err(ApiError::SeatsOfMode)?;
    Ok(seats)
}

/// Groups are keys made by programs, so they are plain.
fn is_group(group: &str) -> bool {
    group.len() <= GROUP_CHARS_MAX && group.bytes().all(|byte| byte.is_ascii_graphic())
}

impl Api {
    /// Where WebSocket tickets lead: `http` becomes `ws` and `https` becomes `wss`; everything behind that stays.
    pub(super) fn websocket_url(&self) -> String {
        let url = &self.parts.public_url;
        format!("ws{}{}", url.strip_prefix("http").unwrap_or(url), websocket::PATH)
    }

    /// The rules that a request asks for.
    fn ruleset(&self, request: &QuickplayRequest) -> Result<Arc<Ruleset>, ApiError> {
        let mode = Mode::named(&request.mode).ok_or_else(|| ApiError::UnknownMode(request.mode.clone()))?;
        let name = request.rules.as_deref().unwrap_or(DEFAULT_RULES);
        let book = &self.parts.rulebook;
        let ruleset = book.named(name).ok_or_else(|| ApiError::UnknownRules {
            name: name.into(),
            known: book.names().collect::<Vec<_>>().join(", "),
        })?;
        if ruleset.mode != mode {
            return Err(ApiError::OtherMode { rules: name.into(), mode: ruleset.mode.name() });
        }
        let arena = request.arena.as_deref().map(|name| self.arena(name)).transpose()?;
        let nothing = Overrides::default();
        let overrides = request.overrides.as_ref().unwrap_or(&nothing);
        // Strangers with wishes of their own would each wait alone.
        if !overrides.is_empty() && request.group.is_none() {
            return Err(ApiError::OverridesInPublic);
        }
        if overrides.is_empty() && arena.is_none() {
            return Ok(Arc::clone(ruleset));
        }
        Ok(book.variant(ruleset, overrides, arena)?)
    }

    fn arena(&self, name: &str) -> Result<&ArenaText, ApiError> {
        let book = &self.parts.rulebook;
        book.arena(name).ok_or_else(|| ApiError::UnknownArena {
            name: name.into(),
            known: book.arena_names().collect::<Vec<_>>().join(", "),
        })
    }

    fn ticket_answer(&self, match_id: MatchId, (seats, rules_hash): (u8, u64), ticket: &Ticket) -> TicketAnswer {
        TicketAnswer {
            match_id,
            seat: ticket.seat.0,
            seats,
            rules_hash: hex(rules_hash),
            fingerprint: self.fingerprint.clone(),
            connect_token: BASE64.encode(&ticket.access.connect_token),
            seat_secret: BASE64.encode(ticket.secret.0),
            udp: ticket.access.udp.to_string(),
            websocket_ticket: BASE64.encode(ticket.access.websocket_ticket),
            websocket_url: self.websocket_url(),
        }
    }
}
