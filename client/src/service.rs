//! The service's HTTP API, as a client sees it. Blocking.
//!
//! In: what to ask. Out: typed answers, or a [`ServiceError`] that a person understands.
//! *Invariant:* every request has a time limit and every answer a size limit.
//! *Invariant:* rules are fetched once per hash, and what was fetched has the hash that was asked for.
//! Start reading at [`Service::join`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use astro_shared::api::{MatchSummary, Problem, QuickplayRequest, TicketAnswer, TicketRequest, Version, hex};
use astro_shared::sim::rules::Ruleset;
use astro_shared::sim::units::{MatchId, Seat};
use astro_shared::wire::{self, websocket};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::Response;
use ureq::{Agent, Body};

use crate::net::websocket::{ConnectError, WebSocketTicket};

const CONNECT_WITHIN: Duration = Duration::from_secs(2);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Longest answer; metrics of many shards are the longest there are.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// Waits asked for by `Retry-After` are cut to this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// Why the service did not give what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    #[error("no server answers at {server}: {reason}")]
    Unreachable { server: String, reason: String },
    #[error("{path} was refused with {status} {code}: {message}")]
    Refused { path: String, status: u16, code: String, message: String, retry_after: Option<Duration> },
    #[error("the answer to {path} is not what this client understands: {reason}")]
    Unintelligible { path: String, reason: String },
    #[error(
        "client and server do not speak the same wire: the client is version {client} with fingerprint {client_wire}, \
         the server version {server} with fingerprint {server_wire}; update the older one"
    )]
    Outdated { client: &'static str, client_wire: String, server: String, server_wire: String },
}

impl ServiceError {
    /// How long to wait before asking again, when the service is only busy.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            ServiceError::Refused { status: 429 | 503, retry_after, .. } => {
                Some(retry_after.unwrap_or(Duration::from_secs(1)).min(RETRY_AFTER_MAX))
            }
            _ => None,
        }
    }

    /// A WebSocket that could not be opened, in the same words as any refusal.
    pub fn from_websocket(error: ConnectError) -> ServiceError {
        let path = websocket::PATH.to_owned();
        match error {
            ConnectError::Refused { status, retry_after, body } => {
                let (code, message) = serde_json::from_str::<Problem>(&body).map_or_else(
                    |_| (String::new(), "no reason given".into()),
                    |problem| (problem.code, problem.detail),
                );
                ServiceError::Refused { path, status, code, message, retry_after }
            }
            ConnectError::Unreachable { url, reason } => ServiceError::Unreachable { server: url, reason },
            ConnectError::Address(_) => ServiceError::Unintelligible { path, reason: error.to_string() },
        }
    }

    /// Whether nothing is known about the answer, so that asking again is no pestering.
    pub fn is_lost(&self) -> bool {
        matches!(self, ServiceError::Unreachable { .. })
    }

    /// What the person who runs the bots can do about it.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            ServiceError::Unreachable { .. } => {
                Some("`cargo run --release` in another terminal starts a server; --server names another one")
            }
            ServiceError::Refused { status: 429, .. } => {
                Some("a server started with --load-test has no limits per address")
            }
            ServiceError::Refused { status: 503, .. } => {
                Some("the server has no room: play fewer matches, give it more shards, or try again later")
            }
            _ => None,
        }
    }
}

/// A seat won, with all that a session needs to take it.
#[derive(Clone, Debug)]
pub struct Joined {
    pub match_id: MatchId,
    pub seat: Seat,
    pub ruleset: Arc<Ruleset>,
    /// Leads there over UDP. This or the WebSocket ticket is good for one connection within 15 s.
    pub connect_token: Vec<u8>,
    /// Leads there over WebSocket.
    pub websocket: WebSocketTicket,
    /// Buys fresh tickets for the seat.
    pub seat_secret: String,
}

/// One server's API. Shared by threads.
pub struct Service {
    agent: Agent,
    base: String,
    rules: Mutex<HashMap<String, Arc<Ruleset>>>,
}

impl Service {
    /// `connections` are kept open between requests.
    pub fn new(base: &str, connections: usize) -> Service {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // A proxy from the environment has no business between a load generator and its server.
            .proxy(None)
            .timeout_connect(Some(CONNECT_WITHIN))
            .timeout_global(Some(ANSWER_WITHIN))
            .max_redirects(0)
            .max_idle_connections_per_host(connections)
            .build();
        Service { agent: config.into(), base: base.to_owned(), rules: Mutex::default() }
    }

