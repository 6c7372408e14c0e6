//! An issuer that another CA's responder answers for: `upstream` of `[[issuer]]`.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use ostia_tests::{
    Ask, Ca, Delegate, FakeClock, FaultyUpstream, KeyKind, Leaf, Manner, OpensslResponder, Responder, Signer, Site,
    Status, Tenant, free_port, http, openssl, until,
};

const A_DAY: &[&str] = &["-ndays", "1"];

/// A responder that has these upstreams for the CA, beside an issuer of its own; `lines`: of the tenant.
fn before(ca: &Ca, upstreams: &[SocketAddr], lines: &[&str]) -> Responder {
    let own = Ca::new("own");
    let signer = own.delegate(Delegate::Proper, KeyKind::P256);
    let tenant = lines.iter().fold(Tenant::of(&own, &signer), |tenant, line| tenant.set(line));
    Site::new(&[tenant.forwarded("other", ca, upstreams)]).start()
}

/// A CA with a delegate.
fn other() -> (Ca, Signer) {
    let ca = Ca::new("other");
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    (ca, signer)
}

fn outcomes(responder: &Responder, outcome: &str) -> f64 {
    responder.metric("ostia_upstream_requests_total", &format!("outcome=\"{outcome}\""))
}

#[test]
fn clients_get_the_answers_of_another_cas_responder() {
    let (ca, signer) = other();
    let (good, revoked) = (ca.issue(), ca.issue());
    ca.revoke(&revoked, &["-crl_reason", "keyCompromise"]);
    let upstream = OpensslResponder::start(&ca, &signer, A_DAY);
    let responder = before(&ca, &[upstream.address()], &[]);
    for _ in 0..2 {
        Ask::about(&ca, &good).at(responder.http(), "/").expect(Status::Good);
        let answer = Ask::about(&ca, &revoked).at(responder.http(), "/").expect(Status::Revoked);
        assert_eq!(answer.reason.as_deref(), Some("keyCompromise"));
        Ask::serial(&ca, "7777").at(responder.http(), "/").expect(Status::Unknown);
    }
    let count = |result: &str| {
        responder.metric("ostia_requests_total", &format!("issuer=\"other\",method=\"POST\",result=\"{result}\""))
    };
    // What is unknown may be issued the next moment, and is not kept.
    assert_eq!((count("forwarded"), count("hit")), (4.0, 2.0));
    assert_eq!(outcomes(&responder, "answered"), 4.0);

    // By GET as well, and with what caches need.
    let request = Ask::about(&ca, &good).request();
    let reply = http::get(responder.http(), &http::ocsp_target("/", &request));
    assert_eq!(reply.status, 200);
    let max_age = reply.cache_control_seconds("max-age");
    assert!((86_000..=86_400).contains(&max_age), "{max_age}");
    let condition = format!("If-None-Match: {}\r\n", reply.expect("etag"));
    let again = http::request("GET", &http::ocsp_target("/", &request), &condition);
    assert_eq!(http::exchange(responder.http(), &again).unwrap().status, 304);

    // The responder is gone: what is kept counts to its end, and anything else has to wait.
    drop(upstream);
    Ask::about(&ca, &good).at(responder.http(), "/").expect(Status::Good);
    let new = ca.issue();
    Ask::about(&ca, &new).at(responder.http(), "/").expect(Status::error("trylater"));
    assert!(responder.log().contains("cannot be reached"), "{}", responder.log());
}

#[test]
fn another_ostia_may_be_the_upstream_and_connections_are_used_again() {
    let (ca, signer) = other();
    let serials = ca.list(40);
    let origin = Site::new(&[Tenant::of(&ca, &signer)]).start();
    let counting = FaultyUpstream::start(origin.http(), Manner::Right);
    let responder = before(&ca, &[counting.address()], &[]);
    for serial in &serials {
        Ask::serial(&ca, serial).at(responder.http(), "/").expect(Status::Good);
    }
    assert_eq!((counting.requests(), counting.connections()), (40, 1));
    // Not ours there, and not by guess here.
    let refused = Ask::serial(&ca, "7777");
    refused.at(responder.http(), "/").expect(Status::error("unauthorized"));
    refused.at(responder.http(), "/").expect(Status::error("unauthorized"));
    assert_eq!(counting.requests(), 41, "a refusal is kept for a moment");
}

