//! When the log hears of what lasts, and of what happens again and again.
//!
//! Invariant: a condition is told when it begins, hourly while it lasts, and when it is over; a fault when it happens first,
//! and hourly with how many more there were. So nobody fills a log by filling a stream. It is pure, and does not know what
//! it is about.

use std::time::Duration;

use crate::limits::feed as limits;

/// A condition that lasts.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Lasting(Option<Told>);

#[derive(Clone, Copy, Debug)]
struct Told {
    since: Duration,
    at: Duration,
}

/// What there is to say of a condition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum News {
    Begins,
    /// For so long.
    Lasts(Duration),
    /// After so long.
    Over(Duration),
}

impl Lasting {
    /// What there is to say, if it is so or not at this moment; it counts as told.
    pub(crate) fn news(&mut self, is_so: bool, now: Duration) -> Option<News> {
        match (self.0, is_so) {
            (None, true) => {
                self.0 = Some(Told { since: now, at: now });
                Some(News::Begins)
            }
            (Some(told), true) if now.saturating_sub(told.at) >= limits::REMARK_INTERVAL => {
                self.0 = Some(Told { at: now, ..told });
                Some(News::Lasts(now.saturating_sub(told.since)))
            }
            (Some(told), false) => {
                self.0 = None;
                Some(News::Over(now.saturating_sub(told.since)))
            }
            _ => None,
        }
    }
}

/// A fault that happens again and again.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Repeated {
    told: Option<Duration>,
    untold: u64,
}

impl Repeated {
    /// It has happened: whether that is told now, with how many that were not.
    pub(crate) fn news(&mut self, now: Duration) -> Option<u64> {
        if self.told.is_some_and(|told| now.saturating_sub(told) < limits::REMARK_INTERVAL) {
            self.untold += 1;
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }

    /// How many there were that nobody was told of, once an hour.
    pub(crate) fn rest(&mut self, now: Duration) -> Option<u64> {
        let is_due =
            self.untold > 0 && self.told.is_some_and(|told| now.saturating_sub(told) >= limits::REMARK_INTERVAL);
        is_due.then(|| {
            self.told = Some(now);
            std::mem::take(&mut self.untold)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn minutes(count: u64) -> Duration {
        Duration::from_secs(60 * count)
    }

    #[test]
    fn a_condition_is_told_when_it_begins_hourly_and_when_it_is_over() {
        let mut lasting = Lasting::default();
        for (at, is_so, wanted) in [
            (0, false, None),
            (1, true, Some(News::Begins)),
            (2, true, None),
            (60, true, None),
            (61, true, Some(News::Lasts(minutes(60)))),
            (62, true, None),
            (121, true, Some(News::Lasts(minutes(120)))),
            (122, false, Some(News::Over(minutes(121)))),
            (123, false, None),
            (124, true, Some(News::Begins)),
        ] {
            assert_eq!(lasting.news(is_so, minutes(at)), wanted, "after {at} minutes");
        }
    }

    #[test]
    fn a_fault_is_told_at_once_and_then_hourly_with_how_many_there_were() {
        let mut repeated = Repeated::default();
        for (at, happens, wanted) in [
            (0, false, None),
            (1, true, Some(0)),
            (2, true, None),
            (3, true, None),
            (60, false, None),
            (61, false, Some(2)),
            (62, false, None),
            (63, true, None),
            (130, true, Some(1)),
            (200, false, None),
            (201, true, Some(0)),
        ] {
            let told = if happens { repeated.news(minutes(at)) } else { repeated.rest(minutes(at)) };
            assert_eq!(told, wanted, "after {at} minutes");
        }
    }
}
