//! Whether a kept answer for one certificate is served, or what is signed instead; without I/O, clock or lock.
//!
//! Invariant: an answer that [`decide`] serves says what the record says at that moment, is
//! within its thisUpdate and nextUpdate, and says *good* of a serial that no source lists only if the policy explicitly
//! says so.
//!
//! The record is the truth and is looked up for every request. A kept answer is served only if it was made from exactly
//! the record's present state. So nothing has to be invalidated when a record changes. It does not know requests.

use precompute::{
    ocsp::{
        CertStatus, OcspError, Policy,
        profile::{Kept, Statement, statement},
    },
    pki::UnixTime,
    records::Found,
};

/// The decision about a request for one certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CertificateVerdict {
    /// The unsigned error.
    Refuse(OcspError),
    /// Serve the kept answer.
    Serve {
        /// Whether its replacement is due.
        refresh: bool,
    },
    /// Sign this statement.
    Sign(Statement),
}

/// The statements about several certificates, each by its own issuer's policy: about its record, or about a serial that
/// is refused under every policy. A certificate that would be refused alone is unknown among others; if all would be
/// refused, so is the request.
pub fn statements<'p>(
    found: impl Iterator<Item = (&'p Policy, Result<Option<Found>, OcspError>)>,
    now: UnixTime,
) -> Result<Box<[Statement]>, OcspError> {
    let mut refused = Ok(());
    let mut told = false;
    let statements = found.map(|(policy, found)| {
        let statement = found.and_then(|found| statement(policy, found, now));
        told |= statement.is_ok();
        statement.unwrap_or_else(|error| {
            refused = Err(error);
            let state = found.ok().flatten().map(|found| found.state);
            Statement { state, status: CertStatus::Unknown, extended_revoke: false }
        })
    });
    let statements = statements.collect();
    if told { Ok(statements) } else { refused.map(|()| statements) }
}

