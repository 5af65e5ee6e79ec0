//! Promise: from quickplay to a stored result over real UDP, through the real program.

use std::time::Duration;

use astro_server::hosts::{MatchRecord, SeatRecord};
use astro_server::records;
use astro_shared::replay::{Replay, Verdict};
use astro_shared::sim::units::MatchId;
use astro_tests::service::{Service, UdpPlayer, drive_until};

#[test]
fn two_players_meet_fight_and_find_the_result_stored() {
    let service = Service::start("e2e", &[]);
    let mut ada = service.join("Ada", "sprint", 2, "e2e");
    let mut grace = service.join("Grace", "sprint", 2, "e2e");
    assert_eq!(ada.match_id, grace.match_id);
    drive_until(&mut [&mut ada, &mut grace], Duration::from_secs(40), |players| {
        players.iter().all(|player| player.session.result().is_some())
    });
    let told = ada.session.result().unwrap().clone();
    let stored = service.stored(ada.match_id);
    assert_eq!(stored.winner, told.winner);
    assert_eq!(
        stored.seats.iter().map(|s| s.kills).collect::<Vec<_>>(),
        told.seats.iter().map(|s| s.kills).collect::<Vec<_>>()
    );
    assert_eq!(stored.seats.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["Ada", "Grace"]);
    assert!(stored.seats.iter().all(|seat| !seat.pilot && !seat.left));
    for player in [&ada, &grace] {
        assert_eq!(player.session.statistics().state_mismatches, 0);
        assert!(player.snapshots() > 100, "{}", player.snapshots());
    }
    let path = stored.replay.as_ref().and_then(|link| link.strip_prefix(&service.http)).expect("a link to this server");
    let (status, file) = service.get(path);
    assert_eq!(status, 200);
    assert_eq!(Replay::read(&file).expect("a replay").verify(), Verdict::Equal);
    assert_eq!(service.matches().len(), 1);
}

#[test]
fn a_new_ticket_gives_the_seat_back_while_the_old_link_still_lives() {
    let service = Service::start("again", &[]);
    let mut ada = service.join("Ada", "standard", 2, "g");
    let mut grace = service.join("Grace", "standard", 2, "g");
    let limit = Duration::from_secs(20);
    drive_until(&mut [&mut ada, &mut grace], limit, |p| p.iter().all(|p| p.snapshots() > 30));
    let (status, body) = service.ticket_again(ada.match_id, &ada.seat_secret);
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    let ticket: astro_shared::api::TicketAnswer = serde_json::from_slice(&body).unwrap();
    let ruleset = service.ruleset(&ticket.rules_hash);
    // N8: the stock server would ignore the newcomer until the old connection times out.
    let mut again = UdpPlayer::with(&ticket, ruleset);
    drive_until(&mut [&mut ada, &mut grace, &mut again], limit, |p| p[2].snapshots() > 30 && p[0].session.is_closed());
    assert_eq!(again.session.seat(), ada.session.seat());
    let (status, _) = service.ticket_again(ada.match_id, &format!("{}=", "A".repeat(43)));
    assert!(matches!(status, 400 | 403 | 410), "a wrong secret is refused, not {status}");
}

#[test]
fn a_spent_ticket_opens_nothing() {
    let service = Service::start("spent", &[]);
    let ticket = service.quickplay("Ada", "standard", 2, "g");
    let ruleset = service.ruleset(&ticket.rules_hash);
    let mut first = UdpPlayer::with(&ticket, ruleset.clone());
    let limit = Duration::from_secs(20);
    drive_until(&mut [&mut first], limit, |p| p[0].snapshots() > 5);
    let mut thief = UdpPlayer::with(&ticket, ruleset);
    drive_until(&mut [&mut first, &mut thief], limit, |p| p[1].session.is_closed());
    assert_eq!(thief.snapshots(), 0);
    assert!(!first.session.is_closed(), "the owner flies on");
}

