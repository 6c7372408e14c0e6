//! What goes over the wire, and what else might.

use proptest::prelude::*;

use super::*;

fn position() -> impl Strategy<Value = Position> {
    (any::<u64>(), any::<u64>()).prop_map(|(epoch, sequence)| Position { epoch, sequence })
}

fn answer() -> impl Strategy<Value = Answer> {
    let info = prop::option::of((position(), any::<u64>()).prop_map(|(last, length)| Info { last, length }));
    let entry = (position(), prop::collection::vec(any::<u8>(), 0..40));
    let entry = entry.prop_map(|(position, bytes)| Raw { position, bytes: bytes.into() });
    (any::<u64>(), info, prop::collection::vec(entry, 0..6)).prop_map(|(connection, info, entries)| Answer {
        connection,
        info,
        entries,
    })
}

proptest! {
    #[test]
    fn an_answer_reads_back_as_it_was_written_and_is_none_where_it_is_cut(answer in answer()) {
        let bytes = answer.write();
        prop_assert_eq!(Answer::read(&bytes), Some(answer.clone()));
        for length in 0..bytes.len() {
            // Between two entries it is a shorter answer, and nothing else.
            if let Some(shorter) = Answer::read(&bytes[..length]) {
                prop_assert!(answer.entries.starts_with(&shorter.entries) && shorter.entries.len() < answer.entries.len());
            }
        }
    }

    #[test]
    fn no_bytes_make_the_reader_of_a_poll_fall(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Answer::read(&bytes);
        let _ = Answer::read(&[&MAGIC[..], &bytes].concat());
    }
}
