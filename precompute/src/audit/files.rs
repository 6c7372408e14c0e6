//! Which files are those of a journal, and their lines.
//!
//! Invariant: files are put into order by the numbers in them, never by their names: whoever rotates them names them. A line is
//! read within a bound.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Place,
    line::{Kind, Line, Shown},
};
use crate::{limits::audit as limits, pki::open_regular};

/// Calls `each` with every line without its end, and whether it has one, in the order of the files.
pub(super) fn each_line(
    files: &[PathBuf],
    mut each: impl FnMut(Place, &[u8], bool) -> io::Result<()>,
) -> io::Result<()> {
    for path in files {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        lines_of(reader(path)?, path, &mut each).map_err(named)?;
    }
    Ok(())
}

/// The same for what is read from there.
pub(super) fn lines_of(
    mut reader: impl BufRead,
    path: &Path,
    mut each: impl FnMut(Place, &[u8], bool) -> io::Result<()>,
) -> io::Result<()> {
    let file: Arc<Path> = path.into();
    let mut text = Vec::new();
    for line in 1.. {
        text.clear();
        let read = (&mut reader).take(limits::LINE_OCTETS_MAX).read_until(b'\n', &mut text)?;
        if read == 0 {
            break;
        }
        let is_whole = text.pop_if(|last| *last == b'\n').is_some();
        each(Place { file: Arc::clone(&file), line }, &text, is_whole || read as u64 == limits::LINE_OCTETS_MAX)?;
    }
    Ok(())
}

fn reader(path: &Path) -> io::Result<BufReader<File>> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    Ok(BufReader::with_capacity(limits::READ_OCTETS, open_regular(path).map_err(named)?))
}

/// The files of one journal, in the order of their lines.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Group {
    /// Their server.
    pub server: String,
    /// What the journal is for.
    pub journal: String,
    /// The files.
    pub files: Vec<PathBuf>,
}

/// The journals in these files and directories, and the files that are none: with a directory, others in it are left alone.
pub fn find(paths: &[PathBuf]) -> io::Result<(Vec<Group>, Vec<PathBuf>)> {
    let (mut found, mut others) = (Vec::new(), Vec::new());
    for path in paths {
        if !path.is_dir() {
            match first(path)? {
                Some(first) => found.push((first, path.clone())),
                None => others.push(path.clone()),
            }
            continue;
        }
        for entry in fs::read_dir(path)?.take(limits::FILES_MAX) {
            let path = entry?.path();
            if path.is_file()
                && let Ok(Some(first)) = first(&path)
            {
                found.push((first, path));
            }
        }
    }
    found.sort();
    let mut groups: Vec<Group> = Vec::new();
    for ((server, journal, _, _), path) in found {
        match groups.last_mut() {
            Some(group) if group.server == server && group.journal == journal => group.files.push(path),
            _ => groups.push(Group { server, journal, files: vec![path] }),
        }
    }
    Ok((groups, others))
}

/// Server, journal, number and time of the first line; `None` if this is no journal.
type First = (String, String, u64, String);

fn first(path: &Path) -> io::Result<Option<First>> {
    let mut reader = reader(path)?;
    let mut text = Vec::new();
    // Before it an export has one more.
    for _ in 0..2 {
        text.clear();
        (&mut reader).take(limits::LINE_OCTETS_MAX).read_until(b'\n', &mut text)?;
        text.pop_if(|last| *last == b'\n');
        match Line::read(&text) {
            Some(Line::Shown(shown)) => return Ok(Some(of(&shown, &text))),
            Some(Line::Export) => {}
            // A first line that was changed is found; what is no journal at all is not one.
            _ if text.starts_with(b"{\"server\":\"") => return Ok(Some(Default::default())),
            _ => return Ok(None),
        }
    }
    Ok(None)
}

fn of(shown: &Shown<'_>, text: &[u8]) -> First {
    let string = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let journal = match shown.kind(text) {
        Some(Kind::File { journal, .. }) => journal.to_owned(),
        _ => String::new(),
    };
    (string(shown.server), journal, shown.seq, string(shown.at))
}
