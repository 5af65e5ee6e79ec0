//! Four skills, and the limits of eye and hand that make them differ.
//!
//! *Invariant:* every limit shrinks, or stays, from one skill to the next; no skill sees more than another, it only
//! notices sooner and aims closer.
//! Start reading at [`Limits`].

use crate::sim::units::ANGLE_STEPS;

/// How well a pilot flies and fights; each beats the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Skill {
    Rookie,
    Regular,
    Veteran,
    Ace,
}

impl Skill {
    pub const ALL: [Skill; 4] = [Skill::Rookie, Skill::Regular, Skill::Veteran, Skill::Ace];

    pub fn name(self) -> &'static str {
        match self {
            Skill::Rookie => "rookie",
            Skill::Regular => "regular",
            Skill::Veteran => "veteran",
            Skill::Ace => "ace",
        }
    }

    /// The skill of that name.
    pub fn named(name: &str) -> Option<Skill> {
        Skill::ALL.into_iter().find(|skill| skill.name() == name)
    }

    pub(super) fn limits(self) -> &'static Limits {
        match self {
            Skill::Rookie => &ROOKIE,
            Skill::Regular => &REGULAR,
            Skill::Veteran => &VETERAN,
            Skill::Ace => &ACE,
        }
    }
}

/// What a pilot's eye and hand are capable of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Ticks between two thoughts; between them the last input is held.
    pub think_every_ticks: u32,
    /// How long something must have been visible before it is reacted to; also how stale the idea is that the pilot has
    /// of another ship's velocity.
    pub reaction_ticks: i32,
    /// Largest aim error, in angle steps.
    pub aim_error_steps: i32,
    /// Longest flight of a shot that seems worth a round, with a full magazine.
    pub range_ticks: i32,
    /// How many of [`super::danger::MANOEUVRES`] come to mind when something is about to hit; 0: dodges nothing.
    pub manoeuvres: usize,
    /// Foresees where bullets go after they bounce, and plays shots off the rim.
    pub ricochets: bool,
    /// Dashes to close in or to ram, not only to dodge.
    pub dashes: bool,
}

const fn degrees(degrees: i32) -> i32 {
    ANGLE_STEPS as i32 * degrees / 360
}

const ROOKIE: Limits = Limits {
    think_every_ticks: 6,
    reaction_ticks: 24,
    aim_error_steps: degrees(26),
    range_ticks: 50,
    manoeuvres: 0,
    ricochets: false,
    dashes: false,
};

const REGULAR: Limits = Limits {
    think_every_ticks: 5,
    reaction_ticks: 18,
    aim_error_steps: degrees(15),
    range_ticks: 47,
    manoeuvres: 5,
    ricochets: false,
    dashes: false,
};

const VETERAN: Limits = Limits {
    think_every_ticks: 4,
    reaction_ticks: 14,
    aim_error_steps: degrees(11),
    range_ticks: 45,
    manoeuvres: 6,
    ricochets: true,
    dashes: true,
};

const ACE: Limits = Limits {
    think_every_ticks: 3,
    reaction_ticks: 8,
    aim_error_steps: degrees(4),
    range_ticks: 44,
    manoeuvres: 9,
    ricochets: true,
    dashes: true,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_shrink_with_skill() {
        for pair in Skill::ALL.windows(2) {
            let (less, more) = (pair[0].limits(), pair[1].limits());
            assert!(more.think_every_ticks <= less.think_every_ticks);
            assert!(more.reaction_ticks < less.reaction_ticks);
            assert!(more.aim_error_steps < less.aim_error_steps);
            assert!(more.manoeuvres > less.manoeuvres);
        }
    }

    #[test]
    fn names_come_back() {
        assert!(Skill::ALL.into_iter().all(|skill| Skill::named(skill.name()) == Some(skill)));
        assert_eq!(Skill::named("god"), None);
    }
}
