//! Where copying goes on.
//!
//! Invariant: behind an entry of the second Redis that the relay did not copy nothing is appended, whatever the first one
//! says. What it copied it knows by a mark of its own there, which is set with the first entry of each epoch: an epoch is one
//! leadership's, so what follows in it was copied as well, whether the relay lived to mark it or not. Without a mark it is the entry
//! itself, which both have. It is pure.

use crate::feed::Position;

/// What the second Redis has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct There {
    /// The highest position that ever was in its stream; `None` if there is no stream.
    pub(super) last: Option<Position>,
    /// The mark: what was copied last.
    pub(super) mark: Option<Position>,
    /// Whether the first Redis has the very same entry at `last`.
    pub(super) is_shared: bool,
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
}

impl There {
    pub(super) fn place(self) -> Place {
        match self.last {
            None => Place::FromTheStart,
            Some(last) if self.is_shared || self.mark.is_some_and(|mark| mark.epoch == last.epoch) => {
                Place::After(last)
            }
            Some(last) => Place::Foreign(last),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copying_goes_on_behind_what_was_copied_and_behind_nothing_else() {
        let at = |sequence| Position { epoch: 7, sequence };
        let there = |last, mark, is_shared| There { last, mark, is_shared }.place();
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
}
