//! What one issuer's records show and the book does not have yet.

use crate::{
    book::{Batch, Identity},
    issuer_id::IssuerId,
    pki::UnixTime,
    records::Change,
    source::CrlMarks,
};

/// It waits until the book can be written.
#[derive(Debug, Default)]
pub(super) struct Unsaved {
    changes: Vec<Change>,
    pub(super) crl_marks: Option<CrlMarks>,
    /// When the sources were in order.
    pub(super) verified: Option<UnixTime>,
    /// Whose place the issuer takes.
    pub(super) succeeds: Vec<IssuerId>,
}

impl Unsaved {
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.crl_marks.is_none() && self.verified.is_none() && self.succeeds.is_empty()
    }

    /// Changes that came after those that are there.
    pub(super) fn add(&mut self, changes: Vec<Change>) {
        if self.changes.is_empty() {
            self.changes = changes;
        } else {
            self.changes.extend(changes);
            // Stable, so that of two changes of one serial the later one stays the later one.
            self.changes.sort_by_key(|change| change.serial);
        }
    }

    /// All of it, as this book takes it.
    pub(super) fn batch<'a>(&'a self, issuer: &'a IssuerId, book: Identity) -> Batch<'a> {
        let Self { changes, crl_marks, verified, succeeds } = self;
        Batch { issuer, book, changes, crl_marks: *crl_marks, verified: *verified, succeeds }
    }
}
