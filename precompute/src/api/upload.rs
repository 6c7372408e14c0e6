//! A list that is uploaded, line by line, and the answer that goes back meanwhile.
//!
//! Purpose: millions of lines through bounded memory: the next batch is read while the one before is being committed.
//! Invariant: the upload never waits for its answer to be read, so a client may send everything before it reads; the last
//! line of an answer says how many lines are dealt with, whatever happened. It does not know what is in a line.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use hyper::body::{Bytes, Frame};
use serde_json::json;
use tokio::{
    sync::mpsc,
    task::{JoinError, JoinHandle, spawn_blocking},
    time::timeout,
};
use tracing::{info, warn};

use super::{
    ConfiguredIssuer,
    batch::{self, Pushed, RefusedLine, Totals},
    lines::{Line, Lines},
    place::Place,
    problem::{Kind, Problem},
    pushing::Pushing,
    request::Verb,
    told::{self, Sender},
};
use crate::{
    admin::{gate::Gate, listener::ExtendedStay},
    ledger::{Outcome, Push},
    limits,
    pki::UnixTime,
    principals::Object,
};

/// An upload for one issuer.
pub(super) struct Upload {
    pub(super) pushing: Pushing,
    /// What the configuration says of the issuer.
    pub(super) configured: Option<Arc<ConfiguredIssuer>>,
    pub(super) from: Sender,
    /// Knows how many pushes a second are taken.
    pub(super) gate: Option<Arc<Gate>>,
    /// Its place among the uploads that there may be at once.
    pub(super) place: Place,
    /// Keeps its connection beyond the deadline of others, where there is one.
    pub(super) stay: Option<ExtendedStay>,
    /// How long nothing may arrive.
    pub(super) idle_max: Duration,
}

/// The answer, written by another task or thread.
pub(super) struct Answer(mpsc::Receiver<Bytes>);

impl Answer {
    pub(super) fn new(pieces: mpsc::Receiver<Bytes>) -> Self {
        Self(pieces)
    }
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(cx).map(|octets| Some(Ok(Frame::data(octets?))))
    }
}

/// Where the answer is written to. There is room for every line that an upload may tell of.
struct Teller {
    lines: mpsc::Sender<Bytes>,
    /// Lines about refusals that may still be told.
    left: usize,
}

impl Teller {
    fn new() -> (Self, Answer) {
        let (lines, answer) = mpsc::channel(2 * limits::API_REFUSED_TOLD_MAX);
        (Self { lines, left: limits::API_REFUSED_TOLD_MAX }, Answer(answer))
    }

    fn refused(&mut self, refused: &[RefusedLine]) {
        let told = &refused[..refused.len().min(self.left)];
        self.left -= told.len();
        let mut text = Vec::new();
        for line in told {
            // Into memory, and of plain values.
            let _ = serde_json::to_writer(&mut text, line);
            text.push(b'\n');
        }
        if !text.is_empty() {
            let _ = self.lines.try_send(text.into());
        }
    }

    fn last(&mut self, totals: &Totals, problem: Option<&Problem>) {
        let mut last = json!({ "total": totals });
        if let Some(problem) = problem {
            last["problem"] = json!(problem);
        }
        let untold = totals.refused - (limits::API_REFUSED_TOLD_MAX - self.left) as u64;
        if untold > 0 {
            last["refused_not_told"] = untold.into();
        }
        let _ = self.lines.try_send(format!("{last}\n").into());
    }
}

impl Upload {
    /// Takes the lines of `body`; returns the answer, which goes on for as long as that. `is_expecting`: the client sends
    /// the body once it was told to. `100 Continue` goes out when the body is asked for, but not behind the head of an
    /// answer (RFC 9110, section 10.1.1): the client would wait for it, curl for a second.
    pub(super) async fn take(self, mut body: Body, is_expecting: bool) -> Body {
        let first = match is_expecting {
            true => timeout(limits::API_CONTINUE_WITHIN, frame(&mut body)).await.ok(),
            false => None,
        };
        let (teller, answer) = Teller::new();
        let reader = Reader { first, body, lines: Some(Lines::default()), ready: VecDeque::new() };
        tokio::spawn(self.run(reader, teller));
        Body::new(answer)
    }

    async fn run(self, reader: Reader, mut teller: Teller) {
        let totals: Arc<Mutex<Totals>> = Arc::default();
        let progress = tokio::spawn(tell_progress(teller.lines.clone(), Arc::clone(&totals)));
        let ended = self.push_all(reader, &mut teller, &totals).await;
        progress.abort();
        let totals = *totals.lock().unwrap_or_else(PoisonError::into_inner);
        let (tenant, issuer) = (self.pushing.ledger().id().tenant(), self.pushing.ledger().name());
        let Totals { lines, done, unchanged, still_held, refused } = totals;
        let (by, from, principal) = ("push", &self.from, self.from.principal());
        match &ended {
            Ok(()) => {
                info!(tenant, issuer, lines, done, unchanged, still_held, refused, by, principal, %from, "an uploaded list was pushed");
            }
            Err(problem) => {
                let problem = &*problem.detail;
                warn!(
                    tenant,
                    issuer, lines, done, unchanged, still_held, refused, by, principal, %from, problem,
                    "an uploaded list was cut short"
                );
            }
        }
        teller.last(&totals, ended.as_ref().err());
        drop((self.place, self.stay));
    }

