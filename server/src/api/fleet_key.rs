//! The fleet key: by it a host is known at `/internal`.
//!
//! In: a key's text, from the settings or the data folder. Out: whether what somebody shows is it.
//! *Invariant:* only the key's hash is kept: nothing can print it, and comparing hashes tells nobody how much of a guess
//! was right.
//! Start reading at [`FleetKey::is`].

use sha2::{Digest, Sha256};

/// What a host shows to be let in at `/internal`, as its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetKey {
    sha256: [u8; 32],
}

impl FleetKey {
    /// The key with this text.
    pub fn new(text: &str) -> FleetKey {
        FleetKey { sha256: Sha256::digest(text).into() }
    }

    /// Whether `text` is the key.
    pub fn is(&self, text: &str) -> bool {
        *self == FleetKey::new(text)
    }
}
