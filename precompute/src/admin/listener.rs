//! Connections of a listener that is not for relying parties: few, short and bounded.
//!
//! Each carries one request and has a deadline. At the limit of the admin listener the oldest connection of a stranger is
//! closed, or else the oldest, so that health checks are answered whatever other clients keep open; where snapshots are given out, the next one waits
//! ([`AtLimit`]). A handler may take its connection out of both ([`Stay::extend`]): it bounds the number and the silence of
//! such connections itself. Over TLS the handshake is a part of the header section as far as deadlines go. The listener does
//! not know what is served.

use std::{
    collections::VecDeque,
    future::pending,
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{Router, extract::Request};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::AbortHandle,
    time::{Instant, sleep_until, timeout_at},
};
use tokio_rustls::TlsAcceptor;
use tracing::warn;

use crate::{limits, pki::Certificate};

/// What becomes of a connection when there are as many as there may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AtLimit {
    /// The oldest one is closed for it: it is the likeliest one to be idle.
    CloseOldest,
    /// It waits until another one ends: each is at work, and to cut one off would be to begin its work again.
    Wait,
}

/// How long clients may take, and how many there may be.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The key of the configuration that the address is from, for the log.
    pub key: &'static str,
    /// From the connection to the end of the header section.
    pub head: Duration,
    /// From the connection to its end.
    pub total: Duration,
    /// Connections at once.
    pub connections_max: usize,
    /// And what happens with another one.
    pub at_limit: AtLimit,
}

impl Bounds {
    /// Those of the admin listener.
    pub const ADMIN: Self = Self {
        key: "admin.listen",
        head: limits::ADMIN_HEAD_DEADLINE,
        total: limits::ADMIN_DEADLINE,
        connections_max: limits::ADMIN_CONNECTIONS_MAX,
        at_limit: AtLimit::CloseOldest,
    };
    /// Those of giving out snapshots.
    pub const SNAPSHOTS: Self = Self {
        key: "feed.snapshot_listen",
        head: limits::shelf::HEAD_WITHIN,
        total: limits::shelf::SENT_WITHIN,
        connections_max: limits::shelf::CONNECTIONS_MAX,
        at_limit: AtLimit::Wait,
    };
}

impl Default for Bounds {
    fn default() -> Self {
        Self::ADMIN
    }
}

/// Listens on `address`; the error names the key of the configuration, and is for the user.
pub fn bind(Bounds { key, .. }: &Bounds, address: SocketAddr) -> Result<std::net::TcpListener, String> {
    std::net::TcpListener::bind(address).map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "; stop the program that holds the port (`ss -ltnp` names it), or choose another"
            }
            io::ErrorKind::PermissionDenied => "; choose a port from 1024 on",
            io::ErrorKind::AddrNotAvailable => {
                "; no interface of this machine has this address: name one that `ip addr` shows"
            }
            _ => "",
        };
        format!("{key}: cannot listen on {address}: {error}{remedy}")
    })
}

/// Who a request is from. Each has it as an extension.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// How a request has come. Each has it as an extension.
#[derive(Clone, Default, Debug)]
pub struct Link {
    /// The address of this machine that the connection came to.
    pub local: Option<IpAddr>,
    /// Whether it is encrypted.
    pub is_tls: bool,
    /// The certificate that the client has shown, which TLS has verified.
    pub certificate: Option<Arc<Certificate>>,
}

impl Link {
    /// Whether it never leaves this machine.
    pub fn is_loopback(&self) -> bool {
        self.local.is_some_and(|address| address.is_loopback())
    }
}

/// How long a connection may last. Each request has it as an extension.
#[derive(Clone, Debug)]
pub struct Stay {
    /// `None` while the handler extends it.
    until: Arc<watch::Sender<Option<Instant>>>,
    /// Whether it is known who is behind it.
    is_recognised: Arc<AtomicBool>,
    total: Duration,
}

/// Extends the stay of a connection for as long as it lives. Then the connection has as long as others have to its end.
#[derive(Debug)]
pub struct ExtendedStay(Stay);

impl Stay {
    fn new(total: Duration) -> Self {
        Self { until: Arc::new(watch::channel(Some(Instant::now() + total)).0), is_recognised: Arc::default(), total }
    }

    /// Takes the connection out of the deadline and the limit.
    pub fn extend(&self) -> ExtendedStay {
        self.until.send_replace(None);
        ExtendedStay(self.clone())
    }

    /// Somebody who is known is behind the connection: where there are too many, those of strangers end first.
    pub fn recognise(&self) {
        self.is_recognised.store(true, Relaxed);
    }

    fn is_extended(&self) -> bool {
        self.until.borrow().is_none()
    }

