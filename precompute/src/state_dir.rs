//! The state directory: whose it is, and what can be wrong with it and its files.
//!
//! Invariants: at most one process has it ([`own`]), and it belongs to one server ([`ServerId`]); every fault is reported
//! with the file and a remedy. It does not know what the other files hold.

pub(crate) mod damage;
pub(crate) mod file_system;
mod lock;
mod owner;
mod server_id;
pub(crate) mod stamp;

pub use lock::{Purpose, is_in_use};
pub(crate) use lock::{host, lock_patiently, patiently};
pub(crate) use owner::give;
pub use server_id::{Found, Place, ServerId};

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access};

use self::{lock::Lock, server_id::Machine};
use crate::pki::UnixTime;

/// The book's file in it.
pub(crate) const BOOK: &str = "book.redb";

/// The remedy if the directory is not as required.
pub(crate) const OF_DIRECTORY: &str =
    "create the directory and give it to the user that runs this program, or set `state_dir`";
/// The remedy where nobody can write, whoever it is.
const OF_READ_ONLY: &str = "its file system is mounted read-only: mount it for writing (after an error of the disk, look at `dmesg`; under systemd, see `ReadWritePaths`), or set another `state_dir`";
const OF_DIRECTORY_THERE: &str = "move it away: a file of this name is made in its place";
/// The remedy for a small file that any program may read and write as soon as it may.
const OF_FILE_OF_OURS: &str =
    "give the file to the user that runs this program, or move it away if it is none of this program's";
const OF_FILE: &str = "give the file to the user that runs this program; without it, revocations that the sources no longer list are lost";

/// Why a file of the state directory cannot be used.
#[derive(Clone, Debug)]
pub struct StateError {
    path: PathBuf,
    problem: String,
    remedy: &'static str,
    /// Whether the file is useless, rather than out of reach.
    is_damage: bool,
}

impl StateError {
    pub(crate) fn new(path: &Path, problem: impl Into<String>, remedy: &'static str) -> Self {
        Self { path: path.to_owned(), problem: problem.into(), remedy, is_damage: false }
    }

    /// The same for a file that is useless.
    pub(crate) fn damage(self) -> Self {
        Self { is_damage: true, ..self }
    }

    /// The same with another remedy.
    pub(crate) fn with_remedy(self, remedy: &'static str) -> Self {
        Self { remedy, ..self }
    }

    /// Whether the file is useless, rather than out of reach.
    pub(crate) fn is_damage(&self) -> bool {
        self.is_damage
    }
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.path.display(), self.problem, self.remedy)
    }
}

impl std::error::Error for StateError {}

/// The remedy for any file; `None` if it depends on the contents.
pub(crate) fn remedy(error: &redb::Error) -> Option<&'static str> {
    match error {
        redb::Error::DatabaseAlreadyOpen => Some("stop the other process first, or set another `state_dir`"),
        redb::Error::Io(error) => match error.kind() {
            io::ErrorKind::PermissionDenied => {
                Some("give the file and its directory to the user that runs this program")
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Some("make room: the disk, the quota or the file size limit is used up")
            }
            io::ErrorKind::IsADirectory => Some(OF_DIRECTORY_THERE),
            io::ErrorKind::ReadOnlyFilesystem => Some(OF_READ_ONLY),
            _ => None,
        },
        _ => None,
    }
}

/// The remedy where a file or directory cannot be written; `usual` unless the file system forbids it.
pub(crate) fn remedy_of_write(error: &io::Error, usual: &'static str) -> &'static str {
    if error.kind() == io::ErrorKind::ReadOnlyFilesystem { OF_READ_ONLY } else { usual }
}

/// Why the directory could not be created or written, or its book opened, if so. It leaves no trace: another process
/// may be using them.
pub fn check(state_dir: &Path) -> Result<(), StateError> {
    check_file_system(state_dir)?;
    let there = existing(state_dir);
    let what = if there == state_dir { "cannot be written" } else { "cannot be made" };
    may_write_into(there).map_err(|error| {
        let problem = format!("{what}: {}: {error}", there.display());
        StateError::new(state_dir, problem, remedy_of_write(&error, OF_DIRECTORY))
    })?;
    let book = state_dir.join(BOOK);
    match fs::symlink_metadata(&book) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => may_open(&book).map_err(|error| {
            let is_file = fs::metadata(&book).is_ok_and(|metadata| metadata.is_file());
            StateError::new(
                &book,
                format!("cannot be opened: {error}"),
                if is_file { remedy_of_write(&error, OF_FILE) } else { OF_DIRECTORY_THERE },
            )
        }),
    }
}

/// A state directory that belongs to this process until this is dropped.
#[derive(Debug)]
pub struct Owned {
    _lock: Lock,
    server_id: ServerId,
}

impl Owned {
    /// The server whose directory it is.
    pub fn server_id(&self) -> ServerId {
        self.server_id
    }
}

/// Makes the directory if it is missing, and takes it. It is an error if another process has it, if it is the copy of
/// another server's, or if its file system cannot be relied on.
pub fn own(state_dir: &Path, purpose: Purpose) -> Result<Owned, StateError> {
    let lock = take(state_dir, purpose)?;
    Ok(Owned { _lock: lock, server_id: server_id::take(state_dir, &Machine::this())? })
}

/// Gives the directory, which no other process has, to a new server: draws a new identity. Returns the former one as
/// text, if there was one.
pub fn adopt(state_dir: &Path, purpose: Purpose) -> Result<(Option<String>, ServerId), StateError> {
    let _lock = take(state_dir, purpose)?;
    server_id::adopt(state_dir, &Machine::this())
}

