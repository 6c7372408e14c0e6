//! One HTTP client: a question, its reply, and when it came.
//!
//! Invariant: one question at a time, on a connection that is kept while the peer keeps it; the time of a reply is that of
//! the read that completed it. It does not know what is asked.

use crate::http::response::{self, Length};
use crate::limits::{READ_OCTETS, RESPONSE_BODY_OCTETS_MAX, RESPONSE_HEAD_OCTETS_MAX};
use crate::outcome::Kind;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

pub(super) struct Reply {
    pub(super) body: Vec<u8>,
    pub(super) status: u16,
    /// Nanoseconds since the start.
    pub(super) at_ns: u64,
}

pub(super) struct Client {
    address: SocketAddr,
    patience: Patience,
    start: Instant,
    stream: Option<TcpStream>,
}

/// How long a peer may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For a handshake, and between two bytes.
    pub(super) idle: Duration,
    /// From the end of the question to the end of its reply.
    pub(super) whole: Duration,
}

impl Client {
    pub(super) fn new(address: SocketAddr, patience: Patience, start: Instant) -> Self {
        Self { address, patience, start, stream: None }
    }

    /// Whether a question would go out on a connection that was kept, and that the peer may have closed meanwhile.
    pub(super) fn is_kept(&self) -> bool {
        self.stream.is_some()
    }

    /// Sends the parts one after the other, and waits for the reply.
    pub(super) fn ask<P: AsRef<[u8]>>(&mut self, parts: impl IntoIterator<Item = P>) -> Result<Reply, Kind> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(self.address, self.patience.idle)?,
        };
        let sent = parts.into_iter().try_for_each(|part| stream.write_all(part.as_ref()));
        // A peer that refuses a long body answers before it has all of it, and closes.
        let (reply, keep) = receive(&mut stream, self.start, self.patience.whole)
            .map_err(|kind| sent.as_ref().err().map_or(kind, failed))?;
        if keep && sent.is_ok() {
            self.stream = Some(stream);
        }
        Ok(reply)
    }
}

fn connect(address: SocketAddr, idle: Duration) -> Result<TcpStream, Kind> {
    let stream = TcpStream::connect_timeout(&address, idle).map_err(|_| Kind::Connect)?;
    let set = stream
        .set_nodelay(true)
        .and_then(|()| stream.set_read_timeout(Some(idle)))
        .and_then(|()| stream.set_write_timeout(Some(idle)));
    set.map(|()| stream).map_err(|_| Kind::Connect)
}

fn failed(error: &std::io::Error) -> Kind {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Kind::Timeout,
        _ => Kind::Reset,
    }
}

/// One response, and whether the connection may be kept.
fn receive(stream: &mut TcpStream, start: Instant, whole: Duration) -> Result<(Reply, bool), Kind> {
    let begun = Instant::now();
    let mut received = Vec::new();
    let mut buffer = [0u8; 4096];
    let mut chunks = Vec::new();
    // Bounded by bytes and, against a peer that sends them one by one, by time.
    while received.len() <= 2 * RESPONSE_BODY_OCTETS_MAX + RESPONSE_HEAD_OCTETS_MAX && begun.elapsed() < whole {
        let n = match stream.read(&mut buffer) {
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            other => other.map_err(|e| failed(&e))?,
        };
        let at_ns = start.elapsed().as_nanos() as u64;
        received.extend_from_slice(&buffer[..n]);
        let malformed = |_| Kind::Malformed;
        let head = loop {
            match response::head(&received).map_err(malformed)? {
                // The final one may have come with it, and then nothing more does.
                Some(interim) if interim.status < 200 => drop(received.drain(..interim.octets)),
                head => break head,
            }
        };
        let Some(head) = head else {
            if n == 0 {
                return Err(Kind::Reset);
            }
            continue;
        };
        let after = &received[head.octets..];
        let (body, keep) = match head.length {
            Length::Known(length) => {
                (after.get(..length).map(<[u8]>::to_vec), head.keep_alive && after.len() == length)
            }
            Length::Chunked => {
                let end = response::chunked(after, &mut chunks).map_err(malformed)?;
                (end.map(|_| chunks.clone()), head.keep_alive && end == Some(after.len()))
            }
            Length::UntilClose => ((n == 0).then(|| after.to_vec()), false),
        };
        match body {
            Some(body) => return Ok((Reply { body, status: head.status, at_ns }, keep)),
            None if n == 0 => return Err(Kind::Reset),
            None => {}
        }
    }
    Err(if received.len() > READ_OCTETS { Kind::Malformed } else { Kind::Timeout })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// The client waited for a reply that it had already read, and counted a time-out.
    #[test]
    fn a_reply_that_comes_together_with_interim_ones_is_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = [0; 8];
            stream.read_exact(&mut question).unwrap();
            let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
            let reply = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes";
            stream.write_all(format!("{interim}{reply}").as_bytes()).unwrap();
            // Until the client has it, nothing else comes, nor is the connection closed.
            stream.read_exact(&mut question).unwrap();
            // The other one in pieces.
            for piece in [&interim[..30], &interim[30..], &reply[..20], &reply[20..]] {
                stream.write_all(piece.as_bytes()).unwrap();
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let patience = Patience { idle: Duration::from_secs(5), whole: Duration::from_secs(20) };
        let mut client = Client::new(address, patience, Instant::now());
        for _ in 0..2 {
            let reply = client.ask([b"question"]).map_err(|kind| kind.name()).unwrap();
            assert_eq!((reply.status, &*reply.body), (200, &b"yes"[..]));
        }
        server.join().unwrap();
    }
}
