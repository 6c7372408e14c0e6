//! Which bytes are a backup.

use proptest::prelude::*;

use super::{
    super::{
        Contents, Counts, Refusal,
        framing::{Check, FAILED, HASHES, MAGIC, OTHER, RECORDS, VERSION},
        rows,
    },
    *,
};
use crate::source::{CrlMark, CrlMarks, CrlNumber, CrlScope};

fn read(bytes: &[u8]) -> Result<Contents, Refusal> {
    Contents::read(bytes, &mut |_| ())
}

/// A small backup with everything in it: two issuers, of which one has succeeded the other, and one without records.
fn whole() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let mut book = book(
        dir.path(),
        &[
            change(1, good(), Origin::SOURCE),
            change(2, revoked(Reason::CertificateHold), Origin::PUSHED.with(Origin::PUSH_RESTRICTS)),
            change(3, revoked(Reason::KeyCompromise), Origin::SOURCE),
        ],
    );
    let (former, other, identity) = (issuer(1), issuer(1).under("other"), book.identity().unwrap());
    let mark = CrlMark { number: Some(CrlNumber::from_padded([7; 20])), this_update: THEN, digest: [9; 32] };
    let crl_marks = CrlMarks::of_one(Some(mark), None, Some(CrlScope([5; 32])));
    let batch = Batch {
        hashes: &[(serial(4), [4; 32]), (serial(5), [5; 32])],
        crl_marks: Some(&crl_marks),
        verified: Some(THEN),
        succeeds: std::slice::from_ref(&former),
        ..Batch::new(&other, identity)
    };
    book.commit(&batch).unwrap();
    backup(&mut book).unwrap()
}

/// A frame behind `before`, with a hash that is right.
fn with_frame(before: &[u8], kind: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = before.to_vec();
    bytes.push(kind);
    bytes.extend_from_slice(&(content.len() as u32).to_be_bytes());
    bytes.extend_from_slice(content);
    let mut check = Check::new();
    check.add(&bytes);
    bytes.extend_from_slice(&check.hash());
    bytes
}

/// Where the frames of a file begin, and where it ends.
fn frames(bytes: &[u8]) -> Vec<usize> {
    let mut places = vec![MAGIC.len() + 4];
    while let Some(head) = bytes.get(places[places.len() - 1]..).filter(|rest| !rest.is_empty()) {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        places.push(places[places.len() - 1] + 5 + length + 32);
    }
    places
}

#[test]
fn a_backup_says_what_it_has_and_where_it_is_from() {
    let contents = read(&whole()).unwrap();
    let counts: Vec<_> = contents.issuers.iter().map(|of| (of.id.tenant(), of.counts)).collect();
    let of_first = Counts { good: 1, held: 1, revoked: 1, pushed: 1 };
    assert_eq!(counts, [("tenant", of_first), ("other", Counts::default())]);
    assert_eq!((contents.records, contents.head.records, contents.head.cluster.as_deref()), (3, 3, Some("cluster")));
    let told = contents.to_string();
    assert!(told.starts_with("3 records of 2 issuers, made at 20") && told.ends_with("`cluster`"), "{told}");
}

#[test]
fn a_backup_that_is_cut_at_any_byte_is_refused_with_its_length() {
    let whole = whole();
    for length in 0..whole.len() {
        let wanted = match length {
            0 => Refusal::Foreign("it is empty"),
            // What is there is right so far.
            _ => Refusal::CutShort(length as u64),
        };
        assert_eq!(read(&whole[..length]), Err(wanted), "{length} of {}", whole.len());
    }
}

#[test]
fn a_flipped_bit_anywhere_is_noticed() {
    let whole = whole();
    for at in 0..8 * whole.len() {
        let mut flipped = whole.clone();
        flipped[at / 8] ^= 1 << (at % 8);
        read(&flipped).unwrap_err();
    }
}

