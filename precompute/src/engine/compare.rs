//! What the sources say now against what the records hold: the changes that lead from one to the other.
//!
//! An index lists the whole population; a CRL lists the revoked. With both, the index says who
//! exists and either may say that somebody is revoked. A revocation is never taken back: what
//! the records hold as finally revoked stays so whatever the sources say, and is counted.

use std::path::Path;

use super::revocations::Revocations;
use crate::{
    config::Sources,
    limits,
    pki::{Certificate, Reason, Record, Serial, Status, UnixTime},
    records::{Census, Change, Found, Records},
    source::{Index, Listed, SourceError},
};

/// All that a comparison looks at.
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) records: &'a Records,
    pub(super) sources: &'a Sources,
    pub(super) issuer: &'a Certificate,
    /// Number of the newest complete CRL taken before, big-endian, padded.
    pub(super) crl_number: Option<[u8; 20]>,
    pub(super) accept_shrink: bool,
}

/// What it found.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// In order of serial, each serial once.
    pub changes: Vec<Change>,
    /// Certificates that the sources list.
    pub listed: u64,
    /// Records that stay revoked although the sources say otherwise.
    pub contradictions: u64,
    /// One of them: what the record is, and what the sources say.
    pub first_contradiction: Option<(Serial, Status, Option<Status>)>,
    /// The complete CRL's number, big-endian, padded.
    pub crl_number: Option<[u8; 20]>,
    /// When the CRLs go out of date, the earlier of the two.
    pub crl_next_update: Option<UnixTime>,
}

/// Reads the sources and compares.
pub(super) fn compare(question: &Question<'_>) -> Result<Comparison, SourceError> {
    let mut comparison = Comparison::default();
    let mut crl = Revocations::read(question, &mut comparison)?;
    let mut census = question.records.census();
    if let Some(path) = &question.sources.index {
        let mut index = Index::open(path)?;
        let outcome = comparison.note_index(&mut index, path, &mut census, &mut crl);
        // Whatever was found in a file that is being written means nothing.
        if !index.is_steady() {
            return Err(SourceError::unsteady(path));
        }
        outcome?;
    }
    // All of a CRL without an index; with one, what the index forgot and the CRL revokes.
    for (serial, status) in crl.remaining() {
        let (_, known) = census.mark(&serial);
        comparison.note(serial, known, Record { status, not_after: known.and_then(|known| known.not_after) });
    }
    let gone = comparison.unlisted(&census, question.sources.index.is_some(), crl.whole);
    if let (Some(path), false) = (question.sources.main(), question.accept_shrink) {
        refuse_shrink(path, gone.len() as u64, question.records)?;
    }
    comparison.changes.extend(gone.into_iter().map(|serial| Change { serial, record: None }));
    comparison.changes.sort_unstable_by_key(|change| change.serial);
    // Serials that the records do not hold yet are told apart only here.
    match (comparison.changes.windows(2).find(|pair| pair[0].serial == pair[1].serial), &question.sources.index) {
        (Some(pair), Some(path)) => Err(listed_twice(path, pair[0].serial)),
        _ => Ok(comparison),
    }
}

impl Comparison {
    fn note_index(
        &mut self,
        index: &mut Index,
        path: &Path,
        census: &mut Census<'_>,
        crl: &mut Revocations,
    ) -> Result<(), SourceError> {
        for listed in index {
            let Listed { serial, record } = listed?;
            let status = stricter(record.status, crl.take(&serial));
            let (first, known) = census.mark(&serial);
            if !first {
                return Err(listed_twice(path, serial));
            }
            self.note(serial, known, Record { status, ..record });
        }
        Ok(())
    }

    /// Notes what the sources say of a serial of which the records hold `known`.
    fn note(&mut self, serial: Serial, known: Option<Found>, said: Record) {
        self.listed += 1;
        match known {
            Some(known) if !known.status.may_become(said.status) => {
                self.contradict(serial, known.status, Some(said.status));
            }
            Some(known) if known.status == said.status && same_end(known.not_after, said.not_after) => {}
            _ => self.changes.push(Change { serial, record: Some(said) }),
        }
    }

    /// The records that the sources no longer list and that may go. `complete`: the sources list
    /// good certificates too; `whole`: the CRL lists every revoked one.
    fn unlisted(&mut self, census: &Census<'_>, complete: bool, whole: bool) -> Vec<Serial> {
        let mut gone = Vec::new();
        for (serial, status) in census.unlisted() {
            match status {
                Status::Good => gone.push(serial),
                // RFC 5280 section 5.3.1: a hold ends by leaving the CRL.
                Status::Revoked { reason: Reason::CertificateHold, .. } if !complete && whole => gone.push(serial),
                // A CRL drops expired certificates; they were revoked all the same.
                Status::Revoked { .. } if !complete => {}
                Status::Revoked { .. } => self.contradict(serial, status, None),
            }
        }
        gone
    }

    fn contradict(&mut self, serial: Serial, known: Status, said: Option<Status>) {
        self.contradictions += 1;
        self.first_contradiction.get_or_insert((serial, known, said));
    }
}

/// Of what index and CRL say of one certificate, what is safe to tell: revoked rather than good,
/// final rather than on hold, and else the index's.
fn stricter(index: Status, crl: Option<Status>) -> Status {
    match (index, crl) {
        (_, None) => index,
        (Status::Good | Status::Revoked { reason: Reason::CertificateHold, .. }, Some(crl)) => crl,
        (Status::Revoked { .. }, Some(_)) => index,
    }
}

/// Whether the end of validity is as known; records keep it in 32 bits, and a CRL does not tell it.
fn same_end(known: Option<UnixTime>, said: Option<UnixTime>) -> bool {
    said.is_none_or(|said| said.0 >= u64::from(u32::MAX)) || known == said
}

/// A list that lost more than half of its certificates at once is rather a damaged file.
fn refuse_shrink(path: &Path, gone: u64, records: &Records) -> Result<(), SourceError> {
    let counts = records.counts();
    let before = counts.good + counts.revoked;
    if gone <= limits::SHRINK_ALWAYS_ALLOWED || gone * 2 <= before {
        return Ok(());
    }
    let problem = format!(
        "no longer lists {gone} of the {before} certificates known, which looks like a damaged or foreign file; \
         if it is meant, stop the service and run `ostia-precompute sync --accept-shrink --config …` once"
    );
    Err(SourceError::file(path, problem))
}

/// Finds the second line of a serial, which only a person can set right.
fn listed_twice(path: &Path, serial: Serial) -> SourceError {
    let mut lines = (1u64..).zip(Index::open(path).into_iter().flatten());
    let mut listing = lines.by_ref().filter(|(_, listed)| listed.as_ref().is_ok_and(|listed| listed.serial == serial));
    let first = listing.next().map_or(0, |(line, _)| line);
    let problem = format!("lists serial {serial} a second time (first in record {first}); remove one of the two lines");
    match listing.next() {
        Some((line, _)) => SourceError::line(path, line, problem),
        None => SourceError::file(path, problem),
    }
}
