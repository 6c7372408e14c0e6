//! The interface between a connection and what answers its requests.
//!
//! Purpose: lets the transport serve without knowing what is served. A service is called for one framed request at a
//! time of each connection. It writes one whole response, or nothing and asks for the output to be sent first. It is a
//! type parameter, so a call to it is a plain function call, and its future is part of the connection's.

use std::{future::Future, rc::Rc};

use bytes::Bytes;
use precompute::{pki::UnixTime, tls::Shown};

use super::{
    client::Client,
    http::{Head, date::Dates, response::Context},
};

/// Answers the requests of one thread's connections.
pub trait Service: 'static {
    /// Called once on the thread, in its runtime: starts its other tasks there.
    fn start(self: &Rc<Self>) {}

    /// Whether clients of TLS that name this server are asked for a certificate.
    fn asks(&self, _server_name: Option<&str>) -> bool {
        false
    }

    /// The maximum length of a body after this header section.
    fn body_max(&self, head: &Head<'_>) -> usize;

    /// Whether a request is refused whatever its body is; [`Service::respond`] then does not need the body.
    fn is_refused(&self, head: &Head<'_>) -> bool;

    /// Appends the whole response to one request to `out`, which may contain responses to earlier requests of the same
    /// connection. They wait as long as this call does: a service that would wait long writes nothing, and says so.
    fn respond(&self, request: &Request<'_>, out: &mut Vec<u8>) -> impl Future<Output = Responded>;
}

/// A framed request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The client.
    pub client: &'a Client,
    /// The certificate that it has shown.
    pub shown: Option<&'a Shown>,
    /// Its header section.
    pub head: &'a Head<'a>,
    /// Its body; empty if it is refused whatever the body is.
    pub body: &'a [u8],
    pub(super) keep_alive: bool,
    pub(super) dates: &'a Dates,
}

impl Request<'_> {
    /// What the response needs to know about it.
    #[inline]
    pub fn context(&self, now: UnixTime) -> Context {
        Context::of(self.head, self.keep_alive, self.dates.at(now))
    }
}

/// The outcome of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Responded {
    /// The response is in the output, from kept data.
    Kept,
    /// The response was signed, which takes as long as several that were not.
    Signed,
    /// The header section is in the output. This body follows it: memory that other responses share, and that is sent
    /// piece by piece as the client reads.
    Shared(Bytes),
    /// Nothing was written: the output has to be sent first. The request is then passed again.
    OutputFirst,
}
