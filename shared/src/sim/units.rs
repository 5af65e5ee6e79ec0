//! Ticks, seats, ids and the integer grid on which the whole sim lives.
//!
//! In: plain numbers. Out: newtypes and the few arithmetic rules that every system shares.
//! *Invariant:* nothing here rounds differently on another machine: integers only, sine from a table.
//! *Invariant:* a position advances without a carried remainder (see [`advance`]).
//! Start reading at [`advance`].

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::sine::QUARTER;

/// Simulation rate. Every duration in the sim is a count of these ticks.
pub const TICKS_PER_SECOND: u32 = 60;

/// Seats in the largest match. Limits every per-seat array, the seat field on the wire (3 bits) and seat masks (u8).
pub const SEATS_MAX: usize = 8;
/// Seats in the smallest match: a fight needs two.
pub const SEATS_MIN: usize = 2;

/// Position grid: 1/256 of an arena unit.
///
/// A drift under drag changes its velocity every tick, so the floors of [`advance`] do not cancel: they walk by up to a step a
/// tick. At 1/16 unit that bent a drift of 5 units/s by 5 degrees, at 1/256 by less than half of one.
pub const POSITION_PER_UNIT: i32 = 256;
/// Velocity grid: 1/65536 unit per tick. Drag loses up to one step a tick to truncation; at this
/// grid that bends a drift of 5 units/s by 0.3 degrees in a second, at 1/256 it would bend it by 40.
pub const VELOCITY_PER_UNIT: i32 = 1 << 16;
/// Shift between the two grids: `VELOCITY_PER_UNIT / POSITION_PER_UNIT == 1 << ADVANCE_SHIFT`.
pub const ADVANCE_SHIFT: u32 = 8;
/// Angle steps in a full turn (about 0.09 degrees each).
pub const ANGLE_STEPS: u16 = 4096;
/// Amplitude of [`Angle::sin`] and [`Angle::cos`].
pub const SINE_ONE: i32 = 1 << 15;
/// Turn input at full deflection, either way (5 signed bits, -16 unused).
pub const TURN_MAX: i8 = 15;

const _: () = assert!(VELOCITY_PER_UNIT / POSITION_PER_UNIT == 1 << ADVANCE_SHIFT);

/// A point in a match's time, in ticks since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tick(pub u32);

impl Tick {
    /// Ticks from `earlier` to `self`; zero when `earlier` is later.
    pub fn since(self, earlier: Tick) -> u32 {
        self.0.saturating_sub(earlier.0)
    }

    /// This tick and `ticks` more.
    pub fn plus(self, ticks: u32) -> Tick {
        Tick(self.0.saturating_add(ticks))
    }
}

impl fmt::Display for Tick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One place in a match, 0 to 7.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Seat(pub u8);

impl Seat {
    /// Index into per-seat arrays.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// This seat as a bit of a seat mask.
    pub fn bit(self) -> u8 {
        1 << self.0
    }

    /// The first `count` seats in order.
    pub fn first(count: u8) -> impl Iterator<Item = Seat> {
        (0..count).map(Seat)
    }
}

impl fmt::Display for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Names one match everywhere: URLs, logs, replays, the store. Written as a UUID.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, format = "uuid"))]
pub struct MatchId(pub u128);

impl fmt::Display for MatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = format!("{:032x}", self.0);
        write!(f, "{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}

/// The text is not a match id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a match id: expected 32 hex digits, dashes allowed")]
pub struct NotAMatchId;

impl std::str::FromStr for MatchId {
    type Err = NotAMatchId;

    fn from_str(text: &str) -> Result<Self, NotAMatchId> {
        if text.len() > 36 || !text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-') {
            return Err(NotAMatchId);
        }
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        if digits.len() != 32 {
            return Err(NotAMatchId);
        }
        u128::from_str_radix(&digits, 16).map(MatchId).map_err(|_| NotAMatchId)
    }
}

impl Serialize for MatchId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for MatchId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
        } else {
            u128::deserialize(deserializer).map(MatchId)
        }
    }
}

/// A heading in 1/4096 turn, counter-clockwise from the x axis, y upward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Angle(pub u16);

impl Angle {
    /// The angle turned by `steps` (either sign).
    pub fn turned(self, steps: i32) -> Angle {
        Angle((i32::from(self.0) + steps).rem_euclid(i32::from(ANGLE_STEPS)) as u16)
    }

    /// The heading of `(x, y)`, within a step; mirrored points have mirrored headings. Of nowhere: 0.
    pub fn of(x: i32, y: i32) -> Angle {
        let (across, up) = (i64::from(x.unsigned_abs()), i64::from(y.unsigned_abs()));
        // The last step of the first quarter that does not lie beyond: tan(step) <= up / across.
        let (mut low, mut high) = (0, 1025u16);
        while high - low > 1 {
            let middle = (low + high) / 2;
            let step = Angle(middle);
            if i64::from(step.sin()) * across <= i64::from(step.cos()) * up {
                low = middle;
            } else {
                high = middle;
            }
        }
        let quarter = if across == 0 && up == 0 { 0 } else { low };
        match (x >= 0, y >= 0) {
            (true, true) => Angle(quarter),
            (false, true) => Angle(2048 - quarter),
            (false, false) => Angle(2048 + quarter),
            (true, false) => Angle((ANGLE_STEPS - quarter) % ANGLE_STEPS),
        }
    }

