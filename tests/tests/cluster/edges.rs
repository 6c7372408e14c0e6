//! Edges: replicas without any key, before replicas that sign.

use std::{fs, net::SocketAddr, path::Path, thread, time::Duration};

use ostia_tests::{
    Ask, Cluster, ClusterPlan, Delegate, FaultyUpstream, KeyKind, Manner, Member, OpensslResponder, Status, der, http,
    openssl,
    stamp::{Query, Stamped},
};

use crate::{SOON, issued, revoked};

/// Two replicas that sign and stamp, started.
fn signing(replicas: usize) -> Cluster {
    ClusterPlan::of(1, replicas).replicas_with_key().stamping().policy("nonce = \"echo\"").start()
}

fn addresses(cluster: &Cluster, replicas: &[usize]) -> Vec<SocketAddr> {
    replicas.iter().map(|replica| cluster.replicas[*replica].site().http).collect()
}

/// An edge before these upstreams, ready.
#[track_caller]
fn edge_before(cluster: &mut Cluster, upstreams: &[SocketAddr], lines: &str) -> usize {
    let edge = cluster.add_edge(upstreams, lines);
    cluster.replicas[edge].start();
    cluster.until_filled(edge);
    edge
}

/// A question whose answer is not signed ahead.
fn miss(cluster: &Cluster, serial: &str) -> Ask {
    Ask::serial(&cluster.ca, serial).hash("sha384")
}

fn outcomes(edge: &Member, outcome: &str) -> f64 {
    edge.process().metric("ostia_upstream_requests_total", &format!("outcome=\"{outcome}\""))
}

/// One request about two certificates.
fn about_both(one: &[u8], other: &[u8]) -> Vec<u8> {
    let requests =
        |request| der::only(0x30, der::only(0x30, der::only(0x30, request).content).content).content.to_vec();
    let list = der::holding(0x30, &[&requests(one), &requests(other)]);
    der::holding(0x30, &[&der::holding(0x30, &[&list])])
}

#[test]
fn an_edge_answers_from_the_feed_and_passes_on_what_has_to_be_signed() {
    let mut cluster = signing(1);
    let (good, gone) = (issued(&cluster), revoked(&cluster));
    let upstreams = addresses(&cluster, &[0]);
    let edge = edge_before(&mut cluster, &upstreams, "");
    let member = &cluster.replicas[edge];
    let http = member.site().http;
    // What the feed carries needs nobody.
    cluster.until_said(edge, &good, &Status::Good, SOON);
    cluster.until_said(edge, &gone, &Status::Revoked, SOON);
    let before = outcomes(member, "answered");

    // Misses, of which the answers are kept;
    for (serial, status) in [(&good, Status::Good), (&gone, Status::Revoked)] {
        for _ in 0..2 {
            miss(&cluster, serial).at(http, "/").expect(status.clone());
        }
    }
    assert_eq!(outcomes(member, "answered"), before + 2.0);
    // nonces, which cost a signature each time;
    for _ in 0..2 {
        let answer = Ask::serial(&cluster.ca, &good).nonce().at(http, "/").expect(Status::Good);
        assert!(!answer.text.contains("no nonce in response"), "{}", answer.text);
    }
    // several certificates in one request;
    let [one, other] = [&good, &gone].map(|serial| Ask::serial(&cluster.ca, serial).request());
    let answer = http::post(http, "/", &about_both(&one, &other)).body;
    for (serial, status) in [(&good, Status::Good), (&gone, Status::Revoked)] {
        Ask::serial(&cluster.ca, serial).read(&answer).expect(status);
    }
    assert_eq!(outcomes(member, "answered"), before + 5.0);
    // and time-stamps.
    let query = Query::new(1).nonce(&[0x12, 0x34, 0x56]);
    Query::at(&query, http, "/tsa").expect_verified(&query.der(), &cluster.ca.certificate(), None);
    assert_eq!(outcomes(member, "answered"), before + 6.0);
    let chain = http::get(http, "/tsa/chain.pem");
    assert!(chain.status == 200 && chain.text().contains("BEGIN CERTIFICATE"), "{}", chain.text());
    Query::new(2).hash("md5").at(http, "/tsa").expect_rejection("badAlg");

    // What would be refused everywhere is refused here.
    miss(&cluster, "7777").at(http, "/").expect(Status::error("unauthorized"));
    assert_eq!(outcomes(member, "answered"), before + 6.0);

    // Without upstreams everything that is here is served on, and the rest has to wait.
    cluster.replicas[0].kill();
    cluster.are_revoked_now(&[&gone]);
    let unasked = issued(&cluster);
    cluster.until_said(edge, &unasked, &Status::Good, SOON);
    miss(&cluster, &unasked).at(http, "/").expect(Status::error("trylater"));
    Query::new(3).at(http, "/tsa").expect_rejection("systemFailure");
    let lines = cluster.until("readiness says why", SOON, || {
        miss(&cluster, &unasked).at(http, "/");
        let (status, text) = cluster.replicas[edge].readiness_text("")?;
        (status == 200 && text.contains("no upstream answers")).then_some(text)
    });
    assert!(lines.contains("degraded: edge: upstream http://") && lines.contains("cannot be reached"), "{lines}");
}

