//! A service that knows nothing of what Ostia serves, asked over real sockets.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::atomic::AtomicBool,
    thread::{self, JoinHandle},
};

use bytes::Bytes;
use precompute::pki::UnixTime;

use super::*;
use crate::net::{
    deadline::Deadlines,
    http::{
        Head,
        response::{Reason, Refusal},
    },
    listen,
    service::{Request, Responded},
};

/// Returns the body, or the path if there is no body. At `/large` it has a long body that all responses share.
struct Echo {
    /// Whether the response for `/slow` is available.
    open: Arc<AtomicBool>,
    large: Bytes,
}

/// Several times what the kernel holds of it.
const LARGE: usize = 12 << 20;

const BODY_MAX: usize = 100;

const REFUSED: Refusal = Refusal { reason: Reason::MethodNotAllowed { allow: "GET" }, explanation: "Not here.\n" };

impl Service for Echo {
    fn body_max(&self, _: &Head<'_>) -> usize {
        BODY_MAX
    }

    fn is_refused(&self, head: &Head<'_>) -> bool {
        head.path == b"/refused"
    }

    async fn respond(&self, request: &Request<'_>, out: &mut Vec<u8>) -> Responded {
        let context = || request.context(UnixTime::now());
        if self.is_refused(request.head) {
            context().refuse(out, &REFUSED);
            return Responded::Kept;
        }
        if request.head.path == b"/large" {
            context().uncacheable(out, "text/plain", LARGE, |_| ());
            return Responded::Shared(self.large.clone());
        }
        let is_slow = request.head.path == b"/slow";
        if is_slow {
            if !out.is_empty() {
                return Responded::OutputFirst;
            }
            while !self.open.load(Relaxed) {
                sleep(Duration::from_millis(1)).await;
            }
        }
        let echoed = if request.body.is_empty() { request.head.path } else { request.body };
        context().uncacheable(out, "text/plain", echoed.len(), |out| out.extend_from_slice(echoed));
        if is_slow { Responded::Signed } else { Responded::Kept }
    }
}

/// One serving thread.
struct Served {
    address: SocketAddr,
    open: Arc<AtomicBool>,
    counters: Arc<Counters>,
    stop: watch::Sender<bool>,
    thread: JoinHandle<io::Result<()>>,
}

impl Served {
    fn start() -> Self {
        Self::with(ConnectionPolicy::default())
    }

    fn with(policy: ConnectionPolicy) -> Self {
        // The port is free for a moment between the two, and other tests take ports at the same time.
        let (address, socket) = (0..10)
            .find_map(|_| {
                let reserved = listen::reserve("test", "127.0.0.1:0".parse().unwrap()).unwrap();
                let address = reserved.address();
                Some((address, reserved.shared(1).ok()?.remove(0)))
            })
            .expect("a port");
        let (balance, mut handed) = Balance::new(1);
        let (stop, stopped) = watch::channel(false);
        let counters = Arc::new(Counters::default());
        let start = Start {
            number: 0,
            listeners: vec![Listener { socket, tls: false, inherited: false }],
            balance: Arc::new(balance),
            handed: handed.remove(0),
            policy,
            tls: None,
            counters: Arc::clone(&counters),
            connections_max: 10,
            stop: stopped,
        };
        let open = Arc::new(AtomicBool::new(false));
        let large = (0..LARGE).map(|place| b'a' + (place / 1000 % 26) as u8).collect();
        let service = Echo { open: Arc::clone(&open), large };
        let thread = thread::spawn(move || run(start, service, || ()));
        Self { address, open, counters, stop, thread }
    }

    fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Client { stream, read: String::new() }
    }
}

struct Client {
    stream: TcpStream,
    read: String,
}

