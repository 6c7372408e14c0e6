//! The one writer of a table.
//!
//! Invariant: a table has one writer, because [`Records::new`] alone makes it and nothing copies it; so a change takes no
//! lock. Each change is visible as soon as it is made. It does not know why a record changes, and forbids no change: that
//! is the ledger's.

use std::{
    panic::resume_unwind,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use super::{
    Change, Digest, Found, Origin, Records, SEGMENTS, key,
    part::{GROWTH_DIVISOR, LOAD_PERCENT_MAX, Part, Tally},
};
use crate::pki::{Record, Serial};

/// Changes that are applied at once and are worth a thread: some milliseconds of work.
const WORTH_A_THREAD: usize = 1 << 14;
/// Threads that fill in records: the memory is the bound beyond.
const FILLING_THREADS_MAX: usize = 4;

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
                Part::of(&self.records, index, &mut self.used[index], &mut Tally::default()).rebuild(wanted);
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

    /// Applies changes of each segment, with the hashes of their serials. Many are applied by several threads at once.
    pub(super) fn apply_by_segments(&mut self, changes: &mut [Vec<(u64, Change)>]) {
        let count: usize = changes.iter().map(Vec::len).sum();
        let processors =
            if count < WORTH_A_THREAD { 1 } else { thread::available_parallelism().map_or(1, usize::from) };
        let records = &*self.records;
        let work = Mutex::new(self.used.iter_mut().zip(changes).enumerate());
        let fill = || {
            let mut tally = Tally::default();
            loop {
                let next = work.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((index, (used, changes))) = next else { return tally };
                let mut part = Part::of(records, index, used, &mut tally);
                for (hash, Change { serial, record, origin }) in changes.drain(..) {
                    part.change(&key(&serial), hash, |_| Some(record.map(|record| (record, origin))));
                }
            }
        };
        let tallies: Vec<Tally> = thread::scope(|scope| {
            // A thread that cannot be started is one that does not help.
            let start = |_| thread::Builder::new().name("filling".into()).spawn_scoped(scope, fill).ok();
            let others: Vec<_> = (1..processors.min(FILLING_THREADS_MAX)).filter_map(start).collect();
            let own = fill();
            let joined = others.into_iter().map(|other| other.join().unwrap_or_else(|panic| resume_unwind(panic)));
            joined.chain([own]).collect()
        });
        tallies.into_iter().for_each(|tally| self.take(tally));
        self.publish_digest();
    }

    fn take(&mut self, tally: Tally) {
        self.digest = self.digest.and(tally.digest);
        tally.add_to(&self.records);
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
        let mut tally = Tally::default();
        let mut part = Part::of(&self.records, index, &mut self.used[index], &mut tally);
        let is_changed = part.change(&key, hash, decide);
        self.take(tally);
        is_changed
    }
}
