//! The outbox: what was committed and not told to anybody yet. And the debts: final revocations that others contradict.
//!
//! Purpose: whoever tells changes to others (the feed) can go on after a crash where it ended, or undo what nobody was
//! told. Invariants: a row is written in the commit of its change and has the record's value that was told last, however
//! often the record has changed since. Every row has one place in the order: pushes first, then by version. A debt has
//! what was told last as well. A record has a row or a debt, never both: a row becomes a debt when this process no longer
//! tells, and a debt a row when it does again; both end when the others say what the record says. It does not know to
//! whom anything is told.

use std::{
    collections::BTreeSet,
    ops::{Bound, RangeInclusive},
};

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable as _, Table, WriteTransaction};

use super::{
    codec::{VERSION_MAX, decode_value, key, range},
    layout::{DEBTS, KEY, ORDER, OUTBOX, OUTBOX_ORDER, VALUE, damaged},
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

/// Where a row is in the order: pushes before everything else, since somebody waits for them; then by version. A version
/// takes seven bytes, and the byte before it is 0 for those that go first. Format 3 knew one order, in which all did.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Rank(u64);

impl Rank {
    pub(super) fn new(version: u64, is_first: bool) -> Self {
        Self(version & VERSION_MAX | if is_first { 0 } else { VERSION_MAX + 1 })
    }

    pub(super) fn version(self) -> u64 {
        self.0 & VERSION_MAX
    }

    pub(super) fn is_first(self) -> bool {
        self.0 <= VERSION_MAX
    }
}

/// What was told last, as it is stored; `None` for no record.
type Former = Option<[u8; VALUE]>;

/// The outbox and the debts of all issuers while a commit is written.
pub(super) struct Outbox<'a> {
    rows: Table<'a, &'static [u8; KEY], &'static [u8]>,
    order: Table<'a, &'static [u8; ORDER], ()>,
    debts: Table<'a, &'static [u8; KEY], &'static [u8]>,
}

impl<'a> Outbox<'a> {
    pub(super) fn open(transaction: &'a WriteTransaction) -> Result<Self, redb::Error> {
        let (rows, order) = (transaction.open_table(OUTBOX)?, transaction.open_table(OUTBOX_ORDER)?);
        Ok(Self { rows, order, debts: transaction.open_table(DEBTS)? })
    }

    /// Notes a change of the record with this key. `before`: the value that it replaces. `rank`: if it has none yet.
    pub(super) fn owe(
        &mut self,
        seal: &mut Seal,
        key: &[u8; KEY],
        before: Option<&[u8; VALUE]>,
        rank: Rank,
    ) -> Result<(), redb::Error> {
        let known = self.take_row(seal, key)?;
        let debt = if known.is_none() { self.take_debt(seal, key)? } else { None };
        let former = known.map(|(_, former)| former).or(debt).unwrap_or(before.copied());
        #[cfg(test)]
        let former = if is_left_out(Rule::FirstFormerValue) { before.copied() } else { former };
        // What was first stays so: somebody may still wait for it.
        let is_first = rank.is_first() || known.is_some_and(|(known, _)| known.is_first());
        self.put_row(seal, key, Rank::new(rank.version(), is_first), former.as_ref())
    }

    /// The record with this key is what was told last.
    pub(super) fn forget(&mut self, seal: &mut Seal, key: &[u8; KEY]) -> Result<(), redb::Error> {
        self.take_row(seal, key)?;
        self.take_debt(seal, key)?;
        Ok(())
    }

    /// This was told of the record with this key, as it was after the commit of this version. Returns whether that was a
    /// push: somebody waits for it.
    pub(super) fn told(
        &mut self,
        seal: &mut Seal,
        key: &[u8; KEY],
        version: u64,
        said: Option<&[u8; VALUE]>,
    ) -> Result<bool, redb::Error> {
        let Some((rank, _)) = self.take_row(seal, key)? else { return Ok(false) };
        // It has changed since.
        if rank.version() != version & VERSION_MAX {
            self.put_row(seal, key, rank, said)?;
        }
        Ok(rank.is_first())
    }

