//! A server that answers as it is told, and keeps what it was asked.

use std::{
    collections::{HashMap, HashSet},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

use crate::source::draft::{self, Draft};

/// CRL `number` of [`draft::issuer`], issued on one day.
pub(crate) fn crl(number: u8) -> Vec<u8> {
    Draft { entries: draft::sequence(&[draft::entry(number, &[])]), ..Draft::extensions(&[draft::number(number)]) }
        .der()
}

/// The same with more extensions, and the last ones that it names its delta by.
pub(crate) fn crl_with(number: u8, extensions: &[Vec<u8>]) -> Vec<u8> {
    let extensions = [&[draft::number(number)], extensions].concat();
    Draft { entries: draft::sequence(&[draft::entry(number, &[])]), ..Draft::extensions(&extensions) }.der()
}

/// freshestCRL with these URLs.
pub(crate) fn freshest(urls: &[&str]) -> Vec<u8> {
    let point = |url: &&str| {
        let name = draft::element(0xa0, draft::element(0xa0, draft::element(0x86, url)));
        draft::sequence(&[name])
    };
    draft::extension(46, false, draft::sequence(&urls.iter().map(point).collect::<Vec<_>>()))
}

/// Ended when dropped.
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    answer: Mutex<Vec<u8>>,
    /// By how requests for it begin.
    files: Mutex<HashMap<String, Vec<u8>>>,
    requests: Mutex<Vec<String>>,
    held: Mutex<HashSet<String>>,
    changed: Condvar,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, shared) = (listener.local_addr().unwrap(), Arc::<Shared>::default());
        let own = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if own.is_over.load(Relaxed) {
                    return;
                }
                let own = Arc::clone(&own);
                // Whoever asks may go away at any time.
                thread::spawn(move || own.serve(stream.unwrap()));
            }
        });
        Self { address, shared }
    }

    pub(crate) fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    /// What every answer is from now on. `head`: lines beside Content-Length.
    pub(crate) fn answers_with(&self, code: u16, head: &str, body: &[u8]) {
        let length = body.len();
        self.answers(
            &[format!("HTTP/1.1 {code} X\r\n{head}Content-Length: {length}\r\n\r\n").as_bytes(), body].concat(),
        );
    }

    /// The same, all of it, after which the connection ends.
    pub(crate) fn answers(&self, answer: &[u8]) {
        *self.shared.answer.lock().unwrap() = answer.to_vec();
    }

    /// What is at this name from now on.
    pub(crate) fn has(&self, name: &str, body: &[u8]) {
        let head = format!("HTTP/1.1 200 X\r\nContent-Length: {}\r\n\r\n", body.len());
        self.shared.files.lock().unwrap().insert(format!("GET /{name} "), [head.as_bytes(), body].concat());
    }

    /// Does not answer requests for this.
    pub(crate) fn holds(&self, name: &str) {
        self.shared.held.lock().unwrap().insert(format!("GET /{name} "));
    }

    /// Answers them after all.
    pub(crate) fn lets_go(&self) {
        self.shared.held.lock().unwrap().clear();
        self.shared.changed.notify_all();
    }

    /// The heads of all requests.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Relaxed);
        self.lets_go();
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                _ => return,
            }
        }
        let head = String::from_utf8(head).unwrap();
        self.requests.lock().unwrap().push(head.clone());
        let held = self.held.lock().unwrap();
        let is_held = |held: &mut HashSet<String>| held.iter().any(|begin| head.starts_with(begin));
        drop(self.changed.wait_while(held, is_held).unwrap_or_else(PoisonError::into_inner));
        let files = self.files.lock().unwrap();
        let file = files.iter().find(|(begin, _)| head.starts_with(*begin)).map(|(_, file)| file.clone());
        drop(files);
        let answer = file.unwrap_or_else(|| self.answer.lock().unwrap().clone());
        let _ = stream.write_all(&answer);
    }
}
