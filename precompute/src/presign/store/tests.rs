//! What is on disk is read back, even from a file that was damaged.

use super::*;
use crate::{
    answers::{Entry, HEAD},
    pki::Serial,
    records::StateWord,
};

const MUCH: u64 = 1 << 40;
const PACKED: usize = 64;
const A: [u8; 32] = [0xa; 32];
const B: [u8; 32] = [0xb; 32];

fn stored(number: u64) -> Stored {
    let entry = Entry {
        state: StateWord::from_word(number << 32 | 0x12),
        this_update: UnixTime(number),
        next_update: UnixTime(number + 1000),
        refresh_at: UnixTime(number + 500),
    };
    let serial = Serial::from_magnitude(&(number + 1).to_be_bytes()).unwrap();
    Stored { serial, entry, packed: number.to_be_bytes().repeat(PACKED / 8) }
}

fn run(fingerprint: [u8; 32], numbers: std::ops::Range<u64>) -> Run {
    let mut run = Run::new(fingerprint);
    numbers.for_each(|number| run.push(&stored(number)));
    run
}

fn load(store: &mut AnswerStore, fingerprint: &[u8; 32]) -> Vec<Stored> {
    let mut all = Vec::new();
    let add = |entries: &[u8]| {
        each_entry(entries, PACKED, |serial, entry, packed| {
            all.push(Stored { serial, entry, packed: packed.to_vec() });
        });
        true
    };
    store.load(fingerprint, add).unwrap();
    all
}

fn all(numbers: impl IntoIterator<Item = u64>) -> Vec<Stored> {
    numbers.into_iter().map(stored).collect()
}

#[test]
fn what_was_appended_comes_back_in_its_order_under_its_own_form_only() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = AnswerStore::open(dir.path(), MUCH).unwrap();
    store.append(&[run(A, 0..100), run(B, 50..60)]).unwrap();
    store.append(&[run(A, 70..170), Run::new(B)]).unwrap();
    assert_eq!(load(&mut store, &A), all((0..100).chain(70..170)));
    let octets = store.octets().unwrap();
    drop(store);

    let mut store = AnswerStore::open(dir.path(), MUCH).unwrap();
    assert_eq!(store.octets().unwrap(), octets);
    assert_eq!(load(&mut store, &A), all((0..100).chain(70..170)));
    assert_eq!(load(&mut store, &B), all(50..60));
    assert_eq!(load(&mut store, &[7; 32]), []);
    store.append(&[run(A, 5..6)]).unwrap();
    assert_eq!(load(&mut store, &A), all((0..100).chain(70..170).chain(5..6)), "later ones stay later");
}

#[test]
fn a_counter_of_this_process_is_not_stored() {
    let mut run = Run::new(A);
    let mut one = stored(1);
    one.entry.state = StateWord::from_word(one.entry.state.word() | 77 << 8);
    run.push(&one);
    let mut other = Run::new(A);
    other.push(&stored(1));
    assert_eq!(run.entries, other.entries);
}

#[test]
fn runs_that_have_ended_are_removed_and_forms_with_their_last() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = AnswerStore::open(dir.path(), MUCH).unwrap();
    store.append(&[run(A, 0..10), run(A, 500..510), run(B, 0..10)]).unwrap();
    for (now, a, b) in [(1008, (0..10).chain(500..510), 0..10), (1009, (0..0).chain(500..510), 0..0)] {
        store.remove_expired(UnixTime(now)).unwrap();
        assert_eq!(load(&mut store, &A), all(a), "{now}");
        assert_eq!(load(&mut store, &B), all(b), "{now}");
    }
    store.remove_expired(UnixTime(5000)).unwrap();
    assert_eq!(store.octets().unwrap(), 0);
    // A form that comes again takes nobody's number.
    store.append(&[run(B, 0..1)]).unwrap();
    store.append(&[run(A, 1..2)]).unwrap();
    assert_eq!((load(&mut store, &A), load(&mut store, &B)), (all(1..2), all(0..1)));
}

#[test]
fn a_store_that_has_grown_too_large_loses_its_oldest_runs() {
    let dir = tempfile::tempdir().unwrap();
    let length = (SEAL + 10 * (HEAD + PACKED)) as u64;
    let mut store = AnswerStore::open(dir.path(), 3 * length).unwrap();
    for round in 0..5 {
        let fingerprint = if round % 2 == 0 { A } else { B };
        store.append(&[run(fingerprint, 10 * round..10 * round + 10)]).unwrap();
        assert!(store.octets().unwrap() <= 3 * length);
    }
    assert_eq!(load(&mut store, &A), all((20..30).chain(40..50)));
    assert_eq!(load(&mut store, &B), all(30..40));
}

