//! Signers that renew themselves, by the programs as they are run: a real `openssl ca` issues, while requests go on.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::Duration,
};

use ostia_tests::{
    Ask, Ca, Delegate, Kept, KeyKind, Query, Responder, Signer, Site, SoftHsm, Status, Tenant, Tsa, TsaCertificate,
    http::post, openssl, until,
};

const PATIENCE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// A script in the CA's directory.
pub(super) fn script(ca: &Ca, name: &str, text: &str) -> PathBuf {
    let path = ca.file(name);
    fs::write(&path, format!("#!/bin/sh\ncd {:?} || exit 9\n{text}\n", ca.dir())).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// One that has `openssl ca` issue for what comes on standard input, for a year.
pub(super) fn issuing(ca: &Ca, extensions: &str) -> PathBuf {
    let issue = format!(
        "tee request.pem | openssl ca -config openssl.cnf -batch -notext -in /dev/stdin -extensions {extensions}"
    );
    script(ca, "get-cert", &issue)
}

/// A line of a signer.
pub(super) fn renewed_by(command: &Path, before: &str) -> String {
    format!("renew = {{ command = [{command:?}], before = {before:?}, deadline = \"10s\" }}")
}

fn tenant(ca: &Ca, signer: &str) -> Tenant {
    Tenant::new("tests").issuer("ca", ca, &format!("index = {:?}", ca.index()), signer)
}

/// Whether the response to this request has the certificate.
fn carries(responder: &Responder, request: &[u8], certificate: &[u8]) -> bool {
    let reply = post(responder.http(), "/", request);
    assert_eq!(reply.status, 200);
    reply.body.windows(certificate.len()).any(|window| window == certificate)
}

fn der(certificate: &Path) -> Vec<u8> {
    let dir = certificate.parent().unwrap();
    openssl(dir, ["x509", "-in", certificate.to_str().unwrap(), "-outform", "DER", "-out", "certificate.der"]);
    fs::read(dir.join("certificate.der")).unwrap()
}

/// The certificate that was kept in the state directory, if there is one.
fn kept(state: &Path) -> Option<PathBuf> {
    let signer = fs::read_dir(state.join("renewed")).ok()?.next()?.unwrap().path();
    let file = fs::read_dir(signer).unwrap().map(|entry| entry.unwrap().path());
    file.filter(|path| path.extension().is_some_and(|end| end == "pem")).max()
}

#[test]
fn a_signer_renews_itself_under_load_without_a_failure_and_a_restart_prefers_the_new_certificate() {
    let ca = Ca::new("CA");
    let leaf = ca.issue();
    // It ends before an answer would, so that the new one signs as soon as it is there.
    let signer = ca.delegate_for(DAY);
    let command = issuing(&ca, "ocsp_signer");
    let site = Site::new(&[tenant(&ca, &(signer.lines() + "\n" + &renewed_by(&command, "30d"))).presigned()]);
    site.edit_config(|text| text.replacen("[admin]\n", "[journal]\n[admin]\n", 1));
    let former = der(&signer.certificate);
    let (request, http) = (Ask::about(&ca, &leaf).request(), site.http);
    let mut responder = site.start();
    let (stop, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    let new = thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    let reply = post(http, "/", &request);
                    // A successful OCSPResponse.
                    assert!(reply.status == 200 && reply.body.windows(3).any(|window| window == [0x0a, 1, 0]));
                    asked.fetch_add(1, Relaxed);
                }
            });
        }
        let new = until("it is taken", PATIENCE, || {
            (responder.metric("ostia_signer_renewals_total", "issuer=\"ca\"") == 1.0)
                .then(|| kept(&responder.site.dir().join("state")).unwrap())
        });
        let new = der(&new);
        until("it signs", PATIENCE, || carries(&responder, &request, &new).then_some(()));
        let before = asked.load(Relaxed);
        until("requests go on", PATIENCE, || (asked.load(Relaxed) > before + 20).then_some(()));
        stop.store(true, Relaxed);
        new
    });
    assert!(asked.load(Relaxed) > 20);
    Ask::about(&ca, &leaf).at(http, "/").expect(Status::Good);
    let journal = Kept::of(&responder.site);
    journal.expect("certificate", &[("signer", "tests/ca"), ("what", "renewed")]);
    journal.verifies();
    assert_eq!(responder.metric("ostia_signer_renewal_due", "issuer=\"ca\""), 0.0);
    assert_eq!(responder.metric("ostia_signer_renewal_failures_total", "issuer=\"ca\""), 0.0);
    assert!(!responder.readiness().1.contains("degraded"), "{:?}", responder.readiness());

    // The operator's file still has the former one.
    assert!(der(&signer.certificate) == former && former != new);
    fs::remove_file(&command).unwrap();
    responder = responder.kill_and_start_again();
    assert!(carries(&responder, &request, &new));
    Ask::about(&ca, &leaf).at(http, "/").expect(Status::Good);
    // And a reload that somebody asks for keeps it.
    responder.reload(|text| text + "\n# changed\n");
    until("it is read again", PATIENCE, || responder.log().contains("was read again").then_some(()));
    assert!(carries(&responder, &request, &new));

    // Without the operator's file nothing starts, and what would help is named.
    fs::remove_file(&signer.certificate).unwrap();
    let site = responder.into_site();
    site.is_refused(&["signer.certificate", "certificates that were renewed are kept in ", "/state/renewed: copy"]);
    fs::copy(kept(&site.dir().join("state")).unwrap(), &signer.certificate).unwrap();
    assert!(carries(&site.start(), &request, &new));
}