#[test]
fn an_edge_holds_no_secret() {
    let mut cluster = signing(1);
    let good = issued(&cluster);
    let upstreams = addresses(&cluster, &[0]);
    let edge = edge_before(&mut cluster, &upstreams, "");
    let member = &cluster.replicas[edge];
    // At work, so that whatever it needs is open.
    cluster.until("a miss is answered", SOON, || {
        (miss(&cluster, &good).at(member.site().http, "/").status == Status::Good).then_some(())
    });
    Query::new(1).at(member.site().http, "/tsa").granted();

    let configuration = fs::read_to_string(member.site().config()).unwrap();
    for word in ["key =", "pin-", "pkcs11"] {
        assert!(!configuration.to_lowercase().contains(word), "{word}: {configuration}");
    }
    let process = format!("/proc/{}", member.process().pid());
    let maps = fs::read_to_string(format!("{process}/maps")).unwrap();
    for library in ["softhsm", "pkcs11", "p11-kit", "opensc"] {
        assert!(!maps.contains(library), "{library}: {maps}");
    }
    // Neither open, nor read at some time: the keys are nowhere in its memory.
    for descriptor in fs::read_dir(format!("{process}/fd")).unwrap().flatten() {
        let target = fs::read_link(descriptor.path()).unwrap_or_default();
        assert!(target.extension().is_none_or(|extension| extension != "key"), "{}", target.display());
    }
    let secrets = private_keys(cluster.ca.dir());
    assert!(!secrets.is_empty(), "there are keys to look for");
    assert!(finds(cluster.replicas[0].process().pid(), &secrets), "who signs has one, so that this look finds any");
    assert!(!finds(member.process().pid(), &secrets), "a private key is in the memory of an edge");
}

/// The private values of the P-256 keys in a directory.
fn private_keys(dir: &Path) -> Vec<Vec<u8>> {
    let files = fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path());
    let keys = files.filter(|path| path.extension().is_some_and(|extension| extension == "key"));
    let scalar = |path: std::path::PathBuf| {
        let text = ostia_tests::openssl(dir, ["pkey", "-in", path.to_str().unwrap(), "-noout", "-text"]);
        let digits = text.split("priv:").nth(1)?.split("pub:").next()?.to_owned();
        let digits: String = digits.chars().filter(char::is_ascii_hexdigit).collect();
        let bytes: Vec<u8> =
            (0..digits.len() / 2).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap()).collect();
        Some(bytes[bytes.len().saturating_sub(32)..].to_vec())
    };
    keys.filter_map(scalar).collect()
}

/// Whether any of these values is in the writable memory of a process, in either order of bytes.
fn finds(pid: u32, values: &[Vec<u8>]) -> bool {
    use std::os::unix::fs::FileExt as _;
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let reversed = values.iter().map(|value| value.iter().rev().copied().collect::<Vec<u8>>());
    let wanted: Vec<Vec<u8>> = values.iter().cloned().chain(reversed).collect();
    let firsts: Vec<&[u8]> = wanted.iter().map(Vec::as_slice).collect();
    for line in maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|mode| mode.starts_with("rw"))) {
        let (begin, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let [begin, end] = [begin, end].map(|digits| u64::from_str_radix(digits, 16).unwrap());
        let mut page = vec![0; (1 << 20) + 32];
        for at in (begin..end).step_by(1 << 20) {
            let length = (end - at).min(page.len() as u64) as usize;
            let Ok(read) = memory.read_at(&mut page[..length], at) else { break };
            if page[..read].windows(32).any(|window| firsts.contains(&window)) {
                return true;
            }
        }
    }
    false
}

