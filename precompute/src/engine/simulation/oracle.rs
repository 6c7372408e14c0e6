//! What has to be true of a certificate, without the rules that are tested.
//!
//! It knows who says what: a push may have listed it, a push may hold it, the source may list it as good or on hold, and
//! a final revocation outlives everything. Invariant: a hold ends only by a release of everybody who stated it.

use crate::{
    ledger::{Order, Outcome, reconcile::strictness},
    limits,
    pki::{Reason, Status, UnixTime},
    records::{Found, Origin},
};

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Truth {
    /// Finally revoked; then the source's word no longer counts.
    pub(super) is_final: bool,
    /// A push has said something.
    pub(super) pushed: bool,
    /// A push states the hold or the revocation.
    pub(super) restricts: bool,
    /// Whether the source holds it; `None` if it does not list it.
    pub(super) source: Option<bool>,
}

impl Truth {
    /// What a record says.
    pub(super) fn of(found: Option<(Status, Origin)>) -> Self {
        let Some((status, origin)) = found else { return Self::default() };
        let (rank, listed) = (strictness(status), origin.is_listed());
        let held_by_source = rank == 1 && !origin.has(Origin::SOURCE_ALLOWS);
        Self {
            is_final: rank == 2,
            pushed: origin.is_pushed(),
            restricts: origin.has(Origin::PUSH_RESTRICTS),
            source: (rank < 2 && (listed || held_by_source)).then_some(held_by_source),
        }
    }

    pub(super) fn shown(found: Option<Found>) -> Self {
        Self::of(found.map(|found| (found.status, found.origin)))
    }

    /// The rank of its status; `None` if there is no record.
    pub(super) fn rank(self) -> Option<u8> {
        match self {
            Self { is_final: true, .. } => Some(2),
            Self { restricts: true, .. } | Self { source: Some(true), .. } => Some(1),
            Self { pushed, source, .. } => (pushed || source.is_some()).then_some(0),
        }
    }

    /// The source says this; `None` if it does not list it.
    pub(super) fn source_says(&mut self, said: Option<u8>) {
        match said {
            _ if self.is_final => {}
            Some(2) => *self = Self { is_final: true, restricts: false, source: None, ..*self },
            // A lost line is no release.
            None if self.source == Some(true) => {}
            said => self.source = said.map(|rank| rank == 1),
        }
    }

    /// A push says this. The name of the refusal, if there is one.
    pub(super) fn push(&mut self, order: &Order, now: UnixTime) -> Result<Outcome, &'static str> {
        let before = *self;
        match *order {
            Order::Add { .. } if self.rank() > Some(0) => return Err("AlreadyRevoked"),
            Order::Add { .. } => self.pushed = true,
            Order::Revoke { time: Some(time), .. } if time > now.after(limits::CLOCK_SKEW_MAX) => {
                return Err("InTheFuture");
            }
            Order::Revoke { reason, even_unlisted, .. } => {
                let is_hold = reason == Reason::CertificateHold;
                match self.rank() {
                    None if !even_unlisted => return Err("NotListed"),
                    Some(2) if is_hold || !self.restricts => return Err("AlreadyRevoked"),
                    _ => {}
                }
                (self.pushed, self.restricts) = (true, true);
                if !is_hold {
                    (self.is_final, self.source) = (true, None);
                }
            }
            Order::Release => match self.rank() {
                None => return Err("NotListed"),
                Some(0) => return Err("NotOnHold"),
                Some(2) => return Err("Unrevoking"),
                _ if !self.restricts => return Err("HeldBySource"),
                _ => self.restricts = false,
            },
        }
        Ok(match order {
            Order::Release if self.source == Some(true) => Outcome::StillHeld,
            _ if before == *self => Outcome::Unchanged,
            _ => Outcome::Done,
        })
    }
}
