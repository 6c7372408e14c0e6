//! A key with the certificate that lets it answer for an issuer, RFC 6960 section 4.2.2.2.
//!
//! Everything that would make clients refuse the answers is found here, before the first one.

use std::{fmt, sync::Arc, time::Duration};

use aws_lc_rs::digest;
use tracing::warn;

use super::{Algorithm, Signing};
use crate::{
    answers::Packing,
    ocsp::{ResponderId, Template},
    pki::{Certificate, UnixTime, VerifyError, verify_signed},
};

/// Signs answers for one issuer.
#[derive(Debug)]
pub struct OcspSigner {
    signing: Arc<dyn Signing>,
    template: Template,
    packing: Packing,
    /// No answer may be valid beyond it.
    not_after: UnixTime,
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
    /// Not valid now.
    Expired {
        /// Start of validity.
        not_before: UnixTime,
        /// End of validity.
        not_after: UnixTime,
    },
    /// The key did not sign, or wrongly.
    SelfTest(String),
}

impl fmt::Display for SignerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyMismatch => f.write_str("is of another key than the private key given with it; name the pair that belongs together"),
            Self::NotIssuedByCa(error) => write!(
                f,
                "is no delegate of this issuer (RFC 6960 section 4.2.2.2): it {error}; have this CA issue the OCSP signing certificate"
            ),
            Self::NotOcspSigning => f.write_str(
                "lacks the extended key usage OCSPSigning, clients would refuse its answers; have the CA issue it with `extendedKeyUsage = OCSPSigning`",
            ),
            Self::Expired { not_before, not_after } => {
                write!(f, "is valid from {not_before} to {not_after}, not now; renew it, or check this machine's clock")
            }
            Self::SelfTest(problem) => write!(f, "failed its self-test: {problem}"),
        }
    }
}

impl std::error::Error for SignerError {}

/// How answers name their signer and what they carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ResponseForm {
    /// ResponderID byName instead of byKey.
    pub responder_id_by_name: bool,
}

impl OcspSigner {
    /// A signer for `issuer` with `certificate` (which may be the issuer's own) and its key.
    /// `name` stands in warnings.
    pub fn new(
        name: &str,
        issuer: &Certificate,
        certificate: &Certificate,
        public_key_octets: &[u8],
        signing: Arc<dyn Signing>,
        form: ResponseForm,
        now: UnixTime,
    ) -> Result<Self, SignerError> {
        if certificate.public_key_octets() != public_key_octets {
            return Err(SignerError::KeyMismatch);
        }
        let is_ca = certificate.subject_der() == issuer.subject_der() && certificate.spki_der() == issuer.spki_der();
        if !is_ca {
            certificate.verify_issued_by(issuer).map_err(SignerError::NotIssuedByCa)?;
            if !certificate.has_ocsp_signing() {
                return Err(SignerError::NotOcspSigning);
            }
            if !certificate.has_ocsp_nocheck() {
                warn!(
                    signer = name,
                    "the OCSP signing certificate has no id-pkix-ocsp-nocheck: clients may ask for its own status in turn"
                );
            }
        }
        let (not_before, not_after) = (certificate.not_before(), certificate.not_after());
        if now < not_before || not_after <= now {
            return Err(SignerError::Expired { not_before, not_after });
        }
        if not_after.since(now) < Duration::from_secs(14 * 86_400) {
            warn!(signer = name, %not_after, "the signing certificate expires soon; renew it, no answer can be valid beyond it");
        }
        let packing = Packing::of(signing.algorithm(), &self_test(&*signing, certificate)?);

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
        let certificates: &[&[u8]] = if is_ca { &[] } else { &[certificate.der()] };
        let template = Template::new(id, signing.algorithm().identifier(), certificates);
        Ok(Self { signing, template, packing, not_after: not_after.min(issuer.not_after()) })
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

    /// With what it signs.
    pub fn algorithm(&self) -> Algorithm {
        self.signing.algorithm()
    }

    /// When its certificate, or the issuer's, ends.
    pub fn not_after(&self) -> UnixTime {
        self.not_after
    }
}

/// Signs something and verifies it under the certificate; the signature.
fn self_test(signing: &dyn Signing, certificate: &Certificate) -> Result<Vec<u8>, SignerError> {
    use der::Decode as _;
    let fail = |problem: String| SignerError::SelfTest(problem);
    let message = b"Ostia signer self-test".to_vec();
    let (message, signature) = sign_and_wait(signing, message).map_err(|error| fail(error.to_string()))?;
    let identifier = x509_cert::spki::AlgorithmIdentifierOwned::from_der(signing.algorithm().identifier())
        .map_err(|error| fail(error.to_string()))?;
    verify_signed(certificate.spki_der(), &identifier, &message, &signature)
        .map_err(|error| fail(format!("its signature {error}")))?;
    Ok(signature)
}

/// Has `message` signed and waits for it; for start-up and tools, never for a serving thread.
pub(crate) fn sign_and_wait(signing: &dyn Signing, message: Vec<u8>) -> Result<(Vec<u8>, Vec<u8>), super::SignError> {
    let (send, receive) = std::sync::mpsc::channel();
    signing.submit(super::Job {
        message,
        priority: super::Priority::Live,
        deadline: std::time::Instant::now() + Duration::from_secs(30),
        done: Box::new(move |message, outcome| {
            let _ = send.send((message, outcome));
        }),
    });
    let (message, outcome) = receive.recv().map_err(|_| super::SignError::Failed)?;
    Ok((message, outcome?))
}
