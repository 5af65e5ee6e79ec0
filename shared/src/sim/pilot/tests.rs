//! Scenes with a handful of ships, and what a pilot makes of them.

use super::scene::Scene;
use super::{Skill, prey, think, thinks};
use crate::assets;
use crate::sim::fields::Audience;
use crate::sim::input::Input;
use crate::sim::modes::Mode;
use crate::sim::round::Phase;
use crate::sim::rules::{self, Ruleset, RulesetText};
use crate::sim::state::Ship;
use crate::sim::tables::View;
use crate::sim::units::{Angle, Seat, Tick};

fn ruleset(edit: impl FnOnce(&mut RulesetText)) -> Ruleset {
    let mut text: RulesetText = rules::parse("standard", &assets::sample_ruleset().to_text()).unwrap();
    edit(&mut text);
    Ruleset::new(text, "rules", "arena").unwrap()
}

/// A live round with ships at these places (arena units), all looking right.
fn view(rules: &Ruleset, seat: Seat, places: &[(i32, i32)]) -> View {
    let mut view = View::empty(Audience::Seat(seat), places.len() as u8);
    (view.round.phase, view.round.tick, view.round.phase_ends) = (Phase::Live, Tick(600), Tick(600 + 5000));
    for (ship, (x, y)) in view.state.ships.iter_mut().zip(places) {
        *ship = Ship { x: x * 256, y: y * 256, alive: true, hull: rules.hull, ammunition: 3, ..Ship::default() };
    }
    view
}

/// What an ace does in each of some ticks, as if nothing had changed.
fn inputs(view: &View, rules: &Ruleset, seat: Seat) -> Vec<Input> {
    (601..801).step_by(5).map(|tick| think(view, rules, seat, Skill::Ace, Tick(tick))).collect()
}

/// Broken by a choice that goes to the lower seat.
#[test]
fn of_two_enemies_equally_near_each_seat_takes_the_next_one() {
    let rules = ruleset(|_| {});
    let places = [(800, 450), (900, 450), (900, 550), (800, 550)];
    for (seat, next) in [(0, 1), (1, 2), (2, 3), (3, 0)] {
        let view = view(&rules, Seat(seat), &places);
        let scene = Scene::new(&view, &rules, Seat(seat), Skill::Ace.limits(), Tick(601));
        assert_eq!(prey::choose(&scene).map(|(chosen, _)| chosen), Some(Seat(next)), "seat {seat}");
    }
}

/// Broken by a trigger that asks only for the angle.
#[test]
fn nobody_shoots_through_a_mate_when_that_would_hurt() {
    // Seats 0 and 2 against 1 and 3; the mate stands between seat 0 and its enemies.
    let shots = |friendly_fire: bool, mate: (i32, i32)| {
        let rules = ruleset(|text| {
            (text.rules.mode, text.rules.friendly_fire) = (Mode::Teams, friendly_fire);
            text.rules.items.allowed.clear();
        });
        let view = view(&rules, Seat(0), &[(400, 450), (600, 450), mate, (620, 450)]);
        inputs(&view, &rules, Seat(0)).iter().filter(|input| input.fire()).count()
    };
    assert_eq!(shots(true, (480, 450)), 0, "the mate would be hit");
    assert!(shots(false, (480, 450)) > 0, "shots go through mates when friendly fire is off");
    assert!(shots(true, (400, 700)) > 0, "the mate is not in the way");
}

/// Broken by a pod that fights, or flies on as it did.
#[test]
fn a_pod_turns_away_from_the_enemy_and_never_fires() {
    let rules = ruleset(|_| {});
    let mut view = view(&rules, Seat(0), &[(400, 450), (600, 450)]);
    let pod = &mut view.state.ships[0];
    (pod.alive, pod.pod, pod.hull, pod.return_ticks) = (false, true, 1, 200);
    for input in inputs(&view, &rules, Seat(0)) {
        assert!(!input.fire() && input.turn() != 0, "{input:?}");
    }
    view.state.ships[0].angle = Angle(2048);
    assert!(inputs(&view, &rules, Seat(0)).iter().all(|input| input.thrust()), "it looks away and flies");
}

/// Broken by anything remembered, and by thoughts out of turn.
#[test]
fn thoughts_are_pure_neutral_out_of_play_and_staggered() {
    let rules = ruleset(|_| {});
    let mut view = view(&rules, Seat(1), &[(400, 450), (600, 500)]);
    for skill in Skill::ALL {
        let first = think(&view, &rules, Seat(1), skill, Tick(601));
        assert_eq!(first, think(&view, &rules, Seat(1), skill, Tick(601)));
        let thoughts = |seat| (0..60).filter(|tick| thinks(Seat(seat), skill, Tick(*tick))).count();
        assert_eq!(thoughts(0), thoughts(1), "{skill:?}");
    }
    view.round.phase = Phase::Countdown;
    assert_eq!(think(&view, &rules, Seat(1), Skill::Ace, Tick(601)), Input::NEUTRAL);
}
