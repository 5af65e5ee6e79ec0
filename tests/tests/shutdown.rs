//! Promise: a server that is told to stop tells its players, lets matches end, and keeps every result; what did not end in
//! time is stored as such.
//!
//! First the shard in virtual time, then the program with real signals. `tests/drills` does the same with 200 matches.

use std::path::Path;
use std::time::{Duration, Instant};

use astro_client::session::Ended;
use astro_server::host::matches::Command;
use astro_server::hosts::{Claim, HostError};
use astro_shared::api::MatchSummary;
use astro_shared::assets::{RULES, ruleset};
use astro_shared::sim::round::Phase;
use astro_shared::sim::units::MatchId;
use astro_shared::wire::message::CloseReason;
use astro_tests::service::{Service, UdpPlayer, drive_until};
use astro_tests::stage::{PlayerId, Stage};
use nix::sys::signal::Signal;
use tokio::sync::oneshot;

/// What is promised is a second until a server is not ready, and five from a second signal to the end; a busy machine may
/// need longer, a hang is what must fail, and so must the drain time of 300 s.
const HUNG_AFTER: Duration = Duration::from_secs(30);

fn two_in(name: &str, rules: &str) -> (Stage, MatchId, [PlayerId; 2]) {
    let mut stage = Stage::new(name);
    let match_id = stage.open(ruleset(rules).unwrap(), 2);
    let players = [stage.join(match_id, "Ada"), stage.join(match_id, "Grace")];
    assert!(stage.play_until(120, |stage| stage.phase(match_id) == Some(Phase::Countdown)), "starts when full");
    stage.play(60);
    (stage, match_id, players)
}

fn drain(stage: &mut Stage, within: Duration) {
    let until = stage.now + within;
    stage.tell(Command::Drain { until });
}

fn void(stage: &mut Stage, match_id: MatchId, reason: &str) -> Result<(), HostError> {
    let (reply, answer) = oneshot::channel();
    stage.tell(Command::Void { match_id, reason: reason.into(), reply });
    answer.blocking_recv().expect("an answer")
}

#[test]
fn players_are_told_how_long_and_may_play_their_match_to_its_end() {
    let (mut stage, match_id, [ada, grace]) = two_in("drain", "sprint");
    drain(&mut stage, Duration::from_secs(30));
    stage.play(30);
    let told = stage.player(ada).session.shutdown_at().expect("told");
    assert!(told.abs_diff(stage.now + Duration::from_secs(30)) < Duration::from_secs(2));
    let refused = stage.claim(match_id, Claim::Join { name: "Late".into() });
    assert_eq!(refused.unwrap_err(), HostError::Draining);
    stage.cut(grace);
    let again = stage.rejoin(grace);
    stage.play(30);
    // Every notice sets the time anew, rounded to its own seconds: one that does not move was not told again.
    let when = |stage: &Stage| [ada, again].map(|player| stage.player(player).session.shutdown_at());
    let once = when(&stage);
    stage.play(150);
    assert_eq!(when(&stage), once, "told once, whatever the players send");
    stage.play_out(match_id);
    for player in [ada, again] {
        assert!(stage.player(player).session.shutdown_at().is_some(), "whoever comes back is told, too");
        assert!(stage.player(player).session.result().is_some());
    }
    let record = stage.record_of(match_id);
    assert_eq!(record.void, None);
    assert!(record.seats.iter().all(|seat| seat.placement.is_some()));
}

#[test]
fn what_does_not_end_in_time_is_stored_with_its_players_and_the_reason() {
    let (mut stage, match_id, players) = two_in("void", "standard");
    drain(&mut stage, Duration::ZERO);
    stage.tell(Command::VoidAll);
    stage.play(30);
    assert_eq!(stage.matches(), 0);
    for player in players {
        assert_eq!(stage.ended(player), Some(Ended::Server(CloseReason::ShuttingDown)));
        assert!(stage.player(player).session.shutdown_at().is_some());
    }
    let record = stage.record_of(match_id);
    assert_eq!(record.void.as_deref(), Some("server shutdown"));
    assert_eq!(record.seats.iter().map(|seat| seat.name.as_str()).collect::<Vec<_>>(), ["Ada", "Grace"]);
    assert!(record.seats.iter().all(|seat| seat.placement.is_none()) && record.winner.is_none());
    assert!(record.replay.is_empty() && record.ticks > 60 && record.ended_ms > record.started_ms);
}

#[test]
fn a_result_on_its_way_to_the_disk_is_not_made_void() {
    let (mut stage, match_id, [ada, _]) = two_in("late", "sprint");
    let over = stage.play_until(60 * 600, |stage| stage.phase(match_id) == Some(Phase::MatchOver));
    assert!(over && stage.records_waiting() == 1, "counted before it is on disk");
    assert_eq!(void(&mut stage, match_id, "an afterthought"), Err(HostError::NoSuchMatch));
    drain(&mut stage, Duration::ZERO);
    stage.tell(Command::VoidAll);
    stage.play_out(match_id);
    assert!(stage.player(ada).session.result().is_some(), "and its players are told");
    assert_eq!(stage.record_of(match_id).void, None);
    stage.tell(Command::VoidAll);
    stage.play(2);
    assert_eq!(stage.matches(), 0, "what has been told need not be looked at any longer");
}

