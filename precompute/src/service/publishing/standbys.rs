//! Which other writers stand by, for whoever hands over to one of them, and for the log.
//!
//! Invariant: only who had nearly everything a moment ago is named as a successor. It is pure, and does not know how that is
//! found out.

use std::time::Duration;

use crate::{
    limits::feed as limits,
    log::remarks::{Lasting, News},
    state_dir::ServerId,
};

/// What is known of them.
#[derive(Debug, Default)]
pub(super) struct Standbys {
    looked: Option<Duration>,
    led: bool,
    /// How many entries each lacks, the fewest first.
    there: Vec<(u64, ServerId)>,
    told: Lasting,
}

impl Standbys {
    /// Whether to look now: each second, and where this writer begins or ends to lead.
    pub(super) fn is_due(&mut self, leads: bool, now: Duration) -> bool {
        let is_other = std::mem::replace(&mut self.led, leads) != leads;
        let is_due =
            is_other || self.looked.is_none_or(|looked| now.saturating_sub(looked) >= limits::HEARTBEAT_INTERVAL);
        if is_due {
            self.looked = Some(now);
        }
        is_due
    }

    /// What was seen before is not enough.
    pub(super) fn begin_anew(&mut self) {
        self.looked = None;
    }

    /// What was seen.
    pub(super) fn note(&mut self, there: Option<Vec<(u64, ServerId)>>) {
        self.there = there.unwrap_or_default();
        self.there.retain(|(behind, _)| *behind <= limits::SUCCESSOR_BEHIND_MAX);
    }

    /// How many there are that have nearly everything.
    pub(super) fn count(&self) -> usize {
        self.there.len()
    }

    /// The one that has most.
    pub(super) fn first(&self) -> Option<ServerId> {
        self.there.first().map(|(_, server)| *server)
    }

    /// What there is to say of whether it can be found out.
    pub(super) fn news(&mut self, fails: bool, now: Duration) -> Option<News> {
        self.told.news(fails, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_lacks_little_is_named_and_who_lacks_much_is_not() {
        let [one, other] = [1, 2].map(|name| ServerId::from_bytes([name; 16]));
        let mut standbys = Standbys::default();
        assert_eq!((standbys.first(), standbys.count()), (None, 0));
        standbys.note(Some(vec![(0, one), (limits::SUCCESSOR_BEHIND_MAX + 1, other)]));
        assert_eq!((standbys.first(), standbys.count()), (Some(one), 1));
        standbys.note(None);
        assert_eq!(standbys.first(), None, "nothing is known any more");
    }

    #[test]
    fn they_are_looked_at_each_second_and_when_this_writer_begins_to_lead() {
        let mut standbys = Standbys::default();
        let at = Duration::from_millis;
        let due = [(false, 0), (false, 10), (true, 20), (true, 30), (true, 1020), (true, 1030), (false, 1040)];
        let due = due.map(|(leads, ms)| standbys.is_due(leads, at(ms)));
        assert_eq!(due, [true, false, true, false, true, false, true]);
        standbys.begin_anew();
        assert!(standbys.is_due(false, at(1041)));
    }
}
