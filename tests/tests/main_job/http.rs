//! What caches, browsers and careless clients get over HTTP.

use std::time::{Duration, SystemTime};

use ostia_tests::{
    Ask, Ca, Leaf, Responder, Status,
    http::{Connection, Reply, exchange, get, ocsp_target, post, request},
    until,
};

use crate::serving;

/// OCSPResponse with responseStatus malformedRequest and nothing else.
const MALFORMED_REQUEST: [u8; 5] = [0x30, 0x03, 0x0a, 0x01, 0x01];
/// The same with unauthorized.
const UNAUTHORIZED: [u8; 5] = [0x30, 0x03, 0x0a, 0x01, 0x06];

fn asked() -> (Ca, Leaf, Responder, Vec<u8>) {
    let (ca, leaf, responder) = serving(Ca::issue);
    let request = Ask::about(&ca, &leaf).request();
    (ca, leaf, responder, request)
}

#[test]
fn get_and_post_give_the_same_bytes() {
    let (ca, leaf, responder, request) = asked();
    let by_post = post(responder.http(), "/", &request);
    let by_get = get(responder.http(), &ocsp_target("/", &request));
    assert_eq!((by_post.status, by_get.status), (200, 200));
    assert_eq!(by_post.body, by_get.body);
    assert_eq!(by_get.expect("content-type"), "application/ocsp-response");
    Ask::about(&ca, &leaf).read(&by_get.body).expect(Status::Good);
}

#[test]
fn a_get_is_understood_however_it_was_encoded() {
    let (_, _, responder, request) = asked();
    let target = ocsp_target("/", &request);
    let expected = get(responder.http(), &target).body;
    let raw = target.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
    let base64url = raw[1..].replace('+', "-").replace('/', "_");
    for odd in [
        raw.clone(),
        format!("/{target}"),
        target.replace("%2B", "%2b").replace("%2F", "%2f").replace("%3D", "%3d"),
        raw.trim_end_matches('=').to_owned(),
        format!("/{base64url}"),
        format!("http://ostia.test{target}"),
        format!("{target}?cachebuster=1"),
        raw.replace('+', " "),
        format!("{raw}/"),
    ] {
        let reply = get(responder.http(), &odd);
        assert_eq!((reply.status, &reply.body), (200, &expected), "{odd}");
    }
}

#[test]
fn octets_that_drip_in_end_at_the_deadline_also_behind_a_whole_request() {
    // Writing an answer once left the connection with the patience of a writer for the next header section.
    let (_, _, responder, der) = asked();
    let mut connection = Connection::open(responder.http()).unwrap();
    let whole = request("GET", &ocsp_target("/", &der), "");
    connection.send(&[&whole[..], b"GET /half HTTP/1.1\r\n"].concat()).unwrap();
    assert_eq!(connection.receive(false).unwrap().unwrap().status, 200);
    let begin = std::time::Instant::now();
    while connection.send(b"X").is_ok() && begin.elapsed().as_secs() < 28 {
        std::thread::sleep(std::time::Duration::from_millis(250));
    }
    let took = begin.elapsed().as_secs_f32();
    // A writer has 30 s.
    assert!((8.0..25.0).contains(&took), "{took} s");
}

#[test]
fn head_gives_the_headers_of_get_and_no_body() {
    let (_, _, responder, der) = asked();
    let target = ocsp_target("/", &der);
    let by_get = get(responder.http(), &target);
    // Two on one connection: a body would be taken for the second answer.
    let mut connection = Connection::open(responder.http()).unwrap();
    for _ in 0..2 {
        connection.send(&request("HEAD", &target, "")).unwrap();
        let by_head = connection.receive(true).unwrap().unwrap();
        assert_eq!(by_head.status, 200);
        for name in ["content-length", "content-type", "etag", "last-modified"] {
            assert_eq!(by_head.expect(name), by_get.expect(name), "{name}");
        }
    }
    connection.send(&request("GET", &target, "")).unwrap();
    assert_eq!(connection.receive(false).unwrap().unwrap().body, by_get.body);
}

