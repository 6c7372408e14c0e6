//! What is not kept is signed: here for cheap keys, on the signer's pool for the others.
//!
//! Invariant: a signature whose record changed while it was made is thrown away, and the new
//! state is signed instead. Requests for one certificate that is being signed share the result.
//! It does not know connections; waiting is an await that any runtime can wake.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use precompute::{
    answers::Key,
    ocsp::{CertId, Content, HashAlgorithm, OcspError, Single},
    pki::UnixTime,
    sign::{Job, Priority, SignError},
};
use tokio::sync::oneshot;
use tracing::error;

use super::{
    answer::{Statement, Times, statement, statements},
    store::{Answer, Etag, Store},
};
use crate::{limits, site::Issuer};

/// What a miss ends in.
pub type Outcome = Result<Arc<Answer>, OcspError>;

/// Has answers signed and keeps them.
#[derive(Debug)]
pub struct Misses {
    store: Store,
    pending: Mutex<HashMap<Key, Pending>>,
    tickets: AtomicU64,
    spread: RandomState,
}

/// An answer that is being signed, and who waits for it.
#[derive(Debug)]
struct Pending {
    /// Of the job that will tell the waiting; an earlier one that was overtaken tells nobody.
    ticket: u64,
    priority: Priority,
    since: Instant,
    waiting: Vec<oneshot::Sender<Outcome>>,
}

/// How an answer is had.
#[derive(Debug)]
pub enum Miss {
    /// It was signed on this thread, or cannot be had.
    Ended(Outcome),
    /// It is being signed; a receiver that is dropped gives up the wait only.
    Waiting(oneshot::Receiver<Outcome>),
}

/// Whom a job tells in the end.
enum Told {
    /// Those who wait for the key when the ticket is still this one.
    Pending(Key, u64),
    One(oneshot::Sender<Outcome>),
}

/// An answer that somebody wants: CertIDs of one issuer.
#[derive(Clone, Debug)]
struct Wish {
    issuer: Arc<Issuer>,
    ids: Vec<WishedId>,
    /// Where the answer is kept and shared; `None` where it is not.
    key: Option<Key>,
}

#[derive(Clone, Debug)]
struct WishedId {
    hash: HashAlgorithm,
    /// Content octets of the serialNumber, which the response repeats as they came.
    serial: Vec<u8>,
}

impl WishedId {
    fn cert_id<'a>(&'a self, issuer: &'a Issuer) -> CertId<'a> {
        let (issuer_name_hash, issuer_key_hash) = issuer.hashes.get(self.hash);
        CertId { hash: self.hash, issuer_name_hash, issuer_key_hash, serial: &self.serial }
    }
}

/// A response without its signature.
struct Unsigned {
    statements: Box<[Statement]>,
    times: Times,
    response_data: Vec<u8>,
}

impl Wish {
    /// What is to be said as things stand.
    fn statements(&self, now: UnixTime) -> Result<Box<[Statement]>, OcspError> {
        let found = |id: &WishedId| {
            let serial = id.cert_id(&self.issuer).serial();
            serial.and_then(|serial| self.issuer.state.records.get(&serial))
        };
        match &self.ids[..] {
            [one] => Ok(Box::new([statement(&self.issuer.policy, found(one), now)?])),
            several => statements(&self.issuer.policy, several.iter().map(found), now),
        }
    }

    /// What has to be signed as things stand.
    fn prepare(&self, now: UnixTime, spread: u32) -> Result<Unsigned, OcspError> {
        let statements = self.statements(now)?;
        let signer = &self.issuer.signer;
        let lasting = statements.iter().all(Statement::may_be_kept);
        let validity = self.issuer.policy.validity;
        let validity = if lasting { validity } else { validity.min(limits::UNLISTED_VALIDITY) };
        let times = Times::plan(now, validity, signer.not_after(), spread).ok_or_else(|| {
            // Once: every request comes here from then on.
            if self.issuer.expiry_told.swap(true, Relaxed) {
                return OcspError::InternalError;
            }
            error!(issuer = self.issuer.name, not_after = %signer.not_after(), "the signing certificate has expired; nothing can be signed until it is renewed");
            OcspError::InternalError
        })?;
        let mut unsigned = Unsigned { statements, times, response_data: Vec::new() };
        unsigned.response_data = self.with_content(&unsigned, |content| signer.template().response_data(content));
        Ok(unsigned)
    }

    /// The answer with its signature; `None` if what it says has changed meanwhile.
    fn complete(&self, unsigned: &Unsigned, signature: &[u8], now: UnixTime) -> Option<Answer> {
        // The later look is the one that counts: nothing older than it leaves.
        if self.statements(now).ok()? != unsigned.statements {
            return None;
        }
        let template = self.issuer.signer.template();
        let body = self.with_content(unsigned, |content| template.response(content, signature));
        Some(Answer {
            statements: unsigned.statements.clone(),
            times: unsigned.times,
            etag: Etag::of(template, signature),
            body: body.into(),
        })
    }

    fn with_content<T>(&self, unsigned: &Unsigned, then: impl FnOnce(&Content<'_>) -> T) -> T {
        let Unsigned { statements, times, .. } = unsigned;
        let ids = self.ids.iter().map(|id| id.cert_id(&self.issuer));
        let single = |(cert_id, statement): (_, &Statement)| Single {
            cert_id,
            status: statement.status,
            this_update: times.this_update,
            next_update: times.next_update,
            archive_cutoff: None,
        };
        let singles: Vec<_> = ids.zip(statements).map(single).collect();
        then(&Content {
            produced_at: times.this_update,
            singles: &singles,
            extended_revoke: statements.iter().any(|statement| statement.extended_revoke),
            nonce: None,
        })
    }
}

impl Misses {
    /// Keeps what is signed in `store`.
    pub fn new(store: Store) -> Arc<Self> {
        Arc::new(Self { store, pending: Mutex::default(), tickets: AtomicU64::new(0), spread: RandomState::new() })
    }

