//! The outbox: what was committed and not told to anybody yet.
//!
//! Purpose: whoever tells changes to others (the feed) can go on after a crash where it ended, or undo what nobody was
//! told. Invariant: a row is written in the commit of its change and has the record's value that was told last, however
//! often the record has changed since. Every row has one place in the order of versions. It does not know to whom
//! anything is told.

use redb::{ReadTransaction, ReadableTable as _, Table, WriteTransaction};

use super::{
    codec::{decode_value, key, range},
    layout::{KEY, ORDER, OUTBOX, OUTBOX_ORDER, VALUE, damaged},
    seal::{Kind, Seal},
};
#[cfg(test)]
use crate::left_out::{Rule, is_left_out};
use crate::{
    pki::{Record, Serial},
    records::Origin,
};

/// A changed record that was not told yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owed {
    /// The serial. What is to be told of it is its present record.
    pub serial: Serial,
    /// What was told last; `None` if there was no record.
    pub former: Option<(Record, Origin)>,
    /// The commit that changed it last.
    pub version: u64,
}

/// The outbox of all issuers while a commit is written.
pub(super) struct Outbox<'a> {
    rows: Table<'a, &'static [u8; KEY], &'static [u8]>,
    order: Table<'a, &'static [u8; ORDER], ()>,
}

impl<'a> Outbox<'a> {
    pub(super) fn open(transaction: &'a WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self { rows: transaction.open_table(OUTBOX)?, order: transaction.open_table(OUTBOX_ORDER)? })
    }

    /// Notes a change of the record with this key. `before`: the value that it replaces.
    pub(super) fn owe(
        &mut self,
        seal: &mut Seal,
        key: &[u8; KEY],
        before: Option<&[u8; VALUE]>,
        version: u64,
    ) -> Result<(), redb::Error> {
        let known = self.rows.get(key)?.map(|row| row.value().to_vec());
        let former = match &known {
            Some(row) => {
                let (version, former) = split(row)?;
                seal.remove(Kind::Owed, key, row);
                self.take_from_order(seal, &order(key, version))?;
                former.copied()
            }
            None => before.copied(),
        };
        #[cfg(test)]
        let former = if is_left_out(Rule::FirstFormerValue) { before.copied() } else { former };
        let mut row = version.to_be_bytes().to_vec();
        row.extend_from_slice(former.as_ref().map_or(&[], |former| former));
        seal.add(Kind::Owed, key, &row);
        self.rows.insert(key, &row[..])?;
        let order = order(key, version);
        seal.add(Kind::OwedOrder, &order, &[]);
        self.order.insert(&order, ())?;
        Ok(())
    }

    /// The record with this key is what was told last.
    pub(super) fn forget(&mut self, seal: &mut Seal, key: &[u8; KEY]) -> Result<(), redb::Error> {
        let Some(row) = self.rows.remove(key)?.map(|row| row.value().to_vec()) else { return Ok(()) };
        seal.remove(Kind::Owed, key, &row);
        self.take_from_order(seal, &order(key, split(&row)?.0))
    }

    /// Removes up to `most` rows of this issuer whose version is not higher, the earliest first; true if there are
    /// more.
    pub(super) fn told(
        &mut self,
        seal: &mut Seal,
        issuer: u32,
        version: u64,
        most: usize,
    ) -> Result<bool, redb::Error> {
        let (first, last) = order_range(issuer, version);
        let range = self.order.range::<&[u8; ORDER]>(&first..=&last)?;
        let told = range.take(most).map(|entry| Ok(*entry?.0.value())).collect::<Result<Vec<_>, redb::Error>>()?;
        for place in &told {
            self.take_from_order(seal, place)?;
            let key = key_of(place);
            let row = self.rows.remove(&key)?.ok_or_else(out_of_order)?;
            seal.remove(Kind::Owed, &key, row.value());
        }
        Ok(told.len() == most)
    }

    fn take_from_order(&mut self, seal: &mut Seal, place: &[u8; ORDER]) -> Result<(), redb::Error> {
        self.order.remove(place)?.ok_or_else(out_of_order)?;
        seal.remove(Kind::OwedOrder, place, &[]);
        Ok(())
    }
}

/// All rows of an issuer, in the order of their versions.
pub(super) fn list(read: &ReadTransaction, issuer: u32) -> Result<Vec<Owed>, redb::Error> {
    let rows = read.open_table(OUTBOX)?;
    let (first, last) = order_range(issuer, u64::MAX);
    let mut found = Vec::new();
    for entry in read.open_table(OUTBOX_ORDER)?.range::<&[u8; ORDER]>(&first..=&last)? {
        let key = key_of(entry?.0.value());
        let row = rows.get(&key)?.ok_or_else(out_of_order)?;
        let (version, former) = split(row.value())?;
        let serial = Serial::from_magnitude(&key[4..]).ok_or_else(out_of_order)?;
        found.push(Owed { serial, former: former.map(decode_value), version });
    }
    Ok(found)
}

/// Adds the rows of an issuer to its seal.
pub(super) fn seal(read: &ReadTransaction, issuer: u32, seal: &mut Seal) -> Result<(), redb::Error> {
    let (first, last) = range(issuer);
    for entry in read.open_table(OUTBOX)?.range::<&[u8; KEY]>(&first..=&last)? {
        let (key, row) = entry?;
        seal.add(Kind::Owed, key.value(), row.value());
    }
    let (first, last) = order_range(issuer, u64::MAX);
    for entry in read.open_table(OUTBOX_ORDER)?.range::<&[u8; ORDER]>(&first..=&last)? {
        seal.add(Kind::OwedOrder, entry?.0.value(), &[]);
    }
    Ok(())
}

fn out_of_order() -> redb::Error {
    damaged("its outbox does not match the outbox's order")
}

/// The version and the former value.
fn split(row: &[u8]) -> Result<(u64, Option<&[u8; VALUE]>), redb::Error> {
    let (version, former) = row.split_first_chunk().ok_or_else(out_of_order)?;
    let former = match former {
        [] => None,
        former => Some(former.try_into().map_err(|_| out_of_order())?),
    };
    Ok((u64::from_be_bytes(*version), former))
}

fn order(key: &[u8; KEY], version: u64) -> [u8; ORDER] {
    let mut order = [0; ORDER];
    order[..4].copy_from_slice(&key[..4]);
    order[4..12].copy_from_slice(&version.to_be_bytes());
    order[12..].copy_from_slice(&key[4..]);
    order
}

fn key_of(order: &[u8; ORDER]) -> [u8; KEY] {
    let mut key = [0; KEY];
    key[..4].copy_from_slice(&order[..4]);
    key[4..].copy_from_slice(&order[12..]);
    key
}

/// The first possible place of an issuer's rows, and the last one up to this version.
fn order_range(issuer: u32, version: u64) -> ([u8; ORDER], [u8; ORDER]) {
    (order(&range(issuer).0, 0), order(&key(issuer, [0xff; Serial::MAX_OCTETS]), version))
}
