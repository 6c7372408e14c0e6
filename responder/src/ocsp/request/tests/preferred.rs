use der::asn1::ObjectIdentifier;
use precompute::sign::Algorithm;
use x509_ocsp::ext::{PreferredSignatureAlgorithm, PreferredSignatureAlgorithms};

use super::*;

const EC_PUBLIC_KEY: &str = "1.2.840.10045.2.1";
const P256: &str = "1.2.840.10045.3.1.7";
const P384: &str = "1.3.132.0.34";
const RSA: &str = "1.2.840.113549.1.1.1";

fn oid(dotted: &str) -> Vec<u8> {
    tlv(6, ObjectIdentifier::new_unwrap(dotted).as_bytes())
}

/// AlgorithmIdentifier whose parameters are an OBJECT IDENTIFIER or missing.
fn identifier(algorithm: &str, parameter: Option<&str>) -> Vec<u8> {
    sequence(&[&oid(algorithm), &parameter.map(oid).unwrap_or_default()])
}

/// The extension's value: every algorithm that we know, by its own identifier, and one that we do not know.
pub(super) fn everything() -> Vec<u8> {
    let mut list: Vec<_> = Algorithm::ALL.iter().map(|algorithm| sequence(&[algorithm.identifier()])).collect();
    list.insert(1, sequence(&[&identifier("1.2.840.10045.4.1", None), &identifier(EC_PUBLIC_KEY, Some(P256))]));
    tlv(0x30, &list.concat())
}

fn preferred(value: &[u8]) -> Result<Vec<Algorithm>> {
    let der = with_extensions(&[extension(PREFERRED_SIGNATURE_ALGORITHMS, None, value)]);
    Ok(Request::decode(&der)?.preferred.iter().collect())
}

#[test]
fn known_algorithms_come_in_the_clients_order() {
    assert_eq!(preferred(&everything()).unwrap(), Algorithm::ALL);
    let mut reversed = Algorithm::ALL;
    reversed.reverse();
    let list: Vec<_> = reversed.iter().flat_map(|algorithm| sequence(&[algorithm.identifier()])).collect();
    assert_eq!(preferred(&tlv(0x30, &list)).unwrap(), reversed);
    assert_eq!(PreferredSignatureAlgorithms::from_der(&everything()).unwrap().0.len(), Algorithm::ALL.len() + 1);
}

#[test]
fn who_prefers_nothing_has_no_preferences() {
    assert_eq!(Request::decode(&plain()).unwrap().preferred.iter().count(), 0);
    assert_eq!(preferred(&sequence(&[])).unwrap(), []);
}

#[test]
fn it_may_be_critical() {
    let der = with_extensions(&[extension(PREFERRED_SIGNATURE_ALGORITHMS, Some(0xff), &everything())]);
    assert_eq!(verdict(&der), Ok(()));
}

#[test]
fn a_cert_identifier_narrows_what_is_meant() {
    const ECDSA_SHA256: &str = "1.2.840.10045.4.3.2";
    const SHA256_RSA: &str = "1.2.840.113549.1.1.11";
    const RSA_PSS: &str = "1.2.840.113549.1.1.10";
    let ecdsa = Some(Algorithm::EcdsaP256Sha256);
    for (signature, key, expected) in [
        (ECDSA_SHA256, identifier(EC_PUBLIC_KEY, Some(P256)), ecdsa),
        (ECDSA_SHA256, identifier(EC_PUBLIC_KEY, None), ecdsa),
        (ECDSA_SHA256, identifier(EC_PUBLIC_KEY, Some(P384)), None),
        (ECDSA_SHA256, identifier(RSA, None), None),
        (SHA256_RSA, identifier(RSA, None), Some(Algorithm::RsaPkcs1Sha256)),
        (SHA256_RSA, sequence(&[&oid(RSA), &[5, 0]]), Some(Algorithm::RsaPkcs1Sha256)),
        (RSA_PSS, identifier(RSA, None), Some(Algorithm::RsaPssSha256)),
        (RSA_PSS, identifier(RSA_PSS, None), Some(Algorithm::RsaPssSha256)),
        ("1.3.101.112", identifier("1.3.101.112", None), Some(Algorithm::Ed25519)),
    ] {
        let value = sequence(&[&sequence(&[&identifier(signature, None), &key])]);
        assert_eq!(preferred(&value), Ok(expected.into_iter().collect()), "{signature} {key:02x?}");
    }
}

#[test]
fn what_is_no_list_of_algorithms_prefers_nothing_and_is_malformed_where_it_is_critical() {
    let critical =
        |value: &[u8]| verdict(&with_extensions(&[extension(PREFERRED_SIGNATURE_ALGORITHMS, Some(0xff), value)]));
    let right = identifier("1.2.840.10045.4.3.2", None);
    let value = sequence(&[&sequence(&[&right])]);
    assert_eq!(preferred(&value), Ok(vec![Algorithm::EcdsaP256Sha256]));
    for (what, value) in [
        ("nothing", vec![]),
        ("no SEQUENCE", tlv(0x31, &value[2..])),
        ("an AlgorithmIdentifier for an element", sequence(&[&right])),
        ("an empty element", sequence(&[&sequence(&[])])),
        ("an element without OBJECT IDENTIFIER", sequence(&[&sequence(&[&sequence(&[])])])),
        ("two parameters", sequence(&[&sequence(&[&sequence(&[&oid(P256), &[5, 0], &[5, 0]])])])),
        ("a certIdentifier that is none", sequence(&[&sequence(&[&right, &[5, 0]])])),
        ("three identifiers", sequence(&[&sequence(&[&right, &right, &right])])),
        ("something behind it", [&value[..], &[5, 0]].concat()),
        ("a second element that is none", sequence(&[&value[2..], &[5, 0]])),
    ] {
        assert_eq!((preferred(&value), critical(&value)), (Ok(vec![]), MALFORMED), "{what}");
    }
    for end in 0..value.len() {
        assert_eq!((preferred(&value[..end]), critical(&value[..end])), (Ok(vec![]), MALFORMED), "cut at {end}");
    }
}

proptest! {
    #[test]
    fn what_it_takes_of_preferences_the_oracle_takes(at in 0usize..500, octet in any::<u8>()) {
        let mut value = everything();
        let at = at % value.len();
        value[at] = octet;
        let oracle = PreferredSignatureAlgorithms::from_der(&value);
        let algorithms = preferred(&value).unwrap();
        // The oracle alone looks into object identifiers and parameters.
        let Ok(oracle) = oracle else { return Ok(()) };
        let expected: Vec<_> = oracle.0.iter().filter_map(meant).collect();
        prop_assert_eq!(algorithms, expected);
    }
}

fn meant(preferred: &PreferredSignatureAlgorithm) -> Option<Algorithm> {
    let signature = &preferred.sig_identifier;
    let parameters = signature.parameters.as_ref().map(|any| any.to_der().unwrap());
    let algorithm = Algorithm::identified(signature.oid.as_bytes(), parameters.as_deref())?;
    let Some(key) = &preferred.cert_identifier else { return Some(algorithm) };
    let parameters = key.parameters.as_ref().map(|any| any.to_der().unwrap());
    algorithm.is_of_key(key.oid.as_bytes(), parameters.as_deref()).then_some(algorithm)
}
