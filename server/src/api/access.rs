//! Who may call what: one row an endpoint, which no endpoint can be without.
//!
//! In: an endpoint's handler and its row. Out: the router, and what its description says of callers.
//! *Invariant:* every public route is made by [`Endpoint::new`], which asks for a row; so one without does not build.
//! *Invariant:* a row says what callers meet before the request itself is looked at: who is let in may still ask for nonsense.
//! It enforces nothing: extractors do (`FromFleet` for hosts), and the test below calls every endpoint without credentials.
//! Start reading at [`Access`].

use std::sync::Arc;

use axum::http::Method;
use utoipa::openapi::path::HttpMethod;
use utoipa_axum::router::UtoipaMethodRouter;

use super::Api;

/// What a caller meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// The endpoint.
    Served,
    /// 401: who are you?
    Unauthorized,
    /// 403: not you.
    Forbidden,
    /// 404: what is not yours is not there.
    Missing,
}

impl Met {
    /// The status that says so; `None` where the endpoint answers.
    pub fn status(self) -> Option<u16> {
        match self {
            Met::Served => None,
            Met::Unauthorized => Some(401),
            Met::Forbidden => Some(403),
            Met::Missing => Some(404),
        }
    }
}

/// Kinds of callers, in the order of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallerKind {
    /// Without credentials.
    Nobody,
    /// The account that it is about.
    Own,
    /// Another account.
    Other,
    /// An account that is banned, asking about itself.
    Banned,
    Moderator,
    Admin,
    /// A host, by the fleet key.
    Host,
}

impl CallerKind {
    pub const ALL: [CallerKind; 7] = [
        CallerKind::Nobody,
        CallerKind::Own,
        CallerKind::Other,
        CallerKind::Banned,
        CallerKind::Moderator,
        CallerKind::Admin,
        CallerKind::Host,
    ];
}

/// A row of the table: what each kind of caller meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access([Met; 7]);

use Met::{Forbidden as F, Missing as M, Served as S, Unauthorized as U};

impl Access {
    //                                      nobody own other banned moderator admin host
    /// Open to all; credentials, good or bad, make no difference.
    pub const ANYBODY: Access = Access([S, S, S, S, S, S, S]);
    /// Any account in good standing.
    pub const SIGNED_IN: Access = Access([U, S, S, F, S, S, U]);
    /// Any account about itself, banned or not: leaving, and taking one's data along.
    pub const ACCOUNT: Access = Access([U, S, S, S, S, S, U]);
    /// An account about what is its own; to all others it does not exist.
    pub const OWNER: Access = Access([U, S, M, F, M, M, U]);
    pub const MODERATOR: Access = Access([U, F, F, F, S, S, U]);
    pub const ADMIN: Access = Access([U, F, F, F, F, S, U]);
    /// The hosts of the fleet.
    pub const HOST: Access = Access([U, U, U, U, U, U, S]);

    /// What this kind of caller meets.
    pub fn of(self, caller: CallerKind) -> Met {
        self.0[caller as usize]
    }

    /// Whether anybody at all is asked who he is.
    pub fn is_open(self) -> bool {
        self == Access::ANYBODY
    }
}

/// One endpoint: where it is, who may call it, what answers.
pub struct Endpoint {
    pub method: Method,
    pub path: String,
    pub access: Access,
    pub(super) routes: UtoipaMethodRouter<Arc<Api>>,
}

impl Endpoint {
    /// An endpoint made by `routes!(handler)`; the handler's `#[utoipa::path]` says method and path.
    ///
    /// # Panics
    /// When `routes` is not exactly one operation: our own mistake, met at every start.
    pub(super) fn new(routes: UtoipaMethodRouter<Arc<Api>>, access: Access) -> Endpoint {
        let (path, item) = routes.1.paths.iter().next().expect("an endpoint has a path");
        let operations = [
            (HttpMethod::Get, &item.get),
            (HttpMethod::Post, &item.post),
            (HttpMethod::Put, &item.put),
            (HttpMethod::Patch, &item.patch),
            (HttpMethod::Delete, &item.delete),
        ];
        let mut found = operations.iter().filter(|(_, operation)| operation.is_some()).map(|(method, _)| method);
        let method = match found.next().expect("an endpoint has a method") {
            HttpMethod::Post => Method::POST,
            HttpMethod::Put => Method::PUT,
            HttpMethod::Patch => Method::PATCH,
            HttpMethod::Delete => Method::DELETE,
            _ => Method::GET,
        };
        assert!(found.next().is_none(), "{path}: one row an operation");
        Endpoint { method, path: path.clone(), access, routes }
    }

    /// The same with something around its handler: a limit of its own.
    pub(super) fn with(
        mut self,
        wrap: impl FnOnce(axum::routing::MethodRouter<Arc<Api>>) -> axum::routing::MethodRouter<Arc<Api>>,
    ) -> Endpoint {
        self.routes.2 = wrap(self.routes.2);
        self
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::{Request, StatusCode};

    use super::super::tests::Stage;
    use super::*;
    use crate::store::tests::block_on;

    /// Broken by a handler that lets in whom its row keeps out, or asks for credentials where the row asks for none.
    #[test]
    fn without_credentials_every_endpoint_does_as_its_row_says() {
        block_on(async {
            let stage = Stage::open().await;
            for endpoint in super::super::endpoints(&stage.api) {
                let path = endpoint.path.replace("{id}", "0192f00d-aaaa-7bbb-8ccc-ddddeeeeffff");
                let request =
                    Request::builder().method(&endpoint.method).uri(path.replace("{hash}", "0000000000000001"));
                let (status, _, _) = stage.send(request.body(Body::empty()).unwrap()).await;
                let met = endpoint.access.of(CallerKind::Nobody);
                let is_kept_out = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status);
                assert_eq!(is_kept_out, met != Met::Served, "{} {}: {status}", endpoint.method, endpoint.path);
                assert!(!is_kept_out || met.status() == Some(status.as_u16()), "{}: {status}", endpoint.path);
            }
        });
    }

    /// Broken by a row in which somebody below may do more than somebody above.
    #[test]
    fn a_moderator_may_what_a_stranger_may_and_an_admin_what_a_moderator_may() {
        use CallerKind as K;
        for access in [Access::ANYBODY, Access::SIGNED_IN, Access::ACCOUNT, Access::MODERATOR, Access::ADMIN] {
            let serves = |kind| access.of(kind) == Met::Served;
            for (below, above) in [(K::Nobody, K::Other), (K::Other, K::Moderator), (K::Moderator, K::Admin)] {
                assert!(!serves(below) || serves(above), "{access:?}: {below:?} may and {above:?} may not");
            }
            assert!(!serves(K::Banned) || serves(K::Own));
        }
        assert_eq!(Access::HOST.of(K::Admin), Met::Unauthorized, "no account is a host");
    }
}
