//! Bounds of what reads directories of certificates.

use std::time::Duration;

/// How often a directory is looked at: a `stat` of it, and the files that have changed. A new file counts within a second.
pub const EVERY: Duration = Duration::from_millis(500);
/// How soon at the latest it is tried again when it cannot be read: a mount comes back by itself.
pub const RETRY_MAX: Duration = Duration::from_secs(5);
/// How often all of its files are looked at, whatever the directory's own times and the events say: a file that was written
/// over in place shows only in its own times.
pub const WHOLE_EVERY: Duration = Duration::from_secs(60);
/// How soon all of them are looked at after a change that events have told: events of other machines do not come, and
/// both may have written.
pub const WHOLE_SOON: Duration = Duration::from_secs(5);
/// The share of a core that looking at all of them may take: one part in so many, except where no events come.
pub const WHOLE_SHARE: u32 = 50;
/// The same where no events come, so that a new file shows in nothing but a look at all.
pub const WHOLE_SHARE_WITHOUT_EVENTS: u32 = 5;
/// How long a file must not have changed before its name alone counts: a program that makes it may be about to write a
/// certificate into it.
pub const NAME_STILL: Duration = Duration::from_secs(1);
/// How long a certificate is missed before it is removed: a program that replaces a file may remove it first.
pub const MISSED_FOR: Duration = super::REMOVAL_DELAY;
/// How long after a start nothing is removed while a file is still being written.
pub const START_PATIENCE: Duration = Duration::from_secs(10);
/// How long a file that is half of a certificate is looked at again and again; later it is seen with all others.
pub const HALF_FOLLOWED_FOR: Duration = Duration::from_secs(60);
/// Files of a directory: 400 bytes of memory each, and 60 more where answers carry the hashes of certificates.
pub const FILES_MAX: usize = 2_000_000;
/// Events that are taken at a time; more are a look at all files.
pub const EVENTS_MAX: usize = 20_000;
/// Of so many files progress is told at once.
pub const PROGRESS_FILES: usize = 256;

const _: () = assert!(NAME_STILL.as_nanos() <= MISSED_FOR.as_nanos());
