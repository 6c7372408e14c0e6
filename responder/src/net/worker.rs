//! What all connections of one serving thread share.
//!
//! Invariant: nothing here is shared with another worker except what is read without a lock. It does not know what is
//! answered: the [`Service`] does.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

use precompute::tls::Shown;
use slab::Slab;

use super::{
    balance::Balance,
    buffers::Buffers,
    client::Client,
    counters::Counters,
    deadline::ConnectionState,
    http::{Head, date::Dates},
    idle_eviction::IdleEviction,
    policy::ConnectionPolicy,
    service::{Request, Service},
    tls::ServerTls,
};

/// One serving thread's transport.
pub(super) struct Worker<S: Service> {
    /// Its place among the workers.
    pub(super) number: usize,
    /// Answers requests.
    pub(super) service: Rc<S>,
    pub(super) counters: Arc<Counters>,
    /// The shares of all workers.
    pub(super) balance: Arc<Balance>,
    /// Output buffers.
    pub(super) outputs: Buffers,
    /// Input buffers.
    pub(super) inputs: Buffers,
    pub(super) connections: RefCell<Slab<Rc<ConnectionState>>>,
    pub(super) connections_max: usize,
    pub(super) eviction: IdleEviction,
    /// Whether io_uring was refused.
    pub(super) on_epoll: bool,
    pub(super) policy: ConnectionPolicy,
    pub(super) tls: Option<Arc<ServerTls>>,
    /// Seconds counted so far.
    pub(super) tick: Cell<u32>,
    /// Whether connections have to end after their present request.
    pub(super) draining: Cell<bool>,
    pub(super) dates: Dates,
}

impl<S: Service> Worker<S> {
    /// Ends the connections that `which` selects, and returns how many.
    pub(super) fn end_those(&self, which: impl Fn(&ConnectionState) -> bool) -> u64 {
        let connections = self.connections.borrow();
        connections.iter().filter(|(_, watched)| which(watched)).map(|(_, watched)| watched.end.end()).count() as u64
    }

    /// A request in the form that the service gets.
    pub(super) fn request<'a>(
        &'a self,
        (client, shown): (&'a Client, Option<&'a Shown>),
        head: &'a Head<'a>,
        body: &'a [u8],
        keep_alive: bool,
    ) -> Request<'a> {
        Request { client, shown, head, body, keep_alive, dates: &self.dates }
    }
}
