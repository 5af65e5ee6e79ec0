//! What happened in a tick: for feeds, statistics, sounds, and the wire.
//!
//! In: one `events!` block. Out: the enum, and per kind its number, name and fields, from which the snapshot
//! codec, the fingerprint and PROTOCOL.md follow.
//! *Invariant:* order in the block is the number on the wire.
//! *Invariant:* an event tells nothing that some player may not know.
//! Adding an event: one entry here. Start reading at [`Event`].

use super::fields::{Field, FieldValue, Fields};
use super::items::Item;
use super::state::Bullet;
use super::units::Seat;

/// A value inside an event.
pub trait EventField: Copy + Default {
    /// Name (empty: that of the field itself) and width of each part.
    const PARTS: &'static [Field];
    fn put(self, put: &mut impl FnMut(u32, u8));
    /// The value; `None` when the bits are those of no value.
    ///
    /// # Errors
    /// Those of `take`.
    fn take<E>(take: &mut impl FnMut(&'static Field) -> Result<u32, E>) -> Result<Option<Self>, E>;
}

const fn part(bits: u8) -> Field {
    Field { name: "", bits, signed: false, visible: super::fields::Visible::Everyone, rare: false }
}

macro_rules! event_field {
    ($($kind:ty, $bits:literal, $value:ident => $to:expr, $from:expr;)*) => {$(
        impl EventField for $kind {
            const PARTS: &'static [Field] = &[part($bits)];
            fn put(self, put: &mut impl FnMut(u32, u8)) {
                let $value = self;
                put($to, $bits);
            }
            fn take<E>(take: &mut impl FnMut(&'static Field) -> Result<u32, E>) -> Result<Option<Self>, E> {
                let $value = take(&Self::PARTS[0])?;
                Ok($from)
            }
        }
    )*};
}

event_field! {
    u8, 8, value => u32::from(value), Some(value as u8);
    u16, 16, value => u32::from(value), Some(value as u16);
    Seat, 3, value => u32::from(value.0), Some(Seat(value as u8));
    Option<Seat>, 4, value => value.map_or(0, |seat| u32::from(seat.0) + 1), match value {
        0 => Some(None),
        1..=8 => Some(Some(Seat(value as u8 - 1))),
        _ => None,
    };
    Item, 4, value => value.to_raw(), Item::ALL.get(value as usize).copied();
    Weapon, 4, value => value as u32, Weapon::ALL.get(value as usize).copied();
    Medal, 3, value => value as u32, Medal::ALL.get(value as usize).copied();
}

impl EventField for Bullet {
    const PARTS: &'static [Field] = Bullet::TABLE;
    fn put(self, put: &mut impl FnMut(u32, u8)) {
        self.each(|field, value| put(value, field.bits));
    }
    fn take<E>(take: &mut impl FnMut(&'static Field) -> Result<u32, E>) -> Result<Option<Self>, E> {
        let mut bullet = Bullet::default();
        bullet.fill(take)?;
        Ok(Some(bullet))
    }
}

/// What took a ship or a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Weapon {
    #[default]
    Gun,
    Laser,
    Mine,
    Homing,
    /// A hull that came too fast.
    Ram,
    Asteroid,
    /// The arena closing in.
    SuddenDeath,
}

impl Weapon {
    pub const ALL: [Weapon; 7] =
        [Weapon::Gun, Weapon::Laser, Weapon::Mine, Weapon::Homing, Weapon::Ram, Weapon::Asteroid, Weapon::SuddenDeath];

    pub fn name(self) -> &'static str {
        match self {
            Weapon::Gun => "gun",
            Weapon::Laser => "laser",
            Weapon::Mine => "mine",
            Weapon::Homing => "homing",
            Weapon::Ram => "ram",
            Weapon::Asteroid => "asteroid",
            Weapon::SuddenDeath => "sudden_death",
        }
    }
}

/// Something worth a cheer. When each is given: `tally`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Medal {
    #[default]
    FirstBlood,
    Double,
    Triple,
    Rescue,
    LongShot,
    LastStand,
}

impl Medal {
    pub const ALL: [Medal; 6] =
        [Medal::FirstBlood, Medal::Double, Medal::Triple, Medal::Rescue, Medal::LongShot, Medal::LastStand];

