//! Hears what has changed, and has caches told of it once the new answers can be had.
//!
//! Purpose: a thread that listens to the changes of each issuer ([`hearing`]) and passes them to the [`Caches`]. Invariants:
//!
//! - Alone, a cache is told as soon as a change shows: who asks then gets the new answer.
//! - Of writers of a feed, the one that leads tells caches, and only after the feed has the change and its new answers, as a
//!   push is acknowledged. What cannot be told to the feed yet waits here. Who stands by drops what it hears, since the one
//!   that leads hears it as well; and who begins to lead purges all issuers, since nobody knows what the one before owed.
//! - An issuer whose answers all changed is purged as a whole: when other certificates sign, another policy counts, its own
//!   certificate is revoked, or it has left the configuration.
//! - A replica tells of what its own configuration changes, and of no record: the writer tells of those.
//!
//! Nobody who changes a record waits for this thread. It does not know what is said to a cache.

mod hearing;

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::watch;
use tracing::warn;

use self::hearing::{Hearing, News};
use super::{LastWords, NotTold, Publishing, Tenants};
use crate::{
    issuer_id::IssuerId,
    ledger::{Ledger, Ledgers},
    limits::purge as limits,
    log::remarks::Repeated,
    ocsp::IssuerKey,
    pki::Serial,
    purge::{Caches, Old, Report, Target},
};

/// Which changes caches are told of.
pub enum Tells {
    /// Those of a responder alone: as soon as they show.
    Alone,
    /// Those of a writer of a feed, once the feed has them.
    Writer(Publishing, Ledgers),
    /// Those that the configuration of a replica makes.
    Replica,
}

/// Has caches told, until it is dropped.
#[derive(Debug)]
pub struct Purging {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    caches: Caches,
    bell: Arc<Bell>,
}

/// Wakes the thread.
#[derive(Default, Debug)]
pub(super) struct Bell {
    state: Mutex<Rung>,
    changed: Condvar,
}

#[derive(Default, Debug)]
struct Rung {
    is_rung: bool,
    stops: bool,
}

impl Bell {
    fn state(&self) -> MutexGuard<'_, Rung> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Never waits for longer than an assignment takes.
    pub(super) fn ring(&self) {
        self.state().is_rung = true;
        self.changed.notify_all();
    }

    fn stop(&self) {
        self.state().stops = true;
        self.changed.notify_all();
    }

    fn stops(&self) -> bool {
        self.state().stops
    }

    /// Waits until it is rung, but no longer than that.
    fn wait(&self, most: Duration) {
        let is_quiet = |state: &mut Rung| !state.is_rung && !state.stops;
        let waited = self.changed.wait_timeout_while(self.state(), most, is_quiet);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_rung = false;
    }
}

