//! Promise: whoever loses the connection comes back to the same seat and hears what happened; nobody ever has two links.
//!
//! The shard's real `App` and real sessions over conditioned links, in virtual time; then the real program.

use std::collections::HashMap;
use std::process::Command;
use std::sync::Arc;

use astro_client::session::SessionEvent;
use astro_server::host::crew::Occupant;
use astro_server::transport::memory::Carrier;
use astro_shared::api::TicketAnswer;
use astro_shared::assets::ruleset;
use astro_shared::link::{Bursts, Faults, Profile, Share};
use astro_shared::sim::round::Phase;
use astro_shared::sim::rules::Ruleset;
use astro_shared::sim::units::{MatchId, Seat, Tick};
use astro_shared::wire::message::MissedEvent;
use astro_tests::dice::Dice;
use astro_tests::service::{Service, UdpPlayer};
use astro_tests::stage::{PlayerId, Stage};
use astro_tests::websocket::{Flies, Socket, WebSocketPlayer, fly_until};

const CYCLES: u32 = 1000;
const MATCHES: usize = 4;
const SEATS: u8 = 4;
/// A player who is back flies again within this.
const BACK_WITHIN_TICKS: u32 = 120;

/// Like UDP and like WebSockets; whoever comes back may change from one to the other.
const CARRIERS: [Carrier; 2] = [Carrier::Datagrams, Carrier::Stream { latest_wins: true }];

fn network() -> Profile {
    let one = Share::percent(1.0);
    Profile {
        rtt_ms: 60,
        jitter_ms: 10,
        loss: one,
        bursts: Bursts { share: one, length_mean: 4 },
        duplicate: one,
        reorder: one,
        rate_kbit_s: 0,
    }
}

/// How a connection is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Loss {
    /// The cable is pulled: nothing gets through, both ends notice only silence.
    Cut,
    /// The player's machine sleeps.
    Silence,
    /// Another network, another address: the old connection is still alive when the new one comes.
    NewPort,
}

/// Where a player is in the present cycle.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Flying { lost_in: u32 },
    Away { back_in: u32, knew: Tick },
    Back { since: u32, knew: Tick },
}

/// Many players who lose their connections again and again, and everything that ever happened to them.
struct Fleet {
    stage: Stage,
    dice: Dice,
    players: Vec<(PlayerId, Seat, Fate)>,
    /// What happened in each match, kept by the test itself.
    log: HashMap<MatchId, Vec<MissedEvent>>,
    lost: HashMap<Loss, u32>,
    cycles: u32,
    missed_events: usize,
    /// Longest time in ticks from asking for the seat to flying again.
    slowest_ticks: u32,
    /// Returns over another network than before.
    changed: u32,
}

impl Fleet {
    fn new(name: &str, seed: u64) -> Fleet {
        let mut stage = Stage::with_seed(name, seed);
        stage.condition_everyone(Carrier::Datagrams, network());
        let mut fleet = Fleet {
            stage,
            dice: Dice::new(seed),
            players: Vec::new(),
            log: HashMap::new(),
            lost: HashMap::new(),
            cycles: 0,
            missed_events: 0,
            slowest_ticks: 0,
            changed: 0,
        };
        (0..MATCHES).for_each(|_| fleet.open());
        fleet
    }

    fn open(&mut self) {
        let match_id = self.stage.open(ruleset("standard").unwrap(), SEATS);
        for seat in Seat::first(SEATS) {
            let player = self.stage.join(match_id, &format!("Player {}", seat.0));
            let fate = self.flying();
            self.players.push((player, seat, fate));
        }
        self.log.insert(match_id, Vec::new());
    }

    fn flying(&mut self) -> Fate {
        Fate::Flying { lost_in: self.dice.within(30..240) as u32 }
    }

    fn play(&mut self) {
        self.stage.play(1);
        let mut over = Vec::new();
        for (match_id, log) in &mut self.log {
            log.extend(self.stage.lasting_events(*match_id));
            if self.stage.phase(*match_id).is_none_or(|phase| phase == Phase::MatchOver) {
                over.push(*match_id);
            }
        }
        let [links, connected, held] = self.stage.links();
        assert!(links == held && connected == held, "{links} links, {connected} connected, {held} seats with a link");
        for index in 0..self.players.len() {
            self.step(index);
        }
        for match_id in over {
            self.log.remove(&match_id);
            let stage = &self.stage;
            self.players.retain(|(player, ..)| stage.player(*player).match_id != match_id);
            self.open();
        }
    }

