//! Issuers whose CRLs are fetched, with a server that does as it is told.

use std::time::Instant;

use super::*;
use crate::{
    config::Fetched,
    feeder::tests::{
        server::{Server, crl, crl_with, freshest},
        until,
    },
    limits::fetch,
    ocsp::Policy,
    pki::Serial,
};

/// An issuer whose CRL is at a server, as the tenant `far`.
fn far(state: &Path, url: &str) -> FollowedIssuer {
    let mirror = state.join("fetched/ca.crl");
    let fetched =
        vec![Fetched { url: url.parse().unwrap(), mirror: mirror.clone(), tls_ca: None, every: None, delta: None }];
    issuer("far", draft::issuer(), Sources { crls: vec![mirror], fetched, ..Sources::default() })
}

/// An issuer with an index, as the tenant `near`.
fn near(dir: &Path) -> FollowedIssuer {
    fs::write(dir.join("index.txt"), good(1) + &revoked(2, "")).unwrap();
    issuer("near", draft::issuer(), Sources::of_index(dir.join("index.txt")))
}

/// Which of the first nine serials are revoked.
fn revoked_of(engine: &Engine, place: usize) -> Vec<u8> {
    let records = &engine.followers[place].ledger.state().records;
    (1..10).filter(|serial| records.is_revoked(&Serial::from_magnitude(&[*serial]).unwrap())).collect()
}

fn report(engine: &Engine, place: usize) -> HealthReport {
    engine.followers[place].ledger.state().health.report()
}

/// A hundred issuers with CRLs by URL took more of a core for looks at files than for all else.
#[test]
fn files_that_this_process_alone_writes_are_looked_at_rarely_while_events_tell_of_their_changes() {
    let state = tempfile::tempdir().unwrap();
    let (book, notifier) = (open_book(state.path()), Notifier::start());
    let issuers = [far(state.path(), "http://127.0.0.1:9/ca.crl"), near(state.path())];
    fs::create_dir(state.path().join("fetched")).unwrap();
    fs::write(state.path().join("fetched/ca.crl"), crl(3)).unwrap();
    for (issuer, is_own) in issuers.into_iter().zip([true, false]) {
        let name = issuer.to_string();
        let mut reader = open(&book, issuer);
        let mut watching = notifier.watch(reader.issuer.sources.paths(), || ());
        let settled = |reader: &mut SourceReader| {
            std::thread::sleep(2 * limits::SETTLED_AFTER);
            reader.look(Accepted::default());
        };
        settled(&mut reader);
        assert_eq!(reader.wait(&watching), limits::SOURCE_POLL_INTERVAL, "{name}: nothing is watched");
        watching.renew();
        let rarely = if is_own { limits::TOLD_POLL_INTERVAL } else { limits::SOURCE_POLL_INTERVAL };
        assert_eq!(reader.wait(&watching), rarely, "{name}");
        let path = reader.issuer.sources.paths().remove(0);
        fs::remove_file(&path).unwrap();
        reader.look(Accepted::default());
        assert_eq!(reader.wait(&watching), limits::SOURCE_POLL_INTERVAL, "{name}: missed, or replaced just now");
    }
}

#[test]
fn a_first_start_has_what_is_fetched_and_a_restart_has_it_without_the_origin() {
    let (server, state) = (Server::start(), tempfile::tempdir().unwrap());
    server.answers_with(200, "", &crl(3));
    let start = || {
        let mut engine = Engine::open_for(state.path(), vec![far(state.path(), &server.url("ca.crl"))]).unwrap();
        let mut read = 0;
        engine.read_all(|_, _, _| read += 1).unwrap();
        assert_eq!(read, 1);
        engine
    };
    let engine = start();
    assert_eq!(revoked_of(&engine, 0), [3]);
    assert_eq!(report(&engine, 0).fetches.len(), 1);
    drop(engine);

    // Another CRL is at the server, which does not answer: what is here counts, at once.
    fs::write(state.path().join("fetched/no-more-configured.crl"), "").unwrap();
    server.holds("ca.crl");
    let begun = Instant::now();
    let engine = start();
    assert_eq!(revoked_of(&engine, 0), [3]);
    assert!(begun.elapsed() < fetch::SILENCE_MAX / 2, "{:?}", begun.elapsed());
    assert!(!state.path().join("fetched/no-more-configured.crl").exists());
    server.answers_with(200, "", &crl(4));
    server.lets_go();
    until("the next one is taken", || revoked_of(&engine, 0) == [3, 4]);
}

#[test]
fn an_origin_that_is_dead_at_the_very_first_start_stops_nobody_and_counts_when_it_comes() {
    let (server, state) = (Server::start(), tempfile::tempdir().unwrap());
    server.answers_with(502, "", b"");
    let issuers = vec![far(state.path(), &server.url("ca.crl")), near(state.path())];
    let mut engine = Engine::open_for(state.path(), issuers).unwrap();
    let begun = Instant::now();
    engine.read_all(|_, _, _| ()).unwrap();
    assert!(begun.elapsed() < limits::START_READ_MAX / 2, "{:?}", begun.elapsed());
    assert_eq!(revoked_of(&engine, 1), [2]);
    let health = &engine.followers[0].ledger.state().health;
    assert!(!health.is_known(), "its certificates get `tryLater`");
    let complaints = health.report().complaints(UnixTime::now(), &Policy::DEFAULT).join("\n");
    for told in ["has not come yet", "answers 502", "nothing of it is here yet", &server.url("ca.crl")] {
        assert!(complaints.contains(told), "{told}: {complaints}");
    }
    server.answers_with(200, "", &crl(3));
    until("it is taken", || revoked_of(&engine, 0) == [3]);
    until("it is known", || health.is_known());
    until("nothing is wrong any more", || {
        let report = health.report();
        report.fault.is_none() && report.fetches[0].fault.is_none()
    });
}

