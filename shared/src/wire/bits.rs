//! Bits in and out of bytes, least significant first.
//!
//! *Invariant:* reading past the end is an error, never a panic and never invented zeros.
//! *Invariant:* a reader is finished only when less than a byte is left and that rest is zero, so every
//! value has exactly one encoding.

use super::WireError;
use crate::sim::fields::{Audience, Fields};
use crate::sim::units::Seat;

/// Appends bits to a byte buffer that the caller reuses.
pub struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    pending: u64,
    pending_bits: u32,
}

impl<'a> BitWriter<'a> {
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        BitWriter { out, pending: 0, pending_bits: 0 }
    }

    /// Appends the low `bits` (0 to 32) of `value`.
    #[inline]
    pub fn put(&mut self, value: u32, bits: u8) {
        let mask = (1u64 << bits) - 1;
        self.pending |= (u64::from(value) & mask) << self.pending_bits;
        self.pending_bits += u32::from(bits);
        while self.pending_bits >= 8 {
            self.out.push(self.pending as u8);
            self.pending >>= 8;
            self.pending_bits -= 8;
        }
    }

    /// Appends the fields of a row that `audience` may see; before rare ones a bit that says whether they follow.
    #[inline]
    pub fn put_row<T: Fields>(&mut self, row: &T, audience: Audience, owner: Option<Seat>) {
        let rare = row.has_rare();
        let mut said = false;
        row.each(|field, value| {
            if field.rare && !said {
                said = true;
                self.put(u32::from(rare == Some(true)), 1);
            }
            if audience.sees(field.visible, owner) && (!field.rare || rare == Some(true)) {
                self.put(value, field.bits);
            }
        });
    }

    /// Fills up the last byte with zeros.
    pub fn finish(mut self) {
        if self.pending_bits > 0 {
            self.put(0, (8 - self.pending_bits) as u8);
        }
    }
}

/// Takes bits from bytes.
pub struct BitReader<'a> {
    bytes: &'a [u8],
    /// Next bit.
    at: usize,
}

impl<'a> BitReader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        BitReader { bytes, at: 0 }
    }

    /// Takes `bits` (0 to 32) as an unsigned number.
    #[inline]
    pub fn take(&mut self, bits: u8) -> Result<u32, WireError> {
        let end = self.at + usize::from(bits);
        if end > self.bytes.len() * 8 {
            return Err(WireError::Truncated);
        }
        // Up to 5 bytes hold 32 bits at any offset.
        let first = self.at / 8;
        let mut word = [0u8; 8];
        let available = &self.bytes[first..self.bytes.len().min(first + 5)];
        word[..available.len()].copy_from_slice(available);
        let value = (u64::from_le_bytes(word) >> (self.at % 8)) & ((1u64 << bits) - 1);
        self.at = end;
        Ok(value as u32)
    }

    /// Takes a two's complement number of `bits`, sign-extended.
    #[inline]
    pub fn take_signed(&mut self, bits: u8) -> Result<u32, WireError> {
        let unused = 32 - u32::from(bits);
        Ok((((self.take(bits)? << unused) as i32) >> unused) as u32)
    }

    /// Takes the fields of a row that `audience` may see; the others stay zero.
    ///
    /// # Errors
    /// When the bits end, or are those of no row: an enum's number that names nothing does not come back as it was, and
    /// rare fields that are said to follow are not all zero.
    #[inline]
    pub fn take_row<T: Fields>(&mut self, audience: Audience, owner: Option<Seat>) -> Result<T, WireError> {
        let (mut row, mut taken, mut count) = (T::default(), [0u32; 32], 0);
        let mut rare = None;
        row.fill(|field| {
            if field.rare && rare.is_none() {
                rare = Some(self.take(1)? == 1);
            }
            let sent = audience.sees(field.visible, owner) && (!field.rare || rare == Some(true));
            let raw = match (sent, field.signed) {
                (false, _) => 0,
                (true, true) => self.take_signed(field.bits)?,
                (true, false) => self.take(field.bits)?,
            };
            taken[count] = raw;
            count += 1;
            Ok(raw)
        })?;
        let (mut known, mut index) = (rare == row.has_rare(), 0);
        row.each(|_, raw| {
            known &= raw == taken[index];
            index += 1;
        });
        if known { Ok(row) } else { Err(WireError::Range) }
    }

    /// Skips to the next whole byte.
    ///
    /// # Errors
    /// When the skipped bits are not zero.
    pub fn align(&mut self) -> Result<(), WireError> {
        let rest = (8 - self.at % 8) % 8;
        if self.take(rest as u8)? == 0 { Ok(()) } else { Err(WireError::Range) }
    }

    /// Ends reading.
    ///
    /// # Errors
    /// When whole bytes are left, or the last byte's unused bits are not zero.
    pub fn finish(mut self) -> Result<(), WireError> {
        self.align()?;
        if self.at == self.bytes.len() * 8 { Ok(()) } else { Err(WireError::Trailing) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_width_come_back() {
        let mut bytes = Vec::new();
        let mut writer = BitWriter::new(&mut bytes);
        for bits in 1..=32u8 {
            writer.put(0xdead_beef, bits);
        }
        writer.finish();
        let mut reader = BitReader::new(&bytes);
        for bits in 1..=32u8 {
            assert_eq!(reader.take(bits).unwrap(), (0xdead_beefu64 & ((1u64 << bits) - 1)) as u32);
        }
        reader.finish().unwrap();
    }

    #[test]
    fn the_end_is_an_error_and_so_is_a_rest() {
        assert_eq!(BitReader::new(&[1]).take(9), Err(WireError::Truncated));
        let mut reader = BitReader::new(&[1, 0]);
        reader.take(3).unwrap();
        assert_eq!(reader.finish(), Err(WireError::Trailing));
        let mut reader = BitReader::new(&[0x80]);
        reader.take(3).unwrap();
        assert_eq!(reader.finish(), Err(WireError::Range));
    }
}
