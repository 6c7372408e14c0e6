//! Whether an operator has taken this server out of its balancers' rotation.
//!
//! Invariant: it is a file in the state directory, so it needs nothing of the running service and holds through a restart:
//! who drains a machine to work on it decides when requests come again. Requests that come all the same are answered. It
//! does not know who asks for health.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use tracing::{info, warn};

use crate::journal::trail;

/// The file.
const FILE: &str = "drained";

/// Looks for it.
#[derive(Debug)]
pub(super) struct Drained {
    path: PathBuf,
    was: AtomicBool,
}

impl Drained {
    /// Looks into this state directory. The log tells of each change that is seen.
    pub(super) fn of(state_dir: &Path) -> Self {
        let drained = Self { path: state_dir.join(FILE), was: AtomicBool::new(false) };
        drained.look();
        drained
    }

    /// Whether it is there now.
    pub(super) fn look(&self) -> bool {
        let is = self.path.exists();
        let was = self.was.swap(is, Relaxed);
        if was != is {
            trail::tell("drained", |event| event.text("state", if is { "drained" } else { "ended" }));
        }
        match (was, is) {
            (false, true) => warn!(
                file = %self.path.display(),
                "drained: balancers are told to send nothing here, until `ostia-responder drain --end --config FILE`"
            ),
            (true, false) => info!("no longer drained: balancers are told that requests may come"),
            _ => {}
        }
        is
    }
}

/// Takes the server with this state directory out of rotation, or with `end` into it again; whether that changed anything.
///
/// # Errors
///
/// If the directory is not there, or cannot be written.
pub fn drain(state_dir: &Path, end: bool) -> io::Result<bool> {
    let path = state_dir.join(FILE);
    let changed = if end {
        fs::remove_file(&path)
    } else {
        fs::File::options().write(true).create_new(true).open(&path).map(drop)
    };
    match changed {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == (if end { io::ErrorKind::NotFound } else { io::ErrorKind::AlreadyExists }) => {
            // A directory that is not there has not been drained.
            fs::metadata(state_dir).map(|_| false)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_drained_until_somebody_ends_that() {
        let dir = tempfile::tempdir().unwrap();
        let drained = Drained::of(dir.path());
        assert!(!drained.look() && !drain(dir.path(), true).unwrap());
        assert!(drain(dir.path(), false).unwrap() && !drain(dir.path(), false).unwrap());
        // Also for the next process.
        assert!(drained.look() && Drained::of(dir.path()).look());
        assert!(drain(dir.path(), true).unwrap() && !drained.look());
        let nowhere = dir.path().join("nowhere");
        assert!([true, false].iter().all(|end| drain(&nowhere, *end).is_err()));
    }
}
