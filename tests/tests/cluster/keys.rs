//! Replicas with the key of a signer and without: what each of them answers.

use ostia_tests::{Ask, Cluster, ClusterPlan, Status, der, http};

use crate::{SOON, issued, revoked};

/// Waits until a replica has as many answers of the feed as there are certificates in the index.
#[track_caller]
fn until_answers_came(cluster: &Cluster, replica: usize, hashes: usize) {
    let listed = std::fs::read_to_string(cluster.ca.index()).unwrap().lines().count() * hashes;
    cluster.until("the answers of the feed came", SOON, || {
        let taken = cluster.replicas[replica].feed_metric("ostia_feed_answers_total", "outcome=\"taken\"")?;
        (taken >= listed as f64).then_some(())
    });
}

/// What a replica answers to this request, by POST and by GET.
#[track_caller]
fn bodies(cluster: &Cluster, replica: usize, request: &[u8]) -> [Vec<u8>; 2] {
    let address = cluster.replicas[replica].site().http;
    [http::post(address, "/", request), http::get(address, &http::ocsp_target("", request))].map(|reply| {
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.body
    })
}

/// One request about two certificates.
fn about_both(one: &[u8], other: &[u8]) -> Vec<u8> {
    let requests =
        |request| der::only(0x30, der::only(0x30, der::only(0x30, request).content).content).content.to_vec();
    let list = der::holding(0x30, &[&requests(one), &requests(other)]);
    der::holding(0x30, &[&der::holding(0x30, &[&list])])
}

#[test]
fn with_a_key_a_replica_signs_what_the_feed_does_not_carry_and_without_one_it_says_try_later() {
    let mut cluster = ClusterPlan::of(1, 1).policy("nonce = \"echo\"").start();
    let (good, gone) = (issued(&cluster), revoked(&cluster));
    let signing = cluster.add_replica_with(true);
    cluster.replicas[signing].start();
    cluster.until_filled(signing);
    until_answers_came(&cluster, signing, 1);
    // What the feed carries is the same everywhere, whoever has a key, and however it is asked for.
    for (serial, status) in [(&good, Status::Good), (&gone, Status::Revoked)] {
        let ask = Ask::serial(&cluster.ca, serial);
        let request = ask.request();
        let said = bodies(&cluster, 0, &request);
        assert_eq!(said, bodies(&cluster, signing, &request), "{serial}\n{}", cluster.logs());
        assert_eq!(said[0], said[1]);
        ask.read(&said[0]).expect(status);
    }
    let later = Status::error("trylater");
    let of = |serial: &str| Ask::serial(&cluster.ca, serial);
    for (what, ask, signed) in [
        ("another hash", of(&good).hash("sha256"), Status::Good),
        ("another hash of a revoked one", of(&gone).hash("sha512"), Status::Revoked),
        ("a nonce", of(&good).nonce(), Status::Good),
        ("a nonce with a revoked one", of(&gone).nonce(), Status::Revoked),
    ] {
        for (replica, status) in [(0, &later), (signing, &signed)] {
            let answer = ask.at(cluster.replicas[replica].site().http, "/");
            assert_eq!(answer.status, *status, "{what} at replica {replica}: {}", answer.text);
            assert!(!answer.text.contains("nonce"), "{what} at replica {replica}: {}", answer.text);
        }
    }
    let both = about_both(&of(&good).request(), &of(&gone).request());
    for (replica, status) in [(0, &later), (signing, &Status::Good)] {
        let [answer, _] = bodies(&cluster, replica, &both);
        assert_eq!(of(&good).read(&answer).status, *status, "of two at replica {replica}");
    }
    // Neither signs that.
    let unlisted = Status::error("unauthorized");
    for replica in [0, signing] {
        assert_eq!(cluster.says(replica, "7777"), Some(unlisted.clone()));
    }
}

#[test]
fn what_is_signed_ahead_for_two_hashes_is_served_for_both_by_replicas_without_a_key() {
    let cluster = ClusterPlan::of(1, 2).policy("presign_hashes = [\"sha1\", \"sha256\"]").start();
    let (good, gone) = (issued(&cluster), revoked(&cluster));
    for (serial, status) in [(good, Status::Good), (gone, Status::Revoked)] {
        for hash in ["sha1", "sha256"] {
            let ask = Ask::serial(&cluster.ca, &serial).hash(hash);
            cluster.until("both have the answer", SOON, || {
                let said = [0, 1].map(|replica| bodies(&cluster, replica, &ask.request()));
                (ask.read(&said[0][0]).status == status && said[0] == said[1]).then_some(())
            });
        }
        let ask = Ask::serial(&cluster.ca, &serial).hash("sha384");
        assert_eq!(ask.at(cluster.replicas[0].site().http, "/").status, Status::error("trylater"));
    }
}

#[test]
fn where_nothing_is_signed_ahead_only_replicas_with_a_key_answer_and_both_know_what_is_revoked() {
    let mut cluster = ClusterPlan::of(1, 1).policy("presign = false").start();
    let signing = cluster.add_replica_with(true);
    cluster.replicas[signing].start();
    cluster.until_filled(signing);
    let serial = cluster.ca.issue().serial;
    cluster.until_said(signing, &serial, &Status::Good, SOON);
    assert_eq!(cluster.says(0, &serial), Some(Status::error("trylater")));
    cluster.revoke(&serial);
    cluster.until_said(signing, &serial, &Status::Revoked, SOON);
    assert_eq!(cluster.says(0, &serial), Some(Status::error("trylater")));
    // The record is there all the same.
    cluster.until("both are at one place", SOON, || {
        let at = |replica: usize| cluster.replicas[replica].feed_metric("ostia_feed_sequence", "");
        (at(0)? == at(signing)?).then_some(())
    });
    assert_eq!(cluster.replicas[0].readiness(""), Some(200));
}
