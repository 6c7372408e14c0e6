//! Replicas over a real Redis, with real snapshots over HTTP, and a writer that tells whatever the test wants.

mod cluster;

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use cluster::{Issued, OneReplica, Redis, Teller, assembly, cluster, give_out, trusted, until, withholding};

use super::loading::{Loading, Places};
use crate::{
    answers::Answers,
    feed::{
        Body, Freshness, Later, Position,
        https::Https,
        reader::{Compared, Condition},
        shelf::Fetcher,
        store::Snapshots as _,
    },
    pki::{Reason, Status, UnixTime},
    presign::Received,
};

const GOOD: Option<Status> = Some(Status::Good);
const HELD: Option<Status> = Some(Status::Revoked { time: UnixTime(5), reason: Reason::CertificateHold });
const LOST: Option<Status> = Some(Status::Revoked { time: UnixTime(6), reason: Reason::KeyCompromise });

/// A CA with so many good certificates, told in a snapshot with their answers.
fn told(redis: &Redis, count: u32) -> (Issued, Teller) {
    let mut issued = Issued::new("a");
    (0..count).for_each(|number| _ = issued.set(number, GOOD));
    let mut teller = Teller::new(redis);
    teller.begin();
    let answers = issued.sign(0..count);
    teller.snapshot(&[&issued], &[answers]);
    teller.beat(&[&issued]);
    (issued, teller)
}

#[test]
fn a_replica_fills_itself_and_serves_what_is_told_at_once() {
    const COUNT: u32 = 500;
    let redis = Redis::start();
    let (mut issued, mut teller) = told(&redis, COUNT);
    let replica = OneReplica::start(&redis, &[&issued], &[&teller.url]);
    replica.until("all answers are here", |replica| replica.answers.len() == u64::from(COUNT));
    assert_eq!(replica.says(&issued, 7), Ok(GOOD));
    assert_eq!(replica.says(&issued, COUNT), Ok(None), "the issuer is known, and this is not listed");
    assert!((0..COUNT).all(|number| replica.answers(&issued, number) == GOOD));
    let report = replica.report();
    assert_eq!(report.freshness(Instant::now()), Freshness::Fresh, "{}", replica.complaints());
    assert_eq!((report.condition, report.reconciled, report.refused), (Some(Condition::Following), 1, 0));
    assert!(replica.complaints().is_empty(), "{}", replica.complaints());

    let mut took: Vec<Duration> = (0..200)
        .map(|number| {
            let section = issued.set(number, LOST);
            let begun = Instant::now();
            teller.tell(Body::Records(vec![section]));
            while replica.says(&issued, number) != Ok(LOST) {
                assert!(begun.elapsed() < cluster::PATIENCE);
                std::thread::yield_now();
            }
            begun.elapsed()
        })
        .collect();
    took.sort();
    eprintln!("told to served: p50 {:?}, p99 {:?}, max {:?}", took[100], took[198], took[199]);
    // Of those that a busy machine holds up there may be more than half.
    assert!(took[50] < Duration::from_millis(20), "{:?}", took[50]);
    assert_eq!(replica.answers(&issued, 3), None, "the good answer is void");
    teller.tell(Body::Answers(vec![issued.sign(0..100)]));
    replica.until("the answers came", |replica| (0..100).all(|number| replica.answers(&issued, number) == LOST));
    teller.beat(&[&issued]);
    replica.until("the digests are equal", |replica| replica.report().applied > 201);
    assert_eq!(replica.report().digests_differed, 0);
    replica.stop();
}

