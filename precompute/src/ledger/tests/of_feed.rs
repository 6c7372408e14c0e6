//! Several ledgers that follow the feed, on a real book.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::book::{Disk, Move, Owed, Place, Told};

const HELD: Status = Status::Revoked { time: UnixTime(5), reason: Reason::CertificateHold };
const COUNT: usize = 3;

fn issuer(number: usize) -> IssuerId {
    IssuerId::new("tenant", [number as u8; 32])
}

fn fingerprint(number: usize) -> [u8; 32] {
    *issuer(number).fingerprint()
}

fn place(sequence: u64) -> Option<Place> {
    Some(Place { epoch: 7, sequence, chain: [sequence as u8; 32] }).filter(|_| sequence > 0)
}

/// From one place to a later one; 0 for none.
fn to(from: u64, to: u64) -> Move {
    Move { from: place(from), to: place(to) }
}

/// Ledgers with one book, which only the test saves. What they save is owed.
struct Many {
    dir: tempfile::TempDir,
    book: Arc<SharedBook>,
    ledgers: Ledgers,
}

impl Many {
    fn new() -> Self {
        Self::in_directory(tempfile::tempdir().unwrap())
    }

    fn in_directory(dir: tempfile::TempDir) -> Self {
        let book = Arc::new(SharedBook::new(Book::open(dir.path()).unwrap()));
        let saver = Saver::start().unwrap();
        let open = |number| {
            let ledger = Ledger::open(&issuer(number), "ca", &book, &saver).unwrap().ledger;
            ledger.owe(true);
            ledger.serve("ca");
            ledger
        };
        let ledgers = Ledgers::default();
        // Not in the order of their ids.
        ledgers.set((0..COUNT).rev().map(open).collect());
        Self { dir, book, ledgers }
    }

    /// As after kill -9.
    fn restart(self) -> Self {
        let died = tempfile::tempdir().unwrap();
        fs::copy(self.dir.path().join(BOOK), died.path().join(BOOK)).unwrap();
        drop(self);
        Self::in_directory(died)
    }

    fn ledger(&self, of: usize) -> Ledger {
        self.ledgers.all().iter().find(|ledger| *ledger.id() == issuer(of)).unwrap().clone()
    }

    fn status(&self, of: usize, number: u32) -> Option<Status> {
        self.ledger(of).look_up(&serial(number)).map(|found| found.status)
    }

    fn apply(&self, place: Move, said: &[(usize, Change)]) -> Result<Applied, StateError> {
        let sections: Vec<_> = said.iter().map(|(of, change)| (fingerprint(*of), [*change])).collect();
        let sections: Vec<_> =
            sections.iter().map(|(issuer, changes)| Section { issuer: *issuer, changes, hashes: &[] }).collect();
        self.ledgers.apply_told(place, &sections)
    }

    fn absorb(&self, said: &[(usize, Change)]) {
        for (of, change) in said {
            self.ledgers.absorb(&[Section { issuer: fingerprint(*of), changes: &[*change], hashes: &[] }]).unwrap();
        }
    }

    fn push(&self, of: usize, number: u32, order: Order) {
        self.ledger(of).push(&[push(number, order)], None, NOW).unwrap().remove(0).unwrap();
    }

    fn rows(&self, of: usize) -> Vec<Owed> {
        self.book.lock().outbox(&issuer(of), 99).unwrap()
    }

    fn debts(&self) -> Vec<([u8; 32], Serial)> {
        self.ledgers.debts(None, 99).unwrap().iter().map(|(issuer, debt)| (*issuer, debt.serial)).collect()
    }

    fn book_has(&self, of: usize, number: u32) -> Option<Known> {
        let found = self.book.lock().get(&issuer(of), &serial(number)).unwrap();
        found.map(|(record, origin)| Known { record, origin })
    }
}

