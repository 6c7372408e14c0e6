//! A state directory belongs to one process.
//!
//! Purpose: the second process is refused, and its user learns which one has the directory. Invariant: whoever holds
//! the lock of `lock` (flock(2)) is the only one that writes into the directory. The kernel releases it when the process
//! ends, in whatever way: what the file says without the lock means nothing. It does not know what is written.

use std::{
    fmt,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
    thread,
    time::Instant,
};

use rustix::{fs::OFlags, system::uname};

use super::{OF_DIRECTORY, OF_FILE_OF_OURS, StateError, give, remedy_of_write};
use crate::{limits, pki::UnixTime};

/// The lock's file.
const LOCK: &str = "lock";

/// The remedy for what only this process can do,
const STOP_IT: &str = "stop it first, or set another `state_dir`";
/// and for what a running service does as well.
const ASK_IT: &str =
    "while it runs it reads and signs by itself: ask it with `ostia-precompute status`, or stop it first";

/// Held for as long as the directory belongs to this process.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// What a process wants the directory for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Purpose {
    /// The program and its command, such as `ostia-responder serve`.
    command: &'static str,
    /// What to do if another process has it.
    remedy: &'static str,
}

impl Purpose {
    /// Only this process can do it; the other one has to end first.
    pub const fn exclusive(command: &'static str) -> Self {
        Self { command, remedy: STOP_IT }
    }

    /// A running service does it by itself, or tells it when it is asked.
    pub const fn askable(command: &'static str) -> Self {
        Self { command, remedy: ASK_IT }
    }
}

/// Who has the directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Holder {
    /// Its process id.
    pid: u32,
    /// Its program and command.
    command: String,
    /// The machine it runs on.
    host: String,
    /// Since when it has the directory, as text.
    since: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, command, host, since } = self;
        write!(f, "`{command}`, process {pid} on {host}, since {since}")
    }
}

impl Holder {
    fn read(text: &str) -> Option<Self> {
        let value = |key: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(' '));
            lines.find(|(name, _)| *name == key).map(|(_, value)| value.to_owned())
        };
        let pid = value("pid")?.parse().ok()?;
        Some(Self { pid, command: value("command")?, host: value("host")?, since: value("since")? })
    }

    fn written(&self) -> String {
        let Self { pid, command, host, since } = self;
        format!("pid {pid}\ncommand {command}\nhost {host}\nsince {since}\n")
    }
}

/// Tries again for a moment as long as a lock is with somebody else (see [`limits::LOCK_PATIENCE`]).
pub(crate) fn patiently<T, E>(
    is_taken: impl Fn(&E) -> bool,
    mut attempt: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    let begun = Instant::now();
    loop {
        match attempt() {
            Err(error) if is_taken(&error) && begun.elapsed() < limits::LOCK_PATIENCE => {
                thread::sleep(limits::LOCK_PAUSE)
            }
            outcome => return outcome,
        }
    }
}

/// The same for a file.
pub(crate) fn lock_patiently(file: &File) -> Result<(), TryLockError> {
    patiently(|error| matches!(error, TryLockError::WouldBlock), || file.try_lock())
}

/// Takes the directory, which exists; `now`: since when.
pub(super) fn take(state_dir: &Path, purpose: Purpose, now: UnixTime) -> Result<Lock, StateError> {
    let path = state_dir.join(LOCK);
    let fail = |error: io::Error, remedy| {
        StateError::new(&path, format!("cannot be opened: {error}"), remedy_of_write(&error, remedy))
    };
    let mut file = open(state_dir, &path).map_err(|error| match error.kind() {
        _ if fs::symlink_metadata(&path).is_ok() => fail(error, OF_FILE_OF_OURS),
        _ => fail(error, OF_DIRECTORY),
    })?;
    match lock_patiently(&file) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(taken(&path, holder_in(&mut file), purpose)),
        Err(TryLockError::Error(error)) => {
            return Err(StateError::new(&path, format!("cannot be locked: {error}"), OF_FILE_OF_OURS));
        }
    }
    let (pid, command) = (std::process::id(), purpose.command.to_owned());
    let holder = Holder { pid, command, host: host(), since: now.to_string() };
    // It is only for people: a full disk must not prevent a start.
    let noted = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(holder.written().as_bytes()));
    if let Err(error) = noted {
        tracing::warn!(file = %path.display(), %error, "who has the state directory could not be noted");
    }
    Ok(Lock { _file: file })
}

