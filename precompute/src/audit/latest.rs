//! The latest lines of a journal, the last one first.
//!
//! Invariant: a file is read from its end, in pieces, so that a page costs what is on it and not what is before it. Nothing is
//! verified here. A file that grows meanwhile is read up to where it was.

use std::{
    fs::File,
    io,
    ops::ControlFlow,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use crate::{limits::audit as limits, pki::open_regular};

/// Calls `each` with every whole line of these files, in the order of their lines, the last one first, until it breaks or
/// so many bytes of them were read. Whether there may be more. `before`: only lines with lower numbers; whole files of
/// others are not read.
pub fn latest(
    files: &[PathBuf],
    before: Option<u64>,
    octets_max: u64,
    mut each: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> io::Result<bool> {
    let mut left = octets_max;
    for path in files.iter().rev() {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let file = open_regular(path).map_err(named)?;
        let length = file.metadata().map_err(named)?.len();
        let mut first = [0; BEGINNING];
        let count = file.read_at(&mut first, 0).map_err(named)?;
        if is_behind(&first[..count], before) {
            continue;
        }
        let mut given = |line: &[u8]| if is_behind(line, before) { None } else { Some(each(line)) };
        if backwards(&file, length, &mut left, &mut given).map_err(named)?.is_break() || left == 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Bytes in which the number of a line stands.
const BEGINNING: usize = 80;

/// Whether a line is none of those before this number.
fn is_behind(line: &[u8], before: Option<u64>) -> bool {
    before.is_some_and(|before| number_of(line).is_some_and(|number| number >= before))
}

fn number_of(line: &[u8]) -> Option<u64> {
    const SERVER: usize = 36;
    let rest = line.strip_prefix(b"{\"server\":\"")?.get(SERVER..)?.strip_prefix(b"\",\"seq\":")?;
    let digits = rest.iter().take_while(|octet| octet.is_ascii_digit()).count();
    std::str::from_utf8(rest.get(..digits)?).ok()?.parse().ok()
}

/// `each` gives nothing for a line that is passed over, and those are not counted.
fn backwards(
    file: &File,
    length: u64,
    left: &mut u64,
    each: &mut impl FnMut(&[u8]) -> Option<ControlFlow<()>>,
) -> io::Result<ControlFlow<()>> {
    // Behind the first line feed of what was read: the end of a line whose beginning was not.
    let (mut rest, mut end, mut is_last) = (Vec::new(), length, true);
    while end > 0 {
        let take = (limits::READ_OCTETS as u64).min(end).min((*left).max(1));
        let mut piece = vec![0; take as usize];
        file.read_exact_at(&mut piece, end - take)?;
        end -= take;
        let mut counts = false;
        piece.append(&mut rest);
        let begins = piece.iter().position(|octet| *octet == b'\n').map(|at| at + 1);
        let first = if end == 0 { Some(0) } else { begins };
        let lines = first.and_then(|first| piece.get(first..));
        for line in lines.into_iter().flat_map(|lines| lines.rsplit(|octet| *octet == b'\n')) {
            // Behind the last line feed nothing is whole yet.
            if std::mem::take(&mut is_last) || line.is_empty() {
                continue;
            }
            let taken = each(line);
            counts |= taken.is_some();
            if taken.is_some_and(|flow| flow.is_break()) {
                return Ok(ControlFlow::Break(()));
            }
        }
        *left = left.saturating_sub(if counts { take } else { 0 });
        piece.truncate(first.unwrap_or(piece.len()));
        rest = piece;
        if *left == 0 || rest.len() as u64 > limits::LINE_OCTETS_MAX {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// The files of the journal that is written at this path, in the order of their lines.
pub fn files_of(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return Ok(Vec::new()) };
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let is_of_it = |other: &PathBuf| {
        let other = other.file_name().unwrap_or_default();
        other.as_encoded_bytes().starts_with(name.as_encoded_bytes())
    };
    let entries = std::fs::read_dir(dir)?.take(limits::FILES_MAX);
    let paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_of_it).collect();
    let (groups, _) = super::find(&paths)?;
    // The one that is written now, among those of former servers.
    Ok(groups
        .into_iter()
        .map(|group| group.files)
        .find(|files| files.iter().any(|file| file == path))
        .unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(files: &[PathBuf], octets_max: u64, count: usize) -> (Vec<String>, bool) {
        let mut lines = Vec::new();
        let more = latest(files, None, octets_max, |line| {
            lines.push(String::from_utf8(line.to_vec()).unwrap());
            if lines.len() == count { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        (lines, more.unwrap())
    }

    proptest! {
        // Each writes and reads some MiB.
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn every_whole_line_is_told_once_the_last_one_first(
            lengths in proptest::collection::vec(prop_oneof![1usize..200, Just(limits::READ_OCTETS - 1), Just(limits::READ_OCTETS)], 0..9),
            torn in "[a-z]{0,9}",
        ) {
            let dir = tempfile::tempdir().unwrap();
            let files = ["a", "b"].map(|name| dir.path().join(name));
            let lines: Vec<_> = lengths.iter().enumerate().map(|(number, length)| format!("{number}{}", "x".repeat(*length))).collect();
            let half = lines.len() / 2;
            let text = |lines: &[String]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
            std::fs::write(&files[0], text(&lines[..half])).unwrap();
            std::fs::write(&files[1], text(&lines[half..]) + &torn).unwrap();
            let (told, more) = all(&files, u64::MAX, usize::MAX);
            let mut expected = lines.clone();
            expected.reverse();
            prop_assert_eq!(&told, &expected);
            prop_assert!(!more);
            let (some, _) = all(&files, u64::MAX, 2);
            prop_assert_eq!(&some[..], &expected[..expected.len().min(2)]);
            // Whatever the bound is, what is told is what would have been.
            let (bounded, _) = all(&files, 300, usize::MAX);
            prop_assert_eq!(&bounded[..], &expected[..bounded.len()]);
        }
    }

    #[test]
    fn pages_go_on_before_a_number_however_far_that_is_from_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let files = ["a", "b"].map(|name| dir.path().join(name));
        let (server, rest) = ("0".repeat(36), "x".repeat(999));
        let line = |number: u64| format!("{{\"server\":\"{server}\",\"seq\":{number},\"at\":\"{rest}\"}}\n");
        std::fs::write(&files[0], (1..=2000).map(line).collect::<String>()).unwrap();
        std::fs::write(&files[1], (2001..=4000).map(line).collect::<String>()).unwrap();
        for before in [4001, 4000, 2002, 2001, 2000, 12, 2, 1] {
            let mut seen = Vec::new();
            // Far fewer bytes than are behind it.
            let more = latest(&files, Some(before), 4096, |line| {
                seen.push(number_of(line).unwrap());
                if seen.len() < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            more.unwrap();
            let expected: Vec<u64> = (1..before).rev().take(3).collect();
            assert!(!seen.is_empty() || before == 1, "{before}");
            assert_eq!(seen[..], expected[..seen.len()], "{before}");
        }
    }
}
