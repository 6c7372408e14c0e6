//! All ledgers of a process that follows the feed, or writes it.
//!
//! Purpose: an entry of the feed speaks of several issuers, and its place belongs to all of them. So what it says is
//! applied here, to all ledgers at once: decided against the records, written in one commit with the place, and then
//! shown. Invariants: a final revocation stays whatever the feed says, and is a debt until the feed says the same. What
//! the book could not take shows nowhere. A final revocation that shows while this is written stays, and is saved after
//! it. It does not know entries, signatures or who leads.
//!
//! A crash between any two steps is harmless, because each is one commit and says the same when it is repeated: before
//! the commit of an entry the place is that of the entry before, so it is read again; after it the records are loaded as
//! they are written. What is told is written before it is told and noted after it (`book`).
//!
//! Locks as in [`ledger`](super), and the `commit` of several ledgers in the order of their ids.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, MutexGuard, TryLockError},
};

use super::{
    Inner, Ledger, Ledgers,
    reconcile::{Known, contradicts, strictness},
    saver::make_way,
    saving::{Saved, SharedBook},
};
use crate::{
    book::{Batch, Contradicted, Joint, Move, Place, Told},
    limits,
    pki::{Serial, UnixTime},
    records::{CertificateHash, Change, Digest, NO_HASH},
    source::CrlMarks,
    state_dir::StateError,
};

/// What the feed says of one issuer's records. If it speaks of a record twice, the later one counts.
#[derive(Clone, Copy, Debug)]
pub struct Section<'a> {
    /// The issuer's fingerprint.
    pub issuer: [u8; 32],
    /// What the records say.
    pub changes: &'a [Change],
    /// The hash of the certificate of each, or zeros; empty if none is told.
    pub hashes: &'a [CertificateHash],
}

/// What became of what the feed says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Applied {
    /// Records that stay finally revoked although the feed says something else: they are debts.
    pub contradicted: Vec<([u8; 32], Serial)>,
    /// Issuers that are not configured here: nothing is kept of them. Who configures one later has to compare it as a
    /// whole.
    pub strangers: Vec<[u8; 32]>,
}

/// What becomes of a record of which others say something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// What they say.
    Becomes,
    /// It stays, against them.
    Contradicts,
    /// It stays, and says enough.
    Stays,
}

/// Why others say it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum By {
    /// It is the next entry of the feed that this process follows.
    Feed,
    /// It is in what this process does not continue: the stricter of both counts, and has to be told.
    Others,
}

impl By {
    pub(super) fn decide(self, present: Option<Known>, said: Option<Known>) -> Verdict {
        let rank = |known: Option<Known>| known.map(|known| strictness(known.record.status));
        match self {
            Self::Feed if contradicts(present, said) => Verdict::Contradicts,
            Self::Feed => Verdict::Becomes,
            Self::Others if rank(said) > rank(present).max(Some(0)) => Verdict::Becomes,
            Self::Others => Verdict::Stays,
        }
    }
}

/// A ledger whose turn to write is held, and what is to be written of it.
pub(super) struct Writing<'a> {
    pub(super) inner: &'a Inner,
    pub(super) saved: MutexGuard<'a, Saved>,
    /// What is said.
    pub(super) said: BTreeMap<Serial, Change>,
    /// The hashes of certificates that are told beside it.
    pub(super) hashes: Vec<(Serial, CertificateHash)>,
    /// What of it counts.
    pub(super) becomes: Vec<Change>,
    /// What of it does not, and is to be noted.
    pub(super) contradicted: Vec<Contradicted>,
}

impl<'a> Writing<'a> {
    /// Waits for its turn.
    pub(super) fn begin(inner: &'a Inner, said: BTreeMap<Serial, Change>) -> Self {
        let (hashes, becomes, contradicted) = Default::default();
        Self { inner, saved: inner.commit(), said, hashes, becomes, contradicted }
    }

    pub(super) fn decide(&mut self, by: By) {
        for said in self.said.values() {
            let present = self.inner.present(&said.serial);
            match by.decide(Known::of(&present), Known::of(said)) {
                Verdict::Becomes => self.becomes.push(*said),
                Verdict::Contradicts => self.contradicted.push(Contradicted { present, said: *said }),
                Verdict::Stays => {}
            }
        }
    }

