//! Pushes while something goes wrong: a process that is killed between two calls, clocks that are set, a book that is
//! exchanged, sources that hang or remove at that moment what is pushed.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use ostia_tests::{Ask, Ca, Delegate, FakeClock, KeyKind, Responder, Site, Status, Tenant, http, until};
use serde_json::{Value, json};

use crate::{
    ca_and_site,
    pushes::{TOKEN, ask, is, issuer, started, with_api},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A push to the only issuer, or to that of the tenant; `None` where the connection ends without a whole reply.
fn push(responder: &Responder, issuer: &str, verb: &str, body: &Value, key: &str) -> Option<(u16, Value)> {
    let (admin, body) = (responder.site.admin, body.to_string());
    let request = format!(
        "POST /v1/issuers/{issuer}/{verb} HTTP/1.1\r\nHost: {admin}\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\nIdempotency-Key: {key}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let reply = http::exchange(admin, request.as_bytes()).ok()?;
    Some((reply.status, serde_json::from_str(&reply.text()).unwrap_or(Value::Null)))
}

/// A push that is taken.
#[track_caller]
fn pushed(responder: &Responder, issuer: &str, verb: &str, body: &Value, key: &str) {
    let (status, said) = push(responder, issuer, verb, body, key).expect("it replies");
    assert!(status == 200 && said["outcome"] == "done", "{verb} {body}: {status} {said}\n{}", responder.log());
}

/// What a client is told now.
fn told(responder: &Responder, ca: &Ca, serial: &str, path: &str) -> Status {
    Ask::serial(ca, serial).at(responder.http(), path).status
}

/// `strace` at a running responder, with these arguments.
fn traced(responder: &Responder, arguments: &[&str]) -> Child {
    let said = responder.site.dir().join("strace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-o", "/dev/null"]).args(arguments).arg("-p").arg(responder.pid().to_string());
    let child = strace.stderr(File::create(&said).unwrap()).spawn().unwrap();
    until("strace", PATIENCE, || fs::read_to_string(&said).unwrap().contains("attached").then_some(()));
    child
}

/// The process ends where it makes a call for the n-th time while it handles a push, before the call does anything: what
/// was acknowledged before stays, and the push itself is there as a whole or not at all.
#[test]
fn killed_at_any_call_between_proposal_and_acknowledgement_nothing_acknowledged_is_lost_and_nothing_is_half_there() {
    let (ca, mut responder) = started();
    let id = issuer(&responder);
    let (mut acknowledged, mut kills, mut next) = (Vec::new(), 0, 0xA000);
    let body = |serial: &str| json!({ "serial": serial, "reason": "keyCompromise", "time": "2026-01-02T03:04:05Z", "even_unlisted": true });
    let is_whole = |responder: &Responder, serial: &str| {
        let answer = Ask::serial(&ca, serial).at(responder.http(), "/").expect(Status::Revoked);
        assert_eq!(answer.reason.as_deref().map(|reason| reason.split(' ').next().unwrap()), Some("keyCompromise"));
        assert_eq!(answer.revocation_time.as_deref(), Some("Jan  2 03:04:05 2026 GMT"), "{serial}");
    };
    // Writes to the book, flushes of it, and the reply.
    for calls in ["pwrite64", "fdatasync,fsync", "sendto,writev"] {
        // Of many writes every other one.
        for number in (1..).step_by(if calls == "pwrite64" { 2 } else { 1 }) {
            next += 2;
            let [before, during] = [next, next + 1].map(|serial| format!("{serial:X}"));
            pushed(&responder, &id, "revoke", &body(&before), &before);
            acknowledged.push(before);
            let inject = format!("inject={calls}:signal=SIGKILL:when={number}");
            let mut strace = traced(&responder, &["-e", &format!("trace={calls}"), "-e", &inject]);
            let reply = push(&responder, &id, "revoke", &body(&during), &during);
            let is_dead = reply.is_none();
            if is_dead {
                kills += 1;
            } else {
                let _ = strace.kill();
            }
            strace.wait().unwrap();
            responder = responder.kill_and_start_again();
            eprintln!("{calls} {number}: {reply:?}, then {:?}", told(&responder, &ca, &during, "/"));
            if is_dead && told(&responder, &ca, &during, "/") != Status::Revoked {
                is(&responder, &ca, &during, Status::error("unauthorized"));
            }
            // The record and the answer to its key are in one commit.
            pushed(&responder, &id, "revoke", &body(&during), &during);
            acknowledged.push(during);
            acknowledged.iter().for_each(|serial| is_whole(&responder, serial));
            if !is_dead {
                break;
            }
        }
    }
    assert!((4..40).contains(&kills), "{kills}");
}

/// Before, a push went into a file without a name, or an older copy of the book won.
#[test]
fn a_push_goes_into_the_book_that_is_in_its_place() {
    let (ca, responder) = started();
    let id = issuer(&responder);
    let revoke = |serial: &str| {
        pushed(&responder, &id, "revoke", &json!({ "serial": serial, "even_unlisted": true }), serial);
    };
    revoke("A1");
    let book = responder.site.dir().join("state/book.redb");
    let copy = book.with_extension("copy");
    fs::copy(&book, &copy).unwrap();
    fs::remove_file(&book).unwrap();
    // At once, before anybody has looked.
    revoke("A2");
    fs::rename(&copy, &book).unwrap();
    revoke("A3");
    let again = responder.kill_and_start_again();
    for serial in ["A1", "A2", "A3"] {
        is(&again, &ca, serial, Status::Revoked);
    }
}

#[test]
fn when_the_clock_is_set_pushes_are_taken_and_revocation_times_stay() {
    let (ca, site) = ca_and_site();
    let clock = FakeClock::new(ca.dir());
    clock.set("+1d");
    let site =
        clock.environment().into_iter().fold(with_api(site), |site, (name, value)| site.environment(name, value));
    let responder = site.start();
    let id = issuer(&responder);
    let since = |serial: &str| {
        let (status, found) = ask(&responder, "GET", &format!("/v1/issuers/{id}/certificates/{serial}"), "");
        assert!(status == 200 && found["status"] == "revoked", "{serial}: {found}");
        found["revoked_since"].as_str().unwrap().to_owned()
    };
    // What a client is told whose clock may be three days wrong.
    let is = |responder: &Responder, serial: &str, wanted: &str| {
        let mut openssl = Command::new("openssl");
        openssl.args(["ocsp", "-no_nonce", "-validity_period", "300000", "-issuer"]).arg(ca.certificate());
        openssl.args(["-serial", &format!("0x{serial}"), "-CAfile"]).arg(ca.certificate());
        let said = ostia_tests::run(openssl.arg("-url").arg(format!("http://{}/", responder.http()))).text;
        assert!(said.contains("Response verify OK") && said.contains(&format!(": {wanted}\n")), "{serial}: {said}");
    };
    let unlisted = |serial: &str| json!({ "serial": serial, "even_unlisted": true });
    let (mut times, mut next) = (Vec::new(), 0xC00);
    for (round, offset) in ["+1d", "+2d", "+1d", "+3d", "+2d"].into_iter().enumerate() {
        clock.set(offset);
        let day = ostia_tests::bash(ca.dir(), &format!("date -u -d '{} day' +%Y-%m-%d", &offset[..2]));
        // Each thread looks at it once a second.
        let revoked = until("a push by the clock that was set", PATIENCE, || {
            next += 1;
            let serial = format!("{next:X}");
            pushed(&responder, &id, "revoke", &unlisted(&serial), &serial);
            since(&serial).starts_with(day.trim()).then_some(serial)
        });
        times.push((revoked.clone(), since(&revoked)));
        let other = format!("D{round}");
        pushed(&responder, &id, "add", &json!({ "serial": other }), &format!("add{round}"));
        let hold = json!({ "serial": other, "reason": "certificateHold" });
        pushed(&responder, &id, "revoke", &hold, &format!("hold{round}"));
        is(&responder, &other, "revoked");
        pushed(&responder, &id, "release", &json!({ "serial": other }), &format!("release{round}"));
        is(&responder, &other, "good");
        for (serial, time) in &times {
            assert_eq!(since(serial), *time, "{serial} when the clock shows {offset}");
            // Said once more, it is no other revocation, whatever the clock shows.
            let key = format!("{serial}-{round}");
            let (status, said) = push(&responder, &id, "revoke", &unlisted(serial), &key).unwrap();
            assert!(status == 200 && said["outcome"] == "unchanged", "{serial} at {offset}: {said}");
            is(&responder, serial, "revoked");
        }
    }
    // What lies ahead of the clock by more than clocks differ.
    let ahead = json!({ "serial": "CF1F", "even_unlisted": true, "time": times[3].1 });
    let (status, problem) = push(&responder, &id, "revoke", &ahead, "ahead").unwrap();
    let wanted = (400, &json!("urn:ostia:problem:bad-request"), &json!("time"));
    assert_eq!((status, &problem["type"], &problem["member"]), wanted, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("is in the future"), "{problem}");
    assert_eq!(ask(&responder, "GET", &format!("/v1/issuers/{id}/certificates/CF1F"), "").0, 404);
    let responder = responder.kill_and_start_again();
    times.iter().for_each(|(serial, _)| is(&responder, serial, "revoked"));
}

/// Records that the index drops are removed two seconds after it changed last: pushes come before, meanwhile and after.
#[test]
fn what_is_pushed_while_a_pass_removes_it_stays() {
    let (ca, site) = ca_and_site();
    let signers = fs::read_to_string(ca.index()).unwrap();
    let line = |serial: u32| format!("V\t491231235959Z\t\t{serial:06X}\tunknown\t/CN={serial}\n");
    let index = |serials: std::ops::Range<u32>| signers.clone() + &serials.map(line).collect::<String>();
    ca.replace_index(&index(0x10_0000..0x11_0000));
    let responder = with_api(site).start();
    let id = issuer(&responder);
    // As many as may go without a question.
    let dropped: Vec<String> = (0x10_FFF0..0x11_0000).map(|serial| format!("{serial:06X}")).collect();
    ca.replace_index(&index(0x10_0000..0x10_FFF0));
    let mut taken = Vec::new();
    for (number, serial) in dropped.iter().enumerate().skip(1) {
        let verb = ["add", "revoke"][number % 2];
        let (status, said) = push(&responder, &id, verb, &json!({ "serial": serial }), serial).unwrap();
        match (verb, status) {
            (_, 200) => taken.push((serial, if verb == "add" { Status::Good } else { Status::Revoked })),
            // It was gone already.
            ("revoke", 404) => assert_eq!(said["type"], "urn:ostia:problem:not-listed"),
            _ => panic!("{verb} {serial}: {status} {said}"),
        }
        thread::sleep(Duration::from_millis(200));
    }
    assert!(taken.iter().any(|(_, status)| *status == Status::Revoked), "some came before the removal");
    until("the removal", PATIENCE, || {
        (told(&responder, &ca, &dropped[0], "/") == Status::error("unauthorized")).then_some(())
    });
    let again = |responder: &Responder| {
        taken.iter().for_each(|(serial, status)| is(responder, &ca, serial, status.clone()));
    };
    again(&responder);
    again(&responder.kill_and_start_again());
}

fn tenant(name: &str, ca: &Ca, index: &Path) -> Tenant {
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let tenant = Tenant::new(name).set(&format!("path = \"/{name}\""));
    tenant.issuer("ca", ca, &format!("index = {index:?}"), &signer.lines())
}

#[test]
fn while_a_source_hangs_pushes_to_its_issuer_and_to_others_are_acknowledged_and_answered() {
    let (a, b) = (Ca::new("CA of A"), Ca::new("CA of B"));
    let leaf = b.issue();
    let (now, hangs) = (b.file("now.txt"), b.file("hangs.txt"));
    std::os::unix::fs::symlink(b.index(), &now).unwrap();
    fs::copy(b.index(), &hangs).unwrap();
    let site = with_api(Site::new(&[tenant("a", &a, &a.index()), tenant("b", &b, &now)]));
    let serve = site.serve();
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-q", "-o", "/dev/null", "-P"]).arg(&hangs);
    command.args(["-e", "trace=read,pread64", "-e", "inject=read,pread64:delay_enter=20s", "--"]);
    command.arg(serve.get_program()).args(serve.get_args());
    let responder = site.start_by(command);
    std::os::unix::fs::symlink(&hangs, b.file("next.txt")).unwrap();
    fs::rename(b.file("next.txt"), &now).unwrap();
    until("it hangs", PATIENCE, || {
        responder.readiness().1.contains("b/ca: the sources were last checked").then_some(())
    });
    let mut slowest = Duration::ZERO;
    for number in 1..=5 {
        for (name, ca) in [("a", &a), ("b", &b)] {
            let (serial, begun) = (format!("E{number}"), Instant::now());
            pushed(&responder, &format!("{name}:ca"), "add", &json!({ "serial": serial }), &format!("{name}{number}"));
            slowest = slowest.max(begun.elapsed());
            assert_eq!(told(&responder, ca, &serial, &format!("/{name}")), Status::Good, "{name}");
            pushed(
                &responder,
                &format!("{name}:ca"),
                "revoke",
                &json!({ "serial": serial }),
                &format!("r{name}{number}"),
            );
            assert_eq!(told(&responder, ca, &serial, &format!("/{name}")), Status::Revoked, "{name}");
        }
    }
    pushed(&responder, "b:ca", "revoke", &json!({ "serial": leaf.serial }), "leaf");
    assert_eq!(told(&responder, &b, &leaf.serial, "/b"), Status::Revoked);
    // Behind the source it would be up to 20 s; whatever else was asked had its answer within 15.
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
}

/// The number of the present issuers that are told to be at odds with pushes, and how often the log says so.
fn contradictions(responder: &Responder) -> (f64, f64, usize) {
    let told = responder.log().matches("pushes and the source disagree").count();
    (responder.metric("ostia_push_contradictions", ""), responder.metric("ostia_source_contradictions", ""), told)
}

#[test]
fn where_pushes_and_a_source_disagree_it_is_counted_in_both_directions_and_told_once() {
    let (ca, site) = ca_and_site();
    let (leaf, other) = (ca.issue(), ca.issue());
    let responder = with_api(site).start();
    let id = issuer(&responder);
    assert_eq!(contradictions(&responder), (0.0, 0.0, 0));
    // The index calls one good and does not list another, and both are pushed.
    pushed(&responder, &id, "revoke", &json!({ "serial": leaf.serial }), "r");
    pushed(&responder, &id, "add", &json!({ "serial": "ABCD" }), "a");
    pushed(&responder, &id, "revoke", &json!({ "serial": "ABCD", "reason": "certificateHold" }), "h");
    assert_eq!(responder.metric("ostia_pushes_total", ""), 3.0);
    assert!(responder.metric("ostia_last_push_seconds", "") > 1.7e9);
    let rewrite = |edit: &dyn Fn(String) -> String| ca.replace_index(&edit(fs::read_to_string(ca.index()).unwrap()));
    // At its beginning: of lines that are only appended nothing is told.
    rewrite(&|index| "V\t491231235959Z\t\tF001\tunknown\t/CN=another\n".to_owned() + &index);
    until("both are counted and told", PATIENCE, || (contradictions(&responder) == (2.0, 0.0, 1)).then_some(()));
    for number in 2..5 {
        rewrite(&|index| format!("V\t491231235959Z\t\tF00{number}\tunknown\t/CN=another\n") + &index);
        until("it is read", PATIENCE, || {
            (told(&responder, &ca, &format!("F00{number}"), "/") == Status::Good).then_some(())
        });
    }
    assert_eq!(contradictions(&responder), (2.0, 0.0, 1));
    // The other direction: the source takes back what it has revoked itself.
    ca.revoke(&other, &[]);
    until("the revocation", PATIENCE, || (told(&responder, &ca, &other.serial, "/") == Status::Revoked).then_some(()));
    crate::book::forget_revocations(&ca);
    until("it is counted", PATIENCE, || (contradictions(&responder).1 == 1.0).then_some(()));
    assert_eq!(contradictions(&responder).0, 2.0);
    is(&responder, &ca, &other.serial, Status::Revoked);
    // Set right: the CA revokes both, and the hold that was pushed is released.
    [&leaf, &other].iter().for_each(|leaf| ca.revoke(leaf, &[]));
    pushed(&responder, &id, "release", &json!({ "serial": "ABCD" }), "x");
    rewrite(&|index| index + "V\t491231235959Z\t\tABCD\tunknown\t/CN=pushed\n");
    until("all agree", PATIENCE, || {
        (contradictions(&responder).0 == 0.0 && contradictions(&responder).1 == 0.0).then_some(())
    });
    is(&responder, &ca, "ABCD", Status::Good);
}

#[test]
fn readiness_and_metrics_say_that_pushes_are_refused_as_long_as_the_book_cannot_be_written() {
    let (_ca, responder) = started();
    let id = issuer(&responder);
    let limit_files = |limit: &str| {
        let ended = ostia_tests::run(Command::new("prlimit").args(["--pid", &responder.pid().to_string(), limit]));
        assert!(ended.status.success(), "{ended:?}");
    };
    let add = |serial: &str| push(&responder, &id, "add", &json!({ "serial": serial }), serial).unwrap().0;
    assert_eq!((add("0A"), responder.metric("ostia_pushes_failed_total", "")), (200, 0.0));
    limit_files(&format!("--fsize={}:unlimited", 16 << 10));
    assert_eq!((add("0B"), add("0C")), (503, 503));
    let (status, text) = responder.readiness();
    assert!(status == 200 && text.contains("degraded: ") && text.contains("pushes are refused: "), "{text}");
    assert_eq!(responder.metric("ostia_pushes_failed_total", ""), 2.0);
    assert_eq!(responder.metric("ostia_pushes_total", ""), 1.0);
    limit_files("--fsize=unlimited:unlimited");
    assert_eq!((add("0B"), add("0C")), (200, 200));
    assert!(!responder.readiness().1.contains("pushes are refused"), "{}", responder.readiness().1);
}
