//! Promise: spectators see a match as it was, late, whole and without secrets; and nobody else notices them.

use std::collections::BTreeMap;
use std::time::Duration;

use astro_client::session::Ended;
use astro_server::host::matches::Command;
use astro_server::hosts::HostError;
use astro_server::transport::memory::Carrier;
use astro_shared::link::{Profile, Share};
use astro_shared::sim::fields::Audience;
use astro_shared::sim::round::Phase;
use astro_shared::sim::tables::View;
use astro_shared::sim::units::{MatchId, Tick};
use astro_shared::wire::input::InputDatagram;
use astro_shared::wire::message::{CloseReason, Place, RosterSeat};
use astro_shared::wire::{is_hot, snapshot};
use astro_tests::pilots::rules;
use astro_tests::stage::{PlayerId, Stage};

/// Ten seconds.
const DELAY: u32 = 600;

/// What a match was at every tick, as the server had it.
#[derive(Default)]
struct Past {
    views: BTreeMap<Tick, View>,
    rosters: BTreeMap<Tick, Vec<RosterSeat>>,
    /// Newest tick; goes on after the match.
    now: Tick,
}

impl Past {
    /// Notes the tick just played.
    fn note(&mut self, stage: &mut Stage, match_id: MatchId) {
        self.now = self.now.plus(1);
        if let Some(view) = stage.public_view(match_id) {
            self.now = view.round.tick;
            self.views.insert(self.now, view);
            self.rosters.insert(self.now, stage.roster(match_id).expect("a running match"));
        }
    }

    /// The newest tick that spectators may know of.
    fn horizon(&self, delay_ticks: u32) -> Tick {
        Tick(self.now.0.saturating_sub(delay_ticks))
    }

    /// Asserts that this spectator knows the state of exactly one tick, an old enough one, and an old enough roster.
    fn check(&self, stage: &Stage, spectator: PlayerId, delay_ticks: u32) -> Option<Tick> {
        let session = &stage.player(spectator).session;
        let horizon = self.horizon(delay_ticks);
        if !session.roster().is_empty() {
            let mut old_enough = self.rosters.range(..=horizon).map(|(_, roster)| roster.as_slice());
            assert!(old_enough.any(|roster| roster == session.roster()), "a roster of the last {delay_ticks} ticks");
        }
        let view = session.view()?;
        let tick = view.round.tick;
        assert!(tick <= horizon, "tick {tick} is known at {}", self.now);
        assert_eq!(Some(view), self.views.get(&tick), "tick {tick} as it was, and nothing that is hidden");
        Some(tick)
    }
}

/// A tenth lost, and all of it late and out of order.
fn rough() -> Profile {
    Profile { rtt_ms: 100, jitter_ms: 30, loss: Share::percent(10.0), ..Profile::PERFECT }
}

/// Two players, the rest pilots, and the match begun.
fn fight(stage: &mut Stage, preset: &str, delay_ticks: u32) -> MatchId {
    let delay = Duration::from_secs(1) * delay_ticks / 60;
    let match_id = stage.open_with(rules(preset), 4, |order| order.spectate_delay = delay);
    stage.join(match_id, "Ada");
    stage.join(match_id, "Grace");
    match_id
}

