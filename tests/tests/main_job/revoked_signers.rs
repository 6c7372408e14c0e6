//! A signer whose certificate its own CA revokes: another one signs in its place, and nothing of what the former signed
//! is served, until it is released.

use std::{
    fs,
    time::{Duration, Instant},
};

use ostia_tests::{
    Ask, Ca, Delegate, KeyKind, Leaf, Responder, Signer, Site, Status, Tenant,
    http::{Reply, exchange, get, ocsp_target, post, request},
    openssl, until,
};

use crate::pushes::with_api;

const PATIENCE: Duration = Duration::from_secs(20);

/// Less than the 10 s between two passes that nobody wants sooner.
const PASSES_APART: Duration = Duration::from_secs(9);

/// An issuer that is signed ahead for by these, in order.
fn site(ca: &Ca, signers: &[&Signer]) -> Site {
    let sources = format!("index = {:?}", ca.index());
    let signers: Vec<_> = signers.iter().map(|signer| signer.lines()).collect();
    let signers = signers.join("\n[[tenant.issuer.signer]]\n");
    let tenant = Tenant::new("tests").set("responder_id = \"by-name\"\nnonce = \"echo\"\ncert_ids_max = 1").presigned();
    let site = Site::new(&[tenant.issuer("ca", ca, &sources, &signers)]);
    site.edit_config(|text| text.replace("\n[tenant.issuer.signer]\n", "\n[[tenant.issuer.signer]]\n"));
    site
}

/// A signer's own certificate, as one that its CA can revoke.
fn own(ca: &Ca, signer: &Signer) -> Leaf {
    let path = signer.certificate.clone();
    let serial = openssl(ca.dir(), ["x509", "-in", path.to_str().unwrap(), "-noout", "-serial"]);
    Leaf { path, serial: serial.trim().trim_start_matches("serial=").to_owned() }
}

fn name(signer: &Signer) -> String {
    signer.certificate.file_stem().unwrap().to_str().unwrap().to_owned()
}

/// The common name of whoever signed the response.
#[track_caller]
fn signed_by(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{reply:?}");
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join("response"), &reply.body).unwrap();
    let text = openssl(scratch.path(), ["ocsp", "-respin", "response", "-resp_text", "-noverify"]);
    let line = text.lines().find(|line| line.contains("Responder Id:")).unwrap_or_else(|| panic!("{text}"));
    line.split_once("CN = ").unwrap().1.to_owned()
}

fn asked(responder: &Responder, ask: &Ask) -> Reply {
    get(responder.http(), &ocsp_target("", &ask.request()))
}

fn conditional(responder: &Responder, ask: &Ask, headers: &str) -> Reply {
    exchange(responder.http(), &request("GET", &ocsp_target("", &ask.request()), headers)).unwrap()
}

/// Waits for the end of a pass that had nothing left to do.
#[track_caller]
fn wait_for_all(responder: &Responder, signed: f64) {
    until("all is signed ahead", PATIENCE, || {
        let count = |name: &str| responder.metric(&format!("ostia_presign_{name}_total"), "");
        let done = count("signed") + count("restored") >= signed && responder.metric("ostia_presign_due", "") == 0.0;
        done.then_some(())
    });
}