#[test]
fn a_frame_that_is_left_out_repeated_or_moved_is_noticed() {
    let whole = whole();
    let places = frames(&whole);
    let frame = |number: usize| &whole[places[number]..places[number + 1]];
    let count = places.len() - 1;
    for one in 0..count {
        for other in 0..count {
            let order: Vec<usize> = match one.cmp(&other) {
                // Without one, with one twice, and with two in each other's place.
                std::cmp::Ordering::Equal => (0..count).filter(|number| *number != one).collect(),
                std::cmp::Ordering::Less => (0..=one).chain(one..count).collect(),
                std::cmp::Ordering::Greater => {
                    let mut order: Vec<_> = (0..count).collect();
                    order.swap(one, other);
                    order
                }
            };
            let frames = order.iter().flat_map(|number| frame(*number));
            let changed: Vec<u8> = whole[..places[0]].iter().chain(frames).copied().collect();
            assert!(read(&changed).is_err(), "{order:?}");
        }
    }
    assert_eq!(read(&[&whole[..], &[0]].concat()), Err(Refusal::Damaged(whole.len() as u64)));
}

#[test]
fn what_is_no_backup_is_told_as_what_it_is() {
    let mut later = whole();
    later[MAGIC.len()..MAGIC.len() + 4].copy_from_slice(&7u32.to_be_bytes());
    let head_alone = whole()[..frames(&whole())[1]].to_vec();
    let failed = with_frame(&head_alone, FAILED, "the disk of the book is lost".as_bytes());
    for (bytes, wanted) in [
        (b"".to_vec(), "is no backup of a book: it is empty"),
        (b"redb\x1a\x0a and so on".to_vec(), "it is the file of a book itself"),
        (b"OSC1 and so on".to_vec(), "a snapshot of a feed"),
        (vec![0x1f, 0x8b, 8, 0], "compressed with gzip"),
        (b"version = 1".to_vec(), "it begins with other bytes; name a file that `ostia-precompute snapshot`"),
        (later, "is a backup of version 7, and this program reads version 1; use the program version that wrote it"),
        (failed, "could not be made: the disk of the book is lost"),
    ] {
        let told = read(&bytes).unwrap_err().to_string();
        assert!(told.contains(wanted), "{told}");
    }
}

/// A later version may add what an earlier one can do without, and nothing else. A right hash alone makes no sense of what
/// a frame says.
#[test]
fn frames_that_make_no_sense_are_refused_and_those_of_others_passed_over() {
    let whole = whole();
    let places = frames(&whole);
    let before_end = &whole[..places[places.len() - 2]];
    let end = 3u64.to_be_bytes();
    read(&with_frame(before_end, super::super::framing::END, &end)).unwrap();
    read(&with_frame(&with_frame(before_end, OTHER + 1, b"later"), super::super::framing::END, &end)).unwrap();
    let mut row = Vec::new();
    rows::put(&mut row, &serial(9), &good(), Origin::SOURCE);
    let begin_of_issuer = &whole[..places[2]];
    let twice = [&row[..], &row[..]].concat();
    let mut hashed = Vec::new();
    rows::put_hash(&mut hashed, &serial(9), &[9; 32]);
    let mut of_nobody = row.clone();
    of_nobody[..20].fill(0);
    let mut odd = row.clone();
    odd[20] = 7;
    let mut good_with_time = row.clone();
    good_with_time[28] = 1;
    let mut origin = row.clone();
    *origin.last_mut().unwrap() = 0x10;
    for (what, bytes) in [
        ("an unknown kind", with_frame(before_end, OTHER - 1, b"")),
        ("another number of records", with_frame(before_end, super::super::framing::END, &4u64.to_be_bytes())),
        ("records of nobody", with_frame(before_end, RECORDS, &row)),
        ("a serial twice", with_frame(begin_of_issuer, RECORDS, &twice)),
        ("a serial of 0", with_frame(begin_of_issuer, RECORDS, &of_nobody)),
        ("an unknown reason", with_frame(begin_of_issuer, RECORDS, &odd)),
        ("good since a time", with_frame(begin_of_issuer, RECORDS, &good_with_time)),
        ("an unknown origin", with_frame(begin_of_issuer, RECORDS, &origin)),
        ("half a row", with_frame(begin_of_issuer, RECORDS, &row[..20])),
        ("a hash within an issuer", with_frame(begin_of_issuer, HASHES, &hashed)),
        ("a hash of no issuer", with_frame(&whole[..places[1]], HASHES, &hashed)),
        ("half a hash", with_frame(before_end, HASHES, &hashed[..51])),
        ("a hash twice", with_frame(before_end, HASHES, &[&hashed[..], &hashed[..]].concat())),
        ("a hash of nobody", with_frame(before_end, HASHES, &[0; 52])),
        ("an issuer twice", with_frame(before_end, super::super::framing::ISSUER, &[&[1; 32][..], b"tenant"].concat())),
    ] {
        let refused = read(&bytes).unwrap_err();
        assert!(matches!(refused, Refusal::Damaged(_)), "{what}: {refused}");
    }
    let mut endless = whole[..places[1]].to_vec();
    endless.extend_from_slice(&[RECORDS, 0xff, 0xff, 0xff, 0xff]);
    assert!(matches!(read(&endless), Err(Refusal::Damaged(_))), "no memory is taken for it");
    assert_eq!(VERSION, 1, "a new version needs a reader for this one");
}

