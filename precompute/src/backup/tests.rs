//! Files that are whole and others, and what becomes of a book that one is merged into.

mod files;
mod merges;

use std::{fs, path::Path};

use crate::{
    book::{Batch, Book},
    issuer_id::IssuerId,
    pki::{Reason, Record, Serial, Status, UnixTime},
    records::{Change, Origin},
};

use super::{NotTaken, take};

/// When everything in these tests was revoked.
const THEN: UnixTime = UnixTime(1_700_000_000);

fn issuer(number: u8) -> IssuerId {
    IssuerId::new("tenant", [number; 32])
}

fn serial(number: u32) -> Serial {
    Serial::from_magnitude(&[&[1][..], &number.to_be_bytes()].concat()).unwrap()
}

fn good() -> Record {
    Record { status: Status::Good, not_after: Some(UnixTime(4_000_000_000)) }
}

fn revoked(reason: Reason) -> Record {
    Record { status: Status::Revoked { time: THEN, reason }, not_after: Some(UnixTime(1 << 40)) }
}

fn change(number: u32, record: Record, origin: Origin) -> Change {
    Change::new(serial(number), Some(record)).by(origin)
}

/// A book with these records of issuer 1.
fn book(dir: &Path, changes: &[Change]) -> Book {
    let mut book = Book::open(dir).unwrap();
    let (id, identity) = (issuer(1), book.identity().unwrap());
    book.commit(&Batch { changes, ..Batch::new(&id, identity) }).unwrap();
    book
}

/// Its backup.
fn backup(book: &mut Book) -> Result<Vec<u8>, NotTaken> {
    let mut bytes = Vec::new();
    let reader = book.reader().unwrap();
    take(&reader, &[], Some("cluster".into()), &mut |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(bytes)
}

/// The same in a file.
fn backup_to(book: &mut Book, path: &Path) {
    fs::write(path, backup(book).unwrap()).unwrap();
}
