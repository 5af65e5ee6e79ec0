//! A match's rules and arena: read from RON, checked, turned into ticks and grid steps, named by hash.
//!
//! In: RON text and the name of the file it came from. Out: a [`Ruleset`], or an [`AssetError`] that
//! names file, field and reason.
//! *Invariant:* a `Ruleset` that exists has passed every check, so systems never re-check a limit.
//! *Invariant:* numbers become grid steps by one multiplication and one rounding, equal on all machines.
//! Start reading at [`Ruleset::new`].

use std::sync::Arc;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::modes::Mode;
use super::rng::Hasher;
use super::units::{ANGLE_STEPS, Angle, POSITION_PER_UNIT, SEATS_MAX, TICKS_PER_SECOND, TURN_MAX, VELOCITY_PER_UNIT};

/// Bullets alive in one match at most; bounds the bullet list, the snapshot and the memory of a match.
pub const BULLETS_MAX: usize = 64;
/// Bullets of one seat alive at most; rules that could exceed it are refused at load.
pub const BULLETS_PER_SEAT_MAX: u32 = (BULLETS_MAX / SEATS_MAX) as u32;

/// The longest match that rules may allow. Replays hold two hours, waiting included.
const MATCH_MS_MAX: u32 = 110 * 60_000;

/// A rules or arena file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: field `{field}`: {reason}")]
pub struct AssetError {
    pub file: String,
    /// Dotted path of the field; `(file)` when the text as a whole is at fault.
    pub field: String,
    pub reason: String,
}

/// An arena as written. Lengths in arena units.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArenaText {
    pub name: String,
    pub width: u32,
    pub height: u32,
    pub edge: Edge,
    pub spawns: Vec<SpawnText>,
}

/// What the rim of an arena does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edge {
    /// What leaves on one side comes in on the other.
    Wrap,
}

/// Where a ship starts and where it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpawnText {
    pub x: u32,
    pub y: u32,
    pub heading_degrees: u32,
}

/// Rules as written. Units are in the field names; speeds are units/s, lengths units.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RulesText {
    pub name: String,
    pub mode: Mode,
    /// Name of the arena file.
    pub arena: String,
    pub rounds_to_win: u8,
    pub countdown_ms: u32,
    pub round_ms_max: u32,
    pub round_over_ms: u32,
    pub play_ms_max: u32,
    pub draws_in_a_row_max: u8,
    pub ship: ShipText,
    pub gun: GunText,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShipText {
    pub radius: f32,
    pub hull: u8,
    pub turn_degrees_per_s: f32,
    pub thrust: f32,
    pub top_speed: f32,
    pub drag_per_s: f32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GunText {
    pub magazine: u8,
    pub reload_ms: u32,
    pub cooldown_ms: u32,
    pub bullet_speed: f32,
    pub bullet_life_ms: u32,
    pub damage: u8,
    pub recoil: f32,
}

/// A spawn point in grid steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spawn {
    pub x: i32,
    pub y: i32,
    pub angle: Angle,
}

/// Rules and arena in ticks and grid steps, ready for the systems, together with the text they came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Ruleset {
    text: RulesetText,
    hash: u64,
    pub mode: Mode,
    /// Arena size in position steps.
    pub width: i32,
    pub height: i32,
    pub spawns: Vec<Spawn>,
    pub rounds_to_win: u8,
    pub draws_in_a_row_max: u8,
    pub countdown_ticks: u32,
    pub round_ticks_max: u32,
    pub round_over_ticks: u32,
    pub play_ticks_max: u32,
    /// Hull radius in position steps.
    pub radius: i32,
    pub hull: u8,
    /// Angle steps per tick and unit of turn input, in 1/256.
    pub turn_per_input_q8: i32,
    /// Velocity steps per tick.
    pub thrust: i32,
    pub top_speed: i32,
    /// Share of velocity kept each tick, in 1/65536.
    pub drag_keep_q16: i32,
    pub magazine: u8,
    pub reload_ticks: u8,
    pub cooldown_ticks: u8,
    pub bullet_speed: i32,
    pub bullet_life_ticks: u16,
    pub damage: u8,
    pub recoil: i32,
}

/// The two documents of a ruleset as one: what the HTTP side serves by hash and replays contain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RulesetText {
    pub rules: RulesText,
    pub arena: ArenaText,
}

