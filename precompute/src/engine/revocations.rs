//! What the CRLs of an issuer say together.
//!
//! Purpose: combines any number of CRLs into one list. Within a scope (the same signer and issuingDistributionPoint) the
//! newest complete CRL counts, with the deltas that fit it; across scopes the stricter. Invariants: a final revocation by
//! the CA always counts, even in a CRL that is refused or older than another one; a hold is released only where every
//! scope that has listed holds was taken. It does not know the records.

mod listed;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use self::listed::List;
use super::compare::Question;
use crate::{
    ledger::reconcile::{FINAL, stricter, strictness},
    limits,
    pki::{Serial, Status, UnixTime},
    publication::AcceptedCrl,
    records::{self, CrlReference, RevocationDetails},
    source::{
        self, Coverage, Crl, CrlFile, CrlHeader, CrlIssuers, CrlMark, CrlMarks, CrlScope, ScopeMarks, SourceError,
    },
};

/// What the CRLs say, in order of serial.
#[derive(Default)]
pub(super) struct Revocations {
    entries: List,
    /// The scopes whose complete CRL was taken, and those that list a certificate on hold; each once.
    scopes: Vec<CrlScope>,
    holding: Vec<CrlScope>,
    /// Of the scopes that were there.
    scope_marks: Vec<ScopeMarks>,
    /// What the complete CRLs cover that were taken.
    covered: Vec<(PathBuf, Coverage)>,
    /// The newest CRLs taken; the scopes of holds are as before.
    pub(super) marks: CrlMarks,
    /// When each of them goes out of date.
    pub(super) ends: Vec<(PathBuf, UnixTime)>,
    /// Why CRLs were refused. The revocations of the others still count. So do the final revocations of a refused one, if
    /// it is the CA's.
    pub(super) faults: Vec<SourceError>,
    /// Entries whose serial number no certificate can have.
    pub(super) passed_over: u64,
    /// What was read differently from how a CRL writes it.
    pub(super) warnings: Vec<String>,
    /// Whether one of them was older than the one before.
    pub(super) older: bool,
    /// What else they say of revocations, for answers that carry it.
    pub(super) details: records::Revocations,
    /// Those that were taken, the newest of each scope and kind; none where they are not published.
    pub(super) accepted: Vec<AcceptedCrl>,
}

/// A CRL and its file.
type Read<'p> = (&'p Path, Crl);

/// The CRLs of one scope.
#[derive(Default)]
struct Series<'p> {
    /// The place of the first of them among those of all files.
    place: usize,
    complete: Vec<Read<'p>>,
    deltas: Vec<Read<'p>>,
}

const ALONE: &str = "is a delta CRL, and no complete CRL of the same scope (signer and issuingDistributionPoint) is \
                     beside it; add that to `crl`";

impl Revocations {
    pub(super) fn read(question: &Question<'_>) -> Self {
        let mut this = Self::default();
        if question.issuer.sources.crls.is_empty() {
            return this;
        }
        let holds = || question.crl_marks.holds().map(<[_]>::to_vec);
        let before = match question.accept_older {
            true => CrlMarks::new([], holds()),
            false => question.crl_marks.clone(),
        };
        for (scope, series) in this.read_files(question) {
            this.take_series(question, &before, scope, series);
        }
        this.marks = before.replaced_by(&this.scope_marks, holds());
        this.entries.close();
        this
    }

