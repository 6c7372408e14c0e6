//! Taking connections in: from this worker's listeners, and from workers that have too many.
//!
//! The kernel says when a listener has connections; then they are accepted by plain calls until none is
//! left, which is cheaper than asking the ring for each, and gives sockets that can go to another worker.

use std::{io, net::TcpListener as StdListener, pin::pin, rc::Rc, sync::atomic::Ordering::Relaxed};

use monoio::{net::TcpListener, time::sleep};
use slab::Slab;
use socket2::{SockFilter, SockRef};
use tokio::sync::mpsc;
use tracing::warn;

use super::{
    balance::Accepted,
    connection::Session,
    deadline::{End, Watched},
    service::Service,
    worker::Worker,
};
use crate::limits;

/// A socket that one worker accepts from.
#[derive(Debug)]
pub struct Listener {
    /// Non-blocking.
    pub socket: StdListener,
    /// Whether TLS is spoken on its connections.
    pub tls: bool,
    /// Whether others have the same socket open, who go on listening when this process ends.
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
            // Out of descriptors or memory: those who wait are served when others have gone.
            warn!(%error, "a connection could not be accepted");
            sleep(limits::ACCEPT_PAUSE).await;
        }
    }
}

/// Accepts what waits now, up to the bound of a turn.
pub(super) fn accept_waiting<S: Service>(worker: &Rc<Worker<S>>, listener: &Listener) -> io::Result<()> {
    for _ in 0..limits::ACCEPTS_IN_A_ROW {
        let (stream, peer) = match listener.socket.accept() {
            Ok(accepted) => accepted,
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => return Ok(()),
                // The client has gone already; there may be others.
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

/// Takes what other workers hand over, as long as this worker runs.
pub(super) async fn take_handed<S: Service>(worker: Rc<Worker<S>>, mut handed: mpsc::Receiver<Accepted>) {
    while let Some(accepted) = handed.recv().await {
        take(&worker, accepted);
    }
}

/// Serves a connection that is counted in this worker's share.
fn take<S: Service>(worker: &Rc<Worker<S>>, accepted: Accepted) {
    let policy = &worker.policy;
    if policy.proxy_protocol && !policy.trusted.contains(accepted.peer.ip()) {
        worker.counters.untrusted.fetch_add(1, Relaxed);
        worker.balance.left(worker.number);
        return;
    }
    let mut connections = worker.connections.borrow_mut();
    let surplus = (connections.len() + 1).saturating_sub(worker.connections_max);
    // Those that were ended for others are still to go.
    if surplus > limits::ACCEPTS_IN_A_ROW || surplus > 0 && !make_room(worker, &connections) {
        worker.counters.turned_away.fetch_add(1, Relaxed);
        worker.balance.left(worker.number);
        return;
    }
    let watched = Rc::new(Watched::new(worker.tick.get()));
    let key = connections.insert(Rc::clone(&watched));
    worker.counters.open.fetch_add(1, Relaxed);
    let leave = Leave { worker: Rc::clone(worker), key };
    let worker = Rc::clone(worker);
    let Accepted { stream, peer, tls } = accepted;
    // Whatever ends a connection, the client has gone or is to go; there is nobody to tell.
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

/// Ends the connection that has been idle longest; false where all are at work.
fn make_room<S: Service>(worker: &Worker<S>, connections: &Slab<Rc<Watched>>) -> bool {
    let made = worker.eviction.make_room(connections, worker.tick.get());
    worker.counters.displaced.fetch_add(u64::from(made), Relaxed);
    made
}

/// Takes a connection off the list and out of its share.
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

/// From now on nobody can begin to connect to `listener`, while those who have begun still can end what
/// they began: their requests may be on the way. Who tries tries again in a second, and by then finds another
/// server or none. Linux has taken such filters from anybody; kernels of late take them for TCP with CAP_NET_ADMIN alone,
/// which is too much to ask for.
pub(super) fn refuse_new(listener: &Listener) -> io::Result<()> {
    // The TCP flags are in the byte at 13: a segment with SYN and without ACK is dropped, all others pass.
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
