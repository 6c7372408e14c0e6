//! The stream in a real Redis: what a writer and a reader learn of each thing that can happen there.

use std::time::{Duration, Instant};

use ostia_tests::RedisServer;
use precompute::feed::{
    Chain, Cluster, Position, Sealed,
    redis::{Address, Cause, Extent, Fault, Login, MayShare, Offer, Server, Stream, Trust, Wanted},
    transport::{Appended, Gone, Transport as _},
};

const AT_ONCE: Duration = Duration::ZERO;

fn at(epoch: u64, sequence: u64) -> Position {
    Position { epoch, sequence }
}

fn server(port: u16) -> Server {
    Server::at(Address::Tcp { host: "127.0.0.1".to_owned(), port })
}

fn stream(server: Server) -> Stream {
    Stream::new(server, &Cluster::new("test").unwrap())
}

fn with_password(redis: &RedisServer, user: Option<&str>, password: &str) -> Stream {
    let login = Login { user: user.map(str::to_owned), password: Some(password.to_owned().into()) };
    stream(Server { login, ..server(redis.port()) })
}

/// Appended as a fence would be.
fn cause(stream: &mut Stream) -> Cause {
    stream.put(at(9, 0), b"fence", true).unwrap_err().cause
}

#[test]
fn entries_are_put_at_the_end_and_read_from_any_position() {
    let redis = RedisServer::start();
    let mut stream = stream(server(redis.port()));
    assert_eq!(stream.extent(), Ok(None));
    assert_eq!(stream.read(Position::START, 9, AT_ONCE), Ok(vec![]));
    assert_eq!(stream.put(at(5, 1), b"one", false), Ok(Appended::NoStream), "only a fence makes a stream");
    assert_eq!(stream.put(at(5, 0), b"\0fence\r\n", true), Ok(Appended::Written));
    assert_eq!(stream.put(at(5, 1), b"one", false), Ok(Appended::Written));
    for (epoch, sequence) in [(5, 1), (5, 0), (4, 9), (0, 1)] {
        assert_eq!(stream.put(at(epoch, sequence), b"late", false), Ok(Appended::Lower), "{epoch}-{sequence}");
    }
    let all = vec![(at(5, 0), b"\0fence\r\n".to_vec()), (at(5, 1), b"one".to_vec())];
    assert_eq!(stream.read(Position::START, 9, AT_ONCE), Ok(all.clone()));
    assert_eq!(stream.read(Position::START, 1, AT_ONCE), Ok(all[..1].to_vec()));
    assert_eq!(stream.read(at(5, 0), 9, AT_ONCE), Ok(all[1..].to_vec()));
    assert_eq!(stream.entry_at(at(5, 1)), Ok(Some(b"one".to_vec())));
    assert_eq!(stream.entry_at(at(5, 2)), Ok(None));
    assert_eq!(stream.extent(), Ok(Some(Extent { last: at(5, 1), first: Some(at(5, 0)), length: 2 })));
    // The last position outlives the entries.
    redis.cli(["XTRIM", "ostia:test:feed", "MAXLEN", "0"]);
    assert_eq!(stream.extent(), Ok(Some(Extent { last: at(5, 1), first: None, length: 0 })));
    assert_eq!(stream.put(at(5, 1), b"one", false), Ok(Appended::Lower));
    stream.remove().unwrap();
    assert_eq!(stream.extent(), Ok(None));
    redis.cli(["FLUSHALL"]);
    assert_eq!(stream.put(at(5, 2), b"two", false), Ok(Appended::NoStream));
}

#[test]
fn who_waits_for_an_entry_has_it_at_once_and_waits_no_longer_than_it_says() {
    let redis = RedisServer::start();
    let mut writer = stream(server(redis.port()));
    writer.put(at(5, 0), b"fence", true).unwrap();
    let mut reader = stream(server(redis.port()));
    let begun = Instant::now();
    assert_eq!(reader.read(at(5, 0), 9, Duration::from_millis(300)), Ok(vec![]));
    assert!(begun.elapsed() >= Duration::from_millis(290));
    let waiting = std::thread::spawn(move || reader.read(at(5, 0), 9, Duration::from_secs(60)));
    // It blocks, as far as the server knows.
    ostia_tests::until("a reader waits", Duration::from_secs(20), || {
        redis.cli(["INFO", "clients"]).contains("blocked_clients:1").then_some(())
    });
    writer.put(at(5, 1), b"one", false).unwrap();
    assert_eq!(waiting.join().unwrap(), Ok(vec![(at(5, 1), b"one".to_vec())]));
}

