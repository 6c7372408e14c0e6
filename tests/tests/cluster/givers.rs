//! Edges that poll the feed, and those who give it: over TLS, and from hostile ones.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use ostia_tests::{Cluster, ClusterPlan, Haproxy, Status, free_port, http, until};

use crate::{
    SOON,
    https::{issue, make_ca},
    issued, revoked,
};

/// What is given to who polls.
#[derive(Clone, Debug)]
enum Giving {
    /// This body, for each request.
    Body(Vec<u8>),
    /// This head of a response, and nothing more.
    Head(String),
    /// A body without an end.
    Endless,
    /// A header without an end.
    EndlessHeader,
    /// A byte in 200 ms.
    Dripping,
    /// Entries that nobody has signed, always new ones.
    Forged,
    /// Nothing new, each time on another connection.
    OtherConnections,
    /// What another giver has.
    Of(SocketAddr),
    /// What another giver had once.
    Replayed(Vec<u8>),
}

/// Somebody who gives a feed, and whom nobody should believe. It works until the test ends.
struct Hostile {
    address: SocketAddr,
    requests: Arc<Mutex<usize>>,
}

/// Bytes of an answer to a poll before its entries: magic, connection, whether there is a stream, its last place and length.
const HEAD: usize = 4 + 8 + 1 + 24;

fn number(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes[..8].try_into().unwrap())
}

/// An answer to a poll: on this connection, a stream that ends there, and these entries.
fn answer(connection: u64, last: (u64, u64), entries: &[((u64, u64), Vec<u8>)]) -> Vec<u8> {
    let mut out = [&b"OFP1"[..], &connection.to_be_bytes(), &[1]].concat();
    [last.0, last.1, 1000].iter().for_each(|number| out.extend(number.to_be_bytes()));
    for ((epoch, sequence), entry) in entries {
        [epoch, sequence].iter().for_each(|number| out.extend(number.to_be_bytes()));
        out.extend(u32::try_from(entry.len()).unwrap().to_be_bytes());
        out.extend(entry);
    }
    out
}

/// The entries of an answer behind a place, as somebody would give them who has no others.
fn behind(whole: &[u8], after: (u64, u64), most: usize) -> Vec<u8> {
    let (mut out, mut rest) = (whole[..HEAD].to_vec(), &whole[HEAD..]);
    let mut count = 0;
    while rest.len() >= 20 {
        let length = 20 + u32::from_be_bytes(rest[16..20].try_into().unwrap()) as usize;
        if (number(rest), number(&rest[8..])) > after && count < most {
            out.extend(&rest[..length]);
            count += 1;
        }
        rest = &rest[length..];
    }
    out
}

impl Hostile {
    fn giving(giving: Giving) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (address, requests) = (listener.local_addr().unwrap(), Arc::<Mutex<usize>>::default());
        let counted = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (giving, counted) = (giving.clone(), Arc::clone(&counted));
                thread::spawn(move || while serve(&stream, &giving, &counted).is_some() {});
            }
        });
        Self { address, requests }
    }

    fn requests(&self) -> usize {
        *self.requests.lock().unwrap()
    }
}

/// One request; `None` where the connection is over.
fn serve(mut stream: &TcpStream, giving: &Giving, requests: &Mutex<usize>) -> Option<()> {
    let mut lines = BufReader::new(stream).lines();
    let target = lines.next()?.ok()?.split(' ').nth(1)?.to_owned();
    lines.find(|line| line.as_ref().map_or(true, String::is_empty))?.ok()?;
    let count = {
        let mut requests = requests.lock().unwrap();
        *requests += 1;
        *requests as u64
    };
    let value = |name: &str| target.split(&['?', '&'][..]).find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let after = value("after").and_then(|after| after.split_once('-'));
    let after = after.map_or((0, 0), |(epoch, sequence)| (epoch.parse().unwrap(), sequence.parse().unwrap()));
    let most: usize = value("most").map_or(0, |most| most.parse().unwrap());
    let mut say = |body: &[u8]| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(&[head.as_bytes(), body].concat()).ok()
    };
    match giving {
        Giving::Body(body) => say(body),
        Giving::Head(head) => stream.write_all(head.as_bytes()).ok(),
        Giving::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nOFP1").ok()?;
            while stream.write_all(&[0; 1 << 16]).is_ok() {}
            None
        }
        Giving::EndlessHeader => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nX-More: ").ok()?;
            while stream.write_all(&[b'x'; 1 << 16]).is_ok() {}
            None
        }
        Giving::Dripping => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").ok()?;
            while stream.write_all(b"O").is_ok() {
                thread::sleep(Duration::from_millis(200));
            }
            None
        }
        Giving::Forged => {
            let forged = |number: u64| ((after.0.max(1), after.1 + number), vec![number as u8; 200]);
            let entries: Vec<_> = (1..=most as u64).map(forged).collect();
            say(&answer(7, (u64::MAX, 1), &entries))
        }
        Giving::OtherConnections => say(&answer(count, (1, 1), &[])),
        Giving::Of(other) => say(&http::get(*other, &target).body),
        Giving::Replayed(_) if target.ends_with("/head") => say(&[]),
        Giving::Replayed(whole) => say(&behind(whole, after, most)),
    }
}