#[test]
fn equal_questions_share_one_answer() {
    let (ca, signer) = other();
    let leaf = ca.issue();
    let origin = Site::new(&[Tenant::of(&ca, &signer)]).start();
    let upstream = FaultyUpstream::start(origin.http(), Manner::Silent);
    let responder = before(&ca, &[upstream.address()], &[]);
    let request = Ask::about(&ca, &leaf).request();
    let post = |request: &[u8]| {
        let headers = format!("Content-Type: application/ocsp-request\r\nContent-Length: {}\r\n", request.len());
        let mut connection = http::Connection::open(responder.http()).unwrap();
        connection.send(&[http::request("POST", "/", &headers), request.to_vec()].concat()).unwrap();
        connection
    };
    let first = post(&request);
    until("the first is asked", Duration::from_secs(15), || (upstream.requests() == 1).then_some(()));
    let others: Vec<_> = (0..30).map(|_| post(&request)).collect();
    until("it is given up, and asked once more at most", Duration::from_secs(15), || {
        (outcomes(&responder, "slow") >= 1.0).then_some(())
    });
    upstream.set(Manner::Right);
    for mut connection in std::iter::once(first).chain(others) {
        let reply = connection.receive(false).unwrap().unwrap();
        assert_eq!(&reply.body[..], [0x30, 3, 0x0a, 1, 3], "they are told to try later, together");
    }
    assert_eq!(upstream.requests(), 1);
    Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
    assert_eq!(upstream.requests(), 2);
}

#[test]
fn a_nonce_is_passed_on_where_the_tenant_echoes_it_and_nowhere_else() {
    let (ca, signer) = other();
    let leaf = ca.issue();
    let upstream = OpensslResponder::start(&ca, &signer, A_DAY);
    let ask = Ask::about(&ca, &leaf).nonce();
    let echoing = before(&ca, &[upstream.address()], &["nonce = \"echo\""]);
    for _ in 0..2 {
        let answer = ask.at(echoing.http(), "/").expect(Status::Good);
        assert!(!answer.text.contains("no nonce in response"), "{}", answer.text);
    }
    let ignoring = before(&ca, &[upstream.address()], &[]);
    for _ in 0..2 {
        let answer = ask.at(ignoring.http(), "/").expect(Status::Good);
        assert!(answer.text.contains("no nonce in response"), "{}", answer.text);
    }
    assert_eq!((outcomes(&echoing, "answered"), outcomes(&ignoring, "answered")), (2.0, 1.0));
}

#[test]
fn an_upstream_over_tls_is_asked_if_its_certificate_is_of_the_ca_that_is_named() {
    let (ca, signer) = other();
    let leaf = ca.issue();
    let origin = Site::new(&[Tenant::of(&ca, &signer)]);
    let of_tls = Ca::new("TLS");
    let (address, server) = (free_port(origin.http.ip()), of_tls.server_at(origin.http.ip()));
    let tls = format!("\n[tls]\nlisten = [\"{address}\"]\n{}\n\n[admin]", server.lines());
    origin.edit_config(|text| text.replacen("\n[admin]", &tls, 1));
    let _origin = origin.start();
    let with = |tls_ca: &Ca| {
        let site = Site::new(&[Tenant::new("tests").forwarded("other", &ca, &[address])]);
        let lines = format!("\ntls_ca = {:?}\nupstream = [\"https://", tls_ca.certificate());
        site.edit_config(|text| text.replacen("\nupstream = [\"http://", &lines, 1));
        site.start()
    };
    Ask::about(&ca, &leaf).at(with(&of_tls).http(), "/").expect(Status::Good);
    let strict = with(&ca);
    Ask::about(&ca, &leaf).at(strict.http(), "/").expect(Status::error("trylater"));
    assert!(strict.log().contains("UnknownIssuer"), "{}", strict.log());
}

