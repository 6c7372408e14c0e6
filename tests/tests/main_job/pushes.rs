//! Pushes: over the API and the command line, to the running service, and what clients are told then.

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use ostia_tests::{Ask, Ca, Ended, Responder, Site, Status, bash, http, programs, run};
use serde_json::{Value, json};

use crate::ca_and_site;

pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A site whose service takes pushes.
pub(crate) fn with_api(site: Site) -> Site {
    write_token(&site, TOKEN);
    site.edit_config(|text| text.replacen("[admin]\n", "[admin]\ntoken_file = \"api.token\"\n", 1));
    site
}

fn write_token(site: &Site, token: &str) {
    let path = site.dir().join("api.token");
    fs::write(&path, token).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

pub(crate) fn started() -> (Ca, Responder) {
    let (ca, site) = ca_and_site();
    (ca, with_api(site).start())
}

pub(crate) fn ask(responder: &Responder, method: &str, path: &str, body: &str) -> (u16, Value) {
    let admin = responder.site.admin;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {admin}\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let reply = http::exchange(admin, request.as_bytes()).unwrap();
    (reply.status, serde_json::from_str(&reply.text()).unwrap_or(Value::Null))
}

/// The id of its only issuer.
pub(crate) fn issuer(responder: &Responder) -> String {
    ask(responder, "GET", "/v1/issuers", "").1["issuers"][0]["short_id"].as_str().unwrap().to_owned()
}

#[track_caller]
pub(crate) fn done(ended: &Ended, words: &str) {
    assert!(ended.status.success() && ended.text.contains(words), "{words}: {ended:?}");
}

#[track_caller]
pub(crate) fn refused(ended: &Ended, words: &str) {
    assert!(ended.status.code() == Some(1) && ended.text.contains(words), "{words}: {ended:?}");
}

/// What a client is told at once; `serial` in hexadecimal.
#[track_caller]
pub(crate) fn is(responder: &Responder, ca: &Ca, serial: &str, wanted: Status) {
    assert_eq!(Ask::serial(ca, serial).at(responder.http(), "/").status, wanted, "{serial}\n{}", responder.log());
}

#[test]
fn a_push_is_answered_when_it_is_acknowledged_and_outlives_kill_9() {
    let (ca, responder) = started();
    let leaf = ca.issue();
    let serial = leaf.serial.clone();
    let push = |verb: &str, arguments: &[&str]| responder.site.precompute(verb, arguments);
    ostia_tests::until("the index is read", Duration::from_secs(20), || {
        (Ask::about(&ca, &leaf).at(responder.http(), "/").status == Status::Good).then_some(())
    });
    done(&push("revoke", &["--reason", "KEYCOMPROMISE", &leaf.serial]), "revoked");
    is(&responder, &ca, &serial, Status::Revoked);
    done(&push("revoke", &["--reason", "keyCompromise", &leaf.serial]), "unchanged");
    refused(&push("release", &[&leaf.serial]), "a revocation is never taken back");
    // What no source lists.
    refused(&push("revoke", &["0xBEEF"]), "no source and no push has listed this certificate");
    done(&push("add", &["BE:EF"]), "BEEF tests/ca: added");
    is(&responder, &ca, "BEEF", Status::Good);
    done(&push("revoke", &["--reason", "certificateHold", "--decimal", "48879"]), "on hold");
    is(&responder, &ca, "BEEF", Status::Revoked);
    done(&push("release", &["beef"]), "released");
    is(&responder, &ca, "BEEF", Status::Good);
    refused(&push("release", &["beef"]), "it is not on hold");
    done(&push("revoke", &["--even-unlisted", "--time", "2026-01-01T00:00:00Z", "CAFE"]), "revoked");
    is(&responder, &ca, "CAFE", Status::Revoked);
    let responder = responder.kill_and_start_again();
    is(&responder, &ca, &serial, Status::Revoked);
    is(&responder, &ca, "CAFE", Status::Revoked);
    is(&responder, &ca, "BEEF", Status::Good);
    let told = responder.site.precompute("status", &["CAFE", "BEEF", &leaf.serial]);
    done(&told, "CAFE tests/ca: ");
    for words in
        ["revoked 2026-01-01T00:00:00Z unspecified", "said by a push", "keyCompromise", "said by a source and a push"]
    {
        assert!(told.text.contains(words), "{words}: {}", told.text);
    }
    refused(&responder.site.precompute("status", &["1234"]), "--decimal");
}

#[test]
fn certificates_say_their_issuer_and_their_end() {
    let (ca, responder) = started();
    let leaf = ca.issue();
    let file = ca.dir().join("pushed.pem");
    bash(
        ca.dir(),
        &format!(
            "openssl req -x509 -newkey ed25519 -nodes -keyout pushed.key -subj /CN=pushed -CA {} -CAkey {} -set_serial 0xABCD -days 7 -out pushed.pem",
            ca.certificate().display(),
            ca.key().display()
        ),
    );
    let file = file.to_str().unwrap();
    done(&responder.site.precompute("add", &["--certificate", file]), "ABCD tests/ca: ");
    is(&responder, &ca, "ABCD", Status::Good);
    let (_, found) = ask(&responder, "GET", "/v1/certificates/ABCD", "");
    assert!(found["certificates"][0]["not_after"].is_string(), "{found}");
    done(&responder.site.precompute("revoke", &["--certificate", file]), "revoked");
    let other = Ca::new("Another CA");
    let certificate = other.certificate();
    refused(
        &responder.site.precompute("revoke", &["--certificate", certificate.to_str().unwrap()]),
        "does not count for this issuer",
    );
    drop(leaf);
}

#[test]
fn nobody_pushes_without_the_token_and_a_changed_one_counts_after_a_reload() {
    let (_ca, responder) = started();
    let admin = responder.site.admin;
    let request = format!("GET /v1/issuers HTTP/1.1\r\nHost: {admin}\r\n\r\n");
    let reply = http::exchange(admin, request.as_bytes()).unwrap();
    assert_eq!(reply.status, 401, "{}", reply.text());
    assert!(reply.expect("www-authenticate").starts_with("Bearer"));
    assert_eq!(ask(&responder, "GET", "/v1/issuers", "").0, 200);
    write_token(&responder.site, &TOKEN.replace('0', "f"));
    // The client reads the new one already.
    refused(&responder.site.precompute("add", &["0A"]), "a changed file counts after a reload");
    responder.reload(|text| text);
    let taken = || responder.site.precompute("add", &["0A"]).text.contains("added").then_some(());
    ostia_tests::until("the new token counts", Duration::from_secs(20), taken);
    assert_eq!(ask(&responder, "GET", "/v1/issuers", "").0, 401, "the former token");
    let log = responder.log();
    assert!(!log.contains(TOKEN) && !log.contains(&TOKEN.replace('0', "f")), "{log}");
    // Without a token there is no API, and everything else stays.
    responder.reload(|text| text.replace("token_file = \"api.token\"\n", ""));
    let off = || (ask(&responder, "GET", "/v1/issuers", "").0 == 404).then_some(());
    ostia_tests::until("the API is off", Duration::from_secs(20), off);
    assert_eq!(responder.readiness().0, 200);
    refused(&responder.site.precompute("add", &["0B"]), "admin.token_file: is missing");
}

#[test]
fn a_token_that_others_may_read_or_hear_is_refused() {
    let (_ca, site) = ca_and_site();
    let site = with_api(site);
    let token = site.dir().join("api.token");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    site.is_refused(&["admin.token_file", "has mode 0644, which lets others use it; run: chmod 600"]);
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&token, "short\n").unwrap();
    site.is_refused(&["admin.token_file", "holds a token of 5 characters; expected at least 32"]);
    fs::write(&token, TOKEN).unwrap();
    let admin = site.admin;
    site.edit_config(|text| text.replace(&admin.to_string(), &format!("0.0.0.0:{}", admin.port())));
    site.is_refused(&["admin.token_file", "needs `listen` on a loopback address"]);
}

