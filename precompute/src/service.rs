//! The parts that know, sign and store, which every program that does so is composed of.
//!
//! Purpose: `ostia-precompute run` and `ostia-responder serve` have the same parts inside: sources, book, records,
//! signers, and what signs ahead. [`Service::read`] reads everything; what it read can be served then, and
//! [`Read::start`] starts the threads. A [`Handle`] changes to another configuration.
//!
//! Invariant: something missing at the start is an error. Something lost later is not, except a thread: its loss ends
//! the service, so that it is restarted. When [`Service::end`] returns, everything read and signed is on disk, unless
//! the disk or a source hangs. It does not know sockets, or who asks.

mod alarms;
mod change;
pub mod configurations;
mod control;
mod engine_thread;
pub mod following;
pub mod keeping;
mod noted;
mod notify;
mod publishing;
mod purging;
pub mod registry;
pub mod reload_socket;
mod renewing;
mod rim;
pub mod sharing;
mod signer_watch;
mod tenants;
mod threads;
pub mod watchdog;

pub use change::{Change, Handle, let_go};
pub use control::{Control, EndSignals, Opens, Reloads, Signals};
pub use notify::{ServiceState, notify};
pub use publishing::{Asked, NotTold, Operator, Publishing, Report as PublishingReport, Telling};
pub use purging::{Purging, Tells};
pub use renewing::Renewer;
pub use rim::{open_snapshots, snapshot_sources};
pub use tenants::{Tenant, Tenants, own_record};
pub use threads::{LastWords, Running, ThreadLost, Threads};

use std::{
    error::Error,
    sync::{Arc, atomic::AtomicBool},
};

use tokio::{
    sync::watch,
    task::{JoinSet, spawn_blocking},
};

use self::{
    engine_thread::EngineThread,
    publishing::{Parts, Prepared, Publisher},
};
use crate::{
    answers::Answers,
    assemble::{AssembledFeed, Assembly},
    config::{Config, SecretFile},
    engine::Engine,
    ledger::Ledgers,
    limits,
    pki::UnixTime,
    presign::{Presigner, Progress, Settings},
    state_dir::Owned,
};

/// A service whose sources were read, before its threads are started.
#[derive(Debug)]
pub struct Read {
    engine: Engine,
    tenants: watch::Sender<Arc<Tenants>>,
    owned: Owned,
}

/// A running service.
#[derive(Debug)]
pub struct Service {
    engine: EngineThread,
    handle: Handle,
    ledgers: Ledgers,
    answers: Arc<Answers>,
    /// Of a writer of a feed.
    publisher: Option<Publisher>,
    publishing: Option<Publishing>,
    owned: Owned,
}

impl Service {
    /// Opens the book in the state directory, which is this process's, and reads every source; that of a writer of a feed
    /// stands by, and reads them once it leads.
    pub fn read(assembly: &Assembly, owned: Owned) -> Result<Read, Box<dyn Error>> {
        let engine = match &assembly.feed {
            Some(_) => engine_thread::stand_by(assembly),
            None => engine_thread::read(assembly),
        };
        let engine = engine.map_err(|error| error.told(assembly, None))?;
        let tenants = Arc::new(Tenants::new(assembly, &engine.states(), None)?);
        Ok(Read { engine, tenants: watch::channel(tenants).0, owned })
    }

    /// For a reload.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The tenants, now and after each change.
    pub fn tenants(&self) -> watch::Receiver<Arc<Tenants>> {
        self.handle.tenants.subscribe()
    }

    /// The ledgers, now and after each change.
    pub fn ledgers(&self) -> Ledgers {
        self.ledgers.clone()
    }

    /// How far signing ahead is.
    pub fn progress(&self) -> &Arc<Progress> {
        self.handle.presigner.progress()
    }

    /// How a writer of a feed fares; `None` where there is no feed.
    pub fn publishing(&self) -> Option<&Publishing> {
        self.publishing.as_ref()
    }

    /// Starts the periodic tasks.
    pub fn spawn_tasks(&self, tasks: &mut JoinSet<()>) {
        let presigner = Arc::clone(&self.handle.presigner);
        // Answers that other signers have not signed yet are due at once.
        tasks.spawn(signer_watch::watch(self.tenants(), move || presigner.begin_anew()));
        tasks.spawn(remove_expired(Arc::clone(&self.answers)));
    }

    /// Ends its threads: everything read and signed is then on disk.
    pub fn end(self) {
        let Self { engine, handle, ledgers, owned, publisher, .. } = self;
        // It resigns first: another writer may lead while this one saves.
        drop(publisher);
        let Handle { orders, presigner, .. } = handle;
        drop(orders);
        let has_ended = engine.end();
        // The directory is let go of last.
        drop((presigner, ledgers));
        if !has_ended {
            // It still writes: the directory is this process's until the process has gone.
            std::mem::forget(owned);
        }
    }
}

impl Read {
    /// The tenants.
    pub fn tenants(&self) -> Arc<Tenants> {
        Arc::clone(&self.tenants.borrow())
    }

    /// Starts following the sources and signing ahead, into `answers` and the store; a writer of the feed `joined` stands
    /// by, and does so while it leads. `threads` hears of what ends.
    pub fn start(
        self,
        config: &Config,
        answers: &Arc<Answers>,
        threads: &Threads,
        joined: Option<AssembledFeed>,
    ) -> Result<Service, Box<dyn Error>> {
        let Self { engine, tenants, owned } = self;
        let prepared = joined.as_ref().map(|feed| Prepared::open(feed, &config.state_dir)).transpose()?;
        let settings = Settings {
            answers: Arc::clone(answers),
            state_dir: config.state_dir.clone(),
            store_octets_max: config.cache.answers_octets.saturating_mul(limits::ANSWER_STORE_FACTOR),
            heard_by: prepared.as_ref().map(Prepared::hears),
        };
        let subjects = if joined.is_some() { Vec::new() } else { tenants.borrow().subjects() };
        let presigner = Arc::new(Presigner::start(settings, subjects)?);
        let ledgers = engine.ledgers();
        let (orders, engine) = EngineThread::start(engine, threads.last_words("the engine"))?;
        let signs = Arc::new(AtomicBool::new(joined.is_none()));
        let handle = Handle { orders, tenants, presigner, signs };
        let parts = |feed| Parts {
            feed,
            server: owned.server_id(),
            ledgers: ledgers.clone(),
            handle: handle.clone(),
            answers: Arc::clone(answers),
            token: config.admin.token_file.as_ref().map(SecretFile::path_now),
        };
        let started = prepared
            .zip(joined)
            .map(|(prepared, feed)| prepared.start(parts(feed), threads.last_words("the writer of the feed")));
        let (publisher, publishing) = started.transpose()?.unzip();
        Ok(Service { engine, handle, ledgers, answers: Arc::clone(answers), publisher, publishing, owned })
    }
}

/// Makes room in the table of answers.
async fn remove_expired(answers: Arc<Answers>) {
    loop {
        tokio::time::sleep(limits::CLEANING_INTERVAL).await;
        let answers = Arc::clone(&answers);
        let clean = move || answers.remove_expired(UnixTime::now());
        let _ = spawn_blocking(clean).await;
    }
}