    /// Others say this of a record that stays as it is.
    pub(super) fn contradict(
        &mut self,
        seal: &mut Seal,
        key: &[u8; KEY],
        said: Option<&[u8; VALUE]>,
    ) -> Result<(), redb::Error> {
        if let Some((rank, _)) = self.take_row(seal, key)? {
            return self.put_row(seal, key, rank, said);
        }
        self.take_debt(seal, key)?;
        let row = said.map_or(&[][..], |said| said);
        seal.add(Kind::Debt, key, row);
        self.debts.insert(key, row)?;
        Ok(())
    }

    /// The keys of up to so many debts, whoever has them.
    pub(super) fn debtors(&self, most: usize) -> Result<Vec<[u8; KEY]>, redb::Error> {
        self.debts.iter()?.take(most).map(|entry| Ok(*entry?.0.value())).collect()
    }

    /// The rows and debts of an issuer mean nothing any more.
    pub(super) fn forget_all(&mut self, seal: &mut Seal, issuer: u32) -> Result<(), redb::Error> {
        let (first, last) = range(issuer);
        let mut keys = Vec::new();
        for table in [&self.rows, &self.debts] {
            for entry in table.range::<&[u8; KEY]>(&first..=&last)? {
                keys.push(*entry?.0.value());
            }
        }
        keys.iter().try_for_each(|key| self.forget(seal, key))
    }

    fn take_row(&mut self, seal: &mut Seal, key: &[u8; KEY]) -> Result<Option<(Rank, Former)>, redb::Error> {
        let Some(row) = self.rows.remove(key)?.map(|row| row.value().to_vec()) else { return Ok(None) };
        seal.remove(Kind::Owed, key, &row);
        let (rank, former) = split(&row)?;
        let place = order(key, rank);
        self.order.remove(&place)?.ok_or_else(out_of_order)?;
        seal.remove(Kind::OwedOrder, &place, &[]);
        Ok(Some((rank, former.copied())))
    }

    fn put_row(
        &mut self,
        seal: &mut Seal,
        key: &[u8; KEY],
        rank: Rank,
        former: Option<&[u8; VALUE]>,
    ) -> Result<(), redb::Error> {
        let mut row = rank.0.to_be_bytes().to_vec();
        row.extend_from_slice(former.map_or(&[], |former| former));
        seal.add(Kind::Owed, key, &row);
        self.rows.insert(key, &row[..])?;
        let place = order(key, rank);
        seal.add(Kind::OwedOrder, &place, &[]);
        self.order.insert(&place, ())?;
        Ok(())
    }

    fn take_debt(&mut self, seal: &mut Seal, key: &[u8; KEY]) -> Result<Option<Former>, redb::Error> {
        let Some(row) = self.debts.remove(key)?.map(|row| row.value().to_vec()) else { return Ok(None) };
        seal.remove(Kind::Debt, key, &row);
        Ok(Some(former(&row)?.copied()))
    }
}

/// Up to `most` rows of an issuer, in the order of their versions.
pub(super) fn list(read: &ReadTransaction, issuer: u32, most: usize) -> Result<Vec<Owed>, redb::Error> {
    let (mut found, rows) = (Vec::new(), read.open_table(OUTBOX)?);
    for is_first in [true, false] {
        for (key, rank) in ordered(read, issuer, is_first, most)? {
            let row = rows.get(&key)?.ok_or_else(out_of_order)?;
            let serial = Serial::from_magnitude(&key[4..]).ok_or_else(out_of_order)?;
            let former = split(row.value())?.1.map(decode_value);
            found.push(Owed { serial, former, version: rank.version() });
        }
    }
    found.sort_by_key(|owed| (owed.version, owed.serial));
    found.truncate(most);
    Ok(found)
}

/// The row of a record.
pub(super) fn find(read: &ReadTransaction, key: &[u8; KEY], serial: Serial) -> Result<Option<Owed>, redb::Error> {
    let Some(row) = read.open_table(OUTBOX)?.get(key)? else { return Ok(None) };
    let (rank, former) = split(row.value())?;
    Ok(Some(Owed { serial, former: former.map(decode_value), version: rank.version() }))
}

/// What others say of a record that they contradict; `None` if they do not.
pub(super) fn debt(read: &ReadTransaction, key: &[u8; KEY]) -> Result<Option<Option<(Record, Origin)>>, redb::Error> {
    let Some(debt) = read.open_table(DEBTS)?.get(key)? else { return Ok(None) };
    Ok(Some(former(debt.value())?.map(decode_value)))
}

