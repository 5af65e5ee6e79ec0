//! Promise: pilots are worth fighting: each skill beats the one below, the best dodges, and matches end by rule.
//!
//! Seeds are fixed and figures printed (`--nocapture`). Samples are small, so the bars are set with a margin for chance;
//! `cargo balance` plays the full numbers.

use std::sync::Arc;

use astro_balance::play::{Plan, play};
use astro_balance::tally::Tally;
use astro_shared::assets;
use astro_shared::sim::event::Event;
use astro_shared::sim::fields::Audience;
use astro_shared::sim::input::Input;
use astro_shared::sim::pilot::{self, Skill};
use astro_shared::sim::rng::{Purpose, random};
use astro_shared::sim::round::Phase;
use astro_shared::sim::rules::{self, Ruleset, RulesetText};
use astro_shared::sim::state::{Inputs, State};
use astro_shared::sim::units::{Angle, SEATS_MAX, Seat, Tick, along};
use astro_shared::sim::{self, SimPlugin};

/// One arena that wraps and one with walls.
const ARENAS: [&str; 2] = ["open", "cage"];

fn ruleset(preset: &str, arena: &str, edit: impl FnOnce(&mut RulesetText)) -> Arc<Ruleset> {
    let preset = assets::ruleset(preset).expect("a preset of that name");
    let mut text: RulesetText = rules::parse("preset", &preset.to_text()).expect("a ruleset reads its own text");
    text.arena = rules::parse("arena", assets::arena(arena).expect("an arena of that name")).expect("an arena");
    edit(&mut text);
    Arc::new(Ruleset::new(text, "edited rules", "edited arena").expect("legal rules"))
}

fn played(rules: Arc<Ruleset>, seats: u8, skills: &[Skill], matches: u32) -> Tally {
    let text: RulesetText = rules::parse("ruleset", &rules.to_text()).expect("a ruleset reads its own text");
    play(&Plan { rules, arena: text.arena, seats, skills: skills.to_vec(), matches, seed: 4 }, 2, &|_| {})
}

/// Broken by limits that do not matter, and by any change that makes a lower skill as good as the next.
#[test]
fn each_skill_beats_the_one_below_in_three_of_four_duels() {
    const MATCHES: u32 = 200;
    for name in ARENAS {
        for pair in Skill::ALL.windows(2) {
            let tally = played(ruleset("duel", name, |_| {}), 2, pair, MATCHES);
            let (wins, losses) = (tally.skill_wins[1], tally.skill_wins[0]);
            println!("{name}: {} beats {}: {wins} to {losses} of {MATCHES}", pair[1].name(), pair[0].name());
            assert!(wins * 4 >= MATCHES * 3, "{name}: {} wins {wins} of {MATCHES}", pair[1].name());
        }
    }
}

/// Broken by pilots that avoid each other, by endless draws, and by rounds that take too long.
#[test]
fn standard_matches_of_four_regulars_end_by_rule_within_eight_minutes() {
    const MATCHES: u32 = 300;
    let tally = played(assets::ruleset("standard").unwrap(), 4, &[Skill::Regular], MATCHES);
    println!("{:.1} % by rule, 99 % within {} s", 100.0 * tally.ended_by_rule(), tally.length_seconds(0.99) + 5);
    assert!(tally.ended_by_rule() >= 0.99, "{:?}", tally.endings);
    assert!(tally.length_seconds(0.99) < 480);
}

/// Broken by a pilot that ignores bullets.
#[test]
fn the_best_dodges_half_of_the_shots_that_would_have_hit() {
    for name in ARENAS {
        for skill in Skill::ALL {
            let (would_hit, dodged) = dodges(name, skill, 600);
            let share = 100.0 * f64::from(dodged) / f64::from(would_hit);
            println!("{name}: {} dodges {dodged} of {would_hit}: {share:.0} %", skill.name());
            assert!(would_hit > 200, "the shooter hits a ship that flies straight: {would_hit}");
            assert!(skill != Skill::Ace || dodged * 100 >= would_hit * 50, "{name}: {share:.0} %");
        }
    }
}

