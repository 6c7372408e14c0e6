//! The records of one issuer in memory: the truth that every answer is checked against.
//!
//! Purpose: from a serial number to its current state in one look, from any thread, while one
//! writer changes them. Invariant: a reader sees, for each serial, a state that was current at
//! some instant during the look, whole: the state of a record is one 64-bit word, and its key
//! never changes once the word says that the slot is in use. So there is no lock and no retry.
//! It does not know issuers, sources, disks or responses.
//!
//! A slot takes 32 octets; a segment that is 80 % full is built anew with a quarter more room than its
//! listed records take, so a record costs 40 to 50 octets, and 40 after [`Records::reserve`] has told the
//! number beforehand. The new segment is swapped in whole; readers go on with the old one until then.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::*},
    },
};

use arc_swap::ArcSwap;

use crate::pki::{Reason, Record, Serial, Status, UnixTime};

/// Segments of a table. With 10 million records a segment holds 39,000 (1.6 MiB), which a writer
/// copies in about a millisecond.
pub const SEGMENTS: usize = 256;

/// The largest share of a segment in use before it grows, in percent: linear probing looks at
/// three slots on average at 80 %.
const LOAD_PERCENT_MAX: usize = 80;

/// The state of a record as one word. Two equal words mean that the record says the same, and has
/// not changed in between as long as it stayed listed: a counter goes up with each change, and starts
/// again when a removed record has been cleared away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct State(u64);

impl State {
    // bits 0–3 tag, 4–7 reason, 8–31 generation, 32–63 revocation time
    const GOOD: u64 = 1;
    const REVOKED: u64 = 2;
    const REMOVED: u64 = 3;
    const TAG: u64 = 0xf;
    const GENERATION: u64 = 0xff_ffff << 8;

    /// The word, to be kept elsewhere.
    pub const fn word(self) -> u64 {
        self.0
    }

    /// The state that was such a word.
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// The word without its counter: equal for all states that say the same, in this process and in others.
    pub const fn said(self) -> u64 {
        self.0 & !Self::GENERATION
    }

    /// What the word says; `None` for a record that was removed.
    pub fn status(self) -> Option<Status> {
        match self.0 & Self::TAG {
            Self::GOOD => Some(Status::Good),
            Self::REVOKED => Some(Status::Revoked {
                time: UnixTime(self.0 >> 32),
                reason: Reason::from_code((self.0 >> 4) as u8 & 0xf).unwrap_or(Reason::Unspecified),
            }),
            _ => None,
        }
    }

    /// `status` as the successor of the word `previous`.
    fn next(previous: u64, status: Option<Status>) -> u64 {
        let generation = previous.wrapping_add(1 << 8) & Self::GENERATION;
        generation
            | match status {
                None => Self::REMOVED,
                Some(Status::Good) => Self::GOOD,
                Some(Status::Revoked { time, reason }) => {
                    Self::REVOKED | u64::from(reason.code()) << 4 | u64::from(seconds32(time)) << 32
                }
            }
    }
}

/// Seconds in 32 bits: the last is 2106-02-07T06:28:15Z. Sources refuse later revocation times;
/// for an end of validity the last value stands for "later than that".
fn seconds32(time: UnixTime) -> u32 {
    u32::try_from(time.0).unwrap_or(u32::MAX)
}

/// A change of one record; `None` takes it off the list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// Which.
    pub serial: Serial,
    /// What it becomes.
    pub record: Option<Record>,
}

/// One look-up's result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// The state word, to be compared later.
    pub state: State,
    /// Good or revoked.
    pub status: Status,
    /// End of validity where known; `None` also when it lies after 2106.
    pub not_after: Option<UnixTime>,
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
    /// Held while changing; tells also how many slots of each segment are in use.
    writer: Mutex<Box<[usize]>>,
    good: AtomicU64,
    revoked: AtomicU64,
}

#[derive(Debug, Default)]
struct Slot {
    state: AtomicU64,
    serial_high: AtomicU64,
    serial_mid: AtomicU64,
    /// The serial's last 32 bits, then the end of validity; 0 is unknown.
    serial_low_and_not_after: AtomicU64,
}

