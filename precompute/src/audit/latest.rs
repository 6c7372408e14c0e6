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
/// so many bytes were read. Whether there may be more.
pub fn latest(files: &[PathBuf], octets_max: u64, mut each: impl FnMut(&[u8]) -> ControlFlow<()>) -> io::Result<bool> {
    let mut left = octets_max;
    for path in files.iter().rev() {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let file = open_regular(path).map_err(named)?;
        let length = file.metadata().map_err(named)?.len();
        if backwards(&file, length, &mut left, &mut each).map_err(named)?.is_break() || left == 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

fn backwards(
    file: &File,
    length: u64,
    left: &mut u64,
    each: &mut impl FnMut(&[u8]) -> ControlFlow<()>,
) -> io::Result<ControlFlow<()>> {
    // Behind the first line feed of what was read: the end of a line whose beginning was not.
    let (mut rest, mut end, mut is_last) = (Vec::new(), length, true);
    while end > 0 {
        let take = (limits::READ_OCTETS as u64).min(end).min((*left).max(1));
        let mut piece = vec![0; take as usize];
        file.read_exact_at(&mut piece, end - take)?;
        (end, *left) = (end - take, left.saturating_sub(take));
        piece.append(&mut rest);
        let begins = piece.iter().position(|octet| *octet == b'\n').map(|at| at + 1);
        let first = if end == 0 { 0 } else { begins.unwrap_or(piece.len()) };
        let lines = if end == 0 || begins.is_some() { &piece[first..] } else { &[][..] };
        for line in lines.rsplit(|octet| *octet == b'\n') {
            // Behind the last line feed nothing is whole yet.
            if !(begins.is_some() && std::mem::take(&mut is_last)) && !line.is_empty() && each(line).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        piece.truncate(first);
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
        let more = latest(files, octets_max, |line| {
            lines.push(String::from_utf8(line.to_vec()).unwrap());
            if lines.len() == count { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        (lines, more.unwrap())
    }

    proptest! {
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
}
