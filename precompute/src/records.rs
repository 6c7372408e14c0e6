//! The records of one issuer in memory: the truth that every answer is checked against.
//!
//! Purpose: one look-up from a serial number to its current state, from any thread, while one writer changes records:
//! [`Records`] is for readers, of which there are many, and [`RecordsWriter`] for the writer, which is one by type.
//! Invariant: a reader sees a state of that serial that was current at some instant during the look-up, with the end of
//! validity that belonged to it; `slot` has the one exception, which makes no certificate good. A state is one 64-bit
//! word, and a slot's key never changes once the word says that the slot is in use. So there is no lock, and a reader
//! never waits for the writer. It does not know issuers, sources, disks or responses.
//!
//! A slot takes 32 bytes. A segment that is 80 % full is rebuilt with an eighth more room than its listed records take,
//! so a record costs 40 to 45 bytes, and 40 if [`RecordsWriter::reserve`] was given the number beforehand. The new segment is
//! swapped in whole; readers use the old one until then.

mod census;
mod details;
mod digest;
mod filling;
mod origin;
mod part;
mod slot;
mod state;
mod stated;
mod writer;

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;

pub use self::{
    census::Census,
    details::{CertificateHash, CrlReference, Details, NO_HASH, RevocationDetails, Revocations},
    digest::Digest,
    filling::Filling,
    origin::Origin,
    state::StateWord,
    stated::Stated,
    writer::RecordsWriter,
};
use self::{
    slot::{SerialWords, Slot},
    state::seconds32,
};
use crate::pki::{Record, Serial, Status, UnixTime};

/// Segments of a table. With 10 million records a segment holds 20,000 (800 KiB), which a writer copies in about a
/// millisecond.
pub const SEGMENTS: usize = 1 << SEGMENT_BITS;
const SEGMENT_BITS: u32 = 9;

/// A change of one record; `None` removes it from the list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// The serial.
    pub serial: Serial,
    /// What it becomes.
    pub record: Option<Record>,
    /// Who says so; without meaning for a removal.
    pub origin: Origin,
}

impl Change {
    /// A change that a source alone states.
    pub const fn new(serial: Serial, record: Option<Record>) -> Self {
        Self { serial, record, origin: Origin::SOURCE }
    }

    /// The same with another origin.
    pub const fn by(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }
}

/// One look-up's result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// The state word, for later comparison.
    pub state: StateWord,
    /// Good or revoked.
    pub status: Status,
    /// The end of validity, if known; `None` also if it is after 2106.
    pub not_after: Option<UnixTime>,
    /// Who says so.
    pub origin: Origin,
}

/// How many records a table holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Listed and good.
    pub good: u64,
    /// Revoked, holds included.
    pub revoked: u64,
}

/// All records of one issuer, for readers. An empty one, as by default, stays empty: only a [`RecordsWriter`] changes
/// records.
#[derive(Debug)]
pub struct Records {
    hasher: RandomState,
    segments: Box<[ArcSwap<Segment>]>,
    good: AtomicU64,
    revoked: AtomicU64,
    /// How many records have each of the origins, by their bits.
    origins: [AtomicU64; 16],
    /// Of the records as they were after the last call of the writer. No look-up takes this lock.
    digest: Mutex<Digest>,
}

#[derive(Debug)]
struct Segment {
    slots: Box<[Slot]>,
}

fn key(serial: &Serial) -> SerialWords {
    let octets = serial.padded();
    let word = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| octets[at + i]));
    let low = u32::from_be_bytes([octets[16], octets[17], octets[18], octets[19]]);
    [word(0), word(8), u64::from(low)]
}

fn serial_of(key: &SerialWords) -> Option<Serial> {
    let mut octets = [0; Serial::MAX_OCTETS];
    octets[..8].copy_from_slice(&key[0].to_be_bytes());
    octets[8..16].copy_from_slice(&key[1].to_be_bytes());
    octets[16..].copy_from_slice(&key[2].to_be_bytes()[4..]);
    Serial::from_magnitude(&octets)
}

impl Found {
    /// What a slot says whose state was read as `state`; `None` if the record was removed.
    fn of(slot: &Slot, state: u64) -> Option<Self> {
        let (state, end) = slot.read(state);
        let (state, origin) = StateWord::of_slot(state);
        Some(Self { state, status: state.status()?, not_after: not_after(end), origin })
    }
}

