//! What a replica knows: the records of its issuers, from the feed alone, in memory.
//!
//! Purpose: the [`Store`] of a reader that serves. Invariants:
//!
//! - There is one table for each issuer, and whoever answers from it sees each record as it was or as it is, during a
//!   comparison with a snapshot too.
//! - A final revocation that was shown stays, whatever the feed says (rule 21). While the feed says something else of
//!   it, the issuer has no digest to compare.
//! - Of an issuer that a snapshot does not have, all records stay as they were: a writer that was given another
//!   configuration has not said that its certificates are unlisted, which a policy may call good, holds among them.
//! - An issuer of which the feed has said nothing is not known, so its certificates are neither good nor unlisted (rule
//!   24). Nor is one that was added to others, until everything was compared anew: what was told of it before is
//!   missing.
//! - Of an issuer that the last snapshot does not have, something may be missing: its writer may know much of it that it has
//!   told before this replica came. It gets known, or known on, with a snapshot that has it, or once its records amount to
//!   what the writer's do: then everything was told since.
//!
//! What the feed says of issuers that are not configured here is passed over, and the issuers are named: when one of them
//! is configured, everything has to be compared anew. It does not know the stream, answers, or how fresh anything is.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use super::{
    Issuer, Later,
    body::{IssuerStatus, Section},
    rule::{Verdict, by_feed},
    store::{Fault, Place, Store, Walk, Walked},
};
use crate::{
    issuer_id::IssuerId,
    ledger::{IssuerState, States, reconcile::Known},
    limits::feed as limits,
    pki::{Serial, Status},
    records::{Census, CertificateHash, Change, Counts, Details, Digest, Filling, NO_HASH, Records, RecordsWriter},
};

/// The records of a replica's issuers.
#[derive(Debug, Default)]
pub struct Replica {
    place: Option<Place>,
    issuers: HashMap<Issuer, Held>,
    strangers: BTreeSet<Issuer>,
}

/// One issuer.
#[derive(Debug)]
struct Held {
    state: IssuerState,
    writer: RecordsWriter,
    /// What stays revoked although the feed says otherwise.
    contradicted: HashSet<Serial>,
    /// Whether it was there from the beginning, or when everything was compared since.
    is_whole: bool,
    /// Whether the last snapshot had it, or it was found to be what the writer has.
    is_named: bool,
    /// Its condition, until it is both.
    told: Option<IssuerStatus>,
}

impl Replica {
    /// One that knows nothing of these issuers yet.
    pub fn new(issuers: impl IntoIterator<Item = IssuerId>) -> Self {
        Self {
            issuers: issuers.into_iter().map(|id| Held::new(IssuerState::new(id), true)).collect(),
            ..Self::default()
        }
    }

    /// Goes over to these issuers. Those that are not here yet are in `added`, without records: nothing is known of them
    /// until everything was compared anew.
    pub fn change(&mut self, wanted: &HashSet<Issuer>, added: Vec<(IssuerState, RecordsWriter)>) {
        self.issuers.retain(|issuer, _| wanted.contains(issuer));
        for (issuer, held) in added.into_iter().map(|added| Held::new(added, false)) {
            self.strangers.remove(&issuer);
            self.issuers.entry(issuer).or_insert(held);
        }
    }

    /// Whether there are issuers of which what was told before is missing: everything has to be compared anew.
    pub fn lacks_issuers(&self) -> bool {
        self.issuers.values().any(|held| !held.is_whole)
    }

    /// Whether another snapshot than the last one may have what is missing of an issuer.
    pub fn wants_another_snapshot(&self) -> bool {
        self.issuers.values().any(|held| !held.has_all())
    }

    /// What others see of the issuers.
    pub fn states(&self) -> States {
        self.issuers.values().map(|held| held.state.clone()).collect()
    }

    /// Issuers of which nothing was told.
    pub fn unknown(&self) -> Vec<Issuer> {
        let known = |held: &&Held| held.is_whole && !held.state.health.is_known();
        self.issuers.values().filter(known).map(|held| Issuer::from(held.state.id())).collect()
    }

