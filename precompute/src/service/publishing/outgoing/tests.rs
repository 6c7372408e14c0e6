use super::*;
use crate::{
    answers::{Entry, each_entry},
    pki::{Serial, UnixTime},
    records::StateWord,
};

const OCTETS: usize = 64;

fn answer(number: u32) -> Stored {
    let [this_update, refresh_at, next_update] = [1, 2, 3].map(UnixTime);
    let entry = Entry { state: StateWord::from_word(1), this_update, refresh_at, next_update };
    let serial = Serial::from_magnitude(&(number + 1).to_be_bytes()).unwrap();
    Stored { serial, entry, packed: vec![7; OCTETS] }
}

fn sections(body: Body) -> Vec<AnswerSection> {
    match body {
        Body::Answers(sections) => sections,
        other => panic!("{other:?}"),
    }
}

#[test]
fn answers_go_out_in_their_order_by_issuer_and_form_and_fit_an_entry() {
    let outgoing = Outgoing::new(Bell::default());
    let [a, b] = [1, 2].map(|issuer| Issuer([issuer; 32]));
    assert!(outgoing.add(a, [1; 32], &answer(0)), "while it is closed nothing is told, and nothing is missed");
    assert_eq!(outgoing.next(true), None);
    outgoing.open();
    let count = 3000;
    for number in 0..count {
        assert!(outgoing.add(if number % 3 == 0 { a } else { b }, [(number % 2) as u8; 32], &answer(number)));
    }
    let octets = outgoing.octets();
    assert_eq!(octets, count as usize * (HEAD + OCTETS));
    let mut seen = std::collections::BTreeMap::<_, Vec<u32>>::new();
    while let Some(body) = outgoing.next(true) {
        let sections = sections(body);
        let length: usize = sections.iter().map(|section| OF_SECTION + section.entries.len()).sum();
        assert!(4 + length <= limits::ENTRY_BODY_OCTETS_MAX, "{length} bytes");
        for AnswerSection { issuer, form, packed_length, entries } in sections {
            each_entry(&entries, packed_length, |serial, _, _| {
                let number = u32::from_be_bytes(*serial.padded().last_chunk().unwrap()) - 1;
                seen.entry((issuer, form)).or_default().push(number);
            });
        }
    }
    assert_eq!((seen.len(), outgoing.octets()), (4, 0));
    for ((issuer, form), numbers) in seen {
        let is_its = |number: &u32| number.is_multiple_of(3) == (issuer == a) && [(number % 2) as u8; 32] == form;
        assert_eq!(numbers, (0..count).filter(is_its).collect::<Vec<_>>());
    }
}

#[test]
fn what_finds_no_room_is_remembered_and_who_signs_never_waits() {
    let outgoing = Outgoing::new(Bell::default());
    outgoing.open();
    let issuer = Issuer([1; 32]);
    let fits = limits::ANSWERS_WAITING_OCTETS_MAX / (HEAD + OCTETS);
    assert!((0..fits as u32).all(|number| outgoing.add(issuer, [1; 32], &answer(number))));
    assert!(!outgoing.take_incomplete());
    assert!(!outgoing.add(issuer, [1; 32], &answer(0)));
    assert!(outgoing.take_incomplete() && !outgoing.take_incomplete(), "once");
    outgoing.next(true);
    assert!(outgoing.add(issuer, [1; 32], &answer(0)), "there is room again");
    outgoing.close();
    assert_eq!((outgoing.octets(), outgoing.next(true)), (0, None));
}

/// All answers were being told once more while Redis was away: who did that took back that something had found no room,
/// also where it was another's, of a certificate that had been gone past. That answer was never told.
#[test]
fn who_waits_for_room_takes_nothing_back_of_what_others_missed() {
    let outgoing = Outgoing::new(Bell::default());
    outgoing.open();
    let issuer = Issuer([1; 32]);
    (0..).find(|number| !outgoing.offer(issuer, [1; 32], &answer(*number))).expect("it is full at some time");
    assert!(!outgoing.take_incomplete(), "who offers comes again");
    assert!(!outgoing.add(issuer, [1; 32], &answer(0)));
    assert!(!outgoing.offer(issuer, [1; 32], &answer(1)));
    assert!(outgoing.take_incomplete(), "the signer's is missing");
}

#[test]
fn answers_gather_for_a_moment_unless_somebody_waits() {
    let outgoing = Outgoing::new(Bell::default());
    outgoing.open();
    let add = |number| assert!(outgoing.add(Issuer([1; 32]), [1; 32], &answer(number)));
    add(0);
    assert!(outgoing.next(true).is_some());
    assert_eq!(outgoing.next(true), None, "nothing is left");
    let begun = Instant::now();
    add(1);
    while outgoing.next(false).is_none() {
        std::thread::yield_now();
    }
    assert!(begun.elapsed() >= limits::ANSWERS_GATHER);
    (0..2000).for_each(add);
    let full = sections(outgoing.next(false).expect("an entry is full"));
    assert!(full.iter().map(|section| section.entries.len()).sum::<usize>() > limits::ENTRY_BODY_OCTETS_MAX / 2);
}
