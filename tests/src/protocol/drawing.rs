//! Where each bit of a snapshot lies: the field tables as text, and the golden samples read bit by bit beside them.
//!
//! In: the `state!` tables and encoded snapshots. Out: tables and drawings.
//! *Invariant:* a sample is read to its last bit by the layout that is described, so a description that has a field too
//! many, too few, too wide or in another place does not survive [`snapshot`].
//! *Invariant:* a field without an explanation in [`MEANINGS`] is refused.
//! Start reading at [`snapshot`].

use std::fmt::Write;

use astro_shared::sim::event::{EVENT_KIND_BITS, Event};
use astro_shared::sim::fields::{Audience, Field, Fields, Visible};
use astro_shared::sim::state::{Bullet, Mine, Ship};
use astro_shared::sim::tables::{Shape, Walk};
use astro_shared::wire::bits::BitReader;
use astro_shared::wire::snapshot::Decoded;

/// What each field that travels says, and in which unit: `(row.field, meaning)`.
const MEANINGS: &[(&str, &str)] = &[
    ("round.tick", "ticks since the match was opened; 60 a second"),
    ("round.phase", "see the list below"),
    ("round.phase_ends", "tick at which the phase ends on its own; 0: open end"),
    ("round.number", "rounds begun so far"),
    (
        "round.winner",
        "seat + 1 of who won the last ended round (or the match, once over); 0: drawn. Of a side: its lowest seat",
    ),
    ("round.holder", "seat + 1 of who alone stands in the zone; 0: nobody. Of a side: its lowest seat"),
    ("ship.x", "position, 1/256 arena unit, to the right; 0 up to the arena's width"),
    ("ship.y", "position, 1/256 arena unit, upward; 0 up to the arena's height"),
    ("ship.vx", "velocity, 1/65536 arena unit per tick"),
    ("ship.vy", "velocity, 1/65536 arena unit per tick"),
    ("ship.angle", "heading, 1/4096 turn, counter-clockwise from the x axis"),
    ("ship.alive", "1 while it is a ship"),
    ("ship.hull", "damage it still bears"),
    ("ship.input", "what was applied in this tick: an input byte, see chapter 8"),
    ("ship.pod", "1 while it is a pod"),
    ("ship.return_ticks", "ticks until it is a ship again; 0: it is one, or will be none in this round"),
    ("ship.lives", "further ships after this one"),
    ("ship.guard_ticks", "ticks during which nothing hurts it; a shot ends them"),
    ("ship.dash_ticks", "ticks of the present dash"),
    ("ship.item", "the power-up it carries, see the list below"),
    ("ship.charges", "how often that may still be used"),
    ("ship.shield", "hits that its shield still takes"),
    ("ship.overdrive_ticks", "ticks of overdrive left"),
    ("ship.windup_ticks", "ticks until its laser fires"),
    ("ship.ammunition", "shots in the magazine"),
    ("ship.reload_ticks", "ticks until the next shot is in the magazine; 0: full"),
    ("ship.cooldown_ticks", "ticks until the gun may fire again"),
    ("ship.dash_wait_ticks", "ticks until it may dash again"),
    ("ship.shots", "shots fired in this match, modulo 8192"),
    ("score.rounds_won", "rounds won"),
    ("score.kills", "ships destroyed"),
    ("score.deaths", "times destroyed"),
    ("score.points", "what the mode counts in this round: kills, or ticks in the zone"),
    ("bullet.id", "owner's seat in the low 3 bits, the owner's count of shots above"),
    ("bullet.born", "low 16 bits of the tick in which it was fired"),
    ("bullet.leg", "ticks from then to where its present straight begins; 0 before the first bounce"),
    ("bullet.x", "where its present straight begins, like a ship's x"),
    ("bullet.y", "where its present straight begins, like a ship's y"),
    ("bullet.angle", "which way it flies, like a ship's heading"),
    ("bullet.bounces", "bounces behind it"),
    ("asteroid.id", "its name; a piece gets a new one"),
    ("asteroid.x", "like a ship's x"),
    ("asteroid.y", "like a ship's y"),
    ("asteroid.vx", "like a ship's vx"),
    ("asteroid.vy", "like a ship's vy"),
    ("asteroid.size", "2 large, 1 middle, 0 small"),
    ("asteroid.hits", "hits it has taken"),
    ("pad.item", "the power-up that lies here or will; 0: still open"),
    ("pad.ready", "tick from which it can be taken; with no power-up here, tick in which the next is announced"),
    ("homing.owner", "whose it is"),
    ("homing.x", "like a ship's x"),
    ("homing.y", "like a ship's y"),
    ("homing.angle", "which way it flies, like a ship's heading"),
    ("homing.spent", "tick in which it is gone at the latest"),
    ("bomb.owner", "whose it is"),
    ("bomb.x", "place, whole arena units"),
    ("bomb.y", "place, whole arena units"),
    ("bomb.spent", "tick in which it is gone"),
    ("mine.owner", "whose it is"),
    ("mine.x", "place, whole arena units"),
    ("mine.y", "place, whole arena units"),
    ("mine.armed", "tick from which it goes off"),
];

