//! Time-stamps over HTTP: RFC 3161 section 3.4, and what clients take for a broken line.

use ostia_tests::{
    Ask, Ca, Delegate, KeyKind, Query, Responder, Site, Stamped, Status, Tenant, Tsa, TsaCertificate,
    http::{self, Connection, Reply, exchange, get, request},
    stamp,
};

use crate::stamping;

/// Bytes that a query may have.
const BODY_MAX: usize = 16 << 10;

fn post(responder: &Responder, content_type: &str, body: &[u8]) -> Reply {
    let headers = format!("{content_type}Content-Length: {}\r\n", body.len());
    exchange(responder.http(), &[request("POST", "/tsa", &headers), body.to_vec()].concat()).unwrap()
}

/// The header fields that every TimeStampResp comes with.
#[track_caller]
fn expect_fields(reply: &Reply) {
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.expect("content-type"), "application/timestamp-reply", "exactly, without parameters");
    assert_eq!(reply.expect("cache-control"), "no-store");
    assert_eq!(reply.expect("content-length"), reply.body.len().to_string());
    assert_eq!(reply.header("transfer-encoding"), None);
    reply.date("date");
}

#[test]
fn a_time_stamp_comes_with_exactly_the_fields_of_rfc_3161() {
    let (ca, responder) = stamping(KeyKind::P256, |tsa| tsa);
    let query = Query::new(1).nonce(&[7]);
    for content_type in [
        "application/timestamp-query",
        "Application/TimeStamp-QUERY",
        "application/timestamp-query; charset=binary",
        "application/timestamp-query ;x=\"y\"",
        "  application/timestamp-query  ",
    ] {
        let reply = post(&responder, &format!("Content-Type: {content_type}\r\n"), &query.der());
        expect_fields(&reply);
        let stamped = Stamped::read(&reply);
        stamped.granted();
        stamped.expect_verified(&query.der(), &ca.certificate(), None);
    }
    // The path may end with a slash, and have a query behind it.
    for target in ["/tsa/", "/tsa?client=1"] {
        query.at(responder.http(), target).granted();
    }
    assert_eq!(responder.metric("ostia_tsa_requests_total", "result=\"granted\""), 7.0);
}

#[test]
fn a_rejection_is_a_whole_response_with_one_failure_and_a_text() {
    let (_, responder) = stamping(KeyKind::P256, |tsa| tsa);
    let query = Query::new(1);
    let whole = query.der();
    let oid = |text: &str| query.clone().policy(text).der();
    let bodies: Vec<(&str, Vec<u8>, &str)> = vec![
        ("nothing", Vec::new(), "badDataFormat"),
        ("cut off", whole[..whole.len() - 1].to_vec(), "badDataFormat"),
        ("a byte behind", [&whole[..], &[0]].concat(), "badDataFormat"),
        ("indefinite length", [&[0x30, 0x80], &whole[2..], &[0, 0]].concat(), "badDataFormat"),
        ("a length that is not minimal", [&[0x30, 0x81, whole[1]], &whole[2..]].concat(), "badDataFormat"),
        ("an OCSP request", b"0M0K0I0G0E0\x09\x06\x05+\x0e\x03\x02\x1a\x05\x00".to_vec(), "badDataFormat"),
        ("version 2", query.clone().version(2).der(), "badRequest"),
        ("MD5", query.clone().hash("md5").der(), "badAlg"),
        ("SHA-1", query.clone().hash("sha1").der(), "badAlg"),
        ("parameters", query.clone().parameters(&[0x04, 0x01, 0x00]).der(), "badAlg"),
        ("a digest too short", query.clone().digest_length(31).der(), "badDataFormat"),
        ("a digest of SHA-512's length", query.clone().digest_length(64).der(), "badDataFormat"),
        ("another policy", oid("1.2.3.4"), "unacceptedPolicy"),
        ("a policy that is a UUID", oid("2.25.302985531202926416461829406168061446391"), "unacceptedPolicy"),
        ("a policy of 64 bytes", oid(&format!("1.2{}.999999", ".4294967295".repeat(12))), "unacceptedPolicy"),
        ("an extension", query.clone().extension("1.2.3.4").der(), "unacceptedExtension"),
        ("a nonce of 129 bytes", query.clone().nonce(&[1; 129]).der(), "badRequest"),
        (
            "20 extensions",
            (0..20).fold(query.clone(), |query, _| query.extension("1.2.3")).der(),
            "unacceptedExtension",
        ),
        ("a nonce that is not minimal", query.clone().nonce(&[0, 1]).der(), "badDataFormat"),
    ];
    let mut connection = Connection::open(responder.http()).unwrap();
    for (what, body, failure) in &bodies {
        // All on one connection: nothing of it is the line's fault.
        connection.send(&stamp::request("/tsa", "", body)).unwrap();
        let reply = connection.receive(false).unwrap().unwrap_or_else(|| panic!("{what}: closed"));
        expect_fields(&reply);
        let stamped = Stamped::read(&reply);
        assert_eq!(stamped.status, 2, "{what}: {stamped:02x?}");
        stamped.expect_rejection(failure);
        let metric = responder.metric("ostia_tsa_requests_total", &format!("result=\"{failure}\""));
        assert!(metric >= 1.0, "{what}");
    }
    let rejected = responder.metric("ostia_tsa_requests_total", "");
    assert_eq!(rejected, bodies.len() as f64);
}

