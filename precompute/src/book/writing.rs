//! Writes a batch into the tables.
//!
//! Invariant: everything that belongs to an issuer changes together with the issuer's seal. It does not know files; the
//! caller commits.

use redb::{ReadableTable as _, Table, WriteTransaction};

use super::{
    Batch, Contradicted, Told,
    answered::Answers,
    codec::{decode_value, encode, encode_mark, key, mark_key, scope_key},
    hashes,
    layout::{
        COMPLETE, CRL_MARKS, CRL_SCOPES, DELTA, HOLDS, ISSUERS, KEY, MARK, META, NO_HOLDS, RECORDS, SEALS, STAMPS,
        SUCCESSORS, TENANTS, VALUE, VERIFIED, damaged, issuer_seal, successor_seal,
    },
    outbox::{self, Outbox, Rank},
    place,
    seal::{Kind, SEAL, Seal},
};
use crate::{
    issuer_id::IssuerId,
    limits,
    pki::{Serial, UnixTime},
    records::{CertificateHash, Change},
    source::{CrlMark, CrlMarks, CrlScope},
};

/// Writes the batch; returns how many of its changes. Changed records get this version.
pub(super) fn write(transaction: &WriteTransaction, batch: &Batch<'_>, version: u64) -> Result<usize, redb::Error> {
    let mut meta = transaction.open_table(META)?;
    let mut seals = transaction.open_table(SEALS)?;
    let mut issuers = transaction.open_table(ISSUERS)?;
    let known = issuers.get(batch.issuer.fingerprint())?.map(|guard| guard.value());
    let (number, seal) = match known {
        Some(number) => (number, seal_of(&seals, number)?),
        None => (add_issuer(transaction, &mut meta, &mut issuers, batch.issuer)?, Seal::default()),
    };
    succeed(transaction, &mut meta, &issuers, number, batch.succeeds)?;
    let mut issuer = Issuer { transaction, number, seal, version };
    if batch.forgets_owed {
        Outbox::open(transaction)?.forget_all(&mut issuer.seal, number)?;
    }
    let written = issuer.write_records(batch)?;
    issuer.write_contradicted(batch.contradicted)?;
    hashes::write(transaction, number, batch.hashes)?;
    if batch.owed {
        issuer.owe_hashed(batch.hashes)?;
    }
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

/// Notes in the outbox what was told. Returns whether a push that may be taken back is among it, as a hold or a release.
pub(super) fn told(transaction: &WriteTransaction, told: &[Told]) -> Result<bool, redb::Error> {
    let mut is_awaited = false;
    if told.is_empty() {
        return Ok(is_awaited);
    }
    let issuers = transaction.open_table(ISSUERS)?;
    let mut seals = transaction.open_table(SEALS)?;
    let mut outbox = Outbox::open(transaction)?;
    for of_issuer in told.chunk_by(|a, b| a.issuer == b.issuer) {
        let Some(number) = issuers.get(&of_issuer[0].issuer)?.map(|guard| guard.value()) else { continue };
        let mut seal = seal_of(&seals, number)?;
        for Told { change, version, .. } in of_issuer {
            let key = key(number, *change.serial.padded());
            let is_push = outbox.told(&mut seal, &key, *version, value_of(change, *version).as_ref())?;
            is_awaited |= is_push && !change.record.is_some_and(|record| record.status.is_final());
        }
        seals.insert(number, &seal.to_bytes())?;
    }
    Ok(is_awaited)
}

/// Makes rows of the outbox of up to `most` debts; true if there are more.
pub(super) fn owe_debts(transaction: &WriteTransaction, version: u64, most: usize) -> Result<bool, redb::Error> {
    let records = transaction.open_table(RECORDS)?;
    let mut seals = transaction.open_table(SEALS)?;
    let mut outbox = Outbox::open(transaction)?;
    let debtors = outbox.debtors(most)?;
    for of_issuer in debtors.chunk_by(|a, b| outbox::number(a) == outbox::number(b)) {
        let number = outbox::number(&of_issuer[0]);
        let mut seal = seal_of(&seals, number)?;
        for key in of_issuer {
            let value = records.get(key)?.map(|value| *value.value());
            let is_first = value.as_ref().is_some_and(|value| decode_value(value).1.is_pushed());
            outbox.owe(&mut seal, key, value.as_ref(), Rank::new(version, is_first))?;
        }
        seals.insert(number, &seal.to_bytes())?;
    }
    Ok(debtors.len() == most)
}

/// As it is stored; `None` for no record.
fn value_of(change: &Change, version: u64) -> Option<[u8; VALUE]> {
    change.record.map(|record| encode(&record, change.origin, version))
}

/// Whether a value says this.
pub(super) fn says(value: Option<&[u8; VALUE]>, change: &Change) -> bool {
    value.map(decode_value) == change.record.map(|record| (record, change.origin))
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

/// Removes successions: predecessor and successor.
pub(super) fn take_back(
    transaction: &WriteTransaction,
    successions: &[(IssuerId, IssuerId)],
) -> Result<usize, redb::Error> {
    let mut meta = transaction.open_table(META)?;
    let issuers = transaction.open_table(ISSUERS)?;
    let mut successors = transaction.open_table(SUCCESSORS)?;
    let mut list = meta.get("issuers")?.map_or(0, |guard| guard.value());
    let number = |id: &IssuerId| Ok::<_, redb::Error>(issuers.get(id.fingerprint())?.map(|guard| guard.value()));
    let mut removed = 0;
    for (former, successor) in successions {
        let (Some(former), Some(successor)) = (number(former)?, number(successor)?) else { continue };
        if successors.remove((former, successor))?.is_some() {
            list = list.wrapping_sub(successor_seal((former, successor)));
            removed += 1;
        }
    }
    meta.insert("issuers", list)?;
    Ok(removed)
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
        let Batch { changes, owed, is_told, is_wanted, .. } = *batch;
        if changes.is_empty() {
            return Ok(0);
        }
        let mut records = self.transaction.open_table(RECORDS)?;
        let mut outbox = if owed || is_told { Some(Outbox::open(self.transaction)?) } else { None };
        if outbox.is_none() {
            place::end(self.transaction)?;
        }
        for (written, change) in changes.iter().enumerate() {
            if written >= limits::BOOK_SAVE_CHUNK_MIN && is_wanted() {
                return Ok(written);
            }
            let key = key(self.number, *change.serial.padded());
            let before = self.write_record(&mut records, &key, change)?;
            if let Some(outbox) = outbox.as_mut().filter(|_| is_told) {
                outbox.forget(&mut self.seal, &key)?;
            } else if let Some(outbox) = outbox.as_mut().filter(|_| !says(before.as_ref(), change)) {
                let rank = Rank::new(self.version, change.origin.is_pushed());
                outbox.owe(&mut self.seal, &key, before.as_ref(), rank)?;
            }
        }
        Ok(changes.len())
    }

    /// The records of these certificates are told, changed or not: their hashes are told with them.
    fn owe_hashed(&mut self, hashes: &[(Serial, CertificateHash)]) -> Result<(), redb::Error> {
        if hashes.is_empty() {
            return Ok(());
        }
        let records = self.transaction.open_table(RECORDS)?;
        let mut outbox = Outbox::open(self.transaction)?;
        for (serial, _) in hashes {
            let key = key(self.number, *serial.padded());
            let value = records.get(&key)?.map(|value| *value.value());
            outbox.owe(&mut self.seal, &key, value.as_ref(), Rank::new(self.version, true))?;
        }
        Ok(())
    }

    /// Returns the value that it replaces.
    fn write_record(
        &mut self,
        records: &mut Table<'_, &'static [u8; KEY], &'static [u8; VALUE]>,
        key: &[u8; KEY],
        change: &Change,
    ) -> Result<Option<[u8; VALUE]>, redb::Error> {
        let value = value_of(change, self.version);
        let before = match &value {
            Some(value) => {
                self.seal.add(Kind::Record, key, value);
                records.insert(key, value)?
            }
            None => records.remove(key)?,
        };
        let before = before.map(|before| *before.value());
        if let Some(before) = &before {
            self.seal.remove(Kind::Record, key, before);
        }
        Ok(before)
    }

    fn write_contradicted(&mut self, contradicted: &[Contradicted]) -> Result<(), redb::Error> {
        if contradicted.is_empty() {
            return Ok(());
        }
        let mut records = self.transaction.open_table(RECORDS)?;
        let mut outbox = Outbox::open(self.transaction)?;
        for Contradicted { present, said } in contradicted {
            let key = key(self.number, *present.serial.padded());
            let there = records.get(&key)?.map(|value| *value.value());
            if !says(there.as_ref(), present) {
                self.write_record(&mut records, &key, present)?;
            }
            outbox.contradict(&mut self.seal, &key, value_of(said, self.version).as_ref())?;
        }
        Ok(())
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

    /// Replaces the marks of CRLs, also those of an earlier format.
    fn write_marks(&mut self, marks: &CrlMarks) -> Result<(), redb::Error> {
        let number = self.number;
        let mut former = self.transaction.open_table(CRL_MARKS)?;
        for kind in [COMPLETE, DELTA, HOLDS] {
            if let Some(before) = former.remove((number, kind))? {
                self.seal.remove(Kind::CrlMark, &mark_key(number, kind), before.value());
            }
        }
        let mut table = self.transaction.open_table(CRL_SCOPES)?;
        let (first, last) = ((number, 0, &[0; 32]), (number, u8::MAX, &[0xff; 32]));
        for row in table.extract_from_if::<(u32, u8, &[u8; 32]), _>(first..=last, |_, _| true)? {
            let (key, value) = row?;
            let (_, kind, scope) = key.value();
            self.seal.remove(Kind::CrlMark, &scope_key(number, kind, scope), value.value());
        }
        for (kind, scope, value) in rows_of(marks) {
            self.seal.add(Kind::CrlMark, &scope_key(number, kind, &scope.0), &value);
            table.insert((number, kind, &scope.0), &value)?;
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

/// The rows of marks of CRLs: kind, scope, value.
fn rows_of(marks: &CrlMarks) -> impl Iterator<Item = (u8, CrlScope, [u8; MARK])> {
    let taken = marks.scopes().iter().flat_map(|of| {
        let row = |kind, mark: Option<CrlMark>| mark.map(|mark| (kind, of.scope, encode_mark(&mark)));
        [row(COMPLETE, of.complete), row(DELTA, of.delta)].into_iter().flatten()
    });
    let none = marks.holds().filter(|holds| holds.is_empty()).map(|_| (NO_HOLDS, CrlScope::WHOLE, [0; MARK]));
    let holds = marks.holds().unwrap_or_default().iter().map(|scope| (HOLDS, *scope, [0; MARK]));
    taken.chain(none).chain(holds)
}
