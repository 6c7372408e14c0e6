//! What an answer says about a certificate and for how long: this project's profile of RFC 6960, pure.
//!
//! Purpose: one place for what an answer says (from policy and record), when it is valid and when it is replaced, both
//! for pre-signed answers and for a waiting client. Invariant: it does no I/O and reads no clock, and an answer rebuilt
//! from its kept values is, byte for byte, the one that was signed. It does not know who sends requests.

use std::time::Duration;

use super::{CertId, CertStatus, OcspError, Policy, Single, Unlisted};
use crate::{
    pki::{Reason, Status, UnixTime},
    records::{Found, StateWord},
};

/// The statement about one certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Statement {
    /// The state of the record that it comes from; `None` for an unlisted serial.
    pub state: Option<StateWord>,
    /// The status.
    pub status: CertStatus,
    /// Whether the serial number may never have been issued (RFC 6960 section 4.4.8).
    pub extended_revoke: bool,
}

impl Statement {
    /// Whether caches may keep it. A statement about a serial that may be issued the next moment must not outlive that
    /// moment, unless the policy calls all such serials good.
    pub fn may_be_kept(&self) -> bool {
        self.state.is_some() || self.status == CertStatus::Good
    }
}

/// What is kept of an answer beside its signature, if it is about a listed certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The state of the record when it was signed.
    pub state: StateWord,
    /// When it was signed: [`Times::signed_at`].
    pub this_update: UnixTime,
    /// nextUpdate.
    pub next_update: UnixTime,
    /// When it should be replaced.
    pub refresh_at: UnixTime,
}

/// What is known of a signed answer, however it is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kept {
    /// What it says.
    pub statement: Statement,
    /// Its validity.
    pub times: Times,
}

impl Kept {
    /// From an entry of the compact table, which only holds answers about listed certificates. `None` if its record was
    /// removed.
    pub fn of(entry: &Entry) -> Option<Self> {
        let status = match entry.state.status()? {
            Status::Good => CertStatus::Good,
            Status::Revoked { time, reason } => CertStatus::Revoked { time, reason },
        };
        let Entry { state, this_update, next_update, refresh_at } = *entry;
        Some(Self {
            statement: Statement { state: Some(state), status, extended_revoke: false },
            times: Times { signed_at: this_update, next_update, refresh_at },
        })
    }

    /// Whether it may be served `now` for the present statement. `told_until`: the latest nextUpdate that is allowed,
    /// which may be nearer than when it was signed.
    #[inline]
    pub fn serves(&self, statement: &Statement, policy: &Policy, told_until: UnixTime, now: UnixTime) -> bool {
        let Times { signed_at, next_update, .. } = self.times;
        self.statement == *statement
            // The clock of who signed it may be ahead; clients with such clocks are what `backdate` is for.
            && signed_at.before(policy.backdate) <= now
            && now < next_update.min(signed_at.after(policy.serve_for))
            && next_update <= told_until
    }

    /// What the compact table keeps of it; `None` for unlisted serials.
    pub fn entry(&self) -> Option<Entry> {
        let Statement { state: Some(state), extended_revoke: false, .. } = self.statement else { return None };
        let Times { signed_at, next_update, refresh_at } = self.times;
        Some(Entry { state, this_update: signed_at, next_update, refresh_at })
    }
}

/// When an answer is valid, and when its replacement is signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Times {
    /// producedAt. thisUpdate is that, or as much earlier as the policy sets it back ([`single`]).
    pub signed_at: UnixTime,
    /// nextUpdate.
    pub next_update: UnixTime,
    /// When it should be replaced; caches keep it no longer.
    pub refresh_at: UnixTime,
}

/// The policy's statement about a record, or about an unlisted serial.
pub fn statement(policy: &Policy, found: Option<Found>, now: UnixTime) -> Result<Statement, OcspError> {
    let Some(found) = found else {
        let (status, extended_revoke) = match policy.unlisted {
            Unlisted::Unauthorized => return Err(OcspError::Unauthorized),
            Unlisted::Unknown => (CertStatus::Unknown, false),
            Unlisted::Good => (CertStatus::Good, false),
            Unlisted::Revoked => (CertStatus::Revoked { time: UnixTime(0), reason: Reason::CertificateHold }, true),
        };
        return Ok(Statement { state: None, status, extended_revoke });
    };
    if has_expired(policy, found.not_after, now) {
        return Err(OcspError::Unauthorized);
    }
    let status = match found.status {
        Status::Good => CertStatus::Good,
        Status::Revoked { time, reason } => CertStatus::Revoked { time, reason },
    };
    Ok(Statement { state: Some(found.state), status, extended_revoke: false })
}

