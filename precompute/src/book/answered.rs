//! Answers to requests that carried an idempotency key.
//!
//! Purpose: a client that repeats a request, because it never saw the answer, gets the same answer and changes nothing
//! twice, also after a crash. Invariant: an answer is written in the commit of what the request changed. An issuer keeps
//! them for a day and up to a number, in the order in which they came; each commit that adds some removes some. It does
//! not know requests, only their digests.

use redb::{ReadTransaction, ReadableTable as _, Table, WriteTransaction};

use super::{
    layout::{ANSWER, ANSWER_KEY, ANSWERED, ANSWERED_ORDER, damaged},
    seal::{Kind, Seal},
};
use crate::{limits, pki::UnixTime};

/// What became of a request with an idempotency key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answered {
    /// SHA-256 of the key.
    pub key: [u8; 32],
    /// SHA-256 of the request: a key that comes again with another request is refused.
    pub request: [u8; 32],
    /// The outcome, in the caller's numbers.
    pub outcome: u8,
    /// When it was answered.
    pub at: UnixTime,
}

/// The answers of all issuers while a commit is written.
pub(super) struct Answers<'a> {
    rows: Table<'a, &'static [u8; ANSWER_KEY], &'static [u8; ANSWER]>,
    order: Table<'a, (u32, u64), &'static [u8; 32]>,
    issuer: u32,
}

impl<'a> Answers<'a> {
    pub(super) fn open(transaction: &'a WriteTransaction, issuer: u32) -> Result<Self, redb::Error> {
        let (rows, order) = (transaction.open_table(ANSWERED)?, transaction.open_table(ANSWERED_ORDER)?);
        Ok(Self { rows, order, issuer })
    }

    /// Adds answers, and removes some of the earliest that are too old or too many.
    pub(super) fn add(&mut self, seal: &mut Seal, answered: &[Answered]) -> Result<(), redb::Error> {
        let last = self.order.range(all(self.issuer))?.next_back().transpose()?;
        let mut place = last.map_or(0, |(place, _)| place.value().1);
        for answer in answered {
            place += 1;
            let key = row_key(self.issuer, &answer.key);
            let row = encode(answer, place);
            let before = self.rows.insert(&key, &row)?.map(|before| *before.value());
            seal.add(Kind::Answered, &key, &row);
            if let Some(before) = before {
                seal.remove(Kind::Answered, &key, &before);
                self.take_from_order(seal, decode(&answer.key, &before).1)?;
            }
            self.order.insert((self.issuer, place), &answer.key)?;
            seal.add(Kind::AnsweredOrder, &order_key(self.issuer, place), &answer.key);
        }
        let now = answered.iter().map(|answer| answer.at).max().unwrap_or(UnixTime(0));
        self.remove_earliest(seal, now, place, answered.len() + limits::BOOK_ANSWERS_REMOVED_MAX)
    }

    /// Removes all.
    pub(super) fn forget(&mut self, seal: &mut Seal) -> Result<(), redb::Error> {
        let mut answers = Vec::new();
        for entry in self.order.range(all(self.issuer))? {
            let (place, key) = entry?;
            answers.push((place.value().1, row_key(self.issuer, key.value())));
        }
        for (place, key) in answers {
            let row = self.rows.remove(&key)?.map(|row| *row.value()).ok_or_else(out_of_order)?;
            seal.remove(Kind::Answered, &key, &row);
            self.take_from_order(seal, place)?;
        }
        Ok(())
    }

