//! Where copying goes on.
//!
//! Invariant: behind an entry of the second Redis that the relay did not copy nothing is appended, whatever the first one
//! says. What it copied it knows by a mark of its own there, which is set with the first entry of each epoch: an epoch is one
//! leadership's, so what follows in it was copied as well, whether the relay lived to mark it or not. Without a mark it is the entry
//! itself, which both have. Where a writer of that site led and its stream is gone, that one may begin anew: so long the relay
//! waits. It is pure, and reads no clock.

use std::time::Duration;

use crate::{feed::Position, limits::feed as limits};

/// What the second Redis has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct There {
    /// The highest position that ever was in its stream; `None` if there is no stream.
    pub(super) last: Option<Position>,
    /// The mark: what was copied last.
    pub(super) mark: Option<Position>,
    /// Whether the first Redis has the very same entry at `last`.
    pub(super) is_shared: bool,
    /// For how long a stream is gone that a writer of the second site has written; `None` if none is.
    pub(super) gone: Option<Duration>,
}

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// Copying goes on behind this entry.
    After(Position),
    /// From the first entry on, which makes the stream.
    FromTheStart,
    /// A writer of the second site has written this.
    Foreign(Position),
    /// Nowhere yet: that writer may begin anew.
    Awaited,
}

impl There {
    pub(super) fn place(self) -> Place {
        match self.last {
            None if self.gone.is_some_and(|gone| gone < limits::RELAY_EMPTY) => Place::Awaited,
            None => Place::FromTheStart,
            Some(last) if self.is_shared || self.mark.is_some_and(|mark| mark.epoch == last.epoch) => {
                Place::After(last)
            }
            Some(last) => Place::Foreign(last),
        }
    }
}

/// For how long the stream of a site is gone whose writer has led.
#[derive(Default, Debug)]
pub(super) struct Missing(Option<Duration>);

impl Missing {
    /// `is_gone`: whether it is `now`.
    pub(super) fn look(&mut self, is_gone: bool, now: Duration) -> Option<Duration> {
        let since = self.0.filter(|_| is_gone).or(is_gone.then_some(now));
        self.0 = since;
        since.map(|since| now.saturating_sub(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copying_goes_on_behind_what_was_copied_and_behind_nothing_else() {
        let at = |sequence| Position { epoch: 7, sequence };
        let there = |last, mark, is_shared| There { last, mark, is_shared, gone: None }.place();
        assert_eq!(there(None, None, false), Place::FromTheStart);
        assert_eq!(there(None, Some(at(3)), false), Place::FromTheStart, "it was emptied");
        assert_eq!(
            there(Some(at(3)), Some(at(3)), false),
            Place::After(at(3)),
            "the first one has lost it, or trimmed it"
        );
        assert_eq!(there(Some(at(4)), Some(at(3)), true), Place::After(at(4)), "it died before it could set the mark");
        assert_eq!(there(Some(at(4)), Some(at(3)), false), Place::After(at(4)), "and the first one has lost it since");
        let other = Position { epoch: 8, sequence: 1 };
        assert_eq!(there(Some(other), Some(at(3)), false), Place::Foreign(other));
        assert_eq!(there(Some(other), Some(at(3)), true), Place::After(other));
        assert_eq!(there(Some(at(4)), None, false), Place::Foreign(at(4)), "it has never copied anything there");
    }

    #[test]
    fn a_promoted_site_that_was_emptied_is_left_to_its_writer_for_half_a_minute_each_time() {
        let at = |seconds| Duration::from_secs(seconds);
        let own = Position { epoch: 9, sequence: 1 };
        let mut missing = Missing::default();
        let mut place = |last: Option<Position>, now| {
            let gone = missing.look(last.is_none(), at(now));
            There { last, mark: None, is_shared: false, gone }.place()
        };
        assert_eq!(place(Some(own), 0), Place::Foreign(own));
        assert_eq!(place(None, 100), Place::Awaited);
        assert_eq!(place(None, 129), Place::Awaited);
        // It began anew, and long afterwards the stream is removed once more.
        assert_eq!(place(Some(own), 129), Place::Foreign(own));
        assert_eq!(place(None, 1000), Place::Awaited);
        assert_eq!(place(None, 1029), Place::Awaited);
        assert_eq!(place(None, 1030), Place::FromTheStart, "nobody has begun");
    }
}
