use std::{sync::Arc, thread};

use super::*;
use crate::{
    book::{Book, Move, Place},
    issuer_id::IssuerId,
    ledger::{Ledgers, Order, Push, Saver, SharedBook},
    pki::UnixTime,
};

const NOW: UnixTime = UnixTime(2_000_000_000);

struct World {
    _dir: tempfile::TempDir,
    ledgers: Ledgers,
    telling: Arc<Telling>,
}

impl World {
    fn new(within: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let book = Arc::new(SharedBook::new(Book::open(dir.path()).unwrap()));
        let ledger = Ledger::open(&IssuerId::new("tenant", [7; 32]), "ca", &book, &Saver::start().unwrap()).unwrap();
        ledger.ledger.serve("ca");
        ledger.ledger.owe(true);
        let ledgers = Ledgers::default();
        ledgers.set(vec![ledger.ledger]);
        Self { _dir: dir, ledgers, telling: Arc::new(Telling::new(Bell::default(), within)) }
    }

    fn ledger(&self) -> Ledger {
        self.ledgers.all()[0].clone()
    }

    fn push(&self) -> (Term, Vec<Serial>) {
        let term = self.telling.begin(&self.ledger()).unwrap();
        let serial = Serial::from_magnitude(&[1]).unwrap();
        let push = Push { serial, order: Order::Add { not_after: None } };
        self.ledger().push(&[push], None, NOW).unwrap();
        (term, vec![serial])
    }

    /// As the machine does when an entry was written.
    fn tell(&self) {
        let rows = self.ledgers.owed(10).unwrap();
        let from = self.ledgers.place().unwrap();
        let to = Some(Place { epoch: 1, sequence: 1, chain: [1; 32] });
        self.ledgers.told(Move { from, to }, &rows).unwrap();
        self.telling.written();
    }
}

#[test]
fn a_push_waits_until_the_feed_has_it() {
    let world = World::new(Duration::from_secs(20));
    world.telling.leads(true);
    let (term, serials) = world.push();
    let (telling, ledger) = (Arc::clone(&world.telling), world.ledger());
    let waiting = thread::spawn(move || telling.wait(term, &ledger, &serials));
    world.telling.written();
    thread::sleep(Duration::from_millis(100));
    assert!(!waiting.is_finished(), "another entry was written");
    world.tell();
    waiting.join().unwrap().unwrap();
    // What was told already is told.
    let (term, serials) = world.push();
    world.telling.wait(term, &world.ledger(), &serials).unwrap();
}

#[test]
fn a_push_that_the_feed_does_not_take_in_time_is_not_acknowledged() {
    let world = World::new(Duration::from_millis(50));
    world.telling.leads(true);
    let (term, serials) = world.push();
    let late = world.telling.wait(term, &world.ledger(), &serials);
    assert!(matches!(late, Err(NotTold::Late(_))), "{late:?}");
    assert!(late.unwrap_err().to_string().contains("50 ms"));
}

#[test]
fn who_stands_by_takes_no_pushes_and_names_who_leads() {
    let world = World::new(Duration::from_secs(1));
    let refused = world.telling.begin(&world.ledger()).unwrap_err();
    assert!(matches!(&refused, NotTold::StandsBy(None)), "{refused:?}");
    world.telling.led_at("http://leader:9090");
    let refused = world.telling.begin(&world.ledger()).unwrap_err().to_string();
    assert!(refused.contains("http://leader:9090"), "{refused}");
}

#[test]
fn what_left_the_outbox_because_another_leads_is_not_acknowledged() {
    let world = World::new(Duration::from_secs(20));
    world.telling.leads(true);
    let (term, serials) = world.push();
    let (telling, ledger) = (Arc::clone(&world.telling), world.ledger());
    let waiting = thread::spawn(move || telling.wait(term, &ledger, &serials));
    // In the order of the thread that publishes.
    world.telling.leads(false);
    world.ledgers.stand_by();
    world.ledgers.undo_untold().unwrap();
    let deposed = waiting.join().unwrap();
    assert!(matches!(deposed, Err(NotTold::Deposed(_))), "{deposed:?}");
    // Nor if it leads again before anybody looks.
    world.telling.leads(true);
    world.ledgers.lead();
    let (term, serials) = world.push();
    world.telling.leads(false);
    world.ledgers.undo_untold().unwrap();
    world.telling.leads(true);
    let deposed = world.telling.wait(term, &world.ledger(), &serials);
    assert!(matches!(deposed, Err(NotTold::Deposed(_))), "{deposed:?}");
}

#[test]
fn what_left_the_outbox_because_the_book_was_exchanged_is_not_acknowledged() {
    let world = World::new(Duration::from_secs(20));
    world.telling.leads(true);
    let (term, serials) = world.push();
    std::fs::remove_file(world._dir.path().join(crate::state_dir::BOOK)).unwrap();
    let other = Push { serial: Serial::from_magnitude(&[2]).unwrap(), order: Order::Add { not_after: None } };
    world.ledger().push(&[other], None, NOW).unwrap();
    let exchanged = world.telling.wait(term, &world.ledger(), &serials);
    assert!(matches!(exchanged, Err(NotTold::Deposed(_))), "{exchanged:?}");
}
