//! What a book does for those who tell the feed, or follow it.
//!
//! Invariant: nothing here moves the place but from where the caller believes it to be. It does not know what an entry is.
//!
//! Who leads asks at each step where it is and what is to be told, mostly in vain: what was read is remembered until the
//! next commit that may change it, or until the file is closed. That it is still the open file is looked at each time.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use redb::{Durability, ReadTransaction, ReadableDatabase as _, ReadableTable as _};

use super::{
    Batch, Book, Joint, Move, Owed, Place, Told,
    codec::{decode_value, key},
    hashes,
    layout::{ISSUERS, KEY, RECORDS, damaged},
    loading::number_of,
    outbox, place,
    writing::{self, write},
};
use crate::{
    issuer_id::IssuerId,
    limits,
    pki::{Record, Serial},
    records::{CertificateHash, Change, Origin},
    state_dir::StateError,
};

/// What the open file has for the feed, as far as it was read since.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    place: Option<Option<Place>>,
    /// No issuer has a row in the outbox.
    owes_nothing: bool,
    /// Who has rows or debts.
    untold: Option<Arc<HashSet<[u8; 32]>>>,
}

impl Book {
    /// Up to `most` rows of what was committed as owed and not told yet, in the order of versions.
    pub fn outbox(&mut self, issuer: &IssuerId, most: usize) -> Result<Vec<Owed>, StateError> {
        self.run(|database, _| {
            let read = database.begin_read()?;
            number_of(&read, issuer)?.map_or(Ok(Vec::new()), |number| outbox::list(&read, number, most))
        })
    }

    /// The row of one record in it, if there is one.
    pub fn owed_of(&mut self, issuer: &IssuerId, serial: &Serial) -> Result<Option<Owed>, StateError> {
        self.run(|database, _| {
            let read = database.begin_read()?;
            number_of(&read, issuer)?
                .map_or(Ok(None), |number| outbox::find(&read, &key(number, *serial.padded()), *serial))
        })
    }

    /// What others were told last of a record that has no row: of one that they contradict it is what they said.
    pub fn told_last(&mut self, issuer: &IssuerId, serial: &Serial) -> Result<Option<(Record, Origin)>, StateError> {
        self.run(|database, _| {
            let read = database.begin_read()?;
            let Some(number) = number_of(&read, issuer)? else { return Ok(None) };
            let key = key(number, *serial.padded());
            if let Some(debt) = outbox::debt(&read, &key)? {
                return Ok(debt);
            }
            let value = read.open_table(RECORDS)?.get(&key)?;
            Ok(value.map(|value| decode_value(value.value())))
        })
    }

    /// Up to `most` rows of the outboxes of all issuers, as their records are in the book: those of pushes first. Issuers
    /// take turns.
    pub fn owed(&mut self, most: usize) -> Result<Vec<Told>, StateError> {
        self.ready()?;
        if self.remembered.owes_nothing {
            return Ok(Vec::new());
        }
        let owed: Vec<Told> = self.run(|database, _| {
            let read = database.begin_read()?;
            let rows = outbox::next(&read, most)?;
            let of = |((issuer, change), (_, version))| Told { issuer, change, version };
            Ok(present(&read, rows.iter().map(|(key, _)| *key))?.into_iter().zip(rows).map(of).collect())
        })?;
        self.remembered.owes_nothing = owed.is_empty() && most > 0;
        Ok(owed)
    }

