//! Feeders against a server that does as it is told, with CRLs made byte by byte.

pub(crate) mod server;

use std::{
    fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use self::server::{Server, crl, crl_with, freshest};
use super::*;
use crate::{limits::fetch as limits, source::draft};

/// Long enough for a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A directory with mirrors of what a server has.
struct World {
    server: Server,
    dir: tempfile::TempDir,
    feeders: Feeders,
}

impl World {
    fn new() -> Self {
        Self { server: Server::start(), dir: tempfile::tempdir().unwrap(), feeders: Feeders::default() }
    }

    fn mirror(&self, name: &str) -> PathBuf {
        self.dir.path().join(DIRECTORY).join(name)
    }

    fn spec(&self, name: &str) -> Spec {
        let url = self.server.url(name).parse().unwrap();
        Spec::Crl(CrlAtUrl::new(url, self.mirror(name), (draft::issuer(), Vec::new())))
    }

    fn subscribe(&self, name: &str) -> Arc<Feed> {
        self.feeders.subscribe(&self.spec(name)).unwrap()
    }
}

#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Until the origin was asked so often.
#[track_caller]
fn asked(feed: &Feed, count: u64) {
    until("it is asked", || feed.fetching().report().asked >= count);
}

#[test]
fn a_source_is_mirrored_and_asked_conditionally_also_after_a_restart() {
    let mut world = World::new();
    world.server.answers_with(200, "ETag: \"one\"\r\n", &crl(1));
    let feed = world.subscribe("ca.crl");
    asked(&feed, 1);
    assert_eq!(fs::read(world.mirror("ca.crl")).unwrap(), crl(1));
    assert_eq!(feed.fetching().report().complaint(), None);
    assert!(!world.server.requests()[0].contains("If-None-Match"), "nothing is here");

    // The server is asked whether it is still that, by the same process and by the next one.
    world.server.answers_with(304, "", b"");
    feed.ask_now();
    asked(&feed, 2);
    drop(feed);
    world.feeders = Feeders::default();
    let feed = world.subscribe("ca.crl");
    assert!(feed.fetching().report().confirmed.is_some(), "by the notes");
    asked(&feed, 1);
    assert_eq!(feed.fetching().report().fault, None);
    for request in &world.server.requests()[1..] {
        assert!(request.contains("if-none-match: \"one\""), "{request}");
    }

    world.server.answers_with(200, "ETag: \"two\"\r\n", &crl(2));
    feed.ask_now();
    asked(&feed, 2);
    assert_eq!(fs::read(world.mirror("ca.crl")).unwrap(), crl(2));
}

#[test]
fn who_is_to_be_asked_every_second_is() {
    let world = World::new();
    world.server.answers_with(200, "", &crl(1));
    let Spec::Crl(crl) = world.spec("often.crl") else { unreachable!() };
    let feed = world.feeders.subscribe(&Spec::Crl(CrlAtUrl { every: Some(Duration::from_secs(1)), ..crl })).unwrap();
    // A minute would be the least otherwise.
    asked(&feed, 3);
}

#[test]
fn what_an_origin_said_last_stays_while_it_is_broken_and_it_is_asked_again_until_it_is_well() {
    let world = World::new();
    world.server.answers_with(200, "", &crl(5));
    let feed = world.subscribe("ca.crl");
    asked(&feed, 1);
    for (body, told) in [
        (b"<html>sign in</html>".to_vec(), "it begins like HTML"),
        (crl(4), "is older than the CRL taken before"),
        (crl(6)[..90].to_vec(), "is not a CRL in DER"),
        (Vec::new(), "an empty body"),
    ] {
        world.server.answers_with(200, "Content-Type: text/x\r\n", &body);
        let before = feed.fetching().report().asked;
        feed.ask_now();
        asked(&feed, before + 1);
        let complaint = feed.fetching().report().complaint().unwrap_or_default();
        assert!(complaint.contains(told) && complaint.contains("200 (text/x)"), "{complaint}");
        assert!(complaint.contains(&world.server.url("ca.crl")) && complaint.contains("stays in use"), "{complaint}");
        assert_eq!(fs::read(world.mirror("ca.crl")).unwrap(), crl(5));
    }
    world.server.answers_with(200, "", &crl(6));
    // It is asked again without a word.
    until("it is taken", || fs::read(world.mirror("ca.crl")).unwrap() == crl(6));
    until("it is well", || feed.fetching().report().complaint().is_none());
}

#[test]
fn who_removes_a_mirror_has_whatever_comes_taken() {
    let world = World::new();
    world.server.answers_with(200, "ETag: \"one\"\r\n", &crl(5));
    let feed = world.subscribe("ca.crl");
    asked(&feed, 1);
    world.server.answers_with(200, "", &crl(4));
    fs::remove_file(world.mirror("ca.crl")).unwrap();
    feed.ask_now();
    asked(&feed, 2);
    assert_eq!(fs::read(world.mirror("ca.crl")).unwrap(), crl(4));
    assert!(!world.server.requests()[1].contains("if-none-match"), "{:?}", world.server.requests());
}

#[test]
fn an_origin_that_hangs_delays_neither_others_of_its_host_nor_the_end() {
    let world = World::new();
    world.server.holds("slow.crl");
    let slow = world.subscribe("slow.crl");
    until("it hangs", || world.server.requests().len() == 1);
    world.server.answers_with(200, "", &crl(1));
    let quick = world.subscribe("quick.crl");
    asked(&quick, 1);
    assert!(!slow.fetching().was_asked() && quick.is_here());
    let begun = Instant::now();
    drop(world.feeders);
    drop(slow);
    assert!(begun.elapsed() < limits::SILENCE_MAX / 2, "{:?}", begun.elapsed());
}

#[test]
fn of_one_host_so_many_are_asked_at_once_and_the_rest_waits_its_turn() {
    let world = World::new();
    let count = limits::ASKED_AT_ONCE_OF_HOST + 2;
    let names: Vec<_> = (0..count).map(|number| format!("slow{number}.crl")).collect();
    names.iter().for_each(|name| world.server.holds(name));
    let feeds: Vec<_> = names.iter().map(|name| world.subscribe(name)).collect();
    until("as many as may", || world.server.requests().len() == limits::ASKED_AT_ONCE_OF_HOST);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(world.server.requests().len(), limits::ASKED_AT_ONCE_OF_HOST);
    world.server.answers_with(200, "", &crl(1));
    world.server.lets_go();
    feeds.iter().for_each(|feed| asked(feed, 1));
    assert_eq!(world.server.requests().len(), count);
}

#[test]
fn a_source_is_fetched_once_for_all_and_no_more_when_the_last_has_gone() {
    let world = World::new();
    world.server.answers_with(200, "", &crl(1));
    let (one, two) = (world.subscribe("ca.crl"), world.subscribe("ca.crl"));
    assert!(Arc::ptr_eq(&one, &two));
    asked(&one, 1);
    drop(one);
    two.ask_now();
    asked(&two, 2);
    drop(two);
    // What is under way for nobody changes nothing.
    world.server.holds("ca.crl");
    let three = world.subscribe("ca.crl");
    until("it is under way", || world.server.requests().len() == 3);
    drop(three);
    world.server.answers_with(200, "", &crl(2));
    world.server.lets_go();
    let other = world.subscribe("other.crl");
    asked(&other, 1);
    assert_eq!(fs::read(world.mirror("ca.crl")).unwrap(), crl(1));
}

#[test]
fn a_trial_keeps_nothing_and_falls_back_on_the_mirror() {
    let world = World::new();
    let (spec, now) = (world.spec("ca.crl"), crate::pki::UnixTime::now());
    world.server.answers_with(500, "", b"");
    let problem = look(&spec, now).unwrap_err().text;
    assert!(problem.contains("answers 500") && problem.contains(&world.server.url("ca.crl")), "{problem}");

    world.server.answers_with(200, "", &crl(1));
    let trial = look(&spec, now).unwrap();
    assert_eq!(fs::read(trial.path()).unwrap(), crl(1));
    assert!(trial.missed.is_none() && !world.mirror("ca.crl").exists());
    let path = trial.path().to_owned();
    drop(trial);
    assert!(!path.exists());

    let feed = world.subscribe("ca.crl");
    asked(&feed, 1);
    world.server.answers_with(500, "", b"");
    let trial = look(&spec, now).unwrap();
    assert_eq!(trial.path(), world.mirror("ca.crl"));
    assert!(trial.missed.as_ref().unwrap().1.is_some());
    drop(trial);
    assert!(world.mirror("ca.crl").exists());
}

/// A CRL at a URL, and the mirror of the delta that it names.
fn with_delta(world: &World) -> (Arc<Feed>, Arc<Feed>, PathBuf) {
    let Spec::Crl(mut crl) = world.spec("ca.crl") else { panic!("a CRL") };
    crl.delta = Some(world.mirror("ca.crl.delta"));
    let spec = Spec::Crl(crl);
    let delta = spec.delta().unwrap();
    // In the order in which it knows nothing yet.
    let (of, delta) = (delta.mirror().to_owned(), world.feeders.subscribe(&delta).unwrap());
    (world.feeders.subscribe(&spec).unwrap(), delta, of)
}

#[test]
fn the_delta_that_a_crl_names_is_fetched_behind_it_for_as_long_as_it_is_named() {
    let world = World::new();
    let url = world.server.url("My CA+.crl");
    let names = |urls: &[&str], number| crl_with(number, &[freshest(urls)]);
    world.server.has("ca.crl", &names(&["ldap:///CN=CA?deltaRevocationList", &url], 5));
    let (delta_6, complete) = (crl_with(6, &[draft::delta(5)]), crl(6));
    world.server.has("My%20CA+.crl", &delta_6);
    let (crl_feed, feed, mirror) = with_delta(&world);
    until("the delta is here", || fs::read(&mirror).is_ok_and(|here| here == delta_6));
    until("nothing is wrong", || feed.fetching().report().complaint().is_none());
    // What is no delta, or none of this CRL, changes nothing.
    let part = draft::distribution_point(&draft::element(0x81, [0xff]));
    for (body, told) in [
        (complete, "is a complete CRL, and the one that names it says that it is a delta"),
        (crl_with(7, &[draft::delta(5), part]), "is a delta to another part of the certificates"),
        (b"<html>".to_vec(), "it begins like HTML"),
    ] {
        world.server.has("My%20CA+.crl", &body);
        let before = feed.fetching().report().asked;
        feed.ask_now();
        asked(&feed, before + 1);
        let complaint = feed.fetching().report().complaint().unwrap_or_default();
        let of = format!("(which {} names as its delta)", world.server.url("ca.crl"));
        assert!(
            complaint.contains(told) && complaint.contains("My%20CA+.crl") && complaint.contains(&of),
            "{complaint}"
        );
        assert_eq!(fs::read(&mirror).unwrap(), delta_6);
    }
    // Another place is asked where the first gives nothing.
    let delta_7 = crl_with(7, &[draft::delta(5)]);
    world.server.has("second.crl", &delta_7);
    world.server.has("ca.crl", &names(&[&url, &world.server.url("second.crl")], 6));
    crl_feed.ask_now();
    until("the other place is asked", || fs::read(&mirror).unwrap() == delta_7);
    // A CRL that names none any more, or none that can be asked.
    for (number, urls) in [(7, &["ldap:///CN=CA?deltaRevocationList"][..]), (8, &[])] {
        world.server.has("ca.crl", &names(urls, number));
        crl_feed.ask_now();
        until("it is not followed", || feed.fetching().report().has_nothing && !mirror.exists());
        world.server.has("ca.crl", &names(&[&world.server.url("second.crl")], number + 10));
    }
}

/// One shard's CRL in the place of another's left those certificates to nobody.
#[test]
fn a_shard_does_not_take_the_place_of_another_at_its_url() {
    let world = World::new();
    let shard = |number, name: &str| {
        let point = draft::element(0xa0, draft::element(0xa0, draft::element(0x86, name)));
        crl_with(number, &[draft::distribution_point(&point)])
    };
    world.server.has("1.crl", &shard(5, "http://ca/1.crl"));
    let feed = world.subscribe("1.crl");
    asked(&feed, 1);
    for body in [shard(6, "http://ca/2.crl"), crl(6)] {
        world.server.has("1.crl", &body);
        let before = feed.fetching().report().asked;
        feed.ask_now();
        asked(&feed, before + 1);
        let complaint = feed.fetching().report().complaint().unwrap_or_default();
        for told in ["of another part of the certificates (issuingDistributionPoint)", "remove", "1.crl and reload"] {
            assert!(complaint.contains(told), "{told}: {complaint}");
        }
        assert_eq!(fs::read(world.mirror("1.crl")).unwrap(), shard(5, "http://ca/1.crl"));
    }
    world.server.has("1.crl", &shard(7, "http://ca/1.crl"));
    feed.ask_now();
    until("the next one of it is taken", || fs::read(world.mirror("1.crl")).unwrap() == shard(7, "http://ca/1.crl"));
}
