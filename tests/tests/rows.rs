//! The table of promises names tests that exist, and leaves no row out.

use std::{collections::HashSet, fs, path::Path};

/// Names of all functions below `dir`.
fn functions(dir: &Path, names: &mut HashSet<String>) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if path.is_dir() && !hidden && entry.file_name() != "target" {
            functions(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let lines = text.lines().filter_map(|line| line.trim_start().strip_prefix("fn "));
            names.extend(lines.filter_map(|line| line.split_once('(')).map(|(name, _)| name.to_owned()));
        }
    }
}

#[test]
fn every_row_is_kept_by_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut names = HashSet::new();
    for room in ["precompute", "responder", "tests"] {
        functions(&root.join(room), &mut names);
    }
    let table = fs::read_to_string(root.join("tests/ROWS.md")).unwrap();
    let rows: Vec<Vec<&str>> =
        table.lines().filter(|line| line.starts_with("| ")).skip(1).map(|line| line.split(" | ").collect()).collect();
    let numbers: Vec<_> = rows.iter().map(|row| row[0].trim_start_matches("| ").parse::<u32>().unwrap()).collect();
    assert_eq!(numbers, (1..=28).collect::<Vec<_>>());
    for row in rows {
        let tests: Vec<_> = row[2].split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "{row:?}");
        for test in tests {
            assert!(names.contains(test), "row {}: no test is named {test}", row[0]);
        }
    }
}
