//! How much one process may have in Redis: pure, with time as a parameter.
//!
//! Invariant: what was taken and has not expired is never more than the bound. A value that replaced another counts beside it
//! until that would have expired. It does not know what is in Redis.

use std::{cmp::Reverse, collections::BinaryHeap, time::Instant};

use crate::limits::sharing as limits;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    /// When each expires, and its bytes; the first to expire on top.
    taken: BinaryHeap<Reverse<(Instant, usize)>>,
    octets: usize,
}

impl Allowance {
    /// Takes so many bytes until then, if they are free.
    pub(super) fn take(&mut self, octets: usize, until: Instant, now: Instant) -> bool {
        while let Some(Reverse((end, octets))) = self.taken.peek().copied()
            && end <= now
        {
            self.taken.pop();
            self.octets -= octets;
        }
        let fits = self.octets + octets <= limits::OFFERED_OCTETS_MAX;
        if fits {
            self.octets += octets;
            self.taken.push(Reverse((until, octets)));
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_is_bounded_and_free_again_as_values_expire() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut allowance = Allowance::default();
        let third = limits::OFFERED_OCTETS_MAX / 3;
        // Not in the order in which they expire.
        assert!([30, 10, 20].map(|end| allowance.take(third, at(end), now)).iter().all(|taken| *taken));
        assert!(!allowance.take(third, at(40), at(9)));
        assert!(allowance.take(1, at(40), at(9)), "a byte is left by rounding");
        assert!(allowance.take(third, at(40), at(10)));
        assert!(!allowance.take(third, at(40), at(19)));
        assert!(allowance.take(third, at(40), at(20)));
        assert!(!allowance.take(limits::OFFERED_OCTETS_MAX + 1, at(99), at(98)));
        assert!(allowance.take(limits::OFFERED_OCTETS_MAX, at(99), at(98)));
    }
}
