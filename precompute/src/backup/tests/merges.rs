//! What becomes of a book.

use std::path::PathBuf;

use proptest::prelude::*;

use super::{
    super::{Changes, Refusal, Restore, RestoreError, Restored},
    *,
};
use crate::{
    book::Answered,
    ledger::reconcile::{FINAL, HOLD, Known, by_source, keeps, restored, strictness},
    limits,
    source::{CrlMark, CrlMarks, CrlNumber, CrlScope, ScopeMarks},
    state_dir::BOOK,
};

const PUSHED: Origin = Origin::PUSHED;
const BY_PUSH: Origin = PUSHED.with(Origin::PUSH_RESTRICTS).with(Origin::SOURCE_ALLOWS);
const BY_BOTH: Origin = PUSHED.with(Origin::PUSH_RESTRICTS);

fn run(state_dir: &Path, file: &Path) -> Result<Restored, RestoreError> {
    Restore { state_dir, file, is_dry: false }.run(&mut |_| ())
}

fn all(dir: &Path) -> Vec<Change> {
    let mut found = Vec::new();
    let mut book = Book::open(dir).unwrap();
    book.load(&issuer(1), |serial, record, origin| found.push(Change::new(serial, Some(record)).by(origin))).unwrap();
    found
}

fn files(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

type Said = Option<(Record, Origin)>;
/// What it is, in the backup, in the book, and then.
type Case = (&'static str, Said, Said, Said);

/// Of each pair that a backup and a book may have: what the book has afterwards.
#[test]
fn nothing_becomes_less_strict_than_the_book_or_the_backup_has_it() {
    let hold = || revoked(Reason::CertificateHold);
    let end = || revoked(Reason::Superseded);
    let source = Origin::SOURCE;
    let cases: &[Case] = &[
        ("revoked in the backup, unknown since", Some((end(), BY_PUSH)), None, Some((end(), BY_PUSH))),
        (
            "revoked in the backup, good in the book",
            Some((end(), BY_PUSH)),
            Some((good(), source)),
            Some((Record { ..end() }, BY_PUSH)),
        ),
        (
            "revoked in the backup, on hold in the book",
            Some((end(), source)),
            Some((hold(), BY_PUSH)),
            Some((end(), PUSHED)),
        ),
        ("good in the backup, revoked since", Some((good(), source)), Some((end(), BY_PUSH)), Some((end(), BY_PUSH))),
        ("on hold in the backup, revoked since", Some((hold(), BY_PUSH)), Some((end(), source)), Some((end(), PUSHED))),
        ("added since", None, Some((good(), PUSHED)), Some((good(), PUSHED))),
        ("revoked since, unknown to the backup", None, Some((end(), BY_PUSH)), Some((end(), BY_PUSH))),
        (
            "on hold by a push, and released since",
            Some((hold(), BY_PUSH)),
            Some((good(), source)),
            Some((hold(), BY_PUSH)),
        ),
        (
            "on hold by a source, and released since",
            Some((hold(), source)),
            Some((good(), source)),
            Some((hold(), source)),
        ),
        ("put on hold since", Some((good(), source)), Some((hold(), BY_PUSH)), Some((hold(), BY_PUSH))),
        (
            "on hold by a push there, by a source here",
            Some((hold(), BY_PUSH)),
            Some((hold(), source)),
            Some((hold(), BY_BOTH)),
        ),
        (
            "on hold by both there, by a push here",
            Some((hold(), BY_BOTH)),
            Some((hold(), BY_PUSH)),
            Some((hold(), BY_BOTH)),
        ),
        (
            "pushed there, listed here",
            Some((good(), PUSHED.with(Origin::UNLISTED))),
            Some((good(), source)),
            Some((good(), PUSHED)),
        ),
        ("removed by a source since", Some((good(), source)), None, Some((good(), source))),
        ("added by a push, and lost with the book", Some((good(), PUSHED)), None, Some((good(), PUSHED))),
        ("the same in both", Some((good(), source)), Some((good(), source)), Some((good(), source))),
    ];
    let records = |of: fn(&Case) -> Said| {
        let each = cases.iter().zip(0..).filter_map(|(case, number)| {
            of(case).map(|(record, origin)| change(number, Record { not_after: None, ..record }, origin))
        });
        each.collect::<Vec<_>>()
    };
    let (former, present, wanted) = (records(|case| case.1), records(|case| case.2), records(|case| case.3));
    let dir = tempfile::tempdir().unwrap();
    let [old, here, file] = ["old", "here", "file"].map(|name| dir.path().join(name));
    backup_to(&mut book(&old, &former), &file);
    drop(book(&here, &present));

    let dry = Restore { state_dir: &here, file: &file, is_dry: true };
    let looked = dry.run(&mut |_| ()).unwrap();
    assert_eq!(all(&here), present, "a look changes nothing");
    let merged = run(&here, &file).unwrap();
    for (found, wanted) in all(&here).into_iter().zip(&wanted) {
        let what = cases[wanted.serial.magnitude()[4] as usize].0;
        assert_eq!(found, *wanted, "{what}");
    }
    assert_eq!(all(&here).len(), wanted.len());
    assert_eq!(looked.issuers, merged.issuers, "what a look says is what is done");
    let (_, Changes { added, revoked, held, others, held_by_pushes, hashes: _ }) = &merged.issuers[0];
    assert_eq!((added.good, added.revoked, *revoked, *held, *others), (2, 1, 2, 2, 4));
    // Only a push releases them: they are listed. The second was held by a source alone.
    assert_eq!(held_by_pushes, &[serial(7), serial(10)]);
    let list = fs::read_to_string(&merged.lists[0].1).unwrap();
    assert_eq!(list, format!("serial\n{}\n{}\n", serial(7), serial(10)));
    // The former book is whole, and once more there is nothing to do.
    let kept = tempfile::tempdir().unwrap();
    fs::copy(merged.aside.unwrap(), kept.path().join(BOOK)).unwrap();
    assert_eq!(all(kept.path()), present);
    let before = files(&here);
    assert!(run(&here, &file).unwrap().is_unchanged());
    assert_eq!((all(&here), files(&here)), (wanted, before));
}

#[test]
fn an_empty_directory_gets_all_of_it_and_a_book_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let [old, here, file] = ["old", "here", "file"].map(|name| dir.path().join(name));
    // More than one frame, and more than one commit's worth of a restore.
    let changes: Vec<_> = (0..70_000)
        .map(|number| match number % 3 {
            0 => change(number, good(), PUSHED),
            1 => change(number, revoked(Reason::CertificateHold), BY_BOTH),
            _ => change(number, revoked(Reason::KeyCompromise), Origin::SOURCE),
        })
        .collect();
    let mut former = book(&old, &changes);
    let (id, other, identity) = (issuer(1), issuer(1).under("other"), former.identity().unwrap());
    let number = |number: u8| Some(CrlNumber::from_padded([number; 20]));
    let mark = |byte: u8| CrlMark { number: number(byte), this_update: THEN, digest: [byte; 32] };
    let crl_marks = CrlMarks::of_one(Some(mark(1)), Some(mark(2)), Some(CrlScope([3; 32])));
    former
        .commit(&Batch {
            crl_marks: Some(&crl_marks),
            verified: Some(THEN),
            stamps: Some(b"as it was"),
            ..Batch::new(&id, identity)
        })
        .unwrap();
    former.commit(&Batch { succeeds: std::slice::from_ref(&id), ..Batch::new(&other, identity) }).unwrap();
    backup_to(&mut former, &file);
    fs::create_dir(&here).unwrap();
    let restored = run(&here, &file).unwrap();
    assert_eq!((restored.had_book, restored.aside), (false, None));
    assert_eq!(all(&here), changes);
    let mut book = Book::open(&here).unwrap();
    let held = book.load(&id, |_, _, _| ()).unwrap();
    assert_eq!((held.crl_marks, held.verified), (crl_marks, Some(THEN)));
    assert_eq!(held.stamps, None, "the sources are read again");
    assert_ne!(held.book, identity, "it is another book, and of no place in a feed");
    assert_eq!(book.lineage().unwrap().successions(), [(id, other)]);
    assert!(!here.join("restoring").exists());
}

#[test]
fn a_file_that_is_not_whole_or_a_book_that_is_damaged_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let [old, here, file] = ["old", "here", "file"].map(|name| dir.path().join(name));
    let changes: Vec<_> = (0..5000).map(|number| change(number, revoked(Reason::Superseded), BY_PUSH)).collect();
    backup_to(&mut book(&old, &changes), &file);
    drop(book(&here, &changes[..10]));
    let (whole, before) = (fs::read(&file).unwrap(), files(&here));
    let mut flipped = whole.clone();
    flipped[whole.len() - 60] ^= 1;
    for bytes in [&whole[..whole.len() - 1], &whole[..whole.len() / 2], &flipped] {
        fs::write(&file, bytes).unwrap();
        let refused = run(&here, &file).unwrap_err();
        let told = refused.to_string();
        assert!(matches!(refused, RestoreError::File(_, Refusal::CutShort(_) | Refusal::Damaged(_))), "{told}");
        assert!(told.starts_with(file.to_str().unwrap()), "{told}");
        assert_eq!((all(&here), files(&here)), (changes[..10].to_vec(), before.clone()));
    }
    fs::write(&file, whole).unwrap();
    let path = here.join(BOOK);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(20).rposition(|window| window == serial(5).padded()).unwrap();
    bytes[at + 20] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let told = run(&here, &file).unwrap_err().to_string();
    assert!(told.contains("damaged") && told.contains("sync --accept-damaged"), "{told}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn no_older_crl_may_follow_than_either_has_taken_and_no_part_may_release_anothers_hold() {
    let mark = |number: u8| {
        let padded = std::array::from_fn(|at| if at == 19 { number } else { 0 });
        CrlMark {
            number: Some(CrlNumber::from_padded(padded)),
            this_update: UnixTime(number.into()),
            digest: [number; 32],
        }
    };
    // Each of one scope: its complete CRL. And the scopes of holds.
    let marks = |scopes: &[(u8, u8)], holds: Option<&[u8]>| {
        let scope = |scope: u8| CrlScope([scope; 32]);
        let of = scopes.iter().map(|(of, number)| ScopeMarks {
            scope: scope(*of),
            complete: Some(mark(*number)),
            delta: None,
        });
        CrlMarks::new(of, holds.map(|holds| holds.iter().map(|holds| scope(*holds)).collect()))
    };
    for (there, here, wanted) in [
        (marks(&[(1, 3)], Some(&[1])), marks(&[(1, 5)], Some(&[1])), marks(&[(1, 5)], Some(&[1]))),
        (marks(&[(1, 5)], Some(&[1])), marks(&[(1, 3)], Some(&[2])), marks(&[(1, 5)], Some(&[1, 2]))),
        (marks(&[(1, 5)], None), marks(&[], Some(&[2])), marks(&[(1, 5)], None)),
        (marks(&[], Some(&[1])), marks(&[(1, 5)], None), marks(&[(1, 5)], None)),
        (
            marks(&[(1, 5), (2, 1)], Some(&[])),
            marks(&[(2, 2), (3, 7)], Some(&[3])),
            marks(&[(1, 5), (2, 2), (3, 7)], Some(&[3])),
        ),
    ] {
        assert_eq!(there.merged(&here), wanted);
    }
}

fn known() -> impl Strategy<Value = Known> {
    let origins = (any::<bool>(), any::<bool>(), any::<bool>());
    (0u8..3, origins).prop_map(|(rank, (pushed, restricts, allows))| {
        let record = match rank {
            FINAL => revoked(Reason::KeyCompromise),
            HOLD => revoked(Reason::CertificateHold),
            _ => good(),
        };
        let mut origin = if pushed { PUSHED } else { Origin::SOURCE };
        if pushed && restricts && rank > 0 {
            origin = origin.with(Origin::PUSH_RESTRICTS);
            origin = if allows { origin.with(Origin::SOURCE_ALLOWS) } else { origin };
        }
        Known { record, origin }
    })
}

proptest! {
    #[test]
    fn what_is_restored_is_as_strict_as_both_and_once_is_enough(there in known(), here in known()) {
        let next = restored(there, Some(here));
        prop_assert!(keeps(next, there) && keeps(next, here), "{next:?}");
        prop_assert_eq!(restored(there, Some(next)), next);
        // A hold that a source alone has stated ends when the source is read and says so.
        let (after, _) = by_source(Some(next), Some(good()));
        let ends = strictness(next.record.status) == HOLD && !next.origin.has(Origin::PUSH_RESTRICTS);
        if ends {
            prop_assert_eq!(after.map(|after| after.record.status), Some(Status::Good));
        }
    }
}

/// A push that the book has answered is sent again after a restore.
#[test]
fn answers_to_requests_are_gone_after_a_restore() {
    let dir = tempfile::tempdir().unwrap();
    let [old, here, file] = ["old", "here", "file"].map(|name| dir.path().join(name));
    backup_to(&mut book(&old, &[change(1, revoked(Reason::Superseded), BY_PUSH)]), &file);
    let mut present = book(&here, &[change(1, good(), PUSHED)]);
    let (id, identity) = (issuer(1), present.identity().unwrap());
    let answered = [Answered { key: [7; 32], request: [8; 32], outcome: 3, at: THEN }];
    present.commit(&Batch { answered: &answered, ..Batch::new(&id, identity) }).unwrap();
    drop(present);
    run(&here, &file).unwrap();
    assert_eq!(Book::open(&here).unwrap().answered(&id, &[7; 32]).unwrap(), None);
}

/// As after a power cut in the middle of an earlier attempt.
#[test]
fn what_an_interrupted_attempt_left_is_in_nobodys_way() {
    let dir = tempfile::tempdir().unwrap();
    let [old, here, file] = ["old", "here", "file"].map(|name| dir.path().join(name));
    let changes = [change(1, revoked(Reason::Superseded), BY_PUSH)];
    backup_to(&mut book(&old, &changes), &file);
    let left: PathBuf = here.join("restoring");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join(BOOK), "half of a book").unwrap();
    run(&here, &file).unwrap();
    assert_eq!(all(&here), changes);
    assert!(!left.exists());
}

