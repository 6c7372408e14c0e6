//! One connection: reads the available bytes, and answers every complete request in them with one write.
//!
//! While it is idle it holds only its input buffer. It enforces no deadline: it notes in [`ConnectionState`] what it waits for, and
//! the worker ends it if it waits too long. It does not know what is served.

mod shared;

use std::{
    io,
    net::{SocketAddr, TcpStream as StdStream},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

use bytes::Bytes;
use monoio::{
    buf::{IoBuf as _, SliceMut},
    io::{AsyncReadRent, AsyncWriteRent},
    net::TcpStream,
};
use monoio_rustls::ServerTlsStream;
use precompute::{pki::UnixTime, tls::Shown};
use rustix::{
    buffer::spare_capacity,
    net::{RecvFlags, SendFlags, recv, send},
};
use rustls::{ServerConnection, server::Acceptor};
use tracing::debug;

use super::{
    client::{Client, canonical},
    counters::Counters,
    deadline::{ConnectionState, Phase},
    http::{self, Rejection, response::Context},
    proxy::{self, ProxyError},
    service::{Responded, Service},
    tls::ServerTls,
    worker::Worker,
};
use crate::limits;

/// The stream below a connection.
pub(super) trait Carrier: AsyncReadRent + AsyncWriteRent {
    /// Whether the end of the stream has to be announced.
    const SAYS_GOODBYE: bool;
}

impl Carrier for TcpStream {
    const SAYS_GOODBYE: bool = false;
}

/// What follows after the answers so far are written.
enum Next {
    /// More bytes are needed: the connection is in this phase until they come.
    Read(Phase),
    /// There are requests left in the input.
    Answer,
    /// The connection ends.
    Close,
    /// The connection ends, and the client may still be sending.
    Linger,
}

/// Answers, and what follows after they are written.
struct Turn {
    output: Vec<u8>,
    /// The body of the last answer, if it is sent from shared memory.
    shared: Option<Bytes>,
    next: Next,
    answered: Answered,
}

/// How many requests a turn has answered, and when it began.
#[derive(Clone, Copy)]
struct Answered {
    since: Instant,
    kept: u64,
    signed: u64,
}

impl Answered {
    /// The answers have been passed to the kernel.
    fn note(self, counters: &Counters) {
        let took = self.since.elapsed();
        for (count, histogram) in [(self.kept, &counters.served), (self.signed, &counters.signed)] {
            if count > 0 {
                histogram.note(took, count);
            }
        }
    }

    /// Its weight among the requests that are answered in a row: a signature takes as long as several look-ups.
    fn weight(self) -> u64 {
        self.kept + self.signed * limits::SIGNED_WEIGHT
    }
}

/// Reads and answers on one connection.
pub(super) struct Session<'w, S: Service> {
    worker: &'w Worker<S>,
    watched: &'w ConnectionState,
    /// The other end of the connection, or of the proxy's connection.
    peer: SocketAddr,
    /// What the client has shown over TLS.
    shown: Option<Shown>,
    input: Vec<u8>,
    /// Whether the client was told to continue with the body it announced.
    continued: bool,
}

impl<S: Service> Drop for Session<'_, S> {
    fn drop(&mut self) {
        self.worker.inputs.give(std::mem::take(&mut self.input));
    }
}

impl<'w, S: Service> Session<'w, S> {
    /// Nothing was read yet.
    pub(super) fn new(worker: &'w Worker<S>, watched: &'w ConnectionState, peer: SocketAddr) -> Self {
        let mut input = worker.inputs.take();
        input.reserve(limits::READ_OCTETS);
        Self { worker, watched, peer: canonical(peer), shown: None, input, continued: false }
    }

    /// Serves a connection over plain TCP until the client ends it or it fails.
    ///
    /// Many clients connect for one request, which is already there when they are accepted. It is read without the
    /// ring, and its answer leaves in one segment with the end of the connection.
    pub(super) async fn serve_tcp(mut self, stream: StdStream) -> io::Result<()> {
        if self.worker.policy.proxy_protocol {
            let mut stream = self.adopt(stream)?;
            self.learn_client(&mut stream).await?;
            return self.serve(&mut stream, None).await;
        }
        let first = match recv(&stream, spare_capacity(&mut self.input), RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Ok(()),
            Ok(_) => {
                let mut turn = self.answer().await;
                if matches!(turn.next, Next::Close) && self.input.is_empty() && turn.shared.is_none() {
                    let flags = SendFlags::DONTWAIT | SendFlags::MORE | SendFlags::NOSIGNAL;
                    let sent = send(&stream, &turn.output, flags).unwrap_or(0);
                    self.worker.counters.octets_out.fetch_add(sent as u64, Relaxed);
                    if sent == turn.output.len() {
                        turn.answered.note(&self.worker.counters);
                        self.worker.outputs.give(turn.output);
                        return Ok(());
                    }
                    turn.output.drain(..sent);
                }
                Some(turn)
            }
            // Nothing yet; a failed connection will fail again.
            Err(_) => None,
        };
        let mut stream = self.adopt(stream)?;
        self.serve(&mut stream, first).await
    }

