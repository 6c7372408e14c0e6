//! Has missing answers signed: on this thread for cheap keys, on the signer's pool for the others.
//!
//! Invariant: a signature whose record changed while it was made is discarded, and the new state is signed instead.
//! Requests for one certificate that is being signed share the result. It does not know connections; waiting is an
//! await that any runtime can wake.
//!
//! Where replicas share answers of keys on tokens, a miss first asks whether another one has signed it ([`Sharing`]), and
//! what is signed here is offered to them; whatever becomes of that, the answer is signed here if it does not come.
//!
//! An edge asks the replicas behind it ([`Edge`]). A replica without the key waits for the answer of the feed where records have just come (`awaited`).
//!
//! Answers that can be kept come before the others: an answer with a client's nonce, or for several certificates, is
//! signed for one client alone, and waits in its own queue behind misses and refreshes.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use precompute::{
    answers::AnswerKey,
    ocsp::{Carried, OcspError},
    pki::UnixTime,
    service::sharing::{Question, Reply, Sharing},
    sign::{Job, Priority, SignError},
};
use tokio::sync::oneshot;

use super::{
    awaited::{Awaited, Expects},
    edge::{Edge, Taken},
    shared::Unfit,
    sign_request::{SignRequest, Unsigned},
    store::{Answer, Store},
};
use crate::{limits, upstream::courier::Use};

/// The result of a miss.
pub type Outcome = Result<Arc<Answer>, OcspError>;

/// Has answers signed, and keeps them.
#[derive(Debug)]
pub struct Misses {
    store: Store,
    pending: Mutex<HashMap<AnswerKey, Pending>>,
    tickets: AtomicU64,
    spread: RandomState,
    /// How answers are shared with other replicas, if they are.
    sharing: OnceLock<Sharing>,
    /// Where misses wait for the feed, if they do.
    awaited: OnceLock<Awaited>,
    /// What signs where no key is here, on an edge.
    edge: OnceLock<Edge>,
}

/// An answer that is being signed, and the requests that wait for it.
#[derive(Debug)]
struct Pending {
    /// The ticket of the job that will answer the waiting requests; an earlier job that was replaced is ignored.
    ticket: u64,
    priority: Priority,
    since: Instant,
    waiting: Vec<oneshot::Sender<Outcome>>,
}

/// How a miss gets its answer.
#[derive(Debug)]
pub enum Miss {
    /// It was signed on this thread, or failed.
    Ended(Outcome),
    /// It is being signed. Dropping the receiver only ends the wait.
    Waiting(oneshot::Receiver<Outcome>),
}

/// The requests that a job answers.
pub(super) enum Recipients {
    /// The requests that wait for the key, if the ticket is still this one.
    Pending(AnswerKey, u64),
    One(oneshot::Sender<Outcome>),
}

impl Misses {
    /// Keeps signed answers in `store`.
    pub fn new(store: Store) -> Arc<Self> {
        Arc::new(Self {
            store,
            pending: Mutex::default(),
            tickets: AtomicU64::new(0),
            spread: RandomState::new(),
            sharing: OnceLock::new(),
            awaited: OnceLock::new(),
            edge: OnceLock::new(),
        })
    }

    /// From now on answers are shared. Once for all.
    pub fn share(&self, sharing: Sharing) {
        let _ = self.sharing.set(sharing);
    }

    /// From now on a miss without a key waits for the feed while that is expected to bring its answer. Once for all.
    pub fn await_feed(self: &Arc<Self>, expects: Expects) -> std::io::Result<()> {
        let _ = self.awaited.set(Awaited::start(Arc::downgrade(self), expects)?);
        Ok(())
    }

    /// From now on a miss without a key is passed to the replicas behind this edge. Once for all.
    pub fn pass_to(&self, edge: Edge) {
        let _ = self.edge.set(edge);
    }

    /// The replicas behind this edge, if it is one.
    pub fn edge(&self) -> Option<&Edge> {
        self.edge.get()
    }

    /// The answers kept.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// How many certificates' answers are being signed.
    pub fn pending(&self) -> usize {
        self.lock().len()
    }

    /// The requested answer; it is kept if possible. `may_sign` is asked once if that takes a signature of its own, and
    /// without one the answer is `tryLater`.
    pub fn answer(self: &Arc<Self>, request: SignRequest, may_sign: impl Fn() -> bool) -> Miss {
        if request.signer.signs_here() {
            return Miss::Ended(if may_sign() { self.sign_here(&request) } else { Err(OcspError::TryLater) });
        }
        let (sender, receiver) = oneshot::channel();
        match request.key {
            None if may_sign() => {
                self.submit(request, Priority::Once, limits::SIGN_ATTEMPTS_MAX, Recipients::One(sender));
            }
            None => return Miss::Ended(Err(OcspError::TryLater)),
            Some(key) => {
                if let Some(ticket) = self.join(key, Priority::Live, Some(sender)) {
                    let recipients = Recipients::Pending(key, ticket);
                    if may_sign() {
                        self.obtain(request, Priority::Live, recipients);
                    } else {
                        self.tell(recipients, Err(OcspError::TryLater));
                    }
                }
            }
        }
        Miss::Waiting(receiver)
    }

