//! What `openssl ocsp` is told.

use std::time::{Duration, SystemTime};

use ostia_tests::{
    Ask, Ca, Delegate, KeyKind, Leaf, Site, Status, Tenant,
    http::{get, ocsp_target},
    openssl,
};

use crate::{printed_time, serving};

#[test]
fn openssl_says_good_for_every_hash_of_the_cert_id() {
    let (ca, leaf, responder) = serving(Ca::issue);
    for hash in ["sha1", "sha256", "sha384", "sha512"] {
        let answer = Ask::about(&ca, &leaf).hash(hash).at(responder.http(), "/").expect(Status::Good);
        assert!(answer.this_update.is_some() && answer.next_update.is_some(), "{hash}: {}", answer.text);
        assert_eq!((answer.reason, answer.revocation_time), (None, None));
    }
}

#[test]
fn openssl_says_revoked_with_each_reason_and_its_time() {
    // Arguments of `openssl ca -revoke` → the reason that clients are told.
    let reasons: [(&[&str], Option<&str>); 11] = [
        (&[], None),
        // RFC 5280 section 5.3.1: rather absent than unspecified.
        (&["-crl_reason", "unspecified"], None),
        (&["-crl_reason", "keyCompromise"], Some("keyCompromise (0x1)")),
        (&["-crl_reason", "CACompromise"], Some("cACompromise (0x2)")),
        (&["-crl_reason", "affiliationChanged"], Some("affiliationChanged (0x3)")),
        (&["-crl_reason", "superseded"], Some("superseded (0x4)")),
        (&["-crl_reason", "cessationOfOperation"], Some("cessationOfOperation (0x5)")),
        (&["-crl_reason", "certificateHold"], Some("certificateHold (0x6)")),
        (&["-crl_hold", "holdInstructionReject"], Some("certificateHold (0x6)")),
        (&["-crl_compromise", "20250615120000Z"], Some("keyCompromise (0x1)")),
        (&["-crl_CA_compromise", "20250615120000Z"], Some("cACompromise (0x2)")),
    ];
    let (ca, leaves, responder) = serving(|ca| {
        let revoke = |(arguments, reason): (&[&str], _)| {
            let leaf = ca.issue();
            ca.revoke(&leaf, arguments);
            (leaf, reason)
        };
        reasons.map(revoke)
    });
    for (leaf, reason) in leaves {
        let answer = Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Revoked);
        let number = reason.and_then(|reason| reason.split_once(' ')).map(|(name, _)| name);
        let said = answer.reason.as_deref().map(|said| said.split(' ').next().unwrap_or_default());
        assert_eq!(said.map(str::to_lowercase), number.map(str::to_lowercase), "{}", answer.text);
        let time = printed_time(&ca.index_fields(&leaf)[2]);
        assert_eq!(answer.revocation_time, Some(time), "{}", answer.text);
    }
}

#[test]
fn a_serial_that_is_not_listed_is_unauthorized_and_costs_no_signature() {
    let (ca, _, responder) = serving(Ca::issue);
    for serial in ["DEADBEEF", "00", "0100000000000000000000000000000000000000", &"7F".repeat(20)] {
        let answer = Ask::serial(&ca, serial).at(responder.http(), "/").expect(Status::error("unauthorized"));
        assert!(answer.text.contains("Responder Error: unauthorized (6)"), "{}", answer.text);
    }
}

#[test]
fn an_issuer_that_is_not_ours_is_unauthorized() {
    let (ca, leaf, responder) = serving(Ca::issue);
    let other = Ca::new("Somebody else's CA");
    let foreign = other.issue();
    assert_eq!(foreign.serial, Ca::new("A third").issue().serial, "serials of new CAs begin alike");
    for serial in [&foreign.serial, &leaf.serial] {
        Ask::serial(&other, serial).at(responder.http(), "/").expect(Status::error("unauthorized"));
    }
    // The same name with another key is another issuer.
    let namesake = Ca::new("Main job CA");
    Ask::serial(&namesake, &leaf.serial).at(responder.http(), "/").expect(Status::error("unauthorized"));
    Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
}

