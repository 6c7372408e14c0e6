//! What a book keeps beside the records: the outbox, answers to requests, stamps of sources.

use proptest::prelude::*;

use super::*;

pub(super) const PUSHED: Origin = Origin::PUSHED.with(Origin::PUSH_RESTRICTS);

impl Book {
    #[track_caller]
    fn owe(&mut self, changes: &[Change]) -> u64 {
        let (issuer, book) = (id("a"), self.identity().unwrap());
        self.commit(&Batch { changes, owed: true, ..Batch::new(&issuer, book) }).unwrap().version
    }

    /// The rows up to this version were told.
    #[track_caller]
    fn tell(&mut self, version: u64) {
        let rows: Vec<_> = self.owed(usize::MAX).unwrap().into_iter().filter(|row| row.version <= version).collect();
        self.told(None, &rows).unwrap();
    }

    #[track_caller]
    fn answer(&mut self, answered: &[Answered]) {
        let (issuer, book) = (id("a"), self.identity().unwrap());
        self.commit(&Batch { answered, ..Batch::new(&issuer, book) }).unwrap();
    }

    #[track_caller]
    fn stamp(&mut self, changes: &[Change], stamps: Option<&[u8]>) -> Option<Vec<u8>> {
        let (issuer, book) = (id("a"), self.identity().unwrap());
        self.commit(&Batch { changes, stamps, ..Batch::new(&issuer, book) }).unwrap();
        self.all(&issuer).unwrap().0.stamps
    }
}

pub(super) fn again(book: Book) -> Book {
    let state_dir = book.state_dir().to_owned();
    drop(book);
    Book::open(&state_dir).unwrap()
}

#[test]
fn what_nobody_was_told_is_in_the_outbox_with_what_was_told_last() {
    let dir = tempfile::tempdir().unwrap();
    let mut book = Book::open(dir.path()).unwrap();
    let a = id("a");
    book.put(&a, &[change(1, Some(GOOD)), change(2, Some(GOOD)).by(Origin::PUSHED)], None, None);
    assert_eq!(book.outbox(&a, 99).unwrap(), [], "it was not owed");
    let first = book.owe(&[change(1, Some(REVOKED)).by(PUSHED), change(3, Some(GOOD))]);
    let second = book.owe(&[change(2, None), change(3, Some(REVOKED))]);
    let owed = |number, former, version| Owed { serial: serial(number), former, version };
    let wanted = [
        owed(1, Some((GOOD, Origin::SOURCE)), first),
        owed(2, Some((GOOD, Origin::PUSHED)), second),
        owed(3, None, second),
    ];
    let mut book = again(book);
    assert_eq!(book.outbox(&a, 99).unwrap(), wanted);
    assert_eq!(book.outbox(&id("b"), 99).unwrap(), []);
    assert_eq!(book.get(&a, &serial(1)).unwrap(), Some((REVOKED, PUSHED)));

    book.tell(first);
    assert_eq!(book.outbox(&a, 99).unwrap(), wanted[1..]);
    book.all(&a).unwrap();
    let third = book.owe(&[change(1, None)]);
    assert_eq!(book.outbox(&a, 99).unwrap()[2], owed(1, Some((REVOKED, PUSHED)), third), "that was told last");
    book.tell(third);
    let mut book = again(book);
    assert_eq!(book.outbox(&a, 99).unwrap(), []);
    book.all(&a).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn whoever_undoes_the_outbox_has_what_was_told(
        steps in prop::collection::vec(
            (prop::collection::vec((1u8..6, 0u8..4), 1..4), any::<bool>()), 1..8),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (mut book, a) = (Book::open(dir.path()).unwrap(), id("a"));
        let said = |book: &mut Book| -> std::collections::BTreeMap<_, _> {
            let all = book.all_with_origin(&a).unwrap().1;
            all.into_iter().map(|(serial, record, origin)| (serial, (record, origin))).collect()
        };
        let mut told = said(&mut book);
        for (changes, tell) in steps {
            let changes: Vec<_> = changes.into_iter().map(|(number, what)| match what {
                0 => change(number, None),
                1 => change(number, Some(GOOD)),
                2 => change(number, Some(REVOKED)),
                _ => change(number, Some(REVOKED)).by(PUSHED),
            }).collect();
            let version = book.owe(&changes);
            if tell {
                book.tell(version);
                told = said(&mut book);
            }
            let mut undone = said(&mut book);
            for owed in book.outbox(&a, 99).unwrap() {
                match owed.former {
                    Some(former) => undone.insert(owed.serial, former),
                    None => undone.remove(&owed.serial),
                };
            }
            prop_assert_eq!(&undone, &told);
        }
    }
}

fn answered(key: u32, at: u64) -> Answered {
    let mut digest = [0; 32];
    digest[28..].copy_from_slice(&key.to_be_bytes());
    Answered { key: digest, request: [8; 32], outcome: 3, at: UnixTime(at) }
}

#[test]
fn the_answer_to_a_request_is_kept_for_its_issuer_and_replaced_by_a_later_one() {
    let dir = tempfile::tempdir().unwrap();
    let (mut book, a) = (Book::open(dir.path()).unwrap(), id("a"));
    let (first, second) = (answered(1, 100), answered(2, 100));
    book.answer(&[first, second]);
    let mut book = again(book);
    assert_eq!(book.answered(&a, &first.key).unwrap(), Some(first));
    assert_eq!(book.answered(&a, &[9; 32]).unwrap(), None);
    assert_eq!(book.answered(&id("b"), &first.key).unwrap(), None);
    let later = Answered { outcome: 4, request: [7; 32], at: UnixTime(101), ..first };
    book.answer(&[later]);
    assert_eq!(book.answered(&a, &first.key).unwrap(), Some(later));
    assert_eq!(book.answered(&a, &second.key).unwrap(), Some(second));
    book.all(&a).unwrap();
}

