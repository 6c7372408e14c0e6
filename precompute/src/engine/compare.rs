//! Compares the sources with the records, and lists the changes between them.
//!
//! A listing (an index, or a list of what was issued) has all certificates, or several have them together; a CRL has the
//! revoked ones. With both, the listings say which certificates exist, and any of them can revoke one. A revocation is never taken back: a record that is finally revoked stays revoked whatever
//! the sources say, and the contradiction is counted.
//!
//! Invariant: a source is taken as a whole or not at all. While one is refused, the others still count where they make
//! a status stricter: a revocation must not wait until somebody has fixed another file.
//!
//! An index that grows while it is read counts as it was at one instant; its appended lines alone are compared where
//! that is enough ([`appended`]). From one that no read finds whole, revocations count once two passes agree ([`torn`]).
//!
//! It does not know the book or the log; time is a parameter.

mod appended;
#[cfg(test)]
mod tests;
mod torn;

use std::{
    cmp::Reverse,
    path::{Path, PathBuf},
};

use super::{followed::FollowedIssuer, progress::Progress, revocations::Revocations};
use crate::{
    config::ListingFile,
    ledger::reconcile::{Contradiction, FINAL, Known, by_source, stricter, strictness},
    limits,
    pki::{Reason, Record, Serial, Status, UnixTime},
    publication::AcceptedCrl,
    records::{self, Census, Details, Found, Origin, Records, RevocationDetails, Stated},
    source::{CrlMarks, Detail, Ended, Form, Listed, Listing, Mark, SourceError},
};

pub(super) use self::torn::Candidates;

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
    let comparison = read_and_compare(question);
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
    let accepted = (std::mem::take(&mut crl.accepted), faults.is_empty());
    let mut refused = Refused::default();
    let (mut comparison, census) = loop {
        crl.take_none();
        match read_listings(question, &mut crl, &refused, unfit) {
            Ok(read) => break read,
            // Nothing else of that one counts; the others are read again without it.
            Err((number, fault, shrunk)) => refused.add(question, number, fault, shrunk),
        }
    };
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

/// Listings that are refused, and what of them counts all the same.
#[derive(Default)]
struct Refused {
    /// Their places in [`Sources::listings`].
    numbers: Vec<usize>,
    faults: Vec<SourceError>,
    changes: Vec<Stated>,
    candidates: Candidates,
    shrunk: bool,
}

impl Refused {
    fn add(&mut self, question: &Question<'_>, number: usize, fault: SourceError, shrunk: bool) {
        let file = &question.issuer.sources.listings[number];
        if fault.unsteady {
            let candidates = Candidates::read(question, file);
            self.changes.extend(candidates.confirmed(question.candidates));
            self.candidates.extend(candidates);
        } else {
            self.changes.extend(revoked_in_refused(question, file));
        }
        self.numbers.push(number);
        self.faults.push(fault);
        self.shrunk |= shrunk;
    }
}

/// Reads the listings that are not refused, one after the other. An error names the one that is refused now, and says
/// whether it has lost most of its certificates.
fn read_listings<'q>(
    question: &Question<'q>,
    crl: &mut Revocations,
    refused: &Refused,
    unfit: appended::Unfit,
) -> Result<(Comparison, Census<'q>), (usize, SourceError, bool)> {
    let sources = &question.issuer.sources;
    let releases = !sources.has_crls() || crl.releases(question.crl_marks.holds());
    let is_written_over = unfit == appended::Unfit::WrittenOver;
    let mut comparison = Comparison { keeps_holds: !releases, is_written_over, ..Default::default() };
    let mut census = question.records.census();
    let of = || sources.listings.iter().enumerate().filter(|(number, _)| !refused.numbers.contains(number));
    let others = Restrictions::read(of().skip(1).map(|(_, file)| file));
    for (number, file) in of() {
        if let Err(fault) = comparison.note_listing(question, file, &mut census, crl, &others) {
            return Err((number, fault, comparison.shrunk));
        }
    }
    if let Some((number, file)) = of().next()
        && let Err(fault) = comparison.refuse_foreign(question, &file.path, &census)
    {
        return Err((number, fault, comparison.shrunk));
    }
    if sources.listing_alone().is_none() {
        comparison.mark = None;
    }
    Ok((comparison, census))
}

