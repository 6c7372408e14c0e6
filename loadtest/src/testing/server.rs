//! A server of whatever a test wants: one thread a connection, on a free port of the loopback interface.

use base64::Engine as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// What the handler is given.
pub(crate) struct Request {
    /// Counted from 0 over all connections.
    pub(crate) number: usize,
    pub(crate) head: String,
    /// The body of a POST, or what a GET's path encodes.
    pub(crate) der: Vec<u8>,
}

/// What it answers.
pub(crate) enum Reply {
    /// HTTP 200 with this body.
    Body(Vec<u8>),
    /// These bytes, whatever they are.
    Raw(Vec<u8>),
    /// These bytes, and then the end of the connection.
    RawThenClose(Vec<u8>),
    /// Nothing; the connection stays open.
    Silence,
}

pub(crate) struct Server {
    address: SocketAddr,
    ending: Arc<AtomicBool>,
    pub(crate) connections: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ending = Arc::new(AtomicBool::new(false));
        let connections = Arc::new(AtomicUsize::new(0));
        let (handler, numbers) = (Arc::new(handler), Arc::new(AtomicUsize::new(0)));
        let (stop, accepted) = (Arc::clone(&ending), Arc::clone(&connections));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                accepted.fetch_add(1, Ordering::SeqCst);
                let (handler, numbers) = (Arc::clone(&handler), Arc::clone(&numbers));
                std::thread::spawn(move || serve(stream.unwrap(), &*handler, &numbers));
            }
        });
        Self { address, ending, connections }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
        // Wakes the accepting thread so that it sees the flag.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(mut stream: TcpStream, handler: &(dyn Fn(&Request) -> Reply + Send + Sync), numbers: &AtomicUsize) {
    // Ends when the client closes, or after this much silence.
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut received = Vec::new();
    let mut buffer = [0u8; 8192];
    loop {
        while let Some((request, octets)) = parse(&received, numbers) {
            received.drain(..octets);
            let written = match handler(&request) {
                Reply::Body(body) => stream
                    .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes())
                    .and_then(|()| stream.write_all(&body)),
                Reply::Raw(octets) => stream.write_all(&octets),
                Reply::RawThenClose(octets) => {
                    let _ = stream.write_all(&octets);
                    return;
                }
                Reply::Silence => Ok(()),
            };
            if written.is_err() {
                return;
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(n) => received.extend_from_slice(&buffer[..n]),
        }
    }
}

fn parse(received: &[u8], numbers: &AtomicUsize) -> Option<(Request, usize)> {
    let end = received.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let head = String::from_utf8(received[..end].to_vec()).unwrap();
    let length =
        head.lines().find_map(|l| l.strip_prefix("Content-Length: ")).map_or(0, |n| n.parse::<usize>().unwrap());
    let body = received.get(end..end + length)?;
    let der = match head.strip_prefix("GET ") {
        Some(rest) => {
            let path = rest.split(' ').next().unwrap().rsplit('/').next().unwrap();
            let base64 = path.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
            base64::engine::general_purpose::STANDARD.decode(base64).unwrap()
        }
        None => body.to_vec(),
    };
    Some((Request { number: numbers.fetch_add(1, Ordering::SeqCst), head, der }, end + length))
}