#[derive(Debug)]
struct Segment {
    slots: Box<[Slot]>,
}

type Key = [u64; 3];

fn key(serial: &Serial) -> Key {
    let octets = serial.padded();
    let word = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| octets[at + i]));
    let low = u32::from_be_bytes([octets[16], octets[17], octets[18], octets[19]]);
    [word(0), word(8), u64::from(low)]
}

impl Slot {
    fn holds(&self, key: &Key) -> bool {
        self.serial_high.load(Relaxed) == key[0]
            && self.serial_mid.load(Relaxed) == key[1]
            && self.serial_low_and_not_after.load(Relaxed) >> 32 == key[2]
    }

    fn serial(&self) -> Option<Serial> {
        let mut octets = [0; Serial::MAX_OCTETS];
        octets[..8].copy_from_slice(&self.serial_high.load(Relaxed).to_be_bytes());
        octets[8..16].copy_from_slice(&self.serial_mid.load(Relaxed).to_be_bytes());
        octets[16..].copy_from_slice(&self.serial_low_and_not_after.load(Relaxed).to_be_bytes()[..4]);
        Serial::from_magnitude(&octets)
    }

    fn not_after(&self) -> Option<UnixTime> {
        match self.serial_low_and_not_after.load(Relaxed) as u32 {
            0 | u32::MAX => None,
            seconds => Some(UnixTime(u64::from(seconds))),
        }
    }

    fn set_not_after(&self, not_after: Option<UnixTime>) {
        let low = self.serial_low_and_not_after.load(Relaxed) & !u64::from(u32::MAX);
        self.serial_low_and_not_after.store(low | u64::from(not_after.map_or(0, seconds32)), Relaxed);
    }
}

impl Segment {
    fn with_capacity(capacity: usize) -> Self {
        Self { slots: (0..capacity).map(|_| Slot::default()).collect() }
    }

    /// The slot that holds `key`, or else the free one where the search ended. `None` only in a
    /// segment without a free slot, which exists only before the first insertion.
    fn find(&self, key: &Key, hash: u64) -> Option<(usize, &Slot, u64)> {
        let capacity = self.slots.len();
        // The top byte of the hash has chosen the segment; the rest is spread over the slots.
        let start = ((u128::from(hash << 8) * capacity as u128) >> 64) as usize;
        for at in (start..capacity).chain(0..start) {
            let slot = &self.slots[at];
            let state = slot.state.load(Acquire);
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
    fn place(&self, key: &Key) -> (u64, usize) {
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
        let state = State(state);
        Some(Found { state, status: state.status()?, not_after: slot.not_after() })
    }

    /// Calls `each` with every record of one of the [`SEGMENTS`]. A record that is listed all the while is among them,
    /// once; of one that changes meanwhile some state that it has had.
    pub fn each_in(&self, segment: usize, mut each: impl FnMut(Serial, Found)) {
        let Some(segment) = self.segments.get(segment) else { return };
        for slot in &segment.load_full().slots {
            let state = State(slot.state.load(Acquire));
            let Some(status) = state.status() else { continue };
            if let Some(serial) = slot.serial() {
                each(serial, Found { state, status, not_after: slot.not_after() });
            }
        }
    }

    /// How many there are.
    pub fn counts(&self) -> Counts {
        Counts { good: self.good.load(Relaxed), revoked: self.revoked.load(Relaxed) }
    }

    /// Makes room for `additional` more records at once, so that each costs 40 octets.
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

    /// Applies changes, in order. Each is visible at once when its own turn has come.
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
            // By the records that are still listed: slots of removed ones come free.
            let listed = segment.slots.iter().filter(|slot| State(slot.state.load(Relaxed)).status().is_some()).count();
            let capacity = (listed + listed / 4) * 100 / LOAD_PERCENT_MAX + 8;
            used[index] = self.rebuild(&self.segments[index], capacity);
            segment = self.segments[index].load_full();
        }
        let Some((_, slot, previous)) = segment.find(&key, hash) else { return };
        let status = change.record.map(|record| record.status);
        if previous == 0 {
            if status.is_none() {
                return;
            }
            slot.serial_high.store(key[0], Relaxed);
            slot.serial_mid.store(key[1], Relaxed);
            slot.serial_low_and_not_after.store(key[2] << 32, Relaxed);
            used[index] += 1;
        }
        if let Some(record) = change.record {
            slot.set_not_after(record.not_after);
        }
        self.count(State(previous).status(), status);
        // Publishes the key to readers: they load the state first, with Acquire.
        slot.state.store(State::next(previous, status), Release);
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
            let state = slot.state.load(Relaxed);
            if State(state).status().is_none() {
                continue;
            }
            let low = slot.serial_low_and_not_after.load(Relaxed);
            let key = [slot.serial_high.load(Relaxed), slot.serial_mid.load(Relaxed), low >> 32];
            if let Some((_, free, _)) = new.find(&key, self.place(&key).0) {
                free.serial_high.store(key[0], Relaxed);
                free.serial_mid.store(key[1], Relaxed);
                free.serial_low_and_not_after.store(low, Relaxed);
                free.state.store(state, Relaxed);
                used += 1;
            }
        }
        cell.store(new.into());
        used
    }

    /// Starts a comparison of this table with a complete list. Nothing may be applied to the
    /// table until the census is over.
    pub fn census(&self) -> Census<'_> {
        let seen = self.segments.iter().map(|segment| vec![0; segment.load().slots.len().div_ceil(64)]).collect();
        Census { records: self, seen }
    }
}

