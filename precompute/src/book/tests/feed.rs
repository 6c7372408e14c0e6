//! What a book keeps for the feed: the place, several issuers in one commit, debts, rows that were told.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{
    kept_beside::{PUSHED, again},
    *,
};

fn place(sequence: u64) -> Place {
    Place { epoch: 7, sequence, chain: [sequence as u8; 32] }
}

fn to(from: Option<u64>, to: u64) -> Option<Move> {
    Some(Move { from: from.map(place), to: Some(place(to)) })
}

fn contradicted(number: u8, said: Option<Record>) -> Contradicted {
    Contradicted { present: change(number, Some(REVOKED)), said: change(number, said) }
}

/// A book with these debts of `a`: 1, of which good was said, and 2, of which nothing was.
fn with_debts(state_dir: &Path) -> Book {
    let (mut book, a) = (Book::open(state_dir).unwrap(), id("a"));
    let identity = book.identity().unwrap();
    let batch =
        Batch { contradicted: &[contradicted(1, Some(GOOD)), contradicted(2, None)], ..Batch::new(&a, identity) };
    book.commit_all(&Joint { batches: &[batch], place: to(None, 1) }).unwrap();
    book
}

fn debtors(book: &mut Book) -> Vec<Serial> {
    book.debts(None, 99).unwrap().iter().map(|(_, debt)| debt.serial).collect()
}

#[test]
fn several_issuers_and_the_place_change_together_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let (mut book, a, b) = (Book::open(dir.path()).unwrap(), id("a"), id("b"));
    let identity = book.identity().unwrap();
    assert_eq!(book.place().unwrap(), None, "nothing was ever taken from the feed");
    let changes = [change(1, Some(GOOD)), change(2, Some(REVOKED))];
    let batch = |issuer| Batch { changes: &changes, is_told: true, ..Batch::new(issuer, identity) };
    let version = book.commit_all(&Joint { batches: &[batch(&a), batch(&b)], place: to(None, 1) }).unwrap();
    let mut book = again(book);
    let said = |book: &mut Book| [&a, &b].map(|issuer| book.all(issuer).unwrap().1);
    assert_eq!((said(&mut book).map(|all| all.len()), book.place().unwrap()), ([2, 2], Some(place(1))));

    let later = [change(1, Some(REVOKED))];
    let batch = |issuer| Batch { changes: &later, is_told: true, ..Batch::new(issuer, identity) };
    let before = said(&mut book);
    let elsewhere = book.commit_all(&Joint { batches: &[batch(&a), batch(&b)], place: to(Some(3), 4) }).unwrap_err();
    assert!(elsewhere.to_string().contains("is at 7-1 (01010101) in the feed, not at 7-3"), "{elsewhere}");
    book.disk = Disk::Full;
    book.commit_all(&Joint { batches: &[batch(&a), batch(&b)], place: to(Some(1), 2) }).unwrap_err();
    book.disk = Disk::Fine;
    assert_eq!((said(&mut book), book.place().unwrap()), (before, Some(place(1))));
    let next = book.commit_all(&Joint { batches: &[batch(&a), batch(&b)], place: to(Some(1), 2) }).unwrap();
    assert_eq!((next, book.place().unwrap()), (version + 1, Some(place(2))));
    // There is none while everything is compared.
    book.commit_all(&Joint { batches: &[], place: Some(Move { from: Some(place(2)), to: None }) }).unwrap();
    assert_eq!(again(book).place().unwrap(), None);
}

#[test]
fn a_place_counts_for_the_file_that_it_was_written_to_and_while_all_changes_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy, a) = (dir.path().join(BOOK), dir.path().join("copy"), id("a"));
    let mut book = Book::open(dir.path()).unwrap();
    book.commit_all(&Joint { batches: &[], place: to(None, 1) }).unwrap();
    drop(book);
    fs::copy(&path, &copy).unwrap();
    let mut book = Book::open(dir.path()).unwrap();
    let identity = book.identity().unwrap();
    let changes = [change(1, Some(GOOD))];
    book.commit(&Batch { changes: &changes, owed: true, ..Batch::new(&a, identity) }).unwrap();
    book.commit(&Batch { verified: Some(UnixTime(5)), stamps: Some(&[1]), ..Batch::new(&a, identity) }).unwrap();
    assert_eq!(book.place().unwrap(), Some(place(1)));
    fs::rename(&copy, &path).unwrap();
    assert_eq!(book.place().unwrap(), None, "an older copy is in its place");
    book.told(to(None, 5), &[]).unwrap();
    book.disk = Disk::Lies;
    let identity = book.identity().unwrap();
    book.commit(&Batch { changes: &changes, owed: true, ..Batch::new(&a, identity) }).unwrap_err();
    book.disk = Disk::Fine;
    assert_eq!(book.place().unwrap(), None, "a commit is in doubt");
    book.told(to(None, 6), &[]).unwrap();
    book.put(&a, &[change(1, Some(REVOKED))], None, None);
    assert_eq!(book.place().unwrap(), None, "it was changed, and nobody is told");
}

