//! When it is told that sources contradict what is kept.
//!
//! Purpose: a number that stays above 0, or grows with every push, fills no log; the metrics have it always. Invariant:
//! each kind is told when it begins, at most once an hour while it grows, and once when it is over. It does not know the
//! log; time is a parameter.

use std::time::Instant;

use crate::limits;

/// What there is to say of one kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum News {
    /// There are some, or more than were told.
    Some,
    /// There are none any more.
    Over,
}

/// What was told of one kind. None is known at first.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Told(Option<(u64, Instant)>);

impl Told {
    /// What there is to say of so many; it counts as told.
    pub(super) fn news(&mut self, count: u64, now: Instant) -> Option<News> {
        let news = match self.0 {
            None if count > 0 => News::Some,
            Some(_) if count == 0 => News::Over,
            Some((told, at)) if count > told && now.duration_since(at) >= limits::CONTRADICTIONS_TOLD_INTERVAL => {
                News::Some
            }
            _ => return None,
        };
        self.0 = (count > 0).then_some((count, now));
        Some(news)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_kind_is_told_when_it_begins_hourly_while_it_grows_and_when_it_is_over() {
        let (mut told, begun) = (Told::default(), Instant::now());
        let (some, over) = (Some(News::Some), Some(News::Over));
        for (minute, count, wanted) in [
            (0, 0, None),
            (1, 1, some),
            (2, 2, None),
            (3, 150_000, None),
            (61, 150_000, some),
            (62, 150_001, None),
            (200, 150_000, None),
            (201, 150_001, some),
            (400, 150_001, None),
            (401, 0, over),
            (402, 0, None),
            (403, 1, some),
        ] {
            let now = begun + Duration::from_secs(60 * minute);
            assert_eq!(told.news(count, now), wanted, "{count} after {minute} minutes");
        }
    }
}