impl Ruleset {
    /// Checks both documents and derives the grid numbers.
    ///
    /// # Errors
    /// The first field out of bounds, with the file that holds it.
    pub fn new(text: RulesetText, rules_file: &str, arena_file: &str) -> Result<Ruleset, AssetError> {
        check_arena(&text.arena, arena_file)?;
        check_rules(&text.rules, rules_file)?;
        let (rules, arena) = (&text.rules, &text.arena);
        let mut hasher = Hasher::new(0);
        hasher.add_bytes(canonical(&text).as_bytes());
        let ruleset = Ruleset {
            hash: hasher.finish(),
            mode: rules.mode,
            width: arena.width as i32 * POSITION_PER_UNIT,
            height: arena.height as i32 * POSITION_PER_UNIT,
            spawns: arena.spawns.iter().map(Spawn::from_text).collect(),
            rounds_to_win: rules.rounds_to_win,
            draws_in_a_row_max: rules.draws_in_a_row_max,
            countdown_ticks: ticks(rules.countdown_ms),
            round_ticks_max: ticks(rules.round_ms_max),
            round_over_ticks: ticks(rules.round_over_ms),
            play_ticks_max: ticks(rules.play_ms_max),
            radius: rounded(rules.ship.radius * POSITION_PER_UNIT as f32),
            hull: rules.ship.hull,
            turn_per_input_q8: rounded(
                rules.ship.turn_degrees_per_s * (f32::from(ANGLE_STEPS) * 256.0)
                    / (360.0 * TICKS_PER_SECOND as f32 * f32::from(TURN_MAX)),
            ),
            thrust: per_tick(rules.ship.thrust / TICKS_PER_SECOND as f32),
            top_speed: per_tick(rules.ship.top_speed),
            drag_keep_q16: 65_536 - rounded(rules.ship.drag_per_s * 65_536.0 / TICKS_PER_SECOND as f32),
            magazine: rules.gun.magazine,
            reload_ticks: ticks(rules.gun.reload_ms) as u8,
            cooldown_ticks: ticks(rules.gun.cooldown_ms) as u8,
            bullet_speed: per_tick(rules.gun.bullet_speed),
            bullet_life_ticks: ticks(rules.gun.bullet_life_ms) as u16,
            damage: rules.gun.damage,
            recoil: per_tick(rules.gun.recoil),
            text,
        };
        let alive = ruleset.bullets_per_seat();
        if alive > BULLETS_PER_SEAT_MAX {
            return Err(AssetError {
                file: rules_file.into(),
                field: "gun".into(),
                reason: format!(
                    "one ship could have {alive} bullets in flight, at most {BULLETS_PER_SEAT_MAX} are supported; \
                     lower `bullet_life_ms` or `magazine`, or raise `reload_ms` or `cooldown_ms`"
                ),
            });
        }
        Ok(ruleset)
    }

    /// Reads both documents from their files' text.
    ///
    /// # Errors
    /// As [`Ruleset::new`], and text that is not RON of this shape.
    pub fn parse(rules_file: &str, rules: &str, arena_file: &str, arena: &str) -> Result<Arc<Ruleset>, AssetError> {
        let text = RulesetText { rules: parse(rules_file, rules)?, arena: parse(arena_file, arena)? };
        Ruleset::new(text, rules_file, arena_file).map(Arc::new)
    }

    /// Reads what [`Ruleset::to_text`] wrote.
    ///
    /// # Errors
    /// As [`Ruleset::parse`]; `from` names the source in the error.
    pub fn from_text(from: &str, text: &str) -> Result<Arc<Ruleset>, AssetError> {
        Ruleset::new(parse(from, text)?, from, from).map(Arc::new)
    }

    /// The canonical text: the bytes that [`Ruleset::hash`] names.
    pub fn to_text(&self) -> String {
        canonical(&self.text)
    }

    /// Names this ruleset. Two rulesets that differ in any rule have different hashes.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    pub fn name(&self) -> &str {
        &self.text.rules.name
    }

    pub fn arena_name(&self) -> &str {
        &self.text.arena.name
    }

    /// How many bullets of one seat can be in flight at once.
    fn bullets_per_seat(&self) -> u32 {
        let life = u32::from(self.bullet_life_ticks);
        let by_cooldown = life / u32::from(self.cooldown_ticks) + 1;
        let by_magazine = u32::from(self.magazine) + life / u32::from(self.reload_ticks) + 1;
        by_cooldown.min(by_magazine)
    }
}

impl Spawn {
    fn from_text(text: &SpawnText) -> Spawn {
        Spawn {
            x: text.x as i32 * POSITION_PER_UNIT,
            y: text.y as i32 * POSITION_PER_UNIT,
            angle: Angle((text.heading_degrees * u32::from(ANGLE_STEPS) / 360) as u16),
        }
    }
}

fn canonical(text: &RulesetText) -> String {
    // Plain structs of numbers and strings always serialize.
    ron::to_string(text).unwrap_or_default()
}

fn rounded(value: f32) -> i32 {
    (value + 0.5).floor() as i32
}

