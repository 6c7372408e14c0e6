//! Revocations, holds and releases that the feed has brought, for the log of a replica.
//!
//! Invariant: whatever comes, the log gets at most [`CHANGES_LOGGED_MAX`](crate::limits::CHANGES_LOGGED_MAX) of them by
//! serial in each [`CHANGES_LOGGED_INTERVAL`](limits::CHANGES_LOGGED_INTERVAL), and then how many more there were. It is
//! pure but for the log, and does not know the records.

use std::time::Duration;

use tracing::info;

use crate::{
    ledger::reconcile::{FINAL, HOLD, strictness},
    limits::{CHANGES_LOGGED_MAX, feed as limits},
    pki::{Serial, Status},
};

/// What was told lately.
#[derive(Debug, Default)]
pub(super) struct Told {
    since: Duration,
    by_serial: usize,
    more: u64,
}

/// What a change is to those who read the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Revoked,
    Held,
    Released,
}

impl Kind {
    /// `None` for what is no news: another time or reason of a final revocation, a new certificate.
    fn of(before: Status, now: Status) -> Option<Self> {
        match (strictness(before), strictness(now)) {
            (FINAL, _) => None,
            (was, is) if was == is => None,
            (_, FINAL) => Some(Self::Revoked),
            (HOLD, _) => Some(Self::Released),
            _ => Some(Self::Held),
        }
    }
}

impl Told {
    /// Tells of one certificate. `issuer`: its tenant and its name.
    pub(super) fn note(&mut self, issuer: &str, serial: Serial, (before, after): (Status, Status), now: Duration) {
        let Some(kind) = Kind::of(before, after) else { return };
        if !self.takes(now) {
            return;
        }
        let (tenant, issuer) = issuer.split_once('/').unwrap_or(("", issuer));
        match kind {
            Kind::Revoked => info!(tenant, issuer, %serial, status = %after, by = "feed", "revoked"),
            Kind::Held => info!(tenant, issuer, %serial, status = %after, by = "feed", "put on hold"),
            Kind::Released => info!(tenant, issuer, %serial, by = "feed", "released from hold"),
        }
    }

    /// Whether one more is told by its serial.
    fn takes(&mut self, now: Duration) -> bool {
        self.rest(now);
        if self.by_serial < CHANGES_LOGGED_MAX {
            self.by_serial += 1;
            return true;
        }
        self.more += 1;
        false
    }

    /// Tells how many there were beside those that were told by serial, once the interval is over.
    pub(super) fn rest(&mut self, now: Duration) -> u64 {
        if now.saturating_sub(self.since) < limits::CHANGES_LOGGED_INTERVAL {
            return 0;
        }
        let more = self.more;
        if more > 0 {
            info!(more, by = "feed", "more certificates were revoked or released");
        }
        *self = Self { since: now, ..Self::default() };
        more
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::{Reason, UnixTime};

    #[test]
    fn the_first_hundred_of_an_interval_are_told_and_then_a_number() {
        let mut told = Told::default();
        let second = Duration::from_secs;
        assert_eq!((0..CHANGES_LOGGED_MAX + 7).filter(|_| told.takes(second(1))).count(), CHANGES_LOGGED_MAX);
        assert_eq!((told.rest(second(9)), told.rest(second(11)), told.rest(second(200))), (0, 7, 0));
        assert!(told.takes(second(200)));
    }

    #[test]
    fn only_what_changes_an_answer_is_news() {
        let revoked = |at: u64| Status::Revoked { time: UnixTime(at), reason: Reason::KeyCompromise };
        let held = Status::Revoked { time: UnixTime(1), reason: Reason::CertificateHold };
        for (before, now, kind) in [
            (Status::Good, revoked(1), Some(Kind::Revoked)),
            (held, revoked(1), Some(Kind::Revoked)),
            (Status::Good, held, Some(Kind::Held)),
            (held, Status::Good, Some(Kind::Released)),
            (revoked(1), revoked(2), None),
            (revoked(1), Status::Good, None),
            (held, held, None),
            (Status::Good, Status::Good, None),
        ] {
            assert_eq!(Kind::of(before, now), kind, "{before} {now}");
        }
    }
}