/// The operator may be in the middle of editing.
#[test]
fn a_renewal_takes_nothing_of_a_file_that_nobody_has_asked_to_read_and_keeps_what_was_signed() {
    let ca = Ca::new("CA");
    let (leaf, other) = (ca.issue(), ca.issue());
    // It signs for as long as its answers last, and the new one stands behind it until then.
    let signer = ca.delegate_for(20 * DAY);
    let command = script(
        &ca,
        "get-cert",
        "test -e go || exit 1; exec openssl ca -config openssl.cnf -batch -notext -in /dev/stdin -extensions ocsp_signer",
    );
    let site = Site::new(&[tenant(&ca, &(signer.lines() + "\n" + &renewed_by(&command, "30d")))]);
    let responder = site.start();
    let request = Ask::about(&ca, &leaf).request();
    let before = post(responder.http(), "/", &request).body;
    until("the first try fails", PATIENCE, || {
        (responder.metric("ostia_signer_renewal_failures_total", "issuer=\"ca\"") > 0.0).then_some(())
    });
    let log = responder.log();
    assert!(log.contains("could not be renewed") && log.contains("failed (exit status: 1)"), "{log}");
    responder.site.edit_config(|_| "[half of it".to_owned());
    fs::write(ca.file("go"), "").unwrap();
    until("it is taken", PATIENCE, || {
        (responder.metric("ostia_signer_renewals_total", "issuer=\"ca\"") == 1.0).then_some(())
    });
    assert_eq!(responder.metric("ostia_config_faulty", ""), 0.0);
    // Each signature is another one: this one was kept.
    assert!(post(responder.http(), "/", &request).body == before, "what was signed before is served");
    Ask::about(&ca, &other).at(responder.http(), "/").expect(Status::Good);
    assert!(carries(&responder, &Ask::about(&ca, &other).request(), &der(&signer.certificate)));
}

#[test]
fn a_command_ends_with_the_service() {
    let ca = Ca::new("CA");
    let signer = ca.delegate_for(DAY);
    let command = script(&ca, "get-cert", "echo $$ > process; exec sleep 1000");
    for by in [Site::serve, Site::run_alone] {
        let site = Site::new(&[tenant(&ca, &(signer.lines() + "\n" + &renewed_by(&command, "30d")))]);
        let start = by(&site);
        let mut responder = site.start_by(start);
        let process = until("it runs", PATIENCE, || {
            fs::read_to_string(ca.file("process")).ok().filter(|text| text.ends_with('\n'))
        });
        assert!(responder.end_by("TERM").success(), "{}", responder.log());
        let stat = PathBuf::from(format!("/proc/{}/stat", process.trim()));
        let is_gone = || fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
        until("it has ended", PATIENCE, || is_gone().then_some(()));
        fs::remove_file(ca.file("process")).unwrap();
    }
}

