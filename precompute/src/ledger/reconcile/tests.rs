//! Every rule by name, then all of them together against histories at random.

use proptest::{collection::vec, prelude::*};

use super::*;

const NOW: UnixTime = UnixTime(2_000_000_000);
const GOOD: Status = Status::Good;
const LOST: Status = Status::Revoked { time: UnixTime(1_000), reason: Reason::KeyCompromise };
const OLD: Status = Status::Revoked { time: UnixTime(2_000), reason: Reason::Superseded };
const HELD: Status = Status::Revoked { time: UnixTime(3_000), reason: Reason::CertificateHold };

const ADD: Order = Order::Add { not_after: None };
const RELEASE: Order = Order::Release;

fn revoke(reason: Reason) -> Order {
    Order::Revoke { time: Some(UnixTime(4_000)), reason, even_unlisted: false }
}

fn hold() -> Order {
    revoke(Reason::CertificateHold)
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Source(Option<Status>),
    Push(Order),
}
use Step::{Push, Source};

/// The state after each of these steps; refused pushes change nothing.
fn after(steps: &[Step]) -> Option<Known> {
    steps.iter().fold(None, |known, step| match step {
        Source(status) => by_source(known, status.map(|status| Record { status, not_after: None })).0,
        Push(order) => by_push(known, order, NOW).map_or(known, |(next, _)| Some(next)),
    })
}

fn status(steps: &[Step]) -> Option<Status> {
    after(steps).map(|known| known.record.status)
}

fn reason(steps: &[Step]) -> Option<Reason> {
    match status(steps)? {
        Status::Revoked { reason, .. } => Some(reason),
        GOOD => None,
    }
}

fn origin(steps: &[Step]) -> String {
    after(steps).map_or("nobody".into(), |known| known.origin.to_string())
}

fn refusal(steps: &[Step], order: Order) -> Option<Refusal> {
    by_push(after(steps), &order, NOW).err()
}

#[test]
fn a_source_neither_removes_nor_releases_what_was_pushed() {
    assert_eq!(status(&[Push(ADD), Source(None)]), Some(GOOD));
    assert_eq!(reason(&[Source(Some(GOOD)), Push(hold()), Source(Some(GOOD))]), Some(Reason::CertificateHold));
    assert_eq!(reason(&[Source(Some(GOOD)), Push(hold()), Source(None)]), Some(Reason::CertificateHold));
    let lost = [Source(Some(GOOD)), Push(revoke(Reason::KeyCompromise))];
    for said in [Some(GOOD), Some(HELD), None] {
        assert_eq!(reason(&[&lost[..], &[Source(said)]].concat()), Some(Reason::KeyCompromise), "{said:?}");
    }
    // What only a source has said is the source's.
    assert_eq!(status(&[Source(Some(GOOD)), Source(None)]), None);
    assert_eq!(status(&[Source(Some(HELD)), Source(Some(GOOD))]), Some(GOOD));
    assert_eq!(status(&[Source(Some(HELD)), Source(None)]), None);
    assert_eq!(status(&[Source(Some(LOST)), Source(None)]), Some(LOST));
}

#[test]
fn a_pushed_certificate_that_the_index_lists_later_is_both() {
    assert_eq!(origin(&[Push(ADD)]), "push");
    assert_eq!(origin(&[Push(ADD), Source(Some(GOOD))]), "both");
    assert_eq!(origin(&[Push(ADD), Source(Some(GOOD)), Source(None)]), "push");
    assert_eq!(origin(&[Source(Some(GOOD))]), "source");
    assert_eq!(origin(&[Source(Some(GOOD)), Push(revoke(Reason::Superseded))]), "both");
}

#[test]
fn a_hold_ends_when_everybody_who_stated_it_has_released_it() {
    let both = [Source(Some(HELD)), Push(hold())];
    let with = |steps: &[Step]| status(&[&both[..], steps].concat());
    assert_eq!(with(&[Source(Some(GOOD))]), Some(HELD), "the push has not released it");
    assert_eq!(with(&[Push(RELEASE)]), Some(HELD), "the source has not released it");
    assert_eq!(with(&[Source(Some(GOOD)), Push(RELEASE)]), Some(GOOD));
    assert_eq!(with(&[Push(RELEASE), Source(Some(GOOD))]), Some(GOOD));
    let known = after(&both);
    assert_eq!(by_push(known, &RELEASE, NOW).unwrap().1, Outcome::StillHeld);
    assert_eq!(status(&[Push(ADD), Push(hold()), Push(RELEASE)]), Some(GOOD));
    // A source's hold on a pushed certificate ends with the source's word, whatever that is.
    assert_eq!(status(&[Push(ADD), Source(Some(HELD)), Source(None)]), Some(GOOD));
}

