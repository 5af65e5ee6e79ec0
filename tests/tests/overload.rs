//! Promise: whoever asks for too much is told so and harms nobody else, whoever is slow or silent keeps nobody out, and a
//! full server says so and takes players again as soon as it can. Through the real program.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use astro_shared::api::TicketAnswer;
use astro_tests::callers::{Caller, Request};
use astro_tests::service::{Service, UdpPlayer, drive_until};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

const LIMIT: Duration = Duration::from_secs(30);

fn too_many() -> (u16, String) {
    (429, "too_many_requests".into())
}

#[test]
fn an_address_that_asks_too_often_is_told_which_limit_and_when_to_come_back_and_others_notice_nothing() {
    let limits = ["--joins-burst-per-address", "5", "--joins-per-minute-per-address", "30"];
    let service = Service::start("rate", &limits);
    let (ada, grace) = (Caller::at(0, 5, &service.http), Caller::at(0, 6, &service.http));
    for _ in 0..5 {
        assert_eq!(ada.join("rate").status, 200);
    }
    let refused = ada.join("rate");
    assert_eq!(refused.refusal(), too_many());
    assert!((1..=2).contains(&refused.retry_after_s()), "{refused:?}");
    let message = refused.message();
    let told = ["127.0.0.5", "5 at once", "30 a minute", "joins_per_minute_per_address"];
    assert!(told.iter().all(|word| message.contains(word)), "{message}");
    assert_eq!(grace.join("rate").status, 200);
    for _ in 0..50 {
        assert_eq!((ada.get("/healthz").status, ada.get("/readyz").status), (200, 200), "health has no limit");
    }
    assert!(service.metric("astro_http_refused_total{reason=\"joins_per_address\"}") >= 1.0);
    ada.join_until("rate", 200, LIMIT);
}

#[test]
fn only_a_trusted_proxy_may_say_who_is_asking() {
    let limits = ["--joins-burst-per-address", "2", "--joins-per-minute-per-address", "1"];
    let service = Service::start("proxy", &[&limits[..], &["--trusted-proxies", "127.0.9.0/24"]].concat());
    let asks = |from: &Caller, forwarded: &str| from.ask(&Request::join("proxy").header("x-forwarded-for", forwarded));
    let stranger = Caller::at(0, 5, &service.http);
    assert_eq!(asks(&stranger, "198.51.100.1").status, 200);
    assert_eq!(asks(&stranger, "198.51.100.2").status, 200);
    let refused = asks(&stranger, "198.51.100.3");
    assert_eq!(refused.refusal(), too_many(), "a stranger's word counts for nothing");
    assert!(refused.message().contains("127.0.0.5"), "{}", refused.message());

    let (proxy, second) = (Caller::at(9, 1, &service.http), Caller::at(9, 2, &service.http));
    assert_eq!(asks(&proxy, "198.51.100.1").status, 200);
    assert_eq!(asks(&second, "203.0.113.8, 198.51.100.1, 127.0.9.1").status, 200, "through two proxies");
    let refused = asks(&proxy, "203.0.113.9, 198.51.100.1");
    assert_eq!(refused.refusal(), too_many(), "what the client put before its address counts for nothing");
    assert!(refused.message().contains("198.51.100.1"), "{}", refused.message());
    assert_eq!(asks(&proxy, "198.51.100.2").status, 200, "the proxy's other clients are others");
}

/// How somebody keeps a connection without using it.
#[derive(Clone, Copy, Debug)]
enum Sloth {
    /// Never sends anything.
    Silent,
    /// Half a head.
    Head,
    /// A whole head, half a body.
    Body,
    /// One whole request, and then nothing.
    Idle,
}

const SLOTHS: [Sloth; 4] = [Sloth::Silent, Sloth::Head, Sloth::Body, Sloth::Idle];

fn linger(caller: &Caller, sloth: Sloth) -> Option<TcpStream> {
    let mut stream = caller.connect().ok()?;
    let join = Request::join("slow").bytes();
    let sent = match sloth {
        Sloth::Silent => Ok(()),
        Sloth::Head => stream.write_all(&join[..40]),
        Sloth::Body => stream.write_all(&join[..join.len() - 10]),
        Sloth::Idle => stream.write_all(&Request::get("/version").bytes()),
    };
    // It may lose its place at any time; that is the server's good right.
    sent.ok().map(|()| stream)
}

fn is_closed(mut stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("a socket");
    let mut chunk = [0; 512];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}

fn raise_file_limit() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("a higher limit");
    assert!(most > 8000, "this test opens 4,000 sockets and may open {most} files");
}

#[test]
fn slow_and_idle_connections_of_one_address_keep_nobody_out_not_even_itself() {
    raise_file_limit();
    let limits = ["--connections-per-address", "40", "--joins-burst-per-address", "1000"];
    let service = Service::start("slow-one", &limits);
    let (sloth, ada) = (Caller::at(0, 5, &service.http), Caller::at(0, 6, &service.http));
    let mut held = Vec::new();
    for index in 0..1000 {
        held.extend(linger(&sloth, SLOTHS[index % 4]));
        if index % 100 == 99 {
            assert_eq!((ada.get("/healthz").status, ada.get("/readyz").status), (200, 200));
            assert_eq!((ada.join("slow-one").status, sloth.join("slow-one").status), (200, 200));
        }
    }
    let open = service.metric("astro_http_connections ");
    assert!(open <= 45.0, "{open} connections are open, 40 of them may be the sloth's");
    assert!(held.into_iter().filter(is_closed).count() >= 950);
}

