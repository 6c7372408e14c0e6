//! How many jobs of one issuer are in its pool at once: pure, time is a parameter.
//!
//! Enough to keep every session busy, and no more than the pool completes in a few seconds: a job that waits longer
//! expires there, or is signed with stale times. The measure is how long jobs take to come back. It does not know what
//! a job is.

use std::time::Instant;

use crate::limits;

#[derive(Debug)]
pub(super) struct Window {
    width: usize,
    /// When it was last narrowed.
    narrowed: Option<Instant>,
}

impl Window {
    pub(super) fn new() -> Self {
        Self { width: limits::PRESIGN_OUTSTANDING_FIRST, narrowed: None }
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// A job that was submitted at `since` came back.
    pub(super) fn came_back(&mut self, since: Instant, now: Instant) {
        let waited = now.saturating_duration_since(since);
        if waited <= limits::PRESIGN_WAIT_MAX / 2 {
            self.width = (self.width + 1).min(limits::PRESIGN_OUTSTANDING_MAX);
        } else if waited > limits::PRESIGN_WAIT_MAX && self.narrowed.is_none_or(|narrowed| narrowed <= since) {
            // Jobs submitted before that say nothing about it.
            (self.width, self.narrowed) = ((self.width / 2).max(1), Some(now));
        }
    }

    /// The pool did not sign: a single job shows whether it signs again.
    pub(super) fn begin_again(&mut self) {
        self.width = 1;
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, time::Duration};

    use super::*;

    /// A pool that signs one job after the other, each in the time that `each` returns for that moment, and gets as
    /// many jobs as the window allows. Returns the final window, and the longest wait of a job.
    fn simulate(each: impl Fn(Duration) -> Duration, time: Duration) -> (usize, Duration) {
        let begin = Instant::now();
        let (mut now, mut window, mut waiting, mut longest) = (begin, Window::new(), VecDeque::new(), Duration::ZERO);
        while now < begin + time {
            while waiting.len() < window.width() {
                waiting.push_back(now);
            }
            now += each(now - begin);
            let since = waiting.pop_front().unwrap();
            longest = longest.max(now - since);
            window.came_back(since, now);
        }
        (window.width(), longest)
    }

    /// A healthy key that signs five times a second must not get 1,024 jobs at once: most would expire after a minute,
    /// count as failures, and be submitted again.
    #[test]
    fn no_job_expires_with_a_key_that_signs_however_slowly() {
        for (a_second, least) in
            [(0.2, 1), (1.0, 1), (5.0, 10), (17.0, 40), (100.0, 200), (600.0, 1024), (5000.0, 1024)]
        {
            let each = Duration::from_secs_f64(1.0 / a_second);
            let (width, longest) = simulate(|_| each, Duration::from_secs(600));
            assert!(width >= least, "{a_second}: {width}");
            assert!(longest < limits::PRESIGN_DEADLINE || a_second < 1.0, "{a_second}: {longest:?}");
        }
        let (width, _) = simulate(|_| Duration::from_micros(500), Duration::from_secs(1));
        assert_eq!(width, limits::PRESIGN_OUTSTANDING_MAX, "a quick one is given all soon");
    }

    #[test]
    fn a_key_that_slows_down_is_given_less_and_one_that_recovers_more() {
        let slow_from = Duration::from_secs(10);
        let slows = |at| if at < slow_from { Duration::from_millis(1) } else { Duration::from_millis(50) };
        let (width, longest) = simulate(slows, Duration::from_secs(300));
        assert!((50..=110).contains(&width), "{width}");
        assert!(longest < limits::PRESIGN_DEADLINE, "{longest:?}");
        let recovers = |at| if at < slow_from { Duration::from_millis(200) } else { Duration::from_millis(1) };
        assert_eq!(simulate(recovers, Duration::from_secs(20)).0, limits::PRESIGN_OUTSTANDING_MAX);
    }
}
