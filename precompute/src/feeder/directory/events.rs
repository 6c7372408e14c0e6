//! Which files of a directory have changed, as inotify tells.
//!
//! Invariant: what was missed is said ([`Changed::is_lost`]). Where there are no events, or not all, such as of other machines
//! on a network file system, the directory's own times and looks at all files find the rest. It does not know what is in files.

use std::{
    collections::HashSet,
    ffi::{OsStr, OsString},
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::Path,
};

use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags},
    io::Errno,
};

use crate::limits::directory as limits;

/// Whatever may change what a file says, or whether there is one.
const EVENTS: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::ONLYDIR);

/// Bytes of events read at a time.
const READ_OCTETS: usize = 64 << 10;

/// The events of one directory.
#[derive(Debug)]
pub(super) struct Events(OwnedFd);

/// What has come since the last time.
#[derive(Default, Debug)]
pub(super) struct Changed {
    pub(super) names: HashSet<OsString>,
    /// Whether there was more than is known of.
    pub(super) is_lost: bool,
}

impl Events {
    /// Of what happens from now on.
    pub(super) fn of(directory: &Path) -> Result<Self, Errno> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        inotify::add_watch(&inotify, directory, EVENTS)?;
        Ok(Self(inotify))
    }

    /// What has come. It never waits.
    pub(super) fn take(&mut self) -> Changed {
        let (mut buffer, mut changed) = (vec![MaybeUninit::uninit(); READ_OCTETS], Changed::default());
        let mut reader = Reader::new(&self.0, &mut buffer);
        for _ in 0..limits::EVENTS_MAX {
            match reader.next() {
                Ok(event) => {
                    changed.is_lost |= event.events().contains(ReadFlags::QUEUE_OVERFLOW);
                    let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
                    changed.names.extend(name.map(OsStr::to_owned));
                }
                Err(Errno::AGAIN) => return changed,
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        changed.is_lost = true;
        changed
    }
}
