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

/// Every test of the rooms that keep promises.
fn all_tests() -> HashSet<String> {
    let mut names = HashSet::new();
    for room in ["precompute", "responder", "tests"] {
        tests_below(&root().join(room), &mut names);
    }
    names
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn document(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// How many rows a table has: number, promise, and tests that exist. They are numbered without a gap.
fn rows_kept(table: &str, of: &str, names: &HashSet<String>) -> usize {
    let is_row = |line: &&str| line.starts_with("| ") && line.as_bytes().get(2).is_some_and(u8::is_ascii_digit);
    let rows: Vec<Vec<&str>> = table.lines().filter(is_row).map(|line| line.split(" | ").collect()).collect();
    for (row, number) in rows.iter().zip(1..) {
        assert_eq!(row[0], format!("| {number}"), "{of}");
        let tests: Vec<_> = row[2].split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "{of}: {row:?}");
        for test in tests {
            assert!(names.contains(test), "{of}, row {number}: no test is named {test}");
        }
    }
    rows.len()
}

#[test]
fn every_row_is_kept_by_tests_that_exist() {
    let names = all_tests();
    let text = document("tests/ROWS.md");
    let tables: Vec<_> = text.split("# Which test keeps which promise of ").skip(1).collect();
    let promised = [
        ("OCSP", 28),
        ("time-stamping", 20),
        ("pushes", 12),
        ("the feed", 53),
        ("the requirements", 25),
        ("the sources", 21),
        ("the control plane", 16),
        ("caches", 10),
        ("edges and upstreams", 11),
        ("transparency", 8),
    ];
    assert_eq!(tables.len(), promised.len());
    for (table, (of, count)) in tables.into_iter().zip(promised) {
        assert_eq!(table.lines().next(), Some(of));
        assert_eq!(rows_kept(table, of, &names), count, "{of}");
    }
}

#[test]
fn every_invariant_is_kept_by_tests_that_exist() {
    let text = document("README.md");
    let table = text.split("| | invariant | kept by |\n").nth(1).expect("README.md has the table of invariants");
    let table = table.split("\n\n").next().unwrap();
    assert_eq!(rows_kept(table, "invariants", &all_tests()), 19);
}