    /// Serves a connection over TLS, like [`Session::serve_tcp`].
    pub(super) async fn serve_tls(mut self, stream: StdStream) -> io::Result<()> {
        let mut stream = self.adopt(stream)?;
        if self.worker.policy.proxy_protocol {
            self.learn_client(&mut stream).await?;
        }
        let worker = self.worker;
        let Some(tls) = &worker.tls else { return Ok(()) };
        self.watched.enter(Phase::Head, self.worker.tick.get());
        let shaken = match self.greet(&mut stream, tls).await {
            Ok(mut session) => self.shake_hands(&mut stream, &mut session).await.map(|()| session),
            Err(error) => Err(error),
        };
        self.input.clear();
        match shaken {
            Ok(session) => {
                self.shown = Shown::of(session.peer_certificates());
                self.watched.enter(Phase::Fresh, self.worker.tick.get());
                self.serve(&mut ServerTlsStream::new(stream, session), None).await
            }
            Err(error) => {
                self.worker.counters.tls_refused.fetch_add(1, Relaxed);
                debug!(peer = %self.peer, %error, "the TLS handshake failed");
                // So that the client learns the reason.
                self.linger(&mut stream).await
            }
        }
    }

    /// Reads the client's first message, which names the server that it wants: that says whether it is asked for a certificate.
    async fn greet<C: Carrier>(&mut self, stream: &mut C, tls: &ServerTls) -> io::Result<ServerConnection> {
        let mut acceptor = Acceptor::default();
        let refused = loop {
            self.input.clear();
            self.input = self::read(stream, std::mem::take(&mut self.input)).await?;
            if self.input.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut octets = &self.input[..];
            while !octets.is_empty() {
                acceptor.read_tls(&mut octets)?;
            }
            let accepted = match acceptor.accept() {
                Ok(None) => continue,
                Ok(Some(accepted)) => accepted,
                Err(refused) => break refused,
            };
            let asks = self.worker.service.asks(accepted.client_hello().server_name());
            match accepted.into_connection(Arc::clone(if asks { &tls.asking } else { &tls.plain })) {
                Ok(session) => return Ok(session),
                Err(refused) => break refused,
            }
        };
        let (error, mut alert) = refused;
        let mut output = Vec::new();
        alert.write_all(&mut output)?;
        write(stream, output).await?;
        Err(io::Error::other(error))
    }

    /// Does the TLS handshake. Each flight is written completely, and so is an alert: with TLS 1.3 an alert follows
    /// other records, and the glue between runtime and TLS would leave it unsent.
    async fn shake_hands<C: Carrier>(&mut self, stream: &mut C, session: &mut ServerConnection) -> io::Result<()> {
        let mut read = Ok(());
        loop {
            let mut output = Vec::new();
            while session.wants_write() {
                session.write_tls(&mut output)?;
            }
            write(stream, output).await?;
            read?;
            if !session.is_handshaking() {
                return Ok(());
            }
            self.input.clear();
            self.input = self::read(stream, std::mem::take(&mut self.input)).await?;
            if self.input.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut octets = &self.input[..];
            read = Ok(());
            while read.is_ok() && !octets.is_empty() {
                session.read_tls(&mut octets)?;
                read = session.process_new_packets().map(drop).map_err(io::Error::other);
            }
        }
    }

    /// The stream for the runtime of this thread.
    fn adopt(&self, stream: StdStream) -> io::Result<TcpStream> {
        if self.worker.on_epoll {
            // A ring waits in the kernel; epoll needs non-blocking calls.
            stream.set_nonblocking(true)?;
        }
        TcpStream::from_std(stream)
    }

    /// Reads exactly the PROXY header.
    async fn learn_client<C: Carrier>(&mut self, stream: &mut C) -> io::Result<()> {
        self.watched.enter(Phase::Head, self.worker.tick.get());
        let learnt = self.read_proxy_header(stream).await;
        self.input.clear();
        match learnt {
            Ok(client) => {
                self.peer = client.unwrap_or(self.peer);
                self.watched.enter(Phase::Fresh, self.worker.tick.get());
                Ok(())
            }
            Err(error) => {
                self.worker.counters.proxy_refused.fetch_add(1, Relaxed);
                debug!(peer = %self.peer, "a connection {error}");
                Err(io::Error::new(io::ErrorKind::InvalidData, error))
            }
        }
    }