#[test]
fn a_match_can_be_ended_alone_and_one_that_has_not_begun_leaves_nothing() {
    let (mut stage, match_id, [ada, _]) = two_in("alone", "standard");
    let waiting = stage.open(ruleset("standard").unwrap(), 4);
    let early = stage.join(waiting, "Early");
    stage.play(10);
    let long = "because ".repeat(20);
    assert_eq!(void(&mut stage, waiting, &long), Ok(()));
    assert_eq!(stage.records_waiting(), 0);
    assert_eq!(void(&mut stage, match_id, &long), Ok(()));
    stage.play(30);
    for player in [ada, early] {
        assert_eq!(stage.ended(player), Some(Ended::Server(CloseReason::Voided)));
    }
    assert_eq!(stage.record_of(match_id).void.as_deref(), Some(&long[..64]), "as much as the store keeps");
}

/// A folder with an extra rules preset `brief`: matches of about four seconds.
fn brief_assets(at: &Path) -> String {
    let folder = at.join("assets");
    std::fs::create_dir_all(folder.join("rules")).expect("a folder");
    let brief = RULES[1].1.replace("\"sprint\"", "\"brief\"").replace("play_ms_max: 15000", "play_ms_max: 3000");
    std::fs::write(folder.join("rules/brief.ron"), brief).expect("a file");
    folder.to_str().expect("a path").to_owned()
}

fn two_flying(service: &Service, rules: &str) -> [UdpPlayer; 2] {
    let mut players = ["Ada", "Grace"].map(|name| service.join(name, rules, 2, rules));
    let [ada, grace] = &mut players;
    drive_until(&mut [ada, grace], Duration::from_secs(30), |players| players.iter().all(|p| p.snapshots() > 5));
    players
}

fn drive_till_told(players: &mut [UdpPlayer; 2], done: impl Fn(&UdpPlayer) -> bool) {
    let [ada, grace] = players;
    drive_until(&mut [ada, grace], Duration::from_secs(60), |players| players.iter().all(|player| done(player)));
}

#[test]
fn sigterm_lets_matches_end_and_a_second_one_ends_them() {
    let scratch = std::env::temp_dir().join(format!("astro-shutdown-{}", std::process::id()));
    let assets = brief_assets(&scratch);
    let mut service = Service::start("sigterm", &["--assets", &assets, "--drain-seconds", "300"]);
    let (mut brief, mut long) = (two_flying(&service, "brief"), two_flying(&service, "standard"));
    assert_eq!(service.get("/readyz").0, 200);
    service.signal(Signal::SIGTERM);
    let told = Instant::now();
    while service.get("/readyz").0 != 503 {
        assert!(told.elapsed() < HUNG_AFTER, "still ready");
    }
    drive_till_told(&mut brief, |player| player.session.shutdown_at().is_some());
    let late = serde_json::json!({ "name": "Late", "mode": "last_ship" });
    let (status, body) = service.post("/v1/quickplay", &late);
    assert_eq!(status, 503);
    assert!(String::from_utf8_lossy(&body).contains("draining"));
    drive_till_told(&mut brief, |player| player.session.result().is_some());
    drive_till_told(&mut long, |player| player.session.shutdown_at().is_some());
    assert!(service.is_running() && long.iter().all(|player| !player.session.is_closed()), "they play on");

    service.signal(Signal::SIGTERM);
    let hurried = Instant::now();
    drive_till_told(&mut long, |player| player.session.is_closed());
    assert_eq!(service.exit().code(), Some(0));
    assert!(hurried.elapsed() < HUNG_AFTER, "a second signal waits for nobody: {:?}", hurried.elapsed());
    let log = service.log().join("\n");
    assert!(!log.contains("\"ERROR\""), "{log}");
    for (message, detail) in [("started", "\"version\":"), ("told to stop", "\"grace_seconds\":300"), ("stopped", "")] {
        let own = |line: &&String| line.contains(&format!("\"message\":\"{message}\"")) && line.contains(detail);
        assert_eq!(service.log().iter().filter(own).count(), 1, "{message}: {log}");
    }

    let service = service.restart();
    assert_eq!(service.stored(brief[0].match_id).void, None);
    let void: MatchSummary = service.stored(long[0].match_id);
    assert_eq!((void.void.as_deref(), void.winner, &void.replay), (Some("server shutdown"), None, &None));
    assert_eq!(void.seats.iter().map(|seat| seat.placement).collect::<Vec<_>>(), [None, None]);
    assert_eq!(service.get(&format!("/v1/matches/{}/replay", long[0].match_id)).0, 404);
    assert_eq!(service.matches().len(), 2);
    let _ = std::fs::remove_dir_all(scratch);
}

#[test]
fn a_drain_that_runs_out_ends_the_rest_by_itself() {
    let mut service = Service::start("drained", &["--drain-seconds", "1"]);
    let mut players = two_flying(&service, "standard");
    service.signal(Signal::SIGTERM);
    drive_till_told(&mut players, |player| player.session.is_closed());
    assert_eq!(service.exit().code(), Some(0));
    let service = service.restart();
    assert_eq!(service.stored(players[0].match_id).void.as_deref(), Some("server shutdown"));
}
