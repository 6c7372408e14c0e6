//! What Redis, or whoever stands in its place, answers to a reader.
//!
//! - Every answer is read, or ends in a fault that can be logged; nothing waits.
//! - What is read lies in the answer; an answer with the same entries says the same.

use std::{
    io::{Read as _, Write as _},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use precompute::feed::{
    Position,
    redis::{Address, Fault, Server, Stream},
};

use super::CLUSTER;

/// One server for all inputs: it answers the first command on each connection with the next answer, and closes.
struct Peer {
    socket: PathBuf,
    answer: Mutex<Vec<u8>>,
    _directory: tempfile::TempDir,
}

static PEER: LazyLock<&'static Peer> = LazyLock::new(|| {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("redis");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let peer: &Peer = Box::leak(Box::new(Peer { socket, answer: Mutex::default(), _directory: directory }));
    thread::spawn(move || listener.incoming().for_each(|stream| peer.serve(stream.expect("a connection"))));
    peer
});

impl Peer {
    fn serve(&self, mut stream: UnixStream) {
        let mut command = [0; 1024];
        let asked = stream.read(&mut command).unwrap_or(0);
        if asked > 0 {
            let answer = self.answer().clone();
            // The client may have seen enough.
            let _ = stream.write_all(&answer);
        }
        let _ = stream.shutdown(Shutdown::Write);
    }

    fn answer(&self) -> MutexGuard<'_, Vec<u8>> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the input as what its first byte says: `r` the answer to XREAD, `x` to XINFO, `h` to GET.
pub fn redis(input: &[u8]) -> bool {
    // One at a time: the answer is the server's.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let Some((form, answer)) = input.split_first() else { return false };
    match form {
        b'r' => {
            let entries = is_fine(read(answer));
            if let Some(entries) = &entries {
                let octets: usize = entries.iter().map(|(_, entry)| entry.len() + 3).sum();
                assert!(octets <= answer.len(), "{} bytes: {entries:?}", answer.len());
                assert_eq!(read(&reply(entries)).ok().as_ref(), Some(entries), "answered again");
            }
            entries.is_some_and(|entries| !entries.is_empty())
        }
        b'x' => is_fine(with(answer, Stream::extent)).flatten().is_some(),
        b'h' => {
            let head = is_fine(with(answer, Stream::manifest)).flatten();
            assert!(head.as_ref().is_none_or(|head| head.len() < answer.len()));
            head.is_some()
        }
        _ => false,
    }
}

fn with<T>(answer: &[u8], ask: impl FnOnce(&mut Stream) -> Result<T, Fault>) -> Result<T, Fault> {
    *PEER.answer() = answer.to_vec();
    let address = Address::Unix(PEER.socket.clone());
    ask(&mut Stream::new(Server::at(address), &CLUSTER))
}

fn read(answer: &[u8]) -> Result<Vec<(Position, Vec<u8>)>, Fault> {
    with(answer, |stream| stream.read(Position::START, 1_000, Duration::ZERO))
}

fn is_fine<T>(outcome: Result<T, Fault>) -> Option<T> {
    if let Err(fault) = &outcome {
        let said = fault.to_string();
        assert!(!said.contains(char::is_control) && said.chars().count() < 600, "{said:?}");
    }
    outcome.ok()
}

/// The answer of a server that has just these entries, by the specification of RESP2.
fn reply(entries: &[(Position, Vec<u8>)]) -> Vec<u8> {
    let bulk = |bytes: &[u8]| [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
    let mut reply = format!("*1\r\n*2\r\n$4\r\nfeed\r\n*{}\r\n", entries.len()).into_bytes();
    for (position, entry) in entries {
        reply.extend_from_slice(b"*2\r\n");
        reply.extend_from_slice(&bulk(position.to_string().as_bytes()));
        reply.extend_from_slice(b"*2\r\n");
        reply.extend_from_slice(&bulk(b"b"));
        reply.extend_from_slice(&bulk(entry));
    }
    reply
}
