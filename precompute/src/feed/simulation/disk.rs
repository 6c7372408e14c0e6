//! A model of a table of records, and of a book on disk.
//!
//! It keeps what the traits promise, and survives the death of its process: what it has is what was committed.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    hash::{Hash, Hasher},
};

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::{
    feed::{
        Issuer,
        body::Section,
        rule::{Rule, Rules, Verdict, decide, is_final},
        store::{Book, Fault, Owed, Place, Store, Walk, Walked},
    },
    pki::Serial,
    records::{CertificateHash, Change, Digest, Origin},
};

pub(in crate::feed) type Key = (Issuer, Serial);

#[derive(Clone, Debug)]
pub(in crate::feed) struct Disk {
    rules: Rules,
    place: Option<Place>,
    records: BTreeMap<Key, Change>,
    /// Of certificates that were pushed: every push has one.
    hashes: BTreeMap<Key, CertificateHash>,
    /// Version, and what was told last.
    outbox: BTreeMap<Key, (u64, Change)>,
    /// What is known better than the feed.
    debts: BTreeMap<Key, Change>,
    version: u64,
    digest: Cell<Option<u128>>,
    /// Of these it keeps nothing.
    strangers: BTreeSet<Issuer>,
    /// There is no room.
    pub(in crate::feed) is_full: bool,
}

fn hash_of((issuer, serial): Key) -> CertificateHash {
    let mut hash = issuer.0;
    hash[..Serial::MAX_OCTETS].copy_from_slice(serial.padded());
    hash[31] = 1;
    hash
}

fn nothing(serial: Serial) -> Change {
    Change::new(serial, None)
}

impl Disk {
    pub(in crate::feed) fn new(rules: Rules) -> Self {
        Self {
            rules,
            place: None,
            records: BTreeMap::new(),
            hashes: BTreeMap::new(),
            outbox: BTreeMap::new(),
            debts: BTreeMap::new(),
            version: 0,
            digest: Cell::new(None),
            strangers: BTreeSet::new(),
            is_full: false,
        }
    }

    /// The same without this issuer.
    pub(in crate::feed) fn without(mut self, issuer: Issuer) -> Self {
        self.strangers.insert(issuer);
        self
    }

    /// The process dies.
    pub(in crate::feed) fn crash(&mut self) {
        if !self.rules.keep(Rule::Outbox) {
            self.outbox.clear();
        }
    }

    fn set(&mut self, key: Key, change: Change) {
        self.digest.set(None);
        match change.record {
            Some(_) => self.records.insert(key, change),
            None => self.records.remove(&key),
        };
    }

    pub(in crate::feed) fn get(&self, key: Key) -> Change {
        self.records.get(&key).copied().unwrap_or(nothing(key.1))
    }

    /// A push, or what a source says, in one commit.
    pub(in crate::feed) fn push(&mut self, key: Key, change: Change) {
        let before = self.get(key);
        if before == change || is_final(&before) {
            return;
        }
        self.version += 1;
        let told = self.outbox.get(&key).map_or(before, |(_, told)| *told);
        self.outbox.insert(key, (self.version, told));
        self.hashes.insert(key, hash_of(key));
        self.set(key, change);
    }

    /// Whether the feed does not say yet that it is revoked for good.
    pub(in crate::feed) fn owes(&self, key: Key) -> bool {
        self.outbox.get(&key).is_some_and(|(_, told)| !is_final(told))
    }

    pub(in crate::feed) fn has_untold(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// What was told, for a snapshot.
    pub(in crate::feed) fn told_records(&self) -> Vec<(Key, Change)> {
        let mut told = self.records.clone();
        told.extend(self.outbox.iter().map(|(key, (_, told))| (*key, *told)));
        told.into_iter().filter(|(_, change)| change.record.is_some()).collect()
    }

    pub(in crate::feed) fn hashes(&self) -> &BTreeMap<Key, CertificateHash> {
        &self.hashes
    }

    /// A certificate that answers have to carry the hash of, which is not here. A revocation is said without.
    pub(in crate::feed) fn lacks_hash(&self) -> Option<Serial> {
        let lacks =
            |(key, change): &(&Key, &Change)| !is_final(change) && self.hashes.get(key) != Some(&hash_of(**key));
        self.records.iter().find(lacks).map(|(key, _)| key.1)
    }

    pub(in crate::feed) fn records(&self) -> &BTreeMap<Key, Change> {
        &self.records
    }

    /// A record says something else without anybody's doing.
    pub(in crate::feed) fn damage(&mut self, key: Key, change: Change) -> bool {
        let is_possible = !is_final(&self.get(key)) && self.get(key) != change;
        if is_possible {
            self.set(key, change);
        }
        is_possible
    }

    /// What all records amount to; `None` if they are not what was told.
    pub(in crate::feed) fn told_digest(&self) -> Option<u128> {
        if !self.outbox.is_empty() || !self.debts.is_empty() {
            return None;
        }
        let digest = self.digest.get().unwrap_or_else(|| of(self.records.iter()));
        self.digest.set(Some(digest));
        Some(digest)
    }

    fn say(&mut self, issuer: Issuer, said: &Change) {
        if self.strangers.contains(&issuer) {
            return;
        }
        let key = (issuer, said.serial);
        let present = self.get(key);
        match decide(self.rules, &present, said) {
            Verdict::Becomes(change) => {
                self.debts.remove(&key);
                self.outbox.remove(&key);
                if present != change {
                    self.set(key, change);
                }
            }
            Verdict::Stays => {
                if let Some((_, told)) = self.outbox.get_mut(&key) {
                    *told = *said;
                } else if self.rules.keep(Rule::Submit) {
                    self.debts.insert(key, present);
                }
            }
        }
    }
}

fn of<'a>(records: impl Iterator<Item = (&'a Key, &'a Change)>) -> u128 {
    let mut hasher = SipHasher13::new();
    for ((issuer, serial), change) in records {
        hasher.write(&issuer.0[..2]);
        hasher.write(serial.padded());
        change.record.map(|record| (record.status, record.not_after)).hash(&mut hasher);
        hasher.write_u8(change.origin.bits());
    }
    hasher.finish128().as_u128()
}

