//! What `check` tries and warns of: what is in order and may not be meant, counted and told at the end.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _, time::Duration};

use ostia_tests::{Ca, Delegate, KeyKind, Site, Tenant, Tsa, TsaCertificate, bash, openssl};

use crate::ca_and_site;

/// Checks whoever counts warnings, and whoever wants none.
#[track_caller]
fn warns(site: &Site, what: &str, told: &[&str]) {
    let checked = site.check();
    assert!(checked.status.success(), "{what}: {checked:?}");
    let told_at_the_end = checked.text.split_once("WARNING: ").map(|(_, end)| end);
    let end = told_at_the_end.unwrap_or_else(|| panic!("{what}: no warning in {}", checked.text));
    for told in told {
        assert!(end.contains(told), "{what}: no `{told}` in {}", checked.text);
    }
    let count = checked.text.lines().filter(|line| line.starts_with("WARNING: ")).count();
    let counted =
        if count == 1 { "in order, with 1 warning\n".into() } else { format!("in order, with {count} warnings\n") };
    assert!(checked.text.contains(&counted), "{what}: {}", checked.text);
    let strict = site.check_with(&["--strict"]);
    assert_eq!(strict.status.code(), Some(3), "{what}: {strict:?}");
    assert!(strict.text.contains("which --strict treats as failures"), "{what}: {strict:?}");
}

#[test]
fn a_check_tells_nothing_of_the_log_among_its_text() {
    let (ca, site) = ca_and_site();
    ca.issue();
    let site = site.environment("RUST_LOG", "debug");
    let checked = site.check();
    assert!(checked.status.success() && checked.text.contains("everything is in order"), "{checked:?}");
    assert!(!checked.text.contains("RUST_LOG") && !checked.text.contains("{\""), "{checked:?}");
}

#[test]
fn a_site_that_is_in_order_has_no_warning_and_is_strictly_in_order() {
    let (ca, site) = ca_and_site();
    ca.issue();
    let strict = site.check_with(&["--strict"]);
    assert!(strict.status.success() && strict.text.contains("everything is in order"), "{strict:?}");
    assert!(!strict.text.contains("WARNING"), "{strict:?}");
    // The service that runs holds its addresses and its state, which is as it should be before a reload.
    let responder = site.start();
    let strict = responder.site.check_with(&["--strict"]);
    assert!(strict.status.success(), "{strict:?}");
}

/// The start makes the state directory, and every journal in it.
#[test]
fn a_new_host_without_a_state_directory_is_in_order_with_journals_as_well() {
    let (ca, site) = ca_and_site();
    ca.issue();
    site.edit_config(|text| text + "\n[journal]\nocsp = true\n");
    let _ = std::fs::remove_dir_all(site.dir().join("state"));
    let checked = site.check();
    assert!(checked.status.success() && checked.text.contains("everything is in order"), "{checked:?}");
    site.edit_config(|text| text.replace("\n[journal]\n", "\n[journal]\npath = \"nowhere/journal.jsonl\"\n"));
    let checked = site.check();
    assert!(!checked.status.success() && checked.text.contains("cannot be written there"), "{checked:?}");
    site.edit_config(|text| text.replace("path = \"nowhere/journal.jsonl\"\n", ""));
    site.start();
}

