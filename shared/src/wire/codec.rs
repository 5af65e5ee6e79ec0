//! The one place that turns control messages into bytes and back (bincode 2, hidden here).
//!
//! In: a message, or bytes and their limit. Out: bytes, or the message.
//! *Invariant:* always with a byte limit, always all bytes consumed: a short hostile length prefix can
//! neither allocate nor leave anything behind.
//! *Invariant:* nothing outside this module names the codec crate (a test reads the sources).

use bincode::config::{self, Configuration, Fixint, Limit, LittleEndian};
use serde::{Serialize, de::DeserializeOwned};

use super::WireError;

fn limited<const BYTES: usize>() -> Configuration<LittleEndian, Fixint, Limit<BYTES>> {
    config::standard().with_fixed_int_encoding().with_limit::<BYTES>()
}

/// Encodes a message of at most `BYTES` bytes.
///
/// # Errors
/// [`WireError::TooLong`]: our own mistake, the caller's limits should have prevented it.
pub fn encode<const BYTES: usize>(message: &impl Serialize) -> Result<Vec<u8>, WireError> {
    let bytes = bincode::serde::encode_to_vec(message, limited::<BYTES>()).map_err(|_| WireError::TooLong)?;
    if bytes.len() > BYTES { Err(WireError::TooLong) } else { Ok(bytes) }
}

/// Decodes a message of at most `BYTES` bytes.
///
/// # Errors
/// What is wrong with the bytes.
pub fn decode<T: DeserializeOwned, const BYTES: usize>(bytes: &[u8]) -> Result<T, WireError> {
    if bytes.len() > BYTES {
        return Err(WireError::TooLong);
    }
    let (message, consumed) =
        bincode::serde::decode_from_slice(bytes, limited::<BYTES>()).map_err(|_| WireError::Range)?;
    if consumed == bytes.len() { Ok(message) } else { Err(WireError::Trailing) }
}