#[test]
fn a_request_in_a_file_is_answered_by_another_certificate_in_the_signers() {
    let ca = Ca::new("CA");
    let leaf = ca.issue();
    let signer = ca.delegate_for(DAY);
    let csr = ca.file("next.csr");
    let renew = format!("renew = {{ request = {csr:?}, before = \"30d\" }}");
    // A service without serving does the same.
    for by in [Site::serve, Site::run_alone] {
        let site = Site::new(&[tenant(&ca, &(signer.lines() + "\n" + &renew))]);
        let command = by(&site);
        let responder = site.start_by(command);
        until("the request", PATIENCE, || csr.exists().then_some(()));
        let issue = ["ca", "-config", "openssl.cnf", "-batch", "-notext", "-extensions", "ocsp_signer"];
        openssl(ca.dir(), [&issue[..], &["-in", "next.csr", "-out", "next.pem"]].concat());
        let former = fs::read(&signer.certificate).unwrap();
        // Each file that is wrong is told at once, and the former certificate signs on.
        let other_ca = Ca::new("Other");
        let other = other_ca.delegate(Delegate::Proper, KeyKind::P256);
        for (wrong, told) in [
            (fs::read(other.certificate).unwrap(), "has changed, and its certificate "),
            (b"half of it\n".to_vec(), "its file has changed: "),
            (fs::read(ca.certificate()).unwrap(), "has changed, and its certificate "),
        ] {
            let count = || responder.log().matches(told).count();
            let before = count();
            fs::write(&signer.certificate, wrong).unwrap();
            until("it is told", PATIENCE, || (count() > before).then_some(()));
        }
        assert!(!responder.log().contains("the new certificate is in use"), "{}", responder.log());
        fs::rename(ca.file("next.pem"), &signer.certificate).unwrap();
        until("it is taken", PATIENCE, || {
            (responder.metric("ostia_signer_renewals_total", "issuer=\"ca\"") == 1.0).then_some(())
        });
        until("the request is removed", PATIENCE, || (!csr.exists()).then_some(()));
        if by(&responder.site).get_args().eq(responder.site.serve().get_args()) {
            assert!(carries(&responder, &Ask::about(&ca, &leaf).request(), &der(&signer.certificate)));
        }
        fs::write(&signer.certificate, former).unwrap();
    }
}

#[test]
fn an_authority_renews_its_signer_and_makes_tokens_all_the_time() {
    let ca = Ca::new("CA");
    let signer = ca.tsa(TsaCertificate::EndsIn(3 * 24 * 60), KeyKind::P256);
    let command = issuing(&ca, "tsa_signer");
    let tsa = Tsa::of("stamps", &signer).set_signer(&renewed_by(&command, "30d"));
    let responder = Site::new(&[Tenant::new("tests").tsa(&tsa)]).start();
    let mut number = 0;
    until("it is taken", PATIENCE, || {
        for _ in 0..10 {
            number += 1;
            Query::new(number).at(responder.http(), "/tsa").granted();
        }
        (responder.metric("ostia_signer_renewals_total", "tsa=\"stamps\"") == 1.0).then_some(())
    });
    let new = der(&kept(&responder.site.dir().join("state")).unwrap());
    let text = responder.readiness_of("tsa").1;
    assert!(!text.contains("degraded"), "{text}");
    let chain = ostia_tests::http::get(responder.http(), "/tsa/chain.pem").text();
    fs::write(ca.file("chain.pem"), chain).unwrap();
    assert_eq!(der(&ca.file("chain.pem")), new);
}

