//! Who signs: one of several signers while a certificate is renewed, one that clients are told to trust, with which
//! algorithm, and which certificates go along.

use std::{fs, path::Path, process::Command, time::Duration};

use ostia_tests::{
    Ask, Ca, Delegate, KeyKind, Leaf, Responder, Signer, Site, SoftHsm, Status, Tenant, http::post, openssl, run, until,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A site of one issuer with these signers, each given by its lines.
fn site(ca: &Ca, settings: &str, signers: &[String]) -> Site {
    several(Site::new(&[issuer(Tenant::new("tests").set(settings), ca, signers)]))
}

fn issuer(tenant: Tenant, ca: &Ca, signers: &[String]) -> Tenant {
    let sources = format!("index = {:?}", ca.index());
    tenant.issuer(
        ca.dir().file_name().unwrap().to_str().unwrap(),
        ca,
        &sources,
        &signers.join("\n[[tenant.issuer.signer]]\n"),
    )
}

/// Writes the signers as a list.
fn several(site: Site) -> Site {
    site.edit_config(|text| text.replace("\n[tenant.issuer.signer]\n", "\n[[tenant.issuer.signer]]\n"));
    site
}

/// All that openssl can tell of the response.
fn response_text(responder: &Responder, ask: &Ask) -> String {
    let reply = post(responder.http(), "/", &ask.request());
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join("response"), reply.body).unwrap();
    openssl(scratch.path(), ["ocsp", "-respin", "response", "-resp_text", "-noverify"])
}

/// `openssl ocsp` with further arguments; what it says.
fn asked(responder: &Responder, certificates: &[(&Ca, &Leaf)], arguments: &[(&str, &Path)]) -> String {
    let mut command = Command::new("openssl");
    command.args(["ocsp", "-no_nonce", "-url", &format!("http://{}/", responder.http())]);
    for (ca, leaf) in certificates {
        command.arg("-issuer").arg(ca.certificate()).args(["-serial", &format!("0x{}", leaf.serial)]);
    }
    for (option, file) in arguments {
        command.arg(option).arg(file);
    }
    run(&mut command).text
}

#[test]
fn openssl_verifies_rsa_pss() {
    let ca = Ca::with_key("RSA CA", KeyKind::Rsa2048);
    let leaf = ca.issue();
    let delegate = ca.delegate(Delegate::Proper, KeyKind::Rsa2048);
    for signer in [delegate.lines(), format!("key = {:?}", ca.key())] {
        let responder = site(&ca, "", &[signer + "\nalgorithm = \"rsa-pss\""]).start();
        let ask = Ask::about(&ca, &leaf);
        // Signed for the first request, kept for the others.
        for _ in 0..3 {
            ask.at(responder.http(), "/").expect(Status::Good);
        }
        let text = response_text(&responder, &ask);
        let algorithm = text.split("Signature Algorithm: ").nth(1).unwrap();
        assert!(algorithm.starts_with("rsassaPss"), "{text}");
        for part in ["Hash Algorithm: sha256", "Mask Algorithm: mgf1 with sha256", "Salt Length: 0x20"] {
            assert!(algorithm.contains(part), "{part}: {text}");
        }
    }
}

#[test]
fn an_algorithm_that_the_key_has_not_is_refused() {
    let ca = Ca::new("CA");
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let site = site(&ca, "", &[signer.lines() + "\nalgorithm = \"rsa-pss\""]);
    site.is_refused(&["signer.algorithm", "RSASSA-PSS", signer.key.to_str().unwrap(), "remove `algorithm`"]);
}

