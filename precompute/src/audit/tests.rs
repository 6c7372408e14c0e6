//! Journals that the writer has made, tampered with in every way, and what is said of them.

mod crashes;
mod exports;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use proptest::prelude::*;

use super::*;
use crate::journal::{
    self, Identity, Journal, Options,
    tests::{KIND, Numbered, identity},
};

fn begin(identity: &Identity, options: Options) -> (Journal, Vec<journal::Recorder<Numbered>>) {
    journal::start(identity, KIND, options, 1).unwrap()
}

/// The lines of a small journal: a first line, entries of tenants, heads; from two starts.
fn lines() -> Vec<String> {
    static LINES: LazyLock<Vec<String>> = LazyLock::new(write_lines);
    LINES.clone()
}

fn write_lines() -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("j");
    for run in 0..2 {
        let (journal, recorders) = begin(&identity(1), Options::new(path.clone()));
        for number in 0..3 {
            assert!(recorders[0].record(Numbered(["a", "b"][number % 2], run * 3 + number as u32)));
        }
        journal.finish();
    }
    fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect()
}

/// What is said of files with these lines.
fn judged(dir: &Path, files: &[Vec<String>]) -> Report {
    let text = files.iter().map(|lines| lines.iter().map(|line| format!("{line}\n")).collect::<String>().into_bytes());
    judged_bytes(dir, &text.collect::<Vec<_>>(), None)
}

fn judged_bytes(dir: &Path, files: &[Vec<u8>], key: Option<Key>) -> Report {
    let paths: Vec<PathBuf> = (0..files.len()).map(|number| dir.join(number.to_string())).collect();
    for (path, bytes) in paths.iter().zip(files) {
        fs::write(path, bytes).unwrap();
    }
    verify(&paths, key).unwrap()
}

#[track_caller]
fn first_fault(report: &Report) -> (String, u64) {
    let Some(Finding { place, .. }) = report.faults.first() else { panic!("nothing was found: {report:?}") };
    (place.file.file_name().unwrap().to_str().unwrap().to_owned(), place.line)
}

#[test]
fn a_journal_as_it_was_written_is_in_order_and_told_with_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let lines = lines();
    // First line, three entries, head; three entries, head.
    assert_eq!(lines.len(), 9);
    let report = judged(dir.path(), &[lines]);
    assert!(report.is_in_order() && report.notes.is_empty(), "{report}");
    let Report { journal, numbers, heads, behind_head, keys, .. } = &report;
    assert_eq!((journal.as_str(), *numbers, *heads, *behind_head), ("tests", Some((1, 9)), 2, 0));
    assert_eq!(keys[..], [identity(1).key.public()]);
    assert_eq!(report.server, identity(1).server.to_string());
    let told = report.to_string();
    assert!(told.starts_with("in order: journal `tests` of server 01010101-"), "{told}");
}

#[test]
fn a_changed_byte_is_found_at_its_line_wherever_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let lines = lines();
    let bytes: Vec<u8> = lines.iter().map(|line| format!("{line}\n")).collect::<String>().into_bytes();
    let mut line = 1;
    // The last line feed: see the test of ends.
    for at in 0..bytes.len() - 1 {
        for change in [bytes[at] ^ 1, b'\n', b'0', b'"'] {
            if change == bytes[at] {
                continue;
            }
            let mut changed = bytes.clone();
            changed[at] = change;
            let report = judged_bytes(dir.path(), &[changed], None);
            // The last head that is none any more: as if the end had been cut off, and told like that.
            if report.is_in_order() && (line == 9 || line == 8 && bytes[at] == b'\n') {
                assert!(
                    report.heads == 1 && report.behind_head >= 3,
                    "byte {at} of line {line} by {change:?}: {report}"
                );
                continue;
            }
            let found = first_fault(&report).1;
            // Two lines that became one: the number of the second is missing.
            let most = line + u64::from(bytes[at] == b'\n');
            assert!((line..=most).contains(&found), "byte {at} of line {line} by {change:?}: {report}");
        }
        line += u64::from(bytes[at] == b'\n');
    }
}

#[test]
fn a_line_that_is_removed_inserted_or_swapped_is_found_at_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let lines = lines();
    let last = lines.len() - 1;
    for at in 0..last {
        let mut removed = lines.clone();
        removed.remove(at);
        let report = judged(dir.path(), &[removed]);
        assert_eq!(first_fault(&report).1, at as u64 + 1, "removed {at}: {report}");
        assert!(at == 0 || report.faults[0].what.contains(&format!("number {} is missing", at + 1)), "{report}");

        let mut swapped = lines.clone();
        swapped.swap(at, at + 1);
        let report = judged(dir.path(), &[swapped]);
        assert_eq!(first_fault(&report).1, at as u64 + 1, "swapped {at}: {report}");
    }
    for at in 1..=last {
        for other in 0..=last {
            let mut inserted = lines.clone();
            inserted.insert(at, lines[other].clone());
            let report = judged(dir.path(), &[inserted]);
            // A line behind itself may be either of the two.
            let most = at as u64 + 1 + u64::from(at == other);
            assert!((at as u64 + 1..=most).contains(&first_fault(&report).1), "{other} inserted at {at}: {report}");
        }
    }
    let mut several = lines.clone();
    several.drain(2..5);
    let report = judged(dir.path(), &[several]);
    assert!(report.faults[0].what.contains("line numbers 3 to 5 are missing"), "{report}");
}

