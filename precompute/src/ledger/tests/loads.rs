//! Records that are loaded from the book while others write it.

use super::*;
use crate::book::{Batch, Disk};

fn other() -> IssuerId {
    IssuerId::new("other", [7; 32])
}

impl World {
    /// Opens another issuer's ledger; `meanwhile` happens once what it reads is settled.
    fn open_other(&self, meanwhile: impl FnOnce() + Send + 'static) -> Result<Ledger, StateError> {
        self.book.plan_reading(Some(Box::new(meanwhile)));
        Ok(Ledger::open(&other(), "other", &self.book, &Saver::start().unwrap())?.ledger)
    }

    /// Writes records of the other issuer into the book.
    fn fill_other(&self, records: u32) {
        let others = Ledger::open(&other(), "other", &self.book, &Saver::start().unwrap()).unwrap().ledger;
        others.serve("other");
        others.take(&difference((0..records).map(|number| said(number, Some(GOOD))).collect()));
        others.save().unwrap();
    }
}

/// All pushes waited for the seconds that the load of a large issuer takes.
#[test]
fn a_push_of_another_issuer_is_acknowledged_while_records_are_loaded_and_what_is_loaded_is_of_one_moment() {
    let world = World::new();
    world.fill_other(20_000);
    let (ledger, book) = (world.ledger.clone(), Arc::clone(&world.book));
    let loaded = world.open_other(move || {
        assert_eq!(ledger.push(&[push(1, ADD)], None, NOW).unwrap(), [Ok(Outcome::Done)]);
        // Nobody writes the other issuer's records now. If somebody did, the load would not be of two moments.
        let mut book = book.lock();
        let (issuer, identity) = (other(), book.identity().unwrap());
        let changes = [said(3, Some(LOST)), said(30_000, Some(GOOD))];
        book.commit(&Batch { changes: &changes, ..Batch::new(&issuer, identity) }).unwrap();
    });
    let loaded = loaded.unwrap();
    assert_eq!((world.status(1), world.in_book(1).is_some()), (Some(GOOD), true), "acknowledged before the load");
    assert_eq!(loaded.state().records.counts(), Counts { good: 20_000, revoked: 0 });
    let loaded = world.open_other(|| ()).unwrap();
    assert_eq!(loaded.state().records.counts(), Counts { good: 20_000, revoked: 1 });
}

/// The commit of another issuer fails on a full disk, and the file is closed under the load; or it is another one.
#[test]
fn records_are_loaded_all_the_same_if_the_book_is_closed_or_exchanged_meanwhile() {
    for exchanged in [false, true] {
        let world = World::new();
        world.fill_other(2_000);
        let (path, copy) = (world.dir.path().join(BOOK), world.dir.path().join("copy"));
        fs::copy(&path, &copy).unwrap();
        world.push(1, ADD).unwrap();
        let (mut tries, mut found) = (0, 0);
        let held = world.book.read(|reader| {
            (tries, found) = (tries + 1, 0);
            if tries > 1 {
                return reader.load(&other(), |_, _, _| found += 1);
            }
            if exchanged {
                fs::rename(&copy, &path).unwrap();
                world.push(2, ADD).unwrap();
            } else {
                world.book.lock().disk = Disk::Full;
                world.ledger.push(&[push(2, ADD)], None, NOW).unwrap_err();
            }
            // redb may have all of it in memory; a page that it has not is out of reach.
            reader.load(&other(), |_, _, _| found += 1).ok();
            Err(StateError::new(&path, "is closed", ""))
        });
        assert_eq!((tries, found), (2, 2_000), "exchanged {exchanged}");
        assert_eq!(held.unwrap().book, world.book.lock().identity().unwrap(), "exchanged {exchanged}");
        // Where nobody has closed it, it is the file's fault.
        let fault = world.book.read(|_| Err::<(), _>(StateError::new(&path, "cannot be read", "")));
        assert!(fault.unwrap_err().to_string().contains("cannot be read"), "exchanged {exchanged}");
    }
}