#[test]
fn check_asks_each_upstream_once() {
    let (ca, signer) = other();
    let origin = Site::new(&[Tenant::of(&ca, &signer)]).start();
    let right = FaultyUpstream::start(origin.http(), Manner::Right);
    let dead = free_port(right.address().ip());
    let site = Site::new(&[Tenant::new("tests").forwarded("other", &ca, &[right.address(), dead])]);
    let checked = site.check();
    assert!(checked.status.success(), "{}", checked.text);
    assert!(
        checked.text.contains(&format!("http://{dead}/")) && checked.text.contains("cannot be reached"),
        "{}",
        checked.text
    );
    assert!(!checked.text.contains(&format!("http://{}/", right.address())), "{}", checked.text);
    assert_eq!(right.requests(), 1);
}

#[test]
fn an_issuer_goes_to_another_upstream_by_a_reload_and_keeps_its_answers_otherwise() {
    let (ca, signer) = other();
    let serials = ca.list(200);
    let origin = Site::new(&[Tenant::of(&ca, &signer)]).start();
    let [first, second] = [(); 2].map(|()| FaultyUpstream::start(origin.http(), Manner::Right));
    let responder = Site::new(&[Tenant::new("tests").forwarded("other", &ca, &[first.address()])]).start();
    let ask = |serial: &String| drop(Ask::serial(&ca, serial).at(responder.http(), "/").expect(Status::Good));
    ask(&serials[0]);
    responder.reload(|text| text + "\n# nothing of it has changed\n");
    until("that is read", Duration::from_secs(30), || {
        responder.log().contains("the configuration was read again").then_some(())
    });
    ask(&serials[0]);
    assert_eq!((first.requests(), second.requests()), (1, 0));
    let (from, to) = (first.address().to_string(), second.address().to_string());
    responder.reload(|text| text.replace(&from, &to));
    // Serving threads go over to it by themselves, in a moment.
    let mut others = serials[1..].iter();
    until("the new one is asked", Duration::from_secs(15), || {
        ask(others.next().expect("it takes moments"));
        thread::sleep(Duration::from_millis(50));
        (second.requests() > 0).then_some(())
    });
}

#[test]
fn an_upstream_that_takes_no_post_is_asked_by_get() {
    let (ca, signer) = other();
    let serials = ca.list(5);
    let origin = Site::new(&[Tenant::of(&ca, &signer)]).start();
    let upstream = FaultyUpstream::start(origin.http(), Manner::GetAlone);
    let responder = before(&ca, &[upstream.address()], &[]);
    for serial in &serials {
        Ask::serial(&ca, serial).at(responder.http(), "/").expect(Status::Good);
    }
    assert_eq!(upstream.requests(), 6, "POST was tried once");
}

