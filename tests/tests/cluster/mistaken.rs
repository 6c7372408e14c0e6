//! A stream, a manifest or a clock that is not what it is taken for.
//!
//! Who writes here is a writer by its key, and not by what it says: entries of another cluster, of a version to come, by a
//! key that nobody trusts; and keys of Redis that hold something else.

use std::{
    fs, thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::signature::Ed25519KeyPair;
use ostia_tests::{Cluster, ClusterPlan, Member, Status, free_port, openssl};
use precompute::{
    feed::{
        Body, Chain, Cluster as Name, Entry, Position, WriterKey,
        body::Heartbeat,
        redis::{Address, Server, Stream},
    },
    pki::pem,
    state_dir::ServerId,
};

use crate::{SOON, issued, revoked, sources::replica_with, until_logged, until_told};

/// The private key of a writer, PKCS#8.
fn key_of(writer: &Member) -> Vec<u8> {
    let sections = pem::sections(&fs::read(writer.site().dir().join("feed.key")).unwrap()).unwrap();
    sections[0].content().unwrap().to_vec()
}

fn stream(cluster: &Cluster) -> Stream {
    let address = Address::Tcp { host: "127.0.0.1".into(), port: cluster.redis.port() };
    Stream::new(Server::at(address), &Name::new("tests").unwrap())
}

fn micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64
}

/// A sign of life.
fn beat(position: Position) -> Entry {
    let body = Body::Heartbeat(Heartbeat { time: micros(), address: String::new(), digests: Vec::new() });
    Entry { position, author: ServerId::from_bytes([9; 16]), prev: Chain::START, body }
}

/// Puts an entry at the end of the stream, whoever writes there meanwhile; gives its place.
fn put_at_the_end(cluster: &Cluster, entry: impl Fn(Position) -> Vec<u8>) -> Position {
    let mut stream = stream(cluster);
    cluster.until("an entry is put", SOON, || {
        let position = stream.extent().unwrap()?.last.next();
        let put = stream.put(position, &entry(position), false).unwrap();
        (put == precompute::feed::transport::Appended::Written).then_some(position)
    })
}

#[test]
fn entries_of_another_cluster_are_named_as_that_and_the_feed_goes_on() {
    let cluster = ClusterPlan::of(1, 1).start();
    let before = revoked(&cluster);
    let key = WriterKey::from_pkcs8(&key_of(&cluster.writers[0])).unwrap();
    let other = Name::new("staging").unwrap();
    let at = put_at_the_end(&cluster, |position| beat(position).seal(&other, &key).bytes.to_vec());
    let told = format!("entries of `ostia:tests:feed` are passed over, the last one {at}: it belongs to the cluster ");
    let lines = until_told(&cluster, &cluster.replicas[0], &told);
    assert!(lines.contains("`staging`; set `feed.cluster` or point `feed.redis` at the right server"), "{lines}");
    until_logged(&cluster, "it belongs to the cluster `staging`", || cluster.replicas[0].log());
    let after = revoked(&cluster);
    cluster.are_revoked_now(&[&before, &after]);
    cluster.until_fresh(SOON);
}

#[test]
fn a_replica_whose_keys_in_redis_hold_another_clusters_feed_says_whose_it_is() {
    let mut cluster = ClusterPlan::of(1, 1).start();
    // As after a restore under another name, or a copy of the keys for a test.
    for key in ["feed", "head"] {
        cluster.redis.cli(["COPY", &format!("ostia:tests:{key}"), &format!("ostia:other:{key}")]);
    }
    let other = cluster.add_replica();
    cluster.replicas[other].site().edit_config(|text| text.replacen("cluster = \"tests\"", "cluster = \"other\"", 1));
    cluster.replicas[other].start();
    let told =
        "the manifest of the newest snapshot at `ostia:other:head` is refused: it belongs to the cluster `tests`";
    let lines = until_told(&cluster, &cluster.replicas[other], told);
    assert!(lines.starts_with("not ready"), "{lines}");
    until_logged(&cluster, "it belongs to the cluster `tests`; set `feed.cluster`", || cluster.replicas[other].log());
    let checked = cluster.replicas[other].site().check().text;
    assert!(checked.contains("feed.cluster: the last entry of the feed `other`"), "{checked}");
    assert_eq!(cluster.says(other, "1000"), Some(Status::error("trylater")));
}

