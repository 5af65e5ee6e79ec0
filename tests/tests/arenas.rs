//! Promise: arenas are fair, every place in them can be reached, and nobody spawns into a solid; presets end by rule.

use std::sync::Arc;

use astro_shared::assets::{ARENAS, RULES};
use astro_shared::sim::arena::ground::Body;
use astro_shared::sim::arena::survey::symmetries;
use astro_shared::sim::arena::{Arena, ArenaText, LayoutText, Size};
use astro_shared::sim::rules::{Overrides, Ruleset, parse};
use astro_shared::sim::units::{POSITION_PER_UNIT, Tick};
use astro_tests::pilots::{Fleet, rules};

fn arenas() -> Vec<ArenaText> {
    ARENAS.iter().map(|(file, text)| parse(file, text).expect("a built-in arena")).collect()
}

/// The plain game in that arena.
fn in_arena(arena: &ArenaText) -> Arc<Ruleset> {
    rules("classic").with(&Overrides::default(), Some(arena)).map(Arc::new).expect("the plain game goes everywhere")
}

fn presets() -> impl Iterator<Item = &'static str> {
    RULES.iter().map(|(file, _)| file.trim_start_matches("rules/").trim_end_matches(".ron"))
}

/// Each spawn point of a layout with its arena's symmetries: every other one must be its image by one of them.
fn unlike_spawns(layout: &LayoutText, arena: &ArenaText) -> Vec<(usize, usize)> {
    let symmetries = symmetries(layout, arena.edge);
    let alike = |one: usize, other: usize| {
        symmetries.iter().any(|s| s.spawn(layout, arena.edge, layout.spawns[one]) == layout.spawns[other])
    };
    let count = layout.spawns.len();
    let pairs = (0..count).flat_map(|one| (0..count).map(move |other| (one, other)));
    pairs.filter(|(one, other)| !alike(*one, *other)).collect()
}

/// Broken by moving or turning any one spawn point, or anything that stands in one part of an arena only.
#[test]
fn all_spawn_points_of_a_layout_are_worth_the_same() {
    for mut arena in arenas() {
        for size in Size::ALL {
            assert_eq!(unlike_spawns(arena.layout(size), &arena), [], "{} {}", arena.name, size.name());
        }
        arena.large.spawns[6].x += 1;
        assert!(!unlike_spawns(&arena.large, &arena).is_empty());
    }
}

/// Broken by a symmetry of the document that is lost on the grid: half a turn takes what stands in the small arena, and
/// seat 0's point to seat 1's, exactly.
#[test]
fn a_duel_is_the_same_from_both_sides_on_the_grid() {
    for text in arenas() {
        let rules = in_arena(&text);
        let arena = rules.arena(2);
        let (one, other) = (arena.spawns[0], arena.spawns[1]);
        assert_eq!((one.x + other.x, one.y + other.y), (arena.width, arena.height), "{}", text.name);
        assert_eq!(one.angle.turned(2048), other.angle, "{}", text.name);
        // Across the middle, too: y becomes minus y.
        let mut mirrored = arena.spawns.iter().map(|spawn| {
            let across = (spawn.x, arena.height - spawn.y);
            arena
                .spawns
                .iter()
                .any(|s| (s.x, s.y) == across && s.angle == spawn.angle.turned(-2 * i32::from(spawn.angle.0)))
        });
        assert!(mirrored.all(|found| found), "{}: mirrored headings", text.name);
    }
}

/// Broken by an arena, a preset or an override that players are not told of.
#[test]
fn the_readme_names_what_players_may_ask_for() {
    let readme = std::fs::read_to_string(astro_tests::sources::workspace().join("README.md")).expect("README.md");
    let arenas = arenas().into_iter().map(|arena| arena.name);
    let names = presets().chain(Overrides::NAMES.iter().copied()).map(str::to_owned).chain(arenas);
    let missing: Vec<String> = names.filter(|name| !readme.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// What `keep_out` makes of a resting body of that radius.
fn kept_out(arena: &Arena, (x, y): (i32, i32), radius: i32, tick: Tick) -> (i32, i32) {
    let mut body = Body { x, y, vx: 0, vy: 0, radius, bounce_q8: 0 };
    arena.keep_out(&mut body, tick);
    (body.x, body.y)
}

/// Broken by a spawn point or pad so near to a solid that a ship there would be pushed, at any time of the gates.
#[test]
fn a_ship_at_a_spawn_point_or_pad_touches_nothing() {
    for text in arenas() {
        let rules = in_arena(&text);
        for seats in [4, 8] {
            let arena = rules.arena(seats);
            let spawns = arena.spawns.iter().map(|spawn| (spawn.x, spawn.y));
            for place in spawns.chain(arena.pads.iter().copied()) {
                for tick in (0..1200).step_by(30).map(Tick) {
                    // The largest hull that rules allow.
                    let radius = 60 * POSITION_PER_UNIT;
                    assert_eq!(kept_out(arena, place, radius, tick), place, "{} at {tick}", text.name);
                }
            }
        }
    }
}

/// Broken by an arena in which nothing happens: pilots cannot get at each other.
///
/// Also by a preset that cannot be played to its end, by 2, by 4 or by 8.
#[test]
fn every_preset_ends_by_itself_in_its_own_arena() {
    let seed = 4_000;
    println!("seeds from {seed} on");
    for (number, name) in presets().enumerate() {
        let rules = rules(name);
        for seats in [2, 4, 8].into_iter().filter(|seats| rules.mode.check_seats(*seats).is_ok()) {
            let mut fleet = Fleet::new();
            let key = fleet.open(seed + number as u64 * 10 + u64::from(seats), seats, &rules);
            let happened = fleet.play_out(key);
            let state = fleet.state(key);
            let kills: u32 = state.scores.iter().map(|score| u32::from(score.kills)).sum();
            println!("{name} by {seats}: {} ticks, {kills} kills", state.round.tick.0);
            assert!(kills > 0, "{name} by {seats}: nobody met anybody");
            assert!(!happened.is_empty());
            // Eight minutes, waiting and countdowns included.
            assert!(name != "standard" || state.round.tick.0 < 8 * 60 * 60, "standard by {seats} is too long");
        }
    }
}

/// Broken by an arena that only works by the rules of its preset.
#[test]
fn the_plain_game_can_be_played_in_every_arena() {
    for (number, text) in arenas().iter().enumerate() {
        let rules = in_arena(text);
        for seats in [2, 8] {
            let mut fleet = Fleet::new();
            let key = fleet.open(9_000 + number as u64 * 10 + u64::from(seats), seats, &rules);
            let mut kills = 0;
            for _ in 0..180 {
                fleet.play(60);
                let state = fleet.state(key);
                kills = state.scores.iter().map(|score| u32::from(score.kills)).sum();
                if kills > 0 {
                    break;
                }
            }
            assert!(kills > 0, "{} by {seats}: no kill in three minutes", text.name);
        }
    }
}
