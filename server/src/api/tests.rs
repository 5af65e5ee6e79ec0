//! The service through its routes, with a host that only counts seats.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use astro_shared::api::{MatchList, MatchSummary, Problem, RunningList, TicketAnswer, Version, WatchAnswer};
use astro_shared::sim::units::{MatchId, Seat};
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tower::ServiceExt;

mod operators;
mod wishes;

use super::*;
use crate::directory::{MatchCard, Standing};
use crate::hosts::{
    Access, Answer, Claim, Hold, HostError, MatchOrder, MatchReport, MatchesByState, SeatSecret, ShardReport, Ticket,
    WatchTicket,
};
use crate::records::encode_batch;
use crate::records::tests::record;
use crate::store::tests::{Folder, block_on};
use crate::telemetry::SpoolState;
use crate::transport::websocket::SocketLimits;

/// A host without ticks: opens matches, hands out seats.
#[derive(Default)]
struct Counting {
    matches: Mutex<HashMap<MatchId, (MatchOrder, u8)>>,
    directory: Mutex<Option<Arc<Directory>>>,
    capacity: AtomicUsize,
    /// Tickets to refuse although a seat is free: the match has begun.
    begun: AtomicUsize,
    drained: AtomicBool,
    /// Whether its only shard is.
    stuck: AtomicBool,
    /// Of tickets nobody has used yet.
    holds: Mutex<Vec<Hold>>,
    /// Of all matches; there is room for two.
    spectators: AtomicUsize,
}

impl Counting {
    /// Seats taken per match.
    fn taken(&self) -> Vec<u8> {
        let mut taken: Vec<u8> = self.matches.lock().unwrap().values().map(|(_, taken)| *taken).collect();
        taken.sort_unstable();
        taken
    }

    fn take_seat(&self, match_id: MatchId, claim: &Claim) -> Result<Ticket, HostError> {
        let mut matches = self.matches.lock().unwrap();
        let (order, taken) = matches.get_mut(&match_id).ok_or(HostError::NoSuchMatch)?;
        let one = |left: usize| left.checked_sub(1);
        if *taken > 0 && self.begun.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one).is_ok() {
            return Err(HostError::NoFreeSeat);
        }
        let seat = match claim {
            Claim::Join { .. } if *taken == order.seats => return Err(HostError::NoFreeSeat),
            Claim::Join { .. } => std::mem::replace(taken, *taken + 1),
            Claim::Return { secret } if secret.0[0] < *taken => secret.0[0],
            Claim::Return { .. } => return Err(HostError::SeatLost),
        };
        Ok(Ticket {
            seat: Seat(seat),
            secret: SeatSecret([seat; 32]),
            access: access(seat),
            seats_free: order.seats - *taken,
        })
    }
}

fn access(byte: u8) -> Access {
    Access { connect_token: vec![byte; 1172], udp: ([127, 0, 0, 1], 9000).into(), websocket_ticket: [byte; 16] }
}