#[test]
fn when_a_delegate_is_revoked_every_answer_is_from_the_other_until_it_is_released() {
    let ca = Ca::new("CA");
    let leaves = [ca.issue(), ca.issue(), ca.issue()];
    // Nobody asks about these, so that who signs for them does so ahead.
    (0..8).for_each(|_| drop(ca.issue()));
    let (a, b) = (ca.delegate(Delegate::Proper, KeyKind::P256), ca.delegate(Delegate::Proper, KeyKind::P384));
    let own = own(&ca, &a);
    let mut responder = site(&ca, &[&a, &b]).start();
    let asks: Vec<_> = leaves.iter().map(|leaf| Ask::about(&ca, leaf)).collect();
    let records = responder.metric("ostia_records", "");
    wait_for_all(&responder, records);
    let pass_ended = Instant::now();
    let before: Vec<_> = asks.iter().map(|ask| asked(&responder, ask)).collect();
    assert!(before.iter().all(|reply| signed_by(reply) == name(&a)));

    let all_by = |responder: &Responder, signer: &Signer| {
        for (ask, before) in asks.iter().zip(&before) {
            assert_eq!(signed_by(&asked(responder, ask)), name(signer));
            let nonce = Ask::about(&ca, &leaves[0]).nonce().request();
            assert_eq!(signed_by(&post(responder.http(), "/", &nonce)), name(signer), "for this client alone");
            ask.at(responder.http(), "/").expect(Status::Good);
            let same = if *signer.key == a.key { 304 } else { 200 };
            let etag = conditional(responder, ask, &format!("If-None-Match: {}\r\n", before.expect("etag")));
            assert_eq!(etag.status, same);
            let dated = format!("If-Modified-Since: {}\r\n", before.expect("last-modified"));
            assert_eq!(conditional(responder, ask, &dated).status, same);
        }
    };
    let signs = |responder: &Responder, signer: &Signer| {
        let reply = asked(responder, &asks[2]);
        (signed_by(&reply) == name(signer)).then_some(())
    };
    all_by(&responder, &a);

    ca.revoke(&own, &["-crl_reason", "certificateHold"]);
    until("the other signs", PATIENCE, || signs(&responder, &b));
    // What it has to sign is signed before the next pass would have begun.
    wait_for_all(&responder, records + 8.0);
    assert!(pass_ended.elapsed() < PASSES_APART, "{:?}", pass_ended.elapsed());
    all_by(&responder, &b);
    Ask::about(&ca, &own).at(responder.http(), "/").expect(Status::Revoked);
    let (status, text) = responder.readiness();
    let told =
        format!("degraded: tests/ca: the signing certificate {} is revoked by its CA: the issuer's other", own.serial);
    assert!(status == 200 && text.contains(&told), "{status} {text}");
    assert_eq!(responder.metric("ostia_signers_at_fault", "issuer=\"ca\""), 1.0);

    // From the first answer on, after a start, and while the configuration is read again, with other signers and without.
    responder = responder.kill_and_start_again();
    all_by(&responder, &b);
    // Several times, because a choice by who is not looked at yet would last for less than a second.
    for (former, now) in [(1, 1), (1, 2), (2, 3), (3, 4), (4, 5)] {
        let read = || responder.log().matches("the configuration was read again").count();
        let before = read();
        let key = |count: u8| format!("cert_ids_max = {count}\n");
        responder.reload(|text| text.replacen(&key(former), &key(now), 1));
        until("it is read", PATIENCE, || {
            assert_eq!(signed_by(&asked(&responder, &asks[1])), name(&b));
            (read() > before).then_some(())
        });
        all_by(&responder, &b);
    }

    // No flag is stuck with signers that a reload has made.
    ca.release(&own);
    until("the first signs again", PATIENCE, || signs(&responder, &a));
    assert!(asks.iter().all(|ask| signed_by(&asked(&responder, ask)) == name(&a)));
    until("nothing is wrong", PATIENCE, || (!responder.readiness().1.contains("degraded")).then_some(()));
    ca.revoke(&own, &["-crl_reason", "keyCompromise"]);
    until("the other signs for good", PATIENCE, || signs(&responder, &b));
    assert!(asks.iter().all(|ask| signed_by(&asked(&responder, ask)) == name(&b)));
}

/// Two signers may have signed in one second: a date would have vouched for the copy of the one that is revoked.
#[test]
fn no_date_vouches_for_a_copy_of_what_a_revoked_signer_has_signed() {
    let ca = Ca::new("CA");
    let leaves: Vec<_> = (0..8).map(|_| ca.issue()).collect();
    // Soon it would cut answers' validity of four days, so that both sign ahead in one pass.
    let ending = ca.delegate_for(Duration::from_secs(4 * 86_400 + 3600));
    let lasting = ca.delegate(Delegate::Proper, KeyKind::P256);
    let responder = site(&ca, &[&ending, &lasting]).start();
    wait_for_all(&responder, 2.0 * responder.metric("ostia_records", ""));
    let asks: Vec<_> = leaves.iter().map(|leaf| Ask::about(&ca, leaf)).collect();
    let dates: Vec<_> = asks.iter().map(|ask| asked(&responder, ask)).collect();
    assert!(dates.iter().all(|reply| signed_by(reply) == name(&ending)));
    let conditional = |at: usize| {
        let date = format!("If-Modified-Since: {}\r\n", dates[at].expect("last-modified"));
        conditional(&responder, &asks[at], &date).status
    };
    assert_eq!(conditional(0), 304);
    ca.revoke(&own(&ca, &ending), &[]);
    let other = || (signed_by(&asked(&responder, &asks[0])) == name(&lasting)).then_some(());
    until("the other signs", PATIENCE, other);
    assert!((0..asks.len()).all(|at| conditional(at) == 200));
}

#[test]
fn what_is_signed_ahead_offline_is_not_signed_by_a_revoked_delegate() {
    let ca = Ca::new("CA");
    let leaf = ca.issue();
    let (a, b) = (ca.delegate(Delegate::Proper, KeyKind::P256), ca.delegate(Delegate::Proper, KeyKind::P256));
    ca.revoke(&own(&ca, &a), &[]);
    let site = site(&ca, &[&a, &b]);
    let ended = site.precompute("presign", &[]);
    assert!(ended.status.success(), "{ended:?}");
    let responder = site.start();
    let all = responder.metric("ostia_records", "");
    until("all is taken", PATIENCE, || (responder.metric("ostia_presign_restored_total", "") == all).then_some(()));
    assert_eq!(signed_by(&asked(&responder, &Ask::about(&ca, &leaf))), name(&b));
}

