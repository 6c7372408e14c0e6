//! Replicas that follow who takes the pushes, at their own pace, and some that do not stay with what they said.

use super::push_table::{Manner, SLOW, State, TOKEN, serial_of};
use crate::problem::Problem;
use crate::report::Report;
use crate::run::ending;
use crate::testing::forge::{Identity, good, now, ocsp_error, revoked};
use crate::testing::server::{Reply, Request, Server};
use crate::testing::{kinds, lag_of};
use program::Exit;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How a replica follows.
#[derive(Clone, Copy, PartialEq)]
enum Pace {
    Prompt,
    /// So many milliseconds after its first question about a revoked certificate.
    Late(u64),
    /// Says `unauthorized` to the first question about each certificate.
    SlowToLearn,
    /// `revoked` once, and then `good` for ever.
    GoesBack,
    /// Unsigned refusals after the first `revoked`.
    Refuses,
    /// Never answers.
    Dead,
}

/// Of one replica: when it was first asked about each revoked certificate, and what it said since.
#[derive(Default)]
struct Memory {
    asked: HashMap<String, usize>,
    first: HashMap<String, Instant>,
    revoked: HashMap<String, usize>,
}

fn replica(pace: Pace, state: &Mutex<State>, memory: &mut Memory, request: &Request) -> Reply {
    let (serial, hex) = serial_of(&request.der);
    let state = state.lock().unwrap();
    let (_, is_revoked) = state.knows(&hex);
    let asked = memory.asked.entry(hex.clone()).or_default();
    *asked += 1;
    match pace {
        Pace::Dead => return Reply::Silence,
        Pace::SlowToLearn if *asked == 1 => return Reply::Body(ocsp_error(6)),
        Pace::Late(ms) if is_revoked => {
            let first = memory.first.entry(hex).or_insert_with(Instant::now);
            if first.elapsed() < Duration::from_millis(ms) {
                return state.says(serial, good());
            }
        }
        Pace::GoesBack | Pace::Refuses if is_revoked => {
            let said = memory.revoked.entry(hex).or_default();
            *said += 1;
            if *said > 1 {
                return if pace == Pace::Refuses { Reply::Body(ocsp_error(3)) } else { state.says(serial, good()) };
            }
        }
        _ => {}
    }
    state.says(serial, if is_revoked { revoked(now() - 1, Some(4)) } else { good() })
}

fn run(apis: &[Manner], paces: &[Pace], more: &[&str]) -> Result<Report, Problem> {
    let directory = tempfile::tempdir().unwrap();
    let issuer = Identity::root("issuer");
    let pem = issuer.pem(directory.path(), "ca.pem");
    let token = directory.path().join("token");
    std::fs::write(&token, TOKEN).unwrap();
    let state = Arc::new(Mutex::new(State::new(Manner::Prompt, issuer)));
    let apis = apis.iter().map(|manner| {
        let (state, manner) = (Arc::clone(&state), *manner);
        Server::start(move |request| {
            let mut state = state.lock().unwrap();
            state.manner = manner;
            state.answer(request)
        })
    });
    let replicas = paces.iter().map(|pace| {
        let (state, memory, pace) = (Arc::clone(&state), Mutex::new(Memory::default()), *pace);
        Server::start(move |request| replica(pace, &state, &mut memory.lock().unwrap(), request))
    });
    let (apis, replicas): (Vec<_>, Vec<_>) = (apis.collect(), replicas.collect());
    let joined = |servers: &[Server]| servers.iter().map(Server::url).collect::<Vec<_>>().join(",");
    let (urls, push) = (joined(&replicas), joined(&apis));
    let (issuer, token) = (pem.to_str().unwrap(), token.to_str().unwrap());
    let usual = ["--urls", &urls, "--issuer", issuer, "--push", &push, "--token", token, "--push-issuer", "default:ca"];
    let pace = [["--timeout", "1s"], ["--recheck", "1ms"]];
    let pace = pace.iter().filter(|pair| !more.contains(&pair[0])).flatten().copied();
    let arguments: Vec<&str> =
        usual.into_iter().chain(["--replicas"]).chain(pace).chain(more.iter().copied()).collect();
    lag_of(&arguments)
}