/// The configuration of an edge that reaches these alone.
fn fed_by(text: &str, givers: &[String]) -> String {
    let is_another = |line: &&str| !line.starts_with("redis = ") && !line.starts_with("snapshot_from = ");
    let lines: Vec<_> = text.lines().filter(is_another).collect();
    lines.join("\n").replacen("[feed]\n", &format!("[feed]\nsnapshot_from = {givers:?}\n"), 1)
}

/// An edge that is fed by these, started.
fn edge_fed_by(cluster: &mut Cluster, givers: &[String]) -> usize {
    let upstreams = [cluster.replicas[0].site().http];
    let edge = cluster.add_edge(&upstreams, "");
    cluster.replicas[edge].site().edit_config(|text| fed_by(&text, givers));
    cluster.replicas[edge].start();
    edge
}

/// The most memory that a process has had, in MiB.
fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// It has what was there, and learns of what comes.
fn follows(cluster: &Cluster, edge: usize, gone: &str) {
    cluster.until_filled(edge);
    cluster.until_said(edge, gone, &Status::Revoked, SOON);
    let serial = issued(cluster);
    cluster.until_said(edge, &serial, &Status::Good, SOON);
    cluster.revoke(&serial);
    cluster.until_said(edge, &serial, &Status::Revoked, SOON);
}

#[test]
fn a_hostile_giver_of_polls_changes_nothing_and_another_one_is_gone_to() {
    let mut cluster = ClusterPlan::of(1, 1).replicas_with_key().start();
    let strangers = ClusterPlan::of(1, 1).start();
    let gone = revoked(&cluster);
    let right = cluster.writers[0].snapshots().unwrap();
    let replayed = http::get(right, "/feed/tests/entries?after=0-0&most=256&wait=0").body;
    assert!(replayed.len() > HEAD, "there are entries to be replayed");
    let head = |lines: &str| Giving::Head(format!("HTTP/1.1 {lines}Content-Length: 0\r\n\r\n"));
    let elsewhere = format!("302 Found\r\nLocation: {}/feed/tests/head\r\n", url(right));
    let manners = [
        (Giving::Body(b"<html>It works!</html>".to_vec()), "it gives something else than a feed"),
        (head("204 No Content\r\n"), "it gives something else than a feed"),
        (head(&elsewhere), "HTTP status 302"),
        (head("500 Internal Server Error\r\n"), "HTTP status 500"),
        (Giving::Endless, "it sends too much"),
        (Giving::EndlessHeader, "the feed at"),
        (Giving::Dripping, "timeout"),
        (Giving::Forged, "nothing that counts came from"),
        (Giving::Of(strangers.writers[0].snapshots().unwrap()), "nothing that counts came from"),
        (Giving::OtherConnections, ""),
        (Giving::Body(replayed.clone()), "it gives other entries than were asked for"),
        (Giving::Replayed(replayed), ""),
    ];
    let mut most = 0;
    for (giving, said) in manners {
        let what = format!("{giving:?}").chars().take(60).collect::<String>();
        let hostile = Hostile::giving(giving);
        let edge = edge_fed_by(&mut cluster, &[url(hostile.address), url(right)]);
        follows(&cluster, edge, &gone);
        assert!(hostile.requests() > 0, "{what}: it was asked");
        let log = cluster.replicas[edge].log();
        let place = hostile.address.to_string();
        assert!(
            said.is_empty() || log.lines().any(|line| line.contains(said) && line.contains(&place)),
            "{what}: {log}"
        );
        cluster.until("it hears the writer", SOON, || {
            (cluster.replicas[edge].readiness("?fresh=1")? == 200).then_some(())
        });
        most = most.max(peak(cluster.replicas[edge].process().pid()));
        cluster.replicas[edge].kill();
    }
    // An edge that nobody attacks takes some 60 MiB.
    assert!(most < 250, "{most} MiB");
}

