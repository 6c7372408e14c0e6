//! Servers that misbehave beneath the answers.

use crate::testing::forge::{Answer, Identity};
use crate::testing::server::{Reply, Server};
use crate::testing::{kinds, report_of};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Runs against a server that gives these bytes to every request, or does not answer at all.
struct Stage {
    directory: tempfile::TempDir,
    body: Vec<u8>,
}

impl Stage {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let issuer = Identity::root("issuer");
        issuer.pem(directory.path(), "ca.pem");
        std::fs::write(directory.path().join("serials"), "2A\n").unwrap();
        Self { body: Answer::new(&issuer, &[0x2a]).encode(), directory }
    }

    fn http(&self, head: &str) -> Vec<u8> {
        [format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n", self.body.len()).as_bytes(), &self.body].concat()
    }

    fn report(&self, url: &str, more: &[&str]) -> crate::report::Report {
        let file = |name: &str| self.directory.path().join(name).to_str().unwrap().to_owned();
        let (issuer, serials) = (file("ca.pem"), file("serials"));
        let arguments = ["ocsp", "--url", url, "--issuer", &issuer, "--serials", &serials, "--verify", "all"];
        report_of(&[&arguments[..], more].concat())
    }
}

#[test]
fn counts_http_statuses_and_resets_and_garbage() {
    let stage = Stage::new();
    for (raw, close, kind) in [
        (stage.http("503 Busy"), false, "http_status"),
        (stage.http("404 Not Found"), false, "http_status"),
        (b"SSH-2.0-OpenSSH\r\n".to_vec(), false, "malformed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n".to_vec(), false, "malformed"),
        (Vec::new(), true, "reset"),
        (stage.http("200 OK")[..100].to_vec(), true, "reset"),
    ] {
        let server =
            Server::start(move |_| if close { Reply::RawThenClose(raw.clone()) } else { Reply::Raw(raw.clone()) });
        let report = stage.report(&server.url(), &["-n", "6", "-c", "2"]);
        assert_eq!(kinds(&report), [(kind, 6)]);
        assert_eq!(report.right, 0);
    }
}

#[test]
fn counts_time_outs_with_their_latency() {
    let stage = Stage::new();
    let server = Server::start(|_| Reply::Silence);
    let report = stage.report(&server.url(), &["-n", "4", "-c", "4", "--timeout", "100ms"]);
    assert_eq!(kinds(&report), [("timeout", 4)]);
    assert!(report.latency_us.unwrap().min >= 100_000.0);
    assert_eq!(crate::run::ending(&report), program::Exit::NoAnswer);
}

#[test]
fn counts_refused_connections_and_backs_off() {
    let stage = Stage::new();
    // A port that was free a moment ago, and that nobody else on this machine will be given at once.
    let url = { format!("http://{}/", std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()) };
    let report = stage.report(&url, &["-d", "400ms", "-c", "1"]);
    let [("connect", n)] = kinds(&report)[..] else { panic!("{:?}", report.kinds) };
    // 10, 20, 40, 80, 160 ms and so on, each up to a sweep late.
    assert!((2..=7).contains(&n), "{n}");
    let one = stage.report(&url, &["-d", "300ms", "-c", "1", "--one-request-per-connection"]);
    assert!((2..=7).contains(&one.errors), "{:?}", one.kinds);
}

#[test]
fn follows_servers_that_close_after_each_answer_without_losing_one() {
    let stage = Stage::new();
    let ok = stage.http("200 OK");
    let closing = stage.http("200 OK\r\nConnection: close");
    // HTTP/1.0, whose bodies may end with the connection.
    let bare = [b"HTTP/1.0 200 OK\r\n\r\n", &stage.body[..]].concat();
    for (raw, pipeline) in [(closing.clone(), "1"), (closing, "4"), (bare, "1")] {
        let server = Server::start(move |_| Reply::RawThenClose(raw.clone()));
        let report = stage.report(&server.url(), &["-n", "30", "-c", "3", "--pipeline", pipeline]);
        assert_eq!((report.right, kinds(&report)), (30, vec![]), "pipeline {pipeline}");
        assert!(report.connections_opened >= 30);
    }
    let server = Server::start(move |_| Reply::Raw(ok.clone()));
    let report = stage.report(&server.url(), &["-n", "30", "-c", "3", "--one-request-per-connection"]);
    assert_eq!((report.right, report.connections_opened), (30, 30));
    assert_eq!(server.connections.load(Ordering::SeqCst), 30);
}

