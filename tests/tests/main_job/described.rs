//! The API against its description: schemathesis asks a running service for whatever the description allows, and for what
//! it does not.

use std::fs;

use ostia_tests::{Kept, http, python_module_in, run, until};
use serde_json::Value;

use crate::{
    ca_and_site,
    journal::PATIENCE,
    pushes::{TOKEN, done, with_api},
};

/// What has to hold for each answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance,negative_data_rejection,unsupported_method,ignored_auth,missing_required_header";

#[test]
fn whatever_is_asked_the_api_answers_as_its_description_says() {
    let (ca, site) = ca_and_site();
    let leaf = ca.issue();
    let site = with_api(site);
    site.edit_config(|text| text.replacen("[admin]\n", "[journal]\n[admin]\n", 1));
    let responder = site.start();
    let (dir, admin) = (responder.site.dir(), responder.site.admin);
    let parameters = format!("[parameters]\n\"path.id\" = \"tests:ca\"\n\"path.serial\" = \"{}\"\n", leaf.serial);
    let config = dir.join("schemathesis.toml");
    fs::write(&config, parameters).unwrap();
    let url = format!("http://{admin}/v1/openapi.json");
    let authorization = format!("Authorization: Bearer {TOKEN}");
    // A list is no JSON: schemathesis cannot write one.
    let asked = python_module_in(
        dir,
        "schemathesis.cli",
        &[
            "--config-file",
            config.to_str().unwrap(),
            "run",
            &url,
            "-H",
            &authorization,
            "--seed",
            "1",
            "--max-examples",
            "5",
            "--max-time",
            "20",
            "--phases",
            "examples,coverage,fuzzing",
            "--generation-database",
            "none",
            "--exclude-operation-id",
            "bulk",
            "--exclude-operation-id",
            "snapshot",
            "--checks",
            CHECKS,
            "--exclude-checks",
            "positive_data_acceptance",
            "--no-color",
        ],
    );
    assert!(asked.status.success(), "{}", asked.text);
    assert!(asked.text.contains("20 selected"), "{}", asked.text);
    assert!(responder.log().lines().all(|line| !line.contains("panicked")), "{}", responder.log());
}

#[test]
fn signers_kept_answers_the_overview_and_the_journal_are_told_to_programs_and_people() {
    let (ca, site) = ca_and_site();
    let leaf = ca.issue();
    let site = with_api(site);
    site.edit_config(|text| text.replacen("[admin]\n", "[journal]\n[admin]\n", 1));
    let responder = site.start();
    let site = &responder.site;
    let get = |path: &str| -> Value {
        let asked = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n", site.admin);
        let reply = http::exchange(site.admin, asked.as_bytes()).unwrap();
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        serde_json::from_slice(&reply.body).unwrap()
    };
    ostia_tests::Ask::about(&ca, &leaf).at(responder.http(), "/").expect(ostia_tests::Status::Good);
    let record = format!("/v1/issuers/tests:ca/certificates/{}", leaf.serial);
    let kept = until("the answer is kept", PATIENCE, || get(&record)["answers"].as_array()?.first().cloned());
    assert!(kept["hashes"] == "sha1" || kept["hashes"] == serde_json::json!(["sha1"]), "{kept}");
    assert!(kept["status"] == "good" && kept["is_served"] == true && kept["signer"] == 0, "{kept}");
    done(&site.precompute("revoke", &[&leaf.serial]), "revoked");
    assert_eq!(get(&record)["answers"][0]["is_served"], false, "the record has changed since");

    let signers = get("/v1/signers");
    let signer = &signers["signers"][0];
    assert!(signer["works"] == true && signer["fault"].is_null() && signer["tenant"] == "tests", "{signers}");
    let spki = run(std::process::Command::new("bash")
        .args(["-c", "openssl x509 -in \"$0\" -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum"])
        .arg(
            fs::read_dir(ca.dir())
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .find(|path| {
                    path.extension().is_some_and(|end| end == "pem")
                        && fs::read_to_string(path).is_ok_and(|text| text.contains("BEGIN CERTIFICATE"))
                        && {
                            let shown = ostia_tests::openssl(
                                ca.dir(),
                                ["x509", "-in", path.to_str().unwrap(), "-noout", "-serial"],
                            );
                            shown.trim().ends_with(&format!("={}", signer["serial"].as_str().unwrap()))
                        }
                })
                .expect("the signer's certificate"),
        ));
    assert!(spki.text.starts_with(signer["key_sha256"].as_str().unwrap()), "{spki:?} {signer}");

    let overview = get("/v1/status");
    assert!(overview["ready"] == true && overview["issuers"][0]["counts"]["revoked"] == 1, "{overview}");
    let traffic = overview["traffic"].as_array().unwrap().iter().find(|of| of["name"] == "ca").unwrap();
    assert_eq!(traffic["results"]["signed"], 1, "{traffic}");

    Kept::of(site).expect("push", &[("serial", &leaf.serial)]);
    let pushes = get(&format!("/v1/audit?type=push&tenant=tests&serial={}&verify=true", leaf.serial));
    assert!(pushes["verified"]["in_order"] == true && pushes["lines"].as_array().unwrap().len() == 1, "{pushes}");
    assert_eq!(get("/v1/audit?tenant=tests&until=2020-01-01T00:00:00Z")["lines"], serde_json::json!([]));
    // Page by page it is the whole of it, the last line first.
    let (mut seen, mut before) = (Vec::new(), String::new());
    loop {
        let page = get(&format!("/v1/audit?limit=2{before}"));
        seen.extend(page["lines"].as_array().unwrap().iter().map(|line| line["seq"].as_u64().unwrap()));
        let Some(next) = page["before"].as_u64() else { break };
        before = format!("&before={next}");
    }
    assert!(
        seen.len() >= 3 && seen.windows(2).all(|pair| pair[0] == pair[1] + 1) && seen.last() == Some(&1),
        "{seen:?}"
    );

    let shown = site.precompute("signers", &[]);
    assert!(shown.status.success() && shown.text.contains("tests/ca") && shown.text.contains("works"), "{shown:?}");
    let config = site.config();
    let log = |arguments: &[&str]| {
        let command = &mut std::process::Command::new(&ostia_tests::programs().precompute);
        run(command.args(["audit", "log", "--config"]).arg(&config).args(arguments))
    };
    let shown = log(&["--type", "push", "--verify"]);
    done(&shown, "outcome=done");
    assert!(shown.text.contains(&leaf.serial) && shown.text.contains("in order"), "{shown:?}");
    // One digit of a line that a head vouches for.
    until("it is signed", PATIENCE, || {
        let lines = Kept::of(site).lines();
        let push = lines.iter().position(|line| line["type"] == "push")?;
        lines[push..].iter().any(|line| line["type"] == "head").then_some(())
    });
    let file = site.dir().join("state/journal.jsonl");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replacen("\"verb\":\"revoke\"", "\"verb\":\"revolt\"", 1)).unwrap();
    let shown = log(&["--verify"]);
    assert!(!shown.status.success() && shown.text.contains("was changed"), "{shown:?}");
}