#[test]
fn a_row_that_has_changed_since_it_was_told_stays_with_what_was_told() {
    let dir = tempfile::tempdir().unwrap();
    let (mut book, a) = (Book::open(dir.path()).unwrap(), id("a"));
    let identity = book.identity().unwrap();
    let owe = |book: &mut Book, changes: &[Change]| {
        book.commit(&Batch { changes, owed: true, ..Batch::new(&a, identity) }).unwrap().version
    };
    owe(&mut book, &[change(1, Some(GOOD)), change(2, Some(GOOD))]);
    let rows = book.owed(9).unwrap();
    let later = owe(&mut book, &[change(1, Some(REVOKED))]);
    book.told(to(None, 1), &rows).unwrap();
    // Nothing of the second is left, and what the first owes is the difference from what was told.
    let left = [Owed { serial: serial(1), former: Some((GOOD, Origin::SOURCE)), version: later }];
    assert_eq!((book.outbox(&a, 9).unwrap(), book.place().unwrap()), (left.to_vec(), Some(place(1))));
    book.told(to(Some(1), 2), &rows).unwrap();
    assert_eq!(book.outbox(&a, 9).unwrap(), left, "the same once more");
    owe(&mut book, &[change(1, Some(REVOKED))]);
    assert_eq!(book.outbox(&a, 9).unwrap(), left, "a commit that changes nothing owes nothing more");
    book.all(&a).unwrap();
    // What no flush was for is lost with the process, rows and place together.
    let died = tempfile::tempdir().unwrap();
    fs::copy(dir.path().join(BOOK), died.path().join(BOOK)).unwrap();
    let mut died = Book::open(died.path()).unwrap();
    assert_eq!((died.place().unwrap(), died.outbox(&a, 9).unwrap()), (Some(place(2)), left.to_vec()));
}

#[test]
fn what_was_told_without_a_flush_is_lost_whole_and_not_for_long() {
    let dir = tempfile::tempdir().unwrap();
    let (mut book, a) = (Book::open(dir.path()).unwrap(), id("a"));
    let identity = book.identity().unwrap();
    let changes = [change(1, Some(GOOD))];
    book.commit(&Batch { changes: &changes, owed: true, ..Batch::new(&a, identity) }).unwrap();
    let rows = book.owed(9).unwrap();
    let mut flushed = BTreeSet::new();
    let most = u64::from(limits::BOOK_TOLD_UNFLUSHED_MAX);
    for sequence in 1..=2 * most + 2 {
        book.told(to(sequence.checked_sub(1).filter(|before| *before > 0), sequence), &rows).unwrap();
        let died = tempfile::tempdir().unwrap();
        fs::copy(dir.path().join(BOOK), died.path().join(BOOK)).unwrap();
        let mut died = Book::open(died.path()).unwrap();
        let there = died.place().unwrap().map_or(0, |place| place.sequence);
        assert!(sequence - there <= most, "{sequence}: {there}");
        assert_eq!(died.outbox(&a, 9).unwrap().is_empty(), there > 0, "with the place");
        died.all(&a).unwrap();
        flushed.insert(there);
    }
    assert_eq!(flushed.len(), 3, "{flushed:?}");
}

const HELD: Record =
    Record { status: Status::Revoked { time: UnixTime(5), reason: Reason::CertificateHold }, not_after: None };