#[test]
fn nothing_that_a_hostile_upstream_sends_leaves() {
    let (ca, signer) = other();
    let leaf = ca.issue();
    let right = Site::new(&[Tenant::of(&ca, &signer)]).start();
    let request = Ask::about(&ca, &leaf).request();
    let answer = http::post(right.http(), "/", &request).body;
    // Another CA of the same name, whose delegate answers for the same CertIDs.
    let stranger = Ca::new("other");
    let foreign = stranger.delegate(Delegate::Proper, KeyKind::P256);
    let of_stranger = |serial: &str| {
        let responder = OpensslResponder::start(&ca, &foreign, A_DAY);
        http::post(responder.address(), "/", &Ask::serial(&ca, serial).request()).body
    };
    let with_nonce = {
        let responder = OpensslResponder::start(&ca, &signer, A_DAY);
        http::post(responder.address(), "/", &Ask::about(&ca, &leaf).nonce().request()).body
    };
    let other_serial = http::post(right.http(), "/", &Ask::about(&ca, &{ ca.issue() }).request()).body;
    let before_yesterday = FakeClock::new(ca.dir());
    before_yesterday.set("-2d");
    let expired = OpensslResponder::answer_by(&before_yesterday, &ca, &signer, &request, A_DAY);
    let cases: Vec<(Manner, &str)> = vec![
        (Manner::Bytes(of_stranger(&leaf.serial)), "signer"),
        (Manner::Bytes(other_serial), "other_certificate"),
        (Manner::Bytes(with_nonce), "nonce"),
        (Manner::Bytes(expired), "time"),
        (Manner::Bytes(b"<html>".to_vec()), "unreadable"),
        (Manner::Bytes(Vec::new()), "unreadable"),
        (Manner::Bytes([0x30, 3, 0x0a, 1, 0].to_vec()), "unreadable"),
        (Manner::Bytes([0x30, 3, 0x0a, 1, 2].to_vec()), "refused"),
        (Manner::Cut(answer.len() - 1), "unreadable"),
        (Manner::ResetAfter(20), "unreachable"),
        (Manner::Endless, "too_long"),
        (Manner::Dripping, "slow"),
        (Manner::Silent, "slow"),
        (Manner::Status(302), "http"),
        (Manner::Status(500), "http"),
        (Manner::Status(206), "http"),
        (Manner::MediaType("text/html"), "http"),
    ];
    // Each has a responder of its own, so that none is left alone for what another one did.
    let run = |(manner, outcome): (Manner, &'static str)| {
        let (upstream, ask) = (FaultyUpstream::start(right.http(), manner.clone()), Ask::about(&ca, &leaf));
        let responder = before(&ca, &[upstream.address()], &[]);
        let begin = Instant::now();
        let told = ask.at(responder.http(), "/");
        assert_eq!(told.status, Status::error("trylater"), "{manner:?}: {}", told.text);
        assert!(begin.elapsed() < Duration::from_secs(15), "{manner:?} took {:?}", begin.elapsed());
        assert_eq!(outcomes(&responder, outcome), 1.0, "{manner:?}: {}", responder.log());
        assert!(responder.log().contains(&format!("http://{}/", upstream.address())), "{}", responder.log());
        upstream.set(Manner::Right);
        ask.at(responder.http(), "/").expect(Status::Good);
    };
    for case in cases {
        run(case);
    }
}

#[test]
fn what_was_revoked_is_not_good_again_by_an_older_answer() {
    let (ca, signer) = other();
    let leaf = ca.issue();
    let [sha1, sha256] = [Ask::about(&ca, &leaf), Ask::about(&ca, &leaf).hash("sha256")];
    let earlier = FakeClock::new(ca.dir());
    earlier.set("-1h");
    let good = |ask: &Ask| OpensslResponder::answer_by(&earlier, &ca, &signer, &ask.request(), A_DAY);
    let [old, old_sha256] = [good(&sha1), good(&sha256)];
    ca.revoke(&leaf, &["-crl_reason", "keyCompromise"]);
    let newer = {
        let responder = OpensslResponder::start(&ca, &signer, A_DAY);
        http::post(responder.address(), "/", &sha1.request()).body
    };
    let upstream = FaultyUpstream::start(free_port([127, 0, 0, 1].into()), Manner::Bytes(old.clone()));
    // Nothing is kept, so that each request is passed on.
    let responder = before(&ca, &[upstream.address()], &["max_age = \"0s\""]);
    sha1.at(responder.http(), "/").expect(Status::Good);
    upstream.set(Manner::Bytes(newer));
    sha1.at(responder.http(), "/").expect(Status::Revoked);
    upstream.set(Manner::Bytes(old));
    for _ in 0..3 {
        sha1.at(responder.http(), "/").expect(Status::Revoked);
    }
    upstream.set(Manner::Bytes(old_sha256));
    sha256.at(responder.http(), "/").expect(Status::error("trylater"));
    assert_eq!((upstream.requests(), outcomes(&responder, "outdated")), (6, 4.0));
    let log = responder.log();
    assert!(log.contains("says `good` of a certificate that is `revoked` here"), "{log}");
}

