//! A session against a stand-in for the server, in virtual time: the sim flown by pilots, the wire as it is.

mod stage;

use astro_shared::sim::SimPlugin;
use astro_shared::sim::event::Event;
use astro_shared::sim::units::MatchId;
use astro_shared::wire::message::{CloseReason, Missed, MissedEvent, ResultSeat};
use astro_shared::wire::snapshot::Baseline;
use astro_shared::wire::websocket;
use astro_shared::wire::{CONTROL_CHANNEL, CONTROL_CHANNEL_BYTES_MAX, KIND_ACKNOWLEDGE, KIND_INPUT, KIND_SNAPSHOT};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use renetcode::{ConnectToken, NetcodeServer, ServerAuthentication, ServerConfig, ServerResult};
use stage::{CLIENT, SEAT, SEATS, Stage, rules, welcome};

use super::*;

#[test]
fn a_session_joins_flies_in_time_and_agrees_on_every_hash() {
    let mut stage = Stage::flying();
    let (fed, before) = (stage.server.fed, stage.session.statistics().clone());
    stage.play(1200);
    assert!(stage.events.starts_with(&[SessionEvent::Connected]), "{:?}", stage.events);
    assert!(matches!(stage.events[1], SessionEvent::Welcomed(Welcome { place: Place::Seat(1), .. })));
    assert_eq!(stage.server.fed - fed, 1200, "an input of our own for every tick");
    let mut flown = stage.session.statistics().clone();
    flown.subtract(&before);
    assert_eq!((flown.snapshots, flown.state_mismatches, flown.datagrams_refused), (600, 0, 0));
    assert_eq!((flown.margins_late, flown.snapshots_unusable), (0, 0));
    assert!((600..=640).contains(&flown.datagrams_up), "{} datagrams in 20 s", flown.datagrams_up);
    assert!(stage.server.events.iter().filter(|(_, event)| matches!(event, Event::ShotFired { .. })).count() > 20);
    let took = flown.input_to_ack.quantile(0.5).unwrap();
    assert!((Duration::from_millis(50)..Duration::from_millis(120)).contains(&took), "{took:?}");
    assert_eq!(stage.session.view().unwrap().round.tick.since(stage.server.tick_now()), 0);
    assert!(stage.server.tick_now().since(stage.session.view().unwrap().round.tick) <= 4);
}

#[test]
fn over_a_bad_path_it_still_joins_flies_and_agrees() {
    let mut stage = Stage::new();
    stage.up.make_bad();
    stage.down.make_bad();
    stage.session.start(rules());
    stage.server.say(&welcome(rules().hash()));
    stage.play(600);
    let (fed, before) = (stage.server.fed, stage.session.statistics().clone());
    stage.play(3600);
    let mut flown = stage.session.statistics().clone();
    flown.subtract(&before);
    assert_eq!((flown.state_mismatches, flown.datagrams_refused), (0, 0));
    assert!(flown.snapshots > 900, "{} of 1800 were newer than those before", flown.snapshots);
    let fed = stage.server.fed - fed;
    // A lost datagram costs one tick: the next one, two ticks later, brings the other of its pair just in time.
    assert!(fed > 3420, "{fed} of 3600 ticks had their input, every tenth datagram lost");
    assert!(!stage.session.is_closed());
}

#[test]
fn a_session_rejoins_over_a_new_link_and_keeps_what_it_knew() {
    let mut stage = Stage::flying();
    stage.server_speaks = false;
    // What is under way still arrives.
    stage.play(10);
    let before = (stage.session.statistics().snapshots, stage.session.view().unwrap().round.tick);
    stage.play(330);
    assert!(stage.session.is_closed());
    assert_eq!(stage.rejoin().snapshots, before.0);
    assert_eq!(stage.session.view().unwrap().round.tick, before.1, "the picture stays until a new one comes");
    stage.server.say(&welcome(rules().hash()));
    stage.play(60);
    assert!(stage.session.statistics().snapshots > 20);
    assert!(stage.server.tick_now().since(stage.session.view().unwrap().round.tick) <= 4);
    let event = MissedEvent { tick: Tick(9), what: Missed::RoundDrawn };
    let (since_tick, through_tick) = (Tick(8), Tick(10));
    let missed = ToClient::Missed { since_tick, through_tick, events: vec![event], complete: false };
    stage.server.say(&missed);
    stage.play(20);
    let expected = MissedEvents { since: since_tick, through: through_tick, events: vec![event], complete: false };
    assert_eq!(stage.session.missed(), Some(&expected));
    assert_eq!(stage.events.last(), Some(&SessionEvent::Missed));
    assert_eq!(stage.session.statistics().state_mismatches, 0);
    stage.server.say(&missed);
    stage.play(20);
    assert_eq!(stage.events.last(), Some(&SessionEvent::Closed { reason: Ended::Misbehaved }), "told twice");
}