    /// The shorter turn from this angle to `other`, -2048 to 2047 steps.
    pub fn to(self, other: Angle) -> i32 {
        let half = i32::from(ANGLE_STEPS) / 2;
        (i32::from(other.0) - i32::from(self.0) + half).rem_euclid(i32::from(ANGLE_STEPS)) - half
    }

    /// Sine in 1/32768.
    pub fn sin(self) -> i32 {
        let step = usize::from(self.0 % ANGLE_STEPS);
        let within = step & 1023;
        match step >> 10 {
            0 => i32::from(QUARTER[within]),
            1 => i32::from(QUARTER[1024 - within]),
            2 => -i32::from(QUARTER[within]),
            _ => -i32::from(QUARTER[1024 - within]),
        }
    }

    /// Cosine in 1/32768.
    pub fn cos(self) -> i32 {
        Angle(self.0.wrapping_add(ANGLE_STEPS / 4)).sin()
    }
}

/// `length * direction / SINE_ONE`, truncated toward zero so that opposite headings mirror exactly.
pub fn along(length: i32, direction: i32) -> i32 {
    (i64::from(length) * i64::from(direction) / i64::from(SINE_ONE)) as i32
}

/// How far a position moves in the tick after `tick`, in position steps.
///
/// Velocity is 256 times finer than position. Instead of carrying a remainder in the state, each tick takes
/// the difference of two floors of the exact path: at a steady velocity the sum over any 256 ticks is exact, and it is
/// never off by more than one step.
pub fn advance(velocity: i32, tick: Tick) -> i32 {
    let velocity = i64::from(velocity);
    let k = i64::from(tick.0 & ((1 << ADVANCE_SHIFT) - 1));
    (((velocity * (k + 1)) >> ADVANCE_SHIFT) - ((velocity * k) >> ADVANCE_SHIFT)) as i32
}

/// `value` brought into `0..size` of a wrapping axis.
pub fn wrapped(value: i32, size: i32) -> i32 {
    // Almost every call is already inside or one size off; a division would cost more than the rest of the move.
    if (0..size).contains(&value) { value } else { value.rem_euclid(size) }
}

/// The shortest way along a wrapping axis for a difference of two points inside it.
pub fn shortest(delta: i32, size: i32) -> i32 {
    let half = size / 2;
    if delta > half {
        delta - size
    } else if delta < -half {
        delta + size
    } else {
        delta
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sine_table_has_its_landmarks_and_mirrors() {
        assert_eq!(Angle(0).sin(), 0);
        assert_eq!(Angle(1024).sin(), SINE_ONE);
        assert_eq!(Angle(2048).sin(), 0);
        assert_eq!(Angle(3072).sin(), -SINE_ONE);
        assert_eq!(Angle(0).cos(), SINE_ONE);
        for step in 0..ANGLE_STEPS {
            assert_eq!(Angle(step).sin(), -Angle(step).turned(2048).sin());
            let length = i64::from(Angle(step).sin()).pow(2) + i64::from(Angle(step).cos()).pow(2);
            assert!((length - (1 << 30)).abs() < 1 << 17, "unit length at {step}: {length}");
        }
    }

    #[test]
    fn the_heading_of_a_heading_is_itself_within_a_step() {
        for step in 0..ANGLE_STEPS {
            let (x, y) = (Angle(step).cos(), Angle(step).sin());
            assert!(Angle(step).to(Angle::of(x, y)).abs() <= 1, "{step}");
            assert!(Angle(step).to(Angle::of(4 * x, 4 * y)).abs() <= 1, "{step}");
        }
        assert_eq!(
            [(1, 0), (0, 1), (-1, 0), (0, -1), (0, 0)].map(|(x, y)| Angle::of(x, y).0),
            [0, 1024, 2048, 3072, 0]
        );
        assert_eq!((Angle(4000).to(Angle(100)), Angle(100).to(Angle(4000))), (196, -196));
    }

    #[test]
    fn advance_is_exact_over_a_cycle_and_never_a_step_off() {
        let cycle = 1u32 << ADVANCE_SHIFT;
        for velocity in [1, -1, 5461, -5461, 393_216, -393_217, 7, 4095, 4097] {
            let mut position = 0i64;
            for tick in 0..cycle {
                position += i64::from(advance(velocity, Tick(tick)));
                let exact = (i64::from(velocity) * i64::from(tick + 1)) as f64 / f64::from(cycle);
                assert!((position as f64 - exact).abs() <= 1.0);
            }
            assert_eq!(position, i64::from(velocity));
        }
    }

    #[test]
    fn match_ids_print_as_uuids_and_come_back() {
        let id = MatchId(0x0192_f00d_aaaa_7bbb_8ccc_dddd_eeee_ffff);
        assert_eq!(id.to_string(), "0192f00d-aaaa-7bbb-8ccc-ddddeeeeffff");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("0192f00d".parse::<MatchId>().is_err());
        assert!("é192f00d-aaaa-7bbb-8ccc-ddddeeeeffff".parse::<MatchId>().is_err());
    }
}
