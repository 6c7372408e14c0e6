//! All ledgers compared with everything that the feed says.
//!
//! Purpose: who cannot follow the feed entry by entry goes on from a snapshot and what follows it. Each record becomes
//! what is said of it, and one of which nothing is said is no longer listed, as if an entry said so (`of_feed`): a final
//! revocation stays, and is a debt. Invariants: while this goes on there is no place, so whoever is killed in the middle
//! begins anew, over records of which each is as it was or as the feed has it; the place is set when everything is on
//! disk. What cannot be read to its end removes nothing. What is said already writes nothing. It does not know snapshots.
//!
//! It goes in parts, one commit each, and pushes and sources come in between. A part is decided against what shows and
//! what the book has: where both say it, and nothing of it is owed, it is left out. Beside a part there is a bit for each
//! record in memory, whether it was spoken of (`Census`); nothing else grows with the number of records.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    Inner, Ledger, Ledgers,
    of_feed::{By, Verdict, Writing},
    reconcile::Known,
    saver::make_way,
    saving::{SharedBook, on_a_processor},
    shown::kept,
};
use crate::{
    book::{Book, Contradicted, Identity, Joint, Move, Place},
    limits::{self, feed::STRANGERS_MAX},
    pki::Serial,
    records::{Census, Change, Counts, Origin, Records},
    state_dir::StateError,
};

/// Gives everything that the feed says: the issuer's fingerprint, and what a record says; once for each record, and best
/// an issuer's together and in order of serial.
pub type Walk<'a, E> = &'a mut dyn FnMut(&mut dyn FnMut([u8; 32], &Change)) -> Result<(), E>;

/// What a comparison has found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Compared {
    /// How many records it has changed.
    pub changed: u64,
    /// How many stay finally revoked although the feed says something else: they are debts, or owed.
    pub contradicted: u64,
    /// How many records that pushes had changed become something else although they were of no place: the feed may never
    /// have heard of these pushes.
    pub pushes_undone: u64,
    /// One of them.
    pub undone: Option<Serial>,
    /// Issuers that are not configured here; at most [`STRANGERS_MAX`].
    pub strangers: BTreeSet<[u8; 32]>,
}

/// Why there is no place in the feed after a comparison.
#[derive(Debug)]
pub enum NotCompared<E> {
    /// The walk ended with this.
    Walk(E),
    /// The book cannot be written, or is another one.
    Book(StateError),
}

impl<E> From<StateError> for NotCompared<E> {
    fn from(error: StateError) -> Self {
        Self::Book(error)
    }
}

impl Ledgers {
    /// Compares all records with what `walk` gives; they are at `place` after that. While it goes on, and after an error,
    /// there is no place. Without an issuer nothing is walked. `is_listed`: whether everything was given of an issuer, asked
    /// behind the walk. One that is not, and of which nothing is given, stays as it is: who leads does not have it, and
    /// cannot say what is not listed.
    pub fn compare<E>(
        &self,
        place: Place,
        walk: Walk<'_, E>,
        is_listed: &dyn Fn(&[u8; 32]) -> bool,
    ) -> Result<Compared, NotCompared<E>> {
        let all = self.all();
        let Some(book) = self.book() else { return Ok(Compared::default()) };
        let tables: Vec<_> = all.iter().map(|ledger| ledger.state().records.clone()).collect();
        let mut comparing = Comparing::begin(&all, &tables, &book)?;
        walk(&mut |issuer, change| comparing.take(issuer, change)).map_err(NotCompared::Walk)?;
        let compared = comparing.end(is_listed)?;
        // What showed before and was not saved is told from this place on.
        all.iter().try_for_each(Ledger::save)?;
        self.set_place(&all, &book, compared.identity, place)?;
        Ok(compared.found)
    }

    /// From here on nobody may believe to know where the records are from: they are compared as a whole next.
    pub fn end_place(&self) -> Result<(), StateError> {
        let Some(book) = self.book() else { return Ok(()) };
        let mut book = book.lock_first();
        let from = book.place()?;
        if from.is_some() {
            book.commit_all(&Joint { batches: &[], place: Some(Move { from, to: None }) })?;
        }
        Ok(())
    }

