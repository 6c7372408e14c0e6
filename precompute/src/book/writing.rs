//! Writes a batch into the tables.
//!
//! Invariant: everything that belongs to an issuer changes together with the issuer's seal. It does not know files; the
//! caller commits.

use redb::{ReadableTable as _, Table, WriteTransaction};

use super::{
    Batch,
    answered::Answers,
    codec::{encode, encode_mark, key, mark_key},
    layout::{
        COMPLETE, CRL_MARKS, DELTA, HOLDS, ISSUERS, META, RECORDS, SEALS, STAMPS, SUCCESSORS, TENANTS, VERIFIED,
        damaged, issuer_seal, successor_seal,
    },
    outbox::Outbox,
    seal::{Kind, SEAL, Seal},
};
use crate::{
    issuer_id::IssuerId,
    limits,
    pki::UnixTime,
    source::{CrlMark, CrlMarks},
};

/// Writes the batch; returns how many of its changes. Changed records get this version.
pub(super) fn write(transaction: &WriteTransaction, batch: &Batch<'_>, version: u64) -> Result<usize, redb::Error> {
    let mut meta = transaction.open_table(META)?;
    meta.insert("version", version)?;
    let mut seals = transaction.open_table(SEALS)?;
    let mut issuers = transaction.open_table(ISSUERS)?;
    let known = issuers.get(batch.issuer.fingerprint())?.map(|guard| guard.value());
    let (number, seal) = match known {
        Some(number) => (number, seal_of(&seals, number)?),
        None => (add_issuer(transaction, &mut meta, &mut issuers, batch.issuer)?, Seal::default()),
    };
    succeed(transaction, &mut meta, &issuers, number, batch.succeeds)?;
    let mut issuer = Issuer { transaction, number, seal, version };
    let written = issuer.write_records(batch)?;
    if batch.forgets_stamps {
        issuer.write_stamps(&[])?;
    }
    if written == batch.changes.len() {
        issuer.write_of_sources(batch)?;
    }
    if batch.forgets_answers {
        Answers::open(transaction, number)?.forget(&mut issuer.seal)?;
    }
    if !batch.answered.is_empty() {
        Answers::open(transaction, number)?.add(&mut issuer.seal, batch.answered)?;
    }
    seals.insert(number, &issuer.seal.to_bytes())?;
    Ok(written)
}

/// Removes up to `most` rows of an issuer's outbox whose version is not higher; true if there are more.
pub(super) fn told(
    transaction: &WriteTransaction,
    issuer: &IssuerId,
    version: u64,
    most: usize,
) -> Result<bool, redb::Error> {
    let known = transaction.open_table(ISSUERS)?.get(issuer.fingerprint())?.map(|guard| guard.value());
    let Some(number) = known else { return Ok(false) };
    let mut seals = transaction.open_table(SEALS)?;
    let mut seal = seal_of(&seals, number)?;
    let more = Outbox::open(transaction)?.told(&mut seal, number, version, most)?;
    seals.insert(number, &seal.to_bytes())?;
    Ok(more)
}

fn seal_of(seals: &Table<'_, u32, &'static [u8; SEAL]>, number: u32) -> Result<Seal, redb::Error> {
    let seal = seals.get(number)?.map(|seal| Seal::from_bytes(seal.value()));
    seal.ok_or_else(|| damaged("an issuer has no seal"))
}

/// Gives an issuer its number.
fn add_issuer(
    transaction: &WriteTransaction,
    meta: &mut Table<'_, &'static str, u64>,
    issuers: &mut Table<'_, &'static [u8; 32], u32>,
    issuer: &IssuerId,
) -> Result<u32, redb::Error> {
    let number = redb::ReadableTableMetadata::len(issuers)? as u32;
    let tenant = (issuer.ca(), issuer.tenant());
    let before = meta.get("issuers")?.map_or(0, |guard| guard.value());
    meta.insert("issuers", before.wrapping_add(issuer_seal(issuer.fingerprint(), number, Some(tenant))))?;
    issuers.insert(issuer.fingerprint(), number)?;
    transaction.open_table(TENANTS)?.insert(number, tenant)?;
    Ok(number)
}