#[test]
fn an_edge_never_says_good_of_what_it_knows_as_revoked() {
    let mut cluster = signing(1);
    let serial = issued(&cluster);
    let origin = cluster.replicas[0].site().http;
    let upstream = FaultyUpstream::start(origin, Manner::Right);
    let edge = edge_before(&mut cluster, &[upstream.address()], "");
    let http = cluster.replicas[edge].site().http;
    let ask = miss(&cluster, &serial);
    cluster.until("the certificate is known", SOON, || (ask.at(http, "/").status == Status::Good).then_some(()));
    let old = http::post(origin, "/", &ask.request()).body;
    ask.read(&old).expect(Status::Good);
    // The replica is a step behind, for as long as it takes.
    upstream.set(Manner::Bytes(old));
    cluster.revoke(&serial);
    cluster.until_said(edge, &serial, &Status::Revoked, SOON);
    for _ in 0..5 {
        ask.at(http, "/").expect(Status::error("trylater"));
    }
    assert!(outcomes(&cluster.replicas[edge], "outdated") >= 5.0);
    let log = cluster.replicas[edge].log();
    assert!(log.contains("says `good` of a certificate that is `revoked` here"), "{log}");
    upstream.set(Manner::Right);
    cluster.until("the replica has caught up", SOON, || (ask.at(http, "/").status == Status::Revoked).then_some(()));
}

/// RFC 6960 section 4.2.2.2.1: whether a delegate is revoked is looked up in what is known here, whatever its certificate says.
#[test]
fn an_edge_refuses_what_a_delegate_has_signed_that_is_revoked_here() {
    let mut cluster = signing(1);
    let serials = [(); 3].map(|()| issued(&cluster));
    let delegate = cluster.ca.delegate(Delegate::Proper, KeyKind::P256);
    let upstream = OpensslResponder::start(&cluster.ca, &delegate, &["-ndays", "1"]);
    let edge = edge_before(&mut cluster, &[upstream.address()], "");
    let http = cluster.replicas[edge].site().http;
    cluster.until_said(edge, &serials[2], &Status::Good, SOON);
    miss(&cluster, &serials[0]).at(http, "/").expect(Status::Good);
    let serial =
        openssl(cluster.ca.dir(), ["x509", "-in", delegate.certificate.to_str().unwrap(), "-noout", "-serial"]);
    let serial = serial.trim().trim_start_matches("serial=");
    cluster.revoke(serial);
    cluster.until_said(edge, serial, &Status::Revoked, SOON);
    miss(&cluster, &serials[1]).at(http, "/").expect(Status::error("trylater"));
    assert!(outcomes(&cluster.replicas[edge], "signer") >= 1.0);
    let log = cluster.replicas[edge].log();
    assert!(log.contains("has a certificate that is revoked"), "{log}");
}

#[test]
fn ap1_talks_to_ps1_and_to_ps2_when_ps1_stops_and_goes_back_when_ps1_has_answered_for_a_while() {
    let mut cluster = signing(2);
    let serials: Vec<String> = (0..40).map(|_| issued(&cluster)).collect();
    let upstreams = addresses(&cluster, &[0, 1]);
    let edge = edge_before(&mut cluster, &upstreams, "fail_back = \"3s\"");
    let http = cluster.replicas[edge].site().http;
    cluster.until_said(edge, serials.last().unwrap(), &Status::Good, SOON);
    let mut left = serials.iter();
    let mut ask = |cluster: &Cluster| miss(cluster, left.next().unwrap()).at(http, "/");
    let in_use = |cluster: &Cluster, upstream: usize| {
        let labels = format!("upstream=\"http://{}/\"", upstreams[upstream]);
        cluster.replicas[edge].process().metric("ostia_upstream_in_use", &labels) == 1.0
    };
    ask(&cluster).expect(Status::Good);
    assert!(in_use(&cluster, 0));
    cluster.replicas[0].kill();
    // Nobody notices.
    for _ in 0..6 {
        ask(&cluster).expect(Status::Good);
    }
    assert!(in_use(&cluster, 1));
    cluster.replicas[0].start();
    cluster.until_filled(0);
    ask(&cluster).expect(Status::Good);
    assert!(in_use(&cluster, 1), "not at once");
    cluster.until("PS1 has answered for a while", SOON, || {
        // With a nonce, so that each is passed on.
        Ask::serial(&cluster.ca, &serials[0]).nonce().at(http, "/").expect(Status::Good);
        thread::sleep(Duration::from_millis(200));
        in_use(&cluster, 0).then_some(())
    });
    let log = cluster.replicas[edge].log();
    assert_eq!(log.matches("this upstream is asked from now on").count(), 2, "{log}");
}

