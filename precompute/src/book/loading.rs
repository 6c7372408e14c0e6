//! Reads everything of an issuer and compares it with its seal.
//!
//! Invariant: what is returned without an error is what was written, as of one commit. It does not know files.
//!
//! One thread walks the tree, hashes and decodes, another hands on. Ten million records take 2.5 s of that, which goes on
//! while the caller puts them where they belong; that takes longer.

use std::{
    collections::BTreeMap,
    sync::mpsc::{Receiver, SyncSender, channel, sync_channel},
    thread,
};

use redb::{ReadTransaction, ReadableTable as _};

use super::{
    Held, answered,
    codec::{decode, decode_mark, mark_key, range, scope_key},
    layout::{
        COMPLETE, CRL_MARKS, CRL_SCOPES, DELTA, HOLDS, ISSUERS, KEY, Made, RECORDS, SEALS, STAMPS, TENANTS, VERIFIED,
        damaged,
    },
    outbox,
    seal::{Kind, Seal},
};
use crate::{
    issuer_id::IssuerId,
    limits,
    pki::{Record, Serial, UnixTime},
    records::Origin,
    source::{CrlMark, CrlMarks, CrlScope, ScopeMarks},
    state_dir::damage::guarded,
};

/// The number of an issuer in this file.
pub(super) fn number_of(read: &ReadTransaction, issuer: &IssuerId) -> Result<Option<u32>, redb::Error> {
    Ok(read.open_table(ISSUERS)?.get(issuer.fingerprint())?.map(|guard| guard.value()))
}

/// The issuers whose tenants the file knows.
pub(super) fn named_issuers(read: &ReadTransaction) -> Result<Vec<IssuerId>, redb::Error> {
    let issuer = |(ca, tenant): (&[u8; 32], &str)| IssuerId::new(tenant, *ca);
    read.open_table(TENANTS)?.iter()?.map(|entry| Ok(issuer(entry?.1.value()))).collect()
}

/// Calls `each` with every record, in order of serial.
pub(super) fn load(
    read: &ReadTransaction,
    made: Made,
    issuer: &IssuerId,
    mut each: impl FnMut(Serial, Record, Origin),
) -> Result<Held, redb::Error> {
    let Some(number) = number_of(read, issuer)? else { return Ok(Held::nothing(made.identity)) };
    let each = |(serial, record, origin)| {
        each(serial, record, origin);
        true
    };
    let seal = records(read, number, each)?.unwrap_or_default();
    beside(read, made, issuer, number, seal)
}

/// The same until `each` returns false; `None` if it did, and where the file does not know the issuer.
pub(super) fn walk_issuer(
    read: &ReadTransaction,
    made: Made,
    issuer: &IssuerId,
    each: impl FnMut(Entry) -> bool,
) -> Result<Option<Held>, redb::Error> {
    let Some(number) = number_of(read, issuer)? else { return Ok(None) };
    let Some(seal) = records(read, number, each)? else { return Ok(None) };
    beside(read, made, issuer, number, seal).map(Some)
}

/// Reads what there is of an issuer beside records, and compares everything with its seal. `seal`: that of the records.
pub(super) fn beside(
    read: &ReadTransaction,
    made: Made,
    issuer: &IssuerId,
    number: u32,
    mut seal: Seal,
) -> Result<Held, redb::Error> {
    let crl_marks = marks(read, number, &mut seal)?;
    let verified = read.open_table(VERIFIED)?.get(number)?.map(|time| time.value());
    if let Some(time) = verified {
        seal.add(Kind::Verified, &number.to_be_bytes(), &time.to_be_bytes());
    }
    let stamps = read.open_table(STAMPS)?.get(number)?.map(|stamps| stamps.value().to_vec());
    if let Some(stamps) = &stamps {
        seal.add(Kind::Stamps, &number.to_be_bytes(), stamps);
    }
    outbox::seal(read, number, &mut seal)?;
    answered::seal(read, number, &mut seal)?;
    let sealed = read.open_table(SEALS)?.get(number)?.map(|seal| Seal::from_bytes(seal.value()));
    if sealed != Some(seal) {
        let tenant = issuer.tenant();
        return Err(damaged(&format!("the records of an issuer of `{tenant}` do not match their seal")));
    }
    Ok(Held { known: true, crl_marks, verified: verified.map(UnixTime), stamps, book: made.identity })
}

