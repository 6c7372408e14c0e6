//! The table against a map, and under readers while it grows.

use std::{
    collections::{HashMap, HashSet},
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
        prop_assert_eq!(table.count_by_origin(|origin| !origin.is_pushed()), map.len() as u64);
        prop_assert_eq!(table.count_by_origin(Origin::is_pushed), 0);
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
    writer.reserve(800_000);
    let slots = || table.segments.iter().map(|segment| segment.load().slots.len()).sum::<usize>();
    let reserved = slots();
    writer.apply((0..800_000).map(good));
    assert!(slots() <= reserved + reserved / 100, "{} grew to {}", reserved, slots());
    // 781 records a segment need 14 % of room for their spread; large tables need less.
    assert!(slots() * size_of::<Slot>() / 800_000 <= 46);
}

/// A stream of single insertions, as of pushes: the bound holds at every size, also just after growing.
#[test]
fn records_that_come_one_by_one_take_forty_five_octets_each() {
    const COUNT: u64 = 300_000;
    let (table, mut writer) = Records::new();
    let octets = || table.segments.iter().map(|segment| segment.load().slots.len()).sum::<usize>() * size_of::<Slot>();
    let mut number = 0;
    // Between these sizes every segment grows once or more.
    for size in (200_000..=COUNT).step_by(5000) {
        writer.apply((number..size).map(good));
        number = size;
        // The few slots that even a small segment gets are 0.3 byte here, and nothing with ten million records.
        let each = octets() as f64 / size as f64;
        assert!(each <= 45.4, "{each} at {size}");
    }
}

#[test]
fn batches_of_insertions_do_not_copy_the_table_again_and_again() {
    let (table, mut writer) = Records::new();
    writer.reserve(400_000);
    writer.apply((0..400_000).map(good));
    let segments = || -> Vec<_> { table.segments.iter().map(|segment| segment.load_full()).collect() };
    let mut copies = 0;
    for batch in 0..80u64 {
        let before = segments();
        writer.reserve(1000);
        writer.apply((0..1000).map(|number| good(400_000 + 1000 * batch + number)));
        copies += before.iter().zip(segments()).filter(|(before, after)| !Arc::ptr_eq(before, after)).count();
    }
    // By a fifth more records: each segment grows by an eighth twice.
    assert!(copies <= 3 * SEGMENTS, "{copies}");
}

mod digests {
    use super::*;

    fn change() -> impl Strategy<Value = Change> {
        (0u64..40, 0u8..4, 1u64..3, 0u8..16).prop_map(|(number, kind, time, origin)| {
            let change = match kind {
                0 => good(number),
                1 => {
                    Change::new(serial(number), good(number).record.map(|record| Record { not_after: None, ..record }))
                }
                2 => revoked(number, time),
                _ => Change::new(serial(number), None),
            };
            change.by(Origin::from_bits(origin))
        })
    }

    fn digest(changes: impl IntoIterator<Item = Change>) -> Digest {
        Records::of(changes).digest()
    }

    /// What is listed at the end.
    fn said(changes: &[Change]) -> HashMap<Serial, Change> {
        let mut said = HashMap::new();
        for change in changes {
            match change.record {
                Some(_) => said.insert(change.serial, *change),
                None => said.remove(&change.serial),
            };
        }
        said
    }

    proptest! {
        #[test]
        fn two_tables_that_say_the_same_and_only_they_have_one_digest(
            changes in proptest::collection::vec(change(), 0..200),
            others in proptest::collection::vec(change(), 0..3),
        ) {
            let (one, said_by_one) = (digest(changes.iter().copied()), said(&changes));
            // The order of a hash map is another one each time.
            prop_assert_eq!(digest(said_by_one.values().copied()), one);
            let two: Vec<_> = changes.iter().chain(&others).copied().collect();
            prop_assert_eq!(digest(two.iter().copied()) == one, said(&two) == said_by_one);
        }
    }

    #[test]
    fn a_digest_is_the_same_in_every_process_and_version() {
        let serial = |number: u8| Serial::from_magnitude(&[number, 2, 3]).unwrap();
        let hold = Status::Revoked { time: UnixTime(1_700_000_000), reason: Reason::CertificateHold };
        let record = |status, not_after: Option<u64>| Some(Record { status, not_after: not_after.map(UnixTime) });
        let changes = [
            Change::new(serial(1), record(Status::Good, Some(1_800_000_000))),
            Change::new(serial(2), record(hold, None)).by(Origin::PUSHED.with(Origin::PUSH_RESTRICTS)),
            Change::new(serial(3), record(Status::Good, Some(u64::MAX))),
        ];
        assert_eq!(digest([]), Digest::default());
        let all = digest(changes);
        assert_eq!(all.to_string(), "652c071e7f8cab091b925a20f85bb5f1");
        assert_eq!(Digest::from_bytes(all.to_bytes()), all);
        // An end after 2106 is no end that is not known.
        let unknown = Change::new(serial(3), record(Status::Good, None));
        assert_ne!(digest([changes[0], changes[1], unknown]), all);
    }
}

mod censuses {
    use std::sync::Mutex;

    use super::*;

    /// States of one serial, in order; each but the removals is another one.
    type History = Vec<Option<Status>>;

    /// What has been done to each serial, and how much of it was surely shown.
    #[derive(Default)]
    struct Log(Mutex<HashMap<Serial, (History, usize)>>);