impl Hosts for Counting {
    fn allocate(&self, order: MatchOrder) -> Answer<'_, (), HostError> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            let mut matches = self.matches.lock().unwrap();
            if matches.len() >= self.capacity.load(Ordering::Relaxed) {
                return Err(HostError::Full);
            }
            self.directory.lock().unwrap().as_ref().unwrap().insert(order.match_id, 0, MatchCard::of(&order));
            assert!(matches.insert(order.match_id, (order, 0)).is_none(), "the same match opened twice");
            Ok(())
        })
    }

    fn ticket(&self, match_id: MatchId, claim: Claim, hold: Hold) -> Answer<'_, Ticket, HostError> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            self.holds.lock().unwrap().push(hold);
            self.take_seat(match_id, &claim)
        })
    }

    fn watch(&self, match_id: MatchId, hold: Hold) -> Answer<'_, WatchTicket, HostError> {
        Box::pin(async move {
            self.holds.lock().unwrap().push(hold);
            let matches = self.matches.lock().unwrap();
            let (order, _) = matches.get(&match_id).ok_or(HostError::NoSuchMatch)?;
            let spectators = self.spectators.fetch_add(1, Ordering::Relaxed);
            let delay = order.spectate_delay;
            if spectators < 2 { Ok(WatchTicket { access: access(7), delay }) } else { Err(HostError::SpectatorsFull) }
        })
    }

    fn void(&self, match_id: MatchId, _: String) -> Answer<'_, (), HostError> {
        let known = self.matches.lock().unwrap().remove(&match_id).is_some();
        Box::pin(std::future::ready(known.then_some(()).ok_or(HostError::NoSuchMatch)))
    }

    fn drain(&self, _: Duration) -> Answer<'_, (), HostError> {
        self.drained.store(true, Ordering::Relaxed);
        Box::pin(async { Ok(()) })
    }

    fn shards(&self) -> Answer<'_, Vec<ShardReport>, HostError> {
        let players = self.taken().iter().map(|taken| usize::from(*taken)).sum();
        let matches = MatchesByState { playing: self.taken().len() as u32, ..MatchesByState::default() };
        let shard = ShardReport {
            shard: 0,
            stuck: self.stuck.load(Ordering::Relaxed),
            matches,
            seats: 4,
            players,
            links: players,
            tick_mean_us: 250,
        };
        Box::pin(std::future::ready(Ok(vec![shard])))
    }

    fn running(&self, limit: usize) -> Answer<'_, Vec<MatchReport>, HostError> {
        let report = |(match_id, (order, taken)): (&MatchId, &(MatchOrder, u8))| MatchReport {
            match_id: *match_id,
            shard: 0,
            state: "playing".into(),
            mode: "last_ship".into(),
            rules: "sprint".into(),
            seats: order.seats,
            players: *taken,
            links: *taken,
            tick: 7,
            round: 1,
            age_s: u64::from(*taken),
        };
        let reports = self.matches.lock().unwrap().iter().map(report).take(limit).collect();
        Box::pin(std::future::ready(Ok(reports)))
    }
}

pub(super) struct Stage {
    pub(super) api: Arc<Api>,
    hosts: Arc<Counting>,
    spool_healthy: Arc<AtomicBool>,
    _folder: Folder,
}

impl Stage {
    pub(super) async fn open() -> Stage {
        Stage::limited(Limits::default()).await
    }

    async fn limited(limits: Limits) -> Stage {
        let folder = Folder::new();
        let directory = Arc::new(Directory::in_memory());
        let hosts = Arc::new(Counting { capacity: 1000.into(), ..Counting::default() });
        *hosts.directory.lock().unwrap() = Some(Arc::clone(&directory));
        let metrics = Arc::new(Metrics::new());
        let spool_healthy = Arc::new(AtomicBool::new(true));
        let probe = Arc::clone(&spool_healthy);
        metrics.watch_spool(move || SpoolState { healthy: probe.load(Ordering::Relaxed), depth: 0, lost: 0 });
        let api = Api::new(Parts {
            hosts: Arc::clone(&hosts) as Arc<dyn Hosts>,
            store: Store::open(&folder.0).await.unwrap(),
            directory,
            rulebook: Arc::new(Rulebook::load(None).unwrap()),
            metrics,
            fleet_key: FleetKey::new("the-key"),
            public_url: "http://party.example".into(),
            limits,
            spectate_delay: Duration::from_secs(10),
            gate: Gate::new(SocketLimits::default(), tokio::runtime::Handle::current()),
            origins: Vec::new(),
            operators: Operators { key: None, drain_grace: Duration::from_secs(30) },
        });
        Stage { api, hosts, spool_healthy, _folder: folder }
    }

    pub(super) async fn send(&self, request: Request<Body>) -> (StatusCode, header::HeaderMap, Vec<u8>) {
        self.send_to(routes(Arc::clone(&self.api)), request).await
    }