/// Units per second as velocity steps per tick.
fn per_tick(units_per_second: f32) -> i32 {
    rounded(units_per_second * VELOCITY_PER_UNIT as f32 / TICKS_PER_SECOND as f32)
}

fn ticks(milliseconds: u32) -> u32 {
    (milliseconds * TICKS_PER_SECOND + 500) / 1000
}

/// Reads one RON document.
///
/// # Errors
/// Names the field on whose line the reader stopped, and what it expected there.
pub fn parse<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, AssetError> {
    ron::from_str(text).map_err(|error| {
        let line = error.span.start.line;
        let field = match &error.code {
            ron::Error::MissingStructField { field, .. } => (*field).to_owned(),
            ron::Error::NoSuchStructField { found, .. } => found.clone(),
            _ => text
                .lines()
                .nth(line.saturating_sub(1))
                .and_then(|l| l.split_once(':'))
                .map_or_else(|| "(file)".into(), |(name, _)| name.trim().trim_start_matches('(').to_owned()),
        };
        AssetError { file: file.into(), field, reason: format!("line {line}: {}", error.code) }
    })
}

/// Bounds of one document, each with the field's name; the first one broken is the answer.
struct Bounds<'a> {
    file: &'a str,
    broken: Option<AssetError>,
}

impl Bounds<'_> {
    fn within<T: PartialOrd + std::fmt::Display>(&mut self, field: &str, value: T, low: T, high: T) {
        // Written so that NaN is refused too.
        if !(value >= low && value <= high) {
            self.refuse(field, format!("is {value}, must be between {low} and {high}"));
        }
    }

    fn refuse(&mut self, field: &str, reason: String) {
        if self.broken.is_none() {
            self.broken = Some(AssetError { file: self.file.into(), field: field.into(), reason });
        }
    }

    fn name(&mut self, value: &str) {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if value.is_empty() || value.len() > 32 || !value.chars().all(plain) {
            self.refuse("name", format!("is {value:?}, must be 1 to 32 of a-z, 0-9 and _"));
        }
    }

    fn end(self) -> Result<(), AssetError> {
        self.broken.map_or(Ok(()), Err)
    }
}

fn check_arena(arena: &ArenaText, file: &str) -> Result<(), AssetError> {
    let mut bounds = Bounds { file, broken: None };
    bounds.name(&arena.name);
    // 2,047 units keep a coordinate within its 20 signed bits on the wire.
    bounds.within("width", arena.width, 400, 2047);
    bounds.within("height", arena.height, 400, 2047);
    if arena.spawns.len() != SEATS_MAX {
        bounds.refuse("spawns", format!("has {} points, must have {SEATS_MAX}", arena.spawns.len()));
        // A stranger's arena may have a million points; the pairs below are for the right number only.
        return bounds.end();
    }
    for (index, spawn) in arena.spawns.iter().enumerate() {
        bounds.within(&format!("spawns[{index}].x"), spawn.x, 0, arena.width.saturating_sub(1));
        bounds.within(&format!("spawns[{index}].y"), spawn.y, 0, arena.height.saturating_sub(1));
        bounds.within(&format!("spawns[{index}].heading_degrees"), spawn.heading_degrees, 0, 359);
        for (other, earlier) in arena.spawns[..index].iter().enumerate() {
            // Points may still lie anywhere a u32 reaches, so squares must not overflow.
            let squared = |from: u32, to: u32| u64::from(from.abs_diff(to)).pow(2);
            if squared(spawn.x, earlier.x).saturating_add(squared(spawn.y, earlier.y)) < 128 * 128 {
                bounds.refuse(&format!("spawns[{index}]"), format!("is within 128 units of spawns[{other}]"));
            }
        }
    }
    bounds.end()
}

