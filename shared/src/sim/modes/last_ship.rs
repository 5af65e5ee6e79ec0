//! `last_ship`: the last ship alive wins the round; when the last ones die in the same tick it is drawn.

use super::{Contest, ModeRules, RoundResult, last_side};
use crate::sim::units::Seat;

pub(super) struct LastShip;

impl ModeRules for LastShip {
    fn round_result(&self, contest: &Contest) -> Option<RoundResult> {
        last_side(contest, |seat| seat)
    }

    fn standing(&self, contest: &Contest, seat: Seat) -> (u32, u32) {
        (contest.rounds_won[seat.index()].into(), contest.kills[seat.index()].into())
    }
}