#[test]
fn what_is_said_of_unlisted_serials_is_the_tenants_policy() {
    let ca = Ca::new("CA");
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let listed = ca.issue();
    let tenant = |name: &str, policy: &str| {
        let sources = format!("index = {:?}", ca.index());
        let tenant = Tenant::new(name).set(&format!("path = \"/{name}\"")).set(policy);
        tenant.issuer("ca", &ca, &sources, &signer.lines())
    };
    let responder = Site::new(&[
        tenant("unauthorized", "unlisted = \"unauthorized\""),
        tenant("unknown", "unlisted = \"unknown\""),
        tenant("good", "unlisted = \"good\"\naccept_unlisted_as_good = true"),
        tenant("revoked", "unlisted = \"revoked\""),
    ])
    .start();
    // What a serial that may be issued the next moment is told must not outlive that moment.
    let request = Ask::serial(&ca, "ABCDEF").request();
    for (path, kept) in [("/unknown/", false), ("/revoked/", false), ("/good/", true)] {
        let reply = get(responder.http(), &ocsp_target(path, &request));
        assert_eq!(reply.expect("cache-control") != "no-store", kept, "{path}");
    }
    Ask::serial(&ca, "ABCDEF").at(responder.http(), "/revoked").expect(Status::Revoked);
    for (path, status) in
        [("/unauthorized", Status::error("unauthorized")), ("/unknown", Status::Unknown), ("/good", Status::Good)]
    {
        Ask::serial(&ca, "ABCDEF").at(responder.http(), path).expect(status);
        Ask::about(&ca, &listed).at(responder.http(), path).expect(Status::Good);
    }
    let log = responder.log();
    assert!(log.contains("WARN") && log.contains("BR 4.9.10"), "unlisted as good is warned of: {log}");
}

#[test]
fn an_expired_certificate_is_answered_for_as_long_as_the_tenant_retains_it() {
    let ca = Ca::new("CA");
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let (expired, valid) = (ca.issue_expired(), ca.issue());
    assert_eq!(ca.index_fields(&expired)[0], "E");
    for (policy, wanted) in [("", Status::error("unauthorized")), ("retain_expired = \"36500d\"", Status::Good)] {
        let responder = Site::new(&[Tenant::of(&ca, &signer).set(policy)]).start();
        Ask::about(&ca, &expired).at(responder.http(), "/").expect(wanted);
        Ask::about(&ca, &valid).at(responder.http(), "/").expect(Status::Good);
    }
}

#[test]
fn a_nonce_is_ignored_by_default() {
    let (ca, leaf, responder) = serving(Ca::issue);
    let answer = Ask::about(&ca, &leaf).nonce().at(responder.http(), "/").expect(Status::Good);
    assert!(answer.text.contains("no nonce in response"), "{}", answer.text);
}

#[test]
fn the_validity_is_the_tenants_policy() {
    let ca = Ca::new("CA");
    let (signer, leaf) = (ca.delegate(Delegate::Proper, KeyKind::P256), ca.issue());
    for (policy, hours) in [("", 4 * 24), ("validity = \"12h\"", 12)] {
        let responder = Site::new(&[Tenant::of(&ca, &signer).set(policy)]).start();
        let answer = Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
        let time = |printed: &Option<String>| parsed(printed.as_ref().unwrap());
        let lasts = time(&answer.next_update).duration_since(time(&answer.this_update)).unwrap();
        let wanted = Duration::from_secs(hours * 3600);
        // nextUpdate minus thisUpdate may be a second short (BR 7.3 counts both ends) and no more.
        assert!(lasts <= wanted && lasts + Duration::from_secs(1) >= wanted, "{policy}: {lasts:?}");
        let age = SystemTime::now().duration_since(time(&answer.this_update)).unwrap();
        assert!(age < Duration::from_secs(3600), "thisUpdate is {age:?} ago");
    }
}

#[test]
fn no_answer_is_valid_beyond_the_end_of_the_ca() {
    let ca = Ca::new("CA");
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let leaf = ca.issue();
    // The CA ends long before its delegate, and before an answer usually does.
    let renew = ["req", "-config", "openssl.cnf", "-new", "-x509", "-key", "ca.key", "-subj", "/O=Ostia tests/CN=CA"];
    openssl(ca.dir(), [&renew[..], &["-extensions", "ca_cert", "-days", "2", "-out", "ca.pem"]].concat());
    let end = openssl(ca.dir(), ["x509", "-in", "ca.pem", "-noout", "-enddate"]);
    for lines in [signer.lines(), format!("key = {:?}", ca.key())] {
        let sources = format!("index = {:?}", ca.index());
        let responder = Site::new(&[Tenant::new("tests").issuer("ca", &ca, &sources, &lines)]).start();
        let ask = Ask::about(&ca, &leaf);
        let answer = ask.at(responder.http(), "/").expect(Status::Good);
        let end = parsed(end.trim().trim_start_matches("notAfter="));
        let left = end.duration_since(parsed(answer.next_update.as_ref().unwrap())).expect("not beyond it");
        assert!(left <= Duration::from_secs(1), "{left:?} before the end of the CA: {}", answer.text);
        let reply = get(responder.http(), &ocsp_target("/", &ask.request()));
        assert!(reply.date("expires") <= end, "{reply:?}");
    }
}

