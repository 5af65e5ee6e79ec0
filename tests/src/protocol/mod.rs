//! PROTOCOL.md, made: the template's words, and every number, table, drawing and row of bytes from the code itself.
//!
//! In: `template.md`, the field tables, the samples of every message, the constants. Out: the page.
//! *Invariant:* every placeholder of the template has a value and every value a place, so a new message without a word
//! about it fails the test that compares the page.
//! Start reading at [`page`].

mod drawing;
mod layout;

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

use astro_server::api::quickplay;
use astro_server::host::{crew, link};
use astro_shared::api::{NAME_CHARS_MAX, QuickplayRequest, TicketAnswer, hex};
use astro_shared::assets::{ARENAS, RULES, sample_ruleset};
use astro_shared::sim::arena::SMALL_SEATS_MAX;
use astro_shared::sim::event::{EVENT_KIND_BITS, Medal, Weapon};
use astro_shared::sim::fields::{Audience, Visible};
use astro_shared::sim::input::Input;
use astro_shared::sim::items::Item;
use astro_shared::sim::modes::Mode;
use astro_shared::sim::round::Phase;
use astro_shared::sim::rules::Overrides;
use astro_shared::sim::state::{Asteroid, Bomb, Bullet, Homing, Mine, Pad, Round, Score, Ship};
use astro_shared::sim::units::{
    ANGLE_STEPS, MatchId, POSITION_PER_UNIT, SEATS_MAX, Seat, TICKS_PER_SECOND, TURN_MAX, Tick, VELOCITY_PER_UNIT,
};
use astro_shared::wire::message::{self, CloseReason, ToClient, ToServer};
use astro_shared::wire::snapshot::Baseline;
use astro_shared::wire::{self, acknowledge, input, snapshot, websocket};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::scene::Scene;

const TEMPLATE: &str = include_str!("template.md");
/// A bot in another language fits this; a test counts the lines of `tests/bot.py`.
pub const BOT_LINES_MAX: usize = 150;

/// Values by placeholder.
#[derive(Default)]
struct Values(BTreeMap<String, String>);

impl Values {
    fn set(&mut self, name: &str, value: impl Display) {
        let twice = self.0.insert(name.to_owned(), value.to_string());
        assert!(twice.is_none(), "{name} has two values");
    }

    /// The template with every placeholder replaced.
    fn fill(mut self, template: &str) -> String {
        let mut page = String::new();
        let mut pieces = template.split("{{");
        page.push_str(pieces.next().unwrap_or_default());
        let mut used = Vec::new();
        for piece in pieces {
            let (name, text) = piece.split_once("}}").expect("a placeholder ends");
            let value = self.0.get(name).unwrap_or_else(|| panic!("the template asks for {{{{{name}}}}}"));
            page.push_str(value.trim_end_matches('\n'));
            page.push_str(text);
            used.push(name.to_owned());
        }
        self.0.retain(|name, _| !used.contains(name));
        assert!(self.0.is_empty(), "the template says nothing about {:?}", self.0.keys());
        page
    }
}

/// The whole page.
pub fn page() -> String {
    let mut values = Values::default();
    numbers(&mut values);
    joining(&mut values);
    framing(&mut values);
    control(&mut values);
    hot(&mut values);
    values.set("LIMITS", limits());
    values.fill(TEMPLATE)
}

