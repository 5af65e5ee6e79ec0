//! Phases of a match and their deadlines: waiting → countdown → live → round over → next, or match over.
//!
//! In: the contest's standings, rules' durations, whether the host says "start". Out: a [`Transition`].
//! *Invariant:* knows no ships; who reacts to a transition is `combat`'s business.
//! *Invariant:* the phase changes only in [`Round::enter`], which refuses any step that [`Phase::may_become`] does not list.
//! Start reading at [`Round::step`].

use super::fields::FieldValue;
use super::modes::{Contest, RoundResult};
use super::rules::Ruleset;
use super::state::Round;
use super::units::{Seat, Tick};

/// Where in its life a match is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Seats are being taken; ships stand still.
    #[default]
    Waiting,
    /// Ships stand at their spawn points; the deadline starts the fight.
    Countdown,
    Live,
    /// The winner may fly on; nothing can be hurt.
    RoundOver,
    MatchOver,
}

impl Phase {
    pub const ALL: [Phase; 5] = [Phase::Waiting, Phase::Countdown, Phase::Live, Phase::RoundOver, Phase::MatchOver];

    /// Whether a step from `self` to `next` exists.
    pub fn may_become(self, next: Phase) -> bool {
        matches!(
            (self, next),
            (Phase::Waiting, Phase::Countdown)
                | (Phase::Countdown, Phase::Live)
                | (Phase::Live, Phase::RoundOver)
                | (Phase::RoundOver, Phase::Countdown | Phase::MatchOver)
        )
    }

    /// Whether ships move.
    pub fn flies(self) -> bool {
        matches!(self, Phase::Live | Phase::RoundOver)
    }
}

impl FieldValue for Phase {
    const SIGNED: bool = false;
    fn to_raw(self) -> u32 {
        self as u32
    }
    /// Numbers without a phase become `MatchOver`; decoders notice because the number does not come back.
    fn from_raw(raw: u32) -> Self {
        Phase::ALL.get(raw as usize).copied().unwrap_or(Phase::MatchOver)
    }
}

/// A change of phase that others react to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    RoundPrepared,
    WentLive,
    RoundEnded(RoundResult),
    MatchEnded(Option<Seat>),
}

impl Round {
    /// Moves the phases of the current tick. At most one change per tick.
    pub fn step(&mut self, rules: &Ruleset, contest: &Contest, start: bool) -> Option<Transition> {
        let due = self.tick >= self.phase_ends;
        match self.phase {
            Phase::Waiting if start => Some(self.prepare(rules)),
            Phase::Countdown if due => {
                self.enter(Phase::Live, rules.round_ticks_max);
                Some(Transition::WentLive)
            }
            Phase::Live => {
                self.live_ticks += 1;
                let time_is_up = due || self.live_ticks >= rules.play_ticks_max;
                let verdict = rules.mode.round_result(&Contest { time_is_up, ..*contest });
                let result = verdict.or(time_is_up.then_some(RoundResult::Drawn))?;
                self.draws_in_a_row = if result == RoundResult::Drawn { self.draws_in_a_row + 1 } else { 0 };
                self.winner = if let RoundResult::Won(seat) = result { seat.0 + 1 } else { 0 };
                self.enter(Phase::RoundOver, rules.round_over_ticks);
                Some(Transition::RoundEnded(result))
            }
            Phase::RoundOver if due => Some(if self.decided(rules, contest) {
                let winner = rules.mode.winner(contest);
                self.winner = winner.map_or(0, |seat| seat.0 + 1);
                self.enter(Phase::MatchOver, 0);
                Transition::MatchEnded(winner)
            } else {
                self.prepare(rules)
            }),
            _ => None,
        }
    }

    fn prepare(&mut self, rules: &Ruleset) -> Transition {
        self.number = self.number.saturating_add(1);
        self.enter(Phase::Countdown, rules.countdown_ticks);
        Transition::RoundPrepared
    }

    /// Someone has enough rounds, play time is used up, or too many draws in a row: the standings decide.
    fn decided(&self, rules: &Ruleset, contest: &Contest) -> bool {
        contest.rounds_won.iter().any(|won| *won >= rules.rounds_to_win)
            || self.live_ticks >= rules.play_ticks_max
            || self.draws_in_a_row >= rules.draws_in_a_row_max
    }

    fn enter(&mut self, next: Phase, ticks: u32) {
        assert!(self.phase.may_become(next), "no step from {:?} to {next:?}", self.phase);
        self.phase = next;
        self.phase_ends = if ticks == 0 { Tick(0) } else { self.tick.plus(ticks) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_five_steps_exist_and_every_other_is_refused() {
        let mut allowed = 0;
        for from in Phase::ALL {
            for to in Phase::ALL {
                let mut round = Round { phase: from, ..Round::default() };
                let refused = std::panic::catch_unwind(move || {
                    round.enter(to, 1);
                })
                .is_err();
                assert_eq!(refused, !from.may_become(to), "{from:?} to {to:?}");
                allowed += usize::from(from.may_become(to));
            }
        }
        assert_eq!(allowed, 5);
    }
}
