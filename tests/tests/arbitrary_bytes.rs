//! Promise: whatever bytes come, decoders neither panic nor allocate more than they say.
//!
//! A test binary of its own, because counting replaces its allocator. Bytes are random, truncated,
//! flipped, or valid but for a length or number that is made extreme.

use allocation_counter::measure;
use astro_shared::assets;
use astro_shared::replay::{Recorder, Replay};
use astro_shared::sim::fields::Audience;
use astro_shared::sim::rules::Ruleset;
use astro_shared::sim::tables::View;
use astro_shared::sim::units::{MatchId, Seat};
use astro_shared::sim::{self, SimPlugin};
use astro_shared::wire::acknowledge::{self, Acknowledge};
use astro_shared::wire::filter::{self, RenetProgress, Side};
use astro_shared::wire::input::{self, InputDatagram};
use astro_shared::wire::message::{self, RosterSeat, ToClient, ToServer};
use astro_shared::wire::{DATAGRAM_BYTES_MAX, DECODE_BYTES_MAX, MESSAGE_BYTES_MAX, snapshot};
use astro_tests::dice::{Dice, each_seed};
use astro_tests::pilots::{Fleet, rules};
use astro_tests::replay_file::{repacked, unpacked};

/// Memory that reading a replay may hold at once: its body of 32 MiB, copies of its columns, the growth of a buffer.
const REPLAY_BYTES_MAX: u64 = 128 << 20;

/// Bytes that someone might send: noise, or a valid sample with something wrong.
fn hostile(dice: &mut Dice, samples: &[Vec<u8>], longest: usize) -> Vec<u8> {
    if dice.percent(20) {
        let length = dice.below(longest + 50);
        let mut bytes = dice.bytes(length);
        if let Some(first) = bytes.first_mut()
            && dice.percent(70)
        {
            *first = samples[dice.below(samples.len())][0];
        }
        return bytes;
    }
    let mut bytes = samples[dice.below(samples.len())].clone();
    for _ in 0..dice.within(1..6) {
        damage(&mut bytes, dice);
    }
    bytes
}

fn damage(bytes: &mut Vec<u8>, dice: &mut Dice) {
    let length = bytes.len().max(1);
    let at = dice.below(length);
    match dice.below(6) {
        0 => bytes.truncate(at),
        1 => bytes.extend(dice.bytes(at % 40)),
        2 => bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= 1 << (at % 8)),
        3 => bytes.get_mut(at).into_iter().for_each(|byte| *byte = 0xff),
        // A length, a count or a number blown up.
        4 => bytes.iter_mut().skip(at).take(1 + length % 8).for_each(|byte| *byte = 0xff),
        _ => bytes.iter_mut().skip(at).take(2).for_each(|byte| *byte = 0x7f),
    }
}

/// Throws bytes at a decoder; how many it took and the most it allocated.
fn throw(count: u64, samples: &[Vec<u8>], longest: usize, mut decode: impl FnMut(&[u8]) -> bool) -> (u64, u64) {
    let (mut taken, mut most) = (0, 0);
    each_seed(count, |_, dice| {
        let bytes = hostile(dice, samples, longest);
        let mut accepted = false;
        let memory = measure(|| accepted = decode(&bytes));
        taken += u64::from(accepted);
        most = most.max(memory.bytes_max);
        assert!(memory.bytes_max <= DECODE_BYTES_MAX as u64, "{} bytes for {bytes:02x?}", memory.bytes_max);
    });
    (taken, most)
}

fn bytes_of(samples: Vec<(&'static str, Vec<u8>)>, prefix: &str) -> Vec<Vec<u8>> {
    samples.into_iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, bytes)| bytes).collect()
}

/// Real datagrams of a match, beside the samples.
fn snapshots_of_a_match() -> Vec<Vec<u8>> {
    let mut fleet = Fleet::new();
    let key = fleet.open(5, 8, &rules("standard"));
    let mut all = bytes_of(snapshot::samples(), "");
    for _ in 0..12 {
        fleet.play(60);
        let state = fleet.state(key);
        let events: Vec<_> = state.events.0.iter().map(|event| (state.round.tick, *event)).collect();
        let head = snapshot::Head {
            input_newest: state.round.tick,
            input_margin_ticks: 1,
            view_hash: 77,
            hash_long: all.len().is_multiple_of(2),
        };
        let mut bytes = Vec::new();
        snapshot::encode_head(&head, &state, Seat(1), &mut bytes);
        snapshot::encode_body(&state, snapshot::Baseline::Absolute, events.iter(), &mut bytes);
        all.push(bytes);
    }
    all
}

