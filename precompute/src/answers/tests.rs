use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::records::StateWord;
const P256: usize = 64;
const MUCH: u64 = 1 << 40;

fn serial(number: u64) -> Serial {
    let mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Serial::from_magnitude(&[&[1][..], &mixed.to_be_bytes(), &number.to_be_bytes()].concat()).unwrap()
}

fn key(number: u64) -> AnswerKey {
    AnswerKey::new(1, HashAlgorithm::Sha1, 0, &serial(number))
}

fn entry(number: u64) -> Entry {
    Entry {
        state: StateWord::from_word(number << 40 | 1),
        this_update: UnixTime(number),
        next_update: UnixTime(number + 1000),
        refresh_at: UnixTime(number + 500),
    }
}

/// A signature that contains its number in every word.
fn signature(number: u64, octets: usize) -> Vec<u8> {
    number.to_ne_bytes().repeat(octets / 8)
}

fn get(answers: &Answers, key: &AnswerKey, octets: usize) -> Option<(Entry, Vec<u8>)> {
    let mut packed = vec![9; 3];
    answers.get(key, octets, &mut packed).map(|entry| (entry, packed))
}

#[test]
fn what_was_kept_comes_back_whole_for_signatures_of_every_length() {
    let answers = Answers::new(MUCH);
    for octets in [64, 96, 256, 384, 512, 2424, 3312, 4632] {
        for number in 0..2000 {
            assert!(answers.insert(&key(number), &entry(number), &signature(number, octets)));
        }
        for number in 0..2000 {
            assert_eq!(get(&answers, &key(number), octets), Some((entry(number), signature(number, octets))));
        }
        assert_eq!(get(&answers, &key(2000), octets), None);
    }
    assert_eq!(answers.len(), 8 * 2000);
}

#[test]
fn keys_are_compared_in_full() {
    let answers = Answers::new(MUCH);
    let keys = [
        AnswerKey::new(1, HashAlgorithm::Sha1, 0, &serial(7)),
        AnswerKey::new(2, HashAlgorithm::Sha1, 0, &serial(7)),
        AnswerKey::new(1, HashAlgorithm::Sha256, 0, &serial(7)),
        AnswerKey::new(1, HashAlgorithm::Sha1, 1, &serial(7)),
        AnswerKey::new(1, HashAlgorithm::Sha1, 0, &serial(8)),
        AnswerKey::new(
            limits::ISSUERS_MAX - 1,
            HashAlgorithm::Sha512,
            63,
            &Serial::from_magnitude(&[0xff; 20]).unwrap(),
        ),
    ];
    for (number, key) in (0..).zip(&keys) {
        for other in &keys[number as usize..] {
            assert_eq!(get(&answers, other, P256), None);
        }
        assert!(answers.insert(key, &entry(number), &signature(number, P256)));
    }
    for (number, key) in (0..).zip(&keys) {
        assert_eq!(get(&answers, key, P256), Some((entry(number), signature(number, P256))));
    }
}

#[test]
fn what_does_not_fit_an_entry_is_refused() {
    let answers = Answers::new(MUCH);
    let late = UnixTime(1 << 32);
    for entry in [
        Entry { this_update: late, ..entry(1) },
        Entry { next_update: late, ..entry(1) },
        Entry { refresh_at: late, ..entry(1) },
    ] {
        assert!(!answers.insert(&key(1), &entry, &signature(1, P256)));
    }
    for octets in [0, 1, 63, 65, 4688] {
        assert!(!answers.insert(&key(1), &entry(1), &vec![7; octets]), "{octets}");
        assert_eq!(get(&answers, &key(1), octets), None, "{octets}");
    }
    assert!(answers.is_empty());
}

#[test]
fn memory_is_bounded_and_what_was_kept_stays() {
    let bound = 20 << 20;
    let answers = Answers::new(bound);
    let kept: Vec<_> =
        (0..200_000).filter(|&number| answers.insert(&key(number), &entry(number), &signature(number, P256))).collect();
    assert!(answers.octets() <= bound);
    assert_eq!(answers.len(), kept.len() as u64);
    assert!(kept.len() > 140_000, "{} answers in 20 MiB", kept.len());
    for &number in &kept {
        assert_eq!(get(&answers, &key(number), P256), Some((entry(number), signature(number, P256))));
        assert!(
            answers.insert(&key(number), &entry(number + 1), &signature(number + 1, P256)),
            "replacing needs no room"
        );
    }
}

#[test]
fn a_p256_answer_takes_at_most_128_octets_with_its_index() {
    let answers = Answers::new(MUCH);
    let mut worst = 0;
    for number in 0..500_000 {
        assert!(answers.insert(&key(number), &entry(number), &signature(number, P256)));
        if number >= 250_000 && number % 1000 == 0 {
            worst = worst.max(answers.octets() / number);
        }
    }
    assert!(worst <= 128, "{worst}");
}

