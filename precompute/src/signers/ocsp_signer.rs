//! A key with the certificate that lets it answer for an issuer, RFC 6960 section 4.2.2.2.
//!
//! Everything that would make clients refuse the answers is found here, before the first one. What holds the key may be
//! out of reach meanwhile: then nothing is signed before it is back, and its pool has compared and tried the key.

use std::{fmt, sync::Arc, time::Duration};

use aws_lc_rs::digest;

use super::Term;
use crate::{
    ocsp::{CertificateInclusion, Packing, ResponderId, ResponseForm, Template},
    pki::{Algorithm, Certificate, Serial, UnixTime, VerifyError, delegation, verify_signed},
    sign::Signing,
};

/// Signs answers for one issuer.
#[derive(Debug)]
pub struct OcspSigner {
    signing: Arc<dyn Signing>,
    template: Template,
    packing: Packing,
    /// Its end is that of the certificate or of the issuer; no answer may be valid beyond it.
    term: Term,
    /// DER.
    certificate: Vec<u8>,
    /// Of the certificate, where the issuer has issued it and can revoke it.
    serial: Option<Serial>,
    /// For people.
    key_names: Vec<String>,
    doubts: Vec<String>,
}

/// Why a key and certificate cannot answer for the issuer. The texts complete "signer …".
#[derive(Debug)]
pub enum SignerError {
    /// The certificate is of another key.
    KeyMismatch,
    /// It is no delegate of this issuer.
    NotIssuedByCa(VerifyError),
    /// It lacks extendedKeyUsage id-kp-OCSPSigning.
    NotOcspSigning,
    /// Its keyUsage does not let it sign answers.
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
    /// The key did not sign, or wrongly.
    SelfTest(String),
}

impl fmt::Display for SignerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyMismatch => f.write_str("does not belong to the private key given with it; name the pair that belongs together"),
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
            Self::SelfTest(problem) => write!(f, "failed its self-test: {problem}"),
        }
    }
}

impl std::error::Error for SignerError {}

/// By what right a key answers for an issuer.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The key's certificate; may be the issuer's own.
    pub certificate: &'a Certificate,
    /// What stands behind it in its file, mostly the way to a root.
    pub chain: &'a [Certificate],
    /// Clients are configured to trust this certificate for this issuer (RFC 6960 section 4.2.2.2, case 1), so that
    /// the CA need not have issued it.
    pub designated: bool,
}

impl<'a> From<&'a Certificate> for Identity<'a> {
    /// Of the CA itself or one of its delegates.
    fn from(certificate: &'a Certificate) -> Self {
        Self { certificate, chain: &[], designated: false }
    }
}

