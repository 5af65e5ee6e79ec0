//! Triple shot: a charge is one shot ahead and one to each side, for one round of the magazine.
//!
//! *Invariant:* all three or none: a volley that finds no room among the seat's bullets is not fired.

use serde::{Deserialize, Serialize};

use super::{ItemRules, ItemsGrid};
use crate::sim::bullets::{self, bullets_free};
use crate::sim::game::Game;
use crate::sim::rules::bounds::Bounds;
use crate::sim::units::{ANGLE_STEPS, Seat};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TripleText {
    pub volleys: u8,
    pub spread_degrees: f32,
}

impl Default for TripleText {
    fn default() -> Self {
        TripleText { volleys: 3, spread_degrees: 12.0 }
    }
}

pub(super) fn check(bounds: &mut Bounds<'_>, text: &TripleText) {
    bounds.within("items.triple.volleys", text.volleys, 1, 7);
    bounds.within("items.triple.spread_degrees", text.spread_degrees, 1.0, 60.0);
}

#[derive(Clone, Debug, PartialEq)]
pub struct TripleGrid {
    pub volleys: u8,
    /// Angle steps from the middle shot to a side one.
    pub spread: i32,
}

impl TripleGrid {
    pub(super) fn new(text: &TripleText) -> TripleGrid {
        let spread = (text.spread_degrees * f32::from(ANGLE_STEPS) / 360.0 + 0.5).floor() as i32;
        TripleGrid { volleys: text.volleys, spread }
    }
}

pub(super) struct Triple;

impl ItemRules for Triple {
    fn charges(&self, rules: &ItemsGrid) -> u8 {
        rules.triple.volleys
    }

    fn used(&self, game: &mut Game<'_>, seat: Seat) -> bool {
        if game.state.ships[seat.index()].ammunition == 0 || bullets_free(game, seat) < 3 {
            return false;
        }
        let spread = game.rules.items.triple.spread;
        bullets::spend_round(&mut game.state.ships[seat.index()], game.rules);
        for turn in [0, spread, -spread] {
            bullets::launch(game, seat, turn);
        }
        true
    }
}
