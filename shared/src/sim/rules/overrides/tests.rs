//! Every override: what it changes, and what it may not be.

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
