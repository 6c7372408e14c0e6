//! The tables of a book, and how a file gets them.
//!
//! Invariant: a file opened here is in the present format, and its list of issuers is complete: its seal was verified.
//! An earlier format is rewritten in one transaction, without loss. It does not know records.
//!
//! Format 1 had no seals and no identity; an early version of it kept only the number of a CRL. Format 2 had no origins,
//! no outbox, no answers to requests and no stamps. Format 3 had no place in the feed and no debts, and one order of the
//! outbox. Format 4 kept the CRLs of one scope only. Their records mean the same in format 5, so only tables are added.

use redb::{
    Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, TableDefinition,
    TableHandle as _, WriteTransaction,
};

use super::{
    codec::{encode_mark, mark_key},
    seal::{Kind, SEAL, Seal},
};
use crate::{
    pki::{Serial, UnixTime},
    source::{CrlMark, CrlNumber},
};

/// Numbers about the whole file.
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// Fingerprint of an issuer → its number in this file, which means nothing outside of it.
pub(super) const ISSUERS: TableDefinition<'_, &[u8; 32], u32> = TableDefinition::new("issuers");
/// Issuer number → fingerprint of the issuer without its tenant, and the tenant's name.
pub(super) const TENANTS: TableDefinition<'_, u32, (&[u8; 32], &str)> = TableDefinition::new("tenants");
/// Number of an issuer that has left its tenant's name → number of its successor.
pub(super) const SUCCESSORS: TableDefinition<'_, (u32, u32), ()> = TableDefinition::new("successors");
/// Issuer number → the seal over all its entries in the following tables.
pub(super) const SEALS: TableDefinition<'_, u32, &[u8; SEAL]> = TableDefinition::new("seals");
/// Issuer number → when its sources were last known to be in order.
pub(super) const VERIFIED: TableDefinition<'_, u32, u64> = TableDefinition::new("verified");
/// Issuer number, serial → status, reason, revocation time, end of validity, origin, version.
pub(super) const RECORDS: TableDefinition<'_, &[u8; KEY], &[u8; VALUE]> = TableDefinition::new("records");
/// Issuer number, kind, scope → of the newest CRL taken whether it has a number, the number, thisUpdate, digest; for
/// [`HOLDS`] and [`NO_HOLDS`] zeros.
pub(super) const CRL_SCOPES: TableDefinition<'_, (u32, u8, &[u8; 32]), &[u8; MARK]> =
    TableDefinition::new("crl-scopes");
/// Of formats before 5, which kept the CRLs of one scope: issuer number and kind → as in [`CRL_SCOPES`], and for [`HOLDS`]
/// the scope in the place of the digest. Rows stay until an issuer's marks are written next.
pub(super) const CRL_MARKS: TableDefinition<'_, (u32, u8), &[u8; MARK]> = TableDefinition::new("crl-marks");
/// Issuer number, serial → version of the newest change that was not told yet, and the record's former value as in
/// [`RECORDS`], which was told last; no value if there was no record.
pub(super) const OUTBOX: TableDefinition<'_, &[u8; KEY], &[u8]> = TableDefinition::new("outbox");
/// Issuer number, whether it waits for others (one byte), version, serial: the rows of the outbox in their order.
pub(super) const OUTBOX_ORDER: TableDefinition<'_, &[u8; ORDER], ()> = TableDefinition::new("outbox-order");
/// Issuer number, serial of a final revocation that others contradict → what was told last, as in [`OUTBOX`].
pub(super) const DEBTS: TableDefinition<'_, &[u8; KEY], &[u8]> = TableDefinition::new("debts");
/// The place in the feed: identity of the file, epoch, sequence, hash of the entry, seal over them.
pub(super) const PLACE: TableDefinition<'_, (), &[u8; PLACE_ROW]> = TableDefinition::new("place");
/// Issuer number, idempotency key → request, outcome, time, place in the order.
pub(super) const ANSWERED: TableDefinition<'_, &[u8; ANSWER_KEY], &[u8; ANSWER]> = TableDefinition::new("answered");
/// Issuer number, place → idempotency key.
pub(super) const ANSWERED_ORDER: TableDefinition<'_, (u32, u64), &[u8; 32]> = TableDefinition::new("answered-order");
/// Issuer number → what its sources looked like when all that they said was in the book.
pub(super) const STAMPS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("stamps");
/// Issuer number, serial → SHA-256 of the certificate. It is there once a hash was pushed, and has no seal: see
/// [`hashes`](super::hashes).
pub(super) const CERTIFICATE_HASHES: TableDefinition<'_, &[u8; KEY], &[u8; 32]> =
    TableDefinition::new("certificate-hashes");
