//! Modes: what wins a round and a match, who fights for whom, and who comes back. A closed enum, one file a mode.
//!
//! In: a [`Contest`], the bare standings. Out: a verdict.
//! *Invariant:* no mode knows ships, bullets or arenas; `combat` turns those into a contest first.
//! Adding a mode: its file, and its lines here.

mod deathmatch;
mod duel;
mod king;
mod last_ship;
mod teams;

use serde::{Deserialize, Serialize};

use super::rules::RulesText;
use super::units::{SEATS_MAX, Seat};

macro_rules! modes {
    ($( $(#[$attribute:meta])* $name:ident = $label:literal, $rules:expr; )*) => {
        /// Every mode there is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Mode { $( $(#[$attribute])* $name, )* }

        impl Mode {
            pub const ALL: &'static [Mode] = &[ $( Mode::$name, )* ];

            /// The name in URLs and files.
            pub fn name(self) -> &'static str {
                match self { $( Mode::$name => $label, )* }
            }

            fn rules(self) -> &'static dyn ModeRules {
                match self { $( Mode::$name => &$rules, )* }
            }
        }
    };
}

modes! {
    /// The last ship alive wins the round.
    LastShip = "last_ship", last_ship::LastShip;
    /// Ships come back; so many kills win the round.
    Deathmatch = "deathmatch", deathmatch::Deathmatch;
    /// Two sides; the last one with a ship wins the round.
    Teams = "teams", teams::Teams;
    /// Ships come back; so many seconds alone in the zone win the round.
    King = "king", king::King;
    /// One against one.
    Duel = "duel", duel::Duel;
}

/// What a mode may look at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Contest {
    pub seats: u8,
    /// Bit per seat still in the round: it has a ship or a pod, or will have one.
    pub alive: u8,
    /// The round has run out of time.
    pub time_is_up: bool,
    pub score_target: u32,
    pub rounds_won: [u8; SEATS_MAX],
    pub kills: [u16; SEATS_MAX],
    pub points: [u32; SEATS_MAX],
}

/// How a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoundResult {
    /// By the side whose lowest seat this is.
    Won(Seat),
    Drawn,
}

trait ModeRules: Sync {
    /// The result of the round, once there is one.
    fn round_result(&self, contest: &Contest) -> Option<RoundResult>;
    /// What `seat` compares by at the end; larger is better.
    fn standing(&self, contest: &Contest, seat: Seat) -> (u32, u32);
    /// The lowest seat of the side that `seat` fights for.
    fn side(&self, seat: Seat) -> Seat {
        seat
    }
    /// Whether destroyed ships come back as long as the round lasts.
    fn returns(&self) -> bool {
        false
    }
    /// Whether ticks alone in the arena's zone are points.
    fn counts_zone(&self) -> bool {
        false
    }
    /// Numbers of seats that make sense.
    fn seats(&self) -> std::ops::RangeInclusive<u8> {
        2..=8
    }
    /// Whether the rules make sense in this mode; if not, why.
    fn check(&self, _: &RulesText) -> Result<(), String> {
        Ok(())
    }
}

impl Mode {
    /// The mode of that name.
    pub fn named(name: &str) -> Option<Mode> {
        Mode::ALL.iter().copied().find(|mode| mode.name() == name)
    }

    /// See [`RoundResult`]; `None` while the round is open.
    pub fn round_result(self, contest: &Contest) -> Option<RoundResult> {
        self.rules().round_result(contest)
    }

    /// The lowest seat of the side that `seat` fights for; where everyone fights alone, the seat itself.
    pub fn side(self, seat: Seat) -> Seat {
        self.rules().side(seat)
    }

    /// Whether destroyed ships come back as long as the round lasts.
    pub fn returns(self) -> bool {
        self.rules().returns()
    }

    /// Whether ticks alone in the arena's zone are points.
    pub fn counts_zone(self) -> bool {
        self.rules().counts_zone()
    }

    /// Numbers of seats that this mode can be played with; `Err`: why not this one.
    ///
    /// # Errors
    /// A sentence for the one who asked.
    pub fn check_seats(self, seats: u8) -> Result<(), String> {
        let (possible, has_sides) = (self.rules().seats(), self.side(Seat(2)) != Seat(2));
        if possible.contains(&seats) && (!has_sides || seats.is_multiple_of(2)) {
            return Ok(());
        }
        let even = if has_sides { ", an even number" } else { "" };
        Err(format!("{} is played by {} to {} seats{even}", self.name(), possible.start(), possible.end()))
    }

    /// # Errors
    /// Why these rules make no sense in this mode.
    pub(super) fn check(self, rules: &RulesText) -> Result<(), String> {
        self.rules().check(rules)
    }

    /// Place of each seat, 1 is best; equals share the better place, and so does a side.
    pub fn placements(self, contest: &Contest) -> [u8; SEATS_MAX] {
        let mut places = [0; SEATS_MAX];
        let standing = |seat| self.rules().standing(contest, seat);
        for seat in Seat::first(contest.seats) {
            let better = Seat::first(contest.seats).filter(|other| standing(*other) > standing(seat)).count();
            places[seat.index()] = better as u8 + 1;
        }
        places
    }

    /// The one side that stands above all others, if there is one, by its lowest seat.
    pub fn winner(self, contest: &Contest) -> Option<Seat> {
        let places = self.placements(contest);
        let mut first = Seat::first(contest.seats).filter(|seat| places[seat.index()] == 1);
        let winner = self.side(first.next()?);
        first.all(|other| self.side(other) == winner).then_some(winner)
    }
}

/// The one side with a seat still in the round wins it; with none it is drawn.
fn last_side(contest: &Contest, side: impl Fn(Seat) -> Seat) -> Option<RoundResult> {
    let mut alive = Seat::first(contest.seats).filter(|seat| contest.alive & seat.bit() != 0).map(side);
    let Some(first) = alive.next() else { return Some(RoundResult::Drawn) };
    if alive.all(|other| other == first) {
        return Some(RoundResult::Won(first));
    }
    contest.time_is_up.then_some(RoundResult::Drawn)
}

/// Whoever has reached the target wins the round, or at its end whoever has most; equals draw it.
fn most_points(contest: &Contest) -> Option<RoundResult> {
    let points = &contest.points[..usize::from(contest.seats)];
    let most = points.iter().copied().max().unwrap_or(0);
    if most < contest.score_target && !contest.time_is_up {
        return None;
    }
    let mut first = Seat::first(contest.seats).filter(|seat| contest.points[seat.index()] == most);
    match (first.next(), first.next()) {
        (Some(seat), None) => Some(RoundResult::Won(seat)),
        // At the target in the same tick: the next point decides.
        _ => contest.time_is_up.then_some(RoundResult::Drawn),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        for mode in Mode::ALL {
            assert_eq!(Mode::named(mode.name()), Some(*mode));
        }
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
