//! Which records have changed, for pre-signing.
//!
//! Invariant: the listener gets every change, by serial, or learns that there were too many to name; then it has to
//! look at all records. Nothing is collected while nobody listens, and never more than [`limits::CHANGES_TOLD_MAX`]. It
//! does not know what a record says.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{limits, pki::Serial};

/// What has changed since the last call.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Changed {
    /// Nothing.
    #[default]
    Nothing,
    /// These serials, in order, possibly with duplicates.
    These(Vec<Serial>),
    /// Too many to name.
    Many,
}

/// The changes of one issuer's records.
#[derive(Debug, Default)]
pub struct Changes(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    listening: bool,
    changed: Changed,
}

impl Changes {
    /// Starts collecting changes.
    pub fn listen(&self) {
        self.lock().listening = true;
    }

    /// Stops collecting: the receiver is gone.
    pub fn ignore(&self) {
        *self.lock() = Waiting::default();
    }

    /// What has changed since the last call.
    pub fn take(&self) -> Changed {
        std::mem::take(&mut self.lock().changed)
    }

    /// Notes changes that the records already show.
    pub fn tell(&self, count: usize, serials: impl Iterator<Item = Serial>) {
        let mut told = self.lock();
        if !told.listening || count == 0 {
            return;
        }
        match &mut told.changed {
            Changed::Nothing if count <= limits::CHANGES_TOLD_MAX => told.changed = Changed::These(serials.collect()),
            Changed::These(known) if known.len() + count <= limits::CHANGES_TOLD_MAX => known.extend(serials),
            _ => told.changed = Changed::Many,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serial(number: usize) -> Serial {
        Serial::from_magnitude(&(number as u64 + 1).to_be_bytes()).unwrap()
    }

    #[test]
    fn whoever_listens_hears_of_every_change_or_that_there_were_many() {
        let changes = Changes::default();
        let tell = |range: std::ops::Range<usize>| changes.tell(range.len(), range.map(serial));
        tell(0..3);
        assert_eq!(changes.take(), Changed::Nothing, "nobody listened");
        changes.listen();
        tell(0..2);
        tell(5..6);
        assert_eq!(changes.take(), Changed::These(vec![serial(0), serial(1), serial(5)]));
        assert_eq!(changes.take(), Changed::Nothing);
        tell(0..limits::CHANGES_TOLD_MAX);
        tell(0..1);
        tell(7..9);
        assert_eq!(changes.take(), Changed::Many);
        tell(7..8);
        changes.ignore();
        tell(8..9);
        assert_eq!(changes.take(), Changed::Nothing);
    }
}
