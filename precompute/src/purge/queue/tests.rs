use super::*;
use crate::{ocsp::About, pki::Serial, rng::Rng};

const AGAIN: Duration = Duration::from_secs(2);
const PACE: Pace = Pace { batch: 3, per_minute: 60, burst: 2, again_after: AGAIN };

fn issuer(number: u8) -> IssuerKey {
    // Only its text differs from another one's.
    let mut hashes = [0; 32];
    hashes[0] = number;
    IssuerKey::of_key_hash(&hashes)
}

fn key(of: u8, serial: u64) -> CacheKey {
    let serial = (serial > 0).then(|| Serial::from_magnitude(&serial.to_be_bytes()).unwrap());
    CacheKey { issuer: issuer(of), about: serial.map_or(About::All, About::Certificate) }
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn queue(pace: Pace) -> Queue {
    Queue::new(pace, Duration::ZERO)
}

fn unlimited() -> Queue {
    queue(Pace { batch: 64, per_minute: 60_000, burst: 60_000, ..PACE })
}

#[test]
fn a_key_is_purged_at_once_and_a_second_time_later_and_not_a_third() {
    let mut queue = unlimited();
    queue.add(key(1, 7), ms(10));
    queue.add(key(1, 7), ms(11));
    assert_eq!((queue.waiting(), queue.oldest()), (1, Some(ms(10))));
    assert_eq!(queue.take(ms(12)), [key(1, 7)]);
    assert_eq!((queue.waiting(), queue.take(ms(12)), queue.wakes_at(ms(12))), (1, vec![], None), "it is under way");
    assert_eq!(queue.succeeded(ms(15)).keys, [(key(1, 7), Some(ms(5)))]);
    assert_eq!((queue.waiting(), queue.oldest(), queue.wakes_at(ms(15))), (0, None, Some(ms(2015))));
    assert_eq!(queue.take(ms(2014)), []);
    assert_eq!(queue.take(ms(2015)), [key(1, 7)]);
    assert_eq!(queue.succeeded(ms(2020)).keys, [(key(1, 7), None)]);
    assert_eq!((queue.take(ms(60_000)), queue.wakes_at(ms(60_000))), (vec![], None));
}

/// What changes while its request is under way, or waits to be purged a second time, is purged after that change.
#[test]
fn a_change_during_a_request_is_purged_after_it() {
    let mut queue = unlimited();
    queue.add(key(1, 7), ms(0));
    queue.take(ms(0));
    queue.add(key(1, 7), ms(1));
    queue.succeeded(ms(2));
    assert_eq!(queue.take(ms(2)), [key(1, 7)]);
    assert_eq!(queue.succeeded(ms(3)).keys, [(key(1, 7), Some(ms(2)))]);
    // Both second ones are one.
    assert_eq!(queue.take(ms(2003)), [key(1, 7)]);
    queue.failed(ms(2004), None, 0.0);
    queue.add(key(1, 7), ms(2005));
    let at = queue.wakes_at(ms(2005)).unwrap();
    queue.take(at);
    assert!(queue.succeeded(at).keys[0].1.is_some(), "it is a first one again");
    assert_eq!(queue.wakes_at(at), Some(at + AGAIN));
}

#[test]
fn requests_have_so_many_keys_and_come_so_often() {
    let mut queue = queue(PACE);
    (1..=12).for_each(|serial| queue.add(key(1, serial), ms(serial)));
    assert_eq!(queue.take(ms(20)), [key(1, 1), key(1, 2), key(1, 3)], "the oldest first");
    queue.succeeded(ms(20));
    assert_eq!(queue.take(ms(20)).len(), 3);
    queue.succeeded(ms(20));
    assert_eq!((queue.take(ms(20)), queue.wakes_at(ms(20))), (vec![], Some(ms(1020))));
    assert_eq!(queue.take(ms(1019)), []);
    assert_eq!(queue.take(ms(1020)).len(), 3);
    queue.succeeded(ms(1020));
    // An idle hour gives two at once, and no more.
    let later = Duration::from_secs(3600);
    for count in [3, 3, 0] {
        assert_eq!(queue.take(later).len(), count);
        queue.succeeded(later);
    }
}

#[test]
fn very_many_keys_of_an_issuer_become_its_own() {
    let mut queue = unlimited();
    queue.add(key(2, 5), ms(1));
    (1..=10_000).for_each(|serial| queue.add(key(1, serial), ms(100 + serial)));
    assert_eq!((queue.waiting(), queue.oldest()), (2, Some(ms(1))));
    assert_eq!(queue.take(ms(20_000)), [key(2, 5), key(1, 0)]);
    let told = queue.succeeded(ms(20_000));
    assert_eq!(told.keys[1], (key(1, 0), Some(ms(20_000 - 101))), "for as long as the oldest of them has waited");
    assert_eq!(queue.take(ms(22_000)).len(), 2);
    // The issuer's own key stands for what waits already.
    queue.succeeded(ms(22_000));
    queue.add(key(1, 1), ms(22_000));
    queue.add(key(1, 0), ms(22_001));
    queue.add(key(1, 2), ms(22_002));
    assert_eq!(queue.take(ms(22_003)), [key(1, 0)]);
}

/// Else an issuer that is purged as a whole once would be so every two seconds while anything changes.
#[test]
fn an_issuer_that_is_purged_a_second_time_takes_in_no_first_purges() {
    let mut queue = unlimited();
    queue.add(key(1, 0), ms(0));
    queue.take(ms(0));
    queue.succeeded(ms(0));
    queue.add(key(1, 9), ms(1999));
    assert_eq!(queue.take(ms(2000)), [key(1, 9), key(1, 0)]);
    queue.succeeded(ms(2000));
    assert_eq!(queue.take(ms(4000)), [key(1, 9)]);
}

#[test]
fn second_purges_are_bounded_as_well() {
    let mut queue = unlimited();
    let batches = limits::KEYS_AGAIN_MAX as u64 / 64 + 1;
    for serial in 1..=64 * batches {
        queue.add(key((serial % 3) as u8, serial), ms(0));
        if serial % 64 == 0 {
            queue.take(ms(serial / 64));
            queue.succeeded(ms(serial / 64));
        }
    }
    let kept: usize = queue.again.iter().map(|(_, keys)| keys.len()).sum();
    assert_eq!(kept, 3, "an issuer each");
    assert_eq!(queue.wakes_at(ms(1000)), Some(AGAIN + ms(batches)), "none of them is purged too early");
}

#[test]
fn what_fails_is_tried_again_and_again_before_all_others_and_less_often() {
    let mut queue = queue(Pace { burst: 1000, ..PACE });
    (1..=4).for_each(|serial| queue.add(key(1, serial), ms(serial)));
    let first = queue.take(ms(10));
    let mut now = ms(10);
    let mut pauses = Vec::new();
    for _ in 0..12 {
        pauses.push(queue.failed(now, None, 0.5).as_millis());
        assert_eq!((queue.waiting(), queue.oldest()), (4, Some(ms(1))));
        let at = queue.wakes_at(now).unwrap();
        assert_eq!(queue.take(at - ms(1)), []);
        now = at;
        assert_eq!(queue.take(now), first);
    }
    assert_eq!(pauses, [200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000, 30_000, 30_000]);
    // The answer may ask for more, but not for ever.
    assert_eq!(queue.failed(now, Some(Duration::from_secs(90)), 0.5), Duration::from_secs(90));
    now += Duration::from_secs(90);
    queue.take(now);
    assert_eq!(queue.failed(now, Some(Duration::from_secs(86_400)), 0.5), limits::RETRY_AFTER_MAX);
    now += limits::RETRY_AFTER_MAX;
    queue.take(now);
    queue.succeeded(now);
    assert_eq!(queue.take(now), [key(1, 4)], "then it goes on at once");
    assert_eq!(queue.failed(now, None, 0.0).as_millis(), 150);
}

#[test]
fn nothing_is_left_once_somebody_else_purges() {
    let mut queue = unlimited();
    queue.add(key(1, 1), ms(0));
    queue.take(ms(0));
    queue.succeeded(ms(0));
    queue.add(key(1, 2), ms(1));
    queue.clear();
    assert_eq!((queue.waiting(), queue.wakes_at(ms(1)), queue.take(ms(10_000))), (0, None, vec![]));
}

/// A CA that issues all the time must not use up the requests that its revocations need.
#[test]
fn what_does_not_press_waits_for_others_and_goes_with_them() {
    let mut queue = unlimited();
    queue.add_gathering(key(1, 1), ms(0));
    queue.add_gathering(key(1, 2), ms(500));
    assert_eq!((queue.take(ms(9_999)), queue.wakes_at(ms(600))), (vec![], Some(limits::GATHER)));
    assert_eq!(queue.take(limits::GATHER), [key(1, 1), key(1, 2)]);
    queue.succeeded(limits::GATHER);
    let again = limits::GATHER + AGAIN;
    assert_eq!(queue.take(again).len(), 2, "and a second time");
    queue.succeeded(again);
    // What presses takes along what waits, and a key that presses later does so at once.
    queue.add_gathering(key(1, 3), again);
    queue.add_gathering(key(1, 4), again);
    queue.add(key(1, 5), again + ms(1));
    assert_eq!(queue.take(again + ms(1)), [key(1, 3), key(1, 4), key(1, 5)]);
    queue.failed(again + ms(2), None, 0.5);
    assert_eq!(queue.take(again + ms(203)).len(), 3);
    queue.succeeded(again + ms(204));
    queue.add_gathering(key(1, 6), ms(20_000));
    queue.add(key(1, 6), ms(20_001));
    assert!(queue.take(ms(20_001)).contains(&key(1, 6)));
    queue.succeeded(ms(20_001));
    // Very many become the issuer's own, which waits as they do, until something presses.
    queue.take(ms(25_000));
    queue.succeeded(ms(25_000));
    (1..=5000).for_each(|serial| queue.add_gathering(key(2, serial), ms(30_000)));
    assert_eq!(queue.take(ms(39_999)), [], "{queue:?}");
    queue.add(key(2, 7), ms(39_999));
    assert_eq!(queue.take(ms(39_999)), [key(2, 0)]);
}

/// Any order of changes, failures and times: each change is followed by a request that has its key or its issuer's, and by
/// another one after `again_after`; and the bounds hold.
#[test]
fn whatever_happens_each_change_is_purged_twice_after_it() {
    for seed in 0..300 {
        let mut rng = Rng(seed);
        let mut queue =
            Queue::new(Pace { batch: 1 + rng.below(4), per_minute: 600, burst: 3, again_after: AGAIN }, ms(0));
        let mut now = ms(0);
        // Each change with when it was, and when it was purged first and last.
        let mut changes: Vec<(CacheKey, Duration, Option<Duration>, Option<Duration>)> = Vec::new();
        let mut sent_at = None;
        let mut keys = Vec::new();
        for step in 0..600 {
            now += ms(rng.below(300) as u64);
            if step < 300 && rng.chance(40) {
                let key = key(rng.below(2) as u8, rng.below(5) as u64);
                if rng.chance(50) {
                    queue.add(key, now)
                } else {
                    queue.add_gathering(key, now)
                }
                changes.push((key, now, None, None));
            }
            match sent_at {
                None => {
                    keys = queue.take(now);
                    sent_at = (!keys.is_empty()).then_some(now);
                }
                Some(_) if rng.chance(if step < 400 { 40 } else { 0 }) => {
                    queue.failed(now, None, 0.5);
                    sent_at = None;
                }
                Some(at) => {
                    queue.succeeded(now);
                    sent_at = None;
                    for (key, since, first, last) in &mut changes {
                        let is_in = keys
                            .iter()
                            .any(|sent| sent.issuer == key.issuer && (sent.is_whole() || sent.about == key.about));
                        if is_in && at >= *since {
                            first.get_or_insert(now);
                            *last = Some(at);
                        }
                    }
                }
            }
        }
        while let Some(at) = queue.wakes_at(now) {
            now = now.max(at);
            let keys = queue.take(now);
            queue.succeeded(now);
            for (key, _, first, last) in &mut changes {
                if keys.iter().any(|sent| sent.issuer == key.issuer && (sent.is_whole() || sent.about == key.about)) {
                    first.get_or_insert(now);
                    *last = Some(now);
                }
            }
        }
        for (key, since, first, last) in changes {
            let (first, last) = (first.expect("it was purged"), last.expect("it was purged"));
            assert!(first >= since && last >= first + AGAIN, "seed {seed}: {key} {since:?} {first:?} {last:?}");
        }
        assert_eq!(queue.waiting(), 0);
    }
}
