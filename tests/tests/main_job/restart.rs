//! What survives: kill -9, orderly ends, and starts on damaged ground.

use std::fs;

use ostia_tests::{Ask, Ca, Status, http};

use crate::{ca_and_site, serving};

#[test]
fn after_kill_9_everything_is_found_again() {
    let (ca, (good, revoked), responder) = serving(|ca| {
        let revoked = ca.issue();
        ca.revoke(&revoked, &["-crl_reason", "keyCompromise"]);
        (ca.issue(), revoked)
    });
    Ask::about(&ca, &good).at(responder.http(), "/").expect(Status::Good);
    let before = Ask::about(&ca, &revoked).at(responder.http(), "/").expect(Status::Revoked);

    let responder = responder.kill_and_start_again();
    Ask::about(&ca, &good).at(responder.http(), "/").expect(Status::Good);
    let after = Ask::about(&ca, &revoked).at(responder.http(), "/").expect(Status::Revoked);
    assert_eq!((before.revocation_time, before.reason), (after.revocation_time, after.reason));

    // Killed in the very moment of a change, again and again: what was once said is never unsaid.
    let mut responder = responder;
    let mut revoked = vec![revoked];
    for _ in 0..3 {
        let leaf = ca.issue();
        ca.revoke(&leaf, &[]);
        responder = responder.kill_and_start_again();
        revoked.push(leaf);
        for leaf in &revoked {
            Ask::about(&ca, leaf).at(responder.http(), "/").expect(Status::Revoked);
        }
    }
}

#[test]
fn the_book_remembers_a_revocation_that_its_source_forgot_while_it_was_down() {
    let (ca, revoked, mut responder) = serving(|ca| {
        let leaf = ca.issue();
        ca.revoke(&leaf, &["-crl_reason", "keyCompromise"]);
        leaf
    });
    Ask::about(&ca, &revoked).at(responder.http(), "/").expect(Status::Revoked);
    responder.end_by("KILL");
    let site = responder.into_site();

    let shown = site.precompute("show", &[&revoked.serial]);
    assert!(shown.status.success(), "{shown:?}");
    assert!(shown.text.contains("revoked") && shown.text.contains("keyCompromise"), "{shown:?}");

    let fields = ca.index_fields(&revoked);
    let forged = ["V", &fields[1], "", &fields[3], &fields[4], &fields[5]].join("\t");
    let index = fs::read_to_string(ca.index()).unwrap();
    ca.replace_index(&index.replace(&fields.join("\t"), &forged));
    let responder = site.start();
    Ask::about(&ca, &revoked).at(responder.http(), "/").expect(Status::Revoked);
}

#[test]
fn a_start_without_a_readable_index_fails_and_names_it() {
    let (ca, leaf, mut responder) = serving(Ca::issue);
    responder.end_by("KILL");
    let site = responder.into_site();
    let kept = fs::read_to_string(ca.index()).unwrap();
    fs::remove_file(ca.index()).unwrap();
    let said = site.refuses_to_start();
    assert!(said.contains(&ca.index().display().to_string()), "{said}");
    ca.replace_index(&kept);
    let responder = site.start();
    Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
}

#[test]
fn sigterm_and_sigint_end_it_cleanly() {
    for signal in ["TERM", "INT"] {
        let (ca, leaf, mut responder) = serving(Ca::issue);
        // An idle connection and a half-sent request must not hold it up.
        let mut idle = http::Connection::open(responder.http()).unwrap();
        idle.send(b"GET / HTTP/1.1\r\nHo").unwrap();
        Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
        let status = responder.end_by(signal);
        assert!(status.success(), "SIG{signal}: {status}\n{}", responder.log());
        let log = responder.log();
        assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
    }
}

#[test]
fn a_second_responder_on_the_same_state_is_refused() {
    let (ca, leaf, responder) = serving(Ca::issue);
    let (_, other) = ca_and_site();
    let state = format!("{:?}", responder.site.dir().join("state"));
    other.edit_config(|config| config.replace("\"state\"", &state));
    let said = other.refuses_to_start();
    assert!(said.contains("book.redb"), "{said}");
    Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
}
