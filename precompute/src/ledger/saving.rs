//! An issuer's part of the book: everything of one issuer that is written to it goes through here, one commit at a time.
//!
//! Invariants: what was saved is in the book that is on disk now. A push and the saving of other changes never overlap,
//! so a commit never writes a state from before a push that the book has already. If the book was lost, replaced or
//! restored from a backup while the process runs, everything known is written to it, and the revocations that only it
//! knows are taken from it. Who reads the book for long keeps nobody from writing. It does not know sources.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tracing::warn;

use super::{
    Inner,
    reconcile::{FINAL, Known, strictness},
    unsaved::{Chunk, OfSources},
};
#[cfg(test)]
use crate::left_out::{Rule, is_left_out};
use crate::{
    book::{Answered, Batch, Book, BookReader, Identity, Pace},
    limits,
    pki::{Record, Serial},
    records::{Change, SEGMENTS},
    state_dir::StateError,
};

/// The book, shared by the ledgers of all issuers.
#[derive(Debug)]
pub(crate) struct SharedBook {
    book: Mutex<Book>,
    /// How many pushes and others wait for it: saving other changes makes way.
    pushes: AtomicUsize,
    /// Whether sources and pushes may change what is known.
    pub(super) leads: AtomicBool,
    /// Whether somebody who is not here has to be told of what they change.
    pub(super) owes: AtomicBool,
    /// Whether nobody else has anything yet.
    pub(super) begins: AtomicBool,
    /// What a test does while somebody reads.
    #[cfg(test)]
    reading: super::steps::Steps,
}

impl SharedBook {
    pub(crate) fn new(book: Book) -> Self {
        Self {
            book: Mutex::new(book),
            pushes: AtomicUsize::new(0),
            leads: AtomicBool::new(true),
            owes: AtomicBool::new(false),
            begins: AtomicBool::new(false),
            #[cfg(test)]
            reading: super::steps::Steps::default(),
        }
    }

    /// Reads the last commit for as long as `step` takes, while others write. It begins anew, with another reader, if the
    /// file is closed meanwhile: because it was exchanged, or because a commit failed.
    pub(crate) fn read<T>(&self, mut step: impl FnMut(&BookReader) -> Result<T, StateError>) -> Result<T, StateError> {
        let reader = self.lock().reader()?;
        #[cfg(test)]
        self.reading.reach(super::Step::Reading);
        let error = match step(&reader) {
            Ok(read) => return Ok(read),
            Err(error) => error,
        };
        let mut book = self.lock();
        if book.distrust(&reader) {
            return Err(error);
        }
        // On a full disk each push would close it again, so now nobody else has it.
        let reader = book.reader()?;
        step(&reader).inspect_err(|_| _ = book.distrust(&reader))
    }

    /// What is to be done when somebody has begun to read.
    #[cfg(test)]
    pub(crate) fn plan_reading(&self, act: Option<Box<dyn FnOnce() + Send>>) {
        self.reading.plan(act.map(|act| (super::Step::Reading, act)));
    }

    /// The book for one commit or a short read. This also works after a thread panicked while it had it: redb knows what was
    /// committed.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same for somebody whom saving makes way for, as it does for pushes.
    pub(super) fn lock_first(&self) -> MutexGuard<'_, Book> {
        let _waits = self.wait();
        self.lock()
    }

    /// A push, or another one that goes first, waits for the book, until it is dropped.
    pub(super) fn wait(&self) -> WaitingPush<'_> {
        self.pushes.fetch_add(1, Relaxed);
        WaitingPush(self)
    }

    /// Whether a push waits for it.
    pub(super) fn is_wanted(&self) -> bool {
        self.pushes.load(Relaxed) > 0
    }
}

/// See [`SharedBook::wait`].
pub(super) struct WaitingPush<'a>(&'a SharedBook);

impl Drop for WaitingPush<'_> {
    fn drop(&mut self) {
        self.0.pushes.fetch_sub(1, Relaxed);
    }
}

