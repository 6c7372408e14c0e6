mod faults;
mod feed;
mod formats;
mod kept_beside;

use super::*;
use crate::{
    pki::{Reason, Status},
    records::Change,
    source::{CrlMark, CrlNumber, CrlScope, ScopeMarks},
};

fn serial(number: u8) -> Serial {
    Serial::from_magnitude(&[number]).unwrap()
}

const GOOD: Record = Record { status: Status::Good, not_after: Some(UnixTime(7)) };
const REVOKED: Record =
    Record { status: Status::Revoked { time: UnixTime(1_700_000_000), reason: Reason::Superseded }, not_after: None };

fn id(tenant: &str) -> IssuerId {
    IssuerId::new(tenant, [7; 32])
}

fn change(number: u8, record: Option<Record>) -> Change {
    Change::new(serial(number), record)
}

type Said = (Serial, Record, Origin);

impl Book {
    #[track_caller]
    fn put(
        &mut self,
        issuer: &IssuerId,
        changes: &[Change],
        crl_marks: Option<CrlMarks>,
        verified: Option<u64>,
    ) -> u64 {
        let book = self.identity().unwrap();
        let verified = verified.map(UnixTime);
        self.commit(&Batch { changes, crl_marks: crl_marks.as_ref(), verified, ..Batch::new(issuer, book) })
            .unwrap()
            .version
    }

    fn all(&mut self, issuer: &IssuerId) -> Result<(Held, Vec<(Serial, Record)>), StateError> {
        let mut found = Vec::new();
        Ok((self.load(issuer, |serial, record, _| found.push((serial, record)))?, found))
    }

    fn all_with_origin(&mut self, issuer: &IssuerId) -> Result<(Held, Vec<Said>), StateError> {
        let mut found = Vec::new();
        Ok((self.load(issuer, |serial, record, origin| found.push((serial, record, origin)))?, found))
    }
}

fn marks() -> CrlMarks {
    let number = Some(CrlNumber::from_padded([9; 20]));
    let mark = |number| Some(CrlMark { number, this_update: UnixTime(7), digest: [3; 32] });
    CrlMarks::of_one(mark(number), mark(None), Some(CrlScope([7; 32])))
}

/// Of three scopes, the first of which is that of [`marks`].
fn several_marks(holds: Option<&[u8]>) -> CrlMarks {
    let of = |scope: u8, complete, delta| ScopeMarks { scope: CrlScope([scope; 32]), complete, delta };
    let (complete, delta) = marks().of(CrlScope([7; 32]));
    let holds = holds.map(|holds| holds.iter().map(|scope| CrlScope([*scope; 32])).collect());
    CrlMarks::new([of(7, delta, None), of(0, complete, None), of(9, None, delta)], holds)
}

#[test]
fn what_was_committed_is_there_again_for_its_issuer_only() {
    let dir = tempfile::tempdir().unwrap();
    let mut book = Book::open(dir.path()).unwrap();
    let changes = [change(1, Some(GOOD)), change(2, Some(REVOKED)), change(3, Some(GOOD))];
    let first = book.put(&id("a"), &changes, Some(marks()), Some(5));
    let second = book.put(&id("a"), &[change(3, None)], None, None);
    assert!(second > first);
    drop(book);

    let mut book = Book::open(dir.path()).unwrap();
    let (held, found) = book.all(&id("a")).unwrap();
    assert_eq!(found, [(serial(1), GOOD), (serial(2), REVOKED)]);
    assert_eq!((held.known, held.crl_marks, held.verified), (true, marks(), Some(UnixTime(5))));
    assert_eq!([id("a"), id("b")].map(|issuer| book.reader().unwrap().room_for(&issuer).unwrap()), [2, 0]);
    assert_eq!(book.get(&id("a"), &serial(2)).unwrap(), Some((REVOKED, Origin::SOURCE)));
    assert_eq!(book.get(&id("b"), &serial(2)).unwrap(), None, "the other issuer's");
    let (held, found) = book.all(&id("b")).unwrap();
    assert_eq!((held.known, held.crl_marks, held.verified, found), (false, CrlMarks::default(), None, vec![]));
}

