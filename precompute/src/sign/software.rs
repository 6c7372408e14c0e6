//! Private keys from files: PKCS#8, SEC1 and PKCS#1 PEM.

use std::{fmt, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
        RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair,
    },
};
use der::{
    Decode as _, Reader as _, SliceReader,
    asn1::{ObjectIdentifier, OctetStringRef},
};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject as _};
use x509_cert::spki::AlgorithmIdentifierRef;
use zeroize::Zeroizing;

use super::{Algorithm, Fault, FaultClass, Holder, Session};
use crate::{
    limits,
    pki::{FileError, read_bounded},
};

/// Why a key file cannot be used.
pub type KeyError = FileError;

/// A private key held in this process. Cloning shares it.
#[derive(Clone)]
pub struct SoftwareKey {
    pair: Arc<Pair>,
    algorithm: Algorithm,
}

enum Pair {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Rsa(RsaKeyPair),
    /// Its own identifier forbids PKCS#1 v1.5 (RFC 4055 section 1.2).
    RsaPssOnly(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Pair {
    /// With what it can sign; the first is used where nobody says otherwise.
    const fn algorithms(&self) -> &'static [Algorithm] {
        match self {
            Self::P256(_) => &[Algorithm::EcdsaP256Sha256],
            Self::P384(_) => &[Algorithm::EcdsaP384Sha384],
            Self::Rsa(_) => &[Algorithm::RsaPkcs1Sha256, Algorithm::RsaPssSha256],
            Self::RsaPssOnly(_) => &[Algorithm::RsaPssSha256],
            Self::Ed25519(_) => &[Algorithm::Ed25519],
        }
    }
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
        } else if let Some(octets) = rsa_pss_only(octets) {
            Pair::RsaPssOnly(RsaKeyPair::from_der(octets).ok().filter(has_accepted_length)?)
        } else {
            let pair = match der {
                PrivateKeyDer::Pkcs1(_) => RsaKeyPair::from_der(octets),
                _ => RsaKeyPair::from_pkcs8(octets),
            };
            Pair::Rsa(pair.ok().filter(has_accepted_length)?)
        };
        let algorithm = *pair.algorithms().first()?;
        Some(Self { pair: Arc::new(pair), algorithm })
    }

    /// With what it can sign; the first is used where nobody says otherwise.
    pub fn algorithms(&self) -> &'static [Algorithm] {
        self.pair.algorithms()
    }

    /// The same key signing with this algorithm; `None` where it cannot.
    pub fn with_algorithm(self, algorithm: Algorithm) -> Option<Self> {
        self.algorithms().contains(&algorithm).then_some(Self { algorithm, ..self })
    }

    /// With what it signs.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The public half as it stands in a certificate's subjectPublicKey.
    pub fn public_key_octets(&self) -> &[u8] {
        match &*self.pair {
            Pair::P256(pair) | Pair::P384(pair) => pair.public_key().as_ref(),
            Pair::Rsa(pair) | Pair::RsaPssOnly(pair) => pair.public_key().as_ref(),
            Pair::Ed25519(pair) => pair.public_key().as_ref(),
        }
    }

    /// Signs `message`.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Fault> {
        let random = SystemRandom::new();
        match &*self.pair {
            Pair::P256(pair) | Pair::P384(pair) => pair.sign(&random, message).map(|s| s.as_ref().to_vec()),
            Pair::Ed25519(pair) => pair.try_sign(message).map(|s| s.as_ref().to_vec()),
            Pair::Rsa(pair) | Pair::RsaPssOnly(pair) => {
                let encoding =
                    if self.algorithm == Algorithm::RsaPssSha256 { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, message, &mut signature).map(|()| signature)
            }
        }
        .map_err(|_| Fault::new(FaultClass::Defect, "the key of this process did not sign"))
    }
}

fn has_accepted_length(pair: &RsaKeyPair) -> bool {
    (256..=512).contains(&pair.public_modulus_len())
}

/// The RSAPrivateKey within a PKCS#8 key that is marked id-RSASSA-PSS, which the signing library does not look into.
fn rsa_pss_only(pkcs8: &[u8]) -> Option<&[u8]> {
    const RSASSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
    let mut reader = SliceReader::new(pkcs8).ok()?;
    let key = reader.sequence(|fields| {
        u8::decode(fields)?; // version
        let algorithm = AlgorithmIdentifierRef::decode(fields)?;
        let key = OctetStringRef::decode(fields)?;
        // Attributes, which nobody needs.
        fields.read_slice(fields.remaining_len())?;
        Ok(Some(key.as_bytes()).filter(|_| algorithm.oid == RSASSA_PSS))
    });
    key.ok()?
}

impl Session for SoftwareKey {
    fn sign(&mut self, message: &[u8]) -> Result<Vec<u8>, Fault> {
        SoftwareKey::sign(self, message)
    }
}

impl Holder for SoftwareKey {
    fn name(&self) -> &str {
        "software"
    }

    fn sessions_max(&self) -> usize {
        usize::MAX
    }

    fn is_apart(&self) -> bool {
        false
    }

    fn open(&self) -> Result<Box<dyn Session>, Fault> {
        Ok(Box::new(self.clone()))
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

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn openssl(dir: &Path, arguments: &[&str]) {
        let output = Command::new("openssl").args(arguments).current_dir(dir).output().expect("openssl is installed");
        assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    #[test]
    fn openssl_verifies_what_rsa_keys_sign_with_pss() {
        for (kind, algorithms) in [("RSA", 2), ("RSA-PSS", 1)] {
            let dir = tempfile::tempdir().unwrap();
            let dir = dir.path();
            openssl(dir, &["genpkey", "-algorithm", kind, "-pkeyopt", "rsa_keygen_bits:2048", "-out", "key.pem"]);
            openssl(dir, &["pkey", "-in", "key.pem", "-pubout", "-out", "public.pem"]);
            let key = SoftwareKey::from_file(&dir.join("key.pem")).unwrap();
            assert_eq!(key.algorithms().len(), algorithms, "{kind}");
            assert!(key.clone().with_algorithm(Algorithm::Ed25519).is_none());
            let key = key.with_algorithm(Algorithm::RsaPssSha256).unwrap();
            std::fs::write(dir.join("signature"), key.sign(b"message").unwrap()).unwrap();
            std::fs::write(dir.join("message"), b"message").unwrap();
            let verify = ["dgst", "-sha256", "-verify", "public.pem", "-signature", "signature"];
            let form = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32", "message"];
            openssl(dir, &[&verify[..], &form].concat());
        }
    }
}
