//! Promise: whatever one attacker on this machine tries, he is dealt with, and honest matches lose nothing by it.
//!
//! Each profile of the bots is carried out once against the real program while honest bots play match after match over
//! both transports. Only what must hold on any machine is asserted; times and costs are measured by `tests/attacks`.

use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use astro_client::bots::attack::{self, AttackError, Profile};
use astro_client::bots::conductor;
use astro_client::bots::options::Options;
use astro_client::bots::report::Report;
use astro_tests::service::{Service, blitz_assets};

/// Lines of log a second that attackers may cause, and those that a start writes.
const LOG_LINES_PER_S: u64 = 10;
const LOG_LINES_AT_START: u64 = 20;

/// One profile at a time: each fills a core.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn options(service: &Service, line: &str) -> Options {
    let words = ["bots", "--server", &service.http].into_iter().chain(line.split_whitespace());
    Options::read(words.map(Into::into)).expect("options")
}

/// Carries the profile out for a few seconds while three honest matches at a time go on.
fn honest_matches_lose_nothing_by(profile: &str, honest_seconds: u32) {
    let _alone = alone();
    let folder = std::env::temp_dir().join(format!("astro-attack-{profile}-{}", std::process::id()));
    let assets = blitz_assets(&folder);
    let mut service =
        Service::start(&format!("attack-{profile}"), &["--load-test", "--assets", &assets.to_string_lossy()]);
    let hostile = options(&service, &format!("--profile {profile} --seconds 2"));
    let honest = options(
        &service,
        &format!("--matches 3 --seats 2 --rules blitz --transport mixed --seconds {honest_seconds} --grace 120"),
    );
    let (began, lines_before) = (Instant::now(), service.log().len() as u64);
    let go = AtomicBool::new(false);
    let (attacked, played) = thread::scope(|scope| {
        let honest = scope.spawn(|| conductor::run(&honest, &go));
        let attacked = attack::run(&hostile, hostile.profile.expect("a profile"), &go);
        (attacked.expect("an attack"), honest.join().expect("no panic").expect("honest matches"))
    });
    assert!(attacked.dealt_with, "{attacked}\nlog: {:#?}", service.log());
    assert_unharmed(&played);
    assert!(service.is_running(), "{profile} ended the server: {:#?}", service.log());
    let lines = service.log().len() as u64 - lines_before;
    let lines_max = LOG_LINES_AT_START + LOG_LINES_PER_S * began.elapsed().as_secs();
    assert!(lines <= lines_max, "{profile} wrote {lines} lines of log: {:#?}", service.log());
    let _ = std::fs::remove_dir_all(folder);
}

fn assert_unharmed(played: &Report) {
    assert!(played.matches_started > 3, "{played}");
    assert!(played.all_confirmed(), "{played}");
    assert_eq!((played.state_mismatches, played.results_contradicted), (0, 0), "{played}");
    assert!(played.disconnects.is_empty(), "{played}");
}

#[test]
fn a_flood_from_a_seat_and_from_outside() {
    honest_matches_lose_nothing_by("flood", 5);
}

#[test]
fn garbage_from_unknown_pending_and_connected_addresses() {
    honest_matches_lose_nothing_by("garbage", 5);
}

#[test]
fn peers_that_never_acknowledge_read_or_finish() {
    honest_matches_lose_nothing_by("slow", 12);
}

#[test]
fn datagrams_and_tickets_a_second_time() {
    honest_matches_lose_nothing_by("replay", 8);
}

#[test]
fn inputs_and_acknowledgements_from_the_future_and_the_past() {
    honest_matches_lose_nothing_by("future", 5);
}

#[test]
fn slices_empty_messages_and_gaps() {
    honest_matches_lose_nothing_by("slice", 5);
}

#[test]
fn connections_that_say_nothing() {
    honest_matches_lose_nothing_by("idle-sockets", 7);
}

#[test]
fn other_machines_are_no_targets() {
    let line = ["bots", "--server", "http://192.0.2.7:8080", "--profile", "flood"];
    let options = Options::read(line.map(Into::into)).expect("options");
    let error = attack::run(&options, Profile::Flood, &AtomicBool::new(false)).unwrap_err();
    assert!(matches!(error, AttackError::NotLoopback(_)), "{error}");
    assert!(error.to_string().contains("loopback addresses only"), "{error}");
}
