//! Shield: takes the next hits whole. Works at once; a second one fills it up again.

use serde::{Deserialize, Serialize};

use super::{ItemRules, ItemsGrid};
use crate::sim::game::Game;
use crate::sim::rules::bounds::Bounds;
use crate::sim::units::Seat;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShieldText {
    pub hits: u8,
}

impl Default for ShieldText {
    fn default() -> Self {
        ShieldText { hits: 2 }
    }
}

pub(super) fn check(bounds: &mut Bounds<'_>, text: &ShieldText) {
    bounds.within("items.shield.hits", text.hits, 1, 3);
}

#[derive(Clone, Debug, PartialEq)]
pub struct ShieldGrid {
    pub hits: u8,
}

impl ShieldGrid {
    pub(super) fn new(text: &ShieldText) -> ShieldGrid {
        ShieldGrid { hits: text.hits }
    }
}

pub(super) struct Shield;

impl ItemRules for Shield {
    fn charges(&self, _: &ItemsGrid) -> u8 {
        0
    }

    fn taken(&self, game: &mut Game<'_>, seat: Seat) {
        game.state.ships[seat.index()].shield = game.rules.items.shield.hits;
    }
}
