//! A digest of a whole table, for comparing it with another process's.
//!
//! Invariant: two tables whose listed records say the same have the same digest, in every process, after every restart
//! and whatever the order of changes; tables that differ have different ones but for chance. It is the sum, modulo 2^128,
//! of SipHash-1-3-128 over each listed record, as 33 bytes: the serial in 20 bytes, [`StateWord::said`] in 8, the end of
//! validity as the table keeps it in 4 (0 if unknown, all ones if after 2106), all big-endian, and the four bits of the
//! origin in one. It guards against mistakes and damage, not against an attacker who chooses records: its key is known.

use std::fmt;

use siphasher::sip128::SipHasher13;

use super::{Origin, SerialWords, StateWord};

/// The key, which is the same everywhere: `Ostia's records` and a zero.
const KEY: (u64, u64) = (u64::from_be_bytes(*b"Ostia's "), u64::from_be_bytes(*b"records\0"));

/// The digest of a table; 0 for an empty one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Digest(u128);

impl Digest {
    /// The digest, to be stored or sent.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// From such bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// With one more record. `word` is a slot's, of a listed record.
    pub(super) fn with(self, key: &SerialWords, word: u64, end: u32) -> Self {
        Self(self.0.wrapping_add(hash(key, word, end)))
    }

    /// With all of another table's.
    pub(super) fn and(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    /// Without this record.
    pub(super) fn without(self, key: &SerialWords, word: u64, end: u32) -> Self {
        Self(self.0.wrapping_sub(hash(key, word, end)))
    }
}

fn hash(key: &SerialWords, word: u64, end: u32) -> u128 {
    let (state, origin): (StateWord, Origin) = StateWord::of_slot(word);
    let mut message = [0; 33];
    message[..8].copy_from_slice(&key[0].to_be_bytes());
    message[8..16].copy_from_slice(&key[1].to_be_bytes());
    message[16..20].copy_from_slice(&key[2].to_be_bytes()[4..]);
    message[20..28].copy_from_slice(&state.said().to_be_bytes());
    message[28..32].copy_from_slice(&end.to_be_bytes());
    message[32] = origin.bits();
    SipHasher13::new_with_keys(KEY.0, KEY.1).hash(&message).as_u128()
}

/// 32 hexadecimal digits.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
