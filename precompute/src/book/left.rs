//! How this process left the book's file, and whether it is still like that.
//!
//! Purpose: where somebody has put another file into the book's place, or written a copy over it, nothing that is in memory
//! holds any more. Invariant: redb writes the head of its file in a commit and when it opens, and other pages whenever it
//! needs room in its cache: while somebody reads, too. So a file of the same length and with the same head is as it was
//! left, whatever its times are. It does not know what is in the file.

use std::{fs::File, os::unix::fs::FileExt as _, path::Path};

use crate::state_dir::stamp::FileStamp;

/// Bytes of the head: it names the roots of the last two commits, with checksums of everything under them.
const HEAD: usize = 320;

/// See the module.
#[derive(Debug)]
pub(super) struct Left {
    file: FileStamp,
    head: Option<[u8; HEAD]>,
}

impl Left {
    /// The open file as it is now. `path` may have another one by now.
    pub(super) fn now(path: &Path, open: FileStamp) -> Self {
        let mut left = Self { file: open, head: None };
        left.renew(path);
        left
    }

    /// This process has written it.
    pub(super) fn renew(&mut self, path: &Path) {
        if let Some(now) = FileStamp::of(path).filter(|now| self.file.is_same_file(now)) {
            *self = Self { file: now, head: head(path) };
        }
    }

    /// Whether it is as it was left.
    pub(super) fn is_there(&mut self, path: &Path) -> bool {
        let Some(now) = FileStamp::of(path) else { return false };
        if now == self.file {
            return true;
        }
        let is_as_left = self.file.is_same_file(&now)
            && self.file.length == now.length
            && self.head.is_some_and(|left| head(path) == Some(left));
        if is_as_left {
            self.file = now;
        }
        is_as_left
    }
}

fn head(path: &Path) -> Option<[u8; HEAD]> {
    let mut head = [0; HEAD];
    File::open(path).ok()?.read_exact_at(&mut head, 0).ok()?;
    Some(head)
}
