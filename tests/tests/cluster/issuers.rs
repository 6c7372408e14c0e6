//! Writers and replicas that do not have the same issuers.
//!
//! Invariant: an issuer that one side lacks costs the others nothing, its certificates are never called good without a word
//! of the writer, and whoever looks at either side is told which issuer is missing where.

use ostia_tests::{AnotherIssuer, Cluster, ClusterPlan, Status};

use crate::{SOON, issued, revoked, until_logged, until_told};

/// As openly as it can be said: whatever is unlisted is good.
const UNLISTED_IS_GOOD: &str = "unlisted = \"good\"\naccept_unlisted_as_good = true";

/// A second issuer, of which whatever is unlisted is good.
fn second() -> AnotherIssuer {
    let mut second = Cluster::another_issuer("second");
    for text in [&mut second.of_writer, &mut second.of_replica] {
        *text = text.replacen("name = \"second\"\n", &format!("name = \"second\"\n{UNLISTED_IS_GOOD}\n"), 1);
        assert!(text.contains(UNLISTED_IS_GOOD));
    }
    second
}

/// The configuration without it.
fn without_second(config: &str) -> String {
    let begin = config.rfind("[[tenant.issuer]]\nname = \"second\"").expect("it is there");
    config[..begin].to_owned()
}

/// What a replica says of a certificate of the second issuer.
fn says(cluster: &Cluster, second: &AnotherIssuer, replica: usize, serial: &str) -> Status {
    second.says(&cluster.replicas[replica], serial)
}

#[track_caller]
fn until_said(cluster: &Cluster, second: &AnotherIssuer, replica: usize, serial: &str, status: &Status) {
    let what = format!("replica {replica} says {status:?} of {serial} of the second issuer");
    cluster.until(&what, SOON, || (says(cluster, second, replica, serial) == *status).then_some(()));
}

/// Starts whoever does not run, writers first, and waits until the first writer leads.
#[track_caller]
fn start(cluster: &mut Cluster) {
    cluster.writers[0].start();
    cluster.until("the first one leads", SOON, || (cluster.leader() == Some(0)).then_some(()));
    (1..cluster.writers.len()).for_each(|number| cluster.writers[number].start());
    (0..cluster.replicas.len()).for_each(|number| cluster.replicas[number].start());
    (0..cluster.replicas.len()).for_each(|number| cluster.until_filled(number));
}

#[test]
fn an_issuer_that_only_the_writer_has_is_answered_by_nobody_who_lacks_it_and_is_named_there() {
    let second = second();
    let leaf = second.ca.issue();
    let mut cluster = ClusterPlan::of(2, 2).set_up();
    cluster.writers[0].site().edit_config(|text| text + &second.of_writer);
    cluster.replicas[1].site().edit_config(|text| text + &second.of_replica);
    start(&mut cluster);
    until_said(&cluster, &second, 1, &leaf.serial, &Status::Good);
    cluster.until_fresh(SOON);
    assert_eq!(says(&cluster, &second, 0, &leaf.serial), Status::error("unauthorized"));
    let gone = revoked(&cluster);
    until_logged(&cluster, "the writer has an issuer that is not configured here, CA ", || cluster.replicas[0].log());
    let told = until_told(&cluster, &cluster.replicas[0], "the writer has 1 issuers that are not configured here (CA ");
    assert!(told.contains("of tenant `tests`)") && !told.contains("degraded"), "it may be meant: {told}");
    let checked = cluster.replicas[0].site().check();
    assert!(checked.text.contains("the writer has issuers that are not configured here: CA "), "{checked:?}");
    // A writer that stands by without it would fall silent about it.
    let standby = "degraded: feed: another writer has told of 1 issuers that are not configured here (CA ";
    until_told(&cluster, &cluster.writers[1], standby);
    until_logged(&cluster, "nobody would be told of it any more", || cluster.writers[1].log());
    assert!(cluster.writers[1].site().check().text.contains("issuer: the writer has issuers that are not configured"));
    // Once it is configured it has all that was told of it before.
    second.ca.revoke(&leaf, &["-crl_reason", "keyCompromise"]);
    until_said(&cluster, &second, 1, &leaf.serial, &Status::Revoked);
    cluster.replicas[0].process().reload(|text| text + &second.of_replica);
    until_said(&cluster, &second, 0, &leaf.serial, &Status::Revoked);
    cluster.until_fresh(SOON);
    let (_, told) = cluster.replicas[0].readiness_text("").unwrap();
    assert!(!told.contains("not configured here"), "{told}");
    cluster.are_revoked_now(&[&gone]);
}

