//! Whether those who sign may: what clients would hold against their certificates.
//!
//! A certificate that was in order at the start may expire, or be revoked by the very CA that it answers for. Then another
//! signer of the issuer signs in its place, with what was kept of the former no longer looked for. Where there is none,
//! answers go on, because another one is not had by refusing. Operators are told until it is mended.

use std::{collections::HashSet, fmt, sync::Arc, time::Duration};

use precompute::{
    pki::{Serial, UnixTime},
    presign::Presigner,
};
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
    Revoked {
        /// Which.
        serial: Serial,
        /// Whether another one signs in its place.
        replaced: bool,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired(end) => write!(f, "the signing certificate expired at {end}; renew it"),
            Self::NoneYet => f.write_str("no signing certificate is valid yet; check this machine's clock"),
            Self::Revoked { serial, replaced: false } => write!(
                f,
                "the signing certificate {serial} is revoked by its CA: clients that check it reject its answers; name another signer"
            ),
            Self::Revoked { serial, replaced: true } => write!(
                f,
                "the signing certificate {serial} is revoked by its CA: the issuer's other signers sign in its place; remove it, or name another"
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
        let is_revoked = |serial: &Serial| self.state.records.is_revoked(serial);
        let signers = || self.signers.all().iter();
        let replaced =
            signers().any(|signer| signer.check_validity(now).is_ok() && !signer.serial().is_some_and(is_revoked));
        let revoked = signers().filter_map(|signer| signer.serial()).filter(move |serial| is_revoked(serial));
        none.into_iter().chain(revoked.map(move |serial| Fault::Revoked { serial: *serial, replaced }))
    }

    /// Has whoever is revoked now sign no more, and whoever no longer is sign again; whether that is anything new.
    pub fn note_revoked_signers(&self) -> bool {
        self.signers.note_revoked(|serial| self.state.records.is_revoked(serial))
    }
}

/// Looks now and then: notes who is revoked, for those who choose; and tells what is new in the log.
pub async fn watch(sites: watch::Receiver<Arc<Site>>, presigner: Arc<Presigner>) {
    let mut told = HashSet::new();
    loop {
        let (site, now) = (Arc::clone(&sites.borrow()), UnixTime::now());
        let (mut found, mut others_sign) = (HashSet::new(), false);
        for tenant in site.tenants() {
            for issuer in tenant.issuers() {
                others_sign |= issuer.note_revoked_signers();
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
        if others_sign {
            // What they have not signed yet is due at once.
            presigner.begin_anew();
        }
        // A former site goes with its sessions, which the next one may be waiting for.
        drop(site);
        tokio::time::sleep(limits::SIGNER_LOOK).await;
    }
}