#[test]
fn where_no_service_answers_status_reads_the_book_and_pushes_say_what_to_do() {
    let (ca, responder) = started();
    done(&responder.site.precompute("add", &["ABCD"]), "added");
    let while_it_runs = responder.site.precompute("show", &["ABCD"]);
    done(&while_it_runs, "ABCD tests/ca: ");
    let mut responder = responder;
    responder.end_by("TERM");
    let site = responder.into_site();
    let told = site.precompute("status", &["ABCD"]);
    done(&told, "what follows is what the book holds");
    for words in ["is the service running, and is `admin.listen`", "good, valid until an unknown time, said by a push"]
    {
        assert!(told.text.contains(words), "{words}: {}", told.text);
    }
    done(&site.precompute("show", &["0xABCD"]), "ABCD tests/ca: ");
    refused(&site.precompute("revoke", &["ABCD"]), "is the service running, and is `admin.listen`");
    drop(ca);
}

#[test]
fn a_hundred_thousand_are_pushed_from_a_list_and_refused_lines_are_told_by_number() {
    let (ca, responder) = started();
    let mut list = String::from("# what was issued\nserial,not_after\n");
    for serial in 1..=100_000 {
        let _ = writeln!(list, "{:X},2030-01-01T00:00:00Z", 0xA00_0000 + serial);
    }
    list += "nonsense\n";
    let file = ca.dir().join("issued.csv");
    fs::write(&file, &list).unwrap();
    let begin = Instant::now();
    let ended = responder.site.precompute("add", &["--file", file.to_str().unwrap()]);
    let took = begin.elapsed();
    refused(&ended, "100,000 done, 0 unchanged, 1 refused");
    assert!(ended.text.contains("issued.csv:100003: the serial number is `nonsense`"), "{}", ended.text);
    eprintln!("100,000 lines in {took:?}");
    is(&responder, &ca, "A0186A0", Status::Good);
    // From standard input, as plain lines.
    let mut command = Command::new(&programs().precompute);
    command.args(["revoke", "--reason", "superseded", "--file", "-", "--config"]).arg(responder.site.config());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    for serial in 1..=7000 {
        writeln!(input, "0x{:x}", 0xA00_0000 + serial).unwrap();
    }
    writeln!(input, "BADBAD").unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("7,000 done, 0 unchanged, 1 refused"), "{text}");
    assert!(text.contains("standard input:7001: no source and no push has listed"), "{text}");
    is(&responder, &ca, "A001B58", Status::Revoked);
    is(&responder, &ca, "A001B59", Status::Good);
    let (_, issuers) = ask(&responder, "GET", "/v1/issuers", "");
    // The signer of the answers is listed as well.
    assert_eq!(issuers["issuers"][0]["counts"], json!({ "good": 93_001, "revoked": 7000 }));
}