/// Broken by any index, shift or subtraction that trusts what was read, and by lists sized by a count from the wire.
#[test]
fn datagrams_and_messages_never_panic_and_stay_within_their_memory() {
    let inputs = bytes_of(input::samples(), "");
    let acknowledgements = bytes_of(acknowledge::samples(), "");
    let snapshots = snapshots_of_a_match();
    let public = bytes_of(snapshot::samples(), "Spectator");
    let mut down = bytes_of(message::samples(), "ToClient");
    let roster = ToClient::Roster { seats: vec![RosterSeat { name: "x".repeat(16), pilot: true }; 8] };
    down.push(roster.encode().expect("encodes"));
    let up = bytes_of(message::samples(), "ToServer");
    let report = [
        ("inputs", throw(60_000, &inputs, 60, |bytes| InputDatagram::decode(bytes).is_ok())),
        ("snapshots", throw(60_000, &snapshots, DATAGRAM_BYTES_MAX, |bytes| snapshot::decode(bytes, Seat(1)).is_ok())),
        (
            "spectators' snapshots",
            throw(60_000, &public, DATAGRAM_BYTES_MAX, |bytes| snapshot::decode(bytes, Audience::Public).is_ok()),
        ),
        ("acknowledgements", throw(60_000, &acknowledgements, 20, |bytes| Acknowledge::decode(bytes).is_ok())),
        ("messages up", throw(60_000, &up, 80, |bytes| ToServer::decode(bytes).is_ok())),
        ("messages down", throw(60_000, &down, MESSAGE_BYTES_MAX, |bytes| ToClient::decode(bytes).is_ok())),
        ("netcode, server", throw(60_000, &snapshots, 1400, |b| filter::check_netcode(b, Side::Server).is_ok())),
        ("netcode, client", throw(60_000, &snapshots, 1400, |b| filter::check_netcode(b, Side::Client).is_ok())),
        (
            "renet",
            throw(60_000, &renet_packets(), 1300, |b| {
                filter::check_renet(b, &mut RenetProgress::default(), MESSAGE_BYTES_MAX).is_ok()
            }),
        ),
    ];
    for (name, (taken, most)) in report {
        println!("{name}: {taken} of 60000 decoded, at most {most} bytes allocated");
    }
}

fn renet_packets() -> Vec<Vec<u8>> {
    vec![
        vec![0, 0, 0, 0, 1, 0, 3, 1, 2, 3],
        vec![0, 5, 0, 0, 2, 0, 1, 9, 1, 2, 8, 8],
        vec![4, 0, 5, 2, 1, 0, 0],
        vec![2, 0, 0, 0, 9, 1, 1, 7],
    ]
}

/// What was decoded from damaged bytes is used like anything else, so that must not panic either.
/// Broken by an overflow in `apply`, `load_view` or a tick, and by a `fits` that lets through what a tick cannot bear.
#[test]
fn what_decodes_from_damaged_bytes_can_be_applied_loaded_and_played_on_without_harm() {
    let snapshots = snapshots_of_a_match();
    let rules = rules("standard");
    let mut world = SimPlugin::world();
    let audience = Audience::Seat(Seat(1));
    let (mut decoded, mut loaded) = (0, 0);
    let all = each_seed(40_000, |_, dice| {
        let bytes = hostile(dice, &snapshots, DATAGRAM_BYTES_MAX);
        let Ok(snapshot) = snapshot::decode(&bytes, Seat(1)) else { return };
        decoded += 1;
        let mut known = View::empty(audience, 8);
        let key = sim::open(&mut world, 5, 8, rules.clone());
        if snapshot.apply(&mut known, &rules).is_ok() && sim::load_view(&mut world, key, &known).is_ok() {
            loaded += 1;
            (0..3).for_each(|_| sim::tick(&mut world));
            let _ = sim::view_hash(&world, key, audience);
        }
        sim::close(&mut world, key);
    });
    println!("{decoded} decoded, {loaded} loaded and played on");
    assert!(!all || loaded > 1000, "{loaded} loaded");
}

// ---- files and texts ----

/// Broken by a save that is believed before its lengths are checked.
#[test]
fn damaged_saves_never_panic() {
    let mut fleet = Fleet::new();
    let key = fleet.open(1, 8, &rules("standard"));
    fleet.play(700);
    let saves = vec![sim::save(&fleet.world, key).expect("the match")];
    let mut loaded = 0;
    each_seed(20_000, |_, dice| {
        let bytes = hostile(dice, &saves, 1000);
        let memory = measure(|| loaded += u32::from(sim::load(&mut fleet.world, key, &bytes).is_ok()));
        assert!(memory.bytes_max <= DECODE_BYTES_MAX as u64, "{} bytes", memory.bytes_max);
    });
    println!("{loaded} of 20000 damaged saves loaded");
}

