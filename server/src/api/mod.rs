//! The service over HTTP: quickplay, WebSockets, results, replays, and what operators ask.
//!
//! In: requests. Out: JSON (bodies in [`astro_shared::api`]), replay files, metrics.
//! *Invariant:* knows `store`, `directory`, the [`Hosts`] border and the [`Gate`] for WebSockets, never `host`.
//! *Invariant:* every refusal is a `Problem` with a stable code; see [`error`].
//! *Invariant:* whatever a peer can feed has a limit: times in [`serve`], connections and joins in [`limits`],
//! bodies here. `/healthz` and `/readyz` have no limit of their own.
//! Start reading at [`routes`]; a request goes route → extractor → handler → store.

pub mod access;
pub mod admin;
mod connections;
pub mod error;
pub mod fleet_key;
mod headers;
pub mod limits;
mod matches;
mod openapi;
mod ops;
pub mod peer;
pub mod play;
pub mod quickplay;
mod reads;
mod request;
mod results;
pub mod serve;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Extension, Router};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::assets::Rulebook;
use crate::directory::Directory;
use crate::hosts::{Hosts, Results};
use crate::store::Store;
use crate::telemetry::Metrics;
use crate::transport::websocket::Gate;
use access::{Access, Endpoint};
use admin::Operators;
use error::ApiError;
use fleet_key::FleetKey;
use limits::{Joins, Limits};
use openapi::Description;
use play::Origin;
use quickplay::Quickplay;
use reads::Reads;
use results::StoreResults;

/// Body of a request at most; the longest honest one has a few hundred bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Body of a delivery at most: one batch, and the lengths in it.
const RESULTS_BYTES_MAX: usize = 2 * crate::records::BATCH_BYTES_MAX;

