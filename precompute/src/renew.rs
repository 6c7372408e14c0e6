//! Renews the certificates of signers while their keys stay.
//!
//! Purpose: some time before a signer's certificate ends (`before`), its next one is asked for: a command gets a request
//! that the key has signed, or the request is written into a file, and the certificate's file is watched in either case. What
//! comes is judged as a start judges it ([`Judge`]), kept in the state directory ([`Kept`]), and the configuration in use is
//! opened anew with it, which costs no request. Of the certificates that are kept and the one in the operator's file,
//! [`standing`] says which sign.
//!
//! Invariants: nothing that a start would refuse is kept; the present certificate signs on whatever becomes of its renewal;
//! nobody who answers waits for a command, which has a thread of its own, a deadline, and a bound on what it may say. A
//! failure is logged at once and daily, long before the end.
//!
//! `plan` decides when (pure), `command` runs one, `kept` has the files, `judge` knows what suits, `asking` makes requests, `worker` is the
//! thread of one signer, which hears and tells by its `post`, and [`Renewals`] has all of them. It does not know who serves, or how a configuration is opened.

mod asking;
mod command;
mod judge;
mod kept;
mod plan;
mod post;
mod standing;
mod worker;

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, mpsc},
    thread,
    time::Instant,
};

use tracing::error;

pub use self::{
    asking::may_be_written,
    judge::{Judge, Signs},
    kept::{DIRECTORY, Kept, SignerId},
    plan::{begins, ends, is_late},
    post::Report,
    standing::{Chain, standing},
};
use self::{post::Post, worker::Worker};
use crate::{config::RenewConfig, limits::renew as limits, sign::Signing};

/// A signer that is renewed, as the configuration in use has it.
#[derive(Clone)]
pub struct Renewing {
    /// Whose certificates are kept under this.
    pub id: SignerId,
    /// Its tenant.
    pub tenant: String,
    /// The issuer or the authority that it signs for.
    pub name: String,
    /// Whether it signs time-stamps.
    pub is_tsa: bool,
    /// How.
    pub config: RenewConfig,
    /// The operator's file with its certificate.
    pub file: PathBuf,
    /// Where its certificates are kept.
    pub kept: Kept,
    /// The newest of those that sign, with its chain.
    pub present: Chain,
    /// Whether that one is kept, because it was renewed here.
    pub is_kept: bool,
    /// What a certificate has to be.
    pub judge: Judge,
    /// Its key; `None` if that is elsewhere. It is gone where the pool of before the reload signs on.
    pub key: Option<Weak<dyn Signing>>,
}

impl fmt::Debug for Renewing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Renewing({self})")
    }
}

impl fmt::Display for Renewing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.name)
    }
}

/// All signers that are renewed. Dropped, it ends their threads, and the commands that run.
#[derive(Debug)]
pub struct Renewals {
    posts: Mutex<BTreeMap<SignerId, Running>>,
    /// Asks for the configuration in use to be opened anew.
    ask: Ask,
}

/// Called by any thread; returns at once.
#[derive(Clone)]
pub struct Ask(pub Arc<dyn Fn() + Send + Sync>);

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ask")
    }
}

#[derive(Debug)]
struct Running {
    post: Arc<Post>,
    /// Ends with the thread.
    ended: mpsc::Receiver<()>,
}

impl Renewals {
    /// None yet. `ask` is called when another certificate is to be taken.
    pub fn new(ask: Ask) -> Self {
        Self { posts: Mutex::default(), ask }
    }

    fn posts(&self) -> MutexGuard<'_, BTreeMap<SignerId, Running>> {
        self.posts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Renews these from now on, as a configuration that was taken just now has them. Of two with one key and one CA, such
    /// as a signer of two issuers, the first is renewed.
    pub fn change(&self, signers: Vec<Renewing>) {
        let mut posts = self.posts();
        let mut former = std::mem::take(&mut *posts);
        for signer in signers {
            if posts.contains_key(&signer.id) {
                continue;
            }
            let id = signer.id.clone();
            match former.remove(&id) {
                Some(running) => {
                    running.post.change(signer);
                    posts.insert(id, running);
                }
                None => posts.extend(self.start(signer).map(|running| (id, running))),
            }
        }
        // Nobody waits for those that are not renewed any more.
        former.values().for_each(|running| running.post.stop());
    }

    fn start(&self, signer: Renewing) -> Option<Running> {
        let (name, post) = (signer.to_string(), Arc::new(Post::new(signer)));
        let (ends, ended) = mpsc::channel();
        let worker = Worker::new(Arc::clone(&post), self.ask.clone());
        let started = thread::Builder::new().name("renewal".to_owned()).spawn(move || {
            let _ends = ends;
            worker.run();
        });
        match started {
            Ok(_) => Some(Running { post, ended }),
            Err(error) => {
                error!(signer = name, %error, "no thread can be started that renews this signer; its certificate stays as it is");
                None
            }
        }
    }

    /// The configuration in use could not be opened anew.
    pub fn refused(&self, problem: &str) {
        self.posts().values().for_each(|running| running.post.refused(problem));
    }

    /// How each of them fares.
    pub fn reports(&self) -> Vec<Report> {
        self.posts().values().map(|running| running.post.report()).collect()
    }
}

impl Drop for Renewals {
    fn drop(&mut self) {
        stop(std::mem::take(&mut *self.posts()));
    }
}

/// Ends threads, all at once. One that hangs, as in a file system that does not answer, is left.
fn stop(posts: BTreeMap<SignerId, Running>) {
    posts.values().for_each(|running| running.post.stop());
    let end = Instant::now() + limits::END_WAIT;
    for running in posts.into_values() {
        let _ = running.ended.recv_timeout(end.saturating_duration_since(Instant::now()));
    }
}
