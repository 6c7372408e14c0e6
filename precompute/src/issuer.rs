//! An active issuer of a tenant: its configuration, its records, and its signers.
//!
//! Purpose: serving and pre-signing share this one value. Invariants: the records are this issuer's own, because only a
//! state with its [`IssuerId`] is accepted; and no two issuers that this process ever had share a number, under which
//! answers are kept, unless one only has more signers than the other. It does not know requests, sockets or the order of a file.

mod answered;
mod revoked_ca;
mod signer_fault;

pub use answered::Answered;
pub(crate) use revoked_ca::under_revoked_ca;
pub use revoked_ca::{Above, OwnRecord, ca_revoked_since};
pub use signer_fault::SignerFault;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

use crate::{
    answers::AnswerKey,
    engine::{IssuerState, NotFollowed},
    issuer_id::IssuerId,
    limits::ISSUERS_MAX,
    ocsp::{Carried, CertStatus, HashAlgorithm, IssuerHashes, OcspError, Policy, profile::Statement},
    pki::{Certificate, Serial, UnixTime},
    records::{Found, RevocationDetails},
    signers::{OcspSigner, Signers},
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
    /// The CA certificate.
    pub certificate: Arc<Certificate>,
    /// Its records, and the condition of its sources.
    pub state: IssuerState,
    /// Its signers.
    pub signers: Signers,
    /// The URLs of its CRLs that its answers may name.
    pub crl_urls: Box<[Box<str>]>,
    /// The record of its own certificate, if that is here.
    own: Option<OwnRecord>,
    /// Since when that is noted as revoked; 0 if it is not.
    revoked_ca: AtomicU64,
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
        let (name, crl_urls, own, revoked_ca) = (name.to_owned(), Box::default(), None, AtomicU64::new(0));
        let certificate = Arc::new(certificate.clone());
        let issuer =
            Self { number, name, policy, hashes, not_before, certificate, state, signers, crl_urls, own, revoked_ca };
        // Before the first request, also after a reload, so that no revoked signer is chosen before the first check.
        issuer.note_revoked_signers();
        issuer.note_revoked_ca();
        Ok(issuer)
    }

    /// The same whose answers may name these CRLs, in the order of [`CrlReference::url`](crate::records::CrlReference).
    pub fn with_crl_urls(self, crl_urls: Box<[Box<str>]>) -> Self {
        Self { crl_urls, ..self }
    }

    /// The same with other signers, of which the first are its own: what was signed is found and served as before.
    pub fn with_more_signers(&self, signers: Signers) -> Self {
        let Self { number, policy, not_before, .. } = *self;
        let issuer = Self {
            number,
            name: self.name.clone(),
            policy,
            hashes: self.hashes.clone(),
            not_before,
            certificate: Arc::clone(&self.certificate),
            state: self.state.clone(),
            signers,
            crl_urls: self.crl_urls.clone(),
            own: self.own.clone(),
            revoked_ca: AtomicU64::new(self.revoked_ca.load(Relaxed)),
        };
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
        match self.listed(serial) {
            None if !self.state.health.is_known() => Err(OcspError::TryLater),
            None => Ok(self.unlisted()),
            found => Ok(found),
        }
    }

    /// Bytes of a kept answer of this signer: its packed signature, and what it carries beside.
    #[inline]
    pub fn packed_length(&self, signer: &OcspSigner) -> usize {
        signer.packing().length() + self.policy.carries.tail()
    }

    /// What an answer with this statement carries. Clients that look for certHash take its absence for a certificate that
    /// the CA may never have issued (Common PKI 2.0 part 4): so *good* waits until the hash is known.
    pub fn carried(&self, serial: &Serial, statement: &Statement) -> Result<Carried, OcspError> {
        let carries = self.policy.carries;
        let cert_hash = if carries.cert_hash { self.state.details.hash(serial) } else { None };
        if carries.cert_hash && cert_hash.is_none() && statement.status == CertStatus::Good {
            return Err(OcspError::TryLater);
        }
        let is_revoked = statement.state.is_some() && matches!(statement.status, CertStatus::Revoked { .. });
        if !is_revoked || !carries.of_revocation() {
            return Ok(Carried { cert_hash, ..Carried::default() });
        }
        let RevocationDetails { crl, invalid_since } = self.state.details.revocation(serial);
        Ok(Carried {
            cert_hash,
            crl: crl.filter(|_| carries.crl_reference),
            invalidity_date: invalid_since.filter(|_| carries.invalidity_date),
        })
    }

    /// The latest nextUpdate that its sources allow.
    #[inline]
    pub fn told_until(&self) -> UnixTime {
        self.state.health.told_until(self.policy.crl_grace)
    }

    /// The key under which its answer about a certificate is kept, also where that answers several hash algorithms together; `signer`: the place of the signer among its signers.
    #[inline]
    pub fn key(&self, hash: HashAlgorithm, signer: u8, serial: &Serial) -> AnswerKey {
        AnswerKey::new(self.number, self.policy.together.first(hash), signer, serial)
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
