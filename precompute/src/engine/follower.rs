//! One thread for each issuer, so that a source that hangs holds up nobody else.
//!
//! Purpose: the engine's hold on that thread, from the first pass to the end. Invariant: a thread that hangs in a read
//! (a network file system that went away) is never waited for without a bound, and one that was replaced writes nothing
//! into the book any more. It does not know what is read.

use std::{
    fmt, io,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering::Release},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tracing::{debug, error, warn};

use super::{
    Accepted, EngineError, FollowedIssuer, IssuerState, Pass,
    former::FormerSources,
    saving::SharedBook,
    stop::{Stop, Why},
    watched::Watched,
};
use crate::limits;

/// An issuer and the thread that follows its sources.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) issuer: Arc<FollowedIssuer>,
    pub(super) state: IssuerState,
    /// Whether the book knew it at the start.
    known: bool,
    /// Until the thread has it.
    pub(super) watched: Option<Watched>,
    /// Gone when `watched` is, wherever it was.
    alive: Weak<()>,
    /// Gone when nothing is to be taken over any more from who followed other sources of this issuer.
    taking_over: Weak<()>,
    /// Gone when that one is.
    former_alive: Weak<()>,
    adopted: Arc<AtomicBool>,
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    pub(super) fn new(watched: Watched) -> Self {
        Self {
            issuer: Arc::clone(&watched.issuer),
            state: watched.state.clone(),
            known: watched.is_known(),
            alive: Arc::downgrade(&watched.alive),
            taking_over: Weak::new(),
            former_alive: Weak::new(),
            adopted: Arc::clone(&watched.adopted),
            watched: Some(watched),
            stop: Arc::default(),
            thread: None,
        }
    }

    /// Before it is started: has it save and tell nothing until [`Follower::adopted`].
    pub(super) fn wait_for_adoption(&self) {
        self.adopted.store(false, Release);
    }

    /// The configuration that it belongs to is adopted.
    pub(super) fn adopted(&self) {
        self.adopted.store(true, Release);
    }

    /// Has it take over, before it is started, what `former` revokes until its end.
    pub(super) fn take_over(&mut self, former: &Self) {
        if let Some(watched) = &mut self.watched {
            let alive = Weak::clone(&former.alive);
            let (former, taking_over) = FormerSources::new(former.state.clone(), Weak::clone(&alive));
            watched.former = Some(former);
            self.taking_over = taking_over;
            self.former_alive = alive;
        }
    }

    /// How long a reload waits for that; no time once it is over. One who was stopped and does not end hangs, and shows nothing
    /// that could be missed; else this one is in the middle of a pass.
    pub(super) fn patience(&self) -> Duration {
        if self.taking_over.strong_count() == 0 {
            Duration::ZERO
        } else if self.former_alive.strong_count() > 0 {
            limits::FORMER_END_MAX
        } else {
            limits::RELOAD_READ_MAX
        }
    }

    /// Starts the thread, which tells the outcome of its first pass with `place`, and goes on if that is good enough.
    fn start(&mut self, book: &SharedBook, terms: Terms, place: usize, tell: &Tell) -> io::Result<()> {
        let Some(mut watched) = self.watched.take() else { return Ok(()) };
        let (book, stop, tell) = (Arc::clone(book), Arc::clone(&self.stop), tell.clone());
        // By the book, not by what a pass that was refused has taken.
        let known = self.known;
        let thread = thread::Builder::new().name("source".into()).spawn(move || {
            // Reading millions of lines must not slow those who are answered meanwhile; where a core is free it costs nothing.
            if let Err(error) = rustix::process::setpriority_process(None, limits::SOURCE_PRIORITY) {
                debug!(%error, "the priority of reading sources cannot be lowered");
            }
            let outcome = match watched.first_pass(&book, terms.accept, terms.whole, &stop) {
                Err(EngineError::Source(faults)) if terms.from_book && known => {
                    watched.refused(&faults);
                    Ok(None)
                }
                outcome => outcome.map(Some),
            };
            let taken = outcome.is_ok();
            let _ = tell.send((place, outcome));
            if taken {
                watched.follow(&book, terms.accept, &stop);
            }
        })?;
        self.thread = Some(thread);
        Ok(())
    }

    /// Whether its thread has ended without being told to stop.
    pub(super) fn is_lost(&self) -> bool {
        self.thread.as_ref().is_some_and(JoinHandle::is_finished)
    }

    pub(super) fn stop(&self, why: Why) {
        self.stop.stop(why);
    }

    fn lost(&self, problem: impl fmt::Display) -> EngineError {
        EngineError::Thread(self.issuer.to_string(), problem.to_string())
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop(Why::Replaced);
    }
}

