//! The records of one issuer in memory: the truth that every answer is checked against.
//!
//! Purpose: one look-up from a serial number to its current state, from any thread, while one writer changes records.
//! Invariant: a reader sees a state of that serial that was current at some instant during the look-up, with the end of
//! validity that belonged to it; `slot` has the one exception, which makes no certificate good. A state is one 64-bit
//! word, and a slot's key never changes once the word says that the slot is in use. So there is no lock, and a reader
//! never waits for the writer. It does not know issuers, sources, disks or responses.
//!
//! A slot takes 32 bytes. A segment that is 80 % full is rebuilt with a quarter more room than its listed records take,
//! so a record costs 40 to 50 bytes, and 40 if [`Records::reserve`] was given the number beforehand. The new segment is
//! swapped in whole; readers use the old one until then.

mod census;
mod origin;
mod slot;
mod state;

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;

pub use self::{census::Census, origin::Origin, state::StateWord};
use self::{
    slot::{SerialWords, Slot},
    state::seconds32,
};
use crate::pki::{Record, Serial, Status, UnixTime};

/// Segments of a table. With 10 million records a segment holds 39,000 (1.6 MiB), which a writer
/// copies in about a millisecond.
pub const SEGMENTS: usize = 256;

/// The largest share of a segment in use before it grows, in percent: linear probing looks at
/// three slots on average at 80 %.
const LOAD_PERCENT_MAX: usize = 80;

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

/// All records of one issuer.
#[derive(Debug)]
pub struct Records {
    hasher: RandomState,
    segments: Box<[ArcSwap<Segment>]>,
    /// Locked while records change; also holds how many slots of each segment are in use.
    writer: Mutex<Box<[usize]>>,
    good: AtomicU64,
    revoked: AtomicU64,
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
        // The top byte of the hash chose the segment; the rest is spread over the slots.
        let start = ((u128::from(hash << 8) * capacity as u128) >> 64) as usize;
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
        Self {
            hasher: RandomState::new(),
            segments: (0..SEGMENTS).map(|_| ArcSwap::from_pointee(Segment::with_capacity(0))).collect(),
            writer: Mutex::new(vec![0; SEGMENTS].into_boxed_slice()),
            good: AtomicU64::new(0),
            revoked: AtomicU64::new(0),
        }
    }
}

impl Records {
    fn place(&self, key: &SerialWords) -> (u64, usize) {
        let mut hasher = self.hasher.build_hasher();
        key.iter().for_each(|&word| hasher.write_u64(word));
        let hash = hasher.finish();
        (hash, (hash >> 56) as usize % SEGMENTS)
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

    /// How many there are.
    pub fn counts(&self) -> Counts {
        Counts { good: self.good.load(Relaxed), revoked: self.revoked.load(Relaxed) }
    }

    /// Makes room for `additional` more records at once, so that each costs 40 bytes.
    pub fn reserve(&self, additional: usize) {
        let mut used = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let share = additional / SEGMENTS;
        // Segments are filled by a hash: four standard deviations of room each.
        let share = share + 4 * share.isqrt();
        for (segment, used) in self.segments.iter().zip(used.iter_mut()) {
            let wanted = (*used + share) * 100 / LOAD_PERCENT_MAX + 1;
            if share > 0 && wanted > segment.load().slots.len() {
                *used = self.rebuild(segment, wanted);
            }
        }
    }

    /// Applies changes, in order. Each is visible as soon as it is made.
    pub fn apply(&self, changes: impl IntoIterator<Item = Change>) {
        let mut used = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            self.apply_one(&mut used, &change);
        }
    }

    fn apply_one(&self, used: &mut [usize], change: &Change) {
        let key = key(&change.serial);
        let (hash, index) = self.place(&key);
        let mut segment = self.segments[index].load_full();
        if (used[index] + 1) * 100 > segment.slots.len() * LOAD_PERCENT_MAX {
            // Counts the records that are still listed, because slots of removed ones are freed.
            let listed = segment.slots.iter().filter(|slot| StateWord(slot.state()).status().is_some()).count();
            let capacity = (listed + listed / 4) * 100 / LOAD_PERCENT_MAX + 8;
            used[index] = self.rebuild(&self.segments[index], capacity);
            segment = self.segments[index].load_full();
        }
        let Some((_, slot, previous)) = segment.find(&key, hash) else { return };
        let status = change.record.map(|record| record.status);
        let (before, state) = (StateWord(previous).status(), StateWord::next(previous, status, change.origin));
        match change.record {
            None if previous == 0 => return,
            None => slot.set_state(state),
            Some(record) if previous == 0 => {
                slot.fill(&key, state, end_of(record.not_after));
                used[index] += 1;
            }
            Some(record) if slot.end() == end_of(record.not_after) => {
                let same = before.is_some() && StateWord(previous).said() == StateWord(state).said();
                slot.set_state(if same { StateWord::with_origin(previous, change.origin) } else { state });
            }
            Some(record) => {
                // Nobody reads the end of a removed record. For a listed one, either end may be read with the stricter
                // state.
                let meanwhile = before.map(|before| if is_revoked(before) { before } else { record.status });
                let meanwhile = StateWord::next(previous, meanwhile, change.origin);
                slot.set_both(meanwhile, StateWord::next(meanwhile, status, change.origin), end_of(record.not_after));
            }
        }
        self.count(before, status);
    }

    fn count(&self, before: Option<Status>, after: Option<Status>) {
        let counter = |status| match status {
            Status::Good => &self.good,
            Status::Revoked { .. } => &self.revoked,
        };
        if let Some(status) = before {
            counter(status).fetch_sub(1, Relaxed);
        }
        if let Some(status) = after {
            counter(status).fetch_add(1, Relaxed);
        }
    }

    /// Replaces a segment by a copy of `capacity` slots without removed records; returns the slots in use.
    fn rebuild(&self, cell: &ArcSwap<Segment>, capacity: usize) -> usize {
        let old = cell.load();
        let new = Segment::with_capacity(capacity);
        let mut used = 0;
        for slot in &old.slots {
            let state = slot.state();
            if StateWord(state).status().is_none() {
                continue;
            }
            let key = slot.key();
            if let Some((_, free, _)) = new.find(&key, self.place(&key).0) {
                free.fill(&key, state, slot.end());
                used += 1;
            }
        }
        cell.store(new.into());
        used
    }
}

#[cfg(test)]
mod tests;
