//! What is signed before anybody asks: found when somebody does, also after a kill, a revocation, or a change of signers.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use ostia_tests::{Ask, Ca, Delegate, KeyKind, Responder, Site, Status, Tenant, http, programs, python, run, until};

/// A hundred thousand signatures on a busy machine, without optimisation.
const PATIENCE: Duration = Duration::from_secs(60);

/// Certificates that are only lines of the index, enough to take seconds to sign.
const MANY: u32 = 100_000;

/// Adds certificates to the index, with serials from 0x70000000 on.
fn add_lines(ca: &Ca, count: u32) {
    let mut index = fs::read_to_string(ca.index()).unwrap();
    for number in 0..count {
        writeln!(index, "V\t351231235959Z\t\t{:08X}\tunknown\t/CN=line", 0x7000_0000 + number).unwrap();
    }
    ca.replace_index(&index);
}

fn line(number: u32) -> String {
    format!("{:08X}", 0x7000_0000 + number)
}

/// A site of one issuer that is signed ahead for.
fn site(ca: &Ca, settings: &str, signers: &[String]) -> Site {
    let sources = format!("index = {:?}", ca.index());
    let signers = signers.join("\n[[tenant.issuer.signer]]\n");
    let site = Site::new(&[Tenant::new("tests").set(settings).presigned().issuer("ca", ca, &sources, &signers)]);
    site.edit_config(|text| text.replace("\n[tenant.issuer.signer]\n", "\n[[tenant.issuer.signer]]\n"));
    site
}

fn records(responder: &Responder) -> f64 {
    responder.metric("ostia_records", "")
}

fn counted(responder: &Responder, name: &str) -> f64 {
    responder.metric(&format!("ostia_presign_{name}_total"), "")
}

/// Waits for a pass that had nothing left to do.
#[track_caller]
fn wait_for_all(responder: &Responder) {
    until("all is signed ahead", PATIENCE, || {
        let all = counted(responder, "signed") + counted(responder, "restored") >= records(responder);
        (all && responder.metric("ostia_presign_due", "") == 0.0).then_some(())
    });
}

/// Asks, and expects that nothing had to be signed for it.
#[track_caller]
fn expect_ready(responder: &Responder, ask: &Ask, status: Status) {
    let count = |result: &str| responder.metric("ostia_requests_total", &format!("result=\"{result}\""));
    let before = (count("hit"), count("signed"));
    ask.at(responder.http(), "/").expect(status);
    assert_eq!((count("hit"), count("signed")), (before.0 + 1.0, before.1));
}

#[test]
fn the_first_who_asks_finds_the_answer_signed() {
    let ca = Ca::new("CA");
    let (good, revoked) = (ca.issue(), ca.issue());
    ca.revoke(&revoked, &["-crl_reason", "superseded"]);
    for kind in [KeyKind::P256, KeyKind::Rsa2048] {
        let signer = ca.delegate(Delegate::Proper, kind);
        let responder = site(&ca, "presign_hashes = [\"sha1\", \"sha256\"]", &[signer.lines()]).start();
        until("both hashes", PATIENCE, || (counted(&responder, "signed") == 2.0 * records(&responder)).then_some(()));
        for hash in ["sha1", "sha256"] {
            expect_ready(&responder, &Ask::about(&ca, &good).hash(hash), Status::Good);
            expect_ready(&responder, &Ask::about(&ca, &revoked).hash(hash), Status::Revoked);
        }
        // A certificate issued now is signed for at once, before the next pass.
        let known = records(&responder);
        let later = ca.issue();
        until("the new one", PATIENCE, || {
            let all = records(&responder);
            (all > known && counted(&responder, "signed") == 2.0 * all).then_some(())
        });
        expect_ready(&responder, &Ask::about(&ca, &later), Status::Good);
    }
}