#[test]
fn other_types_and_methods_are_refused_in_http() {
    let (_, responder) = stamping(KeyKind::P256, |tsa| tsa);
    let query = Query::new(1).der();
    for content_type in [
        "",
        "Content-Type: application/ocsp-request\r\n",
        "Content-Type: application/timestamp-reply\r\n",
        "Content-Type: application/timestamp-query-2\r\n",
        "Content-Type: text/plain; application/timestamp-query\r\n",
    ] {
        let reply = post(&responder, content_type, &query);
        assert_eq!((reply.status, reply.expect("accept")), (415, "application/timestamp-query"), "{content_type}");
        assert!(reply.text().contains("application/timestamp-query"), "{}", reply.text());
    }
    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let headers = "Content-Length: 0\r\nContent-Type: application/timestamp-query\r\n";
        let reply = exchange(responder.http(), &request(method, "/tsa", headers)).unwrap();
        assert_eq!((reply.status, reply.expect("allow")), (405, "POST"), "{method}");
        assert_eq!(reply.expect("cache-control"), "no-store");
    }
    // Where nobody time-stamps there is nothing to be asked by this type.
    let elsewhere = exchange(responder.http(), &Query::new(1).request("/tsa/more", "")).unwrap();
    assert_ne!(elsewhere.expect("content-type"), "application/timestamp-reply", "{elsewhere:?}");
}

/// Many deployed authorities are asked at the host alone.
#[test]
fn an_authority_may_be_asked_at_the_root() {
    let (ca, responder) = stamping(KeyKind::P256, |tsa| tsa.set("path = \"/\""));
    let query = Query::new(1);
    for target in ["/", "/?client=1"] {
        query.at(responder.http(), target).expect_verified(&query.der(), &ca.certificate(), None);
    }
    assert_eq!(get(responder.http(), "/chain.pem").text().matches("-----BEGIN CERTIFICATE-----").count(), 1);
    for method in ["GET", "HEAD", "PUT"] {
        let reply = exchange(responder.http(), &request(method, "/", "Content-Length: 0\r\n")).unwrap();
        assert_eq!((reply.status, reply.expect("allow")), (405, "POST"), "{method}");
    }
    let headers = format!("Content-Length: {}\r\n", query.der().len());
    let untyped = exchange(responder.http(), &[request("POST", "/", &headers), query.der()].concat()).unwrap();
    assert_eq!((untyped.status, untyped.expect("accept")), (415, "application/timestamp-query"));
}

#[test]
fn at_its_own_path_a_tenant_answers_for_certificates_and_time_stamps() {
    let ca = Ca::new("CA of both");
    let certificate = ca.issue();
    let (delegate, signer) =
        (ca.delegate(Delegate::Proper, KeyKind::P256), ca.tsa(TsaCertificate::Proper, KeyKind::P256));
    for path in ["", "/b"] {
        let tsa = Tsa::of("stamps", &signer).set("path = \"/\"");
        let tenant = Tenant::of(&ca, &delegate)
            .set(&format!("path = \"{}\"", if path.is_empty() { "/" } else { path }))
            .tsa(&tsa);
        let site = Site::new(&[tenant]);
        let said = site.check();
        assert!(
            said.text.contains(&format!("time-stamps at {path}{} under", if path.is_empty() { "/" } else { "" })),
            "{}",
            said.text
        );
        let responder = site.start();
        for target in [format!("{path}/"), path.to_owned()].iter().filter(|target| !target.is_empty()) {
            let query = Query::new(1);
            query.at(responder.http(), target).expect_verified(&query.der(), &ca.certificate(), None);
            let page = get(responder.http(), target);
            assert_eq!(page.status, 200);
            for service in ["OCSP responder", "time-stamping authority", &format!("GET of {path}/chain.pem")] {
                assert!(page.text().contains(service), "{}", page.text());
            }
        }
        assert_eq!(get(responder.http(), &format!("{path}/chain.pem")).status, 200);
        let ask = Ask::about(&ca, &certificate);
        ask.at(responder.http(), &format!("{path}/")).expect(Status::Good);
        let by_get = get(responder.http(), &http::ocsp_target(path, &ask.request()));
        ask.read(&by_get.body).expect(Status::Good);
    }
}