    pub(super) fn batch(&self, by: By) -> Batch<'_> {
        Batch {
            changes: &self.becomes,
            hashes: &self.hashes,
            contradicted: &self.contradicted,
            is_told: by == By::Feed,
            owed: by == By::Others,
            // The book has no longer what the sources said.
            forgets_stamps: !self.becomes.is_empty(),
            ..Batch::new(&self.inner.id, self.saved.identity)
        }
    }

    /// Shows what is on disk now.
    pub(super) fn show(&self) {
        // Before the records show.
        self.hashes.iter().for_each(|(serial, hash)| self.inner.state.details.note_hash(*serial, *hash));
        let mut shown = self.inner.shown();
        if !self.becomes.is_empty() {
            shown.unsaved.of_sources.stamps = None;
        }
        self.inner.show_by_feed(&mut shown, &self.becomes);
        // Whoever speaks of it knows it, with the certificates that it does not list.
        self.inner.state.health.is_known_now();
    }
}

impl Inner {
    /// What the records amount to, if they are on disk and were told. `untold`: who has something that was not.
    fn told_digest(&self, untold: &HashSet<[u8; 32]>) -> Option<Digest> {
        // Who has it has perhaps committed something that does not show. A heartbeat does not wait for that.
        let _saved = match self.commit.try_lock() {
            Ok(saved) => saved,
            Err(TryLockError::Poisoned(saved)) => saved.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let shown = self.shown();
        let is_told = shown.unsaved.serials_left() == 0 && !untold.contains(self.id.fingerprint());
        is_told.then(|| self.state.records.digest())
    }
}

/// Without an issuer there is no book: then nothing is kept, and there is no place.
impl Ledgers {
    /// The place in the feed that the records are from; `None` if they have to be compared with it as a whole.
    pub fn place(&self) -> Result<Option<Place>, StateError> {
        self.book().map_or(Ok(None), |book| book.lock_first().place())
    }

