use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use super::*;
use crate::{
    answers::{Entry, Stored},
    book::{Book, Move, Place},
    issuer_id::IssuerId,
    ledger::{Ledgers, Order, Push, Saver, SharedBook},
    pki::UnixTime,
    records::StateWord,
};

const NOW: UnixTime = UnixTime(2_000_000_000);

struct World {
    dir: tempfile::TempDir,
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
        Self { dir, ledgers, telling: Arc::new(Telling::new(Bell::default(), within, 0, 0)) }
    }

    fn ledger(&self) -> Ledger {
        self.ledgers.all()[0].clone()
    }

    /// Pushes, does this, and waits.
    fn push_and(&self, meanwhile: impl FnOnce() + Send) -> Result<(), NotTold> {
        self.push_until(meanwhile).0
    }

    /// The same, with the moments when the wait began, once the book had it, and when it was over.
    fn push_until(&self, meanwhile: impl FnOnce() + Send) -> (Result<(), NotTold>, [Instant; 2]) {
        let (ledger, serial) = (self.ledger(), Serial::from_magnitude(&[1]).unwrap());
        let begun = self.telling.begin(&ledger, [serial]).unwrap();
        let push = Push::new(serial, Order::Add { not_after: None });
        ledger.push(&[push], None, NOW).unwrap();
        thread::scope(|scope| {
            scope.spawn(meanwhile);
            let waits_from = Instant::now();
            (begun.wait(&[serial]), [waits_from, Instant::now()])
        })
    }

    /// As the machine does when an entry was written.
    fn tell(&self) {
        self.tell_some(10);
    }

    /// The same with an entry of at most so many records.
    fn tell_some(&self, most: usize) {
        let rows = self.ledgers.owed(most).unwrap();
        let from = self.ledgers.place().unwrap();
        let sequence = from.map_or(0, |from| from.sequence) + 1;
        let to = Some(Place { epoch: 1, sequence, chain: [1; 32] });
        self.ledgers.told(Move { from, to }, &rows).unwrap();
        self.telling.written();
    }
}

#[test]
fn a_push_waits_until_the_feed_has_it() {
    let world = World::new(Duration::from_secs(20));
    world.telling.leads(true);
    let told_at = std::sync::Mutex::new(None);
    let tell = || {
        // Another entry was written.
        world.telling.written();
        thread::sleep(Duration::from_millis(100));
        *told_at.lock().unwrap() = Some(Instant::now());
        world.tell();
    };
    let (outcome, [_, over_at]) = world.push_until(tell);
    outcome.unwrap();
    assert!(told_at.lock().unwrap().is_some_and(|told| told <= over_at), "not before it was told");
    world.push_and(|| ()).unwrap();
}

/// After each entry the whole list was looked up in the book, which nobody else could use meanwhile.
#[test]
fn a_list_is_acknowledged_when_all_of_it_was_told_in_whatever_order() {
    for order in [[1, 2, 3, 4, 5], [5, 4, 3, 2, 1], [3, 1, 5, 2, 4]] {
        let world = World::new(Duration::from_secs(60));
        world.telling.leads(true);
        let (ledger, told) = (world.ledger(), AtomicUsize::new(0));
        let serials = order.map(|number: u8| Serial::from_magnitude(&[number]).unwrap());
        let begun = world.telling.begin(&ledger, serials).unwrap();
        let push = |serial| Push::new(serial, Order::Add { not_after: None });
        ledger.push(&serials.map(push), None, NOW).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                for number in 1..=serials.len() {
                    thread::sleep(Duration::from_millis(20));
                    told.store(number, Relaxed);
                    world.tell_some(1);
                }
            });
            begun.wait(&serials).unwrap();
            assert_eq!(told.load(Relaxed), serials.len(), "{order:?}");
        });
    }
}

#[test]
fn a_push_waits_shortly_for_its_answers_where_answers_are_signed_ahead() {
    let world = World::new(Duration::from_secs(20));
    world.telling.leads(true);
    let (issuer, serial) = (Issuer::from(world.ledger().id()), Serial::from_magnitude(&[1]).unwrap());
    let of = |serial: Serial| {
        let [this_update, refresh_at, next_update] = [1, 2, 3].map(UnixTime);
        let entry = Entry { state: StateWord::from_word(1), this_update, refresh_at, next_update };
        let mut entries = Vec::new();
        Stored { serial, entry, packed: vec![7; 64] }.write(&mut entries);
        [AnswerSection { issuer, form: [1; 32], packed_length: 64, entries }]
    };
    let took = |meanwhile: &(dyn Fn() + Sync)| {
        let (outcome, [from, to]) = world.push_until(meanwhile);
        outcome.unwrap();
        to - from
    };
    world.push_and(|| world.tell()).unwrap();
    // Nobody signs ahead for this issuer.
    assert!((0..5).any(|_| took(&|| ()) < limits::ANSWERS_WITHIN));
    world.telling.answered(&of(Serial::from_magnitude(&[9]).unwrap()));
    assert!(took(&|| ()) >= limits::ANSWERS_WITHIN, "an answer of another certificate was told");
    assert!((0..5).any(|_| took(&|| world.telling.answered(&of(serial))) < limits::ANSWERS_WITHIN));
    assert!(world.telling.state().awaited.is_empty(), "nobody waits any more");
}

#[test]
fn a_push_that_the_feed_does_not_take_in_time_is_not_acknowledged() {
    let world = World::new(Duration::from_millis(50));
    world.telling.leads(true);
    let late = world.push_and(|| ());
    assert!(matches!(late, Err(NotTold::Late(_))), "{late:?}");
    assert!(late.unwrap_err().to_string().contains("50 ms"));
}

