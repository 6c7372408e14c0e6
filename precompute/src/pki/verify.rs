//! Checking a signature under a SubjectPublicKeyInfo and an AlgorithmIdentifier.
//!
//! SHA-1 and keys under 2048 bits are refused by name, so that an operator with an old CA
//! learns which certificate or CRL to renew.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P256_SHA512_ASN1, ECDSA_P384_SHA256_ASN1,
    ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA512_ASN1, ECDSA_P521_SHA256_ASN1, ECDSA_P521_SHA384_ASN1,
    ECDSA_P521_SHA512_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    UnparsedPublicKey, VerificationAlgorithm,
};
use der::{Decode as _, Encode as _, Tagged as _, asn1::ObjectIdentifier};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
const ED25519_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

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

fn verification_for(
    spki: &SubjectPublicKeyInfoOwned,
    algorithm: &AlgorithmIdentifierOwned,
) -> Result<&'static dyn VerificationAlgorithm, VerifyError> {
    let oid = algorithm.oid.to_string();
    let key = spki.algorithm.oid;
    if key == RSA || key == RSA_PSS {
        return match oid.as_str() {
            "1.2.840.113549.1.1.11" => Ok(&RSA_PKCS1_2048_8192_SHA256),
            "1.2.840.113549.1.1.12" => Ok(&RSA_PKCS1_2048_8192_SHA384),
            "1.2.840.113549.1.1.13" => Ok(&RSA_PKCS1_2048_8192_SHA512),
            "1.2.840.113549.1.1.10" => pss(algorithm),
            _ => Err(refused(&oid)),
        };
    }
    if key == ED25519_OID {
        return if algorithm.oid == ED25519_OID { Ok(&ED25519) } else { Err(refused(&oid)) };
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

/// RSASSA-PSS-params (RFC 4055): the hash is the first field; salt length must equal the hash's,
/// which the verification itself insists on.
fn pss(algorithm: &AlgorithmIdentifierOwned) -> Result<&'static dyn VerificationAlgorithm, VerifyError> {
    let sha256 = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
    let sha384 = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
    let sha512 = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");
    let parameters = algorithm.parameters.as_ref().filter(|any| any.tag() == der::Tag::Sequence);
    let encoded = parameters.and_then(|any| any.to_der().ok()).unwrap_or_default();
    let names = |oid: ObjectIdentifier| encoded.windows(oid.as_bytes().len()).any(|window| window == oid.as_bytes());
    match (names(sha256), names(sha384), names(sha512)) {
        (true, false, false) => Ok(&RSA_PSS_2048_8192_SHA256),
        (false, true, false) => Ok(&RSA_PSS_2048_8192_SHA384),
        (false, false, true) => Ok(&RSA_PSS_2048_8192_SHA512),
        _ => Err(refused("RSASSA-PSS with SHA-1 or mixed hashes")),
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
