//! One serving thread, from its ring to the end of its last connection.
//!
//! Invariant: nothing here waits for anything except the kernel. It does not know what is answered.

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
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use super::{
    accept::{self, Listener},
    balance::{Accepted, Balance},
    buffers::Buffers,
    counters::Counters,
    deadline::End,
    http::date::Dates,
    idle_eviction::IdleEviction,
    policy::ConnectionPolicy,
    ring,
    service::Service,
    tls::ServerTls,
    worker::Worker,
};
use crate::limits;

/// The parameters of a worker.
#[derive(Debug)]
pub struct Start {
    /// Its place among the workers.
    pub number: usize,
    /// Its own listeners.
    pub listeners: Vec<Listener>,
    /// The shares of all workers.
    pub balance: Arc<Balance>,
    /// Connections that other workers hand over to this one.
    pub handed: mpsc::Receiver<Accepted>,
    /// How it treats its connections.
    pub policy: ConnectionPolicy,
    /// The TLS configuration, if a listener uses TLS.
    pub tls: Option<Arc<ServerTls>>,
    /// Its counters.
    pub counters: Arc<Counters>,
    /// The maximum number of its connections.
    pub connections_max: usize,
    /// Turns true when the service stops.
    pub stop: watch::Receiver<bool>,
}

/// Lets `service` answer on this thread until it is told to stop and its connections have ended. `ready` is called once
/// connections are accepted.
pub fn run<S: Service>(start: Start, service: S, ready: impl FnOnce()) -> io::Result<()> {
    let number = start.number;
    match ring::build() {
        Ok((flags, mut runtime)) => {
            if number == 0 {
                info!(driver = "io_uring", flags, "workers run");
            }
            runtime.block_on(serve(start, service, false, ready));
        }
        Err(error) => {
            // Mostly all are refused, for one reason. If only a later one is refused, nothing else would report it.
            static TOLD: Once = Once::new();
            TOLD.call_once(|| warn!(driver = "epoll", worker = number, %error, "io_uring is refused here (sysctl kernel.io_uring_disabled, seccomp or memlock limit?); workers run slower on epoll"));
            let mut runtime = RuntimeBuilder::<LegacyDriver>::new().enable_timer().build()?;
            runtime.block_on(serve(start, service, true, ready));
        }
    }
    Ok(())
}

async fn serve<S: Service>(start: Start, service: S, on_epoll: bool, ready: impl FnOnce()) {
    let worker = Rc::new(Worker {
        number: start.number,
        service: Rc::new(service),
        counters: start.counters,
        balance: start.balance,
        outputs: Buffers::new(limits::BUFFERS_KEPT_MAX, limits::BUFFER_KEPT_OCTETS_MAX),
        inputs: Buffers::new(limits::BUFFERS_KEPT_MAX, limits::READ_OCTETS),
        connections: RefCell::default(),
        connections_max: start.connections_max,
        eviction: IdleEviction::default(),
        on_epoll,
        policy: start.policy,
        tls: start.tls,
        tick: Cell::new(0),
        draining: Cell::new(false),
        dates: Dates::default(),
    });
    let listeners: Vec<_> = start.listeners.into_iter().map(|listener| (Rc::new(listener), Rc::default())).collect();
    for (listener, end) in &listeners {
        monoio::spawn(accept::run(Rc::clone(&worker), Rc::clone(listener), Rc::clone(end)));
    }
    monoio::spawn(accept::take_handed(Rc::clone(&worker), start.handed));
    monoio::spawn(keep_time(Rc::clone(&worker)));
    worker.service.start();
    ready();
    let mut stop = start.stop;
    // A sender that is gone means stop, too.
    let _ = stop.wait_for(|stop| *stop).await;
    worker.draining.set(true);
    sleep(worker.policy.drain.delay).await;
    close(&worker, listeners).await;
    worker.balance.accepts_no_more();
    drain(&worker).await;
}

/// Counts seconds, and ends connections that are overdue.
async fn keep_time<S: Service>(worker: Rc<Worker<S>>) {
    loop {
        sleep(Duration::from_secs(1)).await;
        let tick = worker.tick.get().wrapping_add(1);
        worker.tick.set(tick);
        worker.counters.seconds.fetch_add(1, Relaxed);
        let ended = worker.end_those(|watched| watched.is_overdue(tick, &worker.policy.deadlines));
        worker.counters.expired.fetch_add(ended, Relaxed);
    }
}

/// Stops listening without turning away clients that have connected.
async fn close<S: Service>(worker: &Rc<Worker<S>>, listeners: Vec<(Rc<Listener>, Rc<End>)>) {
    let own = || listeners.iter().filter(|(listener, _)| !listener.inherited);
    // The same for each of them; logged once, by the first worker.
    let mut problem = None;
    for (listener, _) in own() {
        problem = accept::refuse_new(listener).err().or(problem);
    }
    match problem.filter(|_| worker.number == 0) {
        Some(error) if error.kind() == io::ErrorKind::PermissionDenied => info!(
            "clients that connect in the last moment may be reset: this kernel lets only a process with CAP_NET_ADMIN turn new connections away before it stops listening. None is reset if a balancer is told before the stop, or if the sockets are those of a systemd socket unit, which keeps listening"
        ),
        Some(error) => warn!(%error, "clients that connect in the last moment may be reset"),
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

/// Lets running requests finish, and ends idle connections.
async fn drain<S: Service>(worker: &Worker<S>) {
    let deadline = Instant::now() + worker.policy.drain.deadline;
    let is_empty = || worker.balance.is_settled() && worker.balance.open(worker.number) == 0;
    while !is_empty() && Instant::now() < deadline {
        let tick = worker.tick.get();
        worker.end_those(|watched| watched.is_quiet(tick));
        sleep(limits::DRAIN_LOOK).await;
    }
}

#[cfg(test)]
mod tests;
