//! What is due, compared with a plain reading of the rules.

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::{
    ocsp::profile::Times,
    pki::{Reason, Record, Status},
    records::{Change, RecordsWriter, SEGMENTS, StateWord},
};

const NOW: UnixTime = UnixTime(1_800_000_000);
const POLICY: Policy = Policy::DEFAULT;
const HOUR: u64 = 3600;

fn serial(number: u16) -> Serial {
    Serial::from_magnitude(&(u32::from(number) + 1).to_be_bytes()).unwrap()
}

fn set(writer: &mut RecordsWriter, number: u16, revoked: bool, not_after: Option<UnixTime>) -> StateWord {
    let status =
        if revoked { Status::Revoked { time: UnixTime(5), reason: Reason::KeyCompromise } } else { Status::Good };
    writer.apply([Change::new(serial(number), Some(Record { status, not_after }))]);
    writer.records().get(&serial(number)).unwrap().state
}

/// What may be kept about a certificate, by its age and whether its record changed since.
#[derive(Clone, Copy, Debug)]
struct Case {
    revoked: bool,
    expired: bool,
    /// Hours since each form was signed.
    signed: [Option<u8>; 2],
    changed_since: bool,
}

fn case() -> impl Strategy<Value = Case> {
    let signed = || prop::option::of(0u8..110);
    (any::<bool>(), prop::bool::weighted(0.1), [signed(), signed()], prop::bool::weighted(0.2))
        .prop_map(|(revoked, expired, signed, changed_since)| Case { revoked, expired, signed, changed_since })
}

proptest! {
    #[test]
    fn everything_due_is_planned_once_in_order_and_nothing_else(
        cases in prop::collection::vec(case(), 0..300),
        list_max in 1usize..200,
        parts in 1usize..4,
    ) {
        let (records, mut writer) = Records::new();
        let mut kept = BTreeMap::new();
        let mut expected = Vec::new();
        let lasts_until = [NOW.after(POLICY.validity), NOW.after(POLICY.validity)];
        for (number, case) in cases.iter().enumerate() {
            let number = number as u16;
            let end = Some(if case.expired { NOW.before(Duration::from_secs(1)) } else { NOW.after(POLICY.validity) });
            let state = set(&mut writer, number, case.revoked, end);
            for (form, hours) in case.signed.iter().enumerate() {
                let signed = hours.map(|hours| {
                    let then = NOW.before(Duration::from_secs(u64::from(hours) * HOUR));
                    let Times { signed_at: this_update, next_update, refresh_at } =
                        Times::plan(then, &POLICY, UnixTime::MAX, u32::from(number)).unwrap();
                    Entry { state, this_update, next_update, refresh_at }
                });
                if let Some(entry) = signed {
                    kept.insert((form as u8, serial(number)), entry);
                }
                let due = match signed {
                    _ if case.expired => None,
                    Some(entry) if !case.changed_since && NOW < entry.next_update => (entry.refresh_at <= NOW)
                        .then_some(Due::Refresh { next_update: entry.next_update }),
                    _ => Some(Due::Absent),
                };
                expected.extend(due.map(|due| Item { due, serial: serial(number), form: form as u8 }));
            }
            if case.changed_since {
                set(&mut writer, number, !case.revoked, end);
                set(&mut writer, number, true, end);
            }
        }
        expected.sort();

        let question = Question { policy: &POLICY, records: &records, ca_revoked: None, hashes: None, told_until: UnixTime::MAX, forms: &lasts_until, now: NOW };
        let mut plans = vec![Plan::new(list_max); parts];
        for segment in 0..SEGMENTS {
            question.each_due(segment, |form, serial| kept.get(&(form, *serial)).copied(), |item, found| {
                assert_eq!(records.get(&item.serial), Some(found));
                plans[segment % parts].add(item);
            });
        }
        let mut plan = Plan::new(list_max);
        plans.into_iter().for_each(|part| plan.merge(part));
        prop_assert_eq!(plan.due(), expected.len() as u64);
        let absent = expected.iter().filter(|item| item.due == Due::Absent).count();
        prop_assert_eq!(plan.is_flood(), absent > list_max);
        let (order, left_out) = plan.into_order();
        let named = expected.len().min(list_max);
        prop_assert_eq!(&order[..], &expected[..named]);
        prop_assert_eq!(left_out, (expected.len() - named) as u64);
    }

    #[test]
    fn one_who_is_interrupted_anywhere_ends_where_one_who_is_not_does(
        count in 1u16..200,
        signed_each_time in prop::collection::vec(1usize..50, 1..5),
    ) {
        let (records, mut writer) = Records::new();
        (0..count).for_each(|number| { set(&mut writer, number, false, None); });
        let mut kept: BTreeMap<Serial, Entry> = BTreeMap::new();
        let lasts_until = [NOW.after(POLICY.validity)];
        let question = Question { policy: &POLICY, records: &records, ca_revoked: None, hashes: None, told_until: UnixTime::MAX, forms: &lasts_until, now: NOW };
        let plan = |kept: &BTreeMap<Serial, Entry>| {
            let mut plan = Plan::new(1000);
            (0..SEGMENTS).for_each(|segment| {
                question.each_due(segment, |_, serial| kept.get(serial).copied(), |item, _| plan.add(item));
            });
            plan.into_order().0
        };
        let sign = |kept: &mut BTreeMap<Serial, Entry>, serial: Serial| {
            let Times { signed_at: this_update, next_update, refresh_at } =
                Times::plan(NOW, &POLICY, UnixTime::MAX, 0).unwrap();
            let state = records.get(&serial).unwrap().state;
            assert!(kept.insert(serial, Entry { state, this_update, next_update, refresh_at }).is_none(), "signed once");
        };
        for signed in signed_each_time {
            plan(&kept).into_iter().take(signed).for_each(|item| sign(&mut kept, item.serial));
        }
        plan(&kept).into_iter().for_each(|item| sign(&mut kept, item.serial));
        prop_assert_eq!(kept.len(), usize::from(count));
        prop_assert!(plan(&kept).is_empty());
    }
}

