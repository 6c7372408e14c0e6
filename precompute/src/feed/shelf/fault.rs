//! What can be wrong with a directory of snapshots and its files, each with a remedy.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use super::super::Refusal;

/// Why a file of the directory, or the directory itself, cannot be used. It names the file and a remedy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShelfError {
    /// The file or the directory.
    pub path: PathBuf,
    /// What kind of fault it is.
    pub cause: Cause,
    problem: String,
}

/// What kind of fault it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// There is no room.
    Full,
    /// This user may not.
    Denied,
    /// Another process has the directory.
    InUse,
    /// Something is not what its name says: it was changed by somebody else, or the disk fails.
    Damaged,
    /// The manifest is not of this cluster, or nobody trusted signed it.
    Untrusted,
    /// Anything else.
    Other,
}

impl Cause {
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => Self::Full,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::Denied,
            io::ErrorKind::UnexpectedEof => Self::Damaged,
            _ => Self::Other,
        }
    }

    const fn remedy(self) -> &'static str {
        match self {
            Self::Full => "make room: the disk, the quota or the file size limit is used up",
            Self::Denied => {
                "give the directory and its files to the user that runs this program, on a file system that can be written"
            }
            Self::InUse => "stop the other process first, or give each its own directory",
            Self::Damaged => {
                "it is fetched or made again; look after the disk, and let no other program write into this directory"
            }
            Self::Untrusted => {
                "remove both files, the snapshot and its manifest, if the cluster or its keys were changed on purpose"
            }
            Self::Other => "let the directory be on a local disk, and let no other program write into it",
        }
    }
}

impl ShelfError {
    pub(super) fn new(path: &Path, cause: Cause, problem: impl fmt::Display) -> Self {
        Self { path: path.to_owned(), cause, problem: problem.to_string() }
    }

    /// `what` could not be done.
    pub(super) fn io(path: &Path, what: &str, error: &io::Error) -> Self {
        Self::new(path, Cause::of(error), format_args!("{what}: {error}"))
    }

    /// The manifest in the first file, which belongs to the snapshot in the second one.
    pub(super) fn refused(path: &Path, snapshot: &Path, refusal: &Refusal) -> Self {
        let problem = format_args!("the manifest of {} is refused: {refusal}", snapshot.display());
        Self::new(path, Cause::Untrusted, problem)
    }
}

impl fmt::Display for ShelfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.path.display(), self.problem, self.cause.remedy())
    }
}

impl std::error::Error for ShelfError {}
