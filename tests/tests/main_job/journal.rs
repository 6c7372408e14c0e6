//! The journal of the service: what was done, and to whom it can be proven.

mod transactions;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use ostia_tests::{Ca, Delegate, Ended, Kept, KeyKind, Responder, Site, Tenant, programs, run, until};
use serde_json::Value;

use crate::{
    ca_and_site,
    pushes::{done, refused, with_api},
};

pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A site that takes pushes and keeps a journal.
fn keeping() -> (Ca, Site) {
    let (ca, site) = ca_and_site();
    let site = with_api(site);
    keep(&site);
    (ca, site)
}

fn keep(site: &Site) {
    site.edit_config(|text| text.replacen("[admin]\n", "[journal]\npath = \"journal.jsonl\"\n[admin]\n", 1));
}

fn audit(arguments: &[&str], paths: &[&Path]) -> Ended {
    run(Command::new(&programs().precompute).arg("audit").args(arguments).args(paths))
}

fn kept(site: &Site) -> Kept {
    Kept::at(site.dir().join("journal.jsonl"))
}

fn lines(site: &Site) -> Vec<Value> {
    kept(site).lines()
}

#[track_caller]
fn expect(site: &Site, kind: &str, members: &[(&str, &str)]) -> Value {
    kept(site).expect(kind, members)
}

/// The public key, as the command tells it.
fn key(site: &Site) -> String {
    let shown = run(Command::new(&programs().precompute).args(["server", "show", "--config"]).arg(site.config()));
    let (_, key) = shown.text.split_once("signed by the key ").unwrap_or_else(|| panic!("{shown:?}"));
    key.trim().to_owned()
}

fn ended(mut responder: Responder) -> Site {
    assert!(responder.end_by("TERM").success(), "{}", responder.log());
    responder.into_site()
}

#[test]
fn what_is_done_to_a_service_stands_in_its_journal_which_verifies() {
    let (ca, site) = keeping();
    let (leaf, other) = (ca.issue(), ca.issue());
    let responder = site.start();
    let site = &responder.site;
    expect(site, "start", &[("command", "ostia-responder serve"), ("version", env!("CARGO_PKG_VERSION"))]);
    let verb = |verb: &str, arguments: &[&str]| site.precompute(verb, arguments);
    done(&verb("revoke", &["--reason", "keyCompromise", &leaf.serial]), "revoked");
    let push = expect(site, "push", &[("serial", &leaf.serial), ("verb", "revoke"), ("outcome", "done")]);
    assert_eq!((&push["tenant"], &push["reason"]), (&"tests".into(), &"keyCompromise".into()), "{push}");
    assert!(push["from"].as_str().unwrap().starts_with("127.0.0.1:"), "{push}");
    refused(&verb("release", &[&leaf.serial]), "never taken back");
    expect(site, "push", &[("verb", "release"), ("outcome", "refused"), ("problem", "never taken back")]);
    // A list has each of its pushes.
    fs::write(site.dir().join("list"), "BE01\nBE02\n").unwrap();
    let list = site.dir().join("list");
    done(&verb("add", &["--file", list.to_str().unwrap()]), "2");
    ["BE01", "BE02"].iter().for_each(|serial| drop(expect(site, "push", &[("serial", serial), ("verb", "add")])));
    ca.revoke(&other, &[]);
    expect(site, "revoked", &[("serials", &other.serial), ("by", "source"), ("tenant", "tests")]);
    responder.reload(|text| text.replacen("[admin]\n", "[admin]\nready_without_signers = false\n", 1));
    let changed = expect(site, "configuration", &[("keys", "admin.ready_without_signers")]);
    let sum = run(Command::new("sha256sum").arg(site.config()));
    assert!(sum.text.starts_with(changed["digest"].as_str().unwrap()), "{changed} {sum:?}");
    expect(site, "reload", &[("outcome", "done")]);
    responder.reload(|text| text.replacen("ready_without_signers = false", "ready_without_signers = 7", 1));
    expect(site, "reload", &[("outcome", "refused"), ("problem", "ready_without_signers")]);
    site.edit_config(|text| text.replacen("ready_without_signers = 7", "ready_without_signers = false", 1));
    for (arguments, state) in [(&["drain", "--config"][..], "drained"), (&["drain", "--end", "--config"], "ended")] {
        let drained = run(Command::new(&programs().responder).args(arguments).arg(site.config()));
        assert!(drained.status.success(), "{drained:?}");
        until("it is seen", PATIENCE, || {
            (responder.readiness().0 == if state == "drained" { 503 } else { 200 }).then_some(())
        });
        expect(site, "drained", &[("state", state)]);
    }
    done(&verb("snapshot", &["--to", site.dir().join("backup").to_str().unwrap()]), "");
    expect(site, "backup", &[("outcome", "done")]);
    assert!(
        responder.metric("ostia_journal_lines_total", "") >= 10.0
            && responder.metric("ostia_journal_faulty", "") == 0.0
    );
    until("it is signed", PATIENCE, || (responder.metric("ostia_journal_last_head_seconds", "") > 0.0).then_some(()));

    let site = ended(responder);
    let restored = site.precompute("restore", &["--from", site.dir().join("backup").to_str().unwrap()]);
    assert!(restored.status.success(), "{restored:?}");
    expect(&site, "restore", &[("outcome", "done"), ("detail", "backup")]);
    let site = ended(site.start());
    assert_eq!(lines(&site).iter().filter(|line| line["type"] == "start").count(), 3);
    let text = fs::read_to_string(site.dir().join("journal.jsonl")).unwrap();
    assert!(!text.contains(crate::pushes::TOKEN), "no secret is in it");
    let journal = site.dir().join("journal.jsonl");
    let verified = audit(&["verify", "--key", &key(&site)], &[&journal]);
    done(&verified, "in order: journal `service`");
    assert!(verified.text.contains("0 lines behind it"), "{verified:?}");

    // One byte.
    let at = text.find("keyCompromise").unwrap();
    let line = text[..at].lines().count();
    fs::write(&journal, format!("{}C{}", &text[..at], &text[at + 1..])).unwrap();
    refused(&audit(&["verify"], &[&journal]), &format!("journal.jsonl:{line}: was changed"));
}