/// Which records of a table a source has listed so far.
#[derive(Debug)]
pub struct Census<'a> {
    records: &'a Records,
    seen: Vec<Vec<u64>>,
}

impl Census<'_> {
    /// Notes that `serial` is listed, and tells the table's record of it. The first value is
    /// false if that record was listed before; for a serial that the table does not hold it is
    /// always true.
    pub fn mark(&mut self, serial: &Serial) -> (bool, Option<Found>) {
        let key = key(serial);
        let (hash, index) = self.records.place(&key);
        let segment = self.records.segments[index].load();
        let found = segment.find(&key, hash).and_then(|(at, slot, state)| {
            let state = State(state);
            let status = state.status()?;
            Some((at, Found { state, status, not_after: slot.not_after() }))
        });
        match found {
            None => (true, None),
            Some((at, found)) => {
                let word = &mut self.seen[index][at / 64];
                let first = *word & 1 << (at % 64) == 0;
                *word |= 1 << (at % 64);
                (first, Some(found))
            }
        }
    }

    /// The records that no call of [`Census::mark`] has named.
    pub fn unlisted(&self) -> impl Iterator<Item = (Serial, Status)> + '_ {
        self.records.segments.iter().zip(&self.seen).flat_map(|(segment, seen)| {
            let segment = segment.load_full();
            (0..segment.slots.len())
                .filter(|at| seen[at / 64] & 1 << (at % 64) == 0)
                .filter_map(|at| {
                    let slot = &segment.slots[at];
                    Some((slot.serial()?, State(slot.state.load(Acquire)).status()?))
                })
                .collect::<Vec<_>>()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashMap,
        sync::atomic::{AtomicBool, Ordering},
    };

    use proptest::prelude::*;

    use super::*;

    fn serial(number: u64) -> Serial {
        Serial::from_magnitude(&(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()).unwrap()
    }

    fn good(number: u64) -> Change {
        Change { serial: serial(number), record: Some(Record { status: Status::Good, not_after: Some(UnixTime(5)) }) }
    }

    fn revoked(number: u64, time: u64) -> Change {
        let status = Status::Revoked { time: UnixTime(time), reason: Reason::KeyCompromise };
        Change { serial: serial(number), record: Some(Record { status, not_after: None }) }
    }

    proptest! {
        #[test]
        fn behaves_as_a_map(steps in proptest::collection::vec((0u64..300, 0u8..3, 1u64..1000), 1..2000)) {
            let (table, mut map) = (Records::default(), HashMap::new());
            for (number, kind, time) in steps {
                let change = match kind {
                    0 => good(number),
                    1 => revoked(number, time),
                    _ => Change { serial: serial(number), record: None },
                };
                let before = table.get(&change.serial).map(|found| found.state);
                table.apply([change]);
                let after = table.get(&change.serial).map(|found| found.state);
                prop_assert!(before.is_none() || before != after, "a change shows in the word");
                match change.record {
                    Some(record) => map.insert(number, record),
                    None => map.remove(&number),
                };
            }
            for number in 0..300 {
                let found = table.get(&serial(number)).map(|f| Record { status: f.status, not_after: f.not_after });
                prop_assert_eq!(found, map.get(&number).copied());
            }
            let mut walked = HashMap::new();
            (0..SEGMENTS).for_each(|segment| table.each_in(segment, |serial, found| {
                assert!(walked.insert(serial, found).is_none(), "met once");
                assert_eq!(table.get(&serial), Some(found));
            }));
            prop_assert_eq!(walked.len(), map.len());
            let good = map.values().filter(|r| r.status == Status::Good).count() as u64;
            prop_assert_eq!(table.counts(), Counts { good, revoked: map.len() as u64 - good });
        }
    }

    #[test]
    fn a_census_finds_what_is_listed_twice_and_what_is_missing() {
        let table = Records::default();
        table.apply((0..1000).map(good));
        let mut census = table.census();
        for number in 10..1000 {
            assert!(matches!(census.mark(&serial(number)), (true, Some(_))));
        }
        assert!(!census.mark(&serial(500)).0, "listed twice");
        assert!(matches!(census.mark(&serial(5000)), (true, None)));
        let mut missing: Vec<_> = census.unlisted().map(|(serial, _)| serial).collect();
        missing.sort();
        let mut expected: Vec<_> = (0..10).map(serial).collect();
        expected.sort();
        assert_eq!(missing, expected);
    }

    #[test]
    fn readers_see_whole_states_while_the_table_grows() {
        let table = Records::default();
        table.apply((0..1000).map(good));
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut looks = 0u64;
                while !stop.load(Ordering::Relaxed) || looks < 1000 {
                    let number = looks % 1000;
                    match table.get(&serial(number)).expect("never lost").status {
                        Status::Good => {}
                        Status::Revoked { time, reason } => {
                            assert_eq!((time, reason), (UnixTime(number + 7), Reason::KeyCompromise));
                        }
                    }
                    looks += 1;
                }
            });
            for number in 0..1000 {
                table.apply([revoked(number, number + 7)]);
                table.apply((0..50).map(|extra| good(1000 + 50 * number + extra)));
            }
            stop.store(true, Ordering::Relaxed);
            reader.join().unwrap();
        });
        assert_eq!(table.counts(), Counts { good: 50_000, revoked: 1000 });
    }

    #[test]
    fn turnover_takes_no_more_memory_than_what_is_listed() {
        // Short-lived certificates come and go: slots of removed records once counted as records, and
        // the table grew by half each time they filled it.
        let table = Records::default();
        let slots = || table.segments.iter().map(|segment| segment.load().slots.len()).sum::<usize>();
        for day in 0..30 {
            table.apply((0..10_000).map(|number| good(day * 10_000 + number)));
            let expired = |number| Change { serial: serial(number), record: None };
            table.apply((0..10_000).filter(|_| day > 0).map(|number| expired((day - 1) * 10_000 + number)));
        }
        assert_eq!(table.counts().good, 10_000);
        assert!(slots() < 50_000, "{} slots", slots());
    }

    #[test]
    fn reserved_records_take_forty_octets_each() {
        let table = Records::default();
        table.reserve(200_000);
        let slots = || table.segments.iter().map(|segment| segment.load().slots.len()).sum::<usize>();
        let reserved = slots();
        table.apply((0..200_000).map(good));
        assert!(slots() <= reserved + reserved / 100, "{} grew to {}", reserved, slots());
        // 781 records a segment need 14 % of room for their spread; large tables need less.
        assert!(slots() * size_of::<Slot>() / 200_000 <= 46);
    }
}
