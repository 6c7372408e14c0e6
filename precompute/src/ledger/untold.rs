//! What a writer that comes back makes of what it has on disk and told nobody.
//!
//! Purpose: others go on from what they were told last, so this ledger has to as well. Invariant: a final revocation is
//! never taken back: it stays, and is a debt to whoever leads now. Everything else goes back to what was told last, and
//! a source's statement comes again with the next read: in the same commit the book forgets what the sources looked like,
//! so that a start reads them. It does not know how anything is told.

use super::{
    Ledger,
    reconcile::{FINAL, Known, strictness},
};
use crate::{
    book::{Batch, Owed},
    records::{Change, Origin},
    state_dir::StateError,
};

/// What becomes of a change that nobody was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Untold {
    /// It is a final revocation, which others have to be told.
    Debt,
    /// The record becomes what was told last; `None` if there was none.
    Undone(Option<Known>),
}

/// From the present record and the one that was told last.
fn untold(present: Option<Known>, former: Option<Known>) -> Untold {
    let is_final = |known: Option<Known>| known.is_some_and(|known| strictness(known.record.status) == FINAL);
    if is_final(present) && !is_final(former) { Untold::Debt } else { Untold::Undone(former) }
}

impl Ledger {
    /// From now on, or no longer, what is saved has to be told to somebody who is not here: it gets rows in the outbox.
    pub fn owe(&self, owes: bool) {
        self.0.owes.store(owes, std::sync::atomic::Ordering::Relaxed);
    }

    /// Undoes what nobody was told; returns the debts. To be called before anything else changes the records or is
    /// told; the sources have to be read after it, whatever their stamps said. The rows of the debts stay in the outbox
    /// until they are told.
    pub fn undo_untold(&self) -> Result<Vec<Owed>, StateError> {
        let inner = &*self.0;
        let mut saved = inner.commit();
        let mut book = inner.book.lock();
        inner.in_place(&mut saved, &mut book)?;
        let (mut debts, mut changes) = (Vec::new(), Vec::new());
        for owed in book.outbox(&inner.id)? {
            let present = inner.state.records.get(&owed.serial).map(Known::from);
            match untold(present, owed.former.map(|(record, origin)| Known { record, origin })) {
                Untold::Debt => debts.push(owed),
                Untold::Undone(former) => changes.push(change(&owed, former)),
            }
        }
        if !changes.is_empty() {
            changes.sort_unstable_by_key(|change| change.serial);
            book.commit(&Batch {
                changes: &changes,
                untold: true,
                // The book has no longer what the sources said.
                forgets_stamps: true,
                ..Batch::new(&inner.id, saved.identity)
            })?;
        }
        drop(book);
        let mut shown = inner.shown();
        if !changes.is_empty() {
            shown.unsaved.of_sources.stamps = None;
        }
        inner.show_as_they_are(&mut shown, &changes);
        Ok(debts)
    }
}

fn change(owed: &Owed, former: Option<Known>) -> Change {
    Change::new(owed.serial, former.map(|known| known.record)).by(former.map_or(Origin::SOURCE, |known| known.origin))
}
