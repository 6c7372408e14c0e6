//! Who signed a request, RFC 6960 section 4.1.2: whether the signer has a certificate from a given CA.
//!
//! Purpose: lets a tenant answer only clients with a certificate of its own CA. Invariant: a request that passes was
//! signed by a key whose certificate, valid now, leads to an anchor; hostile bytes cost a bounded number of
//! verifications. It does not know what the request asks, or whether the client's certificate has been revoked: that
//! status often comes from this service itself.
//!
//! rustls-webpki validates paths too, for TLS, and its rules do not fit here. The first three would let strangers in;
//! the tests in `tests/webpki.rs` show each except the last two.
//! - Its trust anchor is a name and a key. Whether the certificate is a CA's, its pathLenConstraint and its expiry are
//!   lost, so a client whose own certificate is an anchor could issue others.
//! - It ignores keyUsage: a CA without keyCertSign may issue, a certificate without digitalSignature may sign.
//! - Its budget is 100 signature checks, and cannot be set: 30 ms for one request by RSA 8192 (here
//!   [`VERIFICATIONS_MAX`]).
//! - It refuses a CA that signs requests itself, and an end-entity certificate that is itself the anchor.
//! - It compares names byte by byte, though RFC 5280 section 7.1 allows CAs to write one name in two ways.
//! - It supports RSASSA-PSS with three sets of parameters; `openssl ca` writes others.

mod authority;

use std::{cell::Cell, fmt};

use der::Decode;
use precompute::pki::{
    Certificate, CertificateError, UnixTime, VerifyError, elements::Elements, is_same_name, tag, verify_signed,
};

use self::authority::Authority;
use super::request::RequestSignature;

/// The most certificates that are examined: the signer's, [`INTERMEDIATES_MAX`], and as many useless ones, because some
/// clients send a whole store. More would hardly fit the body of a request.
pub const CERTIFICATES_MAX: usize = 8;

/// Intermediate certificates between the signer's and the anchor: private CAs have one, large CAs two.
pub const INTERMEDIATES_MAX: usize = 3;

/// Verifications for one request: each certificate's key on the request, and for every step of the path two issuers
/// with the same name, as there are while a CA changes its key. At 0.3 ms each (RSA 8192, P-521) under 5 ms.
pub const VERIFICATIONS_MAX: usize = CERTIFICATES_MAX + 2 * (INTERMEDIATES_MAX + 1);

const _: () = assert!(INTERMEDIATES_MAX < CERTIFICATES_MAX);

/// Why a signature is not accepted; for the log, because the client gets `unauthorized`.
#[derive(Debug)]
pub enum Refusal {
    /// The AlgorithmIdentifier, or the list of certificates, is malformed.
    Malformed,
    /// A certificate in the request is malformed.
    Certificate(CertificateError),
    /// There are no certificates, and no anchor has the requestor's name.
    NoCertificates,
    /// No available key verifies it; the error of the first key.
    Signature(VerifyError),
    /// requestorName is not the signer's name.
    Requestor {
        /// The owner of the key.
        signer: String,
    },
    /// No anchor is named as the issuer, or none of that name has issued it.
    NoAnchor {
        /// The certificate that cannot be traced.
        subject: String,
        /// The issuer that it names.
        issuer: String,
    },
    /// There are more intermediates than [`INTERMEDIATES_MAX`].
    TooDeep,
    /// It takes more verifications than [`VERIFICATIONS_MAX`].
    TooCostly,
    /// notBefore is in the future.
    NotYetValid {
        /// Of the certificate.
        subject: String,
    },
    /// notAfter is in the past.
    Expired {
        /// Of the certificate.
        subject: String,
    },
    /// The certificate must not be used for this.
    Forbidden {
        /// Of the certificate.
        subject: String,
        /// The objection.
        why: &'static str,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("its signature is malformed"),
            Self::Certificate(error) => write!(f, "what it carries {error}"),
            Self::NoCertificates => {
                f.write_str("it carries no certificate, and its requestorName is that of no trust anchor")
            }
            Self::Signature(VerifyError::Signature) => f.write_str("its signature verifies under no key at hand"),
            Self::Signature(error) => write!(f, "it {error}"),
            Self::Requestor { signer } => write!(f, "its requestorName is not that of its signer `{signer}`"),
            Self::NoAnchor { subject, issuer } => {
                write!(f, "`{subject}` names `{issuer}` as its issuer, and nothing leads from there to a trust anchor")
            }
            Self::TooDeep => {
                write!(f, "more than {INTERMEDIATES_MAX} certificates lie between signer and trust anchor")
            }
            Self::TooCostly => write!(f, "it takes more than {VERIFICATIONS_MAX} verifications to trace its signer"),
            Self::NotYetValid { subject } => write!(f, "the certificate of `{subject}` is not valid yet"),
            Self::Expired { subject } => write!(f, "the certificate of `{subject}` has expired"),
            Self::Forbidden { subject, why } => write!(f, "the certificate of `{subject}` {why}"),
        }
    }
}

