//! Checking a signature under a SubjectPublicKeyInfo and an AlgorithmIdentifier.
//!
//! SHA-1 and keys under 2048 bits are refused by name, so that an operator with an old CA
//! learns which certificate or CRL to renew.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P256_SHA512_ASN1, ECDSA_P384_SHA256_ASN1,
    ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA512_ASN1, ECDSA_P521_SHA256_ASN1, ECDSA_P521_SHA384_ASN1,
    ECDSA_P521_SHA512_ASN1, ED25519, ML_DSA_44, ML_DSA_65, ML_DSA_87, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
    RSA_PSS_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
};
use der::{Decode as _, Encode as _, ErrorKind, asn1::ObjectIdentifier};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use super::pss::{PssHash, PssParameters};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
const ED25519_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const ML_DSA_44_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.17");
const ML_DSA_65_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.18");
const ML_DSA_87_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.19");

/// Why a signature does not hold.
#[derive(Debug)]
pub enum VerifyError {
    /// It names another issuer.
    Issuer {
        /// The issuer that it names.
        names: String,
        /// The issuer that was expected.
        is: String,
    },
    /// An algorithm, or a combination of key and algorithm, that is not accepted.
    Algorithm(String),
    /// The key could not be read.
    Key(der::Error),
    /// The octets were not signed by this key.
    Signature,
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Issuer { names, is } => write!(f, "was issued by «{names}», not by «{is}»"),
            Self::Algorithm(what) => write!(f, "has a signature that is not accepted: {what}"),
            Self::Key(error) => write!(f, "cannot be checked, the issuer's key is unreadable: {error}"),
            Self::Signature => f.write_str("has a signature that does not verify under the issuer's key"),
        }
    }
}

impl std::error::Error for VerifyError {}

/// Checks `signature` over `message`.
pub fn verify_signed(
    spki_der: &[u8],
    algorithm: &AlgorithmIdentifierOwned,
    message: &[u8],
    signature: &[u8],
) -> Result<(), VerifyError> {
    let spki = SubjectPublicKeyInfoOwned::from_der(spki_der).map_err(VerifyError::Key)?;
    let verification = verification_for(&spki, algorithm)?;
    UnparsedPublicKey::new(verification, spki.subject_public_key.raw_bytes())
        .verify(message, signature)
        .map_err(|_| VerifyError::Signature)
}

/// A key by which many signatures are checked: read once.
#[derive(Debug)]
pub struct Verifier {
    key: ParsedPublicKey,
}

impl Verifier {
    /// For signatures by the key with this SubjectPublicKeyInfo and with this algorithm.
    pub fn new(spki_der: &[u8], algorithm: &AlgorithmIdentifierOwned) -> Result<Self, VerifyError> {
        let spki = SubjectPublicKeyInfoOwned::from_der(spki_der).map_err(VerifyError::Key)?;
        let verification = verification_for(&spki, algorithm)?;
        let key = ParsedPublicKey::new(verification, spki.subject_public_key.raw_bytes());
        Ok(Self { key: key.map_err(|_| VerifyError::Key(ErrorKind::Failed.into()))? })
    }

    /// Checks `signature` over `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), VerifyError> {
        self.key.verify_sig(message, signature).map_err(|_| VerifyError::Signature)
    }
}

