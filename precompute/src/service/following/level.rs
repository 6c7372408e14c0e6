//! Whether a reader is level with the feed, after it was away.
//!
//! A first step after a start or a stop may take long: it compares everything, or applies whatever came meanwhile, and others
//! know by then what came since it began. Invariant: nobody is level by such a step alone, and everybody is by the next one
//! that Redis answers. It does not know what is read.

use std::time::Duration;

use crate::limits::feed as limits;

/// See the module. Times are on one monotonic clock.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Level {
    /// When the last step began that was answered.
    looked: Option<Duration>,
    is_level: bool,
    /// Steps that were answered since it was away.
    steps: u32,
}

impl Level {
    /// A step was answered, from its begin to its end.
    pub(super) fn step(&mut self, begun: Duration, ended: Duration) {
        let is_away = |looked: Duration| begun.saturating_sub(looked) > limits::LOOKED_WITHIN;
        if self.looked.is_none_or(is_away) {
            (self.is_level, self.steps) = (false, 0);
        }
        self.steps = self.steps.saturating_add(1);
        self.is_level |= self.steps > 1 || ended.saturating_sub(begun) <= limits::LEVEL_WITHIN;
        self.looked = Some(begun);
    }

    /// When the last step began that was answered.
    pub(super) fn looked(&self) -> Option<Duration> {
        self.looked
    }

    /// Whether it knows what others know.
    pub(super) fn is_level(&self) -> bool {
        self.is_level
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From and to, in milliseconds, and whether it is level then.
    #[track_caller]
    fn steps(steps: &[(u64, u64, bool)]) {
        let mut level = Level::default();
        assert!(!level.is_level());
        for (begun, ended, expected) in steps {
            level.step(Duration::from_millis(*begun), Duration::from_millis(*ended));
            assert_eq!(level.is_level(), *expected, "{begun}");
            assert_eq!(level.looked(), Some(Duration::from_millis(*begun)));
        }
    }

    #[test]
    fn who_was_away_is_level_after_a_short_step_or_the_second_one() {
        steps(&[(0, 20, true), (20, 900, true), (900, 1900, true)]);
        steps(&[(0, 900, false), (900, 920, true)]);
        steps(&[(0, 900, false), (900, 1800, true)]);
        // Stopped in the middle of a step, and between two.
        steps(&[(0, 20, true), (20, 5000, true), (5000, 5300, false), (5300, 5600, true)]);
        steps(&[(0, 20, true), (4000, 4300, false), (4300, 4320, true), (9000, 9001, true)]);
    }
}