impl Purging {
    /// Starts to hear. Nobody is told before [`Self::change`]. `last` reports the end of the thread.
    pub fn start(tenants: watch::Receiver<Arc<Tenants>>, tells: Tells, last: LastWords) -> io::Result<Self> {
        let shared = Arc::new(Shared { caches: Caches::default(), bell: Arc::default() });
        let hears_records = !matches!(tells, Tells::Replica);
        let leading = match tells {
            Tells::Writer(publishing, ledgers) => Some(Leading { publishing, ledgers, term: None }),
            Tells::Alone | Tells::Replica => None,
        };
        let hearing = Hearing::new(Arc::clone(&shared.bell), hears_records);
        let waits = HashMap::new();
        let mut work =
            Work { shared: Arc::clone(&shared), tenants, leading, hearing, waits, faults: Repeated::default() };
        let thread = std::thread::Builder::new().name("purging".into()).spawn(move || {
            let _last = last;
            work.run();
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Tells these caches from now on.
    pub fn change(&self, targets: Vec<Target>) {
        self.shared.caches.change(targets);
        self.shared.bell.ring();
    }

    /// How each of them fares.
    pub fn reports(&self) -> Vec<Report> {
        self.shared.caches.reports()
    }
}

impl Drop for Purging {
    fn drop(&mut self) {
        self.shared.bell.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Of a writer of a feed.
struct Leading {
    publishing: Publishing,
    ledgers: Ledgers,
    /// How often it had led when it was found to lead; `None` if it stands by.
    term: Option<u64>,
}

/// The thread's own.
struct Work {
    shared: Arc<Shared>,
    tenants: watch::Receiver<Arc<Tenants>>,
    leading: Option<Leading>,
    hearing: Hearing,
    /// What the feed does not have yet.
    waits: HashMap<IssuerId, Waits>,
    faults: Repeated,
}

/// What waits of one issuer.
struct Waits {
    tenant: String,
    key: IssuerKey,
    old: Old,
    since: Instant,
}

impl Work {
    fn run(&mut self) {
        let begun = Instant::now();
        loop {
            let pause = if self.waits.is_empty() { limits::LOOK } else { limits::LOOK_WAITING };
            self.shared.bell.wait(pause);
            if self.shared.bell.stops() {
                return;
            }
            if self.shared.caches.is_empty() {
                self.hearing.forget();
                self.waits.clear();
                continue;
            }
            self.turn(begun);
        }
    }

    fn turn(&mut self, begun: Instant) {
        let tenants = Arc::clone(&self.tenants.borrow());
        let leads = self.leads();
        let news = self.hearing.hear(&tenants);
        if !leads {
            self.waits.clear();
            self.shared.caches.leave_to_others();
            return;
        }
        self.shared.caches.begin(&self.hearing.issuers());
        // What was replaced is let go of before anything is waited for.
        drop(tenants);
        if self.leading.is_none() {
            for News { tenant, key, old, since, .. } in news {
                self.shared.caches.tell(tenant.as_deref(), key, &old, since);
            }
            return;
        }
        news.into_iter().for_each(|news| self.wait_for(news));
        self.tell_what_the_feed_has(begun);
    }

    /// Whether this one tells caches. Who begins to lead has told them nothing.
    fn leads(&mut self) -> bool {
        let Some(Leading { publishing, term, .. }) = &mut self.leading else { return true };
        let now = publishing.telling().takes_pushes().is_ok().then(|| publishing.report().led);
        if now.is_some() && term.is_some() && now != *term {
            self.shared.caches.leave_to_others();
            self.waits.clear();
        }
        *term = now;
        now.is_some()
    }

    fn wait_for(&mut self, News { issuer, tenant, key, old, since }: News) {
        let Some(tenant) = tenant else {
            // The feed says nothing more of it.
            self.waits.remove(&issuer);
            return self.shared.caches.tell(None, key, &old, since);
        };
        match self.waits.get_mut(&issuer) {
            None => _ = self.waits.insert(issuer, Waits { tenant, key, old, since }),
            Some(waits) => waits.add(old),
        }
    }

    fn tell_what_the_feed_has(&mut self, begun: Instant) {
        let Some(Leading { publishing, ledgers, .. }) = &self.leading else { return };
        let (telling, ledgers) = (publishing.telling(), ledgers.all());
        let ledger = |issuer: &IssuerId| ledgers.iter().find(|ledger| ledger.id() == issuer);
        let mut fault = None;
        // Each says what it waits for before any is waited for.
        let begin = |(issuer, waits): (IssuerId, Waits)| {
            let ledger = ledger(&issuer)?;
            let told = telling.begin(ledger, waits.serials());
            Some((issuer, waits, ledger, told))
        };
        let asked: Vec<_> = self.waits.drain().filter_map(begin).collect();
        let mut left = HashMap::new();
        for (issuer, waits, ledger, told) in asked {
            let told = told.and_then(|begun| begun.wait(&waits.serials()));
            let told = told.and_then(|()| waits.is_all_told(ledger));
            match told {
                // Replicas have it from the feed, whoever else has not.
                Ok(true) | Err(NotTold::AtFew { .. }) => {
                    self.shared.caches.tell(Some(&waits.tenant), waits.key, &waits.old, waits.since);
                }
                Ok(false) | Err(NotTold::Late(_)) => _ = left.insert(issuer, waits),
                Err(NotTold::Book(error)) => {
                    fault = Some(error);
                    left.insert(issuer, waits);
                }
                // Whoever leads now tells of it.
                Err(NotTold::StandsBy(_) | NotTold::Begins | NotTold::Deposed(_)) => {}
            }
        }
        self.waits = left;
        if let Some(error) = fault
            && let Some(more) = self.faults.news(begun.elapsed())
        {
            warn!(more, %error, "whether the feed has what caches are to be told of cannot be seen; they are told once it can");
        }
    }
}

impl Waits {
    fn add(&mut self, more: Old) {
        match (&mut self.old, more) {
            (Old::These { pressing, others }, Old::These { pressing: more, others: more_others })
                if pressing.len() + others.len() + more.len() + more_others.len() <= limits::SERIALS_TOLD_MAX =>
            {
                pressing.extend(more);
                others.extend(more_others);
            }
            (old, _) => *old = Old::All,
        }
    }

    fn serials(&self) -> Vec<Serial> {
        match &self.old {
            Old::These { pressing, others } => [&pressing[..], others].concat(),
            Old::Crls | Old::All => Vec::new(),
        }
    }

    /// Whether the feed has all of it, of an issuer that is to be purged as a whole.
    fn is_all_told(&self, ledger: &Ledger) -> Result<bool, NotTold> {
        if self.old == Old::All { ledger.is_all_told().map_err(NotTold::Book) } else { Ok(true) }
    }
}
