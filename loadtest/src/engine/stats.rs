//! What is counted, and its gathering into seconds and totals.
//!
//! Invariant: every answer is counted once, in the second in which it came, by the thread that received it; totals are
//! sums of seconds. It does not know what a kind means.

use crate::limits::TIMEOUT_MAX;
use crate::outcome::{Class, Kind, Kinds};
use crate::time::UnixNanos;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;

/// What an acceptable answer said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Said {
    Good,
    Revoked,
    Unknown,
    /// OCSP `unauthorized`, where that is right.
    Unauthorized,
    /// A time-stamp token.
    Granted,
}

impl Said {
    pub(crate) const ALL: [(Said, &'static str); 5] = [
        (Said::Good, "good"),
        (Said::Revoked, "revoked"),
        (Said::Unknown, "unknown"),
        (Said::Unauthorized, "unauthorized"),
        (Said::Granted, "granted"),
    ];
}

/// A histogram of nanoseconds: 64 ns to 120 s with three digits, about 170 KB.
#[derive(Debug, Clone)]
pub(crate) struct Latency(pub(crate) Histogram<u64>);

impl Latency {
    pub(crate) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(100, TIMEOUT_MAX.as_nanos() as u64, 3);
        // The bounds are constants that hdrhistogram accepts (a test makes one).
        Self(histogram.unwrap_or_else(|_| unreachable!("constant bounds")))
    }

    #[inline]
    pub(crate) fn record(&mut self, ns: u64) {
        self.0.saturating_record(ns);
    }

    pub(crate) fn absorb(&mut self, other: &Self) {
        // Fails only for other bounds, and there is one constructor.
        let _ = self.0.add(&other.0);
    }

    /// In microseconds.
    pub(crate) fn quantile_us(&self, q: f64) -> f64 {
        self.0.value_at_quantile(q) as f64 / 1_000.0
    }

    pub(crate) fn max_us(&self) -> f64 {
        self.0.max() as f64 / 1_000.0
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }
}

/// Counters of one thread over one second.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    pub(crate) asked: u64,
    pub(crate) answered: u64,
    pub(crate) octets: u64,
    pub(crate) connects: u64,
    /// Due in the open loop but not begun by the end of the run.
    pub(crate) unsent: u64,
    pub(crate) kinds: Kinds,
    pub(crate) said: [u64; Said::ALL.len()],
    pub(crate) http_statuses: BTreeMap<u16, u64>,
    /// From the intended time (open loop) or the sending (closed loop) to the answer or the time-out.
    pub(crate) latency: Latency,
    /// From the sending, in the open loop.
    pub(crate) service: Latency,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            asked: 0,
            answered: 0,
            octets: 0,
            connects: 0,
            unsent: 0,
            kinds: Kinds::default(),
            said: Default::default(),
            http_statuses: BTreeMap::new(),
            latency: Latency::new(),
            service: Latency::new(),
        }
    }

    pub(crate) fn failed(&mut self, kind: Kind, n: u64) {
        self.kinds.add(kind, n);
    }

    pub(crate) fn absorb(&mut self, other: &Self) {
        self.asked += other.asked;
        self.answered += other.answered;
        self.octets += other.octets;
        self.connects += other.connects;
        self.unsent += other.unsent;
        self.kinds.absorb(&other.kinds);
        for (mine, theirs) in self.said.iter_mut().zip(other.said) {
            *mine += theirs;
        }
        for (status, n) in &other.http_statuses {
            *self.http_statuses.entry(*status).or_default() += n;
        }
        self.latency.absorb(&other.latency);
        self.service.absorb(&other.service);
    }
}

/// One thread's second.
#[derive(Debug)]
pub(crate) struct Interval {
    pub(crate) second: usize,
    pub(crate) tally: Box<Tally>,
}

/// One second of the whole run, for progress and plots.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Second {
    pub(crate) second: usize,
    pub(crate) answered: u64,
    pub(crate) errors: u64,
    pub(crate) wrong: u64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) max_us: f64,
}