/// Whether a certificate that is valid until then is not answered for any more.
pub fn has_expired(policy: &Policy, not_after: Option<UnixTime>, now: UnixTime) -> bool {
    not_after.is_some_and(|end| end.after(policy.retain_expired) < now)
}

/// The SingleResponse of a statement. It has an archive cutoff if the policy wants one and the certificate is listed:
/// certificates that expired since then are still known (RFC 6960 section 4.4.4). It is never before the CA existed.
#[inline]
pub fn single<'a>(
    cert_id: CertId<'a>,
    policy: &Policy,
    issuer_not_before: UnixTime,
    statement: &Statement,
    times: &Times,
) -> Single<'a> {
    let archived = policy.archive_cutoff && statement.state.is_some();
    let cutoff = times.signed_at.before(policy.retain_expired).max(issuer_not_before);
    Single {
        cert_id,
        status: statement.status,
        this_update: times.signed_at.before(policy.backdate),
        next_update: times.next_update,
        archive_cutoff: archived.then_some(cutoff),
        carrying: None,
    }
}

impl Times {
    /// The times of an answer signed `now` under this policy: valid for its `validity`, but not beyond `not_after` (of
    /// the signer's certificate, the issuer's and what the sources allow). `spread` is any number that differs between
    /// answers, so that those signed together are not all replaced together. `None` where `not_after` is past.
    pub fn plan(now: UnixTime, policy: &Policy, not_after: UnixTime, spread: u32) -> Option<Self> {
        if not_after <= now {
            return None;
        }
        let next_update = now.after(policy.validity).min(not_after);
        let latest = policy.refresh_after(next_update.since(now)).as_secs();
        // Up to an eighth earlier.
        let early = latest / 8 * u64::from(spread) / u64::from(u32::MAX);
        let refresh_at = now.after(Duration::from_secs(latest - early));
        Some(Self { signed_at: now, next_update, refresh_at })
    }

    /// Whether an answer is valid `now`.
    pub fn hold(&self, now: UnixTime) -> bool {
        self.signed_at <= now && now < self.next_update
    }

    /// How long caches may keep it under this policy: never longer than until it should be replaced. Where it ends before its
    /// validity would, with a CRL or a signer, nothing replaces it before these are replaced: then for half of what is left,
    /// so that caches ask a few times and not for each client.
    pub fn max_age(&self, policy: &Policy, now: UnixTime) -> Duration {
        let is_cut = self.next_update < self.signed_at.after(policy.validity);
        let fresh = if now >= self.refresh_at && is_cut {
            self.next_update.min(self.signed_at.after(policy.serve_for)).since(now) / 2
        } else {
            self.refresh_at.since(now)
        };
        fresh.min(policy.max_age)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        ocsp::{HashAlgorithm, Profile},
        pki::{Record, Serial},
        records::{Change, Records, RecordsWriter},
    };

    const POLICY: Policy = Policy::DEFAULT;
    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(86_400);
    const NOW: UnixTime = UnixTime(1_800_000_000);
    const REVOKED: Status = Status::Revoked { time: UnixTime(1_700_000_000), reason: Reason::KeyCompromise };

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
    fn an_unlisted_serial_gets_what_the_policy_says() {
        for (unlisted, expected) in [
            (Unlisted::Unauthorized, Err(OcspError::Unauthorized)),
            (Unlisted::Unknown, Ok((CertStatus::Unknown, false))),
            (Unlisted::Good, Ok((CertStatus::Good, false))),
            (Unlisted::Revoked, Ok((CertStatus::Revoked { time: UnixTime(0), reason: Reason::CertificateHold }, true))),
        ] {
            let policy = Policy { unlisted, ..POLICY };
            let said = statement(&policy, None, NOW).map(|said| (said.status, said.extended_revoke));
            assert_eq!(said, expected);
        }
    }

