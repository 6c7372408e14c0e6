//! Whose the files of a state directory are.
//!
//! Invariant: a file that root makes in another user's directory belongs to that user, as which the service runs. Only a file
//! that is open is given, and never what a link leads to, which that user may have put there. It does not know what is in it.

use std::{
    fs::{self, File},
    os::{
        fd::AsFd as _,
        unix::fs::{MetadataExt as _, fchown},
    },
    path::Path,
};

/// Gives a file, which this process has just made, to the owner of the directory if this is run by root.
pub(crate) fn give(state_dir: &Path, path: &Path, file: &File) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let whose = |metadata: fs::Metadata| (metadata.uid(), metadata.gid());
    // Units refuse the call, and where root has its own directory nothing is to be given.
    let given = fs::metadata(state_dir).and_then(|directory| match (whose(directory), whose(file.metadata()?)) {
        (wanted, present) if wanted == present => Ok(()),
        ((user, group), _) => fchown(file.as_fd(), Some(user), Some(group)),
    });
    if let Err(error) = given {
        tracing::warn!(file = %path.display(), %error, "the file could not be given to the owner of the state directory");
    }
}
