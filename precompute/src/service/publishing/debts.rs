//! Debts of a standby go to the writer that leads.
//!
//! Purpose: a final revocation that only this writer knows is pushed to the one that leads (rule 17), and told by it.
//! Invariant: a debt ends when the feed shows it, and in no other way: a push that was taken and lost is pushed again.
//! What the other one refuses, as of an issuer that it does not have, keeps nothing else back. It does not know how debts
//! come to be.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    thread::JoinHandle,
    time::Duration,
};

use serde_json::json;
use tracing::{info, warn};

use crate::{
    assemble::read_token,
    feed::https::{self, Https},
    ledger::Ledgers,
    limits::feed as limits,
    log::remarks::{Lasting, News},
    pki::{Serial, Status, hex},
    records::Change,
};

/// Submits debts.
#[derive(Debug)]
pub(super) struct Debts {
    /// The file with the token that the API of every writer takes.
    token: Option<PathBuf>,
    /// Whom to trust behind an `https://` URL.
    https: Https,
    at: Duration,
    /// The debts behind this one are next.
    after: Option<([u8; 32], Serial)>,
    waiting: u64,
    /// A submission under way, and the reason why it fails.
    thread: Option<JoinHandle<Result<(), String>>>,
    refused: u64,
    /// Why the last one failed.
    fault: Option<String>,
    told: Lasting,
}

impl Debts {
    pub(super) fn new(token: Option<PathBuf>, https: Https) -> Self {
        let (at, told) = (Duration::ZERO, Lasting::default());
        Self { token, https, at, after: None, waiting: 0, thread: None, refused: 0, fault: None, told }
    }

    /// How many wait, of very many only the first.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting
    }

    /// How many submissions failed.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    /// Why they cannot be submitted, until they can.
    pub(super) fn fault(&self) -> Option<String> {
        self.fault.clone()
    }

    /// This writer leads: it tells them itself.
    pub(super) fn none(&mut self, now: Duration) {
        self.waiting = 0;
        self.note(None, now);
    }

    /// Submits what there is, now and then. `leader`: where the one that leads takes pushes.
    pub(super) fn look(&mut self, now: Duration, ledgers: &Ledgers, leader: Option<String>) {
        if self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        if let Some(ended) = self.thread.take() {
            let outcome = ended.join().unwrap_or_else(|_| Err("the thread that does so ended".to_owned()));
            self.refused += u64::from(outcome.is_err());
            self.note(outcome.err(), now);
        }
        if now.saturating_sub(self.at) < limits::DEBTS_INTERVAL {
            return;
        }
        self.at = now;
        let debts = match ledgers.debts(self.after, limits::DEBTS_AT_ONCE) {
            Ok(debts) if debts.is_empty() && self.after.take().is_some() => return,
            Ok(debts) if debts.is_empty() => return self.none(now),
            Ok(debts) => debts,
            Err(_) => return,
        };
        self.waiting = debts.len() as u64;
        let (Some(leader), Some(token)) = (leader, self.token.clone()) else {
            let lacks = "its `feed.api_url` and this writer's `admin.token_file` are needed for that";
            return self.note(Some(lacks.to_owned()), now);
        };
        self.after = debts.last().map(|(issuer, change)| (*issuer, change.serial));
        let https = self.https.clone();
        let submit = move || {
            submit(&leader, &token, &https, &debts).inspect(|()| {
                let count = debts.len();
                info!(count, leader, "final revocations that only this writer knew were pushed to the one that leads");
            })
        };
        self.thread = std::thread::Builder::new().name("debts".into()).spawn(submit).ok();
    }

    /// Notes why they cannot be submitted, or that they can, and has the log say so.
    fn note(&mut self, fault: Option<String>, now: Duration) {
        let count = self.waiting;
        if let Some(fault) = fault.as_deref()
            && let Some(News::Begins | News::Lasts(_)) = self.told.news(true, now)
        {
            warn!(
                count,
                "final revocations that only this writer knows cannot be pushed to the one that leads: {fault}; this is tried again"
            );
        }
        if fault.is_none() {
            self.told.news(false, now);
        }
        self.fault = fault;
    }
}

