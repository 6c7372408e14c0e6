//! What is written with one commit.
//!
//! Purpose: the values of a commit. Invariant: what a batch names is of one issuer, and meant for one file. It does not
//! know tables.

use super::{Answered, Identity, Move};
use crate::{
    issuer_id::IssuerId,
    pki::{Serial, UnixTime},
    records::{CertificateHash, Change},
    source::CrlMarks,
};

/// Changes of one issuer's records that belong together.
#[derive(Clone, Copy)]
pub struct Batch<'a> {
    /// The issuer whose records these are.
    pub issuer: &'a IssuerId,
    /// The file that they are for.
    pub book: Identity,
    /// Fastest in order of serial.
    pub changes: &'a [Change],
    /// The CRLs they come from.
    pub crl_marks: Option<&'a CrlMarks>,
    /// When the sources were in order.
    pub verified: Option<UnixTime>,
    /// The predecessors of this issuer.
    pub succeeds: &'a [IssuerId],
    /// Whether the changes are to be told to others: each gets a row in the outbox.
    pub owed: bool,
    /// Whether the changes are what was told last: nothing is owed of them any more, and none is a debt. Changes that are
    /// neither owed nor told end the place in the feed.
    pub is_told: bool,
    /// What others say of records that stay as they are.
    pub contradicted: &'a [Contradicted],
    /// Whether the outbox and the debts that the book has of this issuer are removed before.
    pub forgets_owed: bool,
    /// Answers to the requests that these changes come from.
    pub answered: &'a [Answered],
    /// The hashes of certificates that were pushed. Where the changes are owed, so are the records of these certificates.
    pub hashes: &'a [(Serial, CertificateHash)],
    /// Whether the answers that the book has are removed before.
    pub forgets_answers: bool,
    /// Whether the stamps that the book has are removed before.
    pub forgets_stamps: bool,
    /// What the sources looked like when everything that they said was in the book, this batch included; up to
    /// [`limits::BOOK_STAMPS_OCTETS_MAX`] bytes, and longer ones are not kept. `None` leaves those that the book has,
    /// and an empty value removes them.
    pub stamps: Option<&'a [u8]>,
    /// Whether somebody waits for the book: then the batch ends after [`limits::BOOK_SAVE_CHUNK_MIN`] changes or more,
    /// and leaves out the rest and everything of the sources (`crl_marks`, `verified`, `stamps`), which belongs to the
    /// last change.
    pub is_wanted: &'a dyn Fn() -> bool,
}

/// What a commit has written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Committed {
    /// The version of the book.
    pub version: u64,
    /// How many of the batch's changes; all of them, unless the book was wanted.
    pub changes: usize,
}

/// Changes of any number of issuers that belong together.
#[derive(Clone, Copy)]
pub struct Joint<'a> {
    /// One of each issuer, all for this book. None of them makes way.
    pub batches: &'a [Batch<'a>],
    /// The change of the place in the feed, if there is one.
    pub place: Option<Move>,
}

/// A record that stays although others say something else of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Contradicted {
    /// What it says here.
    pub present: Change,
    /// What the others say: a row of the outbox has this as told last, and without a row it is a debt.
    pub said: Change,
}

/// A row of the outbox as it is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Told {
    /// The fingerprint of the issuer.
    pub issuer: [u8; 32],
    /// What the record says.
    pub change: Change,
    /// The commit that changed it last.
    pub version: u64,
}

impl<'a> Batch<'a> {
    /// Whether it changes anything, or forgets something.
    pub fn says_something(&self) -> bool {
        !self.changes.is_empty() || !self.contradicted.is_empty() || !self.hashes.is_empty() || self.forgets_stamps
    }

    /// One that changes nothing.
    pub fn new(issuer: &'a IssuerId, book: Identity) -> Self {
        Self {
            issuer,
            book,
            changes: &[],
            crl_marks: None,
            verified: None,
            succeeds: &[],
            owed: false,
            is_told: false,
            contradicted: &[],
            forgets_owed: false,
            answered: &[],
            hashes: &[],
            forgets_answers: false,
            forgets_stamps: false,
            stamps: None,
            is_wanted: &|| false,
        }
    }
}
