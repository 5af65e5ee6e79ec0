//! Bounds of one document, each with the field's name; the first one broken is the answer.

use super::AssetError;

pub(in crate::sim) struct Bounds<'a> {
    file: &'a str,
    broken: Option<AssetError>,
}

impl<'a> Bounds<'a> {
    pub fn of(file: &'a str) -> Bounds<'a> {
        Bounds { file, broken: None }
    }

    pub fn within<T: PartialOrd + std::fmt::Display>(&mut self, field: &str, value: T, low: T, high: T) {
        // Written so that NaN is refused too.
        if !(value >= low && value <= high) {
            self.refuse(field, format!("is {value}, must be between {low} and {high}"));
        }
    }

    pub fn refuse(&mut self, field: &str, reason: String) {
        if self.broken.is_none() {
            self.broken = Some(AssetError { file: self.file.into(), field: field.into(), reason });
        }
    }

    pub fn name(&mut self, field: &str, value: &str) {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if value.is_empty() || value.len() > 32 || !value.chars().all(plain) {
            self.refuse(field, format!("is {value:?}, must be 1 to 32 of a-z, 0-9 and _"));
        }
    }

    /// # Errors
    /// The first bound that was broken.
    pub fn end(self) -> Result<(), AssetError> {
        self.broken.map_or(Ok(()), Err)
    }
}