#[test]
fn an_entry_changes_several_issuers_and_the_place_on_disk_and_then_shows() {
    let many = Many::new();
    assert_eq!(many.ledgers.place().unwrap(), None);
    let heard = many.ledger(1).state().changes.subscribe(Arc::new(|| ()));
    let pushed = said(1, Some(LOST)).by(Origin::PUSHED.with(Origin::PUSH_RESTRICTS));
    let entry = [(0, said(1, Some(GOOD))), (1, said(1, Some(GOOD))), (1, said(2, Some(HELD))), (0, pushed)];
    assert_eq!(many.apply(to(0, 1), &entry).unwrap(), Applied::default());
    assert_eq!(heard.take(), Changed::These(vec![serial(1), serial(2)]));
    let check = |many: &Many| {
        assert_eq!([many.status(0, 1), many.status(1, 1), many.status(1, 2)], [Some(LOST), Some(GOOD), Some(HELD)]);
        assert_eq!(many.ledger(0).look_up(&serial(1)).unwrap().origin, pushed.origin, "the later word of two");
        assert_eq!((many.ledgers.place().unwrap(), many.ledgers.owed(9).unwrap()), (place(1), vec![]));
    };
    check(&many);
    let many = many.restart();
    check(&many);
    // A hold ends when the feed says so, and so does a record.
    many.apply(to(1, 2), &[(1, said(2, Some(GOOD))), (1, said(1, None))]).unwrap();
    assert_eq!([1, 2].map(|number| many.status(1, number)), [None, Some(GOOD)]);
    // Nothing but the place.
    many.apply(to(2, 3), &[]).unwrap();
    assert_eq!(many.ledgers.place().unwrap(), place(3));
}

#[test]
fn what_the_feed_takes_back_stays_and_is_a_debt_until_the_feed_says_the_same() {
    let many = Many::new();
    many.apply(to(0, 1), &[(0, said(1, Some(LOST))), (1, said(1, Some(LOST)))]).unwrap();
    let applied = many.apply(to(1, 2), &[(0, said(1, Some(GOOD))), (1, said(1, None)), (2, said(1, Some(GOOD)))]);
    let debts = vec![(fingerprint(0), serial(1)), (fingerprint(1), serial(1))];
    let mut contradicted = applied.unwrap().contradicted;
    contradicted.sort_unstable();
    assert_eq!((contradicted.len(), many.debts().len()), (2, 2));
    let many = many.restart();
    assert_eq!([0, 1].map(|of| many.status(of, 1)), [Some(LOST); 2]);
    assert_eq!(many.debts().into_iter().collect::<BTreeSet<_>>(), debts.into_iter().collect());
    many.apply(to(2, 3), &[(0, said(1, Some(LOST)))]).unwrap();
    assert_eq!(many.debts(), [(fingerprint(1), serial(1))]);
    // Who leads tells them itself.
    many.ledgers.owe_debts().unwrap();
    let owed = many.ledgers.owed(9).unwrap();
    assert_eq!((owed.len(), owed[0].change, many.debts()), (1, said(1, Some(LOST)), vec![]));
    many.ledgers.told(to(3, 4), &owed).unwrap();
    assert_eq!((many.ledgers.owed(9).unwrap(), many.ledgers.place().unwrap()), (vec![], place(4)));
}

#[test]
fn an_entry_that_cannot_be_written_or_does_not_follow_shows_nothing() {
    let many = Many::new();
    many.apply(to(0, 1), &[(0, said(1, Some(GOOD)))]).unwrap();
    let entry = [(0, said(1, Some(LOST))), (1, said(1, Some(LOST)))];
    let nothing = |many: &Many| {
        assert_eq!([0, 1].map(|of| many.status(of, 1)), [Some(GOOD), None]);
        assert_eq!(many.ledgers.place().unwrap(), place(1));
    };
    let error = many.apply(to(2, 3), &entry).unwrap_err();
    assert!(error.to_string().contains("is at 7-1"), "{error}");
    nothing(&many);
    many.book.lock().disk = Disk::Full;
    many.apply(to(1, 2), &entry).unwrap_err();
    many.book.lock().disk = Disk::Fine;
    nothing(&many);
    many.apply(to(1, 2), &entry).unwrap();
    assert_eq!([0, 1].map(|of| many.status(of, 1)), [Some(LOST); 2]);
    // It is on disk all the same: what the book has is compared as a whole.
    many.book.lock().disk = Disk::Lies;
    many.apply(to(2, 3), &[(0, said(2, Some(LOST)))]).unwrap_err();
    many.book.lock().disk = Disk::Fine;
    assert_eq!((many.ledgers.place().unwrap(), many.status(0, 2)), (None, None));
    many.apply(to(2, 3), &[(0, said(2, Some(LOST)))]).unwrap_err();
    many.apply(to(0, 3), &[(0, said(3, Some(GOOD)))]).unwrap();
    assert_eq!(many.status(0, 2), Some(LOST), "taken from the book when that was written anew");
}

