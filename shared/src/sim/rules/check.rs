//! What a rules document must keep to, field by field.

use super::bounds::Bounds;
use super::text::{RulesText, RulesetText};
use super::{AssetError, MATCH_MS_MAX};
use crate::sim::arena::Size;
use crate::sim::items::check_items;
use crate::sim::units::SEATS_MAX;

/// # Errors
/// The first field out of bounds.
pub(super) fn check_rules(rules: &RulesText, file: &str) -> Result<(), AssetError> {
    let mut bounds = Bounds::of(file);
    bounds.name("name", &rules.name);
    check_match(&mut bounds, rules);
    check_ship(&mut bounds, rules);
    check_items(&mut bounds, &rules.items);
    if let Err(reason) = rules.mode.check(rules) {
        bounds.refuse("mode", reason);
    }
    bounds.end()
}

/// What rules and arena must have in common.
///
/// # Errors
/// The rule that the arena does not allow.
pub(super) fn check_together(text: &RulesetText, file: &str) -> Result<(), AssetError> {
    let mut bounds = Bounds::of(file);
    let (rules, arena) = (&text.rules, &text.arena);
    for size in Size::ALL {
        if rules.mode.counts_zone() && arena.layout(size).zone.is_none() {
            let (mode, name, size) = (rules.mode.name(), &arena.name, size.name());
            bounds.refuse("arena", format!("is {name}, whose `{size}` has no `zone`, which {mode} is about"));
        }
    }
    bounds.end()
}

fn check_match(bounds: &mut Bounds<'_>, rules: &RulesText) {
    bounds.within("rounds_to_win", rules.rounds_to_win, 1, 15);
    bounds.within("countdown_ms", rules.countdown_ms, 50, 10_000);
    bounds.within("round_ms_max", rules.round_ms_max, 500, 600_000);
    bounds.within("round_over_ms", rules.round_over_ms, 50, 10_000);
    bounds.within("play_ms_max", rules.play_ms_max, 500, 3_600_000);
    bounds.within("draws_in_a_row_max", rules.draws_in_a_row_max, 1, 15);
    bounds.within("score_target", rules.score_target, 1, 200);
    bounds.within("sudden_death.after_ms", rules.sudden_death.after_ms, 0, 600_000);
    bounds.within("sudden_death.closing_ms", rules.sudden_death.closing_ms, 1000, 120_000);
    bounds.within("sudden_death.damage", rules.sudden_death.damage, 1, 127);
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
}

fn check_ship(bounds: &mut Bounds<'_>, rules: &RulesText) {
    bounds.within("ship.radius", rules.ship.radius, 4.0, 60.0);
    bounds.within("ship.hull", rules.ship.hull, 1, 127);
    bounds.within("ship.turn_degrees_per_s", rules.ship.turn_degrees_per_s, 90.0, 1440.0);
    bounds.within("ship.thrust", rules.ship.thrust, 10.0, 2000.0);
    bounds.within("ship.top_speed", rules.ship.top_speed, 20.0, 480.0);
    bounds.within("ship.drag_per_s", rules.ship.drag_per_s, 0.0, 10.0);
    bounds.within("ship.lives", rules.ship.lives, 1, 15);
    bounds.within("ship.return_ms", rules.ship.return_ms, 100, 10_000);
    bounds.within("ship.guard_ms", rules.ship.guard_ms, 0, 4000);
    bounds.within("gun.magazine", rules.gun.magazine, 1, 7);
    bounds.within("gun.reload_ms", rules.gun.reload_ms, 50, 4000);
    bounds.within("gun.cooldown_ms", rules.gun.cooldown_ms, 17, 1000);
    bounds.within("gun.bullet_speed", rules.gun.bullet_speed, 60.0, 1800.0);
    bounds.within("gun.bullet_life_ms", rules.gun.bullet_life_ms, 100, 4000);
    bounds.within("gun.damage", rules.gun.damage, 1, 127);
    bounds.within("gun.recoil", rules.gun.recoil, 0.0, 120.0);
    bounds.within("dash.speed", rules.dash.speed, 0.0, 900.0);
    bounds.within("dash.ms", rules.dash.ms, 17, 500);
    bounds.within("dash.cooldown_ms", rules.dash.cooldown_ms, 100, 15_000);
    bounds.within("bump.speed", rules.bump.speed, 10.0, 2000.0);
    bounds.within("bump.damage", rules.bump.damage, 0, 127);
    bounds.within("pod.ms", rules.pod.ms, 100, 15_000);
    bounds.within("pod.radius", rules.pod.radius, 3.0, 30.0);
    bounds.within("pod.thrust", rules.pod.thrust, 0.0, 2000.0);
    bounds.within("pod.top_speed", rules.pod.top_speed, 1.0, 480.0);
    bounds.within("asteroid.speed", rules.asteroid.speed, 0.0, 200.0);
    bounds.within("asteroid.hits", rules.asteroid.hits, 1, 7);
    bounds.within("asteroid.damage", rules.asteroid.damage, 0, 127);
}
