//! Asking one replica about one certificate, again and again.
//!
//! Invariant: one question at a time, on a connection that is kept while the peer keeps it; a `revoked` counts only
//! with its signature verified, and its time is that of the read that completed it. It does not know when the command
//! ran.

use crate::config::LagPlan;
use crate::http::request::RequestWriter;
use crate::http::response::{self, Length};
use crate::limits::{READ_OCTETS, RESPONSE_BODY_OCTETS_MAX, RESPONSE_HEAD_OCTETS_MAX};
use crate::ocsp::judge::{Accepted, Question, judge};
use crate::ocsp::proof::OcspProver;
use crate::ocsp::request::RequestEncoder;
use crate::ocsp::response::CertStatus;
use crate::outcome::{Kind, Kinds};
use crate::time::UnixNanos;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// One question may not take longer than this, or a replica that hangs once would be blind for the whole time-out.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause after a failed question, so that a replica that is down is not hammered.
const FAILURE_PAUSE: Duration = Duration::from_millis(5);

pub(super) struct Poller<'a> {
    plan: &'a LagPlan,
    target: usize,
    start: Instant,
    encoder: RequestEncoder,
    writer: RequestWriter,
    prover: OcspProver,
    stream: Option<TcpStream>,
}

/// What a poller saw of one revocation.
#[derive(Debug, Default)]
pub(super) struct Saw {
    /// When `revoked` came, in nanoseconds since the start.
    pub(super) revoked_ns: Option<u64>,
    /// The last answer was in order, and said something else.
    pub(super) says_other: bool,
    pub(super) asked: u64,
    pub(super) answered: u64,
    pub(super) kinds: Kinds,
}

struct Reply {
    body: Vec<u8>,
    status: u16,
    at_ns: u64,
}

impl<'a> Poller<'a> {
    pub(super) fn new(plan: &'a LagPlan, target: usize, start: Instant) -> Self {
        Self {
            plan,
            target,
            start,
            encoder: RequestEncoder::new(&plan.rules.issuer, 0),
            writer: plan.writer(target),
            prover: OcspProver::new(Arc::clone(&plan.issuer)),
            stream: None,
        }
    }

    /// One question before the revocation.
    pub(super) fn is_revoked(&mut self, serial: &[u8]) -> Result<bool, Kind> {
        let request = self.request(serial);
        // A second try, since the kept connection may have been closed by the peer meanwhile.
        let reply = self.ask(&request).or_else(|_| self.ask(&request))?;
        self.judge(serial, &reply)
    }

    /// Asks until the replica answers `revoked`, or the deadline (nanoseconds since the start; it may move) has passed.
    pub(super) fn watch(&mut self, serial: &[u8], deadline: &AtomicU64) -> Saw {
        let request = self.request(serial);
        let mut saw = Saw::default();
        while (self.start.elapsed().as_nanos() as u64) < deadline.load(Ordering::Relaxed) {
            saw.asked += 1;
            let verdict = self.ask(&request).and_then(|reply| {
                saw.answered += 1;
                self.judge(serial, &reply).map(|revoked| revoked.then_some(reply.at_ns))
            });
            let pause = match verdict {
                Ok(Some(at)) => {
                    saw.revoked_ns = Some(at);
                    break;
                }
                Ok(None) => {
                    saw.says_other = true;
                    self.plan.poll_interval
                }
                Err(kind) => {
                    saw.says_other = false;
                    saw.kinds.add(kind, 1);
                    self.plan.poll_interval.max(FAILURE_PAUSE)
                }
            };
            std::thread::sleep(pause);
        }
        saw
    }

    fn request(&self, serial: &[u8]) -> Vec<u8> {
        let mut request = Vec::new();
        self.writer.post_head(self.encoder.length(serial.len()), &mut request);
        self.encoder.encode(serial, &[], &mut request);
        request
    }

    /// Whether a reply says `revoked`, provenly.
    fn judge(&mut self, serial: &[u8], reply: &Reply) -> Result<bool, Kind> {
        if reply.status != 200 {
            return Err(Kind::HttpStatus);
        }
        let now = UnixNanos::now().seconds();
        let question = Question { serial, nonce: &[], expectation: LagPlan::EXPECTATION };
        match judge(&self.plan.rules, &question, &reply.body, now)? {
            Accepted::Signed(answer) if matches!(answer.status, CertStatus::Revoked { .. }) => {
                self.prover.prove(&reply.body, now).map(|()| true)
            }
            _ => Ok(false),
        }
    }

    fn ask(&mut self, request: &[u8]) -> Result<Reply, Kind> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(self.plan.targets.addresses[self.target])?,
        };
        stream.write_all(request).map_err(failed)?;
        let (reply, keep) = receive(&mut stream, self.start)?;
        if keep {
            self.stream = Some(stream);
        }
        Ok(reply)
    }
}

fn connect(address: std::net::SocketAddr) -> Result<TcpStream, Kind> {
    let stream = TcpStream::connect_timeout(&address, QUESTION_TIMEOUT).map_err(|_| Kind::Connect)?;
    let set = stream
        .set_nodelay(true)
        .and_then(|()| stream.set_read_timeout(Some(QUESTION_TIMEOUT)))
        .and_then(|()| stream.set_write_timeout(Some(QUESTION_TIMEOUT)));
    set.map(|()| stream).map_err(|_| Kind::Connect)
}

fn failed(error: std::io::Error) -> Kind {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Kind::Timeout,
        _ => Kind::Reset,
    }
}

/// One response, and whether the connection may be kept.
fn receive(stream: &mut TcpStream, start: Instant) -> Result<(Reply, bool), Kind> {
    let begun = Instant::now();
    let mut received = Vec::new();
    let mut buffer = [0u8; 4096];
    let mut chunks = Vec::new();
    // Bounded by bytes and, against a peer that sends them one by one, by time.
    while received.len() <= 2 * RESPONSE_BODY_OCTETS_MAX + RESPONSE_HEAD_OCTETS_MAX
        && begun.elapsed() < QUESTION_TIMEOUT
    {
        let n = match stream.read(&mut buffer) {
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            other => other.map_err(failed)?,
        };
        let at_ns = start.elapsed().as_nanos() as u64;
        received.extend_from_slice(&buffer[..n]);
        let malformed = |_| Kind::Malformed;
        let Some(head) = response::head(&received).map_err(malformed)? else {
            if n == 0 {
                return Err(Kind::Reset);
            }
            continue;
        };
        if head.status < 200 {
            received.drain(..head.octets);
            continue;
        }
        let after = &received[head.octets..];
        let (body, keep) = match head.length {
            Length::Known(length) => {
                (after.get(..length).map(<[u8]>::to_vec), head.keep_alive && after.len() == length)
            }
            Length::Chunked => {
                let end = response::chunked(after, &mut chunks).map_err(malformed)?;
                (end.map(|_| chunks.clone()), head.keep_alive && end == Some(after.len()))
            }
            Length::UntilClose => ((n == 0).then(|| after.to_vec()), false),
        };
        match body {
            Some(body) => return Ok((Reply { body, status: head.status, at_ns }, keep)),
            None if n == 0 => return Err(Kind::Reset),
            None => {}
        }
    }
    Err(if received.len() > READ_OCTETS { Kind::Malformed } else { Kind::Timeout })
}
