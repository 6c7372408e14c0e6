//! Whether those who sign may: what clients would hold against their certificates.
//!
//! A certificate that was in order at the start may expire, or be revoked by the very CA that it answers for. Answers
//! go on then, because another one is not had by refusing; operators are told until it is mended.

use std::{collections::HashSet, fmt, sync::Arc, time::Duration};

use precompute::pki::{Serial, Status, UnixTime};
use tokio::sync::watch;
use tracing::warn;

use crate::{
    limits,
    site::{Issuer, Site},
};

/// What is wrong with an issuer's signers.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Fault {
    /// All of them have ended, the last one then.
    Expired(UnixTime),
    /// None of them is valid now; one will be.
    NoneYet,
    /// The issuer itself lists this one as revoked.
    Revoked(Serial),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired(end) => write!(f, "the signing certificate expired at {end}; renew it"),
            Self::NoneYet => f.write_str("no signing certificate is valid yet; check this machine's clock"),
            Self::Revoked(serial) => write!(
                f,
                "the signing certificate {serial} is revoked by its CA: clients that look refuse its answers; name another signer"
            ),
        }
    }
}

impl Issuer {
    /// Whether some signer is valid.
    pub fn can_sign(&self, now: UnixTime) -> bool {
        self.signers.choose(now, Duration::ZERO, std::iter::empty()).is_some()
    }

    /// What is wrong with its signers.
    pub fn signer_faults(&self, now: UnixTime) -> impl Iterator<Item = Fault> {
        let end = self.not_after();
        let none = if end <= now { Fault::Expired(end) } else { Fault::NoneYet };
        let none = (!self.can_sign(now)).then_some(none);
        let serials = self.signers.all().iter().filter_map(|signer| signer.serial());
        let is_revoked = |serial: &&Serial| {
            self.state.records.get(serial).is_some_and(|found| matches!(found.status, Status::Revoked { .. }))
        };
        none.into_iter().chain(serials.filter(is_revoked).copied().map(Fault::Revoked))
    }
}

/// Looks now and then, and tells what is new in the log.
pub async fn watch(sites: watch::Receiver<Arc<Site>>) {
    let mut told = HashSet::new();
    loop {
        let (site, now) = (Arc::clone(&sites.borrow()), UnixTime::now());
        let mut found = HashSet::new();
        for tenant in site.tenants() {
            for issuer in tenant.issuers() {
                for fault in issuer.signer_faults(now) {
                    let fault = (Arc::clone(&tenant.name), issuer.name.clone(), fault);
                    if !told.contains(&fault) {
                        warn!(tenant = &*fault.0, issuer = fault.1, "{}", fault.2);
                    }
                    found.insert(fault);
                }
            }
        }
        told = found;
        // A former site goes with its sessions, which the next one may be waiting for.
        drop(site);
        tokio::time::sleep(limits::SIGNER_LOOK).await;
    }
}
