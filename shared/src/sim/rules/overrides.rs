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
mod tests {
    use super::*;
    use crate::assets;
    use crate::sim::rules::parse;

    fn preset(name: &str) -> std::sync::Arc<Ruleset> {
        assets::ruleset(name).unwrap()
    }

    fn refused(overrides: &Overrides) -> String {
        preset("standard").with(overrides, None).expect_err("should be refused").to_string()
    }

    /// Broken by an override that is read and then forgotten, or applied to another rule.
    #[test]
    fn every_override_changes_the_rule_that_it_names() {
        type See = fn(&Ruleset) -> f64;
        let wishes: [(&str, See, f64); 14] = [
            (r"(speed_percent: Some(50))", |r| r.top_speed.into(), 174_763.0),
            (r"(speed_percent: Some(50))", |r| r.thrust.into(), 3823.0),
            (r"(bullet_speed_percent: Some(100))", |r| r.bullet_speed.into(), 699_051.0),
            (r"(ammunition: Some(1))", |r| r.magazine.into(), 1.0),
            (r"(reload_ms: Some(2000))", |r| r.reload_ticks.into(), 120.0),
            (r"(damage: Some(7))", |r| r.damage.into(), 7.0),
            (r"(lives: Some(3))", |r| r.lives.into(), 3.0),
            (r"(round_target: Some(2))", |r| r.rounds_to_win.into(), 2.0),
            (r"(score_target: Some(25))", |r| r.score_target.into(), 25.0),
            (r"(round_seconds: Some(30))", |r| r.round_ticks_max.into(), 1800.0),
            (r"(sudden_death_seconds: Some(20))", |r| r.sudden_death.after_ticks.into(), 1200.0),
            (r"(items: Some([laser]), item_seconds: Some(3))", |r| r.items.every_ticks.into(), 180.0),
            (
                r"(friendly_fire: Some(true), pods: Some(false))",
                |r| (u8::from(r.friendly_fire) * 2 + u8::from(r.pod.enabled)).into(),
                2.0,
            ),
            (r"(dash: Some(false))", |r| r.dash.speed.into(), 0.0),
        ];
        for (text, see, expected) in wishes {
            let overrides: Overrides = parse("test", text).unwrap();
            let changed = preset("standard").with(&overrides, None).unwrap();
            assert_eq!(see(&changed), expected, "{text}");
            assert_eq!(changed.name(), "standard");
            let same = see(&preset("standard")) == expected;
            assert_eq!(changed.hash() == preset("standard").hash(), same, "{text}");
        }
        let dash: Overrides = parse("test", "(dash: Some(true))").unwrap();
        assert!(preset("classic").with(&dash, None).unwrap().dash.speed > 0);
        assert_eq!(Overrides::NAMES.len(), 15);
    }

    /// Broken by bounds that are missing or name another setting, and by values that only together are too much.
    #[test]
    fn what_is_out_of_bounds_is_refused_by_its_name() {
        let wish = |text: &str| parse::<Overrides>("test", text).unwrap();
        for (text, name) in [
            ("(speed_percent: Some(49))", "speed_percent"),
            ("(speed_percent: Some(151))", "speed_percent"),
            ("(bullet_speed_percent: Some(10))", "bullet_speed_percent"),
            ("(ammunition: Some(0))", "ammunition"),
            ("(ammunition: Some(8))", "ammunition"),
            ("(reload_ms: Some(199))", "reload_ms"),
            ("(damage: Some(0))", "damage"),
            ("(lives: Some(10))", "lives"),
            ("(round_target: Some(0))", "round_target"),
            ("(score_target: Some(101))", "score_target"),
            ("(round_seconds: Some(601))", "round_seconds"),
            ("(sudden_death_seconds: Some(601))", "sudden_death_seconds"),
            ("(item_seconds: Some(1))", "item_seconds"),
            ("(items: Some([None]))", "items.allowed"),
        ] {
            let text = text.replace("[None]", "[none]");
            let error = refused(&wish(&text));
            assert!(error.starts_with(&format!("overrides: field `{name}`: ")), "{text}: {error}");
        }
        // Shots of pinball live long.
        let together = preset("pinball").with(&wish("(ammunition: Some(7))"), None).unwrap_err().to_string();
        assert!(together.starts_with("overrides: field `gun`: one ship could have 10 bullets"), "{together}");
        let unknown = parse::<Overrides>("test", "(gravity: Some(3))").expect_err("there is no such override");
        assert_eq!(unknown.field, "gravity");
        let mut flat: ArenaText = parse("open", assets::arena("open").unwrap()).unwrap();
        flat.large.zone = None;
        let king = preset("king").with(&Overrides::default(), Some(&flat)).unwrap_err().to_string();
        assert_eq!(king, "overrides: field `arena`: is open, whose `large` has no `zone`, which king is about");
        let deathmatch = preset("deathmatch").with(&wish("(sudden_death_seconds: Some(30))"), None).unwrap_err();
        assert_eq!(deathmatch.field, "mode");
    }

    /// Broken by a result that a replay could not hold: its text must make the same rules again.
    #[test]
    fn rules_with_overrides_survive_their_own_text_and_keep_the_presets_hash_when_nothing_changed() {
        let standard = preset("standard");
        assert_eq!(standard.with(&Overrides::default(), None).unwrap(), *standard);
        let lives: Overrides = parse("test", "(lives: Some(1), ammunition: Some(3))").unwrap();
        assert_eq!(standard.with(&lives, None).unwrap().hash(), standard.hash());
        let arena: ArenaText = parse("cage", assets::arena("cage").unwrap()).unwrap();
        let odd: Overrides = parse("test", "(speed_percent: Some(137), items: Some([mine, mine]))").unwrap();
        let changed = standard.with(&odd, Some(&arena)).unwrap();
        assert_eq!((changed.name(), changed.arena_name()), ("standard", "cage"));
        assert_eq!(*Ruleset::from_text("replay", &changed.to_text()).unwrap(), changed);
    }
}