    /// Reads all files, and sorts their CRLs by scope.
    fn read_files<'q>(&mut self, question: &'q Question<'_>) -> BTreeMap<CrlScope, Series<'q>> {
        let issuer = question.issuer;
        let issuers = CrlIssuers::with(&issuer.certificate, &issuer.crl_issuers, question.now);
        let mut found: BTreeMap<_, Series<'_>> = BTreeMap::new();
        let deltas = issuer.sources.deltas().filter(|delta| delta.is_file());
        let mut place = 0;
        for path in issuer.sources.crls.iter().chain(deltas) {
            let file = match CrlFile::read(path, &issuers) {
                Ok(file) => file,
                Err(fault) => {
                    self.faults.push(fault);
                    continue;
                }
            };
            let told = |what: String| format!("{}: {what}", path.display());
            self.warnings.extend(file.foreign.into_iter().map(|foreign| told(foreign + "; it says nothing here")));
            for crl in file.crls {
                self.passed_over += crl.passed_over() as u64;
                self.warnings.extend(crl.oddities().map(|oddities| told(oddities.to_string())));
                if crl.header().coverage.only_contains_attribute_certs {
                    self.covered.push((path.clone(), crl.header().coverage));
                    continue;
                }
                let scope = crl.scope();
                if found.len() >= limits::CRL_SCOPES_MAX && !found.contains_key(&scope) {
                    let most = limits::CRL_SCOPES_MAX;
                    self.refuse(path, format!("is of one scope more than the {most} that an issuer may have"), &crl);
                    continue;
                }
                let series = found.entry(scope).or_insert_with(|| Series { place, ..Series::default() });
                place += 1;
                if crl.is_delta() { &mut series.deltas } else { &mut series.complete }.push((path, crl));
            }
        }
        found
    }

    /// Takes what there is of one scope.
    fn take_series(&mut self, question: &Question<'_>, before: &CrlMarks, scope: CrlScope, series: Series<'_>) {
        let start = self.entries.len();
        let (complete, delta) = before.of(scope);
        let mut marks = ScopeMarks { scope, complete, delta };
        let has_complete = !series.complete.is_empty();
        let newest = self.newest(series.complete);
        let taken = newest.filter(|(path, crl)| self.take_complete(question, path, crl, &mut marks));
        if taken.is_some() {
            self.scopes.push(scope);
        }
        let alone = (!has_complete).then_some(ALONE);
        self.tell_of_deltas(question, taken.as_ref().filter(|_| series.deltas.is_empty()));
        let delta = self.take_deltas(question, series.deltas, taken.as_ref(), alone, &mut marks, start);
        // A delta that is not here any more may have told of a hold which the older complete CRL does not know.
        let is_behind =
            |(_, complete): &Read<'_>| marks.delta.is_some_and(|mark| mark.number > complete.header().number);
        if delta.is_none() && taken.as_ref().is_some_and(is_behind) {
            self.scopes.retain(|other| *other != scope);
        }
        if question.issuer.publishes_crls {
            let crls = taken.map(|(_, crl)| crl).into_iter().chain(delta);
            self.accepted.extend(crls.map(|crl| accepted(crl, series.place)));
        }
        if self.entries.has_hold_from(start) {
            self.holding.push(scope);
        }
        self.scope_marks.push(marks);
    }

