//! One serving thread: its ring, its listeners, its connections.
//!
//! Invariant: nothing here is shared with another worker but what is read without a lock, and
//! nothing waits but for the kernel. It does not know what is answered.

use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
    sync::{Arc, Once, atomic::Ordering::Relaxed},
    time::Duration,
};

use monoio::{
    LegacyDriver, RuntimeBuilder,
    time::{Instant, sleep},
};
use precompute::pki::UnixTime;
use rustls::ServerConfig;
use slab::Slab;
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use super::{
    accept::{self, Listener},
    balance::{Accepted, Balance},
    buffers::Buffers,
    client::Trusted,
    deadline::{Deadlines, End, Watched},
    idle_eviction::IdleEviction,
    ring,
};
use crate::{
    access::{Line, Sampler},
    desk::turns::Turns,
    front::time_stamps,
    limits,
    metrics::Counters,
    ocsp::{budget::Budget, miss::Misses},
    site::Site,
    tsa::{record::Recorder, serial::Serials},
};

/// What all connections of one thread share.
pub struct Worker {
    /// Its place among the workers.
    pub number: usize,
    #[allow(clippy::redundant_allocation)] // this thread's owners are counted apart from the others'
    site: RefCell<Rc<Arc<Site>>>,
    /// Answers kept and answers signed.
    pub misses: Arc<Misses>,
    /// This thread's counters.
    pub counters: Arc<Counters>,
    /// Room to decode in.
    pub scratch: RefCell<Scratch>,
    /// Room to make tokens in.
    pub(crate) stamp_scratch: RefCell<time_stamps::Scratch>,
    /// When tokens are signed.
    pub(crate) turns: Turns,
    /// The numbers of tokens.
    pub(crate) serials: RefCell<Serials>,
    /// Where tokens are recorded.
    pub(crate) recorder: Option<Recorder>,
    /// Time for answers that serve one client alone.
    pub budget: Cell<Budget>,
    /// Which requests are told in the log.
    pub access: Sampler,
    /// The shares of all workers.
    pub(crate) balance: Arc<Balance>,
    /// Room to answer in.
    pub(crate) buffers: Buffers,
    /// Room to read in.
    pub(crate) inputs: Buffers,
    pub(crate) connections: RefCell<Slab<Rc<Watched>>>,
    pub(crate) connections_max: usize,
    pub(crate) eviction: IdleEviction,
    /// Whether io_uring was refused.
    pub(crate) on_epoll: bool,
    pub(crate) connection_policy: ConnectionPolicy,
    pub(crate) tls: Option<Arc<ServerConfig>>,
    tick: Cell<u32>,
    draining: Cell<bool>,
    date: Cell<(u64, Date)>,
}

/// Buffers of one request, reused by the next.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Base64 symbols of a GET.
    pub symbols: Vec<u8>,
    /// The request's DER.
    pub der: Vec<u8>,
    /// A kept signature, packed and unpacked.
    pub packed: Vec<u8>,
    /// See `packed`.
    pub signature: Vec<u8>,
}

/// An IMF-fixdate.
pub type Date = [u8; 29];

/// How clients are treated.
#[derive(Clone, Debug, Default)]
pub struct ConnectionPolicy {
    /// How long they may take.
    pub deadlines: Deadlines,
    /// How they are let go.
    pub drain: Drain,
    /// Whose word about addresses is taken.
    pub trusted: Trusted,
    /// Whether every connection begins with a PROXY header, and comes from a trusted network.
    pub proxy_protocol: bool,
}

/// How a worker ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Drain {
    /// How long new connections are still taken after the end was announced.
    pub delay: Duration,
    /// How long connections get to end after that.
    pub deadline: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self { delay: Duration::ZERO, deadline: limits::DRAIN_DEADLINE }
    }
}