    /// `last`: the highest place.
    fn remove_earliest(&mut self, seal: &mut Seal, now: UnixTime, last: u64, most: usize) -> Result<(), redb::Error> {
        let mut earliest = Vec::new();
        for entry in self.order.range(all(self.issuer))?.take(most) {
            let (place, key) = entry?;
            earliest.push((place.value().1, row_key(self.issuer, key.value())));
        }
        for (place, key) in earliest {
            let row = self.rows.get(&key)?.map(|row| *row.value()).ok_or_else(out_of_order)?;
            let (answer, _) = decode(&[0; 32], &row);
            // Where a key came again there is a gap, so there may be fewer.
            let is_beyond = last - place >= limits::BOOK_ANSWERS_MAX;
            if !is_beyond && now.since(answer.at) <= limits::BOOK_ANSWERS_KEPT {
                break;
            }
            self.rows.remove(&key)?;
            seal.remove(Kind::Answered, &key, &row);
            self.take_from_order(seal, place)?;
        }
        Ok(())
    }

    fn take_from_order(&mut self, seal: &mut Seal, place: u64) -> Result<(), redb::Error> {
        let key = self.order.remove((self.issuer, place))?.ok_or_else(out_of_order)?;
        seal.remove(Kind::AnsweredOrder, &order_key(self.issuer, place), key.value());
        Ok(())
    }
}

/// The answer to the request with this key, if it is still kept.
pub(super) fn find(read: &ReadTransaction, issuer: u32, key: &[u8; 32]) -> Result<Option<Answered>, redb::Error> {
    let row = read.open_table(ANSWERED)?.get(&row_key(issuer, key))?;
    Ok(row.map(|row| decode(key, row.value()).0))
}

/// All answers of an issuer, in the order in which they came.
pub(super) fn list(read: &ReadTransaction, issuer: u32) -> Result<Vec<Answered>, redb::Error> {
    let mut found = Vec::new();
    for entry in read.open_table(ANSWERED_ORDER)?.range(all(issuer))? {
        let (_, key) = entry?;
        found.push(find(read, issuer, key.value())?.ok_or_else(out_of_order)?);
    }
    Ok(found)
}

/// Adds the answers of an issuer to its seal.
pub(super) fn seal(read: &ReadTransaction, issuer: u32, seal: &mut Seal) -> Result<(), redb::Error> {
    let (first, last) = (row_key(issuer, &[0; 32]), row_key(issuer, &[0xff; 32]));
    for entry in read.open_table(ANSWERED)?.range::<&[u8; ANSWER_KEY]>(&first..=&last)? {
        let (key, row) = entry?;
        seal.add(Kind::Answered, key.value(), row.value());
    }
    for entry in read.open_table(ANSWERED_ORDER)?.range(all(issuer))? {
        let (place, key) = entry?;
        seal.add(Kind::AnsweredOrder, &order_key(issuer, place.value().1), key.value());
    }
    Ok(())
}

fn out_of_order() -> redb::Error {
    damaged("its answers to requests do not match their order")
}

fn all(issuer: u32) -> std::ops::RangeInclusive<(u32, u64)> {
    (issuer, 0)..=(issuer, u64::MAX)
}

fn row_key(issuer: u32, key: &[u8; 32]) -> [u8; ANSWER_KEY] {
    let mut row = [0; ANSWER_KEY];
    row[..4].copy_from_slice(&issuer.to_be_bytes());
    row[4..].copy_from_slice(key);
    row
}

fn order_key(issuer: u32, place: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&issuer.to_be_bytes());
    key[4..].copy_from_slice(&place.to_be_bytes());
    key
}

fn encode(answer: &Answered, place: u64) -> [u8; ANSWER] {
    let mut row = [0; ANSWER];
    row[..32].copy_from_slice(&answer.request);
    row[32] = answer.outcome;
    row[33..41].copy_from_slice(&answer.at.0.to_be_bytes());
    row[41..].copy_from_slice(&place.to_be_bytes());
    row
}

/// The answer and its place.
fn decode(key: &[u8; 32], row: &[u8; ANSWER]) -> (Answered, u64) {
    let number = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| row[at + i]));
    let request = std::array::from_fn(|at| row[at]);
    (Answered { key: *key, request, outcome: row[32], at: UnixTime(number(33)) }, number(41))
}