/// How a slot stores an end of validity: 0 is unknown, the last value means later than can be stored.
fn end_of(not_after: Option<UnixTime>) -> u32 {
    not_after.map_or(0, seconds32)
}

fn not_after(end: u32) -> Option<UnixTime> {
    Some(UnixTime(u64::from(end))).filter(|_| end != 0 && end != u32::MAX)
}

/// Revoked, or on hold.
fn is_revoked(status: Status) -> bool {
    matches!(status, Status::Revoked { .. })
}

impl Segment {
    fn with_capacity(capacity: usize) -> Self {
        Self { slots: (0..capacity).map(|_| Slot::default()).collect() }
    }

    /// The slot that holds `key`, else the free one where the search ended. `None` only in a segment without a free
    /// slot, which exists only before the first insertion.
    fn find(&self, key: &SerialWords, hash: u64) -> Option<(usize, &Slot, u64)> {
        let capacity = self.slots.len();
        // The top bits of the hash chose the segment; the rest is spread over the slots.
        let start = ((u128::from(hash << SEGMENT_BITS) * capacity as u128) >> 64) as usize;
        for at in (start..capacity).chain(0..start) {
            let slot = &self.slots[at];
            let state = slot.state();
            if state == 0 || slot.holds(key) {
                return Some((at, slot, state));
            }
        }
        None
    }
}

impl Default for Records {
    fn default() -> Self {
        let empty = Arc::new(Segment::with_capacity(0));
        Self {
            hasher: RandomState::new(),
            segments: (0..SEGMENTS).map(|_| ArcSwap::new(Arc::clone(&empty))).collect(),
            good: AtomicU64::new(0),
            revoked: AtomicU64::new(0),
            origins: Default::default(),
            digest: Mutex::default(),
        }
    }
}

impl Records {
    /// An empty table and its one writer.
    pub fn new() -> (Arc<Self>, RecordsWriter) {
        let records = Arc::<Self>::default();
        (Arc::clone(&records), RecordsWriter::of(records))
    }

    /// A table of these records, which changes no more.
    pub fn of(changes: impl IntoIterator<Item = Change>) -> Arc<Self> {
        let (records, mut writer) = Self::new();
        let changes = changes.into_iter();
        writer.reserve(changes.size_hint().0);
        writer.apply(changes);
        records
    }

    fn place(&self, key: &SerialWords) -> (u64, usize) {
        let mut hasher = self.hasher.build_hasher();
        key.iter().for_each(|&word| hasher.write_u64(word));
        let hash = hasher.finish();
        (hash, (hash >> (64 - SEGMENT_BITS)) as usize % SEGMENTS)
    }

    /// The record of `serial`, if its source lists it.
    pub fn get(&self, serial: &Serial) -> Option<Found> {
        let key = key(serial);
        let (hash, segment) = self.place(&key);
        let segment = self.segments[segment].load();
        let (_, slot, state) = segment.find(&key, hash)?;
        Found::of(slot, state)
    }

    /// Whether `serial` is listed as revoked, on hold included.
    pub fn is_revoked(&self, serial: &Serial) -> bool {
        self.get(serial).is_some_and(|found| is_revoked(found.status))
    }

    /// Calls `each` with every record of one of the [`SEGMENTS`]. A record that stays listed is among them, once; a
    /// record that changes meanwhile comes with one of its states.
    pub fn each_in(&self, segment: usize, mut each: impl FnMut(Serial, Found)) {
        let Some(segment) = self.segments.get(segment) else { return };
        for slot in &segment.load_full().slots {
            let Some(found) = Found::of(slot, slot.state()) else { continue };
            if let Some(serial) = serial_of(&slot.key()) {
                each(serial, found);
            }
        }
    }

    /// How many have an origin of which this holds.
    pub fn count_by_origin(&self, holds: impl Fn(Origin) -> bool) -> u64 {
        let counts = (0u8..).zip(&self.origins).filter(|(bits, _)| holds(Origin::from_bits(*bits)));
        counts.map(|(_, count)| count.load(Relaxed)).sum()
    }

    /// How many there are.
    pub fn counts(&self) -> Counts {
        Counts { good: self.good.load(Relaxed), revoked: self.revoked.load(Relaxed) }
    }

    /// The digest of all records: while the writer applies changes, from before them.
    pub fn digest(&self) -> Digest {
        *self.digest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
