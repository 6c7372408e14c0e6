//! When which issuer is looked at again; pure.
//!
//! Purpose: an issuer with answers for minutes is looked at every few seconds, and ten million certificates beside it with
//! answers for days are not. Invariant: an answer that becomes due is found while at least three quarters of the time
//! from then to its end are left. It does not know what is due, or signs anything.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{End, Passed};
use crate::{limits, ocsp::Policy};

/// From the moment when an answer under this policy becomes due until it is given out no more.
pub fn lead(policy: &Policy) -> Duration {
    policy.given_for(policy.validity).saturating_sub(policy.refresh_after(policy.validity))
}

/// The pause before the next pass over issuers with this lead at least.
pub(super) fn pause(passed: &Passed, lead: Duration) -> Duration {
    let pause = match passed.end {
        End::Stopped => return Duration::ZERO,
        End::Done if passed.again => return Duration::ZERO,
        End::Faulty => limits::PRESIGN_RETRY_INTERVAL,
        End::Done | End::Full => (passed.planning * limits::PRESIGN_PAUSE_FACTOR)
            .clamp(limits::PRESIGN_INTERVAL_MIN, limits::PRESIGN_INTERVAL_MAX),
    };
    pause.min(lead / limits::PRESIGN_LEAD_SHARE)
}

/// How long a pass may last while an issuer with this lead waits for the next one.
pub(super) fn pass_max(lead: Duration) -> Duration {
    lead / limits::PRESIGN_LEAD_SHARE
}

/// When each issuer, by number, is looked at again, and whether there was room for its answers. One that is not there is
/// looked at now.
#[derive(Debug, Default)]
pub(super) struct Rhythm {
    at: HashMap<u32, (Instant, bool)>,
}

impl Rhythm {
    /// Whether it is time for an issuer.
    pub(super) fn is_due(&self, issuer: u32, now: Instant) -> bool {
        self.at.get(&issuer).is_none_or(|(at, _)| *at <= now)
    }

    /// The pass over an issuer has ended `now`.
    pub(super) fn passed(&mut self, issuer: u32, passed: &Passed, lead: Duration, now: Instant) {
        self.at.insert(issuer, (now + pause(passed, lead), passed.end == End::Full));
    }

    /// How long it is from `now` until the first of these is due; for ever if there is none.
    pub(super) fn left(&self, issuers: impl Iterator<Item = u32>, now: Instant) -> Duration {
        let left = issuers
            .map(|issuer| self.at.get(&issuer).map_or(Duration::ZERO, |(at, _)| at.saturating_duration_since(now)));
        left.min().unwrap_or(limits::PRESIGN_INTERVAL_MAX)
    }

    /// Whether the answers of some issuer found no room when it was looked at last.
    pub(super) fn is_full(&self) -> bool {
        self.at.values().any(|(_, is_full)| *is_full)
    }

    /// All of them are due.
    pub(super) fn begin_anew(&mut self) {
        self.at.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ocsp::{Profile, Refresh, Share};

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);
    const DONE: Passed = Passed { end: End::Done, due: 0, again: false, planning: Duration::ZERO };

    #[test]
    fn the_lead_is_what_is_left_of_an_answer_when_it_becomes_due() {
        let tls = Policy::DEFAULT;
        let short = Policy { validity: 2 * MINUTE, ..tls };
        for (policy, expected) in [
            (tls, 8 * 60 * MINUTE),
            (short, MINUTE),
            (Policy { refresh: Refresh::Share(Share::MAX), ..short }, 12 * SECOND),
            (Policy { serve_for: MINUTE, ..short }, 30 * SECOND),
            (Profile::XRoad.applied_to(tls), 5 * MINUTE),
        ] {
            assert_eq!(lead(&policy), expected, "{policy:?}");
        }
    }

    #[test]
    fn a_pause_takes_a_small_part_of_a_core_and_of_what_is_left_of_an_answer() {
        let (day, faulty) = (1440 * MINUTE, Passed { end: End::Faulty, ..DONE });
        let planning = |planning| Passed { planning, ..DONE };
        for (passed, lead, expected) in [
            (DONE, day, limits::PRESIGN_INTERVAL_MIN),
            (planning(SECOND), day, 50 * SECOND),
            (planning(60 * SECOND), day, limits::PRESIGN_INTERVAL_MAX),
            (planning(SECOND), MINUTE, 15 * SECOND),
            (DONE, 12 * SECOND, 3 * SECOND),
            (faulty, day, limits::PRESIGN_RETRY_INTERVAL),
            (faulty, 12 * SECOND, 3 * SECOND),
            (Passed { again: true, ..planning(SECOND) }, day, Duration::ZERO),
            (Passed { end: End::Stopped, ..DONE }, day, Duration::ZERO),
        ] {
            assert_eq!(pause(&passed, lead), expected, "{passed:?} {lead:?}");
        }
    }

    #[test]
    fn each_issuer_has_its_own_rhythm() {
        let (mut rhythm, now) = (Rhythm::default(), Instant::now());
        let issuers = || [1, 2].into_iter();
        assert!(rhythm.is_due(1, now) && rhythm.left(issuers(), now) == Duration::ZERO);
        let long = Passed { planning: 10 * SECOND, ..DONE };
        rhythm.passed(1, &long, MINUTE, now);
        rhythm.passed(2, &long, 1440 * MINUTE, now);
        assert_eq!(rhythm.left(issuers(), now), 15 * SECOND);
        let later = now + 15 * SECOND;
        assert!(rhythm.is_due(1, later) && !rhythm.is_due(2, later) && !rhythm.is_due(1, later - SECOND));
        assert_eq!(rhythm.left([2].into_iter(), later), 485 * SECOND);
        rhythm.begin_anew();
        assert!(rhythm.is_due(2, now));
        let full = Passed { end: End::Full, ..DONE };
        for (issuer, passed, is_full) in [(1, &full, true), (2, &DONE, true), (1, &DONE, false)] {
            rhythm.passed(issuer, passed, MINUTE, now);
            assert_eq!(rhythm.is_full(), is_full, "{issuer} {passed:?}");
        }
    }
}