/// The keys and versions of up to `most` rows, those of pushes first. Issuers take turns: of each as many, the ones
/// that have waited longest before the others.
pub(super) fn next(read: &ReadTransaction, most: usize) -> Result<Vec<([u8; KEY], u64)>, redb::Error> {
    let mut found = Vec::new();
    for is_first in [true, false] {
        let mut waiting = waiting(read, is_first)?;
        waiting.sort_unstable_by_key(|(_, rank)| rank.version());
        let mut taken = Vec::with_capacity(waiting.len());
        for (number, (issuer, _)) in waiting.iter().enumerate() {
            let share = (most - found.len()).div_ceil(waiting.len() - number);
            let rows = ordered(read, *issuer, is_first, share)?;
            taken.push((*issuer, rows.len()));
            found.extend(rows);
        }
        // The room that those with fewer have left.
        for (issuer, taken) in taken {
            let room = most - found.len();
            if room == 0 {
                break;
            }
            found.extend(ordered(read, issuer, is_first, taken.saturating_add(room))?.into_iter().skip(taken));
        }
    }
    Ok(found.into_iter().map(|(key, rank)| (key, rank.version())).collect())
}

/// The issuers that have such rows, each with its first one. Issuers without any cost nothing.
fn waiting(read: &ReadTransaction, is_first: bool) -> Result<Vec<(u32, Rank)>, redb::Error> {
    let table = read.open_table(OUTBOX_ORDER)?;
    let (mut found, mut from) = (Vec::new(), *order_range(0, is_first).start());
    while let Some(entry) = table.range::<&[u8; ORDER]>(&from..)?.next() {
        let (key, rank) = split_order(entry?.0.value());
        let issuer = number(&key);
        if rank.is_first() == is_first {
            found.push((issuer, rank));
        }
        // Its others of this kind, or the next issuer's.
        let seek = if is_first || !rank.is_first() { issuer.checked_add(1) } else { Some(issuer) };
        let Some(issuer) = seek else { break };
        from = *order_range(issuer, is_first).start();
    }
    Ok(found)
}

fn ordered(
    read: &ReadTransaction,
    issuer: u32,
    is_first: bool,
    most: usize,
) -> Result<Vec<([u8; KEY], Rank)>, redb::Error> {
    let table = read.open_table(OUTBOX_ORDER)?;
    let range = order_range(issuer, is_first);
    let rows = table.range::<&[u8; ORDER]>(range.start()..=range.end())?.take(most);
    rows.map(|entry| Ok(split_order(entry?.0.value()))).collect()
}

/// Up to `most` debts behind this key.
pub(super) fn debts(
    read: &ReadTransaction,
    after: Option<[u8; KEY]>,
    most: usize,
) -> Result<Vec<[u8; KEY]>, redb::Error> {
    let table = read.open_table(DEBTS)?;
    let after = after.unwrap_or([0; KEY]);
    let debts = table.range::<&[u8; KEY]>(&after..)?.map(|entry| Ok(*entry?.0.value()));
    debts.filter(|key| key.as_ref().is_ok_and(|key| *key != after) || key.is_err()).take(most).collect()
}

/// The numbers of the issuers that have rows or debts. Those that have none cost nothing.
pub(super) fn issuers(read: &ReadTransaction) -> Result<BTreeSet<u32>, redb::Error> {
    let mut found = BTreeSet::new();
    for table in [OUTBOX, DEBTS] {
        let (table, mut from) = (read.open_table(table)?, Some(0));
        while let Some(first) = from {
            let Some(entry) = table.range::<&[u8; KEY]>(&range(first).0..)?.next() else { break };
            let issuer = number(entry?.0.value());
            found.insert(issuer);
            from = issuer.checked_add(1);
        }
    }
    Ok(found)
}

/// The rows and debts of all issuers, for look-ups.
pub(super) struct Untold {
    rows: Rows,
    debts: Rows,
}

type Rows = ReadOnlyTable<&'static [u8; KEY], &'static [u8]>;

impl Untold {
    pub(super) fn open(read: &ReadTransaction) -> Result<Self, redb::Error> {
        Ok(Self { rows: read.open_table(OUTBOX)?, debts: read.open_table(DEBTS)? })
    }

