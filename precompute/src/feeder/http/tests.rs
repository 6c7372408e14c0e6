//! One question, against a server that says one thing.

use std::{net::TcpListener, path::Path, thread, time::Duration};

use super::{
    super::{
        mirror::{Draft, Mirror},
        stop::Stop,
        tests::server::{Server, crl},
    },
    *,
};
use crate::{ledger::FetchKind, source::draft};

const NOW: UnixTime = UnixTime(1_800_000_000);

fn at(url: &str, mirror: &Path) -> CrlAtUrl {
    CrlAtUrl::new(url.parse().unwrap(), mirror.to_owned(), (draft::issuer(), Vec::new()))
}

/// What comes of one question about `ca.crl`; `last`: what is known before.
fn ask(server: &Server, url: &str, last: Option<&Last>) -> Result<Answer, String> {
    let dir = tempfile::tempdir().unwrap();
    let mut origin = at(&url.replace("SERVER", server.url("").trim_end_matches('/')), &dir.path().join("ca.crl"));
    let mut draft = Mirror::new(&origin.mirror).draft().unwrap();
    let within = Duration::from_secs(30);
    let question = Question {
        last,
        now: NOW,
        within,
        stop: &Stop::default(),
        fetching: &Fetching::new(FetchKind::Crl, String::new(), None),
    };
    origin.ask(&question, &mut draft).map_err(|problem| problem.text)
}

/// What is known after a CRL was taken.
fn last(number: u8, validators: Validators) -> Last {
    let dir = tempfile::tempdir().unwrap();
    let mirror = Mirror::new(&dir.path().join("ca.crl"));
    let facts = crl::judge(crl(number), &CrlIssuers::ca(&draft::issuer()), None, None, validators, NOW).unwrap();
    let mut draft = mirror.draft().unwrap();
    draft.write_all(&crl(number)).unwrap();
    mirror.replace(draft, facts, "http://a", NOW, None).unwrap()
}

#[test]
fn what_is_no_crl_is_refused_with_what_it_is_and_what_to_do() {
    let server = Server::start();
    let html = b"<!DOCTYPE html><html>".as_slice();
    let other = draft::Draft { issuer: draft::name("Other"), ..draft::Draft::new() }.der();
    let forged = draft::Draft { seed: 8, ..draft::Draft::new() }.der();
    let future = draft::Draft {
        times: [&b"\x18\x0f20770102030405Z"[..], b"\x18\x0f20780102030405Z"].concat(),
        ..draft::Draft::new()
    };
    let (future, base64) = (future.der(), b"MIIBvDCBpQIBATANBgkqhkiG9w0B".to_vec());
    for (code, head, body, told) in [
        (200, "Content-Type: text/html\r\n", html, "200 (text/html) with 21 bytes that are not taken: it holds no CRL"),
        (
            200,
            "",
            html,
            "it begins like HTML, such as a page for signing in or about an error (`<!DOCTYPE html><html>`)",
        ),
        (200, "", &base64, "base64 without the lines of PEM"),
        (200, "", b"", "200 (no type) with an empty body"),
        (200, "", &crl(1)[..100], "is not a CRL in DER"),
        (200, "", &other, "was issued by `CN=Other`"),
        (200, "", &forged, "signature"),
        (200, "", &future, "check the clocks"),
        (200, "Content-Encoding: gzip\r\n", html, "packed as `gzip`"),
        (206, "", html, "answers 206"),
        (304, "", b"", "answers 304 (no type); it was asked without conditions"),
        (301, "", b"", "names no place"),
        (302, "Location: ldap://dc/x\r\n", b"", "names a place that is `ldap://dc/x`, which is an LDAP URL"),
        (401, "", html, "`https://user:password@…`"),
        (404, "Content-Type: text/html\r\n", html, "answers 404 (text/html); is the URL right?"),
        (503, "", b"", "answers 503 (no type); its own log says why"),
    ] {
        server.answers_with(code, head, body);
        let problem = ask(&server, "SERVER/ca.crl", None).unwrap_err();
        assert!(problem.starts_with(&format!("{}: ", server.url("ca.crl"))), "{problem}");
        assert!(problem.contains(told), "{told}: {problem}");
    }
    server.answers_with(404, "", b"");
    assert!(ask(&server, "SERVER/CA+.crl", None).unwrap_err().contains("allowDoubleEscaping"));
    server.answers_with(200, "", &crl(1));
    assert!(matches!(ask(&server, "SERVER/ca.crl", None), Ok(Answer::New(_))));
    let pem = draft::pem(&crl(1));
    server.answers_with(200, "Content-Type: application/octet-stream\r\n", pem.as_bytes());
    assert!(matches!(ask(&server, "SERVER/ca.crl", None), Ok(Answer::New(_))), "PEM as well");
}