impl std::error::Error for Refusal {}

/// Checks that the signer of a request has a certificate from an anchor, directly or through certificates in the
/// request, or is an anchor itself. All of them must be valid `now`.
///
/// The extended key usage is not checked: there is none for signing requests. requestorName may be missing, though RFC
/// 6960 section 4.1.2 requires it: the certificate names the signer.
pub fn verify(signature: &RequestSignature<'_>, anchors: &[Certificate], now: UnixTime) -> Result<(), Refusal> {
    let carried = certificates(signature.certs)?;
    let requestor = match signature.requestor_name {
        Some(name) => directory_name(name)?,
        None => None,
    };
    let search = Search { anchors, carried: &carried, now, verifications_left: Cell::new(VERIFICATIONS_MAX) };
    let signer = search.signer(signature, requestor)?;
    if requestor.is_some_and(|name| !is_same_name(name, signer.subject_der())) {
        return Err(Refusal::Requestor { signer: told(signer.subject()) });
    }
    let authority = Authority::of(signer).map_err(|why| forbidden(signer, why))?;
    if !authority.may_sign {
        return Err(forbidden(signer, "has a keyUsage without digitalSignature"));
    }
    search.trace(signer, 0)
}

/// The certificates in the request, up to [`CERTIFICATES_MAX`].
fn certificates(octets: &[u8]) -> Result<Vec<Certificate>, Refusal> {
    let mut reader = Elements::new(octets);
    let mut certificates = Vec::new();
    while !reader.is_finished() && certificates.len() < CERTIFICATES_MAX {
        let der = reader.whole().map_err(|_| Refusal::Malformed)?;
        certificates.push(Certificate::from_der(der).map_err(Refusal::Certificate)?);
    }
    Ok(certificates)
}

/// The Name of a GeneralName that is a directoryName; the other kinds cannot be compared with a subject.
fn directory_name(general_name: &[u8]) -> Result<Option<&[u8]>, Refusal> {
    if general_name.first() != Some(&tag::DIRECTORY_NAME) {
        return Ok(None);
    }
    let name = Elements::only(general_name, tag::DIRECTORY_NAME).map_err(|_| Refusal::Malformed)?;
    Ok(Some(name.rest()))
}

struct Search<'c> {
    anchors: &'c [Certificate],
    carried: &'c [Certificate],
    now: UnixTime,
    verifications_left: Cell<usize>,
}

impl<'c> Search<'c> {
    /// Counts a verification that is about to be made.
    fn spend(&self) -> Result<(), Refusal> {
        let left = self.verifications_left.get().checked_sub(1).ok_or(Refusal::TooCostly)?;
        self.verifications_left.set(left);
        Ok(())
    }

