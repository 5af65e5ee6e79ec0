//! `duel`: one against one, rated apart; the last ship alive wins the round.

use super::{Contest, ModeRules, RoundResult, last_side};
use crate::sim::units::Seat;

pub(super) struct Duel;

impl ModeRules for Duel {
    fn round_result(&self, contest: &Contest) -> Option<RoundResult> {
        last_side(contest, |seat| seat)
    }

    fn standing(&self, contest: &Contest, seat: Seat) -> (u32, u32) {
        (contest.rounds_won[seat.index()].into(), 0)
    }

    fn seats(&self) -> std::ops::RangeInclusive<u8> {
        2..=2
    }
}
