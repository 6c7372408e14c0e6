//! A CA whose own certificate is revoked takes all its certificates with it, where the operator says so.
//!
//! RFC 6960 section 2.7 allows a responder that knows of the compromise of a CA's key to answer *revoked* for everything that
//! the CA has issued. Invariants: what is said becomes stricter, never milder: a revocation of the certificate's own that is
//! final and no later stays; and once the CA is noted as revoked, it stays so for as long as this value lives. Records are
//! not changed: it is a way to read them. It does not know who looks.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use super::ActiveIssuer;
use crate::{
    ocsp::{CaRevoked, Unlisted},
    pki::{Reason, Serial, Status, UnixTime},
    records::{Found, Origin, Records, StateWord},
};

/// The record of a CA's own certificate, under the CA that has issued it.
#[derive(Clone, Debug)]
pub struct OwnRecord {
    /// The records of that CA.
    pub records: Arc<Records>,
    /// The serial number of the certificate.
    pub serial: Serial,
    /// What is said of everything that CA has issued.
    pub above: Above,
}

/// What takes all certificates of a CA with it.
#[derive(Clone, Debug)]
pub enum Above {
    /// Nothing.
    Nothing,
    /// The operator's word, since then.
    Since(UnixTime),
    /// The record of its own certificate.
    Record(Box<OwnRecord>),
}

impl OwnRecord {
    /// Since when it is revoked for good, by itself or with the CA that has issued it.
    fn revoked_since(&self) -> Option<UnixTime> {
        let own = match self.records.get(&self.serial).map(|found| found.status) {
            Some(status @ Status::Revoked { time, .. }) if status.is_final() => Some(time),
            _ => None,
        };
        let above = match &self.above {
            Above::Nothing => None,
            Above::Since(since) => Some(*since),
            Above::Record(record) => record.revoked_since(),
        };
        [own, above].into_iter().flatten().min()
    }

    fn is_same(&self, other: &Self) -> bool {
        let is_above = match (&self.above, &other.above) {
            (Above::Nothing, Above::Nothing) => true,
            (Above::Since(since), Above::Since(other)) => since == other,
            (Above::Record(record), Above::Record(other)) => record.is_same(other),
            _ => false,
        };
        is_above && Arc::ptr_eq(&self.records, &other.records) && self.serial == other.serial
    }
}

/// Since when all certificates of a CA are revoked with it, under this policy and with this record of its own certificate.
pub fn ca_revoked_since(policy: CaRevoked, own: Option<&OwnRecord>) -> Option<UnixTime> {
    match policy {
        CaRevoked::ItAlone => None,
        CaRevoked::All => own.and_then(OwnRecord::revoked_since),
        CaRevoked::AllSince(since) => Some(since),
    }
}

/// What is said of a record under a CA that is revoked since then.
pub(crate) fn under_revoked_ca(found: Found, since: UnixTime) -> Found {
    match found.status {
        own @ Status::Revoked { time, .. } if own.is_final() && time <= since => found,
        _ => {
            let status = Status::Revoked { time: since, reason: Reason::CaCompromise };
            Found { state: found.state.saying_instead(status), status, ..found }
        }
    }
}

impl ActiveIssuer {
    /// The same under this record of its own certificate.
    pub fn with_own_record(self, own: Option<OwnRecord>) -> Self {
        let this = Self { own, ..self };
        this.note_revoked_ca();
        this
    }

    /// Whether the record of its own certificate is this one.
    pub fn has_own_record(&self, own: Option<&OwnRecord>) -> bool {
        match (&self.own, own) {
            (Some(own), Some(other)) => own.is_same(other),
            (own, other) => own.is_none() && other.is_none(),
        }
    }

    /// What was noted of the same CA before stays noted, as long as the operator's word about it is the same.
    pub fn after(self, former: Option<&Self>) -> Self {
        let is_same = |former: &&Self| former.id() == self.id() && former.policy.ca_revoked == self.policy.ca_revoked;
        if let Some(former) = former.filter(is_same) {
            let noted = former.revoked_ca.load(Relaxed);
            let _ = self.revoked_ca.compare_exchange(0, noted, Relaxed, Relaxed);
        }
        self
    }

    /// Notes whether its own certificate is revoked now, if that matters. True if it has not been noted before.
    pub fn note_revoked_ca(&self) -> bool {
        let since = ca_revoked_since(self.policy.ca_revoked, self.own.as_ref());
        // Zero is none: a time of 1970 is a second later.
        since.is_some_and(|since| self.revoked_ca.swap(since.0.max(1), Relaxed) == 0)
    }

