//! How many of a holder's sessions work at once: pure, with time as a parameter.
//!
//! Some holders sign one request after the other, however many they get at once; the others wait inside. With enough
//! waiting, a call takes longer than it may. So a holder begins with one session, and more are added: at once if all
//! would be quick even one after the other, else one on trial. It stays if the holder makes correspondingly more
//! signatures with it. The time of single calls does not show that, because a holder need not serve its callers in
//! turn.

use std::time::{Duration, Instant};

use crate::limits;

/// The number of sessions that may work at once.
#[derive(Clone, Debug)]
pub(super) struct Allowance {
    at_once: usize,
    most: usize,
    changed: Instant,
    /// The quickest signature since the holder was last limited to one session.
    quickest: Duration,
    /// When the trial of the last addition began, and the signatures requested and made since.
    trial: Option<(Instant, u32)>,
    /// An addition did not help: no other before this time.
    retry_at: Option<Instant>,
    /// The holder reported overload: sessions are added slowly.
    careful: bool,
    told: bool,
}

/// A holder gets fewer sessions at once than it has, because more would only wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Slow {
    pub at_once: usize,
    pub took: Duration,
}

impl Allowance {
    /// Begins with one, and reaches `most` at best.
    pub(super) fn new(most: usize, now: Instant) -> Self {
        Self {
            at_once: 1,
            most: most.max(1),
            changed: now,
            quickest: Duration::MAX,
            trial: None,
            retry_at: None,
            careful: false,
            told: false,
        }
    }

    pub(super) fn at_once(&self) -> usize {
        self.at_once
    }

    /// Notes a signature that took so long while `others` were at work. Returns a notice, once.
    pub(super) fn signed(&mut self, took: Duration, others: usize, now: Instant) -> Option<Slow> {
        self.quickest = if self.at_once == 1 { took } else { self.quickest.min(took) };
        let is_slowed = took > limits::SLOW_SIGNATURE && took > self.quickest.saturating_mul(2);
        if is_slowed && self.at_once > 1 {
            // A signature requested before the last change says nothing about it.
            if self.changed + took <= now {
                self.change(self.at_once / 2, now);
                (self.careful, self.retry_at) = (true, Some(now + limits::SESSION_RETRY));
            }
            return self.tell(took);
        }
        if self.at_once == self.most || self.careful && now.duration_since(self.changed) < limits::ALLOWANCE_RISE {
            return None;
        }
        if took.saturating_mul(self.most as u32) / self.at_once as u32 <= limits::SLOW_SIGNATURE {
            self.change(self.at_once + 1, now);
            return None;
        }
        if self.quickest > limits::SLOW_TO_ADD {
            return self.tell(took);
        }
        let is_full = others + 1 >= self.at_once;
        match &mut self.trial {
            _ if self.retry_at.is_some_and(|at| now < at) => None,
            // With fewer jobs than allowed, the trial shows nothing.
            Some(trial) if !is_full => {
                *trial = (now, 0);
                None
            }
            Some((since, made)) => {
                *made += u32::from(*since + took <= now);
                if (*made as usize) < self.at_once {
                    return None;
                }
                let needed = now.duration_since(*since).mul_f64(TRIAL_SHARE_MIN * self.at_once as f64);
                if self.quickest.saturating_mul(*made) >= needed {
                    self.add(now);
                    return None;
                }
                self.change(self.at_once - 1, now);
                self.retry_at = Some(now + limits::SESSION_RETRY);
                self.tell(took)
            }
            None => {
                if is_full {
                    self.add(now);
                }
                None
            }
        }
    }

    /// Notes that the holder reported overload with so many at work.
    pub(super) fn throttled(&mut self, busy: usize, now: Instant) {
        self.change(busy.saturating_sub(1), now);
        self.careful = true;
    }

    /// Resets it after the holder was away.
    pub(super) fn begin_again(&mut self, now: Instant) {
        *self = Self { told: self.told, ..Self::new(self.most, now) };
    }

    /// Adds one on trial.
    fn add(&mut self, now: Instant) {
        self.change(self.at_once + 1, now);
        if self.at_once < self.most {
            self.trial = Some((now, 0));
        }
    }

    fn change(&mut self, at_once: usize, now: Instant) {
        (self.at_once, self.changed) = (at_once.clamp(1, self.most), now);
        (self.trial, self.retry_at) = (None, None);
        if self.at_once == self.most {
            (self.careful, self.told) = (false, false);
        }
    }

    fn tell(&mut self, took: Duration) -> Option<Slow> {
        let news = !std::mem::replace(&mut self.told, true);
        news.then_some(Slow { at_once: self.at_once, took })
    }
}

/// The share of one more concurrent signature that an addition must bring to stay.
const TRIAL_SHARE_MIN: f64 = 0.7;

#[cfg(test)]
mod tests {
    use super::*;

    /// The result for a [`Holder`] that always gets as many requests as are allowed.
    #[derive(Debug)]
    struct Outcome {
        at_once: usize,
        longest: Duration,
        signed: u64,
        told: Vec<Slow>,
    }

