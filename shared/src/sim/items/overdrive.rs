//! Overdrive: for a while more thrust, a higher top speed and a faster gun. Works at once.

use serde::{Deserialize, Serialize};

use super::{ItemRules, ItemsGrid};
use crate::sim::game::Game;
use crate::sim::rules::bounds::Bounds;
use crate::sim::rules::ticks;
use crate::sim::units::Seat;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OverdriveText {
    pub ms: u32,
    /// Of the usual thrust and top speed.
    pub thrust_percent: u16,
    /// Of the usual times between shots and of reloading.
    pub gun_percent: u16,
}

impl Default for OverdriveText {
    fn default() -> Self {
        OverdriveText { ms: 6000, thrust_percent: 140, gun_percent: 50 }
    }
}

pub(super) fn check(bounds: &mut Bounds<'_>, text: &OverdriveText) {
    bounds.within("items.overdrive.ms", text.ms, 500, 15_000);
    bounds.within("items.overdrive.thrust_percent", text.thrust_percent, 100, 200);
    bounds.within("items.overdrive.gun_percent", text.gun_percent, 20, 100);
}

#[derive(Clone, Debug, PartialEq)]
pub struct OverdriveGrid {
    pub ticks: u16,
    pub thrust_percent: i32,
    pub gun_percent: u16,
}

impl OverdriveGrid {
    pub(super) fn new(text: &OverdriveText) -> OverdriveGrid {
        OverdriveGrid {
            ticks: ticks(text.ms) as u16,
            thrust_percent: i32::from(text.thrust_percent),
            gun_percent: text.gun_percent,
        }
    }

    /// A time of the gun under overdrive, at least a tick.
    pub(in crate::sim) fn gun_ticks(&self, usual: u8) -> u8 {
        (u32::from(usual) * u32::from(self.gun_percent) / 100).max(1) as u8
    }
}

pub(super) struct Overdrive;

impl ItemRules for Overdrive {
    fn charges(&self, _: &ItemsGrid) -> u8 {
        0
    }

    fn taken(&self, game: &mut Game<'_>, seat: Seat) {
        game.state.ships[seat.index()].overdrive_ticks = game.rules.items.overdrive.ticks;
    }
}
