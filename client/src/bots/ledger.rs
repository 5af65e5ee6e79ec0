//! Which match got how far: from the first seat asked for to the stored result.
//!
//! In: what happened to bots and their requests. Out: counts, groups that are over, matches to confirm.
//! *Invariant:* pure bookkeeping; every bot that joined is counted exactly once as awaited, told or gone.
//! A *group* is the bots that ask for seats together; when one asks too late for its match, the server opens it
//! another one, so a group may have more than one match.
//! Start reading at [`Ledger::begin_group`].

use std::collections::HashMap;

use astro_shared::api::MatchSummary;
use astro_shared::sim::units::MatchId;

use crate::session::MatchResult;

/// All groups and matches of a run.
#[derive(Debug, Default)]
pub struct Ledger {
    groups: Vec<Group>,
    matches: Vec<Match>,
    numbers: HashMap<MatchId, usize>,
    groups_over: Vec<usize>,
    finished: Vec<(usize, MatchId)>,
}

#[derive(Debug, Default)]
struct Group {
    /// Requests for seats that are not answered.
    asking: u32,
    /// Bots with a seat that the server has not welcomed.
    expected: u32,
    /// Bots with a session.
    flying: u32,
    over: bool,
}

#[derive(Debug)]
struct Match {
    id: MatchId,
    group: usize,
    /// A bot was welcomed.
    started: bool,
    /// Bots with a session that have no result.
    awaiting: u32,
    result: Option<MatchResult>,
    /// Bots were told different results, or others than were stored.
    contradicted: bool,
    finished: bool,
    confirmed: bool,
}

/// How many matches got how far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub started: u64,
    pub finished: u64,
    pub confirmed: u64,
    pub contradicted: u64,
    /// Started, and none of the bots stayed to hear the result.
    pub lost: u64,
}

/// How far one bot had got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    pub welcomed: bool,
    pub told: bool,
}

impl Ledger {
    /// Notes that `bots` bots will ask for seats together; the number of their group.
    pub fn begin_group(&mut self, bots: u8) -> usize {
        self.groups.push(Group { asking: u32::from(bots), ..Group::default() });
        self.groups.len() - 1
    }

    /// A bot got a seat: the number of its match.
    pub fn on_joined(&mut self, group: usize, id: MatchId) -> usize {
        let number = *self.numbers.entry(id).or_insert_with(|| {
            self.matches.push(Match {
                id,
                group,
                started: false,
                awaiting: 0,
                result: None,
                contradicted: false,
                finished: false,
                confirmed: false,
            });
            self.matches.len() - 1
        });
        self.matches[number].awaiting += 1;
        let group = &mut self.groups[group];
        group.asking -= 1;
        group.expected += 1;
        group.flying += 1;
        number
    }

    /// A bot will get no seat.
    pub fn on_join_failed(&mut self, group: usize) {
        self.groups[group].asking -= 1;
        self.settle(group);
    }

    pub fn on_welcomed(&mut self, number: usize) {
        self.matches[number].started = true;
        self.groups[self.matches[number].group].expected -= 1;
    }

    /// A bot was told the result, for the first time.
    pub fn on_result(&mut self, number: usize, result: &MatchResult) {
        let played = &mut self.matches[number];
        played.awaiting -= 1;
        match &played.result {
            None => played.result = Some(result.clone()),
            Some(known) => played.contradicted |= known != result,
        }
        self.finish(number);
    }

    /// A bot's session is over; `reached` is how far it had got.
    pub fn on_closed(&mut self, number: usize, reached: Reached) {
        let played = &mut self.matches[number];
        played.awaiting -= u32::from(!reached.told);
        let group = played.group;
        self.groups[group].expected -= u32::from(!reached.welcomed);
        self.groups[group].flying -= 1;
        self.finish(number);
        self.settle(group);
    }

    /// The service has stored the match; whether as the bots were told.
    pub fn on_stored(&mut self, number: usize, stored: &MatchSummary) -> bool {
        let played = &mut self.matches[number];
        let agrees = played.result.as_ref().is_some_and(|told| {
            let placements = told.seats.iter().map(|seat| Some(seat.placement));
            told.winner == stored.winner && placements.eq(stored.seats.iter().map(|seat| seat.placement))
        });
        played.contradicted |= !agrees;
        played.confirmed = !played.contradicted;
        played.confirmed
    }

    /// The next group whose bots are all gone.
    pub fn poll_group_over(&mut self) -> Option<usize> {
        self.groups_over.pop()
    }

    /// The next match that all its bots know the result of.
    pub fn poll_finished(&mut self) -> Option<(usize, MatchId)> {
        self.finished.pop()
    }

    /// Whether every bot of the first `count` groups is in, or will never be.
    pub fn are_in(&self, count: usize) -> bool {
        self.groups.iter().take(count).all(|group| group.asking == 0 && group.expected == 0)
    }

    /// Whether nobody is asking for a seat or flying any more.
    pub fn is_settled(&self) -> bool {
        self.groups.iter().all(|group| group.over)
    }

