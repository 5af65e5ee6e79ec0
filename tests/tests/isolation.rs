//! Promise: a match never reads another match's state. Alone or in a crowd, the same hash in every tick.

use std::collections::VecDeque;

use astro_recorded::drawn::{DRAWN_TICKS, Drawn};
use astro_shared::sim::MatchKey;
use astro_shared::sim::rng::Hasher;
use astro_tests::dice::Dice;
use astro_tests::pilots::{Fleet, rules};

const TICKS: usize = 1500;
const OTHERS: usize = 200;
/// Seed and seats of the matches that are watched.
const SUBJECTS: [(u64, u8); 3] = [(11, 2), (12, 4), (13, 8)];

fn hashes_alone(seed: u64, seats: u8) -> Vec<u64> {
    let mut fleet = Fleet::new();
    let key = fleet.open(seed, seats, &rules("standard"));
    let mut hashes = Vec::new();
    for _ in 0..TICKS {
        fleet.play(1);
        hashes.push(fleet.hash(key));
    }
    hashes
}

/// Other matches that come and go at random.
struct Crowd {
    open: VecDeque<MatchKey>,
    dice: Dice,
}

impl Crowd {
    fn open_one(&mut self, fleet: &mut Fleet) {
        let preset = self.dice.pick(&["standard", "sprint"]);
        let (seed, seats) = (self.dice.bits(), self.dice.within(2..9) as u8);
        self.open.push_back(fleet.open(seed, seats, &rules(preset)));
    }

    /// Closes a random few and opens as many; now and then most of them, so that the last rows of the tables move.
    fn churn(&mut self, fleet: &mut Fleet) {
        let closing = if self.dice.percent(2) { OTHERS * 3 / 4 } else { self.dice.below(4) };
        for _ in 0..closing.min(self.open.len()) {
            let index = self.dice.below(self.open.len());
            let gone = self.open.swap_remove_back(index).expect("an index inside");
            fleet.close(gone);
        }
        for _ in 0..4.min(OTHERS - self.open.len()) {
            self.open_one(fleet);
        }
    }
}

/// Broken by any state a system keeps between matches, such as a `hits` list that is not cleared per match.
#[test]
fn a_match_alone_equals_the_same_match_among_two_hundred_that_come_and_go() {
    let mut alone = SUBJECTS.map(|(seed, seats)| hashes_alone(seed, seats).into_iter());
    let mut fleet = Fleet::new();
    let mut crowd = Crowd { open: VecDeque::new(), dice: Dice::new(1) };
    let subjects = SUBJECTS.map(|(seed, seats)| {
        (0..OTHERS / SUBJECTS.len()).for_each(|_| crowd.open_one(&mut fleet));
        fleet.open(seed, seats, &rules("standard"))
    });
    (crowd.open.len()..OTHERS).for_each(|_| crowd.open_one(&mut fleet));

    let row = |fleet: &Fleet, key: MatchKey| fleet.world.entity(key.entity()).location().table_row;
    let mut rows = subjects.map(|key| row(&fleet, key));
    let mut moves = [0; SUBJECTS.len()];
    for tick in 1..=TICKS {
        crowd.churn(&mut fleet);
        fleet.play(1);
        for (subject, key) in subjects.iter().enumerate() {
            assert_eq!(Some(fleet.hash(*key)), alone[subject].next(), "subject {subject} in tick {tick}");
            moves[subject] += usize::from(rows[subject] != row(&fleet, *key));
            rows[subject] = row(&fleet, *key);
        }
    }
    // Otherwise nothing was tested: the watched matches must have moved about in their tables.
    assert!(moves.iter().all(|moves| *moves > 0), "moved {moves:?} times");
}

/// Broken by the same, in any mode, arena and power-up; seeds are those of `tests/determinism`.
#[test]
fn a_thousand_drawn_matches_hash_the_same_alone_and_in_one_crowd() {
    const DRAWN: u64 = 1000;
    let mut world = astro_shared::sim::SimPlugin::world();
    let mut crowd: Vec<_> = (0..DRAWN).map(Drawn::of).map(|drawn| (drawn.open(&mut world), drawn)).collect();
    let mut hashers: Vec<Hasher> = (0..DRAWN).map(Hasher::new).collect();
    for _ in 0..DRAWN_TICKS {
        crowd.iter_mut().for_each(|(key, drawn)| drawn.fly(&mut world, *key));
        astro_shared::sim::tick(&mut world);
        for ((key, _), hasher) in crowd.iter().zip(&mut hashers) {
            hasher.add_u64(astro_shared::sim::hash(&world, *key).expect("a match of the crowd"));
        }
    }
    println!("seeds 0 to {}", DRAWN - 1);
    for (seed, hasher) in (0..DRAWN).zip(hashers) {
        assert_eq!(Drawn::of(seed).hash(), hasher.finish(), "seed {seed}");
    }
}
