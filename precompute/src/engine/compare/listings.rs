//! Reads listings into a comparison: one after the other, each as a whole.
//!
//! Invariant: a listing that is refused has said nothing but what [`Refused`] keeps of it. Whoever listens to several hears
//! of each certificate the strictest word first, so that none shows as good in between. It does not know what becomes of
//! certificates that no listing has.

use std::cmp::Reverse;

use super::{Candidates, Comparison, Question, Revocations, appended};
use crate::{
    config::ListingFile,
    ledger::reconcile::{stricter, strictness},
    pki::{Record, Serial, Status},
    records::{Census, RevocationDetails, Stated},
    source::{Detail, Ended, Form, Listed, Listing, SourceError},
};

/// Listings that are refused, and what of them counts all the same.
#[derive(Default)]
pub(super) struct Refused {
    /// Their places in [`Sources::listings`].
    pub(super) numbers: Vec<usize>,
    pub(super) faults: Vec<SourceError>,
    pub(super) changes: Vec<Stated>,
    pub(super) candidates: Candidates,
    pub(super) shrunk: bool,
}

impl Refused {
    pub(super) fn add(&mut self, question: &Question<'_>, number: usize, fault: SourceError, shrunk: bool) {
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
pub(super) fn read_listings<'q>(
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

impl Comparison {
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
        self.lists_have_statuses |= index.has_statuses() && !question.issuer.sources.mirrors_directory(path);
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
    pub(super) fn note_details(&mut self, question: &Question<'_>, listed: &Listed, listing: &Listing) {
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
