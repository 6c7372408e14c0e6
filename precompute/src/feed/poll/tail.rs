//! Gives out the end of the stream to who polls: read once from Redis, whoever asks.
//!
//! Purpose: fifty readers cost Redis one. What comes is kept for a while in memory; who is further behind has it read from Redis,
//! one such reader after the other. Invariants: at most [`limits::POLL_KEPT_OCTETS`] are kept; an answer is at most
//! [`limits::POLL_OCTETS_MAX`] long, and nobody waits longer than [`limits::POLL_WAIT_MAX`]; entries are given as they came,
//! whole and in order; when the connection to Redis is another one, what was kept is forgotten and who polls is told. While
//! Redis is away nothing is given. It verifies nothing: its readers do.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    thread,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{Path, RawQuery, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{sync::watch, task::spawn_blocking, time::timeout_at};

use super::{
    super::{
        Cluster, Position,
        redis::Stream,
        transport::{Gone, Info, Raw, Transport as _},
    },
    Answer,
};
use crate::limits::feed as limits;

/// See the module. Clones share it; its thread ends with the last of them.
#[derive(Clone, Debug)]
pub struct Tail(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    cluster: Cluster,
    kept: Mutex<Kept>,
    news: watch::Sender<u64>,
    /// For what is not kept.
    behind: Mutex<Stream>,
}

/// The end of the stream.
#[derive(Debug, Default)]
struct Kept {
    /// `None` while Redis is away.
    connection: Option<u64>,
    info: Option<Info>,
    /// Every entry after this one is here.
    from: Position,
    entries: VecDeque<Raw>,
    octets: usize,
}

impl Kept {
    fn last(&self) -> Position {
        self.entries.back().map_or(self.from, |entry| entry.position)
    }

    fn begin(&mut self, connection: u64, info: Option<Info>) {
        let from = info.map_or(Position::START, |info| info.last);
        *self = Self { connection: Some(connection), info, from, ..Self::default() };
    }

    fn take(&mut self, entries: Vec<Raw>) {
        for entry in entries {
            self.octets += entry.bytes.len();
            self.entries.push_back(entry);
        }
        while self.octets > limits::POLL_KEPT_OCTETS {
            let Some(first) = self.entries.pop_front() else { break };
            self.octets -= first.bytes.len();
            self.from = first.position;
        }
    }

    /// The answer from here; `None` where some of it is no longer kept.
    fn after(&self, after: Position, most: usize) -> Option<Answer> {
        let connection = self.connection?;
        if after < self.from && most > 0 {
            return None;
        }
        let behind = self.entries.iter().filter(|entry| entry.position > after).take(most);
        Some(Answer { connection, info: self.info, entries: within_bounds(behind.cloned()) })
    }
}

/// As many as an answer may have; one at least.
fn within_bounds(entries: impl Iterator<Item = Raw>) -> Vec<Raw> {
    let mut octets = 0;
    let fits = |entry: &Raw| {
        let is_first = octets == 0;
        octets += entry.bytes.len() + 64;
        is_first || octets < limits::POLL_OCTETS_MAX / 2
    };
    entries.take_while(fits).collect()
}

impl Tail {
    /// Begins to read the stream; `stream` has a connection of its own.
    pub fn start(cluster: &Cluster, stream: &Stream) -> io::Result<Self> {
        let (news, behind) = (watch::channel(0).0, Mutex::new(stream.another()));
        let shared = Arc::new(Shared { cluster: cluster.clone(), kept: Mutex::default(), news, behind });
        let (weak, own) = (Arc::downgrade(&shared), stream.another().waiting(limits::POLL_WAIT_MAX));
        thread::Builder::new().name("feed tail".to_owned()).spawn(move || follow(&weak, own))?;
        Ok(Self(shared))
    }

    async fn answer(&self, after: Position, most: usize, wait: Duration) -> Result<Answer, Gone> {
        let end = tokio::time::Instant::now() + wait;
        let mut news = self.0.news.subscribe();
        loop {
            news.borrow_and_update();
            let (is_away, answer) = {
                let kept = self.0.kept();
                (kept.connection.is_none(), kept.after(after, most))
            };
            match answer {
                _ if is_away => return Err(Gone),
                None => return self.read_behind(after, most).await,
                Some(answer) if most == 0 || !answer.entries.is_empty() => return Ok(answer),
                Some(answer) => {
                    // A lost sender is the end of it.
                    if !matches!(timeout_at(end, news.changed()).await, Ok(Ok(()))) {
                        return Ok(answer);
                    }
                }
            }
        }
    }

