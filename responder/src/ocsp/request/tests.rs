//! The table of requests and their answers, and the tests for it.
//!
//! | Row | Tests |
//! | --- | --- |
//! | 7: outline | `lengths_that_are_not_minimal_or_not_definite_are_malformed`, `an_empty_request_list_is_malformed`, `every_truncation_and_trailing_octet_is_malformed`, `only_version_1_is_taken_and_may_be_explicit` |
//! | 8: CertID | `takes_every_hash_with_parameters_null_or_absent`, `another_hash_algorithm_is_unauthorized`, `hashes_of_the_wrong_length_and_odd_parameters_are_malformed`, `serials_must_be_minimal_and_may_be_odd` |
//! | 9: requestorName and signature | `requestor_name_and_signature_are_ignored`, `signature::*`, and those of `ocsp::signed` |
//! | 10: extensions | `unknown_extensions_are_ignored_unless_critical`, `the_same_extension_twice_is_malformed`, `there_may_be_as_many_extensions_as_fit_and_none_of_them_twice`, `acceptable_responses_must_have_the_basic_one`, `preferred::*` |
//! | 18: nonce | `a_nonce_has_1_to_128_octets_and_may_be_critical`, `what_holds_no_nonce_is_malformed_for_those_alone_who_look`, `only_nonces_of_16_to_32_octets_are_echoed`, `a_nonce_in_a_single_request_is_ignored` |

mod preferred;
mod signature;

use der::{Decode as _, Encode as _};
use proptest::prelude::*;

use super::{
    extensions::{ACCEPTABLE_RESPONSES, BASIC, PREFERRED_SIGNATURE_ALGORITHMS},
    *,
};

/// Tag, length, content.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match content.len() {
        0..0x80 => out.push(content.len() as u8),
        0x80..0x100 => out.extend([0x81, content.len() as u8]),
        _ => out.extend([0x82, (content.len() >> 8) as u8, content.len() as u8]),
    }
    out.extend(content);
    out
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

fn algorithm(hash: HashAlgorithm, parameters: &[u8]) -> Vec<u8> {
    sequence(&[&tlv(0x06, hash.oid()), parameters])
}

fn id(hash: HashAlgorithm, serial: &[u8]) -> Vec<u8> {
    let octets = vec![7; hash.len()];
    sequence(&[&algorithm(hash, &[5, 0]), &tlv(4, &octets), &tlv(4, &octets), &tlv(2, serial)])
}

fn request_of(ids: &[Vec<u8>], extensions: &[u8]) -> Vec<u8> {
    let list: Vec<_> = ids.iter().map(|id| sequence(&[id])).collect();
    sequence(&[&sequence(&[&tlv(0x30, &list.concat()), extensions])])
}

fn plain() -> Vec<u8> {
    request_of(&[id(HashAlgorithm::Sha1, &[5])], &[])
}

fn extension(oid: &[u8], critical: Option<u8>, value: &[u8]) -> Vec<u8> {
    let critical = critical.map(|value| tlv(1, &[value])).unwrap_or_default();
    sequence(&[&tlv(6, oid), &critical, &tlv(4, value)])
}

fn with_extensions(extensions: &[Vec<u8>]) -> Vec<u8> {
    request_of(&[id(HashAlgorithm::Sha1, &[5])], &tlv(0xa2, &tlv(0x30, &extensions.concat())))
}

fn with_single_extensions(extensions: &[Vec<u8>]) -> Vec<u8> {
    let extensions = tlv(0xa0, &tlv(0x30, &extensions.concat()));
    sequence(&[&sequence(&[&sequence(&[&sequence(&[&id(HashAlgorithm::Sha1, &[5]), &extensions])])])])
}

const UNKNOWN: &[u8] = &[0x2a, 0x03];
const MALFORMED: Result<()> = Err(DecodeError::Malformed);

fn verdict(der: &[u8]) -> Result<()> {
    Request::decode(der).map(|_| ())
}

#[test]
fn takes_every_hash_with_parameters_null_or_absent() {
    for hash in HashAlgorithm::ALL {
        for parameters in [&[5, 0][..], &[]] {
            let octets = vec![7; hash.len()];
            let id = sequence(&[&algorithm(hash, parameters), &tlv(4, &octets), &tlv(4, &octets), &tlv(2, &[0, 0x80])]);
            let der = request_of(&[id], &[]);
            let request = Request::decode(&der).unwrap();
            let single = request.single().unwrap();
            assert_eq!((single.hash, single.serial), (hash, &[0, 0x80][..]));
        }
    }
}

