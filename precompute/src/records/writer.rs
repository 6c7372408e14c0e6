//! The one writer of a table.
//!
//! Invariant: a table has one writer, because [`Records::new`] alone makes it and nothing copies it; so a change takes no
//! lock. Each change is visible as soon as it is made. It does not know why a record changes, and forbids no change: that
//! is the ledger's.

use std::sync::{Arc, PoisonError, atomic::Ordering::Relaxed};

use arc_swap::ArcSwap;

use super::{Change, Digest, Found, Origin, Records, SEGMENTS, Segment, StateWord, end_of, is_revoked, key};
use crate::pki::{Record, Serial, Status};

/// The largest share of a segment in use before it grows, in percent: linear probing looks at
/// three slots on average at 80 %.
const LOAD_PERCENT_MAX: usize = 80;

/// A segment grows by this part of its records: the slots of a record then take at most 32 / 0.8 × 9/8 = 45 bytes, and
/// an insertion copies eight others on average.
const GROWTH_DIVISOR: usize = 8;

/// Changes the records of one table.
#[derive(Debug)]
pub struct RecordsWriter {
    records: Arc<Records>,
    /// How many slots of each segment are in use.
    used: Box<[usize]>,
    digest: Digest,
}

impl RecordsWriter {
    /// The writer of an empty table, which has no other.
    pub(super) fn of(records: Arc<Records>) -> Self {
        Self { records, used: vec![0; SEGMENTS].into(), digest: Digest::default() }
    }

    /// The table.
    pub fn records(&self) -> &Arc<Records> {
        &self.records
    }

    /// Makes room for `additional` more records at once, so that each costs 40 bytes. A number that is small beside what
    /// the table holds changes nothing: room for it is made as it comes.
    pub fn reserve(&mut self, additional: usize) {
        let share = additional / SEGMENTS;
        // Segments are filled by a hash: four standard deviations of room each.
        let share = share + 4 * share.isqrt();
        for index in 0..SEGMENTS {
            let wanted = (self.used[index] + share) * 100 / LOAD_PERCENT_MAX + 1;
            if share > self.used[index] / GROWTH_DIVISOR && wanted > self.records.segments[index].load().slots.len() {
                self.rebuild(index, wanted);
            }
        }
    }

    /// Applies changes, in order. Each is visible as soon as it is made.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = Change>) {
        for Change { serial, record, origin } in changes {
            self.change_one(&serial, |_| Some(record.map(|record| (record, origin))));
        }
        self.publish_digest();
    }

    /// Changes one record to what `decide` makes of it: `None` leaves it as it is, `Some(None)` removes it. True if it
    /// was changed. The change is visible at once.
    pub fn change(
        &mut self,
        serial: &Serial,
        decide: impl FnOnce(Option<Found>) -> Option<Option<(Record, Origin)>>,
    ) -> bool {
        let changed = self.change_one(serial, decide);
        self.publish_digest();
        changed
    }

    fn publish_digest(&self) {
        *self.records.digest.lock().unwrap_or_else(PoisonError::into_inner) = self.digest;
    }

    fn change_one(
        &mut self,
        serial: &Serial,
        decide: impl FnOnce(Option<Found>) -> Option<Option<(Record, Origin)>>,
    ) -> bool {
        let key = key(serial);
        let (hash, index) = self.records.place(&key);
        let mut segment = self.records.segments[index].load_full();
        if (self.used[index] + 1) * 100 > segment.slots.len() * LOAD_PERCENT_MAX {
            // Counts the records that are still listed, because slots of removed ones are freed.
            let listed = segment.slots.iter().filter(|slot| StateWord(slot.state()).status().is_some()).count();
            self.rebuild(index, (listed + listed / GROWTH_DIVISOR) * 100 / LOAD_PERCENT_MAX + 8);
            segment = self.records.segments[index].load_full();
        }
        let Some((_, slot, previous)) = segment.find(&key, hash) else { return false };
        let Some(next) = decide(Found::of(slot, previous)) else { return false };
        let (record, origin) = (next.map(|(record, _)| record), next.map_or(Origin::SOURCE, |(_, origin)| origin));
        let status = record.map(|record| record.status);
        let (before, state) = (StateWord(previous).status(), StateWord::next(previous, status, origin));
        let end_before = slot.end();
        match record {
            None if previous == 0 => return false,
            None => slot.set_state(state),
            Some(record) if previous == 0 => {
                slot.fill(&key, state, end_of(record.not_after));
                self.used[index] += 1;
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
        self.count(before, status);
        self.count_origin(before.is_some().then(|| StateWord::of_slot(previous).1), record.map(|_| origin));
        if before.is_some() {
            self.digest = self.digest.without(&key, previous, end_before);
        }
        if let Some(record) = record {
            self.digest = self.digest.with(&key, state, end_of(record.not_after));
        }
        true
    }

    fn count(&self, before: Option<Status>, after: Option<Status>) {
        let counter = |status| match status {
            Status::Good => &self.records.good,
            Status::Revoked { .. } => &self.records.revoked,
        };
        if let Some(status) = before {
            counter(status).fetch_sub(1, Relaxed);
        }
        if let Some(status) = after {
            counter(status).fetch_add(1, Relaxed);
        }
    }

    fn count_origin(&self, before: Option<Origin>, after: Option<Origin>) {
        let counter = |origin: Origin| &self.records.origins[usize::from(origin.bits())];
        if before == after {
            return;
        }
        if let Some(before) = before {
            counter(before).fetch_sub(1, Relaxed);
        }
        if let Some(after) = after {
            counter(after).fetch_add(1, Relaxed);
        }
    }

    /// Replaces a segment by a copy of `capacity` slots without removed records.
    fn rebuild(&mut self, index: usize, capacity: usize) {
        let cell: &ArcSwap<Segment> = &self.records.segments[index];
        let old = cell.load();
        let new = Segment::with_capacity(capacity);
        let mut used = 0;
        for slot in &old.slots {
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
        cell.store(new.into());
        self.used[index] = used;
    }
}
