//! What becomes of records that no source lists.
//!
//! Invariant: a list that is empty, another CA's or lost most of its certificates at once removes nobody until somebody
//! confirms it. It does not know how sources are read.

use std::path::Path;

use super::{Comparison, Question, is_held_by_source, is_hold};
use crate::{
    ledger::reconcile::{Contradiction, Known, by_source},
    limits,
    pki::{Serial, Status},
    records::Census,
    source::SourceError,
};

/// The records that sources do not list.
#[derive(Debug, Default)]
pub(super) struct Gone {
    /// To be removed.
    pub(super) gone: Vec<Serial>,
    /// To be kept, because they were pushed, and to be noted as not listed.
    pub(super) pushed: Vec<Serial>,
}

impl Question<'_> {
    /// How many certificates that have not expired a source listed before and does not list now.
    fn missed(&self, census: &Census<'_>) -> u64 {
        let listed = census.unlisted().filter(|(_, found)| found.origin.is_listed());
        listed.filter(|(_, found)| self.is_valid(found.not_after)).count() as u64
    }

    fn is_known_valid(&self, serial: &Serial) -> bool {
        self.records.get(serial).is_some_and(|known| self.is_valid(known.not_after))
    }
}

impl Comparison {
    /// What becomes of the records that the sources do not list.
    pub(super) fn unlisted(&mut self, question: &Question<'_>, census: &Census<'_>) -> Gone {
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
    pub(super) fn refuse_foreign(
        &mut self,
        question: &Question<'_>,
        path: &Path,
        census: &Census<'_>,
    ) -> Result<(), SourceError> {
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
    pub(super) fn refuse_shrink(
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
