//! How a reader hands over what it has read.
//!
//! Purpose: during a reload an issuer has two readers, and only one of them may change what is known. Invariant: a
//! reader that was prepared changes nothing until it is adopted, and one that was replaced changes nothing any more, even
//! if it hangs in a read meanwhile. It does not know how sources are read.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tracing::{error, info, warn};

use super::{
    FollowedIssuer, Pass,
    compare::{Contradictions, Example, OfKind},
};
#[cfg(test)]
use crate::left_out::{Rule, is_left_out};
use crate::{
    ledger::{
        Difference, Health, Ledger, OfContradictions,
        reconcile::{Contradiction, Known, contradicted, keeps},
    },
    pki::{Serial, UnixTime},
    publication::AcceptedCrl,
    records::Origin,
};

/// What one read of an issuer's sources has found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) difference: Difference,
    /// `None` where nothing was read.
    pub(super) remarks: Option<Remarks>,
    /// The CRLs to be published, and whether none was refused; `None` where none are.
    pub(super) published: Option<(Vec<AcceptedCrl>, bool)>,
}

/// What is to be told of a read.
#[derive(Debug, Default)]
pub(super) struct Remarks {
    /// Entries that were skipped because no certificate can have their serial number.
    pub(super) passed_over: u64,
    pub(super) warnings: Vec<String>,
    /// `None` where only a part of the sources counts.
    pub(super) contradictions: Option<Contradictions>,
}

/// The way from one reader to the ledger.
#[derive(Debug)]
pub(super) struct Handover {
    issuer: Arc<FollowedIssuer>,
    ledger: Ledger,
    stage: Mutex<Stage>,
}

#[derive(Debug)]
enum Stage {
    /// The reader is prepared. What it has found so far waits.
    Held(Vec<Findings>, Option<Outcome>),
    /// What it finds counts.
    Open,
    /// It was replaced.
    Closed,
}

/// The outcome of a pass.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// The sources were taken.
    Taken(Pass),
    /// They were refused, for this reason.
    Refused(String),
}

