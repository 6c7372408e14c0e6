//! The parts of a replica beside serving: it follows the feed in place of sources and a book.
//!
//! Purpose: what [`Service`](super::Service) is to a program that reads sources, this is to one that reads a feed: states
//! of issuers to answer from, and threads that keep them up to date. [`Following::open`] makes both, and
//! [`Opened::start`] starts the threads. Nothing is known at first: every certificate gets `tryLater` until everything was
//! compared with a snapshot. A [`FeedHandle`] changes to another configuration.
//!
//! Invariants: what an entry says is served as soon as it came, whatever is fetched beside; losing Redis or the writer
//! costs nothing of what is known; an issuer that a reload adds is not answered for until what was told of it before is
//! here. It does not know sockets for relying parties, or who asks.
//!
//! `follower` is the thread that reads, `loading` takes the answers of a snapshot beside it, `speaking` knows of which
//! issuers the writer goes on speaking, `told` is what operators hear, and [`remarks`](crate::log::remarks) when the log does.

mod follower;
mod level;
mod loading;
mod news;
mod speaking;
mod told;

use std::{
    collections::HashMap,
    error::Error,
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Instant,
};

use tokio::{
    sync::{oneshot, watch},
    task::JoinSet,
};
use tracing::warn;

use self::follower::{Adoption, Follower, Side};
pub use self::told::{FeedReport, FeedStatus};
use super::{
    Tenants, Threads,
    change::STOPPING,
    let_go, remove_expired, rim,
    sharing::{Sharing, SharingThreads},
    signer_watch,
};
use crate::{
    answers::Answers,
    assemble::{AssembledFeed, Assembly, FeedFiles},
    feed::{
        Issuer, Reader,
        carrier::Carrier,
        poll::{Polled, Tail},
        redis::{Address, Stream},
        replica::Replica,
        shelf::{Chunks, Directory, Fetcher, Journal},
    },
    issuer::ActiveIssuer,
    ledger::{IssuerState, States},
    presign::{Received, SoFar},
    records::RecordsWriter,
    state_dir::Owned,
    transparency::Tap,
};

/// What follows the feed, before its threads are started.
#[derive(Debug)]
pub struct Opened {
    feed: AssembledFeed,
    replica: Replica,
    tenants: watch::Sender<Arc<Tenants>>,
    directory: Option<Directory>,
    owned: Owned,
}

/// What follows the feed.
#[derive(Debug)]
pub struct Following {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
    handle: FeedHandle,
    status: Arc<FeedStatus>,
    answers: Arc<Answers>,
    sharing: Option<SharingThreads>,
    /// Gives out the feed itself, if somebody may ask for it.
    tail: Option<Tail>,
    directory: Option<Directory>,
    chunks: Chunks,
    /// Let go of last.
    _owned: Owned,
}

/// Gives what follows a feed another configuration.
#[derive(Clone, Debug)]
pub struct FeedHandle {
    orders: mpsc::Sender<Adoption>,
    tenants: watch::Sender<Arc<Tenants>>,
    answers: Arc<Answers>,
    so_far: Arc<SoFar>,
    /// Where it is stated what is shown, if that is to be proven.
    tap: Option<Arc<Tap>>,
    /// What the files of `[feed]` held at the start.
    files: Arc<FeedFiles>,
}

/// A change that can be adopted. Dropped, nothing has changed.
#[derive(Debug)]
pub struct FeedChange {
    tenants: Arc<Tenants>,
    added: Vec<(IssuerState, RecordsWriter)>,
    /// What of it waits for the next start, a line each.
    pub warnings: Vec<String>,
}

impl Following {
    /// Makes states without records for every issuer, and opens the directory of snapshots. The error is for the user.
    pub fn open(assembly: &Assembly, feed: AssembledFeed, owned: Owned) -> Result<Opened, Box<dyn Error>> {
        let replica = Replica::new(assembly.issuers().map(|(_, issuer)| issuer.id.clone()));
        let tenants = Arc::new(Tenants::new(assembly, &replica.states(), None)?);
        let directory = open_directory(&assembly.state_dir, &feed);
        Ok(Opened { feed, replica, tenants: watch::channel(tenants).0, directory, owned })
    }