    async fn send_to(&self, to: Router, mut request: Request<Body>) -> (StatusCode, header::HeaderMap, Vec<u8>) {
        request.extensions_mut().get_or_insert(peer::Peer([192, 0, 2, 1].into()));
        let response = to.oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        (parts.status, parts.headers, to_bytes(body, usize::MAX).await.unwrap().to_vec())
    }

    pub(super) async fn get(&self, path: &str) -> (StatusCode, Vec<u8>) {
        let (status, _, body) = self.send(Request::get(path).body(Body::empty()).unwrap()).await;
        (status, body)
    }

    async fn post(&self, path: &str, body: impl Into<Body>) -> (StatusCode, Vec<u8>) {
        let request = Request::post(path).header(header::CONTENT_TYPE, "application/json").body(body.into()).unwrap();
        let (status, _, body) = self.send(request).await;
        (status, body)
    }

    async fn quickplay(&self, wish: Value) -> Result<TicketAnswer, (u16, String)> {
        answer(self.post("/v1/quickplay", wish.to_string()).await)
    }

    async fn deliver(&self, key: &str, body: Vec<u8>) -> Result<(), (u16, String)> {
        let request = Request::post("/internal/v1/results").header(header::AUTHORIZATION, format!("Bearer {key}"));
        let (status, _, body) = self.send(request.body(body.into()).unwrap()).await;
        if status == StatusCode::NO_CONTENT { Ok(()) } else { Err(refusal(status, &body)) }
    }
}

fn answer<T: DeserializeOwned>((status, body): (StatusCode, Vec<u8>)) -> Result<T, (u16, String)> {
    if status == StatusCode::OK { Ok(serde_json::from_slice(&body).unwrap()) } else { Err(refusal(status, &body)) }
}

/// Every refusal is a `Problem` with a sentence in it.
fn refusal(status: StatusCode, body: &[u8]) -> (u16, String) {
    let text = String::from_utf8_lossy(body);
    let error: Problem = serde_json::from_slice(body).unwrap_or_else(|_| panic!("{status} with {text:?}"));
    assert!(!error.detail.is_empty());
    (status.as_u16(), error.code)
}

fn refusal_of((status, body): (StatusCode, Vec<u8>)) -> (u16, String) {
    refusal(status, &body)
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.into())
}

fn ada() -> Value {
    json!({"name": "Ada", "mode": "last_ship", "rules": "sprint"})
}

#[test]
fn a_burst_of_a_thousand_joins_fills_matches_to_the_last_seat() {
    block_on(async {
        let limits = Limits { load_test: true, joins_in_flight_max: 1000, ..Limits::default() };
        let stage = Arc::new(Stage::limited(limits).await);
        let joins: Vec<_> = (0..1000)
            .map(|_| {
                let stage = Arc::clone(&stage);
                tokio::spawn(async move { stage.quickplay(ada()).await.unwrap() })
            })
            .collect();
        let mut seats = std::collections::HashSet::new();
        for join in joins {
            let ticket = join.await.unwrap();
            assert!(seats.insert((ticket.match_id, ticket.seat)), "a seat given twice");
        }
        assert_eq!(stage.hosts.taken(), [4; 250]);
    });
}

#[test]
fn players_meet_only_with_the_same_wish() {
    block_on(async {
        let stage = Stage::open().await;
        let mut first = stage.quickplay(ada()).await.unwrap();
        assert_eq!(first.match_id, stage.quickplay(ada()).await.unwrap().match_id);
        for other in [json!({"seats": 2}), json!({"rules": "standard"}), json!({"group": "a"}), json!({"group": ""})] {
            let mut wish = ada();
            wish.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
            let ticket = stage.quickplay(wish).await.unwrap();
            assert_ne!(ticket.match_id, std::mem::replace(&mut first, ticket.clone()).match_id);
        }
        assert_eq!(stage.hosts.taken(), [1, 1, 1, 1, 2]);
        assert_eq!(stage.api.quickplay.open_matches(), 5);
    });
}