/// What listings behind the first one say against a certificate, which may be listed as good before they are read.
#[derive(Default)]
struct Restrictions(Vec<(Serial, Status)>);

impl Restrictions {
    fn read<'f>(files: impl Iterator<Item = &'f ListingFile>) -> Self {
        let mut restrictions = Vec::new();
        for file in files {
            // Why one cannot be read is found when all of it is.
            let Ok(mut listing) = Listing::open(&file.path, file.form) else { continue };
            let listed = listing.readable().map(|Listed { serial, record }| (serial, record.status));
            restrictions.extend(listed.filter(|(_, status)| *status != Status::Good));
        }
        restrictions.sort_by_key(|(serial, status)| (*serial, Reverse(strictness(*status))));
        restrictions.dedup_by_key(|(serial, _)| *serial);
        Self(restrictions)
    }

    fn of(&self, serial: &Serial) -> Option<Status> {
        let at = self.0.binary_search_by_key(serial, |(serial, _)| *serial).ok()?;
        Some(self.0[at].1)
    }
}

/// The revocations in the readable lines of a refused listing: a revocation must not wait until somebody has fixed
/// another line. Empty if it names no known certificate (it is probably another CA's), or changes while it is
/// read.
fn revoked_in_refused(question: &Question<'_>, file: &ListingFile) -> Vec<Stated> {
    let Ok(mut index) = Listing::open(&file.path, file.form) else { return Vec::new() };
    let (mut revoked, mut names_anybody) = (Vec::new(), false);
    for Listed { serial, record } in index.readable() {
        names_anybody |= question.records.get(&serial).is_some();
        if record.status != Status::Good {
            revoked.push(Stated::new(serial, Some(record)));
        }
    }
    if names_anybody && index.ended() != Ended::Torn { revoked } else { Vec::new() }
}