    /// What the server is.
    ///
    /// # Errors
    /// When it cannot be reached, refuses, or speaks another wire.
    pub fn check_version(&self) -> Result<Version, ServiceError> {
        let version: Version = json("/version", self.get("/version")?)?;
        let ours = hex(wire::fingerprint());
        if version.fingerprint == ours {
            return Ok(version);
        }
        Err(ServiceError::Outdated {
            client: env!("CARGO_PKG_VERSION"),
            client_wire: ours,
            server: version.version,
            server_wire: version.fingerprint,
        })
    }

    /// Takes a seat.
    ///
    /// # Errors
    /// When the service has none to give, or speaks another wire.
    pub fn join(&self, request: &QuickplayRequest) -> Result<Joined, ServiceError> {
        self.ticket("/v1/quickplay", request)
    }

    /// Takes a seat back that the secret belongs to.
    ///
    /// # Errors
    /// When it is lost, or its match over, or the service speaks another wire.
    pub fn rejoin(&self, match_id: MatchId, seat_secret: &str) -> Result<Joined, ServiceError> {
        let request = TicketRequest { seat_secret: seat_secret.to_owned() };
        self.ticket(&format!("/v1/matches/{match_id}/tickets"), &request)
    }

    fn ticket(&self, path: &str, request: &impl Serialize) -> Result<Joined, ServiceError> {
        let sent = self.agent.post(format!("{}{path}", self.base)).send_json(request);
        let ticket: TicketAnswer = json(path, self.check(path, sent)?)?;
        if ticket.fingerprint != hex(wire::fingerprint()) {
            // The server has been replaced since the start; its version is worth another question.
            self.check_version()?;
        }
        let connect_token = BASE64_STANDARD.decode(&ticket.connect_token).map_err(|error| unclear(path, error))?;
        let bytes = BASE64_STANDARD.decode(&ticket.websocket_ticket).map_err(|error| unclear(path, error))?;
        let bytes = bytes.try_into().map_err(|_| unclear(path, "a WebSocket ticket of another length"))?;
        Ok(Joined {
            match_id: ticket.match_id,
            seat: Seat(ticket.seat),
            ruleset: self.rules(&ticket.rules_hash)?,
            connect_token,
            websocket: WebSocketTicket { url: ticket.websocket_url, ticket: bytes },
            seat_secret: ticket.seat_secret,
        })
    }

