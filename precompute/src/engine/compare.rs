//! Compares the sources with the records, and lists the changes between them.
//!
//! A listing (an index, or a list of what was issued) has all certificates, or several have them together; a CRL has the
//! revoked ones. With both, the listings say which certificates exist, and any of them can revoke one. A revocation is
//! never taken back: a record that is finally revoked stays revoked whatever the sources say, and the contradiction is
//! counted.
//!
//! Invariant: a source is taken as a whole or not at all. While one is refused, the others still count where they make
//! a status stricter: a revocation must not wait until somebody has fixed another file.
//!
//! [`listings`] reads all of a listing, and [`unlisted`] is about who is in none. An index that grows while it is read
//! counts as it was at one instant; its appended lines alone are compared where that is enough ([`appended`]). From one
//! that no read finds whole, revocations count once two passes agree ([`torn`]).
//!
//! It does not know the book or the log; time is a parameter.

mod appended;
mod listings;
#[cfg(test)]
mod tests;
mod torn;
mod unlisted;

use std::{cmp::Reverse, path::PathBuf};

use super::{followed::FollowedIssuer, progress::Progress, revocations::Revocations};
use crate::{
    ledger::reconcile::{Contradiction, Known, by_source, strictness},
    pki::{Reason, Record, Serial, Status, UnixTime},
    publication::AcceptedCrl,
    records::{self, Details, Found, Origin, Records, RevocationDetails, Stated},
    source::{CrlMarks, Mark, SourceError},
};

pub(super) use self::torn::Candidates;
use self::{
    listings::{Refused, read_listings},
    unlisted::Gone,
};

/// Everything that a comparison depends on.
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) records: &'a Records,
    /// Where the hashes of certificates are noted, before anything that is found shows.
    pub(super) details: &'a Details,
    pub(super) issuer: &'a FollowedIssuer,
    /// The newest CRLs taken before.
    pub(super) crl_marks: &'a CrlMarks,
    pub(super) now: UnixTime,
    /// How far the last read has taken the index, if the records have everything that it found: then appended lines may
    /// be compared alone.
    pub(super) mark: Option<&'a Mark>,
    /// What the last pass has found in an index that was torn.
    pub(super) candidates: &'a Candidates,
    /// Whether the index has not changed for a while. Then a certificate that it does not list was removed, and is not
    /// about to be added.
    pub(super) still: bool,
    /// Whether a list may lose most of its certificates.
    pub(super) accept_shrink: bool,
    /// What the operator has to do to confirm that.
    pub(super) shrink_remedy: &'a str,
    /// Whether a CRL may be older than the one before.
    pub(super) accept_older: bool,
    /// What the operator has to do to confirm that.
    pub(super) older_remedy: &'a str,
    /// Of the files that are read for it.
    pub(super) progress: &'a Progress,
}

/// The result of a comparison.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// In order of serial, each serial once.
    pub changes: Vec<Stated>,
    /// Why sources were refused. If there is any fault, `changes` only make statuses stricter or add certificates, and
    /// the counts mean little.
    pub faults: Vec<SourceError>,
    /// Whether unlisted records, or half a line at the end of the index, wait until it has been still for a while.
    pub held_back: bool,
    /// How far the index was read; only without faults.
    pub mark: Option<Mark>,
    /// Whether only appended lines were compared: [`appended::compare`] has what the counts are of.
    pub is_of_appended: bool,
    /// For the next pass.
    pub candidates: Candidates,
    /// Whether one of the faults is a list that lost most of its certificates.
    pub shrunk: bool,
    /// Certificates that the sources list.
    pub listed: u64,
    /// Records that stay as they are although the sources say otherwise.
    pub contradictions: Contradictions,
    /// What is known of the revocations beside time and reason.
    pub details: records::Revocations,
    /// Whether one of the faults is a CRL that is older than the one before.
    pub older: bool,
    /// The newest CRLs taken.
    pub crl_marks: CrlMarks,
    /// When each of the CRLs goes out of date.
    pub crl_ends: Vec<(PathBuf, UnixTime)>,
    /// The CRLs that are to be published, and whether none was refused.
    pub accepted: (Vec<AcceptedCrl>, bool),
    /// What was read differently from how the sources write it, or is kept although the sources do not say so.
    pub warnings: Vec<String>,
    /// Whether certificates on hold stay on hold when the CRLs no longer list them.
    keeps_holds: bool,
    /// How many stay on hold for that reason.
    kept_holds: u64,
    /// Entries that were skipped because no certificate can have their serial number.
    pub passed_over: u64,
    /// Listed records, and how many of them have not expired.
    known: u64,
    valid: u64,
    /// Whether the index was written while it was read: what it does not list may be about to come.
    has_grown: bool,
    /// Whether something was said against a certificate behind a line that had listed it.
    is_repeated: bool,
    /// Whether a program may be on its way through the index, with the old content behind it.
    is_written_over: bool,
    /// Whether a listing says of its certificates if they are revoked, and not only that they were issued.
    lists_have_statuses: bool,
}

