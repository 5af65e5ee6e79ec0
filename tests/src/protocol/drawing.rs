//! Where each bit of a snapshot lies: the field tables as text, and the golden samples read bit by bit beside them.
//!
//! In: the `state!` tables and encoded snapshots. Out: tables and drawings.
//! *Invariant:* a sample is read to its last bit by the layout that is described, so a description that has a field too
//! many, too few, too wide or in another place does not survive [`snapshot`].
//! *Invariant:* a field without an explanation in [`MEANINGS`] is refused.
//! Start reading at [`snapshot`].

use std::fmt::Write;

use astro_shared::sim::event::Event;
use astro_shared::sim::fields::{Audience, Field, Fields, Visible};
use astro_shared::sim::state::{Bullet, Round, Score, Ship};
use astro_shared::wire::bits::BitReader;
use astro_shared::wire::snapshot::Decoded;

/// What each field that travels says, and in which unit: `(row.field, meaning)`.
const MEANINGS: &[(&str, &str)] = &[
    ("round.tick", "ticks since the match was opened; 60 a second"),
    ("round.phase", "see the list below"),
    ("round.phase_ends", "tick at which the phase ends on its own; 0: open end"),
    ("round.number", "rounds begun so far"),
    ("round.winner", "seat + 1 of who won the last ended round (or the match, once over); 0: drawn"),
    ("ship.x", "position, 1/256 arena unit, to the right; 0 up to the arena's width"),
    ("ship.y", "position, 1/256 arena unit, upward; 0 up to the arena's height"),
    ("ship.vx", "velocity, 1/65536 arena unit per tick"),
    ("ship.vy", "velocity, 1/65536 arena unit per tick"),
    ("ship.angle", "heading, 1/4096 turn, counter-clockwise from the x axis"),
    ("ship.alive", "1 while it flies"),
    ("ship.hull", "damage it still bears"),
    ("ship.input", "what was applied in this tick: an input byte, see chapter 8"),
    ("ship.ammunition", "shots in the magazine"),
    ("ship.reload_ticks", "ticks until the next shot is in the magazine; 0: full"),
    ("ship.cooldown_ticks", "ticks until the gun may fire again"),
    ("ship.shots", "shots fired in this match, modulo 8192"),
    ("score.rounds_won", "rounds won"),
    ("score.kills", "ships destroyed"),
    ("score.deaths", "times destroyed"),
    ("bullet.id", "owner's seat in the low 3 bits, the owner's count of shots above"),
    ("bullet.born", "low 16 bits of the tick in which it was fired"),
    ("bullet.x", "where it was fired from, like a ship's x"),
    ("bullet.y", "where it was fired from, like a ship's y"),
    ("bullet.angle", "which way it flies, like a ship's heading"),
];

