//! Misses of a replica that has no key: the answer comes by the feed, shortly after the record.
//!
//! Purpose: between a record that has changed and its new answer there are milliseconds, in which a client would be told to try
//! again. Where records have just come, a miss waits for the answer instead. Invariants: nobody waits longer than
//! [`limits::AWAITED_WITHIN`], and no more than [`limits::AWAITED_MAX`] do; where no records have come lately nobody waits longer
//! than [`limits::AWAITED_GRACE`], which is as long as a record may show before it is known that it came. It does not know the
//! feed.

use std::{
    sync::{
        Weak,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
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
    sender: SyncSender<Waiting>,
}

/// A miss that waits.
pub(super) struct Waiting {
    request: SignRequest,
    recipients: Recipients,
    since: Instant,
}

impl std::fmt::Debug for Awaited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Awaited").finish_non_exhaustive()
    }
}

impl Awaited {
    /// Starts the thread that looks for answers; it ends with `misses`.
    pub(super) fn start(misses: Weak<Misses>, expects: Expects) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(limits::AWAITED_MAX);
        thread::Builder::new().name("awaited".into()).spawn(move || look(&misses, &receiver, &expects))?;
        Ok(Self { sender })
    }

    /// Lets a miss wait; gives its recipients back if as many wait as may.
    pub(super) fn wait(&self, request: SignRequest, recipients: Recipients) -> Result<(), Recipients> {
        let waiting = Waiting { request, recipients, since: Instant::now() };
        self.sender.try_send(waiting).map_err(|error| match error {
            TrySendError::Full(waiting) | TrySendError::Disconnected(waiting) => waiting.recipients,
        })
    }
}

fn look(misses: &Weak<Misses>, receiver: &Receiver<Waiting>, expects: &Expects) {
    let mut all: Vec<Waiting> = Vec::new();
    loop {
        let pause = if all.is_empty() { Duration::MAX } else { limits::AWAITED_LOOK };
        match receive(receiver, pause) {
            Ok(waiting) => all.push(waiting),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        // As many as have come, and no more than may wait.
        while all.len() < limits::AWAITED_MAX
            && let Ok(waiting) = receiver.try_recv()
        {
            all.push(waiting);
        }
        let Some(misses) = misses.upgrade() else { return };
        let most = if expects() { limits::AWAITED_WITHIN } else { limits::AWAITED_GRACE };
        for waiting in std::mem::take(&mut all) {
            match misses.told(&waiting.request) {
                Some(answer) => misses.tell(waiting.recipients, Ok(answer)),
                None if waiting.since.elapsed() >= most => misses.tell(waiting.recipients, Err(OcspError::TryLater)),
                None => all.push(waiting),
            }
        }
    }
}

fn receive(receiver: &Receiver<Waiting>, pause: Duration) -> Result<Waiting, RecvTimeoutError> {
    if pause == Duration::MAX {
        return receiver.recv().map_err(|_| RecvTimeoutError::Disconnected);
    }
    receiver.recv_timeout(pause)
}
