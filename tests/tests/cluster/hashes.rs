//! Hashes of certificates that were pushed, where answers carry them: whoever signs next knows them.

use std::fs;

use ostia_tests::{Cluster, ClusterPlan, Leaf, Status, http, openssl};

use crate::SOON;

/// The SHA-256 hash of a certificate, as openssl says it.
fn sha256(leaf: &Leaf) -> Vec<u8> {
    let dir = leaf.path.parent().unwrap();
    let shown = openssl(dir, ["x509", "-in", leaf.path.to_str().unwrap(), "-noout", "-fingerprint", "-sha256"]);
    let digits = shown.trim().rsplit('=').next().unwrap();
    digits.split(':').map(|octet| u8::from_str_radix(octet, 16).unwrap()).collect()
}

/// Pushes it with its certificate.
#[track_caller]
fn add(cluster: &Cluster, writer: usize, leaf: &Leaf) {
    let pem = fs::read_to_string(&leaf.path).unwrap();
    let certificate = &pem[pem.find("-----BEGIN").unwrap()..];
    let base64: String = certificate.lines().filter(|line| !line.starts_with("-----")).collect();
    let pushed = cluster.push_body(writer, "add", &format!("{{\"certificate\":\"{base64}\"}}"));
    assert_eq!(pushed.status, 200, "{pushed:?}\n{}", cluster.logs());
}

/// Waits until a replica says *good* to a question with this hash algorithm; the answer has the hash of the certificate.
#[track_caller]
fn until_good_with_hash(cluster: &Cluster, replica: usize, leaf: &Leaf, algorithm: &str) {
    let ask = cluster.ask(&leaf.serial).hash(algorithm);
    let answer = cluster.until(&format!("replica {replica} says good by {algorithm}"), SOON, || {
        let answer = http::post(cluster.replicas[replica].site().http, "/", &ask.request()).body;
        (ask.read(&answer).status == Status::Good).then_some(answer)
    });
    // An OCTET STRING in certHash.
    let wanted = [&[4, 32], &sha256(leaf)[..]].concat();
    assert!(answer.windows(wanted.len()).any(|some| some == wanted), "replica {replica}, {algorithm}");
}

#[test]
fn whoever_takes_over_and_replicas_with_a_key_say_good_with_the_hash_that_was_pushed_to_another() {
    let mut cluster = ClusterPlan::of(2, 1).policy("cert_hash = true").start();
    let signing = cluster.add_replica_with(true);
    cluster.replicas[signing].start();
    cluster.until_filled(signing);
    let (leaf, bare) = (cluster.ca.issue(), cluster.ca.issue());
    let leader = cluster.until_led(SOON);
    cluster.until("the leader knows of the standby", SOON, || {
        (cluster.writers[leader].feed_metric("ostia_feed_standbys", "")? == 1.0).then_some(())
    });
    // The index has no hashes.
    let later = Status::error("trylater");
    cluster.until_said_everywhere(&bare.serial, &later, SOON);
    add(&cluster, leader, &leaf);
    until_good_with_hash(&cluster, 0, &leaf, "sha1");
    until_good_with_hash(&cluster, signing, &leaf, "sha256");
    cluster.writers[leader].kill();
    let next = cluster.until_led_by_another(leader, SOON);
    // With both answers of before void.
    for (verb, reason) in [("revoke", ",\"reason\":\"certificateHold\""), ("release", "")] {
        let body = format!("{{\"serial\":\"{}\"{reason}}}", leaf.serial);
        cluster.until(&format!("the next one takes the {verb}"), SOON, || {
            (cluster.push_body(next, verb, &body).status == 200).then_some(())
        });
        if verb == "revoke" {
            cluster.until_revoked_everywhere(&leaf.serial);
        }
    }
    // Signed by the one that leads now, who never saw the certificate.
    until_good_with_hash(&cluster, 0, &leaf, "sha1");
    until_good_with_hash(&cluster, signing, &leaf, "sha256");
    // Its next snapshot is all that there is.
    cluster.writers[next].kill();
    cluster.redis.cli(["FLUSHALL"]);
    cluster.writers[next].start();
    cluster.until_led(SOON);
    let empty = cluster.add_replica_with(true);
    cluster.replicas[empty].start();
    cluster.until_filled(empty);
    until_good_with_hash(&cluster, empty, &leaf, "sha256");
    assert_eq!(cluster.says(empty, &bare.serial), Some(later));
}