#[test]
fn the_chain_is_had_by_get() {
    let ca = Ca::new("CA");
    let signer = ca.tsa_behind_an_intermediate();
    let responder = Site::new(&[Tenant::new("tests").tsa(&Tsa::of("stamps", &signer))]).start();
    let reply = get(responder.http(), "/tsa/chain.pem");
    assert_eq!((reply.status, reply.expect("content-type")), (200, "application/pem-certificate-chain"));
    let certificates = reply.text();
    assert_eq!(certificates.matches("-----BEGIN CERTIFICATE-----").count(), 2, "{certificates}");
    let file = std::fs::read_to_string(&signer.certificate).unwrap();
    let plain = |pem: &str| pem.chars().filter(|letter| !letter.is_whitespace()).collect::<String>();
    assert_eq!(plain(&certificates), plain(&file), "the signer's first");
    let head = exchange(responder.http(), &request("HEAD", "/tsa/chain.pem", "")).unwrap();
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.expect("content-length"), reply.expect("content-length"));
    // Caches may keep it for an hour, and ask whether theirs is still the same.
    assert_eq!((reply.cache_control_seconds("max-age"), reply.expect("etag")), (3600, head.expect("etag")));
    let etag = reply.expect("etag");
    assert!(etag.len() > 20 && etag.starts_with('"') && etag.ends_with('"'), "strong: {etag}");
    let mut connection = Connection::open(responder.http()).unwrap();
    for method in ["GET", "HEAD"] {
        for (field, status) in
            [(etag, 304), (&format!("\"a\", W/{etag}"), 304), ("*", 304), ("\"a\"", 200), ("\"\"", 200)]
        {
            let headers = format!("If-None-Match: {field}\r\n");
            connection.send(&request(method, "/tsa/chain.pem", &headers)).unwrap();
            let again = connection.receive(method == "HEAD").unwrap().unwrap();
            assert_eq!((again.status, again.expect("etag")), (status, etag), "{method} {field}");
            assert_eq!(again.expect("cache-control"), reply.expect("cache-control"));
            assert_eq!(again.header("content-length").is_some(), status == 200, "{again:?}");
        }
    }
    for (fields, status) in [
        (format!("If-None-Match: \"a\"\r\nIf-None-Match: {etag}\r\n"), 304),
        (format!("If-Match: {etag}\r\n"), 200),
        (format!("If-Match: \"a\"\r\nIf-Match: {etag}\r\n"), 200),
        ("If-Match: \"a\"\r\n".to_owned(), 412),
        (format!("If-Match: W/{etag}\r\n"), 412),
        // It has no date to be compared by.
        ("If-Unmodified-Since: Mon, 01 Jan 2024 00:00:00 GMT\r\n".to_owned(), 200),
        ("If-Modified-Since: Tue, 01 Jan 2199 00:00:00 GMT\r\n".to_owned(), 200),
    ] {
        let again = exchange(responder.http(), &request("GET", "/tsa/chain.pem", &fields)).unwrap();
        assert_eq!(again.status, status, "{fields}");
    }
    let post = exchange(responder.http(), &Query::new(1).request("/tsa/chain.pem", "")).unwrap();
    assert_eq!((post.status, post.expect("allow")), (405, "GET, HEAD"));
}

