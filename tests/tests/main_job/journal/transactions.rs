//! The record of OCSP transactions: who was told what about which certificate.

use std::{fs, path::Path, process::Command};

use ostia_tests::{
    Ask, Ca, Delegate, KeyKind, Leaf, Site, Status, Tenant,
    http::{exchange, get, ocsp_target, post},
    run, until,
};
use serde_json::Value;

use super::{PATIENCE, audit, done, ended, key, refused};

/// Two tenants whose transactions are kept, each with a CA of its own.
fn recording(lines: &str) -> (Ca, Ca, Site) {
    let (one, two) = (Ca::new("CA of one"), Ca::new("CA of two"));
    let tenant = |name: &str, ca: &Ca| {
        let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
        let tenant = Tenant::new(name).set(&format!("path = \"/{name}\"\nnonce = \"echo\""));
        tenant.issuer("ca", ca, &format!("index = {:?}", ca.index()), &signer.lines())
    };
    let site = Site::new(&[tenant("one", &one), tenant("two", &two)]);
    site.edit_config(|text| text.replacen("[admin]\n", &format!("[journal]\nocsp = true\n{lines}\n[admin]\n"), 1));
    (one, two, site)
}

/// The transactions that are there, in the order of time: each serving thread has a queue of its own.
fn transactions(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let lines = whole.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut lines: Vec<_> = lines.filter(|line| line["type"] == "ocsp").collect();
    // Fractions have the digits that they need.
    lines.sort_by_key(|line| {
        let (second, fraction) = line["time"].as_str().unwrap().trim_end_matches('Z').split_at(19);
        (second.to_owned(), format!("{:0<6}", fraction.trim_start_matches('.')))
    });
    lines
}

/// What one says, without times.
fn said(line: &Value) -> [&str; 5] {
    ["tenant", "issuer", "serial", "status", "result"].map(|name| line[name].as_str().unwrap_or("null"))
}

/// A request about several certificates.
fn about(ca: &Ca, leaves: &[&Leaf], arguments: &[&str]) -> Vec<u8> {
    let file = ca.file("request");
    let mut command = Command::new("openssl");
    command.args(["ocsp", "-issuer"]).arg(ca.certificate());
    command.args(leaves.iter().flat_map(|leaf| ["-serial".to_owned(), format!("0x{}", leaf.serial)]));
    let ended = run(command.args(arguments).arg("-reqout").arg(&file));
    assert!(ended.status.success(), "{ended:?}");
    fs::read(file).unwrap()
}

