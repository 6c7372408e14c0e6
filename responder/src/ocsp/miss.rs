//! What is not kept is signed: here for cheap keys, on the signer's pool for the others.
//!
//! Invariant: a signature whose record changed while it was made is thrown away, and the new
//! state is signed instead. Requests for one certificate that is being signed share the result.
//! It does not know connections; waiting is an await that any runtime can wake.

use std::{
    collections::HashMap,
    future::Future,
    hash::{BuildHasher as _, RandomState},
    io::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Instant, SystemTime},
};

use aws_lc_rs::digest;
use bytes::Bytes;
use precompute::{
    ocsp::{CertId, HashAlgorithm, OcspError, Single},
    pki::UnixTime,
    sign::{Job, Priority, SignError},
};
use tokio::sync::oneshot;
use tracing::error;

use super::{
    answer::{Answer, Statement, Times, statement},
    cache::{Cache, Key},
};
use crate::{limits, site::Issuer};

/// What a miss ends in.
pub type Outcome = Result<Arc<Answer>, OcspError>;

/// Has answers signed and keeps them.
#[derive(Debug)]
pub struct Misses {
    cache: Cache,
    waiting: Mutex<HashMap<Key, Vec<oneshot::Sender<Outcome>>>>,
    spread: RandomState,
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
    statements: Vec<Statement>,
    times: Times,
    response_data: Vec<u8>,
}

impl Wish {
    fn statements(&self, now: UnixTime) -> Result<Vec<Statement>, OcspError> {
        let policy = &self.issuer.policy;
        let several = self.ids.len() > 1;
        self.ids
            .iter()
            .map(|id| {
                let serial = id.cert_id(&self.issuer).serial();
                let found = serial.and_then(|serial| self.issuer.records.get(&serial));
                match statement(policy, found, now) {
                    // Among others, one that is not told is unknown: one error for all would say less.
                    Err(OcspError::Unauthorized) if several => Ok(Statement {
                        state: found.map(|found| found.state),
                        status: precompute::ocsp::CertStatus::Unknown,
                        extended_revoke: false,
                    }),
                    other => other,
                }
            })
            .collect()
    }

    /// What has to be signed as things stand.
    fn prepare(&self, now: UnixTime, spread: u32) -> Result<Unsigned, OcspError> {
        let statements = self.statements(now)?;
        let signer = &self.issuer.signer;
        let times = Times::plan(now, self.issuer.policy.validity, signer.not_after(), spread).ok_or_else(|| {
            error!(issuer = self.issuer.name, not_after = %signer.not_after(), "the signing certificate has expired; nothing can be signed until it is renewed");
            OcspError::InternalError
        })?;
        let singles: Vec<_> = self
            .ids
            .iter()
            .zip(&statements)
            .map(|(id, statement)| Single {
                cert_id: id.cert_id(&self.issuer),
                status: statement.status,
                this_update: times.this_update,
                next_update: times.next_update,
            })
            .collect();
        let extended_revoke = statements.iter().any(|statement| statement.extended_revoke);
        let response_data = signer.template().response_data(now, &singles, extended_revoke);
        Ok(Unsigned { statements, times, response_data })
    }

    /// The answer with its signature; `None` if what it says has changed meanwhile.
    fn complete(&self, unsigned: &Unsigned, signature: &[u8], now: UnixTime) -> Option<Answer> {
        // The later look is the one that counts: nothing older than it leaves.
        if self.statements(now).ok()? != unsigned.statements {
            return None;
        }
        let body = self.issuer.signer.template().response(&unsigned.response_data, signature);
        Some(assemble(unsigned.statements[0], unsigned.times, body))
    }
}

fn assemble(statement: Statement, times: Times, body: Vec<u8>) -> Answer {
    let mut etag = Vec::with_capacity(66);
    etag.push(b'"');
    for octet in digest::digest(&digest::SHA256, &body).as_ref() {
        let _ = write!(etag, "{octet:02x}");
    }
    etag.push(b'"');
    let date = |time: UnixTime| httpdate::fmt_http_date(SystemTime::from(time));
    let mut head = Vec::with_capacity(256);
    let _ = write!(
        head,
        "Content-Length: {}\r\nExpires: {}\r\nLast-Modified: {}\r\nETag: ",
        body.len(),
        date(times.refresh_at),
        date(times.this_update)
    );
    head.extend_from_slice(&etag);
    head.extend_from_slice(b"\r\n");
    Answer { statement, times, body: body.into(), etag: etag.into(), head: Bytes::from(head) }
}

impl Misses {
    /// Keeps what is signed in `cache`.
    pub fn new(cache: Cache) -> Arc<Self> {
        Arc::new(Self { cache, waiting: Mutex::default(), spread: RandomState::new() })
    }

    /// The answers kept.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// How many certificates are being signed for somebody.
    pub fn pending(&self) -> usize {
        self.lock().len()
    }

    /// An answer for one certificate, kept afterwards.
    pub fn answer(self: &Arc<Self>, issuer: &Arc<Issuer>, id: &CertId<'_>) -> impl Future<Output = Outcome> + use<> {
        let key = id.serial().map(|serial| Key { issuer: issuer.index, hash: id.hash, serial });
        self.want(Wish { issuer: Arc::clone(issuer), ids: vec![wished(id)], key })
    }

