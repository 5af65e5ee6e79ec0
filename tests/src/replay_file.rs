//! The envelope of a replay file, for tests that change what is inside: magic, checksum, deflated body.
//!
//! In: a file, or a body. Out: the body, or a file around it that is honest but for its body.
//! Start reading at [`repacked`].

use astro_shared::replay::MAGIC;
use astro_shared::sim::rng::Hasher;

const CHECKSUM_BYTES: usize = 8;

/// The body of an honest file.
pub fn unpacked(file: &[u8]) -> Vec<u8> {
    let inflated = miniz_oxide::inflate::decompress_to_vec(&file[MAGIC.len() + CHECKSUM_BYTES..]);
    // Not `expect`: its message would print all that was inflated so far.
    inflated.unwrap_or_else(|_| panic!("the body of an honest file inflates"))
}

/// A file with this body.
pub fn repacked(body: &[u8]) -> Vec<u8> {
    let packed = miniz_oxide::deflate::compress_to_vec(body, 1);
    let mut hasher = Hasher::new(0);
    hasher.add_bytes(&packed);
    [&MAGIC[..], &hasher.finish().to_le_bytes(), &packed].concat()
}