/// A hold that was acknowledged was undone where power failed and Redis had kept nothing.
#[test]
fn a_push_that_may_be_taken_back_is_flushed_as_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (mut book, a) = (Book::open(dir.path()).unwrap(), id("a"));
    let identity = book.identity().unwrap();
    for (number, (pushed, is_flushed)) in [
        (change(1, Some(HELD)).by(PUSHED), true),
        (change(1, Some(GOOD)).by(PUSHED), true),
        (change(2, Some(GOOD)), false),
        // What is final becomes a debt instead.
        (change(2, Some(REVOKED)).by(PUSHED), false),
    ]
    .into_iter()
    .enumerate()
    {
        let sequence = number as u64 + 1;
        book.commit(&Batch { changes: &[pushed], owed: true, ..Batch::new(&a, identity) }).unwrap();
        let rows = book.owed(9).unwrap();
        book.told(to(Some(sequence - 1).filter(|before| *before > 0), sequence), &rows).unwrap();
        let died = tempfile::tempdir().unwrap();
        fs::copy(dir.path().join(BOOK), died.path().join(BOOK)).unwrap();
        let mut died = Book::open(died.path()).unwrap();
        let is_there = died.place().unwrap() == Some(place(sequence));
        assert_eq!((is_there, died.outbox(&a, 9).unwrap().is_empty()), (is_flushed, is_flushed), "{pushed:?}");
    }
}

#[test]
fn a_debt_is_kept_apart_and_becomes_a_row_and_a_debt_again_with_what_was_told() {
    let dir = tempfile::tempdir().unwrap();
    let (mut book, a) = (again(with_debts(dir.path())), id("a"));
    let identity = book.identity().unwrap();
    assert_eq!((debtors(&mut book), book.outbox(&a, 9).unwrap()), (vec![serial(1), serial(2)], vec![]));
    assert_eq!(book.get(&a, &serial(1)).unwrap(), Some((REVOKED, Origin::SOURCE)), "what it is comes with it");
    assert_eq!(
        book.debts(Some((*a.fingerprint(), serial(1))), 9).unwrap(),
        [(*a.fingerprint(), change(2, Some(REVOKED)))]
    );
    assert_eq!([&a, &id("b")].map(|issuer| book.has_untold(issuer).unwrap()), [true, false]);
    assert!(!book.owe_debts().unwrap() && !book.owe_debts().unwrap());
    let owed = book.outbox(&a, 9).unwrap();
    assert_eq!(owed.iter().map(|owed| owed.former).collect::<Vec<_>>(), [Some((GOOD, Origin::SOURCE)), None]);
    assert_eq!(debtors(&mut book), []);
    // A row that is contradicted stays a row; as one that was told last it is a debt.
    let say = |book: &mut Book, changes: &[Change], contradicted: &[Contradicted]| {
        let batch = Batch { changes, contradicted, is_told: true, ..Batch::new(&a, identity) };
        book.commit_all(&Joint { batches: &[batch], place: None }).unwrap();
    };
    say(&mut book, &[], &[contradicted(2, Some(GOOD))]);
    assert_eq!(book.outbox(&a, 9).unwrap()[1], Owed { former: Some((GOOD, Origin::SOURCE)), ..owed[1] });
    say(&mut book, &[change(2, Some(REVOKED))], &[contradicted(2, None)]);
    assert_eq!((debtors(&mut book), book.outbox(&a, 9).unwrap().len()), (vec![serial(2)], 1));
    // They say the same now.
    say(&mut book, &[change(1, Some(REVOKED)), change(2, Some(REVOKED))], &[]);
    assert!(!book.has_untold(&a).unwrap());
    again(book).all(&a).unwrap();
}

#[test]
fn a_change_of_a_record_with_a_debt_owes_with_what_was_told() {
    let dir = tempfile::tempdir().unwrap();
    let (mut book, a) = (with_debts(dir.path()), id("a"));
    let identity = book.identity().unwrap();
    let other = Record { not_after: Some(UnixTime(9)), ..REVOKED };
    book.commit(&Batch { changes: &[change(1, Some(other))], owed: true, ..Batch::new(&a, identity) }).unwrap();
    assert_eq!(debtors(&mut book), [serial(2)]);
    assert_eq!(book.outbox(&a, 9).unwrap()[0].former, Some((GOOD, Origin::SOURCE)));
    book.commit(&Batch { forgets_owed: true, ..Batch::new(&a, identity) }).unwrap();
    assert!(!book.has_untold(&a).unwrap());
    book.all(&a).unwrap();
}

