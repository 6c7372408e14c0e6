//! A source that fails in every way that one can.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Mutex, atomic::AtomicUsize, atomic::Ordering::SeqCst},
};

use super::*;

/// What it does with a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    Right,
    /// Without a length, in pieces.
    RightInPieces,
    Unknown,
    Error,
    Redirect,
    Html,
    /// The right length, other bytes.
    Flipped,
    /// Another chunk of the same snapshot.
    Another,
    /// It announces everything, and closes after so many bytes.
    CutAfter(usize),
    /// It announces less, and gives that.
    Shorter,
    /// It announces more, and gives that.
    Longer,
    /// It announces nothing, and gives bytes until nobody takes them.
    Endless,
    /// It announces a length beyond all memory.
    Announced,
    NoHttp,
    CloseAtOnce,
    /// It takes the request, and says nothing.
    Silent,
    /// It gives what is right, a byte now and then.
    Dripping,
}

pub(super) const FAULTS: [Way; 14] = [
    Way::Unknown,
    Way::Error,
    Way::Redirect,
    Way::Html,
    Way::Flipped,
    Way::Another,
    Way::CutAfter(0),
    Way::CutAfter(100),
    Way::Shorter,
    Way::Longer,
    Way::Endless,
    Way::Announced,
    Way::NoHttp,
    Way::CloseAtOnce,
];

/// A source of one snapshot.
pub(super) struct Faulty {
    pub(super) url: BaseUrl,
    state: Arc<State>,
}

struct State {
    parts: Vec<Vec<u8>>,
    sealed: Vec<u8>,
    /// What is done with the next requests; the last one stays.
    ways: Mutex<Vec<Way>>,
    asked: AtomicUsize,
    paths: Mutex<Vec<String>>,
}

impl Faulty {
    pub(super) fn start(snapshot: &Snapshot, ways: &[Way]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = url(listener.local_addr().unwrap());
        let mut ways = ways.to_vec();
        ways.reverse();
        let state = Arc::new(State {
            parts: snapshot.chunks.clone(),
            sealed: snapshot.sealed.clone(),
            ways: Mutex::new(ways),
            asked: AtomicUsize::new(0),
            paths: Mutex::default(),
        });
        let own = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let own = Arc::clone(&own);
                // Who is cut off notices by an error.
                std::thread::spawn(move || own.answer(stream));
            }
        });
        Self { url, state }
    }

    /// How many requests there were.
    pub(super) fn asked(&self) -> usize {
        self.state.asked.load(SeqCst)
    }

    /// What the requests were for.
    pub(super) fn paths(&self) -> Vec<String> {
        let paths = self.state.paths.lock().unwrap();
        paths.iter().map(|path| path.rsplit('/').next().unwrap().to_owned()).collect()
    }
}

impl State {
    fn answer(&self, mut stream: TcpStream) -> Option<()> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        self.asked.fetch_add(1, SeqCst);
        let path = String::from_utf8(head).ok()?.split(' ').nth(1)?.to_owned();
        self.paths.lock().unwrap().push(path.clone());
        let name = path.rsplit('/').next()?;
        let number: Option<usize> = name.parse().ok();
        let part = number.map_or(&self.sealed, |number| &self.parts[number]);
        let way = {
            let mut ways = self.ways.lock().unwrap();
            if ways.len() > 1 { ways.pop()? } else { *ways.last()? }
        };
        let mut say = |head: &str, body: &[u8]| -> Option<()> {
            stream.write_all(format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n").as_bytes()).ok()?;
            stream.write_all(body).ok()
        };
        let announced = |octets: usize| format!("200 OK\r\nContent-Length: {octets}");
        match way {
            Way::Right => say(&announced(part.len()), part),
            Way::RightInPieces => {
                let pieces = part
                    .chunks(300)
                    .map(|piece| [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
                let body = pieces.chain([b"0\r\n\r\n".to_vec()]).collect::<Vec<_>>().concat();
                say("200 OK\r\nTransfer-Encoding: chunked", &body)
            }
            Way::Unknown => say("404 Not Found\r\nContent-Length: 2", b"no"),
            Way::Error => say("502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 2", b"no"),
            Way::Redirect => say("302 Found\r\nLocation: http://127.0.0.1:1/login\r\nContent-Length: 0", b""),
            Way::Html => say("200 OK\r\nContent-Type: text/html\r\nContent-Length: 22", b"<html>Log in!</html>\r\n"),
            Way::Flipped => {
                let mut wrong = part.clone();
                wrong[part.len() / 2] ^= 1;
                say(&announced(wrong.len()), &wrong)
            }
            Way::Another => {
                let other = &self.parts[number.map_or(0, |number| (number + 1) % self.parts.len())];
                say(&announced(other.len()), other)
            }
            Way::CutAfter(octets) => say(&announced(part.len()), &part[..octets.min(part.len() - 1)]),
            Way::Shorter => say(&announced(part.len() - 1), &part[..part.len() - 1]),
            Way::Longer => say(&announced(part.len() + 1), &[part, &b"x"[..]].concat()),
            Way::Endless => {
                say("200 OK", part)?;
                while stream.write_all(&[0; 4096]).is_ok() {}
                None
            }
            Way::Announced => say(&announced(usize::MAX >> 1), part),
            Way::NoHttp => stream.write_all(b"220 mail.example ESMTP\r\n").ok(),
            Way::CloseAtOnce => None,
            Way::Dripping => {
                say(&announced(part.len()), b"")?;
                part.iter().try_for_each(|byte| {
                    std::thread::sleep(Duration::from_millis(20));
                    stream.write_all(&[*byte]).ok()
                })
            }
            Way::Silent => {
                let _ = stream.read(&mut byte);
                None
            }
        }
    }
}