    fn step(&mut self, index: usize) {
        let (player, seat, fate) = self.players[index];
        let knew = self.stage.player(player).session.view().map_or(Tick(0), |view| view.round.tick);
        self.players[index].2 = match fate {
            Fate::Flying { lost_in: 0 } => self.lose(player, knew),
            Fate::Flying { lost_in } => Fate::Flying { lost_in: lost_in - 1 },
            Fate::Away { back_in: 0, knew } => {
                let carrier = self.dice.pick(&CARRIERS);
                self.changed += u32::from(self.stage.carrier(player) != Some(carrier));
                self.stage.come_back_over(player, carrier).expect("the seat is still the player's");
                Fate::Back { since: 0, knew }
            }
            Fate::Away { back_in, knew } => Fate::Away { back_in: back_in - 1, knew },
            Fate::Back { since, knew } if self.is_back(player, seat) => {
                self.check_missed(player, knew);
                self.slowest_ticks = self.slowest_ticks.max(since);
                self.cycles += 1;
                self.flying()
            }
            Fate::Back { since, knew } => {
                assert!(
                    since < BACK_WITHIN_TICKS,
                    "{player:?} is not back after {since} ticks: {}",
                    self.state(player, seat)
                );
                Fate::Back { since: since + 1, knew }
            }
        };
    }

    fn lose(&mut self, player: PlayerId, knew: Tick) -> Fate {
        let how = self.dice.pick(&[Loss::Cut, Loss::Silence, Loss::NewPort]);
        *self.lost.entry(how).or_default() += 1;
        match how {
            Loss::Cut => self.stage.cut(player),
            Loss::Silence => self.stage.freeze(player),
            Loss::NewPort => {}
        }
        // Some are back before the server notices, some after it has closed their link.
        let back_in = if how == Loss::NewPort { 0 } else { self.dice.within(5..600) as u32 };
        Fate::Away { back_in, knew }
    }

    /// Whether the player flies the same seat again, over the new link, and has been told what was missed.
    fn is_back(&mut self, player: PlayerId, seat: Seat) -> bool {
        let (match_id, link) = (self.stage.player(player).match_id, self.stage.player(player).link);
        let session = &self.stage.player(player).session;
        assert!(!session.is_closed(), "{:?}", self.stage.ended(player));
        assert!(session.seat().is_none_or(|now| now == seat), "another seat");
        let told = session.missed().is_some();
        let flies = self.stage.seat(match_id, seat) == Some((Occupant::Player, false));
        told && flies && self.stage.link(match_id, seat) == Some(link)
    }

    fn state(&mut self, player: PlayerId, seat: Seat) -> String {
        let match_id = self.stage.player(player).match_id;
        let (host, link) = (self.stage.seat(match_id, seat), self.stage.link(match_id, seat));
        let round = self.stage.round(match_id);
        let known = self.stage.player(player);
        let session = &known.session;
        format!(
            "{:?} {host:?}, {:?}, link {}, told {}, {:?}, view {:?}, {round:?}, {:?}",
            known.link,
            session.welcome(),
            link == Some(known.link),
            session.missed().is_some(),
            known.events,
            session.view().map(|view| view.round.tick),
            session.statistics(),
        )
    }

    fn check_missed(&mut self, player: PlayerId, knew: Tick) {
        let known = self.stage.player(player);
        let missed = known.session.missed().expect("told");
        assert!(missed.complete && missed.since <= knew && missed.since < missed.through, "{missed:?}, knew {knew}");
        let log = self.log[&known.match_id].iter().copied();
        let expected: Vec<_> = log.filter(|event| event.tick > missed.since && event.tick <= missed.through).collect();
        assert_eq!(missed.events, expected);
        assert_eq!(known.events.iter().filter(|event| **event == SessionEvent::Missed).count(), 1);
        self.missed_events += expected.len();
    }
}

#[test]
fn a_thousand_lost_connections_cost_no_seat_and_leave_no_ghost() {
    let mut fleet = Fleet::new("thousand", 17);
    while fleet.cycles < CYCLES {
        fleet.play();
    }
    let Fleet { stage, lost, missed_events, slowest_ticks, changed, .. } = &fleet;
    println!("{lost:?}, {missed_events} events told later, slowest {slowest_ticks} ticks, {:?}", stage.faults());
    assert!(lost.len() == 3 && lost.values().all(|count| *count > CYCLES / 5), "{lost:?}");
    assert!(*changed > CYCLES / 3, "{changed} changed the network");
    assert!(*missed_events > 300, "{missed_events}");
    assert_eq!(stage.mismatches(), 0);
    let Faults { lost, lost_in_bursts, duplicated, reordered, jittered, retransmitted, stalled, .. } = stage.faults();
    let all = [lost, lost_in_bursts, duplicated, reordered, jittered, retransmitted, stalled];
    assert!(all.iter().all(|count| *count > 1000), "{all:?}");
}

