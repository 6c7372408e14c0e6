//! Private keys from files: PKCS#8, SEC1 and PKCS#1 in PEM.
//!
//! Invariant: a key signs only with an algorithm it is made for, and is never shown. It does not know pools.

use std::{fmt, path::Path, sync::Arc};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
        ML_DSA_44_SIGNING, ML_DSA_65_SIGNING, ML_DSA_87_SIGNING, PqdsaKeyPair, PqdsaSigningAlgorithm, RSA_PKCS1_SHA256,
        RSA_PSS_SHA256, RsaKeyPair,
    },
};
use der::{
    Decode as _, Reader as _, SliceReader,
    asn1::{ObjectIdentifier, OctetStringRef},
};
use rustls_pki_types::PrivateKeyDer;
use x509_cert::spki::AlgorithmIdentifierRef;

use super::{
    Algorithm, Fault, FaultClass, Holder, Session,
    key_file::{of_unusable, read_private_key},
};
use crate::{limits, pki::FileError};

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
    /// A key whose own identifier forbids PKCS#1 v1.5 (RFC 4055 section 1.2).
    RsaPssOnly(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
    MlDsa(PqdsaKeyPair, Algorithm),
}

/// The parameter sets of FIPS 204.
const ML_DSA: [(&PqdsaSigningAlgorithm, Algorithm); 3] = [
    (&ML_DSA_44_SIGNING, Algorithm::MlDsa44),
    (&ML_DSA_65_SIGNING, Algorithm::MlDsa65),
    (&ML_DSA_87_SIGNING, Algorithm::MlDsa87),
];

impl Pair {
    /// The algorithms it can sign with; the first is the default.
    fn algorithms(&self) -> &[Algorithm] {
        match self {
            Self::P256(_) => &[Algorithm::EcdsaP256Sha256],
            Self::P384(_) => &[Algorithm::EcdsaP384Sha384],
            Self::Rsa(_) => &[Algorithm::RsaPkcs1Sha256, Algorithm::RsaPssSha256],
            Self::RsaPssOnly(_) => &[Algorithm::RsaPssSha256],
            Self::Ed25519(_) => &[Algorithm::Ed25519],
            Self::MlDsa(_, algorithm) => std::slice::from_ref(algorithm),
        }
    }
}

