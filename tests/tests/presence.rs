//! Promise: a seat is its player's until thirty seconds of silence; before that a pilot keeps it warm.
//!
//! The shard's real `App` and real sessions, in virtual time.

use std::time::Duration;

use astro_server::host::crew::Occupant;
use astro_server::host::matches::Command;
use astro_server::hosts::{Claim, HostError};
use astro_shared::assets::ruleset;
use astro_shared::sim::round::Phase;
use astro_shared::sim::units::{MatchId, Seat};
use astro_shared::wire::message::CloseReason;
use astro_tests::stage::{PlayerId, Stage};

const ADA: Seat = Seat(0);
const GRACE: Seat = Seat(1);

fn two_in_a_long_match(name: &str) -> (Stage, MatchId, PlayerId, PlayerId) {
    let mut stage = Stage::new(name);
    let match_id = stage.open(ruleset("standard").unwrap(), 2);
    let (ada, grace) = (stage.join(match_id, "Ada"), stage.join(match_id, "Grace"));
    assert!(stage.play_until(60, |stage| stage.phase(match_id) == Some(Phase::Countdown)), "starts when full");
    (stage, match_id, ada, grace)
}

fn closed_because(stage: &Stage, player: PlayerId) -> Option<&'static str> {
    stage.ended(player).map(|reason| reason.name())
}

#[test]
fn a_full_match_starts_at_once_and_ends_with_a_result_for_both() {
    let mut stage = Stage::new("full");
    let match_id = stage.open(ruleset("sprint").unwrap(), 2);
    let players = [stage.join(match_id, "Ada"), stage.join(match_id, "Grace")];
    stage.play_out(match_id);
    for player in players {
        let result = stage.player(player).session.result().expect("told the result");
        assert_eq!(result.seats.len(), 2);
        assert!(stage.player(player).session.statistics().snapshots > 60);
    }
    assert_eq!(stage.mismatches(), 0);
    assert!(stage.play_until(600, |stage| stage.matches() == 0), "the match is closed in the end");
    stage.play(5);
    let why = closed_because(&stage, players[0]);
    assert_eq!(why, Some(CloseReason::MatchOver.name()));
}

#[test]
fn one_player_waits_five_seconds_and_then_plays_with_pilots() {
    let mut stage = Stage::new("fill");
    let match_id = stage.open(ruleset("sprint").unwrap(), 4);
    stage.join(match_id, "Ada");
    stage.play(4 * 60 + 50);
    assert_eq!(stage.phase(match_id), Some(Phase::Waiting));
    stage.play(20);
    assert_eq!(stage.phase(match_id), Some(Phase::Countdown));
    assert_eq!(stage.seat(match_id, Seat(3)), Some((Occupant::Pilot, true)));
    assert_eq!(stage.seat(match_id, ADA), Some((Occupant::Player, false)));
    let late = stage.claim(match_id, Claim::Join { name: "Late".into() });
    assert_eq!(late.unwrap_err(), HostError::NoFreeSeat);
}

#[test]
fn a_silent_player_loses_stick_link_and_seat_in_that_order() {
    let (mut stage, match_id, ada, _) = two_in_a_long_match("silence");
    stage.play(60);
    stage.cut(ada);
    stage.play(80);
    assert_eq!(stage.seat(match_id, ADA), Some((Occupant::Player, false)), "1.3 s: coasting");
    stage.play(20);
    assert_eq!(stage.seat(match_id, ADA), Some((Occupant::Player, true)), "1.6 s: a pilot flies");
    assert!(stage.link(match_id, ADA).is_some());
    stage.play(210);
    assert_eq!(stage.link(match_id, ADA), None, "5.1 s: the link is closed");
    assert_eq!(stage.seat(match_id, ADA), Some((Occupant::Player, true)), "the seat is still hers");
    stage.play(25 * 60);
    assert_eq!(stage.seat(match_id, ADA), Some((Occupant::Pilot, true)), "30 s: given up");
    let secret = stage.player(ada).secret.clone();
    assert_eq!(stage.claim(match_id, Claim::Return { secret }).unwrap_err(), HostError::SeatLost);
    assert!(stage.link(match_id, GRACE).is_some(), "nobody else is touched");
    assert_eq!(stage.mismatches(), 0);
}

#[test]
fn coming_back_in_time_gives_the_seat_back_with_a_full_snapshot() {
    let (mut stage, match_id, ada, _) = two_in_a_long_match("return");
    stage.play(60);
    stage.cut(ada);
    stage.play(10 * 60);
    assert_eq!(stage.link(match_id, ADA), None);
    let again = stage.rejoin(ada);
    stage.play(30);
    assert_eq!(stage.seat(match_id, ADA), Some((Occupant::Player, false)), "she flies again");
    let statistics = stage.player(again).session.statistics();
    assert!(statistics.snapshots >= 10, "{} snapshots", statistics.snapshots);
    assert_eq!(stage.mismatches(), 0);
}

