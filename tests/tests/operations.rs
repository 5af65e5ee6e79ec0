//! Promise: operators see what the server does and can act on it, over a listener of their own; and nobody else can.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use astro_client::session::{Ended, SessionEvent};
use astro_shared::openmetrics::Page;
use astro_shared::wire::message::CloseReason;
use astro_tests::service::{Service, drive_until};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(30);

fn json_of((status, body): (u16, Vec<u8>)) -> Value {
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).expect("JSON")
}

/// The log's lines with this message, as JSON.
fn lines(service: &Service, message: &str) -> Vec<Value> {
    let log = service.log();
    let parsed = log.iter().map(|line| serde_json::from_str::<Value>(line).expect("every line is JSON"));
    parsed.filter(|line| line["fields"]["message"] == message).collect()
}

#[test]
fn an_operator_finds_a_match_and_ends_it_and_its_players_are_told() {
    let service = Service::start("ops-void", &[]);
    let mut ada = service.join("Ada", "standard", 2, "g");
    let mut grace = service.join("Grace", "standard", 2, "g");
    drive_until(&mut [&mut ada, &mut grace], LIMIT, |players| players.iter().all(|player| player.snapshots() > 30));
    let shards = json_of(service.ops_get("/admin/v1/shards"));
    let of_all = |field: &str| {
        shards["shards"].as_array().unwrap().iter().map(|shard| shard[field].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!((of_all("players"), of_all("links"), of_all("seats")), (2, 2, 2));
    let running = json_of(service.ops_get("/admin/v1/matches"));
    assert_eq!(running["matches"].as_array().unwrap().len(), 1);
    assert_eq!(running["matches"][0]["match_id"], json!(ada.match_id.to_string()));
    assert_eq!((&running["matches"][0]["state"], &running["matches"][0]["links"]), (&json!("playing"), &json!(2)));

    let path = format!("/admin/v1/matches/{}/void", ada.match_id);
    assert_eq!(service.post(&path, &json!({"reason": "from the street"})).0, 404, "not in public");
    assert_eq!(service.ops_post(&path, &json!({"reason": "a cheat was seen"})).0, 204);
    drive_until(&mut [&mut ada, &mut grace], LIMIT, |players| players.iter().all(|player| player.session.is_closed()));
    let told = std::iter::from_fn(|| ada.session.poll_event()).find_map(|event| match event {
        SessionEvent::Closed { reason } => Some(reason),
        _ => None,
    });
    assert_eq!(told, Some(Ended::Server(CloseReason::Voided)));
    assert_eq!(service.ops_post(&path, &json!({"reason": "again"})).0, 404);
    let void = lines(&service, "match void");
    assert_eq!(void.len(), 1, "{void:#?}");
    assert_eq!(void[0]["fields"]["match_id"], json!(ada.match_id.to_string()));
    assert_eq!(void[0]["fields"]["reason"], "a cheat was seen");
    assert_eq!(service.metric("astro_matches_voided_total{"), 1.0);
}

#[test]
fn a_finished_match_leaves_one_line_and_its_traffic_in_the_metrics() {
    let service = Service::start("ops-line", &[]);
    let mut ada = service.join("Ada", "sprint", 2, "g");
    let mut grace = service.join("Grace", "sprint", 2, "g");
    drive_until(&mut [&mut ada, &mut grace], Duration::from_secs(60), |players| {
        players.iter().all(|player| player.session.result().is_some())
    });
    service.stored(ada.match_id);
    let finished = lines(&service, "match finished");
    assert_eq!(finished.len(), 1, "{finished:#?}");
    assert_eq!(finished[0]["fields"]["match_id"], json!(ada.match_id.to_string()));
    assert_eq!(finished[0]["fields"]["players"], 2);
    let page = Page::parse(std::str::from_utf8(&service.ops_get("/metrics").1).unwrap());
    let udp = [("transport", "udp")];
    assert!(page.sum("astro_datagrams_in_total", &udp).unwrap() > 100.0);
    assert!(page.sum("astro_bytes_out_total", &udp).unwrap() > 10_000.0);
    assert_eq!(page.sum("astro_datagrams_in_total", &[("transport", "websocket")]), Some(0.0));
    let sizes = page.buckets("astro_snapshot_bytes", &[]).unwrap();
    assert!(sizes.count() > 200.0 && sizes.quantile(0.5).unwrap() < 400.0, "{sizes:?}");
    // Loopback: what is measured is the wait for the next input, two ticks at most, and the ticks at both ends.
    let round_trip = page.buckets("astro_round_trip_seconds", &[]).unwrap();
    assert!(round_trip.count() > 100.0 && round_trip.quantile(0.5).unwrap() < 0.25, "{round_trip:?}");
    let asked = page.sum("astro_http_requests_total", &[("route", "/v1/quickplay"), ("status", "200")]);
    assert_eq!(asked, Some(2.0));
    assert_eq!(page.sum("astro_results_stored_total", &[]), Some(1.0));
}

#[test]
fn health_is_answered_to_operators_while_strangers_hold_every_public_connection() {
    let service = Service::start("ops-busy", &["--connections-max", "4", "--connections-per-address", "4"]);
    let address = service.http.trim_start_matches("http://").to_owned();
    // Bodies that never come: requests under way, which nobody may close for a newcomer.
    let _held: Vec<TcpStream> = (0..4)
        .map(|_| {
            let mut stream = TcpStream::connect(&address).expect("a connection");
            let head = "POST /internal/v1/results HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n";
            stream.write_all(head.as_bytes()).expect("written");
            stream
        })
        .collect();
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(service.ops_get(path).0, 200, "{path}");
    }
}

#[test]
fn top_prints_one_page_of_a_live_server_and_says_what_is_wrong_with_another() {
    let service = Service::start("ops-top", &["--demo", "2"]);
    drive_until(&mut [], LIMIT, |_| service.metric("astro_matches{") >= 2.0);
    let top = |arguments: &[&str]| {
        let program = std::env::var("ASTRO_SERVER").expect("ASTRO_SERVER names the server program");
        let output = Command::new(program).arg("top").args(arguments).output().expect("it runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, page, said) = top(&["--ops", &service.ops]);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    assert!(page.contains(&service.ops) && page.contains("p99 ms") && page.contains("oldest matches"), "{page}");
    let demos = page.lines().filter(|line| line.contains(" demo ") && line.contains("standard")).count();
    assert_eq!(demos, 2, "{page}");
    let (code, page, said) = top(&["--once", "--ops", &service.http]);
    assert_eq!((code, page.as_str()), (Some(1), ""));
    assert!(said.contains("is that the operations listener"), "{said}");
    let (code, _, said) = top(&["--once", "--ops", "http://127.0.0.1:1"]);
    assert!(code == Some(1) && said.contains("127.0.0.1:1"), "{said}");
}

/// Takes one request after another, answers each with 200, and hands on head and body.
fn collector() -> (String, mpsc::Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let (sender, received) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let request = take_request(stream);
            if request.is_some_and(|request| sender.send(request).is_err()) {
                return;
            }
        }
    });
    (address, received)
}

