//! What each principal and each tenant has left of what it may do in a second.
//!
//! Invariant: nobody takes from what is another's; there is one bucket for each name of the configuration that has a rate, and no
//! more. It does not know requests.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::principals::Bucket;

/// What is counted, and of whom.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Counted {
    /// Requests of a principal.
    Requests(String),
    /// Its pushes.
    Pushes(String),
    /// Pushes for a tenant, whoever sends them.
    OfTenant(String),
}

/// All buckets.
#[derive(Debug)]
pub(super) struct Paces {
    start: Instant,
    buckets: Mutex<HashMap<Counted, Bucket>>,
}

impl Paces {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), buckets: Mutex::default() }
    }

    /// Keeps those of these rates.
    pub(super) fn retain(&self, rate_of: impl Fn(&Counted) -> Option<u32>) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.retain(|counted, bucket| rate_of(counted).is_some_and(|rate| bucket.has_rate(rate)));
    }

    /// Takes so many of each that has a rate, or nothing and says how long until there are enough. `owe`: takes them in any
    /// case.
    pub(super) fn take(&self, wanted: &[(Counted, Option<u32>)], count: usize, owe: bool) -> Result<(), Duration> {
        let (now, count) = (self.start.elapsed(), count as f64);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wait = Duration::ZERO;
        for (counted, rate) in wanted {
            let Some(rate) = *rate else { continue };
            let bucket = buckets.entry(counted.clone()).or_insert_with(|| Bucket::of_rate(rate, now));
            wait = wait.max(bucket.lacks(count, now));
        }
        if wait.is_zero() || owe {
            for (counted, _) in wanted {
                buckets.get_mut(counted).into_iter().for_each(|bucket| bucket.take(count, now));
            }
        }
        if wait.is_zero() { Ok(()) } else { Err(wait) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_takes_nobody_else_lacks_and_a_refused_push_costs_nothing() {
        let paces = Paces::new();
        let of = |name: &str, tenant: &str| {
            [(Counted::Pushes(name.into()), Some(1)), (Counted::OfTenant(tenant.into()), Some(2))]
        };
        assert_eq!(paces.take(&of("noisy", "acme"), 1, false), Ok(()));
        assert!(paces.take(&of("noisy", "acme"), 1, false).is_err());
        // The refused one has taken nothing of its tenant.
        assert_eq!(paces.take(&of("other", "acme"), 1, false), Ok(()));
        assert!(paces.take(&of("third", "acme"), 1, false).is_err(), "the tenant has no more");
        assert_eq!(paces.take(&of("third", "else"), 1, false), Ok(()));
        assert_eq!(paces.take(&[(Counted::Requests("noisy".into()), None)], 1000, false), Ok(()));
        paces.retain(|counted| matches!(counted, Counted::OfTenant(_)).then_some(2));
        assert_eq!(paces.take(&[(Counted::Pushes("noisy".into()), Some(1))], 1, false), Ok(()), "a new one is full");
        assert!(paces.take(&of("fourth", "acme"), 1, false).is_err(), "and another stays");
    }

    #[test]
    fn what_is_owed_is_waited_for() {
        let paces = Paces::new();
        let wanted = [(Counted::Pushes("a".into()), Some(10))];
        assert_eq!(paces.take(&wanted, 10, true), Ok(()));
        let wait = paces.take(&wanted, 10, true).unwrap_err();
        assert!(wait <= Duration::from_secs(1) && wait > Duration::from_millis(200), "{wait:?}");
        assert!(paces.take(&wanted, 10, true).unwrap_err() > Duration::from_secs(1));
    }
}
