//! Several authorities in one responder: each policy is served by its own signer, at its own tenant's door, and they come
//! and go while clients are served.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use ostia_tests::{
    Ca, KeyKind, Query, Responder, Signer, Site, Stamped, Tenant, Tsa, TsaCertificate,
    der::oid,
    http::{Connection, exchange, get},
    openssl, until,
};

use crate::PATIENCE;

const A: &str = "1.3.6.1.4.1.99999.10";
const B: &str = "1.3.6.1.4.1.99999.20";
const C: &str = "1.3.6.1.4.1.99999.30";

fn proper(ca: &Ca) -> Signer {
    ca.tsa(TsaCertificate::Proper, KeyKind::P256)
}

/// The certificate of a signer as it goes along in tokens.
fn der(signer: &Signer) -> Vec<u8> {
    let scratch = tempfile::tempdir().unwrap();
    let file = signer.certificate.to_str().unwrap();
    openssl(scratch.path(), ["x509", "-in", file, "-outform", "DER", "-out", "der"]);
    std::fs::read(scratch.path().join("der")).unwrap()
}

/// That the token is of this policy, by this signer, and verifies under its CA.
#[track_caller]
fn expect_by(stamped: &Stamped, query: &Query, policy: &str, (ca, signer): (&Ca, &Signer)) {
    assert_eq!(stamped.granted().info.policy, oid(policy)[2..]);
    assert_eq!(stamped.granted().certificates, Some(vec![der(signer)]));
    stamped.expect_verified(&query.der(), &ca.certificate(), None);
}

#[test]
fn at_one_path_each_policy_has_its_own_signer() {
    let (ca, other_ca) = (Ca::new("Time-stamping CA"), Ca::new("Another CA"));
    let (first, second) = (proper(&ca), other_ca.tsa(TsaCertificate::Proper, KeyKind::Rsa2048));
    let tenant = Tenant::new("tests")
        .tsa(&Tsa::of("first", &first).policies(&[A]))
        .tsa(&Tsa::of("second", &second).policies(&[B, C]));
    let responder = Site::new(&[tenant]).start();
    let ask = |query: &Query| query.at(responder.http(), "/tsa");
    let plain = Query::new(1);
    expect_by(&ask(&plain), &plain, A, (&ca, &first));
    for (policy, by) in [(A, (&ca, &first)), (B, (&other_ca, &second)), (C, (&other_ca, &second))] {
        let query = Query::new(2).policy(policy);
        expect_by(&ask(&query), &query, policy, by);
    }
    ask(&Query::new(3).policy("1.2.3")).expect_rejection("unacceptedPolicy");
    let granted = |name: &str| {
        let metrics = responder.metrics();
        let line = metrics.lines().find(|line| {
            let labels = [&format!("tsa=\"{name}\"")[..], "result=\"granted\""];
            line.starts_with("ostia_tsa_requests_total{") && labels.iter().all(|label| line.contains(label))
        });
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u32>().ok()).unwrap()
    };
    assert_eq!((granted("first"), granted("second")), (2, 2));
}

#[test]
fn the_chain_at_a_path_has_each_certificate_of_its_authorities_once_and_those_that_sign_first() {
    let (ca, other_ca) = (Ca::new("Time-stamping CA"), Ca::new("Another CA"));
    let (first, second) = (ca.tsa_behind_an_intermediate(), proper(&other_ca));
    let tsa = |name: &str, signer: &Signer, policy: &str, path: &str| {
        Tsa::of(name, signer).policies(&[policy]).set(&format!("path = {path:?}"))
    };
    let tenant = Tenant::new("tests")
        .tsa(&tsa("first", &first, A, "/tsa"))
        .tsa(&tsa("apart", &second, A, "/apart"))
        .tsa(&tsa("second", &second, B, "/tsa"))
        .tsa(&tsa("again", &first, C, "/tsa"));
    let responder = Site::new(&[tenant]).start();
    let plain = |text: &str| text.chars().filter(|letter| !letter.is_whitespace()).collect::<String>();
    let pem = |signer: &Signer| -> Vec<String> {
        let text = std::fs::read_to_string(&signer.certificate).unwrap();
        let parts = text.split_inclusive("-----END CERTIFICATE-----");
        // What openssl writes before it is for people.
        parts.filter_map(|part| Some(plain(&part[part.find("-----BEGIN")?..]))).collect()
    };
    let chain = |path: &str| {
        let reply = get(responder.http(), &format!("{path}/chain.pem"));
        (plain(&reply.text()), reply.expect("etag").to_owned())
    };
    let (first, second) = (pem(&first), pem(&second));
    assert_eq!((first.len(), second.len()), (2, 1));
    let (together, apart) = (chain("/tsa"), chain("/apart"));
    assert_eq!(together.0, [&first[0], &second[0], &first[1]].map(String::as_str).concat());
    assert_eq!(apart.0, second[0]);
    assert_ne!(together.1, apart.1);
}