    /// The newest of several complete CRLs. Of the others, only final revocations count.
    fn newest<'p>(&mut self, mut crls: Vec<Read<'p>>) -> Option<Read<'p>> {
        crls.sort_by_key(|(_, crl)| (crl.header().number, crl.header().this_update));
        let (path, newest) = crls.pop()?;
        for (other, crl) in &crls {
            if crl.mark().digest != newest.mark().digest {
                self.warn_of_older(other, crl, path);
                continue;
            }
            // Of a CA with shards, one may have come in the place of another.
            let (other, path) = (other.display(), path.display());
            self.warnings
                .push(format!("{other}: holds the same CRL as {path}; remove it, or put the one there that was meant"));
        }
        Some((path, newest))
    }

    fn warn_of_older(&mut self, path: &Path, crl: &Crl, newer: &Path) {
        let (older, newer, time) = (path.display(), newer.display(), crl.header().this_update);
        self.warnings.push(format!(
            "{older}: is the CRL of {time}, and {newer} has a later one of the same scope: only its final revocations count; remove it"
        ));
        self.take_final(crl);
    }

    /// Takes a complete CRL, unless it is not newer than the one before.
    fn take_complete(&mut self, question: &Question<'_>, path: &Path, crl: &Crl, marks: &mut ScopeMarks) -> bool {
        if let Some(problem) = self.out_of_order(question, &crl.mark(), marks.complete) {
            self.refuse(path, problem, crl);
            return false;
        }
        marks.complete = Some(crl.mark());
        self.covered.push((path.to_owned(), crl.header().coverage));
        self.ends.extend(crl.header().next_update.map(|end| (path.to_owned(), end)));
        self.entries.reserve(crl.entries().len());
        self.entries.extend(crl.entries().filter_map(revoked));
        self.note_details(question, path, crl);
        true
    }

    /// Warns of a complete CRL in a file that names a delta, which nobody follows.
    fn tell_of_deltas(&mut self, question: &Question<'_>, complete: Option<&Read<'_>>) {
        let sources = &question.issuer.sources;
        let Some((path, crl)) = complete.filter(|_| !sources.leaves_deltas) else { return };
        if sources.fetched.iter().any(|fetched| fetched.mirror == *path) {
            return;
        }
        let is_http = |url: &&str| url.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http"));
        if let Some(url) = crl.freshest().find(is_http) {
            self.warnings.push(format!(
                "{}: names a delta CRL at `{}`, which is not followed, since the CRL is in a file; add it to `crl`, or name the CRL by its URL, or write `fetch_deltas = false`",
                path.display(),
                url.escape_debug()
            ));
        }
    }

    /// Applies delta CRLs to the entries behind `start`. A delta that is older than the complete CRL says nothing new: the
    /// CA has published a complete CRL since, and the next delta will refer to that (RFC 5280 section 5.2.4). `alone`: the
    /// problem, if there is no complete CRL, not even a refused one. Returns the delta that clients may use now.
    fn take_deltas(
        &mut self,
        question: &Question<'_>,
        mut deltas: Vec<Read<'_>>,
        complete: Option<&Read<'_>>,
        alone: Option<&str>,
        marks: &mut ScopeMarks,
        start: usize,
    ) -> Option<Crl> {
        deltas.sort_by_key(|(_, crl)| (crl.header().number, crl.header().this_update));
        let (path, newest) = deltas.pop()?;
        let mut number = complete.and_then(|(_, complete)| complete.header().number);
        let is_covered = |other| number.is_some() && other < number;
        let known = marks.delta.and_then(|mark| mark.number);
        // One of the same number has to say the same (RFC 5280 section 5.2.3). If it does not, it must not release anybody.
        let is_of_its_number = number.is_some() && newest.header().number == number;
        if (is_covered(newest.header().number) || is_of_its_number) && (is_covered(known) || known == number) {
            if is_of_its_number {
                self.entries.extend(newest.entries().filter_map(revoked));
            }
            // It still says something to those who have an earlier complete CRL.
            let mark = newest.mark();
            let is_in_order = mark.is_past(question.now).is_ok() && mark.follows(marks.delta.as_ref()).is_ok();
            return is_in_order.then_some(newest);
        }
        if let Some(problem) = self.out_of_order(question, &newest.mark(), marks.delta) {
            self.refuse(path, problem, &newest);
            return None;
        }
        // What nobody has named is there to revoke, and refuses nothing else.
        let is_found = question.issuer.sources.deltas().any(|delta| delta == path);
        if let Some(Err(problem)) =
            complete.filter(|_| is_found).map(|(_, complete)| newest.applies_to(complete, number))
        {
            self.warnings.push(format!(
                "{}: {problem}; its revocations and holds count, and it releases nobody",
                path.display()
            ));
            self.entries.extend(newest.entries().filter_map(revoked));
            self.scopes.retain(|scope| *scope != marks.scope);
            return None;
        }
        let mut is_taken = true;
        for (older, delta) in &deltas {
            // A delta may change what another one has made of the complete CRL.
            let is_needed = complete.is_some_and(|(_, complete)| {
                newest.header().base > number && delta.applies_to(complete, number).is_ok()
            });
            if is_needed {
                self.change(delta, start);
                self.note_details(question, older, delta);
                number = delta.header().number;
            } else if delta.mark().digest != newest.mark().digest {
                self.warn_of_older(older, delta, path);
            }
        }
        match complete.map(|(_, complete)| newest.applies_to(complete, number)) {
            Some(Err(problem)) => {
                self.faults.push(SourceError::file(path, problem));
                is_taken = false;
            }
            Some(Ok(())) => marks.delta = Some(newest.mark()),
            // A file that cannot be read may be the one that it changes.
            None => match alone.filter(|_| self.faults.is_empty()) {
                Some(problem) => {
                    self.faults.push(SourceError::file(path, problem));
                    is_taken = false;
                }
                None => marks.delta = Some(newest.mark()),
            },
        }
        let ends = newest.header().next_update.filter(|_| !is_found);
        self.ends.extend(ends.map(|end| (path.to_owned(), end)));
        // Also if it does not fit the complete CRL: what the CA revokes is revoked.
        self.change(&newest, start);
        self.note_details(question, path, &newest);
        is_taken.then_some(newest)
    }

    /// Notes what answers may carry of the revocations in a CRL. Deltas may be found by their complete CRL, in whose mirror
    /// they are then: so their own URL is not known.
    fn note_details(&mut self, question: &Question<'_>, path: &Path, crl: &Crl) {
        if !question.issuer.carries.of_revocation() {
            return;
        }
        let CrlHeader { number, this_update, .. } = *crl.header();
        let url = if crl.is_delta() { 0 } else { question.issuer.sources.crl_url_place(path) };
        let reference = CrlReference { url, number: number.and_then(|number| number.as_u64()), time: this_update };
        let mut entries = crl.entries();
        while let Some((entry, invalid_since)) = entries.next_dated() {
            match entry.change {
                source::Change::Remove => drop(self.details.remove(&entry.serial)),
                source::Change::Revoked { .. } => {
                    let details = RevocationDetails { crl: Some(reference), invalid_since };
                    self.details.insert(entry.serial, details);
                }
            }
        }
    }

    /// Applies what a delta CRL says to the entries behind `start`. A final revocation stays. If the CA took it back here,
    /// the result would depend on what was read before.
    fn change(&mut self, delta: &Crl, start: usize) {
        let mut changes = BTreeMap::new();
        for entry in delta.entries() {
            let change: &mut Option<_> = changes.entry(entry.serial).or_insert(None);
            *change = match (*change, revoked(entry)) {
                (Some((serial, first)), Some((_, second))) => Some((serial, stricter(first, second))),
                (first, second) => first.or(second),
            };
        }
        self.entries.retain_from(start, |serial, status| match changes.get(serial) {
            None => true,
            Some(change) => strictness(status) == FINAL && change.is_none_or(|(_, status)| strictness(status) != FINAL),
        });
        self.entries.extend(changes.into_values().flatten());
    }

    /// Where CRLs of parts do not make up the whole, those who are in none of them must not be good: neither unlisted ones, nor
    /// those in a list that says only what was issued. The revocations of the CRLs still count. `lists_have_statuses`: whether
    /// a listing says itself who is revoked.
    pub(super) fn refuse_to_vouch(&self, question: &Question<'_>, lists_have_statuses: bool) -> Vec<SourceError> {
        let sources = &question.issuer.sources;
        let would = match (sources.list(), question.issuer.unlisted_good) {
            (_, true) => "`unlisted = \"good\"` would vouch for all others",
            (true, false) if !lists_have_statuses => {
                "a list of what was issued would make all others good that it names"
            }
            _ => return Vec::new(),
        };
        let is_of_attributes = |coverage: &Coverage| coverage.only_contains_attribute_certs;
        let of_certificates = || self.covered.iter().filter(|(_, coverage)| !is_of_attributes(coverage));
        let is_only =
            |coverage: &Coverage, part: Coverage| *coverage == Coverage { indirect_crl: coverage.indirect_crl, ..part };
        let users = Coverage { only_contains_user_certs: true, ..Coverage::default() };
        let cas = Coverage { only_contains_ca_certs: true, ..Coverage::default() };
        let has = |part| of_certificates().any(|(_, coverage)| is_only(coverage, part));
        let are_said_to = sources.crls_are_complete && of_certificates().next().is_some();
        if are_said_to || has(Coverage::default()) || has(users) && has(cas) {
            return Vec::new();
        }
        let refuse = |(path, coverage): &(PathBuf, Coverage)| {
            let remedy = if is_of_attributes(coverage) {
                "name the CRL of the CA's certificates"
            } else {
                "name a complete CRL, or another policy for `unlisted`; if the CRLs named here are all that the CA has, say so by `crls_are_complete = true`"
            };
            let what = if is_of_attributes(coverage) {
                "no certificate but attribute certificates"
            } else {
                "only a part of the certificates"
            };
            SourceError::file(path, format!("covers {what} ({coverage}), and {would}; {remedy}"))
        };
        self.covered.iter().map(refuse).collect()
    }

    /// Whether a certificate on hold that is no longer listed is released: by a CRL of all certificates, or where every
    /// scope was taken under which holds were listed. Of another signer's scope only that signer can say so.
    pub(super) fn releases(&self, listed_under: Option<&[CrlScope]>) -> bool {
        let has = |scope: &CrlScope| self.scopes.contains(scope);
        let has_whole = has(&CrlScope::WHOLE);
        match listed_under {
            None => has_whole,
            Some(scopes) => {
                let is_released = |scope: &CrlScope| has(scope) || has_whole && !scope.is_of_other_signer();
                !self.scopes.is_empty() && scopes.iter().all(is_released)
            }
        }
    }

    /// Notes the scopes under which CRLs have listed the certificates that are on hold now; nothing, if they are not all
    /// known. `others`: whether a certificate is on hold that the sources do not list so. It is only called if the answer
    /// matters.
    pub(super) fn note_holds(&mut self, before: Option<&[CrlScope]>, others: impl FnOnce() -> bool) {
        if self.scopes.is_empty() {
            return;
        }
        let mut now = std::mem::take(&mut self.holding);
        // It says of every certificate whether it is on hold.
        now.extend(self.scopes.iter().filter(|scope| **scope == CrlScope::WHOLE));
        let has_all = |before: &[CrlScope]| before.iter().all(|scope| now.contains(scope));
        let holds = match before {
            _ if now.contains(&CrlScope::WHOLE)
                && !before.is_some_and(|all| all.iter().any(|s| s.is_of_other_signer())) =>
            {
                Some(now)
            }
            Some(before) if has_all(before) => Some(now),
            _ if !others() => Some(now),
            Some(before) => Some([before, &now].concat()),
            None => None,
        };
        self.marks = CrlMarks::new(self.marks.scopes().iter().copied(), holds);
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
        self.take_final(crl);
    }

    fn take_final(&mut self, crl: &Crl) {
        let certain = crl.entries().filter_map(revoked).filter(|(_, status)| strictness(*status) == FINAL);
        self.entries.extend(certain);
    }

    pub(super) fn take(&mut self, serial: &Serial) -> Option<Status> {
        self.entries.take(serial)
    }

    /// Resets to the state where no CRL was taken.
    pub(super) fn take_none(&mut self) {
        self.entries.take_none();
    }

    /// Takes the entries out that were not taken, the last first.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (Serial, Status)> + '_ {
        self.entries.drain()
    }
}

/// A CRL that was taken, to be published.
fn accepted(crl: Crl, place: usize) -> AcceptedCrl {
    let source::CrlHeader { this_update, next_update, .. } = *crl.header();
    let (scope, is_delta, url) = (crl.scope(), crl.is_delta(), crl.url().map(str::to_owned));
    // Reading a file has reserved up to twice its length, and this stays in memory.
    let der = crl.into_der().into_boxed_slice();
    AcceptedCrl { scope, is_delta, place, url, this_update, next_update, der }
}

fn revoked(entry: source::Entry) -> Option<(Serial, Status)> {
    match entry.change {
        source::Change::Revoked { time, reason } => Some((entry.serial, Status::Revoked { time, reason })),
        source::Change::Remove => None,
    }
}