/// Of format 1: issuer number → number of the newest complete CRL that was taken.
const CRL_NUMBERS: TableDefinition<'_, u32, &[u8; 20]> = TableDefinition::new("crl-numbers");

pub(super) const KEY: usize = 4 + Serial::MAX_OCTETS;
pub(super) const VALUE: usize = 2 + 8 + 8 + 8;
pub(super) const MARK: usize = 1 + 20 + 8 + 32;
pub(super) const ORDER: usize = 4 + 8 + Serial::MAX_OCTETS;
pub(super) const ANSWER_KEY: usize = 4 + 32;
pub(super) const ANSWER: usize = 32 + 1 + 8 + 8;
pub(super) const PLACE_ROW: usize = 16 + 8 + 8 + 32 + SEAL;

/// Kinds of CRL.
pub(super) const COMPLETE: u8 = 0;
/// See [`COMPLETE`].
pub(super) const DELTA: u8 = 1;
/// No CRL: CRLs of this scope have listed certificates that are on hold.
pub(super) const HOLDS: u8 = 2;
/// No CRL: no CRL has listed a certificate that is on hold.
pub(super) const NO_HOLDS: u8 = 3;

/// The format of this file; a later one is refused rather than misread.
pub(super) const FORMAT: u64 = 5;

/// The identity of a file: drawn when it is created, and again when an older copy takes its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity(u64, u64);

impl Identity {
    fn draw() -> Result<Self, redb::Error> {
        let mut bytes = [0; 16];
        aws_lc_rs::rand::fill(&mut bytes)
            .map_err(|_| redb::Error::Io(std::io::Error::other("the system gives no random numbers")))?;
        let half = |from: usize| u64::from_be_bytes(std::array::from_fn(|at| bytes[from + at]));
        Ok(Self(half(0), half(8)))
    }

    pub(super) fn halves(self) -> (u64, u64) {
        (self.0, self.1)
    }

    pub(super) fn from_halves(high: u64, low: u64) -> Self {
        Self(high, low)
    }
}

/// A file in the present format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Made {
    pub(super) identity: Identity,
    /// Goes up with each commit.
    pub(super) version: u64,
}

/// Why this program cannot read a file as a book.
#[derive(Debug)]
pub(super) enum Unready {
    Format(u64),
    Redb(redb::Error),
}

impl<E: Into<redb::Error>> From<E> for Unready {
    fn from(error: E) -> Self {
        Self::Redb(error.into())
    }
}

pub(super) fn damaged(what: &str) -> redb::Error {
    redb::Error::Corrupted(what.to_owned())
}

/// Creates the tables of a new file, rewrites an earlier format, verifies the seal of the list of issuers.
pub(super) fn make_ready(database: &Database) -> Result<Made, Unready> {
    let read = database.begin_read()?;
    let tables = read.list_tables()?.count();
    let format = match tables {
        0 => None,
        _ => Some(number(&read, "format")?.ok_or_else(|| damaged("it does not say its format"))?),
    };
    drop(read);
    let mut transaction = match format {
        Some(FORMAT) => return Ok(opened(&database.begin_read()?)?),
        None | Some(1..FORMAT) => database.begin_write()?,
        Some(other) => return Err(Unready::Format(other)),
    };
    transaction.set_quick_repair(true);
    if matches!(format, None | Some(1)) {
        rewrite(&transaction)?;
    }
    add_tables(&transaction)?;
    transaction.open_table(META)?.insert("format", FORMAT)?;
    transaction.commit()?;
    Ok(opened(&database.begin_read()?)?)
}

fn number(read: &ReadTransaction, name: &str) -> Result<Option<u64>, redb::Error> {
    Ok(read.open_table(META)?.get(name)?.map(|guard| guard.value()))
}

fn opened(read: &ReadTransaction) -> Result<Made, redb::Error> {
    let of_meta = |name| number(read, name);
    let half = |name| of_meta(name)?.ok_or_else(|| damaged("it does not say which book it is"));
    let identity = Identity(half("identity high")?, half("identity low")?);
    let (issuers, tenants) = (read.open_table(ISSUERS)?, read.open_table(TENANTS)?);
    let mut seal = 0u64;
    for entry in issuers.iter()? {
        let (fingerprint, number) = entry?;
        let tenant = tenants.get(number.value())?;
        let tenant = tenant.as_ref().map(|guard| guard.value());
        seal = seal.wrapping_add(issuer_seal(fingerprint.value(), number.value(), tenant));
    }
    for entry in read.open_table(SUCCESSORS)?.range::<(u32, u32)>(..)? {
        seal = seal.wrapping_add(successor_seal(entry?.0.value()));
    }
    if of_meta("issuers")? != Some(seal) || issuers.len()? < tenants.len()? {
        return Err(damaged("its list of issuers does not match its seal"));
    }
    let tables: Vec<_> = read.list_tables()?.map(|table| table.name().to_owned()).collect();
    let records = [SEALS.name(), VERIFIED.name(), RECORDS.name(), CRL_MARKS.name()];
    let added = [OUTBOX.name(), OUTBOX_ORDER.name(), ANSWERED.name(), ANSWERED_ORDER.name(), STAMPS.name()];
    let of_feed = [DEBTS.name(), PLACE.name(), CRL_SCOPES.name()];
    if records.iter().chain(&added).chain(&of_feed).any(|table| !tables.iter().any(|there| there == table)) {
        return Err(damaged("a table is missing"));
    }
    Ok(Made { identity, version: of_meta("version")?.unwrap_or(0) })
}