#[test]
fn no_tenants_policy_is_served_at_anothers_door() {
    let (ca_a, ca_b) = (Ca::new("CA of A"), Ca::new("CA of B"));
    let (signer_a, signer_b, signer_c) = (proper(&ca_a), proper(&ca_b), proper(&ca_b));
    let by_path = |name: &str, signer: &Signer, policy: &str| {
        let tsa = Tsa::of("stamps", signer).policies(&[policy]);
        Tenant::new(name).set(&format!("path = \"/{name}\"")).tsa(&tsa)
    };
    let by_host = Tenant::new("c").set("hosts = [\"tsa.c.test\"]").tsa(&Tsa::of("stamps", &signer_c).policies(&[C]));
    let responder = Site::new(&[by_path("a", &signer_a, A), by_path("b", &signer_b, B), by_host]).start();
    let ask = |host: &str, path: &str, query: &Query| {
        let text = query.request(path, "");
        let at = text.windows(2).position(|octets| octets == b"\r\n").unwrap();
        let behind = at + b"\r\nHost: ostia.test".len();
        let request = [&text[..at], format!("\r\nHost: {host}").as_bytes(), &text[behind..]].concat();
        exchange(responder.http(), &request).unwrap()
    };
    let doors = [
        ("ostia.test", "/a/tsa", A, (&ca_a, &signer_a)),
        ("ostia.test", "/b/tsa", B, (&ca_b, &signer_b)),
        ("tsa.c.test", "/tsa", C, (&ca_b, &signer_c)),
        ("TSA.C.test:80", "/tsa", C, (&ca_b, &signer_c)),
    ];
    for (host, path, own, by) in doors {
        for query in [Query::new(1), Query::new(2).policy(own)] {
            expect_by(&Stamped::read(&ask(host, path, &query)), &query, own, by);
        }
        for other in [A, B, C].into_iter().filter(|policy| *policy != own) {
            let stamped = Stamped::read(&ask(host, path, &Query::new(3).policy(other)));
            stamped.expect_rejection("unacceptedPolicy");
        }
    }
    // Where nobody's door is, nobody answers.
    for (host, path) in [("ostia.test", "/tsa"), ("ostia.test", "/c/tsa"), ("other.test", "/a"), ("other.test", "/tsa")]
    {
        let reply = ask(host, path, &Query::new(4));
        assert_ne!(reply.header("content-type"), Some("application/timestamp-reply"), "{host} {path}");
    }
}

/// Waits until another configuration is at work.
fn reload(responder: &Responder, edit: impl FnOnce(String) -> String) {
    let read = || responder.log().matches("the configuration was read again").count();
    let before = read();
    responder.reload(edit);
    until("the configuration is read again", PATIENCE, || (read() > before).then_some(()));
}

#[test]
fn a_signer_changes_and_an_authority_comes_without_a_request_lost() {
    let ca = Ca::new("Time-stamping CA");
    let signers = [proper(&ca), proper(&ca), ca.tsa(TsaCertificate::Proper, KeyKind::Rsa2048)];
    let stamps = |signer: &Signer| Tsa::of("stamps", signer).policies(&[A]);
    let text = |signer: &Signer| Tenant::new("tests").tsa(&stamps(signer)).text();
    let responder = Site::new(&[Tenant::new("tests").tsa(&stamps(&signers[0]))]).start();
    let certificates = signers.each_ref().map(der);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..3)
            .map(|client| {
                let (done, certificates, address) = (&done, &certificates, responder.http());
                scope.spawn(move || {
                    let mut connection = Connection::open(address).unwrap();
                    let mut by = [0; 3];
                    for number in 0.. {
                        if done.load(Relaxed) {
                            break;
                        }
                        let query = Query::new(client << 24 | number);
                        connection.send(&query.request("/tsa", "")).unwrap();
                        let stamped = Stamped::read(&connection.receive(false).unwrap().expect("the connection stays"));
                        let token = stamped.granted();
                        assert_eq!(token.info.imprint, query.imprint());
                        let sent = token.certificates.as_ref().unwrap();
                        by[certificates.iter().position(|own| *own == sent[0]).unwrap()] += 1;
                    }
                    by
                })
            })
            .collect();
        let by = |signer: usize| {
            let query = Query::new(1);
            let what = format!("tokens by signer {signer}");
            until(&what, PATIENCE, || {
                let stamped = query.at(responder.http(), "/tsa");
                (stamped.granted().certificates == Some(vec![certificates[signer].clone()])).then_some(stamped)
            })
        };
        for next in [1, 2, 0, 2] {
            let old = responder.site.config();
            let before = std::fs::read_to_string(old).unwrap();
            let at = before.find("\n[[tenant]]").unwrap();
            reload(&responder, |_| before[..at].to_owned() + &text(&signers[next]));
            let stamped = by(next);
            stamped.expect_verified(&Query::new(1).der(), &ca.certificate(), None);
        }
        // Another comes, and goes.
        let more = Tsa::of("more", &signers[1]).policies(&[B]).set("path = \"/more\"");
        let query = Query::new(1).policy(B);
        query.at(responder.http(), "/tsa").expect_rejection("unacceptedPolicy");
        reload(&responder, |config| config + &more.text());
        expect_by(&query.at(responder.http(), "/more"), &query, B, (&ca, &signers[1]));
        reload(&responder, |config| config.replacen(&more.text(), "", 1));
        let gone = exchange(responder.http(), &query.request("/more", "")).unwrap();
        assert_ne!(gone.header("content-type"), Some("application/timestamp-reply"));
        done.store(true, Relaxed);
        let totals = clients.into_iter().map(|client| client.join().unwrap());
        let total = totals.fold([0; 3], |sums, by| [0, 1, 2].map(|signer| sums[signer] + by[signer]));
        assert!(total.iter().all(|count| *count > 0), "{total:?}");
    });
    assert_eq!(responder.metric("ostia_tsa_requests_total", "result=\"systemFailure\""), 0.0);
}
