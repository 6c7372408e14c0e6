//! OCSP requests for the engine: drawn, written, judged.
//!
//! Invariant: a ticket names its request completely, so the same bytes can be written again after a lost connection,
//! and an answer is judged against exactly what was asked. It does not know connections or time-outs.

use crate::draw::{Rng, Sampler};
use crate::engine::Workload;
use crate::engine::stats::Said;
use crate::hex::serial_to_hex;
use crate::http::request::RequestWriter;
use crate::limits::PREPARED_OCTETS_MAX;
use crate::ocsp::judge::{Accepted, Question, Rules, judge};
use crate::ocsp::remembered::Table;
use crate::ocsp::request::RequestEncoder;
use crate::ocsp::response::CertStatus;
use crate::outcome::{Class, Kind};
use crate::population::Population;
use crate::proof::{Example, Notary, keep_example};
use crate::time::UnixNanos;
use std::sync::Arc;

/// Longest nonce that can be asked for: RFC 9654 section 2.1 allows 128 bytes.
pub(crate) const NONCE_OCTETS_MAX: usize = 128;

/// What all threads share, unchanged while the load runs.
#[derive(Debug)]
pub(crate) struct Questions {
    pub(crate) population: Population,
    pub(crate) sampler: Sampler,
    pub(crate) rules: Rules,
    pub(crate) encoder: RequestEncoder,
    /// One for each target.
    pub(crate) writers: Vec<RequestWriter>,
    pub(crate) get_share: f64,
    pub(crate) nonce_length: usize,
    prepared: Option<Prepared>,
}

/// Every request of the run as bytes, side by side.
#[derive(Debug)]
struct Prepared {
    octets: Vec<u8>,
    /// Where each begins; one more than there are.
    starts: Vec<u32>,
}

/// Names a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    entry: u32,
    get: bool,
    /// Seed of the nonce's bytes; unused without a nonce.
    nonce: u64,
}

impl Questions {
    pub(crate) fn new(
        population: Population,
        sampler: Sampler,
        rules: Rules,
        encoder: RequestEncoder,
        writers: Vec<RequestWriter>,
        get_share: f64,
        nonce_length: usize,
    ) -> Self {
        let mut questions =
            Self { population, sampler, rules, encoder, writers, get_share, nonce_length, prepared: None };
        questions.prepared = questions.prepare();
        questions
    }

    /// All requests, unless they have nonces or are too many.
    fn prepare(&self) -> Option<Prepared> {
        let count = self.population.len() * self.writers.len() * 2;
        // No request is shorter than 128 bytes: no need to write out what cannot fit.
        if self.nonce_length > 0 || count * 128 > PREPARED_OCTETS_MAX {
            return None;
        }
        let mut prepared = Prepared { octets: Vec::new(), starts: Vec::with_capacity(count + 1) };
        let mut scratch = Vec::new();
        prepared.starts.push(0);
        for target in 0..self.writers.len() {
            for entry in 0..self.population.len() as u32 {
                for get in [false, true] {
                    let wanted = if get { self.get_share > 0.0 } else { self.get_share < 1.0 };
                    if wanted {
                        self.write(&Ticket { entry, get, nonce: 0 }, target, &mut scratch, &mut prepared.octets);
                    }
                    if prepared.octets.len() > PREPARED_OCTETS_MAX {
                        return None;
                    }
                    prepared.starts.push(prepared.octets.len() as u32);
                }
            }
        }
        Some(prepared)
    }

    fn write(&self, ticket: &Ticket, target: usize, scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
        let serial = self.population.serial(ticket.entry as usize);
        let mut nonce = [0u8; NONCE_OCTETS_MAX];
        let nonce = self.nonce(ticket, &mut nonce);
        let writer = &self.writers[target];
        if ticket.get {
            scratch.clear();
            self.encoder.encode(serial, nonce, scratch);
            writer.get(scratch, out);
        } else {
            writer.post_head(self.encoder.length(serial.len()), out);
            self.encoder.encode(serial, nonce, out);
        }
    }

