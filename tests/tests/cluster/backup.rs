//! Writers whose disk is lost, and whose book comes back from a backup that is older than the feed.

use std::fs;

use ostia_tests::{Cluster, ClusterPlan, Ended, Member, Status, free_port};

use crate::{SOON, issued, revoked};

#[track_caller]
fn done(ended: &Ended, words: &str) {
    assert!(ended.status.success() && ended.text.contains(words), "{words}: {ended:?}");
}

#[track_caller]
fn back_up(member: &Member) -> String {
    let to = member.site().dir().join("backup").to_str().unwrap().to_owned();
    done(&member.site().precompute("snapshot", &["--to", &to]), "of the cluster `tests`");
    to
}

/// As by a fire, and somebody has a backup.
#[track_caller]
fn lose_disk_and_restore(member: &mut Member, backup: &str) {
    member.kill();
    fs::remove_dir_all(member.site().dir().join("state")).unwrap();
    done(
        &member.site().precompute("restore", &["--from", backup]),
        "takes from the feed what it has of the time since",
    );
}

/// What a writer's book says, which it is asked for.
#[track_caller]
fn until_known(cluster: &Cluster, writer: usize, serial: &str, wanted: &str) {
    cluster.until(&format!("the writer knows that {serial} is {wanted}"), SOON, || {
        let told = cluster.writers[writer].site().precompute("status", &[serial]);
        told.text.contains(wanted).then_some(())
    });
}

/// What a backup meets in a feed that has gone on.
struct Since {
    before: String,
    released: String,
    revoked: String,
    held: String,
    backup: String,
}

fn hold(cluster: &Cluster, serial: &str) {
    let answer = cluster.push_body(0, "revoke", &format!("{{\"serial\":\"{serial}\",\"reason\":\"certificateHold\"}}"));
    assert_eq!(answer.status, 200, "{answer:?}");
    cluster.until_revoked_everywhere(serial);
}

/// The index calls all of them good: only pushes say more.
fn go_on_after_a_backup(cluster: &Cluster) -> Since {
    let before = revoked(cluster);
    let [released, later, held] = [(); 3].map(|()| issued(cluster));
    hold(cluster, &released);
    let backup = back_up(&cluster.writers[0]);
    assert_eq!(cluster.push(0, "release", &released).status, 200);
    cluster.until_said_everywhere(&released, &Status::Good, SOON);
    cluster.revoke(&later);
    hold(cluster, &held);
    cluster.until_revoked_everywhere(&later);
    Since { before, released, revoked: later, held, backup }
}

/// What was revoked before and after is known to the writer and all others, and so is what was released: the feed has the
/// newer word.
fn is_all_there(cluster: &mut Cluster, since: &Since) {
    let Since { before, released, revoked: later, held, .. } = since;
    for (serial, wanted) in
        [(before, "superseded"), (later, "superseded"), (held, "certificateHold"), (released, "good")]
    {
        until_known(cluster, 0, serial, wanted);
    }
    let after = revoked(cluster);
    cluster.until_said_everywhere(released, &Status::Good, SOON);
    let new = cluster.add_replica();
    cluster.replicas[new].start();
    cluster.until_filled(new);
    cluster.are_revoked_now(&[before, later, held, &after]);
    assert_eq!(cluster.says(new, released), Some(Status::Good));
}

#[test]
fn a_writer_restored_from_an_old_backup_reads_the_rest_in_the_feed_and_takes_nothing_back() {
    let mut cluster = ClusterPlan::of(1, 2).start();
    let since = go_on_after_a_backup(&cluster);
    lose_disk_and_restore(&mut cluster.writers[0], &since.backup);
    cluster.writers[0].start();
    // It is filled by nobody, so it waits ten times as long as others would.
    cluster.until_led(4 * SOON);
    is_all_there(&mut cluster, &since);
}