#[test]
fn bad_requests_are_answered_with_a_code_and_a_reason() {
    let service = Service::start("bad", &[]);
    for (body, expected) in [
        (serde_json::json!({ "name": "", "mode": "last_ship" }), "name"),
        (serde_json::json!({ "name": "a\u{202e}b", "mode": "last_ship" }), "name"),
        (serde_json::json!({ "name": "Ada", "mode": "chess" }), "mode"),
        (serde_json::json!({ "name": "Ada", "mode": "last_ship", "seats": 9 }), "seats"),
        (serde_json::json!({ "name": "Ada", "mode": "last_ship", "rules": "none" }), "rules"),
        (serde_json::json!({ "name": "Ada", "mode": "last_ship", "seat": 2 }), "seat"),
        (serde_json::json!({ "mode": "last_ship" }), "name"),
    ] {
        let (status, answer) = service.post("/v1/quickplay", &body);
        let answer: astro_shared::api::Problem = serde_json::from_slice(&answer).expect("an error body");
        assert!((400..500).contains(&status), "{body}: {status}");
        assert!(!answer.code.is_empty() && answer.detail.contains(expected), "{body}: {answer:?}");
    }
    for (path, expected) in [("/v1/matches/nonsense", 400), ("/v1/nothing", 404), ("/v1/rules/0000000000000000", 404)] {
        let (status, answer) = service.get(path);
        assert_eq!(status, expected, "{path}");
        serde_json::from_slice::<astro_shared::api::Problem>(&answer).expect("an error body");
    }
    for path in ["/healthz", "/readyz", "/version", "/"] {
        assert_eq!(service.get(path).0, 200, "{path}");
    }
}

fn record(match_id: u128, kills: u16) -> MatchRecord {
    let seat = |name: &str| SeatRecord {
        name: name.into(),
        pilot: false,
        left: false,
        placement: Some(1),
        rounds_won: 1,
        kills,
        deaths: 0,
        assists: 0,
        shots: 3,
        hits: 2,
        survival_ticks: 99,
        streak_longest: 1,
    };
    MatchRecord {
        match_id: MatchId(match_id),
        mode: "last_ship".into(),
        rules: "sprint".into(),
        rules_hash: 1,
        arena: "open".into(),
        started_ms: 1,
        ended_ms: 2,
        ticks: 3,
        rounds: 1,
        winner: Some(0),
        void: None,
        seats: vec![seat("Ada"), seat("Grace")],
        replay: vec![1, 2, 3],
    }
}

#[test]
fn results_are_taken_from_whoever_has_the_fleet_key_and_once_only() {
    let service = Service::start("fleet", &[]);
    let key = std::fs::read_to_string(service.folder.join("data/keys/fleet.key")).expect("made on first start");
    let post = |key: &str, records: &[MatchRecord]| {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().into();
        let url = format!("{}/internal/v1/results", service.http);
        let request = agent.post(url).header("authorization", format!("Bearer {key}"));
        request.send(records::encode_batch(records)).expect("an answer").status().as_u16()
    };
    let good = record(0x0192_0000_0000_7000_8000_0000_0000_0001, 3);
    assert_eq!(post("wrong", std::slice::from_ref(&good)), 401);
    assert_eq!(service.get(&format!("/v1/matches/{}", good.match_id)).0, 404);
    for _ in 0..3 {
        assert!((200..300).contains(&post(key.trim(), std::slice::from_ref(&good))));
    }
    assert_eq!(service.stored(good.match_id).seats[0].kills, 3);
    let forged = record(good.match_id.0, 4);
    assert_eq!(post(key.trim(), std::slice::from_ref(&forged)), 409, "another result for the same match");
    assert_eq!(service.stored(good.match_id).seats[0].kills, 3);
}

#[test]
fn ctrl_c_with_nobody_playing_ends_with_zero_and_demo_matches_are_never_stored() {
    let mut service = Service::start("ctrl-c", &["--demo", "3"]);
    assert!(service.is_running());
    drive_until(&mut [], Duration::from_secs(10), |_| service.metric("astro_matches{") >= 3.0);
    assert!(service.matches().is_empty());
    assert!(service.interrupt().success());
}