#[test]
fn the_manifest_is_what_was_put_there_last_and_trimming_leaves_what_comes_after() {
    let redis = RedisServer::start();
    let mut stream = stream(server(redis.port()));
    assert_eq!(stream.manifest(), Ok(None));
    for manifest in [&b"first"[..], b"second\0\xff"] {
        stream.set_manifest(manifest).unwrap();
        assert_eq!(stream.manifest(), Ok(Some(manifest.to_vec())));
    }
    stream.put(at(5, 0), b"fence", true).unwrap();
    (1..1000).for_each(|sequence| assert_eq!(stream.put(at(5, sequence), b"x", false), Ok(Appended::Written)));
    stream.trim_before(at(5, 900)).unwrap();
    let Extent { last, first: Some(first), length } = stream.extent().unwrap().unwrap() else { panic!("it is empty") };
    assert!(last == at(5, 999) && first <= at(5, 900) && first > at(5, 500), "{first} to {last}");
    assert_eq!(length, last.sequence - first.sequence + 1);
}

#[test]
fn whatever_else_is_in_the_stream_is_passed_on_as_empty_and_reading_goes_on() {
    let redis = RedisServer::start();
    let mut stream = stream(server(redis.port()));
    stream.put(at(5, 0), b"fence", true).unwrap();
    redis.cli(["XADD", "ostia:test:feed", "5-1", "a", "1"]);
    redis.cli(["XADD", "ostia:test:feed", "5-2", "b", "1", "c", "2"]);
    redis.cli(["XADD", "ostia:test:feed", "5-3", "b", ""]);
    stream.put(at(5, 4), b"ours", false).unwrap();
    let last = at(u64::MAX, u64::MAX);
    redis.cli(["XADD", "ostia:test:feed", "18446744073709551615-18446744073709551615", "b", "poison"]);
    let read: Vec<_> = stream.read(at(5, 0), 9, AT_ONCE).unwrap();
    let expected = [(at(5, 1), &b""[..]), (at(5, 2), b""), (at(5, 3), b""), (at(5, 4), b"ours"), (last, b"poison")];
    assert_eq!(read, expected.map(|(position, entry)| (position, entry.to_vec())));
    // Nobody can write after that.
    assert_eq!(stream.put(at(6, 0), b"fence", true), Ok(Appended::Lower));
    stream.remove().unwrap();
    assert_eq!(stream.put(at(6, 0), b"fence", true), Ok(Appended::Written));
    // A key of another kind.
    redis.cli(["SET", "ostia:test:feed", "1"]);
    let fault = stream.put(at(7, 0), b"fence", true).unwrap_err();
    assert!(fault.cause == Cause::OtherType && fault.message.contains("`redis-cli UNLINK ostia:test:feed`"), "{fault}");
    assert_eq!(stream.extent().unwrap_err().cause, Cause::OtherType);
    assert_eq!(stream.read(at(5, 0), 9, AT_ONCE).unwrap_err().cause, Cause::OtherType);
    // That of the manifest is replaced by whoever leads.
    redis.cli(["RPUSH", "ostia:test:head", "1"]);
    assert_eq!(stream.manifest(), Ok(Some(Vec::new())));
    stream.set_manifest(b"again").unwrap();
    assert_eq!(stream.manifest(), Ok(Some(b"again".to_vec())));
}