fn take_request(mut stream: TcpStream) -> Option<(String, Vec<u8>)> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 8192]);
    loop {
        let read = stream.read(&mut chunk).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&chunk[..read]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1)?.lines().next()?.trim().parse::<usize>().ok()?;
        if bytes.len() >= end + 4 + length {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").ok()?;
            return Some((head, bytes.split_off(end + 4)));
        }
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn traces_of_requests_and_matches_reach_a_collector_with_their_ids() {
    let (address, received) = collector();
    let blitz = std::env::temp_dir().join(format!("astro-ops-blitz-{}", std::process::id()));
    let assets = astro_tests::service::blitz_assets(&blitz);
    let arguments = ["--assets", assets.to_str().expect("a path")];
    let mut service = Service::start_with("ops-traces", &arguments, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &address)]);
    let mut ada = service.join("Ada", "blitz", 2, "g");
    let mut grace = service.join("Grace", "blitz", 2, "g");
    drive_until(&mut [&mut ada, &mut grace], LIMIT, |players| {
        players.iter().all(|player| player.session.result().is_some())
    });
    service.stored(ada.match_id);
    let answer = ureq::get(format!("{}/v1/matches/{}", service.http, ada.match_id)).call().expect("an answer");
    let request_id = answer.headers()["x-request-id"].to_str().expect("text").to_owned();
    assert!(service.interrupt().success(), "what is left is sent on the way out");
    let requests: Vec<(String, Vec<u8>)> = received.try_iter().collect();
    assert!(!requests.is_empty() && requests.iter().all(|(head, _)| head.starts_with("post /v1/traces http/1.1")));
    let spans: Vec<u8> = requests.into_iter().flat_map(|(_, body)| body).collect();
    for expected in [request_id.as_str(), "GET /v1/matches/{id}", "astro-server", "match", &ada.match_id.to_string()] {
        assert!(contains(&spans, expected), "no {expected} among {} bytes of spans", spans.len());
    }
    assert!(!contains(&spans, &ada.seat_secret), "a secret in a span");
    let _ = std::fs::remove_dir_all(&blitz);
}

#[test]
fn nothing_is_exported_where_the_standard_variables_do_not_ask_for_it() {
    let (address, received) = collector();
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", address.as_str()), ("OTEL_TRACES_EXPORTER", "none")];
    let mut service = Service::start_with("ops-untraced", &[], &variables);
    assert_eq!(service.get("/version").0, 200);
    assert!(service.interrupt().success());
    assert!(received.try_recv().is_err(), "something was sent");
}
