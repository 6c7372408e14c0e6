//! When a certificate is renewed, and when a failure is told. Pure: time is a parameter.

use std::time::Duration;

use crate::{
    limits::renew as limits,
    pki::{Certificate, UnixTime},
};

/// When a certificate ends, or its PrivateKeyUsagePeriod, which a new certificate of the same key may prolong.
pub fn ends(certificate: &Certificate) -> UnixTime {
    let period = certificate.private_key_usage().ok().flatten();
    period.and_then(|period| period.ends).map_or(certificate.not_after(), |end| end.min(certificate.not_after()))
}

/// When the renewal of a certificate begins: `before` its end. One that was renewed here and lasts less than twice that is
/// renewed once half of its time is over, so that a CA that issues for a week is not asked all the time by who has two
/// weeks for it.
pub fn begins(present: &Certificate, is_kept: bool, before: Duration) -> UnixTime {
    let end = ends(present);
    let begins = end.before(before);
    if is_kept { begins.max(middle(present.not_before(), end)) } else { begins }
}

/// Whether more than half of the time for the renewal is over.
pub fn is_late(begins: UnixTime, end: UnixTime, now: UnixTime) -> bool {
    middle(begins, end) <= now
}

fn middle(from: UnixTime, to: UnixTime) -> UnixTime {
    from.after(to.since(from) / 2)
}

/// How long to wait after so many `failures` in a row, with so much time `left` until the end. `jitter` from 0 to 1 spreads
/// those that failed together.
pub(super) fn pause(failures: u32, left: Duration, jitter: f32) -> Duration {
    let doubled = limits::RETRY_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let most = (left / limits::RETRY_PART).clamp(limits::RETRY_FIRST, limits::RETRY_MAX);
    doubled.min(most).mul_f32(0.75 + 0.5 * jitter.clamp(0.0, 1.0))
}

/// What was told last, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told<K>(Option<(K, Duration)>);

impl<K: PartialEq + Copy> Told<K> {
    /// Nothing was told yet.
    pub(super) const fn nothing() -> Self {
        Self(None)
    }

    /// Whether this is to be told: what is new at once, and what lasts daily. Then it counts as told.
    pub(super) fn is_news(&mut self, what: K, now: Duration) -> bool {
        let is_known = |(known, at): (K, Duration)| known == what && now.saturating_sub(at) < limits::TOLD_EVERY;
        if self.0.is_some_and(is_known) {
            return false;
        }
        self.0 = Some((what, now));
        true
    }

    /// Nothing lasts any more.
    pub(super) fn forget(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_doubles_up_to_an_hour_and_never_takes_more_than_a_tenth_of_what_is_left() {
        let day = Duration::from_secs(86_400);
        for (failures, left, seconds) in [
            (1, 14 * day, 10),
            (2, 14 * day, 20),
            (5, 14 * day, 160),
            (9, 14 * day, 2560),
            (10, 14 * day, 3600),
            (u32::MAX, 14 * day, 3600),
            (10, Duration::from_secs(600), 60),
            (10, Duration::from_secs(60), 10),
            (10, Duration::ZERO, 10),
        ] {
            let between = [0.0, 1.0].map(|jitter| pause(failures, left, jitter));
            let wanted = Duration::from_secs(seconds);
            assert_eq!(between, [wanted.mul_f32(0.75), wanted.mul_f32(1.25)], "{failures} {left:?}");
        }
    }

    #[test]
    fn a_failure_is_told_at_once_and_daily_and_another_one_at_once() {
        let mut told = Told::nothing();
        let hours = |count: u64| Duration::from_secs(3600 * count);
        for (at, what, wanted) in
            [(0, 'a', true), (1, 'a', false), (23, 'a', false), (24, 'a', true), (25, 'b', true), (26, 'b', false)]
        {
            assert_eq!(told.is_news(what, hours(at)), wanted, "{what} after {at} hours");
        }
        told.forget();
        assert!(told.is_news('b', hours(27)));
    }

    #[test]
    fn half_of_the_time_for_a_renewal_may_pass_quietly() {
        for (now, late) in [(0, false), (100, false), (149, false), (150, true), (300, true)] {
            assert_eq!(is_late(UnixTime(100), UnixTime(200), UnixTime(now)), late, "{now}");
        }
    }
}
