//! Writers whose configuration changes: with a feed and without, issuers that come and go, and a directory of snapshots
//! that cannot be written.

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use ostia_tests::{AnotherIssuer, Cluster, ClusterPlan, Status};

use crate::{SOON, issued, reloads::without_feed, revoked, until_logged, until_told};

/// Pushes to the first writer, which takes it.
#[track_caller]
fn push(cluster: &Cluster, verb: &str, body: &str) {
    let pushed = cluster.push_body(0, verb, body);
    assert_eq!(pushed.status, 200, "{pushed:?}\n{}", cluster.logs());
}

fn revocation(serial: &str, reason: &str) -> String {
    format!("{{\"serial\":\"{serial}\",\"reason\":\"{reason}\"}}")
}

/// Waits until every replica says so of each of these.
#[track_caller]
fn until_all_say(cluster: &Cluster, said: &[(&str, Status)]) {
    for (serial, status) in said {
        cluster.until_said_everywhere(serial, status, SOON);
    }
}

#[test]
fn the_book_of_a_writer_that_worked_alone_reaches_replicas_whole() {
    let mut cluster = ClusterPlan::of(1, 2).set_up();
    let with_feed = fs::read_to_string(cluster.writers[0].site().config()).unwrap();
    cluster.writers[0].site().edit_config(|text| without_feed(&text));
    let leaves: Vec<_> = (0..4).map(|_| cluster.ca.issue()).collect();
    cluster.ca.revoke(&leaves[0], &["-crl_reason", "keyCompromise"]);
    cluster.writers[0].start();
    push(&cluster, "revoke", &revocation(&leaves[1].serial, "superseded"));
    push(&cluster, "revoke", &revocation(&leaves[2].serial, "certificateHold"));
    push(&cluster, "add", "{\"serial\":\"77\"}");
    // With a reload it is no writer yet, and says so; what it does goes on.
    let outcome = cluster.writers[0].reload(|_| with_feed.clone());
    assert!(outcome.contains("was read again"), "{outcome}");
    for waits in ["feed.cluster", "feed.redis", "feed.key", "it takes effect at the next start"] {
        until_logged(&cluster, waits, || cluster.writers[0].log());
    }
    assert_eq!(cluster.writers[0].feed_metric("ostia_feed_role", "leading"), None);
    push(&cluster, "add", "{\"serial\":\"78\"}");
    cluster.writers[0].kill();
    cluster.writers[0].start();
    cluster.until_led(SOON);
    for replica in [0, 1] {
        cluster.replicas[replica].start();
        cluster.until_filled(replica);
    }
    let book = [
        (&*leaves[0].serial, Status::Revoked),
        (&leaves[1].serial, Status::Revoked),
        (&leaves[2].serial, Status::Revoked),
        (&leaves[3].serial, Status::Good),
        ("77", Status::Good),
        ("78", Status::Good),
        ("79", Status::error("unauthorized")),
    ];
    until_all_say(&cluster, &book);
    let after = revoked(&cluster);
    cluster.are_revoked_now(&[&after]);
    cluster.until_fresh(SOON);
}

/// What a writer is told and reads while `[feed]` is not in its configuration.
struct Alone {
    revoked: Vec<String>,
    listed: String,
    held: String,
    released: String,
}

impl Alone {
    /// `[feed]` is taken from the writer's configuration, and comes back once much has happened; `meanwhile` happens then
    /// to Redis.
    fn works(cluster: &mut Cluster, meanwhile: impl FnOnce(&Cluster)) -> Self {
        let before = revoked(cluster);
        let [pushed, held, released, listed] = [(); 4].map(|()| issued(cluster));
        push(cluster, "revoke", &revocation(&released, "certificateHold"));
        cluster.until_revoked_everywhere(&released);
        let leaf = cluster.ca.issue();
        cluster.until_said_everywhere(&leaf.serial, &Status::Good, SOON);
        let with_feed = fs::read_to_string(cluster.writers[0].site().config()).unwrap();
        // A reload leaves it a writer, and says that this ends.
        let outcome = cluster.writers[0].reload(|text| without_feed(&text));
        assert!(outcome.contains("was read again"), "{outcome}");
        until_logged(cluster, "feed.cluster", || cluster.writers[0].log());
        let last = revoked(cluster);
        cluster.writers[0].end_by("TERM");
        cluster.writers[0].start();
        assert_eq!(cluster.writers[0].feed_metric("ostia_feed_role", "leading"), None);
        push(cluster, "revoke", &revocation(&pushed, "superseded"));
        push(cluster, "revoke", &revocation(&held, "certificateHold"));
        push(cluster, "release", &format!("{{\"serial\":\"{released}\"}}"));
        push(cluster, "add", "{\"serial\":\"77\"}");
        cluster.ca.revoke(&leaf, &["-crl_reason", "keyCompromise"]);
        cluster.until("replicas notice", SOON, || (cluster.replicas[0].readiness("?fresh=1")? == 503).then_some(()));
        // They answer with what they know.
        let known = [(&*before, Status::Revoked), (&last, Status::Revoked), (&listed, Status::Good)];
        until_all_say(cluster, &known);
        cluster.writers[0].end_by("TERM");
        meanwhile(cluster);
        cluster.writers[0].site().edit_config(|_| with_feed);
        cluster.writers[0].start();
        cluster.until_led(SOON);
        Self { revoked: vec![before, last, pushed, leaf.serial], listed, held, released }
    }