fn spaced(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// Bytes in lines of a width that a page has.
fn wrapped(bytes: &[u8]) -> String {
    bytes.chunks(32).map(spaced).collect::<Vec<_>>().join("\n")
}

fn sample(samples: Vec<(&'static str, Vec<u8>)>, name: &str) -> Vec<u8> {
    samples.into_iter().find(|(known, _)| *known == name).map(|(_, bytes)| bytes).expect("a sample of that name")
}

fn numbers(values: &mut Values) {
    values.set("FINGERPRINT", hex(wire::fingerprint()));
    values.set("FINGERPRINT_DIGITS", hex(wire::fingerprint()).len());
    values.set("FINGERPRINT_BYTES", spaced(&wire::fingerprint().to_le_bytes()));
    values.set("BOT_LINES_MAX", BOT_LINES_MAX);
    values.set("TICKS_PER_SECOND", TICKS_PER_SECOND);
    values.set("SNAPSHOTS_PER_S", 30);
    values.set("SEAT_LAST", SEATS_MAX - 1);
    values.set("SEATS_MAX", SEATS_MAX);
    values.set("NAME_CHARS_MAX", NAME_CHARS_MAX);
    values.set("TURN_MAX", TURN_MAX);
    values.set("POSITION_PER_UNIT", POSITION_PER_UNIT);
    values.set("VELOCITY_PER_UNIT", VELOCITY_PER_UNIT);
    values.set("ANGLE_STEPS", ANGLE_STEPS);
    values.set("ANGLE_QUARTER", ANGLE_STEPS / 4);
    values.set("NO_MARGIN", snapshot::NO_MARGIN);
    values.set("AHEAD_TICKS_MAX", crew::AHEAD_TICKS_MAX);
    values.set("REPEAT_INPUT_TICKS", crew::REPEAT_INPUT_TICKS);
    values.set("PILOT_AFTER_S", crew::PILOT_AFTER.as_secs_f32());
    values.set("CLOSE_LINK_AFTER_S", crew::CLOSE_LINK_AFTER.as_secs());
    values.set("GIVE_UP_AFTER_S", crew::GIVE_UP_AFTER.as_secs());
    values.set("FILL_AFTER_S", quickplay::FILL_AFTER.as_secs());
    values.set("RESEND_AFTER_MS", link::RESEND_AFTER.as_millis());
    values.set("MATCH_ID_DIGITS", 32);
}

fn joining(values: &mut Values) {
    let request = QuickplayRequest {
        name: "Ada".into(),
        mode: "last_ship".into(),
        seats: Some(4),
        rules: Some("sprint".into()),
        group: Some("friends-of-ada".into()),
        ..QuickplayRequest::default()
    };
    let json = |value: Result<String, serde_json::Error>| value.expect("plain structs serialize");
    values.set("QUICKPLAY_REQUEST", json(serde_json::to_string_pretty(&request)));
    let stem = |(file, _): &(&str, &str)| format!("`{}`", file.trim_start_matches("rules/").trim_end_matches(".ron"));
    values.set("PRESETS", RULES.iter().map(stem).collect::<Vec<_>>().join(", "));
    let answer = TicketAnswer {
        match_id: MatchId(0x0192_f00d_aaaa_7bbb_8ccc_dddd_eeee_ffff),
        seat: 1,
        seats: 4,
        rules_hash: hex(sample_ruleset().hash()),
        fingerprint: hex(wire::fingerprint()),
        connect_token: "TkVUQ09ERSAxLjAyAA…".into(),
        seat_secret: format!("{}…", BASE64.encode([7; 15])),
        udp: "203.0.113.7:9000".into(),
        websocket_ticket: BASE64.encode(std::array::from_fn::<u8, { websocket::TICKET_BYTES }, _>(|index| index as u8)),
        websocket_url: format!("ws://play.example.org:8080{}", websocket::PATH),
    };
    let stem = |(file, _): &(&str, &str)| format!("`{}`", file.trim_start_matches("arenas/").trim_end_matches(".ron"));
    values.set("ARENAS", ARENAS.iter().map(stem).collect::<Vec<_>>().join(", "));
    let quoted = |name: &&str| format!("`{name}`");
    values.set("OVERRIDES", Overrides::NAMES.iter().map(quoted).collect::<Vec<_>>().join(", "));
    values.set("MODES", Mode::ALL.iter().map(|mode| format!("`{}`", mode.name())).collect::<Vec<_>>().join(", "));
    values.set("SMALL_SEATS_MAX", SMALL_SEATS_MAX);
    values.set("TICKET_ANSWER", json(serde_json::to_string_pretty(&answer)));
    values.set("RULES_TEXT", folded(&sample_ruleset().to_text()));
}

/// One long line as several, broken behind commas.
fn folded(text: &str) -> String {
    let (mut page, mut width) = (String::new(), 0);
    for piece in text.split_inclusive(',') {
        if width + piece.len() > 110 {
            page.push('\n');
            width = 0;
        }
        page.push_str(piece);
        width += piece.len();
    }
    page
}

fn framing(values: &mut Values) {
    values.set("HELLO_BYTES", websocket::HELLO_BYTES);
    values.set("HELLO_WITHIN_S", websocket::HELLO_WITHIN_S);
    values.set("TICKET_BYTES", websocket::TICKET_BYTES);
    values.set("TICKET_TTL_S", websocket::TICKET_TTL_S);
    values.set("PACKET_BYTES_MAX", websocket::PACKET_BYTES_MAX);
    values.set("SUPERSEDED_PER_S_MAX", websocket::SUPERSEDED_PER_S_MAX);
    values.set("SLOW_SNAPSHOTS_PER_S", websocket::SLOW_SNAPSHOTS_PER_S);
    values.set("STEADY_S", websocket::STEADY_S);
    values.set("CLIENT_FRAME_BYTES_MAX", websocket::CLIENT_FRAME_BYTES_MAX);
    values.set("SERVER_FRAME_BYTES_MAX", websocket::SERVER_FRAME_BYTES_MAX);
    let hello = sample(websocket::samples(), "websocket::Hello");
    let hello_again = websocket::Hello::decode(&hello).expect("a sample decodes");
    let drawing = format!(
        "  at  bytes\n   0  {:02x}                                                what it is\n   \
         1  {}                           fingerprint, a u64 (here of 0x{:016x})\n   9  {}   the ticket",
        websocket::KIND_HELLO,
        spaced(&hello[1..9]),
        hello_again.fingerprint,
        spaced(&hello[9..]),
    );
    values.set("HELLO_DRAWING", drawing);
    values.set("FRAME_SAMPLE", spaced(&sample(websocket::samples(), "websocket::Frame")));
    let mut codes = String::from("| code | text | meaning |\n|---:|---|---|\n");
    for (code, name, meaning) in websocket::CLOSE_CODES {
        writeln!(codes, "| {code} | `{name}` | {meaning} |").expect("a string takes text");
    }
    values.set("CLOSE_CODES", codes);
    for (name, kind) in [
        ("KIND_SNAPSHOT", wire::KIND_SNAPSHOT),
        ("KIND_INPUT", wire::KIND_INPUT),
        ("KIND_ACKNOWLEDGE", wire::KIND_ACKNOWLEDGE),
    ] {
        values.set(name, format!("{kind:02x}"));
    }
}

fn control(values: &mut Values) {
    for (name, bytes) in message::samples() {
        let drawing = if name.starts_with("ToServer") {
            layout::table(&ToServer::decode(&bytes).expect("a sample decodes"), &bytes)
        } else {
            layout::table(&ToClient::decode(&bytes).expect("a sample decodes"), &bytes)
        };
        values.set(name, drawing);
    }
    values.set("CLIENT_MESSAGE_BYTES_MAX", wire::CLIENT_MESSAGE_BYTES_MAX);
    values.set("MESSAGE_BYTES_MAX", wire::MESSAGE_BYTES_MAX);
    values.set("READY_PACKET", ready_packet());
    values.set("CLOSE_REASONS", close_reasons());
}

/// What stock `renet` sends for a first message, and the frame that carries it.
fn ready_packet() -> String {
    let ready = sample(message::samples(), "ToServer::Ready");
    let mut client = renet::RenetClient::new(link::control_config());
    client.set_connected();
    client.send_message(wire::CONTROL_CHANNEL, ready.clone());
    let packets = client.get_packets_to_send();
    let [packet] = packets.as_slice() else { panic!("one message is one packet") };
    let mut frame = Vec::new();
    websocket::put_packet(&mut frame, packet);
    let (head, message) = packet.split_at(packet.len() - ready.len());
    assert_eq!(message, ready);
    let &[kind, sequence, channel, count_high, count_low, id, length] = head else { panic!("all numbers are short") };
    assert_eq!((frame.len(), usize::from(length)), (2 + packet.len(), ready.len()));
    format!(
        "  {}   length of the packet\n  {kind:02x}      messages\n  {sequence:02x}      sequence\n  {channel:02x}      (always)\n  \
         {count_high:02x} {count_low:02x}   how many messages\n  {id:02x}      id of the first\n  {length:02x}      its length\n  \
         {}   the message, Ready",
        spaced(&frame[..2]),
        spaced(&ready),
    )
}

/// The numbers of the reasons, found by asking the decoder.
fn close_reasons() -> String {
    let sample = sample(message::samples(), "ToClient::Closing");
    let reason = |number: u32| {
        let bytes = [&sample[..4], &number.to_le_bytes()].concat();
        match ToClient::decode(&bytes) {
            Ok(ToClient::Closing { reason }) => Some((number, reason)),
            _ => None,
        }
    };
    let row = |(number, reason): (u32, CloseReason)| {
        format!("| {number} | {reason:?} | {} | {} |\n", reason.name(), reason.websocket_code())
    };
    let rows: String = (0..).map_while(reason).map(row).collect();
    format!("| reason | | name | WebSocket code |\n|---:|---|---|---:|\n{rows}")
}

fn hot(values: &mut Values) {
    values.set("INPUTS_MAX", input::INPUTS_MAX);
    values.set("INPUT_LEFT_THRUST", spaced(&[Input::new(TURN_MAX, true, false).bits()]));
    values.set("INPUT_RIGHT_FIRE", spaced(&[Input::new(-TURN_MAX, false, true).bits()]));
    values.set("INPUT_SAMPLE", spaced(&sample(input::samples(), "InputDatagram")));
    values.set("DATAGRAMS_PER_S_MAX", 40);
    values.set("ACKNOWLEDGE_SAMPLE", spaced(&sample(acknowledge::samples(), "Acknowledge")));
    values.set("OWN_FIELDS", drawing::fields::<Ship>(Visible::Owner));
    values.set("ROUND_FIELDS", drawing::fields::<Round>(Visible::Everyone));
    values.set("SHIP_FIELDS", drawing::fields::<Ship>(Visible::Everyone));
    values.set("SCORE_FIELDS", drawing::fields::<Score>(Visible::Everyone));
    values.set("BULLET_FIELDS", drawing::fields::<Bullet>(Visible::Everyone));
    for (name, table) in [
        ("ASTEROID_FIELDS", drawing::fields::<Asteroid>(Visible::Everyone)),
        ("PAD_FIELDS", drawing::fields::<Pad>(Visible::Everyone)),
        ("HOMING_FIELDS", drawing::fields::<Homing>(Visible::Everyone)),
        ("BOMB_FIELDS", drawing::fields::<Bomb>(Visible::Everyone)),
        ("MINE_FIELDS", drawing::fields::<Mine>(Visible::Everyone)),
    ] {
        values.set(name, table);
    }
    values.set("EVENTS", drawing::events());
    values.set("EVENT_KIND_BITS", EVENT_KIND_BITS);
    values.set("ITEMS", numbered(Item::ALL.map(|item| format!("{item:?}"))));
    values.set("WEAPONS", numbered(Weapon::ALL.map(Weapon::name)));
    values.set("MEDALS", numbered(Medal::ALL.map(Medal::name)));
    values.set("INPUT_DASH", spaced(&[Input::NEUTRAL.with_dash(true).bits()]));
    values.set("PLAIN_BYTES", plain_snapshot_bytes(4, false));
    values.set("PLAIN_PUBLIC_BYTES", plain_snapshot_bytes(4, true));
    values.set("PLAIN_EIGHT_BYTES", plain_snapshot_bytes(8, false));
    values.set("SNAPSHOT_BYTES_MAX", wire::DATAGRAM_BYTES_MAX);
    let names = |wanted: &dyn Fn(&Phase) -> bool, numbered: bool| {
        let chosen = Phase::ALL.into_iter().filter(wanted);
        let name = |phase| if numbered { format!("{} {phase:?}", phase as u8) } else { format!("{phase:?}") };
        chosen.map(name).collect::<Vec<_>>()
    };
    values.set("PHASES", names(&|_| true, true).join(", "));
    values.set("FLYING", names(&|phase| phase.flies(), false).join(" and "));
    for (name, sample_name, audience, shown) in [
        ("SNAPSHOT", "Snapshot absolute", Audience::Seat(Seat(1)), ("hash is long", "")),
        ("EVENTS", "Snapshot events", Audience::Seat(Seat(1)), ("form: 0 absolute, 1 events", "")),
        ("SPECTATOR", "Spectator's snapshot", Audience::Public, ("hash is long", "seats")),
    ] {
        let bytes = sample(snapshot::samples(), sample_name);
        let decoded = snapshot::decode(&bytes, audience).expect("a sample decodes");
        values.set(&format!("{name}_HEX"), wrapped(&bytes));
        values.set(&format!("{name}_DRAWING"), drawing::snapshot(&bytes, audience, &decoded, shown));
    }
}

/// Names with their numbers.
fn numbered(names: impl IntoIterator<Item = impl Display>) -> String {
    names.into_iter().enumerate().map(|(number, name)| format!("{number} {name}")).collect::<Vec<_>>().join(", ")
}

/// Size of a snapshot of a plain match in which nothing has happened since the baseline.
fn plain_snapshot_bytes(seats: u8, public: bool) -> usize {
    let scene = Scene::live(seats, &crate::pilots::rules("classic"));
    let state = scene.state();
    let mut bytes = Vec::new();
    if public {
        snapshot::encode_public_head(0, false, &mut bytes);
    } else {
        let head = snapshot::Head { input_newest: Tick(9), input_margin_ticks: 2, view_hash: 0, hash_long: false };
        snapshot::encode_head(&head, &state, Seat(0), &mut bytes);
    }
    snapshot::encode_body(&state, Baseline::After(scene.tick_now()), std::iter::empty(), &mut bytes);
    bytes.len()
}

/// What a peer can feed, how much of it is taken, and what happens above.
fn limits() -> String {
    let rows: [(&str, &dyn Display, &str); 10] = [
        (
            "WebSockets without a Hello, from one address",
            &websocket::SOCKETS_WAITING_PER_ADDRESS_MAX,
            "refused with 429",
        ),
        ("the same, from all addresses", &websocket::SOCKETS_WAITING_MAX, "refused with 429"),
        ("bytes in a frame from you", &websocket::CLIENT_FRAME_BYTES_MAX, "closed with 4006"),
        ("bytes in a packet", &websocket::PACKET_BYTES_MAX, "closed with 4006"),
        ("bytes in a control message from you", &wire::CLIENT_MESSAGE_BYTES_MAX, "closed with 4006"),
        ("packets from you a second", &wire::CLIENT_PACKETS_PER_S, "dropped; closed with 4006 when it goes on"),
        ("the same, at once after a pause", &wire::CLIENT_PACKETS_BURST, "dropped; closed with 4006 when it goes on"),
        ("inputs that do not decode", &link::BAD_DATAGRAMS_MAX, "closed with 4006"),
        ("control packets that wait for you to read", &websocket::CONTROL_PACKETS_WAITING_MAX, "closed with 4008"),
        ("seconds without reading anything", &websocket::STALLED_S_MAX, "closed with 4008"),
    ];
    let row = |(what, limit, otherwise): (&str, &dyn Display, &str)| format!("| {what} | {limit} | {otherwise} |\n");
    rows.into_iter().map(row).collect()
}
