//! `last_ship`: the last ship alive wins the round; when the last ones die in the same tick it is drawn.

use super::{Contest, ModeRules, RoundResult};
use crate::sim::units::Seat;

pub(super) struct LastShip;

impl ModeRules for LastShip {
    fn round_result(&self, contest: &Contest) -> Option<RoundResult> {
        match contest.alive.count_ones() {
            0 => Some(RoundResult::Drawn),
            1 => Some(RoundResult::Won(Seat(contest.alive.trailing_zeros() as u8))),
            _ => None,
        }
    }

    fn standing(&self, contest: &Contest, seat: Seat) -> (u8, u8) {
        (contest.rounds_won[seat.index()], contest.kills[seat.index()])
    }
}
