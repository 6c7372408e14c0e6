//! The thread that saves what changed, whenever there is room: one for the ledgers of all issuers.
//!
//! Purpose: showing a change never waits for a disk. Invariant: a push that waits for the book goes first, after at most
//! one chunk; no issuer's backlog keeps another's waiting, because each saves a chunk in turn; and one that cannot be
//! saved rests alone. It does not know what is saved.

use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tracing::error;

use super::Inner;
use crate::{issuer_id::IssuerId, limits, state_dir::StateError};

/// Wakes the thread.
#[derive(Debug, Default)]
pub(super) struct Bell {
    state: Mutex<State>,
    rung: Condvar,
}

#[derive(Debug, Default)]
struct State {
    rung: bool,
    stopped: bool,
    ledgers: Vec<Arc<Inner>>,
}

impl Bell {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is something to save.
    pub(super) fn ring(&self) {
        self.lock().rung = true;
        self.rung.notify_one();
    }
}

/// Saves until it is dropped.
#[derive(Debug)]
pub(crate) struct Saver {
    bell: Arc<Bell>,
    thread: Option<JoinHandle<()>>,
}

impl Saver {
    pub(crate) fn start() -> std::io::Result<Self> {
        let bell = Arc::<Bell>::default();
        let rung = Arc::clone(&bell);
        let thread = thread::Builder::new().name("saver".into()).spawn(move || run(&rung))?;
        Ok(Self { bell, thread: Some(thread) })
    }

    /// Whether its thread has ended without being stopped.
    pub(crate) fn is_lost(&self) -> bool {
        self.thread.as_ref().is_some_and(JoinHandle::is_finished)
    }

    pub(super) fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }

    /// From now on these are saved. What others have left is saved as well, if it can be, unless one of these is of the
    /// same issuer: it was filled from the book, and its sources are read again.
    pub(crate) fn follow(&self, ledgers: &[super::Ledger]) {
        let mut state = self.bell.lock();
        let wanted: Vec<Arc<Inner>> = ledgers.iter().map(|ledger| Arc::clone(&ledger.0)).collect();
        let leaves = |inner: &Arc<Inner>| {
            !wanted.iter().any(|wanted| wanted.id == inner.id) && !inner.shown().unsaved.is_empty()
        };
        let leaving: Vec<_> = state.ledgers.drain(..).filter(leaves).collect();
        state.ledgers = wanted.into_iter().chain(leaving).collect();
        state.rung = true;
        self.bell.rung.notify_one();
    }

    /// The ledger of an issuer that is no longer configured, as long as not everything of it is saved.
    pub(crate) fn leaving(&self, id: &IssuerId) -> Option<super::Ledger> {
        let state = self.bell.lock();
        let found = state.ledgers.iter().find(|inner| inner.id == *id && !inner.shown().unsaved.is_empty());
        found.map(|inner| super::Ledger(Arc::clone(inner)))
    }
}

impl Drop for Saver {
    /// What can be saved within [`limits::SAVER_END_MAX`] is saved.
    fn drop(&mut self) {
        self.bell.lock().stopped = true;
        self.bell.rung.notify_one();
        let Some(thread) = self.thread.take() else { return };
        let begun = Instant::now();
        while !thread.is_finished() && begun.elapsed() < limits::SAVER_END_MAX + limits::SAVER_END_MAX {
            thread::sleep(limits::FOLLOWERS_END_LOOK);
        }
        if thread.is_finished() {
            let _ = thread.join();
        }
        // They have the bell, and the book, which is closed when the last of them is dropped.
        self.bell.lock().ledgers.clear();
    }
}

fn run(bell: &Bell) {
    // Those that could not be saved, and until when they rest.
    let mut resting = HashMap::<IssuerId, Instant>::new();
    let mut stopped_at: Option<Instant> = None;
    loop {
        let (ledgers, stopped) = wait(bell, resting.values().min().copied(), stopped_at.is_some());
        if stopped && stopped_at.is_none() {
            stopped_at = Some(Instant::now());
            resting.clear();
        }
        let over = stopped_at.is_some_and(|at| at.elapsed() > limits::SAVER_END_MAX);
        let now = Instant::now();
        resting.retain(|_, until| *until > now);
        let mut more = false;
        for ledger in ledgers.iter().filter(|_| !over) {
            if resting.contains_key(&ledger.id) || !ledger.is_due_to_be_saved() {
                continue;
            }
            let made_way = make_way(ledger, limits::SAVER_MAKES_WAY);
            match ledger.save_noted(made_way) {
                Ok(some) => more |= some,
                Err(_) => _ = resting.insert(ledger.id.clone(), Instant::now() + limits::RETRY_INTERVAL),
            }
        }
        if more {
            bell.lock().rung = true;
        } else if stopped_at.is_some() {
            return;
        }
        if over {
            return;
        }
    }
}

/// Waits until there may be something to save, or it is time to try again.
fn wait(bell: &Bell, retry_at: Option<Instant>, stopped: bool) -> (Vec<Arc<Inner>>, bool) {
    let mut state = bell.lock();
    loop {
        let pause = retry_at.map_or(limits::BOOK_LOOK_INTERVAL, |at| at.saturating_duration_since(Instant::now()));
        let goes_on = state.stopped || stopped || state.rung || pause.is_zero();
        if goes_on {
            break;
        }
        let (next, timeout) = bell.rung.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner);
        state = next;
        if timeout.timed_out() {
            break;
        }
    }
    state.rung = false;
    (state.ledgers.clone(), state.stopped)
}

/// Lets pushes go first, for so long; false if there still are some.
pub(super) fn make_way(ledger: &Inner, longest: Duration) -> bool {
    let begun = Instant::now();
    while ledger.book.is_wanted() {
        if begun.elapsed() >= longest {
            return false;
        }
        thread::sleep(Duration::from_micros(200));
    }
    true
}

impl Inner {
    /// Whether there is something to save, or it is time to see whether the book is in place.
    fn is_due_to_be_saved(&self) -> bool {
        if !self.may_be_saved() {
            return false;
        }
        // Without waiting: where it is locked, it is looked at just now.
        let overdue = self.commit.try_lock().is_ok_and(|saved| saved.looked_at.elapsed() >= limits::BOOK_LOOK_INTERVAL);
        overdue || !self.shown().unsaved.is_empty()
    }

    /// Saves some, and notes the outcome in health and log; true if more remains.
    pub(super) fn save_noted(&self, gives_way: bool) -> Result<bool, StateError> {
        let saved = self.save_some(gives_way);
        let fault = saved.as_ref().err().map(ToString::to_string);
        if self.state.health.saved(fault.clone()) {
            error!(
                tenant = self.id.tenant(),
                issuer = *self.name(),
                "{}; changes are served but not on disk yet",
                fault.unwrap_or_default()
            );
        }
        saved
    }
}