    /// An answer for several certificates of one issuer, in order; never kept.
    pub fn answer_several(
        self: &Arc<Self>,
        issuer: &Arc<Issuer>,
        ids: &[CertId<'_>],
    ) -> impl Future<Output = Outcome> + use<> {
        self.want(Wish { issuer: Arc::clone(issuer), ids: ids.iter().map(wished).collect(), key: None })
    }

    /// Has the successor of a kept answer signed when the signer has nothing more urgent.
    pub fn refresh(self: &Arc<Self>, issuer: &Arc<Issuer>, id: &CertId<'_>) {
        let Some(serial) = id.serial() else { return };
        let key = Key { issuer: issuer.index, hash: id.hash, serial };
        if !self.lock().contains_key(&key) {
            let wish = Wish { issuer: Arc::clone(issuer), ids: vec![wished(id)], key: Some(key) };
            // Marks the key as being signed; nobody waits.
            self.lock().entry(key).or_default();
            self.submit(wish, Priority::Refresh, limits::SIGN_ATTEMPTS_MAX, None);
        }
    }

    fn want(self: &Arc<Self>, wish: Wish) -> impl Future<Output = Outcome> + use<> {
        let here = self.sign_here(&wish);
        let receiver = match here {
            Some(_) => None,
            None => Some(self.join(wish)),
        };
        async move {
            match (here, receiver) {
                (Some(outcome), _) => outcome,
                (None, Some(receiver)) => receiver.await.unwrap_or(Err(OcspError::TryLater)),
                (None, None) => Err(OcspError::InternalError),
            }
        }
    }

    /// Signs on this thread where the key is cheap; `None` where it is not.
    fn sign_here(&self, wish: &Wish) -> Option<Outcome> {
        for _ in 0..limits::SIGN_ATTEMPTS_MAX {
            let unsigned = match wish.prepare(UnixTime::now(), self.spread(wish)) {
                Ok(unsigned) => unsigned,
                Err(error) => return Some(Err(error)),
            };
            let signature = match wish.issuer.signer.signing().sign_here(&unsigned.response_data)? {
                Ok(signature) => signature,
                Err(error) => return Some(Err(ocsp_error(error))),
            };
            if let Some(answer) = wish.complete(&unsigned, &signature, UnixTime::now()) {
                return Some(Ok(self.keep(wish.key, answer)));
            }
        }
        Some(Err(OcspError::TryLater))
    }

    /// Waits for an answer that is being signed, or has it signed.
    fn join(self: &Arc<Self>, wish: Wish) -> oneshot::Receiver<Outcome> {
        let (sender, receiver) = oneshot::channel();
        match wish.key {
            None => self.submit(wish, Priority::Live, limits::SIGN_ATTEMPTS_MAX, Some(sender)),
            Some(key) => {
                let first = {
                    let mut waiting = self.lock();
                    let first = !waiting.contains_key(&key);
                    waiting.entry(key).or_default().push(sender);
                    first
                };
                if first {
                    self.submit(wish, Priority::Live, limits::SIGN_ATTEMPTS_MAX, None);
                }
            }
        }
        receiver
    }

    fn submit(
        self: &Arc<Self>,
        wish: Wish,
        priority: Priority,
        attempts: usize,
        sender: Option<oneshot::Sender<Outcome>>,
    ) {
        let mut unsigned = match wish.prepare(UnixTime::now(), self.spread(&wish)) {
            Ok(unsigned) => unsigned,
            Err(error) => return self.tell(wish.key, sender, Err(error)),
        };
        let message = std::mem::take(&mut unsigned.response_data);
        let signer = Arc::clone(&wish.issuer.signer);
        let this = Arc::clone(self);
        let done = move |message, outcome: Result<Vec<u8>, SignError>| {
            unsigned.response_data = message;
            let outcome = match outcome {
                Err(error) => Err(ocsp_error(error)),
                Ok(signature) => match wish.complete(&unsigned, &signature, UnixTime::now()) {
                    Some(answer) => Ok(this.keep(wish.key, answer)),
                    None if attempts > 1 => return this.submit(wish, priority, attempts - 1, sender),
                    None => Err(OcspError::TryLater),
                },
            };
            this.tell(wish.key, sender, outcome);
        };
        signer.signing().submit(Job {
            message,
            priority,
            deadline: Instant::now() + limits::MISS_DEADLINE,
            done: Box::new(done),
        });
    }

    fn keep(&self, key: Option<Key>, answer: Answer) -> Arc<Answer> {
        let answer = Arc::new(answer);
        if let Some(key) = key {
            self.cache.insert(key, Arc::clone(&answer));
        }
        answer
    }

    /// Tells everybody who waits; those who have gone away do not matter.
    fn tell(&self, key: Option<Key>, sender: Option<oneshot::Sender<Outcome>>, outcome: Outcome) {
        let waiting = key.and_then(|key| self.lock().remove(&key)).unwrap_or_default();
        for sender in waiting.into_iter().chain(sender) {
            let _ = sender.send(outcome.clone());
        }
    }

    fn spread(&self, wish: &Wish) -> u32 {
        self.spread.hash_one(&wish.ids[0].serial) as u32
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Vec<oneshot::Sender<Outcome>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wished(id: &CertId<'_>) -> WishedId {
    WishedId { hash: id.hash, serial: id.serial.to_vec() }
}

fn ocsp_error(error: SignError) -> OcspError {
    match error {
        SignError::Busy => OcspError::TryLater,
        // The client cannot mend it, and a key that failed once may sign the next time.
        SignError::Failed => OcspError::TryLater,
    }
}