    async fn read_proxy_header<C: Carrier>(&mut self, stream: &mut C) -> Result<Option<SocketAddr>, ProxyError> {
        self.read_exactly(stream, proxy::FIXED_OCTETS).await.map_err(|_| ProxyError::NoHeader)?;
        let remainder = proxy::remainder(&self.input)?;
        let first = remainder.min(proxy::ADDRESS_OCTETS);
        self.read_exactly(stream, proxy::FIXED_OCTETS + first).await.map_err(|_| ProxyError::TooShort)?;
        let client = proxy::client(&self.input)?;
        let mut left = remainder - first;
        while left > 0 {
            self.input.clear();
            let some = left.min(limits::READ_OCTETS);
            self.read_exactly(stream, some).await.map_err(|_| ProxyError::TooShort)?;
            left -= some;
        }
        Ok(client)
    }

    /// Reads until there are exactly `length` bytes in the input.
    async fn read_exactly<C: Carrier>(&mut self, stream: &mut C, length: usize) -> io::Result<()> {
        while self.input.len() < length {
            let begin = self.input.len();
            let buffer = SliceMut::new(std::mem::take(&mut self.input), begin, length);
            let (result, slice) = stream.read(buffer).await;
            self.input = slice.into_inner();
            if result? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    /// Serves a connection until the client ends it or it fails. `turn`: answers to be written first.
    async fn serve<C: Carrier>(&mut self, stream: &mut C, mut turn: Option<Turn>) -> io::Result<()> {
        loop {
            let Turn { output, shared, next, answered } = match turn.take() {
                Some(turn) => turn,
                None if self.read(stream).await? => self.answer().await,
                None => return Ok(()),
            };
            self.write(stream, output).await?;
            answered.note(&self.worker.counters);
            if let Some(body) = shared {
                self.write_shared(stream, body).await?;
            }
            match next {
                Next::Answer => turn = Some(self.answer().await),
                Next::Read(phase) => {
                    self.watched.enter(phase, self.worker.tick.get());
                    if self.input.is_empty() {
                        self.input.shrink_to(limits::READ_OCTETS);
                    }
                }
                Next::Close if self.input.is_empty() => {
                    // If everything was read, closing the socket ends the connection cleanly.
                    return if C::SAYS_GOODBYE { stream.shutdown().await } else { Ok(()) };
                }
                Next::Close | Next::Linger => return self.linger(stream).await,
            }
        }
    }

    /// Reads until there is something to look at; false if the client has ended the connection.
    async fn read<C: Carrier>(&mut self, stream: &mut C) -> io::Result<bool> {
        loop {
            let before = self.input.len();
            self.input.reserve(limits::READ_OCTETS / 2);
            self.input = read(stream, std::mem::take(&mut self.input)).await?;
            if self.input.len() == before {
                return Ok(false);
            }
            if self.watched.phase() != Phase::Head || !no_end_of_head(&self.input, before) {
                return Ok(true);
            }
        }
    }

    /// Answers every complete request in the input, within the bounds.
    async fn answer(&mut self) -> Turn {
        let mut output = self.worker.outputs.take();
        let mut answered = Answered { since: Instant::now(), kept: 0, signed: 0 };
        let mut shared = None;
        let next = self.answer_all(&mut output, &mut shared, &mut answered).await;
        Turn { output, shared, next, answered }
    }

    /// Answers every complete request in the input to `output`, within the bounds, up to one whose body is `shared`.
    async fn answer_all(&mut self, output: &mut Vec<u8>, shared: &mut Option<Bytes>, answered: &mut Answered) -> Next {
        let Self { worker, watched, peer, ref shown, ref mut input, ref mut continued } = *self;
        let shown = shown.as_ref();
        let mut at = 0;
        let mut client = Client { peer, forwarded: None };
        let ended = loop {
            if at == input.len() {
                break Ok(Next::Read(Phase::Idle));
            }
            if answered.weight() >= limits::PIPELINE_MAX || output.len() > limits::WRITE_OCTETS_MAX {
                break Ok(Next::Answer);
            }
            let head = match http::head(&input[at..]) {
                Ok(Some(head)) => head,
                Ok(None) => break Ok(Next::Read(Phase::Head)),
                Err(rejection) => break Err(rejection),
            };
            client = worker.policy.trusted.client(peer, &head.forwarded_for);
            let (body, length) =
                match http::body(&input[at + head.length..], head.framing, worker.service.body_max(&head)) {
                    Ok(Some(body)) => body,
                    Ok(None) => {
                        if head.expects_continue && !*continued {
                            if worker.service.is_refused(&head) {
                                // The client may send the body all the same (RFC 9110 section 10.1.1), so it is unclear
                                // where the next request would begin.
                                let request = worker.request((&client, shown), &head, b"", false);
                                worker.service.respond(&request, output).await;
                                answered.kept += 1;
                                break Ok(Next::Linger);
                            }
                            *continued = true;
                            output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                        }
                        break Ok(Next::Read(Phase::Body));
                    }
                    Err(rejection) => break Err(rejection),
                };
            watched.enter(Phase::Answer, worker.tick.get());
            let keep_alive = head.keep_alive && !worker.draining.get();
            let request = worker.request((&client, shown), &head, &body, keep_alive);
            match worker.service.respond(&request, output).await {
                Responded::OutputFirst => break Ok(Next::Answer),
                Responded::Kept => answered.kept += 1,
                Responded::Signed => answered.signed += 1,
                Responded::Shared(body) => {
                    answered.kept += 1;
                    *shared = Some(body);
                }
            }
            at += head.length + length;
            *continued = false;
            if !keep_alive {
                break Ok(Next::Close);
            }
            if shared.is_some() {
                break Ok(Next::Answer);
            }
        };
        let next = match ended {
            Ok(next) => next,
            Err(Rejection::VersionNotSupported) if http::mend_request_line(&mut input[at..]) => Next::Answer,
            Err(rejection) => refuse(worker, client, output, rejection),
        };
        input.drain(..at);
        next
    }

    async fn write<C: Carrier>(&mut self, stream: &mut C, mut output: Vec<u8>) -> io::Result<()> {
        if !output.is_empty() {
            self.watched.enter(Phase::Write, self.worker.tick.get());
            output = write(stream, output).await?;
            self.worker.counters.octets_out.fetch_add(output.len() as u64, Relaxed);
        }
        self.worker.outputs.give(output);
        Ok(())
    }

    /// Lets the client read its last response. Unread bytes would turn the end of the connection into a reset, which
    /// discards the response.
    async fn linger<C: Carrier>(&mut self, stream: &mut C) -> io::Result<()> {
        self.watched.enter(Phase::Linger, self.worker.tick.get());
        stream.shutdown().await?;
        let mut dropped = 0;
        while dropped < limits::LINGER_OCTETS_MAX {
            self.input.clear();
            self.input = read(stream, std::mem::take(&mut self.input)).await?;
            if self.input.is_empty() {
                break;
            }
            dropped += self.input.len();
        }
        Ok(())
    }
}

/// Whether a few new bytes cannot have completed a header section. Parsing everything again for each of them would cost
/// the worker more than sending them costs the client.
fn no_end_of_head(input: &[u8], before: usize) -> bool {
    input.len() <= limits::TARGET_OCTETS_MAX && !input[before..].contains(&b'\n')
}

fn refuse<S: Service>(worker: &Worker<S>, client: Client, output: &mut Vec<u8>, rejection: Rejection) -> Next {
    worker.counters.http_refused.fetch_add(1, Relaxed);
    debug!(client = %client.address(), status = rejection.status().line(), "a request was refused");
    let date = worker.dates.at(UnixTime::now());
    Context { date, keep_alive: false, http_1_0: false, head_only: false }.reject(output, rejection);
    Next::Linger
}

/// Reads once, and appends to `input`.
async fn read<C: Carrier>(stream: &mut C, input: Vec<u8>) -> io::Result<Vec<u8>> {
    let (start, end) = (input.len(), input.capacity());
    let (result, slice) = stream.read(SliceMut::new(input, start, end)).await;
    result.map(|_| slice.into_inner())
}

/// Writes all of `output`, and returns the buffer.
async fn write<C: Carrier>(stream: &mut C, mut output: Vec<u8>) -> io::Result<Vec<u8>> {
    let mut written = 0;
    while written < output.len() {
        let (result, slice) = stream.write(output.slice(written..)).await;
        output = slice.into_inner();
        match result? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => written += count,
        }
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dripping_header_section_is_looked_at_when_a_line_ends() {
        assert!(no_end_of_head(b"GET / HTTP/1.1\r\nHost: a", 20));
        assert!(!no_end_of_head(b"GET / HTTP/1.1\r\nHost: a\r\n", 23));
        assert!(
            !no_end_of_head(&[b'a'; limits::TARGET_OCTETS_MAX + 1], 20),
            "too much is noticed without a line's end"
        );
    }
}