#[test]
fn what_is_owed_comes_in_parts_pushes_first_and_each_issuer_in_turn() {
    let dir = tempfile::tempdir().unwrap();
    let mut book = Book::open(dir.path()).unwrap();
    let identity = book.identity().unwrap();
    let (bulk, a, b, c) = (id("bulk"), id("a"), id("b"), id("c"));
    let owe = |book: &mut Book, issuer: &IssuerId, changes: &[Change]| {
        book.commit(&Batch { changes, owed: true, ..Batch::new(issuer, identity) }).unwrap();
    };
    let many: Vec<_> = (1..=200).map(|number| change(number, Some(GOOD))).collect();
    owe(&mut book, &bulk, &many);
    book.put(&c, &many, None, None);
    owe(&mut book, &a, &[change(1, Some(GOOD)), change(2, Some(GOOD))]);
    owe(&mut book, &b, &[change(9, Some(REVOKED)).by(PUSHED)]);
    owe(&mut book, &bulk, &[change(150, Some(REVOKED)).by(PUSHED)]);
    let part = |book: &mut Book, most| {
        let rows = book.owed(most).unwrap();
        let of = |row: &Told| (row.issuer, row.change.serial);
        (rows.iter().map(of).collect::<Vec<_>>(), rows)
    };
    let of = |issuer: &IssuerId, number| (*issuer.fingerprint(), serial(number));
    assert_eq!(part(&mut book, 1).0, [of(&b, 9)], "a push, and the earlier of two");
    let (first, rows) = part(&mut book, 6);
    let wanted = [of(&b, 9), of(&bulk, 150), of(&bulk, 1), of(&bulk, 2), of(&a, 1), of(&a, 2)];
    assert_eq!(first, wanted, "a bulk leaves room for the others");
    assert_eq!(rows[1].change, change(150, Some(REVOKED)).by(PUSHED), "as it is now");
    let mut seen = BTreeSet::new();
    loop {
        let (some, rows) = part(&mut book, 64);
        if rows.is_empty() {
            break;
        }
        assert!(some.into_iter().all(|of| seen.insert(of)), "once each");
        book.told(None, &rows).unwrap();
    }
    assert_eq!(seen.len(), 203);
    [bulk, a, b, c].iter().for_each(|issuer| _ = book.all(issuer).unwrap());
}

/// A wrong place tells others what they have not heard, and a debt that is lost is never told.
#[test]
fn a_flipped_bit_of_a_debt_or_of_the_place_is_told_and_costs_no_issuer_its_records() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, at, a) = (dir.path().join("whole"), dir.path().join("flipped"), id("a"));
    drop(with_debts(&whole));
    let bytes = fs::read(whole.join(BOOK)).unwrap();
    fs::create_dir(&at).unwrap();
    let former = codec::encode(&GOOD, Origin::SOURCE, 1);
    let said = [&7u64.to_be_bytes()[..], &1u64.to_be_bytes(), &[1; 32]].concat();
    for (name, what, byte) in [("a debt", &former[..], 9), ("the epoch", &said, 7), ("the hash", &said, 30)] {
        let mut flipped = bytes.clone();
        let found: Vec<_> = (0..bytes.len() - what.len()).filter(|place| bytes[*place..].starts_with(what)).collect();
        assert!(!found.is_empty(), "{name}");
        found.iter().for_each(|place| flipped[place + byte] ^= 1);
        fs::write(at.join(BOOK), flipped).unwrap();
        let mut book = Book::open(&at).unwrap();
        let [of_records, of_place] = [book.all(&a).err(), book.place().err()];
        assert_eq!([of_records.is_some(), of_place.is_some()], [name == "a debt", name != "a debt"], "{name}");
        let told = of_records.or(of_place).unwrap();
        assert!(told.is_damage() && told.to_string().contains("--accept-damaged"), "{name}: {told}");
        drop(book);
        let salvaged = salvage(&at, &[]).unwrap().unwrap();
        assert_eq!(salvaged.issuers[0].is_whole, name != "a debt", "{name}");
        let mut book = Book::open(&at).unwrap();
        assert_eq!((book.all(&a).unwrap().1.len(), book.place().unwrap()), (2, None), "{name}");
    }
}

