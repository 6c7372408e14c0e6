//! Caches before a service: a real Varnish, and a server that records what it is told.

use std::{
    collections::VecDeque,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{Launched, http, until};

/// How long Varnish may take to compile its rules on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running Varnish with the rules that are shipped. Ended when dropped.
#[derive(Debug)]
pub struct Varnish {
    address: SocketAddr,
    _process: Launched,
    _dir: TempDir,
}

impl Varnish {
    /// With these rules of `systemd`, at `address` before `backend`. Returns when it listens.
    pub fn start(vcl: &str, address: SocketAddr, backend: SocketAddr) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Varnish works as a user of its own.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("systemd").join(vcl);
        let (ip, port) = (backend.ip(), backend.port());
        let rules = fs::read_to_string(shipped).unwrap();
        let rules = rules.replace("\"127.0.0.1\"", &format!("\"{ip}\"")).replace("\"8080\"", &format!("\"{port}\""));
        fs::write(dir.path().join("ostia.vcl"), rules).unwrap();
        let mut command = Command::new("varnishd");
        command.arg("-F").arg("-n").arg(dir.path().join("work")).arg("-f").arg(dir.path().join("ostia.vcl"));
        command.args(["-a", &address.to_string(), "-s", "malloc,16m"]);
        let process = Launched::start(command, &dir.path().join("log"));
        until("varnish listens", PATIENCE, || TcpStream::connect(address).ok());
        Self { address, _process: process, _dir: dir }
    }

    /// Where it is asked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The answer to a GET, and whether it was kept: a hit has the number of the request that fetched it as well.
    #[track_caller]
    pub fn get(&self, target: &str) -> (http::Reply, bool) {
        let reply = http::get(self.address, target);
        let is_kept = reply.expect("x-varnish").split(' ').count() == 2;
        (reply, is_kept)
    }
}

/// A request that somebody sent.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// When it had come.
    pub at: Instant,
    /// Its first line.
    pub line: String,
    /// Its headers, line by line as they came.
    pub headers: Vec<String>,
    /// Its body.
    pub body: String,
}

impl Recorded {
    /// The value of a header that occurs once.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let named = self.headers.iter().filter_map(|line| line.split_once(": "));
        let mut values = named.filter(|(header, _)| header.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        let value = values.next();
        assert!(values.next().is_none(), "{name} twice: {self:?}");
        value
    }
}

/// How a request is answered.
#[derive(Clone, Debug)]
pub enum Said {
    /// With this status, these lines of headers, and this body.
    This(u16, &'static str, &'static str),
    /// Not at all: the connection stays open.
    Nothing,
    /// By closing the connection.
    Closed,
}

/// A server that records what it is told. It works until the test ends.
#[derive(Clone, Debug)]
pub struct Recorder {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    seen: Vec<Recorded>,
    /// What is said next; after that, always `then`.
    next: VecDeque<Said>,
    then: Said,
}

impl Recorder {
    /// Answers like this from now on.
    pub fn start(then: Said) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { seen: Vec::new(), next: VecDeque::new(), then }));
        let recorder = Self { address, state };
        let server = recorder.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let server = server.clone();
                thread::spawn(move || server.serve(stream));
            }
        });
        recorder
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What came so far.
    pub fn seen(&self) -> Vec<Recorded> {
        self.state.lock().unwrap().seen.clone()
    }

    /// Says this next, in turn, and then always what `then` is.
    pub fn say(&self, next: impl IntoIterator<Item = Said>, then: Said) {
        let mut state = self.state.lock().unwrap();
        (state.next, state.then) = (next.into_iter().collect(), then);
    }

    fn serve(&self, stream: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut stream = stream;
        loop {
            let recorded = read(&mut reader)?;
            let said = {
                let mut state = self.state.lock().unwrap();
                state.seen.push(recorded);
                state.next.pop_front().unwrap_or_else(|| state.then.clone())
            };
            match said {
                Said::This(status, headers, body) => {
                    let length = body.len();
                    let head = format!("HTTP/1.1 {status} Said\r\nContent-Length: {length}\r\n{headers}\r\n{body}");
                    stream.write_all(head.as_bytes()).ok()?;
                }
                // Until the client has gone.
                Said::Nothing => return reader.read_to_end(&mut Vec::new()).ok().map(drop),
                Said::Closed => return None,
            }
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Recorded> {
    let mut line = || {
        let mut line = String::new();
        let count = reader.read_line(&mut line).ok()?;
        (count > 0).then(|| line.trim_end().to_owned())
    };
    let first = line()?;
    let mut headers = Vec::new();
    loop {
        match line()? {
            empty if empty.is_empty() => break,
            header => headers.push(header),
        }
    }
    let mut recorded = Recorded { at: Instant::now(), line: first, headers, body: String::new() };
    let length = recorded.header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    recorded.body = String::from_utf8(body).unwrap();
    recorded.at = Instant::now();
    Some(recorded)
}