/// A version that does not know hashes takes the rest, and this one takes what that has written.
#[test]
fn hashes_are_passed_over_by_a_version_that_does_not_know_them_and_need_not_be_there() {
    let whole = whole();
    let places = frames(&whole);
    let hashes = places.iter().position(|place| whole.get(*place) == Some(&HASHES)).expect("a frame of hashes");
    for is_left_out in [false, true] {
        let mut other = whole[..places[hashes]].to_vec();
        for place in places.windows(2).skip(hashes) {
            let (kind, content) = (whole[place[0]], &whole[place[0] + 5..place[1] - 32]);
            match kind {
                HASHES if is_left_out => {}
                HASHES => other = with_frame(&other, u8::MAX, content),
                kind => other = with_frame(&other, kind, content),
            }
        }
        assert_eq!(read(&other).unwrap().issuers, read(&whole).unwrap().issuers);
    }
}

#[test]
fn a_damaged_book_gives_no_whole_backup() {
    let dir = tempfile::tempdir().unwrap();
    let changes: Vec<_> = (0..4000).map(|number| change(number, good(), Origin::SOURCE)).collect();
    drop(book(dir.path(), &changes));
    let path = dir.path().join("book.redb");
    let mut bytes = fs::read(&path).unwrap();
    // The last one stays the last.
    let wanted = serial(3999).padded().to_vec();
    let places: Vec<_> = (0..bytes.len() - 20).filter(|at| bytes[*at..*at + 20] == wanted).collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|at| bytes[at] ^= 1);
    fs::write(&path, bytes).unwrap();
    let mut book = Book::look(dir.path()).unwrap().unwrap();
    let (mut written, reader) = (Vec::new(), book.reader().unwrap());
    let taken = take(&reader, &[], None, &mut |piece| {
        written.extend_from_slice(piece);
        Ok(())
    });
    assert!(matches!(taken, Err(NotTaken::Book(_))), "{taken:?}");
    let refused = read(&written).unwrap_err();
    assert!(matches!(&refused, Refusal::Failed(why) if why.contains("damaged")), "{refused}");
}

proptest! {
    #[test]
    fn rows_are_read_as_they_were_written(
        magnitude in prop::collection::vec(any::<u8>(), 1..=20),
        reason in 0usize..=9,
        time: u64,
        end: u64,
        origin in 0u8..16,
    ) {
        let Some(serial) = Serial::from_magnitude(&magnitude) else { return Ok(()) };
        let status = Reason::ALL.get(reason).map_or(Status::Good, |reason| Status::Revoked { time: UnixTime(time), reason: *reason });
        let record = Record { status, not_after: Some(UnixTime(end)).filter(|end| end.0 != 0) };
        let mut row = Vec::new();
        rows::put(&mut row, &serial, &record, Origin::from_bits(origin));
        let read = Change::new(serial, Some(record)).by(Origin::from_bits(origin));
        prop_assert_eq!((row.len(), rows::read(&row)), (rows::ROW, Some(read)));
    }

    #[test]
    fn no_bytes_take_a_reader_down(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0u8..9) {
        let whole = whole();
        for place in frames(&whole) {
            let _ = read(&[&whole[..place], &bytes[..]].concat());
            let _ = read(&with_frame(&whole[..place], kind, &bytes));
        }
    }
}
