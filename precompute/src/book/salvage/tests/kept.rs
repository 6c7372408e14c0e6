//! What is kept of issuers that are in order, and never becomes good of those that are not.

use super::*;
use crate::{
    book::{Answered, Held, codec::encode},
    source::{CrlMark, CrlMarks},
};

const PUSHED: Origin = Origin::PUSHED.with(Origin::UNLISTED);

fn good(number: u32, origin: Origin) -> Change {
    let not_after = number.is_multiple_of(2).then_some(UnixTime(1_900_000_000));
    Change::new(serial(number), Some(Record { status: Status::Good, not_after })).by(origin)
}

/// Good and revoked, from a source and pushed.
fn mixed(range: std::ops::Range<u32>) -> Vec<Change> {
    let one = |number| match number % 5 {
        0 => good(number, Origin::SOURCE),
        1 => good(number, PUSHED),
        2 => change(number, Reason::CertificateHold).by(PUSHED.with(Origin::PUSH_RESTRICTS)),
        3 => change(number, Reason::KeyCompromise).by(PUSHED.with(Origin::PUSH_RESTRICTS)),
        _ => change(number, Reason::Superseded),
    };
    range.map(one).collect()
}

fn all(book: &mut Book, issuer: &IssuerId) -> (Held, Vec<Change>) {
    let mut found = Vec::new();
    let held = book.load(issuer, |serial, record, origin| {
        found.push(Change::new(serial, Some(record)).by(origin));
    });
    (held.unwrap(), found)
}

fn answer(key: u8) -> Answered {
    Answered { key: [key; 32], request: [7; 32], outcome: 1, at: UnixTime(1_700_000_000) }
}

/// The bytes of a book of `acme`, `beta` and `gamma`, which has succeeded `beta`.
fn book_of_three() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let mut book = Book::open(dir.path()).unwrap();
    put(&mut book, &id("acme"), &mixed(0..100));
    let (beta, identity) = (id("beta"), book.identity().unwrap());
    let complete = Some(CrlMark { number: None, this_update: UnixTime(7), digest: [3; 32] });
    book.commit(&Batch {
        changes: &mixed(0..100),
        crl_marks: Some(&CrlMarks::of_one(complete, None, None)),
        verified: Some(UnixTime(5)),
        answered: &[answer(2), answer(1)],
        stamps: Some(&[9; 9]),
        ..Batch::new(&beta, identity)
    })
    .unwrap();
    put(&mut book, &id("gamma"), &mixed(0..3));
    book.commit(&Batch { succeeds: &[beta], ..Batch::new(&id("gamma"), identity) }).unwrap();
    // As it was before stays in pages that are not used any more.
    put(&mut book, &id("acme"), &[good(4, Origin::SOURCE), change(6, Reason::KeyCompromise).by(PUSHED)]);
    drop(book);
    fs::read(dir.path().join(BOOK)).unwrap()
}

fn salvage_of(bytes: &[u8]) -> (tempfile::TempDir, Result<Option<Salvaged>, StateError>) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(BOOK), bytes).unwrap();
    let salvaged = salvage(dir.path(), &["acme", "beta", "gamma"].map(id));
    (dir, salvaged)
}

/// A push alone had made them known: an issuer without files answered `unauthorized` for all of them.
#[test]
fn an_issuer_that_is_in_order_is_copied_as_it_is_from_a_damaged_book() {
    let whole = book_of_three();
    let wanted = {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(BOOK), &whole).unwrap();
        let mut book = Book::open(dir.path()).unwrap();
        ["acme", "beta", "gamma"].map(|tenant| all(&mut book, &id(tenant)))
    };
    let mut bytes = whole;
    // The time of one revocation of `acme`.
    let value = encode(&change(6, Reason::KeyCompromise).record.unwrap(), PUSHED, 5);
    let found = places(&bytes, &value);
    assert!(!found.is_empty());
    found.iter().for_each(|place| bytes[place + 9] ^= 1);
    let (dir, salvaged) = salvage_of(&bytes);
    let salvaged = salvaged.unwrap().unwrap();
    let mut book = Book::open(dir.path()).unwrap();
    for (tenant, (was, records)) in [("beta", &wanted[1]), ("gamma", &wanted[2])] {
        let (held, found) = all(&mut book, &id(tenant));
        assert_eq!(&found, records, "{tenant}");
        assert_eq!(
            (held.known, held.crl_marks, held.verified),
            (true, was.crl_marks.clone(), was.verified),
            "{tenant}"
        );
        assert_eq!(held.stamps, None, "{tenant}: its sources are read again");
    }
    assert_eq!([1, 2].map(|key| book.answered(&id("beta"), &[key; 32]).unwrap()), [1, 2].map(|key| Some(answer(key))));
    assert_eq!(book.lineage().unwrap().predecessors(&id("beta")), [id("gamma"), id("acme")]);
    assert!(!book.lineage().unwrap().stood_beside(&id("gamma"), &id("beta")), "it has succeeded it");
    assert_eq!(book.lineage().unwrap().predecessors(&id("delta")), [id("gamma"), id("acme")]);
    let (held, found) = all(&mut book, &id("acme"));
    assert!(found.iter().all(|change| change.record.unwrap().status != Status::Good));
    assert_eq!((held.crl_marks, held.verified), (CrlMarks::default(), None));
    let revoked = |change: &&Change| change.record.unwrap().status != Status::Good;
    assert_eq!(found.len(), wanted[0].1.iter().filter(revoked).count(), "those that can be read");

    let of = |tenant: &str| salvaged.issuers.iter().find(|of| of.issuer == id(tenant)).unwrap();
    let (acme, beta) = (of("acme"), of("beta"));
    assert_eq!((beta.is_whole, beta.good, beta.revoked, beta.withheld, &beta.list), (true, 40, 60, 0, &None));
    assert_eq!((acme.is_whole, acme.good, acme.revoked as usize), (false, 0, found.len()));
    assert!(
        beta.to_string().contains("tenant `beta`") && beta.to_string().contains("40 good and 60 revoked"),
        "{beta}"
    );
    assert_eq!(salvaged.revocations, found.len() + 60 + 1, "{salvaged}");
    assert_eq!((salvaged.entries, salvaged.at_least), (203, Some(203)), "{salvaged}");
}

