//! What the CRLs of an issuer say together.
//!
//! Purpose: combines a complete CRL and a delta CRL into one list. Invariant: a final revocation by the CA always
//! counts, even in a CRL that is refused. It does not know the records.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::compare::Question;
use crate::{
    ledger::reconcile::{FINAL, stricter, strictness},
    pki::{Serial, Status, UnixTime},
    source::{self, Crl, CrlMark, CrlMarks, CrlNumber, CrlScope, SourceError},
};

/// What the CRLs say, in order of serial.
#[derive(Default)]
pub(super) struct Revocations {
    entries: Vec<(Serial, Status)>,
    taken: Vec<bool>,
    /// The scopes of the CRLs that were taken, each once.
    scopes: Vec<CrlScope>,
    /// The newest CRLs taken.
    pub(super) marks: CrlMarks,
    /// When each of them goes out of date.
    pub(super) ends: Vec<(PathBuf, UnixTime)>,
    /// Why a CRL was refused. The revocations of the other CRL still count. So do the final revocations of the refused
    /// one, if it is the CA's.
    pub(super) faults: Vec<SourceError>,
    /// Entries whose serial number no certificate can have.
    pub(super) passed_over: u64,
    /// What was read differently from how a CRL writes it.
    pub(super) warnings: Vec<String>,
    /// Whether one of them was older than the one before.
    pub(super) older: bool,
}