#[test]
fn a_body_of_another_length_than_its_head_says_is_refused() {
    let server = Server::start();
    let whole = crl(1);
    let with = |head: &str, body: &[u8]| {
        server.answers(&[format!("HTTP/1.1 200 OK\r\n{head}\r\n").as_bytes(), body].concat());
        ask(&server, "SERVER/ca.crl", None)
    };
    let longer = format!("Content-Length: {}\r\n", whole.len() + 10);
    let problem = with(&longer, &whole).unwrap_err();
    assert!(problem.contains(&format!("ended after {} of {}", whole.len(), whole.len() + 10)), "{problem}");
    assert!(with(&format!("Content-Length: {}\r\n", whole.len() - 10), &whole).is_err());
    let most = limits::CRL_FILE_OCTETS_MAX;
    let problem = with(&format!("Content-Length: {}\r\n", most + 1), b"x").unwrap_err();
    assert!(problem.contains("more than the"), "{problem}");
    // Without a length, a CRL says itself where it ends.
    assert!(matches!(with("Connection: close\r\n", &whole), Ok(Answer::New(_))));
    assert!(with("Connection: close\r\n", &whole[..whole.len() - 10]).is_err());
    let chunks = [format!("{:x}\r\n", whole.len()).as_bytes(), &whole, b"\r\n0\r\n\r\n"].concat();
    assert!(matches!(with("Transfer-Encoding: chunked\r\n", &chunks), Ok(Answer::New(_))));
    assert!(with("Transfer-Encoding: chunked\r\n", &chunks[..chunks.len() - 20]).is_err());
}

#[test]
fn redirects_are_followed_within_a_bound_and_the_login_stays_with_its_host() {
    let (server, other) = (Server::start(), Server::start());
    other.answers_with(200, "", &crl(1));
    for code in [301, 302, 303, 307, 308] {
        server.answers_with(code, &format!("Location: {}\r\n", other.url("there.crl")), b"moved");
        let url = server.url("ca.crl").replace("http://", "http://user:7391@");
        assert!(matches!(ask(&server, &url, None), Ok(Answer::New(_))), "{code}");
    }
    let with_login = |request: &String| request.to_ascii_lowercase().contains("authorization: basic dxnlcjo3mzkx");
    assert!(server.requests().iter().all(with_login) && !other.requests().iter().any(with_login));

    other.answers_with(200, "", b"<html>");
    let problem = ask(&server, "SERVER/ca.crl", None).unwrap_err();
    let wanted = format!("{}, which leads to {}: answers 200", server.url("ca.crl"), other.url("there.crl"));
    assert!(problem.contains(&wanted), "{problem}");

    server.answers_with(302, "Location: ca.crl\r\n", b"");
    let before = server.requests().len();
    let problem = ask(&server, "SERVER/ca.crl", None).unwrap_err();
    assert!(problem.contains("leads on and on; more than 5 redirects"), "{problem}");
    assert_eq!(server.requests().len() - before, fetch::REDIRECTS_MAX + 1);
}