#[test]
fn on_a_full_disk_nothing_is_acknowledged_or_shown_and_a_list_goes_on_when_there_is_room() {
    let (ca, responder) = started();
    let limit_files = |limit: &str| {
        let ended = run(Command::new("prlimit").args(["--pid", &responder.pid().to_string(), limit]));
        assert!(ended.status.success(), "{ended:?}");
    };
    done(&responder.site.precompute("add", &["0A"]), "added");
    limit_files(&format!("--fsize={}:unlimited", 16 << 10));
    let path = format!("/v1/issuers/{}/revoke", issuer(&responder));
    let (status, problem) = ask(&responder, "POST", &path, r#"{"serial":"0A"}"#);
    assert_eq!((status, &problem["type"]), (503, &json!("urn:ostia:problem:not-durable")), "{problem}");
    is(&responder, &ca, "0A", Status::Good);
    refused(&responder.site.precompute("revoke", &["0A"]), "nothing was taken, because it cannot be made durable");
    is(&responder, &ca, "0A", Status::Good);
    let metric = |name: &str| responder.metric(name, "");
    assert_eq!((metric("ostia_push_faulty"), metric("ostia_pushes_total")), (1.0, 1.0));
    assert_eq!(metric("ostia_pushes_failed_total"), 2.0);
    let file = ca.dir().join("list");
    fs::write(&file, (1..=3000).map(|serial| format!("{:X}\n", 0xB00_0000 + serial)).collect::<String>()).unwrap();
    let mut command = Command::new(&programs().precompute);
    command.args(["add", "--file"]).arg(&file).arg("--config").arg(responder.site.config());
    let output = ca.dir().join("output");
    let out = fs::File::create(&output).unwrap();
    let mut child = command.stdout(out.try_clone().unwrap()).stderr(out).spawn().unwrap();
    let said = || fs::read_to_string(&output).unwrap();
    ostia_tests::until("it waits", Duration::from_secs(20), || said().contains("waiting to go on").then_some(()));
    limit_files("--fsize=unlimited:unlimited");
    let (status, text) = (child.wait().unwrap(), said());
    assert!(status.success() && text.contains("3,000 done, 0 unchanged, 0 refused"), "{text}");
    done(&responder.site.precompute("revoke", &["0A"]), "revoked");
    is(&responder, &ca, "0A", Status::Revoked);
    assert_eq!(metric("ostia_push_faulty"), 0.0);
}

#[test]
fn a_repeated_request_has_the_same_outcome_also_after_a_restart() {
    let (_ca, responder) = started();
    let add =
        |responder: &Responder, serial: &str| responder.site.precompute("add", &["--idempotency-key", "b7c0", serial]);
    done(&add(&responder, "0A"), "added");
    done(&add(&responder, "0A"), "added");
    refused(&add(&responder, "0B"), "this idempotency key was used for another request");
    let responder = responder.kill_and_start_again();
    done(&add(&responder, "0A"), "added");
    refused(&add(&responder, "0B"), "this idempotency key was used for another request");
}

#[test]
fn beside_uploads_that_stay_open_health_is_answered() {
    let (_ca, responder) = started();
    let head = format!(
        "POST /v1/issuers/{}/bulk HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/x-ndjson\r\nContent-Length: 1000\r\n\r\n",
        issuer(&responder),
        responder.site.admin
    );
    let open: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = std::net::TcpStream::connect(responder.site.admin).unwrap();
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(responder.readiness().0, 200);
    }
    assert_eq!(ask(&responder, "GET", "/v1/issuers", "").0, 200);
    drop(open);
}
