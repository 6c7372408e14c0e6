//! `check --json`: one document with all that the text says, for programs.

use std::{fs, path::Path, process::Command};

use ostia_tests::{Ca, Delegate, KeyKind, Site, Tenant, Tsa, TsaCertificate, programs, run};
use serde_json::Value;

use crate::ca_and_site;

/// The document, which is all that there is on standard output, and nothing on standard error; and the exit status.
#[track_caller]
fn checked(program: &Path, site: &Site, arguments: &[&str]) -> (Value, i32) {
    let mut check = Command::new(program);
    check.arg("check").arg(site.config()).arg("--json").args(arguments).env_remove("OSTIA_LOG");
    let output = check.output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let code = output.status.code().unwrap();
    assert_eq!((&document["format"], &document["exit_status"]), (&1.into(), &code.into()), "{document:#}");
    assert_eq!(document["ok"], code == 0, "{document:#}");
    assert_eq!(document["file"], site.config().to_str().unwrap());
    (document, code)
}

fn both() -> [&'static Path; 2] {
    [&programs().responder, &programs().precompute]
}

/// What the text says has to be in the document, and the other way round.
#[track_caller]
fn is_told_as_text(program: &Path, site: &Site, document: &Value) {
    let text = run(Command::new(program).arg("check").arg(site.config())).text;
    let problems = document["problems"].as_array().unwrap();
    for problem in problems {
        for part in ["message", "remedy"] {
            if let Some(part) = problem[part].as_str() {
                assert!(text.contains(part), "no `{part}` in {text}");
            }
        }
    }
    let warnings = problems.iter().filter(|problem| problem["severity"] == "warning").count();
    assert_eq!(text.matches("WARNING: ").count(), warnings, "{text}\n{document:#}");
}

#[test]
fn what_is_in_order_is_told_with_its_facts() {
    let ca = Ca::new("CA");
    let (signer, tsa) = (ca.delegate(Delegate::Proper, KeyKind::P256), ca.tsa(TsaCertificate::Proper, KeyKind::P256));
    ca.issue();
    let site = Site::new(&[Tenant::of(&ca, &signer)]);
    for program in both() {
        let (document, code) = checked(program, &site, &["--strict"]);
        assert_eq!((code, document["problems"].as_array().unwrap().len()), (0, 0), "{document:#}");
        assert!(program.ends_with(document["program"].as_str().unwrap()), "{document:#}");
        let issuer = &document["facts"]["issuers"][0];
        assert_eq!((&issuer["tenant"], &issuer["name"]), (&"tests".into(), &"ca".into()), "{document:#}");
        assert!(issuer["certificates"].as_u64().unwrap() >= 1, "{document:#}");
        assert_eq!(issuer["sources"][0], ca.index().to_str().unwrap());
        for certificate in [&issuer["certificate"], &issuer["signers"][0]["certificate"]] {
            assert!(certificate["not_after"].as_str().unwrap().ends_with('Z'), "{document:#}");
            assert!(!certificate["serial"].as_str().unwrap().is_empty(), "{document:#}");
        }
        assert_eq!(issuer["signers"][0]["key_here"], true);
        assert_eq!(document["facts"]["state"]["directory"], site.dir().join("state").to_str().unwrap());
        is_told_as_text(program, &site, &document);
    }
    let stamping = Site::new(&[Tenant::of(&ca, &signer).tsa(&Tsa::of("stamps", &tsa))]);
    let (document, _) = checked(&programs().responder, &stamping, &[]);
    let facts = &document["facts"];
    assert_eq!((&facts["tsas"][0]["name"], &facts["clock"]["source"]), (&"stamps".into(), &"unchecked".into()));
    assert!(facts["serving"]["workers"].as_u64().unwrap() > 0, "{document:#}");
    let admin = stamping.admin.to_string();
    assert_eq!(facts["serving"]["admin"], admin);
}

