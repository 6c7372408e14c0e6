//! A key with the certificate that authorises it to answer for an issuer, RFC 6960 section 4.2.2.2.
//!
//! [`SignerIdentity`] holds what depends on the certificates. Here it meets the key, if there is one: the key must
//! match the certificate, and must sign. The holder of the key may be out of reach; then nothing is signed before it is
//! back and its pool has compared and tried the key. A signer without a key here still has kept answers that are found
//! and served. It does not know the other signers of the issuer.

use std::{fmt, ops::Deref, sync::Arc, time::Duration};

use crate::{
    ocsp::{Credential, IdentityError, Packing, ResponseForm, SignerIdentity},
    pki::{Certificate, UnixTime, verify_signed},
    sign::{Job, Priority, SignError, Signing},
};

/// A signer of one issuer: its kept answers are served, and it signs new ones if the key is here. It dereferences to
/// [`SignerIdentity`], which holds everything that does not need the key.
#[derive(Debug)]
pub struct OcspSigner {
    // Not behind a pointer: every request comes through here.
    identity: SignerIdentity,
    /// `None` if the key is elsewhere.
    signing: Option<Arc<dyn Signing>>,
    /// For people.
    key_names: Vec<String>,
}

/// Why a key and certificate cannot answer for the issuer. The texts complete "signer …".
#[derive(Debug)]
pub enum SignerError {
    /// The certificate belongs to another key.
    KeyMismatch,
    /// The certificate is not suitable, whoever has its key.
    Identity(IdentityError),
    /// The key did not sign, or its signature was wrong.
    SelfTest(String),
}

impl fmt::Display for SignerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyMismatch => {
                f.write_str("does not belong to the private key given with it; name the pair that belongs together")
            }
            Self::Identity(error) => error.fmt(f),
            Self::SelfTest(problem) => write!(f, "failed its self-test: {problem}"),
        }
    }
}

impl std::error::Error for SignerError {}

impl From<IdentityError> for SignerError {
    fn from(error: IdentityError) -> Self {
        Self::Identity(error)
    }
}

impl Deref for OcspSigner {
    type Target = SignerIdentity;

    #[inline]
    fn deref(&self) -> &SignerIdentity {
        &self.identity
    }
}

impl OcspSigner {
    /// A signer for `issuer`: a certificate (which may be the issuer's own) and its key. A certificate that is not
    /// valid now is accepted, see [`SignerIdentity::check_validity`].
    pub fn new<'a>(
        issuer: &Certificate,
        credential: impl Into<Credential<'a>>,
        public_key_octets: &[u8],
        signing: Arc<dyn Signing>,
        form: ResponseForm,
        now: UnixTime,
    ) -> Result<Self, SignerError> {
        let credential = credential.into();
        let certificate = credential.certificate;
        if certificate.public_key_octets() != public_key_octets {
            return Err(SignerError::KeyMismatch);
        }
        let identity = SignerIdentity::new(issuer, credential, signing.algorithm(), form, now)?;
        try_out(&*signing, certificate, identity.packing())?;
        Ok(Self { identity, signing: Some(signing), key_names: Vec::new() })
    }

    /// A signer whose key is elsewhere: its kept answers are served, and nothing is signed.
    pub fn without_key(identity: SignerIdentity) -> Self {
        Self { identity, signing: None, key_names: Vec::new() }
    }

    /// The same signer, with the name of its key at each holder, for people.
    pub fn with_key_names(self, key_names: Vec<String>) -> Self {
        Self { key_names, ..self }
    }

    /// The name of its key at each holder; empty if unknown.
    pub fn key_names(&self) -> &[String] {
        &self.key_names
    }

    /// The key, if it is here.
    pub fn signing(&self) -> Option<&Arc<dyn Signing>> {
        self.signing.as_ref()
    }

    /// Whether the calling thread can sign itself, see [`Signing::signs_here`].
    pub fn signs_here(&self) -> bool {
        self.signing().is_some_and(|signing| signing.signs_here())
    }

    /// Whether its key is here and outside of this process, as on a token: a signature is dear then.
    pub fn is_apart(&self) -> bool {
        self.signing().is_some_and(|signing| signing.is_apart())
    }

    /// Whether its key is not here, or has not been at work for a while. Then another signer should sign, if there is
    /// one.
    pub fn is_away(&self) -> bool {
        self.signing().is_none_or(|signing| signing.is_away())
    }
}

/// Has the key sign once, if a holder is there to do it.
pub(super) fn try_out(signing: &dyn Signing, certificate: &Certificate, packing: Packing) -> Result<(), SignerError> {
    // The pool tries each key with its first session.
    if signing.status().is_waiting() {
        return Ok(());
    }
    // A token may go away during the self-test, and be back before the status is read.
    let tested = self_test(signing, certificate, packing);
    match tested.or_else(|_| self_test(signing, certificate, packing)) {
        // The pool has logged what is wrong with each holder, and tries each that comes back.
        Err(_) if signing.status().is_down() => Ok(()),
        tested => tested,
    }
}

/// Signs something, verifies it with the certificate's key, and checks that a kept response can hold it.
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
fn sign_and_wait(signing: &dyn Signing, message: Vec<u8>) -> Result<(Vec<u8>, Vec<u8>), SignError> {
    let (send, receive) = std::sync::mpsc::channel();
    signing.submit(Job {
        message,
        priority: Priority::Live,
        deadline: std::time::Instant::now() + Duration::from_secs(30),
        done: Box::new(move |message, outcome| {
            let _ = send.send((message, outcome));
        }),
    });
    let (message, outcome) = receive.recv().map_err(|_| SignError::Failed)?;
    Ok((message, outcome?))
}
