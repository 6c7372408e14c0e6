//! Hosts that are cut off: alone, with others, and in one direction.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use ostia_tests::{Cluster, ClusterPlan, Host, Status};

use crate::{
    FAIL_OVER, SOON, issued, push_hold, push_until_refused, revoked, servers, until_agreed, until_lagging,
    until_logged, until_told,
};

/// The lines of the shipped configuration by which a master that was cut off stops.
fn stops_alone() -> String {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../systemd/redis/redis.conf");
    let text = fs::read_to_string(shipped).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("min-replicas-")).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    lines.join("\n") + "\n"
}

/// A master with the writer that leads, a replica and a Sentinel is cut off from the rest. On both sides everybody does what
/// there is to do by itself, also on the way back.
#[test]
fn a_zone_with_the_master_and_the_leader_that_is_cut_off_stops_and_what_it_took_is_merged_when_it_returns() {
    let cluster = ClusterPlan::of(2, 3).redis(&stops_alone()).sentinels(2).hosts().start();
    let (before, next) = (revoked(&cluster), issued(&cluster));
    let [held, released] = [(); 2].map(|()| issued(&cluster));
    push_hold(&cluster, cluster.until_led(SOON), "revoke", &released);
    cluster.until_revoked_everywhere(&released);
    let pushed: Vec<String> = (0..30).map(|_| cluster.ca.issue().serial).collect();
    cluster.until_said_everywhere(pushed.last().unwrap(), &Status::Good, SOON);
    let (former, leader) = (cluster.redis.port(), cluster.until_led(SOON));
    cluster.until_fresh(SOON);
    let sentinels = cluster.sentinels.as_ref().unwrap();
    let zone: [&Host; 4] =
        [cluster.redis.host(), cluster.writers[leader].host(), cluster.replicas[0].host(), sentinels.all[0].host()];
    cluster.network().cut_off(&zone);
    // Within, all is as it was until the master notices that nobody follows it.
    push_hold(&cluster, leader, "revoke", &held);
    push_hold(&cluster, leader, "release", &released);
    cluster.until_said(0, &held, &Status::Revoked, SOON);
    cluster.until_said(0, &released, &Status::Good, SOON);
    let told = push_until_refused(&cluster, leader, &pushed);
    // The rest goes on without it.
    cluster.until("somebody else takes a push", FAIL_OVER, || {
        thread::sleep(Duration::from_millis(200));
        (cluster.push(1 - leader, "revoke", &next).status == 200).then_some(())
    });
    (1..3).for_each(|replica| cluster.until_said(replica, &next, &Status::Revoked, SOON));
    until_lagging(&cluster, 0);
    assert_eq!(cluster.says(0, &before), Some(Status::Revoked));
    assert_eq!(cluster.push(leader, "revoke", &next).status, 503);
    cluster.network().heal();
    cluster.until_revoked_everywhere(&next);
    told.iter().for_each(|serial| cluster.until_said_everywhere(serial, &Status::Revoked, FAIL_OVER));
    cluster.until("who led stands by", FAIL_OVER, || {
        (cluster.writers[leader].feed_metric("ostia_feed_role", "role=\"standing_by\"")? == 1.0).then_some(())
    });
    cluster.until("the former master follows", FAIL_OVER, || {
        let role = cluster.redis.try_cli(["ROLE"])?;
        role.starts_with("slave").then_some(())
    });
    assert_ne!(cluster.sentinels.as_ref().unwrap().named(), former);
    until_agreed(&cluster);
    let after = revoked(&cluster);
    cluster.until_fresh(SOON);
    cluster.are_revoked_now(&[&before, &next, &after]);
    let all: Vec<&str> = told.iter().map(String::as_str).collect();
    cluster.are_revoked_now(&all);
    // What was told on that side alone, and is not for good, is undone.
    cluster.until_said_everywhere(&held, &Status::Good, SOON);
    cluster.until_said_everywhere(&released, &Status::Revoked, SOON);
}

