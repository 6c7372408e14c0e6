//! Files of earlier formats, and of one that this program does not know.

use super::*;
use crate::book::{
    codec::{encode, encode_mark, key},
    layout::{CRL_MARKS, DELTA, ISSUERS, META, RECORDS, TENANTS, VERIFIED},
};

/// As written by a version of this program that had no seals and no identity.
fn write_format_1(path: &Path) {
    let database = Database::create(path).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut meta = transaction.open_table(META).unwrap();
        meta.insert("format", 1).unwrap();
        meta.insert("version", 41).unwrap();
        let mut issuers = transaction.open_table(ISSUERS).unwrap();
        let mut tenants = transaction.open_table(TENANTS).unwrap();
        let mut records = transaction.open_table(RECORDS).unwrap();
        for (number, tenant) in [(0, "a"), (1, "b")] {
            issuers.insert(id(tenant).fingerprint(), number).unwrap();
            tenants.insert(number, (id(tenant).ca(), tenant)).unwrap();
            records.insert(&key(number, *serial(1).padded()), &encode(&REVOKED, Origin::SOURCE, 41)).unwrap();
        }
        transaction.open_table(VERIFIED).unwrap().insert(0, 5).unwrap();
        let mark = encode_mark(&delta().unwrap());
        transaction.open_table(CRL_MARKS).unwrap().insert((0, DELTA), &mark).unwrap();
        let numbers = redb::TableDefinition::<u32, &[u8; 20]>::new("crl-numbers");
        transaction.open_table(numbers).unwrap().insert(0, &[9; 20]).unwrap();
    }
    transaction.commit().unwrap();
}

fn delta() -> Option<CrlMark> {
    marks().of(CrlScope([7; 32])).1
}

#[test]
fn a_book_of_format_1_is_read_without_loss() {
    let dir = tempfile::tempdir().unwrap();
    write_format_1(&dir.path().join(BOOK));
    let look = Book::look(dir.path()).unwrap().unwrap().all(&id("a")).unwrap();
    for _ in 0..2 {
        let mut book = Book::open(dir.path()).unwrap();
        let (held, found) = book.all(&id("a")).unwrap();
        assert_eq!((held.known, held.verified, &found[..]), (true, Some(UnixTime(5)), &[(serial(1), REVOKED)][..]));
        assert_eq!((&look.0.crl_marks, &look.1), (&held.crl_marks, &found), "a look sees the same");
        let (complete, found) = held.crl_marks.of(CrlScope::WHOLE);
        assert_eq!((found, held.crl_marks.holds()), (delta(), None), "it knew of no scopes");
        // An earlier version still kept only the number.
        let number = complete.unwrap().number;
        assert_eq!(number, Some(CrlNumber::from_padded([9; 20])));
        assert_eq!(book.all(&id("b")).unwrap().1, [(serial(1), REVOKED)]);
    }
    let mut book = Book::open(dir.path()).unwrap();
    assert!(book.put(&id("a"), &[change(2, Some(GOOD))], None, None) > 41);
    assert_eq!(book.all(&id("a")).unwrap().1.len(), 2);
}

/// Written by the last version of this program that wrote format 2: for `a` 59 records in four commits, marks and a time;
/// for `b`, which has succeeded `a`, three records and a time.
const FORMAT_2: &[u8] = include_bytes!("format-2.redb");

fn of_format_2(number: u8) -> Record {
    let hold = Status::Revoked { time: UnixTime(1_600_000_000), reason: Reason::CertificateHold };
    [GOOD, REVOKED, Record { status: hold, not_after: Some(UnixTime(1_900_000_000)) }][usize::from(number % 3)]
}