#[test]
fn killed_in_the_middle_it_goes_on_where_it_was() {
    let ca = Ca::new("CA");
    add_lines(&ca, MANY);
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let mut responder = site(&ca, "", &[signer.lines()]).start();
    let all = records(&responder);
    let mut signed = 0.0;
    until("some are stored", PATIENCE, || {
        signed = counted(&responder, "signed");
        (counted(&responder, "stored") > 0.0).then_some(())
    });
    assert!(signed < all, "killed in the middle");
    responder.end_by("KILL");

    let mut responder = responder.into_site().start();
    wait_for_all(&responder);
    let (restored, signed) = (counted(&responder, "restored"), counted(&responder, "signed"));
    assert!(restored > 0.0, "{}", responder.metrics());
    assert_eq!(restored + signed, all, "each once");
    for number in [0, MANY / 2, MANY - 1] {
        expect_ready(&responder, &Ask::serial(&ca, &line(number)), Status::Good);
    }

    // Ended in order, nothing is lost.
    assert!(responder.end_by("TERM").success());
    let responder = responder.into_site().start();
    wait_for_all(&responder);
    assert_eq!((counted(&responder, "restored"), counted(&responder, "signed")), (all, 0.0));
    expect_ready(&responder, &Ask::serial(&ca, &line(7)), Status::Good);
}

#[test]
fn a_revocation_does_not_wait_for_the_end_of_a_pass() {
    let ca = Ca::new("CA");
    let leaf = ca.issue();
    add_lines(&ca, 4000);
    // Some 600 signatures a second.
    let signer = ca.delegate(Delegate::Proper, KeyKind::Rsa4096);
    let site = site(&ca, "", &[signer.lines() + "\nthreads = 1"]);
    let mut command = site.serve();
    command.env("OSTIA_LOG", "debug");
    let responder = site.start_by(command);
    until("a pass", PATIENCE, || (counted(&responder, "signed") > 0.0).then_some(()));
    ca.revoke(&leaf, &["-crl_reason", "keyCompromise"]);
    until("the revocation is signed", PATIENCE, || {
        responder.log().contains("changed records were signed").then_some(())
    });
    assert!(responder.metric("ostia_presign_due", "") > 100.0, "the pass goes on: {}", responder.metrics());
    expect_ready(&responder, &Ask::about(&ca, &leaf), Status::Revoked);
}

#[test]
fn a_stored_good_is_not_served_after_a_revocation_while_it_was_down() {
    let ca = Ca::new("CA");
    let (revoked, good) = (ca.issue(), ca.issue());
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let mut responder = site(&ca, "", &[signer.lines()]).start();
    wait_for_all(&responder);
    assert!(responder.end_by("TERM").success());
    ca.revoke(&revoked, &[]);
    let responder = responder.into_site().start();
    Ask::about(&ca, &revoked).at(responder.http(), "/").expect(Status::Revoked);
    // The revoked one's was signed for the question above, or ahead.
    until("the others are restored", PATIENCE, || {
        (counted(&responder, "restored") == records(&responder) - 1.0).then_some(())
    });
    expect_ready(&responder, &Ask::about(&ca, &good), Status::Good);
}

#[test]
fn a_new_signer_finds_its_answers_signed_when_it_takes_over() {
    let ca = Ca::new("CA");
    let leaf = ca.issue();
    // Answers are valid for four days: the new one takes over when the old one has less left, in an hour.
    let old = ca.delegate_for(Duration::from_secs(4 * 86_400 + 3600));
    let new = ca.delegate(Delegate::Proper, KeyKind::P256);
    let responder = site(&ca, "", &[old.lines(), new.lines()]).start();
    let all = records(&responder);
    until("the answers of both", PATIENCE, || (counted(&responder, "signed") == 2.0 * all).then_some(()));
    expect_ready(&responder, &Ask::about(&ca, &leaf), Status::Good);

    responder.reload(|text| {
        text.replacen(&format!("{}\n", old.lines()), &format!("{}\n", new.lines()), 1).replacen(
            &format!("\n[[tenant.issuer.signer]]\n{}\n", new.lines()),
            "",
            1,
        )
    });
    until("the new one's answers are taken from the store", PATIENCE, || {
        (counted(&responder, "restored") == all).then_some(())
    });
    expect_ready(&responder, &Ask::about(&ca, &leaf), Status::Good);
    assert_eq!(counted(&responder, "signed"), 2.0 * all);
}

