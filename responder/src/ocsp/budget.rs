//! A share of a serving thread's time.
//!
//! An answer with a client's nonce, or for several certificates, costs a signature each time and is useless to others.
//! If the thread signs itself, such requests get half of its time and no more: the rest stays for hits and misses. Invariant: a
//! tenant that wants no more than its part of that gets it, however much another one asks for: it may spend on credit, which
//! the others wait for. It does not know what is signed.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use crate::site::Tenant;

/// Who spends: a number that no other tenant has at the same time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spender(usize);

impl Spender {
    /// A tenant of the present site.
    pub fn of(tenant: &Tenant) -> Self {
        Self(tenant.name.as_ptr().addr())
    }
}

/// The time that may still be spent.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    nanoseconds: i64,
    since: Instant,
    window: Window,
}

/// The divisor of the time that passes: half of it may be spent.
const SHARE: i64 = 2;

/// The most that can be saved: a burst of about a thousand signatures by P-256.
const SAVED_MAX: Duration = Duration::from_millis(50);

/// What each tenant spends is compared over this time.
const WINDOW: Duration = Duration::from_millis(100);

/// Tenants that are told apart. Whoever comes after them in a window spends what is saved.
const SPENDERS_MAX: usize = 16;

/// What was spent since it began.
#[derive(Clone, Copy, Debug)]
struct Window {
    begun: Instant,
    spent: [(Spender, i64); SPENDERS_MAX],
    count: usize,
    /// How many spent anything in the one before.
    before: usize,
}

impl Window {
    fn new(begun: Instant, before: usize) -> Self {
        Self { begun, spent: [(Spender(0), 0); SPENDERS_MAX], count: 0, before }
    }

    /// Begins another one if it is over.
    fn roll(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.begun);
        if age >= WINDOW {
            *self = Self::new(now, if age < 2 * WINDOW { self.count } else { 0 });
        }
    }

    fn of(&self, spender: Spender) -> Option<i64> {
        self.spent[..self.count].iter().find(|(other, _)| *other == spender).map(|(_, spent)| *spent)
    }

    /// Whether `spender` has had less than its part, and somebody else spends too.
    fn has_less_than_its_part(&self, spender: Spender) -> bool {
        let spent = self.of(spender);
        let spending = self.before.max(self.count + usize::from(spent.is_none()));
        let part = nanoseconds(WINDOW) / SHARE / spending.max(1) as i64;
        spending > 1 && self.count < SPENDERS_MAX && spent.unwrap_or(0) < part
    }

    fn add(&mut self, spender: Spender, nanoseconds: i64) {
        let place = self.spent[..self.count].iter().position(|(other, _)| *other == spender);
        match place {
            Some(place) => self.spent[place].1 = self.spent[place].1.saturating_add(nanoseconds),
            None if self.count < SPENDERS_MAX => {
                self.spent[self.count] = (spender, nanoseconds);
                self.count += 1;
            }
            None => {}
        }
    }
}

impl Budget {
    /// Full.
    pub fn new(now: Instant) -> Self {
        Self { nanoseconds: nanoseconds(SAVED_MAX), since: now, window: Window::new(now, 0) }
    }

    /// Whether this tenant may spend anything.
    pub fn allows(&mut self, spender: Spender, now: Instant) -> bool {
        let earned = nanoseconds(now.saturating_duration_since(self.since)) / SHARE;
        self.nanoseconds = self.nanoseconds.saturating_add(earned).min(nanoseconds(SAVED_MAX));
        self.since = now;
        self.window.roll(now);
        self.nanoseconds > 0 || self.window.has_less_than_its_part(spender)
    }

    /// Spends it, also on credit: a signature that was begun is finished.
    pub fn spend(&mut self, spender: Spender, took: Duration) {
        let took = nanoseconds(took);
        self.nanoseconds = self.nanoseconds.saturating_sub(took);
        self.window.add(spender, took);
    }

    /// [`Budget::allows`] of the budget in a cell.
    pub fn allowed_by(cell: &Cell<Self>, spender: Spender, now: Instant) -> bool {
        let mut budget = cell.get();
        let allowed = budget.allows(spender, now);
        cell.set(budget);
        allowed
    }