/// A player of either kind who takes the seat of that ticket.
fn over(transport: usize, service: &Service, ticket: &TicketAnswer, ruleset: &Arc<Ruleset>) -> Box<dyn Flies> {
    if transport.is_multiple_of(2) {
        return Box::new(UdpPlayer::with(ticket, ruleset.clone()));
    }
    let socket = Socket::with_ticket(service, ticket);
    Box::new(WebSocketPlayer::over(socket, ticket.clone(), ruleset.clone()))
}

#[test]
fn a_seat_wanders_between_udp_and_websocket_of_the_real_server_whatever_becomes_of_the_old_link() {
    const RETURNS: usize = 9;
    let service = Service::start("rejoin", &[]);
    let ticket = service.quickplay("Ada", "standard", 2, "g");
    let ruleset = service.ruleset(&ticket.rules_hash);
    let mut ada = over(0, &service, &ticket, &ruleset);
    let mut grace = service.join("Grace", "standard", 2, "g");
    fly_until(&mut [&mut *ada, &mut grace], |players| players.iter().all(|p| p.session().statistics().snapshots > 30));
    let mut left_behind = Vec::new();
    for turn in 1..=RETURNS {
        let (status, body) = service.ticket_again(ticket.match_id, &ticket.seat_secret);
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        let ticket: TicketAnswer = serde_json::from_slice(&body).expect("a ticket");
        // Three times each: from UDP, WebSocket, UDP to the other, and once in a while to the same kind.
        let next = over(turn + turn / 4, &service, &ticket, &ruleset);
        let mut old = std::mem::replace(&mut ada, next);
        let back =
            |player: &dyn Flies| player.session().missed().is_some() && player.session().statistics().snapshots > 10;
        if turn % 3 == 0 {
            // The old connection still lives when the new one comes; it is told.
            fly_until(&mut [&mut *ada, &mut grace, &mut *old], |p| back(p[0]) && p[2].session().is_closed());
        } else {
            // It is cut, or its machine sleeps.
            fly_until(&mut [&mut *ada, &mut grace], |players| back(players[0]));
        }
        let missed = ada.session().missed().expect("told");
        assert!(missed.complete && missed.since > Tick(0) && missed.since < missed.through, "{missed:?}");
        assert_eq!(ada.session().seat(), Some(Seat(ticket.seat)));
        if turn % 3 == 1 {
            left_behind.push(old);
        }
    }
    // Those who slept wake up and find that they were replaced.
    for mut old in left_behind {
        fly_until(&mut [&mut *ada, &mut grace, &mut *old], |players| players[2].session().is_closed());
    }
    assert_eq!(service.metric("astro_rejoins_total"), RETURNS as f64);
    assert_eq!(service.metric("astro_links{"), 2.0);
    for session in [ada.session(), &grace.session] {
        assert!(session.statistics().state_mismatches == 0 && !session.is_closed());
    }
}

#[test]
fn bots_on_a_bad_network_that_lose_their_connections_get_every_seat_back() {
    let service = Service::start("rejoin-bots", &["--load-test"]);
    let bots = std::env::var("ASTRO_BOTS").expect("ASTRO_BOTS names the bots program: use tests/run");
    let file = service.folder.join("report.json");
    let bad = "--rtt-ms 40 --jitter-ms 10 --loss 3 --burst 2:4 --duplicate 2 --reorder 2 --rate-kbit 60";
    let out = Command::new(bots)
        .args(["--server", &service.http, "--matches", "4", "--seconds", "4", "--transport", "mixed", "--rejoin", "4"])
        .args(bad.split(' '))
        .args(["--json".as_ref(), file.as_os_str()])
        .output()
        .expect("the bots run");
    assert!(out.status.success(), "{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(file).expect("a report")).expect("JSON");
    let number =
        |path: &str| report.pointer(path).and_then(serde_json::Value::as_u64).unwrap_or_else(|| panic!("{path}"));
    assert_eq!((number("/rejoins/refused"), number("/state_mismatches")), (0, 0), "{report:#}");
    assert!(number("/rejoins/won") >= 10 && number("/rejoins/told_what_they_missed") >= 8, "{report:#}");
    for (name, count) in report["network_faults"].as_object().expect("faults") {
        // The one thing that 60 kbit/s are enough for.
        assert!(count.as_u64() > Some(0) || name == "overflowed", "{name}: {report:#}");
    }
}