/// Records that stay as they are although the sources say otherwise, by kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Contradictions([OfKind; Contradiction::KINDS]);

/// Those of one kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct OfKind {
    pub(super) count: u64,
    pub(super) first: Option<Example>,
}

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Example {
    pub(super) serial: Serial,
    /// Its status in the records.
    pub(super) known: Status,
    /// Its status in the sources; `None` where they do not list it.
    pub(super) said: Option<Status>,
}

impl Contradictions {
    fn note(&mut self, kind: Contradiction, serial: Serial, known: Status, said: Option<Status>) {
        let OfKind { count, first } = &mut self.0[kind as usize];
        *count += 1;
        first.get_or_insert(Example { serial, known, said });
    }

    pub(super) fn of(&self, kind: Contradiction) -> OfKind {
        self.0[kind as usize]
    }
}

/// Reads the sources and compares.
pub(super) fn compare(question: &Question<'_>) -> Comparison {
    question.progress.begin();
    let mut comparison = read_and_compare(question);
    comparison.date_back(question);
    question.progress.end();
    comparison
}

fn read_and_compare(question: &Question<'_>) -> Comparison {
    let unfit = match appended::compare(question) {
        Ok(comparison) => return comparison,
        Err(unfit) => unfit,
    };
    let mut crl = Revocations::read(question);
    let mut faults = std::mem::take(&mut crl.faults);
    let details = std::mem::take(&mut crl.details);
    let mut refused = Refused::default();
    let (mut comparison, census) = loop {
        crl.take_none();
        match read_listings(question, &mut crl, &refused, unfit) {
            Ok(read) => break read,
            // Nothing else of that one counts; the others are read again without it.
            Err((number, fault, shrunk)) => refused.add(question, number, fault, shrunk),
        }
    };
    // Of a CRL that cannot be read nobody knows what it covers, and as long as it cannot, nothing is vouched for anyway.
    if faults.is_empty() {
        faults = crl.refuse_to_vouch(question, comparison.lists_have_statuses);
    }
    let accepted = (std::mem::take(&mut crl.accepted), faults.is_empty());
    for (serial, of_crl) in details {
        let noted = comparison.details.entry(serial).or_default();
        let invalid_since = of_crl.invalid_since.or(noted.invalid_since);
        *noted = RevocationDetails { invalid_since, ..of_crl };
    }
    comparison.shrunk |= refused.shrunk;
    comparison.candidates = refused.candidates;
    comparison.changes.extend(refused.changes);
    faults.extend(refused.faults);
    // Without a listing: the whole CRL. With one: what it left out and the CRL revokes.
    question.progress.end();
    let mut census = census;
    for (serial, status) in crl.drain() {
        let (_, known) = census.mark(&serial);
        comparison.note(question, serial, known, Record { status, not_after: known.and_then(|known| known.not_after) });
    }
    if faults.is_empty() && (!question.still || comparison.has_grown) {
        comparison.held_back |= census.unlisted().any(|(_, found)| found.origin.is_listed());
    } else if faults.is_empty() {
        let Gone { gone, pushed } = comparison.unlisted(question, &census);
        if let Some(path) = question.issuer.sources.main() {
            faults.extend(comparison.refuse_shrink(question, path, &census, &gone).err());
        }
        comparison.changes.extend(gone.into_iter().chain(pushed).map(|serial| Stated::new(serial, None)));
    }
    let unlisted_hold = || census.unlisted().any(|(_, found)| is_held_by_source(&found));
    crl.note_holds(question.crl_marks.holds(), || comparison.kept_holds > 0 || unlisted_hold());
    if !faults.is_empty() {
        comparison.mark = None;
        // A listing has every certificate, and whether it is revoked; unless a CRL beside it was never read, or another
        // listing that may know better is refused.
        let may_add = question.crl_marks.count() >= question.issuer.sources.crls.len()
            && (refused.numbers.is_empty() || question.issuer.sources.listings.len() == 1);
        comparison.changes.retain(|change| is_safe(change, question.records, may_add));
    }
    comparison.keep_the_strictest(question);
    comparison.passed_over += crl.passed_over;
    comparison.warnings.append(&mut crl.warnings);
    if comparison.kept_holds > 0 && faults.is_empty() {
        comparison.warnings.push(format!(
            "{} certificates stay on hold although the sources no longer list them as held: not every part of the certificates (signer and issuingDistributionPoint) whose CRL has listed holds has a CRL here; a CRL of that part, or of all certificates, releases them",
            comparison.kept_holds
        ));
    }
    let Revocations { older, marks: crl_marks, ends: crl_ends, .. } = crl;
    Comparison { faults, older, crl_marks, crl_ends, accepted, ..comparison }
}