    /// The rules of that hash.
    ///
    /// # Errors
    /// When they cannot be had, or are others than asked for.
    pub fn rules(&self, hash: &str) -> Result<Arc<Ruleset>, ServiceError> {
        // Held while fetching, so that many joins at once fetch once.
        let mut known = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ruleset) = known.get(hash) {
            return Ok(ruleset.clone());
        }
        let path = format!("/v1/rules/{hash}");
        let text = text(&path, self.get(&path)?)?;
        let ruleset = Ruleset::from_text("rules", &text).map_err(|error| unclear(&path, error))?;
        let actual = hex(ruleset.hash());
        if actual != hash {
            return Err(unclear(&path, format!("these rules have the hash {actual}")));
        }
        known.insert(hash.to_owned(), ruleset.clone());
        Ok(ruleset)
    }

    /// A finished match; `None` when it is not stored, or not yet.
    ///
    /// # Errors
    /// When the service cannot be asked.
    pub fn match_summary(&self, id: MatchId) -> Result<Option<MatchSummary>, ServiceError> {
        let path = format!("/v1/matches/{id}");
        match self.get(&path) {
            Ok(response) => json(&path, response).map(Some),
            Err(ServiceError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The metrics page of the operations listener at `ops`.
    ///
    /// # Errors
    /// When it does not give it.
    pub fn metrics(&self, ops: &str) -> Result<String, ServiceError> {
        text("/metrics", self.get_from(ops, "/metrics")?)
    }

    fn get(&self, path: &str) -> Result<Response<Body>, ServiceError> {
        self.get_from(&self.base, path)
    }

    fn get_from(&self, base: &str, path: &str) -> Result<Response<Body>, ServiceError> {
        self.check_from(base, path, self.agent.get(format!("{base}{path}")).call())
    }

    fn check(&self, path: &str, sent: Result<Response<Body>, ureq::Error>) -> Result<Response<Body>, ServiceError> {
        self.check_from(&self.base, path, sent)
    }

    /// Tells an answer that helps from one that does not.
    fn check_from(
        &self,
        base: &str,
        path: &str,
        sent: Result<Response<Body>, ureq::Error>,
    ) -> Result<Response<Body>, ServiceError> {
        let response =
            sent.map_err(|error| ServiceError::Unreachable { server: base.to_owned(), reason: error.to_string() })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let (code, message) = json::<Problem>(path, response).map_or_else(
            |_| (String::new(), status.canonical_reason().unwrap_or("no reason given").to_owned()),
            |problem| (problem.code, problem.detail),
        );
        let retry_after = retry_after.map(Duration::from_secs);
        Err(ServiceError::Refused { path: path.to_owned(), status: status.as_u16(), code, message, retry_after })
    }
}

fn text(path: &str, mut response: Response<Body>) -> Result<String, ServiceError> {
    let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
    body.map_err(|error| unclear(path, error))
}

fn json<T: DeserializeOwned>(path: &str, mut response: Response<Body>) -> Result<T, ServiceError> {
    let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_json();
    body.map_err(|error| unclear(path, error))
}

fn unclear(path: &str, reason: impl std::fmt::Display) -> ServiceError {
    ServiceError::Unintelligible { path: path.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    /// A server that gives these answers in order, one connection each, and then is gone.
    pub fn serve(answers: Vec<(u16, &'static str, String)>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for (status, headers, body) in answers {
                let (mut stream, _) = listener.accept().unwrap();
                read_request(&mut stream);
                let length = body.len();
                let head =
                    format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n");
                stream.write_all((head + &body).as_bytes()).unwrap();
            }
        });
        base
    }

    /// Reads a whole request: closing a connection with bytes unread would reset it before the answer is through.
    fn read_request(stream: &mut TcpStream) {
        let (mut request, mut chunk) = (Vec::new(), [0; 4096]);
        let whole = |request: &[u8]| {
            let text = String::from_utf8_lossy(request).to_ascii_lowercase();
            let (head, body) = text.split_once("\r\n\r\n")?;
            let length = head.split_once("content-length: ").map_or("0", |(_, rest)| rest.lines().next().unwrap());
            (length.parse() == Ok(body.len())).then_some(())
        };
        while whole(&request).is_none() {
            let count = stream.read(&mut chunk).unwrap();
            request.extend_from_slice(&chunk[..count]);
        }
    }

    /// What `/version` answers.
    pub fn version(fingerprint: u64) -> String {
        let fingerprint = hex(fingerprint);
        format!(r#"{{"version":"9.9.9","commit":"c","sim_version":1,"fingerprint":"{fingerprint}"}}"#)
    }

    #[test]
    fn other_wires_and_other_rules_are_refused_in_words() {
        let ruleset = astro_shared::assets::ruleset("sprint").unwrap();
        let base = serve(vec![
            (200, "", version(wire::fingerprint())),
            (200, "", version(0xdead_beef)),
            (200, "", ruleset.to_text()),
            (200, "", ruleset.to_text()),
        ]);
        let service = Service::new(&base, 1);
        assert!(service.check_version().is_ok());
        let message = service.check_version().unwrap_err().to_string();
        assert!(message.contains("9.9.9") && message.contains("deadbeef") && message.contains("0.1.0"), "{message}");
        assert!(service.rules("0000000000000001").unwrap_err().to_string().contains("these rules have the hash"));
        let hash = hex(ruleset.hash());
        assert_eq!(service.rules(&hash).unwrap(), ruleset);
        assert_eq!(service.rules(&hash).unwrap(), ruleset, "not fetched again: there is no fifth answer");
    }

    #[test]
    fn busy_is_told_from_wrong_and_from_gone() {
        let error =
            r#"{"type":"about:blank","title":"Busy","status":503,"detail":"every shard is full","code":"full"}"#
                .to_owned();
        let base = serve(vec![(503, "retry-after: 7\r\n", error.clone()), (400, "", error), (404, "", String::new())]);
        let service = Service::new(&base, 1);
        let busy = service.metrics(&base).unwrap_err();
        assert_eq!(busy.retry_after(), Some(Duration::from_secs(7)));
        assert_eq!(busy.to_string(), "/metrics was refused with 503 full: every shard is full");
        assert_eq!(service.metrics(&base).unwrap_err().retry_after(), None);
        assert_eq!(service.match_summary(MatchId(1)), Ok(None));
        let nowhere = "http://127.0.0.1:1".to_owned();
        let gone = Service::new(&nowhere, 1).metrics(&nowhere).unwrap_err();
        assert!(gone.to_string().starts_with("no server answers at http://127.0.0.1:1: "), "{gone}");
    }
}
