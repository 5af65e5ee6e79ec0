//! Promise: up to 10 % loss, whatever the delay, everybody plays their match to its end; beyond that ends are clean.
//!
//! The shard's real `App` and real sessions over conditioned links, in virtual time: some fifty simulated seconds a row.

use std::net::SocketAddr;
use std::time::Duration;

use astro_client::session::{Ended, Link, Session, SessionEvent};
use astro_server::host::shard::PERIOD;
use astro_server::transport::memory::Carrier;
use astro_shared::assets::ruleset;
use astro_shared::link::{Bursts, Conditioner, Faults, Profile, Share};
use astro_shared::sim::SimPlugin;
use astro_shared::wire;
use astro_shared::wire::message::CloseReason;
use astro_tests::stage::{PlayerId, Stage};
use bevy_ecs::world::World;
use renetcode::{ConnectToken, NetcodeServer, ServerAuthentication, ServerConfig, ServerResult};

const MATCHES: usize = 3;
const SEATS: u8 = 4;
const STREAM: Carrier = Carrier::Stream { latest_wins: true };

/// Half of the loss comes alone, half in bursts of five; 1 % doubled, 2 % out of order.
fn network(rtt_ms: u32, loss_percent: f64, jitter_ms: u32) -> Profile {
    let half = Share::percent(loss_percent / 2.0);
    Profile {
        rtt_ms,
        jitter_ms,
        loss: half,
        bursts: Bursts { share: half, length_mean: 5 },
        duplicate: Share::percent(1.0),
        reorder: Share::percent(2.0),
        rate_kbit_s: 0,
    }
}

/// What became of the players of three matches that were played to their ends.
struct Outcome {
    stage: Stage,
    players: Vec<PlayerId>,
    /// Matches that were over in time.
    finished: usize,
    faults: Faults,
}

fn play(carrier: Carrier, profile: Profile, seed: u64) -> Outcome {
    let mut stage =
        Stage::with_seed(&format!("rough-{carrier:?}-{profile:?}").replace(|c: char| !c.is_alphanumeric(), ""), seed);
    stage.condition_everyone(carrier, profile);
    let (mut players, mut matches) = (Vec::new(), Vec::new());
    for _ in 0..MATCHES {
        let match_id = stage.open(ruleset("sprint").unwrap(), SEATS);
        matches.push(match_id);
        players.extend((0..SEATS).map(|seat| stage.join(match_id, &format!("Player {seat}"))));
    }
    let over = |stage: &mut Stage| matches.iter().filter(|id| stage.phase(**id).is_none()).count();
    stage.play_until(180 * 60, |stage| over(stage) == MATCHES);
    let finished = over(&mut stage);
    // Whoever did not hear the goodbye notices the silence.
    stage.play(6 * 60);
    let faults = stage.faults();
    Outcome { stage, players, finished, faults }
}

impl Outcome {
    fn line(&self, what: &str) -> String {
        let mut all = astro_client::session::Statistics::default();
        self.players.iter().for_each(|player| all.add(self.stage.player(*player).session.statistics()));
        let late = 100.0 * all.margins_late as f64 / (all.margins_late + all.margins_in_time).max(1) as f64;
        let (p50, p99) = (all.input_to_ack.quantile(0.5), all.input_to_ack.quantile(0.99));
        let ends: Vec<_> = self.players.iter().map(|player| self.stage.ended(*player).map(Ended::name)).collect();
        let (told, goodbyes) = (self.told(), ends.iter().filter(|end| **end == Some("match_over")).count());
        format!(
            "{what}: finished {}, told {told}, goodbyes {goodbyes}, snapshots {}, unusable {}, late {late:.2} %, \
             ack p50 {p50:?} p99 {p99:?}, bytes down {}",
            self.finished, all.snapshots, all.snapshots_unusable, all.bytes_down
        )
    }

    fn told(&self) -> usize {
        self.players.iter().filter(|player| self.stage.player(**player).session.result().is_some()).count()
    }
}

#[test]
fn up_to_ten_percent_loss_everybody_plays_to_the_end() {
    let mut faults = Faults::default();
    let rows = [
        (0, 0.0, 0),
        (0, 2.0, 30),
        (0, 10.0, 80),
        (50, 2.0, 0),
        (50, 5.0, 30),
        (50, 10.0, 80),
        (100, 2.0, 30),
        (100, 10.0, 30),
        (200, 0.0, 80),
        (200, 5.0, 80),
        (200, 10.0, 30),
        (400, 2.0, 30),
        (400, 5.0, 0),
        (400, 10.0, 80),
    ];
    for (seed, (rtt_ms, loss, jitter_ms)) in rows.into_iter().enumerate() {
        let outcome = play(Carrier::Datagrams, network(rtt_ms, loss, jitter_ms), seed as u64);
        everybody_played_to_the_end(&outcome, &format!("RTT {rtt_ms} ms, loss {loss} %, jitter {jitter_ms} ms"));
        faults.add(&outcome.faults);
    }
    let thin = Profile { rate_kbit_s: 24, ..network(100, 2.0, 10) };
    let outcome = play(Carrier::Datagrams, thin, 99);
    everybody_played_to_the_end(&outcome, "24 kbit/s");
    faults.add(&outcome.faults);
    all_happened(&faults, &["retransmitted", "stalled"]);
}