#[test]
fn no_time_stamp_of_a_hostile_upstream_leaves_an_edge() {
    let mut cluster = signing(1);
    let origin = cluster.replicas[0].site().http;
    let query = Query::new(7).nonce(&[0x11, 0x22]);
    let raw = |query: &Query| http::exchange(origin, &query.request("/tsa", "")).unwrap().body;
    let (right, other_imprint, other_nonce) =
        (raw(&query), raw(&Query::new(8).nonce(&[0x11, 0x22])), raw(&Query::new(7)));
    let mut forged = right.clone();
    *forged.last_mut().unwrap() ^= 1;
    let carried = Stamped::decode(&right).granted().certificates.clone().expect("they were asked for").remove(0);
    // Certificates are not signed: the one that is carried, with another bit in its own signature.
    let at = right.windows(carried.len()).position(|window| *window == *carried).expect("it is carried");
    let mut altered = right.clone();
    altered[at + carried.len() - 1] ^= 1;
    for (bytes, outcome) in [
        (other_imprint, "token"),
        (other_nonce, "token"),
        (forged, "token"),
        (altered, "token"),
        (right[..right.len() - 1].to_vec(), "token"),
        (b"<html>".to_vec(), "token"),
    ] {
        let upstream = FaultyUpstream::start(origin, Manner::StampBytes(bytes));
        let edge = edge_before(&mut cluster, &[upstream.address()], "");
        query.at(cluster.replicas[edge].site().http, "/tsa").expect_rejection("systemFailure");
        assert_eq!(outcomes(&cluster.replicas[edge], outcome), 1.0, "{}", cluster.replicas[edge].log());
        upstream.set(Manner::StampBytes(right.clone()));
        query.at(cluster.replicas[edge].site().http, "/tsa").granted();
        cluster.replicas[edge].kill();
    }
}

/// The configuration of an edge that reaches nobody but those who give snapshots.
fn without_redis(text: &str) -> String {
    text.lines().filter(|line| !line.starts_with("redis = ")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn an_edge_that_reaches_no_redis_polls_the_feed_of_those_who_give_snapshots() {
    let mut cluster = signing(1);
    let (good, gone) = (issued(&cluster), revoked(&cluster));
    let upstreams = addresses(&cluster, &[0]);
    let edge = cluster.add_edge(&upstreams, "");
    cluster.replicas[edge].site().edit_config(|text| without_redis(&text));
    let checked = cluster.replicas[edge].site().check();
    assert!(
        checked.text.contains("gives the feed") && checked.text.contains("has the newest snapshot"),
        "{}",
        checked.text
    );
    cluster.replicas[edge].start();
    cluster.until_filled(edge);
    cluster.until_said(edge, &good, &Status::Good, SOON);
    cluster.until_said(edge, &gone, &Status::Revoked, SOON);
    // What happens from now on comes by polls.
    for _ in 0..3 {
        let serial = issued(&cluster);
        cluster.until_said(edge, &serial, &Status::Good, SOON);
        cluster.revoke(&serial);
        cluster.until_said(edge, &serial, &Status::Revoked, SOON);
    }
    cluster.until("it hears the writer", SOON, || (cluster.replicas[edge].readiness("?fresh=1")? == 200).then_some(()));
    // Longer than one connection is used for: nobody notices that there is another one.
    let disconnects = cluster.replicas[edge].log().matches("cannot be had").count();
    assert_eq!(disconnects, 0, "{}", cluster.replicas[edge].log());

    // Who gives it is gone for a while: what is known is served on, and what was missed comes after.
    cluster.writers[0].kill();
    cluster.until("it says that it hears nobody", SOON, || {
        (cluster.replicas[edge].readiness("?fresh=1")? == 503).then_some(())
    });
    cluster.are_revoked_now(&[&gone]);
    cluster.writers[0].start();
    cluster.until_led(SOON);
    let serial = issued(&cluster);
    cluster.revoke(&serial);
    cluster.until_said(edge, &serial, &Status::Revoked, SOON);
}
