//! What every request goes through: an id, a time limit, a span for its log lines and traces, and a count.
//!
//! In: requests on either listener. Out: answers with `x-request-id`; metrics by route, method and status.
//! *Invariant:* what is counted and logged of a request is its route template and its method from a fixed list,
//! never its path: strangers choose paths.
//! *Invariant:* a request that nobody waits for any more is counted too.
//! Start reading at [`observe`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;
use tracing::{Instrument, Span, debug, field, info_span};

use super::Api;
use super::error::ApiError;
use crate::telemetry::{Metrics, RequestLabel, stranger_line};

/// Answers carry it, and requests that come through a trusted proxy may.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Characters of a proxy's id at most.
const REQUEST_ID_CHARS_MAX: usize = 64;
/// From the head of a request to its answer, reading the body included.
const REQUEST_WITHIN: Duration = Duration::from_secs(10);
/// The route of requests that match none.
const UNMATCHED: &str = "unmatched";

/// Request extension: the connection's other end is a trusted proxy, so its id of the request counts.
#[derive(Clone, Copy, Debug)]
pub struct FromProxy;

tokio::task_local! {
    /// The id of the request that is being answered.
    static CURRENT_ID: String;
}

/// The id of the request that is being answered; `None` outside of any.
pub(super) fn current_id() -> Option<String> {
    CURRENT_ID.try_with(Clone::clone).ok()
}

/// Middleware around all routes.
pub(super) async fn observe(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let request_id = request_id(&request);
    let route = request.extensions().get::<MatchedPath>().map_or(UNMATCHED, MatchedPath::as_str).to_owned();
    let method = method_name(request.method());
    let span = info_span!(
        "request",
        otel.kind = "server",
        otel.name = format!("{method} {route}"),
        %request_id,
        "http.request.method" = method,
        "http.route" = route,
        "http.response.status_code" = field::Empty,
        otel.status_code = field::Empty,
    );
    let mut watch = Watch { metrics: &api.parts.metrics, route, method, began: Instant::now(), status: None };
    let answer = async {
        match timeout(REQUEST_WITHIN, next.run(request)).await {
            Ok(response) => response,
            Err(_) => ApiError::Timeout.into_response(),
        }
    };
    let mut response = CURRENT_ID.scope(request_id.clone(), answer.instrument(span.clone())).await;
    watch.answered(&response, &span);
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// A proxy's id when it is a sane one, otherwise 64 random bits.
fn request_id(request: &Request) -> String {
    let is_proxy = request.extensions().get::<FromProxy>().is_some();
    let given = is_proxy.then(|| given_id(request.headers())).flatten();
    given.map_or_else(|| format!("{:016x}", rand::random::<u64>()), str::to_owned)
}

fn given_id(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(REQUEST_ID)?.to_str().ok()?;
    let plain = text.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c));
    (plain && (1..=REQUEST_ID_CHARS_MAX).contains(&text.len())).then_some(text)
}

/// Methods are strangers' too; those of no route have one name.
fn method_name(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// Counts a request when it is answered or dropped.
struct Watch<'a> {
    metrics: &'a Metrics,
    route: String,
    method: &'static str,
    began: Instant,
    status: Option<u16>,
}

impl Watch<'_> {
    fn answered(&mut self, response: &Response, span: &Span) {
        let (status, took) = (response.status().as_u16(), self.began.elapsed());
        self.status = Some(status);
        span.record("http.response.status_code", status);
        if response.status().is_server_error() {
            span.record("otel.status_code", "ERROR");
        }
        let _entered = span.enter();
        let took_ms = took.as_secs_f64() * 1e3;
        if response.status().is_server_error() && status != 503 {
            stranger_line!(warn, status, took_ms, "request failed");
        } else {
            debug!(status, took_ms, "request answered");
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let status = self.status.map_or_else(|| "none".into(), |status| status.to_string());
        let request = RequestLabel { route: std::mem::take(&mut self.route), method: self.method, status };
        self.metrics.request(request, self.began.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn request(id: &str, proxy: bool) -> Request {
        let mut request = Request::get("/").header(REQUEST_ID, id).body(Body::empty()).unwrap();
        if proxy {
            request.extensions_mut().insert(FromProxy);
        }
        request
    }

    #[test]
    fn only_a_trusted_proxy_may_name_a_request_and_only_plainly() {
        assert_eq!(request_id(&request("abc-1.2_3", true)), "abc-1.2_3");
        for (id, proxy) in [("abc", false), ("a b", true), ("", true), (&"x".repeat(65), true), ("a\"b", true)] {
            let made = request_id(&request(id, proxy));
            assert!(made != id && made.len() == 16 && made.bytes().all(|c| c.is_ascii_hexdigit()), "{id:?}: {made}");
        }
    }

    #[test]
    fn methods_that_a_stranger_makes_up_have_one_name() {
        assert_eq!(method_name(&Method::POST), "POST");
        assert_eq!(method_name(&Method::from_bytes(b"BREW").unwrap()), "other");
    }
}
