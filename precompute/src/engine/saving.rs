//! From an issuer's records into the book.
//!
//! Invariant: what was saved is in the book that lies there now, whichever that is. A book that was lost, exchanged or
//! set back to an earlier day under the running process gets all that is known, and gives all that it alone knows to be
//! revoked.

use tracing::{error, warn};

use super::{
    compare::{FINAL, strictness},
    unsaved::Unsaved,
    watched::Watched,
};
use crate::{
    book::{Batch, Book},
    pki::Record,
    records::{Change, SEGMENTS},
    state_dir::StateError,
};

impl Watched {
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

    /// Makes another book hold what the records show.
    fn write_all(&mut self, book: &mut Book) -> Result<(), StateError> {
        let mut revoked_there = Vec::new();
        let mut changes = Vec::new();
        let held = book.load(&self.issuer.id, |serial, record| {
            let known = self.state.records.get(&serial).map(|known| known.status);
            if strictness(record.status) == FINAL && known.map(strictness) != Some(FINAL) {
                revoked_there.push(Change { serial, record: Some(record) });
            } else if known.is_none() {
                changes.push(Change { serial, record: None });
            }
        })?;
        let taken_over = revoked_there.len();
        self.show(revoked_there);
        for segment in 0..SEGMENTS {
            self.state.records.each_in(segment, |serial, found| {
                let record = Record { status: found.status, not_after: found.not_after };
                changes.push(Change { serial, record: Some(record) });
            });
        }
        changes.sort_unstable_by_key(|change| change.serial);
        book.commit(&Batch {
            issuer: &self.issuer.id,
            book: held.book,
            changes: &changes,
            crl_marks: Some(self.crl_marks),
            verified: self.verified_saved,
            succeeds: &self.unsaved.succeeds,
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
