//! What the book has of an issuer, for [`survey`](super::survey): the part that sources are compared with.
//!
//! Invariant: nothing is written, and a book that a service is writing to is read as a whole or not at all. It does not know
//! what the sources say, but for what they say of CAs.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    path::Path,
    thread,
};

use super::super::{compare::Comparison, predecessor::Predecessor};
use crate::{
    book::{Book, BookReader, Lineage},
    issuer_id::IssuerId,
    ledger::reconcile::{self, FINAL, strictness},
    limits,
    pki::{Serial, Status},
    records::Origin,
    source::CrlMarks,
    state_dir::StateError,
};

/// What the book has of an issuer.
#[derive(Default)]
pub(super) struct Known {
    /// The finally revoked serials.
    pub(super) revoked: BTreeSet<Serial>,
    /// Those of them whose revocation a push states.
    pub(super) by_push: BTreeSet<Serial>,
    /// What it has of the serials that its predecessors keep.
    pub(super) own: BTreeMap<Serial, reconcile::Known>,
    /// The certificates of CAs that are configured.
    cas: BTreeMap<Serial, Status>,
    /// Which CRLs were taken.
    pub(super) crl_marks: CrlMarks,
    pub(super) predecessors: Vec<Predecessor>,
}

/// The book, which a service may be writing. It is opened once for all issuers, and again only if what was read is
/// inconsistent.
pub(super) struct Look<'a> {
    state_dir: &'a Path,
    configured: HashSet<IssuerId>,
    /// The serial numbers of all CAs.
    cas: BTreeSet<Serial>,
    /// `None` before it is opened, and after an inconsistent read.
    open: Option<Opened>,
}

enum Opened {
    /// There is no book.
    Nothing,
    Book(Box<Book>, Lineage),
}

impl<'a> Look<'a> {
    /// Looks at the book in this state directory. `configured`: all issuers; `cas`: the serial numbers of their certificates.
    pub(super) fn at(state_dir: &'a Path, configured: HashSet<IssuerId>, cas: BTreeSet<Serial>) -> Self {
        Self { state_dir, configured, cas, open: None }
    }

    /// The serial numbers of all CAs.
    pub(super) fn cas(&self) -> &BTreeSet<Serial> {
        &self.cas
    }

    /// What the book has of an issuer. Also checks that it is whole.
    pub(super) fn known(&mut self, id: &IssuerId) -> Result<Known, StateError> {
        for _ in 1..limits::BOOK_LOOKS_MAX {
            match self.look(id) {
                // While a service writes, a read can see half of a write.
                Err(error) if error.is_damage() => thread::sleep(limits::BOOK_LOOK_PAUSE),
                other => return other,
            }
        }
        self.look(id)
    }

    fn look(&mut self, id: &IssuerId) -> Result<Known, StateError> {
        let mut opened = match self.open.take() {
            Some(opened) => opened,
            None => match Book::look(self.state_dir)? {
                None => Opened::Nothing,
                Some(mut book) => {
                    let lineage = book.lineage()?;
                    Opened::Book(Box::new(book), lineage)
                }
            },
        };
        let known = match &mut opened {
            Opened::Nothing => Known::default(),
            Opened::Book(book, lineage) => Known::load(&book.reader()?, id, lineage, (&self.configured, &self.cas))?,
        };
        self.open = Some(opened);
        Ok(known)
    }
}

impl Known {
    fn load(
        book: &BookReader,
        id: &IssuerId,
        lineage: &Lineage,
        (configured, all_cas): (&HashSet<IssuerId>, &BTreeSet<Serial>),
    ) -> Result<Self, StateError> {
        let predecessors = Predecessor::all(book, id, lineage, configured, |former| lineage.stood_beside(former, id))?;
        let kept: BTreeSet<Serial> = predecessors.iter().flat_map(Predecessor::serials).collect();
        let (mut revoked, mut by_push, mut cas) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        let mut own = BTreeMap::new();
        let held = book.load(id, |serial, record, origin| {
            if all_cas.contains(&serial) {
                cas.insert(serial, record.status);
            }
            if kept.contains(&serial) {
                own.insert(serial, reconcile::Known { record, origin });
            }
            if strictness(record.status) == FINAL {
                revoked.insert(serial);
                if origin.has(Origin::PUSH_RESTRICTS) {
                    by_push.insert(serial);
                }
            }
        })?;
        let crl_marks = if held.known { held.crl_marks } else { Predecessor::crl_marks(&predecessors) };
        Ok(Self { revoked, by_push, own, cas, crl_marks, predecessors })
    }

    /// Of these serial numbers what a start would have: a final revocation that is known stays, whatever the sources say.
    pub(super) fn with_sources(&self, read: &Comparison, cas: &BTreeSet<Serial>) -> Vec<(Serial, Status)> {
        let of_sources = |serial: &Serial| {
            let place = read.changes.binary_search_by_key(serial, |said| said.serial).ok()?;
            read.changes[place].record().map(|record| record.status)
        };
        let both = |serial: &Serial| match (self.cas.get(serial).copied(), of_sources(serial)) {
            (Some(known), Some(said)) if strictness(known) < FINAL => Some(said),
            (known, said) => known.or(said),
        };
        cas.iter().filter_map(|serial| Some((*serial, both(serial)?))).collect()
    }
}
