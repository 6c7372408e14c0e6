//! Several customers in one responder, kept apart.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use ostia_tests::{
    Ask, Ca, Delegate, KeyKind, Responder, Site, Status, Tenant,
    http::{Connection, request},
    until,
};

#[test]
fn the_same_serial_under_another_tenants_issuer_never_leaks() {
    let (a, b) = (Ca::new("CA of A"), Ca::new("CA of B"));
    let (leaf_a, leaf_b) = (a.issue(), b.issue());
    assert_eq!(leaf_a.serial, leaf_b.serial);
    a.revoke(&leaf_a, &["-crl_reason", "keyCompromise"]);
    // Not 1001, which A's CA gives to its delegate.
    let [_, only_b] = [b.issue(), b.issue()];
    let tenant = |name: &str, ca: &Ca| {
        let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
        let tenant = Tenant::new(name).set(&format!("path = \"/{name}\""));
        tenant.issuer("ca", ca, &format!("index = {:?}", ca.index()), &signer.lines())
    };
    let responder = Site::new(&[tenant("a", &a), tenant("b", &b)]).start();
    let ask = |ca: &Ca, serial: &str, path: &str| Ask::serial(ca, serial).at(responder.http(), path);

    // Twice, so that the second round meets whatever the first left in a cache.
    for _ in 0..2 {
        for path in ["/a", "/a/"] {
            ask(&a, &leaf_a.serial, path).expect(Status::Revoked);
        }
        ask(&b, &leaf_b.serial, "/b").expect(Status::Good);
        ask(&b, &only_b.serial, "/b").expect(Status::Good);
        let unauthorized = Status::error("unauthorized");
        ask(&a, &only_b.serial, "/a").expect(unauthorized.clone());
        // The right question at the wrong tenant's door.
        ask(&b, &leaf_b.serial, "/a").expect(unauthorized.clone());
        ask(&a, &leaf_a.serial, "/b").expect(unauthorized);
    }
}

#[test]
fn tenants_can_be_told_apart_by_host() {
    let (a, b) = (Ca::new("CA of A"), Ca::new("CA of B"));
    let (leaf_a, leaf_b) = (a.issue(), b.issue());
    let tenant = |name: &str, ca: &Ca| {
        let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
        let tenant = Tenant::new(name).set(&format!("hosts = [\"ocsp.{name}.test\"]"));
        tenant.issuer("ca", ca, &format!("index = {:?}", ca.index()), &signer.lines())
    };
    let responder = Site::new(&[tenant("a", &a), tenant("b", &b)]).start();
    let ask = |ask: &Ask, host: &str| {
        let target = ostia_tests::http::ocsp_target("/", &ask.request());
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let reply = ostia_tests::http::exchange(responder.http(), request.as_bytes()).unwrap();
        ask.read(&reply.body)
    };
    let (ask_a, ask_b) = (Ask::about(&a, &leaf_a), Ask::about(&b, &leaf_b));
    for host in ["ocsp.a.test", "OCSP.A.test:80"] {
        ask(&ask_a, host).expect(Status::Good);
        ask(&ask_b, host).expect(Status::error("unauthorized"));
    }
    ask(&ask_b, "ocsp.b.test").expect(Status::Good);
    ask(&ask_a, "ocsp.b.test").expect(Status::error("unauthorized"));
}

/// A tenant at the path of its name.
fn at_path(name: &str, ca: &Ca, settings: &str) -> Tenant {
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let tenant = Tenant::new(name).set(&format!("path = \"/{name}\"\n{settings}"));
    tenant.issuer("ca", ca, &format!("index = {:?}", ca.index()), &signer.lines())
}

/// tryLater.
const TRY_LATER: [u8; 5] = [0x30, 0x03, 0x0a, 0x01, 0x03];

/// How many of so many requests on one connection get an answer; all others are told to try later.
#[track_caller]
fn answered(responder: &Responder, path: &str, body: &[u8], times: usize) -> usize {
    let mut connection = Connection::open(responder.http()).unwrap();
    let headers = format!("Content-Type: application/ocsp-request\r\nContent-Length: {}\r\n", body.len());
    let request = [request("POST", path, &headers), body.to_vec()].concat();
    let replies = (0..times).map(|_| {
        connection.send(&request).unwrap();
        connection.receive(false).unwrap().unwrap()
    });
    let is_answer = |reply: ostia_tests::http::Reply| {
        let is_answer = reply.body.len() > 100;
        assert!(reply.status == 200 && (is_answer || reply.body == TRY_LATER), "{}", reply.text());
        is_answer
    };
    replies.map(is_answer).filter(|is_answer| *is_answer).count()
}

