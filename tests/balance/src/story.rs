//! What is remembered of one match: read off its state and events, tick by tick.
//!
//! Start reading at [`Story::watch`].

use astro_shared::sim::event::{Event, Weapon};
use astro_shared::sim::round::Phase;
use astro_shared::sim::tables::MatchRef;
use astro_shared::sim::units::{SEATS_MAX, Seat, Tick};

/// One round.
#[derive(Clone, Debug, Default)]
pub struct RoundStory {
    /// Spawn point of each seat.
    pub spawns: [u8; SEATS_MAX],
    /// Side that drew first blood, by its lowest seat.
    pub first_blood: Option<Seat>,
    /// Side that won, by its lowest seat; `None`: drawn.
    pub winner: Option<Seat>,
    pub over: bool,
}

/// How a match was decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// By the rules: enough rounds won.
    #[default]
    Rounds,
    /// Too many draws in a row: the standings decided.
    Draws,
    /// `play_ms_max` was used up: the standings decided.
    Time,
}

/// One match.
#[derive(Clone, Debug, Default)]
pub struct Story {
    pub ticks: u32,
    pub live_ticks: u32,
    /// Winning side, by its lowest seat.
    pub winner: Option<Seat>,
    pub ending: Ending,
    pub rounds: Vec<RoundStory>,
    /// Ships destroyed: by what, whether an enemy was credited, and where.
    pub deaths: Vec<(Weapon, bool, (i32, i32))>,
    pub shots: u32,
    pub hits: u32,
    pub rescues: u32,
    pub pods_lost: u32,
    pub items_taken: u32,
    first_tick: Tick,
}

impl Story {
    pub fn begun(tick: Tick) -> Story {
        Story { first_tick: tick, ..Story::default() }
    }

    /// Takes in one tick; true once the match is over.
    pub fn watch(&mut self, state: &MatchRef<'_>) -> bool {
        for event in state.happened() {
            self.take(state, event);
        }
        if state.round.phase != Phase::MatchOver {
            return false;
        }
        self.ticks = state.round.tick.since(self.first_tick);
        self.live_ticks = state.round.live_ticks;
        self.winner = state.round.winner.checked_sub(1).map(Seat);
        let rules = &state.setup.ruleset;
        let enough = state.scores.iter().any(|score| score.rounds_won >= rules.rounds_to_win);
        self.ending = match () {
            () if enough => Ending::Rounds,
            () if state.round.live_ticks >= rules.play_ticks_max => Ending::Time,
            () => Ending::Draws,
        };
        let scores = &state.scores[..usize::from(state.setup.seats)];
        self.shots = scores.iter().map(|score| u32::from(score.shots)).sum();
        self.hits = scores.iter().map(|score| u32::from(score.hits)).sum();
        true
    }

    fn take(&mut self, state: &MatchRef<'_>, event: &Event) {
        match *event {
            Event::RoundStarted { .. } => {
                self.rounds.push(RoundStory { spawns: spawns(state), ..RoundStory::default() })
            }
            Event::ShipDestroyed { victim, by, weapon, .. } => {
                self.deaths.push((weapon, by.is_some(), state.ships[victim.index()].at()));
                if let (Some(by), Some(round)) = (by, self.rounds.last_mut()) {
                    round.first_blood.get_or_insert(state.setup.side(by));
                }
            }
            Event::RoundWon { winner } => self.end_round(Some(winner)),
            Event::RoundDrawn {} => self.end_round(None),
            Event::PodDestroyed { .. } => self.pods_lost += 1,
            Event::ShipReturned { rescuer: Some(_), .. } => self.rescues += 1,
            Event::ItemTaken { .. } => self.items_taken += 1,
            _ => {}
        }
    }

    fn end_round(&mut self, winner: Option<Seat>) {
        if let Some(round) = self.rounds.last_mut() {
            (round.winner, round.over) = (winner, true);
        }
    }
}

/// Which spawn point each ship stands on.
fn spawns(state: &MatchRef<'_>) -> [u8; SEATS_MAX] {
    let points = &state.setup.arena().spawns;
    std::array::from_fn(|seat| {
        let at = state.ships[seat].at();
        points.iter().position(|spawn| (spawn.x, spawn.y) == at).unwrap_or(0) as u8
    })
}