/// The whole run.
#[derive(Debug)]
pub(crate) struct Totals {
    pub(crate) started: UnixNanos,
    pub(crate) elapsed_ns: u64,
    pub(crate) tally: Tally,
    pub(crate) seconds: Vec<Second>,
    pub(crate) thread_cpu_ns: Vec<u64>,
}

/// Puts the threads' seconds together.
pub(super) struct Gatherer {
    threads: usize,
    /// Seconds that not every thread has reported, oldest first, beginning with number `first`.
    waiting: std::collections::VecDeque<(Box<Tally>, usize)>,
    first: usize,
    pub(super) totals: Totals,
}

impl Gatherer {
    pub(super) fn new(threads: usize, started: UnixNanos) -> Self {
        let totals =
            Totals { started, elapsed_ns: 0, tally: Tally::new(), seconds: Vec::new(), thread_cpu_ns: Vec::new() };
        Self { threads, waiting: Default::default(), first: 0, totals }
    }

    /// Workers report every second in order, so that few seconds wait.
    pub(super) fn add(&mut self, interval: Interval, observe: &mut dyn FnMut(&Second)) {
        let Some(place) = interval.second.checked_sub(self.first) else { return };
        while self.waiting.len() <= place {
            self.waiting.push_back((Box::new(Tally::new()), 0));
        }
        let (tally, reports) = &mut self.waiting[place];
        tally.absorb(&interval.tally);
        *reports += 1;
        while self.waiting.front().is_some_and(|(_, reports)| *reports == self.threads) {
            self.close_first(observe);
        }
    }

    pub(super) fn finish(&mut self, observe: &mut dyn FnMut(&Second)) {
        while !self.waiting.is_empty() {
            self.close_first(observe);
        }
    }

    fn close_first(&mut self, observe: &mut dyn FnMut(&Second)) {
        let Some((tally, _)) = self.waiting.pop_front() else { return };
        let second = Second {
            second: self.first,
            answered: tally.answered,
            errors: tally.kinds.of(Class::Failed),
            wrong: tally.kinds.of(Class::Wrong),
            p50_us: tally.latency.quantile_us(0.50),
            p99_us: tally.latency.quantile_us(0.99),
            max_us: tally.latency.max_us(),
        };
        self.first += 1;
        self.totals.tally.absorb(&tally);
        observe(&second);
        self.totals.seconds.push(second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(second: usize, answered: u64) -> Interval {
        let mut tally = Box::new(Tally::new());
        tally.answered = answered;
        for _ in 0..answered {
            tally.latency.record(1_000_000);
        }
        Interval { second, tally }
    }

    #[test]
    fn reports_a_second_once_every_thread_has() {
        let mut seen = Vec::new();
        let mut gatherer = Gatherer::new(2, UnixNanos(0));
        for (second, n) in [(0, 5), (1, 7), (0, 6)] {
            gatherer.add(interval(second, n), &mut |s| seen.push((s.second, s.answered)));
        }
        assert_eq!(seen, [(0, 11)]);
        gatherer.finish(&mut |s| seen.push((s.second, s.answered)));
        assert_eq!(seen, [(0, 11), (1, 7)]);
        assert_eq!(gatherer.totals.tally.answered, 18);
        assert_eq!(gatherer.totals.tally.latency.count(), 18);
    }

    #[test]
    fn keeps_three_digits_of_a_latency() {
        let mut latency = Latency::new();
        latency.record(1_234_567);
        assert!((latency.quantile_us(0.5) - 1_234.567).abs() < 2.0);
        latency.record(u64::MAX);
        assert!(latency.max_us() >= 119e6, "what is too long is recorded as the longest");
    }

    #[test]
    fn names_what_was_said_in_the_order_of_its_counters() {
        assert!(Said::ALL.iter().enumerate().all(|(i, (said, _))| *said as usize == i));
    }
}
