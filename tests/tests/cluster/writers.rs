//! Writers that are killed, sleep, meet, and lose their disks.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use ostia_tests::{Cluster, ClusterPlan, Kept, Status};

use crate::{DURABLE, SOON, issued, revoked, until_logged, until_told};

/// How soon revocations are taken again after the leader was killed.
const RESUMED_WITHIN: Duration = Duration::from_secs(15);

#[test]
fn a_leader_that_is_killed_is_replaced_and_revocations_go_on() {
    let mut cluster = ClusterPlan::of(2, 2).set_of_writers("[journal]").start();
    let before = revoked(&cluster);
    let next = issued(&cluster);
    let leader = cluster.until_led(SOON);
    let kept = [0, 1].map(|writer| Kept::of(cluster.writers[writer].site()));
    kept[leader].expect("leadership", &[("state", "leads")]);
    let another = || kept[leader].lines().iter().filter(|line| line["state"] == "another leads").count();
    let before_that = another();
    cluster.writers[leader].kill();
    let begun = Instant::now();
    let taken_by = cluster.revoke(&next);
    cluster.until_revoked_everywhere(&next);
    assert!(begun.elapsed() < RESUMED_WITHIN && taken_by != leader, "{:?}", begun.elapsed());
    // It comes back, and stands by.
    cluster.writers[leader].start();
    cluster.until("the former leader stands by", SOON, || {
        (cluster.writers[leader].feed_metric("ostia_feed_role", "role=\"standing_by\"")? == 1.0).then_some(())
    });
    let pushed = cluster.push(leader, "revoke", &before);
    assert!(pushed.status == 503 && pushed.text.contains("stands-by"), "{pushed:?}");
    let leads = format!("\"leader\":\"http://{}\"", cluster.writers[taken_by].site().admin);
    cluster.until("it says where to push", SOON, || {
        cluster.push(leader, "revoke", &before).text.contains(&leads).then_some(())
    });
    cluster.until_level(leader, SOON);
    for (writer, said) in [(taken_by, "feed: this writer leads, at "), (leader, "feed: this writer stands by, at ")] {
        let (status, lines) = cluster.writers[writer].readiness_text("").unwrap();
        assert!(status == 200 && lines.contains(said), "{status} {lines}");
    }
    let after = revoked(&cluster);
    cluster.are_revoked_now(&[&before, &next, &after]);
    let led = kept[taken_by].expect("leadership", &[("state", "leads")]);
    assert!(led["position"].as_str().is_some_and(|place| place.contains('-')), "{led}");
    // Its journal goes on behind the kill.
    cluster.until("it knows who leads", SOON, || (another() > before_that).then_some(()));
    kept.iter().for_each(Kept::verifies);
}

#[test]
fn a_leader_that_is_stopped_in_order_is_replaced_at_once() {
    let mut cluster = ClusterPlan::of(2, 1).start();
    let next = issued(&cluster);
    let leader = cluster.until_led(SOON);
    // Who stands by would wait for a minute if it had to take the end for silence.
    let standby = 1 - leader;
    cluster.writers[standby].restart_with(|text| text.replace("takeover_after = \"2s\"", "takeover_after = \"1m\""));
    cluster.until("it follows again", SOON, || {
        let [follows, leads] = [standby, leader].map(|writer| cluster.writers[writer].epoch());
        (follows > 0.0 && follows == leads).then_some(())
    });
    cluster.writers[leader].end_by("TERM");
    cluster.until_led_by_another(leader, SOON);
    cluster.revoke(&next);
    cluster.until_revoked_everywhere(&next);
}

#[test]
fn of_two_writers_the_one_that_slept_is_refused_says_so_and_stands_by() {
    let mut cluster = ClusterPlan::of(2, 2).start();
    let before = revoked(&cluster);
    let slept = cluster.until_led(SOON);
    cluster.writers[slept].pause();
    let leads = cluster.until_led_by_another(slept, SOON);
    let meanwhile = revoked(&cluster);
    cluster.writers[slept].go_on();
    cluster.until("who slept stands by", SOON, || {
        (cluster.writers[slept].feed_metric("ostia_feed_role", "role=\"standing_by\"")? == 1.0).then_some(())
    });
    until_logged(&cluster, "leads no more", || cluster.writers[slept].log());
    assert_eq!(cluster.leader(), Some(leads), "{}", cluster.logs());
    let after = revoked(&cluster);
    cluster.are_revoked_now(&[&before, &meanwhile, &after]);
}