    fn set_place(&self, all: &[Ledger], book: &SharedBook, of: Identity, to: Place) -> Result<(), StateError> {
        let mut book = book.lock_first();
        let is_compared = |ledger: &Ledger| all.iter().any(|one| std::sync::Arc::ptr_eq(&one.0, &ledger.0));
        if !self.all().iter().all(is_compared) {
            return Err(StateError::new(book.state_dir(), "another issuer was configured meanwhile", AGAIN));
        }
        if book.identity()? != of {
            return Err(exchanged(&book));
        }
        book.commit_all(&Joint { batches: &[], place: Some(Move { from: None, to: Some(to) }) })?;
        Ok(())
    }
}

const AGAIN: &str = "everything is compared with the feed again";

fn exchanged(book: &Book) -> StateError {
    StateError::new(book.state_dir(), "the book was exchanged while it was compared with the feed", AGAIN)
}

/// One issuer.
struct One<'a> {
    inner: &'a Inner,
    /// Which of its records were spoken of; `None` if it had none.
    census: Option<Census<'a>>,
    is_spoken_of: bool,
}

/// What is left when everything has been compared.
struct Ended {
    identity: Identity,
    found: Compared,
}

struct Comparing<'a> {
    book: &'a SharedBook,
    identity: Identity,
    /// The version of the book when it began,
    begun: u64,
    /// and whether it was of a place in the feed then.
    had_place: bool,
    issuers: Vec<One<'a>>,
    places: HashMap<[u8; 32], usize>,
    /// The issuer that is spoken of, and what is said of it.
    current: usize,
    part: BTreeMap<Serial, Change>,
    /// How many records are decided at once.
    size: usize,
    found: Compared,
    /// After it nothing more is taken.
    fault: Option<StateError>,
}

impl<'a> Comparing<'a> {
    /// From here on there is no place.
    fn begin(
        all: &'a [Ledger],
        tables: &'a [std::sync::Arc<Records>],
        book: &'a SharedBook,
    ) -> Result<Self, StateError> {
        let identity = book.lock().identity()?;
        for ledger in all {
            let mut saved = ledger.0.commit();
            let mut book = book.lock();
            ledger.0.in_place(&mut saved, &mut book)?;
            if saved.identity != identity {
                return Err(exchanged(&book));
            }
        }
        let (begun, had_place) = {
            let mut book = book.lock();
            let from = book.place()?;
            (book.commit_all(&Joint { batches: &[], place: Some(Move { from, to: None }) })?, from.is_some())
        };
        let one = |(ledger, table): (&'a Ledger, &'a std::sync::Arc<Records>)| One {
            inner: &ledger.0,
            census: (table.counts() != Counts::default()).then(|| table.census()),
            is_spoken_of: false,
        };
        let places = all.iter().enumerate().map(|(place, ledger)| (*ledger.id().fingerprint(), place)).collect();
        Ok(Self {
            book,
            identity,
            begun,
            had_place,
            issuers: all.iter().zip(tables).map(one).collect(),
            places,
            current: 0,
            part: BTreeMap::new(),
            size: limits::BOOK_SAVE_CHUNK,
            found: Compared::default(),
            fault: None,
        })
    }

    fn take(&mut self, issuer: [u8; 32], said: &Change) {
        if self.fault.is_some() {
            return;
        }
        if self.issuers.get(self.current).is_none_or(|one| one.inner.id.fingerprint() != &issuer) {
            self.flush();
            let Some(place) = self.places.get(&issuer) else {
                if self.found.strangers.len() < STRANGERS_MAX {
                    self.found.strangers.insert(issuer);
                }
                return;
            };
            self.current = *place;
        }
        self.issuers[self.current].is_spoken_of = true;
        if let Some(census) = &mut self.issuers[self.current].census {
            census.mark(&said.serial);
        }
        self.part.insert(said.serial, *said);
        if self.part.len() >= self.size {
            self.flush();
        }
    }

    /// Decides what has been taken.
    fn flush(&mut self) {
        let part = std::mem::take(&mut self.part);
        if part.is_empty() || self.fault.is_some() {
            return;
        }
        let inner = self.issuers[self.current].inner;
        self.fault = self.decide(inner, part).err();
    }

