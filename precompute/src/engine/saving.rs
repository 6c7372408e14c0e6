//! Saves an issuer's records to the book, which has one writer at a time.
//!
//! Invariant: what was saved is in the book that is on disk now. If the book was lost, replaced or restored from a
//! backup while the process runs, everything known is written to it, and the revocations that only it knows are read
//! from it. It does not know sources.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::{error, warn};

use super::{
    compare::{FINAL, strictness},
    issuer_worker::IssuerWorker,
};
use crate::{
    book::{Batch, Book, Identity},
    issuer_id::IssuerId,
    pki::{Record, UnixTime},
    records::{Change, SEGMENTS},
    source::CrlMarks,
    state_dir::StateError,
};

/// The book, shared by the threads of all issuers.
pub(super) type SharedBook = Arc<Mutex<Book>>;

/// Locks the book for one writer. This also works after a thread panicked while it held the lock: redb knows what was
/// committed.
pub(super) fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What an issuer's records show and the book does not have yet.
#[derive(Debug, Default)]
pub(super) struct Unsaved {
    changes: Vec<Change>,
    pub(super) crl_marks: Option<CrlMarks>,
    /// When the sources were in order.
    pub(super) verified: Option<UnixTime>,
    /// The predecessors of the issuer.
    pub(super) succeeds: Vec<IssuerId>,
}

impl Unsaved {
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.crl_marks.is_none() && self.verified.is_none() && self.succeeds.is_empty()
    }

    /// Adds changes that came after those already here.
    pub(super) fn add(&mut self, changes: Vec<Change>) {
        if self.changes.is_empty() {
            self.changes = changes;
        } else {
            self.changes.extend(changes);
            // A stable sort, so that the later of two changes to one serial stays later.
            self.changes.sort_by_key(|change| change.serial);
        }
    }

    /// All of it, as a batch for this book.
    pub(super) fn batch<'a>(&'a self, issuer: &'a IssuerId, book: Identity) -> Batch<'a> {
        let Self { changes, crl_marks, verified, succeeds } = self;
        Batch { changes, crl_marks: *crl_marks, verified: *verified, succeeds, ..Batch::new(issuer, book) }
    }
}

impl IssuerWorker {
    /// Writes to the book what it does not have yet.
    pub(super) fn save(&mut self, book: &mut Book) -> Result<(), StateError> {
        let saved = self.write(book);
        let fault = saved.as_ref().err().map(ToString::to_string);
        if self.state.health.saved(fault.clone()) {
            error!(
                tenant = self.issuer.tenant(),
                issuer = self.issuer.name,
                "{}; changes are served but not on disk yet",
                fault.unwrap_or_default()
            );
        }
        saved
    }

    fn write(&mut self, book: &mut Book) -> Result<(), StateError> {
        let identity = book.identity()?;
        if identity != self.book {
            self.write_all(book)?;
            self.book = identity;
        } else if !self.unsaved.is_empty() {
            book.commit(&self.unsaved.batch(&self.issuer.id, identity))?;
        }
        self.unsaved = Unsaved::default();
        Ok(())
    }

    /// Writes everything that the records show to another book.
    fn write_all(&mut self, book: &mut Book) -> Result<(), StateError> {
        let mut revoked_there = Vec::new();
        let mut changes = Vec::new();
        let held = book.load(&self.issuer.id, |serial, record, origin| {
            let known = self.state.records.get(&serial).map(|known| known.status);
            if strictness(record.status) == FINAL && known.map(strictness) != Some(FINAL) {
                revoked_there.push(Change::new(serial, Some(record)).by(origin));
            } else if known.is_none() {
                changes.push(Change::new(serial, None));
            }
        })?;
        let taken_over = revoked_there.len();
        self.show(revoked_there);
        for segment in 0..SEGMENTS {
            self.state.records.each_in(segment, |serial, found| {
                let record = Record { status: found.status, not_after: found.not_after };
                changes.push(Change::new(serial, Some(record)).by(found.origin));
            });
        }
        changes.sort_unstable_by_key(|change| change.serial);
        book.commit(&Batch {
            changes: &changes,
            crl_marks: Some(self.crl_marks),
            verified: self.verified_saved,
            succeeds: &self.unsaved.succeeds,
            ..Batch::new(&self.issuer.id, held.book)
        })?;
        warn!(
            tenant = self.issuer.tenant(),
            issuer = self.issuer.name,
            records = changes.len(),
            taken_over,
            "everything known of this issuer was written into the new book"
        );
        Ok(())
    }
}
