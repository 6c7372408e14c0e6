//! What one cache has still to be told, and when: pure, time is a parameter.
//!
//! Invariants: a key that was put here is purged after that moment, alone or with its whole issuer, however often a request
//! fails; each is purged a second time, `again_after` its first purge was acknowledged; one request is under way at a time;
//! and there are never more keys than [`limits`] says, since an issuer with very many is purged as a whole. A key that does not
//! press begins no request for a while, and goes with the next one. It does not know requests, or what a change was.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use crate::{
    limits::purge as limits,
    ocsp::{CacheKey, IssuerKey},
};

/// How fast a cache may be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    /// Keys of one request; at least 1.
    pub batch: usize,
    /// Requests a minute; at least 1.
    pub per_minute: u32,
    /// Requests that may come at once; at least 1.
    pub burst: u32,
    /// How long after the first purge of a key the second one follows.
    pub again_after: Duration,
}

/// All of it for one cache. Times are since any fixed moment.
#[derive(Debug)]
pub(super) struct Queue {
    pace: Pace,
    waiting: HashMap<CacheKey, Waiting>,
    /// The same in the order in which they are purged. It may name keys that have gone since.
    order: VecDeque<CacheKey>,
    /// How many keys beside its own of each issuer wait.
    of_issuer: HashMap<IssuerKey, usize>,
    /// Those that are to be purged a second time, in order of time.
    again: VecDeque<(Duration, Vec<CacheKey>)>,
    under_way: Vec<(CacheKey, Waiting)>,
    tokens: Tokens,
    failures: u32,
    /// Nothing is sent before that.
    paused_until: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Waiting {
    /// When the change was shown.
    since: Duration,
    /// When it begins a request, unless another one does earlier.
    due: Duration,
    is_second: bool,
}

/// Requests that may be sent now: a bucket that fills evenly.
#[derive(Debug)]
struct Tokens {
    left: f64,
    at: Duration,
}

/// What a request that was acknowledged was about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Told {
    /// Each key with how long ago its change was shown; `None` for a second purge.
    pub(super) keys: Vec<(CacheKey, Option<Duration>)>,
}

impl Queue {
    pub(super) fn new(pace: Pace, now: Duration) -> Self {
        let tokens = Tokens { left: f64::from(pace.burst), at: now };
        Self {
            pace,
            waiting: HashMap::new(),
            order: VecDeque::new(),
            of_issuer: HashMap::new(),
            again: VecDeque::new(),
            under_way: Vec::new(),
            tokens,
            failures: 0,
            paused_until: Duration::ZERO,
        }
    }

    /// A change that shows `since` then.
    pub(super) fn add(&mut self, key: CacheKey, since: Duration) {
        self.put(key, Waiting { since, due: since, is_second: false });
    }

    /// One that does not press.
    pub(super) fn add_gathering(&mut self, key: CacheKey, since: Duration) {
        self.put(key, Waiting { since, due: since + limits::GATHER, is_second: false });
    }

    fn put(&mut self, key: CacheKey, new: Waiting) {
        let whole = CacheKey::whole(key.issuer);
        if let Some(waiting) = self.waiting.get_mut(&whole).filter(|waiting| new.is_second || !waiting.is_second) {
            // It goes with its issuer.
            waiting.due = waiting.due.min(new.due);
            return;
        }
        if key.is_whole() {
            return self.take_in(key.issuer, new);
        }
        match self.waiting.get_mut(&key) {
            Some(there) if there.is_second => *there = Waiting { due: there.due.min(new.due), ..new },
            Some(there) => there.due = there.due.min(new.due),
            None => {
                self.waiting.insert(key, new);
                self.order.push_back(key);
                let count = self.of_issuer.entry(key.issuer).or_default();
                *count += 1;
                if *count > limits::KEYS_OF_ISSUER_MAX {
                    self.take_in(key.issuer, new);
                }
            }
        }
    }

    /// The issuer's own key stands for all that wait of it; one that is purged a second time only for others that are.
    fn take_in(&mut self, issuer: IssuerKey, new: Waiting) {
        let mut whole = new;
        let mut left = 0;
        self.waiting.retain(|key, waiting| {
            if key.issuer != issuer {
                return true;
            }
            if new.is_second && !waiting.is_second {
                left += 1;
                return true;
            }
            if !waiting.is_second {
                whole.since = whole.since.min(waiting.since);
            }
            whole.due = whole.due.min(waiting.due);
            false
        });
        if left == 0 {
            self.of_issuer.remove(&issuer)
        } else {
            self.of_issuer.insert(issuer, left)
        };
        self.order.retain(|key| self.waiting.contains_key(key));
        let key = CacheKey::whole(issuer);
        self.waiting.insert(key, whole);
        self.order.push_back(key);
    }

    /// The keys of the next request, which is under way until [`Self::succeeded`] or [`Self::failed`]; empty if none may be
    /// sent now.
    pub(super) fn take(&mut self, now: Duration) -> Vec<CacheKey> {
        self.bring_back(now);
        let is_due = self.waiting.values().any(|waiting| waiting.due <= now);
        if !self.under_way.is_empty() || !is_due || self.sendable_at(now) > now {
            return Vec::new();
        }
        self.tokens.take(&self.pace, now);
        while self.under_way.len() < self.pace.batch {
            let Some(key) = self.order.pop_front() else { break };
            if let Some(waiting) = self.remove(&key) {
                self.under_way.push((key, waiting));
            }
        }
        self.under_way.iter().map(|(key, _)| *key).collect()
    }

    fn remove(&mut self, key: &CacheKey) -> Option<Waiting> {
        let waiting = self.waiting.remove(key)?;
        if !key.is_whole()
            && let Some(count) = self.of_issuer.get_mut(&key.issuer)
        {
            *count -= 1;
            if *count == 0 {
                self.of_issuer.remove(&key.issuer);
            }
        }
        Some(waiting)
    }

