//! Where each byte of a control message lies: the message is serialized once more, by a serializer that takes notes.
//!
//! In: any message. Out: a line per value: offset, bytes, type, name.
//! *Invariant:* the lines' bytes, one after the other, are what the real codec writes ([`table`] asserts it).
//! Layout rules live here a second time on purpose: they are what a reader in another language implements.
//! Start reading at [`table`].

use std::fmt::{Error, Write};

use serde::ser::{Serialize, SerializeSeq, SerializeStruct, SerializeStructVariant, Serializer};

/// One value of a message.
struct Line {
    at: usize,
    bytes: Vec<u8>,
    kind: &'static str,
    what: String,
}

/// The lines of `message`, which the codec encodes as `encoded`, as text in columns.
pub fn table(message: &impl Serialize, encoded: &[u8]) -> String {
    let mut notes = Notes::default();
    message.serialize(&mut notes).expect("only types that messages are made of");
    let written: Vec<u8> = notes.lines.iter().flat_map(|line| line.bytes.clone()).collect();
    assert_eq!(written, encoded, "the description is not what the codec writes");
    let mut text = String::from("  at  bytes                                            type  what\n");
    for Line { at, bytes, kind, what } in &notes.lines {
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(text, "{at:>4}  {:<48} {kind:<5} {what}", hex.join(" ")).expect("a string takes text");
    }
    text
}

/// The serializer: where it stands in the message, and what it has seen.
#[derive(Default)]
struct Notes {
    path: Vec<String>,
    at: usize,
    lines: Vec<Line>,
}

impl Notes {
    fn note(&mut self, bytes: &[u8], kind: &'static str, value: &str) {
        let name = self.path.join(".").replace(".[", "[");
        let what = match (name.is_empty(), value.is_empty()) {
            (true, _) => value.to_owned(),
            (false, true) => name,
            (false, false) => format!("{name}: {value}"),
        };
        self.lines.push(Line { at: self.at, bytes: bytes.to_vec(), kind, what });
        self.at += bytes.len();
    }

    fn within(&mut self, name: &str, value: &(impl Serialize + ?Sized)) -> Result<(), Error> {
        self.path.push(name.to_owned());
        let done = value.serialize(&mut *self);
        self.path.pop();
        done
    }

    fn variant(&mut self, number: u32, name: &str) {
        self.note(&number.to_le_bytes(), "u32", &format!("{number} = {name}"));
    }
}

macro_rules! numbers {
    ($($function:ident $kind:ident;)*) => {$(
        fn $function(self, value: $kind) -> Result<(), Error> {
            self.note(&value.to_le_bytes(), stringify!($kind), &value.to_string());
            Ok(())
        }
    )*};
}

macro_rules! never {
    ($($function:ident($($kind:ty),*) -> $output:ty;)*) => {$(
        fn $function(self, $(_: $kind),*) -> Result<$output, Error> { Err(Error) }
    )*};
}

type Nothing = serde::ser::Impossible<(), Error>;

impl<'a> Serializer for &'a mut Notes {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = List<'a>;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;
    type SerializeTuple = Nothing;
    type SerializeTupleStruct = Nothing;
    type SerializeTupleVariant = Nothing;
    type SerializeMap = Nothing;

    numbers! {
        serialize_u8 u8; serialize_u16 u16; serialize_u32 u32; serialize_u64 u64; serialize_u128 u128;
        serialize_i8 i8; serialize_i16 i16; serialize_i32 i32; serialize_i64 i64;
    }
    never! {
        serialize_f32(f32) -> (); serialize_f64(f64) -> (); serialize_char(char) -> (); serialize_bytes(&[u8]) -> ();
        serialize_unit() -> (); serialize_unit_struct(&'static str) -> (); serialize_tuple(usize) -> Nothing;
        serialize_tuple_struct(&'static str, usize) -> Nothing; serialize_map(Option<usize>) -> Nothing;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Nothing;
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        self.note(&[u8::from(value)], "u8", if value { "1 = yes" } else { "0 = no" });
        Ok(())
    }

    fn serialize_str(self, text: &str) -> Result<(), Error> {
        self.note(&(text.len() as u64).to_le_bytes(), "u64", &format!("{} bytes of text follow", text.len()));
        if !text.is_empty() {
            self.note(text.as_bytes(), "UTF-8", &format!("{text:?}"));
        }
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.note(&[0], "u8", "0 = none");
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        self.note(&[1], "u8", "1 = there is one");
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit_variant(self, _: &'static str, number: u32, name: &'static str) -> Result<(), Error> {
        self.variant(number, name);
        Ok(())
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        number: u32,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.variant(number, name);
        value.serialize(self)
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<List<'a>, Error> {
        let length = length.ok_or(Error)?;
        self.note(&(length as u64).to_le_bytes(), "u64", &format!("{length} entries follow"));
        Ok(List { notes: self, index: 0 })
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Error> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        number: u32,
        name: &'static str,
        _: usize,
    ) -> Result<Self, Error> {
        self.variant(number, name);
        Ok(self)
    }
}

/// A list whose entries are numbered.
struct List<'a> {
    notes: &'a mut Notes,
    index: usize,
}

impl SerializeSeq for List<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.index += 1;
        self.notes.within(&format!("[{}]", self.index - 1), value)
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}

impl SerializeStruct for &mut Notes {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
        self.within(name, value)
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}

impl SerializeStructVariant for &mut Notes {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
        self.within(name, value)
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}
