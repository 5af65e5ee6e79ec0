//! Promise: whoever comes by WebSocket plays like everybody else, and whatever one socket does, it does to itself.
//!
//! The real program; sockets in the test's hands.

use std::time::{Duration, Instant};

use astro_client::session::{Ended, Session, SessionEvent};
use astro_shared::api::TicketAnswer;
use astro_shared::sim::input::Input;
use astro_shared::sim::units::Tick;
use astro_shared::wire::input::InputDatagram;
use astro_shared::wire::message::CloseReason;
use astro_shared::wire::websocket::{
    CLIENT_FRAME_BYTES_MAX, CLOSE_LEFT, CLOSE_MATCH_OVER, CLOSE_MISBEHAVED, CLOSE_NO_HELLO, CLOSE_OUTDATED,
    CLOSE_REPLACED, CLOSE_SHUTTING_DOWN, CLOSE_SILENT, CLOSE_TICKET, CLOSE_TOO_SLOW, Hello, put_packet,
};
use astro_tests::service::{Service, UdpPlayer, unix_now};
use astro_tests::websocket::{Flies, Socket, WebSocketPlayer, all_know_the_result, fly_until, ticket_of};
use tungstenite::Message;

fn end_of(session: &mut Session) -> Option<Ended> {
    std::iter::from_fn(|| session.poll_event()).find_map(|event| match event {
        SessionEvent::Closed { reason } => Some(reason),
        _ => None,
    })
}

fn tick(player: &dyn Flies) -> u32 {
    player.session().view().map_or(0, |view| view.round.tick.0)
}

fn snapshots(player: &dyn Flies) -> u64 {
    player.session().statistics().snapshots
}

/// Flies on until the first player has seen this many more ticks.
fn fly(players: &mut [&mut dyn Flies], ticks: u32) {
    let from = tick(players[0]);
    fly_until(players, |players| tick(players[0]) >= from + ticks);
}

/// The seat's way back: a fresh ticket for it.
fn ticket_again(service: &Service, ticket: &TicketAnswer) -> TicketAnswer {
    let (status, body) = service.ticket_again(ticket.match_id, &ticket.seat_secret);
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).expect("a ticket")
}

#[test]
fn a_whole_match_over_websockets_ends_with_a_stored_result() {
    let service = Service::start("ws-match", &[]);
    let mut ada = WebSocketPlayer::join(&service, "Ada", "sprint", 2, "g");
    let mut grace = WebSocketPlayer::join(&service, "Grace", "sprint", 2, "g");
    fly_until(&mut [&mut ada, &mut grace], all_know_the_result);
    let stored = service.stored(ada.ticket.match_id);
    assert_eq!(stored.winner, ada.session.result().unwrap().winner);
    assert!(stored.seats.iter().all(|seat| !seat.pilot && !seat.left));
    for player in [&ada, &grace] {
        assert_eq!(player.session.statistics().state_mismatches, 0);
        assert!(snapshots(player) > 100, "{}", snapshots(player));
    }
    fly_until(&mut [&mut ada, &mut grace], |players| players.iter().all(|player| player.session().is_closed()));
    assert_eq!(end_of(&mut ada.session), Some(Ended::Server(CloseReason::MatchOver)));
    assert_eq!((ada.code(), grace.code()), (CLOSE_MATCH_OVER, CLOSE_MATCH_OVER));
}

#[test]
fn players_over_udp_and_websocket_meet_in_one_match() {
    let service = Service::start("ws-mixed", &[]);
    let mut ada = WebSocketPlayer::join(&service, "Ada", "sprint", 2, "g");
    let mut grace = service.join("Grace", "sprint", 2, "g");
    assert_eq!(ada.ticket.match_id, grace.match_id);
    fly_until(&mut [&mut ada, &mut grace], all_know_the_result);
    assert_eq!(ada.session.result(), grace.session.result());
    assert_eq!(
        service.stored(grace.match_id).seats.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(),
        ["Ada", "Grace"]
    );
    for player in [&ada.session, &grace.session] {
        assert_eq!(player.statistics().state_mismatches, 0);
        assert!(player.statistics().margins_in_time > player.statistics().margins_late, "inputs count");
    }
}