/// Its revocation may be what was lost.
#[test]
fn who_was_pushed_as_good_to_a_damaged_issuer_is_not_good_again_but_listed_for_who_can_tell() {
    for damage in ["a value", "the header"] {
        let mut bytes = book_of_three();
        if damage == "a value" {
            let value = encode(&change(6, Reason::KeyCompromise).record.unwrap(), PUSHED, 5);
            places(&bytes, &value).iter().for_each(|place| bytes[place + 9] ^= 1);
        } else {
            bytes[..4096].fill(0);
        }
        let (dir, salvaged) = salvage_of(&bytes);
        let salvaged = salvaged.unwrap().unwrap();
        let acme = salvaged.issuers.iter().find(|of| of.issuer == id("acme")).unwrap();
        assert_eq!((acme.is_whole, acme.withheld), (false, 19), "{damage}: 6 is revoked");
        let list = acme.list.as_ref().unwrap();
        let text = fs::read_to_string(list).unwrap();
        let wanted = |number: u32| match number % 2 {
            0 => format!("{},1900000000\n", serial(number)),
            _ => format!("{},\n", serial(number)),
        };
        let lines = (0..100).filter(|number| number % 5 == 1 && *number != 6).map(wanted);
        assert_eq!(text, format!("serial,not_after\n{}", lines.collect::<String>()), "{damage}");
        let said = acme.to_string();
        for part in
            ["19 certificates", &list.display().to_string(), &format!("--issuer {}", id("acme")), "add --config"]
        {
            assert!(said.contains(part), "{damage}: {said} lacks {part}");
        }
        assert!(list.starts_with(fs::canonicalize(dir.path()).unwrap()), "beside what was put aside");
        let mut book = Book::open(dir.path()).unwrap();
        assert!(all(&mut book, &id("acme")).1.iter().all(|change| change.record.unwrap().status != Status::Good));
    }
}

/// Whatever is damaged or missing: nothing panics, and nobody is good who was not.
#[test]
fn no_damage_makes_anybody_good_who_was_not_and_none_panics() {
    let whole = book_of_three();
    let tenants = ["acme", "beta", "gamma"];
    let (dir, _) = salvage_of(&whole);
    let mut book = Book::open(dir.path()).unwrap();
    let wanted = tenants.map(|tenant| all(&mut book, &id(tenant)).1);
    drop(book);
    let used: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
    let flips = used.iter().step_by(used.len() / 120).map(|at| {
        (format!("a bit of byte {at}"), {
            let mut bytes = whole.clone();
            bytes[*at] ^= 1 << (at % 8);
            bytes
        })
    });
    let last = used[used.len() - 1];
    let cuts = (0..40).map(|part| last * part / 40 + part).map(|at| (format!("cut at {at}"), whole[..at].to_vec()));
    let (mut mended, mut in_order, mut refused) = (0, 0, 0);
    for (name, bytes) in flips.chain(cuts) {
        let (dir, salvaged) = salvage_of(&bytes);
        match salvaged {
            Ok(Some(_)) => mended += 1,
            Ok(None) => in_order += 1,
            Err(error) => {
                assert!(error.to_string().contains("nothing was changed"), "{name}: {error}");
                assert!(fs::read(dir.path().join(BOOK)).unwrap() == bytes, "{name}");
                refused += 1;
                continue;
            }
        }
        let mut book = Book::open(dir.path()).unwrap();
        for (tenant, wanted) in tenants.iter().zip(&wanted) {
            for found in all(&mut book, &id(tenant)).1 {
                let is_good = found.record.unwrap().status == Status::Good;
                assert!(!is_good || wanted.contains(&found), "{name}: {tenant} has {found:?}");
            }
        }
    }
    assert!(mended > 20 && refused > 0, "{mended} mended, {in_order} in order, {refused} refused");
}