#[test]
fn a_second_link_for_a_seat_ends_the_first_at_once() {
    let (mut stage, match_id, ada, _) = two_in_a_long_match("replace");
    stage.play(60);
    let first = stage.link(match_id, ADA);
    let again = stage.rejoin(ada);
    stage.play(5);
    assert_ne!(stage.link(match_id, ADA), first);
    assert_eq!(closed_because(&stage, ada), Some(CloseReason::Replaced.name()));
    stage.play(60);
    assert!(stage.player(again).session.statistics().snapshots > 20);
    assert_eq!(stage.seat(match_id, ADA), Some((Occupant::Player, false)));
}

#[test]
fn leaving_gives_the_seat_to_a_pilot_for_good() {
    let (mut stage, match_id, ada, _) = two_in_a_long_match("leave");
    stage.play(60);
    stage.leave(ada);
    stage.play(60);
    assert_eq!(stage.seat(match_id, ADA), Some((Occupant::Pilot, true)));
    let secret = stage.player(ada).secret.clone();
    assert_eq!(stage.claim(match_id, Claim::Return { secret }).unwrap_err(), HostError::SeatLost);
}

#[test]
fn unclaimed_and_unused_seats_free_themselves() {
    let mut stage = Stage::new("unused");
    let match_id = stage.open(ruleset("standard").unwrap(), 2);
    stage.claim(match_id, Claim::Join { name: "Nobody".into() }).unwrap();
    stage.play(4 * 60);
    assert_eq!(stage.seat(match_id, ADA), Some((Occupant::Player, true)), "kept for the ticket");
    let never_claimed = stage.open(ruleset("standard").unwrap(), 2);
    stage.play(19 * 60);
    assert_eq!(stage.phase(never_claimed), Some(Phase::Waiting));
    stage.play(2 * 60);
    assert_eq!(stage.phase(never_claimed), None, "closed after 20 s without a claim");
}

#[test]
fn a_match_alone_on_a_shard_equals_the_same_inputs_in_its_replay() {
    let mut stage = Stage::new("replay");
    let match_id = stage.open(ruleset("sprint").unwrap(), 2);
    stage.join(match_id, "Ada");
    stage.join(match_id, "Grace");
    for _ in 0..20 {
        let other = stage.open(ruleset("sprint").unwrap(), 4);
        stage.join(other, "Other");
    }
    assert!(stage.play_until(60 * 60, |stage| stage.phase(match_id) == Some(Phase::MatchOver)));
    let hash = stage.hash(match_id).unwrap();
    let replay = stage.replay_of(match_id);
    assert_eq!(replay.verify(), astro_shared::replay::Verdict::Equal);
    let end = replay.play(|_, _| {});
    assert_eq!(astro_shared::sim::hash(&end.world, end.key), Some(hash));
}

#[test]
fn a_ticket_from_before_leaving_takes_nobodys_seat() {
    let mut stage = Stage::new("stale-ticket");
    let match_id = stage.open(ruleset("standard").unwrap(), 2);
    let mallory = stage.join(match_id, "Mallory");
    stage.play(10);
    let secret = stage.player(mallory).secret.clone();
    let stale = stage.claim(match_id, Claim::Return { secret }).unwrap();
    stage.leave(mallory);
    stage.play(10);
    stage.join(match_id, "Ada");
    stage.play(10);
    let hers = stage.link(match_id, ADA);
    assert!(hers.is_some(), "Ada has the seat that Mallory left");
    stage.network.connect(stale.link);
    stage.play(10);
    assert_eq!(stage.link(match_id, ADA), hers);
    assert!(stage.network.is_closed(stale.link));
}

#[test]
fn a_newer_ticket_makes_the_older_one_worthless() {
    let mut stage = Stage::new("two-tickets");
    let match_id = stage.open(ruleset("standard").unwrap(), 2);
    let first = stage.claim(match_id, Claim::Join { name: "Ada".into() }).unwrap();
    let second = stage.claim(match_id, Claim::Return { secret: first.secret.clone() }).unwrap();
    stage.network.connect(first.link);
    stage.play(5);
    assert_eq!(stage.link(match_id, ADA), None);
    stage.network.connect(second.link);
    stage.play(5);
    assert_eq!(stage.link(match_id, ADA), Some(second.link));
}

#[test]
fn tickets_that_nobody_uses_start_no_match() {
    let mut stage = Stage::new("ghosts");
    let match_id = stage.open(ruleset("sprint").unwrap(), 2);
    stage.claim(match_id, Claim::Join { name: "Ghost".into() }).unwrap();
    assert!(!stage.play_until(14 * 60, |stage| stage.phase(match_id) != Some(Phase::Waiting)));
    assert!(stage.play_until(10 * 60, |stage| stage.matches() == 0), "closed, not played");
}

