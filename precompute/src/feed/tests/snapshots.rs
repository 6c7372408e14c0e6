//! Snapshots: what goes in comes out, chunk by chunk.

use std::convert::Infallible;

use proptest::{collection::vec, prelude::*, sample::Index};

use super::*;
use crate::feed::{
    Later, Manifest, Refusal,
    body::AnswerRows,
    snapshot::{Part, SnapshotWriter, Written, each_part},
    store::{Snapshots, Walked},
    walk,
};
use crate::records::CertificateHash;

/// Chunks that are at hand.
struct AtHand(Vec<Vec<u8>>);

impl Snapshots for AtHand {
    fn here(&mut self, _: &Manifest) -> Option<usize> {
        Some(self.0.len())
    }

    fn chunk(&mut self, _: &Manifest, number: usize) -> Option<Vec<u8>> {
        self.0.get(number).cloned()
    }
}

/// What is in a snapshot.
#[derive(Clone, PartialEq, Debug, Default)]
struct Content {
    issuers: Vec<(IssuerStatus, u64)>,
    records: Vec<(Issuer, Change)>,
    hashes: Vec<(Issuer, (Serial, CertificateHash))>,
    answers: Vec<AnswerSection>,
}

fn any_content() -> impl Strategy<Value = Content> {
    let records = (any_issuer(), vec(any_change(), 0..60));
    (vec((any_issuer_status(), any::<u64>()), 0..4), vec(records, 0..4), vec(any_answers(), 0..6)).prop_map(
        |(issuers, records, answers)| {
            let of = |(issuer, changes): (Issuer, Vec<Change>)| changes.into_iter().map(move |change| (issuer, change));
            let records: Vec<_> = records.into_iter().flat_map(of).collect();
            let hash =
                |(issuer, change): &(Issuer, Change)| (*issuer, (change.serial, [change.serial.padded()[19]; 32]));
            let hashes = records.iter().step_by(3).map(hash).collect();
            Content { issuers, records, hashes, answers }
        },
    )
}

fn write(content: &Content, chunk_octets: usize) -> (Written, Vec<Vec<u8>>) {
    let mut chunks = Vec::new();
    let mut done = |chunk: &[u8]| {
        chunks.push(chunk.to_vec());
        Ok::<_, Infallible>(())
    };
    let mut writer = SnapshotWriter::with_chunks_of(chunk_octets);
    for (status, records) in &content.issuers {
        let Ok(()) = writer.issuer(status, *records, &mut done);
    }
    for (issuer, change) in &content.records {
        let Ok(()) = writer.record(*issuer, change, &mut done);
    }
    for (issuer, (serial, hash)) in &content.hashes {
        let Ok(()) = writer.hash(*issuer, (serial, hash), &mut done);
    }
    for AnswerSection { issuer, form, packed_length, entries } in &content.answers {
        let rows = AnswerRows { issuer: *issuer, form: *form, packed_length: *packed_length, entries };
        let Ok(()) = writer.answers(&rows, &mut done);
    }
    let Ok(written) = writer.finish(&mut done);
    (written, chunks)
}

fn read(chunks: &[Vec<u8>]) -> Result<Content, Refusal> {
    let mut content = Content::default();
    for chunk in chunks {
        each_part(chunk, |part| {
            match part {
                Part::Issuers(issuers) => content.issuers.extend(issuers),
                Part::Records(issuer, rows) => {
                    for change in rows {
                        content.records.push((issuer, change?));
                    }
                }
                Part::Hashes(issuer, hashes) => content.hashes.extend(hashes.into_iter().map(|hash| (issuer, hash))),
                Part::Answers(AnswerRows { issuer, form, packed_length, entries }) => {
                    content.answers.push(AnswerSection { issuer, form, packed_length, entries: entries.to_vec() });
                }
            }
            Ok(())
        })?;
    }
    Ok(content)
}

/// Sections that were divided, whole again.
fn joined(answers: Vec<AnswerSection>) -> Vec<AnswerSection> {
    let mut all: Vec<AnswerSection> = Vec::new();
    for section in answers.into_iter().filter(|section| !section.entries.is_empty()) {
        match all.last_mut() {
            Some(last) if (last.issuer, last.form) == (section.issuer, section.form) => {
                last.entries.extend(section.entries);
            }
            _ => all.push(section),
        }
    }
    all
}

