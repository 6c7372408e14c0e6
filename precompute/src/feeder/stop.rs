//! Ends a question that is under way. It does not know what is asked.
//!
//! Invariant: what is to be done at the stop is done once, also if it is named after the stop.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Told to stop, it carries out what was named for that.
#[derive(Default)]
pub(super) struct Stop(Mutex<State>);

#[derive(Default)]
struct State {
    is_stopped: bool,
    then: Option<Box<dyn FnOnce() + Send>>,
}

impl Stop {
    /// Stops. Whoever waits is woken by what was named last.
    pub(super) fn stop(&self) {
        let then = {
            let mut state = self.lock();
            state.is_stopped = true;
            state.then.take()
        };
        then.into_iter().for_each(|then| then());
    }

    /// Whether to stop.
    pub(super) fn is_stopped(&self) -> bool {
        self.lock().is_stopped
    }

    /// Names what wakes whoever waits, in place of what was named before; at once if it is stopped already.
    pub(super) fn then(&self, then: impl FnOnce() + Send + 'static) {
        let mut state = self.lock();
        if state.is_stopped {
            drop(state);
            then();
        } else {
            state.then = Some(Box::new(then));
        }
    }

    /// Lets go of what was named: the question has ended.
    pub(super) fn forget(&self) {
        self.lock().then = None;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stop({})", self.is_stopped())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    };

    use super::*;

    #[test]
    fn what_was_named_last_is_done_once_also_if_it_comes_too_late() {
        let (stop, done) = (Stop::default(), Arc::new(AtomicU32::new(0)));
        let add = |count: u32| {
            let done = Arc::clone(&done);
            move || _ = done.fetch_add(count, Relaxed)
        };
        stop.then(add(1000));
        stop.forget();
        stop.then(add(1));
        stop.then(add(10));
        assert!(!stop.is_stopped() && done.load(Relaxed) == 0);
        stop.stop();
        stop.stop();
        assert_eq!((stop.is_stopped(), done.load(Relaxed)), (true, 10));
        stop.then(add(100));
        assert_eq!(done.load(Relaxed), 110);
    }
}
