//! Compares the table with a complete list, while the writer goes on: which records the list names, and which it does
//! not.
//!
//! Invariant: a census counts the records that were listed when it began, and no others. What it says of one of them was
//! so when it began or at some instant since. A record that came later is to it as one that the table does not hold, and
//! is never among the unlisted. Nothing in the table changes, and the writer does not wait. It does not know where the
//! list comes from.
//!
//! It holds the segments as they were when it began. A segment that grows meanwhile is held twice until it ends: with
//! ten million records that all grow, 450 MB more.

use std::sync::Arc;

use super::{Found, Records, SEGMENTS, Segment, SerialWords, StateWord, key, serial_of};
use crate::pki::Serial;

impl Records {
    /// Starts a comparison of this table with a complete list. It looks at each record once: about 0.1 s for ten
    /// million.
    pub fn census(&self) -> Census<'_> {
        Census { records: self, began: self.segments.iter().map(|segment| Began::of(segment.load_full())).collect() }
    }
}

/// Which records of a table a source has listed so far.
#[derive(Debug)]
pub struct Census<'a> {
    records: &'a Records,
    /// One for each of the [`SEGMENTS`].
    began: Box<[Began]>,
}

/// A segment when the census began.
#[derive(Debug)]
struct Began {
    segment: Arc<Segment>,
    /// A bit for each slot: whether its record was listed then,
    listed: Box<[u64]>,
    /// and whether the list has named it since.
    named: Box<[u64]>,
}

impl Began {
    fn of(segment: Arc<Segment>) -> Self {
        let is_listed = |slot: &super::Slot| StateWord(slot.state()).status().is_some();
        let bits = |slots: &[super::Slot]| {
            slots.iter().enumerate().fold(0, |word, (bit, slot)| word | u64::from(is_listed(slot)) << bit)
        };
        let listed: Box<[u64]> = segment.slots.chunks(64).map(bits).collect();
        Self { named: vec![0; listed.len()].into(), listed, segment }
    }

    /// The slots that were listed and have not been named.
    fn unnamed(&self) -> impl Iterator<Item = usize> + '_ {
        let words = self.listed.iter().zip(&self.named).map(|(listed, named)| listed & !named).enumerate();
        words
            .filter(|(_, word)| *word != 0)
            .flat_map(|(at, word)| (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at * 64 + bit))
    }
}

impl Census<'_> {
    /// Notes that `serial` is listed, and returns the table's record of it. The first value is false if that record was
    /// listed before; for a serial that the table did not hold when the census began it is always true, and there is no
    /// record.
    pub fn mark(&mut self, serial: &Serial) -> (bool, Option<Found>) {
        let key = key(serial);
        let (hash, index) = self.records.place(&key);
        let began = &mut self.began[index];
        let Some((at, ..)) = began.segment.find(&key, hash) else { return (true, None) };
        let (word, bit) = (at / 64, 1 << (at % 64));
        if began.listed[word] & bit == 0 {
            return (true, None);
        }
        let first = began.named[word] & bit == 0;
        began.named[word] |= bit;
        (first, self.now(index, at, &key))
    }

    /// The records that no call of [`Census::mark`] has named and that are still listed.
    pub fn unlisted(&self) -> impl Iterator<Item = (Serial, Found)> + '_ {
        (0..SEGMENTS).flat_map(move |index| {
            self.began[index].unnamed().filter_map(move |at| {
                let key = self.began[index].segment.slots[at].key();
                Some((serial_of(&key)?, self.now(index, at, &key)?))
            })
        })
    }

    /// What is said now of the record that had this place; `None` if it was removed meanwhile.
    fn now(&self, index: usize, at: usize, key: &SerialWords) -> Option<Found> {
        let began = &self.began[index].segment;
        // The copy of a segment has the changes since; so the old one counts as long as there was no copy before it was
        // read.
        let slot = &began.slots[at];
        let state = slot.state();
        let found = Found::of(slot, state);
        let live = self.records.segments[index].load();
        if Arc::ptr_eq(&live, began) {
            return found;
        }
        let (_, slot, state) = live.find(key, self.records.place(key).0)?;
        Found::of(slot, state)
    }
}
