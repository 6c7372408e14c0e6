mod kept;

use std::os::unix::fs::symlink;

use super::*;
use crate::{
    book::codec::key,
    pki::{Record, Status, UnixTime},
    records::Origin,
};

fn id(tenant: &str) -> IssuerId {
    IssuerId::new(tenant, [7; 32])
}

fn serial(number: u32) -> Serial {
    Serial::from_magnitude(&(number + 0x0100_0000).to_be_bytes()).unwrap()
}

fn change(number: u32, reason: Reason) -> Change {
    let status = Status::Revoked { time: UnixTime(1_700_000_000), reason };
    Change::new(serial(number), Some(Record { status, not_after: Some(UnixTime(1_900_000_000)) }))
}

fn put(book: &mut Book, issuer: &IssuerId, changes: &[Change]) {
    let identity = book.identity().unwrap();
    book.commit(&Batch { changes, verified: Some(UnixTime(5)), ..Batch::new(issuer, identity) }).unwrap();
}

const MANY: u32 = 3000;

/// The bytes of a book of two tenants; the second has four records.
fn book_of_many() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let mut book = Book::open(dir.path()).unwrap();
    put(&mut book, &id("acme"), &(0..MANY).map(|n| change(n, Reason::Superseded)).collect::<Vec<_>>());
    put(&mut book, &id("beta"), &(0..4).map(|n| change(n, Reason::Superseded)).collect::<Vec<_>>());
    drop(book);
    fs::read(dir.path().join(BOOK)).unwrap()
}

fn places(bytes: &[u8], what: &[u8]) -> Vec<usize> {
    (0..=bytes.len() - what.len()).filter(|at| bytes[*at..].starts_with(what)).collect()
}

/// Pages that contain the key of a record of `acme`.
fn pages_of(bytes: &[u8]) -> BTreeMap<usize, BTreeSet<u32>> {
    let mut pages = BTreeMap::<usize, BTreeSet<u32>>::new();
    for (page, content) in bytes.chunks(4096).enumerate() {
        let pairs = usize::from(u16::from_le_bytes([content[2], content[3]]));
        if content[0] != 1 || pairs > 81 {
            continue;
        }
        for found in content[4..4 + pairs * KEY].chunks(KEY) {
            let number = u32::from_be_bytes(std::array::from_fn(|at| found[20 + at])).wrapping_sub(0x0100_0000);
            if number < MANY && found == key(0, *serial(number).padded()) {
                pages.entry(page).or_default().insert(number);
            }
        }
    }
    pages
}

fn saved(bytes: &[u8], configured: &[IssuerId]) -> (Salvaged, [BTreeSet<Serial>; 2]) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(BOOK), bytes).unwrap();
    let salvaged = salvage(dir.path(), configured).unwrap().expect("it is damaged");
    assert!(fs::read(&salvaged.aside).unwrap() == bytes, "the damaged file was changed");
    let mut book = Book::open(dir.path()).unwrap();
    let found = [id("acme"), id("beta")].map(|issuer| {
        let mut found = BTreeSet::new();
        book.load(&issuer, |serial, record, _| {
            assert_ne!(record.status, Status::Good);
            found.insert(serial);
        })
        .unwrap();
        found
    });
    (salvaged, found)
}