#[test]
fn after_a_stall_of_the_server_players_have_their_ships_back_within_two_seconds() {
    for stalled_ticks in [10, 40, 130, 240] {
        let (mut stage, match_id, ..) = two_in_a_long_match(&format!("stall-{stalled_ticks}"));
        stage.play(120);
        stage.stall(stalled_ticks);
        stage.play(120);
        let tick = stage.round(match_id).unwrap().tick;
        for seat in [ADA, GRACE] {
            let newest = stage.input_newest(match_id, seat).unwrap();
            assert!(newest >= tick, "{stalled_ticks} ticks: newest input {newest} in tick {tick}");
            assert_eq!(stage.seat(match_id, seat), Some((Occupant::Player, false)), "{stalled_ticks} ticks");
        }
    }
}

#[test]
fn coming_back_does_not_replay_what_was_held_before() {
    let (mut stage, match_id, ada, _) = two_in_a_long_match("held");
    stage.play(300);
    stage.cut(ada);
    stage.play(100);
    let secret = stage.player(ada).secret.clone();
    let again = stage.claim(match_id, Claim::Return { secret }).unwrap();
    stage.network.connect(again.link);
    stage.play(3);
    assert_eq!(stage.applied(match_id, ADA), Some(astro_shared::sim::input::Input::NEUTRAL));
}

#[test]
fn whoever_comes_back_after_the_end_is_told_the_result() {
    let mut stage = Stage::new("late-result");
    let match_id = stage.open(ruleset("sprint").unwrap(), 2);
    let (ada, grace) = (stage.join(match_id, "Ada"), stage.join(match_id, "Grace"));
    assert!(stage.play_until(60 * 60, |stage| stage.round(match_id).is_some_and(|round| round.number >= 1)));
    stage.cut(ada);
    stage.play_out(match_id);
    assert!(stage.player(ada).session.result().is_none() && stage.player(grace).session.result().is_some());
    stage.come_back(ada).expect("her seat");
    stage.play(20);
    assert_eq!(stage.player(ada).session.result(), stage.player(grace).session.result());
}

/// Broken by a promise that any transport may fulfil again, or by a transport that speaks for another's link.
#[test]
fn a_ticket_shown_on_two_networks_in_one_tick_opens_one_link() {
    let (mut stage, match_id, ada, _) = two_in_a_long_match("two-networks");
    let secret = stage.player(ada).secret.clone();
    let ticket = stage.claim(match_id, Claim::Return { secret }).unwrap();
    stage.streams.connect(ticket.link);
    stage.network.connect(ticket.link);
    stage.play(1);
    assert_eq!(stage.link(match_id, ADA), Some(ticket.link));
    assert!(stage.streams.is_closed(ticket.link) && !stage.network.is_closed(ticket.link));
    stage.streams.connect(ticket.link);
    stage.streams.disconnect(ticket.link);
    stage.play(5);
    assert_eq!(stage.link(match_id, ADA), Some(ticket.link), "what the other network says of it counts for nothing");
    stage.network.disconnect(ticket.link);
    stage.play(1);
    assert_eq!(stage.link(match_id, ADA), None);
}

/// Broken by a place that is given back on the network of the ticket's use only.
#[test]
fn a_player_goes_from_one_network_to_the_other_and_back() {
    let (mut stage, match_id, ada, _) = two_in_a_long_match("to-and-fro");
    let secret = stage.player(ada).secret.clone();
    for round in 0..4 {
        let before = stage.link(match_id, ADA).expect("a link");
        let ticket = stage.claim(match_id, Claim::Return { secret: secret.clone() }).unwrap();
        let (from, to) = match round % 2 {
            0 => (stage.network.clone(), stage.streams.clone()),
            _ => (stage.streams.clone(), stage.network.clone()),
        };
        to.connect(ticket.link);
        stage.play(2);
        assert_eq!(stage.link(match_id, ADA), Some(ticket.link), "round {round}");
        assert!(from.is_closed(before) && !to.is_closed(ticket.link), "round {round}");
    }
    assert_eq!((stage.network.connected(), stage.streams.connected()), (2, 0), "never two links a seat");
}

#[test]
fn while_the_server_drains_a_player_may_come_back_and_nobody_new_may_come() {
    let (mut stage, match_id, ada, _) = two_in_a_long_match("drain");
    stage.play(60);
    stage.cut(ada);
    let until = stage.now + Duration::from_secs(300);
    stage.tell(Command::Drain { until });
    stage.play(60);
    let newcomer = stage.claim(match_id, Claim::Join { name: "New".into() });
    assert_eq!(newcomer.unwrap_err(), HostError::Draining);
    stage.come_back(ada).expect("her seat");
    stage.play(30);
    assert_eq!(stage.seat(match_id, ADA), Some((Occupant::Player, false)));
}
