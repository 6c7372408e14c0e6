//! How a writer ends.
//!
//! Invariant: it resigns, so that another one leads at once, also if there is always something to tell: what is still owed
//! then is told by who leads next, or undone. It does not know what is told.

use std::time::Duration;

use crate::limits::feed as limits;

/// A writer that is to end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    since: Duration,
}

impl Ending {
    /// From `now` on.
    pub(super) fn begin(now: Duration) -> Self {
        Self { since: now }
    }

    /// Whether the next entry is to be the last one. `is_idle`: whether there is nothing to tell.
    pub(super) fn resigns(self, now: Duration, is_idle: bool) -> bool {
        is_idle || now.saturating_sub(self.since) >= limits::RESIGN_TELLING
    }

    /// Whether it ends even though it could not resign.
    pub(super) fn is_over(self, now: Duration) -> bool {
        now.saturating_sub(self.since) > limits::RESIGN_WITHIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who signs ahead, or reads a large source, has something to tell all the time: it ended without a word, and the others
    /// waited for silence.
    #[test]
    fn who_always_has_something_to_tell_resigns_before_it_ends() {
        let begun = Duration::from_secs(7);
        let ending = Ending::begin(begun);
        assert!(ending.resigns(begun, true), "at once if there is nothing");
        assert!(!ending.resigns(begun + limits::RESIGN_TELLING / 2, false), "what is committed goes first");
        let resigned =
            (0_u32..).map(|step| begun + Duration::from_millis(20) * step).find(|now| ending.resigns(*now, false));
        let resigned = resigned.unwrap();
        assert!(!ending.is_over(resigned + limits::RESIGN_WITHIN / 4), "there is time for the entry");
        assert!(ending.is_over(begun + limits::RESIGN_WITHIN * 2), "Redis may be away");
    }
}
