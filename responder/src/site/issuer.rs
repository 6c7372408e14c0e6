//! An issuer as the workers see it: what names it, what is known of its certificates, who signs for it.
//!
//! Invariant: no two issuers that this process ever had have the same number, which is what answers are kept under.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use precompute::{
    answers::Key,
    config::IssuerConfig,
    engine::IssuerState,
    limits::ISSUERS_MAX,
    ocsp::{HashAlgorithm, IssuerHashes, OcspError, Policy},
    pki::{Certificate, Serial, UnixTime, hex},
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
    /// No other issuer of this process ever had it.
    number: u32,
    /// For logs and metrics.
    pub name: String,
    /// How it answers.
    pub policy: Policy,
    /// What CertIDs name it by.
    pub hashes: IssuerHashes,
    /// Since when the CA exists.
    pub not_before: UnixTime,
    /// Its certificates, and how their sources fare.
    pub state: IssuerState,
    /// Who signs for it.
    pub signers: Signers,
    /// Requests for its certificates.
    pub requests: Arc<Requests>,
    /// Whether the log says already that the signer's certificate has expired.
    expiry_told: AtomicBool,
    surrogate: [u8; 16],
}

impl Issuer {
    /// Numbered anew. Its records have been read.
    pub fn new(
        name: &str,
        policy: Policy,
        certificate: &Certificate,
        state: IssuerState,
        signers: Signers,
        workers: usize,
    ) -> Self {
        let (hashes, not_before) = (IssuerHashes::of(certificate), certificate.not_before());
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Relaxed);
        assert!(number < ISSUERS_MAX, "this process has had {ISSUERS_MAX} issuers; it has to be started anew");
        let mut surrogate = [0; 16];
        let key_hash = hashes.get(HashAlgorithm::Sha256).1;
        hex::write(key_hash, &mut surrogate);
        let (name, expiry_told) = (name.to_owned(), AtomicBool::new(false));
        let requests = Arc::new(Requests::new(workers));
        let issuer =
            Self { number, name, policy, hashes, not_before, state, signers, requests, expiry_told, surrogate };
        // Before the first request, also after a reload: nobody revoked is chosen until somebody looks.
        issuer.note_revoked_signers();
        issuer
    }

    /// Whether the answers of this one are right for an issuer of the same tenant with this configuration.
    pub(super) fn answers_for(&self, config: &IssuerConfig, state: &IssuerState) -> bool {
        self.name == config.name
            && self.policy == config.policy
            && Arc::ptr_eq(&self.state.records, &state.records)
            && self.signers.all().len() == config.signers.all().len()
            && self.signers.all().iter().zip(config.signers.all()).all(|(signer, other)| {
                signer.template().fingerprint() == other.template().fingerprint()
                    && (signer.not_before(), signer.not_after()) == (other.not_before(), other.not_after())
                    && signer.signing().setting() == other.signing().setting()
                    // What was locked may be asked again once somebody has mended it, by those that begin anew.
                    && signer.signing().status().locked() <= other.signing().status().locked()
            })
    }

    /// Until when what its sources say may be told.
    #[inline]
    pub fn told_until(&self) -> UnixTime {
        self.state.health.told_until(self.policy.stale_after)
    }

    /// What its answer about a certificate is kept under.
    #[inline]
    pub fn key(&self, hash: HashAlgorithm, signer: u8, serial: &Serial) -> Key {
        Key::new(self.number, hash, signer, serial)
    }

    pub(super) fn subject(&self, tenant: &Tenant) -> Subject {
        Subject {
            number: self.number,
            tenant: tenant.name.to_string(),
            name: self.name.clone(),
            policy: self.policy,
            hashes: self.hashes.clone(),
            not_before: self.not_before,
            state: self.state.clone(),
            signers: self.signers.clone(),
            ahead: tenant.presign.clone(),
        }
    }

    /// Who signs an answer `now` for a client with these preferences, and its place among the signers.
    #[inline]
    pub fn choose(
        &self,
        now: UnixTime,
        preferred: impl Iterator<Item = Algorithm>,
    ) -> Result<(u8, &Arc<OcspSigner>), OcspError> {
        if let Some(chosen) = self.signers.choose(now, self.policy.validity, preferred) {
            return Ok(chosen);
        }
        // Told once: every request comes here from then on.
        if !self.expiry_told.swap(true, Relaxed) {
            let not_after = self.not_after();
            error!(issuer = self.name, %not_after, "the signing certificate has expired; nothing can be signed until it is renewed");
        }
        Err(OcspError::InternalError)
    }

    /// Who signs an answer for such a client that is not kept, where that is another than `chosen`: the one of that place
    /// has been away for a while.
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

    /// Who signs one answer for certificates of all of these, of one tenant; `None` where no signer is authorised for
    /// every one.
    pub fn choose_for_all<'i>(issuers: impl Iterator<Item = &'i Self>, now: UnixTime) -> Option<Arc<OcspSigner>> {
        let mut validity = Duration::ZERO;
        let lists = issuers.inspect(|issuer| validity = issuer.policy.validity).map(|issuer| &issuer.signers);
        let lists: Vec<_> = lists.collect();
        Signers::shared(lists, now, validity)
    }

    /// Whether it is the very same.
    pub fn is(&self, other: &Self) -> bool {
        self.number == other.number
    }

    /// The issuer's name in caches: the first 16 hexadecimal digits of its issuerKeyHash in SHA-256.
    pub fn surrogate(&self) -> &[u8] {
        &self.surrogate
    }
}
