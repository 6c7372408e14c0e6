//! Watches the signers' certificates for faults that clients would object to.
//!
//! A certificate that was valid at the start may expire, or be revoked by the CA that it answers for. Then another
//! signer of the issuer signs in its place, and answers kept from the old one are no longer looked up. If there is no
//! other, answers go on, because refusing would not give a better one. Operators are told until it is fixed. It does
//! not know requests.

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
    /// All of them have expired; the last one at this time.
    Expired(UnixTime),
    /// None of them is valid yet.
    NoneYet,
    /// The issuer itself lists this signer's certificate as revoked.
    Revoked {
        /// The serial of the certificate.
        serial: Serial,
        /// Whether another signer signs in its place.
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

    /// Notes which signers are revoked now: they sign no more, and those no longer revoked sign again. True if anything
    /// has changed.
    pub fn note_revoked_signers(&self) -> bool {
        self.signers.note_revoked(|serial| self.state.records.is_revoked(serial))
    }
}

/// Looks at intervals: notes which signers are revoked, for the choice among them, and logs what is new.
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
            // Answers that they have not signed yet are due at once.
            presigner.begin_anew();
        }
        // An old site is dropped with its sessions, which the next one may be waiting for.
        drop(site);
        tokio::time::sleep(limits::SIGNER_LOOK).await;
    }
}
