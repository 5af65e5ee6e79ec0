//! Matches that run: the list of them, and the way in for spectators.
//!
//! In: a limit, or a match's id. Out: what runs; a ticket to watch it.
//! *Invariant:* a request to watch counts against its address like one to play.
//! *Invariant:* a private match is never listed; who knows its id may watch it, as its players may tell it.
//! *Invariant:* the list says who plays how many seats now, whatever the delay: it shows nothing of the game.
//! Start reading at [`post_watch`].

use std::sync::Arc;

use astro_shared::api::{RunningList, RunningMatch, WatchAnswer, WatchRequest, hex};
use astro_shared::sim::units::MatchId;
use axum::Json;
use axum::extract::{Path, Query, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::Api;
use super::error::{ApiError, Checked, CheckedBody};
use super::limits::Pass;
use super::matches::{LIMIT_DEFAULT, ListQuery};
use crate::directory::Listed;
use crate::hosts::HostError;

/// Matches in one list at most.
const RUNNING_MAX: u32 = 100;

/// A place among the spectators of a running match.
#[utoipa::path(post, path = "/v1/matches/{id}/watch", tag = "play", params(("id" = MatchId, Path, description = "The match")),
    request_body = Option<WatchRequest>, responses((status = 200, body = WatchAnswer)))]
pub(super) async fn post_watch(
    State(api): State<Arc<Api>>,
    pass: Pass,
    Checked(Path(match_id)): Checked<Path<MatchId>>,
    CheckedBody(_): CheckedBody<Option<Json<WatchRequest>>>,
) -> Result<Json<WatchAnswer>, ApiError> {
    if api.draining() {
        return Err(HostError::Draining.into());
    }
    let card = api.parts.directory.card(match_id).ok_or(ApiError::UnknownMatch)?;
    let _in_flight = api.begin_join()?;
    let ticket = api.parts.hosts.watch(match_id, pass.hold.clone()).await?;
    Ok(Json(WatchAnswer {
        match_id,
        seats: card.seats,
        rules_hash: hex(card.rules_hash),
        fingerprint: api.fingerprint.clone(),
        connect_token: BASE64.encode(&ticket.access.connect_token),
        udp: ticket.access.udp.to_string(),
        websocket_ticket: BASE64.encode(ticket.access.websocket_ticket),
        websocket_url: api.websocket_url(),
        delay_seconds: ticket.delay.as_secs(),
    }))
}

/// Running matches that may be watched, newest first.
#[utoipa::path(get, path = "/v1/matches/running", tag = "matches", params(ListQuery), responses((status = 200, body = RunningList)))]
pub(super) async fn list_running(
    State(api): State<Arc<Api>>,
    Checked(Query(query)): Checked<Query<ListQuery>>,
) -> Result<Json<RunningList>, ApiError> {
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=RUNNING_MAX).contains(&limit) {
        return Err(ApiError::Limit(RUNNING_MAX));
    }
    let matches = api.parts.directory.running(limit as usize);
    Ok(Json(RunningList { matches: matches.into_iter().map(running_match).collect() }))
}

fn running_match(Listed { match_id, card, standing }: Listed) -> RunningMatch {
    RunningMatch {
        match_id,
        mode: card.mode.into(),
        rules: card.rules.clone(),
        seats: card.seats,
        players: standing.players,
        spectators: standing.spectators,
        demo: card.demo,
        started_ms: standing.started_ms,
    }
}