    async fn push_all(
        &self,
        mut reader: Reader,
        teller: &mut Teller,
        totals: &Arc<Mutex<Totals>>,
    ) -> Result<(), Problem> {
        let mut job: Option<Job> = None;
        let mut nameable = limits::CHANGES_LOGGED_MAX;
        loop {
            let batch = reader.batch(self.most(), self.idle_max).await;
            if let Some(job) = job.take() {
                let Pushed { refused, news, kept } = finished(job.await)?;
                teller.refused(&refused);
                let named = &news[..news.len().min(nameable)];
                nameable -= named.len();
                named.iter().for_each(|push| self.name(push));
                kept.iter().for_each(|(push, outcome)| self.keep(push, outcome));
            }
            let Some(batch) = batch? else { return Ok(()) };
            self.pace(batch.len()).await;
            if teller.lines.is_closed() {
                return Err(Problem::new(Kind::BadRequest, "the client has gone"));
            }
            let (pushing, configured, totals) = (self.pushing.clone(), self.configured.clone(), Arc::clone(totals));
            let from = self.from.clone();
            job = Some(spawn_blocking(move || {
                let certificate = configured.as_ref().map(|configured| &configured.certificate);
                let mut sum = *totals.lock().unwrap_or_else(PoisonError::into_inner);
                let may = |verb: Verb| from.may(verb.action(), Object::Tenant(pushing.ledger().id().tenant()));
                let pushed = batch::push(&pushing, certificate, &batch, &may, UnixTime::now(), &mut sum)?;
                *totals.lock().unwrap_or_else(PoisonError::into_inner) = sum;
                Ok(pushed)
            }));
        }
    }

    /// Lines that are pushed together: where pushes are limited those of a second, so that a list goes on evenly.
    fn most(&self) -> usize {
        let tenant = self.pushing.ledger().id().tenant();
        let rate = self.gate.as_ref().and_then(|gate| gate.pushes_per_second(self.from.principal(), tenant));
        rate.map_or(limits::API_BATCH_LINES, |rate| limits::API_BATCH_LINES.min(rate as usize))
    }

    /// Returns when so many may be pushed: a list is slowed down, and not refused.
    async fn pace(&self, count: usize) {
        let Some(gate) = &self.gate else { return };
        let tenant = self.pushing.ledger().id().tenant();
        if let Err(wait) = gate.count_pushes(self.from.principal(), tenant, count, true) {
            tokio::time::sleep(wait).await;
        }
    }

    /// Tells the journal of a push.
    fn keep(&self, push: &Push, outcome: &Result<Outcome, String>) {
        let (word, problem) = match outcome {
            Ok(outcome) => (told::name(*outcome), None),
            Err(problem) => ("refused", Some(&**problem)),
        };
        told::keep(self.pushing.ledger(), &self.from, push, word, problem);
    }

    /// Names a push in the log.
    fn name(&self, push: &Push) {
        let sources = self.configured.as_ref().map(|configured| &configured.sources);
        told::taken(self.pushing.ledger(), sources, &self.from, push, Outcome::Done, None);
    }
}

type Job = JoinHandle<Result<Pushed, Problem>>;

fn finished(ended: Result<Result<Pushed, Problem>, JoinError>) -> Result<Pushed, Problem> {
    ended.unwrap_or_else(|error| Err(Problem::new(Kind::Internal, error.to_string())))
}

async fn tell_progress(lines: mpsc::Sender<Bytes>, totals: Arc<Mutex<Totals>>) {
    loop {
        tokio::time::sleep(limits::API_PROGRESS_INTERVAL).await;
        let totals = *totals.lock().unwrap_or_else(PoisonError::into_inner);
        // Only where there is room left for all refusals and the last line.
        if lines.capacity() > limits::API_REFUSED_TOLD_MAX {
            let _ = lines.try_send(format!("{}\n", json!({ "progress": totals })).into());
        }
    }
}

/// What comes of a body next; `None` is its end.
type Came = Option<Result<Bytes, axum::Error>>;

/// Parts a body into batches.
struct Reader {
    /// What came of it before anything was answered.
    first: Option<Came>,
    body: Body,
    /// `None` after the end of the body.
    lines: Option<Lines>,
    ready: VecDeque<Line>,
}

impl Reader {
    /// The next batch: as many lines as may be in one, or those that have come if no more come for a moment. `None` at
    /// the end.
    async fn batch(&mut self, most: usize, idle_max: Duration) -> Result<Option<Vec<Line>>, Problem> {
        while self.ready.len() < most && self.lines.is_some() {
            let wait = if self.ready.is_empty() { idle_max } else { limits::API_BATCH_LINGER };
            match timeout(wait, self.frame()).await {
                Ok(Some(Ok(octets))) => {
                    if let Some(lines) = &mut self.lines {
                        lines.feed(&octets, |line| self.ready.push_back(line));
                    }
                }
                Ok(Some(Err(error))) => {
                    return Err(Problem::new(Kind::BadRequest, format!("the body was cut short: {error}")));
                }
                Ok(None) => self.ready.extend(self.lines.take().and_then(Lines::finish)),
                Err(_) if !self.ready.is_empty() => break,
                Err(_) => {
                    let detail = format!("nothing arrived for {} s", idle_max.as_secs());
                    return Err(Problem::new(Kind::BadRequest, detail));
                }
            }
        }
        let count = self.ready.len().min(most);
        Ok((count > 0).then(|| self.ready.drain(..count).collect()))
    }

    async fn frame(&mut self) -> Came {
        match self.first.take() {
            Some(first) => first,
            None => frame(&mut self.body).await,
        }
    }
}

/// The next bytes of a body.
pub(super) async fn frame(body: &mut Body) -> Came {
    loop {
        let frame = poll_fn(|cx| hyper::body::Body::poll_frame(Pin::new(body), cx)).await?;
        // Trailers say nothing here.
        match frame.map(Frame::into_data) {
            Ok(Ok(octets)) => return Some(Ok(octets)),
            Ok(Err(_)) => {}
            Err(error) => return Some(Err(error)),
        }
    }
}
