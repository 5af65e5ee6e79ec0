//! Rules as they are written. Units are in the field names; where there is none, speeds are units/s and lengths units.
//!
//! What a file leaves out is as in these defaults, which turn every rule off that can be off: a file that knows nothing of
//! dashes is played without them. The canonical text names everything.

use serde::{Deserialize, Serialize};

use crate::sim::arena::ArenaText;
use crate::sim::items::ItemsText;
use crate::sim::modes::Mode;

/// A rules preset.
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
    /// What wins a round of a mode that counts: kills in `deathmatch`, seconds in the zone in `king`.
    #[serde(default = "score_target")]
    pub score_target: u16,
    /// Whether shots hurt the own side.
    #[serde(default)]
    pub friendly_fire: bool,
    pub ship: ShipText,
    pub gun: GunText,
    #[serde(default)]
    pub dash: DashText,
    #[serde(default)]
    pub bump: BumpText,
    #[serde(default)]
    pub pod: PodText,
    #[serde(default)]
    pub asteroid: AsteroidText,
    #[serde(default)]
    pub sudden_death: SuddenDeathText,
    #[serde(default)]
    pub items: ItemsText,
}

fn score_target() -> u16 {
    10
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
    /// Ships each seat has in a round, the first included; for modes in which one comes back, without end.
    #[serde(default = "lives")]
    pub lives: u8,
    /// From a ship's end to the next one, in modes in which one comes back.
    #[serde(default = "return_ms")]
    pub return_ms: u32,
    /// How long nothing hurts a ship that came back.
    #[serde(default = "guard_ms")]
    pub guard_ms: u32,
}

fn lives() -> u8 {
    1
}

fn return_ms() -> u32 {
    2000
}

fn guard_ms() -> u32 {
    1000
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

/// A short burst of speed straight ahead.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DashText {
    /// Speed while it lasts; 0: there is no dash.
    pub speed: f32,
    pub ms: u32,
    /// From one dash's begin to the next.
    pub cooldown_ms: u32,
}

impl Default for DashText {
    fn default() -> Self {
        DashText { speed: 0.0, ms: 150, cooldown_ms: 2500 }
    }
}

/// What hulls do to each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BumpText {
    /// Speed towards each other from which on it hurts.
    pub speed: f32,
    /// 0: it never hurts.
    pub damage: u8,
}

impl Default for BumpText {
    fn default() -> Self {
        BumpText { speed: 420.0, damage: 0 }
    }
}

/// What is left of a ship for a while.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PodText {
    pub enabled: bool,
    /// After this long it is a ship again.
    pub ms: u32,
    pub radius: f32,
    pub thrust: f32,
    pub top_speed: f32,
}

impl Default for PodText {
    fn default() -> Self {
        PodText { enabled: false, ms: 5000, radius: 8.0, thrust: 160.0, top_speed: 110.0 }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AsteroidText {
    /// Fastest drift at the start of a round.
    pub speed: f32,
    /// Shots that break one, of any size.
    pub hits: u8,
    /// What it does to a ship that it meets faster than `bump.speed`.
    pub damage: u8,
}

impl Default for AsteroidText {
    fn default() -> Self {
        AsteroidText { speed: 60.0, hits: 2, damage: 25 }
    }
}

/// A round that runs long: the arena closes in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SuddenDeathText {
    /// After this much of a round; 0: never.
    pub after_ms: u32,
    /// How long it takes to close to a fifth of the arena.
    pub closing_ms: u32,
    /// What a ship outside bears per half second.
    pub damage: u8,
}

impl Default for SuddenDeathText {
    fn default() -> Self {
        SuddenDeathText { after_ms: 0, closing_ms: 15_000, damage: 10 }
    }
}

/// The two documents of a ruleset as one: what the HTTP side serves by hash and replays contain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RulesetText {
    pub rules: RulesText,
    pub arena: ArenaText,
}