impl Question<'_> {
    /// Whether a certificate with this end of validity has not expired, as far as is known.
    fn is_valid(&self, not_after: Option<UnixTime>) -> bool {
        not_after.is_none_or(|end| end > self.now)
    }
}

/// Whether a change may be made while a source is refused.
fn is_safe(change: &Stated, records: &Records, may_add: bool) -> bool {
    let known = records.get(&change.serial).map(|known| known.status);
    match (known, change.record().map(|record| record.status)) {
        (_, None) => false,
        (None, Some(Status::Good)) => may_add,
        (None, Some(Status::Revoked { .. })) => true,
        (Some(known), Some(said)) => strictness(said) > strictness(known),
    }
}

impl Comparison {
    /// When the first of the CRLs goes out of date.
    pub(super) fn crl_next_update(&self) -> Option<UnixTime> {
        self.crl_ends.iter().map(|(_, end)| *end).min()
    }

    /// Sorts the changes. Of several sources that speak of a certificate, the strictest counts.
    fn keep_the_strictest(&mut self, question: &Question<'_>) {
        let strictness = |change: &Stated| change.record().map_or(0, |record| strictness(record.status));
        self.changes.sort_by_key(|change| (change.serial, Reverse(strictness(change))));
        let before = self.changes.len();
        self.changes.dedup_by_key(|change| change.serial);
        if self.is_repeated {
            self.changes.retain(|change| {
                let known = question.records.get(&change.serial).map(Known::from);
                change.record().is_none_or(|said| by_source(known, Some(said)).0 != known)
            });
        }
        // One that the records do not have yet was counted for each listing that has it.
        if self.changes.len() < before && question.issuer.sources.listings.len() > 1 {
            let is_new = |change: &&Stated| question.records.get(&change.serial).is_none();
            self.listed = self.known + self.changes.iter().filter(is_new).count() as u64;
        }
    }

    /// Revocations dated in the future are taken as of now, or of when they were first taken: a client that looks at
    /// revocationTime takes the certificate as good until then.
    fn date_back(&mut self, question: &Question<'_>) {
        let (mut first, mut count) = (None, 0_u64);
        self.changes.retain_mut(|change| {
            let Some(Record { status: Status::Revoked { time, reason }, not_after }) = change.record() else {
                return true;
            };
            if time <= question.now {
                return true;
            }
            count += 1;
            first.get_or_insert((change.serial, time));
            let known = question.records.get(&change.serial);
            let taken = match known.map(|known| known.status) {
                Some(Status::Revoked { time, .. }) if time <= question.now => time,
                _ => question.now,
            };
            *change =
                Stated::new(change.serial, Some(Record { status: Status::Revoked { time: taken, reason }, not_after }));
            let known = known.map(Known::from);
            by_source(known, change.record()).0 != known
        });
        if let Some((serial, time)) = first {
            self.warnings.push(format!(
                "{count} revocations are dated in the future, that of {serial} at {time}: they are taken as of now, since clients may take such a certificate as good until then; see whether the clock of the CA is right"
            ));
        }
    }

    /// Notes what the sources say about a serial. `known`: what the records hold for it.
    fn note(&mut self, question: &Question<'_>, serial: Serial, known: Option<Found>, said: Record) {
        self.listed += 1;
        self.known += u64::from(known.is_some());
        self.valid += u64::from(known.is_some_and(|known| question.is_valid(known.not_after)));
        let Some(known) = known else {
            self.changes.push(Stated::new(serial, Some(said)));
            return;
        };
        if self.keeps_holds && is_held_by_source(&known) && said.status == Status::Good {
            self.kept_holds += 1;
            return;
        }
        let (status, known) = (known.status, Known::from(known));
        let (next, contradiction) = by_source(Some(known), Some(said));
        if let Some(kind) = contradiction {
            self.contradictions.note(kind, serial, status, Some(said.status));
        }
        if next != Some(known) {
            self.changes.push(Stated::new(serial, Some(said)));
        }
    }
}

fn is_hold(status: Status) -> bool {
    matches!(status, Status::Revoked { reason: Reason::CertificateHold, .. })
}

/// Whether a source has it on hold.
fn is_held_by_source(found: &Found) -> bool {
    is_hold(found.status) && !found.origin.has(Origin::SOURCE_ALLOWS)
}
