//! Connections of the admin listener: few, short and bounded.
//!
//! Each carries one request and has a deadline. At the limit the oldest connection is closed, so that health checks are
//! answered whatever other clients keep open. It does not know what is served.

use std::{collections::VecDeque, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, task::AbortHandle, time::timeout};
use tracing::warn;

use crate::limits;

/// How long clients may take, and how many there may be.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// From the connection to the end of the header section.
    pub head: Duration,
    /// From the connection to its end.
    pub total: Duration,
    /// Connections at once.
    pub connections_max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            head: limits::ADMIN_HEAD_DEADLINE,
            total: limits::ADMIN_DEADLINE,
            connections_max: limits::ADMIN_CONNECTIONS_MAX,
        }
    }
}

/// Answers with `router`, for as long as it is polled.
pub async fn serve(listener: TcpListener, router: Router, bounds: Bounds) {
    let mut connections: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "a connection of the admin listener could not be accepted");
                tokio::time::sleep(limits::ADMIN_ACCEPT_PAUSE).await;
                continue;
            }
        };
        connections.retain(|connection| !connection.is_finished());
        if connections.len() >= bounds.connections_max
            && let Some(oldest) = connections.pop_front()
        {
            oldest.abort();
        }
        let service = TowerToHyperService::new(router.clone());
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(bounds.head).keep_alive(false);
        let connection = http.serve_connection(TokioIo::new(stream), service);
        // No caller waits for its result.
        connections
            .push_back(tokio::spawn(async move { drop(timeout(bounds.total, connection).await) }).abort_handle());
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{SocketAddr, TcpStream},
        time::Instant,
    };

    use axum::routing::get;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// A listener with these bounds, on a thread that ends with the test's process.
    fn listening(bounds: Bounds) -> SocketAddr {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let long = "x".repeat(32 << 20);
        let router = Router::new().route("/", get(async || "alive")).route("/long", get(async move || long.clone()));
        std::thread::spawn(move || runtime.block_on(serve(listener, router, bounds)));
        address
    }

    fn send(address: SocketAddr, octets: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(octets).unwrap();
        stream
    }

    /// What arrives until the end, which may be a reset, and the time of the end.
    fn end(mut stream: TcpStream, begin: Instant) -> (Vec<u8>, Duration) {
        let mut said = Vec::new();
        let ended = stream.read_to_end(&mut said);
        assert!(ended.is_ok() || begin.elapsed() < PATIENCE, "no end");
        (said, begin.elapsed())
    }

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    #[test]
    fn half_requests_and_clients_that_never_read_end_at_their_deadlines() {
        let second = Duration::from_secs(1);
        let address = listening(Bounds { head: second, total: 2 * second, connections_max: 8 });
        let begin = Instant::now();
        let [silent, half] = [&b""[..], &REQUEST[..20]].map(|octets| send(address, octets));
        let greedy = send(address, b"GET /long HTTP/1.1\r\nHost: a\r\n\r\n");
        for stream in [silent, half] {
            let (_, took) = end(stream, begin);
            assert!((second / 2..2 * second).contains(&took), "{took:?}");
        }
        std::thread::sleep((3 * second).saturating_sub(begin.elapsed()));
        assert!(end(greedy, begin).0.len() < 32 << 20, "it was cut");
        let (said, _) = end(send(address, REQUEST), Instant::now());
        assert!(said.starts_with(b"HTTP/1.1 200") && said.ends_with(b"alive"), "one request, then the end");
    }

    #[test]
    fn at_the_limit_the_oldest_makes_room() {
        let bounds = Bounds { head: 6 * PATIENCE, total: 6 * PATIENCE, connections_max: 4 };
        let address = listening(bounds);
        let begin = Instant::now();
        let mut half: Vec<_> = (0..50).map(|_| send(address, &REQUEST[..20])).collect();
        let (said, took) = end(send(address, REQUEST), begin);
        assert!(said.ends_with(b"alive"), "{}", String::from_utf8_lossy(&said));
        for stream in half.drain(..47) {
            end(stream, begin);
        }
        assert!(took < PATIENCE);
        for mut stream in half {
            stream.write_all(&REQUEST[20..]).unwrap();
            assert!(end(stream, begin).0.ends_with(b"alive"), "the newest stay");
        }
    }
}
