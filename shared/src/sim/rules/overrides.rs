//! What a single match may change about its preset, by name and within bounds.
//!
//! In: a preset and what somebody wants otherwise. Out: a ruleset of its own, which keeps the preset's name and has another
//! hash, or the name of the setting that cannot be and why.
//! *Invariant:* the result has passed every check of rules and arena; replays hold it whole, so nobody needs the preset.
//! *Invariant:* what is set as it was anyway changes nothing, the hash neither: such matches are the preset's.
//! Adding an override: its lines in [`Overrides`]. Start reading at [`Ruleset::with`].

use serde::{Deserialize, Serialize};

use super::bounds::Bounds;
use super::text::RulesText;
use super::{AssetError, Ruleset};
use crate::sim::arena::ArenaText;
use crate::sim::items::Item;

/// Where errors say that a value stands.
const SOURCE: &str = "overrides";
/// A dash where the preset has none, in units/s.
const DASH_SPEED: f32 = 560.0;

macro_rules! overrides {
    ($( $(#[$attribute:meta])* $name:ident: $kind:ty $(, $low:literal to $high:literal)?,
        |$rules:ident, $value:ident| $change:expr; )*) => {
        /// Every override there is; what is absent stays as in the preset.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        pub struct Overrides { $(
            $(#[$attribute])*
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub $name: Option<$kind>,
        )* }

        impl Overrides {
            /// Names, in the order in which they are applied.
            pub const NAMES: &'static [&'static str] = &[ $( stringify!($name), )* ];

            /// # Errors
            /// The first value out of bounds.
            fn check(&self) -> Result<(), AssetError> {
                let mut bounds = Bounds::of(SOURCE);
                $($( if let Some(value) = self.$name { bounds.within(stringify!($name), value, $low, $high); } )?)*
                bounds.end()
            }

            fn apply(&self, rules: &mut RulesText) {
                $( if let Some($value) = &self.$name { let $rules = &mut *rules; $change; } )*
            }
        }
    };
}

overrides! {
    /// Thrust and top speed of ships, percent of the preset's.
    speed_percent: u16, 50 to 150, |rules, value| {
        rules.ship.thrust *= f32::from(*value) / 100.0;
        rules.ship.top_speed *= f32::from(*value) / 100.0;
    };
    /// Speed of bullets, percent of the preset's.
    bullet_speed_percent: u16, 50 to 150, |rules, value| rules.gun.bullet_speed *= f32::from(*value) / 100.0;
    /// Rounds in a magazine.
    ammunition: u8, 1 to 7, |rules, value| rules.gun.magazine = *value;
    /// From one round of the magazine to the next.
    reload_ms: u32, 200 to 4000, |rules, value| rules.gun.reload_ms = *value;
    /// Damage of a bullet; a hull of the presets has 100.
    damage: u8, 1 to 127, |rules, value| rules.gun.damage = *value;
    /// Ships each seat has in a round.
    lives: u8, 1 to 9, |rules, value| rules.ship.lives = *value;
    /// Rounds that win the match.
    round_target: u8, 1 to 9, |rules, value| rules.rounds_to_win = *value;
    /// What wins a round of a mode that counts: kills in `deathmatch`, seconds in the zone in `king`.
    score_target: u16, 1 to 100, |rules, value| rules.score_target = *value;
    /// Longest round.
    round_seconds: u32, 10 to 600, |rules, value| rules.round_ms_max = *value * 1000;
    /// After so much of a round the arena closes in; 0: never.
    sudden_death_seconds: u32, 0 to 600, |rules, value| rules.sudden_death.after_ms = *value * 1000;
    /// Power-ups that may appear; named twice, one appears twice as often. Empty: none.
    items: Vec<Item>, |rules, value| rules.items.allowed.clone_from(value);
    /// From one power-up on a pad to the next.
    item_seconds: u32, 2 to 120, |rules, value| rules.items.every_ms = *value * 1000;
    /// Whether shots hurt the own side.
    friendly_fire: bool, |rules, value| rules.friendly_fire = *value;
    /// Whether a destroyed ship leaves a pod.
    pods: bool, |rules, value| rules.pod.enabled = *value;
    /// Whether ships can dash.
    dash: bool, |rules, value| set_dash(rules, *value);
}

fn set_dash(rules: &mut RulesText, on: bool) {
    rules.dash.speed = match (on, rules.dash.speed) {
        (false, _) => 0.0,
        (true, speed) if speed > 0.0 => speed,
        (true, _) => DASH_SPEED,
    };
}

impl Overrides {
    pub fn is_empty(&self) -> bool {
        *self == Overrides::default()
    }
}

impl Ruleset {
    /// This ruleset in another arena, or with overrides, or both.
    ///
    /// # Errors
    /// The override out of bounds; or the rule or place that is at fault when values go together as they must not.
    pub fn with(&self, overrides: &Overrides, arena: Option<&ArenaText>) -> Result<Ruleset, AssetError> {
        overrides.check()?;
        let mut text = self.text.clone();
        overrides.apply(&mut text.rules);
        if let Some(arena) = arena {
            text.arena.clone_from(arena);
            text.rules.arena.clone_from(&arena.name);
        }
        Ruleset::new(text, SOURCE, SOURCE)
    }
}

#[cfg(test)]
mod tests;
