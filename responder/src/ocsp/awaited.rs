//! Misses of a replica that has no key: the answer comes by the feed, shortly after the record.
//!
//! Purpose: between a record that has changed and its new answer there are milliseconds, in which a client would be told to try
//! again. Where records have just come, a miss waits for the answer instead. Invariants: nobody waits longer than
//! [`limits::AWAITED_WITHIN`], and no more than [`limits::AWAITED_MAX`] do; where no records have come lately nobody waits longer
//! than [`limits::AWAITED_GRACE`], which is as long as a record may show before it is known that it came. It does not know the
//! feed.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc::{Receiver, RecvError, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::Instant,
};

use precompute::ocsp::OcspError;

use super::{
    miss::{Misses, Recipients},
    sign_request::SignRequest,
};
use crate::limits;

/// Whether records have come a moment ago.
pub(super) type Expects = Box<dyn Fn() -> bool + Send + Sync>;

/// Where misses wait.
pub(super) struct Awaited {
    /// No more are under way than there are places.
    sender: Sender<Waiting>,
    taken: Arc<AtomicUsize>,
}

/// A miss that waits.
pub(super) struct Waiting {
    request: SignRequest,
    recipients: Recipients,
    since: Instant,
    _place: Place,
}

/// One of the places, which is free again when this is gone.
struct Place(Arc<AtomicUsize>);

impl Place {
    /// Takes one, if there is one.
    fn take(taken: &Arc<AtomicUsize>) -> Option<Self> {
        let one_more = |taken: usize| (taken < limits::AWAITED_MAX).then(|| taken + 1);
        taken.fetch_update(Relaxed, Relaxed, one_more).ok().map(|_| Self(Arc::clone(taken)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl std::fmt::Debug for Awaited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Awaited").finish_non_exhaustive()
    }
}

impl Awaited {
    /// Starts the thread that looks for answers; it ends with `misses`.
    pub(super) fn start(misses: Weak<Misses>, expects: Expects) -> std::io::Result<Self> {
        let (sender, receiver) = channel();
        thread::Builder::new().name("awaited".into()).spawn(move || look(&misses, &receiver, &expects))?;
        Ok(Self { sender, taken: Arc::default() })
    }

    /// Lets a miss wait; gives its recipients back if as many wait as may.
    pub(super) fn wait(&self, request: SignRequest, recipients: Recipients) -> Result<(), Recipients> {
        let Some(place) = Place::take(&self.taken) else { return Err(recipients) };
        let waiting = Waiting { request, recipients, since: Instant::now(), _place: place };
        self.sender.send(waiting).map_err(|error| error.0.recipients)
    }
}

fn look(misses: &Weak<Misses>, receiver: &Receiver<Waiting>, expects: &Expects) {
    let mut all: Vec<Waiting> = Vec::new();
    while let Ok(()) = gather(receiver, &mut all) {
        let Some(misses) = misses.upgrade() else { return };
        let most = if expects() { limits::AWAITED_WITHIN } else { limits::AWAITED_GRACE };
        for waiting in std::mem::take(&mut all) {
            let outcome = match misses.told(&waiting.request) {
                Some(answer) => Ok(answer),
                None if waiting.since.elapsed() >= most => Err(OcspError::TryLater),
                None => {
                    all.push(waiting);
                    continue;
                }
            };
            misses.tell(waiting.recipients, outcome);
        }
    }
}

/// Adds those that come until the next look: however many they are, all are looked at together. An error: there are no more.
fn gather(receiver: &Receiver<Waiting>, all: &mut Vec<Waiting>) -> Result<(), RecvError> {
    if all.is_empty() {
        all.push(receiver.recv()?);
    }
    let next_look = Instant::now() + limits::AWAITED_LOOK;
    loop {
        match receiver.recv_timeout(next_look.saturating_duration_since(Instant::now())) {
            Ok(waiting) => all.push(waiting),
            Err(RecvTimeoutError::Timeout) => return Ok(()),
            Err(RecvTimeoutError::Disconnected) => return Err(RecvError),
        }
    }
}
