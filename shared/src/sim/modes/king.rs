//! `king`: destroyed ships come back; so many seconds alone in the zone win the round, or most of them when time is up.

use super::{Contest, ModeRules, RoundResult, most_points};
use crate::sim::rules::RulesText;
use crate::sim::units::Seat;

pub(super) struct King;

impl ModeRules for King {
    fn round_result(&self, contest: &Contest) -> Option<RoundResult> {
        most_points(contest)
    }

    fn standing(&self, contest: &Contest, seat: Seat) -> (u32, u32) {
        (contest.rounds_won[seat.index()].into(), contest.kills[seat.index()].into())
    }

    fn returns(&self) -> bool {
        true
    }

    fn counts_zone(&self) -> bool {
        true
    }

    fn check(&self, rules: &RulesText) -> Result<(), String> {
        if rules.sudden_death.after_ms != 0 {
            return Err("is king, in which ships come back: `sudden_death.after_ms` must be 0".into());
        }
        Ok(())
    }
}