#[test]
fn opens_no_connection_that_it_has_no_request_for() {
    let stage = Stage::new();
    let (ok, closing) = (stage.http("200 OK"), stage.http("200 OK\r\nConnection: close"));
    let server = Server::start(move |_| Reply::Raw(ok.clone()));
    let report = stage.report(&server.url(), &["-n", "5", "-c", "64"]);
    assert_eq!((report.right, report.connections_opened), (5, 5));
    let server = Server::start(move |_| Reply::RawThenClose(closing.clone()));
    let report = stage.report(&server.url(), &["-n", "50", "-c", "8"]);
    assert_eq!((report.right, report.connections_opened), (50, 50));
}

#[test]
fn reads_chunked_answers_and_pipelines_in_order() {
    let stage = Stage::new();
    let chunks: Vec<u8> =
        stage.body.chunks(7).flat_map(|c| [format!("{:x}\r\n", c.len()).as_bytes(), c, b"\r\n"].concat()).collect();
    let raw = [&b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"[..], &chunks, b"0\r\n\r\n"].concat();
    let server = Server::start(move |_| Reply::Raw(raw.clone()));
    let report = stage.report(&server.url(), &["-n", "64", "-c", "2", "--pipeline", "8"]);
    assert_eq!((report.right, kinds(&report)), (64, vec![]));
    assert_eq!(report.verification.checked + report.verification.repeats_of_checked, 64);
}

#[test]
fn charges_a_stall_to_every_request_due_meanwhile() {
    let stage = Stage::new();
    let ok = stage.http("200 OK");
    // One answer in the run takes 600 ms; 100 requests a second are due on one connection.
    let server = Server::start(move |r| {
        if r.number == 10 {
            std::thread::sleep(Duration::from_millis(600));
        }
        Reply::Raw(ok.clone())
    });
    let report = stage.report(&server.url(), &["-d", "2s", "-c", "1", "--rate", "100", "--timeout", "5s"]);
    assert_eq!((report.asked + report.unsent, kinds(&report)), (200, vec![]));
    let (from_due, from_sending) = (report.latency_us.unwrap(), report.service_us.unwrap());
    assert!(from_due.max >= 595_000.0 && from_sending.max >= 595_000.0);
    // About sixty requests were late, by 600 ms down to nothing; measured from the sending only one was.
    assert!(from_due.p90 > 200_000.0, "{from_due:?}");
    assert!(from_sending.p90 < 200_000.0, "{from_sending:?}");
}

#[test]
fn keeps_to_its_rate_and_says_what_was_never_sent() {
    let stage = Stage::new();
    let ok = stage.http("200 OK");
    let server = Server::start(move |_| {
        std::thread::sleep(Duration::from_millis(20));
        Reply::Raw(ok.clone())
    });
    // One connection carries at most 50 a second; 200 are due.
    let report = stage.report(&server.url(), &["-d", "500ms", "-c", "1", "--rate", "200"]);
    assert_eq!(report.asked + report.unsent, 100);
    assert!(report.unsent >= 70, "{}", report.unsent);
    assert!(report.latency_us.unwrap().p50 > 100_000.0);
    let report = stage.report(&server.url(), &["-d", "500ms", "-c", "16", "--rate", "200"]);
    assert_eq!((report.asked, report.unsent, report.right), (100, 0, 100));
    assert!(report.elapsed_s > 0.45);
}

#[test]
fn ends_when_its_time_is_over() {
    let stage = Stage::new();
    let ok = stage.http("200 OK");
    let server = Server::start(move |_| Reply::Raw(ok.clone()));
    let report = stage.report(&server.url(), &["-d", "300ms", "-c", "4", "-t", "2", "--get-share", "1"]);
    assert!((0.25..8.0).contains(&report.elapsed_s), "{}", report.elapsed_s);
    assert!(report.right > 10 && report.errors == 0);
    assert_eq!(report.seconds.iter().map(|s| s.answered).sum::<u64>(), report.answered);
}

#[test]
fn mixes_get_and_post_in_the_share_asked_for() {
    let stage = Stage::new();
    let ok = stage.http("200 OK");
    let gets = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&gets);
    let server = Server::start(move |r| {
        count.fetch_add(usize::from(r.head.starts_with("GET ")), Ordering::SeqCst);
        Reply::Raw(ok.clone())
    });
    for (share, least, most) in [("0", 0, 0), ("1", 400, 400), ("0.25", 60, 140)] {
        gets.store(0, Ordering::SeqCst);
        assert_eq!(stage.report(&server.url(), &["-n", "400", "--get-share", share]).right, 400);
        assert!((least..=most).contains(&gets.load(Ordering::SeqCst)), "{share}");
    }
}
