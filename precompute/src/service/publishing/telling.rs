//! Whether this writer leads, and whether what was pushed here has been told to the feed.
//!
//! Purpose: a push is acknowledged when its record has left the outbox because the feed has it (rule 18). Invariant: what
//! left the outbox in another way, because another writer leads or the book was exchanged, is not acknowledged. It does
//! not know how anything is told.

use std::{
    fmt,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::bell::Bell;
use crate::{book::Identity, ledger::Ledger, limits::feed as limits, pki::Serial, state_dir::StateError};

/// What pushes have to know of the feed.
#[derive(Debug)]
pub struct Telling {
    state: Mutex<State>,
    changed: Condvar,
    bell: Bell,
    within: Duration,
}

#[derive(Debug, Default)]
struct State {
    /// One more each time that this writer begins to lead, or ends.
    term: u64,
    leads: bool,
    /// Entries written.
    written: u64,
    /// Where the writer that leads takes pushes, if it said so.
    leader: Option<String>,
}

/// A leadership of this writer, and a book.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Term {
    term: u64,
    book: Identity,
}

/// Why something is not told.
#[derive(Debug)]
pub enum NotTold {
    /// Another writer leads, at this address if it is known.
    StandsBy(Option<String>),
    /// It led when this was pushed, and does not any more.
    Deposed(Option<String>),
    /// The feed has not taken it within this time. It is told as soon as it can be.
    Late(Duration),
    /// The book cannot be read.
    Book(StateError),
}

impl fmt::Display for NotTold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |f: &mut fmt::Formatter<'_>, leader: &Option<String>| match leader {
            Some(leader) => write!(f, "push to the one that leads, at {leader}"),
            None => f.write_str("push to the one that leads"),
        };
        match self {
            Self::StandsBy(leader) => {
                f.write_str("this writer stands by and takes no pushes; ")?;
                at(f, leader)
            }
            Self::Deposed(leader) => {
                f.write_str(
                    "another writer took over before the replicas were told; a revocation is kept here and handed to it, anything else is undone: ",
                )?;
                at(f, leader)
            }
            Self::Late(within) => write!(
                f,
                "it is durable in this writer's book, but the feed has not taken it within {} ms (`feed.acknowledge_within`): Redis may be away; it is told as soon as it is back, and the same request may be sent again",
                within.as_millis()
            ),
            Self::Book(error) => write!(f, "whether the replicas were told cannot be seen: {error}"),
        }
    }
}

impl std::error::Error for NotTold {}

impl Telling {
    /// Of a writer that stands by. `within`: how long a push waits for the feed.
    pub(super) fn new(bell: Bell, within: Duration) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), bell, within }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    /// This writer leads from now on, or no longer.
    pub(super) fn leads(&self, leads: bool) {
        self.change(|state| {
            state.term += u64::from(state.leads != leads);
            state.leads = leads;
        });
    }

    /// Where another one that leads takes pushes.
    pub(super) fn led_at(&self, address: &str) {
        self.change(|state| state.leader = Some(address.to_owned()).filter(|address| !address.is_empty()));
    }

    /// Where that is.
    pub fn leader(&self) -> Option<String> {
        self.state().leader.clone()
    }

    /// An entry was written.
    pub(super) fn written(&self) {
        self.change(|state| state.written += 1);
    }

    /// To be called before something is pushed.
    pub fn begin(&self, ledger: &Ledger) -> Result<Term, NotTold> {
        let (term, leads, leader) = {
            let state = self.state();
            (state.term, state.leads, state.leader.clone())
        };
        if !leads {
            return Err(NotTold::StandsBy(leader));
        }
        let (book, _) = ledger.untold(&[]).map_err(NotTold::Book)?;
        Ok(Term { term, book })
    }

    /// Waits until these records of the ledger have been told, as they are or as they were since.
    pub fn wait(&self, begun: Term, ledger: &Ledger, serials: &[Serial]) -> Result<(), NotTold> {
        self.bell.ring();
        let until = Instant::now() + self.within;
        let mut untold = serials.to_vec();
        loop {
            // In this order: what is told while the book is read is seen in the next turn.
            let (written, term) = {
                let state = self.state();
                (state.written, state.term)
            };
            let (book, left) = ledger.untold(&untold).map_err(NotTold::Book)?;
            let mut state = self.state();
            if book != begun.book || state.term != begun.term || term != begun.term {
                return Err(NotTold::Deposed(state.leader.clone()));
            }
            if left.is_empty() {
                return Ok(());
            }
            untold = left;
            while state.written == written && state.term == term {
                let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
                    return Err(NotTold::Late(self.within));
                };
                let waited = self.changed.wait_timeout(state, left.min(limits::HEARTBEAT_INTERVAL));
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }
}

#[cfg(test)]
mod tests;
