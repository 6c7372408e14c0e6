//! Configurations of replicas that change while they answer.

use std::fs;

use ostia_tests::{Client, Cluster, ClusterPlan, Member, Status};

use crate::{SOON, issued, revoked, until_logged};

/// Without `[feed]`.
pub(crate) fn without_feed(text: &str) -> String {
    let (before, rest) = text.split_once("[feed]\n").unwrap();
    let section = rest.split_inclusive('\n').take_while(|line| !line.starts_with('[')).map(str::len).sum::<usize>();
    format!("{before}{}", &rest[section..])
}

/// Clients that ask a replica about a certificate that is good, and nothing may happen to.
fn asking(cluster: &Cluster, replica: usize, good: &str) -> ostia_tests::Clients {
    Client::of(cluster, &[good]).ask(&[cluster.replicas[replica].site().http], 3)
}

#[track_caller]
fn is_taken(member: &Member, edit: impl FnOnce(String) -> String) {
    let outcome = member.reload(edit);
    assert!(outcome.contains("was read again"), "{outcome}\n{}", member.log());
}

#[test]
fn an_issuer_more_and_one_fewer_are_taken_by_replicas_before_and_after_the_writer_while_they_answer() {
    let cluster = ClusterPlan::of(1, 2).start();
    let good = issued(&cluster);
    let clients = [0, 1].map(|replica| asking(&cluster, replica, &good));
    let second = Cluster::another_issuer("Second");
    let (valid, gone) = (second.ca.issue(), second.ca.issue());
    second.ca.revoke(&gone, &[]);
    let says = |replica: usize, serial: &str| second.says(&cluster.replicas[replica], serial);
    let (later, unknown) = (Status::error("trylater"), Status::error("unauthorized"));
    // A replica has it before the writer.
    is_taken(&cluster.replicas[0], |text| text + &second.of_replica);
    for serial in [&valid.serial, &gone.serial] {
        assert_eq!([0, 1].map(|replica| says(replica, serial)), [later.clone(), unknown.clone()]);
    }
    // What it says from now on: nothing, or what is so.
    let until_both = |replica: usize| {
        for (leaf, status) in [(&valid, Status::Good), (&gone, Status::Revoked)] {
            cluster.until("it is known", SOON, || {
                let said = says(replica, &leaf.serial);
                assert!([&later, &status].contains(&&said), "{said:?}\n{}", cluster.logs());
                (said == status).then_some(())
            });
        }
    };
    is_taken(&cluster.writers[0], |text| text + &second.of_writer);
    until_both(0);
    until_logged(&cluster, "the writer has an issuer that is not configured here", || cluster.replicas[1].log());
    assert_eq!(says(1, &valid.serial), unknown);
    // And one after it.
    is_taken(&cluster.replicas[1], |text| text + &second.of_replica);
    until_both(1);
    second.ca.revoke(&valid, &[]);
    for replica in [0, 1] {
        cluster.until("it is revoked", SOON, || (says(replica, &valid.serial) == Status::Revoked).then_some(()));
    }
    // One fewer.
    is_taken(&cluster.replicas[0], |text| text.replace(&second.of_replica, ""));
    assert_eq!([0, 1].map(|replica| says(replica, &gone.serial)), [unknown, Status::Revoked]);
    clients.into_iter().for_each(|clients| clients.end_with_only(&[Status::Good]));
    let after = revoked(&cluster);
    cluster.are_revoked_now(&[&after]);
    cluster.until_fresh(SOON);
}

