//! What every answer carries, and which pages of other sites may read it.
//!
//! In: answers. Out: the same with headers that keep browsers from doing more with them than is meant.
//! *Invariant:* a page may call this service from a browser exactly when it may open a WebSocket here.
//! *Invariant:* nothing here is a page with scripts, so none may run, whatever an answer holds.
//! Start reading at [`protect`].

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::Api;
use super::play::may_connect;

/// What a browser may load and run because of an answer, unless the answer itself says more: nothing.
const POLICY: &str = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
/// A browser that has come by https keeps to it for a year.
const ONLY_HTTPS: &str = "max-age=31536000";
/// How long a browser remembers that it may.
const PREFLIGHT_KEPT_FOR: Duration = Duration::from_secs(600);
/// Where answers are about accounts or matches: nobody on the way keeps them.
const API_PREFIXES: [&str; 2] = ["/v1/", "/internal/"];

/// Middleware around all routes: adds what is missing.
pub(super) async fn protect(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let is_api = API_PREFIXES.iter().any(|prefix| request.uri().path().starts_with(prefix));
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let mut add = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    add(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    add(header::CONTENT_SECURITY_POLICY, POLICY);
    add(header::X_FRAME_OPTIONS, "DENY");
    add(header::REFERRER_POLICY, "no-referrer");
    if is_api {
        add(header::CACHE_CONTROL, "no-store");
    }
    if api.parts.public_url.starts_with("https:") {
        add(header::STRICT_TRANSPORT_SECURITY, ONLY_HTTPS);
    }
    response
}

/// Which pages may read answers. Credentials are a header that a page must have been given, never a cookie.
pub(super) fn cross_origin(api: &Arc<Api>) -> CorsLayer {
    let service = Arc::clone(api);
    let is_allowed = move |origin: &HeaderValue| {
        origin.to_str().is_ok_and(|asking| may_connect(asking, &service.parts.public_url, &service.parts.origins))
    };
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(move |origin, _| is_allowed(origin)))
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, HeaderName::from_static("idempotency-key")])
        .expose_headers([header::RETRY_AFTER, super::request::REQUEST_ID])
        .max_age(PREFLIGHT_KEPT_FOR)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::super::tests::Stage;
    use super::*;
    use crate::store::tests::block_on;

    /// Broken by a header that is set on some routes only, or by one that a route's own is overwritten with.
    #[test]
    fn every_answer_keeps_browsers_from_guessing_framing_and_running_anything() {
        block_on(async {
            let stage = Stage::open().await;
            for path in ["/", "/v1/matches", "/no/such/place", "/docs"] {
                let (_, headers, _) = stage.send(Request::get(path).body(Body::empty()).unwrap()).await;
                assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
                assert_eq!(headers["x-frame-options"], "DENY", "{path}");
                let policy = headers["content-security-policy"].to_str().unwrap();
                assert!(policy.starts_with("default-src 'none'") && !policy.contains("script-src"), "{path}: {policy}");
                assert_eq!(policy.contains("style-src 'sha256-"), path == "/docs", "{path}: {policy}");
                assert_eq!(headers.contains_key("cache-control"), path.starts_with("/v1/"), "{path}");
                assert!(!headers.contains_key("strict-transport-security"), "the service is on http");
            }
        });
    }

    /// Broken by an answer that any page may read, or by one that no page may.
    #[test]
    fn pages_of_the_own_host_may_read_answers_and_strangers_may_not() {
        block_on(async {
            let stage = Stage::open().await;
            for (origin, allowed) in [("http://party.example", true), ("https://evil.example", false), ("null", false)]
            {
                let preflight = Request::options("/v1/quickplay")
                    .header(header::ORIGIN, origin)
                    .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
                    .body(Body::empty());
                let (_, headers, _) = stage.send(preflight.unwrap()).await;
                let answer = headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
                assert_eq!(answer.is_some_and(|value| value == origin), allowed, "{origin}");
                assert!(!headers.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
            }
        });
    }
}
