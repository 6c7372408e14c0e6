//! What an issuer's records show and the book does not have yet.
//!
//! Purpose: names the records; their present state is what is saved, so a later change needs no order. Invariant:
//! nothing leaves it but in a [`Chunk`], which is saved or put back. Its size stays in proportion to the table's. It
//! does not know what a record says.

use std::collections::VecDeque;

use crate::{
    issuer_id::IssuerId,
    pki::{Serial, UnixTime},
    source::CrlMarks,
};

#[derive(Debug, Default)]
pub(super) struct Unsaved {
    /// A serial may be in several.
    runs: VecDeque<Run>,
    count: usize,
    /// The predecessors of the issuer. They go with the first chunk: from then on the book knows the issuer, and has to
    /// know whom it succeeds.
    pub(super) succeeds: Vec<IssuerId>,
    pub(super) of_sources: OfSources,
    /// Whether the stamps that the book has are of other sources. That goes with the first chunk.
    pub(super) forgets_stamps: bool,
}

/// Records in order of serial, without those that were taken.
#[derive(Debug)]
struct Run {
    serials: Vec<Serial>,
    taken: usize,
}

impl From<Vec<Serial>> for Run {
    fn from(serials: Vec<Serial>) -> Self {
        Self { serials, taken: 0 }
    }
}

impl Run {
    fn len(&self) -> usize {
        self.serials.len() - self.taken
    }

    fn take(&mut self, records: usize) -> Vec<Serial> {
        let some = &self.serials[self.taken..];
        let some = some[..records.min(some.len())].to_vec();
        self.taken += some.len();
        some
    }

    fn into_rest(mut self) -> Vec<Serial> {
        self.serials.drain(..self.taken);
        self.serials
    }
}

/// What is saved about the sources. It goes with the last chunk, so it is never ahead of the records.
#[derive(Clone, Debug, Default)]
pub(super) struct OfSources {
    pub(super) crl_marks: Option<CrlMarks>,
    /// When the sources were in order.
    pub(super) verified: Option<UnixTime>,
    /// What they looked like.
    pub(super) stamps: Option<Vec<u8>>,
}

impl OfSources {
    pub(super) fn is_empty(&self) -> bool {
        self.crl_marks.is_none() && self.verified.is_none() && self.stamps.is_none()
    }
}

/// A part of it, for one commit.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// In order.
    pub(super) serials: Vec<Serial>,
    pub(super) succeeds: Vec<IssuerId>,
    pub(super) of_sources: OfSources,
    pub(super) forgets_stamps: bool,
}

impl Chunk {
    pub(super) fn is_empty(&self) -> bool {
        self.serials.is_empty() && self.succeeds.is_empty() && self.of_sources.is_empty() && !self.forgets_stamps
    }
}

impl Unsaved {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0 && self.succeeds.is_empty() && self.of_sources.is_empty() && !self.forgets_stamps
    }

    /// How many records wait; some may be counted more than once.
    pub(super) fn serials_left(&self) -> usize {
        self.count
    }

    /// Adds records, in order of serial. `records_max`: about how many there are in the table.
    pub(super) fn add(&mut self, serials: Vec<Serial>, records_max: u64) {
        if serials.is_empty() {
            return;
        }
        self.count += serials.len();
        match self.runs.pop_back() {
            // Single changes make no run of their own.
            Some(last) if serials.len() < SMALL && last.len() < SMALL => {
                let mut all = last.into_rest();
                all.extend(serials);
                let before = all.len();
                all.sort_unstable();
                all.dedup();
                self.count -= before - all.len();
                self.runs.push_back(all.into());
            }
            last => self.runs.extend(last.into_iter().chain([serials.into()])),
        }
        if self.count as u64 > 2 * records_max + (SMALL * SMALL) as u64 {
            self.compact();
        }
    }

    /// One run without duplicates: while the disk is full, the same records change again and again.
    fn compact(&mut self) {
        let mut all: Vec<Serial> = self.runs.drain(..).flat_map(Run::into_rest).collect();
        all.sort_unstable();
        all.dedup();
        self.count = all.len();
        self.runs.push_back(all.into());
    }

    /// Takes at most so many records.
    pub(super) fn take(&mut self, records: usize) -> Chunk {
        let mut serials = Vec::new();
        if let Some(run) = self.runs.front_mut() {
            serials = run.take(records);
            if run.len() == 0 {
                self.runs.pop_front();
            }
        }
        self.count -= serials.len();
        let of_sources = if self.count == 0 { std::mem::take(&mut self.of_sources) } else { OfSources::default() };
        let forgets_stamps = std::mem::take(&mut self.forgets_stamps);
        Chunk { serials, succeeds: std::mem::take(&mut self.succeeds), of_sources, forgets_stamps }
    }

    /// A chunk could not be saved. What came meanwhile is newer.
    pub(super) fn put_back(&mut self, chunk: Chunk) {
        let Chunk { serials, succeeds, of_sources, forgets_stamps } = chunk;
        let OfSources { crl_marks, verified, stamps } = of_sources;
        self.forgets_stamps |= forgets_stamps;
        if !serials.is_empty() {
            self.count += serials.len();
            self.runs.push_front(serials.into());
        }
        if self.succeeds.is_empty() {
            self.succeeds = succeeds;
        }
        let now = &mut self.of_sources;
        now.crl_marks = now.crl_marks.take().or(crl_marks);
        now.verified = now.verified.or(verified);
        now.stamps = now.stamps.take().or(stamps);
    }
}

/// Changes that come in such numbers are gathered.
const SMALL: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn serial(number: u16) -> Serial {
        Serial::from_magnitude(&(u32::from(number) + 1).to_be_bytes()).unwrap()
    }

    proptest! {
        #[test]
        fn everything_added_leaves_in_chunks_whatever_is_put_back(
            added in vec(vec(0u16..2000, 0..300), 1..12),
            size in 1usize..400,
            fail in vec(any::<bool>(), 64),
        ) {
            let mut unsaved = Unsaved::default();
            let mut expected = std::collections::BTreeSet::new();
            for numbers in added {
                let mut serials: Vec<_> = numbers.into_iter().map(serial).collect();
                serials.sort_unstable();
                serials.dedup();
                expected.extend(serials.iter().copied());
                unsaved.add(serials, 10);
            }
            unsaved.of_sources.verified = Some(UnixTime(7));
            let (mut saved, mut fail) = (std::collections::BTreeSet::new(), fail.into_iter());
            while !unsaved.is_empty() {
                let chunk = unsaved.take(size);
                prop_assert!(chunk.serials.len() <= size && chunk.serials.is_sorted());
                if fail.next() == Some(true) {
                    unsaved.put_back(chunk);
                    continue;
                }
                saved.extend(chunk.serials);
                prop_assert_eq!(chunk.of_sources.verified.is_some(), unsaved.serials_left() == 0, "with the last");
            }
            prop_assert_eq!(saved, expected);
        }
    }

    #[test]
    fn what_changes_again_and_again_while_nothing_can_be_saved_stays_small() {
        let mut unsaved = Unsaved::default();
        for _ in 0..1000 {
            unsaved.add((0..1000).map(serial).collect(), 1000);
        }
        assert!(unsaved.serials_left() < 100_000, "{}", unsaved.serials_left());
    }
}