#[test]
fn slow_and_idle_connections_of_many_addresses_keep_nobody_out() {
    raise_file_limit();
    let service = Service::start("slow-many", &["--connections-max", "500"]);
    let go_on = AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // 4,000 sockets of 100 addresses, opened again and again as the server closes them.
            let mut held: Vec<Option<TcpStream>> = (0..4000).map(|_| None).collect();
            let mut index = 0;
            while go_on.load(Ordering::Relaxed) {
                let caller = Caller::at(1, (index % 100) as u8 + 1, &service.http);
                held[index % 4000] = linger(&caller, SLOTHS[index / 100 % 4]);
                index += 1;
            }
        });
        let full = || service.metric("astro_http_refused_total{reason=\"evicted\"}") > 0.0;
        let deadline = std::time::Instant::now() + LIMIT;
        while !full() {
            assert!(std::time::Instant::now() < deadline, "the places are never all taken");
        }
        for guest in 0..100 {
            let guest = Caller::at(2, guest + 1, &service.http);
            assert_eq!(guest.join("slow-many").status, 200);
            assert_eq!((guest.get("/healthz").status, guest.get("/readyz").status), (200, 200));
        }
        let open = service.metric("astro_http_connections ");
        assert!(open <= 600.0, "{open} connections are open, 500 may be");
        go_on.store(false, Ordering::Relaxed);
    });
    assert_eq!(service.metric("astro_http_refused_total{reason=\"connections\"}"), 0.0, "nobody was turned away");
}

#[test]
fn a_full_server_says_so_and_unused_tickets_free_it_and_their_address() {
    let limits = ["--shards", "1", "--matches-per-shard", "1", "--joins-outstanding-per-address", "2"];
    let service = Service::start("full", &limits);
    let (ada, grace) = (Caller::at(0, 5, &service.http), Caller::at(0, 6, &service.http));
    let tickets: Vec<TicketAnswer> = (0..2).map(|_| ada.join("full").json()).collect();
    assert_eq!(tickets[0].match_id, tickets[1].match_id);
    let refused = ada.join("full");
    assert_eq!(refused.refusal(), too_many());
    assert!(refused.message().contains("joins_outstanding_per_address"), "{}", refused.message());
    assert!(refused.retry_after_s() >= 1);
    let refused = grace.join("full");
    assert_eq!(refused.refusal(), (503, "full".into()), "the one match is taken");
    assert!(refused.retry_after_s() >= 1);
    assert_eq!(grace.get("/readyz").status, 200, "full is not sick");

    // Nobody uses the tickets: the seats free themselves after 15 s, and so does the address; then the match closes.
    let again: TicketAnswer = grace.join_until("full", 200, Duration::from_secs(40)).json();
    // Her places on the transports are kept a little longer than the seats.
    let hers: TicketAnswer = ada.join_until("full", 200, Duration::from_secs(20)).json();
    assert_eq!(hers.match_id, again.match_id, "Ada's tickets are over");
}

#[test]
fn a_used_ticket_no_longer_counts_against_its_address() {
    let service = Service::start("used", &["--joins-outstanding-per-address", "1"]);
    let mut players: Vec<UdpPlayer> = Vec::new();
    for count in 1..=3u64 {
        players.push(service.join("Ada", "standard", 4, "used"));
        assert_eq!(service.post("/v1/quickplay", &serde_json::json!({})).0, 429, "one ticket is unused");
        let mut driven: Vec<&mut UdpPlayer> = players.iter_mut().collect();
        drive_until(&mut driven, LIMIT, |players| players.last().is_some_and(|player| player.session.seat().is_some()));
        assert_eq!(service.metric("astro_links{"), count as f64);
    }
}

#[test]
fn a_load_test_lifts_what_limits_one_address_and_nothing_else_and_says_so() {
    let narrow = ["--joins-burst-per-address", "1", "--joins-outstanding-per-address", "1"];
    let wide = ["--load-test", "--joins-burst", "30", "--joins-per-second", "1", "--connections-per-address", "1"];
    let service = Service::start("load-test", &[&narrow[..], &wide].concat());
    let caller = Caller::at(0, 5, &service.http);
    let held: Vec<_> = (0..20).filter_map(|_| linger(&caller, Sloth::Silent)).collect();
    for _ in 0..20 {
        assert_eq!(caller.join("load").status, 200);
    }
    assert!(service.metric("astro_http_connections ") >= 20.0, "connections of one address are not limited either");
    drop(held);
    let refused = (0..20).map(|_| caller.join("load")).find(|answer| answer.status != 200).expect("a limit for all");
    assert_eq!(refused.refusal(), (503, "overloaded".into()));
    assert!(refused.message().contains("joins_per_second") && refused.retry_after_s() >= 1, "{refused:?}");
    assert_eq!(service.metric("astro_load_test "), 1.0);
    assert!(service.log().iter().any(|line| line.contains("WARN") && line.contains("load test")));
    assert!(service.said().iter().any(|line| line.contains("LOAD TEST")), "{:?}", service.said());

    let modest = Service::start("no-load-test", &[]);
    assert_eq!(modest.metric("astro_load_test "), 0.0);
    assert!(!modest.said().iter().any(|line| line.contains("LOAD TEST")));
}

#[test]
fn production_mode_refuses_a_load_test() {
    let program = std::env::var("ASTRO_SERVER").expect("ASTRO_SERVER names the server program: use tests/run");
    let mut command = Command::new(program);
    command.args(["--production", "--load-test"]).env("ASTRO_FLEET_KEY", "0f1e2d3c4b5a69788796a5b4c3d2e1f0");
    let output = command.current_dir(std::env::temp_dir()).output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("load_test lifts the limits on single addresses"), "{said}");
}