#[test]
fn every_refusal_has_its_reason() {
    let at = UnixTime(4_000);
    for (steps, order, wanted) in [
        (&[][..], revoke(Reason::KeyCompromise), Refusal::NotListed),
        (&[], RELEASE, Refusal::NotListed),
        (&[Source(Some(GOOD))], RELEASE, Refusal::NotOnHold),
        (&[Source(Some(HELD))], RELEASE, Refusal::HeldBySource),
        (&[Source(Some(LOST))], RELEASE, Refusal::Unrevoking { time: UnixTime(1_000), reason: Reason::KeyCompromise }),
        (&[Source(Some(LOST))], ADD, Refusal::AlreadyRevoked { time: UnixTime(1_000), reason: Reason::KeyCompromise }),
        (
            &[Source(Some(LOST))],
            hold(),
            Refusal::AlreadyRevoked { time: UnixTime(1_000), reason: Reason::KeyCompromise },
        ),
        (
            &[Push(ADD), Push(revoke(Reason::Superseded))],
            revoke(Reason::KeyCompromise),
            Refusal::AlreadyRevoked { time: at, reason: Reason::Superseded },
        ),
    ] {
        assert_eq!(refusal(steps, order), Some(wanted), "{steps:?}, {order:?}");
        assert!(wanted.to_string().len() > 10);
    }
    let time = NOW.after(limits::CLOCK_SKEW_MAX).after(std::time::Duration::from_secs(1));
    let late = Order::Revoke { time: Some(time), reason: Reason::KeyCompromise, even_unlisted: true };
    assert_eq!(refusal(&[], late), Some(Refusal::InTheFuture { time }));
}

#[test]
fn an_order_that_is_repeated_changes_nothing() {
    for (steps, order) in [
        (&[][..], ADD),
        (&[Source(Some(GOOD))], ADD),
        (&[Source(Some(GOOD))], revoke(Reason::KeyCompromise)),
        (&[Source(Some(GOOD))], hold()),
        (&[Source(Some(HELD))], hold()),
        (&[], Order::Revoke { time: None, reason: Reason::Superseded, even_unlisted: true }),
    ] {
        let (once, outcome) = by_push(after(steps), &order, NOW).unwrap();
        assert_eq!(outcome, Outcome::Done, "{steps:?}, {order:?}");
        let (twice, outcome) = by_push(Some(once), &order, NOW.after(std::time::Duration::from_secs(9))).unwrap();
        assert_eq!((twice, outcome), (once, Outcome::Unchanged), "{steps:?}, {order:?}");
    }
}

#[test]
fn contradictions_are_told_in_both_directions() {
    let pushed = by_push(None, &ADD, NOW).unwrap().0;
    let held = by_push(Some(pushed), &hold(), NOW).unwrap().0;
    let said = |status| Some(Record { status, not_after: None });
    let lost = by_source(None, said(LOST)).0;
    assert_eq!(by_source(Some(held), said(GOOD)).1, Some(Contradiction::PushRestricts));
    assert_eq!(by_source(Some(held), None).1, Some(Contradiction::PushRestricts));
    assert_eq!(by_source(Some(pushed), None).1, Some(Contradiction::PushLists));
    assert_eq!(by_source(lost, said(GOOD)).1, Some(Contradiction::TakenBack));
    assert_eq!(by_source(lost, None).1, Some(Contradiction::TakenBack));
    assert_eq!(by_source(Some(pushed), said(GOOD)).1, None);
    assert_eq!(by_source(Some(held), said(HELD)).1, None);
}

#[test]
fn the_end_of_validity_is_the_sources_before_it_is_a_pushs() {
    let end = |seconds| Some(UnixTime(seconds));
    let listed = by_source(None, Some(Record { status: GOOD, not_after: end(5) })).0;
    let (known, _) = by_push(listed, &Order::Add { not_after: end(9) }, NOW).unwrap();
    assert_eq!(known.record.not_after, end(5));
    let (known, _) = by_push(None, &Order::Add { not_after: end(9) }, NOW).unwrap();
    assert_eq!(known.record.not_after, end(9));
    let (known, _) = by_source(Some(known), Some(Record { status: GOOD, not_after: end(5) }));
    assert_eq!(known.unwrap().record.not_after, end(5));
}

fn any_step() -> impl Strategy<Value = Step> {
    let said = prop::sample::select(vec![None, Some(GOOD), Some(HELD), Some(LOST), Some(OLD)]);
    let order = prop::sample::select(vec![
        ADD,
        RELEASE,
        hold(),
        revoke(Reason::KeyCompromise),
        revoke(Reason::Superseded),
        Order::Revoke { time: None, reason: Reason::CertificateHold, even_unlisted: true },
    ]);
    prop_oneof![said.prop_map(Source), order.prop_map(Push)]
}