type Tell = mpsc::Sender<(usize, Result<Option<Pass>, EngineError>)>;

/// On what terms a first pass is made.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Terms {
    pub(super) accept: Accepted,
    /// Whether an issuer goes on from what the book knows of it where its sources are refused or hang.
    pub(super) from_book: bool,
    /// Whether what is no longer listed is waited for.
    pub(super) whole: bool,
    /// How long all others may take.
    pub(super) patience: Option<Duration>,
}

/// The first pass of each, as many at a time as there are cores; those that take long do not count, for they may hang.
pub(super) fn start(
    followers: &mut [Follower],
    book: &SharedBook,
    terms: Terms,
    mut each: impl FnMut(&FollowedIssuer, &Pass),
) -> Result<(), EngineError> {
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (tell, told) = mpsc::channel();
    let (mut waiting, mut reading) = (0..followers.len(), Vec::<(usize, Instant)>::new());
    loop {
        let busy = reading.iter().filter(|(_, since)| since.elapsed() < limits::FIRST_READ_QUICK).count();
        if busy < cores
            && let Some(place) = waiting.next()
        {
            let started = followers[place].start(book, terms, place, &tell);
            started.map_err(|error| followers[place].lost(format_args!("cannot be started: {error}")))?;
            reading.push((place, Instant::now()));
            continue;
        }
        if reading.is_empty() {
            return Ok(());
        }
        if let Ok((place, outcome)) = told.recv_timeout(limits::SOURCE_POLL_INTERVAL) {
            reading.retain(|(other, _)| *other != place);
            if let Some(pass) = outcome? {
                each(&followers[place].issuer, &pass);
            }
            continue;
        }
        if let Some((place, _)) = reading.iter().find(|(place, _)| followers[*place].is_lost()) {
            return Err(followers[*place].lost("panicked"));
        }
        let over = |since: &Instant, patience| since.elapsed() > patience;
        if let Some(patience) = terms.patience
            && let Some((place, _)) = reading.iter().find(|(_, since)| over(since, patience))
        {
            return Err(followers[*place].lost(format_args!("has not read them within {patience:?}")));
        }
        // What the book knows is told rather than nothing; who reads may still come to an end.
        reading.retain(|(place, since)| {
            let follower = &followers[*place];
            let goes_on = terms.from_book && follower.known && over(since, limits::START_READ_MAX);
            if goes_on {
                let fault = "the sources have not been read since the start: reading one of them takes long, or hangs";
                error!(issuer = %follower.issuer, "{fault}; answers come from the book");
                follower.state.health.refused(fault);
            }
            !goes_on
        });
    }
}

/// Stops all, and waits for them within a bound: one may be in the middle of a commit, and one may hang.
pub(super) fn end(followers: &[Follower]) {
    followers.iter().for_each(|follower| follower.stop(Why::End));
    let begun = Instant::now();
    let running = |follower: &&Follower| follower.thread.as_ref().is_some_and(|thread| !thread.is_finished());
    while followers.iter().any(|follower| running(&follower)) {
        if begun.elapsed() > limits::FOLLOWERS_END_MAX {
            for follower in followers.iter().filter(running) {
                warn!(issuer = %follower.issuer, "its sources are still being read; the program ends without waiting");
            }
            return;
        }
        thread::sleep(limits::FOLLOWERS_END_LOOK);
    }
}