/// Its clients reach it, and Redis does not: it takes nothing, and somebody else leads.
#[test]
fn a_leader_that_is_cut_off_from_redis_takes_nothing_and_what_it_has_is_merged_when_it_returns() {
    let cluster = ClusterPlan::of(2, 2).hosts().start();
    let (before, owed, next) = (revoked(&cluster), issued(&cluster), issued(&cluster));
    let leader = cluster.until_led(SOON);
    cluster.network().cut_off(&[cluster.writers[leader].host()]);
    let answer = cluster.push(leader, "revoke", &owed);
    assert!(answer.status == 503 && answer.text.contains("not-told"), "{answer:?}");
    // Whoever asks for something that ends by itself is not told that it was done either.
    let held =
        cluster.push_body(leader, "revoke", &format!("{{\"serial\":\"{next}\",\"reason\":\"certificateHold\"}}"));
    assert_eq!(held.status, 503, "{held:?}");
    let other = cluster.until_led_by_another(leader, SOON);
    let meanwhile = cluster.ca.issue().serial;
    cluster.until_said_everywhere(&meanwhile, &Status::Good, SOON);
    cluster.until("the other one takes a push", SOON, || {
        (cluster.push(other, "revoke", &meanwhile).status == 200).then_some(())
    });
    cluster.until_revoked_everywhere(&meanwhile);
    assert_eq!(cluster.push(leader, "revoke", &meanwhile).status, 503);
    assert!(cluster.answering().all(|replica| cluster.says(replica, &owed) == Some(Status::Good)));
    // It hears that the other one leads, and cannot reach it yet.
    cluster.network().heal();
    cluster.network().part(&[cluster.writers[leader].host()], &[cluster.writers[other].host()]);
    until_logged(&cluster, "cannot be pushed to the one that leads", || cluster.writers[leader].log());
    assert!(cluster.answering().all(|replica| cluster.says(replica, &owed) == Some(Status::Good)));
    cluster.network().heal();
    let healed = Instant::now();
    cluster.until_revoked_everywhere(&owed);
    // An attempt that began before waits for three seconds, and the next one begins five after that one.
    assert!(healed.elapsed() < Duration::from_secs(15), "{:?}\n{}", healed.elapsed(), cluster.logs());
    until_agreed(&cluster);
    // What was not told and may end is undone.
    assert!(cluster.answering().all(|replica| cluster.says(replica, &next) == Some(Status::Good)));
    let after = revoked(&cluster);
    cluster.are_revoked_now(&[&before, &owed, &meanwhile, &after]);
    cluster.until_fresh(SOON);
}

/// In each direction, and in both: the other replica does not notice, and this one goes on with what it knows.
#[test]
fn a_replica_that_is_cut_off_in_either_direction_or_both_answers_what_it_knows_and_catches_up() {
    let cluster = ClusterPlan::of(1, 2).hosts().start();
    let mut known = vec![revoked(&cluster)];
    let (network, replica, redis) = (cluster.network(), cluster.replicas[0].host(), cluster.redis.host());
    let ways: [&dyn Fn(); 3] = [&|| network.cut_off(&[replica]), &|| network.lose(&[redis], &[replica]), &|| {
        network.lose(&[replica], &[redis])
    }];
    for cut in ways {
        let next = issued(&cluster);
        cluster.until_fresh(SOON);
        cut();
        until_lagging(&cluster, 0);
        assert_eq!(cluster.push(0, "revoke", &next).status, 200);
        cluster.until_said(1, &next, &Status::Revoked, SOON);
        let (status, text) = cluster.replicas[1].readiness_text("?fresh=1").unwrap();
        assert_eq!(status, 200, "{text}\n{}", cluster.logs());
        assert_eq!(cluster.says(0, &next), Some(Status::Good), "it cannot know");
        known.iter().for_each(|serial| assert_eq!(cluster.says(0, serial), Some(Status::Revoked)));
        network.heal();
        cluster.until_said(0, &next, &Status::Revoked, SOON);
        cluster.until_fresh(SOON);
        known.push(next);
    }
    cluster.are_revoked_now(&known.iter().map(String::as_str).collect::<Vec<_>>());
}

/// Has something between a cluster and one of its hosts lost.
type Cut<'a> = &'a dyn Fn(&Cluster, &Host);

