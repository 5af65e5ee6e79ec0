//! `teams`: even seats against odd ones, 2 against 2 up to 4 against 4; the last side with a ship wins the round.

use super::{Contest, ModeRules, RoundResult, last_side};
use crate::sim::units::Seat;

pub(super) struct Teams;

impl ModeRules for Teams {
    fn round_result(&self, contest: &Contest) -> Option<RoundResult> {
        last_side(contest, |seat| self.side(seat))
    }

    fn standing(&self, contest: &Contest, seat: Seat) -> (u32, u32) {
        let side = self.side(seat);
        let kills = Seat::first(contest.seats).filter(|other| self.side(*other) == side);
        (contest.rounds_won[side.index()].into(), kills.map(|seat| u32::from(contest.kills[seat.index()])).sum())
    }

    fn side(&self, seat: Seat) -> Seat {
        Seat(seat.0 & 1)
    }

    fn seats(&self) -> std::ops::RangeInclusive<u8> {
        4..=8
    }
}
