//! The record of time-stamps: a line of JSON for every token, and for every change of trust in the clock.
//!
//! Serving threads put tokens on a bounded queue each ([`Recorder`]). One thread takes them off twenty times a second
//! and appends them to a file ([`Writer`]). Invariant: a serving thread never waits for the record and allocates
//! nothing for it. A token that finds its queue full is counted, and the file says how many are missing, and where.
//! What is taken off the queue is written whole, sooner or later, whatever the disk reports in the meantime, unless the
//! process ends before. It does not know how tokens are made.
//!
//! Lines (times are UTC, bytes hexadecimal, nanoseconds signed):
//!
//! ```text
//! {"type":"token","time":"2026-11-21T16:10:31.123Z","serial":"4f…","imprint":"sha256:2c…","tenant":"a","policy":"1.3.6.1.4.1.4146.2.3","key":"9a…","offset_ns":-1200,"uncertainty_ns":450000}
//! {"type":"clock","time":"…","source":"kernel","accuracy_ms":1000,"from":"trusted","to":"silent","offset_ns":null,"uncertainty_ns":null,"problem":"…"}
//! {"type":"lost","time":"…","count":17}
//! ```
//!
//! `time` of a token is its genTime; `offset_ns` and `uncertainty_ns` are null for a clock that is not checked.
//!
//! **Durability.** Lines are passed to the kernel within 50 ms and survive a kill of the process. They are synchronised
//! with the disk once a second, and at the end. After a loss of power up to a second of them may be missing.
//!
//! **Rotation.** A file that exceeds its bounds of size or age is renamed to its name with the time appended. Renamed
//! files are kept, unless the configuration limits their number. Another program may rename the file as well, and ask
//! for it to be opened again.

mod file;
mod line;
mod thread;

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{self, SyncSender},
    },
    thread::JoinHandle,
    time::Duration,
};

use precompute::pki::FileError;

use super::{clock::Transition, serial::SerialNumber};
use crate::limits;

/// Bytes of the longest imprint: SHA-512 and SHA3-512.
pub const IMPRINT_OCTETS_MAX: usize = 64;

/// Where the record is and when a new file is begun.
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
        Self { path, rotate_octets: limits::RECORD_FILE_OCTETS, rotate_age: limits::RECORD_FILE_AGE, keep: None }
    }
}

/// What tokens of one signer share.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The tenant of the TSA.
    pub tenant: String,
    /// The policy's OID in dotted form.
    pub policy: String,
    /// The name of the key, in hexadecimal.
    pub key: String,
}

/// The record of a token.
#[derive(Clone, Debug)]
pub struct Token {
    /// Its serialNumber.
    pub serial: SerialNumber,
    /// Its genTime, in nanoseconds since 1970, to its precision.
    pub unix_nanos: u64,
    /// Its messageImprint.
    pub imprint: Imprint,
    /// The authority and policy.
    pub origin: Arc<Origin>,
    /// The condition of the clock: how far it was ahead of UTC, and how wrong that may be; nanoseconds.
    pub clock: Option<(i64, u64)>,
}

/// A hash with its algorithm.
#[derive(Clone, Debug)]
pub struct Imprint {
    algorithm: &'static str,
    octets: [u8; IMPRINT_OCTETS_MAX],
    length: u8,
}

impl Imprint {
    /// `algorithm`: its name in the record: letters, digits and hyphens. Bytes beyond the longest imprint are cut off.
    pub fn new(algorithm: &'static str, hash: &[u8]) -> Self {
        let length = hash.len().min(IMPRINT_OCTETS_MAX);
        let mut octets = [0; IMPRINT_OCTETS_MAX];
        octets[..length].copy_from_slice(&hash[..length]);
        Self { algorithm, octets, length: length as u8 }
    }

    fn hash(&self) -> &[u8] {
        &self.octets[..self.length.into()]
    }
}

/// Records the tokens of one serving thread.
#[derive(Debug)]
pub struct Recorder {
    tokens: SyncSender<Token>,
    counters: Arc<Counters>,
}