#[test]
fn impossible_seats_in_what_was_missed_end_the_session() {
    for what in [
        Missed::ShipDestroyed { victim: Seat(8), by: None, assists: 0 },
        Missed::ShipDestroyed { victim: Seat(0), by: Some(Seat(8)), assists: 0 },
        Missed::RoundWon { winner: Seat(8) },
        Missed::MatchWon { winner: Some(Seat(8)) },
    ] {
        let mut stage = Stage::flying();
        let events = vec![MissedEvent { tick: Tick(9), what }];
        let (since_tick, through_tick) = (Tick(8), Tick(10));
        stage.server.say(&ToClient::Missed { since_tick, through_tick, events, complete: true });
        stage.play(20);
        assert_eq!(stage.events.last(), Some(&SessionEvent::Closed { reason: Ended::Misbehaved }), "{what:?}");
    }
}

#[test]
fn a_session_that_rejoins_elsewhere_than_before_is_not_fooled() {
    let mut stage = Stage::flying();
    stage.rejoin();
    stage.server.say(&ToClient::Welcome {
        match_id: MatchId(6),
        place: Place::Seat(SEAT.0),
        seats: SEATS,
        rules_hash: rules().hash(),
    });
    stage.play(20);
    assert_eq!(stage.events.last(), Some(&SessionEvent::Closed { reason: Ended::Misbehaved }));
}

#[test]
fn ready_waits_for_the_rules_and_hot_datagrams_wait_for_ready() {
    let mut stage = Stage::new();
    stage.server.say(&welcome(rules().hash()));
    stage.play(60);
    assert!(matches!(stage.events[..], [SessionEvent::Connected, SessionEvent::Welcomed(_)]));
    assert!(!stage.server.ready);
    stage.session.start(rules());
    stage.play(60);
    assert!(stage.server.ready && stage.session.view().is_some());
}

#[test]
fn other_rules_than_the_servers_end_the_session() {
    let mut stage = Stage::new();
    stage.session.start(astro_shared::assets::ruleset("sprint").unwrap());
    stage.server.say(&welcome(rules().hash()));
    stage.play(60);
    assert!(stage.events.contains(&SessionEvent::Closed { reason: Ended::WrongRules }));
    assert!(!stage.server.ready);
}

#[test]
fn control_falls_silent_when_all_is_said() {
    let mut stage = Stage::flying();
    let from = stage.now;
    stage.play(600);
    assert_eq!(stage.sent_since(from, |kind| kind < 0x80), 0, "acknowledgements are not acknowledged");
    assert!(stage.sent_since(from, |kind| kind == KIND_INPUT) >= 300);
}

#[test]
fn stale_and_baseless_snapshots_change_nothing() {
    let mut stage = Stage::flying();
    let stale = stage.server.snapshot(Baseline::Absolute, |_| true);
    stage.play(20);
    let (view, before) = (*stage.session.view().unwrap(), stage.session.statistics().clone());
    stage.deliver(stale);
    // One tick on the server, a baseline that the client cannot have: it has not been sent.
    stage.server.tick();
    stage.server.tick();
    let unknown = Baseline::After(stage.server.tick_now());
    let baseless = stage.server.snapshot(unknown, |_| true);
    stage.deliver(baseless);
    let after = stage.session.statistics();
    assert_eq!(after.snapshots_unusable - before.snapshots_unusable, 2);
    assert_eq!((after.snapshots, after.state_mismatches), (before.snapshots, 0));
    assert_eq!(*stage.session.view().unwrap(), view);
}

#[test]
fn a_dropped_bullet_event_is_a_mismatch_until_an_absolute_snapshot_heals_it() {
    let mut stage = Stage::flying();
    stage.drop_event = |event| matches!(event, Event::ShotFired { .. });
    stage.play(600);
    let wrong = stage.session.statistics().state_mismatches;
    assert!(wrong > 0, "bullets missing from the World are noticed");
    stage.drop_event = |_| false;
    stage.play(60);
    let healed = stage.session.statistics().state_mismatches;
    stage.play(300);
    assert_eq!(stage.session.statistics().state_mismatches, healed, "healed for good");
}