/// A record was on hold and came back after the snapshot: the snapshot's answer is from before that.
#[test]
fn an_answer_of_the_snapshot_from_before_a_hold_that_came_and_went_is_not_taken() {
    let redis = Redis::start();
    let (mut issued, mut teller) = told(&redis, 50);
    let (hold, back) = (issued.set(5, HELD), issued.set(5, GOOD));
    teller.tell(Body::Records(vec![hold]));
    teller.tell(Body::Records(vec![back]));
    let replica = OneReplica::start(&redis, &[&issued], &[&teller.url]);
    replica.until("the answers came", |replica| replica.answers.len() == 49);
    assert_eq!((replica.says(&issued, 5), replica.answers(&issued, 5)), (Ok(GOOD), None));
    assert_eq!(replica.answers(&issued, 4), GOOD);
    teller.tell(Body::Answers(vec![issued.sign([5])]));
    replica.until("the new one came", |replica| replica.answers(&issued, 5) == GOOD);
    replica.stop();
}

#[test]
fn answers_told_after_the_snapshot_are_taken_unless_their_record_has_changed_since() {
    let redis = Redis::start();
    let (mut issued, mut teller) = told(&redis, 50);
    teller.tell(Body::Answers(vec![issued.sign([5, 6])]));
    let changes = [issued.set(5, HELD), issued.set(5, GOOD), issued.set(7, LOST)];
    teller.tell(Body::Records(changes.to_vec()));
    teller.tell(Body::Answers(vec![issued.sign([7])]));
    let replica = OneReplica::start(&redis, &[&issued], &[&teller.url]);
    replica.until("the answers came", |replica| replica.answers.len() == 49);
    assert_eq!(
        (replica.says(&issued, 5), replica.answers(&issued, 5)),
        (Ok(GOOD), None),
        "both are from before the hold"
    );
    assert_eq!([6, 7].map(|number| replica.answers(&issued, number)), [GOOD, LOST]);
    replica.stop();
}

/// The stream is trimmed up to the newest snapshot, which has them.
#[test]
fn where_answers_told_after_the_snapshot_are_gone_another_snapshot_is_wanted() {
    let redis = Redis::start();
    let (issued, mut teller) = told(&redis, 3);
    let manifest = teller.snapshot(&[&issued], &[]);
    teller.tell(Body::Answers(vec![issued.sign([0, 1])]));
    let last = teller.tell(Body::Answers(vec![issued.sign([2])]));
    for (left, taken) in [("2", 3), ("1", 0), ("0", 0)] {
        redis.cli(&["XTRIM", "ostia:followed:feed", "MAXLEN", left]);
        let (answers, so_far) = (Arc::new(Answers::new(1 << 30)), Arc::default());
        let compared = Compared {
            manifest: manifest.clone(),
            later: Later::new(),
            changed: HashMap::new(),
            answers_until: Some(last),
        };
        let fetcher = Fetcher::start(None, &[], &Https::default()).unwrap();
        let places = Places {
            first: None,
            chunks: fetcher.chunks(),
            stream: redis.stream().into(),
            is_away: false,
            cluster: cluster(),
            trusted: trusted(),
        };
        let received = Arc::new(Received::new(&answers, [issued.active()], &so_far));
        let loading = Loading::start(compared, places, received).unwrap();
        until("it is over", || loading.job().is_none());
        let outlived = loading.is_outlived().cloned();
        assert_eq!(
            (answers.len(), outlived),
            (taken, (taken == 0).then(|| manifest.clone())),
            "{left} entries are left"
        );
    }
}