    /// Issuers of the feed that are not configured here; at most [`limits::STRANGERS_MAX`] of them.
    pub fn strangers(&self) -> impl Iterator<Item = Issuer> + '_ {
        self.strangers.iter().copied()
    }

    /// Final revocations of all issuers that stay although the feed says otherwise.
    pub fn contradictions(&self) -> usize {
        self.issuers.values().map(|held| held.contradicted.len()).sum()
    }

    /// What is shown of these records, and of those of which the feed says something else: for issuers that are not here
    /// what the feed says.
    pub fn shown(&self, said: &Later) -> Vec<Section> {
        let mut sections: HashMap<Issuer, Vec<Change>> = HashMap::new();
        let present =
            |held: &Held, serial: &Serial| Known::change(*serial, held.state.records.get(serial).map(Known::from));
        for ((issuer, serial), change) in said {
            let change = self.issuers.get(issuer).map_or(*change, |held| present(held, serial));
            sections.entry(*issuer).or_default().push(change);
        }
        for (issuer, held) in &self.issuers {
            let stays = held.contradicted.iter().map(|serial| present(held, serial));
            sections.entry(*issuer).or_default().extend(stays);
        }
        sections.retain(|_, changes| !changes.is_empty());
        let section = |(issuer, changes): (Issuer, Vec<Change>)| {
            let hashes = self.issuers.get(&issuer).map_or_else(Vec::new, |held| held.hashes(&changes));
            Section { issuer, changes, hashes }
        };
        sections.into_iter().map(section).collect()
    }

    /// Notes the condition of an issuer's sources, as the writer found it.
    pub fn note_status(&mut self, status: &IssuerStatus) {
        match self.issuers.get_mut(&status.issuer()) {
            Some(held) if held.has_all() => held.note(status),
            // It would be known by that, without its records.
            Some(held) => held.told = Some(status.clone()),
            None => self.note_stranger(status.issuer()),
        }
    }

    /// Hears what the writer's records amount to at a place up to which everything was applied here: of what amounts to
    /// the same nothing is missing. It may have been applied on since: what has changed was told, and the rest is the same.
    pub fn agree(&mut self, digests: &[(Issuer, Digest)]) {
        for (issuer, digest) in digests {
            let Some(held) = self.issuers.get_mut(issuer).filter(|held| !held.has_all()) else { continue };
            if held.contradicted.is_empty() && held.state.records.digest() == *digest {
                (held.is_whole, held.is_named) = (true, true);
                held.told.take().iter().for_each(|status| held.note(status));
            }
        }
    }

    /// How the certificates stand that these sections speak of, of issuers that are here: one that is not listed is good.
    pub fn statuses(&self, sections: &[Section]) -> Vec<(Issuer, Serial, Status)> {
        let listed = self.listed(sections).into_iter();
        listed.map(|(issuer, serial, status)| (issuer, serial, status.unwrap_or(Status::Good))).collect()
    }

    /// The same, with `None` for one that is not listed.
    pub fn listed(&self, sections: &[Section]) -> Vec<(Issuer, Serial, Option<Status>)> {
        let of = |Section { issuer, changes, .. }: &Section| {
            let (issuer, held) = (*issuer, self.issuers.get(issuer));
            let status = |held: &Held, serial: &Serial| held.state.records.get(serial).map(|found| found.status);
            let each = held.map(|held| {
                let each = changes.iter().map(|said| (issuer, said.serial, status(held, &said.serial)));
                each.collect::<Vec<_>>()
            });
            each.unwrap_or_default()
        };
        sections.iter().flat_map(of).collect()
    }

    fn note_stranger(&mut self, issuer: Issuer) {
        if self.strangers.len() < limits::STRANGERS_MAX {
            self.strangers.insert(issuer);
        }
    }
}

impl Held {
    fn new((state, writer): (IssuerState, RecordsWriter), is_whole: bool) -> (Issuer, Self) {
        let contradicted = HashSet::new();
        (Issuer::from(state.id()), Self { state, writer, contradicted, is_whole, is_named: true, told: None })
    }

    fn has_all(&self) -> bool {
        self.is_whole && self.is_named
    }

    fn note(&self, status: &IssuerStatus) {
        self.state.health.told(status.verified, status.crl_next_update, status.is_crl_alone);
    }

    /// The hashes of these certificates; empty if none is known.
    fn hashes(&self, changes: &[Change]) -> Vec<CertificateHash> {
        let hash = |change: &Change| self.state.details.hash(&change.serial).unwrap_or(NO_HASH);
        let hashes: Vec<_> = changes.iter().map(hash).collect();
        if hashes.iter().all(|hash| *hash == NO_HASH) { Vec::new() } else { hashes }
    }

    /// Shows what the feed says, as far as it may.
    fn say(&mut self, said: &Change) -> bool {
        say(&mut self.writer, &mut self.contradicted, said)
    }
}

/// True if the record has changed.
fn say(writer: &mut RecordsWriter, contradicted: &mut HashSet<Serial>, said: &Change) -> bool {
    let mut stays = false;
    let is_changed = writer.change(&said.serial, |found| {
        let present = Known::change(said.serial, found.map(Known::from));
        match by_feed(&present, said) {
            Verdict::Becomes(next) if next == present => None,
            Verdict::Becomes(next) => Some(next.record.map(|record| (record, next.origin))),
            Verdict::Stays => {
                stays = true;
                None
            }
        }
    });
    if stays {
        contradicted.insert(said.serial);
    } else if !contradicted.is_empty() {
        contradicted.remove(&said.serial);
    }
    is_changed
}

/// An issuer while everything is compared.
enum Compared<'a> {
    /// It has no records yet: they are filled in.
    First(Filling<'a>),
    Again {
        writer: &'a mut RecordsWriter,
        contradicted: &'a mut HashSet<Serial>,
        census: Census<'a>,
        changed: u64,
    },
}

