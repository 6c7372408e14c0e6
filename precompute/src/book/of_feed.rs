//! What a book does for those who tell the feed, or follow it.
//!
//! Invariant: nothing here moves the place but from where the caller believes it to be. It does not know what an entry is.

use std::collections::BTreeMap;

use redb::{Durability, ReadTransaction, ReadableDatabase as _, ReadableTable as _};

use super::{
    Batch, Book, Joint, Move, Owed, Place, Told,
    codec::{decode_value, key},
    layout::{ISSUERS, KEY, RECORDS, damaged},
    loading::number_of,
    outbox, place,
    writing::{self, write},
};
use crate::{
    issuer_id::IssuerId,
    limits,
    pki::Serial,
    records::{Change, Origin},
    state_dir::StateError,
};

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

    /// Up to `most` rows of the outboxes of all issuers, as their records are in the book: those of pushes first. Issuers
    /// take turns.
    pub fn owed(&mut self, most: usize) -> Result<Vec<Told>, StateError> {
        self.run(|database, _| {
            let read = database.begin_read()?;
            let rows = outbox::next(&read, most)?;
            let of = |((issuer, change), (_, version))| Told { issuer, change, version };
            Ok(present(&read, rows.iter().map(|(key, _)| *key))?.into_iter().zip(rows).map(of).collect())
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

    /// Whether an issuer has anything in the outbox or among the debts: then its records are not what was told.
    pub fn has_untold(&mut self, issuer: &IssuerId) -> Result<bool, StateError> {
        self.run(|database, _| {
            let read = database.begin_read()?;
            number_of(&read, issuer)?.map_or(Ok(false), |number| outbox::has_any(&read, number))
        })
    }

    /// The place in the feed that the records are from; `None` if there is none.
    pub fn place(&mut self) -> Result<Option<Place>, StateError> {
        self.run(|database, made| place::read(&database.begin_read()?, made.identity))
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
    /// [`limits::BOOK_TOLD_UNFLUSHED_MAX`] of these; after a crash before that, rows and place are as they were.
    pub fn told(&mut self, place: Option<Move>, told: &[Told]) -> Result<(), StateError> {
        let made = self.ready()?;
        self.is_at(place)?;
        let is_flushed = self.unflushed >= limits::BOOK_TOLD_UNFLUSHED_MAX;
        self.write(|database| {
            let mut transaction = database.begin_write()?;
            if is_flushed {
                transaction.set_quick_repair(true);
            } else {
                transaction.set_durability(Durability::None)?;
            }
            writing::told(&transaction, told)?;
            place.map_or(Ok(()), |to| place::write(&transaction, made.identity, to.to))?;
            Ok(transaction.commit()?)
        })?;
        self.unflushed = if is_flushed { 0 } else { self.unflushed + 1 };
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