#[test]
fn a_push_in_the_middle_of_which_the_leader_slept_is_not_acknowledged_and_comes_as_a_debt() {
    let mut cluster = ClusterPlan::of(2, 2).redis(DURABLE).set_of_writers("acknowledge_within = \"1s\"").start();
    let serial = issued(&cluster);
    let leader = cluster.until_led(SOON);
    // The book has it, and Redis does not take it.
    cluster.redis.pause();
    let pushed = cluster.push(leader, "revoke", &serial);
    assert!(pushed.status == 503 && pushed.text.contains("not-told"), "{pushed:?}");
    cluster.writers[leader].pause();
    // What the former leader has sent meanwhile is lost, as if it had never left.
    cluster.redis.kill();
    cluster.redis.restart();
    cluster.until_led_by_another(leader, SOON);
    let meanwhile = revoked(&cluster);
    assert!(
        cluster.answering().all(|replica| cluster.says(replica, &serial) == Some(Status::Good)),
        "a debt, not told yet"
    );
    cluster.writers[leader].go_on();
    cluster.until_revoked_everywhere(&serial);
    cluster.are_revoked_now(&[&serial, &meanwhile]);
}

/// Whoever came when the `begin` of the one that leads was trimmed did not learn where that one takes pushes, and kept its
/// debts for as long as that one led.
#[test]
fn a_debt_of_a_writer_that_comes_back_when_the_begin_is_trimmed_is_taken() {
    let lines = "acknowledge_within = \"1s\"\nsnapshot_interval = \"10s\"";
    let mut cluster = ClusterPlan::of(2, 1).redis(DURABLE).set_of_writers(lines).start();
    let serial = issued(&cluster);
    let leader = cluster.until_led(SOON);
    cluster.redis.pause();
    let pushed = cluster.push(leader, "revoke", &serial);
    assert!(pushed.status == 503 && pushed.text.contains("not-told"), "{pushed:?}");
    cluster.writers[leader].kill();
    cluster.redis.kill();
    cluster.redis.restart();
    cluster.until_led_by_another(leader, SOON);
    let meanwhile = revoked(&cluster);
    let head = || cluster.redis.cli(["GET", Cluster::HEAD]);
    for _ in 0..2 {
        let before = head();
        cluster.redis.cli(["XTRIM", Cluster::STREAM, "MAXLEN", "1"]);
        cluster.until("there is a later snapshot", 2 * SOON, || (head() != before).then_some(()));
    }
    cluster.writers[leader].start();
    cluster.until_revoked_everywhere(&serial);
    cluster.are_revoked_now(&[&serial, &meanwhile]);
}

/// Its book was filled from a snapshot, and of what that says of sources it took nothing. Who led next did not know which CRLs
/// had been taken, and since when nothing was in order.
#[test]
fn a_standby_that_is_filled_while_sources_are_refused_knows_when_they_were_in_order() {
    let mut cluster = ClusterPlan::of(2, 0).set_of_writers("snapshot_interval = \"10s\"").set_up();
    cluster.writers[0].start();
    assert_eq!(cluster.until_led(SOON), 0);
    let head = || cluster.redis.cli(["GET", Cluster::HEAD]);
    let next = |before: String| {
        let later = || Some(head()).filter(|head| !head.is_empty() && *head != before);
        cluster.until("there is a later snapshot", 2 * SOON, later)
    };
    let first = next(String::new());
    let index = fs::read_to_string(cluster.ca.index()).unwrap();
    fs::write(cluster.ca.index(), format!("{index}broken\n")).unwrap();
    until_logged(&cluster, "the last good state stays in use", || cluster.writers[0].log());
    next(next(first));
    cluster.writers[1].start();
    cluster.until("it knows of the sources", SOON, || {
        cluster.writers[1].feed_metric("ostia_source_last_read_seconds", "").filter(|at| *at > 0.0)
    });
}

#[test]
fn with_its_disk_full_a_leader_takes_no_push_and_another_tells_what_sources_and_clients_say() {
    let mut cluster = ClusterPlan::of(2, 2).start();
    let (before, pushed) = (revoked(&cluster), issued(&cluster));
    let leaf = cluster.ca.issue();
    cluster.until_said_everywhere(&leaf.serial, &Status::Good, SOON);
    let leader = cluster.until_led(SOON);
    cluster.writers[leader].limit_files(16 << 10);
    let answer = cluster.push(leader, "revoke", &pushed);
    assert!(answer.status == 503 && answer.text.contains("not-durable"), "{answer:?}");
    cluster.ca.revoke(&leaf, &["-crl_reason", "keyCompromise"]);
    cluster.until_revoked_everywhere(&leaf.serial);
    assert_ne!(cluster.revoke(&pushed), leader);
    cluster.until_revoked_everywhere(&pushed);
    cluster.are_revoked_now(&[&before, &pushed, &leaf.serial]);
    // With room again it follows, and takes over when it has to.
    cluster.writers[leader].limit_files(u64::MAX);
    let other = cluster.until_led_by_another(leader, SOON);
    cluster.until("the former leader has caught up", SOON, || {
        let [one, other] = [leader, other].map(|writer| cluster.writers[writer].epoch());
        (one == other).then_some(())
    });
    cluster.writers[other].kill();
    let after = revoked(&cluster);
    cluster.are_revoked_now(&[&before, &pushed, &leaf.serial, &after]);
}