/// Redis let nobody else in, as where it has too many clients: no answer of the snapshot was taken, though all were
/// here.
#[test]
fn where_redis_does_not_give_what_was_told_after_the_snapshot_its_own_answers_are_taken_first() {
    const COUNT: u32 = 500;
    let redis = Redis::start();
    let (issued, mut teller) = told(&redis, COUNT);
    let manifest = teller.snapshot(&[&issued], &[issued.sign(1..COUNT)]);
    let last = teller.tell(Body::Answers(vec![issued.sign([0])]));
    let mut fetcher = Fetcher::start(None, &[teller.url.parse().unwrap()], &Https::default()).unwrap();
    until("it is here", || fetcher.here(&manifest) == Some(manifest.chunks.len()));
    assert!(manifest.chunks.len() > manifest.record_chunks as usize, "there is a chunk of answers alone");
    let mut first = None;
    (0..manifest.record_chunks as usize).for_each(|number| first = fetcher.chunk(&manifest, number));
    redis.cli(&["CONFIG", "SET", "requirepass", "x"]);
    let (answers, so_far) = (Arc::new(Answers::new(1 << 30)), Arc::default());
    let received = Arc::new(Received::new(&answers, [issued.active()], &so_far));
    let compared = Compared { manifest, later: Later::new(), changed: HashMap::new(), answers_until: Some(last) };
    let (chunks, stream) = (fetcher.chunks(), redis.stream().into());
    let places = Places { first, chunks, stream, is_away: false, cluster: cluster(), trusted: trusted() };
    let loading = Loading::start(compared, places, received).unwrap();
    until("the snapshot's are here", || answers.len() == u64::from(COUNT - 1));
    until("its chunks are taken", || !loading.wants_chunks());
    assert!(loading.job().is_some(), "it waits for Redis");
    redis.cli(&["-a", "x", "CONFIG", "SET", "requirepass", ""]);
    until("all are here", || answers.len() == u64::from(COUNT));
    until("it is over", || loading.job().is_none());
    assert_eq!(loading.is_outlived(), None);
}

/// The thread that follows waited for each chunk for two minutes, also when it was to end.
#[test]
fn a_replica_without_a_disk_that_waits_for_a_chunk_ends_at_once() {
    let redis = Redis::start();
    let mut issued = Issued::new("a");
    (0..5000).for_each(|number| _ = issued.set(number, GOOD));
    let mut teller = Teller::new(&redis);
    teller.begin();
    let ahead = crate::limits::shelf::AHEAD;
    assert!(teller.snapshot(&[&issued], &[]).record_chunks as usize > ahead + 1);
    let (source, withheld) = withholding(&teller.url, ahead);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("snapshots"), "no directory").unwrap();
    let replica = OneReplica::start_in(dir, &redis, &[&issued], &[&source]);
    replica.until("it is asked for what it withholds", |_| withheld.load(Relaxed) > 0);
    assert!(replica.following().snapshots().is_none());
    let begun = Instant::now();
    replica.stop();
    // What hangs does so for 10 s.
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}

#[test]
fn redis_may_go_and_come_back_empty_and_what_was_told_is_served_on() {
    let mut redis = Redis::start();
    let (mut issued, mut teller) = told(&redis, 20);
    let replica = OneReplica::start(&redis, &[&issued], &[&teller.url]);
    replica.until("it is filled", |replica| replica.answers(&issued, 3) == GOOD);
    redis.kill();
    replica.until("that is known", |replica| replica.report().redis_fault.is_some());
    assert!(!replica.report().is_connected);
    assert!(replica.complaints().contains("what was told before is served on"), "{}", replica.complaints());
    assert_eq!((replica.says(&issued, 3), replica.answers(&issued, 3)), (Ok(GOOD), GOOD));
    redis.restart();
    teller.begin();
    let section = issued.set(3, LOST);
    teller.tell(Body::Records(vec![section]));
    replica.until("it goes on", |replica| replica.says(&issued, 3) == Ok(LOST));
    let report = replica.report();
    assert_eq!((report.redis_fault, report.reconciled), (None, 1), "no snapshot was needed");
    replica.stop();
}

#[test]
fn a_replica_that_cannot_be_filled_says_what_is_missing_and_goes_on_once_it_is_there() {
    let redis = Redis::start();
    let mut issued = Issued::new("a");
    issued.set(1, GOOD);
    let mut teller = Teller::new(&redis);
    let replica = OneReplica::start(&redis, &[&issued], &["http://127.0.0.1:1", &teller.url]);
    replica.until("it looks", |replica| replica.report().condition == Some(Condition::Empty));
    assert_eq!(replica.says(&issued, 1), Err(()), "an issuer of which nothing is known gives tryLater");
    replica.until("it says so", |replica| replica.complaints().contains("there is no snapshot of `followed`"));
    assert!(!*replica.following().status().filled().borrow());
    teller.begin();
    teller.snapshot(&[&issued], &[]);
    replica.until("it is filled", |replica| *replica.following().status().filled().borrow());
    assert_eq!(replica.says(&issued, 1), Ok(GOOD));
    replica.stop();
}