/// One issuer's part of the seal of the list of issuers.
pub(super) fn issuer_seal(fingerprint: &[u8; 32], number: u32, tenant: Option<(&[u8; 32], &str)>) -> u64 {
    let (issuer, name) = tenant.unwrap_or((&[0; 32], ""));
    let mut seal = Seal::default();
    seal.add(Kind::Issuer, fingerprint, &[&number.to_be_bytes()[..], issuer, name.as_bytes()].concat());
    seal.folded()
}

/// One succession's part of it.
pub(super) fn successor_seal((former, successor): (u32, u32)) -> u64 {
    let mut seal = Seal::default();
    seal.add(Kind::Successor, &former.to_be_bytes(), &successor.to_be_bytes());
    seal.folded()
}

/// Gives the file a new identity.
pub(super) fn rename(database: &Database) -> Result<Identity, redb::Error> {
    let identity = Identity::draw()?;
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert("identity high", identity.0)?;
        meta.insert("identity low", identity.1)?;
    }
    transaction.commit()?;
    Ok(identity)
}

/// What formats 3 to 5 have beside the tables of format 2.
fn add_tables(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(OUTBOX)?;
    transaction.open_table(OUTBOX_ORDER)?;
    transaction.open_table(ANSWERED)?;
    transaction.open_table(ANSWERED_ORDER)?;
    transaction.open_table(STAMPS)?;
    transaction.open_table(DEBTS)?;
    transaction.open_table(PLACE)?;
    transaction.open_table(CRL_SCOPES)?;
    Ok(())
}

/// To format 2, from an empty file or from format 1.
fn rewrite(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    let identity = Identity::draw()?;
    let records = transaction.open_table(RECORDS)?;
    let mut marks = transaction.open_table(CRL_MARKS)?;
    let verified = transaction.open_table(VERIFIED)?;
    let (issuers, tenants) = (transaction.open_table(ISSUERS)?, transaction.open_table(TENANTS)?);
    for entry in transaction.open_table(CRL_NUMBERS)?.iter()? {
        let (issuer, number) = entry?;
        let key = (issuer.value(), COMPLETE);
        if marks.get(key)?.is_none() {
            let number = Some(CrlNumber::from_padded(*number.value()));
            marks.insert(key, &encode_mark(&CrlMark { number, this_update: UnixTime(0), digest: [0; 32] }))?;
        }
    }
    let mut seals = transaction.open_table(SEALS)?;
    let mut list = 0u64;
    for entry in issuers.iter()? {
        let (fingerprint, number) = entry?;
        let number = number.value();
        let mut seal = Seal::default();
        let (first, last) = super::codec::range(number);
        for entry in records.range::<&[u8; KEY]>(&first..=&last)? {
            let (key, value) = entry?;
            seal.add(Kind::Record, key.value(), value.value());
        }
        for kind in [COMPLETE, DELTA] {
            if let Some(mark) = marks.get((number, kind))? {
                seal.add(Kind::CrlMark, &mark_key(number, kind), mark.value());
            }
        }
        if let Some(time) = verified.get(number)? {
            seal.add(Kind::Verified, &number.to_be_bytes(), &time.value().to_be_bytes());
        }
        seals.insert(number, &seal.to_bytes())?;
        let tenant = tenants.get(number)?;
        list = list.wrapping_add(issuer_seal(fingerprint.value(), number, tenant.as_ref().map(|guard| guard.value())));
    }
    let mut meta = transaction.open_table(META)?;
    meta.insert("identity high", identity.0)?;
    meta.insert("identity low", identity.1)?;
    meta.insert("issuers", list)?;
    transaction.open_table(SUCCESSORS)?;
    drop((records, marks, verified, issuers, tenants, seals, meta));
    transaction.delete_table(CRL_NUMBERS)?;
    Ok(())
}