#[test]
fn who_has_taken_whose_place_is_remembered_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    let mut book = Book::open(dir.path()).unwrap();
    let succeed = |book: &mut Book, issuer: &str, former: &[&str]| {
        let succeeds: Vec<_> = former.iter().map(|former| id(former)).collect();
        let (issuer, identity) = (id(issuer), book.identity().unwrap());
        book.commit(&Batch { succeeds: &succeeds, ..Batch::new(&issuer, identity) }).unwrap();
    };
    succeed(&mut book, "a", &[]);
    assert_eq!(book.lineage().unwrap().predecessors(&id("b")), [id("a")]);
    assert_eq!(book.lineage().unwrap().predecessors(&id("a")), []);
    assert_eq!(book.lineage().unwrap().predecessors(&IssuerId::new("b", [8; 32])), [], "another CA");
    succeed(&mut book, "b", &["a"]);
    assert_eq!(book.lineage().unwrap().predecessors(&id("a")), [id("b")], "it comes back");
    assert_eq!(book.lineage().unwrap().predecessors(&id("b")), []);
    assert_eq!(book.lineage().unwrap().predecessors(&id("c")), [id("b")], "and not the one before that");
    succeed(&mut book, "a", &["b"]);
    let mut book = {
        drop(book);
        Book::open(dir.path()).unwrap()
    };
    assert_eq!(book.lineage().unwrap().predecessors(&id("b")), [id("a")]);
    assert_eq!(
        (book.lineage().unwrap().predecessors(&id("a")), book.lineage().unwrap().predecessors(&id("c"))),
        (vec![], vec![id("a")])
    );
}

/// Without this check, later writes went to a file without a name for as long as the process lived.
#[test]
fn a_book_that_is_exchanged_while_it_is_opened_is_not_taken_for_the_one_that_lies_there() {
    let dir = tempfile::tempdir().unwrap();
    let (path, other) = (dir.path().join(BOOK), dir.path().join("other"));
    Book::open(dir.path()).unwrap().put(&id("a"), &[change(1, Some(REVOKED))], None, None);
    fs::copy(&path, &other).unwrap();
    let mut book = Book::open(dir.path()).unwrap();
    book.put(&id("a"), &[change(2, Some(REVOKED))], None, None);
    book.close();
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let first = book
        .take_up(file, |file| {
            fs::rename(&other, &path).unwrap();
            database().create_file(file)
        })
        .unwrap();
    assert_ne!(book.identity().unwrap(), first.identity);
}

#[test]
fn every_change_keeps_the_seal_that_a_start_compares() {
    let dir = tempfile::tempdir().unwrap();
    let mut book = Book::open(dir.path()).unwrap();
    let none = CrlMarks::default();
    book.put(&id("a"), &[change(1, Some(GOOD)), change(2, Some(GOOD))], Some(marks()), Some(5));
    book.put(&id("b"), &[change(1, Some(REVOKED))], None, None);
    for (changes, marks, verified) in [
        (&[change(1, Some(REVOKED)), change(1, Some(GOOD)), change(3, None)][..], None, Some(6)),
        (&[change(2, None), change(2, Some(REVOKED))], Some(several_marks(Some(&[7, 9]))), None),
        (&[change(1, None), change(2, None)], Some(none), Some(7)),
        (&[], Some(several_marks(Some(&[]))), None),
        (&[], Some(several_marks(None)), None),
        (&[], Some(marks()), None),
    ] {
        book.put(&id("a"), changes, marks.clone(), verified);
        if let Some(marks) = marks {
            assert_eq!(book.all(&id("a")).unwrap().0.crl_marks, marks);
        }
        book.all(&id("a")).unwrap();
        book.all(&id("b")).unwrap();
    }
}

/// redb reads pages without comparing their checksums: a revocation silently became good.
#[test]
fn no_flipped_bit_makes_another_record_of_one_without_a_word() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    let mut book = Book::open(&whole).unwrap();
    let changes: Vec<_> =
        (1..=200).map(|number| change(number, Some(if number % 7 == 0 { REVOKED } else { GOOD }))).collect();
    for part in changes.chunks(50) {
        book.put(&id("a"), part, Some(marks()), Some(5));
        book.put(&id("b"), part, None, None);
    }
    let said = |book: &mut Book| Ok::<_, StateError>([book.all(&id("a"))?, book.all(&id("b"))?]);
    let wanted = said(&mut book).unwrap();
    drop(book);
    let bytes = fs::read(whole.join(BOOK)).unwrap();
    let at = dir.path().join("flipped");
    fs::create_dir(&at).unwrap();
    let (mut told, mut harmless) = (0, 0);
    // Every page is met at many places; the step shares no factor with its length.
    for place in (0..bytes.len()).step_by(331) {
        let mut flipped = bytes.clone();
        flipped[place] ^= 1 << (place % 8);
        fs::write(at.join(BOOK), flipped).unwrap();
        match Book::open(&at).and_then(|mut book| said(&mut book)) {
            Ok(found) => {
                let [found, wanted] = [&found, &wanted].map(|said| {
                    said.each_ref().map(|(held, all)| (held.known, held.crl_marks.clone(), held.verified, all.clone()))
                });
                assert_eq!(found, wanted, "byte {place}");
                harmless += 1;
            }
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains(BOOK) && error.contains("--accept-damaged"), "byte {place}: {error}");
                told += 1;
            }
        }
    }
    assert!(told > 20 && harmless > 20, "{told} told, {harmless} harmless");
}

