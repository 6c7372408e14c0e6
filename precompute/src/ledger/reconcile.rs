//! What may become of a record, whoever wants it: the one place for the rules between sources and pushes.
//!
//! Purpose: from what is known of a certificate and what a source or a push says, the record that follows. Invariants:
//! nothing here ends a final revocation. A hold ends when everybody who stated it has released it: its sources by a
//! read, a push by a push. No source removes what was pushed. It is pure: it does not know tables, files or clocks.

use std::cmp::Ordering;

use super::push::{Order, Outcome, Refusal};
#[cfg(test)]
use crate::left_out::{Rule, is_left_out};
use crate::{
    limits,
    pki::{Reason, Record, Serial, Status, UnixTime},
    records::{Change, Found, Origin},
};

/// What is known of a certificate: the record, and who says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Known {
    pub(crate) record: Record,
    pub(crate) origin: Origin,
}

impl Known {
    /// Whether a source has it on hold, alone or with a push.
    pub(crate) fn is_held_by_source(self) -> bool {
        strictness(self.record.status) == HOLD && !self.origin.has(Origin::SOURCE_ALLOWS)
    }
}

impl From<Found> for Known {
    fn from(found: Found) -> Self {
        Self { record: Record { status: found.status, not_after: found.not_after }, origin: found.origin }
    }
}

impl Known {
    /// What a change makes of its record.
    pub(crate) fn of(change: &Change) -> Option<Self> {
        change.record.map(|record| Self { record, origin: change.origin })
    }

    /// The change that makes this of a record.
    pub(crate) fn change(serial: Serial, known: Option<Self>) -> Change {
        let change = Change::new(serial, known.map(|known| known.record));
        known.map_or(change, |known| change.by(known.origin))
    }
}

/// How a source and what is known contradict each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Contradiction {
    /// The source takes back a final revocation that a source stated.
    TakenBack,
    /// The source calls good, or does not list, what a push has revoked or holds.
    PushRestricts,
    /// The source does not list what was pushed.
    PushLists,
}

impl Contradiction {
    /// How many kinds there are.
    pub(crate) const KINDS: usize = 3;
}

/// The rank of a status: good, on hold, finally revoked.
pub(crate) const fn strictness(status: Status) -> u8 {
    match status {
        Status::Good => 0,
        Status::Revoked { reason: Reason::CertificateHold, .. } => HOLD,
        Status::Revoked { .. } => FINAL,
    }
}

/// The rank of a hold.
pub(crate) const HOLD: u8 = 1;
/// The rank of a final revocation, which is never taken back.
pub(crate) const FINAL: u8 = 2;

/// The stricter of two statements about one certificate; the first if they are equally strict.
pub(crate) fn stricter(first: Status, second: Status) -> Status {
    if strictness(second) > strictness(first) { second } else { first }
}

/// What follows when the sources say `said`; `None` if they do not list the certificate. A final revocation that a
/// source has stated stays although the source does not list it any more.
pub(crate) fn by_source(known: Option<Known>, said: Option<Record>) -> (Option<Known>, Option<Contradiction>) {
    match (known, said) {
        (None, None) => (None, None),
        (None, Some(record)) => (Some(Known { record, origin: Origin::SOURCE }), None),
        (Some(known), Some(said)) => listed(known, said),
        (Some(known), None) => unlisted(known),
    }
}

fn listed(known: Known, said: Record) -> (Option<Known>, Option<Contradiction>) {
    let Known { record, origin } = known;
    let pushed = origin.has(Origin::PUSH_RESTRICTS);
    #[cfg(test)]
    let pushed = pushed && !is_left_out(Rule::HoldsOfPushesStay);
    let listed = origin.without(Origin::UNLISTED);
    let not_after = if same_end(record.not_after, said.not_after) { record.not_after } else { said.not_after };
    let (before, now) = (strictness(record.status), strictness(said.status));
    let (status, origin, contradiction) = if now > before {
        // The source's statement is the stricter one, and a push does not state it.
        (said.status, listed.without(Origin::PUSH_RESTRICTS).without(Origin::SOURCE_ALLOWS), None)
    } else if now == before && pushed {
        // Both say so; the push did first, or the source wrote another time for the same.
        (record.status, listed.without(Origin::SOURCE_ALLOWS), None)
    } else if now == before {
        (said.status, listed.without(Origin::SOURCE_ALLOWS), None)
    } else if pushed {
        (record.status, listed.with(Origin::SOURCE_ALLOWS), Some(Contradiction::PushRestricts))
    } else if before == FINAL {
        (record.status, listed, Some(Contradiction::TakenBack))
    } else {
        // The sources release their hold.
        (said.status, listed, None)
    };
    (Some(Known { record: Record { status, not_after }, origin }), contradiction)
}

