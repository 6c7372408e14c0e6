use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::{
    book::{Batch, Book, Contradicted, Joint, Move, Place, Told},
    issuer_id::IssuerId,
    pki::{Reason, Record, Serial, Status, UnixTime},
    records::Change,
    state_dir::BOOK,
};

fn serial(number: u8) -> Serial {
    Serial::from_magnitude(&[number + 1]).unwrap()
}

fn record(kind: u8) -> Option<Record> {
    let status = match kind {
        0 => return None,
        1 => Status::Good,
        _ => Status::Revoked { time: UnixTime(kind.into()), reason: Reason::KeyCompromise },
    };
    Some(Record { status, not_after: None })
}

/// Something that happens to a book.
#[derive(Clone, Debug)]
enum Step {
    /// A change that others have to be told.
    Owed(u8, u8),
    /// One that they told.
    Told(u8, u8),
    /// A final revocation that they contradict with this.
    Contradicted(u8, u8),
    /// So many rows are told.
    Tell(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..8_u8, 0..4_u8).prop_map(|(number, kind)| Step::Owed(number, kind)),
        (0..8_u8, 0..4_u8).prop_map(|(number, kind)| Step::Told(number, kind)),
        (0..8_u8, 0..2_u8).prop_map(|(number, kind)| Step::Contradicted(number, kind)),
        (1..4_usize).prop_map(Step::Tell),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_given_is_what_others_were_told_last(steps in proptest::collection::vec(any_step(), 0..24)) {
        let dir = tempfile::tempdir().unwrap();
        let (mut book, ids) = (Book::open(dir.path()).unwrap(), ["a", "b"].map(|tenant| IssuerId::new(tenant, [1; 32])));
        let identity = book.identity().unwrap();
        // What they were told, by issuer.
        let mut told = [BTreeMap::new(), BTreeMap::new()];
        for (number, step) in steps.iter().enumerate() {
            let of = number % 2;
            let id = &ids[of];
            match *step {
                Step::Owed(number, kind) => {
                    let changes = [Change::new(serial(number), record(kind))];
                    book.commit(&Batch { changes: &changes, owed: true, ..Batch::new(id, identity) }).unwrap();
                }
                Step::Told(number, kind) => {
                    let changes = [Change::new(serial(number), record(kind))];
                    let batch = Batch { changes: &changes, is_told: true, ..Batch::new(id, identity) };
                    book.commit_all(&Joint { batches: &[batch], place: None }).unwrap();
                    told[of].insert(serial(number), changes[0]);
                }
                Step::Contradicted(number, kind) => {
                    let (present, said) = (Change::new(serial(number), record(3)), Change::new(serial(number), record(kind)));
                    let contradicted = [Contradicted { present, said }];
                    let changes = [present];
                    let batch = Batch { changes: &changes, contradicted: &contradicted, ..Batch::new(id, identity) };
                    book.commit_all(&Joint { batches: &[batch], place: None }).unwrap();
                    told[of].insert(serial(number), said);
                }
                Step::Tell(most) => {
                    let rows: Vec<Told> = book.owed(most).unwrap();
                    let from = book.place().unwrap();
                    let to = Some(Place { epoch: 1, sequence: number as u64, chain: [0; 32] });
                    book.told(Some(Move { from, to }), &rows).unwrap();
                    for row in rows {
                        let of = ids.iter().position(|id| *id.fingerprint() == row.issuer).unwrap();
                        told[of].insert(row.change.serial, row.change);
                    }
                }
            }
        }
        let place = book.place().unwrap();
        let reader = book.reader().unwrap();
        prop_assert_eq!(reader.place().unwrap(), place);
        for (id, told) in ids.iter().zip(&told) {
            let mut given = Vec::new();
            let is_whole = reader.each_told(id, |change| { given.push(change); true }).unwrap();
            prop_assert!(is_whole);
            let listed: Vec<Change> = told.values().filter(|change| change.record.is_some()).copied().collect();
            prop_assert_eq!(&given, &listed);
            let mut first = Vec::new();
            let whole = reader.each_told(id, |change| { first.push(change); false }).unwrap();
            prop_assert_eq!((whole, &first[..]), (listed.is_empty(), &listed[..listed.len().min(1)]));
        }
    }
}

/// What damage makes good would be good everywhere, under a signature.
#[test]
fn no_flipped_bit_of_a_record_or_of_what_was_told_is_given_without_a_word() {
    let dir = tempfile::tempdir().unwrap();
    let id = IssuerId::new("a", [1; 32]);
    let mut book = Book::open(dir.path()).unwrap();
    let identity = book.identity().unwrap();
    let told = [Change::new(serial(1), record(2)), Change::new(serial(2), record(3))];
    book.commit(&Batch { changes: &told, is_told: true, ..Batch::new(&id, identity) }).unwrap();
    let owed = [Change::new(serial(2), record(5))];
    book.commit(&Batch { changes: &owed, owed: true, ..Batch::new(&id, identity) }).unwrap();
    drop(book);
    let bytes = std::fs::read(dir.path().join(BOOK)).unwrap();
    // Times of revocation: of the record that was told, and of what was told of the other one.
    for kind in [2_u8, 3] {
        let status = [&[1, Reason::KeyCompromise.code()][..], &u64::from(kind).to_be_bytes()].concat();
        let found: Vec<_> = (0..bytes.len() - status.len()).filter(|at| bytes[*at..].starts_with(&status)).collect();
        assert!(!found.is_empty());
        let mut flipped = bytes.clone();
        found.iter().for_each(|at| flipped[*at] ^= 1);
        let damaged = tempfile::tempdir().unwrap();
        std::fs::write(damaged.path().join(BOOK), flipped).unwrap();
        let mut book = Book::open(damaged.path()).unwrap();
        let reader = book.reader().unwrap();
        let error = reader.each_told(&id, |_| true).unwrap_err();
        assert!(error.is_damage(), "{error}");
    }
}