    #[test]
    fn only_what_stays_right_may_be_kept_by_caches() {
        for (unlisted, kept) in [(Unlisted::Unknown, false), (Unlisted::Revoked, false), (Unlisted::Good, true)] {
            let policy = Policy { unlisted, ..POLICY };
            assert_eq!(statement(&policy, None, NOW).unwrap().may_be_kept(), kept, "{unlisted:?}");
        }
        assert!(World::new(REVOKED).answer().statement.may_be_kept());
    }

    #[test]
    fn an_archive_cutoff_is_told_of_listed_certificates_where_the_policy_wants_it() {
        let cert_id = CertId { hash: HashAlgorithm::Sha1, issuer_name_hash: &[], issuer_key_hash: &[], serial: &[] };
        let listed = statement(&POLICY, World::new(REVOKED).found(), NOW).unwrap();
        let unlisted = Statement { state: None, ..listed };
        let times = Times::plan(NOW, &POLICY, UnixTime::MAX, 0).unwrap();
        let old = UnixTime(NOW.0 - 1000);
        for (archive_cutoff, retain, statement, not_before, expected) in [
            (false, DAY, listed, UnixTime(0), None),
            (true, DAY, listed, UnixTime(0), Some(NOW.before(DAY))),
            (true, DAY, listed, old, Some(old)),
            (true, DAY, unlisted, UnixTime(0), None),
        ] {
            let policy = Policy { archive_cutoff, retain_expired: retain, ..POLICY };
            assert_eq!(single(cert_id, &policy, not_before, &statement, &times).archive_cutoff, expected);
        }
    }

    #[test]
    fn an_expired_certificate_is_told_for_as_long_as_the_policy_retains_it() {
        let found = World::new(Status::Good).found();
        let policy = Policy { retain_expired: HOUR, ..POLICY };
        let end = NOW.0 + 1000;
        assert!(statement(&POLICY, found, UnixTime(end)).is_ok());
        assert_eq!(statement(&POLICY, found, UnixTime(end + 1)), Err(OcspError::Unauthorized));
        assert!(statement(&policy, found, UnixTime(end + 3600)).is_ok());
        assert_eq!(statement(&policy, found, UnixTime(end + 3601)), Err(OcspError::Unauthorized));
    }

    #[test]
    fn an_answer_is_given_out_from_this_update_until_the_policy_its_end_or_the_sources_end_it() {
        let answer = World::new(Status::Good).answer();
        let Times { signed_at, next_update, .. } = answer.times;
        let (backdated, short) = (Policy { backdate: HOUR, ..POLICY }, Policy { serve_for: HOUR, ..POLICY });
        let one = Duration::from_secs(1);
        for (policy, told_until, now, expected) in [
            (POLICY, UnixTime::MAX, signed_at, true),
            (POLICY, UnixTime::MAX, signed_at.before(one), false),
            (POLICY, UnixTime::MAX, next_update.before(one), true),
            (POLICY, UnixTime::MAX, next_update, false),
            (POLICY, next_update, signed_at, true),
            (POLICY, next_update.before(one), signed_at, false),
            (backdated, UnixTime::MAX, signed_at.before(HOUR), true),
            (backdated, UnixTime::MAX, signed_at.before(HOUR + one), false),
            (backdated, UnixTime::MAX, next_update, false),
            (short, UnixTime::MAX, signed_at.after(HOUR - one), true),
            (short, UnixTime::MAX, signed_at.after(HOUR), false),
        ] {
            let serves = answer.serves(&answer.statement, &policy, told_until, now);
            assert_eq!(serves, expected, "{policy:?} {told_until} {now}");
        }
    }

    #[test]
    fn this_update_is_set_back_and_the_other_times_are_not() {
        let cert_id = CertId { hash: HashAlgorithm::Sha1, issuer_name_hash: &[], issuer_key_hash: &[], serial: &[] };
        let policy = Policy { backdate: HOUR, archive_cutoff: true, retain_expired: DAY, ..POLICY };
        let answer = World::new(Status::Good).answer();
        let times = Times::plan(NOW, &policy, UnixTime::MAX, 0).unwrap();
        assert_eq!((times.signed_at, times.next_update), (NOW, NOW.after(POLICY.validity)));
        let single = single(cert_id, &policy, UnixTime(0), &answer.statement, &times);
        assert_eq!((single.this_update, single.next_update), (NOW.before(HOUR), times.next_update));
        assert_eq!(single.archive_cutoff, Some(NOW.before(DAY)));
    }