#[test]
fn a_ticket_is_good_for_one_connection_over_whichever_transport() {
    let service = Service::start("ws-tickets", &[]);
    let rules = |ticket: &TicketAnswer| service.ruleset(&ticket.rules_hash);
    let mut ada = WebSocketPlayer::join(&service, "Ada", "standard", 2, "a");
    fly_until(&mut [&mut ada], |players| snapshots(players[0]) > 5);
    assert_eq!(Socket::with_ticket(&service, &ada.ticket).code(), CLOSE_TICKET, "twice by WebSocket");
    let mut thief = UdpPlayer::with(&ada.ticket, rules(&ada.ticket));
    fly_until(&mut [&mut ada, &mut thief], |players| players[1].session().is_closed());
    assert_eq!((snapshots(&thief), ada.session.is_closed()), (0, false), "by WebSocket, then by UDP");

    let ticket = service.quickplay("Grace", "standard", 2, "b");
    let mut grace = UdpPlayer::with(&ticket, rules(&ticket));
    fly_until(&mut [&mut grace], |players| snapshots(players[0]) > 5);
    assert_eq!(Socket::with_ticket(&service, &ticket).code(), CLOSE_TICKET, "by UDP, then by WebSocket");
    fly_until(&mut [&mut ada, &mut grace], |players| snapshots(players[0]) > 30 && snapshots(players[1]) > 30);

    let newer = ticket_again(&service, &ticket);
    let newest = ticket_again(&service, &ticket);
    assert_eq!(Socket::with_ticket(&service, &newer).code(), CLOSE_TICKET, "a newer one was asked for");
    let mut again = WebSocketPlayer::over(Socket::with_ticket(&service, &newest), newest.clone(), rules(&newest));
    fly_until(&mut [&mut again, &mut grace], |players| snapshots(players[0]) > 5 && players[1].session().is_closed());
    assert_eq!(again.session.seat(), grace.session.seat(), "from UDP to WebSocket");
    assert_eq!(end_of(&mut grace.session), Some(Ended::Server(CloseReason::Replaced)));
}

#[test]
fn whoever_takes_the_seat_anew_ends_the_old_socket_with_a_word() {
    let service = Service::start("ws-replaced", &[]);
    let mut ada = WebSocketPlayer::join(&service, "Ada", "standard", 2, "g");
    let mut grace = service.join("Grace", "standard", 2, "g");
    fly_until(&mut [&mut ada, &mut grace], |players| players.iter().all(|player| snapshots(*player) > 5));
    let ticket = ticket_again(&service, &ada.ticket);
    let mut again = UdpPlayer::with(&ticket, service.ruleset(&ticket.rules_hash));
    fly_until(&mut [&mut ada, &mut again, &mut grace], |players| snapshots(players[1]) > 30);
    assert_eq!(end_of(&mut ada.session), Some(Ended::Server(CloseReason::Replaced)));
    assert_eq!(ada.code(), CLOSE_REPLACED);
}

#[test]
fn every_end_that_a_stranger_can_bring_about_has_its_code() {
    let service = Service::start("ws-codes", &["--drain-seconds", "0"]);
    let open = || Socket::open(&service, None, None).expect("let in");
    let player = |name: &str| WebSocketPlayer::join(&service, name, "standard", 2, name);
    // Those that take five seconds go on beside the others.
    let (mut mute, mut silent) = (open(), player("silent"));
    fly_until(&mut [&mut silent], |players| snapshots(players[0]) > 0);

    for (frame, code) in [
        (&[][..], CLOSE_NO_HELLO),
        (&[2; 25], CLOSE_NO_HELLO),
        (&[1; 26], CLOSE_NO_HELLO),
        (&Hello { fingerprint: 7, ticket: [0; 16] }.encode(), CLOSE_OUTDATED),
        (&Hello { fingerprint: astro_shared::wire::fingerprint(), ticket: [0; 16] }.encode(), CLOSE_TICKET),
        (&[1; CLIENT_FRAME_BYTES_MAX + 1], CLOSE_MISBEHAVED),
    ] {
        let mut socket = open();
        socket.send(frame);
        assert_eq!(socket.code(), code, "{frame:?}");
    }
    let mut talker = open();
    talker.send_message(Message::Text("hello".into()));
    assert_eq!(talker.code(), CLOSE_MISBEHAVED);

    let oversized = vec![0; CLIENT_FRAME_BYTES_MAX + 1];
    let mut slices = Vec::new();
    put_packet(&mut slices, &[2, 0, 0, 0]);
    for (name, message) in [
        ("text", Message::Text("{}".into())),
        ("oversized", Message::Binary(oversized.into())),
        ("empty", Message::Binary(Vec::new().into())),
        ("cut", Message::Binary(vec![9, 0, 0x81].into())),
        ("slices", Message::Binary(slices.into())),
    ] {
        let mut socket = player(name);
        fly_until(&mut [&mut socket], |players| snapshots(players[0]) > 0);
        socket.socket.send_message(message);
        assert_eq!(socket.code(), CLOSE_MISBEHAVED, "{name}");
    }

    let mut leaver = player("leaver");
    fly_until(&mut [&mut leaver], |players| snapshots(players[0]) > 0);
    leaver.session.leave(unix_now());
    fly_until(&mut [&mut leaver], |players| players[0].session().is_closed());
    assert_eq!(leaver.code(), CLOSE_LEFT);

    assert_eq!((mute.code(), silent.code()), (CLOSE_NO_HELLO, CLOSE_SILENT));
}