/// What is known of the book. Locked for each commit, before the book itself.
#[derive(Debug)]
pub(super) struct Saved {
    /// The book that has everything that is not in `unsaved`.
    pub(super) identity: Identity,
    /// When the book last was found in its place.
    pub(super) looked_at: Instant,
    /// How many records go into a commit.
    pub(super) pace: Pace,
    /// What this process has answered to requests with idempotency keys, in this order; for another book.
    answered: VecDeque<Answered>,
}

impl Saved {
    /// Everything shown is in this book.
    pub(super) fn in_book(identity: Identity) -> Self {
        Self { identity, looked_at: Instant::now(), pace: Pace::default(), answered: VecDeque::new() }
    }

    /// These answers are in the book. They are kept as long as the book keeps them.
    pub(super) fn has_answered(&mut self, answered: &[Answered]) {
        let Some(now) = answered.iter().map(|answer| answer.at).max() else { return };
        self.answered.extend(answered);
        let is_over = |answer: &Answered| now.since(answer.at) > limits::BOOK_ANSWERS_KEPT;
        while self.answered.len() as u64 > limits::BOOK_ANSWERS_MAX || self.answered.front().is_some_and(is_over) {
            self.answered.pop_front();
        }
    }
}

/// How long this thread has run.
pub(super) fn on_a_processor() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

/// What these records were early.
#[cfg(test)]
fn of_early(early: &[Change], serials: &[Serial]) -> Vec<Change> {
    let of_one = |serial: &Serial| early.iter().find(|change| change.serial == *serial).copied();
    serials.iter().map(|serial| of_one(serial).unwrap_or(Change::new(*serial, None))).collect()
}

impl Inner {
    /// Saves some of what is not saved, if there is any; true if more remains. `gives_way`: whether a push that comes
    /// meanwhile ends it.
    pub(super) fn save_some(&self, gives_way: bool) -> Result<bool, StateError> {
        #[cfg(test)]
        let early = is_left_out(Rule::SavedAsItIs).then(|| self.present_all());
        #[cfg(test)]
        self.steps.reach(super::Step::Saving);
        let mut saved = self.commit();
        let mut book = self.book.lock();
        saved.looked_at = Instant::now();
        self.in_place(&mut saved, &mut book)?;
        let mut chunk = self.shown().unsaved.take(saved.pace.size());
        if chunk.is_empty() {
            return Ok(false);
        }
        let Chunk { serials, succeeds, of_sources, forgets_stamps } = &chunk;
        let OfSources { crl_marks, verified, stamps } = of_sources;
        // As they are now. Who changes one from here on marks it again.
        let changes: Vec<Change> = serials.iter().map(|serial| self.present(serial)).collect();
        #[cfg(test)]
        let changes = early.map_or(changes, |early| of_early(&early, serials));
        #[cfg(test)]
        self.steps.reach(super::Step::Taken);
        let begun = on_a_processor();
        let committed = book.commit(&Batch {
            crl_marks: crl_marks.as_ref(),
            verified: *verified,
            forgets_stamps: *forgets_stamps,
            stamps: stamps.as_deref(),
            succeeds,
            owed: self.owes(),
            // Whoever comes takes it as a whole.
            is_told: self.book.begins(),
            changes: &changes,
            is_wanted: &|| gives_way && self.book.is_wanted(),
            ..Batch::new(&self.id, saved.identity)
        });
        drop(book);
        #[cfg(test)]
        self.steps.reach(super::Step::Saved);
        let written = committed.as_ref().map_or(0, |committed| committed.changes);
        saved.pace.took(written, on_a_processor().saturating_sub(begun));
        let mut shown = self.shown();
        if committed.is_ok() && written == changes.len() {
            self.state.health.unsaved(shown.unsaved.serials_left() as u64);
            return Ok(!shown.unsaved.is_empty());
        }
        chunk.serials.drain(..written);
        if committed.is_ok() {
            chunk.succeeds.clear();
            chunk.forgets_stamps = false;
        }
        #[cfg(test)]
        if is_left_out(Rule::SavedLater) {
            chunk.serials.clear();
        }
        shown.unsaved.put_back(chunk);
        self.state.health.unsaved(shown.unsaved.serials_left() as u64);
        committed.map(|_| true)
    }

