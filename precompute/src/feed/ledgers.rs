//! What a writer of the feed keeps: the ledgers of its issuers, and their book.
//!
//! Purpose: the [`Store`] and [`Book`] of the machines over real ledgers. Invariants:
//!
//! - The place is the book's, and nothing moves it but from where the machine was told that it is: what was exchanged or
//!   rolled back under the machine stays without a place, or at its own one, and is a [`Fault`].
//! - What is told is what the book has committed, never what only shows.
//! - What cannot be read is neither good nor unlisted: then what shows is said, and there is no place.
//!
//! What the feed says of issuers that are not configured here is passed over, and they are named, as by
//! [`Replica`](super::replica::Replica). Who configures one of them calls [`LedgerBook::compare_anew`]. The names do not
//! survive a restart; after that the first digest of such an issuer in a heartbeat differs from what is here, and then
//! everything is compared as well.
//!
//! Pushes and sources go to the ledgers beside it, which have to [owe](crate::ledger::Ledger::owe) what they save, whoever
//! leads. It does not know who leads.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
};

use tracing::warn;

use super::{
    Chain, Issuer, Position,
    body::{IssuerStatus, Section},
    store::{Book, Fault, Owed, Place, Store, Walk, Walked},
    writer::in_sections,
};
use crate::{
    book,
    ledger::{self, Ledgers, NotCompared},
    limits::{PUSHES_A_COMMIT, feed as limits},
    pki::Serial,
    records::{CertificateHash, Change, Digest},
    state_dir::StateError,
};

/// The ledgers of a writer, as its machine sees them.
#[derive(Debug)]
pub struct LedgerBook {
    ledgers: Ledgers,
    /// The place that the machine was told last.
    seen: Cell<Option<book::Place>>,
    /// The issuer whose digest was given last.
    turn: Option<[u8; 32]>,
    /// Issuers that are not configured here, and what they are called where that was told.
    strangers: BTreeMap<Issuer, Option<String>>,
    /// Why the book could not be read last.
    unreadable: RefCell<Option<String>>,
}

impl LedgerBook {
    /// Of all issuers that are configured, now and later.
    pub fn new(ledgers: Ledgers) -> Self {
        Self { ledgers, seen: Cell::new(None), turn: None, strangers: BTreeMap::new(), unreadable: RefCell::new(None) }
    }

    /// The ledgers.
    pub fn ledgers(&self) -> &Ledgers {
        &self.ledgers
    }

