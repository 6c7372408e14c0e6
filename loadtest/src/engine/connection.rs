//! One connection's state: what it owes, what it has still to write, and what has come in part.
//!
//! Invariant: answers are matched to requests in the order of sending, and framing that is in doubt ends the
//! connection. It does not decide when to connect, send or give up; `worker` does. Buffers are reused across
//! reconnections.

use crate::http::response::{self, Broken, Head, Length};
use crate::limits::{RESPONSE_BODY_OCTETS_MAX, RESPONSE_HEAD_OCTETS_MAX};
use std::collections::VecDeque;
use std::net::{SocketAddr, TcpStream};

/// A request and the times that its latencies count from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owed<T> {
    pub(super) ticket: T,
    pub(super) intended_ns: u64,
    pub(super) sent_ns: u64,
}

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// No socket, and none wanted.
    Closed,
    /// In line for a socket.
    Queued,
    /// No socket until this time, after a failure.
    BackingOff {
        until_ns: u64,
    },
    /// The handshake runs.
    Connecting {
        since_ns: u64,
    },
    Open,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Connection<T> {
    pub(super) target: usize,
    pub(super) phase: Phase,
    pub(super) stream: Option<TcpStream>,
    /// Told apart from the events of a predecessor in the same place.
    pub(super) generation: u32,
    /// Consecutive failures to connect.
    pub(super) failures: u32,
    /// Assigned, not written.
    pub(super) pending: VecDeque<Owed<T>>,
    /// Written, not answered.
    pub(super) owed: VecDeque<Owed<T>>,
    pub(super) out: Vec<u8>,
    pub(super) written: usize,
    /// Whether this connection stands in the line of those that can take a request.
    pub(super) in_line: bool,
    partial: Vec<u8>,
}

/// What a run of received bytes came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// All complete responses have been handed over; the connection goes on.
    Continue,
    /// As `Continue`, but the peer will take no more requests on this connection.
    LastResponse,
}

impl<T: Copy> Connection<T> {
    pub(super) fn new(target: usize, pipeline: usize) -> Self {
        Self {
            target,
            phase: Phase::Closed,
            stream: None,
            generation: 0,
            failures: 0,
            pending: VecDeque::with_capacity(pipeline),
            owed: VecDeque::with_capacity(pipeline),
            out: Vec::with_capacity(1024),
            written: 0,
            in_line: false,
            partial: Vec::new(),
        }
    }

    /// Requests assigned and not answered.
    pub(super) fn load(&self) -> usize {
        self.pending.len() + self.owed.len()
    }

    /// Forgets the socket and what was half done on it.
    pub(super) fn drop_stream(&mut self) {
        self.stream = None;
        self.phase = Phase::Closed;
        self.generation = self.generation.wrapping_add(1);
        self.out.clear();
        self.written = 0;
        self.partial.clear();
    }

    /// Hands each complete response in `received` (after what had come before) to `deliver`, with the request it
    /// answers. `chunk_buffer` is scratch space.
    pub(super) fn receive(
        &mut self,
        received: &[u8],
        ended: bool,
        chunk_buffer: &mut Vec<u8>,
        deliver: &mut impl FnMut(Owed<T>, u16, &[u8]),
    ) -> Result<Progress, Broken> {
        if self.partial.is_empty() {
            let (taken, progress) = self.take_all(received, ended, chunk_buffer, deliver)?;
            self.partial.extend_from_slice(&received[taken..]);
            return Ok(progress);
        }
        let mut bytes = std::mem::take(&mut self.partial);
        bytes.extend_from_slice(received);
        let (taken, progress) = self.take_all(&bytes, ended, chunk_buffer, deliver)?;
        bytes.drain(..taken);
        self.partial = bytes;
        Ok(progress)
    }

    fn take_all(
        &mut self,
        bytes: &[u8],
        ended: bool,
        chunk_buffer: &mut Vec<u8>,
        deliver: &mut impl FnMut(Owed<T>, u16, &[u8]),
    ) -> Result<(usize, Progress), Broken> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let Some(head) = response::head(rest)? else { break };
            let Some((body, octets)) = body(&head, rest, ended, chunk_buffer)? else { break };
            at += octets;
            // Interim responses (RFC 9110 section 15.2) precede the one that counts.
            if head.status < 200 {
                continue;
            }
            let owed = self.owed.pop_front().ok_or(Broken("a response to no request"))?;
            deliver(owed, head.status, body);
            if !head.keep_alive || head.length == Length::UntilClose {
                return Ok((at, Progress::LastResponse));
            }
        }
        Ok((at, Progress::Continue))
    }
}

