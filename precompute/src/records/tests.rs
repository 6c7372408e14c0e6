//! The table against a map, and under readers while it grows.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
};

use proptest::prelude::*;

use super::*;
use crate::pki::Reason;

fn serial(number: u64) -> Serial {
    Serial::from_magnitude(&(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()).unwrap()
}

fn good(number: u64) -> Change {
    Change::new(serial(number), Some(Record { status: Status::Good, not_after: Some(UnixTime(5)) }))
}

fn revoked(number: u64, time: u64) -> Change {
    let status = Status::Revoked { time: UnixTime(time), reason: Reason::KeyCompromise };
    Change::new(serial(number), Some(Record { status, not_after: None }))
}

proptest! {
    #[test]
    fn behaves_as_a_map(steps in proptest::collection::vec((0u64..300, 0u8..3, 1u64..1000), 1..2000)) {
        let ((table, mut writer), mut map) = (Records::new(), HashMap::new());
        for (number, kind, time) in steps {
            let change = match kind {
                0 => good(number),
                1 => revoked(number, time),
                _ => Change::new(serial(number), None),
            };
            let before = table.get(&change.serial).map(|found| found.state);
            writer.apply([change]);
            let after = table.get(&change.serial).map(|found| found.state);
            let same = map.get(&number).copied() == change.record;
            prop_assert!(before.is_none() || (before == after) == same, "a change shows in the word, and nothing else");
            match change.record {
                Some(record) => map.insert(number, record),
                None => map.remove(&number),
            };
        }
        for number in 0..300 {
            let found = table.get(&serial(number)).map(|f| Record { status: f.status, not_after: f.not_after });
            prop_assert_eq!(found, map.get(&number).copied());
        }
        let mut walked = HashMap::new();
        (0..SEGMENTS).for_each(|segment| table.each_in(segment, |serial, found| {
            assert!(walked.insert(serial, found).is_none(), "met once");
            assert_eq!(table.get(&serial), Some(found));
        }));
        prop_assert_eq!(walked.len(), map.len());
        let good = map.values().filter(|r| r.status == Status::Good).count() as u64;
        prop_assert_eq!(table.counts(), Counts { good, revoked: map.len() as u64 - good });
    }
}

#[test]
fn a_census_finds_what_is_listed_twice_and_what_is_missing() {
    let table = Records::of((0..1000).map(good));
    let mut census = table.census();
    for number in 10..1000 {
        assert!(matches!(census.mark(&serial(number)), (true, Some(_))));
    }
    assert!(!census.mark(&serial(500)).0, "listed twice");
    assert!(matches!(census.mark(&serial(5000)), (true, None)));
    let mut missing: Vec<_> = census.unlisted().map(|(serial, _)| serial).collect();
    missing.sort();
    let mut expected: Vec<_> = (0..10).map(serial).collect();
    expected.sort();
    assert_eq!(missing, expected);
}

#[test]
fn readers_see_whole_states_while_the_table_grows() {
    let (table, mut writer) = Records::new();
    writer.apply((0..1000).map(good));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut looks = 0u64;
            while !stop.load(Ordering::Relaxed) || looks < 1000 {
                let number = looks % 1000;
                match table.get(&serial(number)).expect("never lost").status {
                    Status::Good => {}
                    Status::Revoked { time, reason } => {
                        assert_eq!((time, reason), (UnixTime(number + 7), Reason::KeyCompromise));
                    }
                }
                looks += 1;
            }
        });
        for number in 0..1000 {
            writer.apply([revoked(number, number + 7)]);
            writer.apply((0..50).map(|extra| good(1000 + 50 * number + extra)));
        }
        stop.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
    assert_eq!(table.counts(), Counts { good: 50_000, revoked: 1000 });
}

/// A reader must not combine the state from before a change with the end of validity from after it: that gave a *good*
/// without an end for an expired certificate that the change revoked.
#[test]
fn readers_never_see_a_good_with_an_end_that_is_not_its_own() {
    const NUMBERS: u64 = 3;
    let (table, mut writer) = Records::new();
    writer.apply((0..NUMBERS).map(good));
    let with_end = |number: u64, time: u64| {
        let Change { serial, record, .. } = revoked(number, time);
        Change::new(serial, record.map(|record| Record { not_after: Some(UnixTime(time + 1)), ..record }))
    };
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut goods, mut revoked) = (0u64, 0u64);
            while !stop.load(Ordering::Relaxed) {
                for number in 0..NUMBERS {
                    let found = table.get(&serial(number)).expect("never lost");
                    match found.status {
                        Status::Good => {
                            assert_eq!(found.not_after, Some(UnixTime(5)));
                            goods += 1;
                        }
                        // With its own end, or under a word that is replaced at once.
                        Status::Revoked { time, .. } => {
                            assert!([UnixTime(5), UnixTime(time.0 + 1)].map(Some).contains(&found.not_after));
                            revoked += 1;
                        }
                    }
                }
            }
            (goods, revoked)
        });
        for time in 100..200_000 {
            for number in 0..NUMBERS {
                writer.apply([with_end(number, time)]);
                writer.apply([good(number)]);
            }
        }
        stop.store(true, Ordering::Relaxed);
        let (goods, revoked) = reader.join().unwrap();
        assert!(goods > 100 && revoked > 100, "{goods} and {revoked}");
    });
}

#[test]
fn turnover_takes_no_more_memory_than_what_is_listed() {
    // Short-lived certificates come and go. Slots of removed records must not count as records, or the table grows by
    // half each time they fill it.
    let (table, mut writer) = Records::new();
    let slots = || table.segments.iter().map(|segment| segment.load().slots.len()).sum::<usize>();
    for day in 0..30 {
        writer.apply((0..10_000).map(|number| good(day * 10_000 + number)));
        let expired = |number| Change::new(serial(number), None);
        writer.apply((0..10_000).filter(|_| day > 0).map(|number| expired((day - 1) * 10_000 + number)));
    }
    assert_eq!(table.counts().good, 10_000);
    assert!(slots() < 50_000, "{} slots", slots());
}

#[test]
fn reserved_records_take_forty_octets_each() {
    let (table, mut writer) = Records::new();
    writer.reserve(200_000);
    let slots = || table.segments.iter().map(|segment| segment.load().slots.len()).sum::<usize>();
    let reserved = slots();
    writer.apply((0..200_000).map(good));
    assert!(slots() <= reserved + reserved / 100, "{} grew to {}", reserved, slots());
    // 781 records a segment need 14 % of room for their spread; large tables need less.
    assert!(slots() * size_of::<Slot>() / 200_000 <= 46);
}