#[test]
fn what_no_trusted_key_signed_is_counted_and_passed_over() {
    let redis = Redis::start();
    let (mut issued, mut teller) = told(&redis, 5);
    let replica = OneReplica::start(&redis, &[&issued], &[&teller.url]);
    replica.until("it is filled", |replica| replica.says(&issued, 1) == Ok(GOOD));
    let at = teller.tell(Body::Resign(None));
    let forged = Position { sequence: at.sequence + 10, ..at };
    redis.stream().put(forged, b"something", false).unwrap();
    replica.until("it is refused", |replica| replica.report().refused == 1);
    teller.begin();
    let section = issued.set(1, LOST);
    teller.tell(Body::Records(vec![section]));
    replica.until("it goes on", |replica| replica.says(&issued, 1) == Ok(LOST));
    assert!(replica.report().last_refusal.unwrap().what.starts_with(&forged.to_string()));
    replica.stop();
}

#[test]
fn a_connection_on_which_nothing_comes_is_made_anew_and_the_feed_ages() {
    let redis = Redis::start();
    let (issued, mut teller) = told(&redis, 5);
    let replica = OneReplica::start(&redis, &[&issued], &[&teller.url]);
    replica.until("it is filled", |replica| replica.says(&issued, 1) == Ok(GOOD));
    replica.until("it connects anew", |replica| replica.report().silences > 0);
    let lagging = |replica: &OneReplica| replica.report().freshness(Instant::now()) == Freshness::Lagging;
    replica.until("it lags", lagging);
    assert!(replica.complaints().contains("nothing that counts has come from the writer of `followed` for"));
    assert_eq!(replica.answers(&issued, 1), GOOD);
    teller.beat(&[&issued]);
    replica.until("it is fresh", |replica| replica.report().freshness(Instant::now()) == Freshness::Fresh);
    replica.stop();
}

#[test]
fn an_issuer_that_is_added_has_all_that_was_told_of_it_before_while_others_are_served() {
    let redis = Redis::start();
    let (mut first, mut teller) = told(&redis, 30);
    let mut second = Issued::new("b");
    let replica = OneReplica::start(&redis, &[&first], &[&teller.url]);
    replica.until("it is filled", |replica| replica.answers(&first, 1) == GOOD);
    let sections = (0..20).map(|number| second.set(number, GOOD)).collect();
    teller.tell(Body::Records(sections));
    teller.tell(Body::Answers(vec![second.sign(0..20)]));
    teller.tell(Body::IssuerStatus(vec![second.status()]));
    replica.until("it is named", |replica| replica.report().strangers == 1);

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let handle = replica.following().handle().clone();
    let reload = |issuers: &[&Issued]| {
        let change = handle.prepare(&assembly(replica.dir.path(), issuers)).unwrap();
        runtime.block_on(handle.adopt(change)).unwrap();
    };
    reload(&[&first, &second]);
    assert_eq!((replica.says(&first, 1), replica.answers(&first, 1)), (Ok(GOOD), GOOD));
    replica.until("it is compared", |replica| replica.says(&second, 1) == Ok(GOOD));
    replica.until("its answers came", |replica| (0..20).all(|number| replica.answers(&second, number) == GOOD));
    let report = replica.report();
    assert!(report.reconciled >= 2 && report.strangers == 0 && !report.lacks_issuers, "{report:?}");
    assert_eq!(report.digests_differed, 0);

    reload(&[&second]);
    let section = first.set(1, LOST);
    teller.tell(Body::Records(vec![section]));
    replica.until("the first is a stranger now", |replica| replica.report().strangers == 1);
    assert_eq!(replica.answers(&second, 1), GOOD);
    drop(handle);
    replica.stop();
}