/// Starts `ostia-precompute presign`, its output in a file.
fn presign(site: &Site, output: &Path) -> Child {
    let file = fs::File::create(output).unwrap();
    let mut command = Command::new(&programs().precompute);
    command.args(["presign", "--config"]).arg(site.config()).stdin(Stdio::null());
    command.stderr(file.try_clone().unwrap()).stdout(file).spawn().unwrap()
}

#[test]
fn while_nobody_serves_the_store_is_filled_and_an_interrupted_one_goes_on() {
    let ca = Ca::new("CA");
    add_lines(&ca, MANY);
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let site = site(&ca, "", &[signer.lines()]);
    let output = site.dir().join("presign.log");
    let mut child = presign(&site, &output);
    let stored = || fs::metadata(site.dir().join("state/answers.redb")).is_ok_and(|file| file.len() > 3 << 20);
    until("some are stored", PATIENCE, || stored().then_some(()));
    assert!(run(Command::new("kill").args(["-s", "INT", &child.id().to_string()])).status.success());
    let status = until("it ends", PATIENCE, || child.try_wait().unwrap());
    let said = fs::read_to_string(&output).unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("the same command continues from there"), "{said}");

    let ended = site.precompute("presign", &[]);
    assert!(ended.status.success(), "{ended:?}");
    assert!(!ended.text.contains(" 0 were already stored"), "{ended:?}");
    let ended = site.precompute("presign", &[]);
    assert!(ended.status.success() && ended.text.contains("0 answers signed"), "{ended:?}");

    let responder = site.start();
    wait_for_all(&responder);
    assert_eq!((counted(&responder, "restored"), counted(&responder, "signed")), (records(&responder), 0.0));
    expect_ready(&responder, &Ask::serial(&ca, &line(1)), Status::Good);
    let ended = responder.site.precompute("presign", &[]);
    assert!(!ended.status.success() && ended.text.contains("belongs to `ostia-responder serve`"), "{ended:?}");
}

#[test]
fn where_answers_find_no_room_it_is_told_and_they_are_signed_for_those_who_ask() {
    /// More than a mebibyte has room for, and less than four.
    const LINES: u32 = 16_000;
    let ca = Ca::new("CA");
    add_lines(&ca, LINES);
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let site = site(&ca, "", &[signer.lines()]);
    site.edit_config(|text| text.replacen("\n[admin]", "\n[cache]\nanswers_octets = 1048576\n\n[admin]", 1));
    let mut responder = site.start();
    let full = |responder: &Responder| responder.metric("ostia_presign_full", "") == 1.0;
    until("it is full", PATIENCE, || full(&responder).then_some(()));
    let all = records(&responder);
    let signed = counted(&responder, "signed");
    assert!(signed > 1000.0 && signed < all, "{signed} of {all}");
    assert!(responder.metric("ostia_presign_due", "") > 0.0, "{}", responder.metrics());
    assert!(responder.metric("ostia_answers_octets", "") <= 1_048_576.0, "{}", responder.metrics());
    // Whoever asks has the right answer: kept, or signed for the first who asks and then kept beside the table.
    let count = |result: &str| responder.metric("ostia_requests_total", &format!("result=\"{result}\""));
    let asked: Vec<_> = (0..LINES).step_by(LINES as usize / 40).map(|number| Ask::serial(&ca, &line(number))).collect();
    let ask_all = || asked.iter().for_each(|ask| _ = ask.at(responder.http(), "/").expect(Status::Good));
    ask_all();
    let (hits, misses) = (count("hit"), count("signed"));
    assert!(hits > 0.0 && misses > 0.0 && hits + misses == asked.len() as f64, "{hits} hits, {misses} signed");
    ask_all();
    assert_eq!((count("hit"), count("signed")), (hits + asked.len() as f64, misses));

    // With room for all of them the next start goes on where this one was.
    assert!(responder.end_by("TERM").success());
    let site = responder.into_site();
    site.edit_config(|text| text.replacen("answers_octets = 1048576", "answers_octets = 4194304", 1));
    let responder = site.start();
    wait_for_all(&responder);
    until("there is room", PATIENCE, || (!full(&responder)).then_some(()));
    assert!(counted(&responder, "restored") > 1000.0, "{}", responder.metrics());
    asked.iter().for_each(|ask| expect_ready(&responder, ask, Status::Good));
}

