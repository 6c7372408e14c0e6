//! Writers whose API is behind TLS: what becomes of debts, whatever stands before it.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    thread,
};

use ostia_tests::{Cluster, ClusterPlan, Haproxy, Member, free_port, openssl};

use crate::{DURABLE, SOON, issued, until_told};

/// A CA in `dir`, as `NAME.pem` and `NAME.key`.
pub(crate) fn make_ca(dir: &Path, name: &str) {
    let (key, certificate, subject) = (format!("{name}.key"), format!("{name}.pem"), format!("/CN={name}"));
    let kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-keyout", &key];
    openssl(dir, [&["req", "-x509", "-days", "30", "-subj", &subject, "-out", &certificate][..], &kind].concat());
}

/// What haproxy takes: a certificate of `ca` with this subjectAltName, and its key.
pub(crate) fn issue(dir: &Path, ca: &str, alternative: &str, dates: &[&str]) -> String {
    let config = "[ca]\ndefault_ca = c\n[c]\nnew_certs_dir = .\ndatabase = fronts.txt\nrand_serial = yes\ndefault_md = sha256\npolicy = p\ndefault_days = 9\nunique_subject = no\n[p]\ncommonName = supplied\n";
    fs::write(dir.join("fronts.cnf"), config).unwrap();
    fs::write(dir.join("fronts.txt"), "").unwrap();
    fs::write(dir.join("fronts.ext"), format!("subjectAltName = {alternative}\n")).unwrap();
    let kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-keyout", "front.key"];
    openssl(dir, [&["req", "-new", "-subj", "/CN=front", "-out", "front.csr"][..], &kind].concat());
    let (certificate, key) = (format!("{ca}.pem"), format!("{ca}.key"));
    let sign = ["ca", "-batch", "-notext", "-config", "fronts.cnf", "-extfile", "fronts.ext", "-in", "front.csr"];
    let with = ["-cert", &certificate, "-keyfile", &key, "-out", "front.pem"];
    openssl(dir, [&sign[..], &with, dates].concat());
    let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
    read("front.pem") + &read("front.key")
}

/// TLS at `at`, and the API at `api` behind it. The API takes only what is sent to this machine itself.
fn front(dir: &Path, at: SocketAddr, api: SocketAddr, pair: Option<&str>) -> Haproxy {
    let tls = pair.map_or("", |pair| {
        fs::write(dir.join("front"), pair).unwrap();
        " ssl crt front"
    });
    let haproxy = Haproxy::with(
        dir,
        &format!(
            "defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\nlisten front\n  bind {at}{tls}\n  http-request set-header Host localhost\n  server api {api}\n"
        ),
    );
    ostia_tests::until("haproxy listens", SOON, || std::net::TcpStream::connect(at).ok());
    haproxy
}

/// Takes connections, and never says anything.
fn silent(at: SocketAddr) {
    let listener = TcpListener::bind(at).unwrap();
    thread::spawn(move || {
        let mut kept = Vec::new();
        listener.incoming().flatten().for_each(|stream| kept.push(stream));
    });
}

/// Where something with TLS is to stand before each writer, which names that as its own address.
fn named_by_https(cluster: &Cluster) -> Vec<SocketAddr> {
    let named = |writer: &Member| {
        let (admin, front) = (writer.site().admin, free_port(writer.site().admin.ip()));
        writer.site().edit_config(|text| {
            text.replace(&format!("api_url = \"http://{admin}\""), &format!("api_url = \"https://{front}\""))
        });
        front
    };
    cluster.writers.iter().map(named).collect()
}

/// Starts all of it: the first writer leads, and the second has everything.
fn start(cluster: &mut Cluster) {
    cluster.writers[0].start();
    assert_eq!(cluster.until_led(SOON), 0);
    cluster.writers[1].start();
    cluster.until("the other one follows", SOON, || {
        (cluster.writers[1].epoch() > 0.0 && cluster.writers[1].epoch() == cluster.writers[0].epoch()).then_some(())
    });
    cluster.replicas[0].start();
    cluster.until_filled(0);
}

/// A writer with a debt, which a former leader keeps, and the address that the one that leads names.
fn with_a_debt(cluster: &mut Cluster) -> (usize, usize, String) {
    let serial = issued(cluster);
    let former = cluster.until_led(SOON);
    cluster.redis.pause();
    let pushed = cluster.push(former, "revoke", &serial);
    assert!(pushed.status == 503 && pushed.text.contains("not-told"), "{pushed:?}");
    cluster.writers[former].pause();
    // What it has sent meanwhile is lost.
    cluster.redis.kill();
    cluster.redis.restart();
    let leader = cluster.until_led_by_another(former, SOON);
    cluster.writers[former].go_on();
    (former, leader, serial)
}

