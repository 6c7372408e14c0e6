//! Recovers what can be read from a damaged book.
//!
//! Purpose: the operator has decided to continue without a backup; then no revocation that is still readable may be
//! lost. Invariant: the damaged file is only read, and put aside. An issuer whose seal holds is copied as it is (`whole`).
//! Of the others the new book holds only revocations; their sources say which certificates are good. One that was pushed
//! as good may have lost its revocation to the damage, so it is not taken over: it is listed for the operator, who can
//! push it again. The tables are read first, from both ends; what they do not yield is searched in every page of the
//! file. An older copy of a page can only add revocations, and adds none if the tables were read whole. It does not know
//! sources.

mod pages;
mod told;
mod whole;
mod whose;

pub use self::told::{OfIssuer, Salvaged};

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    fs::{File, TryLockError},
    io::Write as _,
    path::{Path, PathBuf},
};

use redb::{
    Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, TableDefinition,
};

use self::{whole::Whole, whose::Evidence};
use super::{
    Batch, Book,
    codec::{decode, decode_value, version_of},
    database, describe,
    layout::{
        ANSWERED, ANSWERED_ORDER, CRL_MARKS, CRL_SCOPES, DEBTS, KEY, OUTBOX, OUTBOX_ORDER, RECORDS, SEALS, STAMPS,
        VALUE, VERIFIED, damaged,
    },
    overlay::Overlay,
    seal::Seal,
};
use crate::{
    issuer_id::IssuerId,
    pki::{Reason, Serial},
    records::Change,
    state_dir::{BOOK, OF_DIRECTORY, StateError, behind, damage::guarded, lock_patiently, unused},
};

/// Makes a new book from the readable parts of a damaged one; `None` if it is in order, or there is none. `configured`:
/// the issuers to which records may belong if the book does not say. If nothing can be read, that is an error and
/// nothing changes.
pub fn salvage(state_dir: &Path, configured: &[IssuerId]) -> Result<Option<Salvaged>, StateError> {
    let path = state_dir.join(BOOK);
    if !path.exists() {
        return Ok(None);
    }
    let problem = |what: &str, error| StateError::new(&path, format!("{what}: {error}"), OF_DIRECTORY);
    // The file itself is put aside and replaced, in its own directory, not a link to it.
    let real = fs::canonicalize(&path).map_err(|error| problem("cannot be found", error))?;
    // The same lock as redb's, because opening the file with redb would already write to it. Held until the new book is
    // in place.
    let _lock = lock(&real)?;
    if is_in_order(state_dir)? {
        return Ok(None);
    }
    let aside = unused(&behind(&real, ".damaged"));
    let beside = real.parent().unwrap_or(state_dir).join("salvaged");
    // An earlier attempt may have been killed.
    let _ = fs::remove_dir_all(&beside);
    let mut book = Book::open(&beside)?;
    let salvaged = fill(&mut book, state_dir, &real, &aside, configured);
    drop(book);
    let salvaged = salvaged.inspect_err(|_| _ = fs::remove_dir_all(&beside))?;
    // There is a book at every instant.
    fs::hard_link(&real, &aside).map_err(|error| problem("cannot be put aside", error))?;
    fs::rename(beside.join(BOOK), &real).map_err(|error| problem("cannot be replaced", error))?;
    let _ = fs::remove_dir_all(&beside);
    Ok(Some(salvaged))
}

