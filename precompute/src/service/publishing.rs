//! A writer of a feed at work: it stands by or leads, and tells what its ledgers owe.
//!
//! Purpose: one thread steps the [`Writer`] over Redis and the ledgers' book, and does what it says. Invariants:
//!
//! - Sources are read, and pushes taken, only while this writer leads; who stops leading stops both before anything
//!   foreign is applied.
//! - Signs of life wait for nothing: snapshots, sources and debts have threads of their own.
//! - Redis away changes nothing here but that pushes are not acknowledged.
//!
//! `work` is the thread. `telling` is what pushes wait for, `confirmed` who else has to have it; `outgoing` has the answers that wait, `held` those whose records
//! come first, `statuses` when issuers' status is told, `snapshots` makes them, `debts` go to another writer, `events` is what
//! a standby reads, `trouble` whether Redis does what it is asked to, `standbys` who could
//! take over, `operator` what somebody asks of it, `ending` how a writer ends.
//!
//! It does not know what is told of a record, or how one is decided.

mod bell;
mod confirmed;
mod debts;
mod ending;
mod events;
mod held;
mod lacking;
mod operator;
mod outgoing;
mod receiving;
mod retelling;
mod snapshots;
mod standbys;
mod statuses;
mod telling;
mod trouble;
mod work;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use self::{bell::Bell, outgoing::Outgoing, work::Work};
pub use self::{
    operator::{Asked, Operator},
    telling::{NotTold, Telling},
};
use super::{LastWords, change::Handle, rim};
use crate::{
    answers::Answers,
    assemble::AssembledFeed,
    feed::{
        shelf::{Chunks, Directory, ShelfError},
        store::Place,
        writer::Role,
    },
    ledger::Ledgers,
    pki::UnixTime,
    presign::Hears,
    state_dir::ServerId,
};

/// The thread.
#[derive(Debug)]
pub(super) struct Publisher {
    shared: Arc<Shared>,
    chunks: Chunks,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    bell: Bell,
    telling: Arc<Telling>,
    operator: Arc<Operator>,
    outgoing: Arc<Outgoing>,
    report: Mutex<Report>,
}

/// How a writer fares.
#[derive(Clone, Debug)]
pub struct Report {
    /// What it is doing.
    pub role: Role,
    /// The last entry that it has told, or applied.
    pub place: Option<Place>,
    /// Why Redis did not do what it was asked to, until it does.
    pub redis: Option<String>,
    /// When the writer at work gave a sign of life last: how long ago.
    pub heard: Option<Duration>,
    /// Bytes of answers that wait to be told.
    pub answers_waiting: usize,
    /// Entries passed over since the start because nobody trusted signed them for this feed.
    pub refused: u64,
    /// Final revocations that only this writer knows, which wait to be pushed to the one that leads; of very many only the
    /// first.
    pub debts: u64,
    /// How often that one did not take them, since the start.
    pub debts_refused: u64,
    /// Why, until it does.
    pub debts_fault: Option<String>,
    /// Issuers of the feed that are not configured here.
    pub strangers: u64,
    /// Those of them whose tenant and CA are known, in words.
    pub strangers_named: Vec<String>,
    /// Leaderships since the start.
    pub led: u64,
    /// What it lacks while it stands by, and why that does not come.
    pub lacks: Option<String>,
    /// Why there is no newest snapshot: it could not be made, or was changed on disk.
    pub snapshot_fault: Option<String>,
    /// When the last snapshot was made.
    pub snapshot_made: Option<UnixTime>,
    /// Of who leads: how many other writers have all but the last moments on disk.
    pub standbys: Option<usize>,
    /// How many of them have to have what is acknowledged.
    pub standbys_wanted: u32,
    /// Why what is on the disks of standbys cannot be said or read.
    pub standbys_fault: Option<String>,
}

/// What a publisher works with.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) feed: AssembledFeed,
    pub(super) server: ServerId,
    pub(super) ledgers: Ledgers,
    pub(super) handle: Handle,
    pub(super) answers: Arc<Answers>,
    /// The file with the token that the API of every writer takes.
    pub(super) token: Option<PathBuf>,
}

/// What is known of a publisher, for others.
#[derive(Clone, Debug)]
pub struct Publishing {
    shared: Arc<Shared>,
    directory: Directory,
    listen: Option<SocketAddr>,
}

impl Publishing {
    /// How it fares.
    pub fn report(&self) -> Report {
        self.shared.report()
    }

    /// For pushes.
    pub fn telling(&self) -> Arc<Telling> {
        Arc::clone(&self.shared.telling)
    }

    /// For whoever asks it to lead, or to let another one lead.
    pub fn operator(&self) -> Arc<Operator> {
        Arc::clone(&self.shared.operator)
    }

    /// The snapshots that are given out.
    pub fn directory(&self) -> Directory {
        self.directory.clone()
    }

    /// At which address.
    pub fn listen(&self) -> Option<SocketAddr> {
        self.listen
    }
}

impl Shared {
    fn report(&self) -> Report {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, note: impl FnOnce(&mut Report)) {
        note(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// What was made before the thread is started: who signs ahead has to know who hears of it.
#[derive(Debug)]
pub(super) struct Prepared {
    shared: Arc<Shared>,
    directory: Directory,
}

impl Prepared {
    /// Opens the directory of snapshots.
    pub(super) fn open(feed: &AssembledFeed, state_dir: &Path) -> Result<Self, ShelfError> {
        let directory = rim::open_snapshots(state_dir, feed)?;
        let bell = Bell::default();
        let report = Report {
            role: Role::Following,
            place: None,
            redis: None,
            heard: None,
            answers_waiting: 0,
            refused: 0,
            debts: 0,
            debts_refused: 0,
            debts_fault: None,
            strangers: 0,
            strangers_named: Vec::new(),
            led: 0,
            lacks: None,
            snapshot_fault: None,
            snapshot_made: None,
            standbys: None,
            standbys_wanted: feed.acknowledge_standbys,
            standbys_fault: None,
        };
        let shared = Shared {
            stop: AtomicBool::new(false),
            telling: Arc::new(Telling::new(
                bell.clone(),
                feed.acknowledge_within,
                feed.acknowledge_redis_replicas,
                feed.acknowledge_standbys,
            )),
            operator: Arc::new(Operator::new(bell.clone())),
            outgoing: Arc::new(Outgoing::new(bell.clone())),
            bell,
            report: Mutex::new(report),
        };
        Ok(Self { shared: Arc::new(shared), directory })
    }

    /// Who hears of answers that are signed ahead.
    pub(super) fn hears(&self) -> Arc<dyn Hears> {
        Arc::<Outgoing>::clone(&self.shared.outgoing)
    }

    /// Starts to stand by. `last` reports the end of the thread.
    pub(super) fn start(self, parts: Parts, last: LastWords) -> io::Result<(Publisher, Publishing)> {
        let Self { shared, directory } = self;
        let listen = parts.feed.snapshots.listen;
        let work = Work::new(parts, Arc::clone(&shared), directory.clone())?;
        let (chunks, publishing) = (work.chunks(), Publishing { shared: Arc::clone(&shared), directory, listen });
        let thread = std::thread::Builder::new().name("feed".into()).spawn(move || {
            let _last = last;
            work.run();
        })?;
        Ok((Publisher { shared, chunks, thread: Some(thread) }, publishing))
    }
}

impl Drop for Publisher {
    /// What is committed is told if that goes quickly, and another writer need not wait for this one's silence.
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        // Who stands by with a full disk waits for chunks, of which each may take minutes.
        self.chunks.end();
        self.shared.bell.ring();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