#[test]
fn a_match_that_has_begun_is_passed_over() {
    block_on(async {
        let stage = Stage::open().await;
        let first = stage.quickplay(ada()).await.unwrap();
        stage.hosts.begun.store(1, Ordering::Relaxed);
        let second = stage.quickplay(ada()).await.unwrap();
        assert_ne!(first.match_id, second.match_id);
        assert_eq!(second.match_id, stage.quickplay(ada()).await.unwrap().match_id);
        assert_eq!(stage.hosts.taken(), [1, 2]);
    });
}

#[test]
fn no_room_says_when_to_ask_again() {
    block_on(async {
        let stage = Stage::open().await;
        stage.hosts.capacity.store(1, Ordering::Relaxed);
        for _ in 0..4 {
            stage.quickplay(ada()).await.unwrap();
        }
        for code in ["full", "draining"] {
            let request = Request::post("/v1/quickplay").header(header::CONTENT_TYPE, "application/json");
            let (status, headers, body) = stage.send(request.body(ada().to_string().into()).unwrap()).await;
            assert_eq!(refusal(status, &body), refused(503, code));
            assert_eq!(headers[header::RETRY_AFTER], "2", "{code}");
            stage.api.drain();
        }
        assert_eq!(stage.api.quickplay.open_matches(), 0);
    });
}

#[test]
fn an_address_that_asks_too_often_is_told_which_limit_and_when_to_come_back() {
    block_on(async {
        let stage = Stage::limited(Limits { joins_burst_per_address: 3, ..Limits::default() }).await;
        for _ in 0..3 {
            stage.quickplay(ada()).await.unwrap();
        }
        let ask = |address: [u8; 4], path: &str| {
            let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
            stage.send(request.extension(peer::Peer(address.into())).body(ada().to_string().into()).unwrap())
        };
        let tickets = format!("/v1/matches/{}/tickets", MatchId(1));
        for path in ["/v1/quickplay", &tickets] {
            let (status, headers, body) = ask([192, 0, 2, 1], path).await;
            assert_eq!(refusal(status, &body), refused(429, "too_many_requests"), "{path}");
            assert_eq!(headers[header::RETRY_AFTER], "1");
            let body: Problem = serde_json::from_slice(&body).unwrap();
            assert!(body.detail.contains("joins_per_minute_per_address"), "{}", body.detail);
        }
        assert_eq!(ask([192, 0, 2, 2], "/v1/quickplay").await.0, StatusCode::OK);
        for path in ["/healthz", "/readyz", "/version", "/v1/matches"] {
            assert_eq!(stage.get(path).await.0, StatusCode::OK, "{path}");
        }
        let page = stage.api.parts.metrics.render();
        assert!(page.contains("astro_http_refused_total{reason=\"joins_per_address\"} 2"), "{page}");
    });
}

#[test]
fn tickets_that_nobody_uses_keep_an_address_from_more_until_they_are_over() {
    block_on(async {
        let stage = Stage::limited(Limits { joins_outstanding_per_address: 2, ..Limits::default() }).await;
        for _ in 0..2 {
            stage.quickplay(ada()).await.unwrap();
        }
        assert_eq!(stage.quickplay(ada()).await, Err(refused(429, "too_many_requests")));
        stage.hosts.holds.lock().unwrap().pop();
        stage.quickplay(ada()).await.unwrap();
        // What is refused leaves nothing outstanding behind.
        stage.hosts.holds.lock().unwrap().clear();
        for _ in 0..5 {
            assert_eq!(stage.quickplay(json!({"name": "", "mode": "last_ship"})).await.unwrap_err().0, 400);
        }
        stage.quickplay(ada()).await.unwrap();
    });
}