#[test]
fn a_push_is_acknowledged_when_as_many_servers_have_it_as_have_to() {
    as_many_have_it(Kind::RedisReplicas, [2, 0], "only 1 of the 2 Redis followers");
}

#[test]
fn a_push_is_acknowledged_when_as_many_standbys_have_it_on_disk_as_have_to() {
    as_many_have_it(Kind::Standbys, [0, 2], "only 1 of the 2 standbys that must have it on disk");
}

fn as_many_have_it(kind: Kind, [redis_replicas, standbys]: [u32; 2], told: &str) {
    let world = || {
        let (mut world, within) = (World::new(Duration::from_millis(300)), Duration::from_millis(300));
        world.telling = Arc::new(Telling::new(Bell::default(), within, redis_replicas, standbys));
        world.telling.leads(true);
        world
    };
    let (first, second) = (world(), world());
    let world = &first;
    assert_eq!(world.telling.unconfirmed(kind), None, "nobody waits");
    let few = world.push_and(|| {
        world.tell();
        let (written, servers) = world.telling.unconfirmed(kind).unwrap();
        assert_eq!(servers, 2);
        world.telling.reached(kind, vec![written, written - 1]);
    });
    assert!(matches!(few, Err(NotTold::AtFew { reached: 1, wanted: 2, .. })), "{few:?}");
    assert!(few.unwrap_err().to_string().contains(told));
    // What has the entry before says nothing of this one.
    let world = &second;
    let before = world.push_and(|| {
        let written = world.telling.state().written;
        world.tell();
        world.telling.reached(kind, vec![written; 2]);
    });
    assert!(matches!(before, Err(NotTold::AtFew { reached: 0, .. })), "{before:?}");
    world
        .push_and(|| {
            world.tell();
            let (written, _) = world.telling.unconfirmed(kind).unwrap();
            world.telling.reached(kind, vec![written; 2]);
        })
        .unwrap();
    assert_eq!(world.telling.unconfirmed(kind), None);
}

#[test]
fn a_push_waits_for_a_take_over_that_is_under_way_and_for_no_other() {
    let world = World::new(Duration::from_secs(20));
    let ledger = world.ledger();
    world.telling.takes_over(true);
    thread::scope(|scope| {
        let waits = scope.spawn(|| world.telling.begin(&ledger, []).map(drop));
        thread::sleep(Duration::from_millis(50));
        assert!(!waits.is_finished());
        world.telling.leads(true);
        waits.join().unwrap().unwrap();
    });
    // One that comes to nothing.
    world.telling.leads(false);
    world.telling.takes_over(true);
    thread::scope(|scope| {
        let waits = scope.spawn(|| world.telling.begin(&ledger, []).map(drop));
        thread::sleep(Duration::from_millis(50));
        world.telling.takes_over(false);
        assert!(matches!(waits.join().unwrap(), Err(NotTold::StandsBy(None))));
    });
}

#[test]
fn who_stands_by_takes_no_pushes_and_names_who_leads() {
    let world = World::new(Duration::from_secs(1));
    let ledger = world.ledger();
    let refused = world.telling.begin(&ledger, []).unwrap_err();
    assert!(matches!(&refused, NotTold::StandsBy(None)), "{refused:?}");
    world.telling.led_at("http://leader:9090");
    let refused = world.telling.begin(&ledger, []).unwrap_err().to_string();
    assert!(refused.contains("http://leader:9090"), "{refused}");
}

#[test]
fn what_left_the_outbox_because_another_leads_is_not_acknowledged() {
    let world = World::new(Duration::from_secs(20));
    world.telling.leads(true);
    // In the order of the thread that publishes.
    let deposed = world.push_and(|| {
        world.telling.leads(false);
        world.ledgers.stand_by();
        world.ledgers.undo_untold().unwrap();
    });
    assert!(matches!(deposed, Err(NotTold::Deposed(_))), "{deposed:?}");
    // Nor if it leads again before anybody looks.
    world.telling.leads(true);
    world.ledgers.lead();
    let ledger = world.ledger();
    let begun = world.telling.begin(&ledger, []).unwrap();
    world.telling.leads(false);
    world.telling.leads(true);
    let deposed = begun.wait(&[]);
    assert!(matches!(deposed, Err(NotTold::Deposed(_))), "{deposed:?}");
}

#[test]
fn what_left_the_outbox_because_the_book_was_exchanged_is_not_acknowledged() {
    let world = World::new(Duration::from_secs(20));
    world.telling.leads(true);
    let exchanged = world.push_and(|| {
        std::fs::remove_file(world.dir.path().join(crate::state_dir::BOOK)).unwrap();
        let other = Push::new(Serial::from_magnitude(&[2]).unwrap(), Order::Add { not_after: None });
        world.ledger().push(&[other], None, NOW).unwrap();
        world.telling.written();
    });
    assert!(matches!(exchanged, Err(NotTold::Deposed(_))), "{exchanged:?}");
}

#[test]
fn who_begins_a_feed_takes_pushes_once_it_has_begun_unless_it_stands_by_by_then() {
    let world = World::new(Duration::from_secs(1));
    world.telling.begins();
    let refused = world.telling.takes_pushes().unwrap_err().to_string();
    assert!(refused.contains("begins a new feed"), "{refused}");
    assert!(world.telling.begun());
    world.telling.takes_pushes().unwrap();
    world.telling.begins();
    world.telling.leads(false);
    assert!(!world.telling.begun());
    assert!(matches!(world.telling.takes_pushes(), Err(NotTold::StandsBy(None))));
}