/// Nothing but the token can sign the request.
#[test]
fn the_key_on_a_token_signs_its_own_request() {
    let ca = Ca::new("CA");
    let leaf = ca.issue();
    let signer = ca.delegate_for(DAY);
    let hsm = SoftHsm::new(&["a"]);
    hsm.import("a", &signer.key, "ocsp", "01");
    fs::remove_file(&signer.key).unwrap();
    let command = issuing(&ca, "ocsp_signer");
    let lines = format!("certificate = {:?}\nkey = {:?}\nthreads = 1\n", signer.certificate, hsm.uri("a", "ocsp"));
    let site =
        Site::new(&[tenant(&ca, &(lines + &renewed_by(&command, "30d")))]).environment("SOFTHSM2_CONF", hsm.config());
    let responder = site.start();
    until("it is taken", PATIENCE, || {
        (responder.metric("ostia_signer_renewals_total", "issuer=\"ca\"") == 1.0).then_some(())
    });
    let request = openssl(ca.dir(), ["req", "-in", "request.pem", "-noout", "-text", "-verify"]);
    assert!(request.contains("OCSP Signing"), "{request}");
    let new = der(&kept(&responder.site.dir().join("state")).unwrap());
    let asked = Ask::about(&ca, &leaf);
    until("it signs", PATIENCE, || carries(&responder, &asked.request(), &new).then_some(()));
    asked.at(responder.http(), "/").expect(Status::Good);
    // One pool for both certificates.
    assert_eq!(responder.metric_series("ostia_token_sessions").len(), 1);
}

#[test]
fn a_renewal_that_fails_is_told_long_before_the_end_and_check_warns_of_what_is_due() {
    let ca = Ca::new("CA");
    let leaf = ca.issue();
    let command = script(&ca, "get-cert", "echo 'no such profile' >&2; exit 4");
    let of = |left: Duration, before: &str| {
        let signer: Signer = ca.delegate_for(left);
        Site::new(&[tenant(&ca, &(signer.lines() + "\n" + &renewed_by(&command, before)))])
    };
    // Of 30 days 20 are left, and of 30 days 5.
    for (left, late) in [(20, false), (5, true)] {
        let site = of(left * DAY, "30d");
        let checked = site.check_with(&["--strict"]);
        assert_eq!(checked.status.code(), Some(3), "{checked:?}");
        assert!(checked.text.contains("signer.renew.before: is over at "), "{checked:?}");
        assert!(site.check().status.success());
        // And for a service that only signs.
        let checked = site.precompute("check", &["--strict"]);
        assert_eq!(checked.status.code(), Some(3), "{checked:?}");
        assert!(checked.text.contains("signer.renew.before: is over at "), "{checked:?}");
        let responder = site.start();
        until("it fails", PATIENCE, || {
            (responder.metric("ostia_signer_renewal_failures_total", "issuer=\"ca\"") > 0.0).then_some(())
        });
        let log = responder.log();
        assert!(log.contains("ERROR") && log.contains("it said: no such profile"), "{log}");
        assert_eq!(responder.metric("ostia_signer_renewal_due", "issuer=\"ca\""), 1.0);
        assert_eq!(responder.metric("ostia_signer_renewal_late", "issuer=\"ca\""), f64::from(u8::from(late)));
        let (status, text) = responder.readiness();
        let told =
            text.contains("degraded: tests/ca: the signer's certificate ends at ") && text.contains("no such profile");
        assert!(status == 200 && told == late, "{left}: {status} {text}");
        Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
    }
    let in_order = of(40 * DAY, "30d").check_with(&["--strict"]);
    assert!(in_order.status.success(), "{in_order:?}");
    let in_order = of(40 * DAY, "30d").precompute("check", &["--strict"]);
    assert!(in_order.status.success() && in_order.text.contains("in order\n"), "{in_order:?}");
    // What cannot be run is told before it is needed.
    let absent = ca.delegate(Delegate::Proper, KeyKind::P256);
    let renew = renewed_by(&ca.file("absent --now"), "30d");
    let checked = Site::new(&[tenant(&ca, &(absent.lines() + "\n" + &renew))]).check();
    assert!(
        !checked.status.success()
            && checked.text.contains("signer.renew.command: ")
            && checked.text.contains("no shell parts it"),
        "{checked:?}"
    );
}