#[test]
fn of_a_damaged_book_every_page_that_is_whole_is_saved() {
    let whole = book_of_many();
    let pages = pages_of(&whole);
    let leaves: Vec<_> = pages.keys().copied().collect();
    assert!(leaves.len() > 30, "{leaves:?}");
    let (first, middle, last) = (leaves[0], leaves[leaves.len() / 2], leaves[leaves.len() - 1]);
    let zero = |bytes: &mut Vec<u8>, page: usize| bytes[page * 4096..(page + 1) * 4096].fill(0);
    // A branch names its children behind 8 bytes of head; any page of this type will do.
    let branches: Vec<_> = (1..whole.len() / 4096).filter(|page| whole[page * 4096] == 2).collect();
    assert!(!branches.is_empty());
    type Damage<'a> = Box<dyn Fn(&mut Vec<u8>) + 'a>;
    let mut table: Vec<(String, Vec<usize>, Damage<'_>)> = vec![
        ("a leaf zeroed".into(), vec![middle], Box::new(|bytes| zero(bytes, middle))),
        ("the first leaf zeroed".into(), vec![first], Box::new(|bytes| zero(bytes, first))),
        ("the last leaf zeroed".into(), vec![last], Box::new(|bytes| zero(bytes, last))),
        (
            "two leaves zeroed".into(),
            vec![leaves[3], leaves[20]],
            Box::new(|bytes| {
                zero(bytes, leaves[3]);
                zero(bytes, leaves[20]);
            }),
        ),
        ("a type that is none".into(), vec![], Box::new(|bytes| bytes[middle * 4096] = 9)),
        ("a leaf called a branch".into(), vec![], Box::new(|bytes| bytes[middle * 4096] = 2)),
        ("all branches zeroed".into(), vec![], Box::new(|bytes| branches.iter().for_each(|page| zero(bytes, *page)))),
        ("the header zeroed".into(), vec![], Box::new(|bytes| zero(bytes, 0))),
        ("the page behind the last leaf cut off".into(), vec![], Box::new(|bytes| bytes.truncate((last + 1) * 4096))),
        ("the last leaf cut through".into(), vec![last], Box::new(|bytes| bytes.truncate(last * 4096 + 2000))),
        ("a page cut off".into(), vec![], Box::new(|bytes| bytes.truncate(bytes.len() - 4096))),
        ("a sector zeroed".into(), vec![middle], Box::new(|bytes| bytes[middle * 4096 + 512..][..512].fill(0))),
        ("a sector of noise".into(), vec![middle], Box::new(|bytes| bytes[middle * 4096 + 512..][..512].fill(0xa5))),
        ("a first sector of noise".into(), vec![middle], Box::new(|bytes| bytes[middle * 4096..][..512].fill(0xa5))),
    ];
    for (name, byte, bit) in [("magic number", 3, 1), ("page size", 12, 0x10), ("region", 20, 0x40)] {
        table.push((format!("a bit of the {name}"), vec![], Box::new(move |bytes| bytes[byte] ^= bit)));
    }
    for (name, destroyed, damage) in table {
        let mut bytes = whole.clone();
        damage(&mut bytes);
        let untouched = pages.iter().filter(|(page, _)| !destroyed.contains(page)).flat_map(|(_, numbers)| numbers);
        let wanted: BTreeSet<_> = untouched.map(|number| serial(*number)).collect();
        let (salvaged, [acme, _]) = saved(&bytes, &[id("acme"), id("beta")]);
        let missing = wanted.difference(&acme).count();
        assert_eq!(missing, 0, "{name}: {salvaged}");
        assert!(wanted.len() > 2800 && salvaged.entries >= wanted.len() as u64, "{name}: {salvaged}");
        // If redb is built with its own checks, it does not open such a file.
        if cfg!(not(debug_assertions)) && destroyed.len() == 1 && name.contains("leaf zeroed") {
            assert!(salvaged.to_string().contains("of at least 3004 entries"), "{name}: {salvaged}");
        }
    }
}

#[test]
fn a_bit_in_the_list_of_issuers_gives_no_record_to_somebody_else() {
    let whole = book_of_many();
    let tenant = [&[7; 32][..], b"acme"].concat();
    let fingerprint = *id("acme").fingerprint();
    for (name, what, at) in [
        ("the CA's fingerprint", &tenant[..], 22),
        ("the tenant's name", &tenant, 33),
        ("the tenant's name, which is no text then", &tenant, 35),
        ("the fingerprint of both", &fingerprint, 9),
    ] {
        let mut bytes = whole.clone();
        let found = places(&bytes, what);
        assert!(!found.is_empty(), "{name}");
        let bit = if name.contains("no text") { 0x80 } else { 1 };
        found.iter().for_each(|place| bytes[place + at] ^= bit);
        let (salvaged, [acme, beta]) = saved(&bytes, &[id("acme"), id("other")]);
        assert_eq!((acme.len(), beta.len(), salvaged.unassigned), (3000, 4, 0), "{name}: {salvaged}");
        assert_eq!(salvaged.loss(), None);

        let (salvaged, [acme, beta]) = saved(&bytes, &[]);
        assert_eq!((acme.len(), beta.len(), salvaged.unassigned), (0, 4, 3000), "{name}: {salvaged}");
        let loss = salvaged.loss().unwrap();
        assert!(loss.contains("3000 revocations") && loss.contains(&salvaged.aside.display().to_string()), "{loss}");
    }
}