/// Redis does what it is asked and its answers are lost; then what it is asked is lost. Somebody else leads each time.
#[test]
fn a_leader_that_is_cut_off_from_redis_in_one_direction_is_replaced_and_comes_back() {
    let cluster = ClusterPlan::of(2, 2).hosts().start();
    let mut known = vec![revoked(&cluster)];
    let ways: [Cut<'_>; 2] =
        [&|cluster, leader| cluster.network().lose(&servers(cluster), &[leader]), &|cluster, leader| {
            cluster.network().lose(&[leader], &servers(cluster))
        }];
    for lose in ways {
        let (owed, next) = (issued(&cluster), issued(&cluster));
        let leader = cluster.until_led(SOON);
        lose(&cluster, cluster.writers[leader].host());
        let answer = cluster.push(leader, "revoke", &owed);
        assert!(answer.status == 503 && answer.text.contains("not-told"), "{answer:?}");
        let other = cluster.until_led_by_another(leader, SOON);
        cluster.until("the other one takes a push", SOON, || {
            (cluster.push(other, "revoke", &next).status == 200).then_some(())
        });
        cluster.until_revoked_everywhere(&next);
        cluster.network().heal();
        cluster.until_revoked_everywhere(&owed);
        until_agreed(&cluster);
        known.extend([owed, next]);
    }
    cluster.until_fresh(SOON);
    cluster.are_revoked_now(&known.iter().map(String::as_str).collect::<Vec<_>>());
}

/// It hears nobody, and knows that this is because it is cut off.
#[test]
fn a_writer_that_stands_by_takes_nothing_over_because_it_is_cut_off() {
    let cluster = ClusterPlan::of(2, 1).hosts().start();
    let before = revoked(&cluster);
    let leader = cluster.until_led(SOON);
    let (epoch, standby) = (cluster.writers[leader].epoch(), 1 - leader);
    let (network, host, redis) = (cluster.network(), cluster.writers[standby].host(), cluster.redis.host());
    let ways: [&dyn Fn(); 3] =
        [&|| network.cut_off(&[host]), &|| network.lose(&[redis], &[host]), &|| network.lose(&[host], &[redis])];
    for cut in ways {
        cut();
        until_told(&cluster, &cluster.writers[standby], "degraded: feed: Redis at");
        // Twice as long as anybody waits for who is silent.
        thread::sleep(Duration::from_secs(8));
        network.heal();
        cluster.until("it is connected again", SOON, || {
            (!cluster.writers[standby].readiness_text("")?.1.contains("Redis at")).then_some(())
        });
        let next = revoked(&cluster);
        until_agreed(&cluster);
        assert_eq!((cluster.leader(), cluster.writers[leader].epoch()), (Some(leader), epoch), "{}", cluster.logs());
        cluster.are_revoked_now(&[&before, &next]);
    }
}

/// Everybody still reaches the master, and only the Sentinels and the servers that follow it do not: there are two masters
/// for everybody to see, and all go to the new one.
#[test]
fn a_master_that_only_its_followers_and_sentinels_have_lost_is_left_by_all() {
    let cluster = ClusterPlan::of(2, 2).sentinels(2).hosts().start();
    let before = revoked(&cluster);
    let former = cluster.redis.port();
    let sentinels = cluster.sentinels.as_ref().unwrap();
    let others: Vec<&Host> = sentinels.all.iter().chain(&sentinels.followers).map(|server| server.host()).collect();
    cluster.network().part(&[cluster.redis.host()], &others);
    sentinels.until_another_than(former);
    let after = revoked(&cluster);
    cluster.until("nobody is at the former master", SOON, || {
        let clients = cluster.redis.cli(["CLIENT", "LIST", "TYPE", "normal"]);
        (!clients.lines().any(|line| ["cmd=xadd", "cmd=xread"].iter().any(|cmd| line.contains(cmd)))).then_some(())
    });
    cluster.network().heal();
    cluster.until("the former master follows", FAIL_OVER, || {
        let role = cluster.redis.try_cli(["ROLE"])?;
        role.starts_with("slave").then_some(())
    });
    let last = revoked(&cluster);
    cluster.are_revoked_now(&[&before, &after, &last]);
    until_agreed(&cluster);
    cluster.until_fresh(SOON);
}

/// It reaches Redis, and nobody who gives snapshots. What it has on its disk and what the stream has is enough.
#[test]
fn a_replica_that_reaches_no_source_of_snapshots_starts_with_what_it_has_and_follows() {
    let mut cluster = ClusterPlan::of(2, 1).set_of_writers("snapshot_interval = \"10s\"").hosts().start();
    let mut known = vec![revoked(&cluster)];
    let replica = cluster.replicas[0].host().clone();
    let writers: Vec<Host> = cluster.writers.iter().map(|writer| writer.host().clone()).collect();
    cluster.network().part(&[&replica], &writers.iter().collect::<Vec<_>>());
    let head = || cluster.redis.cli(["GET", Cluster::HEAD]);
    let before = head();
    known.push(revoked(&cluster));
    cluster.until("there is a later snapshot", 2 * SOON, || (head() != before).then_some(()));
    known.push(revoked(&cluster));
    cluster.replicas[0].kill();
    cluster.replicas[0].start();
    cluster.until_filled(0);
    cluster.until_fresh(SOON);
    known.iter().for_each(|serial| cluster.until_revoked_everywhere(serial));
    let next = revoked(&cluster);
    let log = cluster.replicas[0].log();
    assert!(log.contains("nobody gives the newest snapshot: what was known here before is served from disk"), "{log}");
    cluster.network().heal();
    known.push(next);
    known.push(revoked(&cluster));
    cluster.are_revoked_now(&known.iter().map(String::as_str).collect::<Vec<_>>());
}