#[test]
fn a_seat_secret_buys_a_fresh_ticket_for_the_same_seat() {
    block_on(async {
        let stage = Stage::open().await;
        stage.quickplay(ada()).await.unwrap();
        let ticket = stage.quickplay(ada()).await.unwrap();
        assert_eq!((ticket.seat, ticket.seats, ticket.connect_token.len()), (1, 4, 1564));
        assert_eq!(ticket.websocket_url, "ws://party.example/v1/play");
        let path = format!("/v1/matches/{}/tickets", ticket.match_id);
        let back = |secret: &str| stage.post(&path, json!({"seat_secret": secret}).to_string());
        let again: TicketAnswer = answer(back(&ticket.seat_secret).await).unwrap();
        assert_eq!(again, ticket);
        let wrong = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [9; 32]);
        assert_eq!(answer::<Value>(back(&wrong).await), Err(refused(410, "seat_lost")));
        assert_eq!(answer::<Value>(back("short").await), Err(refused(400, "invalid_secret")));
        let nowhere = format!("/v1/matches/{}/tickets", MatchId(1));
        let lost = stage.post(&nowhere, json!({"seat_secret": wrong}).to_string()).await;
        assert_eq!(answer::<Value>(lost), Err(refused(404, "unknown_match")));
    });
}

#[test]
fn requests_that_make_no_sense_are_refused_with_a_code() {
    block_on(async {
        let stage = Stage::open().await;
        for (change, code) in [
            (json!({"name": ""}), "invalid_name"),
            (json!({"name": "a\u{202e}b"}), "invalid_name"),
            (json!({"seats": 1}), "invalid_seats"),
            (json!({"seats": 9}), "invalid_seats"),
            (json!({"seats": 300}), "invalid_json"),
            (json!({"mode": "chess"}), "unknown_mode"),
            (json!({"rules": "moon"}), "unknown_rules"),
            (json!({"group": "x".repeat(33)}), "invalid_group"),
            (json!({"group": "a b"}), "invalid_group"),
            (json!({"nmae": "Ada"}), "invalid_json"),
        ] {
            let mut wish = ada();
            wish.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            assert_eq!(stage.quickplay(wish).await, Err(refused(400, code)), "{change}");
        }
        let answers = [
            (stage.post("/v1/quickplay", "{\"name\":").await, refused(400, "invalid_json")),
            (stage.post("/v1/quickplay", " ".repeat(65 * 1024)).await, refused(413, "body_too_large")),
            (stage.post("/v1/matches", "{}").await, refused(405, "method_not_allowed")),
            (stage.get("/v1/quickplay").await, refused(405, "method_not_allowed")),
            (stage.get("/v1/nothing").await, refused(404, "not_found")),
            (stage.get("/v1/matches/12").await, refused(400, "invalid_path")),
            (stage.get("/v1/matches?limit=0").await, refused(400, "invalid_limit")),
            (stage.get("/v1/matches?limit=101").await, refused(400, "invalid_limit")),
            (stage.get("/v1/matches?limit=x").await, refused(400, "invalid_query")),
            (stage.get("/v1/rules/zz").await, refused(404, "unknown_hash")),
        ];
        for ((status, body), expected) in answers {
            assert_eq!(refusal(status, &body), expected);
        }
        let (status, body) = stage.post("/v1/quickplay", "{\"name\": 5}").await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(String::from_utf8(body).unwrap().contains("name: invalid type"), "the reason is named");
        let plain = Request::post("/v1/quickplay").body(ada().to_string().into()).unwrap();
        let (status, _, body) = stage.send(plain).await;
        assert_eq!(refusal(status, &body), refused(415, "not_json"));
    });
}

