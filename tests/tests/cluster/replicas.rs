//! Replicas that go, come, and fall behind.

use std::time::{Duration, Instant};

use ostia_tests::{ClusterPlan, Questions, Status, http};

use crate::{SOON, issued, revoked, until_logged, until_told};

/// How soon a replica has to be ready.
const READY_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn a_replica_that_is_killed_and_a_fourth_are_ready_soon_and_nobody_else_notices() {
    let mut cluster = ClusterPlan::of(1, 3).start();
    let gone = revoked(&cluster);
    let reconciled = |cluster: &ostia_tests::Cluster, n: usize| {
        cluster.replicas[n].feed_metric("ostia_feed_reconciliations_total", "")
    };
    let before = [1, 2].map(|peer| reconciled(&cluster, peer));
    cluster.replicas[0].kill();
    let meanwhile = revoked(&cluster);
    let fourth = cluster.add_replica();
    for replica in [0, fourth] {
        let begun = Instant::now();
        cluster.replicas[replica].start();
        cluster.until_filled(replica);
        assert!(begun.elapsed() < READY_WITHIN, "{:?}", begun.elapsed());
    }
    cluster.are_revoked_now(&[&gone, &meanwhile]);
    let good = issued(&cluster);
    cluster.until_said(fourth, &good, &Status::Good, SOON);
    assert_eq!([1, 2].map(|peer| reconciled(&cluster, peer)), before);
}

#[test]
fn a_replica_that_slept_while_the_stream_was_trimmed_compares_everything() {
    let mut cluster = ClusterPlan::of(1, 2).set_of_writers("snapshot_interval = \"10s\"").start();
    let before = revoked(&cluster);
    let reconciliations = cluster.replicas[0].feed_metric("ostia_feed_reconciliations_total", "").unwrap();
    cluster.replicas[0].pause();
    let meanwhile = revoked(&cluster);
    let head = cluster.redis.cli(["GET", ostia_tests::Cluster::HEAD]);
    cluster.until("there is a later snapshot", 2 * SOON, || {
        (cluster.redis.cli(["GET", ostia_tests::Cluster::HEAD]) != head).then_some(())
    });
    cluster.redis.cli(["XTRIM", ostia_tests::Cluster::STREAM, "MAXLEN", "1"]);
    cluster.replicas[0].go_on();
    cluster.until_revoked_everywhere(&meanwhile);
    cluster.are_revoked_now(&[&before, &meanwhile]);
    cluster.until("the replica has compared everything", SOON, || {
        let now = cluster.replicas[0].feed_metric("ostia_feed_reconciliations_total", "")?;
        (now > reconciliations).then_some(())
    });
    cluster.until_fresh(SOON);
}

#[test]
fn a_replica_with_another_clock_than_the_writer_is_never_fresh_and_still_answers() {
    let mut cluster = ClusterPlan::of(1, 1).start();
    let gone = revoked(&cluster);
    // To it, whatever it hears was written six minutes ago: so a stream looks that somebody replays.
    let other = cluster.add_replica();
    cluster.replicas[other].follow_clock("+360s");
    cluster.replicas[other].start();
    cluster.until_filled(other);
    let meanwhile = revoked(&cluster);
    for serial in [&gone, &meanwhile] {
        cluster.until_said(other, serial, &Status::Revoked, SOON);
    }
    std::thread::sleep(Duration::from_secs(3));
    let (status, text) = cluster.replicas[other].readiness_text("?fresh=1").unwrap();
    assert_eq!(status, 503, "{text}");
    let told = " s behind this machine's time, and more than 300 s is too far; the clock of one of them is wrong";
    let text = until_told(&cluster, &cluster.replicas[other], told);
    assert!(text.contains("degraded: feed") && cluster.replicas[other].readiness("") == Some(200), "{text}");
    until_logged(&cluster, told, || cluster.replicas[other].log());
    let checked = cluster.replicas[other].site().check().text;
    assert!(checked.contains("s apart: nothing counts as fresh; set both right"), "{checked}");
    assert_eq!(cluster.replicas[0].readiness("?fresh=1"), Some(200));
}

/// Nothing of a replica is its own: on an empty disk it answers byte by byte what it answered before.
#[test]
fn a_replica_whose_disk_was_wiped_answers_byte_by_byte_as_before_without_being_registered() {
    let mut cluster = ClusterPlan::of(1, 2).listed(5).start();
    cluster.revoke(&cluster.listed[0]);
    cluster.until_revoked_everywhere(&cluster.listed[0]);
    let questions = Questions::of(&cluster.ca);
    let says = |cluster: &ostia_tests::Cluster, replica: usize| -> Vec<Vec<u8>> {
        let ask =
            |serial: &String| http::exchange(cluster.replicas[replica].site().http, &questions.post(serial)).unwrap();
        cluster.listed.iter().map(|serial| ask(serial).body).collect()
    };
    cluster.until("both have every answer that is signed ahead", SOON, || {
        let both = [0, 1].map(|replica| says(&cluster, replica));
        (both[0] == both[1] && both[0].iter().all(|body| body.len() > 100)).then_some(())
    });
    let before = says(&cluster, 0);
    cluster.replicas[0].kill();
    std::fs::remove_dir_all(cluster.replicas[0].site().dir().join("state")).unwrap();
    let begun = Instant::now();
    cluster.replicas[0].start();
    cluster.until("it is fresh", SOON, || (cluster.replicas[0].readiness("?fresh=1")? == 200).then_some(()));
    assert!(begun.elapsed() < READY_WITHIN, "{:?}", begun.elapsed());
    assert_eq!(says(&cluster, 0), before);
}
