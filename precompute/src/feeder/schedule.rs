//! When an origin is asked next. Pure: the time and a random number are parameters.
//!
//! Purpose: something new is seen soon after it is there, and an origin that has nothing new is asked little. Invariants:
//! every interval is within the bounds of [`limits`](crate::limits::fetch), whatever an origin says; those who began
//! together drift apart. It does not know what is asked.
//!
//! - A CRL has a **rhythm**: the median between the last issues, or its own validity where only one was seen. An origin is
//!   asked [`ASKED_AN_ISSUE`](limits::ASKED_AN_ISSUE) times from one issue to the next, since a CA may issue one out of turn;
//!   where HTTP says that caches may keep an answer for longer, there would be no other answer before that.
//! - It is also asked right after the next issue is **expected**, by the rhythm and by nextUpdate, and then again and again,
//!   at intervals that grow with the delay.
//! - After a **failure** it is asked again soon, and then at intervals that double.

use std::time::Duration;

use crate::{limits::fetch as limits, pki::UnixTime};

/// What is known of a source, as far as it matters here.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Known<'k> {
    /// When the last ones were issued, the present one last, in seconds since 1970.
    pub(super) issues: &'k [u64],
    /// When the next one comes at the latest.
    pub(super) next_update: Option<u64>,
    /// How long caches may keep the last answer, in seconds.
    pub(super) fresh_for: Option<u64>,
}

impl Known<'_> {
    /// From one issue to the next, as far as that can be known.
    fn rhythm(&self) -> Option<Duration> {
        let mut between: Vec<u64> =
            self.issues.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).filter(|between| *between > 0).collect();
        between.sort_unstable();
        let validity = || Some(self.next_update?.saturating_sub(*self.issues.last()?)).filter(|validity| *validity > 0);
        between.get(between.len() / 2).copied().or_else(validity).map(Duration::from_secs)
    }

    /// When something new should be there: by the rhythm, and at the latest.
    fn expected(&self) -> impl Iterator<Item = UnixTime> {
        let issued = self.issues.last().map(|issued| UnixTime(*issued));
        let by_rhythm = issued.zip(self.rhythm()).map(|(issued, rhythm)| issued.after(rhythm));
        by_rhythm.into_iter().chain(self.next_update.map(UnixTime))
    }
}

/// How long to wait after an answer at `now`; `random` from 0 to 1.
pub(super) fn after_answer(known: &Known<'_>, now: UnixTime, random: f64) -> Duration {
    let rhythm = known.rhythm();
    let usual = rhythm.map_or(limits::INTERVAL_MAX, |rhythm| rhythm / limits::ASKED_AN_ISSUE);
    let usual = usual.clamp(limits::INTERVAL_MIN, limits::INTERVAL_MAX);
    let cached = known.fresh_for.map_or(Duration::ZERO, Duration::from_secs).min(limits::INTERVAL_CACHED_MAX);
    let usual = usual.max(cached).mul_f64(0.9 + 0.2 * random);
    let spread = rhythm.map_or(limits::EXPECTED_JITTER_MAX, |rhythm| (rhythm / 20).min(limits::EXPECTED_JITTER_MAX));
    let expected = known.expected().map(|expected| {
        if now < expected {
            // Instants have whole seconds: right at it there may be nothing yet.
            expected.since(now) + Duration::from_secs(1) + spread.mul_f64(random)
        } else {
            let delay = now.since(expected);
            (delay / 2).max(limits::OVERDUE_MIN).mul_f64(0.9 + 0.2 * random)
        }
    });
    expected.fold(usual, Duration::min)
}