#[test]
fn a_query_over_the_limit_is_refused_before_its_body_is_sent() {
    let (_, responder) = stamping(KeyKind::P256, |tsa| tsa);
    let head = |length: usize, more: &str| {
        let headers = format!("Content-Type: application/timestamp-query\r\n{more}Content-Length: {length}\r\n");
        request("POST", "/tsa", &headers)
    };
    for more in ["", "Expect: 100-continue\r\n"] {
        let reply = exchange(responder.http(), &head(BODY_MAX + 1, more)).unwrap();
        assert_eq!(reply.status, 413, "{more}");
    }
    // The largest is read, and judged by what it is.
    let reply = exchange(responder.http(), &[head(BODY_MAX, ""), vec![0; BODY_MAX]].concat()).unwrap();
    Stamped::read(&reply).expect_rejection("badDataFormat");
    // In chunks nobody says beforehand how much comes.
    let chunked = "Content-Type: application/timestamp-query\r\nTransfer-Encoding: chunked\r\n";
    let mut connection = Connection::open(responder.http()).unwrap();
    connection.send(&request("POST", "/tsa", chunked)).unwrap();
    connection.send(format!("{:x}\r\n", BODY_MAX + 1).as_bytes()).unwrap();
    assert_eq!(connection.receive(false).unwrap().unwrap().status, 413);
}

#[test]
fn queries_in_one_write_are_answered_in_order_among_ocsp_requests() {
    // One key signs on the serving thread, the other on threads of its own, where what is ready must not wait.
    for kind in [KeyKind::P256, KeyKind::Rsa2048] {
        let ca = Ca::new("CA");
        let delegate = ca.delegate(Delegate::Proper, kind);
        let leaf = ca.issue();
        let stamps = Tsa::of("stamps", &ca.tsa(TsaCertificate::Proper, kind));
        let responder = Site::new(&[Tenant::of(&ca, &delegate).tsa(&stamps)]).start();
        let ask = Ask::about(&ca, &leaf);
        let ocsp = ask.request();
        let ocsp_headers = format!("Content-Type: application/ocsp-request\r\nContent-Length: {}\r\n", ocsp.len());
        let by_ocsp = [request("POST", "/", &ocsp_headers), ocsp].concat();
        const ROUNDS: u32 = 8;
        let nonce = |round: u32| [&[1][..], &round.to_be_bytes()].concat();
        let pipeline = (0..ROUNDS).flat_map(|round| {
            let query = Query::new(round).nonce(&nonce(round));
            [
                query.request("/tsa", ""),
                by_ocsp.clone(),
                query.clone().hash("md5").request("/tsa", ""),
                request("GET", "/tsa/chain.pem", ""),
                query.request("/tsa", ""),
                query.clone().policy("1.2.3").request("/tsa", ""),
            ]
            .concat()
        });
        let mut connection = Connection::open(responder.http()).unwrap();
        connection.send(&pipeline.collect::<Vec<u8>>()).unwrap();
        for round in 0..ROUNDS {
            let mut next = || connection.receive(false).unwrap().expect("one answer to each");
            let granted = |reply: &Reply| {
                let stamped = Stamped::read(reply);
                assert_eq!(stamped.granted().info.nonce, Some(nonce(round)), "{kind:?} {round}");
                assert_eq!(stamped.granted().info.imprint, Query::new(round).imprint());
                stamped
            };
            let first = granted(&next());
            ask.read(&next().body).expect(Status::Good);
            Stamped::read(&next()).expect_rejection("badAlg");
            assert!(next().text().starts_with("-----BEGIN CERTIFICATE-----"));
            let second = granted(&next());
            assert_ne!(first.granted().info.serial, second.granted().info.serial);
            Stamped::read(&next()).expect_rejection("unacceptedPolicy");
            if round == 0 {
                let query = Query::new(0).nonce(&nonce(0)).der();
                second.expect_verified(&query, &ca.certificate(), None);
            }
        }
    }
}