#[test]
fn a_store_that_somebody_has_spoiled_is_begun_anew() {
    let ca = Ca::new("CA");
    let leaf = ca.issue();
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let site = site(&ca, "", &[signer.lines()]);
    let state = site.dir().join("state");
    fs::create_dir(&state).unwrap();
    fs::write(state.join("answers.redb"), [0x55; 100_000]).unwrap();
    let responder = site.start();
    wait_for_all(&responder);
    assert!(responder.log().contains("is replaced"), "{}", responder.log());
    assert_eq!(responder.metric("ostia_presign_store_faulty", ""), 0.0);
    expect_ready(&responder, &Ask::about(&ca, &leaf), Status::Good);
}

#[test]
fn reading_and_signing_ahead_stand_behind_serving() {
    let ca = Ca::new("CA");
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let responder = site(&ca, "", &[signer.lines()]).start();
    let niceness = |wanted: &str| {
        let tasks = fs::read_dir(format!("/proc/{}/task", responder.pid())).unwrap();
        let stats = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("stat")).ok());
        let found = stats.filter_map(|stat| {
            let (name, fields) = stat.split_once('(')?.1.rsplit_once(") ")?;
            // proc(5): the 19th field; the state, behind the name, is the third.
            (name == wanted).then(|| fields.split(' ').nth(16)?.parse::<i32>().ok()).flatten()
        });
        found.collect::<Vec<_>>()
    };
    for (thread, expected) in [("worker-0", 0), ("source", 5), ("presign changes", 10), ("presign", 19)] {
        until(thread, PATIENCE, || (niceness(thread) == [expected]).then_some(()));
    }
}

/// One signature for each certificate, whichever of the two hashes a client asks by; other clients have answers of their own.
#[test]
fn one_answer_serves_both_hashes_and_is_signed_kept_and_stored_once() {
    let ca = Ca::new("CA");
    let (good, revoked) = (ca.issue(), ca.issue());
    ca.revoke(&revoked, &["-crl_reason", "superseded"]);
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let set = "presign_hashes = [\"sha1+sha256\"]\nnonce = \"echo\"";
    let mut responder = site(&ca, set, &[signer.lines()]).start();
    wait_for_all(&responder);
    for _ in 0..2 {
        let all = counted(&responder, "signed") + counted(&responder, "restored");
        assert_eq!(all, records(&responder), "each once");
        for hash in ["sha1", "sha256"] {
            expect_ready(&responder, &Ask::about(&ca, &good).hash(hash), Status::Good);
            expect_ready(&responder, &Ask::about(&ca, &revoked).hash(hash), Status::Revoked);
        }
        assert!(responder.end_by("TERM").success());
        responder = responder.into_site().start();
        wait_for_all(&responder);
    }
    let asked = |hash: &str| http::post(responder.http(), "/", &Ask::about(&ca, &good).hash(hash).request()).body;
    let both = asked("sha1");
    assert_eq!(asked("sha256"), both);
    fs::write(ca.file("both"), &both).unwrap();
    let said = python("main_job/responses.py", &[ca.file("both").to_str().unwrap()]);
    let serial = good.serial.trim_start_matches('0');
    assert_eq!(said.text, format!("sha1 {serial} GOOD\nsha256 {serial} GOOD\n"));
    // By another algorithm, and with a nonce, they have what they asked for.
    Ask::about(&ca, &good).hash("sha384").at(responder.http(), "/").expect(Status::Good);
    let one = Ask::about(&ca, &good).nonce().at(responder.http(), "/").expect(Status::Good);
    assert!(one.text.contains(": good") && !one.text.contains("WARNING"), "{}", one.text);
}