    /// For a reload.
    pub fn handle(&self) -> &FeedHandle {
        &self.handle
    }

    /// The tenants, now and after each change.
    pub fn tenants(&self) -> watch::Receiver<Arc<Tenants>> {
        self.handle.tenants.subscribe()
    }

    /// How it fares.
    pub fn status(&self) -> &Arc<FeedStatus> {
        &self.status
    }

    /// The snapshots that can be given out, if there is a directory for them.
    pub fn snapshots(&self) -> Option<&Directory> {
        self.directory.as_ref()
    }

    /// What gives out the feed itself, beside snapshots.
    pub fn tail(&self) -> Option<&Tail> {
        self.tail.as_ref()
    }

    /// Answers that are shared with other replicas, if they are.
    pub fn sharing(&self) -> Option<&Sharing> {
        self.sharing.as_ref().map(SharingThreads::sharing)
    }

    /// Starts the periodic tasks.
    pub fn spawn_tasks(&self, tasks: &mut JoinSet<()>) {
        // Nothing is signed ahead here.
        tasks.spawn(signer_watch::watch(self.tenants(), || ()));
        tasks.spawn(remove_expired(Arc::clone(&self.answers)));
    }

    /// Ends its threads.
    pub fn end(self) {
        self.stop.store(true, Relaxed);
        let Self { thread, handle, chunks, sharing, .. } = self;
        // Without a disk it waits for chunks, of which each may take minutes.
        chunks.end();
        drop(handle);
        sharing.into_iter().for_each(SharingThreads::end);
        // A panic has been told where it happened.
        let _ = thread.join();
    }
}

impl Opened {
    /// The tenants.
    pub fn tenants(&self) -> Arc<Tenants> {
        Arc::clone(&self.tenants.borrow())
    }

    /// Starts following, with answers into `answers`. `threads` hears of what ends. `tap`: where it is stated what is shown.
    pub fn start(self, answers: &Arc<Answers>, threads: &Threads, tap: Option<Arc<Tap>>) -> io::Result<Following> {
        let Self { feed, replica, tenants, directory, owned } = self;
        let files = Arc::new(FeedFiles::of(&feed));
        let AssembledFeed { cluster, redis, trusted, snapshots, https, shared_answers, .. } = feed;
        let fetcher = Fetcher::start(directory.clone(), &rim::snapshot_sources(&snapshots), &https)?;
        let (so_far, chunks) = (Arc::<SoFar>::default(), fetcher.chunks());
        let from = rim::snapshot_sources(&snapshots);
        let is_polled = redis.address == Address::Polled;
        let stream = Stream::new(redis, &cluster);
        let shares = shared_answers && !is_polled;
        let sharing = shares.then(|| start_sharing(&stream, &tenants.borrow(), threads)).transpose()?;
        let gives = snapshots.listen.is_some() && !is_polled;
        let tail = gives.then(|| Tail::start(&cluster, &stream)).transpose()?;
        let carrier = match is_polled {
            true => Carrier::Polled(Box::new(Polled::new(&cluster, &from, &https))),
            false => stream.into(),
        };
        let address = carrier.places();
        let shared = sharing.as_ref().map(|threads| Arc::clone(threads.sharing().status()));
        let status = FeedStatus::new(cluster.to_string(), address, Arc::clone(&so_far), chunks.clone(), shared);
        let (orders, ordered) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let received = Received::new(answers, tenants.borrow().issuers().map(|(_, issuer)| issuer), &so_far);
        let received = received.stating(tap.clone());
        let names = names(&tenants.borrow());
        let follower = Follower {
            names,
            reader: Reader::new(cluster.clone(), trusted.clone()),
            stream: carrier,
            cluster,
            trusted,
            replica,
            fetcher,
            kept: directory.clone().map(|directory| (directory.clone(), Journal::of(&directory))),
            received: Arc::new(received),
            answers: Arc::clone(answers),
            status: Arc::clone(&status),
            tap: tap.clone(),
            stop: Arc::clone(&stop),
            begun: Instant::now(),
            side: Side::default(),
        };
        let last = threads.last_words("the thread that follows the feed");
        let thread = thread::Builder::new().name("feed".to_owned()).spawn(move || {
            let _last = last;
            follower.run(&ordered);
        })?;
        let handle = FeedHandle { orders, tenants, answers: Arc::clone(answers), so_far, tap, files };
        let answers = Arc::clone(answers);
        Ok(Following { thread, stop, handle, status, answers, sharing, tail, directory, chunks, _owned: owned })
    }
}