    /// The present state of a record, as a change.
    pub(super) fn present(&self, serial: &Serial) -> Change {
        Known::change(*serial, self.state.records.get(serial).map(Known::from))
    }

    /// All records as they are now.
    #[cfg(test)]
    fn present_all(&self) -> Vec<Change> {
        let mut all = Vec::new();
        for segment in 0..SEGMENTS {
            self.state.records.each_in(segment, |serial, _| all.push(self.present(&serial)));
        }
        all
    }

    /// Makes sure that the book has everything that this process has ever saved to it.
    pub(super) fn in_place(&self, saved: &mut Saved, book: &mut Book) -> Result<(), StateError> {
        let identity = book.identity()?;
        if identity != saved.identity {
            self.write_all(saved, book)?;
            saved.identity = identity;
        }
        Ok(())
    }

    /// Writes everything that the records show to another book, in one commit: what was pushed is in no source. Of
    /// idempotency keys it has those that this process has answered. A request with an earlier one is decided anew: what it
    /// wants is done already, or refused as it would be without a key.
    fn write_all(&self, saved: &mut Saved, book: &mut Book) -> Result<(), StateError> {
        let mut revoked_there = Vec::new();
        let (mut changes, mut hashes) = (Vec::new(), Vec::new());
        let held = book.load(&self.id, |serial, record, origin| {
            let known = self.state.records.get(&serial).map(|known| known.status);
            if strictness(record.status) == FINAL && known.map(strictness) != Some(FINAL) {
                revoked_there.push(Change::new(serial, Some(record)).by(origin));
            } else if known.is_none() {
                changes.push(Change::new(serial, None));
            }
        })?;
        let taken_over = revoked_there.len();
        let (crl_marks, chunk) = {
            let mut shown = self.shown();
            self.show_as_they_are(&mut shown, &revoked_there);
            // Whatever comes from here on is marked again.
            (shown.crl_marks.clone(), shown.unsaved.take(usize::MAX))
        };
        for segment in 0..SEGMENTS {
            self.state.records.each_in(segment, |serial, found| {
                #[cfg(test)]
                if is_left_out(Rule::PushedIsWrittenAnew) && found.origin.is_pushed() {
                    return;
                }
                if found.origin.is_pushed() {
                    hashes.extend(self.state.details.hash(&serial).map(|hash| (serial, hash)));
                }
                let record = Record { status: found.status, not_after: found.not_after };
                changes.push(Change::new(serial, Some(record)).by(found.origin));
            });
        }
        changes.sort_unstable_by_key(|change| change.serial);
        let verified = self.state.health.report().verified_saved;
        let committed = book.commit(&Batch {
            crl_marks: Some(&crl_marks),
            verified,
            stamps: Some(&[]),
            // What was told before is not known any more: whoever tells compares the book as a whole.
            forgets_owed: true,
            // An answer there may be of a push whose commit failed, and whose records were just written over.
            forgets_answers: true,
            answered: saved.answered.make_contiguous(),
            succeeds: &chunk.succeeds,
            changes: &changes,
            hashes: &hashes,
            ..Batch::new(&self.id, held.book)
        });
        if let Err(error) = committed {
            self.shown().unsaved.put_back(chunk);
            return Err(error);
        }
        warn!(
            tenant = self.id.tenant(),
            issuer = *self.name(),
            records = changes.len(),
            taken_over,
            "everything known of this issuer was written into the new book"
        );
        Ok(())
    }
}
