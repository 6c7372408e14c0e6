//! Public keys and the checking of signatures.
//!
//! Invariant: a signature is accepted only if the algorithm it names fits the key's own type, and what cannot be
//! checked is told apart from what is wrong. It does not know whose key it is or why it should be trusted.

use crate::der::{AlgorithmIdentifier, Malformed, Read, Reader, only, tag};
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
    /// The BIT STRING's bytes: what a responder's KeyHash is the hash of.
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
    const WHAT: &str = "RSASSA-PSS-params";
    let err = Malformed(WHAT);
    let algorithm = |whole| AlgorithmIdentifier::from_content(only(whole, tag::SEQUENCE, WHAT)?.content, WHAT);
    let integer = |content| {
        let mut field = Reader::new(content);
        let integer = field.small_integer(WHAT)?;
        field.finish(WHAT).map(|()| integer)
    };
    let mut fields = Reader::new(only(parameters.ok_or(err)?, tag::SEQUENCE, WHAT)?.content);
    let hash = Hash::identified(&algorithm(fields.content(tag::context(0), WHAT)?)?).ok_or(err)?;
    let mgf = algorithm(fields.content(tag::context(1), WHAT)?)?;
    let mgf_hash = Hash::identified(&algorithm(mgf.parameters.ok_or(err)?)?);
    let salt_length = integer(fields.content(tag::context(2), WHAT)?)?;
    // trailerField: 1 is the default and the only one there is.
    let trailer = fields.optional(tag::context(3), WHAT)?.map_or(Ok(1), |field| integer(field.content))?;
    fields.finish(WHAT)?;
    let usual = mgf.oid == oid::MGF1 && mgf_hash == Some(hash) && salt_length as usize == hash.length() && trailer == 1;
    if usual { Ok(hash) } else { Err(err) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::der::wrap;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::{KeyPair, KeySize};
    use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding};

    fn identifier(oid: &[u8], parameters: &[u8]) -> Vec<u8> {
        wrap(tag::SEQUENCE, &[&wrap(tag::OID, &[oid]), parameters])
    }

    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        wrap(tag::context(number), &[content])
    }

    fn integer(value: u8) -> Vec<u8> {
        wrap(tag::INTEGER, &[&[value]])
    }

    fn params(fields: &[&[u8]]) -> Vec<u8> {
        wrap(tag::SEQUENCE, fields)
    }

    #[test]
    fn pss_verifies_under_its_own_parameters_only() {
        let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let public = |oid| {
            let bits = wrap(tag::BIT_STRING, &[&[0], key.public_key().as_ref()]);
            PublicKey::read(&[identifier(oid, &[tag::NULL, 0]), bits].concat()).unwrap()
        };
        let (rsa, pss_only) = (public(oid::RSA_ENCRYPTION), public(oid::RSASSA_PSS));
        let sign = |encoding: &'static dyn RsaEncoding| {
            let mut signature = vec![0; key.public_modulus_len()];
            key.sign(encoding, &SystemRandom::new(), b"signed", &mut signature).unwrap();
            signature
        };
        let signature = sign(&RSA_PSS_SHA256);

        let sha256 = field(0, &Hash::Sha256.identifier());
        let bare = field(0, &identifier(oid::SHA256, &[]));
        let mgf = field(1, &identifier(oid::MGF1, &Hash::Sha256.identifier()));
        let salt = field(2, &integer(32));
        let with_sha384 = [
            &field(0, &Hash::Sha384.identifier())[..],
            &field(1, &identifier(oid::MGF1, &Hash::Sha384.identifier())),
            &field(2, &integer(48)),
        ];
        let (bad, unsupported) = (Err(Refused::Bad), Err(Refused::Unsupported));
        let usual = params(&[&sha256, &mgf, &salt]);
        for (case, parameters, expected) in [
            ("as everybody writes them", usual.clone(), Ok(())),
            ("hash without parameters", params(&[&bare, &mgf, &salt]), Ok(())),
            ("the default written out", params(&[&sha256, &mgf, &salt, &field(3, &integer(1))]), Ok(())),
            ("those of another hash", params(&with_sha384), bad),
            ("absent", vec![], unsupported),
            ("NULL", vec![tag::NULL, 0], unsupported),
            ("the defaults, which are SHA-1's", params(&[]), unsupported),
            ("the hash left out", params(&[&mgf, &salt]), unsupported),
            ("the salt left out, which makes it 20", params(&[&sha256, &mgf]), unsupported),
            ("another salt", params(&[&sha256, &mgf, &field(2, &integer(20))]), unsupported),
            ("another trailer", params(&[&sha256, &mgf, &salt, &field(3, &integer(2))]), unsupported),
            ("something behind them", params(&[&sha256, &mgf, &salt, &[tag::NULL, 0]]), unsupported),
            ("something behind the salt", params(&[&sha256, &mgf, &field(2, &integer(32).repeat(2))]), unsupported),
            ("in another order", params(&[&mgf, &sha256, &salt]), unsupported),
            (
                "a mask by another hash",
                params(&[&sha256, &field(1, &identifier(oid::MGF1, &Hash::Sha1.identifier())), &salt]),
                unsupported,
            ),
            (
                "another mask",
                params(&[&sha256, &field(1, &identifier(oid::SHA256, &Hash::Sha256.identifier())), &salt]),
                unsupported,
            ),
        ] {
            let encoded = identifier(oid::RSASSA_PSS, &parameters);
            let algorithm = AlgorithmIdentifier::read(&mut Reader::new(&encoded), "test").unwrap();
            for key in [&rsa, &pss_only] {
                assert_eq!(key.verify(&algorithm, None, b"signed", &signature), expected, "{case}");
            }
        }
        for end in 0..usual.len() {
            assert!(pss_hash(Some(&usual[..end])).is_err(), "cut at {end}");
        }

        let pss = AlgorithmIdentifier { oid: oid::RSASSA_PSS, parameters: Some(&usual) };
        let pkcs1 = AlgorithmIdentifier { oid: oid::SHA256_WITH_RSA, parameters: Some(&[tag::NULL, 0]) };
        assert_eq!(rsa.verify(&pss, None, b"another", &signature), bad);
        assert_eq!(rsa.verify(&pkcs1, None, b"signed", &signature), bad, "one scheme is not the other");
        let signature = sign(&RSA_PKCS1_SHA256);
        assert_eq!(rsa.verify(&pkcs1, None, b"signed", &signature), Ok(()));
        assert_eq!(rsa.verify(&pss, None, b"signed", &signature), bad);
        assert_eq!(pss_only.verify(&pkcs1, None, b"signed", &signature), unsupported, "RFC 4055 section 1.2");
    }
}
