//! TimeStampReq encoding.
//!
//! Invariant: everything but imprint and nonce is encoded once; a request is copies. It does not know HTTP.

use crate::der::{header, tag, wrap};
use crate::hash::Hash;

/// Bytes of a nonce: 64 bits, as RFC 3161 section 2.4.1 suggests.
pub(crate) const NONCE_OCTETS: usize = 8;
/// Bytes of the longest imprint.
pub(crate) const IMPRINT_OCTETS_MAX: usize = 64;

/// Encoder of requests that differ in imprint and nonce.
#[derive(Debug, Clone)]
pub(crate) struct RequestEncoder {
    before_imprint: Vec<u8>,
    between: Vec<u8>,
    after_nonce: Vec<u8>,
    pub(crate) hash: Hash,
}

impl RequestEncoder {
    pub(crate) fn new(hash: Hash, policy: Option<&[u8]>, cert_req: bool) -> Self {
        let version = wrap(tag::INTEGER, &[&[1]]);
        let algorithm = hash.identifier();
        let digest = header(tag::OCTET_STRING, hash.length());
        let imprint_length = algorithm.len() + digest.len() + hash.length();
        let imprint = header(tag::SEQUENCE, imprint_length);
        let policy = policy.map_or(Vec::new(), |oid| wrap(tag::OID, &[oid]));
        let between = [policy, header(tag::INTEGER, NONCE_OCTETS)].concat();
        // certReq is DEFAULT FALSE, which DER leaves out.
        let after_nonce = if cert_req { wrap(tag::BOOLEAN, &[&[0xff]]) } else { Vec::new() };
        let length = version.len() + imprint.len() + imprint_length + between.len() + NONCE_OCTETS + after_nonce.len();
        let before_imprint = [header(tag::SEQUENCE, length), version, imprint, algorithm, digest].concat();
        Self { before_imprint, between, after_nonce, hash }
    }

    pub(crate) fn length(&self) -> usize {
        self.before_imprint.len() + self.hash.length() + self.between.len() + NONCE_OCTETS + self.after_nonce.len()
    }

    /// Appends the request. `imprint` is as long as the hash.
    pub(crate) fn encode(&self, imprint: &[u8], nonce: &[u8; NONCE_OCTETS], out: &mut Vec<u8>) {
        out.extend_from_slice(&self.before_imprint);
        out.extend_from_slice(imprint);
        out.extend_from_slice(&self.between);
        out.extend_from_slice(nonce);
        out.extend_from_slice(&self.after_nonce);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::der::{AlgorithmIdentifier, Reader, only};

    #[test]
    fn encodes_lengths_that_close_for_every_form() {
        for hash in [Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512] {
            for policy in [None, Some(&[0x2a, 0x03][..])] {
                for cert_req in [false, true] {
                    let encoder = RequestEncoder::new(hash, policy, cert_req);
                    let mut der = Vec::new();
                    encoder.encode(&vec![7; hash.length()], &[0x41; 8], &mut der);
                    assert_eq!(der.len(), encoder.length());
                    let mut fields = Reader::new(only(&der, tag::SEQUENCE, "TimeStampReq").unwrap().content);
                    assert_eq!(fields.small_integer("version"), Ok(1));
                    let mut imprint = fields.nested(tag::SEQUENCE, "messageImprint").unwrap();
                    let algorithm = AlgorithmIdentifier::read(&mut imprint, "hashAlgorithm").unwrap();
                    assert_eq!(Hash::identified(&algorithm), Some(hash));
                    assert_eq!(imprint.content(tag::OCTET_STRING, "hashedMessage"), Ok(&vec![7; hash.length()][..]));
                    assert_eq!(fields.optional(tag::OID, "reqPolicy").unwrap().map(|t| t.content), policy);
                    assert_eq!(fields.integer("nonce"), Ok(&[0x41; 8][..]));
                    assert_eq!(fields.optional(tag::BOOLEAN, "certReq").unwrap().is_some(), cert_req);
                    fields.finish("TimeStampReq").unwrap();
                }
            }
        }
    }
}
