//! The record of tokens: a line for each, in the file that the configuration names, also across a rename and an end.

use std::{fs, path::Path};

use ostia_tests::{Ca, KeyKind, Query, Site, Tenant, Tsa, TsaCertificate, bash, until};

use crate::PATIENCE;

/// The lines about tokens, in all files of the record.
fn lines(dir: &Path) -> Vec<String> {
    let text = bash(dir, "cat tokens.jsonl* 2>/dev/null || true");
    text.lines().filter(|line| line.contains("\"type\":\"token\"")).map(str::to_owned).collect()
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[test]
fn every_token_that_a_client_got_stands_in_the_record() {
    let ca = Ca::new("Time-stamping CA");
    let signer = ca.tsa(TsaCertificate::Proper, KeyKind::P256);
    let site = Site::new(&[Tenant::new("tests").tsa(&Tsa::of("stamps", &signer))]);
    site.edit_config(|text| text.replace("[time_stamping]\n", "[time_stamping]\nrecord = \"tokens.jsonl\"\n"));
    let mut responder = site.start();
    let dir = responder.site.dir().to_owned();
    let ask = |responder: &ostia_tests::Responder, number: u32| {
        let query = Query::new(number);
        let stamped = query.at(responder.http(), "/tsa");
        (hex(&stamped.granted().info.serial), hex(&query.imprint()))
    };
    let mut given: Vec<_> = (0..20).map(|number| ask(&responder, number)).collect();
    Query::new(99).policy("1.2.3").at(responder.http(), "/tsa").expect_rejection("unacceptedPolicy");
    until("they are written", PATIENCE, || (lines(&dir).len() == given.len()).then_some(()));
    // As logrotate does: renamed, and the service told. In its place is what cannot be opened, for a while.
    fs::rename(dir.join("tokens.jsonl"), dir.join("tokens.jsonl.1")).unwrap();
    fs::create_dir(dir.join("tokens.jsonl")).unwrap();
    responder.signal("HUP");
    until("it is told", PATIENCE, || responder.log().contains("lines go on to the file").then_some(()));
    fs::remove_dir(dir.join("tokens.jsonl")).unwrap();
    until("the file is there again", PATIENCE, || dir.join("tokens.jsonl").exists().then_some(()));
    given.extend((20..40).map(|number| ask(&responder, number)));
    assert!(responder.end_by("TERM").success(), "{}", responder.log());
    let lines = lines(&dir);
    assert_eq!(lines.len(), given.len(), "a rejection is no token: {lines:#?}");
    for (serial, imprint) in given {
        let line = lines.iter().find(|line| line.contains(&format!("\"serial\":\"{serial}\"")));
        let line = line.unwrap_or_else(|| panic!("no {serial} in {lines:#?}"));
        for wanted in ["\"tenant\":\"tests\"", "\"policy\":\"1.3.6.1.4.1.", "\"offset_ns\":null", "Z\""] {
            assert!(line.contains(wanted), "{wanted}: {line}");
        }
        // The digest is the end of the imprint's element.
        let digest = line.split("\"imprint\":\"sha256:").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        assert!(imprint.ends_with(digest) && digest.len() == 64, "{imprint}: {line}");
    }
    assert_eq!(
        fs::read_dir(&dir)
            .unwrap()
            .filter(|entry| { entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("tokens.jsonl") })
            .count(),
        2
    );
}

#[test]
fn a_record_that_cannot_be_opened_refuses_the_start() {
    let ca = Ca::new("Time-stamping CA");
    let signer = ca.tsa(TsaCertificate::Proper, KeyKind::P256);
    let site = Site::new(&[Tenant::new("tests").tsa(&Tsa::of("stamps", &signer))]);
    site.edit_config(|text| text.replace("[time_stamping]\n", "[time_stamping]\nrecord = \"nowhere/tokens.jsonl\"\n"));
    let said = site.refuses_to_start();
    assert!(said.contains("nowhere/tokens.jsonl"), "{said}");
    site.edit_config(|text| text.replace("record = \"nowhere/tokens.jsonl\"", "record_keep = 3"));
    site.is_refused(&["time_stamping.record_keep", "add `record ="]);
}
