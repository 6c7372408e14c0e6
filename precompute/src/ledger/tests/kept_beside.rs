//! Stamps of sources when something is undone.

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
    assert_eq!(world.ledger.undo_untold().unwrap().len(), 1);
    assert_eq!([1, 2].map(|number| world.status(number)), [Some(GOOD), Some(LOST)]);
    assert_eq!(world.stamps(), None);
    world.ledger.save().unwrap();
    assert_eq!(world.stamps(), None);
    let saver = Saver::start().unwrap();
    let world = world.restart();
    assert_eq!(Ledger::open(&id(), "ca", &world.book, &saver).unwrap().stamps, None);
}
