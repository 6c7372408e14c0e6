//! The parts that know, sign and store, which every program that does so is composed of.
//!
//! Purpose: `ostia-precompute run` and `ostia-responder serve` have the same parts inside: sources, book, records,
//! signers, and what signs ahead. [`Service::read`] reads everything; what it read can be served then, and
//! [`Read::start`] starts the threads. A [`Handle`] changes to another configuration.
//!
//! Invariant: something missing at the start is an error. Something lost later is not, except a thread: its loss ends
//! the service, so that it is restarted. When [`Service::end`] returns, everything read and signed is on disk, unless
//! the disk or a source hangs. It does not know sockets, or who asks.

mod change;
mod control;
mod engine_thread;
pub mod following;
mod notify;
mod signer_watch;
mod tenants;
mod threads;

pub use change::{Change, Handle, let_go};
pub use control::{Control, EndSignals, Reloads, Signals};
pub use notify::{ServiceState, notify};
pub use tenants::{Tenant, Tenants};
pub use threads::{LastWords, Running, ThreadLost, Threads};

use std::{error::Error, io, sync::Arc};

use tokio::{
    sync::watch,
    task::{JoinSet, spawn_blocking},
};

use self::engine_thread::EngineThread;
use crate::{
    answers::Answers,
    assemble::Assembly,
    config::Config,
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
    owned: Owned,
}

impl Service {
    /// Opens the book in the state directory, which is this process's, and reads every source.
    pub fn read(assembly: &Assembly, owned: Owned) -> Result<Read, Box<dyn Error>> {
        let engine = engine_thread::read(assembly)?;
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

    /// Starts the periodic tasks.
    pub fn spawn_tasks(&self, tasks: &mut JoinSet<()>) {
        let presigner = Arc::clone(&self.handle.presigner);
        // Answers that other signers have not signed yet are due at once.
        tasks.spawn(signer_watch::watch(self.tenants(), move || presigner.begin_anew()));
        tasks.spawn(remove_expired(Arc::clone(&self.answers)));
    }

    /// Ends its threads: everything read and signed is then on disk.
    pub fn end(self) {
        let Self { engine, handle, ledgers, owned, .. } = self;
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

    /// Starts following the sources and signing ahead, into `answers` and the store. `threads` hears of what ends.
    pub fn start(self, config: &Config, answers: &Arc<Answers>, threads: &Threads) -> io::Result<Service> {
        let Self { engine, tenants, owned } = self;
        let settings = Settings {
            answers: Arc::clone(answers),
            state_dir: config.state_dir.clone(),
            store_octets_max: config.cache.answers_octets.saturating_mul(limits::ANSWER_STORE_FACTOR),
            heard_by: None,
        };
        let presigner = Arc::new(Presigner::start(settings, tenants.borrow().subjects())?);
        let ledgers = engine.ledgers();
        let (orders, engine) = EngineThread::start(engine, threads.last_words("the engine"))?;
        Ok(Service {
            engine,
            handle: Handle { orders, tenants, presigner },
            ledgers,
            answers: Arc::clone(answers),
            owned,
        })
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