/// Writes into the new book what can be read of the damaged one.
fn fill(
    book: &mut Book,
    state_dir: &Path,
    real: &Path,
    aside: &Path,
    configured: &[IssuerId],
) -> Result<Salvaged, StateError> {
    let whole = Whole::copy(state_dir, book)?;
    let (records, at_least, mut evidence) = read(real, &whole);
    let entries = whole.records + records.count();
    if entries == 0 && at_least != Some(0) {
        let held = at_least.map_or("records".into(), |at_least| format!("at least {at_least} records"));
        let what = format!("the book is damaged, held {held}, and none of them can be read: nothing was changed");
        let remedy = "restore it from a backup; if you move it away, a new one is made from the sources, and every revocation that only it held is lost";
        return Err(StateError::new(real, what, remedy));
    }
    let mut whose = evidence.assign(configured);
    if records.revoked.keys().any(|key| !whose.contains_key(&number_of(key))) {
        evidence.look(real, configured);
        whose = evidence.assign(configured);
    }
    let (of_issuers, unassigned) = records.sort_by_issuer(&whose);
    let mut issuers = whole.issuers;
    for (issuer, OfDamaged { changes, withheld }) in of_issuers {
        if !changes.is_empty() {
            let identity = book.identity()?;
            book.commit(&Batch { changes: &changes, ..Batch::new(issuer, identity) })?;
        }
        let list = if withheld.is_empty() { None } else { Some(write_list(aside, issuer, &withheld)?) };
        let (revoked, withheld) = (changes.len() as u64, withheld.len() as u64);
        issuers.push(OfIssuer { issuer: issuer.clone(), is_whole: false, good: 0, revoked, withheld, list });
    }
    whole::succeed(book, &whole.successions, &issuers)?;
    let revocations = issuers.iter().map(|issuer| issuer.revoked).sum::<u64>() as usize;
    Ok(Salvaged { aside: aside.to_owned(), revocations, unassigned, entries, at_least, issuers })
}

/// Lists certificates as `ostia-precompute add --file` takes them; returns where.
fn write_list(aside: &Path, issuer: &IssuerId, withheld: &[Change]) -> Result<PathBuf, StateError> {
    let path = unused(&behind(aside, &format!(".{issuer}.csv")));
    let mut text = String::from("serial,not_after\n");
    for change in withheld {
        let end = change.record.and_then(|record| record.not_after);
        text.push_str(&format!("{},{}\n", change.serial, end.map_or(String::new(), |end| end.0.to_string())));
    }
    let written = File::create_new(&path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| StateError::new(&path, format!("cannot be written: {error}"), OF_DIRECTORY))?;
    Ok(path)
}

fn lock(path: &Path) -> Result<File, StateError> {
    let error = |error: redb::Error| describe(path, &error, false);
    let file = File::open(path).map_err(|problem| error(redb::Error::Io(problem)))?;
    match lock_patiently(&file) {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(error(redb::Error::DatabaseAlreadyOpen)),
        Err(TryLockError::Error(problem)) => Err(error(redb::Error::Io(problem))),
    }
}

