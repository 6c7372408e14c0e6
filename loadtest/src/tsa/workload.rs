//! Time-stamp requests for the engine: made, written, judged.
//!
//! Invariant: imprint and nonce follow from the ticket, so the same bytes can be written again after a lost connection;
//! no two tickets of a run share them. Imprints are random bytes: a TSA cannot tell, and hashing documents would
//! measure this side.

use crate::draw::Rng;
use crate::engine::Workload;
use crate::engine::stats::Said;
use crate::http::request::RequestWriter;
use crate::outcome::{Class, Kind};
use crate::proof::{Example, Notary, keep_example};
use crate::time::UnixNanos;
use crate::tsa::judge::{Question, judge};
use crate::tsa::request::{IMPRINT_OCTETS_MAX, NONCE_OCTETS, RequestEncoder};
use crate::tsa::serials::SerialLog;

/// Names a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    seed: u64,
    asked: UnixNanos,
}

/// One thread's part.
pub(crate) struct TsaWorkload {
    pub(crate) encoder: RequestEncoder,
    pub(crate) writers: Vec<RequestWriter>,
    pub(crate) policy: Option<Vec<u8>>,
    pub(crate) skew_s: i64,
    pub(crate) rng: Rng,
    pub(crate) notary: Notary,
    pub(crate) serials: SerialLog,
    pub(crate) examples: Vec<Example>,
}

/// Imprint and nonce of a ticket.
struct Fresh {
    imprint: [u8; IMPRINT_OCTETS_MAX],
    nonce: [u8; NONCE_OCTETS],
}

impl Ticket {
    fn fresh(&self, imprint_length: usize) -> Fresh {
        let mut fresh = Fresh { imprint: [0; IMPRINT_OCTETS_MAX], nonce: [0; NONCE_OCTETS] };
        let mut rng = Rng::new(self.seed, 0);
        rng.fill(&mut fresh.nonce);
        rng.fill(&mut fresh.imprint[..imprint_length]);
        // Positive and minimal at the full length.
        fresh.nonce[0] = fresh.nonce[0] & 0x3f | 0x40;
        fresh
    }
}

impl Workload for TsaWorkload {
    type Ticket = Ticket;

    fn next(&mut self, _target: usize, now: UnixNanos) -> Ticket {
        Ticket { seed: self.rng.next(), asked: now }
    }

    fn write(&mut self, ticket: &Ticket, target: usize, out: &mut Vec<u8>) {
        let length = self.encoder.hash.length();
        let fresh = ticket.fresh(length);
        self.writers[target].post_head(self.encoder.length(), out);
        self.encoder.encode(&fresh.imprint[..length], &fresh.nonce, out);
    }

    fn judge(
        &mut self,
        ticket: &Ticket,
        target: usize,
        status: u16,
        body: &[u8],
        now: UnixNanos,
    ) -> Result<Said, Kind> {
        if status != 200 {
            return Err(Kind::HttpStatus);
        }
        let hash = self.encoder.hash;
        let fresh = ticket.fresh(hash.length());
        let question = Question {
            hash,
            imprint: &fresh.imprint[..hash.length()],
            nonce: &fresh.nonce,
            policy: self.policy.as_deref(),
            asked: ticket.asked,
            skew_s: self.skew_s,
        };
        match judge(&question, body, now) {
            Ok(serial) => {
                self.serials.add(&serial, target);
                if self.notary.wants() {
                    self.notary.submit(body, now.seconds(), target, format!("imprint {}", hex(question.imprint)));
                }
                Ok(Said::Granted)
            }
            Err(kind) => {
                if kind.class() == Class::Wrong {
                    let subject = || format!("imprint {}", hex(question.imprint));
                    keep_example(&mut self.examples, || Example { kind, target, subject: subject() });
                }
                Err(kind)
            }
        }
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_fresh_imprints_and_minimal_positive_nonces() {
        let mut seen = std::collections::HashSet::new();
        let mut rng = Rng::new(1, 0);
        for _ in 0..10_000 {
            let ticket = Ticket { seed: rng.next(), asked: UnixNanos(0) };
            let fresh = ticket.fresh(32);
            assert!((0x40..0x80).contains(&fresh.nonce[0]));
            assert_eq!(fresh.nonce, ticket.fresh(32).nonce, "the same ticket, the same request");
            assert!(seen.insert((fresh.nonce, fresh.imprint)));
        }
    }
}
