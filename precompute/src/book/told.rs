//! The records as others were told them last.
//!
//! Purpose: whoever takes these, and follows what is told from the place on, has what the others have. Invariant: of a
//! record with a row in the outbox, or a debt, it is the value that was told last; of every other one its present value;
//! all of one commit, with the place. It does not know what a snapshot is.

use std::iter::Peekable;

use redb::{AccessGuard, ReadOnlyTable, ReadTransaction, StorageError};

use super::{
    BookReader, Place,
    codec::{decode, range},
    layout::{DEBTS, KEY, OUTBOX, RECORDS, VALUE},
    loading::number_of,
    outbox, place,
};
use crate::{issuer_id::IssuerId, records::Change, state_dir::StateError};

impl BookReader {
    /// The place in the feed that the records are from; `None` if there is none.
    pub fn place(&self) -> Result<Option<Place>, StateError> {
        self.run(|| place::read(&self.read, self.made.identity))
    }

    /// Calls `each` with every record of `issuer` as it was told last, in order of serial, until it returns false. Returns
    /// whether it came to the end.
    pub fn each_told(&self, issuer: &IssuerId, mut each: impl FnMut(Change) -> bool) -> Result<bool, StateError> {
        self.run(|| {
            let Some(number) = number_of(&self.read, issuer)? else { return Ok(true) };
            each_told(&self.read, number, &mut each)
        })
    }
}

/// Values in the order of their keys.
type Values<'a> = Peekable<Box<dyn Iterator<Item = Result<([u8; KEY], Option<Change>), redb::Error>> + 'a>>;

fn each_told(read: &ReadTransaction, issuer: u32, each: &mut impl FnMut(Change) -> bool) -> Result<bool, redb::Error> {
    let (rows, debts) = (read.open_table(OUTBOX)?, read.open_table(DEBTS)?);
    let records = read.open_table(RECORDS)?;
    let mut present = values(&records, issuer, |key, value: &[u8; VALUE]| Ok(change(key, Some(value))))?;
    // A record has a row or a debt, never both.
    let mut untold = [
        values(&rows, issuer, |key, row: &[u8]| Ok(change(key, outbox::former_of_row(row)?)))?,
        values(&debts, issuer, |key, row: &[u8]| Ok(change(key, outbox::former(row)?)))?,
    ];
    loop {
        let key = [&mut present].into_iter().chain(&mut untold).filter_map(key_of).min();
        let Some(key) = key else { break };
        let mut next = |values: &mut Values<'_>| if key_of(values) == Some(key) { values.next() } else { None };
        let record = next(&mut present);
        let former = untold.iter_mut().find_map(&mut next);
        if let Some(told) = former.or(record).transpose()?.and_then(|(_, told)| told)
            && !each(told)
        {
            return Ok(false);
        }
    }
    Ok(true)
}

fn values<'a, V: redb::Value + 'static>(
    table: &'a ReadOnlyTable<&'static [u8; KEY], V>,
    issuer: u32,
    read: impl for<'v> Fn(&[u8; KEY], V::SelfType<'v>) -> Result<Option<Change>, redb::Error> + 'a,
) -> Result<Values<'a>, redb::Error> {
    let (first, last) = range(issuer);
    let entries = table.range::<&[u8; KEY]>(&first..=&last)?;
    let entry = move |entry: Result<(AccessGuard<'a, &'static [u8; KEY]>, AccessGuard<'a, V>), StorageError>| {
        let (key, value) = entry?;
        let key = *key.value();
        Ok((key, read(&key, value.value())?))
    };
    let entries: Box<dyn Iterator<Item = _> + 'a> = Box::new(entries.map(entry));
    Ok(entries.peekable())
}

/// The key of the next value; of one that cannot be read the lowest, so that it is next.
fn key_of(values: &mut Values<'_>) -> Option<[u8; KEY]> {
    values.peek().map(|next| next.as_ref().map_or([0; KEY], |(key, _)| *key))
}

fn change(key: &[u8; KEY], value: Option<&[u8; VALUE]>) -> Option<Change> {
    let (serial, record, origin) = decode(key, value?)?;
    Some(Change::new(serial, Some(record)).by(origin))
}

#[cfg(test)]
mod tests;
