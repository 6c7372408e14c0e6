//! An active issuer of a tenant: its configuration, its records, and its signers.
//!
//! Purpose: serving and pre-signing share this one value. Invariants: the records are this issuer's own, because only a
//! state with its [`IssuerId`] is accepted; and no two issuers that this process ever had share a number, under which
//! answers are kept, unless one only has more signers than the other. It does not know requests, sockets or the order of a file.

mod signer_fault;

pub use signer_fault::SignerFault;

use std::{
    fmt,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use crate::{
    answers::AnswerKey,
    engine::{IssuerState, NotFollowed},
    issuer_id::IssuerId,
    limits::ISSUERS_MAX,
    ocsp::{HashAlgorithm, IssuerHashes, OcspError, Policy},
    pki::{Certificate, Serial, UnixTime},
    records::Found,
    signers::Signers,
};

/// One issuer of one tenant.
#[derive(Debug)]
pub struct ActiveIssuer {
    /// Unique among all issuers that this process ever had.
    number: u32,
    /// For logs and metrics.
    pub name: String,
    /// How it answers.
    pub policy: Policy,
    /// Its name and key hashes for CertIDs.
    pub hashes: IssuerHashes,
    /// When the CA certificate begins to be valid.
    pub not_before: UnixTime,
    /// Its records, and the condition of its sources.
    pub state: IssuerState,
    /// Its signers.
    pub signers: Signers,
}

impl ActiveIssuer {
    /// `id` and `certificate`: from the configuration; `state`: the state of exactly this issuer.
    pub fn new(
        id: &IssuerId,
        name: &str,
        policy: Policy,
        certificate: &Certificate,
        state: IssuerState,
        signers: Signers,
    ) -> Result<Self, IssuerError> {
        if state.id() != id || *id.ca() != certificate.issuer_fingerprint() {
            return Err(IssuerError::OfAnother { wanted: id.clone(), found: state.id().clone() });
        }
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // The last number is never given, so that the counter never restarts.
        let number = NEXT.fetch_update(Relaxed, Relaxed, |next| (next < ISSUERS_MAX - 1).then_some(next + 1));
        let number = number.map_err(|_| IssuerError::TooMany)?;
        let (hashes, not_before) = (IssuerHashes::of(certificate), certificate.not_before());
        let issuer = Self { number, name: name.to_owned(), policy, hashes, not_before, state, signers };
        // Before the first request, also after a reload, so that no revoked signer is chosen before the first check.
        issuer.note_revoked_signers();
        Ok(issuer)
    }

    /// The same with other signers, of which the first are its own: what was signed is found and served as before.
    pub fn with_more_signers(&self, signers: Signers) -> Self {
        let (name, state) = (self.name.clone(), self.state.clone());
        let Self { number, policy, not_before, .. } = *self;
        let issuer = Self { number, name, policy, hashes: self.hashes.clone(), not_before, state, signers };
        issuer.note_revoked_signers();
        issuer
    }

    /// The same with a number that other issuers may have.
    #[cfg(test)]
    pub(crate) fn numbered(self, number: u32) -> Self {
        Self { number, ..self }
    }

    /// Its id everywhere.
    pub fn id(&self) -> &IssuerId {
        self.state.id()
    }

    /// As in [`AnswerKey::new`].
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The record of a certificate. Where nothing was ever known of the issuer, nobody can say that it is not listed:
    /// that is [`OcspError::TryLater`], whatever the policy says of unlisted serials.
    #[inline]
    pub fn find(&self, serial: &Serial) -> Result<Option<Found>, OcspError> {
        let found = self.state.records.get(serial);
        if found.is_none() && !self.state.health.is_known() { Err(OcspError::TryLater) } else { Ok(found) }
    }

    /// The latest nextUpdate that its sources allow.
    #[inline]
    pub fn told_until(&self) -> UnixTime {
        self.state.health.told_until(self.policy.crl_grace)
    }

    /// The key under which its answer about a certificate is kept; `signer`: the place of the signer among its signers.
    #[inline]
    pub fn key(&self, hash: HashAlgorithm, signer: u8, serial: &Serial) -> AnswerKey {
        AnswerKey::new(self.number, hash, signer, serial)
    }
}

/// Why an issuer cannot be made active.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum IssuerError {
    /// The state or the certificate belongs to another issuer.
    OfAnother {
        /// The issuer they should belong to.
        wanted: IssuerId,
        /// The issuer they belong to.
        found: IssuerId,
    },
    /// It has no state.
    NotFollowed(NotFollowed),
    /// The numbers of this process are used up.
    TooMany,
}

impl fmt::Display for IssuerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OfAnother { wanted, found } => write!(
                f,
                "the issuer {wanted} of the tenant `{}` was given what belongs to the issuer {found} of the tenant `{}`: \
                 a defect of this program",
                wanted.tenant(),
                found.tenant()
            ),
            Self::NotFollowed(error) => error.fmt(f),
            Self::TooMany => write!(f, "this process has had {} issuers; it has to be started anew", ISSUERS_MAX - 1),
        }
    }
}

impl std::error::Error for IssuerError {}

impl From<NotFollowed> for IssuerError {
    fn from(error: NotFollowed) -> Self {
        Self::NotFollowed(error)
    }
}
