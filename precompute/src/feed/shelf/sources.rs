//! Which source is asked next.
//!
//! Invariant: the healthiest first, and in the order of the list where they are equal; one that failed rests, longer each
//! time, and longer still if it gave something wrong; no source is asked for ever less than that; none has all the time
//! there is while another has not failed. Pure: the time is a parameter. It does not know how a source is asked.

use std::time::Duration;

use super::source::{BaseUrl, SourceFault};
use crate::limits::shelf as limits;

#[derive(Debug, Default)]
pub(super) struct Sources(Vec<Source>);

#[derive(Clone, Debug)]
struct Source {
    url: BaseUrl,
    /// In a row.
    failures: u32,
    rests_until: Duration,
    fault: Option<SourceFault>,
}

/// What is to be done next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Next {
    Ask(BaseUrl),
    /// Each of them has failed, and rests until then.
    Wait(Duration),
    /// There are none.
    Nobody,
}

impl Sources {
    /// Replaces the list. What is known of those that stay is kept.
    pub(super) fn set(&mut self, urls: &[BaseUrl]) {
        let mut list: Vec<Source> = Vec::new();
        for url in urls {
            if list.len() < limits::SOURCES_MAX && !list.iter().any(|source| source.url == *url) {
                let known = self.0.iter().find(|source| source.url == *url).cloned();
                let new = || Source { url: url.clone(), failures: 0, rests_until: Duration::ZERO, fault: None };
                list.push(known.unwrap_or_else(new));
            }
        }
        self.0 = list;
    }

    pub(super) fn next(&self, now: Duration) -> Next {
        let ready = self.0.iter().filter(|source| source.rests_until <= now);
        if let Some(source) = ready.min_by_key(|source| source.failures) {
            return Next::Ask(source.url.clone());
        }
        self.0.iter().map(|source| source.rests_until).min().map_or(Next::Nobody, Next::Wait)
    }

    /// Whether another one than this has not failed, so that it may be quicker.
    pub(super) fn has_another(&self, url: &BaseUrl) -> bool {
        self.0.iter().any(|source| source.url != *url && source.failures == 0)
    }

    /// Whether the last thing that each of them did was to fail.
    pub(super) fn have_all_failed(&self) -> bool {
        self.0.iter().all(|source| source.failures > 0)
    }

    pub(super) fn worked(&mut self, url: &BaseUrl) {
        if let Some(source) = self.of(url) {
            (source.failures, source.fault) = (0, None);
        }
    }

    /// Returns whether that is news.
    pub(super) fn failed(&mut self, url: &BaseUrl, fault: SourceFault, now: Duration) -> bool {
        let Some(source) = self.of(url) else { return false };
        let first = if fault.is_wrong() { limits::RETRY_WRONG_MIN } else { limits::RETRY_MIN };
        let pause = first.saturating_mul(1 << source.failures.min(10)).min(limits::RETRY_MAX);
        source.rests_until = now + pause;
        source.failures = source.failures.saturating_add(1);
        let kind = |fault: &SourceFault| std::mem::discriminant(&fault.answer);
        let is_news = source.fault.as_ref().is_none_or(|former| kind(former) != kind(&fault));
        source.fault = Some(fault);
        is_news
    }

    /// Another snapshot is wanted: nobody rests, and who failed before comes later still.
    pub(super) fn begin_again(&mut self) {
        for source in &mut self.0 {
            source.rests_until = Duration::ZERO;
            source.failures = source.failures.min(1);
        }
    }

    /// What is known of each.
    pub(super) fn list(&self) -> Vec<(BaseUrl, Option<SourceFault>)> {
        self.0.iter().map(|source| (source.url.clone(), source.fault.clone())).collect()
    }

