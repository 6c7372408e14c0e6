//! The hash algorithms of CertIDs, message imprints and signed attributes.
//!
//! Invariant: an algorithm's OID, digest length and implementation are paired here and nowhere else. It does not know
//! which of them a responder accepts.

use crate::der::{AlgorithmIdentifier, tag, wrap};
use crate::oid;
use aws_lc_rs::digest;
use clap::ValueEnum;

/// A hash function by its command-line name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub(crate) enum Hash {
    /// SHA-1, which most deployed OCSP clients still send in CertIDs
    Sha1,
    /// SHA-256
    Sha256,
    /// SHA-384
    Sha384,
    /// SHA-512
    Sha512,
}

impl Hash {
    const ALL: [Hash; 4] = [Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512];

    pub(crate) fn oid(self) -> &'static [u8] {
        match self {
            Hash::Sha1 => oid::SHA1,
            Hash::Sha256 => oid::SHA256,
            Hash::Sha384 => oid::SHA384,
            Hash::Sha512 => oid::SHA512,
        }
    }

    /// Bytes of a digest.
    pub(crate) fn length(self) -> usize {
        self.implementation().output_len()
    }

    pub(crate) fn digest(self, data: &[u8]) -> digest::Digest {
        digest::digest(self.implementation(), data)
    }

    /// By AlgorithmIdentifier, parameters NULL or absent (RFC 5754 section 2).
    pub(crate) fn identified(algorithm: &AlgorithmIdentifier<'_>) -> Option<Self> {
        if !algorithm.has_no_parameters() {
            return None;
        }
        Self::ALL.into_iter().find(|h| h.oid() == algorithm.oid)
    }

    /// The AlgorithmIdentifier with parameters NULL, the form that every deployed client writes.
    pub(crate) fn identifier(self) -> Vec<u8> {
        wrap(tag::SEQUENCE, &[&wrap(tag::OID, &[self.oid()]), &[tag::NULL, 0]])
    }

    fn implementation(self) -> &'static digest::Algorithm {
        match self {
            // The digest names a certificate here; nothing rests on its collision resistance.
            Hash::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Hash::Sha256 => &digest::SHA256,
            Hash::Sha384 => &digest::SHA384,
            Hash::Sha512 => &digest::SHA512,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::der::Reader;

    #[test]
    fn knows_itself_by_its_own_identifier() {
        for hash in Hash::ALL {
            let der = hash.identifier();
            let read = AlgorithmIdentifier::read(&mut Reader::new(&der), "x").unwrap();
            assert_eq!(Hash::identified(&read), Some(hash));
            assert_eq!(hash.digest(b"").as_ref().len(), hash.length());
            assert_eq!(Hash::identified(&AlgorithmIdentifier { parameters: None, ..read }), Some(hash));
            assert_eq!(Hash::identified(&AlgorithmIdentifier { parameters: Some(&[2, 1, 0]), ..read }), None);
        }
    }
}