/// A writer of a version to come: what it says is signed by a trusted key, and nobody else understands it.
struct Later<'a> {
    cluster: &'a Cluster,
    pair: Ed25519KeyPair,
    key: WriterKey,
    stream: Stream,
    position: Position,
}

impl<'a> Later<'a> {
    fn new(cluster: &'a Cluster, writer: usize) -> Self {
        let key = key_of(&cluster.writers[writer]);
        Self {
            cluster,
            pair: Ed25519KeyPair::from_pkcs8_maybe_unchecked(&key).unwrap(),
            key: WriterKey::from_pkcs8(&key).unwrap(),
            stream: stream(cluster),
            position: Position { epoch: micros(), sequence: 0 },
        }
    }

    fn signed(&self, purpose: &str, alike: &[u8]) -> Vec<u8> {
        let bytes = [&[2], &alike[1..], b"what nobody knows yet"].concat();
        let signature = self.pair.sign(&[purpose.as_bytes(), b"\0", &bytes].concat());
        [&bytes, signature.as_ref()].concat()
    }

    fn beat(&mut self) {
        let sealed = beat(self.position).seal(&Name::new("tests").unwrap(), &self.key);
        // Without its body and its signature.
        let entry = self.signed("Ostia feed entry", &sealed.bytes[..sealed.bytes.len() - 64 - 4 - 14]);
        let put = self.stream.put(self.position, &entry, true).unwrap();
        assert_eq!(put, precompute::feed::transport::Appended::Written, "{}", self.cluster.logs());
        self.position = self.position.next();
    }

    fn put_manifest(&mut self) {
        let name = b"tests";
        let alike = [&[1, name.len() as u8], &name[..], &[9; 16], &self.key.id().0].concat();
        let manifest = self.signed("Ostia feed manifest", &alike);
        self.stream.set_manifest(&manifest).unwrap();
    }
}

#[test]
fn a_writer_of_a_version_to_come_is_told_as_that_and_is_neither_fought_nor_followed() {
    // So long that a machine that has no time for a beat makes no silence of it.
    let mut cluster = ClusterPlan::of(2, 2).takeover_after("5s").start();
    let (before, good) = (revoked(&cluster), issued(&cluster));
    let leader = cluster.until_led(SOON);
    let standby = 1 - leader;
    cluster.writers[leader].kill();
    let mut later = Later::new(&cluster, leader);
    later.beat();
    later.put_manifest();
    // Much longer than it takes to take over.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(16) {
        later.beat();
        thread::sleep(Duration::from_millis(300));
        let role = cluster.writers[standby].feed_metric("ostia_feed_role", "role=\"leading\"");
        assert_eq!(role, Some(0.0), "{}", cluster.logs());
    }
    let told =
        "a trusted writer wrote it in version 2 of the feed, and this program knows version 1; update this program";
    let entries = "entries of `ostia:tests:feed` are passed over, the last one ";
    for replica in &cluster.replicas {
        let (status, lines) = replica.readiness_text("").unwrap();
        assert!(status == 200 && lines.contains(entries) && lines.contains(told), "{status} {lines}");
        assert_eq!(replica.readiness("?fresh=1"), Some(503));
        let log = replica.log();
        assert!(log.contains(told) && log.contains("this is no attack"), "{log}");
        assert!(!log.contains("somebody else writes into Redis"), "{log}");
        assert!(log.matches("passed over").count() <= 2, "said once: {log}");
        assert_eq!(replica.feed_metric("ostia_feed_entries_refused_total", ""), Some(0.0));
        assert!(replica.feed_metric("ostia_feed_entries_later_total", "") > Some(10.0));
    }
    assert!(cluster.writers[standby].log().contains("nobody here takes over from that writer"), "{}", cluster.logs());
    let checked = cluster.replicas[0].site().check().text;
    assert!(checked.contains(told), "{checked}");
    cluster.are_revoked_now(&[&before]);
    cluster.until_said_everywhere(&good, &Status::Good, SOON);
    // It is rolled back.
    drop(later);
    let after = revoked(&cluster);
    cluster.are_revoked_now(&[&before, &after]);
    cluster.until_fresh(SOON);
}

