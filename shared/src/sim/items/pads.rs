//! Pads: where power-ups are announced, appear and are taken.
//!
//! *Invariant:* what appears follows from seed, pad and the tick of its announcement; a client that knows no seed is told
//! when it is announced, and never before.

use super::Item;
use crate::sim::arena::Arena;
use crate::sim::event::Event;
use crate::sim::game::Game;
use crate::sim::rng::{Purpose, random};
use crate::sim::rules::Ruleset;
use crate::sim::state::{Pad, State};
use crate::sim::units::{POSITION_PER_UNIT, Seat, Tick};

/// From a pad's middle to a hull's rim, at most, to take what lies there.
const REACH: i32 = 14 * POSITION_PER_UNIT;

/// Empties every pad for a new round that goes live at `live`.
pub(in crate::sim) fn clear_pads(state: &mut State, rules: &Ruleset, arena: &Arena, live: Tick) {
    state.pads.clear();
    for _ in &arena.pads {
        let announced = live.plus(rules.items.first_ticks.saturating_sub(rules.items.warning_ticks));
        let _ = state.pads.push(Pad { item: Item::None, ready: announced });
    }
}

/// Announces what is due, and hands what lies ready to a ship that reaches it.
pub(in crate::sim) fn announce_and_take(game: &mut Game<'_>) {
    if !game.is_live() || game.rules.items.allowed.is_empty() {
        return;
    }
    let tick = game.state.round.tick;
    for index in 0..game.state.pads.len() {
        let pad = game.state.pads[index];
        if tick < pad.ready {
            continue;
        }
        if pad.item == Item::None {
            let allowed = &game.rules.items.allowed;
            let drawn = random(game.setup.seed, Purpose::Pad, tick.0, index as u32) % allowed.len() as u64;
            let ready = tick.plus(game.rules.items.warning_ticks);
            game.state.pads[index] = Pad { item: allowed[drawn as usize], ready };
        } else {
            take(game, index, pad.item);
        }
    }
}

fn take(game: &mut Game<'_>, index: usize, item: Item) {
    let place = game.arena.pads[index];
    let reach = i64::from(game.rules.radius + REACH);
    let near = |ship: (i32, i32)| {
        let (dx, dy) = game.arena.way(ship, place);
        i64::from(dx).pow(2) + i64::from(dy).pow(2) <= reach * reach
    };
    // Of several, one drawn by the tick: no seat is always first.
    let first = game.state.round.tick.0 % u32::from(game.setup.seats);
    let turn = |seat: &Seat| (u32::from(seat.0) + u32::from(game.setup.seats) - first) % u32::from(game.setup.seats);
    let reaching = game.alive().filter(|seat| near(game.state.ships[seat.index()].at()));
    let Some(seat) = reaching.min_by_key(turn) else { return };
    let charges = item.charges(&game.rules.items);
    if charges > 0 {
        let ship = &mut game.state.ships[seat.index()];
        (ship.item, ship.charges, ship.windup_ticks) = (item, charges, 0);
    } else {
        item.rules().taken(game, seat);
    }
    let score = &mut game.state.scores[seat.index()];
    score.items = score.items.saturating_add(1);
    let wait = game.rules.items.every_ticks.saturating_sub(game.rules.items.warning_ticks);
    let ready = game.state.round.tick.plus(wait.max(1));
    game.state.pads[index] = Pad { item: Item::None, ready };
    game.tell(Event::ItemTaken { seat, item });
}
