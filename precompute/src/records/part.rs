//! One segment of a table, as its writer changes it.
//!
//! Invariant: each change is visible as soon as it is made; by how much the numbers of records and the digest of the table
//! change is for the caller to add. It does not know the other segments, which may be changed at the same time.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use super::{Digest, Found, Origin, Records, Segment, SerialWords, StateWord, end_of, is_revoked};
use crate::pki::{Record, Status};

/// The largest share of a segment in use before it grows, in percent: linear probing looks at
/// three slots on average at 80 %.
pub(super) const LOAD_PERCENT_MAX: usize = 80;

/// A segment grows by this part of its records: the slots of a record then take at most 32 / 0.8 × 9/8 = 45 bytes, and
/// an insertion copies eight others on average.
pub(super) const GROWTH_DIVISOR: usize = 8;

/// See the module.
pub(super) struct Part<'a> {
    records: &'a Records,
    index: usize,
    segment: Arc<Segment>,
    /// How many of its slots are in use.
    used: &'a mut usize,
    tally: &'a mut Tally,
}

impl<'a> Part<'a> {
    pub(super) fn of(records: &'a Records, index: usize, used: &'a mut usize, tally: &'a mut Tally) -> Self {
        Self { records, index, segment: records.segments[index].load_full(), used, tally }
    }

    /// As [`RecordsWriter::change`](super::RecordsWriter::change); `hash`: of the key.
    pub(super) fn change(
        &mut self,
        key: &SerialWords,
        hash: u64,
        decide: impl FnOnce(Option<Found>) -> Option<Option<(Record, Origin)>>,
    ) -> bool {
        if (*self.used + 1) * 100 > self.segment.slots.len() * LOAD_PERCENT_MAX {
            // Counts the records that are still listed, because slots of removed ones are freed.
            let listed = self.segment.slots.iter().filter(|slot| StateWord(slot.state()).status().is_some()).count();
            self.rebuild((listed + listed / GROWTH_DIVISOR) * 100 / LOAD_PERCENT_MAX + 8);
        }
        let Some((_, slot, previous)) = self.segment.find(key, hash) else { return false };
        let Some(next) = decide(Found::of(slot, previous)) else { return false };
        let (record, origin) = (next.map(|(record, _)| record), next.map_or(Origin::SOURCE, |(_, origin)| origin));
        let status = record.map(|record| record.status);
        let (before, state) = (StateWord(previous).status(), StateWord::next(previous, status, origin));
        let end_before = slot.end();
        match record {
            None if previous == 0 => return false,
            None => slot.set_state(state),
            Some(record) if previous == 0 => {
                slot.fill(key, state, end_of(record.not_after));
                *self.used += 1;
            }
            Some(record) if end_before == end_of(record.not_after) => {
                let same = before.is_some() && StateWord(previous).said() == StateWord(state).said();
                slot.set_state(if same { StateWord::with_origin(previous, origin) } else { state });
            }
            Some(record) => {
                // Nobody reads the end of a removed record. For a listed one, either end may be read with the stricter
                // state.
                let meanwhile = before.map(|before| if is_revoked(before) { before } else { record.status });
                let meanwhile = StateWord::next(previous, meanwhile, origin);
                slot.set_both(meanwhile, StateWord::next(meanwhile, status, origin), end_of(record.not_after));
            }
        }
        self.tally.count(before, status);
        self.tally.count_origin(before.is_some().then(|| StateWord::of_slot(previous).1), record.map(|_| origin));
        if before.is_some() {
            self.tally.digest = self.tally.digest.without(key, previous, end_before);
        }
        if let Some(record) = record {
            self.tally.digest = self.tally.digest.with(key, state, end_of(record.not_after));
        }
        true
    }

    /// Replaces a segment by a copy of `capacity` slots without removed records.
    pub(super) fn rebuild(&mut self, capacity: usize) {
        let new = Segment::with_capacity(capacity);
        let mut used = 0;
        for slot in &self.segment.slots {
            let state = slot.state();
            if StateWord(state).status().is_none() {
                continue;
            }
            let key = slot.key();
            if let Some((_, free, _)) = new.find(&key, self.records.place(&key).0) {
                free.fill(&key, state, slot.end());
                used += 1;
            }
        }
        self.segment = Arc::new(new);
        self.records.segments[self.index].store(Arc::clone(&self.segment));
        *self.used = used;
    }
}

/// By how much the numbers of records change, modulo 2^64, and the digest.
#[derive(Default)]
pub(super) struct Tally {
    good: u64,
    revoked: u64,
    origins: [u64; 16],
    pub(super) digest: Digest,
}

impl Tally {
    fn count(&mut self, before: Option<Status>, after: Option<Status>) {
        let mut count = |status: Option<Status>, step: u64| {
            let counter = match status {
                None => return,
                Some(Status::Good) => &mut self.good,
                Some(Status::Revoked { .. }) => &mut self.revoked,
            };
            *counter = counter.wrapping_add(step);
        };
        count(before, u64::MAX);
        count(after, 1);
    }

    fn count_origin(&mut self, before: Option<Origin>, after: Option<Origin>) {
        for (origin, step) in [(before, u64::MAX), (after, 1)] {
            if let Some(origin) = origin {
                let counter = &mut self.origins[usize::from(origin.bits()) % 16];
                *counter = counter.wrapping_add(step);
            }
        }
    }

    pub(super) fn add_to(self, records: &Records) {
        let origins = records.origins.iter().zip(self.origins);
        for (counter, change) in
            [(&records.good, self.good), (&records.revoked, self.revoked)].into_iter().chain(origins)
        {
            if change != 0 {
                counter.fetch_add(change, Relaxed);
            }
        }
    }
}
