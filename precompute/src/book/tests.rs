use super::*;
use crate::pki::{Reason, Status};

fn serial(number: u8) -> Serial {
    Serial::from_magnitude(&[number]).unwrap()
}

const GOOD: Record = Record { status: Status::Good, not_after: Some(UnixTime(7)) };
const REVOKED: Record =
    Record { status: Status::Revoked { time: UnixTime(1_700_000_000), reason: Reason::Superseded }, not_after: None };

#[test]
fn what_was_committed_is_there_again_for_its_issuer_only() {
    let dir = tempfile::tempdir().unwrap();
    let mut book = Book::open(dir.path()).unwrap();
    let (a, b) = (book.issuer(&[1; 32]).unwrap(), book.issuer(&[2; 32]).unwrap());
    let change = |number, record| Change { serial: serial(number), record };
    let changes = [change(1, Some(GOOD)), change(2, Some(REVOKED)), change(3, Some(GOOD))];
    let number = Some(CrlNumber::from_padded([9; 20]));
    let mark = |number| Some(CrlMark { number, this_update: UnixTime(7), digest: [3; 32] });
    let marks = CrlMarks { complete: mark(number), delta: mark(None) };
    let first = book
        .commit(&Batch { issuer: a, changes: &changes, crl_marks: Some(marks), verified: Some(UnixTime(5)) })
        .unwrap();
    let second =
        book.commit(&Batch { issuer: a, changes: &[change(3, None)], crl_marks: None, verified: None }).unwrap();
    assert!(second > first);
    drop(book);

    let mut book = Book::open(dir.path()).unwrap();
    assert_eq!(book.issuer(&[1; 32]).unwrap(), a);
    let mut found = Vec::new();
    book.load(a, |serial, record| found.push((serial, record))).unwrap();
    assert_eq!(found, [(serial(1), GOOD), (serial(2), REVOKED)]);
    assert_eq!(book.get(a, &serial(2)).unwrap(), Some(REVOKED));
    assert_eq!((book.crl_marks(a).unwrap(), book.verified(a).unwrap()), (marks, Some(UnixTime(5))));
    book.load(b, |serial, _| panic!("{serial} is the other issuer's")).unwrap();
    assert_eq!(book.crl_marks(b).unwrap(), CrlMarks::default());
}

#[test]
fn the_number_that_an_earlier_version_kept_still_counts() {
    let dir = tempfile::tempdir().unwrap();
    let mut book = Book::open(dir.path()).unwrap();
    let issuer = book.issuer(&[1; 32]).unwrap();
    book.run(|database| {
        let transaction = database.begin_write()?;
        transaction.open_table(CRL_NUMBERS)?.insert(issuer.0, &[9; 20])?;
        Ok(transaction.commit()?)
    })
    .unwrap();
    let mark = book.crl_marks(issuer).unwrap().complete.unwrap();
    assert_eq!(mark.number, Some(CrlNumber::from_padded([9; 20])));
}

#[test]
fn a_second_process_is_told_who_is_in_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let _book = Book::open(dir.path()).unwrap();
    let error = Book::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("book.redb") && error.contains("in use by another process"), "{error}");
}

#[test]
fn another_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut book = Book::open(dir.path()).unwrap();
    book.run(|database| {
        let transaction = database.begin_write()?;
        transaction.open_table(META)?.insert("format", 2)?;
        Ok(transaction.commit()?)
    })
    .unwrap();
    drop(book);
    let error = Book::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("format 2"), "{error}");
}

#[test]
fn a_file_that_is_no_book_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("book.redb"), [0x55; 10_000]).unwrap();
    let error = Book::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("book.redb") && error.contains("move the file away"), "{error}");
}
