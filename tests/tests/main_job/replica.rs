//! A replica: a process without sources, without a book and without a key that answers what a writer has signed.

use std::{
    fs,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use ostia_tests::{
    Ask, Ca, Delegate, KeyKind, Leaf, RedisServer, Responder, Signer, Site, Status, Tenant, free_port, http, programs,
    run, until,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A CA, a Redis, and the writer's configuration.
struct World {
    ca: Ca,
    signer: Signer,
    redis: RedisServer,
    writer: Site,
    snapshots: String,
}

impl World {
    fn new() -> Self {
        let ca = Ca::new("CA");
        let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
        let sources = format!("index = {:?}", ca.index());
        let writer = Site::new(&[Tenant::new("tests").presigned().issuer("ca", &ca, &sources, &signer.lines())]);
        let redis = RedisServer::start();
        let mut make = std::process::Command::new(&programs().precompute);
        let made = run(make.args(["keys", "feed", "--out", "writer.key"]).current_dir(writer.dir()));
        assert!(made.status.success(), "{}", made.text);
        let snapshots = free_port(writer.http.ip()).to_string();
        let world = Self { ca, signer, redis, writer, snapshots };
        world.with_feed(&world.writer, &format!("key = \"writer.key\"\nsnapshot_listen = \"{}\"\n", world.snapshots));
        world
    }

    fn with_feed(&self, site: &Site, lines: &str) {
        let trusted = self.writer.dir().join("writer.key.pub");
        let head = format!(
            "[feed]\ncluster = \"real\"\nredis = \"127.0.0.1:{}\"\ntrusted = [{trusted:?}]\ntakeover_after = \"2s\"\n{lines}\n[http]",
            self.redis.port()
        );
        site.edit_config(|text| text.replacen("[http]", &head, 1));
    }

    /// A configuration with neither source nor key.
    fn replica(&self, signer: &Signer) -> Site {
        let certificate = format!("certificate = {:?}", signer.certificate);
        let published = "publish = [\"ca\"]";
        let site = Site::new(&[Tenant::new("tests").presigned().issuer("ca", &self.ca, published, &certificate)]);
        self.with_feed(&site, &format!("snapshot_from = [\"http://{}\"]\n", self.snapshots));
        site
    }

    fn start_writer(&self) -> Running {
        Running::start(self.writer.run_alone(), &self.writer)
    }

    fn ask(&self, replica: &Responder, leaf: &Leaf) -> ostia_tests::Answer {
        Ask::about(&self.ca, leaf).at(replica.http(), "/")
    }

    #[track_caller]
    fn until_revoked(&self, replica: &Responder, leaf: &Leaf) -> Duration {
        let begun = Instant::now();
        until("it is revoked", PATIENCE, || (self.ask(replica, leaf).status == Status::Revoked).then_some(()));
        begun.elapsed()
    }
}

/// A process that is not ready, or is somebody else's concern. Killed when dropped.
struct Running(Child);

impl Running {
    fn start(mut command: std::process::Command, site: &Site) -> Self {
        let log = fs::File::create(site.dir().join("log")).unwrap();
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn readiness(site: &Site, query: &str) -> Option<(u16, String)> {
    let reply = http::exchange(site.admin, &http::request("GET", &format!("/readyz/ocsp{query}"), "")).ok()?;
    Some((reply.status, reply.text()))
}

#[test]
fn a_replica_without_keys_answers_what_the_writer_signed_and_goes_on_while_redis_is_away() {
    let mut world = World::new();
    let (good, revoked, later) = (world.ca.issue(), world.ca.issue(), world.ca.issue());
    let writer = world.start_writer();
    let mut replica = world.replica(&world.signer).start();
    // Records first; the answers are signed meanwhile, and come.
    until("its answer came", PATIENCE, || (world.ask(&replica, &good).status == Status::Good).then_some(()));
    world.ask(&replica, &good).expect(Status::Good);
    world.ask(&replica, &revoked);
    world.ca.revoke(&revoked, &["-crl_reason", "keyCompromise"]);
    let took = world.until_revoked(&replica, &revoked);
    eprintln!("from `openssl ca -revoke` to the replica's answer: {took:?}");
    let answer = world.ask(&replica, &revoked).expect(Status::Revoked);
    assert_eq!(answer.reason.as_deref(), Some("keyCompromise"));
    // A feed carries no CRLs, and the CA's certificate is in the configuration.
    let certificate = http::get(replica.http(), "/ca.cer");
    assert_eq!((certificate.status, certificate.expect("content-type")), (200, "application/pkix-cert"));
    assert_eq!(http::get(replica.http(), "/ca.crl").status, 404);
    until("all is well", PATIENCE, || {
        readiness(&replica.site, "?fresh=1").filter(|said| *said == (200, "ready\n".to_owned()))
    });
    assert_eq!(replica.metric("ostia_feed_freshness", "state=\"fresh\""), 1.0);
    assert!(replica.metric("ostia_feed_answers_total", "outcome=\"taken\"") >= 3.0);
    assert_eq!(replica.metric("ostia_feed_connected", ""), 1.0);
    assert_eq!(http::get(replica.site.admin, "/v1/issuers").status, 404);

    world.redis.kill();
    until("it is not fresh", PATIENCE, || readiness(&replica.site, "?fresh=1").filter(|(status, _)| *status == 503));
    let (status, lines) = readiness(&replica.site, "").unwrap();
    assert!(status == 200 && lines.contains("degraded: feed: Redis at 127.0.0.1"), "{status} {lines}");
    world.ask(&replica, &good).expect(Status::Good);
    world.ask(&replica, &revoked).expect(Status::Revoked);
    assert_eq!(replica.metric("ostia_feed_connected", ""), 0.0);
    world.redis.restart();
    until("it is fresh", PATIENCE, || readiness(&replica.site, "?fresh=1").filter(|(status, _)| *status == 200));
    world.ca.revoke(&later, &[]);
    world.until_revoked(&replica, &later);

    // The writer ends. The replica is restarted: from its own disk, as nobody else has a snapshot.
    drop(writer);
    replica = replica.kill_and_start_again();
    for (leaf, status) in [(&good, Status::Good), (&revoked, Status::Revoked), (&later, Status::Revoked)] {
        until("its answer came", PATIENCE, || (world.ask(&replica, leaf).status == status).then_some(()));
    }
    assert!(replica.end_by("TERM").success(), "{}", replica.log());
}

#[test]
fn a_replica_without_records_says_so_and_gives_try_later_and_one_with_another_signer_says_that() {
    let world = World::new();
    let leaf = world.ca.issue();
    let other = world.ca.delegate(Delegate::Proper, KeyKind::P256);
    let site = world.replica(&other);
    let _replica = Running::start(site.serve(), &site);
    let (status, lines) = until("it listens", PATIENCE, || readiness(&site, ""));
    assert!(status == 503 && lines.contains("not ready: nothing has come from the feed yet"), "{status} {lines}");
    until("it says what is missing", PATIENCE, || {
        readiness(&site, "").filter(|(_, lines)| lines.contains("there is no snapshot of `real` in Redis"))
    });
    Ask::about(&world.ca, &leaf).at(site.http, "/").expect(Status::error("trylater"));
    let _writer = world.start_writer();
    until("it is ready", PATIENCE, || readiness(&site, "").filter(|(status, _)| *status == 200));
    let log = || fs::read_to_string(site.dir().join("log")).unwrap();
    until("it says whose answers it cannot serve", PATIENCE, || {
        log().contains("the writer's answers are of a signer or a policy that this replica does not have").then_some(())
    });
    Ask::about(&world.ca, &leaf).at(site.http, "/").expect(Status::error("trylater"));
}

/// The metrics of a replica, and of a writer.
pub(crate) fn metrics() -> String {
    let world = World::new();
    let replica = world.replica(&world.signer);
    replica.edit_config(|text| text + "\n[transparency]\ndirectory = \"said\"\nhead_every = \"1s\"\n");
    let _processes = [Running::start(replica.serve(), &replica), world.start_writer()];
    let has_said = |text: &String| text.contains("\nostia_transparency_head_age_seconds");
    // It has also heard of itself: before that there is no silence to measure.
    let leads = |text: &String| {
        text.contains("ostia_feed_role{role=\"leading\"} 1") && text.contains("\nostia_feed_silence_seconds ")
    };
    let all = [(&replica, has_said as fn(&String) -> bool), (&world.writer, leads)].map(|(site, is_so)| {
        until("it tells its metrics", PATIENCE, || {
            let reply = http::exchange(site.admin, &http::request("GET", "/metrics", "")).ok()?;
            Some(reply.text()).filter(|text| reply.status == 200 && is_so(text))
        })
    });
    all.concat()
}

/// The hash of a certificate comes with the answer that the writer has signed; a replica with the key does not know it, and
/// says *good* with what came or not at all.
#[test]
fn replicas_give_out_what_the_writers_answers_carry_and_sign_no_good_without_it() {
    let world = World::new();
    let (good, revoked) = (world.ca.issue(), world.ca.issue());
    let hash = "AB".repeat(32);
    let list = format!("{},{hash}\n", good.serial);
    fs::write(world.ca.file("issued.csv"), list).unwrap();
    let set = |site: &Site, sources: &str| {
        site.edit_config(|text| {
            text.replacen("\n[[tenant.issuer]]\n", &format!("cert_hash = true\n\n[[tenant.issuer]]\n{sources}"), 1)
        });
    };
    set(&world.writer, &format!("issued = {:?}\n", world.ca.file("issued.csv")));
    let _writer = world.start_writer();
    let (with_key, without) = (world.replica(&world.signer), world.replica(&world.signer));
    set(&with_key, "");
    set(&without, "");
    let key = format!("certificate = {:?}\nkey = {:?}\n", world.signer.certificate, world.signer.key);
    with_key.edit_config(|text| text.replace(&format!("certificate = {:?}\n", world.signer.certificate), &key));
    let replicas = [with_key.start(), without.start()];
    for replica in &replicas {
        until("its answer came", PATIENCE, || (world.ask(replica, &good).status == Status::Good).then_some(()));
        let response = http::post(replica.http(), "/", &Ask::about(&world.ca, &good).request()).body;
        Ask::about(&world.ca, &good).read(&response).expect(Status::Good);
        let elements = crate::carried::elements(world.ca.dir(), &response);
        let said = crate::carried::extension(&elements, "1.3.36.8.3.13").unwrap();
        assert!(said.ends_with(&format!("0420{hash}")), "{said}");
        // The other one is in the index alone, which has no hashes.
        Ask::about(&world.ca, &revoked).at(replica.http(), "/").expect(Status::error("trylater"));
        // Nor is there another form of an answer that the writer has signed.
        let other = Ask::about(&world.ca, &good).hash("sha256").at(replica.http(), "/");
        assert_eq!(other.status, Status::error("trylater"));
    }
    world.ca.revoke(&revoked, &["-crl_reason", "keyCompromise"]);
    for replica in &replicas {
        world.until_revoked(replica, &revoked);
    }
}

#[test]
fn answers_for_two_hashes_come_to_a_replica_once_and_serve_both() {
    let world = World::new();
    let (good, revoked) = (world.ca.issue(), world.ca.issue());
    let replica = world.replica(&world.signer);
    for site in [&world.writer, &replica] {
        let keys = "presign_hashes = [\"sha1+sha256\"]\n\n[[tenant.issuer]]\n";
        site.edit_config(|text| text.replacen("\n[[tenant.issuer]]\n", keys, 1));
    }
    let _writer = world.start_writer();
    let replica = replica.start();
    let ask = |leaf, hash| Ask::about(&world.ca, leaf).hash(hash).at(replica.http(), "/");
    until("its answer came", PATIENCE, || (ask(&good, "sha256").status == Status::Good).then_some(()));
    ask(&good, "sha1").expect(Status::Good);
    ask(&good, "sha384").expect(Status::error("trylater"));
    world.ca.revoke(&revoked, &["-crl_reason", "superseded"]);
    until("it is revoked", PATIENCE, || (ask(&revoked, "sha256").status == Status::Revoked).then_some(()));
    ask(&revoked, "sha1").expect(Status::Revoked);
    // The signer's own, two others, and one of them again: no other form of an answer came.
    assert_eq!(replica.metric("ostia_feed_answers_total", "outcome=\"unknown_form\""), 0.0);
    assert_eq!(replica.metric("ostia_answers", ""), replica.metric("ostia_records", ""));
}

/// Who looks into the log of the server that has answered finds the revocation there, whichever server it is.
#[test]
fn a_replica_tells_revocations_of_the_feed_by_their_serials_and_a_list_by_a_number() {
    let world = World::new();
    let leaf = world.ca.issue();
    let site = world.replica(&world.signer);
    let _processes = [Running::start(site.serve(), &site), world.start_writer()];
    let log = || fs::read_to_string(site.dir().join("log")).unwrap();
    let lines = |words: &[&str]| log().lines().filter(|line| words.iter().all(|word| line.contains(word))).count();
    until("it is ready", PATIENCE, || readiness(&site, "").filter(|(status, _)| *status == 200));
    until("it answers", PATIENCE, || {
        (Ask::about(&world.ca, &leaf).at(site.http, "/").status == Status::Good).then_some(())
    });
    let by_feed = "\"by\":\"feed\"";
    world.ca.revoke(&leaf, &["-crl_reason", "keyCompromise"]);
    let told = ["\"message\":\"revoked\"", &leaf.serial, "keyCompromise", "\"issuer\":\"ca\"", by_feed];
    until("it is told", PATIENCE, || (lines(&told) == 1).then_some(()));
    // Two hundred at once.
    let index = fs::read_to_string(world.ca.index()).unwrap();
    let more = |n: usize| format!("R\t350101000000Z\t260101000000Z\tABCD{n:04}\tunknown\t/CN=many\n");
    world.ca.replace_index(&(index + &(0..200).map(more).collect::<String>()));
    let revoked = ["\"message\":\"revoked\"", by_feed];
    let rest = "more certificates were revoked or released";
    let more = || -> u64 {
        let log = log();
        let told = log.lines().filter(|line| line.contains(rest) && line.contains(by_feed));
        told.map(|line| {
            line.split("\"more\":").nth(1).unwrap().split([',', '}']).next().unwrap().parse::<u64>().unwrap()
        })
        .sum()
    };
    // The list came at once, so a hundred of it are told by serial, or one less beside the one before.
    until("a hundred, and how many more", PATIENCE, || (lines(&revoked) as u64 + more() == 201).then_some(()));
    assert!([100, 101].contains(&lines(&revoked)), "{}", log());
}
