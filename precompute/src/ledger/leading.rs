//! Whether this process may change what is known, or only follows what the feed says.
//!
//! Invariant: once a standby has begun to stand by, neither a source nor a push changes a record, however long ago it
//! was read or sent; only the feed does. A process without a feed always leads. It does not know why it leads, or who
//! else does.

use std::sync::atomic::Ordering::Relaxed;

use super::{Inner, Ledgers, saving::SharedBook};

impl SharedBook {
    /// From now on sources and pushes change what is known.
    pub(crate) fn lead(&self) {
        self.leads.store(true, Relaxed);
    }

    /// From now on they do not; what is under way may still.
    pub(crate) fn stand_by(&self) {
        self.leads.store(false, Relaxed);
    }

    pub(super) fn leads(&self) -> bool {
        self.leads.load(Relaxed)
    }

    /// From now on, or no longer, what is committed is owed to others.
    pub(crate) fn owe(&self, owes: bool) {
        self.owes.store(owes, Relaxed);
    }

    pub(super) fn owes(&self) -> bool {
        self.owes.load(Relaxed)
    }
}

impl Inner {
    /// Whether sources and pushes may change anything. Asked with `shown` or the book locked.
    pub(super) fn leads(&self) -> bool {
        self.book.leads()
    }
}

impl Ledgers {
    /// From now on sources and pushes change what is known.
    pub fn lead(&self) {
        self.all().iter().for_each(|ledger| ledger.0.book.lead());
    }

    /// From now on they do not: when this returns, nothing of that kind is under way.
    pub fn stand_by(&self) {
        let all = self.all();
        all.iter().for_each(|ledger| ledger.0.book.stand_by());
        for ledger in all.iter() {
            drop(ledger.0.commit());
            drop(ledger.0.shown());
        }
    }

    /// Whether sources and pushes change what is known.
    pub fn leads(&self) -> bool {
        self.all().iter().all(|ledger| ledger.0.leads())
    }
}