impl Revocations {
    pub(super) fn read(question: &Question<'_>) -> Self {
        let mut this = Self::default();
        let Some(path) = &question.issuer.sources.crl else { return this };
        this.marks = match question.accept_older {
            true => CrlMarks { holds: question.crl_marks.holds, ..CrlMarks::default() },
            false => question.crl_marks,
        };
        let complete = this.accept(path, Crl::read(path, &question.issuer.certificate));
        let complete = complete.filter(|complete| this.take_complete(question, path, complete));
        if let Some(path) = &question.issuer.sources.delta_crl
            && let Some(delta) = this.accept(path, Crl::read(path, &question.issuer.certificate))
        {
            this.take_delta(question, path, &delta, complete.as_ref());
        }
        this.entries.sort_by_key(|(serial, _)| *serial);
        // The strictest of several entries for one serial counts.
        this.entries.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                kept.1 = stricter(kept.1, later.1);
            }
            same
        });
        this.taken = vec![false; this.entries.len()];
        this
    }

    fn accept(&mut self, path: &Path, read: Result<Crl, SourceError>) -> Option<Crl> {
        let crl = read.map_err(|fault| self.faults.push(fault)).ok()?;
        self.passed_over += crl.passed_over() as u64;
        self.warnings.extend(crl.oddities().map(|oddities| format!("{}: {oddities}", path.display())));
        Some(crl)
    }

    /// Takes the complete CRL, unless it is a delta CRL or not newer than the one before.
    fn take_complete(&mut self, question: &Question<'_>, path: &Path, complete: &Crl) -> bool {
        let problem = if complete.is_delta() {
            Some("is a delta CRL; name it as `delta_crl` and a complete CRL as `crl`".to_owned())
        } else {
            self.out_of_order(question, &complete.mark(), self.marks.complete)
        };
        if let Some(problem) = problem {
            self.refuse(path, problem, complete);
            return false;
        }
        let coverage = complete.header().coverage;
        if question.issuer.unlisted_good && !coverage.is_complete() {
            // Its revocations still count.
            let problem = format!(
                "covers only a part of the certificates ({coverage}), and `unlisted = \"good\"` would vouch for all \
                 others; name a complete CRL, or another policy for `unlisted`"
            );
            self.faults.push(SourceError::file(path, problem));
        }
        self.marks.complete = Some(complete.mark());
        self.ends.extend(complete.header().next_update.map(|end| (path.to_owned(), end)));
        self.note_scope(complete);
        self.entries.extend(complete.entries().filter_map(revoked));
        true
    }

    /// Applies a delta CRL to the entries. A delta that is older than the complete CRL says nothing new: the CA has
    /// published a complete CRL since, and the next delta will refer to that (RFC 5280 section 5.2.4).
    fn take_delta(&mut self, question: &Question<'_>, path: &Path, delta: &Crl, complete: Option<&Crl>) {
        let number = complete.and_then(|complete| complete.header().number);
        let covered = |other: Option<CrlNumber>| number.is_some() && other < number;
        let known = self.marks.delta.and_then(|mark| mark.number);
        if delta.is_delta() && covered(delta.header().number) && (covered(known) || known == number) {
            return;
        }
        if let Some(problem) = self.out_of_order(question, &delta.mark(), self.marks.delta) {
            self.refuse(path, problem, delta);
            return;
        }
        match complete.map(|complete| delta.applies_to(complete)) {
            Some(Err(problem)) => self.faults.push(SourceError::file(path, problem)),
            Some(Ok(())) | None => self.marks.delta = Some(delta.mark()),
        }
        self.ends.extend(delta.header().next_update.map(|end| (path.to_owned(), end)));
        self.note_scope(delta);
        let mut changes = BTreeMap::new();
        for entry in delta.entries() {
            let change: &mut Option<_> = changes.entry(entry.serial).or_insert(None);
            *change = match (*change, revoked(entry)) {
                (Some((serial, first)), Some((_, second))) => Some((serial, stricter(first, second))),
                (first, second) => first.or(second),
            };
        }
        // A final revocation stays. If the CA took it back here, the result would depend on what was read before.
        self.entries.retain(|(serial, status)| match changes.get(serial) {
            None => true,
            Some(change) => {
                strictness(*status) == FINAL && change.is_none_or(|(_, status)| strictness(status) != FINAL)
            }
        });
        // Also if it does not fit the complete CRL: what the CA revokes is revoked.
        self.entries.extend(changes.into_values().flatten());
    }

    fn note_scope(&mut self, crl: &Crl) {
        let scope = crl.scope();
        if !self.scopes.contains(&scope) {
            self.scopes.push(scope);
        }
    }

    /// Whether a certificate on hold that is no longer listed is released: by a CRL of all certificates, or by one of
    /// the scope under which every hold so far was listed.
    pub(super) fn releases(&self, listed_under: Option<CrlScope>) -> bool {
        matches!(self.scopes[..], [scope] if scope == CrlScope::WHOLE || Some(scope) == listed_under)
    }

    /// The scope under which CRLs have listed all certificates that are on hold now. `others`: whether a certificate is
    /// on hold that the sources do not list so. It is only called if the answer matters.
    pub(super) fn holds(&self, before: Option<CrlScope>, others: impl FnOnce() -> bool) -> Option<CrlScope> {
        match self.scopes[..] {
            [] => before,
            [scope] if scope == CrlScope::WHOLE || Some(scope) == before || !others() => Some(scope),
            _ => None,
        }
    }

    /// Why a CRL may not follow `taken`.
    fn out_of_order(&mut self, question: &Question<'_>, crl: &CrlMark, taken: Option<CrlMark>) -> Option<String> {
        if let Err(problem) = crl.is_past(question.now) {
            return Some(problem);
        }
        let problem = crl.follows(taken.as_ref()).err()?;
        self.older = true;
        Some(format!("{problem}; {}", question.older_remedy))
    }

    /// Notes a fault of a CRL that the CA signed. Its final revocations count, however old it is.
    fn refuse(&mut self, path: &Path, problem: String, crl: &Crl) {
        self.faults.push(SourceError::file(path, problem));
        let certain = crl.entries().filter_map(revoked).filter(|(_, status)| strictness(*status) == FINAL);
        self.entries.extend(certain);
    }

    pub(super) fn take(&mut self, serial: &Serial) -> Option<Status> {
        let at = self.entries.binary_search_by_key(serial, |(serial, _)| *serial).ok()?;
        self.taken[at] = true;
        Some(self.entries[at].1)
    }

    /// Resets to the state where no CRL was taken.
    pub(super) fn take_none(&mut self) {
        self.taken.fill(false);
    }

    /// The entries that were not taken.
    pub(super) fn remaining(&self) -> impl Iterator<Item = (Serial, Status)> + '_ {
        self.entries.iter().zip(&self.taken).filter(|(_, taken)| !**taken).map(|(entry, _)| *entry)
    }
}

fn revoked(entry: source::Entry) -> Option<(Serial, Status)> {
    match entry.change {
        source::Change::Revoked { time, reason } => Some((entry.serial, Status::Revoked { time, reason })),
        source::Change::Remove => None,
    }
}
