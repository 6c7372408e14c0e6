//! One serving thread: its ring, its listeners, its connections.
//!
//! Invariant: nothing here is shared with another worker but what is read without a lock, and
//! nothing waits but for the kernel. It does not know what is answered.

use std::{
    cell::{Cell, RefCell},
    io,
    net::TcpListener as StdListener,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use monoio::{
    LegacyDriver, RuntimeBuilder,
    io::Canceller,
    net::{TcpListener, TcpStream},
    time::sleep,
};
use precompute::pki::UnixTime;
use slab::Slab;
use tokio::sync::watch;
use tracing::{info, warn};

use super::{
    connection::{self, Watched},
    ring,
};
use crate::{limits, metrics::Counters, ocsp::miss::Misses, site::Site};

/// What all connections of one thread share.
pub struct Worker {
    /// Whom is answered for.
    pub site: Arc<Site>,
    /// Answers kept and answers signed.
    pub misses: Arc<Misses>,
    /// This thread's counters.
    pub counters: Arc<Counters>,
    /// Room to decode in.
    pub scratch: RefCell<Scratch>,
    connections: RefCell<Slab<Rc<Watched>>>,
    connections_max: usize,
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

/// What a worker is started with.
#[derive(Debug)]
pub struct Start {
    /// Its place among the workers.
    pub number: usize,
    /// Its own listeners.
    pub listeners: Vec<StdListener>,
    /// See [`Worker`].
    pub site: Arc<Site>,
    /// See [`Worker`].
    pub misses: Arc<Misses>,
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
            runtime.block_on(Worker::serve(start, ready))
        }
        Err(error) => {
            if number == 0 {
                warn!(driver = "epoll", %error, "io_uring is refused here (sysctl kernel.io_uring_disabled, seccomp or memlock limit?); workers run slower on epoll");
            }
            // A ring waits in the kernel; epoll needs calls that return.
            for listener in &start.listeners {
                listener.set_nonblocking(true)?;
            }
            let mut runtime = RuntimeBuilder::<LegacyDriver>::new().enable_timer().build()?;
            runtime.block_on(Worker::serve(start, ready))
        }
    }
}

impl Worker {
    async fn serve(start: Start, ready: impl FnOnce()) -> io::Result<()> {
        let worker = Rc::new(Self {
            site: start.site,
            misses: start.misses,
            counters: start.counters,
            scratch: RefCell::default(),
            connections: RefCell::default(),
            connections_max: start.connections_max,
            tick: Cell::new(0),
            draining: Cell::new(false),
            date: Cell::new((u64::MAX, [0; 29])),
        });
        let accepting = Canceller::new();
        for listener in start.listeners {
            let listener = TcpListener::from_std(listener)?;
            monoio::spawn(Self::accept(Rc::clone(&worker), listener, accepting.handle()));
        }
        monoio::spawn(Self::keep_time(Rc::clone(&worker)));
        ready();
        let mut stop = start.stop;
        // A sender that has gone away has stopped, too.
        let _ = stop.wait_for(|stop| *stop).await;
        drop(accepting.cancel());
        worker.drain().await;
        Ok(())
    }

    async fn accept(worker: Rc<Self>, listener: TcpListener, cancel: monoio::io::CancelHandle) {
        while !worker.draining.get() {
            match listener.cancelable_accept(cancel.clone()).await {
                Ok((stream, _)) => Self::take(&worker, stream),
                Err(_) if worker.draining.get() => break,
                Err(error) if error.raw_os_error() == Some(ECANCELED) => break,
                Err(error) => {
                    // Out of descriptors or memory: those who wait are served when others have gone.
                    warn!(%error, "a connection could not be accepted");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn take(worker: &Rc<Self>, stream: TcpStream) {
        let mut connections = worker.connections.borrow_mut();
        if connections.len() >= worker.connections_max {
            worker.counters.turned_away.fetch_add(1, Relaxed);
            return;
        }
        // Answers are small and whole; waiting to fill a segment would only delay them.
        let _ = stream.set_nodelay(true);
        let watched = Rc::new(Watched::new(worker.tick.get()));
        let key = connections.insert(Rc::clone(&watched));
        worker.counters.accepted.fetch_add(1, Relaxed);
        worker.counters.open.fetch_add(1, Relaxed);
        let worker = Rc::clone(worker);
        monoio::spawn(async move {
            connection::serve(Rc::clone(&worker), stream, watched).await;
            worker.connections.borrow_mut().remove(key);
            worker.counters.open.fetch_sub(1, Relaxed);
        });
    }

    /// Counts seconds, and ends what is overdue.
    async fn keep_time(worker: Rc<Self>) {
        loop {
            sleep(Duration::from_secs(1)).await;
            let tick = worker.tick.get().wrapping_add(1);
            worker.tick.set(tick);
            // Cancelling can run the connection's end, which takes it off the list.
            let overdue: Vec<_> = worker
                .connections
                .borrow()
                .iter()
                .filter(|(_, w)| w.is_overdue(tick))
                .map(|(_, w)| Rc::clone(w))
                .collect();
            worker.counters.expired.fetch_add(overdue.len() as u64, Relaxed);
            overdue.iter().for_each(|watched| watched.cancel());
        }
    }

    /// Lets what is under way end, and ends what is idle.
    async fn drain(&self) {
        self.draining.set(true);
        let deadline = monoio::time::Instant::now() + limits::DRAIN_DEADLINE;
        while !self.connections.borrow().is_empty() && monoio::time::Instant::now() < deadline {
            let idle: Vec<_> =
                self.connections.borrow().iter().filter(|(_, w)| w.is_idle()).map(|(_, w)| Rc::clone(w)).collect();
            idle.iter().for_each(|watched| watched.cancel());
            sleep(Duration::from_millis(20)).await;
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

/// What a cancelled operation ends with.
const ECANCELED: i32 = 125;