impl OcspSigner {
    /// A signer for `issuer`: a certificate (which may be the issuer's own) and its key. One that is not valid now is
    /// none the less taken, see [`OcspSigner::check_validity`].
    pub fn new<'a>(
        issuer: &Certificate,
        identity: impl Into<Identity<'a>>,
        public_key_octets: &[u8],
        signing: Arc<dyn Signing>,
        form: ResponseForm,
        now: UnixTime,
    ) -> Result<Self, SignerError> {
        let identity = identity.into();
        let certificate = identity.certificate;
        if certificate.public_key_octets() != public_key_octets {
            return Err(SignerError::KeyMismatch);
        }
        let is_ca = certificate.is_same_entity(issuer);
        let mut doubts =
            if is_ca { refused(delegation::objections_alone(issuer)) } else { authorised(issuer, &identity, form)? };
        if !certificate.may_sign() {
            // RFC 6960 lets a CA sign answers by its name alone.
            if !certificate.is_ca() {
                return Err(SignerError::NoDigitalSignature);
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
        let packing = Packing::of(signing.algorithm(), public_key_octets).ok_or(SignerError::KeyUnreadable)?;
        try_out(&*signing, certificate, packing)?;
        let template = template(&identity, is_ca, signing.algorithm(), form);
        let term = Term { algorithm: signing.algorithm(), not_before, not_after: not_after.min(issuer.not_after()) };
        let (certificate, key_names) = (certificate.der().to_vec(), Vec::new());
        Ok(Self { signing, template, packing, term, certificate, serial, key_names, doubts })
    }

    /// The same, telling people how its key is called with each of its holders.
    pub fn with_key_names(self, key_names: Vec<String>) -> Self {
        Self { key_names, ..self }
    }

    /// How its key is called with each of its holders; empty where nobody said.
    pub fn key_names(&self) -> &[String] {
        &self.key_names
    }

    /// What some clients may hold against it, for the operator; the texts complete "signer …".
    pub fn doubts(&self) -> &[String] {
        &self.doubts
    }

    /// An error where it is not valid `now`.
    pub fn check_validity(&self, now: UnixTime) -> Result<(), SignerError> {
        let Term { not_before, not_after, .. } = self.term;
        if self.term.holds(now) { Ok(()) } else { Err(SignerError::NotValid { not_before, not_after }) }
    }

    /// The key.
    pub fn signing(&self) -> &dyn Signing {
        &*self.signing
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

    /// With what it signs.
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

    /// The serial number of its certificate, where that is the issuer's to revoke.
    pub fn serial(&self) -> Option<&Serial> {
        self.serial.as_ref()
    }

    #[inline]
    pub(super) fn term(&self) -> &Term {
        &self.term
    }

    /// Whether both sign alike with one certificate.
    pub fn is_same(&self, other: &Self) -> bool {
        self.algorithm() == other.algorithm() && self.certificate == other.certificate
    }
}

/// How long before its end a signer is warned of: time enough to have a certificate issued.
pub(super) const EXPIRES_SOON: Duration = Duration::from_secs(14 * 86_400);

/// RFC 6960 section 4.2.2.2: designated by the clients, or by the CA, which issues the certificate for this purpose. What
/// is doubtful all the same.
fn authorised(issuer: &Certificate, identity: &Identity<'_>, form: ResponseForm) -> Result<Vec<String>, SignerError> {
    let Identity { certificate, designated, .. } = *identity;
    let mut doubts = Vec::new();
    if designated {
        doubts.push("is of a designated signer: only clients that are configured to trust this certificate for this issuer accept its answers".into());
        // Another CA's own key needs no permission to sign OCSP responses.
        let permitted = certificate.has_ocsp_signing() || certificate.is_ca();
        return if permitted { Ok(doubts) } else { Err(SignerError::NotOcspSigning) };
    }
    certificate.verify_issued_by(issuer).map_err(SignerError::NotIssuedByCa)?;
    if !certificate.has_ocsp_signing() {
        return Err(SignerError::NotOcspSigning);
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

/// What openssl would say, for the operator.
fn refused(objections: Vec<String>) -> Vec<String> {
    let told = |objection| format!("{objection} (openssl, and what is built on it, refuses the answers as they are)");
    objections.into_iter().map(told).collect()
}

/// What the responses of this signer share.
fn template(identity: &Identity<'_>, is_ca: bool, algorithm: Algorithm, form: ResponseForm) -> Template {
    let certificate = identity.certificate;
    // RFC 6960 section 4.2.1: KeyHash is the SHA-1 of the key bits.
    let mut key_hash = [0; 20];
    let octets = certificate.public_key_octets();
    key_hash.copy_from_slice(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, octets).as_ref());
    let id = if form.responder_id_by_name {
        ResponderId::ByName(certificate.subject_der())
    } else {
        ResponderId::ByKey(&key_hash)
    };
    // A client already has the CA's own certificate; a delegate's it has never seen.
    let own = (!is_ca).then_some(certificate);
    let (own, chain) = match form.certificates {
        CertificateInclusion::Signer => (own, &[][..]),
        CertificateInclusion::Chain => (own, identity.chain),
        CertificateInclusion::None => (None, &[][..]),
    };
    let certificates: Vec<_> = own.into_iter().chain(chain).map(Certificate::der).collect();
    Template::new(id, algorithm.identifier(), &certificates)
}

/// Has the key sign once, if anybody is there to do it.
pub(super) fn try_out(signing: &dyn Signing, certificate: &Certificate, packing: Packing) -> Result<(), SignerError> {
    // Each key is tried with its first session.
    if signing.status().is_waiting() {
        return Ok(());
    }
    // A token may go away in the middle of the first, and be back before that is asked.
    let tested = self_test(signing, certificate, packing);
    match tested.or_else(|_| self_test(signing, certificate, packing)) {
        // It has told what is wrong with each holder, and tries each that comes back.
        Err(_) if signing.status().is_down() => Ok(()),
        tested => tested,
    }
}

/// Signs something and verifies it under the certificate, and that it can be kept.
fn self_test(signing: &dyn Signing, certificate: &Certificate, packing: Packing) -> Result<(), SignerError> {
    use der::Decode as _;
    let fail = |problem: String| SignerError::SelfTest(problem);
    let message = b"Ostia signer self-test".to_vec();
    let (message, signature) = sign_and_wait(signing, message).map_err(|error| fail(error.to_string()))?;
    let identifier = x509_cert::spki::AlgorithmIdentifierOwned::from_der(signing.algorithm().identifier())
        .map_err(|error| fail(error.to_string()))?;
    verify_signed(certificate.spki_der(), &identifier, &message, &signature)
        .map_err(|error| fail(format!("its signature {error}")))?;
    let packed = packing.pack(&signature).map(drop);
    packed.ok_or_else(|| fail(format!("its signature of {} bytes is none of this algorithm", signature.len())))
}

/// Has `message` signed and waits for it; for start-up and tools, never for a serving thread.
pub(crate) fn sign_and_wait(
    signing: &dyn Signing,
    message: Vec<u8>,
) -> Result<(Vec<u8>, Vec<u8>), crate::sign::SignError> {
    let (send, receive) = std::sync::mpsc::channel();
    signing.submit(crate::sign::Job {
        message,
        priority: crate::sign::Priority::Live,
        deadline: std::time::Instant::now() + Duration::from_secs(30),
        done: Box::new(move |message, outcome| {
            let _ = send.send((message, outcome));
        }),
    });
    let (message, outcome) = receive.recv().map_err(|_| crate::sign::SignError::Failed)?;
    Ok((message, outcome?))
}