/// The leak test. Every tick, what every spectator knows is compared with what was.
/// Broken by anything that is sent to spectators without waiting: state, an event, a roster; and by any private or
/// hidden field in what is kept for them.
#[test]
fn no_spectator_ever_knows_a_tick_younger_than_the_delay_or_anything_hidden() {
    let mut compared = 0;
    for (seed, delay_ticks) in [(1, DELAY), (2, 90), (3, 7), (4, 0)] {
        let mut stage = Stage::with_seed(&format!("leaks-{seed}"), seed);
        let match_id = fight(&mut stage, "standard", delay_ticks);
        let mut past = Past::default();
        past.note(&mut stage, match_id);
        let mut spectators = Vec::new();
        for tick in 1..2500 {
            if [1, 30, 400, 700, 1300].contains(&tick) {
                spectators.push(stage.watch(match_id).expect("a place"));
            }
            if tick == 500 {
                stage.condition(spectators[1], Carrier::Datagrams, rough());
            }
            stage.play(1);
            past.note(&mut stage, match_id);
            for spectator in &spectators {
                compared += u32::from(past.check(&stage, *spectator, delay_ticks).is_some());
            }
        }
        let first = past.check(&stage, spectators[0], delay_ticks).expect("he has seen something");
        assert!(past.now.since(first) <= delay_ticks + 6, "and keeps up: {first} at {}", past.now);
        let bullets: usize = past.views.values().map(|view| view.bullets.len()).sum();
        assert!(bullets > 100, "a fight was seen");
        assert_eq!(stage.mismatches(), 0);
    }
    assert!(compared > 10_000, "{compared} ticks compared");
}

/// Not only what the session makes of it: the bytes themselves.
/// Broken by an event, a name or a result that travels before its time, even where no client would look.
#[test]
fn no_datagram_to_a_spectator_speaks_of_what_is_younger_than_the_delay() {
    let mut stage = Stage::new("bytes");
    let match_id = stage.open(rules("standard"), 4);
    let spectator = stage.watch(match_id).expect("a place, though nobody plays yet");
    stage.tap(spectator);
    stage.play(100);
    let told_of = |arrived: &[Vec<u8>], name: &str| {
        arrived.iter().any(|bytes| bytes.windows(name.len()).any(|window| window == name.as_bytes()))
    };
    stage.join(match_id, "Sentinel");
    let joined_at = 100;
    let (mut told_at, mut snapshots, mut events) = (None, 0, 0);
    for now in joined_at + 1..3000 {
        stage.play(1);
        let arrived = stage.take_arrived(spectator);
        if told_at.is_none() && told_of(&arrived, "Sentinel") {
            told_at = Some(now);
        }
        for bytes in arrived.iter().filter(|bytes| is_hot(bytes)) {
            let decoded = snapshot::decode(bytes, Audience::Public).expect("an honest snapshot");
            assert!(decoded.tick().0 + DELAY <= now, "tick {} at {now}", decoded.tick());
            assert!(decoded.events.iter().all(|(tick, _)| tick.0 + DELAY <= now), "an event from the future");
            snapshots += 1;
            events += decoded.events.len();
        }
    }
    assert!((joined_at + DELAY..joined_at + DELAY + 6).contains(&told_at.expect("told at last")), "{told_at:?}");
    assert!(snapshots > 1000 && events > 100, "{snapshots} snapshots with {events} events");
}

/// Broken by a limit that counts only those who have connected, or none.
#[test]
fn sixteen_may_watch_a_match_and_the_seventeenth_may_not_until_one_leaves() {
    let mut stage = Stage::new("sixteen");
    let match_id = fight(&mut stage, "standard", DELAY);
    for _ in 0..8 {
        stage.watch(match_id).expect("a place");
    }
    stage.play(10);
    for _ in 0..8 {
        stage.claim_to_watch(match_id).expect("a ticket");
    }
    assert_eq!(stage.watch(match_id), Err(HostError::SpectatorsFull), "unused tickets count");
    stage.play(16 * 60);
    let late: Vec<_> = (0..8).map(|_| stage.watch(match_id).expect("unused tickets are over")).collect();
    stage.play(10);
    assert_eq!(stage.watch(match_id), Err(HostError::SpectatorsFull));
    stage.leave(late[0]);
    stage.play(10);
    assert_eq!(stage.ended(late[0]), Some(Ended::Server(CloseReason::Left)));
    assert!(stage.watch(match_id).is_ok());
    let other = fight(&mut stage, "standard", DELAY);
    assert!(stage.watch(other).is_ok(), "another match has places of its own");
}

