//! The command line of `cargo balance`, and the plans it stands for.
//!
//! Start reading at [`Options::plans`].

use std::path::PathBuf;
use std::sync::Arc;

use astro_shared::assets;
use astro_shared::sim::arena::ArenaText;
use astro_shared::sim::modes::Mode;
use astro_shared::sim::pilot::Skill;
use astro_shared::sim::rules::{self, RulesText, Ruleset, RulesetText};
use clap::Parser;

use crate::play::Plan;

/// Plays thousands of pilot matches and prints how they went.
///
/// Without options: every mode in every built-in arena that it can be played in. The same options give the same figures.
#[derive(Clone, Debug, Parser)]
#[command(name = "balance", version)]
pub struct Options {
    /// Only this mode (last_ship, deathmatch, teams, king, duel)
    #[arg(long)]
    pub mode: Option<String>,
    /// Only this arena: a built-in one by name, or a RON file
    #[arg(long)]
    pub arena: Option<String>,
    /// A built-in rules preset by name, or a RON file; without it each mode's own preset
    #[arg(long)]
    pub rules: Option<String>,
    /// Seats of each match [default: 2 in duel, else 4]
    #[arg(long)]
    pub seats: Option<u8>,
    /// Matches per mode and arena
    #[arg(long, default_value_t = 1000)]
    pub matches: u32,
    /// Decides every match
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Skill of all pilots, or a list of skills that take turns over the seats (rookie, regular, veteran, ace)
    #[arg(long, value_delimiter = ',', default_value = "regular")]
    pub skill: Vec<String>,
    /// Folder for a heat map of kills per mode and arena, as SVG
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Threads that play [default: all cores]
    #[arg(long)]
    pub threads: Option<usize>,
}

impl Options {
    /// What these options ask for, one plan per mode and arena.
    ///
    /// # Errors
    /// A sentence that names the option at fault and what it could be.
    pub fn plans(&self) -> Result<Vec<Plan>, String> {
        let skills = self.skill.iter().map(|name| {
            let known = || known(Skill::ALL.iter().map(|skill| skill.name()));
            Skill::named(name).ok_or_else(|| format!("--skill: there is no `{name}`; there are {}", known()))
        });
        let skills: Vec<Skill> = skills.collect::<Result<_, _>>()?;
        if self.matches == 0 {
            return Err("--matches: must be at least 1".into());
        }
        let mut plans = Vec::new();
        let modes = self.modes()?;
        for mode in &modes {
            for arena in self.arenas()? {
                match self.plan(*mode, &arena, &skills) {
                    Ok(plan) => plans.push(plan),
                    // Asked for by name, it must work; of all there are, those that do not go together are left out.
                    Err(reason) if modes.len() == 1 && self.arena.is_some() => return Err(reason),
                    Err(_) => {}
                }
            }
        }
        if plans.is_empty() { Err("no mode and arena go together under these options".into()) } else { Ok(plans) }
    }

    fn modes(&self) -> Result<Vec<Mode>, String> {
        match (&self.mode, &self.rules) {
            (Some(name), _) => {
                let known = || known(Mode::ALL.iter().map(|mode| mode.name()));
                let mode =
                    Mode::named(name).ok_or_else(|| format!("--mode: there is no `{name}`; there are {}", known()))?;
                Ok(vec![mode])
            }
            (None, Some(name)) => Ok(vec![rules_text(name)?.mode]),
            (None, None) => Ok(Mode::ALL.to_vec()),
        }
    }

    fn arenas(&self) -> Result<Vec<String>, String> {
        match &self.arena {
            Some(name) => Ok(vec![name.clone()]),
            None => Ok(assets::ARENAS.iter().map(|(file, _)| stem(file).to_owned()).collect()),
        }
    }

    fn plan(&self, mode: Mode, arena: &str, skills: &[Skill]) -> Result<Plan, String> {
        let seats = self.seats.unwrap_or(if mode == Mode::Duel { 2 } else { 4 });
        if !(2..=8).contains(&seats) {
            return Err(format!("--seats: is {seats}, must be between 2 and 8"));
        }
        mode.check_seats(seats).map_err(|reason| format!("--seats: {reason}"))?;
        let mut text = match &self.rules {
            Some(name) => rules_text(name)?,
            None => preset_of(mode)?,
        };
        if text.mode != mode {
            text.mode = mode;
            if mode.returns() {
                text.sudden_death.after_ms = 0;
            }
        }
        let arena = arena_text(arena)?;
        text.arena = arena.name.clone();
        let name = text.name.clone();
        let rules = Ruleset::new(RulesetText { rules: text, arena: arena.clone() }, &name, "--arena")
            .map_err(|error| format!("{} cannot be played: {error}", mode.name()))?;
        if mode.counts_zone() && rules.arena(seats).zone.is_none() {
            return Err(format!("--arena: `{}` has no zone, which {} is about", rules.arena_name(), mode.name()));
        }
        let (rules, skills) = (Arc::new(rules), skills.to_vec());
        Ok(Plan { rules, arena, seats, skills, matches: self.matches, seed: self.seed })
    }
}

/// The first built-in preset of a mode; of a mode that has none, `standard`.
fn preset_of(mode: Mode) -> Result<RulesText, String> {
    let standard = rules_text("standard")?;
    if standard.mode == mode {
        return Ok(standard);
    }
    let presets = assets::RULES.iter().filter_map(|(file, _)| rules_text(stem(file)).ok());
    Ok(presets.into_iter().find(|rules| rules.mode == mode).unwrap_or(standard))
}

fn rules_text(name: &str) -> Result<RulesText, String> {
    let built_in = assets::RULES.iter().find(|(file, _)| stem(file) == name).map(|(_, text)| (*text).to_owned());
    let text = read("--rules", name, built_in, assets::RULES.iter().map(|(file, _)| stem(file)))?;
    rules::parse(name, &text).map_err(|error| format!("--rules: {error}"))
}

fn arena_text(name: &str) -> Result<ArenaText, String> {
    let built_in = assets::arena(name).map(str::to_owned);
    let text = read("--arena", name, built_in, assets::ARENAS.iter().map(|(file, _)| stem(file)))?;
    rules::parse(name, &text).map_err(|error| format!("--arena: {error}"))
}

/// The text of something built in, or of a file.
fn read<'a>(
    option: &str,
    name: &str,
    built_in: Option<String>,
    names: impl Iterator<Item = &'a str>,
) -> Result<String, String> {
    match built_in {
        Some(text) => Ok(text),
        None if name.ends_with(".ron") => {
            std::fs::read_to_string(name).map_err(|error| format!("{option}: {name}: {error}"))
        }
        None => Err(format!("{option}: there is no `{name}`; there are {}, or name a .ron file", known(names))),
    }
}

fn stem(file: &str) -> &str {
    file.rsplit('/').next().unwrap_or(file).trim_end_matches(".ron")
}

fn known<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}