    /// A holder that works on `parallel` requests at a time and takes `each` for one.
    struct Holder {
        parallel: usize,
        each: Duration,
        /// Serves the latest request first.
        is_unfair: bool,
    }

    fn simulate(most: usize, holder: &Holder, time: Duration) -> Outcome {
        let begin = Instant::now();
        let mut allowance = Allowance::new(most, begin);
        let mut outcome = Outcome { at_once: 0, longest: Duration::ZERO, signed: 0, told: Vec::new() };
        // When calls were made; and the calls in work with their ends, in the same order.
        let (mut waiting, mut running, mut now) = (Vec::new(), Vec::new(), begin);
        while now < begin + time {
            while waiting.len() + running.len() < allowance.at_once() {
                waiting.push(now);
            }
            while running.len() < holder.parallel && !waiting.is_empty() {
                let next = if holder.is_unfair { waiting.len() - 1 } else { 0 };
                running.push((waiting.remove(next), now + holder.each));
            }
            let (asked, end) = running.remove(0);
            now = end;
            outcome.longest = outcome.longest.max(end - asked);
            outcome.signed += 1;
            outcome.told.extend(allowance.signed(end - asked, waiting.len() + running.len(), now));
        }
        Outcome { at_once: allowance.at_once(), ..outcome }
    }

    #[test]
    fn a_holder_that_signs_one_after_the_other_never_lets_a_call_wait_for_too_long_nor_idles() {
        for milliseconds in [1, 10, 30, 60, 100, 200, 300, 400, 500, 600, 700, 900, 1500] {
            for (most, is_unfair) in [(1, false), (2, false), (8, false), (64, false), (2, true), (8, true), (64, true)]
            {
                let holder = Holder { parallel: 1, each: Duration::from_millis(milliseconds), is_unfair };
                let outcome = simulate(most, &holder, Duration::from_secs(100));
                let case = format!("{milliseconds} ms, {most} sessions, unfair {is_unfair}: {outcome:?}");
                assert!(outcome.signed >= 100_000 / milliseconds, "{case}");
                assert_eq!(outcome.told.len(), usize::from(outcome.at_once < most), "{case}");
                // If all would be quick one after the other, a call that is never served waits as long as the holder is
                // full.
                let waits_inside = is_unfair && outcome.at_once == most;
                assert!(waits_inside || outcome.longest < limits::SIGN_CALL_LIMIT, "{case}");
            }
        }
    }

    #[test]
    fn a_holder_that_signs_many_at_once_is_asked_for_as_many() {
        for (milliseconds, within) in [(1, 1), (20, 1), (100, 2), (300, 4), (600, 8)] {
            let each = Duration::from_millis(milliseconds);
            let holder = Holder { parallel: 8, each, is_unfair: false };
            let outcome = simulate(8, &holder, Duration::from_secs(within));
            assert_eq!((outcome.at_once, outcome.longest), (8, each), "{milliseconds} ms");
            assert_eq!(outcome.told, [], "{milliseconds} ms");
            // Three at a time.
            let outcome = simulate(8, &Holder { parallel: 3, ..holder }, Duration::from_secs(20));
            assert!(
                outcome.at_once >= 3 && outcome.signed * milliseconds >= 3 * 19_000,
                "{milliseconds} ms, {outcome:?}"
            );
            assert!(outcome.longest < limits::SIGN_CALL_LIMIT, "{milliseconds} ms, {outcome:?}");
        }
    }

    #[test]
    fn one_that_slows_down_is_asked_for_less_and_that_is_told_once() {
        let second = Duration::from_secs(1);
        let mut now = Instant::now();
        let mut allowance = Allowance::new(8, now);
        for _ in 0..8 {
            now += second / 100;
            assert_eq!(allowance.signed(second / 100, 0, now), None);
        }
        assert_eq!(allowance.at_once(), 8);
        let mut told = Vec::new();
        for (number, left) in [4, 4, 2, 2, 1, 1].into_iter().enumerate() {
            // The second of each two was requested before the change.
            now += if number % 2 == 0 { 2 * second } else { second / 10 };
            told.extend(allowance.signed(3 * second / 2, 0, now));
            assert_eq!(allowance.at_once(), left, "{number}");
        }
        assert_eq!(told, [Slow { at_once: 4, took: 3 * second / 2 }]);
    }

    #[test]
    fn after_it_had_too_much_to_do_it_is_asked_for_more_slowly_and_after_it_was_away_for_one() {
        let mut now = Instant::now();
        let mut allowance = Allowance::new(8, now);
        allowance.throttled(5, now);
        let quick = Duration::from_millis(1);
        for (after, at_once) in
            [(Duration::ZERO, 4), (limits::ALLOWANCE_RISE, 5), (quick, 5), (limits::ALLOWANCE_RISE, 6)]
        {
            now += after;
            assert_eq!(allowance.signed(quick, 0, now), None);
            assert_eq!(allowance.at_once(), at_once);
        }
        allowance.begin_again(now);
        for at_once in 1..8 {
            assert_eq!(allowance.at_once(), at_once);
            assert_eq!(allowance.signed(quick, 0, now), None);
        }
    }
}
