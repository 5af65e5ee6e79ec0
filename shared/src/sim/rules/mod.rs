//! A match's rules and arena: read from RON, checked, turned into ticks and grid steps, named by hash.
//!
//! In: RON text and the name of the file it came from. Out: a [`Ruleset`], or an [`AssetError`] that
//! names file, field and reason.
//! *Invariant:* a `Ruleset` that exists has passed every check, so systems never re-check a limit.
//! *Invariant:* numbers become grid steps by one multiplication and one rounding, equal on all machines.
//! Start reading at [`Ruleset::new`].

pub(super) mod bounds;
mod check;
pub mod overrides;
pub mod text;

use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::arena::check::check_arena;
use super::arena::{Arena, Size};
use super::items::ItemsGrid;
use super::modes::Mode;
use super::rng::Hasher;
use super::units::{ANGLE_STEPS, POSITION_PER_UNIT, SEATS_MAX, TICKS_PER_SECOND, TURN_MAX, VELOCITY_PER_UNIT};
pub use overrides::Overrides;
pub use text::{RulesText, RulesetText};

/// Bullets alive in one match at most; bounds the bullet list, the snapshot and the memory of a match.
pub const BULLETS_MAX: usize = 56;
/// Bullets of one seat alive at most, in the largest match; rules by which a plain gun could exceed it are refused at load.
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

/// Rules and arena in ticks and grid steps, ready for the systems, together with the text they came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Ruleset {
    text: RulesetText,
    hash: u64,
    pub mode: Mode,
    small: Arena,
    large: Arena,
    pub score_target: u16,
    pub friendly_fire: bool,
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
    pub lives: u8,
    pub return_ticks: u16,
    pub guard_ticks: u8,
    pub dash: Dash,
    /// Velocity steps per tick.
    pub bump_speed: i32,
    pub bump_damage: u8,
    pub pod: Pod,
    /// Velocity steps per tick.
    pub asteroid_speed: i32,
    pub asteroid_hits: u8,
    pub asteroid_damage: u8,
    pub sudden_death: SuddenDeath,
    pub items: ItemsGrid,
}

/// See [`text::DashText`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dash {
    /// Velocity steps per tick; 0: there is none.
    pub speed: i32,
    pub ticks: u8,
    pub cooldown_ticks: u16,
}

/// See [`text::PodText`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pod {
    pub enabled: bool,
    pub ticks: u16,
    /// Position steps.
    pub radius: i32,
    /// Velocity steps per tick.
    pub thrust: i32,
    pub top_speed: i32,
}

/// See [`text::SuddenDeathText`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuddenDeath {
    /// Of a round; 0: never.
    pub after_ticks: u32,
    pub closing_ticks: u32,
    pub damage: u8,
}

impl Ruleset {
    /// Checks both documents and derives the grid numbers.
    ///
    /// # Errors
    /// The first field out of bounds, with the file that holds it.
    pub fn new(text: RulesetText, rules_file: &str, arena_file: &str) -> Result<Ruleset, AssetError> {
        check_arena(&text.arena, arena_file)?;
        check::check_rules(&text.rules, rules_file)?;
        check::check_together(&text, rules_file)?;
        let (rules, arena) = (&text.rules, &text.arena);
        let mut hasher = Hasher::new(0);
        hasher.add_bytes(canonical(&text).as_bytes());
        let ruleset = Ruleset {
            hash: hasher.finish(),
            mode: rules.mode,
            small: Arena::new(arena, &arena.small),
            large: Arena::new(arena, &arena.large),
            score_target: rules.score_target,
            friendly_fire: rules.friendly_fire,
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
            lives: rules.ship.lives,
            return_ticks: ticks(rules.ship.return_ms) as u16,
            guard_ticks: ticks(rules.ship.guard_ms) as u8,
            dash: Dash {
                speed: per_tick(rules.dash.speed),
                ticks: ticks(rules.dash.ms) as u8,
                cooldown_ticks: ticks(rules.dash.cooldown_ms) as u16,
            },
            bump_speed: per_tick(rules.bump.speed),
            bump_damage: rules.bump.damage,
            pod: Pod {
                enabled: rules.pod.enabled,
                ticks: ticks(rules.pod.ms) as u16,
                radius: rounded(rules.pod.radius * POSITION_PER_UNIT as f32),
                thrust: per_tick(rules.pod.thrust / TICKS_PER_SECOND as f32),
                top_speed: per_tick(rules.pod.top_speed),
            },
            asteroid_speed: per_tick(rules.asteroid.speed),
            asteroid_hits: rules.asteroid.hits,
            asteroid_damage: rules.asteroid.damage,
            sudden_death: SuddenDeath {
                after_ticks: ticks(rules.sudden_death.after_ms),
                closing_ticks: ticks(rules.sudden_death.closing_ms),
                damage: rules.sudden_death.damage,
            },
            items: ItemsGrid::new(&rules.items),
            text,
        };
        ruleset.check_bullets(rules_file)?;
        Ok(ruleset)
    }

    fn check_bullets(&self, file: &str) -> Result<(), AssetError> {
        let alive = self.bullets_per_seat();
        if alive <= BULLETS_PER_SEAT_MAX {
            return Ok(());
        }
        let reason = format!(
            "one ship could have {alive} bullets in flight, at most {BULLETS_PER_SEAT_MAX} are supported; lower \
             `bullet_life_ms` or `magazine`, or raise `reload_ms` or `cooldown_ms`"
        );
        Err(AssetError { file: file.into(), field: "gun".into(), reason })
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

    /// Where a match of that many seats is fought.
    pub fn arena(&self, seats: u8) -> &Arena {
        match Size::of(seats) {
            Size::Small => &self.small,
            Size::Large => &self.large,
        }
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

fn canonical(text: &RulesetText) -> String {
    // Plain structs of numbers and strings always serialize.
    ron::to_string(text).unwrap_or_default()
}

pub(super) fn rounded(value: f32) -> i32 {
    (value + 0.5).floor() as i32
}

/// Units per second as velocity steps per tick.
pub(super) fn per_tick(units_per_second: f32) -> i32 {
    rounded(units_per_second * VELOCITY_PER_UNIT as f32 / TICKS_PER_SECOND as f32)
}

pub(super) fn ticks(milliseconds: u32) -> u32 {
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

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = include_str!("../../../../assets/rules/classic.ron");
    const ARENA: &str = include_str!("../../../../assets/arenas/open.ron");

    fn refused(rules: &str, arena: &str) -> AssetError {
        Ruleset::parse("rules/x.ron", rules, "arenas/x.ron", arena).expect_err("should be refused")
    }

    #[test]
    fn shipped_assets_load_and_survive_their_own_text() {
        let ruleset = Ruleset::parse("rules/classic.ron", RULES, "arenas/open.ron", ARENA).unwrap();
        let small = ruleset.arena(2);
        assert_eq!((small.width, small.height), (1600 * 256, 900 * 256));
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
        assert_eq!((error.file.as_str(), error.field.as_str()), ("arenas/x.ron", "small.width"));
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