/// A sub-CA whose root revokes it takes its certificates with it, and those of the CA below, within two seconds, also
/// after a restart.
#[test]
fn the_certificates_of_a_ca_that_its_root_revokes_are_revoked_with_it() {
    let (root, sub, issuing) = (Ca::new("Root"), Ca::new("Sub"), Ca::new("Issuing"));
    let own = root.certify_ca(&sub);
    sub.certify_ca(&issuing);
    let (good, before) = (sub.issue(), sub.issue());
    sub.revoke(&before, &["-crl_reason", "superseded"]);
    let lines = |ca: &Ca| (format!("index = {:?}", ca.index()), ca.delegate(Delegate::Proper, KeyKind::P256).lines());
    let ((above, by_root), (below, by_sub), (lowest, by_issuing)) = (lines(&root), lines(&sub), lines(&issuing));
    let under_both = issuing.issue();
    let tenant = Tenant::new("tests").set("ca_revoked = \"all\"").presigned();
    let tenant = tenant.issuer("root", &root, &above, &by_root).issuer("sub", &sub, &below, &by_sub);
    let site = with_api(Site::new(&[tenant.issuer("issuing", &issuing, &lowest, &by_issuing)]));
    let mut responder = site.start();
    let all = [&root, &sub, &issuing].map(|ca| fs::read_to_string(ca.certificate()).unwrap()).concat();
    fs::write(root.file("all.pem"), all).unwrap();
    let of = |ca: &Ca, responder: &Responder, leaf: &Leaf| {
        Ask::about(ca, leaf).trusting_file(root.file("all.pem")).at(responder.http(), "/")
    };
    let ask = |responder: &Responder, leaf: &Leaf| of(&sub, responder, leaf);
    ask(&responder, &good).expect(Status::Good);
    of(&issuing, &responder, &under_both).expect(Status::Good);
    let told = |responder: &Responder, leaf: &Leaf| responder.site.precompute("status", &[&leaf.serial]).text;
    let text = told(&responder, &good);
    assert!(text.contains("tests/sub: good, valid until"), "{text}");
    assert!(!responder.metrics().contains("ostia_ca_revoked_since_seconds{"));
    let own_time = ask(&responder, &before).expect(Status::Revoked).revocation_time;

    const FALLEN: &str = "the CA's own certificate is revoked since ";
    let checked = responder.site.check();
    assert!(checked.status.success() && !checked.text.contains(FALLEN), "{checked:?}");
    root.revoke(&own, &["-crl_reason", "cessationOfOperation"]);
    let above = || Ask::about(&root, &own).at(responder.http(), "/");
    until("it is revoked itself", PATIENCE, || (above().status == Status::Revoked).then_some(()));
    let since = above().revocation_time;
    until("they are, too", PATIENCE, || (ask(&responder, &good).status == Status::Revoked).then_some(()));
    for _ in 0..2 {
        let answer = ask(&responder, &good).expect(Status::Revoked);
        assert_eq!((answer.reason.as_deref(), &answer.revocation_time), (Some("cACompromise"), &since));
        let answer = of(&issuing, &responder, &under_both).expect(Status::Revoked);
        assert_eq!((answer.reason.as_deref(), &answer.revocation_time), (Some("cACompromise"), &since));
        let answer = ask(&responder, &before).expect(Status::Revoked);
        assert_eq!((answer.reason.as_deref(), &answer.revocation_time), (Some("superseded"), &own_time));
        // Whoever looks it up, or looks at health, is told the same.
        let text = until("it is told", PATIENCE, || {
            let text = told(&responder, &good);
            text.contains("cACompromise (its CA is revoked since ").then_some(text)
        });
        assert!(text.contains("; by itself it is good), valid until "), "{text}");
        let text = told(&responder, &before);
        assert!(text.contains(" superseded (its CA is revoked since "), "{text}");
        let (status, health) = responder.readiness();
        for ca in ["sub", "issuing"] {
            let line = format!("warning: tests/{ca}: the CA's own certificate is revoked since ");
            assert!(status == 200 && health.contains(&line), "{health}");
            assert!(responder.metric("ostia_ca_revoked_since_seconds", ca) > 1.7e9);
        }
        responder = responder.kill_and_start_again();
    }
    assert!(responder.log().contains("the CA's own certificate is revoked"), "{}", responder.log());
    let checked = responder.site.check();
    assert!(checked.status.success() && checked.text.matches(FALLEN).count() == 2, "{checked:?}");
    // One on hold may be released by itself.
    sub.revoke(&good, &["-crl_reason", "certificateHold"]);
    until("it is told", PATIENCE, || {
        told(&responder, &good).contains("; by itself it is on hold since ").then_some(())
    });
}