    /// [`Budget::spend`] of the budget in a cell.
    pub fn spend_from(cell: &Cell<Self>, spender: Spender, took: Duration) {
        let mut budget = cell.get();
        budget.spend(spender, took);
        cell.set(budget);
    }
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Spender = Spender(1);
    const OTHER: Spender = Spender(2);
    const SIGNATURE: Duration = Duration::from_micros(20);

    /// Two seconds in which one tenant asks each microsecond whenever nothing is being signed, and another one each so many
    /// microseconds: how often each was signed for, and how often the other one was not.
    fn two_tenants(others_every: u32) -> (u32, u32, u32) {
        let begin = Instant::now();
        let mut budget = Budget::new(begin);
        let (mut now, mut next) = (begin, begin);
        let (mut one, mut other, mut refused) = (0, 0, 0);
        while now < begin + Duration::from_secs(2) {
            let is_others = now >= next;
            let spender = if is_others { OTHER } else { ONE };
            if budget.allows(spender, now) {
                budget.spend(spender, SIGNATURE);
                now += SIGNATURE;
                *if is_others { &mut other } else { &mut one } += 1;
            } else {
                now += Duration::from_micros(1);
                refused += u32::from(is_others);
            }
            if is_others {
                next = now + Duration::from_micros(others_every.into());
            }
        }
        (one, other, refused)
    }

    #[test]
    fn a_flood_gets_half_of_the_time_and_the_rest_is_left() {
        let begin = Instant::now();
        let mut budget = Budget::new(begin);
        let (mut now, mut signing) = (begin, Duration::ZERO);
        // Whenever no signature is being made, another request comes each microsecond.
        while now < begin + Duration::from_secs(2) {
            if budget.allows(ONE, now) {
                budget.spend(ONE, SIGNATURE);
                now += SIGNATURE;
                signing += SIGNATURE;
            } else {
                now += Duration::from_micros(1);
            }
        }
        let bound = SAVED_MAX + Duration::from_secs(1) + SIGNATURE;
        assert!(signing <= bound && signing > bound * 9 / 10, "{signing:?} of 2 s");
    }

    #[test]
    fn a_tenant_with_few_requests_gets_all_of_them_beside_the_flood_of_another_one() {
        let (one, other, refused) = two_tenants(1000);
        assert_eq!(refused, 0, "{other} were signed");
        assert!(other > 1900 && one > 40_000, "{one} {other}");
        let all = SIGNATURE * (one + other);
        assert!(all < Duration::from_millis(1150), "together they have no more than half: {all:?} of 2 s");
    }

    #[test]
    fn two_floods_share_the_half() {
        let (one, other, _) = two_tenants(2);
        let all = SIGNATURE * (one + other);
        assert!(all < Duration::from_millis(1150), "{all:?} of 2 s");
        let part = f64::from(other) / f64::from(one + other);
        assert!((0.3..0.7).contains(&part), "{one} and {other}");
    }

    #[test]
    fn quiet_hours_save_up_no_more_than_the_bound() {
        let begin = Instant::now();
        let mut budget = Budget::new(begin);
        let later = begin + Duration::from_secs(36_000);
        assert!(budget.allows(ONE, later));
        budget.spend(ONE, SAVED_MAX);
        assert!(!budget.allows(ONE, later), "the same instant");
        assert!(budget.allows(ONE, later + Duration::from_micros(10)));
    }

    #[test]
    fn a_clock_that_stands_or_a_signature_that_took_for_ever_is_no_panic() {
        let begin = Instant::now();
        let mut budget = Budget::new(begin + Duration::from_secs(1));
        assert!(budget.allows(ONE, begin));
        budget.spend(ONE, Duration::MAX);
        assert!(!budget.allows(ONE, begin + Duration::from_secs(60)));
        (0..100).for_each(|number| budget.spend(Spender(number), SIGNATURE));
        assert!(!budget.allows(Spender(101), begin + Duration::from_secs(60)), "nobody lives on credit for ever");
    }
}