    /// The answers kept.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// How many certificates' answers are being signed.
    pub fn pending(&self) -> usize {
        self.lock().len()
    }

    /// An answer for one certificate, kept afterwards.
    pub fn answer(self: &Arc<Self>, issuer: &Arc<Issuer>, id: &CertId<'_>) -> Miss {
        let key = id.serial().map(|serial| issuer.key(id.hash, &serial));
        self.want(Wish { issuer: Arc::clone(issuer), ids: vec![wished(id)], key })
    }

    /// An answer for several certificates of one issuer, in order; never kept.
    pub fn answer_several(self: &Arc<Self>, issuer: &Arc<Issuer>, ids: &[CertId<'_>]) -> Miss {
        self.want(Wish { issuer: Arc::clone(issuer), ids: ids.iter().map(wished).collect(), key: None })
    }

    /// Has the successor of a kept answer signed when the signer has nothing more urgent.
    pub fn refresh(self: &Arc<Self>, issuer: &Arc<Issuer>, id: &CertId<'_>) {
        let Some(serial) = id.serial() else { return };
        let key = issuer.key(id.hash, &serial);
        if let Some(ticket) = self.join(key, Priority::Refresh, None) {
            let wish = Wish { issuer: Arc::clone(issuer), ids: vec![wished(id)], key: Some(key) };
            self.submit(wish, Priority::Refresh, limits::SIGN_ATTEMPTS_MAX, Told::Pending(key, ticket));
        }
    }

    fn want(self: &Arc<Self>, wish: Wish) -> Miss {
        if wish.issuer.signer.signing().signs_here() {
            return Miss::Ended(self.sign_here(&wish));
        }
        let (sender, receiver) = oneshot::channel();
        match wish.key {
            None => self.submit(wish, Priority::Live, limits::SIGN_ATTEMPTS_MAX, Told::One(sender)),
            Some(key) => {
                if let Some(ticket) = self.join(key, Priority::Live, Some(sender)) {
                    self.submit(wish, Priority::Live, limits::SIGN_ATTEMPTS_MAX, Told::Pending(key, ticket));
                }
            }
        }
        Miss::Waiting(receiver)
    }

    /// Signs on this thread.
    fn sign_here(&self, wish: &Wish) -> Outcome {
        for _ in 0..limits::SIGN_ATTEMPTS_MAX {
            let unsigned = wish.prepare(UnixTime::now(), self.spread(wish))?;
            let signed = wish.issuer.signer.signing().sign_here(&unsigned.response_data);
            let signature = signed.unwrap_or(Err(SignError::Failed)).map_err(ocsp_error)?;
            if let Some(answer) = wish.complete(&unsigned, &signature, UnixTime::now()) {
                return Ok(self.keep(wish, answer, &signature));
            }
        }
        Err(OcspError::TryLater)
    }

    /// Waits for the answer of a key with those who wait already. A ticket comes back where a job has to be
    /// submitted: for a key that is not being signed, not urgently enough, or for longer than anybody waits.
    fn join(&self, key: Key, priority: Priority, sender: Option<oneshot::Sender<Outcome>>) -> Option<u64> {
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

    fn submit(self: &Arc<Self>, wish: Wish, priority: Priority, attempts: usize, told: Told) {
        let mut unsigned = match wish.prepare(UnixTime::now(), self.spread(&wish)) {
            Ok(unsigned) => unsigned,
            Err(error) => return self.tell(told, Err(error)),
        };
        let message = std::mem::take(&mut unsigned.response_data);
        let signer = Arc::clone(&wish.issuer.signer);
        let this = Arc::clone(self);
        let done = move |message, outcome: Result<Vec<u8>, SignError>| {
            unsigned.response_data = message;
            let outcome = match outcome {
                Err(error) => Err(ocsp_error(error)),
                Ok(signature) => match wish.complete(&unsigned, &signature, UnixTime::now()) {
                    Some(answer) => Ok(this.keep(&wish, answer, &signature)),
                    None if attempts > 1 => return this.submit(wish, priority, attempts - 1, told),
                    None => Err(OcspError::TryLater),
                },
            };
            this.tell(told, outcome);
        };
        signer.signing().submit(Job {
            message,
            priority,
            deadline: Instant::now() + limits::MISS_DEADLINE,
            done: Box::new(done),
        });
    }

    fn keep(&self, wish: &Wish, answer: Answer, signature: &[u8]) -> Arc<Answer> {
        let answer = Arc::new(answer);
        if let Some(key) = wish.key {
            self.store.keep(key, &answer, wish.issuer.signer.packing(), signature);
        }
        answer
    }

    /// Tells everybody who waits; those who have gone away do not matter.
    fn tell(&self, told: Told, outcome: Outcome) {
        let waiting = match told {
            Told::One(sender) => vec![sender],
            Told::Pending(key, ticket) => match self.lock().entry(key) {
                Entry::Occupied(entry) if entry.get().ticket == ticket => entry.remove().waiting,
                _ => return,
            },
        };
        for sender in waiting {
            let _ = sender.send(outcome.clone());
        }
    }

    fn spread(&self, wish: &Wish) -> u32 {
        self.spread.hash_one(&wish.ids[0].serial) as u32
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wished(id: &CertId<'_>) -> WishedId {
    WishedId { hash: id.hash, serial: id.serial.to_vec() }
}

/// Whether the queue was full or the key failed, the client can do no more than ask again.
fn ocsp_error(_: SignError) -> OcspError {
    OcspError::TryLater
}

#[cfg(test)]
mod tests;