#[test]
fn a_writer_whose_key_nobody_trusts_changes_nothing_and_is_named_by_its_key() {
    let mut cluster = ClusterPlan::of(1, 2).start();
    let (before, good) = (revoked(&cluster), issued(&cluster));
    // A replica that was given another file: with somebody else's key.
    let site = cluster.replicas[1].site();
    openssl(site.dir(), ["genpkey", "-algorithm", "ed25519", "-out", "other.key"]);
    openssl(site.dir(), ["pkey", "-in", "other.key", "-pubout", "-out", "other.pub"]);
    let line = |text: &str| text.lines().find(|line| line.starts_with("trusted = ")).unwrap().to_owned();
    let right = line(&fs::read_to_string(site.config()).unwrap());
    cluster.replicas[1].restart_with(|text| text.replacen(&right, "trusted = \"other.pub\"", 1));
    let key = WriterKey::from_pkcs8(&key_of(&cluster.writers[0])).unwrap().id();
    let told =
        format!("it is signed with the key {key}, which `feed.trusted` does not list; add that writer's public key");
    let lines = until_told(&cluster, &cluster.replicas[1], &told);
    assert!(lines.starts_with("not ready"), "what it had on disk is not trusted either: {lines}");
    until_logged(&cluster, &told, || cluster.replicas[1].log());
    let checked = cluster.replicas[1].site().check().text;
    assert!(checked.contains("feed.trusted: the last entry of") && checked.contains(&told), "{checked}");
    assert_eq!(cluster.says(1, &good), Some(Status::error("trylater")));
    assert_eq!(cluster.says(0, &good), Some(Status::Good));
    cluster.replicas[1].restart_with(|text| text.replacen("trusted = \"other.pub\"", &right, 1));
    cluster.until_filled(1);
    cluster.are_revoked_now(&[&before]);
    cluster.until_fresh(SOON);
}

#[test]
fn while_the_key_of_the_stream_holds_another_type_everybody_says_so_and_answers_and_then_goes_on() {
    let cluster = ClusterPlan::of(2, 1).start();
    let (before, good) = (revoked(&cluster), issued(&cluster));
    let told = "Operation against a key holding the wrong kind of value; `ostia:tests:feed` holds something else than a stream";
    for command in ["RPUSH", "SET", "SADD"] {
        // The writer may make the stream anew in between.
        let script = "redis.call('UNLINK', KEYS[1]); return redis.call(ARGV[1], KEYS[1], 'x')";
        cluster.redis.cli(["EVAL", script, "1", Cluster::STREAM, command]);
        let members = cluster.writers.iter().chain(&cluster.replicas);
        for member in members {
            let lines = until_told(&cluster, member, told);
            assert!(lines.contains("`redis-cli UNLINK ostia:tests:feed`"), "{lines}");
            until_logged(&cluster, told, || member.log());
        }
        assert_eq!(cluster.replicas[0].readiness(""), Some(200));
        cluster.until_said(0, &good, &Status::Good, SOON);
        cluster.are_revoked_now(&[&before]);
        assert!(cluster.replicas[0].site().check().text.contains(told));
        cluster.redis.cli(["UNLINK", Cluster::STREAM]);
        let after = revoked(&cluster);
        cluster.are_revoked_now(&[&before, &after]);
        cluster.until_fresh(SOON);
    }
    // Nobody said it again and again.
    for member in cluster.writers.iter().chain(&cluster.replicas) {
        assert!(member.log().matches("WRONGTYPE").count() < 15, "{}", member.log());
    }
}

/// A writer that found another type there while it took over gave up, each time again.
#[test]
fn a_key_of_the_manifest_of_another_type_keeps_no_writer_from_leading_and_no_replica_out() {
    let mut cluster = ClusterPlan::of(2, 1).start();
    let before = revoked(&cluster);
    let spoil = |cluster: &Cluster| {
        cluster.redis.cli(["UNLINK", Cluster::HEAD]);
        cluster.redis.cli(["RPUSH", Cluster::HEAD, "x"]);
    };
    let leader = cluster.until_led(SOON);
    cluster.writers[leader].kill();
    spoil(&cluster);
    cluster.until_led_by_another(leader, SOON);
    spoil(&cluster);
    let newcomer = cluster.add_replica();
    cluster.replicas[newcomer].start();
    // The writer puts its own there again.
    cluster.until_filled(newcomer);
    let after = revoked(&cluster);
    cluster.are_revoked_now(&[&before, &after]);
    cluster.until_fresh(SOON);
    assert_eq!(cluster.redis.cli(["TYPE", Cluster::HEAD]), "string");
    for replica in &cluster.replicas {
        assert!(replica.log().matches("Redis answers again").count() < 3, "{}", replica.log());
    }
}

