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
    assemble::AssembledIssuer,
    engine::IssuerState,
    issuer::ActiveIssuer,
    ocsp::{HashAlgorithm, OcspError},
    pki::{UnixTime, hex},
    presign::Subject,
    sign::Algorithm,
    signers::{OcspSigner, Signers},
};
use tracing::error;

use super::Tenant;
use crate::metrics::Requests;

/// One issuer of one tenant.
#[derive(Debug)]
pub struct Issuer {
    active: Arc<ActiveIssuer>,
    /// Requests for its certificates.
    pub requests: Arc<Requests>,
    /// Whether the log already says that the signer's certificate has expired.
    expiry_told: AtomicBool,
    surrogate: [u8; Issuer::SURROGATE_BYTES],
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
    pub fn new(active: ActiveIssuer, workers: usize) -> Self {
        let mut surrogate = [0; Self::SURROGATE_BYTES];
        hex::write(active.hashes.get(HashAlgorithm::Sha256).1, &mut surrogate);
        let requests = Arc::new(Requests::new(workers));
        let issuer = Self { active: Arc::new(active), requests, expiry_told: AtomicBool::new(false), surrogate };
        // Before the first request, also after a reload, so that no revoked signer is chosen before the first check.
        issuer.note_revoked_signers();
        issuer
    }

    /// Whether this issuer's answers are right for an issuer of the same tenant with this configuration.
    pub(super) fn answers_for(&self, config: &AssembledIssuer, state: &IssuerState) -> bool {
        *self.id() == config.id
            && self.name == config.name
            && self.policy == config.policy
            && Arc::ptr_eq(&self.state.records, &state.records)
            && self.signers.all().len() == config.signers.all().len()
            && self.signers.all().iter().zip(config.signers.all()).all(|(signer, other)| {
                signer.template().fingerprint() == other.template().fingerprint()
                    && (signer.not_before(), signer.not_after()) == (other.not_before(), other.not_after())
                    && match (signer.signing(), other.signing()) {
                        (Some(signing), Some(other)) => {
                            signing.setting() == other.setting()
                                // After somebody has fixed a locked token, it may be asked again, by a new pool.
                                && signing.status().locked() <= other.status().locked()
                        }
                        (signing, other) => signing.is_none() && other.is_none(),
                    }
            })
    }

    pub(super) fn subject(&self, tenant: &Tenant) -> Subject {
        Subject { issuer: Arc::clone(&self.active), ahead: tenant.presign.clone() }
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

    /// When the last of its signers ends.
    pub fn not_after(&self) -> UnixTime {
        self.signers.all().iter().map(|signer| signer.not_after()).max().unwrap_or(UnixTime(0))
    }

    /// The signer of one answer for certificates of all these issuers, which belong to one tenant; `None` if no signer
    /// is authorised for each of them.
    pub fn choose_for_all<'i>(issuers: impl Iterator<Item = &'i Self>, now: UnixTime) -> Option<Arc<OcspSigner>> {
        let mut validity = Duration::ZERO;
        let lists = issuers.inspect(|issuer| validity = issuer.policy.validity).map(|issuer| &issuer.signers);
        let lists: Vec<_> = lists.collect();
        Signers::shared(lists, now, validity)
    }

    /// Whether it is the same object.
    pub fn is(&self, other: &Self) -> bool {
        self.number() == other.number()
    }

    /// Bytes of [`Issuer::surrogate`].
    pub const SURROGATE_BYTES: usize = 16;

    /// The issuer's key in caches: the first 16 hexadecimal digits of its issuerKeyHash in SHA-256.
    pub fn surrogate(&self) -> &[u8] {
        &self.surrogate
    }
}