/// Broken by a number that overflows before its bounds are checked, and by checks that never end.
#[test]
fn damaged_rules_never_panic() {
    let (rules_file, rules_text) = assets::RULES[0];
    let (arena_file, arena_text) = assets::ARENAS[0];
    let whole = rules("standard").to_text();
    let numbers = ["4294967295", "1e38", "-1", "0", "NaN", "inf", "99999999999999999999", "0.0000001", "\"x\"", "()"];
    let mut legal = 0;
    each_seed(4000, |_, dice| {
        let mut mutate = |text: &str| -> String {
            if dice.percent(50) {
                let fields: Vec<&str> = text.split_inclusive([',', ':', '(', ')']).collect();
                let at = dice.below(fields.len());
                let swapped = fields.iter().enumerate().map(|(index, field)| match field.chars().last() {
                    Some(end @ (',' | ')')) if index == at => format!("{}{end}", dice.pick(&numbers)),
                    _ => (*field).to_owned(),
                });
                swapped.collect()
            } else {
                let mut bytes = text.as_bytes().to_vec();
                damage(&mut bytes, dice);
                String::from_utf8_lossy(&bytes).into_owned()
            }
        };
        legal += u32::from(Ruleset::from_text("text", &mutate(&whole)).is_ok());
        let _ = Ruleset::parse(rules_file, &mutate(rules_text), arena_file, arena_text);
        let _ = Ruleset::parse(rules_file, rules_text, arena_file, &mutate(arena_text));
    });
    println!("{legal} of 4000 damaged rulesets were still legal");
    let deep = "(".repeat(100_000);
    assert!(Ruleset::from_text("deep", &deep).is_err(), "nesting ends in an error, not in a stack overflow");
}

/// Broken by checking every spawn point against every other before counting them.
#[test]
fn an_arena_with_two_thousand_spawn_points_is_refused_before_they_are_compared() {
    let (rules_file, rules_text) = assets::RULES[0];
    let (_, arena) = assets::ARENAS[0];
    let point = "(x: 1, y: 1, heading_degrees: 0),";
    let crowded = arena.replace("spawns: [", &format!("spawns: [{}", point.repeat(2000)));
    let mut refused = None;
    let memory = measure(|| refused = Ruleset::parse(rules_file, rules_text, "crowd", &crowded).err());
    assert_eq!(refused.expect("refused").field, "small.spawns");
    // A name for each point and pair would be millions of strings.
    assert!(memory.count_total < 1000, "{} allocations", memory.count_total);
}

fn a_replay() -> Vec<u8> {
    let mut fleet = Fleet::new();
    let key = fleet.open(3, 4, &rules("sprint"));
    let mut recorder = Recorder::new(4);
    Seat::first(4).for_each(|seat| recorder.crew(seat, "a pilot", true));
    while !fleet.is_over(key) {
        fleet.play(1);
        recorder.tick(&fleet.inputs(key), &fleet.state(key));
    }
    recorder.finish(MatchId(7), 1, &fleet.state(key)).encode()
}

fn read_within_memory(file: &[u8]) -> bool {
    let mut read = false;
    let memory = measure(|| read = Replay::read(file).is_ok());
    assert!(memory.bytes_max <= REPLAY_BYTES_MAX, "{} bytes", memory.bytes_max);
    read
}

/// Broken by a block length or run length that is believed, and by inflating without a limit.
#[test]
fn damaged_replays_never_panic_and_stay_within_their_memory() {
    let file = a_replay();
    let body = unpacked(&file);
    assert!(read_within_memory(&repacked(&body)), "the envelope is as the layout says");
    let mut read = 0;
    each_seed(3000, |_, dice| {
        let damaged = hostile(dice, std::slice::from_ref(&file), 4000);
        read += u32::from(read_within_memory(&damaged));
        let mut inside = body.clone();
        (0..dice.within(1..4)).for_each(|_| damage(&mut inside, dice));
        let damaged = repacked(&inside);
        if let Ok(replay) = Replay::read(&damaged) {
            let _ = replay.verify();
            read += 1;
        }
    });
    println!("{read} of 6000 damaged replays could be read");
    // 64 MiB of zeros pack into 64 KiB.
    assert!(!read_within_memory(&repacked(&vec![0; 64 << 20])), "a bomb");
    let mut almost = body.clone();
    almost.resize((32 << 20) - 1, 0);
    assert!(!read_within_memory(&repacked(&almost)), "as large as allowed, and useless");
}