/// Five in a hundred ended the process with a panic in redb that named no file.
#[test]
fn a_book_cut_short_or_full_of_noise_is_told_with_its_name_and_never_panics() {
    let dir = tempfile::tempdir().unwrap();
    let mut book = Book::open(dir.path()).unwrap();
    let changes: Vec<_> = (1..=200).map(|number| change(number, Some(REVOKED))).collect();
    book.put(&id("a"), &changes, None, None);
    drop(book);
    let path = dir.path().join(BOOK);
    let bytes = fs::read(&path).unwrap();
    let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..120usize {
        let mut spoilt = bytes.clone();
        if round % 2 == 0 {
            spoilt.truncate(1 + bytes.len() * round / 120);
        } else {
            for byte in &mut spoilt[bytes.len() * round / 240..] {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = (noise >> 56) as u8;
            }
        }
        fs::write(&path, spoilt).unwrap();
        match Book::open(dir.path()).and_then(|mut book| book.all(&id("a"))) {
            Ok((_, found)) => assert_eq!(found.len(), changes.len(), "round {round}"),
            Err(error) => assert!(error.to_string().contains(BOOK), "round {round}: {error}"),
        }
    }
}

#[test]
fn every_revocation_that_can_still_be_read_is_saved_from_a_damaged_book() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(salvage(dir.path(), &[]).unwrap(), None, "there is none");
    let mut book = Book::open(dir.path()).unwrap();
    let changes: Vec<_> =
        (1..=200).map(|number| change(number, Some(if number % 2 == 0 { REVOKED } else { GOOD }))).collect();
    book.put(&id("a"), &changes, Some(marks()), Some(5));
    book.put(&id("b"), &changes[..3], None, None);
    drop(book);
    assert_eq!(salvage(dir.path(), &[]).unwrap(), None, "it is in order");
    let path = dir.path().join(BOOK);
    let mut bytes = fs::read(&path).unwrap();
    // The status of the 100th record: good becomes revoked.
    let needle = codec::encode(&GOOD, Origin::SOURCE, 1);
    let place = bytes.windows(needle.len()).position(|window| window == needle).unwrap();
    bytes[place] = 1;
    fs::write(&path, &bytes).unwrap();
    let refused = Book::open(dir.path()).unwrap().all(&id("a")).unwrap_err();
    assert!(refused.is_damage() && refused.to_string().contains("`a` do not match their seal"), "{refused}");

    let salvaged = salvage(dir.path(), &[]).unwrap().unwrap();
    assert_eq!((salvaged.revocations, salvaged.unassigned), (102, 0), "the one of doubt as well");
    assert!(salvaged.aside.ends_with("book.redb.damaged") && salvaged.aside.exists());
    let mut book = Book::open(dir.path()).unwrap();
    let (held, found) = book.all(&id("a")).unwrap();
    assert!(found.iter().all(|(_, record)| record.status != Status::Good) && found.len() == 101);
    assert_eq!((held.crl_marks, held.verified), (CrlMarks::default(), None));
    assert_eq!(book.all(&id("b")).unwrap().1, [(serial(1), GOOD), (serial(2), REVOKED), (serial(3), GOOD)]);
    drop(book);
    fs::write(&path, &bytes).unwrap();
    assert_ne!(salvage(dir.path(), &[]).unwrap().unwrap().aside, salvaged.aside, "what was put aside before stays");
}

