//! Ledgers of some issuers on a book of their own, and a disk that can fail.

use std::sync::Arc;

use crate::{
    book::Book,
    issuer_id::IssuerId,
    ledger::{Difference, Ledger, Ledgers, Saver, SharedBook, Step},
    pki::{Reason, Record, Serial, Status, UnixTime},
    records::Stated,
};

/// Some issuers.
pub(super) struct Issuers {
    pub(super) ledgers: Ledgers,
    book: Arc<SharedBook>,
    dir: tempfile::TempDir,
}

impl Issuers {
    /// Of a tenant's name, a CA and an issuer's name each.
    pub(super) fn of(issuers: &[(&str, u8, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let book = Arc::new(SharedBook::new(Book::open(dir.path()).unwrap()));
        let saver = Saver::start().unwrap();
        let ledger = |(tenant, ca, name): &(&str, u8, &str)| {
            let ledger = Ledger::open(&IssuerId::new(tenant, [*ca; 32]), name, &book, &saver).unwrap().ledger;
            ledger.serve(name);
            ledger
        };
        let ledgers = Ledgers::default();
        ledgers.set(issuers.iter().map(ledger).collect());
        Self { ledgers, book, dir }
    }

    /// The first of them.
    pub(super) fn first(&self) -> Ledger {
        self.ledgers.all()[0].clone()
    }

    /// A source of the first has it on hold.
    pub(super) fn hold_by_source(&self, serial: &str) {
        self.by_source(serial, Status::Revoked { time: UnixTime(1), reason: Reason::CertificateHold });
    }

    /// A source of the first lists it.
    pub(super) fn list_by_source(&self, serial: &str) {
        self.by_source(serial, Status::Good);
    }

    fn by_source(&self, serial: &str, status: Status) {
        let said = vec![Stated::new(Serial::from_hex(serial).unwrap(), Some(Record { status, not_after: None }))];
        self.first().take(&Difference { said, ..Difference::default() });
    }

    /// The disk is full after so many more commits of the first. Returns the book that has them.
    pub(super) fn fill_disk_after(&self, commits: usize) -> Arc<std::sync::Mutex<Option<Book>>> {
        let taken = Arc::default();
        after(commits, self.first(), Arc::clone(&self.book), Book::lost(self.dir.path()), Arc::clone(&taken));
        taken
    }

    /// There is room again.
    pub(super) fn make_room(&self, taken: &std::sync::Mutex<Option<Book>>) {
        *self.book.lock() = taken.lock().unwrap().take().unwrap();
    }
}

fn after(
    commits: usize,
    ledger: Ledger,
    book: Arc<SharedBook>,
    lost: Book,
    taken: Arc<std::sync::Mutex<Option<Book>>>,
) {
    let Some(left) = commits.checked_sub(1) else {
        *taken.lock().unwrap() = Some(std::mem::replace(&mut *book.lock(), lost));
        return;
    };
    let then = ledger.clone();
    ledger.plan(Some((Step::Committed, Box::new(move || after(left, then, book, lost, taken)))));
}
