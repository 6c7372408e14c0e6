//! Threads that sign, one session each, behind one bounded queue with priorities.
//!
//! A job's `done` is called exactly once: with a signature, or with the reason why there is none. A live request waits
//! for at most one running signature on each session, because a free thread always takes the most urgent job.
//!
//! Several holders may have the same key. Work goes to the holder at work that has least to do (or to the first, if an
//! order is kept); if one fails at a job, another does it. A holder that was away gets no client's job before it has
//! made a test signature. A call that does not return costs its thread, which is replaced.
//!
//! - `queue`: jobs that wait; `breaker`: whether a holder is given work; `allowance`: how many of its sessions work at
//!   once; `member`: a holder, its threads and its condition.
//! - `state`: all decisions, pure (`state/report`: those that follow the result of a step). `thread`: the threads,
//!   which carry them out.
//!
//! It does not know what holds a key or what is signed.

mod allowance;
mod breaker;
mod member;
mod queue;
mod state;
mod status;
mod thread;

use std::{
    collections::HashSet,
    fmt, io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::ThreadId,
    time::Instant,
};

use x509_cert::spki::AlgorithmIdentifierOwned;

pub use self::status::{Health, MemberStatus, PoolStatus, Times};
use self::{
    member::Member,
    state::{Outbox, PoolState, Sitter},
};
use super::{Algorithm, Fault, FaultClass, Holder, KeyPurpose, SignError, Signing, SoftwareKey};
use crate::{limits, pki::Verifier};

/// Who waits, in the order of service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Priority {
    /// A client.
    Live = 0,
    /// An answer that will be needed before long.
    Refresh = 1,
    /// A client that wants an answer nobody else can use. It comes after the others, so that a flood of such requests
    /// (nonces) does not keep other certificates from being answered.
    Once = 2,
    /// Pre-signing.
    Bulk = 3,
}

impl Priority {
    /// The number of priorities.
    pub const COUNT: usize = 4;
}

/// Gets a job's message back, and the outcome; called exactly once.
pub type Done = Box<dyn FnOnce(Vec<u8>, Result<Vec<u8>, SignError>) + Send>;

/// A request for one signature.
pub struct Job {
    /// What is signed.
    pub message: Vec<u8>,
    /// How urgent it is.
    pub priority: Priority,
    /// After this time no caller waits for it.
    pub deadline: Instant,
    /// Called with the outcome.
    pub done: Done,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Job({:?}, {} bytes)", self.priority, self.message.len())
    }
}

impl Job {
    fn finish(self, outcome: Result<Vec<u8>, SignError>) {
        (self.done)(self.message, outcome);
    }
}

/// How a pool works.
#[derive(Clone, Debug)]
pub struct PoolSettings {
    /// The signer's name in logs.
    pub name: String,
    /// What the key is for: decides what the log says about requests while no key works.
    pub purpose: KeyPurpose,
    /// Where the key is, as configured.
    pub key: String,
    /// Threads, and so sessions, for each holder; never more than the holder allows.
    pub threads: usize,
    /// How many jobs may wait in each priority.
    pub queue_length_max: usize,
    /// Whether all work goes to the first holder that is at work, instead of to all of them.
    pub primary_first: bool,
    /// Which signatures by holders outside this process are verified.
    pub verify: Verify,
}

/// Which signatures of a token are verified before they are used. A wrong one would be kept, stored and served until it
/// expires.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Verify {
    /// Every one.
    #[default]
    All,
    /// The first of each session and a sample of the others, for tokens that sign as fast as this process verifies.
    /// Every RSA signature is verified all the same: a token that computes one wrong can reveal its key with it.
    Sample,
}

impl Verify {
    /// Whether every signature of a holder is verified. For RSA in this process, the library does it.
    fn every(self, algorithm: Algorithm, is_apart: bool) -> bool {
        let is_rsa = matches!(algorithm, Algorithm::RsaPkcs1Sha256 | Algorithm::RsaPssSha256);
        is_apart && (self == Self::All || is_rsa)
    }
}

/// The pool. Dropping it lets running signatures finish and refuses waiting ones.
pub struct Pool {
    /// The key, if a caller may sign with it directly.
    cheap: Option<SoftwareKey>,
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    purpose: KeyPurpose,
    setting: String,
    inner: Mutex<Inner>,
    /// Signalled when a thread has left, and when the pool ends.
    ended: Condvar,
    /// Verifies signatures, and decides which ones.
    verifier: Verifier,
    verify: Verify,
    algorithm: Algorithm,
    is_apart: bool,
}

struct Inner {
    pool: PoolState,
    /// The threads of the pool. If one of them drops the pool, it must not wait for itself.
    ids: HashSet<ThreadId>,
}