/// Width of the length of a list, and of the number of bullets and events.
const LIST_BITS: u8 = 4;
const COUNT_BITS: u8 = 8;

/// A row's fields that `visible` names, as a table.
pub fn fields<T: Fields>(visible: Visible) -> String {
    let mut text = String::from("| field | bits | sign | meaning |\n|---|---:|---|---|\n");
    let mut rare = false;
    for field in T::TABLE.iter().filter(|field| field.visible == visible) {
        if field.rare && !rare {
            rare = true;
            text += "| *rare* | 1 | unsigned | 1: the rare fields follow; 0: they are all 0 and are left out |\n";
        }
        let name = format!("{}.{}", T::NAME, field.name);
        let meaning = MEANINGS.iter().find(|(known, _)| *known == name).map(|(_, meaning)| *meaning);
        let meaning = meaning.unwrap_or_else(|| panic!("{name} has no meaning in tests/src/protocol/drawing.rs"));
        let sign = if field.signed { "signed" } else { "unsigned" };
        let meaning = if field.rare { format!("(rare) {meaning}") } else { meaning.to_owned() };
        writeln!(text, "| {} | {} | {sign} | {meaning} |", field.name, field.bits).expect("a string takes text");
    }
    text.trim_end().to_owned()
}

/// The kinds of events as a table.
pub fn events() -> String {
    let mut text = String::from("| kind | event | then |\n|---:|---|---|\n");
    for (number, kind) in Event::KINDS.iter().enumerate() {
        let fields: Vec<String> = kind.fields.iter().map(|(name, parts)| part_of_event(name, parts)).collect();
        let then = if fields.is_empty() { "nothing".into() } else { fields.join(", ") };
        writeln!(text, "| {number} | {} | {then} |", kind.name).expect("a string takes text");
    }
    text.trim_end().to_owned()
}

fn part_of_event(name: &str, parts: &[Field]) -> String {
    match parts {
        [part] => format!("{name} ({})", part.bits),
        _ => format!("a {name}: all fields of its table"),
    }
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
        let mut rare = None;
        for field in T::TABLE.iter().filter(|field| field.visible == visible) {
            if field.rare && rare.is_none() {
                rare = Some(self.take(&format!("{label}: rare"), 1, false) == 1);
            }
            if !field.rare || rare == Some(true) {
                self.take(&format!("{label}.{}", field.name), field.bits, field.signed);
            }
        }
    }

    /// A list with its length before it.
    fn list<T: Fields>(&mut self, bits: u8) {
        let count = self.take(&format!("{}s", T::NAME), bits, false);
        (0..count).for_each(|index| self.row::<T>(&format!("{} {index}", T::NAME), Visible::Everyone));
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
            self.list::<Mine>(LIST_BITS);
        }
        self.fill_up();
    }

    fn body(&mut self, decoded: &Decoded) {
        let seats = self.take("seats", 4, false) as u8;
        decoded.state.walk(seats, self);
        if self.take("form: 0 absolute, 1 events", 1, false) == 0 {
            self.list::<Bullet>(COUNT_BITS);
        } else {
            self.take("baseline's age in ticks", 8, false);
            let count = self.take("events", COUNT_BITS, false);
            (0..count).for_each(|index| self.event(index, &decoded.events[index as usize].1));
        }
        self.fill_up();
    }

    fn event(&mut self, index: u32, event: &Event) {
        self.take(&format!("event {index}: ticks after the baseline"), 8, false);
        let number = self.take(&format!("event {index}: kind"), EVENT_KIND_BITS, false);
        let kind = &Event::KINDS[number as usize];
        assert_eq!(number, event.kind(), "kind {number} is another event");
        self.lines.last_mut().expect("just read").name += &format!(" = {}", kind.name);
        for (name, parts) in kind.fields {
            for part in *parts {
                let name = if part.name.is_empty() { (*name).to_owned() } else { format!("{name}.{}", part.name) };
                self.take(&format!("event {index}: {name}"), part.bits, part.signed);
            }
        }
    }
}

/// The tables of a body in their order, as [`State::walk`] has them.
///
/// [`State::walk`]: astro_shared::sim::state::State::walk
impl Walk for Reading<'_> {
    fn table<T: Fields>(&mut self, shape: Shape, rows: &[T]) {
        match shape {
            Shape::One => self.row::<T>(T::NAME, Visible::Everyone),
            Shape::PerSeat => {
                (0..rows.len()).for_each(|seat| self.row::<T>(&format!("{} {seat}", T::NAME), Visible::Everyone))
            }
            Shape::List => self.list::<T>(LIST_BITS),
            Shape::ByEvent | Shape::Sighted => {}
        }
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