    /// Applies an entry of the feed: what it says is on disk with its place, and then shows. After an error nothing has
    /// changed, or the book in place has no place. If the book is not where `place` begins, that is an error.
    pub fn apply_told(&self, place: Move, sections: &[Section<'_>]) -> Result<Applied, StateError> {
        self.take_over(By::Feed, Some(place), sections)
    }

    /// Takes over what is stricter elsewhere, as something to be told.
    pub fn absorb(&self, sections: &[Section<'_>]) -> Result<Applied, StateError> {
        self.take_over(By::Others, None, sections)
    }

    /// Undoes what nobody was told, in all ledgers, but for final revocations: those become debts. Returns how many.
    ///
    /// What sources have said is undone as well, and they say it again when they are read. So whoever runs an engine calls
    /// this while it stands by ([`Ledgers::stand_by`]) and before its sources are read: at a start between `join` and
    /// `lead`, and after this process no longer leads. Whatever the sources looked like before, they have to be read whole
    /// after it, as `lead` does. By `read_all` they are only with an engine that was opened after this, since the book has
    /// no stamps where a record has changed.
    pub fn undo_untold(&self) -> Result<usize, StateError> {
        let all = self.all();
        let mut sorted: Vec<&Ledger> = all.iter().collect();
        sorted.sort_unstable_by_key(|ledger| ledger.id());
        sorted.into_iter().map(|ledger| Ok(ledger.undo_untold()?.len())).sum()
    }

    /// Up to `most` changes that are to be told, as the book has them: pushes first.
    pub fn owed(&self, most: usize) -> Result<Vec<Told>, StateError> {
        self.book().map_or(Ok(Vec::new()), |book| book.lock_first().owed(most))
    }

    /// They were told, and this is the place now: see [`Book::told`](crate::book::Book::told).
    pub fn told(&self, place: Move, told: &[Told]) -> Result<(), StateError> {
        self.book().map_or(Ok(()), |book| book.lock_first().told(Some(place), told))
    }

    /// Up to `most` final revocations that the feed contradicts, behind `after`, by issuer.
    pub fn debts(&self, after: Option<([u8; 32], Serial)>, most: usize) -> Result<Vec<([u8; 32], Change)>, StateError> {
        self.book().map_or(Ok(Vec::new()), |book| book.lock_first().debts(after, most))
    }

    /// From now on the debts are rows of the outbox: this process tells them itself.
    pub fn owe_debts(&self) -> Result<(), StateError> {
        let Some(book) = self.book() else { return Ok(()) };
        while book.lock_first().owe_debts()? {}
        Ok(())
    }

    /// What a record says in the book; `None` if the issuer is not configured.
    pub fn committed(&self, issuer: &[u8; 32], serial: &Serial) -> Result<Option<Change>, StateError> {
        let Some(ledger) = self.of(issuer) else { return Ok(None) };
        let known = ledger.0.book.lock_first().get(ledger.id(), serial)?;
        Ok(Some(Known::change(*serial, known.map(|(record, origin)| Known { record, origin }))))
    }

    /// The hash of each of these certificates, if it was pushed; empty if the issuer is not configured.
    pub fn hashes(&self, issuer: &[u8; 32], of: &[Change]) -> Result<Vec<Option<CertificateHash>>, StateError> {
        let Some(ledger) = self.of(issuer) else { return Ok(Vec::new()) };
        let mut book = ledger.0.book.lock_first();
        book.hashes_of(ledger.id(), of.iter().map(|change| &change.serial))
    }

    /// Keeps hashes of certificates that others were told of, as far as the book has others or none. Nothing is kept where
    /// the issuer is not configured.
    pub fn keep_hashes(&self, issuer: &[u8; 32], hashes: &[(Serial, CertificateHash)]) -> Result<(), StateError> {
        let Some(ledger) = self.of(issuer) else { return Ok(()) };
        let inner = &*ledger.0;
        make_way(inner, limits::SAVER_MAKES_WAY);
        let mut saved = inner.commit();
        let mut book = inner.book.lock();
        inner.in_place(&mut saved, &mut book)?;
        let known = book.hashes_of(&inner.id, hashes.iter().map(|(serial, _)| serial))?;
        let others = hashes.iter().zip(known).filter(|((_, hash), known)| *known != Some(*hash) && *hash != NO_HASH);
        let others: Vec<_> = others.map(|(hash, _)| *hash).collect();
        if !others.is_empty() {
            book.commit(&Batch { hashes: &others, ..Batch::new(&inner.id, saved.identity) })?;
        }
        drop(book);
        others.iter().for_each(|(serial, hash)| inner.state.details.note_hash(*serial, *hash));
        Ok(())
    }

    /// The same as it shows, saved or not.
    pub fn shown(&self, issuer: &[u8; 32], serial: &Serial) -> Option<Change> {
        self.of(issuer).map(|ledger| ledger.0.present(serial))
    }

    /// What an issuer's records amount to; `None` if it is not configured, or if they are not what was told: something
    /// is owed, contradicted, not saved, or just being written.
    pub fn told_digest(&self, issuer: &[u8; 32]) -> Result<Option<Digest>, StateError> {
        let Some(ledger) = self.of(issuer) else { return Ok(None) };
        let mut book = ledger.0.book.lock_first();
        let untold = book.untold()?;
        Ok(ledger.0.told_digest(&untold))
    }

    /// The same of up to `most` issuers of which anything is known, in the order of their fingerprints from behind
    /// `after` on, and from the first one again after the last.
    pub fn told_digests(&self, after: Option<[u8; 32]>, most: usize) -> Result<Vec<([u8; 32], Digest)>, StateError> {
        let all = self.all();
        let Some(book) = self.book() else { return Ok(Vec::new()) };
        let mut turns: Vec<(&[u8; 32], &Ledger)> =
            all.iter().map(|ledger| (ledger.id().fingerprint(), ledger)).collect();
        turns.sort_unstable_by_key(|(issuer, _)| *issuer);
        let first = turns.partition_point(|(issuer, _)| after.is_some_and(|after| **issuer <= after));
        turns.rotate_left(first);
        // Nobody commits meanwhile.
        let mut book = book.lock_first();
        let untold = book.untold()?;
        let digest = |(issuer, ledger): (&[u8; 32], &Ledger)| Some((*issuer, ledger.0.told_digest(&untold)?));
        let known = turns.into_iter().filter(|(_, ledger)| ledger.state().health.is_known());
        Ok(known.filter_map(digest).take(most).collect())
    }

    /// Notes the condition of an issuer's sources as who leads has found it, to be saved now and then: its CRLs, since
    /// who leads next takes no older ones, and that the issuer is known. False if it is not configured.
    pub fn note_status(
        &self,
        issuer: &[u8; 32],
        verified: Option<UnixTime>,
        (crl_next_update, is_crl_alone): (Option<UnixTime>, bool),
        crl_marks: &CrlMarks,
    ) -> bool {
        let Some(ledger) = self.of(issuer) else { return false };
        let inner = &ledger.0;
        let health = &inner.state.health;
        let is_new = !health.is_known();
        health.told(verified, crl_next_update, is_crl_alone);
        let saved = health.report().verified_saved;
        // What a CRL alone says is known until its end, as where it is read.
        let known = crl_next_update.filter(|_| is_crl_alone).or(verified);
        let is_due =
            known.is_some_and(|known| saved.is_none_or(|saved| known.since(saved) >= limits::VERIFIED_SAVE_INTERVAL));
        let mut shown = inner.shown();
        if is_new || shown.crl_marks != *crl_marks {
            shown.crl_marks.clone_from(crl_marks);
            shown.unsaved.of_sources.crl_marks = Some(crl_marks.clone());
        } else if !is_due {
            return true;
        }
        shown.unsaved.of_sources.verified = known.or(shown.unsaved.of_sources.verified);
        health.verified_saved(known.or(saved));
        inner.bell.ring();
        true
    }

    /// The ledger of an issuer, by its fingerprint; `None` if it is not configured.
    pub(crate) fn of(&self, issuer: &[u8; 32]) -> Option<Ledger> {
        self.0.load().of(issuer).cloned()
    }

    pub(super) fn book(&self) -> Option<Arc<SharedBook>> {
        self.all().first().map(|ledger| Arc::clone(&ledger.0.book))
    }

    fn take_over(&self, by: By, place: Option<Move>, sections: &[Section<'_>]) -> Result<Applied, StateError> {
        let (listed, mut applied) = (self.0.load_full(), Applied::default());
        let Some(book) = self.book() else { return Ok(applied) };
        // In the order of ids, which is that of the locks.
        let mut spoken_of = BTreeMap::new();
        for Section { issuer, changes, hashes } in sections {
            let Some(ledger) = listed.of(issuer) else {
                applied.strangers.push(*issuer);
                continue;
            };
            let (_, said, told) =
                spoken_of.entry(ledger.id()).or_insert_with(|| (&*ledger.0, BTreeMap::new(), Vec::new()));
            said.extend(changes.iter().map(|change| (change.serial, *change)));
            let hashed = changes.iter().zip(*hashes).filter(|(_, hash)| **hash != NO_HASH);
            told.extend(hashed.map(|(change, hash)| (change.serial, *hash)));
        }
        let _waits = book.wait();
        let begin = |(inner, said, hashes)| Writing { hashes, ..Writing::begin(inner, said) };
        let mut writing: Vec<Writing<'_>> = spoken_of.into_values().map(begin).collect();
        let mut book = book.lock();
        for of in &mut writing {
            of.inner.in_place(&mut of.saved, &mut book)?;
            of.decide(by);
        }
        let batches: Vec<Batch<'_>> = writing.iter().map(|of| of.batch(by)).filter(Batch::says_something).collect();
        if batches.is_empty() {
            place.map_or(Ok(()), |place| book.told(Some(place), &[]))?;
        } else {
            book.commit_all(&Joint { batches: &batches, place })?;
        }
        drop(batches);
        drop(book);
        for of in &writing {
            #[cfg(test)]
            of.inner.steps.reach(super::Step::Committed);
            of.show();
            let issuer = *of.inner.id.fingerprint();
            applied.contradicted.extend(of.contradicted.iter().map(|one| (issuer, one.present.serial)));
        }
        Ok(applied)
    }
}
