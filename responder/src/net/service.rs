//! What a connection hands its requests to.
//!
//! Purpose: let the transport serve without knowing what is served. A service is called for one framed request at a time of
//! each connection, writes one whole response, or none and says that the output has to leave first. It is known by type, so
//! that a call of it is a call of a function, and its future lies within the connection's.

use std::{future::Future, rc::Rc};

use precompute::pki::UnixTime;

use super::{
    client::Client,
    http::{Head, date::Dates, response::Context},
};

/// Who answers the requests of one thread's connections.
pub trait Service: 'static {
    /// Called once on the thread, in its runtime: spawns what it does there beside requests.
    fn start(self: &Rc<Self>) {}

    /// Bytes that a body behind this header section may have.
    fn body_max(&self, head: &Head<'_>) -> usize;

    /// Whether a request is refused whatever its body says; [`Service::respond`] then wants none.
    fn is_refused(&self, head: &Head<'_>) -> bool;

    /// Appends the whole response to one request to `out`, in which responses to earlier requests of the same connection
    /// may stand. They wait as long as this does: who would wait for long writes nothing, and says so.
    fn respond(&self, request: &Request<'_>, out: &mut Vec<u8>) -> impl Future<Output = Responded>;
}

/// A framed request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who asks.
    pub client: &'a Client,
    /// Its header section.
    pub head: &'a Head<'a>,
    /// Its body; empty where it is refused whatever that says.
    pub body: &'a [u8],
    pub(super) keep_alive: bool,
    pub(super) dates: &'a Dates,
}

impl Request<'_> {
    /// What its response has to know.
    #[inline]
    pub fn context(&self, now: UnixTime) -> Context {
        Context::of(self.head, self.keep_alive, self.dates.at(now))
    }
}

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Responded {
    /// The response is in the output, from what there was.
    Kept,
    /// And it was signed for it, which takes as long as several that were not.
    Signed,
    /// Nothing was written: what stands in the output has to leave first. The request is handed over again then.
    OutputFirst,
}