fn check_rules(rules: &RulesText, file: &str) -> Result<(), AssetError> {
    let mut bounds = Bounds { file, broken: None };
    bounds.name(&rules.name);
    bounds.within("rounds_to_win", rules.rounds_to_win, 1, 15);
    bounds.within("countdown_ms", rules.countdown_ms, 50, 10_000);
    bounds.within("round_ms_max", rules.round_ms_max, 500, 600_000);
    bounds.within("round_over_ms", rules.round_over_ms, 50, 10_000);
    bounds.within("play_ms_max", rules.play_ms_max, 500, 3_600_000);
    bounds.within("draws_in_a_row_max", rules.draws_in_a_row_max, 1, 15);
    bounds.within("ship.radius", rules.ship.radius, 4.0, 60.0);
    bounds.within("ship.hull", rules.ship.hull, 1, 127);
    bounds.within("ship.turn_degrees_per_s", rules.ship.turn_degrees_per_s, 90.0, 1440.0);
    bounds.within("ship.thrust", rules.ship.thrust, 10.0, 2000.0);
    bounds.within("ship.top_speed", rules.ship.top_speed, 20.0, 480.0);
    bounds.within("ship.drag_per_s", rules.ship.drag_per_s, 0.0, 10.0);
    let rounds_max =
        (SEATS_MAX as u32 * u32::from(rules.rounds_to_win.saturating_sub(1)) + 1) * u32::from(rules.draws_in_a_row_max);
    let between_ms = rounds_max.saturating_mul(rules.countdown_ms.saturating_add(rules.round_over_ms));
    let longest_ms = between_ms.saturating_add(rules.play_ms_max);
    if longest_ms > MATCH_MS_MAX {
        bounds.refuse(
            "rounds_to_win",
            format!(
                "a match could last {} minutes, at most {} fit a replay; lower `rounds_to_win`, `draws_in_a_row_max`, \
                 `countdown_ms`, `round_over_ms` or `play_ms_max`",
                longest_ms / 60_000,
                MATCH_MS_MAX / 60_000
            ),
        );
    }
    bounds.within("gun.magazine", rules.gun.magazine, 1, 7);
    bounds.within("gun.reload_ms", rules.gun.reload_ms, 50, 4000);
    bounds.within("gun.cooldown_ms", rules.gun.cooldown_ms, 17, 1000);
    bounds.within("gun.bullet_speed", rules.gun.bullet_speed, 60.0, 1800.0);
    bounds.within("gun.bullet_life_ms", rules.gun.bullet_life_ms, 100, 4000);
    bounds.within("gun.damage", rules.gun.damage, 1, 127);
    bounds.within("gun.recoil", rules.gun.recoil, 0.0, 120.0);
    bounds.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = include_str!("../../../assets/rules/standard.ron");
    const ARENA: &str = include_str!("../../../assets/arenas/open.ron");

    fn refused(rules: &str, arena: &str) -> AssetError {
        Ruleset::parse("rules/x.ron", rules, "arenas/x.ron", arena).expect_err("should be refused")
    }

    #[test]
    fn shipped_assets_load_and_survive_their_own_text() {
        let ruleset = Ruleset::parse("rules/standard.ron", RULES, "arenas/open.ron", ARENA).unwrap();
        assert_eq!((ruleset.width, ruleset.height), (1600 * 256, 900 * 256));
        assert_eq!(ruleset.countdown_ticks, 180);
        let again = Ruleset::from_text("replay", &ruleset.to_text()).unwrap();
        assert_eq!(again, ruleset);
        assert_eq!(again.hash(), ruleset.hash());
    }

    #[test]
    fn errors_name_file_field_and_reason() {
        let error = refused(&RULES.replace("top_speed: 320.0", "top_speed: 3200.0"), ARENA);
        assert_eq!(error.to_string(), "rules/x.ron: field `ship.top_speed`: is 3200, must be between 20 and 480");
        let error = refused(&RULES.replace("magazine: 3,", ""), ARENA);
        assert_eq!((error.file.as_str(), error.field.as_str()), ("rules/x.ron", "magazine"));
        let error = refused(&RULES.replace("magazine: 3,", "magazine: 3, lasers: 2,"), ARENA);
        assert_eq!(error.field, "lasers");
        let error = refused(&RULES.replace("hull: 100", "hull: \"much\""), ARENA);
        assert_eq!(error.field, "hull");
        let error = refused(RULES, &ARENA.replace("width: 1600", "width: 9000"));
        assert_eq!((error.file.as_str(), error.field.as_str()), ("arenas/x.ron", "width"));
        let error = refused(&RULES.replace("drag_per_s: 0.45", "drag_per_s: NaN"), ARENA);
        assert_eq!(error.field, "ship.drag_per_s");
        let error = refused(
            &RULES.replace("reload_ms: 900", "reload_ms: 50").replace("cooldown_ms: 180", "cooldown_ms: 17"),
            ARENA,
        );
        assert_eq!(error.field, "gun");
    }

    #[test]
    fn rules_that_could_outlast_a_replay_are_refused() {
        let endless = RULES.replace("rounds_to_win: 5", "rounds_to_win: 15");
        let error = refused(&endless.replace("draws_in_a_row_max: 3", "draws_in_a_row_max: 15"), ARENA);
        assert_eq!(error.field, "rounds_to_win");
        assert!(error.reason.contains("149 minutes"), "{}", error.reason);
    }

    #[test]
    fn any_changed_rule_changes_the_hash() {
        let hash = |rules: &str| Ruleset::parse("r", rules, "a", ARENA).unwrap().hash();
        assert_ne!(hash(RULES), hash(&RULES.replace("damage: 50", "damage: 51")));
    }
}
