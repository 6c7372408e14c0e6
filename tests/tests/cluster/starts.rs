//! Replicas that start while Redis is away.

use std::{fs, time::Duration};

use ostia_tests::{ClusterPlan, Status};

use crate::{DURABLE, SOON, issued, revoked, until_logged};

#[test]
fn started_without_redis_a_replica_answers_what_its_disk_has_and_an_empty_one_says_what_it_waits_for() {
    let mut cluster = ClusterPlan::of(1, 2).redis(DURABLE).replicas_with_key().start();
    // The snapshot is of the beginning; all of this comes behind it.
    let (before, good) = (revoked(&cluster), issued(&cluster));
    let after = revoked(&cluster);
    let keyless = cluster.add_replica_with(false);
    cluster.replicas[keyless].start();
    cluster.until_filled(keyless);
    cluster.until_said(keyless, &after, &Status::Revoked, SOON);
    [0, keyless].iter().for_each(|replica| cluster.replicas[*replica].kill());
    cluster.redis.kill();
    let empty = cluster.add_replica();
    [0, keyless, empty].iter().for_each(|replica| cluster.replicas[*replica].start());
    // Not before it is sure that Redis is away: it might know more.
    assert_eq!(cluster.says(0, &after), Some(Status::error("trylater")));
    let (status, text) = cluster.replicas[0].readiness_text("").unwrap();
    assert!(status == 503 && text.contains("Redis at 127.0.0.1"), "{status} {text}");
    cluster.until_filled(0);
    for serial in [&before, &after] {
        assert_eq!(cluster.says(0, serial), Some(Status::Revoked));
    }
    cluster.until_said(0, &good, &Status::Good, SOON);
    let (status, text) = cluster.replicas[0].readiness_text("").unwrap();
    assert!(status == 200 && text.contains("degraded: feed: Redis at 127.0.0.1"), "{status} {text}");
    assert_eq!(cluster.replicas[0].readiness("?fresh=1"), Some(503));
    until_logged(&cluster, "what was known here before is served from disk", || cluster.replicas[0].log());
    // Without a key it has the answers of the snapshot, and those after it are not kept: nothing is said, and nothing wrong.
    cluster.until_filled(keyless);
    for serial in [&before, &after, &good] {
        assert_eq!(cluster.says(keyless, serial), Some(Status::error("trylater")));
    }
    // The other one has nothing, and waits.
    let (status, text) = cluster.replicas[empty].readiness_text("").unwrap();
    assert!(status == 503 && text.contains("Redis at 127.0.0.1") && text.contains("is not connected"), "{text}");
    assert_eq!(cluster.says(empty, &before), Some(Status::error("trylater")));
    // What is revoked meanwhile, both have once Redis is back.
    let late = cluster.ca.issue().serial;
    cluster.redis.restart();
    cluster.until_filled(empty);
    cluster.until_said_everywhere(&late, &Status::Good, SOON);
    cluster.revoke(&late);
    cluster.until_revoked_everywhere(&late);
    cluster.are_revoked_now(&[&before, &after, &late]);
    cluster.until_fresh(SOON);
}

#[test]
fn started_without_redis_and_without_its_changes_or_with_damaged_ones_a_replica_answers_nothing() {
    let mut cluster = ClusterPlan::of(1, 1).redis(DURABLE).start();
    let (before, good) = (revoked(&cluster), issued(&cluster));
    let after = revoked(&cluster);
    for damage in ["cut", "flipped", "gone"] {
        cluster.replicas[0].kill();
        cluster.redis.kill();
        let changes = cluster.replicas[0].site().dir().join("state/snapshots/changes");
        let mut bytes = fs::read(&changes).unwrap_or_default();
        assert!(bytes.len() > 100, "{damage}: something is damaged");
        let middle = bytes.len() - 20;
        match damage {
            "cut" => fs::write(&changes, &bytes[..middle]).unwrap(),
            "flipped" => {
                bytes[middle] ^= 1;
                fs::write(&changes, &bytes).unwrap();
            }
            _ => fs::remove_file(&changes).unwrap(),
        }
        let log = cluster.replicas[0].log().len();
        cluster.replicas[0].start();
        until_logged(&cluster, "is not served while Redis is away", || cluster.replicas[0].log()[log..].to_owned());
        std::thread::sleep(Duration::from_secs(1));
        for serial in [&before, &after, &good] {
            assert_eq!(cluster.says(0, serial), Some(Status::error("trylater")), "{damage}");
        }
        assert_eq!(cluster.replicas[0].readiness(""), Some(503), "{damage}");
        cluster.redis.restart();
        cluster.until_filled(0);
        cluster.are_revoked_now(&[&before, &after]);
        // So that there is something to damage the next time.
        revoked(&cluster);
    }
}
