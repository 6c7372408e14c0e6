//! The identity of a signer of an issuer's answers: everything except its key (RFC 6960 section 4.2.2.2).
//!
//! Purpose: what responses share and how their signatures are kept, from certificates alone, so that a process without
//! the key finds and serves what others have signed. Invariant: everything in the certificates that would make clients
//! refuse the answers is found here, before the first answer. It does not know keys, or who holds them.

use std::{fmt, time::Duration};

use aws_lc_rs::digest;

use super::{CertificateInclusion, Packing, ResponderId, ResponseForm, Template};
use crate::pki::{Algorithm, Certificate, Serial, UnixTime, VerifyError, delegation};

/// Everything about a signer except its key.
#[derive(Debug)]
pub struct SignerIdentity {
    template: Template,
    packing: Packing,
    /// Its end is the earlier of the certificate's and the issuer's; no answer is valid beyond it.
    term: Term,
    /// DER.
    certificate: Vec<u8>,
    /// The certificate's serial, if the issuer has issued it and can revoke it.
    serial: Option<Serial>,
    doubts: Vec<String>,
}

/// Everything about a signer that matters for the choice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Term {
    /// The algorithm it signs with.
    pub algorithm: Algorithm,
    /// Start of validity.
    pub not_before: UnixTime,
    /// End of validity: no answer is valid beyond it.
    pub not_after: UnixTime,
}

impl Term {
    /// Whether a signer of this term is valid `now`.
    #[inline]
    pub fn holds(&self, now: UnixTime) -> bool {
        self.not_before <= now && now < self.not_after
    }
}

/// Why a certificate cannot answer for the issuer. The texts complete "signer …".
#[derive(Debug)]
pub enum IdentityError {
    /// It is not a delegate of this issuer.
    NotIssuedByCa(VerifyError),
    /// It lacks extendedKeyUsage id-kp-OCSPSigning.
    NotOcspSigning,
    /// Its keyUsage does not allow it to sign answers.
    NoDigitalSignature,
    /// Not valid now.
    NotValid {
        /// Start of validity.
        not_before: UnixTime,
        /// End of validity.
        not_after: UnixTime,
    },
    /// Its RSA key cannot be read.
    KeyUnreadable,
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotIssuedByCa(error) => write!(
                f,
                "is not a delegate of this issuer (RFC 6960 section 4.2.2.2): it {error}; have this CA issue the OCSP signing certificate, or add `designated = true` if clients are configured to trust it"
            ),
            Self::NotOcspSigning => f.write_str(
                "lacks the extended key usage OCSPSigning, so clients would refuse its answers; have the CA issue it with `extendedKeyUsage = OCSPSigning`",
            ),
            Self::NoDigitalSignature => f.write_str(
                "has a keyUsage without digitalSignature, so clients would refuse its answers; have the CA issue it with `keyUsage = critical, digitalSignature`",
            ),
            Self::NotValid { not_before, not_after } => {
                write!(f, "is valid from {not_before} to {not_after}, not now; renew it, or check this machine's clock")
            }
            Self::KeyUnreadable => f.write_str("has an RSA key that is unreadable; have it issued anew"),
        }
    }
}

impl std::error::Error for IdentityError {}

/// What authorises a key to answer for an issuer: the certificate, and what comes with it.
#[derive(Clone, Copy, Debug)]
pub struct Credential<'a> {
    /// The key's certificate; may be the issuer's own.
    pub certificate: &'a Certificate,
    /// The certificates after it in its file, usually the path to a root.
    pub chain: &'a [Certificate],
    /// Whether clients are configured to trust this certificate for this issuer (RFC 6960 section 4.2.2.2, case 1), so
    /// that the CA need not have issued it.
    pub designated: bool,
}

impl<'a> From<&'a Certificate> for Credential<'a> {
    /// For the CA itself or one of its delegates.
    fn from(certificate: &'a Certificate) -> Self {
        Self { certificate, chain: &[], designated: false }
    }
}

