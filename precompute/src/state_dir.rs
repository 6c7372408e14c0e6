//! What can be wrong with a file of the state directory.
//!
//! Invariant: whatever is wrong is told with the file and a remedy. It does not know what the files hold.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

/// Why a file of the state directory cannot be used.
#[derive(Debug)]
pub struct StateError {
    path: PathBuf,
    problem: String,
    remedy: &'static str,
}

impl StateError {
    pub(crate) fn new(path: &Path, problem: impl Into<String>, remedy: &'static str) -> Self {
        Self { path: path.to_owned(), problem: problem.into(), remedy }
    }
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.path.display(), self.problem, self.remedy)
    }
}

impl std::error::Error for StateError {}

/// What helps whatever the file holds; `None` where that matters.
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
            _ => None,
        },
        _ => None,
    }
}