    /// What was not spoken of is not listed.
    fn end(mut self, is_listed: &dyn Fn(&[u8; 32]) -> bool) -> Result<Ended, StateError> {
        self.flush();
        for number in 0..self.issuers.len() {
            if let Some(fault) = self.fault {
                return Err(fault);
            }
            let inner = self.issuers[number].inner;
            if !self.issuers[number].is_spoken_of && !is_listed(inner.id.fingerprint()) {
                continue;
            }
            if let Some(census) = self.issuers[number].census.take() {
                let mut unlisted = census.unlisted().map(|(serial, _)| (serial, Change::new(serial, None)));
                loop {
                    let part: BTreeMap<_, _> = unlisted.by_ref().take(self.size).collect();
                    if part.is_empty() {
                        break;
                    }
                    self.decide(inner, part)?;
                }
            }
            self.end_rows(inner)?;
        }
        Ok(Ended { identity: self.identity, found: self.found })
    }

    /// Rows from before about records that were removed, and of which nothing was said.
    fn end_rows(&mut self, inner: &Inner) -> Result<(), StateError> {
        let mut after = None;
        loop {
            let rows = {
                let mut book = self.book.lock();
                if !book.has_untold(&inner.id)? {
                    return Ok(());
                }
                book.owed_behind(&inner.id, after, limits::BOOK_SAVE_CHUNK)?
            };
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some(last.serial);
            let is_removed = |serial: &Serial| inner.state.records.get(serial).is_none();
            let removed = rows.iter().filter(|row| row.version <= self.begun && is_removed(&row.serial));
            self.decide(inner, removed.map(|row| (row.serial, Change::new(row.serial, None))).collect())?;
        }
    }

    /// Counts what was pushed here and is said otherwise.
    fn note_undone(&mut self, inner: &Inner, becomes: &[Change]) {
        for said in becomes {
            let present = inner.present(&said.serial);
            let status = |change: &Change| change.record.map(|record| record.status);
            if present.origin.has(Origin::PUSHED) && status(&present) != status(said) {
                self.found.pushes_undone += 1;
                self.found.undone.get_or_insert(said.serial);
            }
        }
    }

    /// Decides a part, writes it and shows it.
    fn decide(&mut self, inner: &Inner, part: BTreeMap<Serial, Change>) -> Result<(), StateError> {
        make_way(inner, limits::SAVER_MAKES_WAY);
        let mut of = Writing::begin(inner, part);
        let mut book = self.book.lock();
        inner.in_place(&mut of.saved, &mut book)?;
        if of.saved.identity != self.identity {
            return Err(exchanged(&book));
        }
        of.against(&mut book)?;
        if !self.had_place {
            self.note_undone(inner, &of.becomes);
        }
        let batch = of.batch(By::Feed);
        if batch.says_something() {
            let begun = on_a_processor();
            book.commit(&batch)?;
            drop(book);
            let written = of.becomes.len() + of.contradicted.len();
            of.saved.pace.took(written, on_a_processor().saturating_sub(begun));
        } else {
            drop(book);
        }
        of.show();
        self.size = of.saved.pace.size();
        self.found.changed += of.becomes.len() as u64;
        self.found.contradicted += of.contradicted.len() as u64;
        Ok(())
    }
}

impl Writing<'_> {
    /// Decides what is said against what shows and what the book has.
    fn against(&mut self, book: &mut Book) -> Result<(), StateError> {
        let mut same = Vec::new();
        for said in self.said.values() {
            let present = self.inner.present(&said.serial);
            let (before, after) = (Known::of(&present), Known::of(said));
            if By::Feed.decide(before, after) == Verdict::Contradicts {
                self.contradicted.push(Contradicted { present, said: *said });
            } else if before == after.map(kept) {
                same.push(*said);
            } else {
                self.becomes.push(*said);
            }
        }
        // With the right to write in hand: all that shows is saved, or is among these.
        let is_saved = self.inner.shown().unsaved.serials_left() == 0;
        if !same.is_empty() && (!is_saved || book.has_untold(&self.inner.id)?) {
            self.becomes.extend(book.not_as_told(&self.inner.id, &same)?);
            self.becomes.sort_unstable_by_key(|change| change.serial);
        }
        Ok(())
    }
}
