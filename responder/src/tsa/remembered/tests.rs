//! Notes of other sources, damaged ones, and those that cannot be written.

use std::fs;

use super::*;
use crate::tsa::clock::{Discipline, Leap, Moment};

fn known() -> History {
    let mut history = History::default();
    for second in [1, 2] {
        let now =
            Moment { monotonic: second * 1_000_000_000, wall: 1_800_000_000_000_000_000 + second * 1_000_000_000 };
        let measurement = Some(now.wall.cast_unsigned());
        let said = Discipline { synchronised: true, offset: 0, uncertainty: 0, leap: Leap::None, measurement };
        assert!(history.answer(&said, now.monotonic, now));
    }
    history
}

#[test]
fn a_start_finds_what_was_noted_of_its_own_source() {
    let dir = tempfile::tempdir().unwrap();
    let (remembered, history) = Remembered::open(dir.path(), ClockSource::CHRONY);
    assert_eq!(history, History::default());
    remembered.note(&history).unwrap();
    assert!(!dir.path().join(FILE).exists(), "nothing is known");
    remembered.note(&known()).unwrap();
    let (_, history) = Remembered::open(dir.path(), ClockSource::CHRONY);
    assert_eq!(history.span(), known().span());
    assert_eq!(History::from_text(&known().to_text()), Some(history));
    for other in [ClockSource::Kernel, ClockSource::Unchecked, "chrony:127.0.0.1:1323".parse().unwrap()] {
        assert_eq!(Remembered::open(dir.path(), other).1, History::default(), "{other}");
    }
}

#[test]
fn what_cannot_be_read_counts_for_nothing_and_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    let (remembered, _) = Remembered::open(dir.path(), ClockSource::CHRONY);
    remembered.note(&known()).unwrap();
    let whole = fs::read_to_string(&path).unwrap();
    for text in ["", "nothing", &whole[..whole.len() - 1], &whole.replace("chrony", "none"), &"9".repeat(5000)] {
        fs::write(&path, text).unwrap();
        let (remembered, history) = Remembered::open(dir.path(), ClockSource::CHRONY);
        assert_eq!(history, History::default(), "{text:.40}");
        remembered.note(&known()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), whole);
    }
}

#[test]
fn a_note_that_cannot_be_written_is_told_with_what_it_costs() {
    let dir = tempfile::tempdir().unwrap();
    let (remembered, _) = Remembered::open(&dir.path().join("none"), ClockSource::CHRONY);
    let problem = remembered.note(&known()).unwrap_err().to_string();
    assert!(problem.contains("none/clock") && problem.contains("measured again"), "{problem}");
    // Something that is not a file is reported and not waited for.
    fs::create_dir(dir.path().join(FILE)).unwrap();
    let (remembered, history) = Remembered::open(dir.path(), ClockSource::CHRONY);
    assert_eq!(history, History::default());
    remembered.note(&known()).unwrap_err();
}
