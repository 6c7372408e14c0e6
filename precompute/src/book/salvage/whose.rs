//! Finds the issuer of each record in a damaged book.
//!
//! Purpose: one wrong bit in the list of issuers must not give all records of an issuer to an issuer that does not
//! exist. Invariant: a number belongs to an issuer only if two places say so: both tables of the book, or one of them
//! and the configuration. It does not know records.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use redb::{ReadTransaction, ReadableTable as _};

use super::{
    super::layout::{ISSUERS, TENANTS},
    pages,
};
use crate::issuer_id::IssuerId;

/// What a book says about its issuers; any of it may be wrong.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// Fingerprints and numbers.
    pub(super) issuers: BTreeSet<([u8; 32], u32)>,
    pub(super) tenants: Vec<(u32, IssuerId)>,
}

impl Evidence {
    pub(super) fn read_issuers(&mut self, read: &ReadTransaction, backwards: bool) -> Result<(), redb::Error> {
        let table = read.open_table(ISSUERS)?;
        let mut entries = table.iter()?;
        while let Some(entry) = if backwards { entries.next_back() } else { entries.next() } {
            let (fingerprint, number) = entry?;
            self.issuers.insert((*fingerprint.value(), number.value()));
        }
        Ok(())
    }

    pub(super) fn read_tenants(&mut self, read: &ReadTransaction, backwards: bool) -> Result<(), redb::Error> {
        let table = read.open_table(TENANTS)?;
        let mut entries = table.iter()?;
        while let Some(entry) = if backwards { entries.next_back() } else { entries.next() } {
            let (number, whose) = entry?;
            let (issuer, tenant) = whose.value();
            self.add(number.value(), IssuerId::new(tenant, *issuer));
        }
        Ok(())
    }

    /// Searches every page of the file for more. A number is never given to another issuer, so an older copy says the
    /// same.
    pub(super) fn look(&mut self, path: &Path, configured: &[IssuerId]) {
        let mut found = Vec::new();
        pages::tenants(path, |number, issuer, tenant| found.push((number, IssuerId::new(tenant, issuer))));
        let ids = configured.iter().chain(found.iter().chain(&self.tenants).map(|(_, id)| id));
        let known: BTreeSet<_> = ids.map(|id| *id.fingerprint()).collect();
        pages::issuers(path, |fingerprint, number| {
            if known.contains(&fingerprint) {
                self.issuers.insert((fingerprint, number));
            }
        });
        for (number, id) in found {
            self.add(number, id);
        }
    }

    fn add(&mut self, number: u32, id: IssuerId) {
        if !self.tenants.iter().any(|known| known.0 == number && known.1 == id) {
            self.tenants.push((number, id));
        }
    }

    /// Numbers and their issuers.
    pub(super) fn assign(&self, configured: &[IssuerId]) -> BTreeMap<u32, IssuerId> {
        let mut whose = BTreeMap::new();
        // Both tables agree; the fingerprint is a hash of what the other table says.
        for (number, id) in &self.tenants {
            if self.issuers.contains(&(*id.fingerprint(), *number)) {
                whose.entry(*number).or_insert_with(|| id.clone());
            }
        }
        let with = |matches: &dyn Fn(&IssuerId) -> bool| {
            let mut matching = configured.iter().filter(|id| matches(id));
            matching.next().filter(|_| matching.next().is_none()).cloned()
        };
        let by_fingerprint = self.issuers.iter().map(|(known, number)| (number, with(&|id| id.fingerprint() == known)));
        let by_both = self.tenants.iter().map(|(number, known)| (number, with(&|id| id == known)));
        // Its name, or its fingerprint in the other table, is damaged: it is the only configured issuer of this CA.
        let by_ca = self.tenants.iter().map(|(number, known)| (number, with(&|id| id.ca() == known.ca())));
        let steps: [Vec<_>; 3] = [by_fingerprint.collect(), by_both.collect(), by_ca.collect()];
        for step in steps {
            let mut claims = BTreeMap::<u32, Vec<IssuerId>>::new();
            for (number, id) in step {
                claims.entry(*number).or_default().extend(id);
            }
            for (number, mut ids) in claims {
                // Two issuers claim one number: neither is believed.
                if ids.len() == 1 && !whose.contains_key(&number) {
                    whose.extend(ids.pop().map(|id| (number, id)));
                }
            }
        }
        whose
    }
}
