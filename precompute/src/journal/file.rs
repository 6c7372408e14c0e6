//! A file that lines are appended to, with rotation.
//!
//! Invariant: lines reach files whole and in order. If only a part of a line could be written, the rest follows before
//! anything else, or the whole line again in the next file. Time is a parameter. It does not know what lines say.

use std::{
    fs::{self, File, Metadata, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, SeekFrom, Write},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use rustix::fs::{Access, OFlags, access};

use super::{Kind, Options};
use crate::{
    pki::{FileError, UnixTime},
    state_dir::lock_patiently,
};

/// The group may read it, for programs that collect journals.
const MODE: u32 = 0o640;

/// Lines on their way to a file.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) lines: String,
    written: usize,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Writes as much as the file takes. After an error, the next call writes the rest.
    fn write_to(&mut self, file: &mut impl Write) -> io::Result<()> {
        while let Some(rest) = self.lines.as_bytes().get(self.written..).filter(|rest| !rest.is_empty()) {
            match file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.lines.clear();
        self.written = 0;
        Ok(())
    }

    /// A line that was partly written has to be written again from its beginning.
    fn rewind(&mut self) {
        let written = self.lines.as_bytes().get(..self.written).unwrap_or_default();
        self.written = written.iter().rposition(|octet| *octet == b'\n').map_or(0, |end| end + 1);
    }

    /// The lines that are not written, after [`Self::rewind`].
    pub(super) fn rest(&self) -> &str {
        self.lines.get(self.written..).unwrap_or_default()
    }

    /// Other lines in their place.
    pub(super) fn replace(&mut self, lines: String) {
        (self.lines, self.written) = (lines, 0);
    }
}

/// The file, open.
#[derive(Debug)]
pub(super) struct Appended {
    kind: Kind,
    options: Options,
    opened: Opened,
}

#[derive(Debug)]
struct Opened {
    file: File,
    begun: SystemTime,
    octets: u64,
    unsynchronised: bool,
    /// Whether somebody's entries are in it, beside the journal's own lines.
    has_entries: bool,
    /// Whether it has to get a first line.
    is_new: bool,
}

impl Appended {
    /// Opens or creates it. What is in it stays as it is.
    pub(super) fn open(kind: Kind, options: Options) -> Result<Self, FileError> {
        match Opened::open(&options.path) {
            Ok(opened) => Ok(Self { kind, options, opened }),
            Err(error) => Err(refusal(kind, &options.path, &error)),
        }
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// The open file.
    pub(super) fn file(&self) -> &File {
        &self.opened.file
    }

    /// Cuts off what is behind this many bytes: a line that is not whole.
    pub(super) fn cut(&mut self, octets: u64) -> io::Result<()> {
        self.opened.file.set_len(octets)?;
        self.opened.octets = octets;
        self.opened.is_new |= octets == 0;
        self.opened.has_entries &= octets > 0;
        Ok(())
    }

    /// Whether this is another file than at the last call, so that it needs a first line.
    pub(super) fn take_new(&mut self) -> bool {
        std::mem::take(&mut self.opened.is_new)
    }

    /// What was appended has entries in it.
    pub(super) fn has_entries(&mut self) {
        self.opened.has_entries = true;
    }

    pub(super) fn path(&self) -> &Path {
        &self.options.path
    }

    /// Appends; see [`Pending::write_to`].
    pub(super) fn append(&mut self, pending: &mut Pending) -> io::Result<()> {
        let before = pending.written;
        let length = pending.lines.len();
        let result = pending.write_to(&mut self.opened.file);
        let after = if result.is_ok() { length } else { pending.written };
        self.opened.octets += (after - before) as u64;
        self.opened.unsynchronised |= after > before;
        result
    }

    /// Synchronises the appended lines with the disk.
    pub(super) fn synchronise(&mut self) -> io::Result<()> {
        if self.opened.unsynchronised {
            self.opened.file.sync_data()?;
        }
        self.opened.unsynchronised = false;
        Ok(())
    }

    /// Whether the open file has no name any more and will be gone when it is closed: it was removed, or another file
    /// was renamed to its name. A file that was itself renamed has a name.
    pub(super) fn is_removed(&self) -> bool {
        self.opened.file.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
    }

    /// Opens the file that has the name now; if that fails, the old one stays.
    pub(super) fn reopen(&mut self, pending: &mut Pending) -> io::Result<()> {
        let synchronised = self.synchronise();
        // It may be the same file, which this process has locked.
        self.opened.file.unlock()?;
        match Opened::open(&self.options.path).and_then(Opened::with_whole_lines) {
            Ok(opened) => self.take(opened)?,
            Err(error) => return lock(&self.opened.file).and(Err(error)),
        }
        pending.rewind();
        synchronised
    }

    /// Goes over to a file that was opened by the same name; it may be the same file.
    fn take(&mut self, opened: Opened) -> io::Result<()> {
        let identity = |file: &File| file.metadata().map(|metadata| (metadata.dev(), metadata.ino()));
        let is_new = identity(&self.opened.file)? != identity(&opened.file)?;
        let has_entries = opened.has_entries && (is_new || self.opened.has_entries);
        self.opened = Opened { is_new: is_new || self.opened.is_new, has_entries, ..opened };
        Ok(())
    }

    /// Whether it is large or old enough.
    pub(super) fn is_due(&self, now: SystemTime) -> bool {
        let Options { rotate_octets, rotate_age, .. } = &self.options;
        let Opened { begun, octets, has_entries, .. } = self.opened;
        has_entries && (octets >= *rotate_octets || now.duration_since(begun).is_ok_and(|age| age >= *rotate_age))
    }

    /// Renames it and begins another. Returns the files that were removed because no more are to be kept.
    pub(super) fn rotate(&mut self, now: SystemTime, pending: &mut Pending) -> io::Result<Vec<PathBuf>> {
        self.synchronise()?;
        let path = &self.options.path.clone();
        let time = UnixTime::from(now).generalized();
        let stem = format!("{}.{}", path.display(), std::str::from_utf8(&time).unwrap_or_default());
        let free = (1..).map(|number| if number == 1 { stem.clone() } else { format!("{stem}-{number:03}") });
        // No other process creates such names: the file is locked.
        let target = free.map(PathBuf::from).find(|name| !name.exists()).unwrap_or_default();
        let renamed = match fs::rename(path, &target) {
            // Another program has just renamed it, and is about to say so.
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            renamed => renamed.map(|()| true)?,
        };
        match Opened::open(path).and_then(Opened::with_whole_lines) {
            Ok(opened) => self.take(opened)?,
            // Appending continues in the old file, under its old name.
            Err(error) if renamed => return fs::rename(&target, path).and(Err(error)),
            Err(error) => return Err(error),
        }
        pending.rewind();
        File::open(directory(path))?.sync_all()?;
        self.remove_surplus(&target)
    }

    /// Of the rotated files the latest are kept, by name, which is by time. A file with a later name than `last`, the
    /// present name, is nevertheless older: the clock was ahead then, or a name has become free again. Those are
    /// removed first.
    fn remove_surplus(&self, last: &Path) -> io::Result<Vec<PathBuf>> {
        let Some(keep) = self.options.keep else { return Ok(Vec::new()) };
        let path = &self.options.path;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut rotated = Vec::new();
        for entry in fs::read_dir(directory(path))? {
            let entry = entry?;
            let is_rotated = entry.file_name().to_str().is_some_and(|other| {
                let suffix = other.strip_prefix(&*name).and_then(|rest| rest.strip_prefix('.'));
                suffix.is_some_and(|suffix| is_suffix(suffix.as_bytes()))
            });
            if is_rotated {
                rotated.push(entry.path());
            }
        }
        rotated.sort_by_cached_key(|path| (path.file_name() <= last.file_name(), path.clone()));
        rotated.truncate(rotated.len().saturating_sub(keep));
        rotated.iter().try_for_each(fs::remove_file)?;
        Ok(rotated)
    }
}

/// `YYYYMMDDHHMMSSZ`, with a number if there were several in a second.
fn is_suffix(text: &[u8]) -> bool {
    let digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    match text.split_at_checked(14) {
        Some((time, [b'Z'])) => digits(time),
        Some((time, [b'Z', b'-', number @ ..])) => digits(time) && digits(number),
        _ => false,
    }
}

impl Opened {
    fn open(path: &Path) -> io::Result<Self> {
        let file = match appending().create_new(true).mode(MODE).open(path) {
            Ok(file) => {
                // Independent of the umask: see MODE.
                file.set_permissions(fs::Permissions::from_mode(MODE))?;
                file
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => open_what_is_there(path)?,
            Err(error) => return Err(error),
        };
        lock(&file)?;
        let metadata = file.metadata()?;
        let octets = metadata.len();
        let begun = metadata.created().unwrap_or_else(|_| SystemTime::now());
        Ok(Self { file, begun, octets, unsynchronised: false, has_entries: octets > 0, is_new: octets == 0 })
    }

    /// Ends a line that somebody left incomplete.
    fn with_whole_lines(mut self) -> io::Result<Self> {
        if self.octets > 0 {
            let mut last = [0];
            self.file.seek(SeekFrom::End(-1))?;
            self.file.read_exact(&mut last)?;
            if last != *b"\n" {
                self.file.write_all(b"\n")?;
                self.octets += 1;
            }
        }
        Ok(self)
    }
}

/// Checks that a journal could be written at `path`, and a new file begun there, without leaving a trace: another
/// process may be writing it.
pub(super) fn check(kind: Kind, path: &Path) -> Result<(), FileError> {
    let opened = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => open_what_is_there(path).map(drop),
    };
    // For the name of a new file, and of one that is rotated.
    let may_rename = || Ok(access(directory(path), Access::WRITE_OK | Access::EXEC_OK)?);
    opened.and_then(|()| may_rename()).map_err(|error| refusal(kind, path, &error))
}

/// A file's directory.
pub(super) fn directory(path: &Path) -> &Path {
    path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Without waiting for the other end of a pipe; it does not affect regular files.
fn appending() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).append(true).custom_flags(OFlags::NONBLOCK.bits() as i32);
    options
}

/// Opens it if it is a regular file; never creates one.
fn open_what_is_there(path: &Path) -> io::Result<File> {
    // Checked before it is opened, because opening affects some devices, and after, for the file that was opened.
    regular(&fs::metadata(path).map_err(|error| of_link(path, error))?)?;
    let file = appending().open(path)?;
    regular(&file.metadata()?)?;
    Ok(file)
}

/// A link to nowhere is visible to anybody who looks into the directory.
fn of_link(path: &Path, error: io::Error) -> io::Error {
    match fs::read_link(path) {
        Ok(target) if error.kind() == io::ErrorKind::NotFound => io::Error::other(format!(
            "a symbolic link to {} is there, which does not exist; create that file, or remove the link",
            target.display()
        )),
        _ => error,
    }
}

/// What is written to any other kind cannot be read again, and its other end may block a writer.
fn regular(metadata: &Metadata) -> io::Result<()> {
    let kind = metadata.file_type();
    let kind = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_socket() => "a socket",
        () => "a device",
    };
    Err(io::Error::other(format!("{kind} is there, and it must be a regular file; name another, or remove it")))
}

/// The error for operators.
fn refusal(kind: Kind, path: &Path, error: &io::Error) -> FileError {
    let what = format_args!("{} cannot be written there", kind.title);
    if error.raw_os_error().is_none() {
        return FileError::new(path, format_args!("{what}: {error}"));
    }
    let directory = directory(path).display();
    FileError::new(
        path,
        format_args!(
            "{what}: {error}; it needs a directory that exists and a file in it, both of which this process may write ({directory})"
        ),
    )
}

/// Otherwise two processes could rename each other's files.
fn lock(file: &File) -> io::Result<()> {
    lock_patiently(file).map_err(|error| match error {
        TryLockError::WouldBlock => io::Error::other("another process writes a journal there; name another file"),
        TryLockError::Error(error) => error,
    })
}

#[cfg(test)]
mod tests;
