use proptest::prelude::*;

use super::*;

const CHUNKED_MAX: usize = limits::CHUNKED_FACTOR * limits::BODY_OCTETS_MAX;

fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

fn read(text: &str) -> Result<Head<'_>, Rejection> {
    head(text.as_bytes()).map(|head| head.expect("complete"))
}

fn path(target: &str) -> Result<String, Rejection> {
    let text = get(target, "");
    read(&text).map(|head| String::from_utf8(head.path.to_vec()).unwrap())
}

#[test]
fn targets_lose_query_and_authority() {
    for (target, expected) in [
        ("/", "/"),
        ("/MFE=", "/MFE="),
        ("//MFE", "//MFE"),
        ("/MFE?x=/y", "/MFE"),
        ("http://host:80/MFE", "/MFE"),
        ("HTTPS://host/MFE?q", "/MFE"),
        ("http://host", ""),
        ("http://host?q", ""),
        ("*", "*"),
    ] {
        assert_eq!(path(target).as_deref(), Ok(expected), "{target}");
    }
    // Authority form is only for CONNECT, which has to be refused because of its method.
    let connect = read("CONNECT host:443 HTTP/1.1\r\nHost: host:443\r\n\r\n").unwrap();
    assert_eq!((connect.method, connect.path, connect.keep_alive), (Method::Other, &b""[..], false));
    for target in ["MFE", "host:443", "ftp://host/", "**"] {
        assert_eq!(path(target), Err(Rejection::BadRequest), "{target}");
    }
    assert_eq!(read("GET http://b:1/x HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().host, Some(&b"b:1"[..]));
}

#[test]
fn a_plus_that_arrived_as_a_space_is_mended() {
    for (line, mended) in [
        ("GET /MFE a b= HTTP/1.1\r\n", "GET /MFE+a+b= HTTP/1.1\r\n"),
        ("HEAD /a b HTTP/1.0\r\nX: a b\r\n", "HEAD /a+b HTTP/1.0\r\nX: a b\r\n"),
        ("GET /MFE HTTP/1.1\r\n", "GET /MFE HTTP/1.1\r\n"),
        ("GET /a b HTTP/1.1", "GET /a b HTTP/1.1"),
        ("GET /a b\r\n", "GET /a b\r\n"),
        ("POST /a b HTTP/1.1\r\n", "POST /a b HTTP/1.1\r\n"),
        ("GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\n"),
        ("GET  HTTP/1.1\r\n", "GET  HTTP/1.1\r\n"),
    ] {
        let mut octets = line.as_bytes().to_vec();
        assert_eq!(mend_request_line(&mut octets), line != mended);
        assert_eq!(String::from_utf8(octets).unwrap(), mended);
    }
}

#[test]
fn a_target_with_spaces_is_awaited_to_the_end_of_its_line() {
    // A read that ended within such a target must not be refused, because the same bytes in one read are answered.
    let line = "GET /MFE a b= HTTP/1.1\r\n";
    for cut in 0..line.len() {
        assert_eq!(head(&line.as_bytes()[..cut]), Ok(None), "cut at {cut}");
    }
    assert_eq!(head(line.as_bytes()), Err(Rejection::VersionNotSupported), "for the caller to mend");
    let endless = format!("GET /a b{}", "a".repeat(limits::TARGET_OCTETS_MAX + 64));
    assert_eq!(head(endless.as_bytes()), Err(Rejection::TargetTooLong));
}

#[test]
fn keep_alive_follows_version_and_connection() {
    let keep = |version: &str, fields: &str| {
        read(&format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n")).unwrap().keep_alive
    };
    assert!(keep("1.1", ""));
    assert!(!keep("1.1", "Connection: close\r\n"));
    assert!(!keep("1.1", "connection: upgrade, Close\r\n"));
    assert!(!keep("1.0", ""));
    assert!(keep("1.0", "Connection: Keep-Alive\r\n"));
    assert!(keep("1.0", "Connection: x\r\nConnection: , keep-alive\r\n"));
    // Not just the last option counts.
    assert!(!keep("1.0", "Connection: close, keep-alive\r\n"));
    assert!(!keep("1.0", "Connection: close\r\nConnection: keep-alive\r\n"));
    assert!(!keep("1.1", "Connection: keep-alive\r\nConnection: close\r\nConnection: x\r\n"));
}

#[test]
fn every_framing_doubt_is_refused() {
    for (fields, rejection) in [
        ("Content-Length: 3\r\nContent-Length: 4\r\n", Rejection::BadRequest),
        ("Content-Length: 3, 3\r\n", Rejection::BadRequest),
        ("Content-Length: +3\r\n", Rejection::BadRequest),
        ("Content-Length: 0x3\r\n", Rejection::BadRequest),
        ("Content-Length:\r\n", Rejection::BadRequest),
        ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", Rejection::BadRequest),
        ("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", Rejection::BadRequest),
        ("Transfer-Encoding: gzip, chunked\r\n", Rejection::BadRequest),
        ("Transfer-Encoding: identity\r\n", Rejection::BadRequest),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Rejection::BadRequest),
        ("Host: b\r\n", Rejection::BadRequest),
        ("Content-Length : 3\r\n", Rejection::BadRequest),
        ("X: a\r\n folded\r\n", Rejection::BadRequest),
        ("X: a\rb\r\n", Rejection::BadRequest),
        ("X: a\0b\r\n", Rejection::BadRequest),
        ("Expect: 200-ok\r\n", Rejection::ExpectationFailed),
        ("Content-Length: 99999999999999999999999999\r\n", Rejection::BodyTooLarge),
    ] {
        assert_eq!(read(&get("/", fields)), Err(rejection), "{fields:?}");
    }
    assert_eq!(read("GET / HTTP/1.1\r\n\r\n"), Err(Rejection::BadRequest), "no Host");
    assert_eq!(read("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), Err(Rejection::BadRequest));
    assert_eq!(read("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), Err(Rejection::VersionNotSupported));
    assert_eq!(read(&get("/", "Content-Length: 3\r\ncontent-length: 3\r\n")).unwrap().framing, Framing::Length(3));
}

#[test]
fn oversized_sections_are_refused_before_they_are_complete() {
    let long = "a".repeat(limits::TARGET_OCTETS_MAX);
    assert!(read(&get(&format!("/{}", &long[1..]), "")).is_ok(), "8 KiB are answered");
    assert_eq!(read(&get(&format!("/{long}"), "")), Err(Rejection::TargetTooLong));
    assert_eq!(head(format!("GET /{long}{}", "a".repeat(64)).as_bytes()), Err(Rejection::TargetTooLong));
    let field = format!("X: {}\r\n", "b".repeat(limits::HEAD_OCTETS_MAX));
    assert_eq!(head(format!("GET / HTTP/1.1\r\n{field}").as_bytes()), Err(Rejection::HeadTooLarge));
    assert_eq!(read(&get("/", &field)), Err(Rejection::HeadTooLarge));
}

#[test]
fn a_bound_counts_the_same_for_octets_that_come_at_once() {
    // A long method must not make the line too long only while it is incomplete, nor chunk extensions the body.
    let target = "a".repeat(limits::TARGET_OCTETS_MAX - 1);
    let text = format!("{} /{target} HTTP/1.1\r\nHost: a\r\n\r\n", "M".repeat(64));
    assert_eq!(head(&text.as_bytes()[..limits::TARGET_OCTETS_MAX + 65]), Err(Rejection::TargetTooLong));
    assert_eq!(read(&text), Err(Rejection::TargetTooLong));

    let padded = format!("1;{}\r\na\r\n", "x".repeat(CHUNK_LINE_OCTETS_MAX - 2));
    let text = padded.repeat(CHUNKED_MAX / padded.len()) + "0\r\n";
    let fitting = format!("{text}x: {}\r\n\r\n", "x".repeat(CHUNKED_MAX - text.len() - 7));
    assert_eq!(chunks(&fitting).map(|body| body.map(|(_, end)| end)), Ok(Some(CHUNKED_MAX)));
    let longer = fitting.replace("x: ", "x:  ");
    assert_eq!(chunks(&longer[..CHUNKED_MAX + 1]), Err(Rejection::BodyTooLarge), "the last is missing");
    assert_eq!(chunks(&longer), Err(Rejection::BodyTooLarge));
}

#[test]
fn a_header_section_is_taken_only_when_complete() {
    let text = get("/MFE", "Connection: close\r\nContent-Length: 5\r\n");
    for end in 0..text.len() {
        assert_eq!(head(&text.as_bytes()[..end]), Ok(None), "cut at {end}");
    }
    assert_eq!(read(&text).unwrap().length, text.len());
}

fn chunks(text: &str) -> Result<Option<(Vec<u8>, usize)>, Rejection> {
    body(text.as_bytes(), Framing::Chunked, limits::BODY_OCTETS_MAX)
        .map(|body| body.map(|(body, end)| (body.into_owned(), end)))
}

#[test]
fn chunked_bodies_are_decoded_under_the_same_limit() {
    let text = "3\r\nabc\r\n02;x=y\r\nde\r\n0\r\nTrailer: x\r\n\r\nGET";
    assert_eq!(chunks(text), Ok(Some((b"abcde".to_vec(), text.len() - 3))));
    for end in 0..text.len() - 3 {
        assert_eq!(chunks(&text[..end]), Ok(None), "cut at {end}");
    }
    let padded = "0000000000000003\r\nabc\r\n0000000000\r\n\r\n";
    assert_eq!(chunks(padded), Ok(Some((b"abc".to_vec(), padded.len()))), "leading zeros");
    for broken in [
        "x\r\n",
        "\r\n",
        "-1\r\n",
        "3 \r\nabc\r\n",
        "3\nabc\r\n",
        "3\r\nabcd",
        "3\r\nabc\n",
        "123456789\r\n",
        "0123456789\r\n",
        "+3\r\n",
        "0\r\nno field\r\n\r\n",
        "0\r\n folded: x\r\n\r\n",
        "0\r\nx: y\n\r\n",
        "3;\r;\r\nabc\r\n",
        "3;\0\r\nabc\r\n",
        "0\r\nx: a\rb\r\n\r\n",
        "0\r\nx : a\r\n\r\n",
        "0\r\n: a\r\n\r\n",
        "0\r\nx: \0\r\n\r\n",
    ] {
        assert_eq!(chunks(broken), Err(Rejection::BadRequest), "{broken:?}");
    }
    let largest = format!("{:x}\r\n{}\r\n0\r\n\r\n", limits::BODY_OCTETS_MAX, "a".repeat(limits::BODY_OCTETS_MAX));
    assert!(chunks(&largest).unwrap().is_some());
    assert_eq!(chunks(&format!("{:x}\r\n", limits::BODY_OCTETS_MAX + 1)), Err(Rejection::BodyTooLarge));
    let drip = "1\r\na\r\n".repeat(CHUNKED_MAX / 6 + 1);
    assert_eq!(chunks(&drip), Err(Rejection::BodyTooLarge));
    assert_eq!(chunks(&"a".repeat(CHUNK_LINE_OCTETS_MAX + 1)), Err(Rejection::BadRequest));
}

proptest! {
    #[test]
    fn no_octets_make_it_panic(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = head(&octets);
        let _ = body(&octets, Framing::Chunked, limits::BODY_OCTETS_MAX);
    }

    #[test]
    fn chunking_round_trips(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..20)) {
        let mut text = Vec::new();
        for part in &parts {
            text.extend(format!("{:X}\r\n", part.len()).bytes());
            text.extend(part);
            text.extend(b"\r\n");
        }
        text.extend(b"0\r\n\r\n");
        let (decoded, end) = body(&text, Framing::Chunked, limits::BODY_OCTETS_MAX).unwrap().unwrap();
        prop_assert_eq!(&decoded[..], parts.concat());
        prop_assert_eq!(end, text.len());
    }
}

#[test]
fn as_many_fields_are_read_as_a_header_section_holds() {
    // With room for 64, all clients behind some chains of proxies would be refused.
    let fixed = get("/MFE", "").len();
    let most = (limits::HEAD_OCTETS_MAX - fixed - "If-None-Match: x\r\n".len()) / "a:\n".len();
    for count in [limits::HEADERS_USUAL - 2, limits::HEADERS_USUAL, 100, 1000, most] {
        let text = get("/MFE", &format!("{}If-None-Match: x\r\n", "a:\n".repeat(count)));
        let head = read(&text).unwrap();
        assert_eq!(head.path, b"/MFE", "{count}");
        assert!(head.conditions.if_none_match.members().eq([&b"x"[..]]), "{count}");
        assert_eq!(super::head(&text.as_bytes()[..text.len() - 1]), Ok(None), "{count}, cut");
    }
    assert_eq!(read(&get("/MFE", &"a:\n".repeat(limits::HEADERS_MAX))), Err(Rejection::HeadTooLarge));
}

#[test]
fn fields_that_may_be_repeated_are_one_list() {
    for (fields, expected) in [
        ("", &[][..]),
        ("X-Forwarded-For: a\r\n", &["a"]),
        ("X-Forwarded-For: a , b\r\nHost2: c\r\nx-forwarded-FOR:d\r\n", &["a", "b", "d"]),
        ("X-Forwarded-For:\r\nX-Forwarded-For: ,a,,\r\nX-Forwarded-For-Not: b\r\n", &["a"]),
        ("X-Forwarded-For: a\nX-Forwarded-For: b\n", &["a", "b"]),
    ] {
        let text = get("/", fields);
        let list = read(&text).unwrap().forwarded_for;
        let expected: Vec<_> = expected.iter().map(|member| member.as_bytes()).collect();
        assert_eq!(list.members().collect::<Vec<_>>(), expected, "{fields}");
        assert!(list.members().rev().eq(expected.iter().rev().copied()), "{fields}");
    }
    let text = get("/", "If-Modified-Since: a, b\r\n");
    assert_eq!(read(&text).unwrap().conditions.if_modified_since.only(), Some(&b"a, b"[..]));
    let text = get("/", "If-Modified-Since: a\r\nX: y\r\nIf-Modified-Since: a\r\n");
    assert_eq!(read(&text).unwrap().conditions.if_modified_since.only(), None);
    for (fields, keep_alive) in [("Connection: x\r\nConnection: close\r\n", false), ("Connection: x, y\r\n", true)] {
        assert_eq!(read(&get("/", fields)).unwrap().keep_alive, keep_alive, "{fields}");
    }
    for fields in ["Expect: 100-continue\r\nExpect: 100-Continue\r\n", "Expect: , 100-continue, 100-continue\r\n"] {
        assert!(read(&get("/", fields)).unwrap().expects_continue, "{fields}");
    }
    assert!(!read(&get("/", "Expect:\r\n")).unwrap().expects_continue);
    for fields in ["Expect: 100-continue, other\r\n", "Expect: other\r\nExpect: 100-continue\r\n"] {
        assert_eq!(read(&get("/", fields)), Err(Rejection::ExpectationFailed), "{fields}");
    }
}

#[test]
fn a_host_that_is_none_is_refused() {
    let host = |value: &str| head(format!("GET / HTTP/1.1\r\nHost: {value}\r\n\r\n").as_bytes()).map(drop);
    for value in ["", "a", "ocsp.example:8080", "[2001:db8::1]:80", "192.0.2.1", "a_b.example", " a "] {
        assert_eq!(host(value), Ok(()), "`{value}`");
    }
    for value in ["a b", "a, b", "a\tb", "http://a/", "a/b", "user@a", "a#b", "\u{e4}"] {
        assert_eq!(host(value), Err(Rejection::BadRequest), "`{value}`");
    }
}

#[test]
fn a_body_over_its_bound_is_refused_before_it_comes() {
    let framed = |length| body(b"", Framing::Length(length), 10);
    assert_eq!((framed(10), framed(11)), (Ok(None), Err(Rejection::BodyTooLarge)));
}

#[test]
fn a_media_type_is_told_by_its_name_whatever_its_case_and_parameters() {
    let type_of = |fields: &str| {
        let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        head(text.as_bytes()).unwrap().unwrap().media_type.0.to_ascii_lowercase()
    };
    for (fields, expected) in [
        ("", ""),
        ("Content-Type: application/ocsp-request\r\n", "application/ocsp-request"),
        ("content-type:Application/OCSP-Request ;a=b\r\n", "application/ocsp-request"),
        ("Content-Type: application/timestamp-query; x=\"y\"\r\n", "application/timestamp-query"),
        ("Content-Type: application/timestamp-query-2\r\n", "application/timestamp-query-2"),
        ("Content-Type: text/plain; application/timestamp-query\r\n", "text/plain"),
        ("Content-Type:\r\n", ""),
        (
            "Content-Type: application/ocsp-request\r\nContent-Type: application/OCSP-request\r\n",
            "application/ocsp-request",
        ),
        ("Content-Type: application/ocsp-request\r\nContent-Type: application/timestamp-query\r\n", ""),
        ("Content-Type: a/b\r\nContent-Type: a/c\r\nContent-Type: application/timestamp-query\r\n", ""),
    ] {
        assert_eq!(type_of(fields), expected.as_bytes(), "{fields}");
    }
    let text = "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: A/B; c=d\r\n\r\n";
    let media_type = head(text.as_bytes()).unwrap().unwrap().media_type;
    assert!(media_type.is("a/b") && !media_type.is("a/bc") && !media_type.is(""));
}