    /// What is revoked for good is told everywhere; the rest is `held` or not, listed or not.
    fn reaches_replicas(&self, cluster: &Cluster, [held, released, added]: [Status; 3]) {
        self.revoked.iter().for_each(|serial| cluster.until_revoked_everywhere(serial));
        let rest = [(&*self.listed, Status::Good), (&self.held, held), (&self.released, released), ("77", added)];
        until_all_say(cluster, &rest);
        cluster.until_fresh(SOON);
    }
}

#[test]
fn what_a_writer_took_without_its_feed_reaches_replicas_whole_if_the_feed_begins_anew() {
    let mut cluster = ClusterPlan::of(1, 2).start();
    let alone = Alone::works(&mut cluster, |cluster| _ = cluster.redis.cli(["FLUSHALL"]));
    alone.reaches_replicas(&cluster, [Status::Revoked, Status::Good, Status::Good]);
}

#[test]
fn of_what_a_writer_took_without_its_feed_revocations_are_told_and_pushes_that_the_feed_undoes_are_named() {
    let mut cluster = ClusterPlan::of(1, 2).start();
    let alone = Alone::works(&mut cluster, |_| ());
    alone.reaches_replicas(&cluster, [Status::Good, Status::Revoked, Status::error("unauthorized")]);
    until_logged(&cluster, "pushes to this server are undone", || cluster.writers[0].log());
    // They are pushed again.
    push(&cluster, "revoke", &revocation(&alone.held, "certificateHold"));
    push(&cluster, "release", &format!("{{\"serial\":\"{}\"}}", alone.released));
    push(&cluster, "add", "{\"serial\":\"77\"}");
    alone.reaches_replicas(&cluster, [Status::Revoked, Status::Good, Status::Good]);
}

/// An issuer that calls whatever is not listed good, with one certificate of each status; everybody has it.
struct Second {
    issuer: AnotherIssuer,
    valid: String,
    gone: String,
    held: String,
    later: ostia_tests::Leaf,
}

/// What nobody has listed.
const INVENTED: &str = "7777";
const CALLED_GOOD: &str = "unlisted = \"good\"\naccept_unlisted_as_good = true\n[tenant.issuer.signer]";

impl Second {
    fn of_writer(&self) -> String {
        self.issuer.of_writer.replace("[tenant.issuer.signer]", CALLED_GOOD)
    }

    fn of_replica(&self) -> String {
        self.issuer.of_signing_replica.replace("[tenant.issuer.signer]", CALLED_GOOD)
    }

    fn add(cluster: &Cluster) -> Self {
        let issuer = Cluster::another_issuer("Second");
        let [valid, gone, held, later] = [(); 4].map(|()| issuer.ca.issue());
        issuer.ca.revoke(&gone, &["-crl_reason", "keyCompromise"]);
        issuer.ca.revoke(&held, &["-crl_reason", "certificateHold"]);
        let second = Self { issuer, valid: valid.serial, gone: gone.serial, held: held.serial, later };
        for replica in &cluster.replicas {
            replica.reload(|text| text + &second.of_replica());
        }
        cluster.writers[0].reload(|text| text + &second.of_writer());
        for replica in 0..cluster.replicas.len() {
            second.until_known(cluster, replica, &Status::Good);
        }
        second
    }

    fn says(&self, cluster: &Cluster, replica: usize, serial: &str) -> Status {
        self.issuer.says(&cluster.replicas[replica], serial)
    }