    /// The first certificate whose key made `signature`: among those in the request, or among the anchors if there are
    /// none.
    fn signer(&self, signature: &RequestSignature<'_>, requestor: Option<&[u8]>) -> Result<&'c Certificate, Refusal> {
        let algorithm = Decode::from_der(signature.algorithm).map_err(|_| Refusal::Malformed)?;
        let candidates = if self.carried.is_empty() { self.anchors } else { self.carried };
        let named = |candidate: &&Certificate| {
            !self.carried.is_empty() || requestor.is_none_or(|name| is_same_name(name, candidate.subject_der()))
        };
        let mut why = Refusal::NoCertificates;
        for candidate in candidates.iter().filter(named) {
            self.spend()?;
            match verify_signed(candidate.spki_der(), &algorithm, signature.tbs, signature.bits) {
                Ok(()) => return Ok(candidate),
                Err(error) if matches!(why, Refusal::NoCertificates) => why = Refusal::Signature(error),
                Err(_) => {}
            }
        }
        Err(why)
    }

    /// Checks that `certificate` is valid and leads to an anchor; `below` counts the intermediates before it.
    fn trace(&self, certificate: &Certificate, below: usize) -> Result<(), Refusal> {
        self.valid_now(certificate)?;
        if self.anchors.iter().any(|anchor| anchor.der() == certificate.der()) {
            return Ok(());
        }
        let mut why = Refusal::NoAnchor { subject: told(certificate.subject()), issuer: told(certificate.issuer()) };
        let named = |issuer: &&Certificate| is_same_name(issuer.subject_der(), certificate.issuer_der());
        for anchor in self.anchors.iter().filter(named) {
            match self.valid_now(anchor).and_then(|()| self.issued(certificate, anchor, below)) {
                Ok(()) => return Ok(()),
                Err(Refusal::TooCostly) => return Err(Refusal::TooCostly),
                // Another issuer with that name.
                Err(Refusal::Signature(_)) => {}
                Err(refusal) => why = refusal,
            }
        }
        let others = self.carried.iter().filter(|other| other.der() != certificate.der());
        for issuer in others.filter(named) {
            if below == INTERMEDIATES_MAX {
                return Err(Refusal::TooDeep);
            }
            match self.issued(certificate, issuer, below).and_then(|()| self.trace(issuer, below + 1)) {
                Ok(()) => return Ok(()),
                Err(Refusal::TooCostly) => return Err(Refusal::TooCostly),
                Err(Refusal::Signature(_)) => {}
                Err(refusal) => why = refusal,
            }
        }
        Err(why)
    }

    /// Checks that `issuer`, whose name matches, may issue and has issued `certificate`.
    fn issued(&self, certificate: &Certificate, issuer: &Certificate, below: usize) -> Result<(), Refusal> {
        let authority = Authority::of(issuer).map_err(|why| forbidden(issuer, why))?;
        if !authority.may_issue {
            return Err(forbidden(issuer, "is not that of a CA that may issue"));
        }
        // Counted without the exception of RFC 5280 section 4.2.1.9 for self-issued certificates: a link from a CA's
        // old key to its new one counts here.
        if authority.path_length.is_some_and(|most| below > most) {
            return Err(forbidden(issuer, "has a pathLenConstraint for fewer intermediates"));
        }
        self.spend()?;
        certificate.verify_issued_by(issuer).map_err(Refusal::Signature)
    }

    fn valid_now(&self, certificate: &Certificate) -> Result<(), Refusal> {
        if self.now < certificate.not_before() {
            return Err(Refusal::NotYetValid { subject: told(certificate.subject()) });
        }
        if self.now > certificate.not_after() {
            return Err(Refusal::Expired { subject: told(certificate.subject()) });
        }
        Ok(())
    }
}

fn forbidden(certificate: &Certificate, why: &'static str) -> Refusal {
    Refusal::Forbidden { subject: told(certificate.subject()), why }
}

/// A name that a stranger chose, made fit for a log: on one line, and short.
fn told(name: String) -> String {
    const CHARACTERS_MAX: usize = 100;
    name.chars().take(CHARACTERS_MAX).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests;
