//! The sums over many matches.
//!
//! *Invariant:* only sums, so the order in which matches are added does not matter.
//! Start reading at [`Tally::add`].

use astro_shared::sim::event::Weapon;
use astro_shared::sim::units::{SEATS_MAX, Seat, TICKS_PER_SECOND};

use crate::heat::Heat;
use crate::play::Plan;
use crate::story::{Ending, Story};

/// Match lengths are counted in steps of five seconds, up to two hours.
const LENGTH_STEP_TICKS: u32 = 5 * TICKS_PER_SECOND;
const LENGTHS: usize = 1441;

/// Wins of something, and how many it would have had if all were equal.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Share {
    pub wins: u32,
    pub fair: f64,
}

impl Share {
    /// 1 is fair.
    pub fn ratio(&self) -> f64 {
        if self.fair > 0.0 { f64::from(self.wins) / self.fair } else { 1.0 }
    }

    fn join(&mut self, other: &Share) {
        self.wins += other.wins;
        self.fair += other.fair;
    }
}

/// Everything counted.
#[derive(Clone, Debug)]
pub struct Tally {
    pub matches: u32,
    pub drawn_matches: u32,
    pub endings: [u32; 3],
    pub ticks: u64,
    pub live_ticks: u64,
    lengths: Vec<u32>,
    pub rounds: u32,
    pub drawn_rounds: u32,
    pub kills: u32,
    pub deaths_by_weapon: [u32; Weapon::ALL.len()],
    /// Rounds with a first blood and a winner; those in which they were the same side; and how many would be by chance.
    pub bled: u32,
    pub bled_first_and_won: u32,
    pub bled_by_chance: f64,
    pub seat_rounds: [Share; SEATS_MAX],
    pub seat_matches: [Share; SEATS_MAX],
    pub spawns: [Share; SEATS_MAX],
    /// Wins of matches by index of the plan's skills.
    pub skill_wins: Vec<u32>,
    pub shots: u64,
    pub hits: u64,
    pub rescues: u32,
    pub pods_lost: u32,
    pub items_taken: u32,
    pub heat: Heat,
}

impl Tally {
    pub fn of(plan: &Plan) -> Tally {
        Tally {
            matches: 0,
            drawn_matches: 0,
            endings: [0; 3],
            ticks: 0,
            live_ticks: 0,
            lengths: vec![0; LENGTHS],
            rounds: 0,
            drawn_rounds: 0,
            kills: 0,
            deaths_by_weapon: [0; Weapon::ALL.len()],
            bled: 0,
            bled_first_and_won: 0,
            bled_by_chance: 0.0,
            seat_rounds: Default::default(),
            seat_matches: Default::default(),
            spawns: Default::default(),
            skill_wins: vec![0; plan.skills.len()],
            shots: 0,
            hits: 0,
            rescues: 0,
            pods_lost: 0,
            items_taken: 0,
            heat: Heat::of(plan.rules.arena(plan.seats)),
        }
    }

    pub fn add(&mut self, plan: &Plan, number: u32, story: &Story) {
        self.matches += 1;
        self.endings[story.ending as usize] += 1;
        self.ticks += u64::from(story.ticks);
        self.live_ticks += u64::from(story.live_ticks);
        self.lengths[((story.ticks / LENGTH_STEP_TICKS) as usize).min(LENGTHS - 1)] += 1;
        self.shots += u64::from(story.shots);
        self.hits += u64::from(story.hits);
        self.rescues += story.rescues;
        self.pods_lost += story.pods_lost;
        self.items_taken += story.items_taken;
        for (weapon, by_enemy, at) in &story.deaths {
            self.kills += u32::from(*by_enemy);
            self.deaths_by_weapon[*weapon as usize] += 1;
            self.heat.add(*at);
        }
        self.add_winner(plan, number, story);
        self.add_rounds(plan, story);
    }

    fn add_winner(&mut self, plan: &Plan, number: u32, story: &Story) {
        let Some(winner) = story.winner else {
            self.drawn_matches += 1;
            return;
        };
        let sides = sides(plan);
        for seat in Seat::first(plan.seats) {
            self.seat_matches[seat.index()].fair += 1.0 / f64::from(sides);
            if plan.rules.mode.side(seat) == winner {
                self.seat_matches[seat.index()].wins += 1;
            }
        }
        self.skill_wins[plan.skill_index(number, winner)] += 1;
    }

    fn add_rounds(&mut self, plan: &Plan, story: &Story) {
        let sides = f64::from(sides(plan));
        for round in story.rounds.iter().filter(|round| round.over) {
            self.rounds += 1;
            let Some(winner) = round.winner else {
                self.drawn_rounds += 1;
                continue;
            };
            if let Some(first) = round.first_blood {
                self.bled += 1;
                self.bled_first_and_won += u32::from(first == winner);
                self.bled_by_chance += 1.0 / sides;
            }
            for seat in Seat::first(plan.seats) {
                let spawn = usize::from(round.spawns[seat.index()]);
                let won = u32::from(plan.rules.mode.side(seat) == winner);
                self.seat_rounds[seat.index()].join(&Share { wins: won, fair: 1.0 / sides });
                self.spawns[spawn].join(&Share { wins: won, fair: 1.0 / sides });
            }
        }
    }

    /// Both together.
    pub fn joined(mut self, other: Tally) -> Tally {
        self.matches += other.matches;
        self.drawn_matches += other.drawn_matches;
        self.ticks += other.ticks;
        self.live_ticks += other.live_ticks;
        self.rounds += other.rounds;
        self.drawn_rounds += other.drawn_rounds;
        self.kills += other.kills;
        self.bled += other.bled;
        self.bled_first_and_won += other.bled_first_and_won;
        self.bled_by_chance += other.bled_by_chance;
        self.shots += other.shots;
        self.hits += other.hits;
        self.rescues += other.rescues;
        self.pods_lost += other.pods_lost;
        self.items_taken += other.items_taken;
        let add = |own: &mut [u32], other: &[u32]| own.iter_mut().zip(other).for_each(|(own, other)| *own += other);
        add(&mut self.endings, &other.endings);
        add(&mut self.lengths, &other.lengths);
        add(&mut self.deaths_by_weapon, &other.deaths_by_weapon);
        add(&mut self.skill_wins, &other.skill_wins);
        for seat in 0..SEATS_MAX {
            self.seat_rounds[seat].join(&other.seat_rounds[seat]);
            self.seat_matches[seat].join(&other.seat_matches[seat]);
            self.spawns[seat].join(&other.spawns[seat]);
        }
        self.heat.join(&other.heat);
        self
    }

    /// Seconds within which that share of all matches ended, to five seconds.
    pub fn length_seconds(&self, share: f64) -> u32 {
        let enough = (f64::from(self.matches) * share).ceil() as u32;
        let mut so_far = 0;
        let step = self.lengths.iter().position(|count| {
            so_far += count;
            so_far >= enough
        });
        step.unwrap_or(0) as u32 * LENGTH_STEP_TICKS / TICKS_PER_SECOND
    }

    pub fn ended_by_rule(&self) -> f64 {
        1.0 - f64::from(self.endings[Ending::Time as usize]) / f64::from(self.matches.max(1))
    }

    pub fn kills_per_minute(&self) -> f64 {
        f64::from(self.kills) * f64::from(60 * TICKS_PER_SECOND) / (self.live_ticks.max(1) as f64)
    }
}

/// Sides that fight each other in a plan.
fn sides(plan: &Plan) -> u32 {
    let mode = plan.rules.mode;
    Seat::first(plan.seats).filter(|seat| mode.side(*seat) == *seat).count() as u32
}
