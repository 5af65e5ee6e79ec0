//! The arenas and rules presets that are built into every binary.
//!
//! In: nothing. Out: file names and texts, and rulesets made of them.
//! *Invariant:* a text here has passed the same checks as a file from a folder (a test loads them all).
//! A server's `--assets` folder adds to these and replaces them by name.

use std::sync::Arc;

use crate::sim::rules::{self, RulesText, Ruleset};

macro_rules! built_in {
    ($folder:literal: $($name:literal),+ $(,)?) => {
        &[$((
            concat!($folder, "/", $name, ".ron"),
            include_str!(concat!("../../assets/", $folder, "/", $name, ".ron")),
        )),+]
    };
}

/// Built-in arenas: file name and text. Adding one: its file, and its name here.
pub const ARENAS: &[(&str, &str)] = built_in!("arenas": "open", "cage", "pillars", "belt", "well", "gates", "foundry");

/// Built-in rules presets: file name and text. Adding one: its file, and its name here.
pub const RULES: &[(&str, &str)] = built_in!(
    "rules": "standard", "sprint", "classic", "deathmatch", "teams", "king", "duel", "pinball", "rocks", "brawl",
);

/// A built-in ruleset; `None` when there is no preset of that name.
pub fn ruleset(name: &str) -> Option<Arc<Ruleset>> {
    let (file, text) = named(RULES, "rules", name)?;
    let rules: RulesText = rules::parse(file, text).expect("built-in rules are RON");
    let (arena_file, arena) = named(ARENAS, "arenas", &rules.arena).expect("built-in rules name a built-in arena");
    Some(Ruleset::parse(file, text, arena_file, arena).expect("built-in assets pass their own checks"))
}

/// A built-in arena's text; `None` when there is none of that name.
pub fn arena(name: &str) -> Option<&'static str> {
    named(ARENAS, "arenas", name).map(|(_, text)| text)
}

fn named(files: &[(&'static str, &'static str)], folder: &str, name: &str) -> Option<(&'static str, &'static str)> {
    let file = format!("{folder}/{name}.ron");
    files.iter().copied().find(|(known, _)| *known == file)
}

/// The standard rules, for samples and tests that need any.
pub fn sample_ruleset() -> Arc<Ruleset> {
    ruleset("standard").expect("there is a preset called standard")
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_built_in_preset_loads_under_its_own_name() {
        for (file, _) in super::RULES {
            let name = file.trim_start_matches("rules/").trim_end_matches(".ron");
            assert_eq!(super::ruleset(name).unwrap().name(), name);
        }
    }
}