/// The place of a book that was lost is not that of the records in memory, nor is what it was told.
#[test]
fn a_book_that_is_made_anew_has_no_place_no_rows_and_no_debts() {
    let many = Many::new();
    many.apply(to(0, 1), &[(0, said(1, Some(LOST)))]).unwrap();
    many.push(0, 2, ADD);
    let copy = many.dir.path().join("copy");
    fs::copy(many.dir.path().join(BOOK), &copy).unwrap();
    many.ledgers.told(to(1, 2), &many.ledgers.owed(9).unwrap()).unwrap();
    many.apply(to(2, 3), &[(0, said(1, Some(GOOD))), (0, said(2, Some(HELD)))]).unwrap();
    assert_eq!(many.debts().len(), 1);
    fs::rename(copy, many.dir.path().join(BOOK)).unwrap();
    assert_eq!(many.ledgers.place().unwrap(), None);
    many.ledger(0).save().unwrap();
    assert_eq!((many.rows(0), many.debts()), (vec![], vec![]), "undone, a row of then would end the hold");
    assert_eq!(many.ledgers.undo_untold().unwrap(), 0);
    let many = many.restart();
    assert_eq!([1, 2].map(|number| many.status(0, number)), [Some(LOST), Some(HELD)]);
    assert_eq!(many.ledgers.place().unwrap(), None);
}

#[test]
fn a_final_revocation_that_shows_while_an_entry_is_written_stays_and_is_saved() {
    let many = Many::new();
    many.apply(to(0, 1), &[(0, said(1, Some(HELD))), (0, said(2, Some(HELD)))]).unwrap();
    let ledger = many.ledger(0);
    let act = move || ledger.take(&difference(vec![said(1, Some(LOST))]));
    many.ledger(0).plan(Some((Step::Committed, Box::new(act))));
    many.apply(to(1, 2), &[(0, said(1, Some(GOOD))), (0, said(2, Some(GOOD)))]).unwrap();
    assert_eq!([1, 2].map(|number| many.status(0, number)), [Some(LOST), Some(GOOD)]);
    many.ledger(0).save().unwrap();
    let row = many.rows(0)[0];
    assert_eq!((row.serial, row.former.map(|(record, _)| record.status)), (serial(1), Some(GOOD)), "as it was told");
    assert_eq!(many.restart().status(0, 1), Some(LOST));
}

#[test]
fn what_a_row_is_about_is_mended_when_the_feed_speaks_of_it() {
    let many = Many::new();
    many.apply(to(0, 1), &[(0, said(1, Some(GOOD))), (0, said(2, Some(GOOD)))]).unwrap();
    many.push(0, 1, revoke(Reason::KeyCompromise));
    many.push(0, 2, revoke(Reason::CertificateHold));
    many.apply(to(1, 2), &[(0, said(1, Some(HELD))), (0, said(2, None))]).unwrap();
    let rows = many.rows(0);
    assert_eq!(rows.iter().map(|row| row.serial).collect::<Vec<_>>(), [serial(1)], "the other one is as the feed says");
    assert_eq!(rows[0].former.map(|(record, _)| record.status), Some(HELD));
    assert_eq!((many.status(0, 1), many.status(0, 2), many.debts()), (Some(LOST), None, vec![]));
}

