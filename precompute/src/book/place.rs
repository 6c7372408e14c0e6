//! The place in the feed that the records of a book are from.
//!
//! Purpose: who follows the feed, or writes it, goes on after a crash where its records are. Invariant: the place is
//! changed in the commit of the records that it speaks of, so after a crash both are of one entry. It counts for the file
//! it was written to alone: an older copy in its place, a commit in doubt and a book made anew have another identity, and
//! so no place. Whoever changes records without telling anybody ends it in the same commit. Without a place a book is
//! compared with a snapshot as a whole. It does not know what an entry is.
//!
//! It has a seal of its own, over the file's identity too, so that damage to it costs no issuer its records.

use std::fmt;

use redb::{ReadTransaction, TableError, WriteTransaction};

use super::{
    layout::{Identity, PLACE, PLACE_ROW, damaged},
    seal::{Kind, SEAL, Seal},
};
use crate::pki::hex::Hex;

/// An entry of the feed, after which records are as they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Of the leadership that wrote it.
    pub epoch: u64,
    /// Within the epoch.
    pub sequence: u64,
    /// SHA-256 of the entry.
    pub chain: [u8; 32],
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{} ({})", self.epoch, self.sequence, Hex(&self.chain[..4]))
    }
}

/// A change of the place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Move {
    /// Where the records are from now. If the book knows another place, nothing is written: what was not on disk yet may
    /// be lost, and what follows belongs to other records.
    pub from: Option<Place>,
    /// Where they are from afterwards.
    pub to: Option<Place>,
}

const SAID: usize = PLACE_ROW - SEAL;

/// The place of the file with this identity.
pub(super) fn read(read: &ReadTransaction, identity: Identity) -> Result<Option<Place>, redb::Error> {
    let table = match read.open_table(PLACE) {
        // An earlier format, which a look does not rewrite.
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        table => table?,
    };
    let Some(row) = table.get(())?.map(|row| *row.value()) else { return Ok(None) };
    let (said, seal) = row.split_at(SAID);
    if sealed(said) != seal {
        return Err(damaged("its place in the feed does not match its seal"));
    }
    let number = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| row[at + i]));
    let place = Place { epoch: number(16), sequence: number(24), chain: std::array::from_fn(|i| row[32 + i]) };
    Ok(Some(place).filter(|_| Identity::from_halves(number(0), number(8)) == identity))
}

/// Writes the place, or that there is none.
pub(super) fn write(
    transaction: &WriteTransaction,
    identity: Identity,
    place: Option<Place>,
) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(PLACE)?;
    let Some(place) = place else {
        table.remove(())?;
        return Ok(());
    };
    let (high, low) = identity.halves();
    let mut row = [0; PLACE_ROW];
    for (at, number) in row.chunks_exact_mut(8).zip([high, low, place.epoch, place.sequence]) {
        at.copy_from_slice(&number.to_be_bytes());
    }
    row[32..SAID].copy_from_slice(&place.chain);
    let seal = sealed(&row[..SAID]);
    row[SAID..].copy_from_slice(&seal);
    table.insert((), &row)?;
    Ok(())
}

/// Records change, and nobody is told.
pub(super) fn end(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(PLACE)?.remove(())?;
    Ok(())
}

fn sealed(said: &[u8]) -> [u8; SEAL] {
    let mut seal = Seal::default();
    seal.add(Kind::Place, &[], said);
    seal.to_bytes()
}
