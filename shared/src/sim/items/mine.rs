//! Mine: laid behind the ship, armed a moment later, set off by an enemy hull. Enemies see it only from near
//! ([`crate::sim::tables::MatchRef::sighted`]).
//!
//! *Invariant:* a mine hurts by distance alone; who laid it is spared, his side too unless friendly fire is on.

use serde::{Deserialize, Serialize};

use super::{ItemRules, ItemsGrid};
use crate::sim::event::{Event, Weapon};
use crate::sim::game::{Game, Wound};
use crate::sim::rules::bounds::Bounds;
use crate::sim::rules::{rounded, ticks};
use crate::sim::state::Mine as Laid;
use crate::sim::units::{POSITION_PER_UNIT, Seat, Tick, along};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MineText {
    pub count: u8,
    pub arm_ms: u32,
    pub life_ms: u32,
    /// From how far an enemy sees it.
    pub sight: f32,
    /// From how far an enemy hull's middle sets it off.
    pub trigger: f32,
    /// How far it hurts, and how much.
    pub blast: f32,
    pub damage: u8,
}

impl Default for MineText {
    fn default() -> Self {
        MineText { count: 2, arm_ms: 1000, life_ms: 25_000, sight: 200.0, trigger: 48.0, blast: 80.0, damage: 80 }
    }
}

pub(super) fn check(bounds: &mut Bounds<'_>, text: &MineText) {
    bounds.within("items.mine.count", text.count, 1, 7);
    bounds.within("items.mine.arm_ms", text.arm_ms, 100, 10_000);
    bounds.within("items.mine.life_ms", text.life_ms, 1000, 120_000);
    bounds.within("items.mine.sight", text.sight, 0.0, 2000.0);
    bounds.within("items.mine.trigger", text.trigger, 10.0, 300.0);
    bounds.within("items.mine.blast", text.blast, 10.0, 400.0);
    bounds.within("items.mine.damage", text.damage, 1, 127);
}

#[derive(Clone, Debug, PartialEq)]
pub struct MineGrid {
    pub count: u8,
    pub arm_ticks: u32,
    pub life_ticks: u32,
    /// Position steps.
    pub sight: i32,
    pub trigger: i32,
    pub blast: i32,
    pub damage: u8,
}

impl MineGrid {
    pub(super) fn new(text: &MineText) -> MineGrid {
        let steps = |units: f32| rounded(units * POSITION_PER_UNIT as f32);
        MineGrid {
            count: text.count,
            arm_ticks: ticks(text.arm_ms),
            life_ticks: ticks(text.life_ms),
            sight: steps(text.sight),
            trigger: steps(text.trigger),
            blast: steps(text.blast),
            damage: text.damage,
        }
    }
}

impl Laid {
    /// In position steps.
    pub fn at(&self) -> (i32, i32) {
        (i32::from(self.x) * POSITION_PER_UNIT, i32::from(self.y) * POSITION_PER_UNIT)
    }
}

pub(super) struct Mine;

impl ItemRules for Mine {
    fn charges(&self, rules: &ItemsGrid) -> u8 {
        rules.mine.count
    }

    fn used(&self, game: &mut Game<'_>, seat: Seat) -> bool {
        let (ship, tick) = (game.state.ships[seat.index()], game.state.round.tick);
        let behind = -(game.rules.radius + 6 * POSITION_PER_UNIT);
        let (x, y) =
            game.arena.placed(ship.x + along(behind, ship.angle.cos()), ship.y + along(behind, ship.angle.sin()));
        game.state.mines.push(Laid {
            owner: seat,
            x: (x / POSITION_PER_UNIT) as u16,
            y: (y / POSITION_PER_UNIT) as u16,
            armed: tick.plus(game.rules.items.mine.arm_ticks),
            spent: tick.plus(game.rules.items.mine.life_ticks),
        })
    }
}

/// Sets off every armed mine that an enemy hull is near to; takes away those that have lain too long.
pub(super) fn watch(game: &mut Game<'_>) {
    if game.state.mines.is_empty() {
        return;
    }
    let tick = game.state.round.tick;
    let mines = game.state.mines;
    // Players are not told when a mine is spent: theirs stay until a snapshot takes them away.
    game.state.mines.retain(|mine| tick < mine.spent || mine.spent == Tick(0));
    if !game.is_live() {
        return;
    }
    for mine in mines.iter().filter(|mine| tick >= mine.armed && tick < mine.spent) {
        if game.seats().any(|seat| near(game, mine, seat, game.rules.items.mine.trigger)) {
            explode(game, mine);
        }
    }
}

/// Whether the hull of an enemy of the mine's owner is within `reach`.
fn near(game: &Game<'_>, mine: &Laid, seat: Seat, reach: i32) -> bool {
    let ship = &game.state.ships[seat.index()];
    if !ship.is_out() || !game.setup.hurts(mine.owner, seat) {
        return false;
    }
    let (dx, dy) = game.arena.way(ship.at(), mine.at());
    i64::from(dx).pow(2) + i64::from(dy).pow(2) <= i64::from(reach).pow(2)
}

fn explode(game: &mut Game<'_>, mine: &Laid) {
    game.state.mines.retain(|other| other != mine);
    game.tell(Event::MineExploded { owner: mine.owner, x: mine.x, y: mine.y });
    for victim in game.seats() {
        if near(game, mine, victim, game.rules.items.mine.blast) {
            let amount = game.rules.items.mine.damage;
            let by = Some(mine.owner);
            game.wound(Wound { victim, by, amount, weapon: Weapon::Mine, ..Wound::default() });
        }
    }
}