#[test]
fn of_two_signers_the_first_that_is_valid_long_enough_signs() {
    let ca = Ca::new("CA");
    let leaf = ca.issue();
    let (a, b) = (ca.delegate(Delegate::Proper, KeyKind::P256), ca.delegate(Delegate::Proper, KeyKind::P384));
    let expired = ca.delegate(Delegate::Expired, KeyKind::P256);
    let not_yet = ca.delegate(Delegate::NotYet, KeyKind::P256);
    // Shorter than an answer lasts.
    let ending = ca.delegate_for(Duration::from_secs(86_400));
    for (signers, chosen, warned) in [
        ([&a, &b], &a, false),
        ([&b, &a], &b, false),
        ([&expired, &b], &b, true),
        ([&a, &expired], &a, true),
        ([&not_yet, &a], &a, true),
        ([&a, &not_yet], &a, true),
        ([&ending, &b], &b, false),
        ([&ending, &not_yet], &ending, true),
    ] {
        let site = site(&ca, "responder_id = \"by-name\"", &signers.map(Signer::lines));
        let checked = site.check();
        assert!(checked.status.success(), "{checked:?}");
        let responder = site.start();
        let ask = Ask::about(&ca, &leaf);
        ask.at(responder.http(), "/").expect(Status::Good);
        let text = response_text(&responder, &ask);
        let name = chosen.certificate.file_stem().unwrap().to_str().unwrap();
        let line = text.lines().find(|line| line.contains("Responder Id:")).unwrap();
        assert!(line.ends_with(&format!("CN = {name}")), "{signers:?}: {line}");
        let log = responder.log();
        assert_eq!(log.contains("a signing certificate is not valid now"), warned, "{signers:?}: {log}");
    }
}

/// The first signer's tokens were away, and nothing new was signed although the second's key was there.
#[test]
fn of_two_valid_signers_the_one_at_work_signs_what_is_not_kept_while_the_other_is_away() {
    let ca = Ca::new("CA");
    let (kept, other, revoked) = (ca.issue(), ca.issue(), ca.issue());
    let (a, b) = (ca.delegate(Delegate::Proper, KeyKind::P256), ca.delegate(Delegate::Proper, KeyKind::P384));
    let hsm = SoftHsm::new(&["a"]);
    hsm.import("a", &a.key, "ocsp", "01");
    fs::remove_file(&a.key).unwrap();
    let on_token = format!("certificate = {:?}\nkey = {:?}\nthreads = 1", a.certificate, hsm.shim_uri("a", "ocsp"));
    let settings = "responder_id = \"by-name\"\nnonce = \"echo\"";
    let site = site(&ca, settings, &[on_token, b.lines()]);
    let site = hsm.shim_environment().into_iter().fold(site, |site, (name, value)| site.environment(name, value));
    let responder = site.start();
    let signed_by = |ask: &Ask, status: Status| {
        let answer = ask.at(responder.http(), "/");
        if answer.status == Status::error("trylater") {
            return None;
        }
        answer.expect(status);
        let text = response_text(&responder, ask);
        let line = text.lines().find(|line| line.contains("Responder Id:")).unwrap().to_owned();
        Some(line.split_once("CN = ").unwrap().1.to_owned())
    };
    let name = |signer: &Signer| signer.certificate.file_stem().unwrap().to_str().map(str::to_owned);
    let about = |leaf: &Leaf| Ask::about(&ca, leaf);
    assert_eq!(signed_by(&about(&kept), Status::Good), name(&a));
    assert_eq!(signed_by(&about(&revoked), Status::Good), name(&a));

    let gone = "return=CKR_TOKEN_NOT_PRESENT";
    hsm.order(&format!("C_SignInit {gone}\nC_OpenSession {gone}"));
    let by = until("another signs", PATIENCE, || signed_by(&about(&other), Status::Good));
    assert_eq!(Some(by), name(&b));
    assert_eq!(signed_by(&about(&kept).nonce(), Status::Good), name(&b), "for this client alone");
    assert_eq!(signed_by(&about(&kept), Status::Good), name(&a), "what was signed is served");
    ca.revoke(&revoked, &[]);
    let is_revoked = || {
        let answer = about(&revoked).at(responder.http(), "/");
        (answer.status == Status::Revoked).then_some(())
    };
    until("the revocation is told", PATIENCE, is_revoked);
    assert_eq!(signed_by(&about(&revoked), Status::Revoked), name(&b));
    let (_, said) = responder.readiness();
    let told = " signer 0: no key works; kept answers are served until nextUpdate, others are signed by the issuer's other valid signers";
    assert!(said.contains(told), "{said}");

    hsm.order("");
    until("it is back", PATIENCE, || (responder.metric("ostia_token_up", "token=\"a\"") == 1.0).then_some(()));
    assert_eq!(signed_by(&about(&other), Status::Good), name(&a));
}

