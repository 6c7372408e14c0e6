//! Pushes against an API and a responder that keep their word, or do not.

use crate::problem::Problem;
use crate::report::Report;
use crate::run::ending;
use crate::testing::forge::{Answer, Identity, good, now, revoked};
use crate::testing::server::{Reply, Request, Server};
use crate::testing::{kinds, lag_of};
use program::Exit;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

pub(super) const TOKEN: &str = "a-token-of-thirty-two-characters";

/// How the server treats what was pushed.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Manner {
    Prompt,
    /// Takes a tenth of a second for each push.
    Slow,
    /// Closes the connection after each acknowledgement.
    Closing,
    /// Answers `good` once after the acknowledgement.
    LateOnce,
    /// Answers `tryLater` once.
    TryLaterOnce,
    /// Answers `good` for ever.
    Forgetful,
    /// Refuses each push.
    Refusing,
    /// Stops in the middle of a list.
    CutShort,
    /// Takes no push and no list, since another one leads.
    StandingBy,
    /// Takes each push, and says the first time that it could not.
    TakenAndDenied,
}

/// How long a push takes with [`Manner::Slow`].
pub(super) const SLOW: std::time::Duration = std::time::Duration::from_millis(100);

pub(super) struct State {
    pub(super) manner: Manner,
    issuer: Identity,
    added: HashSet<String>,
    /// With the number of answers since.
    revoked: HashMap<String, usize>,
}

impl State {
    pub(super) fn new(manner: Manner, issuer: Identity) -> Self {
        Self { manner, issuer, added: HashSet::new(), revoked: HashMap::new() }
    }

    pub(super) fn answer(&mut self, request: &Request) -> Reply {
        if request.head.starts_with("POST /v1/") { self.api(request) } else { self.ocsp(&request.der) }
    }