#[test]
fn a_file_that_a_replica_refuses_changes_nothing_and_is_told_of_until_a_good_one_is_read() {
    let cluster = ClusterPlan::of(1, 1).start();
    let (good, gone) = (issued(&cluster), revoked(&cluster));
    let replica = &cluster.replicas[0];
    let right = fs::read_to_string(replica.site().config()).unwrap();
    let clients = asking(&cluster, 0, &good);
    // A program that works alone, with sources and keys.
    let of_writer = fs::read_to_string(cluster.writers[0].site().config()).unwrap();
    let alone = without_feed(&of_writer).replace("token_file = \"api.token\"\n", "");
    let trusted = right.lines().find(|line| line.starts_with("trusted = ")).unwrap();
    for (text, told) in [
        (without_feed(&right), "tenant.issuer.index: is missing"),
        (alone, "`[feed]` was removed, which ends the replica once this service is started anew"),
        (right.replace(trusted, "trusted = \"nobody.pem\""), "nobody.pem"),
        (right.replace(trusted, "trusted = \"ostia.toml\""), "holds no public key"),
        (right.replace("snapshot_from = [", "snapshot_from = [\"ftp://a\", "), "snapshot_from"),
        (right.replace("cluster = \"tests\"", "cluster = \"te sts\""), "cluster"),
        (right.replace("[http]", "[http"), "ostia.toml"),
    ] {
        let outcome = replica.reload(|_| text.clone());
        assert!(outcome.contains(told) && outcome.contains("stays as it was"), "no `{told}` in: {outcome}");
        let (status, lines) = replica.readiness_text("").unwrap();
        assert!(status == 200 && lines.contains(told), "no `{told}` in: {status} {lines}");
        let after = revoked(&cluster);
        cluster.are_revoked_now(&[&gone, &after]);
    }
    is_taken(replica, |_| right.clone());
    cluster.until("nothing is wrong any more", SOON, || {
        (replica.readiness_text("?fresh=1")? == (200, "ready\n".to_owned())).then_some(())
    });
    clients.end_with_only(&[Status::Good]);
}

#[test]
fn what_a_replica_follows_changes_with_its_next_start_and_is_told_of_until_then() {
    let mut cluster = ClusterPlan::of(2, 1).start();
    let (good, gone) = (issued(&cluster), revoked(&cluster));
    let clients = asking(&cluster, 0, &good);
    let keys = cluster.trusted();
    let all = fs::read_to_string(&keys).unwrap();
    let replica = &cluster.replicas[0];
    let leader = cluster.until_led(SOON);
    let key = |writer: usize| {
        let end = "-----END PUBLIC KEY-----\n";
        all.split_inclusive(end).nth(writer).unwrap().to_owned()
    };
    // In place, as whoever exchanges a key does it.
    let other = key(1 - leader);
    fs::write(&keys, &other).unwrap();
    is_taken(replica, |text| text);
    until_logged(&cluster, "feed.trusted", || replica.log());
    // And by another name, with somebody else to fetch from.
    let beside = replica.site().dir().join("other.pem");
    fs::write(&beside, &all).unwrap();
    let from = format!("http://{}", cluster.writers[leader].site().admin);
    is_taken(replica, |text| {
        let lines = text.lines().map(|line| match line.split(' ').next() {
            Some("trusted") => format!("trusted = [{beside:?}]\n"),
            Some("snapshot_from") => format!("snapshot_from = [{from:?}]\n"),
            _ => format!("{line}\n"),
        });
        lines.collect()
    });
    for waits in ["feed.snapshot_from", "feed.trusted", "it takes effect at the next start"] {
        until_logged(&cluster, waits, || replica.log());
    }
    // It goes on with what it has.
    let after = revoked(&cluster);
    cluster.are_revoked_now(&[&gone, &after]);
    clients.end_with_only(&[Status::Good]);
    // With its next start nobody is trusted that writes: nothing is told, and why.
    fs::write(&beside, &other).unwrap();
    cluster.replicas[0].end_by("TERM");
    fs::remove_dir_all(cluster.replicas[0].site().dir().join("state/snapshots")).unwrap();
    cluster.replicas[0].start();
    cluster.until("it says why nothing is there", SOON, || {
        let (status, lines) = cluster.replicas[0].readiness_text("")?;
        (status == 503 && lines.contains("which `feed.trusted` does not list")).then_some(())
    });
    assert_eq!(cluster.says(0, &gone), Some(Status::error("trylater")));
    // Nor does a replica take from its disk what it trusts no longer; with the right keys it goes on.
    fs::write(&beside, &all).unwrap();
    cluster.replicas[0].end_by("TERM");
    let snapshots = format!("http://{}", cluster.writers[leader].snapshots().unwrap());
    cluster.replicas[0].site().edit_config(|text| text.replace(&from, &snapshots));
    cluster.replicas[0].start();
    cluster.until_filled(0);
    cluster.are_revoked_now(&[&gone, &after]);
}