#[test]
fn what_was_not_even_saved_is_undone_too_and_what_is_final_becomes_a_debt() {
    let many = Many::new();
    let known = (1..=4).flat_map(|number| [(0, said(number, Some(GOOD))), (1, said(number, Some(GOOD)))]);
    many.apply(to(0, 1), &known.collect::<Vec<_>>()).unwrap();
    for of in [0, 1] {
        many.push(of, 1, revoke(Reason::KeyCompromise));
        many.push(of, 2, revoke(Reason::CertificateHold));
        many.ledger(of).take(&difference(vec![said(2, Some(LOST)), said(3, Some(LOST)), said(4, Some(HELD))]));
    }
    assert_eq!(many.ledgers.undo_untold().unwrap(), 6);
    let wanted = [Some(LOST), Some(LOST), Some(LOST), Some(GOOD)];
    let all = |many: &Many, of| [1, 2, 3, 4].map(|number| many.status(of, number));
    let debts: BTreeSet<_> =
        (0..2).flat_map(|of| (1..=3).map(move |number| (fingerprint(of), serial(number)))).collect();
    for of in [0, 1] {
        assert_eq!((all(&many, of), many.rows(of)), (wanted, vec![]));
        many.ledger(of).save().unwrap();
        assert_eq!(many.rows(of), [], "nothing is left to be saved");
    }
    let many = many.restart();
    assert_eq!([0, 1].map(|of| all(&many, of)), [wanted; 2]);
    assert_eq!(many.debts().into_iter().collect::<BTreeSet<_>>(), debts);
    assert_eq!((many.ledgers.undo_untold().unwrap(), many.ledgers.place().unwrap()), (0, place(1)));
}

/// The feed had contradicted it before it was saved: who stood by then took its own book for what others had been told, and
/// nobody was told any more.
#[test]
fn what_was_not_even_saved_and_is_contradicted_stays_a_debt() {
    let many = Many::new();
    many.ledger(0).take(&difference(vec![said(1, Some(LOST)), said(2, Some(LOST))]));
    many.apply(to(0, 1), &[(0, said(1, None)), (0, said(2, Some(GOOD)))]).unwrap();
    let debts = [1, 2].map(|number| (fingerprint(0), serial(number)));
    assert_eq!(many.debts(), debts);
    for _ in 0..2 {
        many.ledgers.undo_untold().unwrap();
        assert_eq!((many.debts(), many.rows(0)), (debts.to_vec(), vec![]));
    }
    let many = many.restart();
    assert_eq!([1, 2].map(|number| many.status(0, number)), [Some(LOST); 2]);
}

#[test]
fn nothing_is_undone_where_the_book_cannot_be_written() {
    let many = Many::new();
    many.apply(to(0, 1), &[(0, said(1, Some(GOOD))), (0, said(2, Some(GOOD)))]).unwrap();
    many.push(0, 1, revoke(Reason::CertificateHold));
    many.ledger(0).take(&difference(vec![said(2, Some(LOST))]));
    many.book.lock().disk = Disk::Full;
    many.ledgers.undo_untold().unwrap_err();
    many.book.lock().disk = Disk::Fine;
    assert_eq!([1, 2].map(|number| many.status(0, number)), [Some(HELD), Some(LOST)]);
    assert!(!many.ledger(0).is_saved());
    assert_eq!(many.ledgers.undo_untold().unwrap(), 1);
    assert_eq!([1, 2].map(|number| many.status(0, number)), [Some(GOOD), Some(LOST)]);
}

