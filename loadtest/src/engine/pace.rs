//! When requests are due, and how many there may be.
//!
//! Invariant: pure arithmetic on nanoseconds since the start. In the open loop the k-th request of the whole run is due
//! at k / rate, whatever has happened before: lateness is never forgiven, so a stalled server is charged for every
//! request that would have arrived meanwhile (no coordinated omission). It reads no clock.

use crate::engine::Load;
use crate::limits::LATE_START;

/// One thread's share of the schedule.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    /// Requests this thread may still begin; `u64::MAX`: bounded by time only.
    left: u64,
    stop_ns: u64,
    open: Option<Schedule>,
}

#[derive(Debug, Clone)]
struct Schedule {
    /// The number, over all threads, of this thread's next request.
    next: u64,
    threads: u64,
    interval_ns: f64,
}

impl Pace {
    pub(super) fn new(load: &Load, thread: usize, threads: usize) -> Self {
        let (thread, threads) = (thread as u64, threads as u64);
        let left = match load.requests {
            // The remainder goes to the first threads, so that the sum is exact.
            Some(total) => total / threads + u64::from(thread < total % threads),
            None => u64::MAX,
        };
        let open = load.rate.map(|rate| Schedule { next: thread, threads, interval_ns: 1e9 / rate });
        Self { left, stop_ns: u64::try_from(load.duration.as_nanos()).unwrap_or(u64::MAX), open }
    }

    /// How many requests may still begin.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    pub(super) fn is_open_loop(&self) -> bool {
        self.open.is_some()
    }

    /// Nothing more will be begun.
    pub(super) fn is_over(&self, now_ns: u64) -> bool {
        self.due_ns().is_none() || now_ns >= self.last_start_ns()
    }

    /// In the open loop, what fell due before the end may begin a little after it: the thread wakes when it can.
    fn last_start_ns(&self) -> u64 {
        let grace = if self.open.is_some() { LATE_START.as_nanos() as u64 } else { 0 };
        self.stop_ns.saturating_add(grace)
    }

    /// When the next request is due; `None` when there will be none. In the closed loop a request is always due.
    pub(super) fn due_ns(&self) -> Option<u64> {
        let due = match &self.open {
            Some(schedule) => (schedule.next as f64 * schedule.interval_ns) as u64,
            None => 0,
        };
        (self.left > 0 && due < self.stop_ns).then_some(due)
    }

    /// Takes the next request if it is due: the time from which its latency counts.
    pub(super) fn take(&mut self, now_ns: u64) -> Option<u64> {
        if now_ns >= self.last_start_ns() {
            return None;
        }
        let due = self.due_ns().filter(|due| *due <= now_ns)?;
        self.left -= 1;
        match &mut self.open {
            Some(schedule) => {
                schedule.next += schedule.threads;
                Some(due)
            }
            None => Some(now_ns),
        }
    }

    /// Takes, one by one after the end, the requests that were due and never begun.
    pub(super) fn take_unsent(&mut self) -> Option<u64> {
        self.open.as_ref()?;
        let due = self.due_ns()?;
        self.take(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn load(rate: Option<f64>, requests: Option<u64>) -> Load {
        Load {
            connections: 1,
            threads: 3,
            duration: Duration::from_secs(2),
            requests,
            pipeline: 1,
            rate,
            one_request_per_connection: false,
            timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn spreads_a_rate_evenly_over_threads() {
        let mut due = Vec::new();
        for thread in 0..3 {
            let mut pace = Pace::new(&load(Some(1000.0), None), thread, 3);
            while let Some(at) = pace.take(1_999_999_999) {
                due.push(at);
            }
        }
        due.sort_unstable();
        assert_eq!(due.len(), 2_000);
        assert!(due.iter().enumerate().all(|(k, at)| at.abs_diff(k as u64 * 1_000_000) <= 1));
    }

    #[test]
    fn charges_for_every_request_missed_during_a_stall() {
        let mut pace = Pace::new(&load(Some(10.0), None), 0, 1);
        assert_eq!(pace.take(0), Some(0));
        assert_eq!(pace.take(0), None, "the next is not due yet");
        // A stall of one second: ten requests are due, each from its own time.
        let late: Vec<u64> = std::iter::from_fn(|| pace.take(1_000_000_000)).collect();
        assert_eq!(late, (1..=10).map(|k| k * 100_000_000).collect::<Vec<_>>());
        let unsent: Vec<u64> = std::iter::from_fn(|| pace.take_unsent()).collect();
        assert_eq!(unsent.len(), 9, "11 of 20 were begun");
    }

    #[test]
    fn divides_a_count_exactly() {
        let total: usize = (0..3)
            .map(|thread| {
                let mut pace = Pace::new(&load(None, Some(100)), thread, 3);
                std::iter::from_fn(|| pace.take(5)).inspect(|from| assert_eq!(*from, 5)).count()
            })
            .sum();
        assert_eq!(total, 100);
    }

    #[test]
    fn begins_in_the_open_loop_what_was_due_before_the_end_and_no_more() {
        let mut pace = Pace::new(&load(Some(10.0), None), 0, 1);
        let begun: Vec<u64> = std::iter::from_fn(|| pace.take(2_005_000_000)).collect();
        assert_eq!((begun.len(), begun.last()), (20, Some(&1_900_000_000)));
        assert!(pace.is_over(0), "nothing is left");
        let mut late = Pace::new(&load(Some(10.0), None), 0, 1);
        assert_eq!(late.take(2_000_000_000 + LATE_START.as_nanos() as u64), None);
        assert_eq!(std::iter::from_fn(|| late.take_unsent()).count(), 20);
    }

    #[test]
    fn begins_nothing_after_the_end() {
        let mut pace = Pace::new(&load(None, None), 0, 1);
        assert!(pace.take(1_999_999_999).is_some());
        assert!(pace.take(2_000_000_000).is_none());
        assert!(pace.is_over(2_000_000_000));
        assert!(pace.take_unsent().is_none(), "a closed loop owes nothing");
    }
}
