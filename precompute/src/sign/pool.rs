//! Threads that sign, one session each, behind one bounded queue with priorities.
//!
//! A job's `done` is called exactly once: with a signature, or with the reason for none. A live
//! miss waits for at most one signature a session, because threads take the most urgent job each
//! time they are free.
//!
//! Several holders may have the same key. Work goes to whichever is at work and has least in hand (or to the first,
//! where an order is kept); what one failed at, another does. One that goes away gets no client's job before it has
//! made a test signature; a call that does not return costs its thread, which is replaced.
//!
//! - `queue`: what waits; `breaker`: whether a holder is given work; `allowance`: how much at once; `member`: a holder,
//!   its threads and how it does.
//! - `state`: all decisions, pure (in `state/report` those about what came of a step). `thread`: the threads, which carry them out.
//!
//! It does not know what holds a key, nor what is signed.

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

/// Who waits; the first is served first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Priority {
    /// A client.
    Live = 0,
    /// An answer that will be needed before long.
    Refresh = 1,
    /// A client, with an answer that nobody else can use: behind the others, so that a flood of such requests (nonces)
    /// keeps no certificate from being answered.
    Once = 2,
    /// Pre-signing.
    Bulk = 3,
}

impl Priority {
    /// How many there are.
    pub const COUNT: usize = 4;
}

/// Receives a job's message back, and the outcome; called exactly once.
pub type Done = Box<dyn FnOnce(Vec<u8>, Result<Vec<u8>, SignError>) + Send>;

/// One signature wanted.
pub struct Job {
    /// What is signed.
    pub message: Vec<u8>,
    /// How urgent it is.
    pub priority: Priority,
    /// When no caller waits for it any more.
    pub deadline: Instant,
    /// Told how it ended.
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
    /// What requests get while no key works.
    pub purpose: KeyPurpose,
    /// Where the key is, as the configuration says.
    pub key: String,
    /// Threads, and so sessions, for each holder; no more than it allows.
    pub threads: usize,
    /// Jobs that may wait in each priority.
    pub queue_length_max: usize,
    /// All work goes to the first holder that is at work, instead of to all of them.
    pub primary_first: bool,
    /// Which signatures of holders that are apart are verified.
    pub verify: Verify,
}

/// Which signatures of a token are verified before anybody gets them: a wrong one that left would be kept, stored and
/// handed out until it ends.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Verify {
    /// Every one.
    #[default]
    All,
    /// The first of each session and a sample of the others, for tokens that sign as fast as this process verifies. By
    /// RSA every one all the same: a token that computes one wrong can give its key away with it.
    Sample,
}

impl Verify {
    /// Whether no signature of a holder goes by. What this process signs with RSA, the library verifies itself.
    fn every(self, algorithm: Algorithm, is_apart: bool) -> bool {
        let is_rsa = matches!(algorithm, Algorithm::RsaPkcs1Sha256 | Algorithm::RsaPssSha256);
        is_apart && (self == Self::All || is_rsa)
    }
}

/// The pool; dropping it lets the running signatures end and refuses the waiting ones.
pub struct Pool {
    /// The key, where a caller may sign with it itself.
    cheap: Option<SoftwareKey>,
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    purpose: KeyPurpose,
    setting: String,
    inner: Mutex<Inner>,
    /// Told when a thread has left, and when the pool ends.
    ended: Condvar,
    /// What signatures are verified by, and which of them.
    verifier: Verifier,
    verify: Verify,
    algorithm: Algorithm,
}

struct Inner {
    pool: PoolState,
    /// The threads of the pool, which must not wait for themselves when they happen to end it.
    ids: HashSet<ThreadId>,
}

impl Pool {
    /// A pool over holders of the key whose public half is `spki` (SubjectPublicKeyInfo, DER). Sessions are opened by
    /// the threads. An error where the public half cannot be read, or the system gives no more threads.
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
        });
        // From here on dropping it ends the threads that were started.
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

    /// A pool over one software key, which `spki` is the public half of.
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
