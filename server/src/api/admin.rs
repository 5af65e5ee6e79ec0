//! What only operators may ask and do, on the operations listener.
//!
//! In: requests of whoever reaches that listener, with the operations key where one is set. Out: how shards and matches
//! are; void matches; a server that takes no more.
//! *Invariant:* a page in an operator's browser cannot act here: changes need a JSON body, and no `Origin`.
//! *Invariant:* the listener is on a loopback address, or there is a key; the configuration refuses anything else.
//! Start reading at [`guard`], then [`void_match`].

use std::sync::Arc;
use std::time::Duration;

use astro_shared::sim::units::MatchId;
use axum::Json;
use axum::extract::{Path, Query, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::Api;
use super::error::{ApiError, Checked, CheckedBody};
use super::fleet_key::FleetKey;
use crate::hosts::{MatchReport, ShardReport};

/// Matches of a shard in a list when the request does not say, and at most.
const LIST_DEFAULT: usize = 100;
const LIST_MAX: usize = 1000;
/// Characters of a reason; players may be shown it one day.
const REASON_CHARS_MAX: usize = 200;
/// Longest grace of a drain: a day.
const GRACE_SECONDS_MAX: u64 = 24 * 3600;

/// How the operations listener is run.
#[derive(Clone, Debug)]
pub struct Operators {
    /// What a request must show, as `Authorization: Bearer KEY`.
    pub key: Option<FleetKey>,
    /// How long matches may go on in a drain that does not say.
    pub drain_grace: Duration,
}

/// Middleware: lets in whoever may.
pub(super) async fn guard(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let shown = header.and_then(|value| value.strip_prefix("Bearer "));
    if let Some(key) = &api.parts.operators.key
        && !shown.is_some_and(|shown| key.is(shown))
    {
        return ApiError::OpsKey.into_response();
    }
    if request.method() != Method::GET && request.headers().contains_key(header::ORIGIN) {
        return ApiError::FromBrowser.into_response();
    }
    next.run(request).await
}

#[derive(Debug, Serialize, Deserialize)]
pub struct ShardList {
    pub shards: Vec<ShardReport>,
}

/// `GET /admin/v1/shards`
pub(super) async fn list_shards(State(api): State<Arc<Api>>) -> Result<Json<ShardList>, ApiError> {
    Ok(Json(ShardList { shards: api.parts.hosts.shards().await? }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    limit: Option<usize>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct RunningList {
    pub matches: Vec<MatchReport>,
}

/// `GET /admin/v1/matches?limit=`: running matches, demo matches included, the oldest of each shard.
pub(super) async fn list_matches(
    State(api): State<Arc<Api>>,
    Checked(Query(query)): Checked<Query<ListQuery>>,
) -> Result<Json<RunningList>, ApiError> {
    let limit = query.limit.unwrap_or(LIST_DEFAULT);
    if !(1..=LIST_MAX).contains(&limit) {
        return Err(ApiError::Limit(LIST_MAX as u32));
    }
    let mut matches = api.parts.hosts.running(limit).await?;
    matches.sort_by_key(|running| std::cmp::Reverse(running.age_s));
    Ok(Json(RunningList { matches }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VoidRequest {
    reason: String,
}

/// `POST /admin/v1/matches/{id}/void` `{"reason"}`: ends a match without a result.
pub(super) async fn void_match(
    State(api): State<Arc<Api>>,
    Checked(Path(match_id)): Checked<Path<MatchId>>,
    CheckedBody(Json(VoidRequest { reason })): CheckedBody<Json<VoidRequest>>,
) -> Result<StatusCode, ApiError> {
    let length = reason.chars().count();
    if !(1..=REASON_CHARS_MAX).contains(&length) || reason.chars().any(char::is_control) {
        return Err(ApiError::Reason(REASON_CHARS_MAX));
    }
    info!(%match_id, reason, "an operator ends a match");
    api.parts.hosts.void(match_id, reason).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DrainRequest {
    grace_seconds: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct DrainAnswer {
    pub players: usize,
    pub grace_seconds: u64,
}

/// `POST /admin/v1/drain` `{}`: no more matches; those that run may end within the grace and are void after it.
/// The process stays; a signal ends it.
pub(super) async fn drain(
    State(api): State<Arc<Api>>,
    CheckedBody(Json(request)): CheckedBody<Json<DrainRequest>>,
) -> Result<(StatusCode, Json<DrainAnswer>), ApiError> {
    let grace_seconds = request.grace_seconds.unwrap_or(api.parts.operators.drain_grace.as_secs());
    if grace_seconds > GRACE_SECONDS_MAX {
        return Err(ApiError::Grace(GRACE_SECONDS_MAX));
    }
    let players = api.parts.hosts.shards().await?.iter().map(|shard| shard.players).sum();
    warn!(players, grace_seconds, "an operator drains this server");
    api.drain();
    let service = Arc::clone(&api);
    tokio::spawn(async move {
        match service.parts.hosts.drain(Duration::from_secs(grace_seconds)).await {
            Ok(()) => info!("drained: no match is left"),
            Err(error) => warn!(%error, "the matches could not be drained"),
        }
    });
    Ok((StatusCode::ACCEPTED, Json(DrainAnswer { players, grace_seconds })))
}
