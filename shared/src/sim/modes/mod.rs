//! Modes: what wins a round and a match. A closed enum, one file a mode.
//!
//! In: a [`Contest`], the bare standings. Out: a verdict.
//! *Invariant:* no mode knows ships, bullets or arenas; `combat` turns those into a contest first.
//! Adding a mode: its file, and its arms here.

mod last_ship;

use serde::{Deserialize, Serialize};

use super::units::{SEATS_MAX, Seat};

/// Every mode there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The last ship alive wins the round.
    LastShip,
}

/// What a mode may look at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Contest {
    pub seats: u8,
    /// Bit per seat still in the round.
    pub alive: u8,
    pub rounds_won: [u8; SEATS_MAX],
    pub kills: [u8; SEATS_MAX],
}

/// How a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoundResult {
    Won(Seat),
    Drawn,
}

trait ModeRules {
    /// The result of the round, once there is one.
    fn round_result(&self, contest: &Contest) -> Option<RoundResult>;
    /// What `seat` compares by at the end; larger is better.
    fn standing(&self, contest: &Contest, seat: Seat) -> (u8, u8);
}

impl Mode {
    /// The name in URLs and files.
    pub fn name(self) -> &'static str {
        match self {
            Mode::LastShip => "last_ship",
        }
    }

    /// The mode of that name.
    pub fn named(name: &str) -> Option<Mode> {
        [Mode::LastShip].into_iter().find(|mode| mode.name() == name)
    }

    fn rules(self) -> &'static dyn ModeRules {
        match self {
            Mode::LastShip => &last_ship::LastShip,
        }
    }

    /// See [`RoundResult`]; `None` while the round is open.
    pub fn round_result(self, contest: &Contest) -> Option<RoundResult> {
        self.rules().round_result(contest)
    }

    /// Place of each seat, 1 is best; equals share the better place.
    pub fn placements(self, contest: &Contest) -> [u8; SEATS_MAX] {
        let mut places = [0; SEATS_MAX];
        let standing = |seat| self.rules().standing(contest, seat);
        for seat in Seat::first(contest.seats) {
            let better = Seat::first(contest.seats).filter(|other| standing(*other) > standing(seat)).count();
            places[seat.index()] = better as u8 + 1;
        }
        places
    }

    /// The one seat that stands above all others, if there is one.
    pub fn winner(self, contest: &Contest) -> Option<Seat> {
        let places = self.placements(contest);
        let mut first = Seat::first(contest.seats).filter(|seat| places[seat.index()] == 1);
        match (first.next(), first.next()) {
            (Some(seat), None) => Some(seat),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        assert_eq!(Mode::named(Mode::LastShip.name()), Some(Mode::LastShip));
        assert_eq!(Mode::named("chess"), None);
    }

    #[test]
    fn rounds_decide_then_kills_and_equals_share_a_place() {
        let mut contest = Contest { seats: 4, ..Contest::default() };
        contest.rounds_won[..4].copy_from_slice(&[2, 1, 2, 0]);
        contest.kills[..4].copy_from_slice(&[3, 9, 5, 9]);
        assert_eq!(Mode::LastShip.placements(&contest)[..4], [2, 3, 1, 4]);
        assert_eq!(Mode::LastShip.winner(&contest), Some(Seat(2)));
        contest.kills[0] = 5;
        assert_eq!(Mode::LastShip.placements(&contest)[..4], [1, 3, 1, 4]);
        assert_eq!(Mode::LastShip.winner(&contest), None);
    }
}