impl Store for Disk {
    fn place(&self) -> Option<Place> {
        self.place
    }

    fn apply(&mut self, place: Place, sections: &[Section]) -> Result<(), Fault> {
        if self.is_full {
            return Err(Fault("the disk is full".to_owned()));
        }
        for section in sections {
            let issuer = section.issuer;
            self.hashes.extend(section.told_hashes().map(|(serial, hash)| ((issuer, serial), hash)));
            section.changes.iter().for_each(|change| self.say(issuer, change));
        }
        self.place = Some(place);
        Ok(())
    }

    fn reconcile(&mut self, place: Place, walk: Walk<'_>) -> Result<(), Fault> {
        let mut said = BTreeMap::new();
        let walked = walk(&mut |walked| match walked {
            Walked::Coming(..) => {}
            Walked::Records(issuer, changes) => {
                said.extend(changes.iter().map(|change| ((issuer, change.serial), *change)));
            }
            Walked::Hashes(issuer, hashes) => {
                self.hashes.extend(hashes.iter().map(|(serial, hash)| ((issuer, *serial), *hash)));
            }
        });
        walked.map_err(|refusal| Fault(refusal.to_string()))?;
        for key in self.records.keys().chain(self.outbox.keys()) {
            said.entry(*key).or_insert(nothing(key.1));
        }
        said.iter().for_each(|((issuer, _), change)| self.say(*issuer, change));
        self.place = Some(place);
        Ok(())
    }

    fn digest(&self, issuer: Issuer) -> Option<Digest> {
        let is_of = |(of, _): &&Key| *of == issuer;
        if self.strangers.contains(&issuer)
            || self.debts.keys().any(|key| is_of(&key))
            || self.outbox.keys().any(|key| is_of(&key))
        {
            return None;
        }
        let digest = of(self.records.iter().filter(|(key, _)| is_of(key)));
        Some(Digest::from_bytes(digest.to_be_bytes()))
    }
}

impl Book for Disk {
    fn present(&self, issuer: Issuer, serial: &Serial) -> Option<Change> {
        (!self.strangers.contains(&issuer)).then(|| self.get((issuer, *serial)))
    }

    fn owed(&self, most: usize) -> Vec<Owed> {
        let mut rows: Vec<_> = self.outbox.iter().map(|(key, (version, _))| (*version, *key)).collect();
        rows.sort_unstable();
        let owed = |(version, key): &(u64, Key)| Owed { issuer: key.0, change: self.get(*key), version: *version };
        rows.iter().take(most).map(owed).collect()
    }

    fn hashes(&self, issuer: Issuer, changes: &[Change]) -> Vec<Option<CertificateHash>> {
        changes.iter().map(|change| self.hashes.get(&(issuer, change.serial)).copied()).collect()
    }

    fn told(&mut self, place: Place, rows: &[Owed]) -> Result<(), Fault> {
        for Owed { issuer, change, version } in rows {
            let key = (*issuer, change.serial);
            if let Some((row, told)) = self.outbox.get_mut(&key) {
                *told = *change;
                if *row == *version {
                    self.outbox.remove(&key);
                }
            }
        }
        self.place = Some(place);
        Ok(())
    }

    fn undo_untold(&mut self) -> Result<(), Fault> {
        for (key, (_, told)) in std::mem::take(&mut self.outbox) {
            let present = self.get(key);
            if !is_final(&present) {
                self.set(key, told);
            } else if !is_final(&told) && self.rules.keep(Rule::Submit) {
                self.debts.insert(key, present);
            }
        }
        Ok(())
    }

    fn debts(&self) -> Vec<(Issuer, Change)> {
        self.debts.iter().map(|((issuer, _), change)| (*issuer, *change)).collect()
    }

    fn owe_debts(&mut self) -> Result<(), Fault> {
        for (key, change) in std::mem::take(&mut self.debts) {
            self.version += 1;
            // Something that is not final was told of it.
            let told = nothing(key.1);
            self.outbox.entry(key).or_insert((self.version, told));
            debug_assert_eq!(self.get(key), change);
        }
        Ok(())
    }

    fn absorb(&mut self, said: &[(Issuer, Change)]) -> Result<(), Fault> {
        for (issuer, change) in said {
            self.debts.remove(&(*issuer, change.serial));
            self.push((*issuer, change.serial), change.by(Origin::SOURCE));
        }
        Ok(())
    }

    fn digests(&mut self, most: usize) -> Vec<(Issuer, Digest)> {
        let issuers: std::collections::BTreeSet<_> = self.records.keys().map(|(issuer, _)| *issuer).collect();
        let digest = |issuer| Some((issuer, self.digest(issuer)?));
        issuers.into_iter().filter_map(digest).take(most).collect()
    }
}