/// A client whose kernel holds little of what it has not read, with a request for `/large` under way.
fn reader(address: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(32 << 10).unwrap();
    socket.connect(&address.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(get("/large").as_bytes()).unwrap();
    stream
}

impl Client {
    fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// Takes everything up to and with `end`.
    fn up_to(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.read.find(end) {
                let rest = self.read.split_off(at + end.len());
                return std::mem::replace(&mut self.read, rest);
            }
            let mut some = [0; 4096];
            match self.stream.read(&mut some) {
                Ok(count @ 1..) => self.read += std::str::from_utf8(&some[..count]).unwrap(),
                other => panic!("{other:?} and no `{end}` behind `{}`", self.read),
            }
        }
    }

    /// Takes so many bytes.
    fn exactly(&mut self, count: usize) -> String {
        let mut taken = std::mem::take(&mut self.read);
        self.read = taken.split_off(taken.len().min(count));
        let mut more = vec![0; count - taken.len()];
        self.stream.read_exact(&mut more).unwrap();
        taken + std::str::from_utf8(&more).unwrap()
    }

    /// Takes what comes until the other end ends the connection.
    fn rest(mut self) -> String {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).unwrap();
        self.read + std::str::from_utf8(&rest).unwrap()
    }

    /// Whether nothing comes for a while.
    fn is_silent(&mut self) -> bool {
        let patience = self.stream.read_timeout().unwrap();
        self.stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let outcome = self.stream.peek(&mut [0]);
        self.stream.set_read_timeout(patience).unwrap();
        self.read.is_empty() && outcome.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

fn post(path: &str, fields: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a\r\n{fields}Content-Length: {length}\r\n\r\n")
}

#[test]
fn requests_in_one_write_are_answered_in_order_and_the_connection_stays() {
    let served = Served::start();
    let mut client = served.connect();
    client.send(&[get("/one"), post("/", "", 3) + "two", get("/three")].concat());
    for echoed in ["/one", "two", "/three"] {
        let response = client.up_to(&format!("\r\n\r\n{echoed}"));
        assert!(response.starts_with("HTTP/1.1 200 OK\r\n") && !response.contains("Connection:"), "{response}");
        assert_eq!(response.matches("HTTP/1.1").count(), 1, "one at a time: {response}");
    }
    client.send(&get("/four"));
    client.up_to("\r\n\r\n/four");
    client.send("GET /five HTTP/1.0\r\n\r\n");
    assert!(client.rest().ends_with("Connection: close\r\n\r\n/five"));
    assert_eq!(served.counters.accepted.load(Relaxed), 1);
}

#[test]
fn what_is_ready_leaves_before_what_has_to_be_waited_for() {
    let served = Served::start();
    let mut client = served.connect();
    client.send(&[get("/ready"), get("/slow"), get("/behind")].concat());
    client.up_to("\r\n\r\n/ready");
    assert!(client.is_silent(), "nothing overtakes, and nothing is answered twice");
    served.open.store(true, Relaxed);
    let slow = client.up_to("\r\n\r\n/slow");
    assert_eq!(slow.matches("HTTP/1.1").count(), 1, "{slow}");
    client.up_to("\r\n\r\n/behind");
    client.send(&get("/end"));
    client.up_to("\r\n\r\n/end");
}

#[test]
fn a_body_that_changes_nothing_is_not_asked_for() {
    let served = Served::start();
    let mut client = served.connect();
    client.send(&post("/taken", "Expect: 100-continue\r\n", 4));
    client.up_to("HTTP/1.1 100 Continue\r\n\r\n");
    client.send("body");
    client.up_to("\r\n\r\nbody");
    client.send(&post("/refused", "Expect: 100-continue\r\n", 4));
    let refused = client.rest();
    assert!(refused.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"), "{refused}");
    assert!(
        refused.contains("Connection: close\r\n") && refused.ends_with("\r\n\r\n405 Method Not Allowed\nNot here.\n")
    );
}

#[test]
fn a_body_over_the_bound_of_the_service_is_refused_before_it_is_sent() {
    let served = Served::start();
    let mut client = served.connect();
    client.send(&(post("/", "", BODY_MAX) + &"b".repeat(BODY_MAX)));
    client.up_to(&"b".repeat(BODY_MAX));
    client.send(&post("/", "", BODY_MAX + 1));
    let refused = client.rest();
    assert!(refused.starts_with("HTTP/1.1 413 "), "{refused}");
    assert_eq!(served.counters.http_refused.load(Relaxed), 1);
}

#[test]
fn what_is_under_way_is_answered_when_the_thread_is_told_to_stop() {
    let served = Served::start();
    let [mut busy, mut idle] = [(); 2].map(|()| served.connect());
    idle.send(&get("/idle"));
    idle.up_to("\r\n\r\n/idle");
    busy.send(&(get("/one") + &get("/slow")));
    busy.up_to("\r\n\r\n/one");
    served.stop.send_replace(true);
    assert_eq!(idle.rest(), "", "who asks nothing is let go");
    served.open.store(true, Relaxed);
    assert!(busy.rest().ends_with("\r\n\r\n/slow"), "what has begun is finished");
    served.thread.join().unwrap().unwrap();
}

#[test]
fn behind_a_shared_body_the_connection_goes_on_or_ends_as_it_was_asked_to() {
    let served = Served::start();
    let mut client = served.connect();
    client.send(&[get("/one"), get("/large"), get("/two")].concat());
    client.up_to("\r\n\r\n/one");
    let head = client.up_to("\r\n\r\n");
    assert!(head.contains(&format!("Content-Length: {LARGE}\r\n")), "{head}");
    let expected: String = (0..LARGE).map(|place| char::from(b'a' + (place / 1000 % 26) as u8)).collect();
    assert!(client.exactly(LARGE) == expected, "another body");
    client.up_to("\r\n\r\n/two");
    client.send("GET /large HTTP/1.0\r\n\r\n");
    let last = client.rest();
    assert!(last.starts_with("HTTP/1.1 200 OK\r\n") && last.ends_with(&expected), "{} bytes", last.len());
}

/// Three times the deadline: a long body was cut where the client took longer for all of it.
#[test]
fn a_slow_client_gets_all_of_a_long_body_and_one_that_stands_still_is_cut_off() {
    let deadlines = Deadlines { write: Duration::from_secs(1), ..Deadlines::default() };
    let served = Served::with(ConnectionPolicy { deadlines, ..ConnectionPolicy::default() });
    let (mut slow, mut still) = (reader(served.address), reader(served.address));
    still.read_exact(&mut [0; 1000]).unwrap();
    let begun = std::time::Instant::now();
    let (mut read, mut piece) = (0, vec![0; LARGE / 128]);
    while read < LARGE {
        let count = slow.read(&mut piece).unwrap();
        assert!(count > 0, "cut off after {read} bytes and {:?}", begun.elapsed());
        read += count;
        // As many bytes a second as make it four seconds.
        let due = Duration::from_secs(4).mul_f64(read as f64 / LARGE as f64);
        thread::sleep(due.saturating_sub(begun.elapsed()));
    }
    assert!(begun.elapsed() >= Duration::from_secs(4));
    assert_eq!(served.counters.expired.load(Relaxed), 1, "it stood still");
    let left = io::copy(&mut still, &mut io::sink()).unwrap_or(0);
    assert!(left < LARGE as u64 / 2, "{left}");
}