    /// Returns when the connection has to end.
    async fn over(&self) {
        let mut until = self.until.subscribe();
        loop {
            let deadline = *until.borrow_and_update();
            let passed = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = passed => return,
                _ = until.changed() => {}
            }
        }
    }
}

impl Drop for ExtendedStay {
    fn drop(&mut self) {
        let Self(stay) = self;
        stay.until.send_replace(Some(Instant::now() + stay.total));
    }
}

/// A connection, and its stay.
type Connection = (AbortHandle, Stay);

/// Closes the oldest connection if there are too many; one of a stranger, if there is one.
fn make_room(connections: &mut VecDeque<Connection>, most: usize) {
    connections.retain(|(connection, _)| !connection.is_finished());
    let counted = |(_, stay): &Connection| !stay.is_extended();
    if connections.iter().filter(|connection| counted(connection)).count() >= most
        && let Some(oldest) = connections
            .iter()
            .position(|connection| counted(connection) && !connection.1.is_recognised.load(Relaxed))
            .or_else(|| connections.iter().position(counted))
        && let Some((oldest, _)) = connections.remove(oldest)
    {
        oldest.abort();
    }
}

/// Answers with `router`, for as long as it is polled.
pub async fn serve(listener: TcpListener, router: Router, bounds: Bounds) {
    serve_over(listener, router, bounds, || None).await;
}

/// The same over TLS, if there is some for the next connection.
pub async fn serve_over(
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    tls: impl Fn() -> Option<Arc<ServerConfig>>,
) {
    let mut connections: VecDeque<Connection> = VecDeque::new();
    let places = Arc::new(Semaphore::new(bounds.connections_max));
    loop {
        // Whoever has no place waits in the listener's queue.
        let place = match bounds.at_limit {
            AtLimit::Wait => Arc::clone(&places).acquire_owned().await.ok(),
            AtLimit::CloseOldest => None,
        };
        let (stream, peer) = match listener.accept().await {
            Ok((stream, peer)) => (stream, Peer(peer)),
            Err(error) => {
                warn!(%error, "a connection to the address of `{}` could not be accepted", bounds.key);
                tokio::time::sleep(limits::ADMIN_ACCEPT_PAUSE).await;
                continue;
            }
        };
        match bounds.at_limit {
            AtLimit::Wait => connections.retain(|(connection, _)| !connection.is_finished()),
            AtLimit::CloseOldest => make_room(&mut connections, bounds.connections_max),
        }
        let stay = Stay::new(bounds.total);
        let (router, own, tls) = (router.clone(), stay.clone(), tls());
        let task = tokio::spawn(async move {
            let _place = place;
            let conversation = converse(stream, tls, router, (peer, own.clone()), bounds.head);
            // No caller waits for its result.
            tokio::select! {
                () = conversation => {}
                () = own.over() => {}
            }
        });
        connections.push_back((task.abort_handle(), stay));
    }
}

/// A connection from its beginning to its end.
async fn converse(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    router: Router,
    whose: (Peer, Stay),
    head: Duration,
) {
    let local = stream.local_addr().ok().map(|address| address.ip().to_canonical());
    let link = Link { local, ..Link::default() };
    let Some(tls) = tls else { return answer(stream, router, whose, link, head).await };
    let begun = Instant::now();
    let within = begun + head;
    let mut first = [0];
    match timeout_at(within, stream.peek(&mut first)).await {
        Ok(Ok(1)) if first == [TLS_HANDSHAKE] => {}
        Ok(Ok(1)) => return drop(timeout_at(within, point_to_tls(stream)).await),
        _ => return,
    }
    let Ok(Ok(stream)) = timeout_at(within, TlsAcceptor::from(tls).accept(stream)).await else { return };
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let certificate = shown.and_then(|der| Certificate::from_der(der).ok()).map(Arc::new);
    answer(stream, router, whose, Link { is_tls: true, certificate, ..link }, head.saturating_sub(begun.elapsed()))
        .await;
}

/// The type of a record that begins TLS (RFC 8446 section 5.1).
const TLS_HANDSHAKE: u8 = 22;

/// Who speaks HTTP to TLS would see nothing but an end.
async fn point_to_tls(mut stream: TcpStream) -> io::Result<()> {
    const TOLD: &str = "this listener speaks TLS; ask by https://\n";
    // Where something is left unread, a reset overtakes what is said.
    let _ = stream.read(&mut [0; 4096]).await?;
    let length = TOLD.len();
    let response = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{TOLD}"
    );
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await
}

