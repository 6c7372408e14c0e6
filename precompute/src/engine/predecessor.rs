//! Under which tenant's name an issuer was known before, and what would be forgotten with it.
//!
//! Purpose: records belong to a tenant's name. Where an issuer comes to another one (a bare issuer into a tenant, a
//! tenant renamed), the revocations that only the book knows would turn good without a word. Invariant: a first pass that
//! would forget one is refused before anything is shown or saved, unless somebody said what is meant. It does not
//! know sources.

use std::fmt;

use super::{
    Accepted, EngineError,
    compare::{FINAL, strictness},
    watched::Watched,
};
use crate::{
    book::{Book, IssuerId},
    config::Config,
    pki::Serial,
    records::Change,
    state_dir::StateError,
};

/// A tenant that the book knows the issuer under and the configuration does not.
#[derive(Debug)]
pub(super) struct Predecessor {
    pub(super) tenant: String,
    /// What it holds as finally revoked, in order of serial.
    revoked: Vec<Change>,
}

impl Predecessor {
    /// Those of an issuer of which the book knows nothing under its own tenant's name.
    pub(super) fn all(book: &mut Book, id: &IssuerId, config: &Config) -> Result<Vec<Self>, StateError> {
        let is_configured = |tenant: &str| {
            config
                .issuers()
                .any(|(other, issuer)| other.name == tenant && issuer.certificate.issuer_fingerprint() == *id.issuer())
        };
        let mut found = Vec::new();
        for tenant in book.other_tenants(id)?.into_iter().filter(|tenant| !is_configured(tenant)) {
            let mut revoked = Vec::new();
            book.load(&id.under(&tenant), |serial, record| {
                if strictness(record.status) == FINAL {
                    revoked.push(Change { serial, record: Some(record) });
                }
            })?;
            found.push(Self { tenant, revoked });
        }
        Ok(found)
    }

    /// What it knows as revoked and `is_revoked` does not.
    fn forgotten(&self, is_revoked: impl Fn(&Serial) -> bool) -> Vec<Change> {
        self.revoked.iter().copied().filter(|change| !is_revoked(&change.serial)).collect()
    }
}

/// Revocations that would be forgotten.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forgotten {
    /// The name of the tenant that they were known under.
    pub tenant: String,
    /// How many.
    pub count: usize,
    /// One of them.
    pub example: Serial,
}

impl Forgotten {
    /// What `predecessors` know as revoked and `is_revoked` does not, if anything.
    pub(super) fn of(predecessors: &[Predecessor], is_revoked: impl Fn(&Serial) -> bool) -> Option<Self> {
        predecessors.iter().find_map(|predecessor| {
            let forgotten = predecessor.forgotten(&is_revoked);
            let example = forgotten.first()?.serial;
            Some(Self { tenant: predecessor.tenant.clone(), count: forgotten.len(), example })
        })
    }
}

impl fmt::Display for Forgotten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tenant, count, example } = self;
        write!(
            f,
            "the book has this issuer under the tenant «{tenant}», of which the configuration no longer says that it has \
             it; {count} of its revocations, {example} among them, are in no source of the issuer now and would be \
             forgotten: give the tenant that has it the name «{tenant}» again; or stop the service and run \
             `ostia-precompute sync --carry-over --config FILE` once, which takes them along, or the same with \
             `--accept-forgotten` if they are to be forgotten"
        )
    }
}

impl Watched {
    /// After the first pass: takes along what the predecessors know, lets it go, or refuses.
    pub(super) fn follow_predecessors(&mut self, accept: Accepted) -> Result<(), EngineError> {
        let predecessors = std::mem::take(&mut self.predecessors);
        let is_revoked =
            |serial: &Serial| self.state.records.get(serial).is_some_and(|known| strictness(known.status) == FINAL);
        if accept.carry_over {
            let changes = predecessors.iter().flat_map(|predecessor| predecessor.forgotten(is_revoked)).collect();
            self.show(changes);
        } else if !accept.forgotten
            && let Some(forgotten) = Forgotten::of(&predecessors, is_revoked)
        {
            let Self { subject, .. } = self;
            return Err(EngineError::Forgotten(format!("{}/{}", subject.tenant, subject.name), forgotten));
        }
        Ok(())
    }
}
