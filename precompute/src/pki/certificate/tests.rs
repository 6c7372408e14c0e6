use super::*;
use crate::source::draft::{ED25519, TODAY, certificate, element, name, sequence, signed};

/// A certificate with these dates, elements and all.
fn with_validity(not_before: &[u8], not_after: &[u8]) -> Vec<u8> {
    let plain = certificate("CA", 7, &[]);
    let fields = [
        &element(0xa0, [2, 1, 2]),
        &[2, 1, 1][..],
        ED25519,
        &name("CA"),
        &sequence(&[not_before, not_after]),
        &name("CA"),
        plain.spki_der(),
    ];
    signed(&sequence(&fields), ED25519, 7)
}

#[test]
fn dates_before_1970_are_taken_as_1970() {
    // 2055 written as UTCTime, which is 1955: the certificate was refused as no certificate.
    let der = with_validity(TODAY, b"\x17\x0d550101000000Z");
    let read = Certificate::from_der(&der).unwrap();
    assert_eq!((read.not_after(), read.is_validity_clamped()), (UnixTime(0), true));
    assert_eq!(read.der(), der, "as it stands");
    assert!(read.verify_issued_by(&read).is_ok(), "what is signed is what stands there");
    let read = Certificate::from_der(&with_validity(b"\x18\x0f19500101000000Z", b"\x18\x0f99991231235959Z")).unwrap();
    assert_eq!((read.not_before(), read.not_after(), read.is_validity_clamped()), (UnixTime(0), UnixTime::MAX, true));
    assert!(!certificate("CA", 7, &[]).is_validity_clamped());
}

#[test]
fn what_is_wrong_is_told_by_its_field() {
    let told = |der: &[u8]| Certificate::from_der(der).unwrap_err().to_string();
    let error = told(&with_validity(TODAY, b"\x17\x0d551301000000Z"));
    assert!(error.ends_with(" in tbsCertificate.validity") && !error.contains("byte"), "{error}");
    let der = with_validity(TODAY, TODAY);
    let error = told(&der[..der.len() - 1]);
    assert!(error.contains("Certificate: ends too early"), "{error}");
    let mut der = der;
    let at = der.windows(3).position(|window| window == [0x55, 4, 3]).unwrap();
    der[at - 2] = 0x1f;
    let error = told(&der);
    assert!(error.contains("tbsCertificate.issuer") || error.contains("several bytes"), "{error}");
}
