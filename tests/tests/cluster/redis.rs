//! Redis that is away, empty, or older than it was.

use std::{fs, time::Duration};

use ostia_tests::{Cluster, ClusterPlan, Status};

use crate::{DURABLE, SOON, issued, revoked, until_logged, until_told};

#[test]
fn while_redis_is_away_everything_known_is_answered_and_what_was_revoked_meanwhile_comes_afterwards() {
    let mut cluster = ClusterPlan::of(2, 2).redis(DURABLE).start();
    let gone = revoked(&cluster);
    let (good, late) = (issued(&cluster), issued(&cluster));
    cluster.redis.kill();
    // Known to the book of the writer, and to nobody else yet.
    let pushed = cluster.push(cluster.leader().unwrap_or(0), "revoke", &late);
    assert!(pushed.status == 503 && pushed.text.contains("not-told"), "{pushed:?}");
    cluster.until("a replica notices", SOON, || (cluster.replicas[0].readiness("?fresh=1")? == 503).then_some(()));
    for replica in cluster.answering() {
        let text = until_told(&cluster, &cluster.replicas[replica], "degraded: feed");
        assert_eq!(cluster.replicas[replica].readiness(""), Some(200), "{text}");
        assert_eq!(cluster.says(replica, &good), Some(Status::Good));
    }
    cluster.are_revoked_now(&[&gone]);
    cluster.redis.restart();
    cluster.until_revoked_everywhere(&late);
    cluster.until_fresh(SOON);
    let after = revoked(&cluster);
    cluster.are_revoked_now(&[&gone, &late, &after]);
}

#[test]
fn an_emptied_redis_is_filled_again_and_readers_go_on() {
    let cluster = ClusterPlan::of(2, 2).start();
    let before = revoked(&cluster);
    let epoch = cluster.writers[cluster.until_led(SOON)].epoch();
    cluster.redis.cli(["FLUSHALL"]);
    let after = revoked(&cluster);
    assert!(cluster.writers[cluster.until_led(SOON)].epoch() > epoch);
    cluster.are_revoked_now(&[&before, &after]);
    cluster.until("there is a fresh snapshot", SOON, || {
        (!cluster.redis.cli(["GET", Cluster::HEAD]).is_empty()).then_some(())
    });
    cluster.until_fresh(SOON);
    for replica in &cluster.replicas {
        assert_eq!(replica.feed_metric("ostia_feed_contradictions", ""), Some(0.0));
    }
}

#[test]
fn an_old_backup_of_redis_takes_no_revocation_back() {
    let mut cluster = ClusterPlan::of(2, 2).start();
    let before = revoked(&cluster);
    cluster.redis.cli(["SAVE"]);
    let dump = fs::read(cluster.redis.dir().join("dump.rdb")).unwrap();
    let after = revoked(&cluster);
    let epoch = cluster.writers[cluster.until_led(SOON)].epoch();
    cluster.redis.kill();
    fs::write(cluster.redis.dir().join("dump.rdb"), dump).unwrap();
    cluster.redis.restart();
    cluster.until("a new epoch is above all that is in the backup", SOON, || {
        (cluster.writers[cluster.leader()?].epoch() > epoch).then_some(())
    });
    let later = revoked(&cluster);
    cluster.are_revoked_now(&[&before, &after, &later]);
    // Whoever comes now reads the same.
    let newcomer = cluster.add_replica();
    cluster.replicas[newcomer].start();
    cluster.until_filled(newcomer);
    cluster.are_revoked_now(&[&before, &after, &later]);
    cluster.until_fresh(SOON);
}

#[test]
fn a_redis_that_may_evict_is_warned_of() {
    let cluster = ClusterPlan::of(1, 0).redis("maxmemory 64mb\nmaxmemory-policy allkeys-lru\n").start();
    until_logged(&cluster, "allkeys-lru", || cluster.writers[0].log());
    assert_eq!(cluster.writers[0].readiness(""), Some(200));
}

#[test]
fn a_full_redis_acknowledges_nothing_and_is_caught_up_with() {
    let cluster = ClusterPlan::of(1, 1).start();
    let (gone, late) = (revoked(&cluster), issued(&cluster));
    cluster.redis.cli(["CONFIG", "SET", "maxmemory", "1"]);
    let pushed = cluster.push(0, "revoke", &late);
    assert!(pushed.status == 503, "{pushed:?}");
    cluster.are_revoked_now(&[&gone]);
    // Whoever tries to lead is refused each time, and each question in between is answered.
    for _ in 0..50 {
        std::thread::sleep(Duration::from_millis(100));
        let (_, text) = cluster.writers[0].readiness_text("").unwrap();
        assert!(text.contains("has no room"), "{text} {}", cluster.writers[0].log());
    }
    cluster.redis.cli(["CONFIG", "SET", "maxmemory", "0"]);
    cluster.until_revoked_everywhere(&late);
    cluster.are_revoked_now(&[&gone]);
    until_logged(&cluster, "Redis takes and gives entries again", || cluster.writers[0].log());
    let told = cluster.writers[0].log().matches("has no room").count();
    assert_eq!(told, 1, "the log is not filled: {}", cluster.writers[0].log());
}

/// The stream had filled the memory of Redis. Only who leads trims it, and nobody could lead who could not write: no
/// revocation came through until somebody gave Redis more memory.
#[test]
fn a_redis_that_is_full_of_the_stream_itself_is_made_room_in() {
    let mut cluster = ClusterPlan::of(1, 1).start();
    let gone = revoked(&cluster);
    // What the newest snapshot has, and the stream keeps for who still reads the one before.
    for number in 0..400 {
        let pushed = cluster.push(0, "add", &format!("7E{number:06X}"));
        assert!(pushed.status == 200, "{pushed:?}");
    }
    let head = cluster.redis.cli(["--no-raw", "GET", "ostia:tests:head"]);
    cluster.writers[0].restart_with(|text| text);
    cluster.until_led(SOON);
    cluster.until("there is another snapshot", SOON, || {
        (cluster.redis.cli(["--no-raw", "GET", "ostia:tests:head"]) != head).then_some(())
    });
    cluster.until_fresh(SOON);
    let length = || cluster.redis.cli(["XLEN", "ostia:tests:feed"]).parse::<u64>().unwrap();
    let before = length();
    assert!(before > 400, "{before}");
    let mut late = String::new();
    cluster.until("room was made", SOON, || {
        if length() < before - 300 {
            return Some(());
        }
        cluster.redis.leave_no_memory();
        late = revoked(&cluster);
        None
    });
    cluster.are_revoked_now(&[&gone, &late]);
    cluster.until_fresh(SOON);
    let log = cluster.writers[0].log();
    assert!(!log.contains("this writer leads no more"), "it went on leading: {log}");
}