/// Pushes them, by issuer; the error is the first.
fn submit(leader: &str, token: &Path, https: &Https, debts: &[([u8; 32], Change)]) -> Result<(), String> {
    let token = read_token(token).map_err(|error| error.to_string())?;
    let agent = https
        .client(https::is_over_tls(leader))
        // A host that was cut off and comes back hears of it with the next attempt, not after the last one has waited.
        .timeout_resolve(Some(limits::DEBTS_CONNECT_WITHIN))
        .timeout_connect(Some(limits::DEBTS_CONNECT_WITHIN))
        .timeout_global(Some(limits::DEBTS_WITHIN))
        .build()
        .new_agent();
    let fail = |url: &str, error: ureq::Error| {
        let remedy = https::remedy(&error.to_string(), "its `feed.api_url`", "`feed.https_ca`");
        format!("{url}: {error}{remedy}")
    };
    let mut outcome = Ok(());
    for of_one in debts.chunk_by(|(issuer, _), (other, _)| issuer == other) {
        let id = hex::text(&of_one[0].0);
        let mut lines = Vec::new();
        of_one.iter().filter_map(|(_, change)| line(change)).for_each(|line| _ = writeln!(lines, "{line}"));
        let url = format!("{}/v1/issuers/{id}/bulk", leader.trim_end_matches('/'));
        let request = agent
            .post(&url)
            .header("Authorization", &format!("Bearer {}", *token))
            .header("Content-Type", "application/x-ndjson");
        let mut answer = request.send(&lines[..]).map_err(|error| fail(&url, error))?;
        let status = answer.status();
        let text = answer.body_mut().with_config().limit(1 << 20).read_to_string();
        let text = text.map_err(|error| fail(&url, error))?;
        let last = text.lines().last().and_then(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let last = last.unwrap_or_default();
        // RFC 9457: alone, or as the last line.
        let problem = if status == 200 { &last["problem"] } else { &last };
        if status == 200 && problem.is_null() {
            continue;
        }
        let remedy = match status.as_u16() {
            401 => "; all writers need the same token in `admin.token_file`",
            421 => {
                "; `hosts` under its [admin] has to have this name, or what stands before its API has to send `Host: localhost`"
            }
            _ => "",
        };
        let detail = problem["detail"].as_str().unwrap_or("it was refused");
        // Of this issuer alone.
        outcome = outcome.and(Err(format!("{url}: it answers {status}: {detail}{remedy}")));
    }
    outcome
}

/// A line of a list of pushes.
fn line(change: &Change) -> Option<String> {
    let Status::Revoked { time, reason } = change.record?.status else { return None };
    let serial: &Serial = &change.serial;
    let line = json!({
        "do": "revoke",
        "serial": serial.to_string(),
        "time": time.to_string(),
        "reason": reason.name(),
        "even_unlisted": true,
    });
    Some(line.to_string())
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader, Read as _},
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::pki::{Reason, Record, UnixTime};

    /// Debts go to the other one by issuer. One that it does not have, because its file was changed earlier or later, kept
    /// back those of all issuers behind it.
    #[test]
    fn an_issuer_that_the_other_one_refuses_keeps_no_other_back_and_no_other_place_gets_the_token() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let leader = format!("http://{address}/");
        let serve = std::thread::spawn(move || {
            let mut asked = Vec::new();
            while asked.len() < 3 {
                let mut stream = BufReader::new(listener.accept().unwrap().0);
                let (mut line, mut length) = (String::new(), 0);
                stream.read_line(&mut line).unwrap();
                asked.push(line.split(' ').nth(1).unwrap().to_owned());
                loop {
                    let mut header = String::new();
                    stream.read_line(&mut header).unwrap();
                    if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    if header.trim().is_empty() {
                        break;
                    }
                }
                let mut body = vec![0; length];
                stream.read_exact(&mut body).unwrap();
                let status = match asked.len() {
                    1 => "404 Not Found",
                    // Who followed this would send the token there.
                    2 => "307 Temporary Redirect\r\nLocation: /elsewhere",
                    _ => "200 OK",
                };
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                stream.get_mut().write_all(answer.as_bytes()).unwrap();
            }
            asked
        });
        let dir = tempfile::tempdir().unwrap();
        let token = dir.path().join("token");
        std::fs::write(&token, "0123456789abcdef0123456789abcdef\n").unwrap();
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&token, permissions).unwrap();
        let status = Status::Revoked { time: UnixTime(1_700_000_000), reason: Reason::KeyCompromise };
        let record = Record { status, not_after: None };
        let serial = Serial::from_magnitude(&[1]).unwrap();
        let debts = [[1; 32], [2; 32], [3; 32]].map(|issuer| (issuer, Change::new(serial, Some(record))));
        let https = Https::default();
        let problem = submit(&leader, &token, &https, &debts).unwrap_err();
        assert!(problem.contains("0101") && problem.contains("404"), "{problem}");
        assert!(!https.were_read(), "nobody is asked over TLS");
        // Ends the wait for what does not come.
        let _ = TcpStream::connect(address);
        let asked = serve.join().unwrap();
        assert!(asked[2].contains(&"03".repeat(32)), "{asked:?}");
    }
}
