//! The tables of promises name tests that exist, and leave no row out.

use std::{collections::HashSet, fs, path::Path};

/// Names of all tests below `dir`.
fn tests_below(dir: &Path, names: &mut HashSet<String>) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if path.is_dir() && !hidden && entry.file_name() != "target" {
            tests_below(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(tests_of(&fs::read_to_string(&path).unwrap()));
        }
    }
}

/// Names of the functions that are marked as tests, in macros such as `proptest!` too; what merely has the name of a
/// test keeps no promise, nor does one that is not run.
fn tests_of(text: &str) -> Vec<String> {
    let (mut names, mut marks) = (Vec::new(), Vec::new());
    for line in text.lines().map(str::trim_start) {
        if line.starts_with("#[") {
            marks.push(line);
        } else if !line.starts_with("//") {
            let name = line.strip_prefix("fn ").and_then(|rest| rest.split_once('('));
            let is_run = marks.contains(&"#[test]") && !marks.iter().any(|mark| mark.starts_with("#[ignore"));
            names.extend(name.filter(|_| is_run).map(|(name, _)| name.to_owned()));
            marks.clear();
        }
    }
    names
}

#[test]
fn only_what_is_run_as_a_test_counts() {
    let text = "#[test]\nfn a() {}\nfn b() {}\n#[test]\n#[should_panic]\n// why\nfn c(\n#[test]\n#[ignore = \"slow\"]\nfn d() {}\n\
                proptest! {\n    #[test]\n    fn e(x in 0..9) {}\n    fn f() {}\n}\n#[cfg(test)]\nfn g() {}\n";
    assert_eq!(tests_of(text), ["a", "c", "e"]);
}

#[test]
fn every_row_is_kept_by_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut names = HashSet::new();
    for room in ["precompute", "responder", "tests"] {
        tests_below(&root.join(room), &mut names);
    }
    let text = fs::read_to_string(root.join("tests/ROWS.md")).unwrap();
    let tables: Vec<_> = text.split("# Which test keeps which promise of ").skip(1).collect();
    let promised = [("OCSP", 28), ("time-stamping", 20)];
    assert_eq!(tables.len(), promised.len());
    for (table, (of, count)) in tables.into_iter().zip(promised) {
        assert_eq!(table.lines().next(), Some(of));
        let rows: Vec<Vec<&str>> = table
            .lines()
            .filter(|line| line.starts_with("| "))
            .skip(1)
            .map(|line| line.split(" | ").collect())
            .collect();
        let numbers: Vec<_> = rows.iter().map(|row| row[0].trim_start_matches("| ").parse::<u32>().unwrap()).collect();
        assert_eq!(numbers, (1..=count).collect::<Vec<_>>(), "{of}");
        for row in rows {
            let tests: Vec<_> = row[2].split('`').skip(1).step_by(2).collect();
            assert!(!tests.is_empty(), "{of}: {row:?}");
            for test in tests {
                assert!(names.contains(test), "{of}, row {}: no test is named {test}", row[0]);
            }
        }
    }
}