    impl Log {
        fn write(&self, writer: &mut RecordsWriter, change: Change) {
            let status = change.record.map(|record| record.status);
            self.0.lock().unwrap().entry(change.serial).or_insert_with(|| (vec![None], 0)).0.push(status);
            writer.apply([change]);
            let mut log = self.0.lock().unwrap();
            let (history, shown) = log.get_mut(&change.serial).unwrap();
            *shown = history.len() - 1;
        }

        /// What may be seen of a serial by now, and may have been since so many of its states.
        fn since(&self, serial: &Serial, from: usize) -> History {
            self.0.lock().unwrap().get(serial).map_or_else(|| vec![None], |(states, _)| states[from..].to_vec())
        }

        fn now(&self) -> HashMap<Serial, (History, usize)> {
            self.0.lock().unwrap().clone()
        }
    }

    /// Ends the writer, also after a failure.
    struct Ends<'a>(&'a AtomicBool);

    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// A writer that inserts, changes and removes, so that all segments grow, while a census runs.
    #[test]
    fn a_census_is_right_about_what_was_listed_when_it_began_whatever_the_writer_does_meanwhile() {
        const KNOWN: u64 = 4000;
        for round in 0..6 {
            let (table, mut writer) = Records::new();
            let log = Log::default();
            (0..KNOWN).for_each(|number| log.write(&mut writer, good(number)));
            let (began, ended) = (AtomicBool::new(false), AtomicBool::new(false));
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let (mut random, mut new, mut time) = (round + 1, KNOWN, 10);
                    let mut next = || {
                        random ^= random << 13;
                        random ^= random >> 7;
                        random ^= random << 17;
                        random
                    };
                    while !ended.load(Ordering::Relaxed) && new < 50 * KNOWN {
                        let known = next() % KNOWN;
                        time += 1;
                        match next() % 8 {
                            0 => log.write(&mut writer, Change::new(serial(known), None)),
                            1..4 => log.write(&mut writer, revoked(known, time)),
                            _ => {
                                log.write(&mut writer, revoked(new, time));
                                new += 1;
                            }
                        }
                        began.store(new > KNOWN + 100, Ordering::Relaxed);
                    }
                });
                while !began.load(Ordering::Relaxed) {
                    std::thread::yield_now();
                }
                let before = log.now();
                let mut census = table.census();
                let after = log.now();
                let _ends = Ends(&ended);
                let current = |serial: &Serial, found: Option<Found>| {
                    let states = log.since(serial, before.get(serial).map_or(0, |(_, shown)| *shown));
                    assert!(states.contains(&found.map(|found| found.status)), "{found:?} of {states:?}");
                };
                let mut named = HashSet::new();
                // Known and new ones, some twice.
                for number in (0..KNOWN + 1000).filter(|number| number % 3 != 0) {
                    let serial = serial(number);
                    let (first, found) = census.mark(&serial);
                    assert!(first);
                    // `None`: removed, or not there when it began.
                    current(&serial, found);
                    named.insert(serial);
                    if number % 100 == 1 && found.is_some() {
                        assert!(!census.mark(&serial).0, "listed twice");
                    }
                }
                let unlisted: Vec<_> = census.unlisted().collect();
                ended.store(true, Ordering::Relaxed);
                let end = log.now();
                let mut seen = HashSet::new();
                for (serial, found) in &unlisted {
                    assert!(seen.insert(*serial), "named once");
                    assert!(!named.contains(serial));
                    current(serial, Some(*found));
                    let states = &after[serial].0[before.get(serial).map_or(0, |(_, shown)| *shown)..];
                    assert!(states.iter().any(Option::is_some), "was listed when the census began");
                }
                for (serial, (states, shown)) in &before {
                    let throughout = end[serial].0[*shown..].iter().all(Option::is_some) && states.len() == shown + 1;
                    assert!(!throughout || named.contains(serial) || seen.contains(serial), "listed throughout");
                }
            });
        }
    }

    #[test]
    fn a_serial_that_came_meanwhile_is_to_a_census_as_one_that_is_not_held() {
        let (table, mut writer) = Records::new();
        writer.apply((0..100).map(good));
        writer.reserve(1000);
        writer.apply([Change::new(serial(7), None)]);
        let mut census = table.census();
        // Into free slots of the same segments, and into one that a record had.
        writer.apply([good(7), good(200), good(201)]);
        assert_eq!((census.mark(&serial(7)), census.mark(&serial(200))), ((true, None), (true, None)));
        assert_eq!(census.mark(&serial(200)), (true, None), "again");
        writer.apply([revoked(1, 77), Change::new(serial(2), None)]);
        // Into copies of all segments.
        writer.apply((1000..9000).map(good));
        writer.apply([revoked(3, 77)]);
        let found = |number| table.get(&serial(number));
        for number in [0, 1, 3] {
            assert_eq!(census.mark(&serial(number)), (true, found(number)), "{number}");
        }
        assert_eq!(census.mark(&serial(2)), (true, None), "removed meanwhile");
        assert_eq!(census.mark(&serial(8999)), (true, None));
        assert!(!census.mark(&serial(3)).0);
        writer.apply([Change::new(serial(4), None), revoked(5, 78)]);
        let unlisted: HashMap<_, _> = census.unlisted().collect();
        let expected = (5..100).filter(|number| *number != 7);
        assert_eq!(unlisted, expected.map(|number| (serial(number), found(number).unwrap())).collect());
    }
}