/// Broken by a spectator who is taken for a player anywhere: when a match starts, fills, closes, or is counted.
#[test]
fn spectators_start_nothing_hold_up_nothing_and_are_no_players() {
    let mut stage = Stage::new("no-players");
    let deserted = stage.open(rules("standard"), 4);
    let spectator = stage.watch(deserted).expect("a place");
    stage.play(19 * 60);
    assert_eq!(stage.phase(deserted), Some(Phase::Waiting), "pilots do not fly for spectators");
    stage.play(2 * 60);
    assert_eq!(stage.phase(deserted), None, "a match that nobody plays closes");
    assert_eq!((stage.players_counted(), stage.seats_counted()), (0, 0));
    stage.play(15 * 60);
    assert_eq!(stage.ended(spectator), Some(Ended::Server(CloseReason::MatchOver)));

    let match_id = stage.open(rules("standard"), 2);
    stage.watch(match_id).expect("a place");
    stage.watch(match_id).expect("a place");
    stage.play(10);
    stage.join(match_id, "Ada");
    stage.play(30);
    assert_eq!(stage.phase(match_id), Some(Phase::Waiting), "two who watch do not fill a match of two");
    assert_eq!(stage.players_counted(), 1);
    stage.join(match_id, "Grace");
    stage.play(10);
    assert_ne!(stage.phase(match_id), Some(Phase::Waiting), "and are not waited for");
    assert_eq!((stage.players_counted(), stage.seats_counted()), (2, 2));
}

/// Played twice with the same seed, watched and not: the same match to the last bit.
/// Broken by anything that spectators change in a match, be it a draw of chance.
#[test]
fn a_watched_match_goes_as_it_would_have_gone() {
    let mut hashes = Vec::new();
    for watched in [false, true] {
        let mut stage = Stage::with_seed(&format!("same-{watched}"), 5);
        let match_id = fight(&mut stage, "standard", DELAY);
        stage.play(60);
        if watched {
            (0..16).for_each(|_| _ = stage.watch(match_id).expect("a place"));
        }
        stage.play(1200);
        hashes.push((stage.hash(match_id), stage.round(match_id)));
    }
    assert!(hashes[0].0.is_some());
    assert_eq!(hashes[0], hashes[1]);
}

/// Broken by a match that waits for its spectators, by a result that they hear early or never, or by an end that they
/// do not see.
#[test]
fn a_match_ends_for_its_players_at_once_and_for_its_spectators_after_the_delay_with_the_result() {
    let mut stage = Stage::new("ends");
    let match_id = fight(&mut stage, "sprint", DELAY);
    let spectator = stage.watch(match_id).expect("a place");
    let mut past = Past::default();
    let (mut told, mut gone) = (None, None);
    for _ in 0..60 * 300 {
        stage.play(1);
        past.note(&mut stage, match_id);
        past.check(&stage, spectator, DELAY);
        let ada = &stage.players[0];
        if told.is_none() && ada.session.result().is_some() {
            told = Some(past.now);
        }
        if gone.is_none() && past.now > Tick(10) && stage.phase(match_id).is_none() {
            gone = Some(past.now);
        }
        if let (Some(told), Some(result)) = (told, stage.player(spectator).session.result()) {
            assert!(past.now.since(told) >= DELAY - 2, "told {} ticks after the players", past.now.since(told));
            assert_eq!(Some(result), stage.players[0].session.result());
            break;
        }
        assert!(stage.player(spectator).session.result().is_none(), "told before the players");
    }
    let (told, gone) = (told.expect("the players were told"), gone.expect("the match was closed"));
    assert!(past.now.since(told) <= DELAY + 6, "told {} ticks after the players", past.now.since(told));
    assert!(past.now.since(gone) > 60, "the match did not wait for that");
    let end = stage.player(spectator).session.view().expect("a view").round;
    assert_eq!(end.phase, Phase::MatchOver, "the end was seen, too");
    assert_eq!((stage.matches(), stage.seats_counted()), (0, 0));
    assert_eq!(stage.ended(spectator), None);
    stage.play(4 * 60);
    assert_eq!(stage.ended(spectator), Some(Ended::Server(CloseReason::MatchOver)));
    assert_eq!(stage.watched(), [], "and nothing is left");
}

