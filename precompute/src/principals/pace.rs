//! How often somebody may do something: token buckets, filled by the second.
//!
//! Invariant: whoever stays below the rate is never refused, and within any time nobody gets more than the rate in that time
//! and what one full bucket holds. Pure: time is a parameter, as the time since some start on the monotonic clock.

use std::time::Duration;

/// What a principal may do in a second; `None`: as much as it likes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Rates {
    /// Requests, whatever they are for.
    pub requests: Option<u32>,
    /// Pushes, each line of a list for itself.
    pub pushes: Option<u32>,
}

/// A bucket that is filled with so many a second, and holds as many.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Bucket {
    per_second: f64,
    holds: f64,
    level: f64,
    at: Duration,
}

impl Bucket {
    /// A full one; `holds`: how many at once.
    pub fn new(per_second: f64, holds: f64, now: Duration) -> Self {
        Self { per_second, holds, level: holds, at: now }
    }

    /// A full one that holds those of a second.
    pub fn of_rate(per_second: u32, now: Duration) -> Self {
        Self::new(per_second.into(), per_second.into(), now)
    }

    /// Whether it is one of this rate.
    pub fn has_rate(&self, per_second: u32) -> bool {
        self.per_second == f64::from(per_second)
    }

    fn fill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.level = (self.level + passed * self.per_second).min(self.holds);
        self.at = self.at.max(now);
    }

    /// How long until there are so many; zero if there are.
    pub fn lacks(&mut self, count: f64, now: Duration) -> Duration {
        self.fill(now);
        // More than it holds at once are given to whoever finds it full.
        let missing = count.min(self.holds) - self.level;
        if missing <= 1e-9 { Duration::ZERO } else { Duration::from_secs_f64(missing / self.per_second) }
    }

    /// Takes so many, whether they are there or not.
    pub fn take(&mut self, count: f64, now: Duration) {
        self.fill(now);
        self.level -= count;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn took(bucket: &mut Bucket, count: f64, now: Duration) -> Result<(), Duration> {
        match bucket.lacks(count, now) {
            Duration::ZERO => {
                bucket.take(count, now);
                Ok(())
            }
            wait => Err(wait),
        }
    }

    #[test]
    fn a_full_bucket_gives_a_second_and_then_one_at_a_time() {
        let mut bucket = Bucket::of_rate(2, ms(1000));
        assert_eq!([1.0, 1.0].map(|count| took(&mut bucket, count, ms(1000))), [Ok(()); 2]);
        assert_eq!(took(&mut bucket, 1.0, ms(1000)), Err(ms(500)));
        assert_eq!(took(&mut bucket, 1.0, ms(1500)), Ok(()));
        // Time that goes back gives nothing.
        assert!(took(&mut bucket, 1.0, ms(0)).is_err());
        assert_eq!(took(&mut bucket, 100.0, ms(9000)), Ok(()), "from a full one");
        assert_eq!(bucket.lacks(1.0, ms(9000)), ms(49_500), "what was taken beyond it is paid for");
    }

    proptest! {
        #[test]
        fn nobody_gets_more_than_the_rate_and_one_bucket(rate in 1_u32..50, steps in prop::collection::vec(0_u64..300, 1..200)) {
            let (mut bucket, mut now, mut given) = (Bucket::of_rate(rate, ms(0)), 0, 0_u32);
            for step in steps {
                now += step;
                given += u32::from(took(&mut bucket, 1.0, ms(now)).is_ok());
            }
            prop_assert!(f64::from(given) <= f64::from(rate) * (1.0 + now as f64 / 1000.0) + 1e-6);
        }

        #[test]
        fn who_waits_as_long_as_it_is_told_is_served(rate in 1_u32..1000, count in 1_u32..1000) {
            let mut bucket = Bucket::of_rate(rate, ms(0));
            bucket.take(f64::from(count), ms(0));
            let wait = bucket.lacks(1.0, ms(0));
            prop_assert_eq!(bucket.lacks(1.0, wait + Duration::from_micros(1)), Duration::ZERO);
        }
    }
}
