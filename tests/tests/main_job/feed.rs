//! What `check` says of a feed, with a real Redis; and the keys of writers.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ostia_tests::{Ended, RedisServer, Site, free_port, openssl, programs, run, until};
use precompute::{
    book::Book,
    feed::{
        Body, Chain, Cluster, Entry, Position, WriterKey,
        body::Heartbeat,
        redis::{Address, Server, Stream},
    },
    pki::pem,
    state_dir::ServerId,
};

use crate::ca_and_site;

/// Makes the key of a writer in the directory of a site.
fn make_key(site: &Site, name: &str) -> Ended {
    let mut command = std::process::Command::new(&programs().precompute);
    run(command.args(["keys", "feed", "--out", name]).current_dir(site.dir()))
}

/// Puts `[feed]` with these lines into the configuration of a site.
fn with_feed(site: &Site, lines: &str) {
    site.edit_config(|text| text.replacen("[http]", &format!("[feed]\ncluster = \"a\"\n{lines}\n[http]"), 1));
}

/// Takes what only a writer needs out of it: the source, and the signer's key.
fn as_replica(site: &Site) {
    let is_of_writer = |line: &&str| line.starts_with("index = ") || line.starts_with("key = ");
    site.edit_config(|text| text.lines().filter(|line| !is_of_writer(line)).collect::<Vec<_>>().join("\n"));
}

fn micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64
}

