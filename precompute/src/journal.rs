//! Journals: files of lines of which nobody can change, remove, insert or swap one without being found out.
//!
//! Purpose: whatever has to be proven later. Programs put entries on bounded queues ([`Recorder`], [`Notes`]); one thread
//! takes them off twenty times a second, chains them and appends them to a file ([`Journal`]). Invariants: a serving thread
//! never waits for a journal and allocates nothing for it; what finds its queue full is counted, and the file says how many
//! lines are missing, and where; what is taken off a queue is written whole, sooner or later, whatever the disk reports in
//! the meantime, unless the process ends before. It does not know what entries say: an entry writes the members of a JSON
//! object. The reader that verifies is [`crate::audit`], which shares no code with this room.
//!
//! # Format
//!
//! A file has lines of UTF-8 that end in a line feed. Each is one JSON object, without spaces between its parts. It begins with
//! these members, in this order and form; the entry's own members follow:
//!
//! ```text
//! {"server":"b7e2…","seq":17,"at":"2026-11-30T17:40:27.123456Z","salt":"9f…","prev":"04…",…}
//! ```
//!
//! | member | what |
//! |---|---|
//! | `server` | the identity of the server, a UUID |
//! | `seq` | the number of the line: one more than that of the line before, from 1 on, across files |
//! | `at` | when the line was made, in UTC with microseconds |
//! | `salt` | 16 random bytes, so that nobody can guess a line from its hash |
//! | `prev` | the chain up to the line before: 32 bytes; zeros for line 1 |
//!
//! Bytes are in lower-case hexadecimal. The chain: `chain(n) = SHA-256(chain(n-1) ‖ SHA-256(line n))`, where a line is its bytes
//! without the line feed, and `chain(0)` is 32 zero bytes. So whoever knows only the hash of a line can go on with the chain.
//!
//! Members of the journal's own lines:
//!
//! ```text
//! …"type":"file","journal":"time-stamps","format":1,"key":"…","software":"0.9.0"}   the first line of each file
//! …"type":"head","signature":"…"}                                                   a head
//! …"type":"lost","time":"…","count":17}                                             so many entries are missing here
//! …"type":"torn","octets":37,"text":"…"}                                            a line that was cut off when a start found it incomplete
//! …"type":"fault","problem":"…"}                                                    the file before this one was tampered with
//! ```
//!
//! `key` is the Ed25519 public key (RFC 8032) of the heads that follow. The signature of a head is over the bytes
//! `Ostia journal head 1`, a line feed, and the line up to and without `,"signature"`. As that has `seq` and `prev`, a head
//! vouches for every line before it.
//!
//! **Heads** are written once a second while lines are, before a rotation and at the end. Lines after the last head are
//! chained and not yet vouched for: after a crash there may be those of a second.
//!
//! **Durability.** Lines are passed to the kernel within 50 ms and survive a kill of the process. They are synchronised with
//! the disk once a second, and at the end. After a loss of power up to a second of them may be missing.
//!
//! **Rotation.** A file that exceeds its bounds of size or age is renamed to its name with the time appended. Renamed files are
//! kept, unless the configuration limits their number. Another program may rename the file as well, and ask for it to be
//! opened again. The chain goes on in the next file, whose first line has the chain of the last line of the former.
//!
//! **At a start** the chain goes on behind the last line, or, where there is no file, behind that of the newest file beside it
//! whose name begins with its own. A last line of another server is an error: two servers' journals were swapped, or a
//! directory was copied. An incomplete last line is cut off, and a line says so. A file whose lines since its last head do not
//! fit is renamed as by a rotation, and a new one goes on behind it, tells it, and so does the journal's condition for as long as
//! the process runs: the service is never stopped by that. A file of an earlier version, without chains, is renamed in the same way.

mod chain;
mod file;
mod found;
mod key;
pub mod members;
mod thread;
pub mod trail;

use std::{
    convert::Infallible,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{self, SyncSender},
    },
    thread::JoinHandle,
    time::Duration,
};