#[test]
fn what_is_stricter_elsewhere_is_taken_over_as_something_to_be_told() {
    let many = Many::new();
    let known =
        [(0, said(1, Some(GOOD))), (0, said(2, Some(LOST))), (0, said(3, Some(HELD))), (1, said(1, Some(LOST)))];
    many.apply(to(0, 1), &known).unwrap();
    many.apply(to(1, 2), &[(1, said(1, Some(GOOD)))]).unwrap();
    let pushed = Origin::PUSHED.with(Origin::PUSH_RESTRICTS);
    many.absorb(&[
        (0, said(1, Some(LOST)).by(pushed)),
        (0, said(2, Some(GOOD))),
        (0, said(3, None)),
        (0, said(4, Some(GOOD))),
        (0, said(5, Some(HELD))),
        (1, said(1, Some(LOST))),
    ]);
    let all = [1, 2, 3, 4, 5].map(|number| many.status(0, number));
    assert_eq!(all, [Some(LOST), Some(LOST), Some(HELD), None, Some(HELD)]);
    let owed: Vec<_> = many.ledgers.owed(9).unwrap().iter().map(|row| (row.issuer, row.change)).collect();
    assert_eq!(owed, [(fingerprint(0), said(1, Some(LOST)).by(pushed)), (fingerprint(0), said(5, Some(HELD)))]);
    assert_eq!(many.debts(), [(fingerprint(1), serial(1))], "it says as much, and is still to be told");
    assert_eq!(many.restart().status(0, 1), Some(LOST));
}

#[test]
fn an_issuer_that_is_not_configured_is_told_and_nothing_is_kept_of_it() {
    let many = Many::new();
    let applied = many.apply(to(0, 1), &[(COUNT, said(1, Some(LOST))), (0, said(1, Some(LOST)))]).unwrap();
    assert_eq!((applied.strangers, many.status(0, 1)), (vec![fingerprint(COUNT)], Some(LOST)));
    assert!(!many.book.lock().load(&issuer(COUNT), |_, _, _| ()).unwrap().known);
    assert_eq!(Ledgers::default().apply_told(to(0, 1), &[]).unwrap(), Applied::default());
    assert_eq!(Ledgers::default().place().unwrap(), None);
}

#[test]
fn entries_pushes_and_saves_at_once_wait_for_each_other_in_one_order() {
    let many = Many::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            for sequence in 0..60 {
                // In either order.
                let mut entry = vec![(0, said(1, Some(GOOD))), (1, said(1, Some(HELD))), (2, said(1, Some(GOOD)))];
                entry.rotate_left(sequence as usize % COUNT);
                many.apply(to(sequence, sequence + 1), &entry).unwrap();
            }
        });
        scope.spawn(|| {
            (0..40).for_each(|number| many.absorb(&[(number as usize % COUNT, said(2000 + number, Some(LOST)))]));
        });
        for of in 0..COUNT {
            let ledger = many.ledger(of);
            scope.spawn(move || {
                for number in 0..40 {
                    ledger.push(&[push(1000 + number, ADD)], None, NOW).unwrap().remove(0).unwrap();
                    ledger.take(&difference(vec![said(3000 + number, Some(GOOD))]));
                    ledger.save().unwrap();
                }
            });
        }
    });
    assert_eq!(many.ledgers.place().unwrap(), place(60));
    let digests = |many: &Many| [0, 1, 2].map(|of| many.ledger(of).state().records.digest());
    let before = digests(&many);
    assert_eq!(digests(&many.restart()), before);
}

/// What is said at each place.
type Feed = Vec<BTreeMap<(usize, u32), Known>>;

const NUMBERS: std::ops::Range<u32> = 1..4;

