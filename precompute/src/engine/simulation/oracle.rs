//! What has to be true of a certificate, and what was promised to those who pushed.
//!
//! [`Truth`] is all that a record may say, to the second and with everybody who says so: what shows has to be equal to
//! it. Invariant: a final revocation outlives everything, and a hold ends only by a release of everybody who stated it.
//!
//! [`Promise`] knows none of these rules. It is made by acknowledgements alone, so it also holds where the truth is
//! wrong.

use super::Told;
use crate::{
    ledger::{Order, Outcome, Refusal, reconcile::strictness},
    limits,
    pki::{Reason, Record, Status, UnixTime},
    records::{Found, Origin},
};

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Truth {
    /// `None` if nobody has listed it.
    pub(super) status: Option<Status>,
    /// The end of its validity.
    pub(super) end: Option<UnixTime>,
    /// A push has said something.
    pub(super) pushed: bool,
    /// A push states the hold or the revocation.
    pub(super) restricts: bool,
    /// The source lists it.
    pub(super) listed: bool,
    /// The source does not state the hold or the revocation.
    pub(super) allows: bool,
}

impl Truth {
    /// What a record says.
    pub(super) fn of(record: Told) -> Self {
        let Some((record, origin)) = record else { return Self::default() };
        Self {
            status: Some(record.status),
            end: record.not_after,
            pushed: origin.is_pushed(),
            restricts: origin.has(Origin::PUSH_RESTRICTS),
            listed: origin.is_listed(),
            allows: origin.has(Origin::SOURCE_ALLOWS),
        }
    }

    pub(super) fn shown(found: Option<Found>) -> Self {
        Self::of(found.map(|found| (Record { status: found.status, not_after: found.not_after }, found.origin)))
    }

    /// The rank of its status; `None` if there is no record.
    pub(super) fn rank(self) -> Option<u8> {
        self.status.map(strictness)
    }

    pub(super) fn is_final(self) -> bool {
        self.rank() == Some(2)
    }

    /// Whether the source has it on hold, alone or with a push.
    pub(super) fn is_held_by_source(self) -> bool {
        self.rank() == Some(1) && !self.allows
    }

    /// The source says this; `None` if it does not list it.
    pub(super) fn source_says(&mut self, said: Option<Record>) {
        match said {
            Some(said) => self.source_lists(said),
            None if self.status.is_none() => {}
            // A lost line is no release.
            None if self.is_held_by_source() => {}
            None if self.pushed => (self.listed, self.allows) = (false, self.allows || self.restricts),
            None if self.is_final() => {}
            None => *self = Self::default(),
        }
    }

    fn source_lists(&mut self, said: Record) {
        (self.listed, self.end) = (true, said.not_after);
        let states = strictness(said.status);
        if self.rank().is_none_or(|rank| states > rank) {
            // Only the source says that.
            (self.status, self.restricts, self.allows) = (Some(said.status), false, false);
        } else if self.rank() == Some(states) {
            self.allows = false;
            // What was pushed keeps its time.
            if !self.restricts {
                self.status = Some(said.status);
            }
        } else if self.restricts {
            self.allows = true;
        } else if !self.is_final() {
            self.status = Some(said.status);
        }
    }

    /// A push says this.
    pub(super) fn push(&mut self, order: &Order, now: UnixTime) -> Result<Outcome, Refusal> {
        let before = *self;
        match *order {
            Order::Add { .. } if self.rank() > Some(0) => return Err(self.already_revoked()),
            Order::Add { not_after } => {
                if !self.listed || self.end.is_none() {
                    self.end = not_after.or(self.end);
                }
                (self.status, self.pushed) = (Some(Status::Good), true);
            }
            Order::Revoke { time: Some(time), .. } if time > now.after(limits::CLOCK_SKEW_MAX) => {
                return Err(Refusal::InTheFuture { time });
            }
            Order::Revoke { time, reason, even_unlisted } => {
                let wanted = Status::Revoked { time: time.unwrap_or(now), reason };
                match self.status {
                    None if !even_unlisted => return Err(Refusal::NotListed),
                    Some(Status::Revoked { reason: stated, .. }) if self.restricts && stated == reason => {}
                    Some(_) if self.rank() == Some(1) && reason == Reason::CertificateHold => {
                        (self.pushed, self.restricts) = (true, true);
                    }
                    status if status.map(strictness) >= Some(strictness(wanted)) => return Err(self.already_revoked()),
                    _ => {
                        (self.status, self.pushed) = (Some(wanted), true);
                        (self.restricts, self.allows) = (true, true);
                    }
                }
            }
            Order::Release => {
                match self.status {
                    None => return Err(Refusal::NotListed),
                    Some(Status::Good) => return Err(Refusal::NotOnHold),
                    Some(Status::Revoked { time, reason }) if self.is_final() => {
                        return Err(Refusal::Unrevoking { time, reason });
                    }
                    _ if !self.restricts => return Err(Refusal::HeldBySource),
                    _ => self.restricts = false,
                }
                if !self.allows {
                    return Ok(Outcome::StillHeld);
                }
                (self.status, self.allows) = (Some(Status::Good), false);
            }
        }
        Ok(if before == *self { Outcome::Unchanged } else { Outcome::Done })
    }

    fn already_revoked(self) -> Refusal {
        match self.status {
            Some(Status::Revoked { time, reason }) => Refusal::AlreadyRevoked { time, reason },
            _ => unreachable!("asked of what is revoked"),
        }
    }

    /// The same push, once it is on disk. A source may have said something in between: a stricter word stands, and a line
    /// that was lost makes no revocation void. In any case a push has spoken.
    pub(super) fn push_once_decided(&mut self, order: &Order, now: UnixTime) {
        let order = match *order {
            Order::Revoke { time, reason, .. } => Order::Revoke { time, reason, even_unlisted: true },
            order => order,
        };
        if self.push(&order, now).is_err() {
            self.pushed |= self.status.is_some();
        }
    }
}

/// What acknowledgements promise of a certificate, whatever sources say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Promise {
    /// There is a record.
    is_listed: bool,
    /// It is at least so strict.
    rank: u8,
}

impl Promise {
    /// This push was acknowledged.
    pub(super) fn acknowledged(&mut self, order: &Order) {
        self.is_listed = true;
        match *order {
            Order::Add { .. } => {}
            Order::Revoke { reason: Reason::CertificateHold, .. } => self.rank = self.rank.max(1),
            Order::Revoke { .. } => self.rank = 2,
            Order::Release if self.rank == 1 => self.rank = 0,
            Order::Release => {}
        }
    }

    /// This push may be on disk, and nobody was told.
    pub(super) fn perhaps(&mut self, order: &Order) {
        if *order == Order::Release && self.rank == 1 {
            self.rank = 0;
        }
    }

    /// What others were told counts again. A final revocation stays.
    pub(super) fn undone(&mut self) {
        if self.rank < 2 {
            *self = Self::default();
        }
    }

    pub(super) fn is_kept_by(self, truth: Truth) -> bool {
        (!self.is_listed || truth.status.is_some()) && truth.rank().unwrap_or(0) >= self.rank
    }
}
