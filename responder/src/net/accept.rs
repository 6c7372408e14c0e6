//! Accepts connections: from this worker's listeners, and from workers that have too many.
//!
//! The kernel reports when a listener has connections. They are then accepted by plain calls until none is left. That
//! is cheaper than asking the ring for each, and gives sockets that can go to another worker. It does not know
//! requests.

use std::{io, net::TcpListener as StdListener, pin::pin, rc::Rc, sync::atomic::Ordering::Relaxed};

use monoio::{net::TcpListener, time::sleep};
use slab::Slab;
use socket2::{SockFilter, SockRef};
use tokio::sync::mpsc;
use tracing::warn;

use super::{
    balance::Accepted,
    connection::Session,
    deadline::{ConnectionState, End},
    service::Service,
    worker::Worker,
};
use crate::limits;

/// A socket that one worker accepts from.
#[derive(Debug)]
pub struct Listener {
    /// Non-blocking.
    pub socket: StdListener,
    /// Whether its connections use TLS.
    pub tls: bool,
    /// Whether other processes have the same socket open and go on listening when this process ends.
    pub inherited: bool,
}

/// Accepts from `listener` until `end`.
pub(super) async fn run<S: Service>(worker: Rc<Worker<S>>, listener: Rc<Listener>, end: Rc<End>) {
    let _ = end.or(pin!(accept(&worker, &listener))).await;
}

async fn accept<S: Service>(worker: &Rc<Worker<S>>, listener: &Listener) -> io::Result<()> {
    let ready = TcpListener::from_std(listener.socket.try_clone()?)?;
    loop {
        if let Err(error) = ready.readable(false).await.and_then(|()| accept_waiting(worker, listener)) {
            // Out of descriptors or memory: waiting clients are served after others have gone.
            warn!(%error, "a connection could not be accepted");
            sleep(limits::ACCEPT_PAUSE).await;
        }
    }
}

/// Accepts the waiting connections, up to the bound of a turn.
pub(super) fn accept_waiting<S: Service>(worker: &Rc<Worker<S>>, listener: &Listener) -> io::Result<()> {
    for _ in 0..limits::ACCEPTS_IN_A_ROW {
        let (stream, peer) = match listener.socket.accept() {
            Ok(accepted) => accepted,
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => return Ok(()),
                // This client has gone already; there may be others.
                io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => continue,
                _ => return Err(error),
            },
        };
        worker.counters.accepted.fetch_add(1, Relaxed);
        let accepted = Accepted { stream, peer, tls: listener.tls };
        match worker.balance.place(worker.number, accepted) {
            Some(accepted) => take(worker, accepted),
            None => {
                worker.counters.handed_over.fetch_add(1, Relaxed);
            }
        }
    }
    Ok(())
}

/// Takes connections that other workers hand over, as long as this worker runs.
pub(super) async fn take_handed<S: Service>(worker: Rc<Worker<S>>, mut handed: mpsc::Receiver<Accepted>) {
    while let Some(accepted) = handed.recv().await {
        take(&worker, accepted);
    }
}

/// Serves a connection that is already counted in this worker's share.
fn take<S: Service>(worker: &Rc<Worker<S>>, accepted: Accepted) {
    let policy = &worker.policy;
    if policy.proxy_protocol && !policy.trusted.contains(accepted.peer.ip()) {
        worker.counters.untrusted.fetch_add(1, Relaxed);
        worker.balance.left(worker.number);
        return;
    }
    let mut connections = worker.connections.borrow_mut();
    let surplus = (connections.len() + 1).saturating_sub(worker.connections_max);
    // Connections that were ended for others may still be open.
    if surplus > limits::ACCEPTS_IN_A_ROW || surplus > 0 && !make_room(worker, &connections) {
        worker.counters.turned_away.fetch_add(1, Relaxed);
        worker.balance.left(worker.number);
        return;
    }
    let watched = Rc::new(ConnectionState::new(worker.tick.get()));
    let key = connections.insert(Rc::clone(&watched));
    worker.counters.open.fetch_add(1, Relaxed);
    let leave = Leave { worker: Rc::clone(worker), key };
    let worker = Rc::clone(worker);
    let Accepted { stream, peer, tls } = accepted;
    // However a connection ends, its client has gone or has to go; there is nobody to report to.
    if tls {
        monoio::spawn(async move {
            let _leave = leave;
            let serving = pin!(Session::new(&worker, &watched, peer).serve_tls(stream));
            let _ = watched.end.or(serving).await;
        });
    } else {
        monoio::spawn(async move {
            let _leave = leave;
            let serving = pin!(Session::new(&worker, &watched, peer).serve_tcp(stream));
            let _ = watched.end.or(serving).await;
        });
    }
}

/// Ends the connection that has been idle longest; false if all are busy.
fn make_room<S: Service>(worker: &Worker<S>, connections: &Slab<Rc<ConnectionState>>) -> bool {
    let made = worker.eviction.make_room(connections, worker.tick.get());
    worker.counters.displaced.fetch_add(u64::from(made), Relaxed);
    made
}

/// Removes a connection from the list and from its share.
struct Leave<S: Service> {
    worker: Rc<Worker<S>>,
    key: usize,
}

impl<S: Service> Drop for Leave<S> {
    fn drop(&mut self) {
        self.worker.connections.borrow_mut().remove(self.key);
        self.worker.counters.open.fetch_sub(1, Relaxed);
        self.worker.balance.left(self.worker.number);
    }
}

/// From now on no client can begin to connect to `listener`, but a client that has begun can finish: its request may be
/// on the way. A refused client tries again after a second, and by then finds another server or none. Linux used to
/// accept such filters from any process; recent kernels require CAP_NET_ADMIN for TCP, which is too much to ask for.
pub(super) fn refuse_new(listener: &Listener) -> io::Result<()> {
    // The TCP flags are in byte 13: a segment with SYN and without ACK is dropped, all others pass.
    let [load_octet, and, jump_if_equal, give] = [0x30, 0x54, 0x15, 0x06];
    let program = [
        SockFilter::new(load_octet, 0, 0, 13),
        SockFilter::new(and, 0, 0, 0x12),
        SockFilter::new(jump_if_equal, 0, 1, 0x02),
        SockFilter::new(give, 0, 0, 0),
        SockFilter::new(give, 0, 0, u32::MAX),
    ];
    SockRef::from(&listener.socket).attach_filter(&program)
}
