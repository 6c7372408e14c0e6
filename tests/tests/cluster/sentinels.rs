//! A Redis with servers that follow it, and Sentinels that name another master when it fails.

use std::time::{Duration, Instant};

use ostia_tests::{Cluster, ClusterPlan, RedisServer};

use crate::{SOON, issued, revoked, until_logged, until_told};

/// How soon everybody follows a new master once it is named: Sentinels are asked every second, and the demoted one would
/// keep its readers for more than ten.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(8);
/// Sentinels notice after a second, and agree and promote within some more.
const FAIL_OVER: Duration = Duration::from_secs(60);

/// No writer or replica has a connection to this server.
fn is_left(server: &RedisServer) -> bool {
    let clients = server.cli(["CLIENT", "LIST", "TYPE", "normal"]);
    !clients.lines().any(|line| ["cmd=xadd", "cmd=xread", "cmd=xinfo"].iter().any(|cmd| line.contains(cmd)))
}

/// Everybody reads from, or writes to, this server.
#[track_caller]
fn until_all_are_at(cluster: &Cluster, server: &RedisServer, limit: Duration) {
    let members = cluster.writers.len() + cluster.replicas.len();
    cluster.until("everybody is at the new master", limit, || {
        let clients = server.cli(["CLIENT", "LIST", "TYPE", "normal"]);
        // Each of them has one connection that has asked for the stream.
        let is_ours =
            |line: &&str| ["cmd=xadd", "cmd=xread", "cmd=xinfo", "cmd=get"].iter().any(|cmd| line.contains(cmd));
        (clients.lines().filter(is_ours).count() >= members).then_some(())
    });
}

#[test]
fn a_master_that_is_killed_is_replaced_and_revocations_go_on_at_the_next_one() {
    is_replaced(ClusterPlan::of(2, 2).sentinels(2));
}

#[test]
fn a_valkey_that_is_killed_is_replaced_as_a_redis_is() {
    is_replaced(ClusterPlan::of(2, 2).sentinels(2).valkey());
}

fn is_replaced(plan: ClusterPlan) {
    let mut cluster = plan.start();
    let (before, next) = (revoked(&cluster), issued(&cluster));
    let former = cluster.redis.port();
    cluster.redis.kill();
    cluster.push_until_taken("revoke", &next, FAIL_OVER);
    cluster.until_revoked_everywhere(&next);
    let master = cluster.sentinels.as_ref().unwrap().until_another_than(former);
    until_all_are_at(&cluster, master, SOON);
    cluster.until_fresh(SOON);
    let after = revoked(&cluster);
    // The former master comes back, and Sentinels make it follow the new one: nobody goes back to it.
    cluster.redis.restart();
    cluster.until("the former master follows", FAIL_OVER, || {
        let role = cluster.redis.try_cli(["ROLE"])?;
        role.starts_with("slave").then_some(())
    });
    let last = revoked(&cluster);
    cluster.are_revoked_now(&[&before, &next, &after, &last]);
    let leader = cluster.leader().unwrap();
    until_logged(&cluster, "the Sentinels name another master", || cluster.writers[leader].log());
}

/// What was acknowledged and never reached the new master is told again: it is in the book.
#[test]
fn what_the_new_master_never_had_is_told_again_without_a_snapshot() {
    let mut cluster = ClusterPlan::of(1, 2).sentinels(1).start();
    let before = revoked(&cluster);
    let compared = |cluster: &Cluster| -> Vec<Option<f64>> {
        let replicas = cluster.replicas.iter();
        replicas.map(|replica| replica.feed_metric("ostia_feed_reconciliations_total", "")).collect()
    };
    let first = compared(&cluster);
    let (lost, former) = ([(); 3].map(|()| issued(&cluster)), cluster.redis.port());
    cluster.sentinels.as_ref().unwrap().followers[0].pause();
    for serial in &lost {
        assert_eq!(cluster.push(0, "revoke", serial).status, 200);
        cluster.until_revoked_everywhere(serial);
    }
    cluster.redis.kill();
    let sentinels = cluster.sentinels.as_ref().unwrap();
    sentinels.followers[0].go_on();
    let master = sentinels.until_another_than(former);
    until_all_are_at(&cluster, master, SOON);
    cluster.until_fresh(SOON);
    let after = revoked(&cluster);
    let all = [&before, &lost[0], &lost[1], &lost[2], &after].map(String::as_str);
    cluster.are_revoked_now(&all);
    assert_eq!(compared(&cluster), first, "nobody needed a snapshot\n{}", cluster.logs());
    // Who has nothing learns of all of it as well.
    let number = cluster.add_replica();
    cluster.replicas[number].start();
    cluster.until_filled(number);
    all.iter().for_each(|serial| cluster.until_revoked_everywhere(serial));
}

