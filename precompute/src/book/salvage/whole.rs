//! Issuers of a damaged book that are in order.
//!
//! Purpose: damage in one issuer's records costs the others nothing; what was pushed to them as good is in no source.
//! Invariant: an issuer is copied only if its seal holds, in a file whose list of issuers matches its own seal, and is
//! then there with everybody who stated something, the CRLs taken, the time when its sources were in order, and the
//! answers to requests. It does not know the issuers that are damaged.
//!
//! What the sources looked like is not copied, so they are read again. Nor are the outbox, the debts and the place in the
//! feed: the new book is another one, and whoever tells changes to others has to compare it as a whole. Then what it
//! revokes for good and the feed does not is a debt again.

use std::{collections::BTreeSet, path::Path};

use super::{
    super::{Answered, Batch, Book, BookReader, Held, answered, loading::number_of},
    OfIssuer,
};
use crate::{
    issuer_id::IssuerId,
    limits,
    pki::Status,
    records::Change,
    state_dir::{StateError, damage::guarded},
};

/// What was copied.
#[derive(Debug, Default)]
pub(super) struct Whole {
    /// Numbers in the damaged book.
    pub(super) numbers: BTreeSet<u32>,
    pub(super) issuers: Vec<OfIssuer>,
    /// How many records.
    pub(super) records: u64,
    /// Who has succeeded whom, of all issuers: predecessor and successor.
    pub(super) successions: Vec<(IssuerId, IssuerId)>,
}

impl Whole {
    /// Copies what is in order. An error is one of the new book.
    pub(super) fn copy(damaged: &Path, book: &mut Book) -> Result<Self, StateError> {
        let mut this = Self::default();
        let mut look = open(damaged);
        let list = look.as_mut().and_then(|look| Some((look.issuers().ok()?, look.lineage().ok()?)));
        let Some((issuers, lineage)) = list else { return Ok(this) };
        this.successions = lineage.successions();
        for issuer in issuers {
            // After an error nothing that redb has in memory is used again.
            look = look.or_else(|| open(damaged));
            let read = look.as_mut().and_then(|look| read(&look.reader().ok()?, &issuer));
            let Some(read) = read else {
                look = None;
                continue;
            };
            write(book, &issuer, &read)?;
            let records = read.changes.len() as u64;
            let is_good = |change: &&Change| change.record.is_some_and(|record| record.status == Status::Good);
            let good = read.changes.iter().filter(is_good).count() as u64;
            let revoked = records - good;
            this.records += records;
            this.numbers.insert(read.number);
            this.issuers.push(OfIssuer { issuer, is_whole: true, good, revoked, withheld: 0, list: None });
        }
        Ok(this)
    }
}

fn open(damaged: &Path) -> Option<Book> {
    Book::look(damaged).ok().flatten()
}

/// An issuer that is in order.
struct Read {
    number: u32,
    held: Held,
    /// In order of serial.
    changes: Vec<Change>,
    /// In the order in which they came.
    answered: Vec<Answered>,
}

/// `None` if it is not in order.
fn read(reader: &BookReader, issuer: &IssuerId) -> Option<Read> {
    let mut changes = Vec::new();
    let load = reader.load(issuer, |serial, record, origin| {
        changes.push(Change::new(serial, Some(record)).by(origin));
    });
    let held = load.ok()?;
    let rest = guarded(|| {
        let Some(number) = number_of(&reader.read, issuer)? else { return Ok(None) };
        Ok(Some((number, answered::list(&reader.read, number)?)))
    });
    let (number, answered) = rest.ok().flatten()?;
    Some(Read { number, held, changes, answered })
}

fn write(book: &mut Book, issuer: &IssuerId, read: &Read) -> Result<(), StateError> {
    let Read { held, changes, answered, .. } = read;
    let identity = book.identity()?;
    let mut parts = changes.chunks(limits::BOOK_SAVE_CHUNK_MAX);
    let last = parts.next_back().unwrap_or_default();
    for changes in parts {
        book.commit(&Batch { changes, ..Batch::new(issuer, identity) })?;
    }
    book.commit(&Batch {
        changes: last,
        crl_marks: Some(&held.crl_marks),
        verified: held.verified,
        answered,
        ..Batch::new(issuer, identity)
    })?;
    Ok(())
}

/// Notes who has succeeded whom, of the issuers that the new book knows.
pub(super) fn succeed(
    book: &mut Book,
    successions: &[(IssuerId, IssuerId)],
    issuers: &[OfIssuer],
) -> Result<(), StateError> {
    let is_there = |id: &IssuerId| issuers.iter().any(|of| of.issuer == *id && (of.is_whole || of.revoked > 0));
    for (former, successor) in successions.iter().filter(|(former, successor)| is_there(former) && is_there(successor))
    {
        let identity = book.identity()?;
        book.commit(&Batch { succeeds: std::slice::from_ref(former), ..Batch::new(successor, identity) })?;
    }
    Ok(())
}