#[test]
fn answers_older_than_a_day_leave_a_few_with_each_later_one() {
    let dir = tempfile::tempdir().unwrap();
    let (mut book, a) = (Book::open(dir.path()).unwrap(), id("a"));
    let many = 3 * limits::BOOK_ANSWERS_REMOVED_MAX as u32;
    book.answer(&(0..many).map(|key| answered(key, 100)).collect::<Vec<_>>());
    let left =
        |book: &mut Book| (0..many).filter(|key| book.answered(&a, &answered(*key, 0).key).unwrap().is_some()).count();
    let day = limits::BOOK_ANSWERS_KEPT.as_secs();
    book.answer(&[answered(many, 100 + day)]);
    assert_eq!(left(&mut book), many as usize, "a day is not over");
    let mut before = many as usize;
    for more in 1..=3 {
        book.answer(&[answered(many + more, 101 + day)]);
        let now = left(&mut book);
        assert!(before - now <= limits::BOOK_ANSWERS_REMOVED_MAX + 1, "{before} → {now}");
        before = now;
        book.all(&a).unwrap();
    }
    assert_eq!(before, 0);
    assert!(book.answered(&a, &answered(many, 0).key).unwrap().is_some());
}

#[test]
fn of_too_many_answers_the_earliest_leave() {
    let dir = tempfile::tempdir().unwrap();
    let (mut book, a) = (Book::open(dir.path()).unwrap(), id("a"));
    let most = limits::BOOK_ANSWERS_MAX as u32;
    let all: Vec<_> = (0..most).map(|key| answered(key, 100)).collect();
    book.answer(&all);
    assert!(book.answered(&a, &all[0].key).unwrap().is_some());
    // A clock that was set back does not change what is early.
    book.answer(&[answered(most, 50), answered(most + 1, 50)]);
    let is_there = |book: &mut Book, key| book.answered(&a, &answered(key, 0).key).unwrap().is_some();
    assert_eq!([0, 1, 2, most, most + 1].map(|key| is_there(&mut book, key)), [false, false, true, true, true]);
    book.all(&a).unwrap();
}

#[test]
fn stamps_stay_until_others_come_or_they_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let mut book = Book::open(dir.path()).unwrap();
    let some = Some(b"looked like this".to_vec());
    assert_eq!(book.stamp(&[change(1, Some(GOOD))], None), None);
    assert_eq!(book.stamp(&[], some.as_deref()), some);
    assert_eq!(book.stamp(&[change(1, Some(REVOKED))], None), some);
    assert_eq!(again(book).all(&id("a")).unwrap().0.stamps, some);
    let mut book = Book::open(dir.path()).unwrap();
    assert_eq!(book.stamp(&[], Some(&[])), None);
    assert_eq!(book.stamp(&[], Some(&vec![1; limits::BOOK_STAMPS_OCTETS_MAX])).unwrap().len(), 65_536);
    assert_eq!(book.stamp(&[], Some(&vec![1; limits::BOOK_STAMPS_OCTETS_MAX + 1])), None, "too long to be kept");
}

/// Each of them decides what is told, answered or read again: a wrong one must not pass.
#[test]
fn a_flipped_bit_beside_the_records_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, at) = (dir.path().join("whole"), dir.path().join("flipped"));
    let (mut book, a) = (Book::open(&whole).unwrap(), id("a"));
    let identity = book.identity().unwrap();
    let pushed = change(1, Some(REVOKED)).by(PUSHED);
    book.put(&a, &[change(1, Some(GOOD))], None, None);
    let answer = Answered { key: [0xaa; 32], request: [0xbb; 32], outcome: 1, at: UnixTime(0x0123_4567) };
    let batch = Batch {
        changes: &[pushed],
        owed: true,
        answered: &[answer],
        stamps: Some(&[0xcc; 40]),
        ..Batch::new(&a, identity)
    };
    let version = book.commit(&batch).unwrap().version;
    drop(book);
    let bytes = fs::read(whole.join(BOOK)).unwrap();
    let key = codec::key(0, *serial(1).padded());
    let former = codec::encode(&GOOD, Origin::SOURCE, version - 1);
    let row = [&version.to_be_bytes()[..], &former].concat();
    let order = [&key[..4], &version.to_be_bytes(), &key[4..]].concat();
    fs::create_dir(&at).unwrap();
    for (name, what, byte) in [
        ("the former value", &row[..], 8),
        ("the version in the outbox", &row, 7),
        ("the order of the outbox", &order, 12),
        ("an idempotency key", &[0xaa; 32], 3),
        ("a request", &[0xbb; 32], 3),
        ("a time", &0x0123_4567_u64.to_be_bytes(), 7),
        ("stamps", &[0xcc; 40], 3),
        ("an origin", &codec::encode(&REVOKED, PUSHED, version), 18),
    ] {
        let mut flipped = bytes.clone();
        let found: Vec<_> = (0..bytes.len() - what.len()).filter(|place| bytes[*place..].starts_with(what)).collect();
        assert!(!found.is_empty(), "{name}");
        found.iter().for_each(|place| flipped[place + byte] ^= 1);
        fs::write(at.join(BOOK), flipped).unwrap();
        let told = Book::open(&at).and_then(|mut book| book.all(&a)).unwrap_err();
        assert!(told.is_damage(), "{name}: {told}");
    }
}
