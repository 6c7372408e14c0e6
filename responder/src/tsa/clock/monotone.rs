//! Time that never goes back.
//!
//! Invariant: of two times that one [`Monotone`] gave, one after the other, the second is not before the first, on any
//! threads. It does not know where time comes from, or how far ahead of the clock it may be.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// The latest time so far; one for a process, through all its configurations.
#[derive(Debug)]
#[repr(align(128))] // away from what else the serving threads read
pub struct Monotone(AtomicI64);

impl Default for Monotone {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }
}

impl Monotone {
    /// `time`, or the latest so far if that is later. In any unit, as long as it is always the same.
    #[inline]
    pub fn raise(&self, time: i64) -> i64 {
        // One word: all threads see its changes in one order, without stronger ordering.
        self.0.fetch_max(time, Relaxed).max(time)
    }

    /// What [`Self::raise`] would return, for a caller that only looks: a time that is not used delays no later one.
    pub fn would_raise(&self, time: i64) -> i64 {
        self.0.load(Relaxed).max(time)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn time_is_the_latest_so_far(times: Vec<i64>) {
            let monotone = Monotone::default();
            let mut latest = i64::MIN;
            for time in times {
                latest = latest.max(time);
                prop_assert_eq!(monotone.raise(time), latest);
            }
        }
    }

    #[test]
    fn time_goes_back_on_no_thread_and_never_below_what_another_was_given() {
        let (monotone, told) = (&Monotone::default(), &Monotone::default());
        thread::scope(|scope| {
            for thread in 0..4_i64 {
                scope.spawn(move || {
                    for round in 0..20_000_i64 {
                        let before = told.0.load(std::sync::atomic::Ordering::SeqCst);
                        // A clock that jumps, differently in each thread.
                        let time = monotone.raise((round * (thread + 7) * 7919) % 40_009 + round);
                        assert!(time >= before, "{time} after {before}");
                        told.0.fetch_max(time, std::sync::atomic::Ordering::SeqCst);
                    }
                });
            }
        });
    }
}
