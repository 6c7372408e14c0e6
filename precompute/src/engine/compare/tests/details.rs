//! What sources say of certificates beside their records is noted before anything that was found shows.

use super::*;
use crate::records::{CrlReference, RevocationDetails};

const SHA256: &str = "00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff";

fn hash() -> [u8; 32] {
    crate::pki::hex::array(SHA256).unwrap()
}

/// What is noted of one certificate after a whole pass over one file.
fn noted(form: Form, text: &str, number: u32) -> (Option<[u8; 32]>, Option<UnixTime>) {
    let follow = Follow::of(&[("list", form)]);
    fs::write(follow.dir.path().join("list"), text).unwrap();
    let comparison = follow.compare(true);
    assert!(comparison.faults.is_empty(), "{:?}", comparison.faults);
    let details = comparison.details.get(&serial(number)).copied().unwrap_or_default();
    assert_eq!(details.crl, None);
    (follow.details.hash(&serial(number)), details.invalid_since)
}

#[test]
fn lists_have_hashes_in_a_column_and_behind_a_serial_number() {
    let colons: String =
        SHA256.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap()).collect::<Vec<_>>().join(":");
    let issued = Form::Issued(Radix::Hexadecimal);
    for text in [
        format!("serial,certificate_sha256\n0A,{SHA256}\n"),
        format!("SHA256 Fingerprint;not_after;serial\n{colons};2099-01-01T00:00:00Z;0A\n"),
        format!("0A,{SHA256}\n"),
        format!("\u{feff}0A,2099-01-01T00:00:00Z,{SHA256}\r\n"),
    ] {
        assert_eq!(noted(issued, &text, 10), (Some(hash()), None), "{text}");
    }
    for text in ["serial,sha256\n0A,\n", "serial,sha256\n0A,00\n", "serial,sha256\n0A\n", "0A\n"] {
        assert_eq!(noted(issued, text, 10), (None, None), "{text}");
    }
}

#[test]
fn a_mirror_of_a_database_has_hashes() {
    let line = |name: &str| format!("V\t350101000000Z\t\t0A\t{name}\t/\n");
    let text = format!("{MIRROR_BEGINNING}{}{MIRROR_CHANGES}", line(&format!("sha256:{SHA256}")));
    assert_eq!(noted(Form::Mirrored, &text, 10), (Some(hash()), None));
    // A file name of that form is no hash in an index of others.
    assert_eq!(noted(Form::Database, &line(&format!("sha256:{SHA256}")), 10), (None, None));
}

#[test]
fn an_index_has_the_time_of_a_compromise() {
    let at = Some(UnixTime(1_577_836_800));
    for (revocation, expected) in [
        ("250101000000Z,keyTime,20200101000000Z", at),
        ("250101000000Z,CAkeyTime,20200101000000Z", at),
        ("250101000000Z,keyTime,never", None),
        ("250101000000Z,keyTime", None),
        ("250101000000Z,keyCompromise,20200101000000Z", None),
        ("250101000000Z", None),
    ] {
        let text = format!("R\t350101000000Z\t{revocation}\t0A\tunknown\t/\n");
        assert_eq!(noted(Form::Database, &text, 10), (None, expected), "{revocation}");
    }
}

#[test]
fn what_is_appended_is_noted_too() {
    let mut follow = Follow::new();
    follow.write(&good(1));
    follow.pass();
    follow.append("R\t350101000000Z\t250101000000Z,keyTime,20200101000000Z\t0A\tunknown\t/\n");
    let comparison = follow.pass();
    assert!(comparison.is_of_appended);
    let invalid_since = Some(UnixTime(1_577_836_800));
    assert_eq!(comparison.details, [(serial(10), RevocationDetails { crl: None, invalid_since })].into());
}

#[test]
fn nothing_is_noted_where_answers_carry_nothing() {
    let mut follow = Follow::of(&[("list", Form::Issued(Radix::Hexadecimal))]);
    follow.issuer.carries = Carries::NONE;
    fs::write(follow.dir.path().join("list"), format!("0A,{SHA256}\n")).unwrap();
    let comparison = follow.compare(true);
    assert_eq!((comparison.changes.len(), comparison.details.len(), follow.details.hashes()), (1, 0, 0));
}

/// A CRL as openssl writes it: its number, its time, and when a key was lost. A delta on top of it has its own.
#[test]
fn a_revocation_names_the_crl_that_has_it() {
    let ca = Ca::new("Referred", KEYS[1]);
    let index = |lines: &str| fs::write(ca.path("index.txt"), lines).unwrap();
    let revoked =
        |serial: &str, reason: &str| format!("R\t350101000000Z\t250101000000Z{reason}\t{serial}\tunknown\t/CN=a\n");
    index(&(revoked("0A", ",keyTime,20200101000000Z") + &revoked("0B", ",certificateHold")));
    fs::write(ca.path("crlnumber"), "1234\n").unwrap();
    let mut follow = Follow::of(&[]);
    follow.issuer.certificate = ca.certificate();
    let path = ca.write_crl("ca.crl", &[]);
    follow.issuer.sources.crls = vec![path.clone()];
    let comparison = follow.compare(true);
    assert!(comparison.faults.is_empty(), "{:?}", comparison.faults);
    let text = ca.openssl(&["crl", "-in", path.to_str().unwrap(), "-noout", "-text"]);
    assert!(text.contains("Invalidity Date"), "{text}");
    let of = |number: u32| comparison.details.get(&serial(number)).copied().unwrap_or_default();
    let crl = of(10).crl.unwrap();
    assert_eq!((crl.url, crl.number), (0, Some(0x1234)));
    assert!(crl.time.0 > 1_700_000_000);
    assert_eq!(of(10).invalid_since, Some(UnixTime(1_577_836_800)));
    assert_eq!(of(11), RevocationDetails { crl: Some(CrlReference { ..crl }), invalid_since: None });
    assert_eq!(of(12), RevocationDetails::default());
}