/// Heartbeats of a writer with the key of a site. It ends when dropped.
struct Beating {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Beating {
    fn start(redis: &RedisServer, site: &Site, key: &str) -> Self {
        let sections = pem::sections(&fs::read(site.dir().join(key)).unwrap()).unwrap();
        let key = WriterKey::from_pkcs8(sections[0].content().unwrap()).unwrap();
        let (cluster, epoch) = (Cluster::new("a").unwrap(), micros());
        let address = Address::Tcp { host: "127.0.0.1".into(), port: redis.port() };
        let mut stream = Stream::new(Server::at(address), &cluster);
        let ends = Arc::new(AtomicBool::new(false));
        let ending = Arc::clone(&ends);
        let (author, mut prev) = (ServerId::from_bytes([1; 16]), Chain::START);
        let mut beat = move |sequence: u64| {
            let body = match sequence {
                0 => Body::Fence,
                _ => Body::Heartbeat(Heartbeat { time: micros(), ..Heartbeat::default() }),
            };
            let entry = Entry { position: Position { epoch, sequence }, author, prev, body };
            let sealed = entry.seal(&cluster, &key);
            stream.put(sealed.position, &sealed.bytes, true).unwrap();
            prev = sealed.chain;
        };
        beat(0);
        let thread = thread::spawn(move || {
            for sequence in 1.. {
                if ending.load(Relaxed) {
                    break;
                }
                beat(sequence);
                thread::sleep(Duration::from_millis(200));
            }
        });
        Self { ends, thread: Some(thread) }
    }
}

impl Drop for Beating {
    fn drop(&mut self) {
        self.ends.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[track_caller]
fn told(ended: &Ended, told: &[&str]) {
    for told in told {
        assert!(ended.text.contains(told), "no `{told}` in {}", ended.text);
    }
}

#[test]
fn a_key_of_a_writer_is_made_with_its_public_key_and_is_what_check_wants() {
    let (_ca, site) = ca_and_site();
    let made = make_key(&site, "w.key");
    assert!(made.status.success(), "{made:?}");
    told(&made, &["key = \"w.key\"", "trusted = [\"w.key.pub\"]"]);
    let again = make_key(&site, "w.key");
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    told(&again, &["w.key: already exists and is not overwritten"]);
    openssl(site.dir(), ["genpkey", "-algorithm", "ed25519", "-out", "v.key"]);
    openssl(site.dir(), ["pkey", "-in", "v.key", "-pubout", "-out", "v.pub"]);
    let redis = RedisServer::start();
    let at = format!("redis = \"127.0.0.1:{}\"\n", redis.port());
    for (key, public) in [("w.key", "w.key.pub"), ("v.key", "v.pub")] {
        let before = fs::read_to_string(site.config()).unwrap();
        with_feed(&site, &format!("{at}trusted = \"{public}\"\nkey = \"{key}\"\n"));
        let strict = site.check_with(&["--strict"]);
        assert!(strict.status.success(), "{key}: {strict:?}");
        told(&strict, &["a writer, or a replica of the feed `a`", "has no feed `a` yet"]);
        fs::write(site.config(), before).unwrap();
    }
    with_feed(&site, &format!("{at}trusted = \"v.pub\"\nkey = \"w.key\"\n"));
    let checked = site.check();
    assert!(checked.status.success(), "serving does not need that key: {checked:?}");
    told(&checked, &["WARNING: ", "feed.trusted: does not have the public key of ", "w.key"]);
    let refused = site.precompute("run", &[]);
    assert_eq!(refused.status.code(), Some(78), "{refused:?}");
    told(&refused, &["ostia.toml:", "feed.trusted: does not have the public key of "]);
}

#[test]
fn what_reads_sources_needs_the_key_of_a_writer_and_what_would_not_be_told_is_refused() {
    let (_ca, site) = ca_and_site();
    assert!(make_key(&site, "w.key").status.success());
    let before = fs::read_to_string(site.config()).unwrap();
    with_feed(&site, "redis = \"127.0.0.1:1\"\ntrusted = \"w.key.pub\"\n");
    let refused = site.precompute("run", &[]);
    assert_eq!(refused.status.code(), Some(78), "{refused:?}");
    told(&refused, &["feed.key: is missing, and `ostia-precompute run` writes the feed", "keys feed --out feed.key"]);
    fs::write(site.config(), before).unwrap();
    with_feed(&site, "redis = \"127.0.0.1:1\"\ntrusted = \"w.key.pub\"\nkey = \"w.key\"\n");
    for (command, options, wanted) in [
        ("sync", &[][..], "the writer reads the sources (`ostia-precompute run`)"),
        ("sync", &["--accept-shrink"], "its log names a file to `touch`"),
        ("presign", &[], "what `presign` signs would reach nobody"),
    ] {
        let refused = site.precompute(command, options);
        assert_eq!(refused.status.code(), Some(1), "{command} {options:?}: {refused:?}");
        told(&refused, &[wanted]);
        assert!(!site.dir().join("state/book.redb").exists());
    }
    let mended = site.precompute("sync", &["--accept-damaged"]);
    told(&mended, &["the book is in order", "the sources are left to `ostia-precompute run`"]);
}

#[test]
fn what_a_writer_takes_over_from_a_former_tenant_is_told_to_the_feed() {
    let (ca, site) = ca_and_site();
    ca.revoke(&ca.issue(), &["-crl_reason", "keyCompromise"]);
    let state = site.dir().join("state");
    let owed = || Book::open(&state).unwrap().owed(9).unwrap().len();
    assert!(site.precompute("sync", &[]).status.success());
    assert_eq!(owed(), 0, "alone, nobody has to be told");
    assert!(make_key(&site, "w.key").status.success());
    with_feed(&site, "redis = \"127.0.0.1:1\"\ntrusted = \"w.key.pub\"\nkey = \"w.key\"\n");
    site.edit_config(|text| text.replace("name = \"tests\"", "name = \"renamed\""));
    let synced = site.precompute("sync", &["--carry-over"]);
    assert!(synced.status.success(), "{synced:?}");
    assert!(owed() > 0);
}

#[test]
fn a_reload_makes_no_replica_of_a_service_with_sources() {
    let (_ca, site) = ca_and_site();
    assert!(make_key(&site, "w.key").status.success());
    let responder = site.start();
    let feed = "[feed]\ncluster = \"a\"\nredis = \"127.0.0.1:1\"\ntrusted = \"w.key.pub\"\n[http]";
    responder.reload(|text| text.replacen("[http]", feed, 1));
    until("the reload is refused", Duration::from_secs(20), || {
        let told = "`[feed]` was added, which makes a replica of it once this service is started anew";
        responder.log().contains(told).then_some(())
    });
    assert!(responder.log().contains("the configuration stays as it was"));
}

#[test]
fn redis_is_reached_over_tls_by_whoever_trusts_its_ca() {
    let (ca, site) = ca_and_site();
    assert!(make_key(&site, "w.key").status.success());
    let redis = RedisServer::with_tls();
    let at = format!("redis = \"rediss://localhost:{}\"\n", redis.tls_port());
    let keys = "trusted = \"w.key.pub\"\nkey = \"w.key\"\n";
    with_feed(&site, &format!("{at}{keys}tls_ca = {:?}\n", redis.ca()));
    let strict = site.check_with(&["--strict"]);
    assert!(strict.status.success(), "{strict:?}");
    // The CA of certificates is not that of Redis.
    site.edit_config(|text| text.replace(&format!("{:?}", redis.ca()), &format!("{:?}", ca.certificate())));
    let place = format!("feed.redis: Redis at localhost:{} ", redis.tls_port());
    told(&site.check(), &["WARNING: ", &place, "invalid peer certificate", "`feed.tls_ca` has to name the CA"]);
}

#[test]
fn check_tells_a_replica_what_there_is_of_the_feed() {
    let (_ca, site) = ca_and_site();
    assert!(make_key(&site, "w.key").status.success() && make_key(&site, "v.key").status.success());
    let mut redis = RedisServer::start();
    let nobody = free_port([127, 0, 0, 1].into());
    let source = format!("snapshot_from = [\"http://{nobody}\"]\n");
    with_feed(&site, &format!("redis = \"127.0.0.1:{}\"\ntrusted = \"w.key.pub\"\n{source}", redis.port()));
    as_replica(&site);
    let place = format!("Redis at 127.0.0.1:{}", redis.port());

    let checked = site.check();
    assert!(checked.status.success(), "{checked:?}");
    told(&checked, &["a replica of the feed `a`", "by a key elsewhere", "records from the feed"]);
    told(&checked, &[&format!("feed.redis: {place} is reached, and has no feed `a` yet"), "`ostia-precompute run`"]);
    told(&checked, &["feed.snapshot_from: ", &format!("http://{nobody}/"), "gives no answer"]);

    let beating = Beating::start(&redis, &site, "w.key");
    redis.cli(["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let checked = site.check();
    told(&checked, &[&format!("{place} has the feed `a`: last entry "), "a writer is at work"]);
    told(&checked, &["feed.redis: ", "`maxmemory-policy allkeys-lru`", "set `maxmemory-policy noeviction`"]);
    drop(beating);
    redis.cli(["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    told(&site.check(), &["feed.redis: no writer is at work"]);

    site.edit_config(|text| text.replace("w.key.pub", "v.key.pub"));
    told(&site.check(), &["feed.trusted: the last entry of the feed `a`", "which `feed.trusted` does not list"]);

    redis.kill();
    let checked = site.check();
    assert!(checked.status.success(), "{checked:?}");
    told(
        &checked,
        &[&format!("WARNING: {}", site.config().display()), &format!("feed.redis: {place} cannot be reached")],
    );
}

#[test]
fn check_tells_who_is_not_let_in_and_shows_no_password() {
    let (_ca, site) = ca_and_site();
    assert!(make_key(&site, "w.key").status.success());
    let redis = RedisServer::with_password("secret-7391");
    let password = site.dir().join("redis.password");
    let write = |text: &str| {
        fs::write(&password, text).unwrap();
        fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    };
    write("wrong-7391");
    let redis_line = format!("redis = \"redis://127.0.0.1:{}\"\n", redis.port());
    with_feed(
        &site,
        &format!("{redis_line}trusted = \"w.key.pub\"\nkey = \"w.key\"\npassword_file = \"redis.password\"\n"),
    );
    let checked = site.check();
    told(&checked, &["refuses user `default`", "check the password"]);
    assert!(!checked.text.contains("7391"), "{checked:?}");
    write("secret-7391\n");
    let strict = site.check_with(&["--strict"]);
    assert!(strict.status.success() && !strict.text.contains("7391"), "{strict:?}");
}