fn unlisted(known: Known) -> (Option<Known>, Option<Contradiction>) {
    let Known { record, origin } = known;
    let rank = strictness(record.status);
    #[cfg(test)]
    let origin = if is_left_out(Rule::PushedStays) { Origin::SOURCE } else { origin };
    if !origin.is_pushed() {
        let stays = rank == FINAL;
        return (stays.then_some(known), stays.then_some(Contradiction::TakenBack));
    }
    let gone = origin.with(Origin::UNLISTED);
    if origin.has(Origin::PUSH_RESTRICTS) {
        let origin = gone.with(Origin::SOURCE_ALLOWS);
        return (Some(Known { record, origin }), Some(Contradiction::PushRestricts));
    }
    match rank {
        FINAL => (Some(Known { record, origin: gone }), Some(Contradiction::TakenBack)),
        // The sources' hold ends; the push that listed the certificate remains.
        _ => {
            let record = Record { status: Status::Good, ..record };
            (Some(Known { record, origin: gone }), Some(Contradiction::PushLists))
        }
    }
}

/// What follows for a certificate that an issuer had as `former` before its tenant was renamed, and has as `present`.
/// What either says stays, and the stricter of both counts.
pub(crate) fn carried(former: Known, present: Option<Known>) -> Known {
    let bits = |known: Known, wanted: &[Origin]| {
        wanted.iter().filter(|bit| known.origin.has(**bit)).fold(Origin::SOURCE, |bits, bit| bits.with(*bit))
    };
    let pushed = bits(former, &[Origin::PUSHED, Origin::PUSH_RESTRICTS]);
    // No source here says as much.
    let alone = if pushed.has(Origin::PUSH_RESTRICTS) { pushed.with(Origin::SOURCE_ALLOWS) } else { pushed };
    let Some(present) = present else {
        let unlisted = if pushed.is_pushed() { Origin::UNLISTED } else { Origin::SOURCE };
        return Known { origin: alone.with(unlisted), ..former };
    };
    let not_after = present.record.not_after.or(former.record.not_after);
    match strictness(former.record.status).cmp(&strictness(present.record.status)) {
        Ordering::Greater => Known {
            record: Record { not_after, ..former.record },
            origin: alone.with(bits(present, &[Origin::PUSHED, Origin::UNLISTED])),
        },
        Ordering::Equal => {
            Known { record: Record { not_after, ..present.record }, origin: present.origin.with(pushed) }
        }
        Ordering::Less => Known {
            record: Record { not_after, ..present.record },
            origin: present.origin.with(bits(former, &[Origin::PUSHED])),
        },
    }
}

/// What follows for a certificate that a backup of the book has as `there`, and the book as `here`. Nothing becomes less
/// strict or easier to release than either has it: which of them is newer is not known.
pub(crate) fn restored(there: Known, here: Option<Known>) -> Known {
    let Some(here) = here else { return there };
    let pushed = if there.origin.is_pushed() { Origin::PUSHED } else { Origin::SOURCE };
    let not_after = here.record.not_after.or(there.record.not_after);
    match strictness(there.record.status).cmp(&strictness(here.record.status)) {
        Ordering::Greater => {
            let listed = if here.origin.is_listed() { Origin::SOURCE } else { Origin::UNLISTED };
            let pushed = if here.origin.is_pushed() { Origin::PUSHED } else { Origin::SOURCE };
            let origin = there.origin.without(Origin::UNLISTED).with(listed).with(pushed);
            Known { record: Record { not_after, ..there.record }, origin }
        }
        Ordering::Equal => {
            let mut origin = here.origin.with(pushed);
            if there.origin.has(Origin::PUSH_RESTRICTS) {
                origin = origin.with(Origin::PUSH_RESTRICTS);
            }
            if !there.origin.has(Origin::SOURCE_ALLOWS) {
                origin = origin.without(Origin::SOURCE_ALLOWS);
            }
            Known { record: Record { not_after, ..here.record }, origin }
        }
        Ordering::Less => Known { record: Record { not_after, ..here.record }, origin: here.origin.with(pushed) },
    }
}

/// Whether what others say of a certificate would take back a final revocation. Everything else that they say counts.
pub(crate) fn contradicts(known: Option<Known>, said: Option<Known>) -> bool {
    let is_final = |known: Option<Known>| known.is_some_and(|known| strictness(known.record.status) == FINAL);
    is_final(known) && !is_final(said)
}

/// Whether the record that an issuer has is no less strict than what it had under a former name, nor easier to release.
pub(crate) fn keeps(present: Known, former: Known) -> bool {
    let (now, before) = (strictness(present.record.status), strictness(former.record.status));
    let held_by_push = |known: Known| known.origin.has(Origin::PUSH_RESTRICTS);
    now > before || now == before && (now != HOLD || held_by_push(present) || !held_by_push(former))
}

/// What follows when a push gives this order.
pub(crate) fn by_push(known: Option<Known>, order: &Order, now: UnixTime) -> Result<(Known, Outcome), Refusal> {
    match *order {
        Order::Add { not_after } => add(known, not_after),
        Order::Revoke { time, reason, even_unlisted } => {
            let time = time.unwrap_or(now);
            if time > now.after(limits::CLOCK_SKEW_MAX) {
                return Err(Refusal::InTheFuture { time });
            }
            let status = Status::Revoked { time, reason };
            match known {
                None if !even_unlisted => Err(Refusal::NotListed),
                None => Ok((
                    Known {
                        record: Record { status, not_after: None },
                        origin: PUSHED_ALONE.with(Origin::PUSH_RESTRICTS).with(Origin::SOURCE_ALLOWS),
                    },
                    Outcome::Done,
                )),
                Some(known) => restrict(known, status),
            }
        }
        Order::Release => release(known.ok_or(Refusal::NotListed)?),
    }
}

