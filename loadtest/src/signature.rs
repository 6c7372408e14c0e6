//! Public keys and the checking of signatures.
//!
//! Invariant: a signature is accepted only if the algorithm it names fits the key's own type, and what cannot be
//! checked is told apart from what is wrong. It does not know whose key it is or why it should be trusted.

use crate::der::{AlgorithmIdentifier, Malformed, Read, Reader, small, tag};
use crate::hash::Hash;
use crate::oid;
use aws_lc_rs::signature::{self as aws, UnparsedPublicKey, VerificationAlgorithm};

/// Why a signature was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It does not verify.
    Bad,
    /// This program does not know the algorithm.
    Unsupported,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyType {
    Rsa,
    RsaPss,
    P256,
    P384,
    P521,
    Ed25519,
    MlDsa44,
    MlDsa65,
    MlDsa87,
    Other,
}

/// subjectPublicKeyInfo, taken apart.
#[derive(Debug, Clone)]
pub(crate) struct PublicKey {
    key_type: KeyType,
    /// The BIT STRING's octets: what a responder's KeyHash is the hash of.
    pub(crate) bits: Vec<u8>,
}

impl PublicKey {
    /// From the content of a SubjectPublicKeyInfo.
    pub(crate) fn read(spki: &[u8]) -> Read<Self> {
        let mut reader = Reader::new(spki);
        let algorithm = AlgorithmIdentifier::read(&mut reader, "SubjectPublicKeyInfo algorithm")?;
        let bits = reader.bit_string("subjectPublicKey")?.to_vec();
        reader.finish("SubjectPublicKeyInfo")?;
        let curve = algorithm.parameters.and_then(|p| Reader::new(p).content(tag::OID, "curve").ok());
        let key_type = match (algorithm.oid, curve) {
            (oid::RSA_ENCRYPTION, _) => KeyType::Rsa,
            (oid::RSASSA_PSS, _) => KeyType::RsaPss,
            (oid::EC_PUBLIC_KEY, Some(oid::P256)) => KeyType::P256,
            (oid::EC_PUBLIC_KEY, Some(oid::P384)) => KeyType::P384,
            (oid::EC_PUBLIC_KEY, Some(oid::P521)) => KeyType::P521,
            (oid::ED25519, _) => KeyType::Ed25519,
            (oid::ML_DSA_44, _) => KeyType::MlDsa44,
            (oid::ML_DSA_65, _) => KeyType::MlDsa65,
            (oid::ML_DSA_87, _) => KeyType::MlDsa87,
            _ => KeyType::Other,
        };
        Ok(Self { key_type, bits })
    }

    /// Whether `signature` over `message` is this key's. `digest` is the hash that CMS names apart from an algorithm
    /// that carries none of its own (rsaEncryption).
    pub(crate) fn verify(
        &self,
        algorithm: &AlgorithmIdentifier<'_>,
        digest: Option<Hash>,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), Refused> {
        let scheme = self.scheme(algorithm, digest).ok_or(Refused::Unsupported)?;
        UnparsedPublicKey::new(scheme, &self.bits).verify(message, signature).map_err(|_| Refused::Bad)
    }

    fn scheme(
        &self,
        algorithm: &AlgorithmIdentifier<'_>,
        digest: Option<Hash>,
    ) -> Option<&'static dyn VerificationAlgorithm> {
        use KeyType::*;
        Some(match (self.key_type, algorithm.oid) {
            (Rsa, oid::RSA_ENCRYPTION) => pkcs1(digest?),
            (Rsa, oid::SHA1_WITH_RSA) => pkcs1(Hash::Sha1),
            (Rsa, oid::SHA256_WITH_RSA) => pkcs1(Hash::Sha256),
            (Rsa, oid::SHA384_WITH_RSA) => pkcs1(Hash::Sha384),
            (Rsa, oid::SHA512_WITH_RSA) => pkcs1(Hash::Sha512),
            // A key marked RSASSA-PSS may be used for nothing else (RFC 4055 section 1.2).
            (Rsa | RsaPss, oid::RSASSA_PSS) => pss(pss_hash(algorithm.parameters).ok()?)?,
            (P256, oid::ECDSA_SHA256) => &aws::ECDSA_P256_SHA256_ASN1,
            (P256, oid::ECDSA_SHA384) => &aws::ECDSA_P256_SHA384_ASN1,
            (P256, oid::ECDSA_SHA512) => &aws::ECDSA_P256_SHA512_ASN1,
            (P384, oid::ECDSA_SHA256) => &aws::ECDSA_P384_SHA256_ASN1,
            (P384, oid::ECDSA_SHA384) => &aws::ECDSA_P384_SHA384_ASN1,
            (P384, oid::ECDSA_SHA512) => &aws::ECDSA_P384_SHA512_ASN1,
            (P521, oid::ECDSA_SHA256) => &aws::ECDSA_P521_SHA256_ASN1,
            (P521, oid::ECDSA_SHA384) => &aws::ECDSA_P521_SHA384_ASN1,
            (P521, oid::ECDSA_SHA512) => &aws::ECDSA_P521_SHA512_ASN1,
            (Ed25519, oid::ED25519) => &aws::ED25519,
            (MlDsa44, oid::ML_DSA_44) => &aws::ML_DSA_44,
            (MlDsa65, oid::ML_DSA_65) => &aws::ML_DSA_65,
            (MlDsa87, oid::ML_DSA_87) => &aws::ML_DSA_87,
            _ => return None,
        })
    }
}

fn pkcs1(hash: Hash) -> &'static dyn VerificationAlgorithm {
    match hash {
        Hash::Sha1 => &aws::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
        Hash::Sha256 => &aws::RSA_PKCS1_2048_8192_SHA256,
        Hash::Sha384 => &aws::RSA_PKCS1_2048_8192_SHA384,
        Hash::Sha512 => &aws::RSA_PKCS1_2048_8192_SHA512,
    }
}

fn pss(hash: Hash) -> Option<&'static dyn VerificationAlgorithm> {
    match hash {
        Hash::Sha1 => None,
        Hash::Sha256 => Some(&aws::RSA_PSS_2048_8192_SHA256),
        Hash::Sha384 => Some(&aws::RSA_PSS_2048_8192_SHA384),
        Hash::Sha512 => Some(&aws::RSA_PSS_2048_8192_SHA512),
    }
}

/// RSASSA-PSS-params (RFC 4055 section 3.1) with one hash throughout and a salt as long as the digest: what RFC 5756
/// asks for and what everybody writes. Anything else counts as unsupported.
fn pss_hash(parameters: Option<&[u8]>) -> Read<Hash> {
    let err = Malformed("RSASSA-PSS-params");
    let mut params = Reader::new(parameters.ok_or(err)?).nested(tag::SEQUENCE, err.0)?;
    let mut hash_field = params.nested(tag::context(0), err.0)?;
    let hash = Hash::identified(&AlgorithmIdentifier::read(&mut hash_field, err.0)?).ok_or(err)?;
    let mut mgf_field = params.nested(tag::context(1), err.0)?;
    let mgf = AlgorithmIdentifier::read(&mut mgf_field, err.0)?;
    let mgf_hash = AlgorithmIdentifier::read(&mut Reader::new(mgf.parameters.ok_or(err)?), err.0)?;
    if mgf.oid != oid::MGF1 || Hash::identified(&mgf_hash) != Some(hash) {
        return Err(err);
    }
    let salt = Reader::new(params.content(tag::context(2), err.0)?).content(tag::INTEGER, err.0)?;
    if small(salt, err.0)? as usize != hash.length() {
        return Err(err);
    }
    Ok(hash)
}
