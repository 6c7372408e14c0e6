//! What is said of serials that no source lists: each issuer's own affair.

use std::{process::Command, time::Duration};

use ostia_tests::{Ask, Ca, Delegate, KeyKind, Leaf, Responder, Signer, Site, Status, Tenant, run, until};

const GOOD: &str = "unlisted = \"good\"\naccept_unlisted_as_good = true\n";
const INVENTED: &str = "ABCDEF";

/// Two CAs of one tenant: one with an index, one with nothing but a CRL; and who signs for both.
struct Neighbours {
    by_index: Ca,
    by_crl: Ca,
    listed: Leaf,
    revoked: Leaf,
    signer: Signer,
}

impl Neighbours {
    fn new() -> Self {
        let (by_index, by_crl) = (Ca::new("By index"), Ca::new("By CRL"));
        let (listed, revoked) = (by_index.issue(), by_crl.issue());
        by_crl.revoke(&revoked, &[]);
        by_crl.write_crl("ca.crl");
        let signer = by_index.delegate(Delegate::Proper, KeyKind::P256);
        Self { by_index, by_crl, listed, revoked, signer }
    }

    /// `of_tenant`, `of_index` and `of_crl`: lines of the tenant and of its two issuers.
    fn site(&self, of_tenant: &str, of_index: &str, of_crl: &str) -> Site {
        let index = format!("index = {:?}\n{of_index}", self.by_index.index());
        let crl = format!("crl = {:?}\n{of_crl}", self.by_crl.file("ca.crl"));
        let designated = self.signer.lines() + "\ndesignated = true";
        let tenant = Tenant::new("tests").set(of_tenant);
        let tenant = tenant.issuer("by-index", &self.by_index, &index, &self.signer.lines());
        Site::new(&[tenant.issuer("by-crl", &self.by_crl, &crl, &designated)])
    }

    fn said(responder: &Responder, ca: &Ca, serial: &str) -> Status {
        // Whose signature it is does not matter here: a client of the other CA does not know the signer.
        Ask::serial(ca, serial).at(responder.http(), "/").status
    }

    /// What the invented serial is told under both.
    fn of_invented(&self, responder: &Responder) -> [Status; 2] {
        [&self.by_index, &self.by_crl].map(|ca| Self::said(responder, ca, INVENTED))
    }
}

fn unauthorized() -> Status {
    Status::error("unauthorized")
}

#[test]
fn beside_an_index_an_invented_serial_is_not_good_because_of_a_neighbour() {
    let both = Neighbours::new();
    let unknown = "unlisted = \"unknown\"\n";
    for (of_tenant, of_index, of_crl, expected) in [
        ("", "", GOOD, [unauthorized(), Status::Good]),
        (GOOD, "", "", [unauthorized(), Status::Good]),
        (GOOD, GOOD, "", [Status::Good, Status::Good]),
        (GOOD, unknown, "", [Status::Unknown, Status::Good]),
        (unknown, "", GOOD, [Status::Unknown, Status::Good]),
        (unknown, "", "unlisted = \"unauthorized\"\n", [Status::Unknown, unauthorized()]),
        ("", "", "", [unauthorized(), unauthorized()]),
    ] {
        let responder = both.site(of_tenant, of_index, of_crl).start();
        // Twice: signed, and kept where it is.
        for _ in 0..2 {
            assert_eq!(both.of_invented(&responder), expected, "{of_tenant:?} {of_index:?} {of_crl:?}");
        }
        assert_eq!(Neighbours::said(&responder, &both.by_index, &both.listed.serial), Status::Good);
        assert_eq!(Neighbours::said(&responder, &both.by_crl, &both.revoked.serial), Status::Revoked);
    }
}

#[test]
fn among_several_each_serial_is_told_what_its_own_issuer_says() {
    let both = Neighbours::new();
    for crl_first in [false, true] {
        let responder = both.site("", "", GOOD).start();
        let mut command = Command::new("openssl");
        command.args(["ocsp", "-no_nonce", "-url", &format!("http://{}/", responder.http()), "-VAfile"]);
        command.arg(&both.signer.certificate);
        let mut cas = [&both.by_index, &both.by_crl];
        if crl_first {
            cas.reverse();
        }
        for ca in cas {
            command.arg("-issuer").arg(ca.certificate()).args(["-serial", &format!("0x{INVENTED}")]);
        }
        let text = run(&mut command).text;
        let said = |word: &str| text.lines().position(|line| line.ends_with(&format!(": {word}")));
        let (unknown, good) = (said("unknown"), said("good"));
        assert!(unknown.is_some() && good.is_some(), "{text}");
        assert_eq!(good < unknown, crl_first, "{text}");
    }
}

#[test]
fn a_reload_changes_what_is_said_under_one_issuer_and_nothing_that_was_kept_outlives_it() {
    let both = Neighbours::new();
    let responder = both.site("", "", GOOD).start();
    assert_eq!(both.of_invented(&responder), [unauthorized(), Status::Good]);
    let turns = |expected: [Status; 2]| {
        until("it turns", Duration::from_secs(20), || (both.of_invented(&responder) == expected).then_some(()));
    };
    responder.reload(|text| text.replace(GOOD, "unlisted = \"unauthorized\"\n"));
    turns([unauthorized(), unauthorized()]);
    responder.reload(|text| text.replace("unlisted = \"unauthorized\"\n", GOOD));
    turns([unauthorized(), Status::Good]);
}

#[test]
fn what_valid_certificates_are_told_under_a_crl_alone_is_asked_for_until_it_is_said() {
    let both = Neighbours::new();
    let site = both.site("", "", "");
    let checked = site.check();
    assert!(checked.status.code() == Some(78), "{checked:?}");
    assert!(checked.text.contains("tenant.issuer[1].crl: lists revoked certificates only"), "{checked:?}");
    // An installation that is updated goes on serving.
    let responder = site.start();
    let told = "tests/by-crl: its CRL lists revoked certificates only";
    let (status, text) = responder.readiness();
    assert!(status == 200 && text.contains(told) && !text.contains("by-index"), "{text}");
    let log = responder.log();
    assert!(log.contains("WARN") && log.contains("`unlisted = \\\"unauthorized\\\"` (no change)"), "{log}");
    responder.reload(|text| text.replacen("crl = ", "unlisted = \"unauthorized\"\ncrl = ", 1));
    until("it is said", Duration::from_secs(20), || (!responder.readiness().1.contains(told)).then_some(()));
    let checked = responder.site.check();
    assert!(checked.status.success() && !checked.text.contains("lists revoked certificates only"), "{checked:?}");
}

#[test]
fn a_tenants_good_that_an_index_does_not_take_is_told() {
    let both = Neighbours::new();
    let checked = both.site(GOOD, "", "").check();
    for told in ["tenant.issuer[0].index: lists every certificate", "does not apply here", "set `unlisted` here too"] {
        assert!(checked.status.success() && checked.text.contains(told), "{checked:?}");
    }
}