#[test]
fn what_is_in_order_and_may_not_be_meant_is_a_warning_that_counts() {
    type Spoil = fn(&Ca, &Site);
    let cases: &[(&str, Spoil, &[&str])] = &[
        (
            "an empty index",
            |ca, _| ca.replace_index(""),
            &["index.txt: `index`: lists no certificate", "name its database"],
        ),
        (
            "another CA's index",
            |ca, _| {
                let other = Ca::new("Another CA");
                openssl(other.dir(), ["rand", "-hex", "-out", "serial", "16"]);
                other.issue();
                ca.replace_index(&fs::read_to_string(other.index()).unwrap());
            },
            &["index.txt: `index`: lists 1 certificates but not 1000", "another CA's", "name this CA's database"],
        ),
        (
            "another CA's index beside the right one",
            |ca, site| {
                let other = Ca::new("Another CA");
                openssl(other.dir(), ["rand", "-hex", "-out", "serial", "16"]);
                other.issue();
                let copy = site.dir().join("other");
                bash(site.dir(), &format!("cp -r {} {}", other.dir().display(), copy.display()));
                let (own, both) =
                    (format!("{:?}", ca.index()), format!("[{:?}, {:?}]", ca.index(), copy.join("index.txt")));
                site.edit_config(|text| text.replacen(&format!("index = {own}"), &format!("index = {both}"), 1));
            },
            &[
                "other/index.txt: `index`: lists ",
                "was issued by `CN=Another CA,O=Ostia tests`",
                "name this CA's database",
            ],
        ),
        (
            "answers that are to carry hashes which no source has",
            |_, site| {
                site.edit_config(|text| text.replacen("[[tenant]]", "[[tenant]]\ncert_hash = true", 1));
            },
            &[
                "`cert_hash`: 1 of 1 certificates have no hash in the sources",
                "name a list or a query with `certificate_sha256`",
            ],
        ),
        (
            "an index of which all have expired",
            |ca, _| {
                let index = fs::read_to_string(ca.index()).unwrap();
                let fields = index.split('\t').collect::<Vec<_>>();
                ca.replace_index(&index.replace(fields[1], "240101000000Z"));
            },
            &["all of which have expired", "an old copy"],
        ),
        (
            "an index that everybody may write",
            |ca, _| fs::set_permissions(ca.index(), fs::Permissions::from_mode(0o666)).unwrap(),
            &["tenant.issuer.index", "mode 0666", "chmod o-w"],
        ),
        (
            "a state directory without its parent",
            |_, site| site.edit_config(|text| text.replace("state_dir = \"state\"", "state_dir = \"gone/state\"")),
            &["ostia.toml:2: state_dir", "gone does not exist", "mount it first"],
        ),
        (
            "a state directory that others may write",
            |_, site| {
                fs::create_dir(site.dir().join("state")).unwrap();
                fs::set_permissions(site.dir().join("state"), fs::Permissions::from_mode(0o777)).unwrap();
            },
            &["state_dir", "mode 0777", "chmod go-w"],
        ),
        (
            "sockets that systemd did not pass",
            |_, site| site.edit_config(|text| text.replace("[http]\nlisten = [", "[http]\nlisten = [\"systemd\", ")),
            &["ostia.toml: http.listen: says `systemd`", "make sure that it is enabled"],
        ),
        (
            "an address that is no interface's",
            |_, site| {
                site.edit_config(|text| text.replace("[http]\nlisten = [", "[http]\nlisten = [\"192.0.2.1:80\", "))
            },
            &["http.listen: cannot listen on 192.0.2.1:80", "no interface of this machine"],
        ),
        (
            "good for what is not listed",
            |_, site| {
                let good = "[[tenant]]\nunlisted = \"good\"\naccept_unlisted_as_good = true";
                site.edit_config(|text| text.replacen("[[tenant]]", good, 1));
            },
            &["tenant.unlisted: is `good`", "BR 4.9.10"],
        ),
        (
            "a CA that ends soon",
            |ca, _| {
                let anew =
                    ["req", "-config", "openssl.cnf", "-new", "-x509", "-key", "ca.key", "-extensions", "ca_cert"];
                let subject = ["-subj", "/O=Ostia tests/CN=Main job CA", "-days", "20", "-out", "ca.pem"];
                openssl(ca.dir(), [&anew[..], &subject].concat());
            },
            &["tenant.issuer.certificate: ends soon, at ", "and no answer can be valid beyond it"],
        ),
        (
            "a retention that outlives the CA",
            |_, site| {
                let long = "[[tenant]]\nretain_expired = \"36500d\"";
                site.edit_config(|text| text.replacen("[[tenant]]", long, 1));
            },
            &["tenant.issuer.certificate", "`retain_expired`", "renew the CA's certificate"],
        ),
    ];
    for (what, spoil, told) in cases {
        let (ca, site) = ca_and_site();
        spoil(&ca, &site);
        warns(&site, what, told);
    }
    let ca = Ca::new("CA");
    let of = |signer| Site::new(&[Tenant::of(&ca, &signer)]);
    let ending = of(ca.delegate_for(Duration::from_secs(40 * 60)));
    warns(&ending, "40 minutes left", &["tenant.issuer.signer.certificate: expires soon, at ", "renew it"]);
    let no_check = of(ca.delegate(Delegate::NoNocheck, KeyKind::P256));
    warns(&no_check, "no nocheck", &["signer.certificate: has no id-pkix-ocsp-nocheck", "noCheck = ignored"]);
}

