//! How a thread is stopped. It does not know what the thread does.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

/// Whether a thread may go on.
#[derive(Debug, Default)]
pub(super) struct Stop {
    stopped: Mutex<Option<Why>>,
    told: Condvar,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Why {
    /// The service ends.
    End,
    /// The issuer is gone, or another thread follows its sources.
    Replaced,
}

impl Stop {
    /// Tells the thread to stop.
    pub(super) fn stop(&self, why: Why) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        self.told.notify_all();
    }

    pub(super) fn is_replaced(&self) -> bool {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) == Some(Why::Replaced)
    }

    /// Waits; true, and at once, if the thread has to stop.
    pub(super) fn pause(&self, pause: Duration) -> bool {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.told.wait_timeout_while(stopped, pause, |stopped| stopped.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.is_some()
    }
}
