//! What one player wants in one tick, in one byte: 5 signed bits of turn, thrust, fire, dash.
//!
//! *Invariant:* every byte but those with a turn of -16 is an input, and every input is one byte.

use super::fields::FieldValue;
use super::units::TURN_MAX;

/// One tick's wishes of one seat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Input(u8);

const THRUST: u8 = 1 << 5;
const FIRE: u8 = 1 << 6;
const DASH: u8 = 1 << 7;

impl Input {
    /// Nothing pressed.
    pub const NEUTRAL: Input = Input(0);

    /// `turn` is clamped to ±15, positive is counter-clockwise.
    pub fn new(turn: i8, thrust: bool, fire: bool) -> Input {
        let turn = turn.clamp(-TURN_MAX, TURN_MAX) as u8 & 0x1f;
        Input(turn | if thrust { THRUST } else { 0 } | if fire { FIRE } else { 0 })
    }

    /// The same with the dash button held or not.
    pub fn with_dash(self, dash: bool) -> Input {
        Input(if dash { self.0 | DASH } else { self.0 & !DASH })
    }

    /// The input with these bits; `None` for a turn of -16, which no honest client makes.
    pub fn from_bits(bits: u8) -> Option<Input> {
        (bits & 0x1f != 0x10).then_some(Input(bits))
    }

    pub fn bits(self) -> u8 {
        self.0
    }

    /// -15 to 15.
    pub fn turn(self) -> i32 {
        (i32::from(self.0 & 0x1f) << 27 >> 27).max(-i32::from(TURN_MAX))
    }

    pub fn thrust(self) -> bool {
        self.0 & THRUST != 0
    }

    pub fn fire(self) -> bool {
        self.0 & FIRE != 0
    }

    pub fn dash(self) -> bool {
        self.0 & DASH != 0
    }

    /// Whether a button (not the turn) differs: such a change is sent at once.
    pub fn button_edge(self, before: Input) -> bool {
        (self.0 ^ before.0) & (THRUST | FIRE | DASH) != 0
    }

    /// The same buttons held by nobody: what a seat flies when nothing has come for too long.
    pub fn is_neutral(self) -> bool {
        self == Input::NEUTRAL
    }
}

impl FieldValue for Input {
    const SIGNED: bool = false;
    fn to_raw(self) -> u32 {
        u32::from(self.0)
    }
    fn from_raw(raw: u32) -> Self {
        Input(raw as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_keep_what_was_put_in() {
        for turn in -15..=15i8 {
            for held in 0..8 {
                let [thrust, fire, dash] = [1, 2, 4].map(|button| held & button != 0);
                let input = Input::new(turn, thrust, fire).with_dash(dash);
                assert_eq!((input.turn(), input.thrust(), input.fire()), (i32::from(turn), thrust, fire));
                assert_eq!((input.dash(), input.with_dash(false).dash()), (dash, false));
                assert_eq!(Input::from_bits(input.bits()), Some(input));
            }
        }
        assert_eq!(Input::from_bits(0x10), None);
        assert_eq!(Input::from_bits(0xf0), None);
    }
}