#[test]
fn a_port_that_somebody_else_has_is_warned_of() {
    let (_ca, site) = ca_and_site();
    for address in [site.http, site.admin] {
        let _busy = TcpListener::bind(address).unwrap();
        warns(&site, "busy", &[&format!("cannot listen on {address}"), "choose another"]);
    }
}

#[test]
fn a_tls_certificate_that_ends_soon_is_warned_of() {
    let (ca, site) = ca_and_site();
    for (days, told) in [("3", "expires soon, at "), ("30", "")] {
        let request = ["req", "-config", "openssl.cnf", "-new", "-x509", "-key", "leaf.key", "-subj", "/CN=localhost"];
        let request = [&request[..], &["-addext", "subjectAltName = DNS:localhost"]].concat();
        openssl(ca.dir(), [&request[..], &["-days", days, "-out", "tls.pem"]].concat());
        let (certificate, key) = (ca.file("tls.pem"), ca.file("leaf.key"));
        let tls = format!("[tls]\nlisten = [\"127.0.0.1:0\"]\ncertificate = {certificate:?}\nkey = {key:?}\n[admin]");
        let text = fs::read_to_string(site.config()).unwrap();
        site.edit_config(|text| text.replacen("[admin]", &tls, 1));
        if told.is_empty() {
            assert!(site.check_with(&["--strict"]).status.success());
        } else {
            warns(&site, "TLS", &["tls.certificate", told, "used without a restart"]);
        }
        site.edit_config(|_| text);
    }
}

#[test]
fn a_clock_that_does_not_answer_is_warned_of_where_somebody_time_stamps() {
    let ca = Ca::new("CA");
    let signer = ca.tsa(TsaCertificate::Proper, KeyKind::P256);
    let site = Site::new(&[Tenant::new("tests").tsa(&Tsa::of("tsa", &signer))]);
    warns(&site, "unchecked", &["clock = \"unchecked\"", "tests/tsa"]);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    site.edit_config(|text| text.replace("\"unchecked\"", &format!("\"chrony:{silent}\"")));
    warns(&site, "silent", &["no time-stamps", "chrony"]);
}

#[test]
fn warnings_are_told_as_well_where_the_configuration_is_refused() {
    let ca = Ca::new("CA");
    let site = Site::new(&[Tenant::of(&ca, &ca.delegate(Delegate::NoNocheck, KeyKind::P256)).set("nonce = \"yes\"")]);
    let checked = site.check_with(&["--strict"]);
    assert_eq!(checked.status.code(), Some(78), "{checked:?}");
    assert!(checked.text.contains("WARNING: ") && checked.text.contains("id-pkix-ocsp-nocheck"), "{checked:?}");
    assert!(checked.text.contains("tenant.nonce: is `yes`"), "{checked:?}");
}

#[test]
fn another_programs_log_filter_is_not_looked_at_and_that_is_told() {
    let (_ca, site) = ca_and_site();
    let log = site.environment("RUST_LOG", "off").start().log();
    assert!(log.contains("RUST_LOG is set and not looked at"), "{log}");
}

/// The service went on as it was, and said so; `check` beside it found everything in order.
#[test]
fn what_the_service_answers_although_its_sources_say_otherwise_is_a_warning() {
    let (ca, site) = ca_and_site();
    let leaf = ca.issue();
    let index = fs::read_to_string(ca.index()).unwrap();
    ca.revoke(&leaf, &["-crl_reason", "superseded"]);
    let responder = site.start();
    let strict = responder.site.check_with(&["--strict"]);
    assert!(strict.status.success(), "{strict:?}");
    ca.replace_index(&index);
    let told = format!("the sources take back 1 revocations, which stay (the first is {})", leaf.serial);
    warns(&responder.site, "an old copy of the index", &[&told]);
    let site = responder.into_site();
    site.edit_config(|text| {
        text.replacen("[[tenant.issuer]]\n", "[[tenant.issuer]]\nca_revoked_since = 2026-01-01T00:00:00Z\n", 1)
    });
    let told = "the CA's own certificate is revoked since 2026-01-01T00:00:00Z, and all its certificates";
    warns(&site, "a CA that is revoked", &[told]);
}
