//! A share of a serving thread's time.
//!
//! An answer with a client's nonce, or for several certificates, costs a signature each time and is useless to others.
//! If the thread signs itself, such requests get half of its time and no more: the rest stays for hits and misses. It
//! does not know what is signed.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

/// The time that may still be spent.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    nanoseconds: i64,
    since: Instant,
}

/// The divisor of the time that passes: half of it may be spent.
const SHARE: i64 = 2;

/// The most that can be saved: a burst of about a thousand signatures by P-256.
const SAVED_MAX: Duration = Duration::from_millis(50);

impl Budget {
    /// Full.
    pub fn new(now: Instant) -> Self {
        Self { nanoseconds: nanoseconds(SAVED_MAX), since: now }
    }

    /// Whether anything may be spent.
    pub fn allows(&mut self, now: Instant) -> bool {
        let earned = nanoseconds(now.saturating_duration_since(self.since)) / SHARE;
        self.nanoseconds = self.nanoseconds.saturating_add(earned).min(nanoseconds(SAVED_MAX));
        self.since = now;
        self.nanoseconds > 0
    }

    /// Spends it, also on credit: a signature that was begun is finished.
    pub fn spend(&mut self, took: Duration) {
        self.nanoseconds = self.nanoseconds.saturating_sub(nanoseconds(took));
    }

    /// [`Budget::allows`] of the budget in a cell.
    pub fn allowed_by(cell: &Cell<Self>, now: Instant) -> bool {
        let mut budget = cell.get();
        let allowed = budget.allows(now);
        cell.set(budget);
        allowed
    }

    /// [`Budget::spend`] of the budget in a cell.
    pub fn spend_from(cell: &Cell<Self>, took: Duration) {
        let mut budget = cell.get();
        budget.spend(took);
        cell.set(budget);
    }
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_gets_half_of_the_time_and_the_rest_is_left() {
        let begin = Instant::now();
        let mut budget = Budget::new(begin);
        let (mut now, mut signing) = (begin, Duration::ZERO);
        let signature = Duration::from_micros(20);
        // Whenever no signature is being made, another request comes each microsecond.
        while now < begin + Duration::from_secs(2) {
            if budget.allows(now) {
                budget.spend(signature);
                now += signature;
                signing += signature;
            } else {
                now += Duration::from_micros(1);
            }
        }
        let bound = SAVED_MAX + Duration::from_secs(1) + signature;
        assert!(signing <= bound && signing > bound * 9 / 10, "{signing:?} of 2 s");
    }

    #[test]
    fn quiet_hours_save_up_no_more_than_the_bound() {
        let begin = Instant::now();
        let mut budget = Budget::new(begin);
        let later = begin + Duration::from_secs(36_000);
        assert!(budget.allows(later));
        budget.spend(SAVED_MAX);
        assert!(!budget.allows(later), "the same instant");
        assert!(budget.allows(later + Duration::from_micros(10)));
    }

    #[test]
    fn a_clock_that_stands_or_a_signature_that_took_for_ever_is_no_panic() {
        let begin = Instant::now();
        let mut budget = Budget::new(begin + Duration::from_secs(1));
        assert!(budget.allows(begin));
        budget.spend(Duration::MAX);
        assert!(!budget.allows(begin + Duration::from_secs(60)));
    }
}
