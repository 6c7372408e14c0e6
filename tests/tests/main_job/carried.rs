//! What answers carry of their certificate beside the status, as openssl reads it: signed on demand, kept, and after a
//! restart.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    path::Path,
    time::Duration,
};

use ostia_tests::{Ask, Ca, Delegate, KeyKind, Leaf, Responder, Site, Status, Tenant, http, openssl, until};

use crate::{fetching::Web, pushes};

const PATIENCE: Duration = Duration::from_secs(60);

/// The response to a question by POST.
fn response(responder: &Responder, ask: &Ask) -> Vec<u8> {
    http::post(responder.http(), "/", &ask.request()).body
}

/// As openssl shows it.
fn text(dir: &Path, response: &[u8]) -> String {
    fs::write(dir.join("response"), response).unwrap();
    openssl(dir, ["ocsp", "-respin", "response", "-resp_text", "-noverify"])
}

/// The elements of the BasicOCSPResponse, by `openssl asn1parse`.
pub(crate) fn elements(dir: &Path, response: &[u8]) -> String {
    fs::write(dir.join("response"), response).unwrap();
    let outer = openssl(dir, ["asn1parse", "-inform", "DER", "-in", "response"]);
    let octets = outer.lines().find(|line| line.contains("OCTET STRING")).unwrap();
    let offset = octets.trim_start().split(':').next().unwrap();
    openssl(dir, ["asn1parse", "-inform", "DER", "-in", "response", "-strparse", offset])
}

/// The value of an extension in hexadecimal, as asn1parse dumps it.
pub(crate) fn extension(elements: &str, object: &str) -> Option<String> {
    let mut lines = elements.lines().skip_while(|line| !line.ends_with(&format!(":{object}"))).skip(1);
    Some(lines.next()?.rsplit(':').next()?.to_owned())
}

/// certHash (Common PKI 2.0 part 4) of this certificate, in hexadecimal: SHA-256, and the hash by openssl.
fn cert_hash(leaf: &Leaf) -> String {
    let dir = leaf.path.parent().unwrap();
    let shown = openssl(dir, ["x509", "-in", leaf.path.to_str().unwrap(), "-noout", "-fingerprint", "-sha256"]);
    let hash = shown.trim().rsplit('=').next().unwrap().replace(':', "");
    format!("302F300B06096086480165030402010420{hash}")
}

#[test]
fn a_revoked_certificate_names_the_crl_that_has_it_and_since_when_its_key_was_lost() {
    let (ca, web) = (Ca::new("Referred"), Web::start());
    let (lost, held, good) = (ca.issue(), ca.issue(), ca.issue());
    ca.revoke(&lost, &["-crl_compromise", "20200102030405Z"]);
    ca.revoke(&held, &["-crl_reason", "certificateHold"]);
    web.gives("ca.crl", &fs::read(ca.write_crl("ca.crl")).unwrap());
    let url = web.url("ca.crl");
    let sources = format!("crl = {url:?}\nindex = {:?}\ncrl_references = true\ninvalidity_date = true", ca.index());
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let site = Site::new(&[Tenant::new("tests").issuer("ca", &ca, &sources, &signer.lines())]);
    let responder = site.start();
    let becomes = |leaf: &Leaf| {
        let said = || Ask::about(&ca, leaf).at(responder.http(), "/").status == Status::Revoked;
        until("it is revoked", PATIENCE, || said().then_some(()));
    };
    [&lost, &held].into_iter().for_each(becomes);
    // What is kept of an answer gives back the same bytes.
    let [first, second] = [0, 1].map(|_| response(&responder, &Ask::about(&ca, &lost)));
    assert!(first == second && responder.metric("ostia_requests_total", "result=\"hit\"") >= 1.0);
    Ask::about(&ca, &lost).read(&first).expect(Status::Revoked);
    let shown = text(ca.dir(), &first);
    let of_crl = [&format!("crlUrl: {url}"), "crlNum: 01", "crlTime: ", "Invalidity Date", "Jan  2 03:04:05 2020 GMT"];
    of_crl.iter().for_each(|words| assert!(shown.contains(words), "{words}: {shown}"));
    let shown = text(ca.dir(), &response(&responder, &Ask::about(&ca, &held)));
    assert!(shown.contains("crlNum: 01") && !shown.contains("Invalidity Date"), "{shown}");
    let shown = text(ca.dir(), &response(&responder, &Ask::about(&ca, &good)));
    assert!(shown.contains("Cert Status: good") && !shown.contains("crlNum"), "{shown}");
}

