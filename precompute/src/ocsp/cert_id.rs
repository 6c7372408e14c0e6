//! CertID, RFC 6960 section 4.1.1: the certificate that a request is about.
//!
//! Invariant: a serial that no certificate can have is `unauthorized`. It does not know which issuers there are.

use aws_lc_rs::digest;

use super::OcspError;
use crate::pki::{Certificate, Serial};

/// The hash algorithms in which a CertID may name its issuer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum HashAlgorithm {
    /// What nearly every client uses.
    Sha1,
    /// What RFC 9919 requires new clients to use.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl HashAlgorithm {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512];

    /// Its name in configurations and answers of the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// The length of a hash in bytes.
    pub const fn len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// Never: a hash has bytes.
    pub const fn is_empty(self) -> bool {
        false
    }

    /// The content bytes of its OBJECT IDENTIFIER.
    pub const fn oid(self) -> &'static [u8] {
        match self {
            Self::Sha1 => &[0x2b, 0x0e, 0x03, 0x02, 0x1a],
            Self::Sha256 => &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01],
            Self::Sha384 => &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02],
            Self::Sha512 => &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03],
        }
    }

    /// The algorithm with these OBJECT IDENTIFIER content bytes.
    pub fn from_oid(oid: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.oid() == oid)
    }

    fn digest(self, octets: &[u8]) -> digest::Digest {
        digest::digest(
            match self {
                Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
                Self::Sha256 => &digest::SHA256,
                Self::Sha384 => &digest::SHA384,
                Self::Sha512 => &digest::SHA512,
            },
            octets,
        )
    }
}

/// A CertID as in a request; the slices have the lengths of the algorithm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CertId<'a> {
    /// The hash algorithm.
    pub hash: HashAlgorithm,
    /// Hash of the issuer's Name.
    pub issuer_name_hash: &'a [u8],
    /// Hash of the issuer's key bits.
    pub issuer_key_hash: &'a [u8],
    /// Content bytes of the serialNumber INTEGER, minimal.
    pub serial: &'a [u8],
}

impl CertId<'_> {
    /// The serial number. A number that no certificate has (RFC 5280 section 4.1.2.2: positive, at most 20 bytes of
    /// value) is `unauthorized` under every policy, never treated as an unlisted serial. Some clients send the serial
    /// of a revoked certificate as a negative number, and must not get *good*.
    pub fn serial(&self) -> Result<Serial, OcspError> {
        Serial::from_der_content(self.serial).ok_or(OcspError::Unauthorized)
    }
}

/// Name hash and key hash of one issuer in every algorithm.
#[derive(Clone, Debug)]
pub struct IssuerHashes([(Vec<u8>, Vec<u8>); 4]);

impl IssuerHashes {
    /// The hashes of the CA with this certificate.
    pub fn of(issuer: &Certificate) -> Self {
        Self(HashAlgorithm::ALL.map(|algorithm| {
            let hash = |octets| algorithm.digest(octets).as_ref().to_vec();
            (hash(issuer.subject_der()), hash(issuer.public_key_octets()))
        }))
    }

    /// The CertID of a certificate in `algorithm`; `serial`: content bytes of its serialNumber.
    pub fn cert_id<'a>(&'a self, algorithm: HashAlgorithm, serial: &'a [u8]) -> CertId<'a> {
        let (issuer_name_hash, issuer_key_hash) = self.get(algorithm);
        CertId { hash: algorithm, issuer_name_hash, issuer_key_hash, serial }
    }

    /// (name hash, key hash) in `algorithm`.
    pub fn get(&self, algorithm: HashAlgorithm) -> (&[u8], &[u8]) {
        let (name, key) = &self.0[algorithm as usize];
        (name, key)
    }
}