/// Of so many shots aimed at a ship that flies straight: those that hit it, and those of them that `skill` dodges.
fn dodges(arena: &str, skill: Skill, shots: u32) -> (u32, u32) {
    // Nobody dies of a hit, so nothing ends before the shot is over.
    let rules = ruleset("duel", arena, |text| text.rules.gun.damage = 1);
    let (mut would_hit, mut dodged) = (0, 0);
    for shot in 0..shots {
        if is_hit(&rules, shot, None) {
            would_hit += 1;
            dodged += u32::from(!is_hit(&rules, shot, Some(skill)));
        }
    }
    (would_hit, dodged)
}

/// Whether scripted shot number `shot` hits a ship flown by `skill`, or by nobody: then it holds course and speed.
fn is_hit(rules: &Arc<Ruleset>, shot: u32, skill: Option<Skill>) -> bool {
    let (mut world, draw) = (SimPlugin::world(), |what: u32, below: u32| {
        (random(u64::from(shot), Purpose::Spawn, what, 0) % u64::from(below)) as u32
    });
    let key = sim::open(&mut world, u64::from(shot), 2, rules.clone());
    let mut state = world.get_mut::<State>(key.entity()).unwrap();
    state.round.tick = Tick(1000 + draw(0, 10_000));
    (state.round.phase, state.round.phase_ends) = (Phase::Live, state.round.tick.plus(3000));
    set_up(rules, &mut state, &draw);
    let end = state.round.tick.plus(u32::from(rules.bullet_life_ticks) + 1);
    let mut inputs = Inputs { seats: [Input::NEUTRAL; SEATS_MAX], start: false };
    let mut fired = false;
    loop {
        let now = sim::get(&world, key).unwrap();
        let next = now.round.tick.plus(1);
        inputs.seats[0] = Input::new(0, false, !fired);
        match skill {
            Some(skill) if pilot::thinks(Seat(1), skill, next) => {
                inputs.seats[1] = pilot::think(&now.view(Audience::Seat(Seat(1))), rules, Seat(1), skill, next);
            }
            Some(_) => {}
            None => inputs.seats[1] = Input::new(0, true, false),
        }
        sim::set_inputs(&mut world, key, inputs);
        sim::tick(&mut world);
        let now = sim::get(&world, key).unwrap();
        let mine = |event: &Event| matches!(event, Event::ShotFired { bullet } if bullet.owner() == Seat(0));
        fired |= now.happened().iter().any(mine);
        if now.happened().iter().any(|event| matches!(event, Event::ShipHit { victim: Seat(1), .. })) {
            return true;
        }
        if now.round.tick >= end {
            return false;
        }
    }
}

/// The target somewhere in the arena at 60 to 100 % of its top speed, and a shooter 150 to 400 units away that leads it.
fn set_up(rules: &Ruleset, state: &mut State, draw: &dyn Fn(u32, u32) -> u32) {
    let arena = rules.arena(2);
    let heading = Angle(draw(1, 4096) as u16);
    let speed = rules.top_speed / 100 * (60 + draw(2, 41) as i32);
    let (x, y) = (arena.width / 2 + (draw(3, 200) as i32 - 100) * 256, arena.height / 4 + (draw(4, 100) as i32) * 256);
    let target = &mut state.ships[1];
    (target.x, target.y, target.angle) = (x, y, heading);
    (target.vx, target.vy) = (along(speed, heading.cos()), along(speed, heading.sin()));
    let (distance, from) = ((150 + draw(5, 250) as i32) * 256, Angle(draw(6, 4096) as u16));
    let place = arena.placed(x + along(distance, from.cos()), y + along(distance, from.sin()));
    // Where they meet: it flies on at its speed, gaining what thrust gives, up to the top.
    let mut flight = distance / (rules.bullet_speed >> 8);
    let way = arena.way(place, (x, y));
    let mut lead = way;
    for _ in 0..4 {
        let (mut velocity, mut flown) = (speed, 0);
        for _ in 0..flight {
            velocity = (velocity + rules.thrust).min(rules.top_speed);
            flown += velocity >> 8;
        }
        lead = (way.0 + along(flown, heading.cos()), way.1 + along(flown, heading.sin()));
        let length = (i64::from(lead.0).pow(2) + i64::from(lead.1).pow(2)).isqrt() as i32;
        flight = (length - rules.radius) / (rules.bullet_speed >> 8);
    }
    let shooter = &mut state.ships[0];
    (shooter.x, shooter.y, shooter.angle) = (place.0, place.1, Angle::of(lead.0, lead.1));
}
