//! Promise: a place is given once however many ask for it at the same time, no shard takes more than its limits, and a
//! place that nobody takes up is free again after 15 s. Through the service's routes and a real host, in this process.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use astro_server::api::admin::Operators;
use astro_server::api::fleet_key::FleetKey;
use astro_server::api::limits::Limits;
use astro_server::api::peer::Peer;
use astro_server::api::{self, Api};
use astro_server::assets::Rulebook;
use astro_server::directory::Directory;
use astro_server::host::matches::Command;
use astro_server::host::placement::ShardLimits;
use astro_server::host::spool::Spool;
use astro_server::host::{Host, HostConfig};
use astro_server::hosts::{Claim, Hold, HostError, Hosts};
use astro_server::store::Store;
use astro_server::telemetry::{Metrics, SpoolState};
use astro_server::transport::LinkId;
use astro_server::transport::websocket::SocketLimits;
use astro_shared::api::{Problem, TicketAnswer};
use astro_shared::sim::units::MatchId;
use astro_tests::pilots::rules;
use astro_tests::stage::Stage;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tower::ServiceExt;

const RUNS: usize = 100;
const JOINS: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(30);

/// A host and the service in front of it, without a network between them.
struct House {
    host: Arc<Host>,
    directory: Arc<Directory>,
    routes: Router,
    runtime: Runtime,
    folder: PathBuf,
}

impl House {
    fn open(name: &str, shards: usize, limits: ShardLimits) -> House {
        // What limits joins is tested elsewhere; here they shall all arrive.
        let joins = Limits { load_test: true, joins_burst: 1_000_000, joins_in_flight_max: JOINS, ..Limits::default() };
        House::open_with(name, shards, limits, joins)
    }

