//! What is in the package, seen from outside.

use std::{fs, process::Command};

use ostia_tests::{bash, run};

use crate::{
    machine::{package, project},
    site::FIRST,
};

/// What a checker of Debian packages finds: errors and warnings.
#[test]
fn debians_checker_finds_nothing_wrong_with_the_package() {
    let ended = run(Command::new("lintian").arg("--allow-root").arg(package(FIRST)));
    let found: Vec<_> = ended.text.lines().filter(|line| line.starts_with(['E', 'W'])).collect();
    assert!(found.is_empty() && ended.status.success(), "{}", ended.text);
}

#[test]
fn every_crate_in_the_programs_is_named_with_its_licence_and_a_text_that_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let unpacked = run(Command::new("dpkg-deb").arg("--extract").arg(package(FIRST)).arg(dir.path()));
    assert!(unpacked.status.success(), "{}", unpacked.text);
    let licences = bash(dir.path(), "zcat usr/share/doc/ostia/LICENSES.gz");
    // Another way to the same list than the one by which it was made.
    let tree = "for program in responder precompute loadtest; do \
                cargo tree --locked --package ostia-$program --edges normal --prefix none 2>/dev/null; done";
    let mut count = 0;
    for krate in bash(&project(), tree).lines().filter(|line| !line.contains("ostia-") && !line.is_empty()) {
        let (name, version) = krate.split_once(" v").unwrap();
        let begin = format!("{name} {}: ", version.split(' ').next().unwrap());
        let line = licences.lines().find(|line| line.starts_with(&begin)).unwrap_or_else(|| panic!("no {krate}"));
        let (licence, texts) = line[begin.len()..].split_once("; text ").unwrap();
        assert!(!licence.is_empty());
        for text in texts.split(", ") {
            assert!(licences.contains(&format!("\nText {text}\n")), "{line}");
        }
        count += 1;
    }
    assert!(count > 200, "{count}");
    let copyright = fs::read_to_string(dir.path().join("usr/share/doc/ostia/copyright")).unwrap();
    assert!(copyright.contains("LICENSES.gz") && copyright.contains("License: Apache-2.0"), "{copyright}");
}
