//! Signature algorithms and their identifiers.

use std::fmt;

use super::{PssHash, PssParameters};

/// Signature algorithms, RFC 6960 section 4.3 and its successors.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Algorithm {
    /// ecdsa-with-SHA256 on P-256
    EcdsaP256Sha256,
    /// ecdsa-with-SHA384 on P-384
    EcdsaP384Sha384,
    /// sha256WithRSAEncryption, RSA 2048–4096
    RsaPkcs1Sha256,
    /// id-RSASSA-PSS with SHA-256, MGF1 with SHA-256, a salt of 32 bytes; RSA 2048–4096
    RsaPssSha256,
    /// Ed25519
    Ed25519,
    /// ML-DSA-44 of FIPS 204, pure and with an empty context (RFC 9881)
    MlDsa44,
    /// ML-DSA-65
    MlDsa65,
    /// ML-DSA-87
    MlDsa87,
}

/// The AlgorithmIdentifier id-RSASSA-PSS with its parameters, RFC 4055 section 3.1: the hash functions have NULL for
/// parameters, and the default trailerField is left out.
const RSA_PSS_SHA256: &[u8] = &[
    0x30, 0x41, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, 0x30, 0x34, // id-RSASSA-PSS
    0xa0, 0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, // SHA-256
    0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, // id-mgf1
    0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, // SHA-256
    0xa2, 0x03, 0x02, 0x01, 0x20, // saltLength 32
];

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::EcdsaP256Sha256,
        Self::EcdsaP384Sha384,
        Self::RsaPkcs1Sha256,
        Self::RsaPssSha256,
        Self::Ed25519,
        Self::MlDsa44,
        Self::MlDsa65,
        Self::MlDsa87,
    ];

    /// The whole AlgorithmIdentifier, DER.
    pub const fn identifier(self) -> &'static [u8] {
        match self {
            Self::EcdsaP256Sha256 => &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02],
            Self::EcdsaP384Sha384 => &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03],
            Self::RsaPkcs1Sha256 => {
                &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b, 0x05, 0x00]
            }
            Self::RsaPssSha256 => RSA_PSS_SHA256,
            Self::Ed25519 => &[0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70],
            // RFC 9881 section 2: parameters are absent.
            Self::MlDsa44 => &[0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x11],
            Self::MlDsa65 => &[0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x12],
            Self::MlDsa87 => &[0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x13],
        }
    }

    /// The content bytes of the OBJECT IDENTIFIER in [`Algorithm::identifier`].
    const fn oid(self) -> &'static [u8] {
        let (_, oid) = self.identifier().split_at(4);
        let length = self.identifier()[3] as usize;
        oid.split_at(length).0
    }

    /// The algorithm of a client's AlgorithmIdentifier: the content bytes of its OBJECT IDENTIFIER, and its parameters,
    /// DER. `None` for an algorithm that is not listed here.
    ///
    /// Only the parameters of id-RSASSA-PSS matter: its hash functions must be those used here. The signer chooses the
    /// length of the salt; without parameters, it chooses everything.
    pub fn identified(oid: &[u8], parameters: Option<&[u8]>) -> Option<Self> {
        let algorithm = Self::ALL.into_iter().find(|algorithm| algorithm.oid() == oid)?;
        let ours = |parameters| {
            let parameters = PssParameters::from_der(parameters);
            parameters.is_ok_and(|pss| pss.hash == PssHash::Sha256 && pss.mgf1_hash == PssHash::Sha256)
        };
        match (algorithm, parameters) {
            (Self::RsaPssSha256, Some(parameters)) if !ours(parameters) => None,
            _ => Some(algorithm),
        }
    }

    /// Whether the keys in a client's AlgorithmIdentifier (see [`Algorithm::identified`]) sign with this algorithm.
    /// Without a curve, every curve matches.
    pub fn is_of_key(self, oid: &[u8], parameters: Option<&[u8]>) -> bool {
        const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
        const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
        const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
        const P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
        match self {
            Self::EcdsaP256Sha256 => oid == EC_PUBLIC_KEY && parameters.is_none_or(|curve| curve == P256),
            Self::EcdsaP384Sha384 => oid == EC_PUBLIC_KEY && parameters.is_none_or(|curve| curve == P384),
            Self::RsaPkcs1Sha256 => oid == RSA_ENCRYPTION,
            Self::RsaPssSha256 => oid == RSA_ENCRYPTION || oid == self.oid(),
            Self::Ed25519 | Self::MlDsa44 | Self::MlDsa65 | Self::MlDsa87 => oid == self.oid(),
        }
    }

    /// The AlgorithmIdentifier of keys that sign with this algorithm, DER, as in a SubjectPublicKeyInfo.
    pub const fn key_identifier(self) -> &'static [u8] {
        match self {
            Self::EcdsaP256Sha256 => &[
                0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, // id-ecPublicKey
                0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, // secp256r1
            ],
            Self::EcdsaP384Sha384 => &[
                0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, // id-ecPublicKey
                0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22, // secp384r1
            ],
            Self::RsaPkcs1Sha256 | Self::RsaPssSha256 => {
                &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00]
            }
            Self::Ed25519 | Self::MlDsa44 | Self::MlDsa65 | Self::MlDsa87 => self.identifier(),
        }
    }

    /// Whether a software key signs in tens of microseconds, so that a serving thread may wait for
    /// it (measured: Ed25519 7 µs, P-256 14 µs; P-384 takes 72 µs, ML-DSA-65 125 µs and now
    /// and then several times that, RSA hundreds and more).
    pub const fn is_cheap(self) -> bool {
        matches!(self, Self::EcdsaP256Sha256 | Self::Ed25519)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EcdsaP256Sha256 => "ECDSA P-256 with SHA-256",
            Self::EcdsaP384Sha384 => "ECDSA P-384 with SHA-384",
            Self::RsaPkcs1Sha256 => "RSA PKCS#1 v1.5 with SHA-256",
            Self::RsaPssSha256 => "RSASSA-PSS with SHA-256",
            Self::Ed25519 => "Ed25519",
            Self::MlDsa44 => "ML-DSA-44",
            Self::MlDsa65 => "ML-DSA-65",
            Self::MlDsa87 => "ML-DSA-87",
        })
    }
}