#[test]
fn a_replica_may_be_late_and_its_lag_counts_from_the_acknowledgement() {
    let report =
        run(&[Manner::Slow], &[Pace::Prompt, Pace::Late(500)], &["--pushes", "3", "--timeout", "10s"]).unwrap();
    assert_eq!((kinds(&report), ending(&report)), (vec![], Exit::Done));
    let lag = |i: usize| report.replicas[i].lag_us.unwrap();
    assert!(lag(0).p50 < 250_000.0 && lag(1).min > 250_000.0, "{report:?}");
    let (each, last) = (report.latency_us.unwrap(), report.last_us.unwrap());
    assert!(each.min == lag(0).min && last.min == lag(1).min && last.max == lag(1).max, "{report:?}");
    let acknowledged = report.pushes.as_ref().unwrap().acknowledged_us.unwrap();
    // Half of what a push takes at least: a histogram rounds.
    let taken = SLOW.as_micros() as f64 / 2.0;
    assert!(acknowledged.min > taken, "{acknowledged:?}");
    assert!(report.replicas[1].since_start_us.unwrap().min > lag(1).min + taken, "{report:?}");
}

#[test]
fn the_last_replica_is_what_is_expected_of() {
    let mut report =
        run(&[Manner::Prompt], &[Pace::Prompt, Pace::Late(500)], &["--pushes", "4", "--timeout", "10s"]).unwrap();
    report.decide(&"p50<250ms".parse().unwrap());
    assert_eq!(ending(&report), Exit::Missed, "of eight answers half came at once");
    report.decide(&"max<8s,errors=0".parse().unwrap());
    assert_eq!(ending(&report), Exit::Done);
}

#[test]
fn one_who_goes_back_is_wrong_and_named() {
    let report = run(&[Manner::Prompt], &[Pace::Prompt, Pace::GoesBack], &["--pushes", "2"]).unwrap();
    assert_eq!(ending(&report), Exit::NotInOrder);
    let went_back = report.kinds["went_back"];
    assert!(went_back >= 2, "each certificate is asked about once more at the end: {report:?}");
    assert_eq!((report.replicas[0].went_back, report.replicas[1].went_back), (0, went_back));
    assert!(report.replicas.iter().all(|r| r.asked_again >= 2 && r.missed == 0));
    assert!(report.examples.iter().all(|e| e.target == report.targets[1] && e.subject.len() == 32), "{report:?}");
}

#[test]
fn everything_is_asked_again_until_the_end() {
    let report = run(&[Manner::Prompt], &[Pace::Prompt], &["--pushes", "2", "--keep-asking", "1s"]).unwrap();
    assert!(report.replicas[0].asked_again > 20, "{report:?}");
    // A refusal says nothing of the status.
    let report = run(&[Manner::Prompt], &[Pace::Refuses], &["--pushes", "2", "--keep-asking", "300ms"]).unwrap();
    assert!(report.wrong == 0 && report.kinds["ocsp_try_later"] >= 2, "{report:?}");
    let report = run(&[Manner::Prompt], &[Pace::GoesBack], &["--bulk", "5"]).unwrap();
    assert_eq!((report.kinds["went_back"] >= 5, ending(&report)), (true, Exit::NotInOrder), "{report:?}");
}

#[test]
fn a_replica_that_is_gone_or_does_not_know_yet_does_not_end_the_run() {
    let report = run(&[Manner::Prompt], &[Pace::SlowToLearn], &["--pushes", "2"]).unwrap();
    assert_eq!((kinds(&report), ending(&report)), (vec![], Exit::Done));
    let more = ["--pushes", "1", "--timeout", "1s"];
    let report = run(&[Manner::Prompt], &[Pace::Prompt, Pace::Dead], &more).unwrap();
    assert_eq!(ending(&report), Exit::Missed, "{report:?}");
    assert_eq!((report.replicas[0].missed, report.replicas[1].missed, report.wrong), (0, 1, 0));
    assert!(report.last_us.is_none() && report.latency_us.is_some());
}

#[test]
fn a_push_goes_to_whoever_takes_it() {
    let apis = [Manner::StandingBy, Manner::Prompt];
    let report = run(&apis, &[Pace::Prompt], &["--pushes", "3"]).unwrap();
    assert_eq!((kinds(&report), ending(&report)), (vec![("http_status", 1)], Exit::Done), "asked once, for the list");
    // What was on disk when it was refused is acknowledged at the next try.
    let report = run(&[Manner::TakenAndDenied], &[Pace::Prompt], &["--pushes", "2"]).unwrap();
    assert_eq!((kinds(&report), ending(&report)), (vec![("http_status", 2)], Exit::Done));
    let problem = run(&[Manner::StandingBy], &[Pace::Prompt], &["--timeout", "500ms"]).unwrap_err().to_string();
    assert!(problem.contains("HTTP status 503: stands by"), "{problem}");
    let problem = run(&[Manner::Refusing], &[Pace::Prompt], &["--pushes", "1"]).unwrap_err().to_string();
    assert!(problem.contains("HTTP status 409"), "{problem}");
    let problem = run(&[Manner::Prompt], &[Pace::Prompt], &["--recheck", "0"]).unwrap_err().to_string();
    assert!(problem.contains("--recheck 0"), "{problem}");
}