fn manifest(written: &Written) -> Manifest {
    Manifest {
        position: Position { epoch: 1, sequence: 2 },
        chain: Chain([3; 32]),
        author: ServerId::from_bytes([4; 16]),
        made: 5,
        records: written.records,
        octets: written.octets,
        chunk_octets: written.chunk_octets,
        record_chunks: written.record_chunks,
        chunks: written.hashes.clone().into(),
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_chunk_by_chunk_with_all_records_first(content in any_content(), octets in 700..3000usize) {
        let (written, chunks) = write(&content, octets);
        let manifest = manifest(&written);
        let sealed = manifest.seal(&cluster(), &key());
        prop_assert_eq!(Manifest::open(&sealed, &cluster(), &trusted()), Ok(manifest.clone()));
        prop_assert_eq!(chunks.len(), manifest.chunks.len());
        let mut start = 0;
        for (number, chunk) in chunks.iter().enumerate() {
            prop_assert_eq!(manifest.place(number), Some((start, chunk.len())));
            prop_assert_eq!(manifest.check(number, chunk), Ok(()));
            start += chunk.len() as u64;
        }
        prop_assert_eq!(manifest.place(chunks.len()), None);
        let whole = read(&chunks).unwrap();
        prop_assert_eq!(&whole.issuers, &content.issuers);
        prop_assert_eq!(&whole.records, &content.records);
        prop_assert_eq!(&whole.hashes, &content.hashes);
        prop_assert_eq!(joined(whole.answers), joined(content.answers.clone()));
        let first = read(&chunks[..written.record_chunks as usize]).unwrap();
        prop_assert_eq!(first.records.len() as u64, written.records);
        prop_assert_eq!((first.records, first.hashes), (content.records, content.hashes));
    }

    #[test]
    fn who_walks_through_a_snapshot_meets_each_record_once_as_later_entries_have_it(
        content in any_content(), said in vec((any::<Index>(), any_change()), 0..9), elsewhere in vec(any_change(), 0..3),
        missing in any::<Index>(),
    ) {
        let (written, chunks) = write(&content, 900);
        let mut later = Later::new();
        for (of, change) in said {
            if !content.records.is_empty() {
                let (issuer, record) = content.records[of.index(content.records.len())];
                later.insert((issuer, record.serial), Change { serial: record.serial, ..change });
            }
        }
        later.extend(elsewhere.into_iter().map(|change| ((Issuer([9; 32]), change.serial), change)));
        let wanted: Later = content.records.iter().map(|(issuer, change)| ((*issuer, change.serial), *change)).collect();
        prop_assume!(wanted.len() == content.records.len());
        let wanted: Later = wanted.into_iter().chain(later.clone()).collect();

        let gone = missing.index(written.record_chunks as usize);
        let mut snapshots = AtHand(chunks);
        let (mut met, mut coming, mut hashes) = (Vec::new(), Vec::new(), Vec::new());
        let walked = walk(&manifest(&written), &mut snapshots, &later, |_, later| *later, &mut |walked| match walked {
            Walked::Coming(issuer, _) => coming.push(issuer),
            Walked::Records(issuer, changes) => met.extend(changes.iter().map(|change| (issuer, *change))),
            Walked::Hashes(issuer, some) => hashes.extend(some.iter().map(|hash| (issuer, *hash))),
        });
        prop_assert_eq!(walked, Ok(()));
        prop_assert_eq!(met.len(), wanted.len());
        prop_assert_eq!(met.into_iter().map(|(issuer, change)| ((issuer, change.serial), change)).collect::<Later>(), wanted);
        prop_assert_eq!(coming, content.issuers.iter().map(|(status, _)| status.issuer()).collect::<Vec<_>>());
        prop_assert_eq!(hashes, content.hashes);
        snapshots.0.truncate(gone);
        let walked = walk(&manifest(&written), &mut snapshots, &later, |_, later| *later, &mut |_| ());
        prop_assert_eq!(walked, Err(Refusal::Truncated));
    }

    #[test]
    fn a_damaged_chunk_is_refused_and_its_bytes_make_nothing_panic(
        content in any_content(), at in any::<Index>(), byte in any::<u8>(), cut in any::<Index>(),
    ) {
        let (written, mut chunks) = write(&content, 900);
        let chunk = at.index(chunks.len());
        let place = at.index(chunks[chunk].len());
        prop_assume!(chunks[chunk][place] != byte);
        chunks[chunk][place] = byte;
        prop_assert_eq!(manifest(&written).check(chunk, &chunks[chunk]), Err(Refusal::Forged));
        let _ = read(&chunks);
        let length = cut.index(chunks[chunk].len());
        prop_assert_eq!(manifest(&written).check(chunk, &chunks[chunk][..length]), Err(Refusal::Truncated));
        chunks[chunk].truncate(length);
        let _ = read(&chunks);
    }

    #[test]
    fn random_bytes_are_no_chunk_and_make_nothing_panic(bytes in vec(any::<u8>(), 0..200)) {
        let _ = read(std::slice::from_ref(&bytes));
        let _ = read(&[[&b"OSC1"[..], &bytes].concat()]);
    }
}

#[test]
fn an_empty_snapshot_is_one_short_chunk() {
    let (written, chunks) = write(&Content::default(), 4096);
    assert_eq!((chunks, written.record_chunks, written.octets), (vec![b"OSC1".to_vec()], 1, 4));
}

#[test]
fn the_bytes_of_a_chunk_are_these() {
    let change =
        Change::new(Serial::from_magnitude(&[5]).unwrap(), Some(Record { status: Status::Good, not_after: None }));
    let content = Content { records: vec![(Issuer([9; 32]), change)], ..Content::default() };
    let (_, chunks) = write(&content, 4096);
    let mut expected = b"OSC1\x02\0\0\0\x47".to_vec();
    expected.extend_from_slice(&[9; 32]);
    expected.extend_from_slice(b"\0\x21\0\0\0\x01");
    expected.extend_from_slice(&[0; 19]);
    expected.extend_from_slice(b"\x05\0\0\0\0\0\0\0\x01\0\0\0\0\0");
    assert_eq!(chunks, [expected]);
}

#[test]
fn kinds_of_a_later_version_are_passed_over_from_128_up() {
    assert_eq!(read(&[b"OSC1\x81\0\0\0\x02ab".to_vec()]), Ok(Content::default()));
    assert_eq!(read(&[b"OSC1\x04\0\0\0\0".to_vec()]), Err(Refusal::UnknownKind(4)));
    assert_eq!(read(&[b"OSC1\0\0\x01".to_vec()]), Err(Refusal::UnknownKind(0)));
    assert_eq!(read(&[b"OSC1\x81\0\0\x01\0".to_vec()]), Err(Refusal::Truncated));
    assert_eq!(read(&[b"OSC2".to_vec()]), Err(Refusal::Absurd("it is no chunk of a snapshot")));
}

/// A program that knows no hashes passes over their sections: what is left is the snapshot without them.
#[test]
fn hashes_in_a_chunk_are_passed_over_by_programs_that_know_none() {
    let changes = (1..=40u8).map(|number| {
        let record = Record { status: Status::Good, not_after: None };
        Change::new(Serial::from_magnitude(&[number]).unwrap(), Some(record))
    });
    let records: Vec<_> = changes.map(|change| (Issuer([9; 32]), change)).collect();
    let hashes = records.iter().map(|(issuer, change)| (*issuer, (change.serial, [7; 32]))).collect();
    let bare = Content { records: records.clone(), ..Content::default() };
    let (_, chunks) = write(&Content { records, hashes, ..Content::default() }, 1 << 16);
    let (_, wanted) = write(&bare, 1 << 16);
    let (mut left, mut seen) = (&chunks[0][4..], chunks[0][..4].to_vec());
    while let Some((kind, rest)) = left.split_first() {
        let (length, rest) = rest.split_first_chunk().unwrap();
        let (content, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        if *kind < 128 {
            seen.extend([&[*kind][..], length, content].concat());
        }
        left = rest;
    }
    assert_eq!((chunks.len(), [seen]), (1, [wanted[0].clone()]));
    // Cut anywhere, they are no chunk.
    let records_end = wanted[0].len();
    for cut in records_end + 1..chunks[0].len() {
        assert!(read(&[chunks[0][..cut].to_vec()]).is_err(), "cut at {cut}");
    }
}

#[test]
fn numbers_of_a_manifest_that_do_not_fit_each_other_are_absurd() {
    let (written, _) = write(&Content::default(), 4096);
    let good = manifest(&written);
    let absurd = Err(Refusal::Absurd("its numbers do not fit each other"));
    type Change = fn(&mut Manifest);
    let changes: [Change; 6] = [
        |manifest| manifest.octets = 0,
        |manifest| manifest.octets = u64::MAX,
        |manifest| manifest.chunk_octets = 0,
        |manifest| manifest.chunk_octets = u32::MAX,
        |manifest| manifest.record_chunks = 2,
        |manifest| manifest.records = u64::MAX,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut manifest = good.clone();
        change(&mut manifest);
        assert_eq!(Manifest::open(&manifest.seal(&cluster(), &key()), &cluster(), &trusted()), absurd, "{number}");
    }
}