#[test]
fn results_arrive_once_and_only_with_the_fleet_key() {
    block_on(async {
        let stage = Stage::open().await;
        let batch = encode_batch(&[record(1), record(2)]);
        assert_eq!(stage.deliver("wrong", batch.clone()).await, Err(refused(401, "unauthorized")));
        assert_eq!(answer::<MatchList>(stage.get("/v1/matches").await).unwrap().matches, []);
        stage.deliver("the-key", batch.clone()).await.unwrap();
        stage.deliver("the-key", batch.clone()).await.unwrap();
        assert_eq!(answer::<MatchList>(stage.get("/v1/matches?limit=5").await).unwrap().matches.len(), 2);
        assert_eq!(stage.deliver("the-key", batch[..9].to_vec()).await, Err(refused(400, "invalid_records")));
        let mut forged = record(1);
        forged.rounds = 9;
        assert_eq!(stage.deliver("the-key", encode_batch(&[forged, record(3)])).await, Err(refused(409, "conflict")));
        let page = stage.page_of_metrics().await;
        assert!(page.contains("astro_results_stored_total 5\n") && page.contains("astro_results_conflicting 1\n"));
        let odd = vec![0; 2 * BODY_BYTES_MAX];
        assert_eq!(stage.deliver("the-key", odd).await, Err(refused(400, "invalid_records")));
        let big = vec![0; RESULTS_BYTES_MAX + 1];
        assert_eq!(stage.deliver("the-key", big).await, Err(refused(413, "body_too_large")));
    });
}

#[test]
fn the_spool_is_told_that_a_contradiction_needs_no_second_delivery() {
    block_on(async {
        let stage = Stage::open().await;
        let mut forged = record(1);
        forged.rounds = 9;
        stage.api.results().deliver(vec![record(1)]).await.unwrap();
        stage.api.results().deliver(vec![forged]).await.unwrap();
        stage.api.parts.store.close().await;
        assert!(stage.api.results().deliver(vec![record(2)]).await.is_err());
    });
}

#[test]
fn a_finished_match_can_be_seen_and_its_replay_fetched() {
    block_on(async {
        let stage = Stage::open().await;
        stage.deliver("the-key", encode_batch(&[record(7)])).await.unwrap();
        let path = format!("/v1/matches/{}", MatchId(7));
        let summary: MatchSummary = answer(stage.get(&path).await).unwrap();
        assert_eq!(
            (summary.seats[0].name.as_str(), summary.seats[1].seat, summary.winner),
            ("Żółw \"quoted\"", 1, Some(0))
        );
        assert_eq!(summary.replay, Some(format!("http://party.example{path}/replay")));
        let request = Request::get(format!("{path}/replay")).body(Body::empty()).unwrap();
        let (status, headers, body) = stage.send(request).await;
        assert_eq!((status, body), (StatusCode::OK, record(7).replay));
        assert_eq!(headers[header::CONTENT_TYPE], "application/octet-stream");
        let name = format!("attachment; filename=\"{}.replay\"", MatchId(7));
        assert_eq!(headers[header::CONTENT_DISPOSITION], name.as_str());
    });
}

#[test]
fn a_running_match_is_told_from_one_that_never_was() {
    block_on(async {
        let stage = Stage::open().await;
        let ticket = stage.quickplay(ada()).await.unwrap();
        for suffix in ["", "/replay"] {
            let running = stage.get(&format!("/v1/matches/{}{suffix}", ticket.match_id)).await;
            assert_eq!(answer::<Value>(running), Err(refused(404, "not_finished")));
            let unknown = stage.get(&format!("/v1/matches/{}{suffix}", MatchId(5))).await;
            assert_eq!(answer::<Value>(unknown), Err(refused(404, "unknown_match")));
        }
        let (status, rules) = stage.get(&format!("/v1/rules/{}", ticket.rules_hash)).await;
        assert_eq!(status, StatusCode::OK);
        let book = Rulebook::load(None).unwrap();
        assert_eq!(String::from_utf8(rules).unwrap(), book.named("sprint").unwrap().to_text());
    });
}