/// What follows of a push that is on disk, where the record is no longer the one that it was decided from: a source has
/// said something in between. A stricter word of the source stands. The push has spoken all the same, so no source
/// removes the record.
pub(crate) fn by_push_once_decided(known: Option<Known>, order: &Order, now: UnixTime) -> Option<Known> {
    match by_push(known, &order.once_decided(), now) {
        Ok((next, _)) => Some(next),
        Err(_) => known.map(|known| Known { origin: known.origin.with(Origin::PUSHED), ..known }),
    }
}

/// Nobody but a push lists it.
const PUSHED_ALONE: Origin = Origin::PUSHED.with(Origin::UNLISTED);

fn add(known: Option<Known>, not_after: Option<UnixTime>) -> Result<(Known, Outcome), Refusal> {
    let Some(known) = known else {
        let record = Record { status: Status::Good, not_after };
        return Ok((Known { record, origin: PUSHED_ALONE }, Outcome::Done));
    };
    if let Status::Revoked { time, reason } = known.record.status {
        return Err(Refusal::AlreadyRevoked { time, reason });
    }
    // What a source says of the end counts before what a push says.
    let not_after = if known.origin.is_listed() && known.record.not_after.is_some() {
        known.record.not_after
    } else {
        not_after.or(known.record.not_after)
    };
    let next = Known { record: Record { not_after, ..known.record }, origin: known.origin.with(Origin::PUSHED) };
    let same = same_end(known.record.not_after, not_after) && known.origin == next.origin;
    Ok((next, if same { Outcome::Unchanged } else { Outcome::Done }))
}

/// Revokes, or puts on hold, a certificate that is known.
fn restrict(known: Known, status: Status) -> Result<(Known, Outcome), Refusal> {
    let Known { record, origin } = known;
    let pushed = origin.with(Origin::PUSHED).with(Origin::PUSH_RESTRICTS);
    let (before, wanted) = (strictness(record.status), strictness(status));
    if wanted > before {
        // No source says that, even where one says less.
        let origin = pushed.with(Origin::SOURCE_ALLOWS);
        return Ok((Known { record: Record { status, ..record }, origin }, Outcome::Done));
    }
    let Status::Revoked { time, reason } = record.status else { return Err(Refusal::NotOnHold) };
    let again = origin.has(Origin::PUSH_RESTRICTS);
    match status {
        // The same once more, perhaps because the acknowledgement was lost.
        Status::Revoked { reason: wanted, .. } if again && wanted == reason => Ok((known, Outcome::Unchanged)),
        // A source holds it already: from now on both do.
        _ if wanted == HOLD && before == HOLD => Ok((Known { record, origin: pushed }, Outcome::Done)),
        _ => Err(Refusal::AlreadyRevoked { time, reason }),
    }
}

fn release(known: Known) -> Result<(Known, Outcome), Refusal> {
    let Known { record, origin } = known;
    let Status::Revoked { time, reason } = record.status else { return Err(Refusal::NotOnHold) };
    if strictness(record.status) == FINAL {
        return Err(Refusal::Unrevoking { time, reason });
    }
    if !origin.has(Origin::PUSH_RESTRICTS) {
        return Err(Refusal::HeldBySource);
    }
    let origin = origin.without(Origin::PUSH_RESTRICTS);
    if !origin.has(Origin::SOURCE_ALLOWS) {
        return Ok((Known { record, origin }, Outcome::StillHeld));
    }
    let record = Record { status: Status::Good, ..record };
    Ok((Known { record, origin: origin.without(Origin::SOURCE_ALLOWS) }, Outcome::Done))
}

/// How the sources contradict what pushes have said of a record. `lists`: whether they list every certificate, as an
/// index does.
pub(crate) fn contradicted(origin: Origin, lists: bool) -> Option<Contradiction> {
    if origin.has(Origin::PUSH_RESTRICTS) {
        return origin.has(Origin::SOURCE_ALLOWS).then_some(Contradiction::PushRestricts);
    }
    (origin.is_pushed() && !origin.is_listed() && lists).then_some(Contradiction::PushLists)
}

/// Whether the end of validity is the known one. A CRL does not state it.
pub(crate) fn same_end(known: Option<UnixTime>, said: Option<UnixTime>) -> bool {
    said.is_none_or(|said| known == Some(said).filter(|said| keeps_end(*said)))
}

/// Whether records keep this end of validity. A later one, after 2106, is none: the certificate never counts as expired.
pub(crate) fn keeps_end(end: UnixTime) -> bool {
    end.0 < u64::from(u32::MAX)
}

#[cfg(test)]
mod tests;