#[test]
fn who_was_told_what_about_which_certificate_stands_in_a_record_that_verifies() {
    let (one, two, site) = recording("");
    site.set_http("trusted_networks = [\"127.0.0.0/8\"]");
    let [good, bad] = [(); 2].map(|()| one.issue());
    one.revoke(&bad, &["-crl_reason", "keyCompromise"]);
    // Not the same serial number.
    let [_, _, _, other] = [(); 4].map(|()| two.issue());
    let responder = site.start();
    let file = responder.site.dir().join("state/ocsp.jsonl");
    let http = responder.http();

    let ask = |ca: &Ca, leaf: &Leaf, path: &str, expected: Status| Ask::about(ca, leaf).at(http, path).expect(expected);
    ask(&one, &good, "/one", Status::Good);
    ask(&one, &good, "/one", Status::Good);
    ask(&one, &bad, "/one", Status::Revoked);
    let target = ocsp_target("/one/", &Ask::about(&one, &bad).request());
    let from = format!("GET {target} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n");
    assert_eq!(exchange(http, from.as_bytes()).unwrap().status, 200);
    Ask::about(&two, &other).nonce().at(http, "/two").expect(Status::Good);
    // Another tenant's certificate, an unlisted one, no request at all, and a page, which is no transaction.
    ask(&one, &good, "/two", Status::Error("unauthorized".into()));
    Ask::serial(&one, "BEEF").at(http, "/one").expect(Status::Error("unauthorized".into()));
    assert_eq!(post(http, "/one", b"\x30\x00").status, 200);
    assert_eq!(get(http, "/one/").status, 200);
    // One for several: a line for each.
    assert_eq!(post(http, "/one", &about(&one, &[&good, &bad], &["-no_nonce"])).status, 200);

    let (g, b) = (good.serial.as_str(), bad.serial.as_str());
    let expected = [
        ["one", "ca", g, "good", "signed"],
        ["one", "ca", g, "good", "hit"],
        ["one", "ca", b, "revoked", "signed"],
        ["one", "ca", b, "revoked", "hit"],
        ["two", "ca", &other.serial, "good", "signed"],
        ["two", "null", "null", "null", "unauthorized"],
        ["one", "ca", "BEEF", "null", "unauthorized"],
        ["one", "null", "null", "null", "malformed_request"],
        ["one", "ca", g, "good", "signed"],
        ["one", "ca", b, "revoked", "signed"],
    ];
    until("they are written", PATIENCE, || (transactions(&file).len() == expected.len()).then_some(()));
    let lines = transactions(&file);
    let mut told: Vec<_> = lines.iter().map(said).collect();
    assert_eq!(told, expected);
    for line in &lines {
        let (client, microseconds) = (line["client"].as_str().unwrap(), line["latency_us"].as_u64().unwrap());
        assert_eq!(client, if line == &lines[3] { "192.0.2.9" } else { "127.0.0.1" }, "{line}");
        assert!(microseconds > 0 && microseconds < 60_000_000, "{line}");
    }
    assert_eq!(responder.metric("ostia_ocsp_record_lines_total", ""), expected.len() as f64);
    assert_eq!(responder.metric("ostia_ocsp_record_lost_total", ""), 0.0);
    assert_eq!(responder.metric("ostia_ocsp_record_faulty", ""), 0.0);

    let site = ended(responder);
    let key = key(&site);
    let verified = audit(&["verify", "--key", &key], &[&file]);
    done(&verified, "in order: journal `ocsp`");
    assert!(verified.text.contains("0 lines behind it"), "{verified:?}");
    // The journal of the service stands in the same directory.
    let (out, dir) = (site.dir().join("two.jsonl"), file.parent().unwrap().to_owned());
    let export = |more: &[&str]| {
        let arguments = ["export", "--tenant", "two", "--out", out.to_str().unwrap()];
        audit(&[&arguments, more].concat(), &[&dir])
    };
    refused(&export(&[]), "choose one by `--journal NAME`");
    done(&export(&["--journal", "ocsp"]), "2 lines of `two`");
    done(&audit(&["verify", "--key", &key], &[&out]), "of them hidden");
    told = expected.into_iter().filter(|line| line[0] == "two").collect();
    assert_eq!(transactions(&out).iter().map(said).collect::<Vec<_>>(), told);
}

#[test]
fn a_record_of_transactions_that_cannot_be_written_is_told_and_answers_go_on() {
    let (one, _two, site) = recording("ocsp_path = \"told/ocsp.jsonl\"");
    let leaf = one.issue();
    let said = site.refuses_to_start();
    assert!(said.contains("journal") && said.contains("told/ocsp.jsonl"), "{said}");
    let dir = site.dir().join("told");
    fs::create_dir(&dir).unwrap();
    let responder = site.start();
    let file = dir.join("ocsp.jsonl");
    let ask = || Ask::about(&one, &leaf).at(responder.http(), "/one").expect(Status::Good);
    ask();
    until("it is written", PATIENCE, || (transactions(&file).len() == 1).then_some(()));
    // As logrotate does, into a directory that lets nothing be made.
    fs::rename(&file, dir.join("ocsp.jsonl.1")).unwrap();
    fs::create_dir(&file).unwrap();
    responder.signal("HUP");
    let degraded = || {
        let (status, said) = responder.readiness();
        (status == 200 && said.contains("degraded: the record of OCSP transactions: ")).then_some(())
    };
    until("it is told", PATIENCE, degraded);
    assert_eq!(responder.metric("ostia_ocsp_record_faulty", ""), 1.0);
    ask();
    fs::remove_dir(&file).unwrap();
    until("the file is there again", PATIENCE, || file.exists().then_some(()));
    ask();
    until("it goes on", PATIENCE, || (transactions(&file).len() == 1).then_some(()));
    let site = ended(responder);
    done(&audit(&["verify", "--key", &key(&site)], &[&dir]), "in order: journal `ocsp`");
    assert_eq!(transactions(&dir.join("ocsp.jsonl.1")).len(), 2, "the second was told in the file from before");
}

#[test]
fn a_wrong_record_of_transactions_is_refused_with_key_and_remedy() {
    for (lines, wanted) in [
        ("ocsp = true\nocsp_path = \"j\"\npath = \"j\"", ["journal.ocsp_path", "one of its own"]),
        ("ocsp_keep = 3", ["journal.ocsp_keep", "add `ocsp = true`"]),
        ("ocsp = \"all\"", ["journal.ocsp", "true or false"]),
    ] {
        let (_ca, site) = crate::ca_and_site();
        site.edit_config(|text| text.replacen("[admin]\n", &format!("[journal]\n{lines}\n[admin]\n"), 1));
        site.is_refused(&wanted);
    }
}
