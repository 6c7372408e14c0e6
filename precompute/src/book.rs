//! The book: the durable set of all records.
//!
//! Purpose: keep what sources said, so that a process that is killed at any instant finds again
//! all it had acknowledged. Invariant: [`Book::commit`] has returned if and only if the whole
//! batch is on disk; a batch is there as a whole or not at all. It does not know sources or
//! policies, and does not judge a change.
//!
//! One redb file. Records are keyed by the issuer's number in this file and the serial, so
//! that an issuer's records lie together and in order.

mod codec;

use std::{
    io,
    path::{Path, PathBuf},
};

use self::codec::{decode, decode_mark, encode, encode_mark, key};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use crate::{
    limits,
    pki::{Record, Serial, UnixTime},
    records::Change,
    source::{CrlMark, CrlMarks, CrlNumber},
    state_dir::{BOOK, OF_DIRECTORY, StateError, remedy},
};

/// Numbers that stand for the whole file.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// Fingerprint of an issuer → its number in this file.
const ISSUERS: TableDefinition<'_, &[u8; 32], u32> = TableDefinition::new("issuers");
/// Issuer number → when its sources were last known to be in order.
const VERIFIED: TableDefinition<'_, u32, u64> = TableDefinition::new("verified");
/// Issuer number → fingerprint of the issuer without its tenant, and the tenant's name.
const TENANTS: TableDefinition<'_, u32, (&[u8; 32], &str)> = TableDefinition::new("tenants");
/// Issuer number, serial → status, reason, revocation time, end of validity, version.
const RECORDS: TableDefinition<'_, &[u8; KEY], &[u8; VALUE]> = TableDefinition::new("records");
/// Issuer number → number of the newest complete CRL that was taken: where an earlier version left it.
const CRL_NUMBERS: TableDefinition<'_, u32, &[u8; 20]> = TableDefinition::new("crl-numbers");
/// Issuer number and kind of CRL → whether it has a number, the number, thisUpdate, digest of the newest one taken.
const CRL_MARKS: TableDefinition<'_, (u32, u8), &[u8; MARK]> = TableDefinition::new("crl-marks");

const KEY: usize = 4 + Serial::MAX_OCTETS;
const VALUE: usize = 2 + 8 + 8 + 8;
const MARK: usize = 1 + 20 + 8 + 32;
/// Kinds of CRL.
const COMPLETE: u8 = 0;
const DELTA: u8 = 1;

/// The layout of this file; another one is refused rather than misread.
const FORMAT: u64 = 1;

/// An issuer's number in one book.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IssuerNumber(u32);

impl IssuerNumber {
    /// The number itself.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// Changes of one issuer's records that belong together.
#[derive(Debug)]
pub struct Batch<'a> {
    /// Whose records.
    pub issuer: IssuerNumber,
    /// Fastest in order of serial.
    pub changes: &'a [Change],
    /// The CRLs that they come from.
    pub crl_marks: Option<CrlMarks>,
    /// When the sources were in order.
    pub verified: Option<UnixTime>,
}

/// The open file. Another process cannot open it meanwhile.
#[derive(Debug)]
pub struct Book {
    path: PathBuf,
    database: Option<Database>,
}

impl Book {
    /// Opens `book.redb` in the state directory; both are made where missing.
    pub fn open(state_dir: &Path) -> Result<Self, StateError> {
        let path = state_dir.join(BOOK);
        std::fs::create_dir_all(state_dir)
            .map_err(|error| StateError::new(state_dir, format!("cannot be made: {error}"), OF_DIRECTORY))?;
        let mut book = Self { path, database: None };
        book.database()?;
        Ok(book)
    }

