//! Signing in one session of a token.
//!
//! Invariant: the digest is computed in this process, and a signature is returned in the form that a response has. A
//! session from before the module was initialised again no longer signs. It does not know slots or PINs.

use std::{sync::Arc, time::Instant};

use aws_lc_rs::digest;
use cryptoki::{
    error::Error,
    mechanism::{
        Mechanism, MechanismType,
        dsa::{HedgeType, SignAdditionalContext},
        eddsa::{EddsaParams, EddsaSignatureScheme},
        rsa::{PkcsMgfType, PkcsPssParams},
    },
    object::ObjectHandle,
    session::Session as Pkcs11Session,
};
use der::{Encode as _, asn1::UintRef};

use super::{
    fault::{self, Failure},
    module::{ModuleUse, OpenSession, TokenUse},
};
use crate::sign::{Algorithm, Fault, FaultClass, Session};

/// A session with a key.
pub(super) struct TokenSession {
    pub(super) module: ModuleUse,
    pub(super) generation: u64,
    /// Empty once the session is gone on the token.
    pub(super) session: Arc<OpenSession>,
    pub(super) key: ObjectHandle,
    pub(super) algorithm: Algorithm,
    /// The token's name, for messages.
    pub(super) token: Arc<str>,
    pub(super) shared: TokenUse,
}

impl Session for TokenSession {
    fn sign(&mut self, message: &[u8]) -> Result<Vec<u8>, Fault> {
        let _inside = self.module.enter_again(self.generation)?;
        let mut held = self.session.lock();
        let Some(session) = &*held else {
            return Err(Fault::new(FaultClass::Session, format!("{}: the session is gone", self.token)));
        };
        match sign(session, self.key, self.algorithm, message) {
            Ok(signature) => {
                self.shared.signed(Instant::now());
                encoded(self.algorithm, signature, &self.token)
            }
            Err(error) => {
                if fault::ends_session(&error) {
                    *held = None;
                }
                let fault = fault::fault(&self.token, &error);
                if fault.class == FaultClass::Device {
                    self.shared.failed();
                }
                Err(fault)
            }
        }
    }
}

impl Drop for TokenSession {
    fn drop(&mut self) {
        // After its generation, or once it is gone, the handle may name another session.
        let session = self.session.lock().take();
        if let Some(session) = session {
            self.module.close(self.generation, session);
        }
    }
}

/// Signs without a check: returns what the token returns, in the token's form.
fn sign(session: &Pkcs11Session, key: ObjectHandle, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, Error> {
    let hash = |algorithm| digest::digest(algorithm, message);
    match algorithm {
        Algorithm::EcdsaP256Sha256 => session.sign(&Mechanism::Ecdsa, key, hash(&digest::SHA256).as_ref()),
        Algorithm::EcdsaP384Sha384 => session.sign(&Mechanism::Ecdsa, key, hash(&digest::SHA384).as_ref()),
        Algorithm::RsaPkcs1Sha256 => {
            session.sign(&Mechanism::RsaPkcs, key, &digest_info(hash(&digest::SHA256).as_ref()))
        }
        Algorithm::RsaPssSha256 => {
            let parameters = PkcsPssParams {
                hash_alg: MechanismType::SHA256,
                mgf: PkcsMgfType::MGF1_SHA256,
                s_len: PSS_SALT_OCTETS.into(),
            };
            session.sign(&Mechanism::RsaPkcsPss(parameters), key, hash(&digest::SHA256).as_ref())
        }
        Algorithm::Ed25519 => {
            let pure = EddsaParams::new(EddsaSignatureScheme::Ed25519);
            session.sign(&Mechanism::Eddsa(pure), key, message)
        }
        Algorithm::MlDsa44 | Algorithm::MlDsa65 | Algorithm::MlDsa87 => {
            // Without parameters: an empty context, and the token hedges if it can.
            let pure = SignAdditionalContext::new(HedgeType::Preferred, None);
            session.sign(&Mechanism::MlDsa(pure), key, message)
        }
    }
}

/// The same as in the parameters of [`Algorithm::RsaPssSha256`].
const PSS_SALT_OCTETS: u64 = 32;

/// Signs with a session that was just opened.
pub(super) fn sign_first(
    session: &Pkcs11Session,
    key: ObjectHandle,
    algorithm: Algorithm,
    message: &[u8],
    named: &str,
) -> Result<Vec<u8>, Failure> {
    let signature = sign(session, key, algorithm, message).map_err(|error| Failure::of(named, &error))?;
    Ok(encoded(algorithm, signature, named)?)
}

/// The DigestInfo of RFC 8017 section 9.2 for a SHA-256 hash.
fn digest_info(hash: &[u8]) -> Vec<u8> {
    const SHA256: [u8; 19] = [
        0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04,
        0x20,
    ];
    [&SHA256, hash].concat()
}

/// Converts the token's form to that of a response.
fn encoded(algorithm: Algorithm, signature: Vec<u8>, token: &str) -> Result<Vec<u8>, Fault> {
    let coordinate = match algorithm {
        Algorithm::EcdsaP256Sha256 => 32,
        Algorithm::EcdsaP384Sha384 => 48,
        _ => return Ok(signature),
    };
    ecdsa_sig_value(&signature, coordinate).ok_or_else(|| {
        let message = format!(
            "{token}: C_Sign gave {} bytes, and a signature with {algorithm} has {}",
            signature.len(),
            2 * coordinate
        );
        Fault::new(FaultClass::Device, message)
    })
}

/// Ecdsa-Sig-Value of RFC 3279 section 2.2.3 from the r‖s of PKCS#11, in minimal DER.
fn ecdsa_sig_value(signature: &[u8], coordinate: usize) -> Option<Vec<u8>> {
    if signature.len() != 2 * coordinate {
        return None;
    }
    let (r, s) = signature.split_at(coordinate);
    vec![UintRef::new(r).ok()?, UintRef::new(s).ok()?].to_der().ok()
}

#[cfg(test)]
mod tests {
    use der::Decode as _;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_ecdsa_signature_is_minimal_der() {
        let mut signature = [0; 64];
        (signature[31], signature[32]) = (1, 0x80);
        let mut expected = vec![0x30, 3 + 2 + 33, 2, 1, 1, 2, 33, 0];
        expected.extend(&signature[32..]);
        assert_eq!(ecdsa_sig_value(&signature, 32).unwrap(), expected);
        for length in [0, 63, 65, 96] {
            let fault = encoded(Algorithm::EcdsaP256Sha256, vec![1; length], "the token").unwrap_err();
            assert_eq!(fault.class, FaultClass::Device, "{length}");
        }
        assert!(encoded(Algorithm::EcdsaP384Sha384, vec![1; 96], "the token").is_ok());
    }

    proptest! {
        #[test]
        fn every_ecdsa_signature_reads_as_its_two_numbers(signature in prop::collection::vec(any::<u8>(), 96)) {
            let der = ecdsa_sig_value(&signature, 48).unwrap();
            let numbers = Vec::<UintRef<'_>>::from_der(&der).unwrap();
            let wide = |number: &UintRef<'_>| [vec![0; 48 - number.as_bytes().len()], number.as_bytes().to_vec()].concat();
            prop_assert_eq!(numbers.iter().flat_map(wide).collect::<Vec<_>>(), signature);
        }
    }
}