#[test]
fn room_of_expired_answers_is_used_again() {
    let answers = Answers::new(MUCH);
    let fill = |from: u64| {
        for number in from..from + 50_000 {
            assert!(answers.insert(&key(number), &entry(from), &signature(number, P256)));
        }
    };
    fill(0);
    let octets = answers.octets();
    for round in 1..5 {
        // Those of the last round end at 1000 × round or so; those of this one stay.
        answers.remove_expired(entry((round - 1) * 50_000).next_update);
        assert_eq!(answers.len(), 0);
        assert_eq!(get(&answers, &key((round - 1) * 50_000), P256), None);
        fill(round * 50_000);
        assert_eq!(answers.len(), 50_000);
    }
    assert!(answers.octets() <= octets + octets / 4, "{octets} grew to {}", answers.octets());
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u64, u64),
    Expire(u64),
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn it_says_what_a_plain_map_says(
        steps in vec(
            prop_oneof![
                20 => (0u64..300, 0u64..5000).prop_map(|(number, time)| Step::Insert(number, time)),
                1 => (0u64..6000).prop_map(Step::Expire),
            ],
            1..600,
        )
    ) {
        let answers = Answers::new(MUCH);
        let mut model = HashMap::new();
        for step in steps {
            match step {
                Step::Insert(number, time) => {
                    prop_assert!(answers.insert(&key(number), &entry(time), &signature(time, P256)));
                    model.insert(number, time);
                }
                Step::Expire(now) => {
                    answers.remove_expired(UnixTime(now));
                    model.retain(|_, time| entry(*time).next_update > UnixTime(now));
                }
            }
        }
        prop_assert_eq!(answers.len(), model.len() as u64);
        for number in 0..300 {
            let expected = model.get(&number).map(|&time| (entry(time), signature(time, P256)));
            prop_assert_eq!(get(&answers, &key(number), P256), expected);
        }
    }
}

/// Writers replace, remove and add all the time; whatever a reader gets was written under its key, in one piece.
#[test]
fn readers_never_see_half_an_answer_or_anothers() {
    const KEYS: u64 = 5000;
    let answers = Answers::new(MUCH);
    let stop = AtomicBool::new(false);
    // The number of a write is its key's number in the low digits.
    let put = |write: u64| {
        assert!(answers.insert(&key(write % KEYS), &entry(write), &signature(write, P256)));
    };
    thread::scope(|scope| {
        let reader = || {
            let (mut packed, mut found) = (Vec::new(), 0u64);
            for number in (0..KEYS).cycle() {
                if stop.load(Relaxed) && number == 0 {
                    break;
                }
                let Some(got) = answers.get(&key(number), P256, &mut packed) else { continue };
                let write = got.this_update.0;
                assert_eq!(write % KEYS, number, "another's");
                assert_eq!((got, &packed), (entry(write), &signature(write, P256)), "torn");
                found += 1;
            }
            found
        };
        let readers = [scope.spawn(reader), scope.spawn(reader)];
        let writers =
            [0, 1].map(|odd| scope.spawn(move || (0..300_000).filter(|write| write % 2 == odd).for_each(put)));
        for cut in 0..100 {
            answers.remove_expired(UnixTime(cut * 1000));
            thread::yield_now();
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        stop.store(true, Relaxed);
        for reader in readers {
            assert!(reader.join().unwrap() > 1000);
        }
    });
}

#[test]
fn room_made_beforehand_is_used() {
    let answers = Answers::new(MUCH);
    answers.insert(&key(0), &entry(0), &signature(0, P256));
    answers.reserve(20_000, P256);
    let reserved = answers.octets();
    for number in 0..20_000 {
        assert!(answers.insert(&key(number), &entry(number), &signature(number, P256)));
    }
    for number in 0..20_000 {
        assert_eq!(get(&answers, &key(number), P256), Some((entry(number), signature(number, P256))));
    }
    // Only chunks of slots were added: no index was rebuilt.
    let chunk = 32 * 8 * (6 + P256 as u64 / 8);
    assert_eq!((answers.octets() - reserved) % chunk, 0);
    assert_eq!(answers.len(), 20_000);
    let small = Answers::new(10_000);
    small.reserve(1_000_000, P256);
    assert_eq!(small.octets(), 0, "as far as there is room");
}

#[test]
fn an_answer_is_replaced_where_what_stands_there_is_to_be() {
    let answers = Answers::new(MUCH);
    let insert = |number: u64, expected: Option<Entry>, wanted: Option<Entry>| {
        answers.insert_if(&key(1), &signature(number, P256), |there| {
            assert_eq!(there, expected);
            wanted
        })
    };
    assert_eq!(insert(1, None, None), Inserted::Unwanted);
    assert_eq!(get(&answers, &key(1), P256), None);
    assert_eq!(insert(2, None, Some(entry(2))), Inserted::Written);
    assert_eq!(insert(3, Some(entry(2)), None), Inserted::Unwanted);
    assert_eq!(get(&answers, &key(1), P256), Some((entry(2), signature(2, P256))));
    assert_eq!(insert(4, Some(entry(2)), Some(entry(4))), Inserted::Written);
    assert_eq!(get(&answers, &key(1), P256), Some((entry(4), signature(4, P256))));
}