/// What the book says, in a small model.
#[derive(Clone, Default)]
struct Model {
    place: Option<u64>,
    records: BTreeMap<(usize, u8), Said>,
    /// What was told last.
    outbox: BTreeMap<(usize, u8), Said>,
    debts: BTreeMap<(usize, u8), Said>,
}

/// 0: nothing, 1: good, 2: on hold, 3 and more: revoked.
type Said = u8;

fn record(said: Said) -> Option<Record> {
    let revoked = |reason| Record { status: Status::Revoked { time: UnixTime(5), reason }, not_after: None };
    match said {
        0 => None,
        1 => Some(GOOD),
        2 => Some(revoked(Reason::CertificateHold)),
        _ => Some(revoked(Reason::KeyCompromise)),
    }
}

fn said_of(record: Option<(Record, Origin)>) -> Said {
    (0..4).find(|said| self::record(*said) == record.map(|(record, _)| record)).unwrap()
}

impl Model {
    fn get(&self, key: (usize, u8)) -> Said {
        self.records.get(&key).copied().unwrap_or(0)
    }

    fn owe(&mut self, key: (usize, u8), said: Said) {
        let before = self.get(key);
        if before != said {
            let told = self.debts.remove(&key).unwrap_or(before);
            self.outbox.entry(key).or_insert(told);
            self.records.insert(key, said);
        }
    }

