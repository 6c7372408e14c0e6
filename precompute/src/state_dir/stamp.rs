//! What a file looks like from outside, by one `stat`.
//!
//! Two stamps of one file differ if it was written in between, as far as its file system's times and its length show.
//! What a difference means depends on the user: the book has this process as its only writer, and sources have other
//! writers.

use std::{fs::Metadata, os::unix::fs::MetadataExt as _, path::Path};

/// Identifies a file and its last change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct FileStamp {
    device: u64,
    inode: u64,
    pub(crate) length: u64,
    /// Seconds and nanoseconds since 1970.
    pub(crate) modified: (i64, i64),
}

impl FileStamp {
    /// `None` if the file is not there or cannot be seen.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        Some(Self::from(&std::fs::metadata(path).ok()?))
    }

    /// Whether the other stamp is of the same file, changed or not.
    pub(crate) fn is_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

impl From<&Metadata> for FileStamp {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}