#[test]
fn a_corrupted_field_is_a_mismatch_or_does_not_decode() {
    let (mut noticed, mut unnoticed) = (0, Vec::new());
    let mut stage = Stage::flying();
    stage.play(100);
    let good = stage.server.snapshot(Baseline::Absolute, |_| true);
    let head_bits = 8 + 1 + 32 + 8;
    for bit in head_bits..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        // A replica as fresh as a newcomer's, so that the same tick applies every time.
        let Ok(decoded) = snapshot::decode(&bad, SEAT) else { continue };
        let mut replica = Replica::new(Audience::Seat(SEAT), SEATS, rules());
        let mut world = SimPlugin::world();
        match replica.apply(&mut world, &decoded) {
            Ok(true) => unnoticed.push(bit),
            Ok(false) => noticed += 1,
            Err(_) => {}
        }
    }
    assert!(noticed > 400, "{noticed} corrupted fields noticed");
    assert!(unnoticed.is_empty(), "bits {unnoticed:?} of {}", good.len() * 8);
}

#[test]
fn five_seconds_of_silence_end_the_session() {
    let mut stage = Stage::flying();
    stage.server_speaks = false;
    stage.down.under_way.clear();
    stage.play(295);
    assert!(!stage.session.is_closed());
    stage.play(10);
    assert_eq!(stage.events.last(), Some(&SessionEvent::Closed { reason: Ended::Silent }));
    let from = stage.now;
    stage.play(60);
    assert_eq!(stage.sent_since(from, |_| true), 0, "and nothing more is sent");
}

#[test]
fn leaving_says_so_and_closes_when_the_server_knows() {
    let mut stage = Stage::flying();
    stage.session.leave(stage.now);
    stage.play(30);
    assert!(stage.server.left);
    assert_eq!(stage.events.last(), Some(&SessionEvent::Closed { reason: Ended::Left }));
}

#[test]
fn leaving_a_server_that_is_gone_takes_half_a_second() {
    let mut stage = Stage::flying();
    stage.up.delay = Duration::from_secs(100);
    stage.session.leave(stage.now);
    stage.play(29);
    assert!(!stage.session.is_closed());
    stage.play(2);
    assert!(stage.session.is_closed());
}

#[test]
fn results_and_the_reason_of_the_end_come_through() {
    let mut stage = Stage::flying();
    let seat = ResultSeat {
        placement: 1,
        rounds_won: 5,
        kills: 9,
        deaths: 3,
        assists: 2,
        shots: 300,
        hits: 21,
        survival_ticks: 7000,
        streak_longest: 4,
    };
    stage.server.say(&ToClient::Result { winner: Some(2), seats: vec![seat; 3] });
    stage.server.say(&ToClient::Closing { reason: CloseReason::MatchOver });
    stage.play(30);
    assert_eq!(stage.session.result().unwrap().winner, Some(2));
    let end = [SessionEvent::Result, SessionEvent::Closed { reason: Ended::Server(CloseReason::MatchOver) }];
    assert!(stage.events.ends_with(&end), "{:?}", stage.events);
    assert_eq!(stage.server.renet.channel_available_memory(CLIENT, CONTROL_CHANNEL), CONTROL_CHANNEL_BYTES_MAX);
}

#[test]
fn that_the_server_goes_down_is_told_with_the_time_and_once() {
    let mut stage = Stage::flying();
    stage.server.say(&ToClient::ShuttingDown { seconds_left: 30 });
    stage.play(30);
    let at = stage.session.shutdown_at().expect("told");
    assert!(at > stage.now + Duration::from_secs(29) && at <= stage.now + Duration::from_secs(30), "{at:?}");
    assert!(!stage.session.is_closed(), "the match goes on");
    stage.server.say(&ToClient::ShuttingDown { seconds_left: 1 });
    stage.play(30);
    assert!(stage.session.shutdown_at().is_some_and(|sooner| sooner < at), "the newest time counts");
    assert_eq!(stage.events.iter().filter(|event| **event == SessionEvent::ShuttingDown).count(), 1);
    assert_eq!(stage.session.statistics().shutdown_notices, 1);
}