#[cfg(test)]
mod tests {
    use der::{Decode as _, Encode as _};
    use x509_cert::spki::AlgorithmIdentifierOwned;

    use super::*;

    fn parts(der: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
        let read = AlgorithmIdentifierOwned::from_der(der).unwrap();
        (read.oid.as_bytes().to_vec(), read.parameters.map(|any| any.to_der().unwrap()))
    }

    #[test]
    fn every_algorithm_is_known_by_its_own_identifier() {
        for algorithm in Algorithm::ALL {
            let (oid, parameters) = parts(algorithm.identifier());
            assert_eq!(oid, algorithm.oid());
            assert_eq!(Algorithm::identified(&oid, parameters.as_deref()), Some(algorithm));
            assert_eq!(Algorithm::identified(&oid, None), Some(algorithm), "parameters left out");
        }
        assert_eq!(Algorithm::identified(&[0x2a, 3], None), None);
    }

    #[test]
    fn every_algorithm_is_that_of_its_own_keys() {
        for algorithm in Algorithm::ALL {
            let (oid, parameters) = parts(algorithm.key_identifier());
            assert!(algorithm.is_of_key(&oid, parameters.as_deref()), "{algorithm}");
        }
    }

    #[test]
    fn rsassa_pss_with_other_hash_functions_is_another_algorithm() {
        let (oid, parameters) = parts(RSA_PSS_SHA256);
        let parameters = parameters.unwrap();
        let place = |octets: &[u8]| parameters.windows(octets.len()).position(|window| window == octets).unwrap();
        let hash = place(&[0x04, 0x02, 0x01]) + 2;
        let mgf1_hash = hash + 30;
        for (at, value, known) in [(hash, 2, false), (mgf1_hash, 2, false), (parameters.len() - 1, 20, true)] {
            let mut changed = parameters.clone();
            assert!([1, 32].contains(&changed[at]), "byte {at}");
            changed[at] = value;
            assert_eq!(Algorithm::identified(&oid, Some(&changed)).is_some(), known, "byte {at}");
        }
        // The defaults are SHA-1.
        assert_eq!(Algorithm::identified(&oid, Some(&[0x30, 0])), None);
        assert_eq!(Algorithm::identified(&oid, Some(&[0x05, 0])), None, "NULL");
    }

    #[test]
    fn a_key_of_another_kind_or_curve_is_none_of_the_algorithm() {
        use Algorithm::{EcdsaP256Sha256, EcdsaP384Sha384, Ed25519, MlDsa44, MlDsa65, MlDsa87};
        use Algorithm::{RsaPkcs1Sha256, RsaPssSha256};
        const ML_DSA: [u8; 10] = [6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3];
        let ml_dsa = |last: u8| [&[0x30, 0x0b][..], &ML_DSA, &[last]].concat();
        let keys: [(&[u8], &[Algorithm]); 10] = [
            (
                &[0x30, 0x13, 6, 7, 42, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 42, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7],
                &[EcdsaP256Sha256],
            ),
            (&[0x30, 0x10, 6, 7, 42, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 5, 0x2b, 0x81, 4, 0, 0x22], &[EcdsaP384Sha384]),
            (&[0x30, 9, 6, 7, 42, 0x86, 0x48, 0xce, 0x3d, 2, 1], &[EcdsaP256Sha256, EcdsaP384Sha384]),
            (&[0x30, 0x0d, 6, 9, 42, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 1, 5, 0], &[RsaPkcs1Sha256, RsaPssSha256]),
            (&[0x30, 0x0b, 6, 9, 42, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 10], &[RsaPssSha256]),
            (&[0x30, 5, 6, 3, 0x2b, 0x65, 0x70], &[Ed25519]),
            (&ml_dsa(17), &[MlDsa44]),
            (&ml_dsa(18), &[MlDsa65]),
            (&ml_dsa(19), &[MlDsa87]),
            (&ml_dsa(20), &[]),
        ];
        for (der, expected) in keys {
            let (oid, parameters) = parts(der);
            let of_key = |algorithm: &Algorithm| algorithm.is_of_key(&oid, parameters.as_deref());
            assert_eq!(Algorithm::ALL.into_iter().filter(of_key).collect::<Vec<_>>(), expected, "{der:02x?}");
        }
    }
}