#[test]
fn another_hash_algorithm_is_unauthorized() {
    let octets = [7; 16];
    let md5 = tlv(0x06, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x05]);
    let id = sequence(&[&sequence(&[&md5, &[5, 0]]), &tlv(4, &octets), &tlv(4, &octets), &tlv(2, &[5])]);
    assert_eq!(verdict(&request_of(&[id], &[])), Err(DecodeError::UnknownHash));
}

#[test]
fn hashes_of_the_wrong_length_and_odd_parameters_are_malformed() {
    let sha1 = algorithm(HashAlgorithm::Sha1, &[5, 0]);
    let right = tlv(4, &[7; 20]);
    for (algorithm, name, key) in [
        (&sha1, tlv(4, &[7; 19]), right.clone()),
        (&sha1, right.clone(), tlv(4, &[7; 21])),
        (&algorithm(HashAlgorithm::Sha1, &[2, 1, 0]), right.clone(), right.clone()),
        (&algorithm(HashAlgorithm::Sha1, &[5, 1, 0]), right.clone(), right.clone()),
        (&algorithm(HashAlgorithm::Sha1, &[5, 0, 5, 0]), right.clone(), right.clone()),
    ] {
        assert_eq!(verdict(&request_of(&[sequence(&[algorithm, &name, &key, &tlv(2, &[5])])], &[])), MALFORMED);
    }
}

#[test]
fn serials_must_be_minimal_and_may_be_odd() {
    for serial in [&[][..], &[0, 0x7f], &[0xff, 0x80], &[0, 0]] {
        assert_eq!(verdict(&request_of(&[id(HashAlgorithm::Sha1, serial)], &[])), MALFORMED, "{serial:?}");
    }
    for serial in [&[0][..], &[0x80], &[0xff, 0x7f], &[1; 40]] {
        let der = request_of(&[id(HashAlgorithm::Sha1, serial)], &[]);
        let serial = Request::decode(&der).unwrap().single().unwrap().serial();
        assert_eq!(serial, Err(OcspError::Unauthorized), "well formed, of no certificate");
    }
}

#[test]
fn only_version_1_is_taken_and_may_be_explicit() {
    let list = sequence(&[&sequence(&[&id(HashAlgorithm::Sha1, &[5])])]);
    let with_version = |version: &[u8]| sequence(&[&sequence(&[&tlv(0xa0, version), &list])]);
    assert_eq!(verdict(&with_version(&[2, 1, 0])), Ok(()));
    for version in [&[2, 1, 1][..], &[2, 2, 0, 0], &[2, 0], &[], &[2, 1, 0, 0]] {
        assert_eq!(verdict(&with_version(version)), MALFORMED, "{version:?}");
    }
}

#[test]
fn requestor_name_and_signature_are_ignored() {
    let list = sequence(&[&sequence(&[&id(HashAlgorithm::Sha1, &[5])])]);
    let name = tlv(0xa1, &tlv(0xa4, &tlv(0x30, &[])));
    let tbs = sequence(&[&name, &list]);
    assert_eq!(verdict(&sequence(&[&tbs])), Ok(()));
    let signature = tlv(0xa0, &sequence(&[&sequence(&[&tlv(6, UNKNOWN)]), &tlv(3, &[0, 1, 2])]));
    assert_eq!(verdict(&sequence(&[&tbs, &signature])), Ok(()));
    // No signature is required, so faults inside it do no harm.
    for inside in [&[][..], &[5, 0], &[0x30]] {
        assert_eq!(verdict(&sequence(&[&tbs, &tlv(0xa0, &tlv(0x30, inside))])), Ok(()), "{inside:02x?}");
    }
    for outline in [&[][..], &[5, 0], &[0x30, 0, 5, 0]] {
        assert_eq!(verdict(&sequence(&[&tbs, &tlv(0xa0, outline)])), MALFORMED, "{outline:02x?}");
    }
}

#[test]
fn an_empty_request_list_is_malformed() {
    assert_eq!(verdict(&request_of(&[], &[])), MALFORMED);
    assert_eq!(verdict(&[]), MALFORMED);
    assert_eq!(verdict(&sequence(&[])), MALFORMED);
}

#[test]
fn several_cert_ids_come_in_order_up_to_the_limit() {
    let ids: Vec<_> = (1..=limits::CERT_IDS_MAX as u8).map(|n| id(HashAlgorithm::Sha256, &[n])).collect();
    let der = request_of(&ids, &[]);
    let request = Request::decode(&der).unwrap();
    assert_eq!((request.single(), request.count()), (None, limits::CERT_IDS_MAX));
    assert_eq!(Request::decode(&plain()).unwrap().count(), 1);
    let serials: Vec<_> = request.cert_ids().map(|id| id.serial[0]).collect();
    assert_eq!(serials, (1..=limits::CERT_IDS_MAX as u8).collect::<Vec<_>>());
    let too_many = [&ids[..], &ids[..1]].concat();
    assert_eq!(verdict(&request_of(&too_many, &[])), MALFORMED);
}