    /// Matches whose result a bot was told: the server must not lose them any more.
    pub fn told(&self) -> Vec<MatchId> {
        self.matches.iter().filter(|played| played.result.is_some()).map(|played| played.id).collect()
    }

    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for played in &self.matches {
            counts.started += u64::from(played.started);
            counts.finished += u64::from(played.finished);
            counts.confirmed += u64::from(played.confirmed);
            counts.contradicted += u64::from(played.contradicted);
            counts.lost += u64::from(played.started && played.awaiting == 0 && played.result.is_none());
        }
        counts
    }

    fn finish(&mut self, number: usize) {
        let played = &mut self.matches[number];
        if played.result.is_some() && played.awaiting == 0 && !played.finished {
            played.finished = true;
            self.finished.push((number, played.id));
        }
    }

    fn settle(&mut self, number: usize) {
        let group = &mut self.groups[number];
        if group.asking == 0 && group.flying == 0 && !group.over {
            group.over = true;
            self.groups_over.push(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use astro_shared::api::SeatSummary;
    use astro_shared::wire::message::ResultSeat;

    const TOLD: Reached = Reached { welcomed: true, told: true };

    fn seat(placement: u8) -> ResultSeat {
        ResultSeat {
            placement,
            rounds_won: 0,
            kills: 0,
            deaths: 0,
            assists: 0,
            shots: 0,
            hits: 0,
            survival_ticks: 0,
            streak_longest: 0,
        }
    }

    fn result(placements: [u8; 2]) -> MatchResult {
        MatchResult { winner: Some(0), seats: placements.map(seat).to_vec() }
    }

    fn stored(placements: [u8; 2]) -> MatchSummary {
        let seats = placements.iter().enumerate().map(|(index, placement)| SeatSummary {
            seat: index as u8,
            name: String::new(),
            pilot: false,
            left: false,
            placement: Some(*placement),
            rounds_won: 0,
            kills: 0,
            deaths: 0,
            assists: 0,
            shots: 0,
            hits: 0,
            survival_ticks: 0,
            streak_longest: 0,
        });
        MatchSummary {
            match_id: MatchId(1),
            mode: String::new(),
            rules: String::new(),
            rules_hash: String::new(),
            arena: String::new(),
            started_ms: 0,
            ended_ms: 0,
            ticks: 0,
            rounds: 0,
            winner: Some(0),
            void: None,
            seats: seats.collect(),
            replay: None,
        }
    }

    #[test]
    fn a_match_goes_from_asked_for_to_confirmed() {
        let mut ledger = Ledger::default();
        let group = ledger.begin_group(2);
        let number = ledger.on_joined(group, MatchId(1));
        assert!(!ledger.are_in(1));
        assert_eq!(ledger.on_joined(group, MatchId(1)), number);
        ledger.on_welcomed(number);
        assert!(!ledger.are_in(1));
        ledger.on_welcomed(number);
        assert!(ledger.are_in(1));
        assert_eq!(ledger.counts(), Counts { started: 1, ..Counts::default() });
        ledger.on_result(number, &result([1, 2]));
        ledger.on_closed(number, TOLD);
        assert_eq!((ledger.poll_finished(), ledger.poll_group_over()), (None, None));
        ledger.on_result(number, &result([1, 2]));
        assert_eq!(ledger.poll_finished(), Some((number, MatchId(1))));
        ledger.on_closed(number, TOLD);
        assert_eq!((ledger.poll_finished(), ledger.poll_group_over()), (None, Some(group)));
        assert!(ledger.on_stored(number, &stored([1, 2])));
        assert_eq!(ledger.counts(), Counts { started: 1, finished: 1, confirmed: 1, contradicted: 0, lost: 0 });
    }

    #[test]
    fn a_stored_result_that_differs_or_two_told_results_are_contradictions() {
        for second in [[1, 2], [2, 1]] {
            let mut ledger = Ledger::default();
            let group = ledger.begin_group(2);
            let number = ledger.on_joined(group, MatchId(1));
            ledger.on_joined(group, MatchId(1));
            ledger.on_result(number, &result([1, 2]));
            ledger.on_result(number, &result(second));
            assert!(!ledger.on_stored(number, &stored([2, 1])));
            assert_eq!((ledger.counts().confirmed, ledger.counts().contradicted), (0, 1));
        }
    }

    #[test]
    fn a_bot_that_drops_out_does_not_hold_its_match_up() {
        let mut ledger = Ledger::default();
        let group = ledger.begin_group(3);
        let number = ledger.on_joined(group, MatchId(1));
        ledger.on_joined(group, MatchId(1));
        ledger.on_join_failed(group);
        ledger.on_welcomed(number);
        ledger.on_closed(number, Reached::default());
        assert!(ledger.are_in(1));
        ledger.on_result(number, &result([1, 2]));
        assert!(ledger.poll_finished().is_some());
        assert_eq!(ledger.poll_group_over(), None);
        ledger.on_closed(number, TOLD);
        assert_eq!(ledger.poll_group_over(), Some(group));
    }

    #[test]
    fn a_match_whose_bots_all_drop_out_is_started_and_never_finished() {
        let mut ledger = Ledger::default();
        let group = ledger.begin_group(1);
        let number = ledger.on_joined(group, MatchId(1));
        ledger.on_welcomed(number);
        ledger.on_closed(number, Reached { welcomed: true, told: false });
        assert_eq!(ledger.counts(), Counts { started: 1, lost: 1, ..Counts::default() });
        assert_eq!((ledger.poll_finished(), ledger.poll_group_over()), (None, Some(group)));
    }

    #[test]
    fn a_group_split_over_two_matches_is_over_when_both_are() {
        let mut ledger = Ledger::default();
        let group = ledger.begin_group(2);
        let (first, second) = (ledger.on_joined(group, MatchId(1)), ledger.on_joined(group, MatchId(2)));
        assert_ne!(first, second);
        ledger.on_closed(first, Reached::default());
        assert_eq!(ledger.poll_group_over(), None);
        ledger.on_closed(second, Reached::default());
        assert_eq!(ledger.poll_group_over(), Some(group));
    }
}