#[test]
fn the_number_of_an_issuer_is_believed_where_two_places_say_so() {
    let [a, b] = [IssuerId::new("a", [1; 32]), IssuerId::new("b", [2; 32])];
    let mut evidence = Evidence {
        issuers: [(*a.fingerprint(), 1), (*b.fingerprint(), 1)].into(),
        tenants: vec![(0, a.clone()), (1, b.clone())],
    };
    assert_eq!(evidence.assign(&[]), [(1, b.clone())].into(), "a's number is spoilt");
    assert_eq!(evidence.assign(std::slice::from_ref(&a)), [(0, a.clone()), (1, b.clone())].into());
    evidence.tenants.clear();
    assert_eq!(evidence.assign(&[a.clone(), b.clone()]), [].into(), "two claim it");
    assert_eq!(evidence.assign(std::slice::from_ref(&a)), [(1, a.clone())].into());
}

/// A certificate that a source released from hold, or no longer lists, stays in older copies of a page.
#[test]
fn an_older_copy_of_a_page_puts_nobody_on_hold_again_where_the_tables_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut book = Book::open(dir.path()).unwrap();
    let hold: Vec<_> = (0..200).map(|n| change(n, Reason::CertificateHold)).collect();
    put(&mut book, &id("acme"), &hold);
    put(&mut book, &id("acme"), &[change(500, Reason::Superseded)]);
    let older = fs::read(dir.path().join(BOOK)).unwrap();
    let good = Record { status: Status::Good, not_after: None };
    put(&mut book, &id("acme"), &[Change::new(serial(0), Some(good)), Change::new(serial(1), None)]);
    drop(book);
    let mut bytes = fs::read(dir.path().join(BOOK)).unwrap();
    // redb may have reused the page; nothing else lies beyond the end.
    let stale = places(&older, &key(0, *serial(1).padded()))[0] / 4096 * 4096;
    bytes.extend_from_slice(&older[stale..stale + 4096]);
    // Only the date of one record is damaged.
    let value = crate::book::codec::encode(&change(500, Reason::Superseded).record.unwrap(), Origin::SOURCE, 2);
    let found = places(&bytes, &value);
    assert!(!found.is_empty());
    found.iter().for_each(|place| bytes[place + 8] ^= 1);
    let (salvaged, [acme, _]) = saved(&bytes, &[]);
    assert_eq!((acme.len(), salvaged.revocations), (199, 199), "{salvaged}");
    assert!(!acme.contains(&serial(0)) && !acme.contains(&serial(1)) && acme.contains(&serial(500)));

    // If the tables cannot be read, they are.
    bytes[..4096].fill(0);
    let (salvaged, [acme, _]) = saved(&bytes, &[]);
    assert!(acme.len() >= 199 && acme.contains(&serial(1)), "{salvaged}");
}

#[test]
fn of_two_copies_the_final_one_counts_and_then_the_later_one() {
    let value =
        |reason, origin, version| crate::book::codec::encode(&change(1, reason).record.unwrap(), origin, version);
    let hold = value(Reason::CertificateHold, Origin::SOURCE, 9);
    // An origin is no part of the version.
    let early = value(Reason::Superseded, Origin::PUSHED.with(Origin::SOURCE_ALLOWS), 3);
    let late = value(Reason::KeyCompromise, Origin::SOURCE, 4);
    let key = key(0, *serial(1).padded());
    for order in [[hold, early, late], [late, early, hold], [early, hold, late]] {
        let mut records = Records::default();
        order.into_iter().for_each(|value| records.take(key, value, false));
        assert_eq!(records.revoked[&key], late);
    }
    let mut records = Records::default();
    records.take(key, [&[0; 25][..], &[9]].concat().try_into().unwrap(), true);
    records.take(key, hold, false);
    assert_eq!((records.revoked.len(), records.count()), (0, 1), "the table says that it is good");
}