impl SoftwareKey {
    /// Reads the first private key of a PEM file. Only the owner may access the file (the group may read it).
    pub fn from_file(path: &Path) -> Result<Self, KeyError> {
        let key = read_private_key(path, limits::KEY_FILE_OCTETS_MAX)?;
        Self::from_der(&key).ok_or_else(|| FileError::new(path, of_unusable(&key)))
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
        } else if let Some(pair) = ml_dsa(octets) {
            pair
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

    /// The algorithms it can sign with; the first is the default.
    pub fn algorithms(&self) -> &[Algorithm] {
        self.pair.algorithms()
    }

    /// The same key, signing with this algorithm; `None` if it cannot.
    pub fn with_algorithm(self, algorithm: Algorithm) -> Option<Self> {
        self.algorithms().contains(&algorithm).then_some(Self { algorithm, ..self })
    }

    /// The algorithm it signs with.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The public half, as in a certificate's subjectPublicKey.
    pub fn public_key_octets(&self) -> &[u8] {
        match &*self.pair {
            Pair::P256(pair) | Pair::P384(pair) => pair.public_key().as_ref(),
            Pair::Rsa(pair) | Pair::RsaPssOnly(pair) => pair.public_key().as_ref(),
            Pair::Ed25519(pair) => pair.public_key().as_ref(),
            Pair::MlDsa(pair, _) => pair.public_key().as_ref(),
        }
    }

    /// Signs `message`.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Fault> {
        let random = SystemRandom::new();
        match &*self.pair {
            Pair::P256(pair) | Pair::P384(pair) => pair.sign(&random, message).map(|s| s.as_ref().to_vec()),
            Pair::Ed25519(pair) => pair.try_sign(message).map(|s| s.as_ref().to_vec()),
            Pair::MlDsa(pair, _) => {
                let mut signature = vec![0; pair.algorithm().signature_len()];
                pair.sign(message, &mut signature).map(|_| signature)
            }
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

/// A PKCS#8 key of RFC 9881 section 6: a seed, an expanded key, or both.
fn ml_dsa(pkcs8: &[u8]) -> Option<Pair> {
    let read = |&(kind, algorithm): &(_, _)| Some(Pair::MlDsa(PqdsaKeyPair::from_pkcs8(kind, pkcs8).ok()?, algorithm));
    ML_DSA.iter().find_map(read)
}

/// The RSAPrivateKey within a PKCS#8 key that is marked id-RSASSA-PSS, which the signing library does not accept.
fn rsa_pss_only(pkcs8: &[u8]) -> Option<&[u8]> {
    const RSASSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
    let mut reader = SliceReader::new(pkcs8).ok()?;
    let key = reader.sequence(|fields| {
        u8::decode(fields)?; // version
        let algorithm = AlgorithmIdentifierRef::decode(fields)?;
        let key = OctetStringRef::decode(fields)?;
        // Attributes, which are not needed.
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

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt as _, process::Command};

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

    #[test]
    fn an_ml_dsa_key_is_taken_as_a_seed_or_expanded_and_what_it_signs_verifies() {
        use aws_lc_rs::encoding::AsRawBytes as _;
        use der::{Encode as _, pem::LineEnding};
        use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

        use crate::{ocsp::Packing, pki::verify_signed};

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        let lengths = [2420, 3309, 4627];
        for ((kind, algorithm), length) in ML_DSA.into_iter().zip(lengths) {
            let pair = PqdsaKeyPair::generate(kind).unwrap();
            let seed = pair.to_pkcs8v1().unwrap();
            let expanded = pair.private_key().as_raw_bytes().unwrap();
            let identifier = AlgorithmIdentifierOwned::from_der(algorithm.identifier()).unwrap();
            // RFC 9881 section 6: the choice expandedKey is an OCTET STRING.
            let inner = OctetStringRef::new(expanded.as_ref()).unwrap().to_der().unwrap();
            let inner = OctetStringRef::new(&inner).unwrap().to_der().unwrap();
            let content = [&[2, 1, 0][..], algorithm.identifier(), &inner].concat();
            let length_octets = u16::try_from(content.len()).unwrap().to_be_bytes();
            let expanded = [&[0x30, 0x82][..], &length_octets, &content].concat();
            for der in [seed.as_ref(), &expanded] {
                let pem = der::pem::encode_string("PRIVATE KEY", LineEnding::LF, der).unwrap();
                std::fs::write(&path, pem).unwrap();
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
                let key = SoftwareKey::from_file(&path).unwrap();
                assert_eq!(key.algorithms(), [algorithm]);
                assert!(!key.algorithm().is_cheap(), "none of them signs on a serving thread");
                let signature = key.sign(b"message").unwrap();
                assert_eq!(signature.len(), length);
                let packing = Packing::of(algorithm, key.public_key_octets()).unwrap();
                let mut back = Vec::new();
                packing.unpack(&packing.pack(&signature).unwrap(), &mut back);
                assert_eq!((packing.length() % 8, back), (0, signature.clone()));
                let spki = SubjectPublicKeyInfoOwned {
                    algorithm: identifier.clone(),
                    subject_public_key: der::asn1::BitString::from_bytes(key.public_key_octets()).unwrap(),
                };
                let spki = spki.to_der().unwrap();
                assert!(verify_signed(&spki, &identifier, b"message", &signature).is_ok());
                assert!(verify_signed(&spki, &identifier, b"another", &signature).is_err());
                for other in Algorithm::ALL.into_iter().filter(|other| *other != algorithm) {
                    let other = AlgorithmIdentifierOwned::from_der(other.identifier()).unwrap();
                    assert!(verify_signed(&spki, &other, b"message", &signature).is_err(), "{algorithm} {other:?}");
                }
            }
        }
    }
}
