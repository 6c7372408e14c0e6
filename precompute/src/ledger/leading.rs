//! Whether this process may change what is known, or only follows what the feed says.
//!
//! Invariant: once a standby has begun to stand by, neither a source nor a push changes a record, however long ago it
//! was read or sent; only the feed does. A process without a feed always leads. What is committed while a feed begins is in
//! what others take first of all. It does not know why it leads, or who else does.

use std::{path::Path, sync::atomic::Ordering::Relaxed};

use super::{Ledger, Ledgers, saving::SharedBook};
use crate::{book::BookReader, state_dir::StateError};

impl SharedBook {
    fn lead(&self) {
        self.leads.store(true, Relaxed);
    }

    /// From now on sources and pushes change nothing; what is under way may still.
    pub(crate) fn stand_by(&self) {
        self.leads.store(false, Relaxed);
        self.begins.store(false, Relaxed);
    }

    /// Whether sources and pushes may change anything. Asked with `shown` or the book locked.
    pub(crate) fn leads(&self) -> bool {
        self.leads.load(Relaxed)
    }

    /// From now on, or no longer, what is committed is owed to others.
    pub(crate) fn owe(&self, owes: bool) {
        self.owes.store(owes, Relaxed);
    }

    pub(super) fn owes(&self) -> bool {
        self.owes.load(Relaxed) && !self.begins()
    }

    pub(super) fn begins(&self) -> bool {
        self.begins.load(Relaxed)
    }
}

impl Ledgers {
    /// From now on sources and pushes change what is known.
    pub fn lead(&self) {
        self.book().iter().for_each(|book| book.lead());
    }

    /// From now on they do not: when this returns, nothing of that kind is under way.
    pub fn stand_by(&self) {
        self.book().iter().for_each(|book| book.stand_by());
        for ledger in self.all().iter() {
            drop(ledger.0.commit());
            drop(ledger.0.shown());
        }
    }

    /// This process begins a feed: as long as nobody else has anything of it, nothing is owed to anybody, and what sources
    /// say first of all fills the records. Ends with [`Self::begun`], or when it stands by.
    pub fn begin(&self) {
        self.book().iter().for_each(|book| book.begins.store(true, Relaxed));
    }

    /// Whether it does.
    pub fn begins(&self) -> bool {
        self.book().is_some_and(|book| book.begins())
    }

    /// Gives what the book has at this moment. What is committed from then on is owed to whoever takes that.
    pub fn begun(&self) -> Result<BookReader, StateError> {
        let book = self.book().ok_or_else(no_book)?;
        let mut book_now = book.lock();
        let reader = book_now.reader()?;
        // With the book in hand: commits ask for it there.
        book.begins.store(false, Relaxed);
        Ok(reader)
    }

    /// Saves everything now.
    pub fn save(&self) -> Result<(), StateError> {
        self.all().iter().try_for_each(Ledger::save)
    }

    /// Reads the last commit of the book while others write.
    pub fn reader(&self) -> Result<BookReader, StateError> {
        self.book().ok_or_else(no_book)?.lock().reader()
    }
}

fn no_book() -> StateError {
    StateError::new(Path::new("the book"), "does not exist, because no issuer is configured", "configure one")
}