fn succeed(
    transaction: &WriteTransaction,
    meta: &mut Table<'_, &'static str, u64>,
    issuers: &Table<'_, &'static [u8; 32], u32>,
    number: u32,
    predecessors: &[IssuerId],
) -> Result<(), redb::Error> {
    if predecessors.is_empty() {
        return Ok(());
    }
    let mut successors = transaction.open_table(SUCCESSORS)?;
    let mut list = meta.get("issuers")?.map_or(0, |guard| guard.value());
    for former in predecessors {
        let Some(former) = issuers.get(former.fingerprint())?.map(|guard| guard.value()) else { continue };
        if successors.insert((former, number), ())?.is_none() {
            list = list.wrapping_add(successor_seal((former, number)));
        }
        // It may have been the predecessor of that one before.
        if successors.remove((number, former))?.is_some() {
            list = list.wrapping_sub(successor_seal((number, former)));
        }
    }
    meta.insert("issuers", list)?;
    Ok(())
}

/// The issuer of a batch while it is written.
struct Issuer<'a> {
    transaction: &'a WriteTransaction,
    number: u32,
    seal: Seal,
    version: u64,
}

impl Issuer<'_> {
    /// Returns how many of them.
    fn write_records(&mut self, batch: &Batch<'_>) -> Result<usize, redb::Error> {
        let Batch { changes, owed, untold, is_wanted, .. } = *batch;
        if changes.is_empty() {
            return Ok(0);
        }
        let mut records = self.transaction.open_table(RECORDS)?;
        let mut outbox = if owed || untold { Some(Outbox::open(self.transaction)?) } else { None };
        for (written, change) in changes.iter().enumerate() {
            if written >= limits::BOOK_SAVE_CHUNK_MIN && is_wanted() {
                return Ok(written);
            }
            let key = key(self.number, *change.serial.padded());
            let before = match change.record {
                Some(record) => {
                    let value = encode(&record, change.origin, self.version);
                    self.seal.add(Kind::Record, &key, &value);
                    records.insert(&key, &value)?
                }
                None => records.remove(&key)?,
            };
            let before = before.as_ref().map(|before| before.value());
            if let Some(before) = before {
                self.seal.remove(Kind::Record, &key, before);
            }
            if let Some(outbox) = outbox.as_mut().filter(|_| untold) {
                outbox.forget(&mut self.seal, &key)?;
            } else if let Some(outbox) = &mut outbox {
                outbox.owe(&mut self.seal, &key, before, self.version)?;
            }
        }
        Ok(changes.len())
    }

    fn write_of_sources(&mut self, batch: &Batch<'_>) -> Result<(), redb::Error> {
        if let Some(marks) = batch.crl_marks {
            self.write_marks(marks)?;
        }
        if let Some(time) = batch.verified {
            self.write_verified(time)?;
        }
        if let Some(stamps) = batch.stamps {
            self.write_stamps(stamps)?;
        }
        Ok(())
    }

    fn write_marks(&mut self, CrlMarks { complete, delta, holds }: CrlMarks) -> Result<(), redb::Error> {
        let mut marks = self.transaction.open_table(CRL_MARKS)?;
        let holds = holds.map(|scope| CrlMark { number: None, this_update: UnixTime(0), digest: scope.0 });
        for (kind, mark) in [(COMPLETE, complete), (DELTA, delta), (HOLDS, holds)] {
            let sealed_as = mark_key(self.number, kind);
            let before = match mark {
                Some(mark) => {
                    let value = encode_mark(&mark);
                    self.seal.add(Kind::CrlMark, &sealed_as, &value);
                    marks.insert((self.number, kind), &value)?
                }
                None => marks.remove((self.number, kind))?,
            };
            if let Some(before) = before {
                self.seal.remove(Kind::CrlMark, &sealed_as, before.value());
            }
        }
        Ok(())
    }

    fn write_verified(&mut self, time: UnixTime) -> Result<(), redb::Error> {
        let sealed_as = self.number.to_be_bytes();
        self.seal.add(Kind::Verified, &sealed_as, &time.0.to_be_bytes());
        if let Some(before) = self.transaction.open_table(VERIFIED)?.insert(self.number, time.0)? {
            self.seal.remove(Kind::Verified, &sealed_as, &before.value().to_be_bytes());
        }
        Ok(())
    }

    /// Stamps that are too long are not kept: without them the sources are read again.
    fn write_stamps(&mut self, stamps: &[u8]) -> Result<(), redb::Error> {
        let sealed_as = self.number.to_be_bytes();
        let mut table = self.transaction.open_table(STAMPS)?;
        let before = if stamps.is_empty() || stamps.len() > limits::BOOK_STAMPS_OCTETS_MAX {
            table.remove(self.number)?
        } else {
            self.seal.add(Kind::Stamps, &sealed_as, stamps);
            table.insert(self.number, stamps)?
        };
        if let Some(before) = before {
            self.seal.remove(Kind::Stamps, &sealed_as, before.value());
        }
        Ok(())
    }
}
