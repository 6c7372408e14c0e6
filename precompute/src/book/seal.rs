//! Seals: checksums over everything the book holds of one issuer, by which damage is detected.
//!
//! Purpose: redb reads pages without verifying their checksums, so a bit that flips on the disk could silently turn a
//! revoked certificate good. Invariant: a seal is the sum of a 128-bit hash over each entry. It changes with the
//! entries in the same commit, at the cost of two hashes per change, and does not depend on their order. It guards
//! against damage, not against an attacker who can write the file: the hash has no secret key. It does not know what an
//! entry means.

use std::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher13};

/// Bytes of a seal in the book.
pub(super) const SEAL: usize = 8 + 16;

/// The kind of a sealed entry.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Record = 0,
    CrlMark = 1,
    Verified = 2,
    /// An issuer's number in the file.
    Issuer = 3,
    /// A succession.
    Successor = 4,
    /// A row of the outbox.
    Owed = 5,
    /// Its place in the order of the outbox.
    OwedOrder = 6,
    /// The answer to a request with an idempotency key.
    Answered = 7,
    /// Its place in the order of answers.
    AnsweredOrder = 8,
    /// What the sources looked like.
    Stamps = 9,
    /// How far a book had come.
    Witness = 10,
    /// A final revocation that others contradict.
    Debt = 11,
    /// The place in the feed.
    Place = 12,
}

/// How many entries there are, and the sum of their hashes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Seal {
    entries: u64,
    sum: u128,
}

impl Seal {
    pub(super) fn add(&mut self, kind: Kind, key: &[u8], value: &[u8]) {
        self.entries = self.entries.wrapping_add(1);
        self.sum = self.sum.wrapping_add(hash(kind, key, value));
    }

    pub(super) fn remove(&mut self, kind: Kind, key: &[u8], value: &[u8]) {
        self.entries = self.entries.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(hash(kind, key, value));
    }

    /// How many entries it covers.
    pub(super) fn entries(self) -> u64 {
        self.entries
    }

    pub(super) fn to_bytes(self) -> [u8; SEAL] {
        let mut bytes = [0; SEAL];
        bytes[..8].copy_from_slice(&self.entries.to_be_bytes());
        bytes[8..].copy_from_slice(&self.sum.to_be_bytes());
        bytes
    }

    /// In 64 bits, for sums over a few.
    pub(super) fn folded(self) -> u64 {
        (self.sum >> 64) as u64
    }

    pub(super) fn from_bytes(bytes: &[u8; SEAL]) -> Self {
        Self {
            entries: u64::from_be_bytes(std::array::from_fn(|at| bytes[at])),
            sum: u128::from_be_bytes(std::array::from_fn(|at| bytes[8 + at])),
        }
    }
}

fn hash(kind: Kind, key: &[u8], value: &[u8]) -> u128 {
    /// A record in one piece: the hash takes longer for several.
    const PIECE: usize = 64;
    let mut hasher = SipHasher13::new();
    let head = 1 + 8 + key.len();
    if head + value.len() <= PIECE {
        let mut piece = [0; PIECE];
        piece[0] = kind as u8;
        piece[1..9].copy_from_slice(&(key.len() as u64).to_be_bytes());
        piece[9..head].copy_from_slice(key);
        piece[head..head + value.len()].copy_from_slice(value);
        hasher.write(&piece[..head + value.len()]);
    } else {
        hasher.write(&[kind as u8]);
        hasher.write(&(key.len() as u64).to_be_bytes());
        hasher.write(key);
        hasher.write(value);
    }
    hasher.finish128().as_u128()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_hash_is_the_same_in_every_version_of_this_program() {
        let mut seal = Seal::default();
        seal.add(Kind::Record, b"key", b"value");
        let known = 35_223_395_813_237_318_017_821_989_054_716_271_465;
        assert_eq!((seal.entries, seal.sum), (1, known), "a book that was sealed before would count as damaged");
    }

    proptest! {
        #[test]
        fn a_seal_tells_sets_of_entries_apart_and_not_their_order(
            entries in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..8), any::<[u8; 4]>()), 1..8),
            changed in any::<prop::sample::Index>(),
            bit in 0usize..32,
        ) {
            let sealed = |entries: &mut dyn Iterator<Item = &(Vec<u8>, [u8; 4])>| {
                let mut seal = Seal::default();
                entries.for_each(|(key, value)| seal.add(Kind::Record, key, value));
                seal
            };
            let seal = sealed(&mut entries.iter());
            prop_assert_eq!(sealed(&mut entries.iter().rev()), seal);
            prop_assert_eq!(Seal::from_bytes(&seal.to_bytes()), seal);

            let mut fewer = seal;
            let (key, value) = changed.get(&entries);
            fewer.remove(Kind::Record, key, value);
            prop_assert_ne!(fewer, seal);
            fewer.add(Kind::CrlMark, key, value);
            prop_assert_ne!(fewer, seal);

            let mut other = entries.clone();
            let at = changed.index(other.len());
            other[at].1[bit / 8] ^= 1 << (bit % 8);
            prop_assert_ne!(sealed(&mut other.iter()), seal);
        }
    }
}
