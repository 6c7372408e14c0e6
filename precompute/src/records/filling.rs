//! Fills in millions of records at once.
//!
//! Purpose: at random places of a large table each record costs a miss of every cache. Here they are gathered by segment,
//! and a segment's own are filled in together, while it is in the cache. Invariant: when this value is dropped, the
//! table has everything that was added, the later of two changes to one serial included. It does not know where they come
//! from.

use super::{Change, RecordsWriter, SEGMENTS, key};

/// Records that are gathered before they are filled in: 2,000 for each segment, 84 MB in all.
const GATHERED_MAX: usize = SEGMENTS << 11;
/// The same where few are expected.
const GATHERED_MIN: usize = SEGMENTS << 6;
/// Of those that are expected so many parts are gathered: each costs twice what it takes in the table.
const GATHERED_PARTS: usize = 8;

/// Changes on their way into a table.
#[derive(Debug)]
pub struct Filling<'a> {
    writer: &'a mut RecordsWriter,
    /// By segments, with the hashes of their serials.
    gathered: Box<[Vec<(u64, Change)>]>,
    count: usize,
    most: usize,
}

impl RecordsWriter {
    /// Begins to fill in records. They show when they are filled in, which is when the value is dropped at the latest.
    pub fn filling(&mut self) -> Filling<'_> {
        Filling { writer: self, gathered: (0..SEGMENTS).map(|_| Vec::new()).collect(), count: 0, most: GATHERED_MAX }
    }
}

impl Filling<'_> {
    /// So many more records come: there is room for them at once.
    pub fn expect(&mut self, records: usize) {
        self.writer.reserve(records);
        self.most = (records / GATHERED_PARTS).clamp(GATHERED_MIN, GATHERED_MAX);
    }

    /// Adds a change.
    pub fn add(&mut self, change: Change) {
        let (hash, segment) = self.writer.records().place(&key(&change.serial));
        self.gathered[segment].push((hash, change));
        self.count += 1;
        if self.count >= self.most {
            self.fill_in();
        }
    }

    fn fill_in(&mut self) {
        self.writer.apply_by_segments(&mut self.gathered);
        self.count = 0;
    }
}

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        self.fill_in();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        pki::{Record, Serial, Status, UnixTime},
        records::Records,
    };

    fn change(number: u64, end: u64) -> Change {
        let serial = Serial::from_magnitude(&(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()).unwrap();
        Change::new(serial, Some(Record { status: Status::Good, not_after: Some(UnixTime(end)) }))
    }

    #[test]
    fn what_is_filled_in_is_what_is_applied_one_by_one() {
        let count = GATHERED_MAX as u64 + 1000;
        // Some come twice, within what is gathered together and beyond.
        let changes = || (0..count).map(|number| change(number, 7)).chain((count - 500..count).map(|n| change(n, 8)));
        let (filled, mut writer) = Records::new();
        let mut filling = writer.filling();
        changes().for_each(|change| filling.add(change));
        drop(filling);
        let (applied, mut writer) = Records::new();
        writer.apply(changes());
        assert_eq!((filled.counts(), filled.digest()), (applied.counts(), applied.digest()));
        assert_eq!(filled.get(&change(count - 1, 0).serial).unwrap().not_after, Some(UnixTime(8)));
    }
}