#[test]
fn unknown_extensions_are_ignored_unless_critical() {
    assert_eq!(verdict(&with_extensions(&[])), Ok(()), "an empty list");
    assert_eq!(verdict(&with_extensions(&[extension(UNKNOWN, None, &[])])), Ok(()));
    assert_eq!(verdict(&with_extensions(&[extension(UNKNOWN, Some(0), &[])])), Ok(()), "explicit FALSE");
    assert_eq!(verdict(&with_extensions(&[extension(UNKNOWN, Some(0xff), &[])])), MALFORMED);
    assert_eq!(verdict(&with_extensions(&[extension(UNKNOWN, Some(1), &[])])), MALFORMED, "BER's TRUE");

    assert_eq!(verdict(&with_single_extensions(&[extension(UNKNOWN, None, &[])])), Ok(()));
    let critical = extension(UNKNOWN, Some(0xff), &[]);
    assert_eq!(verdict(&with_single_extensions(&[critical])), MALFORMED, "critical in a single request");
}

#[test]
fn the_same_extension_twice_is_malformed() {
    let nonce = extension(NONCE, None, &tlv(4, &[9; 16]));
    let preferred = extension(PREFERRED_SIGNATURE_ALGORITHMS, None, &sequence(&[]));
    for one in [extension(UNKNOWN, None, &[]), nonce, preferred] {
        let other = extension(&[0x2a, 0x04], None, &[]);
        assert_eq!(verdict(&with_extensions(&[one.clone(), other.clone()])), Ok(()));
        assert_eq!(verdict(&with_extensions(&[one.clone(), other.clone(), one.clone()])), MALFORMED);
        assert_eq!(verdict(&with_single_extensions(&[one.clone(), other, one])), MALFORMED);
    }
}

#[test]
fn there_may_be_as_many_extensions_as_fit_and_none_of_them_twice() {
    // More than 16 were refused.
    for count in [limits::EXTENSIONS_USUAL - 1, limits::EXTENSIONS_USUAL, limits::EXTENSIONS_USUAL + 1, 1000] {
        let mut many: Vec<_> =
            (0..count).map(|n| extension(&[0x2a, 0x80 | (n >> 7) as u8, n as u8 & 0x7f], None, &[])).collect();
        many.push(extension(NONCE, None, &tlv(4, &[9; 16])));
        for with in [with_extensions, with_single_extensions] {
            assert!(count < 1000 || with(&many).len() <= limits::BODY_OCTETS_MAX, "fits");
            assert_eq!(verdict(&with(&many)), Ok(()), "{count}");
            for (first, second) in [(0, 1), (0, count - 1), (count - 2, count - 1), (count / 2, count)] {
                let mut twice = many.clone();
                twice[second] = twice[first].clone();
                assert_eq!(verdict(&with(&twice)), MALFORMED, "{count}: {first} and {second}");
            }
        }
        let der = with_extensions(&many);
        assert_eq!(Request::decode(&der).unwrap().nonce(), Ok(Some(&[9; 16][..])), "the last one is seen");
        many.push(extension(UNKNOWN, Some(0xff), &[]));
        assert_eq!(verdict(&with_extensions(&many)), MALFORMED, "critical");
    }
}

#[test]
fn a_nonce_has_1_to_128_octets_and_may_be_critical() {
    for critical in [None, Some(0xff)] {
        for (length, right) in [(0, false), (1, true), (32, true), (128, true), (129, false)] {
            let nonce = vec![9; length];
            let der = with_extensions(&[extension(NONCE, critical, &tlv(4, &nonce))]);
            let expected = if right { Ok(Some(&nonce[..])) } else { Err(DecodeError::Malformed) };
            assert_eq!(Request::decode(&der).unwrap().nonce(), expected, "{length}");
        }
    }
}

#[test]
fn what_holds_no_nonce_is_malformed_for_those_alone_who_look() {
    let empty = with_extensions(&[]);
    assert_eq!(Request::decode(&empty).unwrap().nonce(), Ok(None));
    for value in
        [vec![9; 16], vec![], tlv(4, &[]), [tlv(4, &[9; 16]), vec![0]].concat(), tlv(2, &[9]), vec![4, 0x80, 0, 0]]
    {
        let der = with_extensions(&[extension(NONCE, None, &value)]);
        let request = Request::decode(&der).unwrap();
        assert_eq!((request.nonce(), request.nonce_to_echo()), (MALFORMED.map(|()| None), MALFORMED.map(|()| None)));
    }
}

