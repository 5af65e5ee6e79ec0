//! Who is credited with what: kills, assists, streaks, points, medals.
//!
//! *Invariant:* kills credited, and deaths credited to nobody, are together all deaths.
//! Start reading at [`credit`].

use super::combat::Death;
use super::event::{Event, Medal, Weapon};
use super::game::Game;
use super::units::{SEATS_MAX, Seat, TICKS_PER_SECOND};

/// A kill within this time after the one before continues a chain: double, triple.
const CHAIN_TICKS: u32 = 4 * TICKS_PER_SECOND;
/// A shot that flew this long and kills is a long one.
const LONG_SHOT_TICKS: u16 = 45;

/// Writes a ship's end into the tallies and tells it.
pub(super) fn credit(game: &mut Game<'_>, victim: Seat, death: Death) {
    let score = &mut game.state.scores[victim.index()];
    score.deaths = (score.deaths + 1).min(1023);
    let by = death.by;
    let assists = score.hurt_by & !by.map_or(0, Seat::bit) & !victim.bit();
    score.hurt_by = 0;
    let side = game.setup.side(victim);
    // Mates who hit it by accident are no help.
    let helpers = game.seats().filter(|seat| assists & seat.bit() != 0 && game.setup.side(*seat) != side);
    let assists = helpers.fold(0, |mask, seat| mask | seat.bit());
    for seat in game.seats().filter(|seat| assists & seat.bit() != 0) {
        let helper = &mut game.state.scores[seat.index()];
        helper.assists = helper.assists.saturating_add(1);
    }
    game.tell(Event::ShipDestroyed { victim, by, weapon: death.weapon, assists });
    if let Some(killer) = by {
        credit_kill(game, killer, death);
    }
    game.state.round.destroyed = game.state.round.destroyed.saturating_add(1);
}

fn credit_kill(game: &mut Game<'_>, killer: Seat, death: Death) {
    let (tick, counts_zone) = (game.state.round.tick, game.rules.mode.counts_zone());
    let score = &mut game.state.scores[killer.index()];
    score.kills = (score.kills + 1).min(1023);
    if !counts_zone {
        score.add_point();
    }
    score.streak = score.streak.saturating_add(1);
    score.streak_longest = score.streak_longest.max(score.streak);
    score.chain = if tick.since(score.chain_tick) <= CHAIN_TICKS { score.chain.saturating_add(1) } else { 1 };
    score.chain_tick = tick;
    let chain = score.chain;
    let ship = &game.state.ships[killer.index()];
    // Who dies in the same tick has not stood.
    let last_stand = ship.alive && ship.hull > 0 && u32::from(ship.hull) * 4 <= u32::from(game.rules.hull);
    let medals = [
        (Medal::FirstBlood, death.is_first),
        (Medal::Double, chain == 2),
        (Medal::Triple, chain == 3),
        (Medal::LongShot, death.weapon == Weapon::Gun && death.flown_ticks >= LONG_SHOT_TICKS),
        (Medal::LastStand, last_stand),
    ];
    medals.into_iter().filter(|(_, won)| *won).for_each(|(medal, _)| award(game, killer, medal));
}

/// A mate has fetched a pod.
pub(super) fn rescued(game: &mut Game<'_>, rescuer: Seat) {
    award(game, rescuer, Medal::Rescue);
}

fn award(game: &mut Game<'_>, seat: Seat, medal: Medal) {
    let score = &mut game.state.scores[seat.index()];
    let count = match medal {
        Medal::FirstBlood => &mut score.first_blood,
        Medal::Double => &mut score.double,
        Medal::Triple => &mut score.triple,
        Medal::Rescue => &mut score.rescue,
        Medal::LongShot => &mut score.long_shot,
        Medal::LastStand => &mut score.last_stand,
    };
    *count = (*count + 1).min(63);
    game.tell(Event::MedalWon { seat, medal });
}

/// After all credits: a ship that killed and died in the same tick had its streak first.
pub(super) fn end_streaks(game: &mut Game<'_>, deaths: &[Option<Death>; SEATS_MAX]) {
    for victim in game.seats().filter(|seat| deaths[seat.index()].is_some()) {
        let score = &mut game.state.scores[victim.index()];
        (score.streak, score.chain) = (0, 0);
    }
}