/// Broken by a delay for matches that have none, or by state that is older than need be.
#[test]
fn demo_matches_and_those_without_a_delay_are_shown_at_once() {
    let mut stage = Stage::new("demo");
    let demo = stage.open_with(rules("sprint"), 2, |order| {
        (order.demo, order.spectate_delay) = (true, Duration::ZERO);
    });
    stage.play(10);
    let spectator = stage.watch(demo).expect("a place");
    stage.play(20);
    let newest = stage.round(demo).expect("it runs").tick;
    let view = stage.player(spectator).session.view().expect("a picture");
    assert!(newest.since(view.round.tick) <= 6, "{} at {newest}", view.round.tick);
    let over = stage.play_until(60 * 300, |stage| stage.ended(spectator).is_some());
    assert!(over, "demo matches end");
    let session = &stage.player(spectator).session;
    assert!(session.result().is_some(), "with a result, though it is not stored");
    assert_eq!(stage.ended(spectator), Some(Ended::Server(CloseReason::MatchOver)));
    assert_eq!(stage.matches(), 1, "and the next one began in time");
}

/// Broken by a link of a spectator that can do more than watch, or that costs more than its place.
#[test]
fn spectators_who_misbehave_harm_nobody_and_are_closed() {
    let mut stage = Stage::new("misbehave");
    let match_id = fight(&mut stage, "standard", 60);
    let [flies, floods, lies, sleeps, honest] = [(); 5].map(|()| stage.watch(match_id).expect("a place"));
    stage.play(120);
    let mut input = Vec::new();
    InputDatagram::new(Tick(0), Tick(200), &[astro_shared::sim::input::Input::new(0, true, true)]).encode(&mut input);
    stage.send_raw(flies, &input);
    for _ in 0..64 {
        stage.send_raw(lies, &[0x82, 0xff, 0xff, 0xff, 0x7f]);
    }
    stage.cut(sleeps);
    for _ in 0..300 {
        (0..100).for_each(|_| stage.send_raw(floods, &[0x82, 0, 0, 0, 0]));
        stage.play(1);
    }
    assert_eq!(stage.ended(flies), Some(Ended::Server(CloseReason::Misbehaved)));
    assert_eq!(stage.ended(lies), Some(Ended::Server(CloseReason::Misbehaved)));
    stage.play(60);
    assert!(stage.network.is_closed(stage.player(sleeps).link), "who says nothing for five seconds is gone");
    assert_eq!(stage.ended(honest), None);
    for player in 0..2 {
        let session = &stage.players[player].session;
        assert!(!session.is_closed());
        assert!(session.statistics().margins_late < 5, "players fly as ever");
    }
    let newest = stage.round(match_id).expect("it runs").tick;
    let seen = stage.player(honest).session.view().expect("a picture").round.tick;
    assert!(newest.since(seen) <= 60 + 6, "{seen} at {newest}");
    assert_eq!(stage.mismatches(), 0);
}

/// A spectator whose acknowledgements are all lost gets absolute snapshots, which need none.
/// Broken by a baseline that he cannot have.
#[test]
fn a_spectator_who_acknowledges_nothing_still_sees_everything() {
    let mut stage = Stage::new("silent");
    let match_id = fight(&mut stage, "standard", 60);
    let spectator = stage.watch(match_id).expect("a place");
    stage.tap(spectator);
    stage.play(200);
    stage.take_arrived(spectator);
    // His own acknowledgements still arrive; these come after them in every tick and take them back.
    for _ in 0..600 {
        stage.play(1);
        stage.send_raw(spectator, &[0x82, 0, 0, 0, 0]);
    }
    let arrived = stage.take_arrived(spectator);
    let absolute = |bytes: &&Vec<u8>| {
        let decoded = snapshot::decode(bytes, Audience::Public);
        decoded.is_ok_and(|decoded| decoded.baseline == snapshot::Baseline::Absolute)
    };
    let counts = (arrived.iter().filter(absolute).count(), arrived.len());
    assert!(counts.0 > 100 && counts.0 + 10 > counts.1, "{counts:?}");
    assert_eq!(stage.mismatches(), 0);
}