#[test]
fn signers_none_of_which_is_valid_are_refused() {
    let ca = Ca::new("CA");
    let expired = ca.delegate(Delegate::Expired, KeyKind::P256);
    let not_yet = ca.delegate(Delegate::NotYet, KeyKind::P256);
    site(&ca, "", &[not_yet.lines()]).is_refused(&["signer.certificate", "2035-01-01", "not now"]);
    // A clock that nobody has set yet after a boot says so as well: the unit tries again after 1, and not after 78.
    for (signers, code) in
        [(vec![not_yet.lines()], 1), (vec![expired.lines(), not_yet.lines()], 1), (vec![expired.lines()], 78)]
    {
        let checked = site(&ca, "", &signers).check();
        assert_eq!(checked.status.code(), Some(code), "{checked:?}");
    }
    site(&ca, "", &[expired.lines(), not_yet.lines()]).is_refused(&[
        "signer[0].certificate",
        "2024-02-01",
        "signer[1].certificate",
        "2035-01-01",
        "renew it",
    ]);
}

#[test]
fn a_designated_signer_is_believed_by_clients_that_are_told_to_trust_it() {
    let (ca, other) = (Ca::new("CA"), Ca::new("Another CA"));
    let leaf = ca.issue();
    let signer = other.delegate(Delegate::Proper, KeyKind::P256);
    let responder = site(&ca, "", &[signer.lines() + "\ndesignated = true"]).start();
    let log = responder.log();
    assert!(log.contains("WARN") && log.contains("a designated signer"), "{log}");
    let trusting = asked(&responder, &[(&ca, &leaf)], &[("-VAfile", &signer.certificate)]);
    assert!(trusting.contains("Response verify OK") && trusting.contains(": good"), "{trusting}");
    let others = asked(&responder, &[(&ca, &leaf)], &[("-CAfile", &ca.certificate())]);
    assert!(others.contains("Response Verify Failure"), "{others}");
}

#[test]
fn one_signer_designated_for_two_issuers_answers_for_both_at_once() {
    let (a, b) = (Ca::new("CA"), Ca::new("Another CA"));
    let (leaf_of_a, leaf_of_b) = (a.issue(), b.issue());
    b.revoke(&leaf_of_b, &[]);
    let (own, common) = (a.delegate(Delegate::Proper, KeyKind::P256), b.delegate(Delegate::Proper, KeyKind::P256));
    let designated = common.lines() + "\ndesignated = true";
    let of_both = |of_a: &[String]| {
        let tenant = issuer(issuer(Tenant::new("tests"), &a, of_a), &b, &[common.lines()]);
        let responder = several(Site::new(&[tenant])).start();
        asked(&responder, &[(&a, &leaf_of_a), (&b, &leaf_of_b)], &[("-VAfile", &common.certificate)])
    };
    let text = of_both(&[own.lines(), designated]);
    assert!(text.contains("Response verify OK"), "{text}");
    assert!(text.contains(": good") && text.contains(": revoked"), "{text}");
    let text = of_both(&[own.lines()]);
    assert!(text.contains("Responder Error: unauthorized"), "{text}");
}

#[test]
fn the_certificates_that_go_along_are_the_tenants_policy() {
    let ca = Ca::new("CA");
    let leaf = ca.issue();
    let delegate = ca.delegate(Delegate::Proper, KeyKind::P256);
    let pem = |path: &Path| fs::read_to_string(path).unwrap();
    // The file holds the CA and one more behind the signer's.
    let chain = pem(&delegate.certificate) + &pem(&ca.certificate()) + &pem(&Ca::new("Another CA").certificate());
    fs::write(&delegate.certificate, chain).unwrap();
    let by_ca = format!("key = {:?}", ca.key());
    for (settings, signer, count) in [
        ("", delegate.lines(), 1),
        ("certificates = \"signer\"", delegate.lines(), 1),
        ("certificates = \"chain\"", delegate.lines(), 3),
        ("certificates = \"none\"", delegate.lines(), 0),
        ("certificates = \"signer\"", by_ca.clone(), 0),
        ("certificates = \"chain\"", by_ca, 0),
    ] {
        let responder = site(&ca, settings, &[signer]).start();
        let trust = [("-CAfile", &*ca.certificate()), ("-verify_other", &*delegate.certificate)];
        let text = asked(&responder, &[(&ca, &leaf)], &trust);
        assert!(text.contains("Response verify OK") && text.contains(": good"), "{settings}: {text}");
        let text = response_text(&responder, &Ask::about(&ca, &leaf));
        assert_eq!(text.matches("BEGIN CERTIFICATE").count(), count, "{settings}: {text}");
    }
}