    /// The hash of each of these certificates, if it was pushed.
    pub fn hashes_of<'s>(
        &mut self,
        issuer: &IssuerId,
        serials: impl Iterator<Item = &'s Serial>,
    ) -> Result<Vec<Option<CertificateHash>>, StateError> {
        self.run(|database, _| hashes::of(&database.begin_read()?, issuer, serials))
    }

    /// Up to `most` rows of an issuer whose serials are behind `after`, in their order.
    pub fn owed_behind(
        &mut self,
        issuer: &IssuerId,
        after: Option<Serial>,
        most: usize,
    ) -> Result<Vec<Owed>, StateError> {
        self.run(|database, _| {
            let read = database.begin_read()?;
            number_of(&read, issuer)?.map_or(Ok(Vec::new()), |number| outbox::behind(&read, number, after, most))
        })
    }

    /// Those of `said` that an issuer's records in the book do not say, or that have a row or a debt; in the same order.
    pub fn not_as_told(&mut self, issuer: &IssuerId, said: &[Change]) -> Result<Vec<Change>, StateError> {
        self.run(|database, _| {
            let read = database.begin_read()?;
            let Some(number) = number_of(&read, issuer)? else { return Ok(said.to_vec()) };
            let (records, untold) = (read.open_table(RECORDS)?, outbox::Untold::open(&read)?);
            let mut others = Vec::new();
            for change in said {
                let key = key(number, *change.serial.padded());
                let is_said = writing::says(records.get(&key)?.as_ref().map(|value| value.value()), change);
                if !is_said || untold.has(&key)? {
                    others.push(*change);
                }
            }
            Ok(others)
        })
    }

    /// Up to `most` final revocations that others contradict, of all issuers (by their fingerprints), behind `after`.
    pub fn debts(
        &mut self,
        after: Option<([u8; 32], Serial)>,
        most: usize,
    ) -> Result<Vec<([u8; 32], Change)>, StateError> {
        self.run(|database, _| {
            let read = database.begin_read()?;
            let after = match after {
                None => None,
                Some((issuer, serial)) => {
                    let number = read.open_table(ISSUERS)?.get(&issuer)?.map(|guard| guard.value());
                    number.map(|number| key(number, *serial.padded()))
                }
            };
            present(&read, outbox::debts(&read, after, most)?.into_iter())
        })
    }

    /// The issuers, by their fingerprints, that have anything in the outbox or among the debts: their records are not
    /// what was told.
    pub fn untold(&mut self) -> Result<Arc<HashSet<[u8; 32]>>, StateError> {
        self.ready()?;
        if let Some(untold) = &self.remembered.untold {
            return Ok(Arc::clone(untold));
        }
        let untold: HashSet<[u8; 32]> = self.run(|database, _| {
            let read = database.begin_read()?;
            let numbers = outbox::issuers(&read)?;
            if numbers.is_empty() {
                return Ok(HashSet::new());
            }
            let mut found = HashSet::new();
            for entry in read.open_table(ISSUERS)?.iter()? {
                let (fingerprint, number) = entry?;
                if numbers.contains(&number.value()) {
                    found.insert(*fingerprint.value());
                }
            }
            Ok(found)
        })?;
        let untold = Arc::new(untold);
        self.remembered.untold = Some(Arc::clone(&untold));
        Ok(untold)
    }

    /// Whether an issuer is one of them.
    pub fn has_untold(&mut self, issuer: &IssuerId) -> Result<bool, StateError> {
        Ok(self.untold()?.contains(issuer.fingerprint()))
    }

    /// The place in the feed that the records are from; `None` if there is none.
    pub fn place(&mut self) -> Result<Option<Place>, StateError> {
        self.ready()?;
        if let Some(place) = self.remembered.place {
            return Ok(place);
        }
        let place = self.run(|database, made| place::read(&database.begin_read()?, made.identity))?;
        self.remembered.place = Some(place);
        Ok(place)
    }

    /// The same of several issuers at once; returns the version. It also fails if the book is at another place in the feed
    /// than `joint` says.
    pub fn commit_all(&mut self, joint: &Joint<'_>) -> Result<u64, StateError> {
        let made = self.ready()?;
        joint.batches.iter().try_for_each(|batch| self.is_for(made, batch))?;
        self.is_at(joint.place)?;
        let committed = self.flush(|transaction, version| {
            let mut written = 0;
            for batch in joint.batches {
                written += write(transaction, &Batch { is_wanted: &|| false, ..*batch }, version)?;
            }
            joint.place.map_or(Ok(()), |to| place::write(transaction, made.identity, to.to))?;
            Ok(written)
        })?;
        self.remembered.place = joint.place.map(|place| place.to);
        Ok(committed.version)
    }

    fn is_at(&mut self, place: Option<Move>) -> Result<(), StateError> {
        let Some(Move { from, .. }) = place else { return Ok(()) };
        let there = self.place()?;
        if there == from {
            return Ok(());
        }
        let told = |place: Option<Place>| place.map_or("no place".into(), |place| place.to_string());
        let problem = format!("is at {} in the feed, not at {} as was assumed", told(there), told(from));
        Err(StateError::new(&self.path, problem, "nothing was written, and the feed is read again from there"))
    }

    /// Notes that rows of the outbox were told, best sorted by issuer, and the place where. One that has changed since
    /// stays, with this as what was told last. It is on disk with the next commit, or after
    /// [`limits::BOOK_TOLD_UNFLUSHED_MAX`] of these; after a crash before that, rows and place are as they were. Where a push
    /// is among them that is no final revocation, it is on disk at once: its row would be undone after a crash by which the
    /// feed is lost as well, and it is acknowledged when it was told.
    pub fn told(&mut self, place: Option<Move>, told: &[Told]) -> Result<(), StateError> {
        let made = self.ready()?;
        self.is_at(place)?;
        let mut is_flushed = self.unflushed >= limits::BOOK_TOLD_UNFLUSHED_MAX;
        let remembered = std::mem::take(&mut self.remembered);
        self.write(|database| {
            let mut transaction = database.begin_write()?;
            is_flushed |= writing::told(&transaction, told)?;
            place.map_or(Ok(()), |to| place::write(&transaction, made.identity, to.to))?;
            if is_flushed {
                transaction.set_quick_repair(true);
            } else {
                transaction.set_durability(Durability::None)?;
            }
            Ok(transaction.commit()?)
        })?;
        self.unflushed = if is_flushed { 0 } else { self.unflushed + 1 };
        // The place alone has changed, or rows as well.
        if told.is_empty() {
            self.remembered = remembered;
        }
        self.remembered.place = place.map(|place| place.to);
        Ok(())
    }

    /// Makes rows of the outbox of up to [`limits::BOOK_SAVE_CHUNK`] debts: this process tells them itself. True if there
    /// are more: then the caller calls again, so that it keeps nobody from the book.
    pub fn owe_debts(&mut self) -> Result<bool, StateError> {
        if self.debts(None, 1)?.is_empty() {
            return Ok(false);
        }
        let mut more = false;
        self.flush(|transaction, version| {
            more = writing::owe_debts(transaction, version, limits::BOOK_SAVE_CHUNK)?;
            Ok(0)
        })?;
        Ok(more)
    }
}

/// The records with these keys, each with its issuer's fingerprint.
fn present(
    read: &ReadTransaction,
    keys: impl ExactSizeIterator<Item = [u8; KEY]>,
) -> Result<Vec<([u8; 32], Change)>, redb::Error> {
    if keys.len() == 0 {
        return Ok(Vec::new());
    }
    let mut issuers = BTreeMap::new();
    for entry in read.open_table(ISSUERS)?.iter()? {
        let (fingerprint, number) = entry?;
        issuers.insert(number.value(), *fingerprint.value());
    }
    let records = read.open_table(RECORDS)?;
    let of = |key: [u8; KEY]| {
        let issuer = issuers.get(&outbox::number(&key)).ok_or_else(|| damaged("its outbox has an unknown issuer"))?;
        let serial = Serial::from_magnitude(&key[4..]).ok_or_else(|| damaged("its outbox has a serial of 0"))?;
        let known = records.get(&key)?.map(|value| decode_value(value.value()));
        let (record, origin) = known.map_or((None, Origin::SOURCE), |(record, origin)| (Some(record), origin));
        Ok((*issuer, Change::new(serial, record).by(origin)))
    };
    keys.map(of).collect()
}
