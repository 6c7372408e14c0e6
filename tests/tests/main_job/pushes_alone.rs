//! Issuers without files: what is pushed is all that is known of them.

use std::{process::Command, time::Duration};

use ostia_tests::{Ask, Ca, Delegate, KeyKind, Responder, Site, Status, Tenant, run, until};
use serde_json::json;

use crate::pushes::{ask, done, is, started, with_api};

const PATIENCE: Duration = Duration::from_secs(60);

/// Lines of policy, by name of the tenant, and what an unlisted serial gets then.
fn policies() -> [(&'static str, &'static str, Status); 3] {
    [
        ("a", "unlisted = \"unauthorized\"", Status::error("unauthorized")),
        ("b", "unlisted = \"unknown\"", Status::Unknown),
        ("c", "unlisted = \"good\"\naccept_unlisted_as_good = true", Status::Good),
    ]
}

fn push(responder: &Responder, tenant: &str, verb: &str, serial: &str) -> (u16, String) {
    let path = format!("/v1/issuers/{tenant}:ca/{verb}");
    let (status, said) = ask(responder, "POST", &path, &json!({ "serial": serial }).to_string());
    (status, said.to_string())
}

/// What `openssl ocsp` prints when it asks about two serial numbers at once.
fn asked_for_two(responder: &Responder, ca: &Ca, serials: [&str; 2], path: &str) -> String {
    let mut command = Command::new("openssl");
    command.args(["ocsp", "-no_nonce", "-issuer"]).arg(ca.certificate());
    for serial in serials {
        command.arg("-serial").arg(format!("0x{serial}"));
    }
    command.arg("-CAfile").arg(ca.certificate()).arg("-url").arg(format!("http://{}{path}", responder.http()));
    run(&mut command).text
}

#[test]
fn of_an_issuer_without_files_nothing_is_told_before_something_is_known_and_then_what_the_policy_says() {
    let ca = Ca::new("CA without files");
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let tenant = |(name, policy, _): &(&str, &str, Status)| {
        let tenant = Tenant::new(name).set(&format!("path = \"/{name}\"\n{policy}"));
        tenant.issuer("ca", &ca, "pushes = true", &signer.lines())
    };
    let site = with_api(Site::new(&policies().iter().map(tenant).collect::<Vec<_>>()));
    let checked = site.check();
    assert!(checked.status.success(), "{checked:?}");
    let mut responder = site.start();
    let status = |responder: &Responder, serial: &str, name: &str| {
        Ask::serial(&ca, serial).at(responder.http(), &format!("/{name}")).status
    };
    let try_later = Status::error("trylater");
    for _ in 0..2 {
        for (name, ..) in policies() {
            assert_eq!(status(&responder, "0A", name), try_later, "{name}");
            let two = asked_for_two(&responder, &ca, ["0A", "0B"], &format!("/{name}"));
            assert!(two.contains("trylater"), "{name}: {two}");
        }
        // A restart knows no more.
        responder = responder.kill_and_start_again();
    }
    for (name, _, unlisted) in policies() {
        assert_eq!(push(&responder, name, "revoke", "0A").0, 404, "nobody has listed it");
        assert_eq!(status(&responder, "0A", name), try_later, "{name}: a refused push says nothing");
        assert_eq!(push(&responder, name, "add", "0A").0, 200);
        assert_eq!(status(&responder, "0A", name), Status::Good, "{name}");
        assert_eq!(status(&responder, "0B", name), unlisted, "{name}: the policy counts for all others");
        let two = asked_for_two(&responder, &ca, ["0A", "0B"], &format!("/{name}"));
        assert!(two.contains("0x0A: good") && !two.contains("trylater"), "{name}: {two}");
    }
    assert_eq!(responder.readiness(), (200, "ready\n".into()));
    for (name, ..) in policies() {
        assert_eq!(push(&responder, name, "revoke", "0A").0, 200);
        assert_eq!(status(&responder, "0A", name), Status::Revoked);
    }
    let checked = responder.site.check();
    assert!(checked.status.success(), "{checked:?}");
    let mut again = responder.kill_and_start_again();
    for kill in [true, false] {
        for (name, _, unlisted) in policies() {
            assert_eq!(status(&again, "0A", name), Status::Revoked, "{name}");
            assert_eq!(status(&again, "0B", name), unlisted, "{name}");
        }
        if kill {
            assert!(again.end_by("TERM").success(), "{}", again.log());
            again = again.into_site().start();
        }
    }
    assert_eq!(again.readiness(), (200, "ready\n".into()));
}

#[test]
fn an_issuer_that_loses_its_index_to_pushes_alone_keeps_its_records() {
    let (ca, responder) = started();
    let (good, revoked) = (ca.issue(), ca.issue());
    ca.revoke(&revoked, &["-crl_reason", "superseded"]);
    until("the index is read", PATIENCE, || {
        (Ask::about(&ca, &revoked).at(responder.http(), "/").status == Status::Revoked).then_some(())
    });
    done(&responder.site.precompute("add", &["ABCD"]), "added");
    let source = format!("index = {:?}", ca.index());
    responder.reload(|text| text.replace(&source, "pushes = true"));
    until("the reload", PATIENCE, || responder.log().contains("the configuration was read again").then_some(()));
    std::fs::remove_file(ca.index()).unwrap();
    let all = |responder: &Responder| {
        is(responder, &ca, &revoked.serial, Status::Revoked);
        is(responder, &ca, "ABCD", Status::Good);
        is(responder, &ca, "DCBA", Status::error("unauthorized"));
    };
    all(&responder);
    is(&responder, &ca, &good.serial, Status::Good);
    done(&responder.site.precompute("revoke", &[&good.serial]), "revoked");
    is(&responder, &ca, &good.serial, Status::Revoked);
    assert!(responder.site.check().status.success());
    let again = responder.kill_and_start_again();
    all(&again);
    is(&again, &ca, &good.serial, Status::Revoked);
    assert_eq!(again.readiness(), (200, "ready\n".into()));
}