    /// Issuers of the feed that are not configured here; at most [`limits::STRANGERS_MAX`] of them.
    pub fn strangers(&self) -> impl Iterator<Item = Issuer> + '_ {
        self.strangers.keys().copied()
    }

    /// The same for people, as far as it was told what they are called.
    pub fn strangers_named(&self) -> impl Iterator<Item = &str> {
        self.strangers.values().flatten().map(|named| &**named)
    }

    /// Forgets the place, so that everything is compared with the feed: one of the strangers is configured now.
    pub fn compare_anew(&mut self) -> Result<(), Fault> {
        self.strangers.clear();
        self.ledgers.end_place().map_err(fault)
    }

    /// Notes the condition of an issuer's sources, as who leads has found it.
    pub fn note_status(&mut self, status: &IssuerStatus) {
        let issuer = status.issuer();
        let IssuerStatus { verified, crl_next_update, is_crl_alone, ref crl_marks, .. } = *status;
        if !self.ledgers.note_status(&issuer.0, verified, (crl_next_update, is_crl_alone), crl_marks) {
            self.note_strangers([issuer]);
            if let Some(named @ None) = self.strangers.get_mut(&issuer) {
                let words = status.id.in_words();
                warn!(
                    "the writer that leads has an issuer that is not configured here, {words}: nothing of it is kept, and if this writer took over nobody would be told of it any more; add it to the configuration of this one"
                );
                *named = Some(words);
            }
        }
    }

    fn note_strangers(&mut self, issuers: impl IntoIterator<Item = Issuer>) {
        for issuer in issuers {
            // What it is called comes with its status, and is told then.
            if self.strangers.len() < limits::STRANGERS_MAX {
                self.strangers.entry(issuer).or_default();
            }
        }
    }

    /// What was read; `None` after an error, which is logged once.
    fn read<T>(&self, read: Result<T, StateError>) -> Option<T> {
        let (read, fault) = match read {
            Ok(read) => (Some(read), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let before = self.unreadable.replace(fault.clone());
        if let Some(fault) = fault.filter(|fault| before.as_ref() != Some(fault)) {
            warn!("{fault}; this server cannot write or follow the feed until it can be read");
        }
        read
    }

    /// From where the machine believes the records to be to the next place.
    fn move_to(&self, to: Place) -> book::Move {
        book::Move { from: self.seen.get(), to: Some(of_book(to)) }
    }
}

fn of_book(place: Place) -> book::Place {
    let Place { position: Position { epoch, sequence }, chain: Chain(chain) } = place;
    book::Place { epoch, sequence, chain }
}

fn of_feed(place: book::Place) -> Place {
    let book::Place { epoch, sequence, chain } = place;
    Place { position: Position { epoch, sequence }, chain: Chain(chain) }
}

fn of_ledger(sections: &[Section]) -> Vec<ledger::Section<'_>> {
    let all = sections.iter();
    all.map(|Section { issuer, changes, hashes }| ledger::Section { issuer: issuer.0, changes, hashes }).collect()
}

fn fault(error: StateError) -> Fault {
    Fault(error.to_string())
}

impl Store for LedgerBook {
    fn place(&self) -> Option<Place> {
        let place = self.read(self.ledgers.place()).flatten();
        self.seen.set(place);
        place.map(of_feed)
    }

    fn apply(&mut self, place: Place, sections: &[Section]) -> Result<(), Fault> {
        let applied = self.ledgers.apply_told(self.move_to(place), &of_ledger(sections)).map_err(fault)?;
        self.seen.set(Some(of_book(place)));
        self.note_strangers(applied.strangers.into_iter().map(Issuer));
        Ok(())
    }

    fn reconcile(&mut self, place: Place, walk: Walk<'_>) -> Result<(), Fault> {
        self.seen.set(None);
        let listed = RefCell::new(BTreeSet::new());
        let ledgers = &self.ledgers;
        let mut walk = |each: &mut dyn FnMut([u8; 32], &Change)| {
            let mut kept = Ok(());
            let walked = walk(&mut |walked| match walked {
                Walked::Coming(issuer, _) => _ = listed.borrow_mut().insert(issuer.0),
                Walked::Records(issuer, changes) => changes.iter().for_each(|change| each(issuer.0, change)),
                Walked::Hashes(issuer, hashes) if kept.is_ok() => kept = ledgers.keep_hashes(&issuer.0, hashes),
                Walked::Hashes(..) => {}
            });
            walked.map_err(|refusal| Fault(format!("the snapshot cannot be read: {refusal}")))?;
            kept.map_err(fault)
        };
        let is_listed = |issuer: &[u8; 32]| listed.borrow().contains(issuer);
        let compared = self.ledgers.compare(of_book(place), &mut walk, &is_listed).map_err(|error| match error {
            NotCompared::Walk(fault) => fault,
            NotCompared::Book(error) => fault(error),
        })?;
        self.seen.set(Some(of_book(place)));
        if let Some(example) = compared.undone {
            warn!(
                count = compared.pushes_undone, %example,
                "pushes to this server are undone, because the feed says something else of their certificates: it does not know what was pushed while this server had no `[feed]`; push again what shall count"
            );
        }
        let former = std::mem::take(&mut self.strangers);
        self.note_strangers(compared.strangers.into_iter().map(Issuer));
        for (issuer, named) in &mut self.strangers {
            *named = former.get(issuer).cloned().flatten();
        }
        Ok(())
    }