#[test]
fn connections_are_served_until_the_word_to_stop() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    block_on(async {
        let stage = Stage::open().await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let routes = routes(Arc::clone(&stage.api));
        let server = tokio::spawn(async move {
            serve::serve(listener, routes, &Limits::default(), Arc::new(Metrics::new()), stopped).await;
        });
        let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
        for _ in 0..2 {
            client.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            let mut answer = vec![0; 512];
            let length = client.read(&mut answer).await.unwrap();
            assert!(answer[..length].starts_with(b"HTTP/1.1 200"));
        }
        stop.send(true).unwrap();
        server.await.unwrap();
        // Well before the five seconds after which an idle connection is closed anyway.
        let closed = tokio::time::timeout(Duration::from_secs(2), client.read(&mut [0; 16])).await;
        assert_eq!(closed.expect("an idle connection stays open").unwrap(), 0);
    });
}

#[test]
fn who_wants_to_watch_gets_a_ticket_or_a_reason() {
    block_on(async {
        let stage = Stage::open().await;
        let match_id = stage.quickplay(ada()).await.unwrap().match_id;
        let path = format!("/v1/matches/{match_id}/watch");
        let watch = async |body: &'static str| answer::<WatchAnswer>(stage.post(&path, body).await);
        let ticket = watch("{}").await.unwrap();
        assert_eq!((ticket.match_id, ticket.seats, ticket.delay_seconds), (match_id, 4, 10));
        assert_eq!(ticket.websocket_url, "ws://party.example/v1/play");
        let bare = stage.send(Request::post(&path).body(Body::empty()).unwrap()).await;
        assert_eq!(bare.0, StatusCode::OK, "the body may be left out");
        assert_eq!(watch("{}").await, Err(refused(409, "spectators_full")));
        assert_eq!(watch("{\"seat\": 1}").await, Err(refused(400, "invalid_json")));
        let nowhere = stage.post(&format!("/v1/matches/{}/watch", MatchId(7)), "{}").await;
        assert_eq!(answer::<WatchAnswer>(nowhere), Err(refused(404, "unknown_match")));
        stage.api.drain();
        assert_eq!(watch("{}").await, Err(refused(503, "draining")));
    });
}

/// Broken by a list that shows what a group was promised to keep to itself, or by a delay for those who wanted none.
#[test]
fn a_group_has_its_match_for_itself_and_shown_at_once_strangers_are_listed_and_shown_late() {
    block_on(async {
        let stage = Stage::open().await;
        let mut wish = ada();
        let open = stage.quickplay(wish.clone()).await.unwrap().match_id;
        wish.as_object_mut().unwrap().insert("group".into(), "friends".into());
        let private = stage.quickplay(wish).await.unwrap().match_id;
        let running = async |path| answer::<RunningList>(stage.get(path).await);
        assert_eq!(running("/v1/matches/running").await.unwrap().matches, [], "none has begun");
        for id in [open, private] {
            let standing = Standing { players: 1, spectators: 2, started_ms: 5 };
            stage.api.parts.directory.note(id, Some(standing));
        }
        let listed = running("/v1/matches/running?limit=100").await.unwrap().matches;
        let [found] = &listed[..] else { panic!("{listed:?}") };
        assert_eq!((found.match_id, found.players, found.spectators, found.demo), (open, 1, 2, false));
        assert_eq!((found.mode.as_str(), found.rules.as_str(), found.seats), ("last_ship", "sprint", 4));
        assert_eq!(running("/v1/matches/running?limit=101").await, Err(refused(400, "invalid_limit")));
        let watch = async |id| answer::<WatchAnswer>(stage.post(&format!("/v1/matches/{id}/watch"), "{}").await);
        assert_eq!(watch(open).await.unwrap().delay_seconds, 10);
        assert_eq!(watch(private).await.unwrap().delay_seconds, 0, "who knows its id may watch it");
    });
}