impl Recorder {
    /// Puts a token on the queue; false if there was no room, which is counted.
    #[inline]
    pub fn record(&self, token: Token) -> bool {
        // The receiver polls, so this wakes no thread.
        let taken = self.tokens.try_send(token).is_ok();
        if !taken {
            self.counters.lost.fetch_add(1, Relaxed);
        }
        taken
    }
}

/// Records changes of trust in the clock; for [`super::clock::Hook`].
#[derive(Clone, Debug)]
pub struct Audit {
    orders: SyncSender<Order>,
    counters: Arc<Counters>,
}

impl Audit {
    /// Puts a transition on the queue; counts it if there is no room.
    pub fn note(&self, transition: &Transition) {
        if self.orders.try_send(Order::Note(line::of_transition(transition))).is_err() {
            self.counters.lost.fetch_add(1, Relaxed);
        }
    }
}

/// Messages to the thread.
#[derive(Debug)]
enum Order {
    /// Append this line.
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
    problem: Mutex<Option<String>>,
}

/// The condition of the record, for health and metrics.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordStatus {
    /// Lines in the file.
    pub written: u64,
    /// Tokens and transitions that are missing in the file.
    pub lost: u64,
    /// How often the file could not be written, opened, synchronised or renamed.
    pub failures: u64,
    /// Files that were completed.
    pub rotations: u64,
    /// What is wrong with the file now.
    pub problem: Option<String>,
}

/// The thread that writes the record.
#[derive(Debug)]
pub struct Writer {
    orders: SyncSender<Order>,
    counters: Arc<Counters>,
    thread: Option<JoinHandle<()>>,
}

/// Why the record could not be written, or a new file begun, if so; the check leaves no trace.
pub fn check(options: &Options) -> Result<(), FileError> {
    file::check(&options.path)
}

/// Opens the file and starts the thread; returns a [`Recorder`] for each of `workers` serving threads.
pub fn start(options: Options, workers: usize) -> Result<(Writer, Vec<Recorder>), FileError> {
    start_on(file::Appended::open(options)?, workers)
}

fn start_on(file: file::Appended, workers: usize) -> Result<(Writer, Vec<Recorder>), FileError> {
    let path = file.path().to_owned();
    let counters = Arc::<Counters>::default();
    let (orders, given) = mpsc::sync_channel(limits::RECORD_ORDERS_MAX);
    let (senders, queues): (Vec<_>, Vec<_>) =
        (0..workers).map(|_| mpsc::sync_channel(limits::RECORD_QUEUE_MAX)).unzip();
    let worker = thread::Worker::new(file, given, queues, Arc::clone(&counters));
    let thread = std::thread::Builder::new().name("record".into()).spawn(move || worker.run());
    let thread = thread.map_err(|error: io::Error| FileError::new(&path, format_args!("no thread for it: {error}")))?;
    let recorders = senders.into_iter().map(|tokens| Recorder { tokens, counters: Arc::clone(&counters) }).collect();
    Ok((Writer { orders, counters, thread: Some(thread) }, recorders))
}

impl Writer {
    /// For events other than tokens.
    pub fn audit(&self) -> Audit {
        Audit { orders: self.orders.clone(), counters: Arc::clone(&self.counters) }
    }

    /// Requests that the file be opened by its name again, after it was renamed.
    pub fn reopen(&self) {
        // If the queue is full, whoever renamed the file has to ask again.
        let _ = self.orders.try_send(Order::Reopen);
    }

    /// Its condition.
    pub fn state(&self) -> RecordStatus {
        let Counters { written, lost, failures, rotations, problem } = &*self.counters;
        let problem = problem.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let [written, lost, failures, rotations] =
            [written, lost, failures, rotations].map(|count| count.load(Relaxed));
        RecordStatus { written, lost, failures, rotations, problem }
    }

    /// Writes and synchronises everything recorded before, tries for at most [`limits::RECORD_END_MAX`] if that fails,
    /// and ends. Serving threads should have ended.
    pub fn finish(mut self) -> RecordStatus {
        self.end();
        self.state()
    }

    fn end(&mut self) {
        if let Some(thread) = self.thread.take() {
            // The thread takes orders whatever the disk reports, so there will soon be room.
            let _ = self.orders.send(Order::End);
            let _ = thread.join();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests;
