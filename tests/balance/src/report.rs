//! A tally in words and figures.

use std::fmt::Write;

use astro_shared::sim::event::Weapon;
use astro_shared::sim::units::TICKS_PER_SECOND;

use crate::play::Plan;
use crate::story::Ending;
use crate::tally::{Share, Tally};

/// How far from equal a seat's or spawn point's share of wins may be.
pub const FAIR_WITHIN: f64 = 0.03;

/// Mode, arena and who flew.
pub fn title(plan: &Plan) -> String {
    let skills: Vec<_> = plan.skills.iter().map(|skill| skill.name()).collect();
    format!(
        "{} in {}, rules {}, {} seats, {}",
        plan.rules.mode.name(),
        plan.rules.arena_name(),
        plan.rules.name(),
        plan.seats,
        skills.join(" and ")
    )
}

/// Everything worth knowing of what was played.
pub fn text(plan: &Plan, tally: &Tally) -> String {
    let mut out = format!("## {}\n\n", title(plan));
    let matches = f64::from(tally.matches.max(1));
    let percent = |part: u32, whole: u32| 100.0 * f64::from(part) / f64::from(whole.max(1));
    let seconds = |ticks: u64| ticks as f64 / f64::from(TICKS_PER_SECOND) / matches;
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<18} {value}");
    };
    line("matches", format!("{}, seed {}", tally.matches, plan.seed));
    line(
        "length",
        format!(
            "mean {:.0} s ({:.0} s of it live), half within {} s, 99 % within {} s",
            seconds(tally.ticks),
            seconds(tally.live_ticks),
            tally.length_seconds(0.5) + 5,
            tally.length_seconds(0.99) + 5
        ),
    );
    line(
        "ended by",
        format!(
            "rounds {:.1} %, draws in a row {:.1} %, time {:.1} %",
            percent(tally.endings[Ending::Rounds as usize], tally.matches),
            percent(tally.endings[Ending::Draws as usize], tally.matches),
            percent(tally.endings[Ending::Time as usize], tally.matches)
        ),
    );
    line(
        "draws",
        format!(
            "{:.1} % of matches, {:.1} % of rounds",
            percent(tally.drawn_matches, tally.matches),
            percent(tally.drawn_rounds, tally.rounds)
        ),
    );
    line("kills per minute", format!("{:.1}", tally.kills_per_minute()));
    line("ships lost to", weapons(tally));
    line("shots that hit", format!("{:.1} %", 100.0 * tally.hits as f64 / tally.shots.max(1) as f64));
    line(
        "per match",
        format!(
            "{:.1} pick-ups, {:.1} pods lost, {:.1} rescues",
            f64::from(tally.items_taken) / matches,
            f64::from(tally.pods_lost) / matches,
            f64::from(tally.rescues) / matches
        ),
    );
    let chance = 100.0 * tally.bled_by_chance / f64::from(tally.bled.max(1));
    line(
        "first blood wins",
        format!("{:.1} % of rounds (by chance {chance:.1} %)", percent(tally.bled_first_and_won, tally.bled)),
    );
    let seats = usize::from(plan.seats);
    line("seats, by rounds", shares(&tally.seat_rounds[..seats]));
    line("seats, by matches", shares(&tally.seat_matches[..seats]));
    line("spawn points", shares(&tally.spawns[..seats]));
    if plan.skills.len() > 1 {
        let wins = plan.skills.iter().zip(&tally.skill_wins);
        let wins: Vec<_> =
            wins.map(|(skill, wins)| format!("{} {:.1} %", skill.name(), percent(*wins, tally.matches))).collect();
        line("match wins", wins.join(", "));
    }
    out
}

fn weapons(tally: &Tally) -> String {
    let all: u32 = tally.deaths_by_weapon.iter().sum();
    let mut parts: Vec<(u32, Weapon)> = tally.deaths_by_weapon.iter().copied().zip(Weapon::ALL).collect();
    parts.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    let parts = parts.into_iter().filter(|(count, _)| *count > 0);
    let share = |count: u32| 100.0 * f64::from(count) / f64::from(all.max(1));
    let parts: Vec<_> = parts.map(|(count, weapon)| format!("{} {:.1} %", weapon.name(), share(count))).collect();
    if parts.is_empty() { "nothing".into() } else { parts.join(", ") }
}

/// Shares of wins against equal ones, and whether they are fair.
fn shares(shares: &[Share]) -> String {
    let parts: Vec<_> = shares.iter().map(|share| format!("{:+.1}", 100.0 * (share.ratio() - 1.0))).collect();
    format!("{} % of an equal share: {}", parts.join(" "), verdict(shares))
}

/// What chance alone does to the worst of a few shares, relative to an equal one: two and a half standard deviations.
pub fn chance(share: &Share) -> f64 {
    if share.fair > 0.0 { 2.5 / share.fair.sqrt() } else { 0.0 }
}

fn verdict(shares: &[Share]) -> String {
    let worst = shares.iter().map(|share| (share.ratio() - 1.0).abs()).fold(0.0, f64::max);
    let chance = shares.iter().map(chance).fold(0.0, f64::max);
    match () {
        () if worst <= FAIR_WITHIN => "fair".into(),
        () if worst <= chance.max(FAIR_WITHIN) => format!("within chance (±{:.1} %), play more", 100.0 * chance),
        () => "NOT FAIR".into(),
    }
}