#[test]
fn a_book_of_format_2_is_read_without_loss_and_written_on() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(BOOK), FORMAT_2).unwrap();
    let wanted: Vec<_> = (1..60).map(|number| (serial(number), of_format_2(number), Origin::SOURCE)).collect();
    let look = Book::look(dir.path()).unwrap().unwrap().all_with_origin(&id("a")).unwrap();
    let mut identity = None;
    for _ in 0..2 {
        let mut book = Book::open(dir.path()).unwrap();
        let (held, found) = book.all_with_origin(&id("a")).unwrap();
        assert_eq!((&held.crl_marks, held.verified, held.stamps.as_ref()), (&marks(), Some(UnixTime(5)), None));
        assert_eq!(found, wanted);
        assert_eq!((&look.0, &look.1), (&held, &found), "a look sees the same");
        assert_eq!(*identity.get_or_insert(held.book), held.book, "it stays the same book");
        let (held, found) = book.all_with_origin(&id("b")).unwrap();
        assert_eq!((held.verified, &found[..]), (Some(UnixTime(6)), &wanted[..3]));
        assert_eq!(book.lineage().unwrap().predecessors(&id("c")), [id("b")]);
        assert_eq!(book.outbox(&id("a"), 9).unwrap(), []);
    }
    let mut book = Book::open(dir.path()).unwrap();
    let pushed = Origin::PUSHED.with(Origin::PUSH_RESTRICTS);
    let changes = [change(2, None), change(3, Some(REVOKED)).by(pushed)];
    assert!(book.put(&id("a"), &changes, None, None) > 6, "higher than all before");
    drop(book);
    let mut book = Book::open(dir.path()).unwrap();
    let found = book.all_with_origin(&id("a")).unwrap().1;
    let (same, changed): (Vec<_>, Vec<_>) = found.into_iter().partition(|(found, ..)| *found != serial(3));
    assert_eq!(changed, [(serial(3), REVOKED, pushed)]);
    let of_wanted = wanted.iter().filter(|(of, ..)| ![serial(2), serial(3)].contains(of));
    assert!(same.iter().eq(of_wanted));
}

/// Ten million records must not wait for their format.
#[test]
fn a_book_of_an_earlier_format_is_taken_up_without_a_record_written() {
    for (format, file) in [(2, FORMAT_2), (3, FORMAT_3)] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(BOOK);
        fs::write(&path, file).unwrap();
        let of_records = |bytes: &[u8]| {
            // Two that lie side by side in a leaf.
            let keys = [41, 42].map(|number| key(0, *serial(number).padded())).concat();
            (0..bytes.len() - keys.len()).filter(|at| bytes[*at..].starts_with(&keys)).collect::<Vec<_>>()
        };
        drop(Book::open(dir.path()).unwrap());
        let written = fs::read(&path).unwrap();
        let [before, after] = [file, &written[..]].map(of_records);
        assert!(!before.is_empty());
        assert_eq!(before, after, "format {format}: the leaves lie where they lay, and nowhere else");
    }
}

/// Written by the last version of this program that wrote format 3: for `a` records 1 to 59 in three commits, marks, a
/// time, an answer and stamps; then two commits that were owed. For `b` three records and a time.
const FORMAT_3: &[u8] = include_bytes!("format-3.redb");