#[test]
fn a_spectator_sends_acknowledgements_at_the_rate_of_snapshots_and_no_inputs_and_agrees_on_every_hash() {
    let mut stage = Stage::watching(600);
    stage.play(1200);
    let counted = stage.session.statistics();
    assert!(counted.snapshots > 580, "{} snapshots", counted.snapshots);
    assert_eq!((counted.state_mismatches, counted.snapshots_unusable, counted.datagrams_refused), (0, 0, 0));
    let place = Place::Spectator { delay_ticks: 600 };
    assert_eq!((stage.session.place(), stage.session.seat()), (Some(place), None));
    assert_eq!(stage.sent_since(Duration::ZERO, |kind| kind == KIND_INPUT), 0);
    let acknowledgements = &stage.server.acknowledgements;
    assert!(acknowledgements.is_sorted_by_key(|(_, tick)| *tick));
    let late = acknowledgements.iter().filter(|(now, tick)| now.since(*tick) > 6 && *tick != Tick(0)).count();
    assert_eq!(late, 0, "each snapshot is acknowledged when it comes");
    assert!((0..6).contains(&(counted.snapshots as i64 - acknowledgements.len() as i64)), "and only once");
    let view = stage.session.view().unwrap();
    assert!(view.ships.iter().all(|ship| (ship.ammunition, ship.shots) == (0, 0)), "nobody's magazine is shown");
}

#[test]
fn a_spectator_waits_for_the_first_picture_as_long_as_the_delay_and_shows_that_he_is_there() {
    let mut stage = Stage::watching(600);
    stage.play(9);
    stage.server_speaks = false;
    assert!(stage.session.place().is_some());
    stage.play(13 * 60);
    assert!(!stage.session.is_closed());
    let signs = stage.sent_since(Duration::from_secs(2), |kind| kind == KIND_ACKNOWLEDGE);
    assert!((10..=12).contains(&signs), "{signs} signs of life in 11 s");
    stage.play(3 * 60);
    assert_eq!(stage.events.last(), Some(&SessionEvent::Closed { reason: Ended::Silent }), "but not for ever");
}

#[test]
fn a_released_session_leaves_nothing_in_the_world() {
    let mut stage = Stage::flying();
    let with_row = stage.world.entities().count_spawned();
    stage.session.release(&mut stage.world);
    assert_eq!(stage.world.entities().count_spawned(), with_row - 1);
}

#[test]
fn garbage_over_a_bare_link_is_refused_and_the_flight_goes_on() {
    let seed = 42;
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut stage = Stage::flying();
    for round in 0..20_000 {
        let mut bytes = vec![0u8; random.random_range(0..1400)];
        random.fill(&mut bytes[..]);
        if let (Some(first), true) = (bytes.first_mut(), round % 2 == 0) {
            // Kinds that get past the first look: renet packets and snapshots; but no whole small message, which
            // would be a message.
            *first = [2, 3, 4, KIND_SNAPSHOT][round / 2 % 4];
        }
        if bytes.first() != Some(&0) {
            stage.deliver(bytes);
        }
    }
    assert!(stage.session.statistics().datagrams_refused > 9_000);
    stage.play(60);
    assert!(!stage.session.is_closed());
}

/// A netcode server in memory, with one client connected to it or on the way.
struct Sealed {
    server: NetcodeServer,
    session: Session,
    world: World,
    now: Duration,
}

impl Sealed {
    fn new() -> Sealed {
        let address: SocketAddr = "127.0.0.1:4000".parse().unwrap();
        let server = NetcodeServer::new(ServerConfig {
            current_time: Duration::ZERO,
            max_clients: 4,
            protocol_id: 7,
            public_addresses: vec![address],
            authentication: ServerAuthentication::Secure { private_key: [1; 32] },
        });
        let token = ConnectToken::generate(Duration::ZERO, 7, 15, CLIENT, 5, vec![address], None, &[1; 32]).unwrap();
        let mut bytes = Vec::new();
        token.write(&mut bytes).unwrap();
        let link = Link::from_connect_token(&bytes, Duration::ZERO).unwrap();
        let session = Session::new(link, 30, Duration::ZERO);
        Sealed { server, session, world: SimPlugin::world(), now: Duration::ZERO }
    }