impl Question<'_> {
    /// Whether a certificate with this end of validity has not expired, as far as is known.
    fn is_valid(&self, not_after: Option<UnixTime>) -> bool {
        not_after.is_none_or(|end| end > self.now)
    }

    /// How many certificates that have not expired a source listed before and does not list now.
    fn missed(&self, census: &Census<'_>) -> u64 {
        let listed = census.unlisted().filter(|(_, found)| found.origin.is_listed());
        listed.filter(|(_, found)| self.is_valid(found.not_after)).count() as u64
    }

    fn is_known_valid(&self, serial: &Serial) -> bool {
        self.records.get(serial).is_some_and(|known| self.is_valid(known.not_after))
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

    /// The serials that these changes finally revoke.
    pub(super) fn finally_revoked(&self) -> impl Iterator<Item = Serial> + '_ {
        let is_final = |change: &&Stated| change.record().is_some_and(|record| strictness(record.status) == FINAL);
        self.changes.iter().filter(is_final).map(|change| change.serial)
    }

    fn note_listing(
        &mut self,
        question: &Question<'_>,
        file: &ListingFile,
        census: &mut Census<'_>,
        crl: &mut Revocations,
        others: &Restrictions,
    ) -> Result<(), SourceError> {
        let path = &file.path;
        let first_change = self.changes.len();
        let mut index = Listing::open(path, file.form)?;
        let several = question.issuer.sources.listings.len() > 1;
        let own = several.then(|| question.records.census());
        let mut lines = Noting { question, file, own, census, crl, others };
        let mut outcome = self.note_lines(&mut lines, &mut index);
        if outcome.is_err()
            && question.still
            && let Some(listed) = index.half_line()
        {
            outcome = self.note_line(&mut lines, listed);
        }
        self.passed_over += index.passed_over();
        self.warnings.extend(index.oddities().map(|oddities| format!("{}: {oddities}", path.display())));
        self.warnings.extend(index.doubt().map(|doubt| format!("{}: {doubt}", path.display())));
        let ended = index.ended();
        // What may be a mixture of several contents means nothing.
        if ended == Ended::Torn || self.is_written_over && !index.is_settled() {
            return Err(SourceError::unsteady(path));
        }
        // What was appended to a mirror is about certificates that it lists already, or is read next.
        let has_grown = ended == Ended::Grown && file.form != Form::Mirrored;
        self.has_grown |= has_grown;
        // Somebody is writing that line.
        if index.ends_in_half_a_line() && (has_grown || !question.still) {
            (outcome, self.held_back) = (Ok(()), true);
        }
        outcome?;
        question.progress.end();
        self.mark = index.mark();
        if file.form != Form::Database {
            return Ok(());
        }
        // Duplicate serials that the records do not hold yet are only found here.
        let changes = &mut self.changes[first_change..];
        changes.sort_unstable_by_key(|change| change.serial);
        match changes.windows(2).find(|pair| pair[0].serial == pair[1].serial) {
            Some(pair) => Err(listed_twice(file, pair[0].serial)),
            None => Ok(()),
        }
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

    fn note_lines(&mut self, lines: &mut Noting<'_, '_, '_>, listing: &mut Listing) -> Result<(), SourceError> {
        while let Some(listed) = listing.next() {
            lines.question.progress.step();
            let listed = listed?;
            self.note_details(lines.question, &listed, listing);
            self.note_line(lines, listed)?;
        }
        Ok(())
    }

    /// Notes what answers may carry of the line that was read last. The hash is there before the certificate shows.
    fn note_details(&mut self, question: &Question<'_>, listed: &Listed, listing: &Listing) {
        let carries = question.issuer.carries;
        if !carries.cert_hash && !carries.of_revocation() {
            return;
        }
        let Detail { sha256, invalid_since } = listing.detail();
        if let Some(hash) = sha256.filter(|_| carries.cert_hash) {
            question.details.note_hash(listed.serial, hash);
        }
        if carries.of_revocation() && invalid_since.is_some() {
            self.details.insert(listed.serial, RevocationDetails { crl: None, invalid_since });
        }
    }

    fn note_line(&mut self, lines: &mut Noting<'_, '_, '_>, listed: Listed) -> Result<(), SourceError> {
        let Listed { serial, record } = listed;
        let mut status = record.status;
        for other in [lines.crl.take(&serial), lines.others.of(&serial)].into_iter().flatten() {
            status = stricter(status, other);
        }
        let (first, known) = lines.census.mark(&serial);
        if lines.is_twice(&serial, first) {
            return Err(listed_twice(lines.file, serial));
        }
        if first {
            self.note(lines.question, serial, known, Record { status, ..record });
        } else if status != Status::Good {
            // It was listed before this was said.
            self.is_repeated = true;
            self.changes.push(Stated::new(serial, Some(Record { status, ..record })));
        }
        Ok(())
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

    /// What becomes of the records that the sources do not list.
    fn unlisted(&mut self, question: &Question<'_>, census: &Census<'_>) -> Gone {
        let lists = question.issuer.sources.list();
        let mut these = Gone::default();
        for (serial, found) in census.unlisted() {
            let status = found.status;
            if is_held_by_source(&found) && question.issuer.sources.has_crls() && self.keeps_holds {
                self.kept_holds += 1;
                continue;
            }
            // Also where a push has spoken of the certificate.
            if is_held_by_source(&found) && lists && !question.issuer.releases_by_leaving_out() {
                self.contradictions.note(Contradiction::TakenBack, serial, status, None);
                continue;
            }
            let known = Known::from(found);
            let (next, contradiction) = by_source(Some(known), None);
            let is_pushed = found.origin.is_pushed();
            // A CRL lists no good certificate, and drops expired ones, which stay revoked.
            let is_meant = !lists && (!is_pushed || contradiction == Some(Contradiction::PushLists));
            if let Some(kind) = contradiction.filter(|_| !is_meant) {
                self.contradictions.note(kind, serial, status, None);
            }
            match status {
                _ if is_pushed => these.pushed.extend((next != Some(known)).then_some(serial)),
                Status::Good => these.gone.push(serial),
                Status::Revoked { .. } if is_hold(status) && question.issuer.releases_by_leaving_out() => {
                    these.gone.push(serial);
                }
                Status::Revoked { .. } => {}
            }
        }
        these
    }

    /// An index that names no known certificate is probably another CA's: nothing in it counts.
    fn refuse_foreign(&mut self, question: &Question<'_>, path: &Path, census: &Census<'_>) -> Result<(), SourceError> {
        if self.known > 0 || question.accept_shrink {
            return Ok(());
        }
        let missed = question.missed(census);
        if missed <= limits::SHRINK_ALWAYS_ALLOWED {
            return Ok(());
        }
        if !question.still {
            return Err(SourceError::unsteady(path));
        }
        self.shrunk = true;
        let problem = format!(
            "lists none of the {missed} known certificates that are still valid: it is empty or another CA's; {}",
            question.shrink_remedy
        );
        Err(SourceError::file(path, problem))
    }

    /// Refuses a list that lost more than half of its certificates at once: it is probably a damaged file. Expired
    /// certificates do not count, because CAs remove them.
    fn refuse_shrink(
        &mut self,
        question: &Question<'_>,
        path: &Path,
        census: &Census<'_>,
        gone: &[Serial],
    ) -> Result<(), SourceError> {
        if question.accept_shrink || gone.len() as u64 <= limits::SHRINK_ALWAYS_ALLOWED {
            return Ok(());
        }
        let lost = gone.iter().filter(|serial| question.is_known_valid(serial)).count() as u64;
        let missed = question.missed(census);
        let before = self.valid + missed;
        if lost <= limits::SHRINK_ALWAYS_ALLOWED || lost * 2 <= before {
            return Ok(());
        }
        self.shrunk = true;
        let problem = format!(
            "no longer lists {lost} of the {before} known certificates that are still valid, which looks like a damaged or foreign file; they keep their status; {}",
            question.shrink_remedy
        );
        Err(SourceError::file(path, problem))
    }
}

/// The lines of one listing on their way into a comparison.
struct Noting<'n, 'q, 'r> {
    question: &'n Question<'q>,
    file: &'n ListingFile,
    /// What this listing has listed so far, where several may list a certificate and it may do so only once.
    own: Option<Census<'q>>,
    census: &'n mut Census<'r>,
    crl: &'n mut Revocations,
    others: &'n Restrictions,
}

