//! Power-ups: what there is, where it appears, and what taking and using it does.
//!
//! In: ships on pads, the fire button. Out: effects on the ship, things in the arena, wounds.
//! *Invariant:* which power-up appears where and when follows from seed, pad and tick, and is shown before it appears.
//! Adding a power-up: its file, and its lines here. Start reading at [`Item`] and [`ItemRules`].

mod gravity_bomb;
mod homing;
mod laser;
mod mine;
mod overdrive;
mod pads;
mod shield;
mod triple;

use serde::{Deserialize, Serialize};

pub(super) use gravity_bomb::pull_of_bombs;
pub(super) use pads::{announce_and_take, clear_pads};

use super::game::Game;
use super::rules::bounds::Bounds;
use super::rules::ticks;
use super::units::Seat;

/// Every power-up there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Item {
    #[default]
    None,
    /// Takes the next hits.
    Shield,
    /// The next shots are three.
    Triple,
    /// Laid behind the ship; enemies see it only from near.
    Mine,
    /// A beam to the first solid, after a wind-up in which the ship still turns.
    Laser,
    /// More thrust, faster gun.
    Overdrive,
    /// A shot that follows the nearest enemy ahead.
    Homing,
    /// Pulls everything near it for a while.
    GravityBomb,
}

impl Item {
    /// By number on the wire.
    pub const ALL: [Item; 8] = [
        Item::None,
        Item::Shield,
        Item::Triple,
        Item::Mine,
        Item::Laser,
        Item::Overdrive,
        Item::Homing,
        Item::GravityBomb,
    ];

    fn rules(self) -> &'static dyn ItemRules {
        match self {
            Item::None => &Nothing,
            Item::Shield => &shield::Shield,
            Item::Triple => &triple::Triple,
            Item::Mine => &mine::Mine,
            Item::Laser => &laser::Laser,
            Item::Overdrive => &overdrive::Overdrive,
            Item::Homing => &homing::Homing,
            Item::GravityBomb => &gravity_bomb::GravityBomb,
        }
    }

    /// How often it may be used after it was taken; 0: it works at once and is not carried.
    pub(super) fn charges(self, rules: &ItemsGrid) -> u8 {
        self.rules().charges(rules)
    }
}

/// What a power-up does.
trait ItemRules {
    /// See [`Item::charges`].
    fn charges(&self, rules: &ItemsGrid) -> u8;
    /// `seat` has just taken one that works at once.
    fn taken(&self, _: &mut Game<'_>, _: Seat) {}
    /// `seat` uses a charge; false: not now, the charge stays.
    fn used(&self, _: &mut Game<'_>, _: Seat) -> bool {
        false
    }
}

struct Nothing;

impl ItemRules for Nothing {
    fn charges(&self, _: &ItemsGrid) -> u8 {
        0
    }
}

/// The fire button is held over a carried power-up and the gun is ready: uses a charge, if it can be used now.
pub(super) fn use_item(game: &mut Game<'_>, seat: Seat) {
    let item = game.state.ships[seat.index()].item;
    if !item.rules().used(game, seat) {
        return;
    }
    let ship = &mut game.state.ships[seat.index()];
    ship.charges = ship.charges.saturating_sub(1);
    if ship.charges == 0 {
        ship.item = Item::None;
    }
    ship.cooldown_ticks = game.rules.cooldown_ticks;
    game.tell(super::event::Event::ItemUsed { seat, item });
}

/// What flies, lies or winds up because of a power-up does its tick.
pub(super) fn act(game: &mut Game<'_>) {
    if !game.flies() {
        return;
    }
    laser::wind_up(game);
    homing::fly(game);
    mine::watch(game);
    gravity_bomb::expire(game);
}

/// Power-ups as written in the rules. Times in ms, lengths in units, speeds in units/s.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ItemsText {
    /// What may appear; an item named twice appears twice as often. Empty: no power-ups.
    pub allowed: Vec<Item>,
    /// From the start of a round to the first, and from one that was taken to the next on that pad.
    pub first_ms: u32,
    pub every_ms: u32,
    /// How long before it can be taken an item is shown.
    pub warning_ms: u32,
    pub shield: shield::ShieldText,
    pub triple: triple::TripleText,
    pub mine: mine::MineText,
    pub laser: laser::LaserText,
    pub overdrive: overdrive::OverdriveText,
    pub homing: homing::HomingText,
    pub gravity_bomb: gravity_bomb::GravityBombText,
}

impl Default for ItemsText {
    fn default() -> Self {
        ItemsText {
            allowed: Vec::new(),
            first_ms: 5000,
            every_ms: 9000,
            warning_ms: 2000,
            shield: Default::default(),
            triple: Default::default(),
            mine: Default::default(),
            laser: Default::default(),
            overdrive: Default::default(),
            homing: Default::default(),
            gravity_bomb: Default::default(),
        }
    }
}

/// The same in ticks and grid steps.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemsGrid {
    pub allowed: Vec<Item>,
    pub first_ticks: u32,
    pub every_ticks: u32,
    pub warning_ticks: u32,
    pub shield: shield::ShieldGrid,
    pub triple: triple::TripleGrid,
    pub mine: mine::MineGrid,
    pub laser: laser::LaserGrid,
    pub overdrive: overdrive::OverdriveGrid,
    pub homing: homing::HomingGrid,
    pub gravity_bomb: gravity_bomb::GravityBombGrid,
}

impl ItemsGrid {
    pub(super) fn new(text: &ItemsText) -> ItemsGrid {
        ItemsGrid {
            allowed: text.allowed.clone(),
            first_ticks: ticks(text.first_ms),
            every_ticks: ticks(text.every_ms),
            warning_ticks: ticks(text.warning_ms),
            shield: shield::ShieldGrid::new(&text.shield),
            triple: triple::TripleGrid::new(&text.triple),
            mine: mine::MineGrid::new(&text.mine),
            laser: laser::LaserGrid::new(&text.laser),
            overdrive: overdrive::OverdriveGrid::new(&text.overdrive),
            homing: homing::HomingGrid::new(&text.homing),
            gravity_bomb: gravity_bomb::GravityBombGrid::new(&text.gravity_bomb),
        }
    }
}

pub(super) fn check_items(bounds: &mut Bounds<'_>, text: &ItemsText) {
    if text.allowed.len() > 32 {
        bounds.refuse("items.allowed", format!("has {} entries, at most 32 are supported", text.allowed.len()));
    }
    if text.allowed.contains(&Item::None) {
        bounds.refuse("items.allowed", "names `none`, which is no power-up".into());
    }
    bounds.within("items.first_ms", text.first_ms, 0, 600_000);
    bounds.within("items.every_ms", text.every_ms, 500, 600_000);
    bounds.within("items.warning_ms", text.warning_ms, 0, 10_000);
    shield::check(bounds, &text.shield);
    triple::check(bounds, &text.triple);
    mine::check(bounds, &text.mine);
    laser::check(bounds, &text.laser);
    overdrive::check(bounds, &text.overdrive);
    homing::check(bounds, &text.homing);
    gravity_bomb::check(bounds, &text.gravity_bomb);
}
