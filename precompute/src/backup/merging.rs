//! What becomes of the records of an issuer that a file has, and a book perhaps as well.
//!
//! Invariant: both are walked once, side by side, in order of serial, so memory is bounded by a frame whatever the number of
//! records. A record that the file does not have stays as it is. It does not know where changes go.

use std::vec;

use super::{
    contents::Counts,
    reading::{Part, Reader, Refusal},
};
use crate::{
    book::{BookReader, Held},
    issuer_id::IssuerId,
    ledger::reconcile::{HOLD, Known, restored, strictness},
    pki::{Serial, UnixTime},
    records::{Change, Origin},
    source::CrlMarks,
    state_dir::StateError,
};

/// What changes in the book of an issuer's records.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Changes {
    /// Records that the book did not have.
    pub added: Counts,
    /// Records that were good or on hold, and are revoked.
    pub revoked: u64,
    /// Records that were good, and are on hold.
    pub held: u64,
    /// Records of which only who said them changes, or the end of validity.
    pub others: u64,
    /// Hashes of certificates that were pushed and the book did not have.
    pub hashes: u64,
    /// Those that pushes have on hold now and the book had not: only a push releases them.
    pub held_by_pushes: Vec<Serial>,
}

impl Changes {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn note(&mut self, change: &Change, here: Option<Known>) {
        let Some(next) = Known::of(change) else { return };
        let (now, before) = (strictness(next.record.status), here.map(|here| strictness(here.record.status)));
        match before {
            None => self.added.add(change),
            Some(before) if before == now => self.others += 1,
            Some(_) if now == HOLD => self.held += 1,
            Some(_) => self.revoked += 1,
        }
        let is_held_by_push =
            |known: Known| strictness(known.record.status) == HOLD && known.origin.has(Origin::PUSH_RESTRICTS);
        if is_held_by_push(next) && !here.is_some_and(is_held_by_push) {
            self.held_by_pushes.push(change.serial);
        }
    }
}

/// The records of one issuer of a file, as they come.
pub(super) struct Rows<'a, R> {
    reader: &'a mut Reader<R>,
    waiting: vec::IntoIter<Change>,
    end: Option<(CrlMarks, Option<UnixTime>)>,
}

impl<'a, R: std::io::Read> Rows<'a, R> {
    /// Of the issuer whose begin was just read.
    pub(super) fn new(reader: &'a mut Reader<R>) -> Self {
        Self { reader, waiting: Vec::new().into_iter(), end: None }
    }

    /// The marks, and when the sources were in order; known at the end.
    pub(super) fn end(&self) -> (CrlMarks, Option<UnixTime>) {
        self.end.clone().unwrap_or_default()
    }

    fn next(&mut self) -> Result<Option<Change>, Refusal> {
        loop {
            if let Some(change) = self.waiting.next() {
                return Ok(Some(change));
            }
            if self.end.is_some() {
                return Ok(None);
            }
            match self.reader.next()? {
                Part::Records(changes) => self.waiting = changes.into_iter(),
                Part::EndOfIssuer { crl_marks, verified } => self.end = Some((crl_marks, verified)),
                // The reader has none of them within an issuer.
                Part::Issuer(_) | Part::Hashes(_) | Part::Succession(..) | Part::End => return Ok(None),
            }
        }
    }
}

/// Gives each change that the records of a file make in those of a book (`None`: it has none), in order of serial. Returns
/// what they are in sum, and what else the book holds of the issuer.
pub(super) fn merge<R: std::io::Read, E: From<Refusal> + From<StateError>>(
    rows: &mut Rows<'_, R>,
    book: Option<&BookReader>,
    issuer: &IssuerId,
    each: &mut impl FnMut(Change) -> Result<(), E>,
) -> Result<(Changes, Option<Held>), E> {
    let mut changes = Changes::default();
    let mut decide = |there: &Change, here: Option<Known>| -> Result<(), E> {
        let Some(next) = Known::of(there).map(|there| restored(there, here)) else { return Ok(()) };
        if here == Some(next) {
            return Ok(());
        }
        let change = Known::change(there.serial, Some(next));
        changes.note(&change, here);
        each(change)
    };
    let mut next = rows.next()?;
    let mut held = None;
    if let Some(book) = book {
        let mut meet = |serial: Serial, here: Known| -> Result<(), E> {
            while let Some(there) = next.filter(|there| there.serial <= serial) {
                decide(&there, Some(here).filter(|_| there.serial == serial))?;
                next = rows.next()?;
            }
            Ok(())
        };
        let mut met = Ok(());
        let walked = book.walk(issuer, |serial, record, origin| {
            met = meet(serial, Known { record, origin });
            met.is_ok()
        });
        met?;
        held = walked?;
    }
    while let Some(there) = next {
        decide(&there, None)?;
        next = rows.next()?;
    }
    Ok((changes, held))
}