impl SignerIdentity {
    /// The identity of a signer for `issuer` with this certificate (which may be the issuer's own) and `algorithm`. A
    /// certificate that is not valid now is accepted, see [`SignerIdentity::check_validity`].
    pub fn new<'a>(
        issuer: &Certificate,
        credential: impl Into<Credential<'a>>,
        algorithm: Algorithm,
        form: ResponseForm,
        now: UnixTime,
    ) -> Result<Self, IdentityError> {
        let credential = credential.into();
        let certificate = credential.certificate;
        let is_ca = certificate.is_same_entity(issuer);
        let mut doubts =
            if is_ca { refused(delegation::objections_alone(issuer)) } else { authorised(issuer, &credential, form)? };
        if !certificate.may_sign() {
            // RFC 6960 lets a CA sign answers without further permission.
            if !certificate.is_ca() {
                return Err(IdentityError::NoDigitalSignature);
            }
            doubts.push("is of a CA whose own key signs answers, and its certificate has a keyUsage without digitalSignature: some clients refuse them; have a delegate sign (a certificate with OCSPSigning)".into());
        }
        let serial = certificate.serial().filter(|_| !is_ca && certificate.verify_issued_by(issuer).is_ok());
        let (not_before, not_after) = (certificate.not_before(), certificate.not_after());
        if now < not_after && not_after.since(now) < EXPIRES_SOON {
            doubts.push(format!(
                "expires soon, at {not_after}: no answer can be valid beyond it, whatever `validity` says; renew it"
            ));
        }
        let packing = Packing::of(algorithm, certificate.public_key_octets()).ok_or(IdentityError::KeyUnreadable)?;
        let template = template(&credential, is_ca, algorithm, form);
        let term = Term { algorithm, not_before, not_after: not_after.min(issuer.not_after()) };
        Ok(Self { template, packing, term, certificate: certificate.der().to_vec(), serial, doubts })
    }

    /// What some clients may object to, for the operator; the texts complete "signer …".
    pub fn doubts(&self) -> &[String] {
        &self.doubts
    }

    /// An error if it is not valid `now`.
    pub fn check_validity(&self, now: UnixTime) -> Result<(), IdentityError> {
        let Term { not_before, not_after, .. } = self.term;
        if self.term.holds(now) { Ok(()) } else { Err(IdentityError::NotValid { not_before, not_after }) }
    }

    /// What its responses share.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// How its signatures are kept.
    pub fn packing(&self) -> Packing {
        self.packing
    }

    /// Its certificate.
    pub fn certificate_der(&self) -> &[u8] {
        &self.certificate
    }

    /// The algorithm it signs with.
    pub fn algorithm(&self) -> Algorithm {
        self.term.algorithm
    }

    /// When its certificate begins to be valid.
    pub fn not_before(&self) -> UnixTime {
        self.term.not_before
    }

    /// When its certificate, or the issuer's, ends.
    pub fn not_after(&self) -> UnixTime {
        self.term.not_after
    }

    /// The serial number of its certificate, if the issuer can revoke that.
    pub fn serial(&self) -> Option<&Serial> {
        self.serial.as_ref()
    }

    /// Everything that matters for the choice.
    #[inline]
    pub fn term(&self) -> &Term {
        &self.term
    }

    /// Whether both have the same certificate and sign in the same way.
    pub fn is_same(&self, other: &Self) -> bool {
        self.algorithm() == other.algorithm() && self.certificate == other.certificate
    }
}

/// How long before its end a signer is warned of: enough time to have a certificate issued.
pub(crate) const EXPIRES_SOON: Duration = Duration::from_secs(14 * 86_400);

/// RFC 6960 section 4.2.2.2: authorised by the clients, or by the CA, which issues the certificate for this purpose.
/// Returns doubts.
fn authorised(
    issuer: &Certificate,
    credential: &Credential<'_>,
    form: ResponseForm,
) -> Result<Vec<String>, IdentityError> {
    let Credential { certificate, designated, .. } = *credential;
    let mut doubts = Vec::new();
    if designated {
        doubts.push("is of a designated signer: only clients that are configured to trust this certificate for this issuer accept its answers".into());
        // Another CA's own key needs no permission to sign OCSP responses.
        let permitted = certificate.has_ocsp_signing() || certificate.is_ca();
        return if permitted { Ok(doubts) } else { Err(IdentityError::NotOcspSigning) };
    }
    certificate.verify_issued_by(issuer).map_err(IdentityError::NotIssuedByCa)?;
    if !certificate.has_ocsp_signing() {
        return Err(IdentityError::NotOcspSigning);
    }
    if !certificate.has_ocsp_nocheck() {
        doubts.push("has no id-pkix-ocsp-nocheck: clients may ask for its own status in turn; have the CA issue it with that (`noCheck = ignored` in openssl.cnf)".into());
    }
    doubts.extend(refused(delegation::objections(certificate, issuer)));
    if form.certificates == CertificateInclusion::None {
        doubts.push("is not sent with answers (`certificates = \"none\"`): only clients that already have it can verify them; write `certificates = \"signer\"` if others ask".into());
    }
    Ok(doubts)
}

/// openssl's objections, for the operator.
fn refused(objections: Vec<String>) -> Vec<String> {
    let told = |objection| format!("{objection} (openssl, and what is built on it, refuses the answers as they are)");
    objections.into_iter().map(told).collect()
}

/// What the responses of this signer share.
fn template(credential: &Credential<'_>, is_ca: bool, algorithm: Algorithm, form: ResponseForm) -> Template {
    let certificate = credential.certificate;
    // RFC 6960 section 4.2.1: KeyHash is the SHA-1 of the key bits.
    let mut key_hash = [0; 20];
    let octets = certificate.public_key_octets();
    key_hash.copy_from_slice(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, octets).as_ref());
    let id = if form.responder_id_by_name {
        ResponderId::ByName(certificate.subject_der())
    } else {
        ResponderId::ByKey(&key_hash)
    };
    // A client already has the CA's own certificate, but has never seen a delegate's.
    let own = (!is_ca).then_some(certificate);
    let (own, chain) = match form.certificates {
        CertificateInclusion::Signer => (own, &[][..]),
        CertificateInclusion::Chain => (own, credential.chain),
        CertificateInclusion::None => (None, &[][..]),
    };
    let certificates: Vec<_> = own.into_iter().chain(chain).map(Certificate::der).collect();
    Template::new(id, algorithm.identifier(), &certificates)
}