    #[test]
    fn caches_keep_an_answer_for_no_longer_than_the_policy_says_nor_until_after_its_replacement() {
        let times = Times::plan(NOW, &POLICY, UnixTime::MAX, 0).unwrap();
        let left = times.refresh_at.since(NOW);
        for (max_age, now, expected) in [
            (POLICY.max_age, NOW, left),
            (HOUR, NOW, HOUR),
            (Duration::ZERO, NOW, Duration::ZERO),
            (HOUR, times.refresh_at.before(Duration::from_secs(7)), Duration::from_secs(7)),
            (POLICY.max_age, times.refresh_at, Duration::ZERO),
            (HOUR, times.next_update, Duration::ZERO),
        ] {
            assert_eq!(times.max_age(&Policy { max_age, ..POLICY }, now), expected, "{max_age:?} {now}");
        }
    }

    /// With a CRL a day nothing replaces its answers in its last hours, and each client of a cache would be asked for.
    #[test]
    fn an_answer_that_ends_with_a_crl_is_kept_by_caches_also_when_nothing_replaces_it() {
        let times = Times::plan(NOW, &POLICY, NOW.after(DAY), 0).unwrap();
        let late = times.next_update.before(HOUR);
        assert!(times.refresh_at < late);
        for (policy, now, expected) in [
            (POLICY, late, HOUR / 2),
            (POLICY, times.next_update, Duration::ZERO),
            (POLICY, times.refresh_at.before(HOUR), HOUR),
            (Policy { max_age: HOUR / 4, ..POLICY }, late, HOUR / 4),
            (Policy { serve_for: DAY - HOUR, ..POLICY }, late, Duration::ZERO),
            (Policy { validity: DAY, ..POLICY }, late, Duration::ZERO),
        ] {
            assert_eq!(times.max_age(&policy, now), expected, "{policy:?} {now}");
        }
    }

    /// A client of X-Road refuses what was signed more than an hour ago, and uses what it has for twice its 20 minutes
    /// where the next request fails.
    #[test]
    fn an_answer_for_x_road_leaves_within_ten_minutes_and_stays_valid_for_an_hour() {
        let policy = Profile::XRoad.applied_to(POLICY);
        let (answer, minute) = (World::new(Status::Good).answer(), Duration::from_secs(60));
        for spread in [0, u32::MAX] {
            let kept = Kept { times: Times::plan(NOW, &policy, UnixTime::MAX, spread).unwrap(), ..answer };
            let leaves = (0..7200).filter(|age| {
                let now = NOW.after(Duration::from_secs(*age));
                // As it leaves a cache at the latest, which took it at that moment.
                let after_cache = now.after(kept.times.max_age(&policy, now));
                let leaves = kept.serves(&answer.statement, &policy, UnixTime::MAX, now);
                assert!(!leaves || after_cache.since(NOW) <= 10 * minute, "{age} s");
                assert!(!leaves || kept.times.next_update.since(after_cache) >= 50 * minute, "{age} s");
                leaves
            });
            assert_eq!(leaves.count(), 600);
            assert!(kept.times.refresh_at.since(NOW) <= 5 * minute, "a new one is there long before");
        }
    }

    proptest! {
        #[test]
        fn replacement_keeps_to_the_baseline_requirements(
            validity in 8 * 3600u64..=10 * 86_400,
            signer_left in 1u64..20 * 86_400,
            spread in any::<u32>(),
        ) {
            let not_after = UnixTime(NOW.0 + signer_left);
            let policy = Policy { validity: Duration::from_secs(validity), ..POLICY };
            let times = Times::plan(NOW, &policy, not_after, spread).unwrap();
            prop_assert!(times.signed_at <= times.refresh_at && times.refresh_at < times.next_update);
            prop_assert!(times.next_update <= not_after);
            let valid = times.next_update.since(NOW);
            let refresh = times.refresh_at.since(NOW);
            if valid < 16 * HOUR {
                prop_assert!(refresh <= valid / 2);
            } else {
                prop_assert!(refresh <= valid - 8 * HOUR && refresh <= 4 * DAY);
            }
            prop_assert!(times.max_age(&policy, NOW) <= refresh);
            prop_assert_eq!(times.max_age(&policy, times.next_update), Duration::ZERO);
        }
    }

    #[test]
    fn nothing_is_signed_past_the_end_of_the_signer() {
        assert_eq!(Times::plan(NOW, &POLICY, NOW, 0), None);
    }
}