#[test]
fn a_book_of_format_3_is_read_without_loss_and_written_on() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(BOOK), FORMAT_3).unwrap();
    let a = id("a");
    let look = Book::look(dir.path()).unwrap().unwrap().all_with_origin(&a).unwrap();
    let mut identity = None;
    let pushed = Origin::PUSHED.with(Origin::PUSH_RESTRICTS);
    for _ in 0..2 {
        let mut book = Book::open(dir.path()).unwrap();
        let (held, found) = book.all_with_origin(&a).unwrap();
        assert_eq!((&held.crl_marks, held.verified), (&marks(), Some(UnixTime(5))));
        assert_eq!(held.stamps.as_deref(), Some(&b"looked like this"[..]));
        assert_eq!((&look.0, &look.1), (&held, &found), "a look sees the same");
        assert_eq!(*identity.get_or_insert(held.book), held.book, "it stays the same book");
        let wanted = (1..=60u8).filter(|number| *number != 4).map(|number| match number {
            2 => (serial(2), REVOKED, Origin::SOURCE),
            60 => (serial(60), GOOD, Origin::PUSHED),
            number => (serial(number), [GOOD, REVOKED][usize::from(number % 2)], Origin::SOURCE),
        });
        assert!(found.iter().copied().eq(wanted), "{found:?}");
        let former: Vec<_> = book.outbox(&a, 9).unwrap().iter().map(|owed| (owed.serial, owed.former)).collect();
        let good = Some((GOOD, Origin::SOURCE));
        assert_eq!(former, [(serial(4), good), (serial(2), good), (serial(60), None)]);
        assert_eq!(book.all(&id("b")).unwrap().1.len(), 3);
        assert_eq!((book.place().unwrap(), book.debts(None, 9).unwrap()), (None, vec![]));
    }
    let mut book = Book::open(dir.path()).unwrap();
    let (first, identity) = (book.outbox(&a, 9).unwrap()[0].version, book.identity().unwrap());
    let changes = [change(1, None), change(4, Some(REVOKED)).by(pushed)];
    book.commit(&Batch { changes: &changes, owed: true, ..Batch::new(&a, identity) }).unwrap();
    let rows = book.owed(9).unwrap();
    let serials = |rows: &[Told]| rows.iter().map(|row| row.change.serial).collect::<Vec<_>>();
    assert_eq!(serials(&rows), [2, 60, 4, 1].map(serial), "those of before, a push, and the others");
    assert!(rows.iter().all(|row| row.version > first - 1));
    book.told(None, &rows).unwrap();
    assert_eq!(book.outbox(&a, 9).unwrap(), []);
    book.all(&a).unwrap();
}

/// Written by the last version of this program that wrote format 4, which kept the CRLs of one scope: for `a` records 1 to 59
/// in two commits, marks and a time, then a commit that was owed; for `b` three records, the same marks and another time.
const FORMAT_4: &[u8] = include_bytes!("format-4.redb");

#[test]
fn a_book_of_format_4_is_read_without_loss_and_its_marks_are_replaced() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(BOOK), FORMAT_4).unwrap();
    let look = Book::look(dir.path()).unwrap().unwrap().all_with_origin(&id("a")).unwrap();
    let pushed = Origin::PUSHED.with(Origin::PUSH_RESTRICTS);
    let wanted = (1..60u8).map(|number| match number {
        2 => (serial(2), REVOKED, pushed),
        number => (serial(number), [GOOD, REVOKED][usize::from(number % 2)], Origin::SOURCE),
    });
    for _ in 0..2 {
        let mut book = Book::open(dir.path()).unwrap();
        let (held, found) = book.all_with_origin(&id("a")).unwrap();
        assert!(found.iter().copied().eq(wanted.clone()), "{found:?}");
        assert_eq!((&held.crl_marks, held.verified), (&marks(), Some(UnixTime(5))));
        assert_eq!((&look.0, &look.1), (&held, &found), "a look sees the same");
        assert_eq!(book.outbox(&id("a"), 9).unwrap().len(), 1);
        let (held, _) = book.all(&id("b")).unwrap();
        let of_whole = held.crl_marks.of(CrlScope::WHOLE);
        assert_eq!((of_whole, held.crl_marks.holds()), (marks().of(CrlScope([7; 32])), None), "no scope was known");
    }
    let mut book = Book::open(dir.path()).unwrap();
    for marks in [several_marks(Some(&[7])), several_marks(None), CrlMarks::default(), several_marks(Some(&[]))] {
        book.put(&id("a"), &[], Some(marks.clone()), None);
        assert_eq!(book.all(&id("a")).unwrap().0.crl_marks, marks, "nothing of before is left");
    }
}

