//! OCSPRequest.
//!
//! - What is taken has one CertID for each Request of its list, in order, and lies in the input itself.
//! - Nothing may stand behind it, and nothing of it may be missing.
//! - Of what `x509-ocsp` takes as DER, exactly that is taken which the rules for requests allow, with the same values.

use der::{Decode as _, Encode as _, Reader as _, SliceReader, Tag, Tagged as _, asn1::ObjectIdentifier};
use precompute::ocsp::HashAlgorithm;
use responder::{
    limits,
    ocsp::request::{DecodeError, Request},
};
use x509_cert::ext::Extension;
use x509_ocsp::{CertId, OcspRequest, Version, ext::PreferredSignatureAlgorithms};

/// Reads the input as the body of a POST.
pub fn request(der: &[u8]) -> bool {
    let verdict = Request::decode(der);
    if let Ok(request) = &verdict {
        let ids: Vec<_> = request.cert_ids().collect();
        assert_eq!(Some(ids.len()), requests_in(der), "a CertID for each Request");
        assert!((1..=limits::CERT_IDS_MAX).contains(&ids.len()));
        assert_eq!(request.single(), ids.first().filter(|_| ids.len() == 1));
        let mut at = der.as_ptr();
        for id in &ids {
            assert_eq!((id.issuer_name_hash.len(), id.issuer_key_hash.len()), (id.hash.len(), id.hash.len()));
            let minimal = !matches!(id.serial, [] | [0, 0..=0x7f, ..] | [0xff, 0x80..=0xff, ..]);
            assert!(minimal, "the serial number {:02x?}", id.serial);
            for slice in [id.issuer_name_hash, id.issuer_key_hash, id.serial] {
                assert!(at < slice.as_ptr() && der.as_ptr_range().contains(&slice.as_ptr()), "in order, in place");
                at = slice.as_ptr();
            }
        }
        if let Ok(Some(nonce)) = request.nonce() {
            assert!((1..=limits::NONCE_OCTETS_MAX).contains(&nonce.len()));
        }
        let more = [der, &[0]].concat();
        assert_eq!(Request::decode(&more), Err(DecodeError::Malformed), "something behind it");
        for cut in [der.len() - 1, der.len() / 2] {
            assert_eq!(Request::decode(&der[..cut]), Err(DecodeError::Malformed), "cut at {cut}");
        }
    }
    if let Ok(oracle) = OcspRequest::from_der(der)
        && oracle.to_der().is_ok_and(|written| written == der)
    {
        agree(&verdict, &oracle);
    }
    verdict.is_ok()
}

/// Elements of requestList, counted without looking into them.
fn requests_in(der: &[u8]) -> Option<usize> {
    let inside = |octets| {
        let mut reader = SliceReader::new(octets).ok()?;
        let header = der::Header::decode(&mut reader).ok()?;
        SliceReader::new(reader.read_slice(header.length).ok()?).ok()
    };
    let mut tbs = inside(inside(der)?.tlv_bytes().ok()?)?;
    while matches!(tbs.peek_byte(), Some(0xa0 | 0xa1)) {
        tbs.tlv_bytes().ok()?;
    }
    let mut list = inside(tbs.tlv_bytes().ok()?)?;
    let mut count = 0;
    while !list.is_finished() {
        list.tlv_bytes().ok()?;
        count += 1;
    }
    Some(count)
}

/// `verdict` is the right one for `oracle`, and has its values.
fn agree(verdict: &Result<Request<'_>, DecodeError>, oracle: &OcspRequest) {
    let Some(conforms) = conforms(oracle) else { return };
    let theirs: Vec<_> = oracle.tbs_request.request_list.iter().map(|request| &request.req_cert).collect();
    let known = theirs.iter().all(|id| hash(id).is_some());
    match verdict {
        Err(DecodeError::UnknownHash) => assert!(!known, "every hash is known: {oracle:?}"),
        Err(DecodeError::Malformed) => assert!(!conforms, "well formed: {oracle:?}"),
        Ok(request) => {
            assert!(conforms && known, "malformed: {oracle:?}");
            for (ours, theirs) in request.cert_ids().zip(theirs) {
                assert_eq!(Some(ours.hash), hash(theirs));
                assert_eq!(ours.issuer_name_hash, theirs.issuer_name_hash.as_bytes());
                assert_eq!(ours.issuer_key_hash, theirs.issuer_key_hash.as_bytes());
                let serial = theirs.serial_number.to_der().expect("was decoded");
                assert_eq!(ours.serial, &serial[2..], "behind tag and short length");
            }
            // None where the extension holds no nonce, which is for those to refuse who do not ignore it.
            let nonce = oracle.nonce();
            let octets = nonce.as_ref().map(|nonce| nonce.0.as_bytes());
            match request.nonce() {
                Ok(nonce) => assert_eq!(nonce, octets),
                Err(_) => {
                    assert!(octets.is_none_or(|octets| !(1..=limits::NONCE_OCTETS_MAX).contains(&octets.len())));
                }
            }
        }
    }
}

fn hash(id: &CertId) -> Option<HashAlgorithm> {
    HashAlgorithm::from_oid(id.hash_algorithm.oid.as_bytes())
}

const NONCE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.2");
const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");
const ACCEPTABLE_RESPONSES: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.4");
const PREFERRED_SIGNATURE_ALGORITHMS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.8");

/// Whether a request keeps the rules that its ASN.1 does not show; `None` where the oracle cannot tell.
fn conforms(request: &OcspRequest) -> Option<bool> {
    let tbs = &request.tbs_request;
    let mut right = tbs.version == Version::V1
        && (1..=limits::CERT_IDS_MAX).contains(&tbs.request_list.len())
        && extensions_conform(tbs.request_extensions.as_deref())?;
    for single in &tbs.request_list {
        let id = &single.req_cert;
        let parameters = &id.hash_algorithm.parameters;
        right &= parameters.as_ref().is_none_or(|any| any.tag() == Tag::Null && any.value().is_empty());
        right &= hash(id).is_none_or(|hash| {
            id.issuer_name_hash.as_bytes().len() == hash.len() && id.issuer_key_hash.as_bytes().len() == hash.len()
        });
        let extensions = single.single_request_extensions.as_deref();
        right &= count_conforms(extensions);
        right &=
            extensions.unwrap_or_default().iter().all(|extension| !extension.critical || extension.extn_id == NONCE);
    }
    Some(right)
}

fn extensions_conform(extensions: Option<&[Extension]>) -> Option<bool> {
    let mut right = count_conforms(extensions);
    for extension in extensions.unwrap_or_default() {
        let value = extension.extn_value.as_bytes();
        right &= match extension.extn_id {
            // What they hold is for those who ask.
            NONCE => true,
            PREFERRED_SIGNATURE_ALGORITHMS if !extension.critical => true,
            // It looks into parameters that are passed over there.
            PREFERRED_SIGNATURE_ALGORITHMS => PreferredSignatureAlgorithms::from_der(value).ok().map(|_| true)?,
            // Object identifiers that are none are passed over there.
            ACCEPTABLE_RESPONSES => Vec::<ObjectIdentifier>::from_der(value).ok()?.contains(&BASIC),
            _ => !extension.critical,
        };
    }
    Some(right)
}

fn count_conforms(extensions: Option<&[Extension]>) -> bool {
    let extensions = extensions.unwrap_or_default();
    let twice = |(at, one): (usize, &Extension)| extensions[..at].iter().any(|other| other.extn_id == one.extn_id);
    !extensions.iter().enumerate().any(twice)
}