impl Handover {
    /// `held`: until it is adopted.
    pub(super) fn new(issuer: Arc<FollowedIssuer>, ledger: Ledger, held: bool) -> Arc<Self> {
        let stage = Mutex::new(if held { Stage::Held(Vec::new(), None) } else { Stage::Open });
        Arc::new(Self { issuer, ledger, stage })
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over what a read has found.
    pub(super) fn give(&self, findings: Findings) {
        let mut stage = self.stage();
        match &mut *stage {
            Stage::Held(waiting, _) => waiting.push(findings),
            Stage::Open => self.take(findings),
            #[cfg(test)]
            Stage::Closed if is_left_out(Rule::ReplacedIsOut) => self.take(findings),
            Stage::Closed => {}
        }
    }

    /// Notes the outcome of a pass; true if it is a refusal that is new.
    pub(super) fn end(&self, outcome: Outcome) -> bool {
        let mut stage = self.stage();
        match &mut *stage {
            Stage::Held(_, last) => {
                *last = Some(outcome);
                false
            }
            Stage::Open => self.note(&outcome),
            Stage::Closed => false,
        }
    }

    /// The health of the sources, for as long as this reader speaks for them.
    pub(super) fn health(&self) -> Option<&Health> {
        matches!(*self.stage(), Stage::Open).then(|| &*self.ledger.state().health)
    }

    /// Counts the pushed records that the sources contradict now: those that pushes revoked or hold and a source does not,
    /// and those that an index does not list.
    pub(super) fn count_contradictions_with_pushes(&self) {
        let Some(health) = self.health() else { return };
        let sources = &self.issuer.sources;
        let lists = sources.list();
        let count = self.ledger.state().records.count_by_origin(|origin| contradicted(origin, lists).is_some());
        health.push_contradictions(if sources.is_pushes_alone() { 0 } else { count });
    }

    /// Its configuration is adopted: what it has found is taken now.
    pub(super) fn open(&self) {
        let mut stage = self.stage();
        let Stage::Held(waiting, outcome) = std::mem::replace(&mut *stage, Stage::Open) else { return };
        let health = &self.ledger.state().health;
        health.verified_before(health.report().verified, self.issuer.sources.is_crl_alone(), UnixTime::now());
        self.ledger.forget_stamps();
        if !self.issuer.publishes_crls {
            self.ledger.state().publication.take(Vec::new(), true);
        }
        waiting.into_iter().for_each(|findings| self.take(findings));
        outcome.iter().for_each(|outcome| _ = self.note(outcome));
    }

    /// Nothing of it counts any more.
    pub(super) fn close(&self) {
        *self.stage() = Stage::Closed;
    }

    /// Whether the record of a certificate keeps what the issuer had under a former name, or will once this is adopted.
    pub(super) fn keeps(&self, serial: &Serial, former: Known) -> bool {
        if self.ledger.look_up(serial).is_some_and(|found| keeps(found.into(), former)) {
            return true;
        }
        let Stage::Held(waiting, _) = &*self.stage() else { return false };
        waiting.iter().any(|findings| {
            let Difference { said, carried, .. } = &findings.difference;
            let at = said.binary_search_by_key(serial, |change| change.serial);
            let record = at.ok().and_then(|at| said[at].record());
            let at = carried.binary_search_by_key(serial, |change| change.serial);
            let along = at.ok().map(|at| carried[at]);
            record.is_some_and(|record| keeps(Known { record, origin: Origin::SOURCE }, former))
                || along
                    .and_then(|along| Some(Known { record: along.record?, origin: along.origin }))
                    .is_some_and(|along| keeps(along, former))
        })
    }

    fn note(&self, outcome: &Outcome) -> bool {
        let health = &self.ledger.state().health;
        match outcome {
            Outcome::Taken(_) if self.issuer.sources.is_pushes_alone() => {
                health.in_order(UnixTime::now());
                false
            }
            Outcome::Taken(pass) => {
                health.read(UnixTime::now(), pass);
                false
            }
            Outcome::Refused(fault) => health.refused(fault),
        }
    }

    fn take(&self, findings: Findings) {
        if let Some(remarks) = &findings.remarks {
            self.tell(remarks);
        }
        self.ledger.take(&findings.difference);
        // Behind the records: whoever fetches a CRL and then asks is told nothing older.
        if let Some((accepted, is_whole)) = findings.published {
            self.ledger.state().publication.take(accepted, is_whole);
        }
    }

    fn tell(&self, remarks: &Remarks) {
        let (tenant, issuer) = (self.issuer.tenant(), &self.issuer.name);
        let health = &self.ledger.state().health;
        if health.passed_over(remarks.passed_over) {
            warn!(
                tenant,
                issuer,
                entries = remarks.passed_over,
                "the sources list serial numbers that are 0, negative or over 20 bytes, which no certificate can have; they are skipped"
            );
        }
        for warning in health.warned(&remarks.warnings) {
            warn!(tenant, issuer, "{warning}");
        }
        if let Some(contradictions) = &remarks.contradictions {
            self.tell_contradictions(contradictions);
        }
    }

    fn tell_contradictions(&self, contradictions: &Contradictions) {
        self.ledger.state().health.contradictions(contradictions.of(Contradiction::TakenBack).count);
        let now = Instant::now();
        for kind in [Contradiction::TakenBack, Contradiction::PushRestricts, Contradiction::PushLists] {
            let OfKind { count, first } = contradictions.of(kind);
            match self.ledger.state().health.contradiction_news(kind, count, now) {
                None => {}
                Some(OfContradictions::Over) => self.tell_end_of_contradictions(kind),
                Some(OfContradictions::Some) => {
                    first.iter().for_each(|first| self.tell_contradiction(kind, count, first))
                }
            }
        }
    }

    fn tell_contradiction(&self, kind: Contradiction, records: u64, first: &Example) {
        let (tenant, issuer) = (self.issuer.tenant(), &self.issuer.name);
        let Example { serial: example, known, said } = first;
        let said = |unlisted: &str| said.map_or(unlisted.to_owned(), |status| format!("`{status}`"));
        match kind {
            Contradiction::TakenBack => warn!(
                tenant,
                issuer,
                records,
                %example,
                "the source takes back revocations (the example was `{known}` and is now {}); they stay revoked: only a hold can be released",
                said("no longer listed")
            ),
            Contradiction::PushRestricts => warn!(
                tenant,
                issuer,
                records,
                %example,
                "pushes and the source disagree (of the example, a push says `{known}`, and in the source it is {}); the push counts until the CA's own record says the same, or a push releases it",
                said("not listed")
            ),
            // Whoever pushes a new certificate is ahead of the index.
            Contradiction::PushLists => info!(
                tenant,
                issuer,
                records,
                %example,
                "the index does not list pushed certificates yet; they count as pushed"
            ),
        }
    }

    fn tell_end_of_contradictions(&self, kind: Contradiction) {
        let (tenant, issuer) = (self.issuer.tenant(), &self.issuer.name);
        let over = match kind {
            Contradiction::TakenBack => "the source takes back no revocation any more",
            Contradiction::PushRestricts => "the source says the same as pushes about every revocation and hold again",
            Contradiction::PushLists => "the index lists every pushed certificate now",
        };
        info!(tenant, issuer, "{over}");
    }

    /// Logs that sources are refused.
    pub(super) fn tell_refusal(&self, faults: &impl std::fmt::Display) {
        error!(tenant = self.issuer.tenant(), issuer = self.issuer.name, "{faults}; the last good state stays in use");
    }
}
