//! What a pilot wants to do, and how its hands do it.

use super::scene::Scene;
use crate::sim::input::Input;
use crate::sim::units::TURN_MAX;

/// What a thought comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wish {
    /// How far to turn, in angle steps, positive counter-clockwise.
    pub off_steps: i32,
    pub thrust: bool,
    pub dash: bool,
    pub fire: bool,
}

impl Wish {
    /// Turn input by which the wished heading is reached when the next thought comes, not overshot before.
    pub fn turn(&self, scene: &Scene<'_>) -> i32 {
        let per_thought_q8 = scene.rules.turn_per_input_q8 * scene.limits.think_every_ticks as i32;
        (self.off_steps * 256 / per_thought_q8.max(1)).clamp(-i32::from(TURN_MAX), i32::from(TURN_MAX))
    }

    /// How far the heading is off after the first tick of this wish, when a shot would leave.
    pub fn off_at_trigger(&self, scene: &Scene<'_>) -> i32 {
        self.off_steps - self.turn(scene) * scene.rules.turn_per_input_q8 / 256
    }

    pub fn input(&self, scene: &Scene<'_>) -> Input {
        Input::new(self.turn(scene) as i8, self.thrust, self.fire).with_dash(self.dash)
    }
}