#[test]
fn an_end_that_is_cut_off_is_told_as_what_nothing_vouches_for() {
    let dir = tempfile::tempdir().unwrap();
    let lines = lines();
    let bytes: Vec<u8> = lines.iter().map(|line| format!("{line}\n")).collect::<String>().into_bytes();
    let ends: Vec<usize> = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
    for length in 1..bytes.len() {
        let report = judged_bytes(dir.path(), &[bytes[..length].to_vec()], None);
        assert!(report.is_in_order(), "{length}: {report}");
        let whole = ends.iter().filter(|end| **end <= length).count() as u64;
        assert_eq!(report.lines, whole, "{length}");
        let behind = if whole >= 5 { whole - 5 } else { whole };
        assert_eq!((report.behind_head, report.heads), (behind, u64::from(whole >= 5)), "{length}");
        assert_eq!(report.notes.len(), usize::from(!ends.contains(&length)), "{length}: {report}");
    }
}

/// The files of a journal that was rotated, in order.
fn rotated(name: u8) -> (tempfile::TempDir, Vec<PathBuf>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("j");
    let (journal, recorders) = begin(&identity(name), Options { rotate_octets: 20_000, ..Options::new(path) });
    for number in 0..4000 {
        assert!(recorders[0].record(Numbered("a", number)));
    }
    assert!(journal.finish().rotations >= 2);
    let files = find(&[dir.path().to_owned()]).unwrap().0.remove(0).files;
    (dir, files)
}

#[test]
fn files_are_one_journal_and_a_missing_or_exchanged_one_is_found() {
    let (_dir, files) = rotated(1);
    let report = verify(&files, Some(identity(1).key.public())).unwrap();
    assert!(report.is_in_order() && report.heads >= 3, "{report}");
    assert!(files.last().unwrap().ends_with("j"));
    // Nothing but one file: what was before is told.
    let alone = verify(&files[1..2], None).unwrap();
    assert!(alone.is_in_order() && alone.notes[0].what.contains("are not here"), "{alone}");
    for missing in 1..files.len() - 1 {
        let mut left = files.clone();
        left.remove(missing);
        let report = verify(&left, None).unwrap();
        assert!(report.faults[0].what.contains("a file is missing"), "{report}");
        assert_eq!(first_fault(&report), (left[missing].file_name().unwrap().to_str().unwrap().to_owned(), 1));
    }
    let mut swapped = files.clone();
    swapped.swap(0, 1);
    assert!(!verify(&swapped, None).unwrap().is_in_order());
    // The end of a file that another one follows was cut off.
    let text = fs::read_to_string(&files[0]).unwrap();
    let cut: String = text.lines().take(text.lines().count() - 1).map(|line| format!("{line}\n")).collect();
    fs::write(&files[0], cut).unwrap();
    let report = verify(&files, None).unwrap();
    assert!(first_fault(&report).1 == 1 && report.faults[0].what.contains("is missing"), "{report}");
}

#[test]
fn files_of_two_servers_are_told_with_both_and_so_is_a_key_that_does_not_count() {
    let ((dir, of_one), (_other, of_two)) = (rotated(1), rotated(2));
    let report = verify(&[&of_one[..1], &of_two[1..]].concat(), None).unwrap();
    let told = &report.faults[0].what;
    assert!([1, 2].iter().all(|name| told.contains(&identity(*name).server.to_string())), "{told}");
    let report = verify(&of_one, Some(identity(2).key.public())).unwrap();
    assert_eq!((first_fault(&report).1, report.faults[0].what.contains("another key")), (1, true), "{report}");
    // In a directory each is a journal of its own.
    fs::copy(&of_two[0], dir.path().join("stranger")).unwrap();
    fs::write(dir.path().join("notes.txt"), "no journal").unwrap();
    let (groups, others) = find(&[dir.path().to_owned()]).unwrap();
    assert_eq!(groups.len(), 2);
    assert_eq!(groups.iter().map(|group| group.files.len()).collect::<Vec<_>>(), [of_one.len(), 1]);
    assert!(others.is_empty());
    assert_eq!(find(&[dir.path().join("notes.txt")]).unwrap().1.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn whatever_is_done_to_lines_before_the_last_head_is_found(
        places in proptest::collection::vec((0usize..8, 0usize..8), 1..4),
        kind in 0..3,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let lines = lines();
        let mut changed = lines.clone();
        for (from, to) in places {
            let (from, to) = (from.min(changed.len() - 2), to.min(changed.len() - 2));
            match kind {
                0 => changed.swap(from, to),
                1 => { changed.remove(from); }
                _ => { let line = changed[from].clone(); changed.insert(to, line); }
            }
        }
        let report = judged(dir.path(), &[changed.clone()]);
        prop_assert_eq!(report.is_in_order(), changed == lines || changed.len() == 1, "{}", report);
    }
}