    /// Since when its own certificate is noted as revoked.
    #[inline]
    pub fn ca_revoked_since(&self) -> Option<UnixTime> {
        match self.revoked_ca.load(Relaxed) {
            0 => None,
            since => Some(UnixTime(since)),
        }
    }

    /// What is said of a record.
    #[inline]
    pub fn said(&self, found: Found) -> Found {
        match self.ca_revoked_since() {
            None => found,
            Some(since) => under_revoked_ca(found, since),
        }
    }

    /// What is said of a certificate that is listed.
    #[inline]
    pub fn listed(&self, serial: &Serial) -> Option<Found> {
        self.state.records.get(serial).map(|found| self.said(found))
    }

    /// What is said of a serial number that is not listed, where that may be *good* otherwise.
    pub(super) fn unlisted(&self) -> Option<Found> {
        let since = self.ca_revoked_since().filter(|_| self.policy.unlisted == Unlisted::Good)?;
        let status = Status::Revoked { time: since, reason: Reason::CaCompromise };
        Some(Found { state: StateWord::saying(Some(status)), status, not_after: None, origin: Origin::SOURCE })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{pki::Record, records::Change};

    const SINCE: UnixTime = UnixTime(1_700_000_000);

    fn found(status: Status) -> Found {
        let serial = Serial::from_magnitude(&[7]).unwrap();
        let record = Some(Record { status, not_after: Some(UnixTime(1_900_000_000)) });
        Records::of([Change::new(serial, record)]).get(&serial).unwrap()
    }

    fn revoked(time: u64, reason: Reason) -> Status {
        Status::Revoked { time: UnixTime(time), reason }
    }

    #[test]
    fn a_ca_falls_with_every_ca_above_it_and_by_the_earliest_word() {
        let serial = Serial::from_magnitude(&[7]).unwrap();
        let of = |status: Option<Status>, above| {
            let record = status.map(|status| Record { status, not_after: None });
            OwnRecord { records: Records::of([Change::new(serial, record)]), serial, above }
        };
        let record = |status, above| Above::Record(Box::new(of(Some(status), above)));
        let lost = |time| revoked(time, Reason::KeyCompromise);
        for (own, above, since) in [
            (Some(Status::Good), Above::Nothing, None),
            (None, Above::Nothing, None),
            (Some(revoked(5, Reason::CertificateHold)), Above::Nothing, None),
            (Some(lost(5)), Above::Nothing, Some(5)),
            (Some(Status::Good), Above::Since(UnixTime(4)), Some(4)),
            (Some(Status::Good), record(lost(3), Above::Nothing), Some(3)),
            (Some(lost(5)), record(lost(3), Above::Nothing), Some(3)),
            (Some(lost(2)), record(lost(3), Above::Nothing), Some(2)),
            (Some(Status::Good), record(Status::Good, record(lost(6), Above::Nothing)), Some(6)),
            (Some(Status::Good), record(Status::Good, Above::Nothing), None),
        ] {
            let own = of(own, above);
            assert_eq!(own.revoked_since(), since.map(UnixTime), "{own:?}");
        }
    }

    #[test]
    fn under_a_revoked_ca_everything_is_revoked_by_the_earlier_word() {
        let by_ca = revoked(SINCE.0, Reason::CaCompromise);
        let (earlier, later) = (SINCE.0 - 1, SINCE.0 + 1);
        for (own, said) in [
            (Status::Good, by_ca),
            (revoked(earlier, Reason::CertificateHold), by_ca),
            (revoked(later, Reason::Superseded), by_ca),
            (revoked(earlier, Reason::Superseded), revoked(earlier, Reason::Superseded)),
            (revoked(SINCE.0, Reason::KeyCompromise), revoked(SINCE.0, Reason::KeyCompromise)),
        ] {
            let own = found(own);
            let seen = under_revoked_ca(own, SINCE);
            assert_eq!((seen.status, seen.state.status()), (said, Some(said)));
            assert_eq!((seen.not_after, seen.origin), (own.not_after, own.origin));
            // An answer of before the CA was revoked is void, and one of after it is kept.
            assert_eq!(seen.state == own.state, own.status == said);
            assert_eq!(under_revoked_ca(seen, SINCE), seen);
        }
    }
}