/// The decision about a request for one of our certificates, from its record, the kept answer, and the latest
/// nextUpdate that its sources allow.
#[inline]
pub fn decide(
    policy: &Policy,
    found: Option<Found>,
    kept: Option<&Kept>,
    told_until: UnixTime,
    now: UnixTime,
) -> CertificateVerdict {
    let statement = match statement(policy, found, now) {
        Ok(statement) => statement,
        Err(error) => return CertificateVerdict::Refuse(error),
    };
    match kept {
        Some(kept) if kept.serves(&statement, policy, told_until, now) => {
            CertificateVerdict::Serve { refresh: kept.times.refresh_at <= now }
        }
        _ => CertificateVerdict::Sign(statement),
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, time::Duration};

    use precompute::{
        ocsp::{Unlisted, profile::Times},
        pki::{Reason, Record, Serial, Status},
        records::{Change, Records, RecordsWriter},
    };

    use super::*;

    const POLICY: Policy = Policy::DEFAULT;
    const NOW: UnixTime = UnixTime(1_800_000_000);
    const REVOKED: Status = Status::Revoked { time: UnixTime(1_700_000_000), reason: Reason::KeyCompromise };

    const MONTH: Duration = Duration::from_secs(30 * 86_400);

    struct World(RefCell<RecordsWriter>, Serial);

    impl World {
        fn new(status: Status) -> Self {
            let world = Self(RefCell::new(Records::new().1), Serial::from_magnitude(&[7]).unwrap());
            world.set(Some(status));
            world
        }

        fn set(&self, status: Option<Status>) {
            let not_after = Some(UnixTime(NOW.0 + 1000));
            self.0.borrow_mut().apply([Change::new(self.1, status.map(|status| Record { status, not_after }))]);
        }

        fn found(&self) -> Option<Found> {
            self.0.borrow().records().get(&self.1)
        }

        fn answer(&self) -> Kept {
            let statement = statement(&POLICY, self.found(), NOW).unwrap();
            Kept { statement, times: Times::plan(NOW, &POLICY, UnixTime::MAX, 0).unwrap() }
        }
    }

    #[test]
    fn an_answer_kept_from_before_its_sources_ended_sooner_never_leaves() {
        let world = World::new(Status::Good);
        let kept = world.answer();
        let end = kept.times.next_update;
        let verdict = |told_until| decide(&POLICY, world.found(), Some(&kept), told_until, NOW);
        assert!(matches!(verdict(end), CertificateVerdict::Serve { .. }));
        assert!(matches!(verdict(UnixTime(end.0 - 1)), CertificateVerdict::Sign(_)));
    }

    #[test]
    fn an_answer_kept_from_before_a_revocation_never_leaves() {
        let world = World::new(Status::Good);
        let kept = world.answer();
        assert!(matches!(
            decide(&POLICY, world.found(), Some(&kept), UnixTime::MAX, NOW),
            CertificateVerdict::Serve { refresh: false, .. }
        ));
        world.set(Some(REVOKED));
        let verdict = decide(&POLICY, world.found(), Some(&kept), UnixTime::MAX, NOW);
        assert!(
            matches!(&verdict, CertificateVerdict::Sign(statement) if matches!(statement.status, CertStatus::Revoked { .. })),
            "{verdict:?}"
        );
    }

    #[test]
    fn a_hold_that_came_and_went_voids_the_answer_from_before() {
        let world = World::new(Status::Good);
        let kept = world.answer();
        world.set(Some(Status::Revoked { time: NOW, reason: Reason::CertificateHold }));
        world.set(Some(Status::Good));
        assert!(matches!(decide(&POLICY, world.found(), Some(&kept), UnixTime::MAX, NOW), CertificateVerdict::Sign(_)));
    }

    #[test]
    fn nothing_leaves_outside_of_its_validity() {
        let world = World::new(REVOKED);
        let policy = Policy { retain_expired: MONTH, ..POLICY };
        let kept = world.answer();
        for (now, leaves) in [
            (NOW.0 - 1, false),
            (NOW.0, true),
            (kept.times.next_update.0 - 1, true),
            (kept.times.next_update.0, false),
            (kept.times.next_update.0 + 1, false),
        ] {
            let verdict = decide(&policy, world.found(), Some(&kept), UnixTime::MAX, UnixTime(now));
            assert_eq!(matches!(verdict, CertificateVerdict::Serve { .. }), leaves, "{now}: {verdict:?}");
        }
    }

    #[test]
    fn a_due_answer_is_served_and_replaced() {
        let world = World::new(Status::Good);
        let policy = Policy { retain_expired: MONTH, ..POLICY };
        let kept = world.answer();
        let verdict = decide(&policy, world.found(), Some(&kept), UnixTime::MAX, kept.times.refresh_at);
        assert!(matches!(verdict, CertificateVerdict::Serve { refresh: true, .. }));
    }

    #[test]
    fn an_unlisted_answer_is_void_once_the_serial_is_listed() {
        let world = World::new(Status::Good);
        world.set(None);
        let policy = Policy { unlisted: Unlisted::Good, ..POLICY };
        let statement = statement(&policy, world.found(), NOW).unwrap();
        let kept = Kept { statement, ..World::new(Status::Good).answer() };
        assert!(matches!(
            decide(&policy, world.found(), Some(&kept), UnixTime::MAX, NOW),
            CertificateVerdict::Serve { .. }
        ));
        world.set(Some(REVOKED));
        assert!(matches!(decide(&policy, world.found(), Some(&kept), UnixTime::MAX, NOW), CertificateVerdict::Sign(_)));
    }

    #[test]
    fn among_others_an_unlisted_serial_is_unknown_and_alone_they_are_refused() {
        let found = World::new(REVOKED).found();
        let Status::Revoked { time, reason } = REVOKED else { unreachable!() };
        let revoked = CertStatus::Revoked { time, reason };
        assert_eq!(said(POLICY, &[Ok(None), Ok(found)]), Ok(vec![CertStatus::Unknown, revoked]));
        assert_eq!(said(POLICY, &[Ok(None), Ok(None)]), Err(OcspError::Unauthorized), "no signature for nothing");
    }

    #[test]
    fn a_serial_of_no_certificate_is_unknown_among_others_whatever_the_policy() {
        let none = Err(OcspError::Unauthorized);
        let found = World::new(Status::Good).found();
        for unlisted in [Unlisted::Unauthorized, Unlisted::Unknown, Unlisted::Revoked, Unlisted::Good] {
            let policy = Policy { unlisted, ..POLICY };
            assert_eq!(said(policy, &[none, Ok(found)]), Ok(vec![CertStatus::Unknown, CertStatus::Good]));
            assert_eq!(said(policy, &[none, none]), Err(OcspError::Unauthorized));
        }
        let policy = Policy { unlisted: Unlisted::Good, ..POLICY };
        assert_eq!(said(policy, &[none, Ok(None)]), Ok(vec![CertStatus::Unknown, CertStatus::Good]));
    }

    fn said(policy: Policy, found: &[Result<Option<Found>, OcspError>]) -> Result<Vec<CertStatus>, OcspError> {
        let said = statements(found.iter().map(|found| (&policy, *found)), NOW)?;
        Ok(said.iter().map(|statement| statement.status).collect())
    }
}
