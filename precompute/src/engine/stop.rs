//! How a thread is woken and stopped. It does not know what the thread does.
//!
//! Invariant: a call of [`Stop::wake`] ends the wait that runs, or else the next one; several before it count as one. A
//! stop ends every wait.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Whether a thread may go on, and whether there is something to do.
#[derive(Debug, Default)]
pub(super) struct Stop {
    told: Mutex<Told>,
    rung: Condvar,
}

/// How a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Waited {
    /// The thread has to stop.
    Stopped,
    /// There is something to do.
    Woken,
    /// It has taken as long as it may.
    Over,
}

#[derive(Clone, Copy, Debug, Default)]
struct Told {
    stopped: bool,
    woken: bool,
}

impl Stop {
    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the thread to stop.
    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.rung.notify_all();
    }

    /// Tells the thread that there is something to do. Never blocks for longer than the lock of two flags.
    pub(super) fn wake(&self) {
        self.lock().woken = true;
        self.rung.notify_all();
    }

    /// Waits, whatever there is to do; true, and at once, if the thread has to stop.
    pub(super) fn pause(&self, pause: Duration) -> bool {
        self.wait_while(pause, |told| !told.stopped).stopped
    }

    /// Waits until it is woken or has to stop, at most so long.
    pub(super) fn wait(&self, at_most: Duration) -> Waited {
        let mut told = self.wait_while(at_most, |told| !told.stopped && !told.woken);
        match (told.stopped, std::mem::take(&mut told.woken)) {
            (true, _) => Waited::Stopped,
            (false, true) => Waited::Woken,
            (false, false) => Waited::Over,
        }
    }

    fn wait_while(&self, at_most: Duration, goes_on: impl Fn(&Told) -> bool) -> MutexGuard<'_, Told> {
        let waited = self.rung.wait_timeout_while(self.lock(), at_most, |told| goes_on(told));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::Arc,
        thread,
        time::{Duration, Instant},
    };

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn it_is_woken_once_whether_it_waits_already_or_not_and_stopped_for_good() {
        let stop = Arc::new(Stop::default());
        stop.wake();
        stop.wake();
        let begun = Instant::now();
        assert!(stop.wait(LONG) == Waited::Woken && begun.elapsed() < LONG);
        assert_eq!(stop.wait(Duration::from_millis(5)), Waited::Over);
        let other = thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                thread::sleep(Duration::from_millis(20));
                stop.wake();
            }
        });
        assert!(stop.wait(LONG) == Waited::Woken && begun.elapsed() < LONG);
        other.join().unwrap();
        stop.wake();
        assert!(!stop.pause(Duration::from_millis(5)), "a pause is not ended by it");
        stop.stop();
        assert!(stop.pause(LONG) && stop.wait(LONG) == Waited::Stopped && begun.elapsed() < LONG);
    }
}