    /// Whether the record with this key has a row or a debt.
    pub(super) fn has(&self, key: &[u8; KEY]) -> Result<bool, redb::Error> {
        Ok(self.rows.get(key)?.is_some() || self.debts.get(key)?.is_some())
    }
}

/// Up to `most` rows of an issuer whose serials are behind `after`, in their order.
pub(super) fn behind(
    read: &ReadTransaction,
    issuer: u32,
    after: Option<Serial>,
    most: usize,
) -> Result<Vec<Owed>, redb::Error> {
    let (first, last) = range(issuer);
    let first = after.map_or(Bound::Included(first), |after| Bound::Excluded(key(issuer, *after.padded())));
    let table = read.open_table(OUTBOX)?;
    let mut found = Vec::new();
    for entry in table.range::<&[u8; KEY]>((first.as_ref(), Bound::Included(&last)))?.take(most) {
        let (key, row) = entry?;
        let (rank, former) = split(row.value())?;
        let serial = Serial::from_magnitude(&key.value()[4..]).ok_or_else(out_of_order)?;
        found.push(Owed { serial, former: former.map(decode_value), version: rank.version() });
    }
    Ok(found)
}

/// Adds the rows and debts of an issuer to its seal.
pub(super) fn seal(read: &ReadTransaction, issuer: u32, seal: &mut Seal) -> Result<(), redb::Error> {
    let (first, last) = range(issuer);
    for (table, kind) in [(OUTBOX, Kind::Owed), (DEBTS, Kind::Debt)] {
        for entry in read.open_table(table)?.range::<&[u8; KEY]>(&first..=&last)? {
            let (key, row) = entry?;
            seal.add(kind, key.value(), row.value());
        }
    }
    let (first, last) = (*order_range(issuer, true).start(), *order_range(issuer, false).end());
    for entry in read.open_table(OUTBOX_ORDER)?.range::<&[u8; ORDER]>(&first..=&last)? {
        seal.add(Kind::OwedOrder, entry?.0.value(), &[]);
    }
    Ok(())
}

fn out_of_order() -> redb::Error {
    damaged("its outbox does not match the outbox's order")
}

/// The issuer's number in this file.
pub(super) fn number(key: &[u8; KEY]) -> u32 {
    u32::from_be_bytes([key[0], key[1], key[2], key[3]])
}

/// The rank and the former value.
fn split(row: &[u8]) -> Result<(Rank, Option<&[u8; VALUE]>), redb::Error> {
    let (rank, rest) = row.split_first_chunk().ok_or_else(out_of_order)?;
    Ok((Rank(u64::from_be_bytes(*rank)), former(rest)?))
}

/// What was told last of a record with this row.
pub(super) fn former_of_row(row: &[u8]) -> Result<Option<&[u8; VALUE]>, redb::Error> {
    Ok(split(row)?.1)
}

/// What was told last of a record with this debt.
pub(super) fn former(row: &[u8]) -> Result<Option<&[u8; VALUE]>, redb::Error> {
    match row {
        [] => Ok(None),
        former => Ok(Some(former.try_into().map_err(|_| out_of_order())?)),
    }
}

fn order(key: &[u8; KEY], rank: Rank) -> [u8; ORDER] {
    let mut order = [0; ORDER];
    order[..4].copy_from_slice(&key[..4]);
    order[4..12].copy_from_slice(&rank.0.to_be_bytes());
    order[12..].copy_from_slice(&key[4..]);
    order
}

fn split_order(order: &[u8; ORDER]) -> ([u8; KEY], Rank) {
    let mut key = [0; KEY];
    key[..4].copy_from_slice(&order[..4]);
    key[4..].copy_from_slice(&order[12..]);
    (key, Rank(u64::from_be_bytes(std::array::from_fn(|at| order[4 + at]))))
}

/// The first and the last possible place of an issuer's rows that go first, or of the others.
fn order_range(issuer: u32, is_first: bool) -> RangeInclusive<[u8; ORDER]> {
    let last = Rank(if is_first { VERSION_MAX } else { u64::MAX });
    order(&range(issuer).0, Rank::new(0, is_first))..=order(&key(issuer, [0xff; Serial::MAX_OCTETS]), last)
}
