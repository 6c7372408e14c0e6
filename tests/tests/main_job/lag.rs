//! `ostia-loadtest lag` against the built service: how soon a push is answered, and whether it stays.

use std::{fs, path::Path, process::Command, thread, time::Duration};

use ostia_tests::{Ca, Delegate, Ended, KeyKind, Responder, Site, Tenant, programs, run, until};
use serde_json::Value;

use crate::pushes::{TOKEN, ask, issuer, with_api};

const GOOD: &str = "unlisted = \"good\"\naccept_unlisted_as_good = true";

/// A service that takes pushes, and says `good` of what it does not know.
fn started(ca: &Ca) -> Responder {
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    with_api(Site::new(&[Tenant::of(ca, &signer).set(GOOD)])).start()
}

/// The command for pushes to the first of `servers`, asked of all of them.
fn lag(ca: &Ca, servers: &[&Responder], report: &Path, more: &[&str]) -> Command {
    let urls: Vec<_> = servers.iter().map(|server| format!("http://{}/", server.http())).collect();
    let mut command = Command::new(&programs().loadtest);
    command.args(["lag", "--urls", &urls.join(","), "--push", &format!("http://{}", servers[0].site.admin)]);
    command.arg("--issuer").arg(ca.certificate()).args(["--push-issuer", &issuer(servers[0])]);
    command.arg("--token").arg(servers[0].site.dir().join("api.token")).arg("--json").arg(report);
    command.args(more);
    command
}

#[track_caller]
fn read(report: &Path, ended: &Ended, code: i32) -> Value {
    assert_eq!(ended.status.code(), Some(code), "{}", ended.text);
    assert!(!ended.text.contains(TOKEN), "{}", ended.text);
    serde_json::from_slice(&fs::read(report).unwrap()).unwrap()
}

#[test]
fn pushes_to_one_service_are_answered_at_once_and_by_every_one_of_its_urls() {
    let ca = Ca::new("Lag CA");
    let service = started(&ca);
    let report = ca.dir().join("lag.json");
    let expect = ["--pushes", "20", "--expect", "max<10s,errors=0,wrong=0"];
    let ended = run(&mut lag(&ca, &[&service], &report, &expect));
    let told = read(&report, &ended, 0);
    assert_eq!(told["replicas"][0]["revocations"], 20, "{told}");
    assert!(told["replicas"][0]["asked_again"].as_u64().unwrap() >= 20, "{told}");

    let followers = ["--replicas", "--pushes", "20", "--expect", "p99<10s,errors=0,wrong=0"];
    let ended = run(&mut lag(&ca, &[&service, &service], &report, &followers));
    let told = read(&report, &ended, 0);
    for replica in told["replicas"].as_array().unwrap() {
        assert_eq!(
            (&replica["revocations"], &replica["missed"], &replica["went_back"]),
            (&20.into(), &0.into(), &0.into())
        );
        assert!(replica["lag_us"]["p99"].is_number() && replica["asked_again"].as_u64().unwrap() >= 20, "{told}");
    }
    assert!(told["last_us"]["p99"].as_f64() >= told["latency_us"]["p50"].as_f64(), "{told}");
    assert!(ended.text.contains("none went back in"), "{}", ended.text);
}

#[test]
fn a_replica_that_never_hears_of_a_push_and_one_that_forgets_it_are_told() {
    let ca = Ca::new("Lag CA");
    let (service, stranger) = (started(&ca), started(&ca));
    let report = ca.dir().join("lag.json");
    let short = ["--replicas", "--pushes", "2", "--timeout", "2s"];
    let ended = run(&mut lag(&ca, &[&service, &stranger], &report, &short));
    let told = read(&report, &ended, 3);
    assert_eq!((&told["replicas"][1]["missed"], &told["kinds"]["wrong_status"]), (&2.into(), &2.into()), "{told}");
    assert!(told["last_us"].is_null() && told["replicas"][0]["missed"] == 0, "{told}");

    // The service loses its book while it is still being asked.
    let mut command = lag(&ca, &[&service], &report, &["--replicas", "--pushes", "10", "--keep-asking", "20s"]);
    let asking = thread::spawn(move || run(&mut command));
    until("all are revoked", Duration::from_secs(15), || {
        let issuers = ask(&service, "GET", "/v1/issuers", "").1;
        (issuers["issuers"][0]["counts"]["revoked"] == 12).then_some(())
    });
    let site = service.into_site();
    fs::remove_dir_all(site.dir().join("state")).unwrap();
    let _service = site.start();
    let ended = asking.join().unwrap();
    let told = read(&report, &ended, 3);
    assert!(told["replicas"][0]["went_back"].as_u64().unwrap() >= 10 && told["kinds"]["connect"].is_number(), "{told}");
    assert!(ended.text.contains("WENT BACK in"), "{}", ended.text);
}