#[test]
fn a_flood_ends_its_own_socket_and_no_other() {
    let service = Service::start("ws-flood", &[]);
    let mut ada = WebSocketPlayer::join(&service, "Ada", "standard", 2, "g");
    let mut mallory = WebSocketPlayer::join(&service, "Mallory", "standard", 2, "g");
    fly_until(&mut [&mut ada, &mut mallory], |players| players.iter().all(|player| snapshots(*player) > 0));
    let mut frame = Vec::new();
    (0..100).for_each(|_| put_packet(&mut frame, &[0x81, 0, 0, 0, 0]));
    for _ in 0..1000 {
        mallory.socket.send(&frame);
    }
    assert!(matches!(mallory.code(), CLOSE_MISBEHAVED | 0), "a flood may run into a closed door before it hears why");
    let mut pinger = WebSocketPlayer::join(&service, "Pinger", "standard", 2, "pings");
    fly_until(&mut [&mut ada, &mut pinger], |players| snapshots(players[1]) > 0);
    for _ in 0..1000 {
        pinger.socket.send_message(Message::Ping(Vec::new().into()));
    }
    assert!(matches!(pinger.code(), CLOSE_MISBEHAVED | 0));
    let before = snapshots(&ada);
    fly_until(&mut [&mut ada], |players| snapshots(players[0]) > before + 30);
    assert!(!ada.session.is_closed());
}

#[test]
fn pages_from_elsewhere_are_refused_before_the_upgrade() {
    let service = Service::start("ws-origin", &[]);
    let refused = Some((403, "origin_refused".to_owned()));
    assert_eq!(Socket::open(&service, Some("https://evil.example"), None).err(), refused);
    assert_eq!(Socket::open(&service, Some("null"), None).err(), refused);
    assert!(Socket::open(&service, Some(&service.http), None).is_ok());
    assert!(Socket::open(&service, Some("http://127.0.0.1:3000"), None).is_ok());
    let (status, body) = service.get("/v1/play");
    let error: astro_shared::api::Problem = serde_json::from_slice(&body).expect("an error body");
    assert_eq!((status, error.code.as_str()), (400, "not_a_websocket"));
}

#[test]
fn the_ninth_socket_of_an_address_without_a_ticket_is_refused_until_one_goes_or_shows_it() {
    let service = Service::start("ws-waiting", &[]);
    let ticket = service.quickplay("Ada", "standard", 2, "g");
    let open = || Socket::open(&service, None, None);
    let mut waiting: Vec<Socket> = (0..8).map(|_| open().expect("let in")).collect();
    assert_eq!(open().err(), Some((429, "too_many_sockets".to_owned())));
    // One shows its ticket and waits no longer: the answer comes after that.
    let mut ada = WebSocketPlayer::over(waiting.remove(0), ticket.clone(), service.ruleset(&ticket.rules_hash));
    ada.socket.hello(&ticket);
    fly_until(&mut [&mut ada], |players| players[0].session().seat().is_some());
    waiting.push(open().expect("room for one"));
    assert_eq!(open().err(), Some((429, "too_many_sockets".to_owned())));
    // One is sent away; once its end is seen, its place is free, or will be in a moment.
    waiting[0].send(&[0]);
    assert_eq!(waiting[0].code(), CLOSE_NO_HELLO);
    let deadline = Instant::now() + Duration::from_secs(5);
    while open().is_err() {
        assert!(Instant::now() < deadline, "its place stays taken");
    }
}

/// Puts a newest input far behind into the socket: a sign of life that needs nothing to be read.
fn sign_of_life(socket: &mut Socket) {
    let (mut input, mut frame) = (Vec::new(), Vec::new());
    InputDatagram::new(Tick(0), Tick(1), &[Input::NEUTRAL]).encode(&mut input);
    put_packet(&mut frame, &input);
    socket.send(&frame);
}

/// A player whose connection holds next to nothing, in a match with two others.
fn with_a_small_buffer(service: &Service) -> (WebSocketPlayer, WebSocketPlayer, UdpPlayer) {
    let ticket = service.quickplay("Deaf", "standard", 3, "g");
    let mut socket = Socket::open(service, None, Some(1024)).expect("let in");
    socket.hello(&ticket);
    let deaf = WebSocketPlayer::over(socket, ticket.clone(), service.ruleset(&ticket.rules_hash));
    let ada = WebSocketPlayer::join(service, "Ada", "standard", 3, "g");
    (deaf, ada, service.join("Grace", "standard", 3, "g"))
}