#[test]
fn a_replacement_that_would_end_no_later_is_none() {
    let (records, mut writer) = Records::new();
    let state = set(&mut writer, 1, false, None);
    let end = UnixTime(NOW.0 + HOUR);
    let times = Times::plan(NOW, &POLICY, end, 0).unwrap();
    let Times { signed_at: this_update, next_update, refresh_at } = times;
    let entry = Entry { state, this_update, next_update, refresh_at };
    let found = records.get(&serial(1)).unwrap();
    let late = UnixTime(end.0 - 60);
    assert!(refresh_at < late);
    assert_eq!(due((&POLICY, UnixTime::MAX), found, Some(&entry), end, late), None, "the signer ends with it");
    assert_eq!(
        due((&POLICY, UnixTime::MAX), found, Some(&entry), late.after(POLICY.validity), late),
        Some(Due::Refresh { next_update: end })
    );
}

#[test]
fn a_hold_that_came_and_went_makes_the_answer_from_before_absent() {
    let (records, mut writer) = Records::new();
    let state = set(&mut writer, 1, false, None);
    let Times { signed_at: this_update, next_update, refresh_at } =
        Times::plan(NOW, &POLICY, UnixTime::MAX, 0).unwrap();
    let entry = Entry { state, this_update, next_update, refresh_at };
    let lasts_until = NOW.after(POLICY.validity);
    let ask = || due((&POLICY, UnixTime::MAX), records.get(&serial(1)).unwrap(), Some(&entry), lasts_until, NOW);
    assert_eq!(ask(), None);
    let hold = Status::Revoked { time: NOW, reason: Reason::CertificateHold };
    for status in [hold, Status::Good] {
        writer.apply([Change::new(serial(1), Some(Record { status, not_after: None }))]);
        assert_eq!(ask(), Some(Due::Absent));
    }
}

#[test]
fn an_answer_that_outlives_what_may_be_told_is_due() {
    let (records, mut writer) = Records::new();
    writer.apply([Change::new(serial(1), Some(Record { status: Status::Good, not_after: None }))]);
    let found = records.get(&serial(1)).unwrap();
    let end = NOW.after(POLICY.validity);
    let entry = Entry { state: found.state, this_update: NOW, next_update: end, refresh_at: end };
    let ask = |told_until| due((&POLICY, told_until), found, Some(&entry), end.min(told_until), NOW);
    assert_eq!((ask(end), ask(UnixTime(end.0 - 1))), (None, Some(Due::Absent)));
}
