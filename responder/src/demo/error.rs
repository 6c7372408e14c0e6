//! Why the demo could not be made.

use std::{
    error::Error,
    fmt, io,
    net::SocketAddr,
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
    /// Nobody can listen there, for a cluster.
    Address {
        /// Where a part of it would listen.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The admin listeners of a cluster could be reached from elsewhere.
    NotLoopback {
        /// Where the first of them was to be.
        address: SocketAddr,
    },
    /// The ports of a cluster end above 65535.
    NoPort {
        /// The first of them.
        address: SocketAddr,
    },
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
            Self::Address { address, error } => write!(
                f,
                "the demo's cluster cannot listen on {address}: {error}; choose other ports with --http (it uses 3) and \
                 --admin (it uses the 11 behind it)"
            ),
            Self::NotLoopback { address } => write!(
                f,
                "the demo's cluster cannot have its admin listeners at {address}: writers take pushes there with a \
                 token, which would cross the network where others can read it; choose a loopback address with \
                 --admin, such as 127.0.0.1:{}",
                address.port()
            ),
            Self::NoPort { address } => write!(
                f,
                "the demo's cluster needs ports behind {address}, which do not exist; choose a lower one with --http or \
                 --admin"
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
            Self::Io { error, .. } | Self::Address { error, .. } => Some(error),
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