proptest! {
    #[test]
    fn whatever_comes_the_strictest_word_that_stands_is_said(steps in vec(any_step(), 0..12)) {
        // What each side says on its own: the sources' last word, made sticky where it is final, and the pushes'.
        let (mut source, mut push_lists, mut push, mut known) = (None, false, 0, None);
        for step in &steps {
            match step {
                Source(said) => {
                    let rank = said.map(strictness);
                    source = if source == Some(FINAL) { source } else { rank };
                    known = by_source(known, said.map(|status| Record { status, not_after: None })).0;
                }
                Push(order) => {
                    let Ok((next, outcome)) = by_push(known, order, NOW) else { continue };
                    if outcome != Outcome::Unchanged {
                        push_lists = true;
                        push = match order {
                            Order::Add { .. } => push,
                            Order::Release => 0,
                            Order::Revoke { reason: Reason::CertificateHold, .. } => HOLD.max(push),
                            Order::Revoke { .. } => FINAL,
                        };
                    }
                    known = Some(next);
                }
            }
            // A push's hold that a source has made final is over.
            if source == Some(FINAL) && push == HOLD {
                push = 0;
            }
            let strictest = source.unwrap_or(0).max(push);
            match known {
                None => prop_assert!(source.is_none() && !push_lists, "{step:?} of {steps:?}"),
                Some(known) => {
                    prop_assert_eq!(strictness(known.record.status), strictest, "{:?} of {:?}", step, steps);
                    prop_assert_eq!(known.origin.is_pushed(), push_lists);
                }
            }
        }
    }
}

/// The origins of the record under the former name, under the present one, and of what follows, with its status.
#[test]
fn what_is_carried_over_says_who_has_said_it() {
    let held = &[Source(Some(GOOD)), Push(hold())][..];
    let lost = &[Source(Some(GOOD)), Push(revoke(Reason::Superseded))][..];
    let both = &[Source(Some(HELD)), Push(hold())][..];
    let (by_push, alone) = (Origin::PUSHED.with(Origin::PUSH_RESTRICTS), Origin::SOURCE_ALLOWS);
    for (former, present, strictness_then, origin) in [
        (both, &[Source(Some(HELD))][..], HOLD, by_push),
        (held, &[Source(Some(HELD))], HOLD, by_push),
        (held, &[Source(Some(GOOD))], HOLD, by_push.with(alone)),
        (both, &[Source(Some(GOOD))], HOLD, by_push.with(alone)),
        (both, &[], HOLD, by_push.with(alone).with(Origin::UNLISTED)),
        (held, &[Source(Some(LOST))], FINAL, Origin::PUSHED),
        (lost, &[Push(ADD)], FINAL, by_push.with(alone).with(Origin::UNLISTED)),
        (&[Push(ADD)], &[Source(Some(GOOD))], 0, Origin::PUSHED),
        (&[Source(Some(GOOD)), Push(ADD)], &[], 0, Origin::PUSHED.with(Origin::UNLISTED)),
        (&[Source(Some(LOST))], &[Source(Some(GOOD))], FINAL, Origin::SOURCE),
        (&[Source(Some(LOST))], &[], FINAL, Origin::SOURCE),
        // What only a source holds is held until its successor's next read.
        (&[Push(ADD), Source(Some(HELD))], &[Source(Some(GOOD))], HOLD, Origin::PUSHED),
    ] {
        let then = carried(after(former).unwrap(), after(present));
        let found = (strictness(then.record.status), then.origin);
        assert_eq!(found, (strictness_then, origin), "{former:?} {present:?}");
    }
}

proptest! {
    #[test]
    fn whatever_is_carried_over_nothing_that_either_has_said_is_lost(
        former in vec(any_step(), 0..8), present in vec(any_step(), 0..8)
    ) {
        let Some(former) = after(&former).filter(|known| known.origin.is_pushed() || strictness(known.record.status) == FINAL)
        else { return Ok(()) };
        let present = after(&present);
        let then = carried(former, present);
        prop_assert!(keeps(then, former) && present.is_none_or(|present| keeps(then, present)), "{then:?}");
        let was_pushed = former.origin.is_pushed() || present.is_some_and(|present| present.origin.is_pushed());
        prop_assert_eq!(then.origin.is_pushed(), was_pushed);
        prop_assert_eq!(carried(former, Some(then)).record.status, then.record.status);
    }
}
