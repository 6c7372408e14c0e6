//! What a writer that comes back, or was deposed, makes of what it told nobody.
//!
//! Purpose: others go on from what they were told last, so this ledger has to as well. Invariant: a final revocation is
//! never taken back: it stays, and is a debt to whoever leads now. Everything else goes back to what was told last, and
//! a source's statement comes again with the next read: in the same commit the book forgets what the sources looked like,
//! so that a start reads them. What shows and was not saved yet was not told either. It does not know how anything is
//! told.
//!
//! It goes in parts, each a commit of its own: what a crash leaves has its row in the outbox, and the next start undoes
//! it. What was not saved is gone with the process, and its sources say it again.

use std::collections::BTreeMap;

use super::{
    Inner, Ledger,
    reconcile::{Known, contradicts},
    saving::Saved,
};
use crate::{
    book::{Batch, Book, Contradicted, Identity, Owed},
    limits,
    pki::{Record, Serial},
    records::{Change, Origin},
    state_dir::StateError,
};

impl Ledger {
    /// From now on, or no longer, what is saved has to be told to somebody who is not here: it gets rows in the outbox.
    /// So it is for as long as there is a feed, whoever leads: what a process that follows saves of its own is undone.
    pub fn owe(&self, owes: bool) {
        self.0.book.owe(owes);
    }

    /// Undoes what nobody was told; final revocations become debts, and these are returned. To be called before anything
    /// that others say is applied; the sources have to be read after it, whatever their stamps said.
    pub fn undo_untold(&self) -> Result<Vec<Change>, StateError> {
        let inner = &*self.0;
        let mut saved = inner.commit();
        let mut debts = Vec::new();
        while inner.undo_some(&mut saved, limits::BOOK_SAVE_CHUNK_MAX, &mut debts)? {}
        Ok(debts)
    }
}

impl Ledger {
    /// Whether everything that shows has been told.
    pub(crate) fn is_all_told(&self) -> Result<bool, StateError> {
        // In this order: what is saved in between is owed.
        Ok(self.is_saved() && !self.0.book.lock().has_untold(&self.0.id)?)
    }

    /// Whether this record has been told as it shows.
    pub(crate) fn is_told(&self, serial: &Serial) -> Result<bool, StateError> {
        let present = self.0.present(serial);
        let mut book = self.0.book.lock();
        let saved = book.get(&self.0.id, serial)?.map(|(record, origin)| (record.status, origin));
        let shown = present.record.map(|record| (record.status, present.origin));
        Ok(saved == shown && book.owed_of(&self.0.id, serial)?.is_none())
    }

    /// Those of these records that have a row in the outbox, and the book that was asked.
    pub(crate) fn untold(&self, serials: &[Serial]) -> Result<(Identity, Vec<Serial>), StateError> {
        let mut book = self.0.book.lock();
        let identity = book.identity()?;
        let mut untold = Vec::new();
        for serial in serials {
            if book.owed_of(&self.0.id, serial)?.is_some() {
                untold.push(*serial);
            }
        }
        Ok((identity, untold))
    }
}

/// What becomes of changes that nobody was told.
#[derive(Default)]
struct Undone {
    /// What each record becomes: what was told last.
    changes: Vec<Change>,
    /// Final revocations, which others have to be told.
    debts: Vec<Contradicted>,
}

impl Inner {
    /// Undoes some; true if there may be more.
    fn undo_some(&self, saved: &mut Saved, most: usize, debts: &mut Vec<Change>) -> Result<bool, StateError> {
        let mut book = self.book.lock();
        self.in_place(saved, &mut book)?;
        let mut unsaved = self.shown().unsaved.take(most);
        let undone = self.undone(&mut book, &unsaved.serials, most);
        let committed = undone.and_then(|undone| {
            let Undone { changes, debts } = &undone;
            if changes.is_empty() && debts.is_empty() {
                return Ok(undone);
            }
            let batch = Batch {
                // Also the debts, whose rows become debts.
                changes: &of_both(&undone),
                contradicted: debts,
                is_told: true,
                // The book has no longer what the sources said.
                forgets_stamps: !changes.is_empty(),
                ..Batch::new(&self.id, saved.identity)
            };
            book.commit(&batch).map(|_| undone)
        });
        drop(book);
        let mut shown = self.shown();
        let undone = match committed {
            Ok(undone) => undone,
            Err(error) => {
                shown.unsaved.put_back(unsaved);
                return Err(error);
            }
        };
        let more = !unsaved.serials.is_empty() || !undone.changes.is_empty() || !undone.debts.is_empty();
        unsaved.serials.clear();
        if !undone.changes.is_empty() {
            unsaved.of_sources.stamps = None;
            shown.unsaved.of_sources.stamps = None;
        }
        shown.unsaved.put_back(unsaved);
        self.show_by_feed(&mut shown, &undone.changes);
        debts.extend(undone.debts.iter().map(|debt| debt.present));
        Ok(more)
    }

    /// Of up to `most` rows of the outbox, and of what was not saved.
    fn undone(&self, book: &mut Book, unsaved: &[Serial], most: usize) -> Result<Undone, StateError> {
        let mut rows: BTreeMap<Serial, Owed> =
            book.outbox(&self.id, most)?.into_iter().map(|owed| (owed.serial, owed)).collect();
        let mut undone = Undone::default();
        for serial in unsaved {
            if rows.contains_key(serial) {
                continue;
            }
            match book.owed_of(&self.id, serial)? {
                // Among the later ones.
                Some(owed) => _ = rows.insert(*serial, owed),
                None => undone.add(self.present(serial), book.told_last(&self.id, serial)?),
            }
        }
        rows.values().for_each(|owed| undone.add(self.present(&owed.serial), owed.former));
        Ok(undone)
    }
}

impl Undone {
    fn add(&mut self, present: Change, told: Option<(Record, Origin)>) {
        let said = Known::change(present.serial, told.map(|(record, origin)| Known { record, origin }));
        if contradicts(Known::of(&present), Known::of(&said)) {
            self.debts.push(Contradicted { present, said });
        } else {
            self.changes.push(said);
        }
    }
}

/// All changes, in order of serial.
fn of_both(undone: &Undone) -> Vec<Change> {
    let mut all: Vec<Change> =
        undone.changes.iter().copied().chain(undone.debts.iter().map(|debt| debt.present)).collect();
    all.sort_unstable_by_key(|change| change.serial);
    all
}
