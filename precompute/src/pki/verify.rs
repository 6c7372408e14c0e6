//! Checking a signature under a SubjectPublicKeyInfo and an AlgorithmIdentifier.
//!
//! SHA-1 and keys under 2048 bits are refused by name, so that an operator with an old CA learns which certificate or
//! CRL to renew. It does not know what a signature is for.

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

use super::{
    pss::{PssHash, PssParameters},
    rsa::RsaPublicKey,
};
use crate::limits;

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

/// Why a signature is not valid.
#[derive(Debug)]
pub enum VerifyError {
    /// It names another issuer; both names, in words.
    Issuer(String),
    /// An algorithm, or a combination of key and algorithm, that is not accepted.
    Algorithm(String),
    /// The key could not be read.
    Key(der::Error),
    /// The bytes were not signed by this key.
    Signature,
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Issuer(unlike) => f.write_str(unlike),
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
    let key = spki.subject_public_key.raw_bytes();
    let holds = match verification_for(&spki, algorithm)? {
        Verification::Provided(verification) => {
            UnparsedPublicKey::new(verification, key).verify(message, signature).is_ok()
        }
        Verification::Pss(key, parameters) => key.verify_pss(&parameters, message, signature),
    };
    if holds { Ok(()) } else { Err(VerifyError::Signature) }
}

/// A key for checking many signatures: read once.
#[derive(Debug)]
pub struct Verifier(Parsed);

#[derive(Debug)]
enum Parsed {
    Provided(ParsedPublicKey),
    Pss(RsaPublicKey, PssParameters),
}

impl Verifier {
    /// For signatures by the key with this SubjectPublicKeyInfo and with this algorithm.
    pub fn new(spki_der: &[u8], algorithm: &AlgorithmIdentifierOwned) -> Result<Self, VerifyError> {
        let spki = SubjectPublicKeyInfoOwned::from_der(spki_der).map_err(VerifyError::Key)?;
        Ok(Self(match verification_for(&spki, algorithm)? {
            Verification::Provided(verification) => {
                let key = ParsedPublicKey::new(verification, spki.subject_public_key.raw_bytes());
                Parsed::Provided(key.map_err(|_| VerifyError::Key(ErrorKind::Failed.into()))?)
            }
            Verification::Pss(key, parameters) => Parsed::Pss(key, parameters),
        }))
    }

    /// Checks `signature` over `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), VerifyError> {
        let holds = match &self.0 {
            Parsed::Provided(key) => key.verify_sig(message, signature).is_ok(),
            Parsed::Pss(key, parameters) => key.verify_pss(parameters, message, signature),
        };
        if holds { Ok(()) } else { Err(VerifyError::Signature) }
    }
}