pub use self::key::{HeadKey, KEY_FILE, NOTICE_PREFIX, TRANSPARENCY_PREFIX};
use crate::{
    limits::journal as limits,
    pki::FileError,
    state_dir::{ServerId, former_servers, server},
};

/// What a journal is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kind {
    /// What the first line of each file calls it.
    pub name: &'static str,
    /// What messages call it, such as `the record of time-stamps`.
    pub title: &'static str,
}

/// Where a journal is and when a new file is begun.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// The file that lines are appended to: a regular file, or none yet.
    pub path: PathBuf,
    /// Bytes after which another file is begun.
    pub rotate_octets: u64,
    /// Age after which another file is begun.
    pub rotate_age: Duration,
    /// How many rotated files are kept, the latest ones; `None` for all.
    pub keep: Option<usize>,
}

impl Options {
    /// A file a day, or more if they grow large; all of them kept.
    pub fn new(path: PathBuf) -> Self {
        Self { path, rotate_octets: limits::FILE_OCTETS, rotate_age: limits::FILE_AGE, keep: None }
    }
}

/// Whose journals they are.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The server that lines name.
    pub server: ServerId,
    /// What signs heads.
    pub key: HeadKey,
    /// Who it was before it was adopted: their journals are ended, and not refused.
    pub former: Vec<ServerId>,
}

impl Identity {
    /// That of the server whose state directory this process has; makes the key at the first use.
    pub fn of(server: ServerId, state_dir: &Path) -> Result<Self, FileError> {
        Ok(Self { server, key: HeadKey::open_or_make(state_dir)?, former: former_servers(state_dir) })
    }
}

/// What becomes a line.
pub trait Entry: Send + 'static {
    /// Appends the members of a JSON object, such as `"type":"token","count":1`: no line feed, no braces around them.
    fn push(&self, members: &mut String);
}

impl Entry for Infallible {
    fn push(&self, _: &mut String) {
        match *self {}
    }
}

/// Takes the entries of one serving thread.
#[derive(Debug)]
pub struct Recorder<E> {
    entries: SyncSender<E>,
    counters: Arc<Counters>,
}

impl<E> Recorder<E> {
    /// Puts an entry on the queue; false if there was no room, which is counted.
    #[inline]
    pub fn record(&self, entry: E) -> bool {
        // The receiver polls, so this wakes no thread.
        let taken = self.entries.try_send(entry).is_ok();
        if !taken {
            self.counters.lost.fetch_add(1, Relaxed);
        }
        taken
    }
}

/// Takes what happens rarely, from any thread.
#[derive(Clone, Debug)]
pub struct Notes {
    orders: SyncSender<Order>,
    counters: Arc<Counters>,
}

impl Notes {
    /// Puts the members of a line on the queue, as [`Entry::push`] writes them; counts it if there is no room.
    pub fn note(&self, members: String) {
        if self.orders.try_send(Order::Note(members)).is_err() {
            self.counters.lost.fetch_add(1, Relaxed);
        }
    }
}

/// Messages to the thread.
#[derive(Debug)]
enum Order {
    /// Append a line with these members.
    Note(String),
    /// Open the file by its name again.
    Reopen,
    /// Write what is left, and end.
    End,
}

#[derive(Default, Debug)]
struct Counters {
    written: AtomicU64,
    lost: AtomicU64,
    failures: AtomicU64,
    rotations: AtomicU64,
    /// Unix time of the last head, in seconds.
    head: AtomicU64,
    problem: Mutex<Option<String>>,
}

/// The condition of a journal, for health and metrics.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JournalStatus {
    /// Lines in the file, without those of the journal itself but for lost entries.
    pub written: u64,
    /// Entries that are missing in the file.
    pub lost: u64,
    /// How often the file could not be written, opened, synchronised or renamed.
    pub failures: u64,
    /// Files that were completed.
    pub rotations: u64,
    /// When the last head was signed, Unix time in seconds; 0 before the first.
    pub head: u64,
    /// What is wrong with the file now, or was with the one that the start found.
    pub problem: Option<String>,
}

