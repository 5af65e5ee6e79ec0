//! What a bot does: flies by the newest view it has decoded, as the server's own pilots fly by theirs.
//!
//! In: a view, the rules, a seat, the tick that an input is wanted for. Out: that input.
//! *Invariant:* knows only what the session knows, so a bot is a player like any other.
//! Start reading at [`Brain::input`].

use astro_shared::sim::input::Input;
use astro_shared::sim::pilot::{self, Skill};
use astro_shared::sim::rules::Ruleset;
use astro_shared::sim::tables::View;
use astro_shared::sim::units::{Seat, Tick};

/// One bot's mind.
#[derive(Clone, Debug)]
pub struct Brain {
    skill: Skill,
    last: Input,
}

impl Brain {
    /// Each skill is as likely as another, decided by `seed` alone.
    pub fn new(seed: u64) -> Brain {
        let mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62;
        Brain { skill: Skill::ALL[mixed as usize], last: Input::NEUTRAL }
    }

    /// The input for `tick`. Thinks every few ticks, staggered by seat; between, the last input is repeated.
    pub fn input(&mut self, view: &View, rules: &Ruleset, seat: Seat, tick: Tick) -> Input {
        if pilot::thinks(seat, self.skill, tick) {
            self.last = pilot::think(view, rules, seat, self.skill, tick);
        }
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use astro_shared::sim::{self, SimPlugin, fields::Audience, state::Inputs};

    #[test]
    fn inputs_change_only_on_thoughts_and_every_skill_occurs() {
        let rules = astro_shared::assets::ruleset("sprint").unwrap();
        let mut world = SimPlugin::world();
        let key = sim::open(&mut world, 1, 2, rules.clone());
        let mut brain = Brain::new(7);
        let mut before = Input::NEUTRAL;
        for _ in 0..600 {
            sim::set_inputs(&mut world, key, Inputs { start: true, ..Inputs::default() });
            sim::tick(&mut world);
            let view = sim::view(&world, key, Audience::Seat(Seat(1))).unwrap();
            let input = brain.input(&view, &rules, Seat(1), view.round.tick);
            assert!(input == before || pilot::thinks(Seat(1), brain.skill, view.round.tick));
            before = input;
        }
        let skills: Vec<Skill> = (0..64).map(|seed| Brain::new(seed).skill).collect();
        assert!(Skill::ALL.iter().all(|skill| skills.contains(skill)));
    }
}