/// Whether every seal holds. An error if that cannot be determined.
fn is_in_order(state_dir: &Path) -> Result<bool, StateError> {
    let all = || {
        let Some(mut book) = Book::look(state_dir)? else { return Ok(()) };
        for issuer in book.issuers()? {
            book.load(&issuer, |_, _, _| ())?;
        }
        book.place()?;
        Ok(())
    };
    match all() {
        Ok(()) => Ok(true),
        Err(error) if StateError::is_damage(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

type RecordKey = [u8; KEY];
type Value = [u8; VALUE];

/// An answer cannot state a time after 9999-12-31.
const LAST_TIME: u64 = 253_402_300_799;

fn number_of(key: &RecordKey) -> u32 {
    u32::from_be_bytes([key[0], key[1], key[2], key[3]])
}

fn u64_at(value: &Value, at: usize) -> u64 {
    u64::from_be_bytes(std::array::from_fn(|i| value[at + i]))
}

/// What was read of the records.
#[derive(Debug, Default)]
struct Records {
    revoked: BTreeMap<RecordKey, Value>,
    /// Records that the tables say are good.
    good: BTreeSet<RecordKey>,
    /// Records that only a single page says were good once.
    seen: BTreeSet<RecordKey>,
    /// Those of either that were pushed.
    pushed: BTreeMap<RecordKey, Value>,
    /// The issuers that were copied as they are.
    whole: BTreeSet<u32>,
}

/// What was read of a damaged issuer; in order of serial.
#[derive(Debug, Default)]
struct OfDamaged {
    /// The changes for the new book.
    changes: Vec<Change>,
    /// Those that were pushed as good.
    withheld: Vec<Change>,
}

impl Records {
    /// Takes an entry. `by_table`: it is true now, and not only what a page once said.
    fn take(&mut self, key: RecordKey, value: Value, by_table: bool) {
        let is_none = value == [0; VALUE] || Serial::from_magnitude(&key[4..]).is_none();
        if is_none || self.whole.contains(&number_of(&key)) {
            return;
        }
        // A good record has no reason and no time; a record with a damaged tag counts as revoked.
        if value[..10] == [0; 10] {
            if decode_value(&value).1.is_pushed() {
                self.pushed.entry(key).or_insert(value);
            }
            if by_table {
                self.good.insert(key);
            } else {
                self.seen.insert(key);
            }
            return;
        }
        if !by_table && !is_final(&value) && self.good.contains(&key) {
            return;
        }
        let kept = self.revoked.entry(key).or_insert(value);
        let rank = |value: &Value| (is_final(value), version_of(value));
        if rank(&value) > rank(kept) {
            *kept = value;
        }
    }

    fn count(&self) -> u64 {
        let good = self.good.union(&self.seen).filter(|key| !self.revoked.contains_key(*key));
        (self.revoked.len() + good.count()) as u64
    }

    /// What each issuer has, and how many revocations have no known issuer.
    fn sort_by_issuer<'a>(&self, whose: &'a BTreeMap<u32, IssuerId>) -> (Vec<(&'a IssuerId, OfDamaged)>, usize) {
        let damaged = whose.iter().filter(|(number, _)| !self.whole.contains(number));
        let mut sorted: BTreeMap<_, _> = damaged.map(|(_, issuer)| (issuer, OfDamaged::default())).collect();
        let mut unassigned = 0;
        for (key, value) in &self.revoked {
            match whose.get(&number_of(key)).and_then(|issuer| sorted.get_mut(issuer)) {
                Some(of) => of.changes.extend(change(key, &revocation(value))),
                None => unassigned += 1,
            }
        }
        for (key, value) in self.pushed.iter().filter(|(key, _)| !self.revoked.contains_key(*key)) {
            if let Some(of) = whose.get(&number_of(key)).and_then(|issuer| sorted.get_mut(issuer)) {
                of.withheld.extend(change(key, value));
            }
        }
        for OfDamaged { changes, withheld } in sorted.values_mut() {
            // Two numbers may be of one issuer.
            for some in [&mut *changes, withheld] {
                some.sort_by_key(|change| change.serial);
                some.dedup_by_key(|change| change.serial);
            }
            withheld.retain(|change| changes.binary_search_by_key(&change.serial, |change| change.serial).is_err());
        }
        (sorted.into_iter().collect(), unassigned)
    }
}

fn change(key: &RecordKey, value: &Value) -> Option<Change> {
    let (serial, record, origin) = decode(key, value)?;
    Some(Change::new(serial, Some(record)).by(origin))
}

fn is_final(value: &Value) -> bool {
    value[1] != Reason::CertificateHold.code()
}

/// The value of a revocation, with a damaged tag or time replaced by one that is surely revoked.
fn revocation(value: &Value) -> Value {
    let mut value = *value;
    value[0] = value[0].max(1);
    for at in [2, 10] {
        if u64_at(&value, at) > LAST_TIME {
            value[at..at + 8].fill(0);
        }
    }
    value
}

/// The records of issuers that are not whole, a lower bound of the number of all, and what the tables say about their issuers.
fn read(path: &Path, whole: &Whole) -> (Records, Option<u64>, Evidence) {
    let (mut evidence, mut at_least) = (Evidence::default(), None);
    let mut records = Records { whole: whole.numbers.clone(), ..Records::default() };
    let most = fs::metadata(path).map_or(0, |metadata| metadata.len()) / (KEY + VALUE) as u64;
    let mut is_whole = true;
    for backwards in [false, true] {
        // Each look opens the file again: after a panic, nothing of redb's is reused.
        let _ = look(path, |read| evidence.read_issuers(read, backwards));
        let _ = look(path, |read| evidence.read_tenants(read, backwards));
        is_whole &= look(path, |read| read_records(read, backwards, most, &mut records)).is_some();
    }
    for count in [count_by_table, count_by_seals] {
        let counted = look(path, count).filter(|counted| *counted <= most);
        at_least = at_least.max(counted);
    }
    if !is_whole || at_least.is_some_and(|at_least| whole.records + records.count() < at_least) {
        pages::records(path, |key, value| records.take(key, value, false));
    }
    (records, at_least, evidence)
}

/// The result of `step`; `None` on an error. An error during the close is ignored.
fn look<T>(path: &Path, step: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>) -> Option<T> {
    let mut found = None;
    let _ = guarded(|| {
        let database = open(path)?;
        found = Some(step(&database.begin_read()?)?);
        Ok(())
    });
    found
}

fn open(path: &Path) -> Result<Database, redb::Error> {
    Ok(database().create_with_backend(Overlay::new(File::open(path)?)?)?)
}

fn count_by_table(read: &ReadTransaction) -> Result<u64, redb::Error> {
    Ok(read.open_table(RECORDS)?.len()?)
}

/// Sealed entries that are not records are subtracted.
fn count_by_seals(read: &ReadTransaction) -> Result<u64, redb::Error> {
    let mut sealed = 0u64;
    for entry in read.open_table(SEALS)?.iter()? {
        sealed = sealed.saturating_add(Seal::from_bytes(entry?.1.value()).entries());
    }
    let of_format_2 = read.open_table(CRL_MARKS)?.len()? + read.open_table(VERIFIED)?.len()?;
    let others = [
        of_format_2,
        len_if_there(read, CRL_SCOPES)?,
        len_if_there(read, OUTBOX)?,
        len_if_there(read, OUTBOX_ORDER)?,
        len_if_there(read, ANSWERED)?,
        len_if_there(read, ANSWERED_ORDER)?,
        len_if_there(read, STAMPS)?,
        len_if_there(read, DEBTS)?,
    ];
    Ok(sealed.saturating_sub(others.into_iter().fold(0, u64::saturating_add)))
}

/// An earlier format does not have every table.
fn len_if_there<K: redb::Key + 'static, V: redb::Value + 'static>(
    read: &ReadTransaction,
    table: TableDefinition<'_, K, V>,
) -> Result<u64, redb::Error> {
    match read.open_table(table) {
        Ok(table) => Ok(table.len()?),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Also an error if the entries are out of order, or more than `most`, which is what fits into the file.
fn read_records(read: &ReadTransaction, backwards: bool, most: u64, records: &mut Records) -> Result<(), redb::Error> {
    let table = read.open_table(RECORDS)?;
    let mut entries = table.iter()?;
    let (mut before, mut in_order, mut count) = (None, true, 0);
    while let Some(entry) = if backwards { entries.next_back() } else { entries.next() } {
        let (key, value): (redb::AccessGuard<'_, &RecordKey>, redb::AccessGuard<'_, &Value>) = entry?;
        let key = *key.value();
        in_order &= before.is_none_or(|before| if backwards { key < before } else { key > before });
        before = Some(key);
        records.take(key, *value.value(), true);
        count += 1;
        if count > most {
            return Err(damaged("it has more records than it has room"));
        }
    }
    if in_order { Ok(()) } else { Err(damaged("its records are not in order")) }
}

#[cfg(test)]
mod tests;