    fn api(&mut self, request: &Request) -> Reply {
        assert!(request.head.contains(&format!("Authorization: Bearer {TOKEN}\r\n")), "{}", request.head);
        let body = String::from_utf8(request.der.clone()).unwrap();
        if self.manner == Manner::StandingBy {
            return json(503, r#"{"status":503,"detail":"stands by"}"#, false);
        }
        if request.head.starts_with("POST /v1/issuers/default:ca/bulk ") {
            let lines = body.lines().map(|line| self.take(line)).filter(|taken| *taken).count();
            let problem =
                if self.manner == Manner::CutShort { r#","problem":{"detail":"the disk is full"}"# } else { "" };
            return json(200, &format!("{{\"progress\":{{}}}}\n{{\"total\":{{\"done\":{lines}}}{problem}}}\n"), false);
        }
        assert!(request.head.starts_with("POST /v1/issuers/default:ca/revoke "), "{}", request.head);
        if self.manner == Manner::Refusing {
            return json(409, r#"{"status":409,"detail":"it is revoked and stays so"}"#, false);
        }
        let taken = self.take(&body.replace('{', "{\"do\":\"revoke\","));
        if self.manner == Manner::TakenAndDenied {
            return if taken {
                json(503, r#"{"status":503,"detail":"on disk, not told"}"#, false)
            } else {
                json(200, r#"{"outcome":"unchanged"}"#, false)
            };
        }
        assert!(taken, "{body}");
        if self.manner == Manner::Slow {
            std::thread::sleep(SLOW);
        }
        json(200, r#"{"outcome":"done"}"#, self.manner == Manner::Closing)
    }

    /// Does what a line of a list says; true if it was possible.
    fn take(&mut self, line: &str) -> bool {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let serial = line["serial"].as_str().unwrap().to_owned();
        match line["do"].as_str().unwrap() {
            "add" => self.added.insert(serial),
            _ => self.added.contains(&serial) && self.revoked.insert(serial, 0).is_none(),
        }
    }

    fn ocsp(&mut self, der: &[u8]) -> Reply {
        let (serial, hex) = serial_of(der);
        let manner = self.manner;
        let status = match self.revoked.get_mut(&hex) {
            None => good(),
            Some(answers) => {
                *answers += 1;
                match manner {
                    Manner::LateOnce if *answers == 1 => good(),
                    Manner::Forgetful => good(),
                    Manner::TryLaterOnce if *answers == 1 => return Reply::Body(super::forge::ocsp_error(3)),
                    _ => revoked(now() - 1, Some(4)),
                }
            }
        };
        self.says(serial, status)
    }

    /// Whether a certificate was added, and whether it was revoked.
    pub(super) fn knows(&self, hex: &str) -> (bool, bool) {
        (self.added.contains(hex), self.revoked.contains_key(hex))
    }

    pub(super) fn says(&self, serial: &[u8], status: Vec<u8>) -> Reply {
        let body = Answer { status, ..Answer::new(&self.issuer, serial) }.encode();
        // In one piece, or each answer would wait for a delayed acknowledgement of TCP.
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        Reply::Raw([head.into_bytes(), body].concat())
    }
}

/// A request without a nonce ends with the serial number; those made up have 16 bytes.
pub(super) fn serial_of(der: &[u8]) -> (&[u8], String) {
    let serial = &der[der.len() - 16..];
    (serial, serial.iter().map(|b| format!("{b:02X}")).collect())
}

fn json(status: u16, body: &str, close: bool) -> Reply {
    let close_field = if close { "Connection: close\r\n" } else { "" };
    let text = format!("HTTP/1.1 {status} X\r\n{close_field}Content-Length: {}\r\n\r\n{body}", body.len());
    if close { Reply::RawThenClose(text.into()) } else { Reply::Raw(text.into()) }
}

/// The report, and the connections that were made.
fn run(manner: Manner, more: &[&str]) -> (Result<Report, Problem>, usize) {
    let directory = tempfile::tempdir().unwrap();
    let issuer = Identity::root("issuer");
    let pem = issuer.pem(directory.path(), "ca.pem");
    let token = directory.path().join("token");
    std::fs::write(&token, format!("{TOKEN}\n")).unwrap();
    let state = Mutex::new(State::new(manner, issuer));
    let server = Server::start(move |request| state.lock().unwrap().answer(request));
    let url = server.url();
    let mut arguments = vec!["--urls", &url, "--issuer", pem.to_str().unwrap(), "--push", &url];
    let usual = ["--token", token.to_str().unwrap(), "--push-issuer", "default:ca", "--timeout", "1s"];
    for pair in usual.chunks(2).filter(|pair| !more.contains(&pair[0])) {
        arguments.extend(pair);
    }
    arguments.extend(more);
    let report = lag_of(&arguments);
    let connections = Arc::clone(&server.connections);
    (report, connections.load(std::sync::atomic::Ordering::SeqCst))
}

#[test]
fn counts_every_answer_after_an_acknowledgement_that_is_not_revoked() {
    for (manner, expected, end) in [
        (Manner::Prompt, vec![], Exit::Done),
        (Manner::Closing, vec![], Exit::Done),
        (Manner::LateOnce, vec![("wrong_status", 3)], Exit::NotInOrder),
        (Manner::TryLaterOnce, vec![("ocsp_try_later", 3), ("wrong_status", 3)], Exit::NotInOrder),
    ] {
        let report = run(manner, &["--pushes", "3"]).0.unwrap();
        assert_eq!((kinds(&report), ending(&report)), (expected, end));
        let (since_request, acknowledged) =
            (report.latency_us.unwrap(), report.pushes.unwrap().acknowledged_us.unwrap());
        assert!(since_request.min >= acknowledged.min && acknowledged.min > 0.0);
        assert_eq!((report.replicas[0].revocations, report.replicas[0].missed), (3, 0));
    }
    let report = run(Manner::Forgetful, &["--pushes", "1", "--timeout", "300ms"]).0.unwrap();
    assert_eq!((kinds(&report), ending(&report)), (vec![("wrong_status", 1)], Exit::NotInOrder));
    assert_eq!(report.replicas[0].missed, 1);
}

#[test]
fn keeps_the_connection_to_an_api_that_keeps_it() {
    // Two to the responder, one for the list, and one for all pushes or for each.
    assert_eq!(run(Manner::Prompt, &["--pushes", "5"]).1, 4);
    assert_eq!(run(Manner::Closing, &["--pushes", "5"]).1, 8);
}

#[test]
fn uploads_lists_and_asks_whether_they_count() {
    let report = run(Manner::Prompt, &["--bulk", "2500"]).0.unwrap();
    assert_eq!((kinds(&report), ending(&report)), (vec![], Exit::Done));
    assert_eq!(report.replicas[0].revocations, 834, "one in three of them is asked about, at most a thousand");
    let uploads = report.pushes.unwrap().uploads;
    let told: Vec<_> = uploads.iter().map(|upload| (upload.what, upload.records)).collect();
    assert_eq!(told, [("add", 2500), ("revoke", 2500)]);
    let slower = uploads.iter().map(|upload| upload.records_per_s).fold(f64::INFINITY, f64::min);
    assert_eq!(report.requests_per_s, slower);

    let report = run(Manner::LateOnce, &["--bulk", "2"]).0.unwrap();
    assert_eq!((kinds(&report), ending(&report)), (vec![("wrong_status", 2)], Exit::NotInOrder));
}

#[test]
fn ends_with_what_the_api_said_and_without_the_token() {
    for (manner, more, said) in [
        (Manner::Refusing, ["--pushes", "2"], "HTTP status 409: it is revoked and stays so"),
        (Manner::CutShort, ["--bulk", "2"], "the disk is full"),
        (Manner::Prompt, ["--bulk", "0"], "--bulk 0"),
        (Manner::Prompt, ["--push-issuer", "a/b"], "--push-issuer \"a/b\""),
        (Manner::Prompt, ["--token", "/dev/null"], "--token /dev/null: no token in it"),
    ] {
        let problem = run(manner, &more).0.unwrap_err().to_string();
        assert!(problem.contains(said) && !problem.contains(TOKEN), "{problem}");
    }
}

#[test]
fn appends_a_line_for_each_push() {
    let directory = tempfile::tempdir().unwrap();
    let samples = directory.path().join("samples");
    for _ in 0..2 {
        run(Manner::Prompt, &["--pushes", "2", "--samples", samples.to_str().unwrap()]).0.unwrap();
    }
    let text = std::fs::read_to_string(&samples).unwrap();
    let lines: Vec<Vec<f64>> = text.lines().map(|l| l.split(' ').map(|n| n.parse().unwrap()).collect()).collect();
    assert_eq!(lines.len(), 4);
    assert!(lines.iter().all(|l| l[0] as i64 - now() <= 1 && l[1] > 0.0 && l[2] >= l[1]), "{text}");
}