/// Broken by a recording that begins with the match, or never ends.
#[test]
fn a_match_is_recorded_only_while_somebody_watches_or_may_come_back() {
    let mut stage = Stage::new("recording");
    let match_id = fight(&mut stage, "standard", DELAY);
    stage.play(600);
    assert_eq!(stage.watched(), [], "nobody watches, nothing is kept");
    let spectator = stage.watch(match_id).expect("a place");
    stage.play(DELAY);
    let view = stage.player(spectator).session.view();
    assert!(view.is_none(), "what was before the first ticket was not kept");
    stage.play(60);
    assert!(stage.player(spectator).session.view().is_some());
    let place = Place::Spectator { delay_ticks: DELAY };
    assert_eq!(stage.player(spectator).session.place(), Some(place), "and he was told so");
    let memory = stage.watched()[0].1;
    println!("{memory} bytes for {DELAY} ticks of a match of four");
    assert!(memory < 80 * 1024, "{memory} bytes");
    stage.leave(spectator);
    stage.play(10 * 60);
    assert_eq!(stage.watched().len(), 1, "he may come back");
    let back = stage.watch(match_id).expect("a place");
    stage.play(20);
    assert!(stage.player(back).session.view().is_some(), "and then need not wait again");
    stage.leave(back);
    stage.play(32 * 60);
    assert_eq!(stage.watched(), []);
    assert!(stage.phase(match_id).is_some(), "the match goes on");
}

/// Broken by a server that waits for spectators, or leaves them without a word.
#[test]
fn when_the_server_stops_or_a_match_is_void_spectators_are_told_at_once() {
    let mut stage = Stage::new("drain");
    let (first, second) = (fight(&mut stage, "standard", DELAY), fight(&mut stage, "standard", DELAY));
    let watching = [first, second].map(|match_id| stage.watch(match_id).expect("a place"));
    stage.play(6 * 60);
    let (reply, _answer) = tokio::sync::oneshot::channel();
    stage.tell(Command::Void { match_id: first, reason: "a test".into(), reply });
    stage.play(2);
    assert_eq!(stage.ended(watching[0]), Some(Ended::Server(CloseReason::Voided)));
    assert_eq!(stage.ended(watching[1]), None);
    let until = stage.now + Duration::from_secs(300);
    stage.tell(Command::Drain { until });
    stage.play(2);
    assert_eq!(stage.ended(watching[1]), Some(Ended::Server(CloseReason::ShuttingDown)));
    assert!(stage.phase(second).is_some(), "who plays may finish");
    assert_eq!(stage.watch(second), Err(HostError::Draining));
    assert_eq!(stage.watched(), []);
}

/// Broken by a list that has matches which have not begun, or are over, or counts spectators as players.
#[test]
fn the_list_of_running_matches_follows_them() {
    let mut stage = Stage::new("list");
    let match_id = fight(&mut stage, "sprint", 0);
    assert_eq!(stage.directory.running(10), []);
    stage.play(6 * 60);
    let spectator = stage.watch(match_id).expect("a place");
    stage.play(5);
    let running = stage.directory.running(10);
    let [listed] = &running[..] else { panic!("{running:?}") };
    assert_eq!((listed.match_id, listed.standing.players, listed.standing.spectators), (match_id, 2, 1));
    stage.leave(spectator);
    stage.play(10);
    assert_eq!(stage.directory.running(10)[0].standing.spectators, 0);
    stage.play_out(match_id);
    assert_eq!(stage.directory.running(10), [], "over");
}
