//! Several customers in one responder, kept apart.

use ostia_tests::{Ask, Ca, Delegate, KeyKind, Site, Status, Tenant};

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
