//! Responders behind a responder: `openssl ocsp` as a server, and one that answers what it should not.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{Ca, FakeClock, Signer, free_port, http, run};

/// `openssl ocsp -port`: the responder of a CA, as people try one. It answers one client after the other.
#[derive(Debug)]
pub struct OpensslResponder {
    child: Child,
    address: SocketAddr,
}

impl OpensslResponder {
    /// Answers from the CA's index; `more`: further arguments, such as `-ndays 1`.
    pub fn start(ca: &Ca, signer: &Signer, more: &[&str]) -> Self {
        let address = free_port(Ipv4Addr::LOCALHOST.into());
        let port = address.port().to_string();
        let mut command = Command::new("openssl");
        command.arg("ocsp").args(["-port", &port, "-ignore_err", "-index"]).arg(ca.index());
        command.arg("-CA").arg(ca.certificate()).arg("-rsigner").arg(&signer.certificate).arg("-rkey").arg(&signer.key);
        command.args(more).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("openssl is installed");
        // A connection that is closed at once would keep it from answering anybody.
        let mut told = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut line = String::new();
        while !line.contains("waiting for OCSP client connections") {
            line.clear();
            assert!(told.read_line(&mut line).is_ok_and(|length| length > 0), "openssl ended");
        }
        // What nobody reads would fill the pipe.
        thread::spawn(move || std::io::copy(&mut told, &mut std::io::sink()));
        Self { child, address }
    }

    /// What it would answer to this request by another clock.
    pub fn answer_by(clock: &FakeClock, ca: &Ca, signer: &Signer, request: &[u8], more: &[&str]) -> Vec<u8> {
        let (asked, answer) = (ca.file("by-clock.request"), ca.file("by-clock.answer"));
        fs::write(&asked, request).unwrap();
        let mut command = Command::new("openssl");
        command.arg("ocsp").arg("-index").arg(ca.index()).arg("-CA").arg(ca.certificate());
        command.arg("-rsigner").arg(&signer.certificate).arg("-rkey").arg(&signer.key);
        command.arg("-reqin").arg(asked).arg("-respout").arg(&answer).args(more).envs(clock.environment());
        let ended = run(&mut command);
        assert!(ended.status.success(), "{}", ended.text);
        fs::read(answer).unwrap()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for OpensslResponder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is done with a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Manner {
    /// What the origin answers.
    Right,
    /// The same for POST; GET is what it wants.
    GetAlone,
    /// These bytes, as an answer.
    Bytes(Vec<u8>),
    /// The same as a time-stamp.
    StampBytes(Vec<u8>),
    /// The first bytes of what is right, as the whole of an answer.
    Cut(usize),
    /// The same, and then the connection is reset.
    ResetAfter(usize),
    /// A body without an end.
    Endless,
    /// A byte in 200 ms.
    Dripping,
    /// An HTTP status, with what is right as the body.
    Status(u16),
    /// Another media type, with what is right as the body.
    MediaType(&'static str),
    /// The request is read, and nothing comes.
    Silent,
}

/// A server before another responder. It does not know OCSP.
#[derive(Debug)]
pub struct FaultyUpstream {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    manner: Mutex<Manner>,
    requests: AtomicU32,
    connections: AtomicU32,
}

impl FaultyUpstream {
    /// Before this origin. Its threads end with the process.
    pub fn start(origin: SocketAddr, manner: Manner) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state =
            Arc::new(State { manner: Mutex::new(manner), requests: AtomicU32::new(0), connections: AtomicU32::new(0) });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let state = Arc::clone(&shared);
                // Who is cut off notices by an error.
                thread::spawn(move || while serve(&stream, origin, &state).is_some() {});
            }
        });
        Self { address, state }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From the next request on.
    pub fn set(&self, manner: Manner) {
        *self.state.manner.lock().unwrap_or_else(PoisonError::into_inner) = manner;
    }

    /// How many requests it has had.
    pub fn requests(&self) -> u32 {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// How many connections it has had.
    pub fn connections(&self) -> u32 {
        self.state.connections.load(Ordering::Relaxed)
    }
}

/// One request; `None` where the connection is over.
fn serve(mut stream: &TcpStream, origin: SocketAddr, state: &State) -> Option<()> {
    let (mut request, mut byte) = (Vec::new(), [0]);
    while !request.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        request.push(byte[0]);
    }
    let head = String::from_utf8(request.clone()).ok()?.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    state.requests.fetch_add(1, Ordering::Relaxed);
    let manner = state.manner.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let is_post = head.starts_with("post ");
    request.extend_from_slice(&body);
    let right = || http::exchange(origin, &request).map(|reply| reply.body);
    let mut say = |status: &str, media_type: &str, length: usize, body: &[u8]| {
        let head =
            format!("HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\n\r\n").into_bytes();
        stream.write_all(&[&head, body].concat()).ok()
    };
    const TYPE: &str = "application/ocsp-response";
    match manner {
        Manner::GetAlone if is_post => say("405 Method Not Allowed", "text/plain", 0, b""),
        Manner::Right | Manner::GetAlone => {
            let body = right().ok()?;
            say("200 OK", TYPE, body.len(), &body)
        }
        Manner::Bytes(bytes) => say("200 OK", TYPE, bytes.len(), &bytes),
        Manner::StampBytes(bytes) => say("200 OK", "application/timestamp-reply", bytes.len(), &bytes),
        Manner::Cut(length) => {
            let body = right().ok()?;
            let length = length.min(body.len());
            say("200 OK", TYPE, length, &body[..length])
        }
        Manner::ResetAfter(length) => {
            let body = right().ok()?;
            say("200 OK", TYPE, body.len(), &body[..length.min(body.len() - 1)])?;
            // What is unread makes it a reset; there is nothing, so the socket is told to.
            rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO)).ok()?;
            None
        }
        Manner::Endless => {
            stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Type: {TYPE}\r\n\r\n").as_bytes()).ok()?;
            while stream.write_all(&[0x30; 4096]).is_ok() {}
            None
        }
        Manner::Dripping => {
            let body = right().ok()?;
            say("200 OK", TYPE, body.len(), b"")?;
            body.iter().try_for_each(|byte| {
                thread::sleep(Duration::from_millis(200));
                stream.write_all(&[*byte]).ok()
            })
        }
        Manner::Status(status) => {
            let body = right().ok()?;
            let location = format!("{status} Because\r\nLocation: http://{origin}/");
            say(&location, TYPE, body.len(), &body)
        }
        Manner::MediaType(media_type) => {
            let body = right().ok()?;
            say("200 OK", media_type, body.len(), &body)
        }
        Manner::Silent => {
            let _ = stream.read(&mut byte);
            None
        }
    }
}
