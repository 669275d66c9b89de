//! The random bytes of an attempt, computable by anyone who knows the seed.
//!
//! The engine draws a seed, tells it to the sender only, and works out the
//! digest itself: a receiver that reports the right digest has received the
//! bytes. Block `i` is `SHA-256(seed_utf8 || i as 8 big-endian bytes)`, blocks are
//! concatenated and cut to length, so that any language can make it with its
//! standard library.

use sha2::{Digest, Sha256};

/// `length` bytes for this seed.
pub fn bytes(seed: &str, length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(length + 32);
    for block in 0u64.. {
        if out.len() >= length {
            break;
        }
        out.extend_from_slice(
            &Sha256::new()
                .chain_update(seed)
                .chain_update(block.to_be_bytes())
                .finalize(),
        );
    }
    out.truncate(length);
    out
}

/// Lower-case hex SHA-256.
pub fn sha256_hex(data: &[u8]) -> String {
    hex::encode(Sha256::digest(data))
}

/// The digest that a receiver of `bytes(seed, length)` must report.
pub fn digest(seed: &str, length: usize) -> String {
    sha256_hex(&bytes(seed, length))
}
