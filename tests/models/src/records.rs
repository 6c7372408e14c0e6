//! A record's slot: a reader beside the one writer.

use loom::{sync::Arc, thread};

use crate::{
    explore, is_red,
    record::{SerialWords, Slot},
    sync::Kind,
};

const KEY: SerialWords = [1, 2, 3];
/// State words, as far as a slot is concerned: what is good, then what is revoked, each with its own end.
const GOOD: (u64, u32) = (1, 10);
const REVOKED: (u64, u32) = (4, 20);
/// Of the stricter state, while the end changes.
const MEANWHILE: u64 = 3;
const RELEASED: (u64, u32) = (6, 30);
const STILL_REVOKED: u64 = 5;

fn slot_is_filled_while_it_is_read() {
    let slot = Arc::new(Slot::default());
    let writer = thread::spawn({
        let slot = Arc::clone(&slot);
        move || slot.fill(&KEY, GOOD.0, GOOD.1)
    });
    let state = slot.state();
    let read = slot.read(state);
    if state == 0 {
        assert_eq!(read.0, 0, "a search that ended at a free slot finds nothing there, whoever came meanwhile");
    } else {
        assert!(slot.holds(&KEY), "the key is whole once the slot is in use");
        assert_eq!(read, GOOD);
    }
    writer.join().unwrap();
}

/// Good, then revoked with another end, as seen by a reader whose looks may fall between any two stores.
fn a_record_is_revoked_while_it_is_read() {
    let slot = Arc::new(Slot::default());
    slot.fill(&KEY, GOOD.0, GOOD.1);
    let writer = thread::spawn({
        let slot = Arc::clone(&slot);
        move || slot.set_both(MEANWHILE, REVOKED.0, REVOKED.1)
    });
    match slot.read(slot.state()) {
        (MEANWHILE, end) => assert!([GOOD.1, REVOKED.1].contains(&end)),
        read => assert!([GOOD, REVOKED].contains(&read), "{read:?}"),
    }
    writer.join().unwrap();
}

/// On hold, then good with another end.
fn a_record_is_released_while_it_is_read() {
    let slot = Arc::new(Slot::default());
    slot.fill(&KEY, REVOKED.0, REVOKED.1);
    let writer = thread::spawn({
        let slot = Arc::clone(&slot);
        move || slot.set_both(STILL_REVOKED, RELEASED.0, RELEASED.1)
    });
    match slot.read(slot.state()) {
        (STILL_REVOKED, end) => assert!([REVOKED.1, RELEASED.1].contains(&end)),
        read => assert!([REVOKED, RELEASED].contains(&read), "{read:?}"),
    }
    writer.join().unwrap();
}

/// A record that is removed, and listed again with another end.
fn a_record_comes_again_while_it_is_read() {
    const REMOVED: u64 = 2;
    const AGAIN: (u64, u32) = (7, 40);
    let slot = Arc::new(Slot::default());
    slot.fill(&KEY, GOOD.0, GOOD.1);
    let writer = thread::spawn({
        let slot = Arc::clone(&slot);
        move || {
            slot.set_state(REMOVED);
            slot.set_both(MEANWHILE, AGAIN.0, AGAIN.1);
        }
    });
    match slot.read(slot.state()) {
        (REMOVED | MEANWHILE, _) => {}
        read => assert!([GOOD, AGAIN].contains(&read), "{read:?}"),
    }
    writer.join().unwrap();
}

#[test]
fn a_reader_sees_a_key_whole_and_a_state_with_its_own_end() {
    explore(slot_is_filled_while_it_is_read);
    explore(a_record_is_revoked_while_it_is_read);
    explore(a_record_is_released_while_it_is_read);
    explore(a_record_comes_again_while_it_is_read);
}

/// Release → Relaxed, or Acquire → Relaxed, in the slot: the key is seen in part, or an end with another's state.
#[test]
fn a_weaker_order_of_a_records_words_is_found() {
    for kind in [Kind::Release, Kind::Acquire] {
        assert!(is_red(kind, slot_is_filled_while_it_is_read), "{kind:?}");
        assert!(is_red(kind, a_record_is_revoked_while_it_is_read), "{kind:?}");
        assert!(is_red(kind, a_record_is_released_while_it_is_read), "{kind:?}");
    }
}