/// How long to wait after so many failures in a row, at least one. `wait`: how long the origin wants to be left alone.
pub(super) fn after_failure(failures: u32, wait: Option<Duration>, random: f64) -> Duration {
    let doubled = limits::RETRY_MIN.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let pause = doubled.min(limits::RETRY_MAX).mul_f64(0.75 + 0.5 * random);
    pause.max(wait.unwrap_or_default().min(limits::RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;
    const DAY: u64 = 24 * HOUR;

    /// In the middle of the jitter.
    fn seconds(issues: &[u64], next_update: Option<u64>, fresh_for: Option<u64>, now: u64) -> u64 {
        after_answer(&Known { issues, next_update, fresh_for }, UnixTime(now), 0.5).as_secs()
    }

    #[test]
    fn an_origin_is_asked_by_the_rhythm_of_its_crls_and_by_what_http_says() {
        let t = 1_000_000_000;
        for (what, issues, next_update, fresh_for, now, wanted) in [
            ("nothing is known", &[][..], None, None, t, 900),
            ("valid for a day, just issued", &[t], Some(t + DAY), None, t, 900),
            ("valid for four hours", &[t], Some(t + 4 * HOUR), None, t, 600),
            ("valid for ten minutes", &[t], Some(t + 600), None, t, 60),
            ("valid for a week, issued hourly", &[t - 2 * HOUR, t - HOUR, t], Some(t + 7 * DAY), None, t, 150),
            ("once issued out of turn", &[t - 8 * HOUR, t - 4 * HOUR, t - 60, t], Some(t + DAY), None, t, 597),
            ("without an end", &[t], None, None, t, 900),
            ("issued twice in a second", &[t, t], Some(t + 4 * HOUR), None, t, 600),
            ("caches may keep it for half an hour", &[t], Some(t + DAY), Some(1800), t, 1800),
            ("caches may keep it for its validity", &[t], Some(t + DAY), Some(DAY), t, 3600),
            ("caches may not keep it", &[t], Some(t + DAY), Some(0), t, 900),
            ("expected in 100 s", &[t - DAY, t], Some(t + 7 * DAY), None, t + DAY - 100, 116),
            ("expected, and caches may keep it", &[t - DAY, t], None, Some(DAY), t + DAY - 100, 116),
            ("expected this second", &[t - DAY, t], Some(t + 7 * DAY), None, t + DAY, 10),
            ("a minute overdue", &[t - DAY, t], Some(t + 7 * DAY), None, t + DAY + 60, 30),
            ("an hour overdue", &[t - DAY, t], Some(t + 7 * DAY), None, t + DAY + HOUR, 900),
            ("it ends in 50 s, long overdue", &[t - DAY, t], Some(t + 3 * DAY), None, t + 3 * DAY - 50, 66),
            ("it has just ended, long overdue", &[t - DAY, t], Some(t + 3 * DAY), None, t + 3 * DAY + 4, 10),
            ("it ended yesterday", &[t], Some(t + DAY), None, t + 2 * DAY, 900),
            ("valid for five seconds", &[t], Some(t + 5), None, t + 1, 5),
            ("of a clock that is ahead", &[t + HOUR], Some(t + DAY), None, t, 900),
            ("ended before it was issued", &[t], Some(t - 5), None, t, 10),
        ] {
            assert_eq!(seconds(issues, next_update, fresh_for, now), wanted, "{what}");
        }
    }

    #[test]
    fn every_interval_is_within_its_bounds_and_spread() {
        let t = 1_000_000_000;
        for rhythm in [0, 1, 5, 60, 600, HOUR, DAY, 30 * DAY, u64::MAX / 2] {
            for passed in [0, 1, 30, 600, DAY, 100 * DAY] {
                for fresh_for in [None, Some(0), Some(u64::MAX)] {
                    let issues = [t];
                    let known = Known { issues: &issues, next_update: Some(t.saturating_add(rhythm)), fresh_for };
                    let waits = [0.0, 0.5, 1.0].map(|random| after_answer(&known, UnixTime(t + passed), random));
                    assert!(waits[0] >= Duration::from_secs(1), "{rhythm} {passed} {waits:?}");
                    assert!(waits[2] <= limits::INTERVAL_CACHED_MAX.mul_f64(1.1), "{rhythm} {passed} {waits:?}");
                    assert!(waits[0] <= waits[1] && waits[1] <= waits[2], "{rhythm} {passed} {waits:?}");
                    // Only an expected issue may have it asked more often than usual.
                    assert!(rhythm < 2 * DAY || passed > 0 || waits[0] < waits[2], "{rhythm} {passed} {waits:?}");
                }
            }
        }
    }

    #[test]
    fn after_failures_the_pause_doubles_and_an_origin_may_ask_for_a_longer_one() {
        let seconds =
            |failures, wait: Option<u64>| after_failure(failures, wait.map(Duration::from_secs), 0.5).as_secs();
        for (failures, wanted) in [(1, 2), (2, 4), (3, 8), (7, 128), (8, 256), (9, 300), (100, 300), (u32::MAX, 300)] {
            assert_eq!(seconds(failures, None), wanted, "{failures}");
        }
        assert_eq!((seconds(1, Some(120)), seconds(9, Some(120)), seconds(1, Some(u64::MAX))), (120, 300, 3600));
        let (least, most) = (after_failure(9, None, 0.0).as_secs(), after_failure(9, None, 1.0).as_secs());
        assert_eq!((least, most), (225, 375));
    }
}