    fn of(&mut self, url: &BaseUrl) -> Option<&mut Source> {
        self.0.iter_mut().find(|source| source.url == *url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::{Refusal, shelf::Answer};

    fn url(name: u8) -> BaseUrl {
        format!("http://{name}.example").parse().unwrap()
    }

    fn sources(names: &[u8]) -> Sources {
        let mut sources = Sources::default();
        sources.set(&names.iter().map(|name| url(*name)).collect::<Vec<_>>());
        sources
    }

    fn fault(answer: Answer) -> SourceFault {
        SourceFault { url: "http://a.example/".to_owned(), answer }
    }

    fn lacking() -> SourceFault {
        fault(Answer::Unknown)
    }

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_healthiest_comes_first_and_in_the_order_of_the_list_where_they_are_equal() {
        let mut sources = sources(&[1, 2, 3]);
        assert_eq!(sources.next(at(0)), Next::Ask(url(1)));
        sources.failed(&url(1), lacking(), at(0));
        assert_eq!(sources.next(at(0)), Next::Ask(url(2)));
        sources.worked(&url(2));
        // The first one has rested, and still comes after those that did not fail.
        assert_eq!(sources.next(at(9)), Next::Ask(url(2)));
        sources.failed(&url(2), lacking(), at(9));
        sources.failed(&url(3), lacking(), at(9));
        assert!(sources.have_all_failed());
        assert_eq!(sources.next(at(9)), Next::Ask(url(1)));
        sources.worked(&url(1));
        assert!(!sources.have_all_failed());
        assert_eq!(sources.next(at(99)), Next::Ask(url(1)));
    }

    #[test]
    fn who_fails_rests_longer_each_time_and_who_lies_longer_still() {
        let mut failing = sources(&[1]);
        let mut now = at(0);
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            failing.failed(&url(1), lacking(), now);
            assert_eq!(failing.next(now), Next::Wait(now + at(pause)));
            now += at(pause);
            assert_eq!(failing.next(now), Next::Ask(url(1)));
        }
        let mut lying = sources(&[1]);
        now = at(5);
        for pause in [8, 16, 32, 60, 60] {
            lying.failed(&url(1), fault(Answer::Wrong(Refusal::Forged)), now);
            assert_eq!(lying.next(now), Next::Wait(now + at(pause)));
            now += at(pause);
        }
        lying.failed(&url(1), fault(Answer::Wrong(Refusal::Forged)), at(5));
        // Another snapshot may be right.
        lying.begin_again();
        assert_eq!(lying.next(at(5)), Next::Ask(url(1)));
        assert_eq!(sources(&[]).next(at(0)), Next::Nobody);
    }

    #[test]
    fn a_source_is_hurried_only_while_another_one_has_not_failed() {
        let mut sources = sources(&[1, 2]);
        assert!(sources.has_another(&url(1)) && sources.has_another(&url(2)));
        sources.failed(&url(1), lacking(), at(0));
        assert!(sources.has_another(&url(1)) && !sources.has_another(&url(2)), "the second is the last hope");
        sources.failed(&url(2), lacking(), at(0));
        assert!(!sources.has_another(&url(1)), "and now the first has all the time");
        sources.worked(&url(1));
        assert!(!sources.has_another(&url(1)) && sources.has_another(&url(2)));
        assert!(!self::sources(&[1]).has_another(&url(1)));
    }

    #[test]
    fn a_fault_is_told_once_until_it_is_another_or_was_over() {
        let mut sources = sources(&[1]);
        let slow = || fault(Answer::TooSlow { octets: 7 });
        assert!(sources.failed(&url(1), lacking(), at(0)));
        assert!(!sources.failed(&url(1), lacking(), at(1)));
        assert!(sources.failed(&url(1), slow(), at(2)));
        assert!(!sources.failed(&url(1), fault(Answer::TooSlow { octets: 8 }), at(3)));
        sources.worked(&url(1));
        assert!(sources.failed(&url(1), slow(), at(4)));
        assert!(!sources.failed(&url(9), slow(), at(4)), "nobody knows it");
    }

    #[test]
    fn another_list_keeps_what_is_known_has_each_once_and_is_bounded() {
        let mut sources = sources(&[1, 2]);
        sources.failed(&url(1), lacking(), at(0));
        sources.set(&[url(3), url(1), url(3)]);
        assert_eq!(sources.list(), [(url(3), None), (url(1), Some(lacking()))]);
        sources.set(&(0..200).map(url).collect::<Vec<_>>());
        assert_eq!(sources.list().len(), limits::SOURCES_MAX);
    }
}
