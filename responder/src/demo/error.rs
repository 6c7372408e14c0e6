//! Why the demo could not be made.

use std::{
    error::Error,
    fmt, io,
    path::{Path, PathBuf},
};

/// Why there is no demo; each says what to do about it.
#[derive(Debug)]
pub enum DemoError {
    /// The directory cannot be the demo's.
    Directory {
        /// As it was named.
        dir: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// No `openssl` in `PATH`.
    NoOpenssl,
    /// No `redis-server` in `PATH`, for a cluster.
    NoRedis,
    /// An `openssl` command failed.
    Command {
        /// The command line, shortened if it is long.
        command: String,
        /// Where it ran.
        dir: PathBuf,
        /// How it ended.
        status: String,
        /// What it said.
        stderr: String,
    },
    /// A file cannot be read or written.
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried, as in "reading".
        doing: &'static str,
        /// What the system said.
        error: io::Error,
    },
}

impl fmt::Display for DemoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory { dir, problem } => {
                write!(f, "{}: {problem}; choose another directory with --dir", dir.display())
            }
            Self::NoOpenssl => write!(
                f,
                "the demo makes its CA with the program `openssl`, which is not in PATH; install it \
                 (Debian and Ubuntu: `apt-get install openssl`; Fedora: `dnf install openssl`) and start again"
            ),
            Self::NoRedis => write!(
                f,
                "the demo's cluster needs `redis-server` or `valkey-server`, which is not in PATH; install it \
                 (Debian and Ubuntu: `apt-get install redis-server`; Fedora: `dnf install valkey`) and start again, \
                 or leave out --cluster"
            ),
            Self::Command { command, dir, status, stderr } => {
                write!(f, "`{command}` in {} failed ({status}):\n{stderr}", dir.display())
            }
            Self::Io { path, doing, error } => write!(f, "{doing} {}: {error}", path.display()),
        }
    }
}

impl Error for DemoError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// For `map_err`: an I/O error with the file it is about.
pub(super) fn at(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> DemoError {
    move |error| DemoError::Io { path: path.to_owned(), doing, error }
}

pub(super) fn refused(dir: &Path, problem: impl Into<String>) -> DemoError {
    DemoError::Directory { dir: dir.to_owned(), problem: problem.into() }
}