/// What a worker is started with.
#[derive(Debug)]
pub struct Start {
    /// Its place among the workers.
    pub number: usize,
    /// Its own listeners.
    pub listeners: Vec<Listener>,
    /// The shares of all workers.
    pub balance: Arc<Balance>,
    /// What the others hand over to this one.
    pub handed: mpsc::Receiver<Accepted>,
    /// How it treats its clients.
    pub connection_policy: ConnectionPolicy,
    /// See [`Worker`].
    pub access: Sampler,
    /// What TLS is spoken with, where a listener speaks it.
    pub tls: Option<Arc<ServerConfig>>,
    /// Whom is answered for, now and after each change.
    pub sites: watch::Receiver<Arc<Site>>,
    /// See [`Worker`].
    pub misses: Arc<Misses>,
    /// Where its tokens are recorded.
    pub recorder: Option<Recorder>,
    /// See [`Worker`].
    pub counters: Arc<Counters>,
    /// Connections that it may have at once.
    pub connections_max: usize,
    /// Turns true when the service stops.
    pub stop: watch::Receiver<bool>,
}

/// Runs a worker on this thread until it is told to stop and its connections have ended. `ready` is called
/// once it accepts.
pub fn run(start: Start, ready: impl FnOnce()) -> io::Result<()> {
    let number = start.number;
    match ring::build() {
        Ok((flags, mut runtime)) => {
            if number == 0 {
                info!(driver = "io_uring", flags, "workers run");
            }
            runtime.block_on(Worker::serve(start, false, ready))
        }
        Err(error) => {
            // Mostly all of them are refused, and for one reason; where only a later one is, nobody else would tell.
            static TOLD: Once = Once::new();
            TOLD.call_once(|| warn!(driver = "epoll", worker = number, %error, "io_uring is refused here (sysctl kernel.io_uring_disabled, seccomp or memlock limit?); workers run slower on epoll"));
            let mut runtime = RuntimeBuilder::<LegacyDriver>::new().enable_timer().build()?;
            runtime.block_on(Worker::serve(start, true, ready))
        }
    }
}

impl Worker {
    async fn serve(start: Start, on_epoll: bool, ready: impl FnOnce()) -> io::Result<()> {
        let worker = Rc::new(Self {
            number: start.number,
            site: RefCell::new(Rc::new(Arc::clone(&start.sites.borrow()))),
            misses: start.misses,
            counters: start.counters,
            scratch: RefCell::default(),
            stamp_scratch: RefCell::default(),
            turns: Turns::default(),
            serials: RefCell::new(Serials::new()?),
            recorder: start.recorder,
            access: start.access,
            budget: Cell::new(Budget::new(std::time::Instant::now())),
            balance: start.balance,
            buffers: Buffers::new(limits::BUFFERS_KEPT_MAX, limits::BUFFER_KEPT_OCTETS_MAX),
            inputs: Buffers::new(limits::BUFFERS_KEPT_MAX, limits::READ_OCTETS),
            connections: RefCell::default(),
            connections_max: start.connections_max,
            eviction: IdleEviction::default(),
            on_epoll,
            connection_policy: start.connection_policy,
            tls: start.tls,
            tick: Cell::new(0),
            draining: Cell::new(false),
            date: Cell::new((u64::MAX, [0; 29])),
        });
        let listeners: Vec<_> =
            start.listeners.into_iter().map(|listener| (Rc::new(listener), Rc::default())).collect();
        for (listener, end) in &listeners {
            monoio::spawn(accept::run(Rc::clone(&worker), Rc::clone(listener), Rc::clone(end)));
        }
        monoio::spawn(accept::take_handed(Rc::clone(&worker), start.handed));
        monoio::spawn(Self::keep_time(Rc::clone(&worker)));
        monoio::spawn(Self::begin_turns(Rc::clone(&worker)));
        monoio::spawn(Self::follow(Rc::clone(&worker), start.sites));
        ready();
        let mut stop = start.stop;
        // A sender that has gone away has stopped, too.
        let _ = stop.wait_for(|stop| *stop).await;
        worker.draining.set(true);
        sleep(worker.connection_policy.drain.delay).await;
        Self::close(&worker, listeners).await;
        worker.balance.accepts_no_more();
        worker.drain().await;
        Ok(())
    }

