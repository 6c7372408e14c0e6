//! Asking one replica about one certificate, again and again.
//!
//! Invariant: one question at a time; a `revoked` counts only with its signature verified, and its time is that of the
//! read that completed it. It does not know when the command ran.

use super::client::{Client, Patience, Reply};
use crate::config::LagPlan;
use crate::http::request::RequestWriter;
use crate::ocsp::judge::{Accepted, Question, judge};
use crate::ocsp::proof::OcspProver;
use crate::ocsp::request::RequestEncoder;
use crate::ocsp::response::CertStatus;
use crate::outcome::{Kind, Kinds};
use crate::time::UnixNanos;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// One question may not take longer than this, or a replica that hangs once would be blind for the whole time-out.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause after a failed question, so that a replica that is down is not hammered.
const FAILURE_PAUSE: Duration = Duration::from_millis(5);

pub(super) struct Poller<'a> {
    plan: &'a LagPlan,
    start: Instant,
    encoder: RequestEncoder,
    writer: RequestWriter,
    prover: OcspProver,
    client: Client,
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

impl<'a> Poller<'a> {
    pub(super) fn new(plan: &'a LagPlan, target: usize, start: Instant) -> Self {
        let patience = Patience { idle: QUESTION_TIMEOUT, whole: QUESTION_TIMEOUT };
        Self {
            plan,
            start,
            encoder: RequestEncoder::new(&plan.rules.issuer, 0),
            writer: plan.writer(target),
            prover: OcspProver::new(Arc::clone(&plan.issuer)),
            client: Client::new(plan.targets.addresses[target], patience, start),
        }
    }

    /// One question before the revocation.
    pub(super) fn is_revoked(&mut self, serial: &[u8]) -> Result<bool, Kind> {
        let request = self.request(serial);
        // A second try, since the kept connection may have been closed by the peer meanwhile.
        let reply = self.client.ask([&request]).or_else(|_| self.client.ask([&request]))?;
        self.judge(serial, &reply)
    }

    /// Asks until the replica answers `revoked`, or the deadline (nanoseconds since the start; it may move) has passed.
    pub(super) fn watch(&mut self, serial: &[u8], deadline: &AtomicU64) -> Saw {
        let request = self.request(serial);
        let mut saw = Saw::default();
        while (self.start.elapsed().as_nanos() as u64) < deadline.load(Ordering::Relaxed) {
            saw.asked += 1;
            let verdict = self.client.ask([&request]).and_then(|reply| {
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
}
