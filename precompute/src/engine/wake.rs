//! How a thread that waits is told that there is something to do.
//!
//! Invariant: a call of [`Wake::wake`] ends the wait that runs, or else the next one; several calls before it count as
//! one. It does not know why the thread is woken.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

/// What one thread waits for and others give.
#[derive(Debug, Default)]
pub(super) struct Wake {
    is_woken: Mutex<bool>,
    told: Condvar,
}

impl Wake {
    /// Never blocks for longer than the lock of a flag.
    pub(super) fn wake(&self) {
        *self.is_woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.told.notify_one();
    }

    /// Waits until it is woken; false if that has not happened for so long.
    pub(super) fn wait(&self, at_most: Duration) -> bool {
        let is_woken = self.is_woken.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.told.wait_timeout_while(is_woken, at_most, |is_woken| !*is_woken);
        std::mem::take(&mut *waited.unwrap_or_else(PoisonError::into_inner).0)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread, time::Instant};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn it_is_woken_once_whether_it_waits_already_or_not() {
        let wake = Arc::new(Wake::default());
        wake.wake();
        wake.wake();
        assert!(wake.wait(LONG));
        assert!(!wake.wait(Duration::from_millis(5)));
        let begun = Instant::now();
        let other = thread::spawn({
            let wake = Arc::clone(&wake);
            move || {
                thread::sleep(Duration::from_millis(20));
                wake.wake();
            }
        });
        assert!(wake.wait(LONG) && begun.elapsed() < LONG);
        other.join().unwrap();
    }
}