#[test]
fn what_is_no_request_is_malformed_and_not_cacheable() {
    let (_, _, responder, request) = asked();
    let target = ocsp_target("/", &request);
    let mut trailing = request.clone();
    trailing.push(0);
    let replies = [
        ("empty", post(responder.http(), "/", b"")),
        ("text", post(responder.http(), "/", b"hello")),
        ("cut short", post(responder.http(), "/", &request[..request.len() - 1])),
        ("with something after it", post(responder.http(), "/", &trailing)),
        ("GET, a bad escape", get(responder.http(), "/MEUwQ%ZZ")),
        ("GET, no base64", get(responder.http(), "/!!!!")),
        ("GET, encoded twice", get(responder.http(), &target.replace('%', "%25"))),
        ("GET, cut short", get(responder.http(), &target[..target.len() / 2])),
    ];
    for (what, reply) in replies {
        assert_eq!((reply.status, &reply.body[..]), (200, &MALFORMED_REQUEST[..]), "{what}: {reply:?}");
        assert_eq!(reply.expect("content-type"), "application/ocsp-response", "{what}");
        assert!(reply.expect("cache-control").contains("no-store"), "{what}: {reply:?}");
    }
}

#[test]
fn an_unauthorized_answer_is_not_cacheable() {
    let (ca, _, responder, _) = asked();
    let request = Ask::serial(&ca, "ABCDEF").request();
    for reply in [post(responder.http(), "/", &request), get(responder.http(), &ocsp_target("/", &request))] {
        assert_eq!((reply.status, &reply.body[..]), (200, &UNAUTHORIZED[..]), "{reply:?}");
        assert!(reply.expect("cache-control").contains("no-store"), "{reply:?}");
        assert_eq!((reply.header("etag"), reply.header("expires")), (None, None), "{reply:?}");
    }
}

#[test]
fn signed_answers_carry_the_caching_headers_of_rfc_9919() {
    let (ca, leaf, responder, request) = asked();
    let reply = get(responder.http(), &ocsp_target("/", &request));
    let control = reply.expect("cache-control");
    for directive in ["public", "no-transform", "must-revalidate"] {
        assert!(control.split(',').any(|part| part.trim() == directive), "no {directive} in {control}");
    }
    let max_age = Duration::from_secs(reply.cache_control_seconds("max-age"));
    assert_eq!(reply.date("expires"), reply.date("date") + max_age, "Expires is Date + max-age");
    let answer = Ask::about(&ca, &leaf).read(&reply.body).expect(Status::Good);
    assert_eq!(printed(reply.expect("last-modified")), answer.this_update.unwrap(), "Last-Modified is thisUpdate");
    // Refreshed at least eight hours before nextUpdate (BR 4.9.10), and cached no longer than that.
    let this_update = reply.date("last-modified");
    let refresh = this_update + Duration::from_secs((4 * 24 - 8) * 3600);
    assert!(reply.date("expires") <= refresh && max_age > Duration::from_secs(3600), "{reply:?}");
    assert!(reply.date("date") <= SystemTime::now() && this_update <= reply.date("date"));
    let tag = strong_etag(&reply);
    assert!(tag.len() >= 32 && tag.bytes().all(|b| b.is_ascii_hexdigit()), "{tag}");
}

#[test]
fn one_entity_tag_stands_for_one_body() {
    let (ca, (one, other), responder) = serving(|ca| (ca.issue(), ca.issue()));
    let by_get = |leaf: &Leaf| get(responder.http(), &ocsp_target("/", &Ask::about(&ca, leaf).request()));
    let (first, second) = (by_get(&one), by_get(&one));
    assert_eq!((strong_etag(&first), &first.body), (strong_etag(&second), &second.body));
    let by_post = post(responder.http(), "/", &Ask::about(&ca, &one).request());
    assert_eq!((strong_etag(&first), &first.body), (strong_etag(&by_post), &by_post.body));
    assert_ne!(strong_etag(&by_get(&other)), strong_etag(&first), "another certificate");
    let by_sha256 = get(responder.http(), &ocsp_target("/", &Ask::about(&ca, &one).hash("sha256").request()));
    assert_ne!(strong_etag(&by_sha256), strong_etag(&first), "another CertID");
}