impl Compared<'_> {
    /// So many records come.
    fn expect(&mut self, records: usize) {
        if let Self::First(filling) = self {
            filling.expect(records);
        }
    }

    fn take(&mut self, said: &Change) {
        match self {
            Self::First(filling) => filling.add(*said),
            Self::Again { writer, contradicted, census, changed } => {
                census.mark(&said.serial);
                *changed += u64::from(say(writer, contradicted, said));
            }
        }
    }

    /// What the snapshot does not list is not listed, if it has the issuer. Returns how many records have changed.
    fn end(self, table: &Records, is_named: bool) -> u64 {
        match self {
            Self::First(filling) => {
                drop(filling);
                table.counts().good + table.counts().revoked
            }
            Self::Again { changed, .. } if !is_named => changed,
            Self::Again { writer, contradicted, census, changed } => {
                let unlisted: Vec<Serial> = census.unlisted().map(|(serial, _)| serial).collect();
                let removed = unlisted.iter().filter(|serial| say(writer, contradicted, &Change::new(**serial, None)));
                changed + removed.count() as u64
            }
        }
    }
}

impl Store for Replica {
    fn place(&self) -> Option<Place> {
        self.place
    }

    fn apply(&mut self, place: Place, sections: &[Section]) -> Result<(), Fault> {
        for section in sections {
            let Section { issuer, changes, .. } = section;
            let Some(held) = self.issuers.get_mut(issuer) else {
                self.note_stranger(*issuer);
                continue;
            };
            // Before the records show.
            section.told_hashes().for_each(|(serial, hash)| held.state.details.note_hash(serial, hash));
            let changed: Vec<Serial> = changes.iter().filter(|said| held.say(said)).map(|said| said.serial).collect();
            held.state.changes.tell(changed.len(), changed.into_iter());
        }
        self.place = Some(place);
        Ok(())
    }

    fn reconcile(&mut self, place: Place, walk: Walk<'_>) -> Result<(), Fault> {
        // Until the end the records are of no one place.
        self.place = None;
        let tables: HashMap<Issuer, Arc<Records>> =
            self.issuers.iter().map(|(issuer, held)| (*issuer, held.state.records.clone())).collect();
        let details: HashMap<Issuer, Arc<Details>> =
            self.issuers.iter().map(|(issuer, held)| (*issuer, held.state.details.clone())).collect();
        let mut strangers = BTreeSet::new();
        let mut compared: HashMap<Issuer, Compared<'_>> = self
            .issuers
            .iter_mut()
            .map(|(issuer, held)| {
                let table = &tables[issuer];
                held.contradicted.clear();
                let compared = if table.counts() == Counts::default() {
                    Compared::First(held.writer.filling())
                } else {
                    let (writer, contradicted) = (&mut held.writer, &mut held.contradicted);
                    Compared::Again { writer, contradicted, census: table.census(), changed: 0 }
                };
                (*issuer, compared)
            })
            .collect();
        let (mut named, mut spoken_of) = (HashSet::new(), HashSet::new());
        let walked = walk(&mut |walked| match walked {
            Walked::Coming(issuer, records) => {
                named.insert(issuer);
                if let Some(compared) = compared.get_mut(&issuer) {
                    compared.expect(records);
                }
            }
            Walked::Records(issuer, said) => match compared.get_mut(&issuer) {
                Some(compared) => {
                    spoken_of.insert(issuer);
                    said.iter().for_each(|said| compared.take(said));
                }
                None if strangers.len() < limits::STRANGERS_MAX && !said.is_empty() => _ = strangers.insert(issuer),
                None => {}
            },
            Walked::Hashes(issuer, hashes) => {
                if let Some(details) = details.get(&issuer) {
                    hashes.iter().for_each(|(serial, hash)| details.note_hash(*serial, *hash));
                }
            }
        });
        if let Err(refusal) = walked {
            return Err(Fault(format!("the snapshot cannot be read: {refusal}")));
        }
        let end = |(issuer, compared): (Issuer, Compared<'_>)| {
            (issuer, compared.end(&tables[&issuer], named.contains(&issuer)))
        };
        let changed: Vec<(Issuer, u64)> = compared.into_iter().map(end).collect();
        for (issuer, changed) in changed {
            let Some(held) = self.issuers.get_mut(&issuer) else { continue };
            // One that is spoken of, and not named, is still being told.
            held.is_named = named.contains(&issuer) || held.has_all() && spoken_of.contains(&issuer);
            (held.is_whole, held.told) = (true, None);
            held.state.forget_hashes();
            // Whoever listens looks at everything.
            if changed > 0 {
                held.state.changes.tell_many();
            }
        }
        self.strangers = strangers;
        self.place = Some(place);
        Ok(())
    }

    fn digest(&self, issuer: Issuer) -> Option<Digest> {
        let held = self.issuers.get(&issuer)?;
        (held.has_all() && held.contradicted.is_empty()).then(|| held.state.records.digest())
    }
}

#[cfg(test)]
mod tests;