    fn digest(&self, issuer: Issuer) -> Option<Digest> {
        self.read(self.ledgers.told_digest(&issuer.0)).flatten()
    }
}

impl Book for LedgerBook {
    fn present(&self, issuer: Issuer, serial: &Serial) -> Option<Change> {
        let committed = self.read(self.ledgers.committed(&issuer.0, serial)).flatten();
        // To say that there is no record would have others remove theirs.
        committed.or_else(|| self.ledgers.shown(&issuer.0, serial))
    }

    fn owed(&self, most: usize) -> Vec<Owed> {
        let rows = self.read(self.ledgers.owed(most)).unwrap_or_default();
        let owed = |row: book::Told| Owed { issuer: Issuer(row.issuer), change: row.change, version: row.version };
        rows.into_iter().map(owed).collect()
    }

    fn hashes(&self, issuer: Issuer, changes: &[Change]) -> Vec<Option<CertificateHash>> {
        self.read(self.ledgers.hashes(&issuer.0, changes)).unwrap_or_default()
    }

    fn told(&mut self, place: Place, rows: &[Owed]) -> Result<(), Fault> {
        let from = self.seen.get();
        // Behind a `begin` each entry follows the one before; what is not there is of another book, or an earlier one.
        let Position { epoch, sequence } = place.position;
        let before = (epoch, sequence.saturating_sub(1));
        if sequence > 1 && from.map(|from| (from.epoch, from.sequence)) != Some(before) {
            let there = from.map_or("no place".to_owned(), |from| from.to_string());
            return Err(Fault(format!(
                "the book is at {there} in the feed and cannot go on to {place}: it was exchanged, or has lost what was not on disk yet; this server stands by and reads the feed"
            )));
        }
        let told = |row: &Owed| book::Told { issuer: row.issuer.0, change: row.change, version: row.version };
        let told: Vec<book::Told> = rows.iter().map(told).collect();
        self.ledgers.told(self.move_to(place), &told).map_err(fault)?;
        self.seen.set(Some(of_book(place)));
        Ok(())
    }

    /// The sources have to be read whole after it: see [`Ledgers::undo_untold`].
    fn undo_untold(&mut self) -> Result<(), Fault> {
        self.ledgers.undo_untold().map(|_| ()).map_err(fault)
    }

    /// At most [`limits::DEBTS_MAX`] of them.
    fn debts(&self) -> Vec<(Issuer, Change)> {
        let mut all: Vec<(Issuer, Change)> = Vec::new();
        while all.len() < limits::DEBTS_MAX {
            let after = all.last().map(|(issuer, change)| (issuer.0, change.serial));
            let some = self.read(self.ledgers.debts(after, limits::DEBTS_READ)).unwrap_or_default();
            let is_last = some.len() < limits::DEBTS_READ;
            all.extend(some.into_iter().map(|(issuer, change)| (Issuer(issuer), change)));
            if is_last {
                break;
            }
        }
        all
    }

    fn owe_debts(&mut self) -> Result<(), Fault> {
        self.ledgers.owe_debts().map_err(fault)
    }

    fn absorb(&mut self, said: &[(Issuer, Change)]) -> Result<(), Fault> {
        // In parts, as pushes are.
        for part in said.chunks(PUSHES_A_COMMIT) {
            let sections = in_sections(part.iter().copied());
            let absorbed = self.ledgers.absorb(&of_ledger(&sections)).map_err(fault)?;
            self.note_strangers(absorbed.strangers.into_iter().map(Issuer));
        }
        Ok(())
    }

    fn digests(&mut self, most: usize) -> Vec<(Issuer, Digest)> {
        let digests = self.read(self.ledgers.told_digests(self.turn, most)).unwrap_or_default();
        self.turn = digests.last().map(|(issuer, _)| *issuer);
        digests.into_iter().map(|(issuer, digest)| (Issuer(issuer), digest)).collect()
    }
}

#[cfg(test)]
mod tests;
