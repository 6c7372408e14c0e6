//! Which files of a directory have changed, as inotify tells.
//!
//! Invariant: what was missed is said ([`Changed::is_lost`]). Where there are no events, or not all, such as of other machines
//! on a network file system, the directory's own times and looks at all files find the rest. It does not know what is in files.

use std::{collections::HashSet, ffi::OsString, mem::MaybeUninit, os::fd::OwnedFd, path::Path};

use rustix::{
    fs::inotify::{self, Reader},
    io::Errno,
};

use crate::{
    file_events::{self, ReadFlags},
    limits::directory as limits,
};

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
        let inotify = file_events::open()?;
        inotify::add_watch(&inotify, directory, file_events::CHANGES)?;
        Ok(Self(inotify))
    }

    /// What has come. It never waits.
    pub(super) fn take(&mut self) -> Changed {
        let (mut buffer, mut changed) = (vec![MaybeUninit::uninit(); READ_OCTETS], Changed::default());
        let taken = file_events::take(&mut Reader::new(&self.0, &mut buffer), limits::EVENTS_MAX, |told| {
            changed.is_lost |= told.what.contains(ReadFlags::QUEUE_OVERFLOW);
            changed.names.extend(told.name.map(Into::into));
        });
        changed.is_lost |= taken != Ok(true);
        changed
    }
}
