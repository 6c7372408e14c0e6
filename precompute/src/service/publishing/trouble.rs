//! Whether Redis does what a writer asks of it, for the log and for whoever asks about readiness.
//!
//! Invariant: a Redis that answers questions and takes no entries, as when its memory is full, is in trouble for as long as
//! that lasts, and the log hears of it as of one that is away: when it begins, hourly, and when it is over. It is over when
//! an entry was written or came, and not when any question was answered. It is pure, and does not know what was asked.

use std::time::Duration;

use crate::log::remarks::{Lasting, News};

/// What Redis did not do.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    /// Why, and when that was, the last time; `None` when it is over.
    last: Option<(String, Duration)>,
    told: Lasting,
}

impl Trouble {
    /// What there is to say `now`. `fault`: why the last question was not answered; `alive`: when an entry was written or
    /// came last.
    pub(super) fn look(&mut self, fault: Option<&str>, alive: Option<Duration>, now: Duration) -> Option<News> {
        if let Some(fault) = fault {
            self.last = Some((fault.to_owned(), now));
        } else if self.last.as_ref().is_some_and(|(_, at)| alive.is_some_and(|alive| alive > *at)) {
            self.last = None;
        }
        self.told.news(self.last.is_some(), now)
    }

    /// Why Redis did not do what it was asked to, until that is over.
    pub(super) fn fault(&self) -> Option<&str> {
        self.last.as_ref().map(|(fault, _)| fault.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// The memory of Redis was full: each attempt to lead was refused, and each question in between was answered. The log said
    /// every second that Redis is back, and that it is not; readiness was without complaint in between.
    #[test]
    fn a_redis_that_answers_and_takes_nothing_is_in_trouble_until_it_takes_something() {
        let mut trouble = Trouble::default();
        assert_eq!(trouble.look(None, None, at(1)), None);
        assert_eq!(trouble.look(Some("no room"), Some(at(1)), at(2)), Some(News::Begins));
        for second in 3..60_u64 {
            let fault = second.is_multiple_of(2).then_some("no room");
            assert_eq!(trouble.look(fault, Some(at(1)), at(second)), None);
            assert_eq!(trouble.fault(), Some("no room"));
        }
        assert_eq!(trouble.look(Some("away"), Some(at(1)), at(60)), None);
        assert_eq!(trouble.fault(), Some("away"), "the last reason");
        assert_eq!(trouble.look(None, Some(at(61)), at(61)), Some(News::Over(at(59))));
        assert_eq!(trouble.fault(), None);
        assert_eq!(trouble.look(None, Some(at(61)), at(62)), None);
    }
}
