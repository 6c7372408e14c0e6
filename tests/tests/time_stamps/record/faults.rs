//! A record whose file takes no more: tokens go on, operators are told, and what is missing is counted and told in it.
//!
//! The file is full by a limit of the process on the size of its files, which its owner may lower and raise while it runs.
//! It ends lines in the middle, as a full disk does.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use ostia_tests::{Ca, Responder, Site, http::Connection, programs, run, until};
use precompute::{
    journal::{self, Entry, Identity, Kind, Options},
    state_dir,
};

use super::{field, metric, objects, recording, serial, serial_of, serials};
use crate::PATIENCE;

/// What the record holds from earlier days.
struct Old;

impl Entry for Old {
    fn push(&self, members: &mut String) {
        members.push_str("\"type\":\"old\"");
    }
}

/// Lets the record of a server that has run grow larger than any other file of the process, so that the limit meets the record
/// alone.
fn grow(site: &Site) {
    let state_dir = site.dir().join("state");
    let server = state_dir::server(&state_dir).unwrap().unwrap().id;
    let identity = Identity::of(server, &state_dir).unwrap();
    let kind = Kind { name: "time-stamps", title: "the record" };
    let (journal, recorders) =
        journal::start(&identity, kind, Options::new(site.dir().join("tokens.jsonl")), 1).unwrap();
    for number in 0..64 << 10 {
        // As many as find room on the queue.
        if number % 1024 == 0 {
            until("they are written", PATIENCE, || (journal.status().written == number).then_some(()));
        }
        assert!(recorders[0].record(Old));
    }
    assert_eq!(journal.finish().problem, None);
}

/// Starts with such a record, by a shell that keeps the process alive when it meets the limit.
fn start_with_old_record() -> (Ca, Responder) {
    // One worker, and so one queue.
    let (ca, site) = recording("");
    site.set_http("workers = 1");
    let mut first = site.start();
    assert!(first.end_by("TERM").success(), "{}", first.log());
    let site = first.into_site();
    grow(&site);
    let serve = site.serve();
    let mut shell = Command::new("bash");
    shell.args(["-c", "trap '' XFSZ; exec \"$@\"", "bash"]).arg(serve.get_program()).args(serve.get_args());
    let responder = site.start_by(shell);
    (ca, responder)
}

/// Lets its files have so many bytes.
fn limit_files(responder: &Responder, octets: &str) {
    let set = run(Command::new("prlimit").args(["--pid", &responder.pid().to_string(), &format!("--fsize={octets}:")]));
    assert!(set.status.success(), "{set:?}");
}

/// Gets so many tokens, as fast as a few clients can; all of them must be right.
fn get_tokens(ca: &Ca, responder: &Responder, count: u32) {
    let mut load = Command::new(&programs().loadtest);
    load.args(["tsa", "--url", &format!("http://{}/tsa", responder.http()), "--ca"]).arg(ca.certificate());
    load.args(["-n", &count.to_string(), "-d", "300s", "-c", "8", "-t", "1", "--verify", "none", "--quiet"]);
    let ended = run(load.args(["--expect", "errors=0,wrong=0"]));
    assert!(ended.status.success(), "{}\n{}", ended.text, responder.log());
}

#[test]
fn a_record_that_cannot_be_written_stops_no_token_and_what_is_missing_is_counted() {
    /// Tokens of a serving thread that may wait for the record.
    const QUEUE: u32 = 32 << 10;
    const MORE: u32 = 3000;
    let (ca, mut responder) = start_with_old_record();
    let dir = responder.site.dir().to_owned();
    let record = dir.join("tokens.jsonl");
    let mut given: Vec<_> = (0..3).map(|number| serial(&responder, number)).collect();
    until("they are written", PATIENCE, || (serials(&dir) == given).then_some(()));
    let state = || (metric(&responder, "faulty"), metric(&responder, "lost_total"));
    assert_eq!(state(), (0, 0));

    // Room for one line and a half.
    let full = fs::metadata(&record).unwrap().len() + 900;
    limit_files(&responder, &full.to_string());
    let mut connection = Connection::open(responder.http()).unwrap();
    for number in 3..20 {
        let begin = Instant::now();
        given.push(serial_of(&mut connection, number));
        assert!(begin.elapsed() < Duration::from_secs(10), "nobody waits for the record: {:?}", begin.elapsed());
    }
    until("it is told", PATIENCE, || (state() == (1, 0)).then_some(()));
    let (status, said) = responder.readiness_of("tsa");
    assert!(status == 200 && said.contains("degraded: the record of time-stamps: "), "{said}");
    assert!(said.contains("tokens.jsonl"), "{said}");
    // Many more than find room on the queue.
    get_tokens(&ca, &responder, QUEUE + MORE);
    let lost = metric(&responder, "lost_total");
    assert!((u64::from(MORE)..=u64::from(MORE) + 100).contains(&lost), "{lost}");
    assert_eq!((state(), responder.readiness_of("tsa").0), ((1, lost), 200));
    assert!(metric(&responder, "failures_total") > 1);
    assert_eq!(responder.log().matches("cannot be written: ").count(), 1, "once, however often: {}", responder.log());
    assert_eq!(fs::metadata(&record).unwrap().len(), full, "and the last line ends in the middle");

    // Mended by itself, all that waited is written, and how many are missing.
    limit_files(&responder, "unlimited");
    until("it is written again", PATIENCE, || (state() == (0, lost)).then_some(()));
    let told = || responder.log().contains("the record of time-stamps is written again").then_some(());
    until("it is logged", PATIENCE, told);
    assert!(!responder.readiness_of("tsa").1.contains("degraded"));
    given.extend((20..25).map(|number| serial_of(&mut connection, number)));
    assert!(responder.end_by("TERM").success(), "{}", responder.log());

    let told: Vec<_> = objects(&record);
    let recorded: Vec<_> = told.iter().filter(|line| field(line, "type") == "token").collect();
    let missing: u64 =
        told.iter().filter(|line| field(line, "type") == "lost").map(|line| line["count"].as_u64().unwrap()).sum();
    assert_eq!(missing, lost, "the file says so itself");
    assert_eq!(recorded.len() as u64 + lost, given.len() as u64 + u64::from(QUEUE + MORE), "nothing is missing unsaid");
    let mut rest = recorded.iter().map(|line| field(line, "serial"));
    assert!(given.iter().all(|given| rest.any(|serial| serial == given)), "in order, among the others");
}