impl Noting<'_, '_, '_> {
    /// Whether a database lists a certificate a second time: which line is right, only a person knows. In a list of what
    /// was issued, the stricter line counts. `first`: whether no listing has listed it before.
    fn is_twice(&mut self, serial: &Serial, first: bool) -> bool {
        match (&mut self.own, self.file.form) {
            (_, Form::Issued(_) | Form::Mirrored) => false,
            (Some(own), Form::Database) => !own.mark(serial).0,
            (None, Form::Database) => !first,
        }
    }
}

/// The records that sources do not list.
#[derive(Debug, Default)]
struct Gone {
    /// To be removed.
    gone: Vec<Serial>,
    /// To be kept, because they were pushed, and to be noted as not listed.
    pushed: Vec<Serial>,
}

fn is_hold(status: Status) -> bool {
    matches!(status, Status::Revoked { reason: Reason::CertificateHold, .. })
}

/// Whether a source has it on hold.
fn is_held_by_source(found: &Found) -> bool {
    is_hold(found.status) && !found.origin.has(Origin::SOURCE_ALLOWS)
}

/// Finds the second line of a serial, which only a person can correct.
fn listed_twice(file: &ListingFile, serial: Serial) -> SourceError {
    let path = &file.path;
    let mut lines = (1u64..).zip(Listing::open(path, file.form).into_iter().flatten());
    let mut listing = lines.by_ref().filter(|(_, listed)| listed.as_ref().is_ok_and(|listed| listed.serial == serial));
    let first = listing.next().map_or(0, |(line, _)| line);
    let problem = format!("lists serial {serial} a second time (first in record {first}); remove one of the two lines");
    match listing.next() {
        Some((line, _)) => SourceError::line(path, line, problem),
        None => SourceError::file(path, problem),
    }
}
