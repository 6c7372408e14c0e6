//! Clients that ask without a pause, each on a connection of its own, and count what becomes of each request.
//!
//! Invariant: a request is sent, and then it is answered whole or it was in flight when its connection ended; there is
//! nothing between. An answer that speaks of another certificate than the request in its turn fails the test. It does not
//! know who answers.

use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{Ask, Cluster, Status};

/// Longer than any answer takes; a responder that keeps silent fails the test.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a client asks.
#[derive(Clone, Debug)]
pub struct Client {
    questions: Vec<Question>,
    /// Requests that are under way at a time.
    pipelined: usize,
    pause: Duration,
}

#[derive(Clone, Debug)]
struct Question {
    serial: Vec<u8>,
    request: Vec<u8>,
    ask: Ask,
}

/// Clients at work. They end when this is dropped.
#[derive(Debug)]
pub struct Clients {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Tally>>,
    client: Client,
}

/// What became of the requests of one connection.
#[derive(Clone, Default, Debug)]
pub struct Tally {
    /// Written, whole or in part.
    pub sent: u64,
    /// Answered whole.
    pub answered: u64,
    /// Why the connection ended, and how long after the last whole answer; `None` if the client ended it.
    pub ended: Option<(io::ErrorKind, Duration)>,
    /// How often each body came as the answer to which question.
    bodies: BTreeMap<(usize, Vec<u8>), u64>,
    /// HTTP statuses other than 200.
    refused: BTreeMap<u16, u64>,
}

impl Client {
    /// One that asks about these certificates by turns, by POST, one request at a time, with a short pause between.
    pub fn of(cluster: &Cluster, serials: &[&str]) -> Self {
        let question = |serial: &&str| {
            let ask = cluster.ask(serial);
            let body = ask.request();
            let head = format!(
                "POST / HTTP/1.1\r\nHost: ostia.test\r\nContent-Type: application/ocsp-request\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            Question { serial: bytes(serial), request: [head.as_bytes(), &body].concat(), ask }
        };
        Self { questions: serials.iter().map(question).collect(), pipelined: 1, pause: Duration::from_millis(2) }
    }

    /// Without a pause, and with so many requests under way at a time.
    #[must_use]
    pub fn pipelined(self, pipelined: usize) -> Self {
        Self { pipelined, pause: Duration::ZERO, ..self }
    }

    /// Asks on so many connections to each of these, until [`Clients::end`].
    pub fn ask(&self, addresses: &[SocketAddr], connections: usize) -> Clients {
        let stop = Arc::new(AtomicBool::new(false));
        let each = addresses.iter().flat_map(|address| std::iter::repeat_n(*address, connections));
        let threads = each
            .map(|address| {
                let (client, stop) = (self.clone(), Arc::clone(&stop));
                thread::spawn(move || client.run(address, &stop))
            })
            .collect();
        Clients { stop, threads, client: self.clone() }
    }

    fn run(&self, address: SocketAddr, stop: &AtomicBool) -> Tally {
        let mut tally = Tally::default();
        let mut last = Instant::now();
        let outcome = TcpStream::connect(address).and_then(|stream| self.talk(stream, stop, &mut tally, &mut last));
        tally.ended = outcome.err().map(|error| (error.kind(), last.elapsed()));
        tally
    }

    fn talk(&self, mut stream: TcpStream, stop: &AtomicBool, tally: &mut Tally, last: &mut Instant) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let question = |number: u64| number as usize % self.questions.len();
        let mut received = Vec::new();
        while !stop.load(Relaxed) {
            let numbers: Vec<_> = (tally.sent..tally.sent + self.pipelined as u64).map(question).collect();
            let requests: Vec<_> =
                numbers.iter().flat_map(|number| &self.questions[*number].request).copied().collect();
            tally.sent += self.pipelined as u64;
            stream.write_all(&requests)?;
            for number in numbers {
                let (status, body) = read_reply(&mut stream, &mut received)?;
                *last = Instant::now();
                tally.answered += 1;
                if status != 200 {
                    *tally.refused.entry(status).or_default() += 1;
                } else {
                    *tally.bodies.entry((number, body)).or_default() += 1;
                }
            }
            thread::sleep(self.pause);
        }
        Ok(())
    }
}

impl Clients {
    /// Stops them when what is under way is answered, and gives what became of the requests of each connection.
    pub fn end(mut self) -> Vec<Tally> {
        self.stop.store(true, Relaxed);
        self.threads.drain(..).map(|thread| thread.join().unwrap()).collect()
    }

    /// The same, where no connection may have ended by itself and nobody got anything but these; each of them came.
    #[track_caller]
    pub fn end_with_only(self, statuses: &[Status]) {
        let client = self.client.clone();
        let mut said = Vec::new();
        for tally in self.end() {
            assert_eq!((tally.ended, &tally.refused), (None, &BTreeMap::new()), "after {} answers", tally.answered);
            assert!(tally.answered > 0 && tally.answered == tally.sent);
            said.extend(tally.statuses(&client));
        }
        let only = said.iter().all(|status| statuses.contains(status));
        assert!(only && statuses.iter().all(|status| said.contains(status)), "{said:?} and not {statuses:?}");
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

impl Tally {
    /// Requests that were under way when the connection ended.
    pub fn in_flight(&self) -> u64 {
        self.sent - self.answered
    }

    /// Requests that were answered, but not by OCSP.
    pub fn refused(&self) -> u64 {
        self.refused.values().sum()
    }

    /// Whatever was said, each once. Fails if somebody was told of another certificate than he asked about.
    #[track_caller]
    pub fn statuses(&self, client: &Client) -> Vec<Status> {
        let mut all = Vec::new();
        for (number, body) in self.bodies.keys() {
            let Question { serial, ask, .. } = &client.questions[*number];
            let answer = ask.read(body);
            let is_error = matches!(answer.status, Status::Error(_));
            assert!(is_error || answer.verified, "{}", answer.text);
            assert!(is_error || body.windows(serial.len()).any(|some| some == serial), "of another certificate");
            if !all.contains(&answer.status) {
                all.push(answer.status);
            }
        }
        all
    }
}

/// Reads one response; what came behind it stays in `received`.
fn read_reply(stream: &mut TcpStream, received: &mut Vec<u8>) -> io::Result<(u16, Vec<u8>)> {
    loop {
        if let Some((reply, length)) = whole_reply(received) {
            received.drain(..length);
            return Ok(reply);
        }
        let mut some = [0; 16 << 10];
        match stream.read(&mut some)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => received.extend_from_slice(&some[..count]),
        }
    }
}

/// Status and body, and how many bytes all of it takes.
fn whole_reply(received: &[u8]) -> Option<((u16, Vec<u8>), usize)> {
    let head_length = received.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&received[..head_length]).expect("a head in letters");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line");
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = fields.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = lengths.next().expect("a content-length").1.trim().parse().expect("a number");
    let body = received.get(head_length..head_length + length)?;
    Some(((status, body.to_vec()), head_length + length))
}

/// Of hexadecimal digits.
fn bytes(serial: &str) -> Vec<u8> {
    let digits = if serial.len().is_multiple_of(2) { serial.to_owned() } else { format!("0{serial}") };
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("digits")).collect()
}
