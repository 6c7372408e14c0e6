//! Journals.
//!
//! - What is said of one is short and printable, whatever is in it, and names lines that it has.
//! - What is in order has a line for each number, and a key that counts for nobody else.
//! - What is in order and longer than its last head is in order without the rest.

use std::path::Path;

use precompute::audit::{Report, verify_content};

/// Verifies the input; taken is what is in order and vouched for.
pub fn journal(octets: &[u8]) -> bool {
    let verify = |octets: &[u8], key| verify_content(Path::new("journal"), octets, key);
    let report = verify(octets, None);
    told(&report, octets);
    if !report.is_in_order() || report.heads == 0 {
        return false;
    }
    let (first, last) = report.numbers.expect("it has lines");
    assert!(last - first < report.lines, "{report}");
    let key = report.keys.first().copied().expect("a head is verified by a key");
    assert_eq!(verify(octets, Some(key)).is_in_order(), report.keys.len() == 1, "{report}");
    assert!(!verify(octets, Some([7; 32])).is_in_order(), "{report}");
    // Without what nothing vouches for.
    let mut ends = octets.iter().enumerate().filter(|(_, octet)| **octet == b'\n').map(|(at, _)| at + 1);
    let is_export = octets.starts_with(b"{\"export\"");
    let vouched = (report.lines - report.behind_head) as usize + usize::from(is_export);
    let end = ends.nth(vouched - 1).expect("each line has an end");
    let shorter = verify(&octets[..end], None);
    assert!(shorter.is_in_order() && shorter.behind_head == 0 && shorter.heads == report.heads, "{report}: {shorter}");
    true
}

fn told(report: &Report, octets: &[u8]) {
    let lines = octets.split_inclusive(|octet| *octet == b'\n').count() as u64;
    assert!(report.lines <= lines && report.hidden <= report.lines && report.behind_head <= report.lines, "{report:?}");
    for finding in report.faults.iter().chain(&report.notes) {
        assert!((1..=lines).contains(&finding.place.line), "{finding}");
    }
    let said = report.to_string();
    assert!(said.chars().all(|letter| letter == '\n' || !letter.is_control()), "{said:?}");
    assert!(said.lines().all(|line| line.len() < 1000), "{said}");
}
