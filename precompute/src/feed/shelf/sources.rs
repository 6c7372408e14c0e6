//! Which source is asked next.
//!
//! Invariant: the healthiest first, and in the order of the list where they are equal; one that failed rests, longer each
//! time, and at once as long as can be if it gave something wrong; no source is asked for ever less than that. Pure: the
//! time is a parameter. It does not know how a source is asked.

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
        let pause = if fault.is_wrong() {
            limits::RETRY_MAX
        } else {
            limits::RETRY_MIN.saturating_mul(1 << source.failures.min(10)).min(limits::RETRY_MAX)
        };
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
