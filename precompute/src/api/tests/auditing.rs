//! Who gets which lines of the journal over the API.

use super::*;
use crate::{
    answers::Answers,
    journal::{self, Options, tests::identity, trail},
};

/// Two tenants, whose lines stand in a journal of their own, with one that is of neither.
fn kept(dir: &std::path::Path, known: Vec<Entry>) -> Served {
    let served = served_to(known, &[("acme", 1, "Root"), ("other", 2, "Root")], 2, Duration::from_secs(10));
    let (identity, path) = (identity(1), dir.join("journal"));
    let (journal, _) =
        journal::start::<std::convert::Infallible>(&identity, trail::KIND, Options::new(path.clone()), 0).unwrap();
    for members in [
        r#""type":"push","tenant":"acme","serial":"0A""#,
        r#""type":"push","tenant":"other","serial":"0B""#,
        r#""type":"start","command":"x""#,
    ] {
        journal.notes().note(members.into());
    }
    journal.finish();
    served.api.tells_of(Process {
        answers: Arc::new(Answers::new(1 << 24)),
        status: crate::admin::Status::new(watch::channel(Arc::default()).1, true),
        journal: Some(JournalFile { path, key: identity.key.public() }),
        traffic: Box::new(Vec::new),
    });
    served
}

#[test]
fn who_audits_one_tenant_gets_its_lines_and_nothing_of_others() {
    let dir = tempfile::tempdir().unwrap();
    let served = kept(
        dir.path(),
        vec![
            entry("all", &["auditor:*"], &[]),
            entry("acme", &["auditor:acme"], &[]),
            entry("both", &["viewer:*", "auditor:acme"], &[]),
            entry("viewer", &["viewer:*"], &[]),
            entry("operator", &["operator:acme"], &[]),
            entry("denied", &["auditor:*"], &["audit:other"]),
        ],
    );
    let ask = |who: &str, query: &str| {
        served.send(&served.head("GET", &format!("/v1/audit{query}"), "text/plain", "").replace(TOKEN, who), b"")
    };
    let serials = |reply: &Reply| -> Vec<String> {
        let lines = reply.json()["lines"].as_array().unwrap().clone();
        lines.iter().filter_map(|line| Some(line["serial"].as_str()?.to_owned())).collect()
    };
    for (who, query, expected) in [
        ("all", "", Ok(&["0B", "0A"][..])),
        ("all", "?tenant=other", Ok(&["0B"])),
        ("acme", "", Ok(&["0A"])),
        ("acme", "?tenant=acme&verify=true", Ok(&["0A"])),
        ("acme", "?serial=0B", Ok(&[])),
        ("acme", "?tenant=other", Err(404)),
        ("both", "", Ok(&["0A"])),
        ("both", "?tenant=other", Err(403)),
        ("viewer", "", Err(403)),
        ("operator", "", Err(403)),
        ("operator", "?tenant=acme", Err(403)),
        ("denied", "", Ok(&["0A"])),
        ("denied", "?tenant=other", Err(403)),
    ] {
        let reply = ask(who, query);
        match expected {
            Ok(wanted) => assert_eq!(serials(&reply), wanted, "{who} {query}: {}", reply.body),
            Err(status) => assert_eq!(reply.status, status, "{who} {query}: {}", reply.body),
        }
    }
    // How much others do is not told either.
    let (all, own) = (ask("all", "?verify=1").json(), ask("acme", "?verify=1").json());
    assert_eq!(own["lines"].as_array().unwrap().len(), 1, "no line of the service");
    assert!(all["verified"]["in_order"] == true && all["verified"]["lines"].as_u64().unwrap() >= 5, "{all}");
    assert!(own["verified"]["in_order"] == true && own["verified"]["lines"].is_null(), "{own}");
}