#[test]
fn a_lone_leader_whose_disk_was_full_tells_everything_once_there_is_room() {
    let cluster = ClusterPlan::of(1, 1).start();
    let pushed = issued(&cluster);
    let leaf = cluster.ca.issue();
    cluster.until_said_everywhere(&leaf.serial, &Status::Good, SOON);
    cluster.writers[0].limit_files(16 << 10);
    let answer = cluster.push(0, "revoke", &pushed);
    assert!(answer.status == 503 && answer.text.contains("not-durable"), "{answer:?}");
    cluster.ca.revoke(&leaf, &["-crl_reason", "keyCompromise"]);
    thread::sleep(Duration::from_secs(3));
    cluster.writers[0].limit_files(u64::MAX);
    cluster.until_revoked_everywhere(&leaf.serial);
    cluster.revoke(&pushed);
    cluster.until_revoked_everywhere(&pushed);
    cluster.until_fresh(SOON);
}

#[test]
fn when_every_disk_with_a_revocation_is_lost_replicas_stay_with_it_and_say_so() {
    let mut cluster = ClusterPlan::of(2, 2).start();
    let serial = revoked(&cluster);
    for writer in &mut cluster.writers {
        writer.kill();
        fs::remove_file(writer.site().dir().join("state/book.redb")).unwrap();
        let _ = fs::remove_dir_all(writer.site().dir().join("state/snapshots"));
    }
    cluster.redis.cli(["FLUSHALL"]);
    cluster.writers.iter_mut().for_each(|writer| writer.start());
    cluster.until_led(SOON);
    // The writers read the index again, where it is good.
    let after = revoked(&cluster);
    cluster.are_revoked_now(&[&serial, &after]);
    for replica in &cluster.replicas {
        let what = "a replica tells of the contradiction";
        cluster.until(what, SOON, || (replica.feed_metric("ostia_feed_contradictions", "")? >= 1.0).then_some(()));
    }
    cluster.until_fresh(SOON);
    cluster.are_revoked_now(&[&serial, &after]);
}

/// What the CA writes is away, as when its disk or its mount is gone: everybody answers, pushes are taken, and replicas and
/// the writer start. Back, it counts again.
#[test]
fn with_the_source_of_record_gone_everybody_answers_and_pushes_are_taken_until_it_is_back() {
    let mut cluster = ClusterPlan::of(2, 2).start();
    let (before, good, pushed) = (revoked(&cluster), issued(&cluster), issued(&cluster));
    let leaf = cluster.ca.issue();
    cluster.until_said_everywhere(&leaf.serial, &Status::Good, SOON);
    let away = cluster.ca.file("index.away");
    fs::rename(cluster.ca.index(), &away).unwrap();
    let leader = cluster.until_led(SOON);
    until_told(&cluster, &cluster.writers[leader], "index.txt");
    cluster.revoke(&pushed);
    cluster.until_revoked_everywhere(&pushed);
    // Nobody needs it to start or to take over.
    cluster.replicas[0].kill();
    cluster.replicas[0].start();
    cluster.until_filled(0);
    cluster.writers[leader].kill();
    cluster.until_led_by_another(leader, SOON);
    cluster.writers[leader].start();
    let known = [(&*before, Status::Revoked), (&good, Status::Good), (&pushed, Status::Revoked)];
    for (serial, status) in known.iter().chain([&(&*leaf.serial, Status::Good)]) {
        cluster.until_said_everywhere(serial, status, SOON);
    }
    fs::rename(away, cluster.ca.index()).unwrap();
    cluster.ca.revoke(&leaf, &["-crl_reason", "keyCompromise"]);
    cluster.until_revoked_everywhere(&leaf.serial);
    cluster.are_revoked_now(&[&before, &pushed, &leaf.serial]);
    cluster.until_said_everywhere(&good, &Status::Good, SOON);
}