#[test]
fn a_tenant_is_given_its_own_lines_which_verify_alone() {
    let (one, two) = (Ca::new("CA of one"), Ca::new("CA of two"));
    let tenant = |name: &str, ca: &Ca| {
        let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
        let tenant = Tenant::new(name).set(&format!("path = \"/{name}\""));
        tenant.issuer("ca", ca, &format!("index = {:?}", ca.index()), &signer.lines())
    };
    let site = Site::new(&[tenant("one", &one), tenant("two", &two)]);
    keep(&site);
    let of_one = one.issue();
    // Not the same serial number.
    let [_, of_two] = [two.issue(), two.issue()];
    let responder = site.start();
    one.revoke(&of_one, &[]);
    two.revoke(&of_two, &[]);
    expect(&responder.site, "revoked", &[("serials", &of_one.serial), ("tenant", "one")]);
    expect(&responder.site, "revoked", &[("serials", &of_two.serial), ("tenant", "two")]);
    let site = ended(responder);
    let (journal, out) = (site.dir().join("journal.jsonl"), site.dir().join("one.jsonl"));
    let export =
        |tenant: &str, out: &Path| audit(&["export", "--tenant", tenant, "--out", out.to_str().unwrap()], &[&journal]);
    done(&export("one", &out), "1 lines of `one`");
    let text = fs::read_to_string(&out).unwrap();
    assert!(
        text.contains(&of_one.serial) && !text.contains("\"two\"") && !text.contains(&format!("\"{}\"", of_two.serial)),
        "{text}"
    );
    let key = key(&site);
    fs::remove_file(&journal).unwrap();
    let verified = audit(&["verify", "--key", &key], &[&out]);
    done(&verified, "in order: journal `service`");
    assert!(verified.text.contains("of them hidden"), "{verified:?}");
    fs::write(&out, text.replace(&of_one.serial, &of_two.serial)).unwrap();
    refused(&audit(&["verify", "--key", &key], &[&out]), "was changed");
}

