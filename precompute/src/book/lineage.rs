//! The predecessors of issuers, as the book knows them.
//!
//! Purpose: one walk over the list of issuers answers the question for all of them, since a start asks it for each.
//! Invariant: it says what the book held when it was read. It does not know a configuration.

use std::collections::{BTreeMap, BTreeSet};

use redb::{ReadTransaction, ReadableTable as _};

use super::layout::{ISSUERS, SUCCESSORS, TENANTS};
use crate::issuer_id::IssuerId;

/// The issuers of a book, and which of them has succeeded which.
#[derive(Debug, Default)]
pub struct Lineage {
    /// Fingerprint of an issuer → its number.
    numbers: BTreeMap<[u8; 32], u32>,
    /// CA → its issuers: number and tenant.
    of_ca: BTreeMap<[u8; 32], Vec<(u32, String)>>,
    /// Number of the predecessor, number of its successor.
    successions: BTreeSet<(u32, u32)>,
}

impl Lineage {
    pub(super) fn read(read: &ReadTransaction) -> Result<Self, redb::Error> {
        let mut this = Self::default();
        for entry in read.open_table(ISSUERS)?.iter()? {
            let (fingerprint, number) = entry?;
            this.numbers.insert(*fingerprint.value(), number.value());
        }
        for entry in read.open_table(TENANTS)?.iter()? {
            let (number, issuer) = entry?;
            let (ca, tenant) = issuer.value();
            this.of_ca.entry(*ca).or_default().push((number.value(), tenant.to_owned()));
        }
        for entry in read.open_table(SUCCESSORS)?.range::<(u32, u32)>(..)? {
            this.successions.insert(entry?.0.value());
        }
        Ok(this)
    }

    /// All successions: predecessor and successor.
    pub fn successions(&self) -> Vec<(IssuerId, IssuerId)> {
        let ids = self.of_ca.iter().flat_map(|(ca, issuers)| {
            issuers.iter().map(move |(number, tenant)| (*number, IssuerId::new(tenant, *ca)))
        });
        let ids: BTreeMap<u32, IssuerId> = ids.collect();
        let of = |(former, successor)| Some((ids.get(former)?.clone(), ids.get(successor)?.clone()));
        self.successions.iter().map(|(former, successor)| (former, successor)).filter_map(of).collect()
    }

    /// The issuers that nobody has succeeded.
    pub fn issuers(&self) -> Vec<IssuerId> {
        let of_ca = |(ca, issuers): (&[u8; 32], &Vec<(u32, String)>)| {
            let standing = issuers.iter().filter(|(number, _)| !self.has_left(*number));
            standing.map(|(_, tenant)| IssuerId::new(tenant, *ca)).collect::<Vec<_>>()
        };
        self.of_ca.iter().flat_map(of_ca).collect()
    }

    /// Whether it has a successor.
    fn has_left(&self, number: u32) -> bool {
        self.successions.range((number, 0)..=(number, u32::MAX)).next().is_some()
    }

    /// Whether the book knows both, and this former issuer has not taken the place of the other one: they were there at the
    /// same time.
    pub fn stood_beside(&self, former: &IssuerId, issuer: &IssuerId) -> bool {
        let number = |id: &IssuerId| self.numbers.get(id.fingerprint()).copied();
        let both = number(issuer).zip(number(former));
        both.is_some_and(|pair| !self.successions.contains(&pair))
    }

    /// The possible predecessors of this issuer, which are under other tenants with the same CA and have no successor. It
    /// may have stood beside them, or they may have succeeded it, and it comes back.
    pub fn predecessors(&self, issuer: &IssuerId) -> Vec<IssuerId> {
        let own = self.numbers.get(issuer.fingerprint()).copied();
        let same_ca = self.of_ca.get(issuer.ca()).into_iter().flatten();
        let others = same_ca.filter(|(number, _)| Some(*number) != own && !self.has_left(*number));
        others.map(|(_, tenant)| issuer.under(tenant)).collect()
    }
}
