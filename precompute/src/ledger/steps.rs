//! Moments inside a push and a save at which a test does something else, or kills the process.
//!
//! Only tests have it. What is done at a moment is done by the same thread, so its order is the test's.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

/// A moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Somebody is to carry out pushes, and does not have the book yet.
    Waiting,
    /// Pushes were decided, and are not written.
    Decided,
    /// They are on disk, and do not show.
    Committed,
    /// They show, and are not acknowledged.
    Shown,
    /// Something is to be saved, and nobody has the right to write yet.
    Saving,
    /// A part of it was taken, and is not written.
    Taken,
    /// It is on disk, and nobody knows.
    Saved,
    /// What is to be read of the book is settled, and nothing is read yet.
    Reading,
}

type Planned = Option<(Step, Box<dyn FnOnce() + Send>)>;

/// What is to be done at the next such moment.
#[derive(Default)]
pub(super) struct Steps(Mutex<Planned>);

impl Steps {
    pub(super) fn plan(&self, planned: Planned) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = planned;
    }

    /// The moment has come.
    pub(super) fn reach(&self, step: Step) {
        let planned = self.0.lock().unwrap_or_else(PoisonError::into_inner).take_if(|(planned, _)| *planned == step);
        if let Some((_, act)) = planned {
            act();
        }
    }
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Steps")
    }
}