#[test]
fn journals_of_two_servers_that_were_swapped_are_refused_with_both() {
    let ((_ca, one), (_other_ca, two)) = (keeping(), keeping());
    let [one, two] = [one, two].map(|site| ended(site.start()));
    let journals: [PathBuf; 2] = [&one, &two].map(|site| site.dir().join("journal.jsonl"));
    let servers = [&one, &two].map(|site| lines(site)[0]["server"].as_str().unwrap().to_owned());
    let texts = journals.each_ref().map(|path| fs::read(path).unwrap());
    fs::write(&journals[0], &texts[1]).unwrap();
    fs::write(&journals[1], &texts[0]).unwrap();
    for site in [&one, &two] {
        let said = site.refuses_to_start();
        assert!(servers.iter().all(|server| said.contains(server)) && said.contains("journal.jsonl"), "{said}");
        let checked = site.check_with(&["--strict"]);
        assert!(checked.status.code() == Some(3) && checked.text.contains(&servers[0]), "{checked:?}");
    }
    let verified = audit(&["verify"], &[&journals[0], &journals[1]]);
    assert!(!verified.status.success() && servers.iter().all(|server| verified.text.contains(server)), "{verified:?}");
    for (path, text) in journals.iter().zip(&texts) {
        fs::write(path, text).unwrap();
    }
    ended(one.start());
    // A server that is adopted ends the journal of its past.
    let adopted = run(Command::new(&programs().precompute).args(["server", "adopt", "--config"]).arg(two.config()));
    assert!(adopted.status.success(), "{adopted:?}");
    expect(&two, "start", &[("command", "server adopt")]);
    let former = &expect(&two, "adopted", &[])["former"];
    assert_eq!(*former, servers[1]);
    let two = ended(two.start());
    done(&audit(&["verify"], &[&two.dir().join("journal.jsonl")]), "in order");
}

#[test]
fn a_journal_that_was_changed_stops_no_service_and_is_told_everywhere() {
    let (_ca, site) = keeping();
    let site = ended(site.start());
    let journal = site.dir().join("journal.jsonl");
    let text = fs::read_to_string(&journal).unwrap();
    let at = text.rfind("\"signature\":\"").unwrap() + 20;
    fs::write(&journal, format!("{}{}{}", &text[..at], if &text[at..=at] == "0" { '1' } else { '0' }, &text[at + 1..]))
        .unwrap();
    let checked = site.check_with(&["--strict"]);
    assert!(
        checked.status.code() == Some(3) && checked.text.contains("signature of its last head is wrong"),
        "{checked:?}"
    );
    let responder = site.start();
    let (status, said) = responder.readiness_of("ocsp");
    assert!(status == 200 && said.contains("degraded: the journal: "), "{said}");
    assert_eq!(responder.metric("ostia_journal_faulty", ""), 1.0);
    assert!(responder.log().contains("the signature of its last head is wrong"), "{}", responder.log());
    let site = ended(responder);
    assert!(fs::read_dir(site.dir()).unwrap().count() > 0);
    refused(&audit(&["verify"], &[site.dir()]), "signature of this head is wrong");
}

#[test]
fn killed_at_any_moment_a_journal_goes_on_and_verifies() {
    let (_ca, site) = keeping();
    let mut responder = site.start();
    for round in 0..5 {
        let serials: Vec<String> = (0..200).map(|number| format!("BE{round:02X}{number:04X}\n")).collect();
        let list = responder.site.dir().join("list");
        fs::write(&list, serials.concat()).unwrap();
        let mut pushing = Command::new(&programs().precompute);
        pushing.args(["add", "--config"]).arg(responder.site.config()).arg("--file").arg(&list);
        let mut pushing =
            pushing.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
        // In the midst of them.
        let wanted = format!("BE{round:02X}");
        until("some are there", PATIENCE, || {
            let text = fs::read_to_string(responder.site.dir().join("journal.jsonl")).unwrap();
            text.contains(&wanted).then_some(())
        });
        responder = responder.kill_and_start_again();
        let _ = pushing.wait();
    }
    let site = ended(responder);
    done(&audit(&["verify", "--key", &key(&site)], &[&site.dir().join("journal.jsonl")]), "in order");
}