#[test]
fn whatever_else_answers_there_is_told_with_what_is_to_be_done() {
    let told = |port: u16, wanted: &str| {
        let fault = stream(server(port)).extent().unwrap_err();
        assert!(fault.message.contains(wanted), "no `{wanted}` in {fault}");
        fault.cause
    };
    let node = RedisServer::with("cluster-enabled yes\n");
    assert_eq!(told(node.port(), "which would spread the feed: name a Redis without `cluster-enabled`"), Cause::Other);
    let one = RedisServer::with("maxclients 1\n");
    let mut first = stream(server(one.port()));
    ostia_tests::until("the only place is taken", Duration::from_secs(20), || first.extent().ok());
    assert_ne!(told(one.port(), "max number of clients reached; raise `maxclients`"), Cause::OtherType);
    let renamed = RedisServer::with("rename-command XINFO \"\"\n");
    assert_eq!(told(renamed.port(), "with its commands under their own names"), Cause::Other);
    let busy = RedisServer::with("busy-reply-threshold 100\n");
    std::thread::scope(|scope| {
        scope.spawn(|| busy.cli(["EVAL", "while true do end", "0"]));
        let mut asker = stream(server(busy.port()));
        let is_busy = || asker.extent().err().filter(|fault| fault.message.contains("`redis-cli SCRIPT KILL` ends it"));
        ostia_tests::until("somebody's script runs", Duration::from_secs(20), is_busy);
        busy.cli(["SCRIPT", "KILL"]);
        ostia_tests::until("it answers again", Duration::from_secs(20), || asker.extent().ok());
    });
    // A server of web pages; and a Redis in protected mode, which lets loopback addresses in, so that a real one would not do.
    let said = |bytes: &'static [u8]| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let _ = std::io::Read::read(&mut client, &mut [0; 1024]);
                let _ = std::io::Write::write_all(&mut client, bytes);
            }
        });
        port
    };
    assert_eq!(
        told(said(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"), "did not answer: "),
        Cause::Unknown
    );
    let denied = said(b"-DENIED Redis is running in protected mode because protected mode is enabled.\r\n");
    assert_eq!(told(denied, "set one there (`requirepass`)"), Cause::Other);
    // One that follows another, and has just begun to.
    let master = RedisServer::start();
    master.cli(["XADD", "ostia:test:feed", "5-1", "b", "x"]);
    let mut reader = stream(server(master.port()));
    let waiting = std::thread::spawn(move || reader.read(at(5, 1), 9, Duration::from_secs(30)));
    ostia_tests::until("a reader waits", Duration::from_secs(20), || {
        master.cli(["INFO", "clients"]).contains("blocked_clients:1").then_some(())
    });
    master.cli(["REPLICAOF", "127.0.0.1", "1"]);
    let fault = waiting.join().unwrap().unwrap_err();
    assert!(fault.cause == Cause::NotMaster && fault.message.contains("another server may be the master"), "{fault}");
}

#[test]
fn what_a_server_in_trouble_does_to_a_write_is_told_apart() {
    let mut redis = RedisServer::start();
    let mut stream = stream(server(redis.port()));
    stream.put(at(5, 0), b"fence", true).unwrap();
    // Its memory is full.
    redis.cli(["CONFIG", "SET", "maxmemory", "1"]);
    let fault = stream.put(at(9, 0), b"fence", true).unwrap_err();
    assert!(fault.cause == Cause::Full && fault.message.contains("maxmemory"), "{fault}");
    redis.cli(["CONFIG", "SET", "maxmemory", "0"]);
    // It has too few followers, or follows another.
    redis.cli(["CONFIG", "SET", "min-replicas-to-write", "1"]);
    assert_eq!(cause(&mut stream), Cause::NotMaster);
    redis.cli(["CONFIG", "SET", "min-replicas-to-write", "0"]);
    redis.cli(["REPLICAOF", "127.0.0.1", "1"]);
    assert_eq!(cause(&mut stream), Cause::NotMaster);
    redis.cli(["REPLICAOF", "NO", "ONE"]);
    assert_eq!(stream.put(at(5, 1), b"one", false), Ok(Appended::Written));
    assert_eq!(stream.wait_for_followers(1, Duration::from_millis(50)), Ok(0));
    // It hangs: the entry may come to be there. The late answer is nobody else's.
    redis.pause();
    let begun = Instant::now();
    let fault = stream.put(at(5, 2), b"two", false).unwrap_err();
    assert!(fault.cause == Cause::Unknown && begun.elapsed() < Duration::from_secs(30), "{fault}");
    assert!(!stream.is_connected());
    redis.go_on();
    let written =
        ostia_tests::until("it is there after all", Duration::from_secs(20), || stream.entry_at(at(5, 2)).ok()?);
    assert_eq!(written, b"two");
    assert_eq!(stream.put(at(5, 2), b"two", false), Ok(Appended::Lower));
    // It is gone, and comes back empty.
    redis.kill();
    assert!(matches!(cause(&mut stream), Cause::Unknown | Cause::Unreachable));
    assert_eq!(cause(&mut stream), Cause::Unreachable);
    redis.kill();
    redis.restart();
    assert_eq!(stream.put(at(5, 3), b"three", false), Ok(Appended::NoStream));
}

#[test]
fn a_machine_learns_whether_its_entry_may_be_there_and_why_it_is_not() {
    let mut redis = RedisServer::start();
    let patience = Duration::from_millis(300);
    let mut stream = stream(server(redis.port())).waiting(patience);
    let entry = |sequence, bytes: &[u8]| Sealed { position: at(5, sequence), chain: Chain::START, bytes: bytes.into() };
    let first = stream.connection();
    assert_eq!(stream.append(&entry(0, b"fence"), true), Appended::Written);
    let begun = Instant::now();
    assert_eq!(stream.read_after(at(5, 0), 9), Ok(vec![]));
    assert!(begun.elapsed() >= patience - Duration::from_millis(10), "it waits for the first entry");
    assert_eq!(stream.connection(), first);
    assert_eq!(stream.fault(), None);
    redis.pause();
    assert_eq!(stream.append(&entry(1, b"one"), false), Appended::Ambiguous);
    assert_eq!(stream.fault().map(|fault| fault.cause), Some(Cause::Unknown));
    redis.go_on();
    let again = ostia_tests::until("there is another connection", Duration::from_secs(20), || stream.connection());
    assert!(Some(again) > first, "it may lead elsewhere");
    redis.kill();
    stream.disconnect();
    assert_eq!(stream.append(&entry(2, b"two"), false), Appended::Gone);
    assert_eq!((stream.info(), stream.connection()), (Err(Gone), None));
    assert_eq!(stream.fault().map(|fault| fault.cause), Some(Cause::Unreachable));
}

#[test]
fn who_is_not_let_in_learns_why_and_no_password_is_shown() {
    let redis = RedisServer::with_password("geheim");
    redis.cli(["ACL", "SETUSER", "replica", "on", ">leise", "~ostia:*", "+xread", "+xinfo"]);
    for (what, mut stream) in [
        ("no password", stream(server(redis.port()))),
        ("a wrong one", with_password(&redis, None, "falsch")),
        ("a user who is not there", with_password(&redis, Some("writer"), "geheim")),
        ("a user who may only read", with_password(&redis, Some("replica"), "leise")),
    ] {
        let fault = stream.put(at(9, 0), b"fence", true).unwrap_err();
        let shown = format!("{fault} {stream:?}");
        assert!(fault.cause == Cause::Refused && shown.contains("ACL GETUSER"), "{what}: {shown}");
        assert!(["geheim", "falsch", "leise"].iter().all(|secret| !shown.contains(secret)), "{what}: {shown}");
    }
    let mut writer = with_password(&redis, None, "geheim");
    assert_eq!(writer.put(at(5, 0), b"fence", true), Ok(Appended::Written));
    assert_eq!(writer.eviction_policy(), Ok(Some("noeviction".to_owned())));
    let mut reader = with_password(&redis, Some("replica"), "leise");
    assert_eq!(reader.read(Position::START, 9, AT_ONCE).unwrap().len(), 1);
    assert_eq!(reader.eviction_policy(), Ok(None), "it may not ask");
    assert!(reader.extent().unwrap().is_some());
}

#[test]
fn over_tls_only_the_configured_ca_counts_and_the_name_has_to_be_right() {
    let mut redis = RedisServer::with_tls();
    let ca = std::fs::read(redis.ca()).unwrap();
    let other = std::fs::read(RedisServer::with_tls().ca()).unwrap();
    let connect = |host: &str, port: u16, trust: Option<&Trust>| {
        let address = Address::Tcp { host: host.to_owned(), port };
        stream(Server { address, tls: trust.cloned(), ..server(0) }).put(at(5, 0), b"fence", true)
    };
    let (port, trust) = (redis.tls_port(), Trust::These(ca));
    let refused = |what: &str, fault: &Fault, wanted: &str| {
        assert!(matches!(fault.cause, Cause::Unreachable | Cause::Unknown), "{what}: {fault}");
        assert!(fault.message.contains(wanted), "{what}: no `{wanted}` in {fault}");
    };
    let named = "`feed.tls_ca` has to name the CA of its certificate, and `feed.redis` a host that stands in it";
    for (what, host, port, trust, wanted) in [
        ("another CA", "localhost", port, Some(&Trust::These(other)), named),
        ("the system's CAs", "localhost", port, Some(&Trust::System), named),
        ("another name", "127.0.0.1", port, Some(&trust), named),
        ("no TLS", "localhost", port, None, "or wants TLS"),
        ("a port without", "localhost", redis.port(), Some(&trust), "may not speak TLS"),
    ] {
        refused(what, &connect(host, port, trust).unwrap_err(), wanted);
    }
    assert_eq!(connect("localhost", port, Some(&trust)), Ok(Appended::Written));
    // The certificate of a CA, as `openssl req -x509` makes it, in the place of the server's.
    for (from, to) in [("ca.pem", "server.pem"), ("ca.key", "server.key")] {
        std::fs::copy(redis.dir().join(from), redis.dir().join(to)).unwrap();
    }
    redis.kill();
    redis.restart();
    let fault = connect("localhost", port, Some(&trust)).unwrap_err();
    refused("a CA's certificate", &fault, "give it one that this CA has issued");
}

/// Each user of the shipped list can do what it is for, and nothing more.
#[test]
fn the_shipped_users_may_do_what_they_are_for() {
    let redis = RedisServer::with_users("");
    let of = |who: &str, name: &str| with_password(&redis, Some(name), &RedisServer::acl_password(who));
    let refused = |outcome: Result<(), Fault>| assert_eq!(outcome.unwrap_err().cause, Cause::Refused);
    let mut writer = of("WRITER", "ostia-writer");
    assert_eq!(writer.put(at(5, 0), b"fence", true), Ok(Appended::Written));
    assert_eq!(writer.put(at(5, 1), b"begin", false), Ok(Appended::Written));
    writer.set_manifest(b"manifest").unwrap();
    assert_eq!(writer.wait_for_followers(0, AT_ONCE), Ok(0));
    let reads = |stream: &mut Stream| {
        assert_eq!(stream.extent().unwrap().unwrap().length, 2);
        assert_eq!(stream.read(at(5, 0), 9, Duration::from_millis(50)).unwrap(), [(at(5, 1), b"begin".to_vec())]);
        assert_eq!(stream.entry_at(at(5, 0)).unwrap().unwrap(), b"fence");
        assert_eq!(stream.last_entries(9).unwrap().len(), 2);
        assert_eq!(stream.manifest().unwrap().unwrap(), b"manifest");
        assert_eq!(stream.eviction_policy().unwrap().unwrap(), "noeviction");
        assert_eq!(stream.followers().unwrap(), Some(0));
    };
    reads(&mut writer);
    let mut replica = of("REPLICA", "ostia-replica");
    reads(&mut replica);
    refused(replica.put(at(6, 0), b"forged", true).map(drop));
    refused(replica.set_manifest(b"forged"));
    refused(replica.trim_before(at(5, 1)));
    refused(replica.remove());
    // Of all keys it writes to those of shared answers alone.
    assert_eq!(replica.may_share(), Ok(Some(MayShare::Both)));
    replica.share(&[offer("k", b"value")]).unwrap();
    assert_eq!(replica.shared(&[wanted("k", 5)]), Ok(vec![Some(b"value".to_vec())]));
    for key in ["ostia:test:head", "ostia:test:feed", "ostia:a:b"] {
        let set = format!("ACL DRYRUN ostia-replica SET {key} x");
        let [acl, dryrun, user, command, key, value] = set.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let told = redis.cli([acl, dryrun, user, command, key, value]);
        assert!(told.contains("no permissions"), "{key}: {told}");
    }
    redis.cli(["ACL", "SETUSER", "ostia-replica", "-set"]);
    assert_eq!(replica.may_share(), Ok(Some(MayShare::ReadOnly)));
    refused(replica.share(&[offer("k", b"value")]));
    redis.cli(["ACL", "SETUSER", "ostia-replica", "-getrange"]);
    assert_eq!(replica.may_share(), Ok(Some(MayShare::Neither)));
    refused(replica.shared(&[wanted("k", 5)]).map(drop));
    let mut metrics = of("METRICS", "metrics");
    assert!(metrics.eviction_policy().unwrap().is_some());
    refused(metrics.extent().map(drop));
    refused(metrics.manifest().map(drop));
    // Nobody else is let in, nor with another's password; and the feed is all that a writer reaches.
    refused(stream(server(redis.port())).extent().map(drop));
    refused(of("REPLICA", "ostia-writer").extent().map(drop));
    let mut elsewhere = Stream::new(
        Server {
            login: Login {
                user: Some("ostia-writer".to_owned()),
                password: Some(RedisServer::acl_password("WRITER").into()),
            },
            ..server(redis.port())
        },
        &Cluster::new("another").unwrap(),
    );
    assert_eq!(elsewhere.put(at(5, 0), b"fence", true), Ok(Appended::Written), "of any cluster");
    writer.trim_before(at(5, 1)).unwrap();
    writer.remove().unwrap();
    assert_eq!(writer.extent(), Ok(None));
}

/// Followers that have all of a former connection are counted by WAIT for a new one that wrote nothing.
#[test]
fn on_a_new_connection_nothing_was_written_before_an_entry_is() {
    let redis = RedisServer::start();
    let mut writer = stream(server(redis.port()));
    assert!(writer.connection().is_some() && !writer.has_written());
    let bytes: std::sync::Arc<[u8]> = b"entry"[..].into();
    let entry = |sequence| Sealed { position: at(5, sequence), chain: Chain::START, bytes: bytes.clone() };
    assert_eq!(writer.append(&entry(0), true), Appended::Written);
    assert!(writer.has_written());
    writer.disconnect();
    assert!(!writer.has_written() && writer.connection().is_some() && !writer.has_written());
    assert_eq!(writer.append(&entry(0), true), Appended::Lower);
    assert!(!writer.has_written(), "it was not this connection that wrote it");
    assert_eq!(writer.append(&entry(1), true), Appended::Written);
    assert!(writer.has_written());
}

fn offer(key: &str, value: &[u8]) -> Offer {
    Offer { key: key.to_owned(), value: value.to_vec(), lasts: Duration::from_secs(3600) }
}

fn wanted(key: &str, octets: usize) -> Wanted {
    Wanted { key: key.to_owned(), octets }
}

#[test]
fn shared_answers_are_put_and_read_many_at_once_and_no_more_is_read_than_an_answer_may_have() {
    let redis = RedisServer::start();
    let mut stream = stream(server(redis.port()));
    assert_eq!(stream.shared(&[wanted("a", 3), wanted("b", 3)]), Ok(vec![None, None]));
    stream.share(&[offer("a", b"\0\r\n"), offer("b", b"123"), offer("a", b"\0\r\t")]).unwrap();
    redis.cli(["SET", "ostia:test:a:long", &"x".repeat(100_000)]);
    redis.cli(["RPUSH", "ostia:test:a:list", "a"]);
    redis.cli(["SET", "ostia:test:a:empty", ""]);
    let keys = ["a", "b", "long", "list", "empty", "none"].map(|key| wanted(key, 3));
    let read = stream.shared(&keys).unwrap();
    let expected = [Some(&b"\0\r\t"[..]), Some(b"123"), Some(b"xxxx"), Some(b"\0"), None, None];
    assert_eq!(read, expected.map(|value| value.map(<[u8]>::to_vec)));
    let lasts: u64 = redis.cli(["PTTL", "ostia:test:a:a"]).parse().unwrap();
    assert!((3_000_000..=3_600_000).contains(&lasts), "{lasts}");
    // Whatever was there is replaced.
    stream.share(&[offer("list", b"new")]).unwrap();
    assert_eq!(stream.shared(&[wanted("list", 3)]), Ok(vec![Some(b"new".to_vec())]));
    stream.share(&[Offer { lasts: Duration::ZERO, ..offer("a", b"old") }]).unwrap();
    ostia_tests::until("it expires", Duration::from_secs(20), || {
        (stream.shared(&[wanted("a", 3)]) == Ok(vec![None])).then_some(())
    });
    // To look what may be done writes nothing.
    let before = redis.cli(["DBSIZE"]);
    assert_eq!(stream.may_share(), Ok(Some(MayShare::Both)));
    assert_eq!(redis.cli(["DBSIZE"]), before);
}

#[test]
fn a_server_that_takes_no_shared_answers_says_why_and_is_read_on() {
    let redis = RedisServer::start();
    let mut stream = stream(server(redis.port()));
    stream.share(&[offer("a", b"one")]).unwrap();
    let cause = |stream: &mut Stream| stream.share(&[offer("b", b"two")]).unwrap_err().cause;
    redis.cli(["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!((cause(&mut stream), stream.may_share()), (Cause::Full, Ok(None)));
    redis.cli(["CONFIG", "SET", "maxmemory", "0"]);
    redis.cli(["CONFIG", "SET", "min-replicas-to-write", "1"]);
    assert_eq!((cause(&mut stream), stream.may_share()), (Cause::NotMaster, Ok(None)));
    assert_eq!(stream.shared(&[wanted("a", 3)]), Ok(vec![Some(b"one".to_vec())]));
}