    /// Has the replacement of a kept answer signed when the signer has nothing more urgent. Without a key that comes by itself,
    /// or from the replicas behind an edge.
    pub fn refresh(self: &Arc<Self>, request: SignRequest) {
        if request.signer.signing().is_none() && self.edge.get().is_none() {
            return;
        }
        let Some(key) = request.key else { return };
        if let Some(ticket) = self.join(key, Priority::Refresh, None) {
            self.obtain(request, Priority::Refresh, Recipients::Pending(key, ticket));
        }
    }

    /// Signs on this thread.
    fn sign_here(&self, request: &SignRequest) -> Outcome {
        for _ in 0..limits::SIGN_ATTEMPTS_MAX {
            let unsigned = request.prepare(UnixTime::now(), self.spread(request))?;
            let signed = request.signer.signing().and_then(|signing| signing.sign_here(&unsigned.response_data));
            let signature = signed.unwrap_or(Err(SignError::Failed)).map_err(ocsp_error)?;
            if let Some(answer) = request.complete(&unsigned, &signature, UnixTime::now()) {
                return Ok(self.keep(request, answer, &signature));
            }
        }
        Err(OcspError::TryLater)
    }

    /// Adds a request to those that wait for the answer of a key. Returns a ticket if a job has to be submitted: the
    /// key is not being signed, not urgently enough, or has been for longer than any request waits.
    fn join(&self, key: AnswerKey, priority: Priority, sender: Option<oneshot::Sender<Outcome>>) -> Option<u64> {
        let mut pending = self.lock();
        let now = Instant::now();
        let ticket = self.tickets.fetch_add(1, Relaxed);
        let mut first = false;
        let entry = pending.entry(key).or_insert_with(|| {
            first = true;
            Pending { ticket, priority, since: now, waiting: Vec::new() }
        });
        entry.waiting.extend(sender);
        let overtakes = (priority as u8) < entry.priority as u8;
        let lost = now.duration_since(entry.since) > limits::MISS_DEADLINE;
        if overtakes || lost {
            (entry.ticket, entry.priority, entry.since) = (ticket, priority, now);
        }
        (first || overtakes || lost).then_some(ticket)
    }

    /// Takes the answer of another replica if there is one, and has it signed here if not.
    fn obtain(self: &Arc<Self>, request: SignRequest, priority: Priority, recipients: Recipients) {
        let wanted = self.sharing.get().and_then(|sharing| Some((sharing, request.wanted(UnixTime::now())?)));
        let Some((sharing, wanted)) = wanted else {
            return self.submit(request, priority, limits::SIGN_ATTEMPTS_MAX, recipients);
        };
        let (this, of) = (Arc::clone(self), sharing.clone());
        let reply = move |reply| match this.adopt(&request, reply, &of) {
            Some(answer) => this.tell(recipients, Ok(answer)),
            None => this.submit(request, priority, limits::SIGN_ATTEMPTS_MAX, recipients),
        };
        let question = Question { wanted, asked: Instant::now(), reply: Box::new(reply) };
        if let Err(question) = sharing.ask(question) {
            (question.reply)(Reply::Nothing);
        }
    }

    /// The answer that was found, if it may be used.
    fn adopt(&self, request: &SignRequest, reply: Reply, sharing: &Sharing) -> Option<Arc<Answer>> {
        let Reply::Found(value) = reply else { return None };
        let status = sharing.status();
        match request.adopt(&value, self.spread(request), UnixTime::now()) {
            Ok((answer, signature)) => {
                status.taken.fetch_add(1, Relaxed);
                return Some(self.keep(request, answer, &signature));
            }
            Err(Unfit::Outdated) => status.outdated.fetch_add(1, Relaxed),
            Err(Unfit::Refused) => status.refused.fetch_add(1, Relaxed),
        };
        None
    }

