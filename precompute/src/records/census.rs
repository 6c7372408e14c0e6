//! Compares the table with a complete list: which records the list names, and which it does not.
//!
//! Invariant: nothing in the table changes. It does not know where the list comes from.

use super::{Found, Records, key, serial_of};
use crate::pki::Serial;

impl Records {
    /// Starts a comparison of this table with a complete list. Apply no changes to the table until it is over.
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
    /// Notes that `serial` is listed, and returns the table's record of it. The first value is false if that record was
    /// listed before; for a serial that the table does not hold it is always true.
    pub fn mark(&mut self, serial: &Serial) -> (bool, Option<Found>) {
        let key = key(serial);
        let (hash, index) = self.records.place(&key);
        let segment = self.records.segments[index].load();
        let found = segment.find(&key, hash).and_then(|(at, slot, state)| Some((at, Found::of(slot, state)?)));
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
    pub fn unlisted(&self) -> impl Iterator<Item = (Serial, Found)> + '_ {
        self.records.segments.iter().zip(&self.seen).flat_map(|(segment, seen)| {
            let segment = segment.load_full();
            (0..segment.slots.len())
                .filter(|at| seen[at / 64] & 1 << (at % 64) == 0)
                .filter_map(|at| {
                    let slot = &segment.slots[at];
                    Some((serial_of(&slot.key())?, Found::of(slot, slot.state())?))
                })
                .collect::<Vec<_>>()
        })
    }
}