/// Answers the one request of a connection.
async fn answer<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    router: Router,
    (peer, stay): (Peer, Stay),
    link: Link,
    head: Duration,
) {
    let service = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(stay.clone());
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(link.clone());
        service.call(request)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head).keep_alive(false);
    // Whoever is cut off knows.
    let _ = pin!(http.serve_connection(TokioIo::new(stream), service)).await;
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{SocketAddr, TcpStream},
        sync::atomic::{AtomicUsize, Ordering::SeqCst},
        time::Instant,
    };

    use axum::routing::get;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

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
        let address = listening(Bounds { head: second, total: 5 * second, connections_max: 8, ..Bounds::default() });
        let begin = Instant::now();
        let [silent, half] = [&b""[..], &REQUEST[..20]].map(|octets| send(address, octets));
        let greedy = send(address, b"GET /long HTTP/1.1\r\nHost: a\r\n\r\n");
        for stream in [silent, half] {
            let (_, took) = end(stream, begin);
            assert!((second / 2..9 * second / 2).contains(&took), "{took:?}");
        }
        std::thread::sleep((7 * second).saturating_sub(begin.elapsed()));
        assert!(end(greedy, begin).0.len() < 32 << 20, "it was cut");
        let (said, _) = end(send(address, REQUEST), Instant::now());
        assert!(said.starts_with(b"HTTP/1.1 200") && said.ends_with(b"alive"), "one request, then the end");
    }

    #[test]
    fn an_extended_stay_outlasts_the_deadline_and_the_limit_and_ends_in_time() {
        static STAYING: AtomicUsize = AtomicUsize::new(0);
        let second = Duration::from_secs(1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let long = async move |request: Request| {
            let extended = request.extensions().get::<Stay>().unwrap().extend();
            STAYING.fetch_add(1, SeqCst);
            tokio::time::sleep(6 * second).await;
            drop(extended);
            "x".repeat(32 << 20)
        };
        let router = Router::new().route("/", get(async || "alive")).route("/long", get(long));
        let bounds = Bounds { head: 4 * second, total: 4 * second, connections_max: 2, ..Bounds::default() };
        std::thread::spawn(move || runtime.block_on(serve(listener, router, bounds)));
        let begin = Instant::now();
        let [read, unread] = [(); 2].map(|()| send(address, b"GET /long HTTP/1.1\r\nHost: a\r\n\r\n"));
        while STAYING.load(SeqCst) < 2 {
            assert!(begin.elapsed() < PATIENCE);
            std::thread::sleep(second / 100);
        }
        let others: Vec<_> = (0..4).map(|_| send(address, b"")).collect();
        assert!(end(send(address, REQUEST), Instant::now()).0.ends_with(b"alive"), "beside those that stay");
        drop(others);
        assert!(end(read, begin).0.len() > 32 << 20, "neither the deadline nor the limit has cut it");
        std::thread::sleep((12 * second).saturating_sub(begin.elapsed()));
        assert!(end(unread, begin).0.len() < 32 << 20, "after its extension it had four seconds to be read");
    }

    #[test]
    fn where_nobody_is_cut_off_the_next_one_waits_for_a_place() {
        let second = Duration::from_secs(1);
        let bounds = Bounds { head: 5 * second, total: 10 * second, connections_max: 2, ..Bounds::SNAPSHOTS };
        let address = listening(bounds);
        let begin = Instant::now();
        let mut half = [(); 2].map(|()| send(address, &REQUEST[..20]));
        let next = send(address, REQUEST);
        std::thread::sleep(second);
        half[0].write_all(&REQUEST[20..]).unwrap();
        let [first, silent] = half;
        assert!(end(first, begin).0.ends_with(b"alive"), "the oldest was not cut off");
        let (said, took) = end(next, begin);
        assert!(said.ends_with(b"alive") && took >= second, "it came when there was a place: {took:?}");
        assert!(!end(silent, begin).0.ends_with(b"alive"));
    }

    #[test]
    fn at_the_limit_strangers_make_room_before_whoever_is_known() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let connection = |_| (tokio::spawn(pending::<()>()).abort_handle(), Stay::new(PATIENCE));
            let mut connections: VecDeque<Connection> = (0..4).map(connection).collect();
            [0, 2].into_iter().for_each(|known: usize| connections[known].1.recognise());
            let all: Vec<_> = connections.iter().map(|(task, _)| task.clone()).collect();
            for (most, ended) in [(4, &[1][..]), (3, &[1, 3]), (2, &[0, 1, 3])] {
                make_room(&mut connections, most);
                tokio::task::yield_now().await;
                let now: Vec<_> = (0..4).filter(|at| all[*at].is_finished()).collect();
                assert_eq!(now, ended, "{most}");
            }
        });
    }

    #[test]
    fn at_the_limit_the_oldest_makes_room() {
        let bounds = Bounds { head: 6 * PATIENCE, total: 6 * PATIENCE, connections_max: 4, ..Bounds::default() };
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