    /// What is not kept any more.
    async fn read_behind(&self, after: Position, most: usize) -> Result<Answer, Gone> {
        let shared = Arc::clone(&self.0);
        let read = spawn_blocking(move || {
            let mut stream = shared.behind.lock().unwrap_or_else(PoisonError::into_inner);
            let entries = stream.read_after(after, most)?;
            let kept = shared.kept();
            let connection = kept.connection.ok_or(Gone)?;
            Ok(Answer { connection, info: kept.info, entries: within_bounds(entries.into_iter()) })
        });
        read.await.unwrap_or(Err(Gone))
    }

    async fn head(&self) -> Result<Option<Arc<[u8]>>, Gone> {
        let shared = Arc::clone(&self.0);
        let read = spawn_blocking(move || shared.behind.lock().unwrap_or_else(PoisonError::into_inner).head());
        read.await.unwrap_or(Err(Gone))
    }
}

impl Shared {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One look at Redis. Returns whether it answers.
    fn step(&self, stream: &mut Stream, known: &mut Option<u64>, looked: &mut Instant) -> bool {
        let Some(connection) = stream.connection() else { return false };
        if *known != Some(connection) || self.kept().connection.is_none() {
            let Ok(info) = stream.info() else { return false };
            // Another one than that of any other process, or of this one before.
            self.kept().begin(rand_number(connection), info);
            *known = Some(connection);
        }
        let after = self.kept().last();
        let Ok(entries) = stream.read_after(after, limits::READ_ENTRIES_MAX) else { return false };
        let is_due = looked.elapsed() >= limits::POLL_WAIT_MAX;
        let info = if is_due || !entries.is_empty() { stream.info().ok() } else { None };
        let mut kept = self.kept();
        if let Some(info) = info {
            *looked = Instant::now();
            // The stream is another one, or was put back.
            if info.is_none_or(|info| info.last < after) {
                kept.begin(rand_number(connection), info);
            }
            kept.info = info;
        }
        kept.take(entries);
        true
    }
}

/// A number that no other connection has.
fn rand_number(connection: u64) -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(connection)
}

fn follow(shared: &Weak<Shared>, mut stream: Stream) {
    let (mut known, mut looked) = (None, Instant::now());
    while let Some(shared) = shared.upgrade() {
        let is_there = shared.step(&mut stream, &mut known, &mut looked);
        if !is_there {
            shared.kept().connection = None;
            known = None;
        }
        shared.news.send_modify(|count| *count += 1);
        drop(shared);
        if !is_there {
            thread::sleep(limits::RECONNECT_MAX);
        }
    }
}

/// Answers who polls.
pub fn router(tail: Tail) -> Router {
    Router::new()
        .route("/feed/{cluster}/entries", get(entries))
        .route("/feed/{cluster}/head", get(head))
        .with_state(tail)
}

async fn entries(State(tail): State<Tail>, Path(cluster): Path<String>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let value = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let after = value("after").and_then(position);
    let (most, wait) = (value("most").and_then(|most| most.parse().ok()), value("wait").and_then(|ms| ms.parse().ok()));
    let (Some(after), true) = (after, cluster == tail.0.cluster.to_string()) else { return unknown() };
    let most = most.unwrap_or(0).min(limits::READ_ENTRIES_MAX);
    let wait = Duration::from_millis(wait.unwrap_or(0)).min(limits::POLL_WAIT_MAX);
    match tail.answer(after, most, wait).await {
        Ok(answer) => found(answer.write()),
        Err(Gone) => away(),
    }
}

async fn head(State(tail): State<Tail>, Path(cluster): Path<String>) -> Response {
    if cluster != tail.0.cluster.to_string() {
        return unknown();
    }
    match tail.head().await {
        Ok(Some(head)) => found(head.to_vec()),
        Ok(None) => StatusCode::NO_CONTENT.into_response(),
        Err(Gone) => away(),
    }
}

fn position(text: &str) -> Option<Position> {
    let (epoch, sequence) = text.split_once('-')?;
    Some(Position { epoch: epoch.parse().ok()?, sequence: sequence.parse().ok()? })
}

fn found(body: Vec<u8>) -> Response {
    let fields = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (fields, body).into_response()
}

fn unknown() -> Response {
    (StatusCode::NOT_FOUND, [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], "no such feed here\n")
        .into_response()
}

fn away() -> Response {
    let fields = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (StatusCode::SERVICE_UNAVAILABLE, fields, "Redis is away\n").into_response()
}