#[test]
fn an_edge_that_knows_only_a_hostile_giver_says_what_is_wrong_and_serves_on() {
    let mut cluster = ClusterPlan::of(1, 1).replicas_with_key().start();
    let gone = revoked(&cluster);
    let right = cluster.writers[0].snapshots().unwrap();
    for (giving, said, metric) in [
        (Giving::Forged, "are passed over", "ostia_feed_entries_refused_total"),
        (Giving::Body(b"garbage".to_vec()), "it gives something else than a feed", "ostia_feed_poll_failures_total"),
    ] {
        let hostile = Hostile::giving(giving);
        let edge = edge_fed_by(&mut cluster, &[url(right)]);
        cluster.until_filled(edge);
        cluster.until_said(edge, &gone, &Status::Revoked, SOON);
        // What it knows outlives who gave it.
        cluster.replicas[edge].restart_with(|text| fed_by(&text, &[url(hostile.address)]));
        let lines = cluster.until("readiness says why", SOON, || {
            let (_, text) = cluster.replicas[edge].readiness_text("")?;
            (text.contains(said) && text.contains(&hostile.address.to_string())).then_some(text)
        });
        assert!(lines.contains("feed"), "{lines}");
        cluster.until("it is counted", SOON, || {
            (cluster.replicas[edge].process().metric(metric, "") >= 1.0).then_some(())
        });
        cluster.until_said(edge, &gone, &Status::Revoked, SOON);
        // Whoever answers at once is not asked all the time.
        let (begin, before) = (std::time::Instant::now(), hostile.requests());
        thread::sleep(Duration::from_secs(2));
        let rate = (hostile.requests() - before) as f64 / begin.elapsed().as_secs_f64();
        assert!(rate < 400.0, "{rate} requests a second");
        cluster.replicas[edge].kill();
    }
}

#[test]
fn polls_and_snapshots_are_fetched_over_tls_from_who_has_a_certificate_of_the_ca_that_is_named() {
    let mut cluster = ClusterPlan::of(1, 1).replicas_with_key().start();
    let gone = revoked(&cluster);
    let (dir, tls) = (tempfile::tempdir().unwrap(), free_port(Ipv4Addr::LOCALHOST.into()));
    make_ca(dir.path(), "root");
    fs::write(dir.path().join("pair.pem"), issue(dir.path(), "root", &format!("IP:{}", tls.ip()), &[])).unwrap();
    fs::set_permissions(dir.path().join("pair.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    let lines = format!("  bind {tls} ssl crt pair.pem\n  server writer {}\n", cluster.writers[0].snapshots().unwrap());
    let _haproxy = Haproxy::start(dir.path(), &lines);
    until("haproxy listens", SOON, || TcpStream::connect(tls).ok());
    let upstreams = [cluster.replicas[0].site().http];
    let edge = cluster.add_edge(&upstreams, "");
    // Not trusted yet.
    cluster.replicas[edge].site().edit_config(|text| fed_by(&text, &[format!("https://{tls}")]));
    let checked = cluster.replicas[edge].site().check().text;
    assert!(checked.contains("`feed.https_ca` here has to name the CA of its certificate"), "{checked}");
    let trust = format!("[feed]\nhttps_ca = {:?}\n", dir.path().join("root.pem"));
    cluster.replicas[edge].site().edit_config(|text| text.replacen("[feed]\n", &trust, 1));
    let checked = cluster.replicas[edge].site().check().text;
    assert!(checked.contains("gives the feed") && checked.contains("has the newest snapshot"), "{checked}");
    cluster.replicas[edge].start();
    follows(&cluster, edge, &gone);
    let log = cluster.replicas[edge].log();
    assert!(!log.contains("cannot be had"), "{log}");
}
