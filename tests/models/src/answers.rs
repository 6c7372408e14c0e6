//! An answer's slot: a reader beside the one writer, and a slot that is given to another key.

use loom::{sync::Arc, thread};

use crate::{
    answer::{HEAD_WORDS, Head, SEQUENCE, read, write},
    explore, is_red,
    sync::{AtomicU64, Kind},
};

/// A signature of one word: enough to be torn from its head.
const WORDS: usize = HEAD_WORDS + 1;
/// A reader that was disturbed gets nothing: a second look is the first one again.
const LOOKS: usize = 1;

type Slot = Arc<[AtomicU64; WORDS]>;

fn slot() -> Slot {
    Arc::new(std::array::from_fn(|_| AtomicU64::new(0)))
}

/// An answer whose every word tells which it is.
fn answer(key: u64, number: u64) -> (Head, [u8; 8]) {
    let mut head = [number; HEAD_WORDS];
    head[..SEQUENCE].fill(key);
    (head, number.to_ne_bytes())
}

fn put(slot: &Slot, (head, packed): (Head, [u8; 8])) {
    write(&slot[..], &head, &packed);
}

/// What is read under a key: one of these answers, whole, or nothing.
fn reads_one_of(slot: &Slot, key: u64, answers: &[(Head, [u8; 8])]) {
    let mut packed = Vec::new();
    if let Some(head) = read(&slot[..], &[key; 3], &mut packed, LOOKS) {
        let found = (head, packed.try_into().expect("a signature of one word"));
        assert!(answers.contains(&found), "{found:?}");
    }
}

fn an_answer_is_replaced_while_it_is_read() {
    let slot = slot();
    put(&slot, answer(1, 10));
    let reader = thread::spawn({
        let slot = Arc::clone(&slot);
        move || reads_one_of(&slot, 1, &[answer(1, 10), answer(1, 11)])
    });
    put(&slot, answer(1, 11));
    reader.join().unwrap();
}

/// Its answer has expired, and the slot is another's from now on.
fn a_slot_is_given_to_another_key_while_it_is_read() {
    let slot = slot();
    put(&slot, answer(1, 10));
    let reader = thread::spawn({
        let slot = Arc::clone(&slot);
        move || reads_one_of(&slot, 1, &[answer(1, 10)])
    });
    put(&slot, answer(2, 20));
    reader.join().unwrap();
}

#[test]
fn a_reader_gets_an_answer_whole_and_under_its_own_key_or_nothing() {
    explore(an_answer_is_replaced_while_it_is_read);
    explore(a_slot_is_given_to_another_key_while_it_is_read);
}

/// Any of the four orderings of a seqlock, weakened, lets a reader take words of two answers for one.
#[test]
fn a_weaker_order_of_an_answers_words_is_found() {
    for kind in [Kind::Release, Kind::Acquire, Kind::ReleaseFence, Kind::AcquireFence] {
        assert!(is_red(kind, an_answer_is_replaced_while_it_is_read), "{kind:?}");
        assert!(is_red(kind, a_slot_is_given_to_another_key_while_it_is_read), "{kind:?}");
    }
}
