//! An engine that stands by, leads and stands by again, on a real book with a real CA's index.

use std::{
    fs,
    time::{Duration, Instant},
};

use super::*;
use crate::{
    config::Sources,
    engine::FollowedIssuer,
    limits,
    pki::Serial,
    source::openssl::{Ca, KEYS},
};

fn index(revoked: &[u32]) -> String {
    let line = |serial: u32| match revoked.contains(&serial) {
        true => format!("R\t350101000000Z\t250101000000Z\t{serial:04X}\tunknown\t/CN={serial}\n"),
        false => format!("V\t350101000000Z\t\t{serial:04X}\tunknown\t/CN={serial}\n"),
    };
    (1..=5).map(line).collect()
}

fn revoked(engine: &Engine) -> Vec<u32> {
    let records = &engine.followers[0].ledger.state().records;
    let is_revoked = |serial: &u32| records.is_revoked(&Serial::from_magnitude(&serial.to_be_bytes()).unwrap());
    (1..=5).filter(is_revoked).collect()
}

#[track_caller]
fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn sources_are_read_by_who_leads_alone_and_whole_each_time_that_it_begins() {
    let (ca, state) = (Ca::new("Leads", KEYS[1]), tempfile::tempdir().unwrap());
    let file = ca.path("a.txt");
    let issuer = FollowedIssuer::of("a", "ca", &ca.certificate(), Sources::of_index(file.clone()));
    fs::write(&file, index(&[1])).unwrap();
    let mut engine = Engine::open_for(state.path(), vec![issuer]).unwrap();
    engine.join().unwrap();
    std::thread::sleep(2 * limits::SOURCE_POLL_INTERVAL);
    assert_eq!(revoked(&engine), [0; 0], "it stands by");
    let ledgers = engine.ledgers();
    let mut read = 0;
    ledgers.lead();
    engine.lead(|_, _, _| read += 1).unwrap();
    assert_eq!((revoked(&engine), read), (vec![1], 1));
    fs::write(&file, index(&[1, 2])).unwrap();
    until("it follows its sources", || revoked(&engine) == [1, 2]);
    ledgers.stand_by();
    engine.stand_by().unwrap();
    fs::write(&file, index(&[1, 2, 3])).unwrap();
    std::thread::sleep(3 * limits::SOURCE_POLL_INTERVAL);
    assert_eq!(revoked(&engine), [1, 2], "it stands by again");
    // An order that comes too late.
    engine.lead(|_, _, _| panic!("it stands by")).unwrap();
    assert_eq!(revoked(&engine), [1, 2]);
    // What another has told is undone by nobody's stamps: the whole index counts.
    ledgers.lead();
    engine.lead(|_, _, _| ()).unwrap();
    assert_eq!(revoked(&engine), [1, 2, 3]);
    engine.lead(|_, _, _| panic!("it leads already")).unwrap();
}

#[test]
fn a_source_that_is_refused_keeps_nobody_from_leading() {
    let (ca, state) = (Ca::new("Refused", KEYS[1]), tempfile::tempdir().unwrap());
    let of = |tenant: &str, file: &str| {
        FollowedIssuer::of(tenant, tenant, &ca.certificate(), Sources::of_index(ca.path(file)))
    };
    fs::write(ca.path("good.txt"), index(&[4])).unwrap();
    let mut engine =
        Engine::open_for(state.path(), vec![of("missing", "nowhere.txt"), of("there", "good.txt")]).unwrap();
    engine.join().unwrap();
    engine.ledgers().lead();
    engine.lead(|_, _, _| ()).unwrap();
    let healths: Vec<_> = engine.followers.iter().map(|follower| follower.ledger.state().health.clone()).collect();
    assert!(healths[0].report().fault.is_some_and(|fault| fault.contains("nowhere.txt")));
    assert!(!healths[0].is_known(), "nothing is known of it, so nothing is answered");
    assert!(healths[1].report().fault.is_none() && healths[1].is_known());
}

/// A reload is prepared, and the writer takes over before it is adopted: the readers were prepared for a standby, so nobody
/// would have read the sources of what is new or changed as long as it led.
#[test]
fn what_was_prepared_before_a_take_over_is_refused_and_prepared_anew_is_read() {
    let (ca, state) = (Ca::new("Reload", KEYS[1]), tempfile::tempdir().unwrap());
    let (certificate, file) = (ca.certificate(), ca.path("a.txt"));
    let issuer = |unlisted_good| FollowedIssuer {
        unlisted_good,
        ..FollowedIssuer::of("a", "ca", &certificate, Sources::of_index(file.clone()))
    };
    fs::write(&file, index(&[1])).unwrap();
    let mut engine = Engine::open_for(state.path(), vec![issuer(false)]).unwrap();
    engine.join().unwrap();
    let of_a_standby = engine.prepare_for(vec![issuer(true)]).unwrap();
    engine.ledgers().lead();
    engine.lead(|_, _, _| ()).unwrap();
    assert!(matches!(engine.adopt(of_a_standby), Err(EngineError::Overtaken)));
    fs::write(&file, index(&[1, 2])).unwrap();
    until("its sources are still followed", || revoked(&engine) == [1, 2]);
    let of_a_leader = engine.prepare_for(vec![issuer(true)]).unwrap();
    engine.adopt(of_a_leader).unwrap();
    fs::write(&file, index(&[1, 2, 3])).unwrap();
    until("so are those of the new configuration", || revoked(&engine) == [1, 2, 3]);

    // The other way round: a standby reads no source.
    let of_a_leader = engine.prepare_for(vec![issuer(false)]).unwrap();
    engine.ledgers().stand_by();
    engine.stand_by().unwrap();
    assert!(matches!(engine.adopt(of_a_leader), Err(EngineError::Overtaken)));
    let of_a_standby = engine.prepare_for(vec![issuer(false)]).unwrap();
    engine.adopt(of_a_standby).unwrap();
    fs::write(&file, index(&[1, 2, 3, 4])).unwrap();
    std::thread::sleep(3 * limits::SOURCE_POLL_INTERVAL);
    assert_eq!(revoked(&engine), [1, 2, 3], "it stands by");
}