#[test]
fn a_surrogate_key_names_the_issuer_and_the_certificate() {
    let (ca, (one, other), responder) = serving(|ca| (ca.issue(), ca.issue()));
    let keys = |leaf: &Leaf| {
        let reply = get(responder.http(), &ocsp_target("/", &Ask::about(&ca, leaf).request()));
        let keys: Vec<String> = reply.expect("surrogate-key").split(' ').map(str::to_owned).collect();
        assert_eq!(reply.expect("cache-tag").split(',').collect::<Vec<_>>(), keys, "the same in the other CDNs' form");
        assert_eq!(keys.len(), 2, "{keys:?}");
        assert_eq!(keys[1], format!("{}-{}", keys[0], leaf.serial.to_lowercase()));
        keys
    };
    let (one, other) = (keys(&one), keys(&other));
    assert_eq!(one[0], other[0], "one issuer");
    assert_ne!(one[1], other[1], "two certificates");
    let unlisted = get(responder.http(), &ocsp_target("/", &Ask::serial(&ca, "ABCDEF").request()));
    assert_eq!((unlisted.header("surrogate-key"), unlisted.header("cache-tag")), (None, None));
}

/// The tag without its quotes.
fn strong_etag(reply: &Reply) -> String {
    let tag = reply.expect("etag");
    assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 2, "{tag}");
    tag.trim_matches('"').to_ascii_lowercase()
}

/// An IMF-fixdate as openssl prints the same time.
fn printed(date: &str) -> String {
    let parts: Vec<&str> = date.split([' ', ',']).filter(|part| !part.is_empty()).collect();
    let [_, day, month, year, clock, "GMT"] = parts[..] else { panic!("{date}") };
    format!("{month} {:>2} {clock} {year} GMT", day.parse::<u8>().unwrap())
}

#[test]
fn a_cache_that_has_the_answer_gets_304() {
    let (_, _, responder, der) = asked();
    let target = ocsp_target("/", &der);
    let reply = get(responder.http(), &target);
    let (etag, modified) = (reply.expect("etag").to_owned(), reply.expect("last-modified").to_owned());
    let ask = |headers: &str| exchange(responder.http(), &request("GET", &target, headers)).unwrap();
    for condition in [
        format!("If-None-Match: {etag}\r\n"),
        format!("If-None-Match: W/{etag}\r\n"),
        format!("If-None-Match: \"other\", {etag}\r\n"),
        "If-None-Match: *\r\n".to_owned(),
        format!("If-Modified-Since: {modified}\r\n"),
        // RFC 9110 section 13.1.3: the tag decides where both are given.
        format!("If-None-Match: {etag}\r\nIf-Modified-Since: Mon, 01 Jan 2024 00:00:00 GMT\r\n"),
        // RFC 9110 section 5.3: fields that may be repeated are one list.
        format!("If-None-Match: {etag}\r\nIf-None-Match: \"other\"\r\n"),
        format!("If-None-Match: \"other\"\r\nIf-None-Match: {etag}\r\n"),
        format!("If-Match: {etag}\r\nIf-None-Match: {etag}\r\n"),
        format!("If-Unmodified-Since: {modified}\r\nIf-Modified-Since: {modified}\r\n"),
    ] {
        let reply = ask(&condition);
        assert_eq!((reply.status, reply.body.len()), (304, 0), "{condition}{reply:?}");
        assert_eq!(reply.expect("etag"), etag);
        assert!(reply.expect("cache-control").contains("max-age="), "{reply:?}");
        reply.date("expires");
    }
    for condition in [
        "If-None-Match: \"other\"\r\n".to_owned(),
        "If-Modified-Since: Mon, 01 Jan 2024 00:00:00 GMT\r\n".to_owned(),
        "If-Modified-Since: Tue, 01 Jan 2199 00:00:00 GMT\r\n".to_owned(),
        format!("If-None-Match: \"other\"\r\nIf-Modified-Since: {modified}\r\n"),
        format!("If-Modified-Since: {modified}\r\nIf-Modified-Since: {modified}\r\n"),
        format!("If-Modified-Since: Mon, 01 Jan 2024 00:00:00 GMT\r\nIf-Modified-Since: {modified}\r\n"),
        format!("If-Match: {etag}\r\n"),
        format!("If-Match: \"other\"\r\nIf-Match: {etag}\r\n"),
        "If-Match: *\r\n".to_owned(),
        format!("If-Unmodified-Since: {modified}\r\n"),
        "If-Unmodified-Since: Tue, 01 Jan 2199 00:00:00 GMT\r\n".to_owned(),
        "If-Unmodified-Since: yesterday\r\n".to_owned(),
        // Section 13.2.2: the tag decides where both are given.
        format!("If-Match: {etag}\r\nIf-Unmodified-Since: Mon, 01 Jan 2024 00:00:00 GMT\r\n"),
    ] {
        assert_eq!(ask(&condition).status, 200, "{condition}");
    }
    for condition in [
        "If-Match: \"other\"\r\n".to_owned(),
        "If-Match: \"other\"\r\nIf-Match: \"another\"\r\n".to_owned(),
        format!("If-Match: W/{etag}\r\n"),
        format!("If-Match: \"other\"\r\nIf-None-Match: {etag}\r\n"),
        "If-Unmodified-Since: Mon, 01 Jan 2024 00:00:00 GMT\r\n".to_owned(),
    ] {
        let reply = ask(&condition);
        assert_eq!(reply.status, 412, "{condition}{reply:?}");
        assert!(reply.expect("cache-control").contains("no-store"), "{reply:?}");
        let mut connection = Connection::open(responder.http()).unwrap();
        connection.send(&request("HEAD", &target, &condition)).unwrap();
        assert_eq!(connection.receive(true).unwrap().unwrap().status, 412, "HEAD: {condition}");
        connection.send(&request("GET", &target, "")).unwrap();
        assert_eq!(connection.receive(false).unwrap().unwrap().status, 200, "the connection stays");
    }
    for condition in [format!("If-None-Match: {etag}\r\n"), "If-Match: \"other\"\r\n".to_owned()] {
        let headers = format!("{condition}Content-Type: application/ocsp-request\r\nContent-Length: {}\r\n", der.len());
        let mut by_post = request("POST", "/", &headers);
        by_post.extend_from_slice(&der);
        assert_eq!(exchange(responder.http(), &by_post).unwrap().status, 200, "conditions on POST are ignored");
    }
}