#[test]
fn a_book_that_was_moved_exchanged_or_set_back_is_another_one() {
    let dir = tempfile::tempdir().unwrap();
    let (path, aside) = (dir.path().join(BOOK), dir.path().join("aside"));
    let mut book = Book::open(dir.path()).unwrap();
    book.put(&id("a"), &[change(1, Some(REVOKED))], None, None);
    let first = book.identity().unwrap();
    fs::copy(&path, &aside).unwrap();
    book.put(&id("a"), &[change(2, Some(REVOKED))], None, None);
    assert_eq!(book.identity().unwrap(), first);

    fs::remove_file(&path).unwrap();
    let issuer = id("a");
    let refused =
        book.commit(&Batch { verified: Some(UnixTime(5)), ..Batch::new(&issuer, first) }).unwrap_err().to_string();
    assert!(refused.contains("not the book that these changes are meant for"), "{refused}");
    let second = book.identity().unwrap();
    assert!(second != first && !book.all(&id("a")).unwrap().0.known);

    // An older copy of the one that it has.
    book.put(&id("b"), &[change(1, Some(REVOKED))], None, None);
    fs::copy(&path, dir.path().join("older")).unwrap();
    book.put(&id("b"), &[change(2, Some(REVOKED))], None, None);
    fs::rename(dir.path().join("older"), &path).unwrap();
    let third = book.identity().unwrap();
    assert!(third != second && book.all(&id("b")).unwrap().1.len() == 1);
    fs::rename(aside, &path).unwrap();
    let fourth = book.identity().unwrap();
    assert!(![first, second, third].contains(&fourth), "one that it has had, without what was written since");
    assert_eq!(book.all(&id("a")).unwrap().1.len(), 1);
}

/// `cp` of a backup over the file keeps its inode, and redb still has the old file in memory.
#[test]
fn a_copy_that_is_written_over_the_book_is_noticed_before_anything_is_added_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let (path, backup) = (dir.path().join(BOOK), dir.path().join("backup"));
    let mut book = Book::open(dir.path()).unwrap();
    book.put(&id("a"), &[change(1, Some(REVOKED))], None, None);
    drop(book);
    fs::copy(&path, &backup).unwrap();
    let mut book = Book::open(dir.path()).unwrap();
    for number in 2..100 {
        book.put(&id("a"), &[change(number, Some(REVOKED))], None, None);
    }
    let before = book.identity().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    fs::copy(&backup, &path).unwrap();
    // Closing the old file may have damaged the copy; that is then reported.
    match book.identity() {
        Ok(identity) => assert_ne!(identity, before),
        Err(error) => {
            assert!(error.is_damage() && error.to_string().contains("nothing is lost of the issuers"), "{error}")
        }
    }
    fs::remove_file(&path).unwrap();
    assert_ne!(book.identity().unwrap(), before);
}

#[test]
fn a_look_changes_nothing_and_sees_what_another_process_has_committed() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Book::look(dir.path()).unwrap().is_none());
    let mut book = Book::open(dir.path()).unwrap();
    for number in 1..=50 {
        book.put(&id("a"), &[change(number, Some(REVOKED))], None, None);
        let before = fs::read(dir.path().join(BOOK)).unwrap();
        let mut look = Book::look(dir.path()).unwrap().unwrap();
        assert_eq!(look.all(&id("a")).unwrap().1.len(), usize::from(number));
        drop(look);
        assert_eq!(fs::read(dir.path().join(BOOK)).unwrap(), before);
    }
}

/// Pages that a reader may need are not used again while there is one.
#[test]
fn what_a_book_grows_by_while_it_is_read_is_room_for_what_comes_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let mut book = Book::open(dir.path()).unwrap();
    let write = |book: &mut Book| {
        (0..150).for_each(|number| _ = book.put(&id("a"), &[change(number + 1, Some(REVOKED))], None, None));
        fs::metadata(dir.path().join(BOOK)).unwrap().len()
    };
    let at_first = write(&mut book);
    let reader = book.reader().unwrap();
    let while_read = write(&mut book);
    drop(reader);
    let afterwards = [(); 3].map(|()| write(&mut book));
    assert!(while_read > at_first && while_read - at_first < 150 * 128 * 1024, "{at_first} → {while_read}");
    assert!(afterwards.iter().all(|length| *length <= while_read), "{while_read} → {afterwards:?}");
}

#[test]
fn a_second_process_is_told_who_is_in_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let _book = Book::open(dir.path()).unwrap();
    let error = Book::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("book.redb") && error.contains("in use by another process"), "{error}");
}

#[test]
fn a_file_that_is_no_book_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("book.redb"), [0x55; 10_000]).unwrap();
    let error = Book::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("book.redb") && error.contains("--accept-damaged"), "{error}");
}