#[test]
fn a_master_that_was_replaced_while_it_hung_keeps_nobody_when_it_goes_on() {
    let cluster = ClusterPlan::of(2, 2).sentinels(1).start();
    let before = revoked(&cluster);
    let former = cluster.redis.port();
    cluster.redis.pause();
    let master = cluster.sentinels.as_ref().unwrap().until_another_than(former);
    until_all_are_at(&cluster, master, SOON);
    // It takes itself for the master until a Sentinel tells it otherwise.
    cluster.redis.go_on();
    let after = revoked(&cluster);
    cluster.until_fresh(SOON);
    cluster.are_revoked_now(&[&before, &after]);
}

#[test]
fn a_fail_over_by_hand_moves_everybody_long_before_the_demoted_master_lets_them_go() {
    let cluster = ClusterPlan::of(2, 2).sentinels(1).start();
    let (before, next) = (revoked(&cluster), issued(&cluster));
    let sentinels = cluster.sentinels.as_ref().unwrap();
    let former = cluster.redis.port();
    assert_eq!(sentinels.all[0].cli(["SENTINEL", "FAILOVER", "feed"]), "OK");
    let master = sentinels.until_another_than(former);
    let begun = Instant::now();
    until_all_are_at(&cluster, master, SOON);
    cluster.until("nobody reads from the demoted master", SOON, || is_left(&cluster.redis).then_some(()));
    assert!(begun.elapsed() < FOLLOWED_WITHIN, "{:?}", begun.elapsed());
    cluster.revoke(&next);
    cluster.until_revoked_everywhere(&next);
    cluster.are_revoked_now(&[&before, &next]);
}

#[test]
fn sentinels_that_hang_or_die_change_nothing_and_are_named_in_the_log() {
    let mut cluster = ClusterPlan::of(1, 1).sentinels(1).start();
    let before = revoked(&cluster);
    let former = cluster.redis.port();
    // One hangs, and still names the former master: the two others count.
    cluster.sentinels.as_ref().unwrap().all[0].pause();
    until_logged(&cluster, "is not reached", || cluster.writers[0].log());
    cluster.redis.kill();
    let sentinels = cluster.sentinels.as_mut().unwrap();
    sentinels.all.swap(0, 2);
    let port = sentinels.until_another_than(former).port();
    let second = revoked(&cluster);
    // All are gone: the master that was named last is the master.
    let sentinels = cluster.sentinels.as_mut().unwrap();
    sentinels.all.iter_mut().for_each(RedisServer::kill);
    let third = revoked(&cluster);
    // Who starts now knows no master, says whom it has asked, and goes on when one answers.
    let number = cluster.add_replica();
    cluster.replicas[number].start();
    until_logged(&cluster, "no Sentinel names the master `feed`", || cluster.replicas[number].log());
    let sentinels = cluster.sentinels.as_mut().unwrap();
    sentinels.all[0].restart();
    assert_eq!(sentinels.named(), port);
    // It has no key: beside the records it needs the answers.
    cluster.until_fresh(SOON);
    cluster.are_revoked_now(&[&before, &second, &third]);
}