/// An earlier format is rewritten when it is opened: that meets the damage before any seal does.
#[test]
fn no_damage_to_a_book_of_an_earlier_format_panics_and_of_formats_2_and_3_none_changes_a_record_without_a_word() {
    let dir = tempfile::tempdir().unwrap();
    let format_1 = dir.path().join("format-1");
    write_format_1(&format_1);
    let path = dir.path().join(BOOK);
    let said = |book: &mut Book| Ok::<_, StateError>([book.all(&id("a"))?, book.all(&id("b"))?].map(|(_, all)| all));
    let of = |numbers: std::ops::Range<u8>| numbers.map(|number| (serial(number), of_format_2(number))).collect();
    let wanted: [Vec<_>; 2] = [of(1..60), of(1..4)];
    fs::write(&path, FORMAT_3).unwrap();
    let of_format_3 = said(&mut Book::look(dir.path()).unwrap().unwrap()).unwrap();
    for (format, whole) in [(1, &fs::read(format_1).unwrap()[..]), (2, FORMAT_2), (3, FORMAT_3)] {
        let used: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
        let last = used[used.len() - 1];
        let flips = used.iter().step_by(used.len() / 50).map(|at| {
            let mut bytes = whole.to_vec();
            bytes[*at] ^= 1 << (at % 8);
            (format!("format {format}, a bit of byte {at}"), bytes)
        });
        let cuts = (0..25).map(|part| last * part / 25 + part);
        let cuts = cuts.map(|at| (format!("format {format}, cut at {at}"), whole[..at].to_vec()));
        let (mut told, mut fine) = (0, 0);
        for (name, bytes) in flips.chain(cuts) {
            fs::write(&path, &bytes).unwrap();
            let look =
                Book::look(dir.path()).and_then(|look| look.map_or(Ok(None), |mut look| said(&mut look).map(Some)));
            for found in [look, Book::open(dir.path()).and_then(|mut book| said(&mut book)).map(Some)] {
                match found {
                    Ok(found) if format > 1 && !bytes.is_empty() => {
                        let wanted = if format == 2 { &wanted } else { &of_format_3 };
                        assert_eq!(found.as_ref(), Some(wanted), "{name}");
                        fine += 1;
                    }
                    Ok(_) => fine += 1,
                    Err(error) => {
                        assert!(error.to_string().contains(BOOK), "{name}: {error}");
                        told += 1;
                    }
                }
            }
            fs::write(&path, &bytes).unwrap();
            if let Err(error) = salvage(dir.path(), &[]) {
                assert!(error.to_string().contains(BOOK), "{name}: {error}");
            }
            let _ = fs::remove_file(dir.path().join("book.redb.damaged"));
            let _ = fs::remove_file(dir.path().join("book.redb.version"));
        }
        assert!(told > 20 && fine > 20, "format {format}: {told} told, {fine} fine");
    }
}

#[test]
fn what_a_damaged_book_of_format_2_revokes_is_saved() {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = FORMAT_2.to_vec();
    let needle = encode(&of_format_2(3), Origin::SOURCE, 1);
    let found: Vec<_> = (0..bytes.len() - needle.len()).filter(|at| bytes[*at..].starts_with(&needle)).collect();
    assert!(!found.is_empty());
    found.iter().for_each(|at| bytes[*at + 17] ^= 1);
    fs::write(dir.path().join(BOOK), &bytes).unwrap();
    let salvaged = salvage(dir.path(), &[]).unwrap().unwrap();
    let revoked = (1..60).filter(|number| of_format_2(*number).status != Status::Good).count();
    assert_eq!((salvaged.revocations, salvaged.at_least), (revoked + 2, Some(62)), "{salvaged}");
}

#[test]
fn another_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut book = Book::open(dir.path()).unwrap();
    book.run(|database, _| {
        let transaction = database.begin_write()?;
        transaction.open_table(META)?.insert("format", FORMAT + 1)?;
        Ok(transaction.commit()?)
    })
    .unwrap();
    drop(book);
    let error = Book::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains(&format!("format {}", FORMAT + 1)), "{error}");
}