/// What the issuer has listed with its hash is good; whatever has none yet waits for it, and is revoked at once.
#[test]
fn good_is_said_with_the_hash_of_the_certificate_and_not_without() {
    let ca = Ca::new("Hashed");
    let (listed, bare, pushed, revoked) = (ca.issue(), ca.issue(), ca.issue(), ca.issue());
    let digits = cert_hash(&listed).split_off(34).to_ascii_lowercase();
    let lines = format!(
        "serial,status,certificate_sha256\n{},good,{digits}\n{},good,\n{},revoked,\n",
        listed.serial, bare.serial, revoked.serial
    );
    fs::write(ca.file("issued.csv"), lines).unwrap();
    let sources = format!("issued = {:?}\ncert_hash = true", ca.file("issued.csv"));
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let site = Site::new(&[Tenant::new("tests").presigned().issuer("ca", &ca, &sources, &signer.lines())]);
    let mut responder = pushes::with_api(site).start();
    let ask = |responder: &Responder, leaf: &Leaf| Ask::about(&ca, leaf).at(responder.http(), "/");
    let expect_hash = |responder: &Responder, leaf: &Leaf| {
        let response = response(responder, &Ask::about(&ca, leaf));
        Ask::about(&ca, leaf).read(&response).expect(Status::Good);
        assert_eq!(extension(&elements(ca.dir(), &response), "1.3.36.8.3.13"), Some(cert_hash(leaf)));
    };
    ask(&responder, &revoked).expect(Status::Revoked);
    ask(&responder, &bare).expect(Status::error("trylater"));
    expect_hash(&responder, &listed);
    expect_hash(&responder, &listed);
    let file = pushed.path.to_str().unwrap();
    let added = responder.site.precompute("add", &["--certificate", file]);
    assert!(added.status.success(), "{}", added.text);
    expect_hash(&responder, &pushed);
    // The list says it later, in a line of its own.
    let mut list = OpenOptions::new().append(true).open(ca.file("issued.csv")).unwrap();
    let digits = cert_hash(&bare).split_off(34);
    list.write_all(format!("{},good,{digits}\n", bare.serial).as_bytes()).unwrap();
    let said = |responder: &Responder, leaf: &Leaf| ask(responder, leaf).status == Status::Good;
    until("its hash is known", PATIENCE, || said(&responder, &bare).then_some(()));
    // The book has the hash that was pushed, and the answers that are stored have theirs.
    for _ in 0..2 {
        responder = responder.kill_and_start_again();
        for leaf in [&listed, &bare, &pushed] {
            until("its hash is known again", PATIENCE, || said(&responder, leaf).then_some(()));
            expect_hash(&responder, leaf);
        }
        let _ = fs::remove_file(responder.site.dir().join("state/answers.redb"));
    }
}

/// The files of a directory hold the certificates themselves; one that is named by a serial number alone has no hash.
#[test]
fn the_certificates_of_a_directory_are_good_with_their_hashes() {
    let ca = Ca::new("Filed");
    let (filed, added, named) = (ca.issue(), ca.issue(), ca.issue());
    let certs = ca.file("certs");
    fs::create_dir(&certs).unwrap();
    let file = |leaf: &Leaf| fs::copy(&leaf.path, certs.join(format!("{}.pem", leaf.serial))).unwrap();
    file(&filed);
    fs::write(certs.join(&named.serial), "").unwrap();
    let sources = format!("issued = \"{}/\"\ncert_hash = true", certs.display());
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let responder = Site::new(&[Tenant::new("tests").issuer("ca", &ca, &sources, &signer.lines())]).start();
    let becomes = |leaf: &Leaf, wanted: &Status| {
        let said = || Ask::about(&ca, leaf).at(responder.http(), "/").status == *wanted;
        until("it is answered so", PATIENCE, || said().then_some(()));
    };
    becomes(&named, &Status::error("trylater"));
    for leaf in [&filed, &added] {
        file(leaf);
        becomes(leaf, &Status::Good);
        let response = response(&responder, &Ask::about(&ca, leaf));
        assert_eq!(extension(&elements(ca.dir(), &response), "1.3.36.8.3.13"), Some(cert_hash(leaf)));
    }
}
