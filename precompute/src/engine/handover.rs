//! How a reader hands over what it has read.
//!
//! Purpose: during a reload an issuer has two readers, and only one of them may change what is known. Invariant: a
//! reader that was prepared changes nothing until it is adopted, and one that was replaced changes nothing any more, even
//! if it hangs in a read meanwhile. It does not know how sources are read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::{error, warn};

use super::{FollowedIssuer, Pass, compare::Contradictions};
use crate::{
    ledger::{Difference, Health, Ledger, reconcile::strictness},
    pki::{Serial, UnixTime},
    records::Origin,
};

/// What one read of an issuer's sources has found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) difference: Difference,
    /// `None` where nothing was read.
    pub(super) remarks: Option<Remarks>,
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
    /// How many contradictions of either kind were told last.
    told: Mutex<(u64, u64)>,
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
        Arc::new(Self { issuer, ledger, stage, told: Mutex::default() })
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
        let count = self.ledger.state().records.count_by_origin(|origin| {
            let restricts = origin.has(Origin::PUSH_RESTRICTS);
            restricts && origin.has(Origin::SOURCE_ALLOWS)
                || !restricts && origin.is_pushed() && !origin.is_listed() && sources.index.is_some()
        });
        health.push_contradictions(if sources.is_pushes_alone() { 0 } else { count });
    }

    /// Its configuration is adopted: what it has found is taken now.
    pub(super) fn open(&self) {
        let mut stage = self.stage();
        let Stage::Held(waiting, outcome) = std::mem::replace(&mut *stage, Stage::Open) else { return };
        let health = &self.ledger.state().health;
        health.verified_before(health.report().verified, self.issuer.sources.is_crl_alone());
        waiting.into_iter().for_each(|findings| self.take(findings));
        outcome.iter().for_each(|outcome| _ = self.note(outcome));
    }

    /// Nothing of it counts any more.
    pub(super) fn close(&self) {
        *self.stage() = Stage::Closed;
    }

    /// How strict the record of a certificate is, or will be once this is adopted; `None` if there is none.
    pub(super) fn rank(&self, serial: &Serial) -> Option<u8> {
        let known = self.ledger.look_up(serial).map(|found| strictness(found.status));
        let Stage::Held(waiting, _) = &*self.stage() else { return known };
        let said = |findings: &Findings| {
            let said = &findings.difference.said;
            let at = said.binary_search_by_key(serial, |change| change.serial).ok()?;
            said[at].record.map(|record| strictness(record.status))
        };
        known.max(waiting.iter().filter_map(said).max())
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
        let (tenant, issuer) = (self.issuer.tenant(), &self.issuer.name);
        let Contradictions { taken_back, with_pushes, first } = contradictions;
        self.ledger.state().health.contradictions(*taken_back);
        let counts = (*taken_back, *with_pushes);
        if std::mem::replace(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner), counts) == counts {
            return;
        }
        let said = |status: Option<crate::pki::Status>| {
            status.map_or("no longer listed".to_owned(), |status| format!("`{status}`"))
        };
        if let Some((serial, known, now)) = first[0] {
            warn!(
                tenant,
                issuer,
                records = taken_back,
                example = %serial,
                "the source takes back revocations (the example was `{known}` and is now {}); they stay revoked: only a hold can be released",
                said(now)
            );
        }
        if let Some((serial, known, now)) = first[1] {
            warn!(
                tenant,
                issuer,
                records = with_pushes,
                example = %serial,
                "pushes and the source disagree (of the example, a push says `{known}`, and in the source it is {}); the push counts until the CA's own record says the same, or a push releases it",
                now.map_or("not listed".to_owned(), |status| format!("`{status}`"))
            );
        }
    }

    /// Logs that sources are refused.
    pub(super) fn tell_refusal(&self, faults: &impl std::fmt::Display) {
        error!(tenant = self.issuer.tenant(), issuer = self.issuer.name, "{faults}; the last good state stays in use");
    }
}