    /// What is revoked or on hold is called that, or nothing is said of it.
    #[track_caller]
    fn is_not_called_good(&self, cluster: &Cluster, replica: usize) {
        for serial in [&self.gone, &self.held] {
            let said = self.says(cluster, replica, serial);
            let right = [Status::Revoked, Status::error("trylater")].contains(&said);
            assert!(right, "replica {replica} says {said:?} of {serial}\n{}", cluster.logs());
        }
    }

    /// Waits until a replica knows all of it, and this of the last; also that nothing is missing of what is not listed.
    #[track_caller]
    fn until_known(&self, cluster: &Cluster, replica: usize, later: &Status) {
        let [valid, gone, held] = [&self.valid, &self.gone, &self.held].map(String::as_str);
        let known = [
            (valid, &Status::Good),
            (gone, &Status::Revoked),
            (held, &Status::Revoked),
            (&self.later.serial, later),
            (INVENTED, &Status::Good),
        ];
        cluster.until(&format!("replica {replica} knows the second issuer"), SOON, || {
            self.is_not_called_good(cluster, replica);
            known.iter().all(|(serial, status)| self.says(cluster, replica, serial) == **status).then_some(())
        });
    }
}

/// Waits for another snapshot than the present one.
#[track_caller]
fn until_another_snapshot(cluster: &Cluster) {
    let head = cluster.redis.cli(["GET", Cluster::HEAD]);
    cluster.until("there is a later snapshot", 2 * SOON, || {
        (cluster.redis.cli(["GET", Cluster::HEAD]) != head).then_some(())
    });
}

#[test]
fn an_issuer_that_the_writer_gives_up_and_has_again_is_never_called_good_by_replicas_wrongly() {
    let mut cluster = ClusterPlan::of(1, 3).set_of_writers("snapshot_interval = \"10s\"").start();
    let before = revoked(&cluster);
    let second = Second::add(&cluster);
    cluster.writers[0].reload(|text| text.replace(&second.of_writer(), ""));
    // It is revoked where nobody reads it.
    second.issuer.ca.revoke(&second.later, &["-crl_reason", "keyCompromise"]);
    until_another_snapshot(&cluster);
    until_another_snapshot(&cluster);
    // One stays, one is started anew, one has to compare everything.
    second.is_not_called_good(&cluster, 0);
    cluster.replicas[1].kill();
    fs::remove_dir_all(cluster.replicas[1].site().dir().join("state/snapshots")).unwrap();
    cluster.replicas[1].start();
    cluster.until_filled(1);
    cluster.replicas[2].pause();
    until_another_snapshot(&cluster);
    cluster.redis.cli(["XTRIM", Cluster::STREAM, "MAXLEN", "1"]);
    cluster.replicas[2].go_on();
    cluster.until("it has compared everything", SOON, || {
        second.is_not_called_good(&cluster, 2);
        let told = cluster.replicas[2].log().matches("everything was compared with a snapshot").count();
        (told > 1 && cluster.replicas[2].readiness("?fresh=1")? == 200).then_some(())
    });
    (0..3).for_each(|replica| second.is_not_called_good(&cluster, replica));
    // Who has heard nothing of it says nothing.
    for serial in [&*second.valid, INVENTED] {
        assert_eq!(second.says(&cluster, 1, serial), Status::error("trylater"));
    }
    // The writer has it again.
    let outcome = cluster.writers[0].reload(|text| text + &second.of_writer());
    assert!(outcome.contains("was read again"), "{outcome}");
    for replica in [1, 2, 0] {
        second.until_known(&cluster, replica, &Status::Revoked);
    }
    let after = revoked(&cluster);
    cluster.are_revoked_now(&[&before, &after]);
    cluster.until_fresh(SOON);
    for replica in &cluster.replicas {
        assert_eq!(replica.feed_metric("ostia_feed_digests_differed_total", ""), Some(0.0), "{}", replica.log());
    }
}

#[test]
fn an_issuer_given_up_and_had_again_by_restarts_of_the_writer_is_never_called_good_wrongly() {
    let mut cluster = ClusterPlan::of(1, 2).start();
    let second = Second::add(&cluster);
    let without = |text: String| text.replace(&second.of_writer(), "");
    cluster.writers[0].end_by("TERM");
    cluster.writers[0].site().edit_config(without);
    cluster.writers[0].start();
    cluster.until_led(SOON);
    second.issuer.ca.revoke(&second.later, &["-crl_reason", "keyCompromise"]);
    let meanwhile = revoked(&cluster);
    cluster.replicas[1].kill();
    fs::remove_dir_all(cluster.replicas[1].site().dir().join("state/snapshots")).unwrap();
    cluster.replicas[1].start();
    cluster.until_filled(1);
    (0..2).for_each(|replica| second.is_not_called_good(&cluster, replica));
    cluster.writers[0].end_by("TERM");
    cluster.writers[0].site().edit_config(|text| text + &second.of_writer());
    cluster.writers[0].start();
    cluster.until_led(SOON);
    for replica in [1, 0] {
        second.until_known(&cluster, replica, &Status::Revoked);
    }
    cluster.are_revoked_now(&[&meanwhile]);
}