/// Garbage that stands where the manifest should, while nobody leads.
#[test]
fn a_manifest_that_is_garbage_is_told_as_that_until_a_writer_replaces_it() {
    let mut cluster = ClusterPlan::of(1, 1).start();
    let before = revoked(&cluster);
    cluster.writers[0].kill();
    cluster.redis.cli(["SET", Cluster::HEAD, "<html>nobody's</html>"]);
    let newcomer = cluster.add_replica();
    cluster.replicas[newcomer].start();
    let told =
        "the manifest of the newest snapshot at `ostia:tests:head` is refused: it makes no sense: another program";
    let lines = until_told(&cluster, &cluster.replicas[newcomer], told);
    assert!(lines.starts_with("not ready"), "{lines}");
    let checked = cluster.replicas[newcomer].site().check().text;
    assert!(checked.contains("feed.redis: the manifest of the newest snapshot"), "{checked}");
    assert_eq!(cluster.says(0, &before), Some(Status::Revoked));
    cluster.writers[0].start();
    cluster.until_filled(newcomer);
    cluster.are_revoked_now(&[&before]);
    cluster.until_fresh(SOON);
}

#[test]
fn entries_of_an_old_stream_that_are_replayed_take_nothing_back_and_are_never_fresh() {
    let mut cluster = ClusterPlan::of(1, 2).start();
    let peer = free_port(cluster.replicas[0].site().http.ip());
    cluster.replicas[0].restart_with(|text| {
        text.replacen("snapshot_from = ", &format!("snapshot_listen = \"{peer}\"\nsnapshot_from = "), 1)
    });
    cluster.until_filled(0);
    let before = revoked(&cluster);
    let leaf = cluster.ca.issue();
    cluster.until_said_everywhere(&leaf.serial, &Status::Good, SOON);
    thread::sleep(Duration::from_secs(2));
    // All of it as it is now, with its manifest.
    let mut recording = stream(&cluster);
    let recorded = recording.read(Position::START, 100_000, Duration::ZERO).unwrap();
    let head = recording.manifest().unwrap().unwrap();
    let pushed = cluster.push(0, "revoke", &leaf.serial);
    assert_eq!(pushed.status, 200, "{pushed:?}");
    cluster.until_revoked_everywhere(&leaf.serial);
    let (gone, known) = (leaf.serial, cluster.replicas[0].epoch());
    cluster.writers[0].kill();
    cluster.redis.cli(["FLUSHALL"]);
    let replay = |cluster: &Cluster| {
        let mut stream = stream(cluster);
        stream.set_manifest(&head).unwrap();
        let mut is_first = true;
        for (position, bytes) in &recorded {
            // A heartbeat of then is one of now to whoever only counts that something comes.
            stream.put(*position, bytes, is_first).unwrap();
            is_first = false;
            thread::sleep(Duration::from_millis(5));
        }
    };
    // Two that have lived through it, and one that comes an hour later and gets the old snapshot from one of them.
    let newcomer = replica_with(&mut cluster, &[peer]);
    cluster.replicas[newcomer].follow_clock("+1h");
    cluster.replicas[newcomer].start();
    replay(&cluster);
    cluster.until_filled(newcomer);
    thread::sleep(Duration::from_secs(6));
    for replica in [0, 1] {
        let (status, lines) = cluster.replicas[replica].readiness_text("").unwrap();
        assert!(status == 200 && lines.contains("the stream in Redis is behind what is known here"), "{lines}");
        assert_eq!(cluster.replicas[replica].epoch(), known);
        for serial in [&before, &gone] {
            assert_eq!(cluster.says(replica, serial), Some(Status::Revoked), "{}", cluster.logs());
        }
    }
    for replica in [0, 1, newcomer] {
        assert_eq!(cluster.replicas[replica].readiness("?fresh=1"), Some(503), "{}", cluster.logs());
    }
    until_told(&cluster, &cluster.replicas[newcomer], "or an old stream was put into Redis again");
    assert_eq!(cluster.says(newcomer, &before), Some(Status::Revoked));
    cluster.writers[0].start();
    let after = revoked(&cluster);
    for serial in [&before, &gone, &after] {
        cluster.until_revoked_everywhere(serial);
    }
    for replica in [0, 1] {
        cluster.until("it is fresh", SOON, || (cluster.replicas[replica].readiness("?fresh=1")? == 200).then_some(()));
        assert_eq!(cluster.replicas[replica].feed_metric("ostia_feed_contradictions", ""), Some(0.0));
    }
}