#[test]
fn what_is_known_is_asked_for_conditionally_and_an_equal_body_is_nothing_new() {
    let server = Server::start();
    let date = "Mon, 02 Jan 2025 03:04:05 GMT";
    let validators = Validators { etag: Some("W/\"1\"".into()), last_modified: Some(date.into()), fresh_for: None };
    let known = last(5, validators.clone());
    server.answers_with(304, "Cache-Control: max-age=60\r\n", b"");
    let Ok(Answer::Same(Some(confirmed))) = ask(&server, "SERVER/ca.crl", Some(&known)) else { panic!() };
    assert_eq!(confirmed, Validators { fresh_for: Some(60), ..validators }, "the rest goes on");
    let request = &server.requests()[0];
    assert!(request.contains("if-none-match: W/\"1\"") && request.contains(&format!("if-modified-since: {date}")));
    assert!(request.contains("accept-encoding: identity"), "{request}");

    // Another machine behind the same name has another ETag for the same bytes.
    server.answers_with(200, "ETag: \"2\"\r\n", &crl(5));
    let Ok(Answer::Same(Some(other))) = ask(&server, "SERVER/ca.crl", Some(&known)) else { panic!() };
    assert_eq!(other.etag.as_deref(), Some("\"2\""));

    server.answers_with(200, "", &crl(4));
    let problem = ask(&server, "SERVER/ca.crl", Some(&known)).unwrap_err();
    assert!(problem.contains("its cRLNumber is lower") && problem.contains("if its CA had to begin anew, remove"));
    let delta = draft::Draft::extensions(&[draft::number(6), draft::delta(5)]).der();
    server.answers_with(200, "", &delta);
    let problem = ask(&server, "SERVER/ca.crl", Some(&known)).unwrap_err();
    assert!(problem.contains("it is a delta CRL, and the one before was a complete CRL"), "{problem}");
    server.answers_with(200, "Last-Modified: x\r\nCache-Control: max-age=7\r\n", &crl(6));
    let Ok(Answer::New(facts)) = ask(&server, "SERVER/ca.crl", Some(&known)) else { panic!() };
    assert_eq!((facts.validators.fresh_for, facts.this_update), (Some(7), Some(1_735_787_045)));
}

#[test]
fn who_is_overloaded_says_when_to_come_again() {
    let server = Server::start();
    server.answers_with(503, "Retry-After: 120\r\n", b"");
    let dir = tempfile::tempdir().unwrap();
    let mut draft = Draft::temporary("retry");
    let question = Question {
        last: None,
        now: NOW,
        within: Duration::from_secs(30),
        stop: &Stop::default(),
        fetching: &Fetching::new(FetchKind::Crl, String::new(), None),
    };
    let problem = at(&server.url("ca.crl"), &dir.path().join("x")).ask(&question, &mut draft).unwrap_err();
    assert_eq!(problem.wait, Some(Duration::from_secs(120)));
}

#[test]
fn nobody_there_is_told_with_the_url_and_no_secret() {
    let server = Server::start();
    let url = server.url("ca.crl?token=7391").replace("http://", "http://user:7391@");
    drop(server);
    let server = Server::start();
    let problem = ask(&server, &url, None).unwrap_err();
    assert!(problem.contains("/ca.crl?token=…: gives no answer: "), "{problem}");
    assert!(!problem.contains("7391"), "{problem}");
    let without_tls = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/ca.crl", without_tls.local_addr().unwrap());
    thread::spawn(move || without_tls.accept().unwrap().0.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
    let problem = ask(&server, &url, None).unwrap_err();
    assert!(problem.contains("speaks no TLS"), "{problem}");
}

#[test]
fn a_server_that_sends_nothing_more_is_left_after_a_while() {
    let server = Server::start();
    server.holds("ca.crl");
    let dir = tempfile::tempdir().unwrap();
    let mut draft = Draft::temporary("slow");
    let question = Question {
        last: None,
        now: NOW,
        within: Duration::from_millis(200),
        stop: &Stop::default(),
        fetching: &Fetching::new(FetchKind::Crl, String::new(), None),
    };
    let begun = Instant::now();
    let problem = at(&server.url("ca.crl"), &dir.path().join("x")).ask(&question, &mut draft).unwrap_err();
    assert!(problem.text.contains("timeout") && begun.elapsed() < fetch::SILENCE_MAX / 2, "{problem}");
}
