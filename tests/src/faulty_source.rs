//! A source of snapshots that gives something else: between a replica and a writer, in ways that change.
//!
//! It asks its origin for the path that it was asked for, so that what it gives is right, or nearly. It does not know what
//! snapshots are.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use crate::http;

/// What is done with a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// What the origin gives.
    Right,
    /// A page to log in, with the status 200.
    Html,
    /// To a place elsewhere.
    Redirect,
    /// It announces everything, and closes in the middle.
    CutShort,
    /// As long as it has to be, and other bytes.
    Another,
    /// A byte a second.
    Dripping,
    /// The status 500.
    Error,
    /// The status 404.
    Unknown,
    /// The request is read, and nothing comes.
    Silent,
}

/// See the module.
#[derive(Debug)]
pub struct FaultySource {
    address: SocketAddr,
    way: Arc<Mutex<Way>>,
}

impl FaultySource {
    /// Before this origin. Its threads end with the process.
    pub fn start(origin: SocketAddr, way: Way) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let way = Arc::new(Mutex::new(way));
        let present = Arc::clone(&way);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let way = *present.lock().unwrap_or_else(PoisonError::into_inner);
                // Who is cut off notices by an error.
                thread::spawn(move || answer(stream, origin, way));
            }
        });
        Self { address, way }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From the next request on.
    pub fn set(&self, way: Way) {
        *self.way.lock().unwrap_or_else(PoisonError::into_inner) = way;
    }
}

fn answer(mut stream: TcpStream, origin: SocketAddr, way: Way) -> Option<()> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let path = String::from_utf8(head).ok()?.split(' ').nth(1)?.to_owned();
    let mut say = |status: &str, length: usize, body: &[u8]| -> Option<()> {
        let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).ok()?;
        stream.write_all(body).ok()
    };
    let page = b"<!DOCTYPE html><title>Log in</title>";
    let right = || http::exchange(origin, &http::request("GET", &path, "")).ok().map(|reply| reply.body);
    match way {
        Way::Right => right().and_then(|body| say("200 OK", body.len(), &body)),
        Way::Html => say("200 OK\r\nContent-Type: text/html", page.len(), page),
        Way::Redirect => say("302 Found\r\nLocation: http://login.example/", 0, b""),
        Way::CutShort => right().and_then(|body| say("200 OK", body.len(), &body[..body.len() / 2])),
        Way::Another => right().and_then(|mut body| {
            body.reverse();
            say("200 OK", body.len(), &body)
        }),
        Way::Dripping => {
            let body = right()?;
            say("200 OK", body.len(), b"")?;
            body.iter().try_for_each(|byte| {
                thread::sleep(Duration::from_secs(1));
                stream.write_all(&[*byte]).ok()
            })
        }
        Way::Error => say("500 Internal Server Error\r\nContent-Type: text/html", page.len(), page),
        Way::Unknown => say("404 Not Found", 0, b""),
        Way::Silent => {
            let _ = stream.read(&mut byte);
            None
        }
    }
}