#[test]
fn debts_go_over_https_to_whom_the_ca_vouches_for_and_whatever_else_is_there_is_told_until_it_is_mended() {
    let lines = "acknowledge_within = \"1s\"\nhttps_ca = \"fronts-ca.pem\"";
    let mut cluster = ClusterPlan::of(2, 1).redis(DURABLE).set_of_writers(lines).set_up();
    let dir = tempfile::tempdir().unwrap();
    make_ca(dir.path(), "right");
    make_ca(dir.path(), "wrong");
    for writer in &cluster.writers {
        fs::copy(dir.path().join("right.pem"), writer.site().dir().join("fronts-ca.pem")).unwrap();
    }
    let fronts = named_by_https(&cluster);
    start(&mut cluster);
    let (former, leader, serial) = with_a_debt(&mut cluster);
    let (at, api) = (fronts[leader], cluster.writers[leader].site().admin);
    let named = format!("IP:{}", at.ip());
    let pair = |ca: &str, name: &str, dates: &[&str]| issue(dir.path(), ca, name, dates);
    let past = ["-startdate", "20240101000000Z", "-enddate", "20240201000000Z"];
    let told =
        "degraded: feed: 1 final revocations that only this writer knows cannot be pushed to the one that leads: ";
    let bad = [
        ("nobody", None, "Connection refused"),
        (
            "another CA",
            Some(Some(pair("wrong", &named, &[]))),
            "`feed.https_ca` here has to name the CA of its certificate",
        ),
        (
            "another name",
            Some(Some(pair("right", "IP:192.0.2.7", &[]))),
            "its certificate has other names: its `feed.api_url` has to say one that stands in it",
        ),
        ("one of yesterday", Some(Some(pair("right", &named, &past))), "renew its certificate, and look at the clocks"),
        ("no TLS", Some(None), "what answers there speaks no TLS: either its `feed.api_url` has to say `http://`"),
    ];
    for (what, pair, words) in bad {
        let haproxy = pair.map(|pair| front(dir.path(), at, api, pair.as_deref()));
        let lines = until_told(&cluster, &cluster.writers[former], words);
        assert!(lines.contains(told) && lines.contains(&format!("https://{at}/v1/issuers/")), "{what}: {lines}");
        drop(haproxy);
    }
    let writer = &cluster.writers[former];
    assert_eq!(writer.feed_metric("ostia_feed_debts", ""), Some(1.0));
    assert!(writer.feed_metric("ostia_feed_debts_refused_total", "").unwrap() >= 5.0);
    // Once, and not with every attempt.
    assert_eq!(writer.log().matches("cannot be pushed to the one that leads").count(), 1, "{}", writer.log());
    let haproxy = front(dir.path(), at, api, Some(&pair("right", &named, &[])));
    cluster.until_revoked_everywhere(&serial);
    cluster
        .until("it has no debts any more", SOON, || (writer.feed_metric("ostia_feed_debts", "")? == 0.0).then_some(()));
    let (_, lines) = writer.readiness_text("").unwrap();
    assert!(!lines.contains("cannot be pushed"), "{lines}");
    drop(haproxy);
}

/// Signs of life and everything else go on meanwhile.
#[test]
fn behind_https_a_leader_that_says_nothing_is_left_in_time_and_asked_again() {
    let mut cluster = ClusterPlan::of(2, 1).redis(DURABLE).set_of_writers("acknowledge_within = \"1s\"").set_up();
    named_by_https(&cluster).into_iter().for_each(silent);
    start(&mut cluster);
    let (former, leader, serial) = with_a_debt(&mut cluster);
    // A submission may take half a minute.
    cluster.until("it is told", 4 * SOON, || {
        let (_, lines) = cluster.writers[former].readiness_text("")?;
        (lines.contains("cannot be pushed to the one that leads: https://") && lines.contains("timeout")).then_some(())
    });
    cluster.until("it is tried again", 4 * SOON, || {
        (cluster.writers[former].feed_metric("ostia_feed_debts_refused_total", "")? >= 2.0).then_some(())
    });
    assert_eq!(cluster.leader(), Some(leader));
    // It leads itself in the end, and tells the debt.
    cluster.writers[leader].kill();
    cluster.until_revoked_everywhere(&serial);
}

/// The same client fetches snapshots.
#[test]
fn a_snapshot_is_fetched_over_https_from_whom_the_ca_vouches_for() {
    let mut cluster = ClusterPlan::of(1, 1).start();
    let leaf = issued(&cluster);
    let dir = tempfile::tempdir().unwrap();
    make_ca(dir.path(), "right");
    make_ca(dir.path(), "wrong");
    let snapshots = cluster.writers[0].snapshots().unwrap();
    let at = free_port(snapshots.ip());
    let named = format!("IP:{}", at.ip());
    let new = cluster.add_replica();
    let site = cluster.replicas[new].site();
    fs::copy(dir.path().join("right.pem"), site.dir().join("fronts-ca.pem")).unwrap();
    site.edit_config(|text| {
        let over_https = text.replace(&format!("\"http://{snapshots}\""), &format!("\"https://{at}\""));
        over_https.replacen("[feed]\n", "[feed]\nhttps_ca = \"fronts-ca.pem\"\n", 1)
    });
    let wrong = front(dir.path(), at, snapshots, Some(&issue(dir.path(), "wrong", &named, &[])));
    let told = "`feed.https_ca` here has to name the CA of its certificate";
    let checked = cluster.replicas[new].site().check().text;
    assert!(checked.contains("feed.snapshot_from: https://") && checked.contains(told), "{checked}");
    cluster.replicas[new].start();
    let lines = until_told(&cluster, &cluster.replicas[new], told);
    assert!(lines.starts_with("not ready"), "{lines}");
    drop(wrong);
    let right = front(dir.path(), at, snapshots, Some(&issue(dir.path(), "right", &named, &[])));
    cluster.until_filled(new);
    assert_eq!(cluster.says(new, &leaf), Some(ostia_tests::Status::Good));
    let checked = cluster.replicas[new].site().check().text;
    assert!(checked.contains(&format!("https://{at} has the newest snapshot")), "{checked}");
    drop(right);
}
