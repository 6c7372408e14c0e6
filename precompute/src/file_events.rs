//! What the kernel tells of changes in directories (inotify), for whoever looks at files there.
//!
//! Purpose: one list of what may change a file, and one way to read what has come. Invariant: nothing that came is passed
//! over. Some never comes: changes that another machine makes on a network file system, stores through mmap, writes
//! through a hard link in another directory. It does not know who looks at which files, and never waits.

use std::{
    ffi::OsStr,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
};

use rustix::{
    fs::inotify::{self, CreateFlags, Reader, WatchFlags},
    io::Errno,
};

pub(crate) use rustix::fs::inotify::ReadFlags;

/// Whatever may change what a name in a directory leads to.
pub(crate) const CHANGES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::ONLYDIR);

/// An event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told<'e> {
    /// Of which watch.
    pub(crate) watch: i32,
    /// What has happened.
    pub(crate) what: ReadFlags,
    /// To which name in the directory; `None` if to the directory itself.
    pub(crate) name: Option<&'e OsStr>,
}

/// A queue of events without a watch.
pub(crate) fn open() -> Result<OwnedFd, Errno> {
    inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
}

/// Gives what has come to `each`, up to `most` events; whether that is all.
pub(crate) fn take(
    reader: &mut Reader<'_, impl AsFd>,
    most: usize,
    mut each: impl FnMut(Told<'_>),
) -> Result<bool, Errno> {
    for _ in 0..most {
        match reader.next() {
            Ok(event) => {
                let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
                each(Told { watch: event.wd(), what: event.events(), name });
            }
            Err(Errno::AGAIN) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}