    /// The directory in which it lies.
    pub fn state_dir(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// A book that can never be opened, beside the one in `state_dir`.
    #[cfg(test)]
    pub(crate) fn lost(state_dir: &Path) -> Self {
        Self { path: state_dir.join("absent/book.redb"), database: None }
    }

    /// The open database, opened anew after a failed write (which closes it: what redb holds in
    /// memory can then no longer be trusted, what it has on disk can).
    fn database(&mut self) -> Result<&Database, StateError> {
        if self.database.is_none() {
            self.database = Some(open_database(&self.path)?);
        }
        self.database.as_ref().ok_or_else(|| StateError::new(&self.path, "is closed", "restart"))
    }

    /// Runs `step` on the database; on an error closes it.
    fn run<T>(&mut self, step: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, StateError> {
        let result = step(self.database()?);
        result.map_err(|error| {
            self.database = None;
            describe(&self.path, &error)
        })
    }

    /// The number of the issuer with this fingerprint, given out at the first call.
    pub fn issuer(&mut self, fingerprint: &[u8; 32]) -> Result<IssuerNumber, StateError> {
        self.run(|database| {
            let mut transaction = database.begin_write()?;
            transaction.set_quick_repair(true);
            let number = {
                let mut issuers = transaction.open_table(ISSUERS)?;
                let known = issuers.get(fingerprint)?.map(|guard| guard.value());
                match known {
                    Some(number) => number,
                    None => {
                        let number = redb::ReadableTableMetadata::len(&issuers)? as u32;
                        issuers.insert(fingerprint, number)?;
                        number
                    }
                }
            };
            transaction.commit()?;
            Ok(IssuerNumber(number))
        })
    }

    /// When the sources of `issuer` were last known to be in order.
    pub fn verified(&mut self, issuer: IssuerNumber) -> Result<Option<UnixTime>, StateError> {
        self.run(|database| {
            let verified = database.begin_read()?.open_table(VERIFIED)?.get(issuer.0)?;
            Ok(verified.map(|time| UnixTime(time.value())))
        })
    }

    /// Notes whose issuer this is: `issuer_fingerprint` is the same for every tenant.
    pub fn note_tenant(
        &mut self,
        number: IssuerNumber,
        issuer_fingerprint: &[u8; 32],
        tenant: &str,
    ) -> Result<(), StateError> {
        self.run(|database| {
            let known = database.begin_read()?.open_table(TENANTS)?.get(number.0)?.is_some();
            if known {
                return Ok(());
            }
            let mut transaction = database.begin_write()?;
            transaction.set_quick_repair(true);
            transaction.open_table(TENANTS)?.insert(number.0, (issuer_fingerprint, tenant))?;
            Ok(transaction.commit()?)
        })
    }

    /// Tenants under whose names the book holds records of the issuer with this fingerprint.
    pub fn tenants_of(&mut self, issuer_fingerprint: &[u8; 32]) -> Result<Vec<String>, StateError> {
        self.run(|database| {
            let transaction = database.begin_read()?;
            let (tenants, records) = (transaction.open_table(TENANTS)?, transaction.open_table(RECORDS)?);
            let mut found = Vec::new();
            for entry in tenants.iter()? {
                let (number, whose) = entry?;
                let (fingerprint, tenant) = whose.value();
                let issuer = IssuerNumber(number.value());
                let (first, last) = (key(issuer, [0; 20]), key(issuer, [0xff; 20]));
                if fingerprint == issuer_fingerprint && records.range::<&[u8; KEY]>(&first..=&last)?.next().is_some() {
                    found.push(tenant.to_owned());
                }
            }
            Ok(found)
        })
    }

    /// Calls `each` with every record of `issuer`, in order of serial.
    pub fn load(&mut self, issuer: IssuerNumber, mut each: impl FnMut(Serial, Record)) -> Result<(), StateError> {
        self.run(|database| {
            let records = database.begin_read()?.open_table(RECORDS)?;
            let (first, last) = (key(issuer, [0; 20]), key(issuer, [0xff; 20]));
            for entry in records.range::<&[u8; KEY]>(&first..=&last)? {
                let (key, value) = entry?;
                if let Some((serial, record)) = decode(key.value(), value.value()) {
                    each(serial, record);
                }
            }
            Ok(())
        })
    }

    /// How many records the book holds, of all issuers.
    pub fn record_count(&mut self) -> Result<u64, StateError> {
        self.run(|database| Ok(redb::ReadableTableMetadata::len(&database.begin_read()?.open_table(RECORDS)?)?))
    }

    /// One record.
    pub fn get(&mut self, issuer: IssuerNumber, serial: &Serial) -> Result<Option<Record>, StateError> {
        self.run(|database| {
            let records = database.begin_read()?.open_table(RECORDS)?;
            let key = key(issuer, *serial.padded());
            let value = records.get(&key)?;
            Ok(value.and_then(|value| decode(&key, value.value())).map(|(_, record)| record))
        })
    }

    /// The newest CRLs taken for `issuer`.
    pub fn crl_marks(&mut self, issuer: IssuerNumber) -> Result<CrlMarks, StateError> {
        self.run(|database| {
            let transaction = database.begin_read()?;
            let (marks, numbers) = (transaction.open_table(CRL_MARKS)?, transaction.open_table(CRL_NUMBERS)?);
            let mark = |kind| Ok::<_, redb::Error>(marks.get((issuer.0, kind))?.map(|mark| decode_mark(mark.value())));
            let number_only = numbers.get(issuer.0)?.map(|number| CrlMark {
                number: Some(CrlNumber::from_padded(*number.value())),
                this_update: UnixTime(0),
                digest: [0; 32],
            });
            Ok(CrlMarks { complete: mark(COMPLETE)?.or(number_only), delta: mark(DELTA)? })
        })
    }

    /// Writes a batch and returns when it is on disk. Every changed record gets the returned
    /// version, which is higher than all before it.
    pub fn commit(&mut self, batch: &Batch<'_>) -> Result<u64, StateError> {
        self.run(|database| {
            let mut transaction = database.begin_write()?;
            // A start after a crash then need not walk the whole file.
            transaction.set_quick_repair(true);
            let version = {
                let mut meta = transaction.open_table(META)?;
                let version = meta.get("version")?.map_or(0, |guard| guard.value()) + 1;
                meta.insert("version", version)?;
                let mut records = transaction.open_table(RECORDS)?;
                for change in batch.changes {
                    let key = key(batch.issuer, *change.serial.padded());
                    match change.record {
                        Some(record) => records.insert(&key, &encode(&record, version))?,
                        None => records.remove(&key)?,
                    };
                }
                if let Some(CrlMarks { complete, delta }) = batch.crl_marks {
                    let mut marks = transaction.open_table(CRL_MARKS)?;
                    for (kind, mark) in [(COMPLETE, complete), (DELTA, delta)] {
                        match mark {
                            Some(mark) => marks.insert((batch.issuer.0, kind), &encode_mark(&mark))?,
                            None => marks.remove((batch.issuer.0, kind))?,
                        };
                    }
                }
                if let Some(verified) = batch.verified {
                    transaction.open_table(VERIFIED)?.insert(batch.issuer.0, verified.0)?;
                }
                version
            };
            transaction.commit()?;
            Ok(version)
        })
    }
}

fn open_database(path: &Path) -> Result<Database, StateError> {
    let database = Database::builder().set_cache_size(limits::BOOK_CACHE_OCTETS).create(path);
    let database = database.map_err(|error| describe(path, &error.into()))?;
    let format = (|| -> Result<u64, redb::Error> {
        let mut transaction = database.begin_write()?;
        transaction.set_quick_repair(true);
        let format = {
            let mut meta = transaction.open_table(META)?;
            let format = meta.get("format")?.map(|guard| guard.value());
            if format.is_none() {
                meta.insert("format", FORMAT)?;
            }
            transaction.open_table(RECORDS)?;
            transaction.open_table(CRL_NUMBERS)?;
            transaction.open_table(CRL_MARKS)?;
            transaction.open_table(TENANTS)?;
            transaction.open_table(VERIFIED)?;
            format.unwrap_or(FORMAT)
        };
        transaction.commit()?;
        Ok(format)
    })()
    .map_err(|error| describe(path, &error))?;
    if format != FORMAT {
        return Err(StateError::new(
            path,
            format!("was written in format {format}, this program reads format {FORMAT}"),
            "use the program version that wrote it, or move the file away: it is made anew from the sources",
        ));
    }
    Ok(database)
}

const MOVE_AWAY: &str = "move the file away: it is made anew from the sources; then check the disk";

fn describe(path: &Path, error: &redb::Error) -> StateError {
    let remedy = remedy(error).unwrap_or(match error {
        redb::Error::Io(error) => match error.kind() {
            // What lies there is no book, or the half of one.
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => MOVE_AWAY,
            _ => "check the disk and its mount; if it persists move the file away: it is made anew from the sources",
        },
        redb::Error::Corrupted(_) => MOVE_AWAY,
        _ => "check the disk; if it persists move the file away: it is made anew from the sources",
    });
    let problem = match error {
        redb::Error::DatabaseAlreadyOpen => "is in use by another process".into(),
        error => format!("the book cannot be read or written: {error}"),
    };
    StateError::new(path, problem, remedy)
}

#[cfg(test)]
mod tests;
