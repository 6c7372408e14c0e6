//! What a source states of one certificate, in 30 bytes: at a first reading there may be ten million of these at once.
//!
//! Invariant: what goes in comes out, as far as a record can hold it. It does not know who says so.

use std::fmt;

use super::Change;
use crate::pki::{Reason, Record, Serial, Status, UnixTime};

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Stated {
    /// Of which certificate.
    pub serial: Serial,
    /// Seconds, which fit up to the year 36812; all ones where no end is said.
    not_after: [u8; 5],
    /// Seconds of a revocation, which have 32 bits.
    time: [u8; 4],
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unlisted,
    Good,
    Revoked(Reason),
}

const _: () = assert!(size_of::<Stated>() == 30);

const NO_END: [u8; 5] = [u8::MAX; 5];
const ENDS_MAX: u64 = (1 << 40) - 2;

impl Stated {
    /// `None`: it is not listed.
    pub fn new(serial: Serial, record: Option<Record>) -> Self {
        let (kind, time) = match record.map(|record| record.status) {
            None => (Kind::Unlisted, UnixTime(0)),
            Some(Status::Good) => (Kind::Good, UnixTime(0)),
            Some(Status::Revoked { time, reason }) => (Kind::Revoked(reason), time),
        };
        let not_after = record.and_then(|record| record.not_after).map_or(NO_END, |end| {
            let [_, _, _, end @ ..] = end.0.min(ENDS_MAX).to_be_bytes();
            end
        });
        let time = u32::try_from(time.0).unwrap_or(u32::MAX).to_be_bytes();
        Self { serial, not_after, time, kind }
    }

    /// What is said; `None`: it is not listed.
    pub fn record(&self) -> Option<Record> {
        let [a, b, c, d, e] = self.not_after;
        let not_after = (self.not_after != NO_END).then(|| UnixTime(u64::from_be_bytes([0, 0, 0, a, b, c, d, e])));
        let status = match self.kind {
            Kind::Unlisted => return None,
            Kind::Good => Status::Good,
            Kind::Revoked(reason) => Status::Revoked { time: UnixTime(u32::from_be_bytes(self.time).into()), reason },
        };
        Some(Record { status, not_after })
    }
}

impl From<Stated> for Change {
    fn from(said: Stated) -> Self {
        Self::new(said.serial, said.record())
    }
}

impl fmt::Debug for Stated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.serial, self.record())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_kept_whatever_it_is() {
        let serial = Serial::from_magnitude(&[7; 20]).unwrap();
        let revoked = Reason::ALL
            .into_iter()
            .flat_map(|reason| [0, 1, u32::MAX.into()].map(|time| Status::Revoked { time: UnixTime(time), reason }));
        for status in [Status::Good].into_iter().chain(revoked) {
            for not_after in [None, Some(UnixTime(0)), Some(UnixTime(1 << 33)), Some(UnixTime::MAX)] {
                let record = Some(Record { status, not_after });
                assert_eq!(Stated::new(serial, record).record(), record);
            }
        }
        assert_eq!(Stated::new(serial, None).record(), None);
    }
}
