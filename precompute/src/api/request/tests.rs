use proptest::prelude::*;

use super::*;
use crate::{
    pki::Serial,
    source::openssl::{Ca, KEYS},
};

fn serial() -> Serial {
    Serial::from_hex("0A1B").unwrap()
}

#[test]
fn every_verb_is_read_with_its_members() {
    let time = UnixTime(1_795_941_000);
    for (verb, json, order) in [
        (Verb::Add, r#"{"serial":"0a1b"}"#, Order::Add { not_after: None }),
        (Verb::Add, r#"{"serial":"0A:1B","not_after":1795941000}"#, Order::Add { not_after: Some(time) }),
        (
            Verb::Revoke,
            r#"{"serial":"0x0A1B"}"#,
            Order::Revoke { time: None, reason: Reason::Unspecified, even_unlisted: false },
        ),
        (
            Verb::Revoke,
            r#"{"serial":"0A1B","reason":"KEYCOMPROMISE","time":"2026-11-29T08:30:00Z","even_unlisted":true}"#,
            Order::Revoke { time: Some(time), reason: Reason::KeyCompromise, even_unlisted: true },
        ),
        (
            Verb::Revoke,
            r#"{"serial":"0A1B","reason":4}"#,
            Order::Revoke { time: None, reason: Reason::Superseded, even_unlisted: false },
        ),
        (Verb::Release, r#"{"serial":"0A1B","certificate":null}"#, Order::Release),
    ] {
        assert_eq!(read(verb, json.as_bytes(), None), Ok(Push::new(serial(), order)), "{json}");
        let line = json.replacen('{', &format!("{{\"do\":\"{}\",", verb.name()), 1);
        assert_eq!(read_line(line.as_bytes(), None).map(|(_, push)| push), Ok(Push::new(serial(), order)), "{line}");
    }
}

#[test]
fn what_is_not_as_expected_is_refused_by_its_name() {
    for (verb, json, words) in [
        (Verb::Revoke, r#"{}"#, "`serial` is missing, and so is `certificate`"),
        (Verb::Revoke, r#"{"serial":"0A","certificate":"x"}"#, "`serial` stands beside `certificate`"),
        (Verb::Revoke, r#"{"serial":10}"#, "`serial` is a number; expected a string in hexadecimal"),
        (Verb::Revoke, r#"{"serial":"xyz"}"#, "`serial` is `xyz`, which is no serial number"),
        (Verb::Revoke, r#"{"serial":"0A","reason":"lost"}"#, "`reason` is `lost`; expected one of unspecified"),
        (Verb::Revoke, r#"{"serial":"0A","reason":7}"#, "`reason` is `7`; expected one of unspecified"),
        (Verb::Revoke, r#"{"serial":"0A","reason":1.0}"#, "`reason` is `1.0`; expected one of unspecified"),
        (Verb::Revoke, r#"{"serial":"0A","reason":true}"#, "`reason` is true or false; expected a name"),
        (Verb::Revoke, r#"{"serial":"0A","time":"soon"}"#, "`time` is `soon`, which is no time"),
        (Verb::Revoke, r#"{"serial":"0A","time":-1}"#, "`time` is -1; expected RFC 3339"),
        (Verb::Revoke, r#"{"serial":"0A","time":1.5}"#, "`time` is 1.5; expected RFC 3339"),
        (Verb::Revoke, r#"{"serial":"0A","time":true}"#, "`time` is true or false; expected RFC 3339"),
        (
            Verb::Revoke,
            r#"{"serial":"0A","even_unlisted":"yes"}"#,
            "`even_unlisted` is a string; expected true or false",
        ),
        (Verb::Revoke, r#"{"serial":"0A","not_after":1}"#, "`not_after` is no member of revoke"),
        (Verb::Add, r#"{"serial":"0A","reason":"superseded"}"#, "`reason` is no member of add"),
        (Verb::Release, r#"{"serial":"0A","raeson":"x"}"#, "`raeson` is no member of release"),
        (Verb::Add, r#"{"certificate":"@"}"#, "`certificate` is neither PEM nor base64"),
        (Verb::Add, r#"{"certificate":"AAAA"}"#, "`certificate` is not an X.509 certificate"),
        (
            Verb::Add,
            r#"{"certificate":"-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----"}"#,
            "`certificate` has a private key in it, which is not shown",
        ),
    ] {
        let problem = read(verb, json.as_bytes(), None).unwrap_err();
        assert_eq!(problem.kind, Kind::BadRequest);
        assert!(problem.detail.starts_with(words), "{json}: {}", problem.detail);
        assert!(!problem.detail.contains("MIGH"));
    }
    for (json, words) in [
        (r#"{"serial":"0A"}"#, "`do` is missing; expected \"add\""),
        (r#"{"do":"kill","serial":"0A"}"#, "`do` is `kill`; expected \"add\""),
        (r#"{"do":1,"serial":"0A"}"#, "`do` is a number; expected \"add\""),
        ("0A1B", "the line is no JSON"),
    ] {
        let problem = read_line(json.as_bytes(), None).unwrap_err();
        assert!(problem.detail.starts_with(words), "{json}: {}", problem.detail);
    }
}

#[test]
fn a_certificate_counts_for_the_issuer_that_signed_it_and_for_no_other() {
    let (ca, other) = (Ca::new("Api", KEYS[1]), Ca::new("Api", KEYS[1]));
    let issue = ["-x509", "-newkey", "ed25519", "-nodes", "-keyout", "leaf.key", "-subj", "/CN=leaf", "-days", "9"];
    let by = ["-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial", "0x0A1B", "-out", "leaf.pem"];
    ca.openssl(&[&["req"], &issue[..], &by[..]].concat());
    let pem = std::fs::read_to_string(ca.path("leaf.pem")).unwrap();
    let der = crate::pki::certificates(&ca.path("leaf.pem")).unwrap().remove(0);
    let json = |verb: Verb, text: &str, more: &str| {
        let text = serde_json::to_string(text).unwrap();
        read(verb, format!("{{\"certificate\":{text}{more}}}").as_bytes(), Some(&ca.certificate()))
    };
    let of = |order| Push { certificate_sha256: Some(der.sha256()), ..Push::new(serial(), order) };
    let added = of(Order::Add { not_after: Some(der.not_after()) });
    for text in [pem.clone(), STANDARD.encode(der.der()), format!("Certificate:\n    text\n{pem}")] {
        assert_eq!(json(Verb::Add, &text, ""), Ok(added), "{text}");
        assert_eq!(json(Verb::Release, &text, ""), Ok(of(Order::Release)));
    }
    let contrary = json(Verb::Add, &pem, ",\"not_after\":0").unwrap_err();
    assert!(contrary.detail.contains("and the certificate ends at"), "{}", contrary.detail);
    let two = json(Verb::Add, &(pem.clone() + &pem), "").unwrap_err();
    assert!(two.detail.contains("`certificate` has 2 certificates"), "{}", two.detail);
    let own = std::fs::read_to_string(ca.path("ca.pem")).unwrap();
    let mistaken = json(Verb::Revoke, &own, "").unwrap_err();
    assert!(mistaken.detail.contains("`certificate` is the CA's own"), "{}", mistaken.detail);
    // The same name with another key.
    for issuer in [Some(other.certificate()), None] {
        let text = serde_json::to_string(&pem).unwrap();
        let problem =
            read(Verb::Revoke, format!("{{\"certificate\":{text}}}").as_bytes(), issuer.as_ref()).unwrap_err();
        assert_eq!(problem.kind, Kind::WrongIssuer);
        assert!(problem.detail.contains("the certificate 0A1B of `CN=Api`"), "{}", problem.detail);
    }
}

proptest! {
    #[test]
    fn no_line_makes_the_reader_panic_or_changes_what_is_read(
        text in "\\PC{0,100}",
        member in "[a-z_]{1,12}",
        value in "(true|null|-?[0-9]{1,25}|\"[0-9A-Fa-fx:]{0,50}\")",
    ) {
        let _ = read_line(text.as_bytes(), None);
        let line = format!("{{\"do\":\"revoke\",\"{member}\":{value}}}");
        if let Ok(push) = read_line(line.as_bytes(), None) {
            prop_assert!(member == "serial", "{line} gives {push:?}");
        }
    }
}