/// Begins a handshake; its end comes as an event.
pub(super) fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    // Requests are written whole; waiting for more would only delay them.
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&address.into()) {
        Ok(()) => {}
        Err(e) if e.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
        Err(e) => return Err(e),
    }
    Ok(socket.into())
}

/// The body and the bytes of head and body together; `None`: more is needed.
fn body<'a>(
    head: &Head,
    bytes: &'a [u8],
    ended: bool,
    chunk_buffer: &'a mut Vec<u8>,
) -> Result<Option<(&'a [u8], usize)>, Broken> {
    let after = &bytes[head.octets..];
    match head.length {
        Length::Known(length) => Ok(after.get(..length).map(|body| (body, head.octets + length))),
        Length::Chunked => match response::chunked(after, chunk_buffer)? {
            Some(octets) => Ok(Some((chunk_buffer.as_slice(), head.octets + octets))),
            // Chunk lines are at most a few times as long as their chunks; a peer that sends bytes one by one is cut
            // off.
            None if after.len() > 2 * RESPONSE_BODY_OCTETS_MAX + RESPONSE_HEAD_OCTETS_MAX => {
                Err(Broken("a chunked body that does not end"))
            }
            None => Ok(None),
        },
        Length::UntilClose if after.len() > RESPONSE_BODY_OCTETS_MAX => Err(Broken("the body is over 256 KiB")),
        Length::UntilClose => Ok(ended.then_some((after, bytes.len()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ticket, status and body.
    type Delivered = (usize, u16, Vec<u8>);

    fn connection(owed: usize) -> Connection<usize> {
        let mut connection = Connection::new(0, 4);
        connection.owed.extend((0..owed).map(|ticket| Owed { ticket, intended_ns: 0, sent_ns: 0 }));
        connection
    }

    fn feed(c: &mut Connection<usize>, bytes: &[u8], ended: bool) -> (Result<Progress, Broken>, Vec<Delivered>) {
        let mut got = Vec::new();
        let mut scratch = Vec::new();
        let result = c.receive(bytes, ended, &mut scratch, &mut |o, s, b| got.push((o.ticket, s, b.to_vec())));
        (result, got)
    }

    const TWO: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabHTTP/1.1 100 Continue\r\n\r\n\
                         HTTP/1.1 500 x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\n\r\n";

    #[test]
    fn matches_responses_in_order_wherever_the_stream_is_cut() {
        let want = vec![(0, 200, b"ab".to_vec()), (1, 500, b"xyz".to_vec())];
        for cut in 0..=TWO.len() {
            let mut c = connection(2);
            let (first, mut got) = feed(&mut c, &TWO[..cut], false);
            let (second, more) = feed(&mut c, &TWO[cut..], false);
            got.extend(more);
            assert_eq!((first, second, &got), (Ok(Progress::Continue), Ok(Progress::Continue), &want), "{cut}");
        }
    }

    #[test]
    fn stops_at_the_last_response_of_a_connection() {
        let mut c = connection(2);
        let (result, got) = feed(&mut c, b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.0", false);
        assert_eq!((result, got.len(), c.owed.len()), (Ok(Progress::LastResponse), 1, 1));
    }

    #[test]
    fn takes_a_body_that_ends_with_the_connection() {
        let mut c = connection(1);
        assert!(feed(&mut c, b"HTTP/1.0 200 OK\r\n\r\nab", false).1.is_empty());
        let (result, got) = feed(&mut c, b"c", true);
        assert_eq!((result, got), (Ok(Progress::LastResponse), vec![(0, 200, b"abc".to_vec())]));
    }

    #[test]
    fn refuses_a_response_to_no_request() {
        let (result, got) = feed(&mut connection(1), TWO, false);
        assert!(result.is_err());
        assert_eq!(got.len(), 1);
    }
}