    /// Lets `steps` of 20 ms pass, carrying datagrams both ways.
    fn run(&mut self, steps: u32) {
        let address = "127.0.0.1:5000".parse().unwrap();
        for _ in 0..steps {
            self.now += Duration::from_millis(20);
            self.server.update(Duration::from_millis(20));
            self.session.handle_tick(self.now);
            let mut up = Vec::new();
            while let Some(transmit) = self.session.poll_transmit(self.now) {
                up.push(transmit.bytes.to_vec());
            }
            for mut bytes in up {
                let answer = match self.server.process_packet(address, &mut bytes) {
                    ServerResult::PacketToSend { payload, .. } | ServerResult::ClientConnected { payload, .. } => {
                        payload.to_vec()
                    }
                    _ => continue,
                };
                self.deliver(answer);
            }
        }
    }

    fn deliver(&mut self, mut bytes: Vec<u8>) {
        self.session.handle_datagram(&mut self.world, &mut bytes, self.now);
    }

    fn seal(&mut self, payload: &[u8]) -> Vec<u8> {
        self.server.generate_payload_packet(CLIENT, payload).unwrap().1.to_vec()
    }

    fn throw(&mut self, random: &mut StdRng) {
        for round in 0..5_000 {
            let mut bytes = vec![0u8; random.random_range(0..400)];
            random.fill(&mut bytes[..]);
            if let (Some(first), true) = (bytes.first_mut(), round % 2 == 0) {
                *first = (*first & 0xf0) | (round / 2 % 7) as u8;
            }
            self.deliver(bytes);
        }
        // N1: nine sequence bytes. N2: long enough to be looked at, too short for what it says. N3: sequence at the end.
        self.deliver([&[0x95][..], &[0; 200]].concat());
        self.deliver([&[0x85][..], &[0; 20]].concat());
        self.deliver([&[0x85][..], &[0xff; 60]].concat());
    }
}

#[test]
fn garbage_before_and_after_connecting_never_panics() {
    let seed = 43;
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut sealed = Sealed::new();
    sealed.throw(&mut random);
    sealed.run(1);
    sealed.throw(&mut random);
    sealed.run(10);
    assert_eq!(sealed.session.poll_event(), Some(SessionEvent::Connected));
    sealed.throw(&mut random);
    // N4: a slice beyond its count, whole and properly sealed, so that only the inner filter stands in its way.
    let mut slice = vec![2, 0, 0, 0, 9, 1, 0x44, 0xb0];
    slice.resize(8 + 1200, 0);
    let bytes = sealed.seal(&slice);
    sealed.deliver(bytes);
    for kind in 0..=255 {
        let bytes = sealed.seal(&[kind, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        sealed.deliver(bytes);
    }
    let refused = sealed.session.statistics().datagrams_refused;
    assert!(refused > 5_000, "{refused}");
    sealed.run(10);
    assert!(!sealed.session.is_closed());
    let bytes = sealed.server.disconnect(CLIENT);
    let ServerResult::ClientDisconnected { payload: Some(bytes), .. } = bytes else { panic!("connected") };
    let bytes = bytes.to_vec();
    sealed.deliver(bytes);
    assert_eq!(sealed.session.poll_event(), Some(SessionEvent::Closed { reason: Ended::Dropped }));
}

#[test]
fn a_server_that_never_answers_is_given_up_after_five_seconds() {
    let mut sealed = Sealed::new();
    let mut sent = 0;
    for step in 0..400 {
        let now = Duration::from_millis(20 * step);
        sealed.session.handle_tick(now);
        while sealed.session.poll_transmit(now).is_some() {
            sent += 1;
        }
    }
    assert_eq!(sealed.session.poll_event(), Some(SessionEvent::Closed { reason: Ended::NoAnswer }));
    assert!((15..30).contains(&sent), "{sent} requests");
}

#[test]
fn every_close_code_of_a_websocket_ends_a_session_with_its_reason() {
    for reason in [
        CloseReason::MatchOver,
        CloseReason::Silent,
        CloseReason::Replaced,
        CloseReason::Outdated,
        CloseReason::Misbehaved,
        CloseReason::Voided,
        CloseReason::ShuttingDown,
        CloseReason::TooSlow,
    ] {
        assert_eq!(Ended::from_close_code(reason.websocket_code()), Ended::Server(reason));
    }
    for (code, name, _) in websocket::CLOSE_CODES {
        assert_ne!(Ended::from_close_code(code), Ended::Dropped, "{name}");
    }
    let mut stage = Stage::flying();
    stage.session.handle_carrier_closed(Some(websocket::CLOSE_TICKET));
    stage.session.handle_carrier_closed(None);
    stage.play(2);
    assert_eq!(
        stage.events.last(),
        Some(&SessionEvent::Closed { reason: Ended::TicketExpired }),
        "the first word counts"
    );
}