fn verification_for(
    spki: &SubjectPublicKeyInfoOwned,
    algorithm: &AlgorithmIdentifierOwned,
) -> Result<&'static dyn VerificationAlgorithm, VerifyError> {
    let oid = algorithm.oid.to_string();
    let key = spki.algorithm.oid;
    if key == RSA {
        return match oid.as_str() {
            "1.2.840.113549.1.1.11" => Ok(&RSA_PKCS1_2048_8192_SHA256),
            "1.2.840.113549.1.1.12" => Ok(&RSA_PKCS1_2048_8192_SHA384),
            "1.2.840.113549.1.1.13" => Ok(&RSA_PKCS1_2048_8192_SHA512),
            "1.2.840.113549.1.1.10" => pss(&pss_parameters(algorithm)?),
            _ => Err(refused(&oid)),
        };
    }
    if key == RSA_PSS {
        // RFC 4055 section 1.2: such a key is for nothing else, and its own parameters say with what.
        if algorithm.oid != RSA_PSS {
            return Err(refused("a key for RSASSA-PSS alone was used otherwise"));
        }
        let parameters = pss_parameters(algorithm)?;
        if spki.algorithm.parameters.is_some() {
            let allowed = pss_parameters(&spki.algorithm)?;
            let same_hash = (allowed.hash, allowed.mgf1_hash) == (parameters.hash, parameters.mgf1_hash);
            if !same_hash || parameters.salt_length < allowed.salt_length {
                return Err(refused("RSASSA-PSS with other parameters than the key allows"));
            }
        }
        return pss(&parameters);
    }
    // Here the identifiers of key and signature are one, without parameters (RFC 8410 section 3, RFC 9881 section 2).
    const WITHOUT_PARAMETERS: [(ObjectIdentifier, &dyn VerificationAlgorithm); 4] = [
        (ED25519_OID, &ED25519),
        (ML_DSA_44_OID, &ML_DSA_44),
        (ML_DSA_65_OID, &ML_DSA_65),
        (ML_DSA_87_OID, &ML_DSA_87),
    ];
    if let Some((_, verification)) = WITHOUT_PARAMETERS.into_iter().find(|(oid, _)| *oid == key) {
        return if algorithm.oid == key { Ok(verification) } else { Err(refused(&oid)) };
    }
    let curve = spki.algorithm.parameters.as_ref().and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
    match (key == EC, curve, oid.as_str()) {
        (true, Some(P256), "1.2.840.10045.4.3.2") => Ok(&ECDSA_P256_SHA256_ASN1),
        (true, Some(P256), "1.2.840.10045.4.3.3") => Ok(&ECDSA_P256_SHA384_ASN1),
        (true, Some(P256), "1.2.840.10045.4.3.4") => Ok(&ECDSA_P256_SHA512_ASN1),
        (true, Some(P384), "1.2.840.10045.4.3.2") => Ok(&ECDSA_P384_SHA256_ASN1),
        (true, Some(P384), "1.2.840.10045.4.3.3") => Ok(&ECDSA_P384_SHA384_ASN1),
        (true, Some(P384), "1.2.840.10045.4.3.4") => Ok(&ECDSA_P384_SHA512_ASN1),
        (true, Some(P521), "1.2.840.10045.4.3.2") => Ok(&ECDSA_P521_SHA256_ASN1),
        (true, Some(P521), "1.2.840.10045.4.3.3") => Ok(&ECDSA_P521_SHA384_ASN1),
        (true, Some(P521), "1.2.840.10045.4.3.4") => Ok(&ECDSA_P521_SHA512_ASN1),
        _ => Err(refused(&oid)),
    }
}

fn pss_parameters(algorithm: &AlgorithmIdentifierOwned) -> Result<PssParameters, VerifyError> {
    let encoded = algorithm.parameters.as_ref().and_then(|any| any.to_der().ok());
    // Without parameters in a signature nothing says how it was made (RFC 4055 section 3.1).
    encoded
        .and_then(|octets| PssParameters::from_der(&octets).ok())
        .ok_or_else(|| refused("RSASSA-PSS with parameters that are missing or not understood"))
}

/// One hash function throughout and a salt as long as its digest: what RFC 5756 recommends and everybody writes.
fn pss(parameters: &PssParameters) -> Result<&'static dyn VerificationAlgorithm, VerifyError> {
    let PssParameters { hash, mgf1_hash, salt_length } = *parameters;
    if hash != mgf1_hash {
        return Err(refused("RSASSA-PSS with two hash functions"));
    }
    if salt_length != hash.length() {
        return Err(refused("RSASSA-PSS with a salt that is not as long as the digest"));
    }
    match hash {
        PssHash::Sha1 => Err(refused("RSASSA-PSS with SHA-1 (renew it with SHA-256)")),
        PssHash::Sha256 => Ok(&RSA_PSS_2048_8192_SHA256),
        PssHash::Sha384 => Ok(&RSA_PSS_2048_8192_SHA384),
        PssHash::Sha512 => Ok(&RSA_PSS_2048_8192_SHA512),
    }
}

