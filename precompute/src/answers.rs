//! Signed answers in memory, in a compact form.
//!
//! Purpose: one look-up from a CertID to the signature that answers it, from any thread, at 10⁸ answers. What all
//! answers of one signer share is in its template ([`crate::ocsp::Template`]). An entry here is the key, the times, the
//! state of the record it was signed for, and the signature without its DER ([`crate::ocsp::Packing`]). The response is
//! written from these when it is served. A P-256 answer takes 112 bytes, plus 5 to 8 in the index.
//!
//! Invariant: a reader gets a whole entry, as one writer wrote it, under the key it asked for (keys are compared in
//! full), or nothing. A reader that races with a writer may also get nothing; then the answer is signed again. It does
//! not know whether an entry is still right: the caller compares it with the record.
//!
//! Readers take no lock: an entry is a run of atomic words under a sequence number (a seqlock). Writers of one segment
//! take turns. The number of bytes is bounded; an entry that does not fit is refused.

mod slot;
mod stored;
mod table;

pub use self::stored::{HEAD, Stored, each_entry};
pub use crate::ocsp::profile::Entry;

use std::{
    hash::{BuildHasher as _, Hash, Hasher, RandomState},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use table::Table;

use crate::{
    limits,
    ocsp::{Carries, HashAlgorithm},
    pki::{Serial, UnixTime},
};

/// The key of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AnswerKey([u64; 3]);

impl Hash for AnswerKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.iter().for_each(|&word| state.write_u64(word));
    }
}

impl AnswerKey {
    /// `issuer`: a number that no other issuer of this process ever had, below [`limits::ISSUERS_MAX`]. `signer`: the
    /// place of the signer among the issuer's, below [`limits::SIGNERS_MAX`]. `hash`: the algorithm of the CertID,
    /// which the answer repeats.
    pub fn new(issuer: u32, hash: HashAlgorithm, signer: u8, serial: &Serial) -> Self {
        let octets = serial.padded();
        let word = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| octets[at + i]));
        let low = u32::from_be_bytes([octets[16], octets[17], octets[18], octets[19]]);
        let form = (hash as u64) << 6 | u64::from(signer);
        Self([word(0), word(8), u64::from(low) << 32 | u64::from(issuer) << 8 | form])
    }
}

const _: () = assert!(limits::ISSUERS_MAX == 1 << 24 && limits::SIGNERS_MAX == 1 << 6, "a key has room for them");

/// The outcome of keeping an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Inserted {
    /// It is kept.
    Written,
    /// The caller's predicate refused it.
    Unwanted,
    /// There is no room, or it does not fit an entry.
    NoRoom,
}

/// The answers of all issuers.
#[derive(Debug)]
pub struct Answers {
    hasher: RandomState,
    /// Indexed by the number of words in a packed signature, less one.
    tables: Box<[OnceLock<Table>]>,
    room: Room,
}

/// How much memory is left.
#[derive(Debug)]
struct Room {
    octets: AtomicU64,
    octets_max: u64,
}

impl Room {
    /// Takes `octets` bytes if that many are left.
    fn take(&self, octets: usize) -> bool {
        let take = |used: u64| used.checked_add(octets as u64).filter(|&sum| sum <= self.octets_max);
        self.octets.fetch_update(Relaxed, Relaxed, take).is_ok()
    }

    fn give_back(&self, octets: usize) {
        self.octets.fetch_sub(octets as u64, Relaxed);
    }
}

/// Words of the longest signature, of ML-DSA-87, with the longest tail behind it.
const SIGNATURE_WORDS_MAX: usize = 4627usize.div_ceil(8) + Carries::TAIL_MAX / 8;

impl Answers {
    /// An empty table that uses at most `octets_max` bytes of memory.
    pub fn new(octets_max: u64) -> Self {
        Self {
            hasher: RandomState::new(),
            tables: (0..SIGNATURE_WORDS_MAX).map(|_| OnceLock::new()).collect(),
            room: Room { octets: AtomicU64::new(0), octets_max },
        }
    }

    /// Keeps an answer, and replaces any other with this key. False if there is no room, or the answer does not fit an
    /// entry: times after 2106, and signatures whose bytes do not fill words.
    pub fn insert(&self, key: &AnswerKey, entry: &Entry, packed: &[u8]) -> bool {
        self.insert_if(key, packed, |_| Some(*entry)) == Inserted::Written
    }

    /// Keeps the answer that `decide` makes from the present one with this key, and replaces that. No other writer
    /// changes it in the meantime. `None` leaves it as it is.
    pub fn insert_if(
        &self,
        key: &AnswerKey,
        packed: &[u8],
        decide: impl FnOnce(Option<Entry>) -> Option<Entry>,
    ) -> Inserted {
        let Some(table) = self.place(packed.len()) else { return Inserted::NoRoom };
        let table = table.get_or_init(|| Table::new(packed.len() / 8));
        let hash_of = |key: &[u64; 3]| self.hasher.hash_one(AnswerKey(*key));
        table.insert(self.hasher.hash_one(key), &key.0, packed, &self.room, &hash_of, decide)
    }

    /// Makes room for so many more answers with signatures of `packed_length` bytes, so that adding them one by one
    /// does not rebuild the index again and again.
    pub fn reserve(&self, additional: usize, packed_length: usize) {
        let Some(table) = self.place(packed_length) else { return };
        let table = table.get_or_init(|| Table::new(packed_length / 8));
        table.reserve(additional, &self.room, &|key| self.hasher.hash_one(AnswerKey(*key)));
    }

    /// The kept answer; its packed signature, of `packed_length` bytes, is written to `packed`.
    #[inline]
    pub fn get(&self, key: &AnswerKey, packed_length: usize, packed: &mut Vec<u8>) -> Option<Entry> {
        self.place(packed_length)?.get()?.get(self.hasher.hash_one(key), &key.0, packed)
    }

    /// Removes answers that may no longer be served.
    pub fn remove_expired(&self, now: UnixTime) {
        self.tables.iter().filter_map(OnceLock::get).for_each(|table| table.remove_expired(now));
    }

    /// How many are kept.
    pub fn len(&self) -> u64 {
        self.tables.iter().filter_map(OnceLock::get).map(Table::len).sum()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory taken.
    pub fn octets(&self) -> u64 {
        self.room.octets.load(Relaxed)
    }

    fn place(&self, packed_length: usize) -> Option<&OnceLock<Table>> {
        if !packed_length.is_multiple_of(8) {
            return None;
        }
        self.tables.get((packed_length / 8).checked_sub(1)?)
    }
}

#[cfg(test)]
mod tests;