/// The stream begins behind the backup, and the writer's own snapshots are lost with its disk.
#[test]
fn a_writer_restored_from_an_old_backup_takes_the_rest_from_the_snapshot_of_a_replica() {
    let mut cluster = ClusterPlan::of(1, 1).set_of_writers("snapshot_interval = \"10s\"").start();
    let peer = free_port(cluster.replicas[0].site().http.ip());
    cluster.replicas[0].restart_with(|text| {
        text.replacen("snapshot_from = ", &format!("snapshot_listen = \"{peer}\"\nsnapshot_from = "), 1)
    });
    cluster.writers[0]
        .restart_with(|text| text.replacen("snapshot_from = []", &format!("snapshot_from = [\"http://{peer}\"]"), 1));
    cluster.until_led(SOON);
    cluster.until_filled(0);
    let since = go_on_after_a_backup(&cluster);
    let head = || cluster.redis.cli(["GET", Cluster::HEAD]);
    for _ in 0..2 {
        let before = head();
        cluster.until("there is a later snapshot", 2 * SOON, || (head() != before).then_some(()));
    }
    let position = cluster.until("the replica has it", SOON, || {
        let log = cluster.replicas[0].log();
        let made = cluster.writers[0].log();
        let last = made.lines().rfind(|line| line.contains("a snapshot was made"))?;
        let position = last.split_once("\"position\":\"")?.1.split_once('"')?.0;
        let has_it = |line: &str| line.contains("a snapshot is whole") && line.contains(position);
        log.lines().any(has_it).then(|| position.to_owned())
    });
    // What came since the snapshot stays: without that it could not be followed from there.
    cluster.redis.cli(["XTRIM", Cluster::STREAM, "MINID", &position]);
    lose_disk_and_restore(&mut cluster.writers[0], &since.backup);
    cluster.writers[0].start();
    cluster.until_led(SOON);
    is_all_there(&mut cluster, &since);
}

#[test]
fn with_the_feed_lost_as_well_a_backup_is_told_anew_and_replicas_take_nothing_back() {
    let mut cluster = ClusterPlan::of(1, 1).start();
    // The index calls both good: only pushes have revoked them.
    let before = revoked(&cluster);
    let held = issued(&cluster);
    hold(&cluster, &held);
    let backup = back_up(&cluster.writers[0]);
    let later = revoked(&cluster);
    lose_disk_and_restore(&mut cluster.writers[0], &backup);
    cluster.redis.cli(["FLUSHALL"]);
    cluster.writers[0].start();
    cluster.until_led(SOON);
    until_known(&cluster, 0, &before, "superseded");
    until_known(&cluster, 0, &held, "certificateHold");
    let after = revoked(&cluster);
    cluster.are_revoked_now(&[&before, &held, &later, &after]);
    // Who comes now knows what the backup had. What nobody but a replica has is lost to it: the page says so.
    let new = cluster.add_replica();
    cluster.replicas[new].start();
    cluster.until_filled(new);
    for (serial, wanted) in [(&before, Status::Revoked), (&held, Status::Revoked), (&later, Status::Good)] {
        assert_eq!(cluster.says(new, serial), Some(wanted), "{serial}");
    }
    // Until somebody pushes it again.
    cluster.revoke(&later);
    cluster.until_revoked_everywhere(&later);
}

#[test]
fn a_standby_gives_a_backup_as_well_and_takes_one_of_another_cluster_from_nobody() {
    let mut cluster = ClusterPlan::of(2, 0).start();
    let leader = cluster.until_led(SOON);
    let (standby, serial) = (1 - leader, cluster.ca.issue().serial);
    cluster.until("the index is read", SOON, || (cluster.push(leader, "revoke", &serial).status == 200).then_some(()));
    until_known(&cluster, standby, &serial, "superseded");
    let backup = back_up(&cluster.writers[standby]);
    cluster.writers[standby].kill();
    let restore = |cluster: &Cluster| cluster.writers[standby].site().precompute("restore", &["--from", &backup]);
    done(&restore(&cluster), "the book has all of it, and stays as it is");
    cluster.writers[standby].site().edit_config(|text| text.replace("cluster = \"tests\"", "cluster = \"others\""));
    let refused = restore(&cluster);
    let told = "is of the cluster `tests`, and ";
    assert!(refused.status.code() == Some(1) && refused.text.contains(told), "{refused:?}");
    assert!(refused.text.contains("is of `others` (`feed.cluster`)"), "{refused:?}");
}
