//! What operators and orchestrators ask: alive, ready, how it goes, which version.
//!
//! In: nothing but the question. Out: a word, a page of metrics, a version. Health and readiness are asked on both
//! listeners: load balancers reach the public one, and the other answers when strangers have taken all its connections.
//! *Invariant:* `/healthz` says whether restarting would help (a stuck tick thread), `/readyz` whether to send
//! players here; neither waits longer than [`PING_WITHIN`].
//! Start reading at [`readyz`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use astro_shared::api::Version;
use astro_shared::sim::SIM_VERSION;
use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use tokio::time::timeout;

use super::Api;
use super::error::ApiError;
use crate::telemetry::CONTENT_TYPE;

/// A store that takes longer for one row is not ready.
const PING_WITHIN: Duration = Duration::from_secs(1);

/// Whether a restart would not help.
#[utoipa::path(get, path = "/healthz", tag = "operation", responses((status = 200, body = String, content_type = "text/plain")))]
pub(super) async fn healthz(State(api): State<Arc<Api>>) -> Result<&'static str, ApiError> {
    let stale = api.parts.metrics.stale_shards(Instant::now());
    if stale.is_empty() { Ok("healthy\n") } else { Err(ApiError::Stuck(stale)) }
}

/// Whether players may be sent here.
#[utoipa::path(get, path = "/readyz", tag = "operation", responses((status = 200, body = String, content_type = "text/plain")))]
pub(super) async fn readyz(State(api): State<Arc<Api>>) -> Result<&'static str, ApiError> {
    if api.draining() {
        return Err(ApiError::NotReady("the server is shutting down"));
    }
    if !api.parts.metrics.spool_healthy() {
        return Err(ApiError::NotReady("the spool cannot write"));
    }
    let shards = api.parts.hosts.shards().await.map_err(ApiError::Host)?;
    if shards.iter().all(|shard| shard.stuck) {
        return Err(ApiError::NotReady("no shard ticks"));
    }
    match timeout(PING_WITHIN, api.parts.store.ping()).await {
        Ok(answered) => answered.map(|()| "ready\n").map_err(ApiError::Store),
        Err(_) => Err(ApiError::NotReady("the store does not answer")),
    }
}

/// `GET /metrics`
pub(super) async fn metrics(State(api): State<Arc<Api>>) -> impl IntoResponse {
    // The store remembers what a restart forgets. One that does not answer leaves the last count standing.
    if let Ok(Ok(count)) = timeout(PING_WITHIN, api.parts.store.conflicts()).await {
        api.parts.metrics.set_results_conflicting(count);
    }
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], api.parts.metrics.render())
}

/// Which program answers.
#[utoipa::path(get, path = "/version", tag = "operation", responses((status = 200, body = Version)))]
pub(super) async fn version(State(api): State<Arc<Api>>) -> Json<Version> {
    Json(Version {
        version: env!("CARGO_PKG_VERSION").into(),
        commit: option_env!("ASTRO_COMMIT").unwrap_or("unknown").into(),
        sim_version: SIM_VERSION,
        fingerprint: api.fingerprint.clone(),
    })
}