fn refused(oid: &str) -> VerifyError {
    let name = match oid {
        "1.2.840.113549.1.1.5" => "sha1WithRSAEncryption (renew it with SHA-256)",
        "1.2.840.113549.1.1.4" => "md5WithRSAEncryption (renew it with SHA-256)",
        "1.2.840.10045.4.1" => "ecdsa-with-SHA1 (renew it with SHA-256)",
        other => other,
    };
    VerifyError::Algorithm(name.to_owned())
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        encoding::AsDer as _,
        rand::SystemRandom,
        rsa::{KeyPair, KeySize},
        signature::{KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding},
    };

    use super::*;
    use crate::sign::Algorithm;

    /// The AlgorithmIdentifier of PSS with SHA-256, with one octet changed from `is` to `becomes`.
    fn pss_with(place: usize, is: u8, becomes: u8) -> AlgorithmIdentifierOwned {
        let mut identifier = Algorithm::RsaPssSha256.identifier().to_vec();
        assert_eq!(identifier[place], is, "octet {place}");
        identifier[place] = becomes;
        AlgorithmIdentifierOwned::from_der(&identifier).unwrap()
    }

    #[test]
    fn pss_is_verified_with_the_parameters_that_stand_beside_it() {
        let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let sign = |encoding: &'static dyn RsaEncoding| {
            let mut signature = vec![0; key.public_modulus_len()];
            key.sign(encoding, &SystemRandom::new(), b"signed", &mut signature).unwrap();
            signature
        };
        let spki = key.public_key().as_der().unwrap();
        let mut pss_only = SubjectPublicKeyInfoOwned::from_der(spki.as_ref()).unwrap();
        pss_only.algorithm = AlgorithmIdentifierOwned { oid: RSA_PSS, parameters: None };
        let pss_only = pss_only.to_der().unwrap();

        let signature = sign(&RSA_PSS_SHA256);
        let pkcs1 = AlgorithmIdentifierOwned::from_der(Algorithm::RsaPkcs1Sha256.identifier()).unwrap();
        let (usual, last) = (pss_with(0, 0x30, 0x30), Algorithm::RsaPssSha256.identifier().len() - 1);
        for (case, algorithm, refusal) in [
            ("as everybody writes them", usual.clone(), None),
            ("another salt", pss_with(last, 32, 20), Some("a salt that is not as long as the digest")),
            ("another hash", pss_with(29, 1, 2), Some("two hash functions")),
            ("another mask hash", pss_with(59, 1, 3), Some("two hash functions")),
            ("an unknown hash", pss_with(29, 1, 9), Some("missing or not understood")),
            ("none", AlgorithmIdentifierOwned { oid: RSA_PSS, parameters: None }, Some("missing or not understood")),
        ] {
            for spki in [spki.as_ref(), &pss_only] {
                match (refusal, verify_signed(spki, &algorithm, b"signed", &signature)) {
                    (None, Ok(())) => {}
                    (Some(refusal), Err(VerifyError::Algorithm(why))) => {
                        assert!(why.contains(refusal), "{case}: {why}");
                    }
                    (_, outcome) => panic!("{case}: {outcome:?}"),
                }
            }
        }
        let refused = |spki: &[u8], algorithm, message, signature: &[u8]| {
            verify_signed(spki, algorithm, message, signature).expect_err("refused")
        };
        assert!(matches!(refused(spki.as_ref(), &usual, b"another", &signature), VerifyError::Signature));
        assert!(matches!(refused(spki.as_ref(), &pkcs1, b"signed", &signature), VerifyError::Signature));
        let signature = sign(&RSA_PKCS1_SHA256);
        assert!(verify_signed(spki.as_ref(), &pkcs1, b"signed", &signature).is_ok());
        assert!(matches!(refused(&pss_only, &pkcs1, b"signed", &signature), VerifyError::Algorithm(_)));
    }
}