    /// What is to be purged a second time by now waits as well.
    fn bring_back(&mut self, now: Duration) {
        while self.again.front().is_some_and(|(due, _)| *due <= now) {
            let Some((due, keys)) = self.again.pop_front() else { break };
            keys.into_iter().for_each(|key| self.put(key, Waiting { since: due, due, is_second: true }));
        }
    }

    /// When a request may be sent, if there is something to send.
    fn sendable_at(&self, now: Duration) -> Duration {
        self.paused_until.max(self.tokens.next(&self.pace, now))
    }

    /// When [`Self::take`] may have something, unless more comes; `None` if nothing waits.
    pub(super) fn wakes_at(&self, now: Duration) -> Option<Duration> {
        if !self.under_way.is_empty() {
            return None;
        }
        let again = self.again.front().map(|(due, _)| (*due).max(self.paused_until));
        let due = self.waiting.values().map(|waiting| waiting.due).min();
        let waiting = due.map(|due| due.max(self.sendable_at(now)));
        again.into_iter().chain(waiting).min()
    }

    /// The cache has acknowledged the request that was under way.
    pub(super) fn succeeded(&mut self, now: Duration) -> Told {
        (self.failures, self.paused_until) = (0, Duration::ZERO);
        let told = std::mem::take(&mut self.under_way);
        let first: Vec<_> = told.iter().filter(|(_, waiting)| !waiting.is_second).map(|(key, _)| *key).collect();
        if !first.is_empty() {
            self.again.push_back((now + self.pace.again_after, first));
        }
        if self.again.iter().map(|(_, keys)| keys.len()).sum::<usize>() > limits::KEYS_AGAIN_MAX {
            self.take_in_again();
        }
        let since = |waiting: &Waiting| (!waiting.is_second).then(|| now.saturating_sub(waiting.since));
        Told { keys: told.iter().map(|(key, waiting)| (*key, since(waiting))).collect() }
    }

    /// The keys of issuers stand for all that are to be purged a second time, at the last of their times.
    fn take_in_again(&mut self) {
        let Some((last, _)) = self.again.back() else { return };
        let last = *last;
        let all = self.again.iter().flat_map(|(_, keys)| keys);
        let mut keys: Vec<_> = all.map(|key| CacheKey::whole(key.issuer)).collect();
        keys.sort_unstable();
        keys.dedup();
        self.again = VecDeque::from([(last, keys)]);
    }

    /// The request that was under way has failed: its keys wait again, before all others. `retry_after`: what the answer
    /// asked for; `jitter` from 0 to 1 spreads those that failed together.
    pub(super) fn failed(&mut self, now: Duration, retry_after: Option<Duration>, jitter: f32) -> Duration {
        for (key, waiting) in std::mem::take(&mut self.under_way).into_iter().rev() {
            // What came meanwhile may stand for it.
            if self.waiting.contains_key(&CacheKey::whole(key.issuer)) || self.waiting.contains_key(&key) {
                self.put(key, waiting);
                self.older(&key, waiting);
                continue;
            }
            self.put(key, waiting);
            if self.order.back() == Some(&key) {
                self.order.rotate_right(1);
            }
        }
        self.failures = self.failures.saturating_add(1);
        let doubled = limits::RETRY_FIRST.saturating_mul(1 << (self.failures - 1).min(16)).min(limits::RETRY_MAX);
        let pause = doubled.mul_f32(0.75 + 0.5 * jitter.clamp(0.0, 1.0));
        let pause = pause.max(retry_after.unwrap_or_default().min(limits::RETRY_AFTER_MAX));
        self.paused_until = now + pause;
        pause
    }

    /// What stands for a key that has failed waits for as long as that.
    fn older(&mut self, key: &CacheKey, failed: Waiting) {
        for key in [*key, CacheKey::whole(key.issuer)] {
            if let Some(waiting) = self.waiting.get_mut(&key).filter(|waiting| !waiting.is_second && !failed.is_second)
            {
                waiting.since = waiting.since.min(failed.since);
            }
        }
    }

    /// Keys that wait for their first purge, also those under way.
    pub(super) fn waiting(&self) -> usize {
        self.first().count()
    }

    /// When the oldest change was shown that the cache has not been told of.
    pub(super) fn oldest(&self) -> Option<Duration> {
        self.first().map(|waiting| waiting.since).min()
    }

    fn first(&self) -> impl Iterator<Item = &Waiting> {
        let under_way = self.under_way.iter().map(|(_, waiting)| waiting);
        self.waiting.values().chain(under_way).filter(|waiting| !waiting.is_second)
    }

    /// Nothing waits any more.
    pub(super) fn clear(&mut self) {
        *self = Self { tokens: Tokens { ..self.tokens }, ..Self::new(self.pace, self.tokens.at) };
    }
}

impl Tokens {
    fn at(&self, pace: &Pace, now: Duration) -> f64 {
        let since = now.saturating_sub(self.at).as_secs_f64();
        (self.left + since * f64::from(pace.per_minute) / 60.0).min(f64::from(pace.burst))
    }

    fn take(&mut self, pace: &Pace, now: Duration) {
        self.left = self.at(pace, now) - 1.0;
        self.at = now;
    }

    /// When there is one.
    fn next(&self, pace: &Pace, now: Duration) -> Duration {
        let lacking = 1.0 - self.at(pace, now);
        // A nanosecond of rounding must not make it wait twice.
        if lacking <= 1e-6 { now } else { now + Duration::from_secs_f64(lacking * 60.0 / f64::from(pace.per_minute)) }
    }
}

#[cfg(test)]
mod tests;