/// Rows, debts and records together are what was told, nothing final is lost, and what is saved shows.
fn check(many: &Many, told: &BTreeMap<(usize, u32), Known>, finals: &mut BTreeSet<(usize, u32)>) {
    let is_final = |known: Option<Known>| known.is_some_and(|known| reconcile::strictness(known.record.status) == 2);
    let debts = many.debts();
    for of in 0..COUNT {
        let rows = many.rows(of);
        let ledger = many.ledger(of);
        for number in NUMBERS {
            let (key, has) = ((of, number), many.book_has(of, number));
            let row = rows.iter().find(|row| row.serial == serial(number));
            let last = told.get(&key).copied();
            let shown = ledger.look_up(&serial(number)).map(Known::from);
            let is_debt = debts.contains(&(fingerprint(of), serial(number)));
            assert!(!(is_debt && row.is_some()), "{key:?} is a row and a debt");
            match row {
                Some(row) => assert_eq!(row.former.map(|(record, origin)| Known { record, origin }), last, "{key:?}"),
                None if is_debt => assert!(is_final(has) && !is_final(last), "{key:?}: {has:?}, told {last:?}"),
                None => assert_eq!(has, last, "{key:?} is not owed"),
            }
            if is_final(has) {
                finals.insert(key);
            }
            assert!(!finals.contains(&key) || is_final(has) && is_final(shown), "{key:?}: {has:?}, {shown:?}");
            assert!(!ledger.is_saved() || has == shown, "{key:?}: {has:?}, {shown:?}");
        }
        many.book.lock().load(&issuer(of), |_, _, _| ()).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn whatever_is_pushed_read_told_heard_undone_and_lost_nothing_final_is_and_all_is_told(
        steps in prop::collection::vec((0u8..10, prop::collection::vec((0..COUNT, NUMBERS, 0u8..5), 1..5)), 1..24),
    ) {
        let mut many = Many::new();
        let (mut feed, mut finals): (Feed, _) = (vec![BTreeMap::new()], BTreeSet::new());
        for (kind, said) in steps {
            let at = many.ledgers.place().unwrap().map_or(0, |place| place.sequence);
            prop_assert!((at as usize) < feed.len());
            feed.truncate(at as usize + 1);
            let next = to(at, at + 1);
            let mut told = feed[at as usize].clone();
            let statuses = [None, Some(GOOD), Some(HELD), Some(LOST), Some(GOOD)];
            let changes = said.iter().map(|(of, number, what)| (*of, super::said(*number, statuses[usize::from(*what)])));
            let changes: Vec<(usize, Change)> = changes.collect();
            match kind {
                0 | 1 => for (of, number, what) in said {
                    let hold = revoke(Reason::CertificateHold);
                    let order = [ADD, ADD, hold, revoke(Reason::KeyCompromise), Order::Release][usize::from(what)];
                    many.ledger(of).push(&[push(number, order)], None, NOW).unwrap();
                },
                2 => for (of, change) in changes {
                    many.ledger(of).take(&difference(vec![change]));
                },
                3 => (0..COUNT).for_each(|of| many.ledger(of).save().unwrap()),
                4 => {
                    for (of, change) in &changes {
                        match Known::of(change) {
                            Some(known) => _ = told.insert((*of, number_of(change)), known),
                            None => _ = told.remove(&(*of, number_of(change))),
                        }
                    }
                    many.apply(next, &changes).unwrap();
                    feed.push(told);
                }
                5 | 6 => {
                    let rows = many.ledgers.owed(said.len()).unwrap();
                    for Told { issuer, change, .. } in &rows {
                        let of = (0..COUNT).find(|of| fingerprint(*of) == *issuer).unwrap();
                        match Known::of(change) {
                            Some(known) => _ = told.insert((of, number_of(change)), known),
                            None => _ = told.remove(&(of, number_of(change))),
                        }
                    }
                    // Something comes in between.
                    let (of, number, _) = said[0];
                    many.ledger(of).push(&[push(number, revoke(Reason::CertificateHold))], None, NOW).unwrap();
                    many.ledgers.told(next, &rows).unwrap();
                    feed.push(told);
                }
                7 => {
                    many.ledgers.undo_untold().unwrap();
                    prop_assert_eq!(many.ledgers.owed(9).unwrap(), vec![]);
                    for of in 0..COUNT {
                        prop_assert!(many.ledger(of).0.shown().unsaved.serials_left() == 0);
                    }
                }
                8 => {
                    many.absorb(&changes);
                    many.ledgers.owe_debts().unwrap();
                    prop_assert_eq!(many.debts(), vec![]);
                }
                _ => many = many.restart(),
            }
            let at = many.ledgers.place().unwrap().map_or(0, |place| place.sequence);
            check(&many, &feed[at as usize], &mut finals);
        }
    }
}

fn number_of(change: &Change) -> u32 {
    NUMBERS.into_iter().find(|number| serial(*number) == change.serial).unwrap()
}