#[test]
fn a_tenants_quota_of_signatures_bounds_what_it_has_signed_and_neither_kept_answers_nor_others() {
    let (a, b) = (Ca::new("CA of A"), Ca::new("CA of B"));
    let (leaf_a, leaf_b) = (a.issue(), b.issue());
    let bounded = "nonce = \"echo\"\nsignatures_per_second = 3";
    let site = Site::new(&[at_path("a", &a, bounded), at_path("b", &b, "nonce = \"echo\"")]);
    let responder = site.start();
    let asked = |ca: &Ca, leaf| Ask::about(ca, leaf);
    asked(&a, &leaf_a).at(responder.http(), "/a").expect(Status::Good);
    let (begun, times) = (Instant::now(), 200);
    let granted = answered(&responder, "/a", &asked(&a, &leaf_a).nonce().request(), times);
    let most = 3 + 3 * (begun.elapsed().as_secs() as usize + 1);
    assert!((1..=most.min(times - 1)).contains(&granted), "{granted} of {times} in {:?}", begun.elapsed());
    // What is kept is given out, whatever the quota.
    assert_eq!(answered(&responder, "/a", &asked(&a, &leaf_a).request(), 50), 50);
    assert_eq!(answered(&responder, "/b", &asked(&b, &leaf_b).nonce().request(), 50), 50, "nobody else is bounded");
    let labels = "tenant=\"a\",issuer=\"ca\",method=\"POST\",result=\"over_quota\"";
    assert_eq!(responder.metric("ostia_requests_total", labels), (times - granted) as f64, "{}", responder.metrics());
    assert_eq!(responder.log().matches("the quota of signatures is used up").count(), 1, "{}", responder.log());
    // More is allowed at once.
    responder.reload(|text| text.replacen("signatures_per_second = 3", "signatures_per_second = 1000000", 1));
    let body = asked(&a, &leaf_a).nonce().request();
    until("the quota is raised", Duration::from_secs(60), || {
        (answered(&responder, "/a", &body, 50) == 50).then_some(())
    });
}

#[test]
fn tenants_that_are_added_under_load_are_answered_for_and_nobody_else_notices() {
    const ADDED: usize = 24;
    let (first, second) = (Ca::new("CA of the first"), Ca::new("CA of all others"));
    let leaves = [&first, &second].map(|ca| ca.issue());
    let responder = Site::new(&[at_path("first", &first, "")]).start();
    let [asked, other] = [Ask::about(&first, &leaves[0]), Ask::about(&second, &leaves[1])].map(|ask| ask.request());
    Ask::about(&first, &leaves[0]).at(responder.http(), "/first").expect(Status::Good);
    let added: String = (0..ADDED).map(|number| at_path(&format!("t{number}"), &second, "").text()).collect();
    let (ends, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            while !ends.load(Relaxed) {
                assert_eq!(answered(&responder, "/first", &asked, 100), 100);
                count.fetch_add(100, Relaxed);
            }
        });
        responder.site.edit_config(|text| text + &added);
        let told = responder.site.precompute("reload", &[]);
        let during = count.load(Relaxed);
        assert!(told.status.success(), "{told:?}");
        for number in 0..ADDED {
            assert_eq!(answered(&responder, &format!("/t{number}"), &other, 2), 2);
        }
        until("hits go on", Duration::from_secs(60), || (count.load(Relaxed) > during + 100).then_some(()));
        ends.store(true, Relaxed);
        load.join().unwrap();
    });
    // And away again: nothing was pushed of them.
    let (_, kept) = (responder.site.edit_config(|text| text.replacen(&added, "", 1)), &responder);
    assert!(kept.site.precompute("reload", &[]).status.success());
    let gone = ostia_tests::http::post(responder.http(), "/t0", &other);
    assert_eq!(gone.status, 404, "{}", gone.text());
}
