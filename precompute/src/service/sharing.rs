//! Answers that replicas share through Redis, so that one signature of a token serves all of them.
//!
//! Purpose: whoever misses an answer asks here before it has one signed, and offers what it has signed. Invariants:
//!
//! - Asking and offering wait for nothing. A question is replied to within [`limits::WITHIN`] of when it was asked, and about
//!   as long as a turn of the thread takes: with [`Reply::Nothing`] if Redis has not answered by then.
//! - After Redis was late or failed, nobody asks until it has answered a question of this module's own in time.
//! - What one process offers is bounded, in bytes of Redis until it expires.
//!
//! Many questions become one request. Two threads: one decides (`machine`), and one asks Redis (`courier`), which may hang as
//! long as it likes. It does not know what an answer says: whoever asked verifies it, as Redis is not trusted.

mod allowance;
mod breaker;
mod courier;
mod machine;
mod told;

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError},
    },
    thread::{self, JoinHandle},
    time::Instant,
};

use self::machine::{Event, Machine};
pub use self::told::{SharingState, SharingStatus};
use super::Threads;
use crate::{
    feed::redis::{Offer, Stream, Wanted},
    limits::sharing as limits,
};

/// Asks for answers and offers them. Clones share the threads.
#[derive(Clone)]
pub struct Sharing {
    events: SyncSender<Event>,
    status: Arc<SharingStatus>,
}

/// The threads behind [`Sharing`]; they end with [`SharingThreads::end`].
#[derive(Debug)]
pub struct SharingThreads {
    sharing: Sharing,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// A question for the answer of another replica.
pub struct Question {
    /// What is asked for.
    pub wanted: Wanted,
    /// When it was asked.
    pub asked: Instant,
    /// Called once, on another thread, which waits for it.
    pub reply: Box<dyn FnOnce(Reply) + Send>,
}

/// What became of a question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// Somebody has put this there; nobody knows who.
    Found(Vec<u8>),
    /// Nothing is there, or nobody can tell in time.
    Nothing,
}

impl Sharing {
    /// Starts the threads, which connect with the first question. `threads` hears of what ends.
    pub fn start(stream: Stream, threads: &Threads) -> io::Result<SharingThreads> {
        let status = Arc::<SharingStatus>::default();
        let (events, happened) = mpsc::sync_channel(limits::QUEUE_LENGTH_MAX);
        let machine = Machine::new(Arc::clone(&status), stream.shared_prefix_octets());
        let (errands, to_do) = mpsc::sync_channel(1);
        let done = events.clone();
        let last = threads.last_words("the thread that asks Redis for shared answers");
        thread::Builder::new().name("shared in Redis".into()).spawn(move || {
            let _last = last;
            courier::run(stream, &to_do, |outcome| done.send(Event::Done(outcome)).is_ok());
        })?;
        let stop = Arc::<AtomicBool>::default();
        let last = threads.last_words("the thread of shared answers");
        let stops = Arc::clone(&stop);
        let thread = thread::Builder::new().name("shared answers".into()).spawn(move || {
            let _last = last;
            run(machine, &happened, &errands, &stops);
        })?;
        Ok(SharingThreads { sharing: Self { events, status }, stop, thread })
    }

    /// What became of questions and offers.
    pub fn status(&self) -> &Arc<SharingStatus> {
        &self.status
    }

    /// Takes a question, or gives it back where nobody is to be asked now: it has to be done without others then.
    pub fn ask(&self, question: Question) -> Result<(), Question> {
        match self.status.state() {
            SharingState::Asked => {}
            SharingState::Away => {
                self.status.not_asked.fetch_add(1, Relaxed);
                return Err(question);
            }
            SharingState::Idle => {
                self.wake();
                self.status.not_asked.fetch_add(1, Relaxed);
                return Err(question);
            }
        }
        match self.events.try_send(Event::Asked(question)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(Event::Asked(question)) | TrySendError::Disconnected(Event::Asked(question))) => {
                self.status.late.fetch_add(1, Relaxed);
                Err(question)
            }
            // What comes back is what was sent.
            Err(_) => Ok(()),
        }
    }

    /// Offers an answer that was signed here. It is dropped where too much waits.
    pub fn offer(&self, offer: Offer) {
        if self.events.try_send(Event::Offered(offer)).is_err() {
            self.status.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Connects before the first question.
    pub fn wake(&self) {
        let _ = self.events.try_send(Event::Woken);
    }
}

impl SharingThreads {
    /// For whoever asks.
    pub fn sharing(&self) -> &Sharing {
        &self.sharing
    }

    /// Ends the thread that decides. The other one ends when Redis lets it.
    pub fn end(self) {
        self.stop.store(true, Relaxed);
        self.sharing.wake();
        // A panic has been told where it happened.
        let _ = self.thread.join();
    }
}

impl fmt::Debug for Sharing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sharing").field("status", &self.status).finish_non_exhaustive()
    }
}

/// Steps the machine until it is stopped, or nobody is left to ask Redis.
fn run(mut machine: Machine, happened: &Receiver<Event>, errands: &SyncSender<machine::Errand>, stop: &AtomicBool) {
    while !stop.load(Relaxed) {
        // The courier has nothing to do when there is an errand, so this does not wait.
        if machine.step(Instant::now()).is_some_and(|errand| errands.send(errand).is_err()) {
            return;
        }
        match happened.recv_timeout(machine.patience(Instant::now())) {
            Ok(event) => machine.take(event, Instant::now()),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        // Those that came together become one request.
        for event in happened.try_iter().take(limits::QUEUE_LENGTH_MAX) {
            machine.take(event, Instant::now());
        }
    }
}