#[test]
fn an_issuer_by_another_name_is_the_same_and_a_tenant_by_another_name_another_one() {
    let cluster = ClusterPlan::of(1, 2).start();
    let (good, gone) = (issued(&cluster), revoked(&cluster));
    let leaf = cluster.ca.issue();
    cluster.until_said_everywhere(&leaf.serial, &Status::Good, SOON);
    let outcome = cluster.writers[0].reload(|text| text.replace("name = \"ca\"", "name = \"renamed\""));
    assert!(outcome.contains("was read again"), "{outcome}");
    cluster.ca.revoke(&leaf, &["-crl_reason", "keyCompromise"]);
    cluster.until_revoked_everywhere(&leaf.serial);
    until_all_say(&cluster, &[(&good, Status::Good), (&gone, Status::Revoked)]);
    // The revocation that was pushed is filed under the former tenant's name.
    let tenant = |text: String| text.replace("name = \"tests\"", "name = \"others\"");
    let outcome = cluster.writers[0].reload(tenant);
    eprintln!("{outcome}");
    let is_refused = outcome.contains("stays as it was");
    for replica in [0, 1] {
        let outcome = cluster.replicas[replica].reload(tenant);
        assert!(outcome.contains("was read again"), "{outcome}");
        for _ in 0..20 {
            let said = cluster.says(replica, &gone).unwrap();
            let right = [Status::Revoked, Status::error("trylater")].contains(&said);
            assert!(right, "replica {replica} says {said:?}\n{}", cluster.logs());
        }
    }
    if is_refused {
        let outcome = cluster.replicas[0].reload(|text| text.replace("name = \"others\"", "name = \"tests\""));
        assert!(outcome.contains("was read again"), "{outcome}");
        cluster.until_said(0, &gone, &Status::Revoked, SOON);
        return;
    }
    until_all_say(&cluster, &[(&good, Status::Good), (&gone, Status::Revoked)]);
}

#[test]
fn while_snapshots_cannot_be_written_revocations_go_on_and_it_is_said_until_they_can() {
    let mut cluster = ClusterPlan::of(1, 1).set_of_writers("snapshot_interval = \"10s\"").set_up();
    cluster.writers[0].heed_modes();
    cluster.writers[0].start();
    cluster.until_led(SOON);
    cluster.replicas[0].start();
    cluster.until_filled(0);
    let before = revoked(&cluster);
    let snapshots = cluster.writers[0].site().dir().join("state/snapshots");
    let mode = |mode| fs::set_permissions(&snapshots, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o500);
    until_logged(&cluster, "no snapshot could be made for replicas: ", || cluster.writers[0].log());
    let line = cluster.writers[0].log();
    let line = line.lines().find(|line| line.contains("no snapshot could be made")).unwrap();
    assert!(line.contains("state/snapshots") && line.contains("ermission denied"), "{line}");
    let told = "degraded: feed: no snapshot could be made for replicas";
    let text = until_told(&cluster, &cluster.writers[0], told);
    assert_eq!(cluster.writers[0].readiness(""), Some(200), "{text}");
    let (made, meanwhile) = (made(&cluster), revoked(&cluster));
    cluster.are_revoked_now(&[&before, &meanwhile]);
    // Who comes now takes the last one, and what was told since.
    let newcomer = cluster.add_replica();
    cluster.replicas[newcomer].start();
    cluster.until_filled(newcomer);
    cluster.until_said(newcomer, &meanwhile, &Status::Revoked, SOON);
    mode(0o750);
    cluster.until("one is made again", Duration::from_secs(60), || (self::made(&cluster) > made).then_some(()));
    cluster.until("nothing more is said of it", SOON, || {
        let (status, text) = cluster.writers[0].readiness_text("")?;
        (status == 200 && !text.contains("no snapshot")).then_some(())
    });
    let after = revoked(&cluster);
    cluster.are_revoked_now(&[&before, &meanwhile, &after]);
}

fn made(cluster: &Cluster) -> f64 {
    cluster.writers[0].feed_metric("ostia_feed_snapshot_timestamp_seconds", "").unwrap_or(0.0)
}