    pub fn name(self) -> &'static str {
        match self {
            Medal::FirstBlood => "first_blood",
            Medal::Double => "double",
            Medal::Triple => "triple",
            Medal::Rescue => "rescue",
            Medal::LongShot => "long_shot",
            Medal::LastStand => "last_stand",
        }
    }
}

/// A kind of event, for whoever describes the wire.
pub struct EventKind {
    pub name: &'static str,
    /// Field's name and its parts.
    pub fields: &'static [(&'static str, &'static [Field])],
}

macro_rules! events {
    ($( $(#[$attribute:meta])* $name:ident { $( $field:ident : $kind:ty ),* $(,)? } )*) => {
        /// Something that happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Event { $( $(#[$attribute])* $name { $( $field: $kind ),* }, )* }

        impl Event {
            /// Every kind, by number.
            pub const KINDS: &'static [EventKind] = &[ $( EventKind {
                name: stringify!($name),
                fields: &[ $( (stringify!($field), <$kind as EventField>::PARTS) ),* ],
            }, )* ];

            /// Index into [`Event::KINDS`].
            #[allow(unused_assignments)]
            pub fn kind(&self) -> u32 {
                let mut number = 0;
                $(
                    if matches!(self, Event::$name { .. }) { return number; }
                    number += 1;
                )*
                number
            }

            /// Hands out the fields' bits in order.
            #[allow(unused_variables)]
            pub fn put(&self, put: &mut impl FnMut(u32, u8)) {
                match self { $( Event::$name { $( $field ),* } => { $( EventField::put(*$field, put); )* } )* }
            }

            /// The event of this kind with fields from `take`; `None` when there is no such event.
            ///
            /// # Errors
            /// Those of `take`.
            #[allow(unused_assignments)]
            pub fn take<E>(
                kind: u32,
                take: &mut impl FnMut(&'static Field) -> Result<u32, E>,
            ) -> Result<Option<Event>, E> {
                let mut number = 0;
                $(
                    if kind == number {
                        $( let Some($field) = <$kind as EventField>::take(take)? else { return Ok(None) }; )*
                        return Ok(Some(Event::$name { $( $field ),* }));
                    }
                    number += 1;
                )*
                Ok(None)
            }
        }
    };
}

events! {
    ShotFired { bullet: Bullet }
    /// `bullet` is gone; its low bits say whose it was. It met a ship, or the pod of one.
    ShipHit { bullet: u16, victim: Seat }
    /// `bullet` is gone.
    AsteroidHit { bullet: u16, asteroid: u8 }
    /// What was left of it, if anything, is in the next snapshot.
    AsteroidBroken { asteroid: u8 }
    /// `by`: nobody when no player had a hand in it. `assists` has a bit per seat that had damaged the ship in this
    /// life, the killer's not among them.
    ShipDestroyed { victim: Seat, by: Option<Seat>, weapon: Weapon, assists: u8 }
    PodDestroyed { victim: Seat, by: Option<Seat>, weapon: Weapon }
    /// A new ship after a destroyed one; `rescuer` had fetched the pod.
    ShipReturned { seat: Seat, rescuer: Option<Seat> }
    Dashed { seat: Seat }
    ItemTaken { seat: Seat, item: Item }
    ItemUsed { seat: Seat, item: Item }
    /// `x` and `y` in arena units.
    MineExploded { owner: Seat, x: u16, y: u16 }
    MedalWon { seat: Seat, medal: Medal }
    /// The arena begins to close in.
    SuddenDeath {}
    /// Ships stand at their spawn points, all else is gone.
    RoundStarted { number: u8 }
    /// Of a side: its lowest seat.
    RoundWon { winner: Seat }
    RoundDrawn {}
    /// `None`: equal standings at the top. Of a side: its lowest seat.
    MatchWon { winner: Option<Seat> }
}

impl Default for Event {
    fn default() -> Self {
        Event::RoundDrawn {}
    }
}

const _: () = assert!(Event::KINDS.len() <= 1 << EVENT_KIND_BITS);

/// Width of an event's kind on the wire.
pub const EVENT_KIND_BITS: u8 = 5;