/// Which server the directory belongs to, if it is known already.
pub fn server(state_dir: &Path) -> Result<Option<Found>, StateError> {
    server_id::look(state_dir, &Machine::this())
}

/// The identities that the directory had before it was adopted.
pub fn former_servers(state_dir: &Path) -> Vec<ServerId> {
    server_id::former(state_dir)
}

/// Whether a start would find the directory to be another server's. Nothing is made or taken.
pub fn try_server(state_dir: &Path) -> Result<(), StateError> {
    server_id::own(state_dir, &Machine::this()).map(drop)
}

fn take(state_dir: &Path, purpose: Purpose) -> Result<Lock, StateError> {
    check_file_system(state_dir)?;
    create(state_dir)?;
    lock::take(state_dir, purpose, UnixTime::now())
}

/// Writes a file as a whole, so that nobody finds half of it. When this returns it is on disk.
pub(crate) fn write_whole(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let draft = behind(path, ".new");
    let _ = fs::remove_file(&draft);
    let written = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
    };
    written().inspect_err(|_| drop(fs::remove_file(&draft)))
}

/// `path` with `end` appended to its name.
pub(crate) fn behind(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// `path`, or `path` with a number appended: what was put aside before is not lost.
pub(crate) fn unused(path: &Path) -> PathBuf {
    let numbered = (1u32..).map(|number| behind(path, &format!(".{number}")));
    let is_free = |path: &PathBuf| fs::symlink_metadata(path).is_err();
    std::iter::once(path.to_owned()).chain(numbered).find(is_free).unwrap_or_else(|| path.to_owned())
}

/// Makes the directory if it is missing.
pub(crate) fn create(state_dir: &Path) -> Result<(), StateError> {
    fs::create_dir_all(state_dir).map_err(|error| {
        StateError::new(state_dir, format!("cannot be made: {error}"), remedy_of_write(&error, OF_DIRECTORY))
    })
}

fn check_file_system(state_dir: &Path) -> Result<(), StateError> {
    let refusal = file_system::verdict(existing(state_dir)).refusal();
    refusal.map_or(Ok(()), |(problem, remedy)| Err(StateError::new(state_dir, problem, remedy)))
}

/// The directory, or the first one above it that exists: what is missing is created there.
fn existing(state_dir: &Path) -> &Path {
    let is_absent = |place: &&Path| {
        let absent = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];
        fs::symlink_metadata(place).is_err_and(|error| absent.contains(&error.kind()))
    };
    state_dir.ancestors().find(|place| !is_absent(place)).unwrap_or(state_dir)
}

/// Doubts about the directory that do not prevent a start.
pub fn doubts(state_dir: &Path) -> Vec<String> {
    let of_file_system = file_system::verdict(existing(state_dir)).doubt();
    doubt(state_dir).into_iter().chain(of_file_system).collect()
}

fn doubt(state_dir: &Path) -> Option<String> {
    let parent = state_dir.parent().filter(|parent| !parent.as_os_str().is_empty())?;
    if fs::metadata(parent).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return Some(format!(
            "is {}, and {} does not exist: a start creates both; if a file system belongs there, mount it first; if the path is misspelt, correct it",
            state_dir.display(),
            parent.display()
        ));
    }
    let mode = fs::metadata(state_dir).ok()?.permissions().mode() & 0o7777;
    let others = mode & 0o022 != 0 && mode & 0o1000 == 0;
    others.then(|| {
        format!(
            "is {} with mode {mode:04o}: others can replace the book and so change the answers; run: chmod go-w {}",
            state_dir.display(),
            state_dir.display()
        )
    })
}

fn may_write_into(directory: &Path) -> io::Result<()> {
    if !fs::metadata(directory)?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok(access(directory, Access::WRITE_OK | Access::EXEC_OK)?)
}

fn may_open(file: &Path) -> io::Result<()> {
    if !fs::metadata(file)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    Ok(access(file, Access::READ_OK | Access::WRITE_OK)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// It was advised to create the directory and to give it to the user.
    #[test]
    fn on_a_read_only_file_system_it_is_that_what_is_told() {
        let read_only = || io::Error::from(rustix::io::Errno::ROFS);
        assert_eq!(remedy_of_write(&read_only(), OF_DIRECTORY), OF_READ_ONLY);
        assert_eq!(remedy(&redb::Error::Io(read_only())), Some(OF_READ_ONLY));
        assert_eq!(remedy_of_write(&io::ErrorKind::PermissionDenied.into(), OF_DIRECTORY), OF_DIRECTORY);
    }

    #[test]
    fn a_look_makes_nothing_and_finds_what_would_keep_a_book_from_being_opened() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        check(&at("new/state")).unwrap();
        assert!(!at("new").exists());
        fs::create_dir(at("state")).unwrap();
        check(&at("state")).unwrap();
        fs::write(at("state/book.redb"), "").unwrap();
        check(&at("state")).unwrap();

        fs::write(at("file"), "").unwrap();
        symlink("nowhere", at("link")).unwrap();
        fs::create_dir_all(at("other/book.redb")).unwrap();
        for (state_dir, wanted) in [
            ("file", "cannot be written"),
            ("file/state", "cannot be made"),
            ("link", "cannot be written"),
            ("link/state", "cannot be made"),
            ("other", "book.redb: cannot be opened: it is no regular file"),
        ] {
            let problem = check(&at(state_dir)).unwrap_err().to_string();
            assert!(problem.contains(at(state_dir).to_str().unwrap()) && problem.contains(wanted), "{problem}");
            // And so it is.
            crate::book::Book::open(&at(state_dir)).unwrap_err();
        }
    }
}
