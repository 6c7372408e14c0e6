//! Replicas with the key of a signer and without: what each of them answers.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use ostia_tests::{Ask, Client, Cluster, ClusterPlan, Questions, Status, der, http};

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

/// Pushes a list of certificates to the first writer; returns when all of it is acknowledged.
fn push_list(cluster: &Cluster, serials: impl IntoIterator<Item = String>) {
    let site = cluster.writers[0].site();
    let line = |serial: String| format!("{{\"do\":\"add\",\"serial\":\"{serial}\"}}\n");
    let list: String = serials.into_iter().map(line).collect();
    let token = fs::read_to_string(site.dir().join("api.token")).unwrap();
    let (admin, issuer, length) = (site.admin, cluster.issuer, list.len());
    let head = format!(
        "POST /v1/issuers/{issuer}/bulk HTTP/1.1\r\nHost: {admin}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/x-ndjson\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    let mut stream = TcpStream::connect(admin).unwrap();
    stream.write_all((head + &list).as_bytes()).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
}

/// Redis was busy, and pushes that came before it kept a source's record waiting: its answer, which had waited for it for
/// some seconds, came first, and replicas without keys dropped it. They said `tryLater` until it was signed anew, days
/// later.
#[test]
fn an_answer_that_was_told_before_its_record_is_told_again_when_all_records_have_been() {
    let cluster = ClusterPlan::of(1, 1).set_of_writers("acknowledge_within = \"30s\"").start();
    let before = revoked(&cluster);
    let dropped = || cluster.replicas[0].feed_metric("ostia_feed_answers_total", "outcome=\"void\"");
    let (none, is_busy) = (dropped(), AtomicBool::new(true));
    let leaf = thread::scope(|scope| {
        scope.spawn(|| {
            while is_busy.load(Relaxed) {
                cluster.redis.pause();
                // Some entry is told in between: eight batches of a list take ten seconds and more.
                thread::sleep(Duration::from_millis(400));
                cluster.redis.go_on();
                thread::sleep(Duration::from_millis(1));
            }
        });
        let cluster = &cluster;
        for list in 0..8 {
            scope.spawn(move || push_list(cluster, (0..5000).map(|number| format!("5{list:03X}{number:08X}"))));
        }
        thread::sleep(Duration::from_secs(1));
        let leaf = cluster.ca.issue();
        let begun = Instant::now();
        while dropped() == none && begun.elapsed() < 2 * SOON {
            thread::sleep(Duration::from_millis(100));
        }
        is_busy.store(false, Relaxed);
        leaf
    });
    assert!(dropped() > none, "an answer came too soon\n{}", cluster.logs());
    cluster.until_said(0, &leaf.serial, &Status::Good, SOON);
    cluster.are_revoked_now(&[&before]);
}

/// It was ready with its records, and said `tryLater` until it had the answers as well: a balancer sent it a share of all
/// requests meanwhile.
#[test]
fn a_replica_without_a_key_is_fresh_only_with_the_answers_of_a_snapshot() {
    let mut cluster = ClusterPlan::of(1, 1).listed(20_000).start();
    let questions = Questions::of(&cluster.ca);
    let says = |cluster: &Cluster, replica: usize, serial: &String| {
        let reply = http::exchange(cluster.replicas[replica].site().http, &questions.post(serial)).unwrap();
        Questions::read(serial, &reply)
    };
    let asked: Vec<String> = cluster.listed.iter().step_by(199).cloned().collect();
    // The writer has told all of them.
    for serial in &asked {
        cluster.until("the first replica has it", SOON, || {
            (says(&cluster, 0, serial) == Some(Status::Good)).then_some(())
        });
    }
    let number = cluster.add_replica();
    cluster.replicas[number].start();
    cluster.until("it is fresh", SOON, || (cluster.replicas[number].readiness("?fresh=1")? == 200).then_some(()));
    for serial in &asked {
        assert_eq!(says(&cluster, number, serial), Some(Status::Good), "{serial}\n{}", cluster.logs());
    }
}

/// A replica without the key said `tryLater` for the milliseconds between a record and its answer: some clients of a busy
/// certificate were told so with each revocation.
#[test]
fn a_replica_without_a_key_waits_for_the_answer_of_a_record_that_has_just_changed() {
    let cluster = ClusterPlan::of(1, 2).start();
    let serials: Vec<String> = (0..12).map(|_| issued(&cluster)).collect();
    let client = Client::of(&cluster, &serials.iter().map(String::as_str).collect::<Vec<_>>());
    let clients = client.ask(&[0, 1].map(|replica| cluster.replicas[replica].site().http), 8);
    for serial in &serials {
        cluster.revoke(serial);
    }
    for serial in &serials {
        cluster.until_revoked_everywhere(serial);
    }
    clients.end_with_only(&[Status::Good, Status::Revoked]);
}

/// The writer has the certificate issued, replicas take it from the file that all have, and answers go on all the while.
#[test]
fn replicas_serve_what_a_renewed_certificate_signs_without_a_restart() {
    let cluster = ClusterPlan::of(1, 2).renewing().start();
    let serial = issued(&cluster);
    let ask = Ask::serial(&cluster.ca, &serial);
    let carries = |replica: usize, certificate: &[u8]| {
        let [body, _] = bodies(&cluster, replica, &ask.request());
        ask.read(&body).expect(Status::Good);
        body.windows(certificate.len()).any(|window| window == certificate)
    };
    let pids: Vec<_> = cluster.replicas.iter().map(|replica| replica.process().pid()).collect();
    cluster.until("it is renewed", SOON, || {
        let renewed = cluster.writers[0].feed_metric("ostia_signer_renewals_total", "issuer=\"ca\"")?;
        (renewed == 1.0).then_some(())
    });
    let new = cluster.signers_certificate();
    for replica in [0, 1] {
        cluster.until("its answers are served", SOON, || carries(replica, &new).then_some(()));
    }
    let gone = revoked(&cluster);
    for replica in [0, 1] {
        cluster.until("a revocation comes", SOON, || (cluster.says(replica, &gone)? == Status::Revoked).then_some(()));
        assert!(carries(replica, &new));
    }
    assert_eq!(pids, cluster.replicas.iter().map(|replica| replica.process().pid()).collect::<Vec<_>>());
}