#[test]
fn old_clients_chunks_and_waiting_for_100_are_served() {
    let (ca, responder) = stamping(KeyKind::P256, |tsa| tsa);
    let query = Query::new(3).der();
    let content_type = "Content-Type: application/timestamp-query\r\n";
    let open = || Connection::open(responder.http()).unwrap();
    let verified = |reply: &Reply| {
        expect_fields(reply);
        Stamped::read(reply).expect_verified(&query, &ca.certificate(), None);
    };
    // HTTP/1.0, which ends with the answer, or stays where that is asked for.
    let old = |more: &str| {
        let head = format!("POST /tsa HTTP/1.0\r\n{content_type}{more}Content-Length: {}\r\n\r\n", query.len());
        [head.as_bytes(), &query].concat()
    };
    let mut connection = open();
    connection.send(&old("")).unwrap();
    verified(&connection.receive(false).unwrap().unwrap());
    assert_eq!(connection.receive(false).unwrap(), None, "closed");
    let mut connection = open();
    for _ in 0..2 {
        connection.send(&old("Connection: keep-alive\r\n")).unwrap();
        let reply = connection.receive(false).unwrap().unwrap();
        assert_eq!(reply.expect("connection"), "keep-alive");
        verified(&reply);
    }
    // In chunks of a few bytes, twice on one connection, with the second behind the first at once.
    let mut connection = open();
    let chunks: Vec<u8> =
        query.chunks(7).flat_map(|part| [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat()).collect();
    let chunked = request("POST", "/tsa", &format!("{content_type}Transfer-Encoding: chunked\r\n"));
    let one = [&chunked[..], &chunks, b"0\r\n\r\n"].concat();
    connection.send(&[&one[..], &one].concat()).unwrap();
    (0..2).for_each(|_| verified(&connection.receive(false).unwrap().unwrap()));
    // Waiting for a word before the body.
    for _ in 0..2 {
        let expect = format!("{content_type}Expect: 100-continue\r\nContent-Length: {}\r\n", query.len());
        connection.send(&request("POST", "/tsa", &expect)).unwrap();
        assert_eq!(connection.receive(true).unwrap().unwrap().status, 100);
        connection.send(&query).unwrap();
        verified(&connection.receive(false).unwrap().unwrap());
    }
    // Byte by byte.
    for octet in stamp::request("/tsa", "Connection: close\r\n", &query) {
        connection.send(&[octet]).unwrap();
    }
    let reply = connection.receive(false).unwrap().unwrap();
    assert_eq!(reply.expect("connection"), "close");
    verified(&reply);
    assert_eq!(connection.receive(false).unwrap(), None, "closed");
}

#[test]
fn a_query_where_no_authority_is_asked_is_not_found() {
    let (_ca, responder) = crate::stamping(KeyKind::P256, |tsa| tsa);
    for target in ["/", "/tsax", "/tsa/x", "/TSA", "/elsewhere"] {
        let reply = exchange(responder.http(), &Query::new(1).request(target, "")).unwrap();
        assert_eq!(reply.status, 404, "{target}");
        assert!(reply.text().contains("time-stamping"), "{}", reply.text());
    }
}

#[test]
fn nobody_is_told_to_send_a_body_that_is_refused_whatever_it_says() {
    let ca = Ca::new("CA");
    let (delegate, signer) =
        (ca.delegate(Delegate::Proper, KeyKind::P256), ca.tsa(TsaCertificate::Proper, KeyKind::P256));
    let strict = Tenant::of(&ca, &delegate).set("content_type = \"strict\"").tsa(&Tsa::of("stamps", &signer));
    let responder = Site::new(&[strict]).start();
    let (query, ocsp) = ("application/timestamp-query", "application/ocsp-request");
    for (method, target, content_type, status) in [
        ("PUT", "/tsa", query, 405),
        ("GET", "/tsa", query, 405),
        ("POST", "/tsa/chain.pem", query, 405),
        ("POST", "/tsa", ocsp, 415),
        ("POST", "/tsa", "text/plain", 415),
        ("POST", "/elsewhere", query, 404),
        ("POST", "/", query, 404),
        ("PUT", "/", ocsp, 405),
        ("POST", "/", "text/plain", 415),
    ] {
        for framing in ["Content-Length: 100\r\n", "Transfer-Encoding: chunked\r\n"] {
            let headers = format!("Content-Type: {content_type}\r\nExpect: 100-continue\r\n{framing}");
            let what = format!("{method} {target} {headers}");
            let mut connection = Connection::open(responder.http()).unwrap();
            // Behind one that is answered.
            let ahead = Query::new(1).request("/tsa", "");
            connection.send(&[ahead, request(method, target, &headers)].concat()).unwrap();
            Stamped::read(&connection.receive(false).unwrap().unwrap()).granted();
            let reply = connection.receive(false).unwrap().unwrap_or_else(|| panic!("{what}: closed"));
            assert_eq!((reply.status, reply.expect("connection")), (status, "close"), "{what}");
            assert_eq!(connection.receive(false).unwrap(), None, "{what}");
        }
    }
    // A body that came along is no reason to end the connection.
    let mut connection = Connection::open(responder.http()).unwrap();
    let headers = "Content-Type: text/plain\r\nExpect: 100-continue\r\nContent-Length: 3\r\n";
    for _ in 0..2 {
        connection.send(&[request("POST", "/tsa", headers), b"abc".to_vec()].concat()).unwrap();
        assert_eq!(connection.receive(false).unwrap().unwrap().status, 415);
    }
    assert_eq!(responder.metric("ostia_tsa_requests_total", "result=\"refused\""), 12.0);
}
