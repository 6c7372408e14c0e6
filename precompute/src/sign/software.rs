//! Private keys from files: PKCS#8, SEC1 and PKCS#1 PEM.

use std::{fmt, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
        RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject as _};
use zeroize::Zeroizing;

use super::{Algorithm, Session, SignError};
use crate::{
    limits,
    pki::{FileError, read_bounded},
};

/// Why a key file cannot be used.
pub type KeyError = FileError;

/// A private key held in this process. Cloning shares it.
#[derive(Clone)]
pub struct SoftwareKey(Arc<Pair>);

enum Pair {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl SoftwareKey {
    /// Reads the first private key of a PEM file that nobody but its owner (and group, for reading) may touch.
    pub fn from_file(path: &Path) -> Result<Self, KeyError> {
        let fail = |problem: String| FileError::new(path, problem);
        let metadata = std::fs::metadata(path).map_err(|error| fail(format!("cannot be read: {error}")))?;
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & 0o027 != 0 {
            return Err(fail(format!(
                "holds a private key and has mode {mode:04o}, which lets others use it; run: chmod 600 {}",
                path.display()
            )));
        }
        let pem = Zeroizing::new(read_bounded(path, limits::KEY_FILE_OCTETS_MAX)?);
        if contains(&pem, b"ENCRYPTED") {
            return Err(fail(format!(
                "holds an encrypted private key; decrypt it into a file that only the service may read: openssl pkey -in {0} -out {0}.plain",
                path.display()
            )));
        }
        let der = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| {
            fail(format!("holds no private key in PEM (PKCS#8 `PRIVATE KEY`, SEC1 `EC PRIVATE KEY`): {error}"))
        })?;
        Self::from_der(&der).ok_or_else(|| {
            fail("holds a private key that is damaged or of another kind than ECDSA P-256, ECDSA P-384, RSA 2048–4096 or Ed25519".into())
        })
    }

    fn from_der(der: &PrivateKeyDer<'_>) -> Option<Self> {
        let octets = der.secret_der();
        // Each reader takes only its own kind, so the order does not matter.
        let pair = if let Ok(pair) = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_ASN1_SIGNING, octets) {
            Pair::P256(pair)
        } else if let Ok(pair) = EcdsaKeyPair::from_private_key_der(&ECDSA_P384_SHA384_ASN1_SIGNING, octets) {
            Pair::P384(pair)
        } else if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(octets) {
            Pair::Ed25519(pair)
        } else {
            let pair = match der {
                PrivateKeyDer::Pkcs1(_) => RsaKeyPair::from_der(octets),
                _ => RsaKeyPair::from_pkcs8(octets),
            };
            Pair::Rsa(pair.ok().filter(|pair| (256..=512).contains(&pair.public_modulus_len()))?)
        };
        Some(Self(Arc::new(pair)))
    }

    /// With what it signs.
    pub fn algorithm(&self) -> Algorithm {
        match &*self.0 {
            Pair::P256(_) => Algorithm::EcdsaP256Sha256,
            Pair::P384(_) => Algorithm::EcdsaP384Sha384,
            Pair::Rsa(_) => Algorithm::RsaPkcs1Sha256,
            Pair::Ed25519(_) => Algorithm::Ed25519,
        }
    }

    /// The public half as it stands in a certificate's subjectPublicKey.
    pub fn public_key_octets(&self) -> &[u8] {
        match &*self.0 {
            Pair::P256(pair) | Pair::P384(pair) => pair.public_key().as_ref(),
            Pair::Rsa(pair) => pair.public_key().as_ref(),
            Pair::Ed25519(pair) => pair.public_key().as_ref(),
        }
    }

    /// Signs `message`.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let random = SystemRandom::new();
        match &*self.0 {
            Pair::P256(pair) | Pair::P384(pair) => pair.sign(&random, message).map(|s| s.as_ref().to_vec()),
            Pair::Ed25519(pair) => pair.try_sign(message).map(|s| s.as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map(|()| signature)
            }
        }
        .map_err(|_| SignError::Failed)
    }
}

impl Session for SoftwareKey {
    fn sign(&mut self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        SoftwareKey::sign(self, message)
    }
}

/// Never shows the key.
impl fmt::Debug for SoftwareKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SoftwareKey({})", self.algorithm())
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
