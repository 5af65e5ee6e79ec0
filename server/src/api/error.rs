//! Refusals, and extractors that refuse with them.
//!
//! In: what went wrong. Out: a status and a [`Problem`] (RFC 9457): a stable code for programs, a sentence for people.
//! *Invariant:* a code, once released, keeps its meaning and its status.
//! *Invariant:* what the database says goes to the log, never to a stranger.
//! Start reading at [`ApiError::status_and_code`].

use astro_shared::api::{NameError, PROBLEM_TYPE, Problem};
use astro_shared::sim::rules::AssetError;
use astro_shared::sim::units::MatchId;
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::limits::Refusal;
use super::request;
use crate::hosts::HostError;
use crate::records::RecordError;
use crate::store::StoreError;
use crate::telemetry::stranger_line;
use crate::transport::websocket::Refused;

/// Seconds after which a client that found no room should ask again.
const RETRY_AFTER_S: u64 = 2;

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("{0}")]
    Json(#[from] JsonRejection),
    #[error("{0}")]
    Bytes(#[from] BytesRejection),
    #[error("{0}")]
    Query(#[from] QueryRejection),
    #[error("{0}")]
    Path(#[from] PathRejection),
    #[error(transparent)]
    Records(#[from] RecordError),
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("a match has 2 to 8 seats, not {0}")]
    Seats(u8),
    #[error("{0}")]
    SeatsOfMode(String),
    #[error("a group has at most 32 characters: visible ASCII, no spaces")]
    Group,
    #[error("a seat secret is base64 of 32 bytes")]
    Secret,
    #[error("limit must be 1 to {0}")]
    Limit(u32),
    #[error("there is no mode {0:?}")]
    UnknownMode(String),
    #[error("there are no rules {name:?}, only {known}")]
    UnknownRules { name: String, known: String },
    #[error("the rules {rules:?} are for mode {mode}")]
    OtherMode { rules: String, mode: &'static str },
    #[error("there is no arena {name:?}, only {known}")]
    UnknownArena { name: String, known: String },
    #[error("overrides are for private matches: give a `group` too, which those who shall meet there know")]
    OverridesInPublic,
    #[error(transparent)]
    Overrides(#[from] AssetError),
    #[error("the fleet key is missing or wrong")]
    Unauthorized,
    #[error("the operations key is missing or wrong")]
    OpsKey,
    #[error("changes are not taken from web pages")]
    FromBrowser,
    #[error("a reason has 1 to {0} characters and no control characters")]
    Reason(usize),
    #[error("grace_seconds must be at most {0}")]
    Grace(u64),
    #[error("no such match is running, and none is stored")]
    UnknownMatch,
    #[error("the match is still running")]
    NotFinished,
    #[error("the match ended without a result and has no replay")]
    NoReplay,
    #[error("no rules here have this hash; the replay of a match contains its own")]
    UnknownHash,
    #[error("there is nothing at this address; GET / lists what there is")]
    NotFound,
    #[error("this address does not take that method; GET / lists what there is")]
    MethodNotAllowed,
    #[error("stored with another result: {}", .0.iter().map(MatchId::to_string).collect::<Vec<_>>().join(", "))]
    Conflict(Vec<MatchId>),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("the store does not answer")]
    Store(#[source] StoreError),
    #[error("{0}")]
    NotReady(&'static str),
    #[error("the tick threads of these shards are stuck: {0:?}")]
    Stuck(Vec<usize>),
    #[error("{0}")]
    Upgrade(#[from] WebSocketUpgradeRejection),
    #[error("pages from this origin may not connect here")]
    Origin,
    #[error("too many sockets wait for their first frame; close some, or send it")]
    Sockets,
    #[error("the request took too long")]
    Timeout,
    #[error("the server made a mistake")]
    Internal,
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict(matches) => ApiError::Conflict(matches),
            other => ApiError::Store(other),
        }
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Waiting => ApiError::Sockets,
            Refused::Full => ApiError::Host(HostError::Full),
            Refused::Stopping => ApiError::Host(HostError::Draining),
        }
    }
}

impl ApiError {
    /// The whole list of codes.
    fn status_and_code(&self) -> (StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            ApiError::Json(rejection) => body_status_and_code(rejection.status(), "invalid_json"),
            ApiError::Bytes(rejection) => body_status_and_code(rejection.status(), "invalid_body"),
            ApiError::Query(_) => (S::BAD_REQUEST, "invalid_query"),
            ApiError::Path(_) => (S::BAD_REQUEST, "invalid_path"),
            ApiError::Records(_) => (S::BAD_REQUEST, "invalid_records"),
            ApiError::Name(_) => (S::BAD_REQUEST, "invalid_name"),
            ApiError::Seats(_) => (S::BAD_REQUEST, "invalid_seats"),
            ApiError::SeatsOfMode(_) => (S::BAD_REQUEST, "invalid_seats"),
            ApiError::Group => (S::BAD_REQUEST, "invalid_group"),
            ApiError::Secret => (S::BAD_REQUEST, "invalid_secret"),
            ApiError::Limit(_) => (S::BAD_REQUEST, "invalid_limit"),
            ApiError::UnknownMode(_) => (S::BAD_REQUEST, "unknown_mode"),
            ApiError::UnknownRules { .. } => (S::BAD_REQUEST, "unknown_rules"),
            ApiError::OtherMode { .. } => (S::BAD_REQUEST, "other_mode"),
            ApiError::UnknownArena { .. } => (S::BAD_REQUEST, "unknown_arena"),
            ApiError::OverridesInPublic => (S::BAD_REQUEST, "overrides_need_group"),
            ApiError::Overrides(_) => (S::BAD_REQUEST, "invalid_overrides"),
            ApiError::Upgrade(_) => (S::BAD_REQUEST, "not_a_websocket"),
            ApiError::Origin => (S::FORBIDDEN, "origin_refused"),
            ApiError::Sockets => (S::TOO_MANY_REQUESTS, "too_many_sockets"),
            ApiError::Reason(_) => (S::BAD_REQUEST, "invalid_reason"),
            ApiError::Grace(_) => (S::BAD_REQUEST, "invalid_grace"),
            ApiError::OpsKey => (S::UNAUTHORIZED, "unauthorized"),
            ApiError::FromBrowser => (S::FORBIDDEN, "from_browser"),
            ApiError::Unauthorized => (S::UNAUTHORIZED, "unauthorized"),
            ApiError::UnknownMatch | ApiError::Host(HostError::NoSuchMatch) => (S::NOT_FOUND, "unknown_match"),
            ApiError::NotFinished => (S::NOT_FOUND, "not_finished"),
            ApiError::NoReplay => (S::NOT_FOUND, "no_replay"),
            ApiError::UnknownHash => (S::NOT_FOUND, "unknown_hash"),
            ApiError::NotFound => (S::NOT_FOUND, "not_found"),
            ApiError::MethodNotAllowed => (S::METHOD_NOT_ALLOWED, "method_not_allowed"),
            ApiError::Timeout => (S::REQUEST_TIMEOUT, "timeout"),
            ApiError::Conflict(_) => (S::CONFLICT, "conflict"),
            ApiError::Host(HostError::NoFreeSeat) => (S::CONFLICT, "no_free_seat"),
            ApiError::Host(HostError::SpectatorsFull) => (S::CONFLICT, "spectators_full"),
            ApiError::Host(HostError::SeatLost) => (S::GONE, "seat_lost"),
            ApiError::Refused(refusal) if refusal.is_of_address() => (S::TOO_MANY_REQUESTS, "too_many_requests"),
            ApiError::Refused(_) => (S::SERVICE_UNAVAILABLE, "overloaded"),
            ApiError::Host(HostError::Full) => (S::SERVICE_UNAVAILABLE, "full"),
            ApiError::Host(HostError::Draining) => (S::SERVICE_UNAVAILABLE, "draining"),
            ApiError::Host(HostError::Unwritable) => (S::SERVICE_UNAVAILABLE, "results_unwritable"),
            ApiError::Host(HostError::Unresponsive) => (S::SERVICE_UNAVAILABLE, "unresponsive"),
            ApiError::Store(_) => (S::SERVICE_UNAVAILABLE, "store_unavailable"),
            ApiError::NotReady(_) => (S::SERVICE_UNAVAILABLE, "not_ready"),
            ApiError::Stuck(_) => (S::SERVICE_UNAVAILABLE, "stuck"),
            ApiError::Internal => (S::INTERNAL_SERVER_ERROR, "internal"),
        }
    }

    /// Seconds after which the same request may well succeed.
    fn retry_after_s(&self) -> Option<u64> {
        match self {
            ApiError::Refused(refusal) => Some(refusal.retry_after_s()),
            ApiError::Host(HostError::Full | HostError::Draining | HostError::Unwritable | HostError::Unresponsive)
            | ApiError::Store(_)
            | ApiError::Sockets => Some(RETRY_AFTER_S),
            _ => None,
        }
    }

    /// The whole answer as bytes, for a connection that gets no further than this.
    pub fn to_http1(&self) -> String {
        let (status, code) = self.status_and_code();
        let body = problem(status, code, self.to_string());
        let retry_after = self.retry_after_s().map_or_else(String::new, |s| format!("retry-after: {s}\r\n"));
        format!(
            "HTTP/1.1 {status}\r\n{retry_after}connection: close\r\ncontent-type: {PROBLEM_TYPE}\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
    }
}

/// A refusal's body.
fn problem(status: StatusCode, code: &str, detail: String) -> String {
    let problem = Problem {
        kind: "about:blank".into(),
        title: status.canonical_reason().unwrap_or("Error").into(),
        status: status.as_u16(),
        detail,
        code: code.into(),
        request_id: request::current_id(),
    };
    serde_json::json!(problem).to_string()
}

/// A body that is too large or not JSON at all has codes of its own, whoever found out.
fn body_status_and_code(status: StatusCode, otherwise: &'static str) -> (StatusCode, &'static str) {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => (status, "body_too_large"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => (status, "not_json"),
        _ => (StatusCode::BAD_REQUEST, otherwise),
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if let ApiError::Store(source) = &self {
            stranger_line!(error, error = %source, "the store does not answer");
        }
        let (status, code) = self.status_and_code();
        let retry_after_s = self.retry_after_s();
        let message = match &self {
            // The display of a rejection leaves out its reason.
            ApiError::Json(rejection) => rejection.body_text(),
            ApiError::Bytes(rejection) => rejection.body_text(),
            ApiError::Query(rejection) => rejection.body_text(),
            ApiError::Path(rejection) => rejection.body_text(),
            other => other.to_string(),
        };
        let content_type = [(header::CONTENT_TYPE, PROBLEM_TYPE)];
        let mut response = (status, content_type, problem(status, code, message)).into_response();
        if let Some(seconds) = retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// An extractor of path, query or headers that refuses with [`ApiError`].
pub struct Checked<E>(pub E);

impl<S, E> FromRequestParts<S> for Checked<E>
where
    S: Send + Sync,
    E: FromRequestParts<S>,
    ApiError: From<E::Rejection>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Ok(Checked(E::from_request_parts(parts, state).await?))
    }
}

/// An extractor of the body that refuses with [`ApiError`].
pub struct CheckedBody<E>(pub E);

impl<S, E> FromRequest<S> for CheckedBody<E>
where
    S: Send + Sync,
    E: FromRequest<S>,
    ApiError: From<E::Rejection>,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        Ok(CheckedBody(E::from_request(request, state).await?))
    }
}
