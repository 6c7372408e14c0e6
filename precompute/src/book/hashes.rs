//! The hashes of certificates that were pushed, here or to another writer of the feed, for answers that carry them.
//!
//! Purpose: a source is read again after a restart; what was pushed is nowhere else. Invariant: a hash is written with the
//! push that has it, and told to others with the record: its push has a row in the outbox although the record stays as it
//! is, and the hash too, since others may lack what this book has. The table is outside of the seals, so that a program that does not know it reads the book: it decides
//! no status, and a client that compares the hash refuses a damaged one. It does not know pushes.

use redb::{ReadOnlyTable, ReadTransaction, TableError, WriteTransaction};

use super::{
    codec::{key, range},
    layout::{CERTIFICATE_HASHES, KEY},
    loading::number_of,
};
use crate::{issuer_id::IssuerId, pki::Serial, records::CertificateHash};

pub(super) fn write(
    transaction: &WriteTransaction,
    issuer: u32,
    hashes: &[(Serial, CertificateHash)],
) -> Result<(), redb::Error> {
    if hashes.is_empty() {
        return Ok(());
    }
    let mut table = transaction.open_table(CERTIFICATE_HASHES)?;
    for (serial, hash) in hashes {
        table.insert(&key(issuer, *serial.padded()), hash)?;
    }
    Ok(())
}

/// Calls `each` with all of an issuer, in order of serial.
pub(super) fn load(
    read: &ReadTransaction,
    issuer: &IssuerId,
    mut each: impl FnMut(Serial, CertificateHash),
) -> Result<(), redb::Error> {
    let Some((number, table)) = of_issuer(read, issuer)? else { return Ok(()) };
    let (first, last) = range(number);
    for entry in table.range::<&[u8; KEY]>(&first..=&last)? {
        let (key, hash) = entry?;
        if let Some(serial) = Serial::from_magnitude(&key.value()[4..]) {
            each(serial, *hash.value());
        }
    }
    Ok(())
}

/// Those of these certificates.
pub(super) fn of<'s>(
    read: &ReadTransaction,
    issuer: &IssuerId,
    serials: impl Iterator<Item = &'s Serial>,
) -> Result<Vec<Option<CertificateHash>>, redb::Error> {
    let Some((number, table)) = of_issuer(read, issuer)? else { return Ok(serials.map(|_| None).collect()) };
    serials.map(|serial| Ok(table.get(&key(number, *serial.padded()))?.map(|hash| *hash.value()))).collect()
}

type Table = ReadOnlyTable<&'static [u8; KEY], &'static CertificateHash>;

/// The table, and the number of the issuer in it; `None` where there are none.
fn of_issuer(read: &ReadTransaction, issuer: &IssuerId) -> Result<Option<(u32, Table)>, redb::Error> {
    let Some(number) = number_of(read, issuer)? else { return Ok(None) };
    match read.open_table(CERTIFICATE_HASHES) {
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        table => Ok(Some((number, table?))),
    }
}
