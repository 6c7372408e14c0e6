//! What an upstream is asked, RFC 6960 section 4.1: CertIDs, and a nonce where the client's is passed on.
//!
//! It is written anew, not passed through: extensions, signatures and oddities of a client's request stay here, so that
//! equal questions are equal bytes. It does not know who asks.

use precompute::{
    ocsp::{CertId, HashAlgorithm},
    pki::{
        encode::{put, wrapped},
        tag,
    },
};

/// OBJECT IDENTIFIER id-pkix-ocsp-nonce
pub(super) const NONCE: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x02];

/// A certificate that is asked about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// The algorithm of the hashes.
    pub hash: HashAlgorithm,
    /// Of the issuer's name.
    pub name_hash: Box<[u8]>,
    /// Of the issuer's key.
    pub key_hash: Box<[u8]>,
    /// Content bytes of the serialNumber.
    pub serial: Box<[u8]>,
}

impl From<&CertId<'_>> for Asked {
    fn from(id: &CertId<'_>) -> Self {
        Self {
            hash: id.hash,
            name_hash: id.issuer_name_hash.into(),
            key_hash: id.issuer_key_hash.into(),
            serial: id.serial.into(),
        }
    }
}

impl Asked {
    /// It as a CertID.
    pub fn id(&self) -> CertId<'_> {
        let Self { hash, name_hash, key_hash, serial } = self;
        CertId { hash: *hash, issuer_name_hash: name_hash, issuer_key_hash: key_hash, serial }
    }
}

/// A request to an upstream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// At least one.
    pub ids: Vec<Asked>,
    /// The client's.
    pub nonce: Option<Box<[u8]>>,
}

impl Question {
    /// The OCSPRequest, DER.
    pub fn der(&self) -> Vec<u8> {
        let requests: Vec<u8> = self.ids.iter().flat_map(request).collect();
        let mut tbs = wrapped(tag::SEQUENCE, &[&requests]);
        if let Some(nonce) = &self.nonce {
            let value = wrapped(tag::OCTET_STRING, &[nonce]);
            let extension = [wrapped(tag::OBJECT_IDENTIFIER, &[NONCE]), wrapped(tag::OCTET_STRING, &[&value])].concat();
            let list = wrapped(tag::SEQUENCE, &[&wrapped(tag::SEQUENCE, &[&extension])]);
            put(&mut tbs, tag::explicit(2), &list);
        }
        wrapped(tag::SEQUENCE, &[&wrapped(tag::SEQUENCE, &[&tbs])])
    }
}

/// Request
fn request(asked: &Asked) -> Vec<u8> {
    let algorithm = wrapped(tag::SEQUENCE, &[&wrapped(tag::OBJECT_IDENTIFIER, &[asked.hash.oid()]), &[tag::NULL, 0]]);
    let mut id = algorithm;
    put(&mut id, tag::OCTET_STRING, &asked.name_hash);
    put(&mut id, tag::OCTET_STRING, &asked.key_hash);
    put(&mut id, tag::INTEGER, &asked.serial);
    wrapped(tag::SEQUENCE, &[&wrapped(tag::SEQUENCE, &[&id])])
}

#[cfg(test)]
mod tests {
    use der::{Decode, Encode};
    use x509_ocsp::{OcspRequest, ext::Nonce};

    use super::*;

    #[test]
    fn a_question_is_the_request_that_others_read() {
        let asked = |serial: &[u8]| Asked {
            hash: HashAlgorithm::Sha1,
            name_hash: [1; 20].into(),
            key_hash: [2; 20].into(),
            serial: serial.into(),
        };
        for (serials, nonce) in [(&[&[5_u8][..]][..], None), (&[&[5], &[0, 0x80]], Some([7; 32]))] {
            let question = Question {
                ids: serials.iter().map(|serial| asked(serial)).collect(),
                nonce: nonce.map(|nonce| nonce.into()),
            };
            let der = question.der();
            let read = OcspRequest::from_der(&der).unwrap();
            assert_eq!(read.to_der().unwrap(), der);
            let list = read.tbs_request.request_list;
            assert_eq!(list.len(), serials.len());
            for (request, serial) in list.iter().zip(serials) {
                assert_eq!(request.req_cert.serial_number.as_bytes(), *serial);
                assert_eq!(request.req_cert.issuer_key_hash.as_bytes(), [2; 20]);
            }
            let extensions = read.tbs_request.request_extensions.unwrap_or_default();
            let found = extensions.first().map(|found| Nonce::from_der(found.extn_value.as_bytes()).unwrap());
            assert_eq!(found.map(|found| found.0.as_bytes().to_vec()), nonce.map(|nonce| nonce.to_vec()));
        }
    }
}