#[test]
fn as_many_header_fields_are_taken_as_fit_the_bound_of_the_section() {
    let (_, _, responder, der) = asked();
    let target = ocsp_target("/", &der);
    let expected = get(responder.http(), &target).body;
    for count in [10, 70, 1000] {
        let reply = exchange(responder.http(), &request("GET", &target, &"X-Hop: 10.0.0.1\r\n".repeat(count))).unwrap();
        let taken = count * 17 < 16 << 10;
        assert_eq!(reply.status, if taken { 200 } else { 431 }, "{count}");
        assert!(!taken || reply.body == expected);
    }
}

#[test]
fn no_condition_vouches_for_a_good_that_has_been_overtaken() {
    let (ca, leaf, responder) = serving(Ca::issue);
    let target = ocsp_target("/", &Ask::about(&ca, &leaf).request());
    let good = get(responder.http(), &target);
    let (etag, modified) = (good.expect("etag").to_owned(), good.expect("last-modified").to_owned());
    let ask = |headers: &str| exchange(responder.http(), &request("GET", &target, headers)).unwrap();
    ca.revoke(&leaf, &[]);
    let revoked = until("the revocation shows", Duration::from_secs(20), || {
        let reply = ask(&format!("If-None-Match: {etag}\r\n"));
        (reply.status == 200).then_some(reply)
    });
    assert_eq!(Ask::about(&ca, &leaf).read(&revoked.body).status, Status::Revoked);
    // The revoked answer may be of the same second as the good one; that of another replica may be later.
    for date in [modified.as_str(), revoked.expect("last-modified"), "Tue, 01 Jan 2199 00:00:00 GMT"] {
        let reply = ask(&format!("If-Modified-Since: {date}\r\n"));
        assert_eq!((reply.status, &reply.body), (200, &revoked.body), "{date}");
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (ca, leaves, responder) = serving(|ca| [ca.issue(), ca.issue()]);
    let asks = leaves.each_ref().map(|leaf| Ask::about(&ca, leaf));
    let targets = asks.each_ref().map(|ask| ocsp_target("/", &ask.request()));
    let expected = targets.each_ref().map(|target| get(responder.http(), target).body);
    assert_ne!(expected[0], expected[1]);
    let mut connection = Connection::open(responder.http()).unwrap();
    let pipeline = (0..40).flat_map(|number| request("GET", &targets[number % 2], "")).collect::<Vec<u8>>();
    connection.send(&pipeline).unwrap();
    for number in 0..40 {
        let reply = connection.receive(false).unwrap().expect("one answer to each");
        assert_eq!(reply.body, expected[number % 2], "answer {number}");
    }
}

#[test]
fn http_1_0_and_connection_close_end_the_connection() {
    let (_, _, responder, der) = asked();
    let target = ocsp_target("/", &der);
    let expected = get(responder.http(), &target).body;
    for octets in
        [format!("GET {target} HTTP/1.0\r\n\r\n").into_bytes(), request("GET", &target, "Connection: close\r\n")]
    {
        let mut connection = Connection::open(responder.http()).unwrap();
        connection.send(&octets).unwrap();
        assert_eq!(connection.receive(false).unwrap().unwrap().body, expected);
        assert_eq!(connection.receive(false).unwrap(), None, "closed");
    }
}

#[test]
fn other_methods_and_a_bare_visit_are_answered_politely() {
    let (_, _, responder, _) = asked();
    let reply = get(responder.http(), "/");
    assert_eq!(reply.status, 200);
    assert!(reply.expect("content-type").starts_with("text/plain"), "{reply:?}");
    for method in ["PUT", "DELETE", "OPTIONS", "PATCH"] {
        let reply = exchange(responder.http(), &request(method, "/", "Content-Length: 0\r\n")).unwrap();
        assert_eq!(reply.status, 405, "{method}");
        let allow = reply.expect("allow");
        assert!(["GET", "HEAD", "POST"].iter().all(|method| allow.contains(method)), "{allow}");
    }
    // In the form that proxies are asked in.
    let reply = exchange(responder.http(), &request("CONNECT", "ostia.test:443", "")).unwrap();
    assert_eq!((reply.status, reply.header("connection")), (405, Some("close")));
    assert!(reply.expect("allow").contains("GET"));
    let long = format!("/{}", "A".repeat(9000));
    assert_eq!(get(responder.http(), &long).status, 414);
    let strange = exchange(responder.http(), b"GET / HTTP/1.1\r\nHost: ostia.test other\r\n\r\n").unwrap();
    assert_eq!(strange.status, 400);
}

#[test]
fn a_client_that_waits_for_100_is_told_to_go_on() {
    let (ca, leaf, responder, body) = asked();
    for length in [format!("Content-Length: {}\r\n", body.len()), "Transfer-Encoding: chunked\r\n".to_owned()] {
        let mut connection = Connection::open(responder.http()).unwrap();
        for _ in 0..2 {
            connection.send(&request("POST", "/", &format!("Expect: 100-continue\r\n{length}"))).unwrap();
            // Nothing of the body leaves before this has come, and it has no body itself.
            let go_on = connection.receive(true).unwrap().expect("a word");
            assert_eq!((go_on.status, go_on.headers.len()), (100, 0), "{go_on:?}");
            if length.starts_with("Transfer") {
                connection.send(format!("{:x}\r\n", body.len()).as_bytes()).unwrap();
                connection.send(&[&body[..], b"\r\n0\r\n\r\n"].concat()).unwrap();
            } else {
                connection.send(&body).unwrap();
            }
            let reply = connection.receive(false).unwrap().expect("the answer");
            assert_eq!(reply.status, 200);
            Ask::about(&ca, &leaf).read(&reply.body).expect(Status::Good);
        }
    }
    // What will be refused is refused instead.
    let mut connection = Connection::open(responder.http()).unwrap();
    connection.send(&request("POST", "/", "Expect: 100-continue\r\nContent-Length: 1000000\r\n")).unwrap();
    assert_eq!(connection.receive(false).unwrap().unwrap().status, 413);
    // And HTTP/1.0 knows no such word.
    let mut connection = Connection::open(responder.http()).unwrap();
    let head = format!("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n", body.len());
    connection.send(&[head.as_bytes(), &body].concat()).unwrap();
    assert_eq!(connection.receive(false).unwrap().unwrap().status, 200);
}

#[test]
fn a_body_over_the_limit_is_refused_before_it_is_read() {
    let (_, _, responder, _) = asked();
    let headers = "Content-Type: application/ocsp-request\r\nContent-Length: 10000000\r\n";
    // Nothing of the body is ever sent.
    let reply = exchange(responder.http(), &request("POST", "/", headers)).unwrap();
    assert_eq!(reply.status, 413);
}

#[test]
fn two_framings_of_one_request_are_refused_and_closed() {
    let (_, _, responder, _) = asked();
    for headers in ["Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "Content-Length: 5\r\nContent-Length: 6\r\n"]
    {
        let mut connection = Connection::open(responder.http()).unwrap();
        connection.send(&request("POST", "/", headers)).unwrap();
        assert_eq!(connection.receive(false).unwrap().unwrap().status, 400, "{headers}");
        assert_eq!(connection.receive(false).unwrap(), None, "{headers}");
    }
}
