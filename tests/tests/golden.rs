//! Promise: bytes and hashes are what they were. Whoever changes them means to, and says so by
//! `UPDATE_GOLDEN=1 cargo test -p astro-tests --test golden --test protocol` (PROTOCOL.md shows the same bytes).

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;

use astro_shared::sim::SIM_VERSION;
use astro_shared::sim::event::Event;
use astro_shared::sim::fields::Audience;
use astro_shared::sim::input::Input;
use astro_shared::sim::units::Seat;
use astro_shared::wire::message::{self, CloseReason, Place, ToClient, ToServer};
use astro_shared::wire::snapshot::Baseline;
use astro_shared::wire::{self, acknowledge, input, snapshot, websocket};
use astro_tests::dice::Dice;
use astro_tests::pilots::rules;
use astro_tests::scene::Scene;

/// Compares with a file of `tests/golden`, or writes it when asked to.
fn assert_golden(file: &str, now: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|update| update == "1") {
        std::fs::write(&path, now).expect("the golden file can be written");
        return;
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    for (golden, now) in golden.lines().zip(now.lines()) {
        assert_eq!(now, golden, "{file} differs; if that is meant, run with UPDATE_GOLDEN=1");
    }
    assert_eq!(now.lines().count(), golden.lines().count(), "{file} has another number of lines");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Broken by any change of a message, a datagram, a field's width, place or audience, or the grid.
#[test]
fn every_message_and_datagram_has_the_bytes_it_had_and_so_has_the_fingerprint() {
    let mut now = String::new();
    for (name, bytes) in wire::samples() {
        writeln!(now, "{name}: {}", hex(&bytes)).expect("a string takes text");
    }
    writeln!(now, "fingerprint: {:016x}", wire::fingerprint()).expect("a string takes text");
    assert_golden("wire.txt", &now);
}

/// The names of an enum's variants, and the one a value has; a variant that is missing here does not compile.
macro_rules! variants {
    ($names:ident, $name_of:ident, $kind:ident: $($variant:ident)*) => {
        const $names: &[&str] = &[$(stringify!($variant)),*];
        fn $name_of(value: &$kind) -> &'static str {
            match value { $($kind::$variant { .. } => stringify!($variant)),* }
        }
    };
}

variants!(TO_SERVER, to_server, ToServer: Ready Leave);
variants!(TO_CLIENT, to_client, ToClient: Welcome Roster Result Closing Missed ShuttingDown);
variants!(PLACES, place_name, Place: Seat Spectator);
variants!(BASELINES, baseline_name, Baseline: Absolute After);

fn place_of(message: &ToClient) -> Option<&'static str> {
    if let ToClient::Welcome { place, .. } = message { Some(place_name(place)) } else { None }
}

fn assert_all(seen: impl Iterator<Item = &'static str>, names: &[&'static str]) {
    assert_eq!(seen.collect::<BTreeSet<_>>(), names.iter().copied().collect::<BTreeSet<_>>());
}

/// Broken by a new message, event or kind of snapshot without a sample: it would not be in the fingerprint.
#[test]
fn every_kind_of_message_event_and_snapshot_has_a_sample_that_decodes() {
    let samples = message::samples();
    let of = |prefix: &'static str| samples.iter().filter(move |(name, _)| name.starts_with(prefix));
    let up: Vec<ToServer> = of("ToServer").map(|(_, bytes)| ToServer::decode(bytes).expect("decodes")).collect();
    let down: Vec<ToClient> = of("ToClient").map(|(_, bytes)| ToClient::decode(bytes).expect("decodes")).collect();
    assert_all(up.iter().map(to_server), TO_SERVER);
    assert_all(down.iter().map(to_client), TO_CLIENT);
    assert_all(down.iter().filter_map(place_of), PLACES);
    let decode = |(name, bytes): (&str, Vec<u8>)| {
        let audience = if name.starts_with("Spectator") { Audience::Public } else { Audience::Seat(Seat(1)) };
        snapshot::decode(&bytes, audience).expect("decodes")
    };
    let snapshots: Vec<_> = snapshot::samples().into_iter().map(decode).collect();
    assert_all(snapshots.iter().map(|snapshot| baseline_name(&snapshot.baseline)), BASELINES);
    let events = snapshots.iter().flat_map(|snapshot| snapshot.events.iter());
    let kinds: Vec<&str> = Event::KINDS.iter().map(|kind| kind.name).collect();
    assert_all(events.map(|(_, event)| kinds[event.kind() as usize]), &kinds);
    for (_, bytes) in input::samples() {
        input::InputDatagram::decode(&bytes).expect("decodes");
    }
    for (_, bytes) in acknowledge::samples() {
        acknowledge::Acknowledge::decode(&bytes).expect("decodes");
    }
}

variants!(
    REASONS, reason_name, CloseReason:
    MatchOver Silent Replaced Left Outdated Misbehaved Voided ShuttingDown TooSlow ServerFault
);

/// Broken by a reason in the middle of the list: every later one would then mean another on the wire.
#[test]
fn close_reasons_keep_their_numbers_and_names() {
    let mut now = String::new();
    for number in 0..REASONS.len() as u8 {
        let bytes = [3, 0, 0, 0, number, 0, 0, 0];
        let Ok(ToClient::Closing { reason }) = ToClient::decode(&bytes) else { panic!("{number} is no reason") };
        assert_eq!(ToClient::Closing { reason }.encode().expect("encodes"), bytes);
        let (name, code) = (reason.name(), reason.websocket_code());
        assert!(!websocket::close_name(code).is_empty(), "{name} has a code that nobody knows");
        writeln!(now, "{number}: {} {name} {code}", reason_name(&reason)).expect("a string takes text");
    }
    assert!(ToClient::decode(&[3, 0, 0, 0, REASONS.len() as u8, 0, 0, 0]).is_err());
    assert_golden("close_reasons.txt", &now);
}

/// Broken by any change of behaviour, and by any machine or compiler on which the sim goes another way.
/// A change that is meant raises `SIM_VERSION`, so that replays of the old one are not called different.
#[test]
fn the_same_inputs_lead_to_the_same_hashes_as_ever_under_this_sim_version() {
    let mut now = format!("sim version {SIM_VERSION}\n");
    for (preset, seats) in [("standard", 2), ("standard", 4), ("standard", 8), ("classic", 4), ("sprint", 3)] {
        let ruleset = rules(preset);
        writeln!(now, "{preset} rules {:016x}", ruleset.hash()).expect("a string takes text");
        let (mut scene, mut dice) = (Scene::waiting(seats, &ruleset), Dice::new(u64::from(seats)));
        scene.start();
        for tick in 1..=1800 {
            for seat in 0..seats {
                if dice.percent(8) {
                    let input = Input::new(dice.step(-15..16) as i8, dice.percent(60), dice.percent(60));
                    scene.hold(seat, input.with_dash(dice.percent(20)));
                }
            }
            scene.tick();
            if tick % 300 == 0 {
                writeln!(now, "{preset} {seats} tick {tick}: {:016x}", scene.state().hash()).expect("text");
            }
        }
    }
    assert_golden("sim.txt", &now);
}
