//! OCSPRequest encoding.
//!
//! Invariant: all that two requests to one issuer share is encoded once per length of serial number; a request is then
//! three copies. It does not know HTTP, nor whether the serial exists.

use crate::certificate::Certificate;
use crate::der::{header, tag, wrap};
use crate::hash::Hash;
use crate::limits::SERIAL_OCTETS_MAX;
use crate::oid;

/// The issuer as CertIDs name it.
#[derive(Debug, Clone)]
pub(crate) struct IssuerId {
    pub(crate) hash: Hash,
    pub(crate) name_hash: Vec<u8>,
    pub(crate) key_hash: Vec<u8>,
}

impl IssuerId {
    /// RFC 6960 section 4.1.1: the hash of the issuer's Name in DER, and of its key's bits without tag, length and
    /// unused bits.
    pub(crate) fn new(issuer: &Certificate, hash: Hash) -> Self {
        Self {
            hash,
            name_hash: hash.digest(&issuer.subject).as_ref().to_vec(),
            key_hash: hash.digest(&issuer.key.bits).as_ref().to_vec(),
        }
    }
}

/// Encoder of requests for one certificate each.
#[derive(Debug, Clone)]
pub(crate) struct RequestEncoder {
    nonce_length: usize,
    /// By length of the serial's content bytes.
    prefixes: Vec<Vec<u8>>,
    /// requestExtensions up to the nonce's own bytes; empty without a nonce.
    suffix: Vec<u8>,
}

impl RequestEncoder {
    /// `nonce_length` bytes of nonce in each request; 0 for none.
    pub(crate) fn new(issuer: &IssuerId, nonce_length: usize) -> Self {
        let fixed = [
            issuer.hash.identifier(),
            wrap(tag::OCTET_STRING, &[&issuer.name_hash]),
            wrap(tag::OCTET_STRING, &[&issuer.key_hash]),
        ]
        .concat();
        let suffix = if nonce_length == 0 { Vec::new() } else { nonce_extension(nonce_length) };
        let prefixes = (0..=SERIAL_OCTETS_MAX)
            .map(|serial_length| {
                let serial = header(tag::INTEGER, serial_length);
                let cert_id_length = fixed.len() + serial.len() + serial_length;
                let cert_id = header(tag::SEQUENCE, cert_id_length);
                let request = header(tag::SEQUENCE, cert_id.len() + cert_id_length);
                let list_length = request.len() + cert_id.len() + cert_id_length;
                let list = header(tag::SEQUENCE, list_length);
                let tbs_length = list.len() + list_length + suffix.len() + nonce_length;
                let tbs = header(tag::SEQUENCE, tbs_length);
                let outer = header(tag::SEQUENCE, tbs.len() + tbs_length);
                [outer, tbs, list, request, cert_id, fixed.clone(), serial].concat()
            })
            .collect();
        Self { nonce_length, prefixes, suffix }
    }

    /// Length of the request for a serial of so many content bytes.
    pub(crate) fn length(&self, serial_length: usize) -> usize {
        self.prefix(serial_length).len() + serial_length + self.suffix.len() + self.nonce_length
    }

    /// Appends the request. `nonce` has the length given to [`RequestEncoder::new`].
    #[inline]
    pub(crate) fn encode(&self, serial: &[u8], nonce: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(self.prefix(serial.len()));
        out.extend_from_slice(serial);
        out.extend_from_slice(&self.suffix);
        out.extend_from_slice(nonce);
    }

    fn prefix(&self, serial_length: usize) -> &[u8] {
        // Populations hold no longer serials: `SERIAL_OCTETS_MAX` bounds both.
        &self.prefixes[serial_length]
    }
}

/// requestExtensions with the nonce alone, cut before the nonce's value (RFC 9654 section 2.1: an OCTET STRING within
/// extnValue).
fn nonce_extension(length: usize) -> Vec<u8> {
    let value_header = header(tag::OCTET_STRING, length);
    let extn_value = header(tag::OCTET_STRING, value_header.len() + length);
    let id = wrap(tag::OID, &[oid::OCSP_NONCE]);
    let extension_length = id.len() + extn_value.len() + value_header.len() + length;
    let extension = header(tag::SEQUENCE, extension_length);
    let list = header(tag::SEQUENCE, extension.len() + extension_length);
    let field = header(tag::context(2), list.len() + extension.len() + extension_length);
    [field, list, extension, id, extn_value, value_header].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::der::{Reader, only};

    fn issuer(hash: Hash) -> IssuerId {
        IssuerId { hash, name_hash: vec![0xaa; hash.length()], key_hash: vec![0xbb; hash.length()] }
    }

    #[test]
    fn encodes_lengths_that_close_for_every_hash_serial_and_nonce_length() {
        for hash in [Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512] {
            for nonce_length in [0, 1, 16, 32, 128] {
                let encoder = RequestEncoder::new(&issuer(hash), nonce_length);
                for serial_length in 1..=SERIAL_OCTETS_MAX {
                    let mut der = Vec::new();
                    encoder.encode(&vec![0x11; serial_length], &vec![0x22; nonce_length], &mut der);
                    assert_eq!(der.len(), encoder.length(serial_length));
                    let mut outer = Reader::new(only(&der, tag::SEQUENCE, "OCSPRequest").unwrap().content);
                    let mut tbs = outer.nested(tag::SEQUENCE, "tbsRequest").unwrap();
                    outer.finish("OCSPRequest").unwrap();
                    let mut request = tbs
                        .nested(tag::SEQUENCE, "requestList")
                        .and_then(|mut l| l.nested(tag::SEQUENCE, "Request"))
                        .and_then(|mut r| r.nested(tag::SEQUENCE, "CertID"))
                        .unwrap();
                    request.tlv(tag::SEQUENCE, "hashAlgorithm").unwrap();
                    assert_eq!(request.content(tag::OCTET_STRING, "n").unwrap(), vec![0xaa; hash.length()]);
                    assert_eq!(request.content(tag::OCTET_STRING, "k").unwrap(), vec![0xbb; hash.length()]);
                    assert_eq!(request.content(tag::INTEGER, "s").unwrap(), vec![0x11; serial_length]);
                    request.finish("CertID").unwrap();
                    if nonce_length > 0 {
                        let mut list = tbs.nested(tag::context(2), "ext").unwrap().nested(tag::SEQUENCE, "l").unwrap();
                        let extension = crate::certificate::Extension::read(&mut list).unwrap();
                        assert_eq!(extension.oid, oid::OCSP_NONCE);
                        let nonce = only(extension.value, tag::OCTET_STRING, "nonce").unwrap();
                        assert_eq!(nonce.content, vec![0x22; nonce_length]);
                    }
                    tbs.finish("tbsRequest").unwrap();
                }
            }
        }
    }
}