/// What `GET /` answers.
const FRONT_PAGE: &str = "\
Astro Party: a game server for fast 2D ship battles.

  POST /v1/quickplay              join or open a match: {\"name\": \"Ada\", \"mode\": \"last_ship\"}
  POST /v1/matches/{id}/tickets   come back to a seat: {\"seat_secret\": \"...\"}
  POST /v1/matches/{id}/watch     watch a running match
  GET  /v1/matches/running        running matches that may be watched
  GET  /v1/matches?limit=20       finished matches, newest first
  GET  /v1/matches/{id}           one finished match
  GET  /v1/matches/{id}/replay    its replay file, for `astro-server replay show FILE`
  GET  /v1/play                   the match itself, over a WebSocket
  GET  /v1/rules/{hash}           rules and arena of a match as RON
  GET  /healthz /readyz /version
  GET  /docs /openapi.json        everything here, described

Bots to play against the server:

  cargo bots -- --matches 25 --seconds 20
";

/// What `GET /` answers on the operations listener.
const OPS_FRONT_PAGE: &str = "\
Astro Party, operations listener.

  GET  /healthz /readyz /version
  GET  /metrics                           for Prometheus
  GET  /admin/v1/shards
  GET  /admin/v1/matches?limit=100        running matches, the oldest of each shard
  POST /admin/v1/matches/{id}/void        end a match without a result: {\"reason\": \"...\"}
  POST /admin/v1/drain                    take no more matches: {} or {\"grace_seconds\": 600}

  astro-server top                        shows the same, live
";

/// All routes of the operations listener on one page.
pub fn ops_routes(api: Arc<Api>) -> Router {
    let guarded = Router::new()
        .route("/metrics", get(ops::metrics))
        .route("/admin/v1/shards", get(admin::list_shards))
        .route("/admin/v1/matches", get(admin::list_matches))
        .route("/admin/v1/matches/{id}/void", post(admin::void_match))
        .route("/admin/v1/drain", post(admin::drain))
        .route_layer(from_fn_with_state(Arc::clone(&api), admin::guard));
    Router::new()
        .route("/", get(OPS_FRONT_PAGE))
        .route("/healthz", get(ops::healthz))
        .route("/readyz", get(ops::readyz))
        .route("/version", get(ops::version))
        .merge(guarded)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .fallback(async || ApiError::NotFound)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(from_fn_with_state(Arc::clone(&api), request::observe))
        .with_state(api)
}

/// All public endpoints on one page, each with its row of who may call it.
pub fn endpoints(api: &Arc<Api>) -> Vec<Endpoint> {
    let reads = |routes, access| {
        let limit = from_fn_with_state(Arc::clone(api), reads::limit);
        Endpoint::new(routes, access).with(|router| router.route_layer(limit))
    };
    let results_limit = DefaultBodyLimit::max(RESULTS_BYTES_MAX);
    vec![
        Endpoint::new(routes!(get_front_page), Access::ANYBODY),
        Endpoint::new(routes!(get_openapi), Access::ANYBODY),
        Endpoint::new(routes!(get_docs), Access::ANYBODY),
        Endpoint::new(routes!(ops::healthz), Access::ANYBODY),
        Endpoint::new(routes!(ops::readyz), Access::ANYBODY),
        Endpoint::new(routes!(ops::version), Access::ANYBODY),
        Endpoint::new(routes!(quickplay::post_quickplay), Access::ANYBODY),
        Endpoint::new(routes!(quickplay::post_ticket), Access::ANYBODY),
        Endpoint::new(routes!(play::get_play), Access::ANYBODY),
        Endpoint::new(routes!(watch::post_watch), Access::ANYBODY),
        reads(routes!(watch::list_running), Access::ANYBODY),
        reads(routes!(matches::list_matches), Access::ANYBODY),
        reads(routes!(matches::get_match), Access::ANYBODY),
        reads(routes!(matches::get_replay), Access::ANYBODY),
        Endpoint::new(routes!(matches::get_rules), Access::ANYBODY),
        Endpoint::new(routes!(results::post_results), Access::HOST).with(|router| router.layer(results_limit)),
    ]
}

/// The public listener's router, and what it says of itself.
pub fn routes(api: Arc<Api>) -> Router {
    let mut endpoints = endpoints(&api);
    let begun = OpenApiRouter::with_openapi(openapi::begin(&api.parts.public_url));
    let described =
        endpoints.iter_mut().fold(begun, |router, endpoint| router.routes(std::mem::take(&mut endpoint.routes)));
    let (router, mut openapi) = described.split_for_parts();
    openapi::describe(&mut openapi, &endpoints);
    let description = Arc::new(Description::new(&openapi, &endpoints));
    router
        .layer(Extension(description))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .fallback(async || ApiError::NotFound)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(headers::cross_origin(&api))
        .layer(from_fn_with_state(Arc::clone(&api), request::observe))
        .layer(from_fn_with_state(Arc::clone(&api), headers::protect))
        .with_state(api)
}

/// What there is.
#[utoipa::path(get, path = "/", tag = "operation", responses((status = 200, body = String, content_type = "text/plain")))]
async fn get_front_page() -> &'static str {
    FRONT_PAGE
}

/// This description.
#[utoipa::path(get, path = "/openapi.json", tag = "operation", responses((status = 200, body = Object)))]
async fn get_openapi(Extension(description): Extension<Arc<Description>>) -> impl IntoResponse {
    description.json()
}

/// This description, for people.
#[utoipa::path(get, path = "/docs", tag = "operation", responses((status = 200, body = String, content_type = "text/html")))]
async fn get_docs(Extension(description): Extension<Arc<Description>>) -> impl IntoResponse {
    description.page()
}

/// What the service is made of.
pub struct Parts {
    pub hosts: Arc<dyn Hosts>,
    pub store: Store,
    pub directory: Arc<Directory>,
    pub rulebook: Arc<Rulebook>,
    pub metrics: Arc<Metrics>,
    pub fleet_key: FleetKey,
    /// Without a slash at the end.
    pub public_url: String,
    pub limits: Limits,
    /// Way in for WebSockets.
    pub gate: Arc<Gate>,
    /// Pages from elsewhere that may open one.
    pub origins: Vec<Origin>,
    pub operators: Operators,
    /// How long after it was strangers are shown what happens in a match that is not private.
    pub spectate_delay: Duration,
}

/// The service's state, shared by all handlers.
pub struct Api {
    parts: Parts,
    joins: Joins,
    quickplay: Quickplay,
    reads: Reads,
    results: StoreResults,
    fingerprint: String,
    draining: AtomicBool,
}

impl Api {
    pub fn new(parts: Parts) -> Arc<Api> {
        parts.metrics.set_load_test(parts.limits.load_test);
        Arc::new(Api {
            joins: Joins::new(parts.limits.clone(), Instant::now()),
            quickplay: Quickplay::new(Arc::clone(&parts.hosts), parts.spectate_delay),
            reads: Reads::new(parts.limits.load_test, Instant::now()),
            results: StoreResults::new(parts.store.clone(), Arc::clone(&parts.metrics)),
            fingerprint: astro_shared::api::hex(astro_shared::wire::fingerprint()),
            draining: AtomicBool::new(false),
            parts,
        })
    }

    /// From now on `/readyz` says no and quickplay refuses; everything else goes on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Where the spool delivers in role `all`: what `/internal/v1/results` calls.
    pub fn results(&self) -> Arc<dyn Results> {
        Arc::new(self.results.clone())
    }

    fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;