#[test]
fn over_a_stream_too() {
    let mut faults = Faults::default();
    for (seed, (rtt_ms, loss, jitter_ms)) in
        [(0, 1.0, 0), (50, 1.0, 0), (100, 2.0, 30), (200, 5.0, 30), (400, 2.0, 80)].into_iter().enumerate()
    {
        for latest_wins in [true, false] {
            let outcome = play(Carrier::Stream { latest_wins }, network(rtt_ms, loss, jitter_ms), 100 + seed as u64);
            let what =
                format!("stream, latest wins {latest_wins}, RTT {rtt_ms} ms, loss {loss} %, jitter {jitter_ms} ms");
            everybody_played_to_the_end(&outcome, &what);
            faults.add(&outcome.faults);
        }
    }
    let thin = Profile { rate_kbit_s: 24, ..network(100, 2.0, 10) };
    let outcome = play(STREAM, thin, 199);
    everybody_played_to_the_end(&outcome, "stream with 24 kbit/s");
    faults.add(&outcome.faults);
    all_happened(&faults, &["duplicated"]);
}

#[test]
fn at_twenty_percent_loss_every_session_ends_with_a_reason_that_fits() {
    for (seed, (rtt_ms, jitter_ms)) in [(50, 30), (200, 80), (400, 80)].into_iter().enumerate() {
        let outcome = play(Carrier::Datagrams, network(rtt_ms, 20.0, jitter_ms), 200 + seed as u64);
        let what = format!("RTT {rtt_ms} ms, loss 20 %, jitter {jitter_ms} ms");
        println!("{}", outcome.line(&what));
        assert_eq!(outcome.finished, MATCHES, "{what}");
        assert_eq!(outcome.stage.mismatches(), 0, "{what}");
        for player in &outcome.players {
            let ended = outcome.stage.ended(*player);
            let clean = [Ended::Server(CloseReason::MatchOver), Ended::Server(CloseReason::Silent), Ended::Silent];
            assert!(ended.is_some_and(|reason| clean.contains(&reason)), "{what}: {ended:?}");
        }
    }
}

fn everybody_played_to_the_end(outcome: &Outcome, what: &str) {
    println!("{}", outcome.line(what));
    assert_eq!(outcome.finished, MATCHES, "{what}: matches finished");
    assert_eq!(outcome.stage.mismatches(), 0, "{what}: state mismatches");
    assert_eq!(outcome.told(), outcome.players.len(), "{what}: players who know the result");
    for player in &outcome.players {
        let ended = outcome.stage.ended(*player);
        // The result came first, so nobody was dropped; a goodbye that was lost shows as silence.
        let clean = [Ended::Server(CloseReason::MatchOver), Ended::Silent];
        assert!(ended.is_some_and(|reason| clean.contains(&reason)), "{what}: {ended:?}");
        assert!(outcome.stage.player(*player).session.statistics().snapshots > 100, "{what}");
    }
}

/// Every counter has moved but those that this carrier cannot have.
fn all_happened(faults: &Faults, but: &[&str]) {
    for (name, count) in faults.each() {
        assert_eq!(count > 0, !but.contains(&name), "{name}: {count}");
    }
}

/// The stock netcode server behind a rough network; how long a session takes to connect to it, if it does.
fn handshake(profile: Profile, seed: u64, world: &mut World) -> Option<Duration> {
    let (began, key) = (Duration::from_secs(1_800_000_000), [7; 32]);
    let address: SocketAddr = "127.0.0.1:9000".parse().unwrap();
    let client: SocketAddr = "127.0.0.1:5000".parse().unwrap();
    let mut server = NetcodeServer::new(ServerConfig {
        current_time: began,
        max_clients: 4,
        protocol_id: wire::fingerprint(),
        public_addresses: vec![address],
        authentication: ServerAuthentication::Secure { private_key: key },
    });
    let token = ConnectToken::generate(began, wire::fingerprint(), 15, 1, 8, vec![address], None, &key).unwrap();
    let mut bytes = Vec::new();
    token.write(&mut bytes).unwrap();
    let mut session = Session::new(Link::from_connect_token(&bytes, began).unwrap(), 30, began);
    let (mut up, mut down) = (Conditioner::datagrams(profile, seed), Conditioner::datagrams(profile, !seed));
    for tick in 1..=60 * 15 {
        let now = began + PERIOD * tick;
        server.update(PERIOD);
        let mut answer = |result: ServerResult<'_, '_>| match result {
            ServerResult::PacketToSend { payload, .. } | ServerResult::ClientConnected { payload, .. } => {
                down.send(now, payload);
            }
            _ => {}
        };
        while let Some(mut bytes) = up.receive(now) {
            answer(server.process_packet(client, &mut bytes));
        }
        answer(server.update_client(1));
        while let Some(mut bytes) = down.receive(now) {
            session.handle_datagram(world, &mut bytes, now);
        }
        session.handle_tick(now);
        while let Some(transmit) = session.poll_transmit(now) {
            up.send(now, transmit.bytes);
        }
        match session.poll_event() {
            Some(SessionEvent::Connected) => return Some(now - began),
            Some(_) => return None,
            None => {}
        }
    }
    None
}

#[test]
fn ninety_nine_of_a_hundred_handshakes_succeed_at_ten_percent_loss() {
    let mut world = SimPlugin::world();
    for rtt_ms in [0, 50, 100, 200, 400] {
        for jitter_ms in [0, 30, 80] {
            let profile = network(rtt_ms, 10.0, jitter_ms);
            let mut times: Vec<_> = (0..200).filter_map(|seed| handshake(profile, seed, &mut world)).collect();
            times.sort();
            println!("RTT {rtt_ms}, jitter {jitter_ms}: {} of 200, median {:?}", times.len(), times[times.len() / 2]);
            assert!(times.len() >= 198, "RTT {rtt_ms} ms, jitter {jitter_ms} ms: {} of 200", times.len());
        }
    }
}
