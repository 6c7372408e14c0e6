//! An issuer as the workers see it: [`ActiveIssuer`] with the parts for serving. It does not know its tenant.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use precompute::{
    issuer::ActiveIssuer,
    ocsp::{IssuerKey, OcspError},
    pki::UnixTime,
    sign::Algorithm,
    signers::{OcspSigner, Signers},
};
use tracing::error;

use crate::metrics::Requests;

/// One issuer of one tenant.
#[derive(Debug)]
pub struct Issuer {
    active: Arc<ActiveIssuer>,
    /// Requests for its certificates.
    pub requests: Arc<Requests>,
    /// Whether the log already says that the signer's certificate has expired.
    expiry_told: AtomicBool,
    cache_key: IssuerKey,
}

impl Deref for Issuer {
    type Target = ActiveIssuer;

    #[inline]
    fn deref(&self) -> &ActiveIssuer {
        &self.active
    }
}

impl Issuer {
    /// An issuer whose records have been read.
    pub fn new(active: Arc<ActiveIssuer>, workers: usize) -> Self {
        let cache_key = IssuerKey::of(&active.hashes);
        let requests = Arc::new(Requests::new(workers));
        Self { active, requests, expiry_told: AtomicBool::new(false), cache_key }
    }

    /// The signer of an answer `now` for a client with these preferences, and its place among the signers.
    #[inline]
    pub fn choose(
        &self,
        now: UnixTime,
        preferred: impl Iterator<Item = Algorithm>,
    ) -> Result<(u8, &Arc<OcspSigner>), OcspError> {
        if let Some(chosen) = self.signers.choose(now, self.policy.validity, preferred) {
            return Ok(chosen);
        }
        // Logged once, because every request comes here from then on.
        if !self.expiry_told.swap(true, Relaxed) {
            let not_after = self.not_after();
            error!(issuer = self.name, %not_after, "the signing certificate has expired; nothing can be signed until it is renewed");
        }
        Err(OcspError::InternalError)
    }

    /// The signer of a new answer for such a client, if it is not the signer at `chosen`: that one's key has been away
    /// for a while.
    pub fn stand_in(
        &self,
        chosen: u8,
        now: UnixTime,
        preferred: impl Iterator<Item = Algorithm> + Clone,
    ) -> Option<(u8, &Arc<OcspSigner>)> {
        self.signers.choose_at_work(now, self.policy.validity, preferred).filter(|(place, _)| *place != chosen)
    }

    /// The signer of one answer for certificates of all these issuers, which belong to one tenant; `None` if no signer
    /// is authorised for each of them.
    pub fn choose_for_all<'i>(issuers: impl Iterator<Item = &'i Self>, now: UnixTime) -> Option<Arc<OcspSigner>> {
        let mut validity = Duration::MAX;
        let lists =
            issuers.inspect(|issuer| validity = validity.min(issuer.policy.validity)).map(|issuer| &issuer.signers);
        let lists: Vec<_> = lists.collect();
        Signers::shared(lists, now, validity)
    }

    /// Whether it serves this issuer.
    pub(super) fn serves(&self, active: &Arc<ActiveIssuer>) -> bool {
        Arc::ptr_eq(&self.active, active)
    }

    /// Whether it is the same object.
    pub fn is(&self, other: &Self) -> bool {
        self.number() == other.number()
    }

    /// What caches call its answers.
    pub fn cache_key(&self) -> &IssuerKey {
        &self.cache_key
    }
}