#[test]
fn what_is_wrong_is_told_with_file_line_key_and_remedy() {
    let (_ca, site) = ca_and_site();
    site.edit_config(|text| text.replacen("[[tenant]]", "[[tenant]]\nnonse = \"echo\"\nprofile = \"tsl\"", 1));
    let text = fs::read_to_string(site.config()).unwrap();
    let line = |key: &str| 1 + text.lines().position(|line| line.starts_with(key)).unwrap();
    for program in both() {
        let (document, code) = checked(program, &site, &[]);
        assert_eq!((code, &document["facts"]), (78, &Value::Null), "{document:#}");
        let problem = |key: &str| {
            let mut problems = document["problems"].as_array().unwrap().iter();
            problems.find(|problem| problem["where"]["key"] == key).unwrap_or_else(|| panic!("{document:#}"))
        };
        for (key, written, remedy) in [("tenant.nonse", "nonse", "nonce"), ("tenant.profile", "profile", "tls")] {
            // A program that leaves the responder's keys to others knows none of them.
            let problem = problem(key);
            assert_eq!(problem["where"]["line"], line(written), "{document:#}");
            assert_eq!(problem["where"]["file"], site.config().to_str().unwrap());
            assert_eq!(problem["severity"], "error");
            let told = problem["remedy"].as_str().unwrap();
            let of_responder = key == "tenant.nonse" && program.ends_with("ostia-precompute");
            assert!(of_responder || told.contains(&format!("did you mean `{remedy}`?")), "{document:#}");
        }
        is_told_as_text(program, &site, &document);
    }
}

#[test]
fn a_refused_source_and_a_warning_are_told_with_their_issuer() {
    let (ca, site) = ca_and_site();
    ca.replace_index("");
    for program in both() {
        let (document, code) = checked(program, &site, &[]);
        assert_eq!(code, 0, "{document:#}");
        let warning = &document["problems"][0];
        assert_eq!((&warning["severity"], &warning["where"]["issuer"]), (&"warning".into(), &"ca".into()));
        assert!(warning["message"].as_str().unwrap().contains("lists no certificate"), "{document:#}");
        is_told_as_text(program, &site, &document);
        let (strict, code) = checked(program, &site, &["--strict"]);
        assert_eq!((code, &strict["problems"]), (3, &document["problems"]), "{strict:#}");
    }
    ca.replace_index("broken\n");
    for program in both() {
        let (document, code) = checked(program, &site, &[]);
        assert_eq!(code, 1, "{document:#}");
        let problem = &document["problems"][0];
        let place = &problem["where"];
        assert_eq!((&problem["severity"], &place["tenant"]), (&"error".into(), &"tests".into()), "{document:#}");
        assert!(problem["message"].as_str().unwrap().contains("index.txt"), "{document:#}");
        let config = site.config();
        let text = std::fs::read_to_string(&config).unwrap();
        let line = text.lines().position(|line| line.starts_with("certificate = ")).unwrap() + 1;
        assert_eq!((&place["file"], &place["line"]), (&config.to_str().unwrap().into(), &line.into()), "{document:#}");
    }
}

/// Who reads a document gets one in any case.
#[test]
fn a_wrong_environment_and_a_missing_file_are_told_in_a_document_as_well() {
    let (_ca, site) = ca_and_site();
    for program in both() {
        let mut check = Command::new(program);
        check.arg("check").arg(site.config()).arg("--json").env("OSTIA_LOG", "verbos");
        let output = check.output().unwrap();
        assert!(output.status.code() == Some(78) && output.stderr.is_empty(), "{output:?}");
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(document["problems"][0]["message"].as_str().unwrap().contains("`verbos`"), "{document:#}");
    }
    fs::remove_file(site.config()).unwrap();
    for program in both() {
        let (document, code) = checked(program, &site, &[]);
        assert_eq!((code, &document["problems"][0]["message"]), (78, &"does not exist".into()), "{document:#}");
    }
}