    async fn begin_turns(worker: Rc<Self>) {
        if let Err(error) = worker.turns.run().await {
            error!(%error, "no more time-stamps are signed on this thread");
        }
    }

    /// Goes over to each changed site.
    async fn follow(worker: Rc<Self>, mut sites: watch::Receiver<Arc<Site>>) {
        while sites.changed().await.is_ok() {
            let site = Arc::clone(&sites.borrow_and_update());
            worker.site.replace(Rc::new(site));
        }
    }

    /// Whom is answered for. A request that has begun goes on with the site that it began with; counting the owners
    /// of that takes nothing from other threads.
    #[allow(clippy::redundant_allocation)]
    pub fn site(&self) -> Rc<Arc<Site>> {
        Rc::clone(&self.site.borrow())
    }

    /// Has the log told of a request, where its writer keeps up.
    pub(crate) fn tell(&self, line: Line) {
        if !self.access.tell(line) {
            self.counters.access_lost.fetch_add(1, Relaxed);
        }
    }

    /// Counts seconds, and ends what is overdue.
    async fn keep_time(worker: Rc<Self>) {
        loop {
            sleep(Duration::from_secs(1)).await;
            let tick = worker.tick.get().wrapping_add(1);
            worker.tick.set(tick);
            let ended = worker.end_those(|watched| watched.is_overdue(tick, &worker.connection_policy.deadlines));
            worker.counters.expired.fetch_add(ended, Relaxed);
        }
    }

    /// Ends connections, and says how many.
    fn end_those(&self, which: impl Fn(&Watched) -> bool) -> u64 {
        let connections = self.connections.borrow();
        connections.iter().filter(|(_, watched)| which(watched)).map(|(_, watched)| watched.end.end()).count() as u64
    }

    /// Stops listening without turning away anybody who has connected.
    async fn close(worker: &Rc<Self>, listeners: Vec<(Rc<Listener>, Rc<End>)>) {
        let own = || listeners.iter().filter(|(listener, _)| !listener.inherited);
        // For each of them the same; told once, by the first worker.
        let mut problem = None;
        for (listener, _) in own() {
            problem = accept::refuse_new(listener).err().or(problem);
        }
        match problem.filter(|_| worker.number == 0) {
            Some(error) if error.kind() == io::ErrorKind::PermissionDenied => info!(
                "who connects in the last moment may be reset: this kernel lets only a process with CAP_NET_ADMIN turn \
                 new connections away before it stops listening. Nobody is reset where a balancer is told before the \
                 stop, or where the sockets are those of a systemd socket unit, which goes on listening"
            ),
            Some(error) => warn!(%error, "who connects in the last moment may be reset"),
            None => {}
        }
        if own().next().is_some() {
            sleep(limits::HANDSHAKE_ALLOWANCE).await;
        }
        listeners.iter().for_each(|(_, end)| end.end());
        for (listener, _) in own() {
            if let Err(error) = accept::accept_waiting(worker, listener) {
                warn!(%error, "a connection could not be accepted");
            }
        }
    }

    /// Lets what is under way end, and ends what is idle.
    async fn drain(&self) {
        let deadline = Instant::now() + self.connection_policy.drain.deadline;
        let is_empty = || self.balance.is_settled() && self.balance.open(self.number) == 0;
        while !is_empty() && Instant::now() < deadline {
            let tick = self.tick();
            self.end_those(|watched| watched.is_quiet(tick));
            sleep(limits::DRAIN_LOOK).await;
        }
    }

    /// Seconds that this worker has counted.
    pub fn tick(&self) -> u32 {
        self.tick.get()
    }

    /// Whether connections are to end after their present request.
    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// A time as IMF-fixdate, written once a second.
    pub fn date(&self, now: UnixTime) -> Date {
        let (second, date) = self.date.get();
        if second == now.0 {
            return date;
        }
        let text = httpdate::fmt_http_date(now.into());
        let date = text.as_bytes().try_into().unwrap_or(date);
        self.date.set((now.0, date));
        date
    }
}