#[test]
fn a_service_that_can_sign_nothing_any_more_is_not_ready() {
    let (ca, other) = (Ca::new("CA"), Ca::new("Another CA"));
    let leaf = ca.issue();
    let ending = || Tenant::of(&ca, &ca.delegate_for(Duration::from_secs(25)));
    let alone = Site::new(&[ending()]).start();
    let lasting = other.delegate(Delegate::Proper, KeyKind::P256);
    let of_two = Site::new(&[issuer(ending().set("path = \"/a\""), &other, &[lasting.lines()])]).start();
    for responder in [&alone, &of_two] {
        let (status, text) = responder.readiness();
        assert!(status == 200 && !text.contains("degraded"), "{status} {text}");
    }
    until("it cannot sign", PATIENCE, || (alone.readiness().0 == 503).then_some(()));
    let (_, text) = alone.readiness();
    assert!(text.starts_with("not ready: no issuer has a signing certificate that is valid now\n"), "{text}");
    assert!(text.contains("degraded: tests/ca: the signing certificate expired"), "{text}");
    Ask::about(&ca, &leaf).at(alone.http(), "/").expect(Status::error("internalerror"));
    // Where one issuer still can, its clients must not be sent away.
    until("one cannot", PATIENCE, || of_two.readiness().1.contains("degraded").then_some(()));
    let (status, text) = of_two.readiness();
    assert!(status == 200 && text.contains("degraded: tests/ca: the signing certificate expired"), "{text}");
}

#[test]
fn a_delegate_that_its_own_ca_revokes_is_told_while_it_goes_on() {
    let ca = Ca::new("CA");
    let leaf = ca.issue();
    let delegate = ca.delegate(Delegate::Proper, KeyKind::P256);
    let serial = openssl(ca.dir(), ["x509", "-in", delegate.certificate.to_str().unwrap(), "-noout", "-serial"]);
    let serial = serial.trim().trim_start_matches("serial=").to_owned();
    let own = Leaf { path: delegate.certificate.clone(), serial };
    let responder = Site::new(&[Tenant::of(&ca, &delegate)]).start();
    assert!(!responder.readiness().1.contains("degraded"), "{:?}", responder.readiness());

    let is_told = |responder: &Responder| {
        let told = format!("the signing certificate {} is revoked by its CA", own.serial);
        until("readiness tells", PATIENCE, || responder.readiness().1.contains(&told).then_some(()));
        until("the log tells", PATIENCE, || responder.log().contains(&told).then_some(()));
        let (status, text) = responder.readiness();
        assert!(status == 200 && text.contains("degraded: tests/ca: "), "{status} {text}");
        assert_eq!(responder.metric("ostia_signers_at_fault", "issuer=\"ca\""), 1.0);
    };
    ca.revoke(&own, &[]);
    is_told(&responder);
    Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
    // And at a start.
    let site = responder.into_site();
    fs::remove_file(site.dir().join("log")).unwrap();
    is_told(&site.start());
}

#[test]
fn a_ca_key_that_may_only_sign_certificates_is_warned_of() {
    let ca = Ca::new("CA");
    let leaf = ca.issue();
    let certificate = ["req", "-config", "openssl.cnf", "-new", "-x509", "-key", "ca.key", "-subj", "/CN=CA"];
    let usage = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign"];
    for (usage, warned) in [(&usage[..], true), (&usage[..2], false)] {
        openssl(ca.dir(), [&certificate[..], usage, &["-days", "30", "-out", "ca.pem"]].concat());
        let responder = site(&ca, "", &[format!("key = {:?}", ca.key())]).start();
        Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
        let log = responder.log();
        assert_eq!(log.contains("a keyUsage without digitalSignature"), warned, "{log}");
    }
}
