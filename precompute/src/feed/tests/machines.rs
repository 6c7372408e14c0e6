//! The parts of the machines that a table shows better than a simulation.

use std::time::Duration;

use super::*;
use crate::{
    feed::{
        Freshness, Moment, Verdict, by_feed,
        chain::Ring,
        pulse::{Lease, Pulse},
        rule::Rules,
    },
    limits::feed as limits,
};

fn change(number: u32, reason: Option<Reason>) -> Change {
    let status = reason.map_or(Status::Good, |reason| Status::Revoked { time: UnixTime(7), reason });
    let serial = Serial::from_magnitude(&number.to_be_bytes()).unwrap();
    Change::new(serial, Some(Record { status, not_after: None }))
}

#[test]
fn a_final_revocation_stays_whatever_the_feed_says_and_everything_else_becomes_what_it_says() {
    let (good, removed) = (change(1, None), Change { record: None, ..change(1, None) });
    let hold = change(1, Some(Reason::CertificateHold));
    let (one, other) = (change(1, Some(Reason::KeyCompromise)), change(1, Some(Reason::Superseded)));
    for present in [good, removed, hold] {
        for said in [good, removed, hold, one] {
            assert_eq!(by_feed(&present, &said), Verdict::Becomes(said), "{present:?}");
        }
    }
    for said in [good, removed, hold] {
        assert_eq!(by_feed(&one, &said), Verdict::Stays, "{said:?}");
    }
    assert_eq!(by_feed(&one, &other), Verdict::Becomes(other), "the order of the chain decides");
}

/// A section with this record.
fn section(number: u32) -> Vec<Section> {
    vec![Section::new(Issuer([1; 32]), vec![change(number, None)])]
}

#[test]
fn a_begin_states_again_what_has_changed_after_the_first_entry_that_it_names() {
    let chain = |number: u8| Chain([number; 32]);
    let mut ring = Ring::new(chain(0));
    assert_eq!(ring.begin(), (vec![chain(0)], [].into()));
    for number in 1..=3 {
        ring.push(chain(number), 100, Duration::ZERO, &section(number.into()));
    }
    let (chains, changed) = ring.begin();
    assert_eq!(chains, [3, 2, 1, 0].map(chain));
    let serials: Vec<_> = changed.keys().map(|(_, serial)| *serial).collect();
    assert_eq!(serials, [1, 2, 3].map(|number| change(number, None).serial));
    assert!(ring.has(chain(0)) && ring.has(chain(3)) && !ring.has(chain(4)));
}

#[test]
fn a_ring_forgets_what_is_old_and_too_much_and_remembers_fifteen_seconds_in_any_case() {
    let chain = |number: usize| Chain::of(&number.to_be_bytes());
    let octets = limits::RING_OCTETS_MAX / 4;
    let mut ring = Ring::new(chain(0));
    for number in 1..=8 {
        ring.push(chain(number), octets, Duration::ZERO, &[]);
    }
    assert_eq!(ring.begin().0.len(), 9, "too much, and new");
    let later = limits::RING_TIME_MIN + Duration::from_secs(1);
    ring.push(chain(9), octets, later, &[]);
    assert_eq!(ring.begin().0, [9, 8, 7, 6, 5].map(chain));
    for number in 10..10 + limits::BEGIN_CHAINS_MAX {
        ring.push(chain(number), 1, later, &[]);
    }
    assert_eq!(ring.begin().0.len(), limits::BEGIN_CHAINS_MAX, "as many as a begin has room for");
}

#[test]
fn a_begin_names_fewer_entries_rather_than_state_more_records_than_fit() {
    let chain = |number: usize| Chain::of(&number.to_be_bytes());
    let mut ring = Ring::new(chain(0));
    let many = |from: usize| {
        let changes = (from..from + limits::BEGIN_RECORDS_MAX / 2).map(|number| change(number as u32 + 1, None));
        vec![Section::new(Issuer([1; 32]), changes.collect())]
    };
    for number in 1..=3 {
        ring.push(chain(number), 1, Duration::ZERO, &many(number * limits::BEGIN_RECORDS_MAX));
    }
    let (chains, changed) = ring.begin();
    assert_eq!((chains, changed.len()), (vec![chain(3), chain(2), chain(1)], limits::BEGIN_RECORDS_MAX));
}

/// Those who know no hashes refuse a longer one, too.
#[test]
fn nor_more_hashes_than_fit() {
    let chain = |number: usize| Chain::of(&number.to_be_bytes());
    let mut ring = Ring::new(chain(0));
    let count = limits::BEGIN_HASHES_MAX / 2;
    for number in 1..=3 {
        let changes = (0..count).map(|of| change((number * count + of) as u32, None)).collect();
        let hashes = vec![[7; 32]; count];
        ring.push(chain(number), 1, Duration::ZERO, &[Section { issuer: Issuer([1; 32]), changes, hashes }]);
    }
    assert_eq!(ring.begin().0, [chain(3), chain(2)]);
}

#[test]
fn a_reader_is_fresh_by_heartbeats_near_their_own_time_only() {
    let at = |seconds: u64, wall: u64| Moment { monotonic: Duration::from_secs(seconds), wall: wall * 1_000_000 };
    let mut pulse = Pulse::default();
    assert_eq!(pulse.freshness(at(0, 1000)), Freshness::Stale);
    for (time, expected) in [(699, Freshness::Stale), (1301, Freshness::Stale), (700, Freshness::Fresh)] {
        pulse.beat(Rules::default(), time * 1_000_000, at(10, 1000));
        assert_eq!(pulse.freshness(at(10, 1000)), expected, "{time}");
    }
    // The clock on the wall may be set in the meantime.
    let table = [(15, Freshness::Fresh), (16, Freshness::Lagging), (70, Freshness::Lagging), (71, Freshness::Stale)];
    for (seconds, expected) in table {
        assert_eq!(pulse.freshness(at(seconds, 5)), expected, "{seconds}");
    }
}

#[test]
fn an_entry_that_was_read_before_is_no_sign_of_life() {
    let at = |seconds| Moment { monotonic: Duration::from_secs(seconds), wall: 0 };
    let position = |sequence| Position { epoch: 1, sequence };
    let mut lease = Lease::default();
    lease.hear(position(5), at(1));
    lease.hear(position(4), at(2));
    lease.hear(position(5), at(3));
    assert_eq!(lease.heard(), Some(Duration::from_secs(1)));
    lease.hear(position(6), at(4));
    assert_eq!(lease.heard(), Some(Duration::from_secs(4)));
    lease.hear_new(at(5));
    assert_eq!(lease.heard(), Some(Duration::from_secs(5)));
}