    fn hear(&mut self, key: (usize, u8), said: Said) {
        if self.get(key) < 3 || said >= 3 {
            self.outbox.remove(&key);
            self.debts.remove(&key);
            self.records.insert(key, said);
        } else if let Some(told) = self.outbox.get_mut(&key) {
            *told = said;
        } else {
            self.debts.insert(key, said);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn whatever_is_committed_told_heard_and_lost_the_book_is_as_the_model(
        steps in prop::collection::vec((0u8..6, prop::collection::vec((0usize..3, 1u8..5, 0u8..4), 1..6)), 1..16),
    ) {
        let dirs: Vec<_> = (0..17).map(|_| tempfile::tempdir().unwrap()).collect();
        let issuers = [id("a"), id("b"), id("c")];
        let mut book = Book::open(dirs[0].path()).unwrap();
        // What is on disk, and what was committed since without a flush.
        let (mut disk, mut model, mut life, mut sequence) = (Model::default(), Model::default(), 0, 0);
        for (kind, said) in steps {
            let by_key: BTreeMap<_, _> = said.iter().map(|(of, number, said)| ((*of, *number), *said)).collect();
            let identity = book.identity().unwrap();
            let changes = |of: usize, keep: &dyn Fn((usize, u8), Said) -> bool| -> Vec<Change> {
                let kept = by_key.iter().filter(|(key, said)| key.0 == of && keep(**key, **said));
                kept.map(|((_, number), said)| change(*number, record(*said))).collect()
            };
            sequence += 1;
            let place = to(model.place, sequence);
            match kind {
                0 | 1 => {
                    let all = [0, 1, 2].map(|of| changes(of, &|_, _| true));
                    let batch = |of: usize| Batch { changes: &all[of], owed: true, ..Batch::new(&issuers[of], identity) };
                    book.commit_all(&Joint { batches: &[0, 1, 2].map(batch), place: None }).unwrap();
                    by_key.iter().for_each(|(key, said)| model.owe(*key, *said));
                    disk = model.clone();
                }
                2 => {
                    let becomes = [0, 1, 2].map(|of| changes(of, &|key, said| model.get(key) < 3 || said >= 3));
                    let stays = [0, 1, 2].map(|of| -> Vec<_> {
                        let stays = changes(of, &|key, said| model.get(key) >= 3 && said < 3);
                        stays.iter().map(|said| Contradicted { present: Change { record: record(3), ..*said }, said: *said }).collect()
                    });
                    let batch = |of: usize| Batch {
                        changes: &becomes[of], contradicted: &stays[of], is_told: true, ..Batch::new(&issuers[of], identity)
                    };
                    book.commit_all(&Joint { batches: &[0, 1, 2].map(batch), place }).unwrap();
                    by_key.iter().for_each(|(key, said)| model.hear(*key, *said));
                    model.place = Some(sequence);
                    disk = model.clone();
                }
                3 => {
                    let rows = book.owed(said.len()).unwrap();
                    prop_assert_eq!(rows.len(), said.len().min(model.outbox.len()));
                    book.told(place, &rows).unwrap();
                    for row in rows {
                        let of = issuers.iter().position(|issuer| *issuer.fingerprint() == row.issuer).unwrap();
                        let key = (of, row.change.serial.padded()[19]);
                        prop_assert_eq!(row.change.record, record(model.get(key)));
                        model.outbox.remove(&key);
                    }
                    model.place = Some(sequence);
                }
                4 => {
                    book.owe_debts().unwrap();
                    if !model.debts.is_empty() {
                        let debts = std::mem::take(&mut model.debts);
                        model.outbox.extend(debts);
                        disk = model.clone();
                    }
                }
                // As after kill -9.
                _ => {
                    fs::copy(book.path.clone(), dirs[life + 1].path().join(BOOK)).unwrap();
                    life += 1;
                    drop(book);
                    book = Book::open(dirs[life].path()).unwrap();
                    model = disk.clone();
                }
            }
            prop_assert_eq!(book.place().unwrap(), model.place.map(self::place));
            let mut owed = BTreeMap::new();
            for (of, issuer) in issuers.iter().enumerate() {
                for number in 1..5 {
                    let found = book.get(issuer, &serial(number)).unwrap().map(|(record, _)| record);
                    prop_assert_eq!(found, record(model.get((of, number))));
                }
                let rows = book.outbox(issuer, 99).unwrap();
                owed.extend(rows.iter().map(|row| ((of, row.serial.padded()[19]), said_of(row.former))));
            }
            prop_assert_eq!(&owed, &model.outbox);
            let debts: BTreeSet<_> = book.debts(None, 99).unwrap().into_iter().map(|(issuer, debt)| {
                let of = issuers.iter().position(|id| *id.fingerprint() == issuer).unwrap();
                (of, debt.serial.padded()[19])
            }).collect();
            prop_assert_eq!(debts, model.debts.keys().copied().collect());
        }
    }
}

#[test]
fn reading_that_makes_room_in_the_cache_leaves_the_book_this_process_s_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut book = Book::unopened(dir.path().join(BOOK), false);
    book.cache = 256 << 10;
    let (identity, a) = (book.identity().unwrap(), id("a"));
    let many = |number: u32| Serial::from_magnitude(&(number + 1).to_be_bytes()).unwrap();
    let changes: Vec<_> = (0..20_000).map(|number| Change::new(many(number), Some(GOOD))).collect();
    book.commit(&Batch { changes: &changes, owed: true, ..Batch::new(&a, identity) }).unwrap();
    let opening = |book: &Book| Arc::as_ptr(&book.open.as_ref().unwrap().opening);
    let opened = opening(&book);
    for next in 1..60 {
        let rows: Vec<Told> = book.owed(40).unwrap();
        book.told(to((next > 1).then(|| next - 1), next), &rows).unwrap();
        for number in (0..20_000).step_by(97) {
            book.get(&a, &many(number)).unwrap();
        }
        assert_eq!(opening(&book), opened, "it was closed for another process's after {next}");
    }
}

/// A commit that is on disk has another behind it, which frees its pages and is not.
#[test]
fn a_reader_that_makes_room_in_the_cache_leaves_the_book_this_process_s_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut book = Book::unopened(dir.path().join(BOOK), false);
    book.cache = 256 << 10;
    let (identity, a) = (book.identity().unwrap(), id("a"));
    let many = |number: u32| Serial::from_magnitude(&(number + 1).to_be_bytes()).unwrap();
    let opening = |book: &Book| Arc::as_ptr(&book.open.as_ref().unwrap().opening);
    let opened = opening(&book);
    for (round, record) in [GOOD, REVOKED].into_iter().enumerate() {
        let changes: Vec<_> = (0..20_000).map(|number| Change::new(many(number), Some(record))).collect();
        book.commit(&Batch { changes: &changes, owed: true, ..Batch::new(&a, identity) }).unwrap();
        let reader = book.reader().unwrap();
        let mut read = 0;
        reader.load(&a, |_, _, _| read += 1).unwrap();
        assert_eq!((read, book.identity().unwrap(), opening(&book)), (20_000, identity, opened), "round {round}");
    }
}