#[test]
fn another_upstream_answers_where_the_first_does_not_and_is_not_left_for_a_flapping_one() {
    let (ca, signer) = other();
    let serials = ca.list(60);
    let origin = Site::new(&[Tenant::of(&ca, &signer)]).start();
    let [first, second] = [(); 2].map(|()| FaultyUpstream::start(origin.http(), Manner::Right));
    let responder = before(&ca, &[first.address(), second.address()], &[]);
    let ask = |serial: &String| Ask::serial(&ca, serial).at(responder.http(), "/").expect(Status::Good);
    ask(&serials[0]);
    assert_eq!((first.requests(), second.requests()), (1, 0));
    let in_use = |upstream: &FaultyUpstream| {
        responder.metric("ostia_upstream_in_use", &format!("upstream=\"http://{}/\"", upstream.address()))
    };
    // It comes and goes, far faster than the delay after which it would be gone back to.
    for (round, serials) in serials[1..].chunks(6).enumerate() {
        first.set(if round % 2 == 0 { Manner::Status(503) } else { Manner::Right });
        serials.iter().for_each(|serial| drop(ask(serial)));
        thread::sleep(Duration::from_millis(300));
    }
    assert_eq!((in_use(&first), in_use(&second)), (0.0, 1.0), "{}", responder.log());
    let switches = responder.log().matches("this upstream is asked from now on").count();
    assert_eq!(switches, 1, "{}", responder.log());
}

#[test]
fn what_cannot_be_beside_an_upstream_is_refused_with_the_reason() {
    let (ca, _) = other();
    let refused = |edit: fn(String) -> String, wanted: &[&str]| {
        let site = Site::new(&[Tenant::new("tests").forwarded("other", &ca, &["127.0.0.1:1".parse().unwrap()])]);
        site.edit_config(edit);
        site.is_refused(wanted);
    };
    refused(|text| text.replace("upstream = ", "pushes = true\nupstream = "), &["pushes", "stands beside `upstream`"]);
    refused(|text| text.replace("http://127.0.0.1:1", "http://me:secret@127.0.0.1:1"), &["upstream", "user name"]);
    refused(
        |text| text.replace("http://127.0.0.1:1", "ftp://127.0.0.1:1"),
        &["upstream", "does not begin with `http://`"],
    );
    refused(|text| text.replace("[\"http://127.0.0.1:1\"]", "[]"), &["upstream", "name 1 to 8"]);
}

/// RFC 6960 section 4.2.2.2.1: what is known of a delegate here counts, whatever its certificate says of looking.
#[test]
fn a_delegate_that_was_said_to_be_revoked_answers_for_nobody_any_more() {
    let (ca, signer) = other();
    let leaves = [(); 2].map(|()| ca.issue());
    let serial = openssl(ca.dir(), ["x509", "-in", signer.certificate.to_str().unwrap(), "-noout", "-serial"]);
    let own = Leaf { path: signer.certificate.clone(), serial: serial.trim().trim_start_matches("serial=").to_owned() };
    ca.revoke(&own, &["-crl_reason", "keyCompromise"]);
    let upstream = OpensslResponder::start(&ca, &signer, A_DAY);
    let responder = before(&ca, &[upstream.address()], &[]);
    let ask = |leaf: &Leaf| Ask::about(&ca, leaf).at(responder.http(), "/");
    ask(&leaves[0]).expect(Status::Good);
    ask(&own).expect(Status::Revoked);
    ask(&leaves[1]).expect(Status::error("trylater"));
    assert_eq!(outcomes(&responder, "signer"), 1.0);
    let log = responder.log();
    assert!(log.contains("has a certificate that is revoked"), "{log}");
}