#[test]
fn what_one_replica_has_fetched_it_gives_to_another_when_the_writer_is_gone() {
    let redis = Redis::start();
    let (issued, teller) = told(&redis, 300);
    let first = OneReplica::start(&redis, &[&issued], &[&teller.url]);
    first.until("all of it is on disk", |replica| {
        replica.following().snapshots().is_some_and(|snapshots| snapshots.newest().is_some())
    });
    drop(teller.forget_snapshots());
    let url = format!("http://{}", give_out(first.following().snapshots().unwrap()));
    let second = OneReplica::start(&redis, &[&issued], &[&url]);
    second.until("all answers are here", |replica| replica.answers.len() == 300);
    assert_eq!(second.following().status().answers().taken.load(Relaxed), 300);
    // And again after a restart, from its own disk.
    let dir = second.stop();
    first.stop();
    let again = OneReplica::start_in(dir, &redis, &[&issued], &[]);
    again.until("all answers are here", |replica| replica.answers.len() == 300);
    again.stop();
}

#[test]
fn a_newer_snapshot_is_fetched_for_others_while_entries_are_followed() {
    let redis = Redis::start();
    let (mut issued, mut teller) = told(&redis, 30);
    let replica = OneReplica::start(&redis, &[&issued], &[&teller.url]);
    replica.until("all answers are here", |replica| replica.answers.len() == 30);
    let section = issued.set(3, LOST);
    teller.tell(Body::Records(vec![section]));
    let manifest = teller.snapshot(&[&issued], &[]);
    let (position, chain, octets) = (manifest.position, manifest.chain, manifest.octets);
    teller.tell(Body::Snapshot(crate::feed::body::SnapshotTold { position, chain, octets }));
    let newest = |replica: &OneReplica| {
        let newest = replica.following().snapshots().unwrap().newest();
        newest.is_some_and(|kept| kept.manifest().position == manifest.position)
    };
    replica.until("it is here", newest);
    assert_eq!(replica.report().reconciled, 1);
    replica.stop();
}

#[test]
fn a_replica_that_was_away_for_longer_than_the_writer_remembers_takes_a_snapshot_and_serves_meanwhile() {
    let mut redis = Redis::start();
    let (mut issued, mut teller) = told(&redis, 30);
    let replica = OneReplica::start(&redis, &[&issued], &[&teller.url]);
    replica.until("it is filled", |replica| replica.says(&issued, 1) == Ok(GOOD));
    redis.kill();
    replica.until("that is known", |replica| replica.report().redis_fault.is_some());
    redis.restart();
    // What came in between is not in the stream.
    let section = issued.set(2, LOST);
    teller.begin_elsewhere();
    teller.tell(Body::Records(vec![section]));
    teller.snapshot(&[&issued], &[issued.sign(0..30)]);
    teller.beat(&[&issued]);
    replica.until("it has it all the same", |replica| replica.says(&issued, 2) == Ok(LOST));
    replica.until("with its answer", |replica| replica.answers(&issued, 2) == LOST);
    replica.stop();
}