    fn submit(self: &Arc<Self>, request: SignRequest, priority: Priority, attempts: usize, recipients: Recipients) {
        let mut unsigned = match request.prepare(UnixTime::now(), self.spread(&request)) {
            Ok(unsigned) => unsigned,
            Err(error) => return self.tell(recipients, Err(error)),
        };
        let signer = Arc::clone(&request.signer);
        let Some(signing) = signer.signing() else {
            return self.signed_elsewhere(request, &unsigned, recipients);
        };
        let message = std::mem::take(&mut unsigned.response_data);
        let this = Arc::clone(self);
        let done = move |message, outcome: Result<Vec<u8>, SignError>| {
            unsigned.response_data = message;
            let outcome = match outcome {
                Err(error) => Err(ocsp_error(error)),
                Ok(signature) => match request.complete(&unsigned, &signature, UnixTime::now()) {
                    Some(answer) => {
                        this.offer(&request, &answer, &signature);
                        Ok(this.keep(&request, answer, &signature))
                    }
                    None if attempts > 1 => return this.submit(request, priority, attempts - 1, recipients),
                    None => Err(OcspError::TryLater),
                },
            };
            this.tell(recipients, outcome);
        };
        signing.submit(Job {
            message,
            priority,
            deadline: Instant::now() + limits::MISS_DEADLINE,
            done: Box::new(done),
        });
    }

    /// If no key is here, another process will sign soon: what is about one listed certificate comes by the feed.
    fn signed_elsewhere(self: &Arc<Self>, request: SignRequest, unsigned: &Unsigned, recipients: Recipients) {
        let is_listed = unsigned.is_listed();
        let Some(edge) = self.edge.get() else { return self.awaited(request, is_listed, recipients) };
        let of_use = if request.key.is_some() { Use::Everybody } else { Use::OneClient };
        let Some(place) = edge.courier.place(of_use) else { return self.tell(recipients, Err(OcspError::TryLater)) };
        let (this, asking) = (Arc::clone(self), edge.clone());
        edge.courier.run(place, async move {
            match asking.ask(&request).await {
                Ok(taken) => {
                    let answer = this.keep_taken(&request, taken);
                    this.tell(recipients, Ok(answer));
                }
                // It may be on its way by the feed.
                Err(_) => this.awaited(request, is_listed, recipients),
            }
        });
    }

    fn keep_taken(&self, request: &SignRequest, Taken { answer, signature }: Taken) -> Arc<Answer> {
        if let Some(signature) = signature {
            return self.keep(request, answer, &signature);
        }
        let answer = Arc::new(answer);
        if let Some(key) = request.key {
            self.store.keep_whole(key, &answer);
        }
        answer
    }

    /// Waits for the answer of the feed, if one is to be expected.
    fn awaited(&self, request: SignRequest, is_listed: bool, recipients: Recipients) {
        let recipients = match self.awaited.get() {
            Some(awaited) if request.key.is_some() && is_listed => match awaited.wait(request, recipients) {
                Ok(()) => return,
                Err(recipients) => recipients,
            },
            _ => recipients,
        };
        self.tell(recipients, Err(OcspError::TryLater));
    }

    /// The answer that has come meanwhile, if it may be served.
    pub(super) fn told(&self, request: &SignRequest) -> Option<Arc<Answer>> {
        let (key, packing, now) = (request.key?, request.signer.packing(), UnixTime::now());
        let (issuer, _) = request.only()?;
        let (mut packed, mut signature) = (Vec::new(), Vec::new());
        let kept = self.store.compact(&key, issuer.packed_length(&request.signer), &mut packed)?;
        let told_until = request.may_be_signed(now).ok()?;
        let statements = request.statements(now).ok()?;
        let is_it = matches!(*statements, [statement] if kept.serves(&statement, &issuer.policy, told_until, now));
        packing.unpack(&packed, &mut signature);
        let carried = Carried::of_tail(issuer.policy.carries, packed.get(packing.length()..)?);
        let unsigned = is_it.then(|| request.unsigned(statements, kept.times, vec![carried]))?;
        request.complete(&unsigned, &signature, now).map(Arc::new)
    }

    fn offer(&self, request: &SignRequest, answer: &Answer, signature: &[u8]) {
        let Some(sharing) = self.sharing.get() else { return };
        request.offer(answer, signature, UnixTime::now()).into_iter().for_each(|offer| sharing.offer(offer));
    }

    fn keep(&self, request: &SignRequest, answer: Answer, signature: &[u8]) -> Arc<Answer> {
        let answer = Arc::new(answer);
        if let Some(key) = request.key {
            self.store.keep(key, &answer, request.signer.packing(), signature);
        }
        answer
    }

    /// Answers every waiting request; requests that have gone are skipped.
    pub(super) fn tell(&self, recipients: Recipients, outcome: Outcome) {
        let waiting = match recipients {
            Recipients::One(sender) => vec![sender],
            Recipients::Pending(key, ticket) => match self.lock().entry(key) {
                Entry::Occupied(entry) if entry.get().ticket == ticket => entry.remove().waiting,
                _ => return,
            },
        };
        for sender in waiting {
            let _ = sender.send(outcome.clone());
        }
    }

    fn spread(&self, request: &SignRequest) -> u32 {
        self.spread.hash_one(request.first_serial()) as u32
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AnswerKey, Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// If the queue was full or the key failed, the client can only try again.
fn ocsp_error(_: SignError) -> OcspError {
    OcspError::TryLater
}

#[cfg(test)]
mod tests;
