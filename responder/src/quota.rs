//! A bound on how much somebody gets in a second.
//!
//! Invariant: in any time, no more than the rate allows and the burst; whoever takes nothing for a second has all of the burst.
//! One word, without a lock, so that all serving threads share it. Pure: the clock is monotonic and a parameter. It does not
//! know what is bounded. (The generic cell rate algorithm: the word is when everything that was taken will have been earned.)

use std::{
    num::NonZeroU32,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use crate::limits;

/// A bucket, and when it was told last that it was empty.
#[derive(Debug)]
pub struct Bound {
    per_second: NonZeroU32,
    bucket: Bucket,
    told: Told,
}

/// When something was told last.
#[derive(Default, Debug)]
pub struct Told(Mutex<Option<Instant>>);

impl Told {
    /// Whether it is to be told again, since that was some time ago. Whoever asks at the same moment as another one leaves it to
    /// that one.
    pub fn is_due(&self, now: Instant) -> bool {
        let Ok(mut told) = self.0.try_lock() else { return false };
        let is_due = told.is_none_or(|told| now.saturating_duration_since(told) >= limits::QUOTA_TOLD_EVERY);
        if is_due {
            *told = Some(now);
        }
        is_due
    }
}

impl Bound {
    /// `per_second`, and as many at once.
    pub fn new(per_second: NonZeroU32, now: Instant) -> Self {
        Self { per_second, bucket: Bucket::new(per_second, now), told: Told::default() }
    }

    /// How many in a second.
    pub fn per_second(&self) -> NonZeroU32 {
        self.per_second
    }

    /// Takes one, if there is one. `tell` is called once in a while if there is none.
    pub fn take(&self, now: Instant, tell: impl FnOnce()) -> bool {
        let has_one = self.bucket.take(now);
        if !has_one && self.told.is_due(now) {
            tell();
        }
        has_one
    }
}

/// See the module.
#[derive(Debug)]
pub struct Bucket {
    begun: Instant,
    /// Nanoseconds that earn one.
    interval: u64,
    /// When everything that was taken will have been earned, in nanoseconds since the beginning.
    earned_at: AtomicU64,
}

/// How much can be saved up.
const BURST: u64 = Duration::from_secs(1).as_nanos() as u64;

impl Bucket {
    /// `per_second`, and as many at once.
    pub fn new(per_second: NonZeroU32, now: Instant) -> Self {
        let interval = BURST / u64::from(per_second.get());
        Self { begun: now, interval, earned_at: AtomicU64::new(0) }
    }

    /// Takes one, if there is one.
    #[inline]
    pub fn take(&self, now: Instant) -> bool {
        let now = u64::try_from(now.saturating_duration_since(self.begun).as_nanos()).unwrap_or(u64::MAX);
        let taken = |earned_at: u64| {
            let next = earned_at.max(now).saturating_add(self.interval);
            (next <= now.saturating_add(BURST)).then_some(next)
        };
        self.earned_at.fetch_update(Relaxed, Relaxed, taken).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(per_second: u32, now: Instant) -> Bucket {
        Bucket::new(NonZeroU32::new(per_second).unwrap(), now)
    }

    #[test]
    fn a_flood_gets_the_rate_and_one_burst_and_the_next_second_as_much_again() {
        let begun = Instant::now();
        for per_second in [1, 7, 1000] {
            let bucket = bucket(per_second, begun);
            let count = |from: u64, until: u64| {
                (from * 10_000..until * 10_000)
                    .filter(|step| bucket.take(begun + Duration::from_micros(step * 100)))
                    .count()
            };
            let (first, then, quiet) = (count(0, 1), count(1, 4), count(60, 61));
            let second = per_second as usize;
            assert!((2 * second - 1..=2 * second).contains(&first), "{per_second}: {first}, a burst and a second");
            assert!((3 * second - 1..=3 * second + 1).contains(&then), "{per_second}: {then}");
            assert!((2 * second - 1..=2 * second).contains(&quiet), "{per_second}: {quiet}, after a quiet minute");
        }
    }

    #[test]
    fn a_clock_that_stands_or_was_before_gives_one_burst() {
        let begun = Instant::now() + Duration::from_secs(5);
        let bucket = bucket(10, begun);
        assert_eq!((0..100).filter(|_| bucket.take(begun - Duration::from_secs(1))).count(), 10);
    }

    #[test]
    fn threads_share_it() {
        let begun = Instant::now();
        let bucket = bucket(1000, begun);
        let taken = std::thread::scope(|scope| {
            let take = || (0..1000).filter(|_| bucket.take(begun)).count();
            [(); 4].map(|()| scope.spawn(take)).map(|thread| thread.join().unwrap()).iter().sum::<usize>()
        });
        assert_eq!(taken, 1000);
    }
}
