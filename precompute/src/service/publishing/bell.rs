//! Wakes the thread that publishes. It may be rung while nobody waits.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

/// Copies are of the same bell.
#[derive(Clone, Debug, Default)]
pub(super) struct Bell(Arc<(Mutex<bool>, Condvar)>);

impl Bell {
    pub(super) fn ring(&self) {
        let (rung, wake) = &*self.0;
        *rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        wake.notify_all();
    }

    /// Waits until it is rung, at most so long.
    pub(super) fn wait(&self, at_most: Duration) {
        let (rung, wake) = &*self.0;
        let waiting = rung.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = wake.wait_timeout_while(waiting, at_most, |rung| !*rung);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}