/// A time as openssl prints it, as a time.
fn parsed(printed: &str) -> SystemTime {
    let parts: Vec<&str> = printed.split_whitespace().collect();
    let [month, day, clock, year, "GMT"] = parts[..] else { panic!("{printed}") };
    // Openssl leaves out the day of the week and the parser insists on the right one.
    let mut weekdays = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"].iter();
    let parse = |weekday| httpdate::parse_http_date(&format!("{weekday}, {day:0>2} {month} {year} {clock} GMT")).ok();
    weekdays.find_map(parse).unwrap()
}

#[test]
fn every_signer_algorithm_verifies_under_a_ca_of_that_algorithm() {
    let cas = KeyKind::ALL.map(|kind| {
        let ca = Ca::with_key(&format!("{kind:?} CA"), kind);
        let (leaf, signer) = (ca.issue(), ca.delegate(Delegate::Proper, kind));
        (kind, ca, leaf, signer)
    });
    let tenant = |(kind, ca, _, signer): &(KeyKind, Ca, Leaf, ostia_tests::Signer)| {
        let sources = format!("index = {:?}", ca.index());
        let tenant = Tenant::new(&format!("{kind:?}")).set(&format!("path = \"/{kind:?}\""));
        tenant.issuer("ca", ca, &sources, &signer.lines())
    };
    let responder = Site::new(&cas.each_ref().map(tenant)).start();
    for (kind, ca, leaf, _) in &cas {
        for hash in ["sha1", "sha256"] {
            Ask::about(ca, leaf).hash(hash).at(responder.http(), &format!("/{kind:?}")).expect(Status::Good);
        }
    }
}

#[test]
fn the_ca_key_itself_signs_for_every_algorithm_and_without_certificates() {
    let cas = KeyKind::ALL.map(|kind| {
        let ca = Ca::with_key(&format!("{kind:?} CA"), kind);
        let leaf = ca.issue();
        (kind, ca, leaf)
    });
    let tenant = |(kind, ca, _): &(KeyKind, Ca, Leaf)| {
        let sources = format!("index = {:?}", ca.index());
        let tenant = Tenant::new(&format!("{kind:?}")).set(&format!("path = \"/{kind:?}\""));
        tenant.issuer("ca", ca, &sources, &format!("key = {:?}", ca.key()))
    };
    let responder = Site::new(&cas.each_ref().map(tenant)).start();
    for (kind, ca, leaf) in &cas {
        let ask = Ask::about(ca, leaf);
        ask.at(responder.http(), &format!("/{kind:?}")).expect(Status::Good);
        let reply = ostia_tests::http::post(responder.http(), &format!("/{kind:?}"), &ask.request());
        let text = response_text(&reply.body);
        assert!(!text.contains("BEGIN CERTIFICATE"), "{kind:?}: {text}");
    }
}

#[test]
fn a_delegate_without_nocheck_signs_and_is_warned_of() {
    let ca = Ca::new("CA");
    let leaf = ca.issue();
    let responder = Site::new(&[Tenant::of(&ca, &ca.delegate(Delegate::NoNocheck, KeyKind::P256))]).start();
    Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
    let log = responder.log();
    assert!(log.contains("WARN") && log.contains("nocheck"), "{log}");
}

#[test]
fn the_responder_is_named_by_key_or_by_name() {
    let ca = Ca::new("CA");
    let (signer, leaf) = (ca.delegate(Delegate::Proper, KeyKind::P256), ca.issue());
    for (policy, wanted) in [("", "Responder Id: "), ("responder_id = \"by-name\"", "CN = ocsp-1")] {
        let responder = Site::new(&[Tenant::of(&ca, &signer).set(policy)]).start();
        let ask = Ask::about(&ca, &leaf);
        ask.at(responder.http(), "/").expect(Status::Good);
        let reply = ostia_tests::http::post(responder.http(), "/", &ask.request());
        let text = response_text(&reply.body);
        let line = text.lines().find(|line| line.contains("Responder Id:")).unwrap();
        assert!(line.contains(wanted), "{policy}: {line}");
        assert_eq!(line.contains("CN"), !policy.is_empty(), "{line}");
        assert!(text.contains("BEGIN CERTIFICATE"), "the delegate's certificate goes along: {text}");
    }
}

/// All that openssl can tell of a response.
fn response_text(response: &[u8]) -> String {
    let scratch = tempfile::tempdir().unwrap();
    std::fs::write(scratch.path().join("response"), response).unwrap();
    openssl(scratch.path(), ["ocsp", "-respin", "response", "-resp_text", "-noverify"])
}