impl Pool {
    /// A pool over holders of the key whose public half is `spki` (SubjectPublicKeyInfo, DER). The threads open the
    /// sessions. Error: the public half cannot be read, or no more threads can be started.
    pub fn new(
        algorithm: Algorithm,
        spki: &[u8],
        holders: Vec<Arc<dyn Holder>>,
        settings: PoolSettings,
    ) -> io::Result<Self> {
        use der::Decode as _;
        let identifier = AlgorithmIdentifierOwned::from_der(algorithm.identifier()).map_err(io::Error::other)?;
        let verifier = Verifier::new(spki, &identifier).map_err(|error| io::Error::other(error.to_string()))?;
        let now = Instant::now();
        let threads = |holder: &Arc<dyn Holder>| settings.threads.min(holder.sessions_max()).max(1);
        let is_apart = holders.iter().any(|holder| holder.is_apart());
        let members = holders.iter().map(|holder| Member::new(Arc::clone(holder), threads(holder), now)).collect();
        let mut state = PoolState::new(members, settings.queue_length_max, settings.primary_first);
        let mut sitters: Vec<Sitter> = Vec::new();
        for (place, holder) in holders.iter().enumerate() {
            sitters.extend((0..threads(holder)).map(|_| state.sit(place)));
        }
        let setting = format!("{} {} {} {:?}", settings.key, settings.threads, settings.primary_first, settings.verify);
        let inner = Mutex::new(Inner { pool: state, ids: HashSet::new() });
        let shared = Arc::new(Shared {
            name: settings.name,
            purpose: settings.purpose,
            setting,
            inner,
            ended: Condvar::new(),
            verifier,
            verify: settings.verify,
            algorithm,
            is_apart,
        });
        // From here on, dropping it ends the threads that were started.
        let pool = Self { cheap: None, shared };
        for (started, sitter) in sitters.iter().enumerate() {
            if let Err(error) = thread::start(&pool.shared, *sitter) {
                pool.shared.lock().pool.alive -= sitters.len() - started;
                return Err(error);
            }
        }
        if is_apart {
            thread::start_watch(&pool.shared)?;
        }
        Ok(pool)
    }

    /// A pool over one software key whose public half is `spki`.
    pub fn software(key: &SoftwareKey, spki: &[u8], settings: PoolSettings) -> io::Result<Self> {
        let mut pool = Self::new(key.algorithm(), spki, vec![Arc::new(key.clone())], settings)?;
        pool.cheap = Some(key.clone()).filter(|key| key.algorithm().is_cheap());
        Ok(pool)
    }
}

impl Signing for Pool {
    fn algorithm(&self) -> Algorithm {
        self.shared.algorithm
    }

    fn signs_here(&self) -> bool {
        self.cheap.is_some()
    }

    fn sign_here(&self, message: &[u8]) -> Option<Result<Vec<u8>, SignError>> {
        Some(self.cheap.as_ref()?.sign(message).map_err(|_| SignError::Failed))
    }

    fn submit(&self, job: Job) {
        let refused = self.shared.lock().pool.submit(job, Instant::now());
        if let Err((job, error)) = refused {
            job.finish(Err(error));
        }
    }

    fn is_away(&self) -> bool {
        self.shared.lock().pool.is_away(Instant::now())
    }

    fn is_apart(&self) -> bool {
        self.shared.is_apart
    }

    fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        self.shared.verify(message, signature).is_ok()
    }

    fn setting(&self) -> &str {
        &self.shared.setting
    }

    fn status(&self) -> PoolStatus {
        self.shared.lock().pool.status(Instant::now())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn holder(&self, sitter: Sitter) -> (Arc<dyn Holder>, u64) {
        let inner = self.lock();
        let member = &inner.pool.members[sitter.member];
        (Arc::clone(&member.holder), member.epoch)
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Fault> {
        let wrong = |_| Fault::new(FaultClass::Device, "its signature does not verify under its public key");
        self.verifier.verify(message, signature).map_err(wrong)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut outbox = Outbox::new();
        let mut inner = self.shared.lock();
        inner.pool.close(&mut outbox);
        self.shared.ended.notify_all();
        drop(inner);
        thread::deliver(&mut outbox);
        let until = Instant::now() + limits::POOL_END_MAX;
        let mut inner = self.shared.lock();
        // The last owner of a pool can be one of its own threads, through a job's `done`.
        let own = usize::from(inner.ids.contains(&std::thread::current().id()));
        while inner.pool.alive > own {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            inner = self.shared.ended.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({} for {})", self.shared.algorithm, self.shared.name)
    }
}

#[cfg(test)]
mod tests;