/// The thread that writes a journal.
#[derive(Debug)]
pub struct Journal {
    orders: SyncSender<Order>,
    counters: Arc<Counters>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Why the journal could not be written, or a new file begun, if so; the check leaves no trace. A state directory that is
/// missing is made by the start, and whether it can be is for [`crate::state_dir::check`] to say.
pub fn check(kind: Kind, options: &Options, state_dir: &Path) -> Result<(), FileError> {
    if file::directory(&options.path) == state_dir && !state_dir.exists() {
        return Ok(());
    }
    file::check(kind, &options.path)
}

/// What a start with this state directory would find wrong with the lines that are there; a line for people, and
/// whether the start would be refused for it. The look leaves no trace.
pub fn doubt(options: &Options, state_dir: &Path) -> Option<(String, bool)> {
    let server = server(state_dir).ok().flatten().map(|found| found.id);
    let key = HeadKey::open(state_dir).ok().flatten().map(|key| key.public());
    found::doubt(&options.path, server, key, &former_servers(state_dir))
}

/// Opens the file and starts the thread; returns a [`Recorder`] for each of `queues` serving threads.
pub fn start<E: Entry>(
    identity: &Identity,
    kind: Kind,
    options: Options,
    queues: usize,
) -> Result<(Journal, Vec<Recorder<E>>), FileError> {
    let file = file::Appended::open(kind, options)?;
    let found = found::Found::of(&file, identity)?;
    start_on(file, found, identity.clone(), queues)
}

fn start_on<E: Entry>(
    file: file::Appended,
    found: found::Found,
    identity: Identity,
    queues: usize,
) -> Result<(Journal, Vec<Recorder<E>>), FileError> {
    let path = file.path().to_owned();
    let counters = Arc::<Counters>::default();
    let (orders, given) = mpsc::sync_channel(limits::ORDERS_MAX);
    let (senders, queues): (Vec<_>, Vec<_>) = (0..queues).map(|_| mpsc::sync_channel(limits::QUEUE_MAX)).unzip();
    let worker = thread::Worker::new(file, found, identity, given, queues, Arc::clone(&counters));
    let thread = std::thread::Builder::new().name("journal".into()).spawn(move || worker.run());
    let thread = thread.map_err(|error: io::Error| FileError::new(&path, format_args!("no thread for it: {error}")))?;
    let recorder = |entries| Recorder { entries, counters: Arc::clone(&counters) };
    let recorders = senders.into_iter().map(recorder).collect();
    Ok((Journal { orders, counters, thread: Mutex::new(Some(thread)) }, recorders))
}

impl Journal {
    /// For what happens rarely.
    pub fn notes(&self) -> Notes {
        Notes { orders: self.orders.clone(), counters: Arc::clone(&self.counters) }
    }

    /// Requests that the file be opened by its name again, after it was renamed.
    pub fn reopen(&self) {
        // If the queue is full, whoever renamed the file has to ask again.
        let _ = self.orders.try_send(Order::Reopen);
    }

    /// Its condition.
    pub fn status(&self) -> JournalStatus {
        let Counters { written, lost, failures, rotations, head, problem, .. } = &*self.counters;
        let problem = problem.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let [written, lost, failures, rotations, head] =
            [written, lost, failures, rotations, head].map(|count| count.load(Relaxed));
        JournalStatus { written, lost, failures, rotations, head, problem }
    }

    /// Writes, signs and synchronises everything recorded before, tries for at most [`limits::END_MAX`] if that fails, and
    /// ends. Serving threads should have ended.
    pub fn finish(&self) -> JournalStatus {
        self.end();
        self.status()
    }

    fn end(&self) {
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // The thread takes orders whatever the disk reports, so there will soon be room.
            let _ = self.orders.send(Order::End);
            let _ = thread.join();
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
pub(crate) mod tests;