#[test]
fn a_reader_that_falls_behind_gets_fewer_snapshots_and_always_the_newest_and_more_when_it_keeps_up() {
    let service = Service::start("ws-slow", &[]);
    let (mut deaf, mut ada, mut grace) = with_a_small_buffer(&service);
    fly_until(&mut [&mut deaf, &mut ada, &mut grace], |players| players.iter().all(|player| snapshots(*player) > 30));
    deaf.deaf = true;
    fly_until(&mut [&mut deaf, &mut ada, &mut grace], |_| service.metric("astro_snapshots_superseded") >= 10.0);
    deaf.deaf = false;
    fly(&mut [&mut deaf, &mut ada, &mut grace], 60);
    let behind = tick(&ada).saturating_sub(tick(&deaf));
    assert!(behind < 30, "{behind} ticks behind: what was old by then was dropped");
    let before = (snapshots(&deaf), tick(&deaf));
    fly(&mut [&mut deaf, &mut ada, &mut grace], 240);
    let mut recent = (snapshots(&deaf), tick(&deaf));
    let (got, ticks) = (recent.0 - before.0, u64::from(recent.1 - before.1));
    assert!(got * 4 <= ticks + 8, "{got} snapshots in {ticks} ticks: slowed to one in four");
    assert!(got * 8 >= ticks, "{got} snapshots in {ticks} ticks: but it gets them");
    fly_until(&mut [&mut deaf, &mut ada, &mut grace], |players| {
        let (now, ticks) = ((snapshots(players[0]), tick(players[0])), u64::from(tick(players[0]) - recent.1));
        let is_fast = ticks >= 60 && (now.0 - recent.0) * 10 >= ticks * 4;
        if ticks >= 60 {
            recent = now;
        }
        is_fast
    });
    assert_eq!(deaf.session.statistics().state_mismatches, 0);
}

#[test]
fn a_reader_that_stops_is_told_and_closed_while_the_others_miss_nothing() {
    let service = Service::start("ws-stop", &[]);
    let (mut deaf, mut ada, mut grace) = with_a_small_buffer(&service);
    fly_until(&mut [&mut deaf, &mut ada, &mut grace], |players| players.iter().all(|player| snapshots(*player) > 30));
    let before = (snapshots(&ada), tick(&ada), snapshots(&grace), tick(&grace));
    let memory = service.metric("astro_process_resident_memory_bytes");
    fly_until(&mut [&mut ada, &mut grace], |_| {
        sign_of_life(&mut deaf.socket);
        service.metric("astro_links{") < 3.0
    });
    // It is told while it would listen; it does so now.
    assert_eq!(deaf.code(), CLOSE_TOO_SLOW);
    assert_eq!(end_of(&mut deaf.session), Some(Ended::Server(CloseReason::TooSlow)));
    assert!(service.metric("astro_snapshots_superseded") >= 10.0);
    for (name, got, ticks) in [
        ("Ada", snapshots(&ada) - before.0, tick(&ada) - before.1),
        ("Grace", snapshots(&grace) - before.2, tick(&grace) - before.3),
    ] {
        assert!(ticks > 240, "{name} saw {ticks} ticks");
        assert!(got * 2 * 10 >= u64::from(ticks) * 9, "{name} got {got} snapshots in {ticks} ticks");
    }
    let grown = service.metric("astro_process_resident_memory_bytes") - memory;
    assert!(grown < 32e6, "{grown} bytes");
}

#[test]
fn a_shutdown_closes_every_socket_with_its_code() {
    let mut service = Service::start("ws-shutdown", &["--drain-seconds", "0"]);
    let mut waiting = Socket::open(&service, None, None).expect("let in");
    let mut ada = WebSocketPlayer::join(&service, "Ada", "standard", 2, "g");
    let mut grace = WebSocketPlayer::join(&service, "Grace", "standard", 2, "g");
    fly_until(&mut [&mut ada, &mut grace], |players| players.iter().all(|player| snapshots(*player) > 0));
    assert_eq!(ticket_of(&ada.ticket).len(), 16);
    let ended = std::thread::spawn(move || service.interrupt());
    assert_eq!(
        (ada.code(), grace.code(), waiting.code()),
        (CLOSE_SHUTTING_DOWN, CLOSE_SHUTTING_DOWN, CLOSE_SHUTTING_DOWN)
    );
    assert_eq!(end_of(&mut ada.session), Some(Ended::Server(CloseReason::ShuttingDown)));
    assert!(ended.join().unwrap().success());
}