/// The marks of CRLs, which are added to the seal.
fn marks(read: &ReadTransaction, number: u32, seal: &mut Seal) -> Result<CrlMarks, redb::Error> {
    let former = read.open_table(CRL_MARKS)?;
    let mut mark = |kind| -> Result<Option<CrlMark>, redb::Error> {
        let Some(mark) = former.get((number, kind))? else { return Ok(None) };
        seal.add(Kind::CrlMark, &mark_key(number, kind), mark.value());
        Ok(Some(decode_mark(mark.value())))
    };
    let (complete, delta) = (mark(COMPLETE)?, mark(DELTA)?);
    let former = CrlMarks::of_one(complete, delta, mark(HOLDS)?.map(|mark| CrlScope(mark.digest)));
    let (mut scopes, mut holds) = (BTreeMap::new(), None::<Vec<_>>);
    let (first, last) = ((number, 0, &[0; 32]), (number, u8::MAX, &[0xff; 32]));
    for row in read.open_table(CRL_SCOPES)?.range::<(u32, u8, &[u8; 32])>(first..=last)? {
        let (key, value) = row?;
        let (_, kind, scope) = key.value();
        seal.add(Kind::CrlMark, &scope_key(number, kind, scope), value.value());
        let scope = CrlScope(*scope);
        let none = ScopeMarks { scope, complete: None, delta: None };
        match kind {
            COMPLETE => scopes.entry(scope).or_insert(none).complete = Some(decode_mark(value.value())),
            DELTA => scopes.entry(scope).or_insert(none).delta = Some(decode_mark(value.value())),
            HOLDS => holds.get_or_insert_default().push(scope),
            _ => drop(holds.get_or_insert_default()),
        }
    }
    if scopes.is_empty() && holds.is_none() {
        return Ok(former);
    }
    Ok(CrlMarks::new(scopes.into_values(), holds))
}

pub(super) type Entry = (Serial, Record, Origin);

/// Calls `each` with every record of an issuer, in order, until it returns false. Returns the seal of all of them; `None`
/// if it did not come to the end.
pub(super) fn records(
    read: &ReadTransaction,
    issuer: u32,
    mut each: impl FnMut(Entry) -> bool,
) -> Result<Option<Seal>, redb::Error> {
    let (walked, parts) = sync_channel::<Vec<Entry>>(limits::BOOK_LOAD_PARTS);
    let (used, unused) = channel();
    thread::scope(|scope| {
        let walk = move || guarded(|| walk(read, issuer, walked, &unused));
        let walker = thread::Builder::new().name("book".into()).spawn_scoped(scope, walk)?;
        let mut is_whole = true;
        for mut part in &parts {
            is_whole = part.drain(..).all(&mut each);
            let _ = used.send(part);
            if !is_whole {
                break;
            }
        }
        // Nobody takes more: that ends the other thread.
        drop(parts);
        let seal = walker.join().map_err(|_| damaged("its records cannot be walked"))?;
        Ok(Some(seal?).filter(|_| is_whole))
    })
}

/// Sends all records in parts. `unused`: parts whose memory can be used again.
fn walk(
    read: &ReadTransaction,
    issuer: u32,
    walked: SyncSender<Vec<Entry>>,
    unused: &Receiver<Vec<Entry>>,
) -> Result<Seal, redb::Error> {
    let (mut seal, mut part) = (Seal::default(), Vec::new());
    let (first, last) = range(issuer);
    for entry in read.open_table(RECORDS)?.range::<&[u8; KEY]>(&first..=&last)? {
        let (key, value) = entry?;
        seal.add(Kind::Record, key.value(), value.value());
        part.extend(decode(key.value(), value.value()));
        if part.len() == limits::BOOK_LOAD_PART {
            if walked.send(part).is_err() {
                return Ok(seal);
            }
            part = unused.try_recv().unwrap_or_else(|_| Vec::with_capacity(limits::BOOK_LOAD_PART));
        }
    }
    let _ = walked.send(part);
    Ok(seal)
}
