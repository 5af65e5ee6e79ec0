//! The one table of replicated state: each field's name, width and audience, written once.
//!
//! In: a `state!` block beside the data it describes. Out: a plain struct and its [`Fields`] table, from
//! which the snapshot codec, views, hashes, saves, the fingerprint and the replay verifier's words follow.
//! *Invariant:* no field of sim state exists outside a `state!` block.
//! *Invariant:* order in the block is order on the wire and in every hash.
//! *Invariant:* rare fields, if a row has any, stand together and are for everyone; what goes over the wire before them
//! is one bit that says whether any of them is not zero.
//! Start reading at [`Fields`].

use super::units::{Angle, Seat, Tick};

/// Who may see a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visible {
    /// Every audience.
    Everyone,
    /// The seat that owns the row, nobody else.
    Owner,
    /// Nobody: it stays on the server (and in saves and replays).
    Nobody,
}

/// To whom a view or a snapshot is addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Audience {
    /// The player of one seat.
    Seat(Seat),
    /// Anyone without a seat: what everyone may see.
    Public,
    /// The server itself: everything, for hashes of replays and for saves.
    Everything,
}

impl From<Seat> for Audience {
    fn from(seat: Seat) -> Self {
        Audience::Seat(seat)
    }
}

impl Audience {
    /// Whether a field with this visibility, in a row owned by `owner`, is for this audience.
    pub fn sees(self, visible: Visible, owner: Option<Seat>) -> bool {
        match (self, visible) {
            (Audience::Everything, _) | (_, Visible::Everyone) => true,
            (Audience::Seat(seat), Visible::Owner) => owner == Some(seat),
            _ => false,
        }
    }
}

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: &'static str,
    /// Width on the wire and in saves, 1 to 32.
    pub bits: u8,
    /// Whether the bits are two's complement.
    pub signed: bool,
    pub visible: Visible,
    /// Zero in most rows: sent only in rows where some rare field is not.
    pub rare: bool,
}

/// A struct whose fields are all in the table.
pub trait Fields: Copy + Default {
    /// Name of the row, as the verifier prints it.
    const NAME: &'static str;
    const TABLE: &'static [Field];

    /// Calls `take` with every field in order, as raw bits (sign-extended to 32 for signed fields).
    fn each(&self, take: impl FnMut(&'static Field, u32));

    /// Asks `give` for every field in order; the first refusal ends it.
    fn fill<E>(&mut self, give: impl FnMut(&'static Field) -> Result<u32, E>) -> Result<(), E>;

    /// Whether some rare field is not zero; `None` when there are no rare fields.
    #[inline]
    fn has_rare(&self) -> Option<bool> {
        if !any_rare(Self::TABLE) {
            return None;
        }
        let mut bits = 0;
        self.each(|field, value| bits |= if field.rare { value } else { 0 });
        Some(bits != 0)
    }

    /// A copy in which everything `audience` may not see is zero.
    fn seen_by(&self, audience: Audience, owner: Option<Seat>) -> Self {
        let mut values = [0u32; 32];
        let mut count = 0;
        self.each(|field, value| {
            values[count] = if audience.sees(field.visible, owner) { value } else { 0 };
            count += 1;
        });
        let mut seen = Self::default();
        let mut next = 0;
        let filled: Result<(), std::convert::Infallible> = seen.fill(|_| {
            next += 1;
            Ok(values[next - 1])
        });
        filled.unwrap_or_else(|never| match never {});
        seen
    }
}

/// Whether there is a rare field in `table`.
pub const fn any_rare(table: &[Field]) -> bool {
    let mut index = 0;
    while index < table.len() {
        if table[index].rare {
            return true;
        }
        index += 1;
    }
    false
}

/// Whether rare fields stand together and are for everyone, as the wire wants it.
pub(crate) const fn rare_is_one_block(table: &[Field]) -> bool {
    let (mut index, mut blocks, mut open) = (0, 0, true);
    while index < table.len() {
        let field = &table[index];
        blocks += (field.rare && (index == 0 || !table[index - 1].rare)) as usize;
        open &= !field.rare || matches!(field.visible, Visible::Everyone);
        index += 1;
    }
    blocks <= 1 && open
}

/// A type that can stand in the table.
pub trait FieldValue: Copy {
    const SIGNED: bool;
    fn to_raw(self) -> u32;
    fn from_raw(raw: u32) -> Self;
}

macro_rules! field_value {
    ($($kind:ty, $signed:literal, $raw:ident => $to:expr, $from:expr;)*) => {$(
        impl FieldValue for $kind {
            const SIGNED: bool = $signed;
            fn to_raw(self) -> u32 { let $raw = self; $to }
            fn from_raw($raw: u32) -> Self { $from }
        }
    )*};
}

field_value! {
    bool, false, raw => u32::from(raw), raw & 1 == 1;
    u8, false, raw => u32::from(raw), raw as u8;
    u16, false, raw => u32::from(raw), raw as u16;
    u32, false, raw => raw, raw;
    i32, true, raw => raw as u32, raw as i32;
    Tick, false, raw => raw.0, Tick(raw);
    Seat, false, raw => u32::from(raw.0), Seat(raw as u8);
    Angle, false, raw => u32::from(raw.0), Angle(raw as u16);
}

/// Declares a struct of sim state together with its table. A field that ends with `rare` is one that is mostly zero.
macro_rules! state {
    (
        $(#[$attribute:meta])*
        pub struct $name:ident as $label:literal {
            $( $(#[$field_attribute:meta])* $field:ident : $kind:ty, $bits:literal bits, $visible:ident $(, $rare:ident)?; )*
        }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name { $( $(#[$field_attribute])* pub $field: $kind, )* }

        impl $crate::sim::fields::Fields for $name {
            const NAME: &'static str = $label;
            const TABLE: &'static [$crate::sim::fields::Field] = &[
                $( $crate::sim::fields::Field {
                    name: stringify!($field),
                    bits: $bits,
                    signed: <$kind as $crate::sim::fields::FieldValue>::SIGNED,
                    visible: $crate::sim::fields::Visible::$visible,
                    rare: $crate::sim::fields::state!(@rare $($rare)?),
                }, )*
            ];

            #[inline]
            fn each(&self, mut take: impl FnMut(&'static $crate::sim::fields::Field, u32)) {
                let mut index = 0;
                $(
                    take(&Self::TABLE[index], $crate::sim::fields::FieldValue::to_raw(self.$field));
                    index += 1;
                )*
                let _ = index;
            }

            #[inline]
            fn fill<E>(
                &mut self,
                mut give: impl FnMut(&'static $crate::sim::fields::Field) -> Result<u32, E>,
            ) -> Result<(), E> {
                let mut index = 0;
                $(
                    self.$field = $crate::sim::fields::FieldValue::from_raw(give(&Self::TABLE[index])?);
                    index += 1;
                )*
                let _ = index;
                Ok(())
            }
        }

        const _: () = assert!(<$name as $crate::sim::fields::Fields>::TABLE.len() <= 32, "seen_by holds 32 fields");
        const _: () = assert!($crate::sim::fields::rare_is_one_block(<$name as $crate::sim::fields::Fields>::TABLE));
    };
    (@rare rare) => { true };
    (@rare) => { false };
}
pub(crate) use state;