/// How a signature is checked.
enum Verification {
    /// By aws-lc-rs.
    Provided(&'static dyn VerificationAlgorithm),
    /// With parameters that aws-lc-rs does not support.
    Pss(RsaPublicKey, PssParameters),
}

fn verification_for(
    spki: &SubjectPublicKeyInfoOwned,
    algorithm: &AlgorithmIdentifierOwned,
) -> Result<Verification, VerifyError> {
    let oid = algorithm.oid.to_string();
    let key = spki.algorithm.oid;
    let provided = |verification| Ok(Verification::Provided(verification));
    if key == RSA || key == RSA_PSS {
        return rsa_verification_for(spki, algorithm);
    }
    // The identifiers of key and signature are the same, without parameters (RFC 8410 section 3, RFC 9881 section 2).
    const WITHOUT_PARAMETERS: [(ObjectIdentifier, &dyn VerificationAlgorithm); 4] = [
        (ED25519_OID, &ED25519),
        (ML_DSA_44_OID, &ML_DSA_44),
        (ML_DSA_65_OID, &ML_DSA_65),
        (ML_DSA_87_OID, &ML_DSA_87),
    ];
    if let Some((_, verification)) = WITHOUT_PARAMETERS.into_iter().find(|(oid, _)| *oid == key) {
        return if algorithm.oid == key { provided(verification) } else { Err(refused(&oid)) };
    }
    if key != EC {
        return Err(VerifyError::Algorithm(format!("by a key of the kind {}; {SUPPORTED}", named(&key.to_string()))));
    }
    let curve = spki.algorithm.parameters.as_ref().and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
    match (curve, oid.as_str()) {
        (Some(P256), "1.2.840.10045.4.3.2") => provided(&ECDSA_P256_SHA256_ASN1),
        (Some(P256), "1.2.840.10045.4.3.3") => provided(&ECDSA_P256_SHA384_ASN1),
        (Some(P256), "1.2.840.10045.4.3.4") => provided(&ECDSA_P256_SHA512_ASN1),
        (Some(P384), "1.2.840.10045.4.3.2") => provided(&ECDSA_P384_SHA256_ASN1),
        (Some(P384), "1.2.840.10045.4.3.3") => provided(&ECDSA_P384_SHA384_ASN1),
        (Some(P384), "1.2.840.10045.4.3.4") => provided(&ECDSA_P384_SHA512_ASN1),
        (Some(P521), "1.2.840.10045.4.3.2") => provided(&ECDSA_P521_SHA256_ASN1),
        (Some(P521), "1.2.840.10045.4.3.3") => provided(&ECDSA_P521_SHA384_ASN1),
        (Some(P521), "1.2.840.10045.4.3.4") => provided(&ECDSA_P521_SHA512_ASN1),
        (Some(P256 | P384 | P521), _) => Err(refused(&oid)),
        (Some(curve), _) => {
            Err(VerifyError::Algorithm(format!("by a key on the curve {}; {SUPPORTED}", named(&curve.to_string()))))
        }
        (None, _) => Err(VerifyError::Algorithm(format!(
            "by a key on a curve that it describes instead of naming it; {SUPPORTED}"
        ))),
    }
}

/// The text after an unsupported kind of key.
const SUPPORTED: &str = "RSA, P-256, P-384, P-521, Ed25519 and ML-DSA are supported";

fn rsa_verification_for(
    spki: &SubjectPublicKeyInfoOwned,
    algorithm: &AlgorithmIdentifierOwned,
) -> Result<Verification, VerifyError> {
    let public = RsaPublicKey::from_der(spki.subject_public_key.raw_bytes());
    let public = public.ok_or(VerifyError::Key(ErrorKind::Failed.into()))?;
    let bits = public.bits();
    if !limits::RSA_BITS.contains(&bits) {
        let (fewest, most) = (limits::RSA_BITS.start(), limits::RSA_BITS.end());
        return Err(VerifyError::Algorithm(format!(
            "by an RSA key of {bits} bits; keys of {fewest} to {most} bits are (have its owner make a new one)"
        )));
    }
    let is_pss = algorithm.oid == RSA_PSS;
    if spki.algorithm.oid == RSA_PSS {
        // RFC 4055 section 1.2: such a key has no other use, and its own parameters restrict how.
        if !is_pss {
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
    }
    if is_pss {
        return pss(public, pss_parameters(algorithm)?);
    }
    let oid = algorithm.oid.to_string();
    Ok(Verification::Provided(match oid.as_str() {
        "1.2.840.113549.1.1.11" => &RSA_PKCS1_2048_8192_SHA256,
        "1.2.840.113549.1.1.12" => &RSA_PKCS1_2048_8192_SHA384,
        "1.2.840.113549.1.1.13" => &RSA_PKCS1_2048_8192_SHA512,
        _ => return Err(refused(&oid)),
    }))
}

fn pss_parameters(algorithm: &AlgorithmIdentifierOwned) -> Result<PssParameters, VerifyError> {
    let encoded = algorithm.parameters.as_ref().and_then(|any| any.to_der().ok());
    // Without parameters, a signature does not say how it was made (RFC 4055 section 3.1).
    encoded
        .and_then(|octets| PssParameters::from_der(&octets).ok())
        .ok_or_else(|| refused("RSASSA-PSS with parameters that are missing or not understood"))
}

/// With the parameters that the signature states: the salt may have any length, and the mask another hash function,
/// which only has to spread its input.
fn pss(key: RsaPublicKey, parameters: PssParameters) -> Result<Verification, VerifyError> {
    let PssParameters { hash, mgf1_hash, salt_length } = parameters;
    let usual = hash == mgf1_hash && salt_length == hash.length();
    Ok(match hash {
        PssHash::Sha1 => return Err(refused("RSASSA-PSS with SHA-1 (renew it with SHA-256)")),
        PssHash::Sha256 if usual => Verification::Provided(&RSA_PSS_2048_8192_SHA256),
        PssHash::Sha384 if usual => Verification::Provided(&RSA_PSS_2048_8192_SHA384),
        PssHash::Sha512 if usual => Verification::Provided(&RSA_PSS_2048_8192_SHA512),
        _ => Verification::Pss(key, parameters),
    })
}

fn refused(oid: &str) -> VerifyError {
    VerifyError::Algorithm(named(oid))
}

/// The name of an algorithm, kind of key or curve, and what to do about old ones.
fn named(oid: &str) -> String {
    let name = match oid {
        "1.2.840.113549.1.1.5" => "sha1WithRSAEncryption (renew it with SHA-256)",
        "1.2.840.113549.1.1.4" => "md5WithRSAEncryption (renew it with SHA-256)",
        "1.2.840.113549.1.1.2" => "md2WithRSAEncryption (renew it with SHA-256)",
        "1.2.840.113549.1.1.14" => "sha224WithRSAEncryption (renew it with SHA-256)",
        "1.2.840.10045.4.1" => "ecdsa-with-SHA1 (renew it with SHA-256)",
        "1.2.840.10045.4.3.1" => "ecdsa-with-SHA224 (renew it with SHA-256)",
        "1.2.840.113549.1.1.10" => "RSASSA-PSS",
        "1.2.840.113549.1.1.11" => "sha256WithRSAEncryption",
        "1.2.840.113549.1.1.12" => "sha384WithRSAEncryption",
        "1.2.840.113549.1.1.13" => "sha512WithRSAEncryption",
        "1.2.840.10045.4.3.2" => "ecdsa-with-SHA256",
        "1.2.840.10045.4.3.3" => "ecdsa-with-SHA384",
        "1.2.840.10045.4.3.4" => "ecdsa-with-SHA512",
        "1.3.101.112" => "Ed25519",
        "1.3.101.113" => "Ed448",
        "1.2.840.10040.4.1" | "1.2.840.10040.4.3" => "DSA",
        "1.2.156.10197.1.301" => "SM2",
        "1.2.840.10045.3.1.1" => "P-192",
        "1.3.132.0.33" => "P-224",
        "1.3.132.0.10" => "secp256k1",
        "1.3.36.3.3.2.8.1.1.7" => "brainpoolP256r1",
        "1.3.36.3.3.2.8.1.1.11" => "brainpoolP384r1",
        "1.3.36.3.3.2.8.1.1.13" => "brainpoolP512r1",
        other => return other.to_owned(),
    };
    name.to_owned()
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
    use crate::pki::Algorithm;

    /// The AlgorithmIdentifier of PSS with SHA-256, with one byte changed from `is` to `becomes`.
    fn pss_with(place: usize, is: u8, becomes: u8) -> AlgorithmIdentifierOwned {
        let mut identifier = Algorithm::RsaPssSha256.identifier().to_vec();
        assert_eq!(identifier[place], is, "byte {place}");
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
            ("another salt", pss_with(last, 32, 20), Some("does not verify")),
            ("another hash", pss_with(29, 1, 2), Some("does not verify")),
            ("another mask hash", pss_with(59, 1, 3), Some("does not verify")),
            ("an unknown hash", pss_with(29, 1, 9), Some("missing or not understood")),
            ("none", AlgorithmIdentifierOwned { oid: RSA_PSS, parameters: None }, Some("missing or not understood")),
        ] {
            for spki in [spki.as_ref(), &pss_only] {
                match (refusal, verify_signed(spki, &algorithm, b"signed", &signature)) {
                    (None, Ok(())) => {}
                    (Some(refusal), Err(why)) => {
                        assert!(why.to_string().contains(refusal), "{case}: {why}");
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