#[test]
fn only_nonces_of_16_to_32_octets_are_echoed() {
    for (length, echoed) in [(1, false), (15, false), (16, true), (32, true), (33, false), (128, false)] {
        let nonce: Vec<_> = (0..length).collect();
        let der = with_extensions(&[extension(NONCE, None, &tlv(4, &nonce))]);
        let request = Request::decode(&der).unwrap();
        assert_eq!(request.nonce_to_echo(), Ok(echoed.then_some(&nonce[..])), "{length} bytes");
    }
    assert_eq!(Request::decode(&plain()).unwrap().nonce_to_echo(), Ok(None));
}

#[test]
fn a_nonce_in_a_single_request_is_ignored() {
    // No length is asked of it, nor that it has an inner OCTET STRING.
    for (critical, value) in [(None, tlv(4, &[9; 16])), (Some(0xff), tlv(4, &[])), (None, vec![])] {
        let der = with_single_extensions(&[extension(NONCE, critical, &value)]);
        let request = Request::decode(&der).unwrap();
        assert_eq!((request.nonce(), request.nonce_to_echo()), (Ok(None), Ok(None)));
    }
}

#[test]
fn acceptable_responses_must_have_the_basic_one() {
    let accept = |oids: &[&[u8]]| {
        let list: Vec<_> = oids.iter().flat_map(|oid| tlv(6, oid)).collect();
        verdict(&with_extensions(&[extension(ACCEPTABLE_RESPONSES, None, &tlv(0x30, &list))]))
    };
    assert_eq!(accept(&[UNKNOWN, BASIC]), Ok(()));
    assert_eq!(accept(&[UNKNOWN]), MALFORMED);
    assert_eq!(accept(&[]), MALFORMED);
}

#[test]
fn every_truncation_and_trailing_octet_is_malformed() {
    let nonce = extension(NONCE, None, &tlv(4, &[9; 16]));
    for der in [
        plain(),
        with_extensions(&[nonce, extension(PREFERRED_SIGNATURE_ALGORITHMS, None, &preferred::everything())]),
        request_of(&[id(HashAlgorithm::Sha512, &[5]), id(HashAlgorithm::Sha1, &[6])], &[]),
    ] {
        assert_eq!(verdict(&der), Ok(()));
        for end in 0..der.len() {
            assert_eq!(verdict(&der[..end]), MALFORMED, "cut at {end}");
        }
        assert_eq!(verdict(&[&der[..], &[0]].concat()), MALFORMED);
    }
}

#[test]
fn lengths_that_are_not_minimal_or_not_definite_are_malformed() {
    let der = plain();
    let long_form = [&[0x30, 0x81, der[1]], &der[2..]].concat();
    assert_eq!(verdict(&long_form), MALFORMED);
    let indefinite = [&[0x30, 0x80], &der[2..], &[0, 0]].concat();
    assert_eq!(verdict(&indefinite), MALFORMED);
}

proptest! {
    #[test]
    fn no_octets_make_it_panic(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = verdict(&octets);
    }

    #[test]
    fn what_it_takes_the_oracle_takes_with_the_same_values(at in 0usize..200, value in any::<u8>(), second in any::<bool>()) {
        let mut ids = vec![id(HashAlgorithm::Sha256, &[5, 6, 7])];
        if second {
            ids.push(id(HashAlgorithm::Sha1, &[8]));
        }
        let mut der = request_of(&ids, &[]);
        let at = at % der.len();
        der[at] = value;
        if let Ok(request) = Request::decode(&der) {
            let oracle = x509_ocsp::OcspRequest::from_der(&der).unwrap();
            let theirs: Vec<_> = oracle.tbs_request.request_list.iter().map(|r| r.req_cert.clone()).collect();
            let ours: Vec<_> = request.cert_ids().collect();
            prop_assert_eq!(ours.len(), theirs.len());
            for (ours, theirs) in ours.iter().zip(&theirs) {
                prop_assert_eq!(ours.issuer_name_hash, theirs.issuer_name_hash.as_bytes());
                prop_assert_eq!(ours.issuer_key_hash, theirs.issuer_key_hash.as_bytes());
                let serial = theirs.serial_number.to_der().unwrap();
                prop_assert!(serial.ends_with(ours.serial));
            }
        }
    }
}
