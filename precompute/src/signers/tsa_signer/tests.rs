//! Certificates by the real `openssl`, with a PrivateKeyUsagePeriod as CAs of TSAs set it.

use std::fs;

use super::*;
use crate::{
    pki::certificates,
    source::openssl::{Ca, KEYS},
};

const TSA: &str = "keyUsage = critical, digitalSignature\nextendedKeyUsage = critical, timeStamping\n";
const DAY: u64 = 86_400;

/// A certificate of 20 days with these fields in the extension, or without it.
fn certified(ca: &Ca, fields: Option<&str>) -> Certificate {
    let extension = fields.map_or_else(String::new, |fields| format!("2.5.29.16 = {fields}\n"));
    fs::write(ca.path("extensions"), format!("{TSA}{extension}")).unwrap();
    let command = ["x509", "-req", "-in", "leaf.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
    ca.openssl(&[&command[..], &["-days", "20", "-extfile", "extensions", "-out", "tsa.pem"]].concat());
    certificates(&ca.path("tsa.pem")).unwrap().remove(0)
}

/// The fields as openssl writes them: notBefore is [0], notAfter is [1].
fn period(begin: Option<&str>, end: Option<&str>) -> String {
    let field = |number: u8, time: &str| format!("f{number} = IMPLICIT:{number},GENERALIZEDTIME:{time}\n");
    let fields = [begin.map(|time| field(0, time)), end.map(|time| field(1, time))];
    format!("ASN1:SEQUENCE:period\n[period]\n{}", fields.into_iter().flatten().collect::<String>())
}

fn text(time: UnixTime) -> String {
    String::from_utf8(time.generalized().to_vec()).unwrap()
}

#[test]
fn the_use_of_a_key_ends_with_whatever_ends_first() {
    let ca = Ca::new("Period", KEYS[1]);
    let now = UnixTime(UnixTime::now().0 + 60);
    let [soon, later] = [1, 5].map(|days| UnixTime(now.0 + days * DAY));
    let plain = certified(&ca, None);
    let limited = certified(&ca, Some(&period(None, Some(&text(soon)))));
    let delayed = certified(&ca, Some(&period(Some(&text(soon)), Some(&text(later)))));
    let begun = certified(&ca, Some(&period(Some(&text(soon)), None)));
    for (certificate, end, begins, ends, by) in [
        (&plain, None, plain.not_before(), plain.not_after(), EndOfUse::Certificate),
        (&plain, Some(later), plain.not_before(), later, EndOfUse::Configuration),
        (&plain, Some(UnixTime::MAX), plain.not_before(), plain.not_after(), EndOfUse::Certificate),
        (&limited, None, limited.not_before(), soon, EndOfUse::Period),
        (&limited, Some(later), limited.not_before(), soon, EndOfUse::Period),
        (&limited, Some(now), limited.not_before(), now, EndOfUse::Configuration),
        (&delayed, None, soon, later, EndOfUse::Period),
        (&begun, None, soon, begun.not_after(), EndOfUse::Certificate),
    ] {
        let of = UseOfKey::of(certificate, end).unwrap();
        assert_eq!(of, UseOfKey { begins, ends, by });
        let holds = |time: u64| of.holds(UnixTime(time));
        assert!(!holds(begins.0 - 1) && holds(begins.0) && holds(ends.0 - 1) && !holds(ends.0), "{of:?}");
        assert_eq!(of.is_over(ends), by != EndOfUse::Certificate);
    }

    let check =
        |certificate, at, left, end| TsaSigner::check((certificate, &[]), at, left, end).map_err(|e| e.to_string());
    let hour = Duration::from_secs(3600);
    let doubts = check(&limited, now, hour, None).unwrap().join("; ");
    assert!(doubts.contains(&format!("whose use ends soon, at {soon}, by the PrivateKeyUsagePeriod")), "{doubts}");
    let error = check(&limited, now, 25 * hour, None).unwrap_err();
    assert!(error.contains(&format!("whose use ends at {soon} by the PrivateKeyUsagePeriod")), "{error}");
    assert!(error.contains("less than the 25h that `validity_left` asks for"), "{error}");
    let error = check(&limited, soon, hour, None).unwrap_err();
    assert!(error.contains("may make tokens from") && error.contains("by the PrivateKeyUsagePeriod"), "{error}");
    let error = check(&plain, now, hour, Some(now)).unwrap_err();
    assert!(error.contains("by `key_usage_end`, not now"), "{error}");
    check(&delayed, now, hour, None).expect_err("not yet");
    check(&delayed, soon, hour, None).unwrap();
}

#[test]
fn a_malformed_period_is_refused_by_what_is_wrong_with_it() {
    let ca = Ca::new("Malformed", KEYS[1]);
    let now = UnixTime(UnixTime::now().0 + 60);
    for (fields, told) in [
        ("DER:3000".to_owned(), "says neither when the use of the key begins nor when it ends"),
        ("DER:0500".to_owned(), "is unreadable"),
        ("DER:30023000".to_owned(), "is unreadable"),
        ("DER:3011".to_owned() + "810f" + "3230323730313031", "is unreadable"),
        // A UTCTime, one without seconds, and one with a fraction.
        (
            period(None, Some("20270101000000Z")).replace("GENERALIZEDTIME:20", "UTCTIME:"),
            "has a time that is no GeneralizedTime",
        ),
        ("DER:300f810d3230323730313031303030305a".to_owned(), "has a time that is no GeneralizedTime"),
        ("DER:30138111323032373031303130303030".to_owned() + "30302e355a", "has a time that is no GeneralizedTime"),
        (period(Some("20270101000000Z"), Some("20260101000000Z")), "before it begins at 2027-01-01T00:00:00Z"),
    ] {
        let certificate = certified(&ca, Some(&fields));
        let error = TsaSigner::check((&certificate, &[]), now, Duration::ZERO, None).unwrap_err().to_string();
        assert!(error.contains(told) && error.contains("PrivateKeyUsagePeriod"), "{fields}: {error}");
        assert!(error.contains("have the CA issue it with times of the form YYYYMMDDHHMMSSZ"), "{error}");
    }
}