/// Opens the file, or makes it.
fn open(state_dir: &Path, path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // Nobody else may open it: whoever may read a file may lock it.
    options.read(true).write(true).mode(0o600);
    options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
    match options.clone().create_new(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options.open(path),
        made => made.inspect(|file| give(state_dir, path, file)),
    }
}

/// The error for a directory that another process has.
fn taken(path: &Path, holder: Option<Holder>, purpose: Purpose) -> StateError {
    let who = holder.map_or("another process".to_owned(), |holder| holder.to_string());
    StateError::new(path, format!("the state directory belongs to {who}"), purpose.remedy)
}

fn holder_in(file: &mut impl io::Read) -> Option<Holder> {
    let mut text = String::new();
    file.take(limits::STATE_NOTE_OCTETS_MAX).read_to_string(&mut text).ok()?;
    Holder::read(&text)
}

/// Whether another process has the directory, as far as /proc shows. It takes no lock: a process that is starting
/// meanwhile is not disturbed.
pub fn is_in_use(state_dir: &Path) -> bool {
    fs::metadata(state_dir.join(LOCK)).is_ok_and(|metadata| is_locked(metadata.ino()))
}

fn is_locked(inode: u64) -> bool {
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let inode = format!(":{inode}");
    locks.lines().any(|line| line.split_ascii_whitespace().any(|word| word.ends_with(&inode)))
}

/// The name of this machine.
pub(crate) fn host() -> String {
    uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVE: Purpose = Purpose::exclusive("ostia-responder serve");
    const NOW: UnixTime = UnixTime(1_800_000_000);

    /// Takes it once nobody has it any more: a program that another test is just starting has a copy for a moment.
    fn retaken(dir: &Path) -> Lock {
        let begun = std::time::Instant::now();
        loop {
            match take(dir, SERVE, NOW) {
                Ok(lock) => return lock,
                Err(refused) => assert!(begun.elapsed() < std::time::Duration::from_secs(60), "{refused}"),
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    #[test]
    fn the_second_learns_who_has_the_directory_and_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let first = take(dir.path(), SERVE, NOW).unwrap();
        assert!(is_in_use(dir.path()));
        let who = format!("`ostia-responder serve`, process {} on {}, since {NOW}", std::process::id(), host());
        for (purpose, remedy) in [(SERVE, STOP_IT), (Purpose::askable("ostia-precompute sync"), ASK_IT)] {
            let refused = take(dir.path(), purpose, NOW).unwrap_err().to_string();
            assert!(refused.contains(&who) && refused.ends_with(remedy), "{refused}");
        }
        drop(first);
        let again = retaken(dir.path());
        assert!(is_in_use(dir.path()));
        drop(again);
    }

    #[test]
    fn what_the_file_says_without_the_lock_means_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LOCK);
        let dead = Holder { pid: 1, command: "x".repeat(200), host: "h".into(), since: "then".into() };
        for left in [String::new(), "pid".into(), "\0\0".into(), dead.written()] {
            fs::write(&path, &left).unwrap();
            let taken = retaken(dir.path());
            let holder = Holder::read(&fs::read_to_string(&path).unwrap()).unwrap();
            assert_eq!((holder.pid, &*holder.command), (std::process::id(), SERVE.command), "{left}");
            // And one that cannot be read is still somebody.
            fs::write(&path, "pid").unwrap();
            let refused = take(dir.path(), SERVE, NOW).unwrap_err().to_string();
            assert!(refused.contains("belongs to another process"), "{refused}");
            drop(taken);
        }
    }

    #[test]
    fn a_lock_that_is_no_file_is_refused_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LOCK);
        std::os::unix::fs::symlink("elsewhere", &path).unwrap();
        let refused = take(dir.path(), SERVE, NOW).unwrap_err().to_string();
        assert!(refused.contains("/lock: cannot be opened"), "{refused}");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let refused = take(dir.path(), SERVE, NOW).unwrap_err().to_string();
        assert!(refused.contains("/lock: cannot be opened"), "{refused}");
    }
}
