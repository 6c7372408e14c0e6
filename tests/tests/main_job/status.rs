//! What `status` tells of certificates: whose they are, what is known of them, and what is answered about them.

use std::path::PathBuf;

use ostia_tests::{Ask, Ca, Delegate, Ended, KeyKind, Site, Status, Tenant, bash};

use crate::{
    ca_and_site,
    pushes::{done, refused, with_api},
};

/// A certificate with the same serial number as that of any other CA here.
fn certified(ca: &Ca) -> PathBuf {
    let (certificate, key) = (ca.certificate(), ca.key());
    bash(
        ca.dir(),
        &format!(
            "openssl req -x509 -newkey ed25519 -nodes -keyout one.key -subj /CN=one -CA {} -CAkey {} -set_serial 0xABCD -days 7 -out one.pem",
            certificate.display(),
            key.display()
        ),
    );
    ca.file("one.pem")
}

/// Both CAs have a certificate with this serial number; one is revoked.
#[test]
fn a_certificate_is_looked_up_for_the_issuer_that_has_signed_it_alone() {
    let (root, sub, other) = (Ca::new("Root"), Ca::new("Sub"), Ca::new("Other"));
    let lines = |ca: &Ca| (format!("index = {:?}", ca.index()), ca.delegate(Delegate::Proper, KeyKind::P256).lines());
    let ((of_root, by_root), (of_sub, by_sub)) = (lines(&root), lines(&sub));
    let tenant = Tenant::new("tests").issuer("root", &root, &of_root, &by_root).issuer("sub", &sub, &of_sub, &by_sub);
    let responder = with_api(Site::new(&[tenant])).start();
    let [by_root, by_sub, by_other] = [&root, &sub, &other].map(certified);
    let push = |verb: &str, file: &PathBuf| responder.site.precompute(verb, &["--certificate", file.to_str().unwrap()]);
    for file in [&by_root, &by_sub] {
        done(&push("add", file), "added");
    }
    done(&push("revoke", &by_sub), "revoked");
    let looks = |site: &Site| {
        let status = |arguments: &[&str], file: &PathBuf| {
            site.precompute("status", &[arguments, &["--certificate", file.to_str().unwrap()]].concat())
        };
        let only = |ended: Ended, words: &str, not: &str| {
            assert!(!ended.text.contains(not), "{ended:?}");
            done(&ended, words);
        };
        only(status(&[], &by_root), "ABCD tests/root: good", "tests/sub");
        only(status(&[], &by_sub), "ABCD tests/sub: revoked", "tests/root");
        only(status(&["--issuer", "sub"], &by_sub), "ABCD tests/sub: revoked", "tests/root");
        refused(&status(&["--issuer", "sub"], &by_root), "one.pem: the issuer sub has not signed it");
        refused(&status(&[], &by_other), "one.pem: no issuer of the configuration has signed it");
        // A serial number alone may be of any.
        let ended = site.precompute("status", &["ABCD"]);
        assert!(ended.text.contains("tests/root: good") && ended.text.contains("tests/sub: revoked"), "{ended:?}");
    };
    looks(&responder.site);
    // And so it is where the book is read.
    looks(&responder.into_site());
}

#[test]
fn what_is_answered_is_told_beside_what_is_known() {
    let (ca, site) = ca_and_site();
    let (good, expired) = (ca.issue(), ca.issue_expired());
    site.edit_config(|text| text.replacen("[[tenant]]\n", "[[tenant]]\nunlisted = \"unknown\"\n", 1));
    let responder = with_api(site).start();
    let told = |serial: &str| responder.site.precompute("status", &[serial]);
    let said = |serial: &str| Ask::serial(&ca, serial).at(responder.http(), "/").status;
    let ended = told(&good.serial);
    assert!(said(&good.serial) == Status::Good && !ended.text.contains("answered"), "{ended:?}");
    done(&ended, "tests/ca: good, valid until ");
    assert_eq!(said(&expired.serial), Status::error("unauthorized"));
    done(&told(&expired.serial), "tests/ca: good, but is answered `unauthorized` (it expired at 2024-02-01T00:00:00Z)");
    assert_eq!(said("1234"), Status::Unknown);
    refused(&told("1234"), "1234: not listed; tests/ca is answered `unknown` (`unlisted` says so)");
    // The book does not know what is answered, but who has expired.
    let site = responder.into_site();
    done(&site.precompute("status", &[&expired.serial]), "good, but expired: a service answers `unauthorized`");
}

#[test]
fn without_a_token_the_book_is_read_and_nobody_is_told_to_give_the_right_to_revoke() {
    let (ca, site) = ca_and_site();
    let leaf = ca.issue();
    let responder = site.start();
    let ended = responder.site.precompute("status", &[&leaf.serial]);
    done(&ended, "ostia.toml: the service is not asked, since `admin.token_file` is missing");
    assert!(ended.text.contains("tests/ca: good") && !ended.text.contains("openssl rand"), "{ended:?}");
    refused(&responder.site.precompute("add", &["0A"]), "so nothing says who asks the running service");
}