#[test]
fn an_issuer_that_the_writer_lacks_gets_try_later_and_the_other_one_does_not_notice() {
    let second = second();
    let leaf = second.ca.issue();
    let mut cluster = ClusterPlan::of(1, 1).set_up();
    cluster.replicas[0].site().edit_config(|text| text + &second.of_replica);
    start(&mut cluster);
    let (gone, good) = (revoked(&cluster), issued(&cluster));
    let told = until_told(&cluster, &cluster.replicas[0], "degraded: tests/second: the writer has told nothing of");
    assert!(told.contains("it has to be in the writer's configuration"), "{told}");
    until_logged(&cluster, "the writer has told nothing of these issuers", || cluster.replicas[0].log());
    assert!(cluster.replicas[0].log().contains("tests/second"), "{}", cluster.logs());
    assert_eq!(says(&cluster, &second, 0, &leaf.serial), Status::error("trylater"));
    cluster.until_said(0, &good, &Status::Good, SOON);
    cluster.until("check names it", SOON, || {
        let checked = cluster.replicas[0].site().check().text;
        checked.contains("issuer: the writer at work tells nothing of tests/second, ").then_some(())
    });
    cluster.writers[0].restart_with(|text| text + &second.of_writer);
    until_said(&cluster, &second, 0, &leaf.serial, &Status::Good);
    cluster.until_fresh(SOON);
    // Its records come first, and that it is known with the last of them.
    cluster.until("nothing more is said of it", SOON, || {
        (!cluster.replicas[0].readiness_text("")?.1.contains("second")).then_some(())
    });
    cluster.are_revoked_now(&[&gone]);
}

/// A replica that compared everything with a snapshot of a writer that had lost the issuer took its holds for unlisted, and
/// where unlisted means good they were good.
#[test]
fn an_issuer_that_the_writer_loses_stays_as_it_was_and_goes_on_when_it_is_back() {
    let second = second();
    let [held, lost, later] = [(); 3].map(|()| second.ca.issue());
    second.ca.revoke(&held, &["-crl_reason", "certificateHold"]);
    second.ca.revoke(&lost, &["-crl_reason", "keyCompromise"]);
    // Another snapshot comes soon after the stream was trimmed behind the first one.
    let mut cluster = ClusterPlan::of(1, 1).set_of_writers("snapshot_interval = \"10s\"").set_up();
    cluster.writers[0].site().edit_config(|text| text + &second.of_writer);
    cluster.replicas[0].site().edit_config(|text| text + &second.of_replica);
    start(&mut cluster);
    until_said(&cluster, &second, 0, &held.serial, &Status::Revoked);
    let stays = |cluster: &Cluster| {
        for (leaf, status) in [(&held, Status::Revoked), (&lost, Status::Revoked), (&later, Status::Good)] {
            assert_eq!(says(cluster, &second, 0, &leaf.serial), status, "{}\n{}", leaf.serial, cluster.logs());
        }
    };
    let reconciled = |cluster: &Cluster| cluster.replicas[0].feed_metric("ostia_feed_reconciliations_total", "");
    let before = reconciled(&cluster).unwrap();
    // While it sleeps there is a snapshot without the issuer, and the stream before that is trimmed.
    cluster.replicas[0].pause();
    let head = cluster.redis.cli(["GET", Cluster::HEAD]);
    cluster.writers[0].restart_with(|text| without_second(&text));
    cluster.until("there is a later snapshot", 2 * SOON, || {
        (cluster.redis.cli(["GET", Cluster::HEAD]) != head).then_some(())
    });
    cluster.redis.cli(["XTRIM", Cluster::STREAM, "MAXLEN", "1"]);
    cluster.replicas[0].go_on();
    cluster.until("everything was compared", SOON, || (reconciled(&cluster)? > before).then_some(()));
    stays(&cluster);
    let gone = revoked(&cluster);
    let told = until_told(&cluster, &cluster.replicas[0], "tests/second: the writer no longer speaks of this issuer");
    assert!(told.contains("see whether it is still in the configuration of the writer that leads"), "{told}");
    until_logged(&cluster, "the writer no longer speaks of these issuers", || cluster.replicas[0].log());
    stays(&cluster);
    // Whoever comes now knows nothing of it, and does not guess.
    let newcomer = cluster.add_replica();
    cluster.replicas[newcomer].site().edit_config(|text| text + &second.of_replica);
    cluster.replicas[newcomer].start();
    cluster.until_filled(newcomer);
    assert_eq!(says(&cluster, &second, newcomer, &held.serial), Status::error("trylater"));
    second.ca.revoke(&later, &["-crl_reason", "keyCompromise"]);
    cluster.writers[0].restart_with(|text| text + &second.of_writer);
    for replica in [0, newcomer] {
        for leaf in [&held, &lost, &later] {
            until_said(&cluster, &second, replica, &leaf.serial, &Status::Revoked);
        }
    }
    cluster.until_fresh(SOON);
    cluster.are_revoked_now(&[&gone]);
    cluster.until("nothing more is said of it", SOON, || {
        (!cluster.replicas[0].readiness_text("")?.1.contains("second")).then_some(())
    });
}