/// Without it, the next pass over an index that does not list them would remove what was pushed.
#[test]
fn what_was_pushed_counts_as_pushed_also_after_it_was_saved_from_a_damaged_book() {
    let pushed = Origin::PUSHED.with(Origin::PUSH_RESTRICTS).with(Origin::UNLISTED);
    let dir = tempfile::tempdir().unwrap();
    let mut book = Book::open(dir.path()).unwrap();
    let changes = (0..200).map(|n| change(n, Reason::Superseded).by(if n % 2 == 0 { pushed } else { Origin::SOURCE }));
    put(&mut book, &id("acme"), &changes.collect::<Vec<_>>());
    drop(book);
    let whole = fs::read(dir.path().join(BOOK)).unwrap();
    for (name, at) in [("the tables are read", 3 * 4096), ("only pages are", 0)] {
        let mut bytes = whole.clone();
        if at == 0 {
            bytes[..4096].fill(0);
        } else {
            let value = crate::book::codec::encode(&change(7, Reason::Superseded).record.unwrap(), Origin::SOURCE, 1);
            let place = places(&bytes, &value)[0];
            bytes[place + 17] ^= 1;
        }
        fs::write(dir.path().join(BOOK), &bytes).unwrap();
        let salvaged = salvage(dir.path(), &[id("acme")]).unwrap().unwrap();
        assert_eq!(salvaged.revocations, 200, "{name}: {salvaged}");
        let (mut book, mut wrong) = (Book::open(dir.path()).unwrap(), Vec::new());
        let load = book.load(&id("acme"), |serial, _, origin| {
            let is_even = serial.padded()[19] % 2 == 0;
            wrong.extend((is_even != (origin == pushed)).then_some(serial));
        });
        load.unwrap();
        assert_eq!(wrong, [], "{name}");
    }
}

#[test]
fn a_book_that_is_a_link_is_replaced_where_it_lies() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("real")).unwrap();
    fs::create_dir_all(at("disk")).unwrap();
    symlink("real", at("state")).unwrap();
    symlink(at("disk/the-book"), at("real").join(BOOK)).unwrap();
    let mut bytes = book_of_many();
    bytes[3] ^= 1;
    fs::write(at("disk/the-book"), &bytes).unwrap();
    let salvaged = salvage(&at("state"), &[id("acme")]).unwrap().unwrap();
    assert_eq!(salvaged.aside, fs::canonicalize(at("disk")).unwrap().join("the-book.damaged"));
    assert!(fs::symlink_metadata(at("real").join(BOOK)).unwrap().is_symlink());
    assert!(fs::symlink_metadata(at("disk/the-book")).unwrap().is_file());
    assert_eq!(fs::read_dir(at("disk")).unwrap().count(), 2, "nothing else is left there");
    assert_eq!(Book::open(&at("state")).unwrap().record_count().unwrap(), 3004);
}

#[test]
fn a_book_of_which_nothing_can_be_read_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(BOOK);
    let whole = book_of_many();
    let mut leafless = whole.clone();
    pages_of(&whole).keys().for_each(|page| leafless[page * 4096..(page + 1) * 4096].fill(0));
    for (bytes, wanted) in [
        (leafless, if cfg!(debug_assertions) { "held records" } else { "held at least 3004 records" }),
        (vec![0x55; 10_000], "held records"),
    ] {
        fs::write(&path, &bytes).unwrap();
        let refused = salvage(dir.path(), &[id("acme")]).unwrap_err().to_string();
        assert!(refused.contains(BOOK) && refused.contains(wanted), "{refused}");
        assert!(
            refused.contains("nothing was changed") && refused.contains("every revocation that only it held is lost"),
            "{refused}"
        );
        assert!(fs::read(&path).unwrap() == bytes);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

#[test]
fn a_book_that_another_process_has_is_left_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut book = Book::open(dir.path()).unwrap();
    put(&mut book, &id("acme"), &[change(1, Reason::Superseded)]);
    let error = salvage(dir.path(), &[]).unwrap_err().to_string();
    assert!(error.contains("in use by another process"), "{error}");
    drop(book);
    assert_eq!(salvage(dir.path(), &[]).unwrap(), None);
}