impl FeedChange {
    /// The tenants after the change.
    pub fn tenants(&self) -> &Arc<Tenants> {
        &self.tenants
    }
}

impl FeedHandle {
    /// Makes tenants of a configuration: issuers that are here keep what is known of them. The error is for the user.
    pub fn prepare(&self, assembly: &Assembly) -> Result<FeedChange, String> {
        let now = assembly.feed.iter().map(FeedFiles::of);
        let warnings = now.flat_map(|now| self.files.warn_of_changes(&now)).collect();
        let former = Arc::clone(&self.tenants.borrow());
        let mut added = Vec::new();
        let state = |id: &crate::issuer_id::IssuerId| {
            let same = former.issuers().find(|(_, issuer)| issuer.id() == id).map(|(_, issuer)| issuer.state.clone());
            same.unwrap_or_else(|| {
                let (state, writer) = IssuerState::new(id.clone());
                added.push((state.clone(), writer));
                state
            })
        };
        let states: States = assembly.issuers().map(|(_, issuer)| &issuer.id).map(state).collect();
        let tenants = Tenants::new(assembly, &states, Some(&former)).map_err(|error| error.to_string())?;
        Ok(FeedChange { tenants: Arc::new(tenants), added, warnings })
    }

    /// Switches to what was prepared.
    pub async fn adopt(&self, FeedChange { tenants, added, .. }: FeedChange) -> Result<(), String> {
        let issuers = tenants.issuers().map(|(_, issuer)| Issuer::from(issuer.id())).collect();
        let received = Received::new(&self.answers, tenants.issuers().map(|(_, issuer)| issuer), &self.so_far);
        let received = received.stating(self.tap.clone());
        let (adopted, told) = oneshot::channel();
        let names = names(&tenants);
        self.orders.send(Adoption { issuers, added, names, received, adopted }).map_err(|_| STOPPING)?;
        told.await.map_err(|_| STOPPING)?;
        tokio::spawn(let_go(self.tenants.send_replace(tenants)));
        Ok(())
    }
}

/// Starts what shares answers, and connects at once if a signer's key is on a token.
fn start_sharing(stream: &Stream, tenants: &Tenants, threads: &Threads) -> io::Result<SharingThreads> {
    let sharing = Sharing::start(stream.another(), threads)?;
    if tenants.issuers().flat_map(|(_, issuer)| issuer.signers.all()).any(|signer| signer.is_apart()) {
        sharing.sharing().wake();
    }
    Ok(sharing)
}

/// What the configuration calls each issuer.
fn names(tenants: &Tenants) -> HashMap<Issuer, String> {
    let named =
        |(tenant, issuer): (&str, &Arc<ActiveIssuer>)| (Issuer::from(issuer.id()), format!("{tenant}/{}", issuer.name));
    tenants.issuers().map(named).collect()
}

/// A replica without it fetches everything again after a restart, and gives nothing to others.
fn open_directory(state_dir: &Path, feed: &AssembledFeed) -> Option<Directory> {
    rim::open_snapshots(state_dir, feed)
        .inspect_err(|fault| warn!("snapshots are not kept on disk, and are fetched anew after a restart: {fault}"))
        .ok()
}

#[cfg(test)]
mod tests;