#[test]
fn a_master_that_wants_followers_and_has_none_takes_nothing_and_that_is_said() {
    let mut cluster =
        ClusterPlan::of(1, 1).redis("min-replicas-to-write 1\nmin-replicas-max-lag 1\n").sentinels(1).start();
    let (before, next) = (revoked(&cluster), issued(&cluster));
    cluster.sentinels.as_mut().unwrap().followers[0].kill();
    let pushed = cluster.until("a push is not acknowledged", SOON, || {
        Some(cluster.push(0, "revoke", &next)).filter(|pushed| pushed.status == 503)
    });
    assert!(pushed.text.contains("urn:ostia:problem:"), "{pushed:?}");
    until_told(&cluster, &cluster.writers[0], "too few followers");
    cluster.are_revoked_now(&[&before]);
    cluster.sentinels.as_mut().unwrap().followers[0].restart();
    cluster.push_until_taken("revoke", &next, FAIL_OVER);
    cluster.until_revoked_everywhere(&next);
}

#[test]
fn check_says_what_sentinels_say_and_what_is_wrong_with_them() {
    let mut cluster = ClusterPlan::of(1, 1).sentinels(1).start();
    let check = |cluster: &Cluster| cluster.replicas[0].site().check().text;
    let port = cluster.redis.port();
    let told = check(&cluster);
    let one = format!("names 127.0.0.1:{port} as master, and knows 1 that follow and 3 Sentinels");
    assert_eq!(told.matches(&one).count(), 3, "{told}");
    let edit = |cluster: &mut Cluster, from: &str, to: &str| {
        let site = cluster.replicas[0].site();
        site.edit_config(|text| text.replacen(from, to, 1));
    };
    edit(&mut cluster, "master = \"feed\"", "master = \"other\"");
    let told = check(&cluster);
    assert!(told.contains("`feed.master` has to be the name that `sentinel monitor` gives it"), "{told}");
    edit(&mut cluster, "master = \"other\"", "master = \"feed\"");
    // A Redis among them.
    let sentinel = cluster.sentinels.as_ref().unwrap().all[0].port();
    edit(&mut cluster, &format!("127.0.0.1:{sentinel}"), &format!("127.0.0.1:{port}"));
    let told = check(&cluster);
    assert!(told.contains("this is a Redis and no Sentinel"), "{told}");
    cluster.sentinels.as_mut().unwrap().followers[0].kill();
    cluster.until("it is said that nobody follows", FAIL_OVER, || {
        check(&cluster).contains("no server follows the master").then_some(())
    });
}

/// The users that are shipped for writers, replicas, followers and Sentinels suffice for all that they do.
#[test]
fn with_the_shipped_users_everything_works_and_a_master_is_replaced() {
    a_master_is_replaced(ClusterPlan::of(2, 1).users().sentinels(1));
}

/// The shipped configurations of Redis and Sentinel, with their words in capitals replaced: TLS by a private CA and under
/// names, users, and no write without a follower.
#[test]
fn with_the_shipped_configurations_everything_works_over_tls_and_a_master_is_replaced() {
    a_master_is_replaced(ClusterPlan::of(2, 1).shipped().sentinels(2));
}

fn a_master_is_replaced(plan: ClusterPlan) {
    let mut cluster = plan.start();
    let before = revoked(&cluster);
    cluster.redis.kill();
    let after = issued(&cluster);
    cluster.push_until_taken("revoke", &after, FAIL_OVER);
    cluster.until_revoked_everywhere(&after);
    cluster.are_revoked_now(&[&before, &after]);
}

#[test]
fn a_push_is_acknowledged_when_a_server_that_follows_has_it_and_who_waits_in_vain_is_told() {
    let cluster = ClusterPlan::of(1, 1)
        .sentinels(1)
        .set_of_writers("acknowledge_redis_replicas = 1\nacknowledge_within = \"1s\"")
        .start();
    let (before, next) = (revoked(&cluster), issued(&cluster));
    let follower = &cluster.sentinels.as_ref().unwrap().followers[0];
    follower.pause();
    let pushed = cluster.push(0, "revoke", &next);
    assert!(pushed.status == 503 && pushed.text.contains("only 0 of the 1 Redis followers"), "{pushed:?}");
    // It is told all the same.
    cluster.until_revoked_everywhere(&next);
    follower.go_on();
    cluster.push_until_taken("revoke", &next, FAIL_OVER);
    let after = revoked(&cluster);
    cluster.are_revoked_now(&[&before, &next, &after]);
}