/// What a push has said beside its record is nowhere else.
#[test]
fn hashes_that_were_pushed_are_back_unless_the_book_has_another() {
    const COUNT: u32 = limits::BACKUP_ROWS as u32 + 9;
    let dir = tempfile::tempdir().unwrap();
    let [from, to, anew] = ["from", "to", "anew"].map(|name| dir.path().join(name));
    let (id, other) = (issuer(1), issuer(2));
    let hashed = |dir: &Path, id: &IssuerId, hashes: &[(Serial, [u8; 32])]| {
        let mut book = Book::open(dir).unwrap();
        let identity = book.identity().unwrap();
        book.commit(&Batch { hashes, ..Batch::new(id, identity) }).unwrap();
        book
    };
    let hashes: Vec<_> = (0..COUNT).map(|number| (serial(number), [number as u8; 32])).collect();
    drop(book(&from, &[change(1, good(), PUSHED)]));
    drop(hashed(&from, &other, &[(serial(7), [77; 32])]));
    let file = dir.path().join("backup");
    backup_to(&mut hashed(&from, &id, &hashes), &file);
    let all = |dir: &Path, id: &IssuerId| {
        let mut all = Vec::new();
        let mut book = Book::open(dir).unwrap();
        book.reader().unwrap().load_hashes(id, |serial, hash| all.push((serial, hash))).unwrap();
        all
    };
    let restored = run(&anew, &file).unwrap();
    assert_eq!((all(&anew, &id), all(&anew, &other)), (hashes.clone(), vec![(serial(7), [77; 32])]));
    assert!(restored.issuers[0].1.to_string().ends_with(&format!("{COUNT} hashes of pushed certificates are new")));

    drop(book(&to, &[change(1, good(), PUSHED)]));
    drop(hashed(&to, &id, &[(serial(3), [33; 32])]));
    let look = Restore { state_dir: &to, file: &file, is_dry: true }.run(&mut |_| ()).unwrap();
    assert_eq!((look.issuers[0].1.hashes, all(&to, &id).len()), (u64::from(COUNT) - 1, 1));
    run(&to, &file).unwrap();
    let mut wanted = hashes;
    wanted[3].1 = [33; 32];
    assert_eq!(all(&to, &id), wanted);
    assert!(run(&to, &file).unwrap().is_unchanged(), "all of it is there");
}
