//! Idempotency keys when the book is another one, and stamps of sources when something is undone.

use super::*;
use crate::book::Disk;

impl World {
    fn with_key(&self, number: u32, order: Order, key: &str) -> Result<Outcome, Refusal> {
        self.ledger.push(&[push(number, order)], Some(key), NOW).unwrap().remove(0)
    }

    fn lose_book(&self) {
        fs::remove_file(self.dir.path().join(BOOK)).unwrap();
    }

    fn stamps(&self) -> Option<Vec<u8>> {
        self.book.lock().load(&id(), |_, _, _| ()).unwrap().stamps
    }
}

const HOLD: Order = revoke_for(Reason::CertificateHold);
const HELD: Status = Status::Revoked { time: UnixTime(5), reason: Reason::CertificateHold };

const fn revoke_for(reason: Reason) -> Order {
    Order::Revoke { time: Some(UnixTime(5)), reason, even_unlisted: false }
}

/// A client repeats a release whose acknowledgement it never saw, and meanwhile somebody has placed another hold.
#[test]
fn a_key_that_this_process_has_answered_is_known_in_a_book_that_was_made_anew() {
    let world = World::new();
    world.push(1, ADD).unwrap();
    world.push(1, HOLD).unwrap();
    assert_eq!(world.with_key(1, Order::Release, "a"), Ok(Outcome::Done));
    world.push(1, HOLD).unwrap();
    world.lose_book();
    assert_eq!(world.with_key(1, Order::Release, "a"), Ok(Outcome::Done), "as it was told");
    assert_eq!(world.status(1), Some(HELD), "and the other hold stays");
    let world = world.restart();
    assert_eq!(world.with_key(1, Order::Release, "a"), Ok(Outcome::Done));
    assert_eq!(world.status(1), Some(HELD));
}

/// It is on disk when the book is opened again, and its answer beside it.
#[test]
fn a_key_whose_push_failed_is_not_known_although_it_is_on_disk() {
    let world = World::new();
    world.push(1, ADD).unwrap();
    world.book.lock().disk = Disk::Lies;
    world.ledger.push(&[push(1, HOLD)], Some("a"), NOW).unwrap_err();
    assert_eq!(world.status(1), Some(GOOD));
    world.book.lock().disk = Disk::Fine;
    assert_eq!(world.with_key(1, HOLD, "a"), Ok(Outcome::Done));
    assert_eq!((world.status(1), world.restart().status(1)), (Some(HELD), Some(HELD)));
}

#[test]
fn a_request_whose_key_was_lost_with_the_book_changes_nothing_when_it_is_repeated() {
    let lost = revoke_for(Reason::KeyCompromise);
    for (order, again, status) in [
        (ADD, Ok(Outcome::Unchanged), GOOD),
        (HOLD, Ok(Outcome::Unchanged), HELD),
        (lost, Ok(Outcome::Unchanged), LOST),
        (Order::Release, Err(Refusal::NotOnHold), GOOD),
    ] {
        let world = World::new();
        if order != ADD {
            world.push(1, ADD).unwrap();
        }
        if order == Order::Release {
            world.push(1, HOLD).unwrap();
        }
        assert_eq!(world.with_key(1, order, "a"), Ok(Outcome::Done));
        let world = world.restart();
        world.lose_book();
        for _ in 0..2 {
            assert_eq!(world.with_key(1, order, "a"), again, "{order:?}");
            assert_eq!(world.status(1), Some(status), "{order:?}");
        }
        assert_eq!(world.restart().status(1), Some(status), "{order:?}");
    }
}

/// A start that finds them reads no source, and so would not see again what was taken back.
#[test]
fn what_is_undone_takes_with_it_what_the_sources_looked_like() {
    let world = World::new();
    world.ledger.take(&difference(vec![said(1, Some(GOOD)), said(2, Some(GOOD))]));
    world.ledger.save().unwrap();
    world.ledger.owe(true);
    world.ledger.note_stamps(vec![7; 9]);
    world.ledger.save().unwrap();
    assert_eq!((world.ledger.undo_untold().unwrap().len(), world.stamps()), (0, Some(vec![7; 9])), "nothing is undone");
    // A debt stays, and so do they.
    world.ledger.take(&difference(vec![said(2, Some(LOST))]));
    world.ledger.save().unwrap();
    assert_eq!((world.ledger.undo_untold().unwrap().len(), world.stamps()), (1, Some(vec![7; 9])), "a debt");
    world.ledger.take(&difference(vec![said(1, Some(HELD))]));
    world.ledger.save().unwrap();
    // Noted and not saved.
    world.ledger.note_stamps(vec![8; 9]);
    assert_eq!(world.ledger.undo_untold().unwrap(), [], "the debt is one already");
    assert_eq!(world.book.lock().debts(None, 9).unwrap().len(), 1);
    assert_eq!([1, 2].map(|number| world.status(number)), [Some(GOOD), Some(LOST)]);
    assert_eq!(world.stamps(), None);
    world.ledger.save().unwrap();
    assert_eq!(world.stamps(), None);
    let saver = Saver::start().unwrap();
    let world = world.restart();
    assert_eq!(Ledger::open(&id(), "ca", &world.book, &saver).unwrap().stamps, None);
}
