//! What others have reported of programs that share something through Redis: each is tried here.

use std::{thread, time::Duration};

use ostia_tests::{Cluster, ClusterPlan, Status};

use crate::{SOON, issued, revoked, until_told};

/// How often somebody began to lead.
fn leaderships(cluster: &Cluster) -> f64 {
    let led = |writer: &ostia_tests::Member| writer.feed_metric("ostia_feed_leaderships_total", "");
    cluster.writers.iter().filter_map(led).sum()
}

/// Clients that did not log in again after their connection was lost, and consumers that never came back from `NOAUTH`.
#[test]
fn a_password_that_redis_wants_all_at_once_is_told_and_everybody_goes_on_without_a_restart() {
    let cluster = ClusterPlan::of(2, 1).start();
    let (before, good) = (revoked(&cluster), issued(&cluster));
    cluster.redis.cli(["CONFIG", "SET", "requirepass", "secret-4711"]);
    cluster.redis.cli(["-a", "secret-4711", "--no-auth-warning", "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    for member in cluster.writers.iter().chain(&cluster.replicas) {
        let told = until_told(&cluster, member, "refuses user `default`: ");
        assert!(told.contains("check the password") && told.contains("degraded: feed: "), "{told}");
    }
    assert_eq!(cluster.replicas[0].readiness(""), Some(200));
    cluster.until_said(0, &good, &Status::Good, SOON);
    cluster.are_revoked_now(&[&before]);
    cluster.redis.cli(["-a", "secret-4711", "--no-auth-warning", "CONFIG", "SET", "requirepass", ""]);
    let after = revoked(&cluster);
    cluster.are_revoked_now(&[&before, &after]);
    cluster.until_fresh(SOON);
}

/// Writers that went on for hours with a server that had become a follower, and readers that waited there for ever.
#[test]
fn a_server_that_becomes_a_follower_is_told_and_acknowledges_nothing_until_it_is_the_master_again() {
    let cluster = ClusterPlan::of(2, 1).start();
    let (before, late) = (revoked(&cluster), issued(&cluster));
    let leader = cluster.until_led(SOON);
    cluster.redis.cli(["REPLICAOF", "127.0.0.1", "1"]);
    let pushed = cluster.push(leader, "revoke", &late);
    assert!(pushed.status == 503, "{pushed:?}");
    until_told(&cluster, &cluster.writers[leader], "another server may be the master now");
    cluster
        .until("the replica is not fresh", SOON, || (cluster.replicas[0].readiness("?fresh=1")? == 503).then_some(()));
    cluster.are_revoked_now(&[&before]);
    cluster.redis.cli(["REPLICAOF", "NO", "ONE"]);
    cluster.until_revoked_everywhere(&late);
    let after = revoked(&cluster);
    cluster.are_revoked_now(&[&before, &late, &after]);
    cluster.until_fresh(SOON);
}

/// A user that lost one right of several, and programs that called that a lost connection.
#[test]
fn a_right_that_is_missing_is_told_with_the_command_and_given_again_it_is_all_that_was_needed() {
    let cluster = ClusterPlan::of(1, 1).start();
    let (before, late) = (revoked(&cluster), issued(&cluster));
    for (right, is_of_writer) in [("xadd", true), ("xread", false), ("xinfo", false)] {
        cluster.redis.cli(["ACL", "SETUSER", "default", &format!("-{right}")]);
        let member = if is_of_writer { &cluster.writers[0] } else { &cluster.replicas[0] };
        let told = until_told(&cluster, member, &format!("this user has no permissions to run the '{right}"));
        assert!(told.contains("refuses user `default`: ") && told.contains("`ACL GETUSER default`"), "{told}");
        cluster.are_revoked_now(&[&before]);
        cluster.redis.cli(["ACL", "SETUSER", "default", &format!("+{right}")]);
        cluster.until_fresh(SOON);
    }
    cluster.revoke(&late);
    cluster.until_revoked_everywhere(&late);
}

/// Servers and proxies that close what is idle, each time as if a connection had been lost.
#[test]
fn a_server_that_closes_what_is_idle_costs_no_leadership_and_no_freshness() {
    let cluster = ClusterPlan::of(2, 1).redis("timeout 1\n").start();
    let before = revoked(&cluster);
    cluster.until_fresh(SOON);
    let led = leaderships(&cluster);
    for _ in 0..40 {
        assert_eq!(cluster.replicas[0].readiness("?fresh=1"), Some(200), "{}", cluster.logs());
        thread::sleep(Duration::from_millis(200));
    }
    assert!(leaderships(&cluster) <= led + 1.0, "{}", cluster.logs());
    let after = revoked(&cluster);
    cluster.are_revoked_now(&[&before, &after]);
    for member in cluster.writers.iter().chain(&cluster.replicas) {
        assert!(member.log().lines().count() < 60, "{}", member.log());
    }
}

/// Consumers that never read again after their stream was removed and made anew.
#[test]
fn a_stream_that_is_removed_again_and_again_is_followed_each_time() {
    let cluster = ClusterPlan::of(1, 1).start();
    let mut gone = vec![revoked(&cluster)];
    for _ in 0..3 {
        cluster.redis.cli(["UNLINK", Cluster::STREAM]);
        gone.push(revoked(&cluster));
    }
    cluster.are_revoked_now(&gone.iter().map(String::as_str).collect::<Vec<_>>());
    cluster.until_fresh(SOON);
    let lines = cluster.replicas[0].log().lines().count();
    assert!(lines < 60, "{}", cluster.logs());
}