#[test]
fn a_start_while_redis_is_away_serves_what_was_known_and_takes_back_nothing() {
    let mut redis = Redis::start();
    let (mut issued, mut teller) = told(&redis, 30);
    let section = issued.set(2, LOST);
    teller.tell(Body::Records(vec![section]));
    let replica = OneReplica::start(&redis, &[&issued], &[&teller.url]);
    replica.until("it is on disk", |replica| {
        replica.answers(&issued, 6) == GOOD && replica.following().snapshots().unwrap().newest().is_some()
    });
    let sections = [issued.set(3, LOST), issued.set(4, HELD), issued.set(4, GOOD), issued.set(5, HELD)];
    for section in sections {
        teller.tell(Body::Records(vec![section]));
    }
    replica.until("that is known", |replica| replica.says(&issued, 5) == Ok(HELD));
    let place = replica.report().place;
    let dir = replica.stop();
    redis.kill();
    let again = OneReplica::start_in(dir, &redis, &[&issued], &[]);
    assert_eq!(again.says(&issued, 3), Err(()), "Redis may answer yet");
    again.until("it serves", |replica| replica.report().is_filled && replica.answers(&issued, 6) == GOOD);
    let report = again.report();
    assert_eq!((report.place, report.freshness(Instant::now())), (place, Freshness::Stale));
    assert_eq!([2, 3, 4, 5, 6].map(|number| again.says(&issued, number).unwrap()), [LOST, LOST, GOOD, HELD, GOOD]);
    assert_eq!(
        (again.says(&issued, 99), again.answers(&issued, 4)),
        (Ok(None), None),
        "its answer is from before the hold"
    );
    assert!(again.complaints().contains("Redis at"), "{}", again.complaints());
    redis.restart();
    teller.begin();
    let section = issued.set(7, LOST);
    teller.tell(Body::Records(vec![section]));
    again.until("it goes on", |replica| replica.says(&issued, 7) == Ok(LOST));
    assert_eq!(again.report().reconciled, 0, "from where it was");

    // Where anything may be missing, nothing is served.
    let dir = again.stop();
    redis.kill();
    let journal = dir.path().join("snapshots/changes");
    let bytes = std::fs::read(&journal).unwrap();
    std::fs::write(&journal, &bytes[..bytes.len() - 1]).unwrap();
    let third = OneReplica::start_in(dir, &redis, &[&issued], &[]);
    std::thread::sleep(crate::limits::feed::FILLED_WITHIN + Duration::from_secs(1));
    assert_eq!((third.says(&issued, 6), third.report().is_filled), (Err(()), false));
    third.stop();
}

/// All of it was on its disk and in the stream, and everybody got `tryLater` for as long as no source was reached.
#[test]
fn a_start_while_nobody_gives_the_newest_snapshot_serves_what_was_known_and_goes_on_from_there() {
    let redis = Redis::start();
    let (mut issued, mut teller) = told(&redis, 30);
    let replica = OneReplica::start(&redis, &[&issued], &[&teller.url]);
    replica.until("it is on disk", |replica| {
        replica.answers(&issued, 6) == GOOD && replica.following().snapshots().unwrap().newest().is_some()
    });
    for section in [issued.set(2, LOST), issued.set(4, HELD), issued.set(4, GOOD)] {
        teller.tell(Body::Records(vec![section]));
    }
    teller.tell(Body::Answers(vec![issued.sign([2])]));
    let section = issued.set(5, HELD);
    teller.tell(Body::Records(vec![section]));
    replica.until("that is known", |replica| replica.says(&issued, 5) == Ok(HELD));
    let dir = replica.stop();
    let section = issued.set(3, LOST);
    teller.tell(Body::Records(vec![section]));
    teller.snapshot(&[&issued], &[]);
    let again = OneReplica::start_in(dir, &redis, &[&issued], &[]);
    again.until("it knows what was told meanwhile", |replica| replica.says(&issued, 3) == Ok(LOST));
    assert_eq!([2, 4, 5, 6].map(|number| again.says(&issued, number).unwrap()), [LOST, GOOD, HELD, GOOD]);
    again.until("it has the answers", |replica| [2, 6].map(|number| replica.answers(&issued, number)) == [LOST, GOOD]);
    assert_eq!(again.answers(&issued, 4), None, "its answer is from before the hold");
    let section = issued.set(7, LOST);
    teller.tell(Body::Records(vec![section]));
    teller.beat(&[&issued]);
    again.until("it goes on", |replica| replica.says(&issued, 7) == Ok(LOST));
    again.until("it is fresh", |replica| replica.report().freshness(Instant::now()) == Freshness::Fresh);
    let report = again.report();
    assert_eq!((report.reconciled, report.digests_differed), (0, 0), "from where it was");
    again.stop();
}