#[test]
fn a_damaged_run_is_left_out_and_so_is_one_of_another_form() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = AnswerStore::open(dir.path(), MUCH).unwrap();
    store.append(&[run(A, 0..10), run(A, 10..20), run(B, 20..30)]).unwrap();
    store
        .run(|database| {
            let transaction = database.begin_write()?;
            {
                let mut runs = transaction.open_table(RUNS)?;
                let mut first = runs.get((0, 0))?.unwrap().value().to_vec();
                first[SEAL + 50] ^= 1;
                runs.insert((0, 0), &first[..])?;
                let of_b = runs.get((1, 2))?.unwrap().value().to_vec();
                runs.insert((0, 3), &of_b[..])?;
                runs.insert((0, 4), &[1, 2, 3][..])?;
            }
            Ok(transaction.commit()?)
        })
        .unwrap();
    assert_eq!(load(&mut store, &A), all(10..20));
}

#[test]
fn a_file_that_is_no_store_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    for octets in [&[0x55; 10_000][..], b"", b"short"] {
        std::fs::write(dir.path().join("answers.redb"), octets).unwrap();
        let mut store = AnswerStore::open(dir.path(), MUCH).unwrap();
        store.append(&[run(A, 0..3)]).unwrap();
        assert_eq!(load(&mut store, &A), all(0..3));
    }
    // One of a later format.
    let mut store = AnswerStore::open(dir.path(), MUCH).unwrap();
    store
        .run(|database| {
            let transaction = database.begin_write()?;
            transaction.open_table(META)?.insert("format", FORMAT + 1)?;
            Ok(transaction.commit()?)
        })
        .unwrap();
    drop(store);
    assert_eq!(load(&mut AnswerStore::open(dir.path(), MUCH).unwrap(), &A), []);
}

/// redb panicked over a file with a few bits or pages changed: `presign` ended, and a responder signed nothing ahead any
/// more.
#[test]
fn a_file_that_was_damaged_anywhere_costs_its_answers_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = AnswerStore::open(dir.path(), MUCH).unwrap();
    for round in 0..40 {
        store.append(&[run(A, 100 * round..100 * round + 100), run([100 + round as u8; 32], 0..20)]).unwrap();
    }
    drop(store);
    let file = dir.path().join("answers.redb");
    let sound = fs::read(&file).unwrap();
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut draw = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    let mut begun_anew = 0;
    for case in 0..80 {
        let mut octets = sound.clone();
        if case % 2 == 0 {
            (0..200).for_each(|_| octets[draw(sound.len())] ^= 1 << draw(8));
        } else {
            let at = 4096 * draw(sound.len() / 4096 - 20);
            octets[at..at + 20 * 4096].fill_with(|| draw(256) as u8);
        }
        fs::write(&file, octets).unwrap();
        let mut store = AnswerStore::open(dir.path(), MUCH).unwrap();
        // What comes back is what was stored.
        let known = all(0..4000);
        assert!(load(&mut store, &A).iter().all(|stored| known.contains(stored)), "case {case}");
        store.remove_expired(UnixTime(1500)).unwrap();
        store.append(&[run(B, 0..10)]).unwrap();
        drop(store);
        let mut store = AnswerStore::open(dir.path(), MUCH).unwrap();
        let there = load(&mut store, &B);
        assert!(there == all(0..10) || there.is_empty(), "case {case}");
        store.append(&[run(B, 10..20)]).unwrap();
        begun_anew += usize::from(fs::remove_file(dir.path().join("answers.redb.damaged")).is_ok());
    }
    assert!(begun_anew > 10, "the test damages nothing that matters");
}

#[test]
fn what_is_out_of_reach_is_an_error_with_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let _store = AnswerStore::open(dir.path(), MUCH).unwrap();
    let error = AnswerStore::open(dir.path(), MUCH).unwrap_err().to_string();
    assert!(error.contains("answers.redb") && error.contains("stop the other process"), "{error}");
    let error = AnswerStore::open(&dir.path().join("absent"), MUCH).unwrap_err().to_string();
    assert!(error.contains("absent") && error.contains("check the disk"), "{error}");
}