/// An event's number, its name, and the fields behind its age and kind, in order.
type EventLayout = (u32, &'static str, &'static [(&'static str, u8)]);

/// Every kind of event; behind a shot comes a whole bullet row.
const EVENTS: &[EventLayout] = &[
    (0, "ShotFired", &[]),
    (1, "ShipHit", &[("bullet id", 16), ("victim's seat", 3)]),
    (2, "ShipDestroyed", &[("victim's seat", 3), ("destroyer's seat", 3), ("helpers, a bit per seat", 8)]),
    (3, "RoundStarted", &[("round number", 8)]),
    (4, "RoundWon", &[("winner's seat", 3)]),
    (5, "RoundDrawn", &[]),
    (6, "MatchWon", &[("winner's seat + 1, or 0", 4)]),
];

fn name_of(event: &Event) -> &'static str {
    match event {
        Event::ShotFired { .. } => "ShotFired",
        Event::ShipHit { .. } => "ShipHit",
        Event::ShipDestroyed { .. } => "ShipDestroyed",
        Event::RoundStarted { .. } => "RoundStarted",
        Event::RoundWon { .. } => "RoundWon",
        Event::RoundDrawn => "RoundDrawn",
        Event::MatchWon { .. } => "MatchWon",
    }
}

/// A row's fields that `visible` names, as a table.
pub fn fields<T: Fields>(visible: Visible) -> String {
    let mut text = String::from("| field | bits | sign | meaning |\n|---|---:|---|---|\n");
    for field in T::TABLE.iter().filter(|field| field.visible == visible) {
        let name = format!("{}.{}", T::NAME, field.name);
        let meaning = MEANINGS.iter().find(|(known, _)| *known == name).map(|(_, meaning)| *meaning);
        let meaning = meaning.unwrap_or_else(|| panic!("{name} has no meaning in tests/src/protocol/drawing.rs"));
        let sign = if field.signed { "signed" } else { "unsigned" };
        writeln!(text, "| {} | {} | {sign} | {meaning} |", field.name, field.bits).expect("a string takes text");
    }
    text.trim_end().to_owned()
}

/// The kinds of events as a table.
pub fn events() -> String {
    let mut text = String::from("| kind | event | then |\n|---:|---|---|\n");
    for (kind, name, fields) in EVENTS {
        let fields: Vec<String> = fields.iter().map(|(field, bits)| format!("{field} ({bits})")).collect();
        let then = match (*kind, fields.is_empty()) {
            (0, _) => "a bullet: all fields of its table".into(),
            (_, true) => "nothing".into(),
            _ => fields.join(", "),
        };
        writeln!(text, "| {kind} | {name} | {then} |").expect("a string takes text");
    }
    text.trim_end().to_owned()
}

/// One field of a sample, as it was read.
struct Line {
    at: usize,
    bits: u8,
    name: String,
    value: i64,
}

/// Reads a sample and remembers what was where.
struct Reading<'a> {
    reader: BitReader<'a>,
    at: usize,
    lines: Vec<Line>,
}

impl Reading<'_> {
    fn take(&mut self, name: &str, bits: u8, signed: bool) -> u32 {
        let raw = if signed { self.reader.take_signed(bits) } else { self.reader.take(bits) };
        let raw = raw.expect("a sample has all its bits");
        let value = if signed { i64::from(raw as i32) } else { i64::from(raw) };
        self.lines.push(Line { at: self.at, bits, name: name.into(), value });
        self.at += usize::from(bits);
        raw
    }

    /// The zero bits up to the next whole byte.
    fn fill_up(&mut self) {
        let rest = (8 - self.at % 8) % 8;
        if rest > 0 {
            let zero = self.take("(zero, up to the next byte)", rest as u8, false);
            assert_eq!(zero, 0, "unused bits are zero");
        }
    }

    fn row<T: Fields>(&mut self, label: &str, visible: Visible) {
        let wanted = |field: &&Field| field.visible == visible;
        for field in T::TABLE.iter().filter(wanted) {
            self.take(&format!("{label}.{}", field.name), field.bits, field.signed);
        }
    }

    fn head(&mut self, audience: Audience) {
        let long = self.take("hash is long", 1, false) == 1;
        if matches!(audience, Audience::Seat(_)) {
            self.take("newest input", 32, false);
            self.take("margin", 8, true);
        }
        self.take("view hash", if long { 32 } else { 16 }, false);
        if matches!(audience, Audience::Seat(_)) {
            self.row::<Ship>("own", Visible::Owner);
        }
        self.fill_up();
    }

    fn body(&mut self, decoded: &Decoded) {
        let seats = self.take("seats", 4, false);
        self.row::<Round>("round", Visible::Everyone);
        (0..seats).for_each(|seat| self.row::<Ship>(&format!("ship {seat}"), Visible::Everyone));
        (0..seats).for_each(|seat| self.row::<Score>(&format!("score {seat}"), Visible::Everyone));
        if self.take("form: 0 absolute, 1 events", 1, false) == 0 {
            let count = self.take("bullets", 8, false);
            (0..count).for_each(|index| self.row::<Bullet>(&format!("bullet {index}"), Visible::Everyone));
        } else {
            self.take("baseline's age in ticks", 8, false);
            let count = self.take("events", 8, false);
            (0..count).for_each(|index| self.event(index, &decoded.events[index as usize].1));
        }
        self.fill_up();
    }

    fn event(&mut self, index: u32, event: &Event) {
        self.take(&format!("event {index}: ticks after the baseline"), 8, false);
        let kind = self.take(&format!("event {index}: kind"), 3, false);
        let (_, name, fields) = EVENTS[kind as usize];
        assert_eq!(name, name_of(event), "kind {kind} is another event");
        self.lines.last_mut().expect("just read").name += &format!(" = {name}");
        if kind == 0 {
            self.row::<Bullet>(&format!("event {index}: bullet"), Visible::Everyone);
        }
        fields.iter().for_each(|(field, bits)| _ = self.take(&format!("event {index}: {field}"), *bits, false));
    }
}

/// A sample snapshot, bit by bit: the lines from the one named `shown.0` up to (without) the one named `shown.1`. Reads all
/// of it whatever is shown.
pub fn snapshot(sample: &[u8], audience: Audience, decoded: &Decoded, shown: (&str, &str)) -> String {
    let (kind, rest) = sample.split_first().expect("a sample is not empty");
    let mut reading = Reading { reader: BitReader::new(rest), at: 0, lines: Vec::new() };
    reading.head(audience);
    reading.body(decoded);
    reading.reader.finish().expect("the description ends where the sample ends");
    let mut text = format!("kind {kind:#04x}, then\n bit  bits  field                                       value\n");
    let lines = reading.lines.iter().skip_while(|line| line.name != shown.0);
    for line in lines.take_while(|line| line.name != shown.1) {
        let Line { at, bits, name, value } = line;
        writeln!(text, "{at:>4}  {bits:>4}  {name:<43} {value}").expect("a string takes text");
    }
    text
}
