//! Tells caches and CDNs that the answers which they keep about a certificate are old.
//!
//! Purpose: a cache gives out an answer until its max-age is over. After a revocation it is told to forget that one, by the
//! keys that answers carry ([`CacheKey`]). Each cache ([`Target`]) has a thread and a queue of its own. Invariants:
//!
//! - What a cache has to be told is never lost while the process runs, whatever the cache answers: it is tried again, less and
//!   less often. Nobody waits for a cache, and none for another one.
//! - Each key is purged **twice**: at once, and again after `again_after`. The first purge comes after the new answer can be
//!   had, but a cache may fetch the old one once more: its request may be under way when it is purged, or reach a replica that
//!   applies the change some milliseconds later. The second purge removes that.
//! - Whoever begins to tell caches (a start, another writer that takes over, a cache that was added) purges the **whole
//!   issuer** once. A process that was killed between a change and its purge cannot say what it owed, and neither can whoever
//!   goes on in its place: a note on disk would have to be written before each revocation is acknowledged, and would be lost
//!   with the disk. Once in a restart the caches are filled again instead, which costs the replicas milliseconds.
//! - Very many changes of an issuer become one purge of all its answers.
//!
//! `queue` decides what is sent when, `driver` what is said and what an answer means (both pure), `edgegrid` is Akamai's
//! signature, `asking` sends a request, `cache` is the thread. It does not know records, or who leads.

mod asking;
mod cache;
mod driver;
mod edgegrid;
mod queue;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tracing::error;

use self::{asking::Asking, cache::Cache};
pub use self::{
    asking::try_out,
    cache::Report,
    driver::{Driver, Template, Token},
    edgegrid::EdgeGrid,
    queue::Pace,
};
use crate::{
    feed::https::Https,
    feeder::SourceUrl,
    limits::purge as limits,
    ocsp::{CacheKey, IssuerKey},
    pki::Serial,
};

/// A cache, with what it takes to tell it.
#[derive(Clone, Debug)]
pub struct Target {
    /// For logs and metrics; no other one has it.
    pub name: String,
    /// Where it is told.
    pub url: SourceUrl,
    /// In which words.
    pub driver: Driver,
    /// How fast.
    pub pace: Pace,
    /// Whose answers it keeps; `None` for all tenants'.
    pub tenants: Option<Vec<String>>,
    /// Whose certificates count for it.
    pub https: Https,
}

impl Target {
    /// Whether it keeps answers of this tenant.
    pub fn keeps(&self, tenant: &str) -> bool {
        self.tenants.as_ref().is_none_or(|tenants| tenants.iter().any(|name| name == tenant))
    }

    fn is_same(&self, other: &Self) -> bool {
        let of = |target: &Self| (target.name.clone(), target.url.clone(), target.pace, target.tenants.clone());
        of(self) == of(other) && self.driver == other.driver && self.https.cas() == other.https.cas()
    }
}

/// What has changed of an issuer's answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Old {
    /// The answers about these certificates.
    These {
        /// Those that are not good, or not listed, any more.
        pressing: Vec<Serial>,
        /// Those that are good now: issued, or released from hold.
        others: Vec<Serial>,
    },
    /// The CRLs that are published.
    Crls,
    /// All, or too many to name.
    All,
}

/// All caches that are told. Dropped, it ends their threads.
#[derive(Debug, Default)]
pub struct Caches(Mutex<Vec<Running>>);

#[derive(Debug)]
struct Running {
    cache: Arc<Cache>,
    thread: cache::Thread,
}

impl Caches {
    fn running(&self) -> MutexGuard<'_, Vec<Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells these from now on. One that is told already goes on with what it waits for.
    pub fn change(&self, targets: Vec<Target>) {
        let mut running = self.running();
        let mut former = std::mem::take(&mut *running);
        for target in targets {
            match former.iter().position(|running| running.cache.target().is_same(&target)) {
                Some(place) => running.push(former.swap_remove(place)),
                None => running.extend(start(target)),
            }
        }
        drop(running);
        stop(former);
    }

    /// Whether nobody is told.
    pub fn is_empty(&self) -> bool {
        self.running().is_empty()
    }

    /// Those that were told nothing yet are told to forget all answers of these issuers, each with its tenant.
    pub fn begin(&self, issuers: &[(&str, IssuerKey)]) {
        for running in &*self.running() {
            running.cache.begin(issuers);
        }
    }

    /// Somebody else tells them from now on: what waits is dropped, and [`Self::begin`] counts for all.
    pub fn leave_to_others(&self) {
        self.running().iter().for_each(|running| running.cache.leave_to_others());
    }

    /// This is old of an issuer since then. `tenant`: whose; `None` for one that has left: a cache that kept its answers may
    /// not name it any more.
    pub fn tell(&self, tenant: Option<&str>, issuer: IssuerKey, old: &Old, since: Instant) {
        for running in &*self.running() {
            if tenant.is_none_or(|tenant| running.cache.target().keeps(tenant)) {
                running.cache.add(issuer, old, since);
            }
        }
    }

    /// How each of them fares.
    pub fn reports(&self) -> Vec<Report> {
        self.running().iter().map(|running| running.cache.report(running.thread.has_ended())).collect()
    }
}

impl Drop for Caches {
    fn drop(&mut self) {
        stop(std::mem::take(&mut *self.running()));
    }
}

fn start(target: Target) -> Option<Running> {
    let name = target.name.clone();
    let cache = Arc::new(Cache::new(target));
    match cache::Thread::start(&cache) {
        Ok(thread) => Some(Running { cache, thread }),
        Err(error) => {
            error!(cache = name, %error, "no thread can be started that tells this cache of revocations; they show there once max-age is over");
            None
        }
    }
}

/// Ends threads, all at once. One that hangs is left.
fn stop(running: Vec<Running>) {
    running.iter().for_each(|running| running.cache.stop());
    let end = Instant::now() + limits::END_WAIT;
    running.into_iter().for_each(|running| running.thread.wait_until(end));
}

/// Tells a cache once, by hand, in as many requests as it takes: how long that took, or what was wrong, which completes
/// "the cache …".
pub fn purge_now(target: &Target, keys: &[CacheKey]) -> Result<Duration, String> {
    let (asking, begin) = (Asking::new(target), Instant::now());
    for batch in keys.chunks(target.pace.batch.max(1)) {
        asking.ask(batch).map_err(|refused| refused.why)?;
    }
    Ok(begin.elapsed())
}