    fn open_with(name: &str, shards: usize, limits: ShardLimits, joins: Limits) -> House {
        let folder = std::env::temp_dir().join(format!("astro-races-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (spool, _) = Spool::open(&folder.join("spool")).expect("a spool");
        let (directory, metrics) = (Arc::new(Directory::in_memory()), Arc::new(Metrics::new()));
        metrics.watch_spool(|| SpoolState { healthy: true, depth: 0, lost: 0 });
        let config = HostConfig {
            udp: "127.0.0.1:0".parse().expect("an address"),
            public_udp: None,
            shards,
            lanes_per_shard: 1,
            limits,
            capsules: folder.join("capsules"),
            sockets: SocketLimits::default(),
        };
        let host = Host::start(config, &metrics, spool, Arc::clone(&directory), runtime.handle()).expect("a host");
        let host = Arc::new(host);
        let parts = api::Parts {
            hosts: Arc::clone(&host) as Arc<dyn Hosts>,
            store: runtime.block_on(Store::open(&folder)).expect("a store"),
            directory: Arc::clone(&directory),
            rulebook: Arc::new(Rulebook::load(None).expect("rules")),
            metrics,
            fleet_key: FleetKey::new("the-key"),
            public_url: "http://party.example".into(),
            limits: joins,
            gate: host.gate(),
            origins: Vec::new(),
            spectate_delay: Duration::ZERO,
            operators: Operators { key: None, drain_grace: PATIENCE },
        };
        let routes = api::routes(Api::new(parts));
        House { host, directory, routes, runtime, folder }
    }

    /// That many joins of one group at the same time; what became of them.
    fn join_all(&self, joins: usize, group: &str, seats: u8) -> (Vec<TicketAnswer>, Vec<(u16, String)>) {
        self.join_each(joins, seats, [192, 0, 2, 1], |_| group.to_owned())
    }

    /// The same, each in a group of its own.
    fn join_each(
        &self,
        joins: usize,
        seats: u8,
        address: [u8; 4],
        group: impl Fn(usize) -> String,
    ) -> (Vec<TicketAnswer>, Vec<(u16, String)>) {
        let request = |join| {
            let body = serde_json::json!({
                "name": "Ada", "mode": "last_ship", "rules": "standard", "seats": seats, "group": group(join),
            });
            let request = Request::post("/v1/quickplay").header(header::CONTENT_TYPE, "application/json");
            let request = request.extension(Peer(address.into()));
            request.body(Body::from(body.to_string())).expect("a request")
        };
        self.runtime.block_on(async {
            let mut asking = JoinSet::new();
            (0..joins).for_each(|join| _ = asking.spawn(ask(self.routes.clone(), request(join))));
            let (mut tickets, mut refusals) = (Vec::new(), Vec::new());
            for answer in asking.join_all().await {
                match answer {
                    Ok(ticket) => tickets.push(ticket),
                    Err(refusal) => refusals.push(refusal),
                }
            }
            (tickets, refusals)
        })
    }

    /// Ends a match and waits until its place is free.
    fn end(&self, match_id: MatchId) {
        self.runtime.block_on(self.host.void(match_id, "the next run".into())).expect("it was running");
        assert_eq!(self.directory.shard_of(match_id), None);
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.host.stop();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn ask(routes: Router, request: Request<Body>) -> Result<TicketAnswer, (u16, String)> {
    let response = routes.oneshot(request).await.expect("an answer");
    let status = response.status();
    let body = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
    match status {
        StatusCode::OK => Ok(serde_json::from_slice(&body).expect("a ticket")),
        _ => Err((status.as_u16(), serde_json::from_slice::<Problem>(&body).expect("a refusal").code)),
    }
}

#[test]
fn of_a_thousand_who_ask_for_the_last_place_at_once_exactly_one_gets_it() {
    let limits = ShardLimits { matches_per_shard: 1, ..ShardLimits::default() };
    let house = House::open("last-place", 1, limits);
    for run in 0..RUNS {
        let group = format!("run-{run}");
        let (first, _) = house.join_all(1, &group, 2);
        assert_eq!(first.len(), 1, "run {run}: the place of the run before is free");
        let (winners, refusals) = house.join_all(JOINS, &group, 2);
        assert_eq!(winners.len(), 1, "run {run}");
        assert_eq!((winners[0].match_id, winners[0].seat), (first[0].match_id, 1), "run {run}");
        assert_eq!(refusals.len(), JOINS - 1);
        let odd = refusals.iter().find(|refusal| **refusal != (503, "full".to_owned()));
        assert_eq!(odd, None, "run {run}");
        house.end(first[0].match_id);
    }
}

#[test]
fn of_a_thousand_who_want_the_last_match_at_once_exactly_one_gets_it() {
    let limits = ShardLimits { matches_per_shard: 1, ..ShardLimits::default() };
    let house = House::open("last-match", 1, limits);
    for run in 0..RUNS {
        let (winners, refusals) = house.join_each(JOINS, 2, [192, 0, 2, 1], |join| format!("run-{run}-{join}"));
        assert_eq!((winners.len(), refusals.len()), (1, JOINS - 1), "run {run}");
        assert!(refusals.iter().all(|refusal| *refusal == (503, "full".to_owned())), "run {run}");
        house.end(winners[0].match_id);
    }
}

#[test]
fn a_burst_fills_every_shard_to_its_limit_and_not_beyond_and_spreads_before_that() {
    let limits = ShardLimits { seats_per_shard: 60, tick_budget_percent: 100, ..ShardLimits::default() };
    let house = House::open("burst", 3, limits);
    let shards = |tickets: &[TicketAnswer]| {
        let mut matches: Vec<MatchId> = tickets.iter().map(|ticket| ticket.match_id).collect();
        matches.sort_unstable_by_key(|id| id.0);
        matches.dedup();
        let on = |shard| matches.iter().filter(|id| house.directory.shard_of(**id) == Some(shard)).count();
        [on(0), on(1), on(2)]
    };
    let (few, refusals) = house.join_all(24, "few", 2);
    assert_eq!((refusals.len(), shards(&few)), (0, [4, 4, 4]));
    let (many, refusals) = house.join_all(JOINS, "many", 4);
    assert_eq!(shards(&many), [13, 13, 13], "52 more seats on each, which makes 60");
    assert_eq!((many.len(), refusals.len()), (3 * 52, JOINS - 3 * 52));
    assert!(refusals.iter().all(|refusal| *refusal == (503, "full".to_owned())), "{:?}", refusals[0]);
    house.end(many[0].match_id);
    // The shard takes a moment to say so; whoever asks too early is told to come back.
    let deadline = Instant::now() + PATIENCE;
    while house.join_all(1, "again", 4).0.is_empty() {
        assert!(Instant::now() < deadline, "the place never comes free");
    }
}

/// Broken by counting tickets instead of the seats that they keep from others.
#[test]
fn an_address_that_opens_matches_and_does_not_come_keeps_few_seats_from_others() {
    let house = House::open_with("idle", 2, ShardLimits::default(), Limits::default());
    let open = |address, name: &str| house.join_each(96, 8, address, |join| format!("{name}-{join}"));
    for (address, name) in [([192, 0, 2, 1], "one"), ([192, 0, 2, 2], "two")] {
        let (tickets, refusals) = open(address, name);
        assert_eq!((tickets.len(), refusals.len()), (16, 80), "16 matches of eight are 128 seats");
        assert!(refusals.iter().all(|refusal| *refusal == (429, "too_many_requests".to_owned())), "{:?}", refusals[0]);
    }
    let (class, refusals) = house.join_each(120, 8, [192, 0, 2, 3], |join| format!("class-{}", join / 8));
    assert_eq!((class.len(), refusals.len()), (120, 0), "others who fill theirs get theirs");
}

/// Says whether it still lives.
struct Canary(Arc<AtomicBool>);

impl Drop for Canary {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

fn hold() -> (Hold, Arc<AtomicBool>) {
    let lives = Arc::new(AtomicBool::new(true));
    (Hold::new(Canary(Arc::clone(&lives))), lives)
}

#[test]
fn a_place_that_nobody_takes_up_is_free_after_fifteen_seconds_and_its_ticket_over() {
    let mut stage = Stage::new("stale");
    let match_id = stage.open(rules("standard"), 2);
    let join = |name: &str| Claim::Join { name: name.into() };
    let (hold, unused) = hold();
    stage.claim_with(match_id, join("Ada"), hold).expect("a seat");
    stage.play(60 * 5);
    stage.claim(match_id, join("Grace")).expect("the other seat");
    stage.play(60 * 10 - 2);
    assert!(unused.load(Ordering::Relaxed), "the ticket counts as long as it is good");
    assert_eq!(stage.claim(match_id, join("Late")).err(), Some(HostError::NoFreeSeat));
    stage.play(60 + 4);
    assert!(!unused.load(Ordering::Relaxed), "nothing is left of the ticket");
    assert!(stage.claim(match_id, join("Late")).is_ok());
}

/// Broken by letting an unclaimed match lie about, or by not telling that somebody came.
#[test]
fn a_match_counts_as_unclaimed_until_somebody_comes_and_is_closed_when_its_last_ticket_is_over() {
    let mut stage = Stage::new("unclaimed");
    let opened = |stage: &mut Stage| {
        let (hold, lives) = hold();
        let match_id = stage.open_with(rules("standard"), 8, |order| order.unclaimed = hold);
        (match_id, lives)
    };
    let (empty, empty_lives) = opened(&mut stage);
    stage.claim(empty, Claim::Join { name: "Ada".into() }).expect("a seat");
    let (played, played_lives) = opened(&mut stage);
    stage.join(played, "Grace");
    stage.play(60);
    assert!(!played_lives.load(Ordering::Relaxed), "Grace is there");
    stage.play(60 * 14 - 2);
    assert!(empty_lives.load(Ordering::Relaxed) && stage.seats_counted() == 16);
    stage.play(4);
    assert!(!empty_lives.load(Ordering::Relaxed), "nobody came in fifteen seconds");
    assert_eq!((stage.matches(), stage.seats_counted()), (1, 8));
}

/// How a ticket comes to be worth nothing before it is shown: the stage in which it is out, and its link.
fn worthless_tickets() -> [(&'static str, Stage, LinkId); 4] {
    let join = || Claim::Join { name: "Ada".into() };
    let back =
        |stage: &mut Stage, match_id, secret| stage.claim(match_id, Claim::Return { secret }).expect("mine").link;
    let mut freed = Stage::new("late-freed");
    let match_id = freed.open(rules("standard"), 2);
    let secret = freed.claim(match_id, join()).expect("a seat").secret;
    freed.play(60 * 13);
    let link = back(&mut freed, match_id, secret);
    freed.play(60 * 3);
    let of_freed = ("its seat was freed", freed, link);

    let mut left = Stage::new("late-left");
    let match_id = left.open(rules("standard"), 2);
    let ada = left.join(match_id, "Ada");
    left.join(match_id, "Grace");
    left.play(120);
    let secret = left.player(ada).secret.clone();
    let link = back(&mut left, match_id, secret);
    left.leave(ada);
    left.play(60);
    let of_left = ("its player left", left, link);

    let voided = |watches: bool| {
        let mut stage = Stage::new(if watches { "late-watch" } else { "late-void" });
        let match_id = stage.open(rules("standard"), 2);
        let ada = stage.join(match_id, "Ada");
        stage.join(match_id, "Grace");
        stage.play(120);
        let secret = stage.player(ada).secret.clone();
        let link = if watches {
            stage.claim_to_watch(match_id).expect("a place").link
        } else {
            back(&mut stage, match_id, secret)
        };
        let (reply, _answer) = tokio::sync::oneshot::channel();
        stage.tell(Command::Void { match_id, reason: "test".into(), reply });
        stage.play(60);
        (if watches { "what it would show is void" } else { "its match is void" }, stage, link)
    };
    [of_freed, of_left, voided(false), voided(true)]
}

/// Broken by giving back the place of one network only: the promise is gone, so nothing ever frees the other one.
#[test]
fn a_ticket_shown_when_its_place_is_gone_gives_back_its_places_on_every_network() {
    for over in 0..2 {
        for (what, mut stage, link) in worthless_tickets() {
            let without = stage.places().map(|places| places - 1);
            [&stage.network, &stage.streams][over].connect(link);
            stage.play(2);
            assert_eq!(stage.places(), without, "{what}, shown over network {over}");
            stage.play(60 * 40);
            assert_eq!(stage.places().iter().sum::<usize>(), stage.links()[0], "{what}: nothing is kept in the end");
        }
    }
}

#[test]
fn a_ticket_no_longer_counts_once_it_is_used_replaced_or_refused() {
    let mut stage = Stage::new("counted");
    let match_id = stage.open(rules("standard"), 2);
    let (first, unused) = hold();
    let reservation = stage.claim_with(match_id, Claim::Join { name: "Ada".into() }, first).expect("a seat");
    let (second, newer) = hold();
    let again = Claim::Return { secret: reservation.secret };
    let newest = stage.claim_with(match_id, again, second).expect("the same seat");
    assert!(!unused.load(Ordering::Relaxed), "a newer ticket for the seat is the only one that counts");
    assert!(newer.load(Ordering::Relaxed));
    stage.network.connect(newest.link);
    stage.play(2);
    assert!(!newer.load(Ordering::Relaxed), "it is used");
    let (third, refused) = hold();
    let nowhere = stage.claim_with(MatchId(99), Claim::Join { name: "Ada".into() }, third);
    assert_eq!(nowhere.err(), Some(HostError::NoSuchMatch));
    assert!(!refused.load(Ordering::Relaxed));
}