    fn nonce<'a>(&self, ticket: &Ticket, buffer: &'a mut [u8; NONCE_OCTETS_MAX]) -> &'a [u8] {
        let nonce = &mut buffer[..self.nonce_length];
        if !nonce.is_empty() {
            Rng::new(ticket.nonce, 0).fill(nonce);
        }
        nonce
    }
}

/// One thread's part.
pub(crate) struct OcspWorkload {
    questions: Arc<Questions>,
    rng: Rng,
    table: Table,
    pub(crate) notary: Notary,
    pub(crate) examples: Vec<Example>,
    scratch: Vec<u8>,
}

impl OcspWorkload {
    pub(crate) fn new(questions: Arc<Questions>, seed: u64, thread: usize, notary: Notary) -> Self {
        let pairs = questions.population.len() * questions.writers.len();
        Self {
            rng: Rng::new(seed, thread as u64),
            table: Table::new(pairs),
            questions,
            notary,
            examples: Vec::new(),
            scratch: Vec::new(),
        }
    }

    fn judge_body(&mut self, ticket: &Ticket, target: usize, body: &[u8], now: UnixNanos) -> Result<Said, Kind> {
        let questions = &*self.questions;
        let now = now.seconds();
        let entry = ticket.entry as usize;
        let key = entry as u64 * questions.writers.len() as u64 + target as u64;
        let wants_proof = self.notary.wants();
        if let Some(known) = self.table.recognise(key, body, now) {
            match &known.proof {
                Some(proof) => self.notary.repeat(proof),
                None if wants_proof => {
                    let serial = questions.population.serial(entry);
                    known.proof = self.notary.submit(body, now, target, serial_to_hex(serial));
                }
                None => {}
            }
            return Ok(known.said);
        }
        let serial = questions.population.serial(entry);
        let mut nonce = [0u8; NONCE_OCTETS_MAX];
        let nonce = questions.nonce(ticket, &mut nonce);
        let question = Question { serial, nonce, expectation: questions.population.expectation(entry) };
        let answer = match judge(&questions.rules, &question, body, now)? {
            // Unsigned: nothing to prove, and cheap to read again.
            Accepted::Unsigned => return Ok(Said::Unauthorized),
            Accepted::Signed(answer) => answer,
        };
        let said = match answer.status {
            CertStatus::Good => Said::Good,
            CertStatus::Revoked { .. } => Said::Revoked,
            CertStatus::Unknown => Said::Unknown,
        };
        let proof = if wants_proof { self.notary.submit(body, now, target, serial_to_hex(serial)) } else { None };
        // Where nonces are asked for, no answer comes twice.
        if nonce.is_empty()
            && let Some(kept) = self.table.keep(key, body, (answer.right_from, answer.right_until), said)
        {
            kept.proof = proof;
        }
        Ok(said)
    }
}

impl Workload for OcspWorkload {
    type Ticket = Ticket;

    fn next(&mut self, _target: usize, _now: UnixNanos) -> Ticket {
        let entry = self.questions.sampler.draw(&mut self.rng);
        let share = self.questions.get_share;
        let get = share >= 1.0 || (share > 0.0 && self.rng.unit() < share);
        let nonce = if self.questions.nonce_length > 0 { self.rng.next() } else { 0 };
        Ticket { entry, get, nonce }
    }

    fn write(&mut self, ticket: &Ticket, target: usize, out: &mut Vec<u8>) {
        match &self.questions.prepared {
            Some(prepared) => {
                let place =
                    (target * self.questions.population.len() + ticket.entry as usize) * 2 + usize::from(ticket.get);
                let (start, end) = (prepared.starts[place] as usize, prepared.starts[place + 1] as usize);
                out.extend_from_slice(&prepared.octets[start..end]);
            }
            None => self.questions.write(ticket, target, &mut self.scratch, out),
        }
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
        let result = self.judge_body(ticket, target, body, now);
        if let Err(kind) = result
            && kind.class() == Class::Wrong
        {
            let questions = &self.questions;
            keep_example(&mut self.examples, || Example {
                kind,
                target,
                subject: serial_to_hex(questions.population.serial(ticket.entry as usize)),
            });
        }
        result
    }
}