#[test]
fn a_reload_adds_and_removes_a_url_and_waits_for_no_origin() {
    let (server, state) = (Server::start(), tempfile::tempdir().unwrap());
    let (far, near) = (far(state.path(), &server.url("ca.crl")), near(state.path()));
    let mut engine = Engine::open_for(state.path(), vec![near.clone()]).unwrap();
    engine.read_all(|_, _, _| ()).unwrap();
    server.holds("ca.crl");
    let prepared = engine.prepare_for(vec![near.clone(), far.clone()]).unwrap();
    engine.adopt(prepared).unwrap();
    assert!(report(&engine, 1).complaints(UnixTime::now(), &Policy::DEFAULT).join(" ").contains("for the first time"));
    server.answers_with(200, "", &crl(3));
    server.lets_go();
    until("it is taken", || revoked_of(&engine, 1) == [3]);

    // The same once more asks for what there is now.
    server.answers_with(200, "", &crl(4));
    let prepared = engine.prepare_for(vec![near.clone(), far]).unwrap();
    engine.adopt(prepared).unwrap();
    until("the next one is taken", || revoked_of(&engine, 1) == [3, 4]);

    let asked = server.requests().len();
    let prepared = engine.prepare_for(vec![near]).unwrap();
    engine.adopt(prepared).unwrap();
    assert_eq!((engine.followers.len(), server.requests().len()), (1, asked), "nobody wants it any more");
}

#[test]
fn what_an_origin_gives_for_another_counts_for_nobody_and_a_pass_by_hand_says_so() {
    let (server, state) = (Server::start(), tempfile::tempdir().unwrap());
    server.answers_with(200, "", b"<html>");
    let mut engine = Engine::open_for(state.path(), vec![far(state.path(), &server.url("ca.crl"))]).unwrap();
    let error = engine.sync(|_, _, _| ()).unwrap_err().to_string();
    assert!(error.contains("has not come yet") && error.contains(&server.url("ca.crl")), "{error}");
    drop(engine);
    server.answers_with(200, "", &crl(3));
    let mut engine = Engine::open_for(state.path(), vec![far(state.path(), &server.url("ca.crl"))]).unwrap();
    engine.sync(|_, _, _| ()).unwrap();
    assert_eq!(revoked_of(&engine, 0), [3]);
    drop(engine);
    // By hand, what the origin says now is waited for.
    server.answers_with(200, "", &crl(4));
    let mut engine = Engine::open_for(state.path(), vec![far(state.path(), &server.url("ca.crl"))]).unwrap();
    engine.sync(|_, _, _| ()).unwrap();
    assert_eq!(revoked_of(&engine, 0), [3, 4]);
}

#[test]
fn a_standby_fetches_and_reads_once_it_leads() {
    let (server, state) = (Server::start(), tempfile::tempdir().unwrap());
    server.answers_with(200, "", &crl(3));
    let mut engine = Engine::open_for(state.path(), vec![far(state.path(), &server.url("ca.crl"))]).unwrap();
    engine.join().unwrap();
    until("it is fetched", || state.path().join("fetched/ca.crl").exists());
    assert!(revoked_of(&engine, 0).is_empty());
    engine.ledgers().lead();
    engine.lead(|_, _, _| ()).unwrap();
    assert_eq!(revoked_of(&engine, 0), [3]);
    assert_eq!(report(&engine, 0).fetches.len(), 1);
    assert_eq!(server.requests().len(), 1, "by the same feeder");
}

#[test]
fn the_delta_that_a_crl_names_revokes_and_one_that_does_not_fit_refuses_nothing() {
    let (server, state) = (Server::start(), tempfile::tempdir().unwrap());
    let url = server.url("delta.crl");
    let (complete, delta) =
        (|number| crl_with(number, &[freshest(&[&url])]), |number, base| crl_with(number, &[draft::delta(base)]));
    server.has("ca.crl", &complete(3));
    server.has("delta.crl", &delta(4, 3));
    let mut far = far(state.path(), &server.url("ca.crl"));
    far.sources.fetched[0].delta = Some(state.path().join("fetched/ca.crl.delta"));
    let mut engine = Engine::open_for(state.path(), vec![far.clone()]).unwrap();
    engine.read_all(|_, _, _| ()).unwrap();
    // It is there at a very first start, before anybody is answered.
    assert_eq!(revoked_of(&engine, 0), [3, 4]);
    assert_eq!(report(&engine, 0).fetches.len(), 2);
    // The complete CRL that this one changes has not come yet.
    server.has("delta.crl", &delta(8, 7));
    engine.followers[0].fetch_now();
    until("what it revokes counts", || revoked_of(&engine, 0) == [3, 4, 8]);
    until("it is told", || report(&engine, 0).warnings.iter().any(|warning| warning.contains("since CRL 0x07")));
    assert_eq!(report(&engine, 0).fault, None);
    // The complete one alone counts when it names none.
    server.has("ca.crl", &crl(9));
    engine.followers[0].fetch_now();
    until("all that was revoked is", || revoked_of(&engine, 0) == [3, 4, 8, 9]);
    until("there is no delta", || report(&engine, 0).fetches.len() == 1 && report(&engine, 0).warnings.is_empty());
}
